//! Oracle's NUMBER: up to 40 decimal digits as base-100 digits behind an exponent. It is kept as it is stored and
//! sent, which sorts as the numbers do.
//!
//! Source of the format: python-oracledb 26.1.0, `decode_number` in `impl/base/decoders.pyx`.

use std::fmt;
use std::str::FromStr;

/// The most base-100 digits.
const DIGITS: usize = 20;

/// A number. Equal numbers are equal bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Number {
    // Unused bytes are zero, so that the order of arrays is that of the byte strings.
    bytes: [u8; DIGITS + 2],
    length: u8,
}

/// Not a number, or one that NUMBER cannot hold.
#[derive(Debug, PartialEq, Eq)]
pub struct NotANumber;

impl Number {
    /// Zero.
    pub const ZERO: Self = {
        let mut bytes = [0; DIGITS + 2];
        bytes[0] = 0x80;
        Self { bytes, length: 1 }
    };

    /// As it is sent.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    /// From what was sent; anything that is not of the right form gives a number too, or zero.
    pub fn from_bytes(sent: &[u8]) -> Self {
        if sent.is_empty() || sent.len() > DIGITS + 2 {
            return Self::ZERO;
        }
        let mut bytes = [0; DIGITS + 2];
        bytes[..sent.len()].copy_from_slice(sent);
        Self { bytes, length: sent.len() as u8 }
    }

    /// `mantissa / 10^scale`.
    ///
    /// # Errors
    /// When it has more digits than a NUMBER.
    pub fn new(mantissa: i128, scale: i32) -> Result<Self, NotANumber> {
        let mut digits = [0_u8; 40];
        let mut rest = mantissa.unsigned_abs();
        let mut from = digits.len();
        while rest > 0 {
            from -= 1;
            digits[from] = (rest % 10) as u8;
            rest /= 10;
        }
        Self::from_digits(mantissa < 0, &digits[from..], -scale)
    }

    /// From decimal digits and the power of ten of the last one.
    fn from_digits(negative: bool, mut digits: &[u8], mut exponent: i32) -> Result<Self, NotANumber> {
        while let [0, rest @ ..] = digits {
            digits = rest;
        }
        while let [rest @ .., 0] = digits {
            digits = rest;
            exponent += 1;
        }
        if digits.is_empty() {
            return Ok(Self::ZERO);
        }
        let mut pairs = [0_u8; DIGITS + 1];
        let mut count = 0;
        // Base-100 digits begin at even powers of ten.
        let mut top = exponent + digits.len() as i32;
        let mut at = 0;
        if top.rem_euclid(2) == 1 {
            pairs[0] = digits[0];
            (count, at, top) = (1, 1, top + 1);
        }
        while at < digits.len() {
            if count >= DIGITS {
                return Err(NotANumber);
            }
            pairs[count] = digits[at] * 10 + digits.get(at + 1).copied().unwrap_or(0);
            (count, at) = (count + 1, at + 2);
        }
        let power = top / 2 - 1;
        if !(-65..=62).contains(&power) {
            return Err(NotANumber);
        }
        let first = (power + 193) as u8;
        let mut number = Self::ZERO;
        number.bytes[0] = if negative { !first } else { first };
        for (to, digit) in number.bytes[1..].iter_mut().zip(&pairs[..count]) {
            *to = if negative { 101 - digit } else { digit + 1 };
        }
        number.length = 1 + count as u8;
        if negative && count < DIGITS {
            number.bytes[count + 1] = 102;
            number.length += 1;
        }
        Ok(number)
    }

    /// Sign, digits without leading or trailing zeros, and the power of ten of the last.
    fn digits(&self) -> (bool, Vec<u8>, i32) {
        let [first, rest @ ..] = self.bytes() else { return (false, Vec::new(), 0) };
        let negative = first & 0x80 == 0;
        let power = i32::from(if negative { !first } else { *first }) - 193;
        let rest = if negative { rest.strip_suffix(&[102]).unwrap_or(rest) } else { rest };
        let pairs = rest.iter().map(|b| if negative { 101_u8.saturating_sub(*b) } else { b.saturating_sub(1) });
        let mut digits: Vec<u8> = pairs.flat_map(|d| [d / 10, d % 10]).collect();
        let mut exponent = (power + 1) * 2 - digits.len() as i32;
        while digits.last() == Some(&0) {
            digits.pop();
            exponent += 1;
        }
        let zeros = digits.iter().take_while(|d| **d == 0).count();
        digits.drain(..zeros);
        (negative, digits, exponent)
    }

    /// The whole number that it is.
    pub fn whole(&self) -> Option<i128> {
        let (negative, digits, exponent) = self.digits();
        if digits.is_empty() {
            return Some(0);
        }
        let power = 10_i128.checked_pow(u32::try_from(exponent).ok()?)?;
        let value = digits.iter().try_fold(0_i128, |n, d| n.checked_mul(10)?.checked_add((*d).into()))?;
        value.checked_mul(power).map(|n| if negative { -n } else { n })
    }

    /// `(mantissa, scale)` with a scale of no less than zero, where that fits.
    pub fn scaled(&self) -> Option<(i128, i32)> {
        if let Some(whole) = self.whole() {
            return Some((whole, 0));
        }
        let (negative, digits, exponent) = self.digits();
        let value = digits.iter().try_fold(0_i128, |n, d| n.checked_mul(10)?.checked_add((*d).into()))?;
        (exponent < 0).then_some((if negative { -value } else { value }, -exponent))
    }

    /// The nearest double.
    pub fn to_f64(self) -> f64 {
        let (negative, digits, exponent) = self.digits();
        let digits: String = digits.iter().map(|d| char::from(b'0' + d)).collect();
        format!("{}{}e{exponent}", if negative { "-" } else { "" }, if digits.is_empty() { "0" } else { &digits })
            .parse()
            .unwrap_or(0.0)
    }
}

impl From<i64> for Number {
    fn from(value: i64) -> Self {
        // 19 digits always fit.
        Self::new(value.into(), 0).unwrap_or(Self::ZERO)
    }
}

impl FromStr for Number {
    type Err = NotANumber;

    /// Decimal digits with a sign, a point and an exponent, as a literal has them.
    fn from_str(text: &str) -> Result<Self, NotANumber> {
        let text = text.trim();
        let (text, exponent) = match text.find(['e', 'E']) {
            Some(at) => (&text[..at], text[at + 1..].parse::<i32>().map_err(|_| NotANumber)?),
            None => (text, 0),
        };
        let (negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        if whole.is_empty() && fraction.is_empty() {
            return Err(NotANumber);
        }
        let digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).map(|b| b.wrapping_sub(b'0')).collect();
        if digits.iter().any(|d| *d > 9) {
            return Err(NotANumber);
        }
        Self::from_digits(negative, &digits, exponent - fraction.len() as i32)
    }
}

impl fmt::Display for Number {
    /// All digits, without an exponent.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (negative, digits, exponent) = self.digits();
        let mut text: String = digits.iter().map(|d| char::from(b'0' + d)).collect();
        if exponent >= 0 {
            text.extend(std::iter::repeat_n('0', exponent as usize));
        } else {
            let fraction = exponent.unsigned_abs() as usize;
            while text.len() <= fraction {
                text.insert(0, '0');
            }
            text.insert(text.len() - fraction, '.');
        }
        write!(f, "{}{}", if negative { "-" } else { "" }, if digits.is_empty() { "0" } else { &text })
    }
}

impl fmt::Debug for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Number {
        text.parse().unwrap()
    }

    #[test]
    fn text_and_number_say_the_same() {
        let nines = "9".repeat(38);
        let long = format!("-0.{}{nines}", "0".repeat(80));
        for text in ["0", "1", "-1", "10", "99", "100", "-100", "0.1", "-0.01", "12345.678", "1000000", &nines, &long] {
            assert_eq!(number(text).to_string(), text);
        }
        assert_eq!(number("1e125").to_string().len(), 126);
        assert_eq!(number("-1.50e1").to_string(), "-15");
        assert_eq!("1e126".parse::<Number>(), Err(NotANumber));
        assert_eq!("1x".parse::<Number>(), Err(NotANumber));
    }

    #[test]
    fn bytes_are_those_of_the_manual() {
        // From Oracle's documentation of the internal format of NUMBER.
        assert_eq!(number("0").bytes(), [128]);
        assert_eq!(number("5").bytes(), [193, 6]);
        assert_eq!(number("-5").bytes(), [62, 96, 102]);
        assert_eq!(number("2767").bytes(), [194, 28, 68]);
        assert_eq!(number("-2767").bytes(), [61, 74, 34, 102]);
        assert_eq!(number("100000").bytes(), [195, 11]);
        assert_eq!(number("1234567").bytes(), [196, 2, 24, 46, 68]);
    }

    #[test]
    fn order_is_that_of_the_numbers() {
        let order = ["-1e125", "-101", "-100", "-1.5", "-1", "-0.001", "0", "1e-130", "0.5", "1", "1.01", "99", "1e20"];
        for pair in order.windows(2) {
            assert!(number(pair[0]) < number(pair[1]), "{pair:?}");
        }
    }

    #[test]
    fn whole_numbers_and_scales() {
        assert_eq!(number("-1200").whole(), Some(-1200));
        assert_eq!(number("1.5").whole(), None);
        assert_eq!(number("-1.25").scaled(), Some((-125, 2)));
        assert_eq!(number("1e30").scaled(), Some((10_i128.pow(30), 0)));
        assert_eq!(Number::new(-125, 2), Ok(number("-1.25")));
        assert_eq!(number("-0.5").to_f64(), -0.5);
    }
}
