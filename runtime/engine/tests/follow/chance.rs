//! Anything may go wrong at any time, several times; in the end every table holds what its log says.

use std::collections::BTreeMap;

use async_trait::async_trait;
use connector_api::testing::memory::Mishap;
use connector_api::testing::scripted::{Act, Call};
use connector_api::{Deal, LogEvent, LogTask, Marks, Result, Standing, TaskContext};
use proptest::prelude::*;

use super::*;

const CALLS: [Call; 9] = [
    Call::Follow,
    Call::NextEvent,
    Call::Reopen,
    Call::CloseLog,
    Call::Standing,
    Call::OpenApply,
    Call::Apply,
    Call::CommitApplied,
    Call::CloseApply,
];

fn act(n: u8) -> Act {
    match n % 5 {
        0..3 => Act::Fail(RETRIABLE),
        3 => Act::Fail(ErrorKind::Fatal),
        _ => Act::Panic,
    }
}

fn mishap(n: u8) -> Mishap {
    match n % 4 {
        0 => Mishap::Passes(1),
        1 => Mishap::Passes(3),
        2 => Mishap::AnswerLost,
        _ => Mishap::RefusesRows(1 + u64::from(n / 4), RETRIABLE),
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_fails_nothing_is_lost_or_doubled(
        rules in prop::collection::vec((0usize..CALLS.len(), 1u64..25, 0u8..5), 0..6),
        mishaps in prop::collection::vec((0usize..2, 0u8..16), 0..3),
        interval in 0u64..4,
        tasks in 1u32..4,
        stops in prop::collection::vec(1u64..2000, 0..4),
    ) {
        runtime().block_on(async {
            let script = rules.iter().fold(Script::default(), |s, (call, nth, how)| s.on(CALLS[*call], *nth, act(*how)));
            let mut bench = Bench { tasks, ..Bench::new(three_tables(), script) };
            bench.sink = bench.sink.committing_every(Duration::from_millis(interval * 700));
            bench.sink = mishaps.iter().fold(bench.sink, |sink, (t, how)| sink.with(&id(TABLES[*t]), mishap(*how)));
            for after in stops {
                let running = tokio::spawn(bench.start());
                tokio::time::sleep(Duration::from_millis(after)).await;
                // Half of the stops are asked for, the others are the death of the process.
                match after % 2 {
                    0 => bench.cancel.cancel(),
                    _ => running.abort(),
                }
                let _ = running.await;
                bench.cancel = CancellationToken::new();
            }
            // What is fatal ends a run; at the latest without the script all is applied.
            bench.run().await;
            (bench.script, bench.cancel) = (Script::default(), CancellationToken::new());
            bench.run().await;
            bench.expect_all("in the end");
        });
    }
}

/// A sink that does not know where its tables stand, and says they stand at the beginning.
struct Forgetful(MemorySink);

#[async_trait]
impl Sink for Forgetful {
    async fn progress(&self, tables: &[TableId]) -> Result<connector_api::Progress> {
        self.0.progress(tables).await
    }

    async fn holdings(&self, source: &str) -> Result<connector_api::Progress> {
        self.0.holdings(source).await
    }

    async fn open(&self, context: TaskContext) -> Result<Box<dyn connector_api::SinkTask>> {
        self.0.open(context).await
    }

    async fn standing(&self, table: &TableId) -> Result<Option<Standing>> {
        let standing = self.0.standing(table).await?;
        Ok(standing.map(|s| Standing { marks: Marks::new(), ..s }))
    }

    async fn apply(&self, context: TaskContext) -> Result<Box<dyn connector_api::ApplyTask>> {
        self.0.apply(context).await
    }
}

/// A log that goes on after what it has delivered, when it should go on after what is durable.
#[derive(Clone)]
struct Careless(MemoryLog);

struct CarelessTask(Box<dyn LogTask>);

#[async_trait]
impl ChangeLog for Careless {
    async fn ends(&self, tables: &[TableId]) -> Result<BTreeMap<TableId, Marks>> {
        self.0.ends(tables).await
    }

    async fn follow(&self, sink: Arc<dyn Sink>, deal: Deal, context: TaskContext) -> Result<Box<dyn LogTask>> {
        Ok(Box::new(CarelessTask(self.0.follow(sink, deal, context).await?)))
    }
}

#[async_trait]
impl LogTask for CarelessTask {
    async fn next(&mut self) -> Result<LogEvent> {
        self.0.next().await
    }

    async fn reopen(&mut self, _: &TableId) -> Result<()> {
        Ok(())
    }

    async fn stop(&mut self, _: &TableId) {}

    async fn acknowledge(&mut self, table: &TableId, marks: &Marks) {
        self.0.acknowledge(table, marks).await;
    }

    async fn close(self: Box<Self>) -> Result<()> {
        self.0.close().await
    }
}

/// The twins of the above: a log or a sink that breaks the contract is found out, by the rows or by the sink's guard.
#[tokio::test(start_paused = true)]
async fn a_log_or_a_sink_that_forgets_is_found_out() {
    let mut bench = Bench::new(three_tables(), Script::default());
    bench.sink = bench.sink.with(&id("b"), Mishap::Passes(1));
    let running = tokio::spawn(bench.start_with(Arc::new(Careless(bench.log.clone())), Arc::new(bench.sink.clone())));
    tokio::time::sleep(Duration::from_secs(60)).await;
    bench.cancel.cancel();
    running.await.unwrap();
    assert_ne!(bench.sink.pairs(&id("b")), Some(applied(changes(0, 12), false)));

    let mut bench = Bench::new(three_tables(), Script::default());
    bench.run().await;
    bench.cancel = CancellationToken::new();
    bench.log.append(&id("b"), 0, [Change::Put(77, 77)]);
    let sink = Arc::new(Forgetful(bench.sink.clone()));
    let running = tokio::spawn(bench.start_with(Arc::new(bench.log.clone()), sink));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(bench.status().1.contains("changes that do not follow on what the table has"), "{:?}", bench.status());
    bench.cancel.cancel();
    running.await.unwrap();
}
