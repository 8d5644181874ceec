//! What commits do to an index: staged before they are sent, adopted or discarded when their fate is known.
//!
//! What must hold: each call is one swap of the manifest; before it everything the new one names is durable; after
//! an error that leaves it open what is on disk, no more is written.

use std::fs;
use std::sync::Arc;

use crate::entry::{Entry, Location};
use crate::error::{Error, Result};
use crate::index::{Index, Writer, guard, next_id, run_path};
use crate::key::{Key, Mixed, Width};
use crate::manifest::{Manifest, Staged};
use crate::run::Run;
use crate::sort::Sorter;
use crate::view::mixed;
use crate::write::RunMeta;

/// What a commit does to a key. Several changes of one key in a commit are taken together: if any of them
/// replaces, what was there before is gone; the key has all locations that the changes name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The key's row is here, and nowhere else than such changes of this commit say.
    Put(Key, Location),
    /// The key has one more row.
    Add(Key, Location),
    /// The key has no row but those that this commit puts.
    Remove(Key),
}

impl Index {
    /// Writes what a commit will change, durably, before the commit is sent. It counts for [`See::Staged`] at
    /// once, for the table once it is adopted. `gone` are files that the commit removes with all their rows.
    ///
    /// # Errors
    /// `Refused` when the snapshot is staged or adopted already, or a file has no number or is removed by a staged
    /// commit. Nothing is changed then, nor after `Io`: either [`Error::Stopped`] follows, or it may be tried again.
    pub fn stage(&self, snapshot: i64, changes: impl IntoIterator<Item = Change>, gone: &[u32]) -> Result<()> {
        match self.definition.width {
            Width::Small => self.stage_as::<u64>(snapshot, changes, gone),
            Width::Wide => self.stage_as::<u128>(snapshot, changes, gone),
        }
    }

    fn stage_as<K: Mixed>(&self, snapshot: i64, changes: impl IntoIterator<Item = Change>, gone: &[u32]) -> Result<()> {
        let mut sorter = Sorter::<K>::new(&self.folder, "stage", self.memory.work, self.memory.limits);
        let mut known = None;
        for change in changes {
            let (key, entry) = match change {
                Change::Put(key, location) => (key, Entry::new(self.known(location, &mut known)?, true)),
                Change::Add(key, location) => (key, Entry::new(self.known(location, &mut known)?, false)),
                Change::Remove(key) => (key, Entry::NOTHING),
            };
            sorter.push(mixed(key)?, entry)?;
        }
        let mut writer = self.writer()?;
        let manifest = &mut writer.manifest;
        if manifest.snapshot == Some(snapshot) || manifest.staged.iter().any(|s| s.snapshot == snapshot) {
            return Err(Error::Refused(format!("snapshot {snapshot} is in the index already")));
        }
        let run = if sorter.is_empty() {
            None
        } else {
            let id = next_id(manifest);
            Some(sorter.finish(&run_path(&self.folder, id), id, false)?)
        };
        let undo = |_: &Error| run.iter().for_each(|run| self.remove_run(run));
        let opened = run.map(|meta| Run::open(&run_path(&self.folder, meta.id), meta)).transpose().inspect_err(undo)?;
        let files = guard(&self.files);
        let all_known = gone.iter().try_for_each(|file| files.check(*file));
        all_known.and_then(|()| files.sync()).inspect_err(undo)?;
        let mut next = manifest.clone();
        let (new_from, new_to) = (next.numbered, files.next);
        next.numbered = new_to;
        next.staged.push(Staged { snapshot, run, gone: gone.to_vec(), new_from, new_to });
        writer.swap(&self.folder, next, &files)?;
        drop(files);
        let old = self.version();
        self.install(&writer, old.runs.iter().cloned().chain(opened).collect(), &old.gone);
        drop(old);
        self.settle_with(&writer)
    }

    /// Tells that a staged commit has become the table's. Commits are adopted in the order they were staged.
    ///
    /// # Errors
    /// `Refused` when the snapshot is not the first one staged.
    pub fn adopt(&self, snapshot: i64) -> Result<()> {
        let mut writer = self.writer()?;
        let mut next = writer.manifest.clone();
        if next.staged.first().is_none_or(|s| s.snapshot != snapshot) {
            return Err(Error::Refused(format!("snapshot {snapshot} is not the next one staged")));
        }
        let staged = next.staged.remove(0);
        next.runs.extend(staged.run);
        next.snapshot = Some(snapshot);
        let old = self.version();
        let mut gone = old.gone.clone();
        if !staged.gone.is_empty() {
            staged.gone.iter().for_each(|file| Arc::make_mut(&mut gone).insert(*file));
            self.free(&mut writer, &mut next, staged.gone.iter().copied())?;
        }
        writer.swap(&self.folder, next, &guard(&self.files))?;
        self.install(&writer, old.runs.clone(), &gone);
        drop(old);
        self.settle_with(&writer)
    }

    /// Drops a staged commit that did not become the table's, and all that were staged after it.
    ///
    /// # Errors
    /// `Refused` when the snapshot is not staged.
    pub fn discard(&self, snapshot: i64) -> Result<()> {
        let mut writer = self.writer()?;
        let mut next = writer.manifest.clone();
        let Some(at) = next.staged.iter().position(|s| s.snapshot == snapshot) else {
            return Err(Error::Refused(format!("snapshot {snapshot} is not staged")));
        };
        let dropped = next.staged.split_off(at);
        let old = self.version();
        let mut gone = old.gone.clone();
        let files: Vec<u32> = dropped.iter().flat_map(|s| s.new_from..s.new_to).collect();
        if !files.is_empty() {
            files.iter().for_each(|file| Arc::make_mut(&mut gone).insert(*file));
            self.free(&mut writer, &mut next, files)?;
        }
        writer.swap(&self.folder, next, &guard(&self.files))?;
        let ids: Vec<u64> = dropped.iter().filter_map(|s| Some(s.run?.id)).collect();
        let (left, dropped): (Vec<Run>, Vec<Run>) = old.runs.iter().cloned().partition(|r| !ids.contains(&r.meta.id));
        self.install(&writer, left, &gone);
        dropped.iter().for_each(Run::remove);
        Ok(())
    }

    /// The location, if its file has a number. `known` is the file last asked for.
    fn known(&self, location: Location, known: &mut Option<u32>) -> Result<Location> {
        if *known != Some(location.file) {
            guard(&self.files).check(location.file)?;
            if self.version().gone_staged.contains(location.file) {
                return Err(Error::Refused(format!("data file {} is removed by a staged commit", location.file)));
            }
            *known = Some(location.file);
        }
        Ok(location)
    }

    /// Gives file numbers up in the log, and writes it anew when it is mostly waste.
    fn free(&self, writer: &mut Writer, next: &mut Manifest, numbers: impl IntoIterator<Item = u32>) -> Result<()> {
        let mut files = guard(&self.files);
        let free = || {
            files.free(numbers)?;
            files.sync()?;
            if let Some(new) = files.compacted(&self.folder, next_id(next))? {
                *files = new;
            }
            Ok(())
        };
        // What is in memory may be ahead of the disk now.
        free().inspect_err(|_| writer.stopped = true)
    }

    fn remove_run(&self, run: &RunMeta) {
        let _ = fs::remove_file(run_path(&self.folder, run.id));
    }
}
