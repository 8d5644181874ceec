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
use iceberg::spec::{DataFile, PartitionSpecRef, SchemaRef, Struct};
use tokio::runtime::Handle;

use crate::journal::Attempt;
use crate::table_config::Files;
use fanout::Fanout;
use file::OpenFile;
use partition::Partitioner;

mod bounds;
mod deletes;
mod encoder;
mod encoding;
mod fanout;
mod file;
mod metrics;
mod partition;
mod placed;

pub(crate) use deletes::{Gone, write_deletes};
pub(crate) use encoder::Encoder;
pub(crate) use placed::{Placed, write_placed};

/// Fewer bytes of buffered rows than this are never asked of a writer.
const LEAST_SHARE: usize = 1 << 20;

/// What the files of a table look like.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// The Iceberg schema.
    pub(crate) schema: SchemaRef,
    /// The same as Arrow, with field ids.
    pub(crate) arrow: ArrowSchemaRef,
    /// How files are divided.
    pub(crate) spec: PartitionSpecRef,
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
    files: OpenFiles,
    done: Vec<DataFile>,
}

enum OpenFiles {
    /// None before the first rows and after a full file.
    One(Option<Box<OpenFile>>),
    /// One for each partition.
    Many(Box<Fanout>),
}

impl DataWriter {
    /// A writer without a file: files are opened with their first rows.
    ///
    /// # Errors
    /// `Fatal` for a partition spec that is not of the schema.
    pub(crate) fn new(shape: Shape, target: Target) -> Result<Self> {
        let files = match Partitioner::new(&shape.schema, &shape.spec)? {
            None => OpenFiles::One(None),
            Some(partitioner) => OpenFiles::Many(Box::new(Fanout::new(partitioner))),
        };
        target.budget.open.fetch_add(1, Ordering::Relaxed);
        Ok(Self { shape, target, files, done: Vec::new() })
    }

    /// Writes rows.
    ///
    /// # Errors
    /// `Data`, naming the column, for NULL in a required column or a value that its partition transform
    /// cannot take; `Retriable` when the storage fails. The writer is of no use afterwards but to be
    /// discarded.
    pub(crate) fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let rows = fit(rows, &self.shape.arrow)?;
        let Self { shape, target, files, done } = self;
        match files {
            OpenFiles::Many(fanout) => {
                fanout.write(shape, target, &rows, &mut |file, values| end(shape, target, done, file, values))
            }
            OpenFiles::One(one) => {
                let file = match one {
                    Some(file) => file,
                    None => one.insert(Box::new(OpenFile::create(shape, target, &target.folder, &rows)?)),
                };
                file.write(&shape.schema, &rows)?;
                if file.in_progress() >= target.files.row_group || file.memory() >= target.budget.share() {
                    file.flush()?;
                }
                match one.take_if(|file| file.size() >= target.files.target) {
                    Some(full) => end(shape, target, done, *full, &Struct::empty()),
                    None => Ok(()),
                }
            }
        }
    }

    /// Closes the last files and gives all of them. On an error the files are deleted.
    pub(crate) fn finish(mut self) -> Result<Vec<DataFile>> {
        let Self { shape, target, files, done } = &mut self;
        let finished = match files {
            OpenFiles::Many(fanout) => {
                fanout.finish(shape, target, &mut |file, values| end(shape, target, done, file, values))
            }
            OpenFiles::One(one) => one.take().map_or(Ok(()), |file| end(shape, target, done, *file, &Struct::empty())),
        };
        match finished {
            Ok(()) => Ok(std::mem::take(&mut self.done)),
            Err(e) => {
                self.discard();
                Err(e)
            }
        }
    }

    /// Deletes what was written, as far as that works.
    pub(crate) fn discard(self) {
        let open: Vec<String> = match &self.files {
            OpenFiles::One(one) => one.iter().map(|file| file.path.clone()).collect(),
            OpenFiles::Many(fanout) => fanout.paths().collect(),
        };
        let done = self.done.iter().map(|f| f.file_path().to_owned());
        delete(&self.target, &done.chain(open).collect::<Vec<_>>());
    }
}

/// Ends a file; one that cannot be ended is deleted.
fn end(shape: &Shape, target: &Target, done: &mut Vec<DataFile>, file: OpenFile, partition: &Struct) -> Result<()> {
    let path = file.path.clone();
    match file.finish(&shape.schema, partition) {
        Ok(file) => {
            done.push(file);
            Ok(())
        }
        Err(e) => {
            delete(target, std::slice::from_ref(&path));
            Err(e.with("file", path))
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
