//! Appends rows to a ledger table in one commit, rewriting the table when it has many small files.
//!
//! What must hold: a row's `sequence` is that of the snapshot that shows it, so the file is written anew on
//! every base; an append never loses another instance's rows. Must not know what the rows mean.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{BooleanArray, RecordBatch};
use arrow_schema::SchemaRef as ArrowSchemaRef;
use arrow_select::filter::filter_record_batch;
use async_trait::async_trait;
use connector_api::{Error, Result};
use futures::TryStreamExt;
use iceberg::arrow::schema_to_arrow_schema;
use iceberg::io::FileIO;
use iceberg::spec::{
    DataFile, FormatVersion, NestedField, NestedFieldRef, Operation, PartitionSpec, PrimitiveType, Schema, Type,
};
use iceberg::table::Table;
use tokio::runtime::Handle;

use crate::commit::{
    self, Change, Committed, Committer, Decision, NewTable, Proposal, delete_best_effort, new_snapshot_id,
};
use crate::error;
use crate::journal::{Attempt, Journal};
use crate::orphans;
use crate::position;
use crate::sink::Place;
use crate::writer::{Budget, DataWriter, Shape, Target};

/// A ledger is rewritten once it has so many data files.
const COMPACT_AT: u64 = 50;
/// Snapshots that a ledger keeps when it is rewritten.
const KEEP_SNAPSHOTS: usize = 20;
/// Memory for a ledger's writer, bytes.
const MEMORY: usize = 16 << 20;

/// Rows for one ledger.
pub(crate) trait Rows: Send + Sync {
    /// The ledger's table name.
    fn name(&self) -> &'static str;
    /// The schema of a new ledger, with field ids as a new table would get them.
    fn schema(&self) -> Result<Schema>;
    /// The rows, under the sequence number of the snapshot that will show them.
    fn batch(&self, schema: &ArrowSchemaRef, sequence: i64) -> Result<RecordBatch>;
    /// Which of the existing rows a rewrite keeps.
    fn keep(&self, existing: &[RecordBatch]) -> Vec<BooleanArray>;
}

/// An optional column.
pub(crate) fn column(id: i32, name: &str, kind: PrimitiveType) -> NestedFieldRef {
    Arc::new(NestedField::optional(id, name, Type::Primitive(kind)))
}

/// A column without NULL.
pub(crate) fn required(id: i32, name: &str, kind: PrimitiveType) -> NestedFieldRef {
    Arc::new(NestedField::required(id, name, Type::Primitive(kind)))
}

/// Appends rows in one commit.
pub(crate) async fn append(
    committer: &dyn Committer,
    place: &Place,
    journal: &Arc<Journal>,
    rows: &dyn Rows,
) -> Result<()> {
    let ident = place.of(rows.name());
    let snapshot_id = new_snapshot_id();
    let attempt = journal.attempt(snapshot_id, &ident);
    let mut append = Append {
        committer,
        place,
        rows,
        snapshot_id,
        attempt: attempt.clone(),
        files: Vec::new(),
        storage: None,
        done: false,
        before: None,
    };
    let outcome = commit::commit(committer, &ident, place.config.commit_retries, &mut append).await;
    // Of several attempts only the last one's file is in the table, or none; unless an answer was lost.
    let Append { mut files, done, before, storage, .. } = append;
    let delete = async |paths: &[String]| {
        if let Some(storage) = &storage {
            delete_best_effort(storage, paths.iter().map(String::as_str)).await;
        }
    };
    match outcome {
        Ok(Committed { table, expired_metadata }) => {
            if !done {
                files.pop();
                delete(&files).await;
            }
            delete(&expired_metadata).await;
            if let Some(before) = before {
                remove_unreachable(table.file_io(), &before, &table).await;
            }
            attempt.done();
            orphans::bury(committer, journal, &ident).await;
            Ok(())
        }
        Err(failure) => {
            if failure.certain {
                delete(&files).await;
                attempt.done();
            }
            Err(failure.error)
        }
    }
}

/// All rows of a ledger; none if it does not exist.
pub(crate) async fn read(committer: &dyn Committer, place: &Place, name: &str) -> Result<Vec<RecordBatch>> {
    match committer.load(&place.of(name)).await? {
        Some(table) => scan(&table).await,
        None => Ok(Vec::new()),
    }
}

async fn scan(table: &Table) -> Result<Vec<RecordBatch>> {
    let read = async { table.scan().build()?.to_arrow().await?.try_collect().await };
    read.await.map_err(|e| error::iceberg("cannot read a ledger", e).with("table", table.identifier()))
}

struct Append<'a> {
    committer: &'a dyn Committer,
    place: &'a Place,
    rows: &'a dyn Rows,
    snapshot_id: i64,
    attempt: Attempt,
    /// Every file written, in order of the attempts.
    files: Vec<String>,
    /// Where they were written.
    storage: Option<FileIO>,
    done: bool,
    /// The table before a rewrite.
    before: Option<Table>,
}

#[async_trait]
impl Proposal for Append<'_> {
    async fn on(&mut self, base: Option<&Table>) -> Result<Decision> {
        self.before = None;
        self.attempt.on_base(base.and_then(|t| t.metadata().current_snapshot_id()));
        let Some(base) = base else {
            let schema = self.rows.schema()?;
            let site = self.committer.site(&self.place.of(self.rows.name()), &schema).await?;
            let file = self.write(&schema, &site.storage, &site.location, 1, Vec::new()).await?;
            let change = self.change(file, false);
            return Ok(Decision::Create(Box::new(NewTable { site, schema, change })));
        };
        let metadata = base.metadata();
        if position::has_commit(metadata, self.snapshot_id) {
            self.done = true;
            return Ok(Decision::Done);
        }
        let total = metadata.current_snapshot().and_then(|s| s.summary().additional_properties.get("total-data-files"));
        let many = total.and_then(|n| n.parse::<u64>().ok()).is_some_and(|n| n >= COMPACT_AT);
        let kept = if many {
            let existing = scan(base).await?;
            let masks = self.rows.keep(&existing);
            self.before = Some(base.clone());
            let kept = existing.iter().zip(&masks).map(|(batch, mask)| filter_record_batch(batch, mask));
            kept.collect::<Result<_, _>>().map_err(|e| Error::fatal("cannot rewrite a ledger").caused_by(e))?
        } else {
            Vec::new()
        };
        let (schema, location) = (metadata.current_schema().as_ref().clone(), metadata.location().to_owned());
        let file = self.write(&schema, base.file_io(), &location, metadata.next_sequence_number(), kept).await?;
        Ok(Decision::Commit(Box::new(self.change(file, many))))
    }
}

impl Append<'_> {
    /// Writes kept and new rows into one file.
    async fn write(
        &mut self,
        schema: &Schema,
        storage: &FileIO,
        location: &str,
        sequence: i64,
        kept: Vec<RecordBatch>,
    ) -> Result<Vec<DataFile>> {
        self.storage = Some(storage.clone());
        let arrow = schema_to_arrow_schema(schema).map_err(|e| error::iceberg("a ledger's schema", e))?;
        let spec = Arc::new(PartitionSpec::unpartition_spec());
        let shape = Shape { schema: Arc::new(schema.clone()), arrow: Arc::new(arrow), spec };
        let new = self.rows.batch(&shape.arrow, sequence)?;
        let target = Target {
            storage: storage.clone(),
            runtime: Handle::current(),
            folder: format!("{}/data", location.trim_end_matches('/')),
            files: self.place.config.tables.files,
            budget: Budget::new(MEMORY),
            attempt: self.attempt.clone(),
        };
        let written = tokio::task::spawn_blocking(move || {
            let mut writer = DataWriter::new(shape, target)?;
            match kept.iter().chain([&new]).try_for_each(|batch| writer.write(batch)) {
                Ok(()) => writer.finish(),
                Err(e) => {
                    writer.discard();
                    Err(e)
                }
            }
        });
        let files = written.await.map_err(|e| Error::fatal("writing a ledger was interrupted").caused_by(e))??;
        self.files.extend(files.iter().map(|f| f.file_path().to_owned()));
        Ok(files)
    }

    fn change(&self, add: Vec<DataFile>, rewrite: bool) -> Change {
        let keep = KEEP_SNAPSHOTS.to_string();
        Change {
            snapshot_id: self.snapshot_id,
            operation: if rewrite { Operation::Overwrite } else { Operation::Append },
            add,
            replace: rewrite,
            format: FormatVersion::V2,
            spec: PartitionSpec::unpartition_spec(),
            schema: None,
            properties: HashMap::from([
                ("write.metadata.previous-versions-max".to_owned(), keep),
                (position::COMMIT_ID.to_owned(), self.snapshot_id.to_string()),
            ]),
            summary: HashMap::from([(position::COMMIT_ID.to_owned(), self.snapshot_id.to_string())]),
            keep_snapshots: rewrite.then_some(KEEP_SNAPSHOTS),
            attempt: self.attempt.clone(),
            failpoint: "iceberg.before-ledger-commit",
        }
    }
}

/// Deletes what only the snapshots refer to that a rewrite dropped. Best effort: what stays costs space.
async fn remove_unreachable(storage: &FileIO, before: &Table, after: &Table) {
    match unreachable(before, after).await {
        Ok(paths) => delete_best_effort(storage, paths.iter().map(String::as_str)).await,
        Err(e) => tracing::debug!(error = %e, "expired files of a ledger stay behind"),
    }
}

async fn unreachable(before: &Table, after: &Table) -> iceberg::Result<Vec<String>> {
    let kept = orphans::references(after).await?;
    Ok(orphans::references(before).await?.into_iter().filter(|path| !kept.contains(path)).collect())
}
