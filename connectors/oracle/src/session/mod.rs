//! A session with the database as this crate needs it, whatever the driver: dictionary queries and streams of rows.
//!
//! What must hold: no driver's type shows outside its own module; a driver's panic is an error; values are handed over
//! as they lie in the driver's row, without a copy that the decoder does not need. A session that has failed is
//! abandoned, never used again.

#[cfg(feature = "oci")]
mod oci;
mod thin;

use std::any::Any;
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

/// A row, while it is handed over.
pub(crate) trait Row {
    /// The value of a column, counted from 0.
    fn cell(&self, column: usize, wanted: Wanted) -> Answer<Cell<'_>>;

    /// Appends the value of a LOB that came as a locator, UTF-8 or bytes, unless it has more than `cap` bytes.
    fn lob(&mut self, column: usize, cap: u64, out: &mut Vec<u8>) -> Answer<Lob>;
}

/// What a column's value is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Text,
    Bytes,
    Number,
    Float,
    Double,
    Bool,
    Stamp,
    YearMonth,
    DaySecond,
    Vector,
}

/// A value.
#[derive(Debug)]
pub(crate) enum Cell<'a> {
    Null,
    Text(&'a str),
    /// Text that the driver makes for us, such as a ROWID.
    Made(String),
    Bytes(&'a [u8]),
    /// Bytes that the driver does not keep.
    #[cfg(feature = "oci")]
    Taken(Vec<u8>),
    Number(Digits),
    Float(f32),
    Double(f64),
    Bool(bool),
    Stamp(Stamp),
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
pub(crate) const DIGITS: usize = 40;

/// A NUMBER: its digits without leading zeros, times ten to the `exponent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Digits {
    pub(crate) negative: bool,
    pub(crate) exponent: i16,
    pub(crate) count: u8,
    pub(crate) digits: [u8; DIGITS],
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
        let digits = self.digits.get(..usize::from(self.count))?;
        let value =
            digits.iter().try_fold(0_i128, |value, digit| value.checked_mul(10)?.checked_add((*digit).into()))?;
        let value = value.checked_mul(10_i128.checked_pow(u32::try_from(self.exponent).ok()?)?)?;
        Some(if self.negative { -value } else { value })
    }
}

/// Takes a printed number character by character.
#[derive(Debug)]
pub(crate) struct DigitReader {
    number: Digits,
    point: bool,
    /// Zeros after the last digit taken, of which `zeros_after` are behind the point: they count only if a digit
    /// follows.
    zeros: i16,
    zeros_after: i16,
    any: bool,
}

impl Default for DigitReader {
    fn default() -> Self {
        let number = Digits { negative: false, exponent: 0, count: 0, digits: [0; DIGITS] };
        Self { number, point: false, zeros: 0, zeros_after: 0, any: false }
    }
}

impl DigitReader {
    fn take(&mut self, c: char) -> Result<(), std::fmt::Error> {
        let number = &mut self.number;
        match c {
            '-' if !self.any && !number.negative => number.negative = true,
            '.' if !self.point => self.point = true,
            '0' => {
                self.any = true;
                (self.zeros, self.zeros_after) = (self.zeros + 1, self.zeros_after + i16::from(self.point));
            }
            '1'..='9' => {
                self.any = true;
                // Zeros before the first digit are no digits, but those behind the point move it.
                let inner = if number.count > 0 { usize::try_from(self.zeros).unwrap_or(DIGITS) } else { 0 };
                let at = usize::from(number.count) + inner;
                *number.digits.get_mut(at).ok_or(std::fmt::Error)? = c as u8 - b'0';
                number.count = u8::try_from(at + 1).map_err(|_| std::fmt::Error)?;
                number.exponent -= self.zeros_after + i16::from(self.point);
                (self.zeros, self.zeros_after) = (0, 0);
            }
            _ => return Err(std::fmt::Error),
        }
        Ok(())
    }

    /// The number, if it was one.
    pub(crate) fn end(mut self) -> Option<Digits> {
        if self.number.count > 0 {
            // Zeros at the end in front of the point.
            self.number.exponent += self.zeros - self.zeros_after;
        } else {
            self.number.exponent = 0;
        }
        self.any.then_some(self.number)
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
                let digits: String = n.digits[..usize::from(n.count)].iter().map(|d| char::from(b'0' + d)).collect();
                (n.negative, digits, n.exponent)
            })
        };
        let is = |negative, digits: &str, exponent| Some((negative, digits.to_owned(), exponent));
        assert_eq!(check("0"), is(false, "", 0));
        assert_eq!(check("120"), is(false, "12", 1));
        assert_eq!(check("-0.0012"), is(true, "12", -4));
        assert_eq!(check("100.05"), is(false, "10005", -2));
        assert_eq!(check("1.50"), is(false, "15", -1));
        assert_eq!(check("10.00"), is(false, "1", 1));
        assert_eq!(check(&format!("1{}", "0".repeat(125))), is(false, "1", 125));
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
