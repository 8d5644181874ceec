//! Rows written so that it is known where each came to lie. Blocking.
//!
//! What must hold: the place given for a row is the one that a reader of the file finds it at. A key index
//! deletes by it.

use std::collections::HashMap;

use arrow_array::RecordBatch;
use arrow_select::interleave::interleave_record_batch;
use connector_api::{Error, Result};
use iceberg::spec::{DataFile, Struct};

use super::file::OpenFile;
use super::partition::Partitioner;
use super::{Shape, Target, delete, fit};

/// Rows gathered at a time.
const GATHER_ROWS: usize = 8192;

/// What was written.
#[derive(Debug, Default)]
pub(crate) struct Placed {
    /// The files.
    pub(crate) files: Vec<DataFile>,
    /// Of each row in the order given: its file's place in `files`, and its position there.
    pub(crate) places: Vec<(usize, u32)>,
}

/// Writes rows of batches, each given by its batch and its place there. On an error no file stays.
///
/// # Errors
/// `Data`, naming the column, for NULL in a required column or a value that its partition transform cannot take;
/// `Retriable` when the storage fails.
pub(crate) fn write_placed(
    shape: &Shape,
    target: &Target,
    batches: &[RecordBatch],
    rows: &[(usize, usize)],
) -> Result<Placed> {
    let mut placed = Placed { files: Vec::new(), places: vec![(0, 0); rows.len()] };
    let written = match Partitioner::new(&shape.schema, &shape.spec)? {
        None => {
            let all: Vec<usize> = (0..rows.len()).collect();
            let mut files = Sequence { shape, target, folder: target.folder.clone(), partition: Struct::empty() };
            files.write(&all, &mut placed, |part| gather(shape, batches, part.iter().map(|&row| rows[row]).collect()))
        }
        Some(partitioner) => by_partition(shape, target, &partitioner, batches, rows, &mut placed),
    };
    match written {
        Ok(()) => Ok(placed),
        Err(e) => {
            delete(target, &placed.files.iter().map(|f| f.file_path().to_owned()).collect::<Vec<_>>());
            Err(e)
        }
    }
}

fn gather(shape: &Shape, batches: &[RecordBatch], places: Vec<(usize, usize)>) -> Result<RecordBatch> {
    let batches: Vec<&RecordBatch> = batches.iter().collect();
    let rows = interleave_record_batch(&batches, &places)
        .map_err(|e| Error::fatal("the rows of a file cannot be gathered").caused_by(e))?;
    fit(&rows, &shape.arrow)
}

/// The rows of each partition on their own, in the order given.
fn by_partition(
    shape: &Shape,
    target: &Target,
    partitioner: &Partitioner,
    batches: &[RecordBatch],
    rows: &[(usize, usize)],
    placed: &mut Placed,
) -> Result<()> {
    let mut known: HashMap<Vec<u8>, usize> = HashMap::new();
    let mut partitions: Vec<(Struct, Vec<usize>)> = Vec::new();
    let mut fitted = Vec::new();
    let mut key = Vec::new();
    for (number, chunk) in rows.chunks(GATHER_ROWS).enumerate() {
        let gathered = gather(shape, batches, chunk.to_vec())?;
        let keys = partitioner.keys(&gathered)?;
        for row in 0..chunk.len() {
            keys.bytes(row, &mut key);
            let partition = match known.get(&key) {
                Some(partition) => *partition,
                None => {
                    partitions.push((partitioner.values(&keys, row)?, Vec::new()));
                    known.insert(key.clone(), partitions.len() - 1);
                    partitions.len() - 1
                }
            };
            partitions[partition].1.push(number * GATHER_ROWS + row);
        }
        fitted.push(gathered);
    }
    let fitted: Vec<&RecordBatch> = fitted.iter().collect();
    for (partition, members) in partitions {
        let folder = format!("{}/{}", target.folder, partitioner.folder(&partition));
        Sequence { shape, target, folder, partition }.write(&members, placed, |part| {
            let places: Vec<(usize, usize)> = part.iter().map(|row| (row / GATHER_ROWS, row % GATHER_ROWS)).collect();
            interleave_record_batch(&fitted, &places)
                .map_err(|e| Error::fatal("the rows of a partition cannot be gathered").caused_by(e))
        })?;
    }
    Ok(())
}

/// Files that are written one after the other.
struct Sequence<'a> {
    shape: &'a Shape,
    target: &'a Target,
    folder: String,
    partition: Struct,
}

impl Sequence<'_> {
    fn write(
        &mut self,
        rows: &[usize],
        placed: &mut Placed,
        gather: impl Fn(&[usize]) -> Result<RecordBatch>,
    ) -> Result<()> {
        let (mut open, mut at) = (None, 0_u32);
        let outcome = self.fill(rows, placed, &gather, &mut open, &mut at);
        match (outcome, open) {
            (Ok(()), Some(file)) => self.end(file, placed),
            (outcome, Some(file)) => {
                delete(self.target, std::slice::from_ref(&file.path));
                outcome
            }
            (outcome, None) => outcome,
        }
    }

    fn fill(
        &self,
        rows: &[usize],
        placed: &mut Placed,
        gather: &impl Fn(&[usize]) -> Result<RecordBatch>,
        open: &mut Option<OpenFile>,
        at: &mut u32,
    ) -> Result<()> {
        for part in rows.chunks(GATHER_ROWS) {
            let gathered = gather(part)?;
            if open.is_none() {
                *open = Some(OpenFile::create(self.shape, self.target, &self.folder, &gathered)?);
                *at = 0;
            }
            let Some(file) = open.as_mut() else { continue };
            file.write(&self.shape.schema, &gathered)?;
            for row in part {
                placed.places[*row] = (placed.files.len(), *at);
                *at += 1;
            }
            if file.in_progress() >= self.target.files.row_group || file.memory() >= self.target.budget.share() {
                file.flush()?;
            }
            if file.size() >= self.target.files.target
                && let Some(full) = open.take()
            {
                self.end(full, placed)?;
            }
        }
        Ok(())
    }

    /// Ends a file; one that cannot be ended is deleted.
    fn end(&self, file: OpenFile, placed: &mut Placed) -> Result<()> {
        let path = file.path.clone();
        match file.finish(&self.shape.schema, &self.partition) {
            Ok(file) => {
                placed.files.push(file);
                Ok(())
            }
            Err(e) => {
                delete(self.target, std::slice::from_ref(&path));
                Err(e.with("file", path))
            }
        }
    }
}
