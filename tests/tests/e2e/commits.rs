//! Commits: a load is published once whoever else tries, and a replacement is one step for every reader.

use connect_tests::compare::assert_same;
use connect_tests::poll::Poller;
use connect_tests::postgres::{Database, Server};
use connect_tests::runtime::{Job, OK, SOME_TABLES_FAILED};

fn shop() -> Database {
    let database = Server::shared().database();
    database.sql_as_user(
        "CREATE TABLE orders (id bigint PRIMARY KEY, v text);
         INSERT INTO orders SELECT i, md5(i::text) FROM generate_series(1, 20000) i;
         CREATE TABLE lines (id int, v text); INSERT INTO lines SELECT i % 10, 'x' FROM generate_series(1, 5000) i",
    );
    database
}

fn snapshot(job: &Job, table: &str) -> serde_json::Value {
    job.lake().describe(table)["snapshot-id"].clone()
}

#[test]
fn a_replacement_is_one_step() {
    let database = shop();
    let job = Job::new(&database);
    job.run(&[]).expect(OK);
    let uuid = job.lake().describe("orders")["uuid"].clone();
    database.sql_as_user("DELETE FROM orders WHERE id % 2 = 0; INSERT INTO orders VALUES (-1, 'new')");

    // Nothing is loaded again unless asked for.
    job.run(&[]).expect(OK).says(&["already loaded"]);
    assert_eq!(job.lake().total("orders", "id").unwrap().1, 20_000);

    let poller = Poller::start(&job.lake(), "orders", "id");
    job.run(&["--no-resume"]).expect(OK);
    let seen = poller.finish();
    assert!(seen.iter().all(|n| matches!(n, Some(20_000 | 10_001))) && seen.contains(&Some(10_001)), "{seen:?}");
    let lake = job.lake();
    assert_same(&database, "orders", &lake, "orders");
    assert_same(&database, "lines", &lake, "lines");
    assert_eq!(lake.describe("orders")["uuid"], uuid, "still the same table");

    // With another shape of the table, too.
    database.sql_as_user("ALTER TABLE orders ADD extra int DEFAULT 5; ALTER TABLE orders DROP COLUMN v");
    job.run(&["--no-resume"]).expect(OK);
    assert_same(&database, "orders", &lake, "orders");
    let changes: Vec<String> = lake
        .rows(connect_tests::lake::Engine::PyIceberg, "_schema_changes")
        .unwrap()
        .maps()
        .filter(|r| r["table_name"] == "public.orders")
        .map(|r| format!("{} {}", r["change_type"], r.get("column_name").map_or("", String::as_str)))
        .collect();
    for expected in ["baseline ", "column_added extra", "column_dropped v"] {
        assert!(changes.iter().any(|c| c == expected), "{expected:?} is not in {changes:?}");
    }
}

#[test]
fn a_replacement_that_dies_leaves_the_old_rows() {
    let database = shop();
    let job = Job::new(&database);
    job.run(&[]).expect(OK);
    database.sql_as_user("INSERT INTO orders VALUES (0, 'new')");
    let poller = Poller::start(&job.lake(), "orders", "id");
    for failpoint in ["iceberg.after-stage=kill", "iceberg.before-commit=kill"] {
        let died = job.start_with(&["--no-resume"], &[("CONNECT_FAILPOINTS", failpoint)]).wait();
        assert_eq!(died.code, None, "{}", died.output);
        assert_eq!(job.lake().total("orders", "id").unwrap().1, 20_000);
        assert_eq!(job.lake().total("lines", "id").unwrap().1, 5_000);
    }
    job.run(&["--no-resume"]).expect(OK);
    assert_same(&database, "orders", &job.lake(), "orders");
    let seen = poller.finish();
    assert!(seen.iter().all(|n| matches!(n, Some(20_000 | 20_001))), "{seen:?}");
}

#[test]
fn two_processes_that_load_the_same_tables_double_nothing() {
    let database = shop();
    let first = Job::new(&database);
    let mut second = Job::new(&database);
    second.sink.clone_from(&first.sink);
    for args in [&[][..], &["--no-resume"][..]] {
        let poller = Poller::start(&first.lake(), "orders", "id");
        // Both hold their files before either commits.
        let hold = [("CONNECT_FAILPOINTS", "iceberg.claim=error;iceberg.before-commit=delay(1500)@1")];
        let (a, b) = (first.start_with(args, &hold), second.start_with(args, &hold));
        let (a, b) = (a.wait(), b.wait());
        // Each table has one winner, and who lost finds it published.
        assert_eq!((a.code, b.code), (Some(OK), Some(OK)), "{}\n{}", a.output, b.output);
        let lake = first.lake();
        assert_same(&database, "orders", &lake, "orders");
        assert_same(&database, "lines", &lake, "lines");
        let seen = poller.finish();
        assert!(seen.iter().all(|n| matches!(n, None | Some(20_000))), "{seen:?}");
    }
}

#[test]
fn a_table_that_is_not_ours_is_not_overwritten() {
    let database = shop();
    let job = Job::new(&database);
    job.lake().write_sample("orders");
    let before = snapshot(&job, "orders");
    let outcome = job.run(&[]).expect(SOME_TABLES_FAILED).says(&["public.orders"]);
    assert!(outcome.output.contains("--no-resume"), "the way out is said: {}", outcome.output);
    assert_eq!(snapshot(&job, "orders"), before);
    assert_same(&database, "lines", &job.lake(), "lines");
    job.run(&["--no-resume"]).expect(OK);
    assert_same(&database, "orders", &job.lake(), "orders");
}

/// Two databases with tables of the same names must not be taken for each other.
#[test]
fn a_table_of_another_database_is_not_taken_for_loaded() {
    let (ours, other) = (shop(), shop());
    let first = Job::new(&other);
    first.run(&[]).expect(OK);
    ours.sql_as_user("INSERT INTO orders VALUES (0, 'only here')");
    let mut second = Job::new(&ours);
    second.sink.clone_from(&first.sink);
    let outcome = second.run(&[]).expect(SOME_TABLES_FAILED).says(&["public.orders", "another database"]);
    assert!(outcome.output.contains("iceberg.table.name.format"), "the way out is said: {}", outcome.output);
    second.command("validate", &["--source", "shop"]).expect(SOME_TABLES_FAILED).says(&["missing", "public.orders"]);
    assert_same(&other, "orders", &first.lake(), "orders");
}

/// The position, the cut and the commit's name travel with the rows (P14).
#[test]
fn a_commit_says_what_it_is() {
    let database = shop();
    let job = Job::new(&database);
    job.run(&[]).expect(OK);
    let described = job.lake().describe("orders");
    for key in ["position", "cut", "epoch", "source-types", "commit-id"] {
        let name = format!("connect-runtime.{key}");
        let property = described["properties"][&name].as_str().unwrap_or_default();
        assert!(!property.is_empty(), "{name} is missing: {}", described["properties"]);
    }
    for key in ["position", "commit-id"] {
        let name = format!("connect-runtime.{key}");
        assert!(described["summary"].get(&name).is_some(), "{name} is missing: {}", described["summary"]);
    }
    assert_eq!(described["summary"]["total-records"], "20000");
}
