//! Deletes what dead attempts left behind, once it is certain that nobody will ever refer to it.
//!
//! What must hold: a file is deleted only if its attempt can no longer be committed (the table has moved past
//! every base that it was sent on, so the catalog's compare-and-swap refuses it) and no snapshot of the table
//! refers to it. In doubt it stays.

use std::collections::HashSet;

use connector_api::Result;
use iceberg::TableIdent;
use iceberg::spec::TableMetadata;
use iceberg::table::Table;

use crate::commit::{Committer, delete_best_effort};
use crate::error;
use crate::journal::{Dead, Journal};

/// Cleans up after the dead attempts at every table of the journal, as far as it is certain.
pub(crate) async fn bury_all(committer: &dyn Committer, journal: &Journal) {
    for table in journal.tables() {
        bury(committer, journal, &table).await;
    }
}

/// Cleans up after the dead attempts at a table, as far as it is certain. Trouble costs space only.
pub(crate) async fn bury(committer: &dyn Committer, journal: &Journal, table: &TableIdent) {
    let dead = journal.dead(table);
    if !dead.is_empty()
        && let Err(e) = try_bury(committer, journal, table, &dead).await
    {
        tracing::warn!(table = %table, error = format!("{e:#}"), "files of dead attempts stay behind for now");
    }
}

async fn try_bury(committer: &dyn Committer, journal: &Journal, ident: &TableIdent, dead: &[Dead]) -> Result<()> {
    let Some(table) = committer.load(ident).await? else { return Ok(()) };
    let past: Vec<&Dead> = dead.iter().filter(|d| is_past(&d.bases, table.metadata())).collect();
    if past.is_empty() {
        return Ok(());
    }
    let referred = references(&table)
        .await
        .map_err(|e| error::iceberg("cannot read what a table refers to", e).with("table", ident))?;
    let orphans: Vec<&str> =
        past.iter().flat_map(|d| &d.files).map(String::as_str).filter(|path| !referred.contains(*path)).collect();
    if !orphans.is_empty() {
        tracing::info!(table = %ident, files = orphans.len(), "deleting what dead attempts left behind");
        delete_best_effort(table.file_io(), orphans).await;
    }
    journal.buried(&past.iter().map(|d| d.id).collect::<Vec<_>>());
    Ok(())
}

/// Whether an attempt that was sent on these bases can no longer get through, with the table as it is.
fn is_past(bases: &[Option<i64>], now: &TableMetadata) -> bool {
    bases.iter().all(|base| match base {
        // It was to create a table that exists.
        None => true,
        Some(snapshot) => now.current_snapshot_id() != Some(*snapshot),
    })
}

/// Every file that any snapshot of the table refers to, and its metadata files.
pub(crate) async fn references(table: &Table) -> iceberg::Result<HashSet<String>> {
    let metadata = table.metadata();
    let mut found: HashSet<String> = metadata.metadata_log().iter().map(|entry| entry.metadata_file.clone()).collect();
    found.extend(table.metadata_location().map(str::to_owned));
    let mut read = HashSet::new();
    for snapshot in metadata.snapshots() {
        found.insert(snapshot.manifest_list().to_owned());
        for manifest in table.manifest_list_reader(snapshot).load().await?.entries() {
            if read.insert(manifest.manifest_path.clone()) {
                let entries = manifest.load_manifest(table.file_io()).await?;
                found.extend(entries.entries().iter().filter(|e| e.is_alive()).map(|e| e.file_path().to_owned()));
            }
        }
    }
    found.extend(read);
    Ok(found)
}
