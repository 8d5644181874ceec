//! The command line. What a flag means to a connector is said as a configuration key, so that there is
//! one way to say it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use connect_config::ProgressDisplay;

use crate::setup::Setup;

const EXAMPLES: &str = "\
Examples:
  connect-runtime --config cdc.json
      Run every connector of the file. With only `initial_only` sources the process ends when all tables
      are loaded; run again, it finds them loaded and does nothing. A sink with `topics` then follows them
      until the process is stopped.
  connect-runtime --config worker.json --config shop.json
      Worker settings in one file, connectors in another.
  connect-runtime load --config cdc.json --source shop --table-filter 'S_%' --parallel-workers 8
      Load the tables of one source whose names begin with S_, eight at a time.
  connect-runtime load --config cdc.json --source shop --no-resume
      Load every table again; each is replaced in one commit when its load is complete.
  connect-runtime validate --config cdc.json --source shop --hide-empty
      List the loaded tables with their rows, and what the lake lacks.
  connect-runtime check --config cdc.json --source shop
      What stands in the way of a load, each with the statement that removes it. Writes no table.
  connect-runtime positions restore --config cdc.json --sink lake --table public.orders --to-snapshot 7214
      Have a table that was rolled back in the lake to one of its snapshots followed from there.
  connect-runtime plugins postgres
      Every key of a connector with its type, default and meaning.

Configuration files are JSON, YAML (.yaml, .yml) or Java properties (.properties), also in Kafka Connect's own forms.

Exit codes: 0 all tables loaded, or stopped by SIGINT/SIGTERM; 1 the run failed; 2 the configuration or
the command line is wrong; 3 the run ended but some tables were not loaded, or not followed any more (validate:
are missing; check: something blocks).";

/// Loads tables from databases into Apache Iceberg.
#[derive(Debug, Parser)]
#[command(name = "connect-runtime", version, after_help = EXAMPLES)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Load the tables of one source, then end.
    #[command(after_help = EXAMPLES)]
    Load(LoadArgs),
    /// List the tables of one source with their rows in the lake. Writes nothing.
    Validate(ValidateArgs),
    /// Tell what stands in the way of the sources and their sinks. Writes no table.
    Check(CheckArgs),
    /// What the tables record of how far they have come.
    Positions(PositionsArgs),
    /// List the connectors that this program has, or the configuration keys of one.
    Plugins(PluginsArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    /// A configuration file; may be given several times.
    #[arg(long = "config", value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
}

/// How to load; each overrides the configuration key in brackets.
#[derive(Debug, Args)]
pub(crate) struct Tuning {
    /// Load only tables whose name is LIKE this (`%`, `_`); with a dot it is matched against schema.table
    /// [table.filter].
    #[arg(long, value_name = "PATTERN")]
    pub(crate) table_filter: Option<String>,
    /// Parts of one table to read at a time [parallel.tables].
    #[arg(long, value_name = "N")]
    pub(crate) parallel_tables: Option<u32>,
    /// Tables to read at a time [parallel.workers].
    #[arg(long, value_name = "N")]
    pub(crate) parallel_workers: Option<u32>,
    /// How often in a row a failure that may pass is tried again [max.retries].
    #[arg(long, value_name = "N")]
    pub(crate) max_retries: Option<u32>,
    /// Wait before the first retry, in milliseconds; it doubles with each [retry.backoff.ms].
    #[arg(long, value_name = "MS")]
    pub(crate) retry_backoff_ms: Option<u32>,
    /// Load again what is loaded already, replacing each table in one commit.
    #[arg(long)]
    pub(crate) no_resume: bool,
    /// How to show progress [progress.display].
    #[arg(long, value_name = "HOW")]
    pub(crate) progress: Option<Display>,
}

/// [`ProgressDisplay`] as a flag's value.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Display {
    /// Bars where a person looks at a terminal, lines elsewhere.
    Auto,
    /// Bars on any terminal that can show them.
    Bars,
    /// Lines in the log.
    Lines,
}

impl Tuning {
    /// The setup with the flags that override a setting of the worker.
    pub(crate) fn applied_to(&self, mut setup: Setup) -> Setup {
        if let Some(display) = self.progress {
            setup.worker.progress_display = match display {
                Display::Auto => ProgressDisplay::Auto,
                Display::Bars => ProgressDisplay::Bars,
                Display::Lines => ProgressDisplay::Lines,
            };
        }
        setup
    }

    /// The configuration keys that the flags override, with their values.
    pub(crate) fn overrides(&self) -> Vec<(&'static str, String)> {
        [
            ("table.filter", self.table_filter.clone()),
            ("parallel.tables", self.parallel_tables.map(|n| n.to_string())),
            ("parallel.workers", self.parallel_workers.map(|n| n.to_string())),
            ("max.retries", self.max_retries.map(|n| n.to_string())),
            ("retry.backoff.ms", self.retry_backoff_ms.map(|n| n.to_string())),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)))
        .collect()
    }
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    #[command(flatten)]
    pub(crate) tuning: Tuning,
}

#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Name of the source connector.
    #[arg(long, value_name = "NAME")]
    pub(crate) source: String,
    #[command(flatten)]
    pub(crate) tuning: Tuning,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Name of the source connector; without it, of every one.
    #[arg(long, value_name = "NAME")]
    pub(crate) source: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ValidateArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Name of the source connector.
    #[arg(long, value_name = "NAME")]
    pub(crate) source: String,
    /// Leave tables without rows out of the list.
    #[arg(long)]
    pub(crate) hide_empty: bool,
    /// Do not ask the source at all: list what the lake holds of it, not what the lake lacks.
    #[arg(long)]
    pub(crate) no_check_missing: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PositionsArgs {
    #[command(subcommand)]
    pub(crate) command: Positions,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Positions {
    /// Set a table's position back to that of its rows, after they were rolled back in the lake. What the log has had since
    /// is applied again with the next run, as far as the log still has it; a run that follows the table now leaves it.
    Restore(RestoreArgs),
}

#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Name of the sink connector.
    #[arg(long, value_name = "NAME")]
    pub(crate) sink: String,
    /// The table at the source, as schema.table.
    #[arg(long, value_name = "TABLE")]
    pub(crate) table: String,
    /// The snapshot that the table was rolled back to, which the refusal to follow it names.
    #[arg(long, value_name = "ID")]
    pub(crate) to_snapshot: String,
}

#[derive(Debug, Args)]
pub(crate) struct PluginsArgs {
    /// A connector, by its short name or a class; without it all of them are listed.
    pub(crate) name: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(args: &[&str]) -> Result<Cli, String> {
        Cli::try_parse_from(std::iter::once(&"connect-runtime").chain(args)).map_err(|e| e.to_string())
    }

    #[test]
    fn the_documented_forms_parse() {
        let cli = check(&["--config", "a.json", "--config", "b.json", "--no-resume"]).unwrap();
        assert_eq!((cli.run.config.files.len(), cli.run.tuning.no_resume), (2, true));
        let args =
            ["load", "--config", "a.json", "--source", "shop", "--table-filter", "S_%", "--parallel-tables", "16"];
        let Some(Command::Load(load)) = check(&args).unwrap().command else { panic!() };
        assert_eq!(load.tuning.overrides(), [("table.filter", "S_%".to_owned()), ("parallel.tables", "16".to_owned())]);
        assert!(check(&["validate", "--config", "a.json", "--source", "shop", "--hide-empty"]).is_ok());
        let restore = ["positions", "restore", "--config", "a.json", "--sink", "lake", "--table", "public.t"];
        assert!(check(&[&restore[..], &["--to-snapshot", "7"]].concat()).is_ok());
    }

    #[test]
    fn what_is_missing_is_said() {
        assert!(check(&["load", "--config", "a.json"]).unwrap_err().contains("--source"));
        assert!(check(&["--no-resume"]).unwrap_err().contains("--config"));
    }
}
