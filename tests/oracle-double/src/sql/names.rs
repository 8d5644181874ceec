//! Names: which table, view or column is meant, and whether the session may read it.
//!
//! What must hold: what may not be read is not there (ORA-00942), and what may be read but not in the past is refused
//! (ORA-01031), as Oracle does.

use std::collections::HashSet;

use super::eval::{Frame, Op, as_number, key};
use super::functions::{Function, NUMBER};
use super::plan::{Planned, Planner};
use super::scan::Scan;
use super::syntax::{Expr, From, Operator, Query, Source, Statement};
use crate::dictionary::{self, View};
use crate::error::OraError;
use crate::handshake::Personality;
use crate::model::Kind;
use crate::types::{Length, Type, Value};

/// A table of FROM: its names and how its rows come.
pub(super) struct Resolved {
    pub(super) alias: String,
    pub(super) columns: Vec<Field>,
    pub(super) data: Data,
}

/// A column that an expression may name.
#[derive(Clone)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) kind: Type,
    pub(super) nullable: bool,
    /// Not part of `*`.
    pub(super) hidden: bool,
}

pub(super) enum Data {
    Table(Scan),
    Dictionary(&'static View),
    Rows(Vec<Vec<Value>>),
}

/// The aggregates of a query: kind, argument, DISTINCT.
#[derive(Default)]
pub(super) struct Aggregates {
    pub(super) list: Vec<(Aggregate, Option<Op>, bool)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aggregate {
    Count,
    Min,
    Max,
    Sum,
    Average,
}

fn field(name: &str, kind: Type) -> Field {
    Field { name: name.to_owned(), kind, nullable: true, hidden: false }
}

impl<'a> Planner<'a> {
    /// Finds a table of FROM.
    pub(super) fn resolve(&self, from: &From) -> Planned<Resolved> {
        match &from.source {
            Source::Query(query) => {
                let (columns, rows) = self.all(query)?;
                let columns = columns.into_iter();
                let columns =
                    columns.map(|c| Field { name: c.name, kind: c.kind, nullable: c.nullable, hidden: false });
                let alias = from.alias.clone().unwrap_or_default();
                Ok(Resolved { alias, columns: columns.collect(), data: Data::Rows(rows) })
            }
            Source::Table { owner, name, partition, sample, scn, at } => {
                let alias = from.alias.clone().unwrap_or_else(|| name.clone());
                let scn = self.snapshot(scn.as_ref())?;
                let schema = owner.as_deref().or(self.definer).unwrap_or(&self.session.schema);
                if let Some(table) = self.state.find(schema, name) {
                    return self.table(table, alias, partition.as_deref(), *sample, scn, *at);
                }
                let view = dictionary::find(owner.as_deref(), name);
                let Some(view) = view
                    .filter(|view| dictionary::may_read(self.state, self.definer.unwrap_or(&self.session.user), view))
                else {
                    return Err(self.missing(schema, name).at(*at));
                };
                let columns = view.columns.iter().map(|(name, kind)| field(name, *kind)).collect();
                Ok(Resolved { alias, columns, data: Data::Dictionary(view) })
            }
        }
    }

    /// The SCN of `AS OF SCN`.
    fn snapshot(&self, scn: Option<&Expr>) -> Planned<Option<u64>> {
        let Some(expr) = scn else { return Ok(self.scn) };
        let (op, _) = self.compile(expr, &[], None)?;
        let number = as_number(op.constant().unwrap_or(&Value::Null)).map_err(|_| OraError::known(8181))?;
        match number.whole().and_then(|n| u64::try_from(n).ok()) {
            Some(scn) if scn <= self.state.scn => Ok(Some(scn)),
            _ => Err(OraError::known(8181)),
        }
    }

    fn missing(&self, schema: &str, name: &str) -> OraError {
        match self.session.personality {
            Personality::V19c => OraError::known(942),
            Personality::V23ai => OraError::new(942, format!("table or view \"{schema}\".\"{name}\" does not exist")),
        }
    }

    fn table(
        &self,
        table: usize,
        alias: String,
        partition: Option<&str>,
        sample: Option<f64>,
        scn: Option<u64>,
        at: usize,
    ) -> Planned<Resolved> {
        let stored = &self.state.tables[table];
        let (owner, name) = (stored.def.owner.as_str(), stored.def.name.as_str());
        let reader = self.definer.unwrap_or(&self.session.user);
        if !dictionary::may_select(self.state, reader, owner, name) {
            return Err(self.missing(owner, name).at(at));
        }
        if scn.is_some() && !dictionary::may_flash_back(self.state, reader, owner, name) {
            return Err(OraError::known(1031).at(at));
        }
        match &stored.def.kind {
            Kind::View(sql) => {
                let (Statement::Query(query), _) = super::parser::parse(sql)? else {
                    return Err(OraError::known(4063));
                };
                let inner = Planner { scn, definer: Some(owner), binds: &[], ..*self };
                let (columns, rows) = inner.all(&query)?;
                let columns = columns.into_iter();
                let columns =
                    columns.map(|c| Field { name: c.name, kind: c.kind, nullable: c.nullable, hidden: false });
                return Ok(Resolved { alias, columns: columns.collect(), data: Data::Rows(rows) });
            }
            Kind::Nested { .. } => {
                return Err(OraError::new(22812, "cannot reference nested table column's storage table").at(at));
            }
            Kind::External if scn.is_some() => {
                return Err(OraError::new(30657, "operation not supported on external organized table").at(at));
            }
            _ => {}
        }
        if let Some(scn) = scn {
            stored.check_snapshot(scn, self.state.undo_horizon)?;
        }
        let segments = match partition {
            None => (0..stored.segments.len()).collect(),
            Some(partition) => {
                let part_of = |segment: &str| {
                    stored.def.partitions.iter().any(|p| p.name == segment && p.parent.as_deref() == Some(partition))
                };
                let named = |s: &Option<String>| s.as_deref().is_some_and(|s| s == partition || part_of(s));
                let found: Vec<usize> =
                    (0..stored.segments.len()).filter(|n| named(&stored.segments[*n].partition)).collect();
                if found.is_empty() {
                    return Err(OraError::new(2149, "Specified partition does not exist").at(at));
                }
                found
            }
        };
        let mut columns: Vec<Field> = stored
            .def
            .columns
            .iter()
            .map(|c| Field { name: c.name.clone(), kind: c.kind, nullable: c.nullable, hidden: c.hidden })
            .collect();
        let rowid = if stored.has_rowids() { Type::Rowid } else { Type::Urowid };
        columns.push(Field { name: "ROWID".into(), kind: rowid, nullable: false, hidden: true });
        let scan = Scan::new(self.state, table, segments, scn.unwrap_or(self.state.scn), sample);
        Ok(Resolved { alias, columns, data: Data::Table(scan) })
    }

    /// Compiles an expression over tables, and says of what type it is. Aggregates are allowed where there is a place
    /// for them.
    pub(super) fn compile(
        &self,
        expr: &Expr,
        from: &[Resolved],
        mut aggregates: Option<&mut Aggregates>,
    ) -> Planned<(Op, Type)> {
        let mut inner = |expr: &Expr| self.compile(expr, from, aggregates.as_deref_mut());
        Ok(match expr {
            Expr::Literal(value) => (Op::Const(value.clone()), kind_of(value)),
            Expr::Bind(n) => {
                let value = self.binds.get(*n).ok_or_else(|| OraError::known(1008))?;
                (Op::Const(value.clone()), kind_of(value))
            }
            Expr::Column(qualifiers, name, at) => self.column(qualifiers, name, *at, from)?,
            Expr::Binary(operator, left, right) => {
                let ((left, left_kind), (right, right_kind)) = (inner(left)?, inner(right)?);
                binary(*operator, (left, left_kind), (right, right_kind))?
            }
            Expr::Not(a) => (Op::Not(Box::new(inner(a)?.0)), Type::Boolean),
            Expr::Negative(a) => {
                let (op, kind) = inner(a)?;
                (fold(Op::Negative(Box::new(op)), true)?, kind)
            }
            Expr::IsNull(a) => (Op::IsNull(Box::new(inner(a)?.0)), Type::Boolean),
            Expr::In(a, list) => {
                let (op, kind) = inner(a)?;
                let list = list.iter().map(|item| Ok(inner(item)?.0)).collect::<Planned<Vec<_>>>()?;
                (Op::In(Box::new(op), list, matches!(kind, Type::Char(_) | Type::Nchar(_))), Type::Boolean)
            }
            Expr::InQuery(list, query) => {
                let list = list.iter().map(|item| Ok(inner(item)?.0)).collect::<Planned<Vec<_>>>()?;
                let rows = self.all(query)?.1;
                let has_null = rows.iter().flatten().any(Value::is_null);
                let set: HashSet<Vec<u8>> = rows.iter().map(|row| key(row)).collect();
                (Op::InSet(list, set, has_null), Type::Boolean)
            }
            Expr::Exists(query) => (Op::Const(Value::Boolean(!self.all(query)?.1.is_empty())), Type::Boolean),
            Expr::Scalar(query) => self.scalar(query)?,
            Expr::Like(a, pattern, escape) => {
                let escape = match escape {
                    Some(escape) => match inner(escape)?.0.constant() {
                        Some(Value::Text(text)) => text.chars().next(),
                        _ => None,
                    },
                    None => None,
                };
                (Op::Like(Box::new(inner(a)?.0), Box::new(inner(pattern)?.0), escape), Type::Boolean)
            }
            Expr::Case(arms, otherwise) => {
                let mut kind = Type::text(4000);
                let mut compiled = Vec::new();
                for (when, then) in arms {
                    let (then, then_kind) = inner(then)?;
                    kind = then_kind;
                    compiled.push((inner(when)?.0, then));
                }
                let otherwise = otherwise.as_ref().map(|o| inner(o)).transpose()?.map(|(op, _)| Box::new(op));
                (Op::Case(compiled, otherwise), widest(kind))
            }
            Expr::CountAll => {
                let place = aggregates.ok_or_else(|| OraError::new(934, "group function is not allowed here"))?;
                place.list.push((Aggregate::Count, None, false));
                (Op::Aggregate(place.list.len() - 1), NUMBER)
            }
            Expr::Call(name, arguments, distinct, at) => {
                if let Some(aggregate) = aggregate(name) {
                    let place = aggregates.ok_or_else(|| OraError::new(934, "group function is not allowed here"))?;
                    let [argument] = &arguments[..] else {
                        return Err(OraError::new(909, "invalid number of arguments"));
                    };
                    let (op, kind) = self.compile(argument, from, None)?;
                    place.list.push((aggregate, Some(op), *distinct));
                    let kind = if matches!(aggregate, Aggregate::Min | Aggregate::Max) { kind } else { NUMBER };
                    return Ok((Op::Aggregate(place.list.len() - 1), kind));
                }
                let compiled = arguments.iter().map(inner).collect::<Planned<Vec<_>>>()?;
                self.call(name, compiled, *at)?
            }
        })
    }

    fn scalar(&self, query: &Query) -> Planned<(Op, Type)> {
        let (columns, rows) = self.all(query)?;
        if rows.len() > 1 {
            return Err(OraError::new(1427, "single-row subquery returns more than one row"));
        }
        let value = rows.into_iter().next().and_then(|row| row.into_iter().next()).unwrap_or(Value::Null);
        Ok((Op::Const(value), columns.first().map_or(NUMBER, |c| c.kind)))
    }

    fn call(&self, name: &str, compiled: Vec<(Op, Type)>, at: usize) -> Planned<(Op, Type)> {
        let constant = |n: usize| match compiled.get(n).and_then(|(op, _)| op.constant()) {
            Some(Value::Text(text)) => text.to_uppercase(),
            _ => String::new(),
        };
        if name == "SYS_CONTEXT" {
            let value = dictionary::context(self.state, self.session, &constant(0), &constant(1));
            return Ok((Op::Const(value), Type::text(256)));
        }
        if ["DBMS_FLASHBACK.GET_SYSTEM_CHANGE_NUMBER", "SYS.DBMS_FLASHBACK.GET_SYSTEM_CHANGE_NUMBER"].contains(&name) {
            return self.flashback_scn(at);
        }
        let (function, kind) = Function::named(name).ok_or_else(|| invalid(name, at))?;
        let kind = kind.or_else(|| compiled.first().map(|(_, kind)| *kind)).unwrap_or(NUMBER);
        let operands: Vec<Op> = compiled.into_iter().map(|(op, _)| op).collect();
        let all_constant = operands.iter().all(|op| op.constant().is_some());
        Ok((fold(Op::Call(function, operands), all_constant)?, kind))
    }

    /// `DBMS_FLASHBACK.GET_SYSTEM_CHANGE_NUMBER`, for those who may execute the package.
    fn flashback_scn(&self, at: usize) -> Planned<(Op, Type)> {
        match dictionary::may_execute(self.state, &self.session.user, "DBMS_FLASHBACK") {
            true => Ok((Op::Const(Value::int(self.state.scn as i64)), NUMBER)),
            false => Err(invalid("\"DBMS_FLASHBACK\".\"GET_SYSTEM_CHANGE_NUMBER\"", at)),
        }
    }

    fn column(&self, qualifiers: &[String], name: &str, at: usize, from: &[Resolved]) -> Planned<(Op, Type)> {
        let mut found = None;
        let mut base = 0;
        for source in from {
            let alias = qualifiers.last();
            if alias.is_none_or(|alias| *alias == source.alias)
                && let Some(n) = source.columns.iter().position(|c| c.name == name)
            {
                if found.is_some() {
                    return Err(OraError::new(918, "column ambiguously defined").at(at));
                }
                found = Some((Op::Column(base + n), source.columns[n].kind));
            }
            base += source.columns.len();
        }
        if let Some(found) = found {
            return Ok(found);
        }
        let full = qualifiers.iter().map(String::as_str).chain([name]).collect::<Vec<_>>();
        let constant = |value: Value, kind: Type| Ok((Op::Const(value), kind));
        let now = || crate::types::Moment::from_epoch_seconds(self.now());
        match &full[..] {
            ["ROWNUM"] => Ok((Op::Rownum, NUMBER)),
            ["USER"] => constant(Value::text(&*self.session.user), Type::text(128)),
            ["SYSDATE"] => constant(Value::Date(now()), Type::Date),
            ["SYSTIMESTAMP"] => constant(Value::Zoned(now(), 0), Type::TimestampTz(6)),
            ["CURRENT_TIMESTAMP"] => constant(Value::Zoned(now(), self.session.time_zone), Type::TimestampTz(6)),
            ["DBTIMEZONE"] => constant(Value::text("+00:00"), Type::text(6)),
            ["SESSIONTIMEZONE"] => {
                let minutes = self.session.time_zone;
                let sign = if minutes < 0 { '-' } else { '+' };
                let text = format!("{sign}{:02}:{:02}", minutes.abs() / 60, minutes.abs() % 60);
                constant(Value::text(text), Type::text(75))
            }
            ["TRUE"] => constant(Value::Boolean(true), Type::Boolean),
            ["FALSE"] => constant(Value::Boolean(false), Type::Boolean),
            ["DBMS_FLASHBACK", "GET_SYSTEM_CHANGE_NUMBER"] | ["SYS", "DBMS_FLASHBACK", "GET_SYSTEM_CHANGE_NUMBER"] => {
                self.flashback_scn(at)
            }
            _ => {
                let quoted: Vec<String> = full.iter().map(|part| format!("\"{part}\"")).collect();
                Err(invalid(&quoted.join("."), at))
            }
        }
    }

    /// Seconds since 1970: the SCN is the clock of a test.
    fn now(&self) -> i64 {
        1_700_000_000 + (self.state.scn % 1_000_000) as i64
    }
}

fn invalid(name: &str, at: usize) -> OraError {
    let quoted = if name.starts_with('"') { name.to_owned() } else { format!("\"{name}\"") };
    OraError::new(904, format!("{quoted}: invalid identifier")).at(at)
}

fn aggregate(name: &str) -> Option<Aggregate> {
    Some(match name {
        "COUNT" => Aggregate::Count,
        "MIN" => Aggregate::Min,
        "MAX" => Aggregate::Max,
        "SUM" => Aggregate::Sum,
        "AVG" => Aggregate::Average,
        _ => return None,
    })
}

fn binary(operator: Operator, left: (Op, Type), right: (Op, Type)) -> Planned<(Op, Type)> {
    let constant = left.0.constant().is_some() && right.0.constant().is_some();
    let fixed = |kind: &Type| matches!(kind, Type::Char(_) | Type::Nchar(_));
    let (a, b) = (Box::new(left.0), Box::new(right.0));
    Ok(match operator {
        Operator::And => (Op::And(a, b), Type::Boolean),
        Operator::Or => (Op::Or(a, b), Type::Boolean),
        Operator::Concatenate => (fold(Op::Arithmetic(operator, a, b), constant)?, Type::text(4000)),
        Operator::Add | Operator::Subtract | Operator::Multiply | Operator::Divide => {
            let kind = match (left.1, right.1) {
                (Type::BinaryDouble, _) | (_, Type::BinaryDouble) => Type::BinaryDouble,
                (Type::Date, _) => Type::Date,
                _ => NUMBER,
            };
            (fold(Op::Arithmetic(operator, a, b), constant)?, kind)
        }
        // What stands on the right is what a scan looks for: a constant.
        _ if a.constant().is_some() && !constant => {
            (Op::Compare(mirrored(operator), b, a, fixed(&left.1) && fixed(&right.1)), Type::Boolean)
        }
        _ => (Op::Compare(operator, a, b, fixed(&left.1) && fixed(&right.1)), Type::Boolean),
    })
}

fn mirrored(operator: Operator) -> Operator {
    match operator {
        Operator::Less => Operator::Greater,
        Operator::LessOrEqual => Operator::GreaterOrEqual,
        Operator::Greater => Operator::Less,
        Operator::GreaterOrEqual => Operator::LessOrEqual,
        other => other,
    }
}

/// The value instead of an expression that needs no row.
fn fold(op: Op, constant: bool) -> Planned<Op> {
    let none: &[Value] = &[];
    if constant { op.eval(none, Frame::default()).map(Op::Const) } else { Ok(op) }
}

/// Text of any length where branches differ.
fn widest(kind: Type) -> Type {
    match kind {
        Type::Char(_) | Type::Varchar2(_) => Type::text(4000),
        other => other,
    }
}

/// The type of a literal or a bind.
fn kind_of(value: &Value) -> Type {
    match value {
        Value::Null => Type::Varchar2(Length::Bytes(32)),
        Value::Number(_) => NUMBER,
        Value::Float(_) => Type::BinaryFloat,
        Value::Double(_) => Type::BinaryDouble,
        Value::Text(text) => Type::Char(Length::Chars(text.chars().count() as u32)),
        Value::Bytes(bytes) => Type::Raw(bytes.len() as u32),
        Value::Date(_) => Type::Date,
        Value::Timestamp(_) => Type::Timestamp(9),
        Value::Zoned(..) => Type::TimestampTz(9),
        Value::Months(_) => Type::IntervalYm(9),
        Value::Nanos(_) => Type::IntervalDs(9, 9),
        Value::Rowid(_) => Type::Rowid,
        Value::Boolean(_) => Type::Boolean,
        Value::Json(_) => Type::Json,
        Value::Vector(values) => Type::Vector(values.len() as u32),
    }
}
