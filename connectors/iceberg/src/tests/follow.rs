//! A log applied to tables: whatever the changes, commits, crashes and lost indexes, the table is what the changes
//! come to.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_buffer::BooleanBuffer;
use arrow_schema::DataType;
use connector_api::{
    Applied, ApplyTask, Column, LogBatch, LogEvent, LogSpan, Moved, Op, Sink, TableId, TableSchema, TaskContext,
};
use proptest::prelude::*;
use proptest::test_runner::Config as Cases;

use super::Lake;
use super::foreign::has_equality_deletes;

/// `public.t`: a key, a text, and a text that is not sent with every change.
pub(super) fn table(keyed: bool) -> Arc<TableSchema> {
    let columns = vec![
        Column::new("id", DataType::Int64, !keyed, "int8"),
        Column::new("v", DataType::Utf8, true, "text"),
        Column::new("big", DataType::Utf8, true, "text"),
    ];
    Arc::new(TableSchema::new(TableId::new("public", "t"), columns, if keyed { vec![0] } else { vec![] }).unwrap())
}

/// One change. Texts are numbers, for brevity.
#[derive(Clone, Debug)]
enum Change {
    /// Puts a row; `None`: its `big` is not sent, if there is a row of that key.
    Put(i64, u32, Option<u32>),
    Delete(i64),
    /// The row moves to another key, without its `big`.
    Move(i64, i64, u32),
    Truncate,
}

/// What happens besides changes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Turn {
    Go,
    Commit,
    /// The task is gone without a word.
    Crash,
    /// And so is the index.
    CrashWithoutIndex,
}

type Rows = BTreeMap<i64, (String, String)>;

/// What a change does to the rows, and the events that say so.
fn step(rows: &mut Rows, change: &Change) -> Vec<Said> {
    match change {
        Change::Put(id, v, big) => {
            let known = rows.get(id).map(|(_, big)| big.clone());
            let sent = match (big, &known) {
                (Some(big), _) => Some(format!("big {big}")),
                (None, Some(_)) => None,
                (None, None) => Some("big".to_owned()),
            };
            let row = (v.to_string(), sent.clone().or(known).unwrap_or_default());
            rows.insert(*id, row);
            vec![Said::Put(*id, v.to_string(), sent, None)]
        }
        Change::Delete(id) => {
            rows.remove(id);
            vec![Said::Delete(*id)]
        }
        Change::Move(from, to, v) => match rows.remove(from) {
            Some((_, big)) if from != to => {
                rows.insert(*to, (v.to_string(), big));
                vec![Said::Delete(*from), Said::Put(*to, v.to_string(), None, Some(*from))]
            }
            Some(row) => {
                rows.insert(*from, row);
                vec![]
            }
            None => vec![],
        },
        Change::Truncate => {
            rows.clear();
            vec![Said::Truncate]
        }
    }
}

#[derive(Clone, Debug)]
pub(super) enum Said {
    Put(i64, String, Option<String>, Option<i64>),
    Delete(i64),
    Truncate,
}

/// The log: what each change said, in order.
pub(super) struct Log {
    pub(super) schema: Arc<TableSchema>,
    pub(super) said: Vec<Vec<Said>>,
    /// So many changes are a transaction.
    pub(super) transaction: usize,
}

impl Log {
    /// The events of the changes `(after, upto]`; what is between truncations is one batch.
    pub(super) fn events(&self, after: usize, upto: usize) -> Vec<LogEvent> {
        let mut events = Vec::new();
        let (mut at, mut gathered) = (after, Vec::new());
        for (number, said) in self.said.iter().enumerate().take(upto).skip(after) {
            if matches!(said.as_slice(), [Said::Truncate]) {
                if number > at {
                    events.push(self.batch(at, number, std::mem::take(&mut gathered)));
                }
                let span = self.span(number, number + 1);
                events.push(LogEvent::Truncate(self.schema.table().clone(), span));
                at = number + 1;
            } else {
                gathered.extend(said.iter().cloned());
            }
        }
        if upto > at {
            events.push(self.batch(at, upto, gathered));
        }
        events
    }

    fn batch(&self, after: usize, upto: usize, said: Vec<Said>) -> LogEvent {
        let (mut ids, mut vs, mut bigs, mut lacks, mut ops) = (vec![], vec![], vec![], vec![], vec![]);
        let (mut moved, mut old) = (vec![], vec![]);
        for said in said {
            match said {
                Said::Put(id, v, big, from) => {
                    if let Some(from) = from {
                        moved.push(u32::try_from(ids.len()).unwrap());
                        old.push(from);
                    }
                    ids.push(id);
                    vs.push(Some(v));
                    lacks.push(big.is_none());
                    bigs.push(big);
                    ops.push(Op::Put);
                }
                Said::Delete(id) => {
                    ids.push(id);
                    vs.push(None);
                    lacks.push(false);
                    bigs.push(None);
                    ops.push(Op::Delete);
                }
                Said::Truncate => unreachable!("divides batches"),
            }
        }
        let columns: Vec<ArrayRef> =
            vec![Arc::new(Int64Array::from(ids)), Arc::new(StringArray::from(vs)), Arc::new(StringArray::from(bigs))];
        let rows = RecordBatch::try_new(Arc::clone(self.schema.arrow()), columns).unwrap();
        let mut batch = LogBatch::new(Arc::clone(&self.schema), self.span(after, upto), rows, ops).unwrap();
        if lacks.contains(&true) {
            batch = batch.with_missing(vec![None, None, Some(BooleanBuffer::from(lacks))]).unwrap();
        }
        if !moved.is_empty() {
            let keys = arrow_schema::Schema::new(vec![self.schema.columns()[0].field().clone()]);
            let old_keys = RecordBatch::try_new(Arc::new(keys), vec![Arc::new(Int64Array::from(old))]).unwrap();
            batch = batch.with_moved(Moved { rows: moved, old_keys }).unwrap();
        }
        LogEvent::Changes(batch)
    }

    fn span(&self, after: usize, upto: usize) -> LogSpan {
        let after = (after > 0).then(|| after.to_string().into());
        LogSpan {
            partition: "t-0".into(),
            after,
            upto: upto.to_string().into(),
            whole: self.is_border(upto),
            told: None,
        }
    }

    fn is_border(&self, at: usize) -> bool {
        at.is_multiple_of(self.transaction) || at == self.said.len()
    }
}

pub(super) fn context(state: &Path) -> TaskContext {
    TaskContext { state_dir: Some(state.into()), ..TaskContext::new("lake", 0, 8 << 20) }
}

/// Opens the task and the table; says where the table stands.
pub(super) async fn open(lake: &Lake, schema: &Arc<TableSchema>) -> (Box<dyn ApplyTask>, usize) {
    let sink = lake.sink();
    let stands = sink.standing(schema.table()).await.unwrap();
    let mark = stands.and_then(|s| s.marks.get("t-0").cloned());
    let mut task = sink.apply(context(lake.dir.path())).await.unwrap();
    let event = LogEvent::Open { schema: Arc::clone(schema), source: "shop".into(), create: true };
    task.apply(event).await.unwrap();
    (task, mark.map_or(0, |mark| mark.parse().unwrap()))
}

pub(super) fn told(applied: &Applied) -> Option<String> {
    applied.failed.first().map(|(table, e)| format!("{table}: {e:#}"))
}

pub(super) async fn rows(lake: &Lake) -> Vec<(i64, String, String)> {
    let mut found = Vec::new();
    if lake.table("t").await.is_none() {
        return found;
    }
    for batch in lake.scan("t").await {
        let text = |column: &str, row| batch[column].as_string::<i32>().value(row).to_owned();
        let ids = batch["id"].as_primitive::<Int64Type>();
        found.extend((0..batch.num_rows()).map(|row| (ids.value(row), text("v", row), text("big", row))));
    }
    found.sort();
    found
}

/// Applies changes with what happens between them, and compares at every commit.
async fn run(extra: &[(&str, &str)], transaction: usize, changes: &[Change], turns: &[Turn]) -> Result<(), String> {
    let lake = Lake::with(extra);
    let schema = table(true);
    let mut model = Rows::new();
    let mut states = vec![model.clone()];
    let mut log = Log { schema: Arc::clone(&schema), said: Vec::new(), transaction };
    for change in changes {
        let said = step(&mut model, change);
        log.said.push(said);
        states.push(model.clone());
    }
    let (mut task, mut at) = open(&lake, &schema).await;
    // Not over and over: crashes alone would never let it get on.
    let mut turns = turns.iter().copied();
    while at < log.said.len() {
        let upto = (at + 1 + at % 5).min(log.said.len());
        for event in log.events(at, upto) {
            task.apply(event).await.map_err(|e| e.to_string())?;
        }
        at = upto;
        let turn = turns.next().unwrap_or(Turn::Commit);
        if turn == Turn::Go {
            continue;
        }
        // A crash comes before, in the middle of, or after a commit.
        let commit = task.checkpoint();
        if turn == Turn::Commit || at % 3 == 0 {
            let applied = commit.await.map_err(|e| e.to_string())?;
            told(&applied).map_or(Ok(()), Err)?;
        } else if at % 3 == 1 {
            // Whoever polls it first and then forgets it.
            let _ = tokio::time::timeout(std::time::Duration::from_millis(at as u64 % 7), commit).await;
        }
        if turn != Turn::Commit {
            task.close().await.map_err(|e| e.to_string())?;
            index_is_the_table(&lake, &schema).await?;
            if turn == Turn::CrashWithoutIndex {
                let _ = std::fs::remove_dir_all(lake.dir.path().join("iceberg/index"));
            }
            (task, at) = open(&lake, &schema).await;
        }
        let (found, stands) = (rows(&lake).await, stands(&lake, &schema).await);
        if !log.is_border(stands) {
            return Err(format!("at {at}: a transaction is divided at {stands}"));
        }
        let wanted = &states[stands];
        let wanted: Vec<_> = wanted.iter().map(|(id, (v, big))| (*id, v.clone(), big.clone())).collect();
        if found != wanted {
            return Err(format!("at {at}: found {found:?}, wanted {wanted:?}"));
        }
    }
    told(&task.checkpoint().await.map_err(|e| e.to_string())?).map_or(Ok(()), Err)?;
    task.close().await.map_err(|e| e.to_string())?;
    let found = rows(&lake).await;
    let wanted: Vec<_> = model.into_iter().map(|(id, (v, big))| (id, v, big)).collect();
    index_is_the_table(&lake, &schema).await?;
    assert!(!has_equality_deletes(&lake).await);
    if found == wanted { Ok(()) } else { Err(format!("at the end: found {found:?}, wanted {wanted:?}")) }
}

/// What one would be that is made anew, unless there is none for the table as it is.
async fn index_is_the_table(lake: &Lake, schema: &TableSchema) -> Result<(), String> {
    let Some(table) = lake.table("t").await else { return Ok(()) };
    let indexes = lake.dir.path().join("iceberg/index");
    match crate::follow::compared(&indexes, schema, &table).await {
        Some(Some(difference)) => Err(format!("the index is not what the table holds: {difference:?}")),
        Some(None) | None => Ok(()),
    }
}

/// A commit that size caused waits for the interval to be reported: a checkpoint would commit what has gathered
/// meanwhile, which would be reported in its turn, and so on.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_for_its_size_makes_no_checkpoint_due_before_the_interval() {
    let lake = Lake::with(&[("commit.max.rows", "1"), ("iceberg.control.commit.interval-ms", "60000")]);
    let schema = table(true);
    let mut log = Log { schema: Arc::clone(&schema), said: Vec::new(), transaction: 1 };
    log.said.push(step(&mut Rows::new(), &Change::Put(1, 1, Some(1))));
    let (mut task, _) = open(&lake, &schema).await;
    for event in log.events(0, 1) {
        task.apply(event).await.unwrap();
    }
    while stands(&lake, &schema).await < 1 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let due = |ms| task.due(std::time::Duration::from_millis(ms));
    // It is noted a moment after it can be seen.
    while !due(60_000) {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert!(!due(59_999));
    assert_eq!(told(&task.checkpoint().await.unwrap()), None);
    assert!(!task.due(std::time::Duration::from_secs(3600)), "nothing is left to report");
    task.close().await.unwrap();
}

/// So many rows, each with this text, as an event each; of those in `torn` the transaction goes on.
pub(super) fn puts(schema: &Arc<TableSchema>, upto: i64, v: &str, torn: &[usize]) -> Vec<LogEvent> {
    let said = (0..upto).map(|n| vec![Said::Put(n, v.to_owned(), Some("big".to_owned()), None)]).collect();
    let log = Log { schema: Arc::clone(schema), said, transaction: 1 };
    let event = |n| {
        let Some(LogEvent::Changes(batch)) = log.events(n, n + 1).pop() else { unreachable!() };
        let span = LogSpan { whole: !torn.contains(&n), ..batch.span().clone() };
        let (rows, ops) = (batch.rows().clone(), batch.ops().to_vec());
        LogEvent::Changes(LogBatch::new(Arc::clone(schema), span, rows, ops).unwrap())
    };
    (0..log.said.len()).map(event).collect()
}

/// P7: a commit ends where a transaction ends, also of one that is larger than commits may be.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_does_not_divide_a_transaction() {
    let lake = Lake::with(&[("commit.max.rows", "6")]);
    let schema = table(true);
    let (mut task, _) = open(&lake, &schema).await;
    let mut reached = Vec::new();
    let torn = [1, 2, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 16, 17];
    for (at, event) in puts(&schema, 18, "1", &torn).into_iter().enumerate() {
        task.apply(event).await.unwrap();
        if [0, 2, 3, 4, 5, 10, 17].contains(&at) {
            assert_eq!(told(&task.checkpoint().await.unwrap()), None);
            reached.push(stands(&lake, &schema).await);
        }
    }
    // The one that begins with the seventh has ten rows: six are written ahead of its end.
    assert_eq!(reached, [1, 1, 4, 4, 6, 6, 16]);
    assert_eq!(snapshots(&lake).await, 4);
    // What a table that fails, or that is opened again, had besides comes again.
    let failed = LogEvent::Failed(schema.table().clone(), Arc::new(connector_api::Error::data("bad")));
    task.apply(failed).await.unwrap();
    task.checkpoint().await.unwrap();
    task.close().await.unwrap();
    let (task, at) = open(&lake, &schema).await;
    task.close().await.unwrap();
    assert_eq!((at, rows(&lake).await.len()), (16, 16));
}

/// What waits for the rest of a transaction is written where nothing else can make room, and waits in the store.
#[tokio::test(flavor = "multi_thread")]
async fn what_there_is_no_room_for_waits_in_the_store() {
    let lake = Lake::with(&[]);
    let schema = table(true);
    let (mut task, _) = open(&lake, &schema).await;
    // Of 4 MiB for all.
    let torn: Vec<usize> = (0..11).collect();
    let mut events = puts(&schema, 12, &"x".repeat(900 << 10), &torn);
    let last = events.pop().unwrap();
    for event in events {
        task.apply(event).await.unwrap();
    }
    assert_eq!(told(&task.checkpoint().await.unwrap()), None);
    assert_eq!((stands(&lake, &schema).await, lake.table("t").await.is_some()), (0, false));
    task.apply(last).await.unwrap();
    assert_eq!(told(&task.checkpoint().await.unwrap()), None);
    assert_eq!((stands(&lake, &schema).await, rows(&lake).await.len(), snapshots(&lake).await), (12, 12, 1));
    task.close().await.unwrap();
}

/// Parts of a transaction that were written ahead, and then come to nothing, do not stay in the store.
#[tokio::test(flavor = "multi_thread")]
async fn parts_that_come_to_nothing_are_deleted() {
    for ends in ["fails", "is emptied", "is let go"] {
        let lake = Lake::with(&[("commit.max.rows", "6")]);
        let schema = table(true);
        let (mut task, _) = open(&lake, &schema).await;
        let mut events = puts(&schema, 16, "1", &(1..15).collect::<Vec<_>>());
        let last = events.pop().unwrap();
        for event in events {
            task.apply(event).await.unwrap();
            task.checkpoint().await.unwrap();
        }
        let files = || lake.files(".parquet").into_iter().filter(|path| path.contains("/t/data/")).count();
        assert_eq!((lake.ids("t").await, files()), (vec![0], 3), "{ends}");
        match ends {
            "fails" => {
                let failed = Arc::new(connector_api::Error::data("bad"));
                task.apply(LogEvent::Failed(schema.table().clone(), failed)).await.unwrap();
                task.checkpoint().await.unwrap();
                task.close().await.unwrap();
            }
            "is emptied" => {
                let LogEvent::Changes(batch) = last else { unreachable!() };
                task.apply(LogEvent::Truncate(schema.table().clone(), batch.span().clone())).await.unwrap();
                assert_eq!(told(&task.checkpoint().await.unwrap()), None);
                assert_eq!(lake.ids("t").await, [0_i64; 0]);
                task.close().await.unwrap();
            }
            _ => task.close().await.unwrap(),
        }
        // What a snapshot of before refers to.
        assert_eq!(files(), 1, "{ends}");
    }
}

/// What a log tells a table's columns to be may change before the table is made.
#[tokio::test(flavor = "multi_thread")]
async fn columns_that_come_within_the_first_stretch_are_there() {
    let lake = Lake::with(&[]);
    let schema = table(true);
    let mut columns = schema.columns().to_vec();
    columns.push(Column::new("late", DataType::Utf8, true, "text"));
    let grown = Arc::new(TableSchema::new(schema.table().clone(), columns, vec![0]).unwrap());
    let (mut task, _) = open(&lake, &schema).await;
    for event in puts(&schema, 1, "1", &[]) {
        task.apply(event).await.unwrap();
    }
    let text = |v: &str| -> ArrayRef { Arc::new(StringArray::from(vec![v])) };
    let columns = vec![Arc::new(Int64Array::from(vec![7])) as ArrayRef, text("v"), text("big"), text("late")];
    let rows = RecordBatch::try_new(Arc::clone(grown.arrow()), columns).unwrap();
    let (partition, after) = ("t-0".into(), Some("1".into()));
    let span = LogSpan { partition, after, upto: "2".into(), whole: true, told: None };
    task.apply(LogEvent::Changes(LogBatch::new(grown, span, rows, vec![Op::Put]).unwrap())).await.unwrap();
    assert_eq!(told(&task.checkpoint().await.unwrap()), None);
    let mut found: Vec<Option<String>> = Vec::new();
    for batch in lake.scan("t").await {
        found.extend(batch["late"].as_string::<i32>().iter().map(|v| v.map(str::to_owned)));
    }
    found.sort();
    assert_eq!(found, [None, Some("late".to_owned())]);
    task.close().await.unwrap();
}

async fn snapshots(lake: &Lake) -> usize {
    lake.table("t").await.unwrap().metadata().snapshots().count()
}

pub(super) async fn stands(lake: &Lake, schema: &TableSchema) -> usize {
    let stands = lake.sink().standing(schema.table()).await.unwrap();
    stands.and_then(|s| s.marks.get("t-0").cloned()).map_or(0, |mark| mark.parse().unwrap())
}

fn change() -> impl Strategy<Value = Change> {
    let id = || 0_i64..12;
    prop_oneof![
        8 => (id(), 0_u32..100, prop::option::of(0_u32..100)).prop_map(|(id, v, big)| Change::Put(id, v, big)),
        3 => id().prop_map(Change::Delete),
        3 => (id(), id(), 0_u32..100).prop_map(|(from, to, v)| Change::Move(from, to, v)),
        1 => Just(Change::Truncate),
    ]
}

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        4 => Just(Turn::Go),
        4 => Just(Turn::Commit),
        2 => Just(Turn::Crash),
        1 => Just(Turn::CrashWithoutIndex),
    ]
}

fn check(extra: &[(&str, &str)], transaction: usize, changes: &[Change], turns: &[Turn]) -> Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(run(extra, transaction, changes, turns)).map_err(TestCaseError::fail)
}

proptest! {
    #![proptest_config(Cases { cases: 10, ..Cases::default() })]

    /// P6–P20 for one lane: the table is always exactly what the changes up to its mark come to.
    #[test]
    fn a_table_is_what_its_log_comes_to(
        changes in prop::collection::vec(change(), 1..60),
        turns in prop::collection::vec(turn(), 1..24),
    ) {
        check(&[], 1, &changes, &turns)?;
    }

    #[test]
    fn and_so_is_one_divided_into_partitions_and_small_files(
        changes in prop::collection::vec(change(), 1..40),
        turns in prop::collection::vec(turn(), 1..24),
    ) {
        check(&[("iceberg.tables.default-partition-by", "bucket(id, 3)")], 1, &changes, &turns)?;
    }

    /// P7: parts of a commit are written ahead, and count for each other and for nobody else.
    #[test]
    fn and_so_is_one_whose_transactions_are_larger_than_commits(
        changes in prop::collection::vec(change(), 1..80),
        turns in prop::collection::vec(turn(), 1..24),
        transaction in 2_usize..30,
    ) {
        check(&[("commit.max.rows", "3")], transaction, &changes, &turns)?;
    }
}
