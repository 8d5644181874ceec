//! The cut: all tables as of one moment, and what stands in its way.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use connect_tests::postgres::Server;
use connector_api::{ErrorKind, Progress};

use super::{plan, read, rows, source};

/// Who waits for the holder to let go of a table holds up the load's own readers: they say so and give up,
/// and the split can be read once he has gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_behind_an_exclusive_lock_gives_up() {
    let database = Server::shared().database();
    database.sql_as_user("CREATE TABLE t (id int); INSERT INTO t VALUES (1)");
    let source = source(&database, &[("lock.timeout.ms", "200")]);
    let plan = plan(&*source).await;
    let waiting = database.background("TRUNCATE t");
    while database.sql("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 't'::regclass") == "0" {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let error = read(&*source, &plan.tables[0].splits[0]).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Retriable { .. }), "{error:#}");
    assert!(error.context("sqlstate") == Some("55P03") && error.context("remedy").is_some(), "{error:#}");
    database
        .sql("SELECT pg_terminate_backend(pid, 60000) FROM pg_locks WHERE NOT granted AND relation = 't'::regclass");
    drop(waiting);
    assert_eq!(rows(&*source, &plan, "public", "t").await, [["1"]]);
}

/// A refresh exchanges a materialized view's rows for all snapshots at once, and LOCK takes no such view.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_materialized_view_shows_the_same_moment() {
    let database = Server::shared().database();
    database.sql_as_user(
        "CREATE TABLE counter (n int); INSERT INTO counter VALUES (0);
         CREATE MATERIALIZED VIEW shown AS SELECT n FROM counter",
    );
    // It gives up where a load holds the view: the load's readers would wait behind it.
    let refreshing = database.background(
        "DO $$ BEGIN PERFORM set_config('lock_timeout', '20ms', false);
         LOOP
             BEGIN
                 UPDATE counter SET n = n + 1; REFRESH MATERIALIZED VIEW shown;
             EXCEPTION WHEN lock_not_available THEN NULL;
             END;
             COMMIT;
         END LOOP; END $$",
    );
    let (mut seen, began) = (HashSet::new(), Instant::now());
    while seen.len() < 2 || seen.len() < 6 && began.elapsed() < Duration::from_secs(9) {
        assert!(began.elapsed() < Duration::from_secs(120), "no refresh went between the cuts");
        let source = source(&database, &[("table.types", "TABLE,MATERIALIZED VIEW")]);
        let plan = match source.plan(&Progress::default()).await {
            Ok(plan) => plan,
            // Refreshed faster than a cut can be taken: never a wrong one.
            Err(e) => {
                assert!(matches!(e.kind(), ErrorKind::Retriable { .. }), "{e:#}");
                continue;
            }
        };
        let counter = rows(&*source, &plan, "public", "counter").await;
        assert_eq!(rows(&*source, &plan, "public", "shown").await, counter);
        seen.extend(counter);
    }
    drop(refreshing);
}

/// Accounts move money among themselves and between tables, and are closed and opened again: at any one
/// moment the sum and the count are the same, over all chunks of both tables.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_chunk_shows_the_same_moment() {
    let database = Server::shared().database();
    database.sql_as_user(
        "CREATE TABLE a (id int, v bigint, pad text); CREATE TABLE b (id int, v bigint, pad text);
         INSERT INTO a SELECT i, 100, repeat('x', 100) FROM generate_series(1, 5000) i;
         INSERT INTO b SELECT i, 100, repeat('x', 100) FROM generate_series(1, 5000) i;
         CREATE TABLE moves (n int)",
    );
    let writer = database.background(
        "DO $$ DECLARE k int := 0; BEGIN LOOP
             k := (k + 37) % 4980;
             UPDATE a SET v = v - 1 WHERE id > k AND id <= k + 20;
             UPDATE b SET v = v + 1 WHERE id > k AND id <= k + 20;
             WITH gone AS (DELETE FROM b WHERE id % 1000 = k % 1000 RETURNING *) INSERT INTO b SELECT * FROM gone;
             INSERT INTO moves VALUES (1);
             COMMIT;
         END LOOP; END $$",
    );
    let made = || database.sql("SELECT count(*) FROM moves").parse::<u64>().unwrap();
    let patience = Instant::now() + Duration::from_secs(60);
    while made() < 3 {
        assert!(Instant::now() < patience, "the writer does not write");
    }
    for round in 0..3 {
        let source = source(&database, &[("table.include.list", "public\\.[ab]")]);
        let plan = plan(&*source).await;
        assert!(plan.tables.iter().all(|t| t.splits.len() > 5));
        let before = made();
        let mut sums = vec![];
        for name in ["a", "b"] {
            // Rows move between chunks meanwhile.
            let rows = rows(&*source, &plan, "public", name).await;
            let ids: HashSet<_> = rows.iter().map(|r| r[0].clone()).collect();
            assert_eq!((rows.len(), ids.len()), (5000, 5000), "{name}, round {round}");
            sums.push(rows.iter().map(|r| r[1].parse::<i64>().unwrap()).sum::<i64>());
            let waited = Instant::now() + Duration::from_secs(60);
            while made() <= before {
                assert!(Instant::now() < waited, "the writer stands still");
            }
        }
        assert_eq!(sums[0] + sums[1], 2 * 100 * 5000, "round {round}: {sums:?}");
        assert_ne!(sums[0], 100 * 5000, "the writer changed something");
    }
    drop(writer);
}

/// TRUNCATE is not multi-versioned: a snapshot taken before the table's lock would see the table empty,
/// although at no moment it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_is_never_falsely_empty() {
    let database = Server::shared().database();
    database.sql_as_user("CREATE TABLE t (id int); INSERT INTO t SELECT generate_series(1, 10)");
    // Whoever empties it commits when the plan waits for its lock, which shows as another that is not granted.
    let other = database.background(
        "BEGIN; TRUNCATE t;
         DO $$ BEGIN WHILE NOT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 't'::regclass)
             LOOP PERFORM pg_sleep(0.02); END LOOP; END $$;
         INSERT INTO t SELECT generate_series(1, 5); COMMIT",
    );
    let truncates = "SELECT count(*) FROM pg_locks
         WHERE mode = 'AccessExclusiveLock' AND granted AND relation = 't'::regclass";
    while database.sql(truncates) != "1" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let source = source(&database, &[]);
    let plan = plan(&*source).await;
    other.finish();
    // And while the cut is held nobody truncates.
    let truncate = |timeout| database.sql_as_user(&format!("SET lock_timeout = {timeout}; TRUNCATE t"));
    assert!(std::panic::catch_unwind(|| truncate(200)).is_err(), "TRUNCATE went through");
    assert_eq!(rows(&*source, &plan, "public", "t").await.len(), 5);
    drop(source);
    truncate(60_000);
}

/// Attaching goes together with the lock, and a query sees the partitions of the present.
#[tokio::test]
async fn a_partition_that_comes_later_is_not_taken_for_the_cut() {
    let database = Server::shared().database();
    database.sql_as_user(
        "CREATE TABLE p (id int) PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);
         INSERT INTO p VALUES (1);
         CREATE TABLE bare (id int) PARTITION BY RANGE (id)",
    );
    let source = source(&database, &[]);
    let plan = plan(&*source).await;
    let truncate = "SET lock_timeout = 200; TRUNCATE p1";
    assert!(std::panic::catch_unwind(|| database.sql_as_user(truncate)).is_err(), "TRUNCATE went through");
    assert_eq!(rows(&*source, &plan, "public", "p").await, [["1"]]);
    assert_eq!(rows(&*source, &plan, "public", "bare").await, [[""; 0]; 0]);
    database.sql_as_user("CREATE TABLE p2 (id int); INSERT INTO p2 VALUES (12)");
    database.sql_as_user("ALTER TABLE p ATTACH PARTITION p2 FOR VALUES FROM (10) TO (20)");
    let table = plan.tables.iter().find(|t| t.schema.table().name() == "p").unwrap();
    let error = read(&*source, &table.splits[0]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    assert!(error.message().starts_with("a partition was attached"), "{error:#}");
}

#[tokio::test]
async fn the_cut_says_what_it_saw() {
    let database = Server::shared().database();
    database.sql_as_user("CREATE TABLE t (id int); CREATE TABLE u (id int)");
    let source = source(&database, &[]);
    let first = plan(&*source).await;
    let system = database.sql("SELECT system_identifier FROM pg_control_system()");
    assert_eq!(first.cut.system, format!("postgresql:{system}/{}", database.name));
    assert_eq!(first.cut.position_type, "lsn");
    let visible = first.cut.visible.clone().unwrap();
    database.sql_as_user("INSERT INTO t VALUES (1)");
    let later = plan(&*source).await;
    let check = |sql: &str| database.sql(sql);
    assert_eq!(check(&format!("SELECT '{}'::pg_lsn < '{}'::pg_lsn", first.cut.position, later.cut.position)), "t");
    let inserted = check("SELECT xmin FROM t");
    assert_eq!(check(&format!("SELECT pg_visible_in_snapshot('{inserted}', '{visible}')")), "f");
    let visible = later.cut.visible.clone().unwrap();
    assert_eq!(check(&format!("SELECT pg_visible_in_snapshot('{inserted}', '{visible}')")), "t");
}
