//! Connectors that lose rows or outcomes: the engine finds out.

use std::sync::Mutex;

use async_trait::async_trait;
use connector_api::{
    ChangeBatch, Checkpoint, CommitHandle, Event, Plan, Position, Progress, Result, Selection, Sink, SinkTask, Source,
    SourceTask, Split, TaskContext,
};

use super::*;

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
    let report = bench.start_with(pipeline).await;
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

    async fn holdings(&self, source: &str) -> Result<Progress> {
        self.0.holdings(source).await
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
    let report = bench.start_with(pipeline).await;
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

    async fn holdings(&self, source: &str) -> Result<Progress> {
        self.inner.holdings(source).await
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
    bench.start_with(Pipeline { sink, ..bench.pipeline() }).await
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
