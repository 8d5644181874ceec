//! What a family of catalogs must be able to do for a commit: compare and swap, with three answers kept
//! apart. Must not know what is being committed.

use async_trait::async_trait;
use connector_api::{Error, Result};
use iceberg::TableIdent;
use iceberg::io::FileIO;
use iceberg::table::Table;

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

/// A catalog. Implementations hold no state of a table between calls.
#[async_trait]
pub(crate) trait Committer: Send + Sync {
    /// Storage of the tables.
    fn storage(&self) -> &FileIO;

    /// Creates the namespace, every level; does nothing if it exists.
    async fn ensure_namespace(&self) -> Result<()>;

    /// Where the table's metadata is now; none if there is no such table.
    async fn locate(&self, table: &TableIdent) -> Result<Option<String>>;

    /// Reads a table's metadata.
    async fn read(&self, table: &TableIdent, location: &str) -> Result<Table>;

    /// Creates a table with its first snapshot in one operation; `Again` if one of that name exists.
    async fn create(&self, table: &TableIdent, staged: &Staged) -> Result<Table, SendError>;

    /// Swaps the table from `base` to what was staged on it; `Again` if it is no longer at `base`.
    async fn send(&self, base: &Table, staged: &Staged) -> Result<Table, SendError>;

    /// The table as it is now.
    async fn load(&self, table: &TableIdent) -> Result<Option<Table>> {
        match self.locate(table).await? {
            Some(location) => self.read(table, &location).await.map(Some),
            None => Ok(None),
        }
    }
}
