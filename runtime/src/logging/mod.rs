//! Logs: one line per event on standard error, and the same in files in `log.dir` when that is set. Spans
//! carry connector, task and table. Standard output is left to results.
//!
//! Progress lines have a target of their own: where bars show the progress, the console leaves them out.

mod console;
mod json;

use std::io::IsTerminal;
use std::path::Path;

use anyhow::{Context, Result};
use connect_config::{LogFormat, LogRotation, ProgressDisplay, Worker};
use connector_api::Plugin;
use tracing::Subscriber;
use tracing_appender::non_blocking::WorkerGuard;
use tracing_appender::rolling::{RollingFileAppender, Rotation};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, filter, fmt};

pub(crate) use console::Console;

/// The target of progress lines.
pub(crate) const PROGRESS: &str = "connect_runtime::progress";
/// Log files are named `connect-runtime.log`, with the date before the extension if they are rotated.
const NAME: &str = "connect-runtime";
const EXTENSION: &str = "log";

/// What runs as long as it is kept.
pub(crate) struct Logging {
    /// Where lines and bars go.
    pub(crate) console: Console,
    _flushes: Option<WorkerGuard>,
}

/// Sets up logging at the worker's level for our own crates and those of the connectors; the libraries below
/// log warnings only. `RUST_LOG` overrides both. Files are flushed when what is returned is dropped.
pub(crate) fn start(plugins: &[Plugin], worker: &Worker) -> Result<Logging> {
    let ours = ["connect_runtime", "connect_engine", "connect_config", "connector_api"];
    let theirs = plugins.iter().filter_map(|plugin| (plugin.path)().split("::").next());
    let level = &worker.log_level;
    let default = ours.into_iter().chain(theirs).fold("warn".to_owned(), |all, name| format!("{all},{name}={level}"));
    let filter = EnvFilter::try_from_default_env().or_else(|_| EnvFilter::try_new(default)).context("log.level")?;
    let is_terminal = std::io::stderr().is_terminal();
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let surroundings = Surroundings { is_terminal, is_ci: set("CI") };
    let console = Console::new(wants_bars(worker.progress_display, worker.log_format, surroundings));
    let (file, flushes) = match worker.log_dir.as_deref() {
        None => (None, None),
        Some(directory) => {
            let appender = appender(directory, worker.log_rotation, worker.log_max_files)?;
            let (writer, flushes) = tracing_appender::non_blocking(appender);
            (Some(layer(worker.log_format, false, writer)), Some(flushes))
        }
    };
    let has_bars = console.has_bars();
    let shown = filter::filter_fn(move |event| !(has_bars && event.target() == PROGRESS));
    let is_coloured = is_terminal && !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
    let on_console = layer(worker.log_format, is_coloured, console.clone()).with_filter(shown);
    // Files first: a layer with a filter of its own stands outermost.
    tracing_subscriber::registry().with(file).with(on_console).with(filter).try_init().context("logging")?;
    Ok(Logging { console, _flushes: flushes })
}

#[derive(Clone, Copy)]
struct Surroundings {
    is_terminal: bool,
    is_ci: bool,
}

fn wants_bars(display: ProgressDisplay, format: LogFormat, around: Surroundings) -> bool {
    match display {
        ProgressDisplay::Lines => false,
        ProgressDisplay::Bars => around.is_terminal,
        ProgressDisplay::Auto => around.is_terminal && !around.is_ci && format == LogFormat::Text,
    }
}

fn layer<S, W>(format: LogFormat, is_coloured: bool, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = fmt::layer().with_writer(writer).with_ansi(is_coloured).with_target(false);
    match format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.fmt_fields(fmt::format::JsonFields::new()).event_format(json::Object).boxed(),
    }
}

/// What appends to the log file of the moment.
fn appender(directory: &Path, rotation: LogRotation, keep: Option<usize>) -> Result<RollingFileAppender> {
    let rotation = match rotation {
        LogRotation::Daily => Rotation::DAILY,
        LogRotation::Hourly => Rotation::HOURLY,
        LogRotation::Never => Rotation::NEVER,
    };
    std::fs::create_dir_all(directory).with_context(|| format!("log.dir: cannot create {}", directory.display()))?;
    let builder = RollingFileAppender::builder().rotation(rotation).filename_prefix(NAME).filename_suffix(EXTENSION);
    let builder = keep.into_iter().fold(builder, |builder, files| builder.max_log_files(files));
    builder.build(directory).with_context(|| format!("log.dir: cannot write in {}", directory.display()))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn bars_are_for_people_at_a_terminal() {
        use LogFormat::{Json, Text};
        use ProgressDisplay::{Auto, Bars, Lines};
        let check =
            |display, format, is_terminal, is_ci| wants_bars(display, format, Surroundings { is_terminal, is_ci });
        assert!(check(Auto, Text, true, false));
        assert!(!check(Auto, Text, false, false), "a pipe");
        assert!(!check(Auto, Text, true, true), "CI");
        assert!(!check(Auto, Json, true, false), "lines that a program reads");
        assert!(!check(Lines, Text, true, false));
        assert!(check(Bars, Json, true, true) && !check(Bars, Text, false, false));
    }

    /// Names of the files in a log folder after a line was written, with digits shown as `0`.
    fn check(rotation: LogRotation, keep: Option<usize>, before: &[&str]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        for name in before {
            std::fs::write(folder.path().join(name), "old\n").unwrap();
        }
        let mut appender = appender(&folder.path().join("."), rotation, keep).unwrap();
        appender.write_all(b"new\n").unwrap();
        let names = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.map(|n| n.replace(|c: char| c.is_ascii_digit(), "0")).collect();
        names.sort();
        names
    }

    #[test]
    fn files_are_named_and_kept() {
        use LogRotation::{Daily, Hourly, Never};
        assert_eq!(check(Never, None, &[]), ["connect-runtime.log"]);
        assert_eq!(check(Daily, Some(14), &[]), ["connect-runtime.0000-00-00.log"]);
        assert_eq!(check(Hourly, Some(14), &[]), ["connect-runtime.0000-00-00-00.log"]);
        let old =
            ["connect-runtime.2020-01-01.log", "connect-runtime.2020-01-02.log", "connect-runtime.2020-01-03.log"];
        assert_eq!(check(Daily, Some(14), &old).len(), 4);
        assert_eq!(check(Daily, Some(2), &old).len(), 2);
        assert_eq!(check(Daily, Some(2), &[&old[..], &["other.log"]].concat()).last().unwrap(), "other.log");
    }
}
