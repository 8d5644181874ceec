//! The sink: what is durable, and the task that writes.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use connector_api::{
    ApplyTask, Error, ErrorKind, Marks, Progress, Result, Sink, SinkTask, TableId, TableSchema, TaskContext,
};
use futures::{StreamExt, TryStreamExt, stream};
use iceberg::TableIdent;
use tokio::sync::OnceCell;

#[cfg(feature = "rest")]
use crate::commit::RestCommitter;
use crate::commit::{Committer, SqlCommitter};
use crate::config::{Backend, Config, Warehouse};
use crate::error;
use crate::follow;
use crate::journal::Journal;
use crate::ledger::{Found, Ledger, Sightings};
use crate::orphans;
use crate::position::{self, Standing};
use crate::restore;
use crate::store;
use crate::table_config;
use crate::task::IcebergTask;

/// Tables whose metadata is read at a time.
const READ_AT_A_TIME: usize = 16;

/// The configured sink.
pub(crate) struct IcebergSink {
    place: Arc<Place>,
    committer: OnceCell<Arc<dyn Committer>>,
    /// What `progress` found published, for the ledger to agree with.
    published: Mutex<Vec<Found>>,
    /// What is known of other instances, across tasks.
    sightings: Arc<Sightings>,
}

/// What tables are called, and what all tasks share.
pub(crate) struct Place {
    pub(crate) config: Config,
    /// Memory that no index has yet, bytes.
    pub(crate) index_memory: Arc<AtomicUsize>,
}

impl Place {
    pub(crate) fn new(config: Config) -> Self {
        let index_memory = Arc::new(AtomicUsize::new(config.follow.index_memory));
        Self { config, index_memory }
    }

    /// The Iceberg name of a source table.
    pub(crate) fn ident(&self, table: &TableId) -> Result<TableIdent> {
        Ok(self.of(&self.config.names.checked(table)?))
    }

    /// A table with the key that it is told to have.
    pub(crate) fn identified(&self, schema: TableSchema) -> Result<TableSchema> {
        match self.config.tables.id_columns(schema.table(), &self.ident(schema.table())?) {
            Some(columns) => schema.with_key(columns).map_err(|e| e.with("key", table_config::ID_COLUMNS)),
            None => Ok(schema),
        }
    }

    /// A table of the namespace.
    pub(crate) fn of(&self, name: &str) -> TableIdent {
        TableIdent::new(self.config.namespace.clone(), name.to_owned())
    }
}

impl IcebergSink {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            place: Arc::new(Place::new(config)),
            committer: OnceCell::new(),
            published: Mutex::default(),
            sightings: Arc::default(),
        }
    }

    async fn committer(&self) -> Result<&Arc<dyn Committer>> {
        self.committer.get_or_try_init(|| connect(&self.place.config)).await
    }

    /// What the table is, if it exists and can be read. One that cannot is left to its lane to report.
    async fn standing(&self, committer: &dyn Committer, table: &TableId) -> Result<Option<Found>> {
        let Ok(ident) = self.place.ident(table) else { return Ok(None) };
        let Some(Ok(found)) = committer.find(&ident).await? else { return Ok(None) };
        Ok(match position::standing(found.metadata(), table) {
            Standing::Loaded(loaded) => Some(Found::new(table, loaded, found.metadata())),
            Standing::NotOurs(_) => None,
        })
    }
}

async fn connect(config: &Config) -> Result<Arc<dyn Committer>> {
    match &config.backend {
        Backend::Sql(database, warehouse) => {
            prepare(config, warehouse).await?;
            Ok(Arc::new(SqlCommitter::connect(config, database, warehouse).await?))
        }
        #[cfg(feature = "rest")]
        Backend::Rest(rest) => Ok(Arc::new(RestCommitter::connect(config, rest).await?)),
        #[cfg(not(feature = "rest"))]
        Backend::Rest(_) => Err(Error::fatal("this program was built without the feature \"rest\"")),
    }
}

/// Makes the warehouse's folder, or sees that its store can be used.
async fn prepare(config: &Config, warehouse: &Warehouse) -> Result<()> {
    let location = match warehouse {
        Warehouse::Local(path) => {
            return std::fs::create_dir_all(path)
                .map_err(|e| error::io("cannot create the warehouse's folder", path, e));
        }
        Warehouse::Remote(location) => location,
    };
    store::probe(&store::file_io(&config.store), location).await.map_err(|e| {
        let cause = error::iceberg("the object store refuses", e);
        let error = match cause.kind() {
            ErrorKind::Data => Error::fatal("the warehouse's store cannot be used"),
            kind => Error::new(kind, "the warehouse's store cannot be used"),
        };
        error.with("warehouse", location).caused_by(cause)
    })
}

#[async_trait]
impl Sink for IcebergSink {
    async fn progress(&self, tables: &[TableId]) -> Result<Progress> {
        self.place.config.names.check_distinct(tables)?;
        let committer = self.committer().await?.as_ref();
        let found: Vec<_> = stream::iter(tables.to_vec())
            .map(|table| async move {
                let loaded = self.standing(committer, &table).await?;
                Ok::<_, Error>((table, loaded))
            })
            .buffered(READ_AT_A_TIME)
            .try_collect()
            .await?;
        let mut progress = Progress::default();
        let mut published = Vec::new();
        for (table, loaded) in found {
            let Some(loaded) = loaded else { continue };
            progress.set_loaded(table, loaded.loaded.clone().into());
            published.push(loaded);
        }
        *self.published.lock().unwrap_or_else(PoisonError::into_inner) = published;
        Ok(progress)
    }

    async fn holdings(&self, source: &str) -> Result<Progress> {
        let committer = self.committer().await?.as_ref();
        let mut found = stream::iter(committer.list().await?)
            .map(|ident| async move { committer.load(&ident).await })
            .buffered(READ_AT_A_TIME);
        let mut progress = Progress::default();
        while let Some(table) = found.try_next().await? {
            let origin = table.as_ref().and_then(|table| position::origin(table.metadata()));
            let (Some(table), Some((id, from))) = (table, origin) else { continue };
            match position::standing(table.metadata(), &id) {
                Standing::Loaded(loaded) if from == source => progress.set_loaded(id, loaded.into()),
                Standing::Loaded(_) | Standing::NotOurs(_) => {}
            }
        }
        Ok(progress)
    }

    async fn open(&self, context: TaskContext) -> Result<Box<dyn SinkTask>> {
        let committer = Arc::clone(self.committer().await?);
        committer.ensure_namespace().await?;
        let published = std::mem::take(&mut *self.published.lock().unwrap_or_else(PoisonError::into_inner));
        let folder = context.state_dir.as_deref().map(|dir| dir.join("iceberg"));
        let journal = Journal::open(folder.as_deref(), &self.place.config.identity());
        orphans::bury_all(committer.as_ref(), &journal).await;
        self.sightings.ended(journal.ended());
        let ledger = Ledger::start(
            Arc::clone(&committer),
            Arc::clone(&self.place),
            Arc::clone(&journal),
            Arc::clone(&self.sightings),
            published,
        );
        Ok(Box::new(IcebergTask::new(Arc::clone(&self.place), committer, ledger, journal, context)))
    }

    async fn standing(&self, table: &TableId) -> Result<Option<connector_api::Standing>> {
        let ident = self.place.ident(table)?;
        let Some(found) = self.committer().await?.load(&ident).await? else { return Ok(None) };
        let standing = position::followed(found.metadata(), table)?;
        let columns = |schema: &TableSchema| schema.key().iter().copied().collect::<BTreeSet<_>>();
        if columns(&self.place.identified(standing.schema.as_ref().clone())?) != columns(&standing.schema) {
            let what = "the table was made with another key than it is told to have: load it again (--no-resume)";
            return Err(Error::data(what).with("table", table).with("key", table_config::ID_COLUMNS));
        }
        Ok(Some(standing))
    }

    fn identified(&self, schema: TableSchema) -> Result<TableSchema> {
        self.place.identified(schema)
    }

    async fn restore(&self, table: &TableId, commit: &str, context: TaskContext) -> Result<Marks> {
        let to = commit.parse().map_err(|_| Error::data("this is no snapshot's id").with("snapshot", commit))?;
        let (committer, config, ident) =
            (self.committer().await?.as_ref(), &self.place.config, self.place.ident(table)?);
        let folder = context.state_dir.as_deref().map(|dir| dir.join("iceberg"));
        let journal = Journal::open(folder.as_deref(), &config.identity());
        let restored = restore::restore(committer, &journal, config.commit_retries, (table, &ident), to).await;
        orphans::bury_all(committer, &journal).await;
        journal.close(false);
        restored
    }

    async fn apply(&self, context: TaskContext) -> Result<Box<dyn ApplyTask>> {
        let committer = Arc::clone(self.committer().await?);
        committer.ensure_namespace().await?;
        let Some(state) = context.state_dir.as_deref() else {
            return Err(Error::fatal("changes cannot be applied without a folder for the key indexes (state.dir)"));
        };
        let folder = state.join("iceberg");
        let journal = Journal::open(Some(&folder), &self.place.config.identity());
        orphans::bury_all(committer.as_ref(), &journal).await;
        self.sightings.ended(journal.ended());
        let place = Arc::clone(&self.place);
        let ledger = Ledger::start(
            Arc::clone(&committer),
            Arc::clone(&place),
            Arc::clone(&journal),
            Arc::clone(&self.sightings),
            Vec::new(),
        );
        Ok(Box::new(follow::task(place, committer, journal, ledger, &folder.join("index"), &context)))
    }
}
