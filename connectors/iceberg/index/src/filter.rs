//! The filter of a run: says of most absent keys that they are absent, by one access to memory.
//!
//! A Bloom filter in lines of 64 bytes. The line of a key follows the key's order, so that it is written in
//! one pass with the run, needs no memory meanwhile, and a sorted batch walks it from start to end.

use std::fs::File;
use std::path::Path;

use crate::error::Result;
use crate::key::u64_at;
use crate::page::{BODY, PAGE, PageFile, PageWriter};

/// Bits per key.
const BITS: u64 = 12;
/// Words of a line.
const WORDS: usize = 8;
/// Lines of a page.
const LINES: usize = BODY / (WORDS * 8);
/// Bits set and tested per key.
const PROBES: u32 = 6;

/// The lines for so many keys.
pub(crate) fn lines(keys: u64) -> u64 {
    (keys * BITS).div_ceil(WORDS as u64 * 64)
}

/// The pages of so many lines.
pub(crate) fn pages(lines: u64) -> u64 {
    lines.div_ceil(LINES as u64)
}

/// The memory of so many lines, in bytes.
pub(crate) fn bytes(lines: u64) -> usize {
    usize::try_from(lines).unwrap_or(usize::MAX).saturating_mul(WORDS * 8)
}

fn line_of(prefix: u64, lines: u64) -> u64 {
    ((u128::from(prefix) * u128::from(lines)) >> 64) as u64
}

/// The bits of a key within its line, nine bits of the result each.
fn bits_of(prefix: u64) -> u64 {
    let n = (prefix ^ (prefix >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    n ^ (n >> 32)
}

/// Writes the filter while the run is written.
#[derive(Debug)]
pub(crate) struct FilterWriter {
    lines: u64,
    at: u64,
    line: [u64; WORDS],
    body: Vec<u8>,
    pages: PageWriter,
}

impl FilterWriter {
    /// For a run of at most so many keys; its pages begin at 0. None for 0 keys.
    pub(crate) fn new(keys: u64, seed: u64, buffer: usize) -> Self {
        let pages = PageWriter::new(seed, 0, buffer);
        Self { lines: lines(keys), at: 0, line: [0; WORDS], body: Vec::new(), pages }
    }

    pub(crate) fn lines(&self) -> u64 {
        self.lines
    }

    /// Adds a key, in ascending order.
    pub(crate) fn add(&mut self, prefix: u64, file: &File, path: &Path) -> Result<()> {
        if self.lines == 0 {
            return Ok(());
        }
        let line = line_of(prefix, self.lines);
        while self.at < line {
            self.end_line(file, path)?;
        }
        let mut bits = bits_of(prefix);
        for _ in 0..PROBES {
            self.line[(bits & 511) as usize / 64] |= 1 << (bits % 64);
            bits >>= 9;
        }
        Ok(())
    }

    pub(crate) fn finish(&mut self, file: &File, path: &Path) -> Result<()> {
        while self.at < self.lines {
            self.end_line(file, path)?;
        }
        if !self.body.is_empty() {
            self.pages.push(&self.body, file, path)?;
        }
        self.pages.flush(file, path)
    }

    fn end_line(&mut self, file: &File, path: &Path) -> Result<()> {
        for word in std::mem::take(&mut self.line) {
            self.body.extend_from_slice(&word.to_le_bytes());
        }
        self.at += 1;
        if self.body.len() == LINES * WORDS * 8 {
            self.pages.push(&self.body, file, path)?;
            self.body.clear();
        }
        Ok(())
    }
}

/// A filter in memory.
#[derive(Debug)]
pub(crate) struct Filter {
    lines: u64,
    words: Vec<u64>,
}

impl Filter {
    /// Reads a filter of so many lines.
    pub(crate) fn load(file: &PageFile, lines: u64) -> Result<Self> {
        let total = pages(lines);
        let mut words = Vec::with_capacity(bytes(lines) / 8);
        let mut buffer = vec![0; PAGE * 64];
        for first in (0..total).step_by(64) {
            let count = (total - first).min(64);
            file.read(first, usize::try_from(count).unwrap_or(64), &mut buffer)?;
            for (page, number) in buffer.chunks_exact(PAGE).zip(first..first + count) {
                let body = file.body(page, number)?;
                let left = bytes(lines) / 8 - words.len();
                words.extend((0..(LINES * WORDS).min(left)).map(|at| u64_at(body, at * 8)));
            }
        }
        Ok(Self { lines, words })
    }

    /// Whether the key may be in the run.
    pub(crate) fn may_have(&self, prefix: u64) -> bool {
        let Ok(line) = usize::try_from(line_of(prefix, self.lines)) else { return true };
        let Some(words) = self.words.get(line * WORDS..(line + 1) * WORDS) else { return true };
        let mut bits = bits_of(prefix);
        let mut all = 1;
        for _ in 0..PROBES {
            all &= words[(bits & 511) as usize / 64] >> (bits % 64);
            bits >>= 9;
        }
        all & 1 == 1
    }
}
