//! Reads one split into the queue. Follows the spans, so that a source's bug cannot lose or double a row
//! unseen; knows nothing of the other splits.

use std::sync::Arc;

use connector_api::{Counter, Error, Event, LoadEvent, Metrics, Position, Result, Source, Split, TaskContext, Tracker};

use crate::contain::contain;
use crate::progress::TableMeter;
use crate::queue::{Gone, Sender};

/// How the reading of a split ended.
pub(crate) enum ReadEnd {
    /// All of it is in the queue, its end included.
    Done,
    /// It was told to stop.
    Cancelled,
    /// It failed; the error names table and split.
    Failed(Error),
    /// The queue has no reader any more; the sink's own end says why.
    SinkGone,
}

/// The source's counters, under Kafka Connect's names.
#[derive(Clone)]
pub(crate) struct ReadCounters {
    polled: Counter,
    written: Counter,
}

impl ReadCounters {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let polled = metrics.counter("kafka_connect_source_task_source_record_poll", "Rows read from the source");
        let written =
            metrics.counter("kafka_connect_source_task_source_record_write", "Rows handed to the sink's queue");
        Self { polled, written }
    }
}

/// A split to be read and where to.
pub(crate) struct SplitReader {
    pub(crate) source: Arc<dyn Source>,
    pub(crate) split: Split,
    /// Its `cancel` is the table's.
    pub(crate) context: TaskContext,
    pub(crate) queue: Sender,
    pub(crate) meter: Arc<TableMeter>,
    pub(crate) counters: ReadCounters,
}

impl SplitReader {
    /// Reads until the split's end, a failure or cancellation. In the latter cases the source's task is
    /// dropped.
    pub(crate) async fn run(self) -> ReadEnd {
        let cancel = self.context.cancel.clone();
        match cancel.run_until_cancelled(self.read()).await {
            Some(Ok(Ok(()))) => ReadEnd::Done,
            Some(Ok(Err(Gone))) => ReadEnd::SinkGone,
            None => ReadEnd::Cancelled,
            // A task that is told to stop may say so by an error.
            Some(Err(_)) if cancel.is_cancelled() => ReadEnd::Cancelled,
            Some(Err(error)) => ReadEnd::Failed(self.named(error)),
        }
    }

    async fn read(&self) -> Result<std::result::Result<(), Gone>> {
        let Self { source, split, context, queue, meter, counters } = self;
        let name = &context.connector;
        let mut task = contain(name, "open", source.open(split, Position::Start, context.clone())).await?;
        let mut tracker = Tracker::default();
        while let Some(batch) = contain(name, "next", task.next()).await? {
            if batch.span().split != split.id || *batch.table() != split.table {
                return Err(
                    Error::fatal("the source delivered rows of another split").with("rows_of", &batch.span().split)
                );
            }
            tracker.advance(batch.span())?;
            let (rows, bytes) = (batch.rows().num_rows() as u64, batch.bytes() as u64);
            counters.polled.add(rows);
            if queue.send(Event::Changes(batch)).await.is_err() {
                return Ok(Err(Gone));
            }
            counters.written.add(rows);
            meter.delivered(rows, bytes);
        }
        let done = LoadEvent::SplitDone(split.table.clone(), split.id.clone());
        if queue.send(Event::Load(done)).await.is_err() {
            return Ok(Err(Gone));
        }
        contain(name, "close", task.close()).await?;
        meter.split_done(split.bytes);
        Ok(Ok(()))
    }

    fn named(&self, error: Error) -> Error {
        let error = if error.context("table").is_some() { error } else { error.with("table", &self.split.table) };
        if error.context("split").is_some() { error } else { error.with("split", &self.split.id) }
    }
}
