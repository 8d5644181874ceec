//! What the worker runs and how it is: connectors and tasks in Kafka Connect's states, and the loads'
//! progress. Written by the engine, read at any time by REST, metrics and progress lines.
//!
//! Locks are held for the copying of small values only, never across an await.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use connector_api::{ConnectorKind, Metrics};

use crate::follow::FollowProgress;
use crate::progress::LoadProgress;

/// Kafka Connect's states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not started.
    Unassigned,
    /// At work.
    Running,
    /// Paused by an operator.
    Paused,
    /// Has ended as it should: done, or stopped by an operator.
    Stopped,
    /// Has ended with an error; the trace says which.
    Failed,
}

impl State {
    /// The state as REST writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unassigned => "UNASSIGNED",
            Self::Running => "RUNNING",
            Self::Paused => "PAUSED",
            Self::Stopped => "STOPPED",
            Self::Failed => "FAILED",
        }
    }
}

/// A task's status.
#[derive(Clone, Debug)]
pub struct TaskStatus {
    /// Its number within the connector.
    pub id: u32,
    /// Its state.
    pub state: State,
    /// Why it failed, or what is wrong while it goes on: the error with its causes, or those of its tables.
    pub trace: Option<String>,
    /// Its counters.
    pub metrics: Metrics,
}

/// A connector's status.
#[derive(Clone, Debug)]
pub struct ConnectorStatus {
    /// Its name.
    pub name: Arc<str>,
    /// Source or sink.
    pub kind: ConnectorKind,
    /// Its state.
    pub state: State,
    /// Its tasks' trace.
    pub trace: Option<String>,
    /// Its tasks by number.
    pub tasks: Vec<TaskStatus>,
}

impl ConnectorStatus {
    fn first_trace(&self) -> Option<String> {
        self.tasks.iter().find_map(|task| task.trace.clone())
    }
}

/// The worker's shared view. Put it in an `Arc`.
#[derive(Debug)]
pub struct Shared {
    worker_id: String,
    connectors: Mutex<BTreeMap<Arc<str>, ConnectorStatus>>,
    loads: Mutex<Vec<Arc<LoadProgress>>>,
    follows: Mutex<Vec<Arc<FollowProgress>>>,
}

impl Shared {
    /// A worker without connectors. The id is `host:port` in Kafka Connect.
    pub fn new(worker_id: impl Into<String>) -> Self {
        let (connectors, loads, follows) = Default::default();
        Self { worker_id: worker_id.into(), connectors, loads, follows }
    }

    /// The worker's id.
    pub fn worker_id(&self) -> &str {
        &self.worker_id
    }

    /// Lists a connector, as UNASSIGNED; one that is listed already stays as it is.
    pub fn add_connector(&self, name: &str, kind: ConnectorKind) {
        let name: Arc<str> = name.into();
        let fresh = || ConnectorStatus {
            name: Arc::clone(&name),
            kind,
            state: State::Unassigned,
            trace: None,
            tasks: Vec::new(),
        };
        lock(&self.connectors).entry(Arc::clone(&name)).or_insert_with(fresh);
    }

    /// Every connector by name.
    pub fn connectors(&self) -> Vec<ConnectorStatus> {
        lock(&self.connectors).values().cloned().collect()
    }

    /// One connector.
    pub fn connector(&self, name: &str) -> Option<ConnectorStatus> {
        lock(&self.connectors).get(name).cloned()
    }

    /// Every load of this process, in the order of their start.
    pub fn loads(&self) -> Vec<Arc<LoadProgress>> {
        lock(&self.loads).clone()
    }

    /// Every log that this process follows or has followed, in the order of their start.
    pub fn follows(&self) -> Vec<Arc<FollowProgress>> {
        lock(&self.follows).clone()
    }

    /// All metrics as Prometheus (OpenMetrics) text.
    pub fn metrics_text(&self) -> String {
        crate::metrics::render(self.connectors(), &self.loads(), &self.follows())
    }

    pub(crate) fn add_load(&self, load: &Arc<LoadProgress>) {
        lock(&self.loads).push(Arc::clone(load));
    }

    pub(crate) fn add_follow(&self, follow: &Arc<FollowProgress>) {
        lock(&self.follows).push(Arc::clone(follow));
    }

    /// Shows what is wrong with a task that goes on, or that nothing is any more.
    pub(crate) fn trouble(&self, name: &str, id: u32, trace: Option<String>) {
        let mut connectors = lock(&self.connectors);
        let Some(connector) = connectors.get_mut(name) else { return };
        if let Some(task) = connector.tasks.iter_mut().find(|t| t.id == id) {
            task.trace = trace;
        }
        connector.trace = connector.first_trace();
    }

    /// Starts a task of a connector, listing the connector if need be: its number.
    pub(crate) fn start_task(&self, name: &str, kind: ConnectorKind, metrics: &Metrics) -> u32 {
        self.add_connector(name, kind);
        let mut connectors = lock(&self.connectors);
        let Some(connector) = connectors.get_mut(name) else { return 0 };
        connector.state = State::Running;
        connector.trace = None;
        let id = u32::try_from(connector.tasks.len()).unwrap_or(u32::MAX);
        connector.tasks.push(TaskStatus { id, state: State::Running, trace: None, metrics: metrics.clone() });
        id
    }

    /// Ends a task: STOPPED, or FAILED with a trace. The connector follows its tasks: RUNNING while one
    /// runs, then FAILED if one has; its trace is the first of theirs.
    pub(crate) fn end_task(&self, name: &str, id: u32, trace: Option<String>) {
        let mut connectors = lock(&self.connectors);
        let Some(connector) = connectors.get_mut(name) else { return };
        if let Some(task) = connector.tasks.iter_mut().find(|t| t.id == id) {
            task.state = if trace.is_some() { State::Failed } else { State::Stopped };
            task.trace = trace;
        }
        let has = |state| connector.tasks.iter().any(|t| t.state == state);
        connector.state = match (has(State::Running), has(State::Failed)) {
            (true, _) => State::Running,
            (false, true) => State::Failed,
            (false, false) => State::Stopped,
        };
        connector.trace = connector.first_trace();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(shared: &Shared) -> Vec<String> {
        let task = |t: &TaskStatus| format!("{} {}", t.id, t.state.as_str());
        let line = |c: ConnectorStatus| {
            let tasks: Vec<_> = c.tasks.iter().map(task).collect();
            format!("{} {} {} {:?} [{}]", c.name, c.kind.as_str(), c.state.as_str(), c.trace, tasks.join(", "))
        };
        shared.connectors().into_iter().map(line).collect()
    }

    #[test]
    fn a_connector_follows_its_tasks() {
        let shared = Shared::new("host:8083");
        shared.add_connector("lake", ConnectorKind::Sink);
        assert_eq!(check(&shared), ["lake sink UNASSIGNED None []"]);
        let metrics = Metrics::default();
        assert_eq!(shared.start_task("lake", ConnectorKind::Sink, &metrics), 0);
        assert_eq!(shared.start_task("lake", ConnectorKind::Sink, &metrics), 1);
        assert_eq!(check(&shared), ["lake sink RUNNING None [0 RUNNING, 1 RUNNING]"]);
        shared.end_task("lake", 0, Some("boom".into()));
        assert_eq!(check(&shared), ["lake sink RUNNING Some(\"boom\") [0 FAILED, 1 RUNNING]"]);
        shared.end_task("lake", 1, None);
        assert_eq!(check(&shared), ["lake sink FAILED Some(\"boom\") [0 FAILED, 1 STOPPED]"]);
        assert!(shared.connector("shop").is_none());
    }
}
