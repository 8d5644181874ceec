//! Tables that others write to while a log is followed into them: what they do is met, refused or taken over, and no row
//! is lost or doubled by it.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use async_trait::async_trait;
use connector_api::{Applied, ApplyTask, ErrorKind, Event, LoadEvent, LogEvent, Result, Sink, SplitId, TableSchema};
use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, FormatVersion, Operation, PartitionSpec,
};
use iceberg::table::Table;
use tokio::runtime::Handle;

use super::commits::{Fault, Faulty};
use super::follow::{Log, Said, open, puts, rows, stands, table, told};
use super::{Lake, batch, load_of};
use crate::commit::{self, Change, Committer, Decision, Proposal};
use crate::follow;
use crate::journal::{Attempt, Journal};
use crate::ledger::Ledger;
use crate::writer::{Budget, DataWriter, Shape, Target};

/// A change that is made whatever the table is.
struct Whatever(Change);

#[async_trait]
impl Proposal for Whatever {
    async fn on(&mut self, _: Option<&Table>) -> Result<Decision> {
        Ok(Decision::Commit(Box::new(self.0.clone())))
    }
}

fn attempt(lake: &Lake) -> Attempt {
    Journal::open(None, "").attempt(commit::new_snapshot_id(), &lake.place().of("t"))
}

/// Has another writer commit to the table `t`.
async fn commit_foreign(lake: &Lake, add: Vec<DataFile>, deletes: Vec<(i32, DataFile)>, replace: bool) {
    let change = Change {
        snapshot_id: commit::new_snapshot_id(),
        operation: if replace { Operation::Replace } else { Operation::Delete },
        add,
        deletes,
        replace,
        format: FormatVersion::V2,
        spec: PartitionSpec::unpartition_spec(),
        schema: None,
        properties: Default::default(),
        summary: Default::default(),
        keep_snapshots: None,
        attempt: attempt(lake),
        failpoint: "test",
    };
    commit::commit(&lake.committer().await, &lake.place().of("t"), 0, &mut Whatever(change)).await.unwrap();
}

/// Rewrites the table's rows into one file, as another engine's compaction does.
pub(super) async fn compact(lake: &Lake) {
    let now = lake.table("t").await.unwrap();
    let live = lake.scan("t").await;
    let schema = now.metadata().current_schema().clone();
    let shape = Shape {
        arrow: crate::schema::file_schema(&table(true), &schema),
        schema,
        spec: Arc::new(PartitionSpec::unpartition_spec()),
    };
    let target = Target {
        storage: now.file_io().clone(),
        runtime: Handle::current(),
        folder: format!("{}/data", now.metadata().location()),
        files: lake.config.tables.files,
        budget: Budget::new(1 << 20),
        attempt: attempt(lake),
    };
    let files = tokio::task::spawn_blocking(move || {
        let mut writer = DataWriter::new(shape, target).unwrap();
        for rows in live {
            let rows = RecordBatch::try_new(Arc::clone(table(true).arrow()), rows.columns().to_vec()).unwrap();
            writer.write(&rows).unwrap();
        }
        writer.finish().unwrap()
    });
    commit_foreign(lake, files.await.unwrap(), Vec::new(), true).await;
}

/// Whether any snapshot of the table has equality deletes.
pub(super) async fn has_equality_deletes(lake: &Lake) -> bool {
    let Some(table) = lake.table("t").await else { return false };
    for snapshot in table.metadata().snapshots() {
        for manifest in table.manifest_list_reader(snapshot).load().await.unwrap().entries() {
            let manifest = manifest.load_manifest(table.file_io()).await.unwrap();
            let files = manifest.entries().iter().map(|entry| entry.data_file().content_type());
            if files.into_iter().any(|content| content == DataContentType::EqualityDeletes) {
                return true;
            }
        }
    }
    false
}

pub(super) fn followed(lake: &Lake, committer: Arc<dyn Committer>) -> Box<dyn ApplyTask> {
    let (place, folder) = (lake.place(), lake.dir.path().join("iceberg"));
    let journal = Journal::open(Some(&folder), &place.config.identity());
    let known = (Arc::clone(&committer), Arc::clone(&place), Arc::clone(&journal));
    let ledger = Ledger::start(known.0, known.1, known.2, Arc::default(), Vec::new());
    let context = super::follow::context(lake.dir.path());
    Box::new(follow::task(place, committer, journal, ledger, &folder.join("index"), &context))
}

/// A log of texts: each round puts each key anew.
pub(super) fn rounds(schema: &Arc<TableSchema>, keys: i64, rounds: usize) -> Log {
    let put = |round: usize, id| vec![Said::Put(id, format!("{round}"), Some("big".to_owned()), None)];
    let said = (0..rounds).flat_map(|round| (0..keys).map(move |id| put(round, id))).collect();
    Log { schema: Arc::clone(schema), said, transaction: 1 }
}

pub(super) async fn apply(task: &mut dyn ApplyTask, events: Vec<LogEvent>) -> Applied {
    for event in events {
        task.apply(event).await.unwrap();
    }
    task.checkpoint().await.unwrap()
}

pub(super) fn opening(schema: &Arc<TableSchema>) -> LogEvent {
    LogEvent::Open { schema: Arc::clone(schema), source: "shop".into(), create: true }
}

/// The table after a round: each key once.
fn of_round(keys: i64, round: usize) -> Vec<(i64, String, String)> {
    (0..keys).map(|id| (id, round.to_string(), "big".to_owned())).collect()
}

/// A commit is in the table, its answer is lost, and meanwhile another engine has rewritten the files that the key index
/// knows: what follows deletes from the new ones. The twin is a lost answer alone, after which all goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_is_overtaken_before_its_answer_is_looked_for_doubles_nothing() {
    for is_overtaken in [false, true] {
        let lake = Arc::new(Lake::new());
        let schema = table(true);
        let log = rounds(&schema, 6, 4);
        let mut committer = Faulty::new(&lake, &[]).await;
        committer.overtaken = is_overtaken.then(|| Arc::clone(&lake));
        let committer = Arc::new(committer);
        committer.ensure_namespace().await.unwrap();
        let mut task = followed(&lake, Arc::clone(&committer) as Arc<dyn Committer>);
        task.apply(opening(&schema)).await.unwrap();
        assert_eq!(told(&apply(task.as_mut(), log.events(0, 6)).await), None);
        committer.faults.lock().unwrap().push(Fault::AnswerLost);
        let failed = told(&apply(task.as_mut(), log.events(6, 12)).await);
        assert!(committer.faults.lock().unwrap().is_empty());
        assert_eq!(stands(&lake, &schema).await, 12, "it got through");
        assert_eq!(rows(&lake).await, of_round(6, 1));
        assert_eq!(failed.is_some(), is_overtaken, "{failed:?}");
        if failed.is_some() {
            task.apply(opening(&schema)).await.unwrap();
        }
        for round in [2, 3] {
            assert_eq!(told(&apply(task.as_mut(), log.events(round * 6, (round + 1) * 6)).await), None);
            assert_eq!(rows(&lake).await, of_round(6, round), "overtaken: {is_overtaken}");
        }
        task.close().await.unwrap();
        let (indexes, now) = (lake.dir.path().join("iceberg/index"), lake.table("t").await.unwrap());
        assert_eq!(follow::compared(&indexes, &schema, &now).await, Some(None), "the index is what the table holds");
    }
}

/// What comes right behind an opening is of it, also where the table's worker has not come to it yet: a failure of before
/// drops none of it. One thread, so that it has not.
#[tokio::test]
async fn a_failure_of_before_drops_nothing_of_the_next_opening() {
    let lake = Lake::new();
    let schema = table(true);
    let log = rounds(&schema, 3, 3);
    let (mut task, _) = open(&lake, &schema).await;
    assert_eq!(told(&apply(task.as_mut(), log.events(0, 3)).await), None);
    compact(&lake).await;
    let failed = told(&apply(task.as_mut(), log.events(3, 6)).await).unwrap();
    assert!(failed.contains("another writer has changed the table"), "{failed}");
    // Until it is opened again.
    assert_eq!(told(&apply(task.as_mut(), log.events(3, 6)).await), None);
    assert_eq!(stands(&lake, &schema).await, 3);
    let events = std::iter::once(opening(&schema)).chain(log.events(3, 9)).collect();
    assert_eq!(told(&apply(task.as_mut(), events).await), None);
    assert_eq!((stands(&lake, &schema).await, rows(&lake).await), (9, of_round(3, 2)));
    task.close().await.unwrap();
}

/// P15: those of others are refused, also when they come while the table is followed and its index is at hand. The twin:
/// that ours have none is seen by what sees these.
#[tokio::test(flavor = "multi_thread")]
async fn equality_deletes_of_others_are_refused_whenever_they_come() {
    let lake = Lake::new();
    let schema = table(true);
    let (mut task, _) = open(&lake, &schema).await;
    let mut events = puts(&schema, 6, "1", &[]);
    let last = events.split_off(3);
    assert_eq!(told(&apply(task.as_mut(), events).await), None);
    assert!(!has_equality_deletes(&lake).await);
    let delete = DataFileBuilder::default()
        .content(DataContentType::EqualityDeletes)
        .file_path(format!("{}/data/eq.parquet", lake.table("t").await.unwrap().metadata().location()))
        .file_format(DataFileFormat::Parquet)
        .partition(iceberg::spec::Struct::empty())
        .partition_spec_id(0)
        .record_count(1)
        .file_size_in_bytes(100)
        .equality_ids(Some(vec![1]))
        .build()
        .unwrap();
    commit_foreign(&lake, Vec::new(), vec![(0, delete)], false).await;
    assert!(has_equality_deletes(&lake).await);
    let mut failed = told(&apply(task.as_mut(), last.clone()).await).unwrap();
    assert!(failed.contains("another writer has changed the table"), "{failed}");
    for _ in 0..2 {
        let events = std::iter::once(opening(&schema)).chain(last.clone()).collect();
        let applied = apply(task.as_mut(), events).await;
        assert_eq!(applied.failed[0].1.kind(), ErrorKind::Data);
        failed = told(&applied).unwrap();
        assert!(failed.contains("another writer left equality deletes") && failed.contains("rewrite_data_files"));
    }
    task.close().await.unwrap();
    // A new process finds its index on disk.
    let (mut task, at) = open(&lake, &schema).await;
    assert_eq!(at, 3);
    assert_eq!(told(&apply(task.as_mut(), last).await), Some(failed));
    task.close().await.unwrap();
}

/// P10: an instance that another has taken a table over from does not go on with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_newer_instance_ends_an_older_one() {
    let (lake, other_state) = (Lake::new(), tempfile::tempdir().unwrap());
    let schema = table(true);
    let log = rounds(&schema, 3, 3);
    let (mut older, _) = open(&lake, &schema).await;
    assert_eq!(told(&apply(older.as_mut(), log.events(0, 3)).await), None);
    let mut newer = lake.sink().apply(super::follow::context(other_state.path())).await.unwrap();
    newer.apply(opening(&schema)).await.unwrap();
    assert_eq!(told(&apply(newer.as_mut(), log.events(3, 6)).await), None);
    let applied = apply(older.as_mut(), log.events(3, 6)).await;
    assert_eq!(applied.failed[0].1.kind(), ErrorKind::Fatal);
    assert!(told(&applied).unwrap().contains("a newer instance has taken the table over"));
    assert_eq!(told(&apply(newer.as_mut(), log.events(6, 9)).await), None);
    assert_eq!(rows(&lake).await, of_round(3, 2));
    older.close().await.unwrap();
    newer.close().await.unwrap();
}

/// P3: a load that replaces a table's rows is not a newer instance. The lane is to be opened again, where the load says:
/// here at the log's beginning.
#[tokio::test(flavor = "multi_thread")]
async fn a_load_of_a_table_that_is_followed_has_it_opened_again() {
    let lake = Lake::new();
    let schema = table(true);
    let log = rounds(&schema, 3, 3);
    let (mut task, _) = open(&lake, &schema).await;
    for round in [0, 3] {
        assert_eq!(told(&apply(task.as_mut(), log.events(round, round + 3)).await), None);
    }
    // Twice with the same cut: a quiet database has the same position for long.
    for _ in 0..2 {
        reload(&lake, &schema).await;
        assert_eq!((stands(&lake, &schema).await, lake.ids("t").await), (0, vec![7]));
        let applied = apply(task.as_mut(), log.events(6, 9)).await;
        assert!(matches!(applied.failed[0].1.kind(), ErrorKind::Retriable { .. }), "{applied:?}");
        let events = std::iter::once(opening(&schema)).chain(log.events(0, 6)).collect();
        assert_eq!(told(&apply(task.as_mut(), events).await), None);
        let mut wanted = of_round(3, 1);
        wanted.push((7, "loaded".into(), "loaded".into()));
        assert_eq!((stands(&lake, &schema).await, rows(&lake).await), (6, wanted));
    }
    task.close().await.unwrap();
}

/// Replaces the table by one row.
async fn reload(lake: &Lake, schema: &Arc<TableSchema>) {
    let text: ArrayRef = Arc::new(StringArray::from(vec!["loaded"]));
    let columns = vec![Arc::new(Int64Array::from(vec![7])) as ArrayRef, Arc::clone(&text), text];
    let rows = RecordBatch::try_new(Arc::clone(schema.arrow()), columns).unwrap();
    let load = connector_api::TableLoad { splits: 1, ..load_of(schema, "0/2", true) };
    let mut task = lake.sink().open(super::context()).await.unwrap();
    let table = schema.table().clone();
    task.write(Event::Load(LoadEvent::Begin(Arc::new(load)))).await.unwrap();
    task.write(batch(schema, "a", 0, rows)).await.unwrap();
    task.write(Event::Load(LoadEvent::SplitDone(table.clone(), SplitId::new("a")))).await.unwrap();
    task.write(Event::Load(LoadEvent::Complete(table))).await.unwrap();
    assert!(task.checkpoint().await.unwrap().failed.is_empty());
    task.close().await.unwrap();
}
