//! A table of many keys that a log is followed into: the process takes no more memory than it is given, whatever the
//! number of keys. Measured as the process's own, so that nothing else is tested here.

#![expect(clippy::unwrap_used, clippy::panic, reason = "test code: a panic is a failed assertion")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use arrow_schema::DataType;
use connector_api::{
    ChangeBatch, Column, Connector, ConnectorConfig, Cut, Event, LoadEvent, LogBatch, LogEvent, LogSpan, Marks, Op,
    Position, Role, Sink, Span, SplitId, TableId, TableLoad, TableSchema, TaskContext,
};
use connector_iceberg::{Config, Iceberg};

const MIB: usize = 1 << 20;
const KEYS: i64 = 5_000_000;
/// Rows of a stretch of changes.
const ROWS: i64 = 10_000;
/// What the load before it, rows on their way, files being written and read, and the allocator take.
const SLACK: usize = 40 * MIB;

/// A number of `/proc/self/status`, in bytes.
fn status(name: &str) -> usize {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    line.split_whitespace().next().unwrap().parse::<usize>().unwrap() * 1024
}

fn schema() -> Arc<TableSchema> {
    let columns =
        vec![Column::new("id", DataType::Int64, false, "int8"), Column::new("v", DataType::Int64, true, "int8")];
    Arc::new(TableSchema::new(TableId::new("public", "t"), columns, vec![0]).unwrap())
}

fn rows(ids: impl Iterator<Item = i64>, v: i64) -> RecordBatch {
    let ids: Int64Array = ids.collect();
    let values: ArrayRef = Arc::new(Int64Array::from(vec![v; ids.values().len()]));
    RecordBatch::try_new(Arc::clone(schema().arrow()), vec![Arc::new(ids), values]).unwrap()
}

fn sink(folder: &Path, index_memory: usize) -> Box<dyn Sink> {
    let path = folder.display();
    let raw = BTreeMap::from([
        ("iceberg.catalog.type".to_owned(), "sql".to_owned()),
        ("iceberg.catalog.uri".into(), format!("sqlite://{path}/catalog.db")),
        ("iceberg.catalog.warehouse".into(), format!("{path}/wh")),
        ("iceberg.namespace".into(), "bronze".into()),
        ("index.memory.max".into(), index_memory.to_string()),
    ]);
    let (values, problems) = Config::definition().parse(&raw);
    assert!(problems.is_empty(), "{problems:?}");
    match Iceberg::build(Config::from_values(&values).unwrap()) {
        Role::Sink(sink) => sink,
        _ => panic!("not a sink"),
    }
}

async fn load(sink: &dyn Sink) {
    let (schema, table, split) = (schema(), schema().table().clone(), SplitId::new("a"));
    let cut = Cut { system: "s".into(), position_type: "lsn".into(), position: "0/1".into(), visible: None };
    let (cut, source, marks) = (Arc::new(cut), "shop".into(), Marks::new());
    let begin = TableLoad { schema: Arc::clone(&schema), cut, source, splits: 1, attempt: 1, replace: false, marks };
    let mut task = sink.open(TaskContext::new("lake", 0, 32 * MIB)).await.unwrap();
    task.write(Event::Load(LoadEvent::Begin(Arc::new(begin)))).await.unwrap();
    for from in (0..KEYS).step_by(100_000) {
        let at = |n: i64| if n == 0 { Position::Start } else { Position::At(n as u64) };
        let span = Span { split: split.clone(), after: at(from), upto: at(from + 100_000) };
        let batch = ChangeBatch::new(Arc::clone(&schema), span, rows(from..from + 100_000, 0)).unwrap();
        task.write(Event::Changes(batch)).await.unwrap();
    }
    task.write(Event::Load(LoadEvent::SplitDone(table.clone(), split))).await.unwrap();
    task.write(Event::Load(LoadEvent::Complete(table))).await.unwrap();
    assert!(task.checkpoint().await.unwrap().failed.is_empty());
    task.close().await.unwrap();
}

/// Follows a log of so many commits into the loaded table, from an index that is made of the table's files. The most
/// memory that the process had, in bytes.
async fn peak(folder: &Path, index_memory: usize, commits: i64) -> usize {
    let sink = sink(folder, index_memory);
    let schema = schema();
    let standing = sink.standing(schema.table()).await.unwrap().unwrap();
    let done = standing.marks.get("t-0").map_or(0, |mark| mark.parse::<i64>().unwrap());
    let state = tempfile::tempdir().unwrap();
    let context = TaskContext { state_dir: Some(state.path().into()), ..TaskContext::new("lake", 0, 32 * MIB) };
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let mut task = sink.apply(context).await.unwrap();
    let open = LogEvent::Open { schema: Arc::clone(&schema), source: "shop".into(), create: false };
    task.apply(open).await.unwrap();
    for at in done..done + commits {
        let span = LogSpan {
            partition: "t-0".into(),
            after: (at > 0).then(|| at.to_string().into()),
            upto: (at + 1).to_string().into(),
            whole: true,
            told: None,
        };
        // Of all the table's keys some, and a few that it does not have.
        let ids = (0..ROWS).map(|n| (at * 7919 + n * 503) % (KEYS + 1000));
        let ops = (0..ROWS).map(|n| if n % 10 == 0 { Op::Delete } else { Op::Put }).collect();
        let batch = LogBatch::new(Arc::clone(&schema), span, rows(ids, at), ops).unwrap();
        task.apply(LogEvent::Changes(batch)).await.unwrap();
        let failed = task.checkpoint().await.unwrap().failed;
        assert!(failed.is_empty(), "{failed:?}");
    }
    task.close().await.unwrap();
    let stands = sink.standing(schema.table()).await.unwrap().unwrap();
    assert_eq!(*stands.marks["t-0"], *(done + commits).to_string());
    status("VmHWM")
}

#[tokio::test(flavor = "multi_thread")]
async fn five_million_keys_are_followed_in_sixteen_mebibytes_of_index() {
    let (folder, before) = (tempfile::tempdir().unwrap(), status("VmRSS"));
    load(sink(folder.path(), 16 * MIB).as_ref()).await;
    // With what the load left to the allocator: taken off, it would hide as much.
    let bound = before + 16 * MIB + SLACK;
    let used = peak(folder.path(), 16 * MIB, 10).await;
    assert!(used <= bound, "{used} bytes");
    // The twin: an index that may take more is seen to.
    let used = peak(folder.path(), 512 * MIB, 1).await;
    assert!(used > bound, "{used} bytes");
}
