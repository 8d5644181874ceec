//! One session of following: the two tasks are opened, events move from one to the other, checkpoints are awaited
//! beside that, and both tasks are closed, whatever happens.

use std::sync::Arc;
use std::time::Duration;

use connector_api::{Applied, ApplyTask, CancellationToken, Error, LogEvent, LogTask, Result, TableId, TaskContext};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{info, warn};

use super::Follow;
use crate::contain::{contain, contain_call, from_panic};
use crate::retry::{Streak, chance};

/// How often the sink is asked whether a checkpoint is due while no event comes.
const PULSE: Duration = Duration::from_secs(1);
/// The most checkpoints under way: one that hangs does not keep the others, and they do not pile up.
const UNDER_WAY: usize = 16;

/// Who failed as a whole.
enum Failed {
    Log(Error),
    Sink(Error),
}

impl Failed {
    fn into_error(self) -> Error {
        match self {
            Self::Log(error) | Self::Sink(error) => error,
        }
    }
}

type Joined = (u64, Result<Applied>);

/// Both tasks at work.
struct Session<'a> {
    follow: &'a mut Follow,
    log: Box<dyn LogTask>,
    sink: Box<dyn ApplyTask>,
    commits: JoinSet<Joined>,
    /// Checkpoints asked for.
    checkpoints: u64,
    /// When the last one was.
    asked: Instant,
    /// One that has panicked is fit for nothing but to be dropped.
    log_broken: bool,
    sink_broken: bool,
}

impl Follow {
    /// Follows until the stop. An error ends the session; what is durable by then stays.
    pub(super) async fn session(&mut self) -> Result<()> {
        let cancel = self.cancel.clone();
        let allowed = self.job.settings.shutdown_timeout;
        // Cancelled only when a stop takes too long: work under way may end by itself first.
        let hard = CancellationToken::new();
        let late = async {
            cancel.cancelled().await;
            tokio::time::sleep(allowed).await;
        };
        tokio::select! {
            biased;
            ended = self.opened(hard.clone()) => ended,
            () = late => {
                hard.cancel();
                let error = Error::fatal("the stop took too long: what was not durable comes again with the next run");
                Err(error.with("seconds", allowed.as_secs()))
            }
        }
    }

    async fn opened(&mut self, hard: CancellationToken) -> Result<()> {
        let name = Arc::clone(&self.job.following.sink_name);
        let context = |memory| TaskContext {
            connector: Arc::clone(&name),
            task: self.task,
            cancel: hard.clone(),
            memory,
            metrics: self.metrics.clone(),
            state_dir: self.job.settings.state_dir.clone(),
        };
        let (for_sink, for_log) = (context(self.job.settings.memory / 2), context(self.job.settings.memory / 4));
        let (sink, log) = (Arc::clone(&self.job.following.sink), Arc::clone(&self.job.following.log));
        let deal = self.deal;
        let (cancel, mut opened) = (self.cancel.clone(), None);
        // The sink first: what an earlier task left under way it settles before the log asks where tables stand.
        let both = async {
            opened = Some(contain(&name, "apply", sink.apply(for_sink)).await?);
            contain(&name, "follow", log.follow(Arc::clone(&sink), deal, for_log)).await
        };
        let followed = cancel.run_until_cancelled(both).await;
        let (log, sink) = match (followed, opened) {
            (Some(Ok(log)), Some(sink)) => (log, sink),
            (failed, opened) => {
                let closed = match opened {
                    Some(sink) => contain(&name, "close", sink.close()).await,
                    None => Ok(()),
                };
                return failed.map_or(Ok(()), |failed| failed.map(drop)).and(closed);
            }
        };
        info!("following the log");
        self.lanes.begin();
        self.trouble(None);
        let (commits, checkpoints, asked) = (JoinSet::new(), 0, Instant::now());
        let (log_broken, sink_broken) = (false, false);
        let mut session = Session { follow: self, log, sink, commits, checkpoints, asked, log_broken, sink_broken };
        let ended = session.run().await;
        session.close(ended).await
    }
}

impl Session<'_> {
    async fn run(&mut self) -> Result<(), Failed> {
        let cancel = self.follow.cancel.clone();
        let mut pulse = tokio::time::interval_at(Instant::now() + PULSE, PULSE);
        pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let rested = self.follow.lanes.next_rested();
            let rest = async {
                match rested {
                    Some(until) => tokio::time::sleep_until(until.into()).await,
                    None => std::future::pending().await,
                }
            };
            let name = Arc::clone(&self.follow.job.following.sink_name);
            tokio::select! {
                biased;
                () = cancel.cancelled() => return Ok(()),
                Some(commit) = self.commits.join_next(), if !self.commits.is_empty() => self.joined(commit).await?,
                _ = pulse.tick() => {}
                () = rest => self.reopen().await?,
                event = contain(&name, "next", self.log.next()) => self.event(event).await?,
            }
            if self.commits.len() < UNDER_WAY && self.is_due()? {
                self.checkpoint()?;
            }
        }
    }

    async fn event(&mut self, event: Result<LogEvent>) -> Result<(), Failed> {
        let event = event.map_err(|e| self.log_failed(e))?;
        let table = event.table().clone();
        match &event {
            LogEvent::Open { create, .. } => {
                if *create && self.follow.job.owed.has(&table) {
                    let error = Error::data(
                        "the table's load has not succeeded, and the log has only what changed: run again to load it",
                    );
                    return self.failed(&table, Arc::new(error.with("table", &table)), true).await;
                }
                if !self.follow.lanes.open(&table) {
                    return self.stop(&table).await;
                }
            }
            LogEvent::Failed(..) => {}
            // It comes again when the table is opened again.
            _ if !self.follow.lanes.is_followed(&table) => return Ok(()),
            _ => {}
        }
        let changes = match &event {
            LogEvent::Changes(batch) => Some(batch.rows().num_rows() as u64),
            LogEvent::Truncate(..) => Some(1),
            LogEvent::Open { .. } | LogEvent::Failed(..) => None,
        };
        let failure = if let LogEvent::Failed(_, error) = &event { Some(Arc::clone(error)) } else { None };
        let name = Arc::clone(&self.follow.job.following.sink_name);
        self.follow.counters.read(changes.unwrap_or(0));
        let applied = contain(&name, "apply", self.sink.apply(event)).await;
        applied.map_err(|e| self.sink_failed(named(e, &table)))?;
        self.follow.counters.sent(changes.unwrap_or(0));
        if let Some(changes) = changes {
            self.follow.lanes.accepted(&table, changes);
        }
        match failure {
            Some(error) => self.failed(&table, error, false).await,
            None => Ok(()),
        }
    }

    /// A table has failed: it rests, or is left alone. The log is told to stop it unless it knows.
    async fn failed(&mut self, table: &TableId, error: Arc<Error>, tell: bool) -> Result<(), Failed> {
        let wait = self.follow.lanes.failed(table, Arc::clone(&error), Instant::now().into(), chance());
        let text = format!("{error:#}");
        match wait {
            Some(wait) => {
                let (retry, wait_ms) = (self.follow.lanes.failures(table), wait.as_millis() as u64);
                warn!(table = %table, error = text, retry, wait_ms, "the table failed, and goes on from where it stands");
            }
            None => warn!(table = %table, error = text, "the table failed, and is not followed any more"),
        }
        self.follow.trouble(None);
        if tell { self.stop(table).await } else { Ok(()) }
    }

    fn log_failed(&mut self, error: Error) -> Failed {
        self.log_broken |= error.context("panic").is_some();
        Failed::Log(error)
    }

    fn sink_failed(&mut self, error: Error) -> Failed {
        self.sink_broken |= error.context("panic").is_some();
        Failed::Sink(error)
    }

    async fn stop(&mut self, table: &TableId) -> Result<(), Failed> {
        if self.log_broken {
            return Ok(());
        }
        let name = &self.follow.job.following.sink_name;
        let stopped = async {
            self.log.stop(table).await;
            Ok(())
        };
        contain(name, "stop", stopped).await.map_err(|e| self.log_failed(e))
    }

    async fn reopen(&mut self) -> Result<(), Failed> {
        for table in self.follow.lanes.rested(Instant::now().into()) {
            self.follow.retries.add(1);
            let name = &self.follow.job.following.sink_name;
            let reopened = contain(name, "reopen", self.log.reopen(&table)).await;
            reopened.map_err(|e| self.log_failed(named(e, &table)))?;
        }
        Ok(())
    }

    fn is_due(&mut self) -> Result<bool, Failed> {
        let (name, since) = (&self.follow.job.following.sink_name, self.asked.elapsed());
        contain_call(name, "due", || self.sink.due(since)).map_err(|e| self.sink_failed(e))
    }

    fn checkpoint(&mut self) -> Result<(), Failed> {
        let name = Arc::clone(&self.follow.job.following.sink_name);
        let handle = contain_call(&name, "checkpoint", || self.sink.checkpoint());
        let handle = handle.map_err(|e| self.sink_failed(e))?;
        self.checkpoints += 1;
        self.asked = Instant::now();
        let number = self.checkpoints;
        self.commits.spawn(async move { (number, contain(&name, "commit", handle).await) });
        Ok(())
    }

    /// A checkpoint has ended: what is durable is acknowledged, what has failed rests or is left alone.
    async fn joined(&mut self, commit: Result<Joined, JoinError>) -> Result<(), Failed> {
        let (number, applied) = match commit {
            Ok((number, applied)) => (number, applied),
            Err(dead) => (0, Err(self.died(dead))),
        };
        let Applied { durable, failed } = applied.map_err(|e| self.sink_failed(e))?;
        for (table, marks) in durable {
            self.follow.streak = Streak::default();
            if self.follow.lanes.durable(&table, number) && !self.log_broken {
                let name = &self.follow.job.following.sink_name;
                let told = async {
                    self.log.acknowledge(&table, &marks).await;
                    Ok(())
                };
                contain(name, "acknowledge", told).await.map_err(|e| self.log_failed(e))?;
            }
        }
        for (table, error) in failed {
            self.failed(&table, Arc::new(named(error, &table)), true).await?;
        }
        Ok(())
    }

    fn died(&self, dead: JoinError) -> Error {
        match dead.try_into_panic() {
            Ok(panic) => from_panic(&self.follow.job.following.sink_name, "commit", &*panic),
            Err(aborted) => Error::fatal("a commit was aborted").caused_by(aborted),
        }
    }

    /// Makes durable what can be, hears of every checkpoint, and closes both tasks. Why the session ended comes before
    /// what went wrong then.
    async fn close(mut self, ended: Result<(), Failed>) -> Result<()> {
        let may_commit = !matches!(ended, Err(Failed::Sink(_)));
        let mut result = ended.map_err(Failed::into_error);
        if may_commit {
            result = result.and(self.checkpoint().map_err(Failed::into_error));
        }
        while let Some(commit) = self.commits.join_next().await {
            result = result.and(self.joined(commit).await.map_err(Failed::into_error));
        }
        let Session { follow, log, sink, log_broken, sink_broken, .. } = self;
        let name = &follow.job.following.sink_name;
        if !sink_broken {
            result = result.and(contain(name, "close", sink.close()).await);
        }
        if !log_broken {
            result = result.and(contain(name, "close", log.close()).await);
        }
        result
    }
}

fn named(error: Error, table: &TableId) -> Error {
    if error.context("table").is_some() { error } else { error.with("table", table) }
}
