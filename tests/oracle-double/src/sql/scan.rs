//! The rows of a table, one after the other and from where the last fetch ended: as of one SCN, within a range of
//! rowids, of sampled blocks.
//!
//! What must hold: nothing is copied on the way to a response, so that a table of millions is served as fast as it
//! can be sent.

use super::eval::Row;
use crate::encode::{self, Description};
use crate::error::OraError;
use crate::model::{Cell as Target, Generator, Scn};
use crate::store::{Rows, Segment, State, Stored};
use crate::types::{Rowid, Type, Value};

/// Where a rowid stands among all: object, file, block, row. Rows may be one more than a rowid can say.
type Place = (u32, u16, u32, u32);

pub(crate) fn place(rowid: Rowid) -> Place {
    (rowid.object, rowid.file, rowid.block, rowid.row.into())
}

/// A half-open range of rowids.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    pub(crate) from: Place,
    pub(crate) to: Place,
}

impl Range {
    pub(crate) const ALL: Self = Self { from: (0, 0, 0, 0), to: (u32::MAX, u16::MAX, u32::MAX, u32::MAX) };

    /// What of an extent's rows is in the range: from, to.
    fn of(&self, segment: &Segment, extent: u64, rows: u64) -> (u64, u64) {
        let first = segment.rowid(extent * segment.rows_per_extent());
        let per_block = segment.rows_per_extent() / u64::from(segment.blocks_per_extent);
        // How many rows of the extent are before a place.
        let before = |(object, file, block, row): Place| match (object, file).cmp(&(first.object, first.file)) {
            std::cmp::Ordering::Less => 0,
            std::cmp::Ordering::Greater => rows,
            std::cmp::Ordering::Equal if block < first.block => 0,
            std::cmp::Ordering::Equal => {
                (u64::from(block - first.block) * per_block + u64::from(row).min(per_block)).min(rows)
            }
        };
        (before(self.from), before(self.to))
    }
}

/// A scan, and how far it has come.
#[derive(Clone, Debug)]
pub(crate) struct Scan {
    pub(crate) table: usize,
    pub(crate) segments: Vec<usize>,
    /// The data objects when it began: another one is another segment.
    data_objects: Vec<u32>,
    pub(crate) scn: Scn,
    pub(crate) range: Range,
    pub(crate) sample: Option<f64>,
    segment: usize,
    row: u64,
    /// Up to which row of the segment rows are known to be in the range.
    until: u64,
}

impl Scan {
    pub(crate) fn new(state: &State, table: usize, segments: Vec<usize>, scn: Scn, sample: Option<f64>) -> Self {
        let data_objects = segments.iter().map(|s| state.tables[table].segments[*s].data_object).collect();
        Self { table, segments, data_objects, scn, range: Range::ALL, sample, segment: 0, row: 0, until: 0 }
    }

    /// Whether it may go on.
    pub(crate) fn check(&self, state: &State) -> Result<(), OraError> {
        let stored = &state.tables[self.table];
        let same = self.segments.iter().zip(&self.data_objects).all(|(s, d)| stored.segments[*s].data_object == *d);
        if !same {
            return Err(OraError::new(8103, "object no longer exists"));
        }
        if self.scn < state.undo_horizon { Err(OraError::known(1555)) } else { Ok(()) }
    }

    /// The next row that is there.
    pub(crate) fn next<'a>(&mut self, state: &'a State) -> Option<TableRow<'a>> {
        let stored = &state.tables[self.table];
        loop {
            let segment = &stored.segments[*self.segments.get(self.segment)?];
            if self.row >= self.until && !self.next_extent(segment) {
                (self.segment, self.row, self.until) = (self.segment + 1, 0, 0);
                continue;
            }
            let row = self.row;
            self.row += 1;
            let data = match &segment.rows {
                Rows::Synthetic(_, generator) => Data::Synthetic(&**generator),
                Rows::Kept(rows) => match rows.get(row as usize).and_then(|versions| versions.at(self.scn)) {
                    Some(values) => Data::Kept(values),
                    None => continue,
                },
            };
            if let Some(percent) = self.sample
                && !sampled(segment, row, percent)
            {
                continue;
            }
            let cell = Cell { table: self.table, segment: self.segments[self.segment], row, column: 0, scn: self.scn };
            return Some(TableRow { stored, segment, row, data, cell });
        }
    }

    /// Goes to the next stretch of rows in the range. `false` at the end of the segment.
    fn next_extent(&mut self, segment: &Segment) -> bool {
        let per_extent = segment.rows_per_extent();
        while self.row < segment.len() {
            let extent = self.row / per_extent;
            let rows = per_extent.min(segment.len() - extent * per_extent);
            let (from, to) = self.range.of(segment, extent, rows);
            let at = extent * per_extent;
            if from.max(self.row - at) < to {
                (self.row, self.until) = (self.row.max(at + from), at + to);
                return true;
            }
            self.row = at + per_extent;
        }
        false
    }
}

/// Whether a row's block is in the sample.
fn sampled(segment: &Segment, row: u64, percent: f64) -> bool {
    let rowid = segment.rowid(row);
    let mixed = (u64::from(rowid.object) << 40 ^ u64::from(rowid.file) << 32 ^ u64::from(rowid.block))
        .wrapping_mul(0x9E37_79B9_7F4A_7C15);
    ((mixed >> 40) as f64) < percent / 100.0 * (1_u64 << 24) as f64
}

/// A row where it lies. Behind its columns comes its rowid, as one more.
pub(crate) struct TableRow<'a> {
    stored: &'a Stored,
    segment: &'a Segment,
    row: u64,
    data: Data<'a>,
    cell: Cell,
}

/// Where a value lies, and as of which SCN.
#[derive(Clone, Copy)]
pub(crate) struct Cell {
    table: usize,
    segment: usize,
    row: u64,
    column: usize,
    scn: Scn,
}

impl Cell {
    /// The value, unless its segment has gone.
    pub(crate) fn value(self, state: &State) -> Option<&Value> {
        let segment = state.tables[self.table].segments.get(self.segment)?;
        let Rows::Kept(rows) = &segment.rows else { return None };
        rows.get(self.row as usize)?.at(self.scn)?.get(self.column)
    }
}

enum Data<'a> {
    Kept(&'a [Value]),
    Synthetic(&'a dyn Generator),
}

impl<'a> TableRow<'a> {
    /// Writes a column as a response has it.
    pub(crate) fn write(&self, column: usize, kind: &Type, out: &mut Vec<u8>) {
        match &self.data {
            Data::Synthetic(generator) if column < self.stored.def.columns.len() => {
                generator.cell(self.row, column, &mut Target { out });
            }
            Data::Kept(values) if column < values.len() => encode::value(kind, &values[column], out),
            _ => encode::value(kind, &self.rowid(), out),
        }
    }

    /// Where a column's value lies.
    pub(crate) fn cell(&self, column: usize) -> Cell {
        Cell { column, ..self.cell }
    }

    /// A column's value, where it is kept as it is.
    pub(crate) fn kept(&self, column: usize) -> Option<&'a Value> {
        match self.data {
            Data::Kept(values) => values.get(column),
            Data::Synthetic(_) => None,
        }
    }

    fn rowid(&self) -> Value {
        if self.stored.has_rowids() {
            return Value::Rowid(self.segment.rowid(self.row));
        }
        // A logical rowid: its text begins with an asterisk and is long as the key is.
        Value::Text(format!("*BAMAAIMCwQ{}", super::functions::hex(&(self.row as u32).to_be_bytes())))
    }
}

impl Row for TableRow<'_> {
    fn get(&self, column: usize) -> Value {
        match &self.data {
            Data::Kept(values) if column < values.len() => values[column].clone(),
            Data::Synthetic(generator) if column < self.stored.def.columns.len() => {
                let mut bytes = Vec::new();
                generator.cell(self.row, column, &mut Target { out: &mut bytes });
                let description = Description::of(&self.stored.def.columns[column].kind);
                let sent = crate::wire::Reader::new(&bytes).bytes().unwrap_or_default();
                encode::bound(description.code, description.form, &sent)
            }
            _ => self.rowid(),
        }
    }
}
