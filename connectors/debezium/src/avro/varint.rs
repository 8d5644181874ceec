//! Avro's whole numbers: zigzag varints (Avro 1.12, "Binary encoding"). Pure.

/// A number at the beginning of bytes, and of how many it is; `None` where there is none of 64 bits.
#[inline(always)]
pub(crate) fn read(bytes: &[u8]) -> Option<(i64, usize)> {
    const TOPS: u64 = (u64::MAX / 255) << 7;
    let first = *bytes.first()?;
    if first < 0x80 {
        return Some((unzigzag(u64::from(first)), 1));
    }
    if let Some(eight) = bytes.first_chunk::<8>() {
        let word = u64::from_le_bytes(*eight);
        // The first byte without its top bit is the last.
        let last = !word & TOPS;
        if last != 0 {
            let bits = last.trailing_zeros() + 1;
            return Some((unzigzag(packed(word & u64::MAX >> (64 - bits))), bits as usize / 8));
        }
        // So long are today's nanoseconds since 1970, of which each event has some.
        if let Some(ninth) = bytes.get(8).filter(|byte| **byte < 0x80) {
            return Some((unzigzag(packed(word) | u64::from(*ninth) << 56), 9));
        }
    }
    byte_by_byte(bytes)
}

/// What is left of eight bytes without their top bits, moved together in three steps.
#[inline(always)]
fn packed(word: u64) -> u64 {
    let word = (word & 0x007f_007f_007f_007f) | (word & 0x7f00_7f00_7f00_7f00) >> 1;
    let word = (word & 0x0000_3fff_0000_3fff) | (word & 0x3fff_0000_3fff_0000) >> 2;
    (word & 0x0000_0000_0fff_ffff) | (word & 0x0fff_ffff_0000_0000) >> 4
}

fn byte_by_byte(bytes: &[u8]) -> Option<(i64, usize)> {
    let mut value = 0;
    for (at, byte) in bytes.iter().take(10).enumerate() {
        // Of the tenth only one bit fits.
        if at == 9 && *byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (7 * at);
        if *byte < 0x80 {
            return Some((unzigzag(value), at + 1));
        }
    }
    None
}

#[inline(always)]
fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

/// A number as Avro writes it.
#[cfg(test)]
pub(super) fn written(number: i64) -> Vec<u8> {
    let (mut rest, mut bytes) = ((number << 1 ^ number >> 63).cast_unsigned(), vec![]);
    while rest >= 0x80 {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_number_is_read_as_it_was_written(number in any::<i64>(), shift in 0_u32..64, more in any::<[u8; 9]>()) {
            let number = number >> shift;
            let mut bytes = written(number);
            let length = bytes.len();
            prop_assert_eq!(read(&bytes), Some((number, length)));
            prop_assert_eq!(read(&bytes[..length - 1]), None);
            bytes.extend(more);
            prop_assert_eq!(read(&bytes), Some((number, length)));
        }

        #[test]
        fn both_ways_are_one(bytes in prop::collection::vec(prop_oneof![Just(0x80), any::<u8>()], 0..12)) {
            prop_assert_eq!(read(&bytes), byte_by_byte(&bytes));
        }
    }
}
