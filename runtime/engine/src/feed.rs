//! Deals out the splits of a plan: so many tables at a time, so many splits of each, the largest first, and
//! frames each table's load as its splits end. What fails and may pass rests for a while and gets its turn
//! again: a split where it stood, a table that failed in the sink from its beginning. The rows themselves go
//! past it, from the split's reader into the queue.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use connector_api::{
    CancellationToken, Error, Event, LoadEvent, Progress, Result, TableId, TableLoad, TablePlan, TaskContext, failpoint,
};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tracing::{Instrument as _, info, info_span};

use crate::contain::from_panic;
use crate::load::Load;
use crate::progress::{TableMeter, TableState};
use crate::queue::{Gone, Sender};
use crate::read::{Part, ReadEnd, SplitReader};
use crate::report::Outcome;
use crate::retry::{Verdict, chance};
use crate::write::Wrote;

/// How much is read at a time, and in what memory.
struct Width {
    tables: usize,
    splits: usize,
    /// Bytes for each open split.
    memory: usize,
}

/// A table whose splits are being read.
struct Active {
    /// Which attempt at the table this is.
    attempt: u32,
    meter: Arc<TableMeter>,
    cancel: CancellationToken,
    waiting: VecDeque<Part>,
    open: usize,
    /// Splits that failed and will be opened again.
    resting: usize,
    failed: Option<Fate>,
}

/// What comes of a table's attempt that failed.
enum Fate {
    ForGood(Arc<Error>),
    /// Another attempt after a wait.
    Again(Duration),
}

/// What has rested long enough.
enum Due {
    /// A split, of that attempt at its table.
    Split(u32, Part),
    /// A table, and what the sink has of it by now.
    Table(TableId, Result<Progress>),
}

/// What is being read and what is to come.
pub(crate) struct Feed<'a> {
    pub(crate) load: &'a mut Load,
    /// Cancelled when the load ends: every reader stops.
    pub(crate) cancel: CancellationToken,
    pub(crate) readers: JoinSet<(TableId, u32, ReadEnd)>,
    pub(crate) queue: Sender,
    width: Width,
    waiting: VecDeque<TablePlan>,
    active: BTreeMap<TableId, Active>,
    /// Tables that the sink makes durable.
    complete: BTreeSet<TableId>,
    resting: JoinSet<Due>,
}

impl<'a> Feed<'a> {
    /// Feeds what the load has planned, not settled, and not left to another instance.
    pub(crate) fn new(load: &'a mut Load, queue: Sender) -> Self {
        let (tables, splits) = load.width;
        let memory = load.job.settings.memory / 4 / (tables * splits);
        let mut waiting = load.ours();
        waiting.sort_by_key(|t| Reverse(t.splits.iter().map(|s| s.bytes).sum::<u64>()));
        Self {
            cancel: CancellationToken::new(),
            readers: JoinSet::new(),
            queue,
            width: Width { tables, splits, memory },
            waiting: waiting.into(),
            active: BTreeMap::new(),
            complete: BTreeSet::new(),
            resting: JoinSet::new(),
            load,
        }
    }

    /// Feeds until every table has its outcome, or something ends the round. Dropped or failed, it leaves
    /// readers behind that end by `cancel`.
    pub(crate) async fn run(&mut self, reports: &mut mpsc::Receiver<Wrote>) -> Result<()> {
        for (table, error) in std::mem::take(&mut self.load.refused) {
            self.abort(&table, Arc::new(error), 0).await;
        }
        loop {
            while self.active.len() < self.width.tables
                && let Some(plan) = self.waiting.pop_front()
            {
                self.begin(plan).await;
            }
            self.open_splits();
            if self.load.is_fed() {
                return Ok(());
            }
            tokio::select! {
                biased;
                Some(report) = reports.recv() => self.reported(report).await?,
                Some(read) = self.readers.join_next(), if !self.readers.is_empty() => match read {
                    Ok((table, attempt, end)) => self.split_ended(&table, attempt, end).await?,
                    Err(dead) => return Err(self.died(dead)),
                },
                Some(due) = self.resting.join_next(), if !self.resting.is_empty() => match due {
                    Ok(due) => self.due(due).await?,
                    Err(dead) => return Err(self.died(dead)),
                },
                // Nothing more will come of it: the sink has ended, and whoever runs this sees that.
                else => std::future::pending().await,
            }
        }
    }

    /// Sends framing. If the sink is gone its own end says why, so this only waits for that.
    async fn send(&self, event: LoadEvent) {
        if let Err(Gone) = self.queue.send(Event::Load(event)).await {
            std::future::pending().await
        }
    }

    async fn begin(&mut self, plan: TablePlan) {
        let table = plan.schema.table().clone();
        let (Some(meter), Some(cut)) = (self.load.meter(&table), self.load.cut.clone()) else { return };
        meter.enter(TableState::Loading);
        let attempt = self.load.attempt(&table);
        let load = TableLoad {
            schema: plan.schema,
            cut,
            source: Arc::clone(&self.load.job.pipeline.source_name),
            splits: plan.splits.len(),
            attempt,
            replace: !self.load.job.settings.resume,
            marks: self.load.marks.get(&table).cloned().unwrap_or_default(),
        };
        info!(table = %table, attempt, splits = load.splits, rows = plan.rows, "the load begins");
        let _ = failpoint::hit("engine.begin");
        self.send(LoadEvent::Begin(Arc::new(load))).await;
        let mut splits = plan.splits;
        splits.sort_by_key(|s| Reverse(s.bytes));
        let (cancel, waiting) = (self.cancel.child_token(), splits.into_iter().map(Part::new).collect());
        self.active.insert(table, Active { attempt, meter, cancel, waiting, open: 0, resting: 0, failed: None });
    }

    fn open_splits(&mut self) {
        let pipeline = &self.load.job.pipeline;
        for (table, active) in &mut self.active {
            while active.open < self.width.splits
                && let Some(part) = active.waiting.pop_front()
            {
                active.open += 1;
                let context = TaskContext {
                    connector: Arc::clone(&pipeline.source_name),
                    task: self.load.task,
                    cancel: active.cancel.clone(),
                    memory: self.width.memory,
                    metrics: self.load.metrics.clone(),
                    state_dir: self.load.job.settings.state_dir.clone(),
                };
                let span = info_span!("read", table = %table, split = %part.split.id);
                let reader = SplitReader {
                    source: Arc::clone(&pipeline.source),
                    part,
                    context,
                    queue: self.queue.clone(),
                    meter: Arc::clone(&active.meter),
                    counters: self.load.counters.clone(),
                };
                let (table, attempt) = (table.clone(), active.attempt);
                self.readers.spawn(async move { (table, attempt, reader.run().await) }.instrument(span));
            }
        }
    }

    async fn split_ended(&mut self, table: &TableId, attempt: u32, end: ReadEnd) -> Result<()> {
        let Some(active) = self.active.get_mut(table) else { return Ok(()) };
        active.open -= 1;
        match end {
            ReadEnd::Done | ReadEnd::Cancelled => {}
            ReadEnd::SinkGone => std::future::pending().await,
            ReadEnd::Failed(error, mut part) => {
                match self.load.job.pipeline.retry.verdict(&error, part.failures, chance()) {
                    Verdict::LoadEnds | Verdict::PlanAgain => return Err(error),
                    Verdict::Fails => active.fail(Fate::ForGood(Arc::new(error))),
                    Verdict::Again(_) if active.failed.is_some() => {}
                    Verdict::Again(wait) => {
                        part.failures += 1;
                        active.resting += 1;
                        self.load.tried(table, &error, part.failures, wait, "reading failed, and goes on where it was");
                        self.resting.spawn(async move {
                            tokio::time::sleep(wait).await;
                            Due::Split(attempt, part)
                        });
                    }
                }
            }
        }
        self.end_if_over(table).await;
        Ok(())
    }

    /// Ends a table's attempt once nothing of it is read any more.
    async fn end_if_over(&mut self, table: &TableId) {
        let Some(active) = self.active.remove(table) else { return };
        if !active.is_over() {
            self.active.insert(table.clone(), active);
            return;
        }
        match active.failed {
            None => {
                active.meter.enter(TableState::Publishing);
                self.complete.insert(table.clone());
                let _ = failpoint::hit("engine.complete");
                self.send(LoadEvent::Complete(table.clone())).await;
            }
            Some(fate) => self.seal(table, fate).await,
        }
    }

    /// Brings about what is to come of a table none of whose splits is read any more.
    async fn seal(&mut self, table: &TableId, fate: Fate) {
        match fate {
            Fate::ForGood(error) => {
                let attempts = self.load.attempt(table);
                self.abort(table, error, attempts).await;
            }
            Fate::Again(wait) => {
                self.load.restart(table);
                let (load, table) = (self.load.looking_again(vec![table.clone()]), table.clone());
                self.resting.spawn(async move {
                    tokio::time::sleep(wait).await;
                    Due::Table(table, load.await)
                });
            }
        }
    }

    async fn abort(&mut self, table: &TableId, error: Arc<Error>, attempts: u32) {
        self.send(LoadEvent::Abort { table: table.clone(), error: Arc::clone(&error), attempts }).await;
        self.load.settle(table, Outcome::Failed(error));
    }

    async fn due(&mut self, due: Due) -> Result<()> {
        match due {
            Due::Split(attempt, part) => {
                let table = part.split.table.clone();
                if let Some(active) = self.active.get_mut(&table).filter(|a| a.attempt == attempt) {
                    active.resting -= 1;
                    if active.failed.is_none() {
                        active.waiting.push_front(part);
                    }
                }
                Ok(())
            }
            // A commit whose answer was lost has got through, or another instance was faster.
            Due::Table(table, Ok(found)) => {
                match found.loaded(&table) {
                    Some(loaded) => self.load.found_loaded(&table, loaded),
                    None => self.waiting.extend(self.load.planned.get(&table).cloned()),
                }
                Ok(())
            }
            Due::Table(table, Err(error)) => self.failed_in_sink(table, error).await,
        }
    }

    async fn reported(&mut self, report: Wrote) -> Result<()> {
        match report {
            Wrote::Durable(table, loaded) => {
                self.complete.remove(&table);
                self.load.published(&table, &loaded);
                Ok(())
            }
            Wrote::Failed(table, error) if self.complete.remove(&table) || self.active.contains_key(&table) => {
                self.failed_in_sink(table, error).await
            }
            // Told twice: its answer is on its way.
            Wrote::Failed(..) => Ok(()),
        }
    }

    /// A table may fail in the sink while it is still being read: then its splits stop first.
    async fn failed_in_sink(&mut self, table: TableId, error: Error) -> Result<()> {
        let failures = self.load.restarts(&table);
        let fate = match self.load.job.pipeline.retry.verdict(&error, failures, chance()) {
            Verdict::LoadEnds => {
                let error = Arc::new(error);
                self.load.settle(&table, Outcome::Failed(Arc::clone(&error)));
                return Err(Error::fatal("the sink cannot go on").with("table", &table).caused_by(error));
            }
            // A cut is no matter of a sink.
            Verdict::Fails | Verdict::PlanAgain => Fate::ForGood(Arc::new(error)),
            Verdict::Again(wait) => {
                self.load.tried(&table, &error, failures + 1, wait, "writing failed, and begins anew");
                Fate::Again(wait)
            }
        };
        match self.active.get_mut(&table) {
            Some(active) => {
                active.fail(fate);
                self.end_if_over(&table).await;
            }
            None => self.seal(&table, fate).await,
        }
        Ok(())
    }

    fn died(&self, dead: JoinError) -> Error {
        match dead.try_into_panic() {
            Ok(panic) => from_panic(&self.load.job.pipeline.source_name, "drop", &*panic),
            Err(aborted) => Error::fatal("a reader was aborted").caused_by(aborted),
        }
    }
}

impl Active {
    /// The first failure stands; splits that are open stop, those that wait are not opened.
    fn fail(&mut self, fate: Fate) {
        self.failed.get_or_insert(fate);
        self.waiting.clear();
        self.cancel.cancel();
    }

    /// Whether none of its splits is read, or will be.
    fn is_over(&self) -> bool {
        self.open == 0 && (self.failed.is_some() || self.waiting.is_empty() && self.resting == 0)
    }
}
