//! Deals out the splits of a plan: so many tables at a time, so many splits of each, the largest first, and
//! frames each table's load as its splits end. The rows themselves go past it, from the split's reader into
//! the queue.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use connector_api::{
    CancellationToken, Cut, Error, Event, LoadEvent, Plan, Result, Split, TableId, TableLoad, TablePlan, TaskContext,
};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::{Instrument as _, info, info_span};

use crate::contain::from_panic;
use crate::load::{Load, Verdict, verdict};
use crate::progress::{TableMeter, TableState};
use crate::queue::{Gone, Sender};
use crate::read::{ReadCounters, ReadEnd, SplitReader};
use crate::report::Outcome;
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
    meter: Arc<TableMeter>,
    cancel: CancellationToken,
    waiting: VecDeque<Split>,
    open: usize,
    failed: Option<Arc<Error>>,
}

/// What is being read and what is to come.
pub(crate) struct Feed<'a> {
    pub(crate) load: &'a mut Load,
    /// Cancelled when the load ends: every reader stops.
    pub(crate) cancel: CancellationToken,
    pub(crate) readers: JoinSet<(TableId, ReadEnd)>,
    pub(crate) queue: Sender,
    cut: Arc<Cut>,
    width: Width,
    refused: Vec<(TableId, Error)>,
    waiting: VecDeque<TablePlan>,
    active: BTreeMap<TableId, Active>,
    counters: ReadCounters,
}

impl<'a> Feed<'a> {
    pub(crate) fn new(load: &'a mut Load, plan: Plan, queue: Sender) -> Self {
        let (tables, splits) = (plan.tables_at_a_time.max(1), plan.splits_at_a_time.max(1));
        let memory = load.job.settings.memory / 4 / (tables * splits);
        let mut waiting = plan.tables;
        waiting.sort_by_key(|t| Reverse(t.splits.iter().map(|s| s.bytes).sum::<u64>()));
        Self {
            cancel: CancellationToken::new(),
            readers: JoinSet::new(),
            queue,
            cut: plan.cut,
            width: Width { tables, splits, memory },
            refused: plan.refused,
            waiting: waiting.into(),
            active: BTreeMap::new(),
            counters: ReadCounters::new(&load.metrics),
            load,
        }
    }

    /// Feeds until every table has its outcome, or something ends the load. Dropped or failed, it leaves
    /// readers behind that end by `cancel`.
    pub(crate) async fn run(&mut self, reports: &mut mpsc::Receiver<Wrote>) -> Result<()> {
        for (table, error) in std::mem::take(&mut self.refused) {
            let error = Arc::new(error);
            self.send(LoadEvent::Abort { table: table.clone(), error: Arc::clone(&error), attempts: 0 }).await;
            self.load.settle(&table, Outcome::Failed(error));
        }
        loop {
            while self.active.len() < self.width.tables
                && let Some(plan) = self.waiting.pop_front()
            {
                self.begin(plan).await;
            }
            self.open_splits();
            if self.load.settled() {
                return Ok(());
            }
            tokio::select! {
                biased;
                Some(report) = reports.recv() => self.reported(report)?,
                Some(read) = self.readers.join_next(), if !self.readers.is_empty() => match read {
                    Ok((table, end)) => self.split_ended(&table, end).await?,
                    Err(dead) => return Err(self.reader_died(dead)),
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
        let Some(meter) = self.load.meter(&table) else { return };
        meter.enter(TableState::Loading);
        let settings = &self.load.job.settings;
        let load = TableLoad {
            schema: plan.schema,
            cut: Arc::clone(&self.cut),
            source: Arc::clone(&self.load.job.pipeline.source_name),
            splits: plan.splits.len(),
            attempt: 1,
            replace: !settings.resume,
        };
        info!(table = %table, splits = load.splits, rows = plan.rows, "the load begins");
        self.send(LoadEvent::Begin(Arc::new(load))).await;
        let mut waiting = plan.splits;
        waiting.sort_by_key(|s| Reverse(s.bytes));
        let (cancel, waiting) = (self.cancel.child_token(), waiting.into());
        self.active.insert(table, Active { meter, cancel, waiting, open: 0, failed: None });
    }

    fn open_splits(&mut self) {
        let pipeline = &self.load.job.pipeline;
        for (table, active) in &mut self.active {
            while active.open < self.width.splits
                && let Some(split) = active.waiting.pop_front()
            {
                active.open += 1;
                let context = TaskContext {
                    connector: Arc::clone(&pipeline.source_name),
                    task: self.load.task,
                    cancel: active.cancel.clone(),
                    memory: self.width.memory,
                    metrics: self.load.metrics.clone(),
                };
                let span = info_span!("read", table = %table, split = %split.id);
                let reader = SplitReader {
                    source: Arc::clone(&pipeline.source),
                    split,
                    context,
                    queue: self.queue.clone(),
                    meter: Arc::clone(&active.meter),
                    counters: self.counters.clone(),
                };
                let table = table.clone();
                self.readers.spawn(async move { (table, reader.run().await) }.instrument(span));
            }
        }
    }

    async fn split_ended(&mut self, table: &TableId, end: ReadEnd) -> Result<()> {
        let Some(active) = self.active.get_mut(table) else { return Ok(()) };
        active.open -= 1;
        match end {
            ReadEnd::Done | ReadEnd::Cancelled => {}
            ReadEnd::SinkGone => std::future::pending().await,
            ReadEnd::Failed(error) => match verdict(error.kind()) {
                Verdict::LoadEnds => return Err(error),
                Verdict::TableFails => active.fail(Arc::new(error)),
            },
        }
        if active.open > 0 || !active.waiting.is_empty() {
            return Ok(());
        }
        let Some(active) = self.active.remove(table) else { return Ok(()) };
        match active.failed {
            None => {
                active.meter.enter(TableState::Publishing);
                self.send(LoadEvent::Complete(table.clone())).await;
            }
            Some(error) => {
                self.send(LoadEvent::Abort { table: table.clone(), error: Arc::clone(&error), attempts: 1 }).await;
                self.load.settle(table, Outcome::Failed(error));
            }
        }
        Ok(())
    }

    /// A table may fail in the sink while it is still being read: then its splits stop.
    fn reported(&mut self, report: Wrote) -> Result<()> {
        if let Wrote::Failed(table, error) = &report
            && let Some(active) = self.active.get_mut(table)
        {
            let why = Error::new(error.kind(), "the table failed in the sink").with("table", table);
            active.fail(Arc::new(why));
        }
        self.load.wrote(report)
    }

    fn reader_died(&self, dead: tokio::task::JoinError) -> Error {
        match dead.try_into_panic() {
            Ok(panic) => from_panic(&self.load.job.pipeline.source_name, "drop", &*panic),
            Err(aborted) => Error::fatal("a reader was aborted").caused_by(aborted),
        }
    }
}

impl Active {
    /// The first error stands; splits that are open stop, those that wait are not opened.
    fn fail(&mut self, error: Arc<Error>) {
        self.failed.get_or_insert(error);
        self.waiting.clear();
        self.cancel.cancel();
    }
}
