//! Avro behind Confluent's five bytes.

pub(crate) mod read;
pub(crate) mod schema;
pub(crate) mod step;
pub(crate) mod varint;
