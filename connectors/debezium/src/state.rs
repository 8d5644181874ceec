//! A table's open batch. Pure.

use std::sync::Arc;

use connector_api::Result;

use crate::batch::{Batch, Images, Op};
use crate::fault::Fault;
use crate::message::Table;
use crate::plan::Plan;
use crate::rows::Rows;

/// A plan and the schema that it was made for; `None` for the table's source types.
pub(crate) type Kept = Option<(Option<u64>, Arc<Plan>)>;

/// A table and what was read of it since its batch was last taken.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) table: Table,
    pub(crate) rows: Rows,
    pub(crate) before: Rows,
    pub(crate) before_of: Vec<u32>,
    pub(crate) old_keys: Rows,
    pub(crate) old_keys_of: Vec<u32>,
    ops: Vec<Op>,
    offsets: Vec<i64>,
    /// Whether the open row has an image before the change, and an old key.
    pub(crate) has_before: bool,
    pub(crate) has_old_key: bool,
    pub(crate) plan: Kept,
    pub(crate) key_plan: Kept,
    /// Whether the message key is known to have all columns that identify a row.
    pub(crate) covered: bool,
}

impl State {
    pub(crate) fn new(table: Table) -> Result<Self> {
        let rows = || Rows::new(&table.schema);
        Ok(Self {
            rows: rows()?,
            before: rows()?,
            before_of: vec![],
            old_keys: rows()?,
            old_keys_of: vec![],
            ops: vec![],
            offsets: vec![],
            has_before: false,
            has_old_key: false,
            plan: None,
            key_plan: None,
            covered: false,
            table,
        })
    }

    /// Whole rows.
    pub(crate) fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether its last row is half of a change of a key.
    pub(crate) fn awaits_twin(&self) -> bool {
        self.ops.last() == Some(&Op::Moved)
    }

    /// Memory that the batch takes, bytes, about.
    pub(crate) fn bytes(&self) -> usize {
        self.rows.bytes() + self.before.bytes() + self.ops.len() * size_of::<(i64, Op)>()
    }

    /// The plan for images of a schema, if it is known, and the rows that they are read into.
    pub(crate) fn reads(&mut self, schema: Option<u64>) -> Option<(&Plan, &mut Rows)> {
        let (of, plan) = self.plan.as_ref()?;
        (*of == schema).then_some((&**plan, &mut self.rows))
    }

    /// Takes back what a failed message left.
    pub(crate) fn roll_back(&mut self) {
        (self.has_before, self.has_old_key) = (false, false);
        self.rows.roll_back();
        self.before.roll_back();
        self.old_keys.roll_back();
    }

    /// Checks the open row against what the table requires; `columns` are those that count.
    pub(crate) fn require(&self, columns: impl Iterator<Item = usize>) -> Result<(), Fault> {
        if self.rows.is_full() {
            return Ok(());
        }
        let row = self.ops.len();
        for column in columns {
            if self.rows.columns[column].is_null(row) && !self.rows.is_missing(column) {
                let name = self.table.schema.columns()[column].name();
                return Err(Fault::of("NULL in a column that the table requires").in_column(name));
            }
        }
        Ok(())
    }

    /// Checks that no NULL of the open row may stand for a value that did not change.
    pub(crate) fn check_nulls(&self) -> Result<(), Fault> {
        let told = self.table.whole_before || self.rows.is_full();
        let Some((_, plan)) = self.plan.as_ref().filter(|_| !told) else { return Ok(()) };
        let row = self.ops.len();
        let hides = |column: usize| self.rows.columns[column].is_null(row) && !self.rows.is_missing(column);
        match plan.fields.iter().find(|f| f.null_hides && f.column.is_some_and(hides)) {
            None => Ok(()),
            Some(field) => Err(Fault::of(
                "NULL after an update, which Debezium also sends for a value of this type that did not change and is \
                 stored out of line: set REPLICA IDENTITY FULL on the table, or for bytea binary.handling.mode=bytes",
            )
            .in_column(&field.name)),
        }
    }

    /// Makes the message's row whole. Nothing fails after this.
    pub(crate) fn close(&mut self, op: Op, offset: i64) {
        self.rows.close();
        let row = self.ops.len() as u32;
        if std::mem::take(&mut self.has_before) {
            self.before.close();
            self.before_of.push(row);
        }
        if std::mem::take(&mut self.has_old_key) {
            self.old_keys.close();
            self.old_keys_of.push(row);
        }
        self.ops.push(op);
        self.offsets.push(offset);
    }

    /// The batch, if it has rows; it begins anew.
    pub(crate) fn take(&mut self) -> Result<Option<Batch>> {
        if self.ops.is_empty() {
            return Ok(None);
        }
        let schema = Arc::clone(&self.table.schema);
        let images = |rows: &mut Rows, of: &mut Vec<u32>| {
            if of.is_empty() {
                return Ok(None);
            }
            let (rows, missing) = rows.finish(&schema)?;
            Ok(Some(Images { of: std::mem::take(of), rows, missing }))
        };
        let before = images(&mut self.before, &mut self.before_of)?;
        let old_keys = images(&mut self.old_keys, &mut self.old_keys_of)?;
        let (rows, missing) = self.rows.finish(&schema)?;
        Ok(Some(Batch {
            rows,
            ops: std::mem::take(&mut self.ops),
            offsets: std::mem::take(&mut self.offsets),
            missing,
            before,
            old_keys,
            schema,
        }))
    }
}
