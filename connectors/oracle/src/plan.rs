//! Cuts tables into splits by ranges of their ROWIDs, or by a hash of their keys. Pure.
//!
//! The ranges of a table are half-open, the first and the last unbounded: together they hold every ROWID there is, of
//! whatever data object (partition), so that a row that the SCN sees lies in exactly one of them, whether or not the
//! extents of now are those of then. A row's hash is the same in every query, so that it has one share too.

use std::fmt;
use std::str::FromStr;

use connector_api::{Split, SplitId, TableId};

use crate::rowid::{self, BlockStart};
use crate::session::Bind;

/// Largest share of a table in one split, bytes: a failure repeats at most that much, and undo must last for it.
const LARGEST: u64 = 256 << 20;

/// Some of a table's rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Those whose ROWID is at least `from` and below `to`.
    Rowids { from: Option<String>, to: Option<String> },
    /// Those whose key's hash leaves this number when it is divided by `of`.
    Share { number: u32, of: u32 },
}

impl Default for Part {
    /// All of them.
    fn default() -> Self {
        Self::Rowids { from: None, to: None }
    }
}

/// What a share's text begins with: no ROWID has a colon.
const SHARE: &str = "hash:";

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rowids { from, to } => {
                write!(f, "{}:{}", from.as_deref().unwrap_or_default(), to.as_deref().unwrap_or_default())
            }
            Self::Share { number, of } => write!(f, "{SHARE}{number}/{of}"),
        }
    }
}

impl FromStr for Part {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if let Some(share) = text.strip_prefix(SHARE) {
            let (number, of) = share.split_once('/').ok_or(())?;
            let (number, of) = (number.parse().map_err(drop)?, of.parse().map_err(drop)?);
            return if number < of { Ok(Self::Share { number, of }) } else { Err(()) };
        }
        let bound = |text: &str| match text {
            "" => Ok(None),
            rowid if rowid::is_rowid(rowid) => Ok(Some(rowid.to_owned())),
            _ => Err(()),
        };
        let (from, to) = text.split_once(':').ok_or(())?;
        Ok(Self::Rowids { from: bound(from)?, to: bound(to)? })
    }
}

impl Part {
    /// The SQL condition that selects it, with placeholders from `:2` on (`:1` is the SCN), and their values; `hash` is the
    /// expression that shares are told apart by.
    pub(crate) fn condition(&self, hash: &str) -> (String, Vec<Bind<'_>>) {
        match self {
            Self::Rowids { from: None, to: None } => (String::new(), vec![]),
            Self::Rowids { from: Some(from), to: None } => {
                (" WHERE ROWID >= CHARTOROWID(:2)".into(), vec![Bind::Text(from)])
            }
            Self::Rowids { from: None, to: Some(to) } => {
                (" WHERE ROWID < CHARTOROWID(:2)".into(), vec![Bind::Text(to)])
            }
            Self::Rowids { from: Some(from), to: Some(to) } => {
                let both = " WHERE ROWID >= CHARTOROWID(:2) AND ROWID < CHARTOROWID(:3)";
                (both.into(), vec![Bind::Text(from), Bind::Text(to)])
            }
            Self::Share { number, of } => (
                format!(" WHERE MOD({hash}, :2) = :3"),
                vec![Bind::Number((*of).into()), Bind::Number((*number).into())],
            ),
        }
    }
}

/// Blocks that lie together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Extent {
    pub(crate) object: u32,
    pub(crate) relative_file: u32,
    pub(crate) block: u32,
    pub(crate) blocks: u32,
    pub(crate) bytes: u64,
}

/// How large a split of a table should be, bytes: at least `smallest`, and enough of them for `parallel` readers to end
/// together.
pub(crate) fn wanted(total: u64, parallel: usize, smallest: u64) -> u64 {
    (total / (4 * parallel.max(1) as u64)).clamp(smallest.min(LARGEST), LARGEST).max(1)
}

/// Where to cut these extents into parts of about `wanted` bytes.
pub(crate) fn cuts(mut extents: Vec<Extent>, wanted: u64) -> Vec<String> {
    extents.sort_unstable();
    let mut cuts: Vec<BlockStart> = vec![];
    // Bytes since the last cut.
    let mut filled = 0;
    for extent in extents {
        let per_block = (extent.bytes / u64::from(extent.blocks.max(1))).max(1);
        let mut block = extent.block;
        let end = extent.block.saturating_add(extent.blocks);
        while block < end {
            if filled >= wanted {
                cuts.push(BlockStart::new(extent.object, extent.relative_file, block));
                filled = 0;
            }
            let missing = u32::try_from((wanted - filled).div_ceil(per_block)).unwrap_or(u32::MAX);
            let taken = missing.min(end - block);
            (block, filled) = (block + taken, filled + u64::from(taken) * per_block);
        }
    }
    cuts.sort_unstable();
    cuts.dedup();
    cuts.iter().map(BlockStart::to_string).collect()
}

/// Of sampled ROWIDs, those that divide the table into so many parts of about as many rows.
pub(crate) fn sampled_cuts(mut rowids: Vec<String>, parts: usize) -> Vec<String> {
    rowids.retain(|rowid| rowid::is_rowid(rowid));
    rowids.sort_by_cached_key(|rowid| rowid::order(rowid));
    rowids.dedup();
    let parts = parts.clamp(1, rowids.len().max(1));
    (1..parts).filter_map(|i| rowids.get(i * rowids.len() / parts).cloned()).collect()
}

/// The parts between these cuts, which are in the order of ROWIDs.
pub(crate) fn ranges(cuts: &[String]) -> Vec<Part> {
    let part = |i: usize| Part::Rowids { from: i.checked_sub(1).map(|i| cuts[i].clone()), to: cuts.get(i).cloned() };
    (0..=cuts.len()).map(part).collect()
}

/// So many parts by the hash of a key.
pub(crate) fn shares(of: u32) -> Vec<Part> {
    (0..of).map(|number| Part::Share { number, of }).collect()
}

/// The splits of a table of so many bytes.
pub(crate) fn splits(table: &TableId, parts: &[Part], bytes: u64) -> Vec<Split> {
    let count = parts.len() as u64;
    let split = |(i, part): (u64, &Part)| Split {
        id: SplitId::new(format!("{table}/{i}")),
        table: table.clone(),
        part: part.to_string(),
        bytes: bytes / count + u64::from(i < bytes % count),
    };
    (0..).zip(parts).map(split).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;

    fn extent(object: u32, block: u32, blocks: u32) -> Extent {
        Extent { object, relative_file: 4, block, blocks, bytes: u64::from(blocks) * 8192 }
    }

    #[test]
    fn conditions() {
        let check = |text: &str| {
            let part: Part = text.parse()?;
            assert_eq!(part.to_string(), text);
            let (condition, binds) = part.condition("ORA_HASH(\"ID\")");
            Ok(format!("{condition} {}", binds.len()))
        };
        let (a, b) = ("AAAPecAAFAAAABSAAA", "AAAPecAAFAAAABTAAA");
        assert_eq!(check(":").as_deref(), Ok(" 0"));
        assert_eq!(check(&format!("{a}:")).as_deref(), Ok(" WHERE ROWID >= CHARTOROWID(:2) 1"));
        assert_eq!(check(&format!(":{b}")).as_deref(), Ok(" WHERE ROWID < CHARTOROWID(:2) 1"));
        let both = " WHERE ROWID >= CHARTOROWID(:2) AND ROWID < CHARTOROWID(:3) 2";
        assert_eq!(check(&format!("{a}:{b}")).as_deref(), Ok(both));
        assert_eq!(check("hash:3/8").as_deref(), Ok(" WHERE MOD(ORA_HASH(\"ID\"), :2) = :3 2"));
        for bad in ["", "a:", ":b", a, "AAAPecAAFAAAABSAA-:", "hash:", "hash:8/8", "hash:0/0", "hash:a/2"] {
            let read: Result<String, ()> = check(bad);
            assert!(read.is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes() {
        assert_eq!([wanted(0, 2, 64 * MIB), wanted(100 * MIB, 2, 64 * MIB)], [64 * MIB; 2]);
        assert_eq!([wanted(1 << 40, 2, 64 * MIB), wanted(10, 1, u64::MAX)], [LARGEST; 2]);
        let cut = |extents: &[Extent], wanted| cuts(extents.to_vec(), wanted);
        assert_eq!(cut(&[], MIB), [""; 0]);
        assert_eq!(cut(&[extent(1, 128, 8)], MIB), [""; 0]);
        let start = |object, block| BlockStart::new(object, 4, block).to_string();
        assert_eq!(cut(&[extent(1, 128, 256)], MIB), [start(1, 256)], "within an extent");
        assert_eq!(cut(&[extent(2, 128, 128), extent(1, 512, 128)], MIB), [start(2, 128)], "between two");
    }

    #[test]
    fn samples() {
        let rowids = |blocks: &[u32]| blocks.iter().map(|b| BlockStart::new(1, 4, *b).to_string()).collect::<Vec<_>>();
        let check = |blocks: &[u32], parts| sampled_cuts(rowids(blocks), parts);
        assert_eq!(check(&[9, 3, 7, 5], 2), rowids(&[7]));
        assert_eq!(check(&[9, 3, 3], 8), rowids(&[9]));
        assert_eq!(check(&[], 4), [""; 0]);
    }

    proptest! {
        /// Every block of the extents, and every ROWID besides, is in exactly one part, and no part is far larger than
        /// it should be.
        #[test]
        fn parts_tile_the_table(
            lengths in prop::collection::vec((1u32..4, 1u32..200), 1..20),
            blocks_wanted in 1u64..300,
        ) {
            let mut next = 0;
            let mut extents: Vec<Extent> = lengths.iter().map(|(gap, blocks)| {
                let start = next + gap;
                next = start + blocks;
                extent(1 + start % 3, start, *blocks)
            }).collect();
            extents.reverse();
            let cuts = cuts(extents.clone(), blocks_wanted * 8192);
            let order = |rowid: &String| rowid::order(rowid);
            prop_assert!(cuts.windows(2).all(|w| order(&w[0]) < order(&w[1])));
            let total: u64 = extents.iter().map(|e| e.bytes).sum();
            let splits = splits(&TableId::new("S", "T"), &ranges(&cuts), total);
            prop_assert_eq!(splits.iter().map(|s| s.bytes).sum::<u64>(), total);
            let bounds = |s: &Split| match s.part.parse() {
                Ok(Part::Rowids { from, to }) => (from, to),
                other => panic!("{other:?}"),
            };
            let parts: Vec<_> = splits.iter().map(bounds).collect();
            prop_assert!(parts[0].0.is_none() && parts[parts.len() - 1].1.is_none());
            prop_assert!(parts.windows(2).all(|w| w[0].1.is_some() && w[0].1 == w[1].0));
            let mut sizes = vec![0u64; parts.len()];
            for e in &extents {
                for block in e.block..e.block + e.blocks {
                    let rowid = order(&BlockStart::new(e.object, 4, block).to_string());
                    let part = cuts.iter().take_while(|cut| order(cut) <= rowid).count();
                    sizes[part] += 1;
                }
            }
            prop_assert!(sizes.iter().all(|n| *n <= blocks_wanted), "{:?} {}", sizes, blocks_wanted);
            prop_assert!(sizes[..sizes.len() - 1].iter().all(|n| *n == blocks_wanted));
        }
    }
}
