//! Oracle's types as a dictionary has them, and values of them.

use std::fmt;

use crate::json::Json;
use crate::number::Number;

/// What a length of text counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// Bytes of the database character set (AL32UTF8).
    Bytes(u32),
    /// Characters.
    Chars(u32),
}

impl Length {
    /// The most bytes that fit.
    pub fn bytes(self) -> u32 {
        match self {
            Self::Bytes(n) => n,
            Self::Chars(n) => n * 4,
        }
    }

    /// The number that was declared.
    pub fn declared(self) -> u32 {
        match self {
            Self::Bytes(n) | Self::Chars(n) => n,
        }
    }
}

/// A column's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// `NUMBER`, `NUMBER(p)`, `NUMBER(p,s)`, `NUMBER(*,s)`: precision and scale as they were declared.
    Number(Option<u8>, Option<i8>),
    /// `FLOAT(b)`: precision in binary digits, 1 to 126.
    Float(u8),
    /// `BINARY_FLOAT`.
    BinaryFloat,
    /// `BINARY_DOUBLE`.
    BinaryDouble,
    /// `DATE`, of seconds.
    Date,
    /// `TIMESTAMP(f)`, f digits of a second's fraction.
    Timestamp(u8),
    /// `TIMESTAMP(f) WITH TIME ZONE`.
    TimestampTz(u8),
    /// `TIMESTAMP(f) WITH LOCAL TIME ZONE`.
    TimestampLtz(u8),
    /// `INTERVAL YEAR(y) TO MONTH`.
    IntervalYm(u8),
    /// `INTERVAL DAY(d) TO SECOND(f)`.
    IntervalDs(u8, u8),
    /// `CHAR`.
    Char(Length),
    /// `VARCHAR2`.
    Varchar2(Length),
    /// `NCHAR(n)`, characters.
    Nchar(u32),
    /// `NVARCHAR2(n)`, characters.
    Nvarchar2(u32),
    /// `CLOB`.
    Clob,
    /// `NCLOB`.
    Nclob,
    /// `BLOB`.
    Blob,
    /// `RAW(n)`, bytes.
    Raw(u32),
    /// `LONG`.
    Long,
    /// `LONG RAW`.
    LongRaw,
    /// `XMLTYPE`.
    Xml,
    /// `JSON` (since 21c).
    Json,
    /// `ROWID`.
    Rowid,
    /// `UROWID`; also what the pseudo-column ROWID is of an index-organised table.
    Urowid,
    /// `BOOLEAN` (since 23ai).
    Boolean,
    /// `VECTOR(n, FLOAT32)` (since 23ai): the number of dimensions.
    Vector(u32),
}

impl Type {
    /// `VARCHAR2(n CHAR)`.
    pub const fn text(characters: u32) -> Self {
        Self::Varchar2(Length::Chars(characters))
    }

    /// `NUMBER(p, s)`.
    pub const fn number(precision: u8, scale: i8) -> Self {
        Self::Number(Some(precision), Some(scale))
    }

    /// `DATA_TYPE` of the dictionary.
    pub fn name(&self) -> String {
        match self {
            Self::Number(..) => "NUMBER".into(),
            Self::Float(_) => "FLOAT".into(),
            Self::BinaryFloat => "BINARY_FLOAT".into(),
            Self::BinaryDouble => "BINARY_DOUBLE".into(),
            Self::Date => "DATE".into(),
            Self::Timestamp(f) => format!("TIMESTAMP({f})"),
            Self::TimestampTz(f) => format!("TIMESTAMP({f}) WITH TIME ZONE"),
            Self::TimestampLtz(f) => format!("TIMESTAMP({f}) WITH LOCAL TIME ZONE"),
            Self::IntervalYm(y) => format!("INTERVAL YEAR({y}) TO MONTH"),
            Self::IntervalDs(d, f) => format!("INTERVAL DAY({d}) TO SECOND({f})"),
            Self::Char(_) => "CHAR".into(),
            Self::Varchar2(_) => "VARCHAR2".into(),
            Self::Nchar(_) => "NCHAR".into(),
            Self::Nvarchar2(_) => "NVARCHAR2".into(),
            Self::Clob => "CLOB".into(),
            Self::Nclob => "NCLOB".into(),
            Self::Blob => "BLOB".into(),
            Self::Raw(_) => "RAW".into(),
            Self::Long => "LONG".into(),
            Self::LongRaw => "LONG RAW".into(),
            Self::Xml => "XMLTYPE".into(),
            Self::Json => "JSON".into(),
            Self::Rowid => "ROWID".into(),
            Self::Urowid => "UROWID".into(),
            Self::Boolean => "BOOLEAN".into(),
            Self::Vector(_) => "VECTOR".into(),
        }
    }

    /// Text of the national character set, which travels as UTF-16.
    pub fn is_national(&self) -> bool {
        matches!(self, Self::Nchar(_) | Self::Nvarchar2(_) | Self::Nclob)
    }

    /// Values that travel as LOBs do, with all of their data.
    pub(crate) fn waits_for_define(&self) -> bool {
        matches!(self, Self::Json | Self::Vector(_))
    }

    /// Values are kept out of the row behind a locator.
    pub fn is_lob(&self) -> bool {
        matches!(self, Self::Clob | Self::Nclob | Self::Blob)
    }
}

/// A date and a time of day, in the calendar that Oracle has: Julian before 15 October 1582, no year zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment {
    /// −4712 to 9999; negative is BC.
    pub year: i16,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59.
    pub second: u8,
    /// Nanoseconds of the second.
    pub nanos: u32,
}

impl Moment {
    /// A date and a time of day to the second.
    pub const fn new(year: i16, month: u8, day: u8, hour: u8, minute: u8, second: u8) -> Self {
        Self { year, month, day, hour, minute, second, nanos: 0 }
    }

    /// With nanoseconds.
    pub const fn nanos(self, nanos: u32) -> Self {
        Self { nanos, ..self }
    }

    /// `YYYY-MM-DD[ HH:MI:SS[.FF]]`
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (date, time) = text.trim().split_once([' ', 'T']).unwrap_or((text.trim(), "0:0:0"));
        let (before, date) = match date.strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => (1, date),
        };
        let mut date = date.split('-');
        let mut part = || date.next()?.parse::<i16>().ok();
        let (year, month, day) = (part()? * before, part()?, part()?);
        let (clock, fraction) = time.split_once('.').unwrap_or((time, ""));
        let mut clock = clock.split(':');
        let mut part = || clock.next().map_or(Some(0), |p| p.parse::<u8>().ok());
        let (hour, minute, second) = (part()?, part()?, part()?);
        let nanos = if fraction.is_empty() { 0 } else { format!("{fraction:0<9}").get(..9)?.parse().ok()? };
        let in_range = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second < 60;
        in_range.then(|| Self::new(year, month as u8, day as u8, hour, minute, second).nanos(nanos))
    }

    /// So many minutes later. Of the Gregorian calendar only.
    pub fn plus_minutes(self, minutes: i64) -> Self {
        let all = self.epoch_seconds() + minutes * 60;
        Self { nanos: self.nanos, ..Self::from_epoch_seconds(all) }
    }

    /// Seconds since 1970, by the Gregorian calendar.
    pub fn epoch_seconds(self) -> i64 {
        // Days from civil: http://howardhinnant.github.io/date_algorithms.html
        let year = i64::from(self.year) + i64::from(self.year < 0) - i64::from(self.month <= 2);
        let era = year.div_euclid(400);
        let of_era = year.rem_euclid(400);
        let day_of_year = (153 * ((i64::from(self.month) + 9) % 12) + 2) / 5 + i64::from(self.day) - 1;
        let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + day_of_year - 719_468;
        days * 86_400 + i64::from(self.hour) * 3600 + i64::from(self.minute) * 60 + i64::from(self.second)
    }

    /// From seconds since 1970, by the Gregorian calendar.
    pub fn from_epoch_seconds(seconds: i64) -> Self {
        let (days, of_day) = (seconds.div_euclid(86_400) + 719_468, seconds.rem_euclid(86_400));
        let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted + 2) / 5 + 1;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let year = if year <= 0 { year - 1 } else { year };
        let part = |n: i64| n as u8;
        Self::new(year as i16, part(month), part(day), part(of_day / 3600), part(of_day / 60 % 60), part(of_day % 60))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02} ", self.year, self.month, self.day)?;
        write!(f, "{:02}:{:02}:{:02}", self.hour, self.minute, self.second)?;
        if self.nanos > 0 { write!(f, ".{:09}", self.nanos) } else { Ok(()) }
    }
}

/// Where a row of a heap table lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rowid {
    /// `DATA_OBJECT_ID` of the segment.
    pub object: u32,
    /// Relative file number.
    pub file: u16,
    /// Block within the file.
    pub block: u32,
    /// Row within the block.
    pub row: u16,
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

impl Rowid {
    /// From the 18 characters of an extended rowid.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 18 {
            return None;
        }
        let digit = |b: u8| ALPHABET.iter().position(|a| *a == b).map(|n| n as u64);
        let number = |part: &str| part.bytes().try_fold(0_u64, |n, b| Some(n << 6 | digit(b)?));
        let part = |from: usize, to: usize| text.get(from..to).and_then(number);
        Some(Self {
            object: part(0, 6)?.try_into().ok()?,
            file: part(6, 9)?.try_into().ok()?,
            block: part(9, 15)?.try_into().ok()?,
            row: part(15, 18)?.try_into().ok()?,
        })
    }
}

impl fmt::Display for Rowid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [(self.object.into(), 6), (self.file.into(), 3), (self.block.into(), 6), (self.row.into(), 3)];
        for (number, digits) in parts {
            let number: u64 = number;
            for n in (0..digits).rev() {
                write!(f, "{}", char::from(ALPHABET[(number >> (6 * n) & 63) as usize]))?;
            }
        }
        Ok(())
    }
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// NULL; empty text too.
    Null,
    /// `NUMBER`, `FLOAT`.
    Number(Number),
    /// `BINARY_FLOAT`.
    Float(f32),
    /// `BINARY_DOUBLE`.
    Double(f64),
    /// Text of any type.
    Text(String),
    /// `RAW`, `LONG RAW`, `BLOB`.
    Bytes(Vec<u8>),
    /// `DATE`.
    Date(Moment),
    /// `TIMESTAMP`; of `WITH LOCAL TIME ZONE` in UTC.
    Timestamp(Moment),
    /// `TIMESTAMP WITH TIME ZONE`: in UTC, and the offset in minutes that it was given with.
    Zoned(Moment, i16),
    /// `INTERVAL YEAR TO MONTH`, months.
    Months(i64),
    /// `INTERVAL DAY TO SECOND`: nanoseconds.
    Nanos(i128),
    /// `ROWID`.
    Rowid(Rowid),
    /// `BOOLEAN`.
    Boolean(bool),
    /// `JSON`.
    Json(Box<Json>),
    /// `VECTOR`.
    Vector(Vec<f32>),
}

impl Value {
    /// A whole number.
    pub fn int(number: impl Into<i64>) -> Self {
        Self::Number(Number::from(number.into()))
    }

    /// A number from its digits.
    ///
    /// # Panics
    /// When it is none.
    pub fn number(text: &str) -> Self {
        Self::Number(text.parse().unwrap_or_else(|_| panic!("{text} is no NUMBER")))
    }

    /// Text. Empty text is NULL.
    pub fn text(text: impl Into<String>) -> Self {
        let text = text.into();
        if text.is_empty() { Self::Null } else { Self::Text(text) }
    }

    /// Whether it is NULL.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::int(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rowid_is_its_text() {
        // From Oracle's documentation of extended rowids: object AAAAaoA, file ATA, block AAABrX, row AAA.
        let rowid = Rowid { object: 26_752, file: 1, block: 0x1234_5678, row: 9 };
        assert_eq!(Rowid::parse(&rowid.to_string()), Some(rowid));
        assert_eq!(Rowid::parse("AAAAaoAATAAABrXAAA").unwrap().to_string(), "AAAAaoAATAAABrXAAA");
        assert_eq!(Rowid::parse("short"), None);
    }

    #[test]
    fn moments_count_minutes() {
        let moment = Moment::new(2024, 2, 29, 23, 59, 58);
        assert_eq!(moment.plus_minutes(1), Moment::new(2024, 3, 1, 0, 0, 58));
        assert_eq!(moment.epoch_seconds(), 1_709_251_198);
        for seconds in [0, -1, 1_709_251_198, -62_135_596_800, 253_402_300_799] {
            assert_eq!(Moment::from_epoch_seconds(seconds).epoch_seconds(), seconds);
        }
    }
}
