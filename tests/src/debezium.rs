//! Debezium's connector for PostgreSQL, in a Kafka Connect worker.

use std::collections::BTreeMap;

use crate::connect::Worker;
use crate::kafka::Kafka;
use crate::postgres::Database;
use crate::registry::Registry;

/// How events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// JSON without schemas.
    Json,
    /// JSON, each message with its schema.
    JsonWithSchemas,
    /// Avro with a schema registry.
    Avro,
}

/// A connector that captures a database into topics `{prefix}.{schema}.{table}`, until it is dropped.
pub struct Debezium {
    worker: &'static Worker,
    kafka: &'static Kafka,
    database: Database,
    /// The prefix of its topics, and its own name, its slot's and its publication's.
    pub prefix: String,
    /// How it writes events.
    pub format: Format,
    config: BTreeMap<String, String>,
    runs: bool,
}

impl Debezium {
    /// A connector that is not started, for all tables of a database's schema `public`: it takes changes from when it
    /// was started, and sends transaction metadata.
    pub fn new(database: &Database, format: Format) -> Self {
        Self::on(Worker::shared(), Kafka::shared(), database, format)
    }

    /// The same on another worker and its broker.
    pub fn on(worker: &'static Worker, kafka: &'static Kafka, database: &Database, format: Format) -> Self {
        let prefix = database.name.clone();
        let mut config: BTreeMap<String, String> = [
            ("connector.class", "io.debezium.connector.postgresql.PostgresConnector"),
            ("tasks.max", "1"),
            ("database.hostname", "127.0.0.1"),
            ("database.port", &database.port().to_string()),
            ("database.user", "postgres"),
            ("database.password", crate::postgres::PASSWORD),
            ("database.dbname", &database.name),
            ("topic.prefix", &prefix),
            ("plugin.name", "pgoutput"),
            ("slot.name", &prefix),
            ("publication.name", &prefix),
            ("publication.autocreate.mode", "all_tables"),
            ("snapshot.mode", "no_data"),
            ("schema.include.list", "public"),
            ("skipped.operations", "none"),
            ("provide.transaction.metadata", "true"),
            ("topic.creation.default.partitions", "1"),
            ("topic.creation.default.replication.factor", "1"),
            ("poll.interval.ms", "20"),
        ]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into();
        for which in ["key", "value"] {
            config.extend(converter(format, which));
        }
        Self { worker, kafka, database: database.clone(), prefix, format, config, runs: false }
    }

    /// Sets one of its configuration keys.
    pub fn set(&mut self, key: &str, value: &str) {
        self.config.insert(key.to_owned(), value.to_owned());
    }

    /// Starts it and waits until it has its slot: what is changed from then on is in the topics.
    ///
    /// # Panics
    /// When it fails.
    pub fn start(&mut self) {
        self.worker.create(&self.prefix, &self.config);
        self.runs = true;
        self.until("its slot", "SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'PREFIX' AND active", "1");
    }

    /// Ends it; its slot and what it has noted of its position stay.
    ///
    /// # Panics
    /// When the worker refuses.
    pub fn stop(&mut self) {
        self.worker.delete(&self.prefix);
        self.until(
            "its end",
            "SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'PREFIX' AND NOT active",
            "1",
        );
    }

    /// Waits until every change committed so far is in the topics.
    ///
    /// # Panics
    /// When that does not come to pass.
    pub fn until_caught_up(&self) {
        let end = self.database.sql("SELECT pg_current_wal_insert_lsn()");
        // Its position moves with its own messages only: one that it does not capture.
        self.database.sql("SELECT pg_logical_emit_message(false, 'tests', 'here')");
        let asked = format!(
            "SELECT confirmed_flush_lsn >= '{end}'::pg_lsn FROM pg_replication_slots WHERE slot_name = 'PREFIX'"
        );
        self.until("the end of the log", &asked, "t");
    }

    /// The name of a table's topic.
    pub fn topic(&self, table: &str) -> String {
        format!("{}.public.{table}", self.prefix)
    }

    /// What the sink of a job is told to follow it: everything but `topics`.
    pub fn sink_keys(&self) -> Vec<(&'static str, String)> {
        let mut keys = vec![
            ("bootstrap.servers", self.kafka.servers()),
            ("topics.regex", format!(r"{}\.public\..*", self.prefix)),
            ("metadata.max.age.ms", "500".into()),
        ];
        if self.format == Format::Json {
            // What schemas would tell.
            let told = ["time.precision.mode=adaptive", "decimal.handling.mode=precise", "binary.handling.mode=bytes"];
            keys.extend(told.iter().filter_map(|told| told.split_once('=')).map(|(k, v)| (k, v.to_owned())));
        }
        if self.format == Format::Avro {
            let url = Registry::shared().url();
            keys.extend([
                ("key.converter", "io.confluent.connect.avro.AvroConverter".to_owned()),
                ("key.converter.schema.registry.url", url.clone()),
                ("value.converter", "io.confluent.connect.avro.AvroConverter".to_owned()),
                ("value.converter.schema.registry.url", url),
            ]);
        }
        keys
    }

    fn until(&self, what: &str, sql: &str, expected: &str) {
        let started = std::time::Instant::now();
        let sql = sql.replace("PREFIX", &self.prefix);
        while self.database.sql(&sql) != expected {
            assert!(started.elapsed().as_secs() < 120, "Debezium does not reach {what}");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

impl Drop for Debezium {
    fn drop(&mut self) {
        if self.runs && !std::thread::panicking() {
            self.worker.delete(&self.prefix);
            // The server has only so many, and keeps its log for each.
            let drop = "SELECT count(pg_drop_replication_slot(slot_name)) FROM pg_replication_slots \
                        WHERE slot_name = 'PREFIX' AND NOT active";
            self.until("the end of its slot", drop, "1");
        }
    }
}

fn converter(format: Format, which: &str) -> Vec<(String, String)> {
    let json = "org.apache.kafka.connect.json.JsonConverter";
    let keys = match format {
        Format::Json => vec![("", json.to_owned()), (".schemas.enable", "false".into())],
        Format::JsonWithSchemas => vec![("", json.to_owned()), (".schemas.enable", "true".into())],
        Format::Avro => vec![
            ("", "io.apicurio.registry.utils.converter.AvroConverter".to_owned()),
            (".apicurio.registry.url", Registry::shared().own_url()),
            (".apicurio.registry.auto-register", "true".into()),
            (".apicurio.registry.find-latest", "true".into()),
            // Confluent's wire format.
            (".apicurio.registry.headers.enabled", "false".into()),
            (".apicurio.registry.as-confluent", "true".into()),
            (".apicurio.registry.use-id", "contentId".into()),
        ],
    };
    keys.into_iter().map(|(key, value)| (format!("{which}.converter{key}"), value)).collect()
}
