//! Reads columns of Parquet files of a table: keys for the index, and values that a log did not send. Blocking.
//!
//! What must hold: memory does not grow with a file's size; a column is found by its field id, and is of the type
//! that the table has now, whatever it was when the file was written; one that the file lacks is NULL.

use std::collections::HashMap;
use std::io::Read;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef, ListArray, new_null_array};
use arrow_schema::{DataType, TimeUnit};
use bytes::Bytes;
use connector_api::{Error, Result};
use iceberg::io::{FileIO, FileRead};
use iceberg::spec::Type;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection, RowSelector};
use parquet::arrow::{PARQUET_FIELD_ID_META_KEY, ProjectionMask};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};
use tokio::runtime::Handle;

use crate::error;
use crate::schema::arrow_type;

/// Rows read at a time.
const ROWS: usize = 8192;
/// Bytes fetched at a time where a reader goes on from a point.
const FETCH: u64 = 1 << 20;

/// A column to read.
#[derive(Clone, Debug)]
pub(super) struct Column {
    /// Its field id.
    pub(super) id: i32,
    /// The type that it has in the table now.
    pub(super) kind: Type,
}

/// Reads files of one storage.
#[derive(Clone)]
pub(super) struct Scan {
    pub(super) storage: FileIO,
    /// The runtime that drives its calls.
    pub(super) runtime: Handle,
}

impl Scan {
    /// Gives the columns of a file, in the order asked for, part by part.
    pub(super) fn read(
        &self,
        path: &str,
        columns: &[Column],
        each: &mut dyn FnMut(&[ArrayRef]) -> Result<()>,
    ) -> Result<()> {
        self.select(path, columns, None, each)
    }

    /// Gives the columns of some rows of a file, whose positions ascend.
    pub(super) fn rows(
        &self,
        path: &str,
        columns: &[Column],
        positions: &[u32],
        each: &mut dyn FnMut(&[ArrayRef]) -> Result<()>,
    ) -> Result<()> {
        self.select(path, columns, Some(positions), each)
    }

    fn select(
        &self,
        path: &str,
        columns: &[Column],
        positions: Option<&[u32]>,
        each: &mut dyn FnMut(&[ArrayRef]) -> Result<()>,
    ) -> Result<()> {
        let of_file = |e: Error| e.with("file", path);
        let unread = |e: ParquetError| of_file(error::parquet(e));
        let open = async {
            let input = self.storage.new_input(path)?;
            Ok((input.metadata().await?.size, input.reader().await?))
        };
        let opened = self.runtime.block_on(open);
        let (size, reader) = opened.map_err(|e| of_file(error::iceberg("cannot open a file of the table", e)))?;
        let input = Input { runtime: self.runtime.clone(), reader: Arc::from(reader), size };
        // What the writer called the types in Arrow says nothing that the table does not say better.
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(input, options).map_err(unread)?;
        let place = |id: i32| {
            let wanted = id.to_string();
            builder.schema().fields().iter().position(|f| f.metadata().get(PARQUET_FIELD_ID_META_KEY) == Some(&wanted))
        };
        let places: Vec<Option<usize>> = columns.iter().map(|c| place(c.id)).collect();
        let mut roots: Vec<usize> = places.iter().flatten().copied().collect();
        roots.sort_unstable();
        roots.dedup();
        let order: HashMap<usize, usize> = roots.iter().enumerate().map(|(at, root)| (*root, at)).collect();
        let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
        let mut builder = builder.with_batch_size(ROWS).with_projection(mask);
        if let Some(positions) = positions {
            builder = builder.with_row_selection(selection(positions));
        }
        for batch in builder.build().map_err(unread)? {
            let batch = batch.map_err(|e| of_file(Error::data("cannot read a data file").caused_by(e)))?;
            let found = columns.iter().zip(&places).map(|(column, place)| {
                let wanted = arrow_type(&column.kind).map_err(of_file)?;
                match place.and_then(|root| order.get(&root)) {
                    Some(at) => promote(batch.column(*at), &wanted).map_err(of_file),
                    None => Ok(new_null_array(&wanted, batch.num_rows())),
                }
            });
            each(&found.collect::<Result<Vec<_>>>()?)?;
        }
        Ok(())
    }
}

fn selection(positions: &[u32]) -> RowSelection {
    let (mut selectors, mut at) = (Vec::new(), 0);
    for run in positions.chunk_by(|a, b| a + 1 == *b) {
        let first = run.first().map_or(0, |p| *p as usize);
        if first > at {
            selectors.push(RowSelector::skip(first - at));
        }
        selectors.push(RowSelector::select(run.len()));
        at = first + run.len();
    }
    RowSelection::from(selectors)
}

/// A column as the table's type; what Iceberg allows a type to become.
pub(super) fn promote(column: &ArrayRef, wanted: &DataType) -> Result<ArrayRef> {
    Ok(match (column.data_type(), wanted) {
        (is, wanted) if is == wanted => Arc::clone(column),
        (DataType::Int16, DataType::Int32) => {
            Arc::new(column.as_primitive::<Int16Type>().unary::<_, Int32Type>(i32::from))
        }
        (DataType::Int16, DataType::Int64) => {
            Arc::new(column.as_primitive::<Int16Type>().unary::<_, Int64Type>(i64::from))
        }
        (DataType::Int32, DataType::Int64) => {
            Arc::new(column.as_primitive::<Int32Type>().unary::<_, Int64Type>(i64::from))
        }
        (DataType::Float32, DataType::Float64) => {
            Arc::new(column.as_primitive::<Float32Type>().unary::<_, Float64Type>(f64::from))
        }
        (DataType::Decimal128(_, is), DataType::Decimal128(precision, scale)) if is == scale => {
            let numbers = column.as_primitive::<Decimal128Type>().clone();
            let numbers = numbers.with_precision_and_scale(*precision, *scale);
            Arc::new(numbers.map_err(|e| Error::data("a decimal that does not fit its column").caused_by(e))?)
        }
        (DataType::Timestamp(TimeUnit::Microsecond, _), DataType::Timestamp(TimeUnit::Microsecond, zone)) => {
            Arc::new(column.as_primitive::<TimestampMicrosecondType>().clone().with_timezone_opt(zone.clone()))
        }
        (DataType::List(_), DataType::List(element)) => {
            let list = column.as_list::<i32>();
            let values = promote(list.values(), element.data_type())?;
            let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
            let list = ListArray::try_new(Arc::clone(element), offsets, values, nulls);
            Arc::new(list.map_err(|e| Error::fatal("a list of another shape than its column").caused_by(e))?)
        }
        (is, wanted) => {
            return Err(Error::data("a file holds a column as a type that its table does not have")
                .with("type", is)
                .with("wanted", wanted));
        }
    })
}

/// A file as Parquet's reader wants it.
#[derive(Clone)]
struct Input {
    runtime: Handle,
    reader: Arc<dyn FileRead>,
    size: u64,
}

impl Length for Input {
    fn len(&self) -> u64 {
        self.size
    }
}

impl ChunkReader for Input {
    type T = From;

    fn get_read(&self, start: u64) -> Result<From, ParquetError> {
        Ok(From { input: self.clone(), at: start, fetched: Bytes::new() })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let read = self.reader.read(start..start + length as u64);
        self.runtime.block_on(read).map_err(|e| ParquetError::External(Box::new(e)))
    }
}

/// Reads on from a point.
struct From {
    input: Input,
    at: u64,
    fetched: Bytes,
}

impl Read for From {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if self.fetched.is_empty() {
            let length = FETCH.min(self.input.size.saturating_sub(self.at));
            if length == 0 {
                return Ok(0);
            }
            self.fetched = self.input.get_bytes(self.at, length as usize).map_err(std::io::Error::other)?;
            self.at += length;
        }
        let n = into.len().min(self.fetched.len());
        into[..n].copy_from_slice(&self.fetched.split_to(n));
        Ok(n)
    }
}
