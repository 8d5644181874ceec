//! One Parquet data file: its row groups and its end. Blocking.
//!
//! What must hold: a file has bounds for every row or none; what is closed is in the storage.

use std::collections::HashMap;
use std::io::Write;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef as ArrowSchemaRef;
use bytes::Bytes;
use connector_api::Result;
use iceberg::io::FileWrite;
use iceberg::spec::{DataFile, Schema, Struct};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, ArrowWriterOptions, compute_leaves};
use parquet::file::writer::SerializedFileWriter;
use tokio::runtime::Handle;
use uuid::Uuid;

use super::bounds::Bounds;
use super::{Shape, Target, encoding, metrics};
use crate::error;

/// Bytes collected before they go to the storage.
const OUTPUT_BUFFER: usize = 1 << 20;

/// A file being written.
pub(super) struct OpenFile {
    /// Where.
    pub(super) path: String,
    arrow: ArrowSchemaRef,
    writer: SerializedFileWriter<Output>,
    groups: ArrowRowGroupWriterFactory,
    group: Option<Group>,
    nans: HashMap<i32, u64>,
}

/// The row group being written: its pages wait in memory, for Parquet wants them column by column.
struct Group {
    /// One per leaf column.
    columns: Vec<ArrowColumnWriter>,
    /// Likewise; none where Parquet's own writer keeps them.
    bounds: Vec<Option<Bounds>>,
}

impl OpenFile {
    /// Opens a file in a folder; `first` are the rows that it will begin with.
    pub(super) fn create(shape: &Shape, target: &Target, folder: &str, first: &RecordBatch) -> Result<Self> {
        let path = format!("{folder}/{}.parquet", Uuid::now_v7());
        let storage = |e| error::iceberg("cannot open a data file", e).with("file", &path);
        target.attempt.creates(&path);
        let output = target.storage.new_output(&path).map_err(storage)?;
        let writer = target.runtime.block_on(output.writer()).map_err(storage)?;
        let output = Output { runtime: target.runtime.clone(), buffer: Vec::new(), writer };
        let properties = encoding::properties(&target.files, target.budget.share(), first)?;
        let options = ArrowWriterOptions::new().with_properties(properties);
        let writer = ArrowWriter::try_new_with_options(output, shape.arrow.clone(), options);
        let (writer, groups) = writer.and_then(ArrowWriter::into_serialized_writer).map_err(error::parquet)?;
        Ok(Self { path, arrow: shape.arrow.clone(), writer, groups, group: None, nans: HashMap::new() })
    }

    /// Encodes rows, which have the file's types.
    pub(super) fn write(&mut self, schema: &Schema, rows: &RecordBatch) -> Result<()> {
        metrics::count_nans(schema, rows, &mut self.nans);
        let mut group = match self.group.take() {
            Some(group) => group,
            None => self.begin()?,
        };
        let mut leaf = 0;
        for (field, column) in self.arrow.fields().iter().zip(rows.columns()) {
            if let Some(bounds) = &mut group.bounds[leaf] {
                bounds.add(column);
            }
            for levels in compute_leaves(field, column).map_err(error::parquet)? {
                group.columns[leaf].write(&levels).map_err(error::parquet)?;
                leaf += 1;
            }
        }
        self.group = Some(group);
        Ok(())
    }

    fn begin(&self) -> Result<Group> {
        let index = self.writer.flushed_row_groups().len();
        let columns = self.groups.create_column_writers(index).map_err(error::parquet)?;
        let top_level = |column: usize| {
            let path = self.writer.schema_descr().column(column).path().clone();
            match path.parts() {
                [name] => self.arrow.field_with_name(name).ok().and_then(|f| Bounds::of(f.data_type())),
                _ => None,
            }
        };
        Ok(Group { bounds: (0..columns.len()).map(top_level).collect(), columns })
    }

    /// Bytes that the file has or will have.
    pub(super) fn size(&self) -> usize {
        self.writer.bytes_written() + self.in_progress()
    }

    /// Encoded bytes of the row group being written.
    pub(super) fn in_progress(&self) -> usize {
        self.group.iter().flat_map(|g| &g.columns).map(ArrowColumnWriter::get_estimated_total_bytes).sum()
    }

    /// Bytes that the row group being written holds in memory.
    pub(super) fn memory(&self) -> usize {
        // Pages of a column with a dictionary count only in the estimate.
        let held = |c: &ArrowColumnWriter| c.memory_size().max(c.get_estimated_total_bytes());
        self.group.iter().flat_map(|g| &g.columns).map(held).sum()
    }

    /// Closes the row group, if one is begun.
    pub(super) fn flush(&mut self) -> Result<()> {
        let Some(Group { columns, bounds }) = self.group.take() else { return Ok(()) };
        let mut group = self.writer.next_row_group().map_err(error::parquet)?;
        for (column, bounds) in columns.into_iter().zip(bounds) {
            let mut chunk = column.close().map_err(error::parquet)?;
            if let Some(bounds) = bounds {
                let metadata = &mut chunk.close_mut().metadata;
                let statistics = bounds.statistics(metadata.column_descr());
                let builder = metadata.clone().into_builder().set_statistics(statistics);
                *metadata = builder.build().map_err(error::parquet)?;
            }
            chunk.append_to_row_group(&mut group).map_err(error::parquet)?;
        }
        group.close().map(drop).map_err(error::parquet)
    }

    /// Ends the file, which has these partition values. On an error it is still there.
    pub(super) fn finish(mut self, schema: &Schema, partition: &Struct) -> Result<DataFile> {
        self.flush()?;
        let metadata = self.writer.finish().map_err(error::parquet)?;
        let size = self.writer.bytes_written();
        self.writer.inner_mut().close().map_err(|e| error::iceberg("cannot close a data file", e))?;
        metrics::data_file(schema, &metadata, &self.path, size as u64, self.nans, partition)
    }
}

/// The file as a blocking writer.
struct Output {
    runtime: Handle,
    buffer: Vec<u8>,
    writer: Box<dyn FileWrite>,
}

impl Output {
    fn send(&mut self) -> iceberg::Result<()> {
        let full = std::mem::take(&mut self.buffer);
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
