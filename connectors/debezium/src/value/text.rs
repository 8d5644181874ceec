//! Values that a load holds as the text PostgreSQL prints, made of what Debezium sends instead. Pure.

use std::collections::HashMap;

type Wrong = &'static str;

/// Sixteen bytes of a UUID in its usual form of 36 characters.
pub(crate) fn uuid(text: &str) -> Result<[u8; 16], Wrong> {
    const MALFORMED: Wrong = "a malformed uuid";
    let text = text.as_bytes();
    if text.len() != 36 || [8, 13, 18, 23].iter().any(|&i| text[i] != b'-') {
        return Err(MALFORMED);
    }
    let mut digits = text.iter().enumerate().filter(|(i, _)| ![8, 13, 18, 23].contains(i)).map(|(_, b)| nibble(*b));
    let mut bytes = [0; 16];
    for byte in &mut bytes {
        match (digits.next().flatten(), digits.next().flatten()) {
            (Some(high), Some(low)) => *byte = high << 4 | low,
            _ => return Err(MALFORMED),
        }
    }
    Ok(bytes)
}

/// Appends the bytes of hexadecimal text.
pub(crate) fn hex(text: &str, out: &mut Vec<u8>) -> Result<(), Wrong> {
    const MALFORMED: Wrong = "malformed hexadecimal text";
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return Err(MALFORMED);
    }
    for [high, low] in pairs {
        match (nibble(*high), nibble(*low)) {
            (Some(high), Some(low)) => out.push(high << 4 | low),
            _ => return Err(MALFORMED),
        }
    }
    Ok(())
}

fn nibble(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|d| d as u8)
}

/// Appends `length` bits as digits, the highest first; `bytes` hold the lowest first and no leading zeros.
pub(crate) fn bits(bytes: &[u8], length: u32, out: &mut Vec<u8>) -> Result<(), Wrong> {
    let bit = |i: usize| bytes.get(i / 8).is_some_and(|b| b >> (i % 8) & 1 == 1);
    let length = length as usize;
    if (length..bytes.len() * 8).any(bit) {
        return Err("more bits than the column's type has");
    }
    out.extend((0..length).rev().map(|i| if bit(i) { b'1' } else { b'0' }));
    Ok(())
}

/// Appends what `hstore_out` prints: pairs by the length of their key, then by its bytes; everything quoted.
pub(crate) fn hstore(pairs: &HashMap<String, Option<String>>, out: &mut Vec<u8>) {
    let mut pairs: Vec<_> = pairs.iter().collect();
    pairs.sort_unstable_by_key(|(key, _)| (key.len(), key.as_bytes()));
    let quoted = |text: &str, out: &mut Vec<u8>| {
        out.push(b'"');
        for byte in text.bytes() {
            if matches!(byte, b'"' | b'\\') {
                out.push(b'\\');
            }
            out.push(byte);
        }
        out.push(b'"');
    };
    for (i, (key, value)) in pairs.into_iter().enumerate() {
        if i > 0 {
            out.extend_from_slice(b", ");
        }
        quoted(key, out);
        out.extend_from_slice(b"=>");
        match value {
            Some(value) => quoted(value, out),
            None => out.extend_from_slice(b"NULL"),
        }
    }
}

/// A `tstzrange` is printed in the time zone of whoever asks; a load asks in UTC.
pub(crate) fn in_utc(range: &str) -> Result<(), Wrong> {
    // Bounds are quoted where they are not empty; infinity has no zone.
    let bounds = range.split('"').skip(1).step_by(2);
    let utc = |bound: &str| bound.ends_with("+00") || bound.ends_with("+00 BC") || !bound.contains(':');
    if bounds.into_iter().all(utc) {
        return Ok(());
    }
    Err("a tstzrange in another time zone than UTC: run Debezium with the time zone UTC (-Duser.timezone=UTC)")
}

/// Appends what `point_out` prints.
pub(crate) fn point(x: f64, y: f64, out: &mut Vec<u8>) {
    out.push(b'(');
    double(x, out);
    out.push(b',');
    double(y, out);
    out.push(b')');
}

/// Appends what `float8out` prints with `extra_float_digits=1`: the fewest digits that read back as the
/// same number, none of which lies on the border to the next; an exponent below -4 and from 15 on.
fn double(value: f64, out: &mut Vec<u8>) {
    if !value.is_finite() {
        let name = if value.is_nan() {
            "NaN"
        } else if value > 0.0 {
            "Infinity"
        } else {
            "-Infinity"
        };
        return out.extend_from_slice(name.as_bytes());
    }
    let shortest = format!("{value:e}");
    let digits = shortest.bytes().take_while(|b| *b != b'e').filter(u8::is_ascii_digit).count();
    let text = (digits.saturating_sub(1)..17)
        .map(|places| format!("{value:.places$e}"))
        .find(|text| inside(text, value))
        .unwrap_or(shortest);
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |m| ("-", m));
    let digits: String = mantissa.chars().filter(|c| *c != '.').collect();
    let digits = match digits.trim_end_matches('0') {
        "" => "0",
        some => some,
    };
    out.extend_from_slice(sign.as_bytes());
    let printed = match exponent {
        0..15 => {
            let whole = exponent as usize + 1;
            match digits.len() {
                n if n <= whole => format!("{digits}{}", "0".repeat(whole - n)),
                _ => format!("{}.{}", &digits[..whole], &digits[whole..]),
            }
        }
        -4..0 => format!("0.{}{digits}", "0".repeat(exponent.unsigned_abs() as usize - 1)),
        _ => {
            let (first, rest) = digits.split_at(1);
            let point = if rest.is_empty() { "" } else { "." };
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{first}{point}{rest}e{sign}{:02}", exponent.abs())
        }
    };
    out.extend_from_slice(printed.as_bytes());
}

/// Whether a decimal and what lies closest around it all read as the number.
fn inside(text: &str, value: f64) -> bool {
    let Some((mantissa, exponent)) = text.split_once('e') else { return false };
    let point = if mantissa.contains('.') { "" } else { "." };
    // No border between two doubles has more digits than these.
    let above = format!("{mantissa}{point}{}1e{exponent}", "0".repeat(800));
    if text.parse() != Ok(value) || above.parse() != Ok(value) {
        return false;
    }
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let places = mantissa.split_once('.').map_or(0, |(_, f)| f.len());
    let Ok(number) = digits.parse::<u64>() else { return false };
    let Some(less) = number.checked_sub(1) else { return true };
    let sign = if mantissa.starts_with('-') { "-" } else { "" };
    let exponent = exponent.parse::<i64>().unwrap_or(0) - places as i64;
    format!("{sign}{less}.{}e{exponent}", "9".repeat(800)).parse() == Ok(value)
}

/// EWKB with the spatial reference within, which PostGIS gives a load.
pub(crate) fn ewkb(wkb: &[u8], srid: Option<i64>, out: &mut Vec<u8>) -> Result<(), Wrong> {
    const MALFORMED: Wrong = "a malformed geometry";
    const HAS_SRID: u32 = 0x2000_0000;
    let (order, rest) = wkb.split_first().ok_or(MALFORMED)?;
    let (kind, rest) = rest.split_first_chunk::<4>().ok_or(MALFORMED)?;
    let little = match order {
        0 => false,
        1 => true,
        _ => return Err(MALFORMED),
    };
    let number = |bytes: [u8; 4]| if little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) };
    let bytes = |number: u32| if little { number.to_le_bytes() } else { number.to_be_bytes() };
    let kind = number(*kind);
    let srid = srid.map(|srid| srid as u32).filter(|srid| *srid != 0);
    if kind & HAS_SRID != 0 {
        let within = rest.first_chunk::<4>().map(|b| number(*b)).ok_or(MALFORMED)?;
        if srid.is_some_and(|srid| srid != within) {
            return Err("a geometry whose spatial reference is not the one beside it");
        }
        out.extend_from_slice(wkb);
        return Ok(());
    }
    out.push(*order);
    match srid {
        None => out.extend_from_slice(&bytes(kind)),
        Some(srid) => {
            out.extend_from_slice(&bytes(kind | HAS_SRID));
            out.extend_from_slice(&bytes(srid));
        }
    }
    out.extend_from_slice(rest);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn made(make: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = vec![];
        make(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn bits_are_digits() {
        let check = |bytes: &[u8], length| {
            let mut out = vec![];
            bits(bytes, length, &mut out).map(|()| String::from_utf8(out).unwrap())
        };
        assert_eq!(check(&[0b101], 3), Ok("101".into()));
        assert_eq!(check(&[], 4), Ok("0000".into()));
        assert_eq!(check(&[0x01, 0x02], 12), Ok("001000000001".into()));
        assert!(check(&[0b101], 2).is_err());
    }

    #[test]
    fn pairs_are_printed_in_postgresqls_order() {
        let pairs = [("bb", Some("1")), ("c", None), ("a\"", Some("x\\y")), ("a", Some(""))];
        let pairs = pairs.into_iter().map(|(k, v)| (k.to_owned(), v.map(str::to_owned))).collect();
        assert_eq!(made(|out| hstore(&pairs, out)), r#""a"=>"", "c"=>NULL, "a\""=>"x\\y", "bb"=>"1""#);
    }

    #[test]
    fn ranges_must_be_in_utc() {
        assert!(in_utc(r#"["2017-06-05 11:29:12.5+00",)"#).is_ok());
        assert!(in_utc("empty").is_ok() && in_utc("(,)").is_ok() && in_utc(r#"["-infinity","infinity")"#).is_ok());
        assert!(in_utc(r#"["2017-06-05 11:29:12+00","2017-06-05 11:29:12+02")"#).is_err());
    }

    #[test]
    fn doubles_as_postgresql_prints_them() {
        let check = |value| made(|out| double(value, out));
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.5, "1.5"),
            (100.0, "100"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (123456789012345.0, "123456789012345"),
            (1e15, "1e+15"),
            (1.5e300, "1.5e+300"),
            (-2.5e-10, "-2.5e-10"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
            (f64::MAX, "1.7976931348623157e+308"),
            (5e-324, "5e-324"),
        ] {
            assert_eq!(check(value), text);
        }
    }

    #[test]
    fn geometries_carry_their_reference() {
        let check = |wkb: &[u8], srid| {
            let mut out = vec![];
            ewkb(wkb, srid, &mut out).map(|()| out)
        };
        assert_eq!(check(&[1, 1, 0, 0, 0, 9], None), Ok(vec![1, 1, 0, 0, 0, 9]));
        assert_eq!(check(&[1, 1, 0, 0, 0, 9], Some(4326)), Ok(vec![1, 1, 0, 0, 0x20, 0xe6, 0x10, 0, 0, 9]));
        let with = [1, 1, 0, 0, 0x20, 0xe6, 0x10, 0, 0, 9];
        assert_eq!(check(&with, Some(4326)), Ok(with.to_vec()));
        assert!(check(&with, Some(1)).is_err() && check(&[2, 1, 0, 0, 0], None).is_err() && check(&[], None).is_err());
    }

    #[test]
    fn uuids() {
        assert_eq!(uuid("00112233-4455-6677-8899-aabbccddeeFF").unwrap()[15], 0xff);
        for bad in ["", "00112233445566778899aabbccddeeff", "0011223-34455-6677-8899-aabbccddeeff0", "é"] {
            assert!(uuid(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn doubles_read_back(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            let text = made(|out| double(value, out));
            let same = if text == "Infinity" { f64::INFINITY } else { text.parse().unwrap() };
            prop_assert!(same.to_bits() == bits || value.is_nan() && same.is_nan());
        }
    }
}
