//! Sets the position that a table records back to the one of its rows, after somebody has rolled the table back (P11).
//!
//! What must hold: the position, and the columns, are those of the rows which are there, and of no others; like every other
//! that moves it, the commit makes a snapshot and ends older writers.

use std::sync::Arc;

use async_trait::async_trait;
use connector_api::{Error, Marks, Result, TableId};
use iceberg::TableIdent;
use iceberg::spec::{FormatVersion, Operation};
use iceberg::table::Table;

use crate::commit::{self, Change, Committer, Decision, Proposal, delete_best_effort, new_snapshot_id};
use crate::journal::{Attempt, Journal};
use crate::position;

/// Restores the position of a table to that of its snapshot `to`, which its rows are of; gives the position.
///
/// # Errors
/// `Data` when the rows are not that snapshot's, or its position is not known any more.
pub(crate) async fn restore(
    committer: &dyn Committer,
    journal: &Arc<Journal>,
    retries: u32,
    (table, ident): (&TableId, &TableIdent),
    to: i64,
) -> Result<Marks> {
    let snapshot_id = new_snapshot_id();
    let attempt = journal.attempt(snapshot_id, ident);
    let mut restoration = Restoration { table, to, snapshot_id, attempt: attempt.clone() };
    match commit::commit(committer, ident, retries, &mut restoration).await {
        Ok(committed) => {
            attempt.done();
            let (table, expired) = (committed.table, committed.expired_metadata);
            delete_best_effort(table.file_io(), expired.iter().map(String::as_str)).await;
            Ok(position::marks(table.metadata()))
        }
        Err(failure) => {
            if failure.certain {
                attempt.done();
            }
            Err(failure.error.with("table", table).with("name", ident))
        }
    }
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
        self.attempt.on_base(metadata.current_snapshot_id());
        if position::has_commit(metadata, self.snapshot_id) {
            return Ok(Decision::Done);
        }
        let marks = position::of_snapshot(metadata, self.table, self.to)?;
        // What comes again is of before the columns that have been added since: they are added again with it.
        let of_rows = metadata.current_snapshot().and_then(|snapshot| snapshot.schema_id());
        let of_rows = of_rows.filter(|id| *id != metadata.current_schema_id());
        let schema = of_rows.and_then(|id| metadata.schema_by_id(id)).map(|schema| schema.as_ref().clone());
        let (sequence, epoch) = (metadata.next_sequence_number(), position::epoch(metadata) + 1);
        let stamp = position::moved(Some(metadata), &marks, metadata.uuid(), self.snapshot_id, sequence, epoch)?;
        let mut properties = stamp.properties;
        if let Some(schema) = &schema {
            properties.extend(position::source_types(metadata, schema)?);
        }
        Ok(Decision::Commit(Box::new(Change {
            snapshot_id: self.snapshot_id,
            operation: Operation::Append,
            add: Vec::new(),
            deletes: Vec::new(),
            replace: false,
            format: FormatVersion::V2,
            spec: metadata.default_partition_spec().as_ref().clone(),
            schema,
            properties,
            summary: stamp.summary,
            keep_snapshots: None,
            attempt: self.attempt.clone(),
            failpoint: "iceberg.restore.before-commit",
        })))
    }
}
