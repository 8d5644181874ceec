//! Loads as they should go, and tables that fail by themselves.

use super::*;

#[tokio::test(start_paused = true)]
async fn loads_every_table_in_order() {
    let bench = Bench::new(three_tables(), Script::default());
    let report = bench.load().await;
    assert_eq!(told(&report), ["a loaded 7", "b loaded 3", "c loaded 0", "finished"]);
    assert!(report.complete());
    // One table and one split at a time, the largest first; `Complete` after every split's end.
    assert_eq!(
        bench.sink.order(),
        [
            "begin public.a",
            "rows public.a/1 2",
            "rows public.a/1 2",
            "rows public.a/1 1",
            "split public.a/1",
            "rows public.a/0 2",
            "split public.a/0",
            "split public.a/2",
            "complete public.a",
            "begin public.b",
            "rows public.b/0 2",
            "rows public.b/0 1",
            "split public.b/0",
            "complete public.b",
            "begin public.c",
            "split public.c/0",
            "complete public.c",
        ]
    );
    assert_eq!(bench.ids("a"), Some(vec![1, 2, 3, 4, 5, 6, 7]));
    assert_eq!((bench.ids("b"), bench.ids("c")), (Some(vec![21, 22, 23]), Some(vec![])));
    assert_eq!((bench.state("shop"), bench.state("lake")), (State::Stopped, State::Stopped));
    assert_eq!(bench.metric("shop", "kafka_connect_source_task_source_record_poll"), 10);
    assert_eq!(bench.metric("lake", "kafka_connect_sink_task_sink_record_send"), 10);
    assert_eq!(bench.metric("shop", "connect_queue_bytes"), 0);
    assert_eq!(bench.sink.closed(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_second_run_does_nothing_and_says_so() {
    let mut bench = Bench::new(three_tables(), Script::default());
    bench.load().await;
    let opened = bench.source.opened().len();
    let report = bench.load().await;
    assert_eq!(told(&report), ["a already 7", "b already 3", "c already 0", "finished"]);
    assert!(report.complete() && report.cut.is_none());
    assert!(report.lines().last().unwrap().contains("nothing to do"), "{:?}", report.lines());
    assert_eq!(bench.source.opened().len(), opened);
    assert_eq!(bench.sink.published(&id("a")).unwrap().commits, 1);
    // The sink is given the chance to put its books in order all the same.
    assert_eq!(bench.sink.closed(), 2);

    bench.settings.resume = false;
    assert_eq!(told(&bench.load().await), ["a loaded 7", "b loaded 3", "c loaded 0", "finished"]);
    assert_eq!(bench.sink.published(&id("a")).unwrap().commits, 2);
}

#[tokio::test(start_paused = true)]
async fn only_what_is_missing_is_read() {
    let script = Script::default().on_table(&id("b"), Call::Next, 2, Act::Fail(RETRIABLE));
    let bench = Bench::new(three_tables().at_a_time(3, 2), script);
    let report = bench.load().await;
    assert_eq!(told(&report), ["a loaded 7", "b failed (scripted failure) 2", "c loaded 0", "finished"]);
    let Outcome::Failed(error) = &report.tables[1].outcome else { panic!("{report:?}") };
    assert_eq!((error.kind(), error.context("table")), (RETRIABLE, Some("public.b")));
    assert!(!report.complete());
    assert_eq!((bench.ids("b"), bench.state("shop")), (None, State::Failed));
    assert_eq!(told(&bench.load().await), ["a already 7", "b loaded 3", "c already 0", "finished"]);
}

#[tokio::test(start_paused = true)]
async fn a_failing_table_holds_up_no_other() {
    // `a` fails in its second batch; `b` is cut short in the sink; a third is refused from the start.
    let script = Script::default().on_table(&id("a"), Call::Next, 2, Act::Fail(ErrorKind::Data));
    let mut bench = Bench::new(three_tables().refusing(id("odd"), "no such type").at_a_time(2, 2), script);
    bench.sink = bench.sink.with(&id("b"), Mishap::Fails("out of range".into()));
    let report = bench.load().await;
    let a = &told(&report)[0];
    assert!(a.starts_with("a failed (scripted failure)"), "{a}");
    assert_eq!(
        told(&report)[1..],
        ["b failed (out of range) 3", "c loaded 0", "odd failed (no such type) 0", "finished"]
    );
    assert_eq!((bench.ids("a"), bench.ids("b"), bench.ids("c")), (None, None, Some(vec![])));
    assert!(bench.sink.aborted(&id("a")).unwrap().contains("scripted failure"));
    assert!(bench.sink.aborted(&id("odd")).unwrap().contains("no such type"));
    // The abort is the last that the sink hears of the table.
    let order = bench.sink.order();
    let of_a: Vec<_> = order.iter().filter(|line| line.contains("public.a")).collect();
    assert_eq!(*of_a[of_a.len() - 1], "abort public.a");
}

#[tokio::test(start_paused = true)]
async fn a_failing_table_does_not_wait_for_its_other_splits() {
    // One split of `a` fails while the other has nothing to say.
    let script = Script::default().on_table(&id("a"), Call::Next, 2, Act::Wait(CancellationToken::new())).on_table(
        &id("a"),
        Call::Next,
        3,
        Act::Fail(ErrorKind::Data),
    );
    let bench = Bench::new(three_tables().at_a_time(1, 2), script);
    let report = bench.load().await;
    assert_eq!(told(&report)[1..], ["b loaded 3", "c loaded 0", "finished"]);
    assert!(told(&report)[0].starts_with("a failed (scripted failure)"));
    // Its third split was never opened.
    assert_eq!(bench.source.opened().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn the_queue_holds_no_more_bytes_than_it_may() {
    let ids: Vec<i64> = (0..100_000).collect();
    let table = MemoryTable::of_ids(&id("big"), &[&ids[..50_000], &ids[50_000..]], 500);
    let go_on = CancellationToken::new();
    let script = Script::default().on_table(&id("big"), Call::Write, 10, Act::Wait(go_on.clone()));
    let mut bench = Bench::new(MemorySource::new(vec![table]).at_a_time(1, 2), script);
    bench.settings.memory = 16 * 64 * 1024;
    let running = tokio::spawn(bench.start());
    // The paused clock moves only when nothing else can: by then the queue is as full as it gets.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (held, capacity) = (bench.metric("shop", "connect_queue_bytes"), 64 * 1024);
    assert_eq!(bench.metric("shop", "connect_queue_capacity_bytes"), capacity);
    assert!(held <= capacity && held > capacity - 8 * 1024, "{held}");
    // One more batch for each open split is in the hands of its reader.
    let polled = bench.metric("shop", "kafka_connect_source_task_source_record_poll");
    let accepted = bench.metric("lake", "kafka_connect_sink_task_sink_record_send");
    assert!((polled - accepted) * 8 <= capacity + 2 * 500 * 8, "{polled} read, {accepted} accepted");
    go_on.cancel();
    assert_eq!(told(&running.await.unwrap()), ["big loaded 100000", "finished"]);
    assert_eq!(bench.ids("big"), Some(ids));
}

#[tokio::test(start_paused = true)]
async fn commits_do_not_hold_up_reading() {
    let release = CancellationToken::new();
    let mut bench = Bench::new(three_tables(), Script::default());
    bench.sink = bench.sink.holding_commits(release.clone());
    let running = tokio::spawn(bench.start());
    tokio::time::sleep(Duration::from_secs(1)).await;
    // Every table is read while the first one's commit has not answered yet.
    assert_eq!(bench.sink.order().last().unwrap(), "complete public.c");
    assert_eq!((bench.ids("a"), bench.ids("b"), bench.ids("c")), (None, None, None));
    let lines = connect_engine::lines(&bench.shared.loads()[0].tables(), Duration::from_secs(1));
    assert!(lines[0].contains("publishing") && lines[3].starts_with("0/3 tables"), "{lines:?}");
    release.cancel();
    assert!(running.await.unwrap().complete());
}

#[tokio::test(start_paused = true)]
async fn two_sources_may_feed_one_sink() {
    let bench = Bench::new(three_tables(), Script::default());
    let other = MemorySource::new(vec![MemoryTable::of_ids(&id("x"), &[&[9]], 1)]);
    let pipeline = Pipeline { source_name: "more".into(), source: Arc::new(other), ..bench.pipeline() };
    let jobs = [bench.pipeline(), pipeline].map(|pipeline| Job { pipeline, settings: bench.settings.clone() });
    let mut loaded = Vec::new();
    let reports = run(jobs.into(), &bench.shared, &bench.cancel, |sink, owed| loaded.push((sink.to_owned(), owed)));
    let reports = reports.await.unwrap();
    assert!(reports.len() == 2 && reports.iter().all(LoadReport::complete), "{reports:?}");
    assert_eq!(loaded, [("lake".to_owned(), Owed::default())]);
    assert_eq!((bench.ids("x"), bench.ids("b")), (Some(vec![9]), Some(vec![21, 22, 23])));
    assert_eq!(bench.shared.connector("lake").unwrap().tasks.len(), 2);
    assert!(bench.shared.metrics_text().contains("record_send_total{connector=\"lake\",task=\"1\"}"));
}
