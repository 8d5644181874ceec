//! Errors as the server says them.

use std::fmt;

/// An ORA- error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OraError {
    /// Its number.
    pub code: u32,
    /// Its text without number.
    pub message: String,
    /// Where in the statement, in characters.
    pub offset: u16,
}

impl OraError {
    /// An error with a text of its own.
    pub fn new(code: u32, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), offset: 0 }
    }

    /// An error that is found at a place in the statement.
    pub(crate) fn at(self, offset: usize) -> Self {
        Self { offset: offset.min(usize::from(u16::MAX)) as u16, ..self }
    }

    /// One of those that a test may ask for, in the server's own words.
    pub fn known(code: u32) -> Self {
        let message = match code {
            900 => "invalid SQL statement",
            907 => "missing right parenthesis",
            911 => "invalid character",
            923 => "FROM keyword not found where expected",
            933 => "SQL command not properly ended",
            936 => "missing expression",
            942 => "table or view does not exist",
            1001 => "invalid cursor",
            1008 => "not all variables bound",
            1013 => "user requested cancel of current operation",
            1017 => "invalid username/password; logon denied",
            1031 => "insufficient privileges",
            1403 => "no data found",
            1410 => "invalid ROWID",
            1466 => "unable to read data - table definition has changed",
            1476 => "divisor is equal to zero",
            1555 => "snapshot too old: rollback segment number 9 with name \"_SYSSMU9_1650507775$\" too small",
            1652 => "unable to extend temp segment by 128 in tablespace TEMP",
            1722 => "invalid number",
            3113 => "end-of-file on communication channel",
            3114 => "not connected to ORACLE",
            4031 => {
                "unable to allocate 4160 bytes of shared memory (\"shared pool\",\"unknown object\",\"sga heap(1,0)\",\"\")"
            }
            8180 => "no snapshot found based on specified time",
            8181 => "specified number is not a valid system change number",
            12514 => "TNS:listener does not currently know of service requested in connect descriptor",
            22922 => "nonexistent LOB value",
            28000 => "The account is locked.",
            _ => "internal error",
        };
        Self::new(code, message)
    }
}

impl fmt::Display for OraError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ORA-{:05}: {}", self.code, self.message)
    }
}

impl std::error::Error for OraError {}
