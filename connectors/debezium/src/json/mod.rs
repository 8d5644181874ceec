//! JSON as Kafka Connect's converter writes it.

pub(crate) mod pull;
pub(crate) mod read;
pub(crate) mod schemas;
