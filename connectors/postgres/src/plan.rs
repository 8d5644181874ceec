//! Cuts tables into splits by ranges of their pages (`ctid`). Pure.
//!
//! The ranges of a table tile all of its pages, the last one open-ended: a row that the snapshot sees lies
//! in exactly one of them.

use std::fmt;
use std::str::FromStr;

use connector_api::{Split, SplitId, TableId};

/// Largest share of a table in one split, bytes with TOAST: a failure repeats at most that much.
const LARGEST: u64 = 1 << 30;
/// Most partitions in one split: one statement names them all.
const MOST_LEAVES: usize = 100;

/// A part of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// All of it.
    Whole,
    /// Pages of it.
    Pages(Pages),
    /// The partitions `from..to`, as the plan counts them.
    Leaves { from: usize, to: usize },
    /// Pages of one partition.
    LeafPages(usize, Pages),
}

/// Pages `from..to`; `None` is to the end, wherever that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pages {
    pub(crate) from: u64,
    pub(crate) to: Option<u64>,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => f.write_str("whole"),
            Self::Pages(pages) => write!(f, "pages:{pages}"),
            Self::Leaves { from, to } => write!(f, "leaves:{from}-{to}"),
            Self::LeafPages(leaf, pages) => write!(f, "leaf:{leaf}:{pages}"),
        }
    }
}

impl fmt::Display for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to {
            Some(to) => write!(f, "{}-{to}", self.from),
            None => write!(f, "{}-", self.from),
        }
    }
}

impl FromStr for Part {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
        let number = |text: &str| text.parse().map_err(|_| ());
        match kind {
            "whole" if rest.is_empty() => Ok(Self::Whole),
            "pages" => Ok(Self::Pages(rest.parse()?)),
            "leaves" => {
                let (from, to) = rest.split_once('-').ok_or(())?;
                Ok(Self::Leaves { from: number(from)?, to: number(to)? })
            }
            "leaf" => {
                let (leaf, pages) = rest.split_once(':').ok_or(())?;
                Ok(Self::LeafPages(number(leaf)?, pages.parse()?))
            }
            _ => Err(()),
        }
    }
}

impl FromStr for Pages {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (from, to) = text.split_once('-').ok_or(())?;
        let to = if to.is_empty() { None } else { Some(to.parse().map_err(|_| ())?) };
        Ok(Self { from: from.parse().map_err(|_| ())?, to })
    }
}

impl Pages {
    /// The SQL condition that selects them.
    pub(crate) fn condition(&self) -> String {
        match *self {
            Self { from, to: None } => format!(" WHERE ctid >= '({from},0)'::tid"),
            Self { from, to: Some(to) } => format!(" WHERE ctid >= '({from},0)'::tid AND ctid < '({to},0)'::tid"),
        }
    }
}

/// A table's size on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Size {
    /// Bytes of the heap, as of the snapshot or later.
    pub(crate) heap: u64,
    /// Bytes with TOAST.
    pub(crate) total: u64,
    /// Bytes of a page.
    pub(crate) page: u64,
}

/// What is divided: a table without partitions, or one of them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Piece {
    pub(crate) size: Size,
    /// Whether it can be read by ranges of pages.
    pub(crate) divides: bool,
}

/// The splits of a table, of at least `smallest` bytes, and enough of them for `parallel` readers to end
/// together. A table that is read partition by partition gives its `leaves`; small ones go together.
pub(crate) fn splits(
    table: &TableId,
    own: Piece,
    leaves: Option<&[Piece]>,
    parallel: usize,
    smallest: u64,
) -> Vec<Split> {
    let wanted = |total: u64| (total / (4 * parallel.max(1) as u64)).clamp(smallest.min(LARGEST), LARGEST).max(1);
    let parts = match leaves {
        None | Some([]) => match ranges(own, wanted(own.size.total)) {
            ranges if ranges.len() > 1 => {
                ranges.into_iter().map(|(pages, bytes)| (Part::Pages(pages), bytes)).collect()
            }
            _ => vec![(Part::Whole, own.size.total)],
        },
        Some(leaves) => of_leaves(leaves, wanted(leaves.iter().map(|l| l.size.total).sum())),
    };
    let split = |(i, (part, bytes)): (usize, (Part, u64))| Split {
        id: SplitId::new(format!("{table}/{i}")),
        table: table.clone(),
        part: part.to_string(),
        bytes,
    };
    parts.into_iter().enumerate().map(split).collect()
}

fn of_leaves(leaves: &[Piece], wanted: u64) -> Vec<(Part, u64)> {
    let mut parts = vec![];
    let (mut from, mut bytes) = (0, 0);
    let flush = |parts: &mut Vec<_>, from: &mut usize, to: usize, bytes: &mut u64| {
        if *from < to {
            parts.push((Part::Leaves { from: *from, to }, *bytes));
        }
        (*from, *bytes) = (to, 0);
    };
    for (i, leaf) in leaves.iter().enumerate() {
        let ranges = ranges(*leaf, wanted);
        if ranges.len() > 1 {
            flush(&mut parts, &mut from, i, &mut bytes);
            parts.extend(ranges.into_iter().map(|(pages, bytes)| (Part::LeafPages(i, pages), bytes)));
            from = i + 1;
        } else {
            if bytes + leaf.size.total > wanted || i - from >= MOST_LEAVES {
                flush(&mut parts, &mut from, i, &mut bytes);
            }
            bytes += leaf.size.total;
        }
    }
    flush(&mut parts, &mut from, leaves.len(), &mut bytes);
    parts
}

/// The page ranges of a piece, each with its share of the bytes.
fn ranges(piece: Piece, wanted: u64) -> Vec<(Pages, u64)> {
    // A small heap may have a large TOAST, so parts are measured with it; it is taken to be spread evenly.
    let Size { heap, total, page } = piece.size;
    let page = page.max(1);
    let pages = heap.div_ceil(page).div_ceil(total.div_ceil(wanted).max(1)).max(1);
    let count = if piece.divides { heap.div_ceil(page).div_ceil(pages).max(1) } else { 1 };
    (0..count)
        .map(|i| {
            let last = i + 1 == count;
            let of_heap = if last { heap.saturating_sub(i * pages * page) } else { pages * page };
            let bytes = u128::from(total) * u128::from(of_heap) / u128::from(heap.max(1));
            let range = Pages { from: i * pages, to: (!last).then_some((i + 1) * pages) };
            (range, u64::try_from(bytes).unwrap_or(u64::MAX))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PAGE: u64 = 8192;
    const MIB: u64 = 1 << 20;

    fn check(heap: u64, divided: bool, parallel: usize) -> Vec<String> {
        let size = Size { heap, total: heap + heap / 2, page: PAGE };
        let own = Piece { size, divides: divided };
        splits(&TableId::new("s", "t"), own, None, parallel, 128 * MIB).into_iter().map(|s| s.part).collect()
    }

    #[test]
    fn sizes() {
        assert_eq!(check(0, true, 2), ["whole"]);
        assert_eq!(check(80 * MIB, true, 16), ["whole"]);
        assert_eq!(check(256 * MIB, false, 2), ["whole"]);
        assert_eq!(check(128 * MIB + PAGE, true, 2), ["pages:0-8193", "pages:8193-"]);
        assert_eq!(check(995 * MIB, true, 2).len(), 8);
        assert_eq!(check(100 << 30, true, 1).len(), 150, "no split above 1 GiB");
        assert_eq!(check(64 << 30, true, 16).len(), 96);
        let toasted = Size { heap: 10 * PAGE, total: 512 * MIB, page: PAGE };
        let toasted = Piece { size: toasted, divides: true };
        let parts = |smallest| splits(&TableId::new("s", "t"), toasted, None, 2, smallest).len();
        assert_eq!((parts(128 * MIB), parts(1)), (4, 5), "a small heap with a large TOAST is divided, by pages");
    }

    #[test]
    fn conditions() {
        let check = |text: &str| {
            let part: Part = text.parse()?;
            assert_eq!(part.to_string(), text);
            Ok(match part {
                Part::Pages(pages) | Part::LeafPages(_, pages) => pages.condition(),
                Part::Whole | Part::Leaves { .. } => String::new(),
            })
        };
        assert_eq!(check("leaves:3-17").as_deref(), Ok(""));
        assert_eq!(check("leaf:4:7-").as_deref(), Ok(" WHERE ctid >= '(7,0)'::tid"));
        assert_eq!(check("whole").as_deref(), Ok(""));
        assert_eq!(check("pages:0-7").as_deref(), Ok(" WHERE ctid >= '(0,0)'::tid AND ctid < '(7,0)'::tid"));
        assert_eq!(check("pages:7-").as_deref(), Ok(" WHERE ctid >= '(7,0)'::tid"));
        for bad in
            ["", "pages:", "pages:-", "pages:a-", "pages:1-x", "half", "leaves:1", "leaf:1-2", "leaf:x:1-2", "whole:1"]
        {
            let read: Result<String, ()> = check(bad);
            assert!(read.is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn parts_tile_the_table(heap in 0u64..1 << 42, parallel in 1usize..64, smallest in 16u64 << 10..1 << 31) {
            let size = Size { heap: heap / PAGE * PAGE, total: heap * 2, page: PAGE };
            prop_assume!(heap / smallest.min(1 << 30) < 100_000);
            let own = Piece { size, divides: true };
            let splits = splits(&TableId::new("s", "t"), own, None, parallel, smallest);
            let parts: Vec<Part> = splits.iter().map(|s| s.part.parse().unwrap()).collect();
            if parts.len() > 1 {
                let mut reached = 0;
                for (i, part) in parts.iter().enumerate() {
                    let Part::Pages(Pages { from, to }) = *part else { panic!("{part:?}") };
                    prop_assert_eq!(from, reached);
                    prop_assert_eq!(to.is_none(), i + 1 == parts.len());
                    reached = to.unwrap_or(u64::MAX);
                    prop_assert!(reached > from);
                }
            } else {
                prop_assert_eq!(parts[0], Part::Whole);
            }
            let bytes: u64 = splits.iter().map(|s| s.bytes).sum();
            prop_assert!(bytes <= size.total && bytes + parts.len() as u64 >= size.total);
        }

        #[test]
        fn parts_tile_every_leaf(
            leaves in prop::collection::vec((0u64..4 << 30, any::<bool>()), 1..300),
            parallel in 1usize..16,
            smallest in 1u64 << 20..1 << 30,
        ) {
            let piece = |(heap, divides): &(u64, bool)| {
                Piece { size: Size { heap: heap / PAGE * PAGE, total: *heap, page: PAGE }, divides: *divides }
            };
            let pieces: Vec<Piece> = leaves.iter().map(piece).collect();
            let splits = splits(&TableId::new("s", "t"), Piece::default(), Some(&pieces), parallel, smallest);
            // Where the next part must begin: a leaf, and a page of it.
            let (mut leaf, mut page) = (0, 0);
            for split in &splits {
                match split.part.parse().unwrap() {
                    Part::Leaves { from, to } => {
                        prop_assert_eq!((from, 0), (leaf, page));
                        prop_assert!(to > from && to - from <= MOST_LEAVES);
                        leaf = to;
                    }
                    Part::LeafPages(of, Pages { from, to }) => {
                        prop_assert_eq!((of, from), (leaf, page));
                        prop_assert!(pieces[of].divides);
                        (leaf, page) = to.map_or((leaf + 1, 0), |to| (leaf, to));
                    }
                    other => prop_assert!(false, "{:?}", other),
                }
            }
            prop_assert_eq!((leaf, page), (pieces.len(), 0));
        }
    }
}
