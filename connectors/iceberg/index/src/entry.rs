//! What runs say of a key: a number of 64 bits beside each mixed key.
//!
//! All entries of a key in one run agree on whether they replace what older runs say. A run that replaces a
//! key by nothing says so by one empty entry, which stands alone.

/// Where a live row is. Ordered by file, then row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    /// The data file, as numbered by [`crate::Index::file`]; below [`FILES`].
    pub file: u32,
    /// The row's position in it, from 0.
    pub row: u32,
}

/// File numbers lie below this.
pub const FILES: u32 = 1 << 30;

/// It replaces what older runs say of the key.
const REPLACES: u64 = 1 << 63;
/// It has no location.
const EMPTY: u64 = 1 << 62;

/// A location with its marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry(pub(crate) u64);

impl Entry {
    /// Nothing older counts, and there is nothing.
    pub(crate) const NOTHING: Self = Self(REPLACES | EMPTY);

    pub(crate) fn new(location: Location, replaces: bool) -> Self {
        let place = u64::from(location.file) << 32 | u64::from(location.row);
        Self(if replaces { place | REPLACES } else { place })
    }

    pub(crate) fn replaces(self) -> bool {
        self.0 & REPLACES != 0
    }

    pub(crate) fn location(self) -> Option<Location> {
        let file = (self.0 >> 32) as u32 & (FILES - 1);
        (self.0 & EMPTY == 0).then_some(Location { file, row: self.0 as u32 })
    }
}

/// File numbers that are in use no longer, one bit each. A location in such a file is not there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gone(Vec<u64>);

impl Gone {
    pub(crate) fn insert(&mut self, file: u32) {
        let word = file as usize / 64;
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (file % 64);
    }

    pub(crate) fn contains(&self, file: u32) -> bool {
        self.0.get(file as usize / 64).is_some_and(|word| word >> (file % 64) & 1 == 1)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.0.len() * 8
    }
}
