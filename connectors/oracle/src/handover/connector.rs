//! The configuration of Debezium's connector that goes on after the load, and where it begins. Pure.
//!
//! What must hold: its events meet the types that the tables were loaded with; it captures the loaded tables and no
//! other; no secret is in it, only references that Kafka Connect resolves.
//! Keys and values are Debezium 3.6's (its documentation of the connector for Oracle, and `OracleConnectorConfig`).

use std::collections::BTreeMap;

use connector_api::{Decimals, Error, List, Result, TableId};
use serde_json::{Value, json};

use super::columns::Columns;
use super::config::HandoverConfig;
use super::start::Start;
use crate::config::{OracleConfig, Target, descriptor};

/// The connector's class, and the plugin's.
pub(crate) const CLASS: &str = "io.debezium.connector.oracle.OracleConnector";
/// A key of ours in its configuration, which Debezium passes over: of which database, and after which SCN.
pub(crate) const MARK: &str = "connect-runtime.handover";
/// How it starts: as the first start rebuilds the history of the schemas, and as every later one goes on.
pub(crate) const MODE: &str = "snapshot.mode";
pub(crate) const FIRST: &str = "recovery";
pub(crate) const LATER: &str = "no_data";
pub(crate) const TABLES: &str = "table.include.list";

/// What the database says of itself that Debezium must be told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place {
    /// `DB_NAME`: the service of the root.
    pub(crate) name: String,
    /// Whether it has containers.
    pub(crate) multitenant: bool,
    /// The container that the tables are in.
    pub(crate) container: String,
}

/// What is handed over.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// The connector's name.
    pub(crate) name: String,
    /// Its configuration at its first start.
    pub(crate) config: BTreeMap<String, String>,
    /// Which database ([`connector_api::Cut`]), and where its log begins.
    pub(crate) system: String,
    pub(crate) start: Start,
    /// Where it would have to begin for each table alone.
    pub(crate) starts: BTreeMap<TableId, Start>,
    /// Redo threads of the database.
    pub(crate) threads: Vec<u32>,
}

impl Wanted {
    /// What is handed over for these tables.
    ///
    /// # Errors
    /// `Fatal` when there is no table, or the configuration does not say how Debezium reaches the database.
    pub(crate) fn new(
        source: &str,
        config: &OracleConfig,
        handover: &HandoverConfig,
        (system, place): (&str, &Place),
        (starts, threads): (BTreeMap<TableId, Start>, Vec<u32>),
        columns: &Columns,
    ) -> Result<Self> {
        let name = handover.name.clone().unwrap_or_else(|| format!("debezium_{source}"));
        let start = Start::earliest(starts.values()).ok_or_else(|| Error::fatal("there is no table to hand over"))?;
        let mut keys = database(config, handover, place)?;
        let prefix = handover.prefix.as_str();
        let fixed = [
            ("connector.class", CLASS),
            ("tasks.max", "1"),
            ("topic.prefix", prefix),
            (MODE, FIRST),
            ("skipped.operations", "none"),
            ("provide.transaction.metadata", "true"),
            ("binary.handling.mode", "bytes"),
            ("interval.handling.mode", "string"),
            // As loads have them: nothing is finer, and no year is out of reach.
            ("time.precision.mode", "microseconds"),
            // Its own is to go on with NULL for a value that it cannot convert.
            ("event.converting.failure.handling.mode", "fail"),
            ("decimal.handling.mode", decimals(config.handling.decimals)),
            ("lob.enabled", if config.handling.without_lobs { "false" } else { "true" }),
            // An order of all changes of a table, and the brokers' own replication.
            ("topic.creation.default.partitions", "1"),
            ("topic.creation.default.replication.factor", "-1"),
            // The position moves while nothing is changed, so that redo may go and recovery is seen to have ended.
            ("heartbeat.interval.ms", "10000"),
            ("schema.history.internal.kafka.bootstrap.servers", &handover.servers),
            ("schema.history.internal.store.only.captured.tables.ddl", "true"),
        ];
        keys.extend(fixed.map(|(key, value)| (key.to_owned(), value.to_owned())));
        keys.insert("schema.history.internal.kafka.topic".into(), format!("{prefix}.schema-history"));
        keys.insert(TABLES.into(), include(starts.keys()));
        let (key, list) = match &config.filter.columns {
            List::All => ("column.exclude.list", columns.left_out.clone()),
            List::Exclude(list) => ("column.exclude.list", [&given(list)[..], &columns.left_out].concat()),
            // Debezium takes one of the two lists.
            List::Include(list) if columns.left_out.is_empty() => ("column.include.list", given(list)),
            List::Include(_) => ("column.include.list", columns.loaded.clone()),
        };
        if !list.is_empty() {
            keys.insert(key.into(), list.join(","));
        }
        keys.extend(handover.more.iter().map(|(key, value)| (key.clone(), value.expose().to_owned())));
        keys.insert(MARK.into(), mark(system, start.after));
        Ok(Self { name, config: keys, system: system.to_owned(), start, starts, threads })
    }

    /// What to make it with: the body of Kafka Connect's `POST /connectors`.
    pub(crate) fn request(&self) -> Value {
        json!({ "name": self.name, "initial_state": "STOPPED", "config": self.config })
    }

    /// Its first offsets: the body of Kafka Connect's `PATCH /connectors/{name}/offsets`.
    ///
    /// What is committed before `commit_scn` in a thread Debezium does not send. It has no `snapshot_scn`, with which
    /// Debezium would drop what was changed before it by transactions that it does not know to have been open.
    pub(crate) fn offsets(&self) -> Value {
        self.offsets_of(self.start)
    }

    /// The body of such a request, to begin there.
    pub(crate) fn offsets_of(&self, start: Start) -> Value {
        json!({ "offsets": [{ "partition": self.partition(), "offset": self.offset_of(start) }] })
    }

    /// The partition that its offsets are of.
    pub(crate) fn partition(&self) -> Value {
        json!({ "server": self.config.get("topic.prefix") })
    }

    /// Where it begins in it.
    pub(crate) fn offset(&self) -> Value {
        self.offset_of(self.start)
    }

    fn offset_of(&self, start: Start) -> Value {
        let Start { after, committed } = start;
        let threads: Vec<_> = self.threads.iter().map(|thread| format!("{committed}:{thread}:")).collect();
        json!({ "scn": after.to_string(), "commit_scn": threads.join(",") })
    }
}

/// The value of [`MARK`].
fn mark(system: &str, after: u64) -> String {
    format!("{system}@{after}")
}

/// What a connector's [`MARK`] says: which database, and after which SCN it began.
pub(crate) fn marked(mark: &str) -> Option<(&str, u64)> {
    let (system, after) = mark.rsplit_once('@')?;
    Some((system, after.parse().ok()?))
}

fn decimals(how: Decimals) -> &'static str {
    match how {
        Decimals::Precise => "precise",
        Decimals::Double => "double",
        Decimals::String => "string",
    }
}

/// How Debezium reaches the database: as the load does, but for LogMiner, which works in the root.
fn database(config: &OracleConfig, handover: &HandoverConfig, place: &Place) -> Result<BTreeMap<String, String>> {
    let endpoint = &config.endpoint;
    let mut keys = BTreeMap::from([("database.user".to_owned(), endpoint.user.clone())]);
    let mut set = |key: &str, value: String| drop(keys.insert(key.to_owned(), value));
    let in_container = place.multitenant && place.container != "CDB$ROOT";
    if in_container {
        set("database.pdb.name", place.container.clone());
    }
    let own = |key: &str| handover.more.get(key).map(|value| value.expose()).filter(|value| !value.trim().is_empty());
    let root = match (&endpoint.pdb, &endpoint.target) {
        _ if handover.more.contains_key("database.dbname") => own("database.dbname").unwrap_or_default().to_owned(),
        // The load logs in to the root, or there is none.
        (Some(_), Target::Service(service)) if !service.is_empty() => service.clone(),
        (None, Target::Service(service)) if !in_container && !service.is_empty() => service.clone(),
        _ => place.name.clone(),
    };
    if root.is_empty() {
        let what = "the name of the database is not known, which Debezium must be told";
        let remedy = "GRANT SELECT ON SYS.V_$DATABASE to the user, or set handover.config.database.dbname";
        return Err(Error::fatal(what).with("remedy", remedy));
    }
    if endpoint.url.is_none() {
        let host = own("database.hostname").unwrap_or(&endpoint.host).to_owned();
        let port = own("database.port").map_or_else(|| endpoint.port.to_string(), str::to_owned);
        let sid = matches!(endpoint.target, Target::Sid(_)) && own("database.dbname").is_none();
        if (sid || endpoint.protocol == "tcps") && own("database.url").is_none() {
            // Debezium's own string says neither.
            let target = if sid { endpoint.target.clone() } else { Target::Service(root.clone()) };
            let there = descriptor(&endpoint.protocol, &host, &port, &target);
            set("database.url", format!("jdbc:oracle:thin:@{there}"));
        }
        set("database.hostname", host);
        set("database.port", port);
    }
    set("database.dbname", root);
    Ok(keys)
}

/// A list of regular expressions that match these tables and no other.
pub(crate) fn include<'a>(tables: impl IntoIterator<Item = &'a TableId>) -> String {
    let names: Vec<_> =
        tables.into_iter().map(|table| format!("{}\\.{}", literal(table.schema()), literal(table.name()))).collect();
    names.join(",")
}

/// A name as a Java regular expression in a list: whatever is no letter, digit or `_` is escaped, the list's comma too.
pub(crate) fn literal(name: &str) -> String {
    let mut pattern = String::with_capacity(name.len());
    for c in name.chars() {
        if c.is_ascii() && !c.is_ascii_alphanumeric() && c != '_' {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

/// Regular expressions as they were given: the source reads them anchored and without regard to case, as Debezium does.
fn given(list: &[regex::Regex]) -> Vec<String> {
    let given = |regex: &regex::Regex| {
        let text = regex.as_str();
        let inner = text.strip_prefix("(?i)^(?:").and_then(|rest| rest.strip_suffix(")$"));
        inner.unwrap_or(text).replace(',', "\\,")
    };
    list.iter().map(given).collect()
}

#[cfg(test)]
mod tests {
    use connector_api::ConnectorConfig as _;

    use super::*;

    fn wanted(more: &[(&str, &str)], place: &Place, tables: &[TableId]) -> Result<Wanted, String> {
        with(more, place, tables, &Columns::default())
    }

    fn with(more: &[(&str, &str)], place: &Place, tables: &[TableId], columns: &Columns) -> Result<Wanted, String> {
        let needed = [
            ("database.hostname", "db"),
            ("database.dbname", "orclpdb1"),
            ("database.user", "me"),
            ("database.password", "hunter2"),
            ("snapshot.mode", "initial_only"),
            ("topic.prefix", "shop"),
            ("handover.dir", "/tmp"),
            ("handover.bootstrap.servers", "k:9092"),
            ("handover.config.database.password", "${file:/x:y}"),
        ];
        let mut raw: BTreeMap<String, String> =
            needed.iter().chain(more).map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        raw.retain(|_, value| !value.is_empty());
        let config = OracleConfig::from_values(&OracleConfig::definition().parse(&raw).0).unwrap();
        let handover = config.handover.clone().unwrap();
        let start = Start { after: 89, committed: 100 };
        let from = ("oracle:7/ORCLPDB1", place);
        let starts = tables.iter().map(|table| (table.clone(), start)).collect();
        Wanted::new("ora", &config, &handover, from, (starts, vec![1, 2]), columns).map_err(|e| format!("{e:#}"))
    }

    fn pdb() -> Place {
        Place { name: "ORCL".into(), multitenant: true, container: "ORCLPDB1".into() }
    }

    #[test]
    fn it_captures_what_was_loaded_as_it_was_loaded() {
        let tables = [TableId::new("HR", "EMP"), TableId::new("HR", "A$B,C d")];
        let excluded = ("column.exclude.list", r"hr\.emp\.pic,.*\.X{1\,2}");
        let wanted = wanted(&[excluded, ("decimal.handling.mode", "string")], &pdb(), &tables).unwrap();
        let of = |key: &str| wanted.config.get(key).map(String::as_str).unwrap_or_default();
        assert_eq!(wanted.name, "debezium_ora");
        assert_eq!(of(TABLES), r"HR\.A\$B\,C\ d,HR\.EMP");
        assert_eq!(of("column.exclude.list"), r"hr\.emp\.pic,.*\.X{1\,2}");
        assert_eq!((of("decimal.handling.mode"), of("lob.enabled"), of(MODE)), ("string", "true", "recovery"));
        assert_eq!(of("event.converting.failure.handling.mode"), "fail");
        assert_eq!(of("time.precision.mode"), "microseconds");
        assert_eq!((of("database.user"), of("database.password")), ("me", "${file:/x:y}"));
        assert_eq!(marked(of(MARK)), Some(("oracle:7/ORCLPDB1", 89)));
        assert!(!wanted.request().to_string().contains("hunter2"));
        let expected = json!({ "offsets": [{
            "partition": { "server": "shop" },
            "offset": { "scn": "89", "commit_scn": "100:1:,100:2:" },
        }] });
        assert_eq!(wanted.offsets(), expected);
    }

    #[test]
    fn columns_that_are_not_loaded_are_not_captured() {
        let columns = Columns { left_out: vec![r"HR\.EMP\.PIC".into()], loaded: vec![r"HR\.EMP\.ID".into()] };
        let check = |more: &[(&str, &str)], columns: &Columns| {
            let wanted = with(more, &pdb(), &[TableId::new("HR", "EMP")], columns).unwrap();
            ["column.exclude.list", "column.include.list"]
                .map(|key| wanted.config.get(key).cloned().unwrap_or_default())
        };
        assert_eq!(check(&[], &columns), [r"HR\.EMP\.PIC", ""]);
        assert_eq!(check(&[("column.exclude.list", r".*\.X")], &columns), [r".*\.X,HR\.EMP\.PIC", ""]);
        let include = [("column.include.list", r"hr\..*")];
        assert_eq!(check(&include, &columns), ["", r"HR\.EMP\.ID"]);
        assert_eq!(check(&include, &Columns::default()), ["", r"hr\..*"]);
    }

    #[test]
    fn log_miner_works_in_the_root() {
        let check = |more: &[(&str, &str)], place: &Place| {
            let wanted = wanted(more, place, &[TableId::new("HR", "EMP")])?;
            let of = |key: &str| wanted.config.get(key).cloned().unwrap_or_default();
            Ok::<_, String>(["database.hostname", "database.dbname", "database.pdb.name", "database.url"].map(of))
        };
        let plain = Place { name: "ORCL".into(), multitenant: false, container: "ORCL".into() };
        assert_eq!(check(&[], &pdb()).unwrap(), ["db", "ORCL", "ORCLPDB1", ""]);
        assert_eq!(check(&[], &plain).unwrap(), ["db", "orclpdb1", "", ""]);
        let switched = [("database.pdb.name", "orclpdb1"), ("database.dbname", "ROOT")];
        assert_eq!(check(&switched, &pdb()).unwrap(), ["db", "ROOT", "ORCLPDB1", ""]);
        let [.., url] = check(&[("database.protocol", "tcps")], &pdb()).unwrap();
        assert!(url.starts_with("jdbc:oracle:thin:@(DESCRIPTION=") && url.contains("SERVICE_NAME=ORCL)"), "{url}");
        // What the operator says of the way is in the string too.
        let moved = [
            ("database.protocol", "tcps"),
            ("handover.config.database.hostname", "primary"),
            ("handover.config.database.port", "2484"),
            ("handover.config.database.dbname", "ROOT"),
        ];
        let [host, name, _, url] = check(&moved, &pdb()).unwrap();
        assert_eq!((host.as_str(), name.as_str()), ("primary", "ROOT"));
        assert!(url.contains("(HOST=primary)(PORT=2484)") && url.contains("SERVICE_NAME=ROOT"), "{url}");
        let named = [("database.dbname", ""), ("database.sid", "ORCL1"), moved[3]];
        let [.., url] = check(&named, &pdb()).unwrap();
        assert_eq!(url, "", "Debezium's own string names the service");
        let [.., url] = check(&[("database.dbname", ""), ("database.sid", "ORCL1")], &pdb()).unwrap();
        assert!(url.contains("(SID=ORCL1)"), "{url}");
        let own = [
            ("database.hostname", ""),
            ("database.dbname", ""),
            ("database.url", "ALIAS"),
            ("handover.config.database.url", "jdbc:oracle:thin:@ROOT"),
        ];
        assert_eq!(check(&own, &pdb()).unwrap(), ["", "ORCL", "ORCLPDB1", "jdbc:oracle:thin:@ROOT"]);
        let nameless = Place { name: String::new(), ..pdb() };
        assert!(check(&[], &nameless).unwrap_err().contains("V_$DATABASE"));
        let empty = [("database.protocol", "tcps"), ("handover.config.database.dbname", " ")];
        assert!(check(&empty, &pdb()).unwrap_err().contains("handover.config.database.dbname"));
    }
}
