//! A catalog or a store that fails at the worst moments: afterwards the lake is the source or has nothing of
//! the table, nothing is doubled, and no reader saw a part.

use std::time::Duration;

use connect_tests::compare::assert_same;
use connect_tests::faults::{Fault, Faults, Request};
use connect_tests::poll::Poller;
use connect_tests::postgres::Database;
use connect_tests::rest::RestCatalog;
use connect_tests::runtime::{Job, OK};
use connect_tests::store::{Bucket, Store};

use crate::catalogs::{ROWS, on_rest, on_s3, shop};

/// Loads through faults, and then without any: what a reader may see, and that nothing is left of an upload.
fn check(source: &Database, bucket: &Bucket, faults: &Faults, job: &Job, passes: bool) {
    let poller = Poller::start(&job.lake(), "orders", "id");
    let outcome = job.run(&[]);
    assert!(!faults.struck().is_empty(), "nothing was struck: {}", outcome.output);
    let lake = job.lake();
    assert_eq!(outcome.code == Some(OK), passes, "{:?}\n{}", faults.struck(), outcome.output);
    for table in lake.loaded_tables() {
        assert_same(source, &table, &lake, &table);
    }
    if !passes {
        assert!(lake.describe("orders").is_null(), "failed and yet loaded: {}", outcome.output);
    }
    faults.end();
    job.run(&[]).expect(OK);
    for table in ["orders", "none"] {
        assert_same(source, table, &lake, table);
        assert_eq!(lake.describe(table)["snapshots"], 1, "{table} was committed once");
    }
    assert_eq!(bucket.open_uploads(), 0);
    let seen = poller.finish();
    assert!(seen.iter().all(|n| matches!(n, None | Some(ROWS))) && seen.contains(&Some(ROWS)), "{seen:?}");
}

/// The requests so picked fail so, in turn; the job reaches its store through the proxy.
fn store_fails(turn: &[Fault], picks: fn(&Request) -> bool, passes: bool) {
    let (source, bucket) = (shop(), Store::shared().bucket());
    let faults = Faults::in_turn(bucket.port(), turn.to_vec(), picks);
    let job = on_s3(&source, &bucket, faults.port).sink("request.timeout.ms", "2000");
    check(&source, &bucket, &faults, &job, passes);
}

#[test]
fn a_store_that_recovers_is_waited_for() {
    let all = [Fault::Status(503), Fault::Reset, Fault::AnswerLost, Fault::Truncated];
    store_fails(&all, |r| r.is("PUT", ".parquet"), true);
    let late = [Fault::Slow(Duration::from_secs(3)), Fault::Status(500), Fault::AnswerLost];
    store_fails(&late, |r| r.is("PUT", "/metadata/"), true);
}

/// The twin: a store that does not recover is an error, and the table is not there.
#[test]
fn a_store_that_stays_down_fails_the_table() {
    store_fails(&[Fault::Status(403); 200], |r| r.is("PUT", ".parquet"), false);
}

/// The commits of `orders` fail so, in turn; the job reaches its REST catalog through the proxy.
fn commit_fails(turn: &[Fault], passes: bool) {
    let (source, catalog) = (shop(), RestCatalog::shared());
    let faults = Faults::in_turn(catalog.port, turn.to_vec(), |r| r.is("POST", "/tables/orders"));
    let job = on_rest(&source, faults.port).sink("request.timeout.ms", "4000").sink("commit.retry.num-retries", "4");
    check(&source, &catalog.bucket, &faults, &job, passes);
}

#[test]
fn a_commit_that_got_through_unseen_is_not_sent_again() {
    commit_fails(&[Fault::AnswerLost], true);
    commit_fails(&[Fault::Slow(Duration::from_secs(6))], true);
}

#[test]
fn a_commit_that_did_not_get_through_is_sent_again() {
    commit_fails(&[Fault::Status(500), Fault::Status(409), Fault::Status(503), Fault::Reset, Fault::Truncated], true);
}

/// The twin: a catalog that never takes it.
#[test]
fn a_commit_that_never_gets_through_fails_the_table() {
    commit_fails(&[Fault::Status(504); 200], false);
}
