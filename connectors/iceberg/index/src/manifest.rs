//! The manifest: what the index consists of. It is replaced as a whole, by a rename, so that after a crash the
//! folder holds one state or the next. A file that the manifest does not name does not count.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use twox_hash::XxHash3_64;

use crate::error::{Doing, Result};
use crate::fault;
use crate::key::{Width, u64_at};
use crate::write::RunMeta;

pub(crate) const NAME: &str = "manifest";
const NEW: &str = "manifest.tmp";
const MAGIC: &[u8; 8] = b"keyindex";
/// Raise it when files written before cannot be read right any more.
const VERSION: u64 = 1;

/// A run that waits for its commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Staged {
    pub(crate) snapshot: i64,
    /// None when the commit changes no key.
    pub(crate) run: Option<RunMeta>,
    /// Numbers of the files that the commit removes.
    pub(crate) gone: Vec<u32>,
    /// Files that got their numbers for this commit: from this number to before the other.
    pub(crate) new_from: u32,
    pub(crate) new_to: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) table: String,
    pub(crate) key: String,
    pub(crate) width: Width,
    /// The snapshot of the table that the runs describe.
    pub(crate) snapshot: Option<i64>,
    pub(crate) next_id: u64,
    /// Oldest first.
    pub(crate) runs: Vec<RunMeta>,
    /// In the order in which they were staged.
    pub(crate) staged: Vec<Staged>,
    /// The log of file numbers, the bytes of it that count, and the next number.
    pub(crate) files: u64,
    pub(crate) files_length: u64,
    pub(crate) next_file: u32,
    /// Numbers from here on are of files that no commit was staged with.
    pub(crate) numbered: u32,
}

/// Why a manifest is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    Missing,
    Corrupt,
    OtherVersion,
}

impl Manifest {
    /// Reads the manifest of a folder.
    pub(crate) fn read(folder: &Path) -> Result<Result<Self, Unread>> {
        let path = folder.join(NAME);
        match fs::read(&path) {
            Ok(bytes) => Ok(Self::decode(&bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Err(Unread::Missing)),
            Err(error) => Err(error).doing("read its manifest", &path),
        }
    }

    /// Makes this the manifest of the folder, durably. After an error it may or may not be.
    pub(crate) fn swap(&self, folder: &Path) -> Result<()> {
        let (new, path) = (folder.join(NEW), folder.join(NAME));
        fault::point().doing("write its manifest", &new)?;
        let mut file = File::create(&new).doing("write its manifest", &new)?;
        file.write_all(&self.encode()).doing("write its manifest", &new)?;
        fault::point().doing("sync its manifest", &new)?;
        file.sync_all().doing("sync its manifest", &new)?;
        fault::point().doing("replace its manifest", &path)?;
        fs::rename(&new, &path).doing("replace its manifest", &path)?;
        sync_folder(folder)
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Out(MAGIC.to_vec());
        out.number(VERSION);
        out.bytes(self.table.as_bytes());
        out.bytes(self.key.as_bytes());
        out.number(u64::from(self.width == Width::Wide));
        out.option(self.snapshot.map(i64::cast_unsigned).as_ref(), |out, n| out.number(*n));
        out.number(self.next_id);
        out.list(&self.runs, Out::run);
        out.list(&self.staged, |out, staged| {
            out.number(staged.snapshot.cast_unsigned());
            out.option(staged.run.as_ref(), Out::run);
            out.list(&staged.gone, |out, n| out.number(u64::from(*n)));
            out.number(u64::from(staged.new_from));
            out.number(u64::from(staged.new_to));
        });
        out.number(self.files);
        out.number(self.files_length);
        out.number(u64::from(self.next_file));
        out.number(u64::from(self.numbered));
        let check = XxHash3_64::oneshot(&out.0);
        out.number(check);
        out.0
    }

    fn decode(bytes: &[u8]) -> Result<Self, Unread> {
        let end = bytes.len().checked_sub(8).ok_or(Unread::Corrupt)?;
        if u64_at(bytes, end) != XxHash3_64::oneshot(&bytes[..end]) || !bytes.starts_with(MAGIC) {
            return Err(Unread::Corrupt);
        }
        let mut from = In(&bytes[MAGIC.len()..end]);
        match from.number() {
            Some(VERSION) => from.manifest().ok_or(Unread::Corrupt),
            Some(_) => Err(Unread::OtherVersion),
            None => Err(Unread::Corrupt),
        }
    }
}

/// Makes names in the folder durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<()> {
    fault::point().doing("sync its folder", folder)?;
    File::open(folder).and_then(|f| f.sync_all()).doing("sync its folder", folder)
}

struct Out(Vec<u8>);

impl Out {
    fn number(&mut self, n: u64) {
        self.0.extend_from_slice(&n.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn option<T>(&mut self, value: Option<&T>, one: impl Fn(&mut Self, &T)) {
        self.number(u64::from(value.is_some()));
        if let Some(value) = value {
            one(self, value);
        }
    }

    fn list<T>(&mut self, list: &[T], one: impl Fn(&mut Self, &T)) {
        self.number(list.len() as u64);
        list.iter().for_each(|value| one(self, value));
    }

    fn run(&mut self, run: &RunMeta) {
        for n in [run.id, run.seed, run.entries, run.keys, run.lines, run.data, run.stride, run.fences] {
            self.number(n);
        }
    }
}

struct In<'a>(&'a [u8]);

impl In<'_> {
    fn take(&mut self, count: usize) -> Option<&[u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u64> {
        Some(u64_at(self.take(8)?, 0))
    }

    fn small(&mut self) -> Option<u32> {
        self.number()?.try_into().ok()
    }

    fn text(&mut self) -> Option<String> {
        let count = self.number()?.try_into().ok()?;
        String::from_utf8(self.take(count)?.to_vec()).ok()
    }

    fn option<T>(&mut self, one: impl Fn(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.number()? {
            0 => Some(None),
            _ => one(self).map(Some),
        }
    }

    fn list<T>(&mut self, one: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        (0..self.number()?).map(|_| one(self)).collect()
    }

    fn run(&mut self) -> Option<RunMeta> {
        let mut n = || self.number();
        Some(RunMeta {
            id: n()?,
            seed: n()?,
            entries: n()?,
            keys: n()?,
            lines: n()?,
            data: n()?,
            stride: n()?,
            fences: n()?,
        })
    }

    fn manifest(&mut self) -> Option<Manifest> {
        Some(Manifest {
            table: self.text()?,
            key: self.text()?,
            width: if self.number()? == 0 { Width::Small } else { Width::Wide },
            snapshot: self.option(Self::number)?.map(u64::cast_signed),
            next_id: self.number()?,
            runs: self.list(Self::run)?,
            staged: self.list(|from| {
                Some(Staged {
                    snapshot: from.number()?.cast_signed(),
                    run: from.option(Self::run)?,
                    gone: from.list(Self::small)?,
                    new_from: from.small()?,
                    new_to: from.small()?,
                })
            })?,
            files: self.number()?,
            files_length: self.number()?,
            next_file: self.small()?,
            numbered: self.small()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_written_and_no_bit_of_it_may_differ() {
        let run = RunMeta { id: 1, seed: 2, entries: 3, keys: 4, lines: 5, data: 6, stride: 7, fences: 8 };
        let manifest = Manifest {
            table: "c0ffee".into(),
            key: "id int8\n".into(),
            width: Width::Wide,
            snapshot: Some(-5),
            next_id: 9,
            runs: vec![run; 2],
            staged: vec![
                Staged { snapshot: -1, run: Some(run), gone: vec![1, 2], new_from: 3, new_to: 4 },
                Staged { snapshot: i64::MAX, run: None, gone: vec![], new_from: 3, new_to: 4 },
            ],
            files: 1,
            files_length: 2,
            next_file: 3,
            numbered: 2,
        };
        let bytes = manifest.encode();
        assert_eq!(Manifest::decode(&bytes), Ok(manifest));
        for at in 0..bytes.len() {
            assert_eq!(Manifest::decode(&bytes[..at]), Err(Unread::Corrupt));
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            assert_eq!(Manifest::decode(&flipped), Err(Unread::Corrupt));
        }
    }
}
