//! Sets the position that a table records back to the one of its rows, after somebody has rolled the table back (P11).
//!
//! What must hold: the position is that of the rows which are there, and of no others; like every other that moves it, the
//! commit makes a snapshot and ends older writers.

use async_trait::async_trait;
use connector_api::{Error, Marks, Result, TableId};
use iceberg::TableIdent;
use iceberg::spec::{FormatVersion, Operation};
use iceberg::table::Table;

use crate::commit::{self, Change, Committer, Decision, Proposal, new_snapshot_id};
use crate::journal::{Attempt, Journal};
use crate::position;

/// Restores the position of a table to that of its snapshot `to`, which its rows are of; gives the position.
///
/// # Errors
/// `Data` when the rows are not that snapshot's, or its position is not known any more.
pub(crate) async fn restore(
    committer: &dyn Committer,
    retries: u32,
    (table, ident): (&TableId, &TableIdent),
    to: i64,
) -> Result<Marks> {
    let snapshot_id = new_snapshot_id();
    // Its only files are those of metadata, which a commit that fails removes itself.
    let attempt = Journal::open(None, "").attempt(snapshot_id, ident);
    let mut restoration = Restoration { table, to, snapshot_id, attempt };
    let committed = commit::commit(committer, ident, retries, &mut restoration).await;
    let committed = committed.map_err(|failure| failure.error.with("table", table).with("name", ident))?;
    Ok(position::marks(committed.table.metadata()))
}

struct Restoration<'a> {
    table: &'a TableId,
    to: i64,
    snapshot_id: i64,
    attempt: Attempt,
}

#[async_trait]
impl Proposal for Restoration<'_> {
    async fn on(&mut self, now: Option<&Table>) -> Result<Decision> {
        let Some(now) = now else { return Err(Error::data("the table is not there")) };
        let metadata = now.metadata();
        if position::has_commit(metadata, self.snapshot_id) {
            return Ok(Decision::Done);
        }
        let marks = position::of_snapshot(metadata, self.table, self.to)?;
        let (sequence, epoch) = (metadata.next_sequence_number(), position::epoch(metadata) + 1);
        let stamp = position::moved(Some(metadata), &marks, metadata.uuid(), self.snapshot_id, sequence, epoch)?;
        Ok(Decision::Commit(Box::new(Change {
            snapshot_id: self.snapshot_id,
            operation: Operation::Append,
            add: Vec::new(),
            deletes: Vec::new(),
            replace: false,
            format: FormatVersion::V2,
            spec: metadata.default_partition_spec().as_ref().clone(),
            schema: None,
            properties: stamp.properties,
            summary: stamp.summary,
            keep_snapshots: None,
            attempt: self.attempt.clone(),
            failpoint: "iceberg.restore.before-commit",
        })))
    }
}
