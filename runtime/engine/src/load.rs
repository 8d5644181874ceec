//! Loads a source's tables into a sink: plans, moves what is planned in rounds until nothing is left to be
//! tried again, and brings everything to a clean end, whatever happens; but for the hand-over, which comes after.
//!
//! What must hold: a table's `Complete` is sent only after all its splits are in the queue; a failed
//! table's `Abort` only after none of its splits runs any more; no outcome is `Loaded` before the sink said
//! durable; a table's rows are of one cut. Only the sink's progress decides what is read again.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use connector_api::{
    CancellationToken, ConnectorKind, Cut, Error, Loaded, Marks, Metrics, Plan, Progress, Result, Selection, TableId,
    TablePlan,
};
use tracing::{Instrument as _, info, info_span, warn};

use crate::assemble::Pipeline;
use crate::contain::contain;
use crate::handover::Settled;
use crate::inspect::inspect;
use crate::others::Others;
use crate::progress::{LoadProgress, TableMeter, TableState};
use crate::read::ReadCounters;
use crate::report::{End, LoadReport, Outcome, TableReport};
use crate::retry::{Verdict, chance};
use crate::status::Shared;
use crate::write::Wrote;

/// How to run a load.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bytes of rows that the load may hold: half the sink's, a quarter the source's, a sixteenth the queue's.
    pub memory: usize,
    /// How long a stop may take before what is left is dropped without waiting.
    pub shutdown_timeout: Duration,
    /// Where connectors may keep files that outlive the process.
    pub state_dir: Option<Arc<Path>>,
    /// Whether tables that the sink holds are left as they are; else they are replaced.
    pub resume: bool,
}

/// A load to be run.
pub struct Job {
    /// From where to where.
    pub pipeline: Pipeline,
    /// How.
    pub settings: Settings,
}

/// Runs a load until every table has its outcome. Cancelling the token stops it cleanly: tables that are not durable by
/// then are not visible.
pub(crate) async fn load(job: Job, shared: Arc<Shared>, cancel: CancellationToken) -> Settled {
    let pipeline = job.pipeline.clone();
    let Pipeline { source_name: source, sink_name: sink, .. } = &pipeline;
    let progress = Arc::new(LoadProgress::new(Arc::clone(source)));
    shared.add_load(&progress);
    shared.add_connector(sink, ConnectorKind::Sink);
    let metrics = Metrics::default();
    let task = shared.start_task(source, ConnectorKind::Source, &metrics);
    let span = info_span!("load", connector = %source, task);
    let mut load = Load::new(job, Arc::clone(&shared), cancel.clone(), metrics, task, progress);
    let end = load.run().instrument(span.clone()).await.unwrap_or_else(End::Failed);
    let system = load.system.clone();
    let report = span.in_scope(|| load.report(Arc::clone(source), Arc::clone(sink), end));
    Settled { report, pipeline, system, task, shared, cancel, span }
}

/// A table of this load.
struct Table {
    meter: Arc<TableMeter>,
    outcome: Option<Outcome>,
    /// Attempts after a failure, of the whole table and of its splits.
    retries: u32,
    /// Attempts from the beginning after a failure in the sink.
    restarts: u32,
}

/// A load at work.
pub(crate) struct Load {
    pub(crate) job: Job,
    /// The source's counters.
    pub(crate) metrics: Metrics,
    pub(crate) counters: ReadCounters,
    /// The source's task number.
    pub(crate) task: u32,
    /// Which database it is, once the source has said so.
    system: Option<String>,
    /// The last cut.
    pub(crate) cut: Option<Arc<Cut>>,
    /// Where the log of each table ended before that, for the sink that goes on with it.
    pub(crate) marks: BTreeMap<TableId, Marks>,
    /// What is to be read under it.
    pub(crate) planned: BTreeMap<TableId, TablePlan>,
    /// What it refused, not yet told to the sink.
    pub(crate) refused: Vec<(TableId, Error)>,
    /// Tables, and splits of each, to read at a time.
    pub(crate) width: (usize, usize),
    /// What other instances do.
    pub(crate) others: Others,
    pub(crate) shared: Arc<Shared>,
    pub(crate) cancel: CancellationToken,
    progress: Arc<LoadProgress>,
    tables: BTreeMap<TableId, Table>,
    /// Failures of whole rounds since a table was last published.
    setbacks: u32,
    /// Whether the source has looked at its surroundings.
    inspected: bool,
}

impl Load {
    fn new(
        job: Job,
        shared: Arc<Shared>,
        cancel: CancellationToken,
        metrics: Metrics,
        task: u32,
        progress: Arc<LoadProgress>,
    ) -> Self {
        let counters = ReadCounters::new(&metrics);
        let (planned, tables) = (BTreeMap::new(), BTreeMap::new());
        let (cut, refused, width, setbacks, inspected) = (None, Vec::new(), (1, 1), 0, false);
        Self {
            job,
            metrics,
            counters,
            task,
            system: None,
            cut,
            marks: BTreeMap::new(),
            planned,
            refused,
            width,
            others: Others::default(),
            shared,
            cancel,
            progress,
            tables,
            setbacks,
            inspected,
        }
    }

    async fn run(&mut self) -> Result<End> {
        let cancel = self.cancel.clone();
        loop {
            let error = match self.round().await {
                Ok(end) => match self.others.wait().filter(|_| matches!(end, End::Finished)) {
                    None => return Ok(end),
                    Some(wait) => {
                        self.setbacks = 0;
                        if cancel.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                            return Ok(End::Cancelled);
                        }
                        continue;
                    }
                },
                // Nothing is left that could be tried again.
                Err(error) if !self.tables.is_empty() && self.settled() => return Err(error),
                Err(error) => error,
            };
            let retry = self.job.pipeline.retry;
            let wait = match retry.verdict(&error, self.setbacks, chance()) {
                Verdict::Again(wait) => wait,
                Verdict::PlanAgain if self.setbacks < retry.max => {
                    self.planned.clear();
                    retry.wait(self.setbacks, chance())
                }
                Verdict::PlanAgain | Verdict::Fails | Verdict::LoadEnds => return Err(error),
            };
            self.setbacks += 1;
            self.counters.retries.add(1);
            self.count_begun();
            warn!(
                error = format!("{error:#}"),
                retry = self.setbacks,
                of = retry.max,
                wait_ms = wait.as_millis() as u64,
                "the load was interrupted, and goes on with the tables that are not loaded"
            );
            if cancel.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                return Ok(End::Cancelled);
            }
        }
    }

    /// Plans, unless there is a plan to go on with, and moves the planned tables.
    async fn round(&mut self) -> Result<End> {
        let cancel = self.cancel.clone();
        self.others.clear();
        let planned = async { if self.unsettled().is_empty() { self.plan().await } else { self.look_again().await } };
        let Some(planned) = cancel.run_until_cancelled(planned).await else { return Ok(End::Cancelled) };
        planned?;
        match self.tables.is_empty() {
            true => Ok(End::Finished),
            false if self.settled() => self.tend().await,
            false => self.transfer().await,
        }
    }

    /// Asks the sink what it has and the source for the rest.
    async fn plan(&mut self) -> Result<()> {
        let Pipeline { source_name, source, sink_name, sink, log, .. } = self.job.pipeline.clone();
        let Selection { system, tables: selected } = contain(&source_name, "tables", source.tables()).await?;
        self.system = Some(system.clone());
        // A table of the same name from another database is left for the sink to refuse.
        let held = contain(&sink_name, "progress", sink.progress(&selected)).await?.of_system(&system);
        if !self.job.settings.resume {
            self.others.replace(&held);
        }
        let done = self.others.outcomes(held);
        for (table, loaded) in done.tables() {
            if !self.is_settled(table) {
                self.list(table, TableMeter::settled(table.clone(), TableState::AlreadyLoaded, loaded.rows));
                self.settle(table, Outcome::AlreadyLoaded);
                info!(table = %table, position = loaded.position, "already loaded");
            }
        }
        if selected.iter().all(|table| self.is_settled(table)) {
            info!(tables = selected.len(), "nothing to do: every selected table is loaded already");
            return Ok(());
        }
        if !self.inspected {
            inspect(&source_name, &source).await?;
            self.inspected = true;
        }
        // Before the cut: what the log has by then the cut shows, what comes later is followed.
        self.marks = match log {
            Some(log) => {
                let wanted: Vec<_> = selected.iter().filter(|table| !self.is_settled(table)).cloned().collect();
                contain(&sink_name, "ends", log.ends(&wanted)).await?
            }
            None => BTreeMap::new(),
        };
        let plan = contain(&source_name, "plan", source.plan(&done)).await?;
        self.take(plan)?;
        for table in selected {
            if !self.planned.contains_key(&table) && !self.refused.iter().any(|(refused, _)| *refused == table) {
                if self.is_settled(&table) {
                    continue;
                }
                // Dropped between the two calls; not to be passed over in silence.
                let gone = Error::data("the table was selected but is no longer there").with("table", &table);
                self.list(&table, TableMeter::settled(table.clone(), TableState::Waiting, None));
                self.settle(&table, Outcome::Failed(Arc::new(gone)));
            }
        }
        Ok(())
    }

    /// Lists what a plan has, but for what has its outcome.
    fn take(&mut self, plan: Plan) -> Result<()> {
        info!(
            position = plan.cut.position,
            tables = plan.tables.len(),
            refused = plan.refused.len(),
            "the cut is taken"
        );
        (self.cut, self.width) = (Some(plan.cut), (plan.tables_at_a_time.max(1), plan.splits_at_a_time.max(1)));
        self.refused.clear();
        self.planned.clear();
        let twice = |table: &TableId| Error::fatal("the source planned a table twice").with("table", table);
        for planned in plan.tables {
            let table = planned.schema.table().clone();
            if !self.is_settled(&table) {
                self.list(&table, TableMeter::waiting(&planned));
                if self.planned.insert(table.clone(), planned).is_some() {
                    return Err(twice(&table));
                }
            }
        }
        for (table, why) in plan.refused {
            if self.planned.contains_key(&table) {
                return Err(twice(&table));
            }
            if !self.is_settled(&table) {
                self.list(&table, TableMeter::settled(table.clone(), TableState::Waiting, None));
                self.refused.push((table, why));
            }
        }
        Ok(())
    }

    /// Asks the sink what it has by now of the tables that a round has left, and resets their meters.
    async fn look_again(&mut self) -> Result<()> {
        let plans = self.unsettled();
        let found = self.looking_again(plans.iter().map(|plan| plan.schema.table().clone()).collect()).await?;
        for plan in plans {
            let table = plan.schema.table();
            match found.loaded(table) {
                Some(loaded) => self.found_loaded(table, loaded),
                None => self.list(table, TableMeter::waiting(&plan)),
            }
        }
        Ok(())
    }

    /// What the sink has of planned tables by now, by a commit of this load whose answer was lost or by another
    /// instance's; nothing of what was there before a load that replaces it.
    pub(crate) fn looking_again(
        &self,
        tables: Vec<TableId>,
    ) -> impl Future<Output = Result<Progress>> + Send + 'static {
        let Pipeline { sink_name, sink, .. } = self.job.pipeline.clone();
        let (system, others) = (self.cut.as_ref().map(|cut| cut.system.clone()), self.others.clone());
        async move {
            let Some(system) = system else { return Ok(Progress::default()) };
            let held = contain(&sink_name, "progress", sink.progress(&tables)).await?.of_system(&system);
            Ok(others.outcomes(held))
        }
    }

    /// Puts a table on the list, or its meter back to the beginning.
    fn list(&mut self, table: &TableId, meter: TableMeter) {
        let meter = self.progress.put(meter);
        match self.tables.get_mut(table) {
            Some(known) => known.meter = meter,
            None => {
                self.tables.insert(table.clone(), Table { meter, outcome: None, retries: 0, restarts: 0 });
            }
        }
    }

    /// What is planned and has no outcome.
    pub(crate) fn unsettled(&self) -> Vec<TablePlan> {
        self.planned.iter().filter(|(table, _)| !self.is_settled(table)).map(|(_, plan)| plan.clone()).collect()
    }

    /// What is planned, has no outcome, and is not left to another instance.
    pub(crate) fn ours(&self) -> Vec<TablePlan> {
        self.unsettled().into_iter().filter(|plan| !self.others.hold(plan.schema.table())).collect()
    }

    /// Whether every table has its outcome or is left to another instance.
    pub(crate) fn is_fed(&self) -> bool {
        self.tables.iter().all(|(table, entry)| entry.outcome.is_some() || self.others.hold(table))
    }

    /// A round was interrupted: what it had begun is in its next attempt from now on.
    fn count_begun(&mut self) {
        let source = Arc::clone(&self.job.pipeline.source_name);
        for table in self.tables.values_mut().filter(|t| t.outcome.is_none()) {
            if table.meter.snapshot(&source).state != TableState::Waiting {
                table.retries += 1;
            }
        }
    }

    /// Which attempt at a table is under way, from 1.
    pub(crate) fn attempt(&self, table: &TableId) -> u32 {
        1 + self.tables.get(table).map_or(0, |t| t.retries)
    }

    /// How often a table began anew after a failure in the sink.
    pub(crate) fn restarts(&self, table: &TableId) -> u32 {
        self.tables.get(table).map_or(0, |t| t.restarts)
    }

    /// Puts a table back to its beginning.
    pub(crate) fn restart(&mut self, table: &TableId) {
        if let Some(plan) = self.planned.get(table) {
            let meter = TableMeter::waiting(plan);
            self.list(table, meter);
        }
        if let Some(entry) = self.tables.get_mut(table) {
            entry.restarts += 1;
        }
    }

    /// Counts and tells an attempt that will follow a failure.
    pub(crate) fn tried(&mut self, table: &TableId, error: &Error, nth: u32, wait: Duration, what: &str) {
        self.counters.retries.add(1);
        if let Some(entry) = self.tables.get_mut(table) {
            entry.retries += 1;
        }
        let (of, wait_ms) = (self.job.pipeline.retry.max, wait.as_millis() as u64);
        warn!(table = %table, error = format!("{error:#}"), retry = nth, of, wait_ms, "{what}");
    }

    /// A table is durable.
    pub(crate) fn published(&mut self, table: &TableId, loaded: &Loaded) {
        let read = self.meter(table).map(|m| m.snapshot(&self.job.pipeline.source_name).rows);
        let outcome = match (read, loaded.rows) {
            (Some(read), Some(holds)) if read != holds => Outcome::Failed(Arc::new(
                Error::fatal("the published table has another number of rows than were read")
                    .with("table", table)
                    .with("read", read)
                    .with("published", holds),
            )),
            _ => Outcome::Loaded,
        };
        self.setbacks = 0;
        self.settle(table, outcome);
    }

    /// A table that was to be tried again, or was left to another instance, is in the sink.
    pub(crate) fn found_loaded(&mut self, table: &TableId, loaded: &Loaded) {
        if !self.is_settled(table) {
            info!(table = %table, position = loaded.position, "the sink has it by now");
            self.list(table, TableMeter::settled(table.clone(), TableState::AlreadyLoaded, loaded.rows));
            self.settle(table, Outcome::AlreadyLoaded);
        }
    }

    /// Takes note of what the sink reports once a round is over. A failure that may pass leaves the table
    /// to the next round.
    pub(crate) fn wrote(&mut self, report: Wrote) {
        match report {
            Wrote::Durable(table, loaded) => self.published(&table, &loaded),
            Wrote::Failed(table, error) => match self.job.pipeline.retry.verdict(&error, 0, 0.0) {
                Verdict::Again(_) => warn!(table = %table, error = format!("{error:#}"), "the table is not loaded yet"),
                _ => self.settle(&table, Outcome::Failed(Arc::new(error))),
            },
        }
    }

    fn is_settled(&self, table: &TableId) -> bool {
        self.tables.get(table).is_some_and(|t| t.outcome.is_some())
    }

    /// Whether every table has its outcome.
    pub(crate) fn settled(&self) -> bool {
        self.tables.values().all(|t| t.outcome.is_some())
    }

    /// A listed table's meter.
    pub(crate) fn meter(&self, table: &TableId) -> Option<Arc<TableMeter>> {
        self.tables.get(table).map(|t| Arc::clone(&t.meter))
    }

    /// Gives a table its outcome. The first one stays.
    pub(crate) fn settle(&mut self, table: &TableId, outcome: Outcome) {
        let Some(entry) = self.tables.get_mut(table).filter(|t| t.outcome.is_none()) else { return };
        let state = match &outcome {
            Outcome::Loaded => TableState::Loaded,
            Outcome::AlreadyLoaded => TableState::AlreadyLoaded,
            Outcome::Failed(_) => TableState::Failed,
            Outcome::Cancelled => TableState::Cancelled,
        };
        entry.meter.enter(state);
        let seen = entry.meter.snapshot(&self.job.pipeline.source_name);
        match &outcome {
            Outcome::Loaded => info!(table = %table, rows = seen.rows, seconds = seen.elapsed.as_secs_f64(), "loaded"),
            Outcome::Failed(error) => warn!(table = %table, error = format!("{error:#}"), "the table is not loaded"),
            Outcome::AlreadyLoaded | Outcome::Cancelled => {}
        }
        entry.outcome = Some(outcome);
    }

    fn report(mut self, source: Arc<str>, sink: Arc<str>, end: End) -> LoadReport {
        let open: Vec<_> = self.tables.iter().filter(|(_, t)| t.outcome.is_none()).map(|(id, _)| id.clone()).collect();
        for table in open {
            self.settle(&table, Outcome::Cancelled);
        }
        let line = |(table, Table { meter, outcome, .. }): (TableId, Table)| {
            let seen = meter.snapshot(&source);
            let outcome = outcome.unwrap_or(Outcome::Cancelled);
            let held = if matches!(outcome, Outcome::AlreadyLoaded) { seen.rows_total } else { None };
            let (rows, bytes, elapsed) = (held.unwrap_or(seen.rows), seen.bytes, seen.elapsed);
            TableReport { table, outcome, rows, bytes, elapsed }
        };
        let tables = self.tables.into_iter().map(line).collect();
        let elapsed = self.progress.elapsed();
        LoadReport { source, sink, cut: self.cut, tables, end, hand_over: None, elapsed }
    }
}
