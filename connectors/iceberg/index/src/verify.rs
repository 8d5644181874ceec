//! Comparing an index with what it should hold.

use std::cmp::Ordering;

use crate::entry::{Entry, Location};
use crate::error::Result;
use crate::index::{Index, Memory};
use crate::key::{Key, Mixed, Width};
use crate::merge::{Rule, merge};
use crate::run::{Cursor, Run};
use crate::sort::{Sorter, cursor_buffer};
use crate::view::mixed;

/// Where an index differs from what it should hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// A live row that the index does not know.
    Missing(Key, Location),
    /// A row that the index believes to be live.
    Extra(Key, Location),
}

impl Index {
    /// Compares all that is adopted with the table's live rows, given in any order with files numbered by this
    /// index, and names the first difference in its own order. Takes disk for a copy, and time as a rebuild does.
    ///
    /// # Errors
    /// `Corrupt`, `Io`, `Refused` for a key of the other width.
    pub fn verify(&self, rows: impl IntoIterator<Item = (Key, Location)>) -> Result<Option<Difference>> {
        match self.definition.width {
            Width::Small => self.verify_as::<u64>(rows),
            Width::Wide => self.verify_as::<u128>(rows),
        }
    }

    fn verify_as<K: Mixed>(&self, rows: impl IntoIterator<Item = (Key, Location)>) -> Result<Option<Difference>> {
        let Memory { work, limits, .. } = self.memory;
        let mut sorter = Sorter::<K>::new(&self.folder, "verify", work, limits);
        for (key, location) in rows {
            sorter.push(mixed(key)?, Entry::new(location, true))?;
        }
        let path = self.folder.join("verify.tmp");
        let meta = sorter.finish(&path, 0, true)?;
        let run = Run::open(&path, meta)?;
        let buffer = cursor_buffer(self.memory.work, self.version().adopted + 1);
        let mut expected = Cursor::<K>::new(run.clone(), buffer)?;
        run.remove();

        let version = self.version();
        let sources = version.runs[..version.adopted].iter().rev();
        let mut sources = sources.map(|run| Cursor::new(run.clone(), buffer)).collect::<Result<Vec<_>>>()?;
        let missing = |(key, entry): (K, Entry)| entry.location().map(|l| Difference::Missing(key.unmix(), l));
        let mut first = None;
        merge(&mut sources, Rule::Ages, true, &version.gone, |key, entry| {
            if first.is_none() {
                match expected.peek().map(|next| (next, next.cmp(&(key, entry)))) {
                    Some((_, Ordering::Equal)) => expected.advance()?,
                    Some((next, Ordering::Less)) => first = missing(next),
                    _ => first = entry.location().map(|l| Difference::Extra(key.unmix(), l)),
                }
            }
            Ok(())
        })?;
        Ok(first.or_else(|| expected.peek().and_then(missing)))
    }
}
