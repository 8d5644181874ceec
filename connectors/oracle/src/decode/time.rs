//! Dates, timestamps and intervals. Pure.
//!
//! Oracle's calendar is Julian before 1582-10-15 and has no year 0; Iceberg's is Gregorian throughout and has one. Year,
//! month and day stay as they are read, and the year −1 is the year 0: what is kept is the date that is written, not
//! the number of days since.

use std::fmt::Write as _;

use super::Wrong;
use crate::session::Stamp;

const DAY_MICROS: i64 = 86_400_000_000;

/// Microseconds since 1970-01-01; what is below them is cut off.
#[inline]
pub(super) fn micros(stamp: &Stamp) -> Result<i64, Wrong> {
    let Stamp { year, month, day, hour, minute, second, nanos, offset } = *stamp;
    // Oracle's range is −4712 to 9999, without 0.
    let year = match year {
        -4712..=-1 => year + 1,
        1..=9999 => year,
        _ => return Err("the year is out of range"),
    };
    if !(1..=12).contains(&month) || hour > 23 || minute > 59 || second > 59 || nanos > 999_999_999 {
        return Err("the timestamp has a part that is out of range");
    }
    let first = first_of(year, month);
    if day == 0 || i64::from(day) > first_of(year, month + 1) - first {
        return Err("the day does not exist in the Gregorian calendar");
    }
    let seconds = (i64::from(hour) * 60 + i64::from(minute)) * 60 + i64::from(second) - i64::from(offset);
    Ok((first + i64::from(day) - 1) * DAY_MICROS + seconds * 1_000_000 + i64::from(nanos / 1000))
}

/// Nanoseconds since 1970-01-01, which reach from 1677-09-21 to 2262-04-11.
pub(super) fn nanos(stamp: &Stamp) -> Result<i64, Wrong> {
    let nanos = i128::from(micros(stamp)?) * 1000 + i128::from(stamp.nanos % 1000);
    i64::try_from(nanos).map_err(|_| "the timestamp is before 1677-09-21 or after 2262-04-11, outside of timestamp_ns")
}

/// The years whose months are known without reckoning.
const USUAL: std::ops::Range<i32> = 1900..2100;

/// Days from 1970-01-01 to the first of each of their months, and of the month after.
const MONTHS: [i32; 12 * (USUAL.end - USUAL.start) as usize + 1] = {
    let mut months = [0; 12 * (USUAL.end - USUAL.start) as usize + 1];
    let mut i = 0;
    while i < months.len() {
        months[i] = days(USUAL.start + i as i32 / 12, i as i32 % 12 + 1) as i32;
        i += 1;
    }
    months
};

/// Days since 1970-01-01 of the first of a month, of which the 13th is the next year's first.
#[inline]
fn first_of(year: i32, month: u8) -> i64 {
    let known = usize::try_from(12 * (year - USUAL.start) + i32::from(month) - 1).ok().and_then(|i| MONTHS.get(i));
    match known {
        Some(days) => (*days).into(),
        None if month > 12 => days(year + 1, 1),
        None => days(year, month.into()),
    }
}

/// The same of any year: years begin in March, so that the leap day is their last.
const fn days(year: i32, month: i32) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * month + 2) / 5;
    let of_era = of_era * 365 + of_era / 4 - of_era / 100 + of_year;
    era as i64 * 146_097 + of_era as i64 - 719_468
}

/// INTERVAL YEAR TO MONTH as ISO 8601 has it, each part with its sign, as java.time.Period reads it: `P-1Y-2M`.
pub(super) fn year_month(years: i32, months: i32, out: &mut Vec<u8>) {
    let mut text = String::from("P");
    if years != 0 {
        let _ = write!(text, "{years}Y");
    }
    if months != 0 || years == 0 {
        let _ = write!(text, "{months}M");
    }
    out.extend_from_slice(text.as_bytes());
}

/// INTERVAL DAY TO SECOND as ISO 8601 has it, each part with its sign, as java.time.Duration reads it:
/// `P-3DT-4H-5M-6.5S`.
pub(super) fn day_second([days, hours, minutes, seconds, nanos]: [i32; 5], out: &mut Vec<u8>) {
    let mut text = String::from("P");
    if days != 0 {
        let _ = write!(text, "{days}D");
    }
    if [hours, minutes, seconds, nanos] != [0; 4] || days == 0 {
        text.push('T');
    }
    for (part, unit) in [(hours, 'H'), (minutes, 'M')] {
        if part != 0 {
            let _ = write!(text, "{part}{unit}");
        }
    }
    if seconds != 0 || nanos != 0 || text == "PT" {
        let sign = if seconds < 0 || nanos < 0 { "-" } else { "" };
        let _ = write!(text, "{sign}{}", seconds.unsigned_abs());
        if nanos != 0 {
            let digits = format!("{:09}", nanos.unsigned_abs());
            let _ = write!(text, ".{}", digits.trim_end_matches('0'));
        }
        text.push('S');
    }
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(year: i32, month: u8, day: u8) -> Stamp {
        Stamp { year, month, day, hour: 0, minute: 0, second: 0, nanos: 0, offset: 0 }
    }

    #[test]
    fn dates() {
        let check = |y, m, d| micros(&stamp(y, m, d)).map(|micros| micros / DAY_MICROS);
        assert_eq!(check(1970, 1, 1), Ok(0));
        assert_eq!(check(2000, 3, 1), Ok(11_017));
        assert_eq!(check(9999, 12, 31), Ok(2_932_896));
        // What DuckDB and Python say of the proleptic Gregorian calendar.
        assert_eq!(check(1, 1, 1), Ok(-719_162));
        assert_eq!(check(-1, 12, 31), Ok(-719_163), "the day before, in the year before");
        // Day 0 of the Julian day number is −4713-11-24, 2,440,588 days before; 38 and 366 days later comes this one.
        assert_eq!(check(-4712, 1, 1), Ok(-2_440_184));
        assert_eq!(
            check(1582, 10, 4),
            Ok(-141_438),
            "the fields stay: in Julian days it would be the day before the 15th"
        );
        for (y, m, d) in
            [(0, 1, 1), (10_000, 1, 1), (-4713, 1, 1), (2023, 2, 29), (1500, 2, 29), (2024, 13, 1), (2024, 4, 0)]
        {
            assert!(check(y, m, d).is_err(), "{y}-{m}-{d}");
        }
    }

    #[test]
    fn times() {
        let check = |hour, minute, second, nanos| micros(&Stamp { hour, minute, second, nanos, ..stamp(1970, 1, 1) });
        assert_eq!(check(23, 59, 59, 999_999_999), Ok(DAY_MICROS - 1));
        assert_eq!(check(0, 0, 0, 1_999), Ok(1));
        let before = Stamp { hour: 20, minute: 17, second: 40, nanos: 123_456_789, ..stamp(1969, 7, 20) };
        assert_eq!(micros(&before), Ok(-14_182_939_876_544));
        let east = Stamp { hour: 5, minute: 30, offset: 19_800, ..stamp(1970, 1, 1) };
        assert_eq!(micros(&east), Ok(0));
        assert!(check(24, 0, 0, 0).is_err() && check(0, 60, 0, 0).is_err() && check(0, 0, 60, 0).is_err());
    }

    #[test]
    fn nanoseconds() {
        let check = |(year, month, day), (hour, minute, second), nanos| {
            super::nanos(&Stamp { hour, minute, second, nanos, ..stamp(year, month, day) })
        };
        assert_eq!(check((1970, 1, 1), (0, 0, 0), 1), Ok(1));
        assert_eq!(check((1969, 12, 31), (23, 59, 59), 999_999_999), Ok(-1));
        assert_eq!(check((2262, 4, 11), (23, 47, 16), 854_775_807), Ok(i64::MAX));
        assert_eq!(check((1677, 9, 21), (0, 12, 43), 145_224_192), Ok(i64::MIN));
        assert!(check((2262, 4, 11), (23, 47, 16), 854_775_808).is_err());
        assert!(check((1677, 9, 21), (0, 12, 43), 145_224_191).is_err());
        assert!(check((9999, 12, 31), (0, 0, 0), 0).is_err());
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut last = -2_440_185;
        for year in (-4712..=9999).filter(|year| *year != 0) {
            let astronomical = if year < 0 { year + 1 } else { year };
            let leaps = astronomical % 4 == 0 && (astronomical % 100 != 0 || astronomical % 400 == 0);
            for (month, length) in (1..).zip([31, 28 + u8::from(leaps), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]) {
                for day in 1..=length {
                    last += 1;
                    assert_eq!(micros(&stamp(year, month, day)), Ok(last * DAY_MICROS), "{year}-{month}-{day}");
                }
                assert!(micros(&stamp(year, month, length + 1)).is_err(), "{year}-{month}");
            }
        }
        assert_eq!(last, 2_932_896);
    }

    #[test]
    fn intervals() {
        let ym = |years, months| {
            let mut out = vec![];
            year_month(years, months, &mut out);
            String::from_utf8(out).unwrap()
        };
        let all = [ym(0, 0), ym(3, 0), ym(0, -2), ym(-3, -2), ym(999_999_999, 11)];
        assert_eq!(all, ["P0M", "P3Y", "P-2M", "P-3Y-2M", "P999999999Y11M"]);
        let ds = |parts| {
            let mut out = vec![];
            day_second(parts, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(ds([0; 5]), "PT0S");
        assert_eq!(ds([4, 0, 0, 0, 0]), "P4D");
        assert_eq!(ds([4, 5, 6, 7, 890_000_000]), "P4DT5H6M7.89S");
        assert_eq!(ds([-4, -5, -6, -7, -1]), "P-4DT-5H-6M-7.000000001S");
        assert_eq!(ds([0, 0, 0, 0, -500_000_000]), "PT-0.5S");
        assert_eq!(ds([0, 0, 30, 0, 0]), "PT30M");
        assert_eq!(ds([999_999_999, 23, 59, 59, 999_999_999]), "P999999999DT23H59M59.999999999S");
    }
}
