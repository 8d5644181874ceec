//! ROWIDs as text: bounds of ranges are made here, not asked of the server. Pure.
//!
//! An extended ROWID is the number of a data object, the address of a block (relative file number, block number), and
//! the row within it, printed as 6, 3, 6 and 3 digits of base 64 (Database Concepts, "Rowid Format"). They are ordered
//! by these numbers.

use std::fmt;

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// What the dictionary says is the relative file number in a bigfile tablespace; a block's address has none there.
const BIGFILE: u32 = 1024;
/// Bits of a block number behind a relative file number.
const BLOCK_BITS: u32 = 22;

/// The first ROWID that a block may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct BlockStart {
    object: u32,
    address: u32,
}

impl BlockStart {
    /// Of a block of a data object.
    pub(crate) fn new(object: u32, relative_file: u32, block: u32) -> Self {
        let address = match relative_file {
            BIGFILE => block,
            file => file << BLOCK_BITS | block & ((1 << BLOCK_BITS) - 1),
        };
        Self { object, address }
    }
}

impl fmt::Display for BlockStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (file, block) = (self.address >> BLOCK_BITS, self.address & ((1 << BLOCK_BITS) - 1));
        for (number, digits) in [(self.object, 6), (file, 3), (block, 6), (0, 3)] {
            for digit in (0..digits).rev() {
                let place = number.checked_shr(6 * digit).unwrap_or(0) & 63;
                write!(f, "{}", char::from(DIGITS[place as usize]))?;
            }
        }
        Ok(())
    }
}

/// Whether a text is an extended ROWID.
pub(crate) fn is_rowid(text: &str) -> bool {
    text.len() == 18 && text.bytes().all(|b| DIGITS.contains(&b))
}

/// A key by which texts of ROWIDs are ordered as the ROWIDs are.
pub(crate) fn order(text: &str) -> Vec<usize> {
    text.bytes().map(|b| DIGITS.iter().position(|d| *d == b).unwrap_or(DIGITS.len())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn as_oracle_prints_them() {
        let check = |object, file, block| BlockStart::new(object, file, block).to_string();
        assert_eq!(check(0, 0, 0), "AAAAAAAAAAAAAAAAAA");
        // The ROWID in the manual's example: AAAPecAAFAAAABSAAA is in file 5, block 82.
        assert_eq!(check(63_388, 5, 82), "AAAPecAAFAAAABSAAA");
        assert_eq!(check(u32::MAX, 1023, (1 << 22) - 1), "D/////AP/AAP///AAA");
        assert_eq!(check(1, 1024, 7), "AAAAABAAAAAAAAHAAA", "a bigfile has no file number");
    }

    proptest! {
        #[test]
        fn texts_are_ordered_as_blocks(a in any::<(u32, u16, u32)>(), b in any::<(u32, u16, u32)>()) {
            let make = |(object, file, block): (u32, u16, u32)| BlockStart::new(object, u32::from(file % 1024), block % (1 << 22));
            let (a, b) = (make(a), make(b));
            prop_assert!(is_rowid(&a.to_string()));
            prop_assert_eq!(order(&a.to_string()).cmp(&order(&b.to_string())), a.cmp(&b));
        }
    }
}
