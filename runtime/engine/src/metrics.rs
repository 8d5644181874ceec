//! Renders what the tasks count, and what the worker is, as Prometheus text. Names follow Kafka Connect's
//! JMX metrics as its usual dashboards expect them; what Connect does not have is named `connect_…`.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, LazyLock};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::follow::FollowProgress;
use crate::progress::{LoadProgress, count_by_state};
use crate::status::{ConnectorStatus, State};

type Labels = Vec<(&'static str, String)>;

/// One metric with its value for each set of labels.
#[derive(Debug)]
struct Family {
    help: &'static str,
    is_counter: bool,
    values: Vec<(Labels, u64)>,
}

impl Family {
    fn encode(&self, value: u64, sample: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        if self.is_counter {
            ConstCounter::new(value).encode(sample)
        } else {
            ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(sample)
        }
    }
}

/// All metrics by name.
#[derive(Debug, Default)]
struct Scrape(BTreeMap<&'static str, Family>);

impl Scrape {
    fn add(&mut self, name: &'static str, help: &'static str, is_counter: bool, labels: Labels, value: u64) {
        let family = self.0.entry(name).or_insert_with(|| Family { help, is_counter, values: Vec::new() });
        family.values.push((labels, value));
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        for (name, family) in &self.0 {
            let kind = if family.is_counter { MetricType::Counter } else { MetricType::Gauge };
            let mut descriptor = encoder.encode_descriptor(name, family.help, None, kind)?;
            for (labels, value) in &family.values {
                // Without labels the sample is the metric itself, with no empty braces.
                let sample = if labels.is_empty() { None } else { Some(descriptor.encode_family(labels)?) };
                match sample {
                    Some(sample) => family.encode(*value, sample)?,
                    None => {
                        family.encode(*value, descriptor)?;
                        break;
                    }
                }
            }
        }
        Ok(())
    }
}

/// The text for one scrape.
pub(crate) fn render(
    connectors: Vec<ConnectorStatus>,
    loads: &[Arc<LoadProgress>],
    follows: &[Arc<FollowProgress>],
) -> String {
    let mut scrape = Scrape::default();
    let tasks: usize = connectors.iter().map(|c| c.tasks.len()).sum();
    scrape.add(
        "kafka_connect_worker_connector_count",
        "Connectors in this worker",
        false,
        vec![],
        connectors.len() as u64,
    );
    scrape.add("kafka_connect_worker_task_count", "Tasks in this worker", false, vec![], tasks as u64);
    for connector in &connectors {
        for task in &connector.tasks {
            let labels = || vec![("connector", connector.name.to_string()), ("task", task.id.to_string())];
            let mut with_status = labels();
            with_status.push(("status", task.state.as_str().to_ascii_lowercase()));
            scrape.add("kafka_connect_connector_task_status", "The task's state", false, with_status, 1);
            // How far a task is that has ended nobody knows.
            let is_over = matches!(task.state, State::Failed | State::Stopped);
            for metric in task.metrics.all().into_iter().filter(|metric| metric.is_counter || !is_over) {
                scrape.add(metric.name, metric.help, metric.is_counter, labels(), metric.value());
            }
        }
    }
    for load in loads {
        for (state, tables) in count_by_state(&load.tables()).into_iter().collect::<BTreeMap<_, _>>() {
            let labels = vec![("connector", load.source().to_owned()), ("state", state.to_owned())];
            scrape.add("connect_load_tables", "Tables of the load by state", false, labels, tables);
        }
    }
    for follow in follows {
        for (state, tables) in follow.states() {
            let labels = vec![("connector", follow.sink().to_owned()), ("state", state.as_str().to_owned())];
            scrape.add("connect_follow_tables", "Tables whose log is followed by state", false, labels, tables);
        }
    }
    if let Some(bytes) = resident_bytes() {
        scrape.add("process_resident_memory_bytes", "Memory the process holds", false, vec![], bytes);
    }
    let mut registry = Registry::default();
    registry.register_collector(Box::new(scrape));
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = prometheus_client::encoding::text::encode(&mut text, &registry);
    text
}

/// The resident set of this process, bytes; `None` where `/proc` does not tell. Cheap: asked many times a second.
pub fn resident_bytes() -> Option<u64> {
    static STATM: LazyLock<Option<File>> = LazyLock::new(|| File::open("/proc/self/statm").ok());
    let mut text = [0; 128];
    let length = STATM.as_ref()?.read_at(&mut text, 0).ok()?;
    let pages: u64 = str::from_utf8(&text[..length]).ok()?.split_whitespace().nth(1)?.parse().ok()?;
    // Every platform that has /proc and that we build for has pages of 4 KiB.
    pages.checked_mul(4096)
}

#[cfg(test)]
mod tests {
    use connector_api::{ConnectorKind, Metrics, TableId};

    use super::*;
    use crate::progress::{TableMeter, TableState};
    use crate::status::Shared;

    #[test]
    fn renders_in_order_with_labels() {
        let shared = Shared::new("host:8083");
        let metrics = Metrics::default();
        metrics.counter("kafka_connect_source_task_source_record_poll", "Rows read").add(7);
        metrics.gauge("connect_queue_bytes", "Bytes queued").set(3);
        shared.start_task("shop \"1\"", ConnectorKind::Source, &metrics);
        shared.add_connector("lake", ConnectorKind::Sink);
        let load = Arc::new(LoadProgress::new("shop".into()));
        load.put(TableMeter::settled(TableId::new("public", "t"), TableState::Failed, None));
        shared.add_load(&load);
        let text = shared.metrics_text();
        let (ours, memory) = text.split_at(text.find("# HELP process").unwrap());
        assert_eq!(
            ours,
            r#"# HELP connect_load_tables Tables of the load by state
# TYPE connect_load_tables gauge
connect_load_tables{connector="shop",state="failed"} 1
# HELP connect_queue_bytes Bytes queued
# TYPE connect_queue_bytes gauge
connect_queue_bytes{connector="shop \"1\"",task="0"} 3
# HELP kafka_connect_connector_task_status The task's state
# TYPE kafka_connect_connector_task_status gauge
kafka_connect_connector_task_status{connector="shop \"1\"",task="0",status="running"} 1
# HELP kafka_connect_source_task_source_record_poll Rows read
# TYPE kafka_connect_source_task_source_record_poll counter
kafka_connect_source_task_source_record_poll_total{connector="shop \"1\"",task="0"} 7
# HELP kafka_connect_worker_connector_count Connectors in this worker
# TYPE kafka_connect_worker_connector_count gauge
kafka_connect_worker_connector_count 2
# HELP kafka_connect_worker_task_count Tasks in this worker
# TYPE kafka_connect_worker_task_count gauge
kafka_connect_worker_task_count 1
"#
        );
        assert!(memory.contains("process_resident_memory_bytes") && memory.ends_with("# EOF\n"), "{memory}");
    }
}
