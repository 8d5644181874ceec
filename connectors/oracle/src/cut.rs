//! The consistent cut: one SCN that every query of a load is AS OF.
//!
//! Nothing holds it: it lasts as long as undo does. Before it is taken the SCN and the start of the oldest transaction
//! are asked for: what commits after the cut began no earlier than that, which is where a log must be read from. A load
//! that goes on after a stop goes on at the SCN of the tables that the sink has, while that can be read; a table never
//! mixes two.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use connector_api::{Cut, Error, Plan, Progress, Result, Selection, SplitId, TableId, TablePlan, failpoint};

use crate::catalog::{self, Database, Details, Relation};
use crate::config::{ChunkMethod, Endpoint, OracleConfig, ScnChoice};
use crate::describe::{Readable, describe, quoted, target};
use crate::error::{Answer, Failure};
use crate::plan;
use crate::session::{Bind, Printed, Query, Session, Wanted, open};
use crate::types::Long;

/// Failures by ORA-01555 after which a split's SCN counts as expired.
const STRIKES: u32 = 3;
/// Sampled ROWIDs for each part that they are to make.
const SAMPLES: u64 = 100;

/// A cut that is being read, and the sessions that read it.
pub(crate) struct Snapshot {
    endpoint: Endpoint,
    pub(crate) scn: u64,
    restart_expired: bool,
    tables: HashMap<TableId, Arc<Readable>>,
    /// Sessions that no split is using.
    idle: Mutex<Vec<Box<dyn Session>>>,
    /// Of each split, what was read of it.
    splits: Mutex<HashMap<SplitId, Split>>,
}

/// What is known of a split that was read, in part or whole.
#[derive(Clone, Debug, Default)]
struct Split {
    /// Rows and digest of each batch.
    batches: Vec<(u64, u64)>,
    strikes: u32,
}

impl Snapshot {
    /// Finds the tables that are selected and not yet loaded, fixes the SCN and plans their splits. `expired` is an SCN
    /// that cannot be read any more.
    pub(crate) fn begin(config: &OracleConfig, done: &Progress, expired: Option<u64>) -> Result<(Self, Plan)> {
        let mut session = connect(&config.endpoint)?;
        let finding = |e: Failure| e.while_doing("finding the tables");
        let database = catalog::database(&mut *session).map_err(|e| e.while_doing("asking what the database is"))?;
        let selected = selected(&mut *session, config).map_err(finding)?;
        let (older, wanted): (Vec<_>, Vec<_>) = selected.into_iter().partition(|r| done.loaded(&r.id).is_some());
        let older: Vec<(u64, Option<&str>)> = older
            .iter()
            .filter_map(|r| done.loaded(&r.id))
            .filter_map(|loaded| Some((loaded.position.parse().ok()?, loaded.visible.as_deref())))
            .collect();
        let (scn, visible) = choose(&mut *session, config, &database, &older, expired, &wanted)?;
        failpoint::hit("oracle.cut-taken")?;
        let mut details = details(&mut *session, config, &wanted)?;
        let (mut readable, mut tables, mut refused) = (HashMap::new(), vec![], vec![]);
        for relation in wanted {
            let known = details.remove(&relation.id).unwrap_or_default();
            let described = describe(&relation, &known, &config.filter, &config.handling);
            let (table, shares) = match described.and_then(|table| shares(table, config, &relation, &known)) {
                Ok(divided) => divided,
                Err(why) => {
                    refused.push((relation.id, why));
                    continue;
                }
            };
            for (column, why) in &table.left_out {
                tracing::info!(table = %relation.id, column, why, "the table is loaded without a column");
            }
            let extents: u64 = known.extents.iter().map(|extent| extent.bytes).sum();
            let bytes = if known.extents.is_empty() { relation.bytes } else { extents };
            let cuts = match cuts(&mut *session, config, &relation, known, bytes) {
                Ok(cuts) => cuts,
                Err(why) => {
                    let why = why.while_doing("dividing a table").with("table", &relation.id);
                    if !matches!(why.kind(), connector_api::ErrorKind::Data) {
                        return Err(why);
                    }
                    refused.push((relation.id, why));
                    continue;
                }
            };
            let parts = if shares > 1 { plan::shares(shares) } else { plan::ranges(&cuts) };
            let splits = plan::splits(&relation.id, &parts, bytes);
            let schema = Arc::clone(&table.schema);
            tables.push((bytes, TablePlan { schema, splits, rows: relation.rows }));
            readable.insert(relation.id, Arc::new(table));
        }
        tables.sort_by(|(a, x), (b, y)| b.cmp(a).then_with(|| x.schema.table().cmp(y.schema.table())));
        let cut = Cut { system: database.system, position_type: "scn".into(), position: scn.to_string(), visible };
        let snapshot = Self {
            endpoint: config.endpoint.clone(),
            scn,
            restart_expired: config.restart_expired,
            tables: readable,
            idle: Mutex::new(vec![session]),
            splits: Mutex::default(),
        };
        let plan = Plan {
            cut: Arc::new(cut),
            tables: tables.into_iter().map(|(_, table)| table).collect(),
            refused,
            tables_at_a_time: config.tables_at_a_time,
            splits_at_a_time: config.splits_at_a_time,
        };
        Ok((snapshot, plan))
    }

    /// How to read a table of the plan.
    pub(crate) fn table(&self, table: &TableId) -> Option<&Arc<Readable>> {
        self.tables.get(table)
    }

    /// A session that can read.
    pub(crate) fn worker(&self) -> Result<Box<dyn Session>> {
        if let Some(idle) = lock(&self.idle).pop() {
            return Ok(idle);
        }
        connect(&self.endpoint)
    }

    /// Takes back a session whose last query has ended as it should.
    pub(crate) fn give_back(&self, session: Box<dyn Session>) {
        lock(&self.idle).push(session);
    }

    /// Ends the sessions that no split is using: where one has broken, others may have.
    pub(crate) fn drop_idle(&self) {
        let idle = std::mem::take(&mut *lock(&self.idle));
        idle.into_iter().for_each(Session::abandon);
    }

    /// Proves that a table's segments are those that were planned: what was read of it is all that there was.
    pub(crate) fn vouch(&self, session: &mut dyn Session, table: &Readable) -> Result<()> {
        let now = catalog::segments(session, table.schema.table())
            .map_err(|e| e.while_doing("looking whether a table is still where it was"))?;
        if now == table.segments {
            return Ok(());
        }
        let what = "the table or a part of it was truncated, moved, added or dropped while it was read";
        let remedy = "run again with snapshot.scn=current, when that has ended";
        Err(Error::data(what).with("table", table.schema.table()).with("remedy", remedy))
    }

    /// The rows of a split's batch, counted from 0, and their digest: the same as when it was read before, or that is the
    /// error. Whether it was.
    pub(crate) fn same_as_before(&self, split: &SplitId, at: usize, is: (u64, u64)) -> Result<bool> {
        let mut splits = lock(&self.splits);
        let known = &mut splits.entry(split.clone()).or_default().batches;
        match known.get(at) {
            Some(was) if *was == is => Ok(true),
            Some(_) => Err(Error::cut_lost(
                "a split that was read again had other rows, or in another order: its table begins anew",
            )),
            None => {
                known.push(is);
                Ok(false)
            }
        }
    }

    /// What to do about a query that undo did not reach back far enough for: it is tried again at the same SCN, and
    /// then that SCN counts as gone.
    pub(crate) fn expired(&self, split: &SplitId, failure: Failure, session: &mut dyn Session) -> Error {
        let strikes = {
            let mut splits = lock(&self.splits);
            let known = splits.entry(split.clone()).or_default();
            known.strikes += 1;
            known.strikes
        };
        let undo = catalog::undo(session).ok().flatten().and_then(|undo| undo.retention);
        let undo = undo.map_or("unknown".to_owned(), |seconds| seconds.to_string());
        let again = strikes < STRIKES;
        let cause = failure.while_doing("reading rows");
        let remedy = cause.context("remedy").unwrap_or_default().to_owned();
        let error = match (again, self.restart_expired) {
            (true, _) => Error::retriable("undo did not reach back to the SCN of the load"),
            (false, true) => Error::cut_lost("undo no longer reaches back to the SCN of the load"),
            (false, false) => Error::data("undo no longer reaches back to the SCN of the load"),
        };
        error.with("scn", self.scn).with("undo_retention_seconds", undo).with("remedy", remedy).caused_by(cause)
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        self.drop_idle();
    }
}

/// Opens a session and sets what each of ours needs, whatever the server's defaults are.
pub(crate) fn connect(endpoint: &Endpoint) -> Result<Box<dyn Session>> {
    let mut session = open(endpoint).map_err(|e| e.while_doing("connecting"))?;
    match prepare(&mut *session, endpoint) {
        Ok(()) => Ok(session),
        Err(e) => {
            session.abandon();
            Err(e.while_doing("setting up a session"))
        }
    }
}

fn prepare(session: &mut dyn Session, endpoint: &Endpoint) -> Answer<()> {
    if let Some(pdb) = &endpoint.pdb
        && catalog::container(session)?.0 != *pdb
    {
        session.run(&format!("ALTER SESSION SET CONTAINER = {}", quoted(pdb)), &[])?;
    }
    // TIMESTAMP WITH LOCAL TIME ZONE comes in the session's.
    session.run("ALTER SESSION SET TIME_ZONE = '+00:00'", &[])?;
    // The same rows in the same order each time a split is read.
    session.run("ALTER SESSION DISABLE PARALLEL QUERY", &[])
}

/// The tables that the configuration selects, by name.
pub(crate) fn select(config: &OracleConfig) -> Result<Selection> {
    let mut session = connect(&config.endpoint)?;
    let database = catalog::database(&mut *session).map_err(|e| e.while_doing("asking what the database is"))?;
    let selected = selected(&mut *session, config).map_err(|e| e.while_doing("finding the tables"))?;
    Ok(Selection { system: database.system, tables: selected.into_iter().map(|r| r.id).collect() })
}

pub(crate) fn selected(session: &mut dyn Session, config: &OracleConfig) -> Answer<Vec<Relation>> {
    let views = config.kinds.contains(&crate::filter::RelationKind::View);
    let mut relations = catalog::relations(session, views)?;
    relations.retain(|r| config.kinds.contains(&r.kind) && config.filter.selects(&r.id));
    if config.handling.long == Long::SkipTable {
        let longs = catalog::with_longs(session)?;
        relations.retain(|r| {
            let skipped = longs.contains(&r.id);
            if skipped {
                tracing::info!(table = %r.id, "the table has a LONG column and is not selected (long.handling)");
            }
            !skipped
        });
    }
    Ok(relations)
}

/// The SCN of the load, and the SCN from which a log must be read so that nothing is missed of what commits after it.
/// `older` has the same of tables that are loaded already.
fn choose(
    session: &mut dyn Session,
    config: &OracleConfig,
    database: &Database,
    older: &[(u64, Option<&str>)],
    expired: Option<u64>,
    wanted: &[Relation],
) -> Result<(u64, Option<String>)> {
    let taking = |e: Failure| e.while_doing("taking the SCN");
    match config.scn {
        ScnChoice::At(scn) => return Ok((scn, None)),
        ScnChoice::Current => {}
        ScnChoice::Resume => {
            let before = older.iter().map(|(scn, _)| *scn).max().filter(|scn| Some(*scn) != expired);
            if let Some(scn) = before {
                match probe(session, wanted, scn).map_err(taking)? {
                    None => {
                        tracing::info!(scn, "going on at the SCN of the tables that are loaded already");
                        let visible = older.iter().find_map(|(of, visible)| visible.filter(|_| *of == scn));
                        return Ok((scn, visible.map(str::to_owned)));
                    }
                    Some(why) => {
                        let why = why.while_doing("looking whether it can be read");
                        tracing::info!(scn, why = format!("{why:#}"), "the SCN of the tables that are loaded is gone");
                    }
                }
            }
        }
    }
    let before = catalog::current_scn(session, database).map_err(taking)?;
    // A standby shows no transactions of the primary's.
    let oldest = match database.standby {
        true => None,
        false => {
            catalog::oldest_transaction(session).map_err(taking)?.ok().map(|open| open.unwrap_or(before).min(before))
        }
    };
    let scn = catalog::current_scn(session, database).map_err(taking)?;
    Ok((scn, oldest.map(|oldest| oldest.to_string())))
}

/// Whether tables can be read as of an SCN still; else why not. Looks at one table, as it is about undo.
fn probe(session: &mut dyn Session, wanted: &[Relation], scn: u64) -> Answer<Option<Failure>> {
    let Some(relation) = wanted.iter().find(|relation| relation.unfit.is_none()) else { return Ok(None) };
    let sql = format!("SELECT 1 FROM {} AS OF SCN :1 WHERE ROWNUM <= 1", target(&relation.id));
    match catalog::records(session, &sql, &[Bind::Number(scn)], &[Wanted::Number]) {
        Ok(_) => Ok(None),
        Err(e) if e.is_expired_scn() || e.code() == Some(1466) => Ok(Some(e)),
        // Of that table: its reading will say so.
        Err(e) if e.is_missing_right() => Ok(None),
        Err(e) => Err(e),
    }
}

/// What the dictionary has of the tables, asked schema by schema.
fn details(session: &mut dyn Session, config: &OracleConfig, wanted: &[Relation]) -> Result<HashMap<TableId, Details>> {
    let reading = |e: Failure| e.while_doing("reading the tables' columns");
    let owners: HashSet<&str> = wanted.iter().map(|r| r.id.schema()).collect();
    let mut extents = matches!(config.chunk_method, ChunkMethod::Auto | ChunkMethod::Extents);
    let mut all = HashMap::new();
    for owner in owners {
        let of_owner = match catalog::details(session, owner, extents) {
            Err(e) if e.is_missing_right() && extents && config.chunk_method == ChunkMethod::Auto => {
                tracing::info!("DBA_EXTENTS cannot be read: tables are divided by sampled blocks");
                extents = false;
                catalog::details(session, owner, extents).map_err(reading)?
            }
            details => details.map_err(reading)?,
        };
        all.extend(of_owner.into_iter().map(|(table, details)| (TableId::new(owner, table), details)));
    }
    Ok(all)
}

/// Into how many shares by a hash a table is divided, and the table as it is to be read then. Every share is a scan of the
/// whole table: no more than are read at a time.
fn shares(
    mut table: Readable,
    config: &OracleConfig,
    relation: &Relation,
    details: &Details,
) -> Result<(Readable, u32)> {
    let name = relation.id.to_string().to_uppercase();
    let own = config.chunk_keys.iter().find(|(table, _)| *table == name).map(|(_, columns)| columns);
    let key = own.or_else(|| config.chunk_by_key.then_some(&details.key)).filter(|key| !key.is_empty());
    let Some(key) = key.filter(|_| !relation.divides) else { return Ok((table, 1)) };
    table.divide_by(key)?;
    let known = relation.rows.unwrap_or(0).saturating_mul(relation.row_length.unwrap_or(0).into());
    let most = config.splits_at_a_time as u64;
    let shares = match known.max(relation.bytes) {
        0 => most,
        bytes => bytes.div_ceil(config.chunk).min(most),
    };
    Ok((table, u32::try_from(shares).unwrap_or(1)))
}

/// Where to cut a table.
fn cuts(
    session: &mut dyn Session,
    config: &OracleConfig,
    relation: &Relation,
    details: Details,
    bytes: u64,
) -> Answer<Vec<String>> {
    let wanted = plan::wanted(bytes, config.splits_at_a_time, config.chunk);
    let parts = bytes.div_ceil(wanted);
    if !relation.divides || config.chunk_method == ChunkMethod::Whole || parts < 2 {
        return Ok(vec![]);
    }
    if !details.extents.is_empty() {
        return Ok(plan::cuts(details.extents, wanted));
    }
    match config.chunk_method {
        ChunkMethod::ParallelExecute => {
            // At most 128 bytes, and no one else's.
            let task = format!("CONNECT_{:x}_{}", std::process::id(), relation.id.name());
            let task: String = task.chars().take(100).collect();
            let starts = catalog::parallel_execute(session, &relation.id, &task, wanted.div_ceil(8192))?;
            let parts = starts.len();
            Ok(plan::sampled_cuts(starts, parts))
        }
        ChunkMethod::Extents | ChunkMethod::Whole => Ok(vec![]),
        ChunkMethod::Auto | ChunkMethod::Sample => {
            let rows = relation.rows.unwrap_or(bytes / 100).max(1);
            let percent = (parts * SAMPLES) as f64 * 100.0 / rows as f64;
            let sampled = catalog::sample(session, &target(&relation.id), percent)?;
            Ok(plan::sampled_cuts(sampled, usize::try_from(parts).unwrap_or(1)))
        }
    }
}

/// The longest LOB of those that are measured there, characters or bytes; 0: there is none.
pub(crate) fn longest_lob(session: &mut dyn Session, ask: &crate::describe::Ask<'_>) -> Answer<u64> {
    let mut longest = 0;
    let columns = ask.sql.matches("MAX(DBMS_LOB.GETLENGTH(").count();
    let query = Query { sql: &ask.sql, binds: &ask.binds, fetch: 2, locators: false };
    let mut printed = Printed::default();
    session.query(&query, &mut |row| {
        for column in 0..columns {
            if row.number(column, &mut printed)? {
                longest = longest.max(printed.whole().and_then(|n| u64::try_from(n).ok()).unwrap_or(u64::MAX));
            }
        }
        Ok(())
    })?;
    Ok(longest)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use connector_api::ConnectorConfig as _;

    use super::*;

    fn snapshot() -> Snapshot {
        let keys = [("database.url", "db/x"), ("database.user", "u"), ("database.password", "p")];
        let mut raw: BTreeMap<_, _> = keys.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        raw.insert("snapshot.mode".into(), "initial_only".into());
        let config = OracleConfig::from_values(&OracleConfig::definition().parse(&raw).0).unwrap();
        Snapshot {
            endpoint: config.endpoint,
            scn: 1,
            restart_expired: true,
            tables: HashMap::new(),
            idle: Mutex::default(),
            splits: Mutex::default(),
        }
    }

    #[test]
    fn other_rows_of_a_split_are_noticed() {
        let (snapshot, a, b) = (snapshot(), SplitId::new("a"), SplitId::new("b"));
        let same = |split, at, is| snapshot.same_as_before(split, at, is).map_err(|e| e.is_cut_lost());
        assert_eq!([same(&a, 0, (9, 1)), same(&a, 1, (9, 2))], [Ok(false); 2]);
        assert_eq!([same(&a, 0, (9, 1)), same(&a, 1, (9, 2))], [Ok(true); 2]);
        assert_eq!(same(&a, 2, (3, 3)), Ok(false));
        assert_eq!(same(&b, 0, (9, 2)), Ok(false), "another split");
        assert_eq!([same(&a, 1, (9, 3)), same(&a, 1, (8, 2))], [Err(true); 2], "other rows, or fewer");
    }
}
