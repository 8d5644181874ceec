//! What a source does once every selected table is in the sink.

use std::sync::Mutex;

use async_trait::async_trait;
use connector_api::{
    Error, HandOver, Plan, Position, Progress, Result, Selection, Source, SourceTask, Split, TaskContext,
};

use super::*;

/// A source that notes what it is told, and may fail of it.
struct Telling {
    inner: MemorySource,
    told: Arc<Mutex<Vec<String>>>,
    fails: bool,
}

#[async_trait]
impl Source for Telling {
    async fn tables(&self) -> Result<Selection> {
        self.inner.tables().await
    }

    async fn plan(&self, done: &Progress) -> Result<Plan> {
        self.inner.plan(done).await
    }

    async fn open(&self, split: &Split, after: Position, context: TaskContext) -> Result<Box<dyn SourceTask>> {
        self.inner.open(split, after, context).await
    }

    fn hand_over(&self) -> Option<&dyn HandOver> {
        Some(self)
    }
}

#[async_trait]
impl HandOver for Telling {
    async fn hand_over(&self, source: &str, held: &Progress) -> Result<()> {
        let tables: Vec<_> = held.tables().map(|(table, _)| table.name().to_owned()).collect();
        self.told.lock().unwrap().push(format!("{source} {}", tables.join(" ")));
        if self.fails { Err(Error::retriable("nobody listens")) } else { Ok(()) }
    }
}

/// A load: what is reported, and what the source was told.
async fn load(bench: &Bench, fails: bool) -> (Vec<String>, Vec<String>) {
    let seen = Arc::new(Mutex::new(vec![]));
    let source = Telling { inner: bench.source.clone(), told: Arc::clone(&seen), fails };
    let pipeline = Pipeline { source: Arc::new(ScriptedSource::new(source, &bench.script)), ..bench.pipeline() };
    let job = Job { pipeline, settings: bench.settings.clone() };
    let report = run(job, Arc::clone(&bench.shared), bench.cancel.clone()).await;
    let seen = seen.lock().unwrap().clone();
    (told(&report), seen)
}

#[tokio::test(start_paused = true)]
async fn every_start_that_finds_all_tables_hands_over() {
    let bench = Bench::new(three_tables(), Script::default());
    assert_eq!(load(&bench, false).await.1, ["shop a b c"]);
    let (report, seen) = load(&bench, false).await;
    assert_eq!(report, ["a already 7", "b already 3", "c already 0", "finished"]);
    assert_eq!(seen, ["shop a b c"]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_handed_over_while_a_table_is_missing() {
    let script = Script::default().on_table(&id("b"), Call::Next, 1, Act::Fail(ErrorKind::Data));
    let bench = Bench::new(three_tables(), script);
    let (report, seen) = load(&bench, false).await;
    assert!(report.iter().any(|line| line.starts_with("b failed")), "{report:?}");
    assert_eq!(seen, [""; 0]);
    assert_eq!(load(&bench, false).await.1, ["shop a b c"], "the next start loads it, and hands over");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_handed_over_ends_the_load_with_its_tables() {
    let bench = Bench::new(three_tables(), Script::default());
    let (report, seen) = load(&bench, true).await;
    assert_eq!(seen.len(), 1, "how often it is tried is the source's own to say");
    let ended = "ended (the tables are loaded, and not handed over)";
    assert_eq!(report, ["a loaded 7", "b loaded 3", "c loaded 0", ended]);
    assert_eq!(bench.ids("b").unwrap().len(), 3);
}
