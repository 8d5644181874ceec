//! The replication slot that a load leaves behind, for the changes after it to be followed from.
//!
//! What must hold (protocol P5): the publication is committed before the slot is made; a new slot begins
//! exactly where the snapshot ends that it exports, and the load reads under that snapshot. A slot that is
//! there already begins before the load's cut, and what of its changes the load has is told by the cut's
//! visibility (P1). Nothing of a selected table's changes may be missing from the slot: a table that the
//! publication does not hold stops the load.

use std::collections::BTreeSet;
use std::time::Instant;

use connector_api::{Error, Finding, Result, Severity, failpoint};
use postgres_protocol::escape::{escape_identifier, escape_literal};

use crate::catalog::{self, Relation};
use crate::config::PostgresConfig;
use crate::cut;
use crate::error::{Answer, Failure};
use crate::wire::Connection;

/// Time between looks at transactions that must end, ms.
const LOOK_AGAIN: std::time::Duration = std::time::Duration::from_millis(50);
/// A writing transaction older than this holds up the making of a slot noticeably, seconds.
const LONG: i64 = 60;

/// What the configuration says of it.
#[derive(Clone, Debug)]
pub(crate) struct SlotConfig {
    /// Lower-case letters, digits and underscores.
    pub(crate) name: String,
    pub(crate) publication: String,
    pub(crate) autocreate: Autocreate,
}

/// Which publication is made if there is none: Debezium's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Autocreate {
    /// Of every table of the database.
    AllTables,
    /// Of the selected tables; later ones are added.
    Filtered,
    /// None: it must be there.
    Disabled,
}

/// What the server has of it.
#[derive(Clone, Debug, Default)]
struct Seen {
    replica: bool,
    wal_level: String,
    /// Whether the user may use slots, and is a superuser.
    replication: bool,
    superuser: bool,
    /// Slots and senders now, and at most.
    slots: (i64, i64),
    senders: (i64, i64),
    /// MiB; −1: no limit.
    keep: i64,
    /// Age of the oldest writing transaction, seconds, as far as the user may see.
    oldest: i64,
    /// Whether there is the publication, and that of all tables.
    published: Option<bool>,
    slot: Option<Slot>,
    tables: Vec<Table>,
}

/// A slot of that name.
#[derive(Clone, Debug)]
struct Slot {
    /// Of this database, logical, with our plugin.
    ours: bool,
    lost: bool,
    /// Whether it begins at or before the present.
    past: bool,
}

#[derive(Clone, Debug)]
struct Table {
    oid: u32,
    name: String,
    published: bool,
    owned: bool,
    /// Whether updates and deletes say which row they are of.
    identified: bool,
}

/// A slot just made; its snapshot can be imported for as long as this lives.
pub(crate) struct Made {
    pub(crate) snapshot: String,
    pub(crate) position: String,
    _exporter: Connection,
}

/// Looks at what the slot needs.
pub(crate) fn check(
    connection: &mut Connection,
    config: &PostgresConfig,
    slot: &SlotConfig,
    relations: &[Relation],
) -> Result<Vec<Finding>> {
    let seen = look(connection, slot, relations).map_err(|e| e.while_doing("looking at the replication slot"))?;
    Ok(judge(&seen, slot, &config.endpoint.user))
}

/// Makes the publication hold these tables, and tells whether the slot is still to be made.
///
/// # Errors
/// `Fatal` with everything that keeps the slot from delivering the tables' changes.
pub(crate) fn prepare(
    connection: &mut Connection,
    config: &PostgresConfig,
    slot: &SlotConfig,
    relations: &[Relation],
) -> Result<bool> {
    let seen = look(connection, slot, relations).map_err(|e| e.while_doing("looking at the replication slot"))?;
    let findings = judge(&seen, slot, &config.endpoint.user);
    let blocking: Vec<_> =
        findings.iter().filter(|f| f.severity == Severity::Blocking).map(ToString::to_string).collect();
    if !blocking.is_empty() {
        return Err(Error::fatal(blocking.join(". ")).with("slot", &slot.name));
    }
    if let Some(statement) = publish(&seen, slot, relations) {
        connection.query(&statement).map_err(|e| e.while_doing("making the publication"))?;
        tracing::info!(publication = slot.publication, "made the publication hold the selected tables");
        if seen.slot.is_some() {
            // What they write of a table that was not in it yet would not be delivered.
            outlive(connection, config)?;
        }
    }
    failpoint::hit("postgres.published")?;
    Ok(seen.slot.is_none())
}

/// Waits for the end of every transaction that is running now.
fn outlive(connection: &mut Connection, config: &PostgresConfig) -> Result<()> {
    let doing = "waiting for the transactions that are older than the publication";
    let (began, patience) = (Instant::now(), config.lock_timeout);
    // A number of our own: one that is running may be above every one that has ended, and so of a snapshot's `xmax`.
    let next = "SELECT pg_current_xact_id()";
    let ask = |connection: &mut Connection, sql: &str| -> Answer<String> {
        let rows = connection.query(sql)?;
        Ok(rows.first().ok_or(Failure::Protocol("no answer about transactions"))?.text(0)?.to_owned())
    };
    let next = ask(connection, next).map_err(|e| e.while_doing(doing))?;
    let over = format!("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint >= {next}");
    while ask(connection, &over).map_err(|e| e.while_doing(doing))? != "t" {
        if !patience.is_zero() && began.elapsed() > patience {
            let remedy = "end the oldest writing transactions of pg_stat_activity, or raise lock.timeout.ms";
            return Err(Error::retriable(format!("timed out {doing}")).with("remedy", remedy));
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    Ok(())
}

/// Makes the slot. It begins where the snapshot that it exports ends.
pub(crate) fn make(config: &PostgresConfig, slot: &SlotConfig) -> Result<Made> {
    let doing = "making the replication slot";
    let mut exporter = Connection::open_for_replication(&config.endpoint).map_err(|e| e.while_doing(doing))?;
    // It waits for the running transactions as for locks.
    cut::prepare(&mut exporter, std::time::Duration::ZERO, config.lock_timeout, false)
        .map_err(|e| e.while_doing(doing))?;
    let statement =
        format!("CREATE_REPLICATION_SLOT {} LOGICAL pgoutput EXPORT_SNAPSHOT", escape_identifier(&slot.name));
    let rows = exporter.query(&statement).map_err(|e| match e.sqlstate() {
        // Between our look and now.
        Some("42710") => Error::retriable("someone else has made the replication slot").with("slot", &slot.name),
        Some("55P03") => e.while_doing(doing).with("slot", &slot.name).with(
            "remedy",
            "it waits for the writing transactions of pg_stat_activity to end: end them, or raise lock.timeout.ms",
        ),
        _ => e.while_doing(doing).with("slot", &slot.name),
    })?;
    let answer = || -> Answer<(String, String)> {
        let row = rows.first().ok_or(Failure::Protocol("no answer about the slot"))?;
        Ok((row.text(1)?.to_owned(), row.text(2)?.to_owned()))
    };
    let (position, snapshot) = answer().map_err(|e| e.while_doing(doing))?;
    tracing::info!(slot = slot.name, position, "made the replication slot: it keeps WAL until something reads it");
    failpoint::hit("postgres.slot-made")?;
    Ok(Made { snapshot, position, _exporter: exporter })
}

fn look(connection: &mut Connection, slot: &SlotConfig, relations: &[Relation]) -> Answer<Seen> {
    let (name, publication) = (escape_literal(&slot.name), escape_literal(&slot.publication));
    let rows = connection.query(&format!(
        "SELECT pg_is_in_recovery(), current_setting('wal_level'), r.rolreplication OR r.rolsuper, r.rolsuper,
                (SELECT count(*) FROM pg_replication_slots), current_setting('max_replication_slots'),
                (SELECT count(*) FROM pg_stat_replication), current_setting('max_wal_senders'),
                (SELECT setting FROM pg_settings WHERE name = 'max_slot_wal_keep_size'),
                (SELECT coalesce(max(extract(epoch FROM now() - xact_start)), 0)::bigint FROM pg_stat_activity
                 WHERE backend_xid IS NOT NULL),
                (SELECT puballtables FROM pg_publication WHERE pubname = {publication})
         FROM pg_roles r WHERE r.rolname = current_user"
    ))?;
    let row = rows.first().ok_or(Failure::Protocol("no answer about replication"))?;
    let mut seen = Seen {
        replica: row.flag(0),
        wal_level: row.text(1)?.to_owned(),
        replication: row.flag(2),
        superuser: row.flag(3),
        slots: (row.parse(4)?, row.parse(5)?),
        senders: (row.parse(6)?, row.parse(7)?),
        keep: row.parse(8)?,
        oldest: row.parse(9)?,
        published: row.get(10).map(|all| all == "t"),
        slot: None,
        tables: vec![],
    };
    let now = if seen.replica { "pg_last_wal_replay_lsn()" } else { "pg_current_wal_insert_lsn()" };
    let rows = connection.query(&format!(
        "SELECT slot_type = 'logical' AND plugin = 'pgoutput' AND database = current_database() AND NOT temporary,
                coalesce(wal_status, '') = 'lost', confirmed_flush_lsn <= {now}
         FROM pg_replication_slots WHERE slot_name = {name}"
    ))?;
    seen.slot = rows.first().map(|row| Slot { ours: row.flag(0), lost: row.flag(1), past: row.flag(2) });
    let oids: Vec<u32> = relations.iter().map(|r| r.oid).collect();
    for oids in oids.chunks(catalog::AT_ONCE) {
        let rows = connection.query(&format!(
            "SELECT c.oid, c.oid::regclass,
                    p.puballtables OR EXISTS (SELECT FROM pg_publication_rel x WHERE x.prpubid = p.oid AND x.prrelid = c.oid)
                    OR EXISTS (SELECT FROM pg_publication_tables x
                               WHERE x.pubname = p.pubname AND x.schemaname = n.nspname AND x.tablename = c.relname),
                    pg_has_role(c.relowner, 'USAGE'),
                    CASE c.relreplident WHEN 'f' THEN true WHEN 'n' THEN false ELSE EXISTS (
                        SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisvalid
                        AND CASE c.relreplident WHEN 'i' THEN i.indisreplident
                                 ELSE i.indisprimary AND i.indimmediate END) END
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             LEFT JOIN pg_publication p ON p.pubname = {publication}
             WHERE c.oid = ANY ({}) AND c.relkind IN ('r', 'p') AND c.relpersistence = 'p'
             ORDER BY n.nspname, c.relname",
            catalog::array(oids)
        ))?;
        for row in rows {
            seen.tables.push(Table {
                oid: row.parse(0)?,
                name: row.text(1)?.to_owned(),
                published: row.flag(2),
                owned: row.flag(3),
                identified: row.flag(4),
            });
        }
    }
    Ok(seen)
}

fn judge(seen: &Seen, slot: &SlotConfig, user: &str) -> Vec<Finding> {
    let mut findings = vec![];
    let mut find = |severity, what: String, remedy: String| findings.push(Finding::new(severity, what, remedy));
    let (user, publication) = (escape_identifier(user), escape_identifier(&slot.publication));
    let (name, drop) = (&slot.name, format!("SELECT pg_drop_replication_slot({})", escape_literal(&slot.name)));
    if seen.replica {
        let what = "slot.name is set, and the server is a replica: a slot is made on the primary".to_owned();
        find(Severity::Blocking, what, "set database.hostname to the primary".into());
        return findings;
    }
    if seen.wal_level != "logical" {
        let what = format!("wal_level is {}, and a slot needs logical", seen.wal_level);
        find(Severity::Blocking, what, "ALTER SYSTEM SET wal_level = 'logical', and restart".into());
    }
    if !seen.replication {
        let remedy = format!("ALTER ROLE {user} REPLICATION");
        find(Severity::Blocking, "the user may not use replication slots".into(), remedy);
    }
    match &seen.slot {
        Some(Slot { ours: false, .. }) => {
            let what = format!("the slot {name} is of another database or plugin than this one and pgoutput");
            find(Severity::Blocking, what, format!("set another slot.name, or {drop}"));
        }
        Some(Slot { lost: true, .. }) => {
            let what = format!("the slot {name} has lost WAL that it needs (max_slot_wal_keep_size)");
            find(Severity::Blocking, what, format!("{drop}; and load every table again with --no-resume"));
        }
        Some(Slot { past: false, .. }) => {
            let what = format!("the slot {name} is ahead of the server: changes would be missing");
            find(Severity::Blocking, what, format!("{drop}; and load every table again with --no-resume"));
        }
        Some(_) if seen.published.is_none() => {
            let what = format!("the slot {name} is older than its publication {publication}, which is not there");
            find(Severity::Blocking, what, drop);
        }
        Some(_) => {}
        None => {
            for (what, setting, (now, most)) in [
                ("replication slots", "max_replication_slots", seen.slots),
                ("WAL senders", "max_wal_senders", seen.senders),
            ] {
                if now >= most {
                    let remedy = format!("ALTER SYSTEM SET {setting} = {}, and restart", most + 5);
                    find(Severity::Blocking, format!("all {most} {what} are in use"), remedy);
                }
            }
            if seen.oldest > LONG {
                let what = format!("a transaction has been writing for {} s: a slot waits for its end", seen.oldest);
                let remedy =
                    "SELECT pid, query FROM pg_stat_activity WHERE backend_xid IS NOT NULL ORDER BY xact_start";
                find(Severity::Warning, what, remedy.into());
            }
        }
    }
    if seen.keep >= 0 {
        let what = format!("max_slot_wal_keep_size is {} MiB: a slot that falls behind by more is lost", seen.keep);
        find(Severity::Warning, what, "ALTER SYSTEM SET max_slot_wal_keep_size = -1; SELECT pg_reload_conf()".into());
    }
    let list = |tables: &[&Table]| tables.iter().map(|t| t.name.as_str()).collect::<Vec<_>>().join(", ");
    let missing: Vec<_> = seen.tables.iter().filter(|t| !t.published).collect();
    let foreign: Vec<_> = missing.iter().copied().filter(|t| !t.owned && !seen.superuser).collect();
    match (seen.published, slot.autocreate) {
        (None, Autocreate::AllTables) if !seen.superuser => {
            let remedy = format!(
                "as a superuser: CREATE PUBLICATION {publication} FOR ALL TABLES; or set publication.autocreate.mode=filtered"
            );
            find(Severity::Blocking, "only a superuser may make a publication of all tables".into(), remedy);
        }
        (None, Autocreate::Disabled) => {
            let what = format!("there is no publication {publication}, and publication.autocreate.mode is disabled");
            find(Severity::Blocking, what, format!("CREATE PUBLICATION {publication} FOR TABLE {}", list(&missing)));
        }
        (Some(_), Autocreate::Disabled | Autocreate::AllTables) if !missing.is_empty() => {
            let what = format!("the publication {publication} does not hold {}", list(&missing));
            find(Severity::Blocking, what, format!("ALTER PUBLICATION {publication} ADD TABLE {}", list(&missing)));
        }
        (_, Autocreate::Filtered) if !foreign.is_empty() => {
            let what = format!("only their owners may add to a publication: {}", list(&foreign));
            let remedy = format!("as a superuser: CREATE PUBLICATION {publication} FOR TABLE {}", list(&missing));
            find(Severity::Blocking, what, remedy);
        }
        _ => {}
    }
    let bare: Vec<_> = seen.tables.iter().filter(|t| !t.identified).collect();
    for table in bare {
        let what =
            format!("{} has no replica identity: its updates and deletes will be refused once published", table.name);
        find(Severity::Warning, what, format!("ALTER TABLE {} REPLICA IDENTITY FULL", table.name));
    }
    findings
}

/// The statement that makes the publication hold the tables, if one is needed.
fn publish(seen: &Seen, slot: &SlotConfig, relations: &[Relation]) -> Option<String> {
    let publication = escape_identifier(&slot.publication);
    let missing: BTreeSet<u32> = seen.tables.iter().filter(|t| !t.published).map(|t| t.oid).collect();
    let list: Vec<_> = relations.iter().filter(|r| missing.contains(&r.oid)).map(Relation::target).collect();
    // A partitioned table's changes are those of one table.
    let options = "WITH (publish_via_partition_root = true)";
    match (seen.published, slot.autocreate) {
        (None, Autocreate::AllTables) => Some(format!("CREATE PUBLICATION {publication} FOR ALL TABLES {options}")),
        (None, Autocreate::Filtered) if list.is_empty() => Some(format!("CREATE PUBLICATION {publication} {options}")),
        (None, Autocreate::Filtered) => {
            Some(format!("CREATE PUBLICATION {publication} FOR TABLE {} {options}", list.join(", ")))
        }
        (Some(_), Autocreate::Filtered) if !list.is_empty() => {
            Some(format!("ALTER PUBLICATION {publication} ADD TABLE {}", list.join(", ")))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Seen {
        let table = Table { oid: 1, name: "public.t".into(), published: true, owned: true, identified: true };
        Seen {
            wal_level: "logical".into(),
            replication: true,
            slots: (0, 10),
            senders: (0, 10),
            keep: -1,
            published: Some(false),
            tables: vec![table],
            ..Seen::default()
        }
    }

    /// The findings of a mode, as their severity's first letter and their text.
    fn check(autocreate: Autocreate, change: impl FnOnce(&mut Seen)) -> Vec<String> {
        let mut seen = good();
        change(&mut seen);
        let slot = SlotConfig { name: "s".into(), publication: "p".into(), autocreate };
        judge(&seen, &slot, "app").iter().map(|f| format!("{:.1} {f}", format!("{:?}", f.severity))).collect()
    }

    #[track_caller]
    fn one(autocreate: Autocreate, says: &str, change: impl FnOnce(&mut Seen)) {
        let found = check(autocreate, change);
        let [finding] = &found[..] else { panic!("{found:?}") };
        assert!(finding.starts_with(&says[..1]) && finding.contains(&says[2..]), "{finding}");
    }

    #[test]
    fn each_trouble_is_one_finding() {
        use Autocreate::{AllTables, Disabled, Filtered};
        let there = |ours, lost, past| Some(Slot { ours, lost, past });
        assert_eq!(check(Filtered, |_| {}), [""; 0]);
        assert_eq!(check(Disabled, |s| s.slot = there(true, false, true)), [""; 0]);
        one(Disabled, "B set database.hostname to the primary", |s| s.replica = true);
        one(Disabled, "B wal_level is replica", |s| s.wal_level = "replica".into());
        one(Disabled, "B ALTER ROLE \"app\" REPLICATION", |s| s.replication = false);
        one(Disabled, "B of another database or plugin", |s| s.slot = there(false, false, true));
        one(Disabled, "B has lost WAL", |s| s.slot = there(true, true, true));
        one(Disabled, "B ahead of the server", |s| s.slot = there(true, false, false));
        one(Filtered, "B older than its publication", |s| (s.slot, s.published) = (there(true, false, true), None));
        one(Disabled, "B all 10 replication slots are in use", |s| s.slots = (10, 10));
        one(Disabled, "B all 10 WAL senders are in use", |s| s.senders = (10, 10));
        one(Disabled, "W writing for 61 s", |s| s.oldest = 61);
        one(Disabled, "W max_slot_wal_keep_size is 64 MiB", |s| s.keep = 64);
        one(Disabled, "W REPLICA IDENTITY FULL", |s| s.tables[0].identified = false);
        one(AllTables, "B FOR ALL TABLES", |s| s.published = None);
        assert_eq!(check(AllTables, |s| (s.published, s.superuser) = (None, true)), [""; 0]);
        one(Disabled, "B CREATE PUBLICATION \"p\" FOR TABLE public.t", |s| {
            (s.published, s.tables[0].published) = (None, false);
        });
        for mode in [Disabled, AllTables] {
            one(mode, "B ALTER PUBLICATION \"p\" ADD TABLE public.t", |s| s.tables[0].published = false);
        }
        assert_eq!(check(Filtered, |s| s.tables[0].published = false), [""; 0]);
        one(Filtered, "B only their owners", |s| (s.tables[0].published, s.tables[0].owned) = (false, false));
    }
}
