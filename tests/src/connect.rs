//! Kafka Connect: a worker with Debezium in it, one for all tests of a process, which have connectors of their own.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::http;
use crate::kafka::Kafka;
use crate::keeper::{self, Keeper};
use crate::lake::cache;
use crate::postgres::free_port;

const PATIENCE: Duration = Duration::from_secs(120);

/// A running worker.
pub struct Worker {
    /// The port of its REST interface.
    pub port: u16,
    folder: PathBuf,
    keeper: Keeper,
}

impl Worker {
    /// The worker that the tests of this process share, on the broker that they share; it ends with the process.
    ///
    /// # Panics
    /// When it is not there (`scripts/setup tests` fetches it) or does not start.
    pub fn shared() -> &'static Self {
        static WORKER: OnceLock<Worker> = OnceLock::new();
        WORKER.get_or_init(|| Self::start(Kafka::shared(), 1000))
    }

    /// A worker of its own on a broker, which ends with the value. It stores how far its connectors have come every so
    /// many milliseconds: what they did since they do again after a crash.
    ///
    /// # Panics
    /// As [`Worker::shared`].
    pub fn start(kafka: &Kafka, flush_ms: u32) -> Self {
        let folder: PathBuf = tempfile::Builder::new().prefix("connect-worker-").tempdir().unwrap().keep();
        let port = free_port();
        let plugins = ["debezium/lib", "debezium-oracle/lib", "converter"]
            .map(|name| cache().join(name).display().to_string())
            .join(",");
        let properties = format!(
            "bootstrap.servers={}\n\
             group.id=worker-{port}\n\
             listeners=http://127.0.0.1:{port}\n\
             key.converter=org.apache.kafka.connect.json.JsonConverter\n\
             value.converter=org.apache.kafka.connect.json.JsonConverter\n\
             config.storage.topic=worker-{port}-configs\n\
             config.storage.replication.factor=1\n\
             offset.storage.topic=worker-{port}-offsets\n\
             offset.storage.partitions=1\n\
             offset.storage.replication.factor=1\n\
             status.storage.topic=worker-{port}-status\n\
             status.storage.partitions=1\n\
             status.storage.replication.factor=1\n\
             scheduled.rebalance.max.delay.ms=0\n\
             offset.flush.interval.ms={flush_ms}\n\
             config.providers=file\n\
             config.providers.file.class=org.apache.kafka.common.config.provider.FileConfigProvider\n\
             plugin.path={plugins}\n",
            kafka.servers()
        );
        fs::write(folder.join("worker.properties"), properties).unwrap();
        let jars = cache().join("kafka/lib/*");
        let main = "org.apache.kafka.connect.cli.ConnectDistributed";
        let args = ["-Xmx768m", "-Dlog4j2.level=WARN", "-cp", jars.to_str().unwrap(), main, "worker.properties"];
        let keeper = Keeper::start(&folder, Path::new("java"), &args, &[]);
        let worker = Self { port, folder, keeper };
        worker.until_it_answers();
        worker
    }

    /// Ends it as `kill -9` does.
    pub fn kill(&self) {
        self.keeper.kill();
    }

    /// Starts it again after [`Worker::kill`]: its connectors go on from the offsets that it has stored.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_again(&self) {
        self.keeper.start_again();
        self.until_it_answers();
    }

    /// Makes a connector, and waits until its task runs.
    ///
    /// # Panics
    /// When it is refused or fails.
    pub fn create(&self, name: &str, config: &BTreeMap<String, String>) {
        let body = json!({ "name": name, "config": config });
        until_not_busy(201..202, || http::send(self.port, "POST", "/connectors", &body));
        self.until_it_runs(name);
    }

    /// Waits until a connector's task runs.
    ///
    /// # Panics
    /// When it fails.
    pub fn until_it_runs(&self, name: &str) {
        let started = Instant::now();
        loop {
            let status = self.status(name);
            let states: Vec<&str> =
                status["tasks"].as_array().into_iter().flatten().filter_map(|task| task["state"].as_str()).collect();
            let log = || keeper::log(&self.folder);
            assert!(!states.contains(&"FAILED"), "{name} failed: {status}\n{}", log());
            if states == ["RUNNING"] {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "{name} does not run: {status}\n{}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The answer of a GET; `None` for what is not there, or not yet.
    pub fn get(&self, path: &str) -> Option<Value> {
        let (status, body) = http::get(self.port, path)?;
        (status == 200).then(|| serde_json::from_str(&body).ok())?
    }

    /// Asks for a change until the worker's group is not busy.
    ///
    /// # Panics
    /// When it is refused.
    pub fn done(&self, method: &str, path: &str, body: &Value) {
        until_not_busy(200..300, || match body {
            Value::Null => http::request(self.port, method, path),
            body => http::send(self.port, method, path, body),
        });
    }

    /// Deletes a connector.
    ///
    /// # Panics
    /// When there is none.
    pub fn delete(&self, name: &str) {
        until_not_busy(204..205, || http::request(self.port, "DELETE", &format!("/connectors/{name}")));
    }

    fn status(&self, name: &str) -> Value {
        let asked = http::get(self.port, &format!("/connectors/{name}/status"));
        asked.and_then(|(_, body)| serde_json::from_str(&body).ok()).unwrap_or_default()
    }

    fn until_it_answers(&self) {
        keeper::until_ready(&self.folder, || {
            http::get(self.port, "/connectors").is_some_and(|(status, _)| status == 200)
        });
    }
}

/// Asks until it is not refused for a rebalance of the worker's group, which 409 tells.
fn until_not_busy(wanted: Range<u16>, ask: impl Fn() -> Option<(u16, String)>) {
    let started = Instant::now();
    loop {
        let (status, body) = ask().expect("the worker answers");
        if wanted.contains(&status) {
            return;
        }
        assert!(status == 409 && started.elapsed() < PATIENCE, "{status}: {body}");
        std::thread::sleep(Duration::from_millis(200));
    }
}
