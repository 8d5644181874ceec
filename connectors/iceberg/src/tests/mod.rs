//! Tests of the whole sink on a temporary lake: a real SQLite catalog and files, read back through
//! iceberg's own scan.

mod claims;
mod commits;
mod contract;
mod follow;
mod foreign;
mod ledgers;
mod loads;
mod orphans;
mod requests;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_schema::DataType;
use connector_api::{
    ChangeBatch, Checkpoint, Column, ConnectorConfig, Cut, ErrorKind, Event, LoadEvent, Marks, Position, Sink,
    SinkTask, Span, SplitId, TableId, TableLoad, TableSchema, TaskContext,
};
use futures::TryStreamExt;
use iceberg::table::Table;
use tempfile::TempDir;

use crate::commit::{Committer, SqlCommitter};
use crate::config::{Backend, Config};
use crate::sink::{IcebergSink, Place};

/// A lake of its own.
pub(crate) struct Lake {
    pub(crate) dir: TempDir,
    pub(crate) config: Config,
}

impl Lake {
    pub(crate) fn new() -> Self {
        Self::with(&[])
    }

    pub(crate) fn with(extra: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().display();
        let mut raw = BTreeMap::from([
            ("iceberg.catalog.type".to_owned(), "sql".to_owned()),
            ("iceberg.catalog.uri".into(), format!("sqlite://{path}/catalog.db")),
            ("iceberg.catalog.warehouse".into(), format!("{path}/wh")),
            ("iceberg.namespace".into(), "bronze.shop".into()),
        ]);
        raw.extend(extra.iter().map(|(k, v)| ((*k).into(), (*v).into())));
        let (values, problems) = Config::definition().parse(&raw);
        assert!(problems.is_empty(), "{problems:?}");
        Self { dir, config: Config::from_values(&values).unwrap() }
    }

    pub(crate) fn sink(&self) -> IcebergSink {
        IcebergSink::new(self.config.clone())
    }

    pub(crate) fn place(&self) -> Arc<Place> {
        Arc::new(Place::new(self.config.clone()))
    }

    pub(crate) async fn committer(&self) -> SqlCommitter {
        let Backend::Sql(database, warehouse) = &self.config.backend else { panic!("{:?}", self.config) };
        SqlCommitter::connect(&self.config, database, warehouse).await.unwrap()
    }

    pub(crate) async fn table(&self, name: &str) -> Option<Table> {
        self.committer().await.load(&self.place().of(name)).await.unwrap()
    }

    pub(crate) async fn scan(&self, name: &str) -> Vec<RecordBatch> {
        let table = self.table(name).await.unwrap();
        table.scan().build().unwrap().to_arrow().await.unwrap().try_collect().await.unwrap()
    }

    /// Takes a table out of the catalog, as an operator does who drops it.
    pub(crate) async fn forget(&self, name: &str) {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(self.dir.path().join("catalog.db"));
        let options = options.busy_timeout(std::time::Duration::from_secs(10));
        let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
        let gone = sqlx::query("DELETE FROM iceberg_tables WHERE table_name = $1").bind(name).execute(&pool).await;
        assert_eq!(gone.unwrap().rows_affected(), 1);
    }

    /// The ids in a table, in order.
    pub(crate) async fn ids(&self, name: &str) -> Vec<i64> {
        let batches = self.scan(name).await;
        let ids = batches.iter().flat_map(|b| b["id"].as_primitive::<Int64Type>().values().to_vec());
        let mut ids: Vec<i64> = ids.collect();
        ids.sort_unstable();
        ids
    }

    /// Every file under the warehouse whose path ends so.
    pub(crate) fn files(&self, ending: &str) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![self.dir.path().join("wh")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
                let path = entry.path();
                match path.is_dir() {
                    true => folders.push(path),
                    false if path.to_string_lossy().ends_with(ending) => found.push(path.display().to_string()),
                    false => {}
                }
            }
        }
        found
    }

    /// Loads ids into a table with a task of its own.
    pub(crate) async fn load(&self, load: &TableLoad, ids: std::ops::Range<i64>) -> Checkpoint {
        let mut task = self.sink().open(context()).await.unwrap();
        feed(task.as_mut(), load, ids).await;
        let checkpoint = task.checkpoint().await.unwrap();
        task.close().await.unwrap();
        checkpoint
    }
}

pub(crate) fn context() -> TaskContext {
    TaskContext::new("lake", 0, 64 << 20)
}

/// `public.{name}` with a key `id` and a text `v`.
pub(crate) fn schema(name: &str) -> Arc<TableSchema> {
    let columns = vec![
        Column::new("id", DataType::Int64, false, "int8"),
        Column::new("v", DataType::Utf8, true, "text").with_doc(Some("a comment".into())),
    ];
    let schema = TableSchema::new(TableId::new("public", name), columns, vec![0]).unwrap();
    Arc::new(schema.with_doc(Some("the table".into())))
}

pub(crate) fn load_of(schema: &Arc<TableSchema>, position: &str, replace: bool) -> TableLoad {
    let cut = Cut {
        system: "sys1".into(),
        position_type: "lsn".into(),
        position: position.into(),
        visible: Some("10:20:".into()),
    };
    let (schema, cut, marks) = (Arc::clone(schema), Arc::new(cut), Marks::new());
    TableLoad { schema, cut, source: "shop".into(), splits: 2, attempt: 1, replace, marks }
}

pub(crate) fn first(name: &str) -> TableLoad {
    load_of(&schema(name), "0/1", false)
}

pub(crate) fn rows(schema: &TableSchema, ids: std::ops::Range<i64>) -> RecordBatch {
    let text: StringArray = ids.clone().map(|i| (i % 3 != 0).then(|| format!("text {i}"))).collect();
    let columns: Vec<ArrayRef> = vec![Arc::new(ids.collect::<Int64Array>()), Arc::new(text)];
    RecordBatch::try_new(Arc::clone(schema.arrow()), columns).unwrap()
}

pub(crate) fn batch(schema: &Arc<TableSchema>, split: &str, after: u64, rows: RecordBatch) -> Event {
    let at = |n| if n == 0 { Position::Start } else { Position::At(n) };
    let upto = at(after + rows.num_rows() as u64);
    let span = Span { split: SplitId::new(split), after: at(after), upto };
    Event::Changes(ChangeBatch::new(Arc::clone(schema), span, rows).unwrap())
}

/// Begin, two splits in alternation, SplitDone each, Complete.
pub(crate) async fn feed(task: &mut dyn SinkTask, load: &TableLoad, ids: std::ops::Range<i64>) {
    let table = load.schema.table().clone();
    let write = |e| Event::Load(e);
    task.write(write(LoadEvent::Begin(Arc::new(load.clone())))).await.unwrap();
    let middle = (ids.start + ids.end) / 2;
    for (split, part) in [("a", ids.start..middle), ("b", middle..ids.end)] {
        if !part.is_empty() {
            task.write(batch(&load.schema, split, 0, rows(&load.schema, part))).await.unwrap();
        }
    }
    for split in ["a", "b"] {
        task.write(write(LoadEvent::SplitDone(table.clone(), SplitId::new(split)))).await.unwrap();
    }
    task.write(write(LoadEvent::Complete(table))).await.unwrap();
}

/// A checkpoint in one line: durable tables with rows, then the failures.
pub(crate) fn told(checkpoint: &Checkpoint) -> String {
    let durable = checkpoint.durable.tables().map(|(t, l)| format!("{t}@{} {:?}", l.position, l.rows));
    let failed = checkpoint.failed.iter().map(|(t, e)| format!("{t}! {e}"));
    durable.chain(failed).collect::<Vec<_>>().join("; ")
}
