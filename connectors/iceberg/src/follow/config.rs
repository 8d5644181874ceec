//! The keys that say how changes are gathered and committed.

use std::time::Duration;

use connector_api::config::{ConfigDef, Kind, Problem, Values};

const INTERVAL: &str = "iceberg.control.commit.interval-ms";
const MAX_BYTES: &str = "commit.max.bytes";
const MAX_ROWS: &str = "commit.max.rows";
const POSITION_INTERVAL: &str = "position.commit.interval-ms";
const INDEX_MEMORY: &str = "index.memory.max";

/// How changes are gathered and committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FollowConfig {
    /// Time between commits.
    pub(crate) interval: Duration,
    /// A table's changes are committed earlier once they hold so many bytes of rows.
    pub(crate) max_bytes: usize,
    /// Or once they are so many.
    pub(crate) max_rows: usize,
    /// How long progress without rows may wait for a commit.
    pub(crate) position_interval: Duration,
    /// Bytes of memory that the key indexes of all tables may take.
    pub(crate) index_memory: usize,
}

impl FollowConfig {
    /// Adds the keys.
    pub(crate) fn define(definition: ConfigDef) -> ConfigDef {
        definition
            .defaulted(
                INTERVAL,
                Kind::Millis,
                "300000",
                "Time between commits of a stream; a load commits each table once, when it is complete",
            )
            .defaulted(
                MAX_BYTES,
                Kind::Bytes,
                "64MiB",
                "A stream's changes of one table are committed earlier once their rows take so much memory",
            )
            .defaulted(
                MAX_ROWS,
                Kind::Int(1, i64::MAX),
                "1000000",
                "A stream's changes of one table are committed earlier once they are so many",
            )
            .defaulted(
                POSITION_INTERVAL,
                Kind::Millis,
                "300000",
                "How long a stream's progress that changes no row of a table may wait for a commit of the table",
            )
            .defaulted(
                INDEX_MEMORY,
                Kind::Bytes,
                "64MiB",
                "Memory that the key indexes of all tables may take; the indexes themselves lie in state.dir",
            )
    }

    /// Reads the keys; what is wrong is added to the problems.
    pub(crate) fn from_values(values: &Values, problems: &mut Vec<Problem>) -> Self {
        for key in [INTERVAL, POSITION_INTERVAL] {
            if values.millis(key).is_zero() {
                problems.push(Problem::new(key, "must be at least 1"));
            }
        }
        for (key, least) in [(MAX_BYTES, 64 << 10), (INDEX_MEMORY, 1 << 20)] {
            if values.count(key) < least {
                problems.push(Problem::new(key, format!("must be at least {} KiB", least >> 10)));
            }
        }
        Self {
            interval: values.millis(INTERVAL),
            max_bytes: values.count(MAX_BYTES),
            max_rows: values.count(MAX_ROWS),
            position_interval: values.millis(POSITION_INTERVAL),
            index_memory: values.count(INDEX_MEMORY),
        }
    }
}
