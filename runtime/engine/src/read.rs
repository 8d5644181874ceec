//! Reads one split into the queue. Follows the spans, so that a source's bug cannot lose or double a row
//! unseen, whether it is read in one go or in several; knows nothing of the other splits.

use std::sync::Arc;

use connector_api::{Counter, Error, Event, LoadEvent, Metrics, Result, Source, Split, TaskContext, Tracker};

use crate::contain::contain;
use crate::progress::TableMeter;
use crate::queue::{Gone, Sender};

/// How the reading of a split ended.
pub(crate) enum ReadEnd {
    /// All of it is in the queue, its end included.
    Done,
    /// It was told to stop.
    Cancelled,
    /// It failed; the error names table and split. What was delivered stays delivered.
    Failed(Error, Part),
    /// The queue has no reader any more; the sink's own end says why.
    SinkGone,
}

/// A split, how much of it is delivered, and how it fared.
pub(crate) struct Part {
    pub(crate) split: Split,
    tracker: Tracker,
    /// Failures in a row without a row delivered in between.
    pub(crate) failures: u32,
}

impl Part {
    /// A split of which nothing is delivered.
    pub(crate) fn new(split: Split) -> Self {
        Self { split, tracker: Tracker::default(), failures: 0 }
    }
}

/// The source's counters, under Kafka Connect's names.
#[derive(Clone)]
pub(crate) struct ReadCounters {
    polled: Counter,
    written: Counter,
    /// Attempts after a failure, of splits, tables and the load.
    pub(crate) retries: Counter,
}

impl ReadCounters {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let polled = metrics.counter("kafka_connect_source_task_source_record_poll", "Rows read from the source");
        let written =
            metrics.counter("kafka_connect_source_task_source_record_write", "Rows handed to the sink's queue");
        let retries = metrics.counter("kafka_connect_task_error_total_retries", "Attempts made again after a failure");
        Self { polled, written, retries }
    }
}

/// A split to be read and where to.
pub(crate) struct SplitReader {
    pub(crate) source: Arc<dyn Source>,
    pub(crate) part: Part,
    /// Its `cancel` is the table's.
    pub(crate) context: TaskContext,
    pub(crate) queue: Sender,
    pub(crate) meter: Arc<TableMeter>,
    pub(crate) counters: ReadCounters,
}

impl SplitReader {
    /// Reads, from where the last attempt came to, until the split's end, a failure or cancellation. In the
    /// latter cases the source's task is dropped.
    pub(crate) async fn run(mut self) -> ReadEnd {
        let cancel = self.context.cancel.clone();
        match cancel.run_until_cancelled(self.read()).await {
            Some(Ok(Ok(()))) => ReadEnd::Done,
            Some(Ok(Err(Gone))) => ReadEnd::SinkGone,
            None => ReadEnd::Cancelled,
            // A task that is told to stop may say so by an error.
            Some(Err(_)) if cancel.is_cancelled() => ReadEnd::Cancelled,
            Some(Err(error)) => ReadEnd::Failed(named(error, &self.part.split), self.part),
        }
    }

    async fn read(&mut self) -> Result<std::result::Result<(), Gone>> {
        let Self { source, part: Part { split, tracker, failures }, context, queue, meter, counters } = self;
        let name = &context.connector;
        let after = tracker.reached(&split.id);
        let mut task = contain(name, "open", source.open(split, after, context.clone())).await?;
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
            if rows > 0 {
                *failures = 0;
            }
            counters.written.add(rows);
            meter.delivered(rows, bytes);
        }
        // Closed before its end is told: a failure here is tried again, and the end is told once.
        contain(name, "close", task.close()).await?;
        let done = LoadEvent::SplitDone(split.table.clone(), split.id.clone());
        if queue.send(Event::Load(done)).await.is_err() {
            return Ok(Err(Gone));
        }
        meter.split_done(split.bytes);
        Ok(Ok(()))
    }
}

fn named(error: Error, split: &Split) -> Error {
    let error = if error.context("table").is_some() { error } else { error.with("table", &split.table) };
    if error.context("split").is_some() { error } else { error.with("split", &split.id) }
}
