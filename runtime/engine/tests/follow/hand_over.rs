//! A table that is loaded first, then followed.

use connect_engine::{Job, LoadReport, Pipeline, Retry};
use connector_api::testing::memory::{MemorySource, MemoryTable};
use connector_api::testing::pair_schema;
use connector_api::testing::scripted::{Act, Call, ScriptedSource};

use super::*;

/// Loads `b` with two rows, as of where its log ends now.
async fn load(bench: &Bench) -> LoadReport {
    let rows = |values: &[Pair]| {
        let (ids, vs): (Vec<_>, Vec<_>) = values.iter().copied().unzip();
        let columns: Vec<arrow_array::ArrayRef> =
            vec![Arc::new(arrow_array::Int64Array::from(ids)), Arc::new(arrow_array::Int64Array::from(vs))];
        arrow_array::RecordBatch::try_new(Arc::clone(pair_schema(&id("b"), false).arrow()), columns).unwrap()
    };
    let table = MemoryTable::new(pair_schema(&id("b"), false), vec![vec![rows(&[(1, Some(1)), (2, None)])]]);
    let pipeline = Pipeline {
        source_name: "shop".into(),
        source: Arc::new(ScriptedSource::new(MemorySource::new(vec![table]), &bench.script)),
        sink_name: "lake".into(),
        sink: Arc::new(ScriptedSink::new(bench.sink.clone(), &bench.script)),
        log: Some(Arc::new(ScriptedLog::new(bench.log.clone(), &bench.script))),
        retry: Retry { max: 2, backoff: Duration::from_secs(1) },
    };
    let shutdown_timeout = Duration::from_secs(30);
    let settings = Settings { memory: 64 << 20, shutdown_timeout, state_dir: None, resume: true };
    connect_engine::run(Job { pipeline, settings }, Arc::clone(&bench.shared), CancellationToken::new()).await
}

#[tokio::test(start_paused = true)]
async fn a_log_goes_on_where_it_ended_before_the_cut() {
    let mut bench = Bench::new(three_tables(), Script::default());
    let before = bench.log.end(&id("b"));
    // What is appended once the cut is being taken is followed, not loaded.
    let planning = CancellationToken::new();
    bench.script = Script::default().on(Call::Plan, 1, Act::Wait(planning.clone()));
    let (report, ()) = tokio::join!(load(&bench), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        bench.log.append(&id("b"), 0, [Change::Put(9, 9), Change::Delete(1, 1)]);
        planning.cancel();
    });
    assert!(report.complete(), "{report:?}");
    assert_eq!(bench.sink.published(&id("b")).unwrap().load.marks, before);
    bench.run().await;
    assert_eq!(bench.sink.pairs(&id("b")), Some(vec![(2, None), (9, Some(9))]));
}

/// Its twin: asked after the cut, the log would be followed from too late.
#[tokio::test(start_paused = true)]
async fn a_log_that_is_asked_too_late_loses_changes() {
    let mut bench = Bench::new(three_tables(), Script::default());
    let asking = CancellationToken::new();
    bench.script = Script::default().on(Call::Ends, 1, Act::Wait(asking.clone()));
    let (report, ()) = tokio::join!(load(&bench), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        bench.log.append(&id("b"), 0, [Change::Put(9, 9), Change::Delete(1, 1)]);
        asking.cancel();
    });
    assert!(report.complete(), "{report:?}");
    bench.run().await;
    assert_eq!(bench.sink.pairs(&id("b")), Some(vec![(1, Some(1)), (2, None)]));
}

#[tokio::test(start_paused = true)]
async fn a_load_does_not_begin_without_knowing_where_the_log_ends() {
    let passing = Script::default().on(Call::Ends, 1, Act::Fail(RETRIABLE)).on(Call::Ends, 2, Act::Fail(RETRIABLE));
    let bench = Bench::new(three_tables(), passing);
    assert!(load(&bench).await.complete());
    let bench = Bench::new(three_tables(), Script::default().on(Call::Ends, 1, Act::Fail(ErrorKind::Fatal)));
    let report = load(&bench).await;
    assert!(matches!(report.end, End::Failed(_)) && bench.sink.pairs(&id("b")).is_none(), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn a_table_that_a_load_owes_is_not_made_from_its_log() {
    for (owed, expected) in [
        (Owed::Tables([id("b")].into()), ["a followed", "b failed", "c followed"]),
        (Owed::Any, ["a failed", "b failed", "c failed"]),
        // The twin: without that, it is made of what its log has.
        (nothing_owed(), ["a followed", "b followed", "c followed"]),
    ] {
        let mut bench = Bench::new(three_tables(), Script::default());
        bench.owed = owed;
        let running = tokio::spawn(bench.start());
        tokio::time::sleep(Duration::from_secs(60)).await;
        bench.cancel.cancel();
        let report = running.await.unwrap();
        let states: Vec<_> = report.tables.iter().map(|t| format!("{} {}", t.table.name(), t.state.as_str())).collect();
        assert_eq!(states, expected);
        assert_eq!(bench.sink.pairs(&id("b")).is_some(), expected[1] == "b followed");
    }
    // One that is there already is followed whatever the loads say.
    let mut bench = Bench::new(three_tables(), Script::default());
    assert!(load(&bench).await.complete());
    bench.log.append(&id("b"), 0, [Change::Put(9, 9)]);
    bench.owed = Owed::Any;
    let running = tokio::spawn(bench.start());
    tokio::time::sleep(Duration::from_secs(60)).await;
    bench.cancel.cancel();
    running.await.unwrap();
    assert_eq!(bench.sink.pairs(&id("b")), Some(vec![(1, Some(1)), (2, None), (9, Some(9))]));
}

#[test]
fn what_loads_left_undone_is_owed() {
    let report = |end: End, tables: Vec<(&str, connect_engine::Outcome)>| LoadReport {
        source: "shop".into(),
        sink: "lake".into(),
        cut: None,
        tables: tables
            .into_iter()
            .map(|(name, outcome)| connect_engine::TableReport {
                table: id(name),
                outcome,
                rows: 0,
                bytes: 0,
                elapsed: Duration::ZERO,
            })
            .collect(),
        end,
        elapsed: Duration::ZERO,
    };
    let failed = || connect_engine::Outcome::Failed(Arc::new(connector_api::Error::data("x")));
    let done = || connect_engine::Outcome::AlreadyLoaded;
    let good = || report(End::Finished, vec![("a", done()), ("b", connect_engine::Outcome::Loaded)]);
    assert_eq!(Owed::of(&[]), nothing_owed());
    assert_eq!(Owed::of(&[good()]), nothing_owed());
    let partly = report(End::Finished, vec![("a", done()), ("c", failed())]);
    assert_eq!(Owed::of(&[good(), partly]), Owed::Tables([id("c")].into()));
    let broken = report(End::Failed(connector_api::Error::fatal("x")), vec![("a", done())]);
    assert_eq!(Owed::of(&[broken, good()]), Owed::Any);
}
