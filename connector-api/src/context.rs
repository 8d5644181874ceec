//! What the runtime lends a task: who it is, when to stop, where to count.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

pub use tokio_util::sync::CancellationToken;

/// Handed to every task. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TaskContext {
    /// Name of the connector in the configuration.
    pub connector: Arc<str>,
    /// Number of the task within its connector, from 0.
    pub task: u32,
    /// Cancelled when the task must stop. Blocking work looks at it; async work is dropped anyway.
    pub cancel: CancellationToken,
    /// How many bytes of rows the task may hold in its buffers: its share of the worker's `memory.max`.
    pub memory: usize,
    /// Where the task counts.
    pub metrics: Metrics,
    /// Where it may keep files that outlive the process and can be lost without harm.
    pub state_dir: Option<Arc<Path>>,
}

impl TaskContext {
    /// A context that nothing cancels yet, with metrics of its own and nowhere to keep files.
    pub fn new(connector: impl Into<Arc<str>>, task: u32, memory: usize) -> Self {
        let (cancel, metrics) = (CancellationToken::new(), Metrics::default());
        Self { connector: connector.into(), task, cancel, memory, metrics, state_dir: None }
    }
}

/// A task's counters and gauges; the runtime adds the labels `connector` and `task` and serves them.
#[derive(Clone, Default)]
pub struct Metrics(Arc<Mutex<Vec<Metric>>>);

/// One registered metric, as the runtime reads it.
#[derive(Clone, Debug)]
pub struct Metric {
    /// Prometheus name without the `_total` suffix.
    pub name: &'static str,
    /// One line of help.
    pub help: &'static str,
    /// Counter (only grows) or gauge.
    pub is_counter: bool,
    value: Arc<AtomicU64>,
}

impl Metric {
    /// The current value.
    pub fn value(&self) -> u64 {
        self.value.load(Ordering::Relaxed)
    }
}

/// A handle that counts.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The current value.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A handle that is set.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicU64>);

impl Gauge {
    /// Sets the value.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

impl Metrics {
    /// A counter of that name: the same one for every caller that asks.
    pub fn counter(&self, name: &'static str, help: &'static str) -> Counter {
        Counter(self.register(name, help, true))
    }

    /// A gauge of that name: the same one for every caller that asks.
    pub fn gauge(&self, name: &'static str, help: &'static str) -> Gauge {
        Gauge(self.register(name, help, false))
    }

    /// All metrics in order of registration.
    pub fn all(&self) -> Vec<Metric> {
        self.lock().clone()
    }

    fn register(&self, name: &'static str, help: &'static str, is_counter: bool) -> Arc<AtomicU64> {
        let mut all = self.lock();
        if let Some(known) = all.iter().find(|m| m.name == name) {
            return Arc::clone(&known.value);
        }
        let value = Arc::new(AtomicU64::new(0));
        all.push(Metric { name, help, is_counter, value: Arc::clone(&value) });
        value
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Metric>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.lock().iter().map(|m| (m.name, m.value()))).finish()
    }
}
