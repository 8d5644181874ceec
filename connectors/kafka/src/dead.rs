//! The dead-letter queue (KIP-298): records that cannot be decoded, set aside in a topic with where they come from.
//!
//! What must hold: a record is in the topic before the table is said to have passed it (P26: at least once; the headers
//! tell a repeat).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use connector_api::{Error, Result};
use rdkafka::ClientContext;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Headers as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use tokio::runtime::Handle;

use crate::config::KafkaConfig;
use crate::consumer::{Consumer, TIMEOUT, log};
use crate::error;
use crate::fetch::Record;

/// How long records may take to be acknowledged.
const PATIENCE: Duration = Duration::from_secs(30);
/// What the client sends at most, bytes: how large a record may be is the broker's to say.
const MOST: &str = "1000000000";
/// From so many bytes on a record may be too large for the topic, and is waited for by itself.
const LARGE: usize = 64 << 10;

/// How records are set aside.
#[derive(Clone, Debug)]
pub(crate) struct DeadConfig {
    pub(crate) topic: String,
    /// Copies of a topic that is made; -1: as the broker has it.
    pub(crate) replication: i32,
    /// Whether headers say where a record comes from, and why it is there.
    pub(crate) headers: bool,
    /// Whether each is logged.
    pub(crate) logs: bool,
}

/// The first failure of a delivery.
#[derive(Default)]
struct Deliveries(Mutex<Option<KafkaError>>);

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| error.clone());
        }
    }
}

/// The queue.
pub(crate) struct DeadLetters {
    config: DeadConfig,
    connector: Arc<str>,
    task: u32,
    producer: BaseProducer<Deliveries>,
    /// Whether there are records that the broker may not have.
    waits: bool,
}

impl DeadLetters {
    /// The queue, whose topic is made if need be. Blocking.
    ///
    /// # Errors
    /// What the brokers answer.
    pub(crate) fn new(
        config: &KafkaConfig,
        dead: &DeadConfig,
        consumer: &Consumer,
        (connector, task): (Arc<str>, u32),
        runtime: &Handle,
    ) -> Result<Self> {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", &config.servers).set("client.id", format!("connect-{connector}-dead-letters"));
        client.set("message.timeout.ms", PATIENCE.as_millis().to_string()).set("message.max.bytes", MOST);
        for (key, value) in &config.producer {
            client.set(key, value.expose());
        }
        // In order, and none of them twice for a lost answer.
        // Records are refused by their own size, not by that of those that they are sent with.
        client.set("batch.num.messages", "1");
        client.set("enable.idempotence", "true").set("allow.auto.create.topics", "false");
        let refused = |e| error::kafka("the settings of the dead-letter queue's producer are refused", e);
        let metadata = consumer.metadata()?;
        if !metadata.topics().iter().any(|t| t.name() == dead.topic && !t.partitions().is_empty()) {
            let admin: AdminClient<_> = client.create().map_err(refused)?;
            make(&admin, dead, runtime)?;
        }
        let producer = client.create_with_context(Deliveries::default()).map_err(refused)?;
        Ok(Self { config: dead.clone(), connector, task, producer, waits: false })
    }

    /// Sets a record aside; it counts after the next [`settle`](Self::settle).
    ///
    /// # Errors
    /// `Data` when the record is too large, else when the queue takes none.
    pub(crate) fn put(&mut self, message: &Record<'_>, error: &Error) -> Result<()> {
        if self.config.logs {
            tracing::error!(topic = self.config.topic, "a record is set aside: {error}");
        } else {
            tracing::debug!(topic = self.config.topic, "a record is set aside: {error}");
        }
        let headers = self.headers(message, error);
        let bytes = message.key().map_or(0, <[u8]>::len) + message.value().map_or(0, <[u8]>::len);
        let is_large = bytes + headers.iter().map(|h| h.value.map_or(0, <[u8]>::len)).sum::<usize>() >= LARGE;
        if is_large {
            // What fails after that is this one.
            self.settle()?;
        }
        loop {
            let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(&self.config.topic).headers(headers.clone());
            record.key = message.key();
            record.payload = message.value();
            record.timestamp = message.timestamp();
            match self.producer.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => self.settle()?,
                Err((e, _)) => return Err(self.refused(e)),
            }
        }
        self.waits = true;
        match is_large.then(|| self.flush()) {
            Some(Err(e)) => Err(self.refused(e)),
            _ => Ok(()),
        }
    }

    /// Waits until the broker has all records. Blocking.
    ///
    /// # Errors
    /// When it does not take them.
    pub(crate) fn settle(&mut self) -> Result<()> {
        self.flush().map_err(|e| self.unsettled(e))
    }

    fn flush(&mut self) -> Result<(), KafkaError> {
        if self.waits {
            self.producer.flush(PATIENCE + TIMEOUT)?;
            let failed = self.producer.context().0.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(e) = failed {
                return Err(e);
            }
            self.waits = false;
        }
        Ok(())
    }

    /// Why this record is not taken.
    fn refused(&self, error: KafkaError) -> Error {
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::MessageSizeTooLarge) {
            return self.unsettled(error);
        }
        let what = "a record that cannot be read is too large for the dead-letter queue: raise its topic's \
                    max.message.bytes, or the producer's message.max.bytes";
        Error::data(what).with("queue", &self.config.topic).caused_by(error)
    }

    fn unsettled(&self, error: KafkaError) -> Error {
        error::kafka("the dead-letter queue does not take a record", error).with("topic", &self.config.topic)
    }

    fn headers(&self, message: &Record<'_>, error: &Error) -> OwnedHeaders {
        let mut all = OwnedHeaders::new();
        for (key, value) in message.headers() {
            all = all.insert(Header { key, value });
        }
        if !self.config.headers {
            return all;
        }
        let stage = if error.context("part") == Some("key") { "KEY_CONVERTER" } else { "VALUE_CONVERTER" };
        for (name, value) in [
            ("topic", message.topic().to_owned()),
            ("partition", message.partition().to_string()),
            ("offset", message.offset().to_string()),
            ("connector.name", self.connector.to_string()),
            ("task.id", self.task.to_string()),
            ("stage", stage.to_owned()),
            ("class.name", env!("CARGO_PKG_NAME").to_owned()),
            ("exception.class.name", "DataException".to_owned()),
            ("exception.message", error.to_string()),
        ] {
            all = all.insert(Header { key: &format!("__connect.errors.{name}"), value: Some(&value) });
        }
        all
    }
}

fn make(admin: &AdminClient<rdkafka::client::DefaultClientContext>, dead: &DeadConfig, runtime: &Handle) -> Result<()> {
    let what = "the dead-letter queue's topic cannot be made";
    let topic = NewTopic::new(&dead.topic, 1, TopicReplication::Fixed(dead.replication));
    let options = AdminOptions::new().request_timeout(Some(TIMEOUT));
    let made = runtime.block_on(admin.create_topics(&[topic], &options)).map_err(|e| error::kafka(what, e))?;
    match made.into_iter().find_map(Result::err) {
        None | Some((_, RDKafkaErrorCode::TopicAlreadyExists)) => Ok(()),
        Some((_, code)) => {
            let error = Error::new(error::kind(Some(code)), what).with("topic", &dead.topic);
            Err(error.with("replication.factor", dead.replication).caused_by(KafkaError::AdminOp(code)))
        }
    }
}
