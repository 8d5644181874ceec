//! What a connector finds out about its surroundings before it works: what stands in the way, or will bite
//! later, each with the statement that removes it.

use std::fmt;

use crate::{Error, TableId};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It works, but not as well or not for as long as it should.
    Warning,
    /// The table, or without one the whole connector, cannot work.
    Blocking,
}

/// Something that should be otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The table it is about, if it is about one.
    pub table: Option<TableId>,
    /// What is wrong, in words.
    pub what: String,
    /// What removes it: a statement to run, or a key to set. Never holds a secret.
    pub remedy: String,
}

impl Finding {
    /// A finding about the whole connector.
    pub fn new(severity: Severity, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { severity, table: None, what: what.into(), remedy: remedy.into() }
    }

    /// The same finding about one table.
    #[must_use]
    pub fn on(mut self, table: &TableId) -> Self {
        self.table = Some(table.clone());
        self
    }

    /// A blocking finding made of an error; its context `remedy` says what to do.
    pub fn of_error(error: &Error) -> Self {
        Self::new(Severity::Blocking, format!("{error:#}"), error.context("remedy").unwrap_or_default())
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(table) = &self.table {
            write!(f, "{table}: ")?;
        }
        f.write_str(&self.what)?;
        if self.remedy.is_empty() { Ok(()) } else { write!(f, "; remedy: {}", self.remedy) }
    }
}
