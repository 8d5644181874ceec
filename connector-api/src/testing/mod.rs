//! Test doubles and the conformance suite, for the engine's tests and for connector authors.
//!
//! [`memory`] has a source, a log and a sink without any outside world, [`scripted`] wraps any of them and
//! misbehaves at a chosen call, [`conformance`] checks a connector against the contract. Nothing here
//! needs a particular executor, and nothing here is part of a release build.

mod apply;
pub mod conformance;
mod followed;
pub mod memory;
pub mod scripted;

use crate::{Column, TableId, TableSchema};
use arrow_array::{Array, Int64Array, RecordBatch};
use arrow_schema::DataType;
use std::sync::Arc;

/// A table `test.{name}` with one column `id bigint not null`, which is its key.
///
/// # Panics
/// Never: the schema is a legal one.
#[expect(clippy::expect_used, reason = "a constant schema, in test support")]
pub fn id_schema(table: &TableId) -> Arc<TableSchema> {
    let id = Column::new("id", DataType::Int64, false, "bigint");
    Arc::new(TableSchema::new(table.clone(), vec![id], vec![0]).expect("a legal schema"))
}

/// A table with the columns `id bigint not null`, which is its key if it has one, and `v bigint`.
///
/// # Panics
/// Never: the schema is a legal one.
#[expect(clippy::expect_used, reason = "a constant schema, in test support")]
pub fn pair_schema(table: &TableId, has_key: bool) -> Arc<TableSchema> {
    let columns = [("id", false), ("v", true)].map(|(name, null)| Column::new(name, DataType::Int64, null, "bigint"));
    let key = if has_key { vec![0] } else { vec![] };
    Arc::new(TableSchema::new(table.clone(), columns.into(), key).expect("a legal schema"))
}

/// Rows of [`id_schema`].
///
/// # Panics
/// Never: the column is the schema's.
#[expect(clippy::expect_used, reason = "a constant schema, in test support")]
pub fn id_rows(schema: &TableSchema, ids: impl IntoIterator<Item = i64>) -> RecordBatch {
    let ids = Int64Array::from_iter_values(ids);
    RecordBatch::try_new(Arc::clone(schema.arrow()), vec![Arc::new(ids)]).expect("the schema's column")
}

/// The values of the first column of rows of [`id_schema`], in their order. Rows of another shape give
/// none.
pub fn ids(rows: &[RecordBatch]) -> Vec<i64> {
    let column = |batch: &RecordBatch| batch.columns().first().cloned();
    rows.iter()
        .filter_map(column)
        .filter_map(|c| c.as_any().downcast_ref::<Int64Array>().map(|ids| ids.values().to_vec()))
        .flatten()
        .collect()
}
