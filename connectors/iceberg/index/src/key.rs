//! Keys, and what they are on disk: numbers whose order is uniform, so that a key's place can be computed.
//!
//! A narrow key is mixed by a bijection: the mixed number *is* the key, and two keys never meet. A wide key is
//! a 128-bit hash already. Nothing here knows of columns; that is `encode`.

use std::fmt;

/// A key as the caller gives it. All keys of an index are of its [`Width`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// The bytes of the key themselves: at most eight, and different keys are different numbers.
    Small(u64),
    /// xxh3-128 of the key's normalised bytes. Two keys that meet here are taken for one; at 10¹² keys in a
    /// table the chance of any such pair is 10⁻¹⁵.
    Wide(u128),
}

/// How wide all keys of an index are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// [`Key::Small`]: 16 bytes on disk with its location.
    Small,
    /// [`Key::Wide`]: 24 bytes on disk with its location.
    Wide,
}

impl Key {
    /// The key's width.
    pub fn width(self) -> Width {
        match self {
            Self::Small(_) => Width::Small,
            Self::Wide(_) => Width::Wide,
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Small(n) => write!(f, "{n:#018x}"),
            Self::Wide(n) => write!(f, "{n:#034x}"),
        }
    }
}

/// A key as runs hold it: a number of uniform order and fixed width.
pub(crate) trait Mixed: Copy + Ord + Send + Sync + fmt::Debug + 'static {
    /// Bytes on disk.
    const BYTES: usize;
    /// From the caller's key; `None` when it is of the other width.
    fn mix(key: Key) -> Option<Self>;
    /// Back to the caller's key.
    fn unmix(self) -> Key;
    /// The highest 64 bits: what order and filters go by.
    fn prefix(self) -> u64;
    /// Reads the number at the start of `bytes`.
    fn read(bytes: &[u8]) -> Self;
    /// Appends the number to `bytes`.
    fn write(self, bytes: &mut Vec<u8>);
}

/// The number at `at`, little-endian.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}

const M1: u64 = 0xff51_afd7_ed55_8ccd;
const M2: u64 = 0xc4ce_b9fe_1a85_ec53;

/// The modular inverse of an odd number, by Newton's iteration (each step doubles the right bits).
const fn inverse(odd: u64) -> u64 {
    let mut x = odd;
    let mut step = 0;
    while step < 6 {
        x = x.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(x)));
        step += 1;
    }
    x
}

impl Mixed for u64 {
    const BYTES: usize = 8;

    /// MurmurHash3's finaliser: a bijection whose every output bit depends on every input bit.
    fn mix(key: Key) -> Option<Self> {
        let Key::Small(mut n) = key else { return None };
        n ^= n >> 33;
        n = n.wrapping_mul(M1);
        n ^= n >> 33;
        n = n.wrapping_mul(M2);
        Some(n ^ (n >> 33))
    }

    fn unmix(self) -> Key {
        let mut n = self;
        n ^= n >> 33;
        n = n.wrapping_mul(inverse(M2));
        n ^= n >> 33;
        n = n.wrapping_mul(inverse(M1));
        Key::Small(n ^ (n >> 33))
    }

    fn prefix(self) -> u64 {
        self
    }

    fn read(bytes: &[u8]) -> Self {
        u64_at(bytes, 0)
    }

    fn write(self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.to_le_bytes());
    }
}

impl Mixed for u128 {
    const BYTES: usize = 16;

    fn mix(key: Key) -> Option<Self> {
        match key {
            Key::Wide(n) => Some(n),
            Key::Small(_) => None,
        }
    }

    fn unmix(self) -> Key {
        Key::Wide(self)
    }

    fn prefix(self) -> u64 {
        (self >> 64) as u64
    }

    fn read(bytes: &[u8]) -> Self {
        let mut number = [0; 16];
        number.copy_from_slice(&bytes[..16]);
        u128::from_le_bytes(number)
    }

    fn write(self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn mixing_is_undone(n: u64, w: u128) {
            prop_assert_eq!(u64::mix(Key::Small(n)).unwrap().unmix(), Key::Small(n));
            prop_assert_eq!(u128::mix(Key::Wide(w)).unwrap().unmix(), Key::Wide(w));
        }
    }

    #[test]
    fn a_key_of_the_other_width_is_told() {
        assert_eq!(u64::mix(Key::Wide(1)), None);
        assert_eq!(u128::mix(Key::Small(1)), None);
    }

    #[test]
    fn sequences_are_spread() {
        let mut bins = [0u32; 64];
        for n in 0..64_000u64 {
            bins[(u64::mix(Key::Small(n)).unwrap() >> 58) as usize] += 1;
        }
        assert!(bins.iter().all(|b| (800..1200).contains(b)), "{bins:?}");
    }
}
