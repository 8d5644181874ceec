//! What can go wrong with PostgreSQL, and which [`Error`] kind it is: the one place that decides.
//!
//! A failure of the connection may pass; a complaint about rows or rights concerns one table; bad
//! credentials and everything unknown stop the connector. No message holds a secret: what the server says
//! is kept as the cause, and PostgreSQL does not repeat passwords.

use std::fmt;
use std::io;

use connector_api::{Error, ErrorKind};

/// Rows that the snapshot sees have been removed.
const SNAPSHOT_TOO_OLD: &str = "72000";

/// What an exchange with the server gave.
pub(crate) type Answer<T> = Result<T, Failure>;

/// Why an exchange with the server did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The connection broke or timed out.
    Io(io::Error),
    /// The server answered with an error.
    Server(ServerError),
    /// The other side does not speak the protocol as PostgreSQL does.
    Protocol(&'static str),
    /// Our own side ended the exchange, for this reason.
    Stopped(Error),
}

impl From<io::Error> for Failure {
    fn from(e: io::Error) -> Self {
        Self::Io(e)
    }
}

/// An `ErrorResponse`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServerError {
    /// The five characters of the SQLSTATE.
    pub(crate) code: String,
    message: String,
    detail: String,
    hint: String,
}

impl ServerError {
    /// Reads the body of an `ErrorResponse`: fields of a type byte and a C string.
    pub(crate) fn parse(body: &[u8]) -> Self {
        let mut error = Self::default();
        for field in body.split(|b| *b == 0) {
            let Some((kind, text)) = field.split_first() else { continue };
            let text = String::from_utf8_lossy(text).into_owned();
            match kind {
                b'C' => error.code = text,
                b'M' => error.message = text,
                b'D' => error.detail = text,
                b'H' => error.hint = text,
                _ => {}
            }
        }
        error
    }

    fn kind(&self) -> ErrorKind {
        let retriable = ErrorKind::Retriable { after: None };
        match self.code.as_str() {
            // A statement cancelled or timed out, the server stopping or not yet started, a lock not had in time.
            "57014" | "57P01" | "57P02" | "57P03" | "57P05" | "55P03" | "25P03" | "25P04" | "58030" => retriable,
            // A missing file; most internal errors met while reading are of a damaged table too.
            "58P01" => ErrorKind::Data,
            code => match code.get(..2) {
                // Connection, resources, serialization and deadlock (on a replica: a conflict with recovery).
                Some("08" | "53" | "40") => retriable,
                // Values; rights on and existence of what is read; limits; damage.
                Some("22" | "42" | "54" | "XX") => ErrorKind::Data,
                _ => ErrorKind::Fatal,
            },
        }
    }
}

impl ServerError {
    /// What an operator can do about errors that come back.
    fn remedy(&self) -> Option<&'static str> {
        match self.code.as_str() {
            SNAPSHOT_TOO_OLD => Some("ALTER SYSTEM SET old_snapshot_threshold = -1, and restart the server"),
            "40001" if self.message.contains("recovery") => {
                Some("on the replica: ALTER SYSTEM SET hot_standby_feedback = on; SELECT pg_reload_conf()")
            }
            "53300" => Some("lower parallel.workers and parallel.tables, or raise max_connections"),
            _ => None,
        }
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        for more in [&self.detail, &self.hint] {
            if !more.is_empty() {
                write!(f, "; {more}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for ServerError {}

impl Failure {
    /// The contract's error; `doing` completes "PostgreSQL failed while …".
    pub(crate) fn while_doing(self, doing: &'static str) -> Error {
        match self {
            Self::Io(e) if tls_trouble(&e).is_some() => {
                let what = tls_trouble(&e).unwrap_or_default();
                Error::fatal(format!("TLS with PostgreSQL failed while {doing}: {what}")).caused_by(e)
            }
            Self::Io(e) if matches!(e.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock) => {
                Error::retriable(format!("PostgreSQL did not answer in time while {doing}")).caused_by(e)
            }
            Self::Io(e) => {
                Error::retriable(format!("the connection to PostgreSQL was lost while {doing}")).caused_by(e)
            }
            Self::Server(e) => {
                let message = format!("PostgreSQL reported an error while {doing}");
                // Whoever asks again under the same snapshot is told the same.
                let error = match e.code.as_str() {
                    SNAPSHOT_TOO_OLD => Error::cut_lost(message),
                    _ => Error::new(e.kind(), message),
                };
                let error = match e.remedy() {
                    Some(remedy) => error.with("remedy", remedy),
                    None => error,
                };
                error.with("sqlstate", &e.code).caused_by(e)
            }
            Self::Protocol(what) => {
                Error::fatal(format!("the server broke the PostgreSQL protocol while {doing}")).with("what", what)
            }
            Self::Stopped(e) => e,
        }
    }

    /// Whether it is about TLS or its absence, so that a connection the other way may fare better.
    pub(crate) fn is_of_the_way(&self) -> bool {
        match self {
            Self::Io(e) => tls_trouble(e).is_some(),
            // Among others: no line of pg_hba.conf is for a connection of this kind.
            Self::Server(e) => e.code == "28000",
            _ => false,
        }
    }

    /// The SQLSTATE, if the server gave one.
    pub(crate) fn sqlstate(&self) -> Option<&str> {
        match self {
            Self::Server(e) => Some(&e.code),
            _ => None,
        }
    }
}

/// What to do about a TLS connection that one of the two sides does not want. A broken one may just have
/// been cut.
fn tls_trouble(e: &io::Error) -> Option<&'static str> {
    use rustls::CertificateError as C;
    Some(match e.get_ref()?.downcast_ref()? {
        rustls::Error::InvalidCertificate(C::UnknownIssuer) => {
            "the authority of the server's certificate is not in database.sslrootcert"
        }
        rustls::Error::InvalidCertificate(C::NotValidForName | C::NotValidForNameContext { .. }) => {
            "the server's certificate is not made out to database.hostname; verify-ca does not ask for that"
        }
        rustls::Error::InvalidCertificate(C::Expired | C::ExpiredContext { .. }) => {
            "the server's certificate has expired"
        }
        rustls::Error::InvalidCertificate(_) => "the server's certificate cannot be used",
        rustls::Error::AlertReceived(_) => "the server refuses; database.sslcert may be missing or not trusted there",
        rustls::Error::PeerIncompatible(_) | rustls::Error::NoCertificatesPresented => {
            "the server's TLS is older than 1.2 or otherwise unusable"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(code: &str) -> ErrorKind {
        let body = format!("SERROR\0C{code}\0Mno\0Dbecause\0Htry\0\0");
        let error = Failure::Server(ServerError::parse(body.as_bytes())).while_doing("testing");
        assert_eq!(error.context("sqlstate"), Some(code));
        assert!(format!("{error:#}").ends_with(": no; because; try"), "{error:#}");
        error.kind()
    }

    #[test]
    fn sqlstates_have_kinds() {
        for code in ["08006", "53300", "40001", "40P01", "57014", "57P01", "57P03", "55P03"] {
            assert!(matches!(check(code), ErrorKind::Retriable { .. }), "{code}");
        }
        for code in ["22021", "42501", "42P01", "54000", "58P01", "XX000", "XX001"] {
            assert_eq!(check(code), ErrorKind::Data, "{code}");
        }
        for code in ["28P01", "28000", "3D000", "57P04", "?"] {
            assert_eq!(check(code), ErrorKind::Fatal, "{code}");
        }
    }

    #[test]
    fn what_comes_back_names_its_remedy() {
        let error = |code: &str, message: &str| {
            let body = format!("C{code}\0M{message}\0\0");
            Failure::Server(ServerError::parse(body.as_bytes())).while_doing("reading rows")
        };
        let old = error("72000", "snapshot too old");
        assert!(old.is_cut_lost() && old.context("remedy").is_some_and(|r| r.contains("old_snapshot_threshold")));
        let conflict = error("40001", "canceling statement due to conflict with recovery");
        assert!(!conflict.is_cut_lost() && matches!(conflict.kind(), ErrorKind::Retriable { .. }));
        assert!(conflict.context("remedy").is_some_and(|r| r.contains("hot_standby_feedback")));
        assert_eq!(error("40001", "could not serialize access").context("remedy"), None);
    }

    #[test]
    fn a_lost_connection_may_come_back() {
        let e = Failure::Io(io::ErrorKind::ConnectionReset.into()).while_doing("testing");
        assert!(matches!(e.kind(), ErrorKind::Retriable { .. }));
        assert_eq!(Failure::Protocol("x").while_doing("testing").kind(), ErrorKind::Fatal);
        // Bytes that do not decrypt are a damaged connection; a certificate that is wrong stays wrong.
        let tls = |e: rustls::Error| Failure::Io(io::Error::new(io::ErrorKind::InvalidData, e));
        assert!(matches!(tls(rustls::Error::DecryptError).while_doing("testing").kind(), ErrorKind::Retriable { .. }));
        let unknown = tls(rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer));
        assert_eq!(unknown.while_doing("testing").kind(), ErrorKind::Fatal);
    }
}
