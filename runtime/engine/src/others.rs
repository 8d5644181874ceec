//! What other instances do with this load's tables: which they are loading now, and what they have published
//! since it began. Pure but for a line in the log.
//!
//! What must hold: a table is another instance's for one round at most, then the sink is asked again; what was
//! in the sink before a load that replaces is never taken for its outcome.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use connector_api::{Claims, Loaded, Progress, TableId};
use tracing::info;

/// The other instances as far as this load knows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Others {
    held: BTreeSet<TableId>,
    again: Duration,
    /// Of which it was said already.
    told: BTreeSet<TableId>,
    /// The commits that the tables to be replaced had when the load began; `None` before that is known, and
    /// for a load that replaces nothing.
    before: Option<BTreeMap<TableId, String>>,
}

impl Others {
    /// A round begins.
    pub(crate) fn clear(&mut self) {
        self.held.clear();
    }

    /// Leaves to them what they hold, until the end of the round.
    pub(crate) fn leave(&mut self, claims: Claims) {
        let fresh: Vec<_> = claims.held.iter().filter(|table| !self.told.contains(table)).cloned().collect();
        if let Some(first) = fresh.first() {
            let message = "another instance is loading tables: they are left to it, and looked at again at the end";
            info!(tables = fresh.len(), first = %first, "{message}");
        }
        self.told.extend(fresh);
        (self.held, self.again) = (claims.held.into_iter().collect(), claims.again);
    }

    /// Whether they are loading this table.
    pub(crate) fn hold(&self, table: &TableId) -> bool {
        self.held.contains(table)
    }

    /// How long to wait before the sink is asked again; `None` if they hold nothing.
    pub(crate) fn wait(&self) -> Option<Duration> {
        (!self.held.is_empty()).then_some(self.again)
    }

    /// Remembers what is to be replaced, as it is when the load begins. Only the first call counts.
    pub(crate) fn replace(&mut self, held: &Progress) {
        let commits = || held.tables().map(|(table, loaded)| (table.clone(), loaded.commit.clone())).collect();
        self.before.get_or_insert_with(commits);
    }

    /// What of this is an outcome of the load, be it this instance's or another's: all of it, or of tables to
    /// be replaced what was published since.
    pub(crate) fn outcomes(&self, mut held: Progress) -> Progress {
        if let Some(before) = &self.before {
            held.retain(|table, Loaded { commit, .. }| before.get(table) != Some(commit));
        }
        held
    }
}
