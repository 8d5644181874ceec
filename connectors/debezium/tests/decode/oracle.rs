//! Oracle's events, as Debezium's own classes made them: every type that a load has meets what it has there, under every
//! mode, or is refused by name; and where they stand in Oracle's log.

use std::sync::Arc;

use arrow_schema::{DataType, TimeUnit};
use connector_api::{TableId, TableSchema, instant};
use connector_debezium::{Intervals, Keep, Message, SourcePosition, Table};
use proptest::prelude::*;

use crate::recorded::{Recorded, push, recorded};
use crate::render::{cell, kept_if, taken};
use crate::tables::column;

const MICROS: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

/// The table that was recorded: column, source type as a load stores it, its type, and what the cells of rows 1, 3 and 4
/// read. Row 2 is NULL but for the key.
fn loaded() -> Vec<(&'static str, &'static str, DataType, [String; 3])> {
    use DataType::{Binary, Decimal128, Float32, Float64, Int32, Int64, Utf8};
    let nines = "9".repeat(38);
    let zeros = |n: usize| "0".repeat(n);
    let texts = |texts: [&str; 3]| texts.map(str::to_owned);
    let both = |first: &str, one: String| [first.to_owned(), format!("-{one}"), one];
    vec![
        ("ID", "NUMBER(9)", Int32, texts(["1", "3", "4"])),
        ("N", "NUMBER", Utf8, both("12345678901234567890.5", format!("999{}", zeros(123)))),
        ("N_TINY", "NUMBER", Utf8, ["0.1".into(), format!("0.{}1", zeros(129)), format!("-0.{}1", zeros(129))]),
        ("N_9_2", "NUMBER(9,2)", Decimal128(9, 2), texts(["-99.99", "-9999999.99", "9999999.99"])),
        ("N_38", "NUMBER(38)", Decimal128(38, 0), both("0", nines.clone())),
        ("N_NEG", "NUMBER(5,-2)", Int32, texts(["12300", "-9999900", "9999900"])),
        ("N_FRACTION", "NUMBER(2,5)", Decimal128(5, 5), texts(["0.00012", "-0.00099", "0.00099"])),
        ("N_STAR", "NUMBER(*,0)", Decimal128(38, 0), both("7", nines)),
        ("F", "FLOAT(126)", Utf8, ["3.14159".into(), format!("-0.{}1", zeros(99)), format!("1{}", zeros(100))]),
        ("BF", "BINARY_FLOAT", Float32, texts(["-1.5", "-3.4028235e38", "inf"])),
        ("BD", "BINARY_DOUBLE", Float64, texts(["2.5", "-1.7976931348623157e308", "NaN"])),
        ("D", "DATE", MICROS, texts(["2024-02-29T23:59:58", "0001-01-01T00:00:00", "9999-12-31T23:59:59"])),
        (
            "TS",
            "TIMESTAMP(6)",
            MICROS,
            texts(["1969-07-20T20:17:40.123456", "0001-01-01T00:00:00", "9999-12-31T23:59:59.999999"]),
        ),
        (
            "TS9",
            "TIMESTAMP(9)",
            MICROS,
            texts(["1969-07-20T20:17:40.123456", "1678-01-01T00:00:00", "2262-01-01T00:00:00.999999"]),
        ),
        (
            "TSTZ",
            "TIMESTAMP(6) WITH TIME ZONE",
            instant(),
            texts(["2024-01-01T21:34:05.600Z", "0001-01-02T12:00:00Z", "9999-12-30T09:59:59.999999Z"]),
        ),
        (
            "TSLTZ",
            "TIMESTAMP(6) WITH LOCAL TIME ZONE",
            instant(),
            texts(["2024-07-01T12:00:00.000001Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"]),
        ),
        ("IYM", "INTERVAL YEAR(9) TO MONTH", Utf8, texts(["P3Y2M", "P-999999999Y-11M", "P999999999Y11M"])),
        (
            "IDS",
            "INTERVAL DAY(9) TO SECOND(6)",
            Utf8,
            texts(["P4DT5H6M7.89S", "P-999999999DT-23H-59M-59.999999S", "P999999999DT23H59M59.999999S"]),
        ),
        ("C", "CHAR(5 CHAR)", Utf8, texts(["ab   ", "     ", "\u{1F600}\u{1F600}abc"])),
        ("V", "VARCHAR2(100 CHAR)", Utf8, ["h\u{e9}llo".into(), " ".into(), "\u{10FFFF}".repeat(20)]),
        ("V_BYTES", "VARCHAR2(4000)", Utf8, ["x".into(), "z".into(), "w".repeat(40)]),
        ("NC", "NCHAR(4)", Utf8, texts(["n   ", "    ", "\u{4e2d}\u{6587}ab"])),
        ("NV", "NVARCHAR2(50)", Utf8, ["\u{17c}\u{f3}\u{142}w".into(), " ".into(), "\u{1F600}".repeat(25)]),
        ("R", "RAW(16)", Binary, ["00ff10".into(), "00".into(), "ff".repeat(16)]),
        ("CL", "CLOB", Utf8, ["a clob".into(), " ".into(), "L\u{f6}\u{1F600}".repeat(20)]),
        ("NCL", "NCLOB", Utf8, ["an nclob".into(), "\u{e9}".into(), "\u{4e2d}\u{6587}".repeat(20)]),
        ("BL", "BLOB", Binary, ["010203".into(), "00".into(), "0001fe".repeat(20)]),
        ("X", "XMLTYPE", Utf8, texts(["<a b=\"c\">\u{fc}</a>", "<a/>", "<b>&amp;</b>"])),
        (
            "TS3",
            "TIMESTAMP(3)",
            MICROS,
            texts(["2024-01-02T03:04:05.678", "0001-01-01T00:00:00", "9999-12-31T23:59:59.999"]),
        ),
        ("TS0", "TIMESTAMP(0)", MICROS, texts(["2024-01-02T03:04:05", "0001-01-01T00:00:00", "9999-12-31T23:59:59"])),
        (
            "TSTZ9",
            "TIMESTAMP(9) WITH TIME ZONE",
            instant(),
            texts(["2024-01-01T21:34:05.123456Z", "0001-01-02T12:00:00Z", "9999-12-30T09:59:59.999999Z"]),
        ),
        ("N_2", "NUMBER(2)", Int32, texts(["-7", "-99", "99"])),
        ("N_4", "NUMBER(4)", Int32, texts(["1234", "-9999", "9999"])),
        ("N_18", "NUMBER(18)", Int64, both("123456789012345678", "9".repeat(18))),
        ("N_19", "NUMBER(19)", Decimal128(19, 0), both("1234567890123456789", "9".repeat(19))),
        ("N_WIDE", "NUMBER(36,-2)", Decimal128(38, 0), both(&format!("{}00", "1".repeat(36)), "9".repeat(36) + "00")),
        ("N_SMALL", "NUMBER(3,40)", Utf8, both(&format!("0.{}12", zeros(38)), format!("0.{}999", zeros(37)))),
        ("RID", "ROWID", Utf8, texts(["AAASW7AAHAAAAFbAAA", "AAAAABAABAAAAAAAAA", "AAASW7AAHAAAAFbAAB"])),
    ]
}

/// The type that a load gives a column, as its operator chose for numbers.
type Numbers = fn(&str, DataType) -> DataType;

fn precise(_: &str, data_type: DataType) -> DataType {
    data_type
}

fn is_number(source_type: &str) -> bool {
    source_type.starts_with("NUMBER") || source_type.starts_with("FLOAT")
}

fn as_text(source_type: &str, data_type: DataType) -> DataType {
    if is_number(source_type) { DataType::Utf8 } else { data_type }
}

fn as_double(source_type: &str, data_type: DataType) -> DataType {
    if is_number(source_type) { DataType::Float64 } else { data_type }
}

fn oracle(name: &str) -> Recorded {
    let mut recorded = recorded(&format!("oracle/{name}"));
    if name != "doubles" {
        recorded.modes.intervals = Some(Intervals::String);
    }
    recorded
}

fn table(numbers: Numbers, left_out: &[&str]) -> Table {
    let columns = loaded().into_iter().filter(|(name, ..)| !left_out.contains(name));
    let columns = columns.map(|(name, of, kind, _)| column(name, name != "ID", of, numbers(of, kind))).collect();
    // A double is no key.
    let key = if numbers("NUMBER", DataType::Utf8) == DataType::Float64 { vec![] } else { vec![0] };
    let schema = TableSchema::new(TableId::new("SHOP", "TYPES"), columns, key).unwrap();
    let left_out = left_out.iter().map(|name| (*name).to_owned()).collect();
    Table { schema: Arc::new(schema), whole_before: false, left_out }
}

/// Finds the columns that a mode refuses, each by its name, and checks every cell of all others; `lost` are those that
/// Debezium cannot say so far back or ahead, and sends NULL for.
fn check(name: &str, numbers: Numbers, refused: &[&str], lost: &[&str]) {
    let recorded = oracle(name);
    let records = recorded.records("SHOP.TYPES");
    for (column, ..) in loaded().iter().filter(|(name, ..)| *name != "ID") {
        let all = loaded();
        let others: Vec<_> = all.iter().map(|(n, ..)| *n).filter(|n| *n != "ID" && n != column).collect();
        let mut decoder = recorded.decoder();
        decoder.set_table(table(numbers, &others)).unwrap();
        let seen = push(&mut decoder, &records[0]);
        match refused.contains(column) {
            false => assert_eq!(seen, "row of SHOP.TYPES", "{name}: {column}"),
            true => assert!(seen.contains(&format!("column={column}")), "{name}: {column}: {seen}"),
        }
    }
    let mut decoder = recorded.decoder();
    decoder.set_table(table(numbers, refused)).unwrap();
    let seen: Vec<_> = records.iter().map(|record| push(&mut decoder, record)).collect();
    assert_eq!(seen, ["row of SHOP.TYPES"; 4], "{name}");
    let batch = decoder.take().unwrap().remove(0);
    for (column, source_type, kind, texts) in loaded().iter().filter(|(n, ..)| !refused.contains(n)) {
        let array = batch.rows.column_by_name(column).unwrap();
        assert_eq!(*array.data_type(), numbers(source_type, kind.clone()), "{name}: {column}");
        for (row, text) in [0, 2, 3].into_iter().zip(texts) {
            let expected = match array.data_type() {
                _ if row > 0 && lost.contains(column) => "NULL".to_owned(),
                DataType::Float64 if is_number(source_type) => format!("{:?}", text.parse::<f64>().unwrap()),
                _ => text.clone(),
            };
            assert_eq!(cell(array, row), expected, "{name}: {column}, row {row}");
        }
        let second = cell(array, 1);
        assert_eq!(second, if *column == "ID" { cell(array, 0).replace('1', "2") } else { "NULL".into() }, "{column}");
    }
}

/// What Debezium sends as a number of microseconds, a month being so many days.
const INTERVALS: &[&str] = &["IYM", "IDS"];

#[test]
fn json_and_avro() {
    for name in ["schemas", "plain", "avro"] {
        check(name, precise, &[], &[]);
    }
}

#[test]
fn numbers_as_text_and_as_doubles() {
    // Whatever the load made of them. Kafka Connect's own times are milliseconds.
    check("strings", precise, &["TS", "TS9"], &[]);
    check("strings", as_text, &["TS", "TS9"], &[]);
    check("schemas", as_text, &[], &[]);
    check("schemas", as_double, &[], &[]);
    check("doubles", as_double, INTERVALS, &[]);
    let recorded = oracle("doubles");
    let mut decoder = recorded.decoder();
    decoder.set_table(table(precise, &[])).unwrap();
    let seen = push(&mut decoder, &recorded.records("SHOP.TYPES")[0]);
    assert!(seen.starts_with("decimal.handling.mode=double loses digits of this column") && seen.contains("column=ID"));
}

#[test]
fn times_as_text_in_microseconds_and_in_nanoseconds() {
    check("iso", precise, &[], &[]);
    check("micros", precise, &[], &[]);
    check("nanos", precise, &[], &["D", "TS", "TS3", "TS0"]);
}

fn lobs() -> Table {
    let columns = vec![
        column("ID", false, "NUMBER(9)", DataType::Int32),
        column("V", true, "VARCHAR2(10)", DataType::Utf8),
        column("CL", true, "CLOB", DataType::Utf8),
        column("NCL", true, "NCLOB", DataType::Utf8),
        column("BL", true, "BLOB", DataType::Binary),
        column("X", true, "XMLTYPE", DataType::Utf8),
    ];
    let schema = TableSchema::new(TableId::new("SHOP", "LOBS"), columns, vec![0]).unwrap();
    Table { schema: Arc::new(schema), whole_before: false, left_out: vec![] }
}

#[test]
fn large_objects_that_did_not_change_are_missing() {
    for name in ["schemas", "plain", "avro"] {
        let recorded = oracle(name);
        let mut decoder = recorded.decoder();
        decoder.set_table(lobs()).unwrap();
        let records = recorded.records("SHOP.LOBS");
        let seen: Vec<_> = records.iter().map(|record| push(&mut decoder, record)).collect();
        assert_eq!(seen[4], "Skipped(Tombstone)", "{name}");
        let expected = [
            "0 insert 1 | a | a clob | an nclob | 0102 | <x/>",
            "1 update 1 | b | ~ | ~ | ~ | ~",
            "2 insert 2 | c | NULL | NULL | NULL | NULL",
            "3 delete 1 | NULL | NULL | NULL | NULL | NULL",
            "5 read 1 | a | a clob | an nclob | 0102 | <x/>",
            "6 read 2 | b | NULL | NULL | NULL | NULL",
            "7 read 3 | c | NULL | NULL | NULL | NULL",
        ];
        assert_eq!(taken(&mut decoder), expected, "{name}");
    }
}

/// A row that is new has every value, or the table would have the placeholder for one.
#[test]
fn a_new_row_without_a_value_is_refused() {
    let recorded = oracle("plain");
    let update = &recorded.records("SHOP.LOBS")[1];
    let text = std::str::from_utf8(update.value()).unwrap();
    for op in ["c", "r"] {
        let mut decoder = recorded.decoder();
        decoder.set_table(lobs()).unwrap();
        let new = text.replace(r#""op":"u""#, &format!(r#""op":"{op}""#));
        let message = Message { offset: 0, key: Some(br#"{"ID":1}"#), value: Some(new.as_bytes()), header: &|_| None };
        let error = decoder.push(&message, &mut |_, _| Keep::Yes).unwrap_err().to_string();
        assert!(error.starts_with("a new row without the column's value") && error.contains("column=CL"), "{error}");
        assert!(taken(&mut decoder).is_empty());
    }
}

#[test]
fn keys_that_change_rows_without_one_and_truncation() {
    for name in ["schemas", "plain", "avro"] {
        let recorded = oracle(name);
        let mut decoder = recorded.decoder();
        let table = |name: &str, columns, key| {
            let schema = TableSchema::new(TableId::new("SHOP", name), columns, key).unwrap();
            Table { whole_before: schema.key().is_empty(), schema: Arc::new(schema), left_out: vec![] }
        };
        let v = || column("V", true, "VARCHAR2(10)", DataType::Utf8);
        let id = column("ID", false, "NUMBER(9)", DataType::Int32);
        decoder.set_table(table("KEYED", vec![id, v()], vec![0])).unwrap();
        recorded.records("SHOP.KEYED").iter().for_each(|record| drop(push(&mut decoder, record)));
        assert_eq!(taken(&mut decoder), ["0 insert 1 | a", "1 moved 1 | NULL", "3 insert 9 | a"], "{name}");
        let n = column("N", true, "NUMBER(5,2)", DataType::Decimal128(5, 2));
        decoder.set_table(table("KEYLESS", vec![v(), n], vec![])).unwrap();
        let records = recorded.records("SHOP.KEYLESS");
        let seen: Vec<_> = records.iter().map(|record| push(&mut decoder, record)).collect();
        assert!(seen[4].starts_with("Truncate(SHOP.KEYLESS)"), "{name}: {}", seen[4]);
        let expected = [
            "0 insert a | 1.50",
            "1 update b | 1.50 before(a | 1.50)",
            "2 delete b | 1.50",
            "5 read k | 2.00",
            "6 insert z | 9.00",
        ];
        assert_eq!(taken(&mut decoder), expected, "{name}");
    }
}

#[test]
fn intervals_finer_than_microseconds_are_refused() {
    for name in ["plain", "schemas"] {
        let recorded = oracle(name);
        let columns = vec![
            column("ID", false, "NUMBER(9)", DataType::Int32),
            column("IDS", true, "INTERVAL DAY(2) TO SECOND(9)", DataType::Utf8),
        ];
        let schema = TableSchema::new(TableId::new("SHOP", "FINE"), columns, vec![0]).unwrap();
        let mut decoder = recorded.decoder();
        decoder.set_table(Table { schema: Arc::new(schema), whole_before: false, left_out: vec![] }).unwrap();
        let seen = push(&mut decoder, &recorded.records("SHOP.FINE")[0]);
        assert!(seen.contains("column=IDS"), "{seen}");
    }
}

/// A table that was not loaded is made of what the events say.
#[test]
fn a_new_table_is_made_of_the_events() {
    let mut made = vec![];
    for name in ["schemas", "avro"] {
        let recorded = oracle(name);
        let seen = push(&mut recorded.decoder(), &recorded.records("SHOP.LOBS")[0]);
        made.push(seen);
    }
    let expected = "new SHOP.LOBS: ID Int32 key = int32, V Utf8? = string, CL Utf8? = string, NCL Utf8? = string, \
                    BL Binary? = bytes, X Utf8? = io.debezium.data.Xml";
    assert_eq!(made, [expected; 2]);
    let recorded = oracle("plain");
    let seen = push(&mut recorded.decoder(), &recorded.records("SHOP.LOBS")[0]);
    assert!(seen.starts_with("a message without a schema, of a table whose source types are not known"), "{seen}");
}

#[test]
fn events_say_where_they_stand() {
    for name in ["schemas", "plain", "avro"] {
        let recorded = oracle(name);
        let mut decoder = recorded.decoder();
        let mut places: Vec<SourcePosition> = vec![];
        for topic in ["SHOP.LOBS", "SHOP.KEYED"] {
            for record in recorded.records(topic) {
                let _ = decoder.push(&record.message(), &mut |_, place| {
                    places.push(*place);
                    Keep::No
                });
            }
        }
        let of = |i: usize| {
            let p: &SourcePosition = &places[i];
            (p.thread, p.commit, p.transaction, p.within, p.own, p.total_order)
        };
        let (first, second) = (Some(0x0100_0200_0300_0000), Some(0x0200_0300_ff00_0000));
        assert_eq!(of(0), (Some(2), Some(2_000_450), first, Some(1), Some(2_000_050), Some(1)), "{name}");
        assert_eq!(of(1), (Some(1), Some(2_000_600), second, Some(1), Some(2_000_080), Some(1)));
        assert_eq!(of(4), (None, None, None, None, Some(1_999_000), None), "a snapshot's row");
        // The two events of a changed key are one of Oracle's.
        assert_eq!(of(8), (Some(1), Some(2_000_600), second, Some(3), Some(2_000_100), Some(3)));
        assert_eq!(of(9), (Some(1), Some(2_000_600), second, Some(3), Some(2_000_100), Some(4)));
        let told = recorded.records("transaction").iter().map(|record| push(&mut decoder, record)).collect::<Vec<_>>();
        let end =
            r#"Transaction(Transaction { id: "0100020003000000", events: Some(3), tables: [("ORCL.SHOP.LOBS", 1), ("#;
        assert!(told[3].starts_with(end), "{name}: {}", told[3]);
    }
}

#[test]
fn events_without_their_own_commit_are_refused() {
    let recorded = oracle("plain");
    let records = recorded.records("SHOP.LOBS");
    let (first, read) =
        (std::str::from_utf8(records[0].value()).unwrap(), std::str::from_utf8(records[4 + 1].value()).unwrap());
    let check = |text: &str, was: &str, is: &str| {
        assert!(text.contains(was), "{text}");
        let mut decoder = recorded.decoder();
        decoder.set_table(lobs()).unwrap();
        let value = text.replace(was, is);
        let message =
            Message { offset: 1, key: Some(br#"{"ID":1}"#), value: Some(value.as_bytes()), header: &|_| None };
        let pushed = decoder.push(&message, &mut |table, _| kept_if(table.to_string() == "SHOP.LOBS"));
        pushed.map_or_else(|error| error.to_string(), |pushed| format!("{pushed:?}"))
    };
    let seen = check(first, r#""commit_scn":"2000450""#, r#""commit_scn":null"#);
    assert!(seen.starts_with("an event that does not say where its transaction committed"), "{seen}");
    let seen = check(first, r#""version":"3.6.1.Final""#, r#""version":"3.2.5.Final""#);
    assert!(seen.starts_with("events of a Debezium before 3.3"), "{seen}");
    // Of a snapshot's rows none has one.
    assert_eq!(check(read, r#""version":"3.6.1.Final""#, r#""version":"10.0.0.Final""#), "Row(Read)");
}

/// What the first event says counts for all of a topic.
#[test]
fn events_of_two_databases_are_not_mixed() {
    let recorded = oracle("plain");
    let mut decoder = recorded.decoder();
    decoder.set_table(lobs()).unwrap();
    let records = recorded.records("SHOP.LOBS");
    push(&mut decoder, &records[0]);
    let other = std::str::from_utf8(records[1].value()).unwrap();
    for (connector, why) in [
        ("postgresql", "the events are of another connector than those before"),
        ("mysql", "events of a connector that is not known"),
    ] {
        let value = other.replace(r#""connector":"oracle""#, &format!(r#""connector":"{connector}""#));
        let message =
            Message { offset: 1, key: Some(br#"{"ID":1}"#), value: Some(value.as_bytes()), header: &|_| None };
        let error = decoder.push(&message, &mut |_, _| Keep::Yes).unwrap_err().to_string();
        assert!(error.starts_with(why), "{error}");
    }
}

proptest! {
    /// Be it the one that would have told which database it is.
    #[test]
    fn a_damaged_first_message_hurts_no_other(
        name in prop::sample::select(vec!["plain", "schemas", "avro"]),
        which in 0..2_usize,
        hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let recorded = oracle(name);
        let records = recorded.records("SHOP.LOBS");
        let mut bad = records[which].value().to_vec();
        for (at, byte) in &hits {
            let at = at.index(bad.len());
            bad[at] = *byte;
        }
        if let Some(cut) = cut {
            bad.truncate(cut.index(bad.len()));
        }
        let mut decoder = recorded.decoder();
        decoder.set_table(lobs()).unwrap();
        let _ = decoder.push(&Message { offset: 100, value: Some(&bad), ..records[which].message() }, &mut |_, _| Keep::Yes);
        records[..2].iter().for_each(|record| drop(push(&mut decoder, record)));
        let seen: Vec<_> = taken(&mut decoder).into_iter().filter(|line| !line.starts_with("100 ")).collect();
        prop_assert_eq!(seen, ["0 insert 1 | a | a clob | an nclob | 0102 | <x/>", "1 update 1 | b | ~ | ~ | ~ | ~"]);
    }
}
