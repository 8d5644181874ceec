//! Change events of a `lineitem` table as Debezium's PostgreSQL connector writes them, for the benchmark of change
//! data capture: makes topics, fills them from a seed, registers the Avro schemas, and reads a topic to nowhere.
//!
//! What must hold: what it says a topic comes to is what a table that applied the topic holds; the rows that are there
//! before have the part and the quantity that `scripts/bench-cdc.sql` gives them by their key.
//!
//! `events create SERVERS TOPIC…`, `events delete SERVERS TOPIC`, `events register PORT TOPIC…`,
//! `events discard SERVERS TOPIC`,
//! `events write SERVERS TOPIC FORMAT MIX ROWS EVENTS PER_SECOND KEY_SCHEMA VALUE_SCHEMA`: FORMAT is `json`, `schemas` or
//! `avro`; MIX is `changes` (60 updates, 30 inserts, 10 deletes of a hundred), `inserts`, or `one` (an update that changes
//! nothing); 0 per second is as many as it can; the schemas are their numbers in the registry.

#![expect(clippy::print_stdout, reason = "its output is its purpose")]

mod messages;
mod schemas;
mod table;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use connect_tests::http;
use connect_tests::kafka::wait;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::{Value, json};

use messages::{Format, Writer};
use table::Table;

const PATIENCE: Duration = Duration::from_secs(60);

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["create", servers, topics @ ..] => create(servers, topics),
        ["delete", servers, topic] => delete(servers, topic),
        ["register", port, topics @ ..] => register(port.parse().unwrap(), topics),
        ["discard", servers, topic] => discard(servers, topic),
        ["write", servers, topic, format, mix, rows, events, per_second, key, value] => {
            let format = Format::new(format, topic, (key.parse().unwrap(), value.parse().unwrap()));
            let [rows, events, per_second] = [rows, events, per_second].map(|n| n.parse().unwrap());
            write(servers, topic, format, mix, rows, events, per_second);
        }
        _ => panic!("not a call of `events`: {args:?}"),
    }
}

fn client(servers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers).set("allow.auto.create.topics", "false");
    config
}

/// Makes topics of one partition that keep their messages for good.
fn create(servers: &str, topics: &[&str]) {
    let admin: AdminClient<DefaultClientContext> = client(servers).create().unwrap();
    let new = topics.iter().map(|topic| NewTopic::new(topic, 1, TopicReplication::Fixed(1)).set("retention.ms", "-1"));
    let new: Vec<_> = new.collect();
    let made = wait(admin.create_topics(&new, &AdminOptions::new())).unwrap();
    made.into_iter().for_each(|topic| drop(topic.unwrap()));
}

fn delete(servers: &str, topic: &str) {
    let admin: AdminClient<DefaultClientContext> = client(servers).create().unwrap();
    let gone = wait(admin.delete_topics(&[topic], &AdminOptions::new())).unwrap();
    gone.into_iter().for_each(|topic| drop(topic.unwrap()));
}

/// Registers the schemas of topics; prints their numbers.
fn register(port: u16, topics: &[&str]) {
    let mut ids = Vec::new();
    for topic in topics {
        for (which, schema) in [("key", schemas::avro_key(topic)), ("value", schemas::avro(topic))] {
            let path = format!("/apis/ccompat/v7/subjects/{topic}-{which}/versions");
            let (status, body) = http::send(port, "POST", &path, &json!({ "schema": schema.to_string() })).unwrap();
            assert_eq!(status, 200, "{body}");
            ids.push(serde_json::from_str::<Value>(&body).unwrap()["id"].as_u64().unwrap());
        }
    }
    println!("{}", json!(ids));
}

/// Reads a topic from its beginning to its end of now, as fast as it comes, and does nothing with it.
fn discard(servers: &str, topic: &str) {
    let mut config = client(servers);
    let consumer: BaseConsumer = config.set("group.id", "discard").set("enable.auto.commit", "false").create().unwrap();
    let (first, end) = consumer.fetch_watermarks(topic, 0, PATIENCE).unwrap();
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(topic, 0, Offset::Offset(first)).unwrap();
    let started = Instant::now();
    consumer.assign(&from).unwrap();
    let (mut next, mut bytes) = (first, 0);
    while next < end {
        if let Some(message) = consumer.poll(PATIENCE) {
            let message = message.unwrap();
            bytes += message.payload().map_or(0, <[u8]>::len);
            next = message.offset() + 1;
        }
    }
    println!("{}", json!({ "messages": end - first, "bytes": bytes, "wall": started.elapsed().as_secs_f64() }));
}

/// Fills a topic; prints what a table with so many rows comes to with it, and when it began.
fn write(servers: &str, topic: &str, format: Format, mix: &str, rows: u64, events: u64, per_second: u64) {
    let mut config = client(servers);
    // As a producer for throughput is set up; the other limits are the client's own.
    config.set("compression.type", "lz4").set("batch.size", "131072");
    config.set("linger.ms", if per_second == 0 { "20" } else { "5" });
    config.set("enable.idempotence", "true").set("queue.buffering.max.messages", "1000000");
    let producer: BaseProducer = config.create().unwrap();
    let send = |key: &[u8], value: Option<&[u8]>| loop {
        let mut record = BaseRecord::<[u8], [u8]>::to(topic).partition(0).key(key);
        if let Some(value) = value {
            record = record.payload(value);
        }
        match producer.send(record) {
            Ok(()) => return,
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                producer.poll(Duration::from_millis(10));
            }
            Err((error, _)) => panic!("{error}"),
        }
    };
    let mut table = Table::new(rows);
    let mut writer = Writer::new(format);
    let (mut messages, mut bytes) = (0_u64, 0_u64);
    let began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    let started = Instant::now();
    for event in 0..events {
        if let Some(at) = (event * 1000).checked_div(per_second) {
            std::thread::sleep((started + Duration::from_millis(at)).saturating_duration_since(Instant::now()));
        }
        let change = table.change(mix);
        writer.write(&change, &mut table.chance);
        send(&writer.key, Some(&writer.value));
        (messages, bytes) = (messages + 1, bytes + writer.value.len() as u64);
        if change.op == 'd' {
            // Debezium's default.
            send(&writer.key, None);
            messages += 1;
        }
        if messages % 1024 == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    producer.flush(PATIENCE).unwrap();
    assert_eq!(producer.in_flight_count(), 0);
    let (count, parts, quantities) = table.sums();
    let sums = [count.to_string(), parts.to_string(), quantities.to_string()];
    println!("{}", json!({ "events": events, "messages": messages, "bytes": bytes, "sums": sums, "began": began }));
}
