//! Stops on request, at any call.

use connector_api::testing::scripted::{Act, Call, Script};

use super::*;

/// Cancels a load that waits, for ever unless told otherwise, at a call.
async fn cancelled_at(call: Call, nth: u64) -> (LoadReport, Bench, Duration) {
    let script = Script::default().on(call, nth, Act::Wait(CancellationToken::new()));
    let bench = Bench::new(three_tables().at_a_time(2, 2), script);
    let running = tokio::spawn(bench.start());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let asked = tokio::time::Instant::now();
    bench.cancel.cancel();
    let report = running.await.unwrap();
    (report, bench, asked.elapsed())
}

#[tokio::test(start_paused = true)]
async fn cancellation_leaves_nothing_half_done() {
    for (call, nth, closed) in [
        (Call::Tables, 1, 0),
        (Call::Plan, 1, 0),
        (Call::Progress, 1, 0),
        (Call::OpenSink, 1, 0),
        (Call::Open, 1, 1),
        (Call::Next, 3, 1),
        (Call::Write, 4, 1),
    ] {
        let (report, bench, took) = cancelled_at(call, nth).await;
        assert!(matches!(report.end, End::Cancelled), "{call:?}: {report:?}");
        assert!(took < Duration::from_secs(1), "{call:?} took {took:?}");
        assert_eq!(bench.sink.closed(), closed, "{call:?}");
        for table in &report.tables {
            let visible = bench.sink.published(&table.table).is_some();
            assert_eq!(matches!(table.outcome, Outcome::Loaded), visible, "{call:?}: {report:?}");
        }
        assert_ne!(bench.state("shop"), State::Running);
        assert_ne!(bench.state("lake"), State::Running);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_commits_but_not_for_ever() {
    // A commit that answers within the time is waited for, and counts.
    let release = CancellationToken::new();
    let mut bench = Bench::new(three_tables(), Script::default());
    bench.sink = bench.sink.holding_commits(release.clone());
    let running = tokio::spawn(bench.start());
    tokio::time::sleep(Duration::from_secs(1)).await;
    bench.cancel.cancel();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(!running.is_finished());
    release.cancel();
    assert_eq!(told(&running.await.unwrap()), ["a loaded 7", "b loaded 3", "c loaded 0", "cancelled"]);
    // One that never answers is dropped when the time is over.
    for call in [Call::Commit, Call::CloseSink] {
        let (report, _, took) = cancelled_at(call, 1).await;
        assert_eq!(told(&report).last().unwrap(), "ended (the stop took too long: what was left was dropped)");
        assert_eq!(took.as_secs(), 30, "{call:?}");
    }
}
