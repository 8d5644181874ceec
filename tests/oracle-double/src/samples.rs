//! A table with a column of each type, and rows with the extremes of each: what clients are compared on.

use crate::handshake::Personality;
use crate::json::Json;
use crate::model::Table;
use crate::types::{Length, Moment, Rowid, Type, Value};

/// `TYPES`: `ID` and a column of each type that a release has. Row 1 has ordinary values, 2 NULL in each but the key,
/// 3 the least values or empty ones, 4 the greatest.
pub fn every_type(owner: &str, personality: Personality) -> Table {
    let mut table = Table::new(owner, "TYPES").column("ID", Type::number(9, 0)).not_null();
    let mut columns = classic();
    if personality == Personality::V23ai {
        columns.extend(modern());
    }
    for (name, kind, _) in &columns {
        table = table.column(name, *kind);
    }
    table = table.primary_key(&["ID"]).comment("A column of each type").layout(2, 8);
    let rows = (0..3).map(|n| columns.iter().map(|(.., values)| values[n].clone()).collect::<Vec<_>>());
    let [ordinary, least, greatest] =
        <[Vec<Value>; 3]>::try_from(rows.collect::<Vec<_>>()).unwrap_or_else(|rows| panic!("{} rows", rows.len()));
    let nulls = vec![Value::Null; columns.len()];
    for (id, values) in [ordinary, nulls, least, greatest].into_iter().enumerate() {
        table = table.row([vec![Value::int(id as i64 + 1)], values].concat());
    }
    table
}

type Columns = Vec<(&'static str, Type, [Value; 3])>;

fn classic() -> Columns {
    let number = Value::number;
    let stamp = |nanos| Value::Timestamp(Moment::new(1969, 7, 20, 20, 17, 40).nanos(nanos));
    let first = Moment::new(-4712, 1, 1, 0, 0, 0);
    let last = Moment::new(9999, 12, 31, 23, 59, 59);
    let nines = "9".repeat(38);
    let long = "long text \u{e9} ".repeat(3000);
    let day = 86_400_000_000_000_i128;
    let rowid = |object, file, block, row| Value::Rowid(Rowid { object, file, block, row });
    vec![
        ("N", Type::Number(None, None), [number("12345678901234567890.5"), number("-9.99e125"), number("9.99e125")]),
        ("N_TINY", Type::Number(None, None), [number("0.1"), number("1e-130"), number("-1e-130")]),
        ("N_9_2", Type::number(9, 2), [number("-99.99"), number("-9999999.99"), number("9999999.99")]),
        ("N_38", Type::number(38, 0), [number("0"), number(&format!("-{nines}")), number(&nines)]),
        ("N_NEG", Type::number(5, -2), [number("12300"), number("-9999900"), number("9999900")]),
        ("N_FRACTION", Type::number(2, 5), [number("0.00012"), number("-0.00099"), number("0.00099")]),
        ("N_STAR", Type::Number(None, Some(0)), [number("7"), number(&format!("-{nines}")), number(&nines)]),
        ("F", Type::Float(126), [number("3.14159"), number("-1e-100"), number("1e100")]),
        ("BF", Type::BinaryFloat, [Value::Float(-1.5), Value::Float(f32::MIN), Value::Float(f32::INFINITY)]),
        ("BD", Type::BinaryDouble, [Value::Double(2.5), Value::Double(f64::MIN), Value::Double(f64::NAN)]),
        ("D", Type::Date, [Value::Date(Moment::new(2024, 2, 29, 23, 59, 58)), Value::Date(first), Value::Date(last)]),
        (
            "TS",
            Type::Timestamp(6),
            [stamp(123_456_000), Value::Timestamp(first), Value::Timestamp(last.nanos(999_999_000))],
        ),
        (
            "TS9",
            Type::Timestamp(9),
            [stamp(123_456_789), Value::Timestamp(first), Value::Timestamp(last.nanos(999_999_999))],
        ),
        (
            "TSTZ",
            Type::TimestampTz(6),
            [
                Value::Zoned(Moment::new(2024, 1, 2, 3, 4, 5).nanos(600_000_000), 330),
                Value::Zoned(Moment::new(1, 1, 2, 0, 0, 0), -720),
                Value::Zoned(Moment::new(9999, 12, 30, 23, 59, 59).nanos(999_999_000), 840),
            ],
        ),
        (
            "TSLTZ",
            Type::TimestampLtz(6),
            [
                Value::Timestamp(Moment::new(2024, 7, 1, 12, 0, 0).nanos(1_000)),
                Value::Timestamp(Moment::new(1, 1, 1, 0, 0, 0)),
                Value::Timestamp(last.nanos(999_999_000)),
            ],
        ),
        (
            "IYM",
            Type::IntervalYm(9),
            [Value::Months(38), Value::Months(-11_999_999_999), Value::Months(11_999_999_999)],
        ),
        (
            "IDS",
            Type::IntervalDs(9, 9),
            [
                Value::Nanos(4 * day + 18_367_890_000_000),
                Value::Nanos(-999_999_999 * day - (day - 1)),
                Value::Nanos(999_999_999 * day + (day - 1)),
            ],
        ),
        (
            "C",
            Type::Char(Length::Chars(5)),
            [Value::text("ab   "), Value::text("     "), Value::text("\u{1F600}\u{1F600}abc")],
        ),
        ("V", Type::text(100), [Value::text("h\u{e9}llo"), Value::text(" "), Value::text("\u{10FFFF}".repeat(100))]),
        (
            "V_BYTES",
            Type::Varchar2(Length::Bytes(4000)),
            [Value::text("x"), Value::text("\0"), Value::text("w".repeat(4000))],
        ),
        ("NC", Type::Nchar(4), [Value::text("n   "), Value::text("    "), Value::text("\u{4e2d}\u{6587}ab")]),
        (
            "NV",
            Type::Nvarchar2(50),
            [Value::text("\u{17c}\u{f3}\u{142}w"), Value::text(" "), Value::text("\u{1F600}".repeat(25))],
        ),
        ("R", Type::Raw(16), [Value::Bytes(vec![0, 255, 16]), Value::Bytes(vec![0]), Value::Bytes(vec![255; 16])]),
        ("CL", Type::Clob, [Value::text("a clob"), Value::text(" "), Value::text("L\u{f6}\u{1F600}".repeat(25_000))]),
        (
            "NCL",
            Type::Nclob,
            [Value::text("an nclob"), Value::text("\u{e9}"), Value::text("\u{4e2d}\u{6587}".repeat(9_000))],
        ),
        (
            "BL",
            Type::Blob,
            [
                Value::Bytes(vec![1, 2, 3]),
                Value::Bytes(vec![0]),
                Value::Bytes((0..=255).cycle().take(76_800).collect()),
            ],
        ),
        ("RID", Type::Rowid, [rowid(73_001, 12, 171, 3), rowid(1, 1, 0, 0), rowid(0x7FFF_FFFF, 1023, 0x3F_FFFF, 4095)]),
        ("L", Type::Long, [Value::text("a long"), Value::text(" "), Value::text(long)]),
    ]
}

fn modern() -> Columns {
    let text = |t: &str| Json::Text(t.into());
    let number = |n: &str| Json::Number(n.parse().unwrap_or(crate::Number::ZERO));
    let object = Json::Object(vec![
        ("name".into(), text("h\u{e9}llo \"quoted\"")),
        ("list".into(), Json::Array(vec![number("1"), number("-2.5"), Json::Null, Json::Boolean(true)])),
        ("empty".into(), Json::Object(Vec::new())),
    ]);
    let deep = (0..40).fold(text("deep"), |inner, n| Json::Object(vec![(format!("level{n}"), inner)]));
    vec![
        ("B", Type::Boolean, [Value::Boolean(true), Value::Boolean(false), Value::Boolean(true)]),
        (
            "J",
            Type::Json,
            [
                Value::Json(Box::new(object)),
                Value::Json(Box::new(Json::Array(Vec::new()))),
                Value::Json(Box::new(deep)),
            ],
        ),
        (
            "VEC",
            Type::Vector(3),
            [
                Value::Vector(vec![1.0, -2.5, 0.0]),
                Value::Vector(vec![f32::MIN, -0.0, f32::MIN_POSITIVE]),
                Value::Vector(vec![f32::MAX, 1e-30, 7.0]),
            ],
        ),
    ]
}
