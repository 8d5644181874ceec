//! The SQL catalog (the tables of Iceberg's JDBC catalog, shared with Java and PyIceberg) on SQLite and
//! PostgreSQL, with the same statements on both.
//!
//! What must hold: a commit is one conditional UPDATE or one INSERT in one transaction, whose COMMIT's
//! answer is looked at; a busy database is a conflict, a lost COMMIT is unknown; no statement waits for ever.

use std::collections::HashMap;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use connector_api::{Error, Result, failpoint};
use iceberg::io::FileIO;
use iceberg::spec::{Schema, TableMetadata};
use iceberg::table::Table;
use iceberg::{MetadataLocation, NamespaceIdent, Runtime, TableIdent};
use sqlx::any::{AnyConnectOptions, AnyPoolOptions, AnyRow};
use sqlx::{AnyPool, ConnectOptions, Executor, Row};
use uuid::Uuid;

use super::committer::{Committer, SendError, Site};
use super::stage::Staged;
use crate::config::{Config, Database, Warehouse};
use crate::error;
use crate::names;
use crate::store;

/// How long a statement waits for another process's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections: SQLite serialises writers anyway, and a PostgreSQL is not ours alone.
const CONNECTIONS: u32 = 4;

/// A SQL catalog.
pub(crate) struct SqlCommitter {
    pool: AnyPool,
    catalog: String,
    namespace: Vec<String>,
    /// Folder of the namespace.
    folder: String,
    storage: FileIO,
    /// What begins a transaction that writes.
    begin: &'static str,
    /// Whether `iceberg_tables` has the column `iceberg_type`: catalogs of older writers do not.
    typed: bool,
    /// Longest time of a statement.
    timeout: Duration,
}

impl SqlCommitter {
    /// Opens the database, creating a SQLite file and the catalog's tables where they are missing.
    pub(crate) async fn connect(config: &Config, database: &Database, warehouse: &Warehouse) -> Result<Self> {
        sqlx::any::install_default_drivers();
        let shown = database.shown();
        let (url, begin) = match database {
            Database::Sqlite(path) => {
                if let Some(parent) = path.parent() {
                    std::fs::create_dir_all(parent)
                        .map_err(|e| error::io("cannot create the catalog's folder", parent, e))?;
                }
                // Taking the write lock first makes "busy" show where nothing has happened yet.
                (sqlite_url(path), "BEGIN IMMEDIATE")
            }
            Database::Postgres(url) => (url.expose().to_owned(), "BEGIN"),
        };
        let sql = |e| error::sql("cannot open the catalog", e).with("catalog", &shown);
        let options = AnyConnectOptions::from_str(&url).map_err(sql)?.disable_statement_logging();
        let mut pool = AnyPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(config.request_timeout);
        if matches!(database, Database::Sqlite(_)) {
            pool = pool.after_connect(|connection, _| {
                Box::pin(async move {
                    let wait = format!("PRAGMA busy_timeout = {}", BUSY_TIMEOUT.as_millis());
                    connection.execute(wait.as_str()).await.map(drop)
                })
            });
        }
        let opened = async {
            let pool = pool.connect_with(options).await?;
            for statement in [CREATE_TABLES, CREATE_NAMESPACES] {
                match pool.execute(statement).await {
                    Err(e) if error::is_created_by_another(&e) => pool.execute(statement).await?,
                    other => other?,
                };
            }
            let typed = match pool.execute("SELECT iceberg_type FROM iceberg_tables WHERE 1 = 0").await {
                Ok(_) => true,
                Err(e) if error::is_unknown_column(&e) => false,
                Err(e) => return Err(e),
            };
            Ok((pool, typed))
        };
        let (pool, typed) = in_time(config.request_timeout, opened).await.map_err(sql)?;
        let levels: Vec<String> = config.namespace.iter().map(|level| names::folder(level)).collect();
        Ok(Self {
            pool,
            catalog: config.catalog.clone(),
            namespace: config.namespace.to_vec(),
            folder: format!("{}/{}", warehouse.location(), levels.join("/")),
            storage: store::file_io(&config.store),
            begin,
            typed,
            timeout: config.request_timeout,
        })
    }

    /// Where the table's metadata is now; none if there is no such table.
    async fn locate(&self, table: &TableIdent) -> Result<Option<Result<String>>> {
        let kind = if self.typed { "iceberg_type" } else { "'TABLE'" };
        let statement = format!(
            "SELECT metadata_location, {kind} FROM iceberg_tables \
             WHERE catalog_name = $1 AND table_namespace = $2 AND table_name = $3"
        );
        let query = sqlx::query(&statement).bind(&self.catalog).bind(table.namespace().join(".")).bind(table.name());
        let row = in_time(self.timeout, query.fetch_optional(&self.pool)).await.and_then(|row| {
            row.map(|r| Ok((r.try_get::<Option<String>, _>(0)?, r.try_get::<Option<String>, _>(1)?))).transpose()
        });
        let row = row.map_err(|e| error::sql("cannot read the catalog", e).with("table", table))?;
        Ok(match row {
            None => None,
            Some((Some(location), kind)) if kind.as_deref().is_none_or(|k| k == "TABLE") => Some(Ok(location)),
            Some(_) => {
                let message = "the catalog has something of this name that is not a table";
                Some(Err(Error::data(message).with("table", table)))
            }
        })
    }

    async fn read(&self, table: &TableIdent, location: &str) -> Result<Table> {
        let metadata = TableMetadata::read_from(&self.storage, location)
            .await
            .map_err(|e| error::iceberg("cannot read the table's metadata", e).with("file", location))?;
        self.table(table, location, metadata)
    }

    fn table(&self, ident: &TableIdent, location: &str, metadata: TableMetadata) -> Result<Table> {
        let runtime = Runtime::try_current().map_err(|e| error::iceberg("no runtime", e))?;
        Table::builder()
            .file_io(self.storage.clone())
            .metadata_location(location)
            .metadata(metadata)
            .identifier(ident.clone())
            .runtime(runtime)
            .build()
            .map_err(|e| error::iceberg("cannot use the table's metadata", e).with("table", ident))
    }

    /// Writes a metadata file, runs the swap, and removes the file again when it certainly failed.
    async fn swap(
        &self,
        ident: &TableIdent,
        base: Option<&str>,
        location: MetadataLocation,
        staged: &Staged,
    ) -> Result<Table, SendError> {
        let metadata = &staged.metadata;
        staged.attempt.creates(&location.to_string());
        metadata
            .write_to(&self.storage, &location)
            .await
            .map_err(|e| SendError::Failed(error::iceberg("cannot write table metadata", e).with("table", ident)))?;
        let location = location.to_string();
        let outcome = match failpoint::hit(staged.failpoint) {
            Ok(()) => self.transact(ident, base, &location).await,
            Err(e) => Err(SendError::Failed(e)),
        };
        if let Err(SendError::Again(_) | SendError::Failed(_)) = outcome {
            super::delete_best_effort(&self.storage, [location.as_str()]).await;
        }
        outcome?;
        self.table(ident, &location, metadata.clone()).map_err(SendError::Unknown)
    }

    async fn transact(&self, ident: &TableIdent, base: Option<&str>, location: &str) -> Result<(), SendError> {
        let failed = |e: sqlx::Error| {
            if error::is_busy(&e) || error::is_unique_violation(&e) {
                SendError::Again(Error::retriable("the catalog has it otherwise, or is in use").caused_by(e))
            } else {
                SendError::Failed(error::sql("cannot write to the catalog", e).with("table", ident))
            }
        };
        let namespace = ident.namespace().join(".");
        let statement = match base {
            Some(_) => {
                "UPDATE iceberg_tables SET metadata_location = $4, previous_metadata_location = $5 \
                 WHERE catalog_name = $1 AND table_namespace = $2 AND table_name = $3 AND metadata_location = $5"
            }
            None if self.typed => {
                "INSERT INTO iceberg_tables (catalog_name, table_namespace, table_name, metadata_location, \
                 previous_metadata_location, iceberg_type) VALUES ($1, $2, $3, $4, $5, 'TABLE')"
            }
            None => {
                "INSERT INTO iceberg_tables (catalog_name, table_namespace, table_name, metadata_location, \
                 previous_metadata_location) VALUES ($1, $2, $3, $4, $5)"
            }
        };
        let query = sqlx::query(statement).bind(&self.catalog).bind(namespace).bind(ident.name());
        let swapped = async {
            let mut transaction = self.pool.begin_with(self.begin).await?;
            let done = query.bind(location).bind(base).execute(&mut *transaction).await?;
            Ok((transaction, done.rows_affected()))
        };
        // A transaction that is given up here is rolled back: its COMMIT is not sent.
        let (transaction, rows) = in_time(self.timeout, swapped).await.map_err(failed)?;
        if rows != 1 {
            return Err(SendError::Again(Error::retriable("another commit came first").with("table", ident)));
        }
        // Whatever COMMIT answers but success, the row may be there.
        in_time(self.timeout, transaction.commit()).await.map_err(|e| {
            SendError::Unknown(error::sql("the catalog's answer to a commit is lost", e).with("table", ident))
        })
    }
}

/// What a statement comes to, or an error of the line when that takes too long.
async fn in_time<T>(limit: Duration, work: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    let late = |_| {
        let message = format!("no answer within {} ms", limit.as_millis());
        Err(sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, message)))
    };
    tokio::time::timeout(limit, work).await.unwrap_or_else(late)
}

/// A SQLite file as the address sqlx takes. What it would decode is encoded.
fn sqlite_url(path: &Path) -> String {
    format!("sqlite://{}?mode=rwc", path.display().to_string().replace('%', "%25").replace('#', "%23"))
}

const CREATE_TABLES: &str = "CREATE TABLE IF NOT EXISTS iceberg_tables (
    catalog_name VARCHAR(255) NOT NULL,
    table_namespace VARCHAR(255) NOT NULL,
    table_name VARCHAR(255) NOT NULL,
    metadata_location VARCHAR(1000),
    previous_metadata_location VARCHAR(1000),
    iceberg_type VARCHAR(5),
    PRIMARY KEY (catalog_name, table_namespace, table_name))";

const CREATE_NAMESPACES: &str = "CREATE TABLE IF NOT EXISTS iceberg_namespace_properties (
    catalog_name VARCHAR(255) NOT NULL,
    namespace VARCHAR(255) NOT NULL,
    property_key VARCHAR(255) NOT NULL,
    property_value VARCHAR(1000),
    PRIMARY KEY (catalog_name, namespace, property_key))";

#[async_trait]
impl Committer for SqlCommitter {
    async fn ensure_namespace(&self) -> Result<()> {
        for levels in 1..=self.namespace.len() {
            let name = self.namespace[..levels].join(".");
            let query = sqlx::query(
                "INSERT INTO iceberg_namespace_properties (catalog_name, namespace, property_key, property_value) \
                 VALUES ($1, $2, 'exists', 'true') ON CONFLICT DO NOTHING",
            );
            in_time(self.timeout, query.bind(&self.catalog).bind(&name).execute(&self.pool))
                .await
                .map_err(|e| error::sql("cannot create the namespace", e).with("namespace", &name))?;
        }
        Ok(())
    }

    async fn list(&self) -> Result<Vec<TableIdent>> {
        let which = if self.typed { " AND (iceberg_type = 'TABLE' OR iceberg_type IS NULL)" } else { "" };
        let statement =
            format!("SELECT table_name FROM iceberg_tables WHERE catalog_name = $1 AND table_namespace = $2{which}");
        let query = sqlx::query(&statement).bind(&self.catalog).bind(self.namespace.join("."));
        let failed = |e| error::sql("cannot read the catalog", e);
        let rows = in_time(self.timeout, query.fetch_all(&self.pool)).await.map_err(failed)?;
        let namespace =
            NamespaceIdent::from_vec(self.namespace.clone()).map_err(|e| error::iceberg("the namespace is none", e))?;
        let ident = |row: &AnyRow| Ok(TableIdent::new(namespace.clone(), row.try_get(0)?));
        rows.iter().map(ident).collect::<Result<_, sqlx::Error>>().map_err(failed)
    }

    async fn find(&self, table: &TableIdent) -> Result<Option<Result<Table>>> {
        Ok(match self.locate(table).await? {
            None => None,
            Some(Ok(location)) => Some(self.read(table, &location).await),
            Some(Err(e)) => Some(Err(e)),
        })
    }

    async fn site(&self, table: &TableIdent, _: &Schema) -> Result<Site> {
        Ok(Site {
            uuid: Uuid::now_v7(),
            location: format!("{}/{}", self.folder, names::folder(table.name())),
            storage: self.storage.clone(),
            properties: HashMap::new(),
        })
    }

    async fn create(&self, table: &TableIdent, staged: &Staged) -> Result<Table, SendError> {
        let location = MetadataLocation::new_with_metadata(staged.metadata.location(), &staged.metadata);
        self.swap(table, None, location, staged).await
    }

    async fn send(&self, base: &Table, staged: &Staged) -> Result<Table, SendError> {
        let current = base
            .metadata_location_result()
            .map_err(|e| SendError::Failed(error::iceberg("a table without metadata file", e)))?;
        let location = match MetadataLocation::from_str(current) {
            Ok(location) => location.with_next_version().with_new_metadata(&staged.metadata),
            // Another writer's naming (`v3.metadata.json`): ours begins anew beside it.
            Err(_) => MetadataLocation::new_with_metadata(staged.metadata.location(), &staged.metadata),
        };
        self.swap(base.identifier(), Some(current), location, staged).await
    }
}
