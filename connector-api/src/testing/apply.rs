//! How a [`MemorySink`] applies a log: rows by key (or, without one, row by row), kept with the marks that they reach.
//!
//! What must hold is the contract's: a batch that does not begin where its table stands fails the table, and so
//! does a commit on another base than it was made for; of a table that failed nothing is taken until it is opened.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow_array::{Array, Int64Array, RecordBatch};
use async_trait::async_trait;

use super::memory::{MemorySink, Mishap, Published, Store, lock, yield_now};
use crate::{
    Applied, ApplyHandle, ApplyTask, Cut, Error, LogBatch, LogEvent, LogSpan, Marks, Op, Result, Standing, TableId,
    TableSchema,
};

/// A row of two columns of 64-bit numbers; of one with less, the second is NULL.
pub type Pair = (i64, Option<i64>);

/// A table that follows a log.
#[derive(Clone, Debug)]
pub struct Followed {
    /// Columns and key.
    pub schema: Arc<TableSchema>,
    /// The cut of its load, if it began with one.
    pub cut: Option<Cut>,
    /// Up to where the log is applied.
    pub marks: Marks,
    /// Its rows.
    pub rows: Vec<Pair>,
    /// How many commits have changed it.
    pub commits: u64,
}

impl Followed {
    fn of_load(published: &Published) -> Self {
        let (load, rows) = (&published.load, published.rows.iter().flat_map(pairs).collect());
        let (schema, cut) = (Arc::clone(&load.schema), Some((*load.cut).clone()));
        Self { schema, cut, marks: load.marks.clone(), rows, commits: published.commits }
    }

    fn apply(&mut self, change: &Staged) {
        match change {
            Staged::Row(Op::Put, row) => {
                if !self.schema.key().is_empty() {
                    self.rows.retain(|(id, _)| *id != row.0);
                }
                self.rows.push(*row);
            }
            Staged::Row(Op::Delete, row) => match self.schema.key().is_empty() {
                false => self.rows.retain(|(id, _)| *id != row.0),
                true => {
                    if let Some(at) = self.rows.iter().position(|r| r == row) {
                        self.rows.remove(at);
                    }
                }
            },
            Staged::Truncate => self.rows.clear(),
        }
    }
}

fn pairs(batch: &RecordBatch) -> Vec<Pair> {
    let column = |n: usize| batch.columns().get(n).and_then(|c| c.as_any().downcast_ref::<Int64Array>());
    let value = |n: usize, row: usize| column(n).filter(|c| c.is_valid(row)).map(|c| c.value(row));
    (0..batch.num_rows()).map(|row| (value(0, row).unwrap_or_default(), value(1, row))).collect()
}

/// What the store knows of a table that is published or followed.
pub(super) fn standing(store: &Store, table: &TableId) -> Option<Standing> {
    let known = store.followed.get(table).cloned().or_else(|| store.published.get(table).map(Followed::of_load));
    known.map(|Followed { schema, cut, marks, .. }| Standing { schema, cut, marks })
}

#[derive(Clone, Debug)]
enum Staged {
    Row(Op, Pair),
    Truncate,
}

/// A table as the task has it open.
struct Lane {
    schema: Arc<TableSchema>,
    generation: u64,
    /// Where it stands with everything that was accepted.
    reached: Marks,
    /// Where it stood at the last checkpoint.
    base: Marks,
    staged: Vec<Staged>,
    create: bool,
}

/// What a checkpoint has of one table.
struct Commit {
    table: TableId,
    schema: Arc<TableSchema>,
    generation: u64,
    base: Marks,
    upto: Marks,
    staged: Vec<Staged>,
    create: bool,
}

/// What the task and its handles share.
#[derive(Default)]
struct Books {
    /// Commits in the order in which they were asked for, with the checkpoint that they belong to.
    queue: VecDeque<(u64, Commit)>,
    /// Generations that failed: of each table every one up to this.
    void: HashMap<TableId, u64>,
    told: Applied,
}

pub(super) struct MemoryApplyTask {
    sink: MemorySink,
    lanes: BTreeMap<TableId, Lane>,
    books: Arc<Mutex<Books>>,
    generation: u64,
    checkpoints: u64,
}

impl MemoryApplyTask {
    pub(super) fn new(sink: MemorySink) -> Self {
        Self { sink, lanes: BTreeMap::new(), books: Arc::default(), generation: 0, checkpoints: 0 }
    }

    fn open(&mut self, schema: Arc<TableSchema>, create: bool) {
        let table = schema.table().clone();
        let marks = standing(&lock(&self.sink.store), &table).map(|s| s.marks);
        self.generation += 1;
        let mut books = lock(&self.books);
        books.queue.retain(|(_, commit)| commit.table != table);
        if marks.is_none() && !create {
            books.told.failed.push((table.clone(), Error::data("there is no such table").with("table", &table)));
            books.void.insert(table, self.generation);
            return;
        }
        let (generation, reached) = (self.generation, marks.clone().unwrap_or_default());
        let lane =
            Lane { schema, generation, base: reached.clone(), reached, staged: Vec::new(), create: marks.is_none() };
        self.lanes.insert(table, lane);
    }

    /// The lane of a table, unless it has failed.
    fn lane(&mut self, table: &TableId) -> Option<&mut Lane> {
        let void = lock(&self.books).void.get(table).copied().unwrap_or_default();
        self.lanes.get_mut(table).filter(|lane| lane.generation > void)
    }

    fn accept(&mut self, table: &TableId, span: &LogSpan, staged: impl IntoIterator<Item = Staged>) {
        let Some(lane) = self.lane(table) else { return };
        if lane.reached.get(&span.partition) != span.after.as_ref() {
            let error = Error::retriable("changes that do not follow on what the table has")
                .with("table", table)
                .with("reached", format!("{:?}", lane.reached))
                .with("span", format!("{span:?}"));
            return self.fail(table, error);
        }
        lane.reached.insert(Arc::clone(&span.partition), Arc::clone(&span.upto));
        lane.staged.extend(staged);
    }

    fn fail(&mut self, table: &TableId, error: Error) {
        let Some(lane) = self.lanes.remove(table) else { return };
        let mut books = lock(&self.books);
        books.void.insert(table.clone(), lane.generation);
        books.told.failed.push((table.clone(), error));
    }

    fn changes(&mut self, batch: &LogBatch) {
        let table = batch.table();
        let refused = lock(&self.sink.store).refuses_rows(table);
        if let Some(kind) = refused {
            return self.fail(table, Error::new(kind, "rows refused").with("table", table));
        }
        let rows = pairs(batch.rows()).into_iter().zip(batch.ops()).map(|(row, op)| Staged::Row(*op, row));
        self.accept(table, batch.span(), rows);
    }
}

#[async_trait]
impl ApplyTask for MemoryApplyTask {
    async fn apply(&mut self, event: LogEvent) -> Result<()> {
        yield_now().await;
        let rows = if let LogEvent::Changes(batch) = &event { batch.rows().num_rows() } else { 0 };
        lock(&self.sink.store).note(match &event {
            LogEvent::Open { .. } => format!("open {}", event.table()),
            LogEvent::Changes(_) => format!("changes {} {rows}", event.table()),
            LogEvent::Truncate(..) => format!("truncate {}", event.table()),
            LogEvent::Failed(..) => format!("failed {}", event.table()),
        });
        match event {
            LogEvent::Open { schema, create, .. } => self.open(schema, create),
            LogEvent::Changes(batch) => self.changes(&batch),
            LogEvent::Truncate(table, span) => self.accept(&table, &span, [Staged::Truncate]),
            LogEvent::Failed(..) => {}
        }
        Ok(())
    }

    fn due(&self, since: Duration) -> bool {
        let books = lock(&self.books);
        let moved = || self.lanes.values().any(|lane| lane.reached != lane.base);
        !books.told.failed.is_empty() || since >= self.sink.interval && moved()
    }

    fn checkpoint(&mut self) -> ApplyHandle {
        self.checkpoints += 1;
        let number = self.checkpoints;
        let mut books = lock(&self.books);
        for (table, lane) in self.lanes.iter_mut().filter(|(_, lane)| lane.reached != lane.base) {
            let base = std::mem::replace(&mut lane.base, lane.reached.clone());
            let (staged, create) = (std::mem::take(&mut lane.staged), std::mem::take(&mut lane.create));
            let (schema, generation, upto) = (Arc::clone(&lane.schema), lane.generation, lane.reached.clone());
            let commit = Commit { table: table.clone(), schema, generation, base, upto, staged, create };
            books.queue.push_back((number, commit));
        }
        drop(books);
        let (sink, books) = (self.sink.clone(), Arc::clone(&self.books));
        Box::pin(async move {
            sink.held().await;
            let mut books = lock(&books);
            while books.queue.front().is_some_and(|(n, _)| *n <= number) {
                let Some((_, commit)) = books.queue.pop_front() else { break };
                if books.void.get(&commit.table).is_some_and(|void| commit.generation <= *void) {
                    continue;
                }
                let moved = commit.upto.iter().filter(|(p, mark)| commit.base.get(*p) != Some(mark));
                let moved = moved.map(|(p, mark)| (Arc::clone(p), Arc::clone(mark))).collect();
                let (table, generation) = (commit.table.clone(), commit.generation);
                match publish(&mut lock(&sink.store), commit) {
                    Ok(()) => books.told.durable.push((table, moved)),
                    Err(error) => {
                        books.void.insert(table.clone(), generation);
                        books.told.failed.push((table, error));
                    }
                }
            }
            Ok(std::mem::take(&mut books.told))
        })
    }

    async fn close(self: Box<Self>) -> Result<()> {
        lock(&self.sink.store).closed += 1;
        Ok(())
    }
}

fn publish(store: &mut Store, commit: Commit) -> Result<()> {
    let Commit { table, schema, base, upto, staged, create, .. } = commit;
    let answer_lost = store.commit_mishap(&table)?;
    let loaded = || store.published.get(&table).map(Followed::of_load);
    let known = store.followed.get(&table).cloned().or_else(loaded);
    let fresh = || Followed { schema, cut: None, marks: Marks::new(), rows: Vec::new(), commits: 0 };
    let mut followed = match known {
        Some(followed) => followed,
        None if create => fresh(),
        None => return Err(Error::retriable("the table is gone").with("table", &table)),
    };
    if followed.marks != base {
        return Err(Error::retriable("the table is not where this commit begins").with("table", &table));
    }
    staged.iter().for_each(|change| followed.apply(change));
    followed.marks = upto;
    followed.commits += 1;
    store.followed.insert(table.clone(), followed);
    if answer_lost { Err(Error::retriable("the answer is lost").with("table", &table)) } else { Ok(()) }
}

impl MemorySink {
    /// Makes a checkpoint of what follows a log due so long after the last; without this it is due at once.
    #[must_use]
    pub fn committing_every(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// A table that follows a log, once a commit has changed it.
    pub fn followed(&self, table: &TableId) -> Option<Followed> {
        lock(&self.store).followed.get(table).cloned()
    }

    /// The sorted rows of a table, loaded or followed.
    pub fn pairs(&self, table: &TableId) -> Option<Vec<Pair>> {
        let store = lock(&self.store);
        let loaded = || store.published.get(table).map(Followed::of_load);
        let mut rows = store.followed.get(table).cloned().or_else(loaded)?.rows;
        rows.sort_unstable();
        Some(rows)
    }
}

impl Store {
    /// Whether a commit of the table fails now; if not, whether its answer is to be lost.
    pub(super) fn commit_mishap(&mut self, table: &TableId) -> Result<bool> {
        match self.mishaps.get_mut(table) {
            Some(Mishap::Fails(message)) => Err(Error::data(message.clone()).with("table", table)),
            Some(Mishap::Passes(left)) if *left > 0 => {
                *left -= 1;
                Err(Error::retriable("a passing failure").with("table", table))
            }
            Some(Mishap::AnswerLost) => Ok(self.mishaps.remove(table).is_some()),
            _ => Ok(false),
        }
    }
}
