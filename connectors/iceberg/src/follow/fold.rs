//! What a run of changes comes to: one final operation per key (P20). Pure.
//!
//! Changes are folded in the order of the log. What a key ends with is its last row, or nothing; a value that
//! the log did not send is taken from the nearest earlier image of that row, within the run or from the table.
//!
//! What must hold: the result is that of applying the changes one after the other; a value that was not sent
//! comes from the row it belongs to or is an error that names the key, never NULL or a placeholder.

use std::collections::{HashMap, HashSet};

use arrow_array::RecordBatch;
use arrow_buffer::BooleanBuffer;
use connector_api::{Error, Op, Result};
use connector_iceberg_index::Key;
use foldhash::fast::RandomState;
use indexmap::IndexMap;
use indexmap::map::Entry;

/// A row of the run: its batch and its place there.
pub(super) type Place = (usize, usize);

/// Where a value that the log did not send is to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// That row of the run has it.
    Row(Place),
    /// The table's row of that key has it; the change that wants it, for the error if there is none.
    Table(Key),
}

/// A row with values that were not sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Patched {
    /// The row.
    pub(super) place: Place,
    /// The columns to be filled, ascending, and where their values are.
    pub(super) columns: Vec<(usize, From)>,
}

/// What a run comes to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Folded {
    /// The keys that end without a row.
    pub(super) gone: Vec<Key>,
    /// The rows to be written that are whole, in the order of the log, and their keys.
    pub(super) rows: Vec<(Place, Key)>,
    /// The rows to be written that are not.
    pub(super) patched: Vec<(Patched, Key)>,
}

/// Changes of a run, with their keys. Columns are in the table's order and of its types.
#[derive(Debug)]
pub(super) struct Changes {
    /// The row images.
    pub(super) rows: RecordBatch,
    /// What each does.
    pub(super) ops: Vec<Op>,
    /// Of each column the values that the log did not send, if there are any.
    pub(super) missing: Vec<Option<BooleanBuffer>>,
    /// The key of each row.
    pub(super) keys: Vec<Key>,
    /// The rows that took over the row of another key, ascending, and that key.
    pub(super) moved: Vec<(u32, Key)>,
}

/// How a key stands within the run. There is one for each key of it: it is small.
#[derive(Clone, Copy, Debug)]
struct State {
    /// Its row, if it has one now.
    row: Option<At>,
    /// What its row was before it was deleted: a row that moves to another key takes its values from there.
    /// `None`: the run has not seen it; it is the table's.
    before: Option<At>,
}

/// A [`Place`] in less memory.
type At = (u32, u32);

fn place(at: At) -> Place {
    (at.0 as usize, at.1 as usize)
}

/// The keys of a run, in the order in which they came.
#[derive(Default)]
struct Run {
    states: IndexMap<Key, State, RandomState>,
    /// The columns that a row's own image lacks, of the rows that lack some.
    fills: HashMap<At, Vec<(usize, From)>, RandomState>,
}

impl Run {
    fn value(&self, at: At, column: usize) -> From {
        let filled = self.fills.get(&at).and_then(|fill| fill.iter().find(|(c, _)| *c == column));
        filled.map_or(From::Row(place(at)), |(_, from)| *from)
    }

    /// Where a column that a row lacks is to be had: from the row of the key it had before, or its own.
    fn fill(&self, key: Key, moved_from: Option<Key>, column: usize) -> Result<(usize, From)> {
        let owner = moved_from.unwrap_or(key);
        let image = match (self.states.get(&owner), moved_from) {
            (None, _) => None,
            (Some(State { row: Some(image), .. }), _) => Some(*image),
            // Its deletion has just been seen: what it was before.
            (Some(State { row: None, before }), Some(_)) => *before,
            (Some(State { row: None, .. }), None) => {
                return Err(Error::data(
                    "a value that the log did not send (unchanged TOAST) belongs to a row that was deleted just before",
                ));
            }
        };
        Ok((column, image.map_or(From::Table(owner), |image| self.value(image, column))))
    }

    fn set(&mut self, key: Key, row: Option<At>) {
        match self.states.entry(key) {
            Entry::Vacant(free) => drop(free.insert(State { row, before: None })),
            Entry::Occupied(mut known) => {
                let state = known.get_mut();
                let previous = std::mem::replace(&mut state.row, row);
                state.before = previous.or(state.before);
            }
        }
    }

    /// What the keys end with, in the order of the log. `rows`: how many each batch has.
    fn finish(mut self, rows: impl Iterator<Item = usize>) -> Folded {
        // Of each row the key that ends with it, by its number.
        let mut last: Vec<Vec<Option<u32>>> = rows.map(|rows| vec![None; rows]).collect();
        for (number, state) in (0..).zip(self.states.values()) {
            if let Some((batch, row)) = state.row.map(place) {
                last[batch][row] = Some(number);
            }
        }
        let mut folded = Folded::default();
        for (batch, rows) in (0..).zip(last) {
            for (row, number) in (0..).zip(rows) {
                let Some((&key, _)) = number.and_then(|number| self.states.get_index(number as usize)) else {
                    continue;
                };
                let place = place((batch, row));
                match self.fills.remove(&(batch, row)) {
                    None => folded.rows.push((place, key)),
                    Some(columns) => folded.patched.push((Patched { place, columns }, key)),
                }
            }
        }
        folded.gone = self.states.iter().filter(|(_, state)| state.row.is_none()).map(|(key, _)| *key).collect();
        folded
    }
}

/// Folds the changes of a table with a key.
///
/// # Errors
/// `Data` when a value is missing of a row that the run itself has deleted.
pub(super) fn keyed(run: &[Changes]) -> Result<Folded> {
    let total = run.iter().map(|changes| changes.ops.len()).sum();
    if run.iter().all(|changes| changes.missing.iter().all(Option::is_none)) {
        return Ok(whole(run, total));
    }
    let states = IndexMap::with_capacity_and_hasher(total, RandomState::default());
    let mut seen = Run { states, ..Run::default() };
    for (number, changes) in (0..).zip(run) {
        let missing: Vec<(usize, &BooleanBuffer)> =
            changes.missing.iter().enumerate().filter_map(|(c, bits)| Some((c, bits.as_ref()?))).collect();
        let mut moved = changes.moved.iter().peekable();
        for (row, (op, key)) in (0..).zip(changes.ops.iter().zip(&changes.keys)) {
            let from = moved.next_if(|(at, _)| *at == row).map(|(_, key)| *key);
            let image = match op {
                Op::Delete => None,
                Op::Put => {
                    let lacking = missing.iter().filter(|(_, bits)| bits.value(row as usize));
                    let fill = lacking.map(|(column, _)| seen.fill(*key, from, *column)).collect::<Result<Vec<_>>>()?;
                    if !fill.is_empty() {
                        seen.fills.insert((number, row), fill);
                    }
                    Some((number, row))
                }
            };
            seen.set(*key, image);
        }
    }
    Ok(seen.finish(run.iter().map(|changes| changes.ops.len())))
}

/// Keys that were seen. Most tables have small ones, which take a third of the memory by themselves.
#[derive(Default)]
struct Seen {
    small: HashSet<u64, RandomState>,
    wide: HashSet<u128, RandomState>,
}

impl Seen {
    /// Whether the key is new.
    fn insert(&mut self, key: Key) -> bool {
        match key {
            Key::Small(key) => self.small.insert(key),
            Key::Wide(key) => self.wide.insert(key),
        }
    }
}

/// Folds changes of which every row is whole: what a key was before does not matter, its last change counts. The
/// general way's state of a key is several times as large, and most of its time cache misses.
fn whole(run: &[Changes], total: usize) -> Folded {
    let mut seen = Seen::default();
    match run.iter().flat_map(|changes| &changes.keys).next() {
        Some(Key::Small(_)) => seen.small.reserve(total),
        Some(Key::Wide(_)) => seen.wide.reserve(total),
        None => {}
    }
    let mut folded = Folded { rows: Vec::with_capacity(total), ..Folded::default() };
    for (number, changes) in run.iter().enumerate().rev() {
        for (row, (op, key)) in changes.ops.iter().zip(&changes.keys).enumerate().rev() {
            match op {
                _ if !seen.insert(*key) => {}
                Op::Put => folded.rows.push(((number, row), *key)),
                Op::Delete => folded.gone.push(*key),
            }
        }
    }
    folded.rows.reverse();
    folded
}

/// What a run comes to for a table without a key, where a row is its own key and equal rows are counted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    /// The rows to be written, in the order of the log, and their keys.
    pub(super) rows: Vec<(Place, Key)>,
    /// How many of the table's rows of a key are to go.
    pub(super) remove: Vec<(Key, usize)>,
}

/// Folds the changes of a table without a key: a deletion takes back a row of the run first, else one of the
/// table's.
pub(super) fn keyless(run: &[Changes]) -> Counted {
    let mut waiting: HashMap<Key, Vec<Place>, RandomState> = HashMap::default();
    let mut remove: HashMap<Key, usize, RandomState> = HashMap::default();
    for (number, changes) in run.iter().enumerate() {
        for (row, (op, key)) in changes.ops.iter().zip(&changes.keys).enumerate() {
            match op {
                Op::Put => waiting.entry(*key).or_default().push((number, row)),
                Op::Delete => {
                    if waiting.get_mut(key).and_then(Vec::pop).is_none() {
                        *remove.entry(*key).or_default() += 1;
                    }
                }
            }
        }
    }
    let mut rows: Vec<(Place, Key)> =
        waiting.into_iter().flat_map(|(key, places)| places.into_iter().map(move |place| (place, key))).collect();
    rows.sort_unstable_by_key(|(place, _)| *place);
    let mut remove: Vec<(Key, usize)> = remove.into_iter().collect();
    remove.sort_unstable();
    Counted { rows, remove }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Int64Array};
    use proptest::prelude::*;

    use super::*;

    /// Changes of a few keys; `missing`: whether the last of them lacks a value.
    fn changes(said: &[(u64, bool)], missing: bool) -> Changes {
        let ids: ArrayRef = Arc::new(said.iter().map(|(key, _)| key.cast_signed()).collect::<Int64Array>());
        let lacking = BooleanBuffer::from_iter((1..=said.len()).map(|at| at == said.len()));
        Changes {
            rows: RecordBatch::try_from_iter([("id", ids)]).unwrap(),
            ops: said.iter().map(|(_, put)| if *put { Op::Put } else { Op::Delete }).collect(),
            missing: vec![missing.then_some(lacking)],
            keys: said.iter().map(|(key, _)| Key::Small(*key)).collect(),
            moved: Vec::new(),
        }
    }

    proptest! {
        /// Whether the run goes the general way, because a row of a key of its own lacks a value, or the short one.
        #[test]
        fn both_ways_come_to_the_same(
            said in prop::collection::vec(prop::collection::vec((0_u64..9, any::<bool>()), 1..30), 1..4),
        ) {
            let run = || said.iter().map(|batch| changes(batch, false));
            let short = keyed(&run().collect::<Vec<_>>()).unwrap();
            let odd = changes(&[(99, true)], true);
            let general = keyed(&run().chain([odd]).collect::<Vec<_>>()).unwrap();
            prop_assert_eq!(general.patched.len(), 1);
            prop_assert_eq!(&short.rows, &general.rows);
            let sorted = |mut keys: Vec<Key>| {
                keys.sort_unstable();
                keys
            };
            prop_assert_eq!(sorted(short.gone), sorted(general.gone));
        }
    }
}
