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
    /// By the task that follows each: a table that two of them were to follow is as the worse of the two.
    tables: Mutex<BTreeMap<(TableId, u32), FollowedTable>>,
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
        let mut tables: Vec<FollowedTable> = Vec::new();
        for known in self.lock().values() {
            match tables.last_mut().filter(|last| last.table == known.table) {
                None => tables.push(known.clone()),
                Some(last) => {
                    let changes = last.changes + known.changes;
                    if known.state > last.state {
                        last.clone_from(known);
                    }
                    last.changes = changes;
                }
            }
        }
        tables
    }

    /// How many tables are in each state.
    pub fn states(&self) -> BTreeMap<FollowState, u64> {
        let mut counts = BTreeMap::new();
        self.tables().iter().for_each(|table| *counts.entry(table.state).or_default() += 1);
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

    pub(super) fn enter(&self, task: u32, table: &TableId, state: FollowState, error: Option<Arc<Error>>) {
        let fresh = || FollowedTable { table: table.clone(), state, changes: 0, error: None };
        let mut tables = self.lock();
        let known = tables.entry((table.clone(), task)).or_insert_with(fresh);
        (known.state, known.error) = (state, error);
    }

    pub(super) fn accepted(&self, task: u32, table: &TableId, changes: u64) {
        if let Some(known) = self.lock().get_mut(&(table.clone(), task)) {
            known.changes += changes;
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(TableId, u32), FollowedTable>> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
