//! The writing side. "Accepted" ([`SinkTask::write`]) and "durable" ([`CommitHandle`]) are different
//! words, moments and types.

use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;

use crate::{Error, Event, LogEvent, Marks, Progress, Result, Standing, TableId, TableSchema, TaskContext};

/// What became durable, and which tables could not.
#[derive(Debug, Default)]
pub struct Checkpoint {
    /// The tables whose accepted loads are published.
    pub durable: Progress,
    /// The tables that failed since the last checkpoint. The others are not touched by it; nothing of a
    /// failed table's load is visible. The runtime answers with an `Abort`, or, to a `Retriable` failure,
    /// perhaps with another `Begin`.
    pub failed: Vec<(TableId, Error)>,
}

/// What came of a claim.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// The tables that another instance is loading: not to be begun now.
    pub held: Vec<TableId>,
    /// How long to wait before asking for those again.
    pub again: Duration,
}

/// Resolves when everything accepted before the checkpoint is durable or has failed.
pub type CommitHandle = BoxFuture<'static, Result<Checkpoint>>;

/// A configured sink. Building one touches nothing; its methods connect.
#[async_trait]
pub trait Sink: Send + Sync {
    /// What is durable of these tables: the only resume point.
    ///
    /// # Errors
    /// `Fatal` when two of the tables would meet in one name of the sink.
    async fn progress(&self, tables: &[TableId]) -> Result<Progress>;

    /// Every table that it holds a published load of which came through the source connector of this name,
    /// whatever that source has now. For people; nothing resumes from it.
    async fn holdings(&self, source: &str) -> Result<Progress>;

    /// Opens the task that writes. A task that ends without [`SinkTask::close`] leaves nothing visible
    /// but what a checkpoint reported (or was about to).
    async fn open(&self, context: TaskContext) -> Result<Box<dyn SinkTask>>;

    /// Where a table stands; `None` when it is not there. A sink that cannot follow a log has no tables.
    ///
    /// # Errors
    /// `Data` when the table is there and what it holds is not what its record says, with the way out.
    async fn standing(&self, _table: &TableId) -> Result<Option<Standing>> {
        Ok(None)
    }

    /// The table as this sink is to keep it, where it is told of another key than the source's. Touches nothing. A log
    /// asks before it makes a table: its changes are read by that key.
    ///
    /// # Errors
    /// `Data`, naming the column, for a key that the table cannot have.
    fn identified(&self, schema: TableSchema) -> Result<TableSchema> {
        Ok(schema)
    }

    /// Sets where a table stands back to what one of its commits recorded, once its rows are that commit's again by somebody
    /// else's doing: gives where it stands. Whoever followed it before goes on with it no more.
    ///
    /// # Errors
    /// `Data` when its rows are not that commit's, or what it recorded is not known any more.
    async fn restore(&self, _table: &TableId, _commit: &str, _context: TaskContext) -> Result<Marks> {
        Err(Error::fatal("this sink keeps no history of its tables"))
    }

    /// Opens the task that applies the changes of a log. One that ends without [`ApplyTask::close`] leaves
    /// nothing visible but what is durable.
    ///
    /// # Errors
    /// `Fatal` from a sink that cannot follow a log.
    async fn apply(&self, _context: TaskContext) -> Result<Box<dyn ApplyTask>> {
        Err(Error::fatal("this sink takes loads only: it cannot follow a log"))
    }
}

/// The task writing into a sink.
#[async_trait]
pub trait SinkTask: Send {
    /// Claims tables before their loads begin, so that no other instance reads them too; all that are not
    /// [`held`](Claims::held) are claimed until the task ends or has decided about them. `source` names the
    /// source connector. A claim only saves work: two tasks that load one table must come out right without
    /// it, so a sink may grant more than it should, and one that knows of no other instances grants all.
    async fn claim(&mut self, _source: &str, _tables: &[TableId]) -> Result<Claims> {
        Ok(Claims::default())
    }

    /// Accepts an event; durable only once a later checkpoint says so, though a complete load may be
    /// published before it is asked for. Returning late is backpressure.
    /// An error ends the task; what concerns one table only is reported by the next checkpoint instead.
    async fn write(&mut self, event: Event) -> Result<()>;

    /// Makes what was accepted durable. The handle is independent of the task: `write` goes on while it
    /// is awaited. A load whose `Complete` has not been accepted is not part of it.
    fn checkpoint(&mut self) -> CommitHandle;

    /// Ends the task: drops what is staged and not complete, waits for its own background work.
    async fn close(self: Box<Self>) -> Result<()>;
}

/// What of a log became durable, and which tables could not.
#[derive(Debug, Default)]
pub struct Applied {
    /// The tables that moved, and where each stands now.
    pub durable: Vec<(TableId, Marks)>,
    /// The tables that failed since the last checkpoint, each failure once; the others are not touched by it. The
    /// runtime stops the table in the log, and has it begin again ([`LogTask::reopen`](crate::LogTask::reopen)) if
    /// the failure may pass.
    pub failed: Vec<(TableId, Error)>,
}

/// Resolves when everything applied before the checkpoint is durable or has failed.
pub type ApplyHandle = BoxFuture<'static, Result<Applied>>;

/// The task that applies a log's changes to a sink. Rows and the points of the log that they reach become
/// durable together, or neither does.
#[async_trait]
pub trait ApplyTask: Send {
    /// Accepts an event; durable only once a later checkpoint says so. Returning late is backpressure; it must not
    /// wait for a checkpoint that is not asked for yet. A batch is never divided. An error ends the task; what
    /// concerns one table only is reported by the next checkpoint instead, and what still comes of that table is
    /// dropped until it is opened again.
    ///
    /// A table that failed in the log ([`LogEvent::Failed`]) is a failure that the runtime knows of: what came of it
    /// before stays and is made durable, the failure is for the sink's books and is not reported again.
    async fn apply(&mut self, event: LogEvent) -> Result<()>;

    /// Whether a checkpoint is due, so long after the last one was asked for or the task was opened: the commit
    /// interval is over, much has gathered, or a failure is to be reported. Asked after each
    /// event and once a second; quick, and without a clock of its own. Never due while there is nothing to make
    /// durable or to report: an idle sink costs nothing.
    fn due(&self, since: Duration) -> bool;

    /// Makes what was accepted durable, due or not. The handle is independent of the task: `apply` goes on while it
    /// is awaited, and so may further checkpoints. A task may commit before it is asked to; the next checkpoint
    /// reports that too.
    fn checkpoint(&mut self) -> ApplyHandle;

    /// Ends the task: drops what is not durable, waits for its own background work.
    async fn close(self: Box<Self>) -> Result<()>;
}
