//! What following has come to, shared between the engine and whoever looks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use connector_api::{Error, TableId};

use crate::progress::grouped;

/// How a table that is followed is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FollowState {
    /// Its changes are applied as they come.
    Followed,
    /// It failed, and will be opened again.
    Resting,
    /// It failed, and is left alone.
    Failed,
}

impl FollowState {
    /// The state in a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Followed => "followed",
            Self::Resting => "resting",
            Self::Failed => "failed",
        }
    }
}

/// A table that is followed.
#[derive(Clone, Debug)]
pub struct FollowedTable {
    /// The table.
    pub table: TableId,
    /// How it is.
    pub state: FollowState,
    /// Changes that the sink has accepted, those that came again included.
    pub changes: u64,
    /// Its last failure, unless something became durable after it.
    pub error: Option<Arc<Error>>,
}

/// What following one log has come to.
#[derive(Debug)]
pub struct FollowProgress {
    sink: Arc<str>,
    tables: Mutex<BTreeMap<TableId, FollowedTable>>,
}

impl FollowProgress {
    pub(crate) fn new(sink: Arc<str>) -> Self {
        Self { sink, tables: Mutex::default() }
    }

    /// Name of the sink connector.
    pub fn sink(&self) -> &str {
        &self.sink
    }

    /// Every table by name.
    pub fn tables(&self) -> Vec<FollowedTable> {
        self.lock().values().cloned().collect()
    }

    /// How many tables are in each state.
    pub fn states(&self) -> BTreeMap<FollowState, u64> {
        let mut counts = BTreeMap::new();
        self.lock().values().for_each(|table| *counts.entry(table.state).or_default() += 1);
        counts
    }

    /// A line for people: `3 tables followed, 1 failed, 1,234 changes`. It changes when there is something to say.
    pub fn line(&self) -> String {
        let states = self.states();
        let state = |(state, n): (&FollowState, &u64)| match state {
            FollowState::Followed => format!("{n} tables followed"),
            other => format!("{n} {}", other.as_str()),
        };
        let mut parts: Vec<_> = states.iter().map(state).collect();
        let changes: u64 = self.lock().values().map(|t| t.changes).sum();
        parts.push(format!("{} changes", grouped(changes)));
        parts.join(", ")
    }

    pub(super) fn enter(&self, table: &TableId, state: FollowState, error: Option<Arc<Error>>) {
        let mut tables = self.lock();
        match tables.get_mut(table) {
            Some(known) => (known.state, known.error) = (state, error),
            None => {
                tables.insert(table.clone(), FollowedTable { table: table.clone(), state, changes: 0, error });
            }
        }
    }

    pub(super) fn accepted(&self, table: &TableId, changes: u64) {
        if let Some(known) = self.lock().get_mut(table) {
            known.changes += changes;
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<TableId, FollowedTable>> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
