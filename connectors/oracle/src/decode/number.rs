//! NUMBER → integers, decimals, doubles and text. Pure.

use super::Wrong;
use crate::session::Digits;

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

impl Digits {
    /// The number times ten to the `scale`, which must be whole and have at most `precision` digits (38 at most).
    pub(super) fn scaled(&self, precision: u8, scale: u8) -> Result<i128, Wrong> {
        const RANGE: Wrong = "the number has more digits than its column's type";
        let shift = i32::from(self.exponent) + i32::from(scale);
        if self.count == 0 {
            return Ok(0);
        }
        if shift < 0 {
            return Err("the number has more digits behind the point than its column's type");
        }
        if i32::from(self.count) + shift > i32::from(precision) {
            return Err(RANGE);
        }
        // As many digits as the precision allows fit into the mantissa.
        let value = i128::try_from(self.mantissa).map_err(|_| RANGE)?;
        let power = usize::try_from(shift).ok().and_then(|shift| POWERS.get(shift)).ok_or(RANGE)?;
        let value = value.checked_mul(*power).ok_or(RANGE)?;
        Ok(if self.negative { -value } else { value })
    }

    /// The nearest double.
    pub(super) fn double(&self) -> Result<f64, Wrong> {
        if self.count == 0 {
            return Ok(0.0);
        }
        let mut text = Vec::with_capacity(64);
        self.digits(&mut text);
        text.push(b'e');
        text.extend_from_slice(self.exponent.to_string().as_bytes());
        let read = std::str::from_utf8(&text).ok().and_then(|text| text.parse::<f64>().ok());
        let value = read.ok_or("the number is no double")?;
        Ok(if self.negative { -value } else { value })
    }

    /// Appends its digits as text.
    pub(crate) fn digits(&self, out: &mut Vec<u8>) {
        let mut text = [0; 40];
        let mut at = text.len();
        let mut put = |digit: u8| {
            at -= 1;
            text[at] = b'0' + digit;
        };
        let mut behind = self.rest;
        for _ in 38..self.count {
            put(behind % 10);
            behind /= 10;
        }
        // Division of 128 bits is slow: in two steps by what fits into 64.
        let mut mantissa = self.mantissa;
        while mantissa > 0 {
            const STEP: u128 = 10_u128.pow(19);
            let mut low = (mantissa % STEP) as u64;
            mantissa /= STEP;
            let mut missing = if mantissa > 0 { 19 } else { 0 };
            while low > 0 || missing > 0 {
                put((low % 10) as u8);
                low /= 10;
                missing = i32::max(missing - 1, 0);
            }
        }
        out.extend_from_slice(&text[at..]);
    }

    /// Appends it as plain text: no exponent, no zeros at either end that say nothing.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        if self.count == 0 {
            return out.push(b'0');
        }
        if self.negative {
            out.push(b'-');
        }
        // Digits in front of the point.
        let whole = i32::from(self.count) + i32::from(self.exponent);
        if whole <= 0 {
            out.extend_from_slice(b"0.");
            out.extend((whole..0).map(|_| b'0'));
            return self.digits(out);
        }
        let start = out.len();
        self.digits(out);
        match usize::try_from(whole) {
            Ok(whole) if whole < usize::from(self.count) => out.insert(start + whole, b'.'),
            _ => out.extend((0..self.exponent).map(|_| b'0')),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn number(text: &str) -> Digits {
        Digits::parse(text).unwrap()
    }

    #[test]
    fn decimals() {
        let check = |text: &str, precision, scale| number(text).scaled(precision, scale);
        assert_eq!(check("0", 1, 0), Ok(0));
        assert_eq!(check("-12.5", 9, 2), Ok(-1250));
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
            number(text).write(&mut out);
            (String::from_utf8(out).unwrap(), number(text).double().unwrap())
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
        fn text_is_what_was_read(whole in "0|[1-9][0-9]{0,24}", behind in "([0-9]{0,14}[1-9])?", negative in any::<bool>()) {
            let zero = whole == "0" && behind.is_empty();
            let point = if behind.is_empty() { "" } else { "." };
            let text = format!("{}{whole}{point}{behind}", if negative && !zero { "-" } else { "" });
            let mut out = vec![];
            number(&text).write(&mut out);
            prop_assert_eq!(String::from_utf8(out).unwrap(), text.clone());
            prop_assert_eq!(number(&text).double().unwrap().to_bits(), text.parse::<f64>().unwrap().to_bits());
            let digits = format!("{whole}{behind}");
            prop_assume!(digits.trim_start_matches('0').len() <= 38);
            let scaled = number(&text).scaled(38, behind.len() as u8).unwrap();
            prop_assert_eq!(scaled.abs(), digits.parse::<i128>().unwrap());
        }
    }
}
