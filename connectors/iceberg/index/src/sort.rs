//! Sorting any number of entries in bounded memory: sorted pieces are spilled to disk and merged.

use std::mem;
use std::path::{Path, PathBuf};

use crate::buckets;
use crate::entry::{Entry, Gone};
use crate::error::Result;
use crate::key::Mixed;
use crate::merge::{Rule, merge};
use crate::run::{Cursor, Run};
use crate::write::{RunMeta, RunWriter, WriteLimits};

/// The smallest buffer of a cursor that is worth its reads, in bytes.
const CURSOR: usize = 64 * 1024;

/// The share of `memory` bytes of each of so many cursors.
pub(crate) fn cursor_buffer(memory: usize, cursors: usize) -> usize {
    (memory / cursors.max(1)).clamp(4096, 1 << 20)
}

/// Entries of one change or of a whole index, in any order.
#[derive(Debug)]
pub(crate) struct Sorter<K> {
    folder: PathBuf,
    name: &'static str,
    memory: usize,
    limits: WriteLimits,
    entries: Vec<(K, Entry)>,
    spills: Vec<Run>,
    spilled: u64,
}

impl<K: Mixed> Sorter<K> {
    /// Takes at most so many bytes of memory. Spills are `<name>-<n>.tmp`.
    pub(crate) fn new(folder: &Path, name: &'static str, memory: usize, limits: WriteLimits) -> Self {
        let folder = folder.to_owned();
        Self { folder, name, memory, limits, entries: Vec::new(), spills: Vec::new(), spilled: 0 }
    }

    pub(crate) fn push(&mut self, key: K, entry: Entry) -> Result<()> {
        let most = (self.memory / mem::size_of::<(K, Entry)>()).max(1024);
        if self.entries.len() == most {
            self.spill()?;
        }
        if self.entries.len() == self.entries.capacity() {
            // Doubling, but not beyond the bound.
            let more = self.entries.len().max(1024).min(most - self.entries.len());
            self.entries.reserve_exact(more);
        }
        self.entries.push((key, entry));
        Ok(())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.spills.is_empty()
    }

    /// Writes everything as one run; `oldest` as in [`merge`].
    pub(crate) fn finish(mut self, path: &Path, id: u64, oldest: bool) -> Result<RunMeta> {
        if self.spills.is_empty() {
            let mut run = RunWriter::create(path, id, self.entries.len() as u64, self.limits)?;
            self.sorted(oldest, |key, entry| run.push(key, entry))?;
            return run.finish();
        }
        self.spill()?;
        self.entries = Vec::new();
        let fan = (self.memory / CURSOR).max(2);
        while self.spills.len() > fan {
            let parts: Vec<Run> = self.spills.drain(..fan).collect();
            let path = self.next_spill();
            let meta = self.merge(&parts, &path, 0, false, false)?;
            self.spills.push(Run::open(&path, meta)?);
            parts.iter().for_each(Run::remove);
        }
        let parts = mem::take(&mut self.spills);
        let meta = self.merge(&parts, path, id, oldest, true);
        parts.iter().for_each(Run::remove);
        meta
    }

    fn merge(&self, parts: &[Run], path: &Path, id: u64, oldest: bool, filter: bool) -> Result<RunMeta> {
        let buffer = cursor_buffer(self.memory, parts.len());
        let mut cursors = parts.iter().map(|run| Cursor::<K>::new(run.clone(), buffer)).collect::<Result<Vec<_>>>()?;
        let keys: u64 = parts.iter().map(|run| run.meta.keys).sum();
        let mut run = RunWriter::create(path, id, if filter { keys } else { 0 }, self.limits)?;
        merge(&mut cursors, Rule::Parts, oldest, &Gone::default(), |key, entry| run.push(key, entry))?;
        run.finish()
    }

    fn next_spill(&mut self) -> PathBuf {
        self.spilled += 1;
        self.folder.join(format!("{}-{}.tmp", self.name, self.spilled))
    }

    fn spill(&mut self) -> Result<()> {
        let path = self.next_spill();
        let mut run = RunWriter::create(&path, 0, 0, self.limits)?;
        self.sorted(false, |key, entry| run.push(key, entry))?;
        self.spills.push(Run::open(&path, run.finish()?)?);
        self.entries.clear();
        Ok(())
    }

    /// Passes what is in memory, sorted, each location once, as entries of one run: all of a key replace, or none.
    fn sorted(&mut self, oldest: bool, mut out: impl FnMut(K, Entry) -> Result<()>) -> Result<()> {
        buckets::sort(&mut self.entries);
        for same in self.entries.chunk_by_mut(|a, b| a.0 == b.0) {
            let key = same[0].0;
            if let [(_, one)] = same
                && one.replaces()
                && (!oldest || one.location().is_some())
            {
                out(key, *one)?;
                continue;
            }
            let replaces = oldest || same.iter().any(|(_, entry)| entry.replaces());
            for (_, entry) in same.iter_mut() {
                *entry = entry.location().map_or(Entry::NOTHING, |l| Entry::new(l, replaces));
            }
            same.sort_unstable();
            let mut passed = None;
            for (_, entry) in same.iter().filter(|(_, entry)| entry.location().is_some()) {
                if passed != Some(*entry) {
                    out(key, *entry)?;
                    passed = Some(*entry);
                }
            }
            if passed.is_none() && !oldest {
                out(key, Entry::NOTHING)?;
            }
        }
        Ok(())
    }
}

impl<K> Drop for Sorter<K> {
    fn drop(&mut self) {
        self.spills.iter().for_each(Run::remove);
    }
}
