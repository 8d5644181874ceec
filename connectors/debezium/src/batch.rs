//! What comes out: rows of one table in the order of the log, with what was done to each.

use std::sync::Arc;

use arrow_array::RecordBatch;
use connector_api::TableSchema;

use crate::dialect::Dialect;
use crate::rows::Missing;

/// What happened to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// `c`: it was inserted. The message may be a repeated one, so that it does not prove that there was none.
    Insert,
    /// `r`: a snapshot of Debezium's read it.
    Read,
    /// `u`: it was changed.
    Update,
    /// `d`: it was deleted. The row holds its key columns; of a table without a key, all that it was.
    Delete,
    /// `d` with `__debezium.newkey`: it goes on under another key, in an insert that follows and that may
    /// lack values which only this row has.
    Moved,
}

/// Rows of one table, in the order of their messages.
#[derive(Debug)]
pub struct Batch {
    /// The table, as [`Decoder::set_table`](crate::Decoder::set_table) had it.
    pub schema: Arc<TableSchema>,
    /// The image of each row: after an insert or an update, or of what was deleted.
    pub rows: RecordBatch,
    /// What happened to each row.
    pub ops: Vec<Op>,
    /// Each row's offset.
    pub offsets: Vec<i64>,
    /// The values of `rows` that are not known.
    pub missing: Missing,
    /// What some rows were before an update; only of tables whose source logs whole rows.
    pub before: Option<Images>,
    /// Of inserts that lack values: the key (and nothing but the key) under which the row had them.
    pub old_keys: Option<Images>,
}

/// Images that belong to some of a batch's rows.
#[derive(Debug)]
pub struct Images {
    /// Which row each belongs to, ascending.
    pub of: Vec<u32>,
    /// The images.
    pub rows: RecordBatch,
    /// The values of them that are not known.
    pub missing: Missing,
}

/// What a message came to.
#[derive(Debug)]
pub enum Pushed {
    /// A row was added to the open batch of the table that `keep` was asked about; and what happened to it.
    Row(Op),
    /// Nothing to be applied.
    Skipped(Skipped),
    /// The table that `keep` was asked about was emptied: every row of it before this message is gone.
    Truncate,
    /// A transaction began or ended (of the topic of transaction metadata).
    Transaction(Transaction),
    /// The table has to have this schema first. Nothing was taken: take the open batch, give the table that
    /// schema, call `set_table`, and push the message again.
    Schema {
        /// The schema that the message needs.
        schema: Box<TableSchema>,
        /// Whether the decoder knows no such table.
        new: bool,
    },
    /// A change that lacks values, or is half of one of a key, where `keep` wanted none that builds on the row before it.
    /// Nothing was taken.
    Dependent,
    /// The open batches hold as much as they may: take them and push the message again.
    Full,
}

/// Why there is nothing to apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skipped {
    /// A null value, which follows a delete for the sake of compaction.
    Tombstone,
    /// A heartbeat.
    Heartbeat,
    /// `m`: a message in the log that concerns no table.
    LogicalMessage,
    /// The caller does not keep it.
    NotKept,
}

/// The beginning or end of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Its identifier as Debezium writes it.
    pub id: String,
    /// At the end: how many events it had.
    pub events: Option<u64>,
    /// At the end: the same of each table, which is named as Debezium does (`schema.table`, `database.schema.table`).
    pub tables: Vec<(String, u64)>,
}

impl Transaction {
    /// The number that its events bear ([`SourcePosition::transaction`]); `None` for an identifier of no kind that is
    /// known.
    pub fn number(&self) -> Option<u64> {
        Dialect::transaction_number(&self.id)
    }
}
