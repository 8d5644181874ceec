//! Progress as an algebra of half-open spans. Pure: no I/O, no clock.
//!
//! A split's rows are counted from its start; a [`Span`] says which of them a batch holds. Within one
//! split spans follow each other without gap or overlap ([`Tracker`] refuses anything else), so a retry
//! can neither lose nor double a row. [`Progress`] is what a sink has made durable, per table.

use std::collections::{BTreeMap, HashMap};

use crate::{Error, Result, SplitId, TableId};

/// A point within a split: before its first row, after so many rows, or its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Position {
    /// Before the first row.
    #[default]
    Start,
    /// After that many rows (at least 1).
    At(u64),
    /// After the last row.
    End,
}

/// The rows `(after, upto]` of one split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The split these rows belong to.
    pub split: SplitId,
    /// Where the span begins: the previous span's `upto`.
    pub after: Position,
    /// Where it ends. Never before `after`.
    pub upto: Position,
}

/// Follows the spans of splits and refuses a gap or an overlap.
#[derive(Debug, Default)]
pub struct Tracker {
    reached: HashMap<SplitId, Position>,
}

impl Tracker {
    /// Where a split stands; `Start` if nothing was seen of it.
    pub fn reached(&self, split: &SplitId) -> Position {
        self.reached.get(split).copied().unwrap_or_default()
    }

    /// Moves a split forward by a span.
    ///
    /// # Errors
    /// `Fatal` when the span does not begin where the split stands, or runs backwards: a bug in a source.
    pub fn advance(&mut self, span: &Span) -> Result<()> {
        let at = self.reached(&span.split);
        if span.after != at || span.upto < span.after {
            return Err(Error::fatal(
                "the source delivered rows out of line: a span must begin where the last one ended",
            )
            .with("split", &span.split)
            .with("reached", format!("{at:?}"))
            .with("span", format!("({:?}, {:?}]", span.after, span.upto)));
        }
        self.reached.insert(span.split.clone(), span.upto);
        Ok(())
    }

    /// Forgets a split: its rows were discarded and will be read again from the start.
    pub fn forget(&mut self, split: &SplitId) {
        self.reached.remove(split);
    }
}

/// What a sink holds of one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The database that was loaded ([`Cut::system`](crate::Cut)).
    pub system: String,
    /// Position of the load's cut as the source writes it (`0/16B3748`).
    pub position: String,
    /// What that cut says of what it shows ([`Cut::visible`](crate::Cut)).
    pub visible: Option<String>,
    /// Rows in the table now, if the sink knows without reading them.
    pub rows: Option<u64>,
    /// The sink's name of the commit that published it: another one each time the table is published.
    pub commit: String,
}

/// What is durable in a sink, per table of the source. The only thing a restart resumes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    loaded: BTreeMap<TableId, Loaded>,
}

impl Progress {
    /// Records that a table's load is published.
    pub fn set_loaded(&mut self, table: TableId, loaded: Loaded) {
        self.loaded.insert(table, loaded);
    }

    /// The table's published load, if there is one.
    pub fn loaded(&self, table: &TableId) -> Option<&Loaded> {
        self.loaded.get(table)
    }

    /// What of it was loaded from that database: a table of the same name from another one is no progress.
    #[must_use]
    pub fn of_system(mut self, system: &str) -> Self {
        self.retain(|_, loaded| loaded.system == system);
        self
    }

    /// Drops the tables that are not to be kept.
    pub fn retain(&mut self, mut keep: impl FnMut(&TableId, &Loaded) -> bool) {
        self.loaded.retain(|table, loaded| keep(table, loaded));
    }

    /// Every table with a published load, by name.
    pub fn tables(&self) -> impl Iterator<Item = (&TableId, &Loaded)> {
        self.loaded.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn span(after: Position, upto: Position) -> Span {
        Span { split: SplitId::new("s"), after, upto }
    }

    #[test]
    fn a_gap_and_an_overlap_are_refused() {
        let mut t = Tracker::default();
        assert!(t.advance(&span(Position::At(1), Position::At(2))).is_err(), "gap at the start");
        assert!(t.advance(&span(Position::Start, Position::At(5))).is_ok());
        assert!(t.advance(&span(Position::Start, Position::At(5))).is_err(), "repeated");
        assert!(t.advance(&span(Position::At(4), Position::At(6))).is_err(), "overlap");
        assert!(t.advance(&span(Position::At(6), Position::At(7))).is_err(), "gap");
        assert!(t.advance(&span(Position::At(5), Position::At(4))).is_err(), "backwards");
        assert!(t.advance(&span(Position::At(5), Position::End)).is_ok());
        t.forget(&SplitId::new("s"));
        assert_eq!(t.reached(&SplitId::new("s")), Position::Start);
    }

    proptest! {
        /// Whatever spans are offered, those accepted tile `(0, reached]` exactly once.
        #[test]
        fn accepted_spans_tile_the_split(offers in prop::collection::vec((0u64..20, 0u64..6), 0..60)) {
            let at = |n: u64| if n == 0 { Position::Start } else { Position::At(n) };
            let (mut t, mut covered) = (Tracker::default(), vec![]);
            for (after, rows) in offers {
                if t.advance(&span(at(after), at(after + rows))).is_ok() {
                    covered.extend(after..after + rows);
                }
            }
            prop_assert_eq!(t.reached(&SplitId::new("s")), at(covered.len() as u64));
            prop_assert!(covered.iter().copied().eq(0..covered.len() as u64));
        }
    }
}
