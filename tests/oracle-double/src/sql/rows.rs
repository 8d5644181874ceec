//! Queries that are made whole: joins, groups, order.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};

use super::eval::{Frame, Op, Row, combine, compare, key};
use super::names::{Aggregate, Aggregates, Data, Resolved};
use super::plan::{Planned, Planner, narrow};
use super::scan::Scan;
use super::syntax::{Expr, Join, Operator, Order, Query};
use crate::dictionary::{self, Wanted};
use crate::encode::Column;
use crate::error::OraError;
use crate::number::Number;
use crate::types::Value;

type Table = Vec<Vec<Value>>;

/// A row behind another, as a join makes them.
struct Pair<'a>(&'a [Value], &'a [Value]);

impl Row for Pair<'_> {
    fn get(&self, column: usize) -> Value {
        match column.checked_sub(self.0.len()) {
            Some(n) => self.1.get(n).cloned().unwrap_or(Value::Null),
            None => self.0[column].clone(),
        }
    }
}

impl Planner<'_> {
    /// All rows of a query, before its limits.
    pub(super) fn rows(
        &self,
        query: &Query,
        from: &[Resolved],
        filter: Option<Op>,
        items: &[Op],
        mut aggregates: Aggregates,
        columns: &[Column],
    ) -> Planned<Table> {
        let group = query.group.iter().map(|g| Ok(self.compile(g, from, None)?.0)).collect::<Planned<Vec<_>>>()?;
        let having = query.having.as_ref().map(|h| self.compile(h, from, Some(&mut aggregates))).transpose()?;
        let mut order = Vec::new();
        for by in &query.order {
            order.push(self.order(by, from, columns, &mut aggregates)?);
        }
        // Each row with the values of its aggregates.
        let rows: Vec<(Vec<Value>, Vec<Value>)> = match from {
            _ if aggregates.list.is_empty() && group.is_empty() => {
                self.joined(query, from, filter)?.into_iter().map(|row| (row, Vec::new())).collect()
            }
            [Resolved { data: Data::Table(scan), columns, .. }] if group.is_empty() => {
                vec![(Vec::new(), self.folded(scan, columns.len() - 1, filter, &aggregates)?)]
            }
            _ => groups(self.joined(query, from, filter)?, &group, &aggregates)?,
        };
        let mut made = Vec::new();
        for (row, values) in rows {
            let frame = Frame { rownum: made.len() as u64 + 1, aggregates: &values };
            if let Some((having, _)) = &having
                && having.holds(&row[..], frame)? != Some(true)
            {
                continue;
            }
            let out = items.iter().map(|item| item.eval(&row[..], frame)).collect::<Planned<Vec<_>>>()?;
            let keys = order.iter().map(|by| match by {
                By::Item(n) => Ok(out[*n].clone()),
                By::Op(op) => op.eval(&row[..], frame),
            });
            let keys = keys.collect::<Planned<Vec<_>>>()?;
            made.push((keys, out));
        }
        if query.distinct {
            let mut seen = HashSet::new();
            made.retain(|(_, out)| seen.insert(key(out)));
        }
        let mut failed = None;
        made.sort_by(|(a, _), (b, _)| {
            let by = a.iter().zip(b).zip(&query.order);
            by.map(|((a, b), by)| ordering(a, b, by, &mut failed)).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
        });
        match failed {
            Some(error) => Err(error),
            None => Ok(made.into_iter().map(|(_, out)| out).collect()),
        }
    }

    /// What rows are sorted by: an item by its place or its alias, or an expression.
    fn order(&self, by: &Order, from: &[Resolved], columns: &[Column], aggregates: &mut Aggregates) -> Planned<By> {
        match &by.expr {
            Expr::Literal(Value::Number(n)) => match n.whole().and_then(|n| usize::try_from(n - 1).ok()) {
                Some(n) if n < columns.len() => Ok(By::Item(n)),
                _ => Err(OraError::new(1785, "ORDER BY item must be the number of a SELECT-list expression")),
            },
            Expr::Column(qualifiers, name, _) if qualifiers.is_empty() => {
                match columns.iter().position(|c| c.name == *name) {
                    Some(n) => Ok(By::Item(n)),
                    None => Ok(By::Op(self.compile(&by.expr, from, Some(aggregates))?.0)),
                }
            }
            expr => Ok(By::Op(self.compile(expr, from, Some(aggregates))?.0)),
        }
    }

    /// The aggregates of a whole table, whose rows go by one at a time.
    fn folded(&self, scan: &Scan, rowid: usize, filter: Option<Op>, aggregates: &Aggregates) -> Planned<Vec<Value>> {
        let mut scan = scan.clone();
        let filter = narrow(filter, rowid, &mut scan.range);
        let mut states: Vec<State> = aggregates.list.iter().map(|_| State::default()).collect();
        while let Some(row) = scan.next(self.state) {
            if let Some(filter) = &filter
                && filter.holds(&row, Frame::default())? != Some(true)
            {
                continue;
            }
            for (state, (kind, argument, distinct)) in states.iter_mut().zip(&aggregates.list) {
                let value = argument.as_ref().map(|op| op.eval(&row, Frame::default())).transpose()?;
                state.add(*kind, value, *distinct)?;
            }
        }
        states.iter().zip(&aggregates.list).map(|(state, (kind, ..))| state.value(*kind)).collect()
    }

    fn joined(&self, query: &Query, from: &[Resolved], filter: Option<Op>) -> Planned<Table> {
        let mut conditions: Vec<Op> = filter.map(Op::conjuncts).unwrap_or_default();
        let has_rownum = query.filter.as_ref().is_some_and(mentions_rownum);
        let mut rows: Table = vec![Vec::new()];
        let mut width = 0;
        for (n, source) in from.iter().enumerate() {
            let join = &query.from[n].join;
            let right = width..width + source.columns.len();
            let mut on = match join {
                Join::Cross => Vec::new(),
                Join::Inner(on) | Join::Left(on) => self.compile(on, from, None)?.0.conjuncts(),
            };
            // What a filter says of this table alone is asked of it first, unless its absence counts.
            let mut own = Vec::new();
            if !matches!(join, Join::Left(_)) && !has_rownum {
                let all = std::mem::take(&mut conditions);
                let (mine, later): (Vec<Op>, Vec<Op>) = all.into_iter().partition(|op| within(op, &right));
                own = mine;
                conditions = later;
                let (ready, later) = conditions.into_iter().partition(|op| within(op, &(0..right.end)));
                conditions = later;
                on.extend::<Vec<Op>>(ready);
            }
            let own = own.into_iter().map(|op| shifted(op, width)).collect();
            let table = self.source(source, own)?;
            rows = match n {
                0 => table,
                _ => joined(rows, table, on, width, source.columns.len(), matches!(join, Join::Left(_)))?,
            };
            width = right.end;
        }
        let mut kept = Vec::new();
        for row in rows {
            let frame = Frame { rownum: kept.len() as u64 + 1, aggregates: &[] };
            let mut held = true;
            for condition in &conditions {
                held = held && condition.holds(&row[..], frame)? == Some(true);
            }
            if held {
                kept.push(row);
            }
        }
        Ok(kept)
    }

    /// The rows of a table for which conditions on it alone hold.
    fn source(&self, source: &Resolved, conditions: Vec<Op>) -> Planned<Table> {
        let mut kept = Vec::new();
        let mut holds = |row: Vec<Value>, conditions: &[Op]| -> Planned<()> {
            for condition in conditions {
                if condition.holds(&row[..], Frame::default())? != Some(true) {
                    return Ok(());
                }
            }
            kept.push(row);
            Ok(())
        };
        match &source.data {
            Data::Rows(rows) => {
                for row in rows {
                    holds(row.clone(), &conditions)?;
                }
            }
            Data::Dictionary(view) => {
                let wanted = wanted(&conditions, source);
                for row in dictionary::rows(self.state, self.session, view, &wanted) {
                    holds(row, &conditions)?;
                }
            }
            Data::Table(scan) => {
                let mut scan = scan.clone();
                let filter = conditions.into_iter().reduce(|a, b| Op::And(Box::new(a), Box::new(b)));
                let filter = narrow(filter, source.columns.len() - 1, &mut scan.range);
                while let Some(row) = scan.next(self.state) {
                    let held = filter.as_ref().map_or(Ok(Some(true)), |f| f.holds(&row, Frame::default()))?;
                    if held == Some(true) {
                        kept.push((0..source.columns.len()).map(|n| row.get(n)).collect());
                    }
                }
            }
        }
        Ok(kept)
    }
}

/// What rows are sorted by.
enum By {
    Item(usize),
    Op(Op),
}

fn mentions_rownum(expr: &Expr) -> bool {
    match expr {
        Expr::Column(qualifiers, name, _) => qualifiers.is_empty() && name == "ROWNUM",
        Expr::Binary(_, a, b) => mentions_rownum(a) || mentions_rownum(b),
        Expr::Not(a) | Expr::IsNull(a) | Expr::In(a, _) => mentions_rownum(a),
        _ => false,
    }
}

/// Whether an expression needs no columns but these, and at least one of them.
fn within(op: &Op, columns: &std::ops::Range<usize>) -> bool {
    let (mut inside, mut any) = (true, false);
    op.columns(&mut |column| {
        inside &= columns.contains(&column);
        any = true;
    });
    inside && any
}

/// The expression over a table's own columns.
fn shifted(op: Op, by: usize) -> Op {
    let boxed = |op: Box<Op>| Box::new(shifted(*op, by));
    let list = |list: Vec<Op>| list.into_iter().map(|op| shifted(op, by)).collect();
    match op {
        Op::Column(n) => Op::Column(n - by),
        Op::Call(f, arguments) => Op::Call(f, list(arguments)),
        Op::Compare(o, a, b, padded) => Op::Compare(o, boxed(a), boxed(b), padded),
        Op::Arithmetic(o, a, b) => Op::Arithmetic(o, boxed(a), boxed(b)),
        Op::And(a, b) => Op::And(boxed(a), boxed(b)),
        Op::Or(a, b) => Op::Or(boxed(a), boxed(b)),
        Op::Not(a) => Op::Not(boxed(a)),
        Op::Negative(a) => Op::Negative(boxed(a)),
        Op::IsNull(a) => Op::IsNull(boxed(a)),
        Op::In(a, items, padded) => Op::In(boxed(a), list(items), padded),
        Op::InSet(items, set, null) => Op::InSet(list(items), set, null),
        Op::Like(a, b, escape) => Op::Like(boxed(a), boxed(b), escape),
        Op::Case(arms, otherwise) => {
            let arms = arms.into_iter().map(|(when, then)| (shifted(when, by), shifted(then, by)));
            Op::Case(arms.collect(), otherwise.map(boxed))
        }
        other => other,
    }
}

/// Of which owner and which object rows of the dictionary are wanted.
fn wanted(conditions: &[Op], source: &Resolved) -> Wanted {
    let mut wanted = Wanted::default();
    for condition in conditions {
        if let Op::Compare(Operator::Equal, left, right, _) = condition
            && let (Op::Column(n), Some(Value::Text(text))) = (&**left, right.constant())
        {
            match source.columns[*n].name.as_str() {
                "OWNER" | "TABLE_OWNER" => wanted.owner = Some(text.clone()),
                "TABLE_NAME" | "OBJECT_NAME" | "SEGMENT_NAME" => wanted.table = Some(text.clone()),
                _ => {}
            }
        }
    }
    wanted
}

/// Joins two tables; by a hash where a condition is an equality between them.
fn joined(left: Table, right: Table, on: Vec<Op>, width: usize, columns: usize, outer: bool) -> Planned<Table> {
    let (mut left_keys, mut right_keys, mut rest) = (Vec::new(), Vec::new(), Vec::new());
    for op in on {
        match op {
            Op::Compare(Operator::Equal, a, b, false)
                if within(&a, &(0..width)) && within(&b, &(width..width + columns)) =>
            {
                left_keys.push(*a);
                right_keys.push(shifted(*b, width));
            }
            Op::Compare(Operator::Equal, a, b, false)
                if within(&b, &(0..width)) && within(&a, &(width..width + columns)) =>
            {
                left_keys.push(*b);
                right_keys.push(shifted(*a, width));
            }
            other => rest.push(other),
        }
    }
    let keyed = |keys: &[Op], row: &[Value]| -> Planned<Option<Vec<u8>>> {
        let values = keys.iter().map(|k| k.eval(row, Frame::default())).collect::<Planned<Vec<_>>>()?;
        Ok(if values.iter().any(Value::is_null) { None } else { Some(key(&values)) })
    };
    let mut by_key: HashMap<Vec<u8>, Vec<usize>> = HashMap::new();
    for (n, row) in right.iter().enumerate() {
        if let Some(key) = keyed(&right_keys, row)? {
            by_key.entry(key).or_default().push(n);
        }
    }
    let mut all = Vec::new();
    for row in left {
        let matching = keyed(&left_keys, &row)?.and_then(|key| by_key.get(&key));
        let mut any = false;
        for n in matching.into_iter().flatten() {
            let pair = Pair(&row, &right[*n]);
            let mut held = true;
            for op in &rest {
                held = held && op.holds(&pair, Frame::default())? == Some(true);
            }
            if held {
                any = true;
                all.push([&row[..], &right[*n]].concat());
            }
        }
        if outer && !any {
            let mut alone = row;
            alone.extend(std::iter::repeat_n(Value::Null, columns));
            all.push(alone);
        }
    }
    Ok(all)
}

/// One row for each group, with the values of its aggregates. Without GROUP BY there is always one.
fn groups(rows: Table, by: &[Op], aggregates: &Aggregates) -> Planned<Vec<(Vec<Value>, Vec<Value>)>> {
    let mut places: HashMap<Vec<u8>, usize> = HashMap::new();
    let mut groups: Vec<(Vec<Value>, Vec<State>)> = Vec::new();
    let fresh = || aggregates.list.iter().map(|_| State::default()).collect::<Vec<_>>();
    if by.is_empty() {
        groups.push((Vec::new(), fresh()));
        places.insert(key(&[]), 0);
    }
    for row in rows {
        let values = by.iter().map(|op| op.eval(&row[..], Frame::default())).collect::<Planned<Vec<_>>>()?;
        let place = *places.entry(key(&values)).or_insert_with(|| {
            groups.push((row.clone(), fresh()));
            groups.len() - 1
        });
        for (state, (kind, argument, distinct)) in groups[place].1.iter_mut().zip(&aggregates.list) {
            let value = argument.as_ref().map(|op| op.eval(&row[..], Frame::default())).transpose()?;
            state.add(*kind, value, *distinct)?;
        }
    }
    let finished = groups.into_iter().map(|(row, states)| {
        let values = states.iter().zip(&aggregates.list).map(|(state, (kind, ..))| state.value(*kind));
        Ok((row, values.collect::<Planned<Vec<_>>>()?))
    });
    finished.collect()
}

/// An aggregate under way.
#[derive(Default)]
struct State {
    count: i64,
    sum: Option<Number>,
    best: Option<Value>,
    seen: HashSet<Vec<u8>>,
}

impl State {
    fn add(&mut self, kind: Aggregate, value: Option<Value>, distinct: bool) -> Planned<()> {
        let Some(value) = value else {
            self.count += 1;
            return Ok(());
        };
        if value.is_null() || (distinct && !self.seen.insert(key(std::slice::from_ref(&value)))) {
            return Ok(());
        }
        self.count += 1;
        match kind {
            Aggregate::Sum | Aggregate::Average => {
                let number = super::eval::as_number(&value)?;
                self.sum = Some(self.sum.map_or(Ok(number), |sum| combine(Operator::Add, sum, number))?);
            }
            Aggregate::Min | Aggregate::Max => {
                let better = match &self.best {
                    None => true,
                    Some(best) => compare(&value, best, false)?.is_some_and(|o| o.is_lt() == (kind == Aggregate::Min)),
                };
                if better {
                    self.best = Some(value);
                }
            }
            Aggregate::Count => {}
        }
        Ok(())
    }

    fn value(&self, kind: Aggregate) -> Planned<Value> {
        Ok(match kind {
            Aggregate::Count => Value::int(self.count),
            Aggregate::Min | Aggregate::Max => self.best.clone().unwrap_or(Value::Null),
            Aggregate::Sum => self.sum.map_or(Value::Null, Value::Number),
            Aggregate::Average => match self.sum {
                Some(sum) => Value::Number(combine(Operator::Divide, sum, Number::from(self.count))?),
                None => Value::Null,
            },
        })
    }
}

fn ordering(a: &Value, b: &Value, by: &Order, failed: &mut Option<OraError>) -> Ordering {
    match (a.is_null(), b.is_null()) {
        (true, true) => Ordering::Equal,
        (true, false) => {
            if by.nulls_first {
                Ordering::Less
            } else {
                Ordering::Greater
            }
        }
        (false, true) => {
            if by.nulls_first {
                Ordering::Greater
            } else {
                Ordering::Less
            }
        }
        (false, false) => {
            let order = compare(a, b, false).unwrap_or_else(|e| {
                *failed = Some(e);
                None
            });
            let order = order.unwrap_or(Ordering::Equal);
            if by.descending { order.reverse() } else { order }
        }
    }
}
