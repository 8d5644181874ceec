//! The reading side: a source plans its tables into splits and opens a task per split.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::{ChangeBatch, Cut, Error, Finding, Position, Progress, Result, TableId, TableSchema, TaskContext};

/// Names a split within a plan (`public.orders/3`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SplitId(Arc<str>);

impl SplitId {
    /// A name, unique within its plan.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }
}

impl fmt::Display for SplitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A part of one table that one task reads from start to end.
#[derive(Clone, Debug)]
pub struct Split {
    /// Its name.
    pub id: SplitId,
    /// The table it belongs to.
    pub table: TableId,
    /// The source's own description of the part (a range); opaque to the runtime.
    pub part: String,
    /// Estimated size at the source, bytes: for order and progress, never for correctness.
    pub bytes: u64,
}

/// One table of a plan.
#[derive(Clone, Debug)]
pub struct TablePlan {
    /// Columns and key as of the cut.
    pub schema: Arc<TableSchema>,
    /// Its parts, at least one (an empty table has one empty split). Together they hold each row once.
    pub splits: Vec<Split>,
    /// Estimated rows, if the source knows.
    pub rows: Option<u64>,
}

/// What a source is going to read: every table as of one cut.
#[derive(Debug)]
pub struct Plan {
    /// The cut, captured before any row is read.
    pub cut: Arc<Cut>,
    /// Tables to load, largest first.
    pub tables: Vec<TablePlan>,
    /// Tables that cannot be loaded, with the reason (`Data`, naming table and column).
    pub refused: Vec<(TableId, Error)>,
    /// How many tables to read at a time.
    pub tables_at_a_time: usize,
    /// How many splits of one table to read at a time.
    pub splits_at_a_time: usize,
}

/// The tables that a configuration selects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Which database they are in: what [`Cut::system`] will say.
    pub system: String,
    /// Their names.
    pub tables: Vec<TableId>,
}

/// A configured source. Building one touches nothing; its methods connect.
#[async_trait]
pub trait Source: Send + Sync {
    /// The tables that the configuration selects. Takes no cut and holds nothing.
    async fn tables(&self) -> Result<Selection>;

    /// What stands in the way of [`plan`](Self::plan) or will bite during the load. Changes nothing, takes no
    /// cut. What blocks one table is in [`Plan::refused`] too; what blocks all is an error of the load.
    async fn check(&self) -> Result<Vec<Finding>> {
        Ok(Vec::new())
    }

    /// Captures the cut and splits every selected table that `done` does not have as loaded. The source
    /// keeps the cut readable until it is dropped; a second call takes a new cut.
    async fn plan(&self, done: &Progress) -> Result<Plan>;

    /// Opens a split of the last plan, at `after` rows from its start. Rows and their order are those of
    /// the cut, so a split opened again continues exactly.
    ///
    /// # Errors
    /// [`Error::cut_lost`], here or by the task, when what the cut shows cannot be read any more: all that
    /// is not read to its end is planned again. Any other `Retriable` leaves the cut as it is; the split is
    /// opened again after the rows that it has delivered.
    async fn open(&self, split: &Split, after: Position, context: TaskContext) -> Result<Box<dyn SourceTask>>;

    /// What is to be done once every selected table is in the sink, where something is.
    fn hand_over(&self) -> Option<&dyn HandOver> {
        None
    }
}

/// Tells whoever captures the changes after a load where to begin.
#[async_trait]
pub trait HandOver: Send + Sync {
    /// Hands over; called at every start that finds every selected table in the sink, so that what an earlier call has
    /// done is left as it is and what it was killed in is gone on with. `source` is the connector's name, `held` what
    /// the sink holds of the selected tables. Cancel-safe: a dropped call is as one that was killed.
    ///
    /// # Errors
    /// What is in the way. The tables stay as they are, and the next start goes on.
    async fn hand_over(&self, source: &str, held: &Progress) -> Result<()>;
}

/// A task reading one split.
#[async_trait]
pub trait SourceTask: Send {
    /// The next rows; `None` once the split is complete, and never because of cancellation (which is an
    /// error or a pending future). Cancel-safe: a dropped call loses nothing.
    async fn next(&mut self) -> Result<Option<ChangeBatch>>;

    /// Ends the task, also before its end. Dropping it does the same without waiting.
    async fn close(self: Box<Self>) -> Result<()>;
}
