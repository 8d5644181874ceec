//! The decoder held against messages as Debezium writes them, through its public face alone.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod events;
mod faults;
mod oracle;
mod recorded;
mod render;
mod schemas;
mod tables;
mod types;
