//! What a server and a role must be like for a load: asked before it starts, judged purely.
//!
//! Nothing is changed at the server, and no table is locked. Each finding names the statement that removes
//! it. What blocks one table is its [`Relation::obstacle`] and refused by the plan as well.

use std::collections::BTreeMap;

use connector_api::{Finding, Result, Severity};
use postgres_protocol::escape::escape_identifier;

use crate::catalog;
use crate::config::PostgresConfig;
use crate::cut;
use crate::describe::describe;
use crate::error::{Answer, Failure};
use crate::slot;
use crate::wire::Connection;

/// What the judgement rests on.
#[derive(Clone, Debug)]
struct Facts {
    /// `server_version_num`.
    version: u32,
    replica: bool,
    /// Settings of this session as PostgreSQL prints them; those that a version lacks are absent.
    settings: BTreeMap<String, String>,
    superuser: bool,
    /// Sessions now, and at most, for this user: of the server, the database, the role. −1: no limit.
    server: (i64, i64),
    database: (i64, i64),
    role: (i64, i64),
}

/// What the configuration asks for.
#[derive(Clone, Debug)]
struct Needs {
    user: String,
    dbname: String,
    connections: i64,
}

/// Settings that are looked at.
const SETTINGS: &str = "'server_encoding', 'hot_standby_feedback', 'max_standby_streaming_delay',
    'max_standby_archive_delay', 'old_snapshot_threshold', 'statement_timeout', 'transaction_timeout',
    'idle_in_transaction_session_timeout', 'idle_session_timeout', 'row_security'";

/// Settings that every session of ours must have, whatever the role's and the database's defaults are.
const OURS: &[(&str, &str)] =
    &[("transaction_timeout", "0"), ("idle_in_transaction_session_timeout", "0"), ("idle_session_timeout", "0")];

/// Looks at the server and at the selected tables.
pub(crate) fn check(config: &PostgresConfig) -> Result<Vec<Finding>> {
    let (mut connection, server) = cut::connect(config)?;
    let facts = facts(&mut connection, server.version, server.replica)
        .map_err(|e| e.while_doing("looking at the server's settings"))?;
    let needs = Needs {
        user: config.endpoint.user.clone(),
        dbname: config.endpoint.dbname.clone(),
        // One more holds the cut.
        connections: (config.tables_at_a_time * config.splits_at_a_time + 1) as i64,
    };
    let mut findings = judge(&facts, &needs);
    let relations = cut::selected(&mut connection, config).map_err(|e| e.while_doing("finding the tables"))?;
    if relations.is_empty() {
        let what = "no table is selected: the lists, or the tables' owner, leave none";
        findings.push(Finding::new(Severity::Warning, what, "look at schema.include.list and table.include.list"));
    }
    if let Some(slot) = &config.slot {
        let readable = relations.iter().filter(|r| r.obstacle(config).is_none());
        findings.extend(slot::check(&mut connection, config, slot, &readable.cloned().collect::<Vec<_>>())?);
    }
    let reading = |e: Failure| e.while_doing("reading the tables' columns");
    let oids: Vec<u32> = relations.iter().map(|r| r.oid).collect();
    let attributes = catalog::attributes(&mut connection, &oids).map_err(reading)?;
    let types = catalog::types(&mut connection, attributes.values().flatten()).map_err(reading)?;
    for relation in &relations {
        let attributes = attributes.get(&relation.oid).map_or(&[][..], |a| a);
        let why = match relation.obstacle(config) {
            Some(why) => why,
            None => match describe(relation, attributes, &types, &config.filter, &config.handling) {
                Ok(_) => continue,
                Err(why) => why,
            },
        };
        let remedy = why.context("remedy").unwrap_or("leave it out by table.exclude.list").to_owned();
        let place = why.context("column").map(|column| format!(" [column={column}]")).unwrap_or_default();
        let what = format!("{}{place}", why.message());
        findings.push(Finding::new(Severity::Blocking, what, remedy).on(&relation.id));
    }
    Ok(findings)
}

fn facts(connection: &mut Connection, version: u32, replica: bool) -> Answer<Facts> {
    let mut settings = BTreeMap::new();
    for row in connection.query(&format!("SELECT name, setting FROM pg_settings WHERE name IN ({SETTINGS})"))? {
        settings.insert(row.text(0)?.to_owned(), row.text(1)?.to_owned());
    }
    // Others' sessions show their database and user to everyone; workers and autovacuum have one too, so that
    // the count errs on the safe side. `reserved_connections` came with PostgreSQL 16.
    let rows = connection.query(
        "SELECT r.rolsuper, (SELECT count(*) FROM pg_stat_activity WHERE datid IS NOT NULL),
                current_setting('max_connections')::int - CASE WHEN r.rolsuper THEN 0
                    ELSE current_setting('superuser_reserved_connections')::int
                       + coalesce(current_setting('reserved_connections', true), '0')::int END,
                (SELECT count(*) FROM pg_stat_activity WHERE datid = d.oid), d.datconnlimit,
                (SELECT count(*) FROM pg_stat_activity WHERE usesysid = r.oid AND datid IS NOT NULL), r.rolconnlimit
         FROM pg_roles r, pg_database d WHERE r.rolname = current_user AND d.datname = current_database()",
    )?;
    let row = rows.first().ok_or(Failure::Protocol("no answer about the limits"))?;
    Ok(Facts {
        version,
        replica,
        settings,
        superuser: row.flag(0),
        server: (row.parse(1)?, row.parse(2)?),
        database: (row.parse(3)?, row.parse(4)?),
        role: (row.parse(5)?, row.parse(6)?),
    })
}

fn judge(facts: &Facts, needs: &Needs) -> Vec<Finding> {
    let mut findings = vec![];
    let mut find = |severity, what: String, remedy: String| findings.push(Finding::new(severity, what, remedy));
    let setting = |name: &str| facts.settings.get(name).map_or("", String::as_str);
    let (user, dbname) = (escape_identifier(&needs.user), escape_identifier(&needs.dbname));
    if facts.version < 140_000 {
        let what = "PostgreSQL before 14 cannot scan ranges of pages: each table is read by one connection";
        find(Severity::Warning, what.into(), "upgrade the server to PostgreSQL 14 or newer".into());
    }
    if setting("server_encoding") == "SQL_ASCII" {
        let what = "the database's encoding is SQL_ASCII, which is none: a value that is not UTF-8 fails its table";
        find(Severity::Warning, what.into(), "pg_dump the database into one with ENCODING 'UTF8'".into());
    }
    let limits = [
        ("max_connections", facts.server, "ALTER SYSTEM SET max_connections = …, and restart".to_owned()),
        ("the database's CONNECTION LIMIT", facts.database, format!("ALTER DATABASE {dbname} CONNECTION LIMIT -1")),
        ("the role's CONNECTION LIMIT", facts.role, format!("ALTER ROLE {user} CONNECTION LIMIT -1")),
    ];
    for (limit, (now, most), remedy) in limits {
        // A role's and a database's limits do not bind superusers.
        if most < 0 || (facts.superuser && limit != "max_connections") {
            continue;
        }
        // The check's own session is among those now.
        let (free, wanted) = (most - now + 1, needs.connections);
        let remedy = format!("{remedy}; or lower parallel.workers and parallel.tables");
        if most < wanted {
            find(Severity::Blocking, format!("{wanted} connections are needed, and {limit} allows {most}"), remedy);
        } else if free < wanted {
            let what =
                format!("{wanted} connections are needed; of the {most} that {limit} allows, {free} are free now");
            find(Severity::Warning, what, remedy);
        }
    }
    for (name, wanted) in OURS {
        let is = setting(name);
        if !is.is_empty() && is != *wanted {
            let what = format!("{name} is {is} in our sessions though they set {wanted}: something between resets it");
            find(Severity::Blocking, what, "connect to the server itself, not to a pooler of transactions".into());
        }
    }
    if facts.replica && setting("hot_standby_feedback") != "on" {
        let delays = ["max_standby_streaming_delay", "max_standby_archive_delay"];
        for name in delays.into_iter().filter(|name| !matches!(setting(name), "-1" | "")) {
            let what = format!(
                "the server is a replica that cancels queries in the way of its replay after {} ms ({name}): a load \
                 that takes longer may be cancelled and start again",
                setting(name)
            );
            let remedy = "on the replica: ALTER SYSTEM SET hot_standby_feedback = on; SELECT pg_reload_conf()";
            find(Severity::Warning, what, remedy.into());
        }
    }
    let threshold = setting("old_snapshot_threshold");
    if !matches!(threshold, "-1" | "") {
        let what = format!("old_snapshot_threshold is {threshold} minutes: a load that takes longer fails");
        find(Severity::Warning, what, "ALTER SYSTEM SET old_snapshot_threshold = -1, and restart".into());
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Facts {
        let settings = [
            ("server_encoding", "UTF8"),
            ("hot_standby_feedback", "off"),
            ("max_standby_streaming_delay", "30000"),
            ("old_snapshot_threshold", "-1"),
            ("idle_in_transaction_session_timeout", "0"),
        ];
        Facts {
            version: 150_000,
            replica: false,
            settings: settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            superuser: false,
            server: (10, 97),
            database: (1, -1),
            role: (1, -1),
        }
    }

    fn check(change: impl FnOnce(&mut Facts)) -> Vec<String> {
        let mut facts = good();
        change(&mut facts);
        let needs = Needs { user: "a\"b".into(), dbname: "shop".into(), connections: 5 };
        judge(&facts, &needs).iter().map(|f| format!("{:?} {f}", f.severity)).collect()
    }

    /// One finding, of this severity, with these words.
    #[track_caller]
    fn one(severity: Severity, says: &str, change: impl FnOnce(&mut Facts)) {
        let found = check(change);
        let [finding] = &found[..] else { panic!("{found:?}") };
        assert!(finding.starts_with(&format!("{severity:?}")) && finding.contains(says), "{finding}");
    }

    fn set(facts: &mut Facts, name: &str, value: &str) {
        facts.settings.insert(name.into(), value.into());
    }

    #[test]
    fn each_trouble_is_one_finding() {
        assert_eq!(check(|_| {}), [""; 0]);
        one(Severity::Warning, "before 14", |f| f.version = 130_011);
        one(Severity::Warning, "SQL_ASCII", |f| set(f, "server_encoding", "SQL_ASCII"));
        one(
            Severity::Warning,
            "5 connections are needed; of the 97 that max_connections allows, 4 are free now",
            |f| {
                f.server = (94, 97);
            },
        );
        assert_eq!(check(|f| f.server = (93, 97)), [""; 0]);
        one(Severity::Blocking, "ALTER ROLE \"a\"\"b\" CONNECTION LIMIT -1", |f| f.role = (1, 4));
        one(Severity::Blocking, "ALTER DATABASE \"shop\" CONNECTION LIMIT -1", |f| f.database = (1, 0));
        assert_eq!(check(|f| (f.role, f.superuser) = ((1, 4), true)), [""; 0]);
        one(Severity::Blocking, "idle_in_transaction_session_timeout is 60000", |f| {
            set(f, "idle_in_transaction_session_timeout", "60000");
        });
        one(Severity::Warning, "hot_standby_feedback = on", |f| f.replica = true);
        assert_eq!(check(|f| (f.replica, _) = (true, set(f, "hot_standby_feedback", "on"))), [""; 0]);
        one(Severity::Warning, "old_snapshot_threshold is 60", |f| set(f, "old_snapshot_threshold", "60"));
    }
}
