//! The program dies at the worst moments; run again, the lake is the source, and no reader saw a part.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use connect_tests::compare::assert_same;
use connect_tests::lake::Engine;
use connect_tests::poll::Poller;
use connect_tests::postgres::{Database, Server, free_port};
use connect_tests::proxy::Proxy;
use connect_tests::runtime::{Job, OK, Outcome, SOME_TABLES_FAILED};

const ROWS: u64 = 30_000;
const TABLES: [&str; 3] = ["large", "small", "none"];

pub(crate) fn shop() -> Database {
    shop_on(Server::shared())
}

fn shop_on(server: &'static Server) -> Database {
    let database = server.database();
    database.sql_as_user(&format!(
        "CREATE TABLE large (id bigint PRIMARY KEY, v text, n numeric(10,2));
         INSERT INTO large SELECT i, md5(i::text), i / 7.0 FROM generate_series(1, {ROWS}) i;
         CREATE TABLE small (v text); INSERT INTO small VALUES ('a'), ('a'), (NULL);
         CREATE TABLE none (id int PRIMARY KEY)"
    ));
    database
}

pub(crate) fn all_loaded(database: &Database, job: &Job) {
    let lake = job.lake();
    for table in TABLES {
        assert_same(database, table, &lake, table);
        assert_eq!(lake.status(&format!("public.{table}")).unwrap()["load_status"], "completed");
        assert_eq!(lake.describe(table)["snapshots"], 1, "{table} was committed once");
    }
    let changes = lake.rows(Engine::PyIceberg, "_schema_changes").unwrap();
    let baseline =
        |row: BTreeMap<String, String>| (row["change_type"] == "baseline").then(|| row["table_name"].clone());
    let mut baselines: Vec<_> = changes.maps().filter_map(baseline).collect();
    baselines.sort();
    assert_eq!(baselines, ["public.large", "public.none", "public.small"]);
}

/// Dies as the failpoint says, is run again, and is run a third time, which does nothing.
fn check(failpoint: &str) {
    let database = shop();
    // Small parts, so that `large` has many.
    let job = Job::new(&database).source("parallel.chunk.size", "64KiB").source("batch.size", "1000");
    let poller = Poller::start(&job.lake(), "large", "id");
    let died = job.run_with_failpoint(failpoint);
    assert_eq!(died.code, None, "{failpoint} did not kill: {}", died.output);
    let lake = job.lake();
    for table in lake.loaded_tables() {
        assert_same(&database, &table, &lake, &table);
    }
    job.run(&[]).expect(OK);
    all_loaded(&database, &job);
    assert_eq!(lake.orphans(), Vec::<PathBuf>::new(), "what the dead run left is gone");
    let seen = poller.finish();
    assert!(seen.iter().all(|n| matches!(n, None | Some(ROWS))) && seen.contains(&Some(ROWS)), "{seen:?}");

    let before: Vec<_> = TABLES.iter().map(|t| lake.describe(t)["snapshot-id"].clone()).collect();
    job.run(&[]).expect(OK).says(&["already loaded"]);
    let after: Vec<_> = TABLES.iter().map(|t| lake.describe(t)["snapshot-id"].clone()).collect();
    assert_eq!(before, after);
}

#[test]
fn killed_between_locks_and_cut() {
    check("postgres.locked=kill");
}

#[test]
fn killed_with_the_cut_taken() {
    check("postgres.cut-taken=kill");
}

#[test]
fn killed_between_batches() {
    check("postgres.batch=kill@5");
}

#[test]
fn killed_between_the_parts_of_a_table() {
    check("postgres.split-read=kill@3");
}

#[test]
fn killed_with_files_staged() {
    check("iceberg.after-stage=kill");
}

#[test]
fn killed_before_the_first_commit() {
    check("iceberg.before-commit=kill");
}

#[test]
fn killed_before_the_second_commit() {
    check("iceberg.before-commit=kill@2");
}

#[test]
fn killed_after_the_first_commit() {
    check("iceberg.after-commit=kill");
}

#[test]
fn killed_after_the_last_commit() {
    check("iceberg.after-commit=kill@3");
}

#[test]
fn killed_before_the_ledger() {
    check("iceberg.before-ledger=kill");
}

#[test]
fn killed_with_a_file_noted_and_not_created() {
    // The first four are the claim's.
    check("iceberg.file-noted=kill@7");
}

#[test]
fn killed_in_the_claims_commit() {
    check("iceberg.before-status-commit=kill");
}

#[test]
fn killed_in_the_first_commit_of_schema_changes() {
    check("iceberg.before-changes-commit=kill");
}

#[test]
fn killed_in_the_ledgers_own_commit() {
    // The first is the claim's.
    check("iceberg.before-status-commit=kill@2");
}

#[test]
fn killed_in_the_middle_of_reading() {
    let database = shop();
    database.sql_as_user("INSERT INTO large SELECT -i, repeat(md5(i::text), 20) FROM generate_series(1, 30000) i");
    let proxy = Proxy::holding_after(database.port(), 8 << 20);
    let mut job = Job::new(&database).source("database.port", &proxy.port.to_string());
    let poller = Poller::start(&job.lake(), "large", "id");
    let mut running = job.start(&[]);
    running.until("held", || proxy.holds().then_some(()));
    running.kill();
    assert!(job.lake().describe("large").is_null());
    job.source.insert("database.port".into(), database.port().to_string());
    job.run(&[]).expect(OK);
    all_loaded(&database, &job);
    let seen = poller.finish();
    assert!(seen.iter().all(|n| matches!(n, None | Some(60_000))), "{seen:?}");
}

/// A load held still in the middle of `large`, disturbed, and let go on: it ends well by itself. Gives how
/// many cuts it took.
fn disturbed(database: &Database, disturb: impl FnOnce(&Proxy)) -> (usize, Outcome) {
    database.sql_as_user("INSERT INTO large SELECT -i, repeat(md5(i::text), 20) FROM generate_series(1, 30000) i");
    let proxy = Proxy::holding_after(database.port(), 8 << 20);
    // Parts of 20 MiB: what the sockets hold back is less than a part's rest, so that the server is still at it.
    let job = Job::new(database)
        .source("database.port", &proxy.port.to_string())
        .source("parallel.chunk.size", "32MiB")
        .source("max.retries", "10");
    let poller = Poller::start(&job.lake(), "large", "id");
    let mut running = job.start(&[]);
    running.until("held", || proxy.holds().then_some(()));
    disturb(&proxy);
    proxy.release();
    let outcome = running.wait().expect(OK);
    all_loaded(database, &job);
    let seen = poller.finish();
    assert!(seen.iter().all(|n| matches!(n, None | Some(60_000))), "{seen:?}");
    (outcome.output.matches("took the cut").count(), outcome)
}

#[test]
fn a_reading_connection_that_breaks_is_replaced_under_the_same_cut() {
    let database = shop();
    let (cuts, outcome) = disturbed(&database, |_| {
        let killed = database.sql(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
             WHERE datname = current_database() AND query LIKE 'COPY%' AND state = 'active'",
        );
        assert_ne!(killed, "0");
    });
    outcome.says(&["goes on where it was"]);
    assert_eq!(cuts, 1);
}

#[test]
fn a_network_that_breaks_costs_a_new_cut() {
    let (cuts, outcome) = disturbed(&shop(), Proxy::cut);
    outcome.says(&["the cut is gone", "goes on with the tables that are not loaded"]);
    assert!(cuts >= 2, "{cuts}");
}

#[test]
fn a_server_that_restarts_costs_a_new_cut() {
    let server: &Server = Box::leak(Box::new(Server::start()));
    let (cuts, _) = disturbed(&shop_on(server), |_| server.restart());
    assert!(cuts >= 2, "{cuts}");
}

/// The server is not there yet when the program starts.
#[test]
fn a_server_that_comes_late_is_waited_for() {
    let database = shop();
    let port = free_port();
    let job = Job::new(&database).source("database.port", &port.to_string()).source("max.retries", "12");
    let mut running = job.start(&[]);
    let output = job.folder().join("output");
    running.until("a retry", || fs::read_to_string(&output).unwrap().contains("was interrupted").then_some(()));
    let _proxy = Proxy::at(port, database.port(), u64::MAX);
    running.wait().expect(OK);
    all_loaded(&database, &job);
}

/// A table that fails for good is told with the number of its attempts; the others are loaded.
#[test]
fn a_table_that_fails_for_good_is_recorded_and_the_others_are_loaded() {
    let database = shop();
    let job = Job::new(&database).source("max.retries", "2").source("parallel.workers", "1");
    let lake = job.lake();
    // Where its data files belong there is a file.
    let table = lake.folder().join("bronze/shop/large");
    fs::create_dir_all(&table).unwrap();
    fs::write(table.join("data"), "in the way").unwrap();
    let outcome = job.run(&[]).expect(SOME_TABLES_FAILED).says(&["public.large", "begins anew"]);
    assert_eq!(outcome.output.matches("begins anew").count(), 2, "{}", outcome.output);
    assert_same(&database, "small", &lake, "small");
    assert!(lake.describe("large").is_null());
    let status = lake.status("public.large").unwrap();
    assert_eq!((status["load_status"].as_str(), status["attempts"].as_str()), ("failed", "3"), "{status:?}");
    assert!(status["error"].contains("data file"), "{status:?}");
    fs::remove_file(table.join("data")).unwrap();
    job.run(&[]).expect(OK);
    all_loaded(&database, &job);
}

#[test]
fn an_error_anywhere_leaves_no_part_and_no_double() {
    for failpoint in [
        "postgres.batch=error@3",
        "postgres.split-read=error@2",
        "iceberg.after-stage=error@1",
        "iceberg.before-commit=error@1",
        "iceberg.after-commit=error@1",
        "iceberg.before-ledger=error@1",
        "iceberg.before-changes-commit=error@1",
        "iceberg.before-status-commit=error@1",
    ] {
        let database = shop();
        let job = Job::new(&database);
        job.run_with_failpoint(failpoint);
        let lake = job.lake();
        for table in lake.loaded_tables() {
            assert_same(&database, &table, &lake, &table);
        }
        job.run(&[]).expect(OK);
        all_loaded(&database, &job);
    }
}

/// A limit on the size of files, which is met in the middle of one: as `full_disk` has it of a disk.
#[test]
fn a_limit_on_files_costs_the_table_that_does_not_fit() {
    let database = shop();
    let mut job = Job::new(&database).source("max.retries", "1");
    // The signal is ignored, so that the write fails; in blocks of 512 bytes, as POSIX has it.
    job.after = Some("trap '' XFSZ; ulimit -f 512");
    let outcome = job.run(&[]).expect(SOME_TABLES_FAILED).says(&["public.large", "File too large", "begins anew"]);
    let lake = job.lake();
    assert!(lake.describe("large").is_null(), "{}", outcome.output);
    assert_same(&database, "small", &lake, "small");
    assert_eq!(lake.status("public.large").unwrap()["attempts"], "2");
    assert_eq!(lake.orphans(), Vec::<PathBuf>::new());
    job.after = None;
    job.run(&[]).expect(OK);
    all_loaded(&database, &job);
}

/// Files of a killed run stay only as long as it is uncertain whether they could still become visible, or
/// for ever when its journal is lost: the twin of the check in `check`.
#[test]
fn without_its_journal_a_killed_run_leaves_files() {
    let database = shop();
    let job = Job::new(&database);
    assert_eq!(job.run_with_failpoint("iceberg.before-commit=kill").code, None);
    assert!(!job.lake().orphans().is_empty(), "something was staged");
    fs::remove_dir_all(job.folder().join("state")).unwrap();
    // Nor does anything say any more that the killed run's claims are void.
    let job = job.sink("heartbeat.interval.ms", "500").sink("session.timeout.ms", "1000");
    job.run(&[]).expect(OK);
    all_loaded(&database, &job);
    assert!(!job.lake().orphans().is_empty());
}

/// A state directory that cannot be used, or holds garbage, is told and costs nothing but space.
#[test]
fn a_bad_state_directory_holds_up_nothing() {
    let database = shop();
    let blocked = Job::new(&database);
    fs::write(blocked.folder().join("state"), "a file").unwrap();
    blocked.run(&[]).expect(OK).says(&["state.dir cannot be used"]);
    all_loaded(&database, &blocked);

    let job = Job::new(&database);
    assert_eq!(job.run_with_failpoint("iceberg.before-commit=kill").code, None);
    for entry in fs::read_dir(job.folder().join("state/iceberg")).unwrap().map(Result::unwrap) {
        let mut torn = fs::read(entry.path()).unwrap();
        torn.truncate(torn.len() - 5);
        torn.splice(0..0, *b"\0\xff garbage\n0123456789abcdef {\"file\":{\"id\":1,\"path\":\"/etc/hostname\"}}\n");
        fs::write(entry.path(), torn).unwrap();
    }
    job.run(&[]).expect(OK);
    all_loaded(&database, &job);
    assert!(Path::new("/etc/hostname").exists());
}
