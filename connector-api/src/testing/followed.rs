//! A log of changes in memory: a test appends, whoever follows reads. Clones share what is in it.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use async_trait::async_trait;

use super::memory::{lock, yield_now};
use super::pair_schema;
use crate::{
    ChangeLog, Deal, Error, LogBatch, LogEvent, LogSpan, LogTask, Marks, Op, Result, Sink, TableId, TableSchema,
    TaskContext,
};

/// One change of a table of [`pair_schema`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The row `(id, v)`.
    Put(i64, i64),
    /// The row is gone: the one of this id, or without a key one like this.
    Delete(i64, i64),
    /// Every row is gone.
    Truncate,
    /// Something that nobody can read.
    Bad,
}

struct LogTable {
    schema: Arc<TableSchema>,
    partitions: Vec<Vec<Change>>,
}

#[derive(Default)]
struct Content {
    tables: BTreeMap<TableId, LogTable>,
    acknowledged: BTreeMap<TableId, Marks>,
    wakers: Vec<Waker>,
}

/// A log that delivers what was appended, in batches of chosen size.
#[derive(Clone)]
pub struct MemoryLog {
    content: Arc<Mutex<Content>>,
    per_batch: usize,
}

impl MemoryLog {
    /// An empty log whose batches have at most so many changes.
    pub fn new(per_batch: usize) -> Self {
        Self { content: Arc::default(), per_batch: per_batch.max(1) }
    }

    /// Adds a table with so many partitions.
    #[must_use]
    pub fn with_table(self, table: &TableId, has_key: bool, partitions: usize) -> Self {
        let added = LogTable { schema: pair_schema(table, has_key), partitions: vec![Vec::new(); partitions] };
        lock(&self.content).tables.insert(table.clone(), added);
        self
    }

    /// Appends to a partition of a table that was added; to another one, nothing.
    pub fn append(&self, table: &TableId, partition: usize, changes: impl IntoIterator<Item = Change>) {
        let mut content = lock(&self.content);
        if let Some(known) = content.tables.get_mut(table).and_then(|t| t.partitions.get_mut(partition)) {
            known.extend(changes);
        }
        content.wakers.drain(..).for_each(Waker::wake);
    }

    /// Up to where a table was acknowledged.
    pub fn acknowledged(&self, table: &TableId) -> Marks {
        lock(&self.content).acknowledged.get(table).cloned().unwrap_or_default()
    }

    /// Where the log of a table ends.
    pub fn end(&self, table: &TableId) -> Marks {
        lock(&self.content).tables.get(table).map(|known| ends(table, known)).unwrap_or_default()
    }
}

fn ends(table: &TableId, known: &LogTable) -> Marks {
    let lengths = known.partitions.iter().map(Vec::len).enumerate().filter(|(_, length)| *length > 0);
    lengths.map(|(n, length)| (partition(table, n), length.to_string().into())).collect()
}

fn partition(table: &TableId, n: usize) -> Arc<str> {
    format!("{table}/{n}").into()
}

#[async_trait]
impl ChangeLog for MemoryLog {
    async fn ends(&self, tables: &[TableId]) -> Result<BTreeMap<TableId, Marks>> {
        let content = lock(&self.content);
        let known = tables.iter().filter_map(|table| Some((table, content.tables.get(table)?)));
        let ends = known.map(|(table, known)| (table.clone(), ends(table, known)));
        Ok(ends.filter(|(_, marks)| !marks.is_empty()).collect())
    }

    async fn follow(&self, sink: Arc<dyn Sink>, deal: Deal, _: TaskContext) -> Result<Box<dyn LogTask>> {
        Ok(Box::new(MemoryLogTask { log: self.clone(), sink, deal, lanes: BTreeMap::new(), turn: 0 }))
    }
}

/// Where the delivery of a table is: how many changes of each partition are delivered.
enum Lane {
    Open(Vec<usize>),
    Stopped,
}

struct MemoryLogTask {
    log: MemoryLog,
    sink: Arc<dyn Sink>,
    deal: Deal,
    /// A table that is not in it is to be opened.
    lanes: BTreeMap<TableId, Lane>,
    /// Tables take turns.
    turn: usize,
}

/// What can be delivered.
enum Ready {
    Opening(Arc<TableSchema>, usize),
    Event(Box<LogEvent>),
}

impl MemoryLogTask {
    /// What comes next, if there is anything; what is taken of it is taken now.
    fn ready(&mut self) -> Result<Option<Ready>> {
        let content = Arc::clone(&self.log.content);
        let content = lock(&content);
        let count = content.tables.len();
        let turn = self.turn;
        for (table, known) in content.tables.iter().cycle().skip(turn % count.max(1)).take(count) {
            self.turn += 1;
            if !self.deal.has(&table.to_string()) {
                continue;
            }
            match self.lanes.get_mut(table) {
                None => return Ok(Some(Ready::Opening(Arc::clone(&known.schema), known.partitions.len()))),
                Some(Lane::Stopped) => {}
                Some(Lane::Open(reached)) => {
                    let mut waiting = known.partitions.iter().zip(reached.iter_mut()).enumerate();
                    if let Some((n, (changes, at))) = waiting.find(|(_, (changes, at))| **at < changes.len()) {
                        let event = deliver(&known.schema, n, &changes[*at..], at, self.log.per_batch)?;
                        if matches!(event, LogEvent::Failed(..)) {
                            self.lanes.insert(table.clone(), Lane::Stopped);
                        }
                        return Ok(Some(Ready::Event(Box::new(event))));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Opens a table where it stands. Takes nothing before it knows that.
    async fn open(&mut self, schema: Arc<TableSchema>, partitions: usize) -> LogEvent {
        let table = schema.table().clone();
        let standing = match self.sink.standing(&table).await {
            Ok(standing) => standing,
            Err(error) => {
                self.lanes.insert(table.clone(), Lane::Stopped);
                return LogEvent::Failed(table, Arc::new(error));
            }
        };
        let create = standing.is_none();
        let marks = standing.map(|s| s.marks).unwrap_or_default();
        let at = |n| marks.get(&partition(&table, n)).and_then(|mark| mark.parse().ok()).unwrap_or(0);
        self.lanes.insert(table.clone(), Lane::Open((0..partitions).map(at).collect()));
        LogEvent::Open { schema, source: "memory".into(), create }
    }
}

/// The next event of a partition that has `changes` left.
pub(super) fn deliver(
    schema: &Arc<TableSchema>,
    n: usize,
    changes: &[Change],
    at: &mut usize,
    most: usize,
) -> Result<LogEvent> {
    let table = schema.table();
    let is_row = |change: &&Change| matches!(change, Change::Put(..) | Change::Delete(..));
    let rows: Vec<_> = changes.iter().take(most).take_while(is_row).collect();
    let taken = rows.len().max(1);
    let after = (*at > 0).then(|| Arc::from(at.to_string()));
    let span = LogSpan {
        partition: partition(table, n),
        after,
        upto: (*at + taken).to_string().into(),
        whole: true,
        told: None,
    };
    if rows.is_empty() {
        if changes.first() == Some(&Change::Bad) {
            let bad = Error::data("a bad record").with("table", table).with("offset", *at);
            return Ok(LogEvent::Failed(table.clone(), Arc::new(bad)));
        }
        *at += taken;
        return Ok(LogEvent::Truncate(table.clone(), span));
    }
    let has_key = !schema.key().is_empty();
    let (mut ids, mut values, mut ops) = (Vec::new(), Vec::new(), Vec::new());
    for change in rows {
        let (op, id, v) = match change {
            Change::Put(id, v) => (Op::Put, *id, Some(*v)),
            Change::Delete(id, v) => (Op::Delete, *id, Some(*v).filter(|_| !has_key)),
            Change::Truncate | Change::Bad => continue,
        };
        ids.push(id);
        values.push(v);
        ops.push(op);
    }
    let columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(ids)), Arc::new(Int64Array::from(values))];
    let rows = RecordBatch::try_new(Arc::clone(schema.arrow()), columns);
    let batch = LogBatch::new(Arc::clone(schema), span, rows.map_err(|e| Error::fatal("rows").caused_by(e))?, ops)?;
    *at += taken;
    Ok(LogEvent::Changes(batch))
}

#[async_trait]
impl LogTask for MemoryLogTask {
    async fn next(&mut self) -> Result<LogEvent> {
        yield_now().await;
        let ready = poll_fn(|context| match self.ready() {
            Ok(Some(ready)) => Poll::Ready(Ok(ready)),
            Err(error) => Poll::Ready(Err(error)),
            Ok(None) => {
                lock(&self.log.content).wakers.push(context.waker().clone());
                Poll::Pending
            }
        });
        match ready.await? {
            Ready::Event(event) => Ok(*event),
            Ready::Opening(schema, partitions) => Ok(self.open(schema, partitions).await),
        }
    }

    async fn reopen(&mut self, table: &TableId) -> Result<()> {
        self.lanes.remove(table);
        Ok(())
    }

    async fn stop(&mut self, table: &TableId) {
        self.lanes.insert(table.clone(), Lane::Stopped);
    }

    async fn acknowledge(&mut self, table: &TableId, marks: &Marks) {
        let mut content = lock(&self.log.content);
        content.acknowledged.entry(table.clone()).or_default().extend(marks.clone());
    }

    async fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}
