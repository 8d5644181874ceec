//! A session with the database as this crate needs it, whatever the driver: dictionary queries and streams of rows.
//!
//! What must hold: no driver's type shows outside its own module; a driver's panic is an error; values are handed over
//! as they lie in the driver's row, without a copy that the decoder does not need. A session that has failed is
//! abandoned, never used again.

#[cfg(feature = "oci")]
mod oci;
mod thin;

use std::any::Any;
use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;

use crate::config::Endpoint;
use crate::error::{Answer, Failure};

/// A value of a placeholder.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bind<'a> {
    /// Text.
    Text(&'a str),
    /// A whole number: an SCN, a count.
    Number(u64),
}

/// A query.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Query<'a> {
    /// Its text.
    pub(crate) sql: &'a str,
    /// The values of `:1`, `:2` …
    pub(crate) binds: &'a [Bind<'a>],
    /// Rows of one round trip.
    pub(crate) fetch: u32,
    /// Whether LOBs come as locators, each read by itself, instead of within the row.
    pub(crate) locators: bool,
}

/// What is done with each row. An error ends the query.
pub(crate) type Each<'a> = &'a mut dyn FnMut(&mut dyn Row) -> Answer<()>;

/// An open session. Its calls block.
pub(crate) trait Session: Send {
    /// The server's major version: 19, 23 …
    fn major_version(&self) -> u32;

    /// Runs a statement that gives no rows.
    fn run(&mut self, sql: &str, binds: &[Bind<'_>]) -> Answer<()>;

    /// Hands over the rows of a query in their order.
    fn query(&mut self, query: &Query<'_>, each: Each<'_>) -> Answer<()>;

    /// Ends it without waiting for the server.
    fn abandon(self: Box<Self>);
}

/// What is asked before a LOB of so many characters or bytes is read, or so much of it is kept; an error ends the query.
pub(crate) type Admit<'a> = &'a mut dyn FnMut(u64) -> Answer<()>;

/// A row, while it is handed over.
pub(crate) trait Row {
    /// The NUMBER in a column, counted from 0; none for NULL. What there is most of comes by itself: a [`Cell`] is large, and
    /// copying it costs more than reading most of what it holds.
    fn number(&self, column: usize) -> Answer<Option<Digits>>;

    /// Text. A driver makes that of some types for us, such as a ROWID's.
    fn text(&self, column: usize) -> Answer<Option<Cow<'_, str>>>;

    /// A date or timestamp.
    fn stamp(&self, column: usize) -> Answer<Option<Stamp>>;

    /// A value of another kind.
    fn cell(&self, column: usize, kind: Kind) -> Answer<Cell<'_>>;

    /// Appends the value of a LOB that came as a locator, UTF-8 or bytes, unless it has more than `cap` bytes.
    fn lob(&mut self, column: usize, cap: u64, admit: Admit<'_>, out: &mut Vec<u8>) -> Answer<Lob>;
}

/// What a column's value is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Text,
    Number,
    Stamp,
    Cell(Kind),
}

/// A kind of value that a [`Cell`] holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Bytes,
    Float,
    Double,
    Bool,
    YearMonth,
    DaySecond,
    Vector,
}

/// A value that is neither text nor a NUMBER nor a moment.
#[derive(Debug)]
pub(crate) enum Cell<'a> {
    Null,
    Bytes(&'a [u8]),
    /// Bytes that the driver does not keep.
    #[cfg(feature = "oci")]
    Taken(Vec<u8>),
    Float(f32),
    Double(f64),
    Bool(bool),
    /// Years and months, of the same sign.
    YearMonth(i32, i32),
    /// Days, hours, minutes, seconds and nanoseconds, of the same sign.
    DaySecond([i32; 5]),
    Vector(Vec<f64>),
}

/// What became of a LOB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lob {
    Null,
    /// It was appended.
    Read,
    /// It is longer than it may be: characters or bytes. Part of it may have been appended.
    TooLong(u64),
}

/// Most significant digits of a NUMBER, in pairs that may begin and end with a zero.
pub(crate) const DIGITS: u8 = 40;

/// Digits that fit into a mantissa.
const MANTISSA_DIGITS: u8 = 38;

/// A NUMBER: its digits, without zeros in front and behind the point's last, times ten to the `exponent`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Digits {
    pub(crate) negative: bool,
    pub(crate) exponent: i16,
    /// How many digits there are; 0 for the number 0.
    pub(crate) count: u8,
    /// The first of them, 38 at most.
    pub(crate) mantissa: u128,
    /// The others: two at most.
    pub(crate) rest: u8,
}

/// A date or timestamp as Oracle has it: before the year 1 comes the year −1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) year: i32,
    pub(crate) month: u8,
    pub(crate) day: u8,
    pub(crate) hour: u8,
    pub(crate) minute: u8,
    pub(crate) second: u8,
    pub(crate) nanos: u32,
    /// Seconds east of UTC.
    pub(crate) offset: i32,
}

/// Which driver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Driver {
    /// Oracle's own, in Rust.
    #[default]
    Thin,
    /// ODPI-C on Oracle's client libraries.
    Oci,
}

/// Opens a session, within `connect.timeout.ms`.
pub(crate) fn open(endpoint: &Endpoint) -> Answer<Box<dyn Session>> {
    // A driver may wait for ever for a server that accepts and says nothing, so that it is left behind then.
    let (sender, opened) = mpsc::sync_channel(1);
    let (timeout, endpoint) = (endpoint.connect_timeout, endpoint.clone());
    let connect = move || {
        let opened = contained(|| match endpoint.driver {
            Driver::Thin => thin::connect(&endpoint),
            Driver::Oci => connect_oci(&endpoint),
        });
        // Nobody waits any more: then it goes.
        if let Err(mpsc::SendError(Ok(session))) = sender.send(opened) {
            session.abandon();
        }
    };
    thread::Builder::new().name("oracle-open".into()).spawn(connect).map_err(|e| Failure::Lost(e.into()))?;
    match opened.recv_timeout(timeout) {
        Ok(opened) => opened,
        Err(RecvTimeoutError::Timeout) => Err(Failure::Lost("no session within connect.timeout.ms".into())),
        Err(RecvTimeoutError::Disconnected) => Err(Failure::Driver("the connecting thread ended".into())),
    }
}

#[cfg(feature = "oci")]
fn connect_oci(endpoint: &Endpoint) -> Answer<Box<dyn Session>> {
    oci::connect(endpoint)
}

#[cfg(not(feature = "oci"))]
fn connect_oci(_: &Endpoint) -> Answer<Box<dyn Session>> {
    Err(Failure::Setup("this program was built without the driver oci (cargo feature `oci`)".into()))
}

/// Does it; a panic, of a driver above all, is a failure.
pub(crate) fn contained<T>(work: impl FnOnce() -> Answer<T>) -> Answer<T> {
    // What a panic leaves behind is abandoned with the session.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(Failure::Driver(panicked(&*panic).into())))
}

fn panicked(panic: &(dyn Any + Send)) -> String {
    let said = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    let said = said.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    format!("it panicked: {said}")
}

impl Digits {
    /// Reads a plain decimal number, as the drivers print a NUMBER: digits, perhaps a sign, a point and zeros.
    #[cfg(any(test, feature = "oci"))]
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut reader = DigitReader::default();
        text.chars().try_for_each(|c| reader.take(c)).ok()?;
        reader.end()
    }

    /// Its value, if it is whole and not too large.
    pub(crate) fn whole(&self) -> Option<i128> {
        if self.count > MANTISSA_DIGITS {
            return None;
        }
        let value = i128::try_from(self.mantissa).ok()?;
        let value = value.checked_mul(10_i128.checked_pow(u32::try_from(self.exponent).ok()?)?)?;
        Some(if self.negative { -value } else { value })
    }

    /// Takes one more digit; `None` when there are too many.
    fn push(&mut self, digit: u8) -> Option<()> {
        if self.count < MANTISSA_DIGITS {
            self.mantissa = 10 * self.mantissa + u128::from(digit);
        } else if self.count < DIGITS {
            self.rest = 10 * self.rest + digit;
        } else {
            return None;
        }
        self.count += 1;
        Some(())
    }
}

/// Digits that fit into 64 bits.
const SHORT: u8 = 19;

/// Takes a printed number character by character: the drivers tell a NUMBER no other way.
#[derive(Debug, Default)]
pub(crate) struct DigitReader {
    negative: bool,
    point: bool,
    any: bool,
    /// The number so far, and how many digits it has: nearly every number has no more than fit here.
    short: u64,
    count: u8,
    /// Digits taken behind the point.
    behind: i16,
    /// The number when it has more digits than those.
    long: Digits,
    /// Zeros after the last digit taken of such a one, of which `zeros_behind` are behind the point: they count only if a
    /// digit follows.
    zeros: i16,
    zeros_behind: i16,
}

impl DigitReader {
    #[inline]
    fn take(&mut self, c: char) -> Result<(), std::fmt::Error> {
        match c {
            '0'..='9' => {
                let digit = c as u8 - b'0';
                self.any = true;
                if self.count == SHORT {
                    return self.take_more(digit);
                }
                self.short = 10 * self.short + u64::from(digit);
                self.count += u8::from(self.short > 0);
                self.behind += i16::from(self.point);
            }
            '.' if !self.point => self.point = true,
            '-' if !self.any && !self.negative && !self.point => self.negative = true,
            _ => return Err(std::fmt::Error),
        }
        Ok(())
    }

    #[cold]
    fn take_more(&mut self, digit: u8) -> Result<(), std::fmt::Error> {
        if digit == 0 {
            (self.zeros, self.zeros_behind) = (self.zeros + 1, self.zeros_behind + i16::from(self.point));
            return Ok(());
        }
        if self.long.count == 0 {
            (self.long.mantissa, self.long.count) = (self.short.into(), self.count);
        }
        (0..self.zeros).try_for_each(|_| self.long.push(0)).ok_or(std::fmt::Error)?;
        self.long.push(digit).ok_or(std::fmt::Error)?;
        self.behind += self.zeros_behind + i16::from(self.point);
        (self.zeros, self.zeros_behind) = (0, 0);
        Ok(())
    }

    /// The number, if it was one.
    #[inline]
    pub(crate) fn end(mut self) -> Option<Digits> {
        let Self { negative, any, .. } = self;
        let mut exponent = self.zeros - self.zeros_behind - self.behind;
        if self.long.count > 0 {
            return Some(Digits { negative, exponent, ..self.long });
        }
        if self.count == 0 {
            return any.then(|| Digits { negative, ..Digits::default() });
        }
        while exponent < 0 && self.short.is_multiple_of(10) {
            (self.short, self.count, exponent) = (self.short / 10, self.count - 1, exponent + 1);
        }
        Some(Digits { negative, exponent, count: self.count, mantissa: self.short.into(), rest: 0 })
    }
}

impl std::fmt::Write for DigitReader {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        text.chars().try_for_each(|c| self.take(c))
    }

    fn write_char(&mut self, c: char) -> std::fmt::Result {
        self.take(c)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read() {
        let check = |text: &str| {
            Digits::parse(text).map(|n| {
                let mut digits = Vec::new();
                n.digits(&mut digits);
                assert_eq!(digits.len(), usize::from(n.count), "{text}");
                (n.negative, String::from_utf8(digits).unwrap(), n.exponent)
            })
        };
        let is = |negative, digits: &str, exponent| Some((negative, digits.to_owned(), exponent));
        assert_eq!(check("0"), is(false, "", 0));
        assert_eq!(check("120"), is(false, "120", 0));
        assert_eq!(check("-0.0012"), is(true, "12", -4));
        assert_eq!(check("100.05"), is(false, "10005", -2));
        assert_eq!(check("1.50"), is(false, "15", -1));
        assert_eq!(check("10.00"), is(false, "10", 0));
        assert_eq!(check("0.10"), is(false, "1", -1));
        let twenty = "12345678901234567890";
        assert_eq!(check(twenty), is(false, "1234567890123456789", 1));
        assert_eq!(check(&format!("-{twenty}.0500")), is(true, &format!("{twenty}05"), -2));
        assert_eq!(check(&format!("0.00{twenty}1")), is(false, &format!("{twenty}1"), -23));
        assert_eq!(check(&format!("1{}", "0".repeat(125))), is(false, &format!("1{}", "0".repeat(18)), 107));
        assert_eq!(check(&format!("0.{}1", "0".repeat(129))), is(false, "1", -130));
        let all = "9".repeat(40);
        assert_eq!(check(&all), is(false, &all, 0));
        for bad in ["", "-", ".", "1e5", "--1", "1.2.3", "9".repeat(41).as_str(), "~"] {
            assert_eq!(check(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_panic_is_a_failure() {
        let failed = contained::<()>(|| panic!("at the {}", "disco")).unwrap_err().while_doing("testing");
        assert!(format!("{failed:#}").contains("it panicked: at the disco"), "{failed:#}");
    }
}
