//! A catalog or a store that fails at the worst moments: afterwards the lake is the source or has nothing of
//! the table, nothing is doubled, and no reader saw a part.

use std::time::Duration;

use connect_tests::compare::{assert_same, until_rows};
use connect_tests::events::{Events, rows};
use connect_tests::faults::{Fault, Faults, Request};
use connect_tests::kafka::Kafka;
use connect_tests::poll::Poller;
use connect_tests::postgres::{Database, Server};
use connect_tests::proxy::{Loss, Proxy};
use connect_tests::rest::RestCatalog;
use connect_tests::runtime::{Job, OK, SOME_TABLES_FAILED};
use connect_tests::store::{Bucket, Store};

use crate::catalogs::{ROWS, in_rest, on_postgres_at, on_rest, on_s3, shop};

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
    let job = on_s3(&source, &bucket, faults.port).sink("request.timeout.ms", "5000");
    check(&source, &bucket, &faults, &job, passes);
}

#[test]
fn a_store_that_recovers_is_waited_for() {
    let all = [Fault::Status(503), Fault::Reset, Fault::AnswerLost, Fault::Truncated];
    store_fails(&all, |r| r.is("PUT", ".parquet"), true);
    let late = [Fault::Slow(Duration::from_secs(8)), Fault::Status(500), Fault::AnswerLost];
    store_fails(&late, |r| r.is("PUT", "/metadata/"), true);
}

/// The twin: a store that does not recover is an error, and the table is not there.
#[test]
fn a_store_that_stays_down_fails_the_table() {
    store_fails(&[const { Fault::Status(403) }; 200], |r| r.is("PUT", ".parquet"), false);
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
    commit_fails(&[const { Fault::Status(504) }; 200], false);
}

/// Of a log's commits, with and without a key, too: every other one gets through unheard. Known as apache/iceberg 13752,
/// 13763, 15878, 16282 and 17340.
#[test]
fn changes_whose_commits_get_through_unheard_are_neither_lost_nor_doubled() {
    let (kafka, catalog) = (Kafka::shared(), RestCatalog::shared());
    let mut commits = [0; 2];
    let faults = Faults::before(catalog.port, move |request| {
        let table = ["/tables/t", "/tables/n"].iter().position(|table| request.is("POST", table))?;
        commits[table] += 1;
        (commits[table] % 2 == 1).then_some(Fault::AnswerLost)
    });
    let job = Job::following(kafka, r"unheard\.public\..").sink("iceberg.control.commit.interval-ms", "50");
    let job = in_rest(job, "unheard", faults.port);
    let (mut t, mut n) = (Events::of("t"), Events::without_key("n"));
    for topic in ["unheard.public.t", "unheard.public.n"] {
        kafka.create(topic, 1);
    }
    let mut running = job.start(&[]);
    let of = |table: &str| faults.struck().iter().filter(|struck| struck.ends_with(table)).count();
    let (mut lines, mut round) = (Vec::new(), 0);
    let mut write = || {
        let v = round.to_string();
        let put = |id| if round == 0 { t.create(id, &v) } else { t.update(id, &v) };
        let puts: Vec<_> = (0..5).map(put).collect();
        kafka.write("unheard.public.t", &puts);
        kafka.write("unheard.public.n", &[n.create(round, "a"), n.create(round, "a")]);
        lines.extend([(round, "a"), (round, "a")]);
        round += 1;
        v
    };
    running.until("two lost answers of each table", || {
        write();
        std::thread::sleep(Duration::from_millis(200));
        (of("/tables/t") > 1 && of("/tables/n") > 1).then_some(())
    });
    let last = write();
    until_rows(&rows((0..5).map(|id| (id, last.as_str()))), &job.lake(), "t", &mut running);
    until_rows(&rows(lines), &job.lake(), "n", &mut running);
    running.terminate();
    running.wait().expect(OK);
}

/// A file of several parts of which one is turned down: its table fails, and no part of it stays.
#[test]
fn an_upload_that_is_given_up_leaves_no_parts() {
    let (source, bucket) = (shop(), Store::shared().bucket());
    source.sql_as_user(
        "CREATE TABLE large (id bigint PRIMARY KEY, v text);
         INSERT INTO large SELECT i, (SELECT string_agg(md5(i::text || j), '') FROM generate_series(1, 40) j)
             FROM generate_series(1, 20000) i",
    );
    let through = |faults: &Faults| {
        let job = on_s3(&source, &bucket, faults.port).source("max.retries", "1");
        job.sink("write.parquet.compression-codec", "uncompressed").source("parallel.workers", "1")
    };
    let third = |r: &Request| r.is("PUT", "partNumber=3");
    let faults = Faults::in_turn(bucket.port(), vec![Fault::Status(403); 200], third);
    let job = through(&faults);
    let outcome = job.run(&[]).expect(SOME_TABLES_FAILED).says(&["public.large", "PermissionDenied"]);
    assert!(!faults.struck().is_empty(), "{}", outcome.output);
    assert_eq!(bucket.open_uploads(), 0, "{}", outcome.output);
    let of_large = || bucket.keys(".parquet").into_iter().filter(|key| key.contains("/large/")).count();
    assert_eq!(of_large(), 0);
    assert_same(&source, "orders", &job.lake(), "orders");

    // The twin: killed in the middle, its parts stay, and the listing has them.
    let slow = Faults::in_turn(bucket.port(), vec![Fault::Slow(Duration::from_secs(100)); 200], third);
    let mut again = through(&slow);
    again.worker.clone_from(&job.worker);
    again.sink.insert("iceberg.catalog.uri".into(), job.sink["iceberg.catalog.uri"].clone());
    let mut running = again.start(&[]);
    running.until("a part on its way", || (!slow.struck().is_empty()).then_some(()));
    running.kill();
    assert!(bucket.open_uploads() > 0);
    faults.end();
    job.run(&[]).expect(OK);
    assert_same(&source, "large", &job.lake(), "large");
}

/// A catalog in PostgreSQL whose connection breaks around the COMMIT of a commit, which by then has happened or
/// never will.
#[test]
fn a_commit_of_a_sql_catalog_whose_answer_is_lost_is_found() {
    let (source, catalog) = (shop(), Server::shared().database());
    // The first is that of the claim.
    let turn = [Loss::Answer, Loss::Answer, Loss::Request, Loss::Answer, Loss::Request, Loss::Answer];
    let proxy = Proxy::losing(catalog.port(), b"COMMIT", turn.to_vec());
    let job = on_postgres_at(&source, &catalog, proxy.port);
    let poller = Poller::start(&job.lake(), "orders", "id");
    let outcome = job.run(&[]).expect(OK);
    assert_eq!(proxy.losses_left(), 0, "{}", outcome.output);
    let lake = job.lake();
    for table in ["orders", "none"] {
        assert_same(&source, table, &lake, table);
        assert_eq!(lake.describe(table)["snapshots"], 1, "{table} was committed once");
        assert_eq!(lake.status(&format!("public.{table}")).unwrap()["load_status"], "completed");
    }
    let seen = poller.finish();
    assert!(seen.iter().all(|n| matches!(n, None | Some(ROWS))), "{seen:?}");
}

/// The twin: it never gets through.
#[test]
fn a_commit_of_a_sql_catalog_that_never_gets_through_fails_the_table() {
    let (source, catalog) = (shop(), Server::shared().database());
    let proxy = Proxy::losing(catalog.port(), b"COMMIT", vec![Loss::Request; 1000]);
    let job = on_postgres_at(&source, &catalog, proxy.port).sink("commit.retry.num-retries", "2");
    let outcome = job.source("max.retries", "0").run(&[]).expect(SOME_TABLES_FAILED);
    outcome.says(&["public.orders", "the catalog's answer to a commit is lost"]);
}
