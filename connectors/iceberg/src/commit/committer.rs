//! What a family of catalogs must be able to do for a commit: compare and swap, with three answers kept
//! apart. Must not know what is being committed.

use std::collections::HashMap;

use async_trait::async_trait;
use connector_api::{Error, Result};
use iceberg::TableIdent;
use iceberg::io::FileIO;
use iceberg::spec::Schema;
use iceberg::table::Table;
use uuid::Uuid;

use super::stage::Staged;

/// Why a commit did not (or may not) have happened.
#[derive(Debug)]
pub(crate) enum SendError {
    /// It certainly did not happen, and the same change on a fresh base may: another commit came first, or
    /// the catalog was in use.
    Again(Error),
    /// It certainly did not happen and trying again is useless.
    Failed(Error),
    /// The answer is lost: it may have happened, or still happen. Nothing it refers to may be deleted.
    Unknown(Error),
}

/// Where a table will be that does not exist yet.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    /// The table's identity.
    pub(crate) uuid: Uuid,
    /// Its folder, without a slash at the end.
    pub(crate) location: String,
    /// Storage that may write there.
    pub(crate) storage: FileIO,
    /// Properties that the catalog gives every table.
    pub(crate) properties: HashMap<String, String>,
}

/// A catalog. Implementations hold no state of a table between calls.
#[async_trait]
pub(crate) trait Committer: Send + Sync {
    /// Creates the namespace, every level; does nothing if it exists.
    async fn ensure_namespace(&self) -> Result<()>;

    /// The table as it is now; none if there is no such table. The outer error is the catalog's, the inner
    /// one this table's alone.
    async fn find(&self, table: &TableIdent) -> Result<Option<Result<Table>>>;

    /// The tables of the configured namespace, in no order; none where there is no such namespace.
    async fn list(&self) -> Result<Vec<TableIdent>>;

    /// Where a new table with this schema would be. Creates nothing that anyone sees.
    async fn site(&self, table: &TableIdent, schema: &Schema) -> Result<Site>;

    /// Creates a table with its first snapshot in one operation; `Again` if one of that name exists.
    async fn create(&self, table: &TableIdent, staged: &Staged) -> Result<Table, SendError>;

    /// Swaps the table from `base` to what was staged on it; `Again` if it is no longer at `base`.
    async fn send(&self, base: &Table, staged: &Staged) -> Result<Table, SendError>;

    /// The table as it is now; an error whichever way it cannot be read.
    async fn load(&self, table: &TableIdent) -> Result<Option<Table>> {
        self.find(table).await?.transpose()
    }
}
