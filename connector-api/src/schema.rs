//! What a table looks like: its name at the source, its columns as Arrow types, and its key.
//!
//! Row images travel with every Arrow field nullable (a delete carries only its key); whether NULL is
//! allowed stands in [`Column::nullable`] and is checked where rows are written.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};

use crate::{Error, Result};

/// The time zone name that an instant (`timestamptz`) carries in Arrow: Iceberg's own spelling of UTC.
pub const UTC: &str = "+00:00";

/// A table's name at the source: schema (or owner) and name, as the source spells them.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TableId {
    schema: Arc<str>,
    name: Arc<str>,
}

impl Ord for TableId {
    /// By schema, then by name. Tables are looked up for every row, mostly by a clone of the name that is found.
    fn cmp(&self, other: &Self) -> Ordering {
        if Arc::ptr_eq(&self.name, &other.name) && Arc::ptr_eq(&self.schema, &other.schema) {
            return Ordering::Equal;
        }
        (&self.schema, &self.name).cmp(&(&other.schema, &other.name))
    }
}

impl PartialOrd for TableId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl TableId {
    /// A name. Neither part is parsed or folded; both may hold any character.
    pub fn new(schema: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self { schema: schema.into(), name: name.into() }
    }

    /// The schema (owner) part.
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// The table part.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for TableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

impl fmt::Debug for TableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One column.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// The Arrow field, always nullable; a UUID carries the canonical `arrow.uuid` extension.
    field: Field,
    /// Whether the source allows NULL.
    pub nullable: bool,
    /// The type as the source writes it (`numeric(12,2)`): stored with the table for later decoding.
    pub source_type: String,
    /// The column's comment at the source.
    pub doc: Option<String>,
}

impl Column {
    /// A column of the given Arrow type. Instants are `Timestamp(µs, "+00:00")`, civil timestamps
    /// `Timestamp(µs, None)`.
    pub fn new(name: &str, data_type: DataType, nullable: bool, source_type: impl Into<String>) -> Self {
        Self { field: Field::new(name, data_type, true), nullable, source_type: source_type.into(), doc: None }
    }

    /// A UUID column: 16 bytes, tagged with the canonical `arrow.uuid` extension type.
    pub fn uuid(name: &str, nullable: bool, source_type: impl Into<String>) -> Self {
        let mut column = Self::new(name, DataType::FixedSizeBinary(16), nullable, source_type);
        column.field = column.field.with_extension_type(arrow_schema::extension::Uuid);
        column
    }

    /// The same column as lists of what it was. Elements may be NULL.
    #[must_use]
    pub fn into_list(mut self) -> Self {
        let element = self.field.clone().with_name("element");
        self.field = Field::new(self.field.name(), DataType::List(Arc::new(element)), true);
        self
    }

    /// Sets the comment.
    #[must_use]
    pub fn with_doc(mut self, doc: Option<String>) -> Self {
        self.doc = doc;
        self
    }

    /// The Arrow field of row images.
    pub fn field(&self) -> &Field {
        &self.field
    }

    /// The column's name.
    pub fn name(&self) -> &str {
        self.field.name()
    }

    /// The Arrow type.
    pub fn data_type(&self) -> &DataType {
        self.field.data_type()
    }

    /// Whether this is a UUID (rather than 16 plain bytes).
    pub fn is_uuid(&self) -> bool {
        is_uuid(&self.field)
    }
}

/// Whether a field, or a list's element, is a UUID (rather than 16 plain bytes).
pub fn is_uuid(field: &Field) -> bool {
    field.extension_type_name() == Some("arrow.uuid")
}

/// A table's columns and key at one version.
#[derive(Clone, Debug, PartialEq)]
pub struct TableSchema {
    table: TableId,
    columns: Vec<Column>,
    key: Vec<usize>,
    arrow: SchemaRef,
    doc: Option<String>,
    left_out: Vec<String>,
}

impl TableSchema {
    /// Builds a schema. `key` holds column indices in key order; empty means the table has no key.
    ///
    /// # Errors
    /// `Data`, naming the table, when there is no column, two columns share a name, or a key column does
    /// not exist, is named twice or is nullable.
    pub fn new(table: TableId, columns: Vec<Column>, key: Vec<usize>) -> Result<Self> {
        let refuse = |message: &str| Err(Error::data(message).with("table", &table));
        if columns.is_empty() {
            return refuse("the table has no columns");
        }
        let mut names = HashSet::new();
        if let Some(twice) = columns.iter().find(|c| !names.insert(c.name())) {
            return refuse("two columns share a name").map_err(|e: Error| e.with("column", twice.name()));
        }
        let mut seen = HashSet::new();
        for &k in &key {
            match columns.get(k) {
                Some(c) if !c.nullable && seen.insert(k) => {}
                Some(c) => {
                    return refuse("a key column is nullable or named twice")
                        .map_err(|e: Error| e.with("column", c.name()));
                }
                None => return refuse("a key column does not exist"),
            }
        }
        let arrow = Arc::new(Schema::new(columns.iter().map(|c| c.field.clone()).collect::<Vec<_>>()));
        Ok(Self { table, columns, key, arrow, doc: None, left_out: Vec::new() })
    }

    /// Sets the table's comment.
    #[must_use]
    pub fn with_doc(mut self, doc: Option<String>) -> Self {
        self.doc = doc;
        self
    }

    /// Gives the table another key than its source's: these columns, in this order.
    ///
    /// # Errors
    /// `Data`, naming table and column, for one that does not exist, is named twice or may be NULL.
    pub fn with_key(self, columns: &[String]) -> Result<Self> {
        let place = |name: &String| {
            let missing = || Error::data("the table lacks a column of the key that it is to have");
            let found = self.columns.iter().position(|c| c.name() == name);
            found.ok_or_else(|| missing().with("table", &self.table).with("column", name))
        };
        let key = columns.iter().map(place).collect::<Result<Vec<_>>>()?;
        Ok(Self { doc: self.doc, left_out: self.left_out, ..Self::new(self.table, self.columns, key)? })
    }

    /// Names the columns of the table at the source that it is read without, because of their types.
    #[must_use]
    pub fn with_left_out(mut self, columns: Vec<String>) -> Self {
        self.left_out = columns;
        self
    }

    /// The table.
    pub fn table(&self) -> &TableId {
        &self.table
    }

    /// The columns in order.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Indices of the key columns in key order; empty without a key.
    pub fn key(&self) -> &[usize] {
        &self.key
    }

    /// The Arrow schema of row images: these columns, all nullable.
    pub fn arrow(&self) -> &SchemaRef {
        &self.arrow
    }

    /// The table's comment at the source.
    pub fn doc(&self) -> Option<&str> {
        self.doc.as_deref()
    }

    /// Columns of the table at the source that are not among [`columns`](Self::columns), because of their types; those
    /// that the operator's lists leave out are not told.
    pub fn left_out(&self) -> &[String] {
        &self.left_out
    }
}

/// The Arrow type of an instant: microseconds since 1970-01-01 UTC.
pub fn instant() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(columns: &[(&str, bool)], key: &[usize]) -> String {
        let columns = columns.iter().map(|(n, nullable)| Column::new(n, DataType::Int64, *nullable, "int8")).collect();
        match TableSchema::new(TableId::new("public", "t"), columns, key.to_vec()) {
            Ok(s) => format!("ok, {} columns", s.arrow().fields().len()),
            Err(e) => e.to_string(),
        }
    }

    #[test]
    fn refuses_what_is_not_a_table() {
        assert_eq!(check(&[("id", false), ("v", true)], &[0]), "ok, 2 columns");
        assert_eq!(check(&[("id", false)], &[]), "ok, 1 columns");
        assert_eq!(check(&[], &[]), "the table has no columns [table=public.t]");
        assert_eq!(check(&[("a", true), ("a", true)], &[]), "two columns share a name [table=public.t, column=a]");
        assert_eq!(check(&[("a", true)], &[0]), "a key column is nullable or named twice [table=public.t, column=a]");
        assert_eq!(check(&[("a", false)], &[1]), "a key column does not exist [table=public.t]");
    }

    #[test]
    fn another_key_is_of_columns_that_are_there_and_not_null() {
        let columns = [("a", false), ("b", false), ("c", true)];
        let columns = columns.map(|(n, nullable)| Column::new(n, DataType::Int64, nullable, "int8"));
        let schema = TableSchema::new(TableId::new("public", "t"), columns.to_vec(), vec![0]).unwrap();
        let schema = schema.with_doc(Some("doc".into())).with_left_out(vec!["x".into()]);
        let made = schema.clone().with_key(&["b".into(), "a".into()]).unwrap();
        assert_eq!(
            (made.key(), made.doc(), made.left_out()),
            ([1, 0].as_slice(), Some("doc"), ["x".to_owned()].as_slice())
        );
        for wrong in ["c", "d"] {
            let error = schema.clone().with_key(&[wrong.into()]).unwrap_err().to_string();
            assert!(error.contains(&format!("column={wrong}")), "{error}");
        }
    }

    #[test]
    fn a_uuid_is_told_from_sixteen_bytes() {
        assert!(Column::uuid("u", true, "uuid").is_uuid());
        assert!(!Column::new("u", DataType::FixedSizeBinary(16), true, "bytea").is_uuid());
        let list = Column::uuid("u", false, "uuid[]").into_list();
        let DataType::List(element) = list.data_type() else { panic!("{list:?}") };
        assert!(is_uuid(element) && element.is_nullable() && !list.is_uuid() && !list.nullable);
        assert_eq!((list.name(), element.name().as_str()), ("u", "element"));
    }
}
