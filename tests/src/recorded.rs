//! Events of Oracle's as Debezium's own classes made them (connectors/debezium/tests/fixtures), for a real broker and a
//! real registry.

use std::collections::HashMap;
use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::debezium::Format;
use crate::http;
use crate::kafka::{Kafka, Message};
use crate::registry::Registry;
use crate::root;

/// What was recorded in one format, and the topics that it goes to.
pub struct Recorded {
    json: Value,
    format: Format,
    /// What the topics' names begin with.
    pub prefix: String,
    /// How many partitions the topics of tables have.
    partitions: i32,
    /// The registry's numbers of schemas, by those of the recording.
    schemas: HashMap<u32, u32>,
}

impl Recorded {
    /// What was recorded, with topics of these tables on the broker that tests share.
    ///
    /// # Panics
    /// When there is no recording, or the broker or the registry refuses.
    pub fn new(format: Format, prefix: &str, tables: &[&str]) -> Self {
        Self::spread(format, prefix, tables, 1)
    }

    /// The same over so many partitions, each key in one of them.
    ///
    /// # Panics
    /// As [`Recorded::new`].
    pub fn spread(format: Format, prefix: &str, tables: &[&str], partitions: i32) -> Self {
        let name = match format {
            Format::Json => "plain",
            Format::JsonWithSchemas => "schemas",
            Format::Avro => "avro",
        };
        let path = root().join(format!("connectors/debezium/tests/fixtures/oracle/{name}.json"));
        let json: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        let prefix = format!("{prefix}-{name}");
        let schemas = json["registry"].as_object().into_iter().flatten();
        let schemas = schemas.map(|(id, schema)| (id.parse().unwrap(), registered(&format!("{prefix}-{id}"), schema)));
        let recorded = Self { schemas: schemas.collect(), json, format, prefix, partitions };
        tables.iter().for_each(|table| Kafka::shared().create(&recorded.topic(table), partitions));
        Kafka::shared().create(&format!("{}.transaction", recorded.prefix), 1);
        recorded
    }

    /// The name of a table's topic.
    pub fn topic(&self, table: &str) -> String {
        format!("{}.SHOP.{table}", self.prefix)
    }

    /// Sends recorded messages of a table, by the offsets that they had.
    ///
    /// # Panics
    /// When the broker does not take them.
    pub fn send(&self, table: &str, offsets: impl IntoIterator<Item = usize>) {
        let all = self.json["topics"][format!("SHOP.{table}")].as_array().unwrap();
        let place = |message: Message| {
            let digits = message.key.iter().flatten().map(|byte| i32::from(*byte)).sum::<i32>();
            Message { partition: digits % self.partitions, ..message }
        };
        let messages: Vec<_> = offsets.into_iter().map(|offset| place(self.message(&all[offset]))).collect();
        Kafka::shared().write(&self.topic(table), &messages);
    }

    /// Sends what was recorded of the transactions.
    ///
    /// # Panics
    /// When the broker does not take it.
    pub fn send_transactions(&self) {
        let all = self.json["topics"]["transaction"].as_array().unwrap();
        let messages: Vec<_> = all.iter().map(|record| self.message(record)).collect();
        Kafka::shared().write(&format!("{}.transaction", self.prefix), &messages);
    }

    /// What the sink of a job is told to follow it.
    pub fn sink_keys(&self) -> Vec<(&'static str, String)> {
        let mut keys = vec![
            ("bootstrap.servers", Kafka::shared().servers()),
            ("topics.regex", format!(r"{}\.SHOP\..*", self.prefix)),
            ("metadata.max.age.ms", "300".into()),
            ("iceberg.control.commit.interval-ms", "200".into()),
        ];
        match self.format {
            Format::JsonWithSchemas => {}
            Format::Json => keys.extend(
                [
                    ("time.precision.mode", "adaptive"),
                    ("decimal.handling.mode", "precise"),
                    ("binary.handling.mode", "bytes"),
                    ("interval.handling.mode", "string"),
                ]
                .map(|(key, value)| (key, value.to_owned())),
            ),
            Format::Avro => {
                let (class, url) = ("io.confluent.connect.avro.AvroConverter".to_owned(), Registry::shared().url());
                keys.extend([
                    ("key.converter", class.clone()),
                    ("key.converter.schema.registry.url", url.clone()),
                    ("value.converter", class),
                    ("value.converter.schema.registry.url", url),
                ]);
            }
        }
        keys
    }

    fn message(&self, record: &Value) -> Message {
        Message { partition: 0, key: self.part(&record["key"]), value: self.part(&record["value"]) }
    }

    fn part(&self, part: &Value) -> Option<Vec<u8>> {
        Some(match part {
            Value::Null => return None,
            Value::String(text) => text.clone().into_bytes(),
            Value::Array(parts) => {
                let schema = self.json["schemas"][parts[0].as_u64().unwrap() as usize].as_str().unwrap();
                format!("{schema}{}", parts[1].as_str().unwrap()).into_bytes()
            }
            coded => {
                let mut bytes = STANDARD.decode(coded["base64"].as_str().unwrap()).unwrap();
                let id = u32::from_be_bytes(bytes[1..5].try_into().unwrap());
                bytes[1..5].copy_from_slice(&self.schemas[&id].to_be_bytes());
                bytes
            }
        })
    }
}

/// The number under which the registry has a schema from now on.
fn registered(subject: &str, schema: &Value) -> u32 {
    let path = format!("/apis/ccompat/v7/subjects/{subject}/versions");
    let answer = http::send(Registry::shared().port, "POST", &path, &json!({ "schema": schema["schema"] }));
    let (status, body) = answer.expect("the registry answers");
    assert_eq!(status, 200, "{body}");
    serde_json::from_str::<Value>(&body).unwrap()["id"].as_u64().unwrap() as u32
}
