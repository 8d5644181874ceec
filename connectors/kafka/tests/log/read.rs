//! What a log delivers to a sink that commits nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_schema::DataType;
use async_trait::async_trait;
use connect_tests::kafka::Kafka;
use connector_api::{
    Column, Deal, Error, LogEvent, LogTask, Marks, Metric, Metrics, Progress, Result, Role, Sink, SinkTask, Standing,
    TableId, TableSchema, TaskContext,
};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// A sink that has one table, or none, and is not written to.
struct Stands(Option<Standing>);

#[async_trait]
impl Sink for Stands {
    async fn progress(&self, _: &[TableId]) -> Result<Progress> {
        Ok(Progress::default())
    }

    async fn holdings(&self, _: &str) -> Result<Progress> {
        Ok(Progress::default())
    }

    async fn open(&self, _: TaskContext) -> Result<Box<dyn SinkTask>> {
        Err(Error::fatal("it is not written to"))
    }

    async fn standing(&self, table: &TableId) -> Result<Option<Standing>> {
        Ok(self.0.clone().filter(|standing| standing.schema.table() == table))
    }
}

/// The table `public.t` of made up events.
pub(crate) fn table() -> TableId {
    TableId::new("public", "t")
}

/// A log that is read.
pub(crate) struct Reading {
    task: Box<dyn LogTask>,
    metrics: Metrics,
    /// How far the sink has `public.t`.
    stands: Marks,
    /// How far the spans of each table reach.
    reached: BTreeMap<TableId, Marks>,
    /// How many changes of a table have come since it was last opened, and how often it was opened.
    pub(crate) changes: usize,
    pub(crate) opened: usize,
    /// Why tables have stopped.
    pub(crate) failed: Vec<String>,
}

impl Reading {
    /// Follows the topics that match, into a sink that has nothing.
    pub(crate) async fn of(kafka: &Kafka, topics: &str, more: &[(&str, &str)]) -> Self {
        Self::from(kafka, topics, more, |_| None).await
    }

    /// The same where the sink has `public.t`, and stands so far from where the log ends.
    pub(crate) async fn from(
        kafka: &Kafka,
        topics: &str,
        more: &[(&str, &str)],
        marks: impl FnOnce(Marks) -> Option<Marks>,
    ) -> Self {
        let servers = kafka.servers();
        let keys = [("bootstrap.servers", servers.as_str()), ("metadata.max.age.ms", "200"), ("topics.regex", topics)];
        let keys = keys.iter().chain(more).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let Ok(Role::Log(log)) = (connector_kafka::PLUGIN.build)(&keys) else { panic!("the plugin is a log") };
        let context = TaskContext::new("log", 0, 4 << 20);
        let metrics = context.metrics.clone();
        let ends = log.ends(&[table()]).await.expect("the ends").remove(&table());
        let columns = [("id", DataType::Int32, "int32"), ("v", DataType::Utf8, "string")];
        let columns = columns.map(|(name, data_type, of)| Column::new(name, data_type, name == "v", of)).to_vec();
        let schema = Arc::new(TableSchema::new(table(), columns, vec![0]).expect("a schema"));
        let marks = marks(ends.unwrap_or_default());
        let stands = marks.clone().unwrap_or_default();
        let sink = Stands(marks.map(|marks| Standing { schema, cut: None, marks }));
        let task = log.follow(Arc::new(sink), Deal::ALL, context).await.expect("the log is followed");
        Self { task, metrics, stands, reached: BTreeMap::new(), changes: 0, opened: 0, failed: Vec::new() }
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

    /// What is opened again begins where the sink has it; what follows has no gap.
    fn take(&mut self, event: LogEvent) {
        let (table, changes) = (event.table().clone(), self.reached.get_mut(event.table()));
        match event {
            LogEvent::Open { create, .. } => {
                self.reached.insert(table, if create { Marks::new() } else { self.stands.clone() });
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
