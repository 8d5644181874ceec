//! Dates, times and intervals as text, in ISO 8601 as Debezium writes them. Pure.
//!
//! Microseconds are the finest that a column holds; what is finer is an error, but where a load cuts it off too.

use crate::value::decimal::Decimal;

type Wrong = &'static str;

const MALFORMED: Wrong = "a malformed date or time";
const FINER: Wrong = "the value is finer than microseconds";
const FAR: Wrong = "the date or time is out of range";

pub(crate) const DAY_MICROS: i64 = 86_400_000_000;

/// Days since 1970-01-01 of `2005-05-12Z`, with or without the Z.
pub(crate) fn date(text: &str) -> Result<i64, Wrong> {
    let mut rest = Rest(text.as_bytes());
    let days = rest.date()?;
    rest.skip(b'Z');
    rest.end(days)
}

/// Microseconds since midnight of `01:02:03.123456Z`, with or without the Z.
pub(crate) fn time(text: &str) -> Result<i64, Wrong> {
    let mut rest = Rest(text.as_bytes());
    let micros = rest.time(false)?;
    rest.skip(b'Z');
    rest.end(micros)
}

/// Microseconds since 1970-01-01 of `2016-06-20T15:13:16.945104Z`. With `zoned` an offset must be there and
/// is taken off; without it there is only a Z, which says nothing, or nothing. `cut`: what is finer is cut off.
pub(crate) fn timestamp(text: &str, zoned: bool, cut: bool) -> Result<i64, Wrong> {
    let mut rest = Rest(text.as_bytes());
    let days = rest.date()?;
    if !rest.skip(b'T') {
        return Err(MALFORMED);
    }
    let micros = rest.time(cut)?;
    let offset = match rest.0 {
        [b'Z', ..] => {
            rest.skip(b'Z');
            0
        }
        [b'+' | b'-', ..] if zoned => rest.offset()?,
        _ if !zoned => 0,
        _ => return Err(MALFORMED),
    };
    // Wider than the result: the first day that has a moment in range begins before the range.
    let value = i128::from(days) * i128::from(DAY_MICROS) + i128::from(micros - offset * 1_000_000);
    rest.end(i64::try_from(value).map_err(|_| FAR)?)
}

const INTERVAL: Wrong = "a malformed interval";

/// Years, months, days, hours and minutes of an interval as Debezium writes all of them, and its seconds.
fn parts(text: &str) -> Result<([i64; 5], Decimal), Wrong> {
    let mut parts = [0; 5];
    let mut rest = text.strip_prefix('P').ok_or(INTERVAL)?;
    for (part, unit) in parts.iter_mut().zip(["Y", "M", "DT", "H", "M"]) {
        let (number, more) = rest.split_once(unit).ok_or(INTERVAL)?;
        *part = number.parse::<i32>().map_err(|_| INTERVAL)?.into();
        rest = more;
    }
    Ok((parts, Decimal::from_text(rest.strip_suffix('S').ok_or(INTERVAL)?)?))
}

/// The text that PostgreSQL prints of `P1Y2M3DT4H5M6.7S` with `intervalstyle=postgres`.
pub(crate) fn interval(text: &str, out: &mut Vec<u8>) -> Result<(), Wrong> {
    let (parts, seconds) = parts(text)?;
    let micros = i64::try_from(seconds.scaled(18, 6).map_err(|_| INTERVAL)?).map_err(|_| INTERVAL)?;
    let months = parts[0] * 12 + parts[1];
    let time = ((parts[3] * 60 + parts[4]) * 60_000_000).checked_add(micros).ok_or(FAR)?;
    // Parts that are not zero; after a negative one, a positive one has its sign.
    let (mut first, mut before) = (true, false);
    for (value, unit) in [(months / 12, "year"), (months % 12, "mon"), (parts[2], "day")] {
        if value != 0 {
            let space = if first { "" } else { " " };
            let sign = if before && value > 0 { "+" } else { "" };
            let many = if value == 1 { "" } else { "s" };
            out.extend_from_slice(format!("{space}{sign}{value} {unit}{many}").as_bytes());
            (first, before) = (false, value < 0);
        }
    }
    if first || time != 0 {
        let space = if first { "" } else { " " };
        let sign = if time < 0 {
            "-"
        } else if before {
            "+"
        } else {
            ""
        };
        let time = time.unsigned_abs();
        let (seconds, fraction) = (time / 1_000_000, time % 1_000_000);
        let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        out.extend_from_slice(format!("{space}{sign}{hours:02}:{minutes:02}:{seconds:02}").as_bytes());
        if fraction > 0 {
            let digits = format!(".{fraction:06}");
            out.extend_from_slice(digits.trim_end_matches('0').as_bytes());
        }
    }
    Ok(())
}

/// `P0Y0M4DT5H6M7.89S` as an Oracle load has it, parts that are zero left out: `P4DT5H6M7.89S`. `of_months`: nothing at
/// all is no months.
pub(crate) fn iso_interval(text: &str, of_months: bool, out: &mut Vec<u8>) -> Result<(), Wrong> {
    let (parts, seconds) = parts(text)?;
    let start = out.len();
    out.push(b'P');
    for (part, unit) in parts.iter().zip("YMD".chars()).filter(|(part, _)| **part != 0) {
        out.extend_from_slice(format!("{part}{unit}").as_bytes());
    }
    let time = out.len();
    for (part, unit) in parts[3..].iter().zip("HM".chars()).filter(|(part, _)| **part != 0) {
        out.extend_from_slice(format!("{part}{unit}").as_bytes());
    }
    if seconds.scaled(18, 6).map_err(|_| INTERVAL)? != 0 {
        seconds.write_trimmed(out);
        out.push(b'S');
    }
    if out.len() > time {
        out.insert(time, b'T');
    }
    if out.len() == start + 1 {
        out.extend_from_slice(if of_months { b"0M" } else { b"T0S" });
    }
    Ok(())
}

/// What is left of a text.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn skip(&mut self, byte: u8) -> bool {
        let found = self.0.first() == Some(&byte);
        if found {
            self.0 = &self.0[1..];
        }
        found
    }

    /// A number of `least` to `most` digits, and how many it had.
    fn number(&mut self, least: usize, most: usize) -> Result<(i64, usize), Wrong> {
        let digits = self.0.iter().take(most).take_while(|b| b.is_ascii_digit()).count();
        if digits < least {
            return Err(MALFORMED);
        }
        let value = self.0[..digits].iter().fold(0, |n, b| n * 10 + i64::from(b - b'0'));
        self.0 = &self.0[digits..];
        Ok((value, digits))
    }

    fn date(&mut self) -> Result<i64, Wrong> {
        let negative = self.skip(b'-');
        if !negative {
            self.skip(b'+');
        }
        let (year, _) = self.number(4, 9)?;
        let year = if negative { -year } else { year };
        if !self.skip(b'-') {
            return Err(MALFORMED);
        }
        let (month, _) = self.number(2, 2)?;
        if !self.skip(b'-') {
            return Err(MALFORMED);
        }
        let (day, _) = self.number(2, 2)?;
        let leap = year.rem_euclid(4) == 0 && (year.rem_euclid(100) != 0 || year.rem_euclid(400) == 0);
        let last = match month {
            4 | 6 | 9 | 11 => 30,
            2 => 28 + i64::from(leap),
            1..=12 => 31,
            _ => return Err(MALFORMED),
        };
        if !(1..=last).contains(&day) {
            return Err(MALFORMED);
        }
        // Years that begin in March end with their leap day; 400 of them have 146,097 days.
        let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
        let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let of_year = (153 * month + 2) / 5 + day - 1;
        Ok(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
    }

    fn time(&mut self, cut: bool) -> Result<i64, Wrong> {
        let (hour, _) = self.number(2, 2)?;
        if !self.skip(b':') {
            return Err(MALFORMED);
        }
        let (minute, _) = self.number(2, 2)?;
        let second = if self.skip(b':') { self.number(2, 2)?.0 } else { 0 };
        if hour > 24 || minute > 59 || second > 59 {
            return Err(MALFORMED);
        }
        let mut micros = ((hour * 60 + minute) * 60 + second) * 1_000_000;
        if self.skip(b'.') {
            let (fraction, digits) = self.number(1, 9)?;
            let nanos = fraction * 10i64.pow(9 - digits as u32);
            if nanos % 1000 != 0 && !cut {
                return Err(FINER);
            }
            micros += nanos / 1000;
        }
        if micros > DAY_MICROS { Err(MALFORMED) } else { Ok(micros) }
    }

    /// Seconds east of Greenwich.
    fn offset(&mut self) -> Result<i64, Wrong> {
        let negative = self.skip(b'-');
        if !negative {
            self.skip(b'+');
        }
        let mut seconds = 0;
        for (i, unit) in [3600, 60, 1].into_iter().enumerate() {
            if i > 0 && !self.skip(b':') {
                break;
            }
            seconds += self.number(2, 2)?.0 * unit;
        }
        Ok(if negative { -seconds } else { seconds })
    }

    fn end<T>(&self, value: T) -> Result<T, Wrong> {
        if self.0.is_empty() { Ok(value) } else { Err(MALFORMED) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dates_and_times() {
        assert_eq!(date("1970-01-01Z"), Ok(0));
        assert_eq!(date("2005-05-12Z"), Ok(12915));
        assert_eq!(date("0001-01-01"), Ok(-719_162));
        assert_eq!(date("-4713-11-24Z"), Ok(-2_440_588));
        assert_eq!(date("+5874897-12-31Z"), Ok(2_145_042_905));
        assert_eq!(date("2023-02-29Z"), Err(MALFORMED));
        assert_eq!(date("2024-02-29Z"), Ok(19_782));
        assert_eq!(date("2024-02-29Zx"), Err(MALFORMED));
        assert_eq!(time("01:02:03.123456Z"), Ok(3_723_123_456));
        assert_eq!(time("24:00:00Z"), Ok(DAY_MICROS));
        assert_eq!(time("24:00:01Z"), Err(MALFORMED));
        assert_eq!(time("01:02:03.1234560000Z"), Err(MALFORMED));
        assert_eq!(time("01:02:03.123456700Z"), Err(FINER));
        assert_eq!(timestamp("1969-12-31T23:59:59.123456Z", false, false), Ok(-876_544));
        assert_eq!(timestamp("2024-11-03T01:30:00-04:00", true, false), Ok(1_730_611_800_000_000));
        assert_eq!(timestamp("2024-11-03T01:30:00-04:00", false, false), Err(MALFORMED));
        assert_eq!(timestamp("2024-11-03T01:30:00", true, false), Err(MALFORMED));
        assert_eq!(timestamp("-290308-12-21T19:59:27.6Z", false, false), Ok(-9_223_372_036_832_400_000));
        assert_eq!(timestamp("+294277-01-01T00:00:00Z", true, false), Err(FAR));
    }

    #[test]
    fn intervals_read_as_postgresql_prints_them() {
        let check = |text: &str| {
            let mut out = vec![];
            interval(text, &mut out).map(|()| String::from_utf8(out).unwrap())
        };
        assert_eq!(check("P1Y2M3DT4H5M6.78S"), Ok("1 year 2 mons 3 days 04:05:06.78".into()));
        assert_eq!(check("P0Y0M0DT0H0M0S"), Ok("00:00:00".into()));
        assert_eq!(check("P-1Y-2M3DT-4H-5M-6S"), Ok("-1 years -2 mons +3 days -04:05:06".into()));
        assert_eq!(check("P0Y0M-1DT30H0M0.000001S"), Ok("-1 days +30:00:00.000001".into()));
        assert_eq!(check("P0Y1M0DT0H0M0S"), Ok("1 mon".into()));
        assert_eq!(check("P0Y0M0DT0H0M-0.5S"), Ok("-00:00:00.5".into()));
        for bad in ["", "P", "1 day", "P1Y", "P1Y2M3DT4H5M6.78", "P1Y2M3DT4H5MxS"] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn intervals_read_as_an_oracle_load_has_them() {
        let check = |text: &str, of_months| {
            let mut out = vec![];
            iso_interval(text, of_months, &mut out).map(|()| String::from_utf8(out).unwrap())
        };
        let zero = "P0Y0M0DT0H0M0S";
        assert_eq!((check(zero, true), check(zero, false)), (Ok("P0M".into()), Ok("PT0S".into())));
        assert_eq!(check("P-1Y-2M0DT0H0M0S", true), Ok("P-1Y-2M".into()));
        assert_eq!(check("P0Y0M4DT5H0M7.890S", false), Ok("P4DT5H7.89S".into()));
        for bad in ["", "P1Y", "P0Y0M0DT0H0MxS", "P0Y0M0DT0H0M1E99S"] {
            assert!(check(bad, false).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_day_has_its_number(day in -2_440_588i64..100_000_000) {
            // The number's own date, by counting years from an era's start, reads as that number again.
            let z = day + 719_468;
            let (era, doe) = (z.div_euclid(146_097), z.rem_euclid(146_097));
            let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
            let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
            let mp = (5 * doy + 2) / 153;
            let (m, d) = (if mp < 10 { mp + 3 } else { mp - 9 }, doy - (153 * mp + 2) / 5 + 1);
            let y = yoe + era * 400 + i64::from(m <= 2);
            let text = if y < 0 { format!("-{:04}-{m:02}-{d:02}Z", -y) } else { format!("{y:04}-{m:02}-{d:02}Z") };
            prop_assert_eq!(date(&text), Ok(day));
        }

        #[test]
        fn any_text_is_an_error_at_worst(text in "[-+0-9TZ:.PYMDHS]{0,24}") {
            let _ = (date(&text), time(&text), timestamp(&text, true, false));
            let _ = (interval(&text, &mut vec![]), iso_interval(&text, true, &mut vec![]));
        }
    }
}
