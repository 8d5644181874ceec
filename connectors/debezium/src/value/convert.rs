//! From a value of a message to what a column holds: numbers, bytes, text. Pure.
//!
//! What does not fit is an error; nothing is rounded, cut or wrapped.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

use crate::dialect::{Bounds, Dialect};
use crate::how::{How, Unit};
use crate::modes::Binary;
use crate::value::decimal::Decimal;
use crate::value::time::{self, DAY_MICROS};
use crate::value::{Value, text};

/// What is wrong with a value.
pub(crate) type Wrong = &'static str;

pub(crate) const NOT_OF_TYPE: Wrong = "a value that is not of the column's type";
pub(crate) const RANGE: Wrong = "a number out of the column's range";

/// What conversions need besides the value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules<'a> {
    pub(crate) dialect: &'a Dialect,
    pub(crate) infinite_is_null: bool,
}

impl Rules<'_> {
    /// Appends a number's text as a load has it.
    pub(crate) fn print(&self, number: &Decimal, out: &mut Vec<u8>) {
        match self.dialect.trims_numbers {
            true => number.write_trimmed(out),
            false => number.write(out),
        }
    }
}

/// Members of a struct, or pairs of a map, on their way to one cell.
#[derive(Debug, Default)]
pub(crate) struct Composite {
    pub(crate) scale: Option<i32>,
    pub(crate) bytes: Option<Vec<u8>>,
    pub(crate) x: Option<f64>,
    pub(crate) y: Option<f64>,
    pub(crate) srid: Option<i64>,
    pub(crate) pairs: HashMap<String, Option<String>>,
}

impl Composite {
    /// Takes a member in. Of those that no column needs (a point's `wkb`) nothing is kept.
    pub(crate) fn set(&mut self, how: &How, name: &str, value: Value<'_>) -> Result<(), Wrong> {
        match (how, name, value) {
            (How::Hstore, _, Value::Null) => drop(self.pairs.insert(name.to_owned(), None)),
            (How::Hstore, _, Value::Text(value)) => drop(self.pairs.insert(name.to_owned(), Some(value.to_owned()))),
            (How::Hstore, ..) => return Err(NOT_OF_TYPE),
            (How::DecimalStruct, "scale", value) => {
                self.scale = Some(i32::try_from(integer(value)?).map_err(|_| RANGE)?);
            }
            (How::DecimalStruct, "value", value) | (How::Geometry, "wkb", value) => {
                let mut bytes = Vec::new();
                raw(value, &mut bytes)?;
                self.bytes = Some(bytes);
            }
            (How::Geometry, "srid", Value::Null) => {}
            (How::Geometry, "srid", value) => self.srid = Some(integer(value)?),
            (How::Point, "x", value) => self.x = Some(double(value)?),
            (How::Point, "y", value) => self.y = Some(double(value)?),
            _ => {}
        }
        Ok(())
    }
}

#[inline]
pub(crate) fn str(value: Value<'_>) -> Result<&str, Wrong> {
    match value {
        Value::Text(text) => Ok(text),
        _ => Err(NOT_OF_TYPE),
    }
}

#[inline]
pub(crate) fn integer(value: Value<'_>) -> Result<i64, Wrong> {
    match value {
        Value::Int(number) => Ok(number),
        Value::Number(text) => text.parse().map_err(|_| "not a whole number, or one out of range"),
        _ => Err(NOT_OF_TYPE),
    }
}

/// JSON has no such numbers: the converter writes them as text.
fn special_float(text: &str) -> Result<f64, Wrong> {
    match text {
        "NaN" => Ok(f64::NAN),
        "Infinity" => Ok(f64::INFINITY),
        "-Infinity" => Ok(f64::NEG_INFINITY),
        _ => Err(NOT_OF_TYPE),
    }
}

pub(crate) fn double(value: Value<'_>) -> Result<f64, Wrong> {
    match value {
        Value::Number(text) => match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(number),
            _ => Err(RANGE),
        },
        Value::Double(number) => Ok(number),
        Value::Float(number) => Ok(number.into()),
        Value::Text(text) => special_float(text),
        _ => Err(NOT_OF_TYPE),
    }
}

pub(crate) fn float(value: Value<'_>) -> Result<f32, Wrong> {
    match value {
        Value::Number(text) => match text.parse::<f32>() {
            Ok(number) if number.is_finite() => Ok(number),
            _ => Err(RANGE),
        },
        Value::Float(number) => Ok(number),
        Value::Text(text) => special_float(text).map(|f| f as f32),
        _ => Err(NOT_OF_TYPE),
    }
}

/// Appends the bytes of a value; in JSON they are base 64.
fn raw(value: Value<'_>, out: &mut Vec<u8>) -> Result<(), Wrong> {
    match value {
        Value::Bytes(bytes) => out.extend_from_slice(bytes),
        Value::Text(text) => STANDARD.decode_vec(text, out).map_err(|_| "malformed base 64")?,
        _ => return Err(NOT_OF_TYPE),
    }
    Ok(())
}

/// `None` where it stands for an infinite one that is to be NULL.
pub(crate) fn finite(number: i64, bounds: Bounds, rules: Rules<'_>, infinite: Wrong) -> Result<Option<i64>, Wrong> {
    match bounds.infinite.contains(&number) {
        true if rules.infinite_is_null => Ok(None),
        true => Err(infinite),
        false if (bounds.first..=bounds.last).contains(&number) => Ok(Some(number)),
        false => Err("the date or time is out of range"),
    }
}

pub(crate) fn long(how: &How, value: Value<'_>, rules: Rules<'_>) -> Result<Option<i64>, Wrong> {
    const INFINITE: Wrong = "the timestamp is infinite";
    let micros = |unit: Unit| {
        let number = integer(value)?;
        match unit {
            Unit::Micros => Ok(number),
            Unit::Millis => number.checked_mul(1000).ok_or("the date or time is out of range"),
            Unit::Nanos if matches!(number, i64::MAX | i64::MIN) => Ok(number),
            Unit::Nanos if number % 1000 == 0 || rules.dialect.cuts_times => Ok(number.div_euclid(1000)),
            Unit::Nanos => Err("the value is finer than microseconds"),
        }
    };
    let of_day = |micros: i64| match micros {
        DAY_MICROS => Err("the time 24:00:00 has no equivalent"),
        0..DAY_MICROS => Ok(Some(micros)),
        _ => Err("the time is out of range"),
    };
    let instant = |micros: i64| finite(micros, rules.dialect.timestamps, rules, INFINITE);
    match how {
        How::Int => integer(value).map(Some),
        How::Time(unit) => of_day(micros(*unit)?),
        How::IsoTime => of_day(time::time(str(value)?)?),
        How::Timestamp(unit) => instant(micros(*unit)?),
        How::IsoTimestamp { zoned } => match str(value)? {
            "infinity" | "-infinity" => instant(i64::MAX),
            text => instant(time::timestamp(text, *zoned, rules.dialect.cuts_times)?),
        },
        _ => Err(NOT_OF_TYPE),
    }
}

/// A whole number that comes as the text of a decimal.
pub(crate) fn whole(how: &How, value: Value<'_>) -> Result<i64, Wrong> {
    i64::try_from(decimal(how, value)?.scaled(38, 0)?).map_err(|_| RANGE)
}

pub(crate) fn decimal(how: &How, value: Value<'_>) -> Result<Decimal, Wrong> {
    match (how, value) {
        (How::DecimalText, Value::Text(text)) => Decimal::from_text(text),
        (How::Int, value) => integer(value).map(Decimal::whole),
        // The JSON converter's decimal.format=NUMERIC.
        (How::Decimal(_), Value::Number(text)) => Decimal::from_text(text),
        (How::Decimal(scale), Value::Bytes(bytes)) => Decimal::from_bytes(bytes, *scale),
        (How::Decimal(scale), Value::Text(text)) => {
            // Room for the usual ones; a longer one is put together aside.
            let mut bytes = [0; 48];
            match STANDARD.decode_slice(text, &mut bytes) {
                Ok(length) => Decimal::from_bytes(&bytes[..length], *scale),
                Err(_) => {
                    let mut bytes = Vec::new();
                    raw(value, &mut bytes)?;
                    Decimal::from_bytes(&bytes, *scale)
                }
            }
        }
        _ => Err(NOT_OF_TYPE),
    }
}

pub(crate) fn bytes(how: &How, value: Value<'_>, rules: Rules<'_>, out: &mut Vec<u8>) -> Result<(), Wrong> {
    match how {
        How::Text => out.extend_from_slice(str(value)?.as_bytes()),
        How::Bytes => raw(value, out)?,
        How::BytesAsText => {
            let start = out.len();
            raw(value, out)?;
            std::str::from_utf8(&out[start..]).map_err(|_| "bytes that are no text")?;
        }
        How::Coded(Binary::Base64 | Binary::Base64UrlSafe) => {
            // Within arrays Debezium does not keep to the alphabet; no text means another thing in either.
            let text = str(value)?;
            let alphabet = if text.contains(['-', '_']) { &URL_SAFE } else { &STANDARD };
            alphabet.decode_vec(text, out).map_err(|_| "malformed base 64")?;
        }
        How::Coded(Binary::Hex) => text::hex(str(value)?, out)?,
        How::Digit => match value {
            Value::Bool(bit) => out.push(if bit { b'1' } else { b'0' }),
            _ => return Err(NOT_OF_TYPE),
        },
        How::Bits(length) => {
            let mut bytes = Vec::with_capacity(16);
            raw(value, &mut bytes)?;
            text::bits(&bytes, *length, out)?;
        }
        How::Interval => time::interval(str(value)?, out)?,
        How::InstantRange => {
            text::in_utc(str(value)?)?;
            out.extend_from_slice(str(value)?.as_bytes());
        }
        How::HstoreJson => {
            let pairs: HashMap<String, Option<String>> = serde_json::from_str::<serde_json::Map<_, _>>(str(value)?)
                .map_err(|_| "an hstore that is no JSON object")?
                .into_iter()
                .map(|(key, value)| match value {
                    serde_json::Value::Null => Ok((key, None)),
                    serde_json::Value::String(value) => Ok((key, Some(value))),
                    _ => Err("an hstore whose value is no text"),
                })
                .collect::<Result<_, Wrong>>()?;
            text::hstore(&pairs, out);
        }
        How::Decimal(_) | How::DecimalText | How::Int => rules.print(&decimal(how, value)?, out),
        How::IsoInterval { of_months } => time::iso_interval(str(value)?, *of_months, out)?,
        _ => return Err(NOT_OF_TYPE),
    }
    Ok(())
}
