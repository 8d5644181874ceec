//! The ledgers: what they say, how they are rewritten, and that they agree with the tables.

use std::collections::BTreeMap;

use super::follow::open;
use super::*;
use crate::journal::Journal;
use crate::ledger::{Ledger, Status, StatusRow};
use arrow_array::{Array, Int32Array};
use connector_api::{LogBatch, LogEvent, LogSpan, Op};

fn text(batch: &RecordBatch, name: &str, row: usize) -> String {
    let column = batch[name].as_string::<i32>();
    if column.is_null(row) { String::new() } else { column.value(row).to_owned() }
}

fn long(batch: &RecordBatch, name: &str, row: usize) -> i64 {
    batch[name].as_primitive::<Int64Type>().value(row)
}

/// The newest row of each table, by (epoch, sequence), as a query would find it.
pub(crate) async fn status(lake: &Lake) -> BTreeMap<String, String> {
    let mut newest: BTreeMap<String, ((i64, i64), String)> = BTreeMap::new();
    for batch in lake.scan("_cdc_status").await {
        for row in 0..batch.num_rows() {
            let order = (long(&batch, "epoch", row), long(&batch, "sequence", row));
            let said = match text(&batch, "load_status", row).as_str() {
                "completed" => format!("completed {} epoch {}", long(&batch, "rows", row), order.0),
                other => format!("{other} {} epoch {}", text(&batch, "error", row), order.0),
            };
            let entry = newest.entry(text(&batch, "table_name", row)).or_insert(((i64::MIN, 0), String::new()));
            if entry.0 < order {
                *entry = (order, said);
            }
        }
    }
    newest.into_iter().map(|(table, (_, said))| (table, said)).collect()
}

async fn changes(lake: &Lake) -> Vec<String> {
    let mut found = Vec::new();
    for batch in lake.scan("_schema_changes").await {
        for row in 0..batch.num_rows() {
            let version = batch["version"].as_primitive::<arrow_array::types::Int32Type>().value(row);
            let (kind, column) = (text(&batch, "change_type", row), text(&batch, "column_name", row));
            assert!(text(&batch, "schema_after", row).contains("\"fields\""));
            assert_eq!(text(&batch, "schema_before", row).is_empty(), kind == "baseline");
            found.push(format!(
                "v{version} {} {kind} {column} {}",
                text(&batch, "table_name", row),
                text(&batch, "decision", row)
            ));
        }
    }
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ledgers_tell_a_load_and_its_replacement() {
    let lake = Lake::new();
    lake.load(&first("t"), 0..10).await;
    assert_eq!(status(&lake).await["public.t"], "completed 10 epoch 1");
    assert_eq!(changes(&lake).await, ["v1 public.t baseline  applied"]);
    // The same schema again: no change. A new column: one.
    lake.load(&load_of(&schema("t"), "0/2", true), 0..4).await;
    assert_eq!(status(&lake).await["public.t"], "completed 4 epoch 2");
    assert_eq!(changes(&lake).await.len(), 1);
    let columns = vec![Column::new("id", DataType::Int64, false, "int8")];
    let narrow = Arc::new(TableSchema::new(TableId::new("public", "t"), columns, vec![]).unwrap());
    let load = TableLoad { splits: 0, ..load_of(&narrow, "0/3", true) };
    let mut task = lake.sink().open(context()).await.unwrap();
    task.write(Event::Load(LoadEvent::Begin(Arc::new(load)))).await.unwrap();
    task.write(Event::Load(LoadEvent::Complete(narrow.table().clone()))).await.unwrap();
    assert_eq!(told(&task.checkpoint().await.unwrap()), "public.t@0/3 Some(0)");
    task.close().await.unwrap();
    assert_eq!(
        changes(&lake).await,
        ["v1 public.t baseline  applied", "v2 public.t column_dropped v applied", "v2 public.t key_changed  applied"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_ledger_missed_is_written_from_the_tables() {
    let lake = Lake::new();
    lake.load(&first("t"), 0..10).await;
    // Dropped, as by an operator or a process that ended before it wrote.
    lake.forget("_cdc_status").await;
    lake.forget("_schema_changes").await;
    for _ in 0..2 {
        let sink = lake.sink();
        sink.progress(&[TableId::new("public", "t")]).await.unwrap();
        sink.open(context()).await.unwrap().close().await.unwrap();
        assert_eq!(status(&lake).await["public.t"], "completed 10 epoch 1");
        let rows: usize = lake.scan("_cdc_status").await.iter().map(RecordBatch::num_rows).sum();
        assert_eq!(rows, 1, "once");
        assert_eq!(changes(&lake).await, ["v1 public.t baseline  applied"]);
    }
}

/// One row of the columns `id` and those given, as the log has it at that point.
fn event(schema: &Arc<TableSchema>, at: i64, values: Vec<ArrayRef>) -> LogEvent {
    let columns = std::iter::once(Arc::new(Int64Array::from(vec![at])) as ArrayRef).chain(values).collect();
    let rows = RecordBatch::try_new(Arc::clone(schema.arrow()), columns).unwrap();
    let after = (at > 0).then(|| at.to_string().into());
    let span = LogSpan { partition: "t-0".into(), after, upto: (at + 1).to_string().into(), whole: true, told: None };
    LogEvent::Changes(LogBatch::new(Arc::clone(schema), span, rows, vec![Op::Put]).unwrap())
}

/// A table that a log makes has its first row there, and one for each column that is added or widened, also when the
/// ledger was lost, or was not written before the process ended.
#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_tells_how_a_followed_table_became_what_it_is() {
    let lake = Lake::new();
    let of = |kind: Option<DataType>| {
        let mut columns = vec![Column::new("id", DataType::Int64, false, "int8")];
        columns.extend(kind.map(|kind| Column::new("n", kind, true, "int")));
        Arc::new(TableSchema::new(TableId::new("public", "t"), columns, vec![0]).unwrap())
    };
    let steps = [
        (of(None), vec![]),
        (of(Some(DataType::Int32)), vec![Arc::new(Int32Array::from(vec![1])) as ArrayRef]),
        (of(Some(DataType::Int64)), vec![Arc::new(Int64Array::from(vec![1])) as ArrayRef]),
    ];
    let all =
        ["v1 public.t baseline  applied", "v2 public.t column_added n applied", "v3 public.t type_changed n applied"];
    for (at, (schema, values)) in steps.iter().enumerate() {
        let (mut task, _) = open(&lake, schema).await;
        task.apply(event(schema, at as i64, values.clone())).await.unwrap();
        assert!(task.checkpoint().await.unwrap().failed.is_empty());
        task.close().await.unwrap();
        assert_eq!(changes(&lake).await, all[..=at]);
        let table = lake.table("t").await.unwrap();
        assert_eq!(table.metadata().properties()[crate::position::SCHEMA_VERSION], (at + 1).to_string());
    }
    lake.forget("_schema_changes").await;
    for _ in 0..2 {
        open(&lake, &steps[2].0).await.0.close().await.unwrap();
        assert_eq!(changes(&lake).await, ["v3 public.t baseline  applied"], "once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_is_rewritten_to_the_newest_rows() {
    let lake = Lake::with(&[("status.retention.ms", "0")]);
    let committer: Arc<dyn Committer> = Arc::new(lake.committer().await);
    committer.ensure_namespace().await.unwrap();
    let load = first("t");
    for n in 0..53 {
        let ledger =
            Ledger::start(Arc::clone(&committer), lake.place(), Journal::open(None, ""), Arc::default(), vec![]);
        let row = StatusRow::of_load(&load, 1000);
        let status = if n % 2 == 0 { Status::Completed } else { Status::Failed };
        ledger.status(StatusRow { status, rows: Some(n), ..row.clone() });
        ledger.status(StatusRow { table_name: format!("public.u{}", n % 2), status, ..row });
        ledger.close().await;
    }
    let rows: usize = lake.scan("_cdc_status").await.iter().map(RecordBatch::num_rows).sum();
    // The 51st append found 50 files: three newest rows and its own two, then two appends of two.
    assert_eq!(rows, 3 + 2 + 2 * 2);
    assert_eq!(status(&lake).await["public.t"], "completed 52 epoch 1");
    let table = lake.table("_cdc_status").await.unwrap();
    assert_eq!(table.metadata().snapshots().count(), 20 + 2);
    let summary = &table.metadata().current_snapshot().unwrap().summary().additional_properties;
    assert_eq!((summary["total-data-files"].as_str(), summary["total-records"].as_str()), ("3", "9"));
    let metadata = lake.files(".metadata.json").len();
    assert!(metadata <= 21, "{metadata} old metadata files");
    let lists = lake.files(".avro").iter().filter(|f| f.contains("/snap-")).count();
    assert_eq!(lists, 22, "one manifest list per retained snapshot");
    // Every retained snapshot can still be read.
    for snapshot in table.metadata().snapshots() {
        let scan = table.scan().snapshot_id(snapshot.snapshot_id()).build().unwrap();
        let batches: Vec<RecordBatch> = scan.to_arrow().await.unwrap().try_collect().await.unwrap();
        assert!(!batches.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_instances_append_without_losing_each_others_rows() {
    let lake = Lake::with(&[("commit.retry.num-retries", "50")]);
    let work = (0..4).map(|n| {
        let lake = &lake;
        async move {
            let committer: Arc<dyn Committer> = Arc::new(lake.committer().await);
            for m in 0..3 {
                let ledger = Ledger::start(
                    Arc::clone(&committer),
                    lake.place(),
                    Journal::open(None, ""),
                    Arc::default(),
                    vec![],
                );
                let row = StatusRow::of_load(&first("t"), 1000);
                ledger.status(StatusRow { table_name: format!("public.t{n}_{m}"), ..row });
                ledger.close().await;
            }
        }
    });
    futures::future::join_all(work).await;
    assert_eq!(status(&lake).await.len(), 12);
    assert_eq!(lake.files(".parquet").len(), 12, "no file of a lost attempt stays");
}
