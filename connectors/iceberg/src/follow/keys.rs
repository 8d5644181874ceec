//! The keys of rows, as the index knows them. Pure.
//!
//! What must hold (P19): two rows have one key exactly when the source takes their key columns for equal. What a
//! type's text does not decide (padding, `1.0` and `1.00`) is brought to one form first; a type for which that cannot
//! be done is refused as a key, by name. The case of a `citext` is left as it is: a log names a row by the text that is
//! stored, and what its database takes for the same letter depends on a locale that is not known here.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, Time64MicrosecondType,
    TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef, StringArray};
use arrow_row::{RowConverter, SortField};
use arrow_schema::{DataType, TimeUnit};
use connector_api::{Column, Error, Result, TableSchema};
use connector_iceberg_index::{ColumnBytes, Key, KeyEncoder};

/// How the keys of a table are made of its columns.
pub(super) struct KeyMaker {
    columns: Vec<KeyColumn>,
    /// Whether the table has a key, in which NULL cannot be.
    keyed: bool,
    rows: Option<RowConverter>,
    definition: String,
}

#[derive(Clone, Debug)]
struct KeyColumn {
    /// Its place in the table.
    place: usize,
    name: String,
    form: Form,
}

/// What is done with a column's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Equal values are equal as they are.
    Plain,
    /// −0 is 0, and every NaN the same.
    Float,
    /// Spaces at the end do not count (`char(n)`).
    Unpadded,
    /// A number as text, of which `1.0` and `1.00` are one.
    Number,
}

/// The source types whose text tells equal values apart only after more than we do.
const REFUSED: [&str; 7] =
    ["interval", "jsonb", "nummultirange", "numrange", "time with time zone", "timetz", "tsquery"];

/// The source types with more digits than a double has: of PostgreSQL, and of Oracle (`FLOAT` is a NUMBER).
const EXACT: [&str; 3] = ["numeric", "number", "float"];

impl KeyMaker {
    /// For a table; of a table without a key every column is part of it.
    ///
    /// # Errors
    /// `Data`, naming the column, for a type that cannot be a key.
    pub(super) fn new(schema: &TableSchema) -> Result<Self> {
        let places: Vec<usize> = match schema.key() {
            [] => (0..schema.columns().len()).collect(),
            key => key.to_vec(),
        };
        let keyed = !schema.key().is_empty();
        let columns = places.into_iter().map(|place| {
            let column = &schema.columns()[place];
            let form = form(column, keyed).map_err(|e| e.with("table", schema.table()))?;
            Ok(KeyColumn { place, name: column.name().to_owned(), form })
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let small = keyed && columns.len() == 1 && is_small(schema.columns()[columns[0].place].data_type());
        let rows = match small {
            true => None,
            false => {
                let fields = columns.iter().map(|c| SortField::new(normal(schema.columns()[c.place].data_type())));
                let converter = RowConverter::new(fields.collect());
                Some(converter.map_err(|e| {
                    Error::data("columns of these types cannot be compared").with("table", schema.table()).caused_by(e)
                })?)
            }
        };
        let part = |c: &KeyColumn| format!("{}:{}:{:?}", c.name, normal(schema.columns()[c.place].data_type()), c.form);
        let definition = columns.iter().map(part).collect::<Vec<_>>().join(",");
        Ok(Self { columns, keyed, rows, definition: format!("{}({definition})", if keyed { "key" } else { "row" }) })
    }

    /// What the keys are made of: an index of other keys is of no use.
    pub(super) fn definition(&self) -> &str {
        &self.definition
    }

    /// Whether its keys are of eight bytes.
    pub(super) fn is_small(&self) -> bool {
        self.rows.is_none()
    }

    /// The places of the columns that make the key, in key order.
    pub(super) fn places(&self) -> impl Iterator<Item = usize> {
        self.columns.iter().map(|c| c.place)
    }

    /// The keys of rows, given the key columns in key order.
    ///
    /// # Errors
    /// `Data`, naming the column, for a NULL in a key.
    pub(super) fn keys(&self, columns: &[ArrayRef]) -> Result<Vec<Key>> {
        let normal = self.columns.iter().zip(columns).map(|(c, values)| {
            if self.keyed && values.null_count() > 0 {
                return Err(Error::data("NULL in a key column").with("column", &c.name));
            }
            normalised(values, c.form).map_err(|e| e.with("column", &c.name))
        });
        let normal = normal.collect::<Result<Vec<_>>>()?;
        let fail = |e| Error::fatal("key columns that are not of the table's types").caused_by(e);
        match &self.rows {
            None => {
                let column = normal.first().ok_or_else(|| Error::fatal("a key without a column"))?;
                Ok(small(column)?.into_iter().map(Key::Small).collect())
            }
            Some(converter) => {
                let rows = converter.convert_columns(&normal).map_err(fail)?;
                let mut encoder = KeyEncoder::new(&[ColumnBytes::Any]);
                let keys = rows.iter().map(|row| {
                    encoder.value(row.as_ref())?;
                    encoder.finish()
                });
                let keys = keys.collect::<Result<_, _>>();
                keys.map_err(|e| Error::fatal("a key that cannot be made").caused_by(e))
            }
        }
    }
}

fn form(column: &Column, keyed: bool) -> Result<Form> {
    let source = column.source_type.to_ascii_lowercase();
    let base = source.split('(').next().unwrap_or_default().trim();
    let refuse = |why: &str| {
        Err(Error::data(format!("a column of type {} cannot be (part of) a key: {why}", column.source_type))
            .with("column", column.name()))
    };
    Ok(match column.data_type() {
        DataType::Float32 | DataType::Float64 if keyed && EXACT.contains(&base) => {
            return refuse("as doubles its values are not told apart; see decimal.handling.mode");
        }
        DataType::Float32 | DataType::Float64 => Form::Float,
        DataType::List(_) if keyed => return refuse("lists are not compared"),
        DataType::Utf8 if base == "character" || base == "char" || base == "bpchar" => Form::Unpadded,
        DataType::Utf8 if base == "numeric" => Form::Number,
        DataType::Utf8 if keyed && REFUSED.contains(&base) => {
            return refuse("equal values of it may have different texts");
        }
        _ => Form::Plain,
    })
}

fn is_small(kind: &DataType) -> bool {
    matches!(
        kind,
        DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::Date32
            | DataType::Time64(TimeUnit::Microsecond)
            | DataType::Timestamp(TimeUnit::Microsecond, _)
    )
}

/// The type that a column's values are compared in: data files hold small integers as larger ones.
fn normal(kind: &DataType) -> DataType {
    match kind {
        DataType::Int16 => DataType::Int32,
        kind => kind.clone(),
    }
}

fn normalised(values: &ArrayRef, form: Form) -> Result<ArrayRef> {
    let text = |change: &dyn Fn(&str) -> Result<String>| -> Result<ArrayRef> {
        let values = values.as_string::<i32>().iter().map(|v| v.map(change).transpose());
        Ok(Arc::new(values.collect::<Result<StringArray>>()?))
    };
    match (form, values.data_type()) {
        (Form::Float, DataType::Float32) => {
            let one = |v: f32| if v.is_nan() { f32::NAN } else { v + 0.0 };
            Ok(Arc::new(values.as_primitive::<Float32Type>().unary::<_, Float32Type>(one)))
        }
        (Form::Float, DataType::Float64) => {
            let one = |v: f64| if v.is_nan() { f64::NAN } else { v + 0.0 };
            Ok(Arc::new(values.as_primitive::<Float64Type>().unary::<_, Float64Type>(one)))
        }
        (Form::Unpadded, DataType::Utf8) => text(&|v| Ok(v.trim_end_matches(' ').to_owned())),
        (Form::Number, DataType::Utf8) => {
            text(&|v| number(v).ok_or_else(|| Error::data("a number as text that is none")))
        }
        (_, DataType::Int16) => Ok(Arc::new(values.as_primitive::<Int16Type>().unary::<_, Int32Type>(i32::from))),
        _ => Ok(Arc::clone(values)),
    }
}

/// A number in the one form that equal numbers share; what PostgreSQL prints for a `numeric`.
fn number(text: &str) -> Option<String> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text),
    };
    if ["NaN", "Infinity"].contains(&digits) {
        return Some(text.to_owned());
    }
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) || whole.len() + fraction.len() == 0 {
        return None;
    }
    let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
    let point = if fraction.is_empty() { "" } else { "." };
    let sign = if whole.is_empty() && fraction.is_empty() { "" } else { sign };
    Some(format!("{sign}{}{point}{fraction}", if whole.is_empty() { "0" } else { whole }))
}

fn small(values: &ArrayRef) -> Result<Vec<u64>> {
    let wide = |n: i32| i64::from(n).cast_unsigned();
    Ok(match values.data_type() {
        DataType::Int32 => values.as_primitive::<Int32Type>().values().iter().copied().map(wide).collect(),
        DataType::Date32 => values.as_primitive::<Date32Type>().values().iter().copied().map(wide).collect(),
        DataType::Int64 => as_u64(values.as_primitive::<Int64Type>().values()),
        DataType::Time64(TimeUnit::Microsecond) => as_u64(values.as_primitive::<Time64MicrosecondType>().values()),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            as_u64(values.as_primitive::<TimestampMicrosecondType>().values())
        }
        other => return Err(Error::fatal("a key column of another type than the table's").with("type", other)),
    })
}

fn as_u64(values: &[i64]) -> Vec<u64> {
    values.iter().map(|n| n.cast_unsigned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{Float64Array, Int16Array, Int32Array, Int64Array};
    use connector_api::TableId;

    fn maker(columns: &[(&str, DataType, &str)], key: &[usize]) -> Result<KeyMaker> {
        let columns = columns.iter().map(|(n, kind, source)| Column::new(n, kind.clone(), false, *source)).collect();
        KeyMaker::new(&TableSchema::new(TableId::new("public", "t"), columns, key.to_vec()).unwrap())
    }

    /// Whether each value has the key of the first.
    fn same(kind: DataType, source: &str, values: ArrayRef) -> Vec<bool> {
        let keys = maker(&[("k", kind, source)], &[0]).unwrap().keys(&[values]).unwrap();
        keys.iter().map(|key| *key == keys[0]).collect()
    }

    fn texts(values: &[&str]) -> ArrayRef {
        Arc::new(StringArray::from_iter_values(values))
    }

    #[test]
    fn equal_at_the_source_is_one_key() {
        let number = ["1.0", "1.00", "1", "01.0", "10", "-1", "1.01"];
        assert_eq!(same(DataType::Utf8, "numeric", texts(&number)), [true, true, true, true, false, false, false]);
        assert_eq!(same(DataType::Utf8, "numeric", texts(&["-0", "0", "0.00"])), [true; 3]);
        assert_eq!(same(DataType::Utf8, "character(5)", texts(&["a", "a  ", " a"])), [true, true, false]);
        assert_eq!(same(DataType::Utf8, "text", texts(&["a", "a  "])), [true, false]);
        assert_eq!(same(DataType::Utf8, "citext", texts(&["É", "é", "É"])), [true, false, true]);
        let floats = Arc::new(Float64Array::from(vec![0.0, -0.0, f64::NAN, 1.0]));
        assert_eq!(same(DataType::Float64, "double precision", floats), [true, true, false, false]);
    }

    #[test]
    fn what_files_hold_as_larger_integers_is_the_same_key() {
        let maker = maker(&[("k", DataType::Int16, "smallint")], &[0]).unwrap();
        let event = maker.keys(&[Arc::new(Int16Array::from(vec![-3, 7]))]).unwrap();
        let file = maker.keys(&[Arc::new(Int32Array::from(vec![-3, 7]))]).unwrap();
        assert!(maker.is_small() && event == file && event[0] != event[1]);
    }

    #[test]
    fn several_columns_do_not_run_into_each_other() {
        let maker = maker(&[("a", DataType::Utf8, "text"), ("b", DataType::Utf8, "text")], &[0, 1]).unwrap();
        let keys = maker.keys(&[texts(&["a", "ab"]), texts(&["bc", "c"])]).unwrap();
        assert_ne!(keys[0], keys[1]);
        assert_eq!(maker.places().collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn keys_that_cannot_be_are_refused_by_name() {
        let refused = |kind: DataType, source| maker(&[("k", kind, source)], &[0]).err().map(|e| e.to_string());
        assert!(refused(DataType::Utf8, "interval").is_some_and(|e| e.contains("column=k")));
        assert_eq!(refused(DataType::Utf8, "text"), None);
        for source in ["numeric(20,0)", "NUMBER(20)", "FLOAT(126)"] {
            assert!(refused(DataType::Float64, source).is_some_and(|e| e.contains("column=k")), "{source}");
        }
        assert_eq!(refused(DataType::Float64, "double precision"), None);
        let maker = maker(&[("k", DataType::Int64, "bigint")], &[0]).unwrap();
        let null = maker.keys(&[Arc::new(Int64Array::from(vec![Some(1), None]))]);
        assert!(null.is_err_and(|e| e.to_string().contains("column=k")));
    }
}
