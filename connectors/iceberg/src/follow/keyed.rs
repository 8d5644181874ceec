//! The key index of a table, kept in step with the table's snapshots (P16, P19).
//!
//! What must hold: an index is used only for the snapshot that it is tagged with; anything else is made anew from
//! the table's own files. What is on disk is a cache: lost or damaged it costs time only.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use connector_api::{Error, Result, TableSchema};
use connector_iceberg_index::{
    Change, Definition, Error as IndexError, Index, Key, Location, Locations, Opened, Rebuild, See, Width,
};
use iceberg::spec::{DataFile, PartitionSpec, Struct, TableMetadata};
use iceberg::table::Table;
use tokio::runtime::Handle;
use uuid::Uuid;

use super::base::{self, Live};
use super::keys::KeyMaker;
use super::lane::on_thread;
use super::scan::{Column, Scan};
use super::shared::{Share, Shared};

/// The index of a table.
pub(super) struct KeyIndex {
    index: Index,
    maker: KeyMaker,
    folder: PathBuf,
    partitions: Partitions,
    _memory: Share,
}

/// Which partition each data file is of.
enum Partitions {
    /// The table has never been partitioned.
    None(i32),
    Of(HashMap<u32, (i32, Struct)>),
}

impl KeyIndex {
    /// Opens the index of a table as it is in `base`, or makes it; an empty one where there is no base, or none that
    /// counts. `spec` is how the table is or will be divided.
    ///
    /// # Errors
    /// `Data` for keys that cannot be indexed and tables whose rows cannot be told.
    pub(super) async fn open(
        shared: &Shared,
        schema: &TableSchema,
        (table, spec): (Uuid, &PartitionSpec),
        base: Option<&Table>,
    ) -> Result<Self> {
        let maker = KeyMaker::new(schema)?;
        let width = if maker.is_small() { Width::Small } else { Width::Wide };
        let definition = Definition { table: table.to_string(), key: maker.definition().to_owned(), width };
        let (folder, memory) = (shared.index_folder(table), shared.index_share());
        let bytes = memory.bytes();
        let found = match base {
            Some(base) => {
                let (folder, definition) = (folder.clone(), definition.clone());
                let metadata = base.metadata_ref();
                on_thread(move || adopt(&folder, &definition, bytes, &metadata)).await?
            }
            None => None,
        };
        let spec = match base {
            Some(base) => unpartitioned(base.metadata()),
            None => spec.is_unpartitioned().then(|| spec.spec_id()),
        };
        let live = match base {
            Some(base) if found.is_none() || spec.is_none() => base::live(base).await?,
            _ => Live::default(),
        };
        let (index, maker) = match found {
            Some(index) => (index, maker),
            None => {
                let snapshot = base.and_then(|base| base.metadata().current_snapshot_id());
                if !live.files.is_empty() {
                    let files = live.files.len();
                    tracing::info!(table = %schema.table(), files, "making the key index from the table's files");
                }
                let columns = base.map(|base| columns(base, &maker)).unwrap_or_default();
                let scan = base.map(|base| Scan { storage: base.file_io().clone(), runtime: Handle::current() });
                let (folder, live) = (folder.clone(), live.clone());
                on_thread(move || {
                    let rows = Rows { scan, columns, live };
                    Ok((rows.index(&folder, &definition, bytes, &maker, snapshot)?, maker))
                })
                .await?
            }
        };
        let partitions = match spec {
            Some(spec) => Partitions::None(spec),
            None => {
                let numbered = live.files.iter().filter_map(|f| Some((index.number_of(&f.path)?, f.partition.clone())));
                Partitions::Of(numbered.collect())
            }
        };
        Ok(Self { index, maker, folder, partitions, _memory: memory })
    }

    /// How keys are made.
    pub(super) fn maker(&self) -> &KeyMaker {
        &self.maker
    }

    /// Whether the keys of a table are still made in the same way.
    pub(super) fn fits(&self, schema: &TableSchema) -> bool {
        KeyMaker::new(schema).is_ok_and(|maker| maker.definition() == self.maker.definition())
    }

    /// The rows of each key, of the table and of what is staged.
    pub(super) fn lookup(&self, keys: &[Key]) -> Result<Locations> {
        self.index.view(See::Staged).lookup(keys).map_err(|e| self.failed(e))
    }

    /// The path of a file.
    pub(super) fn path(&self, file: u32) -> Result<Arc<str>> {
        let path = self.index.path_of(file).map_err(|e| self.failed(e))?;
        path.map(Arc::from).ok_or_else(|| Error::fatal("the key index names a file that it does not know"))
    }

    /// The partition spec and the partition of a file.
    pub(super) fn partition(&self, file: u32) -> Result<(i32, Struct)> {
        match &self.partitions {
            Partitions::None(spec) => Ok((*spec, Struct::empty())),
            Partitions::Of(known) => {
                let of = known.get(&file).cloned();
                of.ok_or_else(|| Error::fatal("the key index names a file whose partition is not known"))
            }
        }
    }

    /// The numbers of files that are to be committed.
    pub(super) fn add_files(&mut self, spec: i32, files: &[DataFile]) -> Result<Vec<u32>> {
        let mut numbers = Vec::with_capacity(files.len());
        for file in files {
            let number = self.index.file(file.file_path()).map_err(|e| self.failed(e))?;
            numbers.push(number);
            if let Partitions::Of(known) = &mut self.partitions {
                known.insert(number, (spec, file.partition().clone()));
            }
        }
        Ok(numbers)
    }

    /// Writes what a commit changes, durably, before the commit.
    pub(super) fn stage(&mut self, snapshot: i64, changes: impl Iterator<Item = Change>) -> Result<()> {
        self.index.stage(snapshot, changes, &[]).map_err(|e| self.failed(e))
    }

    /// Takes over what was staged for a commit that is the table's now, its parts first.
    pub(super) fn adopted(self, snapshot: i64) -> Result<Self> {
        let staged = self.index.staged();
        if let Some(last) = staged.iter().position(|name| *name == snapshot) {
            let adopt = staged[..=last].iter().try_for_each(|name| self.index.adopt(*name));
            adopt.and_then(|()| self.index.merge()).map_err(|e| self.failed(e))?;
        }
        Ok(self)
    }

    fn failed(&self, e: IndexError) -> Error {
        failed(&self.folder, e)
    }
}

/// An error of the index. One that is damaged is removed, so that the next opening makes it anew.
fn failed(folder: &Path, e: IndexError) -> Error {
    if e.wants_rebuild() {
        // What stays is found damaged again.
        let _ = std::fs::remove_dir_all(folder);
    }
    match &e {
        IndexError::Refused(_) => Error::fatal("the key index was misused"),
        IndexError::InUse { .. } => {
            Error::retriable("another process uses the key index: give each a state.dir of its own")
        }
        _ => Error::retriable("the key index cannot be used"),
    }
    .caused_by(e)
}

/// The id of the table's only partition spec, if that divides nothing.
fn unpartitioned(metadata: &TableMetadata) -> Option<i32> {
    let mut specs = metadata.partition_specs_iter();
    match (specs.next(), specs.next()) {
        (Some(spec), None) if spec.is_unpartitioned() => Some(spec.spec_id()),
        _ => None,
    }
}

/// The key columns of a table's files.
fn columns(base: &Table, maker: &KeyMaker) -> Vec<Column> {
    let fields = base.metadata().current_schema().as_struct().fields().to_vec();
    let field = |place: usize| fields.get(place).map(|f| Column { id: f.id, kind: (*f.field_type).clone() });
    maker.places().filter_map(field).collect()
}

/// Opens what is on disk and brings it to the table's snapshot, if it is at it or one commit behind.
fn adopt(folder: &Path, definition: &Definition, memory: usize, table: &TableMetadata) -> Result<Option<Index>> {
    let fail = |e| failed(folder, e);
    let index = match Index::open(folder, definition, memory) {
        Ok(Opened::Ready(index)) => index,
        Ok(Opened::Absent(why)) => {
            tracing::debug!(folder = %folder.display(), ?why, "no key index that fits");
            return Ok(None);
        }
        Err(e) if e.wants_rebuild() => return Ok(None),
        Err(e) => return Err(fail(e)),
    };
    // Parts of a commit come before what has the snapshot's name.
    let staged = index.staged();
    let there = staged.iter().rposition(|name| table.snapshot_by_id(*name).is_some()).map_or(0, |last| last + 1);
    staged[..there].iter().try_for_each(|name| index.adopt(*name)).map_err(fail)?;
    if let Some(lost) = staged.get(there) {
        index.discard(*lost).map_err(fail)?;
    }
    Ok((index.snapshot() == table.current_snapshot_id()).then_some(index))
}

/// The rows of a table's files.
struct Rows {
    /// None for a table that is to be made.
    scan: Option<Scan>,
    columns: Vec<Column>,
    live: Live,
}

impl Rows {
    /// Makes an index of them.
    fn index(
        &self,
        folder: &Path,
        definition: &Definition,
        memory: usize,
        maker: &KeyMaker,
        snapshot: Option<i64>,
    ) -> Result<Index> {
        let fail = |e| failed(folder, e);
        let mut rebuild = Rebuild::begin(folder, definition, memory).map_err(fail)?;
        let numbers = self.live.files.iter().map(|file| rebuild.file(&file.path));
        let numbers = numbers.collect::<Result<Vec<u32>, _>>().map_err(fail)?;
        self.each(&numbers, maker, &mut |key, location| rebuild.push(key, location).map_err(fail))?;
        rebuild.finish(snapshot).map_err(fail)
    }

    /// Gives each row that is there: its key, and where it is, by the numbers of the files.
    fn each(&self, numbers: &[u32], maker: &KeyMaker, give: &mut dyn FnMut(Key, Location) -> Result<()>) -> Result<()> {
        let Some(scan) = &self.scan else { return Ok(()) };
        let gone = base::gone(scan, &self.live)?;
        for (file, number) in self.live.files.iter().zip(numbers) {
            let gone = gone.get(&file.path);
            let mut row = 0_u32;
            scan.read(&file.path, &self.columns, &mut |columns| {
                for key in maker.keys(columns).map_err(|e| e.with("file", &file.path))? {
                    if gone.is_none_or(|gone| !gone.contains(row)) {
                        give(key, Location { file: *number, row })?;
                    }
                    row += 1;
                }
                Ok(())
            })?;
        }
        Ok(())
    }
}

/// Where the index of a table that nobody follows now differs from one that is made anew; `None` where it is at another
/// snapshot, or is not there.
#[cfg(test)]
pub(crate) async fn compared(
    indexes: &Path,
    schema: &TableSchema,
    table: &Table,
) -> Option<Option<connector_iceberg_index::Difference>> {
    let maker = KeyMaker::new(schema).unwrap();
    let width = if maker.is_small() { Width::Small } else { Width::Wide };
    let uuid = table.metadata().uuid().to_string();
    let definition = Definition { table: uuid.clone(), key: maker.definition().to_owned(), width };
    let index = adopt(&indexes.join(uuid), &definition, 1 << 20, table.metadata()).unwrap()?;
    let live = base::live(table).await.unwrap();
    let scan = Some(Scan { storage: table.file_io().clone(), runtime: Handle::current() });
    let rows = Rows { scan, columns: columns(table, &maker), live };
    let differs = on_thread(move || {
        // A file that the index has no number of has rows that it lacks.
        let numbers: Vec<u32> =
            rows.live.files.iter().map(|file| index.number_of(&file.path).unwrap_or(u32::MAX)).collect();
        let mut all = Vec::new();
        rows.each(&numbers, &maker, &mut |key, location| {
            all.push((key, location));
            Ok(())
        })?;
        Ok(index.verify(all).unwrap())
    });
    Some(differs.await.unwrap())
}
