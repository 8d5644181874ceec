//! A partition that stands before a message of more columns. Pure.

use std::sync::Arc;
use std::time::Instant;

use connector_api::{TableId, TableSchema};

/// A message that a partition waits before, for its table has more columns there than changes in other partitions.
pub(crate) struct Held {
    pub(crate) offset: i64,
    pub(crate) schema: Arc<TableSchema>,
    pub(crate) since: Instant,
}

impl Held {
    /// The table.
    pub(crate) fn table(&self) -> &TableId {
        self.schema.table()
    }
}

/// Whether a table has every column that another state of it has.
pub(crate) fn has_columns_of(schema: &TableSchema, other: &TableSchema) -> bool {
    other.columns().iter().all(|column| schema.columns().iter().any(|own| own.name() == column.name()))
}
