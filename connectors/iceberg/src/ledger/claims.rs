//! Claims: which instance is loading which table, as `_cdc_status` says. A claim is a table's newest row while
//! that is `running`; it is its instance's for as long as the instance's `beat` moves.
//!
//! What must hold: a claim is made by a commit that is decided on the rows it adds to; clocks of two machines
//! are never compared. A claim that is lost, or granted twice, costs work and nothing else: what a reader sees
//! is decided where tables are published.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arrow_array::{BooleanArray, RecordBatch};
use arrow_schema::SchemaRef as ArrowSchemaRef;
use connector_api::{Result, TableId};
use iceberg::spec::Schema;

use super::rows::Rows;
use super::status::{Status, StatusRow, StatusRows, Told};

/// How often a claim is tried again at most: the load waits for it, and can do without.
const RETRIES: u32 = 6;

/// What this process knows of instances besides what the ledger says.
#[derive(Debug, Default)]
pub(crate) struct Sightings(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Each instance's last beat, and when it was first seen here.
    beats: HashMap<String, (i64, Instant)>,
    /// Those that have ended.
    ended: HashSet<String>,
}

impl Sightings {
    /// These instances have ended, whatever the ledger says.
    pub(crate) fn ended(&self, instances: impl IntoIterator<Item = String>) {
        self.lock().ended.extend(instances);
    }

    /// Whether an instance is known to have ended.
    fn has_ended(&self, instance: &str) -> bool {
        self.lock().ended.contains(instance)
    }

    /// Whether an instance with this beat counts as living: its beat has not stood still for so long.
    pub(super) fn lives(&self, instance: &str, beat: i64, patience: Duration, now: Instant) -> bool {
        let mut inner = self.lock();
        if inner.ended.contains(instance) {
            return false;
        }
        match inner.beats.get(instance) {
            Some((last, since)) if *last == beat => now.saturating_duration_since(*since) < patience,
            _ => {
                inner.beats.insert(instance.to_owned(), (beat, now));
                true
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A table to be claimed.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) table: TableId,
    /// The row that claims it. Its epoch is the least that the load will have.
    pub(super) row: StatusRow,
}

/// The rows of a claim, decided anew on every base.
pub(super) struct ClaimRows<'a> {
    pub(super) wanted: &'a [Wanted],
    pub(super) sightings: &'a Sightings,
    /// How long a beat may stand still.
    pub(super) patience: Duration,
    /// What is added: the claims granted, then the failures of those that have ended.
    pub(super) rows: StatusRows,
    /// How many of those are claims.
    pub(super) granted: usize,
    /// What other instances hold.
    pub(super) held: Vec<TableId>,
}

impl Rows for ClaimRows<'_> {
    fn name(&self) -> &'static str {
        self.rows.name()
    }

    fn schema(&self) -> Result<Schema> {
        self.rows.schema()
    }

    fn retries(&self, configured: u32) -> u32 {
        configured.min(RETRIES)
    }

    fn looks(&self) -> bool {
        true
    }

    fn look(&mut self, existing: &[RecordBatch]) -> bool {
        let now = Instant::now();
        let told = Told::of(existing);
        let ours = &self.rows.instance;
        // By the name in the lake: there two sources' tables may meet.
        let mut others: HashSet<&str> = HashSet::new();
        for (claim, beat) in told.claims().filter(|(claim, _)| claim.instance != *ours) {
            if self.sightings.lives(&claim.instance, beat, self.patience, now) {
                others.insert(&claim.target);
            }
        }
        self.rows.rows.clear();
        self.held.clear();
        for Wanted { table, row } in self.wanted {
            if row.target.as_deref().is_some_and(|target| others.contains(target)) {
                self.held.push(table.clone());
            } else {
                let epoch = row.epoch.max(told.epoch(&row.source, &row.table_name));
                self.rows.rows.push(StatusRow { epoch, ..row.clone() });
            }
        }
        self.granted = self.rows.rows.len();
        let is_wanted: HashSet<_> = self.wanted.iter().map(|w| (&w.row.source, &w.row.table_name)).collect();
        for (claim, _) in told.claims().filter(|(claim, _)| self.sightings.has_ended(&claim.instance)) {
            if !is_wanted.contains(&(&claim.source, &claim.table_name)) {
                self.rows.rows.push(claim.abandoned());
            }
        }
        !self.rows.rows.is_empty()
    }

    fn batch(&self, schema: &ArrowSchemaRef, sequence: i64) -> Result<RecordBatch> {
        self.rows.batch(schema, sequence)
    }

    fn keep(&self, existing: &[RecordBatch]) -> Vec<BooleanArray> {
        self.rows.keep(existing)
    }
}

/// Another instance's claim, as the ledger has it.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    pub(super) source: String,
    pub(super) table_name: String,
    /// The table's name in the lake.
    pub(super) target: String,
    pub(super) instance: String,
    pub(super) epoch: i64,
    pub(super) attempts: i32,
}

impl Claim {
    /// What the ledger is to say once its instance has ended.
    fn abandoned(&self) -> StatusRow {
        StatusRow {
            status: Status::Failed,
            epoch: self.epoch,
            attempts: self.attempts,
            error: Some("the process that was to load it ended before it did".to_owned()),
            target: Some(self.target.clone()),
            ..StatusRow::of_name(&self.source, &self.table_name)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_lives_while_its_beat_moves() {
        let (sightings, start, patience) = (Sightings::default(), Instant::now(), Duration::from_secs(10));
        let check = |beat, after| sightings.lives("x", beat, patience, start + Duration::from_secs(after));
        assert!(check(1, 0) && check(1, 9), "it was seen just now");
        assert!(!check(1, 10) && !check(1, 500), "its beat stands still");
        assert!(check(2, 501) && check(2, 510) && !check(2, 511));
        assert!(check(1, 512), "whatever it is, it moves");
        assert!(sightings.lives("y", 1, patience, start), "each for itself");
        sightings.ended(["x".to_owned()]);
        assert!(!check(3, 513));
        assert!(sightings.lives("y", 1, patience, start));
    }
}
