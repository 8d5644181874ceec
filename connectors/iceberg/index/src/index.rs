//! The index of one table: its state on disk and in memory, and what changes it.
//!
//! What must hold: the manifest on disk names only durable files; a reader's runs never change; one writer at a
//! time; locks are taken in the order merging, writer, files, current.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use crate::budget::Budget;
use crate::entry::Gone;
use crate::error::{Doing, Error, Result};
use crate::files::Files;
use crate::key::{Mixed, Width};
use crate::manifest::{self, Manifest, Unread};
use crate::merge::{Rule, merge, pick};
use crate::page::PAGE;
use crate::run::{Cursor, Run};
use crate::sort::cursor_buffer;
use crate::view::{See, Version, View};
use crate::write::{RunMeta, RunWriter, WriteLimits};

/// What an index is of. An index on disk of any other definition is not opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// The table's uuid.
    pub table: String,
    /// All that decides how a row becomes a key: columns by field id, types, how each is normalised.
    pub key: String,
    /// The width of the keys.
    pub width: Width,
}

/// Why there is no index to open. Whatever it is, the way out is [`crate::Rebuild`].
#[derive(Debug)]
pub enum Absence {
    /// There is none.
    Missing,
    /// It is of another table, or of the same before it was re-created.
    OtherTable,
    /// It is of other key columns, or they became keys in another way.
    OtherKey,
    /// It was written by a version whose files cannot be read.
    OtherVersion,
    /// What is on disk is not what was written.
    Corrupt(Error),
}

/// What [`Index::open`] found.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "made once per table, and taken apart at once")]
pub enum Opened {
    /// An index, ready. Look at [`Index::staged`] first.
    Ready(Index),
    /// None that could be used.
    Absent(Absence),
}

/// How large an index is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Runs, adopted and staged.
    pub runs: usize,
    /// Entries in them, shadowed ones too.
    pub entries: u64,
    /// Bytes of the runs on disk.
    pub disk: u64,
    /// Bytes that stay in memory: filters, fences, file numbers.
    pub memory: usize,
    /// Runs whose filter is in memory.
    pub filters: usize,
    /// Data files with a number.
    pub files: usize,
}

/// The key index of one table.
///
/// All methods may be called from any thread and block on disk. Readers never wait for a merge.
#[derive(Debug)]
pub struct Index {
    pub(crate) folder: PathBuf,
    pub(crate) definition: Definition,
    pub(crate) memory: Memory,
    budget: Budget,
    /// Held while the index is open.
    _lock: File,
    merging: Mutex<()>,
    writer: Mutex<Writer>,
    pub(crate) files: Mutex<Files>,
    current: RwLock<Arc<Version>>,
}

#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) manifest: Manifest,
    /// A write failed half-way: what is on disk is not known.
    pub(crate) stopped: bool,
}

/// `index.memory.max` in shares, bytes each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// What stays: filters, fences, file numbers.
    pub(crate) resident: usize,
    /// What a lookup, a merge or the staging of a commit takes while it runs, but for buffers of files. With all of a
    /// batch's keys in memory a lookup reads a run once. Two at a time take it twice.
    pub(crate) work: usize,
    pub(crate) limits: WriteLimits,
}

impl Memory {
    pub(crate) fn new(max: usize) -> Self {
        let limits = WriteLimits { buffer: (max / 64).clamp(PAGE, 1 << 20), fences: (max / 128).max(1024) };
        Self { resident: max / 2, work: max / 8 * 3, limits }
    }
}

pub(crate) fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes the folder for this process and this index.
pub(crate) fn lock(folder: &Path) -> Result<File> {
    fs::create_dir_all(folder).doing("create its folder", folder)?;
    let path = folder.join("lock");
    let file = File::options().write(true).create(true).truncate(false).open(&path).doing("lock its folder", &path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::InUse { folder: folder.to_owned() }),
        Err(TryLockError::Error(error)) => Err(error).doing("lock its folder", &path),
    }
}

pub(crate) fn run_path(folder: &Path, id: u64) -> PathBuf {
    folder.join(format!("{id}.run"))
}

/// Removes the files in the folder that `keep` does not want: what a crash left behind.
pub(crate) fn sweep(folder: &Path, keep: impl Fn(&str) -> bool) -> Result<()> {
    for entry in fs::read_dir(folder).doing("list its folder", folder)? {
        let path = entry.doing("list its folder", folder)?.path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        let ours = [".run", ".files", ".tmp"].iter().any(|end| name.ends_with(end)) || name == manifest::NAME;
        if ours && !keep(name) {
            fs::remove_file(&path).doing("remove a left-over file", &path)?;
        }
    }
    Ok(())
}

impl Index {
    /// Opens the index in a folder of its own, with at most so many bytes of memory (`index.memory.max`; one batch
    /// and its result are the caller's). Below 1 MiB the bound does not hold.
    ///
    /// # Errors
    /// `InUse`, `Io`. A corrupt index is not an error but absent.
    pub fn open(folder: &Path, definition: &Definition, memory_max: usize) -> Result<Opened> {
        let lock = lock(folder)?;
        let absent = |absence| Ok(Opened::Absent(absence));
        let manifest = match Manifest::read(folder)? {
            Ok(manifest) => manifest,
            Err(Unread::Missing) => return absent(Absence::Missing),
            Err(Unread::OtherVersion) => return absent(Absence::OtherVersion),
            Err(Unread::Corrupt) => {
                let file = folder.join(manifest::NAME);
                return absent(Absence::Corrupt(Error::Corrupt { file, what: "the manifest cannot be read" }));
            }
        };
        if manifest.table != definition.table {
            return absent(Absence::OtherTable);
        }
        if manifest.key != definition.key || manifest.width != definition.width {
            return absent(Absence::OtherKey);
        }
        match Self::with_manifest(folder, definition, memory_max, lock, manifest) {
            Ok(index) => Ok(Opened::Ready(index)),
            Err(error @ Error::Corrupt { .. }) => absent(Absence::Corrupt(error)),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn with_manifest(
        folder: &Path,
        definition: &Definition,
        memory_max: usize,
        lock: File,
        manifest: Manifest,
    ) -> Result<Self> {
        let staged = manifest.staged.iter().filter_map(|s| s.run);
        let metas: Vec<RunMeta> = manifest.runs.iter().copied().chain(staged).collect();
        let named = |name: &str| {
            name == manifest::NAME
                || name == format!("{}.files", manifest.files)
                || metas.iter().any(|meta| name == format!("{}.run", meta.id))
        };
        let runs = metas.iter().map(|m| Run::open(&run_path(folder, m.id), *m)).collect::<Result<Vec<_>>>()?;
        let (files, gone) = Files::open(folder, &manifest)?;
        sweep(folder, named)?;
        let gone = Arc::new(gone);
        let version = Version { runs, adopted: manifest.runs.len(), gone_staged: with_staged(&gone, &manifest), gone };
        let memory = Memory::new(memory_max);
        let index = Self {
            folder: folder.to_owned(),
            definition: definition.clone(),
            memory,
            budget: Budget::new(memory.resident),
            _lock: lock,
            merging: Mutex::new(()),
            writer: Mutex::new(Writer { manifest, stopped: false }),
            files: Mutex::new(files),
            current: RwLock::new(Arc::new(version)),
        };
        index.settle()?;
        Ok(index)
    }

    /// The snapshot of the table that the adopted content describes; None for a table without one.
    pub fn snapshot(&self) -> Option<i64> {
        guard(&self.writer).manifest.snapshot
    }

    /// The staged snapshots, in order. After opening: adopt each that is in the table's history, then discard
    /// the rest.
    pub fn staged(&self) -> Vec<i64> {
        guard(&self.writer).manifest.staged.iter().map(|s| s.snapshot).collect()
    }

    /// The number of a data file, given now if it has none. What was given for a commit that is never staged, or
    /// is discarded, is taken back.
    ///
    /// # Errors
    /// `Full`, `Io`.
    pub fn file(&self, path: &str) -> Result<u32> {
        guard(&self.files).number(path)
    }

    /// The number of a data file, if it has one.
    pub fn number_of(&self, path: &str) -> Option<u32> {
        guard(&self.files).number_of(path)
    }

    /// The path of a data file's number; None if it is gone. Reads it from disk.
    ///
    /// # Errors
    /// `Corrupt`, `Io`.
    pub fn path_of(&self, file: u32) -> Result<Option<String>> {
        guard(&self.files).path_of(file)
    }

    /// What the index says now.
    pub fn view(&self, see: See) -> View {
        View { version: self.version(), see, width: self.definition.width, memory: self.memory.work }
    }

    /// How large it is.
    pub fn stats(&self) -> Stats {
        let version = self.version();
        let mut stats = Stats { runs: version.runs.len(), ..Stats::default() };
        {
            let files = guard(&self.files);
            (stats.memory, stats.files) = (files.memory(), files.count());
        }
        stats.memory += version.gone.bytes() + version.gone_staged.bytes();
        for run in &version.runs {
            stats.entries += run.meta.entries;
            stats.disk += run.meta.pages() * PAGE as u64;
            stats.memory += run.fence_bytes() + if run.has_filter() { run.filter_bytes() } else { 0 };
            stats.filters += usize::from(run.has_filter());
        }
        stats
    }

    /// Does one merge, if one is due: that is when commits have left more than a few runs. Readers and
    /// commits may go on meanwhile, with memory of their own. True when it did something.
    ///
    /// # Errors
    /// `Corrupt`, `Io`: the runs stay as they were.
    pub fn merge_step(&self) -> Result<bool> {
        self.merge_picked(pick)
    }

    /// Merges until no merge is due.
    ///
    /// # Errors
    /// As [`Index::merge_step`].
    pub fn merge(&self) -> Result<()> {
        while self.merge_step()? {}
        Ok(())
    }

    /// Merges everything that is adopted into one run.
    ///
    /// # Errors
    /// As [`Index::merge_step`].
    pub fn merge_all(&self) -> Result<()> {
        self.merge_picked(|entries| (!entries.is_empty()).then_some(0..entries.len())).map(|_| ())
    }

    pub(crate) fn merge_picked(&self, pick: impl Fn(&[u64]) -> Option<std::ops::Range<usize>>) -> Result<bool> {
        match self.definition.width {
            Width::Small => self.merge_as::<u64>(pick),
            Width::Wide => self.merge_as::<u128>(pick),
        }
    }

    fn merge_as<K: Mixed>(&self, pick: impl Fn(&[u64]) -> Option<std::ops::Range<usize>>) -> Result<bool> {
        let _one = guard(&self.merging);
        let version = self.version();
        let adopted = &version.runs[..version.adopted];
        let entries: Vec<u64> = adopted.iter().map(|run| run.meta.entries).collect();
        let Some(range) = pick(&entries) else { return Ok(false) };
        let (oldest, sources) = (range.start == 0, &adopted[range]);
        let id = next_id(&mut self.writer()?.manifest);
        let buffer = cursor_buffer(self.memory.work, sources.len());
        // Newest first.
        let cursors = sources.iter().rev().map(|run| Cursor::<K>::new(run.clone(), buffer));
        let mut cursors = cursors.collect::<Result<Vec<_>>>()?;
        let path = run_path(&self.folder, id);
        let keys = sources.iter().map(|run| run.meta.keys).sum();
        let mut out = RunWriter::<K>::create(&path, id, keys, self.memory.limits)?;
        merge(&mut cursors, Rule::Ages, oldest, &version.gone, |key, entry| out.push(key, entry))?;
        drop(cursors);
        let merged = Run::open(&path, out.finish()?)?;
        let merged = if merged.meta.entries == 0 {
            merged.remove();
            None
        } else {
            Some(merged)
        };
        let ids: Vec<u64> = sources.iter().map(|run| run.meta.id).collect();

        let mut writer = self.writer()?;
        let mut next = writer.manifest.clone();
        let at = next.runs.iter().position(|meta| meta.id == ids[0]).ok_or(Error::Stopped)?;
        next.runs.splice(at..at + ids.len(), merged.as_ref().map(|run| run.meta));
        writer.swap(&self.folder, next, &guard(&self.files))?;
        let old = self.version();
        let mut runs = old.runs.clone();
        runs.splice(at..at + ids.len(), merged);
        self.install(&writer, runs, &old.gone);
        sources.iter().for_each(Run::remove);
        drop((old, version));
        self.settle_with(&writer)?;
        Ok(true)
    }

    pub(crate) fn version(&self) -> Arc<Version> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn writer(&self) -> Result<MutexGuard<'_, Writer>> {
        let writer = guard(&self.writer);
        if writer.stopped { Err(Error::Stopped) } else { Ok(writer) }
    }

    pub(crate) fn install(&self, writer: &Writer, runs: Vec<Run>, gone: &Arc<Gone>) {
        let manifest = &writer.manifest;
        let gone_staged = with_staged(gone, manifest);
        let version = Version { runs, adopted: manifest.runs.len(), gone: gone.clone(), gone_staged };
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(version);
    }

    fn settle(&self) -> Result<()> {
        self.settle_with(&guard(&self.writer))
    }

    /// Brings filters into memory, those of small runs first, as far as there is room.
    pub(crate) fn settle_with(&self, _writer: &Writer) -> Result<()> {
        let files = guard(&self.files).memory();
        // The version itself must not be held: what it lets go is to come back.
        let (gone, mut runs) = {
            let version = self.version();
            (version.gone.bytes() + version.gone_staged.bytes(), version.runs.clone())
        };
        let reserve = files + gone + runs.iter().map(Run::fence_bytes).sum::<usize>();
        let mut used = reserve;
        let mut order: Vec<usize> = (0..runs.len()).collect();
        order.sort_by_key(|at| runs[*at].filter_bytes());
        let (mut missing, mut changed) = (Vec::new(), false);
        for at in order {
            used = used.saturating_add(runs[at].filter_bytes());
            let room = used <= self.memory.resident;
            if room && !runs[at].has_filter() {
                missing.push(at);
            } else if !room && runs[at].has_filter() {
                runs[at] = runs[at].without_filter();
                changed = true;
            }
        }
        if changed {
            self.show(&runs);
        }
        changed = false;
        for at in missing {
            // Without a lease a reader still holds what was let go: the next commit tries again.
            if let Some(lease) = self.budget.lease(runs[at].filter_bytes(), reserve) {
                runs[at] = runs[at].with_filter(lease)?;
                changed = true;
            }
        }
        if changed {
            self.show(&runs);
        }
        Ok(())
    }

    /// Makes these the runs: the same ones, with other filters in memory.
    fn show(&self, runs: &[Run]) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(Version {
            runs: runs.to_vec(),
            adopted: current.adopted,
            gone: current.gone.clone(),
            gone_staged: current.gone_staged.clone(),
        });
    }
}

impl Writer {
    /// Makes `next` the manifest, durably, with the log of files as it is.
    pub(crate) fn swap(&mut self, folder: &Path, mut next: Manifest, files: &Files) -> Result<()> {
        let before = self.manifest.files;
        next.files = files.id;
        next.files_length = files.length;
        next.next_file = files.next;
        next.next_id = next.next_id.max(self.manifest.next_id);
        next.swap(folder).inspect_err(|_| self.stopped = true)?;
        if before != next.files {
            Files::remove_log(folder, before);
        }
        self.manifest = next;
        Ok(())
    }
}

pub(crate) fn next_id(manifest: &mut Manifest) -> u64 {
    manifest.next_id += 1;
    manifest.next_id
}

/// The files that are gone, those too that staged commits remove.
fn with_staged(gone: &Arc<Gone>, manifest: &Manifest) -> Arc<Gone> {
    let mut all = gone.clone();
    for file in manifest.staged.iter().flat_map(|s| &s.gone) {
        Arc::make_mut(&mut all).insert(*file);
    }
    all
}
