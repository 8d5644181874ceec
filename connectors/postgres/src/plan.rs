//! Cuts tables into splits by ranges of their pages (`ctid`). Pure.
//!
//! The ranges of a table tile all of its pages, the last one open-ended: a row that the snapshot sees lies
//! in exactly one of them.

use std::fmt;
use std::str::FromStr;

use connector_api::{Split, SplitId, TableId};

/// Largest share of a table in one split, bytes with TOAST: a failure repeats at most that much.
const LARGEST: u64 = 1 << 30;

/// A part of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// All of it.
    Whole,
    /// Pages `from..to`; `None` is to the end, wherever that is.
    Pages { from: u64, to: Option<u64> },
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => f.write_str("whole"),
            Self::Pages { from, to: Some(to) } => write!(f, "pages:{from}-{to}"),
            Self::Pages { from, to: None } => write!(f, "pages:{from}-"),
        }
    }
}

impl FromStr for Part {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if text == "whole" {
            return Ok(Self::Whole);
        }
        let (from, to) = text.strip_prefix("pages:").and_then(|t| t.split_once('-')).ok_or(())?;
        let to = if to.is_empty() { None } else { Some(to.parse().map_err(|_| ())?) };
        Ok(Self::Pages { from: from.parse().map_err(|_| ())?, to })
    }
}

impl Part {
    /// The SQL condition that selects it.
    pub(crate) fn condition(&self) -> String {
        match self {
            Self::Whole => String::new(),
            Self::Pages { from, to: None } => format!(" WHERE ctid >= '({from},0)'::tid"),
            Self::Pages { from, to: Some(to) } => {
                format!(" WHERE ctid >= '({from},0)'::tid AND ctid < '({to},0)'::tid")
            }
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

/// The splits of a table: by pages where it can be `divided`, of at least `smallest` bytes, and enough of
/// them for `parallel` readers to end together.
pub(crate) fn splits(table: &TableId, size: Size, divided: bool, parallel: usize, smallest: u64) -> Vec<Split> {
    // A small heap may have a large TOAST, so parts are measured with it; it is taken to be spread evenly.
    let wanted = (size.total / (4 * parallel.max(1) as u64)).clamp(smallest.min(LARGEST), LARGEST).max(1);
    let page = size.page.max(1);
    let pages = size.heap.div_ceil(page).div_ceil(size.total.div_ceil(wanted).max(1)).max(1);
    let count = if divided { size.heap.div_ceil(page).div_ceil(pages).max(1) } else { 1 };
    (0..count)
        .map(|i| {
            let last = i + 1 == count;
            let part = match count {
                1 => Part::Whole,
                _ => Part::Pages { from: i * pages, to: (!last).then_some((i + 1) * pages) },
            };
            let heap = if last { size.heap.saturating_sub(i * pages * page) } else { pages * page };
            let bytes = u128::from(size.total) * u128::from(heap) / u128::from(size.heap.max(1));
            Split {
                id: SplitId::new(format!("{table}/{i}")),
                table: table.clone(),
                part: part.to_string(),
                bytes: if count == 1 { size.total } else { u64::try_from(bytes).unwrap_or(u64::MAX) },
            }
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
        splits(&TableId::new("s", "t"), size, divided, parallel, 128 * MIB).into_iter().map(|s| s.part).collect()
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
        let parts = |smallest| splits(&TableId::new("s", "t"), toasted, true, 2, smallest).len();
        assert_eq!((parts(128 * MIB), parts(1)), (4, 5), "a small heap with a large TOAST is divided, by pages");
    }

    #[test]
    fn conditions() {
        let check = |part: &str| part.parse::<Part>().map(|p| p.condition());
        assert_eq!(check("whole").as_deref(), Ok(""));
        assert_eq!(check("pages:0-7").as_deref(), Ok(" WHERE ctid >= '(0,0)'::tid AND ctid < '(7,0)'::tid"));
        assert_eq!(check("pages:7-").as_deref(), Ok(" WHERE ctid >= '(7,0)'::tid"));
        for bad in ["", "pages:", "pages:-", "pages:a-", "pages:1-x", "half"] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn parts_tile_the_table(heap in 0u64..1 << 42, parallel in 1usize..64, smallest in 16u64 << 10..1 << 31) {
            let size = Size { heap: heap / PAGE * PAGE, total: heap * 2, page: PAGE };
            prop_assume!(heap / smallest.min(1 << 30) < 100_000);
            let splits = splits(&TableId::new("s", "t"), size, true, parallel, smallest);
            let parts: Vec<Part> = splits.iter().map(|s| s.part.parse().unwrap()).collect();
            if parts.len() > 1 {
                let mut reached = 0;
                for (i, part) in parts.iter().enumerate() {
                    let Part::Pages { from, to } = *part else { panic!("{part:?}") };
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
    }
}
