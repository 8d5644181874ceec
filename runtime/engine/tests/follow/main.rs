//! Following a log over in-memory doubles: what the tables hold afterwards, and what is said of it, when all goes well
//! and when it does not. The clock is paused: a wait costs nothing and a hang ends the test.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod chance;
mod failures;
mod hand_over;
mod whole;

use std::sync::Arc;
use std::time::Duration;

use connect_engine::{
    End, FollowJob, FollowReport, FollowState, Following, Owed, Patience, Settings, Shared, State, follow,
};
use connector_api::testing::memory::{Change, MemoryLog, MemorySink, Pair};
use connector_api::testing::scripted::{Script, ScriptedLog, ScriptedSink};
use connector_api::{CancellationToken, ChangeLog, ErrorKind, Sink, TableId};

const RETRIABLE: ErrorKind = ErrorKind::Retriable { after: None };
/// The tables of [`three_tables`].
const TABLES: [&str; 3] = ["a", "b", "c"];

fn id(name: &str) -> TableId {
    TableId::new("public", name)
}

/// Rows that come and go, in a way that shows a change that is lost, doubled or out of order.
fn changes(from: i64, to: i64) -> Vec<Change> {
    let one = |n: i64| match n % 4 {
        0 => vec![Change::Put(n, n)],
        1 => vec![Change::Put(n - 1, -n), Change::Put(n, n)],
        2 => vec![Change::Delete(n - 2, 1 - n), Change::Put(1000, n)],
        _ => vec![Change::Put(n - 3, n)],
    };
    (from..to).flat_map(one).collect()
}

/// `a` has a key and two partitions, `b` no key, `c` nothing yet.
fn three_tables() -> MemoryLog {
    let log = MemoryLog::new(3);
    let log = log.with_table(&id("a"), true, 2).with_table(&id("b"), false, 1).with_table(&id("c"), true, 1);
    log.append(&id("a"), 0, changes(0, 12));
    log.append(&id("a"), 1, changes(2000, 2010).into_iter().filter(|c| !matches!(c, Change::Put(1000, _))));
    log.append(&id("b"), 0, changes(0, 12));
    log
}

/// What a table holds after these changes.
fn applied(changes: impl IntoIterator<Item = Change>, has_key: bool) -> Vec<Pair> {
    let mut rows: Vec<Pair> = Vec::new();
    for change in changes {
        match change {
            Change::Put(id, v) => {
                rows.retain(|row| !has_key || row.0 != id);
                rows.push((id, Some(v)));
            }
            Change::Delete(id, _) if has_key => rows.retain(|row| row.0 != id),
            Change::Delete(id, v) => {
                if let Some(at) = rows.iter().position(|row| *row == (id, Some(v))) {
                    rows.remove(at);
                }
            }
            Change::Truncate => rows.clear(),
            Change::Bad => break,
        }
    }
    rows.sort_unstable();
    rows
}

/// A log followed by a sink, and everything one may look at.
struct Bench {
    log: MemoryLog,
    sink: MemorySink,
    script: Script,
    shared: Arc<Shared>,
    cancel: CancellationToken,
    patience: Patience,
    tasks: u32,
    owed: Owed,
}

impl Bench {
    fn new(log: MemoryLog, script: Script) -> Self {
        let patience = Patience { timeout: None, longest: Duration::from_secs(10) };
        let (sink, shared, owed) = (MemorySink::default(), Arc::new(Shared::new("test")), Owed::default());
        Self { log, sink, script, shared, cancel: CancellationToken::new(), patience, tasks: 1, owed }
    }

    fn start_with(
        &self,
        log: Arc<dyn ChangeLog>,
        sink: Arc<dyn Sink>,
    ) -> impl Future<Output = FollowReport> + Send + 'static {
        let following = Following { sink_name: "lake".into(), sink, log, patience: self.patience, tasks: self.tasks };
        let shutdown_timeout = Duration::from_secs(30);
        let settings = Settings { memory: 256 << 20, shutdown_timeout, state_dir: None, resume: true };
        let job = FollowJob { following, settings, owed: self.owed.clone() };
        let following = follow(job, Arc::clone(&self.shared), self.cancel.clone());
        async { tokio::time::timeout(Duration::from_secs(360_000), following).await.unwrap() }
    }

    fn start(&self) -> impl Future<Output = FollowReport> + Send + 'static {
        let log = Arc::new(ScriptedLog::new(self.log.clone(), &self.script));
        self.start_with(log, Arc::new(ScriptedSink::new(self.sink.clone(), &self.script)))
    }

    /// Follows until all is applied (or for an hour), then stops.
    async fn run(&self) -> FollowReport {
        let running = tokio::spawn(self.start());
        for _ in 0..3600 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if running.is_finished() || TABLES.iter().all(|t| self.is_applied(t)) {
                break;
            }
        }
        self.cancel.cancel();
        running.await.unwrap()
    }

    fn is_applied(&self, table: &str) -> bool {
        let end = self.log.end(&id(table));
        end.is_empty() || self.sink.followed(&id(table)).is_some_and(|f| f.marks == end)
    }

    /// The tables of [`three_tables`] hold what their log says.
    fn expect_all(&self, when: &str) {
        let a = changes(0, 12)
            .into_iter()
            .chain(changes(2000, 2010).into_iter().filter(|c| !matches!(c, Change::Put(1000, _))));
        assert_eq!(self.sink.pairs(&id("a")), Some(applied(a, true)), "{when}");
        assert_eq!(self.sink.pairs(&id("b")), Some(applied(changes(0, 12), false)), "{when}");
        assert_eq!(self.sink.pairs(&id("c")), None, "{when}");
    }

    /// The state of the sink's connector and what is wrong.
    fn status(&self) -> (State, String) {
        let status = self.shared.connector("lake").unwrap();
        (status.state, status.trace.unwrap_or_default())
    }

    fn metric(&self, name: &str) -> u64 {
        let task = self.shared.connector("lake").unwrap().tasks.remove(0);
        task.metrics.all().into_iter().find(|m| m.name == name).unwrap().value()
    }
}

/// `a followed`, `b failed (message)` and so on, then the end.
fn told(report: &FollowReport) -> Vec<String> {
    let error = |t: &connect_engine::FollowedTable| match (&t.error, t.state) {
        (Some(error), FollowState::Failed | FollowState::Resting) => format!(" ({})", error.message()),
        _ => String::new(),
    };
    let line = |t: &connect_engine::FollowedTable| format!("{} {}{}", t.table.name(), t.state.as_str(), error(t));
    let mut lines: Vec<_> = report.tables.iter().map(line).collect();
    lines.push(match &report.end {
        End::Failed(error) => format!("ended ({})", error.message()),
        End::Cancelled | End::Finished => "stopped".to_owned(),
    });
    lines
}
