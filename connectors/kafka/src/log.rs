//! The log: where topics end, and the task that follows them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use async_trait::async_trait;
use connector_api::{ChangeLog, Deal, Error, LogTask, Marks, Metrics, Result, Sink, TableId, TaskContext};
use tokio::runtime::Handle;

use crate::config::KafkaConfig;
use crate::consumer::Consumer;
use crate::dead::DeadLetters;
use crate::mark::Mark;
use crate::queue::queue;
use crate::reader::Reader;
use crate::task::KafkaTask;
use crate::topics;

/// Commands that may wait for the reader.
const COMMANDS: usize = 256;

/// The log.
pub(crate) struct KafkaLog {
    config: Arc<KafkaConfig>,
}

impl KafkaLog {
    pub(crate) fn new(config: KafkaConfig) -> Self {
        Self { config: Arc::new(config) }
    }
}

#[async_trait]
impl ChangeLog for KafkaLog {
    async fn ends(&self, tables: &[TableId]) -> Result<BTreeMap<TableId, Marks>> {
        let (config, tables) = (Arc::clone(&self.config), tables.to_vec());
        blocking(move || {
            // It reads nothing: the group's name matters to nobody.
            let consumer = Consumer::new(&config, "connect-runtime", 0, &Metrics::default())?;
            let mut ends: BTreeMap<TableId, Marks> = BTreeMap::new();
            for topic in topics::find(&consumer, &config.topics, "")?.0 {
                let of: Vec<_> = tables.iter().filter(|table| topics::is_of(&topic.name, table)).collect();
                for table in of.iter().filter(|table| ends.contains_key(**table)) {
                    tracing::warn!(table = %table, topic = %topic.name, "more than one topic may be the table's");
                }
                for partition in 0..if of.is_empty() { 0 } else { topic.partitions } {
                    let (_, end) = consumer.watermarks(&topic.name, partition)?;
                    let (name, mark) = (topic.partition_name(partition), Mark::at(end).to_string());
                    for table in &of {
                        let marks = ends.entry((*table).clone()).or_default();
                        marks.insert(Arc::clone(&name), mark.as_str().into());
                    }
                }
            }
            if ends.is_empty() && !tables.is_empty() {
                tracing::warn!(
                    "no table that is to be loaded has a topic: its log must begin before this load does, so start Debezium \
                     first (of Oracle, at the load's SCN), or what changes in between is lost"
                );
            }
            Ok(ends)
        })
        .await
    }

    async fn follow(&self, sink: Arc<dyn Sink>, deal: Deal, context: TaskContext) -> Result<Box<dyn LogTask>> {
        let config = Arc::clone(&self.config);
        let group = format!("connect-{}", context.connector);
        let (memory, metrics) = (context.memory, context.metrics.clone());
        let runtime = Handle::current();
        let (consumer, dead) = {
            let (config, runtime) = (Arc::clone(&config), runtime.clone());
            let who = (Arc::clone(&context.connector), context.task);
            // Asked at once, so that a cluster that cannot be reached is an error of this call.
            blocking(move || {
                let consumer = Consumer::new(&config, &group, memory / 4, &metrics)?;
                consumer.reach()?;
                let dead = config.dead.as_ref();
                let dead = dead.map(|dead| DeadLetters::new(&config, dead, &consumer, who, &runtime)).transpose()?;
                Ok((consumer, dead))
            })
            .await?
        };
        let (inlet, outlet) = queue(memory / 2, runtime.clone());
        let (commands, heard) = sync_channel(COMMANDS);
        let context = TaskContext { memory: memory / 4, ..context };
        let reader = Reader::new(config, (consumer, dead), sink, deal, runtime, (inlet, heard), context)?;
        let thread = std::thread::Builder::new().name("kafka".to_owned());
        let thread = thread.spawn(move || reader.run());
        let thread = thread.map_err(|e| Error::retriable("cannot start a thread").caused_by(e))?;
        Ok(Box::new(KafkaTask::new(outlet, commands, thread)))
    }
}

/// Runs what blocks where it may.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(e) => Err(Error::fatal("a call to Kafka did not end well").caused_by(e)),
    }
}
