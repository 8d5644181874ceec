//! The two ledgers people and tools query, `_cdc_status` and `_schema_changes`: written in groups, in the
//! background.
//!
//! What must hold: the ledgers never hold up or fail data; what they miss is written again from what the
//! tables themselves record. They are never what a restart resumes from.

mod claims;
mod rows;
mod schema_changes;
mod status;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use connector_api::{Result, TableId, failpoint};
use iceberg::spec::TableMetadata;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::commit::{Committer, now_ms};
use crate::journal::Journal;
use crate::names;
use crate::position::{self, Loaded};
use crate::sink::Place;
use claims::{ClaimRows, Wanted};
use schema_changes::{SchemaChangeRow, SchemaChangeRows};
use status::{StatusRows, Told};

pub(crate) use claims::Sightings;
pub(crate) use schema_changes::{Described, schema_change_rows};
pub(crate) use status::{Status, StatusRow};

/// Rows are collected for so long before they are written.
const GROUP: Duration = Duration::from_secs(1);
/// How long the end of a task waits for its last rows.
const LAST: Duration = Duration::from_secs(15);

/// The writer of both ledgers.
pub(crate) struct Ledger {
    shared: Arc<Shared>,
    closing: watch::Sender<bool>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    committer: Arc<dyn Committer>,
    place: Arc<Place>,
    journal: Arc<Journal>,
    sightings: Arc<Sightings>,
    waiting: Mutex<Waiting>,
    arrived: Notify,
    /// Writer generations that loads of the tables found published will have.
    epochs: HashMap<String, i64>,
    /// The last number of a commit to `_cdc_status`: a sign of life.
    beat: AtomicI64,
    /// When that was.
    beaten: Mutex<Instant>,
}

/// A table that was found published.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) loaded: Loaded,
    pub(crate) described: Described,
}

impl Found {
    /// What the table's metadata says.
    pub(crate) fn new(table: &TableId, loaded: Loaded, metadata: &TableMetadata) -> Self {
        let described = Described {
            table: table.clone(),
            schema: metadata.current_schema().clone(),
            version: position::schema_version(metadata).unwrap_or(1),
            position: loaded.position.clone(),
            snapshot_id: loaded.snapshot,
            epoch: loaded.epoch,
        };
        Self { loaded, described }
    }
}

/// Names a table in the ledger: source, `schema.table`.
type Key = (String, String);

fn key(row: &StatusRow) -> Key {
    (row.source.clone(), row.table_name.clone())
}

/// Tells the sink, when it is dropped, that an instance has ended: its claims are void.
pub(crate) struct Ended {
    sightings: Arc<Sightings>,
    instance: String,
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.sightings.ended([self.instance.clone()]);
    }
}

/// Rows not yet written. Of a table's states only the newest waits: bounded by the number of tables.
#[derive(Default)]
struct Waiting {
    status: BTreeMap<Key, StatusRow>,
    changes: Vec<SchemaChangeRow>,
    /// Tables that are followed, as they were opened: `_schema_changes` may have missed what they are.
    opened: Vec<Described>,
    /// The tables that this instance has claimed, with their newest rows. They do not wait.
    claimed: BTreeMap<Key, StatusRow>,
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.status.is_empty() && self.changes.is_empty() && self.opened.is_empty()
    }
}

impl Ledger {
    /// Starts the writer. It first adds what `published` says and the ledger does not.
    pub(crate) fn start(
        committer: Arc<dyn Committer>,
        place: Arc<Place>,
        journal: Arc<Journal>,
        sightings: Arc<Sightings>,
        published: Vec<Found>,
    ) -> Self {
        let epoch = |found: &Found| (found.described.table.to_string(), found.loaded.epoch + 1);
        let shared = Arc::new(Shared {
            committer,
            place,
            journal,
            sightings,
            waiting: Mutex::default(),
            arrived: Notify::new(),
            epochs: published.iter().map(epoch).collect(),
            beat: AtomicI64::new(0),
            beaten: Mutex::new(Instant::now()),
        });
        let (closing, closed) = watch::channel(false);
        let writer = tokio::spawn(run(Arc::clone(&shared), published, closed));
        Self { shared, closing, writer: Mutex::new(Some(writer)) }
    }

    /// Notes a table's state.
    pub(crate) fn status(&self, mut row: StatusRow) {
        let (key, mut waiting) = (key(&row), self.shared.lock());
        if let Some(claim) = waiting.claimed.get(&key) {
            // Else the claim would stay the newest row of a table that was dropped and is loaded anew.
            row.epoch = row.epoch.max(claim.epoch);
            row.target.clone_from(&claim.target);
        }
        match row.status {
            Status::Running => waiting.claimed.insert(key.clone(), row.clone()),
            Status::Completed | Status::Failed => waiting.claimed.remove(&key),
        };
        waiting.status.insert(key, row);
        drop(waiting);
        self.shared.arrived.notify_one();
    }

    /// Claims tables in one commit; gives those that other instances hold.
    pub(crate) async fn claim(&self, source: &str, tables: &[TableId]) -> Result<Vec<TableId>> {
        failpoint::hit("iceberg.claim")?;
        let held = self.shared.claim(source, tables).await?;
        self.shared.arrived.notify_one();
        Ok(held)
    }

    /// What says that this instance has ended.
    pub(crate) fn ended(&self) -> Ended {
        Ended { sightings: Arc::clone(&self.shared.sightings), instance: self.shared.journal.instance().to_owned() }
    }

    /// Notes schema changes.
    pub(crate) fn schema_changes(&self, rows: Vec<SchemaChangeRow>) {
        self.shared.lock().changes.extend(rows);
        self.shared.arrived.notify_one();
    }

    /// Has a table's schema written if the ledger does not tell of it.
    pub(crate) fn opened(&self, table: Described) {
        self.shared.lock().opened.push(table);
        self.shared.arrived.notify_one();
    }

    /// Gives up what is claimed and writes what waits, for a bounded time. Whether all of it is written.
    pub(crate) async fn close(&self) -> bool {
        let claimed = std::mem::take(&mut self.shared.lock().claimed);
        for row in claimed.into_values() {
            let error = Some("the load ended before this table's turn came".to_owned());
            self.status(StatusRow { status: Status::Failed, error, ..row });
        }
        // Fails only if the writer is gone already.
        let _ = self.closing.send(true);
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut writer) = writer else { return true };
        let ended = tokio::time::timeout(LAST, &mut writer).await;
        if ended.is_err() {
            writer.abort();
            // Its end is its answer: nothing of it goes on beside what is closed next.
            let _ = writer.await;
            tracing::warn!("the last rows of _cdc_status and _schema_changes could not be written in time");
        }
        // What a writer that panicked had taken is written by nobody.
        matches!(ended, Ok(Ok(()))) && self.shared.lock().status.is_empty()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what waits; what fails waits again, unless something newer of its table came meanwhile.
    async fn flush(&self) {
        self.look_after_opened().await;
        let (status, changes) = {
            let mut waiting = self.lock();
            (std::mem::take(&mut waiting.status), std::mem::take(&mut waiting.changes))
        };
        if !changes.is_empty()
            && let Err(e) = self.append_changes(&changes).await
        {
            tracing::warn!(error = format!("{e:#}"), "cannot write _schema_changes yet");
            self.lock().changes.splice(0..0, changes);
        }
        if !status.is_empty()
            && let Err(e) = self.append_status(status.values()).await
        {
            tracing::warn!(error = format!("{e:#}"), "cannot write _cdc_status yet");
            let mut waiting = self.lock();
            for (key, row) in status {
                waiting.status.entry(key).or_insert(row);
            }
        }
    }

    /// Adds what `_schema_changes` does not tell of tables that were opened, before what changed since.
    async fn look_after_opened(&self) {
        let opened = std::mem::take(&mut self.lock().opened);
        if opened.is_empty() {
            return;
        }
        match rows::read(self.committer.as_ref(), &self.place, names::SCHEMA_CHANGES).await {
            Ok(existing) => {
                let missing = schema_changes::missing(&opened, &existing);
                self.lock().changes.splice(0..0, missing);
            }
            Err(e) => {
                tracing::warn!(error = format!("{e:#}"), "cannot read _schema_changes yet");
                self.lock().opened.splice(0..0, opened);
            }
        }
    }

    async fn append_changes(&self, changes: &[SchemaChangeRow]) -> Result<()> {
        rows::append(self.committer.as_ref(), &self.place, &self.journal, &mut SchemaChangeRows(changes)).await
    }

    async fn append_status(&self, status: impl Iterator<Item = &StatusRow>) -> Result<()> {
        let mut rows = self.rows(status.cloned().collect());
        rows::append(self.committer.as_ref(), &self.place, &self.journal, &mut rows).await?;
        self.has_beaten();
        Ok(())
    }

    fn rows(&self, rows: Vec<StatusRow>) -> StatusRows {
        StatusRows {
            rows,
            instance: self.journal.instance().to_owned(),
            beat: self.beat.fetch_add(1, Ordering::Relaxed) + 1,
            retention_ms: self.place.config.status_retention_ms,
            now_ms: now_ms(),
        }
    }

    fn has_beaten(&self) {
        *self.beaten.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// When this instance is to show that it lives; never while it claims nothing.
    async fn beat_due(&self) {
        let beaten = *self.beaten.lock().unwrap_or_else(PoisonError::into_inner);
        let claims_nothing = self.lock().claimed.is_empty();
        match claims_nothing {
            true => std::future::pending().await,
            false => tokio::time::sleep_until(beaten + self.place.config.heartbeat).await,
        }
    }

    /// A sign of life: the row of one claimed table again.
    fn beat(&self) {
        let mut waiting = self.lock();
        if let Some((key, row)) = waiting.claimed.first_key_value().map(|(key, row)| (key.clone(), row.clone())) {
            waiting.status.entry(key).or_insert(row);
        }
    }

    /// Claims tables, unless others hold them, and records the end of instances that could not do so themselves.
    async fn claim(&self, source: &str, tables: &[TableId]) -> Result<Vec<TableId>> {
        let wanted = |table: &TableId| {
            // A table without a name in the lake is refused when its load begins.
            let target = Some(self.place.ident(table).ok()?.name().to_owned());
            let name = table.to_string();
            let epoch = self.epochs.get(&name).copied().unwrap_or(1);
            let started_ms = Some(now_ms());
            let row =
                StatusRow { status: Status::Running, epoch, target, started_ms, ..StatusRow::of_name(source, &name) };
            Some(Wanted { table: table.clone(), row })
        };
        let wanted: Vec<Wanted> = tables.iter().filter_map(wanted).collect();
        let ended = self.journal.ended();
        if wanted.is_empty() && self.committer.load(&self.place.of(names::STATUS)).await?.is_none() {
            self.journal.forget(&ended);
            return Ok(Vec::new());
        }
        let mut claim = ClaimRows {
            wanted: &wanted,
            sightings: &self.sightings,
            patience: self.place.config.session_timeout,
            rows: self.rows(Vec::new()),
            granted: 0,
            held: Vec::new(),
        };
        rows::append(self.committer.as_ref(), &self.place, &self.journal, &mut claim).await?;
        self.journal.forget(&ended);
        self.has_beaten();
        let granted = claim.rows.rows.drain(..claim.granted);
        self.lock().claimed.extend(granted.map(|row| (key(&row), row)));
        Ok(claim.held)
    }

    /// Adds what is published and the ledgers do not know of.
    async fn reconcile(&self, mut published: Vec<Found>) -> Result<()> {
        let existing = rows::read(self.committer.as_ref(), &self.place, names::STATUS).await?;
        let rows = published.iter().map(|found| StatusRow::of_loaded(&found.described.table, &found.loaded)).collect();
        let rows = status::missing(rows, &existing);
        // What a living instance has published last it is about to tell: schema changes are told once.
        let living = Told::of(&existing).living(&self.sightings, self.place.config.session_timeout);
        published.retain(|found| !living.contains(&(found.loaded.source.clone(), found.described.table.to_string())));
        // Its rows come before those of _cdc_status: what that has, this has.
        let existing = rows::read(self.committer.as_ref(), &self.place, names::SCHEMA_CHANGES).await?;
        let changes = schema_changes::missing(published.iter().map(|found| &found.described), &existing);
        let mut waiting = self.lock();
        for row in rows {
            waiting.status.entry(key(&row)).or_insert(row);
        }
        waiting.changes.extend(changes);
        Ok(())
    }
}

async fn run(shared: Arc<Shared>, published: Vec<Found>, mut closing: watch::Receiver<bool>) {
    if !published.is_empty()
        && let Err(e) = shared.reconcile(published).await
    {
        tracing::warn!(error = format!("{e:#}"), "cannot read _cdc_status or _schema_changes");
    }
    loop {
        let mut beats = false;
        if shared.lock().is_empty() && !*closing.borrow() {
            tokio::select! {
                () = shared.arrived.notified() => {}
                () = shared.beat_due() => {
                    shared.beat();
                    beats = true;
                }
                // An error means that the ledger was dropped: the last round then.
                _ = closing.changed() => {}
            }
        }
        let closed = |closing: &watch::Receiver<bool>| *closing.borrow() || closing.has_changed().is_err();
        if !beats && !closed(&closing) {
            tokio::select! {
                () = tokio::time::sleep(GROUP) => {}
                _ = closing.changed() => {}
            }
        }
        let last = closed(&closing);
        shared.flush().await;
        if last
            && !shared.journal.ended().is_empty()
            && let Err(e) = shared.claim("", &[]).await
        {
            tracing::warn!(error = format!("{e:#}"), "cannot record the end of an earlier process in _cdc_status yet");
        }
        if last && (shared.lock().is_empty() || closing.has_changed().is_err()) {
            return;
        }
        if last {
            // A catalog that refuses is asked again at the same pace, until `close` runs out of patience.
            tokio::time::sleep(GROUP).await;
        }
    }
}
