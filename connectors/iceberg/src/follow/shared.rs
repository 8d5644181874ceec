//! What the lanes of a task have in common.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use connector_api::{Applied, Error, Marks, TableId, TaskContext};
use tokio::sync::Notify;
use uuid::Uuid;

use crate::commit::Committer;
use crate::counters::Counters;
use crate::journal::Journal;
use crate::ledger::Ledger;
use crate::sink::Place;
use crate::writer::Budget;

/// What lanes need.
pub(super) struct Shared {
    pub(super) place: Arc<Place>,
    pub(super) committer: Arc<dyn Committer>,
    pub(super) journal: Arc<Journal>,
    pub(super) ledger: Ledger,
    /// Memory of the files being written.
    pub(super) budget: Budget,
    pub(super) room: Room,
    pub(super) counters: Counters,
    folder: PathBuf,
    applied: Mutex<Applied>,
}

impl Shared {
    /// `folder` is where indexes lie.
    pub(super) fn new(
        place: Arc<Place>,
        committer: Arc<dyn Committer>,
        journal: Arc<Journal>,
        ledger: Ledger,
        folder: &Path,
        context: &TaskContext,
    ) -> Self {
        Self {
            place,
            committer,
            journal,
            ledger,
            // A half each: rows wait in one, and are encoded in the other.
            budget: Budget::new(context.memory / 2),
            room: Room::new(context.memory / 2),
            counters: Counters::new(&context.metrics),
            folder: folder.to_owned(),
            applied: Mutex::default(),
        }
    }

    /// Where the index of a table lies.
    pub(super) fn index_folder(&self, table: Uuid) -> PathBuf {
        self.folder.join(table.to_string())
    }

    /// Memory for one more index: half of what is left, and never less than it can work with.
    pub(super) fn index_share(&self) -> Share {
        let halve = |left: usize| Some(left - left / 2);
        let pool = Arc::clone(&self.place.index_memory);
        let left = pool.fetch_update(Ordering::AcqRel, Ordering::Acquire, halve).unwrap_or_default();
        Share { bytes: left / 2, pool }
    }

    /// Notes that a table is durable up to there.
    pub(super) fn durable(&self, table: &TableId, marks: Marks) {
        let mut applied = self.applied();
        applied.durable.retain(|(known, _)| known != table);
        applied.durable.push((table.clone(), marks));
    }

    /// Notes that a table failed.
    pub(super) fn failed(&self, table: &TableId, error: Error) {
        let error = if error.context("table").is_some() { error } else { error.with("table", table) };
        self.applied().failed.push((table.clone(), error));
    }

    /// What was noted since the last call.
    pub(super) fn take_applied(&self) -> Applied {
        std::mem::take(&mut *self.applied())
    }

    /// Whether a failure was noted since then.
    pub(super) fn has_failed(&self) -> bool {
        !self.applied().failed.is_empty()
    }

    /// Whether anything was noted since then.
    pub(super) fn has_applied(&self) -> bool {
        let applied = self.applied();
        !(applied.durable.is_empty() && applied.failed.is_empty())
    }

    fn applied(&self) -> MutexGuard<'_, Applied> {
        self.applied.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Memory that an index has taken; given back with it.
pub(super) struct Share {
    bytes: usize,
    pool: Arc<AtomicUsize>,
}

/// An index cannot do with less.
const LEAST_INDEX: usize = 1 << 20;

impl Share {
    /// How much it is, bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.max(LEAST_INDEX)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.pool.fetch_add(self.bytes, Ordering::AcqRel);
    }
}

/// Bytes of rows that may wait, over all tables.
pub(super) struct Room {
    limit: usize,
    held: AtomicUsize,
    freed: Notify,
}

impl Room {
    fn new(limit: usize) -> Self {
        Self { limit, held: AtomicUsize::new(0), freed: Notify::new() }
    }

    /// Whether so many bytes more fit. Into an empty room anything does.
    pub(super) fn fits(&self, bytes: usize) -> bool {
        let held = self.held.load(Ordering::Acquire);
        held == 0 || held + bytes <= self.limit
    }

    /// Takes bytes in.
    pub(super) fn take(&self, bytes: usize) {
        self.held.fetch_add(bytes, Ordering::AcqRel);
    }

    /// Lets bytes go.
    pub(super) fn free(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::AcqRel);
        self.freed.notify_one();
    }

    /// Waits until something was let go since the last wait.
    pub(super) async fn freed(&self) {
        self.freed.notified().await;
    }
}
