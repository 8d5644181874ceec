//! What is wrong with a record, before it is known where the record lies. Pure.
//!
//! Made deep within the decoding, where neither table nor offset is known; the decoder adds both and makes
//! it the contract's error.

use connector_api::Error;

/// Which part of a record is wrong, where that decides what may become of it.
pub(crate) const PART: &str = "part";

/// What is wrong, and in which column. Small: every value that is read comes with the chance of one.
#[derive(Debug)]
pub(crate) struct Fault {
    what: &'static str,
    more: Option<Box<More>>,
}

/// What else is known.
#[derive(Debug, Default)]
struct More {
    column: Option<Box<str>>,
    detail: Option<(&'static str, Box<str>)>,
    is_of_shape: bool,
}

impl Fault {
    /// A fault of the record as a whole.
    pub(crate) const fn of(what: &'static str) -> Self {
        Self { what, more: None }
    }

    /// Names the column; a name that is there already is the inner one, and stays.
    #[cold]
    pub(crate) fn in_column(mut self, column: &str) -> Self {
        self.more.get_or_insert_default().column.get_or_insert_with(|| column.into());
        self
    }

    /// Says more: a type, a header, a place.
    #[cold]
    pub(crate) fn with(mut self, key: &'static str, value: impl ToString) -> Self {
        self.more.get_or_insert_default().detail = Some((key, value.to_string().into()));
        self
    }

    /// Says that it is none of the record's values: whatever they are, others of its shape do not fit the table either.
    #[cold]
    pub(crate) fn of_shape(mut self) -> Self {
        self.more.get_or_insert_default().is_of_shape = true;
        self
    }

    /// What else was said, by its key.
    #[cold]
    pub(crate) fn detail(&self, key: &str) -> Option<&str> {
        let (of, detail) = self.more.as_ref()?.detail.as_ref()?;
        (*of == key).then_some(detail)
    }

    /// The contract's error.
    pub(crate) fn into_error(self) -> Error {
        let mut error = Error::data(self.what);
        let More { column, detail, is_of_shape } = self.more.map(|more| *more).unwrap_or_default();
        if let Some(column) = column {
            error = error.with("column", column);
        }
        let is_of_part = matches!(detail, Some((PART, _)));
        if let Some((key, value)) = detail {
            error = error.with(key, value);
        }
        if is_of_shape && !is_of_part { error.with(PART, "schema") } else { error }
    }
}

impl From<&'static str> for Fault {
    fn from(what: &'static str) -> Self {
        Self::of(what)
    }
}
