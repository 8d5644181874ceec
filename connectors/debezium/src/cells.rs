//! Grows one Arrow column, value by value, and takes back what a failed row put there. Pure.
//!
//! What must hold: after an error, [`Cells::truncate`] to the rows that were whole leaves nothing of the
//! failed one behind; a value that does not fit is an error, never another value.

use std::sync::Arc;

use arrow_array::types::Decimal128Type;
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, FixedSizeBinaryArray, Float32Array, Float64Array, Int32Array,
    Int64Array, ListArray, PrimitiveArray, StringArray, Time64MicrosecondArray, TimestampMicrosecondArray,
};
use arrow_buffer::{BooleanBufferBuilder, Buffer, NullBufferBuilder, OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, FieldRef, TimeUnit};
use connector_api::UTC;

use crate::how::{How, Unit};
use crate::value::convert::{
    Composite, NOT_OF_TYPE, RANGE, Rules, Wrong, bytes, decimal, double, finite, float, integer, long, str, whole,
};
use crate::value::decimal::{Decimal, fits};
use crate::value::{Value, text, time};

const TOO_LONG: Wrong = "a batch of one column beyond 2 GiB";

#[derive(Debug)]
enum Values {
    Bool(BooleanBufferBuilder),
    I32(Vec<i32>),
    I64(Vec<i64>),
    I128(Vec<i128>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    Uuid(Vec<u8>),
    Bytes { ends: Vec<i32>, data: Vec<u8> },
    List { ends: Vec<i32>, element: FieldRef, child: Box<Cells> },
}

/// What came of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cell {
    /// A cell that is not NULL.
    Value,
    /// A cell that is NULL.
    Null,
    /// No cell: the value is not known.
    Unknown,
}

/// A column that grows.
#[derive(Debug)]
pub(crate) struct Cells {
    data_type: DataType,
    values: Values,
    nulls: NullBufferBuilder,
}

impl Cells {
    /// An empty column.
    pub(crate) fn new(data_type: &DataType) -> Result<Self, Wrong> {
        let values = match data_type {
            DataType::Boolean => Values::Bool(BooleanBufferBuilder::new(0)),
            DataType::Int32 | DataType::Date32 => Values::I32(vec![]),
            DataType::Int64
            | DataType::Time64(TimeUnit::Microsecond)
            | DataType::Timestamp(TimeUnit::Microsecond, _) => Values::I64(vec![]),
            DataType::Decimal128(..) => Values::I128(vec![]),
            DataType::Float32 => Values::F32(vec![]),
            DataType::Float64 => Values::F64(vec![]),
            DataType::FixedSizeBinary(16) => Values::Uuid(vec![]),
            DataType::Utf8 | DataType::Binary => Values::Bytes { ends: vec![0], data: vec![] },
            DataType::List(element) => {
                let child = Box::new(Self::new(element.data_type())?);
                Values::List { ends: vec![0], element: Arc::clone(element), child }
            }
            _ => return Err("a column of a type that no event has"),
        };
        Ok(Self { data_type: data_type.clone(), values, nulls: NullBufferBuilder::new(1024) })
    }

    /// How many cells there are.
    pub(crate) fn len(&self) -> usize {
        self.nulls.len()
    }

    /// Whether that cell is there and NULL.
    pub(crate) fn is_null(&self, cell: usize) -> bool {
        cell < self.len() && !self.nulls.is_valid(cell)
    }

    /// Whether that cell is there and not NULL.
    pub(crate) fn is_filled(&self, cell: usize) -> bool {
        cell < self.len() && self.nulls.is_valid(cell)
    }

    /// Memory that the cells take, bytes, about.
    pub(crate) fn bytes(&self) -> usize {
        let values = match &self.values {
            Values::Bool(v) => v.len() / 8,
            Values::I32(v) => v.len() * 4,
            Values::F32(v) => v.len() * 4,
            Values::I64(v) => v.len() * 8,
            Values::F64(v) => v.len() * 8,
            Values::I128(v) => v.len() * 16,
            Values::Uuid(v) => v.len(),
            Values::Bytes { ends, data } => ends.len() * 4 + data.len(),
            Values::List { ends, child, .. } => ends.len() * 4 + child.bytes(),
        };
        values + self.nulls.len() / 8
    }

    /// Takes back all but the first cells, and what a failed one left.
    pub(crate) fn truncate(&mut self, cells: usize) {
        match &mut self.values {
            Values::Bool(v) => v.truncate(cells),
            Values::I32(v) => v.truncate(cells),
            Values::I64(v) => v.truncate(cells),
            Values::I128(v) => v.truncate(cells),
            Values::F32(v) => v.truncate(cells),
            Values::F64(v) => v.truncate(cells),
            Values::Uuid(v) => v.truncate(16 * cells),
            Values::Bytes { ends, data } => {
                ends.truncate(cells + 1);
                data.truncate(last(ends));
            }
            Values::List { ends, child, .. } => {
                ends.truncate(cells + 1);
                child.truncate(last(ends));
            }
        }
        self.nulls.truncate(cells);
    }

    /// Appends NULL.
    pub(crate) fn append_null(&mut self) {
        match &mut self.values {
            Values::Bool(v) => v.append(false),
            Values::I32(v) => v.push(0),
            Values::I64(v) => v.push(0),
            Values::I128(v) => v.push(0),
            Values::F32(v) => v.push(0.0),
            Values::F64(v) => v.push(0.0),
            Values::Uuid(v) => v.extend_from_slice(&[0; 16]),
            Values::Bytes { ends, .. } | Values::List { ends, .. } => ends.push(ends.last().copied().unwrap_or(0)),
        }
        self.nulls.append_null();
    }

    /// Where a list's elements go; [`close_list`](Self::close_list) makes the cell of them.
    pub(crate) fn elements(&mut self) -> Result<&mut Cells, Wrong> {
        match &mut self.values {
            Values::List { child, .. } => Ok(child),
            _ => Err(NOT_OF_TYPE),
        }
    }

    /// Makes a cell of the elements appended since the last one; or takes them back where they
    /// stand for a list that is not known. `standing`: one of them is the placeholder itself.
    pub(crate) fn close_list(&mut self, standing: bool, unavailable: Option<&Cells>) -> Result<Cell, Wrong> {
        let Values::List { ends, child, .. } = &mut self.values else { return Err(NOT_OF_TYPE) };
        let start = last(ends);
        let open = child.len() - start;
        if standing && open > 1 {
            return Err("the placeholder of an unavailable value within an array");
        }
        if standing || unavailable.is_some_and(|u| u.len() == open && child.ends_with(u)) {
            child.truncate(start);
            return Ok(Cell::Unknown);
        }
        ends.push(i32::try_from(child.len()).map_err(|_| TOO_LONG)?);
        self.nulls.append_non_null();
        Ok(Cell::Value)
    }

    /// Whether the last elements are the same as those of another column, all of them.
    pub(crate) fn ends_with(&self, other: &Cells) -> bool {
        let Some(from) = self.len().checked_sub(other.len()) else { return false };
        let valid = (0..other.len()).all(|i| self.nulls.is_valid(from + i) && other.nulls.is_valid(i));
        valid
            && match (&self.values, &other.values) {
                (Values::Bool(a), Values::Bool(b)) => (0..b.len()).all(|i| a.get_bit(from + i) == b.get_bit(i)),
                (Values::I32(a), Values::I32(b)) => a[from..] == b[..],
                (Values::I64(a), Values::I64(b)) => a[from..] == b[..],
                (Values::I128(a), Values::I128(b)) => a[from..] == b[..],
                (Values::F32(a), Values::F32(b)) => a[from..] == b[..],
                (Values::F64(a), Values::F64(b)) => a[from..] == b[..],
                (Values::Uuid(a), Values::Uuid(b)) => a[16 * from..] == b[..],
                (Values::Bytes { ends: ea, data: a }, Values::Bytes { ends: eb, data: b }) => {
                    let start = ea[from];
                    a[start as usize..] == b[..] && ea[from..].iter().zip(eb).all(|(x, y)| x - start == *y)
                }
                _ => false,
            }
    }

    /// Appends a whole number where the column takes it as it is; says whether it did.
    #[inline(always)]
    pub(crate) fn whole(&mut self, how: &How, number: i64, rules: Rules<'_>) -> bool {
        let is_finite = |bounds| matches!(finite(number, bounds, rules, NOT_OF_TYPE), Ok(Some(_)));
        match (&mut self.values, how) {
            (Values::I64(v), How::Int) => v.push(number),
            (Values::I64(v), How::Timestamp(Unit::Micros)) if is_finite(rules.dialect.timestamps) => v.push(number),
            (Values::I32(v), How::Int) => match i32::try_from(number) {
                Ok(number) => v.push(number),
                Err(_) => return false,
            },
            (Values::I32(v), How::Days) if is_finite(rules.dialect.dates) => match i32::try_from(number) {
                Ok(number) => v.push(number),
                Err(_) => return false,
            },
            _ => return false,
        }
        self.nulls.append_non_null();
        true
    }

    /// Appends a text, which must be UTF-8, as it is; says whether it did.
    #[inline(always)]
    pub(crate) fn text(&mut self, text: &[u8]) -> bool {
        let Values::Bytes { ends, data } = &mut self.values else { return false };
        let Ok(end) = i32::try_from(data.len() + text.len()) else { return false };
        data.extend_from_slice(text);
        ends.push(end);
        self.nulls.append_non_null();
        true
    }

    /// Appends an unscaled decimal that comes with a scale, where the column has that scale and room for it; says
    /// whether it did.
    #[inline(always)]
    pub(crate) fn unscaled(&mut self, number: i128, scale: i32) -> bool {
        match (&mut self.values, &self.data_type) {
            (Values::I128(v), DataType::Decimal128(precision, of)) if i32::from(*of) == scale => {
                let fits = fits(number, *precision);
                if fits {
                    v.push(number);
                    self.nulls.append_non_null();
                }
                fits
            }
            _ => false,
        }
    }

    /// Appends a value.
    pub(crate) fn append(&mut self, how: &How, value: Value<'_>, rules: Rules<'_>) -> Result<Cell, Wrong> {
        if value == Value::Null {
            self.append_null();
            return Ok(Cell::Null);
        }
        let appended = match &mut self.values {
            Values::Bool(v) => match value {
                Value::Bool(value) => {
                    v.append(value);
                    true
                }
                _ => return Err(NOT_OF_TYPE),
            },
            Values::I32(v) => {
                let number = match how {
                    How::Int => Some(integer(value)?),
                    How::DecimalText => Some(whole(how, value)?),
                    How::Days => finite(integer(value)?, rules.dialect.dates, rules, "the date is infinite")?,
                    How::IsoDate => {
                        finite(time::date(str(value)?)?, rules.dialect.dates, rules, "the date is infinite")?
                    }
                    _ => return Err(NOT_OF_TYPE),
                };
                number.map(|n| i32::try_from(n).map(|n| v.push(n)).map_err(|_| RANGE)).transpose()?.is_some()
            }
            Values::I64(v) if *how == How::DecimalText => {
                v.push(whole(how, value)?);
                true
            }
            Values::I64(v) => long(how, value, rules)?.map(|n| v.push(n)).is_some(),
            Values::I128(v) => {
                let DataType::Decimal128(precision, scale) = self.data_type else { return Err(NOT_OF_TYPE) };
                v.push(decimal(how, value)?.scaled(precision, scale)?);
                true
            }
            Values::F32(v) => {
                v.push(float(value)?);
                true
            }
            Values::F64(v) => {
                v.push(match how {
                    How::Float => double(value)?,
                    _ => decimal(how, value)?.double()?,
                });
                true
            }
            Values::Uuid(v) => {
                v.extend_from_slice(&text::uuid(str(value)?)?);
                true
            }
            Values::Bytes { ends, data } => {
                bytes(how, value, rules, data)?;
                ends.push(i32::try_from(data.len()).map_err(|_| TOO_LONG)?);
                true
            }
            Values::List { .. } => return Err(NOT_OF_TYPE),
        };
        if !appended {
            self.append_null();
            return Ok(Cell::Null);
        }
        self.nulls.append_non_null();
        Ok(Cell::Value)
    }

    /// Appends a struct or a map.
    pub(crate) fn append_composite(
        &mut self,
        how: &How,
        composite: &Composite,
        rules: Rules<'_>,
    ) -> Result<Cell, Wrong> {
        const INCOMPLETE: Wrong = "a struct that lacks a member";
        let number = || {
            let bytes = composite.bytes.as_deref().ok_or(INCOMPLETE)?;
            Decimal::from_bytes(bytes, composite.scale.ok_or(INCOMPLETE)?)
        };
        match (&mut self.values, how) {
            (Values::I128(v), How::DecimalStruct) => {
                let DataType::Decimal128(precision, scale) = self.data_type else { return Err(NOT_OF_TYPE) };
                v.push(number()?.scaled(precision, scale)?);
            }
            (Values::F64(v), How::DecimalStruct) => v.push(number()?.double()?),
            (Values::Bytes { ends, data }, how) => {
                match how {
                    How::DecimalStruct => rules.print(&number()?, data),
                    How::Hstore => text::hstore(&composite.pairs, data),
                    How::Point => {
                        text::point(composite.x.ok_or(INCOMPLETE)?, composite.y.ok_or(INCOMPLETE)?, data);
                    }
                    How::Geometry => {
                        text::ewkb(composite.bytes.as_deref().ok_or(INCOMPLETE)?, composite.srid, data)?;
                    }
                    _ => return Err(NOT_OF_TYPE),
                }
                ends.push(i32::try_from(data.len()).map_err(|_| TOO_LONG)?);
            }
            _ => return Err(NOT_OF_TYPE),
        }
        self.nulls.append_non_null();
        Ok(Cell::Value)
    }

    /// The column so far; it begins anew.
    pub(crate) fn finish(&mut self) -> Result<ArrayRef, Wrong> {
        let nulls = self.nulls.finish();
        Ok(match &mut self.values {
            Values::Bool(v) => Arc::new(BooleanArray::new(v.finish(), nulls)),
            Values::I32(v) if self.data_type == DataType::Date32 => Arc::new(Date32Array::new(taken(v), nulls)),
            Values::I32(v) => Arc::new(Int32Array::new(taken(v), nulls)),
            Values::I64(v) => match &self.data_type {
                DataType::Time64(_) => Arc::new(Time64MicrosecondArray::new(taken(v), nulls)),
                DataType::Timestamp(_, None) => Arc::new(TimestampMicrosecondArray::new(taken(v), nulls)),
                DataType::Timestamp(_, Some(_)) => {
                    Arc::new(TimestampMicrosecondArray::new(taken(v), nulls).with_timezone(UTC))
                }
                _ => Arc::new(Int64Array::new(taken(v), nulls)),
            },
            Values::F32(v) => Arc::new(Float32Array::new(taken(v), nulls)),
            Values::F64(v) => Arc::new(Float64Array::new(taken(v), nulls)),
            Values::I128(v) => {
                let array = PrimitiveArray::<Decimal128Type>::new(taken(v), nulls);
                Arc::new(array.with_data_type(self.data_type.clone()))
            }
            Values::Uuid(v) => {
                let data = Buffer::from_vec(emptied(v));
                Arc::new(FixedSizeBinaryArray::try_new(16, data, nulls).map_err(|_| NOT_OF_TYPE)?)
            }
            Values::Bytes { ends, data } => {
                let offsets = OffsetBuffer::new(taken(ends));
                ends.push(0);
                let data = Buffer::from_vec(emptied(data));
                match self.data_type {
                    DataType::Binary => Arc::new(BinaryArray::new(offsets, data, nulls)),
                    _ => Arc::new(StringArray::try_new(offsets, data, nulls).map_err(|_| "text that is not UTF-8")?),
                }
            }
            Values::List { ends, element, child } => {
                let offsets = OffsetBuffer::new(taken(ends));
                ends.push(0);
                let values = child.finish()?;
                Arc::new(ListArray::try_new(Arc::clone(element), offsets, values, nulls).map_err(|_| NOT_OF_TYPE)?)
            }
        })
    }
}

fn last(ends: &[i32]) -> usize {
    ends.last().copied().unwrap_or(0) as usize
}

/// The values, with room for about as many again: the next batch is of the same size mostly. Neither what is kept nor what
/// is given away has more room than it could use.
fn emptied<T>(values: &mut Vec<T>) -> Vec<T> {
    let length = values.len();
    let mut emptied = std::mem::replace(values, Vec::with_capacity(length + length / 8));
    if emptied.capacity() / 2 > length {
        emptied.shrink_to_fit();
    }
    emptied
}

fn taken<T: arrow_buffer::ArrowNativeType>(values: &mut Vec<T>) -> ScalarBuffer<T> {
    ScalarBuffer::from(emptied(values))
}
