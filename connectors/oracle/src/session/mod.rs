//! A session with the database as this crate needs it, whatever the driver: dictionary queries and streams of rows.
//!
//! What must hold: no driver's type shows outside its own module; a driver's panic is an error; values are handed over
//! as they lie in the driver's row, without a copy that the decoder does not need. A session that has failed is
//! abandoned, never used again.

#[cfg(feature = "oci")]
mod oci;
mod thin;

use std::any::Any;
use std::fmt::{self, Write as _};
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
    /// Prints the NUMBER in a column, counted from 0; `false` for NULL. What there is most of comes by itself, and is written
    /// where it is read: a value that is moved right after it was written is what the processor waits for.
    fn number(&self, column: usize, out: &mut Printed) -> Answer<bool>;

    /// Appends text, as UTF-8; `false` for NULL. A driver makes that of some types for us, such as a ROWID's.
    fn text(&self, column: usize, out: &mut Vec<u8>) -> Answer<bool>;

    /// Takes a date or timestamp; `false` for NULL.
    fn stamp(&self, column: usize, out: &mut Stamp) -> Answer<bool>;

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

/// Most characters of a printed NUMBER: a sign, a point, 130 zeros and 40 digits.
const PRINTED: usize = 176;

/// What is wrong with one that is longer.
const TOO_LONG: &str = "a number that is too long to be one";

/// A NUMBER as a driver prints it, for they tell it no other way: digits, perhaps a sign, a point, and zeros at both ends.
/// What it comes to is reckoned while it is printed, in the time that the processor waits for the next character.
#[derive(Debug)]
pub(crate) struct Printed {
    text: [u8; PRINTED],
    length: usize,
    /// Its digits as a number, if they fit.
    value: u64,
    negative: bool,
    /// Where the point is; 0 where there is none.
    point: usize,
    /// Whether there is more than a sign, digits and a point.
    odd: bool,
}

/// A NUMBER of few digits: the value without the point, and how many digits are behind that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Short {
    pub(crate) value: i64,
    pub(crate) behind: usize,
    /// Digits in all.
    pub(crate) digits: usize,
}

/// Most digits of such a one.
pub(crate) const SHORT: usize = 18;

/// A date or timestamp as Oracle has it: before the year 1 comes the year −1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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

impl Default for Printed {
    fn default() -> Self {
        Self { text: [0; PRINTED], length: 0, value: 0, negative: false, point: 0, odd: false }
    }
}

impl Printed {
    /// Prints it instead of what there is; whether it could be.
    #[inline]
    pub(crate) fn print<T: fmt::Display>(&mut self, number: &T) -> bool {
        (self.length, self.value, self.negative, self.point, self.odd) = (0, 0, false, 0, false);
        write!(self, "{}", *number).is_ok()
    }

    /// What was printed.
    #[inline]
    pub(crate) fn text(&self) -> &[u8] {
        self.text.get(..self.length).unwrap_or_default()
    }

    /// Its value, if it has few digits and is an ordinary number.
    #[inline]
    pub(crate) fn short(&self) -> Option<Short> {
        let digits = self.length - usize::from(self.negative) - usize::from(self.point > 0);
        let behind = if self.point > 0 { self.length - self.point - 1 } else { 0 };
        if self.odd || digits == 0 || digits > SHORT {
            return None;
        }
        let value = self.value as i64;
        // A zero with a sign is how an infinity is printed.
        match self.negative {
            true if value == 0 => None,
            true => Some(Short { value: -value, behind, digits }),
            false => Some(Short { value, behind, digits }),
        }
    }

    /// Its value, if it is whole and not too large.
    pub(crate) fn whole(&self) -> Option<i128> {
        std::str::from_utf8(self.text()).ok()?.parse().ok()
    }

    /// What is no digit: apart, so that digits are short work.
    #[inline(never)]
    fn mark(&mut self, c: char) {
        match c {
            '-' if self.length == 0 => self.negative = true,
            '.' if self.length > usize::from(self.negative) && self.point == 0 => self.point = self.length,
            _ => self.odd = true,
        }
    }
}

impl fmt::Write for Printed {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|c| self.write_char(c))
    }

    #[inline]
    fn write_char(&mut self, c: char) -> fmt::Result {
        match c {
            '0'..='9' => self.value = self.value.wrapping_mul(10).wrapping_add(u64::from(c as u8 - b'0')),
            other => self.mark(other),
        }
        *self.text.get_mut(self.length).ok_or(fmt::Error)? = u8::try_from(c).map_err(|_| fmt::Error)?;
        self.length += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_printed() {
        let mut printed = Printed::default();
        assert!(printed.print(&-120) && printed.text() == b"-120" && printed.whole() == Some(-120));
        assert!(printed.print(&"0.5") && printed.text() == b"0.5" && printed.whole().is_none());
        assert!(printed.print(&"7".repeat(PRINTED)) && !printed.print(&"7".repeat(PRINTED + 1)));
        assert!(!printed.print(&'\u{100}'));
    }

    #[test]
    fn short_numbers_are_reckoned_while_they_are_printed() {
        let mut printed = Printed::default();
        let mut short = |text: &str| {
            assert!(printed.print(&text));
            printed.short().map(|short| (short.value, short.behind, short.digits))
        };
        let most = "9".repeat(SHORT);
        assert_eq!(short(&most), Some((999_999_999_999_999_999, 0, 18)));
        assert_eq!(short(&format!("-0.{}", &most[1..])), Some((-99_999_999_999_999_999, 17, 18)));
        assert_eq!(short("10.50"), Some((1050, 2, 4)));
        assert_eq!(short("0"), Some((0, 0, 1)));
        for other in [&format!("{most}9"), "", "-", ".", ".5", "-.5", "-0", "-0.00", "1e5", "1-", "--1", "1.2.3", "1 "]
        {
            assert_eq!(short(other), None, "{other}");
        }
    }

    #[test]
    fn a_panic_is_a_failure() {
        let failed = contained::<()>(|| panic!("at the {}", "disco")).unwrap_err().while_doing("testing");
        assert!(format!("{failed:#}").contains("it panicked: at the disco"), "{failed:#}");
    }
}
