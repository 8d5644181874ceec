//! What is loaded and what is not: kinds of tables, LONG, LOBs, lists; and how fast that is known.

use connect_oracle_double::{Kind, Personality, Table, Type, Value};
use connect_tests::runtime::{OK, SOME_TABLES_FAILED};

use super::{assert_rows, double, expected, job, large, small};

fn plain(name: &str) -> Table {
    Table::new("SHOP", name).column("ID", Type::number(9, 0)).row(vec![Value::int(7)])
}

#[test]
fn each_kind_of_table_is_read_or_refused_by_name() {
    let partitioned = Table::new("SHOP", "PARTS").column("ID", Type::number(9, 0)).column("V", Type::text(10));
    let partitioned = partitioned.partition("P1", "1000").partition("P2", "2000").layout(10, 4).analysed(2000, 20);
    let partitioned = (0..2000).fold(partitioned, |table, id| {
        let partition = if id < 1000 { "P1" } else { "P2" };
        table.row_in(partition, vec![Value::int(id), Value::text("v")])
    });
    let nested = Kind::Nested { parent: "PLAIN".into(), column: "N".into() };
    let double = double(
        Personality::V19c,
        [
            partitioned,
            plain("PLAIN"),
            plain("IOT").primary_key(&["ID"]).kind(Kind::IndexOrganised),
            plain("CLUSTERED").kind(Kind::Clustered("C".into())),
            plain("MV").kind(Kind::MaterialisedView("SELECT id FROM plain".into())),
            Table::view("SHOP", "SEEN", "SELECT id FROM shop.plain").column("ID", Type::number(9, 0)),
            Table::new("SHOP", "TEMPORARY").column("ID", Type::number(9, 0)).kind(Kind::Temporary),
            Table::new("SHOP", "EXTERNAL").column("ID", Type::number(9, 0)).kind(Kind::External),
            Table::new("SHOP", "NESTED").column("ID", Type::number(9, 0)).kind(nested),
        ],
    );
    let job = job(&double).source("table.types", "TABLE, VIEW, MATERIALIZED VIEW");
    let says = ["SHOP.TEMPORARY", "temporary", "SHOP.EXTERNAL", "external", "SHOP.NESTED", "nested table"];
    job.run(&[]).expect(SOME_TABLES_FAILED).says(&says);
    let lake = job.lake();
    assert_eq!(lake.loaded_tables(), ["CLUSTERED", "IOT", "MV", "PARTS", "PLAIN", "SEEN"]);
    let database = double.database();
    for table in ["CLUSTERED", "IOT", "PLAIN"] {
        assert_rows(&lake, table, &expected(&database, table, &["ID"], database.scn()));
    }
    assert_rows(&lake, "PARTS", &expected(&database, "PARTS", &["ID", "V"], database.scn()));
    let statements = double.faults().statements();
    let ranges = |table: &str| {
        statements.iter().filter(|sql| sql.contains(&format!("\"{table}\"")) && sql.contains("ROWID")).count()
    };
    assert!(ranges("PARTS") > 1, "the partitions are read by ranges");
    assert_eq!((ranges("IOT"), ranges("CLUSTERED"), ranges("SEEN")), (0, 0, 0));
}

#[test]
fn tables_are_divided_without_extents_too() {
    for method in ["sample", "parallel_execute", "whole"] {
        let double = double(Personality::V23ai, [large()]);
        let job = job(&double).source("chunk.method", method);
        job.run(&[]).expect(OK);
        let database = double.database();
        assert_rows(&job.lake(), "LARGE", &expected(&database, "LARGE", &["ID", "V"], database.scn()));
        let statements = double.faults().statements();
        assert!(!statements.iter().any(|sql| sql.contains("FROM dba_extents WHERE owner")), "{method}");
        let ranges = statements.iter().filter(|sql| sql.contains("CHARTOROWID")).count();
        assert_eq!(ranges > 3, method != "whole", "{method}: {ranges} parts");
        assert_eq!(statements.iter().any(|sql| sql.contains("SAMPLE BLOCK")), method == "sample");
        let tasks = statements.iter().filter(|sql| sql.contains("DROP_TASK")).count();
        assert_eq!(tasks, usize::from(method == "parallel_execute"), "no task stays");
    }
}

/// What no ROWIDs divide is divided by a hash of its key where that is wanted: every row is in one share.
#[test]
fn what_has_no_rowids_is_divided_by_a_hash() {
    let columns = |table: Table| table.column("A", Type::number(9, 0)).column("B", Type::text(20));
    let rows = |table: Table, empty: bool| {
        (0..3000).fold(table, |table, id| {
            let b = if empty && id % 5 == 0 { Value::Null } else { Value::text(format!("b{id}")) };
            table.row(vec![Value::int(id % 60), b])
        })
    };
    let table = |name: &str| columns(Table::new("SHOP", name)).layout(20, 4).analysed(3000, 90);
    let iot = rows(table("IOT"), false).primary_key(&["A", "B"]).kind(Kind::IndexOrganised);
    let clustered = rows(table("CLUSTERED"), true).kind(Kind::Clustered("C".into()));
    let seen = columns(Table::view("SHOP", "SEEN", "SELECT a, b FROM shop.clustered"));
    for personality in [Personality::V19c, Personality::V23ai] {
        let double = double(personality, [iot.clone(), clustered.clone(), seen.clone(), small()]);
        let job = job(&double).source("table.types", "TABLE, VIEW").source("parallel.tables", "3");
        let job = job.source("chunk.hash", "primary_key").source("chunk.hash.shop.seen", "B, A");
        // A retry in the middle of a share.
        job.run_with_failpoint("oracle.batch=error@2").expect(OK);
        let (database, lake) = (double.database(), job.lake());
        for (table, of) in [("IOT", "IOT"), ("CLUSTERED", "CLUSTERED"), ("SEEN", "CLUSTERED")] {
            assert_rows(&lake, table, &expected(&database, of, &["A", "B"], database.scn()));
        }
        let statements = double.faults().statements();
        let reads = |table: &str, what: &str| {
            statements.iter().filter(|sql| sql.contains(&format!("\"{table}\" AS OF")) && sql.contains(what)).count()
        };
        assert!(reads("IOT", r#"WHERE MOD(ORA_HASH("A") + ORA_HASH("B"), :2) = :3"#) >= 3, "{statements:?}");
        assert!(reads("SEEN", r#"MOD(NVL(ORA_HASH("B"), 0) + NVL(ORA_HASH("A"), 0), :2)"#) >= 3, "{statements:?}");
        assert_eq!((reads("CLUSTERED", "ORA_HASH"), reads("SMALL", "ORA_HASH")), (0, 0), "without a key; by ROWIDs");
        let wrong = job.source("chunk.hash.SHOP.SEEN", "NOPE");
        wrong.run(&["--no-resume"]).expect(SOME_TABLES_FAILED).says(&["SHOP.SEEN", "divided by", "column=NOPE"]);
    }
}

#[test]
fn long_columns_are_left_out_or_their_table_is() {
    let with_long = || {
        let table = Table::new("SHOP", "DOCS").column("ID", Type::number(9, 0)).column("L", Type::Long);
        table.row(vec![Value::int(1), Value::text("a long")])
    };
    for (handling, code) in [("exclude", OK), ("skip_table", OK), ("error", SOME_TABLES_FAILED)] {
        let double = double(Personality::V19c, [with_long(), small()]);
        let job = job(&double).source("long.handling", handling);
        let outcome = job.run(&[]).expect(code);
        let lake = job.lake();
        match handling {
            "exclude" => {
                outcome.says(&["SHOP.DOCS", "LONG columns are excluded"]);
                assert_eq!(lake.rows(connect_tests::lake::Engine::DuckDb, "DOCS").unwrap().columns, ["ID"]);
                let told = lake.describe("DOCS").to_string();
                assert!(told.contains("loaded without L"), "{told}");
                excluded(&job, "DOCS", Some(r#"["L"]"#));
                excluded(&job, "SMALL", None);
                // The table itself knows: the ledger is written again from it.
                lake.drop_table("_cdc_status");
                job.run(&[]).expect(OK);
                excluded(&job, "DOCS", Some(r#"["L"]"#));
            }
            "skip_table" => assert_eq!(lake.loaded_tables(), ["SMALL"]),
            _ => {
                outcome.says(&["SHOP.DOCS", "column=L", "long.handling"]);
                assert_eq!(lake.loaded_tables(), ["SMALL"]);
            }
        }
    }
}

/// Asserts what `_cdc_status` says of a completed table's columns that are left out.
#[track_caller]
fn excluded(job: &connect_tests::runtime::Job, table: &str, columns: Option<&str>) {
    let status = job.lake().status(&format!("SHOP.{table}")).unwrap_or_else(|| panic!("no status of {table}"));
    assert_eq!(status["load_status"], "completed");
    assert_eq!(status.get("excluded_columns").map(String::as_str), columns, "{table}: {status:?}");
}

#[test]
fn a_lob_is_loaded_whole_or_fails_its_table() {
    let text = |length: usize| "L\u{f6}b\u{1F600}".chars().cycle().take(length).collect::<String>();
    // Of splits that are read one at a time; above what comes within a row; at its edge; none.
    let lengths = [1_200_000, 1_500_000, 700_000, 262_144, 10, 0];
    let table =
        Table::new("SHOP", "LOBS").column("ID", Type::number(9, 0)).column("C", Type::Clob).column("N", Type::Nclob);
    let table = table.column("B", Type::Blob);
    let table = lengths.iter().enumerate().fold(table, |table, (id, length)| {
        let bytes: Vec<u8> = (0..=255).cycle().take(*length).collect();
        let bytes = if bytes.is_empty() { Value::Null } else { Value::Bytes(bytes) };
        table.row(vec![Value::int(id as i64), Value::text(text(*length)), Value::text(text(length / 2)), bytes])
    });
    for personality in [Personality::V19c, Personality::V23ai] {
        let double = double(personality, [table.clone(), small()]);
        let whole = job(&double);
        whole.run(&[]).expect(OK);
        let rows = double.database().rows("SHOP", "LOBS", double.database().scn());
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let value = |value: &Value| match value {
            Value::Bytes(bytes) => Some(hex(bytes)),
            other => super::plain(other),
        };
        let expected = connect_tests::compare::Rows {
            columns: ["ID", "C", "N", "B"].map(str::to_owned).into(),
            rows: rows.iter().map(|(_, values)| values.iter().map(value).collect()).collect(),
        };
        assert_rows(&whole.lake(), "LOBS", &expected);
        let capped = job(&double).source("lob.max.bytes", "650KB");
        let says = ["SHOP.LOBS", "lob.max.bytes", "column=C"];
        capped.run(&[]).expect(SOME_TABLES_FAILED).says(&says);
        assert_eq!(capped.lake().loaded_tables(), ["SMALL"]);
        let without = job(&double).source("lob.handling", "exclude");
        without.run(&[]).expect(OK).says(&["LOB columns are excluded"]);
        assert_eq!(without.lake().rows(connect_tests::lake::Engine::PyIceberg, "LOBS").unwrap().columns, ["ID"]);
    }
}

/// A thousand tables of a schema are found and planned in fewer round trips than there are tables.
#[test]
fn a_thousand_tables_are_planned_in_few_round_trips() {
    let tables = (0..1000).map(|n| {
        let table = Table::new("SHOP", &format!("T{n:04}")).column("ID", Type::number(9, 0)).comment("one of many");
        (1..10).fold(table, |table, c| table.column(&format!("C{c}"), Type::text(30))).primary_key(&["ID"])
    });
    let double = double(Personality::V19c, tables);
    // What is planned is not read: that would be counted, too.
    let job = job(&double);
    let mut running = job.start_with(&[], &[("CONNECT_FAILPOINTS", "engine.begin=delay(600000)")]);
    running.until_it_says("the cut is taken");
    let trips = double.faults().round_trips();
    running.kill();
    assert!(trips < 400, "{trips} round trips");
}
