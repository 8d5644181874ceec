//! What comes in: a Kafka message's bytes, and what is known of tables and schemas.

use std::sync::Arc;

use connector_api::{Result, TableSchema};

/// A message of the decoder's topic partition.
#[derive(Clone, Copy)]
pub struct Message<'a> {
    /// Its offset.
    pub offset: i64,
    /// The key's bytes.
    pub key: Option<&'a [u8]>,
    /// The value's bytes; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The bytes of the header of that name. Asked for Debezium's own, and only where one may matter: few messages have
    /// headers, and to look for them has its price.
    pub header: &'a dyn Fn(&str) -> Option<&'a [u8]>,
}

/// Whether a change is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Nothing of it.
    No,
    /// Whatever it is.
    Yes,
    /// Unless it builds on the row before it: else nothing of it, and [`Pushed::Dependent`](crate::Pushed::Dependent).
    IfIndependent,
}

/// How keys and values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Kafka Connect's JSON converter, with schemas or without: each message tells.
    Json,
    /// Avro behind Confluent's five bytes: 0 and the schema's id.
    Avro,
}

/// Where the schemas of Avro messages come from: a registry, behind a client of the caller's.
pub trait SchemaSource: Send {
    /// The schema that was registered under an id. May block; asked once per id, since ids never change
    /// their meaning.
    ///
    /// # Errors
    /// Whatever kind the client says: passed on as it is, and the message can be decoded again.
    fn schema(&mut self, id: u32) -> Result<WriterSchema>;
}

/// A registered Avro schema.
#[derive(Clone, Debug, Default)]
pub struct WriterSchema {
    /// The schema, JSON.
    pub schema: String,
    /// The schemas it refers to by name, JSON, each before those that refer to it.
    pub references: Vec<String>,
}

/// A table as the sink has it.
#[derive(Clone, Debug)]
pub struct Table {
    /// Its columns with their source types, and the columns that identify a row (empty: none do).
    pub schema: Arc<TableSchema>,
    /// Whether the source logs whole rows (`REPLICA IDENTITY FULL`): only then can other columns than those
    /// of the message key be taken from a `before` image, since else what they hold there is made up.
    pub whole_before: bool,
    /// Columns of the source that the table does without, whatever they are: those that its load left out.
    pub left_out: Vec<String>,
}
