//! A run on disk: immutable, sorted, looked up a sorted batch at a time, or read from start to end.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use crate::budget::Lease;
use crate::entry::Entry;
use crate::error::{Doing, Error, Result};
use crate::filter::{self, Filter};
use crate::key::{Mixed, u64_at};
use crate::page::{BODY, PAGE, PageFile};
use crate::write::{RunMeta, entry_bytes, per_page};

/// Pages that one read of a lookup covers at most. One bit each in a word.
const READ_PAGES: u64 = 64;
/// Unwanted pages that are read along rather than to begin another read.
const GAP: u64 = 1;

/// A run that can be read.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) meta: RunMeta,
    file: Arc<PageFile>,
    fences: Arc<Vec<u64>>,
    filter: Option<Arc<(Filter, Lease)>>,
}

/// Memory that lookups use again and again.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// Places in the batch, and the page where each key begins if it is there.
    starts: Vec<(u32, u64)>,
    buffer: Vec<u8>,
    spare: Vec<u8>,
}

impl Run {
    /// Opens the run and reads its fences. The filter is left on disk: [`Run::with_filter`].
    pub(crate) fn open(path: &Path, meta: RunMeta) -> Result<Self> {
        let file = File::open(path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => Error::Corrupt { file: path.to_owned(), what: "a run is missing" },
            _ => Error::Io { doing: "open a run", file: path.to_owned(), source },
        })?;
        let size = file.metadata().doing("open a run", path)?.size();
        let file = PageFile { file, path: path.to_owned(), seed: meta.seed };
        if size != meta.pages() * PAGE as u64 {
            return Err(file.corrupt("a run is not of its size"));
        }
        let mut fences = Vec::with_capacity(usize::try_from(meta.fences).unwrap_or(0));
        let mut page = vec![0; PAGE];
        for number in meta.fences_at()..meta.pages() {
            file.read(number, 1, &mut page)?;
            let body = file.body(&page, number)?;
            let left = usize::try_from(meta.fences).unwrap_or(0) - fences.len();
            fences.extend((0..(BODY / 8).min(left)).map(|at| u64_at(body, at * 8)));
        }
        Ok(Self { meta, file: Arc::new(file), fences: Arc::new(fences), filter: None })
    }

    /// The same run with its filter in memory.
    pub(crate) fn with_filter(&self, lease: Lease) -> Result<Self> {
        let filter = Filter::load(&self.file, self.meta.lines)?;
        Ok(Self { filter: Some(Arc::new((filter, lease))), ..self.clone() })
    }

    /// The same run with its filter left on disk.
    pub(crate) fn without_filter(&self) -> Self {
        Self { filter: None, ..self.clone() }
    }

    /// Removes the run's name. What cannot be removed now is when the index is opened; readers go on meanwhile.
    pub(crate) fn remove(&self) {
        let _ = fs::remove_file(&self.file.path);
    }

    pub(crate) fn has_filter(&self) -> bool {
        self.filter.is_some()
    }

    /// Bytes that the filter takes in memory.
    pub(crate) fn filter_bytes(&self) -> usize {
        filter::bytes(self.meta.lines)
    }

    /// Bytes that the run takes in memory, without its filter.
    pub(crate) fn fence_bytes(&self) -> usize {
        self.fences.len() * 8
    }

    /// Calls `hit` with the second part of each wanted pair whose key is in the run, once per entry of the key.
    /// `wanted` is sorted.
    pub(crate) fn lookup<K: Mixed>(
        &self,
        wanted: &[(K, u32)],
        scratch: &mut Scratch,
        mut hit: impl FnMut(u32, Entry),
    ) -> Result<()> {
        let Scratch { starts, buffer, spare } = scratch;
        self.starts(wanted, starts);
        buffer.resize(READ_PAGES as usize * PAGE, 0);
        let mut at = 0;
        while at < starts.len() {
            let first = starts[at].1;
            let mut end = at + 1;
            let mut last = self.last_of(first);
            while let Some((_, start)) = starts.get(end).copied()
                && start <= last + 1 + GAP
                && self.last_of(start) < first + READ_PAGES
            {
                last = self.last_of(start);
                end += 1;
            }
            let last = last.min(first + READ_PAGES - 1);
            let count = (last + 1 - first) as usize;
            self.file.read(self.meta.data_at() + first, count, buffer)?;
            let mut window = Window { run: self, first, count, sound: 0, pages: buffer, spare, spare_is: None };
            for (place, start) in &starts[at..end] {
                let (key, mark) = wanted[*place as usize];
                window.find(key, *start, |entry| hit(mark, entry))?;
            }
            at = end;
        }
        Ok(())
    }

    /// Where each wanted key begins if it is there, without those that the filter denies.
    fn starts<K: Mixed>(&self, wanted: &[(K, u32)], starts: &mut Vec<(u32, u64)>) {
        starts.clear();
        let fences = self.fences.as_slice();
        // The number of fences below the key; it only grows.
        let mut below = 0;
        for (place, (key, _)) in (0u32..).zip(wanted) {
            let prefix = key.prefix();
            if self.filter.as_ref().is_some_and(|f| !f.0.may_have(prefix)) {
                continue;
            }
            let mut step = 1;
            while fences.get(below + step - 1).is_some_and(|fence| *fence < prefix) {
                below += step;
                step *= 2;
            }
            let end = fences.len().min(below + step);
            below += fences[below..end].partition_point(|fence| *fence < prefix);
            // Before the first fence nothing is, unless the first key begins at the fence itself.
            if below == 0 && fences.first() != Some(&prefix) {
                continue;
            }
            starts.push((place, (below as u64).saturating_sub(1) * self.meta.stride));
        }
    }

    /// The last page that belongs to the fence of that page.
    fn last_of(&self, start: u64) -> u64 {
        (start + self.meta.stride).min(self.meta.data) - 1
    }

    /// Whether a key of that prefix may be on the page, as far as fences say.
    fn may_reach(&self, page: u64, prefix: u64) -> bool {
        let fence = usize::try_from(page / self.meta.stride).ok().and_then(|at| self.fences.get(at));
        page < self.meta.data && (!page.is_multiple_of(self.meta.stride) || fence.is_some_and(|f| *f <= prefix))
    }

    /// The entries of a page of entries.
    fn entries_on<K: Mixed>(&self, page: u64) -> usize {
        let before = page * per_page::<K>() as u64;
        usize::try_from(self.meta.entries.saturating_sub(before)).unwrap_or(usize::MAX).min(per_page::<K>())
    }
}

/// The pages that one read brought, and one more for what goes on behind them.
struct Window<'a> {
    run: &'a Run,
    first: u64,
    count: usize,
    /// A bit for each page that was found sound.
    sound: u64,
    pages: &'a [u8],
    spare: &'a mut Vec<u8>,
    spare_is: Option<u64>,
}

impl Window<'_> {
    /// The body of a page of entries.
    fn body(&mut self, page: u64) -> Result<&[u8]> {
        let (run, number) = (self.run, self.run.meta.data_at() + page);
        let at = usize::try_from(page - self.first).unwrap_or(usize::MAX);
        if at < self.count {
            let bytes = &self.pages[at * PAGE..(at + 1) * PAGE];
            if self.sound >> at & 1 == 0 {
                run.file.body(bytes, number)?;
                self.sound |= 1 << at;
            }
            return Ok(&bytes[PAGE - BODY..]);
        }
        if self.spare_is != Some(page) {
            self.spare_is = None;
            self.spare.resize(PAGE, 0);
            run.file.read(number, 1, self.spare)?;
            run.file.body(self.spare, number)?;
            self.spare_is = Some(page);
        }
        Ok(&self.spare[PAGE - BODY..])
    }

    /// Calls `hit` for each entry of the key, which begins at page `start` or behind.
    fn find<K: Mixed>(&mut self, key: K, start: u64, mut hit: impl FnMut(Entry)) -> Result<()> {
        let size = entry_bytes::<K>();
        let mut page = start;
        loop {
            let count = self.run.entries_on::<K>(page);
            let body = self.body(page)?;
            let key_at = |at: usize| K::read(&body[at * size..]);
            let mut at = lower_bound(count, |at| key_at(at) < key);
            while at < count && key_at(at) == key {
                hit(Entry(u64_at(body, at * size + K::BYTES)));
                at += 1;
            }
            page += 1;
            if at < count || !self.run.may_reach(page, key.prefix()) {
                return Ok(());
            }
        }
    }
}

/// The number of places below `count` for which `less` holds; it holds for all before one for which it does.
fn lower_bound(count: usize, less: impl Fn(usize) -> bool) -> usize {
    let (mut base, mut size) = (0, count);
    while size > 0 {
        let half = size / 2;
        if less(base + half) {
            base += half + 1;
            size -= half + 1;
        } else {
            size = half;
        }
    }
    base
}

/// Reads a run from start to end.
#[derive(Debug)]
pub(crate) struct Cursor<K> {
    run: Run,
    buffer: Vec<u8>,
    /// The page that the buffer begins with, and the pages in it.
    first: u64,
    pages: u64,
    /// The page and the entry on it that is next.
    page: u64,
    at: usize,
    next: Option<(K, Entry)>,
}

impl<K: Mixed> Cursor<K> {
    /// Stands at the first entry. The buffer is of at most so many bytes, and of a page at least.
    pub(crate) fn new(run: Run, buffer: usize) -> Result<Self> {
        let pages = ((buffer / PAGE).max(1) as u64).min(run.meta.data.max(1));
        let buffer = vec![0; usize::try_from(pages).unwrap_or(1) * PAGE];
        let mut cursor = Self { run, buffer, first: 0, pages: 0, page: 0, at: 0, next: None };
        cursor.load()?;
        Ok(cursor)
    }

    /// The entry at which it stands.
    pub(crate) fn peek(&self) -> Option<(K, Entry)> {
        self.next
    }

    /// Goes to the next entry.
    pub(crate) fn advance(&mut self) -> Result<()> {
        self.at += 1;
        if self.at == per_page::<K>() {
            self.page += 1;
            self.at = 0;
        }
        self.load()
    }

    fn load(&mut self) -> Result<()> {
        if self.at >= self.run.entries_on::<K>(self.page) {
            self.next = None;
            return Ok(());
        }
        if self.page >= self.first + self.pages {
            let pages = ((self.buffer.len() / PAGE) as u64).min(self.run.meta.data - self.page);
            let number = self.run.meta.data_at() + self.page;
            let count = usize::try_from(pages).unwrap_or(0);
            self.run.file.read(number, count, &mut self.buffer)?;
            for (page, number) in self.buffer.chunks_exact(PAGE).zip(number..number + pages) {
                self.run.file.body(page, number)?;
            }
            (self.first, self.pages) = (self.page, pages);
        }
        let page = usize::try_from(self.page - self.first).unwrap_or(0) * PAGE;
        let bytes = &self.buffer[page + (PAGE - BODY) + self.at * entry_bytes::<K>()..];
        self.next = Some((K::read(bytes), Entry(u64_at(bytes, K::BYTES))));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::budget::Budget;
    use crate::entry::Location;
    use crate::key::Key;
    use crate::sort::Sorter;
    use crate::write::WriteLimits;

    /// Writes the rows through a sorter of so much memory, and compares what is looked up and read.
    fn check<K: Mixed>(rows: &[(K, u32)], memory: usize, fences: usize, filter: bool) {
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let limits = WriteLimits { buffer: 16 * 1024, fences };
        let mut sorter = Sorter::new(folder.path(), "test", memory, limits);
        let mut model: BTreeMap<K, Vec<u32>> = BTreeMap::new();
        for (key, row) in rows {
            sorter.push(*key, Entry::new(Location { file: 1, row: *row }, false)).unwrap();
            model.entry(*key).or_default().push(*row);
        }
        for rows in model.values_mut() {
            rows.sort_unstable();
            rows.dedup();
        }
        let path = folder.path().join("1.run");
        let meta = sorter.finish(&path, 1, true).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no spill is left");
        assert!(meta.fences <= fences.max(2) as u64);
        let mut run = Run::open(&path, meta).unwrap();
        if filter {
            run = run.with_filter(Budget::new(1 << 30).lease(1, 0).unwrap()).unwrap();
        }

        // Each key, and its neighbours that are mostly absent; dense and sparse.
        let mut all: Vec<K> = model.keys().copied().collect();
        all.extend((0..500u64).filter_map(|n| K::mix(Key::Small(n)).or_else(|| K::mix(Key::Wide(n.into())))));
        all.sort_unstable();
        for step in [1, 7, 997] {
            let wanted: Vec<(K, u32)> = all.iter().copied().step_by(step).zip(0..).collect();
            let mut found: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
            let mut hit = |mark, entry: Entry| found.entry(mark).or_default().push(entry.location().unwrap().row);
            run.lookup(&wanted, &mut Scratch::default(), &mut hit).unwrap();
            for (key, mark) in wanted {
                assert_eq!(found.get(&mark), model.get(&key), "{key:?}");
            }
        }
        let mut cursor = Cursor::<K>::new(run, 3 * PAGE).unwrap();
        for (key, row) in model.iter().flat_map(|(key, rows)| rows.iter().map(|row| (*key, *row))) {
            let (at, entry) = cursor.peek().unwrap();
            assert_eq!((at, entry.location().unwrap().row), (key, row));
            cursor.advance().unwrap();
        }
        assert_eq!(cursor.peek(), None);
    }

    /// Keys, most once, some many times, over many pages.
    fn rows() -> impl Strategy<Value = Vec<(u64, u32)>> {
        (
            prop::collection::vec((0u64..1_000_000, 1u32..4), 1..6_000),
            prop::collection::vec((0u64..40, 250u32..1_200), 0..3),
        )
            .prop_map(|(few, many)| {
                let rows = few.into_iter().chain(many);
                rows.flat_map(|(key, count)| (0..count).map(move |row| (key, row))).collect()
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn what_was_written_is_found(
            rows in rows(),
            memory in prop::sample::select(vec![20_000usize, 200_000, 10_000_000]),
            fences in prop::sample::select(vec![2usize, 9, 1_000]),
            filter: bool,
            wide: bool,
        ) {
            if wide {
                // Few prefixes, so that neighbours share them over pages: fences and filters tell nothing.
                let rows: Vec<_> = rows.iter().map(|(k, r)| (u128::from(k % 7) << 125 | u128::from(*k), *r)).collect();
                check(&rows, memory, fences, filter);
            } else {
                let rows: Vec<_> = rows.iter().map(|(k, r)| (u64::mix(Key::Small(*k)).unwrap(), *r)).collect();
                check(&rows, memory, fences, filter);
            }
        }
    }

    #[test]
    fn the_filter_denies_most_absent_keys_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("1.run");
        let limits = WriteLimits { buffer: 1 << 16, fences: 1_000 };
        let mut sorter = Sorter::new(folder.path(), "test", 1 << 20, limits);
        let key = |n| u64::mix(Key::Small(n)).unwrap();
        (0..20_000).for_each(|n| sorter.push(key(n), Entry::NOTHING).unwrap());
        let meta = sorter.finish(&path, 1, false).unwrap();
        let page_file = PageFile { file: File::open(&path).unwrap(), path, seed: meta.seed };
        let filter = Filter::load(&page_file, meta.lines).unwrap();
        assert!((0..20_000).all(|n| filter.may_have(key(n))));
        let wrong = (20_000..120_000).filter(|n| filter.may_have(key(*n))).count();
        assert!((100..1_000).contains(&wrong), "{wrong} of 100,000");
    }
}
