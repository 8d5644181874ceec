//! Several instances at once: no table is read twice, and what one does not finish another does.

use std::collections::BTreeSet;

use async_trait::async_trait;
use connector_api::{CommitHandle, Event, Progress, Result, Sink, SinkTask, TaskContext};

use super::*;

/// A second instance over the same sink.
fn beside(first: &Bench, script: Script) -> Bench {
    Bench { sink: first.sink.clone(), settings: first.settings.clone(), ..Bench::new(three_tables(), script) }
}

/// How many splits both have opened, and how many of those are different ones.
fn opened(a: &Bench, b: &Bench) -> (usize, usize) {
    let all = [a.source.opened(), b.source.opened()].concat();
    (all.len(), all.iter().collect::<BTreeSet<_>>().len())
}

#[tokio::test(start_paused = true)]
async fn no_table_is_read_twice() {
    let first = Bench::new(three_tables(), Script::default());
    let mut second = beside(&first, Script::default());
    let (one, two) = tokio::join!(first.load(), second.load());
    assert_eq!(told(&one), ["a loaded 7", "b loaded 3", "c loaded 0", "finished"]);
    assert_eq!(told(&two), ["a already 7", "b already 3", "c already 0", "finished"]);
    assert_eq!(opened(&first, &second), (5, 5));

    // Nor when each is to replace what is there.
    let mut first = beside(&first, Script::default());
    (first.settings.resume, second.settings.resume) = (false, false);
    second = beside(&first, Script::default());
    let (one, two) = tokio::join!(first.load(), second.load());
    assert_eq!(told(&one), ["a loaded 7", "b loaded 3", "c loaded 0", "finished"]);
    assert_eq!(told(&two), ["a already 7", "b already 3", "c already 0", "finished"]);
    assert_eq!(opened(&first, &second), (5, 5));
    assert_eq!(first.sink.published(&id("a")).unwrap().commits, 2);
}

#[tokio::test(start_paused = true)]
async fn what_one_gives_up_another_loads() {
    // The first stands still in its first table for ever, then is stopped.
    let script = Script::default().on(Call::Next, 2, Act::Wait(CancellationToken::new()));
    let first = Bench::new(three_tables(), script);
    let running = tokio::spawn(first.start());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let second = beside(&first, Script::default());
    let waiting = tokio::spawn(second.start());
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(!waiting.is_finished() && second.source.opened().is_empty(), "it waits as long as it takes");
    first.cancel.cancel();
    assert!(matches!(running.await.unwrap().end, End::Cancelled));
    assert_eq!(told(&waiting.await.unwrap()), ["a loaded 7", "b loaded 3", "c loaded 0", "finished"]);
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_another_instance() {
    let script = Script::default().on(Call::Next, 2, Act::Wait(CancellationToken::new()));
    let first = Bench::new(three_tables(), script);
    let _running = tokio::spawn(first.start());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let second = beside(&first, Script::default());
    let waiting = tokio::spawn(second.start());
    tokio::time::sleep(Duration::from_secs(5)).await;
    second.cancel.cancel();
    let report = waiting.await.unwrap();
    assert_eq!(told(&report), ["a cancelled 0", "b cancelled 0", "c cancelled 0", "cancelled"]);
}

/// A sink that grants every claim.
struct Granting(MemorySink);

struct GrantingTask(Box<dyn SinkTask>);

#[async_trait]
impl Sink for Granting {
    async fn progress(&self, tables: &[TableId]) -> Result<Progress> {
        self.0.progress(tables).await
    }

    async fn holdings(&self, source: &str) -> Result<Progress> {
        self.0.holdings(source).await
    }

    async fn open(&self, context: TaskContext) -> Result<Box<dyn SinkTask>> {
        Ok(Box::new(GrantingTask(self.0.open(context).await?)))
    }
}

#[async_trait]
impl SinkTask for GrantingTask {
    async fn write(&mut self, event: Event) -> Result<()> {
        self.0.write(event).await
    }

    fn checkpoint(&mut self) -> CommitHandle {
        self.0.checkpoint()
    }

    async fn close(self: Box<Self>) -> Result<()> {
        self.0.close().await
    }
}

/// The twin of the counts above.
#[tokio::test(start_paused = true)]
async fn without_claims_tables_are_read_twice() {
    let first = Bench::new(three_tables(), Script::default());
    let second = beside(&first, Script::default());
    let granting = |bench: &Bench| Pipeline { sink: Arc::new(Granting(bench.sink.clone())), ..bench.pipeline() };
    tokio::join!(first.start_with(granting(&first)), second.start_with(granting(&second)));
    let (all, different) = opened(&first, &second);
    assert!(all > different, "{all} {different}");
}
