//! From configuration files and flags to pipelines, or to the list of everything that is wrong.

use std::path::PathBuf;

use connect_config::{Config, Worker};
use connect_engine::{Entry, Following, Pipeline, assemble, runtime_keys};
use connector_api::Plugin;
use connector_api::config::nearest;

/// What a command works on.
pub(crate) struct Setup {
    pub(crate) worker: Worker,
    pub(crate) pipelines: Vec<Pipeline>,
    /// The sinks that follow a log once their pipelines have loaded; none when only one source is wanted.
    pub(crate) followings: Vec<Following>,
}

/// Reads the files, applies the overrides to the sources and builds the pipelines: of one source, if one is
/// named. On failure every problem, a line each.
pub(crate) fn prepare(
    plugins: &[Plugin],
    files: &[PathBuf],
    overrides: &[(&'static str, String)],
    only: Option<&str>,
) -> Result<Setup, Vec<String>> {
    let (mut config, found) = connect_config::load(files, &|name| std::env::var(name).ok());
    for entry in &mut config.connectors {
        set_overrides(plugins, entry, overrides);
    }
    let entry = |e: &connect_config::Entry| Entry { name: e.name().to_owned(), config: e.resolved().expose().clone() };
    let entries: Vec<_> = config.connectors.iter().map(entry).collect();
    let brokers =
        config.worker.bootstrap_servers.iter().map(|servers| ("bootstrap.servers".to_owned(), servers.clone()));
    let assembly = assemble(plugins, &entries, config.complete, &brokers.collect());
    let all = found.into_iter().chain(config.translate(assembly.problems));
    let mut problems: Vec<_> = all.map(|problem| problem.to_string()).collect();
    let (mut pipelines, mut followings) = (assembly.pipelines, assembly.followings);
    if let Some(only) = only {
        followings.clear();
        pipelines.retain(|p| &*p.source_name == only);
        if pipelines.is_empty() && problems.is_empty() {
            problems.push(no_such_source(&config, only));
        }
    }
    if problems.is_empty() { Ok(Setup { worker: config.worker, pipelines, followings }) } else { Err(problems) }
}

/// Sets the overrides that the connector's plugin has a key for, or the runtime for a source.
fn set_overrides(plugins: &[Plugin], entry: &mut connect_config::Entry, overrides: &[(&'static str, String)]) {
    let class = entry.resolved().expose().get("connector.class");
    let Some(plugin) = class.and_then(|class| plugins.iter().find(|p| p.answers_to(class))) else { return };
    let (definition, own) = ((plugin.definition)(), runtime_keys());
    let is_source = entry.resolved().expose().contains_key("sink");
    for (key, value) in overrides {
        if definition.key(key).is_some() || is_source && own.key(key).is_some() {
            entry.set(key, value);
        }
    }
}

fn no_such_source(config: &Config, name: &str) -> String {
    match config.connector(name) {
        Some(_) => format!("--source {name}: this connector is not a source"),
        None => {
            let hint = nearest(name, config.connectors.iter().map(|c| c.name()));
            format!("--source {name}: no connector has this name{hint}")
        }
    }
}
