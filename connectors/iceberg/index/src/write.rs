//! Writes a run: one pass over sorted entries, in constant memory, durable at the end.
//!
//! A run is a file of pages: the filter, the entries, then the fences (the first key of every so-manieth page of
//! entries). The filter's size is known from the number of keys that may come, so all three are sequential.

use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use crate::entry::Entry;
use crate::error::{Doing, Result};
use crate::fault;
use crate::filter::{self, FilterWriter};
use crate::key::Mixed;
use crate::page::{BODY, PageWriter};

/// Bytes of an entry.
pub(crate) const fn entry_bytes<K: Mixed>() -> usize {
    K::BYTES + 8
}

/// Entries of a page.
pub(crate) const fn per_page<K: Mixed>() -> usize {
    BODY / entry_bytes::<K>()
}

/// What must be known of a run to read it; kept in the manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RunMeta {
    pub(crate) id: u64,
    /// Random; part of every page's check.
    pub(crate) seed: u64,
    pub(crate) entries: u64,
    pub(crate) keys: u64,
    /// Lines of the filter; 0 when there is none.
    pub(crate) lines: u64,
    /// Pages of entries.
    pub(crate) data: u64,
    /// There is a fence for every so-manieth page of entries.
    pub(crate) stride: u64,
    pub(crate) fences: u64,
}

impl RunMeta {
    /// The first page of entries.
    pub(crate) fn data_at(&self) -> u64 {
        filter::pages(self.lines)
    }

    /// The first page of fences.
    pub(crate) fn fences_at(&self) -> u64 {
        self.data_at() + self.data
    }

    /// The pages of the whole file.
    pub(crate) fn pages(&self) -> u64 {
        self.fences_at() + self.fences.div_ceil(BODY as u64 / 8)
    }
}

/// How much memory writing a run may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WriteLimits {
    /// Gathered before a write to disk, in bytes, for entries and filter each.
    pub(crate) buffer: usize,
    /// Fences kept; beyond, every second is left out.
    pub(crate) fences: usize,
}

/// Writes one run. Dropped before [`RunWriter::finish`], it removes the file.
#[derive(Debug)]
pub(crate) struct RunWriter<K> {
    file: File,
    path: PathBuf,
    finished: bool,
    meta: RunMeta,
    limits: WriteLimits,
    filter: FilterWriter,
    data: PageWriter,
    body: Vec<u8>,
    fences: Vec<u64>,
    last: Option<K>,
    of: PhantomData<K>,
}

impl<K: Mixed> RunWriter<K> {
    /// Begins a run of at most `keys` keys; with 0 it gets no filter.
    pub(crate) fn create(path: &Path, id: u64, keys: u64, limits: WriteLimits) -> Result<Self> {
        fault::point().doing("create a run", path)?;
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path);
        let file = file.doing("create a run", path)?;
        let seed = RandomState::new().hash_one(id);
        let filter = FilterWriter::new(keys, seed, limits.buffer);
        let meta = RunMeta { id, seed, entries: 0, keys: 0, lines: filter.lines(), data: 0, stride: 1, fences: 0 };
        let data = PageWriter::new(seed, meta.data_at(), limits.buffer);
        let (body, fences) = (Vec::with_capacity(BODY), Vec::new());
        let path = path.to_owned();
        Ok(Self { file, path, finished: false, meta, limits, filter, data, body, fences, last: None, of: PhantomData })
    }

    /// Adds an entry: keys in ascending order, the locations of a key too.
    pub(crate) fn push(&mut self, key: K, entry: Entry) -> Result<()> {
        if self.last != Some(key) {
            self.filter.add(key.prefix(), &self.file, &self.path)?;
            self.meta.keys += 1;
            self.last = Some(key);
        }
        if self.body.is_empty() && self.meta.data.is_multiple_of(self.meta.stride) {
            self.fence(key.prefix());
        }
        key.write(&mut self.body);
        self.body.extend_from_slice(&entry.0.to_le_bytes());
        self.meta.entries += 1;
        if self.body.len() == per_page::<K>() * entry_bytes::<K>() { self.end_page() } else { Ok(()) }
    }

    /// Makes the run durable. Its name in the folder is so once the folder is synced.
    pub(crate) fn finish(mut self) -> Result<RunMeta> {
        if !self.body.is_empty() {
            self.end_page()?;
        }
        self.filter.finish(&self.file, &self.path)?;
        self.meta.fences = self.fences.len() as u64;
        for chunk in std::mem::take(&mut self.fences).chunks(BODY / 8) {
            let body: Vec<u8> = chunk.iter().flat_map(|fence| fence.to_le_bytes()).collect();
            self.data.push(&body, &self.file, &self.path)?;
        }
        self.data.flush(&self.file, &self.path)?;
        fault::point().doing("sync a run", &self.path)?;
        self.file.sync_all().doing("sync a run", &self.path)?;
        self.finished = true;
        Ok(self.meta)
    }

    fn end_page(&mut self) -> Result<()> {
        self.data.push(&self.body, &self.file, &self.path)?;
        self.body.clear();
        self.meta.data += 1;
        Ok(())
    }

    fn fence(&mut self, prefix: u64) {
        if self.fences.len() >= self.limits.fences.max(2) {
            let mut at = 0;
            self.fences.retain(|_| {
                at += 1;
                at % 2 == 1
            });
            self.meta.stride *= 2;
            if !self.meta.data.is_multiple_of(self.meta.stride) {
                return;
            }
        }
        self.fences.push(prefix);
    }
}

impl<K> Drop for RunWriter<K> {
    fn drop(&mut self) {
        if !self.finished {
            // What cannot be removed now is removed when the index is opened.
            let _ = fs::remove_file(&self.path);
        }
    }
}
