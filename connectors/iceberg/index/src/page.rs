//! Pages: what all files of runs consist of. A page is checked whenever it is read, so that a torn, flipped or
//! misplaced one is an error and never an answer.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use twox_hash::XxHash3_64;

use crate::error::{Doing, Error, Result};
use crate::fault;
use crate::key::u64_at;

/// Bytes of a page on disk.
pub(crate) const PAGE: usize = 4096;
/// Bytes of a page that hold its check.
pub(crate) const CHECK: usize = 8;
/// Bytes of a page that hold what it is for.
pub(crate) const BODY: usize = PAGE - CHECK;

fn sum(page: &[u8], seed: u64, number: u64) -> u64 {
    XxHash3_64::oneshot_with_seed(seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)), &page[CHECK..PAGE])
}

/// Whether the page is the one of that number in the file of that seed, unharmed.
pub(crate) fn is_sound(page: &[u8], seed: u64, number: u64) -> bool {
    u64_at(page, 0) == sum(page, seed, number)
}

/// Puts the check into a page.
pub(crate) fn seal(page: &mut [u8], seed: u64, number: u64) {
    let check = sum(page, seed, number);
    page[..CHECK].copy_from_slice(&check.to_le_bytes());
}

/// An immutable file of pages. The seed is random and kept elsewhere: no page of another file passes for one.
#[derive(Debug)]
pub(crate) struct PageFile {
    pub(crate) file: File,
    pub(crate) path: PathBuf,
    pub(crate) seed: u64,
}

impl PageFile {
    /// Reads pages into the start of `buffer`, unchecked.
    pub(crate) fn read(&self, first: u64, count: usize, buffer: &mut [u8]) -> Result<()> {
        self.file.read_exact_at(&mut buffer[..count * PAGE], first * PAGE as u64).doing("read a run", &self.path)
    }

    /// The body of the page, which was read as `number`, once it is found sound.
    pub(crate) fn body<'a>(&self, page: &'a [u8], number: u64) -> Result<&'a [u8]> {
        if !is_sound(page, self.seed, number) {
            return Err(self.corrupt("a page's check does not match"));
        }
        Ok(&page[CHECK..PAGE])
    }

    pub(crate) fn corrupt(&self, what: &'static str) -> Error {
        Error::Corrupt { file: self.path.clone(), what }
    }
}

/// Writes pages in sequence from a page number on, gathered into large writes.
#[derive(Debug)]
pub(crate) struct PageWriter {
    seed: u64,
    /// The number of the first page in `buffer`.
    first: u64,
    buffer: Vec<u8>,
    limit: usize,
}

impl PageWriter {
    pub(crate) fn new(seed: u64, first: u64, limit: usize) -> Self {
        Self { seed, first, buffer: Vec::new(), limit: limit.max(PAGE) }
    }

    /// Adds a page of at most [`BODY`] bytes, filled up with zeros.
    pub(crate) fn push(&mut self, body: &[u8], file: &File, path: &Path) -> Result<()> {
        let start = self.buffer.len();
        let number = self.first + (start / PAGE) as u64;
        self.buffer.extend_from_slice(&[0; CHECK]);
        self.buffer.extend_from_slice(body);
        self.buffer.resize(start + PAGE, 0);
        seal(&mut self.buffer[start..], self.seed, number);
        if self.buffer.len() + PAGE > self.limit { self.flush(file, path) } else { Ok(()) }
    }

    /// The number of the next page.
    pub(crate) fn next(&self) -> u64 {
        self.first + (self.buffer.len() / PAGE) as u64
    }

    pub(crate) fn flush(&mut self, file: &File, path: &Path) -> Result<()> {
        fault::point().doing("write a run", path)?;
        file.write_all_at(&self.buffer, self.first * PAGE as u64).doing("write a run", path)?;
        self.first = self.next();
        self.buffer.clear();
        Ok(())
    }
}
