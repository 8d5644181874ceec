//! What a database and a user must be like for a load: asked before it starts, judged purely.
//!
//! Nothing is changed at the server. Each finding names the statement that removes it. What blocks one table is refused
//! by the plan as well, or said by its reading.

use std::collections::{HashMap, HashSet};

use connector_api::{Finding, Result, Severity, TableId};

use crate::catalog::{self, Record, Relation, Undo};
use crate::config::{ChunkMethod, OracleConfig};
use crate::cut;
use crate::describe::{describe, target};
use crate::error::{Answer, Failure};
use crate::filter::RelationKind;
use crate::handover;
use crate::session::{Session, Wanted};

/// Bytes per second that a session is taken to read, for the judgement of undo: low, as networks are.
const PACE: u64 = 20 << 20;

/// What the judgement rests on.
#[derive(Clone, Debug, Default)]
struct Facts {
    user: String,
    major_version: u32,
    standby: bool,
    /// System privileges of the session.
    system: HashSet<String>,
    /// Privileges on objects, granted to the user, its roles or everyone.
    objects: HashMap<(TableId, String), ()>,
    /// Views of the dictionary that cannot be read.
    hidden: Vec<&'static str>,
    /// Whether the SCN can be asked of DBMS_FLASHBACK, where V$DATABASE is hidden.
    flashback: bool,
    undo: Option<Undo>,
    character_set: Option<String>,
}

/// Views that are asked, with what they are for.
const VIEWS: [(&str, &str, &str); 4] = [
    ("v$database", "V_$DATABASE", "which database it is and its SCN are asked there"),
    ("gv$transaction", "GV_$TRANSACTION", "what follows the load must begin before the oldest open transaction"),
    ("dba_extents", "DBA_EXTENTS", "tables are divided by their extents; without it by sampled blocks"),
    ("v$undostat", "V_$UNDOSTAT", "how far back undo reaches is asked there"),
];

/// Looks at the database and at the selected tables.
pub(crate) fn check(config: &OracleConfig) -> Result<Vec<Finding>> {
    let mut session = cut::connect(&config.endpoint)?;
    let looking = |e: Failure| e.while_doing("looking at the user's privileges");
    let facts = facts(&mut *session).map_err(looking)?;
    let relations = cut::selected(&mut *session, config).map_err(|e| e.while_doing("finding the tables"))?;
    let mut findings = judge(&facts, config, &relations);
    if let Some(handover) = &config.handover {
        let user = format!("\"{}\"", facts.user);
        findings.extend(handover::check(&mut *session, handover, (&user, facts.standby), &relations)?);
    }
    let owners: HashSet<&str> = relations.iter().map(|r| r.id.schema()).collect();
    for owner in owners {
        let details = catalog::details(&mut *session, owner, false);
        let details = details.map_err(|e| e.while_doing("reading the tables' columns"))?;
        for relation in relations.iter().filter(|r| r.id.schema() == owner) {
            let known = details.get(relation.id.name()).cloned().unwrap_or_default();
            if config.handover.is_some() {
                findings.extend(handover::silent(relation, &known, &config.filter, &config.handling));
            }
            match describe(relation, &known, &config.filter, &config.handling) {
                Ok(table) => findings.extend(table.left_out.iter().map(|(column, why)| {
                    let remedy = "long.handling and lob.handling say what becomes of such columns";
                    Finding::new(Severity::Warning, format!("{why} [column={column}]"), remedy).on(&relation.id)
                })),
                Err(why) => {
                    let remedy = why.context("remedy").unwrap_or("leave it out by table.exclude.list").to_owned();
                    let place = why.context("column").map(|column| format!(" [column={column}]")).unwrap_or_default();
                    let reason = why.context("why").map(|why| format!(": {why}")).unwrap_or_default();
                    let what = format!("{}{reason}{place}", why.message());
                    findings.push(Finding::new(Severity::Blocking, what, remedy).on(&relation.id));
                }
            }
        }
    }
    Ok(findings)
}

fn facts(session: &mut dyn Session) -> Answer<Facts> {
    const T: Wanted = Wanted::Text;
    let database = catalog::database(session)?;
    let texts = |rows: Vec<Record>| -> HashSet<String> {
        rows.iter().filter_map(|row| row.get(0).map(str::to_owned)).collect()
    };
    let system = texts(catalog::records(session, "SELECT privilege FROM session_privs", &[], &[T])?);
    let mut grantees = texts(catalog::records(session, "SELECT role FROM session_roles", &[], &[T])?);
    grantees.extend([database.user.clone(), "PUBLIC".to_owned()]);
    let sql = "SELECT grantee, table_schema, table_name, privilege FROM all_tab_privs WHERE privilege IN \
               ('SELECT', 'READ', 'FLASHBACK')";
    let mut objects = HashMap::new();
    for row in catalog::records(session, sql, &[], &[T, T, T, T])? {
        if grantees.contains(row.text(0)?) {
            objects.insert((TableId::new(row.text(1)?, row.text(2)?), row.text(3)?.to_owned()), ());
        }
    }
    let mut hidden = vec![];
    for (view, _, _) in VIEWS {
        match catalog::records(session, &format!("SELECT 1 FROM {view} WHERE 1 = 0"), &[], &[Wanted::Number]) {
            Ok(_) => {}
            Err(e) if e.is_missing_right() => hidden.push(view),
            Err(e) => return Err(e),
        }
    }
    let flashback = match database.sees_database {
        true => false,
        false => match catalog::current_scn(session, &database) {
            Ok(_) => true,
            Err(e) if e.is_missing_right() => false,
            Err(e) => return Err(e),
        },
    };
    let sql = "SELECT value FROM nls_database_parameters WHERE parameter = 'NLS_CHARACTERSET'";
    let character_set =
        catalog::records(session, sql, &[], &[T])?.first().and_then(|row| row.get(0).map(str::to_owned));
    Ok(Facts {
        user: database.user,
        major_version: session.major_version(),
        standby: database.standby,
        system,
        objects,
        hidden,
        flashback,
        undo: catalog::undo(session)?,
        character_set,
    })
}

fn judge(facts: &Facts, config: &OracleConfig, relations: &[Relation]) -> Vec<Finding> {
    let mut findings = vec![];
    let mut find = |severity, what: String, remedy: String| findings.push(Finding::new(severity, what, remedy));
    let user = format!("\"{}\"", facts.user);
    if facts.major_version > 0 && facts.major_version < 12 {
        let what =
            format!("the server is of version {}: 12.1 or newer is needed, 19 or newer is tested", facts.major_version);
        find(Severity::Blocking, what, "upgrade the server".into());
    }
    if relations.is_empty() {
        let what = "no table is selected: the lists, the filter, or what the user may see, leave none";
        find(
            Severity::Warning,
            what.into(),
            "look at schema.include.list and table.include.list, and at its grants".into(),
        );
    }
    for (view, object, what_for) in VIEWS {
        let unused = view == "dba_extents" && !matches!(config.chunk_method, ChunkMethod::Auto | ChunkMethod::Extents)
            || view == "gv$transaction" && facts.standby;
        if facts.hidden.contains(&view) && !unused {
            let handover = config.handover.as_ref();
            let needed = view == "dba_extents" && config.chunk_method == ChunkMethod::Extents
                || view == "v$database" && (handover.is_some() || !facts.flashback)
                || view == "gv$transaction" && handover.is_some_and(|handover| handover.start.is_none());
            let severity = if needed { Severity::Blocking } else { Severity::Warning };
            let what = format!("the user may not read {}: {what_for}", view.to_uppercase());
            find(severity, what, format!("GRANT SELECT ON SYS.{object} TO {user}"));
        }
    }
    if facts.standby && config.handover.is_none() {
        let what = "the database is a standby, which shows no open transactions: a log that follows must begin before \
                    the oldest one at the primary";
        find(Severity::Warning, what.into(), "ask GV$TRANSACTION at the primary, or load from the primary".into());
    }
    if let Some(set) = facts.character_set.as_deref().filter(|set| !matches!(*set, "AL32UTF8" | "UTF8")) {
        let what = format!("the database's character set is {set}: text is converted by the server");
        let remedy = "nothing, if its text is in that character set; bytes that are not come as replacement characters";
        find(Severity::Warning, what, remedy.into());
    }
    if let Some(undo) = facts.undo {
        let bytes: u64 = relations.iter().map(|r| r.bytes).sum();
        let sessions = (config.tables_at_a_time * config.splits_at_a_time) as u64;
        let seconds = bytes / (PACE * sessions.max(1));
        if let Some(retention) = undo.retention.filter(|retention| *retention < seconds) {
            let what = format!(
                "undo reaches back {retention} s, and the selected tables ({} MiB) take about {seconds} s at {} MiB/s for \
                 each of {sessions} sessions: a load that takes longer than undo lasts fails by ORA-01555",
                bytes >> 20,
                PACE >> 20
            );
            let remedy = format!("ALTER SYSTEM SET UNDO_RETENTION = {}; and enough space for undo", seconds * 2);
            find(Severity::Warning, what, remedy);
        }
        if undo.too_old > 0 || undo.no_space > 0 {
            let what = format!(
                "in the last days {} queries failed by ORA-01555, and undo had no space {} times",
                undo.too_old, undo.no_space
            );
            find(Severity::Warning, what, "raise UNDO_RETENTION and the undo tablespace's size".into());
        }
    }
    for relation in relations.iter().filter(|r| r.unfit.is_none()) {
        findings.extend(rights(facts, relation, &user));
    }
    findings
}

/// What is missing to read a table as of an SCN.
fn rights(facts: &Facts, relation: &Relation, user: &str) -> Vec<Finding> {
    let id = &relation.id;
    if id.schema() == facts.user {
        return vec![];
    }
    let any = |privilege: &str| facts.system.contains(privilege);
    let on = |privilege: &str| facts.objects.contains_key(&(id.clone(), privilege.to_owned()));
    let select = any("SELECT ANY TABLE") || any("READ ANY TABLE") || on("SELECT") || on("READ");
    let flashback = any("FLASHBACK ANY TABLE") || on("FLASHBACK");
    let kind = if relation.kind == RelationKind::View { "view" } else { "table" };
    let missing = [("SELECT", select), ("FLASHBACK", flashback)];
    let finding = |(privilege, has): (&str, bool)| {
        let what = format!("no {privilege} privilege on the {kind}");
        let remedy = format!("GRANT {privilege} ON {} TO {user}", target(id));
        (!has).then(|| Finding::new(Severity::Blocking, what, remedy).on(id))
    };
    missing.into_iter().filter_map(finding).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use connector_api::ConnectorConfig as _;

    use super::*;

    fn config(more: &[(&str, &str)]) -> OracleConfig {
        let needed = [
            ("database.url", "db/x"),
            ("database.user", "me"),
            ("database.password", "x"),
            ("snapshot.mode", "initial_only"),
        ];
        let raw: BTreeMap<_, _> = needed.iter().chain(more).map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        OracleConfig::from_values(&OracleConfig::definition().parse(&raw).0).unwrap()
    }

    fn table(bytes: u64) -> Relation {
        Relation {
            id: TableId::new("HR", "EMP"),
            kind: RelationKind::Table,
            unfit: None,
            divides: true,
            rows: None,
            bytes,
            row_length: None,
        }
    }

    fn good() -> Facts {
        Facts {
            user: "APP".into(),
            major_version: 19,
            objects: ["SELECT", "FLASHBACK"].map(|p| ((TableId::new("HR", "EMP"), p.to_owned()), ())).into(),
            undo: Some(Undo { retention: Some(900), ..Undo::default() }),
            character_set: Some("AL32UTF8".into()),
            ..Facts::default()
        }
    }

    fn check(change: impl FnOnce(&mut Facts), bytes: u64, more: &[(&str, &str)]) -> Vec<String> {
        let mut facts = good();
        change(&mut facts);
        judge(&facts, &config(more), &[table(bytes)]).iter().map(|f| format!("{:?} {f}", f.severity)).collect()
    }

    /// One finding, of this severity, with these words.
    #[track_caller]
    fn one(severity: Severity, says: &str, change: impl FnOnce(&mut Facts)) {
        let found = check(change, 0, &[]);
        let [finding] = &found[..] else { panic!("{found:?}") };
        assert!(finding.starts_with(&format!("{severity:?}")) && finding.contains(says), "{finding}");
    }

    #[test]
    fn each_trouble_is_one_finding() {
        assert_eq!(check(|_| {}, 0, &[]), [""; 0]);
        let forget = |privilege: &'static str| move |f: &mut Facts| f.objects.retain(|(_, p), ()| p != privilege);
        one(Severity::Blocking, "GRANT SELECT ON \"HR\".\"EMP\" TO \"APP\"", forget("SELECT"));
        one(Severity::Blocking, "GRANT FLASHBACK ON \"HR\".\"EMP\" TO \"APP\"", forget("FLASHBACK"));
        one(Severity::Blocking, "of version 11", |f| f.major_version = 11);
        one(Severity::Warning, "GRANT SELECT ON SYS.GV_$TRANSACTION TO \"APP\"", |f| f.hidden = vec!["gv$transaction"]);
        one(Severity::Warning, "GRANT SELECT ON SYS.DBA_EXTENTS TO \"APP\"", |f| f.hidden = vec!["dba_extents"]);
        one(Severity::Blocking, "GRANT SELECT ON SYS.V_$DATABASE", |f| f.hidden = vec!["v$database"]);
        one(Severity::Warning, "V$DATABASE", |f| (f.hidden, f.flashback) = (vec!["v$database"], true));
        one(Severity::Warning, "a standby", |f| (f.standby, f.hidden) = (true, vec!["gv$transaction"]));
        one(Severity::Warning, "WE8MSWIN1252", |f| f.character_set = Some("WE8MSWIN1252".into()));
        one(Severity::Warning, "7 queries failed", |f| f.undo = Some(Undo { too_old: 7, ..Undo::default() }));
        let extents = check(|f| f.hidden = vec!["dba_extents"], 0, &[("chunk.method", "extents")]);
        assert!(extents[0].starts_with("Blocking"), "{extents:?}");
        assert_eq!(check(|f| f.hidden = vec!["dba_extents"], 0, &[("chunk.method", "sample")]), [""; 0]);
    }

    #[test]
    fn rights_on_any_table_or_as_its_owner_are_rights() {
        let none = |f: &mut Facts| f.objects.clear();
        assert_eq!(check(none, 0, &[]).len(), 2);
        let any = |f: &mut Facts| {
            f.objects.clear();
            f.system = ["READ ANY TABLE", "FLASHBACK ANY TABLE"].map(str::to_owned).into();
        };
        assert_eq!(check(any, 0, &[]), [""; 0]);
        let owner = |f: &mut Facts| {
            f.objects.clear();
            f.user = "HR".into();
        };
        assert_eq!(check(owner, 0, &[]), [""; 0]);
    }

    #[test]
    fn undo_must_last_as_long_as_the_load() {
        // Four sessions of 20 MiB/s: 900 s are 70 GiB.
        assert_eq!(check(|_| {}, 70 << 30, &[]), [""; 0]);
        let found = check(|_| {}, 200 << 30, &[]);
        assert!(found.len() == 1 && found[0].contains("undo reaches back 900 s") && found[0].contains("2560 s"));
        assert_eq!(check(|_| {}, 200 << 30, &[("parallel.workers", "16")]), [""; 0]);
    }
}
