//! Makes a stretch of changes into files: folds it, looks its keys up, writes the new rows and says which old
//! ones are gone. Blocking.
//!
//! What must hold: what is written and deleted comes to the same table as the changes one after the other; on an
//! error no file stays.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, new_null_array};
use arrow_select::interleave::interleave;
use connector_api::{Error, LogBatch, Result, TableSchema};
use connector_iceberg_index::{Change, Key, Location};
use iceberg::spec::{DataFile, Struct};

use super::fold::{self, Changes, From, Place};
use super::keyed::KeyIndex;
use super::scan::{Column, Scan, promote};
use crate::writer::{Gone, Placed, Shape, Target, write_deletes, write_placed};

/// A stretch to be prepared.
pub(super) struct Stretch {
    /// The table as its source describes it, in the table's order and types.
    pub(super) schema: TableSchema,
    pub(super) shape: Shape,
    pub(super) target: Target,
    pub(super) batches: Vec<LogBatch>,
    /// What the index is to know the stretch by: the snapshot that it completes, or a name of its own.
    pub(super) name: i64,
}

/// Files to be committed.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    pub(super) add: Vec<DataFile>,
    pub(super) deletes: Vec<(i32, DataFile)>,
}

impl Prepared {
    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.add.is_empty() && self.deletes.is_empty()
    }

    /// Where the files are.
    pub(super) fn paths(&self) -> impl Iterator<Item = String> {
        self.add.iter().chain(self.deletes.iter().map(|(_, file)| file)).map(|file| file.file_path().to_owned())
    }
}

/// What a stretch comes to.
#[derive(Default)]
struct Outcome {
    /// The rows to write, by the batches that hold them, and their keys.
    rows: Vec<(Place, Key)>,
    /// A batch of rows made whole, behind those of the stretch.
    patched: Option<RecordBatch>,
    /// Rows of the table that are gone.
    gone: Vec<Location>,
    /// Keys whose rows of before are gone, with those that are left; not those that a row replaces.
    left: Vec<(Key, Vec<Location>)>,
}

impl Stretch {
    /// Writes the files, and stages the index that goes with them.
    pub(super) fn prepare(self, mut index: KeyIndex) -> Result<(KeyIndex, Prepared)> {
        let run = self.changes(&index)?;
        let outcome = match self.schema.key() {
            [] => self.keyless(&run, &index),
            _ => self.keyed(&run, &index),
        };
        let Outcome { rows, patched, gone, left } = outcome.map_err(|e| e.with("table", self.schema.table()))?;
        let mut batches: Vec<RecordBatch> = run.into_iter().map(|changes| changes.rows).collect();
        batches.extend(patched);
        let places: Vec<Place> = rows.iter().map(|(place, _)| *place).collect();
        let placed = write_placed(&self.shape, &self.target, &batches, &places)?;
        drop(batches);
        match self.finish(&mut index, &rows, gone, left, &placed) {
            Ok(deletes) => Ok((index, Prepared { add: placed.files, deletes })),
            Err((e, deletes)) => {
                let prepared = Prepared { add: placed.files, deletes };
                let paths: Vec<String> = prepared.paths().collect();
                let delete = crate::commit::delete_best_effort(&self.target.storage, paths.iter().map(String::as_str));
                self.target.runtime.block_on(delete);
                Err(e)
            }
        }
    }

    /// The changes with their keys, as the table has its columns.
    fn changes(&self, index: &KeyIndex) -> Result<Vec<Changes>> {
        self.batches.iter().map(|batch| self.change(batch, index).map_err(|e| e.with("table", batch.table()))).collect()
    }

    fn change(&self, batch: &LogBatch, index: &KeyIndex) -> Result<Changes> {
        let log = batch.schema().columns();
        if let Some(lost) = log.iter().find(|c| !self.schema.columns().iter().any(|own| own.name() == c.name())) {
            return Err(Error::fatal("changes with a column that the table was not given").with("column", lost.name()));
        }
        let place = |name: &str| log.iter().position(|c| c.name() == name);
        let places: Vec<Option<usize>> = self.schema.columns().iter().map(|c| place(c.name())).collect();
        let columns = self.schema.columns().iter().zip(&places).map(|(column, place)| match place {
            Some(place) => {
                promote(batch.rows().column(*place), column.data_type()).map_err(|e| e.with("column", column.name()))
            }
            None => Ok(new_null_array(column.data_type(), batch.rows().num_rows())),
        });
        let rows = RecordBatch::try_new(Arc::clone(self.schema.arrow()), columns.collect::<Result<_>>()?)
            .map_err(|e| Error::fatal("changes that are not of the table's types").caused_by(e))?;
        let keyless = self.schema.key().is_empty();
        let of_key: Vec<ArrayRef> = index.maker().places().map(|place| Arc::clone(rows.column(place))).collect();
        let keys = index.maker().keys(&of_key)?;
        let moved = match batch.moved() {
            Some(moved) if !keyless => {
                let old = self.old_keys(batch, &moved.old_keys)?;
                moved.rows.iter().copied().zip(index.maker().keys(&old)?).collect()
            }
            _ => Vec::new(),
        };
        let missing = places.iter().map(|place| place.and_then(|place| batch.missing(place).cloned())).collect();
        Ok(Changes { rows, ops: batch.ops().to_vec(), missing, keys, moved })
    }

    /// The old keys' columns, in the order of the table's key and of its types.
    fn old_keys(&self, batch: &LogBatch, old: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let log = batch.schema();
        let name = |key: &usize| log.columns().get(*key).map(connector_api::Column::name);
        let columns = self.schema.key().iter().map(|&key| {
            let column = &self.schema.columns()[key];
            let at = log.key().iter().position(|k| name(k) == Some(column.name()));
            let at = at.ok_or_else(|| Error::data("the table's key changed").with("column", column.name()))?;
            promote(old.column(at), column.data_type())
        });
        columns.collect()
    }

    fn keyed(&self, run: &[Changes], index: &KeyIndex) -> Result<Outcome> {
        let folded = fold::keyed(run)?;
        let mut asked = folded.gone;
        let ended = asked.len();
        asked.reserve(folded.rows.len() + folded.patched.len());
        asked.extend(folded.rows.iter().map(|(_, key)| *key));
        asked.extend(folded.patched.iter().map(|(_, key)| *key));
        let touched = asked.len();
        // The old keys of moved rows are asked for too: their deletion need not be part of the stretch.
        let wanted = folded.patched.iter().flat_map(|(patched, _)| &patched.columns);
        asked.extend(wanted.filter_map(|(_, from)| match from {
            From::Table(key) => Some(*key),
            From::Row(_) => None,
        }));
        let found = index.lookup(&asked)?;
        let mut outcome = Outcome { rows: folded.rows, ..Outcome::default() };
        outcome.gone.extend((0..touched).flat_map(|at| found.of(at)));
        let left = (0..ended).filter(|at| !found.of(*at).is_empty());
        outcome.left = left.map(|at| (asked[at], Vec::new())).collect();
        if !folded.patched.is_empty() {
            let known: HashMap<Key, &[Location]> =
                asked.iter().enumerate().map(|(at, key)| (*key, found.of(at))).collect();
            outcome.patched = Some(self.patch(run, &folded.patched, &known, index)?);
            let patched = folded.patched.iter().enumerate();
            outcome.rows.extend(patched.map(|(row, (_, key))| ((run.len(), row), *key)));
        }
        Ok(outcome)
    }

    fn keyless(&self, run: &[Changes], index: &KeyIndex) -> Result<Outcome> {
        if run.iter().any(|changes| changes.missing.iter().any(Option::is_some)) {
            return Err(Error::data(
                "a table without a key has values that the log did not send (unchanged TOAST): set REPLICA IDENTITY \
                 FULL on it, or name its key (iceberg.table.*.id-columns) and load it again",
            ));
        }
        let counted = fold::keyless(run);
        let keys: Vec<Key> = counted.remove.iter().map(|(key, _)| *key).collect();
        let mut outcome = Outcome { rows: counted.rows, ..Outcome::default() };
        let found = index.lookup(&keys)?;
        for (at, (key, count)) in counted.remove.iter().enumerate() {
            let locations = found.of(at);
            let Some(left) = locations.len().checked_sub(*count) else {
                return Err(Error::data("a row is to be deleted of a table without a key, and is not there"));
            };
            outcome.gone.extend(&locations[left..]);
            outcome.left.push((*key, locations[..left].to_vec()));
        }
        Ok(outcome)
    }

    /// The rows that lack values, with the values.
    fn patch(
        &self,
        run: &[Changes],
        patched: &[(fold::Patched, Key)],
        known: &HashMap<Key, &[Location]>,
        index: &KeyIndex,
    ) -> Result<RecordBatch> {
        let fetched = self.fetch(patched, known, index)?;
        let columns = (0..self.schema.columns().len()).map(|column| {
            let mut sources: Vec<&dyn Array> = run.iter().map(|changes| changes.rows.column(column).as_ref()).collect();
            let chunks = fetched.chunks.iter().map(|chunk| chunk.get(&column).map(ArrayRef::as_ref));
            let empty = new_null_array(self.schema.columns()[column].data_type(), 0);
            for chunk in chunks {
                sources.push(chunk.unwrap_or(empty.as_ref()));
            }
            let places = patched.iter().map(|(row, _)| match row.columns.iter().find(|(c, _)| *c == column) {
                None => Ok(row.place),
                Some((_, From::Row(place))) => Ok(*place),
                Some((_, From::Table(key))) => {
                    let at = known.get(key).and_then(|found| fetched.rows.get(found.first()?));
                    let (chunk, at) = at.ok_or_else(|| Error::fatal("a row that was to be fetched is missing"))?;
                    Ok((run.len() + chunk, *at))
                }
            });
            let places = places.collect::<Result<Vec<Place>>>()?;
            interleave(&sources, &places).map_err(|e| Error::fatal("rows cannot be made whole").caused_by(e))
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        RecordBatch::try_new(Arc::clone(self.schema.arrow()), columns)
            .map_err(|e| Error::fatal("rows cannot be made whole").caused_by(e))
    }

    /// Reads from the table what the log did not send.
    fn fetch(
        &self,
        patched: &[(fold::Patched, Key)],
        known: &HashMap<Key, &[Location]>,
        index: &KeyIndex,
    ) -> Result<Fetched> {
        let mut wanted: BTreeMap<u32, BTreeMap<u32, Vec<usize>>> = BTreeMap::new();
        for (column, key) in patched.iter().flat_map(|(row, _)| &row.columns).filter_map(|(c, from)| match from {
            From::Table(key) => Some((*c, key)),
            From::Row(_) => None,
        }) {
            let name = || self.schema.columns()[column].name().to_owned();
            match known.get(key).copied() {
                Some([location]) => {
                    wanted.entry(location.file).or_default().entry(location.row).or_default().push(column);
                }
                Some([_, _, ..]) => {
                    return Err(Error::data("a row whose values are wanted is in the table more than once")
                        .with("column", name())
                        .with("key", key));
                }
                Some([]) | None => {
                    return Err(Error::data(
                        "a value that the log did not send (unchanged TOAST) belongs to a row that the table lacks",
                    )
                    .with("column", name())
                    .with("key", key));
                }
            }
        }
        let scan = Scan { storage: self.target.storage.clone(), runtime: self.target.runtime.clone() };
        let fields = self.shape.schema.as_struct().fields();
        let mut fetched = Fetched::default();
        for (file, rows) in wanted {
            let path = index.path(file)?;
            let mut columns: Vec<usize> = rows.values().flatten().copied().collect();
            columns.sort_unstable();
            columns.dedup();
            let ask: Vec<Column> = columns
                .iter()
                .filter_map(|&c| fields.get(c).map(|f| Column { id: f.id, kind: (*f.field_type).clone() }))
                .collect();
            let positions: Vec<u32> = rows.keys().copied().collect();
            let mut next = positions.iter();
            scan.rows(&path, &ask, &positions, &mut |values| {
                let count = values.first().map_or(0, |v| v.len());
                for (at, row) in next.by_ref().take(count).enumerate() {
                    fetched.rows.insert(Location { file, row: *row }, (fetched.chunks.len(), at));
                }
                fetched.chunks.push(columns.iter().copied().zip(values.iter().cloned()).collect());
                Ok(())
            })?;
        }
        Ok(fetched)
    }

    /// Writes the delete files and stages the index. What of it was written comes with an error.
    #[expect(clippy::type_complexity, reason = "the error carries what is to be cleaned up")]
    fn finish(
        &self,
        index: &mut KeyIndex,
        rows: &[(Place, Key)],
        gone: Vec<Location>,
        left: Vec<(Key, Vec<Location>)>,
        placed: &Placed,
    ) -> Result<Vec<(i32, DataFile)>, (Error, Vec<(i32, DataFile)>)> {
        let mut deletes = Vec::new();
        let each = || -> Result<()> {
            for ((spec, partition), rows) in by_partition(index, gone)? {
                deletes.push((spec, write_deletes(&self.target, &partition, rows)?));
            }
            let files = index.add_files(self.shape.spec.spec_id(), &placed.files)?;
            let keyed = !self.schema.key().is_empty();
            let left = left.into_iter().flat_map(|(key, rows)| {
                let rows = rows.into_iter().map(move |row| Change::Put(key, row));
                std::iter::once(Change::Remove(key)).chain(rows)
            });
            let places = placed.places.iter().map(|(file, row)| Location { file: files[*file], row: *row });
            let put: fn(Key, Location) -> Change = if keyed { Change::Put } else { Change::Add };
            let new = rows.iter().zip(places).map(|((_, key), row)| put(*key, row));
            index.stage(self.name, left.chain(new))
        };
        match each() {
            Ok(()) => Ok(deletes),
            Err(e) => Err((e, deletes)),
        }
    }
}

type ByPartition = Vec<((i32, Struct), Vec<Gone>)>;

/// Rows that are gone, by the partition of their files.
fn by_partition(index: &KeyIndex, mut gone: Vec<Location>) -> Result<ByPartition> {
    gone.sort_unstable();
    let mut parts: ByPartition = Vec::new();
    for of_file in gone.chunk_by(|a, b| a.file == b.file) {
        let (file, rows) = (of_file[0].file, of_file.iter().map(|location| location.row).collect());
        let (path, partition) = (index.path(file)?, index.partition(file)?);
        let part = match parts.iter().position(|(known, _)| *known == partition) {
            Some(part) => part,
            None => {
                parts.push((partition, Vec::new()));
                parts.len() - 1
            }
        };
        parts[part].1.push((path, rows));
    }
    Ok(parts)
}

/// Values read from the table.
#[derive(Default)]
struct Fetched {
    /// Columns by their place in the table, part by part.
    chunks: Vec<HashMap<usize, ArrayRef>>,
    /// Where each row is: its chunk, and its place there.
    rows: HashMap<Location, (usize, usize)>,
}
