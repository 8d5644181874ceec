//! A log of changes that is followed: Kafka topics, or a database's own.
//!
//! A table's changes lie in one or more partitions of the log, each read in order. What a batch covers is a
//! span of one partition; the points that bound it are the log's own, opaque to everyone else, and are kept by
//! the sink with the rows. A table is followed from the point that the sink stands at and nowhere else.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use arrow_array::{Array, RecordBatch};
use arrow_buffer::BooleanBuffer;
use async_trait::async_trait;

use crate::{Cut, Error, Result, Sink, TableId, TableSchema, TaskContext};

/// A point in each partition of the log: the partition's name, and the point as the log writes it.
///
/// A partition's name holds for that one log only (a topic's id, not its name), so that a log that was made
/// anew is not taken for the old one.
pub type Marks = BTreeMap<Arc<str>, Arc<str>>;

/// What lies between two points of one partition of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSpan {
    /// The partition.
    pub partition: Arc<str>,
    /// The point that it begins after; `None` at the beginning of a partition that the sink knows nothing of.
    pub after: Option<Arc<str>>,
    /// The point that it reaches.
    pub upto: Arc<str>,
    /// Whether the source's transactions are whole there, as far as the log knows: a sink shows rows that reach a point
    /// within one only together with the rest.
    pub whole: bool,
    /// The same for people, where the log counts: for the ledger only.
    pub told: Option<Box<Told>>,
}

/// A point of a partition that counts its messages, as people look it up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The partition as its own tools call it: `topic-0`.
    pub partition: Arc<str>,
    /// The next message's number.
    pub next: i64,
    /// How many of the table's messages before it were set aside, unapplied.
    pub rejected: u64,
}

/// Where a table stands in a sink: what a log needs to know to go on from there.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// Its columns and key as the sink holds them, with the types that they had at the source.
    pub schema: Arc<TableSchema>,
    /// The cut of its load, if its rows began with one: changes that the cut shows are skipped.
    pub cut: Option<Cut>,
    /// The points up to which the log is applied.
    pub marks: Marks,
}

/// What a row of a [`LogBatch`] does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// The row of this key is now this one, whether there was one or not. Without a key: one more such row.
    Put,
    /// There is no row of this key any more; only the key columns are set. Without a key: one such row less.
    Delete,
}

/// The rows of a batch that took over the row of another key, and the keys they had.
#[derive(Clone, Debug)]
pub struct Moved {
    /// Which rows of the batch, ascending.
    pub rows: Vec<u32>,
    /// The key columns, in key order, with the values before: a row for each of `rows`.
    pub old_keys: RecordBatch,
}

/// Changes of one table from one partition of the log, in the order of the log.
#[derive(Clone, Debug)]
pub struct LogBatch {
    schema: Arc<TableSchema>,
    span: LogSpan,
    rows: RecordBatch,
    ops: Vec<Op>,
    missing: Vec<Option<BooleanBuffer>>,
    moved: Option<Moved>,
}

impl LogBatch {
    /// A batch of rows with what each does. It may have no rows: then it only moves the table forward.
    ///
    /// # Errors
    /// `Fatal` when the columns are not the schema's, or there is not one operation for each row: a bug in a log.
    pub fn new(schema: Arc<TableSchema>, span: LogSpan, rows: RecordBatch, ops: Vec<Op>) -> Result<Self> {
        if rows.schema_ref().fields() != schema.arrow().fields() || rows.num_rows() != ops.len() {
            return Err(Error::fatal("a batch that does not fit its table")
                .with("table", schema.table())
                .with("partition", &span.partition));
        }
        Ok(Self { schema, span, rows, ops, missing: Vec::new(), moved: None })
    }

    /// Says which values the log did not send (PostgreSQL's unchanged TOAST): they are what they were before,
    /// not NULL. One entry per column; a set bit is a value that is not there.
    ///
    /// # Errors
    /// `Fatal` when the lengths do not fit, or a value of a key column is marked: a bug in a log.
    pub fn with_missing(mut self, missing: Vec<Option<BooleanBuffer>>) -> Result<Self> {
        let fits = missing.len() == self.rows.num_columns()
            && missing.iter().flatten().all(|bits| bits.len() == self.rows.num_rows())
            && self.schema.key().iter().all(|&k| missing[k].is_none());
        if !fits {
            return Err(Error::fatal("marks of missing values that do not fit the batch").with("table", self.table()));
        }
        self.missing = missing;
        Ok(self)
    }

    /// Says which rows took over the row of another key. Such a row's `Delete` of the old key precedes it in the
    /// same batch, if the log has one.
    ///
    /// # Errors
    /// `Fatal` when the keys do not fit the rows: a bug in a log.
    pub fn with_moved(mut self, moved: Moved) -> Result<Self> {
        let ascending = moved.rows.windows(2).all(|pair| pair[0] < pair[1]);
        let within = moved.rows.last().is_none_or(|&last| (last as usize) < self.rows.num_rows());
        let key = self.schema.key();
        let keys = moved.old_keys.num_columns() == key.len() && moved.old_keys.num_rows() == moved.rows.len();
        let typed = || {
            let wanted = key.iter().map(|&k| self.rows.column(k).data_type());
            moved.old_keys.columns().iter().map(|c| c.data_type()).eq(wanted)
        };
        if !(ascending && within && keys && typed()) {
            return Err(Error::fatal("old keys that do not fit the batch").with("table", self.table()));
        }
        self.moved = Some(moved);
        Ok(self)
    }

    /// The table's schema at these rows: a new one changes the table.
    pub fn schema(&self) -> &Arc<TableSchema> {
        &self.schema
    }

    /// The table.
    pub fn table(&self) -> &TableId {
        self.schema.table()
    }

    /// What of the log it covers.
    pub fn span(&self) -> &LogSpan {
        &self.span
    }

    /// The row images.
    pub fn rows(&self) -> &RecordBatch {
        &self.rows
    }

    /// What each row does.
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// The values of that column which the log did not send, if there are any.
    pub fn missing(&self, column: usize) -> Option<&BooleanBuffer> {
        self.missing.get(column)?.as_ref()
    }

    /// The rows that took over the row of another key.
    pub fn moved(&self) -> Option<&Moved> {
        self.moved.as_ref()
    }

    /// The memory that it holds, bytes: what every buffer counts.
    pub fn bytes(&self) -> usize {
        let rows: usize = self.rows.columns().iter().map(|c| c.get_array_memory_size()).sum();
        let missing: usize = self.missing.iter().flatten().map(|bits| bits.len() / 8).sum();
        rows + missing + self.ops.len()
    }
}

/// One element of what a log delivers.
#[derive(Clone, Debug)]
pub enum LogEvent {
    /// A table is followed from where it stands in the sink, which makes it first if `create` says so. What was
    /// delivered of it before and is not durable is void: it comes again.
    Open {
        /// Its columns and key as the log knows them.
        schema: Arc<TableSchema>,
        /// The name of the source, for the ledger.
        source: Arc<str>,
        /// Whether the sink may make the table.
        create: bool,
    },
    /// Rows.
    Changes(LogBatch),
    /// Every row of the table is gone.
    Truncate(TableId, LogSpan),
    /// The log cannot go on with the table; nothing more comes of it until it is opened again, which the runtime
    /// asks for if the failure may pass. What came before stays.
    Failed(TableId, Arc<Error>),
}

impl LogEvent {
    /// The table that it concerns.
    pub fn table(&self) -> &TableId {
        match self {
            Self::Open { schema, .. } => schema.table(),
            Self::Changes(batch) => batch.table(),
            Self::Truncate(table, _) | Self::Failed(table, _) => table,
        }
    }
}

/// Which of a log's tables a task is to follow: they are dealt to a connector's tasks by a hash of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deal {
    task: u32,
    tasks: u32,
}

impl Deal {
    /// Everything: there is one task.
    pub const ALL: Self = Self { task: 0, tasks: 1 };

    /// What each of so many tasks follows; at least one.
    pub fn among(tasks: u32) -> impl Iterator<Item = Self> {
        let tasks = tasks.max(1);
        (0..tasks).map(move |task| Self { task, tasks })
    }

    /// Whether what bears this name is this task's: of all of a process's tasks it is so of one. Nothing may rest on
    /// which: a build of another compiler may deal otherwise.
    pub fn has(&self, name: &str) -> bool {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        hasher.finish() % u64::from(self.tasks) == u64::from(self.task)
    }
}

/// A log of changes. Building one touches nothing; its methods connect.
#[async_trait]
pub trait ChangeLog: Send + Sync {
    /// Where the log of these tables ends now: what a load records that begins after this call, so that the
    /// log is followed from there. A table that it has nothing of yet is left out.
    async fn ends(&self, tables: &[TableId]) -> Result<BTreeMap<TableId, Marks>>;

    /// Opens a task that follows its deal of the log, each table from where it stands in the sink. Of all tasks that the log
    /// is dealt to each table is one's.
    async fn follow(&self, sink: Arc<dyn Sink>, deal: Deal, context: TaskContext) -> Result<Box<dyn LogTask>>;
}

/// The task that follows a log.
#[async_trait]
pub trait LogTask: Send {
    /// What comes next; waits while there is nothing. Cancel-safe: a dropped call loses nothing.
    ///
    /// # Errors
    /// What concerns the whole log. A table that cannot go on is an event.
    async fn next(&mut self) -> Result<LogEvent>;

    /// Begins a table again from where it stands in the sink, whether it was stopped, has failed or is being
    /// followed: the next of it is an `Open` (or `Failed`), then what is not durable.
    ///
    /// # Errors
    /// What concerns the whole log. That the table cannot be opened is an event.
    async fn reopen(&mut self, table: &TableId) -> Result<()>;

    /// Delivers nothing more of a table, which failed in the sink, unless it is reopened.
    async fn stop(&mut self, table: &TableId);

    /// Learns that a table is durable up to there, of the partitions that moved. For the log's own books: nothing
    /// resumes from it.
    async fn acknowledge(&mut self, table: &TableId, marks: &Marks);

    /// Ends the task.
    async fn close(self: Box<Self>) -> Result<()>;
}
