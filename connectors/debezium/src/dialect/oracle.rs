//! Oracle's types by the names that a load stores with the table: those of a CREATE TABLE (`NUMBER(9,2)`).
//!
//! What is here was seen of Debezium 3.6.1's own classes (tests/fixtures/oracle), which were given statements of redo:
//! what its LogMiner, XStream and OpenLogReplicator adapters make of a real database's log was not.

use arrow_schema::DataType;

use super::{Bounds, Dialect, PositionFields, Special, temporal};
use crate::how::{DECIMAL, How, VARIABLE};
use crate::modes::{Binary, Decimals, Intervals, Modes};
use crate::shape::{Kind, Shape};

type Wrong = &'static str;

const DAY: i64 = 86_400_000_000;

pub(super) const DIALECT: Dialect = Dialect {
    connector: "oracle",
    // https://issues.redhat.com/browse/DBZ-9497
    since: Some(((3, 3), "events of a Debezium before 3.3: their commit_scn may be that of another transaction")),
    shape,
    special,
    // A large object that did not change has a placeholder in each mode.
    null_hides: |_, _, _| false,
    transaction,
    widened,
    position: PositionFields {
        own: "scn",
        transaction: "txId",
        sequence: None,
        commit: Some("commit_scn"),
        within: Some("txSeq"),
        thread: Some("redo_thread"),
    },
    // −4712-01-01 to 9999-12-31, and a day at either end for zones.
    dates: Bounds { first: -2_440_185, last: 2_932_897, infinite: &[] },
    timestamps: Bounds { first: -2_440_185 * DAY, last: 2_932_898 * DAY, infinite: &[] },
    cuts_times: true,
    trims_numbers: true,
    placeholder_is_no_value: true,
};

/// `0a001b00c1040000`: eight bytes, as LogMiner has them. Or three numbers, of at most 16, 16 and 32 bits: decimal ones
/// (`10.27.1217`), or hexadecimal ones (`0x000a.01b.000004c1`).
fn transaction(id: &str) -> Option<u64> {
    if id.len() == 16 {
        return u64::from_str_radix(id, 16).ok();
    }
    let (parts, radix) = id.strip_prefix("0x").map_or((id, 10), |parts| (parts, 16));
    let numbers = parts.split('.').map(|part| u64::from_str_radix(part, radix).ok()).collect::<Option<Vec<_>>>()?;
    match numbers[..] {
        [segment @ 0..0x1_0000, slot @ 0..0x1_0000, sequence @ 0..0x1_0000_0000] => {
            Some(segment << 48 | slot << 32 | sequence)
        }
        _ => None,
    }
}

fn widened(data_type: &DataType) -> String {
    match data_type {
        DataType::Int64 => "NUMBER(18)".to_owned(),
        DataType::Float64 => "BINARY_DOUBLE".to_owned(),
        DataType::Decimal128(digits, scale) => format!("NUMBER({digits},{scale})"),
        other => other.to_string(),
    }
}

/// A type's first word, and the numbers of its last pair of brackets: `INTERVAL DAY(9) TO SECOND(6)` has 6.
fn named(source_type: &str) -> (&str, Vec<&str>) {
    let base = source_type.split(['(', ' ']).next().unwrap_or(source_type);
    let within = source_type.rsplit_once('(').and_then(|(_, rest)| rest.split_once(')')).map(|(within, _)| within);
    (base, within.map(|within| within.split(',').map(str::trim).collect()).unwrap_or_default())
}

/// Digits of a second: 6 where nothing else is declared.
fn digits(source_type: &str) -> u32 {
    named(source_type).1.first().and_then(|digits| digits.parse().ok()).unwrap_or(6)
}

fn special(source_type: &str, target: &DataType, shape: &Shape, _: &Modes) -> Special {
    use DataType::{Float64, Int32, Int64, Utf8};
    let (base, _) = named(source_type);
    Some(match (base, &shape.kind, target) {
        (_, Kind::Text, Utf8) if shape.name == "io.debezium.time.Interval" => {
            if base != "INTERVAL" {
                return Some(Err(
                    "Debezium makes other seconds of intervals that are finer than microseconds, and events \
                                 do not tell whether these are: load the table, or leave the column out",
                ));
            }
            if source_type.contains("SECOND") && digits(source_type) > 6 {
                return Some(Err("Debezium makes other seconds of those that are finer than microseconds: leave the \
                                 column out"));
            }
            Ok(How::IsoInterval { of_months: source_type.contains("MONTH") })
        }
        ("INTERVAL", Kind::Int(_), _) => {
            Err("interval.handling.mode=numeric is not exact: use interval.handling.mode=string")
        }
        ("NUMBER" | "FLOAT", Kind::Struct(_), Utf8) if shape.name == VARIABLE => Ok(How::DecimalStruct),
        ("NUMBER" | "FLOAT", Kind::Float64, Utf8 | Int32 | Int64) => {
            Err("decimal.handling.mode=double loses digits of this column: use precise or string")
        }
        ("NUMBER" | "FLOAT", Kind::Text, Utf8 | Int32 | Int64 | Float64) => Ok(How::DecimalText),
        ("NUMBER", Kind::Int(_), Utf8 | Float64) => Ok(How::Int),
        ("TIMESTAMP", Kind::Int(_), _) if shape.name.ends_with(".Timestamp") && digits(source_type) > 3 => {
            Err("the events carry milliseconds, the column microseconds: use time.precision.mode=adaptive")
        }
        _ => return None,
    })
}

fn shape(source_type: &str, _: &DataType, modes: &Modes) -> Result<Shape, Wrong> {
    const BINARY: Wrong = "without a schema in the message, declare Debezium's binary.handling.mode";
    const INTERVALS: Wrong = "without a schema in the message, declare Debezium's interval.handling.mode";
    let plain = |kind| Ok(Shape::new(kind, ""));
    let (base, numbers) = named(source_type);
    match base {
        "NUMBER" => number(&numbers, modes),
        "FLOAT" => decimal(None, modes),
        "BINARY_FLOAT" => plain(Kind::Float32),
        "BINARY_DOUBLE" => plain(Kind::Float64),
        "DATE" => temporal("Timestamp", 0, modes),
        "TIMESTAMP" if source_type.contains("TIME ZONE") => {
            Ok(Shape::new(Kind::Text, "io.debezium.time.ZonedTimestamp"))
        }
        "TIMESTAMP" => temporal("Timestamp", digits(source_type), modes),
        "INTERVAL" => Ok(match modes.intervals.ok_or(INTERVALS)? {
            Intervals::Numeric => Shape::new(Kind::Int(64), "io.debezium.time.MicroDuration"),
            Intervals::String => Shape::new(Kind::Text, "io.debezium.time.Interval"),
        }),
        "CHAR" | "VARCHAR2" | "VARCHAR" | "NCHAR" | "NVARCHAR2" | "CLOB" | "NCLOB" | "ROWID" => plain(Kind::Text),
        "XMLTYPE" => Ok(Shape::new(Kind::Text, "io.debezium.data.Xml")),
        "RAW" | "BLOB" => match modes.binary.ok_or(BINARY)? {
            Binary::Bytes => plain(Kind::Bytes),
            _ => plain(Kind::Text),
        },
        _ => Err("a type that Debezium does not send: leave the column out"),
    }
}

/// NUMBER by its precision and scale, as far as they were declared. Whole numbers of up to 18 digits are integers where
/// decimals are precise, and those that are rounded to tens or more in any case.
fn number(numbers: &[&str], modes: &Modes) -> Result<Shape, Wrong> {
    const UNKNOWN: Wrong = "a NUMBER of an unknown scale";
    let (precision, scale): (i32, i32) = match numbers {
        [] => return decimal(None, modes),
        [precision] => (precision.parse().map_err(|_| UNKNOWN)?, 0),
        ["*", scale] => (38, scale.parse().map_err(|_| UNKNOWN)?),
        [precision, scale, ..] => (precision.parse().map_err(|_| UNKNOWN)?, scale.parse().map_err(|_| UNKNOWN)?),
    };
    let is_int = scale < 0 || scale == 0 && modes.decimals == Some(Decimals::Precise);
    match precision - scale {
        ..10 if is_int => Ok(Shape::new(Kind::Int(32), "")),
        ..19 if is_int => Ok(Shape::new(Kind::Int(64), "")),
        _ => decimal(Some(scale), modes),
    }
}

/// A number with a scale of its own, or of the column's.
fn decimal(scale: Option<i32>, modes: &Modes) -> Result<Shape, Wrong> {
    const DECIMALS: Wrong = "without a schema in the message, declare Debezium's decimal.handling.mode";
    Ok(match (modes.decimals.ok_or(DECIMALS)?, scale) {
        (Decimals::Double, _) => Shape::new(Kind::Float64, ""),
        (Decimals::String, _) => Shape::new(Kind::Text, ""),
        (Decimals::Precise, None) => Shape::new(Kind::Struct([].into()), VARIABLE),
        (Decimals::Precise, scale) => Shape { scale, ..Shape::new(Kind::Bytes, DECIMAL) },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart() {
        assert_eq!(named("NUMBER(9,2)"), ("NUMBER", vec!["9", "2"]));
        assert_eq!(named("NUMBER(*,0)"), ("NUMBER", vec!["*", "0"]));
        assert_eq!(named("BINARY_FLOAT"), ("BINARY_FLOAT", vec![]));
        assert_eq!(named("TIMESTAMP(3) WITH LOCAL TIME ZONE"), ("TIMESTAMP", vec!["3"]));
        assert_eq!(named("INTERVAL DAY(9) TO SECOND(6)"), ("INTERVAL", vec!["6"]));
    }

    #[test]
    fn transactions_are_numbers() {
        assert_eq!(transaction("0a001b00c1040000"), Some(0x0a00_1b00_c104_0000));
        assert_eq!(transaction("10.27.1217"), Some(10 << 48 | 27 << 32 | 1217));
        assert_eq!(transaction("0x000a.01b.000004c1"), transaction("10.27.1217"));
        for bad in ["", "12", "571:53195832", "0a001b00c104000", "0a001b00c104000g", "70000.1.1", "1.2", "1.2.3.4"] {
            assert_eq!(transaction(bad), None, "{bad}");
        }
    }
}
