//! The functions that statements call.

use super::eval::{as_number, rowid};
use crate::error::OraError;
use crate::types::{Rowid, Type, Value};

/// A function of a row's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    RowidCreate,
    RowidObject,
    RowidFile,
    RowidBlock,
    RowidRow,
    RowidToChar,
    CharToRowid,
    OraHash,
    Length,
    LobLength,
    Nvl,
    Coalesce,
    ToChar,
    ToNumber,
    Upper,
    Lower,
    Trim,
    Mod,
    Substr,
    Instr,
    Replace,
    Decode,
    Greatest,
    Least,
    Abs,
    Ceil,
    Floor,
    /// The text of an XML or a JSON value.
    Serialize,
    RawToHex,
    /// The number of a character set.
    CharsetId,
}

/// The names of functions, and what they give. `None`: what the first argument is.
const FUNCTIONS: &[(&str, Function, Option<Type>)] = &[
    ("DBMS_ROWID.ROWID_CREATE", Function::RowidCreate, Some(Type::Rowid)),
    ("DBMS_ROWID.ROWID_OBJECT", Function::RowidObject, Some(NUMBER)),
    ("DBMS_ROWID.ROWID_RELATIVE_FNO", Function::RowidFile, Some(NUMBER)),
    ("DBMS_ROWID.ROWID_BLOCK_NUMBER", Function::RowidBlock, Some(NUMBER)),
    ("DBMS_ROWID.ROWID_ROW_NUMBER", Function::RowidRow, Some(NUMBER)),
    ("ROWIDTOCHAR", Function::RowidToChar, Some(Type::text(18))),
    ("CHARTOROWID", Function::CharToRowid, Some(Type::Rowid)),
    ("ORA_HASH", Function::OraHash, Some(NUMBER)),
    ("LENGTH", Function::Length, Some(NUMBER)),
    ("DBMS_LOB.GETLENGTH", Function::LobLength, Some(NUMBER)),
    ("NVL", Function::Nvl, None),
    ("COALESCE", Function::Coalesce, None),
    ("TO_CHAR", Function::ToChar, Some(Type::text(4000))),
    ("TO_NUMBER", Function::ToNumber, Some(NUMBER)),
    ("UPPER", Function::Upper, None),
    ("LOWER", Function::Lower, None),
    ("TRIM", Function::Trim, Some(Type::text(4000))),
    ("MOD", Function::Mod, Some(NUMBER)),
    ("SUBSTR", Function::Substr, Some(Type::text(4000))),
    ("INSTR", Function::Instr, Some(NUMBER)),
    ("REPLACE", Function::Replace, Some(Type::text(4000))),
    ("DECODE", Function::Decode, Some(Type::text(4000))),
    ("GREATEST", Function::Greatest, None),
    ("LEAST", Function::Least, None),
    ("ABS", Function::Abs, Some(NUMBER)),
    ("CEIL", Function::Ceil, Some(NUMBER)),
    ("FLOOR", Function::Floor, Some(NUMBER)),
    ("XMLSERIALIZE", Function::Serialize, Some(Type::Clob)),
    ("JSON_SERIALIZE", Function::Serialize, Some(Type::Clob)),
    ("RAWTOHEX", Function::RawToHex, Some(Type::text(4000))),
    ("NLS_CHARSET_ID", Function::CharsetId, Some(NUMBER)),
];

/// A NUMBER of any precision.
pub(crate) const NUMBER: Type = Type::Number(None, None);

impl Function {
    /// A function by its name, with what it gives.
    pub(crate) fn named(name: &str) -> Option<(Self, Option<Type>)> {
        let name = name.strip_prefix("SYS.").unwrap_or(name);
        FUNCTIONS.iter().find(|(n, ..)| *n == name).map(|(_, function, kind)| (*function, *kind))
    }

    pub(crate) fn call(self, arguments: &[Value]) -> Result<Value, OraError> {
        let argument = |n: usize| arguments.get(n).unwrap_or(&Value::Null);
        let first = argument(0);
        if self == Self::Nvl || self == Self::Coalesce {
            return Ok(arguments.iter().find(|a| !a.is_null()).cloned().unwrap_or(Value::Null));
        }
        if self == Self::Decode {
            return decode(arguments);
        }
        if first.is_null() && self != Self::OraHash {
            return Ok(Value::Null);
        }
        let whole = |n: usize| as_number(argument(n)).map(|number| number.whole().unwrap_or(number.to_f64() as i128));
        let id = || match first {
            Value::Rowid(id) => Ok(*id),
            other => rowid(&text(other)),
        };
        Ok(match self {
            Self::RowidCreate => Value::Rowid(Rowid {
                object: whole(1)? as u32,
                file: whole(2)? as u16,
                block: whole(3)? as u32,
                row: whole(4)? as u16,
            }),
            Self::RowidObject => Value::int(id()?.object),
            Self::RowidFile => Value::int(id()?.file),
            Self::RowidBlock => Value::int(id()?.block),
            Self::RowidRow => Value::int(id()?.row),
            Self::CharToRowid => Value::Rowid(id()?),
            Self::RowidToChar | Self::ToChar | Self::Serialize => Value::text(text(first)),
            Self::OraHash => {
                // Not Oracle's hash, which is not published: any that spreads.
                let most = if arguments.len() > 1 { whole(1)? as u64 } else { u64::from(u32::MAX) };
                let key = super::eval::key(&arguments[..1]);
                let hash = key
                    .iter()
                    .fold(0xCBF2_9CE4_8422_2325_u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01B3));
                Value::int(((hash >> 24) % (most + 1)) as i64)
            }
            Self::Length | Self::LobLength => match first {
                Value::Bytes(bytes) => Value::int(bytes.len() as i64),
                // The length of a CLOB counts UTF-16 units.
                other if self == Self::LobLength => Value::int(text(other).encode_utf16().count() as i64),
                other => Value::int(text(other).chars().count() as i64),
            },
            Self::ToNumber => Value::Number(as_number(first)?),
            Self::Upper => Value::text(text(first).to_uppercase()),
            Self::Lower => Value::text(text(first).to_lowercase()),
            Self::Trim => Value::text(text(first).trim_matches(' ')),
            Self::Mod => match whole(1)? {
                0 => first.clone(),
                by => Value::int((whole(0)? % by) as i64),
            },
            Self::Substr => {
                let all: Vec<char> = text(first).chars().collect();
                let from = match whole(1)? {
                    n if n < 0 => (all.len() as i128 + n).max(0) as usize,
                    n => (n - 1).max(0) as usize,
                };
                let count = if arguments.len() > 2 { whole(2)?.max(0) as usize } else { all.len() };
                Value::text(all.iter().skip(from).take(count).collect::<String>())
            }
            Self::Instr => {
                let (all, part) = (text(first), text(argument(1)));
                Value::int(all.find(&part).map_or(0, |at| all[..at].chars().count() as i64 + 1))
            }
            Self::Replace => Value::text(text(first).replace(&text(argument(1)), &text(argument(2)))),
            Self::Greatest | Self::Least => {
                let mut best = first.clone();
                for other in &arguments[1..] {
                    match super::eval::compare(other, &best, false)? {
                        None => return Ok(Value::Null),
                        Some(order) if (self == Self::Greatest) == order.is_gt() => best = other.clone(),
                        Some(_) => {}
                    }
                }
                best
            }
            Self::Abs => match as_number(first)?.to_string().strip_prefix('-') {
                Some(positive) => Value::number(positive),
                None => first.clone(),
            },
            Self::Ceil => Value::int(as_number(first)?.to_f64().ceil() as i64),
            Self::Floor => Value::int(as_number(first)?.to_f64().floor() as i64),
            Self::RawToHex => match first {
                Value::Bytes(bytes) => Value::text(hex(bytes)),
                other => Value::text(hex(text(other).as_bytes())),
            },
            Self::CharsetId => match text(first).as_str() {
                "AL32UTF8" => Value::int(873),
                "UTF8" => Value::int(871),
                "AL16UTF16" => Value::int(2000),
                "US7ASCII" => Value::int(1),
                "WE8ISO8859P1" => Value::int(31),
                "WE8MSWIN1252" => Value::int(178),
                _ => Value::Null,
            },
            Self::Nvl | Self::Coalesce | Self::Decode => Value::Null,
        })
    }
}

fn decode(arguments: &[Value]) -> Result<Value, OraError> {
    let [subject, pairs @ ..] = arguments else { return Ok(Value::Null) };
    for pair in pairs.chunks_exact(2) {
        let equal = match (subject, &pair[0]) {
            (Value::Null, Value::Null) => true,
            (a, b) => super::eval::compare(a, b, false)?.is_some_and(std::cmp::Ordering::is_eq),
        };
        if equal {
            return Ok(pair[1].clone());
        }
    }
    Ok(if pairs.len() % 2 == 1 { pairs[pairs.len() - 1].clone() } else { Value::Null })
}

/// A value as text, with dates in ISO form. NULL is empty.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Text(text) => text.clone(),
        Value::Number(n) => {
            // Oracle writes no zero before the point.
            let text = n.to_string();
            match text.strip_prefix("-0.") {
                Some(rest) => format!("-.{rest}"),
                None => text.strip_prefix("0.").map_or(text.clone(), |rest| format!(".{rest}")),
            }
        }
        Value::Float(n) => n.to_string(),
        Value::Double(n) => n.to_string(),
        Value::Bytes(bytes) => hex(bytes),
        Value::Date(moment) | Value::Timestamp(moment) | Value::Zoned(moment, _) => moment.to_string(),
        Value::Months(n) => n.to_string(),
        Value::Nanos(n) => n.to_string(),
        Value::Rowid(id) => id.to_string(),
        Value::Boolean(b) => b.to_string().to_uppercase(),
        Value::Json(json) => json.to_text(),
        Value::Vector(values) => format!("{values:?}"),
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02X}")).collect()
}
