//! Runs of decimal digits, eight at a time. Pure.

/// The digits that bytes begin with: their number, modulo 2⁶⁴, and how many there are. Numbers of at most 19 digits fit.
#[inline(always)]
pub(crate) fn leading(bytes: &[u8]) -> (u64, usize) {
    let (mut number, mut length) = (0_u64, 0);
    while let Some(eight) = bytes.get(length..).and_then(|left| left.first_chunk::<8>()).and_then(|b| of_eight(*b)) {
        number = number.wrapping_mul(100_000_000).wrapping_add(eight);
        length += 8;
    }
    while let Some(digit) = bytes.get(length).map(|b| b.wrapping_sub(b'0')).filter(|d| *d < 10) {
        number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
        length += 1;
    }
    (number, length)
}

/// The number that eight digits are: neighbours are joined in three steps
/// (<https://lemire.me/blog/2022/01/21/swar-explained-parsing-eight-digits/>).
#[inline(always)]
fn of_eight(bytes: [u8; 8]) -> Option<u64> {
    const ZEROS: u64 = u64::from_le_bytes([b'0'; 8]);
    // Above 9 a byte that becomes 128 or more with so much added to it.
    const OVER: u64 = u64::from_le_bytes([118; 8]);
    const TOPS: u64 = u64::from_le_bytes([128; 8]);
    let digits = u64::from_le_bytes(bytes) ^ ZEROS;
    if (digits | (digits & !TOPS).wrapping_add(OVER)) & TOPS != 0 {
        return None;
    }
    let twos = (digits.wrapping_mul(10).wrapping_add(digits >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (twos.wrapping_mul(100).wrapping_add(twos >> 16)) & 0x0000_ffff_0000_ffff;
    Some((fours.wrapping_mul(10_000).wrapping_add(fours >> 32)) & 0xffff_ffff)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn as_one_after_the_other(digits in "[0-9]{0,19}", behind in "([^0-9].{0,9})?") {
            let text = format!("{digits}{behind}");
            prop_assert_eq!(leading(text.as_bytes()), (digits.parse().unwrap_or(0), digits.len()));
        }

        #[test]
        fn what_is_no_digit_is_none(mut bytes: [u8; 8], at in 0..8_usize, other: u8) {
            bytes.iter_mut().for_each(|b| *b = b'0' + *b % 10);
            bytes[at] = other;
            let length = bytes.iter().position(|b| !b.is_ascii_digit()).unwrap_or(8);
            let number = std::str::from_utf8(&bytes[..length]).unwrap().parse().unwrap_or(0);
            prop_assert_eq!(leading(&bytes), (number, length));
        }
    }
}
