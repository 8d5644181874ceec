//! connect-runtime: the command line around the engine and the connectors.

mod cli;
mod logging;
mod plugins;
mod rest;
mod run;
mod setup;
mod validate;

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser as _;

use cli::{Cli, Command, ConfigArgs, Tuning};
use setup::{Setup, prepare};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How a run ended, worst last; the exit codes are documented in `--help` and the README.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Done = 0,
    Partly = 3,
    Failed = 1,
    Misconfigured = 2,
}

impl Outcome {
    /// The worse of two.
    fn max(self, other: Self) -> Self {
        let rank = |o| [Self::Done, Self::Partly, Self::Failed, Self::Misconfigured].iter().position(|x| *x == o);
        if rank(other) > rank(self) { other } else { self }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = dispatch(&cli).unwrap_or_else(|error| {
        complain(&[format!("{error:#}")]);
        Outcome::Failed
    });
    ExitCode::from(outcome as u8)
}

fn dispatch(cli: &Cli) -> Result<Outcome> {
    match &cli.command {
        Some(Command::Load(args)) => load(&args.config, &args.tuning, Some(&args.source)),
        Some(Command::Validate(args)) => match prepare(&args.config.files, &[], Some(&args.source)) {
            Ok(setup) => start(&setup, async |setup: &Setup| match setup.pipelines.first() {
                Some(pipeline) => validate::validate(pipeline, args).await,
                None => Ok(Outcome::Done),
            }),
            Err(problems) => Ok(misconfigured(&problems)),
        },
        None => load(&cli.run.config, &cli.run.tuning, None),
    }
}

fn load(config: &ConfigArgs, tuning: &Tuning, source: Option<&str>) -> Result<Outcome> {
    match prepare(&config.files, &tuning.overrides(), source) {
        Ok(setup) => start(&setup, async |setup: &Setup| run::run(setup, !tuning.no_resume).await),
        Err(problems) => Ok(misconfigured(&problems)),
    }
}

/// Starts logging and the async runtime for a command.
fn start(setup: &Setup, command: impl AsyncFnOnce(&Setup) -> Result<Outcome>) -> Result<Outcome> {
    let _flushes = logging::start(&setup.worker.log_level, setup.worker.log_dir.as_deref().map(Path::new))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    let outcome = runtime.block_on(command(setup));
    // A thread that is stuck in a system call must not keep the process.
    runtime.shutdown_background();
    outcome
}

fn misconfigured(problems: &[String]) -> Outcome {
    complain(problems);
    Outcome::Misconfigured
}

/// Problems go to standard error, one line each; there is nowhere to report a failure to do so.
fn complain(lines: &[String]) {
    let mut err = std::io::stderr().lock();
    for line in lines {
        let _ = writeln!(err, "connect-runtime: {line}");
    }
}
