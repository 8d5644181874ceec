//! Writes the queue into the sink: one loop owns the sink's task, and commits run beside it, so that
//! neither a slow commit holds up the writing nor a blocked write a commit.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use connector_api::{
    CancellationToken, CommitHandle, Counter, Error, Event, LoadEvent, Loaded, Metrics, Result, SinkTask, TableId,
};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};

use crate::contain::{contain, contain_call, from_panic};
use crate::queue::{Queued, Receiver};

/// What a commit has decided.
pub(crate) enum Wrote {
    /// The table's load is published.
    Durable(TableId, Loaded),
    /// The table's load has failed in the sink; nothing of it is visible.
    Failed(TableId, Error),
}

/// The loop that owns a sink's task.
pub(crate) struct Writer {
    pub(crate) sink: Arc<str>,
    pub(crate) task: Box<dyn SinkTask>,
    pub(crate) queue: Receiver,
    /// Where commits report. Its reader must go on reading until the writer has ended.
    pub(crate) wrote: mpsc::Sender<Wrote>,
    /// When cancelled, what is queued is dropped; commits under way are waited for.
    pub(crate) stop: CancellationToken,
    pub(crate) counters: WriteCounters,
    /// Tables that are complete and that no commit has decided about. With several commits under way, a
    /// table's outcome may come with that of another.
    pub(crate) undecided: BTreeSet<TableId>,
    /// Tables that failed before they were complete, as a commit of others told: no other will speak of them.
    pub(crate) foregone: BTreeSet<TableId>,
    /// Whether something was written since the sink was last asked how its tables are.
    pub(crate) unheard: bool,
}

/// How often the sink is asked how its tables are.
const PULSE: Duration = Duration::from_secs(1);

/// The sink's counters, under Kafka Connect's names.
pub(crate) struct WriteCounters {
    read: Counter,
    sent: Counter,
}

impl WriteCounters {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let read = metrics.counter("kafka_connect_sink_task_sink_record_read", "Rows taken from the queue");
        let sent = metrics.counter("kafka_connect_sink_task_sink_record_send", "Rows that the sink has accepted");
        Self { read, sent }
    }

    /// So many rows are taken, and about to be handed to the sink.
    pub(crate) fn read(&self, rows: u64) {
        self.read.add(rows);
    }

    /// The sink has accepted so many.
    pub(crate) fn sent(&self, rows: u64) {
        self.sent.add(rows);
    }
}

impl Writer {
    /// Writes until the queue is closed and empty, or the stop, or a failure; then closes the sink's task.
    pub(crate) async fn run(mut self) -> Result<()> {
        let mut commits = JoinSet::new();
        let mut result = self.pump(&mut commits).await;
        // From here on senders learn that nobody reads.
        self.queue.close();
        while self.queue.try_recv().is_ok() {}
        while let Some(commit) = commits.join_next().await {
            result = result.and(self.joined(commit, commits.is_empty()));
        }
        // A task that has panicked is fit for nothing but to be dropped.
        if !matches!(&result, Err(error) if error.context("panic").is_some()) {
            result = result.and(contain(&self.sink, "close", self.task.close()).await);
        }
        result
    }

    async fn pump(&mut self, commits: &mut JoinSet<Result<Vec<TableId>>>) -> Result<()> {
        let stop = self.stop.clone();
        let mut pulse = tokio::time::interval_at(Instant::now() + PULSE, PULSE);
        pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                Some(commit) = commits.join_next(), if !commits.is_empty() => {
                    self.joined(commit, commits.is_empty())?;
                }
                // A table that fails while it is read is not read to its end for nothing.
                _ = pulse.tick(), if self.unheard && commits.is_empty() => self.checkpoint(None, commits)?,
                queued = self.queue.recv() => {
                    let Some(queued) = queued else { return Ok(()) };
                    let Some(written) = stop.run_until_cancelled(self.write(queued, commits)).await else {
                        return Ok(());
                    };
                    written?;
                }
            }
        }
    }

    async fn write(&mut self, queued: Queued, commits: &mut JoinSet<Result<Vec<TableId>>>) -> Result<()> {
        let Queued { event, room } = queued;
        let complete = match &event {
            Event::Load(LoadEvent::Complete(table)) => Some(table.clone()),
            Event::Load(LoadEvent::Begin(load)) => {
                self.foregone.remove(load.schema.table());
                None
            }
            _ => None,
        };
        let rows = if let Event::Changes(batch) = &event { batch.rows().num_rows() as u64 } else { 0 };
        let table = event.table().clone();
        self.counters.read(rows);
        contain(&self.sink, "write", self.task.write(event)).await.map_err(|e| named(e, &table))?;
        self.counters.sent(rows);
        drop(room);
        self.unheard = true;
        match complete {
            Some(table) => self.checkpoint(Some(table), commits),
            None => Ok(()),
        }
    }

    /// Asks for a commit, of a table that is complete or of whatever there is.
    fn checkpoint(&mut self, table: Option<TableId>, commits: &mut JoinSet<Result<Vec<TableId>>>) -> Result<()> {
        // The call itself may panic as well as the handle it gives.
        let handle = contain_call(&self.sink, "checkpoint", || self.task.checkpoint());
        let handle = handle.map_err(|e| of_table(e, table.as_ref()))?;
        self.unheard = false;
        self.undecided.extend(table.clone().filter(|table| !self.foregone.remove(table)));
        commits.spawn(commit(Arc::clone(&self.sink), table, handle, self.wrote.clone()));
        Ok(())
    }

    /// Takes a commit's end. When it was the last under way, every complete table must have been decided.
    fn joined(&mut self, commit: std::result::Result<Result<Vec<TableId>>, JoinError>, last: bool) -> Result<()> {
        match commit.map_err(JoinError::try_into_panic) {
            Ok(decided) => {
                for table in decided? {
                    if !self.undecided.remove(&table) {
                        self.foregone.insert(table);
                    }
                }
                match self.undecided.first() {
                    Some(table) if last => {
                        Err(named(Error::fatal("the sink's checkpoints leave out a table that was complete"), table))
                    }
                    _ => Ok(()),
                }
            }
            Err(Ok(panic)) => Err(from_panic(&self.sink, "commit", &*panic)),
            Err(Err(aborted)) => Err(Error::fatal("a commit was aborted").caused_by(aborted)),
        }
    }
}

/// Awaits the commit that was asked for (when `table` was complete, if one was), reports what it says, and returns the
/// tables that it speaks of.
async fn commit(
    sink: Arc<str>,
    table: Option<TableId>,
    handle: CommitHandle,
    wrote: mpsc::Sender<Wrote>,
) -> Result<Vec<TableId>> {
    let checkpoint = contain(&sink, "commit", handle).await.map_err(|e| of_table(e, table.as_ref()))?;
    let failed = checkpoint.failed.iter().map(|(table, _)| table);
    let decided = checkpoint.durable.tables().map(|(table, _)| table).chain(failed).cloned().collect();
    let durable = checkpoint.durable.tables().map(|(t, loaded)| Wrote::Durable(t.clone(), loaded.clone()));
    let failed = checkpoint.failed.into_iter().map(|(t, e)| Wrote::Failed(t.clone(), named(e, &t)));
    for report in durable.collect::<Vec<_>>().into_iter().chain(failed) {
        // Its reader outlives the writer; a load that was given up has no use for it.
        let _ = wrote.send(report).await;
    }
    Ok(decided)
}

fn of_table(error: Error, table: Option<&TableId>) -> Error {
    match table {
        Some(table) => named(error, table),
        None => error,
    }
}

fn named(error: Error, table: &TableId) -> Error {
    if error.context("table").is_some() { error } else { error.with("table", table) }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use connector_api::Checkpoint;

    use super::*;
    use crate::queue::queue;

    /// A sink that says nothing of its tables.
    struct Silent;

    #[async_trait]
    impl SinkTask for Silent {
        async fn write(&mut self, _: Event) -> Result<()> {
            Ok(())
        }

        fn checkpoint(&mut self) -> CommitHandle {
            Box::pin(async { Ok(Checkpoint::default()) })
        }

        async fn close(self: Box<Self>) -> Result<()> {
            Ok(())
        }
    }

    /// Completes a table of which commits that were asked for others' sake have told the failure already, or not; then
    /// no commit speaks of it.
    async fn complete(told: bool) -> Result<()> {
        let metrics = Metrics::default();
        let (_sender, receiver) = queue(1 << 10, &metrics);
        let (wrote, _reports) = mpsc::channel(1);
        let mut writer = Writer {
            sink: Arc::from("lake"),
            task: Box::new(Silent),
            queue: receiver,
            wrote,
            stop: CancellationToken::new(),
            counters: WriteCounters::new(&metrics),
            undecided: BTreeSet::new(),
            foregone: BTreeSet::new(),
            unheard: false,
        };
        let (table, mut commits) = (TableId::new("test", "t"), JoinSet::new());
        if told {
            writer.joined(Ok(Ok(vec![table.clone()])), true)?;
        }
        let event = Event::Load(LoadEvent::Complete(table));
        writer.write(Queued { event, room: None }, &mut commits).await?;
        let commit = commits.join_next().await.unwrap();
        writer.joined(commit, true)
    }

    #[tokio::test]
    async fn a_table_that_failed_before_it_was_complete_is_not_missed() {
        assert!(complete(true).await.is_ok());
        assert!(complete(false).await.unwrap_err().to_string().contains("leave out a table that was complete"));
    }
}
