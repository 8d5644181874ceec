//! What can go wrong with Oracle, and which [`Error`] kind it is: the one place that decides.
//!
//! A failure of the connection may pass; a complaint about rows or rights concerns one table; bad credentials and
//! everything unknown stop the connector. No message holds a secret: what the server says is kept as the cause, and
//! Oracle does not repeat passwords. The numbers are those of Oracle's Error Messages Reference.

use std::fmt;

use connector_api::{Error, ErrorKind};

/// Undo no longer reaches back to the SCN.
pub(crate) const SNAPSHOT_TOO_OLD: u32 = 1555;
/// No such table, or no right to know of it.
pub(crate) const NO_TABLE: u32 = 942;

/// What an exchange with the server gave.
pub(crate) type Answer<T> = Result<T, Failure>;

/// Why an exchange with the server did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The server, or the listener before it, answered with an ORA- error.
    Server(ServerError),
    /// The connection broke, or an answer did not come in time.
    Lost(Cause),
    /// The connection cannot be made as it is configured: addresses, TLS, wallet.
    Setup(Cause),
    /// The driver itself failed: a bug of it, or a server that it does not understand.
    Driver(Cause),
    /// A value that the driver cannot hand over.
    Value(&'static str, Option<Cause>),
    /// The server answered in a way that we do not expect.
    Unexpected(&'static str),
    /// Our own side ended the exchange, for this reason.
    Stopped(Error),
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// An ORA- error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerError {
    /// Its number.
    pub(crate) code: u32,
    /// Its text, as the server has it.
    pub(crate) message: String,
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.message.trim() {
            message if message.contains("ORA-") => f.write_str(message),
            message => write!(f, "ORA-{:05}: {message}", self.code),
        }
    }
}

impl std::error::Error for ServerError {}

impl ServerError {
    fn kind(&self) -> ErrorKind {
        let retriable = ErrorKind::Retriable { after: None };
        match self.code {
            // Of the instance and of the way to it: sessions and processes used up, starting, stopping, not yet open,
            // killed, end of file, lost contact, inactive; the listener without a handler or a service just now.
            18
            | 20
            | 28
            | 600
            | 1012
            | 1013
            | 1033
            | 1034
            | 1089
            | 1090
            | 1092
            | 2396
            | 3113
            | 3114
            | 3135
            | 12152
            | 12170
            | 12516..=12520
            | 12528
            | 12537
            | 12541
            | 12543
            | 12547
            | 12570
            | 12571
            | 12609
            | 16000
            | 27101
            | 25408 => retriable,
            // Resources: a lock, temporary space, memory, time, undo.
            54 | 60 | 1652 | 4021 | 4030 | 4031 | 8177 | 30006 | SNAPSHOT_TOO_OLD => retriable,
            // What is read, and what it holds.
            904 | NO_TABLE | 980 | 1031 | 1410 | 1422 | 1426 | 1427 | 1446 | 1466 | 1476 | 1578 | 1722 | 1858
            | 1861 | 2149 | 2201 | 4043 | 4063 | 4098 | 8102 | 8103 | 8180 | 8181 | 8189 | 12801 | 14400 | 22924
            | 26040 | 28115 | 29285 | 29400 | 29913 | 31011 | 39181 | 40441 | 54013 => ErrorKind::Data,
            _ => ErrorKind::Fatal,
        }
    }

    /// What an operator can do about it.
    fn remedy(&self) -> Option<&'static str> {
        Some(match self.code {
            SNAPSHOT_TOO_OLD | 8180 => {
                "raise UNDO_RETENTION and the undo tablespace (ALTER TABLESPACE … RETENTION GUARANTEE), make chunks \
                 smaller by parallel.chunk.size, or read from a standby"
            }
            1466 => {
                "the table was altered, truncated, moved or shrunk after the SCN: run again with snapshot.scn=current"
            }
            8103 => "the table was truncated or moved while it was read: run again with snapshot.scn=current",
            8181 => "the SCN is not one of this database's: set snapshot.scn to current",
            NO_TABLE => "GRANT SELECT ON the object TO the user; `check` lists what is missing",
            1031 => "GRANT SELECT and FLASHBACK ON the table TO the user; `check` lists what is missing",
            1005 | 1017 => {
                "look at database.user and database.password; an account that has only an 11g verifier cannot log in \
                 with the driver thin: set its password again (ALTER USER … IDENTIFIED BY …), or use \
                 database.driver=oci"
            }
            28000 => "ALTER USER … ACCOUNT UNLOCK",
            28001 | 28002 => "the password has expired: ALTER USER … IDENTIFIED BY …",
            1045 => "GRANT CREATE SESSION TO the user",
            12154 => "the alias is not in tnsnames.ora: look at database.url and database.tns.admin",
            12514 | 12505 => {
                "the listener does not know that service: look at database.dbname or database.sid, and at \
                 `lsnrctl services` on the server"
            }
            12541 => "no listener: look at database.hostname and database.port",
            12660 | 12650 => {
                "the server wants native network encryption, which the driver thin lacks: use tcps, or \
                 database.driver=oci"
            }
            65011 => "there is no such pluggable database: look at database.pdb.name",
            65024 | 1109 => "ALTER PLUGGABLE DATABASE … OPEN",
            1652 => "temporary space is used up: lower parallel.workers and parallel.tables",
            18 | 20 | 12516 | 12518 | 12520 => {
                "sessions or processes are used up: lower parallel.workers and parallel.tables, or raise PROCESSES"
            }
            1013 => "the call took longer than database.call.timeout.ms",
            _ => return None,
        })
    }
}

impl Failure {
    /// A failure that the server reported.
    pub(crate) fn server(code: u32, message: impl Into<String>) -> Self {
        Self::Server(ServerError { code, message: message.into() })
    }

    /// The contract's error; `doing` completes "Oracle failed while …".
    pub(crate) fn while_doing(self, doing: &'static str) -> Error {
        match self {
            Self::Server(e) => {
                let error = Error::new(e.kind(), format!("Oracle reported an error while {doing}"));
                let error = match e.remedy() {
                    Some(remedy) => error.with("remedy", remedy),
                    None => error,
                };
                error.with("code", format_args!("ORA-{:05}", e.code)).caused_by(e)
            }
            Self::Lost(cause) => {
                Error::retriable(format!("the connection to Oracle was lost while {doing}")).caused_by(cause)
            }
            Self::Setup(cause) => {
                Error::fatal(format!("Oracle cannot be reached as configured, while {doing}")).caused_by(cause)
            }
            Self::Driver(cause) => Error::fatal(format!("Oracle's driver failed while {doing}")).caused_by(cause),
            Self::Value(what, cause) => {
                let error = Error::data(what);
                match cause {
                    Some(cause) => error.caused_by(cause),
                    None => error,
                }
            }
            Self::Unexpected(what) => {
                Error::fatal(format!("Oracle answered in an unexpected way while {doing}")).with("what", what)
            }
            Self::Stopped(e) => e,
        }
    }

    /// The ORA- number, if there is one.
    pub(crate) fn code(&self) -> Option<u32> {
        match self {
            Self::Server(e) => Some(e.code),
            _ => None,
        }
    }

    /// Whether the object is not there for this user: it is missing, or its right is.
    pub(crate) fn is_missing_right(&self) -> bool {
        matches!(self.code(), Some(NO_TABLE | 1031 | 904 | 6550 | 201))
    }

    /// Whether the SCN cannot be read at any more: undo is gone, or the database has forgotten it.
    pub(crate) fn is_expired_scn(&self) -> bool {
        matches!(self.code(), Some(SNAPSHOT_TOO_OLD | 8180 | 8181))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(code: u32) -> (ErrorKind, Option<String>) {
        let error = Failure::server(code, "no").while_doing("testing");
        assert_eq!(error.context("code"), Some(format!("ORA-{code:05}").as_str()));
        assert!(format!("{error:#}").ends_with(&format!(": ORA-{code:05}: no")), "{error:#}");
        (error.kind(), error.context("remedy").map(str::to_owned))
    }

    #[test]
    fn numbers_have_kinds() {
        for code in [3113, 3135, 1089, 12541, 12518, 1555, 60, 1013] {
            assert!(matches!(check(code).0, ErrorKind::Retriable { .. }), "{code}");
        }
        for code in [942, 1031, 1466, 8103, 1722, 904, 8180] {
            assert_eq!(check(code).0, ErrorKind::Data, "{code}");
        }
        for code in [1017, 1045, 12514, 12154, 28000, 65011, 99999] {
            assert_eq!(check(code).0, ErrorKind::Fatal, "{code}");
        }
    }

    #[test]
    fn what_an_operator_can_do_is_said() {
        for (code, says) in [
            (1555, "UNDO_RETENTION"),
            (1466, "snapshot.scn=current"),
            (942, "GRANT SELECT"),
            (1031, "FLASHBACK"),
            (1017, "11g verifier"),
            (12514, "database.dbname"),
            (12154, "tnsnames.ora"),
            (28001, "IDENTIFIED BY"),
            (12660, "database.driver=oci"),
        ] {
            assert!(check(code).1.is_some_and(|remedy| remedy.contains(says)), "{code}");
        }
        assert_eq!(check(99999).1, None);
    }

    #[test]
    fn a_lost_connection_may_come_back_and_a_wrong_one_will_not() {
        let cause = || Box::from("x");
        assert!(matches!(Failure::Lost(cause()).while_doing("testing").kind(), ErrorKind::Retriable { .. }));
        assert_eq!(Failure::Setup(cause()).while_doing("testing").kind(), ErrorKind::Fatal);
        assert_eq!(Failure::Driver(cause()).while_doing("testing").kind(), ErrorKind::Fatal);
        assert_eq!(Failure::Value("x", None).while_doing("testing").kind(), ErrorKind::Data);
    }
}
