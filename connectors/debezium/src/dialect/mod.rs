//! What differs from one source database to the next, as data: its types, and where an event's position
//! stands. Another database is another table here, not another path.

mod postgres;

use arrow_schema::DataType;

use crate::how::How;
use crate::modes::Modes;
use crate::shape::Shape;

/// A source database as Debezium shows it.
#[derive(Clone, Debug)]
pub struct Dialect {
    /// `source.connector`.
    pub(crate) connector: &'static str,
    /// The field that a source type is sent as under the declared modes: for messages without a schema.
    pub(crate) shape: fn(&str, &DataType, &Modes) -> Result<Shape, &'static str>,
    /// Where what the general rule does with a source type, a column and a field would not be what a load
    /// has there.
    pub(crate) special: fn(&str, &DataType, &Shape, &Modes) -> Special,
    /// Whether NULL may stand for a value that the log did not carry: where Debezium has no placeholder of
    /// that type, and by default goes on with NULL.
    pub(crate) null_hides: fn(&str, &DataType, &How) -> bool,
    /// The source type's name of a column that became wider.
    pub(crate) widened: fn(&DataType) -> String,
    /// Where a row's place in the log stands within `source`.
    pub(crate) position: PositionFields,
    /// The dates there are, days since 1970-01-01.
    pub(crate) dates: Bounds,
    /// The timestamps there are, microseconds since 1970-01-01.
    pub(crate) timestamps: Bounds,
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
    pub const POSTGRESQL: Dialect = postgres::DIALECT;
}
