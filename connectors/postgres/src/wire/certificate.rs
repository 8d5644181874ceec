//! What has to be known of a certificate beyond what rustls tells: the hash that binds a login to it, its
//! validity, its common name. Pure; foreign bytes are `None` at worst.

use std::time::Duration;

use sha2::{Digest, Sha256, Sha384, Sha512};
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::der::asn1::{ObjectIdentifier, PrintableStringRef, TeletexStringRef, Utf8StringRef};

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// `tls-server-end-point` (RFC 5929): the certificate's hash under its signature's hash function. `None` for
/// signatures that have none (Ed25519) or keep it in their parameters (RSA-PSS).
pub(super) fn end_point(der: &[u8]) -> Option<Vec<u8>> {
    let algorithm = Certificate::from_der(der).ok()?.signature_algorithm.oid.to_string();
    Some(match algorithm.as_str() {
        // MD5 and SHA-1, of RSA and ECDSA, count as SHA-256.
        "1.2.840.113549.1.1.4" | "1.2.840.113549.1.1.5" | "1.2.840.10045.4.1" => Sha256::digest(der).to_vec(),
        "1.2.840.113549.1.1.11" | "1.2.840.10045.4.3.2" => Sha256::digest(der).to_vec(),
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" => Sha384::digest(der).to_vec(),
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" => Sha512::digest(der).to_vec(),
        _ => return None,
    })
}

/// Whether it is valid at a time, counted from 1970.
pub(super) fn in_force(der: &[u8], now: Duration) -> Option<bool> {
    let validity = Certificate::from_der(der).ok()?.tbs_certificate.validity;
    Some(validity.not_before.to_unix_duration() <= now && now <= validity.not_after.to_unix_duration())
}

/// Whether a certificate without alternative names is made out to this host by its common name, which
/// PostgreSQL's own instructions still do. A leading `*` stands for one label.
pub(super) fn is_called(der: &[u8], host: &str) -> Option<bool> {
    let subject = Certificate::from_der(der).ok()?.tbs_certificate.subject;
    let mut names = subject.0.iter().flat_map(|part| part.0.iter()).filter(|name| name.oid == COMMON_NAME);
    let name = names.next_back()?;
    let text = |value: &x509_cert::der::Any| {
        let utf8 = value.decode_as::<Utf8StringRef<'_>>().map(|s| s.as_str().to_owned());
        let printable = || value.decode_as::<PrintableStringRef<'_>>().map(|s| s.as_str().to_owned());
        let teletex = || value.decode_as::<TeletexStringRef<'_>>().map(|s| s.as_str().to_owned());
        utf8.or_else(|_| printable()).or_else(|_| teletex()).ok()
    };
    Some(matches(&text(&name.value)?, host))
}

fn matches(name: &str, host: &str) -> bool {
    let wild = name.strip_prefix("*.").filter(|rest| rest.contains('.'));
    match (wild, host.split_once('.')) {
        (Some(rest), Some((label, tail))) => !label.is_empty() && rest.eq_ignore_ascii_case(tail),
        (Some(_), None) => false,
        (None, _) => name.eq_ignore_ascii_case(host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names() {
        for (name, host, is) in [
            ("db.example.org", "DB.example.org", true),
            ("db.example.org", "db.example.com", false),
            ("*.example.org", "db.example.org", true),
            ("*.example.org", "a.db.example.org", false),
            ("*.example.org", "example.org", false),
            ("*.example.org", ".example.org", false),
            ("*.org", "example.org", false),
            ("*", "db", false),
            ("127.0.0.1", "127.0.0.1", true),
        ] {
            assert_eq!(matches(name, host), is, "{name} {host}");
        }
    }

    proptest! {
        #[test]
        fn garbage_is_no_certificate(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(end_point(&bytes), None);
            prop_assert_eq!(in_force(&bytes, Duration::ZERO), None);
            prop_assert_eq!(is_called(&bytes, "db"), None);
        }
    }
}
