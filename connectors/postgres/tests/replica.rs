//! Reading from a streaming replica, and what becomes of a cut that is in the way of its replay.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use connect_tests::postgres::{PASSWORD, Server, USER};
use connector_api::{ErrorKind, Position, Progress, Role, Severity, TaskContext};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_is_read_until_its_replay_is_in_the_way() {
    let primary = Server::start();
    primary.postgres(&format!(
        "CREATE TABLE t (id int); GRANT SELECT ON t TO {USER}; INSERT INTO t SELECT generate_series(1, 1000)"
    ));
    let replica = primary.replica(&["max_standby_streaming_delay = 100"]);
    let port = replica.port.to_string();
    let raw = [
        ("database.hostname", "127.0.0.1"),
        ("database.port", &port),
        ("database.user", USER),
        ("database.password", PASSWORD),
        ("database.dbname", "postgres"),
        ("snapshot.mode", "initial_only"),
    ];
    let raw: BTreeMap<_, _> = raw.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    let Ok(Role::Source(source)) = (connector_postgres::PLUGIN.build)(&raw) else { panic!("not a source") };
    while replica.postgres("SELECT count(*) FROM pg_class WHERE relname = 't'") == "0" {
        std::thread::sleep(Duration::from_millis(20));
    }
    let found = source.check().await.unwrap();
    assert!(found.iter().all(|f| f.severity == Severity::Warning), "{found:?}");
    assert!(found.iter().any(|f| f.remedy.contains("hot_standby_feedback = on")), "{found:?}");

    let plan = source.plan(&Progress::default()).await.unwrap();
    let split = &plan.tables[0].splits[0];
    let read = async || {
        let mut task = source.open(split, Position::Start, TaskContext::new("test", 0, 1 << 20)).await?;
        let mut rows = 0;
        while let Some(batch) = task.next().await? {
            rows += batch.rows().num_rows();
        }
        Ok::<_, connector_api::Error>(rows)
    };
    assert_eq!(read().await.unwrap(), 1000);
    // Rows that the cut sees are removed: the replica ends whoever still needs them, and the load knows it.
    primary.postgres("DELETE FROM t");
    primary.postgres("VACUUM t");
    let patience = Instant::now() + Duration::from_secs(30);
    let error = loop {
        match read().await {
            Ok(rows) => assert_eq!(rows, 1000, "never part of a table"),
            Err(error) if error.is_cut_lost() => break error,
            Err(error) => assert!(matches!(error.kind(), ErrorKind::Retriable { .. }), "{error:#}"),
        }
        assert!(Instant::now() < patience, "the cut is never lost");
        std::thread::sleep(Duration::from_millis(50));
    };
    assert_eq!(error.context("table"), Some("public.t"), "{error:#}");
    // A new cut shows what is there.
    let plan = source.plan(&Progress::default()).await.unwrap();
    assert_eq!(plan.tables[0].splits.len(), 1);
}
