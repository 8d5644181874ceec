//! Connections: logging in, waiting, being cut off, and the contract as a whole.

use std::time::{Duration, Instant};

use connect_tests::postgres::{Database, PASSWORD, Server, free_port};
use connect_tests::proxy::Proxy;
use connector_api::testing::conformance::{self, SourceFixture};
use connector_api::{ErrorKind, Position, Progress, Source};

use super::{context, plan, read, source};

struct Fixture<'a>(&'a Database);

impl SourceFixture for Fixture<'_> {
    fn source(&self) -> Box<dyn Source> {
        source(self.0, &[("batch.size", "100")])
    }

    /// The connections go, that which holds the cut among them.
    fn lose_cut(&self) -> bool {
        let others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
        assert_ne!(self.0.sql(&format!("SELECT count(pg_terminate_backend(pid, 10000)) {others}")), "0");
        true
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_the_contract() {
    let database = Server::shared().database();
    database.sql_as_user(
        "CREATE TABLE a (id int PRIMARY KEY, v text);
         INSERT INTO a SELECT i, repeat('x', i % 50) FROM generate_series(1, 10000) i;
         CREATE TABLE b (v numeric);
         INSERT INTO b SELECT i FROM generate_series(1, 1000) i;
         CREATE TABLE empty (id int)",
    );
    let fixture = Fixture(&database);
    let splits = plan(&*fixture.source()).await.tables[0].splits.len();
    assert!(splits > 3, "{splits} splits");
    assert_eq!(conformance::source(&fixture).await.iter().map(ToString::to_string).collect::<Vec<_>>(), [""; 0]);
}

#[tokio::test]
async fn logs_in_or_says_why_not() {
    let database = Server::shared().database();
    let port = free_port().to_string();
    let check = async |keys: &[(&str, &str)]| {
        let error = source(&database, keys).tables().await.unwrap_err();
        let shown = format!("{error:#}");
        assert!(!shown.contains(PASSWORD) && !shown.contains("hunter2"), "{shown}");
        (error.kind(), shown)
    };
    assert_eq!(source(&database, &[]).tables().await.unwrap().tables, []);

    let (kind, shown) = check(&[("database.password", "hunter2")]).await;
    assert_eq!(kind, ErrorKind::Fatal);
    assert!(shown.contains("28P01") && shown.contains("password authentication failed"), "{shown}");
    let (kind, shown) = check(&[("database.password", "")]).await;
    assert_eq!(kind, ErrorKind::Fatal);
    assert!(shown.contains("database.password is not set"), "{shown}");
    let (kind, shown) = check(&[("database.dbname", "nowhere")]).await;
    assert_eq!(kind, ErrorKind::Fatal);
    assert!(shown.contains("\"nowhere\" does not exist"), "{shown}");
    let (kind, shown) = check(&[("database.port", &port)]).await;
    assert!(matches!(kind, ErrorKind::Retriable { .. }), "{shown}");
    assert!(shown.contains(&format!("port={port}")), "{shown}");

    // Somebody who accepts and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port().to_string();
    let began = Instant::now();
    let (kind, shown) = check(&[("database.port", &port), ("connect.timeout.ms", "300")]).await;
    assert!(matches!(kind, ErrorKind::Retriable { .. }), "{shown}");
    // Sooner than it would without that.
    assert!(began.elapsed() < Duration::from_secs(9));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waits_for_a_lock_only_so_long() {
    let database = Server::shared().database();
    database.sql_as_user("CREATE TABLE t (id int)");
    let _other = database.background("BEGIN; LOCK TABLE t; SELECT pg_sleep(60)");
    while database.sql(
        "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted AND relation = 't'::regclass",
    ) != "1"
    {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let source = source(&database, &[("lock.timeout.ms", "200")]);
    let error = source.plan(&Progress::default()).await.unwrap_err();
    assert_eq!(error.context("sqlstate"), Some("55P03"), "{error:#}");
    assert!(matches!(error.kind(), ErrorKind::Retriable { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_task_ends_its_copy() {
    let database = Server::shared().database();
    database.sql_as_user(
        "CREATE TABLE big (id int, pad text); INSERT INTO big SELECT i, repeat('x', 500) FROM generate_series(1, 100000) i",
    );
    let proxy = Proxy::at(0, database.port(), u64::MAX);
    let port = proxy.port.to_string();
    let source = source(&database, &[("parallel.chunk.size", "1GiB"), ("database.port", &port)]);
    let plan = plan(&*source).await;
    let split = &plan.tables[0].splits[0];
    let copies = || {
        database.sql("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'COPY%' AND state = 'active'")
    };
    let patience = Duration::from_secs(60);
    let mut task = source.open(split, Position::Start, context()).await.unwrap();
    assert!(task.next().await.unwrap().is_some());
    // Nothing more comes: it ends by being ended, or not at all.
    proxy.hold();
    assert_eq!(copies(), "1", "the server is held back");
    let dropped = Instant::now();
    drop(task);
    while copies() != "0" {
        assert!(dropped.elapsed() < patience, "the COPY goes on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    proxy.release();

    let context = context();
    let mut task = source.open(split, Position::Start, context.clone()).await.unwrap();
    assert!(task.next().await.unwrap().is_some());
    proxy.hold();
    context.cancel.cancel();
    assert!(task.next().await.is_err(), "cancellation is not the end of the data");
    tokio::time::timeout(patience, task.close()).await.unwrap().unwrap();
    proxy.release();
    assert_eq!(read(&*source, split).await.unwrap().iter().map(|b| b.num_rows()).sum::<usize>(), 100_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_connection_may_be_opened_again_and_a_lost_cut_may_not() {
    let database = Server::shared().database();
    database.sql_as_user(
        "CREATE TABLE big (id int, pad text); INSERT INTO big SELECT i, repeat('x', 500) FROM generate_series(1, 50000) i",
    );
    let source = source(&database, &[("parallel.chunk.size", "1GiB")]);
    let plan = plan(&*source).await;
    let split = &plan.tables[0].splits[0];
    let kill = |which: &str| {
        database.sql(&format!(
            "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity
             WHERE datname = current_database() AND application_name = 'connect-runtime' AND {which}"
        ))
    };

    let mut task = source.open(split, Position::Start, context()).await.unwrap();
    let first = task.next().await.unwrap().unwrap();
    assert_eq!(kill("query LIKE 'COPY%'"), "t");
    let error = loop {
        match task.next().await {
            Ok(batch) => assert!(batch.is_some(), "the split must not end well"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error.kind(), ErrorKind::Retriable { .. }), "{error:#}");
    let mut task = source.open(split, first.span().upto, context()).await.unwrap();
    let mut rest = 0;
    while let Some(batch) = task.next().await.unwrap() {
        rest += batch.rows().num_rows();
    }
    assert_eq!(first.rows().num_rows() + rest, 50_000);

    // A reading connection that already has the snapshot would go on, and could see a truncated table.
    assert_eq!(kill("query NOT LIKE 'COPY%' AND backend_xmin IS NOT NULL"), "t");
    let error = read(&*source, split).await.unwrap_err();
    assert!(error.is_cut_lost(), "{error:#}");
}
