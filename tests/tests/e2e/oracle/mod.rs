//! Loads from Oracle: the program against a server that speaks Oracle's protocol over a small versioned store.
//!
//! It shows the wire, the plans, the retries and the errors; not what only a real server knows (docs/oracle.md).

mod changes;
mod chaos;
mod check;
mod connection;
mod faults;
mod handover;
mod load;
mod selection;
mod types;

use connect_oracle_double::{Database, Double, Model, Options, Personality, Scn, Table, Type, User, Value};
use connect_tests::compare::{Rows, difference};
use connect_tests::lake::{ENGINES, Lake};
use connect_tests::postgres::{PASSWORD, USER};
use connect_tests::runtime::Job;

/// Rows of the table LARGE.
const ROWS: u64 = 20_000;

/// The user that loads, with every right.
fn reader() -> User {
    User::new(&USER.to_uppercase(), PASSWORD).reader()
}

/// A database of these tables.
fn model(tables: impl IntoIterator<Item = Table>) -> Model {
    let owner = User::new("SHOP", "another");
    tables.into_iter().fold(Model::new().user(reader()).user(owner), Model::table)
}

/// A server of these tables.
fn double(personality: Personality, tables: impl IntoIterator<Item = Table>) -> Double {
    Double::start(model(tables), Options::new(personality)).unwrap()
}

/// A table of two columns and many rows, in many extents.
fn large() -> Table {
    let table = Table::new("SHOP", "LARGE").column("ID", Type::number(10, 0)).column("V", Type::text(40));
    let rows = (0..ROWS)
        .map(|id| vec![Value::int(id as i64), Value::text(format!("row {id} {}", "x".repeat(id as usize % 20)))]);
    rows.fold(table.primary_key(&["ID"]).layout(50, 8).analysed(ROWS, 40), Table::row)
}

/// A table without a key and with few rows, two of which are the same.
fn small() -> Table {
    let table = Table::new("SHOP", "SMALL").column("V", Type::text(10));
    [Value::text("a"), Value::text("a"), Value::Null].into_iter().fold(table, |table, value| table.row(vec![value]))
}

/// A table without rows.
fn none() -> Table {
    Table::new("SHOP", "NONE").column("ID", Type::number(9, 0)).primary_key(&["ID"])
}

/// A job on it whose chunks are small.
fn job(double: &Double) -> Job {
    let job = Job::of_oracle(double.port());
    job.source("parallel.chunk.size", "64KiB").source("batch.size", "500")
}

/// A plain value: integers and text, as `canonical.py` has them.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::Number(number) => Some(number.to_string()),
        Value::Text(text) => Some(text.clone()),
        other => panic!("{other:?} is not plain"),
    }
}

/// The rows that a table of plain values has as of an SCN.
fn expected(database: &Database, table: &str, columns: &[&str], scn: Scn) -> Rows {
    let rows = database.rows("SHOP", table, scn);
    Rows {
        columns: columns.iter().map(|c| (*c).to_owned()).collect(),
        rows: rows.iter().map(|(_, values)| values.iter().map(plain).collect()).collect(),
    }
}

/// Asserts that both foreign readers see these rows.
#[track_caller]
fn assert_rows(lake: &Lake, table: &str, expected: &Rows) {
    for engine in ENGINES {
        let got = lake.rows(engine, table).unwrap_or_else(|| panic!("{engine:?} finds no {table}"));
        if let Some(difference) = difference(expected, &got) {
            panic!("{engine:?}, {table}: {difference}");
        }
    }
}

/// The SCN that a table was loaded at, by the ledger.
#[track_caller]
fn scn(lake: &Lake, table: &str) -> Scn {
    let status = lake.status(&format!("SHOP.{table}")).unwrap_or_else(|| panic!("no status of {table}"));
    assert_eq!((status["load_status"].as_str(), status["position_type"].as_str()), ("completed", "scn"), "{status:?}");
    status["load_position"].parse().unwrap()
}

/// Asserts that the shop's tables are in the lake, each as of the SCN that it was loaded at; gives that of LARGE.
#[track_caller]
fn assert_loaded(database: &Database, lake: &Lake) -> Scn {
    for (table, columns) in [("LARGE", &["ID", "V"][..]), ("SMALL", &["V"]), ("NONE", &["ID"])] {
        assert_rows(lake, table, &expected(database, table, columns, scn(lake, table)));
        assert_eq!(lake.describe(table)["snapshots"], 1, "{table} was committed once");
    }
    scn(lake, "LARGE")
}
