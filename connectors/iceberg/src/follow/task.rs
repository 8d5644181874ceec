//! The task: gathers what comes of each table, and has its lane commit it in the background.
//!
//! What must hold: a table that fails is reported once and holds nobody up; what waits is bounded, whatever the
//! number of tables.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use connector_api::{ApplyHandle, ApplyTask, Error, ErrorKind, LogEvent, Marks, Result, TableId, TableSchema};
use futures::FutureExt;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::lane::{Item, Lane};
use super::shared::{Room, Shared};
use crate::ledger::{Status, StatusRow};
use crate::orphans;

/// The task.
pub(crate) struct FollowTask {
    shared: Arc<Shared>,
    tables: HashMap<TableId, Gathered>,
}

/// What has come of a table and is not on its way.
struct Gathered {
    items: Vec<Item>,
    /// What all of them hold, and those of them up to the last that ends with whole transactions.
    all: Held,
    whole: Held,
    lane: mpsc::UnboundedSender<Command>,
    worker: JoinHandle<()>,
    /// Stretches on their way.
    under_way: Arc<AtomicUsize>,
    /// Whether the table has failed since it was opened last: what still comes of it is dropped.
    failed: Arc<AtomicBool>,
}

/// How much some items are.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    items: usize,
    bytes: usize,
    rows: usize,
}

enum Command {
    /// Opens the table anew. It fails there: what went wrong before does not concern what comes behind this.
    Open { schema: Arc<TableSchema>, source: Arc<str>, create: bool, failed: Arc<AtomicBool> },
    /// Commits a stretch that holds so many bytes.
    Flush(Vec<Item>, usize),
    /// Writes one that ends within a transaction, to be committed with the rest.
    Stage(Vec<Item>, usize),
    /// The table failed in the log.
    Failed(Arc<Error>),
    /// Answers when what came before is done.
    Done(oneshot::Sender<()>),
}

impl FollowTask {
    pub(super) fn new(shared: Shared) -> Self {
        Self { shared: Arc::new(shared), tables: HashMap::new() }
    }

    fn open(&mut self, schema: Arc<TableSchema>, source: Arc<str>, create: bool) {
        let table = schema.table().clone();
        let shared = &self.shared;
        let gathered = self.tables.entry(table.clone()).or_insert_with(|| Gathered::start(shared, table));
        gathered.drop_all(&self.shared.room);
        gathered.failed = Arc::default();
        let failed = Arc::clone(&gathered.failed);
        gathered.send(Command::Open { schema, source, create, failed });
    }

    async fn item(&mut self, table: &TableId, item: Item, bytes: usize, rows: usize) -> Result<()> {
        while !self.shared.room.fits(bytes) {
            for gathered in self.tables.values_mut() {
                gathered.flush();
            }
            if self.tables.values().all(|gathered| gathered.under_way.load(Ordering::Acquire) == 0) {
                // Nothing but unfinished transactions fills it.
                let largest = self.tables.values_mut().max_by_key(|gathered| gathered.all.bytes);
                largest.into_iter().for_each(Gathered::stage);
            }
            self.shared.room.freed().await;
        }
        let Some(gathered) = self.tables.get_mut(table) else {
            return Err(Error::fatal("changes of a table that was not opened").with("table", table));
        };
        if gathered.failed.load(Ordering::Acquire) {
            return Ok(());
        }
        self.shared.room.take(bytes);
        gathered.push(item, bytes, rows);
        let follow = &self.shared.place.config.follow;
        if gathered.all.bytes >= follow.max_bytes || gathered.all.rows >= follow.max_rows {
            match gathered.whole.items {
                0 => gathered.stage(),
                _ => gathered.flush(),
            }
        }
        Ok(())
    }
}

impl Gathered {
    #[expect(clippy::disallowed_methods, reason = "the room bounds the rows on their way, the runtime the checkpoints")]
    fn start(shared: &Arc<Shared>, table: TableId) -> Self {
        let (lane, commands) = mpsc::unbounded_channel();
        let (under_way, failed) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let worker = Worker {
            shared: Arc::clone(shared),
            table,
            under_way: Arc::clone(&under_way),
            failed: Arc::clone(&failed),
            lane: None,
            source: Arc::from(""),
            reached: Marks::new(),
            told: BTreeMap::new(),
            left_out: Vec::new(),
            is_told: false,
        };
        let worker = tokio::spawn(worker.run(commands));
        let (all, whole) = Default::default();
        Self { items: Vec::new(), all, whole, lane, worker, under_way, failed }
    }

    fn send(&self, command: Command) {
        self.under_way.fetch_add(1, Ordering::AcqRel);
        // A worker that panicked is found by its join.
        let _ = self.lane.send(command);
    }

    fn push(&mut self, item: Item, bytes: usize, rows: usize) {
        let (all, is_whole) = (self.all, item.span().whole);
        self.items.push(item);
        self.all = Held { items: all.items + 1, bytes: all.bytes + bytes, rows: all.rows + rows };
        if is_whole {
            self.whole = self.all;
        }
    }

    /// Drops what is not on its way: it comes again.
    fn drop_all(&mut self, room: &Room) {
        self.items.clear();
        room.free(std::mem::take(&mut self.all).bytes);
        self.whole = Held::default();
    }

    /// Has what ends with whole transactions committed (P7).
    fn flush(&mut self) {
        let whole = std::mem::take(&mut self.whole);
        if whole.items > 0 {
            let rest = self.items.split_off(whole.items);
            let items = std::mem::replace(&mut self.items, rest);
            let Held { items: count, bytes, rows } = self.all;
            self.all = Held { items: count - whole.items, bytes: bytes - whole.bytes, rows: rows - whole.rows };
            self.send(Command::Flush(items, whole.bytes));
        }
    }

    /// Makes room where a transaction needs more than there is: what has come of it is written, and waits for the rest
    /// in the store.
    fn stage(&mut self) {
        self.flush();
        let items = std::mem::take(&mut self.items);
        let bytes = std::mem::take(&mut self.all).bytes;
        if !items.is_empty() {
            self.send(Command::Stage(items, bytes));
        }
    }
}

/// Commits the stretches of one table, one after the other.
struct Worker {
    shared: Arc<Shared>,
    table: TableId,
    under_way: Arc<AtomicUsize>,
    failed: Arc<AtomicBool>,
    lane: Option<Lane>,
    /// The name of the source, for the ledger.
    source: Arc<str>,
    /// How far the table is applied, for the ledger.
    reached: Marks,
    /// The same as the log's own tools tell it: a partition's next message, and how many were set aside.
    told: BTreeMap<Arc<str>, (i64, u64)>,
    /// Columns that the table is loaded without, for the ledger.
    left_out: Vec<String>,
    /// Whether `_schema_changes` was asked after the table: what changes in this process it hears of.
    is_told: bool,
}

impl Worker {
    async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        while let Some(command) = commands.recv().await {
            let mut done_with = 0;
            match command {
                Command::Open { schema, source, create, failed } => {
                    (self.source, self.failed) = (source, failed);
                    self.left_out = schema.left_out().to_vec();
                    self.abandon().await;
                    match Lane::open(Arc::clone(&self.shared), schema, create).await {
                        Ok(lane) => {
                            if !std::mem::replace(&mut self.is_told, true) {
                                lane.opened().into_iter().for_each(|table| self.shared.ledger.opened(table));
                            }
                            self.lane = Some(lane);
                        }
                        Err(e) => self.fail(e).await,
                    }
                }
                Command::Flush(items, bytes) => {
                    self.flush(items).await;
                    done_with = bytes;
                }
                Command::Stage(items, bytes) => {
                    if let Some(lane) = self.lane.as_mut()
                        && let Err(e) = lane.stage(items).await
                    {
                        self.fail(e).await;
                    }
                    done_with = bytes;
                }
                Command::Failed(error) => {
                    self.abandon().await;
                    self.record(&error);
                }
                // Whoever waited may have gone.
                Command::Done(done) => drop(done.send(())),
            }
            self.under_way.fetch_sub(1, Ordering::AcqRel);
            // Whoever waits for room looks at both.
            self.shared.room.free(done_with);
        }
    }

    async fn flush(&mut self, items: Vec<Item>) {
        let Some(lane) = self.lane.as_mut() else { return };
        let told: Vec<_> = items.iter().filter_map(|item| item.span().told.clone()).collect();
        match lane.flush(items).await {
            Ok(flushed) => {
                self.reached = flushed.marks.clone();
                self.told.extend(told.into_iter().map(|told| (told.partition, (told.next, told.rejected))));
                if let Some((snapshot_id, epoch)) = flushed.snapshot {
                    let row = self.row();
                    self.shared.ledger.status(StatusRow { snapshot_id: Some(snapshot_id), epoch, ..row });
                    self.shared.counters.commits.add(1);
                    self.shared.counters.files.add(flushed.files.0 as u64);
                    self.shared.counters.bytes.add(flushed.files.1);
                }
                self.shared.durable(&self.table, flushed.marks);
            }
            Err(e) => self.fail(e).await,
        }
    }

    async fn abandon(&mut self) {
        if let Some(lane) = self.lane.take() {
            lane.abandon().await;
        }
    }

    async fn fail(&mut self, error: Error) {
        self.abandon().await;
        self.failed.store(true, Ordering::Release);
        self.record(&error);
        self.shared.failed(&self.table, error);
    }
}

impl Worker {
    fn row(&self) -> StatusRow {
        let row = StatusRow::of_stream(&self.source, &self.table, &self.reached, &self.told);
        StatusRow { left_out: self.left_out.clone(), ..row }
    }

    /// Records a failure that stays.
    fn record(&self, error: &Error) {
        if !matches!(error.kind(), ErrorKind::Retriable { .. }) {
            let row = self.row();
            let error = Some(format!("{error:#}"));
            self.shared.ledger.status(StatusRow { status: Status::Failed, error, ..row });
        }
    }
}

#[async_trait]
impl ApplyTask for FollowTask {
    async fn apply(&mut self, event: LogEvent) -> Result<()> {
        match event {
            LogEvent::Open { schema, source, create } => {
                self.open(schema, source, create);
                Ok(())
            }
            LogEvent::Changes(batch) => {
                let (table, bytes, rows) = (batch.table().clone(), batch.bytes(), batch.rows().num_rows());
                self.item(&table, Item::Changes(batch), bytes, rows).await
            }
            LogEvent::Truncate(table, span) => self.item(&table, Item::Truncate(span), 0, 0).await,
            LogEvent::Failed(table, error) => {
                let shared = &self.shared;
                let gathered = self.tables.entry(table.clone()).or_insert_with(|| Gathered::start(shared, table));
                // What came before is good, as far as transactions are whole.
                gathered.flush();
                gathered.drop_all(&self.shared.room);
                gathered.send(Command::Failed(error));
                Ok(())
            }
        }
    }

    fn due(&self, since: Duration) -> bool {
        let waits = || self.tables.values().any(|gathered| gathered.whole.items > 0);
        // A commit of its own is reported when the interval is over: a checkpoint commits what has gathered meanwhile,
        // which would be reported in its turn, and so on without end.
        let over = since >= self.shared.place.config.follow.interval;
        self.shared.has_failed() || over && (waits() || self.shared.has_applied())
    }

    fn checkpoint(&mut self) -> ApplyHandle {
        let mut waiting = Vec::new();
        for gathered in self.tables.values_mut() {
            gathered.flush();
            if gathered.under_way.load(Ordering::Acquire) > 0 {
                let (done, heard) = oneshot::channel();
                gathered.send(Command::Done(done));
                waiting.push(heard);
            }
        }
        let shared = Arc::clone(&self.shared);
        async move {
            for heard in waiting {
                heard.await.map_err(|_| Error::fatal("a table's worker has gone"))?;
            }
            Ok(shared.take_applied())
        }
        .boxed()
    }

    async fn close(mut self: Box<Self>) -> Result<()> {
        let mut outcome = Ok(());
        for (table, Gathered { lane, worker, .. }) in self.tables.drain() {
            drop(lane);
            if let Err(e) = worker.await {
                outcome = Err(Error::fatal("a table's worker did not end well").with("table", table).caused_by(e));
            }
        }
        let all_is_told = self.shared.ledger.close().await;
        orphans::bury_all(self.shared.committer.as_ref(), &self.shared.journal).await;
        self.shared.journal.close(!all_is_told);
        outcome
    }
}
