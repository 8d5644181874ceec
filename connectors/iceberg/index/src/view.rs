//! Lookups: what the index says at one moment, whatever is staged, adopted or merged meanwhile.

use std::sync::Arc;

use crate::buckets;
use crate::entry::{Entry, Gone, Location};
use crate::error::{Error, Result};
use crate::key::{Key, Mixed, Width};
use crate::run::{Run, Scratch};

/// The runs at one moment.
#[derive(Debug)]
pub(crate) struct Version {
    /// Oldest first; those that are staged at the end.
    pub(crate) runs: Vec<Run>,
    pub(crate) adopted: usize,
    /// Files that have left the table.
    pub(crate) gone: Arc<Gone>,
    /// And with those that the staged commits remove.
    pub(crate) gone_staged: Arc<Gone>,
}

/// Which commits a lookup sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum See {
    /// Those adopted.
    Adopted,
    /// Those staged too: for a batch that is prepared while the one before it is committed.
    Staged,
}

/// What the index says at one moment. Holding it costs disk: files that a merge replaces live on.
#[derive(Clone, Debug)]
pub struct View {
    pub(crate) version: Arc<Version>,
    pub(crate) see: See,
    pub(crate) width: Width,
    /// Bytes that a lookup may take besides its result.
    pub(crate) memory: usize,
}

/// The live rows of a batch of keys, in the order of the keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Locations {
    ends: Vec<u32>,
    locations: Vec<Location>,
}

impl Locations {
    /// The rows of the key at that place of the batch, sorted; none when it is absent.
    pub fn of(&self, key: usize) -> &[Location] {
        let start = key.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        &self.locations[start..self.ends[key] as usize]
    }

    /// The number of keys asked for.
    pub fn keys(&self) -> usize {
        self.ends.len()
    }

    /// The rows of all keys.
    pub fn all(&self) -> &[Location] {
        &self.locations
    }
}

impl View {
    /// The live rows of each key. Large batches are cheaper per key than small ones.
    ///
    /// # Errors
    /// `Corrupt` when what is on disk is not what was written; `Refused` for a key of the other width.
    pub fn lookup(&self, keys: &[Key]) -> Result<Locations> {
        match self.width {
            Width::Small => self.lookup_as::<u64>(keys),
            Width::Wide => self.lookup_as::<u128>(keys),
        }
    }

    fn lookup_as<K: Mixed>(&self, keys: &[Key]) -> Result<Locations> {
        let (runs, gone) = match self.see {
            See::Adopted => (&self.version.runs[..self.version.adopted], &self.version.gone),
            See::Staged => (&self.version.runs[..], &self.version.gone_staged),
        };
        // A key in a chunk: itself and its place, its start in a run, and its mark.
        let chunk = (self.memory / (size_of::<(K, u32)>() + size_of::<(u32, u64)>() + 1)).max(1024);
        let mut scratch = Scratch::default();
        let mut hits: Vec<(u32, Entry)> = Vec::with_capacity(keys.len());
        let mut wanted: Vec<(K, u32)> = Vec::with_capacity(chunk.min(keys.len()));
        let mut decided: Vec<bool> = Vec::new();
        for (at, keys) in keys.chunks(chunk).enumerate() {
            let first = u32::try_from(at * chunk).map_err(|_| Error::Refused("more than 2³² keys at once".into()))?;
            wanted.clear();
            for (place, key) in (0u32..).zip(keys) {
                wanted.push((mixed(*key)?, place));
            }
            buckets::sort(&mut wanted);
            decided.clear();
            decided.resize(keys.len(), false);
            for run in runs.iter().rev() {
                let before = hits.len();
                run.lookup(&wanted, &mut scratch, |place, entry| {
                    decided[place as usize] |= entry.replaces();
                    if entry.location().is_some_and(|l| !gone.contains(l.file)) {
                        hits.push((first + place, entry));
                    }
                })?;
                // An empty entry decides without a hit: look at the marks whenever there may be new ones.
                if run.meta.entries > 0 || hits.len() > before {
                    wanted.retain(|(_, place)| !decided[*place as usize]);
                }
                if wanted.is_empty() {
                    break;
                }
            }
        }
        gather(keys.len(), &hits)
    }
}

/// The caller's key as runs of this width hold it.
pub(crate) fn mixed<K: Mixed>(key: Key) -> Result<K> {
    K::mix(key).ok_or_else(|| Error::Refused(format!("the key {key} is not of the index's width")))
}

/// Sorts hits by the place of their key.
fn gather(keys: usize, hits: &[(u32, Entry)]) -> Result<Locations> {
    if u32::try_from(hits.len()).is_err() {
        return Err(Error::Refused("more than 2³² rows at once".into()));
    }
    let mut ends = vec![0u32; keys + 1];
    for (key, _) in hits {
        ends[*key as usize + 1] += 1;
    }
    let mut doubled = false;
    for at in 0..keys {
        doubled |= ends[at + 1] > 1;
        ends[at + 1] += ends[at];
    }
    let mut locations = vec![Location { file: 0, row: 0 }; hits.len()];
    for (key, entry) in hits {
        let at = &mut ends[*key as usize];
        locations[*at as usize] = entry.location().unwrap_or(Location { file: 0, row: 0 });
        *at += 1;
    }
    // Each start has become its end; the last slot is the total and is not needed.
    ends.truncate(keys);
    let mut found = Locations { ends, locations };
    if doubled {
        found.sort();
    }
    Ok(found)
}

impl Locations {
    /// Sorts the locations of each key and keeps each once: several runs may have added the same.
    fn sort(&mut self) {
        let (mut start, mut kept) = (0, 0);
        for end in &mut self.ends {
            let last = *end as usize;
            self.locations[start..last].sort_unstable();
            let first = kept;
            for at in start..last {
                let location = self.locations[at];
                if kept == first || self.locations[kept - 1] != location {
                    self.locations[kept] = location;
                    kept += 1;
                }
            }
            start = last;
            *end = u32::try_from(kept).unwrap_or(u32::MAX);
        }
        self.locations.truncate(kept);
    }
}
