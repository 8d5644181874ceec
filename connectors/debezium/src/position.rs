//! Where an event stands in the source's log.

/// Where a row's change stands in the source's log. Of what the source does not say there is nothing here;
/// a wall clock orders nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourcePosition {
    /// The change's own place: `lsn`, `scn`. Several rows may share one. Of a snapshot's row, where the snapshot was taken.
    pub own: Option<u64>,
    /// The place of the commit *before* its transaction: the first of `sequence`.
    pub preceding: Option<u64>,
    /// The place of its own transaction's commit: Oracle's `commit_scn`. Several transactions may share one.
    pub commit: Option<u64>,
    /// The transaction: `txId`. Oracle's are eight bytes, read as one number.
    pub transaction: Option<u64>,
    /// The change's number within its transaction as the source tells it: Oracle's `txSeq`. The two events of a changed
    /// key share one.
    pub within: Option<u64>,
    /// Which of the source's logs it stands in, each in its own order: Oracle's `redo_thread`.
    pub thread: Option<u64>,
    /// The change's number within its transaction: `transaction.total_order`.
    pub total_order: Option<u64>,
    /// The same among those of its table: `transaction.data_collection_order`.
    pub table_order: Option<u64>,
    /// Whether it was read by a snapshot of Debezium's.
    pub snapshot: Snapshot,
    /// When it happened, milliseconds since 1970-01-01 UTC: for lag only.
    pub ts_ms: Option<i64>,
}

/// `source.snapshot`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Snapshot {
    /// From the log.
    #[default]
    No,
    /// Of a snapshot.
    Yes,
    /// The first row of a snapshot.
    First,
    /// The first row of its table.
    FirstOfTable,
    /// The last row of its table.
    LastOfTable,
    /// The last row of a snapshot.
    Last,
    /// Of an incremental snapshot.
    Incremental,
}
