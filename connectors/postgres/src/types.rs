//! PostgreSQL types → Arrow columns. Pure.
//!
//! Only the types listed in [`resolve`] are read; everything else refuses its table by name, because a
//! value that is guessed at is worse than none. A domain is its base type; an enum is its labels.

use std::collections::HashMap;

use arrow_schema::{DataType, TimeUnit};
use connector_api::{Column, instant};

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
    /// Any other numeric: its text, exactly as PostgreSQL prints it.
    NumericText,
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

impl Wire {
    /// The column of that type.
    pub(crate) fn column(self, name: &str, nullable: bool, source_type: &str) -> Column {
        let data_type = match self {
            Self::Bool => DataType::Boolean,
            Self::Int2 | Self::Int4 => DataType::Int32,
            Self::Int8 | Self::Oid => DataType::Int64,
            Self::Float4 => DataType::Float32,
            Self::Float8 => DataType::Float64,
            Self::Decimal { precision, scale } => DataType::Decimal128(precision, scale as i8),
            Self::NumericText | Self::Text | Self::Jsonb => DataType::Utf8,
            Self::Bytea => DataType::Binary,
            Self::Uuid => return Column::uuid(name, nullable, source_type),
            Self::Date => DataType::Date32,
            Self::Time => DataType::Time64(TimeUnit::Microsecond),
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::Timestamptz => instant(),
        };
        Column::new(name, data_type, nullable, source_type)
    }
}

/// Types that are not built in: what the server's catalog says of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Custom {
    /// A domain over that type with that modifier.
    Domain {
        base: u32,
        modifier: i32,
    },
    Enum,
}

/// How to read a column of type `oid` with modifier `modifier` (−1: none); `None` when it is not supported.
pub(crate) fn resolve(mut oid: u32, mut modifier: i32, custom: &HashMap<u32, Custom>) -> Option<Wire> {
    // A domain over a domain over …: the catalog has no cycle; a bound costs nothing.
    for _ in 0..64 {
        match custom.get(&oid) {
            Some(Custom::Domain { base, modifier: of_base }) => (oid, modifier) = (*base, *of_base),
            Some(Custom::Enum) => return Some(Wire::Text),
            None => break,
        }
    }
    // The OIDs of built-in types are fixed: src/include/catalog/pg_type.dat.
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
        1700 => numeric(modifier),
        2950 => Wire::Uuid,
        3802 => Wire::Jsonb,
        _ => return None,
    })
}

/// `numeric(p,s)` by its modifier: precision above, 11 bits of signed scale below, both offset by 4.
fn numeric(modifier: i32) -> Wire {
    if modifier < 4 {
        return Wire::NumericText;
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

    #[test]
    fn numerics() {
        let check = |p, s| match resolve(1700, typmod(p, s), &HashMap::new()) {
            Some(Wire::Decimal { precision, scale }) => Some((precision, scale)),
            Some(Wire::NumericText) => None,
            other => panic!("{other:?}"),
        };
        assert_eq!(check(12, 2), Some((12, 2)));
        assert_eq!(check(38, 38), Some((38, 38)));
        assert_eq!(check(39, 2), None);
        assert_eq!(check(1000, 0), None);
        assert_eq!(check(5, -2), Some((7, 0)));
        assert_eq!(check(36, -2), Some((38, 0)));
        assert_eq!(check(37, -2), None);
        assert_eq!(check(3, 5), Some((5, 5)));
        assert_eq!(check(3, 40), None);
        assert_eq!(resolve(1700, -1, &HashMap::new()), Some(Wire::NumericText));
    }

    #[test]
    fn domains_enums_and_the_rest() {
        let custom = HashMap::from([
            (20001, Custom::Domain { base: 1700, modifier: typmod(9, 3) }),
            (20002, Custom::Domain { base: 20001, modifier: -1 }),
            (20003, Custom::Enum),
            (20004, Custom::Domain { base: 20003, modifier: -1 }),
            (20005, Custom::Domain { base: 600, modifier: -1 }),
            (20006, Custom::Domain { base: 20006, modifier: -1 }),
        ]);
        assert_eq!(resolve(20001, -1, &custom), Some(Wire::Decimal { precision: 9, scale: 3 }));
        assert_eq!(
            resolve(20002, -1, &custom),
            Some(Wire::Decimal { precision: 9, scale: 3 }),
            "the innermost modifier"
        );
        assert_eq!(resolve(20003, -1, &custom), Some(Wire::Text));
        assert_eq!(resolve(20004, -1, &custom), Some(Wire::Text));
        for unsupported in [20005, 20006, 18, 600, 869, 1007, 1186, 1266, 2249, 99999] {
            assert_eq!(resolve(unsupported, -1, &custom), None, "{unsupported}");
        }
    }

    #[test]
    fn columns() {
        let column = Wire::Uuid.column("u", true, "uuid");
        assert!(column.is_uuid() && column.nullable);
        assert_eq!(*Wire::Timestamptz.column("t", false, "x").data_type(), instant());
        assert_eq!(
            *Wire::Decimal { precision: 5, scale: 5 }.column("d", false, "x").data_type(),
            DataType::Decimal128(5, 5)
        );
    }
}
