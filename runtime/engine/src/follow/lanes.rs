//! Where each table stands that is followed, and what a failure of it leads to. Time comes in as an argument.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use connector_api::{Error, TableId};

use super::progress::{FollowProgress, FollowState};
use crate::retry::{Patience, Streak};

/// A table.
#[derive(Default)]
struct Lane {
    state: State,
    streak: Streak,
    /// Whether something of it was accepted that is not durable yet.
    pending: bool,
    /// The last checkpoint that moved it.
    moved_by: u64,
    error: Option<Arc<Error>>,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum State {
    #[default]
    Followed,
    /// It failed, and is to be opened again then.
    Resting(Instant),
    /// It failed for good.
    Stopped,
}

/// Every table that the log has spoken of.
pub(super) struct Lanes {
    patience: Patience,
    progress: Arc<FollowProgress>,
    /// Whose lanes they are.
    task: u32,
    lanes: BTreeMap<TableId, Lane>,
}

impl Lanes {
    pub(super) fn new(patience: Patience, progress: Arc<FollowProgress>, task: u32) -> Self {
        Self { patience, progress, task, lanes: BTreeMap::new() }
    }

    /// A session begins: every table that has not failed for good will be opened.
    pub(super) fn begin(&mut self) {
        for (table, lane) in self.lanes.iter_mut().filter(|(_, lane)| lane.state != State::Stopped) {
            (lane.state, lane.pending, lane.moved_by) = (State::Followed, false, 0);
            self.progress.enter(self.task, table, FollowState::Followed, lane.error.clone());
        }
    }

    /// The task has ended by an error: none of its tables is followed any more.
    pub(super) fn end(&self) {
        for (table, lane) in &self.lanes {
            self.progress.enter(self.task, table, FollowState::Failed, lane.error.clone());
        }
    }

    /// The log opens a table: whether it is to be followed.
    pub(super) fn open(&mut self, table: &TableId) -> bool {
        let lane = self.lanes.entry(table.clone()).or_default();
        if lane.state == State::Stopped {
            return false;
        }
        (lane.state, lane.pending) = (State::Followed, false);
        self.progress.enter(self.task, table, FollowState::Followed, lane.error.clone());
        true
    }

    /// Whether what comes of a table goes to the sink.
    pub(super) fn is_followed(&self, table: &TableId) -> bool {
        self.lanes.get(table).is_some_and(|lane| lane.state == State::Followed)
    }

    /// The sink has accepted changes of a table.
    pub(super) fn accepted(&mut self, table: &TableId, rows: u64) {
        self.progress.accepted(self.task, table, rows);
        if let Some(lane) = self.lanes.get_mut(table) {
            lane.pending = true;
        }
    }

    /// A checkpoint has moved a table. Whether that is news: an older one may be heard of later.
    pub(super) fn durable(&mut self, table: &TableId, checkpoint: u64) -> bool {
        let lane = self.lanes.entry(table.clone()).or_default();
        if lane.moved_by > checkpoint {
            return false;
        }
        (lane.moved_by, lane.pending, lane.streak) = (checkpoint, false, Streak::default());
        if lane.state == State::Followed {
            lane.error = None;
            self.progress.enter(self.task, table, FollowState::Followed, None);
        }
        true
    }

    /// A table has failed: whether it is opened again, after which wait.
    pub(super) fn failed(
        &mut self,
        table: &TableId,
        error: Arc<Error>,
        now: Instant,
        chance: f64,
    ) -> Option<std::time::Duration> {
        let lane = self.lanes.entry(table.clone()).or_default();
        let wait = match lane.state {
            State::Stopped => None,
            _ => lane.streak.failed(&self.patience, &error, now, !lane.pending, chance),
        };
        let (state, shown) = match wait {
            Some(wait) => (State::Resting(now + wait), FollowState::Resting),
            None => (State::Stopped, FollowState::Failed),
        };
        (lane.state, lane.pending) = (state, false);
        lane.error = Some(Arc::clone(&error));
        self.progress.enter(self.task, table, shown, Some(error));
        wait
    }

    /// How often in a row a table has failed.
    pub(super) fn failures(&self, table: &TableId) -> u32 {
        self.lanes.get(table).map_or(0, |lane| lane.streak.failures())
    }

    /// The tables that have rested long enough; they are followed again.
    pub(super) fn rested(&mut self, now: Instant) -> Vec<TableId> {
        let due = |lane: &&mut Lane| matches!(lane.state, State::Resting(until) if until <= now);
        let mut rested = Vec::new();
        for (table, lane) in self.lanes.iter_mut() {
            if due(&lane) {
                lane.state = State::Followed;
                rested.push(table.clone());
            }
        }
        rested
    }

    /// When the next table has rested long enough.
    pub(super) fn next_rested(&self) -> Option<Instant> {
        let until = |lane: &Lane| if let State::Resting(until) = lane.state { Some(until) } else { None };
        self.lanes.values().filter_map(until).min()
    }

    /// Whether everything that was accepted is durable.
    pub(super) fn all_durable(&self) -> bool {
        self.lanes.values().all(|lane| !lane.pending)
    }

    /// What is wrong with tables, a line each.
    pub(super) fn trouble(&self) -> Option<String> {
        let line = |(table, lane): (&TableId, &Lane)| {
            let error = lane.error.as_ref().filter(|_| lane.state != State::Followed)?;
            Some(format!("{table}: {error:#}"))
        };
        let lines: Vec<_> = self.lanes.iter().filter_map(line).collect();
        (!lines.is_empty()).then(|| lines.join("\n"))
    }
}
