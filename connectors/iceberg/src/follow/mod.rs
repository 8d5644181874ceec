//! Applies the changes of a log to tables (phase 2): each table is a lane of its own that gathers what comes,
//! folds it to one operation per key, and commits rows, position deletes and the points of the log that they
//! reach in one snapshot.
//!
//! What must hold: no equality deletes are ever written (P15); a commit is guarded by equality of the position
//! (P9). Must not know what a log is.

mod advance;
mod base;
mod config;
mod fold;
mod keyed;
mod keys;
mod lane;
mod prepare;
mod scan;
mod shared;
mod task;

use std::path::Path;
use std::sync::Arc;

use connector_api::TaskContext;

use crate::commit::Committer;
use crate::journal::Journal;
use crate::ledger::Ledger;
use crate::sink::Place;

pub(crate) use config::FollowConfig;
#[cfg(test)]
pub(crate) use keyed::compared;
pub(crate) use task::FollowTask;

/// A task; its indexes lie in `folder`.
pub(crate) fn task(
    place: Arc<Place>,
    committer: Arc<dyn Committer>,
    journal: Arc<Journal>,
    ledger: Ledger,
    folder: &Path,
    context: &TaskContext,
) -> FollowTask {
    FollowTask::new(shared::Shared::new(place, committer, journal, ledger, folder, context))
}
