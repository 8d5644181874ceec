//! `positions restore`: a table that was rolled back in the lake is followed from where its rows are.

use std::io::Write as _;

use anyhow::{Context, Result};
use connector_api::{TableId, TaskContext};

use crate::Outcome;
use crate::cli::RestoreArgs;
use crate::setup::Setup;

/// Restores the position of a table, and prints it.
pub(crate) async fn restore(setup: &Setup, args: &RestoreArgs) -> Result<Outcome> {
    let sinks = setup.pipelines.iter().map(|p| (&p.sink_name, &p.sink));
    let mut sinks = sinks.chain(setup.followings.iter().map(|f| (&f.sink_name, &f.sink)));
    let (_, sink) = sinks
        .find(|(name, _)| ***name == *args.sink)
        .with_context(|| format!("--sink {}: no sink of this name follows topics or is loaded into", args.sink))?;
    let (schema, name) = args.table.split_once('.').context("--table: give it as schema.table")?;
    let table = TableId::new(schema, name);
    let state_dir = Some(setup.worker.state_dir.as_path().into());
    let context = TaskContext { state_dir, ..TaskContext::new(args.sink.as_str(), 0, setup.worker.memory_max) };
    let marks = sink.restore(&table, &args.to_snapshot, context).await.map_err(|error| anyhow::anyhow!("{error:#}"))?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{table}: the position is that of snapshot {}", args.to_snapshot)?;
    for (partition, mark) in marks {
        writeln!(out, "{partition}: {mark}")?;
    }
    Ok(Outcome::Done)
}
