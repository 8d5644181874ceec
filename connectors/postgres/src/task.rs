//! Reads one split: a thread that copies and decodes, and the task that hands its batches on.
//!
//! The channel between them holds one batch, so that a slow sink holds the server back and nothing piles
//! up. Ending the task early breaks the connection and has the server cancel the COPY; such a connection
//! is never used again.
//!
//! A row of many megabytes is in memory as received and as decoded. Of all the tasks of a source one at a time
//! receives such a row, and goes on to the next one only when whoever asked for it asks again.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use async_trait::async_trait;
use connector_api::{
    CancellationToken, ChangeBatch, Counter, Error, Position, Result, SourceTask, Span, SplitId, TaskContext, failpoint,
};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::cut::Session;
use crate::decode::{Decoder, Limits};
use crate::describe::Readable;
use crate::error::{Answer, Failure};
use crate::plan::Part;
use crate::wire::{Connection, CopySink, Lifeline};

/// A batch closes at so many bytes, or at a sixteenth of what the task may hold: one is being built, one waits in
/// the channel, one is with the caller, and what is freed of earlier ones is not given back at once.
const BATCH_BYTES: usize = 1 << 20;
/// Smallest bound on a batch, bytes, whatever the task may hold.
const LEAST_BATCH_BYTES: usize = 64 << 10;
/// How long the attempt to cancel a statement may take.
const CANCEL_PATIENCE: Duration = Duration::from_secs(2);

/// What to read.
pub(crate) struct Reading {
    pub(crate) table: Arc<Readable>,
    pub(crate) session: Arc<Session>,
    pub(crate) split: SplitId,
    pub(crate) part: Part,
    /// Rows to pass over.
    pub(crate) skip: u64,
    pub(crate) batch_rows: usize,
    /// One permit: who has it may receive a row of many megabytes.
    pub(crate) large: Arc<Semaphore>,
}

enum Message {
    /// Rows, and the permit if one of them needed it.
    Batch(ChangeBatch, Option<OwnedSemaphorePermit>),
    /// The split is complete: told apart from a thread that died.
    Complete,
}

/// The task of a split.
pub(crate) struct SplitTask {
    messages: mpsc::Receiver<Result<Message>>,
    cancel: CancellationToken,
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
    /// Of the rows that the caller has, until it asks for more.
    large: Option<OwnedSemaphorePermit>,
    ended: bool,
}

impl SplitTask {
    /// A task of a split that has been read already.
    pub(crate) fn ended() -> Self {
        let (_, messages) = mpsc::channel(1);
        let (cancel, stop) = (CancellationToken::new(), Arc::default());
        Self { messages, cancel, stop, thread: None, large: None, ended: true }
    }

    /// Starts reading.
    pub(crate) fn start(reading: Reading, context: &TaskContext) -> Result<Self> {
        let (sender, messages) = mpsc::channel(1);
        let stop = Arc::new(Stop::default());
        let limits =
            Limits { rows: reading.batch_rows, bytes: BATCH_BYTES.min(context.memory / 16).max(LEAST_BATCH_BYTES) };
        let copied = context.metrics.counter("postgres_copy_bytes", "Bytes of rows received from PostgreSQL.");
        let runtime = Handle::current();
        let reader = Reader { reading, limits, copied, runtime, stop: Arc::clone(&stop), sender };
        let thread = thread::Builder::new()
            .name("postgres-read".into())
            .spawn(move || reader.run())
            .map_err(|e| Error::retriable("no thread to read with").caused_by(e))?;
        Ok(Self { messages, cancel: context.cancel.clone(), stop, thread: Some(thread), large: None, ended: false })
    }
}

#[async_trait]
impl SourceTask for SplitTask {
    async fn next(&mut self) -> Result<Option<ChangeBatch>> {
        if self.ended {
            return Ok(None);
        }
        self.large = None;
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(stopped()),
            message = self.messages.recv() => match message {
                Some(Ok(Message::Batch(batch, large))) => {
                    self.large = large;
                    Ok(Some(batch))
                }
                Some(Ok(Message::Complete)) => {
                    self.ended = true;
                    Ok(None)
                }
                Some(Err(e)) => Err(e),
                None => Err(Error::fatal("the reading thread has ended before its split")),
            },
        }
    }

    async fn close(mut self: Box<Self>) -> Result<()> {
        let thread = self.thread.take();
        drop(self);
        if let Some(thread) = thread {
            // A panic of the thread has already shown as a missing end.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
        Ok(())
    }
}

impl Drop for SplitTask {
    fn drop(&mut self) {
        self.messages.close();
        self.stop.now();
    }
}

/// Ends the thread wherever it is: connecting, blocked on the socket, or sending a batch.
#[derive(Default)]
struct Stop(Mutex<Stopping>);

#[derive(Default)]
struct Stopping {
    asked: bool,
    /// The connection while its COPY runs.
    lifeline: Option<Lifeline>,
}

impl Stop {
    fn now(&self) {
        let mut state = self.state();
        state.asked = true;
        if let Some(lifeline) = &state.lifeline {
            lifeline.cut();
        }
    }

    fn asked(&self) -> bool {
        self.state().asked
    }

    /// From here on the connection may be cut.
    fn attach(&self, lifeline: Lifeline) -> Answer<()> {
        let mut state = self.state();
        if state.asked {
            return Err(Failure::Stopped(stopped()));
        }
        state.lifeline = Some(lifeline);
        Ok(())
    }

    /// From here on the connection is not cut. It has been if [`asked`](Self::asked).
    fn detach(&self) -> Option<Lifeline> {
        self.state().lifeline.take()
    }

    fn state(&self) -> MutexGuard<'_, Stopping> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stopped() -> Error {
    Error::retriable("the task was stopped")
}

/// The thread's side.
struct Reader {
    reading: Reading,
    limits: Limits,
    copied: Counter,
    runtime: Handle,
    stop: Arc<Stop>,
    sender: mpsc::Sender<Result<Message>>,
}

impl Reader {
    fn run(self) {
        let message = self.read().map(|()| Message::Complete).map_err(|e| {
            let e = if e.context("table").is_some() { e } else { e.with("table", self.reading.table.schema.table()) };
            e.with("split", &self.reading.split)
        });
        // Nobody listens any more: then nobody needs to know.
        let _ = self.sender.blocking_send(message);
    }

    fn read(&self) -> Result<()> {
        let Reading { table, session, part, skip, .. } = &self.reading;
        if self.stop.asked() {
            return Err(stopped());
        }
        let sql = table.copy(part).ok_or_else(|| Error::fatal("the split's part is not one of the table's"))?;
        let mut connection = session.worker()?;
        let decoder = Decoder::new(Arc::clone(&table.schema), &table.forms, self.limits, *skip);
        let mut pump = Pump { reader: self, decoder, delivered: *skip, received: 0, large: None };
        let copied = self.copy(&mut connection, &sql, &mut pump);
        let lifeline = self.stop.detach();
        if let Err(failure) = copied {
            // The server may still be sending; it is told, unless it was the one to end the exchange.
            if let (Some(lifeline), false) = (lifeline, matches!(failure, Failure::Server(_))) {
                lifeline.cancel_statement(CANCEL_PATIENCE);
            }
            if matches!(failure, Failure::Io(_)) {
                session.drop_idle();
            }
            let waited = failure.sqlstate() == Some("55P03");
            let error = failure.while_doing("reading rows");
            let remedy =
                "let the session that waits for ACCESS EXCLUSIVE on the table give up until the load has ended";
            return Err(if waited { error.with("remedy", remedy) } else { error });
        }
        pump.decoder.finish()?;
        pump.deliver()?;
        failpoint::hit("postgres.split-read")?;
        session.vouch(table)?;
        if !self.stop.asked() {
            session.give_back(connection);
        }
        Ok(())
    }

    fn copy(&self, connection: &mut Connection, sql: &str, pump: &mut Pump<'_>) -> Answer<()> {
        self.stop.attach(connection.lifeline()?)?;
        connection.copy_out(sql, pump)
    }
}

/// From COPY's payloads to the channel.
struct Pump<'a> {
    reader: &'a Reader,
    decoder: Decoder,
    /// Rows of the split handed on or passed over.
    delivered: u64,
    /// Bytes not yet counted.
    received: usize,
    large: Option<OwnedSemaphorePermit>,
}

impl Pump<'_> {
    fn deliver(&mut self) -> Result<()> {
        while let Some(rows) = self.decoder.take() {
            failpoint::hit("postgres.batch")?;
            let at = |n: u64| if n == 0 { Position::Start } else { Position::At(n) };
            let upto = self.delivered + rows.num_rows() as u64;
            let span = Span { split: self.reader.reading.split.clone(), after: at(self.delivered), upto: at(upto) };
            self.delivered = upto;
            let batch = ChangeBatch::new(Arc::clone(&self.reader.reading.table.schema), span, rows)?;
            // The large row is in the last of them.
            let large = if self.decoder.has_batch() { None } else { self.large.take() };
            self.reader.sender.blocking_send(Ok(Message::Batch(batch, large))).map_err(|_| stopped())?;
        }
        Ok(())
    }
}

impl CopySink for Pump<'_> {
    fn data(&mut self, buffer: &[u8], payload: Range<usize>) -> Result<()> {
        self.received += payload.len();
        self.decoder.push(buffer, payload)?;
        if self.decoder.has_batch() {
            self.deliver()?;
        }
        Ok(())
    }

    fn moving(&mut self, buffer: &[u8]) -> Result<()> {
        self.reader.copied.add(std::mem::take(&mut self.received) as u64);
        self.decoder.settle(buffer)?;
        self.deliver()
    }

    fn large(&mut self) -> Result<()> {
        // The one of a row that was passed over.
        self.large = None;
        let (gate, sender) = (Arc::clone(&self.reader.reading.large), &self.reader.sender);
        let permit = self.reader.runtime.block_on(async {
            tokio::select! {
                permit = gate.acquire_owned() => permit.ok(),
                () = sender.closed() => None,
            }
        });
        self.large = Some(permit.ok_or_else(stopped)?);
        Ok(())
    }
}
