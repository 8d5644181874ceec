//! Parquet data files: row groups and files closed by bytes, with the metrics Iceberg readers prune by.
//! Blocking: runs on a thread of its own.
//!
//! What must hold: memory stays within the share lent; bounds hold for every row of the file (a file
//! without a bound is only slower, one with a wrong bound loses rows); a required column has no NULL.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow_array::cast::AsArray;
use arrow_array::types::{Int16Type, Int32Type};
use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{DataType, SchemaRef as ArrowSchemaRef};
use connector_api::{Error, Result};
use iceberg::io::FileIO;
use iceberg::spec::{DataFile, SchemaRef};
use tokio::runtime::Handle;

use crate::config::Files;
use crate::journal::Attempt;
use file::OpenFile;

mod bounds;
mod encoder;
mod encoding;
mod file;
mod metrics;

pub(crate) use encoder::Encoder;

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

    /// One writer's share for rows that are encoded: an eighth, because the batches on their way, the
    /// encoders' tables and what the allocator keeps take more than the rows do once they are compressed.
    fn share(&self) -> usize {
        (self.bytes / (8 * self.open.load(Ordering::Relaxed).max(1))).max(LEAST_SHARE)
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
    /// Hears of each file before it is created.
    pub(crate) attempt: Attempt,
}

/// Writes rows of one table into data files. Blocking.
pub(crate) struct DataWriter {
    shape: Shape,
    target: Target,
    open: Option<OpenFile>,
    done: Vec<DataFile>,
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
            None => OpenFile::create(&self.shape, &self.target, &self.target.folder, &rows)?,
        };
        let written = file.write(&self.shape.schema, &rows).and_then(|()| {
            let full = file.in_progress() >= self.target.files.row_group;
            if full || file.memory() >= self.target.budget.share() { file.flush() } else { Ok(()) }
        });
        match written {
            Ok(()) if file.size() >= self.target.files.target => self.end(file),
            other => {
                self.open = Some(file);
                other
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

    fn end(&mut self, file: OpenFile) -> Result<()> {
        let path = file.path.clone();
        match file.finish(&self.shape.schema) {
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
    // Elements of lists lack their field ids, which stand in the file's schema.
    let options = RecordBatchOptions::new().with_match_field_names(false);
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
        .map_err(|e| Error::fatal("rows that do not fit the table's files").caused_by(e))
}

#[cfg(test)]
mod tests;
