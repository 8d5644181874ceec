//! Running: every pipeline until it ends, with REST, progress lines and signals around it, and a summary
//! on standard output.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use connect_engine::{End, Job, LoadReport, Settings, Shared, lines};
use connector_api::ConnectorKind;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::Outcome;
use crate::check;
use crate::logging::{Console, PROGRESS};
use crate::rest::Rest;
use crate::setup::Setup;

/// Time between two looks at the progress for its bars.
const REDRAW: Duration = Duration::from_millis(100);

/// Loads every pipeline's tables; with `resume` those that are loaded already are left alone.
pub(crate) async fn run(setup: &Setup, console: &Console, resume: bool) -> Result<Outcome> {
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
    let rest = Rest::new(Arc::clone(&shared));
    rest.serve(&setup.worker.rest_listeners).await?;
    for finding in check::state(&setup.worker.state_dir) {
        tracing::warn!("{finding}");
    }
    let memory = setup.worker.memory_max / setup.pipelines.len().max(1);
    let mut jobs = JoinSet::new();
    for pipeline in setup.pipelines.iter().cloned() {
        let state_dir = Some(setup.worker.state_dir.as_path().into());
        let settings = Settings { resume, memory, state_dir, shutdown_timeout: setup.worker.shutdown_timeout };
        jobs.spawn(connect_engine::run(Job { pipeline, settings }, Arc::clone(&shared), cancel.clone()));
    }
    rest.started();
    let mut progress = JoinSet::new();
    if let Some(interval) = setup.worker.progress_interval {
        progress.spawn(log_progress(Arc::clone(&shared), interval));
    }
    if console.has_bars() {
        progress.spawn(draw_progress(shared, console.clone()));
    }
    let mut outcome = Outcome::Done;
    let mut reports = Vec::new();
    while let Some(report) = jobs.join_next().await {
        reports.push(report.context("a load ended abnormally")?);
    }
    progress.shutdown().await;
    console.clear();
    reports.sort_by(|a, b| a.source.cmp(&b.source));
    for report in &reports {
        print(report).context("standard output")?;
        outcome = outcome.max(judge(report));
    }
    Ok(outcome)
}

fn judge(report: &LoadReport) -> Outcome {
    match &report.end {
        End::Failed(_) => Outcome::Failed,
        End::Finished if !report.complete() => Outcome::Partly,
        End::Finished | End::Cancelled => Outcome::Done,
    }
}

fn print(report: &LoadReport) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    report.lines().iter().try_for_each(|line| writeln!(out, "{line}"))?;
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
            tracing::info!("stopping: unfinished tables are dropped and will be loaded by the next run");
            stop.cancel();
        }
    });
    Ok(cancel)
}

async fn log_progress(shared: Arc<Shared>, interval: Duration) {
    let mut ticks = tokio::time::interval(interval);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        for load in shared.loads() {
            for line in lines(&load.tables(), load.elapsed()) {
                tracing::info!(target: PROGRESS, connector = load.source(), "{line}");
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
