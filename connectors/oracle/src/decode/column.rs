//! Grows one Arrow column from the values of many rows. Pure.

use std::sync::Arc;

use arrow_array::types::Decimal128Type;
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Float32Array, Float64Array, Int32Array, Int64Array, ListArray, PrimitiveArray,
    StringArray, TimestampMicrosecondArray, TimestampNanosecondArray,
};
use arrow_buffer::{BooleanBufferBuilder, Buffer, NullBufferBuilder, OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, Field};
use connector_api::UTC;

use super::{Wrong, number, time};
use crate::session::{Cell, Printed, Stamp};
use crate::types::Wire;

/// Most memory reserved ahead for a column's next batch, bytes: one huge row says nothing of the next.
const KEPT: usize = 8 << 20;
const BEYOND: Wrong = "a batch of one column beyond 2 GiB";
const OTHER: Wrong = "a value of another type than its column's";

enum Values {
    Bool(BooleanBufferBuilder),
    I32(Vec<i32>),
    I64(Vec<i64>),
    I128(Vec<i128>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    Bytes { ends: Vec<i32>, data: Vec<u8> },
    Floats { ends: Vec<i32>, elements: Vec<f32> },
}

pub(super) struct ColumnBuilder {
    wire: Wire,
    values: Values,
    nulls: NullBufferBuilder,
}

impl ColumnBuilder {
    pub(super) fn new(wire: Wire) -> Self {
        let values = match wire {
            Wire::Bool => Values::Bool(BooleanBufferBuilder::new(0)),
            Wire::Int => Values::I32(vec![]),
            Wire::Long | Wire::Timestamp | Wire::Instant | Wire::TimestampNanos | Wire::InstantNanos => {
                Values::I64(vec![])
            }
            Wire::Decimal { .. } => Values::I128(vec![]),
            Wire::Float => Values::F32(vec![]),
            Wire::Double | Wire::NumberDouble => Values::F64(vec![]),
            Wire::Vector => Values::Floats { ends: vec![0], elements: vec![] },
            Wire::NumberText
            | Wire::Text
            | Wire::Bytes
            | Wire::YearMonth
            | Wire::DaySecond
            | Wire::Clob
            | Wire::Blob => Values::Bytes { ends: vec![0], data: vec![] },
        };
        Self { wire, values, nulls: NullBufferBuilder::new(1024) }
    }

    /// Appends a printed NUMBER; how many bytes it takes.
    #[inline]
    pub(super) fn append_number(&mut self, number: Option<&Printed>) -> Result<usize, Wrong> {
        let bytes = match (&mut self.values, self.wire) {
            (Values::I32(out), _) => {
                let value = number.map_or(Ok(0), |number| number::scaled(number, 9, 0))?;
                out.push(i32::try_from(value).map_err(|_| OTHER)?);
                4
            }
            (Values::I64(out), Wire::Long) => {
                let value = number.map_or(Ok(0), |number| number::scaled(number, 18, 0))?;
                out.push(i64::try_from(value).map_err(|_| OTHER)?);
                8
            }
            (Values::I128(out), Wire::Decimal { precision, scale }) => {
                out.push(number.map_or(Ok(0), |number| number::scaled(number, precision, scale))?);
                16
            }
            (Values::F64(out), _) => {
                out.push(number.map_or(Ok(0.0), |number| number::double(number.text()))?);
                8
            }
            (Values::Bytes { ends, data }, _) => {
                let start = data.len();
                if let Some(number) = number {
                    number::write(number.text(), data)?;
                }
                ends.push(i32::try_from(data.len()).map_err(|_| BEYOND)?);
                data.len() - start + 4
            }
            _ => return Err(OTHER),
        };
        self.nulls.append(number.is_some());
        Ok(bytes)
    }

    /// Appends a date or timestamp.
    #[inline]
    pub(super) fn append_stamp(&mut self, stamp: Option<&Stamp>) -> Result<usize, Wrong> {
        let Values::I64(out) = &mut self.values else { return Err(OTHER) };
        out.push(match (stamp, self.wire) {
            (None, _) => 0,
            (Some(stamp), Wire::TimestampNanos | Wire::InstantNanos) => time::nanos(stamp)?,
            (Some(stamp), _) => time::micros(stamp)?,
        });
        self.nulls.append(stamp.is_some());
        Ok(8)
    }

    /// Appends a value of any kind but those; how many bytes it takes.
    pub(super) fn append(&mut self, cell: Cell<'_>) -> Result<usize, Wrong> {
        let is_null = matches!(cell, Cell::Null);
        let bytes = match (&mut self.values, cell) {
            (Values::Bool(out), cell) => {
                out.append(match cell {
                    Cell::Bool(value) => value,
                    Cell::Null => false,
                    _ => return Err(OTHER),
                });
                1
            }
            (Values::I32(_) | Values::I64(_) | Values::I128(_), _) => return Err(OTHER),
            (Values::F32(out), cell) => {
                out.push(match cell {
                    Cell::Float(value) => value,
                    Cell::Null => 0.0,
                    _ => return Err(OTHER),
                });
                4
            }
            (Values::F64(out), cell) => {
                out.push(match cell {
                    Cell::Double(value) => value,
                    Cell::Null => 0.0,
                    _ => return Err(OTHER),
                });
                8
            }
            (Values::Bytes { ends, data }, cell) => {
                let start = data.len();
                match cell {
                    Cell::Null => {}
                    Cell::Bytes(bytes) => data.extend_from_slice(bytes),
                    #[cfg(feature = "oci")]
                    Cell::Taken(bytes) => data.extend_from_slice(&bytes),
                    Cell::YearMonth(years, months) => time::year_month(years, months, data),
                    Cell::DaySecond(parts) => time::day_second(parts, data),
                    _ => return Err(OTHER),
                }
                ends.push(i32::try_from(data.len()).map_err(|_| BEYOND)?);
                data.len() - start + 4
            }
            (Values::Floats { ends, elements }, cell) => {
                let start = elements.len();
                match cell {
                    Cell::Null => {}
                    Cell::Vector(vector) => {
                        for value in vector {
                            let float = value as f32;
                            if f64::from(float) != value && !value.is_nan() {
                                return Err("the vector has an element that is no float");
                            }
                            elements.push(float);
                        }
                    }
                    _ => return Err(OTHER),
                }
                ends.push(i32::try_from(elements.len()).map_err(|_| BEYOND)?);
                4 * (elements.len() - start) + 4
            }
        };
        self.nulls.append(!is_null);
        Ok(bytes)
    }

    /// Appends text or a large value, which the given function writes; `false` of it is NULL.
    #[inline]
    pub(super) fn append_written<E: From<Wrong>>(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> Result<bool, E>,
    ) -> Result<usize, E> {
        let Values::Bytes { ends, data } = &mut self.values else { return Err(OTHER.into()) };
        let start = data.len();
        let there = write(data)?;
        ends.push(i32::try_from(data.len()).map_err(|_| E::from(BEYOND))?);
        self.nulls.append(there);
        Ok(data.len() - start + 4)
    }

    /// The column so far; the builder begins anew.
    pub(super) fn finish(&mut self) -> Result<ArrayRef, Wrong> {
        let nulls = self.nulls.finish();
        Ok(match (&mut self.values, self.wire) {
            (Values::Bool(v), _) => Arc::new(BooleanArray::new(v.finish(), nulls)),
            (Values::I32(v), _) => Arc::new(Int32Array::new(taken(v), nulls)),
            (Values::I64(v), Wire::Timestamp) => Arc::new(TimestampMicrosecondArray::new(taken(v), nulls)),
            (Values::I64(v), Wire::Instant) => {
                Arc::new(TimestampMicrosecondArray::new(taken(v), nulls).with_timezone(UTC))
            }
            (Values::I64(v), Wire::TimestampNanos) => Arc::new(TimestampNanosecondArray::new(taken(v), nulls)),
            (Values::I64(v), Wire::InstantNanos) => {
                Arc::new(TimestampNanosecondArray::new(taken(v), nulls).with_timezone(UTC))
            }
            (Values::I64(v), _) => Arc::new(Int64Array::new(taken(v), nulls)),
            (Values::I128(v), wire) => {
                let Wire::Decimal { precision, scale } = wire else { return Err(OTHER) };
                let array = PrimitiveArray::<Decimal128Type>::new(taken(v), nulls);
                Arc::new(array.with_precision_and_scale(precision, scale as i8).map_err(|_| "not a decimal type")?)
            }
            (Values::F32(v), _) => Arc::new(Float32Array::new(taken(v), nulls)),
            (Values::F64(v), _) => Arc::new(Float64Array::new(taken(v), nulls)),
            (Values::Bytes { ends, data }, wire) => {
                let offsets = offsets(ends);
                let data = Buffer::from_vec(exact(data));
                match wire {
                    Wire::Bytes | Wire::Blob => Arc::new(BinaryArray::new(offsets, data, nulls)),
                    // Checks the column as a whole, and that each value is text by itself.
                    _ => Arc::new(StringArray::try_new(offsets, data, nulls).map_err(|_| "text that is not UTF-8")?),
                }
            }
            (Values::Floats { ends, elements }, _) => {
                let (offsets, elements) = (offsets(ends), Float32Array::new(taken(elements), None));
                let element = Arc::new(Field::new("element", DataType::Float32, true));
                Arc::new(ListArray::try_new(element, offsets, Arc::new(elements), nulls).map_err(|_| OTHER)?)
            }
        })
    }
}

fn offsets(ends: &mut Vec<i32>) -> OffsetBuffer<i32> {
    let offsets = OffsetBuffer::new(ScalarBuffer::from(exact(ends)));
    ends.push(0);
    offsets
}

fn taken<T: arrow_buffer::ArrowNativeType>(values: &mut Vec<T>) -> ScalarBuffer<T> {
    ScalarBuffer::from(exact(values))
}

/// Takes the vector, without memory it does not use (a batch counts what it holds), and leaves one of the same size: the
/// next batch is about as large.
fn exact<T>(values: &mut Vec<T>) -> Vec<T> {
    let mut taken = std::mem::take(values);
    if taken.capacity() > taken.len() + taken.len() / 4 {
        taken.shrink_to_fit();
    }
    values.reserve(taken.len().min(KEPT / size_of::<T>()));
    taken
}
