//! What a source does once every selected table is in the sink.

use super::*;

fn bench(script: Script) -> Bench {
    Bench::new(three_tables().handing_over(), script)
}

/// The same sink at the next start.
fn again(bench: Bench, script: Script) -> Bench {
    Bench { script, shared: Arc::new(Shared::new("test")), cancel: CancellationToken::new(), ..bench }
}

fn handed_over(bench: &Bench) -> Vec<String> {
    let names = |tables: Vec<TableId>| tables.iter().map(TableId::name).collect::<Vec<_>>().join(" ");
    bench.source.handed_over().into_iter().map(names).collect()
}

#[tokio::test(start_paused = true)]
async fn every_start_that_finds_all_tables_hands_over() {
    let bench = bench(Script::default());
    bench.load().await;
    assert_eq!(handed_over(&bench), ["a b c"]);
    let report = bench.load().await;
    assert_eq!(told(&report), ["a already 7", "b already 3", "c already 0", "finished"]);
    assert_eq!(handed_over(&bench), ["a b c", "a b c"]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_handed_over_while_a_table_is_missing() {
    let bench = bench(Script::default().on_table(&id("b"), Call::Next, 1, Act::Fail(ErrorKind::Data)));
    let report = bench.load().await;
    assert!(report.hand_over.is_none(), "{report:?}");
    assert!(told(&report).iter().any(|line| line.starts_with("b failed")), "{report:?}");
    assert_eq!(handed_over(&bench), [""; 0]);
    bench.load().await;
    assert_eq!(handed_over(&bench), ["a b c"], "the next start loads it, and hands over");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_handed_over_fails_the_source_and_no_table() {
    let mut bench = bench(Script::default().on(Call::HandOver, 1, Act::Fail(RETRIABLE)));
    for (script, expected) in [
        (Script::default().on(Call::HandOver, 1, Act::Panic), ["a loaded 7", "b loaded 3", "c loaded 0"]),
        (Script::default(), ["a already 7", "b already 3", "c already 0"]),
    ] {
        let report = bench.load().await;
        assert_eq!(told(&report)[..3], expected);
        assert_eq!(told(&report)[3], "ended (the tables are loaded, and not handed over)");
        assert!(report.complete() && matches!(report.end, End::Finished), "{report:?}");
        assert_eq!((bench.state("shop"), bench.state("lake")), (State::Failed, State::Stopped));
        let trace = bench.shared.connector("shop").unwrap().trace.unwrap();
        assert!(trace.starts_with("the tables are loaded, and not handed over"), "{trace}");
        assert_eq!((bench.ids("b").unwrap().len(), handed_over(&bench).len()), (3, 0));
        bench = again(bench, script);
    }
    bench.load().await;
    assert_eq!((handed_over(&bench).len(), bench.state("shop")), (1, State::Stopped));
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_a_hand_over() {
    let bench = bench(Script::default().on(Call::HandOver, 1, Act::Wait(CancellationToken::new())));
    let running = tokio::spawn(bench.start());
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!((bench.state("shop"), bench.state("lake")), (State::Running, State::Stopped));
    bench.cancel.cancel();
    let report = running.await.unwrap();
    assert_eq!(told(&report), ["a loaded 7", "b loaded 3", "c loaded 0", "cancelled"]);
    assert_eq!(bench.state("shop"), State::Stopped);
}
