//! Errors and panics that end a load, and how they are told.

use connector_api::Error;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_fatal_error_ends_the_load_cleanly() {
    let script = Script::default().on_table(&id("b"), Call::Next, 2, Act::Fail(ErrorKind::Fatal));
    let bench = Bench::new(three_tables(), script);
    let report = bench.load().await;
    assert_eq!(told(&report), ["a loaded 7", "b cancelled 2", "c cancelled 0", "ended (scripted failure)"]);
    assert_eq!((bench.ids("b"), bench.ids("c"), bench.sink.closed()), (None, None, 1));
    let shop = bench.shared.connector("shop").unwrap();
    assert!(shop.trace.unwrap().contains("table=public.b"));
    assert_eq!(bench.state("lake"), State::Stopped);
}

/// A call that fails or panics: how the load ends, whether the sink's task was closed, and that whatever
/// is visible is whole.
async fn misbehaving(call: Call, nth: u64, act: Act) -> (String, u64) {
    let bench = Bench::new(three_tables().at_a_time(2, 2), Script::default().on(call, nth, act));
    let report = bench.load().await;
    for (name, whole) in [("a", vec![1, 2, 3, 4, 5, 6, 7]), ("b", vec![21, 22, 23]), ("c", vec![])] {
        assert!(bench.ids(name).is_none_or(|ids| ids == whole), "{name}: {:?}", bench.ids(name));
    }
    assert!(!report.complete(), "{report:?}");
    (told(&report).pop().unwrap(), bench.sink.closed())
}

#[tokio::test(start_paused = true)]
async fn panics_are_contained() {
    for call in [Call::Tables, Call::Plan, Call::Progress, Call::OpenSink] {
        let (end, closed) = misbehaving(call, 1, Act::Panic).await;
        assert_eq!((end.as_str(), closed), ("ended (a connector panicked: this is a bug in it)", 0), "{call:?}");
    }
    for call in [Call::Open, Call::Next, Call::CloseSource] {
        let (end, closed) = misbehaving(call, 2, Act::Panic).await;
        assert_eq!((end.as_str(), closed), ("ended (a connector panicked: this is a bug in it)", 1), "{call:?}");
    }
    for call in [Call::Write, Call::Commit] {
        let (end, closed) = misbehaving(call, 2, Act::Panic).await;
        // What has panicked is dropped, not called again.
        assert_eq!((end.as_str(), closed), ("ended (a connector panicked: this is a bug in it)", 0), "{call:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn failures_of_the_sink_end_the_load() {
    for kind in [RETRIABLE, ErrorKind::Data, ErrorKind::Fatal] {
        for call in [Call::Progress, Call::OpenSink] {
            assert_eq!(misbehaving(call, 1, Act::Fail(kind)).await, ("ended (scripted failure)".into(), 0));
        }
        for call in [Call::Write, Call::Commit] {
            assert_eq!(misbehaving(call, 2, Act::Fail(kind)).await, ("ended (scripted failure)".into(), 1));
        }
    }
    let bench = Bench::new(three_tables(), Script::default().on(Call::CloseSink, 1, Act::Fail(ErrorKind::Fatal)));
    let report = bench.load().await;
    assert_eq!(told(&report), ["a loaded 7", "b loaded 3", "c loaded 0", "ended (scripted failure)"]);
    assert_eq!((bench.state("shop"), bench.state("lake")), (State::Failed, State::Failed));
}

/// A report's error must not be lost on the way to the operator.
#[tokio::test(start_paused = true)]
async fn errors_are_told_with_their_causes() {
    let bench = Bench::new(three_tables(), Script::default().on(Call::Plan, 1, Act::Fail(ErrorKind::Fatal)));
    let report = bench.load().await;
    assert!(report.lines().last().unwrap().contains("ended by an error: scripted failure [call=Plan]"));
    let error: Error = match report.end {
        End::Failed(error) => error,
        other => panic!("{other:?}"),
    };
    assert_eq!(error.kind(), ErrorKind::Fatal);
}
