//! A session's rows → Arrow batches. It knows no driver: rows come as [`Row`]s, and each value goes from there into its
//! column.

mod column;
mod number;
mod time;

use std::hash::Hasher as _;
use std::sync::Arc;

use arrow_array::{Array as _, RecordBatch};
use arrow_data::ArrayData;
use connector_api::{Error, TableSchema};
use twox_hash::XxHash3_64;

use crate::error::{Answer, Failure};
use crate::session::{Admit, Lob, Printed, Row, Stamp, Wanted};
use crate::types::Form;
use column::ColumnBuilder;

/// What is wrong with a value.
type Wrong = &'static str;

/// When a batch is closed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Most rows.
    pub(crate) rows: usize,
    /// Bytes after whose row it is closed.
    pub(crate) bytes: usize,
    /// Most bytes of a LOB.
    pub(crate) lob: u64,
}

/// Turns the rows of one query into batches.
pub(crate) struct Decoder {
    schema: Arc<TableSchema>,
    forms: Vec<Form>,
    columns: Vec<ColumnBuilder>,
    /// Where a NUMBER is printed, and where a moment is put.
    printed: Printed,
    stamp: Stamp,
    limits: Limits,
    /// Whether LOBs come as locators.
    locators: bool,
    /// What the open batch holds.
    rows: usize,
    bytes: usize,
}

impl Decoder {
    /// A decoder of rows of these forms, as many as the schema has columns.
    pub(crate) fn new(schema: Arc<TableSchema>, forms: &[Form], limits: Limits, locators: bool) -> Self {
        let columns = forms.iter().map(|form| ColumnBuilder::new(form.wire)).collect();
        let (printed, stamp) = (Printed::default(), Stamp::default());
        Self { schema, forms: forms.to_vec(), columns, printed, stamp, limits, locators, rows: 0, bytes: 0 }
    }

    /// Takes a row; gives the batch that it completes. LOBs that come as locators are read when they are admitted.
    pub(crate) fn push(&mut self, row: &mut dyn Row, admit: Admit<'_>) -> Answer<Option<RecordBatch>> {
        for (i, (form, column)) in self.forms.iter().zip(&mut self.columns).enumerate() {
            let appended =
                match form.wire.is_lob() {
                    true if self.locators => column.append_written(|out| large(row, i, self.limits.lob, admit, out)),
                    lob => value(row, i, form.wire.wanted(), (&mut self.printed, &mut self.stamp), column).and_then(
                        |bytes| match lob && bytes as u64 > self.limits.lob.saturating_add(4) {
                            true => Err(Trouble::TooLong(bytes as u64 - 4)),
                            false => Ok(bytes),
                        },
                    ),
                };
            match appended {
                Ok(bytes) => self.bytes += bytes,
                Err(trouble) => return Err(trouble.of(&self.schema, i)),
            }
        }
        self.rows += 1;
        if self.rows >= self.limits.rows || self.bytes >= self.limits.bytes { self.finish() } else { Ok(None) }
    }

    /// The rows that are left, if there are any.
    pub(crate) fn finish(&mut self) -> Answer<Option<RecordBatch>> {
        if self.rows == 0 {
            return Ok(None);
        }
        let mut arrays = Vec::with_capacity(self.columns.len());
        for (i, column) in self.columns.iter_mut().enumerate() {
            match column.finish() {
                Ok(array) => arrays.push(array),
                Err(what) => return Err(Trouble::Wrong(what).of(&self.schema, i)),
            }
        }
        (self.rows, self.bytes) = (0, 0);
        let batch = RecordBatch::try_new(Arc::clone(self.schema.arrow()), arrays).map_err(|e| {
            let error = Error::fatal("decoded columns do not form a batch").with("table", self.schema.table());
            Failure::Stopped(error.caused_by(e))
        })?;
        Ok(Some(batch))
    }
}

/// What stands in the way of a value.
enum Trouble {
    Wrong(Wrong),
    /// So long, characters or bytes.
    TooLong(u64),
    Failure(Failure),
}

impl From<Wrong> for Trouble {
    fn from(what: Wrong) -> Self {
        Self::Wrong(what)
    }
}

impl Trouble {
    /// The failure, with table and column where they tell.
    fn of(self, schema: &TableSchema, column: usize) -> Failure {
        let column = schema.columns().get(column).map_or("?", |c| c.name());
        let error = match self {
            Self::Wrong(what) => Error::data(what),
            Self::TooLong(length) => Error::data("a LOB is larger than lob.max.bytes; nothing is ever cut")
                .with("length", length)
                .with("remedy", "raise lob.max.bytes, or leave the column out by column.exclude.list"),
            Self::Failure(failure @ Failure::Value(..)) => failure.while_doing("reading rows"),
            Self::Failure(other) => return other,
        };
        Failure::Stopped(error.with("table", schema.table()).with("column", column))
    }
}

/// Takes a column's value over; how many bytes it takes.
#[inline]
fn value(
    row: &dyn Row,
    at: usize,
    wanted: Wanted,
    (printed, stamp): (&mut Printed, &mut Stamp),
    column: &mut ColumnBuilder,
) -> Result<usize, Trouble> {
    let appended = match wanted {
        Wanted::Number => {
            let there = row.number(at, printed).map_err(Trouble::Failure)?;
            column.append_number(there.then_some(&*printed))
        }
        Wanted::Text => return column.append_written(|out| row.text(at, out).map_err(Trouble::Failure)),
        Wanted::Stamp => {
            let there = row.stamp(at, stamp).map_err(Trouble::Failure)?;
            column.append_stamp(there.then_some(&*stamp))
        }
        Wanted::Cell(kind) => column.append(row.cell(at, kind).map_err(Trouble::Failure)?),
    };
    appended.map_err(Trouble::Wrong)
}

fn large(row: &mut dyn Row, column: usize, cap: u64, admit: Admit<'_>, out: &mut Vec<u8>) -> Result<bool, Trouble> {
    match row.lob(column, cap, admit, out).map_err(Trouble::Failure)? {
        Lob::Null => Ok(false),
        Lob::Read => Ok(true),
        Lob::TooLong(length) => Err(Trouble::TooLong(length)),
    }
}

/// A digest of a batch's values: equal rows in the same order have the same.
pub(crate) fn digest(rows: &RecordBatch) -> u64 {
    fn add(hasher: &mut XxHash3_64, data: &ArrayData) {
        hasher.write_usize(data.len());
        if let Some(nulls) = data.nulls() {
            nulls.iter().for_each(|there| hasher.write_u8(there.into()));
        }
        data.buffers().iter().for_each(|buffer| hasher.write(buffer));
        data.child_data().iter().for_each(|child| add(hasher, child));
    }
    let mut hasher = XxHash3_64::with_seed(0);
    rows.columns().iter().for_each(|column| add(&mut hasher, &column.to_data()));
    hasher.finish()
}

#[cfg(test)]
mod tests;
