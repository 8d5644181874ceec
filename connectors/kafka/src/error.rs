//! What can go wrong with Kafka, and which [`Error`] kind it is: the one place that decides.
//!
//! Wrong credentials and missing rights stop the connector; a wrong setting too; all else may pass, since a cluster
//! changes leaders, loses brokers and gets them back. No message holds a secret: librdkafka does not repeat them.

use connector_api::{Error, ErrorKind};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode as Code;

/// The kind of a client's or broker's error code.
pub(crate) fn kind(code: Option<Code>) -> ErrorKind {
    match code {
        Some(
            Code::SaslAuthenticationFailed
            | Code::Authentication
            | Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::UnsupportedSASLMechanism
            | Code::InvalidArgument
            | Code::Fatal,
        ) => ErrorKind::Fatal,
        _ => ErrorKind::Retriable { after: None },
    }
}

/// A client's error.
pub(crate) fn kafka(what: &str, error: KafkaError) -> Error {
    let kind = match &error {
        KafkaError::ClientConfig(..) | KafkaError::ClientCreation(_) => ErrorKind::Fatal,
        _ => kind(error.rdkafka_error_code()),
    };
    Error::new(kind, what).caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_stop_and_networks_pass() {
        let kind = |code| kafka("x", KafkaError::MetadataFetch(code)).kind();
        assert_eq!(kind(Code::SaslAuthenticationFailed), ErrorKind::Fatal);
        assert!(matches!(kind(Code::BrokerTransportFailure), ErrorKind::Retriable { .. }));
        assert!(matches!(kind(Code::NotLeaderForPartition), ErrorKind::Retriable { .. }));
    }
}
