//! Catalogs other than a SQLite file: what we write there the others read, and the other way round.

use connect_tests::compare::assert_same;
use connect_tests::poll::Poller;
use connect_tests::postgres::{Database, PASSWORD, Server, USER};
use connect_tests::runtime::{FAILED, Job, OK, SOME_TABLES_FAILED};

const ROWS: u64 = 20_000;

fn shop() -> Database {
    let database = Server::shared().database();
    database.sql_as_user(&format!(
        "CREATE TABLE orders (id bigint PRIMARY KEY, v text, n numeric(10,2), at timestamptz);
         INSERT INTO orders SELECT i, md5(i::text), i / 7.0, 'epoch'::timestamptz + i * interval '1 hour'
             FROM generate_series(1, {ROWS}) i;
         CREATE TABLE none (id int PRIMARY KEY)"
    ));
    database
}

/// A job whose catalog is in a PostgreSQL database.
fn on_postgres(source: &Database, catalog: &Database) -> Job {
    let mut job = Job::new(source).sink("iceberg.catalog.jdbc.user", USER);
    job.sink.insert("iceberg.catalog.jdbc.password".into(), "${env:SHOP_PASSWORD}".into());
    let at = format!("127.0.0.1:{}/{}", catalog.port(), catalog.name);
    job.sink.insert("iceberg.catalog.uri".into(), format!("jdbc:postgresql://{at}"));
    // As PyIceberg's own documentation writes it; the password's special characters encoded.
    let password: String = PASSWORD.bytes().map(|b| format!("%{b:02X}")).collect();
    let uri = format!("postgresql+psycopg2://{USER}:{password}@{at}");
    let warehouse = job.folder().join("lake").display().to_string();
    let pairs = [("type", "sql".into()), ("uri", uri), ("warehouse", warehouse)];
    job.catalog = Some(pairs.map(|(k, v)| (k.to_owned(), v)).into());
    job
}

#[test]
fn a_catalog_in_postgresql_is_the_one_others_know() {
    let (source, catalog) = (shop(), Server::shared().database());
    let job = on_postgres(&source, &catalog);
    let poller = Poller::start(&job.lake(), "orders", "id");
    job.run(&[]).expect(OK);
    let lake = job.lake();
    for table in ["orders", "none"] {
        assert_same(&source, table, &lake, table);
    }
    assert_eq!(lake.tables(), ["_cdc_status", "_schema_changes", "none", "orders"]);
    let seen = poller.finish();
    assert!(seen.iter().all(|n| matches!(n, None | Some(ROWS))), "{seen:?}");

    // PyIceberg writes into it; we see its table and leave it alone until told otherwise.
    lake.write_sample("later");
    source.sql_as_user("CREATE TABLE later (id int PRIMARY KEY); INSERT INTO later VALUES (7)");
    job.run(&[]).expect(SOME_TABLES_FAILED).says(&["already loaded", "public.later", "--no-resume"]);
    job.run(&["--no-resume"]).expect(OK);
    assert_same(&source, "later", &lake, "later");
    assert_eq!(lake.describe("orders")["snapshots"], 2);
}

/// Each table has one winner, as on SQLite.
#[test]
fn two_processes_meet_in_a_catalog_in_postgresql() {
    let (source, catalog) = (shop(), Server::shared().database());
    let first = on_postgres(&source, &catalog);
    let mut second = on_postgres(&source, &catalog);
    second.sink.clone_from(&first.sink);
    let poller = Poller::start(&first.lake(), "orders", "id");
    let hold = [("CONNECT_FAILPOINTS", "iceberg.before-commit=delay(1500)@1")];
    let (a, b) = (first.start_with(&[], &hold), second.start_with(&[], &hold));
    for outcome in [a.wait(), b.wait()].into_iter().filter(|o| o.code != Some(OK)) {
        outcome.expect(SOME_TABLES_FAILED).says(&["public."]);
    }
    assert_same(&source, "orders", &first.lake(), "orders");
    assert_eq!(first.lake().describe("orders")["snapshots"], 1);
    let seen = poller.finish();
    assert!(seen.iter().all(|n| matches!(n, None | Some(ROWS))), "{seen:?}");
}

#[test]
fn a_catalog_that_refuses_us_is_named() {
    let (source, catalog) = (shop(), Server::shared().database());
    let mut job = on_postgres(&source, &catalog);
    job.env.insert("SHOP_PASSWORD".into(), PASSWORD.into());
    job.sink.insert("iceberg.catalog.jdbc.password".into(), "wrong-Zwetschge".into());
    let outcome = job.run(&[]).expect(FAILED).says(&["catalog", &catalog.name, "password"]);
    assert!(!outcome.output.contains("Zwetschge"), "{}", outcome.output);
    catalog.sql("CREATE TABLE iceberg_tables (a int)");
    let job = on_postgres(&source, &catalog);
    job.run(&[]).expect(FAILED).says(&["catalog"]);
}
