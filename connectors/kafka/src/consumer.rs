//! The consumer: how it is made, what it says of itself, and what it asks the brokers.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use connector_api::{Counter, Error, ErrorKind, Metrics, Result};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::metadata::Metadata;
use rdkafka::statistics::{Statistics, Topic};
use rdkafka::{ClientContext, Offset, TopicPartitionList};

use crate::config::KafkaConfig;
use crate::error;

/// How long a broker may take to answer.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(20);
/// How long what the client has to say of an error is waited for.
const TELLS: Duration = Duration::from_millis(100);
/// How long after what went wrong another error may follow from it.
const FOLLOWS: Duration = Duration::from_secs(60);
/// How often the client reports how far it is.
const STATISTICS: &str = "5000";
/// Milliseconds that fetching rests once the queue of fetched messages is full.
const BACKOFF: &str = "10";
/// Memory that fetched messages may wait in, bytes: least and most.
const FETCHED: (usize, usize) = (4 << 20, 64 << 20);

/// What the client says beside messages.
pub(crate) struct Context {
    /// What went wrong last, the client's words and when, for the error that follows from it. What does not pass by
    /// itself stays for as long as one may follow.
    last: Mutex<Option<(KafkaError, String, Instant)>>,
    /// What it reported last of its topics.
    topics: Mutex<HashMap<String, Topic>>,
    errors: Counter,
}

impl Context {
    fn new(metrics: &Metrics) -> Self {
        Self {
            last: Mutex::default(),
            topics: Mutex::default(),
            errors: metrics
                .counter("kafka_consumer_errors", "Failures of connections to brokers, which are tried again"),
        }
    }

    /// An error that may follow from what went wrong last, which says more.
    fn unheard(&self, what: &str, error: KafkaError) -> Error {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).take();
        let made = error::kafka(what, error);
        let Some((cause, reason, _)) = last.filter(|(.., at)| at.elapsed() < FOLLOWS) else { return made };
        let kind =
            if made.kind() == ErrorKind::Fatal { ErrorKind::Fatal } else { error::kind(cause.rdkafka_error_code()) };
        Error::new(kind, what).with("reason", reason).caused_by(cause)
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn stats(&self, statistics: Statistics) {
        *self.topics.lock().unwrap_or_else(PoisonError::into_inner) = statistics.topics;
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(error = %error, reason, "a connection to Kafka failed");
        self.errors.add(1);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let stays = |(error, _, at): &(KafkaError, String, Instant)| {
            error::kind(error.rdkafka_error_code()) == ErrorKind::Fatal && at.elapsed() < FOLLOWS
        };
        if !last.as_ref().is_some_and(stays) {
            *last = Some((error, reason.to_owned(), Instant::now()));
        }
    }
}

impl ConsumerContext for Context {}

/// What a client of librdkafka logs: nothing of it is for operators, to whom errors are told.
pub(crate) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Debug => tracing::trace!(facility, "{message}"),
        _ => tracing::debug!(facility, "{message}"),
    }
}

/// A consumer that nothing is assigned to.
#[derive(Clone)]
pub(crate) struct Consumer {
    reads: Arc<BaseConsumer<Context>>,
    /// A client for questions: a broker answers those of one connection in turn, and where nothing comes each would wait
    /// for a fetch to be given up.
    asks: Arc<BaseConsumer<Context>>,
    /// By topic and partition: an end that was found, and the offset after the last message below it. What is below an end
    /// stays, and every partition that waits for others asks for each of them.
    lasts: Arc<Mutex<Lasts>>,
}

type Lasts = HashMap<(String, i32), (i64, i64)>;

impl Consumer {
    /// A consumer. It commits offsets as `group`, which nothing resumes from.
    ///
    /// # Errors
    /// `Fatal` for settings that librdkafka refuses.
    pub(crate) fn new(config: &KafkaConfig, group: &str, memory: usize, metrics: &Metrics) -> Result<Self> {
        let mut asks = settings(config, group);
        overridden(&mut asks, config);
        let mut reads = settings(config, group);
        reads
            .set("queued.max.messages.kbytes", (memory.clamp(FETCHED.0, FETCHED.1) >> 10).to_string())
            // A full queue is looked at again so soon. The client's own second would be the time that each queueful takes.
            .set("fetch.queue.backoff.ms", BACKOFF)
            .set("statistics.interval.ms", STATISTICS);
        overridden(&mut reads, config);
        let made = |client: &ClientConfig| {
            let made = client.create_with_context(Context::new(metrics));
            made.map(Arc::new).map_err(|e| error::kafka("the Kafka consumer's settings are refused", e))
        };
        Ok(Self { reads: made(&reads)?, asks: made(&asks)?, lasts: Arc::default() })
    }

    /// The consumer itself.
    pub(crate) fn inner(&self) -> &BaseConsumer<Context> {
        &self.reads
    }

    /// The client for what is asked of brokers.
    pub(crate) fn asks(&self) -> &BaseConsumer<Context> {
        // What it has to say waits until it is polled.
        while self.asks.poll(Duration::ZERO).is_some() {}
        &self.asks
    }

    /// What the cluster has.
    pub(crate) fn metadata(&self) -> Result<Metadata> {
        self.asks().fetch_metadata(None, TIMEOUT).map_err(|e| self.unanswered("Kafka cannot be reached", e))
    }

    /// Whether a topic is not there: asked by its name, for what brokers list may lack it for a while.
    pub(crate) fn is_gone(&self, topic: &str) -> Result<bool> {
        let asked = self.asks().fetch_metadata(Some(topic), TIMEOUT);
        let told = asked
            .map_err(|e| self.unanswered("Kafka does not say whether a topic is there", e).with("topic", topic))?;
        let unknown = Some(rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
        Ok(told.topics().iter().any(|found| found.name() == topic && found.error() == unknown))
    }

    /// That the cluster can be reached, before anything is read of it.
    pub(crate) fn reach(&self) -> Result<()> {
        let mut outcome = Ok(());
        for step in [TIMEOUT / 10, TIMEOUT / 4, TIMEOUT] {
            let Err(e) = self.asks().fetch_metadata(None, step) else { return Ok(()) };
            // Why not is told where the client is polled, among that nobody answers, again and again.
            let _ = (0..10).try_for_each(|_| self.asks.poll(TELLS).map(drop));
            let error = self.unanswered("Kafka cannot be reached", e);
            let is_final = error.kind() == ErrorKind::Fatal;
            outcome = Err(error);
            if is_final {
                break;
            }
        }
        outcome
    }

    /// The first offset and the one after the last of a partition.
    pub(crate) fn watermarks(&self, topic: &str, partition: i32) -> Result<(i64, i64)> {
        self.asks().fetch_watermarks(topic, partition, TIMEOUT).map_err(|e| {
            let error = self.unanswered("Kafka does not say where a partition begins and ends", e);
            error.with("topic", topic).with("partition", partition)
        })
    }

    /// The offset after a partition's last message below `end`: what ends a transaction has an offset and is no
    /// message, so that reading never comes to `end` itself. Blocking.
    ///
    /// # Errors
    /// When the brokers do not answer.
    pub(crate) fn last(&self, config: &KafkaConfig, topic: &str, partition: i32) -> Result<i64> {
        let (low, end) = self.watermarks(topic, partition)?;
        let place = (topic.to_owned(), partition);
        let known = self.lasts.lock().unwrap_or_else(PoisonError::into_inner).get(&place).copied();
        if let Some((_, next)) = known.filter(|(known, _)| *known == end) {
            return Ok(next.max(low));
        }
        let (mut from, mut back, mut last) = (end, 16, None);
        while from > low && last.is_none() {
            from = low.max(end - back);
            last = last_within(config, topic, partition, from..end)?;
            back *= 16;
        }
        let next = last.map_or(low, |last| last + 1);
        self.lasts.lock().unwrap_or_else(PoisonError::into_inner).insert(place, (end, next));
        Ok(next)
    }

    /// How many messages of a partition are after an offset, as far as the client has reported. `drained`: none that it has
    /// fetched waits to be taken, so that what has an offset and is no message is not counted at the end.
    pub(crate) fn unread(&self, topic: &str, partition: i32, next: i64, drained: bool) -> Option<u64> {
        let topics = self.reads.context().topics.lock().unwrap_or_else(PoisonError::into_inner);
        let known = topics.get(topic)?.partitions.get(&partition)?;
        let is_at_end = drained && known.next_offset >= known.ls_offset;
        Some(if is_at_end { 0 } else { known.ls_offset.saturating_sub(next).max(0) as u64 })
    }

    /// An error in reading that may follow from another, which says more.
    pub(crate) fn unheard(&self, what: &str, error: KafkaError) -> Error {
        self.reads.context().unheard(what, error)
    }

    /// The same of an error that a question met.
    fn unanswered(&self, what: &str, error: KafkaError) -> Error {
        self.asks().context().unheard(what, error)
    }
}

fn settings(config: &KafkaConfig, group: &str) -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", &config.servers).set("client.id", group).set("group.id", group);
    // No one else keeps a connection alive where nothing is read for hours.
    client.set("isolation.level", "read_committed").set("socket.keepalive.enable", "true");
    client
}

/// What the operator says, and what nobody may.
fn overridden(client: &mut ClientConfig, config: &KafkaConfig) {
    for (key, value) in &config.overrides {
        client.set(key, value.expose());
    }
    client
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("allow.auto.create.topics", "false");
}

/// The last message within some offsets of a partition, by a consumer of its own.
fn last_within(config: &KafkaConfig, topic: &str, partition: i32, within: Range<i64>) -> Result<Option<i64>> {
    let mut client = settings(config, "connect-runtime");
    overridden(&mut client, config);
    // The end is told when a fetch brings nothing.
    client.set("fetch.wait.max.ms", "1");
    let what = "the last message of a partition is not told";
    let failed = |e| error::kafka(what, e).with("topic", topic).with("partition", partition);
    // With one partition there is no doubt whose end it is that the client reports.
    let consumer: BaseConsumer = client.set("enable.partition.eof", "true").create().map_err(failed)?;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Offset(within.start)).map_err(failed)?;
    consumer.assign(&list).map_err(failed)?;
    let (mut last, deadline) = (None, Instant::now() + TIMEOUT);
    while Instant::now() < deadline {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) if message.offset() < within.end => last = Some(message.offset()),
            Some(Ok(_) | Err(KafkaError::PartitionEOF(_))) => return Ok(last),
            Some(Err(e)) => return Err(failed(e)),
            None => {}
        }
    }
    Err(Error::retriable(what).with("topic", topic).with("partition", partition))
}
