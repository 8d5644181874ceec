//! The consistent cut: one snapshot that every reading connection shares, and the locks that keep it true.
//!
//! The holder's transaction locks every table first and only then takes its snapshot, since TRUNCATE and
//! table rewrites are not multi-versioned: a snapshot older than the lock could see a table as falsely
//! empty. It holds both until the session is dropped, and [`Session::vouch`] proves afterwards that it
//! did. What the load saw is the snapshot's visibility (protocol P1); the position is read after it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use connector_api::{Cut, Error, Plan, Progress, Result, Selection, TableId, TablePlan, failpoint};
use postgres_protocol::escape::escape_literal;

use crate::catalog::{self, Leaf, Relation};
use crate::config::PostgresConfig;
use crate::describe::{Readable, describe};
use crate::error::{Answer, Failure};
use crate::filter::RelationKind;
use crate::plan::{self, Piece};
use crate::slot;
use crate::wire::{Connection, Endpoint};

/// Oldest server that is read: `pg_current_snapshot()` came with it.
const OLDEST: u32 = 130_000;
/// How often a cut is tried again because a table vanished between its discovery and its lock.
const TRIES: usize = 3;
/// Tables locked by one statement.
const LOCKS_AT_ONCE: usize = 200;

/// A cut that is being held, and the connections that read under it.
pub(crate) struct Session {
    endpoint: Endpoint,
    row_security: bool,
    /// Whoever waits to have a table to himself waits for the holder, and every later reader for him: no
    /// server sees that circle, so a reader gives up.
    lock_timeout: Duration,
    snapshot: String,
    tables: HashMap<TableId, Arc<Readable>>,
    /// Owns the locks and the exported snapshot. Locked only for one round trip at a time.
    holder: Mutex<Connection>,
    /// Connections under the snapshot that no split is using.
    idle: Mutex<Vec<Connection>>,
}

impl Session {
    /// Finds the tables that are selected and not yet loaded, takes the cut and plans their splits.
    pub(crate) fn begin(config: &PostgresConfig, done: &Progress) -> Result<(Self, Plan)> {
        let (mut holder, server) = connect(config)?;
        for _ in 0..TRIES {
            let selected = selected(&mut holder, config).map_err(|e| e.while_doing("finding the tables"))?;
            let make_slot = slot_is_missing(&mut holder, config, &selected, done)?;
            let (mut wanted, mut refused) = (vec![], vec![]);
            for relation in selected.into_iter().filter(|r| done.loaded(&r.id).is_none()) {
                match relation.obstacle(config) {
                    Some(why) => refused.push((relation.id, why)),
                    None => wanted.push(relation),
                }
            }
            if let Some((taken, unlocked)) = take(&mut holder, &server, config, wanted, make_slot)? {
                refused.extend(unlocked);
                return Self::planned(holder, taken, &server, config, refused);
            }
            tracing::info!("a table or partition came or went while the cut was taken: taking it again");
            holder.query("ROLLBACK").map_err(|e| e.while_doing("taking the cut"))?;
        }
        Err(Error::retriable("tables are being dropped or renamed faster than they can be locked"))
    }

    fn planned(
        mut holder: Connection,
        taken: Taken,
        server: &Server,
        config: &PostgresConfig,
        mut refused: Refused,
    ) -> Result<(Self, Plan)> {
        let reading = |e: Failure| e.while_doing("reading the tables' columns");
        let oids: Vec<u32> = taken.relations.iter().map(|r| r.oid).collect();
        let attributes = catalog::attributes(&mut holder, &oids).map_err(reading)?;
        let types = catalog::types(&mut holder, attributes.values().flatten()).map_err(reading)?;
        let leaves = taken.leaves.values().flatten().map(|leaf| leaf.oid);
        let sized: Vec<u32> = oids.iter().copied().chain(leaves).collect();
        let sizes = catalog::sizes(&mut holder, &sized, server.page).map_err(reading)?;
        let piece = |oid: &u32, divides| Piece { size: sizes.get(oid).copied().unwrap_or_default(), divides };
        let (mut readable, mut tables) = (HashMap::new(), vec![]);
        for relation in &taken.relations {
            let attributes = attributes.get(&relation.oid).map_or(&[][..], |a| a);
            match describe(relation, attributes, &types, &config.filter, &config.handling) {
                Err(why) => refused.push((relation.id.clone(), why)),
                Ok(mut table) => {
                    table.leaves = taken.leaves.get(&relation.oid).cloned();
                    let of_leaf = |leaf: &Leaf| piece(&leaf.oid, leaf.divides(server.version));
                    // A policy on the parent does not hold for who reads its partitions.
                    let pieces: Option<Vec<_>> = table
                        .by_leaf()
                        .filter(|_| !relation.row_security)
                        .map(|leaves| leaves.iter().map(of_leaf).collect());
                    let own = piece(&relation.oid, relation.divides(server.version));
                    let (parallel, smallest) = (config.splits_at_a_time, config.chunk);
                    let splits = plan::splits(&relation.id, own, pieces.as_deref(), parallel, smallest);
                    let bytes: u64 = splits.iter().map(|s| s.bytes).sum();
                    let schema = Arc::clone(&table.schema);
                    tables.push((bytes, TablePlan { schema, splits, rows: relation.rows }));
                    readable.insert(relation.id.clone(), Arc::new(table));
                }
            }
        }
        // From here on the transaction lives as long as the load takes.
        holder.query("SET statement_timeout = 0").map_err(|e| e.while_doing("taking the cut"))?;
        tables.sort_by(|(a, x), (b, y)| b.cmp(a).then_with(|| x.schema.table().cmp(y.schema.table())));
        refused.sort_by(|(a, _), (b, _)| a.cmp(b));
        let session = Self {
            endpoint: config.endpoint.clone(),
            row_security: config.row_security,
            lock_timeout: config.lock_timeout,
            snapshot: taken.exported,
            tables: readable,
            holder: Mutex::new(holder),
            idle: Mutex::new(vec![]),
        };
        let plan = Plan {
            cut: Arc::new(taken.cut),
            tables: tables.into_iter().map(|(_, table)| table).collect(),
            refused,
            tables_at_a_time: config.tables_at_a_time,
            splits_at_a_time: config.splits_at_a_time,
        };
        Ok((session, plan))
    }

    /// How to read a table of the plan.
    pub(crate) fn table(&self, table: &TableId) -> Option<&Arc<Readable>> {
        self.tables.get(table)
    }

    /// A connection that reads under the snapshot.
    pub(crate) fn worker(&self) -> Result<Connection> {
        if let Some(idle) = lock(&self.idle).pop() {
            return Ok(idle);
        }
        let doing = "opening a reading connection";
        let mut connection = Connection::open(&self.endpoint).map_err(|e| e.while_doing(doing))?;
        prepare(&mut connection, Duration::ZERO, self.lock_timeout, self.row_security)
            .map_err(|e| e.while_doing(doing))?;
        // Such a server holds bytes, not characters: unconverted, the decoder can name the column that is
        // not text, where the server's own conversion names only the bytes.
        let raw = "SELECT set_config('client_encoding', 'SQL_ASCII', false) WHERE current_setting('server_encoding') = 'SQL_ASCII'";
        connection.query(raw).map_err(|e| e.while_doing(doing))?;
        let import =
            format!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT '{}'", self.snapshot);
        connection.query(&import).map_err(|e| match e.sqlstate() {
            Some("22023" | "55000") => gone(e),
            _ => e.while_doing("joining the cut"),
        })?;
        Ok(connection)
    }

    /// Closes the connections that no split is using: where one has broken, others may have.
    pub(crate) fn drop_idle(&self) {
        lock(&self.idle).clear();
    }

    /// Takes back a connection whose COPY has ended as it should.
    pub(crate) fn give_back(&self, connection: Connection) {
        lock(&self.idle).push(connection);
    }

    /// Proves that the holder's locks held until now: what was read of the table before is what the cut
    /// shows.
    pub(crate) fn vouch(&self, table: &Readable) -> Result<()> {
        let mut holder = lock(&self.holder);
        let Some(leaves) = &table.leaves else {
            return holder.query("SELECT").map(drop).map_err(gone);
        };
        match catalog::leaves(&mut holder, &[table.oid]).map_err(gone)?.get(&table.oid) {
            Some(now) if now.iter().map(|leaf| leaf.oid).eq(leaves.iter().map(|leaf| leaf.oid)) => Ok(()),
            _ => Err(Error::data("a partition was attached or detached while the table was read: load it again")
                .with("table", table.schema.table())),
        }
    }
}

fn gone(why: Failure) -> Error {
    Error::cut_lost("the cut is gone: the connection that held it has ended")
        .caused_by(why.while_doing("reading under the cut"))
}

/// The tables that the configuration selects, by name.
pub(crate) fn select(config: &PostgresConfig) -> Result<Selection> {
    let (mut connection, server) = connect(config)?;
    let selected = selected(&mut connection, config).map_err(|e| e.while_doing("finding the tables"))?;
    Ok(Selection { system: system(&server, config), tables: selected.into_iter().map(|r| r.id).collect() })
}

/// Which database this is, whatever its address: the cluster's identifier and the database's name.
fn system(server: &Server, config: &PostgresConfig) -> String {
    format!("postgresql:{}/{}", server.system, config.endpoint.dbname)
}

pub(crate) struct Server {
    pub(crate) version: u32,
    pub(crate) replica: bool,
    page: u64,
    system: u64,
}

/// What the cut's transaction gave.
struct Taken {
    cut: Cut,
    exported: String,
    relations: Vec<Relation>,
    /// Of the partitioned tables among them, by oid.
    leaves: HashMap<u32, Vec<Leaf>>,
}

pub(crate) fn connect(config: &PostgresConfig) -> Result<(Connection, Server)> {
    let mut connection = Connection::open(&config.endpoint).map_err(|e| e.while_doing("connecting"))?;
    let server = identify(&mut connection, config).map_err(|e| e.while_doing("asking the server what it is"))?;
    if server.version < OLDEST {
        let error = Error::fatal("PostgreSQL 13 or newer is needed").with("server_version_num", server.version);
        return Err(error.with("remedy", "upgrade the server"));
    }
    Ok((connection, server))
}

fn identify(connection: &mut Connection, config: &PostgresConfig) -> Answer<Server> {
    let version = prepare(connection, config.statement_timeout, config.lock_timeout, config.row_security)?;
    let sql = "SELECT pg_is_in_recovery(), current_setting('block_size'), system_identifier FROM pg_control_system()";
    let rows = connection.query(sql)?;
    let row = rows.first().ok_or(Failure::Protocol("no answer about the server"))?;
    // bigint prints as signed.
    let system = row.parse::<i64>(2)?.cast_unsigned();
    Ok(Server { version, replica: row.flag(0), page: row.parse(1)?, system })
}

/// Sets what each of our connections needs whatever the server's defaults are; gives the server's version.
pub(crate) fn prepare(connection: &mut Connection, statement: Duration, lock: Duration, policies: bool) -> Answer<u32> {
    let rows = connection.query("SELECT current_setting('server_version_num')")?;
    let version = rows.first().ok_or(Failure::Protocol("no answer about the version"))?.parse(0)?;
    let mut settings = vec![
        ("search_path", "''".to_owned()),
        ("statement_timeout", statement.as_millis().to_string()),
        ("lock_timeout", lock.as_millis().to_string()),
        ("idle_in_transaction_session_timeout", "0".into()),
        // Off: rows hidden by a policy are an error, not a smaller table.
        ("row_security", if policies { "on" } else { "off" }.into()),
        // The same rows in the same order each time a split is read.
        ("synchronize_seqscans", "off".into()),
        ("max_parallel_workers_per_gather", "0".into()),
        // Plain columns: nothing to compile.
        ("jit", "off".into()),
        // What types print must not depend on who connects. lc_monetary stays the database's: it says what
        // the digits of money mean.
        ("datestyle", "'ISO, YMD'".into()),
        ("intervalstyle", "postgres".into()),
        ("timezone", "'UTC'".into()),
        ("extra_float_digits", "1".into()),
        ("bytea_output", "hex".into()),
        ("quote_all_identifiers", "off".into()),
    ];
    if version >= 140_000 {
        settings.push(("idle_session_timeout", "0".into()));
    }
    if version >= 170_000 {
        settings.push(("transaction_timeout", "0".into()));
    }
    let settings: Vec<_> = settings.iter().map(|(name, value)| format!("SET {name} = {value}")).collect();
    connection.query(&settings.join("; "))?;
    Ok(version)
}

pub(crate) fn selected(connection: &mut Connection, config: &PostgresConfig) -> Answer<Vec<Relation>> {
    let wanted = |r: &Relation| config.kinds.contains(&r.kind) && config.filter.selects(&r.id);
    Ok(catalog::relations(connection)?.into_iter().filter(wanted).collect())
}

/// Tables that are not loaded, and why.
type Refused = Vec<(TableId, Error)>;

/// Brings the publication of a configured slot up to date; whether the slot is still to be made.
fn slot_is_missing(
    holder: &mut Connection,
    config: &PostgresConfig,
    selected: &[Relation],
    done: &Progress,
) -> Result<bool> {
    let Some(slot) = &config.slot else { return Ok(false) };
    let readable = |r: &&Relation| r.obstacle(config).is_none();
    let relations: Vec<_> = selected.iter().filter(readable).cloned().collect();
    let missing = slot::prepare(holder, config, slot, &relations)?;
    let older: Vec<_> = relations.iter().filter(|r| done.loaded(&r.id).is_some()).map(|r| r.id.to_string()).collect();
    if missing && !older.is_empty() {
        // Their changes between then and now are in no slot.
        let what = "tables were loaded before there was the slot: what changed since would be missing from it";
        let remedy = "load them again with --no-resume, or leave them out by table.exclude.list";
        return Err(Error::fatal(what).with("tables", older.join(", ")).with("remedy", remedy));
    }
    Ok(missing)
}

/// Locks the tables, then takes the snapshot and the position. `None`: one of them has vanished.
fn take(
    holder: &mut Connection,
    server: &Server,
    config: &PostgresConfig,
    mut wanted: Vec<Relation>,
    make_slot: bool,
) -> Result<Option<(Taken, Refused)>> {
    let refused = match lock_all(holder, config, &wanted) {
        Err(e) if matches!(e.sqlstate(), Some("42P01" | "3F000" | "42809")) => return Ok(None),
        Err(e) => {
            let timed_out = e.sqlstate() == Some("55P03");
            let error = e.while_doing("locking the tables against being truncated");
            return Err(if timed_out { blamed(error, holder, &wanted) } else { error });
        }
        Ok(refused) => refused,
    };
    wanted.retain(|relation| refused.iter().all(|(id, _)| *id != relation.id));
    failpoint::hit("postgres.locked")?;
    // After the locks, as every snapshot; LOCK itself took none, so that this one can still be joined.
    let made = config.slot.as_ref().filter(|_| make_slot).map(|s| slot::make(config, s)).transpose()?;
    let taken =
        snapshot(holder, server, config, &wanted, made.as_ref()).map_err(|e| e.while_doing("taking the cut"))?;
    failpoint::hit("postgres.cut-taken")?;
    if let Some(taken) = &taken {
        tracing::info!(
            position = taken.cut.position,
            snapshot = taken.cut.visible,
            tables = taken.relations.len(),
            "took the cut"
        );
    }
    Ok(taken.map(|taken| (taken, refused)))
}

/// The error of a lock that was not had in time, with the table and the session that keeps it, if that is
/// still to be seen.
fn blamed(error: Error, holder: &mut Connection, wanted: &[Relation]) -> Error {
    let oids: Vec<u32> = wanted.iter().map(|r| r.oid).collect();
    let found = holder.query("ROLLBACK").and_then(|_| catalog::locker(holder, &oids));
    match found {
        Ok(Some((table, pid))) => {
            let remedy = format!("SELECT pg_terminate_backend({pid}); or wait for it, with a longer lock.timeout.ms");
            error.with("table", table).with("locked_by_pid", pid).with("remedy", remedy)
        }
        _ => error,
    }
}

/// Locks the tables; gives the views that cannot be locked, and so not be read, and why.
fn lock_all(holder: &mut Connection, config: &PostgresConfig, wanted: &[Relation]) -> Answer<Refused> {
    // LOCK takes no snapshot. Its own time-out is per table; the statement's would be for all of them.
    holder.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = 0")?;
    let (views, others): (Vec<_>, Vec<_>) = wanted.iter().partition(|r| r.kind == RelationKind::View);
    let lockable: Vec<_> = others.into_iter().filter(|r| !locked_by_reading(r)).map(Relation::target).collect();
    for names in lockable.chunks(LOCKS_AT_ONCE) {
        holder.query(&format!("LOCK TABLE {} IN ACCESS SHARE MODE", names.join(", ")))?;
    }
    let mut refused = vec![];
    for view in views {
        // With what the view reads, on behalf of its owner: who may no longer be allowed to.
        let target = view.target();
        let lock = format!("SAVEPOINT view; LOCK TABLE {target} IN ACCESS SHARE MODE; RELEASE view");
        match holder.query(&lock) {
            Err(e) if e.sqlstate() == Some("42501") => {
                holder.query("ROLLBACK TO view; RELEASE view")?;
                refused.push((view.id.clone(), e.while_doing("locking what the view reads").with("table", &view.id)));
            }
            locked => drop(locked?),
        }
    }
    holder.query(&format!("SET LOCAL statement_timeout = {}", config.statement_timeout.as_millis()))?;
    Ok(refused)
}

/// LOCK takes neither: they are locked by a query, which comes after the snapshot.
fn locked_by_reading(relation: &Relation) -> bool {
    matches!(relation.kind, RelationKind::Materialized | RelationKind::Foreign)
}

fn snapshot(
    holder: &mut Connection,
    server: &Server,
    config: &PostgresConfig,
    wanted: &[Relation],
    made: Option<&slot::Made>,
) -> Answer<Option<Taken>> {
    const NOTHING: Failure = Failure::Protocol("no answer about the snapshot");
    if let Some(made) = made {
        holder.query(&format!("SET TRANSACTION SNAPSHOT {}", escape_literal(&made.snapshot)))?;
    }
    let rows = holder.query("SELECT pg_current_snapshot(), pg_export_snapshot()")?;
    let row = rows.first().ok_or(NOTHING)?;
    let (visible, exported) = (row.text(0)?.to_owned(), row.text(1)?.to_owned());
    if !exported.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-') {
        return Err(Failure::Protocol("a strange snapshot name"));
    }
    let position = if server.replica { "pg_last_wal_replay_lsn()" } else { "pg_current_wal_insert_lsn()" };
    let rows = holder.query(&format!("SELECT {position}"))?;
    let position = match made {
        Some(made) => made.position.clone(),
        None => rows.first().ok_or(NOTHING)?.text(0)?.to_owned(),
    };
    let cut = Cut { system: system(server, config), position_type: "lsn".into(), position, visible: Some(visible) };
    for relation in wanted.iter().filter(|r| locked_by_reading(r)) {
        // Reads no row, and asks no foreign server.
        holder.query(&format!("SELECT FROM {} WHERE false", relation.target()))?;
    }
    // A name may have passed to another table before it was locked: what is locked must be what is read.
    let mut seen: HashMap<u32, Relation> = catalog::relations(holder)?.into_iter().map(|r| (r.oid, r)).collect();
    let readable = |seen: &Relation| seen.obstacle(config).is_none() && !seen.exchanged;
    let relations: Vec<_> =
        wanted.iter().filter_map(|w| seen.remove(&w.oid).filter(|s| s.id == w.id && readable(s))).collect();
    // And a partition may have come since its parent was locked.
    let partitioned = relations.iter().filter(|r: &&Relation| r.kind == RelationKind::Partitioned);
    let leaves = catalog::leaves(holder, &partitioned.map(|r| r.oid).collect::<Vec<_>>())?;
    let whole = relations.len() == wanted.len() && leaves.values().flatten().all(|leaf| leaf.locked);
    Ok(whole.then_some(Taken { cut, exported, relations, leaves }))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
