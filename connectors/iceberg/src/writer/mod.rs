//! Parquet data files: row groups and files closed by bytes, with the metrics Iceberg readers prune by.
//! Blocking: runs on a thread of its own.
//!
//! What must hold: memory stays within the share lent; bounds hold for every row of the file (a file
//! without a bound is only slower, one with a wrong bound loses rows); a required column has no NULL.

use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow_array::cast::AsArray;
use arrow_array::types::{Int16Type, Int32Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, SchemaRef as ArrowSchemaRef};
use bytes::Bytes;
use connector_api::{Error, Result};
use iceberg::io::{FileIO, FileWrite};
use iceberg::spec::{DataFile, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, GzipLevel, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use tokio::runtime::Handle;
use uuid::Uuid;

use crate::config::{Codec, Files};
use crate::error;

mod encoder;
mod metrics;
mod sample;

pub(crate) use encoder::Encoder;

/// Bytes collected before they go to the storage.
const OUTPUT_BUFFER: usize = 1 << 20;
/// Bounds of text and binary columns are cut to so many bytes.
const BOUND_BYTES: usize = 32;
/// Fewer bytes of buffered rows than this are never asked of a writer.
const LEAST_SHARE: usize = 1 << 20;

/// What the files of a table look like.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// The Iceberg schema.
    pub(crate) schema: SchemaRef,
    /// The same as Arrow, with field ids.
    pub(crate) arrow: ArrowSchemaRef,
}

/// Memory that all open writers share equally.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    bytes: usize,
    open: Arc<AtomicUsize>,
}

impl Budget {
    /// So many bytes over all writers.
    pub(crate) fn new(bytes: usize) -> Self {
        Self { bytes, open: Arc::default() }
    }

    /// One writer's share. Half, because the batches on their way to the writers hold the other half.
    fn share(&self) -> usize {
        (self.bytes / (2 * self.open.load(Ordering::Relaxed).max(1))).max(LEAST_SHARE)
    }
}

/// Where and how a writer writes.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Storage.
    pub(crate) storage: FileIO,
    /// The runtime that drives its calls.
    pub(crate) runtime: Handle,
    /// Folder of the files, without a slash at the end.
    pub(crate) folder: String,
    /// Sizes and compression.
    pub(crate) files: Files,
    /// Memory.
    pub(crate) budget: Budget,
}

/// Writes rows of one table into data files. Blocking.
pub(crate) struct DataWriter {
    shape: Shape,
    target: Target,
    open: Option<OpenFile>,
    done: Vec<DataFile>,
}

struct OpenFile {
    path: String,
    writer: ArrowWriter<Output>,
    nans: HashMap<i32, u64>,
}

impl DataWriter {
    /// A writer without a file: files are opened with their first rows.
    pub(crate) fn new(shape: Shape, target: Target) -> Self {
        target.budget.open.fetch_add(1, Ordering::Relaxed);
        Self { shape, target, open: None, done: Vec::new() }
    }

    /// Writes rows.
    ///
    /// # Errors
    /// `Data`, naming the column, for NULL in a required column; `Retriable` when the storage fails. The
    /// writer is of no use afterwards but to be discarded.
    pub(crate) fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let rows = fit(rows, &self.shape.arrow)?;
        let mut file = match self.open.take() {
            Some(file) => file,
            None => self.start(&rows)?,
        };
        metrics::count_nans(&self.shape.schema, &rows, &mut file.nans);
        let written = file.writer.write(&rows).map_err(error::parquet).and_then(|()| {
            let full = file.writer.in_progress_size() >= self.target.files.row_group;
            if full || file.writer.memory_size() >= self.target.budget.share() {
                file.writer.flush().map_err(error::parquet)?;
            }
            Ok(file.writer.bytes_written() + file.writer.in_progress_size())
        });
        match written {
            Ok(size) if size >= self.target.files.target => self.end(file),
            other => {
                self.open = Some(file);
                other.map(drop)
            }
        }
    }

    /// Closes the last file and gives all of them. On an error the files are deleted.
    pub(crate) fn finish(mut self) -> Result<Vec<DataFile>> {
        match self.open.take().map(|file| self.end(file)) {
            Some(Err(e)) => {
                self.discard();
                Err(e)
            }
            _ => Ok(std::mem::take(&mut self.done)),
        }
    }

    /// Deletes what was written, as far as that works.
    pub(crate) fn discard(mut self) {
        let open = self.open.take().map(|file| file.path);
        let paths: Vec<String> = self.done.iter().map(|f| f.file_path().to_owned()).chain(open).collect();
        delete(&self.target, &paths);
    }

    fn start(&self, first: &RecordBatch) -> Result<OpenFile> {
        let path = format!("{}/{}.parquet", self.target.folder, Uuid::now_v7());
        let storage = |e| error::iceberg("cannot open a data file", e).with("file", &path);
        let output = self.target.storage.new_output(&path).map_err(storage)?;
        let writer = self.target.runtime.block_on(output.writer()).map_err(storage)?;
        let output = Output { runtime: self.target.runtime.clone(), buffer: Vec::with_capacity(OUTPUT_BUFFER), writer };
        let options = ArrowWriterOptions::new().with_properties(properties(&self.target.files, first)?);
        let writer = ArrowWriter::try_new_with_options(output, self.shape.arrow.clone(), options);
        Ok(OpenFile { writer: writer.map_err(error::parquet)?, path, nans: HashMap::new() })
    }

    fn end(&mut self, file: OpenFile) -> Result<()> {
        let OpenFile { path, mut writer, nans } = file;
        let ended = writer.finish().map_err(error::parquet).and_then(|metadata| {
            let size = writer.bytes_written();
            writer.inner_mut().close().map_err(|e| error::iceberg("cannot close a data file", e))?;
            metrics::data_file(&self.shape.schema, &metadata, &path, size as u64, nans)
        });
        match ended {
            Ok(file) => {
                self.done.push(file);
                Ok(())
            }
            Err(e) => {
                delete(&self.target, std::slice::from_ref(&path));
                Err(e.with("file", path))
            }
        }
    }
}

impl Drop for DataWriter {
    fn drop(&mut self) {
        self.target.budget.open.fetch_sub(1, Ordering::Relaxed);
    }
}

fn delete(target: &Target, paths: &[String]) {
    target.runtime.block_on(crate::commit::delete_best_effort(&target.storage, paths.iter().map(String::as_str)));
}

/// The rows in the file's types, once NULL is only where it may be.
fn fit(rows: &RecordBatch, schema: &ArrowSchemaRef) -> Result<RecordBatch> {
    let columns = rows.columns().iter().zip(schema.fields()).map(|(column, field)| {
        if !field.is_nullable() && column.null_count() > 0 {
            return Err(Error::data("NULL in a column that is declared NOT NULL").with("column", field.name()));
        }
        Ok(match (column.data_type(), field.data_type()) {
            (DataType::Int16, DataType::Int32) => {
                Arc::new(column.as_primitive::<Int16Type>().unary::<_, Int32Type>(i32::from)) as ArrayRef
            }
            _ => Arc::clone(column),
        })
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    RecordBatch::try_new(Arc::clone(schema), columns)
        .map_err(|e| Error::fatal("rows that do not fit the table's files").caused_by(e))
}

fn properties(files: &Files, first: &RecordBatch) -> Result<WriterProperties> {
    let compression = match files.codec {
        Codec::Zstd(level) => Compression::ZSTD(ZstdLevel::try_new(level).map_err(error::parquet)?),
        Codec::Gzip(level) => Compression::GZIP(GzipLevel::try_new(level).map_err(error::parquet)?),
        Codec::Snappy => Compression::SNAPPY,
        Codec::Lz4 => Compression::LZ4_RAW,
        Codec::Uncompressed => Compression::UNCOMPRESSED,
    };
    let mut properties = WriterProperties::builder()
        .set_created_by(concat!("connect-runtime ", env!("CARGO_PKG_VERSION")).into())
        .set_compression(compression)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_statistics_truncate_length(Some(BOUND_BYTES))
        .set_offset_index_disabled(true)
        .set_max_row_group_row_count(None);
    for (column, field) in first.columns().iter().zip(first.schema_ref().fields()) {
        if sample::is_high_cardinality(column) {
            let path = ColumnPath::new(vec![field.name().clone()]);
            properties = properties.set_column_dictionary_enabled(path, false);
        }
    }
    Ok(properties.build())
}

/// The file as a blocking writer.
struct Output {
    runtime: Handle,
    buffer: Vec<u8>,
    writer: Box<dyn FileWrite>,
}

impl Output {
    fn send(&mut self) -> iceberg::Result<()> {
        let full = std::mem::replace(&mut self.buffer, Vec::with_capacity(OUTPUT_BUFFER));
        self.runtime.block_on(self.writer.write(Bytes::from(full)))
    }

    fn close(&mut self) -> iceberg::Result<()> {
        if !self.buffer.is_empty() {
            self.send()?;
        }
        self.runtime.block_on(self.writer.close())
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= OUTPUT_BUFFER {
            self.send().map_err(std::io::Error::other)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        // Row groups end with a flush; the storage wants large writes.
        Ok(())
    }
}

#[cfg(test)]
mod tests;
