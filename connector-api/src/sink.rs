//! The writing side. "Accepted" ([`SinkTask::write`]) and "durable" ([`CommitHandle`]) are different
//! words, moments and types.

use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;

use crate::{Error, Event, Progress, Result, TableId, TaskContext};

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
