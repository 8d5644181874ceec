//! Running: the tables of every pipeline, then every log until the stop, with REST, progress lines and signals around
//! it, and a summary on standard output.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use connect_engine::{End, FollowJob, FollowReport, Following, Job, LoadReport, Owed, Settings, Shared, lines};
use connector_api::ConnectorKind;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::Outcome;
use crate::check;
use crate::logging::{Console, PROGRESS};
use crate::memory::Keeper;
use crate::rest::Rest;
use crate::setup::Setup;

/// Time between two looks at the progress for its bars.
const REDRAW: Duration = Duration::from_millis(100);

/// Loads every pipeline's tables, and follows the log of every sink that has one and no load left; with `resume`
/// tables that are loaded already are left alone.
pub(crate) async fn run(mut setup: Setup, console: &Console, resume: bool) -> Result<Outcome> {
    let cancel = stop_on_signals()?;
    let worker_id = setup
        .worker
        .rest_listeners
        .first()
        .map_or_else(|| "127.0.0.1:8083".to_owned(), |l| format!("{}:{}", l.host, l.port));
    let shared = Arc::new(Shared::new(worker_id));
    for pipeline in &setup.pipelines {
        shared.add_connector(&pipeline.source_name, ConnectorKind::Source);
        shared.add_connector(&pipeline.sink_name, ConnectorKind::Sink);
    }
    for following in &setup.followings {
        shared.add_connector(&following.sink_name, ConnectorKind::Sink);
    }
    let rest = Rest::new(Arc::clone(&shared));
    rest.serve(&setup.worker.rest_listeners).await?;
    for finding in check::state(&setup.worker.state_dir) {
        tracing::warn!("{finding}");
    }
    let _keeper = Keeper::start(setup.worker.memory_max).context("no thread to look after the memory")?;
    let settings = |memory| {
        let state_dir = Some(setup.worker.state_dir.as_path().into());
        Settings { resume, memory, state_dir, shutdown_timeout: setup.worker.shutdown_timeout }
    };
    let share = setup.worker.memory_max / shares(&setup);
    let feeds = feeds(&setup);
    let feeds = |sink: &str| feeds.iter().filter(|fed| fed.as_ref() == sink).count();
    // A source holds its cut, and the server's locks with it, for as long as anyone has it.
    let pipelines = std::mem::take(&mut setup.pipelines).into_iter();
    let jobs = pipelines.map(|pipeline| Job { pipeline, settings: settings(share) }).collect();
    let mut follows = JoinSet::new();
    let mut begin = |following: &Following, owed: Owed| {
        let settings = settings(share * feeds(&following.sink_name).max(1));
        let job = FollowJob { following: following.clone(), settings, owed };
        follows.spawn(connect_engine::follow(job, Arc::clone(&shared), cancel.clone()));
    };
    setup.followings.iter().filter(|f| feeds(&f.sink_name) == 0).for_each(|f| begin(f, Owed::default()));
    rest.started();
    let mut progress = JoinSet::new();
    if let Some(interval) = setup.worker.progress_interval {
        progress.spawn(log_progress(Arc::clone(&shared), interval));
    }
    if console.has_bars() {
        progress.spawn(draw_progress(Arc::clone(&shared), console.clone()));
    }
    let mut outcome = Outcome::Done;
    let loaded = |sink: &str, owed| {
        let following = setup.followings.iter().find(|f| f.sink_name.as_ref() == sink);
        if let Some(following) = following.filter(|_| !cancel.is_cancelled()) {
            begin(following, owed);
        }
    };
    let mut reports = connect_engine::run(jobs, &shared, &cancel, loaded).await?;
    console.clear();
    reports.sort_by(|a, b| a.source.cmp(&b.source));
    for report in &reports {
        print(&report.lines()).context("standard output")?;
        outcome = outcome.max(judge(report));
    }
    let mut ends = Vec::new();
    while let Some(report) = follows.join_next().await {
        ends.push(report.context("following a log ended abnormally")?);
    }
    progress.shutdown().await;
    console.clear();
    ends.sort_by(|a, b| a.sink.cmp(&b.sink));
    for report in &ends {
        print(&report.lines()).context("standard output")?;
        outcome = outcome.max(judge_end(report));
    }
    Ok(outcome)
}

/// The sink of each load.
fn feeds(setup: &Setup) -> Vec<Arc<str>> {
    setup.pipelines.iter().map(|p| Arc::clone(&p.sink_name)).collect()
}

/// In how many parts the memory is divided: one for each load, which the log of its sink takes over, and one for each
/// log of a sink without a load.
fn shares(setup: &Setup) -> usize {
    let fed = feeds(setup);
    let alone = setup.followings.iter().filter(|f| !fed.contains(&f.sink_name)).count();
    (setup.pipelines.len() + alone).max(1)
}

fn judge(report: &LoadReport) -> Outcome {
    match report.ended() {
        End::Failed(_) => Outcome::Failed,
        End::Finished if !report.complete() => Outcome::Partly,
        End::Finished | End::Cancelled => Outcome::Done,
    }
}

fn judge_end(report: &FollowReport) -> Outcome {
    match &report.end {
        End::Failed(_) => Outcome::Failed,
        _ if report.failed() > 0 => Outcome::Partly,
        End::Finished | End::Cancelled => Outcome::Done,
    }
}

fn print(lines: &[String]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    lines.iter().try_for_each(|line| writeln!(out, "{line}"))?;
    out.flush()
}

/// Cancelled by the first SIGINT or SIGTERM; the second ends the process on the spot.
fn stop_on_signals() -> Result<CancellationToken> {
    let cancel = CancellationToken::new();
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt()).context("signals")?, signal(SignalKind::terminate()).context("signals")?);
    let stop = cancel.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
            if stop.is_cancelled() {
                std::process::exit(Outcome::Failed as i32);
            }
            tracing::info!(
                "stopping: changes in hand are made durable; unfinished loads are dropped and left to the next run"
            );
            stop.cancel();
        }
    });
    Ok(cancel)
}

async fn log_progress(shared: Arc<Shared>, interval: Duration) {
    let mut ticks = tokio::time::interval(interval);
    ticks.tick().await;
    let mut said = BTreeMap::new();
    loop {
        ticks.tick().await;
        // A load that is over has said so itself.
        for load in shared.loads().iter().filter(|load| load.is_going_on()) {
            for line in lines(&load.tables(), load.elapsed()) {
                tracing::info!(target: PROGRESS, connector = load.source(), "{line}");
            }
        }
        // A log may be quiet for long.
        for follow in shared.follows() {
            let line = follow.line();
            if said.insert(follow.sink().to_owned(), line.clone()).as_ref() != Some(&line) {
                tracing::info!(target: PROGRESS, connector = follow.sink(), "{line}");
            }
        }
    }
}

async fn draw_progress(shared: Arc<Shared>, console: Console) {
    let mut ticks = tokio::time::interval(REDRAW);
    loop {
        ticks.tick().await;
        console.draw(&shared);
    }
}
