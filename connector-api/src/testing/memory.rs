//! A source over given rows, a log, and a sink whose tables a test can read: the whole contract, no outside
//! world. Clones share their state, so that a test keeps one and gives one away.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arrow_array::RecordBatch;
use async_trait::async_trait;

pub use super::apply::{Followed, Pair};
use super::apply::{MemoryApplyTask, standing};
pub use super::followed::{Change, MemoryLog};
use super::{id_rows, id_schema, ids};
use crate::{
    ApplyTask, CancellationToken, ChangeBatch, Checkpoint, Claims, CommitHandle, Cut, Error, ErrorKind, Event,
    HandOver, LoadEvent, Loaded, Plan, Position, Progress, Result, Selection, Sink, SinkTask, Source, SourceTask, Span,
    Split, SplitId, Standing, TableId, TableLoad, TablePlan, TableSchema, TaskContext, Tracker,
};

/// The one database there is in memory.
const SYSTEM: &str = "memory";

/// One table of a [`MemorySource`]: its splits, each a list of batches.
#[derive(Clone, Debug)]
pub struct MemoryTable {
    schema: Arc<TableSchema>,
    splits: Vec<Vec<RecordBatch>>,
}

impl MemoryTable {
    /// A table with these splits. One empty split is added if there is none.
    pub fn new(schema: Arc<TableSchema>, mut splits: Vec<Vec<RecordBatch>>) -> Self {
        if splits.is_empty() {
            splits.push(Vec::new());
        }
        Self { schema, splits }
    }

    /// A table of [`id_schema`] whose splits hold these ids, delivered `per_batch` at a time.
    pub fn of_ids(table: &TableId, splits: &[&[i64]], per_batch: usize) -> Self {
        let schema = id_schema(table);
        let batches =
            |ids: &&[i64]| ids.chunks(per_batch.max(1)).map(|c| id_rows(&schema, c.iter().copied())).collect();
        let splits = splits.iter().map(batches).collect();
        Self::new(Arc::clone(&schema), splits)
    }
}

/// A source that reads what it was given.
#[derive(Clone, Debug)]
pub struct MemorySource {
    tables: Vec<MemoryTable>,
    refused: Vec<(TableId, String)>,
    tables_at_a_time: usize,
    splits_at_a_time: usize,
    opened: Arc<Mutex<Vec<SplitId>>>,
    hands_over: bool,
    handed_over: Arc<Mutex<Vec<Vec<TableId>>>>,
}

impl MemorySource {
    /// A source of these tables, one table and one split at a time.
    pub fn new(tables: Vec<MemoryTable>) -> Self {
        let (refused, opened, handed_over) = Default::default();
        Self { tables, refused, tables_at_a_time: 1, splits_at_a_time: 1, opened, hands_over: false, handed_over }
    }

    /// Sets how many tables, and splits of each, the plan asks for at a time.
    #[must_use]
    pub fn at_a_time(mut self, tables: usize, splits: usize) -> Self {
        (self.tables_at_a_time, self.splits_at_a_time) = (tables, splits);
        self
    }

    /// Adds a table that every plan refuses with a `Data` error of this message.
    #[must_use]
    pub fn refusing(mut self, table: TableId, message: &str) -> Self {
        self.refused.push((table, message.to_owned()));
        self
    }

    /// Has it hand over.
    #[must_use]
    pub fn handing_over(mut self) -> Self {
        self.hands_over = true;
        self
    }

    /// The tables of each hand-over, in order.
    pub fn handed_over(&self) -> Vec<Vec<TableId>> {
        lock(&self.handed_over).clone()
    }

    /// The splits that were opened, in order.
    pub fn opened(&self) -> Vec<SplitId> {
        lock(&self.opened).clone()
    }
}

#[async_trait]
impl Source for MemorySource {
    async fn tables(&self) -> Result<Selection> {
        let tables = self.tables.iter().map(|t| t.schema.table());
        let tables = tables.chain(self.refused.iter().map(|(t, _)| t)).cloned().collect();
        Ok(Selection { system: SYSTEM.to_owned(), tables })
    }

    async fn plan(&self, done: &Progress) -> Result<Plan> {
        let wanted = self.tables.iter().filter(|t| done.loaded(t.schema.table()).is_none());
        let mut tables: Vec<TablePlan> = wanted.map(plan_table).collect();
        tables.sort_by_key(|t| std::cmp::Reverse(t.rows));
        let refusal =
            |(table, message): &(TableId, String)| (table.clone(), Error::data(message.clone()).with("table", table));
        let system = SYSTEM.to_owned();
        let (position_type, position) = ("count".to_owned(), "1".to_owned());
        Ok(Plan {
            cut: Arc::new(Cut { system, position_type, position, visible: None }),
            tables,
            refused: self.refused.iter().map(refusal).collect(),
            tables_at_a_time: self.tables_at_a_time,
            splits_at_a_time: self.splits_at_a_time,
        })
    }

    async fn open(&self, split: &Split, after: Position, context: TaskContext) -> Result<Box<dyn SourceTask>> {
        let table = self.tables.iter().find(|t| *t.schema.table() == split.table);
        let rows = table.and_then(|t| Some((t, t.splits.get(split.part.parse::<usize>().ok()?)?)));
        let Some((table, batches)) = rows else {
            return Err(Error::fatal("no such split").with("split", &split.id));
        };
        lock(&self.opened).push(split.id.clone());
        let mut skip = match after {
            Position::Start => 0,
            Position::At(n) => n,
            Position::End => u64::MAX,
        };
        let mut rest = Vec::new();
        for batch in batches {
            let cut = skip.min(batch.num_rows() as u64);
            skip -= cut;
            let cut = usize::try_from(cut).unwrap_or(usize::MAX);
            if cut < batch.num_rows() {
                rest.push(batch.slice(cut, batch.num_rows() - cut));
            }
        }
        let schema = Arc::clone(&table.schema);
        Ok(Box::new(MemorySourceTask { schema, split: split.id.clone(), at: after, rest: rest.into_iter(), context }))
    }

    fn hand_over(&self) -> Option<&dyn HandOver> {
        self.hands_over.then_some(self as _)
    }
}

#[async_trait]
impl HandOver for MemorySource {
    async fn hand_over(&self, _source: &str, held: &Progress) -> Result<()> {
        lock(&self.handed_over).push(held.tables().map(|(table, _)| table.clone()).collect());
        Ok(())
    }
}

fn plan_table(table: &MemoryTable) -> TablePlan {
    let id = table.schema.table();
    let size = |batches: &Vec<RecordBatch>| batches.iter().map(|b| b.num_rows() as u64).sum::<u64>();
    let split = |(n, batches): (usize, &Vec<RecordBatch>)| Split {
        id: SplitId::new(format!("{id}/{n}")),
        table: id.clone(),
        part: n.to_string(),
        bytes: 8 * size(batches),
    };
    let splits = table.splits.iter().enumerate().map(split).collect();
    TablePlan { schema: Arc::clone(&table.schema), splits, rows: Some(table.splits.iter().map(size).sum()) }
}

struct MemorySourceTask {
    schema: Arc<TableSchema>,
    split: SplitId,
    at: Position,
    rest: std::vec::IntoIter<RecordBatch>,
    context: TaskContext,
}

#[async_trait]
impl SourceTask for MemorySourceTask {
    async fn next(&mut self) -> Result<Option<ChangeBatch>> {
        // A turn for the others, before anything is taken: a dropped call loses nothing.
        yield_now().await;
        if self.context.cancel.is_cancelled() {
            return Err(Error::retriable("cancelled").with("split", &self.split));
        }
        let Some(rows) = self.rest.next() else { return Ok(None) };
        let start = if let Position::At(n) = self.at { n } else { 0 };
        let last = self.rest.len() == 0;
        let upto = if last { Position::End } else { Position::At(start + rows.num_rows() as u64) };
        let span = Span { split: self.split.clone(), after: self.at, upto };
        self.at = upto;
        ChangeBatch::new(Arc::clone(&self.schema), span, rows).map(Some)
    }

    async fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

/// Gives every other ready future of the executor a turn.
pub(super) async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return std::task::Poll::Ready(());
        }
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

/// A table that a [`MemorySink`] has published.
#[derive(Clone, Debug)]
pub struct Published {
    /// What the load said of itself.
    pub load: Arc<TableLoad>,
    /// The rows, in the order in which they arrived.
    pub rows: Vec<RecordBatch>,
    /// How many times the table was published.
    pub commits: u64,
}

/// What a [`MemorySink`] does to a table that it should not.
#[derive(Clone, Debug)]
pub enum Mishap {
    /// Its commits fail with a `Data` error of this message.
    Fails(String),
    /// So many of its commits fail with a `Retriable` error.
    Passes(u32),
    /// Its next commit gets through and is reported as failed, `Retriable`.
    AnswerLost,
    /// The write of its n-th batch (from 1) fails the table, once, with an error of this kind.
    RefusesRows(u64, ErrorKind),
}

#[derive(Default)]
pub(super) struct Store {
    pub(super) published: BTreeMap<TableId, Published>,
    pub(super) followed: BTreeMap<TableId, Followed>,
    aborted: BTreeMap<TableId, String>,
    pub(super) mishaps: HashMap<TableId, Mishap>,
    order: Vec<String>,
    pub(super) closed: u64,
    /// Which task, by its number, has claimed a table.
    pub(super) claims: BTreeMap<TableId, u64>,
    tasks: u64,
}

impl Store {
    pub(super) fn note(&mut self, line: String) {
        self.order.push(line);
    }

    /// Whether a batch of the table is refused now.
    pub(super) fn refuses_rows(&mut self, table: &TableId) -> Option<ErrorKind> {
        let Some(Mishap::RefusesRows(left, kind)) = self.mishaps.get_mut(table) else { return None };
        *left -= 1;
        let due = (*left == 0).then_some(*kind);
        if due.is_some() {
            self.mishaps.remove(table);
        }
        due
    }
}

/// A sink that keeps what is published; clones and reopened tasks see the same store.
#[derive(Clone, Default)]
pub struct MemorySink {
    pub(super) store: Arc<Mutex<Store>>,
    hold: Option<CancellationToken>,
    pub(super) interval: Duration,
}

impl MemorySink {
    /// Waits as long as commits are held.
    pub(super) async fn held(&self) {
        if let Some(hold) = &self.hold {
            hold.cancelled().await;
        }
    }

    /// Makes every commit wait until the token is cancelled.
    #[must_use]
    pub fn holding_commits(mut self, until: CancellationToken) -> Self {
        self.hold = Some(until);
        self
    }

    /// Gives a table its mishap.
    #[must_use]
    pub fn with(self, table: &TableId, mishap: Mishap) -> Self {
        lock(&self.store).mishaps.insert(table.clone(), mishap);
        self
    }

    /// A published table.
    pub fn published(&self, table: &TableId) -> Option<Published> {
        lock(&self.store).published.get(table).cloned()
    }

    /// The sorted ids of a published table of [`id_schema`].
    pub fn ids(&self, table: &TableId) -> Option<Vec<i64>> {
        self.published(table).map(|p| {
            let mut ids = ids(&p.rows);
            ids.sort_unstable();
            ids
        })
    }

    /// Why a table's load was aborted, if it was.
    pub fn aborted(&self, table: &TableId) -> Option<String> {
        lock(&self.store).aborted.get(table).cloned()
    }

    /// The events accepted so far, each as `begin t`, `rows t/0 3`, `split t/0`, `complete t`, `abort t`; of a log as
    /// `open t`, `changes t 3`, `truncate t`, `failed t`.
    pub fn order(&self) -> Vec<String> {
        lock(&self.store).order.clone()
    }

    /// How many tasks were closed.
    pub fn closed(&self) -> u64 {
        lock(&self.store).closed
    }
}

#[async_trait]
impl Sink for MemorySink {
    async fn progress(&self, tables: &[TableId]) -> Result<Progress> {
        let store = lock(&self.store);
        let mut progress = Progress::default();
        for table in tables {
            if let Some(published) = store.published.get(table) {
                progress.set_loaded(table.clone(), loaded(published));
            }
        }
        Ok(progress)
    }

    async fn holdings(&self, source: &str) -> Result<Progress> {
        let store = lock(&self.store);
        let mut progress = Progress::default();
        for (table, published) in store.published.iter().filter(|(_, p)| *p.load.source == *source) {
            progress.set_loaded(table.clone(), loaded(published));
        }
        Ok(progress)
    }

    async fn open(&self, _: TaskContext) -> Result<Box<dyn SinkTask>> {
        let mut store = lock(&self.store);
        store.tasks += 1;
        let (sink, number) = (self.clone(), store.tasks);
        Ok(Box::new(MemorySinkTask { sink, number, staged: HashMap::new(), failed: HashMap::new() }))
    }

    async fn standing(&self, table: &TableId) -> Result<Option<Standing>> {
        Ok(standing(&lock(&self.store), table))
    }

    async fn apply(&self, _: TaskContext) -> Result<Box<dyn ApplyTask>> {
        Ok(Box::new(MemoryApplyTask::new(self.clone())))
    }
}

fn loaded(published: &Published) -> Loaded {
    let rows = published.rows.iter().map(|b| b.num_rows() as u64).sum();
    let cut = &published.load.cut;
    let commit = published.commits.to_string();
    Loaded {
        system: cut.system.clone(),
        position: cut.position.clone(),
        visible: cut.visible.clone(),
        rows: Some(rows),
        commit,
    }
}

struct Staged {
    load: Arc<TableLoad>,
    rows: Vec<RecordBatch>,
    tracker: Tracker,
    done: HashSet<SplitId>,
    complete: bool,
}

struct MemorySinkTask {
    sink: MemorySink,
    number: u64,
    staged: HashMap<TableId, Staged>,
    /// Tables that failed amid their rows; the error until a checkpoint has told it.
    failed: HashMap<TableId, Option<Error>>,
}

impl MemorySinkTask {
    fn staged(&mut self, table: &TableId) -> Result<&mut Staged> {
        let open = self.staged.get_mut(table).filter(|s| !s.complete);
        open.ok_or_else(|| Error::fatal("the table's load has not begun, or is over").with("table", table))
    }

    fn note(&self, line: String) {
        lock(&self.sink.store).note(line);
    }
}

#[async_trait]
impl SinkTask for MemorySinkTask {
    async fn claim(&mut self, _: &str, tables: &[TableId]) -> Result<Claims> {
        let mut store = lock(&self.sink.store);
        let mut held = tables.to_vec();
        held.retain(|table| *store.claims.entry(table.clone()).or_insert(self.number) != self.number);
        Ok(Claims { held, again: Duration::from_secs(1) })
    }

    async fn write(&mut self, event: Event) -> Result<()> {
        yield_now().await;
        let ends = matches!(event, Event::Load(LoadEvent::Begin(_) | LoadEvent::Abort { .. }));
        if ends {
            self.failed.remove(event.table());
        } else if self.failed.contains_key(event.table()) {
            return Ok(());
        }
        match event {
            Event::Load(LoadEvent::Begin(load)) => {
                let table = load.schema.table().clone();
                self.note(format!("begin {table}"));
                lock(&self.sink.store).aborted.remove(&table);
                let (tracker, done) = (Tracker::default(), HashSet::new());
                self.staged.insert(table, Staged { load, rows: Vec::new(), tracker, done, complete: false });
            }
            Event::Changes(batch) => {
                let refused = lock(&self.sink.store).refuses_rows(batch.table());
                if let Some(kind) = refused {
                    self.staged.remove(batch.table());
                    let error = Error::new(kind, "rows refused").with("table", batch.table());
                    self.failed.insert(batch.table().clone(), Some(error));
                    return Ok(());
                }
                let staged = self.staged(batch.table())?;
                staged.tracker.advance(batch.span())?;
                if staged.done.contains(&batch.span().split) {
                    return Err(Error::fatal("rows after the end of their split").with("split", &batch.span().split));
                }
                staged.rows.push(batch.rows().clone());
                self.note(format!("rows {} {}", batch.span().split, batch.rows().num_rows()));
            }
            Event::Load(LoadEvent::SplitDone(table, split)) => {
                if !self.staged(&table)?.done.insert(split.clone()) {
                    return Err(Error::fatal("the split was done before").with("split", &split));
                }
                self.note(format!("split {split}"));
            }
            Event::Load(LoadEvent::Complete(table)) => {
                let staged = self.staged(&table)?;
                if staged.done.len() != staged.load.splits {
                    return Err(Error::fatal("the load is complete with splits missing").with("table", &table));
                }
                staged.complete = true;
                self.note(format!("complete {table}"));
            }
            Event::Load(LoadEvent::Abort { table, error, attempts }) => {
                self.staged.remove(&table);
                self.note(format!("abort {table}"));
                let mut store = lock(&self.sink.store);
                store.claims.remove(&table);
                store.aborted.insert(table, format!("{error} (attempts: {attempts})"));
            }
        }
        Ok(())
    }

    fn checkpoint(&mut self) -> CommitHandle {
        let complete: Vec<_> = self.staged.extract_if(|_, s| s.complete).collect();
        let told = self.failed.iter_mut().filter_map(|(table, error)| Some((table.clone(), error.take()?)));
        let mut checkpoint = Checkpoint { durable: Progress::default(), failed: told.collect() };
        let sink = self.sink.clone();
        Box::pin(async move {
            sink.held().await;
            let mut store = lock(&sink.store);
            for (table, staged) in complete {
                match commit(&mut store, &table, staged) {
                    Ok(loaded) => checkpoint.durable.set_loaded(table, loaded),
                    Err(error) => checkpoint.failed.push((table, error)),
                }
            }
            Ok(checkpoint)
        })
    }

    async fn close(self: Box<Self>) -> Result<()> {
        lock(&self.sink.store).closed += 1;
        Ok(())
    }
}

impl Drop for MemorySinkTask {
    fn drop(&mut self) {
        lock(&self.sink.store).claims.retain(|_, task| *task != self.number);
    }
}

fn commit(store: &mut Store, table: &TableId, staged: Staged) -> Result<Loaded> {
    let answer_lost = store.commit_mishap(table)?;
    let commits = match store.published.get(table) {
        Some(_) if !staged.load.replace => {
            return Err(Error::fatal("the table is published already").with("table", table));
        }
        Some(published) => published.commits + 1,
        None => 1,
    };
    let published = Published { load: staged.load, rows: staged.rows, commits };
    let loaded = loaded(&published);
    store.published.insert(table.clone(), published);
    store.claims.remove(table);
    store.followed.remove(table);
    if answer_lost { Err(Error::retriable("the answer is lost").with("table", table)) } else { Ok(loaded) }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
