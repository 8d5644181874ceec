//! A table that is loaded first, then followed.

use connect_engine::{Job, LoadReport, Pipeline, Retry, run};
use connector_api::testing::memory::{MemorySource, MemoryTable};
use connector_api::testing::pair_schema;
use connector_api::testing::scripted::{Act, Call, ScriptedSource};

use super::*;

/// A load of `b` with two rows, as of where its log ends then; its source hands over.
fn job(bench: &Bench) -> Job {
    let rows = |values: &[Pair]| {
        let (ids, vs): (Vec<_>, Vec<_>) = values.iter().copied().unzip();
        let columns: Vec<arrow_array::ArrayRef> =
            vec![Arc::new(arrow_array::Int64Array::from(ids)), Arc::new(arrow_array::Int64Array::from(vs))];
        arrow_array::RecordBatch::try_new(Arc::clone(pair_schema(&id("b"), false).arrow()), columns).unwrap()
    };
    let table = MemoryTable::new(pair_schema(&id("b"), false), vec![vec![rows(&[(1, Some(1)), (2, None)])]]);
    let source = MemorySource::new(vec![table]).handing_over();
    let pipeline = Pipeline {
        source_name: "shop".into(),
        source: Arc::new(ScriptedSource::new(source, &bench.script)),
        sink_name: "lake".into(),
        sink: Arc::new(ScriptedSink::new(bench.sink.clone(), &bench.script)),
        log: Some(Arc::new(ScriptedLog::new(bench.log.clone(), &bench.script))),
        retry: Retry { max: 2, backoff: Duration::from_secs(1) },
    };
    let shutdown_timeout = Duration::from_secs(30);
    let settings = Settings { memory: 64 << 20, shutdown_timeout, state_dir: None, resume: true };
    Job { pipeline, settings }
}

/// That load, and what it owes by its end.
async fn load(bench: &Bench) -> (LoadReport, Owed) {
    let mut left = Vec::new();
    let jobs = vec![job(bench)];
    let reports = run(jobs, &bench.shared, &CancellationToken::new(), |_, owed| left.push(owed)).await;
    (reports.unwrap().remove(0), left.remove(0))
}

/// Follows for a minute: how the tables are then.
async fn followed(bench: &Bench) -> Vec<String> {
    let running = tokio::spawn(bench.start());
    tokio::time::sleep(Duration::from_secs(60)).await;
    bench.cancel.cancel();
    let report = running.await.unwrap();
    report.tables.iter().map(|t| format!("{} {}", t.table.name(), t.state.as_str())).collect()
}

#[tokio::test(start_paused = true)]
async fn a_log_goes_on_where_it_ended_before_the_cut() {
    let mut bench = Bench::new(three_tables(), Script::default());
    let before = bench.log.end(&id("b"));
    // What is appended once the cut is being taken is followed, not loaded.
    let planning = CancellationToken::new();
    bench.script = Script::default().on(Call::Plan, 1, Act::Wait(planning.clone()));
    let ((report, _), ()) = tokio::join!(load(&bench), async {
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
    let ((report, _), ()) = tokio::join!(load(&bench), async {
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
    assert!(load(&bench).await.0.complete());
    let bench = Bench::new(three_tables(), Script::default().on(Call::Ends, 1, Act::Fail(ErrorKind::Fatal)));
    let (report, _) = load(&bench).await;
    assert!(matches!(report.end, End::Failed(_)) && bench.sink.pairs(&id("b")).is_none(), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn a_table_that_a_load_owes_is_not_made_from_its_log() {
    for (owed, expected) in [
        (Owed::Tables([id("b")].into()), ["a followed", "b failed", "c followed"]),
        (Owed::Any, ["a failed", "b failed", "c failed"]),
        // The twin: without that, it is made of what its log has.
        (Owed::default(), ["a followed", "b followed", "c followed"]),
    ] {
        let mut bench = Bench::new(three_tables(), Script::default());
        bench.owed = owed;
        assert_eq!(followed(&bench).await, expected);
        assert_eq!(bench.sink.pairs(&id("b")).is_some(), expected[1] == "b followed");
    }
    // One that is there already is followed whatever the loads say.
    let mut bench = Bench::new(three_tables(), Script::default());
    assert!(load(&bench).await.0.complete());
    bench.log.append(&id("b"), 0, [Change::Put(9, 9)]);
    bench.owed = Owed::Any;
    followed(&bench).await;
    assert_eq!(bench.sink.pairs(&id("b")), Some(vec![(1, Some(1)), (2, None), (9, Some(9))]));
}

/// `b` is loaded, `a` and `c` no load knows of: they are made from the log.
#[tokio::test(start_paused = true)]
async fn a_hand_over_that_fails_owes_no_table() {
    let mut bench = Bench::new(three_tables(), Script::default().on(Call::HandOver, 1, Act::Fail(ErrorKind::Fatal)));
    let report;
    (report, bench.owed) = load(&bench).await;
    assert!(matches!(report.ended(), End::Failed(_)) && report.complete(), "{report:?}");
    assert_eq!(followed(&bench).await, ["a followed", "b followed", "c followed"]);
    assert!(bench.sink.pairs(&id("a")).is_some());
    // The twin: after a load that fails they are not.
    let mut bench = Bench::new(three_tables(), Script::default().on(Call::Plan, 1, Act::Fail(ErrorKind::Fatal)));
    bench.owed = load(&bench).await.1;
    assert_eq!(followed(&bench).await, ["a failed", "b failed", "c failed"]);
}

#[tokio::test(start_paused = true)]
async fn a_sink_follows_while_its_source_hands_over() {
    let release = CancellationToken::new();
    let mut bench = Bench::new(three_tables(), Script::default().on(Call::HandOver, 1, Act::Wait(release.clone())));
    let (begun, mut begins) = tokio::sync::mpsc::channel(8);
    let (jobs, shared) = (vec![job(&bench)], Arc::clone(&bench.shared));
    let loading = tokio::spawn(async move {
        let loaded = |sink: &str, owed| begun.try_send((sink.to_owned(), owed)).unwrap();
        run(jobs, &shared, &CancellationToken::new(), loaded).await
    });
    let began = tokio::time::timeout(Duration::from_secs(60), begins.recv()).await;
    let sink;
    (sink, bench.owed) = began.unwrap().unwrap();
    assert_eq!((sink.as_str(), &bench.owed), ("lake", &Owed::default()));
    bench.log.append(&id("b"), 0, [Change::Put(9, 9)]);
    bench.run().await;
    assert_eq!(bench.sink.pairs(&id("b")), Some(vec![(1, Some(1)), (2, None), (9, Some(9))]));
    // All that while the source has been handing over.
    assert!(!loading.is_finished());
    assert_eq!(bench.shared.connector("shop").unwrap().state, State::Running);
    release.cancel();
    let report = loading.await.unwrap().unwrap().remove(0);
    assert!(matches!(report.hand_over, Some(End::Finished)) && begins.recv().await.is_none(), "{report:?}");
    assert_eq!(bench.shared.connector("shop").unwrap().state, State::Stopped);
}

/// A sink of two sources is told of once, when the tables of both have their outcomes, and all that they owe.
#[tokio::test(start_paused = true)]
async fn a_sink_waits_for_its_last_load_and_for_no_hand_over() {
    let (first, second) = (CancellationToken::new(), CancellationToken::new());
    let bench = Bench::new(three_tables(), Script::default().on(Call::HandOver, 1, Act::Wait(first.clone())));
    let failing = Script::default().on(Call::Plan, 1, Act::Wait(second.clone()));
    let failing = failing.on_table(&id("x"), Call::Next, 1, Act::Fail(ErrorKind::Data));
    let more = MemorySource::new(vec![MemoryTable::of_ids(&id("x"), &[&[1]], 1)]);
    let of_more = job(&bench);
    let source = Arc::new(ScriptedSource::new(more, &failing));
    let pipeline = Pipeline { source_name: "more".into(), source, ..of_more.pipeline };
    let jobs = vec![job(&bench), Job { pipeline, ..of_more }];
    let (begun, mut begins) = tokio::sync::mpsc::channel(8);
    let shared = Arc::clone(&bench.shared);
    let loading = tokio::spawn(async move {
        run(jobs, &shared, &CancellationToken::new(), |_, owed| begun.try_send(owed).unwrap()).await
    });
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(bench.sink.pairs(&id("b")).is_some() && begins.try_recv().is_err(), "one load goes on");
    second.cancel();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(begins.try_recv(), Ok(Owed::Tables([id("x")].into())));
    assert!(!loading.is_finished());
    first.cancel();
    assert_eq!(loading.await.unwrap().unwrap().len(), 2);
    assert_eq!(begins.recv().await, None);
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
        hand_over: None,
        elapsed: Duration::ZERO,
    };
    let owed = |reports: &[LoadReport]| {
        let mut owed = Owed::default();
        reports.iter().for_each(|report| owed.add(report));
        owed
    };
    let failed = || connect_engine::Outcome::Failed(Arc::new(connector_api::Error::data("x")));
    let done = || connect_engine::Outcome::AlreadyLoaded;
    let good = || report(End::Finished, vec![("a", done()), ("b", connect_engine::Outcome::Loaded)]);
    assert_eq!(owed(&[]), Owed::default());
    assert_eq!(owed(&[good()]), Owed::default());
    let partly = || report(End::Finished, vec![("a", done()), ("c", failed())]);
    assert_eq!(owed(&[good(), partly()]), Owed::Tables([id("c")].into()));
    let broken = report(End::Failed(connector_api::Error::fatal("x")), vec![("a", done())]);
    let unheard = LoadReport { hand_over: Some(End::Failed(connector_api::Error::fatal("x"))), ..good() };
    assert_eq!(owed(&[unheard, good()]), Owed::default());
    assert_eq!(owed(&[broken, good(), partly()]), Owed::Any);
}
