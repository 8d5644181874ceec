//! Builds a snapshot on iceberg's public API, which has no overwrite commit: manifests, manifest list,
//! and the metadata that follows from them. Everything that knows of that gap is in this folder.
//!
//! What must hold: a staged change reads no manifest that it does not rewrite; nothing it writes is
//! visible until a catalog swaps to it; the branch's retention is carried over; time never runs back.

use std::collections::{BTreeMap, HashMap};

use connector_api::{Error, Result};
use iceberg::io::FileIO;
use iceberg::spec::{
    DataFile, DataFileBuilder, FormatVersion, MAIN_BRANCH, ManifestContentType, ManifestFile, ManifestListWriter,
    ManifestWriter, ManifestWriterBuilder, Operation, PartitionField, PartitionSpec, Schema, SchemaRef, Snapshot,
    SnapshotSummaryCollector, SortOrder, Struct, Summary, TableMetadata, TableMetadataBuilder, UnboundPartitionField,
    UnboundPartitionSpec, UnboundPartitionSpecBuilder,
};
use iceberg::table::Table;
use uuid::Uuid;

use super::committer::Site;
use crate::error;
use crate::journal::Attempt;

/// A snapshot to make.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    /// Its id, picked before anything is staged: also the commit's id.
    pub(crate) snapshot_id: i64,
    /// What readers of the history see it as.
    pub(crate) operation: Operation,
    /// New data files, of the current schema and default spec.
    pub(crate) add: Vec<DataFile>,
    /// New position-delete files, with the id of the partition spec that each is of.
    pub(crate) deletes: Vec<(i32, DataFile)>,
    /// Whether everything that is in the table goes; else it stays.
    pub(crate) replace: bool,
    /// The least format version of a new or replaced table.
    pub(crate) format: FormatVersion,
    /// How a new or replaced table is partitioned; its fields' own ids do not count.
    pub(crate) spec: PartitionSpec,
    /// A new schema, with final field ids.
    pub(crate) schema: Option<Schema>,
    /// Table properties to set in the same commit.
    pub(crate) properties: HashMap<String, String>,
    /// Summary properties besides the counts.
    pub(crate) summary: HashMap<String, String>,
    /// Drop all but the newest so many snapshots, this one included.
    pub(crate) keep_snapshots: Option<usize>,
    /// Hears of each file before it is created.
    pub(crate) attempt: Attempt,
    /// The named point that a test may act at, after the metadata is written and before the catalog swaps.
    pub(crate) failpoint: &'static str,
}

/// A table to make with its first snapshot.
#[derive(Clone, Debug)]
pub(crate) struct NewTable {
    /// Chosen beforehand: its files lie there, and the properties speak of its uuid.
    pub(crate) site: Site,
    /// Its schema, with field ids from 1 in order.
    pub(crate) schema: Schema,
    /// Its rows and properties.
    pub(crate) change: Change,
}

/// A staged commit, ready to be sent.
#[derive(Debug)]
pub(crate) struct Staged {
    /// The metadata after the commit, for a catalog that takes whole metadata.
    pub(crate) metadata: TableMetadata,
    /// The same as changes of the base, for a catalog that makes the metadata itself.
    #[cfg(feature = "rest")]
    pub(crate) updates: Vec<iceberg::TableUpdate>,
    /// Storage of the table.
    pub(crate) storage: FileIO,
    /// Manifests and manifest list written for it.
    pub(crate) written: Vec<String>,
    /// Hears of each file before it is created.
    pub(crate) attempt: Attempt,
    /// See [`Change::failpoint`].
    pub(crate) failpoint: &'static str,
}

/// A snapshot id that is not in use: random, positive.
pub(crate) fn new_snapshot_id() -> i64 {
    let (high, low) = Uuid::new_v4().as_u64_pair();
    i64::try_from((high ^ low) & (i64::MAX as u64)).unwrap_or(i64::MAX)
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// Stages a change on a base.
pub(crate) async fn stage(base: &Table, change: &Change) -> Result<Staged> {
    let metadata = base.metadata();
    let mut builder = metadata.clone().into_builder(base.metadata_location().map(str::to_owned));
    let least = if change.replace { change.format } else { FormatVersion::V2 };
    if metadata.format_version() < least {
        builder = builder.upgrade_format_version(least).map_err(invalid)?;
    }
    if let Some(schema) = &change.schema {
        // A catalog may refuse one of fewer columns that it is told as a new one.
        let is_there = metadata.schema_by_id(schema.schema_id()).is_some_and(|known| known.as_ref() == schema);
        builder = match is_there {
            true => builder.set_current_schema(schema.schema_id()),
            false => builder.add_current_schema(schema.clone()),
        }
        .map_err(invalid)?;
    }
    if change.replace {
        // What we write is partitioned as configured and not sorted, whatever a foreign table was before.
        if !metadata.default_partition_spec().is_compatible_with(&change.spec) {
            builder = builder.add_default_partition_spec(unbound(&change.spec)?).map_err(invalid)?;
        }
        if !metadata.default_sort_order().is_unsorted() {
            let unsorted = builder.add_sort_order(SortOrder::unsorted_order());
            let last = i64::from(TableMetadataBuilder::LAST_ADDED);
            builder = unsorted.and_then(|b| b.set_default_sort_order(last)).map_err(invalid)?;
        }
    }
    builder = builder.set_properties(change.properties.clone()).map_err(invalid)?;
    if let Some(keep) = change.keep_snapshots {
        builder = builder.remove_snapshots(&surplus(metadata, keep.saturating_sub(1)));
    }
    add_snapshot(base.file_io(), Some(base), builder, change).await
}

/// Stages a new table with its first snapshot.
pub(crate) async fn stage_create(table: &NewTable) -> Result<Staged> {
    let site = &table.site;
    let mut properties = site.properties.clone();
    properties.extend(table.change.properties.clone());
    let builder = TableMetadataBuilder::new(
        table.schema.clone(),
        unbound(&table.change.spec)?,
        SortOrder::unsorted_order(),
        site.location.clone(),
        table.change.format,
        properties,
    )
    .map_err(invalid)?
    .assign_uuid(site.uuid);
    add_snapshot(&site.storage, None, builder, &table.change).await
}

/// A spec whose fields get the ids that suit the table.
fn unbound(spec: &PartitionSpec) -> Result<UnboundPartitionSpec> {
    let free = |field: &PartitionField| UnboundPartitionField { field_id: None, ..field.clone().into_unbound() };
    let builder = UnboundPartitionSpec::builder().add_partition_fields(spec.fields().iter().map(free));
    builder.map(UnboundPartitionSpecBuilder::build).map_err(invalid)
}

/// The snapshots on the main branch beyond the newest `keep`.
fn surplus(metadata: &TableMetadata, keep: usize) -> Vec<i64> {
    let mut chain = Vec::new();
    let mut next = metadata.current_snapshot_id();
    while let Some(snapshot) = next.and_then(|id| metadata.snapshot_by_id(id)) {
        chain.push(snapshot.snapshot_id());
        next = snapshot.parent_snapshot_id();
    }
    chain.split_off(keep.min(chain.len()))
}

async fn add_snapshot(
    storage: &FileIO,
    base: Option<&Table>,
    builder: TableMetadataBuilder,
    change: &Change,
) -> Result<Staged> {
    // Schema and spec ids are settled by the builder; manifests need them.
    let after = builder.clone().build().map_err(invalid)?.metadata;
    let parent = base.and_then(|t| t.metadata().current_snapshot().cloned());
    let schema = after.current_schema().clone();
    let spec = after.default_partition_spec().clone();
    let mut manifests = Manifests {
        storage,
        folder: format!("{}/metadata", after.location()),
        commit: Uuid::new_v4(),
        snapshot_id: change.snapshot_id,
        version: after.format_version(),
        written: Vec::new(),
        attempt: &change.attempt,
    };
    let staged = async {
        let mut counts = SnapshotSummaryCollector::default();
        let mut list = Vec::new();
        if !change.add.is_empty() {
            let mut writer = manifests.writer(schema.clone(), &spec, ManifestContentType::Data)?;
            for file in &change.add {
                counts.add_file(file, schema.clone(), spec.clone());
                // A negative sequence number is inherited from the commit.
                writer.add_file(file.clone(), -1).map_err(io)?;
            }
            list.push(writer.write_manifest_file().await.map_err(io)?);
        }
        for (spec_id, files) in by_spec(&change.deletes) {
            let of = after.partition_spec_by_id(spec_id).cloned();
            let spec = of.ok_or_else(|| Error::fatal("deletes of a partition spec that the table lacks"))?;
            let mut writer = manifests.writer(schema.clone(), &spec, ManifestContentType::Deletes)?;
            for file in files {
                counts.add_file(file, schema.clone(), spec.clone());
                writer.add_file(file.clone(), -1).map_err(io)?;
            }
            list.push(writer.write_manifest_file().await.map_err(io)?);
        }
        if let (Some(base), Some(parent)) = (base, &parent) {
            let reader = base.manifest_list_reader(parent);
            let existing = reader.load().await.map_err(io)?.entries().to_vec();
            for manifest in existing.into_iter().filter(|m| m.has_added_files() || m.has_existing_files()) {
                if change.replace {
                    list.push(manifests.all_deleted(base, &after, &manifest, &mut counts).await?);
                } else {
                    list.push(manifest);
                }
            }
        }
        let (list, next_row) = manifests.list(&after, parent.as_ref().map(|p| p.snapshot_id()), list).await?;
        let summary = summary(change, counts, parent.as_ref().map(|p| p.summary()));
        let timestamp = match base {
            Some(base) => now_ms().max(base.metadata().last_updated_ms() + 1),
            None => now_ms(),
        };
        let snapshot = Snapshot::builder()
            .with_snapshot_id(change.snapshot_id)
            .with_parent_snapshot_id(parent.as_ref().map(|p| p.snapshot_id()))
            .with_sequence_number(after.next_sequence_number())
            .with_timestamp_ms(timestamp)
            .with_manifest_list(list)
            .with_summary(summary)
            .with_schema_id(after.current_schema_id());
        let snapshot = match next_row {
            Some(next) => {
                snapshot.with_row_range(after.next_row_id(), next.saturating_sub(after.next_row_id())).build()
            }
            None => snapshot.build(),
        };
        // Carries the branch's retention over.
        builder.set_branch_snapshot(snapshot, MAIN_BRANCH).and_then(TableMetadataBuilder::build).map_err(invalid)
    }
    .await;
    match staged {
        Ok(built) => Ok(Staged {
            metadata: built.metadata,
            #[cfg(feature = "rest")]
            updates: built.changes,
            storage: storage.clone(),
            written: manifests.written,
            attempt: change.attempt.clone(),
            failpoint: change.failpoint,
        }),
        Err(e) => {
            super::delete_best_effort(storage, manifests.written.iter().map(String::as_str)).await;
            Err(e)
        }
    }
}

fn by_spec(files: &[(i32, DataFile)]) -> BTreeMap<i32, Vec<&DataFile>> {
    let mut specs: BTreeMap<i32, Vec<&DataFile>> = BTreeMap::new();
    for (spec, file) in files {
        specs.entry(*spec).or_default().push(file);
    }
    specs
}

/// Writes the manifests of one snapshot and remembers them.
struct Manifests<'a> {
    storage: &'a FileIO,
    folder: String,
    commit: Uuid,
    snapshot_id: i64,
    version: FormatVersion,
    written: Vec<String>,
    attempt: &'a Attempt,
}

impl Manifests<'_> {
    fn writer(
        &mut self,
        schema: SchemaRef,
        spec: &PartitionSpec,
        content: ManifestContentType,
    ) -> Result<ManifestWriter> {
        let path = format!("{}/{}-m{}.avro", self.folder, self.commit, self.written.len());
        self.attempt.creates(&path);
        let output = self.storage.new_output(&path).map_err(io)?;
        self.written.push(path);
        let builder = ManifestWriterBuilder::new(output, Some(self.snapshot_id), schema, spec.clone());
        Ok(match (self.version, content) {
            (FormatVersion::V1, _) => builder.build_v1(),
            (FormatVersion::V2, ManifestContentType::Data) => builder.build_v2_data(),
            (FormatVersion::V2, ManifestContentType::Deletes) => builder.build_v2_deletes(),
            (FormatVersion::V3, ManifestContentType::Data) => builder.build_v3_data(),
            (FormatVersion::V3, ManifestContentType::Deletes) => builder.build_v3_deletes(),
        })
    }

    /// A manifest's live files, as deleted by this snapshot. Of another spec than the table has now they are
    /// listed under the one it has, without values: a reader need not know a spec whose columns may be gone,
    /// and DuckDB 1.5 ends itself over manifests of several specs.
    async fn all_deleted(
        &mut self,
        base: &Table,
        after: &TableMetadata,
        manifest: &ManifestFile,
        counts: &mut SnapshotSummaryCollector,
    ) -> Result<ManifestFile> {
        let old = manifest.load_manifest(self.storage).await.map_err(io)?;
        let (schema, spec) = (after.current_schema().clone(), after.default_partition_spec().clone());
        let same = manifest.partition_spec_id == spec.spec_id();
        let schema = if same { base.metadata().current_schema().clone() } else { schema };
        let mut writer = self.writer(schema.clone(), &spec, manifest.content)?;
        for entry in old.entries().iter().filter(|e| e.is_alive()) {
            let file = match same {
                true => entry.data_file().clone(),
                false => without_partition(entry.data_file(), spec.fields().len())?,
            };
            counts.remove_file(&file, schema.clone(), spec.clone());
            let sequence = entry.sequence_number().unwrap_or(0);
            let file_sequence = entry.file_sequence_number.unwrap_or(sequence);
            writer.add_delete_file(file, sequence, Some(file_sequence)).map_err(io)?;
        }
        writer.write_manifest_file().await.map_err(io)
    }

    /// The manifest list; with the next row id where the format has row ids.
    async fn list(
        &mut self,
        after: &TableMetadata,
        parent: Option<i64>,
        manifests: Vec<ManifestFile>,
    ) -> Result<(String, Option<u64>)> {
        let path = format!("{}/snap-{}-0-{}.avro", self.folder, self.snapshot_id, self.commit);
        self.attempt.creates(&path);
        self.written.push(path.clone());
        let output = self.storage.new_output(&path).map_err(io)?.writer().await.map_err(io)?;
        let (id, sequence) = (self.snapshot_id, after.next_sequence_number());
        let mut writer = match self.version {
            FormatVersion::V1 => ManifestListWriter::v1(output, id, parent),
            FormatVersion::V2 => ManifestListWriter::v2(output, id, parent, sequence),
            FormatVersion::V3 => ManifestListWriter::v3(output, id, parent, sequence, Some(after.next_row_id())),
        };
        writer.add_manifests(manifests.into_iter()).map_err(io)?;
        let next_row = writer.next_row_id();
        writer.close().await.map_err(io)?;
        Ok((path, next_row))
    }
}

/// A file's entry with NULL for each of so many partition fields, and without bounds, which nobody needs of
/// a file that is gone.
fn without_partition(file: &DataFile, fields: usize) -> Result<DataFile> {
    let mut entry = DataFileBuilder::default();
    entry
        .content(file.content_type())
        .file_path(file.file_path().to_owned())
        .file_format(file.file_format())
        .partition(Struct::from_iter((0..fields).map(|_| None)))
        .record_count(file.record_count())
        .file_size_in_bytes(file.file_size_in_bytes())
        .key_metadata(file.key_metadata().map(<[u8]>::to_vec))
        .split_offsets(file.split_offsets().map(<[i64]>::to_vec))
        .equality_ids(file.equality_ids())
        .first_row_id(file.first_row_id())
        .referenced_data_file(file.referenced_data_file())
        .content_offset(file.content_offset())
        .content_size_in_bytes(file.content_size_in_bytes());
    entry.build().map_err(|e| Error::fatal("an incomplete manifest entry").caused_by(e))
}

/// The summary: what the change says, what was counted, and the totals after it.
fn summary(change: &Change, counts: SnapshotSummaryCollector, before: Option<&Summary>) -> Summary {
    let mut properties = change.summary.clone();
    properties.extend(counts.build());
    for (total, added, removed) in [
        ("total-data-files", "added-data-files", "deleted-data-files"),
        ("total-delete-files", "added-delete-files", "removed-delete-files"),
        ("total-records", "added-records", "deleted-records"),
        ("total-files-size", "added-files-size", "removed-files-size"),
        ("total-position-deletes", "added-position-deletes", "removed-position-deletes"),
        ("total-equality-deletes", "added-equality-deletes", "removed-equality-deletes"),
    ] {
        let number = |p: &HashMap<String, String>, k: &str| p.get(k).and_then(|v| v.parse::<i64>().ok());
        let base = match before {
            None => Some(0),
            // Everything of before is gone, whether or not it was counted.
            Some(_) if change.replace => number(&properties, removed).or(Some(0)),
            Some(before) => number(&before.additional_properties, total),
        };
        if let Some(base) = base {
            let after = base + number(&properties, added).unwrap_or(0) - number(&properties, removed).unwrap_or(0);
            properties.insert(total.into(), after.max(0).to_string());
        }
    }
    Summary { operation: change.operation.clone(), additional_properties: properties }
}

fn invalid(e: iceberg::Error) -> Error {
    Error::data("the change makes no valid table metadata").caused_by(e)
}

fn io(e: iceberg::Error) -> Error {
    error::iceberg("cannot write a snapshot", e)
}
