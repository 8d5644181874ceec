//! The sink's keys, checked and typed. Touches nothing: a configuration can be checked anywhere.

use std::path::PathBuf;
use std::time::Duration;

use connector_api::ConnectorConfig;
use connector_api::config::{ConfigDef, Kind, Problem, Values};

use iceberg::NamespaceIdent;

use crate::follow::FollowConfig;
use crate::names::NameFormat;
use crate::store::Settings;
use crate::table_config::Tables;

mod database;
mod rest;
mod store;

pub(crate) use database::Database;
pub(crate) use rest::Rest;
pub(crate) use store::Warehouse;

/// The kind of catalog.
#[derive(Clone, Debug)]
pub(crate) enum Backend {
    /// Tables of a database; our tables lie in the warehouse.
    Sql(Database, Warehouse),
    /// A service, which says where tables lie.
    Rest(Rest),
}

/// A SQL catalog, or everything that is wrong with its keys.
fn sql(values: &Values) -> Result<Backend, Vec<Problem>> {
    const WAREHOUSE: &str = "iceberg.catalog.warehouse";
    let warehouse = match values.text(WAREHOUSE) {
        "" => Err("missing: a SQL catalog needs it".to_owned()),
        text => store::warehouse(text),
    };
    match (database::parse(values), warehouse) {
        (Ok(database), Ok(warehouse)) => Ok(Backend::Sql(database, warehouse)),
        (database, warehouse) => {
            let warehouse = warehouse.err().map(|message| Problem::new(WAREHOUSE, message));
            Err(database.err().into_iter().chain(warehouse).collect())
        }
    }
}

/// The configuration of the Iceberg sink.
#[derive(Clone, Debug)]
pub struct Config {
    /// Catalog name: the first column of the catalog's tables.
    pub(crate) catalog: String,
    /// The catalog.
    pub(crate) backend: Backend,
    /// How to reach their store.
    pub(crate) store: Settings,
    /// Namespace of the tables.
    pub(crate) namespace: NamespaceIdent,
    /// How tables are named.
    pub(crate) names: NameFormat,
    /// What tables look like.
    pub(crate) tables: Tables,
    /// How changes of a log are gathered and committed.
    pub(crate) follow: FollowConfig,
    /// How often a commit that met a conflict is tried again.
    pub(crate) commit_retries: u32,
    /// Longest time of one request to the catalog or the store.
    pub(crate) request_timeout: Duration,
    /// Time between two signs of life of an instance that holds claims.
    pub(crate) heartbeat: Duration,
    /// How long an instance's sign of life may stay away before its claims are void.
    pub(crate) session_timeout: Duration,
    /// How long the ledger keeps rows that are not the newest, milliseconds.
    pub(crate) status_retention_ms: i64,
}

impl Config {
    /// Tells this catalog and its files from others.
    pub(crate) fn identity(&self) -> String {
        match &self.backend {
            Backend::Sql(database, warehouse) => {
                format!("{} {} {}", database.shown(), self.catalog, warehouse.location())
            }
            Backend::Rest(rest) => {
                let [warehouse, prefix] = [&rest.warehouse, &rest.prefix].map(|v| v.as_deref().unwrap_or_default());
                format!("{} {warehouse} {prefix}", rest.uri)
            }
        }
    }
}

impl ConnectorConfig for Config {
    fn definition() -> ConfigDef {
        let definition = ConfigDef::default()
            .defaulted("iceberg.catalog", Kind::Text, "iceberg", "Name of the catalog")
            .required(
                "iceberg.catalog.type",
                Kind::OneOf(&["sql", "jdbc", "rest"]),
                "Kind of catalog: sql, which jdbc is another name for, or rest",
            )
            .required(
                "iceberg.catalog.uri",
                Kind::Password,
                "Catalog database: sqlite:///absolute/path.db or sqlite://./relative/path.db, created if missing; \
                 or postgresql://user:password@host:5432/database. REST: http:// or https:// address",
            )
            .optional(
                "iceberg.catalog.jdbc.user",
                Kind::Text,
                "User of the catalog's database, where its URI names none",
            )
            .optional(
                "iceberg.catalog.jdbc.password",
                Kind::Password,
                "Password of the catalog's database, where its URI has none",
            )
            .optional(
                "iceberg.catalog.warehouse",
                Kind::Text,
                "Folder of the tables: a path or a file:// URI, created if missing; or s3://bucket/path, gs://bucket/path, \
                 abfss://filesystem@account.dfs.core.windows.net/path. REST: the name that the catalog has for it, \
                 if any",
            )
            .required("iceberg.namespace", Kind::Text, "Namespace of the tables, levels separated by dots")
            .defaulted(
                "iceberg.table.name.format",
                Kind::Text,
                "{table}",
                "Name of a table in the namespace; placeholders {schema} and {table}",
            );
        let definition = FollowConfig::define(Tables::define(definition))
            .defaulted(
                "commit.retry.num-retries",
                Kind::Int(0, 1000),
                "10",
                "How often a commit is tried again after a conflict with another writer",
            )
            .defaulted(
                "request.timeout.ms",
                Kind::Millis,
                "60000",
                "Longest time of one request to the catalog or the object store, ms",
            )
            .defaulted(
                "status.retention.ms",
                Kind::Millis,
                "604800000",
                "How long _cdc_status keeps rows that are not a table's newest",
            )
            .defaulted(
                "heartbeat.interval.ms",
                Kind::Millis,
                "10000",
                "How often an instance says in _cdc_status that it still loads the tables it has claimed",
            )
            .defaulted(
                "session.timeout.ms",
                Kind::Millis,
                "45000",
                "How long another instance may be silent before the tables it has claimed are loaded by this one; \
                 at least twice heartbeat.interval.ms, which should be the same for all",
            );
        rest::define(store::define(definition))
    }

    fn from_values(values: &Values) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut note = |key: &str, message: String| problems.push(Problem::new(key, message));

        let backend = match values.text("iceberg.catalog.type") {
            "rest" => rest::parse(values).map(Backend::Rest).map_err(|p| vec![p]),
            _ => sql(values),
        };
        let backend = backend.map_err(|all| all.into_iter().for_each(|p| note(&p.key, p.message))).ok();
        let properties = store::properties(values)
            .map_err(|all| all.into_iter().for_each(|p| note(&p.key, p.message)))
            .unwrap_or_default();

        let catalog = values.text("iceberg.catalog").to_owned();
        if catalog.is_empty() {
            note("iceberg.catalog", "is empty".into());
        }
        let levels: Vec<String> = values.text("iceberg.namespace").split('.').map(str::to_owned).collect();
        if levels.iter().any(|level| level.trim().is_empty()) {
            note("iceberg.namespace", "a level is empty: write names separated by single dots".into());
        }
        let namespace = NamespaceIdent::from_vec(levels).ok();
        let format = values.text("iceberg.table.name.format");
        let names = match NameFormat::parse(format) {
            Ok(names) => Some(names),
            Err(message) => {
                note("iceberg.table.name.format", message);
                None
            }
        };

        let request_timeout = values.millis("request.timeout.ms");
        if request_timeout.is_zero() {
            note("request.timeout.ms", "must be at least 1".into());
        }
        let retention = values.millis("status.retention.ms").as_millis();

        let (heartbeat, session_timeout) =
            (values.millis("heartbeat.interval.ms"), values.millis("session.timeout.ms"));
        if heartbeat.is_zero() {
            note("heartbeat.interval.ms", "must be at least 1".into());
        }
        if session_timeout < heartbeat.saturating_mul(2) {
            note("session.timeout.ms", "must be at least twice heartbeat.interval.ms".into());
        }

        let tables = Tables::from_values(values, &mut problems);
        let follow = FollowConfig::from_values(values, &mut problems);

        match (backend, names, namespace) {
            (Some(backend), Some(names), Some(namespace)) if problems.is_empty() => Ok(Self {
                catalog,
                backend,
                store: Settings { properties, timeout: request_timeout, renewal: None },
                namespace,
                names,
                tables,
                follow,
                commit_retries: u32::try_from(values.int("commit.retry.num-retries")).unwrap_or(0),
                request_timeout,
                heartbeat,
                session_timeout,
                status_retention_ms: i64::try_from(retention).unwrap_or(i64::MAX),
            }),
            _ => Err(problems),
        }
    }
}

fn absolute(path: &str) -> Result<PathBuf, String> {
    let path = std::path::absolute(path).map_err(|e| format!("is not a path: {e}"))?;
    // `absolute` keeps "..", and a location with dots in it is compared by text.
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => {
                clean.pop();
            }
            part => clean.push(part),
        }
    }
    Ok(clean)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table_config::{Codec, Files};
    use std::collections::BTreeMap;

    const GOOD: &[(&str, &str)] = &[
        ("iceberg.catalog.type", "sql"),
        ("iceberg.catalog.uri", "sqlite:///tmp/lake/catalog.db"),
        ("iceberg.catalog.warehouse", "/tmp/lake"),
        ("iceberg.namespace", "bronze.shop"),
    ];

    /// Builds the configuration with changes to a good one; an empty value removes the key.
    fn check(changes: &[(&str, &str)]) -> Result<Config, Vec<String>> {
        let mut raw: BTreeMap<String, String> = GOOD.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        for (key, value) in changes {
            raw.insert((*key).into(), (*value).into());
        }
        raw.retain(|_, v| v != "<absent>");
        let (values, mut problems) = Config::definition().parse(&raw);
        match Config::from_values(&values) {
            Ok(config) if problems.is_empty() => return Ok(config),
            Ok(_) => {}
            Err(more) => problems.extend(more),
        }
        Err(problems.into_iter().map(|p| format!("{}: {}", p.key, p.message)).collect())
    }

    fn problem(key: &str, value: &str) -> String {
        check(&[(key, value)]).expect_err("accepted").first().cloned().unwrap_or_default()
    }

    fn warehouse(config: &Config) -> Warehouse {
        match &config.backend {
            Backend::Sql(_, warehouse) => warehouse.clone(),
            Backend::Rest(rest) => panic!("{rest:?}"),
        }
    }

    #[test]
    fn defaults() {
        let c = check(&[]).unwrap();
        assert_eq!(c.catalog, "iceberg");
        assert_eq!(warehouse(&c), Warehouse::Local("/tmp/lake".into()));
        assert_eq!(c.namespace.as_ref(), &["bronze".to_owned(), "shop".into()]);
        assert_eq!((c.commit_retries, c.status_retention_ms), (10, 7 * 86_400_000));
    }

    #[test]
    fn values_are_taken() {
        let c = check(&[
            ("iceberg.catalog", "lake"),
            ("iceberg.catalog.warehouse", "file:///x/y"),
            ("iceberg.table.name.format", "{schema}_{table}"),
            ("iceberg.control.commit.interval-ms", "5000"),
            ("write.parquet.compression-codec", "gzip"),
            ("write.parquet.compression-level", "6"),
            ("write.target-file-size-bytes", "64MiB"),
            ("write.parquet.row-group-size-bytes", "8MiB"),
            ("commit.retry.num-retries", "0"),
            ("status.retention.ms", "1000"),
        ])
        .unwrap();
        let here = std::env::current_dir().unwrap();
        assert_eq!(c.catalog, "lake");
        assert_eq!(warehouse(&c), Warehouse::Local("/x/y".into()));
        assert_eq!(c.tables.files, Files { codec: Codec::Gzip(6), target: 64 << 20, row_group: 8 << 20 });
        assert_eq!((c.commit_retries, c.status_retention_ms), (0, 1000));
        let codec = |name| check(&[("write.parquet.compression-codec", name)]).unwrap().tables.files.codec;
        assert_eq!(codec("snappy"), Codec::Snappy);
        assert_eq!(codec("lz4"), Codec::Lz4);
        assert_eq!(codec("UNCOMPRESSED"), Codec::Uncompressed);
        assert_eq!(
            warehouse(&check(&[("iceberg.catalog.warehouse", "lake")]).unwrap()),
            Warehouse::Local(here.join("lake"))
        );
    }

    #[test]
    fn bad_values_are_named() {
        let has = |key: &str, value: &str, part: &str| {
            let p = problem(key, value);
            assert!(p.starts_with(key) && p.contains(part), "{key}={value}: {p}");
        };
        has("iceberg.catalog", "", "empty");
        has("iceberg.catalog.type", "<absent>", "missing");
        has("iceberg.catalog.type", "hive", "not one of: sql, jdbc, rest");
        has("iceberg.catalog.warehouse", "<absent>", "missing");
        has("iceberg.catalog.uri", "mysql://x", "neither a SQLite nor a PostgreSQL URI");
        has("iceberg.catalog.warehouse", "hdfs://bucket/x", "\"hdfs\" is not supported");
        has("iceberg.catalog.s3.endpont", "x", "did you mean \"endpoint\"");
        has("iceberg.catalog.warehouse", "file://x", "three slashes");
        has("iceberg.catalog.warehouse", "/a%20b", "'%'");
        has("iceberg.namespace", "a..b", "level is empty");
        has("iceberg.table.name.format", "{schema}", "lacks {table}");
        has("iceberg.control.commit.interval-ms", "soon", "milliseconds");
        has("write.parquet.compression-codec", "brotli", "not one of");
        has("write.parquet.compression-level", "23", "1 to 22");
        has("write.target-file-size-bytes", "1", "at least");
        has("write.parquet.row-group-size-bytes", "big", "not a size");
        has("commit.retry.num-retries", "-1", "from 0");
        has("request.timeout.ms", "0", "at least 1");
        has("status.retention.ms", "x", "milliseconds");
        has("heartbeat.interval.ms", "0", "at least 1");
        has("session.timeout.ms", "19999", "twice");
        has("iceberg.tabel", "x", "unknown key");
        let both = check(&[
            ("write.parquet.compression-codec", "gzip"),
            ("write.parquet.compression-level", "12"),
            ("iceberg.namespace", "."),
        ]);
        assert_eq!(both.unwrap_err().len(), 2, "all at once");
    }
}
