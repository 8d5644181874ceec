//! Changes that Debezium captures of Oracle, applied to tables that a load of ours made, and to others. The events are
//! recorded (see their README): no Oracle database is there to make them.

use connect_oracle_double::{Double, Length, Moment, Options, Personality, Rowid, Table, Type, Value};
use connect_tests::compare::{Rows, until_rows};
use connect_tests::debezium::Format;
use connect_tests::lake::Lake;
use connect_tests::recorded::Recorded;
use connect_tests::runtime::{Job, OK, Running, SOME_TABLES_FAILED};

use super::model;
use super::types::canonical;

const FORMATS: [Format; 3] = [Format::Json, Format::JsonWithSchemas, Format::Avro];

/// Before every commit that was recorded.
const BEFORE: u64 = 2_000_000;
/// Before the snapshot that was recorded.
const BEFORE_SNAPSHOT: u64 = 1_998_000;
/// The commit of the first transaction that was recorded. One of another redo thread committed earlier and comes after
/// it; one that committed at 2000600 has changes from 2000080 on.
const FIRST_COMMIT: u64 = 2_000_500;

type Columns = Vec<(&'static str, Type, &'static str, [Value; 3])>;

/// The columns of the table that was recorded, the Iceberg types that they have, and the values of rows 1, 3 and 4.
fn columns() -> Columns {
    let (number, text) = (Value::number, |text: &str| Value::text(text));
    let nines = "9".repeat(38);
    let least = Moment::new(1, 1, 1, 0, 0, 0);
    let greatest = Moment::new(9999, 12, 31, 23, 59, 59);
    let day = 86_400_000_000_000_i128;
    let bytes = Value::Bytes;
    let rowid = |text: &str| Value::Rowid(Rowid::parse(text).unwrap());
    vec![
        ("N", free(), "string", [number("12345678901234567890.5"), number("-9.99e125"), number("9.99e125")]),
        ("N_TINY", free(), "string", [number("0.1"), number("1e-130"), number("-1e-130")]),
        ("N_9_2", Type::number(9, 2), "decimal(9, 2)", [number("-99.99"), number("-9999999.99"), number("9999999.99")]),
        ("N_38", Type::number(38, 0), "decimal(38, 0)", [number("0"), number(&format!("-{nines}")), number(&nines)]),
        ("N_NEG", Type::number(5, -2), "int", [number("12300"), number("-9999900"), number("9999900")]),
        ("N_FRACTION", Type::number(2, 5), "decimal(5, 5)", [number("0.00012"), number("-0.00099"), number("0.00099")]),
        (
            "N_STAR",
            Type::Number(None, Some(0)),
            "decimal(38, 0)",
            [number("7"), number(&format!("-{nines}")), number(&nines)],
        ),
        ("F", Type::Float(126), "string", [number("3.14159"), number("-1e-100"), number("1e100")]),
        ("BF", Type::BinaryFloat, "float", [-1.5, f32::MIN, f32::INFINITY].map(Value::Float)),
        ("BD", Type::BinaryDouble, "double", [2.5, f64::MIN, f64::NAN].map(Value::Double)),
        ("D", Type::Date, "timestamp", [Moment::new(2024, 2, 29, 23, 59, 58), least, greatest].map(Value::Date)),
        (
            "TS",
            Type::Timestamp(6),
            "timestamp",
            [Moment::new(1969, 7, 20, 20, 17, 40).nanos(123_456_000), least, greatest.nanos(999_999_000)]
                .map(Value::Timestamp),
        ),
        (
            "TS9",
            Type::Timestamp(9),
            "timestamp",
            [
                Moment::new(1969, 7, 20, 20, 17, 40).nanos(123_456_789),
                Moment::new(1678, 1, 1, 0, 0, 0).nanos(1),
                Moment::new(2262, 1, 1, 0, 0, 0).nanos(999_999_999),
            ]
            .map(Value::Timestamp),
        ),
        (
            "TSTZ",
            Type::TimestampTz(6),
            "timestamptz",
            [
                Value::Zoned(Moment::new(2024, 1, 1, 21, 34, 5).nanos(600_000_000), 330),
                Value::Zoned(Moment::new(1, 1, 2, 12, 0, 0), -720),
                Value::Zoned(Moment::new(9999, 12, 30, 9, 59, 59).nanos(999_999_000), 840),
            ],
        ),
        (
            "TSLTZ",
            Type::TimestampLtz(6),
            "timestamptz",
            [Moment::new(2024, 7, 1, 12, 0, 0).nanos(1_000), least, greatest.nanos(999_999_000)].map(Value::Timestamp),
        ),
        ("IYM", Type::IntervalYm(9), "string", [38, -11_999_999_999, 11_999_999_999].map(Value::Months)),
        (
            "IDS",
            Type::IntervalDs(9, 6),
            "string",
            [4 * day + 18_367_890_000_000, -999_999_999 * day - (day - 1_000), 999_999_999 * day + (day - 1_000)]
                .map(Value::Nanos),
        ),
        ("C", Type::Char(Length::Chars(5)), "string", ["ab   ", "     ", "\u{1F600}\u{1F600}abc"].map(text)),
        ("V", Type::text(100), "string", [text("h\u{e9}llo"), text(" "), text(&"\u{10FFFF}".repeat(20))]),
        ("V_BYTES", Type::Varchar2(Length::Bytes(4000)), "string", [text("x"), text("z"), text(&"w".repeat(40))]),
        ("NC", Type::Nchar(4), "string", ["n   ", "    ", "\u{4e2d}\u{6587}ab"].map(text)),
        (
            "NV",
            Type::Nvarchar2(50),
            "string",
            [text("\u{17c}\u{f3}\u{142}w"), text(" "), text(&"\u{1F600}".repeat(25))],
        ),
        ("R", Type::Raw(16), "binary", [vec![0, 255, 16], vec![0], vec![255; 16]].map(bytes)),
        ("CL", Type::Clob, "string", [text("a clob"), text(" "), text(&"L\u{f6}\u{1F600}".repeat(20))]),
        ("NCL", Type::Nclob, "string", [text("an nclob"), text("\u{e9}"), text(&"\u{4e2d}\u{6587}".repeat(20))]),
        ("BL", Type::Blob, "binary", [vec![1, 2, 3], vec![0], [0, 1, 254].repeat(20)].map(bytes)),
        ("X", Type::Xml, "string", ["<a b=\"c\">\u{fc}</a>", "<a/>", "<b>&amp;</b>"].map(text)),
        (
            "TS3",
            Type::Timestamp(3),
            "timestamp",
            [Moment::new(2024, 1, 2, 3, 4, 5).nanos(678_000_000), least, greatest.nanos(999_000_000)]
                .map(Value::Timestamp),
        ),
        (
            "TS0",
            Type::Timestamp(0),
            "timestamp",
            [Moment::new(2024, 1, 2, 3, 4, 5), least, greatest].map(Value::Timestamp),
        ),
        (
            "TSTZ9",
            Type::TimestampTz(9),
            "timestamptz",
            [
                Value::Zoned(Moment::new(2024, 1, 1, 21, 34, 5).nanos(123_456_789), 330),
                Value::Zoned(Moment::new(1, 1, 2, 12, 0, 0).nanos(1), -720),
                Value::Zoned(Moment::new(9999, 12, 30, 9, 59, 59).nanos(999_999_999), 840),
            ],
        ),
        ("N_2", Type::number(2, 0), "int", ["-7", "-99", "99"].map(number)),
        ("N_4", Type::number(4, 0), "int", ["1234", "-9999", "9999"].map(number)),
        (
            "N_18",
            Type::number(18, 0),
            "long",
            [number("123456789012345678"), number(&format!("-{}", &nines[..18])), number(&nines[..18])],
        ),
        (
            "N_19",
            Type::number(19, 0),
            "decimal(19, 0)",
            [number("1234567890123456789"), number(&format!("-{}", &nines[..19])), number(&nines[..19])],
        ),
        (
            "N_WIDE",
            Type::number(36, -2),
            "decimal(38, 0)",
            [
                number(&format!("{}00", "1".repeat(36))),
                number(&format!("-{}00", &nines[..36])),
                number(&format!("{}00", &nines[..36])),
            ],
        ),
        ("N_SMALL", Type::number(3, 40), "string", ["12e-40", "-999e-40", "999e-40"].map(number)),
        ("RID", Type::Rowid, "string", ["AAASW7AAHAAAAFbAAA", "AAAAABAABAAAAAAAAA", "AAASW7AAHAAAAFbAAB"].map(rowid)),
    ]
}

fn free() -> Type {
    Type::Number(None, None)
}

/// The table as the database has it, with one row of its own.
fn typed() -> Table {
    let table = Table::new("SHOP", "TYPES").column("ID", Type::number(9, 0)).not_null();
    let columns = columns();
    let table = columns.iter().fold(table, |table, (name, kind, ..)| table.column(name, *kind)).primary_key(&["ID"]);
    let nulls = vec![Value::Null; columns.len()];
    table.row([vec![Value::int(5)], nulls].concat())
}

/// The rows that were recorded, and the one that was there.
fn typed_rows() -> Rows {
    let columns = columns();
    let nulls = |id: &str| [vec![Some(id.to_owned())], vec![None; columns.len()]].concat();
    let row = |id: &str, of: usize| {
        let cells = columns.iter().map(|(_, _, kind, values)| canonical(&values[of], kind));
        [vec![Some(id.to_owned())], cells.collect()].concat()
    };
    Rows {
        columns: [vec!["ID".to_owned()], columns.iter().map(|(name, ..)| (*name).to_owned()).collect()].concat(),
        rows: vec![row("1", 0), nulls("2"), row("3", 1), row("4", 2), nulls("5")],
    }
}

/// A table of large objects, with a row.
fn lobs() -> Table {
    let table = Table::new("SHOP", "LOBS").column("ID", Type::number(9, 0)).not_null().column("V", Type::text(10));
    let table = table.column("CL", Type::Clob).column("NCL", Type::Nclob).column("BL", Type::Blob);
    let row = [
        Value::int(1),
        Value::text("a"),
        Value::text("of the load"),
        Value::text("likewise"),
        Value::Bytes(vec![255]),
        Value::text("<load/>"),
    ];
    table.column("X", Type::Xml).primary_key(&["ID"]).row(row.to_vec())
}

fn keyed() -> Table {
    Table::new("SHOP", "KEYED")
        .column("ID", Type::number(9, 0))
        .not_null()
        .column("V", Type::text(10))
        .primary_key(&["ID"])
}

fn keyless() -> Table {
    let table = Table::new("SHOP", "KEYLESS").column("V", Type::text(10)).column("N", Type::number(5, 2));
    table.row(vec![Value::text("b"), Value::number("1.5")])
}

/// The rows of a table of texts and numbers.
fn rows(columns: &[&str], rows: &[&[Option<&str>]]) -> Rows {
    let row = |row: &&[Option<&str>]| row.iter().map(|cell| cell.map(str::to_owned)).collect();
    Rows { columns: columns.iter().map(|c| (*c).to_owned()).collect(), rows: rows.iter().map(row).collect() }
}

const LOBS: [&str; 6] = ["ID", "V", "CL", "NCL", "BL", "X"];
const KEYED: [&str; 2] = ["ID", "V"];
const KEYLESS: [&str; 2] = ["V", "N"];

/// A database at an SCN, and a job that loads these tables of it and follows what was recorded.
fn loading(scn: u64, tables: Vec<Table>, recorded: &Recorded) -> (Double, Job) {
    let double = Double::start(model(tables).scn(scn), Options::new(Personality::V19c)).unwrap();
    let job = Job::of_oracle(double.port());
    (double, recorded.sink_keys().into_iter().fold(job, |job, (key, value)| job.sink(key, &value)))
}

/// Waits until the tables are loaded: what follows comes behind the load in their topics.
fn until_loaded(lake: &Lake, tables: &[&str], scn: u64, running: &mut Running) {
    for table in tables {
        // The ledger follows the table.
        let completed = || lake.status(&format!("SHOP.{table}")).filter(|row| row["load_status"] == "completed");
        let status = running.until("the tables", completed);
        assert_eq!(status["load_position"], scn.to_string(), "{table}");
    }
    assert_eq!(lake.loaded_tables().len(), tables.len());
}

#[test]
fn types_of_events_are_those_of_the_load() {
    for format in FORMATS {
        let recorded = Recorded::new(format, "ora-types", &["TYPES"]);
        let (_double, job) = loading(BEFORE, vec![typed()], &recorded);
        let (lake, mut running) = (job.lake(), job.start(&[]));
        until_loaded(&lake, &["TYPES"], BEFORE, &mut running);
        let loaded = super::types::types(&lake, "TYPES");
        let expected: Vec<_> =
            columns().iter().map(|(name, _, kind, _)| ((*name).to_owned(), (*kind).to_owned())).collect();
        assert_eq!(loaded[1..], expected[..]);
        recorded.send("TYPES", 0..4);
        recorded.send_transactions();
        until_rows(&typed_rows(), &lake, "TYPES", &mut running);
        assert_eq!(super::types::types(&lake, "TYPES"), loaded, "no event changed the table");
        running.terminate();
        running.wait().expect(OK);
    }
}

/// Sends what LOBS became, and kills the process in the middle of it; one that goes on.
fn killed_between(recorded: &Recorded, job: &Job, mut running: Running) -> Running {
    recorded.send("LOBS", 0..2);
    let updated = [Some("1"), Some("b"), Some("of the load"), Some("likewise"), Some("ff"), Some("<load/>")];
    until_rows(&rows(&LOBS, &[&updated]), &job.lake(), "LOBS", &mut running);
    running.kill();
    let running = job.start(&[]);
    recorded.send("LOBS", 2..5);
    running
}

/// P1: what had committed by the load's SCN is in it, and only that; be the change older than the SCN or not. Two redo
/// threads take turns, the process is killed, and a run of events comes twice.
#[test]
fn the_commit_decides_what_the_load_has() {
    for format in FORMATS {
        let tables = ["TYPES", "LOBS", "KEYED", "KEYLESS"];
        let recorded = Recorded::new(format, "ora-cut", &tables);
        // The load holds other values than the events of what it has, so that one that is applied again is seen.
        let all = vec![typed(), lobs(), keyed(), keyless()];
        let (_double, job) = loading(FIRST_COMMIT, all, &recorded);
        let job = job.sink("position.commit.interval-ms", "200");
        let (lake, mut running) = (job.lake(), job.start(&[]));
        until_loaded(&lake, &tables, FIRST_COMMIT, &mut running);
        let loaded = typed_rows().rows.split_off(4);
        // At the SCN, and before it of another redo thread; then what is older than the SCN and committed after it.
        recorded.send("TYPES", 0..4);
        let mut running = killed_between(&recorded, &job, running);
        recorded.send("KEYED", 0..4);
        // Both before the load, and all of them again.
        recorded.send("KEYLESS", [0, 1, 2, 3, 4, 6, 0, 1, 2, 3, 4, 6]);
        recorded.send("LOBS", 0..5);
        recorded.send_transactions();
        until_rows(&rows(&KEYED, &[&[Some("9"), Some("a")]]), &lake, "KEYED", &mut running);
        until_rows(&rows(&KEYLESS, &[&[Some("z"), Some("9.00")]]), &lake, "KEYLESS", &mut running);
        let inserted = [Some("2"), Some("c"), None, None, None, None];
        until_rows(&rows(&LOBS, &[&inserted]), &lake, "LOBS", &mut running);
        // What comes to nothing is passed: the ends of the topics are reached.
        let at_end = |table: &str, next: &str| {
            let described = lake.describe(table);
            let position = described["properties"]["connect-runtime.position"].as_str()?.to_owned();
            // The offset, and behind it the mark, whatever stands around it.
            let mark = position.split('"').find(|text| text.contains(" last="))?.to_owned();
            (mark.split(' ').next() == Some(next)).then_some(mark)
        };
        let mark = running.until("the end of LOBS", || at_end("LOBS", "10"));
        assert!(mark.contains("last=2000600,5 thread=1") && mark.contains("last=2000450,1 thread=2"), "{mark}");
        running.until("the end of KEYLESS", || at_end("KEYLESS", "12"));
        let mark = running.until("the end of TYPES", || at_end("TYPES", "4"));
        assert!(mark.contains("last=2000500,4 thread=1"), "{mark}");
        running.terminate();
        running.wait().expect(OK);
        let expected = Rows { columns: typed_rows().columns, rows: loaded };
        super::assert_rows(&lake, "TYPES", &expected);
    }
}

/// P20, P24: each partition of a topic has its own marks, by which what comes again is known.
#[test]
fn partitions_are_followed_side_by_side() {
    for format in [Format::Json, Format::Avro] {
        let recorded = Recorded::spread(format, "ora-parts", &["LOBS"], 3);
        let (_double, job) = loading(FIRST_COMMIT, vec![lobs()], &recorded);
        let job = job.sink("position.commit.interval-ms", "200");
        let (lake, mut running) = (job.lake(), job.start(&[]));
        until_loaded(&lake, &["LOBS"], FIRST_COMMIT, &mut running);
        let mut running = killed_between(&recorded, &job, running);
        // Not to its end: a row that is gone would be back.
        recorded.send("LOBS", 0..3);
        recorded.send_transactions();
        let ends = || {
            let described = lake.describe("LOBS");
            let position = described["properties"]["connect-runtime.position"].as_str()?.to_owned();
            let marks = position.split('"').filter(|text| text.contains(" last="));
            let offsets: Vec<u32> = marks.filter_map(|mark| mark.split(' ').next()?.parse().ok()).collect();
            (offsets.iter().sum::<u32>() == 8).then_some(offsets.len())
        };
        assert_eq!(running.until("the ends of the partitions", ends), 2);
        let inserted = [Some("2"), Some("c"), None, None, None, None];
        super::assert_rows(&lake, "LOBS", &rows(&LOBS, &[&inserted]));
        running.terminate();
        running.wait().expect(OK);
    }
}

/// Tables that no load made, of events that tell their columns: of a snapshot of Debezium's, and of changes alone.
#[test]
fn tables_are_made_of_events() {
    for format in [Format::JsonWithSchemas, Format::Avro] {
        let recorded = Recorded::new(format, "ora-new", &["TYPES", "LOBS", "KEYED"]);
        let job = Job::following(connect_tests::kafka::Kafka::shared(), "");
        let job = recorded.sink_keys().into_iter().fold(job, |job, (key, value)| job.sink(key, &value));
        recorded.send("TYPES", 0..4);
        recorded.send("LOBS", 5..8);
        recorded.send("KEYED", 0..4);
        let (lake, mut running) = (job.lake(), job.start(&[]));
        until_rows(&rows(&KEYED, &[&[Some("9"), Some("a")]]), &lake, "KEYED", &mut running);
        let first = [Some("1"), Some("a"), Some("a clob"), Some("an nclob"), Some("0102"), Some("<x/>")];
        let of = |id, v| [Some(id), Some(v), None, None, None, None];
        let expected = rows(&LOBS, &[&first, &of("2", "b"), &of("3", "c")]);
        until_rows(&expected, &lake, "LOBS", &mut running);
        // The others go on.
        running.until_it_says("events do not tell whether these are: load the table, or leave the column out");
        running.terminate();
        running.wait().expect(SOME_TABLES_FAILED).says(&["SHOP.TYPES", "column=IYM"]);
    }
}

/// P4: a snapshot of Debezium's takes the place of the table's rows in one commit; what comes of one that began before the load
/// is passed over.
#[test]
fn a_snapshot_takes_the_place_of_a_loads_rows() {
    let first = [Some("1"), Some("a"), Some("a clob"), Some("an nclob"), Some("0102"), Some("<x/>")];
    let of = |id, v| [Some(id), Some(v), None, None, None, None];
    let snapshot = rows(&LOBS, &[&first, &of("2", "b"), &of("3", "c")]);
    let gone =
        || lobs().row([Value::int(7), Value::text("gone")].into_iter().chain([const { Value::Null }; 4]).collect());
    let loaded = [Some("1"), Some("a"), Some("of the load"), Some("likewise"), Some("ff"), Some("<load/>")];
    let loaded = rows(&LOBS, &[&loaded, &of("7", "gone")]);
    for (format, prefix, scn, from, expected) in [
        (Format::Json, "ora-anew", BEFORE_SNAPSHOT, 5, &snapshot),
        (Format::Avro, "ora-anew", BEFORE_SNAPSHOT, 5, &snapshot),
        (Format::Avro, "ora-passed", BEFORE, 6, &loaded),
    ] {
        let recorded = Recorded::new(format, prefix, &["LOBS", "KEYED"]);
        let (_double, job) = loading(scn, vec![gone(), keyed()], &recorded);
        let (lake, mut running) = (job.lake(), job.start(&[]));
        until_loaded(&lake, &["LOBS", "KEYED"], scn, &mut running);
        recorded.send("LOBS", from..8);
        // What comes behind it, elsewhere and where the snapshot was.
        recorded.send("KEYED", 0..4);
        until_rows(&rows(&KEYED, &[&[Some("9"), Some("a")]]), &lake, "KEYED", &mut running);
        until_rows(expected, &lake, "LOBS", &mut running);
        running.terminate();
        running.wait().expect(OK);
        super::assert_rows(&lake, "LOBS", expected);
        let counts: Vec<u64> = lake.history("LOBS", "ID").into_iter().map(|(_, rows)| rows).collect();
        assert!(counts.iter().all(|rows| [2, expected.rows.len() as u64].contains(rows)), "{counts:?}");
    }
}
