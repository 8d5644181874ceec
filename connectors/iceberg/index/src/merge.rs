//! Merging: which runs, and how several become one stream. Streaming; memory is the cursors' buffers.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

use crate::entry::{Entry, Gone};
use crate::error::Result;
use crate::key::Mixed;
use crate::run::Cursor;

/// Runs that a merge leaves at most.
pub(crate) const MOST_RUNS: usize = 20;
/// Runs of a tier that are merged into one of the next.
const FAN: usize = 6;
/// Entries of a run of the lowest tier, at most: 1 MiB of small keys.
const LOWEST: u64 = 1 << 16;

/// How sources that speak of the same key are to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// They are of different ages, newest first: the newest that replaces ends what counts.
    Ages,
    /// They are parts of one change: all count.
    Parts,
}

/// The runs to merge next, given the entries of each, oldest first.
///
/// Tiers by powers of [`FAN`]; a run is never of a lower tier than a newer one. [`FAN`] runs of a tier are merged.
/// When the newer runs together outweigh the oldest, everything is: most of that is shadowed or soon will be.
pub(crate) fn pick(entries: &[u64]) -> Option<Range<usize>> {
    if entries.len() < 2 {
        return None;
    }
    let newer: u64 = entries[1..].iter().sum();
    if newer > entries[0].max(LOWEST) {
        return Some(0..entries.len());
    }
    let mut groups: Vec<(u32, Range<usize>)> = Vec::new();
    for (at, size) in entries.iter().enumerate().rev() {
        let tier = size.div_ceil(LOWEST).max(1).ilog(FAN as u64);
        match groups.last_mut() {
            Some((of, range)) if *of >= tier => range.start = at,
            _ => groups.push((tier, at..at + 1)),
        }
    }
    if let Some((_, range)) = groups.iter().find(|(_, range)| range.len() >= FAN) {
        return Some(range.clone());
    }
    // Too many runs, though no tier is full: the two neighbours that cost least.
    let pair = |at: &usize| entries[*at] + entries[*at + 1];
    (entries.len() > MOST_RUNS).then(|| (0..entries.len() - 1).min_by_key(pair).map(|at| at..at + 2)).flatten()
}

/// Passes the merged content of the sources to `out`, sorted. Locations in files that are gone are left out. With
/// `oldest` nothing older than the sources is left, so that what says "nothing" is left out too.
pub(crate) fn merge<K: Mixed>(
    sources: &mut [Cursor<K>],
    rule: Rule,
    oldest: bool,
    gone: &Gone,
    mut out: impl FnMut(K, Entry) -> Result<()>,
) -> Result<()> {
    let mut heap = BinaryHeap::with_capacity(sources.len());
    for (at, source) in sources.iter().enumerate() {
        heap.extend(source.peek().map(|(key, _)| Reverse((key, at))));
    }
    let mut same = Vec::with_capacity(sources.len());
    while let Some(Reverse((key, first))) = heap.pop() {
        same.clear();
        same.push(first);
        while let Some(Reverse((other, at))) = heap.peek().copied()
            && other == key
        {
            heap.pop();
            same.push(at);
        }
        one_key(key, sources, &same, rule, oldest, gone, &mut out)?;
        heap.extend(same.iter().filter_map(|at| Some(Reverse((sources[*at].peek()?.0, *at)))));
    }
    Ok(())
}

/// The entry at which the source stands, if it is of that key.
fn at_key<K: Mixed>(source: &Cursor<K>, key: K) -> Option<Entry> {
    source.peek().filter(|(of, _)| *of == key).map(|(_, entry)| entry)
}

/// Passes what the sources in `same`, ascending, say of a key, and moves them behind it.
fn one_key<K: Mixed>(
    key: K,
    sources: &mut [Cursor<K>],
    same: &[usize],
    rule: Rule,
    oldest: bool,
    gone: &Gone,
    out: &mut impl FnMut(K, Entry) -> Result<()>,
) -> Result<()> {
    let replaces = |at: usize| at_key(&sources[at], key).is_some_and(Entry::replaces);
    let last = same.iter().position(|at| replaces(*at));
    let (counts, shadowed) = match (rule, last) {
        (Rule::Ages, Some(last)) => same.split_at(last + 1),
        _ => (same, &[][..]),
    };
    for at in shadowed {
        while at_key(&sources[*at], key).is_some() {
            sources[*at].advance()?;
        }
    }
    let replaces = oldest || last.is_some();
    let mut passed = None;
    loop {
        // Sources are few where a key is in several: a scan finds the least location.
        let mut least: Option<(Entry, usize)> = None;
        for at in counts {
            while let Some(entry) = at_key(&sources[*at], key) {
                let wanted = entry.location().filter(|l| !gone.contains(l.file)).map(|l| Entry::new(l, replaces));
                if let Some(entry) = wanted {
                    if least.is_none_or(|(other, _)| entry < other) {
                        least = Some((entry, *at));
                    }
                    break;
                }
                sources[*at].advance()?;
            }
        }
        let Some((entry, at)) = least else { break };
        sources[at].advance()?;
        if passed != Some(entry) {
            out(key, entry)?;
            passed = Some(entry);
        }
    }
    if passed.is_none() && replaces && !oldest {
        out(key, Entry::NOTHING)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(entries: &[u64], expected: Option<Range<usize>>) {
        assert_eq!(pick(entries), expected, "{entries:?}");
    }

    #[test]
    fn the_runs_to_merge() {
        const M: u64 = 1_000_000;
        check(&[], None);
        check(&[5], None);
        check(&[M, 10, 10], None);
        check(&[10 * M, 10, 10, 10, 10, 10, 10], Some(1..7));
        // A small run behind larger ones waits with them.
        check(&[10 * M, 10, M, 10, 10], None);
        // The newer ones outweigh the oldest.
        check(&[M, 900_000, 100_001], Some(0..3));
        check(&[10, LOWEST], None);
        check(&[10, LOWEST + 1], Some(0..2));
    }

    /// Commits of any sizes leave few runs, and an entry is rewritten seldom.
    #[test]
    fn runs_stay_few_and_entries_are_seldom_rewritten() {
        for commit in [1, 1_000, 100_000, 1_000_000] {
            let (mut runs, mut written, mut most) = (vec![50_000_000], 0u64, 0);
            for _ in 0..2_000 {
                runs.push(commit);
                while let Some(range) = pick(&runs) {
                    let size = runs[range.clone()].iter().sum();
                    written += size;
                    runs.splice(range, [size]);
                }
                most = most.max(runs.len());
            }
            assert!(most <= MOST_RUNS + 1, "{most} runs with commits of {commit}");
            // Of tiny commits the merges cost nothing worth counting.
            assert!(commit == 1 || written / (2_000 * commit) <= 8 + 65_536 / commit, "{commit}: {written}");
        }
    }
}
