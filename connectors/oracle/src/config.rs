//! The connector's keys: Debezium's names where Debezium has them.

use std::time::Duration;

use connector_api::config::{ConfigDef, Kind, Problem, Values};
use connector_api::{ConnectorConfig, Decimals, Filter, Secret, Unconstrained};

use crate::filter::RelationKind;
use crate::handover::HandoverConfig;
use crate::session::Driver;
use crate::types::{Handling, Long};

/// Smallest value of `parallel.chunk.size`, bytes: below it the splits cost more than they give.
const SMALLEST_CHUNK: u64 = 64 << 10;

/// Where the database is and who asks.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) driver: Driver,
    /// An alias, an EasyConnect string or a descriptor: instead of the four that follow.
    pub(crate) url: Option<String>,
    pub(crate) protocol: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) target: Target,
    pub(crate) user: String,
    pub(crate) password: Secret,
    /// The pluggable database to switch to after logging in.
    pub(crate) pdb: Option<String>,
    /// Where tnsnames.ora is.
    pub(crate) tns_admin: Option<String>,
    /// Where ewallet.pem is.
    pub(crate) wallet: Option<String>,
    pub(crate) wallet_password: Secret,
    pub(crate) connect_timeout: Duration,
    /// Of one round trip; none: no limit.
    pub(crate) call_timeout: Option<Duration>,
}

/// What is connected to at the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Service(String),
    Sid(String),
}

impl Endpoint {
    /// As the drivers take it.
    pub(crate) fn connect_string(&self) -> String {
        if let Some(url) = &self.url {
            // As operators have it for JDBC.
            let url =
                url.strip_prefix("jdbc:oracle:").and_then(|rest| rest.split_once('@')).map_or(&**url, |(_, to)| to);
            return url.strip_prefix("//").unwrap_or(url).to_owned();
        }
        descriptor(&self.protocol, &self.host, &self.port.to_string(), &self.target)
    }
}

/// A connect descriptor.
pub(crate) fn descriptor(protocol: &str, host: &str, port: &str, target: &Target) -> String {
    let (key, value) = match target {
        Target::Service(name) => ("SERVICE_NAME", name),
        Target::Sid(sid) => ("SID", sid),
    };
    format!("(DESCRIPTION=(ADDRESS=(PROTOCOL={protocol})(HOST={host})(PORT={port}))(CONNECT_DATA=({key}={value})))")
}

/// Which SCN a load is as of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScnChoice {
    /// That of the tables that the sink holds already, while it can be read; else the current one.
    Resume,
    /// The current one.
    Current,
    /// This one.
    At(u64),
}

/// How a table is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChunkMethod {
    /// By its extents where the dictionary shows them, else by sampled blocks.
    Auto,
    Extents,
    ParallelExecute,
    Sample,
    /// Not at all.
    Whole,
}

/// Everything the source needs.
#[derive(Clone, Debug)]
pub struct OracleConfig {
    pub(crate) endpoint: Endpoint,
    pub(crate) filter: Filter,
    /// Which kinds of tables are read.
    pub(crate) kinds: Vec<RelationKind>,
    /// How values are loaded where there is a choice.
    pub(crate) handling: Handling,
    /// Most bytes of a LOB.
    pub(crate) lob_cap: u64,
    pub(crate) scn: ScnChoice,
    /// Whether tables start again at a new SCN when theirs can be read no more.
    pub(crate) restart_expired: bool,
    pub(crate) chunk_method: ChunkMethod,
    /// Whether tables that have no ROWIDs to divide them by are divided by a hash of their primary key.
    pub(crate) chunk_by_key: bool,
    /// The columns to divide such a table by, `SCHEMA.TABLE` in upper case.
    pub(crate) chunk_keys: Vec<(String, Vec<String>)>,
    /// Tables at a time.
    pub(crate) tables_at_a_time: usize,
    /// Splits of one table at a time.
    pub(crate) splits_at_a_time: usize,
    /// Smallest split, bytes of the table's segments.
    pub(crate) chunk: u64,
    /// Most rows of a batch, and of a round trip.
    pub(crate) batch_rows: usize,
    /// What becomes of the changes after the load, if that is ours to say.
    pub(crate) handover: Option<HandoverConfig>,
}

impl ConnectorConfig for OracleConfig {
    fn definition() -> ConfigDef {
        let connection = ConfigDef::default()
            .defaulted(
                "database.driver",
                Kind::OneOf(&["thin", "oci"]),
                "thin",
                "thin: Oracle's driver in Rust; oci: Oracle's client libraries, in a program built with the feature oci.",
            )
            .optional("database.hostname", Kind::Text, "Host name or address of the listener; or use database.url.")
            .defaulted("database.port", Kind::Int(1, 65535), "1521", "Port of the listener.")
            .defaulted(
                "database.protocol",
                Kind::OneOf(&["tcp", "tcps"]),
                "tcp",
                "tcp, or tcps for TLS.",
            )
            .optional("database.dbname", Kind::Text, "Service name of the database.")
            .optional("database.sid", Kind::Text, "SID of the instance, instead of database.dbname.")
            .optional(
                "database.url",
                Kind::Text,
                "EasyConnect string, connect descriptor or alias of tnsnames.ora, with or without jdbc:oracle:thin:@; \
                 instead of host, port and name.",
            )
            .optional("database.tns.admin", Kind::Text, "Directory of tnsnames.ora.")
            .optional(
                "database.pdb.name",
                Kind::Text,
                "Pluggable database to switch to after logging in to the root as a common user.",
            )
            .required("database.user", Kind::Text, "User to log in as; a proxy user as proxy[user], with the driver oci.")
            .required("database.password", Kind::Password, "Password.")
            .optional("database.wallet.location", Kind::Text, "Directory of ewallet.pem: authorities, client certificate.")
            .optional("database.wallet.password", Kind::Password, "Password of the wallet's key.")
            .defaulted("connect.timeout.ms", Kind::Int(1, 3_600_000), "20000", "Longest time to a usable session, ms.")
            .defaulted(
                "database.call.timeout.ms",
                Kind::Int(0, 86_400_000),
                "300000",
                "Longest wait for the answer of one round trip, ms; 0: no limit.",
            )
            .optional(
                "topic.prefix",
                Kind::Text,
                "Logical name of the source: topics are `{topic.prefix}.{schema}.{table}`.",
            );
        let selection = Filter::keys(connection).defaulted(
            "table.types",
            Kind::Text,
            "TABLE",
            "Kinds of tables to read, separated by commas: TABLE, VIEW, MATERIALIZED VIEW.",
        );
        let values = selection
            .defaulted(
                "decimal.handling.mode",
                Kind::OneOf(Decimals::WORDS),
                "precise",
                "NUMBER as integer or decimal where its precision allows, as text, or as the nearest double.",
            )
            .defaulted(
                "number.unconstrained",
                Kind::Text,
                "string",
                "NUMBER and FLOAT without a decimal precision, when decimals are precise: string, double or decimal(p,s).",
            )
            .optional(
                "number.unconstrained.*",
                Kind::Text,
                "The same for one column, SCHEMA.TABLE.COLUMN.",
            )
            .defaulted(
                "timestamp.precision",
                Kind::OneOf(&["microseconds", "nanoseconds"]),
                "microseconds",
                "TIMESTAMP(7) to (9): cut to microseconds, or timestamp_ns, which reaches from 1677 to 2262 and needs tables \
                 of format version 3.",
            )
            .defaulted(
                "long.handling",
                Kind::OneOf(&["exclude", "skip_table", "error"]),
                "exclude",
                "LONG and LONG RAW: the column is left out, its table is not selected, or its table is refused.",
            )
            .defaulted(
                "lob.handling",
                Kind::OneOf(&["load", "exclude"]),
                "load",
                "CLOB, NCLOB, BLOB, XMLTYPE and JSON columns: loaded, or left out.",
            )
            .defaulted(
                "lob.max.bytes",
                Kind::Bytes,
                "64MiB",
                "Largest LOB; a table with a larger one fails, nothing is ever cut.",
            );
        let reading = values
            .defaulted(
                "snapshot.mode",
                Kind::Text,
                "initial",
                "What to read: initial_only loads the tables as of one SCN.",
            )
            .defaulted(
                "snapshot.scn",
                Kind::Text,
                "resume",
                "SCN of the load: resume (that of the tables loaded already, while undo reaches back to it), current, or a number.",
            )
            .defaulted(
                "snapshot.scn.expired",
                Kind::OneOf(&["restart", "fail"]),
                "restart",
                "When undo no longer reaches back: tables that are not complete start again at a new SCN, or fail.",
            )
            .defaulted(
                "chunk.method",
                Kind::OneOf(&["auto", "extents", "parallel_execute", "sample", "whole"]),
                "auto",
                "How tables are divided: by DBA_EXTENTS, DBMS_PARALLEL_EXECUTE, SAMPLE BLOCK, or not; auto: the first, else sampled.",
            )
            .defaulted(
                "chunk.hash",
                Kind::OneOf(&["none", "primary_key"]),
                "none",
                "Index-organised tables and tables in clusters, which no ROWIDs divide: one scan, or parallel.tables scans at \
                 a time, each of which keeps its share of the rows by ORA_HASH of the primary key.",
            )
            .optional(
                "chunk.hash.*",
                Kind::Text,
                "The same for one such table or view, SCHEMA.TABLE: the columns to divide it by, separated by commas.",
            )
            .defaulted("parallel.workers", Kind::Int(1, 64), "2", "Tables to read at a time.")
            .defaulted("parallel.tables", Kind::Int(1, 64), "2", "Chunks of one table to read at a time.")
            .defaulted("parallel.chunk.size", Kind::Bytes, "64MiB", "Smallest part of a table that is read by itself.")
            .defaulted("batch.size", Kind::Int(1, 1 << 20), "16384", "Most rows of a batch, and of a round trip.");
        HandoverConfig::keys(reading)
    }

    fn from_values(values: &Values) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let filter = Filter::of(values, &mut problems);
        let endpoint = endpoint(values, &mut problems);
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
        let scn = match values.text("snapshot.scn") {
            "resume" => ScnChoice::Resume,
            "current" => ScnChoice::Current,
            number => ScnChoice::At(number.parse().unwrap_or_else(|_| {
                problems.push(Problem::new("snapshot.scn", "must be resume, current or a number"));
                0
            })),
        };
        const NUMBERS: &str = "must be string, double or decimal(p,s) with p up to 38";
        let mut unconstrained = |key: &str, text: &str| {
            Unconstrained::parse(text).unwrap_or_else(|| {
                problems.push(Problem::new(key, NUMBERS));
                Unconstrained::default()
            })
        };
        let of_all = unconstrained("number.unconstrained", values.text("number.unconstrained"));
        let columns = values
            .family("number.unconstrained.*")
            .map(|(column, how)| {
                let key = format!("number.unconstrained.{column}");
                (column.to_uppercase(), unconstrained(&key, how.expose()))
            })
            .collect();
        let handling = Handling {
            decimals: Decimals::of(values.text("decimal.handling.mode")),
            unconstrained: of_all,
            columns,
            long: match values.text("long.handling") {
                "skip_table" => Long::SkipTable,
                "error" => Long::Error,
                _ => Long::Exclude,
            },
            without_lobs: values.text("lob.handling") == "exclude",
            nanos: values.text("timestamp.precision") == "nanoseconds",
        };
        let chunk = u64::try_from(values.int("parallel.chunk.size")).unwrap_or(0);
        if values.has("parallel.chunk.size") && chunk < SMALLEST_CHUNK {
            problems.push(Problem::new("parallel.chunk.size", "must be at least 64KiB"));
        }
        let handover = HandoverConfig::of(values, &mut problems);
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self {
            endpoint,
            filter,
            kinds,
            handling,
            lob_cap: u64::try_from(values.int("lob.max.bytes")).unwrap_or(0),
            scn,
            restart_expired: values.text("snapshot.scn.expired") == "restart",
            chunk_method: match values.text("chunk.method") {
                "extents" => ChunkMethod::Extents,
                "parallel_execute" => ChunkMethod::ParallelExecute,
                "sample" => ChunkMethod::Sample,
                "whole" => ChunkMethod::Whole,
                _ => ChunkMethod::Auto,
            },
            chunk_by_key: values.text("chunk.hash") == "primary_key",
            chunk_keys: values
                .family("chunk.hash.*")
                .map(|(table, columns)| {
                    let columns = columns.expose().split(',').map(|column| column.trim().to_owned()).collect();
                    (table.to_uppercase(), columns)
                })
                .collect(),
            tables_at_a_time: values.count("parallel.workers"),
            splits_at_a_time: values.count("parallel.tables"),
            chunk,
            batch_rows: values.count("batch.size"),
            handover,
        })
    }
}

fn endpoint(values: &Values, problems: &mut Vec<Problem>) -> Endpoint {
    let given = |key: &str| values.has(key).then(|| values.text(key).to_owned()).filter(|text| !text.is_empty());
    let mut problem = |key: &str, message: &str| problems.push(Problem::new(key, message));
    let (url, host) = (given("database.url"), given("database.hostname"));
    let target = match (given("database.dbname"), given("database.sid")) {
        (Some(_), Some(_)) => {
            problem("database.sid", "database.dbname is set too: one of them");
            Target::Service(String::new())
        }
        (Some(service), None) => Target::Service(service),
        (None, Some(sid)) => Target::Sid(sid),
        (None, None) => {
            if url.is_none() {
                problem("database.dbname", "missing: a service name, or database.sid or database.url");
            }
            Target::Service(String::new())
        }
    };
    match (&url, &host) {
        (None, None) => problem("database.hostname", "missing: a host, or database.url"),
        (Some(_), Some(_)) => problem("database.url", "database.hostname is set too: one of them"),
        _ => {}
    }
    // They end up in a descriptor, whose syntax they must not change.
    for (key, text) in [("database.hostname", &host), ("database.dbname", &given("database.dbname"))] {
        if text.as_ref().is_some_and(|text| text.contains(['(', ')', '='])) {
            problem(key, "must not hold parentheses or an equals sign; use database.url for a descriptor");
        }
    }
    let driver = if values.text("database.driver") == "oci" { Driver::Oci } else { Driver::Thin };
    let user = values.text("database.user");
    if driver == Driver::Thin && user.contains('[') {
        problem("database.user", "the driver thin has no proxy users; use database.driver=oci");
    }
    if driver == Driver::Oci && !cfg!(feature = "oci") {
        problem("database.driver", "this program was built without the driver oci (cargo feature oci)");
    }
    let timeout = values.millis("database.call.timeout.ms");
    Endpoint {
        driver,
        url,
        protocol: values.text("database.protocol").to_owned(),
        host: host.unwrap_or_default(),
        port: u16::try_from(values.int("database.port")).unwrap_or_default(),
        target,
        user: user.to_owned(),
        password: values.secret("database.password"),
        pdb: given("database.pdb.name").map(|pdb| pdb.to_uppercase()),
        tns_admin: given("database.tns.admin"),
        wallet: given("database.wallet.location"),
        wallet_password: values.secret("database.wallet.password"),
        connect_timeout: values.millis("connect.timeout.ms"),
        call_timeout: (!timeout.is_zero()).then_some(timeout),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::PLUGIN;

    const NEEDED: [(&str, &str); 5] = [
        ("database.hostname", "db"),
        ("database.user", "me"),
        ("database.password", "hunter2"),
        ("database.dbname", "orclpdb1"),
        ("snapshot.mode", "initial_only"),
    ];

    fn raw(needed: &[(&str, &str)], more: &[(&str, &str)]) -> BTreeMap<String, String> {
        needed.iter().chain(more).map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn check(needed: &[(&str, &str)], more: &[(&str, &str)]) -> Vec<String> {
        match (PLUGIN.build)(&raw(needed, more)) {
            Ok(_) => vec![],
            Err(problems) => problems.into_iter().map(|p| format!("{}: {}", p.key, p.message)).collect(),
        }
    }

    fn config(needed: &[(&str, &str)], more: &[(&str, &str)]) -> OracleConfig {
        OracleConfig::from_values(&OracleConfig::definition().parse(&raw(needed, more)).0).unwrap()
    }

    #[test]
    fn accepts_and_refuses() {
        assert_eq!(check(&NEEDED, &[]), [""; 0]);
        assert_eq!(check(&NEEDED, &[("number.unconstrained.hr.emp.sal", "decimal(38,10)")]), [""; 0]);
        assert_eq!(
            check(
                &NEEDED,
                &[
                    ("schema.include.list", "a"),
                    ("schema.exclude.list", "b"),
                    ("database.sid", "ORCL"),
                    ("database.url", "x"),
                    ("table.types", "table, sequence"),
                    ("snapshot.mode", "initial"),
                    ("snapshot.scn", "now"),
                    ("number.unconstrained.A.B.C", "decimal(39,0)"),
                    ("parallel.chunk.size", "1"),
                    ("database.driver", "jdbc"),
                ]
            ),
            [
                "database.driver: \"jdbc\" is not one of: thin, oci",
                "schema.exclude.list: schema.include.list is set too: schemas are either included or excluded",
                "database.sid: database.dbname is set too: one of them",
                "database.url: database.hostname is set too: one of them",
                "table.types: \"sequence\" is not one of TABLE, VIEW, MATERIALIZED VIEW",
                "snapshot.mode: \"initial\" is not available in this version; available: initial_only",
                "snapshot.scn: must be resume, current or a number",
                "number.unconstrained.A.B.C: must be string, double or decimal(p,s) with p up to 38",
                "parallel.chunk.size: must be at least 64KiB",
            ]
        );
        let nowhere = [("database.user", "p[u]"), ("database.password", "x"), ("snapshot.mode", "initial_only")];
        assert_eq!(
            check(&nowhere, &[]),
            [
                "database.dbname: missing: a service name, or database.sid or database.url",
                "database.hostname: missing: a host, or database.url",
                "database.user: the driver thin has no proxy users; use database.driver=oci",
            ]
        );
    }

    #[test]
    fn connect_strings() {
        let check = |needed: &[(&str, &str)]| {
            let user = [("database.user", "u"), ("database.password", "p"), ("snapshot.mode", "initial_only")];
            config(&user, needed).endpoint.connect_string()
        };
        assert_eq!(
            check(&[("database.hostname", "h"), ("database.dbname", "s"), ("database.protocol", "tcps")]),
            "(DESCRIPTION=(ADDRESS=(PROTOCOL=tcps)(HOST=h)(PORT=1521))(CONNECT_DATA=(SERVICE_NAME=s)))"
        );
        assert_eq!(
            check(&[("database.hostname", "h"), ("database.sid", "S"), ("database.port", "1")]),
            "(DESCRIPTION=(ADDRESS=(PROTOCOL=tcp)(HOST=h)(PORT=1))(CONNECT_DATA=(SID=S)))"
        );
        for url in ["tcps://h:2484/s", "(DESCRIPTION=(X=Y))", "ALIAS"] {
            assert_eq!(check(&[("database.url", url)]), url);
        }
        assert_eq!(check(&[("database.url", "jdbc:oracle:thin:@//h:1521/s")]), "h:1521/s");
        assert_eq!(check(&[("database.url", "jdbc:oracle:thin:@ALIAS")]), "ALIAS");
    }

    #[test]
    fn debug_shows_no_password() {
        let config = config(&NEEDED, &[("database.wallet.password", "hunter3")]);
        let shown = format!("{config:?}");
        assert!(!shown.contains("hunter2") && !shown.contains("hunter3"));
        assert_eq!((config.endpoint.port, config.tables_at_a_time, config.batch_rows), (1521, 2, 16384));
    }
}
