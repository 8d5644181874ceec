//! The source as the runtime sees it: tables, plan, open. Blocking work runs beside the runtime's threads.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use connector_api::{
    Error, Finding, HandOver, Plan, Position, Progress, Result, Selection, Source, SourceTask, Split, TaskContext,
};
use tokio::sync::Semaphore;

use crate::config::OracleConfig;
use crate::cut::{self, Snapshot};
use crate::error::Failure;
use crate::plan::Part;
use crate::preflight;
use crate::session::contained;
use crate::task::{Reading, SplitTask};

/// Reads the selected tables of one database.
pub(crate) struct OracleSource {
    pub(crate) config: Arc<OracleConfig>,
    /// The last plan's cut.
    snapshot: Mutex<Option<Arc<Snapshot>>>,
    /// An SCN that could be read no more.
    expired: Arc<Mutex<Option<u64>>>,
    /// Whose turn it is to read LOBs of many megabytes.
    large: Arc<Semaphore>,
}

impl OracleSource {
    pub(crate) fn new(config: OracleConfig) -> Self {
        let large = Arc::new(Semaphore::new(1));
        Self { config: Arc::new(config), snapshot: Mutex::new(None), expired: Arc::default(), large }
    }

    fn snapshot(&self) -> std::sync::MutexGuard<'_, Option<Arc<Snapshot>>> {
        self.snapshot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Source for OracleSource {
    async fn tables(&self) -> Result<Selection> {
        let config = Arc::clone(&self.config);
        blocking(move || cut::select(&config)).await
    }

    async fn check(&self) -> Result<Vec<Finding>> {
        let config = Arc::clone(&self.config);
        blocking(move || preflight::check(&config)).await
    }

    async fn plan(&self, done: &Progress) -> Result<Plan> {
        let old = self.snapshot().take();
        let (config, done) = (Arc::clone(&self.config), done.clone());
        let expired = *self.expired.lock().unwrap_or_else(PoisonError::into_inner);
        let (snapshot, plan) = blocking(move || {
            drop(old);
            Snapshot::begin(&config, &done, expired)
        })
        .await?;
        *self.snapshot() = Some(Arc::new(snapshot));
        Ok(plan)
    }

    async fn open(&self, split: &Split, after: Position, context: TaskContext) -> Result<Box<dyn SourceTask>> {
        let bug = |what: &str| Error::fatal(what).with("split", &split.id);
        let snapshot = self.snapshot().clone().ok_or_else(|| bug("a split was opened before there was a plan"))?;
        let table = snapshot.table(&split.table).ok_or_else(|| bug("the split's table is not in the plan"))?;
        let part: Part = split.part.parse().map_err(|()| bug("the split's part is not one of this source's"))?;
        let skip = match after {
            Position::Start => 0,
            Position::At(rows) => rows,
            Position::End => return Ok(Box::new(SplitTask::ended())),
        };
        let reading = Reading {
            table: Arc::clone(table),
            snapshot: Arc::clone(&snapshot),
            split: split.id.clone(),
            part,
            skip,
            batch_rows: self.config.batch_rows,
            lob_cap: self.config.lob_cap,
            large: Arc::clone(&self.large),
            expired: Arc::clone(&self.expired),
        };
        Ok(Box::new(SplitTask::start(reading, &context)?))
    }

    fn hand_over(&self) -> Option<&dyn HandOver> {
        self.config.handover.as_ref().map(|_| self as &dyn HandOver)
    }
}

/// Work that blocks, with a panic of the driver's as an error.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let doing = "working on Oracle";
    let work = move || contained(|| work().map_err(Failure::Stopped)).map_err(|e| e.while_doing(doing));
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| Error::fatal("work on Oracle ended without a result").caused_by(e))?
}
