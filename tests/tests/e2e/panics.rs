//! A bug that panics, wherever it is: the process ends by itself, says whose it was, and leaves the lake as any other
//! failure does.

use connect_tests::compare::assert_same;
use connect_tests::runtime::{FAILED, OK, SOME_TABLES_FAILED};

use crate::crash::{all_loaded, shop};

/// Panics there, once, and is run again. `code` is the first run's, whose output says these.
fn check(failpoint: &str, code: i32, says: &[&str]) {
    let database = shop();
    let job = connect_tests::runtime::Job::new(&database);
    let outcome = job.run_with_failpoint(failpoint).expect(code);
    assert!(outcome.output.contains("panicked at"), "{failpoint} is not reached: {}", outcome.output);
    outcome.says(says);
    let lake = job.lake();
    for table in lake.loaded_tables() {
        assert_same(&database, &table, &lake, &table);
    }
    job.run(&[]).expect(OK);
    all_loaded(&database, &job);
}

/// Tried again, since the next time it may go well; and given up when it never does.
#[test]
fn in_the_publication_of_a_table() {
    check("iceberg.after-stage=panic@1", OK, &["the publication was interrupted", "begins anew"]);
    check("iceberg.after-commit=panic@1", OK, &["public."]);
    check("iceberg.after-stage=panic", SOME_TABLES_FAILED, &["public.large", "the publication was interrupted"]);
}

/// Not tried again: the same rows would meet the same bug. The table is named.
#[test]
fn in_the_thread_that_encodes() {
    check("iceberg.encode=panic@1", FAILED, &["the thread that writes a data file has gone", "table=public."]);
}

#[test]
fn in_the_thread_that_reads() {
    check("postgres.batch=panic@3", FAILED, &["the reading thread has ended before its split", "split=public.large/0"]);
}

#[test]
fn in_the_ledger() {
    check("iceberg.before-changes-commit=panic@1", OK, &[]);
}

#[test]
fn in_the_sinks_task() {
    check("iceberg.write=panic@2", FAILED, &["a connector panicked: this is a bug in it", "call=write"]);
    check("iceberg.claim=panic", FAILED, &["a connector panicked: this is a bug in it", "call=claim"]);
}
