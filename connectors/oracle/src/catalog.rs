//! What the database's dictionary says: tables, columns, keys, segments, extents, SCNs.
//!
//! The SQL lives here: single views, nothing joined (joins of dictionary views are slow, and these are joined here by
//! name). What is asked once per schema is asked for all of its tables: a thousand tables cost a few round trips.

use std::collections::{BTreeSet, HashMap, HashSet};

use connector_api::TableId;

use crate::error::{Answer, Failure};
use crate::filter::RelationKind;
use crate::plan::Extent;
use crate::session::{Bind, Printed, Query, Session, Wanted};
use crate::types::Attribute;

/// Rows of a round trip.
const FETCH: u32 = 2000;
/// Bytes of a block where the dictionary tells only their number: the default of DB_BLOCK_SIZE. For estimates.
const USUAL_BLOCK: u64 = 8192;

const T: Wanted = Wanted::Text;
const N: Wanted = Wanted::Number;

/// A row of the dictionary.
#[derive(Debug)]
pub(crate) struct Record(Vec<Option<Value>>);

#[derive(Debug)]
enum Value {
    Text(String),
    Number(i128),
}

impl Record {
    /// Text that may be NULL.
    pub(crate) fn get(&self, column: usize) -> Option<&str> {
        match self.0.get(column) {
            Some(Some(Value::Text(text))) => Some(text),
            _ => None,
        }
    }

    /// Text that is not NULL.
    pub(crate) fn text(&self, column: usize) -> Answer<&str> {
        self.get(column).ok_or(Failure::Unexpected("a column of the dictionary is NULL"))
    }

    /// A whole number, if there is one of that type.
    pub(crate) fn number<T: TryFrom<i128>>(&self, column: usize) -> Option<T> {
        match self.0.get(column) {
            Some(Some(Value::Number(number))) => T::try_from(*number).ok(),
            _ => None,
        }
    }

    fn is(&self, column: usize, word: &str) -> bool {
        self.get(column) == Some(word)
    }
}

/// The rows of a query on the dictionary.
pub(crate) fn records(
    session: &mut dyn Session,
    sql: &str,
    binds: &[Bind<'_>],
    columns: &[Wanted],
) -> Answer<Vec<Record>> {
    let mut records = vec![];
    let query = Query { sql, binds, fetch: FETCH, locators: false };
    let mut printed = Printed::default();
    session.query(&query, &mut |row| {
        let value = |(i, wanted): (usize, &Wanted)| {
            Ok(match wanted {
                Wanted::Number if row.number(i, &mut printed)? => printed.whole().map(Value::Number),
                Wanted::Number => None,
                _ => {
                    let mut text = vec![];
                    let there = row.text(i, &mut text)?;
                    there.then(|| Value::Text(String::from_utf8_lossy(&text).into_owned()))
                }
            })
        };
        records.push(Record(columns.iter().enumerate().map(value).collect::<Answer<_>>()?));
        Ok(())
    })?;
    Ok(records)
}

/// What the database is.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    /// DBID and the container: stable across restarts and renames.
    pub(crate) system: String,
    pub(crate) standby: bool,
    /// Who is asking, as the dictionary spells it.
    pub(crate) user: String,
    /// Whether V$DATABASE can be read.
    pub(crate) sees_database: bool,
}

/// Container and user of the session.
pub(crate) fn container(session: &mut dyn Session) -> Answer<(String, String)> {
    let sql = "SELECT SYS_CONTEXT('USERENV', 'CON_NAME'), SYS_CONTEXT('USERENV', 'SESSION_USER') FROM dual";
    let rows = records(session, sql, &[], &[T, T])?;
    let row = rows.first().ok_or(Failure::Unexpected("no answer about the session"))?;
    Ok((row.get(0).unwrap_or_default().to_owned(), row.text(1)?.to_owned()))
}

/// What the database is, by its own word.
pub(crate) fn database(session: &mut dyn Session) -> Answer<Database> {
    let (container, user) = container(session)?;
    let sql = "SELECT dbid, name, database_role, open_mode FROM v$database";
    let found = records(session, sql, &[], &[N, T, T, T]);
    match found {
        Ok(rows) => {
            let row = rows.first().ok_or(Failure::Unexpected("no answer about the database"))?;
            let dbid: u64 = row.number(0).ok_or(Failure::Unexpected("no DBID"))?;
            let standby = row.get(2).is_some_and(|role| role.contains("STANDBY"));
            Ok(Database { system: format!("oracle:{dbid}/{container}"), standby, user, sees_database: true })
        }
        Err(e) if e.is_missing_right() => {
            Ok(Database { system: format!("oracle:/{container}"), standby: false, user, sees_database: false })
        }
        Err(e) => Err(e),
    }
}

/// The SCN now.
pub(crate) fn current_scn(session: &mut dyn Session, database: &Database) -> Answer<u64> {
    let sql = match database.sees_database {
        true => "SELECT current_scn FROM v$database",
        false => "SELECT DBMS_FLASHBACK.GET_SYSTEM_CHANGE_NUMBER FROM dual",
    };
    let rows = records(session, sql, &[], &[N])?;
    rows.first().and_then(|row| row.number(0)).ok_or(Failure::Unexpected("no SCN"))
}

/// Where the oldest transaction that is open began, on any instance; `None`: there is none, or a standby shows none.
/// `Err(())`: this user may not know.
pub(crate) fn oldest_transaction(session: &mut dyn Session) -> Answer<Result<Option<u64>, ()>> {
    match records(session, "SELECT start_scn FROM gv$transaction", &[], &[N]) {
        // 0: it has changed nothing yet.
        Ok(rows) => Ok(Ok(rows.iter().filter_map(|row| row.number(0)).filter(|scn: &u64| *scn > 0).min())),
        Err(e) if e.is_missing_right() => Ok(Err(())),
        Err(e) => Err(e),
    }
}

/// A table, or what can be read like one.
#[derive(Clone, Debug)]
pub(crate) struct Relation {
    pub(crate) id: TableId,
    pub(crate) kind: RelationKind,
    /// Why it is of no use to a load, whatever the rights.
    pub(crate) unfit: Option<&'static str>,
    /// Whether its rows can be told apart by ranges of physical ROWIDs.
    pub(crate) divides: bool,
    /// Estimates of when it was last analysed.
    pub(crate) rows: Option<u64>,
    pub(crate) bytes: u64,
    pub(crate) row_length: Option<u32>,
}

/// Every table outside Oracle's own schemas, by name, and views when they are wanted.
pub(crate) fn relations(session: &mut dyn Session, views: bool) -> Answer<Vec<Relation>> {
    let sql = "SELECT username FROM all_users WHERE oracle_maintained = 'Y'";
    let maintained = records(session, sql, &[], &[T])?;
    let maintained: HashSet<&str> = maintained.iter().filter_map(|row| row.get(0)).collect();
    let names = |rows: Vec<Record>| -> Answer<HashSet<TableId>> { rows.iter().map(id).collect() };
    let external = names(records(session, "SELECT owner, table_name FROM all_external_tables", &[], &[T, T])?)?;
    let materialized = names(records(session, "SELECT owner, mview_name FROM all_mviews", &[], &[T, T])?)?;
    let sql = "SELECT owner, table_name, partitioned, temporary, iot_type, nested, cluster_name, secondary, num_rows, \
               blocks, avg_row_len FROM all_tables";
    let mut relations = vec![];
    for row in records(session, sql, &[], &[T, T, T, T, T, T, T, T, N, N, N])? {
        let id = id(&row)?;
        // Parts of other things: overflow and mapping of an index-organised table, an index's own tables, logs of
        // materialized views, what was dropped.
        let part = matches!(row.get(4), Some("IOT_OVERFLOW" | "IOT_MAPPING")) || row.is(7, "Y");
        let inner = ["BIN$", "MLOG$_", "RUPD$_", "DR$"].iter().any(|prefix| id.name().starts_with(prefix));
        if maintained.contains(id.schema()) || part || inner {
            continue;
        }
        let unfit = match () {
            () if row.is(3, "Y") => Some("the table is temporary: each session sees rows of its own"),
            () if external.contains(&id) => Some("the table is external: its rows are of no SCN"),
            () if row.is(5, "YES") => Some("the table holds the rows of a nested table's column"),
            () => None,
        };
        relations.push(Relation {
            kind: if materialized.contains(&id) { RelationKind::Materialized } else { RelationKind::Table },
            unfit,
            divides: row.get(4).is_none() && row.get(6).is_none(),
            rows: row.number(8).filter(|rows: &u64| *rows > 0),
            bytes: row.number(9).unwrap_or(0u64).saturating_mul(USUAL_BLOCK),
            row_length: row.number(10).filter(|length: &u32| *length > 0),
            id,
        });
    }
    if views {
        for row in records(session, "SELECT owner, view_name FROM all_views", &[], &[T, T])? {
            let id = id(&row)?;
            if !maintained.contains(id.schema()) {
                let (kind, unfit) = (RelationKind::View, None);
                relations.push(Relation { id, kind, unfit, divides: false, rows: None, bytes: 0, row_length: None });
            }
        }
    }
    relations.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(relations)
}

fn id(row: &Record) -> Answer<TableId> {
    Ok(TableId::new(row.text(0)?, row.text(1)?))
}

/// The tables that have a LONG or LONG RAW column.
pub(crate) fn with_longs(session: &mut dyn Session) -> Answer<HashSet<TableId>> {
    let sql = "SELECT DISTINCT owner, table_name FROM all_tab_columns WHERE data_type IN ('LONG', 'LONG RAW')";
    records(session, sql, &[], &[T, T])?.iter().map(id).collect()
}

/// A part of a table that has storage of its own, and the number of that storage, which changes when it is truncated or
/// moved.
pub(crate) type Segments = BTreeSet<(Option<String>, Option<u32>)>;

/// What there is to know of a table.
#[derive(Clone, Debug, Default)]
pub(crate) struct Details {
    /// In their order.
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) comment: Option<String>,
    pub(crate) column_comments: HashMap<String, String>,
    /// Columns of the primary key, in the key's order, if it is enforced.
    pub(crate) key: Vec<String>,
    pub(crate) segments: Segments,
    /// If the dictionary shows them.
    pub(crate) extents: Vec<Extent>,
}

/// What there is to know of the tables of a schema.
pub(crate) fn details(session: &mut dyn Session, owner: &str, extents: bool) -> Answer<HashMap<String, Details>> {
    let mut all: HashMap<String, Details> = HashMap::new();
    let binds = [Bind::Text(owner)];
    columns(session, &binds, &mut all)?;
    let sql = "SELECT table_name, comments FROM all_tab_comments WHERE owner = :1 AND comments IS NOT NULL";
    for row in records(session, sql, &binds, &[T, T])? {
        of(&mut all, &row)?.comment = row.get(1).map(str::to_owned);
    }
    let sql =
        "SELECT table_name, column_name, comments FROM all_col_comments WHERE owner = :1 AND comments IS NOT NULL";
    for row in records(session, sql, &binds, &[T, T, T])? {
        let (column, comment) = (row.text(1)?.to_owned(), row.text(2)?.to_owned());
        of(&mut all, &row)?.column_comments.insert(column, comment);
    }
    keys(session, &binds, &mut all)?;
    let sql = "SELECT object_name, subobject_name, data_object_id FROM all_objects WHERE owner = :1 AND object_type IN \
               ('TABLE', 'TABLE PARTITION', 'TABLE SUBPARTITION')";
    for row in records(session, sql, &binds, &[T, T, N])? {
        let segment = segment(&row, 1);
        of(&mut all, &row)?.segments.insert(segment);
    }
    if extents {
        self::extents(session, &binds, &mut all)?;
    }
    Ok(all)
}

fn of<'a>(all: &'a mut HashMap<String, Details>, row: &Record) -> Answer<&'a mut Details> {
    Ok(all.entry(row.text(0)?.to_owned()).or_default())
}

fn segment(row: &Record, at: usize) -> (Option<String>, Option<u32>) {
    (row.get(at).map(str::to_owned), row.number(at + 1))
}

fn columns(session: &mut dyn Session, binds: &[Bind<'_>], all: &mut HashMap<String, Details>) -> Answer<()> {
    let sql = "SELECT table_name, column_name, data_type, data_type_owner, data_length, data_precision, data_scale, \
               nullable, column_id, char_used, char_length FROM all_tab_columns WHERE owner = :1";
    let mut places: HashMap<String, Vec<(u32, Attribute)>> = HashMap::new();
    for row in records(session, sql, binds, &[T, T, T, T, N, N, N, T, N, T, N])? {
        let attribute = Attribute {
            name: row.text(1)?.to_owned(),
            data_type: row.text(2)?.to_owned(),
            type_owner: row.get(3).map(str::to_owned),
            length: row.number(4).unwrap_or(0),
            precision: row.number(5),
            scale: row.number(6),
            nullable: !row.is(7, "N"),
            in_chars: row.is(9, "C"),
            chars: row.number(10).unwrap_or(0),
        };
        places.entry(row.text(0)?.to_owned()).or_default().push((row.number(8).unwrap_or(0), attribute));
    }
    for (table, mut attributes) in places {
        attributes.sort_by_key(|(place, _)| *place);
        all.entry(table).or_default().attributes = attributes.into_iter().map(|(_, attribute)| attribute).collect();
    }
    Ok(())
}

/// Primary keys that the database enforces and has checked for every row.
fn keys(session: &mut dyn Session, binds: &[Bind<'_>], all: &mut HashMap<String, Details>) -> Answer<()> {
    let sql = "SELECT table_name, constraint_name FROM all_constraints WHERE owner = :1 AND constraint_type = 'P' AND \
               status = 'ENABLED' AND validated = 'VALIDATED'";
    let primary = records(session, sql, binds, &[T, T])?;
    let primary: HashSet<_> = primary.iter().map(|row| Ok((row.text(0)?, row.text(1)?))).collect::<Answer<_>>()?;
    let sql = "SELECT table_name, constraint_name, column_name, position FROM all_cons_columns WHERE owner = :1";
    let mut places: HashMap<String, Vec<(u32, String)>> = HashMap::new();
    for row in records(session, sql, binds, &[T, T, T, N])? {
        if primary.contains(&(row.text(0)?, row.text(1)?)) {
            let place = (row.number(3).unwrap_or(0), row.text(2)?.to_owned());
            places.entry(row.text(0)?.to_owned()).or_default().push(place);
        }
    }
    for (table, mut columns) in places {
        columns.sort();
        all.entry(table).or_default().key = columns.into_iter().map(|(_, column)| column).collect();
    }
    Ok(())
}

fn extents(session: &mut dyn Session, binds: &[Bind<'_>], all: &mut HashMap<String, Details>) -> Answer<()> {
    let sql = "SELECT segment_name, partition_name, relative_fno, block_id, blocks, bytes FROM dba_extents WHERE \
               owner = :1 AND segment_type IN ('TABLE', 'TABLE PARTITION', 'TABLE SUBPARTITION')";
    for row in records(session, sql, binds, &[T, T, N, N, N, N])? {
        let partition = row.get(1).map(str::to_owned);
        let Some(table) = all.get_mut(row.text(0)?) else { continue };
        let object = table.segments.iter().find(|(name, _)| *name == partition).and_then(|(_, object)| *object);
        let place = (row.number(2), row.number(3), row.number(4), row.number(5));
        if let (Some(object), (Some(relative_file), Some(block), Some(blocks), Some(bytes))) = (object, place) {
            table.extents.push(Extent { object, relative_file, block, blocks, bytes });
        }
    }
    Ok(())
}

/// The segments of one table, now.
pub(crate) fn segments(session: &mut dyn Session, table: &TableId) -> Answer<Segments> {
    let sql = "SELECT subobject_name, data_object_id FROM all_objects WHERE owner = :1 AND object_name = :2 AND \
               object_type IN ('TABLE', 'TABLE PARTITION', 'TABLE SUBPARTITION')";
    let binds = [Bind::Text(table.schema()), Bind::Text(table.name())];
    Ok(records(session, sql, &binds, &[T, N])?.iter().map(|row| segment(row, 0)).collect())
}

/// ROWIDs of blocks chosen at random, about so many of a table with that many rows.
pub(crate) fn sample(session: &mut dyn Session, target: &str, percent: f64) -> Answer<Vec<String>> {
    let sql = format!("SELECT ROWIDTOCHAR(ROWID) FROM {target} SAMPLE BLOCK ({:.6})", percent.clamp(0.000_001, 99.0));
    Ok(records(session, &sql, &[], &[T])?.iter().filter_map(|row| row.get(0).map(str::to_owned)).collect())
}

/// Where DBMS_PARALLEL_EXECUTE would begin its chunks of so many blocks. It keeps them in a table of the user's, under
/// the name of a task, until they are dropped.
pub(crate) fn parallel_execute(
    session: &mut dyn Session,
    table: &TableId,
    task: &str,
    blocks: u64,
) -> Answer<Vec<String>> {
    session.run("BEGIN DBMS_PARALLEL_EXECUTE.CREATE_TASK(:1); END;", &[Bind::Text(task)])?;
    let sql = "BEGIN DBMS_PARALLEL_EXECUTE.CREATE_CHUNKS_BY_ROWID(:1, :2, :3, FALSE, :4); END;";
    let binds = [Bind::Text(task), Bind::Text(table.schema()), Bind::Text(table.name()), Bind::Number(blocks)];
    let chunks = session.run(sql, &binds).and_then(|()| {
        let sql = "SELECT start_rowid FROM user_parallel_execute_chunks WHERE task_name = :1";
        records(session, sql, &[Bind::Text(task)], &[T])
    });
    let dropped = session.run("BEGIN DBMS_PARALLEL_EXECUTE.DROP_TASK(:1); END;", &[Bind::Text(task)]);
    let starts = chunks?.iter().filter_map(|row| row.get(0).map(str::to_owned)).collect();
    dropped.map(|()| starts)
}

/// How far back undo reaches: seconds, by the server's own tuning, and how often it has failed queries or
/// transactions in the days that are remembered; `None`: this user may not know.
pub(crate) fn undo(session: &mut dyn Session) -> Answer<Option<Undo>> {
    let sql = "SELECT tuned_undoretention, ssolderrcnt, nospaceerrcnt FROM v$undostat";
    match records(session, sql, &[], &[N, N, N]) {
        Ok(rows) => Ok(Some(Undo {
            retention: rows.iter().filter_map(|row| row.number(0)).min(),
            too_old: rows.iter().filter_map(|row| row.number::<u64>(1)).sum(),
            no_space: rows.iter().filter_map(|row| row.number::<u64>(2)).sum(),
        })),
        Err(e) if e.is_missing_right() => Ok(None),
        Err(e) => Err(e),
    }
}

/// Of V$UNDOSTAT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Undo {
    /// Seconds, at their lowest.
    pub(crate) retention: Option<u64>,
    /// Queries that failed by ORA-01555.
    pub(crate) too_old: u64,
    /// Times that there was no space for undo.
    pub(crate) no_space: u64,
}
