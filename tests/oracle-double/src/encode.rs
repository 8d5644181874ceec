//! Values as bytes: what a row of a fetch consists of, and how columns are described.
//!
//! Sources of the formats: python-oracledb 26.1.0, `impl/base/decoders.pyx`, `impl/thin/messages/base.pyx`. What
//! must hold: a value that does not fit its column's type is a defect of the test that made it, so it panics.

use crate::number::Number;
use crate::types::{Moment, Rowid, Type, Value};
use crate::wire::Write;

/// The character sets: AL32UTF8 for the database, AL16UTF16 for national text.
pub(crate) const UTF8: u64 = 873;
pub(crate) const UTF16: u64 = 2000;

/// The numbers that types have on the wire.
pub(crate) mod code {
    pub(crate) const VARCHAR: u8 = 1;
    pub(crate) const NUMBER: u8 = 2;
    pub(crate) const LONG: u8 = 8;
    pub(crate) const ROWID: u8 = 11;
    pub(crate) const DATE: u8 = 12;
    pub(crate) const RAW: u8 = 23;
    pub(crate) const LONG_RAW: u8 = 24;
    pub(crate) const CHAR: u8 = 96;
    pub(crate) const BINARY_FLOAT: u8 = 100;
    pub(crate) const BINARY_DOUBLE: u8 = 101;
    pub(crate) const OBJECT: u8 = 109;
    pub(crate) const CLOB: u8 = 112;
    pub(crate) const BLOB: u8 = 113;
    pub(crate) const JSON: u8 = 119;
    pub(crate) const VECTOR: u8 = 127;
    pub(crate) const TIMESTAMP: u8 = 180;
    pub(crate) const TIMESTAMP_TZ: u8 = 181;
    pub(crate) const INTERVAL_YM: u8 = 182;
    pub(crate) const INTERVAL_DS: u8 = 183;
    pub(crate) const UROWID: u8 = 208;
    pub(crate) const TIMESTAMP_LTZ: u8 = 231;
    pub(crate) const BOOLEAN: u8 = 252;
}

/// A column of a result, as it is described to the client.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) kind: Type,
    pub(crate) nullable: bool,
}

/// What a describe message says of a type.
pub(crate) struct Description {
    pub(crate) code: u8,
    pub(crate) precision: i8,
    pub(crate) scale: i8,
    /// The most bytes of a value.
    pub(crate) size: u32,
    /// 1: the database character set, 2: the national one.
    pub(crate) form: u8,
    /// The most characters.
    pub(crate) characters: u32,
}

impl Description {
    pub(crate) fn of(kind: &Type) -> Self {
        let plain = |code, size| Self { code, precision: 0, scale: 0, size, form: 0, characters: 0 };
        let text = |code, size, form, characters| Self { form, characters, ..plain(code, size) };
        match *kind {
            Type::Number(precision, scale) => {
                let precision = precision.map_or(if scale.is_some() { 38 } else { 0 }, |p| p as i8);
                let floating = if precision == 0 { -127 } else { 0 };
                Self { precision, scale: scale.unwrap_or(floating), ..plain(code::NUMBER, 22) }
            }
            Type::Float(bits) => Self { precision: bits as i8, scale: -127, ..plain(code::NUMBER, 22) },
            Type::BinaryFloat => plain(code::BINARY_FLOAT, 4),
            Type::BinaryDouble => plain(code::BINARY_DOUBLE, 8),
            Type::Date => plain(code::DATE, 7),
            Type::Timestamp(f) => Self { scale: f as i8, ..plain(code::TIMESTAMP, 11) },
            Type::TimestampTz(f) => Self { scale: f as i8, ..plain(code::TIMESTAMP_TZ, 13) },
            Type::TimestampLtz(f) => Self { scale: f as i8, ..plain(code::TIMESTAMP_LTZ, 11) },
            Type::IntervalYm(y) => Self { precision: y as i8, ..plain(code::INTERVAL_YM, 5) },
            Type::IntervalDs(d, f) => Self { precision: d as i8, scale: f as i8, ..plain(code::INTERVAL_DS, 11) },
            Type::Char(n) => text(code::CHAR, n.bytes(), 1, n.declared()),
            Type::Varchar2(n) => text(code::VARCHAR, n.bytes(), 1, n.declared()),
            Type::Nchar(n) => text(code::CHAR, n * 2, 2, n),
            Type::Nvarchar2(n) => text(code::VARCHAR, n * 2, 2, n),
            Type::Clob => text(code::CLOB, 4000, 1, 0),
            Type::Nclob => text(code::CLOB, 4000, 2, 0),
            Type::Blob => plain(code::BLOB, 4000),
            Type::Raw(n) => plain(code::RAW, n),
            Type::Long => text(code::LONG, 0, 1, 0),
            Type::LongRaw => plain(code::LONG_RAW, 0),
            Type::Xml => plain(code::OBJECT, 2000),
            Type::Json => plain(code::JSON, 8200),
            Type::Rowid => plain(code::ROWID, 10),
            Type::Urowid => plain(code::UROWID, 4000),
            Type::Boolean => plain(code::BOOLEAN, 1),
            Type::Vector(_) => plain(code::VECTOR, 8200),
        }
    }
}

impl Description {
    /// Whether a scale is a part of the type.
    pub(crate) fn has_scale(&self) -> bool {
        use code::{INTERVAL_DS, INTERVAL_YM, NUMBER, TIMESTAMP, TIMESTAMP_LTZ, TIMESTAMP_TZ};
        [NUMBER, TIMESTAMP, TIMESTAMP_TZ, TIMESTAMP_LTZ, INTERVAL_YM, INTERVAL_DS].contains(&self.code)
    }
}

/// Writes a date of seven bytes.
pub(crate) fn date(moment: &Moment) -> [u8; 7] {
    // Centuries and years are in excess of 100, both of the year's sign.
    let (century, year) = (moment.year / 100, moment.year % 100);
    [
        (century + 100) as u8,
        (year + 100) as u8,
        moment.month,
        moment.day,
        moment.hour + 1,
        moment.minute + 1,
        moment.second + 1,
    ]
}

/// Writes a timestamp of eleven bytes, or of seven where its fraction is zero, as the server does.
pub(crate) fn timestamp(moment: &Moment, out: &mut Vec<u8>) {
    out.u8(if moment.nanos == 0 { 7 } else { 11 }).put(&date(moment));
    if moment.nanos != 0 {
        out.u32(moment.nanos);
    }
}

fn zoned(utc: &Moment, offset: i16, out: &mut Vec<u8>) {
    out.u8(13).put(&date(utc)).u32(utc.nanos);
    out.u8((offset / 60 + 20) as u8).u8((offset % 60 + 60) as u8);
}

/// The order of the bytes is that of the numbers.
fn sortable<const N: usize>(mut bytes: [u8; N]) -> [u8; N] {
    match bytes[0] & 0x80 {
        0 => bytes[0] |= 0x80,
        _ => bytes.iter_mut().for_each(|b| *b = !*b),
    }
    bytes
}

/// The reverse of `sortable`.
fn unsorted<const N: usize>(mut bytes: [u8; N]) -> [u8; N] {
    match bytes[0] & 0x80 {
        0 => bytes.iter_mut().for_each(|b| *b = !*b),
        _ => bytes[0] &= 0x7f,
    }
    bytes
}

fn months(months: i64, out: &mut Vec<u8>) {
    out.u8(5).u32(((months / 12) as i32).wrapping_add(i32::MIN) as u32).u8((months % 12 + 60) as u8);
}

fn nanos(nanos: i128, out: &mut Vec<u8>) {
    let (seconds, fraction) = ((nanos / 1_000_000_000) as i64, (nanos % 1_000_000_000) as i32);
    out.u8(11).u32(((seconds / 86_400) as i32).wrapping_add(i32::MIN) as u32);
    let part = |n: i64| (n + 60) as u8;
    out.u8(part(seconds / 3600 % 24)).u8(part(seconds / 60 % 60)).u8(part(seconds % 60));
    out.u32(fraction.wrapping_add(i32::MIN) as u32);
}

/// As national text travels.
pub(crate) fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_be_bytes).collect()
}

/// The body of a rowid: object, file, block, row.
pub(crate) fn rowid(rowid: &Rowid, out: &mut Vec<u8>) {
    out.ub(rowid.object.into()).ub(rowid.file.into()).u8(0).ub(rowid.block.into()).ub(rowid.row.into());
}

pub(crate) fn vector(values: &[f32]) -> Vec<u8> {
    let mut all = Vec::new();
    // Magic, version, flags (a norm follows), format FLOAT32.
    all.u8(0xDB).u8(0).u16(0x0012).u8(2).u32(values.len() as u32).put(&[0; 8]);
    for value in values {
        all.put(&sortable(value.to_be_bytes()));
    }
    all
}

/// XMLTYPE as an object with its text inside.
fn xml(text: &str) -> Vec<u8> {
    let mut image = Vec::new();
    // A version 8.1 image without prefix segment and without null structure; version 1; the length of the whole.
    image.u8(0x84).u8(1).u8(0xFE).u32((7 + 5 + text.len()) as u32);
    // XML version 1; the text itself follows.
    image.u8(1).u32(0x0004).put(text.as_bytes());
    image
}

/// Writes a value inside of a row as the column's type has it. LOBs and LONG have functions of their own.
///
/// # Panics
/// When the value is of another type.
pub(crate) fn value(kind: &Type, value: &Value, out: &mut Vec<u8>) {
    match (kind, value) {
        (Type::Xml, Value::Null) => {
            out.ub(0).ub(0).ub(0).ub(0).ub(0).ub(1);
        }
        (Type::Xml, Value::Text(text)) => {
            let image = xml(text);
            // Type, object and snapshot identifiers, version, the image and its flags.
            out.ub(0).ub(0).ub(0).ub(0).count(image.len()).ub(1).bytes(&image);
        }
        (Type::Boolean, Value::Boolean(true)) => {
            out.put(&[2, 1, 1]);
        }
        (Type::Boolean, Value::Boolean(false)) => {
            out.put(&[1, 0]);
        }
        (_, Value::Null) => {
            out.u8(0);
        }
        (Type::Number(..) | Type::Float(_), Value::Number(n)) => {
            out.bytes(n.bytes());
        }
        (Type::BinaryFloat, Value::Float(n)) => {
            out.bytes(&sortable(n.to_be_bytes()));
        }
        (Type::BinaryDouble, Value::Double(n)) => {
            out.bytes(&sortable(n.to_be_bytes()));
        }
        (Type::Nchar(_) | Type::Nvarchar2(_), Value::Text(text)) => {
            out.bytes(&utf16(text));
        }
        (Type::Char(_) | Type::Varchar2(_), Value::Text(text)) => {
            out.bytes(text.as_bytes());
        }
        (Type::Raw(_), Value::Bytes(bytes)) => {
            out.bytes(bytes);
        }
        (Type::Date, Value::Date(moment)) => {
            out.bytes(&date(moment));
        }
        (Type::Timestamp(_) | Type::TimestampLtz(_), Value::Timestamp(moment)) => timestamp(moment, out),
        (Type::TimestampTz(_), Value::Zoned(utc, offset)) => zoned(utc, *offset, out),
        (Type::IntervalYm(_), Value::Months(n)) => months(*n, out),
        (Type::IntervalDs(..), Value::Nanos(n)) => nanos(*n, out),
        (Type::Rowid, Value::Rowid(id)) => {
            out.u8(14);
            rowid(id, out);
        }
        (Type::Urowid, Value::Text(text)) => {
            // The outer length counts the inner one.
            out.bytes(&[1]).bytes(&logical_rowid(text));
        }
        (kind, value) => panic!("a column of type {} holds {value:?}", kind.name()),
    }
}

/// A logical rowid: a mark, then what its text is in base 64 after the asterisk.
fn logical_rowid(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut all = vec![2];
    let (mut bits, mut held) = (0_u32, 0);
    for b in text.bytes().skip(1) {
        bits = bits << 6 | ALPHABET.iter().position(|a| *a == b).unwrap_or(0) as u32;
        held += 6;
        if held >= 8 {
            held -= 8;
            all.push((bits >> held) as u8);
        }
    }
    all
}

/// Writes LONG, and LOBs that a client asked to have as LONG: the data in chunks, a null indicator, a return code.
pub(crate) fn long(value: Option<&[u8]>, out: &mut Vec<u8>) {
    match value {
        // ORA-01405: fetched column value is NULL.
        None => {
            out.u8(0).sb(-1).ub(1405);
        }
        Some(bytes) => {
            out.chunks(bytes).sb(0).ub(0);
        }
    }
}

/// Reads a bind value that was sent as a type; what is of no use here is NULL.
pub(crate) fn bound(code: u8, form: u8, sent: &[u8]) -> Value {
    let moment = || decoded_date(sent);
    match code {
        _ if sent.is_empty() => Value::Null,
        code::VARCHAR | code::CHAR | code::LONG if form == 2 => {
            let units = sent.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            Value::text(char::decode_utf16(units).map(|c| c.unwrap_or('\u{FFFD}')).collect::<String>())
        }
        code::VARCHAR | code::CHAR | code::LONG => Value::text(String::from_utf8_lossy(sent)),
        code::NUMBER | 6 => Value::Number(Number::from_bytes(sent)),
        // An integer of the machine, highest byte first.
        3 => Value::int(sent.iter().fold(i64::from((sent[0] as i8) >> 7), |n, b| n << 8 | i64::from(*b))),
        code::BINARY_FLOAT => sent.try_into().map_or(Value::Null, |b| Value::Float(f32::from_be_bytes(unsorted(b)))),
        code::BINARY_DOUBLE => sent.try_into().map_or(Value::Null, |b| Value::Double(f64::from_be_bytes(unsorted(b)))),
        code::RAW | code::LONG_RAW => Value::Bytes(sent.to_vec()),
        code::DATE => moment().map_or(Value::Null, Value::Date),
        code::TIMESTAMP | code::TIMESTAMP_LTZ => moment().map_or(Value::Null, Value::Timestamp),
        code::TIMESTAMP_TZ => {
            let offset = match sent.get(11..13) {
                Some([hours, minutes]) => (i16::from(*hours) - 20) * 60 + i16::from(*minutes) - 60,
                _ => 0,
            };
            moment().map_or(Value::Null, |utc| Value::Zoned(utc, offset))
        }
        code::INTERVAL_YM => match sent {
            [a, b, c, d, e] => {
                let years = i32::from_be_bytes([*a, *b, *c, *d]).wrapping_sub(i32::MIN);
                Value::Months(i64::from(years) * 12 + i64::from(*e) - 60)
            }
            _ => Value::Null,
        },
        code::INTERVAL_DS => match sent {
            [a, b, c, d, hours, minutes, seconds, w, x, y, z] => {
                let days = i32::from_be_bytes([*a, *b, *c, *d]).wrapping_sub(i32::MIN);
                let part = |b: &u8| i128::from(*b) - 60;
                let whole = ((i128::from(days) * 24 + part(hours)) * 60 + part(minutes)) * 60 + part(seconds);
                let fraction = i32::from_be_bytes([*w, *x, *y, *z]).wrapping_sub(i32::MIN);
                Value::Nanos(whole * 1_000_000_000 + i128::from(fraction))
            }
            _ => Value::Null,
        },
        code::BOOLEAN => Value::Boolean(sent.last() == Some(&1)),
        _ => Value::Null,
    }
}

fn decoded_date(sent: &[u8]) -> Option<Moment> {
    let [century, year, month, day, hour, minute, second, rest @ ..] = sent else { return None };
    let year = (i16::from(*century) - 100) * 100 + i16::from(*year) - 100;
    let time = |b: &u8| b.saturating_sub(1);
    let nanos = rest.first_chunk().map_or(0, |b| u32::from_be_bytes(*b));
    Some(Moment::new(year, *month, *day, time(hour), time(minute), time(second)).nanos(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is sent for a value and bound again is the value.
    #[track_caller]
    fn check(kind: Type, value: Value) {
        let mut sent = Vec::new();
        super::value(&kind, &value, &mut sent);
        let description = Description::of(&kind);
        let bytes = crate::wire::Reader::new(&sent).bytes().unwrap();
        assert_eq!(bound(description.code, description.form, &bytes), value);
    }

    #[test]
    fn what_is_sent_is_read_again() {
        let moment = Moment::new(-44, 3, 15, 23, 59, 58).nanos(123_456_789);
        check(Type::Number(None, None), Value::number("-12345678901234567890.5"));
        check(Type::BinaryFloat, Value::Float(-1.5));
        check(Type::BinaryDouble, Value::Double(f64::INFINITY));
        check(Type::text(10), Value::text("h\u{e9}llo"));
        check(Type::Nvarchar2(10), Value::text("\u{1F600}"));
        check(Type::Raw(3), Value::Bytes(vec![0, 255, 1]));
        check(Type::Date, Value::Date(Moment::new(9999, 12, 31, 0, 0, 0)));
        check(Type::Timestamp(9), Value::Timestamp(moment));
        check(Type::Timestamp(0), Value::Timestamp(Moment::new(2024, 2, 29, 0, 0, 0)));
        check(Type::TimestampTz(9), Value::Zoned(moment, -(14 * 60)));
        check(Type::TimestampTz(9), Value::Zoned(moment, 5 * 60 + 45));
        check(Type::IntervalYm(9), Value::Months(-(999_999_999 * 12 + 11)));
        check(Type::IntervalDs(9, 9), Value::Nanos(-86_400_000_000_001));
        check(Type::Boolean, Value::Boolean(true));
    }
}
