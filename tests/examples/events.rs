//! Change events of a `lineitem` table as Debezium's PostgreSQL connector writes them, for the benchmark of change
//! data capture: makes topics, fills them from a seed, registers the Avro schemas, and reads a topic to nowhere.
//!
//! What must hold: what it says a topic comes to is what a table that applied the topic holds; the rows that are there
//! before have the part and the quantity that `scripts/bench-cdc.sql` gives them by their key.
//!
//! `events create SERVERS TOPIC…`, `events register PORT TOPIC…`, `events discard SERVERS TOPIC`,
//! `events write SERVERS TOPIC FORMAT MIX ROWS EVENTS KEY_SCHEMA VALUE_SCHEMA`: FORMAT is `json`, `schemas` or `avro`;
//! MIX is `changes` (60 updates, 30 inserts, 10 deletes of a hundred), `inserts`, or `one` (an update that changes
//! nothing); the schemas are their numbers in the registry.

#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use connect_tests::chance::Chance;
use connect_tests::http;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);
const SEED: u64 = 42;
/// Where the log stands before the first event: beyond any cut.
const LSN: u64 = 1 << 50;
const TRANSACTION: u64 = 1_000_000;
/// The wall clock of the first event, milliseconds.
const BEGAN: u64 = 1_795_385_277_920;
const DECIMAL: &str = "org.apache.kafka.connect.data.Decimal";
const DATE: &str = "io.debezium.time.Date";

/// The columns: name, and Kafka Connect's type.
const COLUMNS: [(&str, &str); 16] = [
    ("l_orderkey", "int64"),
    ("l_partkey", "int32"),
    ("l_suppkey", "int32"),
    ("l_linenumber", "int32"),
    ("l_quantity", DECIMAL),
    ("l_extendedprice", DECIMAL),
    ("l_discount", DECIMAL),
    ("l_tax", DECIMAL),
    ("l_returnflag", "string"),
    ("l_linestatus", "string"),
    ("l_shipdate", DATE),
    ("l_commitdate", DATE),
    ("l_receiptdate", DATE),
    ("l_shipinstruct", "string"),
    ("l_shipmode", "string"),
    ("l_comment", "string"),
];

/// The fields of a `source` block: name, type, whether it may be null.
const SOURCE: [(&str, &str, bool); 16] = [
    ("version", "string", false),
    ("connector", "string", false),
    ("name", "string", false),
    ("ts_ms", "int64", false),
    ("snapshot", "string", true),
    ("db", "string", false),
    ("sequence", "string", true),
    ("ts_us", "int64", true),
    ("ts_ns", "int64", true),
    ("schema", "string", false),
    ("table", "string", false),
    ("txId", "int64", true),
    ("lsn", "int64", true),
    ("xmin", "int64", true),
    ("origin", "string", true),
    ("origin_lsn", "int64", true),
];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["create", servers, topics @ ..] => create(servers, topics),
        ["register", port, topics @ ..] => register(port.parse().unwrap(), topics),
        ["discard", servers, topic] => discard(servers, topic),
        ["write", servers, topic, format, mix, rows, events, key, value] => {
            let ids = (key.parse().unwrap(), value.parse().unwrap());
            write(servers, topic, Format::new(format, topic, ids), mix, rows.parse().unwrap(), events.parse().unwrap());
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
    let options = AdminOptions::new();
    let mut made = std::pin::pin!(admin.create_topics(&new, &options));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        if let std::task::Poll::Ready(made) = made.as_mut().poll(&mut context) {
            made.unwrap().into_iter().for_each(|topic| drop(topic.unwrap()));
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Registers the schemas of topics; prints their numbers.
fn register(port: u16, topics: &[&str]) {
    let mut ids = Vec::new();
    for topic in topics {
        for (which, schema) in [("key", key_schema(topic)), ("value", value_schema(topic))] {
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

/// Fills a topic; prints what a table with so many rows comes to with it.
fn write(servers: &str, topic: &str, format: Format, mix: &str, rows: u64, events: u64) {
    let mut config = client(servers);
    // As a producer for throughput is set up; the other limits are the client's own.
    config.set("compression.type", "lz4").set("batch.size", "131072").set("linger.ms", "20");
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
    let mut writer = Writer { format, at: Place::default(), key: Vec::new(), value: Vec::new() };
    let (mut messages, mut bytes) = (0_u64, 0_u64);
    for _ in 0..events {
        let change = table.change(mix);
        writer.at.advance(&mut table.chance);
        writer.write(&change);
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
    println!("{}", json!({ "events": events, "messages": messages, "bytes": bytes, "sums": sums }));
}

/// What the table holds while the events go on: of each key its part and quantity, or nothing.
struct Table {
    rows: Vec<Option<std::num::NonZeroU32>>,
    chance: Chance,
    pool: String,
}

/// A change of a row.
struct Change {
    op: char,
    key: u64,
    row: Row,
}

#[derive(Default)]
struct Row {
    numbers: [u64; 3],
    /// Of two decimals.
    amounts: [u64; 4],
    flags: [&'static str; 2],
    days: [u64; 3],
    instruct: &'static str,
    mode: &'static str,
    comment: String,
}

impl Table {
    fn new(rows: u64) -> Self {
        let held = (0..rows).map(|key| packed(1 + key * 7919 % 200_000, 1 + key * 31 % 50));
        let mut chance = Chance(SEED);
        const WORDS: [&str; 24] = [
            "furiously",
            "carefully",
            "quickly",
            "slyly",
            "blithely",
            "ironic",
            "final",
            "pending",
            "express",
            "regular",
            "special",
            "bold",
            "even",
            "silent",
            "unusual",
            "deposits",
            "requests",
            "accounts",
            "packages",
            "theodolites",
            "foxes",
            "instructions",
            "dependencies",
            "ideas",
        ];
        let words: Vec<&str> = (0..9000).map(|_| WORDS[chance.below(24) as usize]).collect();
        Self { rows: held.collect(), chance, pool: words.join(" ") }
    }

    fn change(&mut self, mix: &str) -> Change {
        let (op, key) = match (mix, self.chance.below(100)) {
            ("one", _) => ('u', 0),
            ("inserts", _) | ("changes", 60..90) => ('c', self.rows.len() as u64),
            ("changes", 0..60) => ('u', self.existing()),
            ("changes", _) => ('d', self.existing()),
            _ => panic!("no such mix: {mix}"),
        };
        if op == 'd' {
            self.rows[key as usize] = None;
            return Change { op, key, row: Row::default() };
        }
        let mut row = self.row(key);
        if mix == "one" {
            (row.numbers[0], row.amounts[0]) = (1, 100);
        }
        let held = packed(row.numbers[0], row.amounts[0] / 100);
        match self.rows.get_mut(key as usize) {
            Some(there) => *there = held,
            None => self.rows.push(held),
        }
        Change { op, key, row }
    }

    fn existing(&mut self) -> u64 {
        loop {
            let key = self.chance.below(self.rows.len() as u64);
            if self.rows[key as usize].is_some() {
                return key;
            }
        }
    }

    fn row(&mut self, key: u64) -> Row {
        let mut below = |n| self.chance.below(n);
        let (quantity, shipped) = (1 + below(50), 8036 + below(2526));
        let (start, length) = (below(50_000) as usize, 10 + below(34) as usize);
        Row {
            numbers: [1 + below(200_000), 1 + below(10_000), 1 + key % 4],
            amounts: [quantity * 100, quantity * (90_000 + below(120_000)), below(11), below(9)],
            flags: [["N", "A", "R"][below(3) as usize], ["O", "F"][key as usize % 2]],
            days: [shipped, shipped + below(60) - 30, shipped + 1 + below(30)],
            instruct: [
                "DELIVER IN PERSON        ",
                "COLLECT COD              ",
                "NONE                     ",
                "TAKE BACK RETURN         ",
            ][below(4) as usize],
            mode: ["REG AIR   ", "AIR       ", "RAIL      ", "SHIP      ", "TRUCK     ", "MAIL      ", "FOB       "]
                [below(7) as usize],
            comment: self.pool[start..start + length].to_owned(),
        }
    }

    /// Rows; the sums of key × part and of key × quantity.
    fn sums(&self) -> (u64, u128, u128) {
        let (mut count, mut parts, mut quantities) = (0, 0, 0);
        for (key, row) in self.rows.iter().enumerate() {
            if let Some(row) = row {
                count += 1;
                parts += key as u128 * u128::from(row.get() >> 8);
                quantities += key as u128 * u128::from(row.get() & 0xff);
            }
        }
        (count, parts, quantities)
    }
}

fn packed(part: u64, quantity: u64) -> Option<std::num::NonZeroU32> {
    std::num::NonZeroU32::new((part << 8 | quantity) as u32)
}

/// Where the source's log is.
struct Place {
    transaction: u64,
    /// Events that are left in the transaction.
    left: u64,
    preceding: u64,
    lsn: u64,
    micros: u64,
}

impl Default for Place {
    fn default() -> Self {
        Self { transaction: TRANSACTION, left: 0, preceding: LSN, lsn: LSN, micros: BEGAN * 1000 }
    }
}

impl Place {
    fn advance(&mut self, chance: &mut Chance) {
        if self.left == 0 {
            self.transaction += 1;
            self.left = 1 + chance.below(20);
            // The commit's own record.
            self.lsn += 48;
            self.preceding = self.lsn;
            self.micros += 100 + chance.below(900);
        }
        self.left -= 1;
        self.lsn += 120 + 8 * chance.below(16);
    }
}

/// How messages are written.
enum Format {
    Json {
        prefix: String,
    },
    /// With what stands before the payload of a key and of a value.
    Schemas {
        prefix: String,
        key: String,
        value: String,
    },
    /// With the numbers of the schemas.
    Avro {
        prefix: String,
        key: u32,
        value: u32,
    },
}

impl Format {
    fn new(name: &str, topic: &str, (key, value): (u32, u32)) -> Self {
        let prefix = topic.split('.').next().unwrap_or_default().to_owned();
        match name {
            "json" => Self::Json { prefix },
            "schemas" => {
                let before = |schema: Value| format!("{{\"schema\":{schema},\"payload\":");
                Self::Schemas { prefix, key: before(json_key_schema(topic)), value: before(json_schema(topic)) }
            }
            "avro" => Self::Avro { prefix, key, value },
            _ => panic!("no such format: {name}"),
        }
    }
}

/// Writes messages into buffers that stay.
struct Writer {
    format: Format,
    at: Place,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Writer {
    fn write(&mut self, change: &Change) {
        self.key.clear();
        self.value.clear();
        match &self.format {
            Format::Json { prefix } => {
                self.key.extend_from_slice(format!("{{\"l_orderkey\":{}}}", change.key).as_bytes());
                self.value.extend_from_slice(envelope(prefix, &self.at, change).as_bytes());
            }
            Format::Schemas { prefix, key, value } => {
                let of_key = format!("{key}{{\"l_orderkey\":{}}}}}", change.key);
                self.key.extend_from_slice(of_key.as_bytes());
                for part in [value.as_str(), &envelope(prefix, &self.at, change), "}"] {
                    self.value.extend_from_slice(part.as_bytes());
                }
            }
            Format::Avro { prefix, key, value } => {
                for (buffer, id) in [(&mut self.key, key), (&mut self.value, value)] {
                    buffer.push(0);
                    buffer.extend_from_slice(&id.to_be_bytes());
                }
                long(&mut self.key, change.key);
                avro(&mut self.value, prefix, &self.at, change);
            }
        }
    }
}

fn sequence(at: &Place) -> String {
    format!("[\"{}\",\"{}\"]", at.preceding, at.lsn)
}

fn envelope(prefix: &str, at: &Place, change: &Change) -> String {
    let image = image(change);
    let (before, after) = if change.op == 'd' { (image.as_str(), "null") } else { ("null", image.as_str()) };
    let sequence = sequence(at).replace('"', "\\\"");
    let (op, us, transaction, lsn) = (change.op, at.micros, at.transaction, at.lsn);
    let (ms, sent) = (us / 1000, us + 203_854);
    let sent_ms = sent / 1000;
    format!(
        "{{\"before\":{before},\"after\":{after},\"source\":{{\"version\":\"3.6.1.Final\",\"connector\":\"postgresql\",\
         \"name\":\"{prefix}\",\"ts_ms\":{ms},\"snapshot\":\"false\",\"db\":\"shop\",\"sequence\":\"{sequence}\",\
         \"ts_us\":{us},\"ts_ns\":{us}000,\"schema\":\"public\",\"table\":\"lineitem\",\"txId\":{transaction},\
         \"lsn\":{lsn},\"xmin\":null,\"origin\":null,\"origin_lsn\":null}},\"transaction\":null,\"op\":\"{op}\",\
         \"ts_ms\":{sent_ms},\"ts_us\":{sent},\"ts_ns\":{sent}497}}"
    )
}

/// An image as JSON. What was deleted has its key, and of what may not be null the emptiest value.
fn image(change: &Change) -> String {
    let row = &change.row;
    let mut text = format!("{{\"l_orderkey\":{}", change.key);
    let named = |text: &mut String, column: usize, value: &dyn std::fmt::Display, quoted: bool| {
        let quote = if quoted { "\"" } else { "" };
        write!(text, ",\"{}\":{quote}{value}{quote}", COLUMNS[column].0).unwrap();
    };
    row.numbers.iter().enumerate().for_each(|(i, n)| named(&mut text, 1 + i, n, false));
    row.amounts.iter().enumerate().for_each(|(i, n)| named(&mut text, 4 + i, &base64(&unscaled(*n)), true));
    row.flags.iter().enumerate().for_each(|(i, t)| named(&mut text, 8 + i, t, true));
    row.days.iter().enumerate().for_each(|(i, n)| named(&mut text, 10 + i, n, false));
    let texts = [row.instruct, row.mode, &row.comment];
    texts.iter().enumerate().for_each(|(i, t)| named(&mut text, 13 + i, t, true));
    text.push('}');
    text
}

fn avro(out: &mut Vec<u8>, prefix: &str, at: &Place, change: &Change) {
    let row = &change.row;
    // Before, or not, and after.
    out.push(if change.op == 'd' { 2 } else { 0 });
    if change.op != 'd' {
        out.push(2);
    }
    long(out, change.key);
    row.numbers.iter().for_each(|n| long(out, *n));
    row.amounts.iter().for_each(|n| blob(out, &unscaled(*n)));
    row.flags.iter().for_each(|t| blob(out, t.as_bytes()));
    row.days.iter().for_each(|n| long(out, *n));
    [row.instruct, row.mode, &row.comment].iter().for_each(|t| blob(out, t.as_bytes()));
    if change.op == 'd' {
        out.push(0);
    }
    ["3.6.1.Final", "postgresql", prefix].iter().for_each(|t| blob(out, t.as_bytes()));
    long(out, at.micros / 1000);
    // The first of its choices is the text.
    out.push(0);
    ["false", "shop"].iter().for_each(|t| blob(out, t.as_bytes()));
    out.push(2);
    blob(out, sequence(at).as_bytes());
    some(out, at.micros);
    some(out, at.micros * 1000);
    ["public", "lineitem"].iter().for_each(|t| blob(out, t.as_bytes()));
    some(out, at.transaction);
    some(out, at.lsn);
    // xmin, origin, its place, and the transaction.
    out.extend_from_slice(&[0; 4]);
    blob(out, change.op.to_string().as_bytes());
    let sent = at.micros + 203_854;
    [sent / 1000, sent, sent * 1000 + 497].iter().for_each(|n| some(out, *n));
}

fn some(out: &mut Vec<u8>, number: u64) {
    out.push(2);
    long(out, number);
}

fn blob(out: &mut Vec<u8>, bytes: &[u8]) {
    long(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn long(out: &mut Vec<u8>, number: u64) {
    let mut rest = number << 1;
    while rest > 0x7f {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// The fewest bytes of a number that is not negative, the sign's bit included.
fn unscaled(number: u64) -> Vec<u8> {
    let bytes = number.to_be_bytes();
    let from = (0..7).find(|&at| bytes[at] != 0 || bytes[at + 1] > 0x7f).unwrap_or(7);
    bytes[from..].to_vec()
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let all = chunk.iter().chain(&[0; 2]).take(3).fold(0_u32, |all, byte| all << 8 | u32::from(*byte));
        for at in 0..4 {
            let letter = LETTERS[(all >> (18 - 6 * at) & 63) as usize];
            text.push(if at > chunk.len() { '=' } else { char::from(letter) });
        }
    }
    text
}

fn json_field((name, kind): &(&str, &str)) -> Value {
    match *kind {
        DECIMAL => json!({"type": "bytes", "optional": false, "name": DECIMAL, "version": 1,
            "parameters": {"scale": "2", "connect.decimal.precision": "15"}, "field": name}),
        DATE => json!({"type": "int32", "optional": false, "name": DATE, "version": 1, "field": name}),
        kind => json!({"type": kind, "optional": false, "field": name}),
    }
}

const SNAPSHOTS: &str = "true,first,first_in_data_collection,last_in_data_collection,last,false,incremental";

fn json_schema(topic: &str) -> Value {
    let fields: Vec<_> = COLUMNS.iter().map(json_field).collect();
    let image = |field: &str| json!({"type": "struct", "fields": fields, "optional": true, "name": format!("{topic}.Value"), "field": field});
    let source = SOURCE.iter().map(|(name, kind, optional)| match *name {
        "snapshot" => json!({"type": kind, "optional": true, "name": "io.debezium.data.Enum", "version": 1,
            "parameters": {"allowed": SNAPSHOTS}, "default": "false", "field": name}),
        _ => json!({"type": kind, "optional": optional, "field": name}),
    });
    let source: Vec<_> = source.collect();
    let optional = |field: &str| json!({"type": "int64", "optional": true, "field": field});
    json!({"type": "struct", "fields": [
        image("before"), image("after"),
        {"type": "struct", "fields": source, "optional": false, "name": "io.debezium.connector.postgresql.Source",
         "version": 1, "field": "source"},
        {"type": "struct", "fields": [
            {"type": "string", "optional": false, "field": "id"},
            {"type": "int64", "optional": false, "field": "total_order"},
            {"type": "int64", "optional": false, "field": "data_collection_order"}
        ], "optional": true, "name": "event.block", "version": 1, "field": "transaction"},
        {"type": "string", "optional": false, "field": "op"}, optional("ts_ms"), optional("ts_us"), optional("ts_ns")
    ], "optional": false, "name": format!("{topic}.Envelope"), "version": 2})
}

fn json_key_schema(topic: &str) -> Value {
    json!({"type": "struct", "fields": [json_field(&COLUMNS[0])], "optional": false, "name": format!("{topic}.Key")})
}

fn avro_type(kind: &str) -> Value {
    match kind {
        DECIMAL => json!({"type": "bytes", "scale": 2, "precision": 15, "connect.version": 1, "connect.parameters":
            {"scale": "2", "connect.decimal.precision": "15"}, "connect.name": DECIMAL, "logicalType": "decimal"}),
        DATE => json!({"type": "int", "connect.version": 1, "connect.name": DATE}),
        "int64" => json!("long"),
        "int32" => json!("int"),
        other => json!(other),
    }
}

fn key_schema(topic: &str) -> Value {
    json!({"type": "record", "name": "Key", "namespace": topic,
        "fields": [{"name": COLUMNS[0].0, "type": "long"}], "connect.name": format!("{topic}.Key")})
}

fn value_schema(topic: &str) -> Value {
    let fields = COLUMNS.iter().map(|(name, kind)| json!({"name": name, "type": avro_type(kind)}));
    let fields: Vec<_> = fields.collect();
    let nullable = |name: &str, kind: Value| json!({"name": name, "type": ["null", kind], "default": null});
    let source = SOURCE.iter().map(|(name, kind, optional)| match *name {
        "snapshot" => json!({"name": name, "default": "false", "type": [{"type": "string", "connect.version": 1,
            "connect.parameters": {"allowed": SNAPSHOTS}, "connect.default": "false",
            "connect.name": "io.debezium.data.Enum"}, "null"]}),
        _ if *optional => nullable(name, avro_type(kind)),
        _ => json!({"name": name, "type": avro_type(kind)}),
    });
    let source: Vec<_> = source.collect();
    let block = json!({"type": "record", "name": "block", "namespace": "event", "fields": [
        {"name": "id", "type": "string"}, {"name": "total_order", "type": "long"},
        {"name": "data_collection_order", "type": "long"}], "connect.version": 1, "connect.name": "event.block"});
    let value = json!({"type": "record", "name": "Value", "fields": fields, "connect.name": format!("{topic}.Value")});
    let connector = "io.debezium.connector.postgresql";
    let source = json!({"type": "record", "name": "Source", "namespace": connector, "fields": source,
        "connect.version": 1, "connect.name": format!("{connector}.Source")});
    json!({"type": "record", "name": "Envelope", "namespace": topic, "fields": [
        nullable("before", value), nullable("after", json!("Value")), {"name": "source", "type": source},
        nullable("transaction", block), {"name": "op", "type": "string"},
        nullable("ts_ms", json!("long")), nullable("ts_us", json!("long")), nullable("ts_ns", json!("long"))
    ], "connect.version": 2, "connect.name": format!("{topic}.Envelope")})
}
