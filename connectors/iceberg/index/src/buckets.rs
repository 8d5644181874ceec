//! Sorting by keys of uniform order. Pure.

use crate::key::Mixed;

/// Pairs in a bucket, about: so few are sorted within the processor's nearest memory.
const BUCKET: usize = 64;
/// Most buckets, as a power of two: of so many the next places fit into that memory too.
const MOST: u32 = 12;

/// Sorts pairs as `sort_unstable` would. Keys are uniform, so first each pair goes to the bucket of its highest bits,
/// where it lies but for a few places; whatever the keys are, it comes out the same.
///
/// In place, after McIlroy, Bostic and McIlroy, "Engineering Radix Sort" (1993), American flag sort.
pub(crate) fn sort<K: Mixed, T: Copy + Ord>(pairs: &mut [(K, T)]) {
    let bits = (pairs.len() / BUCKET).checked_ilog2().unwrap_or(0).min(MOST);
    if bits == 0 {
        return pairs.sort_unstable();
    }
    let bucket = |key: K| (key.prefix() >> (u64::BITS - bits)) as usize;
    let mut ends = vec![0; 1 << bits];
    pairs.iter().for_each(|(key, _)| ends[bucket(*key)] += 1);
    let mut next = Vec::with_capacity(ends.len());
    let mut all = 0;
    for end in &mut ends {
        next.push(all);
        all += *end;
        *end = all;
    }
    for at in 0..ends.len() {
        while next[at] < ends[at] {
            let of = bucket(pairs[next[at]].0);
            pairs.swap(next[at], next[of]);
            next[of] += 1;
        }
    }
    let mut start = 0;
    for end in ends {
        pairs[start..end].sort_unstable();
        start = end;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::key::Key;

    fn check<K: Mixed>(mut pairs: Vec<(K, u32)>) {
        let mut sorted = pairs.clone();
        sorted.sort_unstable();
        sort(&mut pairs);
        assert_eq!(pairs, sorted);
    }

    /// So many that there are no more buckets for more.
    #[test]
    fn more_than_the_buckets_are_for() {
        let key = |i: u64| u64::mix(Key::Small(i)).unwrap();
        check((0..(2 * (BUCKET as u64)) << MOST).zip(0..).map(|(i, place)| (key(i / 3), place)).collect());
    }

    proptest! {
        #[test]
        fn as_any_sort_does(keys in prop::collection::vec(any::<u64>(), 0..3000), few in 1..5000_u64) {
            let numbered = || keys.iter().zip((0..).map(|i: u32| i % 7));
            check(numbered().map(|(key, i)| (*key, i)).collect());
            // Not uniform, and with pairs of one key.
            check(numbered().map(|(key, i)| (key % few, i)).collect());
            check(numbered().map(|(key, i)| (u64::mix(Key::Small(key % few)).unwrap(), i)).collect());
            check(numbered().map(|(key, i)| (u128::from(*key) << (few % 64), i)).collect());
        }
    }
}
