//! Row images that grow in columns, one row at a time, each whole or not at all. Pure.

use arrow_array::RecordBatch;
use connector_api::{Error, Result, TableSchema};

use crate::cells::Cells;
use crate::fault::Fault;

/// Where a value is not known because the database's log did not carry it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// For each column, the rows in ascending order. Such a cell is NULL and means nothing.
    pub rows: Vec<Vec<u32>>,
}

impl Missing {
    /// Whether every value is known.
    pub fn is_empty(&self) -> bool {
        self.rows.iter().all(Vec::is_empty)
    }
}

/// Rows that grow.
#[derive(Debug)]
pub(crate) struct Rows {
    pub(crate) columns: Vec<Cells>,
    missing: Vec<Vec<u32>>,
    rows: usize,
    /// Whether the open row may have cells.
    begun: bool,
    /// Whether the open row is known to have a value in every column.
    full: bool,
}

impl Rows {
    /// No rows yet.
    ///
    /// # Errors
    /// `Data`, naming the column, for one of a type that no event has.
    pub(crate) fn new(schema: &TableSchema) -> Result<Self> {
        let columns = schema.columns().iter().map(|column| {
            let of_column = |what| Fault::of(what).in_column(column.name()).into_error();
            Cells::new(column.data_type()).map_err(of_column)
        });
        let columns = columns.collect::<Result<Vec<_>>>().map_err(|e| e.with("table", schema.table()))?;
        Ok(Self { missing: vec![vec![]; columns.len()], columns, rows: 0, begun: false, full: false })
    }

    /// Whole rows.
    pub(crate) fn len(&self) -> usize {
        self.rows
    }

    /// Memory that they take, bytes, about.
    pub(crate) fn bytes(&self) -> usize {
        self.columns.iter().map(Cells::bytes).sum()
    }

    /// To be called before a cell of the open row is written.
    pub(crate) fn begin(&mut self) {
        self.begun = true;
    }

    /// Takes back what the open row left.
    pub(crate) fn roll_back(&mut self) {
        if !std::mem::take(&mut self.begun) {
            return;
        }
        self.columns.iter_mut().for_each(|column| column.truncate(self.rows));
        for missing in &mut self.missing {
            missing.truncate(missing.partition_point(|row| (*row as usize) < self.rows));
        }
        self.full = false;
    }

    /// Notes whether the open row has a value in every column.
    pub(crate) fn set_full(&mut self, full: bool) {
        self.full = full;
    }

    /// Whether the open row is known to have a value in every column.
    pub(crate) fn is_full(&self) -> bool {
        self.full
    }

    /// Whether the open row's value in that column is not known.
    pub(crate) fn is_missing(&self, column: usize) -> bool {
        self.missing[column].last() == Some(&(self.rows as u32))
    }

    /// Makes the open row whole: columns that it did not fill are NULL.
    pub(crate) fn close(&mut self) {
        self.rows += 1;
        self.begun = false;
        if std::mem::take(&mut self.full) {
            return;
        }
        for column in &mut self.columns {
            if column.len() < self.rows {
                column.append_null();
            }
        }
    }

    /// Notes that the open row's value in that column is not known.
    pub(crate) fn mark(&mut self, column: usize) {
        self.missing[column].push(self.rows as u32);
    }

    /// Takes back the open row's cell in a column: its field stands twice in the message, and the last counts.
    pub(crate) fn undo(&mut self, column: usize) {
        self.columns[column].truncate(self.rows);
        if self.is_missing(column) {
            self.missing[column].pop();
        }
    }

    /// Whether the open row has an unknown value.
    pub(crate) fn open_has_missing(&self) -> bool {
        self.first_missing().is_some()
    }

    /// The first column of which the open row's value is not known.
    pub(crate) fn first_missing(&self) -> Option<usize> {
        (0..self.columns.len()).find(|column| !self.full && self.is_missing(*column))
    }

    /// The rows; it begins anew.
    pub(crate) fn finish(&mut self, schema: &TableSchema) -> Result<(RecordBatch, Missing)> {
        (self.rows, self.begun, self.full) = (0, false, false);
        let fresh = vec![vec![]; self.columns.len()];
        let missing = Missing { rows: std::mem::replace(&mut self.missing, fresh) };
        let arrays = self.columns.iter_mut().zip(schema.columns()).map(|(cells, column)| {
            cells.finish().map_err(|what| Fault::of(what).in_column(column.name()).into_error())
        });
        let arrays = arrays.collect::<Result<Vec<_>>>().map_err(|e| e.with("table", schema.table()))?;
        let batch = RecordBatch::try_new(schema.arrow().clone(), arrays).map_err(|e| {
            Error::fatal("decoded columns do not form a batch").with("table", schema.table()).caused_by(e)
        })?;
        Ok((batch, missing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::Dialect;
    use crate::how::How;
    use crate::value::Value;
    use crate::value::convert::Rules;
    use arrow_array::{Array, Int64Array};
    use arrow_schema::DataType;
    use connector_api::{Column, TableId};

    /// The rows that come of a whole row, one that fails after its first column, and a whole one.
    fn check(roll_back: bool) -> Vec<(i64, i64)> {
        let columns = ["a", "b"].map(|name| Column::new(name, DataType::Int64, true, "bigint")).to_vec();
        let schema = TableSchema::new(TableId::new("public", "t"), columns, vec![]).unwrap();
        let (mut rows, dialect) = (Rows::new(&schema).unwrap(), Dialect::POSTGRESQL);
        let rules = Rules { dialect: &dialect, infinite_is_null: false };
        for (a, b) in [(1, Value::Int(10)), (2, Value::Text("x")), (3, Value::Int(30))] {
            rows.begin();
            rows.columns[0].append(&How::Int, Value::Int(a), rules).unwrap();
            match rows.columns[1].append(&How::Int, b, rules) {
                Ok(_) => rows.close(),
                Err(_) if roll_back => rows.roll_back(),
                Err(_) => {}
            }
        }
        let length = rows.len();
        let mut column = |i: usize| {
            let array = rows.columns[i].finish().unwrap();
            array.as_any().downcast_ref::<Int64Array>().unwrap().values().to_vec()
        };
        let (a, b) = (column(0), column(1));
        a.into_iter().zip(b).take(length).collect()
    }

    #[test]
    fn a_failed_row_leaves_no_cell_behind() {
        assert_eq!(check(true), [(1, 10), (3, 30)]);
        // The twin: without it the next row has the failed one's cell.
        assert_eq!(check(false), [(1, 10), (2, 30)]);
    }
}
