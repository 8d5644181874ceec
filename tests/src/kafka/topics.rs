//! What tests do with topics: make them, write to them and read them, as any client does.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};

use super::Kafka;

const PATIENCE: Duration = Duration::from_secs(60);

/// A message as it lies in a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Its partition.
    pub partition: i32,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
}

impl Message {
    /// A message of the first partition.
    pub fn new(key: &str, value: &str) -> Self {
        Self { partition: 0, key: Some(key.into()), value: Some(value.into()) }
    }
}

impl Kafka {
    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.servers()).set("allow.auto.create.topics", "false");
        config
    }

    pub(super) fn answers(&self) -> bool {
        let client: BaseConsumer = self.client().create().unwrap();
        client.fetch_metadata(None, Duration::from_secs(1)).is_ok_and(|known| !known.brokers().is_empty())
    }

    fn consumer(&self) -> BaseConsumer {
        let mut config = self.client();
        config.set("group.id", "readers").set("enable.auto.commit", "false").set("isolation.level", "read_committed");
        config.set("auto.offset.reset", "earliest").create().unwrap()
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client().create().unwrap()
    }

    /// Makes a topic.
    ///
    /// # Panics
    /// When the broker refuses.
    pub fn create(&self, topic: &str, partitions: i32) {
        self.make(NewTopic::new(topic, partitions, TopicReplication::Fixed(1)));
    }

    /// Makes a topic of one partition that takes records of so many bytes at most.
    ///
    /// # Panics
    /// When the broker refuses.
    pub fn create_small(&self, topic: &str, bytes: usize) {
        let bytes = bytes.to_string();
        self.make(NewTopic::new(topic, 1, TopicReplication::Fixed(1)).set("max.message.bytes", &bytes));
    }

    /// Makes a topic of one partition, which lies on these brokers; the first leads it.
    ///
    /// # Panics
    /// When the broker refuses.
    pub fn create_on(&self, topic: &str, brokers: &[i32]) {
        self.make(NewTopic::new(topic, 1, TopicReplication::Variable(&[brokers])));
    }

    /// The broker that leads a topic's first partition, and how many have all that it has.
    pub fn leader(&self, topic: &str) -> Option<(i32, usize)> {
        let known = self.consumer().fetch_metadata(Some(topic), PATIENCE).ok()?;
        known.topics().first()?.partitions().first().map(|p| (p.leader(), p.isr().len()))
    }

    fn make(&self, new: NewTopic<'_>) {
        let (topic, partitions) = (new.name, new.num_partitions);
        let made = wait(self.admin().create_topics(&[new], &AdminOptions::new())).unwrap();
        made.into_iter().for_each(|topic| drop(topic.unwrap()));
        self.until(&format!("topic {topic}"), || self.partitions(topic) == partitions);
    }

    /// Deletes a topic.
    ///
    /// # Panics
    /// When the broker refuses.
    pub fn delete(&self, topic: &str) {
        let gone = wait(self.admin().delete_topics(&[topic], &AdminOptions::new())).unwrap();
        gone.into_iter().for_each(|topic| drop(topic.unwrap()));
        self.until(&format!("no topic {topic}"), || self.partitions(topic) == 0);
    }

    /// Adds partitions to a topic until it has so many.
    ///
    /// # Panics
    /// When the broker refuses.
    pub fn grow(&self, topic: &str, partitions: i32) {
        let new = NewPartitions::new(topic, partitions as usize);
        let made = wait(self.admin().create_partitions(&[new], &AdminOptions::new())).unwrap();
        made.into_iter().for_each(|topic| drop(topic.unwrap()));
        self.until(&format!("{partitions} partitions of {topic}"), || self.partitions(topic) == partitions);
    }

    /// Deletes what is before an offset, as retention does.
    ///
    /// # Panics
    /// When the broker refuses.
    pub fn forget_before(&self, topic: &str, partition: i32, offset: i64) {
        let mut before = TopicPartitionList::new();
        before.add_partition_offset(topic, partition, Offset::Offset(offset)).unwrap();
        wait(self.admin().delete_records(&before, &AdminOptions::new())).unwrap();
        self.until("the beginning moved", || self.ends(topic, partition).0 == offset);
    }

    /// How many partitions a topic has; 0 where there is none.
    pub fn partitions(&self, topic: &str) -> i32 {
        let known = self.consumer().fetch_metadata(None, PATIENCE).unwrap();
        known.topics().iter().find(|t| t.name() == topic).map_or(0, |t| t.partitions().len() as i32)
    }

    /// The first offset and the one after the last.
    ///
    /// # Panics
    /// When there is no such partition.
    pub fn ends(&self, topic: &str, partition: i32) -> (i64, i64) {
        self.consumer().fetch_watermarks(topic, partition, PATIENCE).unwrap()
    }

    /// Where a group's offset stands; `None` where it has none.
    pub fn group_offset(&self, group: &str, topic: &str, partition: i32) -> Option<i64> {
        let consumer: BaseConsumer = self.client().set("group.id", group).create().unwrap();
        let mut asked = TopicPartitionList::new();
        asked.add_partition(topic, partition);
        let known = consumer.committed_offsets(asked, PATIENCE).unwrap();
        known.elements()[0].offset().to_raw().filter(|offset| *offset >= 0)
    }

    /// Writes messages and waits until the broker has them.
    ///
    /// # Panics
    /// When it does not take them.
    pub fn write(&self, topic: &str, messages: &[Message]) {
        let producer: ThreadedProducer<DefaultProducerContext> =
            self.client().set("enable.idempotence", "true").create().unwrap();
        send(&producer, topic, messages);
        producer.flush(PATIENCE).unwrap();
        assert_eq!(producer.in_flight_count(), 0);
    }

    /// Writes messages in a transaction, and ends it so.
    ///
    /// # Panics
    /// When the broker does not take them.
    pub fn write_in_a_transaction(&self, topic: &str, messages: &[Message], commits: bool) {
        let producer: ThreadedProducer<DefaultProducerContext> =
            self.client().set("transactional.id", format!("tests-{topic}")).create().unwrap();
        producer.init_transactions(PATIENCE).unwrap();
        producer.begin_transaction().unwrap();
        send(&producer, topic, messages);
        producer.flush(PATIENCE).unwrap();
        match commits {
            true => producer.commit_transaction(PATIENCE).unwrap(),
            false => producer.abort_transaction(PATIENCE).unwrap(),
        }
    }

    /// Every message of a topic up to its end of now, partition by partition.
    ///
    /// # Panics
    /// When they do not come.
    pub fn read(&self, topic: &str) -> Vec<Message> {
        self.each(topic, |message| {
            let (key, value) = (message.key().map(Into::into), message.payload().map(Into::into));
            Message { partition: message.partition(), key, value }
        })
    }

    /// The headers of every message, likewise.
    ///
    /// # Panics
    /// When they do not come, or hold no text.
    pub fn headers(&self, topic: &str) -> Vec<BTreeMap<String, String>> {
        self.each(topic, |message| {
            let text = |value: Option<&[u8]>| String::from_utf8(value.unwrap_or_default().into()).unwrap();
            let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
            headers.map(|header| (header.key.to_owned(), text(header.value))).collect()
        })
    }

    fn each<T>(&self, topic: &str, take: impl Fn(&BorrowedMessage<'_>) -> T) -> Vec<T> {
        let consumer = self.consumer();
        let mut messages = Vec::new();
        for partition in 0..self.partitions(topic) {
            let (first, end) = self.ends(topic, partition);
            let mut from = TopicPartitionList::new();
            from.add_partition_offset(topic, partition, Offset::Offset(first)).unwrap();
            consumer.assign(&from).unwrap();
            let started = Instant::now();
            while position(&consumer, topic, partition).is_none_or(|at| at < end) && first < end {
                assert!(started.elapsed() < PATIENCE, "the messages of {topic} do not come");
                if let Some(message) = consumer.poll(Duration::from_millis(100)) {
                    messages.push(take(&message.unwrap()));
                }
            }
        }
        messages
    }

    fn until(&self, what: &str, mut happened: impl FnMut() -> bool) {
        let started = Instant::now();
        while !happened() {
            assert!(started.elapsed() < PATIENCE, "not seen: {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn position(consumer: &BaseConsumer, topic: &str, partition: i32) -> Option<i64> {
    let known = consumer.position().unwrap();
    known.find_partition(topic, partition).and_then(|p| p.offset().to_raw()).filter(|offset| *offset >= 0)
}

fn send(producer: &ThreadedProducer<DefaultProducerContext>, topic: &str, messages: &[Message]) {
    for message in messages {
        let mut record = BaseRecord::<[u8], [u8]>::to(topic).partition(message.partition);
        if let Some(key) = &message.key {
            record = record.key(key);
        }
        if let Some(value) = &message.value {
            record = record.payload(value);
        }
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
}

/// Waits for one of the admin client's futures, which its own thread completes.
///
/// # Panics
/// When that takes longer than a minute.
pub fn wait<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let started = Instant::now();
    loop {
        if let std::task::Poll::Ready(done) = future.as_mut().poll(&mut context) {
            return done;
        }
        assert!(started.elapsed() < PATIENCE, "the broker does not answer");
        std::thread::sleep(Duration::from_millis(5));
    }
}
