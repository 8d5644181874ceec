//! Kafka as a log that a sink follows: topics of Debezium's change events, from where each table stands in the sink.
//!
//! The way the data takes: `log` finds the topics and their ends, `task` is the runtime's side of a thread (`reader`)
//! that owns the consumer and takes messages from it by the batch (`fetch`); it hands each partition's messages to its
//! decoder (`part`), judges by the source's own order what is new (`mark`, `cut`), and makes batches of what was decoded
//! (`convert`); what cannot be decoded may be set aside (`dead`).
//! What must hold: a table is read from where the sink has it and from nowhere else; partitions are assigned with
//! explicit offsets, never subscribed to (P21); a record that cannot be read stops its table and is named. This crate
//! knows no sink and no engine.

mod config;
mod consumer;
mod convert;
mod cut;
mod dead;
mod ends;
mod error;
mod fetch;
mod held;
mod last;
mod log;
mod mark;
mod part;
mod queue;
mod reader;
mod registry;
mod task;
mod topic_id;
mod topics;

use connector_api::{Connector, ConnectorKind, Plugin, Role};

pub use config::KafkaConfig;

/// The log.
pub struct Kafka;

impl Connector for Kafka {
    const NAME: &'static str = "kafka";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const KIND: ConnectorKind = ConnectorKind::Log;
    type Config = KafkaConfig;

    fn build(config: KafkaConfig) -> Role {
        Role::Log(Box::new(log::KafkaLog::new(config)))
    }
}

/// What the runtime registers.
pub const PLUGIN: Plugin = Plugin::of::<Kafka>();
