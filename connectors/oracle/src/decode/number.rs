//! A printed NUMBER → integers, decimals, doubles and text. Pure.

use super::Wrong;
use crate::session::{Printed, SHORT, Short};

/// Most significant digits of a NUMBER, in pairs that may begin and end with a zero.
const DIGITS: usize = 40;

/// Powers of ten that fit: up to the 38th.
const POWERS: [i128; 39] = {
    let mut powers = [1; 39];
    let mut i = 1;
    while i < powers.len() {
        powers[i] = 10 * powers[i - 1];
        i += 1;
    }
    powers
};

const NOT_FINITE: Wrong = "not a finite number";
const RANGE: Wrong = "the number has more digits than its column's type";

/// The number times ten to the `scale`, which must be whole and have at most `precision` digits (38 at most).
#[inline]
pub(super) fn scaled(number: &Printed, precision: u8, scale: u8) -> Result<i128, Wrong> {
    match number.short().and_then(|short| shifted(short, precision, scale)) {
        Some(value) => Ok(value.into()),
        None => Digits::parse(number.text())?.scaled(precision, scale),
    }
}

/// The same of most numbers; none if it takes more care.
#[inline]
fn shifted(Short { value, behind, digits }: Short, precision: u8, scale: u8) -> Option<i64> {
    let shift = usize::from(scale).checked_sub(behind)?;
    // As many digits fit into 64 bits.
    if digits + shift > SHORT {
        return None;
    }
    let value = value * *POWERS.get(shift)? as i64;
    let most = *POWERS.get(SHORT.min(precision.into()))? as i64;
    (-most < value && value < most).then_some(value)
}

/// The nearest double.
pub(super) fn double(text: &[u8]) -> Result<f64, Wrong> {
    Digits::parse(text)?;
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(NOT_FINITE)
}

/// Appends it as plain text: no exponent, no zeros at either end that say nothing.
pub(super) fn write(text: &[u8], out: &mut Vec<u8>) -> Result<(), Wrong> {
    Digits::parse(text)?.write(out);
    Ok(())
}

/// A NUMBER: its digits, without zeros at either end, times ten to the `exponent`; none of the number 0.
#[derive(Debug, PartialEq, Eq)]
struct Digits {
    negative: bool,
    exponent: i32,
    digits: [u8; DIGITS],
    count: usize,
}

impl Digits {
    /// Reads a plain decimal number.
    fn parse(text: &[u8]) -> Result<Self, Wrong> {
        let (negative, text) = match text {
            [b'-', text @ ..] => (true, text),
            text => (false, text),
        };
        let point = text.iter().position(|c| *c == b'.');
        let (whole, behind) = text.split_at(point.unwrap_or(text.len()));
        let behind = behind.get(1..).unwrap_or_default();
        let mut number = Self { negative, exponent: 0, digits: [0; DIGITS], count: 0 };
        let (mut zeros, mut any) = (0, false);
        for c in whole.iter().chain(behind) {
            any = true;
            match c {
                // They count only between digits.
                b'0' => zeros += usize::from(number.count > 0),
                b'1'..=b'9' => {
                    number.count += zeros;
                    *number.digits.get_mut(number.count).ok_or(NOT_FINITE)? = c - b'0';
                    (number.count, zeros) = (number.count + 1, 0);
                }
                _ => return Err(NOT_FINITE),
            }
        }
        // Negative infinity is printed as no digit but zeros.
        if !any || number.count == 0 && negative {
            return Err(NOT_FINITE);
        }
        number.exponent = zeros as i32 - behind.len() as i32;
        Ok(number)
    }

    fn digits(&self) -> &[u8] {
        self.digits.get(..self.count).unwrap_or_default()
    }

    fn scaled(&self, precision: u8, scale: u8) -> Result<i128, Wrong> {
        let shift = self.exponent + i32::from(scale);
        if self.count == 0 {
            return Ok(0);
        }
        if shift < 0 {
            return Err("the number has more digits behind the point than its column's type");
        }
        if self.count as i32 + shift > i32::from(precision) {
            return Err(RANGE);
        }
        let power = usize::try_from(shift).ok().and_then(|shift| POWERS.get(shift)).ok_or(RANGE)?;
        // As many digits as the precision allows fit.
        let value = self.digits().iter().fold(0, |value, digit| 10 * value + i128::from(*digit)) * power;
        Ok(if self.negative { -value } else { value })
    }

    fn write(&self, out: &mut Vec<u8>) {
        if self.count == 0 {
            return out.push(b'0');
        }
        if self.negative {
            out.push(b'-');
        }
        // Digits in front of the point.
        let whole = self.count as i32 + self.exponent;
        if whole <= 0 {
            out.extend_from_slice(b"0.");
            out.extend((whole..0).map(|_| b'0'));
        }
        for (at, digit) in self.digits().iter().enumerate() {
            if at > 0 && at as i32 == whole {
                out.push(b'.');
            }
            out.push(b'0' + digit);
        }
        out.extend((0..self.exponent).map(|_| b'0'));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn printed(text: &str) -> Printed {
        let mut printed = Printed::default();
        assert!(printed.print(&text));
        printed
    }

    #[test]
    fn numbers_are_read() {
        let check = |text: &str| {
            let number = Digits::parse(text.as_bytes()).ok()?;
            let digits = number.digits().iter().map(|digit| char::from(b'0' + digit)).collect::<String>();
            Some((number.negative, digits, number.exponent))
        };
        let is = |negative, digits: &str, exponent| Some((negative, digits.to_owned(), exponent));
        assert_eq!(check("0"), is(false, "", 0));
        assert_eq!(check("120"), is(false, "12", 1));
        assert_eq!(check("-0.0012"), is(true, "12", -4));
        assert_eq!(check("100.05"), is(false, "10005", -2));
        assert_eq!(check("10.50"), is(false, "105", -1));
        assert_eq!(check("10.00"), is(false, "1", 1));
        assert_eq!(check(&format!("1{}", "0".repeat(125))), is(false, "1", 125));
        assert_eq!(check(&format!("0.{}1", "0".repeat(129))), is(false, "1", -130));
        let all = "9".repeat(40);
        assert_eq!(check(&all), is(false, &all, 0));
        let (long, infinity) = ("9".repeat(41), format!("-{}", "0".repeat(126)));
        for bad in ["", "-", ".", "-0", "-0.0", "1e5", "--1", "1.2.3", "inf", "~", &long, &infinity] {
            assert_eq!(check(bad), None, "{bad}");
            assert!(scaled(&printed(bad), 38, 38).is_err(), "{bad}");
            assert!(double(bad.as_bytes()).is_err() && write(bad.as_bytes(), &mut vec![]).is_err(), "{bad}");
        }
    }

    #[test]
    fn decimals() {
        let check = |text: &str, precision, scale| scaled(&printed(text), precision, scale);
        assert_eq!(check("0", 1, 0), Ok(0));
        assert_eq!(check("-12.5", 9, 2), Ok(-1250));
        assert_eq!(check("-12.50", 9, 1), Ok(-125));
        assert_eq!(check("1200", 4, 0), Ok(1200));
        assert_eq!(check(&"9".repeat(38), 38, 0), Ok(10_i128.pow(38) - 1));
        assert_eq!(check(&format!("-{}", "9".repeat(38)), 38, 0), Ok(1 - 10_i128.pow(38)));
        assert_eq!(check(&format!("0.{}1", "0".repeat(37)), 38, 38), Ok(1));
        assert!(check(&"9".repeat(39), 38, 0).is_err());
        assert!(check("0.5", 38, 0).is_err());
        assert!(check("1000", 3, 0).is_err());
        assert!(check(&format!("1{}", "0".repeat(125)), 38, 0).is_err());
    }

    #[test]
    fn doubles_and_text() {
        let check = |text: &str| {
            let mut out = vec![];
            write(text.as_bytes(), &mut out).unwrap();
            (String::from_utf8(out).unwrap(), double(text.as_bytes()).unwrap())
        };
        assert_eq!(check("0"), ("0".into(), 0.0));
        assert_eq!(check("-0.0012"), ("-0.0012".into(), -0.0012));
        assert_eq!(check("100.50"), ("100.5".into(), 100.5));
        assert_eq!(check(&format!("1{}", "0".repeat(125))), (format!("1{}", "0".repeat(125)), 1e125));
        assert_eq!(check(&format!("0.{}1", "0".repeat(129))), (format!("0.{}1", "0".repeat(129)), 1e-130));
        assert_eq!(check("0.1").1.to_bits(), 0.1_f64.to_bits());
    }

    proptest! {
        #[test]
        fn text_is_what_was_read(
            whole in "0|[1-9][0-9]{0,24}",
            behind in "([0-9]{0,14}[1-9])?",
            zeros in "0{0,3}",
            negative in any::<bool>(),
            precision in 1u8..39,
            more in 0u8..9,
        ) {
            let zero = whole == "0" && behind.is_empty();
            let sign = if negative && !zero { "-" } else { "" };
            let point = |behind: &str| if behind.is_empty() { "" } else { "." };
            let text = format!("{sign}{whole}{}{behind}", point(&behind));
            let with_zeros = format!("{behind}{zeros}");
            let text_with_zeros = format!("{sign}{whole}{}{with_zeros}", point(&with_zeros));
            let mut out = vec![];
            write(text_with_zeros.as_bytes(), &mut out).unwrap();
            prop_assert_eq!(String::from_utf8(out).unwrap(), text.clone());
            prop_assert_eq!(double(text_with_zeros.as_bytes()).unwrap().to_bits(), text.parse::<f64>().unwrap().to_bits());
            let scale = behind.len() as u8 + more;
            let digits = format!("{whole}{behind}{}", "0".repeat(more.into()));
            let is = digits.trim_start_matches('0');
            let expected = (is.len() <= usize::from(precision)).then(|| format!("{sign}0{is}").parse::<i128>().unwrap());
            prop_assert_eq!(scaled(&printed(&text_with_zeros), precision, scale).ok(), expected);
            prop_assert!(behind.is_empty() || scaled(&printed(&text_with_zeros), 38, behind.len() as u8 - 1).is_err());
        }
    }
}
