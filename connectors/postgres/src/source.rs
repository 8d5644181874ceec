//! The source as the runtime sees it: tables, plan, open. Blocking work runs beside the runtime's threads.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use connector_api::{
    Error, Finding, Plan, Position, Progress, Result, Selection, Source, SourceTask, Split, TaskContext,
};
use tokio::sync::Semaphore;

use crate::config::PostgresConfig;
use crate::cut::{self, Session};
use crate::plan::Part;
use crate::preflight;
use crate::task::{Reading, SplitTask};

/// Reads the selected tables of one database.
pub(crate) struct PostgresSource {
    config: Arc<PostgresConfig>,
    /// The last plan's cut, held until the next plan or the end of the source and of its tasks.
    session: Mutex<Option<Arc<Session>>>,
    /// Whose turn it is to receive a row of many megabytes.
    large: Arc<Semaphore>,
}

impl PostgresSource {
    pub(crate) fn new(config: PostgresConfig) -> Self {
        Self { config: Arc::new(config), session: Mutex::new(None), large: Arc::new(Semaphore::new(1)) }
    }

    fn session(&self) -> std::sync::MutexGuard<'_, Option<Arc<Session>>> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Source for PostgresSource {
    async fn tables(&self) -> Result<Selection> {
        let config = Arc::clone(&self.config);
        blocking(move || cut::select(&config)).await
    }

    async fn check(&self) -> Result<Vec<Finding>> {
        let config = Arc::clone(&self.config);
        blocking(move || preflight::check(&config)).await
    }

    async fn plan(&self, done: &Progress) -> Result<Plan> {
        // The old cut's locks go before the new ones come.
        drop(self.session().take());
        let (config, done) = (Arc::clone(&self.config), done.clone());
        let (session, plan) = blocking(move || Session::begin(&config, &done)).await?;
        *self.session() = Some(Arc::new(session));
        Ok(plan)
    }

    async fn open(&self, split: &Split, after: Position, context: TaskContext) -> Result<Box<dyn SourceTask>> {
        let bug = |what: &str| Error::fatal(what).with("split", &split.id);
        let session = self.session().clone().ok_or_else(|| bug("a split was opened before there was a plan"))?;
        let table = session.table(&split.table).ok_or_else(|| bug("the split's table is not in the plan"))?;
        let part: Part = split.part.parse().map_err(|()| bug("the split's part is not one of this source's"))?;
        let skip = match after {
            Position::Start => 0,
            Position::At(rows) => rows,
            Position::End => return Ok(Box::new(SplitTask::ended())),
        };
        let reading = Reading {
            table: Arc::clone(table),
            session: Arc::clone(&session),
            split: split.id.clone(),
            part,
            skip,
            batch_rows: self.config.batch_rows,
            large: Arc::clone(&self.large),
        };
        Ok(Box::new(SplitTask::start(reading, &context)?))
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| Error::fatal("work on PostgreSQL ended without a result").caused_by(e))?
}
