//! `_cdc_status`: one row per state a table's load went through, newest by (epoch, sequence).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Int32Array, Int64Array, MapArray, RecordBatch, StringArray, StructArray,
    TimestampMicrosecondArray, new_null_array,
};
use arrow_buffer::OffsetBuffer;
use arrow_schema::{ArrowError, DataType, SchemaRef as ArrowSchemaRef};
use connector_api::{Error, Marks, Result, TableId, TableLoad, UTC};
use iceberg::spec::{MapType, NestedField, PrimitiveType, Schema, Type};

use super::claims::{Claim, Sightings};
use super::rows::{Rows, column, required};
use crate::names;
use crate::position::{self, Loaded};

/// What became of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Running,
    Completed,
    Failed,
}

impl Status {
    fn name(self) -> &'static str {
        match self {
            Status::Running => "running",
            Status::Completed => "completed",
            Status::Failed => "failed",
        }
    }
}

/// A row of the ledger.
#[derive(Clone, Debug)]
pub(crate) struct StatusRow {
    /// Source connector; empty if the table was refused before it was known.
    pub(crate) source: String,
    /// `schema.table` of the source.
    pub(crate) table_name: String,
    pub(crate) status: Status,
    pub(crate) chunks_done: Option<i32>,
    pub(crate) chunks_total: Option<i32>,
    pub(crate) rows: Option<i64>,
    pub(crate) position_type: Option<String>,
    pub(crate) load_position: Option<String>,
    pub(crate) snapshot_id: Option<i64>,
    /// Writer generation of the attempt.
    pub(crate) epoch: i64,
    pub(crate) attempts: i32,
    pub(crate) error: Option<String>,
    /// Milliseconds since 1970; none if not known.
    pub(crate) started_ms: Option<i64>,
    /// The table's name in the lake, of a table that is or was claimed.
    pub(crate) target: Option<String>,
    /// How far a log is applied, of a table that follows one.
    pub(crate) applied: Option<String>,
    /// The next message of each partition of the log, where it counts them.
    pub(crate) offsets: Vec<(Arc<str>, i64)>,
    /// Messages that were set aside, unapplied.
    pub(crate) rejected: Option<i64>,
    /// Columns that the table is loaded without.
    pub(crate) left_out: Vec<String>,
}

impl StatusRow {
    /// A load that begins.
    pub(crate) fn of_load(load: &TableLoad, started_ms: i64) -> Self {
        Self {
            source: load.source.to_string(),
            table_name: load.schema.table().to_string(),
            status: Status::Running,
            chunks_done: Some(0),
            chunks_total: i32::try_from(load.splits).ok(),
            rows: None,
            position_type: Some(load.cut.position_type.clone()),
            load_position: Some(load.cut.position.clone()),
            snapshot_id: None,
            epoch: 1,
            attempts: i32::try_from(load.attempt).unwrap_or(i32::MAX),
            error: None,
            started_ms: Some(started_ms),
            target: None,
            applied: None,
            offsets: Vec::new(),
            rejected: None,
            left_out: load.schema.left_out().to_vec(),
        }
    }

    /// A table whose load never began.
    pub(crate) fn of_refused(table: &TableId, now_ms: i64) -> Self {
        Self { started_ms: Some(now_ms), ..Self::of_name("", &table.to_string()) }
    }

    /// A table of which no more is known than its name.
    pub(crate) fn of_name(source: &str, table_name: &str) -> Self {
        Self {
            source: source.to_owned(),
            table_name: table_name.to_owned(),
            status: Status::Failed,
            chunks_done: None,
            chunks_total: None,
            rows: None,
            position_type: None,
            load_position: None,
            snapshot_id: None,
            epoch: 1,
            attempts: 0,
            error: None,
            started_ms: None,
            target: None,
            applied: None,
            offsets: Vec::new(),
            rejected: None,
            left_out: Vec::new(),
        }
    }

    /// A table that follows a log, applied so far.
    pub(crate) fn of_stream(
        source: &str,
        table: &TableId,
        applied: &Marks,
        told: &BTreeMap<Arc<str>, (i64, u64)>,
    ) -> Self {
        let applied = Some(position::told_marks(applied));
        let offsets = told.iter().map(|(partition, (next, _))| (Arc::clone(partition), *next)).collect();
        let rejected = told.values().map(|(_, rejected)| *rejected).sum::<u64>();
        let rejected = (!told.is_empty()).then(|| i64::try_from(rejected).unwrap_or(i64::MAX));
        let row = Self::of_name(source, &table.to_string());
        Self { status: Status::Completed, applied, offsets, rejected, ..row }
    }

    /// A published load as the table itself records it.
    pub(crate) fn of_loaded(table: &TableId, loaded: &Loaded) -> Self {
        Self {
            source: loaded.source.clone(),
            table_name: table.to_string(),
            status: Status::Completed,
            chunks_done: None,
            chunks_total: None,
            rows: loaded.rows.and_then(|n| i64::try_from(n).ok()),
            position_type: Some(loaded.position_type.clone()),
            load_position: Some(loaded.position.clone()),
            snapshot_id: Some(loaded.snapshot),
            epoch: loaded.epoch,
            attempts: 1,
            error: None,
            started_ms: None,
            target: None,
            applied: None,
            offsets: Vec::new(),
            rejected: None,
            left_out: loaded.left_out.clone(),
        }
    }
}

/// Rows to append.
pub(crate) struct StatusRows {
    pub(crate) rows: Vec<StatusRow>,
    /// Who writes them.
    pub(crate) instance: String,
    /// Which of its commits to this ledger this is.
    pub(crate) beat: i64,
    /// How long rows stay that are not the newest, milliseconds.
    pub(crate) retention_ms: i64,
    pub(crate) now_ms: i64,
}

impl StatusRows {
    /// The rows' maps of partitions to offsets, as the ledger's schema has them; null where there are none.
    fn offsets(&self, of: &DataType) -> Result<ArrayRef, ArrowError> {
        let DataType::Map(entries, sorted) = of else {
            return Err(ArrowError::SchemaError("offsets are a map".to_owned()));
        };
        let DataType::Struct(fields) = entries.data_type() else {
            return Err(ArrowError::SchemaError("a map has entries".to_owned()));
        };
        let all = self.rows.iter().flat_map(|row| &row.offsets);
        let (names, next): (Vec<_>, Vec<_>) = all.map(|(name, next)| (name.as_ref(), *next)).unzip();
        let columns: Vec<ArrayRef> = vec![Arc::new(StringArray::from(names)), Arc::new(Int64Array::from(next))];
        let entries_of = StructArray::try_new(fields.clone(), columns, None)?;
        let lengths = OffsetBuffer::from_lengths(self.rows.iter().map(|row| row.offsets.len()));
        let present = self.rows.iter().map(|row| !row.offsets.is_empty()).collect::<Vec<_>>();
        let map = MapArray::try_new(Arc::clone(entries), lengths, entries_of, Some(present.into()), *sorted)?;
        Ok(Arc::new(map))
    }
}

impl Rows for StatusRows {
    fn name(&self) -> &'static str {
        names::STATUS
    }

    fn schema(&self) -> Result<Schema> {
        let (text, int, long) = (PrimitiveType::String, PrimitiveType::Int, PrimitiveType::Long);
        let offsets = Type::Map(MapType::new(
            Arc::new(NestedField::map_key_element(25, Type::Primitive(text.clone()))),
            Arc::new(NestedField::map_value_element(26, Type::Primitive(long.clone()), true)),
        ));
        let fields = [
            required(1, "source", text.clone()),
            required(2, "table_name", text.clone()),
            required(3, "phase", text.clone()),
            required(4, "load_status", text.clone()),
            column(5, "chunks_done", int.clone()),
            column(6, "chunks_total", int.clone()),
            column(7, "rows", long.clone()),
            column(8, "position_type", text.clone()),
            column(9, "load_position", text.clone()),
            column(10, "applied_position", text.clone()),
            Arc::new(NestedField::optional(11, "kafka_offsets", offsets)),
            column(12, "low_water", text.clone()),
            column(13, "rejected", long.clone()),
            column(14, "snapshot_id", long.clone()),
            required(15, "epoch", long.clone()),
            column(16, "attempts", int),
            column(17, "error", text.clone()),
            column(18, "started_at", PrimitiveType::Timestamptz),
            required(19, "updated_at", PrimitiveType::Timestamptz),
            required(20, "sequence", long.clone()),
            column(21, "instance", text.clone()),
            column(22, "beat", long),
            column(23, "iceberg_table", text.clone()),
            column(24, "excluded_columns", text),
        ];
        let built = Schema::builder().with_fields(fields).build();
        built.map_err(|e| Error::fatal("the ledger's schema").caused_by(e))
    }

    fn look(&mut self, _: &[RecordBatch]) -> bool {
        !self.rows.is_empty()
    }

    fn batch(&self, schema: &ArrowSchemaRef, sequence: i64) -> Result<RecordBatch> {
        let n = self.rows.len();
        fn text<'a>(rows: &'a [StatusRow], f: impl Fn(&'a StatusRow) -> Option<&'a str>) -> ArrayRef {
            Arc::new(rows.iter().map(f).collect::<StringArray>())
        }
        let long =
            |f: fn(&StatusRow) -> Option<i64>| Arc::new(self.rows.iter().map(f).collect::<Int64Array>()) as ArrayRef;
        let int =
            |f: fn(&StatusRow) -> Option<i32>| Arc::new(self.rows.iter().map(f).collect::<Int32Array>()) as ArrayRef;
        let column = |field: &arrow_schema::FieldRef| -> Result<ArrayRef, ArrowError> {
            Ok(match field.name().as_str() {
                "source" => text(&self.rows, |r| Some(&r.source)),
                "table_name" => text(&self.rows, |r| Some(&r.table_name)),
                "phase" => text(&self.rows, |r| Some(if r.applied.is_some() { "stream" } else { "load" })),
                "load_status" => text(&self.rows, |r| Some(r.status.name())),
                "chunks_done" => int(|r| match r.status {
                    Status::Completed => r.chunks_total,
                    Status::Running | Status::Failed => r.chunks_done,
                }),
                "chunks_total" => int(|r| r.chunks_total),
                "rows" => long(|r| r.rows),
                "position_type" => text(&self.rows, |r| r.position_type.as_deref()),
                "load_position" => text(&self.rows, |r| r.load_position.as_deref()),
                "applied_position" => text(&self.rows, |r| r.applied.as_deref()),
                "kafka_offsets" => self.offsets(field.data_type())?,
                "rejected" => long(|r| r.rejected),
                "snapshot_id" => long(|r| r.snapshot_id),
                "epoch" => long(|r| Some(r.epoch)),
                "attempts" => int(|r| Some(r.attempts)),
                "error" => text(&self.rows, |r| r.error.as_deref()),
                "started_at" => {
                    let micros = self.rows.iter().map(|r| r.started_ms.map(|ms| ms * 1000));
                    Arc::new(micros.collect::<TimestampMicrosecondArray>().with_timezone(UTC))
                }
                "updated_at" => {
                    Arc::new(TimestampMicrosecondArray::from(vec![self.now_ms * 1000; n]).with_timezone(UTC))
                }
                "sequence" => Arc::new(Int64Array::from(vec![sequence; n])),
                "instance" => text(&self.rows, |_| Some(&self.instance)),
                "beat" => Arc::new(Int64Array::from(vec![self.beat; n])),
                "iceberg_table" => text(&self.rows, |r| r.target.as_deref()),
                "excluded_columns" => {
                    let names = |r: &StatusRow| {
                        (!r.left_out.is_empty()).then(|| serde_json::Value::from(r.left_out.clone()).to_string())
                    };
                    Arc::new(self.rows.iter().map(names).collect::<StringArray>())
                }
                // What nothing fills yet.
                _ => new_null_array(field.data_type(), n),
            })
        };
        let columns = schema.fields().iter().map(column).collect::<Result<Vec<_>, _>>();
        columns
            .and_then(|columns| RecordBatch::try_new(Arc::clone(schema), columns))
            .map_err(|e| Error::fatal("rows that do not fit the ledger").caused_by(e))
    }

    fn keep(&self, existing: &[RecordBatch]) -> Vec<BooleanArray> {
        let newest = newest(existing);
        let beats = last_beats(existing);
        let horizon = self.now_ms.saturating_sub(self.retention_ms).saturating_mul(1000);
        existing
            .iter()
            .enumerate()
            .map(|(b, batch)| {
                let updated = batch.column_by_name("updated_at").map(|c| c.as_primitive::<TimestampMicrosecondType>());
                let keep = |row: usize| {
                    let is_old = updated.is_some_and(|u| u.value(row) < horizon);
                    // A table that is still being loaded: what an earlier beat said of it, the last one says.
                    let is_beaten = running(batch, row)
                        .is_some_and(|of| beats.get(&of).is_none_or(|n| (n.batch, n.row) != (b, row)));
                    !(is_old || is_beaten) || newest.get(&key(batch, row)).is_some_and(|n| (n.batch, n.row) == (b, row))
                };
                (0..batch.num_rows()).map(|row| Some(keep(row))).collect()
            })
            .collect()
    }
}

/// Whose claim a row is, if it is one's: source, table, instance.
fn running(batch: &RecordBatch, row: usize) -> Option<(String, String, String)> {
    let instance = text(batch, "instance", row);
    let is_claim = !instance.is_empty() && text(batch, "load_status", row) == Status::Running.name();
    let (source, table) = key(batch, row);
    is_claim.then_some((source, table, instance))
}

/// The last row of each claim.
fn last_beats(batches: &[RecordBatch]) -> HashMap<(String, String, String), Newest> {
    let mut last: HashMap<_, Newest> = HashMap::new();
    for (b, batch) in batches.iter().enumerate() {
        for row in 0..batch.num_rows() {
            let Some(of) = running(batch, row) else { continue };
            let candidate = Newest { order: order(batch, row), batch: b, row };
            if last.get(&of).is_none_or(|known| known.order < candidate.order) {
                last.insert(of, candidate);
            }
        }
    }
    last
}

/// What the ledger tells of who is loading what.
pub(super) struct Told {
    claims: Vec<Claim>,
    beats: HashMap<String, i64>,
    epochs: HashMap<(String, String), i64>,
}

impl Told {
    /// Reads the ledger's rows.
    pub(super) fn of(existing: &[RecordBatch]) -> Self {
        let mut beats: HashMap<String, i64> = HashMap::new();
        for batch in existing {
            for row in 0..batch.num_rows() {
                let beat = beats.entry(text(batch, "instance", row)).or_default();
                *beat = long(batch, "beat", row).unwrap_or(0).max(*beat);
            }
        }
        let (mut claims, mut epochs) = (Vec::new(), HashMap::new());
        for (key, Newest { order, batch, row }) in newest(existing) {
            let batch = &existing[batch];
            if let Some((source, table_name, instance)) = running(batch, row) {
                let (target, attempts) = (text(batch, "iceberg_table", row), int(batch, "attempts", row));
                claims.push(Claim { source, table_name, target, instance, epoch: order.0, attempts });
            }
            epochs.insert(key, order.0);
        }
        Self { claims, beats, epochs }
    }

    /// Every claim with its instance's last beat.
    pub(super) fn claims(&self) -> impl Iterator<Item = (&Claim, i64)> {
        self.claims.iter().map(|claim| (claim, self.beats.get(&claim.instance).copied().unwrap_or(0)))
    }

    /// The tables (source, name) that living instances have claimed.
    pub(super) fn living(&self, sightings: &Sightings, patience: Duration) -> HashSet<(String, String)> {
        let lives = |(claim, beat): &(&Claim, i64)| sightings.lives(&claim.instance, *beat, patience, Instant::now());
        self.claims().filter(lives).map(|(claim, _)| (claim.source.clone(), claim.table_name.clone())).collect()
    }

    /// The epoch of a table's newest row; 1 where it has none.
    pub(super) fn epoch(&self, source: &str, table_name: &str) -> i64 {
        self.epochs.get(&(source.to_owned(), table_name.to_owned())).copied().unwrap_or(1)
    }
}

/// Where a table's newest row is.
pub(crate) struct Newest {
    order: (i64, i64),
    batch: usize,
    row: usize,
}

/// The newest row of each (source, table).
pub(crate) fn newest(batches: &[RecordBatch]) -> HashMap<(String, String), Newest> {
    let mut newest: HashMap<(String, String), Newest> = HashMap::new();
    for (b, batch) in batches.iter().enumerate() {
        for row in 0..batch.num_rows() {
            let order = order(batch, row);
            let candidate = Newest { order, batch: b, row };
            let entry = newest.entry(key(batch, row));
            let known = entry.or_insert(Newest { order: (i64::MIN, i64::MIN), ..candidate });
            if known.order < order {
                *known = candidate;
            }
        }
    }
    newest
}

/// Those of `published` whose newest row in the ledger does not say so: a process that ended between its
/// commit and the ledger, or a ledger that was dropped.
pub(crate) fn missing(published: Vec<StatusRow>, existing: &[RecordBatch]) -> Vec<StatusRow> {
    let newest = newest(existing);
    let says_so = |row: &StatusRow| {
        newest.get(&(row.source.clone(), row.table_name.clone())).is_some_and(|n| {
            let batch = &existing[n.batch];
            n.order.0 > row.epoch
                || (text(batch, "load_status", n.row) == Status::Completed.name()
                    && long(batch, "snapshot_id", n.row) == row.snapshot_id)
        })
    };
    published.into_iter().filter(|row| !says_so(row)).collect()
}

/// What decides which of two rows is newer.
fn order(batch: &RecordBatch, row: usize) -> (i64, i64) {
    (long(batch, "epoch", row).unwrap_or(0), long(batch, "sequence", row).unwrap_or(0))
}

fn key(batch: &RecordBatch, row: usize) -> (String, String) {
    (text(batch, "source", row), text(batch, "table_name", row))
}

fn text(batch: &RecordBatch, name: &str, row: usize) -> String {
    let column = batch.column_by_name(name).map(|c| c.as_string::<i32>());
    column.filter(|c| !c.is_null(row)).map(|c| c.value(row).to_owned()).unwrap_or_default()
}

fn int(batch: &RecordBatch, name: &str, row: usize) -> i32 {
    let column = batch.column_by_name(name).map(|c| c.as_primitive::<Int32Type>());
    column.filter(|c| !c.is_null(row)).map_or(0, |c| c.value(row))
}

fn long(batch: &RecordBatch, name: &str, row: usize) -> Option<i64> {
    let column = batch.column_by_name(name)?;
    (!column.is_null(row)).then(|| column.as_primitive::<Int64Type>().value(row))
}
