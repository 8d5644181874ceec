//! PostgreSQL types → how a column is asked for and read, and its Arrow type. Pure.
//!
//! A type whose binary form we read is listed in [`scalar`]. Every other type is loaded as the text that
//! its output function prints: what `pg_dump` writes, and so complete by definition. A domain is its base
//! type; an enum is its labels; an array is a list of what its elements are.

use std::collections::HashMap;

use arrow_schema::{DataType, TimeUnit};
use connector_api::{Column, Decimals, Unconstrained, instant};

/// How a column's binary values are read, and so its Arrow type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    Bool,
    Int2,
    Int4,
    Int8,
    Oid,
    Float4,
    Float8,
    /// numeric within Arrow's 38 digits.
    Decimal {
        precision: u8,
        scale: u8,
    },
    /// numeric as its text, exactly as PostgreSQL prints it.
    NumericText,
    /// numeric as the nearest double.
    NumericDouble,
    Text,
    /// Text after a version byte.
    Jsonb,
    Bytea,
    Uuid,
    Date,
    Time,
    Timestamp,
    Timestamptz,
}

/// How values lie in a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    Scalar,
    /// Arrays in their binary form, as so many levels of lists.
    Binary {
        depth: usize,
    },
    /// Arrays as the text that `array_out` prints, as so many levels of lists.
    Literal {
        depth: usize,
        delimiter: u8,
    },
}

impl Layout {
    /// Levels of lists.
    pub(crate) fn depth(self) -> usize {
        match self {
            Self::Scalar => 0,
            Self::Binary { depth } | Self::Literal { depth, .. } => depth,
        }
    }
}

/// What stands in the query for a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// The column.
    Plain,
    /// The text that this output function makes of it.
    Output(String),
    /// What this function makes of it.
    Through(String),
}

impl Asked {
    /// The SQL, given the quoted column.
    pub(crate) fn sql(&self, column: &str) -> String {
        match self {
            Self::Plain => column.to_owned(),
            Self::Output(function) => format!("pg_catalog.textin({function}({column}))"),
            Self::Through(function) => format!("{function}({column})"),
        }
    }
}

/// How a column is asked for and read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    /// Of its values, or of the elements of its arrays.
    pub(crate) wire: Wire,
    pub(crate) layout: Layout,
    pub(crate) asked: Asked,
    /// Infinite dates and timestamps become NULL.
    pub(crate) infinite_is_null: bool,
}

impl Form {
    /// A form read as it is stored.
    pub(crate) fn plain(wire: Wire) -> Self {
        Self { wire, layout: Layout::Scalar, asked: Asked::Plain, infinite_is_null: false }
    }

    fn text(output: &str) -> Self {
        Self { asked: Asked::Output(output.to_owned()), ..Self::plain(Wire::Text) }
    }

    /// The column of that form.
    pub(crate) fn column(&self, name: &str, nullable: bool, source_type: &str) -> Column {
        let data_type = match self.wire {
            Wire::Bool => DataType::Boolean,
            Wire::Int2 | Wire::Int4 => DataType::Int32,
            Wire::Int8 | Wire::Oid => DataType::Int64,
            Wire::Float4 => DataType::Float32,
            Wire::Float8 | Wire::NumericDouble => DataType::Float64,
            Wire::Decimal { precision, scale } => DataType::Decimal128(precision, scale as i8),
            Wire::NumericText | Wire::Text | Wire::Jsonb => DataType::Utf8,
            Wire::Bytea => DataType::Binary,
            Wire::Uuid => DataType::FixedSizeBinary(16),
            Wire::Date => DataType::Date32,
            Wire::Time => DataType::Time64(TimeUnit::Microsecond),
            Wire::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Wire::Timestamptz => instant(),
        };
        let column = match self.wire {
            Wire::Uuid => Column::uuid(name, nullable, source_type),
            _ => Column::new(name, data_type, nullable, source_type),
        };
        (0..self.layout.depth()).fold(column, |column, _| column.into_list())
    }
}

/// What the operator chose where there is a choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Handling {
    pub(crate) decimals: Decimals,
    /// Of numeric without a declared precision, when decimals are precise.
    pub(crate) unconstrained: Unconstrained,
    /// Arrays as text instead of lists.
    pub(crate) arrays_as_text: bool,
    pub(crate) infinite_is_null: bool,
}

/// A type that is not in [`scalar`], as the server's catalog has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Type {
    pub(crate) kind: Kind,
    /// Its output function, quoted and qualified.
    pub(crate) output: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A domain over that type with that modifier, declared with so many dimensions.
    Domain {
        base: u32,
        modifier: i32,
        dimensions: i32,
    },
    Enum,
    /// An array; the delimiter is its elements'.
    Array {
        element: u32,
        delimiter: u8,
    },
    /// A type that no value of a table is of.
    Pseudo,
    /// PostGIS: that function gives EWKB.
    Geo {
        ewkb: String,
    },
    /// Any other.
    Other,
}

impl Kind {
    /// The type that must be known too.
    pub(crate) fn needs(&self) -> Option<u32> {
        match self {
            Self::Domain { base, .. } => Some(*base),
            Self::Array { element, .. } => Some(*element),
            _ => None,
        }
    }
}

/// How deep a type may be nested in domains and arrays: far beyond sense, and a bound for a broken catalog.
const DEEPEST: usize = 64;

/// A column's type: its OID, modifier (−1: none) and declared dimensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Declared {
    pub(crate) oid: u32,
    pub(crate) modifier: i32,
    pub(crate) dimensions: i32,
}

/// How to read a column, or why it cannot be read.
pub(crate) fn resolve(
    declared: Declared,
    types: &HashMap<u32, Type>,
    handling: &Handling,
) -> Result<Form, &'static str> {
    let Declared { mut oid, mut modifier, mut dimensions } = declared;
    for _ in 0..DEEPEST {
        if let Some(wire) = scalar(oid, modifier, handling) {
            let infinite = matches!(wire, Wire::Date | Wire::Timestamp | Wire::Timestamptz);
            return Ok(Form { infinite_is_null: infinite && handling.infinite_is_null, ..Form::plain(wire) });
        }
        let known = types.get(&oid).ok_or("its type is not in the server's catalog")?;
        match &known.kind {
            Kind::Domain { base, modifier: of_base, dimensions: of_domain } => {
                (oid, modifier, dimensions) = (*base, *of_base, *of_domain);
            }
            Kind::Enum => return Ok(Form::plain(Wire::Text)),
            Kind::Pseudo => return Err("its type is a pseudo-type"),
            Kind::Geo { ewkb } => {
                return Ok(Form { asked: Asked::Through(ewkb.clone()), ..Form::plain(Wire::Bytea) });
            }
            Kind::Other => return Ok(Form::text(&known.output)),
            Kind::Array { .. } if handling.arrays_as_text => return Ok(Form::text(&known.output)),
            Kind::Array { element, delimiter } => {
                let depth = usize::try_from(dimensions).unwrap_or(0).max(1);
                let element = resolve(Declared { oid: *element, modifier, dimensions: 0 }, types, handling)?;
                return Ok(match element {
                    Form { layout: Layout::Scalar, asked: Asked::Plain, .. } => {
                        Form { layout: Layout::Binary { depth }, ..element }
                    }
                    // Elements that are text, or arrays by way of a domain: as the array prints them.
                    _ => {
                        let layout = Layout::Literal { depth, delimiter: *delimiter };
                        Form { layout, ..Form::text(&known.output) }
                    }
                });
            }
        }
    }
    Err("its type is nested too deeply")
}

/// The types that are read in their binary form. The OIDs of built-in types are fixed:
/// `src/include/catalog/pg_type.dat`.
pub(crate) fn scalar(oid: u32, modifier: i32, handling: &Handling) -> Option<Wire> {
    Some(match oid {
        16 => Wire::Bool,
        17 => Wire::Bytea,
        // name, text, json, bpchar, varchar
        19 | 25 | 114 | 1042 | 1043 => Wire::Text,
        20 => Wire::Int8,
        21 => Wire::Int2,
        23 => Wire::Int4,
        26 => Wire::Oid,
        700 => Wire::Float4,
        701 => Wire::Float8,
        1082 => Wire::Date,
        1083 => Wire::Time,
        1114 => Wire::Timestamp,
        1184 => Wire::Timestamptz,
        1700 => numeric(modifier, handling),
        2950 => Wire::Uuid,
        3802 => Wire::Jsonb,
        _ => return None,
    })
}

/// `numeric(p,s)` by its modifier: precision above, 11 bits of signed scale below, both offset by 4.
fn numeric(modifier: i32, handling: &Handling) -> Wire {
    match handling.decimals {
        Decimals::Precise => {}
        Decimals::String => return Wire::NumericText,
        Decimals::Double => return Wire::NumericDouble,
    }
    if modifier < 4 {
        return match handling.unconstrained {
            Unconstrained::String => Wire::NumericText,
            Unconstrained::Double => Wire::NumericDouble,
            Unconstrained::Decimal { precision, scale } => Wire::Decimal { precision, scale },
        };
    }
    let bits = modifier - 4;
    let precision = (bits >> 16) & 0xffff;
    let scale = ((bits & 0x7ff) ^ 1024) - 1024;
    // A negative scale rounds to tens, hundreds …: whole numbers with more digits. A scale above the
    // precision means leading zeros after the point.
    let (digits, scale) = (if scale < 0 { precision - scale } else { precision.max(scale) }, scale.max(0));
    match (u8::try_from(digits), u8::try_from(scale)) {
        (Ok(precision @ 1..=38), Ok(scale)) => Wire::Decimal { precision, scale },
        _ => Wire::NumericText,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typmod(precision: i32, scale: i32) -> i32 {
        ((precision << 16) | (scale & 0x7ff)) + 4
    }

    fn decimal(precision: u8, scale: u8) -> Wire {
        Wire::Decimal { precision, scale }
    }

    #[test]
    fn numerics() {
        let check = |p, s| scalar(1700, typmod(p, s), &Handling::default()).unwrap();
        assert_eq!(check(12, 2), decimal(12, 2));
        assert_eq!(check(38, 38), decimal(38, 38));
        assert_eq!(check(39, 2), Wire::NumericText);
        assert_eq!(check(1000, 0), Wire::NumericText);
        assert_eq!(check(5, -2), decimal(7, 0));
        assert_eq!(check(36, -2), decimal(38, 0));
        assert_eq!(check(37, -2), Wire::NumericText);
        assert_eq!(check(3, 5), decimal(5, 5));
        assert_eq!(check(3, 40), Wire::NumericText);
    }

    #[test]
    fn numerics_as_chosen() {
        let check = |decimals, unconstrained| {
            let handling = Handling { decimals, unconstrained, ..Handling::default() };
            (scalar(1700, typmod(9, 2), &handling).unwrap(), scalar(1700, -1, &handling).unwrap())
        };
        let twenty = Unconstrained::Decimal { precision: 20, scale: 5 };
        assert_eq!(check(Decimals::Precise, Unconstrained::String), (decimal(9, 2), Wire::NumericText));
        assert_eq!(check(Decimals::Precise, Unconstrained::Double), (decimal(9, 2), Wire::NumericDouble));
        assert_eq!(check(Decimals::Precise, twenty), (decimal(9, 2), decimal(20, 5)));
        assert_eq!(check(Decimals::String, twenty), (Wire::NumericText, Wire::NumericText));
        assert_eq!(check(Decimals::Double, twenty), (Wire::NumericDouble, Wire::NumericDouble));
    }

    fn catalog() -> HashMap<u32, Type> {
        let known = |kind, output: &str| Type { kind, output: output.into() };
        let domain = |base, modifier, dimensions| known(Kind::Domain { base, modifier, dimensions }, "x");
        let array = |element| known(Kind::Array { element, delimiter: b',' }, "pg_catalog.array_out");
        HashMap::from([
            (20001, domain(1700, typmod(9, 3), 0)),
            (20002, domain(20001, -1, 0)),
            (20003, known(Kind::Enum, "pg_catalog.enum_out")),
            (20004, domain(20003, -1, 0)),
            (20005, domain(1186, -1, 0)),
            (20006, domain(20006, -1, 0)),
            (1186, known(Kind::Other, "pg_catalog.interval_out")),
            (1007, array(23)),
            (1231, array(1700)),
            (1187, array(1186)),
            (20007, array(20002)),
            (20008, domain(1231, typmod(5, 1), 2)),
            (20009, array(20008)),
            (20010, array(20003)),
            (20011, known(Kind::Pseudo, "x")),
            (20012, known(Kind::Geo { ewkb: "gis.st_asewkb".into() }, "gis.geometry_out")),
            (1182, array(1082)),
        ])
    }

    fn check(oid: u32, modifier: i32, dimensions: i32, handling: &Handling) -> String {
        let form = match resolve(Declared { oid, modifier, dimensions }, &catalog(), handling) {
            Ok(form) => form,
            Err(why) => return why.into(),
        };
        let infinite = if form.infinite_is_null { " infinite is null" } else { "" };
        let kind = form.column("c", true, "x").data_type().clone();
        let mut shown = (&kind, 0);
        while let DataType::List(element) = shown.0 {
            assert_eq!((element.name().as_str(), element.is_nullable()), ("element", true));
            shown = (element.data_type(), shown.1 + 1);
        }
        let literal = if matches!(form.layout, Layout::Literal { .. }) { "read from text, " } else { "" };
        format!("{literal}{} {}{}{infinite}", form.asked.sql("c"), shown.0, "[]".repeat(shown.1))
    }

    #[test]
    fn domains_enums_arrays_and_text() {
        let plain = |oid| check(oid, -1, 0, &Handling::default());
        assert_eq!(plain(20001), "c Decimal128(9, 3)");
        assert_eq!(plain(20002), "c Decimal128(9, 3)", "the innermost modifier");
        assert_eq!(plain(20003), "c Utf8");
        assert_eq!(plain(20004), "c Utf8");
        assert_eq!(plain(20005), "pg_catalog.textin(pg_catalog.interval_out(c)) Utf8");
        assert_eq!(plain(20006), "its type is nested too deeply");
        assert_eq!(plain(20011), "its type is a pseudo-type");
        assert_eq!(plain(20012), "gis.st_asewkb(c) Binary");
        assert_eq!(plain(99999), "its type is not in the server's catalog");
        assert_eq!(plain(1007), "c Int32[]", "no dimensions declared is one");
        assert_eq!(check(1007, -1, 3, &Handling::default()), "c Int32[][][]");
        assert_eq!(check(1231, typmod(8, 2), 1, &Handling::default()), "c Decimal128(8, 2)[]");
        assert_eq!(plain(20007), "c Decimal128(9, 3)[]", "an array of domains");
        assert_eq!(plain(20008), "c Decimal128(5, 1)[][]", "a domain over an array");
        assert_eq!(plain(20010), "c Utf8[]");
        let text = "pg_catalog.textin(pg_catalog.array_out(c)) Utf8";
        assert_eq!(plain(1187), format!("read from text, {text}[]"));
        assert_eq!(plain(20009), format!("read from text, {text}[]"), "arrays in an array");
    }

    #[test]
    fn as_the_operator_chose() {
        let text = Handling { arrays_as_text: true, ..Handling::default() };
        assert_eq!(check(1007, -1, 2, &text), "pg_catalog.textin(pg_catalog.array_out(c)) Utf8");
        let null = Handling { infinite_is_null: true, ..Handling::default() };
        assert_eq!(check(1082, -1, 0, &null), "c Date32 infinite is null");
        assert_eq!(check(1182, -1, 0, &null), "c Date32[] infinite is null");
        assert_eq!(check(23, -1, 0, &null), "c Int32");
    }

    #[test]
    fn columns() {
        let column = Form::plain(Wire::Uuid).column("u", true, "uuid");
        assert!(column.is_uuid() && column.nullable);
        assert_eq!(*Form::plain(Wire::Timestamptz).column("t", false, "x").data_type(), instant());
        assert_eq!(*Form::plain(decimal(5, 5)).column("d", false, "x").data_type(), DataType::Decimal128(5, 5));
    }
}
