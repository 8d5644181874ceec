//! Follows a log with a sink: a loop for each of the sink's tasks, which the tables are dealt to (P21), from opening to
//! closing, and again after a failure that may pass.
//!
//! What must hold: only the sink's standing decides where a table goes on; a table that fails holds up no other, and
//! nothing more of it reaches the sink until it is opened again; the log learns of nothing that is not durable; every
//! task that a session opened has ended before the next session opens.

mod lanes;
mod progress;
mod report;
mod session;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use connector_api::{CancellationToken, ConnectorKind, Counter, Deal, Error, Metrics, TableId};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{Instrument as _, error, info_span, warn};

use crate::assemble::Following;
use crate::load::Settings;
use crate::report::{End, LoadReport, Outcome, TableReport};
use crate::retry::{Streak, chance};
use crate::status::Shared;
use crate::write::WriteCounters;
use lanes::Lanes;
pub use progress::{FollowProgress, FollowState, FollowedTable};
pub use report::FollowReport;

/// Tables whose rows a load owes: a log must not make them, since it has only what changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owed {
    /// These.
    Tables(BTreeSet<TableId>),
    /// A load could not tell its tables: any that is not there.
    Any,
}

impl Default for Owed {
    /// Nothing.
    fn default() -> Self {
        Self::Tables(BTreeSet::new())
    }
}

impl Owed {
    /// Adds what a load has left undone; what came of its hand-over is no table's.
    pub fn add(&mut self, report: &LoadReport) {
        if matches!(report.end, End::Failed(_)) {
            *self = Self::Any;
        }
        if let Self::Tables(tables) = self {
            let undone = |t: &&TableReport| matches!(t.outcome, Outcome::Failed(_) | Outcome::Cancelled);
            tables.extend(report.tables.iter().filter(undone).map(|t| t.table.clone()));
        }
    }

    fn has(&self, table: &TableId) -> bool {
        match self {
            Self::Tables(tables) => tables.contains(table),
            Self::Any => true,
        }
    }
}

/// What a task works with at least, bytes.
const LEAST_MEMORY: usize = 32 << 20;

/// A log to be followed.
#[derive(Clone)]
pub struct FollowJob {
    /// What is followed with what.
    pub following: Following,
    /// How, all tasks together; that tables are resumed goes without saying.
    pub settings: Settings,
    /// What the loads before it have left undone.
    pub owed: Owed,
}

/// Follows a log until the token is cancelled, or for good reasons no longer; then makes durable what was accepted.
///
/// A task that fails as a whole ends none of the others.
pub async fn follow(mut job: FollowJob, shared: Arc<Shared>, cancel: CancellationToken) -> FollowReport {
    let sink = Arc::clone(&job.following.sink_name);
    let progress = Arc::new(FollowProgress::new(Arc::clone(&sink)));
    shared.add_follow(&progress);
    let started = Instant::now();
    let most = u32::try_from(job.settings.memory / LEAST_MEMORY).unwrap_or(u32::MAX).max(1);
    if most < job.following.tasks {
        let wanted = job.following.tasks;
        warn!(connector = %sink, wanted, tasks = most, "memory.max has room for fewer tasks than tasks.max");
    }
    let tasks = job.following.tasks.clamp(1, most);
    job.settings.memory /= tasks as usize;
    let begin = |deal| Follow::new(&job, deal, &shared, &cancel, &progress);
    let tasks: Vec<_> = Deal::among(tasks).map(begin).collect();
    let (mut running, mut numbers) = (JoinSet::new(), HashMap::new());
    for task in tasks {
        let number = task.task;
        let span = info_span!("follow", connector = %sink, task = number);
        numbers.insert(running.spawn(task.conclude().instrument(span)).id(), number);
    }
    let mut end = End::Cancelled;
    while let Some(ended) = running.join_next().await {
        let failed = match ended {
            Ok(End::Failed(error)) => error,
            Ok(End::Cancelled | End::Finished) => continue,
            Err(died) => {
                let number = numbers.get(&died.id()).copied().unwrap_or_default();
                let error = Error::fatal("a task that followed a log ended abnormally").caused_by(died);
                error!(connector = %sink, task = number, error = format!("{error:#}"), "following the log has ended");
                shared.end_task(&sink, number, Some(format!("{error:#}")));
                error
            }
        };
        if !matches!(end, End::Failed(_)) {
            end = End::Failed(failed);
        }
    }
    FollowReport { sink, tables: progress.tables(), end, elapsed: started.elapsed() }
}

/// A task at work.
struct Follow {
    job: FollowJob,
    /// What of the log it follows.
    deal: Deal,
    shared: Arc<Shared>,
    metrics: Metrics,
    /// Its number within the sink.
    task: u32,
    cancel: CancellationToken,
    counters: WriteCounters,
    retries: Counter,
    lanes: Lanes,
    /// Failures of whole sessions.
    streak: Streak,
}

impl Follow {
    fn new(
        job: &FollowJob,
        deal: Deal,
        shared: &Arc<Shared>,
        cancel: &CancellationToken,
        progress: &Arc<FollowProgress>,
    ) -> Self {
        let metrics = Metrics::default();
        let task = shared.start_task(&job.following.sink_name, ConnectorKind::Sink, &metrics);
        Self {
            deal,
            task,
            counters: WriteCounters::new(&metrics),
            retries: metrics.counter("kafka_connect_task_error_total_retries", "Attempts made again after a failure"),
            lanes: Lanes::new(job.following.patience, Arc::clone(progress), task),
            streak: Streak::default(),
            shared: Arc::clone(shared),
            metrics,
            cancel: cancel.clone(),
            job: job.clone(),
        }
    }

    /// Follows to the end, and says how it came.
    async fn conclude(mut self) -> End {
        let end = self.run().await;
        let trace = match &end {
            End::Failed(error) => {
                let text = format!("{error:#}");
                error!(error = text, "following the log has ended");
                self.lanes.end();
                Some(text)
            }
            End::Cancelled | End::Finished => self.lanes.trouble(),
        };
        self.shared.end_task(&self.job.following.sink_name, self.task, trace);
        end
    }

    async fn run(&mut self) -> End {
        let patience = self.job.following.patience;
        loop {
            let began = Instant::now();
            let error = match self.session().await {
                Ok(()) => return End::Cancelled,
                Err(error) => error,
            };
            let quiet = self.lanes.all_durable() && began.elapsed() >= patience.longest;
            let wait = self.streak.failed(&patience, &error, Instant::now().into(), quiet, chance());
            let Some(wait) = wait.filter(|_| !self.cancel.is_cancelled()) else { return End::Failed(error) };
            self.retries.add(1);
            self.trouble(Some(&error));
            warn!(
                error = format!("{error:#}"),
                retry = self.streak.failures(),
                wait_ms = wait.as_millis() as u64,
                "following the log was interrupted, and goes on from where the tables stand"
            );
            if self.cancel.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                return End::Cancelled;
            }
        }
    }

    /// Shows what is wrong: with the whole, or else with tables.
    fn trouble(&self, error: Option<&Error>) {
        let trace = error.map(|error| format!("{error:#}")).or_else(|| self.lanes.trouble());
        self.shared.trouble(&self.job.following.sink_name, self.task, trace);
    }
}
