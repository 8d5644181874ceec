//! The connectors that the program has, and what it says of them.

use std::collections::BTreeSet;

use connect_engine::runtime_keys;
use connector_api::config::{Key, nearest};
use connector_api::{ConnectorKind, Plugin};

/// The connectors that the program comes with, by name.
pub const PLUGINS: &[Plugin] = &[
    Plugin::of::<connector_iceberg::Iceberg>(),
    Plugin::of::<connector_kafka::Kafka>(),
    Plugin::of::<connector_oracle::Oracle>(),
    Plugin::of::<connector_postgres::Postgres>(),
];

/// Checks that every name and class means one connector, and topics one log.
pub(crate) fn check(plugins: &[Plugin]) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    let mut names = plugins.iter().flat_map(|p| std::iter::once(p.name).chain(p.aliases.iter().copied()));
    if let Some(twice) = names.find(|name| !seen.insert(*name)) {
        return Err(format!("this program was built with two connectors that are called \"{twice}\""));
    }
    let mut logs = plugins.iter().filter(|p| p.kind == ConnectorKind::Log).map(|p| p.name);
    match (logs.next(), logs.next()) {
        (Some(a), Some(b)) => {
            Err(format!("this program was built with two logs, \"{a}\" and \"{b}\": topics mean one"))
        }
        _ => Ok(()),
    }
}

/// The lines of `plugins`: all of them, or the keys of one.
pub(crate) fn describe(plugins: &[Plugin], name: Option<&str>) -> Result<Vec<String>, String> {
    let Some(name) = name else { return Ok(list(plugins)) };
    let Some(plugin) = plugins.iter().find(|p| p.answers_to(name)) else {
        let hint = nearest(name, plugins.iter().map(|p| p.name));
        let known: Vec<_> = plugins.iter().map(|p| p.name).collect();
        return Err(format!("no connector is called \"{name}\"{hint} (known: {})", known.join(", ")));
    };
    let mut lines = vec![format!("{}, a {}, version {}", plugin.name, plugin.kind.as_str(), plugin.version)];
    if plugin.kind == ConnectorKind::Log {
        lines.push("A sink with the key topics or topics.regex follows it, and takes its keys.".to_owned());
    }
    lines.push(format!("\nKeys of {}:", plugin.name));
    (plugin.definition)().keys().iter().for_each(|key| lines.extend(entry(key)));
    lines.push("\nKeys of every connector:".to_owned());
    runtime_keys().keys().iter().for_each(|key| lines.extend(entry(key)));
    Ok(lines)
}

fn list(plugins: &[Plugin]) -> Vec<String> {
    let head = ["class", "type", "version", "also called"].map(str::to_owned);
    let row = |p: &Plugin| [p.name.into(), p.kind.as_str().into(), p.version.into(), p.aliases.join(", ")];
    let rows: Vec<[String; 4]> = std::iter::once(head).chain(plugins.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let (class, kind, version) = (width(0), width(1), width(2));
    let line = |[c, k, v, also]: &[String; 4]| format!("{c:<class$}  {k:<kind$}  {v:<version$}  {also}");
    rows.iter().map(|row| line(row).trim_end().to_owned()).collect()
}

fn entry(key: &Key) -> [String; 2] {
    let given = match (key.required, key.default) {
        (true, _) => ", required".to_owned(),
        (false, Some(default)) => format!(", default {default}"),
        (false, None) => String::new(),
    };
    [format!("  {}  ({}{given})", key.name, key.kind), format!("      {}", key.doc)]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reference in `docs/configuration.md` is what the definitions say, key by key.
    #[test]
    fn every_key_is_documented_as_it_is() {
        let docs = include_str!("../../docs/configuration.md");
        let missing: Vec<_> = PLUGINS
            .iter()
            .flat_map(|plugin| (plugin.definition)().keys().to_vec())
            .chain(connect_config::Worker::definition().keys().to_vec())
            .map(|key| {
                let default = match (key.required, key.default) {
                    (true, _) => "required".to_owned(),
                    (false, Some(default)) => format!("`{default}`"),
                    (false, None) => String::new(),
                };
                format!("| `{}` | {default} | {} |", key.name, key.doc)
            })
            .filter(|row| !docs.contains(row.as_str()))
            .collect();
        assert!(missing.is_empty(), "not in docs/configuration.md:\n{}", missing.join("\n"));
    }

    #[test]
    fn one_name_means_one_connector() {
        assert_eq!(check(PLUGINS), Ok(()));
        let twice = [PLUGINS, &PLUGINS[..1]].concat();
        assert_eq!(check(&twice), Err("this program was built with two connectors that are called \"iceberg\"".into()));
    }

    #[test]
    fn topics_mean_one_log() {
        let log = |name| Plugin { name, aliases: &[], kind: ConnectorKind::Log, ..PLUGINS[0] };
        assert_eq!(check(&[log("a"), PLUGINS[2]]), Ok(()));
        let two = Err("this program was built with two logs, \"a\" and \"b\": topics mean one".to_owned());
        assert_eq!(check(&[log("a"), PLUGINS[2], log("b")]), two);
        let told = describe(&[log("a")], Some("a")).unwrap();
        assert!(told[0].starts_with("a, a log, ") && told[1].contains("topics.regex"), "{told:?}");
    }

    #[test]
    fn lists_connectors_and_their_keys() {
        let version = env!("CARGO_PKG_VERSION");
        let all = describe(PLUGINS, None).unwrap();
        assert_eq!(all[0], "class     type    version  also called");
        assert!(all[4].starts_with(&format!("postgres  source  {version:<7}  io.debezium")), "{all:?}");
        let keys = describe(PLUGINS, Some("io.debezium.connector.postgresql.PostgresConnector")).unwrap().join("\n");
        assert!(
            keys.contains("  database.port  (whole number from 1 to 65535, default 5432)\n      Port of the"),
            "{keys}"
        );
        assert!(keys.contains("database.hostname  (text, required)") && keys.contains("  sink  (text)"), "{keys}");
        assert_eq!(
            describe(PLUGINS, Some("postgre")),
            Err("no connector is called \"postgre\"; did you mean \"postgres\"? (known: iceberg, kafka, oracle, postgres)"
                .into())
        );
    }
}
