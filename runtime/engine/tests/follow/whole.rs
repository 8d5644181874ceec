//! When all goes well: what is applied, acknowledged, counted and said, and how a stop ends it.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_log_is_applied_as_it_grows() {
    let bench = Bench::new(three_tables(), Script::default());
    let running = tokio::spawn(bench.start());
    tokio::time::sleep(Duration::from_secs(60)).await;
    bench.expect_all("at first");
    assert_eq!(bench.status(), (State::Running, String::new()));
    bench.log.append(&id("a"), 0, [Change::Truncate, Change::Put(1, 1)]);
    bench.log.append(&id("c"), 0, [Change::Put(7, 7)]);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(bench.sink.pairs(&id("a")), Some(vec![(1, Some(1))]));
    assert_eq!(bench.sink.pairs(&id("c")), Some(vec![(7, Some(7))]));
    for table in TABLES {
        assert_eq!(bench.log.acknowledged(&id(table)), bench.log.end(&id(table)), "{table}");
    }
    bench.cancel.cancel();
    let report = running.await.unwrap();
    assert_eq!(told(&report), ["a followed", "b followed", "c followed", "stopped"]);
    assert_eq!((bench.sink.closed(), bench.status()), (1, (State::Stopped, String::new())));
    let sent: u64 = report.tables.iter().map(|t| t.changes).sum();
    assert_eq!(bench.metric("kafka_connect_sink_task_sink_record_read"), sent);
    assert_eq!(bench.metric("kafka_connect_sink_task_sink_record_send"), sent);
    let text = bench.shared.metrics_text();
    assert!(text.contains(r#"connect_follow_tables{connector="lake",state="followed"} 3"#), "{text}");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_acknowledged_before_it_is_durable() {
    let release = CancellationToken::new();
    let mut bench = Bench::new(three_tables(), Script::default());
    bench.sink = bench.sink.holding_commits(release.clone());
    let running = tokio::spawn(bench.start());
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(TABLES.iter().all(|t| bench.log.acknowledged(&id(t)).is_empty()));
    assert_eq!(bench.sink.pairs(&id("a")), None);
    release.cancel();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(bench.log.acknowledged(&id("a")), bench.log.end(&id("a")));
    bench.expect_all("once commits get through");
    bench.cancel.cancel();
    running.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_is_taken_when_the_sink_says_so() {
    let mut bench = Bench::new(three_tables(), Script::default());
    bench.sink = bench.sink.committing_every(Duration::from_secs(100));
    let running = tokio::spawn(bench.start());
    tokio::time::sleep(Duration::from_secs(99)).await;
    assert_eq!(bench.sink.pairs(&id("a")), None);
    tokio::time::sleep(Duration::from_secs(3)).await;
    bench.expect_all("after the interval");
    assert_eq!(bench.sink.followed(&id("a")).unwrap().commits, 1);
    // A stop does not wait for the interval: it makes durable what there is.
    bench.log.append(&id("a"), 0, [Change::Truncate]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    bench.cancel.cancel();
    assert_eq!(told(&running.await.unwrap()), ["a followed", "b followed", "c followed", "stopped"]);
    assert_eq!(bench.sink.pairs(&id("a")), Some(vec![]));
    assert_eq!(bench.log.acknowledged(&id("a")), bench.log.end(&id("a")));
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_commits_but_not_for_ever() {
    let mut bench = Bench::new(three_tables(), Script::default());
    bench.sink = bench.sink.holding_commits(CancellationToken::new());
    let running = tokio::spawn(bench.start());
    tokio::time::sleep(Duration::from_secs(5)).await;
    let asked = tokio::time::Instant::now();
    bench.cancel.cancel();
    let report = running.await.unwrap();
    assert_eq!(asked.elapsed().as_secs(), 30);
    let last = told(&report).pop().unwrap();
    assert_eq!(last, "ended (the stop took too long: what was not durable comes again with the next run)");
    assert_eq!(bench.sink.pairs(&id("a")), None);
    // It does come again.
    (bench.sink, bench.cancel) = (MemorySink::default(), CancellationToken::new());
    bench.run().await;
    bench.expect_all("with the next run");
}

#[tokio::test(start_paused = true)]
async fn a_run_goes_on_where_the_last_one_ended() {
    let mut bench = Bench::new(three_tables(), Script::default());
    bench.run().await;
    let commits = bench.sink.followed(&id("b")).unwrap().commits;
    bench.cancel = CancellationToken::new();
    let report = bench.run().await;
    assert_eq!(report.tables.iter().map(|t| t.changes).sum::<u64>(), 0);
    assert_eq!(bench.sink.followed(&id("b")).unwrap().commits, commits);
    bench.expect_all("after a run with nothing to do");
}
