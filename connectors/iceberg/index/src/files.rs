//! The numbers of data files. Runs name a file by its number; paths stand once, in a log on disk.
//!
//! A number is never given twice before the next rebuild, so an entry that was overlooked can never mean another
//! file. Memory: about 50 bytes per file, whatever its path.

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use twox_hash::{XxHash3_64, XxHash3_128};

use crate::entry::{FILES, Gone};
use crate::error::{Doing, Error, Result};
use crate::fault;
use crate::key::u64_at;
use crate::manifest::Manifest;

/// Before a record's path: check, number, and the path's length.
const HEAD: usize = 24;
/// As a path's length: the number is given up.
const FREED: u64 = u64::MAX;
/// Dead bytes in the log that are not worth writing it anew.
const WASTE: u64 = 64 * 1024;

/// The log, and where in it each number's path is.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) id: u64,
    path: PathBuf,
    log: File,
    /// Bytes of the log that count, synced or not.
    pub(crate) length: u64,
    live: u64,
    /// The next number to give.
    pub(crate) next: u32,
    records: HashMap<u32, (u64, u32)>,
    numbers: HashMap<u128, u32>,
}

fn name(folder: &Path, id: u64) -> PathBuf {
    folder.join(format!("{id}.files"))
}

fn hash(path: &str) -> u128 {
    XxHash3_128::oneshot(path.as_bytes())
}

fn record(number: u32, path: Option<&str>) -> Vec<u8> {
    let mut bytes = vec![0; 8];
    bytes.extend_from_slice(&u64::from(number).to_le_bytes());
    bytes.extend_from_slice(&path.map_or(FREED, |p| p.len() as u64).to_le_bytes());
    bytes.extend_from_slice(path.unwrap_or_default().as_bytes());
    let check = XxHash3_64::oneshot(&bytes[8..]);
    bytes[..8].copy_from_slice(&check.to_le_bytes());
    bytes
}

impl Files {
    /// An empty log.
    pub(crate) fn create(folder: &Path, id: u64) -> Result<Self> {
        let path = name(folder, id);
        fault::point().doing("create its list of files", &path)?;
        let log = File::options().read(true).write(true).create(true).truncate(true).open(&path);
        let log = log.doing("create its list of files", &path)?;
        Ok(Self { id, path, log, length: 0, live: 0, next: 0, records: HashMap::new(), numbers: HashMap::new() })
    }

    /// Reads a log as far as the manifest says, and cuts off what lies behind. The second value is the numbers
    /// that are in use no longer, those too that were given and not staged.
    pub(crate) fn open(folder: &Path, manifest: &Manifest) -> Result<(Self, Gone)> {
        let &Manifest { files: id, files_length: length, next_file: next, numbered, .. } = manifest;
        let path = name(folder, id);
        let log = File::options().read(true).write(true).open(&path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => Error::Corrupt { file: path.clone(), what: "the list of files is missing" },
            _ => Error::Io { doing: "open its list of files", file: path.clone(), source },
        })?;
        let mut files = Self { id, path, log, length, live: 0, next, records: HashMap::new(), numbers: HashMap::new() };
        files.replay(numbered).and_then(|()| {
            fault::point().doing("cut its list of files", &files.path)?;
            files.log.set_len(length).doing("cut its list of files", &files.path)
        })?;
        let mut gone = Gone::default();
        (0..next).filter(|n| !files.records.contains_key(n)).for_each(|n| gone.insert(n));
        Ok((files, gone))
    }

    fn replay(&mut self, numbered: u32) -> Result<()> {
        if self.log.metadata().doing("read its list of files", &self.path)?.size() < self.length {
            return Err(self.corrupt());
        }
        // In pieces: the log may be larger than the memory that is allowed.
        let (mut at, mut buffer, mut begins) = (0u64, Vec::new(), 0u64);
        while at < self.length {
            let mut have = usize::try_from(begins + buffer.len() as u64 - at).unwrap_or(0);
            let mut need = HEAD;
            if have >= HEAD {
                let head = buffer.len() - have;
                match u64_at(&buffer, head + 16) {
                    FREED => {}
                    length => {
                        let left = self.length - at - HEAD as u64;
                        let length = usize::try_from(length).ok().filter(|_| length <= left);
                        need += length.ok_or_else(|| self.corrupt())?;
                    }
                }
            }
            if have < need {
                let left = usize::try_from(self.length - at).unwrap_or(usize::MAX);
                if left < need {
                    return Err(self.corrupt());
                }
                buffer.resize(left.min(need.max(1 << 16)), 0);
                begins = at;
                self.log.read_exact_at(&mut buffer, at).doing("read its list of files", &self.path)?;
                have = buffer.len();
                if have < HEAD || need == HEAD {
                    continue;
                }
            }
            let start = buffer.len() - have;
            let bytes = &buffer[start..start + need];
            if u64_at(bytes, 0) != XxHash3_64::oneshot(&bytes[8..]) {
                return Err(self.corrupt());
            }
            let number = u32::try_from(u64_at(bytes, 8)).ok().filter(|n| *n < self.next);
            let number = number.ok_or_else(|| self.corrupt())?;
            let path = std::str::from_utf8(&bytes[HEAD..]).map_err(|_| self.corrupt())?;
            if u64_at(bytes, 16) == FREED {
                self.forget(number)?;
            } else if number < numbered {
                let hash = hash(path);
                self.remember(number, hash, at, need - HEAD);
            }
            at += need as u64;
        }
        Ok(())
    }

    fn remember(&mut self, number: u32, hash: u128, at: u64, length: usize) {
        self.records.insert(number, (at, u32::try_from(length).unwrap_or(u32::MAX)));
        self.numbers.insert(hash, number);
        self.live += (HEAD + length) as u64;
    }

    fn forget(&mut self, number: u32) -> Result<()> {
        if let Some(path) = self.path_of(number)? {
            self.records.remove(&number);
            // The path may have a newer number by now.
            if self.numbers.get(&hash(&path)) == Some(&number) {
                self.numbers.remove(&hash(&path));
            }
            self.live -= (HEAD + path.len()) as u64;
        }
        Ok(())
    }

    /// The number of a path, if it has one.
    pub(crate) fn number_of(&self, path: &str) -> Option<u32> {
        self.numbers.get(&hash(path)).copied()
    }

    /// An error unless the number is in use.
    pub(crate) fn check(&self, number: u32) -> Result<()> {
        if self.records.contains_key(&number) {
            return Ok(());
        }
        Err(Error::Refused(format!("there is no data file of number {number}")))
    }

    /// The numbers in use.
    pub(crate) fn count(&self) -> usize {
        self.records.len()
    }

    /// The path of a number, if it is in use.
    pub(crate) fn path_of(&self, number: u32) -> Result<Option<String>> {
        let Some((at, length)) = self.records.get(&number).copied() else { return Ok(None) };
        let mut bytes = vec![0; HEAD + length as usize];
        self.log.read_exact_at(&mut bytes, at).doing("read its list of files", &self.path)?;
        if u64_at(&bytes, 0) != XxHash3_64::oneshot(&bytes[8..]) || u64_at(&bytes, 8) != u64::from(number) {
            return Err(self.corrupt());
        }
        String::from_utf8(bytes.split_off(HEAD)).map(Some).map_err(|_| self.corrupt())
    }

    /// The number of a path, given now if it has none. It is durable once the log is synced and the manifest
    /// says how far.
    pub(crate) fn number(&mut self, path: &str) -> Result<u32> {
        if let Some(number) = self.number_of(path) {
            return Ok(number);
        }
        if self.next == FILES {
            return Err(Error::Full);
        }
        if path.len() >= 1 << 20 {
            return Err(Error::Refused(format!("the path of a data file has {} bytes", path.len())));
        }
        let number = self.next;
        let at = self.append(&record(number, Some(path)))?;
        self.remember(number, hash(path), at, path.len());
        self.next += 1;
        Ok(number)
    }

    /// Gives numbers up.
    pub(crate) fn free(&mut self, numbers: impl IntoIterator<Item = u32>) -> Result<()> {
        let mut bytes = Vec::new();
        for number in numbers {
            if self.records.contains_key(&number) {
                self.forget(number)?;
                bytes.extend(record(number, None));
            }
        }
        if bytes.is_empty() { Ok(()) } else { self.append(&bytes).map(|_| ()) }
    }

    fn append(&mut self, bytes: &[u8]) -> Result<u64> {
        let at = self.length;
        fault::point().doing("extend its list of files", &self.path)?;
        self.log.write_all_at(bytes, at).doing("extend its list of files", &self.path)?;
        self.length += bytes.len() as u64;
        Ok(at)
    }

    /// Makes durable what was appended.
    pub(crate) fn sync(&self) -> Result<()> {
        fault::point().doing("sync its list of files", &self.path)?;
        self.log.sync_all().doing("sync its list of files", &self.path)
    }

    /// A log without what is given up, when it is worth it. This one stays as it is.
    pub(crate) fn compacted(&self, folder: &Path, id: u64) -> Result<Option<Self>> {
        if self.length - self.live < WASTE.max(self.live) {
            return Ok(None);
        }
        let mut new = Self::create(folder, id)?;
        new.next = self.next;
        let mut numbers: Vec<u32> = self.records.keys().copied().collect();
        numbers.sort_unstable();
        let mut bytes = Vec::new();
        for number in numbers {
            let path = self.path_of(number)?.ok_or_else(|| self.corrupt())?;
            new.remember(number, hash(&path), new.length + bytes.len() as u64, path.len());
            bytes.extend(record(number, Some(&path)));
            if bytes.len() > 1 << 18 {
                new.append(&bytes)?;
                bytes.clear();
            }
        }
        new.append(&bytes)?;
        new.sync()?;
        Ok(Some(new))
    }

    /// Removes a log's name. What cannot be removed now is when the index is opened.
    pub(crate) fn remove_log(folder: &Path, id: u64) {
        let _ = fs::remove_file(name(folder, id));
    }

    /// Bytes of memory that it takes, about.
    pub(crate) fn memory(&self) -> usize {
        self.records.capacity() * 20 + self.numbers.capacity() * 36
    }

    fn corrupt(&self) -> Error {
        Error::Corrupt { file: self.path.clone(), what: "the list of files does not hold together" }
    }
}
