//! The SQL catalog (the tables of Iceberg's JDBC catalog, shared with Java and PyIceberg) on SQLite.
//!
//! What must hold: a commit is one conditional UPDATE or one INSERT in one transaction, whose COMMIT's
//! answer is looked at; a busy database is a conflict, a lost COMMIT is unknown.

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use connector_api::{Error, Result, failpoint};
use iceberg::io::FileIO;
use iceberg::spec::TableMetadata;
use iceberg::table::Table;
use iceberg::{MetadataLocation, Runtime, TableIdent};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use sqlx::{Row, SqlitePool};

use super::committer::{Committer, SendError};
use super::stage::Staged;
use crate::error;

/// How long a statement waits for another process's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections: writers are serialised by SQLite anyway.
const CONNECTIONS: u32 = 4;

/// A SQL catalog on SQLite with its tables on local storage.
pub(crate) struct SqlCommitter {
    pool: SqlitePool,
    catalog: String,
    namespace: Vec<String>,
    storage: FileIO,
    /// Whether `iceberg_tables` has the column `iceberg_type`: catalogs of older writers do not.
    typed: bool,
}

impl SqlCommitter {
    /// Opens the database, creating the file and its tables where they are missing.
    pub(crate) async fn connect(path: &Path, catalog: &str, namespace: &[String]) -> Result<Self> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(|e| error::io("cannot create the catalog's folder", parent, e))?;
        }
        let options = SqliteConnectOptions::new().filename(path).create_if_missing(true).busy_timeout(BUSY_TIMEOUT);
        let sql = |e| error::sql("cannot open the catalog", e).with("catalog", path.display());
        let pool = SqlitePoolOptions::new().max_connections(CONNECTIONS).connect_with(options).await.map_err(sql)?;
        for statement in [CREATE_TABLES, CREATE_NAMESPACES] {
            sqlx::query(statement).execute(&pool).await.map_err(sql)?;
        }
        let columns = sqlx::query("SELECT name FROM pragma_table_info('iceberg_tables')").fetch_all(&pool);
        let columns = columns.await.map_err(sql)?;
        let typed = columns.iter().any(|row| row.try_get::<String, _>(0).is_ok_and(|name| name == "iceberg_type"));
        let storage = FileIO::new_with_fs();
        Ok(Self { pool, catalog: catalog.into(), namespace: namespace.to_vec(), storage, typed })
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
        // Taking the write lock first makes "busy" show here, where nothing has happened yet.
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
        let namespace = ident.namespace().join(".");
        let statement = match base {
            Some(_) => {
                "UPDATE iceberg_tables SET metadata_location = ?4, previous_metadata_location = ?5 \
                 WHERE catalog_name = ?1 AND table_namespace = ?2 AND table_name = ?3 AND metadata_location = ?5"
            }
            None if self.typed => {
                "INSERT INTO iceberg_tables (catalog_name, table_namespace, table_name, metadata_location, \
                 previous_metadata_location, iceberg_type) VALUES (?1, ?2, ?3, ?4, ?5, 'TABLE')"
            }
            None => {
                "INSERT INTO iceberg_tables (catalog_name, table_namespace, table_name, metadata_location, \
                 previous_metadata_location) VALUES (?1, ?2, ?3, ?4, ?5)"
            }
        };
        let query = sqlx::query(statement).bind(&self.catalog).bind(namespace).bind(ident.name());
        let done = query.bind(location).bind(base).execute(&mut *transaction).await.map_err(failed)?;
        if done.rows_affected() != 1 {
            return Err(SendError::Again(Error::retriable("another commit came first").with("table", ident)));
        }
        // Whatever COMMIT answers but success, the row may be there.
        transaction.commit().await.map_err(|e| {
            SendError::Unknown(error::sql("the catalog's answer to a commit is lost", e).with("table", ident))
        })
    }
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
    fn storage(&self) -> &FileIO {
        &self.storage
    }

    async fn ensure_namespace(&self) -> Result<()> {
        for levels in 1..=self.namespace.len() {
            let name = self.namespace[..levels].join(".");
            sqlx::query(
                "INSERT OR IGNORE INTO iceberg_namespace_properties \
                 (catalog_name, namespace, property_key, property_value) VALUES (?, ?, 'exists', 'true')",
            )
            .bind(&self.catalog)
            .bind(&name)
            .execute(&self.pool)
            .await
            .map_err(|e| error::sql("cannot create the namespace", e).with("namespace", &name))?;
        }
        Ok(())
    }

    async fn locate(&self, table: &TableIdent) -> Result<Option<String>> {
        let kind = if self.typed { "iceberg_type" } else { "NULL" };
        let statement = format!(
            "SELECT metadata_location, {kind} FROM iceberg_tables \
             WHERE catalog_name = ? AND table_namespace = ? AND table_name = ?"
        );
        let query = sqlx::query(&statement);
        let row = query
            .bind(&self.catalog)
            .bind(table.namespace().join("."))
            .bind(table.name())
            .fetch_optional(&self.pool)
            .await
            .and_then(|row| {
                row.map(|r| Ok((r.try_get::<Option<String>, _>(0)?, r.try_get::<Option<String>, _>(1)?))).transpose()
            })
            .map_err(|e| error::sql("cannot read the catalog", e).with("table", table))?;
        match row {
            None => Ok(None),
            Some((Some(location), kind)) if kind.as_deref().is_none_or(|k| k == "TABLE") => Ok(Some(location)),
            Some(_) => {
                Err(Error::data("the catalog has something of this name that is not a table").with("table", table))
            }
        }
    }

    async fn read(&self, table: &TableIdent, location: &str) -> Result<Table> {
        let metadata = TableMetadata::read_from(&self.storage, location)
            .await
            .map_err(|e| error::iceberg("cannot read the table's metadata", e).with("file", location))?;
        self.table(table, location, metadata)
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
