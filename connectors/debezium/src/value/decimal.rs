//! Exact decimal numbers: bytes and a scale, or text, to what a column holds. Pure.
//!
//! A decimal comes out exactly or not at all; text comes out as the source prints it, every digit shown.

use num_bigint::BigInt;

type Wrong = &'static str;

const RANGE: Wrong = "the value has more digits than the column's type";
const EXCESS: Wrong = "the value has more decimal places than the column's type";
const MALFORMED: Wrong = "a malformed decimal";
/// Largest scale or exponent: PostgreSQL's numbers end before it, and text of a few bytes makes no gigabyte.
const FURTHEST: i32 = 140_000;

/// A decimal number, or what is none.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Decimal {
    /// `unscaled` · 10^−`scale`.
    Small {
        unscaled: i128,
        scale: i32,
    },
    /// The same beyond 127 bits.
    Large {
        unscaled: BigInt,
        scale: i32,
    },
    NaN,
    Infinity {
        negative: bool,
    },
}

/// 10⁰ … 10³⁸.
const POWERS: [i128; 39] = {
    let mut powers = [1; 39];
    let mut i = 1;
    while i < 39 {
        powers[i] = powers[i - 1] * 10;
        i += 1;
    }
    powers
};

/// A two's complement integer of one to sixteen bytes, most significant first.
pub(crate) fn from_bytes(bytes: &[u8]) -> i128 {
    let sign = if bytes.first().is_some_and(|first| *first >= 0x80) { -1 } else { 0 };
    if bytes.len() <= 8 {
        return bytes.iter().fold(sign, |number: i64, byte| number << 8 | i64::from(*byte)).into();
    }
    bytes.iter().fold(sign.into(), |number: i128, byte| number << 8 | i128::from(*byte))
}

/// Whether a column of so many digits has room for an unscaled value.
pub(crate) fn fits(unscaled: i128, precision: u8) -> bool {
    POWERS.get(usize::from(precision)).is_some_and(|limit| unscaled.unsigned_abs() < limit.unsigned_abs())
}

/// A two's complement integer of one to fifteen bytes in padded base 64; `None` for anything else.
pub(crate) fn from_base64(text: &str) -> Option<i128> {
    /// What each character stands for; 64 for none.
    const VALUES: [u8; 256] = {
        let (mut values, alphabet, mut i) =
            ([64; 256], b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", 0);
        while i < 64 {
            values[alphabet[i as usize] as usize] = i;
            i += 1;
        }
        values
    };
    let digits = text.trim_end_matches('=').as_bytes();
    let bits = digits.len() * 6;
    let padding = text.len() - digits.len();
    if !text.len().is_multiple_of(4) || padding > 2 || !(8..=126).contains(&bits) {
        return None;
    }
    let value = |digit: &u8| Some(VALUES[usize::from(*digit)]).filter(|value| *value < 64);
    // Mostly 64 bits are enough.
    let (head, tail) = digits.split_at(digits.len().min(10));
    let head = head.iter().try_fold(0_u64, |number, digit| Some(number << 6 | u64::from(value(digit)?)))?;
    let number =
        tail.iter().try_fold(u128::from(head), |number, digit| Some(number << 6 | u128::from(value(digit)?)))?;
    // What is left over of the last digit is zero where base 64 is written as it should be.
    let (whole, over) = (bits / 8 * 8, bits % 8);
    if number.trailing_zeros() < over as u32 {
        return None;
    }
    Some((number << (128 - bits)).cast_signed() >> (128 - whole))
}

impl Decimal {
    /// From a two's complement integer, most significant byte first.
    pub(crate) fn from_bytes(bytes: &[u8], scale: i32) -> Result<Self, Wrong> {
        if bytes.is_empty() || scale.abs() > FURTHEST {
            return Err(MALFORMED);
        }
        if bytes.len() > 16 {
            return Ok(Self::Large { unscaled: BigInt::from_signed_bytes_be(bytes), scale });
        }
        Ok(Self::Small { unscaled: from_bytes(bytes), scale })
    }

    /// From text as Java's `BigDecimal` or a JSON number is written, or one of Debezium's and PostgreSQL's
    /// names for what is no number.
    pub(crate) fn from_text(text: &str) -> Result<Self, Wrong> {
        match text {
            "NaN" | "NAN" => return Ok(Self::NaN),
            "Infinity" | "POSITIVE_INFINITY" => return Ok(Self::Infinity { negative: false }),
            "-Infinity" | "NEGATIVE_INFINITY" => return Ok(Self::Infinity { negative: true }),
            _ => {}
        }
        let (mantissa, exponent) = match text.find(['e', 'E']) {
            None => (text, 0),
            Some(at) => {
                let exponent: i32 = text[at + 1..].parse().map_err(|_| MALFORMED)?;
                if exponent.abs() > FURTHEST {
                    return Err(RANGE);
                }
                (&text[..at], exponent)
            }
        };
        let (negative, digits) = match mantissa.as_bytes() {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            all => (false, all),
        };
        let (mut value, mut large, mut scale, mut point, mut any) = (0i128, false, 0i32, false, false);
        for byte in digits {
            match byte {
                b'0'..=b'9' => {
                    any = true;
                    scale += i32::from(point);
                    match value.checked_mul(10).and_then(|v| v.checked_add(i128::from(byte - b'0'))) {
                        Some(next) if !large => value = next,
                        _ => large = true,
                    }
                }
                b'.' if !point => point = true,
                _ => return Err(MALFORMED),
            }
        }
        if !any || digits.len() > FURTHEST as usize {
            return Err(MALFORMED);
        }
        let scale = scale - exponent;
        if large {
            let digits: Vec<u8> = digits.iter().copied().filter(u8::is_ascii_digit).collect();
            let unscaled = BigInt::parse_bytes(&digits, 10).ok_or(MALFORMED)?;
            return Ok(Self::Large { unscaled: if negative { -unscaled } else { unscaled }, scale });
        }
        Ok(Self::Small { unscaled: if negative { -value } else { value }, scale })
    }

    /// A whole number.
    pub(crate) fn whole(number: i64) -> Self {
        Self::Small { unscaled: number.into(), scale: 0 }
    }

    /// Appends its text without zeros that end its fraction.
    pub(crate) fn write_trimmed(&self, out: &mut Vec<u8>) {
        let from = out.len();
        self.write(out);
        if out[from..].contains(&b'.') {
            while out.last() == Some(&b'0') {
                out.pop();
            }
            if out.last() == Some(&b'.') {
                out.pop();
            }
        }
    }

    /// The value times 10^`scale`, of at most `precision` digits.
    pub(crate) fn scaled(&self, precision: u8, scale: i8) -> Result<i128, Wrong> {
        let (unscaled, from) = match self {
            Self::Small { unscaled, scale } => (*unscaled, *scale),
            // Zeros may still make it long: 10^40 · 10^-10.
            Self::Large { unscaled, scale: from } => {
                let more = i32::from(scale) - from;
                if more >= 0 {
                    return Err(RANGE);
                }
                let power = BigInt::from(10).pow(more.unsigned_abs());
                let whole = unscaled / &power;
                if &whole * &power != *unscaled {
                    return Err(EXCESS);
                }
                (i128::try_from(whole).map_err(|_| RANGE)?, scale.into())
            }
            _ => return Err("NaN or infinity in a column that is a decimal"),
        };
        let more = i32::from(scale) - from;
        let power = POWERS.get(more.unsigned_abs() as usize).copied();
        let value = match power {
            _ if unscaled == 0 => 0,
            Some(power) if more >= 0 => unscaled.checked_mul(power).ok_or(RANGE)?,
            Some(power) if unscaled % power == 0 => unscaled / power,
            Some(_) => return Err(EXCESS),
            None if more >= 0 => return Err(RANGE),
            None => return Err(EXCESS),
        };
        if fits(value, precision) { Ok(value) } else { Err(RANGE) }
    }

    /// Appends the text that PostgreSQL prints.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let (digits, negative, scale) = match self {
            Self::NaN => return out.extend_from_slice(b"NaN"),
            Self::Infinity { negative: false } => return out.extend_from_slice(b"Infinity"),
            Self::Infinity { negative: true } => return out.extend_from_slice(b"-Infinity"),
            Self::Small { unscaled, scale } => (unscaled.unsigned_abs().to_string(), *unscaled < 0, *scale),
            Self::Large { unscaled, scale } => {
                (unscaled.magnitude().to_string(), unscaled.sign() == num_bigint::Sign::Minus, *scale)
            }
        };
        if negative {
            out.push(b'-');
        }
        let digits = digits.as_bytes();
        match usize::try_from(scale) {
            Ok(0) => out.extend_from_slice(digits),
            Ok(scale) if scale < digits.len() => {
                let (whole, fraction) = digits.split_at(digits.len() - scale);
                out.extend_from_slice(whole);
                out.push(b'.');
                out.extend_from_slice(fraction);
            }
            Ok(scale) => {
                out.extend_from_slice(b"0.");
                out.resize(out.len() + scale - digits.len(), b'0');
                out.extend_from_slice(digits);
            }
            Err(_) => {
                out.extend_from_slice(digits);
                if digits != b"0" {
                    out.resize(out.len() + scale.unsigned_abs() as usize, b'0');
                }
            }
        }
    }

    /// The nearest double.
    pub(crate) fn double(&self) -> Result<f64, Wrong> {
        match self {
            Self::NaN => Ok(f64::NAN),
            Self::Infinity { negative } => Ok(if *negative { f64::NEG_INFINITY } else { f64::INFINITY }),
            _ => {
                let mut text = Vec::new();
                self.write(&mut text);
                let value: f64 = std::str::from_utf8(&text).ok().and_then(|t| t.parse().ok()).ok_or(MALFORMED)?;
                if value.is_finite() { Ok(value) } else { Err("the number is beyond the range of a double") }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    fn text(decimal: &Decimal) -> String {
        let mut out = vec![];
        decimal.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn texts_are_read_and_printed_plainly() {
        let check = |t: &str| Decimal::from_text(t).map(|d| text(&d));
        for same in ["0", "1.500", "-0.01", "12345678901234567890123456789012345678901234567890.10", "NaN", "Infinity"]
        {
            assert_eq!(check(same), Ok(same.into()));
        }
        assert_eq!(check("1E-8"), Ok("0.00000001".into()));
        assert_eq!(check("0E-10"), Ok("0.0000000000".into()));
        assert_eq!(check("-1.5E+3"), Ok("-1500".into()));
        assert_eq!(check("1E+3"), Ok("1000".into()));
        assert_eq!(check("NEGATIVE_INFINITY"), Ok("-Infinity".into()));
        for bad in ["", "-", ".", "1.2.3", "0x1", "1e", "__debezium", "1E+", "١"] {
            assert_eq!(check(bad), Err(MALFORMED), "{bad}");
        }
        assert_eq!(check("1E+2000000000"), Err(RANGE));
    }

    #[test]
    fn bytes_are_twos_complement() {
        let check = |bytes: &[u8], scale| Decimal::from_bytes(bytes, scale).map(|d| text(&d));
        assert_eq!(check(&[0x04, 0xd2], 2), Ok("12.34".into()));
        assert_eq!(check(&[0xff], 3), Ok("-0.001".into()));
        assert_eq!(check(&[5], -2), Ok("500".into()));
        assert_eq!(check(&[0x7f; 17], 0), Ok("43385334562092358133808765634594698395519".into()));
        assert_eq!(check(&[], 0), Err(MALFORMED));
    }

    #[test]
    fn a_column_takes_it_exactly_or_not() {
        let check = |t: &str, precision, scale| Decimal::from_text(t).unwrap().scaled(precision, scale);
        assert_eq!(check("12.3", 5, 2), Ok(1230));
        assert_eq!(check("12.340", 5, 2), Ok(1234));
        assert_eq!(check("12.345", 5, 2), Err(EXCESS));
        assert_eq!(check("1000", 5, 2), Err(RANGE));
        assert_eq!(check("-999.99", 5, 2), Ok(-99999));
        assert_eq!(check("0E-100", 5, 2), Ok(0));
        assert_eq!(check("1000000000000000000000000000000000000000.000E-30", 38, 0), Ok(1_000_000_000));
        assert!(check("NaN", 5, 2).is_err());
    }

    proptest! {
        /// As another decoder of base 64 has it, or not at all.
        #[test]
        fn base_64_is_read_as_its_bytes_are(
            bytes in prop::collection::vec(any::<u8>(), 1..=15),
            other in "[A-Za-z0-9+/=_ -]{0,24}",
        ) {
            let unscaled = |bytes: &[u8]| i128::try_from(BigInt::from_signed_bytes_be(bytes)).unwrap();
            prop_assert_eq!(from_base64(&STANDARD.encode(&bytes)), Some(unscaled(&bytes)));
            prop_assert_eq!(from_bytes(&bytes), unscaled(&bytes));
            if let Some(number) = from_base64(&other) {
                prop_assert_eq!(number, unscaled(&STANDARD.decode(&other).unwrap()));
            }
        }

        #[test]
        fn what_is_printed_reads_the_same(bytes in prop::collection::vec(any::<u8>(), 1..40), scale in 0i32..50) {
            let printed = text(&Decimal::from_bytes(&bytes, scale).unwrap());
            let unscaled = BigInt::from_signed_bytes_be(&bytes);
            let again = Decimal::from_text(&printed).unwrap();
            prop_assert_eq!(text(&again), printed.clone());
            prop_assert_eq!(printed.split_once('.').map_or(0, |(_, f)| f.len()), scale as usize);
            let digits: String = printed.chars().filter(|c| *c != '.').collect();
            prop_assert_eq!(BigInt::parse_bytes(digits.as_bytes(), 10).unwrap(), unscaled);
        }

        #[test]
        fn any_text_is_an_error_at_worst(text in ".{0,20}") {
            let _ = Decimal::from_text(&text).map(|d| d.scaled(10, 2));
        }
    }
}
