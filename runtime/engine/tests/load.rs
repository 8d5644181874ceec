//! Whole loads over in-memory connectors: what a reader sees afterwards, and what the report says, when all
//! goes well and when it does not. The clock is paused: a wait costs nothing and a hang ends the test.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use connect_engine::{End, Job, LoadReport, Outcome, Pipeline, Settings, Shared, State, run};
use connector_api::testing::memory::{MemorySink, MemorySource, MemoryTable};
use connector_api::testing::scripted::{Act, Call, Script, ScriptedSink, ScriptedSource};
use connector_api::{
    CancellationToken, ChangeBatch, Checkpoint, CommitHandle, Error, ErrorKind, Event, Plan, Position, Progress,
    Result, Selection, Sink, SinkTask, Source, SourceTask, Split, TableId, TaskContext,
};
use proptest::prelude::*;

const RETRIABLE: ErrorKind = ErrorKind::Retriable { after: None };

fn id(name: &str) -> TableId {
    TableId::new("public", name)
}

/// `a` has 7 rows in three splits (one of them empty), `b` 3 rows in one, `c` none.
fn three_tables() -> MemorySource {
    MemorySource::new(vec![
        MemoryTable::of_ids(&id("c"), &[], 2),
        MemoryTable::of_ids(&id("b"), &[&[21, 22, 23]], 2),
        MemoryTable::of_ids(&id("a"), &[&[1, 2], &[3, 4, 5, 6, 7], &[]], 2),
    ])
}

/// A load of scripted doubles, and everything one may look at.
struct Bench {
    source: MemorySource,
    sink: MemorySink,
    script: Script,
    shared: Arc<Shared>,
    cancel: CancellationToken,
    settings: Settings,
}

impl Bench {
    fn new(source: MemorySource, script: Script) -> Self {
        let settings = Settings { memory: 64 << 20, shutdown_timeout: Duration::from_secs(30), resume: true };
        let (sink, shared) = (MemorySink::default(), Arc::new(Shared::new("test")));
        Self { source, sink, script, shared, cancel: CancellationToken::new(), settings }
    }

    fn pipeline(&self) -> Pipeline {
        Pipeline {
            source_name: "shop".into(),
            source: Arc::new(ScriptedSource::new(self.source.clone(), &self.script)),
            sink_name: "lake".into(),
            sink: Arc::new(ScriptedSink::new(self.sink.clone(), &self.script)),
        }
    }

    fn start(&self) -> impl Future<Output = LoadReport> + Send + 'static {
        let job = Job { pipeline: self.pipeline(), settings: self.settings.clone() };
        let load = run(job, Arc::clone(&self.shared), self.cancel.clone());
        async { tokio::time::timeout(Duration::from_secs(3600), load).await.unwrap() }
    }

    async fn load(&self) -> LoadReport {
        self.start().await
    }

    fn ids(&self, table: &str) -> Option<Vec<i64>> {
        self.sink.ids(&id(table))
    }

    fn state(&self, connector: &str) -> State {
        self.shared.connector(connector).map_or(State::Unassigned, |c| c.state)
    }

    fn metric(&self, connector: &str, name: &str) -> u64 {
        let task = self.shared.connector(connector).unwrap().tasks.remove(0);
        task.metrics.all().into_iter().find(|m| m.name == name).unwrap().value()
    }
}

/// `a: loaded 7` and so on, then the end.
fn told(report: &LoadReport) -> Vec<String> {
    let outcome = |outcome: &Outcome| match outcome {
        Outcome::Loaded => "loaded".to_owned(),
        Outcome::AlreadyLoaded => "already".to_owned(),
        Outcome::Cancelled => "cancelled".to_owned(),
        Outcome::Failed(error) => format!("failed ({})", error.message()),
    };
    let mut lines: Vec<_> =
        report.tables.iter().map(|t| format!("{} {} {}", t.table.name(), outcome(&t.outcome), t.rows)).collect();
    lines.push(match &report.end {
        End::Finished => "finished".to_owned(),
        End::Cancelled => "cancelled".to_owned(),
        End::Failed(error) => format!("ended ({})", error.message()),
    });
    lines
}

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
    bench.sink = bench.sink.failing(&id("b"), "out of range");
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

#[tokio::test(start_paused = true)]
async fn the_queue_holds_no_more_bytes_than_it_may() {
    let ids: Vec<i64> = (0..100_000).collect();
    let table = MemoryTable::of_ids(&id("big"), &[&ids[..50_000], &ids[50_000..]], 500);
    let go_on = CancellationToken::new();
    let script = Script::default().on_table(&id("big"), Call::Write, 10, Act::Wait(go_on.clone()));
    let mut bench = Bench::new(MemorySource::new(vec![table]).at_a_time(1, 2), script);
    bench.settings.memory = 8 * 64 * 1024;
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

/// A source that leaves out one batch, and does not hide it in its spans.
struct Skipping(MemorySource);

struct SkippingTask(Box<dyn SourceTask>, u32);

#[async_trait]
impl Source for Skipping {
    async fn tables(&self) -> Result<Selection> {
        self.0.tables().await
    }

    async fn plan(&self, done: &Progress) -> Result<Plan> {
        self.0.plan(done).await
    }

    async fn open(&self, split: &Split, after: Position, context: TaskContext) -> Result<Box<dyn SourceTask>> {
        Ok(Box::new(SkippingTask(self.0.open(split, after, context).await?, 0)))
    }
}

#[async_trait]
impl SourceTask for SkippingTask {
    async fn next(&mut self) -> Result<Option<ChangeBatch>> {
        self.1 += 1;
        if self.1 == 2 {
            self.0.next().await?;
        }
        self.0.next().await
    }

    async fn close(self: Box<Self>) -> Result<()> {
        self.0.close().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_that_skips_rows_is_found_out() {
    let bench = Bench::new(three_tables(), Script::default());
    let pipeline = Pipeline { source: Arc::new(Skipping(bench.source.clone())), ..bench.pipeline() };
    let job = Job { pipeline, settings: bench.settings.clone() };
    let report = run(job, Arc::clone(&bench.shared), bench.cancel.clone()).await;
    assert!(told(&report).last().unwrap().starts_with("ended (the source delivered rows out of line"), "{report:?}");
    // The engine finds it, before the sink sees it.
    assert_eq!((bench.state("shop"), bench.state("lake")), (State::Failed, State::Stopped));
    assert_eq!(bench.ids("a"), None);
}

/// A sink that loses the rows of one write.
struct Lossy(MemorySink);

struct LossyTask(Box<dyn SinkTask>, u32);

#[async_trait]
impl Sink for Lossy {
    async fn progress(&self, tables: &[TableId]) -> Result<Progress> {
        self.0.progress(tables).await
    }

    async fn open(&self, context: TaskContext) -> Result<Box<dyn SinkTask>> {
        Ok(Box::new(LossyTask(self.0.open(context).await?, 0)))
    }
}

#[async_trait]
impl SinkTask for LossyTask {
    async fn write(&mut self, event: Event) -> Result<()> {
        self.1 += 1;
        match event {
            Event::Changes(last) if last.rows().num_rows() == 1 => Ok(()),
            other => self.0.write(other).await,
        }
    }

    fn checkpoint(&mut self) -> CommitHandle {
        self.0.checkpoint()
    }

    async fn close(self: Box<Self>) -> Result<()> {
        self.0.close().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_lost_rows_is_found_out() {
    let bench = Bench::new(three_tables(), Script::default());
    let pipeline = Pipeline { sink: Arc::new(Lossy(bench.sink.clone())), ..bench.pipeline() };
    let job = Job { pipeline, settings: bench.settings.clone() };
    let report = run(job, Arc::clone(&bench.shared), bench.cancel.clone()).await;
    let Outcome::Failed(error) = &report.tables[0].outcome else { panic!("{report:?}") };
    let expected = "the published table has another number of rows than were read \
                    [table=public.a, read=7, published=6]";
    assert_eq!(error.to_string(), expected);
}

/// A sink of which each outcome goes to whichever commit under way asks first, or (forgetful) to none.
struct Shuffling {
    inner: MemorySink,
    forgetful: bool,
}

struct ShufflingTask {
    inner: Box<dyn SinkTask>,
    forgetful: bool,
    stash: Arc<Mutex<Checkpoint>>,
    commits: u64,
}

#[async_trait]
impl Sink for Shuffling {
    async fn progress(&self, tables: &[TableId]) -> Result<Progress> {
        self.inner.progress(tables).await
    }

    async fn open(&self, context: TaskContext) -> Result<Box<dyn SinkTask>> {
        let (inner, forgetful) = (self.inner.open(context).await?, self.forgetful);
        Ok(Box::new(ShufflingTask { inner, forgetful, stash: Arc::default(), commits: 0 }))
    }
}

#[async_trait]
impl SinkTask for ShufflingTask {
    async fn write(&mut self, event: Event) -> Result<()> {
        self.inner.write(event).await
    }

    fn checkpoint(&mut self) -> CommitHandle {
        let (handle, stash, forgetful) = (self.inner.checkpoint(), Arc::clone(&self.stash), self.forgetful);
        self.commits += 1;
        // The first waits the longest: by then the others have taken its outcome.
        let wait = Duration::from_secs(if self.commits == 1 { 60 } else { 1 });
        Box::pin(async move {
            let decided = handle.await?;
            if !forgetful {
                let mut stash = stash.lock().unwrap();
                decided.durable.tables().for_each(|(t, loaded)| stash.durable.set_loaded(t.clone(), loaded.clone()));
                stash.failed.extend(decided.failed);
            }
            tokio::time::sleep(wait).await;
            Ok(std::mem::take(&mut *stash.lock().unwrap()))
        })
    }

    async fn close(self: Box<Self>) -> Result<()> {
        self.inner.close().await
    }
}

async fn shuffled(forgetful: bool) -> LoadReport {
    let bench = Bench::new(three_tables().at_a_time(3, 1), Script::default());
    let sink = Arc::new(Shuffling { inner: bench.sink.clone(), forgetful });
    let job = Job { pipeline: Pipeline { sink, ..bench.pipeline() }, settings: bench.settings.clone() };
    let load = run(job, Arc::clone(&bench.shared), bench.cancel.clone());
    tokio::time::timeout(Duration::from_secs(3600), load).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_outcome_may_come_with_another_commit() {
    assert_eq!(told(&shuffled(false).await), ["a loaded 7", "b loaded 3", "c loaded 0", "finished"]);
}

#[tokio::test(start_paused = true)]
async fn an_outcome_that_never_comes_is_found_out() {
    let report = shuffled(true).await;
    assert!(told(&report).last().unwrap().contains("leave out a table that was complete"), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn two_sources_may_feed_one_sink() {
    let bench = Bench::new(three_tables(), Script::default());
    let other = MemorySource::new(vec![MemoryTable::of_ids(&id("x"), &[&[9]], 1)]);
    let pipeline = Pipeline { source_name: "more".into(), source: Arc::new(other), ..bench.pipeline() };
    let job = Job { pipeline, settings: bench.settings.clone() };
    let second = run(job, Arc::clone(&bench.shared), bench.cancel.clone());
    let (first, second) = tokio::join!(bench.start(), second);
    assert!(first.complete() && second.complete());
    assert_eq!((bench.ids("x"), bench.ids("b")), (Some(vec![9]), Some(vec![21, 22, 23])));
    assert_eq!(bench.shared.connector("lake").unwrap().tasks.len(), 2);
    assert!(bench.shared.metrics_text().contains("record_send_total{connector=\"lake\",task=\"1\"}"));
}

/// The kinds of mishap that a seed may choose.
fn act(n: u8) -> Act {
    match n % 4 {
        0 => Act::Fail(RETRIABLE),
        1 => Act::Fail(ErrorKind::Data),
        2 => Act::Fail(ErrorKind::Fatal),
        _ => Act::Panic,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever goes wrong, whenever: a table is reported as loaded iff it is visible, then exactly once and
    /// whole; and a second, healthy run completes what is missing.
    #[test]
    fn a_table_is_whole_or_absent(
        shape in prop::collection::vec(prop::collection::vec(0i64..9, 1..4), 1..5),
        width in (1usize..4, 1usize..4),
        call in 0usize..6,
        nth in 1u64..12,
        how in 0u8..4,
        cancel_after in prop::option::of(0u32..60),
    ) {
        let calls = [Call::Open, Call::Next, Call::CloseSource, Call::Write, Call::Commit, Call::CloseSink];
        let mut next = 0;
        let mut splits = |sizes: &Vec<i64>| -> Vec<Vec<i64>> {
            sizes.iter().map(|n| { next += n; (next - n..next).collect() }).collect()
        };
        let tables: Vec<(TableId, Vec<Vec<i64>>)> =
            shape.iter().enumerate().map(|(i, sizes)| (id(&format!("t{i}")), splits(sizes))).collect();
        let memory = tables.iter().map(|(table, splits)| {
            MemoryTable::of_ids(table, &splits.iter().map(Vec::as_slice).collect::<Vec<_>>(), 2)
        });
        let source = MemorySource::new(memory.collect()).at_a_time(width.0, width.1);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut bench = Bench::new(source, Script::default().on(calls[call], nth, act(how)));
            let running = tokio::spawn(bench.start());
            if let Some(turns) = cancel_after {
                for _ in 0..turns {
                    tokio::task::yield_now().await;
                }
                bench.cancel.cancel();
            }
            let report = running.await.unwrap();
            for (table, splits) in &tables {
                let outcome = report.tables.iter().find(|t| t.table == *table).map(|t| &t.outcome);
                let visible = bench.sink.ids(table);
                if visible.is_some() {
                    assert_eq!(visible.as_ref(), Some(&splits.concat()), "{report:?}");
                }
                assert_eq!(matches!(outcome, Some(Outcome::Loaded)), visible.is_some(), "{table}: {report:?}");
            }
            (bench.script, bench.cancel) = (Script::default(), CancellationToken::new());
            let second = bench.load().await;
            assert!(second.complete(), "{second:?}");
            for (table, splits) in &tables {
                let published = bench.sink.published(table).unwrap();
                assert_eq!((bench.sink.ids(table), published.commits), (Some(splits.concat()), 1));
            }
        });
    }
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
