//! Loads a source's tables into a sink: plans, opens splits in parallel, frames each table's load, and
//! brings everything to a clean end, whatever happens.
//!
//! What must hold: a table's `Complete` is sent only after all its splits are in the queue; a failed
//! table's `Abort` only after none of its splits runs any more; no outcome is `Loaded` before the sink said
//! durable. Only the sink's progress decides what is read again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use connector_api::{
    CancellationToken, ConnectorKind, Cut, Error, ErrorKind, Metrics, Plan, Progress, Result, Selection, TableId,
    TaskContext,
};
use tokio::sync::mpsc;
use tokio::task::JoinError;
use tracing::{Instrument as _, info, info_span, warn};

use crate::assemble::Pipeline;
use crate::contain::{contain, from_panic};
use crate::feed::Feed;
use crate::progress::{LoadProgress, TableMeter, TableState};
use crate::queue::queue;
use crate::report::{End, LoadReport, Outcome, TableReport};
use crate::status::Shared;
use crate::write::{WriteCounters, Writer, Wrote};

/// How to run a load.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bytes of rows that the load may hold: half the sink's, a quarter the source's, an eighth the queue's.
    pub memory: usize,
    /// How long a stop may take before what is left is dropped without waiting.
    pub shutdown_timeout: Duration,
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

/// Runs a load to its end and tells what came of it. Cancelling the token stops it cleanly: tables that are
/// not durable by then are not visible.
pub async fn run(job: Job, shared: Arc<Shared>, cancel: CancellationToken) -> LoadReport {
    let source = Arc::clone(&job.pipeline.source_name);
    let sink = Arc::clone(&job.pipeline.sink_name);
    let progress = Arc::new(LoadProgress::new(Arc::clone(&source)));
    shared.add_load(&progress);
    shared.add_connector(&sink, ConnectorKind::Sink);
    let metrics = Metrics::default();
    let task = shared.start_task(&source, ConnectorKind::Source, &metrics);
    let span = info_span!("load", connector = %source, task);
    let mut load =
        Load { job, shared: Arc::clone(&shared), cancel, metrics, task, progress, tables: BTreeMap::new(), cut: None };
    let end = load.run().instrument(span.clone()).await.unwrap_or_else(End::Failed);
    let report = span.in_scope(|| load.report(source, sink, end));
    shared.end_task(&report.source, task, trace(&report));
    report
}

/// Why the source's task counts as failed, if it does.
fn trace(report: &LoadReport) -> Option<String> {
    if let End::Failed(error) = &report.end {
        return Some(format!("{error:#}"));
    }
    let failure = |t: &TableReport| match &t.outcome {
        Outcome::Failed(error) => Some(format!("{}: {error:#}", t.table)),
        _ => None,
    };
    let failures: Vec<_> = report.tables.iter().filter_map(failure).collect();
    (!failures.is_empty()).then(|| failures.join("\n"))
}

/// What an error of one table means for the load. Where retries will be decided.
pub(crate) enum Verdict {
    TableFails,
    LoadEnds,
}

pub(crate) fn verdict(kind: ErrorKind) -> Verdict {
    match kind {
        ErrorKind::Retriable { .. } | ErrorKind::Data => Verdict::TableFails,
        ErrorKind::Fatal => Verdict::LoadEnds,
    }
}

/// A table of this load.
struct Table {
    meter: Arc<TableMeter>,
    outcome: Option<Outcome>,
}

/// A load at work.
pub(crate) struct Load {
    pub(crate) job: Job,
    /// The source's counters.
    pub(crate) metrics: Metrics,
    /// The source's task number.
    pub(crate) task: u32,
    shared: Arc<Shared>,
    cancel: CancellationToken,
    progress: Arc<LoadProgress>,
    tables: BTreeMap<TableId, Table>,
    cut: Option<Arc<Cut>>,
}

impl Load {
    async fn run(&mut self) -> Result<End> {
        let cancel = self.cancel.clone();
        let Some(plan) = cancel.run_until_cancelled(self.plan()).await else { return Ok(End::Cancelled) };
        match plan? {
            Some(plan) => self.transfer(plan).await,
            None if self.tables.is_empty() => Ok(End::Finished),
            None => self.tend().await,
        }
    }

    /// Opens the sink's task with nothing to write, and closes it: what a run that died right after a commit
    /// left undone in the sink's own books is made good by the next run, whether or not it has rows.
    async fn tend(&mut self) -> Result<End> {
        let Pipeline { sink_name, sink, .. } = self.job.pipeline.clone();
        let (metrics, memory) = (Metrics::default(), self.job.settings.memory / 2);
        let task = self.shared.start_task(&sink_name, ConnectorKind::Sink, &metrics);
        let (connector, cancel) = (Arc::clone(&sink_name), self.cancel.clone());
        let context = TaskContext { connector, task, cancel: cancel.clone(), memory, metrics };
        let tended = async {
            let opened = contain(&sink_name, "open", sink.open(context)).await?;
            contain(&sink_name, "close", opened.close()).await
        };
        let ended = cancel.run_until_cancelled(tended).await;
        let trace = ended.as_ref().and_then(|e| e.as_ref().err()).map(|error| format!("{error:#}"));
        self.shared.end_task(&sink_name, task, trace);
        ended.map_or(Ok(End::Cancelled), |result| result.map(|()| End::Finished))
    }

    /// Asks the sink what it has and the source for the rest; `None` when there is nothing to do.
    async fn plan(&mut self) -> Result<Option<Plan>> {
        let Pipeline { source_name, source, sink_name, sink } = self.job.pipeline.clone();
        let Selection { system, tables: selected } = contain(&source_name, "tables", source.tables()).await?;
        // A table of the same name from another database is left for the sink to refuse.
        let held = contain(&sink_name, "progress", sink.progress(&selected)).await?.of_system(&system);
        let done = if self.job.settings.resume { held } else { Progress::default() };
        for table in &selected {
            if let Some(loaded) = done.loaded(table) {
                let meter = TableMeter::settled(table.clone(), TableState::AlreadyLoaded, loaded.rows);
                self.list(table, meter, Some(Outcome::AlreadyLoaded))?;
                info!(table = %table, position = loaded.position, "already loaded");
            }
        }
        if self.tables.len() == selected.len() {
            info!(tables = selected.len(), "nothing to do: every selected table is loaded already");
            return Ok(None);
        }
        let plan = contain(&source_name, "plan", source.plan(&done)).await?;
        self.cut = Some(Arc::clone(&plan.cut));
        info!(
            position = plan.cut.position,
            tables = plan.tables.len(),
            refused = plan.refused.len(),
            "the cut is taken"
        );
        for table in &plan.tables {
            self.list(table.schema.table(), TableMeter::waiting(table), None)?;
        }
        for (table, _) in &plan.refused {
            self.list(table, TableMeter::settled(table.clone(), TableState::Waiting, None), None)?;
        }
        for table in selected {
            if !self.tables.contains_key(&table) {
                // Dropped between the two calls; not to be passed over in silence.
                let gone = Error::data("the table was selected but is no longer there").with("table", &table);
                self.list(&table, TableMeter::settled(table.clone(), TableState::Waiting, None), None)?;
                self.settle(&table, Outcome::Failed(Arc::new(gone)));
            }
        }
        Ok(Some(plan))
    }

    fn list(&mut self, table: &TableId, meter: TableMeter, outcome: Option<Outcome>) -> Result<()> {
        let meter = self.progress.add(meter);
        match self.tables.insert(table.clone(), Table { meter, outcome }) {
            None => Ok(()),
            Some(_) => Err(Error::fatal("the source planned a table twice").with("table", table)),
        }
    }

    /// Moves the planned tables; every task it starts has ended when it returns.
    async fn transfer(&mut self, plan: Plan) -> Result<End> {
        let sink_name = Arc::clone(&self.job.pipeline.sink_name);
        let metrics = Metrics::default();
        let task = self.shared.start_task(&sink_name, ConnectorKind::Sink, &metrics);
        let ended = self.transfer_as(plan, task, metrics).await;
        let trace = match &ended {
            Err((error, true)) => Some(format!("{error:#}")),
            _ => None,
        };
        self.shared.end_task(&sink_name, task, trace);
        ended.map_err(|(error, _)| error)
    }

    /// The error comes with whether it is the sink's.
    async fn transfer_as(
        &mut self,
        plan: Plan,
        task: u32,
        metrics: Metrics,
    ) -> std::result::Result<End, (Error, bool)> {
        let Settings { memory, shutdown_timeout, .. } = self.job.settings;
        let (sink_name, sink) = (Arc::clone(&self.job.pipeline.sink_name), Arc::clone(&self.job.pipeline.sink));
        // Cancelled only when a stop takes too long: work under way may end by itself first.
        let hard = CancellationToken::new();
        let counters = WriteCounters::new(&metrics);
        let context =
            TaskContext { connector: Arc::clone(&sink_name), task, cancel: hard.clone(), memory: memory / 2, metrics };
        let open = contain(&sink_name, "open", sink.open(context));
        let Some(opened) = self.cancel.run_until_cancelled(open).await else { return Ok(End::Cancelled) };
        let sink_task = opened.map_err(|e| (e, true))?;

        let (sender, receiver) = queue(memory / 8, &self.metrics);
        let (wrote, mut reports) = mpsc::channel(64);
        let stop = CancellationToken::new();
        let span = info_span!(parent: None, "write", connector = %sink_name, task);
        let writer = Writer {
            sink: Arc::clone(&sink_name),
            task: sink_task,
            queue: receiver,
            wrote,
            stop: stop.clone(),
            counters,
            undecided: Default::default(),
        };
        let mut writer = tokio::spawn(writer.run().instrument(span));
        let _abort = AbortOnDrop(writer.abort_handle());

        let mut feed = Feed::new(self, plan, sender);
        let cancel = feed.load.cancel.clone();
        let ended = tokio::select! {
            biased;
            () = cancel.cancelled() => Ended::Cancelled,
            fed = feed.run(&mut reports) => fed.map_or_else(Ended::Source, |()| Ended::Fed),
            written = &mut writer => Ended::Sink(flat(&sink_name, written)),
        };

        // Whichever way it ended: readers first, then the writer, then what it reported on its way.
        feed.cancel.cancel();
        let Feed { load, mut readers, queue, .. } = feed;
        drop(queue);
        if !matches!(ended, Ended::Fed) {
            stop.cancel();
        }
        let is_over = matches!(ended, Ended::Sink(_));
        let drain = async {
            while readers.join_next().await.is_some() {}
            let mut result = Ok(());
            while let Some(report) = reports.recv().await {
                result = result.and(load.wrote(report));
            }
            if is_over { result } else { result.and(flat(&sink_name, (&mut writer).await)) }
        };
        let late = async {
            if matches!(ended, Ended::Fed) {
                cancel.cancelled().await;
            }
            tokio::time::sleep(shutdown_timeout).await;
        };
        let closed = tokio::select! {
            biased;
            closed = drain => closed,
            () = late => {
                hard.cancel();
                let seconds = shutdown_timeout.as_secs();
                Err(Error::fatal("the stop took too long: what was left was dropped").with("seconds", seconds))
            }
        };
        match (ended, closed) {
            (Ended::Source(error), _) => Err((error, false)),
            (Ended::Sink(Err(error)), _) | (Ended::Cancelled | Ended::Fed, Err(error)) => Err((error, true)),
            (Ended::Sink(Ok(())), _) => Err((Error::fatal("the sink ended before the load did"), true)),
            (Ended::Cancelled, Ok(())) => Ok(End::Cancelled),
            (Ended::Fed, Ok(())) => Ok(End::Finished),
        }
    }

    /// Takes note of a table's end in the sink.
    ///
    /// # Errors
    /// When it ends the load as well.
    pub(crate) fn wrote(&mut self, report: Wrote) -> Result<()> {
        match report {
            Wrote::Durable(table, loaded) => {
                let read = self.meter(&table).map(|m| m.snapshot(&self.job.pipeline.source_name).rows);
                let outcome = match (read, loaded.rows) {
                    (Some(read), Some(holds)) if read != holds => Outcome::Failed(Arc::new(
                        Error::fatal("the published table has another number of rows than were read")
                            .with("table", &table)
                            .with("read", read)
                            .with("published", holds),
                    )),
                    _ => Outcome::Loaded,
                };
                self.settle(&table, outcome);
                Ok(())
            }
            Wrote::Failed(table, error) => {
                let error = Arc::new(error);
                self.settle(&table, Outcome::Failed(Arc::clone(&error)));
                match verdict(error.kind()) {
                    Verdict::TableFails => Ok(()),
                    Verdict::LoadEnds => {
                        Err(Error::fatal("the sink cannot go on").with("table", &table).caused_by(error))
                    }
                }
            }
        }
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
        let line = |(table, Table { meter, outcome }): (TableId, Table)| {
            let seen = meter.snapshot(&source);
            let outcome = outcome.unwrap_or(Outcome::Cancelled);
            let held = if matches!(outcome, Outcome::AlreadyLoaded) { seen.rows_total } else { None };
            let (rows, bytes, elapsed) = (held.unwrap_or(seen.rows), seen.bytes, seen.elapsed);
            TableReport { table, outcome, rows, bytes, elapsed }
        };
        let tables = self.tables.into_iter().map(line).collect();
        LoadReport { source, sink, cut: self.cut, tables, end, elapsed: self.progress.elapsed() }
    }
}

/// Why the feeding ended.
enum Ended {
    /// Every table has its outcome.
    Fed,
    Cancelled,
    /// By an error of the source, or one that ends the load.
    Source(Error),
    /// The sink's task ended first.
    Sink(Result<()>),
}

/// A dropped load leaves no task behind.
struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn flat(connector: &str, joined: std::result::Result<Result<()>, JoinError>) -> Result<()> {
    match joined.map_err(JoinError::try_into_panic) {
        Ok(result) => result,
        Err(Ok(panic)) => Err(from_panic(connector, "drop", &*panic)),
        Err(Err(aborted)) => Err(Error::fatal("a task was aborted").caused_by(aborted)),
    }
}
