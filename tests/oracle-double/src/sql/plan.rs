//! A tree to a cursor: names are found and privileges checked, then either the rows are there or a scan gives them.
//!
//! What must hold: a scan of one table streams, whatever its size; anything else is made whole first.

use super::eval::{Frame, Op, Row};
use super::names::{Aggregates, Data, Resolved};
use super::parser;
use super::scan::{Range, Scan, TableRow, place};
use super::syntax::{Expr, Item, Operator, Query, Statement};
use crate::encode::Column;
use crate::error::OraError;
use crate::handshake::Personality;
use crate::model::{Kind, Scn};
use crate::store::{State, Stored};
use crate::types::Value;

pub(super) type Planned<T> = Result<T, OraError>;

/// What a session brings to a statement.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) id: u32,
    pub(crate) user: String,
    /// The proxy user that connected.
    pub(crate) proxy: Option<String>,
    pub(crate) schema: String,
    pub(crate) service: String,
    /// Minutes.
    pub(crate) time_zone: i16,
    pub(crate) protocol: &'static str,
    pub(crate) personality: Personality,
    pub(crate) container: String,
    /// The modules that a client named, for `SYS_CONTEXT`.
    pub(crate) program: String,
}

/// An open query.
pub(crate) struct Cursor {
    pub(crate) columns: Vec<Column>,
    rows: Rows,
}

enum Rows {
    Made(std::vec::IntoIter<Vec<Value>>),
    Streamed(Box<Streamed>),
}

struct Streamed {
    scan: Scan,
    filter: Option<Op>,
    items: Vec<Op>,
    rownum: u64,
    /// By `FETCH FIRST`.
    left: u64,
}

/// Where a value of a row goes.
pub(crate) trait Out {
    /// Takes a column's value.
    fn value(&mut self, column: usize, value: &Value);
    /// Takes a column of a table's row that can be written as it lies there.
    fn written(&mut self, column: usize, row: &TableRow<'_>, from: usize);
    /// A row begins.
    fn begin(&mut self);
}

impl Cursor {
    /// Gives the next row; `false` when there is none.
    pub(crate) fn next(&mut self, state: &State, out: &mut impl Out) -> Planned<bool> {
        match &mut self.rows {
            Rows::Made(rows) => {
                let Some(row) = rows.next() else { return Ok(false) };
                out.begin();
                for (n, value) in row.iter().enumerate() {
                    out.value(n, value);
                }
                Ok(true)
            }
            Rows::Streamed(streamed) => streamed.next(state, out),
        }
    }

    /// Whether a further fetch may be answered: undo and definitions may have gone meanwhile.
    pub(crate) fn check(&self, state: &State) -> Planned<()> {
        match &self.rows {
            Rows::Made(_) => Ok(()),
            Rows::Streamed(streamed) => streamed.scan.check(state),
        }
    }
}

impl Streamed {
    fn next(&mut self, state: &State, out: &mut impl Out) -> Planned<bool> {
        if self.left == 0 {
            return Ok(false);
        }
        loop {
            let Some(row) = self.scan.next(state) else { return Ok(false) };
            let frame = Frame { rownum: self.rownum + 1, aggregates: &[] };
            if let Some(filter) = &self.filter
                && filter.holds(&row, frame)? != Some(true)
            {
                continue;
            }
            self.rownum += 1;
            self.left -= 1;
            out.begin();
            for (n, item) in self.items.iter().enumerate() {
                match item {
                    Op::Column(column) => out.written(n, &row, *column),
                    other => out.value(n, &other.eval(&row, frame)?),
                }
            }
            return Ok(true);
        }
    }
}

/// Parses a statement, and how many binds it has.
pub(crate) fn binds(sql: &str) -> Planned<(Statement, usize)> {
    parser::parse(sql).map(|(statement, binds)| (statement, binds.len()))
}

/// The columns of a view; none when its query no longer works.
pub(crate) fn describe_view(state: &State, session: &Session, view: &Stored) -> Vec<Column> {
    let Kind::View(sql) = &view.def.kind else { return Vec::new() };
    let Ok((Statement::Query(query), _)) = parser::parse(sql) else { return Vec::new() };
    let definer = Some(view.def.owner.as_str());
    let cursor = Planner { state, session, binds: &[], scn: None, definer }.cursor(&query);
    cursor.map(|c| c.columns).unwrap_or_default()
}

/// Makes a cursor of a query.
pub(crate) fn prepare(state: &State, session: &Session, query: &Query, binds: &[Value]) -> Planned<Cursor> {
    Planner { state, session, binds, scn: None, definer: None }.cursor(query)
}

/// What a statement is planned with.
#[derive(Clone, Copy)]
pub(super) struct Planner<'a> {
    pub(super) state: &'a State,
    pub(super) session: &'a Session,
    pub(super) binds: &'a [Value],
    /// Of a view that is read as of one.
    pub(super) scn: Option<Scn>,
    /// The owner of the view whose text this is: its privileges count.
    pub(super) definer: Option<&'a str>,
}

/// Rows as values.
#[derive(Default)]
struct Collected(Vec<Vec<Value>>);

impl Out for Collected {
    fn begin(&mut self) {
        self.0.push(Vec::new());
    }

    fn value(&mut self, _column: usize, value: &Value) {
        if let Some(row) = self.0.last_mut() {
            row.push(value.clone());
        }
    }

    fn written(&mut self, column: usize, row: &TableRow<'_>, from: usize) {
        self.value(column, &row.get(from));
    }
}

impl Planner<'_> {
    /// A query's columns and all of its rows.
    pub(super) fn all(&self, query: &Query) -> Planned<(Vec<Column>, Vec<Vec<Value>>)> {
        let mut cursor = self.cursor(query)?;
        let mut rows = Collected::default();
        while cursor.next(self.state, &mut rows)? {}
        Ok((cursor.columns, rows.0))
    }

    pub(super) fn cursor(&self, query: &Query) -> Planned<Cursor> {
        let mut from = query.from.iter().map(|source| self.resolve(source)).collect::<Planned<Vec<_>>>()?;
        let mut aggregates = Aggregates::default();
        let (items, columns) = self.items(query, &from, &mut aggregates)?;
        let filter = query.filter.as_ref().map(|f| self.compile(f, &from, None)).transpose()?.map(|(op, _)| op);
        let limit = self.count(query.limit.as_ref())?.map_or(usize::MAX, |n| n as usize);
        let offset = self.count(query.offset.as_ref())?.unwrap_or(0) as usize;
        let whole = !aggregates.list.is_empty()
            || !query.group.is_empty()
            || !query.order.is_empty()
            || query.distinct
            || query.union.is_some()
            || offset > 0;
        if !whole && let [Resolved { data: Data::Table(scan), columns: fields, .. }] = &mut from[..] {
            let mut scan = scan.clone();
            let mut left = limit as u64;
            let filter = at_most(narrow(filter, fields.len() - 1, &mut scan.range), &mut left);
            let streamed = Streamed { scan, filter, items, rownum: 0, left };
            return Ok(Cursor { columns, rows: Rows::Streamed(Box::new(streamed)) });
        }
        let rows = self.rows(query, &from, filter, &items, aggregates, &columns)?;
        let mut rows: Vec<_> = rows.into_iter().skip(offset).take(limit).collect();
        if let Some(more) = &query.union {
            rows.extend(self.all(more)?.1);
        }
        Ok(Cursor { columns, rows: Rows::Made(rows.into_iter()) })
    }

    /// The select list.
    fn items(&self, query: &Query, from: &[Resolved], aggregates: &mut Aggregates) -> Planned<(Vec<Op>, Vec<Column>)> {
        let (mut items, mut columns) = (Vec::new(), Vec::new());
        let fields: Vec<_> = from.iter().flat_map(|r| r.columns.iter().map(move |field| (r, field))).collect();
        for item in &query.items {
            match item {
                Item::All(table) => {
                    for (at, (source, field)) in fields.iter().enumerate() {
                        if !field.hidden && table.as_ref().is_none_or(|t| *t == source.alias) {
                            items.push(Op::Column(at));
                            let (name, kind, nullable) = (field.name.clone(), field.kind, field.nullable);
                            columns.push(Column { name, kind, nullable });
                        }
                    }
                }
                Item::One { expr, alias, text } => {
                    let (op, kind) = self.compile(expr, from, Some(aggregates))?;
                    let nullable = match &op {
                        Op::Column(at) => fields[*at].1.nullable,
                        _ => true,
                    };
                    let name = match (alias, expr) {
                        (Some(alias), _) => alias.clone(),
                        (None, Expr::Column(_, name, _)) => name.clone(),
                        (None, _) => text.clone(),
                    };
                    items.push(op);
                    columns.push(Column { name, kind, nullable });
                }
            }
        }
        Ok((items, columns))
    }

    /// A number of rows.
    fn count(&self, expr: Option<&Expr>) -> Planned<Option<u64>> {
        let Some(expr) = expr else { return Ok(None) };
        let (op, _) = self.compile(expr, &[], None)?;
        let number = super::eval::as_number(op.constant().unwrap_or(&Value::Null))?;
        Ok(number.whole().map(|n| n.max(0) as u64))
    }
}

/// Takes what a filter says of the rowid into a range, and gives the rest.
pub(super) fn narrow(filter: Option<Op>, rowid: usize, range: &mut Range) -> Option<Op> {
    let mut rest = Vec::new();
    for conjunct in filter.map(Op::conjuncts).unwrap_or_default() {
        if let Op::Compare(operator, left, right, _) = &conjunct
            && matches!(**left, Op::Column(column) if column == rowid)
            && let Some(bound) = right.constant()
            && let Some((from, to)) = bounds(*operator, bound)
        {
            range.from = range.from.max(from.unwrap_or(range.from));
            range.to = range.to.min(to.unwrap_or(range.to));
            continue;
        }
        rest.push(conjunct);
    }
    rest.into_iter().reduce(|a, b| Op::And(Box::new(a), Box::new(b)))
}

/// Takes what a filter says of ROWNUM into a limit, so that a scan ends there, and gives the rest.
fn at_most(filter: Option<Op>, left: &mut u64) -> Option<Op> {
    let mut rest = Vec::new();
    for conjunct in filter.map(Op::conjuncts).unwrap_or_default() {
        let bound = match &conjunct {
            Op::Compare(operator, column, bound, _) if matches!(**column, Op::Rownum) => {
                match (operator, bound.constant()) {
                    (Operator::LessOrEqual, Some(Value::Number(n))) => n.whole(),
                    (Operator::Less, Some(Value::Number(n))) => n.whole().map(|n| n - 1),
                    _ => None,
                }
            }
            _ => None,
        };
        match bound {
            Some(bound) => *left = (*left).min(bound.max(0) as u64),
            None => rest.push(conjunct),
        }
    }
    rest.into_iter().reduce(|a, b| Op::And(Box::new(a), Box::new(b)))
}

type Place = (u32, u16, u32, u32);

/// The half-open range that a comparison of the rowid leaves.
fn bounds(operator: Operator, bound: &Value) -> Option<(Option<Place>, Option<Place>)> {
    let at = match bound {
        Value::Rowid(id) => place(*id),
        Value::Text(text) => place(crate::types::Rowid::parse(text)?),
        _ => return None,
    };
    let after = (at.0, at.1, at.2, at.3 + 1);
    Some(match operator {
        Operator::Equal => (Some(at), Some(after)),
        Operator::Less => (None, Some(at)),
        Operator::LessOrEqual => (None, Some(after)),
        Operator::Greater => (Some(after), None),
        Operator::GreaterOrEqual => (Some(at), None),
        _ => return None,
    })
}
