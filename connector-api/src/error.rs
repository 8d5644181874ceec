//! The one error type that crosses the contract: what to do about it, what happened, and where.
//!
//! A connector classifies foreign errors in its own `error.rs`; there is no blanket `From`, so that
//! nobody decides "retriable" by accident. Secrets must never reach a message or a context value.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

/// A `Result` whose error is [`Error`] unless said otherwise.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the runtime does about an error. Matched exhaustively: three kinds, no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The same call may succeed later (network, conflict, timeout). The runtime drops the task, backs
    /// off (at least `after`, when known) and reopens it from the sink's progress.
    Retriable {
        /// How long the other side asked us to wait, if it did.
        after: Option<Duration>,
    },
    /// This data cannot be handled (a value out of range, an unsupported type). Retrying is useless;
    /// the table it belongs to stops and the others go on.
    Data,
    /// The task cannot go on (bad credentials, a stale writer, a bug). The connector stops.
    Fatal,
}

/// An error with its [`ErrorKind`], a message, `key=value` context and its cause.
///
/// `{error}` prints message and context; `{error:#}` adds the chain of causes.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    context: Vec<(&'static str, String)>,
    cut_lost: bool,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of the given kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, message: message.into(), context: Vec::new(), cut_lost: false, source: None }))
    }

    /// Something that may succeed when tried again. See [`ErrorKind::Retriable`].
    pub fn retriable(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Retriable { after: None }, message)
    }

    /// A source's word that the cut of its last plan cannot be read any more. It is `Retriable`, but not by
    /// opening a split again: every table that is not read to its end has to be planned anew.
    pub fn cut_lost(message: impl Into<String>) -> Self {
        let mut error = Self::retriable(message);
        error.0.cut_lost = true;
        error
    }

    /// Data that cannot be handled. See [`ErrorKind::Data`].
    pub fn data(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Data, message)
    }

    /// The task cannot go on. See [`ErrorKind::Fatal`].
    pub fn fatal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Fatal, message)
    }

    /// Adds `key=value` to the context: table, column, topic, partition, offset, file …
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        self.0.context.push((key, value.to_string()));
        self
    }

    /// Sets the cause.
    #[must_use]
    pub fn caused_by(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(cause.into());
        self
    }

    /// What to do about it.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether it was made by [`Error::cut_lost`]. A cause is not looked at.
    pub fn is_cut_lost(&self) -> bool {
        self.0.cut_lost
    }

    /// The message without context or causes.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The context value of that key, if set.
    pub fn context(&self, key: &str) -> Option<&str> {
        self.0.context.iter().find(|(k, _)| *k == key).map(|(_, v)| v.as_str())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        for (i, (key, value)) in self.0.context.iter().enumerate() {
            write!(f, "{}{key}={value}", if i == 0 { " [" } else { ", " })?;
        }
        if !self.0.context.is_empty() {
            f.write_str("]")?;
        }
        if f.alternate() {
            let mut cause = self.source();
            while let Some(e) = cause {
                write!(f, ": {e}")?;
                cause = e.source();
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self:#}", self.0.kind)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|e| e as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_message_context_and_causes() {
        let e = Error::data("value out of range")
            .with("table", "public.orders")
            .with("column", "total")
            .caused_by(std::io::Error::other("boom"));
        assert_eq!(e.to_string(), "value out of range [table=public.orders, column=total]");
        assert_eq!(format!("{e:#}"), "value out of range [table=public.orders, column=total]: boom");
        assert_eq!(e.context("column"), Some("total"));
        assert_eq!(e.kind(), ErrorKind::Data);
    }

    #[test]
    fn a_lost_cut_is_told_apart_and_stays_so() {
        let lost = Error::cut_lost("the holder is gone").with("split", "t/0");
        assert!(lost.is_cut_lost() && matches!(lost.kind(), ErrorKind::Retriable { after: None }));
        assert!(!Error::retriable("reset by peer").caused_by(lost).is_cut_lost());
    }
}
