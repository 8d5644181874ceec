//! Grows one Arrow column from the binary values of many rows. Pure.
//!
//! Each type is one tight loop over the fields of a block. Every length is checked against the type, so
//! that bytes which are not what the catalog promised are an error and never a wrong value.

use std::sync::Arc;

use arrow_array::types::Decimal128Type;
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, FixedSizeBinaryArray, Float32Array, Float64Array, Int32Array,
    Int64Array, PrimitiveArray, StringArray, Time64MicrosecondArray, TimestampMicrosecondArray,
};
use arrow_buffer::{BooleanBufferBuilder, Buffer, NullBuffer, NullBufferBuilder, OffsetBuffer, ScalarBuffer};
use connector_api::UTC;

use super::numeric::Numeric;
use crate::types::Wire;

/// Where a value lies; `length` is −1 for NULL.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Field {
    pub(super) offset: u32,
    pub(super) length: i32,
}

/// What is wrong with a value.
pub(super) type Wrong = &'static str;

const LENGTH: Wrong = "a value is not as long as its type";
/// PostgreSQL counts from 2000-01-01: days and microseconds since 1970-01-01.
const EPOCH_DAYS: i32 = 10_957;
const EPOCH_MICROS: i64 = EPOCH_DAYS as i64 * 86_400_000_000;
const DAY_MICROS: i64 = 86_400_000_000;

/// Most memory reserved ahead for a column's next batch, bytes: one huge row says nothing of the next.
const KEPT: usize = 8 << 20;

enum Values {
    Bool(BooleanBufferBuilder),
    I32(Vec<i32>),
    I64(Vec<i64>),
    I128(Vec<i128>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    Uuid(Vec<u8>),
    Bytes { ends: Vec<i32>, data: Vec<u8> },
}

pub(super) struct ColumnBuilder {
    wire: Wire,
    infinite_is_null: bool,
    values: Values,
    nulls: NullBufferBuilder,
}

impl ColumnBuilder {
    pub(super) fn new(wire: Wire, infinite_is_null: bool) -> Self {
        let values = match wire {
            Wire::Bool => Values::Bool(BooleanBufferBuilder::new(0)),
            Wire::Int2 | Wire::Int4 | Wire::Date => Values::I32(vec![]),
            Wire::Int8 | Wire::Oid | Wire::Time | Wire::Timestamp | Wire::Timestamptz => Values::I64(vec![]),
            Wire::Decimal { .. } => Values::I128(vec![]),
            Wire::Float4 => Values::F32(vec![]),
            Wire::Float8 | Wire::NumericDouble => Values::F64(vec![]),
            Wire::Uuid => Values::Uuid(vec![]),
            Wire::NumericText | Wire::Text | Wire::Jsonb | Wire::Bytea => Values::Bytes { ends: vec![0], data: vec![] },
        };
        Self { wire, infinite_is_null, values, nulls: NullBufferBuilder::new(1024) }
    }

    /// Appends the values of a block of rows.
    pub(super) fn append(&mut self, buffer: &[u8], fields: &[Field]) -> Result<(), Wrong> {
        let finite: Vec<Field>;
        let fields = match self.infinite_is_null {
            false => fields,
            true => {
                finite = fields.iter().map(|f| if f.is_infinite(buffer) { Field::NULL } else { *f }).collect();
                &finite
            }
        };
        if fields.iter().all(|f| f.length >= 0) {
            self.nulls.append_n_non_nulls(fields.len());
        } else {
            fields.iter().for_each(|f| self.nulls.append(f.length >= 0));
        }
        match (&mut self.values, self.wire) {
            (Values::Bool(out), _) => {
                for field in fields {
                    out.append(match field.fixed::<1>(buffer)? {
                        None | Some([0]) => false,
                        Some([1]) => true,
                        Some(_) => return Err("a boolean that is neither true nor false"),
                    });
                }
                Ok(())
            }
            (Values::I32(out), Wire::Int2) => fixed(out, buffer, fields, |b| Ok(i16::from_be_bytes(b).into())),
            (Values::I32(out), Wire::Date) => fixed(out, buffer, fields, |b| match i32::from_be_bytes(b) {
                i32::MAX | i32::MIN => Err("the date is infinite"),
                days => days.checked_add(EPOCH_DAYS).ok_or("the date is out of range"),
            }),
            (Values::I32(out), _) => fixed(out, buffer, fields, |b| Ok(i32::from_be_bytes(b))),
            (Values::I64(out), Wire::Oid) => fixed(out, buffer, fields, |b| Ok(u32::from_be_bytes(b).into())),
            (Values::I64(out), Wire::Time) => fixed(out, buffer, fields, |b| match i64::from_be_bytes(b) {
                DAY_MICROS => Err("the time 24:00:00 has no equivalent"),
                micros @ 0..DAY_MICROS => Ok(micros),
                _ => Err("the time is out of range"),
            }),
            (Values::I64(out), Wire::Timestamp | Wire::Timestamptz) => {
                fixed(out, buffer, fields, |b| match i64::from_be_bytes(b) {
                    i64::MAX | i64::MIN => Err("the timestamp is infinite"),
                    micros => micros.checked_add(EPOCH_MICROS).ok_or("the timestamp is out of range"),
                })
            }
            (Values::I64(out), _) => fixed(out, buffer, fields, |b| Ok(i64::from_be_bytes(b))),
            (Values::F32(out), _) => fixed(out, buffer, fields, |b| Ok(f32::from_be_bytes(b))),
            (Values::F64(out), Wire::NumericDouble) => {
                for field in fields {
                    out.push(field.bytes(buffer)?.map_or(Ok(0.0), |b| Numeric::parse(b)?.double())?);
                }
                Ok(())
            }
            (Values::F64(out), _) => fixed(out, buffer, fields, |b| Ok(f64::from_be_bytes(b))),
            (Values::I128(out), wire) => {
                let Wire::Decimal { precision, scale } = wire else { return Err(LENGTH) };
                for field in fields {
                    let value = field.bytes(buffer)?.map(|b| Numeric::parse(b)?.decimal(precision, scale));
                    out.push(value.transpose()?.unwrap_or(0));
                }
                Ok(())
            }
            (Values::Uuid(out), _) => {
                for field in fields {
                    out.extend_from_slice(&field.fixed::<16>(buffer)?.unwrap_or_default());
                }
                Ok(())
            }
            (Values::Bytes { ends, data }, wire) => {
                for field in fields {
                    match (field.bytes(buffer)?, wire) {
                        (None, _) => {}
                        (Some(bytes), Wire::NumericText) => Numeric::parse(bytes)?.write(data)?,
                        (Some([1, text @ ..]), Wire::Jsonb) => data.extend_from_slice(text),
                        (Some(_), Wire::Jsonb) => return Err("a jsonb value of an unknown version"),
                        (Some(bytes), _) => data.extend_from_slice(bytes),
                    }
                    ends.push(i32::try_from(data.len()).map_err(|_| "a batch of one column beyond 2 GiB")?);
                }
                Ok(())
            }
        }
    }

    /// The column so far; the builder begins anew.
    pub(super) fn finish(&mut self) -> Result<ArrayRef, Wrong> {
        let nulls = self.nulls.finish();
        Ok(match (&mut self.values, self.wire) {
            (Values::Bool(v), _) => Arc::new(BooleanArray::new(v.finish(), nulls)),
            (Values::I32(v), Wire::Date) => Arc::new(Date32Array::new(taken(v), nulls)),
            (Values::I32(v), _) => Arc::new(Int32Array::new(taken(v), nulls)),
            (Values::I64(v), Wire::Time) => Arc::new(Time64MicrosecondArray::new(taken(v), nulls)),
            (Values::I64(v), Wire::Timestamp) => Arc::new(TimestampMicrosecondArray::new(taken(v), nulls)),
            (Values::I64(v), Wire::Timestamptz) => {
                Arc::new(TimestampMicrosecondArray::new(taken(v), nulls).with_timezone(UTC))
            }
            (Values::I64(v), _) => Arc::new(Int64Array::new(taken(v), nulls)),
            (Values::F32(v), _) => Arc::new(Float32Array::new(taken(v), nulls)),
            (Values::F64(v), _) => Arc::new(Float64Array::new(taken(v), nulls)),
            (Values::I128(v), Wire::Decimal { precision, scale }) => {
                let array = PrimitiveArray::<Decimal128Type>::new(taken(v), nulls);
                Arc::new(array.with_precision_and_scale(precision, scale as i8).map_err(|_| "not a decimal type")?)
            }
            (Values::Uuid(v), _) => uuids(Buffer::from_vec(exact(v)), nulls)?,
            (Values::Bytes { ends, data }, wire) => {
                let offsets = OffsetBuffer::new(ScalarBuffer::from(exact(ends)));
                ends.push(0);
                let data = Buffer::from_vec(exact(data));
                match wire {
                    Wire::Bytea => Arc::new(BinaryArray::new(offsets, data, nulls)),
                    _ => Arc::new(
                        // Checks the column as a whole, and that each value is text by itself.
                        StringArray::try_new(offsets, data, nulls).map_err(|_| "text that is not UTF-8")?,
                    ),
                }
            }
            (Values::I128(_), _) => return Err("not a decimal type"),
        })
    }
}

impl Field {
    pub(super) const NULL: Self = Self { offset: 0, length: -1 };

    /// Whether a date or timestamp is the first or last of its bits.
    fn is_infinite(self, buffer: &[u8]) -> bool {
        match self.bytes(buffer) {
            Ok(Some([first, rest @ ..])) => {
                (*first == 0x7f && rest.iter().all(|b| *b == 0xff)) || (*first == 0x80 && rest.iter().all(|b| *b == 0))
            }
            _ => false,
        }
    }

    pub(super) fn bytes(self, buffer: &[u8]) -> Result<Option<&[u8]>, Wrong> {
        let Ok(length) = usize::try_from(self.length) else { return Ok(None) };
        let offset = self.offset as usize;
        buffer.get(offset..offset + length).map(Some).ok_or(LENGTH)
    }

    #[inline(always)]
    fn fixed<const N: usize>(self, buffer: &[u8]) -> Result<Option<[u8; N]>, Wrong> {
        if self.length < 0 {
            return Ok(None);
        }
        if self.length as usize != N {
            return Err(LENGTH);
        }
        buffer.get(self.offset as usize..).and_then(|b| b.first_chunk()).copied().map(Some).ok_or(LENGTH)
    }
}

#[inline(always)]
fn fixed<const N: usize, T: Default>(
    out: &mut Vec<T>,
    buffer: &[u8],
    fields: &[Field],
    value: impl Fn([u8; N]) -> Result<T, Wrong>,
) -> Result<(), Wrong> {
    out.reserve(fields.len());
    for field in fields {
        out.push(match field.fixed::<N>(buffer)? {
            Some(bytes) => value(bytes)?,
            None => T::default(),
        });
    }
    Ok(())
}

fn taken<T: arrow_buffer::ArrowNativeType>(values: &mut Vec<T>) -> ScalarBuffer<T> {
    ScalarBuffer::from(exact(values))
}

/// Takes the vector, without memory it does not use (a batch counts what it holds), and leaves one of the
/// same size: the next batch is about as large.
fn exact<T>(values: &mut Vec<T>) -> Vec<T> {
    let mut taken = std::mem::take(values);
    if taken.capacity() > taken.len() + taken.len() / 4 {
        taken.shrink_to_fit();
    }
    values.reserve(taken.len().min(KEPT / size_of::<T>()));
    taken
}

fn uuids(values: Buffer, nulls: Option<NullBuffer>) -> Result<ArrayRef, Wrong> {
    Ok(Arc::new(FixedSizeBinaryArray::try_new(16, values, nulls).map_err(|_| LENGTH)?))
}
