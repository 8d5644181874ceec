//! What flows from a source to a sink: Arrow batches, framed per table load.
//!
//! A table's load reads `Begin`, its splits' batches in any interleaving with a `SplitDone` each, then
//! `Complete` (publish it, in one commit) or `Abort` (drop all of it). Nothing of a load is visible to
//! readers before its `Complete` is durable.

use std::sync::Arc;

use arrow_array::{Array, RecordBatch};

use crate::{Error, Marks, Position, Result, Span, SplitId, TableId, TableSchema};

/// One element of the flow.
#[derive(Clone, Debug)]
pub enum Event {
    /// The framing of a table's load.
    Load(LoadEvent),
    /// Rows.
    Changes(ChangeBatch),
}

impl Event {
    /// The table that it concerns.
    pub fn table(&self) -> &TableId {
        match self {
            Event::Changes(batch) => batch.table(),
            Event::Load(LoadEvent::Begin(load)) => load.schema.table(),
            Event::Load(
                LoadEvent::SplitDone(table, _) | LoadEvent::Complete(table) | LoadEvent::Abort { table, .. },
            ) => table,
        }
    }
}

/// The framing of a table's load.
#[derive(Clone, Debug)]
pub enum LoadEvent {
    /// The load of a table begins; what an earlier unpublished attempt staged is void.
    Begin(Arc<TableLoad>),
    /// Every row of that split was delivered.
    SplitDone(TableId, SplitId),
    /// Every split is done: publish the table.
    Complete(TableId),
    /// The table is not loaded (refused, or failed for good): drop what is staged, record why.
    Abort {
        /// The table.
        table: TableId,
        /// Why.
        error: Arc<Error>,
        /// How often it was tried; 0 when its load never began.
        attempts: u32,
    },
}

/// What a sink must know before a table's first row.
#[derive(Clone, Debug)]
pub struct TableLoad {
    /// The table's columns and key.
    pub schema: Arc<TableSchema>,
    /// The consistent cut that the load reads.
    pub cut: Arc<Cut>,
    /// Name of the source connector, for the ledger.
    pub source: Arc<str>,
    /// How many splits the load has.
    pub splits: usize,
    /// Which attempt at this table it is, from 1.
    pub attempt: u32,
    /// Whether the load replaces a table that the sink already holds.
    pub replace: bool,
    /// Where the table's log ended before the cut was taken: what follows it begins there. Empty when there is no
    /// log, or nothing of the table in it.
    pub marks: Marks,
}

/// The point in the source's history that a load shows, exactly: what was committed and visible there.
///
/// The position alone does not say that (a commit may be past it and yet invisible, or the other way
/// round); `visible` is what decides which changes a later stream must skip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Which database this is, stable across restarts and renames (a system identifier and database).
    pub system: String,
    /// What kind of position this is: `lsn`, `scn` …
    pub position_type: String,
    /// The position as the source writes it.
    pub position: String,
    /// What the load's snapshot saw, as the source writes it (`pg_current_snapshot()`), if it is more
    /// than the position tells.
    pub visible: Option<String>,
}

/// Rows of one split of one table at one schema version.
#[derive(Clone, Debug)]
pub struct ChangeBatch {
    schema: Arc<TableSchema>,
    span: Span,
    rows: RecordBatch,
}

impl ChangeBatch {
    /// A batch. `rows` must have exactly the schema's Arrow columns, and the span must cover as many rows
    /// as there are (it may end with [`Position::End`] when these are the split's last).
    ///
    /// # Errors
    /// `Fatal` when either does not hold: a bug in a source.
    pub fn new(schema: Arc<TableSchema>, span: Span, rows: RecordBatch) -> Result<Self> {
        let bug = |message: &str| Err(Error::fatal(message).with("table", schema.table()).with("split", &span.split));
        if rows.schema_ref().fields() != schema.arrow().fields() {
            return bug("the batch's columns are not the table's");
        }
        let start = match span.after {
            Position::Start => 0,
            Position::At(n) => n,
            Position::End => return bug("a batch begins after the end of its split"),
        };
        match span.upto {
            Position::At(upto) if upto == start + rows.num_rows() as u64 => {}
            Position::End => {}
            _ => return bug("the batch's span does not cover its rows"),
        }
        Ok(Self { schema, span, rows })
    }

    /// The table's schema.
    pub fn schema(&self) -> &Arc<TableSchema> {
        &self.schema
    }

    /// The table.
    pub fn table(&self) -> &TableId {
        self.schema.table()
    }

    /// Which rows of which split these are.
    pub fn span(&self) -> &Span {
        &self.span
    }

    /// The row images.
    pub fn rows(&self) -> &RecordBatch {
        &self.rows
    }

    /// The memory these rows hold, bytes: what the queue and every buffer count.
    pub fn bytes(&self) -> usize {
        self.rows.columns().iter().map(|c| c.get_array_memory_size()).sum()
    }
}
