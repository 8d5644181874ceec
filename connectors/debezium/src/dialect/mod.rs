//! What differs from one source database to the next, as data: its types, and where an event's position
//! stands. Another database is another table here, not another path.

mod oracle;
mod postgres;

use arrow_schema::DataType;

use crate::how::How;
use crate::modes::{Modes, Times};
use crate::shape::{Kind, Shape};

/// A source database as Debezium shows it.
#[derive(Clone, Debug)]
pub(crate) struct Dialect {
    /// `source.connector`.
    pub(crate) connector: &'static str,
    /// The first release of Debezium whose events say what is needed, and why earlier ones are refused.
    pub(crate) since: Option<((u32, u32), &'static str)>,
    /// The field that a source type is sent as under the declared modes: for messages without a schema.
    pub(crate) shape: fn(&str, &DataType, &Modes) -> Result<Shape, &'static str>,
    /// Where what the general rule does with a source type, a column and a field would not be what a load
    /// has there.
    pub(crate) special: fn(&str, &DataType, &Shape, &Modes) -> Special,
    /// Whether NULL may stand for a value that the log did not carry: where Debezium has no placeholder of
    /// that type, and by default goes on with NULL.
    pub(crate) null_hides: fn(&str, &DataType, &How) -> bool,
    /// The number of a transaction that events, and Debezium's transaction metadata, name by a text.
    pub(crate) transaction: fn(&str) -> Option<u64>,
    /// The source type's name of a column that became wider.
    pub(crate) widened: fn(&DataType) -> String,
    /// Where a row's place in the log stands within `source`.
    pub(crate) position: PositionFields,
    /// The dates there are, days since 1970-01-01.
    pub(crate) dates: Bounds,
    /// The timestamps there are, microseconds since 1970-01-01.
    pub(crate) timestamps: Bounds,
    /// Whether a load cuts timestamps to microseconds, which finer ones of events then are too; else such a value has
    /// no place.
    pub(crate) cuts_times: bool,
    /// Whether a load holds numbers that are text without zeros at the end of their fraction.
    pub(crate) trims_numbers: bool,
    /// Whether the placeholder is never a value, also where a row is new.
    pub(crate) placeholder_is_no_value: bool,
}

/// A way of its own, why there is none, or nothing: then the general rule decides.
pub(crate) type Special = Option<Result<How, &'static str>>;

/// Names of fields of `source`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PositionFields {
    /// The event's own place.
    pub(crate) own: &'static str,
    /// The transaction.
    pub(crate) transaction: &'static str,
    /// The pair [the preceding commit, own place], as text.
    pub(crate) sequence: Option<&'static str>,
    /// Where its transaction committed.
    pub(crate) commit: Option<&'static str>,
    /// Its number within the transaction.
    pub(crate) within: Option<&'static str>,
    /// The log, of several, that it stands in.
    pub(crate) thread: Option<&'static str>,
}

/// Which numbers a source has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) first: i64,
    pub(crate) last: i64,
    /// What stands for the infinite ones.
    pub(crate) infinite: &'static [i64],
}

impl Dialect {
    /// Debezium's connector for PostgreSQL.
    pub(crate) const POSTGRESQL: Dialect = postgres::DIALECT;
    /// Debezium's connector for Oracle.
    pub(crate) const ORACLE: Dialect = oracle::DIALECT;
    /// Every one there is.
    const ALL: [&'static Dialect; 2] = [&Self::POSTGRESQL, &Self::ORACLE];

    /// That of a connector, as `source.connector` names it.
    pub(crate) fn of(connector: &str) -> Option<&'static Dialect> {
        Self::ALL.into_iter().find(|dialect| dialect.connector == connector)
    }

    /// The number of a transaction that Debezium's transaction metadata names so.
    pub(crate) fn transaction_number(id: &str) -> Option<u64> {
        Self::ALL.into_iter().find_map(|dialect| (dialect.transaction)(id))
    }
}

/// The field of a `Date`, `Time` or `Timestamp` of so many digits of a second, which every connector makes alike.
fn temporal(what: &str, digits: u32, modes: &Modes) -> Result<Shape, &'static str> {
    const TIMES: &str = "without a schema in the message, declare Debezium's time.precision.mode";
    let mode = modes.times.ok_or(TIMES)?;
    let date = what == "Date";
    Ok(match mode {
        Times::IsoString => Shape::new(Kind::Text, &format!("io.debezium.time.Iso{what}")),
        Times::Connect => Shape::new(Kind::Int(64), &format!("org.apache.kafka.connect.data.{what}")),
        _ if date => Shape::new(Kind::Int(32), "io.debezium.time.Date"),
        Times::Nanoseconds => Shape::new(Kind::Int(64), &format!("io.debezium.time.Nano{what}")),
        Times::Adaptive | Times::AdaptiveTimeMicroseconds if digits > 6 => {
            Shape::new(Kind::Int(64), &format!("io.debezium.time.Nano{what}"))
        }
        Times::Adaptive if digits <= 3 => Shape::new(Kind::Int(64), &format!("io.debezium.time.{what}")),
        Times::AdaptiveTimeMicroseconds if digits <= 3 && what == "Timestamp" => {
            Shape::new(Kind::Int(64), "io.debezium.time.Timestamp")
        }
        _ => Shape::new(Kind::Int(64), &format!("io.debezium.time.Micro{what}")),
    })
}
