//! The one place that commits to Iceberg tables: load fresh → guard → stage → send → on a conflict again.
//!
//! What must hold: the guard sees every base that is staged on; after an unknown outcome the table is read
//! again and nothing the commit refers to is deleted. Must not know what a load or a ledger is.

mod committer;
#[cfg(feature = "rest")]
mod rest;
mod sql;
mod stage;

use std::time::Duration;

use async_trait::async_trait;
use connector_api::{Error, Result};
use iceberg::TableIdent;
use iceberg::io::FileIO;
use iceberg::table::Table;
use uuid::Uuid;

pub(crate) use committer::{Committer, SendError, Site};
#[cfg(feature = "rest")]
pub(crate) use rest::RestCommitter;
pub(crate) use sql::SqlCommitter;
pub(crate) use stage::{Change, NewTable, Staged, new_snapshot_id, now_ms};

/// The longest wait between two attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// What to do on a base.
pub(crate) enum Decision {
    /// The commit is already in the table.
    Done,
    /// Make the table.
    Create(Box<NewTable>),
    /// Make a snapshot on this base.
    Commit(Box<Change>),
}

/// What is to be committed, decided anew on every base.
#[async_trait]
pub(crate) trait Proposal: Send {
    /// Looks at the table as it is now (the guard). An error ends the commit.
    async fn on(&mut self, base: Option<&Table>) -> Result<Decision>;
}

/// A commit's outcome.
pub(crate) struct Committed {
    /// The table with the commit in it.
    pub(crate) table: Table,
    /// Metadata files that the table's log no longer lists.
    pub(crate) expired_metadata: Vec<String>,
}

/// Why nothing was committed, or perhaps was.
#[derive(Debug)]
pub(crate) struct CommitFailure {
    /// What happened.
    pub(crate) error: Error,
    /// Whether it is certain that the commit is not, and will not be, in the table: only then may the
    /// files it refers to be deleted.
    pub(crate) certain: bool,
}

/// Commits, with so many retries after conflicts, lost answers and passing trouble.
pub(crate) async fn commit(
    committer: &dyn Committer,
    table: &TableIdent,
    retries: u32,
    proposal: &mut dyn Proposal,
) -> Result<Committed, CommitFailure> {
    let mut certain = true;
    let mut attempt = 0;
    loop {
        let error = match once(committer, table, proposal).await {
            Ok(committed) => return Ok(committed),
            Err(Attempt::End(error)) => return Err(CommitFailure { error, certain }),
            Err(Attempt::Again(error)) => error,
            Err(Attempt::Unknown(error)) => {
                certain = false;
                error
            }
        };
        if attempt >= retries {
            return Err(CommitFailure { error: error.with("attempts", attempt + 1), certain });
        }
        tokio::time::sleep(wait(attempt, Uuid::new_v4().as_u128())).await;
        attempt += 1;
    }
}

enum Attempt {
    Again(Error),
    Unknown(Error),
    End(Error),
}

async fn once(
    committer: &dyn Committer,
    table: &TableIdent,
    proposal: &mut dyn Proposal,
) -> Result<Committed, Attempt> {
    let base = committer.load(table).await.map_err(passing)?;
    let (staged, base) = match (proposal.on(base.as_ref()).await.map_err(Attempt::End)?, base) {
        (Decision::Done, Some(table)) => return Ok(Committed { table, expired_metadata: Vec::new() }),
        (Decision::Create(new), None) => (stage::stage_create(&new).await.map_err(passing)?, None),
        (Decision::Commit(change), Some(base)) => (stage::stage(&base, &change).await.map_err(passing)?, Some(base)),
        _ => return Err(Attempt::End(Error::fatal("a decision that does not fit the table").with("table", table))),
    };
    let sent = match &base {
        None => committer.create(table, &staged).await,
        Some(base) => committer.send(base, &staged).await,
    };
    match sent {
        Ok(table) => Ok(Committed { expired_metadata: expired_metadata(base.as_ref(), &table), table }),
        Err(SendError::Unknown(e)) => Err(Attempt::Unknown(e)),
        Err(SendError::Again(e)) => {
            discard(&staged).await;
            Err(Attempt::Again(e))
        }
        Err(SendError::Failed(e)) => {
            discard(&staged).await;
            Err(passing(e))
        }
    }
}

/// Trouble that may pass is tried again, anything else ends the commit.
fn passing(e: Error) -> Attempt {
    match e.kind() {
        connector_api::ErrorKind::Retriable { .. } => Attempt::Again(e),
        connector_api::ErrorKind::Data | connector_api::ErrorKind::Fatal => Attempt::End(e),
    }
}

/// What the log of the base lists and that of its successor, which the catalog may have written, does not.
fn expired_metadata(base: Option<&Table>, now: &Table) -> Vec<String> {
    let log = |table: &Table| -> Vec<String> {
        table.metadata().metadata_log().iter().map(|entry| entry.metadata_file.clone()).collect()
    };
    let kept = log(now);
    base.map(log).unwrap_or_default().into_iter().filter(|file| !kept.contains(file)).collect()
}

async fn discard(staged: &Staged) {
    delete_best_effort(&staged.storage, staged.written.iter().map(String::as_str)).await;
}

/// Doubling from 50 ms, with up to as much again by chance so that two writers fall out of step.
fn wait(attempt: u32, chance: u128) -> Duration {
    let base = Duration::from_millis(50).saturating_mul(1 << attempt.min(10)).min(LONGEST_WAIT);
    base + base.mul_f64(f64::from((chance & 0xffff) as u16) / 65536.0)
}

/// Deletes files that nothing refers to. One that stays costs space only.
pub(crate) async fn delete_best_effort<'a>(storage: &FileIO, paths: impl IntoIterator<Item = &'a str> + Send) {
    let paths: Vec<&str> = paths.into_iter().collect();
    for path in paths {
        if let Err(e) = storage.delete(path).await {
            tracing::debug!(path, error = %e, "an unreferenced file stays behind");
        }
    }
}
