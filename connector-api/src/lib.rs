//! The contract between connectors and the runtime.
//!
//! Write a connector by implementing [`Connector`] with a [`Source`] or a [`Sink`]. The runtime owns
//! every loop, queue, retry and stop; a connector reads or writes and says where it stands. This crate
//! knows no driver, no runtime and no connector.

mod change;
pub mod config;
mod connector;
mod context;
mod error;
pub mod failpoint;
mod position;
mod schema;
mod sink;
mod source;
#[cfg(feature = "testing")]
pub mod testing;

pub use change::{ChangeBatch, Cut, Event, LoadEvent, TableLoad};
pub use config::Secret;
pub use connector::{Connector, ConnectorConfig, Plugin, Role};
pub use context::{CancellationToken, Counter, Gauge, Metric, Metrics, TaskContext};
pub use error::{Error, ErrorKind, Result};
pub use position::{Loaded, Position, Progress, Span, Tracker};
pub use schema::{Column, TableId, TableSchema, UTC, instant};
pub use sink::{Checkpoint, CommitHandle, Sink, SinkTask};
pub use source::{Plan, Source, SourceTask, Split, SplitId, TablePlan};
