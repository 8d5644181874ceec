//! What a task counts of its commits; the runtime counts its rows.

use connector_api::{Counter, Metrics};

/// Commits to data tables, and what they brought.
pub(crate) struct Counters {
    pub(crate) bytes: Counter,
    pub(crate) commits: Counter,
    pub(crate) files: Counter,
}

impl Counters {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self {
            bytes: metrics.counter("iceberg_committed_data_bytes", "Bytes of data files committed"),
            commits: metrics.counter("iceberg_commits", "Commits to data tables"),
            files: metrics.counter("iceberg_committed_data_files", "Data files committed"),
        }
    }
}
