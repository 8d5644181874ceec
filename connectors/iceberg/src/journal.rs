//! The journal: which files an attempt at a commit creates, noted before it creates them, so that what a
//! dead process left behind can be found and deleted in any storage, also one that cannot be listed.
//!
//! What must hold: a line is in the file before the file it names exists; a journal belongs to a living
//! process for as long as its lock is held, and only a dead one's is read; losing a journal, or failing to
//! write it, costs space and nothing else. What may be deleted is decided elsewhere (`orphans`).

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use connector_api::failpoint;
use iceberg::{NamespaceIdent, TableIdent};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::names::fnv1a;

const EXTENSION: &str = "journal";

/// A line of the file, after a checksum of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    /// An attempt begins; its id is the commit's.
    Begin { id: i64, namespace: Vec<String>, table: String },
    /// It is about to be sent on this base: the snapshot that is current there, none for a table to create.
    Base { id: i64, snapshot: Option<i64> },
    /// It is about to create this file.
    File { id: i64, path: String },
    /// Nothing of it is left that nobody refers to.
    End { id: i64 },
    /// An instance whose journal was taken over: it has ended.
    Ended { instance: String },
}

/// What is known of an attempt that nobody carries on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dead {
    /// The commit's id.
    pub(crate) id: i64,
    /// The bases it was sent on, as far as it was sent.
    pub(crate) bases: Vec<Option<i64>>,
    /// The files it has created, perhaps.
    pub(crate) files: Vec<String>,
}

/// This process's journal, and what dead ones have left.
#[derive(Debug)]
pub(crate) struct Journal {
    /// Names the task that it belongs to, and no other; part of the file's name.
    instance: String,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// None: nothing is noted, because there is no folder.
    file: Option<(PathBuf, File)>,
    /// It could not be written once: nothing is noted any more. It stays locked, or another one would take what lives for dead.
    is_over: bool,
    alive: HashMap<i64, (TableIdent, Dead)>,
    dead: Vec<(TableIdent, Dead)>,
    /// Instances that have ended and whose claims may stand in the ledger.
    ended: HashSet<String>,
}

impl Journal {
    /// Opens a journal in a folder and takes over those of dead processes. `catalog` tells catalogs apart:
    /// what was noted for another one is left alone. Trouble with the folder is told and costs no data.
    pub(crate) fn open(folder: Option<&Path>, catalog: &str) -> Arc<Self> {
        let journal = Self { instance: Uuid::now_v7().to_string(), inner: Mutex::default() };
        if let Some(folder) = folder
            && let Err(e) = journal.begin(folder, &format!("{:016x}-", fnv1a(catalog.as_bytes())))
        {
            let (folder, error) = (folder.display(), e.to_string());
            tracing::warn!(%folder, error, "state.dir cannot be used: files that a killed run leaves will stay");
        }
        Arc::new(journal)
    }

    fn begin(&self, folder: &Path, prefix: &str) -> std::io::Result<()> {
        fs::create_dir_all(folder)?;
        // It takes its name once it is locked: nobody may take it for a dead one's.
        let name = format!("{prefix}{}", self.instance);
        let (hidden, path) = (folder.join(format!("{name}.new")), folder.join(format!("{name}.{EXTENSION}")));
        let file = OpenOptions::new().append(true).create_new(true).open(&hidden)?;
        file.try_lock()?;
        fs::rename(&hidden, &path)?;
        let mut inner = self.lock();
        inner.file = Some((path.clone(), file));
        for entry in fs::read_dir(folder)? {
            let other = entry?.path();
            let ours = other.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with(prefix));
            if ours && other != path && other.extension().is_some_and(|e| e == EXTENSION) {
                inner.take_over(&other, prefix)?;
            }
        }
        Ok(())
    }

    /// The name of the task that it belongs to.
    pub(crate) fn instance(&self) -> &str {
        &self.instance
    }

    /// Instances that have ended without saying so in the ledger, perhaps.
    pub(crate) fn ended(&self) -> Vec<String> {
        self.lock().ended.iter().cloned().collect()
    }

    /// The ledger says of these that they have ended.
    pub(crate) fn forget(&self, instances: &[String]) {
        let mut inner = self.lock();
        inner.ended.retain(|instance| !instances.contains(instance));
    }

    /// Begins an attempt; without [`Attempt::done`] its files count as left behind once it is dropped.
    pub(crate) fn attempt(self: &Arc<Self>, id: i64, table: &TableIdent) -> Attempt {
        let mut inner = self.lock();
        let namespace = table.namespace().as_ref().clone();
        inner.note(&Line::Begin { id, namespace, table: table.name().to_owned() });
        inner.alive.insert(id, (table.clone(), Dead { id, ..Dead::default() }));
        drop(inner);
        Attempt(Arc::new(Handle { journal: Arc::clone(self), id }))
    }

    /// Tables of which something may be left behind.
    pub(crate) fn tables(&self) -> Vec<TableIdent> {
        let mut tables: Vec<_> = self.lock().dead.iter().map(|(table, _)| table.clone()).collect();
        tables.sort_by_key(ToString::to_string);
        tables.dedup();
        tables
    }

    /// What may be left behind of a table.
    pub(crate) fn dead(&self, table: &TableIdent) -> Vec<Dead> {
        self.lock().dead.iter().filter(|(t, _)| t == table).map(|(_, dead)| dead.clone()).collect()
    }

    /// Nothing is left of these attempts.
    pub(crate) fn buried(&self, ids: &[i64]) {
        let mut inner = self.lock();
        inner.dead.retain(|(_, dead)| !ids.contains(&dead.id));
        ids.iter().for_each(|id| inner.note(&Line::End { id: *id }));
    }

    /// Deletes the file if it says nothing that a later run would need. `claims` is whether claims of this
    /// task may stand in the ledger: the file then tells a later run that they are void.
    pub(crate) fn close(&self, claims: bool) {
        let mut inner = self.lock();
        if inner.dead.is_empty()
            && inner.alive.is_empty()
            && inner.ended.is_empty()
            && !claims
            && let Some((path, _file)) = inner.file.take()
        {
            // One that stays says the same.
            let _ = fs::remove_file(path);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Adds a line. The first failure ends the journal.
    fn note(&mut self, line: &Line) {
        let Some((path, file)) = self.file.as_mut().filter(|_| !self.is_over) else { return };
        let json = serde_json::to_string(line).unwrap_or_default();
        if let Err(e) = file.write_all(format!("{:016x} {json}\n", fnv1a(json.as_bytes())).as_bytes()) {
            let (path, error) = (path.display().to_string(), e.to_string());
            tracing::warn!(path, error, "the journal cannot be written: files that a killed run leaves will stay");
            self.is_over = true;
            // What it says is no longer all there is: of a commit that may still get through the base could be missing.
            let _ = file.set_len(0);
        }
    }

    /// Reads a journal unless its process lives, and goes on with what is open in it.
    fn take_over(&mut self, path: &Path, prefix: &str) -> std::io::Result<()> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            // Another instance was faster.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(e),
        };
        if file.try_lock().is_err() {
            return Ok(());
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let (found, mut ended) = parse(&String::from_utf8_lossy(&bytes));
        let name = path.file_stem().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix(prefix));
        ended.extend(name.map(str::to_owned));
        for instance in &ended {
            self.note(&Line::Ended { instance: instance.clone() });
        }
        self.ended.extend(ended);
        for (table, dead) in &found {
            let (id, namespace) = (dead.id, table.namespace().as_ref().clone());
            self.note(&Line::Begin { id, namespace, table: table.name().to_owned() });
            dead.bases.iter().for_each(|snapshot| self.note(&Line::Base { id, snapshot: *snapshot }));
            dead.files.iter().for_each(|path| self.note(&Line::File { id, path: path.clone() }));
        }
        self.dead.extend(found);
        // Only what stands in ours may go.
        if self.file.is_some() && !self.is_over { fs::remove_file(path) } else { Ok(()) }
    }
}

/// The attempts that a journal leaves open, and the instances it knows to have ended. A line that is torn or damaged is passed over: it can only name
/// less than there is.
fn parse(text: &str) -> (Vec<(TableIdent, Dead)>, HashSet<String>) {
    let mut ended = HashSet::new();
    let mut open: HashMap<i64, (TableIdent, Dead)> = HashMap::new();
    let checked = |line: &str| {
        let (sum, json) = line.split_once(' ')?;
        let good = u64::from_str_radix(sum, 16).is_ok_and(|sum| sum == fnv1a(json.as_bytes()));
        if good { serde_json::from_str(json).ok() } else { None }
    };
    for line in text.lines().filter_map(checked) {
        match line {
            Line::Begin { id, namespace, table } => {
                if let Ok(namespace) = NamespaceIdent::from_vec(namespace) {
                    let dead = Dead { id, ..Dead::default() };
                    open.entry(id).or_insert((TableIdent::new(namespace, table), dead));
                }
            }
            Line::Base { id, snapshot } => {
                if let Some((_, dead)) = open.get_mut(&id) {
                    dead.bases.push(snapshot);
                }
            }
            Line::File { id, path } => {
                if let Some((_, dead)) = open.get_mut(&id) {
                    dead.files.push(path);
                }
            }
            Line::End { id } => drop(open.remove(&id)),
            Line::Ended { instance } => drop(ended.insert(instance)),
        }
    }
    let mut open: Vec<_> = open.into_values().collect();
    open.sort_by_key(|(_, dead)| dead.id);
    (open, ended)
}

/// An attempt at a commit, as far as its files go. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Attempt(Arc<Handle>);

#[derive(Debug)]
struct Handle {
    journal: Arc<Journal>,
    id: i64,
}

impl Attempt {
    /// It is about to create this file.
    pub(crate) fn creates(&self, path: &str) {
        let mut inner = self.0.journal.lock();
        inner.note(&Line::File { id: self.0.id, path: path.to_owned() });
        if let Some((_, dead)) = inner.alive.get_mut(&self.0.id) {
            dead.files.push(path.to_owned());
        }
        drop(inner);
        // A test kills here: the file stands in the journal and does not exist.
        let _ = failpoint::hit("iceberg.file-noted");
    }

    /// It is about to be sent on this base: the snapshot that is current there.
    pub(crate) fn on_base(&self, snapshot: Option<i64>) {
        let mut inner = self.0.journal.lock();
        inner.note(&Line::Base { id: self.0.id, snapshot });
        if let Some((_, dead)) = inner.alive.get_mut(&self.0.id) {
            dead.bases.push(snapshot);
        }
    }

    /// It is in the table, or nothing of it is left.
    pub(crate) fn done(&self) {
        let mut inner = self.0.journal.lock();
        if inner.alive.remove(&self.0.id).is_some() {
            inner.note(&Line::End { id: self.0.id });
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let mut inner = self.journal.lock();
        if let Some((table, dead)) = inner.alive.remove(&self.id) {
            if dead.files.is_empty() {
                inner.note(&Line::End { id: self.id });
            } else {
                inner.dead.push((table, dead));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ident(name: &str) -> TableIdent {
        TableIdent::from_strs(["bronze", "shop", name]).unwrap()
    }

    fn files(folder: &Path) -> usize {
        fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn a_dead_processs_journal_is_taken_over_and_a_living_ones_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let first = Journal::open(Some(folder.path()), "a");
        let (one, two) = (first.attempt(1, &ident("t")), first.attempt(2, &ident("u")));
        one.on_base(None);
        one.on_base(Some(7));
        one.creates("t/data/x.parquet");
        two.creates("u/data/y.parquet");
        two.done();
        let second = Journal::open(Some(folder.path()), "a");
        assert!(second.tables().is_empty(), "its process lives");
        // What a kill leaves: the file, without its lock.
        let path = first.lock().file.take().unwrap().0;
        assert!(Journal::open(Some(folder.path()), "another catalog").tables().is_empty());
        let third = Journal::open(Some(folder.path()), "a");
        let dead = Dead { id: 1, bases: vec![None, Some(7)], files: vec!["t/data/x.parquet".into()] };
        assert_eq!((third.tables(), third.dead(&ident("t"))), (vec![ident("t")], vec![dead.clone()]));
        assert!(!path.exists());
        // And if that one dies before it could do anything about it?
        drop(third.lock().file.take());
        let fourth = Journal::open(Some(folder.path()), "a");
        assert_eq!(fourth.dead(&ident("t")), [dead]);
        fourth.buried(&[1]);
        // Each of the dead is known by name, also those that another of the dead took over.
        let mut ended = fourth.ended();
        ended.sort_unstable();
        let mut gone = [first.instance(), third.instance()].map(str::to_owned);
        gone.sort_unstable();
        assert_eq!(ended, gone);
        fourth.close(false);
        assert_eq!(files(folder.path()), 3, "who has ended is still to be told");
        fourth.forget(&ended);
        fourth.close(false);
        assert_eq!(files(folder.path()), 2, "that of a living one, and another catalog's");
        assert!(Journal::open(Some(folder.path()), "a").tables().is_empty());
    }

    #[test]
    fn one_that_cannot_be_written_any_more_is_taken_over_by_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let full = Journal::open(Some(folder.path()), "a");
        let attempt = full.attempt(1, &ident("t"));
        attempt.creates("x");
        let mut inner = full.lock();
        let (path, file) = inner.file.take().unwrap();
        drop(file);
        let unwritable = File::open(&path).unwrap();
        unwritable.try_lock().unwrap();
        inner.file = Some((path, unwritable));
        drop(inner);
        attempt.on_base(Some(7));
        let other = Journal::open(Some(folder.path()), "a");
        assert!(other.tables().is_empty() && other.ended().is_empty(), "its attempt goes on");
    }

    #[test]
    fn an_attempt_that_is_given_up_is_left_behind() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(Some(folder.path()), "a");
        drop(journal.attempt(1, &ident("nothing")));
        let attempt = journal.attempt(2, &ident("t"));
        attempt.creates("x");
        let clone = attempt.clone();
        drop(attempt);
        assert!(journal.tables().is_empty(), "a clone of it goes on");
        drop(clone);
        assert_eq!(journal.tables(), [ident("t")]);
        journal.close(false);
        assert_eq!(files(folder.path()), 1, "it is still needed");
        journal.buried(&[2]);
        journal.close(true);
        assert_eq!(files(folder.path()), 1, "its claims may stand");
        journal.close(false);
        assert_eq!(files(folder.path()), 0);
    }

    #[test]
    fn damage_names_less_and_nothing_wrong() {
        let line = |line: &Line| {
            let json = serde_json::to_string(line).unwrap();
            format!("{:016x} {json}\n", fnv1a(json.as_bytes()))
        };
        let begin = line(&Line::Begin { id: 1, namespace: vec!["n".into()], table: "t".into() });
        let (x, y) = (line(&Line::File { id: 1, path: "x".into() }), line(&Line::File { id: 1, path: "y".into() }));
        let check = |text: &str| -> Vec<String> { parse(text).0.into_iter().flat_map(|(_, d)| d.files).collect() };
        assert_eq!(check(&format!("{begin}{x}{y}")), ["x", "y"]);
        assert_eq!(check(&format!("{begin}{x}{}", &y[..y.len() - 4])), ["x"], "torn");
        assert_eq!(check(&format!("{begin}{}{y}", x.replace("\"x\"", "\"z\""))), ["y"], "altered");
        assert_eq!(check(&format!("{x}{y}")), Vec::<String>::new());
        assert_eq!(check("\0\u{fffd} garbage\n\n}{"), Vec::<String>::new());
    }

    #[test]
    fn a_folder_that_cannot_be_used_costs_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        for folder in [Some(file.as_path()), None] {
            let journal = Journal::open(folder, "a");
            let attempt = journal.attempt(1, &ident("t"));
            attempt.creates("x");
            drop(attempt);
            assert_eq!(journal.tables(), [ident("t")], "within the process it is known all the same");
        }
    }
}
