//! The connector's keys: Debezium's names where Debezium has them.

use std::time::Duration;

use connector_api::config::{ConfigDef, Kind, Problem, Values};
use connector_api::{ConnectorConfig, Decimals, Filter, Unconstrained};

use crate::filter::RelationKind;
use crate::slot::{Autocreate, SlotConfig};
use crate::types::Handling;
use crate::wire::{Endpoint, Files, SSL_MODES, SslMode, Tls};

/// Smallest value of `parallel.chunk.size`, bytes: below it the splits cost more than they give.
const SMALLEST_CHUNK: u64 = 64 << 10;

/// Everything the source needs.
#[derive(Clone, Debug)]
pub struct PostgresConfig {
    pub(crate) endpoint: Endpoint,
    pub(crate) filter: Filter,
    /// Which kinds of tables are read.
    pub(crate) kinds: Vec<RelationKind>,
    /// How values are loaded where there is a choice.
    pub(crate) handling: Handling,
    /// The slot to leave behind.
    pub(crate) slot: Option<SlotConfig>,
    /// Whether the rows that row-level security shows are taken for all.
    pub(crate) row_security: bool,
    /// Tables at a time.
    pub(crate) tables_at_a_time: usize,
    /// Splits of one table at a time.
    pub(crate) splits_at_a_time: usize,
    /// Smallest split, bytes of the table's heap.
    pub(crate) chunk: u64,
    /// Most rows of a batch.
    pub(crate) batch_rows: usize,
    /// For statements on the catalog; zero is none.
    pub(crate) statement_timeout: Duration,
    /// For each table's lock; zero is none.
    pub(crate) lock_timeout: Duration,
}

impl ConnectorConfig for PostgresConfig {
    fn definition() -> ConfigDef {
        let connection = ConfigDef::default()
            .required("database.hostname", Kind::Text, "Host name or address of the PostgreSQL server.")
            .defaulted("database.port", Kind::Int(1, 65535), "5432", "Port of the server.")
            .required("database.user", Kind::Text, "User to log in as; needs SELECT on the tables.")
            .optional(
                "database.password",
                Kind::Password,
                "Password: SCRAM-SHA-256, md5 or clear text as the server asks.",
            )
            .required("database.dbname", Kind::Text, "Database to read.")
            .defaulted(
                "database.sslmode",
                Kind::OneOf(SSL_MODES),
                "prefer",
                "TLS as libpq's sslmode: disable, allow, prefer, require, verify-ca or verify-full.",
            )
            .optional(
                "database.sslrootcert",
                Kind::Text,
                "PEM file of the authorities that may have signed the server's certificate; `system`: this machine's.",
            )
            .optional("database.sslcert", Kind::Text, "PEM file of the client's certificate and its intermediates.")
            .optional("database.sslkey", Kind::Text, "PEM file of the client certificate's key, unencrypted.")
            .optional(
                "topic.prefix",
                Kind::Text,
                "Logical name of the source: topics are `{topic.prefix}.{schema}.{table}`.",
            );
        Filter::keys(connection)
            .defaulted(
                "table.types",
                Kind::Text,
                "TABLE,PARTITIONED TABLE",
                "Kinds of tables to read, separated by commas: TABLE, PARTITIONED TABLE, VIEW, MATERIALIZED VIEW, FOREIGN TABLE.",
            )
            .defaulted(
                "snapshot.mode",
                Kind::Text,
                "initial",
                "What to read: initial_only loads the tables as of one moment.",
            )
            .defaulted(
                "decimal.handling.mode",
                Kind::OneOf(Decimals::WORDS),
                "precise",
                "numeric as decimal where its precision allows, as text, or as the nearest double.",
            )
            .defaulted(
                "number.unconstrained",
                Kind::Text,
                "string",
                "numeric without a precision, when decimals are precise: string, double or decimal(p,s).",
            )
            .defaulted(
                "array.handling.mode",
                Kind::OneOf(&["list", "text"]),
                "list",
                "Arrays as lists, or as PostgreSQL's text, which takes any dimensions and subscripts.",
            )
            .defaulted(
                "infinity.handling.mode",
                Kind::OneOf(&["fail", "null"]),
                "fail",
                "What an infinite date or timestamp does: fail its table, or become NULL.",
            )
            .optional(
                "slot.name",
                Kind::Text,
                "Replication slot that the load leaves at its cut, for what follows; made if missing. Without it: none.",
            )
            .defaulted("plugin.name", Kind::OneOf(&["pgoutput"]), "pgoutput", "Logical decoding plugin of the slot.")
            .defaulted(
                "slot.drop.on.stop",
                Kind::Bool,
                "false",
                "Always false: a slot that a load leaves is for what follows.",
            )
            .defaulted("publication.name", Kind::Text, "dbz_publication", "Publication that the slot is read with.")
            .defaulted(
                "publication.autocreate.mode",
                Kind::OneOf(&["all_tables", "filtered", "disabled"]),
                "all_tables",
                "Publication to make, before the slot: of all tables, of the selected ones, or none.",
            )
            .defaulted(
                "row.security",
                Kind::OneOf(&["off", "on"]),
                "off",
                "off: a table with policies that apply to the user is refused; on: the rows that they show are loaded.",
            )
            .defaulted("parallel.workers", Kind::Int(1, 64), "2", "Tables to read at a time.")
            .defaulted("parallel.tables", Kind::Int(1, 64), "2", "Chunks of one table to read at a time.")
            .defaulted("parallel.chunk.size", Kind::Bytes, "128MiB", "Smallest part of a table that is read by itself.")
            .defaulted("batch.size", Kind::Int(1, 1 << 20), "16384", "Most rows of a batch.")
            .defaulted(
                "connect.timeout.ms",
                Kind::Int(1, 3_600_000),
                "10000",
                "Longest time to a usable connection, ms.",
            )
            .defaulted(
                "statement.timeout.ms",
                Kind::Int(0, i32::MAX as i64),
                "60000",
                "Longest time of a statement on the catalog, ms; 0: no limit. Reading rows has none.",
            )
            .defaulted(
                "lock.timeout.ms",
                Kind::Int(0, i32::MAX as i64),
                "30000",
                "Longest wait for a table's ACCESS SHARE lock, ms; 0: no limit.",
            )
    }

    fn from_values(values: &Values) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let filter = Filter::of(values, &mut problems);
        let mut kinds = vec![];
        for word in values.text("table.types").split(',') {
            match RelationKind::parse(word) {
                Some(kind) => kinds.push(kind),
                None => {
                    let known: Vec<_> = RelationKind::ALL.iter().map(|kind| kind.name()).collect();
                    let message = format!("\"{}\" is not one of {}", word.trim(), known.join(", "));
                    problems.push(Problem::new("table.types", message));
                }
            }
        }
        let mode = values.text("snapshot.mode");
        if !mode.eq_ignore_ascii_case("initial_only") {
            let message = format!("\"{mode}\" is not available in this version; available: initial_only");
            problems.push(Problem::new("snapshot.mode", message));
        }
        let unconstrained = Unconstrained::parse(values.text("number.unconstrained")).unwrap_or_else(|| {
            problems
                .push(Problem::new("number.unconstrained", "must be string, double or decimal(p,s) with p up to 38"));
            Unconstrained::default()
        });
        let handling = Handling {
            decimals: Decimals::of(values.text("decimal.handling.mode")),
            unconstrained,
            arrays_as_text: values.text("array.handling.mode") == "text",
            infinite_is_null: values.text("infinity.handling.mode") == "null",
        };
        let chunk = u64::try_from(values.int("parallel.chunk.size")).unwrap_or(0);
        if values.has("parallel.chunk.size") && chunk < SMALLEST_CHUNK {
            problems.push(Problem::new("parallel.chunk.size", "must be at least 64KiB"));
        }
        let name = values.text("slot.name");
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if values.has("slot.name") && (name.is_empty() || name.len() > 63 || !name.chars().all(fits)) {
            let message = format!("\"{name}\" is not 1 to 63 lower-case letters, digits and underscores");
            problems.push(Problem::new("slot.name", message));
        }
        if values.bool("slot.drop.on.stop") {
            let message = "a load's slot is for what follows, and stays; drop it by pg_drop_replication_slot()";
            problems.push(Problem::new("slot.drop.on.stop", message));
        }
        let tls = Tls::new(
            SslMode::of(values.text("database.sslmode")),
            Files {
                root: values.text("database.sslrootcert"),
                certificate: values.text("database.sslcert"),
                key: values.text("database.sslkey"),
            },
        );
        let tls = match tls {
            Ok(tls) if problems.is_empty() => tls,
            Ok(_) => return Err(problems),
            Err(more) => {
                problems.extend(more);
                return Err(problems);
            }
        };
        Ok(Self {
            endpoint: Endpoint {
                host: values.text("database.hostname").to_owned(),
                port: u16::try_from(values.int("database.port")).unwrap_or_default(),
                user: values.text("database.user").to_owned(),
                password: values.secret("database.password"),
                dbname: values.text("database.dbname").to_owned(),
                tls,
                connect_timeout: values.millis("connect.timeout.ms"),
            },
            filter,
            kinds,
            handling,
            slot: values.has("slot.name").then(|| SlotConfig {
                name: values.text("slot.name").to_owned(),
                publication: values.text("publication.name").to_owned(),
                autocreate: match values.text("publication.autocreate.mode") {
                    "all_tables" => Autocreate::AllTables,
                    "filtered" => Autocreate::Filtered,
                    _ => Autocreate::Disabled,
                },
            }),
            row_security: values.text("row.security") == "on",
            tables_at_a_time: values.count("parallel.workers"),
            splits_at_a_time: values.count("parallel.tables"),
            chunk,
            batch_rows: values.count("batch.size"),
            statement_timeout: values.millis("statement.timeout.ms"),
            lock_timeout: values.millis("lock.timeout.ms"),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::PLUGIN;

    fn check(more: &[(&str, &str)]) -> Vec<String> {
        let needed = [
            ("database.hostname", "db"),
            ("database.user", "me"),
            ("database.password", "hunter2"),
            ("database.dbname", "shop"),
            ("snapshot.mode", "initial_only"),
        ];
        let raw: BTreeMap<_, _> = needed.iter().chain(more).map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        match (PLUGIN.build)(&raw) {
            Ok(_) => vec![],
            Err(problems) => problems.into_iter().map(|p| format!("{}: {}", p.key, p.message)).collect(),
        }
    }

    #[test]
    fn accepts_and_refuses() {
        assert_eq!(check(&[]), Vec::<String>::new());
        assert_eq!(check(&[("table.include.list", "public\\..*"), ("table.filter", "S_%")]), Vec::<String>::new());
        assert_eq!(
            check(&[
                ("schema.include.list", "a"),
                ("schema.exclude.list", "b"),
                ("table.filter", "a\\"),
                ("snapshot.mode", "initial"),
                ("parallel.chunk.size", "1"),
                ("slot.name", "Not-so"),
                ("slot.drop.on.stop", "true"),
                ("parallel.workers", "0"),
                ("number.unconstrained", "decimal(39,0)"),
                ("table.types", "table, sequence"),
            ]),
            [
                "parallel.workers: \"0\" is not a whole number from 1 to 64",
                "schema.exclude.list: schema.include.list is set too: schemas are either included or excluded",
                "table.filter: a LIKE pattern must not end with its escape character",
                "table.types: \"sequence\" is not one of TABLE, PARTITIONED TABLE, VIEW, MATERIALIZED VIEW, FOREIGN TABLE",
                "snapshot.mode: \"initial\" is not available in this version; available: initial_only",
                "number.unconstrained: must be string, double or decimal(p,s) with p up to 38",
                "parallel.chunk.size: must be at least 64KiB",
                "slot.name: \"Not-so\" is not 1 to 63 lower-case letters, digits and underscores",
                "slot.drop.on.stop: a load's slot is for what follows, and stays; drop it by pg_drop_replication_slot()",
            ]
        );
    }

    #[test]
    fn debug_shows_no_password() {
        let raw = [("database.hostname", "h"), ("database.user", "u"), ("database.dbname", "d")];
        let mut raw: BTreeMap<String, String> = raw.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        raw.insert("database.password".into(), "hunter2".into());
        raw.insert("snapshot.mode".into(), "initial_only".into());
        let config = PostgresConfig::from_values(&PostgresConfig::definition().parse(&raw).0).unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
        assert_eq!((config.endpoint.port, config.tables_at_a_time, config.batch_rows), (5432, 2, 16384));
    }
}
