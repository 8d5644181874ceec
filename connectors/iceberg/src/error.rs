//! Classifies the errors of `iceberg`, `sqlx` and `parquet`. The only place that decides what is
//! retriable; must not know what was being written.

use connector_api::Error;
use iceberg::ErrorKind;

/// An error of the `iceberg` crate: storage trouble may pass, a table we cannot read stays so.
pub(crate) fn iceberg(what: &str, e: iceberg::Error) -> Error {
    #[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
    if let Some(refusal) = crate::store::refusal(&e) {
        let error = if refusal.is_permanent() { Error::data(what) } else { Error::retriable(what) };
        return error.caused_by(refusal);
    }
    let error = match e.kind() {
        ErrorKind::FeatureUnsupported => Error::data(what),
        // Its local storage reports a missing or unreadable file as invalid data, so a kind alone cannot
        // tell a damaged table from a full disk; trying again is bounded by the runtime.
        _ => Error::retriable(what),
    };
    error.caused_by(e)
}

/// An error of the catalog's database.
pub(crate) fn sql(what: &str, e: sqlx::Error) -> Error {
    let error = match &e {
        sqlx::Error::Configuration(_)
        | sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::TypeNotFound { .. } => Error::fatal(what),
        sqlx::Error::Database(d) if is_permanent(d.code().as_deref()) => Error::fatal(what),
        _ => Error::retriable(what),
    };
    error.caused_by(e)
}

/// A database's code: SQLSTATEs have five characters, SQLite's extended codes at most four digits, of which
/// the primary code is the low byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Code<'a> {
    Sqlite(u32),
    State(&'a str),
}

fn code(text: &str) -> Option<Code<'_>> {
    match text.len() {
        5 => Some(Code::State(text)),
        _ => text.parse::<u32>().ok().map(|c| Code::Sqlite(c & 0xff)),
    }
}

/// Whether the database says that it is not ours to use. SQLite: read-only (8), no database (26), corrupt
/// (11), no such table or column (1). PostgreSQL: refused log-ins (28), no such database (3D), no privilege,
/// table or column (42), read-only (25006).
fn is_permanent(text: Option<&str>) -> bool {
    match text.and_then(code) {
        Some(Code::Sqlite(code)) => matches!(code, 1 | 8 | 11 | 26),
        Some(Code::State(state)) => matches!(&state[..2], "28" | "3D" | "42") || state == "25006",
        None => false,
    }
}

/// Whether a statement named a column that the table does not have.
pub(crate) fn is_unknown_column(e: &sqlx::Error) -> bool {
    let sqlx::Error::Database(d) = e else { return false };
    matches!(d.code().as_deref().and_then(code), Some(Code::Sqlite(1) | Code::State("42703")))
}

/// Whether a statement failed because the row is already there.
pub(crate) fn is_unique_violation(e: &sqlx::Error) -> bool {
    matches!(e, sqlx::Error::Database(d) if d.is_unique_violation())
}

/// Whether a statement failed because another one created the same object meanwhile. `CREATE … IF NOT EXISTS`
/// of PostgreSQL looks before it creates: by its moment it meets a row of an index (23505), a relation (42P07)
/// or the relation's type (42710).
pub(crate) fn is_created_by_another(e: &sqlx::Error) -> bool {
    let sqlx::Error::Database(d) = e else { return false };
    is_unique_violation(e) || matches!(d.code().as_deref().and_then(code), Some(Code::State("42P07" | "42710")))
}

/// Whether a statement certainly changed nothing because the database was in use: SQLITE_BUSY, LOCKED; a
/// serialization failure, a deadlock, a lock that was not to be had.
pub(crate) fn is_busy(e: &sqlx::Error) -> bool {
    let sqlx::Error::Database(d) = e else { return matches!(e, sqlx::Error::PoolTimedOut) };
    matches!(d.code().as_deref().and_then(code), Some(Code::Sqlite(5 | 6) | Code::State("40001" | "40P01" | "55P03")))
}

/// An error while encoding: of the storage below (which may pass), else of the data.
pub(crate) fn parquet(e: parquet::errors::ParquetError) -> Error {
    use parquet::errors::ParquetError;
    match e {
        ParquetError::External(_) => Error::retriable("cannot write a data file").caused_by(e),
        _ => Error::data("cannot encode rows as Parquet").caused_by(e),
    }
}

/// A file-system error while setting up.
pub(crate) fn io(what: &str, path: &std::path::Path, e: std::io::Error) -> Error {
    Error::fatal(what).with("path", path.display()).caused_by(e)
}

#[cfg(test)]
mod tests {
    use super::*;
    use connector_api::ErrorKind as Kind;

    #[test]
    fn tells_what_may_pass_from_what_stays() {
        let retriable = Kind::Retriable { after: None };
        assert_eq!(sql("x", sqlx::Error::PoolTimedOut).kind(), retriable);
        assert_eq!(sql("x", sqlx::Error::Configuration("bad".into())).kind(), Kind::Fatal);
        assert_eq!(iceberg("x", iceberg::Error::new(ErrorKind::Unexpected, "io")).kind(), retriable);
        assert_eq!(iceberg("x", iceberg::Error::new(ErrorKind::FeatureUnsupported, "no")).kind(), Kind::Data);
        assert_eq!(parquet(parquet::errors::ParquetError::General("n".into())).kind(), Kind::Data);
        assert!(is_permanent(Some("8")));
        assert!(!is_permanent(Some("1555")), "a unique violation (19 in the low byte)");
        assert!(is_permanent(Some("28P01")) && is_permanent(Some("42501")) && is_permanent(Some("3D000")));
        assert!(!is_permanent(Some("57P01")), "the server goes down");
        assert!(!is_permanent(Some("08006")), "its digits are no code of SQLite's");
        assert!(!is_permanent(None));
    }
}
