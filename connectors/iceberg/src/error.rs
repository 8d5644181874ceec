//! Classifies the errors of `iceberg`, `sqlx` and `parquet`. The only place that decides what is
//! retriable; must not know what was being written.

use connector_api::Error;
use iceberg::ErrorKind;

/// An error of the `iceberg` crate: storage trouble may pass, a table we cannot read stays so.
pub(crate) fn iceberg(what: &str, e: iceberg::Error) -> Error {
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

/// Whether SQLite says that the file is not ours to use: read-only (8), no database (26), corrupt (11),
/// no such table or column (1). The primary code is the low byte.
fn is_permanent(code: Option<&str>) -> bool {
    let code = code.and_then(|c| c.parse::<u32>().ok()).map(|c| c & 0xff);
    matches!(code, Some(1 | 8 | 11 | 26))
}

/// Whether a statement failed because the row is already there (SQLite: primary key or unique).
pub(crate) fn is_unique_violation(e: &sqlx::Error) -> bool {
    matches!(e, sqlx::Error::Database(d) if d.is_unique_violation())
}

/// Whether a statement certainly changed nothing because the database was in use (SQLITE_BUSY, LOCKED).
pub(crate) fn is_busy(e: &sqlx::Error) -> bool {
    let sqlx::Error::Database(d) = e else { return matches!(e, sqlx::Error::PoolTimedOut) };
    let code = d.code().and_then(|c| c.parse::<u32>().ok()).map(|c| c & 0xff);
    matches!(code, Some(5 | 6))
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
        assert!(!is_permanent(None));
    }
}
