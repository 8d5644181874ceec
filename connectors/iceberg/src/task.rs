//! The sink's task: routes events to lanes and publishes what is complete, in the background.
//!
//! What must hold: a table that fails is reported once and does not hold up the others; `write` returns an
//! error only for what concerns the whole task.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use connector_api::{
    Claims, CommitHandle, Error, ErrorKind, Event, LoadEvent, Loaded, Result, SinkTask, TableId, TableLoad,
    TaskContext, failpoint,
};
use futures::FutureExt;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::commit::{Committer, delete_best_effort, now_ms};
use crate::counters::Counters;
use crate::journal::Journal;
use crate::lane::Lane;
use crate::ledger::{self, Described, Ended, Ledger, Status, StatusRow};
use crate::orphans;
use crate::outcomes::{Outcomes, Pending};
use crate::position::{self, Standing};
use crate::publish::{Publication, Published};
use crate::sink::Place;
use crate::writer::{Budget, Target};

/// Tables that are published at a time.
const PUBLISH_AT_A_TIME: usize = 8;

/// The task.
pub(crate) struct IcebergTask {
    shared: Arc<Shared>,
    _ended: Ended,
    budget: Budget,
    lanes: HashMap<TableId, Slot>,
    publishing: HashMap<TableId, JoinHandle<()>>,
}

enum Slot {
    Open(Box<Lane>),
    /// Reported; what is still on its way is dropped.
    Failed,
}

/// What the publications in the background need.
struct Shared {
    place: Arc<Place>,
    committer: Arc<dyn Committer>,
    ledger: Ledger,
    journal: Arc<Journal>,
    outcomes: Outcomes,
    /// Failed attempts that the runtime may follow by another: the ledger hears of them with its `Abort`.
    held: Mutex<HashMap<TableId, StatusRow>>,
    permits: Semaphore,
    counters: Counters,
}

impl IcebergTask {
    pub(crate) fn new(
        place: Arc<Place>,
        committer: Arc<dyn Committer>,
        ledger: Ledger,
        journal: Arc<Journal>,
        context: TaskContext,
    ) -> Self {
        let counters = Counters::new(&context.metrics);
        let (outcomes, permits) = (Outcomes::default(), Semaphore::new(PUBLISH_AT_A_TIME));
        let shared =
            Arc::new(Shared { place, committer, ledger, journal, outcomes, held: Mutex::default(), permits, counters });
        let _ended = shared.ledger.ended();
        Self { shared, _ended, budget: Budget::new(context.memory), lanes: HashMap::new(), publishing: HashMap::new() }
    }

    async fn begin(&mut self, load: Arc<TableLoad>) -> Result<()> {
        let table = load.schema.table().clone();
        // What an earlier attempt staged goes first; one that is being published decides what this sees.
        self.drop_lane(&table).await;
        if let Some(publishing) = self.publishing.remove(&table) {
            // A panic there is reported by its outcome.
            let _ = publishing.await;
        }
        self.shared.void(&table);
        let started = now_ms();
        let running = StatusRow::of_load(&load, started);
        let place = &self.shared.place;
        let begun = async {
            let ident = place.ident(&table)?;
            let committer = self.shared.committer.as_ref();
            let schema = Arc::new(place.identified(load.schema.as_ref().clone())?);
            let load = Arc::new(TableLoad { schema, ..load.as_ref().clone() });
            Publication::begin(committer, ident, load, &place.config.tables, &self.shared.journal).await
        };
        match begun.await {
            Ok(publication) => {
                self.shared.ledger.status(StatusRow { epoch: publication.epoch(), ..running });
                let target = Target {
                    storage: publication.storage().clone(),
                    runtime: Handle::current(),
                    folder: publication.data_folder(),
                    files: place.config.tables.files,
                    budget: self.budget.clone(),
                    attempt: publication.attempt().clone(),
                };
                self.lanes.insert(table, Slot::Open(Box::new(Lane::new(publication, target, started))));
            }
            Err(e) => self.fail(table, running, e).await,
        }
        Ok(())
    }

    /// Forgets a lane, with its files.
    async fn drop_lane(&mut self, table: &TableId) {
        if let Some(Slot::Open(lane)) = self.lanes.remove(table) {
            lane.discard().await;
        }
    }

    /// Gives a lane up and reports it, once.
    async fn fail(&mut self, table: TableId, row: StatusRow, error: Error) {
        self.drop_lane(&table).await;
        self.lanes.insert(table.clone(), Slot::Failed);
        let error = match error.context("table") {
            Some(_) => error,
            None => error.with("table", &table),
        };
        self.shared.failed(table.clone(), row, &error);
        self.shared.outcomes.expect(table).settle(Err(error));
    }

    async fn changes(&mut self, batch: connector_api::ChangeBatch) -> Result<()> {
        let lane = match self.lanes.get_mut(batch.table()) {
            Some(Slot::Open(lane)) => lane,
            Some(Slot::Failed) => return Ok(()),
            None => {
                return Err(Error::fatal("rows of a table whose load has not begun").with("table", batch.table()));
            }
        };
        match lane.write(&batch).await {
            Ok(()) => Ok(()),
            Err(e) if e.kind() == ErrorKind::Fatal => Err(e.with("table", batch.table())),
            Err(e) => {
                let row = self.row(batch.table());
                self.fail(batch.table().clone(), row, e).await;
                Ok(())
            }
        }
    }

    /// The ledger row of an open lane as it stands.
    fn row(&self, table: &TableId) -> StatusRow {
        match self.lanes.get(table) {
            Some(Slot::Open(lane)) => of_lane(lane),
            _ => StatusRow::of_refused(table, now_ms()),
        }
    }

    fn complete(&mut self, table: TableId) -> Result<()> {
        match self.lanes.remove(&table) {
            Some(Slot::Open(lane)) => {
                let pending = self.shared.outcomes.expect(table.clone());
                let publishing = publish(Arc::clone(&self.shared), *lane, pending);
                self.publishing.retain(|_, p| !p.is_finished());
                self.publishing.insert(table, tokio::spawn(publishing));
                Ok(())
            }
            Some(Slot::Failed) => {
                self.lanes.insert(table, Slot::Failed);
                Ok(())
            }
            None => Err(Error::fatal("a load is complete that has not begun").with("table", table)),
        }
    }

    async fn abort(&mut self, table: TableId, error: &Error, attempts: u32) {
        let held = self.shared.held().remove(&table);
        let row = match (held, self.lanes.get(&table)) {
            (Some(row), _) => row,
            // Its failure stands in the ledger already.
            (None, Some(Slot::Failed)) => return,
            (None, Some(Slot::Open(_))) => self.row(&table),
            (None, None) => {
                let row = StatusRow::of_refused(&table, now_ms());
                StatusRow { epoch: self.next_epoch(&table).await, ..row }
            }
        };
        self.drop_lane(&table).await;
        self.shared.record_failure(StatusRow { attempts: i32::try_from(attempts).unwrap_or(i32::MAX), ..row }, error);
    }

    /// What the ledger is to say of a table whose attempt has failed, if it is loaded all the same: by another
    /// instance, or by a commit whose answer was lost.
    async fn loaded(&self, table: &TableId) -> Option<StatusRow> {
        let ident = self.shared.place.ident(table).ok()?;
        let found = self.shared.committer.load(&ident).await.ok().flatten()?;
        match position::standing(found.metadata(), table) {
            Standing::Loaded(loaded) => Some(StatusRow::of_loaded(table, &loaded)),
            Standing::NotOurs(_) => None,
        }
    }

    /// The writer generation that a load of the table would have had.
    async fn next_epoch(&self, table: &TableId) -> i64 {
        let Ok(ident) = self.shared.place.ident(table) else { return 1 };
        let found = self.shared.committer.load(&ident).await.ok().flatten();
        found.map_or(0, |t| position::epoch(t.metadata())) + 1
    }
}

#[async_trait]
impl SinkTask for IcebergTask {
    async fn claim(&mut self, source: &str, tables: &[TableId]) -> Result<Claims> {
        let again = self.shared.place.config.heartbeat / 4;
        match self.shared.ledger.claim(source, tables).await {
            Ok(held) => Ok(Claims { held, again }),
            // The ledgers hold up no data.
            Err(e) => {
                let error = format!("{e:#}");
                tracing::warn!(error, "cannot claim tables: another instance may read the same ones, for nothing");
                Ok(Claims::default())
            }
        }
    }

    async fn write(&mut self, event: Event) -> Result<()> {
        failpoint::hit("iceberg.write")?;
        match event {
            Event::Changes(batch) => self.changes(batch).await,
            Event::Load(LoadEvent::Begin(load)) => self.begin(load).await,
            Event::Load(LoadEvent::SplitDone(table, split)) => {
                if let Some(Slot::Open(lane)) = self.lanes.get_mut(&table) {
                    lane.split_done(&split);
                }
                Ok(())
            }
            Event::Load(LoadEvent::Complete(table)) => self.complete(table),
            Event::Load(LoadEvent::Abort { table, error, attempts }) => {
                self.abort(table, &error, attempts).await;
                Ok(())
            }
        }
    }

    fn checkpoint(&mut self) -> CommitHandle {
        self.shared.outcomes.checkpoint().map(Ok).boxed()
    }

    async fn close(mut self: Box<Self>) -> Result<()> {
        let ledger = &self.shared.ledger;
        let open = self.lanes.drain().filter_map(|(_, slot)| match slot {
            Slot::Open(lane) => {
                let error = Some("the load ended, or was interrupted, before this table's did".to_owned());
                ledger.status(StatusRow { status: Status::Failed, error, ..of_lane(&lane) });
                Some(lane.discard())
            }
            Slot::Failed => None,
        });
        futures::future::join_all(open.collect::<Vec<_>>()).await;
        for (_, publishing) in self.publishing.drain() {
            // A panic there is reported by its outcome.
            let _ = publishing.await;
        }
        // Nobody has answered these.
        let held = std::mem::take(&mut *self.shared.held());
        for (table, row) in held {
            let row = self.loaded(&table).await.unwrap_or(StatusRow { status: Status::Failed, ..row });
            self.shared.ledger.status(row);
        }
        let all_is_told = self.shared.ledger.close().await;
        orphans::bury_all(self.shared.committer.as_ref(), &self.shared.journal).await;
        self.shared.journal.close(!all_is_told);
        Ok(())
    }
}

impl Shared {
    /// Takes note of a failed attempt. One that may be followed by another is not recorded yet.
    fn failed(&self, table: TableId, row: StatusRow, error: &Error) {
        match error.kind() {
            ErrorKind::Retriable { .. } => {
                let row = StatusRow { error: Some(format!("{error:#}")), ..row };
                self.held().insert(table, row);
            }
            ErrorKind::Data | ErrorKind::Fatal => self.record_failure(row, error),
        }
    }

    /// Forgets how the last attempt at a table ended: another begins.
    fn void(&self, table: &TableId) {
        self.held().remove(table);
        self.outcomes.void(table);
    }

    fn held(&self) -> MutexGuard<'_, HashMap<TableId, StatusRow>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a failure. The epoch is that of the attempt.
    fn record_failure(&self, row: StatusRow, error: &Error) {
        self.ledger.status(StatusRow { status: Status::Failed, error: Some(format!("{error:#}")), ..row });
    }
}

fn of_lane(lane: &Lane) -> StatusRow {
    let row = StatusRow::of_load(lane.publication().load(), lane.started_ms);
    StatusRow {
        epoch: lane.publication().epoch(),
        chunks_done: i32::try_from(lane.splits_done()).ok(),
        rows: i64::try_from(lane.rows).ok(),
        ..row
    }
}

/// Publishes a complete lane: closes its files, commits, writes the ledgers, settles the outcome.
async fn publish(shared: Arc<Shared>, lane: Lane, pending: Pending) {
    let row = of_lane(&lane);
    let table = lane.publication().load().schema.table().clone();
    match try_publish(&shared, lane, &row).await {
        Ok(loaded) => pending.settle(Ok(loaded)),
        Err(e) => {
            let e = if e.context("table").is_some() { e } else { e.with("table", &table) };
            shared.failed(table, row, &e);
            pending.settle(Err(e));
        }
    }
}

async fn try_publish(shared: &Shared, lane: Lane, row: &StatusRow) -> Result<Loaded> {
    let _permit = shared.permits.acquire().await.map_err(|e| Error::fatal("publication is closed").caused_by(e))?;
    let (publication, files) = lane.finish().await?;
    failpoint::hit("iceberg.after-stage")?;
    let paths: Vec<String> = files.iter().map(|f| f.file_path().to_owned()).collect();
    let committer = shared.committer.as_ref();
    let published = match publication.publish(committer, shared.place.config.commit_retries, files).await {
        Ok(published) => published,
        Err(failure) => {
            if failure.certain {
                delete_best_effort(publication.storage(), paths.iter().map(String::as_str)).await;
                publication.attempt().done();
            }
            return Err(failure.error);
        }
    };
    publication.attempt().done();
    failpoint::hit("iceberg.after-commit")?;
    orphans::bury(committer, &shared.journal, publication.ident()).await;
    shared.counters.commits.add(1);
    shared.counters.bytes.add(published.bytes);
    shared.counters.files.add(paths.len() as u64);
    failpoint::hit("iceberg.before-ledger")?;
    record(shared, row, &publication, &published);
    let cut = &publication.load().cut;
    Ok(Loaded {
        system: cut.system.clone(),
        position: cut.position.clone(),
        visible: cut.visible.clone(),
        rows: Some(published.rows),
        commit: published.snapshot_id.to_string(),
    })
}

fn record(shared: &Shared, row: &StatusRow, publication: &Publication, published: &Published) {
    shared.ledger.status(StatusRow {
        status: Status::Completed,
        snapshot_id: Some(published.snapshot_id),
        epoch: published.epoch,
        rows: i64::try_from(published.rows).ok(),
        ..row.clone()
    });
    let load = publication.load();
    let now = Described {
        table: load.schema.table().clone(),
        schema: Arc::new(published.after.clone()),
        version: published.version,
        position: load.cut.position.clone(),
        snapshot_id: published.snapshot_id,
        epoch: published.epoch,
    };
    shared.ledger.schema_changes(ledger::schema_change_rows(published.before.as_ref(), &now));
}
