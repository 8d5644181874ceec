//! The calls of a session that is logged in: executions, fetches, LOBs.

use std::collections::HashMap;
use std::sync::Arc;

use crate::encode::Column;
use crate::error::OraError;
use crate::faults::{Effect, Moment};
use crate::lob::Lobs;
use crate::request::{Call, Driver, Execute, Oac, option};
use crate::response::{self, End, Ending};
use crate::row::RowWriter;
use crate::server::Shared;
use crate::sql::{self, Cursor, Expr, Query, Session, Statement};
use crate::types::Value;
use crate::wire::Write;

/// A statement that a client may execute again.
struct Open {
    sql: String,
    statement: Statement,
    rows: Option<Cursor>,
    columns: Vec<Column>,
    defines: Vec<Oac>,
    sent: u64,
}

/// What a session has open.
pub(crate) struct Calls {
    pub(crate) session: Session,
    driver: Driver,
    /// The types of the binds of open cursors.
    pub(crate) bind_types: HashMap<u32, Vec<Oac>>,
    shared: Arc<Shared>,
    open: HashMap<u32, Open>,
    lobs: Lobs,
    next: u32,
    /// Where in the last response each row began.
    row_starts: Vec<usize>,
}

type Answered = Result<End, OraError>;

impl Calls {
    pub(crate) fn new(session: Session, driver: Driver, shared: Arc<Shared>) -> Self {
        let (bind_types, open, lobs) = Default::default();
        Self { session, driver, bind_types, shared, open, lobs, next: 1, row_starts: Vec::new() }
    }

    /// The fault that strikes a call, whose statement is written down.
    pub(crate) fn effect(&mut self, call: &Call) -> Option<Effect> {
        let known = |cursor: &u32| self.open.get(cursor).map(|open| open.sql.clone());
        let (moment, sql) = match call {
            Call::Execute(e) => match &e.sql {
                Some(sql) => (Moment::Execution, Some(sql.clone())),
                None if e.options & option::DEFINE == 0 => (Moment::Execution, known(&e.cursor)),
                None => (Moment::Fetch, known(&e.cursor)),
            },
            Call::Again { cursor, .. } => (Moment::Execution, known(cursor)),
            Call::Fetch { cursor, .. } => (Moment::Fetch, known(cursor)),
            _ => return None,
        };
        let sql = sql?;
        if moment == Moment::Execution {
            self.shared.faults.saw_statement(&sql);
        }
        self.shared.faults.strikes(moment, &sql)
    }

    /// After how many bytes of the last response so many rows and a bit are sent.
    pub(crate) fn cut_after(&self, rows: usize, length: usize) -> usize {
        self.row_starts.get(rows).map_or(length, |start| start + 2)
    }

    /// Closes cursors.
    pub(crate) fn close(&mut self, cursors: &[u32]) {
        for cursor in cursors {
            self.open.remove(cursor);
            self.bind_types.remove(cursor);
        }
    }

    /// Answers a call.
    pub(crate) fn answer(&mut self, call: Call, ending: &Ending, out: &mut Vec<u8>) {
        self.row_starts.clear();
        let answered = match call {
            Call::Execute(e) => self.execute(e, ending.fields, out),
            Call::Again { cursor, rows, binds } => {
                self.again(cursor, &binds, out).and_then(|()| self.executed(cursor, rows, out))
            }
            Call::Fetch { cursor, rows } => self.rows(cursor, rows, out).map(|(end, _)| end),
            Call::Lob(call) => {
                let state = self.shared.database.read();
                self.lobs.operate(&state, &call, out).map(|()| End::default())
            }
            _ => Ok(End::default()),
        };
        match answered {
            Ok(end) if end.done => ending.write(Some(&OraError::known(1403)), &end, out),
            Ok(end) => ending.write(None, &end, out),
            Err(error) => ending.write(Some(&error), &End::default(), out),
        }
    }

    /// `ALTER SESSION` at the login.
    pub(crate) fn alter_session(&mut self, sql: &str) {
        if let Ok((Statement::AlterSession(set), _)) = sql::binds(sql) {
            let _ = self.alter(&set);
        }
    }

    fn execute(&mut self, e: Execute, fields: u8, out: &mut Vec<u8>) -> Answered {
        let Some(text) = e.sql else {
            let open = self.open.get_mut(&e.cursor).ok_or_else(|| OraError::known(1001))?;
            if e.options & option::DEFINE != 0 {
                open.defines = e.defines;
            } else if e.options & option::EXECUTE != 0 {
                if !e.bind_types.is_empty() {
                    self.bind_types.insert(e.cursor, e.bind_types);
                }
                self.again(e.cursor, &e.binds, out)?;
            }
            let rows = if e.options & option::FETCH != 0 { e.rows } else { 0 };
            return self.executed(e.cursor, rows, out);
        };
        let (statement, binds) = sql::binds(&text)?;
        let only_described = e.options & (option::EXECUTE | option::DESCRIBE) == option::DESCRIBE;
        if e.binds.len() != binds && !only_described {
            return Err(OraError::known(1008));
        }
        // A statement that is only described has no values yet.
        let values = if only_described { vec![Value::Null; binds] } else { e.binds };
        let mut open = Open { sql: text, statement, rows: None, columns: Vec::new(), defines: e.defines, sent: 0 };
        self.run(&mut open, &values, out)?;
        let described = open.rows.is_some();
        if described {
            response::describe(fields, self.driver, &open.columns, out);
        }
        let cursor = if e.cursor == 0 { self.number() } else { e.cursor };
        // The data of LOBs, JSON and the like is sent when the client has said how it wants to have it.
        let waits =
            open.columns.iter().any(|c| c.kind.is_lob() || c.kind.waits_for_define()) && open.defines.is_empty();
        let rows = if e.options & option::FETCH != 0 && !waits && !only_described { e.rows } else { 0 };
        self.open.insert(cursor, open);
        self.bind_types.insert(cursor, e.bind_types);
        if !described {
            return Ok(End { cursor, ..End::default() });
        }
        self.executed(cursor, rows, out)
    }

    fn number(&mut self) -> u32 {
        self.next += 1;
        self.next
    }

    /// Executes an open statement again, with other values.
    fn again(&mut self, cursor: u32, values: &[Value], out: &mut Vec<u8>) -> Result<(), OraError> {
        let mut open = self.open.remove(&cursor).ok_or_else(|| OraError::known(1001))?;
        open.sent = 0;
        let ran = self.run(&mut open, values, out);
        self.open.insert(cursor, open);
        ran
    }

    /// Runs a statement: a query gets its rows ready.
    fn run(&mut self, open: &mut Open, values: &[Value], out: &mut Vec<u8>) -> Result<(), OraError> {
        match &open.statement {
            Statement::Query(query) => {
                let rows = self.prepared(query, values)?;
                open.columns = rows.columns.clone();
                open.rows = Some(rows);
                Ok(())
            }
            Statement::AlterSession(set) => {
                let set = set.clone();
                self.alter(&set)
            }
            Statement::Block(call) => {
                if !values.is_empty() {
                    // All binds go in only.
                    out.u8(11).u8(0).count(values.len()).ub(0).ub(1).ub(0).ub(0).ub(0);
                    out.put(&vec![32; values.len()]);
                }
                match call {
                    Some((name, arguments)) => self.procedure(name, arguments, values),
                    None => Ok(()),
                }
            }
            Statement::Nothing => Ok(()),
        }
    }

    fn prepared(&self, query: &Query, values: &[Value]) -> Result<Cursor, OraError> {
        let state = self.shared.database.read();
        sql::prepare(&state, &self.session, query, values)
    }

    /// Sends so many rows of a cursor, and what else an execution gives back.
    fn executed(&mut self, cursor: u32, count: usize, out: &mut Vec<u8>) -> Answered {
        let (end, is_query) = self.rows(cursor, count, out)?;
        if is_query {
            // Six numbers: the SCN's parts and the cursor, which some clients take from here; nothing in three lists.
            let scn = self.shared.database.scn();
            out.u8(8).ub(6).ub(scn & 0xFFFF_FFFF).ub(scn >> 32).ub(cursor.into()).put(&[0; 6]);
        }
        Ok(end)
    }

    /// Sends so many rows of a cursor; whether there may be any.
    fn rows(&mut self, cursor: u32, count: usize, out: &mut Vec<u8>) -> Result<(End, bool), OraError> {
        let open = self.open.get_mut(&cursor).ok_or_else(|| OraError::known(1001))?;
        let Some(rows) = &mut open.rows else { return Ok((End { cursor, ..End::default() }, false)) };
        let mut done = false;
        if count > 0 {
            let state = self.shared.database.read();
            rows.check(&state)?;
            // Flags, columns, iteration, iterations, the length of a buffer, no bit vector, no rowid.
            out.u8(6).u8(0x22).count(open.columns.len()).ub(1).count(count).ub(0).ub(0).ub(0);
            let time_zone = self.session.time_zone;
            let (columns, defines) = (&open.columns[..], &open.defines[..]);
            let mut writer = RowWriter { out, columns, defines, lobs: &mut self.lobs, time_zone };
            let mut sent = 0;
            while sent < count {
                let start = writer.out.len();
                if !rows.next(&state, &mut writer)? {
                    done = true;
                    break;
                }
                self.row_starts.push(start);
                sent += 1;
            }
            open.sent += sent as u64;
        }
        Ok((End { cursor, rows: open.sent, done }, true))
    }

    fn alter(&mut self, set: &[(String, String)]) -> Result<(), OraError> {
        for (name, value) in set {
            match name.as_str() {
                "TIME_ZONE" => {
                    let invalid = || OraError::new(2248, "invalid option for ALTER SESSION");
                    self.session.time_zone = offset(value).ok_or_else(invalid)?;
                }
                "CURRENT_SCHEMA" => self.session.schema = value.clone(),
                "CONTAINER" => {
                    let known = self.shared.database.read().model.container.clone();
                    if *value != known && value != "CDB$ROOT" {
                        let text = format!("Pluggable database {value} does not exist.");
                        return Err(OraError::new(65011, text));
                    }
                    self.session.container = value.clone();
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Calls a procedure that is known.
    fn procedure(&mut self, name: &str, arguments: &[Expr], values: &[Value]) -> Result<(), OraError> {
        let argument = |n: usize| match arguments.get(n) {
            Some(Expr::Bind(n)) => values.get(*n).cloned().unwrap_or(Value::Null),
            Some(Expr::Literal(value)) => value.clone(),
            _ => Value::Null,
        };
        let text = |n: usize| sql::text_of(&argument(n));
        match name.strip_prefix("SYS.").unwrap_or(name) {
            // What drivers and operators call to say who they are, or to let locks go.
            "DBMS_APPLICATION_INFO.SET_MODULE" | "DBMS_APPLICATION_INFO.SET_ACTION" | "DBMS_SESSION.SET_IDENTIFIER" => {
                Ok(())
            }
            "DBMS_PARALLEL_EXECUTE.CREATE_TASK" => Ok(()),
            "DBMS_PARALLEL_EXECUTE.DROP_TASK" => {
                self.shared.database.drop_chunks(&text(0));
                Ok(())
            }
            "DBMS_PARALLEL_EXECUTE.CREATE_CHUNKS_BY_ROWID" => {
                let size = match argument(4) {
                    Value::Number(n) => n.whole().and_then(|n| u64::try_from(n).ok()).unwrap_or(1),
                    _ => 1,
                };
                self.shared.database.make_chunks(&self.session.user, &text(0), &text(1), &text(2), size)
            }
            other => Err(OraError::new(
                6550,
                format!(
                    "line 1, column 7:\nPLS-00201: identifier '{other}' must be declared\nORA-06550: line 1, column 7:\nPL/SQL: Statement ignored"
                ),
            )),
        }
    }
}

/// Minutes of `+hh:mm`; names of regions other than UTC are not known.
fn offset(text: &str) -> Option<i16> {
    if ["UTC", "GMT", "DBTIMEZONE", "LOCAL"].contains(&text.to_uppercase().as_str()) {
        return Some(0);
    }
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (hours, minutes) = rest.split_once(':')?;
    Some(sign * (hours.parse::<i16>().ok()? * 60 + minutes.parse::<i16>().ok()?))
}
