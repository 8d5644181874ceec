//! The two ledgers people and tools query, `_cdc_status` and `_schema_changes`: written in groups, in the
//! background.
//!
//! What must hold: the ledgers never hold up or fail data; what they miss is written again from what the
//! tables themselves record. They are never what a restart resumes from.

mod rows;
mod schema_changes;
mod status;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use connector_api::Result;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use crate::commit::{Committer, now_ms};
use crate::journal::Journal;
use crate::names;
use crate::sink::Place;
use schema_changes::{SchemaChangeRow, SchemaChangeRows};
use status::StatusRows;

pub(crate) use schema_changes::schema_change_rows;
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
    waiting: Mutex<Waiting>,
    arrived: Notify,
}

/// Rows not yet written. Of a table's states only the newest waits: bounded by the number of tables.
#[derive(Default)]
struct Waiting {
    status: BTreeMap<(String, String), StatusRow>,
    changes: Vec<SchemaChangeRow>,
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.status.is_empty() && self.changes.is_empty()
    }
}

impl Ledger {
    /// Starts the writer. It first adds what `published` says and the ledger does not.
    pub(crate) fn start(
        committer: Arc<dyn Committer>,
        place: Arc<Place>,
        journal: Arc<Journal>,
        published: Vec<StatusRow>,
    ) -> Self {
        let shared = Arc::new(Shared { committer, place, journal, waiting: Mutex::default(), arrived: Notify::new() });
        let (closing, closed) = watch::channel(false);
        let writer = tokio::spawn(run(Arc::clone(&shared), published, closed));
        Self { shared, closing, writer: Mutex::new(Some(writer)) }
    }

    /// Notes a table's state.
    pub(crate) fn status(&self, row: StatusRow) {
        self.shared.lock().status.insert((row.source.clone(), row.table_name.clone()), row);
        self.shared.arrived.notify_one();
    }

    /// Notes schema changes.
    pub(crate) fn schema_changes(&self, rows: Vec<SchemaChangeRow>) {
        self.shared.lock().changes.extend(rows);
        self.shared.arrived.notify_one();
    }

    /// Writes what waits, for a bounded time.
    pub(crate) async fn close(&self) {
        // Fails only if the writer is gone already.
        let _ = self.closing.send(true);
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut writer) = writer else { return };
        if tokio::time::timeout(LAST, &mut writer).await.is_err() {
            writer.abort();
            // Its end is its answer: nothing of it goes on beside what is closed next.
            let _ = writer.await;
            tracing::warn!("the last rows of _cdc_status and _schema_changes could not be written in time");
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what waits; what fails waits again, unless something newer of its table came meanwhile.
    async fn flush(&self) {
        let Waiting { status, changes } = std::mem::take(&mut *self.lock());
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

    async fn append_changes(&self, changes: &[SchemaChangeRow]) -> Result<()> {
        rows::append(self.committer.as_ref(), &self.place, &self.journal, &SchemaChangeRows(changes)).await
    }

    async fn append_status(&self, status: impl Iterator<Item = &StatusRow>) -> Result<()> {
        let rows: Vec<StatusRow> = status.cloned().collect();
        let retention_ms = self.place.config.status_retention_ms;
        let rows = StatusRows { rows: &rows, retention_ms, now_ms: now_ms() };
        rows::append(self.committer.as_ref(), &self.place, &self.journal, &rows).await
    }

    /// Adds the published loads that the ledger does not know of.
    async fn reconcile(&self, published: Vec<StatusRow>) {
        match rows::read(self.committer.as_ref(), &self.place, names::STATUS).await {
            Ok(existing) => {
                let mut waiting = self.lock();
                for row in status::missing(published, &existing) {
                    waiting.status.entry((row.source.clone(), row.table_name.clone())).or_insert(row);
                }
            }
            Err(e) => tracing::warn!(error = format!("{e:#}"), "cannot read _cdc_status"),
        }
    }
}

async fn run(shared: Arc<Shared>, published: Vec<StatusRow>, mut closing: watch::Receiver<bool>) {
    if !published.is_empty() {
        shared.reconcile(published).await;
    }
    loop {
        if shared.lock().is_empty() && !*closing.borrow() {
            tokio::select! {
                () = shared.arrived.notified() => {}
                // An error means that the ledger was dropped: the last round then.
                _ = closing.changed() => {}
            }
        }
        let closed = |closing: &watch::Receiver<bool>| *closing.borrow() || closing.has_changed().is_err();
        if !closed(&closing) {
            tokio::select! {
                () = tokio::time::sleep(GROUP) => {}
                _ = closing.changed() => {}
            }
        }
        let last = closed(&closing);
        shared.flush().await;
        if last && (shared.lock().is_empty() || closing.has_changed().is_err()) {
            return;
        }
        if last {
            // A catalog that refuses is asked again at the same pace, until `close` runs out of patience.
            tokio::time::sleep(GROUP).await;
        }
    }
}
