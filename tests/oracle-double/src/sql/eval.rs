//! Expressions over a row: compiled, and with Oracle's rules for NULL, comparison and conversion.

use std::cmp::Ordering;
use std::collections::HashSet;

use super::functions::Function;
use super::syntax::Operator;
use crate::error::OraError;
use crate::number::Number;
use crate::types::{Moment, Rowid, Value};

/// A row that an expression looks at.
pub(crate) trait Row {
    fn get(&self, column: usize) -> Value;
}

impl Row for [Value] {
    fn get(&self, column: usize) -> Value {
        self.get(column).cloned().unwrap_or(Value::Null)
    }
}

/// An expression whose columns are found.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Const(Value),
    Column(usize),
    /// The number of the row in the result, from 1.
    Rownum,
    /// The value of an aggregate of the group.
    Aggregate(usize),
    Call(Function, Vec<Op>),
    /// Whether both sides are of fixed length, and so compared with blanks at their ends.
    Compare(Operator, Box<Op>, Box<Op>, bool),
    Arithmetic(Operator, Box<Op>, Box<Op>),
    And(Box<Op>, Box<Op>),
    Or(Box<Op>, Box<Op>),
    Not(Box<Op>),
    Negative(Box<Op>),
    IsNull(Box<Op>),
    In(Box<Op>, Vec<Op>, bool),
    /// The rows of a query, as keys; whether there is a NULL among them.
    InSet(Vec<Op>, HashSet<Vec<u8>>, bool),
    Like(Box<Op>, Box<Op>, Option<char>),
    Case(Vec<(Op, Op)>, Option<Box<Op>>),
}

/// What an expression is evaluated with besides the row.
#[derive(Clone, Copy, Default)]
pub(crate) struct Frame<'a> {
    pub(crate) rownum: u64,
    pub(crate) aggregates: &'a [Value],
}

type Evaluated<T> = Result<T, OraError>;

impl Op {
    pub(crate) fn eval(&self, row: &(impl Row + ?Sized), frame: Frame<'_>) -> Evaluated<Value> {
        Ok(match self {
            Self::Const(value) => value.clone(),
            Self::Column(column) => row.get(*column),
            Self::Rownum => Value::int(frame.rownum as i64),
            Self::Aggregate(n) => frame.aggregates.get(*n).cloned().unwrap_or(Value::Null),
            Self::Call(function, arguments) => {
                let arguments = arguments.iter().map(|a| a.eval(row, frame)).collect::<Evaluated<Vec<_>>>()?;
                function.call(&arguments)?
            }
            Self::Arithmetic(operator, left, right) => {
                arithmetic(*operator, left.eval(row, frame)?, right.eval(row, frame)?)?
            }
            Self::Negative(inner) => arithmetic(Operator::Subtract, Value::int(0), inner.eval(row, frame)?)?,
            Self::Case(arms, otherwise) => {
                for (when, then) in arms {
                    if when.holds(row, frame)? == Some(true) {
                        return then.eval(row, frame);
                    }
                }
                otherwise.as_ref().map_or(Ok(Value::Null), |o| o.eval(row, frame))?
            }
            condition => condition.holds(row, frame)?.map_or(Value::Null, Value::Boolean),
        })
    }

    /// Whether a condition holds; `None` when that is unknown.
    pub(crate) fn holds(&self, row: &(impl Row + ?Sized), frame: Frame<'_>) -> Evaluated<Option<bool>> {
        Ok(match self {
            Self::Compare(operator, left, right, padded) => {
                let order = compare(&left.eval(row, frame)?, &right.eval(row, frame)?, *padded)?;
                order.map(|order| satisfies(*operator, order))
            }
            Self::And(left, right) => match left.holds(row, frame)? {
                Some(false) => Some(false),
                known => match right.holds(row, frame)? {
                    Some(false) => Some(false),
                    other => known.and(other),
                },
            },
            Self::Or(left, right) => match left.holds(row, frame)? {
                Some(true) => Some(true),
                known => match right.holds(row, frame)? {
                    Some(true) => Some(true),
                    other => known.and(other),
                },
            },
            Self::Not(inner) => inner.holds(row, frame)?.map(|held| !held),
            Self::IsNull(inner) => Some(inner.eval(row, frame)?.is_null()),
            Self::In(inner, list, padded) => {
                let value = inner.eval(row, frame)?;
                let mut unknown = false;
                for item in list {
                    match compare(&value, &item.eval(row, frame)?, *padded)? {
                        Some(Ordering::Equal) => return Ok(Some(true)),
                        Some(_) => {}
                        None => unknown = true,
                    }
                }
                if unknown { None } else { Some(false) }
            }
            Self::InSet(list, set, has_null) => {
                let values = list.iter().map(|op| op.eval(row, frame)).collect::<Evaluated<Vec<_>>>()?;
                match set.contains(&key(&values)) {
                    true => Some(true),
                    false if *has_null || values.iter().any(Value::is_null) => None,
                    false => Some(false),
                }
            }
            Self::Like(text, pattern, escape) => match (text.eval(row, frame)?, pattern.eval(row, frame)?) {
                (Value::Null, _) | (_, Value::Null) => None,
                (text, pattern) => {
                    let (text, pattern) = (super::functions::text(&text), super::functions::text(&pattern));
                    let chars = |s: String| s.chars().collect::<Vec<_>>();
                    Some(like(&chars(text), &chars(pattern), *escape))
                }
            },
            other => match other.eval(row, frame)? {
                Value::Boolean(held) => Some(held),
                _ => None,
            },
        })
    }

    /// The value of an expression that needs no row.
    pub(crate) fn constant(&self) -> Option<&Value> {
        match self {
            Self::Const(value) => Some(value),
            _ => None,
        }
    }

    /// The conditions that all must hold.
    pub(crate) fn conjuncts(self) -> Vec<Self> {
        match self {
            Self::And(left, right) => left.conjuncts().into_iter().chain(right.conjuncts()).collect(),
            other => vec![other],
        }
    }

    /// Calls a function with each column that the expression needs.
    pub(crate) fn columns(&self, seen: &mut dyn FnMut(usize)) {
        match self {
            Self::Column(column) => seen(*column),
            Self::Const(_) | Self::Rownum | Self::Aggregate(_) => {}
            Self::Call(_, list) | Self::InSet(list, ..) => list.iter().for_each(|op| op.columns(seen)),
            Self::Compare(_, a, b, _)
            | Self::Arithmetic(_, a, b)
            | Self::And(a, b)
            | Self::Or(a, b)
            | Self::Like(a, b, _) => {
                a.columns(seen);
                b.columns(seen);
            }
            Self::Not(a) | Self::Negative(a) | Self::IsNull(a) => a.columns(seen),
            Self::In(a, list, _) => {
                a.columns(seen);
                list.iter().for_each(|op| op.columns(seen));
            }
            Self::Case(arms, otherwise) => {
                for (when, then) in arms {
                    when.columns(seen);
                    then.columns(seen);
                }
                otherwise.iter().for_each(|op| op.columns(seen));
            }
        }
    }
}

pub(crate) fn satisfies(operator: Operator, order: Ordering) -> bool {
    match operator {
        Operator::Equal => order.is_eq(),
        Operator::NotEqual => order.is_ne(),
        Operator::Less => order.is_lt(),
        Operator::LessOrEqual => order.is_le(),
        Operator::Greater => order.is_gt(),
        _ => order.is_ge(),
    }
}

/// Text as a number, as a comparison with one makes of it.
fn number(text: &str) -> Evaluated<Number> {
    text.parse().map_err(|_| OraError::known(1722))
}

/// The order of two values, `None` with NULL.
pub(crate) fn compare(a: &Value, b: &Value, padded: bool) -> Evaluated<Option<Ordering>> {
    use Value::{
        Boolean, Bytes, Date, Double, Float, Months, Nanos, Null, Number, Rowid as Id, Text, Timestamp, Zoned,
    };
    let by_double = |a: f64, b: f64| a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()));
    Ok(Some(match (a, b) {
        (Null, _) | (_, Null) => return Ok(None),
        (Number(a), Number(b)) => a.cmp(b),
        (Text(a), Text(b)) if padded => a.trim_end_matches(' ').cmp(b.trim_end_matches(' ')),
        (Text(a), Text(b)) => a.cmp(b),
        (Number(a), Text(b)) => a.cmp(&number(b)?),
        (Text(a), Number(b)) => number(a)?.cmp(b),
        (Double(a), Double(b)) => by_double(*a, *b),
        (Float(a), Float(b)) => by_double((*a).into(), (*b).into()),
        (Float(a), Double(b)) => by_double((*a).into(), *b),
        (Double(a), Float(b)) => by_double(*a, (*b).into()),
        (Double(a), Number(b)) => by_double(*a, b.to_f64()),
        (Number(a), Double(b)) => by_double(a.to_f64(), *b),
        (Float(a), Number(b)) => by_double((*a).into(), b.to_f64()),
        (Number(a), Float(b)) => by_double(a.to_f64(), (*b).into()),
        (Id(a), Id(b)) => a.cmp(b),
        (Id(a), Text(b)) => a.cmp(&rowid(b)?),
        (Text(a), Id(b)) => rowid(a)?.cmp(b),
        (Date(a) | Timestamp(a) | Zoned(a, _), Date(b) | Timestamp(b) | Zoned(b, _)) => a.cmp(b),
        (Date(a) | Timestamp(a), Text(b)) => a.cmp(&Moment::parse(b).ok_or_else(|| no_date(b))?),
        (Text(a), Date(b) | Timestamp(b)) => Moment::parse(a).ok_or_else(|| no_date(a))?.cmp(b),
        (Bytes(a), Bytes(b)) => a.cmp(b),
        (Bytes(a), Text(b)) => super::functions::hex(a).cmp(&b.to_uppercase()),
        (Months(a), Months(b)) => a.cmp(b),
        (Nanos(a), Nanos(b)) => a.cmp(b),
        (Boolean(a), Boolean(b)) => a.cmp(b),
        _ => return Err(OraError::new(932, "inconsistent datatypes")),
    }))
}

fn no_date(text: &str) -> OraError {
    OraError::new(1861, format!("literal does not match format string: {text}"))
}

pub(crate) fn rowid(text: &str) -> Evaluated<Rowid> {
    Rowid::parse(text).ok_or_else(|| OraError::known(1410))
}

/// Values as bytes that are equal when they are.
pub(crate) fn key(values: &[Value]) -> Vec<u8> {
    let mut all = Vec::new();
    for value in values {
        let bytes = match value {
            Value::Null => vec![0],
            Value::Number(n) => [&[1], n.bytes()].concat(),
            Value::Text(text) => [&[2], text.as_bytes()].concat(),
            other => format!("\u{3}{other:?}").into_bytes(),
        };
        all.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
        all.extend_from_slice(&bytes);
    }
    all
}

fn like(text: &[char], pattern: &[char], escape: Option<char>) -> bool {
    match pattern {
        [] => text.is_empty(),
        [c, literal, rest @ ..] if Some(*c) == escape => {
            text.first() == Some(literal) && like(&text[1..], rest, escape)
        }
        ['%', rest @ ..] => (0..=text.len()).any(|n| like(&text[n..], rest, escape)),
        ['_', rest @ ..] => !text.is_empty() && like(&text[1..], rest, escape),
        [c, rest @ ..] => text.first() == Some(c) && like(&text[1..], rest, escape),
    }
}

fn arithmetic(operator: Operator, left: Value, right: Value) -> Evaluated<Value> {
    if operator == Operator::Concatenate {
        return Ok(Value::text(super::functions::text(&left) + &super::functions::text(&right)));
    }
    let (left, right) = match (left, right) {
        (Value::Null, _) | (_, Value::Null) => return Ok(Value::Null),
        (Value::Date(date), Value::Number(days)) => {
            let days = if operator == Operator::Subtract { -days.to_f64() } else { days.to_f64() };
            return Ok(Value::Date(date.plus_minutes((days * 1440.0) as i64)));
        }
        (Value::Double(a), b) => return double(operator, a, as_double(&b)?),
        (a, Value::Double(b)) => return double(operator, as_double(&a)?, b),
        (a, b) => (as_number(&a)?, as_number(&b)?),
    };
    combine(operator, left, right).map(Value::Number)
}

/// Exact while both sides fit in 38 digits.
pub(crate) fn combine(operator: Operator, left: Number, right: Number) -> Evaluated<Number> {
    let overflow = || OraError::new(1426, "numeric overflow");
    let ((a, a_scale), (b, b_scale)) = (left.scaled().ok_or_else(overflow)?, right.scaled().ok_or_else(overflow)?);
    let scale = a_scale.max(b_scale);
    let aligned = |n: i128, from: i32| 10_i128.checked_pow((scale - from) as u32).and_then(|p| n.checked_mul(p));
    let result = match operator {
        Operator::Multiply => a.checked_mul(b).map(|n| (n, a_scale + b_scale)),
        Operator::Divide if b == 0 => return Err(OraError::known(1476)),
        Operator::Divide => {
            let (a, b) = (aligned(a, a_scale).ok_or_else(overflow)?, aligned(b, b_scale).ok_or_else(overflow)?);
            match a % b {
                0 => Some((a / b, 0)),
                _ => return format!("{}", a as f64 / b as f64).parse().map_err(|_| overflow()),
            }
        }
        _ => aligned(a, a_scale).zip(aligned(b, b_scale)).and_then(|(a, b)| {
            let sum = if operator == Operator::Add { a.checked_add(b) } else { a.checked_sub(b) };
            Some((sum?, scale))
        }),
    };
    let (mantissa, scale) = result.ok_or_else(overflow)?;
    Number::new(mantissa, scale).map_err(|_| overflow())
}

fn double(operator: Operator, a: f64, b: f64) -> Evaluated<Value> {
    Ok(Value::Double(match operator {
        Operator::Add => a + b,
        Operator::Subtract => a - b,
        Operator::Multiply => a * b,
        _ => a / b,
    }))
}

fn as_double(value: &Value) -> Evaluated<f64> {
    match value {
        Value::Double(n) => Ok(*n),
        Value::Float(n) => Ok((*n).into()),
        other => as_number(other).map(Number::to_f64),
    }
}

pub(crate) fn as_number(value: &Value) -> Evaluated<Number> {
    match value {
        Value::Number(n) => Ok(*n),
        Value::Text(text) => number(text),
        _ => Err(OraError::new(932, "inconsistent datatypes: expected NUMBER")),
    }
}
