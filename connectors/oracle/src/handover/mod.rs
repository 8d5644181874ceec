//! The hand-over to Debezium's connector for Oracle, once every selected table is in the sink.
//!
//! The way it takes: `start` finds where the redo must be read from, `redo` whether it is there, `connector` makes the
//! configuration and the offsets, `files` writes them down, and where there is a `worker`, `steps` says what to do there.
//! What must hold: nothing is kept between the steps. What is in the sink says what is handed over, what is at the
//! worker says how far that has come: killed anywhere and run again, it goes on.

mod columns;
mod config;
mod connector;
mod files;
mod redo;
mod start;
mod steps;
mod worker;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use connector_api::{Error, ErrorKind, Finding, HandOver, Progress, Result, TableId, failpoint};

pub(crate) use columns::silent;
pub(crate) use config::HandoverConfig;

use crate::catalog::{self, Relation};
use crate::config::OracleConfig;
use crate::cut;
use crate::session::Session;
use crate::source::{OracleSource, blocking};
use columns::Columns;
use connector::Wanted;
use redo::Redo;
use start::Start;
use steps::{Step, Tried, next};
use worker::Worker;

/// Between two looks at the worker; after troubles in a row it doubles each time.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(8);
/// How long what is shown may be of before what was done last: a worker's states come by a topic.
const STALE: Duration = Duration::from_secs(5);

/// What is in the way of a hand-over, before the load begins.
pub(crate) fn check(
    session: &mut dyn Session,
    handover: &HandoverConfig,
    (user, standby): (&str, bool),
    relations: &[Relation],
) -> Result<Vec<Finding>> {
    let redo = redo::ask(session, standby).map_err(|e| e.while_doing("looking at the redo"))?;
    Ok(redo.judge(handover, user, relations))
}

#[async_trait]
impl HandOver for OracleSource {
    async fn hand_over(&self, source: &str, held: &Progress) -> Result<()> {
        let Some(handover) = self.config.handover.clone() else { return Ok(()) };
        let (config, asked, name, held) = (self.config.clone(), handover.clone(), source.to_owned(), held.clone());
        let (wanted, redo) = blocking(move || {
            let (wanted, redo) = wanted(&config, &asked, &name, &held)?;
            if let Some(dir) = &asked.dir {
                if asked.worker.is_none() {
                    usable(&redo, &wanted, files::are(dir, &name, &wanted))?;
                }
                files::write(dir, &name, &wanted)?;
                failpoint::hit("handover.written")?;
            }
            Ok((wanted, redo))
        })
        .await?;
        match &handover.worker {
            Some(worker) => drive(&Worker::new(worker)?, &wanted, &redo, handover.timeout).await,
            None => Ok(()),
        }
    }
}

/// Whether files that say where to begin are of use. Those that are there already may have been used long ago.
fn usable(redo: &Redo, wanted: &Wanted, there_already: bool) -> Result<()> {
    match redo.reaches(&wanted.start) {
        Err(error) if there_already => {
            let error = format!("{error:#}");
            tracing::warn!(error, "the files of the hand-over are of use only to a connector that has begun by them");
            Ok(())
        }
        judged => judged,
    }
}

/// What is handed over of these tables, and the redo that it begins in.
fn wanted(config: &OracleConfig, handover: &HandoverConfig, source: &str, held: &Progress) -> Result<(Wanted, Redo)> {
    let mut session = cut::connect(&config.endpoint)?;
    let database = catalog::database(&mut *session).map_err(|e| e.while_doing("asking what the database is"))?;
    let selected = cut::selected(&mut *session, config).map_err(|e| e.while_doing("finding the tables"))?;
    let redo = redo::ask(&mut *session, database.standby).map_err(|e| e.while_doing("looking at the redo"))?;
    let logged = selected.iter().filter(|r| redo::is_logged(r)).map(|r| &r.id);
    let followed: BTreeSet<&TableId> = logged.filter(|table| held.loaded(table).is_some()).collect();
    let mut columns = Columns::default();
    for owner in followed.iter().map(|table| table.schema()).collect::<BTreeSet<_>>() {
        let details = catalog::details(&mut *session, owner, false);
        let details = details.map_err(|e| e.while_doing("reading the tables' columns"))?;
        for table in followed.iter().filter(|table| table.schema() == owner) {
            if let Some(details) = details.get(table.name()) {
                columns.add(table, details, &config.filter, &config.handling);
            }
        }
    }
    drop(session);
    let starts = Start::of(held, handover.start, |table| followed.contains(&table))?;
    let from = (database.system.as_str(), &redo.place);
    let wanted = Wanted::new(source, config, handover, from, (starts, redo.threads()), &columns)?;
    Ok((wanted, redo))
}

/// Does at the worker what is to be done, step by step, until nothing is.
async fn drive(worker: &Worker, wanted: &Wanted, redo: &Redo, patience: Duration) -> Result<()> {
    let began = Instant::now();
    let (mut tried, mut acted, mut fit) = (Tried::default(), None::<Instant>, false);
    let mut wait = LOOK_AGAIN;
    loop {
        let left = patience.saturating_sub(began.elapsed());
        tried.just_now = acted.is_some_and(|acted| acted.elapsed() < STALE);
        let step = async {
            if !fit {
                worker.fit().await?;
                fit = true;
            }
            let seen = worker.look(&wanted.name).await?;
            let step = next(seen.as_ref(), wanted, tried)?;
            if step.needs_redo() {
                redo.reaches(&wanted.start)?;
            }
            take(step, worker, wanted, seen.map(|seen| seen.config).unwrap_or_default()).await?;
            Ok::<_, Error>(step)
        };
        let late = || Error::retriable("Kafka Connect did not answer in the time that was left");
        // What is given up here may have been done: as for every lost answer, the next look tells.
        let step = tokio::time::timeout(left.max(LOOK_AGAIN), step).await.unwrap_or_else(|_| Err(late()));
        let trouble = match step {
            Ok(Step::Done) => return Ok(()),
            Ok(Step::Wait) => {
                wait = LOOK_AGAIN;
                None
            }
            Ok(step) => {
                wait = LOOK_AGAIN;
                tried.restarted |= step == Step::Restart;
                tried.configured |= step == Step::Configure;
                tried.finished |= step == Step::Finish;
                acted = Some(Instant::now());
                None
            }
            Err(error) if matches!(error.kind(), ErrorKind::Retriable { .. }) => {
                tracing::info!(connector = wanted.name, error = format!("{error:#}"), "the hand-over tries again");
                Some(error)
            }
            Err(error) => return Err(error),
        };
        if began.elapsed() >= patience {
            let what = match trouble {
                Some(_) => "the hand-over was not done in time",
                None => "Debezium's connector does not stream yet",
            };
            let remedy = format!(
                "look at GET /connectors/{}/status, and run again, which goes on; or raise handover.timeout.ms",
                wanted.name
            );
            let error = Error::retriable(what).with("connector", &wanted.name).with("remedy", remedy);
            return Err(match trouble {
                Some(cause) => error.caused_by(cause),
                None => error,
            });
        }
        tokio::time::sleep(wait).await;
        if trouble.is_some() {
            wait = LONGEST_WAIT.min(wait * 2);
        }
    }
}

/// One step. Whether it got through when its answer is lost, the next look tells.
async fn take(
    step: Step,
    worker: &Worker,
    wanted: &Wanted,
    config: std::collections::BTreeMap<String, String>,
) -> Result<()> {
    let name = wanted.name.as_str();
    match step {
        Step::Wait => Ok(()),
        Step::Done => {
            tracing::info!(connector = name, "handed over to Debezium's connector");
            Ok(())
        }
        Step::Create => {
            worker.create(wanted).await?;
            tracing::info!(connector = name, "made Debezium's connector, stopped");
            failpoint::hit("handover.created")
        }
        Step::Configure => {
            worker.configure(wanted).await?;
            tracing::info!(connector = name, "gave Debezium's connector its configuration again");
            failpoint::hit("handover.configured")
        }
        Step::Stop => {
            worker.turn(wanted, "stop").await?;
            tracing::info!(connector = name, "stopped Debezium's connector, which had no offsets yet");
            failpoint::hit("handover.stopped")
        }
        Step::SetOffsets => {
            worker.set_offsets(wanted).await?;
            tracing::info!(connector = name, offset = %wanted.offset(), "set where Debezium's connector begins");
            failpoint::hit("handover.offsets-set")
        }
        Step::Start => {
            worker.turn(wanted, "resume").await?;
            tracing::info!(connector = name, "started Debezium's connector, which reads the tables' structure first");
            failpoint::hit("handover.started")
        }
        Step::Restart => {
            worker.restart(wanted).await?;
            tracing::info!(connector = name, "started Debezium's connector again, which had failed");
            failpoint::hit("handover.restarted")
        }
        Step::Finish => {
            worker.finish(wanted, config).await?;
            tracing::info!(connector = name, "Debezium's connector streams; from now on it starts without a snapshot");
            failpoint::hit("handover.finished")
        }
    }
}
