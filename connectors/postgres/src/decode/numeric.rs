//! The numeric type on the wire: a head of four 16-bit numbers and base-10,000 digits. Pure.
//!
//! A decimal must come out exactly or not at all; text must read as PostgreSQL prints it.

/// Digits of a numeric as they lie in the buffer.
#[derive(Clone, Copy)]
pub(super) struct Numeric<'a> {
    /// Pairs of bytes, most significant digit first.
    digits: &'a [u8],
    /// Power of 10,000 of the first digit.
    weight: i32,
    sign: Sign,
    /// Decimal digits shown after the point.
    shown: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sign {
    Plus,
    Minus,
    NaN,
    Infinity,
    MinusInfinity,
}

/// Length of the head, bytes.
const HEAD: usize = 8;

const EXCESS: &str = "the value has more decimal places than the column's type";

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

impl<'a> Numeric<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, &'static str> {
        const MALFORMED: &str = "a malformed numeric";
        let (head, digits) = bytes.split_first_chunk::<HEAD>().ok_or(MALFORMED)?;
        let [n0, n1, w0, w1, s0, s1, d0, d1] = *head;
        let sign = match u16::from_be_bytes([s0, s1]) {
            0x0000 => Sign::Plus,
            0x4000 => Sign::Minus,
            0xC000 => Sign::NaN,
            0xD000 => Sign::Infinity,
            0xF000 => Sign::MinusInfinity,
            _ => return Err(MALFORMED),
        };
        if digits.len() != 2 * usize::from(u16::from_be_bytes([n0, n1])) {
            return Err(MALFORMED);
        }
        let (weight, shown) = (i16::from_be_bytes([w0, w1]).into(), u16::from_be_bytes([d0, d1]).into());
        Ok(Self { digits, weight, sign, shown })
    }

    /// The value times 10^`scale`, of at most `precision` digits.
    pub(super) fn decimal(self, precision: u8, scale: u8) -> Result<i128, &'static str> {
        const RANGE: &str = "the value has more digits than the column's type";
        let negative = match self.sign {
            Sign::Plus => false,
            Sign::Minus => true,
            _ => return Err("NaN or infinity in a column that becomes a decimal"),
        };
        let count = self.digits.len() / 2;
        // The decimal exponent of the last digit's unit, in the scaled result.
        let last = 4 * (self.weight - count as i32 + 1) + i32::from(scale);
        let value = if count <= 4 && (-3..=2).contains(&last) {
            // Below 10^16 · 10^2: the usual case, in 64 bits and without a division.
            let mut value = 0u64;
            for digit in self.digits() {
                value = value * 10_000 + u64::from(digit?);
            }
            let (quotient, rest) = match last {
                -3 => (value / 1000, value % 1000),
                -2 => (value / 100, value % 100),
                -1 => (value / 10, value % 10),
                0 => (value, 0),
                1 => (value * 10, 0),
                _ => (value * 100, 0),
            };
            if rest != 0 {
                return Err(EXCESS);
            }
            i128::from(quotient)
        } else {
            self.wide(scale, last).ok_or(RANGE)??
        };
        if value >= POWERS[usize::from(precision.min(38))] {
            return Err(RANGE);
        }
        Ok(if negative { -value } else { value })
    }

    /// The nearest double; NaN and infinities are themselves.
    pub(super) fn double(self) -> Result<f64, &'static str> {
        let mut text = Vec::new();
        self.write(&mut text)?;
        let value: f64 = std::str::from_utf8(&text).ok().and_then(|t| t.parse().ok()).ok_or("a malformed numeric")?;
        match self.sign {
            Sign::Plus | Sign::Minus if value.is_infinite() => Err("the value is beyond what a double can hold"),
            _ => Ok(value),
        }
    }

    /// `None`: beyond 128 bits.
    fn wide(self, scale: u8, last: i32) -> Option<Result<i128, &'static str>> {
        let mut value = 0i128;
        let mut unit = 4 * self.weight + i32::from(scale);
        for digit in self.digits() {
            let digit = match digit {
                Ok(digit) => i128::from(digit),
                Err(e) => return Some(Err(e)),
            };
            match unit {
                0.. => value = value.checked_mul(10_000)?.checked_add(digit)?,
                // The scale ends within this digit: the places beyond must be zero.
                -3..=-1 => {
                    let beyond = POWERS[unit.unsigned_abs() as usize];
                    if digit % beyond != 0 {
                        return Some(Err(EXCESS));
                    }
                    value = value.checked_mul(10_000 / beyond)?.checked_add(digit / beyond)?;
                }
                _ if digit != 0 => return Some(Err(EXCESS)),
                _ => {}
            }
            unit -= 4;
        }
        if value != 0 && last > 0 {
            value = value.checked_mul(*POWERS.get(last as usize)?)?;
        }
        Some(Ok(value))
    }

    /// Appends the text that PostgreSQL prints.
    pub(super) fn write(self, out: &mut Vec<u8>) -> Result<(), &'static str> {
        match self.sign {
            Sign::Plus => {}
            Sign::Minus => out.push(b'-'),
            Sign::NaN => return text(out, "NaN"),
            Sign::Infinity => return text(out, "Infinity"),
            Sign::MinusInfinity => return text(out, "-Infinity"),
        }
        if self.weight < 0 {
            out.push(b'0');
        }
        for place in 0..=self.weight {
            let four = four(self.digit(place)?);
            let zeros = if place == 0 { four.iter().take_while(|d| **d == b'0').count().min(3) } else { 0 };
            out.extend_from_slice(&four[zeros..]);
        }
        if self.shown > 0 {
            out.push(b'.');
            let end = out.len() + self.shown;
            let mut place = self.weight + 1;
            if self.weight < -1 {
                // Zeros between the point and the first digit.
                let zeros = 4 * (-1 - self.weight) as usize;
                out.resize((out.len() + zeros).min(end), b'0');
                place = 0;
            } else if self.weight == -1 {
                place = 0;
            }
            while out.len() < end {
                out.extend_from_slice(&four(self.digit(place)?));
                place += 1;
            }
            out.truncate(end);
        }
        Ok(())
    }

    /// The digit at a place from the first; zero beyond the last.
    fn digit(self, place: i32) -> Result<u16, &'static str> {
        let at = 2 * place as usize;
        self.digits.get(at..at + 2).map_or(Ok(0), digit)
    }

    fn digits(self) -> impl Iterator<Item = Result<u16, &'static str>> {
        self.digits.chunks_exact(2).map(digit)
    }
}

/// Upper bound of the text's length, from the head alone: it can be far longer than the digits.
pub(super) fn text_length(bytes: &[u8]) -> usize {
    match bytes {
        [_, _, w0, w1, _, _, d0, d1, ..] => {
            let weight = usize::try_from(i16::from_be_bytes([*w0, *w1])).unwrap_or(0);
            4 * weight + usize::from(u16::from_be_bytes([*d0, *d1])) + 16
        }
        _ => 0,
    }
}

fn digit(pair: &[u8]) -> Result<u16, &'static str> {
    match pair {
        [a, b] => match u16::from_be_bytes([*a, *b]) {
            digit @ 0..=9999 => Ok(digit),
            _ => Err("a numeric digit above 9999"),
        },
        _ => Err("half a numeric digit"),
    }
}

fn four(digit: u16) -> [u8; 4] {
    [digit / 1000, digit / 100 % 10, digit / 10 % 10, digit % 10].map(|d| b'0' + d as u8)
}

fn text(out: &mut Vec<u8>, text: &str) -> Result<(), &'static str> {
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What PostgreSQL sends for a number written as text with these decimals: an independent encoder.
    pub(crate) fn wire(text: &str) -> Vec<u8> {
        let (sign, plain) = text.strip_prefix('-').map_or((0u16, text), |t| (0x4000, t));
        let (whole, decimals) = plain.split_once('.').unwrap_or((plain, ""));
        let whole = whole.trim_start_matches('0');
        let left = "0".repeat((4 - whole.len() % 4) % 4) + whole;
        let right = decimals.to_owned() + &"0".repeat((4 - decimals.len() % 4) % 4);
        let mut weight = (left.len() / 4) as i16 - 1;
        let mut groups: Vec<u16> =
            (left + &right).as_bytes().chunks(4).map(|c| std::str::from_utf8(c).unwrap().parse().unwrap()).collect();
        while groups.last() == Some(&0) {
            groups.pop();
        }
        while groups.first() == Some(&0) {
            groups.remove(0);
            weight -= 1;
        }
        if groups.is_empty() {
            weight = 0;
        }
        let sign = if groups.is_empty() { 0 } else { sign };
        let head = [groups.len() as u16, weight as u16, sign, decimals.len() as u16];
        head.iter().chain(&groups).flat_map(|n| n.to_be_bytes()).collect()
    }

    fn special(sign: u16) -> Vec<u8> {
        [0, 0, sign, 0].iter().flat_map(|n| n.to_be_bytes()).collect()
    }

    fn print(bytes: &[u8]) -> String {
        let mut out = vec![];
        Numeric::parse(bytes).unwrap().write(&mut out).unwrap();
        assert!(out.len() <= text_length(bytes));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn text_as_postgres_prints_it() {
        for text in [
            "0",
            "0.00",
            "1",
            "-1",
            "10000",
            "10000.0001",
            "0.5",
            "0.00005",
            "0.000000001",
            "123456789.987654321",
            "100000000",
            "-0.1000",
            "9999.9999",
            "12345678901234567890123456789012345678901234567890.5",
            "1.10",
            "0.0000000000000000000000000000010",
        ] {
            assert_eq!(print(&wire(text)), text);
        }
        assert_eq!(print(&special(0xC000)), "NaN");
        assert_eq!(print(&special(0xD000)), "Infinity");
        assert_eq!(print(&special(0xF000)), "-Infinity");
    }

    #[test]
    fn decimals() {
        let check = |text: &str, p, s| Numeric::parse(&wire(text)).unwrap().decimal(p, s);
        let most = "9".repeat(38);
        assert_eq!(check(&most, 38, 0), Ok(10i128.pow(38) - 1));
        assert_eq!(check(&format!("-0.{most}"), 38, 38), Ok(1 - 10i128.pow(38)));
        assert_eq!(check(&format!("{}.99", &most[2..]), 38, 2), Ok(10i128.pow(38) - 1));
        assert_eq!(check(&format!("1{}", "0".repeat(37)), 38, 0), Ok(10i128.pow(37)));
        assert_eq!(check("12.30", 12, 2), Ok(1230));
        assert_eq!(check("0.0001", 4, 4), Ok(1));
        assert_eq!(check("0", 38, 38), Ok(0));
        assert_eq!(check("12300", 7, 0), Ok(12300));
        assert!(check(&format!("1{}", "0".repeat(38)), 38, 0).is_err(), "39 digits");
        assert!(check("100", 2, 0).is_err(), "more digits than the type");
        assert!(check("1.234", 12, 2).is_err(), "more places than the type");
        assert!(check("1.000000001", 12, 2).is_err(), "more places than the type, far out");
        for sign in [0xC000, 0xD000, 0xF000] {
            assert!(Numeric::parse(&special(sign)).unwrap().decimal(10, 2).is_err());
        }
        assert!(Numeric::parse(&special(0x1234)).is_err());
    }

    #[test]
    fn doubles() {
        let check = |bytes: &[u8]| Numeric::parse(bytes).unwrap().double();
        assert_eq!(check(&wire("0.1")), Ok(0.1));
        assert_eq!(check(&wire("-123456789012345678901234567890")), Ok(-1.2345678901234568e29));
        assert_eq!(check(&wire("9007199254740993")), Ok(9007199254740992.0), "to the nearest, ties to even");
        assert!(check(&special(0xC000)).unwrap().is_nan());
        assert_eq!(check(&special(0xD000)), Ok(f64::INFINITY));
        assert_eq!(check(&special(0xF000)), Ok(f64::NEG_INFINITY));
        assert!(check(&wire(&format!("1{}", "0".repeat(309)))).is_err(), "never an infinity that was none");
    }

    proptest! {
        #[test]
        fn decimal_and_text_agree_with_the_number(value in -(10i128.pow(38) - 1)..10i128.pow(38), cut in 0u32..120, scale in 0u8..=38) {
            let value = value >> cut;
            let digits = format!("{:0>width$}", value.unsigned_abs(), width = usize::from(scale) + 1);
            let (whole, decimals) = digits.split_at(digits.len() - usize::from(scale));
            let point = if scale == 0 { "" } else { "." };
            let text = format!("{}{whole}{point}{decimals}", if value < 0 { "-" } else { "" });
            let bytes = wire(&text);
            prop_assert_eq!(Numeric::parse(&bytes).unwrap().decimal(38, scale), Ok(value));
            prop_assert_eq!(print(&bytes), text);
        }

        #[test]
        fn garbage_is_an_error_at_worst(mut bytes in prop::collection::vec(any::<u8>(), 0..40), fit in any::<bool>()) {
            if fit && bytes.len() >= HEAD {
                bytes.truncate(bytes.len() & !1);
                let digits = ((bytes.len() - HEAD) / 2) as u16;
                bytes[..2].copy_from_slice(&digits.to_be_bytes());
                bytes[4..6].copy_from_slice(&[if digits.is_multiple_of(2) { 0x40 } else { 0 }, 0]);
            }
            if let Ok(number) = Numeric::parse(&bytes) {
                let mut out = vec![];
                let _ = number.write(&mut out);
                prop_assert!(out.len() <= text_length(&bytes));
                let _ = number.decimal(38, 10);
            }
        }
    }
}
