//! Which partition each row of a batch belongs to. Pure.
//!
//! What must hold: a partition's value is what Iceberg's transform makes of the row's own value, and NULL
//! only for NULL; a value that its transform cannot take is an error that names the column, never a wrong
//! partition (readers would pass over its rows).

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_buffer::Buffer;
use arrow_schema::DataType;
use connector_api::{Error, Result};
use iceberg::arrow::arrow_primitive_to_literal;
use iceberg::spec::{PartitionSpec, Schema, Struct, Transform, Type};
use iceberg::transform::{BoxedTransformFunction, create_transform_function};

use crate::error;
use crate::names;

/// Longest folder name of one partition, bytes.
const NAME_BYTES: usize = 100;

/// A table's partition spec, ready to be applied.
pub(super) struct Partitioner {
    fields: Vec<Field>,
}

struct Field {
    /// Place of the source column.
    column: usize,
    column_name: String,
    name: String,
    transform: Transform,
    function: BoxedTransformFunction,
    result: Type,
}

/// The partition values of a batch's rows.
pub(super) struct Keys(Vec<Key>);

struct Key {
    values: ArrayRef,
    /// Numbers as they lie in memory, and how wide each is.
    numbers: Option<(Buffer, usize)>,
}

impl Partitioner {
    /// None for a table that is not partitioned.
    pub(super) fn new(schema: &Schema, spec: &PartitionSpec) -> Result<Option<Self>> {
        let columns = schema.as_struct().fields();
        let fields = spec.fields().iter().map(|field| {
            let wrong = |e| error::iceberg("a partition field does not fit the table", e).with("field", &field.name);
            let column = columns.iter().position(|c| c.id == field.source_id);
            let column = column
                .ok_or_else(|| Error::fatal("a partition field without its column").with("field", &field.name))?;
            Ok(Field {
                column,
                column_name: columns[column].name.clone(),
                name: field.name.clone(),
                transform: field.transform,
                function: create_transform_function(&field.transform).map_err(wrong)?,
                result: field.transform.result_type(&columns[column].field_type).map_err(wrong)?,
            })
        });
        let fields = fields.collect::<Result<Vec<_>>>()?;
        Ok((!fields.is_empty()).then_some(Self { fields }))
    }

    /// The partition values of rows, which have the file's types.
    ///
    /// # Errors
    /// `Data`, naming the column, for a value beyond what its transform takes.
    pub(super) fn keys(&self, rows: &RecordBatch) -> Result<Keys> {
        let keys = self.fields.iter().map(|field| {
            let values = field.apply(rows.column(field.column))?;
            let numbers = values.data_type().primitive_width().and_then(|width| {
                let data = values.to_data();
                let all = data.buffers().first()?;
                Some((all.slice_with_length(data.offset() * width, values.len() * width), width))
            });
            Ok(Key { values, numbers })
        });
        keys.collect::<Result<_>>().map(Keys)
    }

    /// A row's partition, as a manifest holds it.
    pub(super) fn values(&self, keys: &Keys, row: usize) -> Result<Struct> {
        let values = self.fields.iter().zip(&keys.0).map(|(field, key)| {
            let literal = arrow_primitive_to_literal(&key.values.slice(row, 1), &field.result);
            Ok(literal.map_err(|e| error::iceberg("a partition value without a form", e))?.pop().flatten())
        });
        Ok(Struct::from_iter(values.collect::<Result<Vec<_>>>()?))
    }

    /// A folder's name for a partition, as Iceberg's `column=value/…`, with only characters that every
    /// reader takes literally. For people: what the partition is stands in the manifest.
    pub(super) fn folder(&self, values: &Struct) -> String {
        let parts = self.fields.iter().zip(values.iter()).map(|(field, value)| {
            let text = field.transform.to_human_string(&field.result, value);
            let (name, text) = (names::folder(&field.name), names::folder(&text));
            // Both are ASCII.
            format!("{}={}", &name[..name.len().min(NAME_BYTES)], &text[..text.len().min(NAME_BYTES)])
        });
        parts.collect::<Vec<_>>().join("/")
    }
}

impl Field {
    fn apply(&self, column: &ArrayRef) -> Result<ArrayRef> {
        let beyond = || {
            Error::data("a value is beyond what its partition transform takes")
                .with("column", &self.column_name)
                .with("transform", self.transform)
        };
        if let Transform::Truncate(width) = self.transform
            && lowest(column).is_some_and(|(low, least)| low < least + i128::from(width))
        {
            return Err(beyond());
        }
        let values = self.function.transform(Arc::clone(column)).map_err(|e| beyond().caused_by(e))?;
        // A date beyond the calendar of the transform comes out as NULL.
        if values.null_count() == column.null_count() { Ok(values) } else { Err(beyond()) }
    }
}

/// The smallest number of a column and the smallest of its type.
fn lowest(column: &ArrayRef) -> Option<(i128, i128)> {
    match column.data_type() {
        DataType::Int32 => {
            let low = column.as_primitive::<Int32Type>().iter().flatten().min()?;
            Some((low.into(), i32::MIN.into()))
        }
        DataType::Int64 => {
            let low = column.as_primitive::<Int64Type>().iter().flatten().min()?;
            Some((low.into(), i64::MIN.into()))
        }
        DataType::Decimal128(precision, _) => {
            let low = column.as_primitive::<Decimal128Type>().iter().flatten().min()?;
            Some((low, 1 - 10_i128.pow((*precision).into())))
        }
        _ => None,
    }
}

impl Keys {
    /// Writes a row's values as bytes that are equal exactly when the values are.
    pub(super) fn bytes(&self, row: usize, into: &mut Vec<u8>) {
        into.clear();
        for Key { values, numbers } in &self.0 {
            if values.is_null(row) {
                into.push(0);
                continue;
            }
            into.push(1);
            match (numbers, values.data_type()) {
                (Some((buffer, width)), _) => into.extend_from_slice(&buffer[row * width..(row + 1) * width]),
                (None, DataType::Boolean) => into.push(values.as_boolean().value(row).into()),
                (None, DataType::Utf8) => sized(into, values.as_string::<i32>().value(row).as_bytes()),
                (None, DataType::Binary) => sized(into, values.as_binary::<i32>().value(row)),
                (None, _) => into.extend_from_slice(values.as_fixed_size_binary().value(row)),
            }
        }
    }
}

fn sized(into: &mut Vec<u8>, bytes: &[u8]) {
    into.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    into.extend_from_slice(bytes);
}
