//! The program as a library: the command line around the engine and whatever connectors it is given, for a
//! binary of your own with connectors of your own. `main.rs` is the one with those it comes with.
//!
//! ```no_run
//! use std::process::ExitCode;
//! // use connector_api::Plugin;
//!
//! fn main() -> ExitCode {
//!     let plugins = connect_runtime::PLUGINS.to_vec();
//!     // plugins.push(Plugin::of::<YourConnector>());
//!     connect_runtime::run(&plugins)
//! }
//! ```

mod check;
mod cli;
mod logging;
mod memory;
mod plugins;
mod positions;
mod rest;
mod run;
mod setup;
mod validate;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser as _;
use connector_api::Plugin;

use cli::{Cli, Command, ConfigArgs, Positions, PositionsArgs, Tuning};
use logging::Console;
pub use plugins::PLUGINS;
use setup::{Setup, prepare};

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

/// Does what the command line says, with these connectors; the exit code is documented in `--help`.
///
/// The process is this call's own: it reads the command line, writes to standard output and error, handles
/// signals and sets up logging.
pub fn run(plugins: &[Plugin]) -> ExitCode {
    let cli = Cli::parse();
    let outcome = match plugins::check(plugins) {
        Ok(()) => dispatch(plugins, &cli).unwrap_or_else(|error| {
            complain(&[format!("{error:#}")]);
            Outcome::Failed
        }),
        Err(clash) => misconfigured(&[clash]),
    };
    ExitCode::from(outcome as u8)
}

fn dispatch(plugins: &[Plugin], cli: &Cli) -> Result<Outcome> {
    match &cli.command {
        Some(Command::Load(args)) => load(plugins, &args.config, &args.tuning, Some(&args.source)),
        Some(Command::Validate(args)) => match prepare(plugins, &args.config.files, &[], Some(&args.source)) {
            Ok(setup) => start(plugins, setup, async |setup: Setup, _| match setup.pipelines.first() {
                Some(pipeline) => validate::validate(pipeline, args).await,
                None => Ok(Outcome::Done),
            }),
            Err(problems) => Ok(misconfigured(&problems)),
        },
        Some(Command::Check(args)) => match prepare(plugins, &args.config.files, &[], args.source.as_deref()) {
            Ok(setup) => start(plugins, setup, async |setup: Setup, _| check::check(&setup).await),
            Err(problems) => Ok(misconfigured(&problems)),
        },
        Some(Command::Positions(PositionsArgs { command: Positions::Restore(args) })) => {
            match prepare(plugins, &args.config.files, &[], None) {
                Ok(setup) => start(plugins, setup, async |setup: Setup, _| positions::restore(&setup, args).await),
                Err(problems) => Ok(misconfigured(&problems)),
            }
        }
        Some(Command::Plugins(args)) => match plugins::describe(plugins, args.name.as_deref()) {
            Ok(lines) => {
                let mut out = std::io::stdout().lock();
                lines.iter().try_for_each(|line| writeln!(out, "{line}")).context("standard output")?;
                Ok(Outcome::Done)
            }
            Err(problem) => Ok(misconfigured(&[problem])),
        },
        None => load(plugins, &cli.run.config, &cli.run.tuning, None),
    }
}

fn load(plugins: &[Plugin], config: &ConfigArgs, tuning: &Tuning, source: Option<&str>) -> Result<Outcome> {
    match prepare(plugins, &config.files, &tuning.overrides(), source).map(|setup| tuning.applied_to(setup)) {
        Ok(setup) => start(plugins, setup, async |setup: Setup, console: &Console| {
            run::run(setup, console, !tuning.no_resume).await
        }),
        Err(problems) => Ok(misconfigured(&problems)),
    }
}

/// Starts logging and the async runtime for a command.
fn start(
    plugins: &[Plugin],
    setup: Setup,
    command: impl AsyncFnOnce(Setup, &Console) -> Result<Outcome>,
) -> Result<Outcome> {
    let logging = logging::start(plugins, &setup.worker)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    let outcome = runtime.block_on(command(setup, &logging.console));
    // Whatever follows on the terminal follows below the lines.
    logging.console.clear();
    // Neither waited for nor dropped: a thread that is stuck in a system call must not keep the process, and a
    // task that still cleans up would find its timers gone and panic. The process's end ends both.
    std::mem::forget(runtime);
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
