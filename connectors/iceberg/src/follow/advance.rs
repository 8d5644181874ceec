//! One commit that applies a stretch of a log: the guard, and what the snapshot carries (P8–P14).
//!
//! What must hold: rows and the points of the log that they reach are committed together, on exactly the table
//! that the stretch was prepared for, or not at all; a commit that got through unseen is recognised.

use async_trait::async_trait;
use connector_api::{Error, Marks, Result, TableId};
use iceberg::TableIdent;
use iceberg::spec::{DataFile, FormatVersion, Operation, PartitionSpec, Schema};
use iceberg::table::Table;

use crate::commit::{Change, Decision, NewTable, Proposal, Site};
use crate::journal::Attempt;
use crate::position;

/// What is to be committed.
pub(super) struct Advance<'a> {
    pub(super) table: &'a TableId,
    pub(super) ident: &'a TableIdent,
    /// The table that it was prepared for; `None` for one that is to be made.
    pub(super) base: Option<&'a Table>,
    /// Where the table is or will be.
    pub(super) site: &'a Site,
    /// The writer generation that takes part: the table's when the lane was opened, and ours.
    pub(super) epochs: (i64, i64),
    /// How far the log is applied in the base, and with this commit.
    pub(super) marks: (&'a Marks, &'a Marks),
    pub(super) snapshot_id: i64,
    pub(super) add: Vec<DataFile>,
    pub(super) deletes: Vec<(i32, DataFile)>,
    /// Whether all that is in the table goes.
    pub(super) replace: bool,
    /// The schema of a new table, or the one that the table grows to.
    pub(super) schema: Option<Schema>,
    pub(super) format: FormatVersion,
    pub(super) spec: PartitionSpec,
    /// Properties besides the position.
    pub(super) properties: Vec<(String, String)>,
    pub(super) attempt: Attempt,
}

impl Advance<'_> {
    fn change(&self, base: Option<&Table>) -> Result<Change> {
        let metadata = base.map(Table::metadata);
        // The first snapshot of a new table.
        let sequence = metadata.map_or(1, |m| m.next_sequence_number());
        let (id, epoch) = (self.snapshot_id, self.epochs.1);
        let stamp = position::moved(metadata, self.marks.1, self.site.uuid, id, sequence, epoch)?;
        let mut properties = stamp.properties;
        properties.extend(self.properties.iter().cloned());
        let operation = match (self.add.is_empty(), self.deletes.is_empty() && !self.replace) {
            (_, true) => Operation::Append,
            (true, false) => Operation::Delete,
            (false, false) => Operation::Overwrite,
        };
        Ok(Change {
            snapshot_id: id,
            operation,
            add: self.add.clone(),
            deletes: self.deletes.clone(),
            replace: self.replace,
            format: self.format,
            spec: self.spec.clone(),
            schema: base.and(self.schema.clone()),
            properties,
            summary: stamp.summary,
            keep_snapshots: None,
            attempt: self.attempt.clone(),
            failpoint: "iceberg.follow.before-commit",
        })
    }
}

#[async_trait]
impl Proposal for Advance<'_> {
    async fn on(&mut self, now: Option<&Table>) -> Result<Decision> {
        self.attempt.on_base(now.and_then(|t| t.metadata().current_snapshot_id()));
        let of_table = |e: Error| e.with("table", self.table).with("name", self.ident);
        let again = |why: &str| Err(of_table(Error::retriable(why)));
        let (now, base) = match (now, self.base) {
            (Some(now), _) if position::has_commit(now.metadata(), self.snapshot_id) => return Ok(Decision::Done),
            (None, None) => {
                let schema = self.schema.clone().ok_or_else(|| Error::fatal("a new table without a schema"))?;
                let new = NewTable { site: self.site.clone(), schema, change: self.change(None)? };
                return Ok(Decision::Create(Box::new(new)));
            }
            (Some(_), None) => return again("the table was made by another writer meanwhile"),
            (None, Some(_)) => return Err(of_table(Error::data("the table was dropped while changes were applied"))),
            (Some(now), Some(base)) => (now, base),
        };
        let (metadata, prepared) = (now.metadata(), base.metadata());
        let epoch = position::epoch(metadata);
        if metadata.uuid() != prepared.uuid() {
            return Err(of_table(Error::data("the table was re-created while changes were applied")));
        }
        if epoch > self.epochs.1 && position::is_loaded_since(metadata, prepared) {
            return again("the table was loaded again while changes were applied");
        }
        if epoch > self.epochs.1 {
            let taken = Error::fatal("a newer instance has taken the table over: this one must not go on with it");
            return Err(of_table(taken.with("epoch", epoch)));
        }
        if epoch != self.epochs.0 || position::marks(metadata) != *self.marks.0 {
            return again("another instance applies changes to the table");
        }
        let same = metadata.current_snapshot_id() == prepared.current_snapshot_id()
            && metadata.current_schema_id() == prepared.current_schema_id()
            && metadata.default_partition_spec_id() == prepared.default_partition_spec_id();
        if !same {
            return again("another writer has changed the table");
        }
        Ok(Decision::Commit(Box::new(self.change(Some(now))?)))
    }
}
