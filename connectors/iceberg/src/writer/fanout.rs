//! Rows sorted into the files of their partitions, in bounded memory. Blocking.
//!
//! Rows wait as they came until they fill their share, then each partition's are gathered into its file: many
//! partitions cost small row groups and, beyond [`MOST_OPEN`], more files, but never more memory.
//!
//! What must hold: a row is in a file of its own partition, once; memory does not grow with the number of
//! partitions.

use std::collections::HashMap;

use arrow_array::RecordBatch;
use arrow_select::interleave::interleave_record_batch;
use connector_api::{Error, Result};
use iceberg::spec::Struct;

use super::file::OpenFile;
use super::partition::Partitioner;
use super::{Shape, Target};

/// Files open at a time; the one that was written longest ago is closed for the next.
pub(super) const MOST_OPEN: usize = 32;
/// Rows gathered at a time.
const GATHER_ROWS: usize = 8192;
/// Most bytes of rows that wait, whatever the memory: what is gathered must stay below Arrow's 2 GiB.
const MOST_WAITING: usize = 256 << 20;
/// What a column of an open row group takes besides its encoded bytes.
const COLUMN_BYTES: usize = 128 << 10;

/// Ends a file of a partition; one that cannot be ended is gone.
pub(super) type End<'a> = dyn FnMut(OpenFile, &Struct) -> Result<()> + 'a;

/// The files of a partitioned table.
pub(super) struct Fanout {
    partitioner: Partitioner,
    waiting: Waiting,
    open: HashMap<Vec<u8>, Open>,
    clock: u64,
}

/// Rows that wait.
#[derive(Default)]
struct Waiting {
    batches: Vec<RecordBatch>,
    bytes: usize,
    /// Of each row: its partition, its batch and its place there.
    rows: Vec<(usize, usize, usize)>,
    partitions: Vec<(Vec<u8>, Struct)>,
    known: HashMap<Vec<u8>, usize>,
}

struct Open {
    file: OpenFile,
    values: Struct,
    used: u64,
}

impl Fanout {
    pub(super) fn new(partitioner: Partitioner) -> Self {
        Self { partitioner, waiting: Waiting::default(), open: HashMap::new(), clock: 0 }
    }

    /// Takes rows, which have the file's types.
    pub(super) fn write(
        &mut self,
        shape: &Shape,
        target: &Target,
        rows: &RecordBatch,
        end: &mut End<'_>,
    ) -> Result<()> {
        self.waiting.add(&self.partitioner, rows)?;
        if self.waiting.bytes >= target.budget.share().min(MOST_WAITING) {
            self.sort_out(shape, target, end)?;
        }
        Ok(())
    }

    /// Ends every file.
    pub(super) fn finish(&mut self, shape: &Shape, target: &Target, end: &mut End<'_>) -> Result<()> {
        self.sort_out(shape, target, end)?;
        // One by one: those behind one that cannot be ended are still to be deleted.
        while let Some(key) = self.open.keys().next().cloned() {
            if let Some(open) = self.open.remove(&key) {
                end(open.file, &open.values)?;
            }
        }
        Ok(())
    }

    /// The files that are open.
    pub(super) fn paths(&self) -> impl Iterator<Item = String> {
        self.open.values().map(|open| open.file.path.clone())
    }

    /// Writes the rows that wait, partition by partition.
    fn sort_out(&mut self, shape: &Shape, target: &Target, end: &mut End<'_>) -> Result<()> {
        let Waiting { batches, mut rows, partitions, .. } = std::mem::take(&mut self.waiting);
        rows.sort_unstable();
        let batches: Vec<&RecordBatch> = batches.iter().collect();
        for group in rows.chunk_by(|a, b| a.0 == b.0) {
            let Some((key, values)) = group.first().map(|row| &partitions[row.0]) else { continue };
            for rows in group.chunks(GATHER_ROWS) {
                let places: Vec<(usize, usize)> = rows.iter().map(|(_, batch, row)| (*batch, *row)).collect();
                let rows = interleave_record_batch(&batches, &places)
                    .map_err(|e| Error::fatal("the rows of a partition cannot be gathered").caused_by(e))?;
                let open = self.file(shape, target, key, values, &rows, end)?;
                open.file.write(&shape.schema, &rows)?;
                if open.file.in_progress() >= target.files.row_group {
                    open.file.flush()?;
                }
                if open.file.size() >= target.files.target
                    && let Some(full) = self.open.remove(key)
                {
                    end(full.file, values)?;
                }
            }
            self.shrink(shape.arrow.fields().len(), target.budget.share())?;
        }
        Ok(())
    }

    /// The open file of a partition.
    fn file(
        &mut self,
        shape: &Shape,
        target: &Target,
        key: &[u8],
        values: &Struct,
        first: &RecordBatch,
        end: &mut End<'_>,
    ) -> Result<&mut Open> {
        self.clock += 1;
        if !self.open.contains_key(key) {
            if self.open.len() >= MOST_OPEN {
                let oldest = self.open.iter().min_by_key(|(_, open)| open.used).map(|(key, _)| key.clone());
                if let Some(oldest) = oldest.and_then(|key| self.open.remove(&key)) {
                    end(oldest.file, &oldest.values)?;
                }
            }
            let folder = format!("{}/{}", target.folder, self.partitioner.folder(values));
            let file = OpenFile::create(shape, target, &folder, first)?;
            self.open.insert(key.to_vec(), Open { file, values: values.clone(), used: 0 });
        }
        let open = self.open.get_mut(key).ok_or_else(|| Error::fatal("a partition without its file"))?;
        open.used = self.clock;
        Ok(open)
    }

    /// Closes row groups, the largest first, until the rest fits.
    fn shrink(&mut self, columns: usize, share: usize) -> Result<()> {
        let held = |open: &Open| match open.file.memory() {
            0 => 0,
            bytes => bytes + columns * COLUMN_BYTES,
        };
        let mut total: usize = self.open.values().map(held).sum();
        while total > share
            && let Some(largest) = self.open.values_mut().max_by_key(|open| held(open))
        {
            total -= held(largest);
            largest.file.flush()?;
        }
        Ok(())
    }
}

impl Waiting {
    fn add(&mut self, partitioner: &Partitioner, rows: &RecordBatch) -> Result<()> {
        let keys = partitioner.keys(rows)?;
        let (mut key, mut last) = (Vec::new(), None);
        self.rows.reserve(rows.num_rows());
        for row in 0..rows.num_rows() {
            keys.bytes(row, &mut key);
            let partition = match last {
                // Rows of one partition tend to stand together.
                Some(last) if self.partitions.get(last).is_some_and(|(known, _)| *known == key) => last,
                _ => match self.known.get(&key) {
                    Some(partition) => *partition,
                    None => {
                        self.partitions.push((key.clone(), partitioner.values(&keys, row)?));
                        self.known.insert(key.clone(), self.partitions.len() - 1);
                        self.partitions.len() - 1
                    }
                },
            };
            last = Some(partition);
            self.rows.push((partition, self.batches.len(), row));
        }
        self.bytes += rows.get_array_memory_size() + rows.num_rows() * size_of::<(usize, usize, usize)>();
        self.batches.push(rows.clone());
        Ok(())
    }
}
