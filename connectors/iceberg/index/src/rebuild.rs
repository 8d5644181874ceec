//! A new index from a table's keys, in bounded memory, in whatever order they are read.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::entry::{Entry, Location};
use crate::error::{Error, Result};
use crate::files::Files;
use crate::index::{Definition, Index, Memory, lock, run_path, sweep};
use crate::key::{Key, Width};
use crate::manifest::{Manifest, sync_folder};
use crate::sort::Sorter;
use crate::view::mixed;

const FILES_ID: u64 = 1;
const RUN_ID: u64 = 2;

/// An index that is being built. Nothing of it counts before [`Rebuild::finish`]: dropped or killed, there is none.
#[derive(Debug)]
pub struct Rebuild {
    folder: PathBuf,
    definition: Definition,
    memory_max: usize,
    lock: File,
    files: Files,
    sorter: Sorters,
    known: Option<u32>,
}

#[derive(Debug)]
enum Sorters {
    Small(Sorter<u64>),
    Wide(Sorter<u128>),
}

impl Rebuild {
    /// Removes what is in the folder and begins anew, with at most so many bytes of memory.
    ///
    /// # Errors
    /// `InUse` while an index is open on the folder; `Io`.
    pub fn begin(folder: &Path, definition: &Definition, memory_max: usize) -> Result<Self> {
        let lock = lock(folder)?;
        // The manifest goes first: without it nothing else counts.
        sweep(folder, |name| name != crate::manifest::NAME)?;
        sync_folder(folder)?;
        sweep(folder, |_| false)?;
        let limits = Memory::new(memory_max).limits;
        let sorter = match definition.width {
            Width::Small => Sorters::Small(Sorter::new(folder, "rebuild", memory_max / 2, limits)),
            Width::Wide => Sorters::Wide(Sorter::new(folder, "rebuild", memory_max / 2, limits)),
        };
        Ok(Self {
            folder: folder.to_owned(),
            definition: definition.clone(),
            memory_max,
            lock,
            files: Files::create(folder, FILES_ID)?,
            sorter,
            known: None,
        })
    }

    /// The number of a data file, given now if it has none.
    ///
    /// # Errors
    /// `Full`, `Io`.
    pub fn file(&mut self, path: &str) -> Result<u32> {
        self.files.number(path)
    }

    /// Adds a live row. A key may come any number of times.
    ///
    /// # Errors
    /// `Refused` for a file without a number or a key of the other width; `Io`.
    pub fn push(&mut self, key: Key, location: Location) -> Result<()> {
        if self.known != Some(location.file) {
            self.files.check(location.file)?;
            self.known = Some(location.file);
        }
        let entry = Entry::new(location, true);
        match &mut self.sorter {
            Sorters::Small(sorter) => sorter.push(mixed(key)?, entry),
            Sorters::Wide(sorter) => sorter.push(mixed(key)?, entry),
        }
    }

    /// Makes the index durable, as of the snapshot whose rows were added (None for a table without one).
    ///
    /// # Errors
    /// `Io`, `Corrupt`.
    pub fn finish(self, snapshot: Option<i64>) -> Result<Index> {
        let path = run_path(&self.folder, RUN_ID);
        let run = match self.sorter {
            Sorters::Small(sorter) if !sorter.is_empty() => Some(sorter.finish(&path, RUN_ID, true)?),
            Sorters::Wide(sorter) if !sorter.is_empty() => Some(sorter.finish(&path, RUN_ID, true)?),
            _ => None,
        };
        self.files.sync()?;
        let manifest = Manifest {
            table: self.definition.table.clone(),
            key: self.definition.key.clone(),
            width: self.definition.width,
            snapshot,
            next_id: RUN_ID,
            runs: run.into_iter().collect(),
            staged: Vec::new(),
            files: self.files.id,
            files_length: self.files.length,
            next_file: self.files.next,
            numbered: self.files.next,
        };
        manifest.swap(&self.folder)?;
        Index::with_manifest(&self.folder, &self.definition, self.memory_max, self.lock, manifest)
    }

    /// Adds many rows; see [`Rebuild::push`].
    ///
    /// # Errors
    /// As [`Rebuild::push`].
    pub fn extend(&mut self, rows: impl IntoIterator<Item = (Key, Location)>) -> Result<(), Error> {
        rows.into_iter().try_for_each(|(key, location)| self.push(key, location))
    }
}
