//! What the hand-over asks of the database: redo that is kept and says enough, and who was writing. Asked here, judged
//! purely.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use connector_api::{Error, Finding, Result, Severity, TableId};

use super::config::HandoverConfig;
use super::connector::Place;
use super::start::Start;
use crate::catalog::{self, Relation};
use crate::describe::target;
use crate::error::{Answer, Failure};
use crate::filter::RelationKind;
use crate::session::{Session, Wanted};

/// Tables that a finding names.
const NAMED: usize = 10;

/// What the database says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Redo {
    pub(crate) place: Place,
    /// Whether it is a standby's view: which logs the primary keeps is not in it.
    standby: bool,
    /// Whether filled logs are kept.
    archived: bool,
    /// Whether changes carry what LogMiner needs, and every column of every table.
    minimal: bool,
    all: bool,
    /// Tables of which changes carry every column.
    whole: HashSet<TableId>,
    /// Redo threads; none where they may not be seen.
    threads: BTreeSet<u32>,
    /// The lowest SCN from which the logs of every thread are kept.
    oldest: Option<u64>,
    /// Views that this user may not read.
    hidden: Vec<&'static str>,
}

/// Asks the database.
pub(crate) fn ask(session: &mut dyn Session, standby: bool) -> Answer<Redo> {
    const T: Wanted = Wanted::Text;
    const N: Wanted = Wanted::Number;
    let place = Place { container: catalog::container(session)?.0, ..Place::default() };
    let mut redo = Redo { place, standby, ..Redo::default() };
    let sql = "SELECT name, cdb, log_mode, supplemental_log_data_min, supplemental_log_data_all FROM v$database";
    match catalog::records(session, sql, &[], &[T; 5]) {
        Ok(rows) => {
            let row = rows.first().ok_or(Failure::Unexpected("no answer about the database"))?;
            redo.place.name = row.get(0).unwrap_or_default().to_owned();
            redo.place.multitenant = row.get(1) == Some("YES");
            redo.archived = row.get(2) == Some("ARCHIVELOG");
            redo.minimal = row.get(3).is_some_and(|minimal| minimal != "NO");
            redo.all = row.get(4) == Some("YES");
        }
        Err(e) if e.is_missing_right() => redo.hidden.push("V_$DATABASE"),
        Err(e) => return Err(e),
    }
    let sql = "SELECT owner, table_name FROM all_log_groups WHERE log_group_type = 'ALL COLUMN LOGGING'";
    for row in catalog::records(session, sql, &[], &[T, T])? {
        redo.whole.insert(TableId::new(row.text(0)?, row.text(1)?));
    }
    let logs = [
        ("V_$LOG", "SELECT thread#, first_change# FROM v$log"),
        (
            "V_$ARCHIVED_LOG",
            "SELECT thread#, MIN(first_change#) FROM v$archived_log WHERE status = 'A' GROUP BY thread#",
        ),
    ];
    let mut kept = Kept::default();
    for (view, sql) in logs {
        match catalog::records(session, sql, &[], &[N, N]) {
            Ok(rows) => {
                for row in rows {
                    redo.threads.extend(row.number::<u32>(0));
                    kept.add(row.number(0), row.number(1));
                }
            }
            Err(e) if e.is_missing_right() => redo.hidden.push(view),
            Err(e) => return Err(e),
        }
    }
    redo.oldest = kept.oldest();
    Ok(redo)
}

/// Of each redo thread, the lowest SCN of its logs.
#[derive(Default)]
struct Kept(BTreeMap<Option<u32>, u64>);

impl Kept {
    /// Adds a log. One that was never used is of SCN 0.
    fn add(&mut self, thread: Option<u32>, first: Option<u64>) {
        if let Some(first) = first.filter(|first| *first > 0) {
            let lowest = self.0.entry(thread).or_insert(first);
            *lowest = first.min(*lowest);
        }
    }

    /// From where on every thread is there.
    fn oldest(&self) -> Option<u64> {
        self.0.values().copied().max()
    }
}

impl Redo {
    /// The redo threads that an offset is to name. One that is missing costs events that are passed over, no more.
    pub(crate) fn threads(&self) -> Vec<u32> {
        match self.threads.is_empty() {
            true => vec![1],
            false => self.threads.iter().copied().collect(),
        }
    }

    /// Whether the redo is still there from where it is to be read. What cannot be seen is not held against it, and from
    /// a standby the primary's cannot.
    ///
    /// # Errors
    /// `Fatal` when it is not: changes would be missing.
    pub(crate) fn reaches(&self, start: &Start) -> Result<()> {
        match self.oldest.filter(|_| self.hidden.is_empty() && !self.standby) {
            Some(oldest) if oldest > start.after => {
                let what =
                    "redo logs that the hand-over needs are no longer there: changes since the load would be missing";
                let remedy = "restore the archived logs (RMAN: RESTORE ARCHIVELOG FROM SCN …), or load every table again \
                              with --no-resume and keep them longer (RMAN: CONFIGURE ARCHIVELOG DELETION POLICY)";
                let error = Error::fatal(what).with("from_scn", start.after).with("oldest_scn", oldest);
                Err(error.with("remedy", remedy))
            }
            _ => Ok(()),
        }
    }

    /// What is in the way of the hand-over, before the load begins; but for the views that a load asks too.
    pub(crate) fn judge(&self, handover: &HandoverConfig, user: &str, relations: &[Relation]) -> Vec<Finding> {
        let mut findings = vec![];
        let mut find = |severity, what: &str, remedy: String| findings.push(Finding::new(severity, what, remedy));
        let grant = |object: &str| format!("GRANT SELECT ON SYS.{object} TO {user}");
        if handover.start.is_none() && self.standby {
            let what = "a hand-over from a standby, which shows no open transactions, needs where the oldest one began";
            let remedy = "set handover.start.scn to SELECT MIN(start_scn) FROM gv$transaction at the primary (or its \
                          CURRENT_SCN, where there is none), asked before each load, and \
                          handover.config.database.hostname to the primary; or load from the primary";
            find(Severity::Blocking, what, remedy.into());
        }
        if self.hidden.contains(&"V_$DATABASE") {
            return findings;
        }
        if !self.archived {
            let what = "the database does not archive its redo: what Debezium has not read in time would be lost";
            let remedy = "SHUTDOWN IMMEDIATE; STARTUP MOUNT; ALTER DATABASE ARCHIVELOG; ALTER DATABASE OPEN";
            find(Severity::Blocking, what, remedy.into());
        }
        if !self.minimal {
            let what = "supplemental logging is off: LogMiner cannot tell what was changed";
            find(Severity::Blocking, what, "ALTER DATABASE ADD SUPPLEMENTAL LOG DATA".into());
        }
        let followed = relations.iter().filter(|r| r.unfit.is_none() && is_logged(r));
        let partly: Vec<_> = followed.filter(|r| !self.all && !self.whole.contains(&r.id)).collect();
        if !partly.is_empty() {
            let (named, more) = partly.split_at(partly.len().min(NAMED));
            let list: Vec<_> = named.iter().map(|r| r.id.to_string()).collect();
            let what = format!("changes are logged without all columns of {}{}", list.join(", "), others(more.len()));
            let alter =
                |r: &&Relation| format!("ALTER TABLE {} ADD SUPPLEMENTAL LOG DATA (ALL) COLUMNS", target(&r.id));
            let statements: Vec<_> = named.iter().map(alter).collect();
            let remedy = format!("{}{}, before the load", statements.join("; "), others(more.len()));
            find(Severity::Blocking, &what, remedy);
        }
        if self.standby {
            let what = "whether the primary still has the redo since the load cannot be seen from a standby";
            let remedy = "have its archived logs kept until Debezium's connector streams";
            find(Severity::Warning, what, remedy.into());
        }
        let no_rac = handover.more.get("rac.nodes").is_none_or(|nodes| nodes.expose().trim().is_empty());
        if self.threads.len() > 1 && no_rac {
            let what = format!(
                "the database has {} redo threads, and Debezium takes one for a RAC only where it is told its nodes",
                self.threads.len()
            );
            let remedy = "set handover.config.rac.nodes to the nodes' host names, with :port where it is another";
            find(Severity::Warning, &what, remedy.into());
        }
        for view in self.hidden.iter().filter(|view| **view != "V_$DATABASE") {
            let what = "whether the redo since the load is still there cannot be seen at the hand-over";
            find(Severity::Warning, what, grant(view));
        }
        let views = relations.iter().filter(|r| !is_logged(r));
        findings.extend(views.map(|view| {
            let what = "a view has no redo: it is loaded, and not followed";
            Finding::new(Severity::Warning, what, "leave it out, or load it by a job of its own").on(&view.id)
        }));
        findings
    }
}

fn others(count: usize) -> String {
    if count == 0 { String::new() } else { format!(" and {count} others") }
}

/// Whether changes of it are in the redo.
pub(crate) fn is_logged(relation: &Relation) -> bool {
    relation.kind != RelationKind::View
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Redo {
        Redo {
            archived: true,
            minimal: true,
            whole: [TableId::new("HR", "EMP")].into(),
            threads: [1].into(),
            oldest: Some(50),
            ..Redo::default()
        }
    }

    fn handover(start: Option<u64>) -> HandoverConfig {
        HandoverConfig {
            dir: None,
            worker: None,
            name: None,
            prefix: "p".into(),
            servers: "k".into(),
            start,
            timeout: std::time::Duration::ZERO,
            more: std::collections::BTreeMap::new(),
        }
    }

    fn relation(name: &str, kind: RelationKind) -> Relation {
        let id = TableId::new("HR", name);
        Relation { id, kind, unfit: None, divides: true, rows: None, bytes: 0, row_length: None }
    }

    fn check(redo: &Redo, start: Option<u64>, standby: bool, kinds: &[(&str, RelationKind)]) -> Vec<String> {
        let relations: Vec<_> = kinds.iter().map(|(name, kind)| relation(name, *kind)).collect();
        let redo = Redo { standby, ..redo.clone() };
        let findings = redo.judge(&handover(start), "\"APP\"", &relations);
        findings.iter().map(|f| format!("{:?} {f}", f.severity)).collect()
    }

    #[track_caller]
    fn one(found: &[String], says: &[&str]) {
        let [finding] = found else { panic!("{found:?}") };
        assert!(says.iter().all(|part| finding.contains(part)), "{finding}");
    }

    #[test]
    fn each_trouble_is_one_finding_with_its_remedy() {
        let emp = [("EMP", RelationKind::Table)];
        let of = |change: fn(&mut Redo)| {
            let mut redo = good();
            change(&mut redo);
            check(&redo, None, false, &emp)
        };
        assert_eq!(of(|_| {}), [""; 0]);
        one(&of(|r| r.archived = false), &["Blocking", "ALTER DATABASE ARCHIVELOG"]);
        one(&of(|r| r.minimal = false), &["Blocking", "ALTER DATABASE ADD SUPPLEMENTAL LOG DATA"]);
        let alter = "ALTER TABLE \"HR\".\"EMP\" ADD SUPPLEMENTAL LOG DATA (ALL) COLUMNS";
        one(&of(|r| r.whole.clear()), &["Blocking", "without all columns of HR.EMP", alter]);
        assert_eq!(of(|r| (r.all, r.whole) = (true, HashSet::new())), [""; 0]);
        one(&of(|r| r.hidden.push("V_$LOG")), &["Warning", "GRANT SELECT ON SYS.V_$LOG TO \"APP\""]);
        assert_eq!(of(|r| (r.archived, r.hidden) = (false, vec!["V_$DATABASE"])), [""; 0], "nothing is known");
    }

    #[test]
    fn the_oldest_transaction_must_be_known() {
        let emp = [("EMP", RelationKind::Table)];
        let found = check(&good(), None, true, &emp);
        one(&found[..1], &["Blocking", "standby", "handover.start.scn"]);
        one(&found[1..], &["Warning", "cannot be seen from a standby"]);
        assert_eq!(check(&good(), Some(7), true, &emp), found[1..]);
    }

    #[test]
    fn many_tables_are_counted_and_views_are_not_followed() {
        let names: Vec<String> = (0..12).map(|n| format!("T{n}")).collect();
        let many: Vec<_> = names.iter().map(|name| (name.as_str(), RelationKind::Table)).collect();
        one(&check(&good(), None, false, &many), &["HR.T9 and 2 others"]);
        one(&check(&good(), None, false, &[("V", RelationKind::View)]), &["Warning", "HR.V: a view has no redo"]);
    }

    #[test]
    fn redo_must_reach_back() {
        let reaches = |after, redo: &Redo| redo.reaches(&Start { after, committed: 100 }).map_err(|e| e.to_string());
        assert_eq!(reaches(50, &good()), Ok(()));
        assert!(reaches(49, &good()).unwrap_err().contains("oldest_scn=50"));
        // What cannot be seen is not held against it.
        assert_eq!(reaches(49, &Redo { hidden: vec!["V_$ARCHIVED_LOG"], ..good() }), Ok(()));
        // A standby's own logs are not those that are mined.
        assert_eq!(reaches(49, &Redo { standby: true, ..good() }), Ok(()));
        let two = Redo { threads: [1, 2].into(), ..good() };
        assert_eq!((two.threads(), Redo::default().threads()), (vec![1, 2], vec![1]));
    }

    #[test]
    fn every_thread_must_reach_back() {
        let oldest = |logs: &[(u32, u64)]| {
            let mut kept = Kept::default();
            logs.iter().for_each(|(thread, first)| kept.add(Some(*thread), Some(*first)));
            kept.oldest()
        };
        assert_eq!(oldest(&[(1, 70), (1, 50), (2, 90), (2, 60)]), Some(60));
        assert_eq!(oldest(&[(1, 0), (1, 50)]), Some(50), "a log that was never used");
        assert_eq!(oldest(&[]), None);
    }

    #[test]
    fn a_rac_is_told_by_its_nodes() {
        let mut handover = handover(None);
        let redo = Redo { threads: [1, 2].into(), ..good() };
        let found = |handover: &HandoverConfig| {
            let findings = redo.judge(handover, "", &[]);
            findings.iter().map(|f| format!("{:?} {f}", f.severity)).collect::<Vec<_>>()
        };
        one(&found(&handover), &["Warning", "2 redo threads", "handover.config.rac.nodes"]);
        handover.more.insert("rac.nodes".into(), connector_api::Secret::new("a,b"));
        assert_eq!(found(&handover), [""; 0]);
    }
}
