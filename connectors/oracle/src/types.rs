//! Oracle's types → how a column is asked for and read, and its Arrow type. Pure.
//!
//! A type is loaded without loss, or by what the operator chose, or its column is refused by name. The names are those
//! of ALL_TAB_COLUMNS.DATA_TYPE.

use std::sync::Arc;

use arrow_schema::{DataType, Field, TimeUnit};
use connector_api::{Column, Decimals, TableId, UTC, Unconstrained, instant};

use crate::session::{Kind, Wanted};

/// How a column's values are read, and so its Arrow type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    Int,
    Long,
    Decimal {
        precision: u8,
        scale: u8,
    },
    NumberText,
    NumberDouble,
    Float,
    Double,
    Text,
    Bytes,
    Bool,
    /// A civil timestamp of microseconds; digits below them are cut off.
    Timestamp,
    /// An instant, which comes as UTC.
    Instant,
    /// The same two in nanoseconds.
    TimestampNanos,
    InstantNanos,
    YearMonth,
    DaySecond,
    /// A list of floats.
    Vector,
    /// Text of any length.
    Clob,
    /// Bytes of any length.
    Blob,
}

impl Wire {
    /// As what a session hands its values over.
    pub(crate) fn wanted(self) -> Wanted {
        match self {
            Self::Int | Self::Long | Self::Decimal { .. } | Self::NumberText | Self::NumberDouble => Wanted::Number,
            Self::Float => Wanted::Cell(Kind::Float),
            Self::Double => Wanted::Cell(Kind::Double),
            Self::Text | Self::Clob => Wanted::Text,
            Self::Bytes | Self::Blob => Wanted::Cell(Kind::Bytes),
            Self::Bool => Wanted::Cell(Kind::Bool),
            Self::Timestamp | Self::Instant | Self::TimestampNanos | Self::InstantNanos => Wanted::Stamp,
            Self::YearMonth => Wanted::Cell(Kind::YearMonth),
            Self::DaySecond => Wanted::Cell(Kind::DaySecond),
            Self::Vector => Wanted::Cell(Kind::Vector),
        }
    }

    /// Whether it is a large object.
    pub(crate) fn is_lob(self) -> bool {
        matches!(self, Self::Clob | Self::Blob)
    }
}

/// What stands in the query for a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// The column.
    Plain,
    /// Its XML as text.
    Xml,
    /// Its JSON as text.
    Json,
    /// The text of a ROWID.
    Rowid,
}

impl Asked {
    /// The SQL, given the quoted column.
    pub(crate) fn sql(self, column: &str) -> String {
        match self {
            Self::Plain => column.to_owned(),
            Self::Xml => format!("XMLSERIALIZE(CONTENT {column} AS CLOB)"),
            Self::Json => format!("JSON_SERIALIZE({column} RETURNING CLOB)"),
            Self::Rowid => format!("ROWIDTOCHAR({column})"),
        }
    }
}

/// How a column is asked for and read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    pub(crate) wire: Wire,
    pub(crate) asked: Asked,
    /// What of the values is not loaded, for the column's comment.
    pub(crate) cuts: Option<&'static str>,
    /// Most bytes of a value outside LOBs, for the memory of a round trip.
    pub(crate) width: u32,
}

impl Form {
    fn plain(wire: Wire, width: u32) -> Self {
        Self { wire, asked: Asked::Plain, cuts: None, width }
    }

    /// The column of that form.
    pub(crate) fn column(&self, name: &str, nullable: bool, source_type: &str, comment: Option<&str>) -> Column {
        let data_type = match self.wire {
            Wire::Int => DataType::Int32,
            Wire::Long => DataType::Int64,
            Wire::Decimal { precision, scale } => DataType::Decimal128(precision, scale as i8),
            Wire::Float => DataType::Float32,
            Wire::Double | Wire::NumberDouble => DataType::Float64,
            Wire::NumberText | Wire::Text | Wire::YearMonth | Wire::DaySecond | Wire::Clob => DataType::Utf8,
            Wire::Bytes | Wire::Blob => DataType::Binary,
            Wire::Bool => DataType::Boolean,
            Wire::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Wire::Instant => instant(),
            Wire::TimestampNanos => DataType::Timestamp(TimeUnit::Nanosecond, None),
            Wire::InstantNanos => DataType::Timestamp(TimeUnit::Nanosecond, Some(UTC.into())),
            Wire::Vector => DataType::List(Arc::new(Field::new("element", DataType::Float32, true))),
        };
        let doc = match (comment, self.cuts) {
            (Some(comment), Some(cuts)) => Some(format!("{comment} ({cuts})")),
            (comment, cuts) => comment.or(cuts).map(str::to_owned),
        };
        Column::new(name, data_type, nullable, source_type).with_doc(doc)
    }
}

/// What becomes of LONG and LONG RAW columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Long {
    /// The table is loaded without them.
    #[default]
    Exclude,
    /// A table that has one is not selected.
    SkipTable,
    /// A table that has one is refused.
    Error,
}

/// What the operator chose where there is a choice.
#[derive(Clone, Debug, Default)]
pub(crate) struct Handling {
    pub(crate) decimals: Decimals,
    /// Of NUMBER without precision and scale, when decimals are precise.
    pub(crate) unconstrained: Unconstrained,
    /// The same for single columns, `SCHEMA.TABLE.COLUMN` in upper case.
    pub(crate) columns: Vec<(String, Unconstrained)>,
    pub(crate) long: Long,
    /// Whether LOB columns are left out.
    pub(crate) without_lobs: bool,
    /// Whether digits below microseconds are kept where a type has them.
    pub(crate) nanos: bool,
}

/// A column as the dictionary has it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attribute {
    pub(crate) name: String,
    /// DATA_TYPE, with DATA_TYPE_OWNER for a type of a user's.
    pub(crate) data_type: String,
    pub(crate) type_owner: Option<String>,
    pub(crate) length: u32,
    pub(crate) precision: Option<i16>,
    pub(crate) scale: Option<i16>,
    pub(crate) nullable: bool,
    /// Length in characters, and whether it was declared so.
    pub(crate) chars: u32,
    pub(crate) in_chars: bool,
}

impl Attribute {
    /// Its type as a CREATE TABLE would write it.
    pub(crate) fn declared(&self) -> String {
        let name = self.data_type.as_str();
        match (name, self.precision, self.scale) {
            ("NUMBER", None, None) => "NUMBER".into(),
            ("NUMBER", None, Some(scale)) => format!("NUMBER(*,{scale})"),
            ("NUMBER", Some(precision), Some(0) | None) => format!("NUMBER({precision})"),
            ("NUMBER", Some(precision), Some(scale)) => format!("NUMBER({precision},{scale})"),
            ("FLOAT", Some(precision), _) => format!("FLOAT({precision})"),
            ("VARCHAR2" | "CHAR", ..) if self.in_chars => format!("{name}({} CHAR)", self.chars),
            ("VARCHAR2" | "CHAR" | "RAW", ..) => format!("{name}({})", self.length),
            ("NVARCHAR2" | "NCHAR", ..) => format!("{name}({})", self.chars),
            _ => match &self.type_owner {
                Some(owner) if name != "XMLTYPE" => format!("{owner}.{name}"),
                _ => name.to_owned(),
            },
        }
    }
}

/// What becomes of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Resolved {
    Read(Form),
    /// The table is loaded without it, for this reason.
    LeftOut(&'static str),
    /// The table cannot be loaded, for this reason.
    Refused(&'static str),
}

/// How to read a column of a table, or why not.
pub(crate) fn resolve(table: &TableId, attribute: &Attribute, handling: &Handling) -> Resolved {
    let name = attribute.data_type.as_str();
    if attribute.type_owner.is_some() && name != "XMLTYPE" {
        return Resolved::Refused("its type is an object, a collection or another user-defined type");
    }
    let base = name.split('(').next().unwrap_or(name);
    let has = |words: &str| name.ends_with(words);
    let form = match base {
        "NUMBER" | "FLOAT" => Form::plain(number(table, attribute, handling), 22),
        "BINARY_FLOAT" => Form::plain(Wire::Float, 4),
        "BINARY_DOUBLE" => Form::plain(Wire::Double, 8),
        "DATE" => Form::plain(Wire::Timestamp, 8),
        "TIMESTAMP" => {
            let zoned = has("WITH TIME ZONE") || has("WITH LOCAL TIME ZONE");
            let digits = name.split(['(', ')']).nth(1).and_then(|digits| digits.parse().ok()).or(attribute.scale);
            let finer = digits > Some(6);
            let wire = match (zoned, finer && handling.nanos) {
                (false, false) => Wire::Timestamp,
                (true, false) => Wire::Instant,
                (false, true) => Wire::TimestampNanos,
                (true, true) => Wire::InstantNanos,
            };
            let cuts = (finer && !handling.nanos).then_some("cut to microseconds");
            Form { cuts, ..Form::plain(wire, 13) }
        }
        "INTERVAL YEAR" => Form::plain(Wire::YearMonth, 16),
        "INTERVAL DAY" => Form::plain(Wire::DaySecond, 40),
        "CHAR" | "VARCHAR2" | "VARCHAR" | "NCHAR" | "NVARCHAR2" => Form::plain(Wire::Text, attribute.length),
        "RAW" => Form::plain(Wire::Bytes, attribute.length),
        "ROWID" => Form { asked: Asked::Rowid, ..Form::plain(Wire::Text, 18) },
        "UROWID" => Form::plain(Wire::Text, attribute.length),
        "BOOLEAN" => Form::plain(Wire::Bool, 1),
        "VECTOR" => Form::plain(Wire::Vector, 64 << 10),
        "CLOB" | "NCLOB" => Form::plain(Wire::Clob, 0),
        "BLOB" => Form::plain(Wire::Blob, 0),
        "XMLTYPE" => Form { asked: Asked::Xml, ..Form::plain(Wire::Clob, 0) },
        "JSON" => Form { asked: Asked::Json, ..Form::plain(Wire::Clob, 0) },
        "LONG" | "LONG RAW" => {
            return match handling.long {
                Long::Exclude => Resolved::LeftOut("LONG columns are excluded (long.handling)"),
                Long::SkipTable | Long::Error => Resolved::Refused("LONG columns are an error (long.handling)"),
            };
        }
        "BFILE" => return Resolved::Refused("its values are files outside the database, and of no SCN"),
        _ => return Resolved::Refused("its type is not supported"),
    };
    match form.wire.is_lob() && handling.without_lobs {
        true => Resolved::LeftOut("LOB columns are excluded (lob.handling)"),
        false => Resolved::Read(form),
    }
}

/// NUMBER and FLOAT.
fn number(table: &TableId, attribute: &Attribute, handling: &Handling) -> Wire {
    match handling.decimals {
        Decimals::Precise => {}
        Decimals::String => return Wire::NumberText,
        Decimals::Double => return Wire::NumberDouble,
    }
    let (precision, scale) = match (attribute.precision, attribute.scale) {
        // INTEGER: as many digits as fit.
        (None, Some(scale)) => (38, scale),
        (Some(precision), scale) if attribute.data_type == "NUMBER" => (precision, scale.unwrap_or(0)),
        // The precision of a FLOAT is binary.
        _ => {
            let id = format!("{table}.{}", attribute.name).to_uppercase();
            let own = handling.columns.iter().find(|(column, _)| *column == id).map(|(_, how)| *how);
            return match own.unwrap_or(handling.unconstrained) {
                Unconstrained::String => Wire::NumberText,
                Unconstrained::Double => Wire::NumberDouble,
                Unconstrained::Decimal { precision, scale } => Wire::Decimal { precision, scale },
            };
        }
    };
    if attribute.precision.is_none() && scale == 0 {
        return Wire::Decimal { precision: 38, scale: 0 };
    }
    // A negative scale rounds to tens, hundreds …: whole numbers with more digits. A scale above the precision means
    // zeros behind the point.
    let (digits, scale) = (if scale < 0 { precision - scale } else { precision.max(scale) }, scale.max(0));
    match (u8::try_from(digits), u8::try_from(scale)) {
        (Ok(1..=9), Ok(0)) => Wire::Int,
        (Ok(10..=18), Ok(0)) => Wire::Long,
        (Ok(precision @ 1..=38), Ok(scale)) => Wire::Decimal { precision, scale },
        _ => Wire::NumberText,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(data_type: &str, precision: Option<i16>, scale: Option<i16>) -> Attribute {
        Attribute {
            name: "C".into(),
            data_type: data_type.into(),
            precision,
            scale,
            length: 30,
            ..Attribute::default()
        }
    }

    fn wire(attribute: &Attribute, handling: &Handling) -> Option<Wire> {
        match resolve(&TableId::new("S", "T"), attribute, handling) {
            Resolved::Read(form) => Some(form.wire),
            _ => None,
        }
    }

    #[test]
    fn numbers() {
        let check = |p, s| wire(&attribute("NUMBER", p, s), &Handling::default()).unwrap();
        let decimal = |precision, scale| Wire::Decimal { precision, scale };
        assert_eq!([check(Some(9), Some(0)), check(Some(7), Some(-2))], [Wire::Int; 2]);
        assert_eq!([check(Some(10), Some(0)), check(Some(18), Some(0)), check(Some(8), Some(-2))], [Wire::Long; 3]);
        assert_eq!(check(Some(19), Some(0)), decimal(19, 0));
        assert_eq!(check(Some(36), Some(-2)), decimal(38, 0));
        assert_eq!(check(Some(38), Some(-1)), Wire::NumberText);
        assert_eq!(check(Some(12), Some(2)), decimal(12, 2));
        assert_eq!(check(Some(3), Some(5)), decimal(5, 5));
        assert_eq!(check(Some(3), Some(38)), decimal(38, 38));
        assert_eq!(check(Some(3), Some(39)), Wire::NumberText);
        assert_eq!(check(None, Some(0)), decimal(38, 0));
        assert_eq!(check(None, Some(10)), decimal(38, 10));
        assert_eq!(check(None, None), Wire::NumberText);
        assert_eq!(wire(&attribute("FLOAT", Some(126), None), &Handling::default()), Some(Wire::NumberText));
    }

    #[test]
    fn numbers_as_chosen() {
        let free = attribute("NUMBER", None, None);
        let exact = attribute("NUMBER", Some(9), Some(2));
        let ten = Unconstrained::Decimal { precision: 38, scale: 10 };
        let own = vec![("S.T.C".to_owned(), ten)];
        let mut handling = Handling { unconstrained: Unconstrained::Double, columns: own, ..Handling::default() };
        assert_eq!(wire(&free, &handling), Some(Wire::Decimal { precision: 38, scale: 10 }));
        handling.columns.clear();
        assert_eq!(wire(&free, &handling), Some(Wire::NumberDouble));
        assert_eq!(wire(&attribute("FLOAT", Some(63), None), &handling), Some(Wire::NumberDouble));
        assert_eq!(wire(&exact, &handling), Some(Wire::Decimal { precision: 9, scale: 2 }));
        handling.decimals = Decimals::String;
        assert_eq!([wire(&free, &handling), wire(&exact, &handling)], [Some(Wire::NumberText); 2]);
    }

    #[test]
    fn the_others() {
        let check = |data_type: &str| match resolve(
            &TableId::new("S", "T"),
            &attribute(data_type, None, None),
            &Handling::default(),
        ) {
            Resolved::Read(form) => {
                let column = form.column("C", true, "", None);
                let doc = column.doc.as_deref().unwrap_or("-");
                format!("{} {} {doc}", form.asked.sql("\"C\""), column.data_type())
            }
            Resolved::LeftOut(why) | Resolved::Refused(why) => why.to_owned(),
        };
        for (data_type, is) in [
            ("DATE", "\"C\" Timestamp(µs) -"),
            ("TIMESTAMP(6)", "\"C\" Timestamp(µs) -"),
            ("TIMESTAMP(9)", "\"C\" Timestamp(µs) cut to microseconds"),
            ("TIMESTAMP(3) WITH TIME ZONE", "\"C\" Timestamp(µs, \"+00:00\") -"),
            ("TIMESTAMP(9) WITH LOCAL TIME ZONE", "\"C\" Timestamp(µs, \"+00:00\") cut to microseconds"),
            ("INTERVAL YEAR(2) TO MONTH", "\"C\" Utf8 -"),
            ("INTERVAL DAY(2) TO SECOND(6)", "\"C\" Utf8 -"),
            ("NVARCHAR2", "\"C\" Utf8 -"),
            ("NCLOB", "\"C\" Utf8 -"),
            ("XMLTYPE", "XMLSERIALIZE(CONTENT \"C\" AS CLOB) Utf8 -"),
            ("JSON", "JSON_SERIALIZE(\"C\" RETURNING CLOB) Utf8 -"),
            ("ROWID", "ROWIDTOCHAR(\"C\") Utf8 -"),
            ("RAW", "\"C\" Binary -"),
            ("BLOB", "\"C\" Binary -"),
            ("BOOLEAN", "\"C\" Boolean -"),
            ("LONG", "LONG columns are excluded (long.handling)"),
            ("LONG RAW", "LONG columns are excluded (long.handling)"),
            ("BFILE", "its values are files outside the database, and of no SCN"),
            ("SOMETHING", "its type is not supported"),
        ] {
            assert_eq!(check(data_type), is, "{data_type}");
        }
        let object = Attribute { type_owner: Some("MDSYS".into()), ..attribute("SDO_GEOMETRY", None, None) };
        assert_eq!(wire(&object, &Handling::default()), None);
        let xml = Attribute { type_owner: Some("SYS".into()), ..attribute("XMLTYPE", None, None) };
        assert_eq!(wire(&xml, &Handling::default()), Some(Wire::Clob));
        let no_lobs = Handling { without_lobs: true, ..Handling::default() };
        assert_eq!((wire(&attribute("CLOB", None, None), &no_lobs), wire(&xml, &no_lobs)), (None, None));
    }

    #[test]
    fn nanoseconds_are_kept_where_that_is_wanted() {
        let handling = Handling { nanos: true, ..Handling::default() };
        let check = |data_type: &str| wire(&attribute(data_type, None, None), &handling).unwrap();
        assert_eq!([check("TIMESTAMP(6)"), check("DATE")], [Wire::Timestamp; 2]);
        assert_eq!([check("TIMESTAMP(7)"), check("TIMESTAMP(9)")], [Wire::TimestampNanos; 2]);
        assert_eq!(check("TIMESTAMP(6) WITH TIME ZONE"), Wire::Instant);
        assert_eq!(check("TIMESTAMP(9) WITH LOCAL TIME ZONE"), Wire::InstantNanos);
    }

    #[test]
    fn types_are_written_as_they_were_declared() {
        let check = |data_type: &str, p, s| attribute(data_type, p, s).declared();
        assert_eq!(check("NUMBER", None, None), "NUMBER");
        assert_eq!(check("NUMBER", None, Some(0)), "NUMBER(*,0)");
        assert_eq!(check("NUMBER", Some(9), Some(0)), "NUMBER(9)");
        assert_eq!(check("NUMBER", Some(9), Some(2)), "NUMBER(9,2)");
        assert_eq!(check("RAW", None, None), "RAW(30)");
        let chars = Attribute { in_chars: true, chars: 10, ..attribute("VARCHAR2", None, None) };
        assert_eq!(chars.declared(), "VARCHAR2(10 CHAR)");
    }
}
