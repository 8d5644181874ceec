//! How a field's values become a column's: decided once per schema, not per value. Pure.
//!
//! A way exists only where it is exact: the same value that a load puts there. Where a mode of Debezium's
//! loses what the column holds, the column is refused by name with the setting that keeps it.

use arrow_schema::{DataType, TimeUnit};
use connector_api::{Column, instant};

use crate::dialect::Dialect;
use crate::fault::Fault;
use crate::modes::{Binary, Modes};
use crate::shape::{Kind, Shape};

/// How many of a unit make what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Millis,
    Micros,
    Nanos,
}

/// How values become cells. The column's own type says what is made of them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum How {
    Bool,
    /// A boolean as the digit 1 or 0.
    Digit,
    Int,
    Float,
    /// Bytes of that scale.
    Decimal(i32),
    DecimalText,
    /// A struct of bytes and a scale.
    DecimalStruct,
    Days,
    Time(Unit),
    Timestamp(Unit),
    IsoDate,
    IsoTime,
    /// With an offset or without.
    IsoTimestamp {
        zoned: bool,
    },
    Text,
    Uuid,
    Bytes,
    /// Text that stands for bytes.
    Coded(Binary),
    /// Bytes that are text: what Debezium makes of types it does not know.
    BytesAsText,
    /// Bytes as so many digits.
    Bits(u32),
    Interval,
    /// An interval in ISO 8601 to the same without parts that are zero.
    IsoInterval {
        of_months: bool,
    },
    /// A map to `hstore`'s text.
    Hstore,
    /// A JSON object in a text to the same.
    HstoreJson,
    /// Text of a range of instants: the same, as long as it is in UTC.
    InstantRange,
    Point,
    Geometry,
    List(Box<How>),
}

impl How {
    /// Whether it reads a struct or a map.
    pub(crate) fn is_composite(&self) -> bool {
        matches!(self, Self::DecimalStruct | Self::Hstore | Self::Point | Self::Geometry)
    }

    /// Whether an unavailable value would come as text or bytes that cannot be anything else's.
    pub(crate) fn is_textual(&self) -> bool {
        matches!(
            self,
            Self::Text
                | Self::DecimalText
                | Self::Bytes
                | Self::Coded(_)
                | Self::BytesAsText
                | Self::HstoreJson
                | Self::InstantRange
        )
    }
}

/// How a field becomes that column.
pub(crate) fn choose(column: &Column, shape: &Shape, modes: &Modes, dialect: &Dialect) -> Result<How, Fault> {
    way(column.data_type(), &column.source_type, shape, modes, dialect).map_err(|what| {
        let fault = Fault::of(what).in_column(column.name());
        fault.with("type", format!("{} sent as {}", column.source_type, written(shape)))
    })
}

fn way(
    target: &DataType,
    source_type: &str,
    shape: &Shape,
    modes: &Modes,
    dialect: &Dialect,
) -> Result<How, &'static str> {
    const NO_WAY: &str = "the event's type does not fit the column";
    if let Some(special) = (dialect.special)(source_type, target, shape, modes) {
        return special;
    }
    if let (DataType::List(element), Kind::List(item)) = (target, &shape.kind) {
        // Seen of Debezium 3.6: such an array that holds a NULL becomes NULL as a whole.
        if item.name == "io.debezium.data.Enum" {
            return Err("Debezium sends NULL for an array of enums that holds a NULL: leave the column out");
        }
        let element_type = source_type.strip_suffix("[]").unwrap_or(source_type);
        if matches!(element.data_type(), DataType::List(_)) {
            return Err("an array of several dimensions: Debezium sends none");
        }
        return Ok(How::List(Box::new(way(element.data_type(), element_type, item, modes, dialect)?)));
    }
    let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
    Ok(match (shape.name.as_str(), &shape.kind, target) {
        (DECIMAL, Kind::Bytes, DataType::Decimal128(..) | DataType::Utf8 | DataType::Float64) => {
            How::Decimal(shape.scale.ok_or("a decimal without a scale")?)
        }
        (VARIABLE, Kind::Struct(_), DataType::Utf8) if source_type != VARIABLE => {
            return Err("decimal.handling.mode=precise drops trailing zeros of a numeric without a precision, which \
                        the column holds as text: use decimal.handling.mode=string, or load it as a decimal \
                        (number.unconstrained)");
        }
        (VARIABLE, Kind::Struct(_), DataType::Decimal128(..) | DataType::Utf8 | DataType::Float64) => {
            How::DecimalStruct
        }
        ("io.debezium.time.Date" | "org.apache.kafka.connect.data.Date", Kind::Int(_), DataType::Date32) => How::Days,
        ("io.debezium.time.IsoDate", Kind::Text, DataType::Date32) => How::IsoDate,
        ("io.debezium.time.IsoTime", Kind::Text, DataType::Time64(_)) => How::IsoTime,
        ("io.debezium.time.IsoTimestamp", Kind::Text, t) if *t == micros => How::IsoTimestamp { zoned: false },
        ("io.debezium.time.ZonedTimestamp", Kind::Text, t) if *t == instant() => How::IsoTimestamp { zoned: true },
        (name, Kind::Int(_), DataType::Time64(_)) => How::Time(match name {
            "io.debezium.time.Time" | "org.apache.kafka.connect.data.Time" => Unit::Millis,
            "io.debezium.time.MicroTime" => Unit::Micros,
            "io.debezium.time.NanoTime" => Unit::Nanos,
            _ => return Err(NO_WAY),
        }),
        (name, Kind::Int(_), t) if *t == micros => How::Timestamp(match name {
            "io.debezium.time.Timestamp" | "org.apache.kafka.connect.data.Timestamp" => Unit::Millis,
            "io.debezium.time.MicroTimestamp" => Unit::Micros,
            "io.debezium.time.NanoTimestamp" => Unit::Nanos,
            _ => return Err(NO_WAY),
        }),
        ("io.debezium.data.Uuid", Kind::Text, DataType::FixedSizeBinary(16)) => How::Uuid,
        (POINT, Kind::Struct(_), DataType::Utf8) => How::Point,
        (GEOMETRY | GEOGRAPHY, Kind::Struct(_), DataType::Binary) => How::Geometry,
        ("io.debezium.time.Interval", Kind::Text, DataType::Utf8) => How::Interval,
        (
            ""
            | "io.debezium.data.Json"
            | "io.debezium.data.Xml"
            | "io.debezium.data.Enum"
            | "io.debezium.data.EnumSet"
            | "io.debezium.data.Ltree"
            | "io.debezium.data.Tsvector"
            | "io.debezium.data.Uuid"
            | "io.debezium.time.ZonedTime",
            Kind::Text,
            DataType::Utf8,
        ) => How::Text,
        ("", Kind::Bool, DataType::Boolean) => How::Bool,
        ("", Kind::Int(8 | 16 | 32), DataType::Int32 | DataType::Int64) | ("", Kind::Int(64), DataType::Int64) => {
            How::Int
        }
        ("", Kind::Float32, DataType::Float32 | DataType::Float64) | ("", Kind::Float64, DataType::Float64) => {
            How::Float
        }
        ("", Kind::Float64, DataType::Decimal128(..)) => {
            return Err("decimal.handling.mode=double loses digits of this column: use precise or string");
        }
        ("", Kind::Text, DataType::Decimal128(..)) => How::DecimalText,
        ("", Kind::Text, DataType::Binary) => match modes.binary {
            Some(mode @ (Binary::Base64 | Binary::Base64UrlSafe | Binary::Hex)) => How::Coded(mode),
            _ => return Err("text for bytes: declare Debezium's binary.handling.mode"),
        },
        ("", Kind::Bytes, DataType::Binary) => How::Bytes,
        ("", Kind::Bytes, DataType::Utf8) => How::BytesAsText,
        ("", Kind::Map, DataType::Utf8) => How::Hstore,
        _ => return Err(NO_WAY),
    })
}

/// The column that is made of a field where there is none yet. Its source type is the field's own type, from
/// which [`carried`] makes that field again.
pub(crate) fn column(name: &str, shape: &Shape) -> Result<Column, Fault> {
    let refuse = |what| Err(Fault::of(what).in_column(name).with("type", written(shape)));
    let source_type = written(shape);
    let data_type = match (shape.name.as_str(), &shape.kind) {
        ("io.debezium.data.Uuid", Kind::Text) => return Ok(Column::uuid(name, shape.optional, source_type)),
        (_, Kind::List(item)) => {
            let element = column(name, item)?;
            let mut list = element.into_list();
            (list.nullable, list.source_type) = (shape.optional, source_type);
            return Ok(list);
        }
        (DECIMAL, Kind::Bytes) => {
            let Some(scale) = shape.scale else { return refuse("a decimal without a scale") };
            let digits = shape.precision.map_or(38, |p| if scale < 0 { p + scale.unsigned_abs() } else { p });
            match (u8::try_from(digits.max(scale.max(0).unsigned_abs())), i8::try_from(scale.max(0))) {
                (Ok(digits @ 1..=38), Ok(scale)) => DataType::Decimal128(digits, scale),
                _ => DataType::Utf8,
            }
        }
        (VARIABLE | POINT, Kind::Struct(_)) => DataType::Utf8,
        (GEOMETRY | GEOGRAPHY, Kind::Struct(_)) => DataType::Binary,
        ("io.debezium.time.Date" | "org.apache.kafka.connect.data.Date", Kind::Int(_))
        | ("io.debezium.time.IsoDate", Kind::Text) => DataType::Date32,
        (
            "io.debezium.time.Time"
            | "io.debezium.time.MicroTime"
            | "io.debezium.time.NanoTime"
            | "org.apache.kafka.connect.data.Time",
            Kind::Int(_),
        )
        | ("io.debezium.time.IsoTime", Kind::Text) => DataType::Time64(TimeUnit::Microsecond),
        (
            "io.debezium.time.Timestamp"
            | "io.debezium.time.MicroTimestamp"
            | "io.debezium.time.NanoTimestamp"
            | "org.apache.kafka.connect.data.Timestamp",
            Kind::Int(_),
        )
        | ("io.debezium.time.IsoTimestamp", Kind::Text) => DataType::Timestamp(TimeUnit::Microsecond, None),
        ("io.debezium.time.ZonedTimestamp", Kind::Text) => instant(),
        ("io.debezium.time.MicroDuration" | "io.debezium.time.NanoDuration", _) => {
            return refuse("interval.handling.mode=numeric is not exact: use string");
        }
        ("io.debezium.data.Bits", _) => {
            return refuse("bits of a table that was not loaded: whether leading zeros count is not told");
        }
        ("", Kind::Bool) => DataType::Boolean,
        ("", Kind::Int(8 | 16 | 32)) => DataType::Int32,
        ("", Kind::Int(_)) => DataType::Int64,
        ("", Kind::Float32) => DataType::Float32,
        ("", Kind::Float64) => DataType::Float64,
        ("", Kind::Bytes) => DataType::Binary,
        ("", Kind::Map) | (_, Kind::Text) => DataType::Utf8,
        _ => return refuse("a type that no column is made of"),
    };
    Ok(Column::new(name, data_type, shape.optional, source_type))
}

/// The field that a column made by [`column`] was made of; `None` for any other source type.
pub(crate) fn carried(source_type: &str) -> Option<Shape> {
    if let Some(items) = source_type.strip_suffix("[]") {
        return Some(Shape::new(Kind::List(Box::new(carried(items)?)), ""));
    }
    let (name, parameters) = match source_type.split_once('(') {
        Some((name, rest)) => (name, rest.strip_suffix(')')?),
        None => (source_type, ""),
    };
    let kind = match name {
        "int8" => Kind::Int(8),
        "int16" => Kind::Int(16),
        "int32" => Kind::Int(32),
        "int64" => Kind::Int(64),
        "float32" => Kind::Float32,
        "float64" => Kind::Float64,
        "connect.boolean" => Kind::Bool,
        "string" => Kind::Text,
        "bytes" => Kind::Bytes,
        "map" => Kind::Map,
        DECIMAL => {
            let mut shape = Shape::new(Kind::Bytes, DECIMAL);
            let (precision, scale) = parameters.split_once(',')?;
            (shape.precision, shape.scale) = (precision.parse().ok(), Some(scale.parse().ok()?));
            return Some(shape);
        }
        VARIABLE | POINT | GEOMETRY | GEOGRAPHY => Kind::Struct([].into()),
        "io.debezium.time.Date"
        | "io.debezium.time.Time"
        | "org.apache.kafka.connect.data.Date"
        | "org.apache.kafka.connect.data.Time" => Kind::Int(32),
        name if name.starts_with("io.debezium.time.Iso") || name.starts_with("io.debezium.time.Zoned") => Kind::Text,
        "io.debezium.time.Interval" => Kind::Text,
        name if name.starts_with("io.debezium.time.") || name.starts_with("org.apache.kafka.connect.data.") => {
            Kind::Int(64)
        }
        name if name.starts_with("io.debezium.data.") => Kind::Text,
        _ => return None,
    };
    let name = if name.contains('.') && kind != Kind::Bool { name } else { "" };
    Some(Shape::new(kind, name))
}

/// A field's type in a few words; [`carried`] reads it.
pub(crate) fn written(shape: &Shape) -> String {
    let kind = match &shape.kind {
        Kind::List(item) => return format!("{}[]", written(item)),
        _ if shape.name == DECIMAL => {
            let precision = shape.precision.map(|p| p.to_string()).unwrap_or_default();
            return format!("{DECIMAL}({precision},{})", shape.scale.unwrap_or_default());
        }
        _ if !shape.name.is_empty() => return shape.name.clone(),
        Kind::Bool => "connect.boolean",
        Kind::Int(8) => "int8",
        Kind::Int(16) => "int16",
        Kind::Int(32) => "int32",
        Kind::Int(_) => "int64",
        Kind::Float32 => "float32",
        Kind::Float64 => "float64",
        Kind::Text => "string",
        Kind::Bytes => "bytes",
        Kind::Map => "map",
        Kind::Struct(_) => "struct",
    };
    kind.to_owned()
}

pub(crate) const DECIMAL: &str = "org.apache.kafka.connect.data.Decimal";
pub(crate) const VARIABLE: &str = "io.debezium.data.VariableScaleDecimal";
pub(crate) const POINT: &str = "io.debezium.data.geometry.Point";
pub(crate) const GEOMETRY: &str = "io.debezium.data.geometry.Geometry";
pub(crate) const GEOGRAPHY: &str = "io.debezium.data.geometry.Geography";
