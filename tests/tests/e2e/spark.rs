//! Apache Spark as a third reader, in `make test-full`: it takes half a gigabyte and long to start.

use connect_tests::compare::{assert_rows_by, difference, source_rows};
use connect_tests::lake::{Engine, Lake};
use connect_tests::postgres::{Database, Server};
use connect_tests::runtime::{Job, OK};
use connect_tests::spark::{contradictions, lineage, refusal};

use crate::random::{random, with_random_tables};
use crate::shape::{CODECS, partitioned, with_every_encoding};
use crate::types::{with_arrays, with_texts};
use crate::values::with_kinds;

/// Columns of a type that Spark 4.0 lacks; with one of them it does not read the table at all.
const TIMES: &str = "public\\..*\\.(tod|tm)";

/// Asserts that Spark sees exactly the rows of a source table without its columns of `time`, and that its metadata
/// agree with them, of one column or of all. Gives how many of Spark's answers came from the metadata alone.
fn check(source: &Database, from: &str, lake: &Lake, table: &str, column: Option<&str>) -> u64 {
    let mut expected = source_rows(source, from);
    let times: Vec<bool> = expected.columns.iter().map(|c| c == "tod" || c == "tm").collect();
    let without = |n: usize| !times[n];
    for row in &mut expected.rows {
        *row = row.drain(..).enumerate().filter(|(n, _)| without(*n)).map(|(_, value)| value).collect();
    }
    expected.columns = expected.columns.drain(..).enumerate().filter(|(n, _)| without(*n)).map(|(_, c)| c).collect();
    assert_rows_by(Engine::Spark, &expected, lake, table);
    let (wrong, alone) = contradictions(lake, table, column);
    assert!(wrong.is_empty(), "{table}: {}", wrong.join("\n"));

    // The twin: a value that is another is found.
    if let Some(cell) = expected.rows.first_mut().and_then(|row| row.last_mut()) {
        *cell = Some(cell.take().unwrap_or_default() + "'");
        assert!(difference(&expected, &lake.rows(Engine::Spark, table).unwrap()).is_some(), "{table}");
    }
    alone
}

#[test]
#[ignore = "needs Apache Spark: make test-full"]
fn spark_reads_every_type_but_time() {
    let loaded = |make: &dyn Fn(&Database) -> Vec<String>| {
        let database = Server::shared().database();
        let tables = make(&database);
        let include = format!("public\\.({})", tables.join("|"));
        let job = Job::new(&database).source("column.exclude.list", TIMES).source("table.include.list", &include);
        job.run(&[]).expect(OK);
        tables.iter().map(|table| check(&database, table, &job.lake(), table, None)).sum::<u64>()
    };
    let made = |make: fn(&Database), tables: &[&str]| {
        loaded(&|database| {
            make(database);
            tables.iter().map(|t| (*t).to_owned()).collect()
        })
    };
    let alone = made(with_kinds, &["kinds", "domains"]);
    assert!(alone > 10, "{alone} answers came from the metadata");
    made(with_arrays, &["arrays"]);
    made(with_texts, &["texts", "lists"]);
    loaded(&|database| with_random_tables(database, &mut random(), &["time without"]));
}

/// What the documentation says of it.
#[test]
#[ignore = "needs Apache Spark: make test-full"]
fn spark_refuses_a_table_with_a_time() {
    let database = Server::shared().database();
    database.sql_as_user(
        "CREATE TABLE t (id int PRIMARY KEY, tod time); INSERT INTO t VALUES (1, '12:00');
         CREATE TABLE l (id int PRIMARY KEY, tod time[]); INSERT INTO l VALUES (1, '{12:00}')",
    );
    let job = Job::new(&database);
    job.run(&[]).expect(OK);
    for table in ["t", "l"] {
        let error = refusal(&job.lake(), table);
        assert!(error.contains("does not support time"), "{error}");
    }
}

#[test]
#[ignore = "needs Apache Spark: make test-full"]
fn spark_reads_every_partition() {
    let database = Server::shared().database();
    let (job, tables) = partitioned(&database);
    let job = job.source("column.exclude.list", TIMES).source("table.exclude.list", "public\\.tod_by_.*");
    job.run(&[]).expect(OK);
    check(&database, "rows", &job.lake(), "rows", None);
    for (table, column) in tables.iter().filter(|(_, column)| *column != "tod") {
        check(&database, "rows", &job.lake(), table, Some(column));
    }
}

#[test]
#[ignore = "needs Apache Spark: make test-full"]
fn spark_reads_every_codec_and_encoding() {
    let database = Server::shared().database();
    with_every_encoding(&database);
    for codec in CODECS {
        let job = Job::new(&database)
            .source("column.exclude.list", TIMES)
            .sink("iceberg.tables.auto-create-props.write.parquet.compression-codec", codec);
        job.run(&[]).expect(OK);
        check(&database, "t", &job.lake(), "t", None);
    }
}

#[test]
#[ignore = "needs Apache Spark: make test-full"]
fn spark_reads_both_formats_and_the_lineage_of_rows() {
    let database = Server::shared().database();
    database.sql_as_user(
        "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT n, n::text FROM generate_series(1, 70) n",
    );
    for format in ["2", "3"] {
        let job = Job::new(&database)
            .sink("iceberg.tables.auto-create-props.format-version", format)
            .sink("iceberg.table.t.partition-by", "bucket(id, 4)");
        job.run(&[]).expect(OK);
        job.run(&["--no-resume"]).expect(OK);
        check(&database, "t", &job.lake(), "t", None);
        if format == "3" {
            // Of the second load: the first one's numbers are not used again.
            let expected: Vec<(u64, u64)> = (70..140).map(|id| (id, 2)).collect();
            assert_eq!(lineage(&job.lake(), "t"), expected);
        }
    }
}
