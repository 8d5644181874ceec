//! Every type with its extremes, read back by foreign readers and compared with what was stored, value by value.

use connect_oracle_double::{Json, Moment, Personality, Table, Type, Value, every_type};
use connect_tests::compare::Rows;
use connect_tests::lake::{Engine, Lake};
use connect_tests::runtime::{Job, OK, SOME_TABLES_FAILED};

use super::{assert_rows, double, job};

/// The Iceberg types of a table's columns, as PyIceberg names them.
pub(super) fn types(lake: &Lake, table: &str) -> Vec<(String, String)> {
    let described = lake.describe(table);
    let text = |f: &serde_json::Value, key: &str| f[key].as_str().unwrap().to_owned();
    described["fields"].as_array().unwrap().iter().map(|f| (text(f, "name"), text(f, "type"))).collect()
}

/// The columns of the sample table and the types that they must have.
const CLASSIC: &[(&str, &str)] = &[
    ("ID", "int"),
    ("N", "string"),
    ("N_TINY", "string"),
    ("N_9_2", "decimal(9, 2)"),
    ("N_38", "decimal(38, 0)"),
    ("N_NEG", "int"),
    ("N_FRACTION", "decimal(5, 5)"),
    ("N_STAR", "decimal(38, 0)"),
    ("F", "string"),
    ("BF", "float"),
    ("BD", "double"),
    ("D", "timestamp"),
    ("TS", "timestamp"),
    ("TS9", "timestamp"),
    ("TSTZ", "timestamptz"),
    ("TSLTZ", "timestamptz"),
    ("IYM", "string"),
    ("IDS", "string"),
    ("C", "string"),
    ("V", "string"),
    ("V_BYTES", "string"),
    ("NC", "string"),
    ("NV", "string"),
    ("R", "binary"),
    ("CL", "string"),
    ("NCL", "string"),
    ("BL", "binary"),
    ("RID", "string"),
];
const MODERN: &[(&str, &str)] = &[("B", "boolean"), ("J", "string"), ("VEC", "list<float>")];

/// The canonical text of a value in a column of an Iceberg type: made here from what the database holds, with nothing of
/// the program's code.
pub(super) fn canonical(value: &Value, kind: &str) -> Option<String> {
    let micros = |m: &Moment| (i128::from(m.epoch_seconds()) * 1_000_000 + i128::from(m.nanos / 1000)).to_string();
    let nanos = |m: &Moment| (i128::from(m.epoch_seconds()) * 1_000_000_000 + i128::from(m.nanos)).to_string();
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    Some(match value {
        Value::Null => return None,
        Value::Timestamp(moment) | Value::Zoned(moment, _) if kind.ends_with("_ns") => nanos(moment),
        Value::Number(number) => match kind.strip_prefix("decimal(").and_then(|rest| rest.strip_suffix(')')) {
            None if kind == "double" => hex(&number.to_f64().to_be_bytes()),
            None => number.to_string(),
            Some(decimal) => {
                let scale: usize = decimal.split(", ").nth(1).unwrap().parse().unwrap();
                let text = number.to_string();
                let (whole, behind) = text.split_once('.').unwrap_or((&text, ""));
                match scale {
                    0 => text,
                    _ => format!("{whole}.{behind:0<scale$}"),
                }
            }
        },
        Value::Float(float) if float.is_nan() => "7fc00000".into(),
        Value::Float(float) => hex(&float.to_be_bytes()),
        Value::Double(double) if double.is_nan() => "7ff8000000000000".into(),
        Value::Double(double) => hex(&double.to_be_bytes()),
        Value::Text(text) => text.clone(),
        Value::Bytes(bytes) => hex(bytes),
        Value::Date(moment) | Value::Timestamp(moment) | Value::Zoned(moment, _) => micros(moment),
        Value::Months(months) => interval(&[(months / 12, "Y"), (months % 12, "M")]),
        Value::Nanos(nanos) => duration(*nanos),
        Value::Rowid(rowid) => rowid.to_string(),
        Value::Boolean(bool) => bool.to_string(),
        Value::Json(json) => json.to_text(),
        Value::Vector(floats) => {
            let texts: Vec<_> = floats.iter().map(|f| format!("\"{}\"", hex(&f.to_be_bytes()))).collect();
            format!("[{}]", texts.join(","))
        }
    })
}

fn interval(parts: &[(i64, &str)]) -> String {
    let text: String = parts.iter().filter(|(n, _)| *n != 0).map(|(n, unit)| format!("{n}{unit}")).collect();
    format!("P{}", if text.is_empty() { "0M" } else { &text })
}

fn duration(nanos: i128) -> String {
    let (sign, all) = (if nanos < 0 { "-" } else { "" }, nanos.unsigned_abs());
    let (seconds, fraction) = (all / 1_000_000_000, all % 1_000_000_000);
    let (days, hours, minutes, seconds) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let part = |n: u128, unit: &str| if n == 0 { String::new() } else { format!("{sign}{n}{unit}") };
    let behind = if fraction == 0 { String::new() } else { format!(".{fraction:09}").trim_end_matches('0').to_owned() };
    let last = if seconds == 0 && fraction == 0 { String::new() } else { format!("{sign}{seconds}{behind}S") };
    let time = part(hours, "H") + &part(minutes, "M") + &last;
    match (days, time.is_empty()) {
        (0, true) => "PT0S".into(),
        (days, true) => format!("P{}", part(days, "D")),
        (days, false) => format!("P{}T{time}", part(days, "D")),
    }
}

#[test]
fn every_type_round_trips() {
    for personality in [Personality::V19c, Personality::V23ai] {
        let double = double(personality, [every_type("SHOP", personality)]);
        let job = job(&double);
        job.run(&[]).expect(OK).says(&["LONG columns are excluded"]);
        let lake = job.lake();
        let mut columns = CLASSIC.to_vec();
        if personality == Personality::V23ai {
            columns.extend(MODERN);
        }
        let named: Vec<_> = columns.iter().map(|(name, kind)| ((*name).to_owned(), (*kind).to_owned())).collect();
        assert_eq!(types(&lake, "TYPES"), named);
        // The LONG column is the last but those of the newer release, and is left out.
        let long = CLASSIC.len();
        let rows = double.database().rows("SHOP", "TYPES", double.database().scn());
        let row = |values: &Vec<Value>| {
            let kept = values.iter().enumerate().filter(|(i, _)| *i != long).map(|(_, value)| value);
            kept.zip(&columns).map(|(value, (_, kind))| canonical(value, kind)).collect::<Vec<_>>()
        };
        let expected = Rows {
            columns: columns.iter().map(|(name, _)| (*name).to_owned()).collect(),
            rows: rows.iter().map(|(_, values)| row(values)).collect(),
        };
        assert_eq!(expected.rows.len(), 4);
        assert_rows(&lake, "TYPES", &expected);
        // The twin: one digit of one value is seen.
        let mut other = expected.clone();
        other.rows[0][2].as_mut().unwrap().push('0');
        let got = lake.rows(Engine::PyIceberg, "TYPES").unwrap();
        assert!(connect_tests::compare::difference(&other, &got).is_some());
    }
}

/// Tables with moments of nanoseconds, the first and the last that 64 bits hold among them: without and with a time zone.
fn moments() -> [Table; 2] {
    let civil = Table::new("SHOP", "MOMENTS").column("TS6", Type::Timestamp(6)).column("TS9", Type::Timestamp(9));
    let zoned = Table::new("SHOP", "INSTANTS").column("TZ9", Type::TimestampTz(9));
    let all = [
        Moment::new(1969, 7, 20, 20, 17, 40).nanos(123_456_789),
        Moment::new(1677, 9, 21, 0, 12, 43).nanos(145_224_192),
        Moment::new(2262, 4, 11, 23, 47, 16).nanos(854_775_807),
    ];
    let civil = all.iter().fold(civil, |table, moment| {
        let cut = moment.nanos(moment.nanos / 1000 * 1000);
        table.row(vec![Value::Timestamp(cut), Value::Timestamp(*moment)])
    });
    let zoned = all.iter().fold(zoned, |table, moment| table.row(vec![Value::Zoned(*moment, 330)]));
    [civil.row(vec![Value::Null; 2]), zoned.row(vec![Value::Null])]
}

/// Nanoseconds where they are wanted, in tables of format version 3; what has no place there names its column.
#[test]
fn nanoseconds_are_kept_where_that_is_wanted() {
    let double = double(Personality::V23ai, moments());
    let wanted = || job(&double).source("timestamp.precision", "nanoseconds");
    let says = ["SHOP.MOMENTS", "column=TS9", "column=TZ9", "iceberg.tables.auto-create-props.format-version=3"];
    wanted().run(&[]).expect(SOME_TABLES_FAILED).says(&says);
    let job = wanted().sink("iceberg.tables.auto-create-props.format-version", "3");
    job.run(&[]).expect(OK);
    for (table, kinds) in [("MOMENTS", &["timestamp", "timestamp_ns"][..]), ("INSTANTS", &["timestamptz_ns"])] {
        let columns = types(&job.lake(), table);
        assert_eq!(columns.iter().map(|(_, kind)| kind.as_str()).collect::<Vec<_>>(), kinds);
        let rows = double.database().rows("SHOP", table, double.database().scn());
        let row = |values: &Vec<Value>| {
            values.iter().zip(&columns).map(|(value, (_, kind))| canonical(value, kind)).collect::<Vec<_>>()
        };
        let expected = Rows {
            columns: columns.iter().map(|(name, _)| name.clone()).collect(),
            rows: rows.iter().map(|(_, values)| row(values)).collect(),
        };
        match table {
            "MOMENTS" => assert_rows(&job.lake(), table, &expected),
            _ => {
                // DuckDB 1.5 does not know this type.
                let read = || job.lake().rows(Engine::DuckDb, table);
                assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(read)).is_err());
                let got = job.lake().rows(Engine::PyIceberg, table).unwrap();
                assert_eq!(connect_tests::compare::difference(&expected, &got), None);
            }
        }
    }
    let late = Moment::new(2262, 4, 11, 23, 47, 16).nanos(854_775_808);
    let values = vec![Value::Null, Value::Timestamp(late)];
    double.database().insert("SHOP", "MOMENTS", values);
    let says = ["SHOP.MOMENTS", "column=TS9", "timestamp_ns"];
    job.run(&["--no-resume"]).expect(SOME_TABLES_FAILED).says(&says);
}

fn numbers() -> Table {
    let table =
        Table::new("SHOP", "NUMBERS").column("FREE", Type::Number(None, None)).column("PRICE", Type::number(9, 2));
    let table = table.column("RATE", Type::Float(126));
    let values = ["0.5", "123456789.25", "-0.000001"].map(Value::number);
    let prices = ["1.25", "-99.5", "0"].map(Value::number);
    values.into_iter().zip(prices).fold(table, |table, (free, price)| table.row(vec![free.clone(), price, free]))
}

fn loaded(job: &Job) -> Vec<String> {
    job.run(&[]).expect(OK);
    types(&job.lake(), "NUMBERS").into_iter().map(|(_, kind)| kind).collect()
}

#[test]
fn numbers_as_the_operator_chose() {
    let double = double(Personality::V19c, [numbers()]);
    let job = || job(&double);
    assert_eq!(loaded(&job()), ["string", "decimal(9, 2)", "string"]);
    let text = job().source("decimal.handling.mode", "string");
    assert_eq!(loaded(&text), ["string"; 3]);
    let nearest = job().source("decimal.handling.mode", "double");
    assert_eq!(loaded(&nearest), ["double"; 3]);
    let chosen = job().source("number.unconstrained", "double");
    let chosen = chosen.source("number.unconstrained.shop.numbers.free", "decimal(20,6)");
    assert_eq!(loaded(&chosen), ["decimal(20, 6)", "decimal(9, 2)", "double"]);
    let rows = double.database().rows("SHOP", "NUMBERS", double.database().scn());
    for job in [&text, &nearest, &chosen] {
        let columns = types(&job.lake(), "NUMBERS");
        let row = |values: &Vec<Value>| {
            values.iter().zip(&columns).map(|(value, (_, kind))| canonical(value, kind)).collect::<Vec<_>>()
        };
        let expected = Rows {
            columns: columns.iter().map(|(name, _)| name.clone()).collect(),
            rows: rows.iter().map(|(_, values)| row(values)).collect(),
        };
        assert_rows(&job.lake(), "NUMBERS", &expected);
    }
    let narrow = job().source("number.unconstrained", "decimal(10,2)");
    narrow.run(&[]).expect(SOME_TABLES_FAILED).says(&["SHOP.NUMBERS", "column=FREE"]);
}

#[test]
fn a_value_without_a_place_fails_its_table_alone_and_is_named() {
    let table = Table::new("SHOP", "DATES").column("D", Type::Date);
    let julian = table.row(vec![Value::Date(Moment::new(1500, 2, 29, 0, 0, 0))]);
    let double = double(Personality::V19c, [julian, numbers()]);
    let job = job(&double);
    job.run(&[]).expect(SOME_TABLES_FAILED).says(&[
        "SHOP.DATES",
        "column=D",
        "does not exist in the Gregorian calendar",
    ]);
    assert_eq!(job.lake().loaded_tables(), ["NUMBERS"]);
}

/// What a document holds is what the server prints of it.
#[test]
fn documents_are_text() {
    let table =
        Table::new("SHOP", "DOCS").column("ID", Type::number(9, 0)).column("X", Type::Xml).column("J", Type::Json);
    let json = Json::Object(vec![("a".into(), Json::Text("\u{1F600}".into()))]);
    let xml = "<a b=\"c\">\u{fc} &amp; \u{1F600}</a>";
    let table = table.row(vec![Value::int(1), Value::text(xml), Value::Json(Box::new(json.clone()))]);
    let table = table.row(vec![Value::int(2), Value::Null, Value::Null]);
    let double = double(Personality::V23ai, [table]);
    let job = job(&double);
    job.run(&[]).expect(OK);
    let expected = Rows {
        columns: ["ID", "X", "J"].map(str::to_owned).into(),
        rows: vec![vec![Some("1".into()), Some(xml.into()), Some(json.to_text())], vec![Some("2".into()), None, None]],
    };
    assert_rows(&job.lake(), "DOCS", &expected);
}
