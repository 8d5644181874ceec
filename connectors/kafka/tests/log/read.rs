//! What a log delivers to a sink that commits nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use connect_tests::kafka::Kafka;
use connector_api::testing::memory::MemorySink;
use connector_api::{LogEvent, LogTask, Marks, Metric, Metrics, Role, TableId, TaskContext};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// A log that is read.
pub(crate) struct Reading {
    task: Box<dyn LogTask>,
    metrics: Metrics,
    /// How far the spans of each table reach.
    reached: BTreeMap<TableId, Marks>,
    /// How many changes of a table have come since it was last opened, and how often it was opened.
    pub(crate) changes: usize,
    pub(crate) opened: usize,
    /// Why tables have stopped.
    pub(crate) failed: Vec<String>,
}

impl Reading {
    /// Follows the topics that match.
    pub(crate) async fn of(kafka: &Kafka, topics: &str, more: &[(&str, &str)]) -> Self {
        let servers = kafka.servers();
        let keys = [("bootstrap.servers", servers.as_str()), ("metadata.max.age.ms", "200"), ("topics.regex", topics)];
        let keys = keys.iter().chain(more).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let Ok(Role::Log(log)) = (connector_kafka::PLUGIN.build)(&keys) else { panic!("the plugin is a log") };
        let context = TaskContext::new("log", 0, 4 << 20);
        let metrics = context.metrics.clone();
        let task = log.follow(Arc::new(MemorySink::default()), context).await.expect("the log is followed");
        Self { task, metrics, reached: BTreeMap::new(), changes: 0, opened: 0, failed: Vec::new() }
    }

    /// The value of a metric.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        self.metrics.all().iter().find(|metric| metric.name == name).map(Metric::value).expect("the metric")
    }

    /// Says that what has come is durable.
    pub(crate) async fn acknowledge(&mut self) {
        for (table, marks) in &self.reached {
            self.task.acknowledge(table, marks).await;
        }
    }

    /// Reads on until that is so.
    pub(crate) async fn until(&mut self, what: &str, mut happened: impl FnMut(&Self) -> bool) {
        let started = Instant::now();
        while !happened(self) {
            assert!(started.elapsed() < PATIENCE, "not seen: {what}; {} changes, {:?}", self.changes, self.failed);
            let next = tokio::time::timeout(Duration::from_millis(100), self.task.next()).await;
            if let Ok(event) = next {
                self.take(event.expect("the log goes on"));
            }
        }
    }

    /// What is opened again begins where the sink has it, which is nowhere here; what follows has no gap.
    fn take(&mut self, event: LogEvent) {
        let (table, changes) = (event.table().clone(), self.reached.get_mut(event.table()));
        match event {
            LogEvent::Open { .. } => {
                self.reached.insert(table, Marks::new());
                (self.changes, self.opened) = (0, self.opened + 1);
            }
            LogEvent::Changes(batch) => {
                let (reached, span) = (changes.expect("an open table"), batch.span());
                assert_eq!(reached.get(&span.partition), span.after.as_ref(), "{span:?}");
                reached.insert(Arc::clone(&span.partition), Arc::clone(&span.upto));
                self.changes += batch.rows().num_rows();
            }
            LogEvent::Truncate(..) => {}
            LogEvent::Failed(_, error) => self.failed.push(format!("{error:#}")),
        }
    }
}
