//! Logs: one line per event on standard error, and the same in `log.dir` when that is set. Spans carry
//! connector, task and table. Standard output is left to results.

use std::io::IsTerminal;
use std::path::Path;

use anyhow::{Context, Result};
use connector_api::Plugin;
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt};

/// Name of the log file within `log.dir`.
const FILE: &str = "connect-runtime.log";

/// Sets up logging at a level for our own crates and those of the connectors; the libraries below log warnings
/// only. `RUST_LOG` overrides both. The guard flushes the file when dropped.
pub(crate) fn start(plugins: &[Plugin], level: &str, directory: Option<&Path>) -> Result<Option<WorkerGuard>> {
    let ours = ["connect_runtime", "connect_engine", "connect_config", "connector_api"];
    let theirs = plugins.iter().filter_map(|plugin| (plugin.path)().split("::").next());
    let default = ours.into_iter().chain(theirs).fold("warn".to_owned(), |all, name| format!("{all},{name}={level}"));
    let filter = EnvFilter::try_from_default_env().or_else(|_| EnvFilter::try_new(default)).context("log.level")?;
    let console =
        fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal()).with_target(false);
    let (file, guard) = match directory {
        None => (None, None),
        Some(directory) => {
            std::fs::create_dir_all(directory)
                .with_context(|| format!("log.dir: cannot create {}", directory.display()))?;
            let path = directory.join(FILE);
            let file = std::fs::OpenOptions::new().create(true).append(true).open(&path);
            let file = file.with_context(|| format!("log.dir: cannot write {}", path.display()))?;
            let (writer, guard) = tracing_appender::non_blocking(file);
            (Some(fmt::layer().with_writer(writer).with_ansi(false).with_target(false)), Some(guard))
        }
    };
    tracing_subscriber::registry().with(filter).with(console).with(file).try_init().context("logging")?;
    Ok(guard)
}
