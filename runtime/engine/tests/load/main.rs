//! Whole loads over in-memory connectors: what a reader sees afterwards, and what the report says, when all
//! goes well and when it does not. The clock is paused: a wait costs nothing and a hang ends the test.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bugs;
mod chance;
mod handover;
mod instances;
mod mishaps;
mod retries;
mod stops;
mod whole;

use std::sync::Arc;
use std::time::Duration;

use connect_engine::{End, Job, LoadReport, Outcome, Owed, Pipeline, Retry, Settings, Shared, State, run};
use connector_api::testing::memory::{MemorySink, MemorySource, MemoryTable, Mishap};
use connector_api::testing::scripted::{Act, Call, Script, ScriptedSink, ScriptedSource};
use connector_api::{CancellationToken, ErrorKind, TableId};

/// Nothing is tried again.
const NEVER: Retry = Retry { max: 0, backoff: Duration::ZERO };
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
    retry: Retry,
}

impl Bench {
    fn new(source: MemorySource, script: Script) -> Self {
        let settings =
            Settings { memory: 64 << 20, shutdown_timeout: Duration::from_secs(30), state_dir: None, resume: true };
        let (sink, shared) = (MemorySink::default(), Arc::new(Shared::new("test")));
        Self { source, sink, script, shared, cancel: CancellationToken::new(), settings, retry: NEVER }
    }

    fn pipeline(&self) -> Pipeline {
        Pipeline {
            source_name: "shop".into(),
            source: Arc::new(ScriptedSource::new(self.source.clone(), &self.script)),
            sink_name: "lake".into(),
            sink: Arc::new(ScriptedSink::new(self.sink.clone(), &self.script)),
            log: None,
            retry: self.retry,
        }
    }

    fn start(&self) -> impl Future<Output = LoadReport> + Send + 'static {
        self.start_with(self.pipeline())
    }

    fn start_with(&self, pipeline: Pipeline) -> impl Future<Output = LoadReport> + Send + 'static {
        let job = Job { pipeline, settings: self.settings.clone() };
        let (shared, cancel) = (Arc::clone(&self.shared), self.cancel.clone());
        async move {
            let load = run(vec![job], &shared, &cancel, |_, _| {});
            let reports = tokio::time::timeout(Duration::from_secs(3600), load).await.unwrap();
            reports.unwrap().remove(0)
        }
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
    lines.push(match report.ended() {
        End::Finished => "finished".to_owned(),
        End::Cancelled => "cancelled".to_owned(),
        End::Failed(error) => format!("ended ({})", error.message()),
    });
    lines
}
