//! PostgreSQL's types by the names that `format_type` prints, which a load stores with the table.
//!
//! What a load holds as PostgreSQL prints it must be made of what Debezium sends, digit by digit, or is
//! refused: `time with time zone` arrives without its zone, `bit varying` without its leading zeros.

use arrow_schema::{DataType, TimeUnit};
use connector_api::instant;

use super::{Bounds, Dialect, PositionFields, Special, temporal};
use crate::how::{self, DECIMAL, GEOGRAPHY, GEOMETRY, How, POINT, VARIABLE};
use crate::modes::{Binary, Decimals, Hstore, Intervals, Modes, Times};
use crate::shape::{Kind, Shape};

type Wrong = &'static str;

pub(super) const DIALECT: Dialect = Dialect {
    connector: "postgresql",
    since: None,
    shape,
    special,
    null_hides,
    transaction,
    widened,
    position: PositionFields {
        own: "lsn",
        transaction: "txId",
        sequence: Some("sequence"),
        commit: None,
        within: None,
        thread: None,
    },
    // From 4714-11-24 BC on. What Debezium 3.6 makes of infinities was seen: those of the JDBC driver, in
    // nanoseconds the ends of the range.
    dates: Bounds { first: -2_440_588, last: 2_145_042_905, infinite: &[-2_147_472_692, -2_147_472_691] },
    timestamps: Bounds {
        first: -210_866_803_200_000_000,
        last: i64::MAX - 1,
        infinite: &[9_223_372_036_825_200_000, -9_223_372_036_832_400_000, i64::MAX, i64::MIN],
    },
    cuts_times: false,
    trims_numbers: false,
    placeholder_is_no_value: false,
};

/// A type's name without schema and modifier, its modifier, and how many `[]` follow.
#[derive(Debug, PartialEq)]
struct Named<'a> {
    base: &'a str,
    modifier: Option<&'a str>,
    dimensions: usize,
    /// `without time zone`, `with time zone`.
    suffix: &'a str,
}

fn named(source_type: &str) -> Named<'_> {
    let mut rest = source_type;
    let mut dimensions = 0;
    while let Some(element) = rest.strip_suffix("[]") {
        (rest, dimensions) = (element, dimensions + 1);
    }
    // A quoted name may hold anything; it is then none of those below.
    let (head, modifier, suffix) = match rest.split_once('(') {
        Some((head, more)) if !rest.starts_with('"') => match more.split_once(')') {
            Some((modifier, suffix)) => (head, Some(modifier), suffix.trim_start()),
            None => (rest, None, ""),
        },
        _ => {
            let zone = ["with time zone", "without time zone"].into_iter().find(|s| rest.ends_with(s));
            match zone {
                Some(zone) => (rest[..rest.len() - zone.len()].trim_end(), None, zone),
                None => (rest, None, ""),
            }
        }
    };
    let base = head.rsplit_once('.').map_or(head, |(_, name)| name);
    let base = if base.starts_with("interval") { "interval" } else { base };
    Named { base, modifier, dimensions, suffix }
}

/// Seen of Debezium 3.6.1 for base 64; for the others by what it has placeholders for.
fn null_hides(source_type: &str, target: &DataType, how: &How) -> bool {
    /// Bits that are never stored out of line.
    const INLINE: u32 = 128;
    match how {
        How::Geometry | How::Coded(Binary::Base64 | Binary::Base64UrlSafe) => true,
        How::Decimal(_) => *target == DataType::Utf8,
        How::Bits(length) => *length > INLINE,
        How::List(element) => !matches!(
            (named(source_type).base, &**element),
            ("text" | "character varying" | "character" | "json" | "jsonb", How::Text)
                | ("integer" | "bigint", How::Int)
                | ("date", How::Days)
                | ("bytea", How::Bytes)
                | ("uuid", How::Uuid)
        ),
        _ => false,
    }
}

/// `571:53195832`: the number that events bear, and a place in the log.
fn transaction(id: &str) -> Option<u64> {
    id.split_once(':')?.0.parse().ok()
}

fn widened(data_type: &DataType) -> String {
    match data_type {
        DataType::Int64 => "bigint".to_owned(),
        DataType::Float64 => "double precision".to_owned(),
        DataType::Decimal128(digits, scale) => format!("numeric({digits},{scale})"),
        other => other.to_string(),
    }
}

/// Digits of a second: 6 where nothing else is declared.
fn digits(modifier: Option<&str>) -> u32 {
    modifier.and_then(|m| m.trim().parse().ok()).unwrap_or(6)
}

/// Types that Debezium sends as their text.
const TEXTS: &[&str] = &[
    "text",
    "character varying",
    "character",
    "bpchar",
    "\"char\"",
    "name",
    "citext",
    "ltree",
    "isbn",
    "inet",
    "cidr",
    "macaddr",
    "macaddr8",
    "int4range",
    "int8range",
    "numrange",
    "tsrange",
    "daterange",
];

/// Types that PostgreSQL has and Debezium does not know.
const UNKNOWN: &[&str] = &[
    "int4multirange",
    "int8multirange",
    "nummultirange",
    "tsmultirange",
    "tstzmultirange",
    "datemultirange",
    "tsquery",
    "pg_lsn",
    "xid",
    "xid8",
    "cid",
    "tid",
    "txid_snapshot",
    "pg_snapshot",
    "jsonpath",
    "regclass",
    "regproc",
    "regprocedure",
    "regoper",
    "regoperator",
    "regtype",
    "regrole",
    "regnamespace",
    "regconfig",
    "regdictionary",
    "regcollation",
    "refcursor",
    "aclitem",
    "gtsvector",
    "oidvector",
    "int2vector",
];

/// Types whose text Debezium writes in its own way, or as a struct.
const REWRITTEN: &[&str] = &["line", "lseg", "box", "path", "polygon", "circle", "vector", "halfvec", "sparsevec"];

const UNTOLD: Wrong = "whether this is the value's text or its bytes in another form is not told: declare Debezium's \
                       include.unknown.datatypes and binary.handling.mode";

/// It takes a name for a text, and does not read it unless it is told to read what it does not know.
const NAMES: Wrong = "Debezium sends nothing in place of a name (NULL, or an empty text where the column is NOT NULL) unless \
                      include.unknown.datatypes=true: set that there and here, or leave the column out";

fn special(source_type: &str, target: &DataType, shape: &Shape, modes: &Modes) -> Special {
    const MILLIS: Wrong = "the events carry milliseconds, the column microseconds: use time.precision.mode=adaptive";
    let name = named(source_type);
    let text = *target == DataType::Utf8;
    Some(match (name.base, name.suffix, &shape.kind) {
        _ if name.dimensions > 0 && !matches!(target, DataType::List(_)) => {
            Err("an array that the table holds as text: load it as a list (array.handling.mode)")
        }
        _ if name.dimensions > 0 => return None,
        ("time", "with time zone", _) if text => {
            Err("Debezium sends a time with time zone in UTC, without its own zone: leave the column out")
        }
        ("money", ..) if text => {
            Err("Debezium sends money without the currency that the column's text has: leave the column out")
        }
        ("bit", _, Kind::Bool) if text => Ok(How::Digit),
        ("bit", _, Kind::Bytes) if text => match name.modifier.and_then(|m| m.parse().ok()) {
            Some(length) => Ok(How::Bits(length)),
            None => Err("bits without a length"),
        },
        ("bit varying", ..) if text => {
            Err("Debezium sends bit varying without its leading zeros: leave the column out")
        }
        ("interval", _, Kind::Int(_)) => {
            Err("interval.handling.mode=numeric counts months as days: use interval.handling.mode=string")
        }
        ("interval", _, Kind::Text) if text => Ok(How::Interval),
        ("numeric", _, Kind::Float64) if text => {
            Err("decimal.handling.mode=double loses digits of this column: use string")
        }
        ("numeric", _, Kind::Text) => Ok(How::DecimalText),
        ("name", _, Kind::Text) if text && modes.unknown_types != Some(true) => Err(NAMES),
        ("tstzrange", _, Kind::Text) if text => Ok(How::InstantRange),
        ("hstore", _, Kind::Text) if text => Ok(How::HstoreJson),
        (base, ..) if text && REWRITTEN.contains(&base) => {
            Err("the column holds PostgreSQL's text, which these events do not carry: leave the column out")
        }
        ("time" | "timestamp", "" | "without time zone", Kind::Int(_))
            if shape.name.ends_with(".Time") || shape.name.ends_with(".Timestamp") =>
        {
            match digits(name.modifier) {
                0..=3 => return None,
                _ => Err(MILLIS),
            }
        }
        (base, _, Kind::Text)
            if text && shape.name.is_empty() && !TEXTS.contains(&base) && how::carried(source_type).is_none() =>
        {
            // An enum or a domain; or, as base 64 or so, what Debezium does not know.
            match (modes.unknown_types, modes.binary) {
                (Some(false), _) | (_, Some(Binary::Bytes)) => Ok(How::Text),
                _ => Err(UNTOLD),
            }
        }
        // A domain's own digits are not known here; Kafka Connect's types cut them off.
        _ if shape.name.starts_with("org.apache.kafka.connect.data.Time") && shape.name != source_type => Err(MILLIS),
        _ => return None,
    })
}

fn shape(source_type: &str, target: &DataType, modes: &Modes) -> Result<Shape, Wrong> {
    const DECIMALS: Wrong = "without a schema in the message, declare Debezium's decimal.handling.mode";
    const BINARY: Wrong = "without a schema in the message, declare Debezium's binary.handling.mode";
    const INTERVALS: Wrong = "without a schema in the message, declare Debezium's interval.handling.mode";
    const HSTORE: Wrong = "without a schema in the message, declare Debezium's hstore.handling.mode";
    let name = named(source_type);
    if name.dimensions > 0 {
        let element = source_type.strip_suffix("[]").unwrap_or(source_type);
        let target = match target {
            DataType::List(element) => element.data_type(),
            other => other,
        };
        let known = *target != DataType::Utf8
            || TEXTS.contains(&name.base)
            || ["numeric", "json", "jsonb", "xml", "hstore", "tstzrange"].contains(&name.base);
        if !known {
            return Err(ARRAY);
        }
        return Ok(Shape::new(Kind::List(Box::new(shape(element, target, modes)?)), ""));
    }
    let plain = |kind| Ok(Shape::new(kind, ""));
    let unknown = |binary: Binary| if binary == Binary::Bytes { plain(Kind::Bytes) } else { Err(UNTOLD) };
    match (name.base, name.suffix) {
        (base, _) if TEXTS.contains(&base) || base == "tstzrange" => plain(Kind::Text),
        (base, _) if UNKNOWN.contains(&base) => unknown(modes.binary.ok_or(BINARY)?),
        (base, _) if REWRITTEN.contains(&base) => plain(Kind::Struct([].into())),
        ("xml", _) => Ok(Shape::new(Kind::Text, "io.debezium.data.Xml")),
        ("tsvector", _) => Ok(Shape::new(Kind::Text, "io.debezium.data.Tsvector")),
        ("boolean", _) => plain(Kind::Bool),
        ("smallint", _) => plain(Kind::Int(16)),
        ("integer", _) => plain(Kind::Int(32)),
        ("bigint" | "oid", _) => plain(Kind::Int(64)),
        ("real", _) => plain(Kind::Float32),
        ("double precision", _) => plain(Kind::Float64),
        ("numeric" | "money", _) => match modes.decimals.ok_or(DECIMALS)? {
            Decimals::Double => plain(Kind::Float64),
            Decimals::String => plain(Kind::Text),
            Decimals::Precise => match name.modifier {
                None => Ok(Shape::new(Kind::Struct([].into()), VARIABLE)),
                Some(modifier) => {
                    let scale = modifier.split_once(',').map_or("0", |(_, scale)| scale);
                    let mut shape = Shape::new(Kind::Bytes, DECIMAL);
                    shape.scale = Some(scale.trim().parse().map_err(|_| "a numeric of an unknown scale")?);
                    Ok(shape)
                }
            },
        },
        ("bytea", _) => match modes.binary.ok_or(BINARY)? {
            Binary::Bytes => plain(Kind::Bytes),
            _ => plain(Kind::Text),
        },
        ("json" | "jsonb", _) => Ok(Shape::new(Kind::Text, "io.debezium.data.Json")),
        ("uuid", _) => Ok(Shape::new(Kind::Text, "io.debezium.data.Uuid")),
        ("date", _) => temporal("Date", 6, modes),
        ("time", "with time zone") => Ok(Shape::new(Kind::Text, "io.debezium.time.ZonedTime")),
        ("timestamp", "with time zone") => Ok(Shape::new(Kind::Text, "io.debezium.time.ZonedTimestamp")),
        ("time", _) => temporal("Time", digits(name.modifier), modes),
        ("timestamp", _) => temporal("Timestamp", digits(name.modifier), modes),
        ("interval", _) => Ok(match modes.intervals.ok_or(INTERVALS)? {
            Intervals::Numeric => Shape::new(Kind::Int(64), "io.debezium.time.MicroDuration"),
            Intervals::String => Shape::new(Kind::Text, "io.debezium.time.Interval"),
        }),
        ("bit", _) if matches!(name.modifier, None | Some("1")) => plain(Kind::Bool),
        ("bit" | "bit varying", _) => Ok(Shape::new(Kind::Bytes, "io.debezium.data.Bits")),
        ("point", _) => Ok(Shape::new(Kind::Struct([].into()), POINT)),
        ("geometry", _) => Ok(Shape::new(Kind::Struct([].into()), GEOMETRY)),
        ("geography", _) => Ok(Shape::new(Kind::Struct([].into()), GEOGRAPHY)),
        ("hstore", _) => Ok(match modes.hstore.ok_or(HSTORE)? {
            Hstore::Json => Shape::new(Kind::Text, "io.debezium.data.Json"),
            Hstore::Map => Shape::new(Kind::Map, ""),
        }),
        _ => of_column(target, modes, DECIMALS, BINARY),
    }
}

const ARRAY: Wrong =
    "an array of which Debezium sends NULL when it holds one (enums), or nothing: leave the column out";

/// A type that is not listed: an enum, an extension's, a domain. Only where its column leaves one way.
fn of_column(target: &DataType, modes: &Modes, decimals: Wrong, binary: Wrong) -> Result<Shape, Wrong> {
    let plain = |kind| Ok(Shape::new(kind, ""));
    match target {
        DataType::Utf8 if modes.unknown_types == Some(false) => plain(Kind::Text),
        DataType::Utf8 => {
            Err("without a schema in the message, declare Debezium's include.unknown.datatypes=false: an \
                               enum is told from a composite only then")
        }
        DataType::Boolean => plain(Kind::Bool),
        DataType::Int32 => plain(Kind::Int(32)),
        DataType::Int64 => plain(Kind::Int(64)),
        DataType::Float32 => plain(Kind::Float32),
        DataType::Float64 => plain(Kind::Float64),
        DataType::FixedSizeBinary(16) => Ok(Shape::new(Kind::Text, "io.debezium.data.Uuid")),
        DataType::Date32 => temporal("Date", 6, modes),
        t if *t == instant() => Ok(Shape::new(Kind::Text, "io.debezium.time.ZonedTimestamp")),
        DataType::Binary => match modes.binary.ok_or(binary)? {
            Binary::Bytes => plain(Kind::Bytes),
            _ => plain(Kind::Text),
        },
        DataType::Decimal128(_, scale) => match modes.decimals.ok_or(decimals)? {
            Decimals::Double => plain(Kind::Float64),
            Decimals::String => plain(Kind::Text),
            Decimals::Precise => {
                let mut shape = Shape::new(Kind::Bytes, DECIMAL);
                shape.scale = Some((*scale).into());
                Ok(shape)
            }
        },
        DataType::Timestamp(TimeUnit::Microsecond, None) | DataType::Time64(_)
            if matches!(modes.times, Some(Times::Adaptive | Times::AdaptiveTimeMicroseconds | Times::Connect)) =>
        {
            Err("whether a domain's values are milliseconds or microseconds is not known: send schemas, or use \
                 time.precision.mode=microseconds")
        }
        DataType::Timestamp(TimeUnit::Microsecond, None) => temporal("Timestamp", 6, modes),
        DataType::Time64(_) => temporal("Time", 6, modes),
        _ => Err("a type of which it is not known how Debezium sends it: send schemas"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart() {
        let check = |t| {
            let n = named(t);
            (n.base, n.modifier, n.dimensions, n.suffix)
        };
        assert_eq!(check("timestamp(3) without time zone"), ("timestamp", Some("3"), 0, "without time zone"));
        assert_eq!(check("time with time zone[]"), ("time", None, 1, "with time zone"));
        assert_eq!(check("numeric(12,2)[]"), ("numeric", Some("12,2"), 1, ""));
        assert_eq!(check("public.geometry(Point,4326)"), ("geometry", Some("Point,4326"), 0, ""));
        assert_eq!(check("interval day to second(3)"), ("interval", Some("3"), 0, ""));
        assert_eq!(check("character varying(20)"), ("character varying", Some("20"), 0, ""));
        assert_eq!(check("\"My(s\".\"a.b\"").1, None);
    }
}
