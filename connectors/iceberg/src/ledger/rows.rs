//! Appends rows to a ledger table in one commit, rewriting the table when it has many small files.
//!
//! What must hold: a row's `sequence` is that of the snapshot that shows it, so the file is written anew on
//! every base; an append never loses another instance's rows. Must not know what the rows mean.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow_array::{BooleanArray, RecordBatch, new_null_array};
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
use crate::names;
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
pub(crate) trait Rows: Send {
    /// The ledger's table name.
    fn name(&self) -> &'static str;
    /// The schema of a new ledger, with field ids as a new table would get them.
    fn schema(&self) -> Result<Schema>;
    /// How often a commit of them is tried again, where the configuration says so often.
    fn retries(&self, configured: u32) -> u32 {
        configured
    }
    /// Whether [`look`](Self::look) goes by the rows that are there.
    fn looks(&self) -> bool {
        false
    }
    /// Decides on the rows of the ledger as it is; called anew for every base. Whether anything is to be added.
    fn look(&mut self, existing: &[RecordBatch]) -> bool;
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

/// Appends rows in one commit, or nothing where there is nothing to add.
pub(crate) async fn append(
    committer: &dyn Committer,
    place: &Place,
    journal: &Arc<Journal>,
    rows: &mut dyn Rows,
) -> Result<()> {
    let ident = place.of(rows.name());
    let snapshot_id = new_snapshot_id();
    let attempt = journal.attempt(snapshot_id, &ident);
    let retries = rows.retries(place.config.commit_retries);
    let mut append = Append {
        committer,
        place,
        rows,
        snapshot_id,
        attempt: attempt.clone(),
        files: Vec::new(),
        storage: None,
        last: Last::Sent,
        before: None,
    };
    let outcome = commit::commit(committer, &ident, retries, &mut append).await;
    // Of several attempts only the last one's file is in the table, or none; unless an answer was lost.
    let Append { mut files, last, before, storage, .. } = append;
    let delete = async |paths: &[String]| {
        if let Some(storage) = &storage {
            delete_best_effort(storage, paths.iter().map(String::as_str)).await;
        }
    };
    match outcome {
        // What was sent before, with its answer lost, may still get through: it is the journal's now.
        Ok(_) if matches!(last, Last::Nothing) => Ok(()),
        Ok(Committed { table, expired_metadata }) => {
            if matches!(last, Last::Sent) {
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

/// What the last look at the ledger came to.
enum Last {
    /// A file to be added.
    Sent,
    /// Our commit is there; which file it added is not known.
    Found,
    /// There was nothing to add.
    Nothing,
}

struct Append<'a> {
    committer: &'a dyn Committer,
    place: &'a Place,
    rows: &'a mut dyn Rows,
    snapshot_id: i64,
    attempt: Attempt,
    /// Every file written, in order of the attempts.
    files: Vec<String>,
    /// Where they were written.
    storage: Option<FileIO>,
    last: Last,
    /// The table before a rewrite.
    before: Option<Table>,
}

#[async_trait]
impl Proposal for Append<'_> {
    async fn on(&mut self, base: Option<&Table>) -> Result<Decision> {
        self.before = None;
        self.attempt.on_base(base.and_then(|t| t.metadata().current_snapshot_id()));
        let schema = self.rows.schema()?;
        let Some(base) = base else {
            self.rows.look(&[]);
            let site = self.committer.site(&self.place.of(self.rows.name()), &schema).await?;
            let file = self.write(&schema, &site.storage, &site.location, 1, Vec::new()).await?;
            let change = self.change(file, false, None);
            return Ok(Decision::Create(Box::new(NewTable { site, schema, change })));
        };
        let metadata = base.metadata();
        if position::has_commit(metadata, self.snapshot_id) {
            self.last = Last::Found;
            return Ok(Decision::Done);
        }
        let total = metadata.current_snapshot().and_then(|s| s.summary().additional_properties.get("total-data-files"));
        let many = total.and_then(|n| n.parse::<u64>().ok()).is_some_and(|n| n >= COMPACT_AT);
        let existing = if many || self.rows.looks() { scan(base).await? } else { Vec::new() };
        if !self.rows.look(&existing) {
            self.last = Last::Nothing;
            return Ok(Decision::Done);
        }
        self.last = Last::Sent;
        let kept = if many {
            let masks = self.rows.keep(&existing);
            self.before = Some(base.clone());
            let kept = existing.iter().zip(&masks).map(|(batch, mask)| filter_record_batch(batch, mask));
            kept.collect::<Result<_, _>>().map_err(|e| Error::fatal("cannot rewrite a ledger").caused_by(e))?
        } else {
            Vec::new()
        };
        let wider = widened(metadata.current_schema(), metadata.last_column_id(), &schema)?;
        let schema = wider.as_ref().unwrap_or(metadata.current_schema()).clone();
        let location = metadata.location().to_owned();
        let file = self.write(&schema, base.file_io(), &location, metadata.next_sequence_number(), kept).await?;
        Ok(Decision::Commit(Box::new(self.change(file, many, wider))))
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
        let kept = kept.iter().map(|batch| fitted(batch, &shape.arrow)).collect::<Result<Vec<_>>>()?;
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

    fn change(&self, add: Vec<DataFile>, rewrite: bool, schema: Option<Schema>) -> Change {
        let keep = KEEP_SNAPSHOTS.to_string();
        let change = Change {
            snapshot_id: self.snapshot_id,
            operation: if rewrite { Operation::Overwrite } else { Operation::Append },
            add,
            deletes: Vec::new(),
            replace: rewrite,
            format: FormatVersion::V2,
            spec: PartitionSpec::unpartition_spec(),
            schema,
            properties: HashMap::from([
                ("write.metadata.previous-versions-max".to_owned(), keep),
                (position::COMMIT_ID.to_owned(), self.snapshot_id.to_string()),
            ]),
            summary: HashMap::from([(position::COMMIT_ID.to_owned(), self.snapshot_id.to_string())]),
            keep_snapshots: rewrite.then_some(KEEP_SNAPSHOTS),
            attempt: self.attempt.clone(),
            failpoint: "iceberg.before-status-commit",
        };
        match self.rows.name() {
            names::SCHEMA_CHANGES => Change { failpoint: "iceberg.before-changes-commit", ..change },
            _ => change,
        }
    }
}

/// The schema of a ledger that an older version made, with the columns that it lacks; `None` if it lacks none.
fn widened(now: &Schema, last_id: i32, wanted: &Schema) -> Result<Option<Schema>> {
    let has: HashSet<&str> = now.as_struct().fields().iter().map(|f| f.name.as_str()).collect();
    // What is not a plain value, a ledger has had from the first version on.
    let is_missing = |f: &&NestedFieldRef| !has.contains(f.name.as_str()) && f.field_type.is_primitive();
    let missing = wanted.as_struct().fields().iter().filter(is_missing);
    let new = missing.zip(last_id + 1..).map(|(field, id)| NestedField { id, required: false, ..(**field).clone() });
    let new: Vec<NestedFieldRef> = new.map(Arc::new).collect();
    if new.is_empty() {
        return Ok(None);
    }
    let fields = now.as_struct().fields().iter().cloned().chain(new);
    let built = Schema::builder().with_schema_id(now.schema_id() + 1).with_fields(fields).build();
    built.map(Some).map_err(|e| Error::fatal("a ledger cannot be given new columns").caused_by(e))
}

/// Rows under a schema that may have more columns.
fn fitted(batch: &RecordBatch, schema: &ArrowSchemaRef) -> Result<RecordBatch> {
    let columns = schema.fields().iter().map(|field| match batch.column_by_name(field.name()) {
        Some(column) => Arc::clone(column),
        None => new_null_array(field.data_type(), batch.num_rows()),
    });
    RecordBatch::try_new(Arc::clone(schema), columns.collect())
        .map_err(|e| Error::fatal("a ledger's rows cannot be rewritten").caused_by(e))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::status::{Status, StatusRow, StatusRows};
    use crate::ledger::{Ledger, Sightings};
    use crate::tests::Lake;
    use connector_api::TableId;
    use iceberg::spec::MapType;

    /// The ledger of a version that knew fewer columns.
    struct Older(StatusRows);

    impl Rows for Older {
        fn name(&self) -> &'static str {
            self.0.name()
        }

        fn schema(&self) -> Result<Schema> {
            let all = self.0.schema()?;
            let fields = all.as_struct().fields().iter().take(20).map(|field| match &*field.field_type {
                // Numbered after the columns that there were.
                Type::Map(map) => {
                    let (key, value) = (&map.key_field, &map.value_field);
                    let map = MapType::new(
                        Arc::new(NestedField { id: 21, ..(**key).clone() }),
                        Arc::new(NestedField { id: 22, ..(**value).clone() }),
                    );
                    Arc::new(NestedField { field_type: Box::new(Type::Map(map)), ..(**field).clone() })
                }
                _ => Arc::clone(field),
            });
            Ok(Schema::builder().with_fields(fields).build().unwrap())
        }

        fn look(&mut self, existing: &[RecordBatch]) -> bool {
            self.0.look(existing)
        }

        fn batch(&self, schema: &ArrowSchemaRef, sequence: i64) -> Result<RecordBatch> {
            self.0.batch(schema, sequence)
        }

        fn keep(&self, existing: &[RecordBatch]) -> Vec<BooleanArray> {
            self.0.keep(existing)
        }
    }

    /// A ledger that an older version made is given the columns that it lacks, whether it is added to or
    /// rewritten, and what stands in it counts.
    #[tokio::test(flavor = "multi_thread")]
    async fn an_older_ledger_is_widened() {
        for appends in [1, 50] {
            let lake = Lake::new();
            let committer: Arc<dyn Committer> = Arc::new(lake.committer().await);
            committer.ensure_namespace().await.unwrap();
            let (place, journal) = (lake.place(), Journal::open(None, ""));
            for n in 0..appends {
                // That version wrote `running` without saying who.
                let row = StatusRow { status: Status::Running, ..StatusRow::of_name("shop", "public.t") };
                let (rows, instance) = (vec![row], String::new());
                let mut rows = Older(StatusRows { rows, instance, beat: 0, retention_ms: 1 << 40, now_ms: n });
                append(committer.as_ref(), &place, &journal, &mut rows).await.unwrap();
            }
            let fields = async || {
                lake.table(names::STATUS).await.unwrap().metadata().current_schema().as_struct().fields().len()
            };
            assert_eq!(fields().await, 20);
            let ledger = Ledger::start(committer, place, journal, Arc::new(Sightings::default()), vec![]);
            assert_eq!(ledger.claim("shop", &[TableId::new("public", "t")]).await.unwrap(), []);
            assert_eq!(fields().await, 24);
            let rows: usize = lake.scan(names::STATUS).await.iter().map(RecordBatch::num_rows).sum();
            assert_eq!(rows, 2, "the newest of it, and the claim");
            ledger.close().await;
        }
    }
}
