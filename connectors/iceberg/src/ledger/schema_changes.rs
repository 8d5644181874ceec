//! `_schema_changes`: a table's schema at its first publication, and every change since. All rows stay.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{
    Array, ArrayRef, BooleanArray, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    new_null_array,
};
use arrow_schema::SchemaRef as ArrowSchemaRef;
use connector_api::{Error, Result, TableId, UTC};
use iceberg::spec::{PrimitiveType, Schema, SchemaRef};
use uuid::Uuid;

use super::rows::{Rows, column, required};
use crate::commit::now_ms;
use crate::names;
use crate::schema;

/// A row of the ledger.
#[derive(Clone, Debug)]
pub(crate) struct SchemaChangeRow {
    change_id: Uuid,
    table_name: String,
    at_ms: i64,
    kind: &'static str,
    column: Option<String>,
    before: Option<String>,
    after: String,
    version: i32,
    position: String,
    snapshot_id: i64,
    epoch: i64,
}

/// A table's schema as of a snapshot of ours.
#[derive(Clone, Debug)]
pub(crate) struct Described {
    pub(crate) table: TableId,
    pub(crate) schema: SchemaRef,
    /// Version of the schema.
    pub(crate) version: i64,
    /// The position that the snapshot holds.
    pub(crate) position: String,
    pub(crate) snapshot_id: i64,
    pub(crate) epoch: i64,
}

/// The rows that tell of a schema: a baseline where there was none of ours before, or one for each change, or none.
pub(crate) fn schema_change_rows(before: Option<&Schema>, now: &Described) -> Vec<SchemaChangeRow> {
    let row = |kind, column| SchemaChangeRow {
        change_id: Uuid::now_v7(),
        table_name: now.table.to_string(),
        at_ms: now_ms(),
        kind,
        column,
        before: before.map(json),
        after: json(&now.schema),
        version: version(now),
        position: now.position.clone(),
        snapshot_id: now.snapshot_id,
        epoch: now.epoch,
    };
    match before {
        None => vec![row("baseline", None)],
        Some(before) => schema::changes(before, &now.schema).into_iter().map(|c| row(c.kind, c.column)).collect(),
    }
}

fn version(described: &Described) -> i32 {
    i32::try_from(described.version).unwrap_or(i32::MAX)
}

/// What of tables' schemas the ledger does not tell: a process that ended between its commit and the ledger, or a ledger
/// that was dropped.
pub(super) fn missing<'a>(
    tables: impl IntoIterator<Item = &'a Described>,
    existing: &[RecordBatch],
) -> Vec<SchemaChangeRow> {
    let mut told: HashMap<&str, (i32, &str)> = HashMap::new();
    for batch in existing {
        let text = |name: &str| batch.column_by_name(name).map(|c| c.as_string::<i32>());
        let versions = batch.column_by_name("version").map(|c| c.as_primitive::<Int32Type>());
        let (Some(tables), Some(versions), Some(after)) = (text("table_name"), versions, text("schema_after")) else {
            continue;
        };
        for row in 0..batch.num_rows() {
            let newest = told.entry(tables.value(row)).or_insert((i32::MIN, ""));
            if newest.0 < versions.value(row) {
                *newest = (versions.value(row), if after.is_null(row) { "" } else { after.value(row) });
            }
        }
    }
    let missing = |now: &Described| {
        let before = match told.get(now.table.to_string().as_str()) {
            Some((told, _)) if *told >= version(now) => return Vec::new(),
            Some((_, before)) => serde_json::from_str::<Schema>(before).ok(),
            None => None,
        };
        schema_change_rows(before.as_ref(), now)
    };
    tables.into_iter().flat_map(missing).collect()
}

fn json(schema: &Schema) -> String {
    serde_json::to_string(schema).unwrap_or_default()
}

/// Rows to append.
pub(crate) struct SchemaChangeRows<'a>(pub(crate) &'a [SchemaChangeRow]);

impl Rows for SchemaChangeRows<'_> {
    fn name(&self) -> &'static str {
        names::SCHEMA_CHANGES
    }

    fn schema(&self) -> Result<Schema> {
        let (text, long) = (PrimitiveType::String, PrimitiveType::Long);
        let fields = [
            required(1, "change_id", text.clone()),
            required(2, "table_name", text.clone()),
            required(3, "change_timestamp", PrimitiveType::Timestamptz),
            required(4, "change_type", text.clone()),
            column(5, "column_name", text.clone()),
            column(6, "schema_before", text.clone()),
            column(7, "schema_after", text.clone()),
            required(8, "version", PrimitiveType::Int),
            column(9, "position", text.clone()),
            column(10, "snapshot_id", long.clone()),
            required(11, "decision", text),
            required(12, "notification_sent", PrimitiveType::Boolean),
            column(13, "notified_at", PrimitiveType::Timestamptz),
            required(14, "epoch", long.clone()),
            required(15, "sequence", long),
        ];
        let built = Schema::builder().with_fields(fields).build();
        built.map_err(|e| Error::fatal("the ledger's schema").caused_by(e))
    }

    fn look(&mut self, _: &[RecordBatch]) -> bool {
        !self.0.is_empty()
    }

    fn batch(&self, schema: &ArrowSchemaRef, sequence: i64) -> Result<RecordBatch> {
        let rows = self.0;
        let text = |f: fn(&SchemaChangeRow) -> Option<String>| {
            Arc::new(rows.iter().map(f).collect::<StringArray>()) as ArrayRef
        };
        let long = |f: fn(&SchemaChangeRow) -> i64| {
            Arc::new(rows.iter().map(|r| Some(f(r))).collect::<Int64Array>()) as ArrayRef
        };
        let columns = schema.fields().iter().map(|field| match field.name().as_str() {
            "change_id" => text(|r| Some(r.change_id.to_string())),
            "table_name" => text(|r| Some(r.table_name.clone())),
            "change_timestamp" => {
                let micros = rows.iter().map(|r| Some(r.at_ms * 1000));
                Arc::new(micros.collect::<TimestampMicrosecondArray>().with_timezone(UTC))
            }
            "change_type" => text(|r| Some(r.kind.into())),
            "column_name" => text(|r| r.column.clone()),
            "schema_before" => text(|r| r.before.clone()),
            "schema_after" => text(|r| Some(r.after.clone())),
            "version" => Arc::new(rows.iter().map(|r| Some(r.version)).collect::<Int32Array>()),
            "position" => text(|r| Some(r.position.clone())),
            "snapshot_id" => long(|r| r.snapshot_id),
            "decision" => text(|_| Some("applied".into())),
            "notification_sent" => Arc::new(BooleanArray::from(vec![false; rows.len()])),
            "epoch" => long(|r| r.epoch),
            "sequence" => Arc::new(Int64Array::from(vec![sequence; rows.len()])),
            _ => new_null_array(field.data_type(), rows.len()),
        });
        RecordBatch::try_new(Arc::clone(schema), columns.collect())
            .map_err(|e| Error::fatal("rows that do not fit the ledger").caused_by(e))
    }

    fn keep(&self, existing: &[RecordBatch]) -> Vec<BooleanArray> {
        existing.iter().map(|batch| BooleanArray::from(vec![true; batch.num_rows()])).collect()
    }
}
