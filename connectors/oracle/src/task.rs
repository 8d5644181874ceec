//! Reads one split: a thread that queries and decodes, and the task that hands its batches on.
//!
//! The channel between them holds one batch, so that a slow sink holds the server back and nothing piles up. A driver's
//! call cannot be interrupted: a thread that is told to stop does so when its round trip has ended, at the latest by
//! `database.call.timeout.ms`, and nobody waits for it.
//!
//! A split that is opened again is read again from its start, and must be what it was: each batch's digest is compared
//! with that of when it was first read, and if one differs the table begins anew.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use connector_api::{
    CancellationToken, ChangeBatch, Counter, Error, Position, Result, SourceTask, Span, SplitId, TaskContext, failpoint,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::cut::{Snapshot, longest_lob};
use crate::decode::{Decoder, Limits, digest};
use crate::describe::Readable;
use crate::error::{Answer, Failure};
use crate::plan::Part;
use crate::session::{Query, Session, contained};

/// A batch closes at so many bytes, or at a sixteenth of what the task may hold: one is being built, one waits in the
/// channel, one is with the caller, and what is freed of earlier ones is not given back at once.
const BATCH_BYTES: usize = 1 << 20;
/// Smallest bound on a batch, bytes, whatever the task may hold.
const LEAST_BATCH_BYTES: usize = 64 << 10;
/// LOBs up to this length, characters or bytes, come within their rows; longer ones are read one by one.
const INLINE_LOB: u64 = 256 << 10;
/// Of splits with LOBs above this length, characters or bytes, one at a time is read, from the first of them on.
const LARGE_LOB: u64 = 1 << 20;
/// Bytes of a character, at most.
const CHARACTER: u64 = 4;
/// How long the end of a task waits for its thread.
const PATIENCE: Duration = Duration::from_secs(1);

/// What to read.
pub(crate) struct Reading {
    pub(crate) table: Arc<Readable>,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) split: SplitId,
    pub(crate) part: Part,
    /// Rows that were handed on before.
    pub(crate) skip: u64,
    pub(crate) batch_rows: usize,
    pub(crate) lob_cap: u64,
    /// One permit: who has it may read LOBs of many megabytes.
    pub(crate) large: Arc<Semaphore>,
    /// Where an SCN is noted that can be read no more.
    pub(crate) expired: Arc<Mutex<Option<u64>>>,
}

enum Message {
    Batch(ChangeBatch),
    /// The split is complete: told apart from a thread that died.
    Complete,
}

/// The task of a split.
pub(crate) struct SplitTask {
    messages: mpsc::Receiver<Result<Message>>,
    cancel: CancellationToken,
    stop: Arc<AtomicBool>,
    /// Answers when the thread has ended.
    thread: Option<oneshot::Receiver<()>>,
    ended: bool,
}

impl SplitTask {
    /// A task of a split that has been read already.
    pub(crate) fn ended() -> Self {
        let (_, messages) = mpsc::channel(1);
        Self { messages, cancel: CancellationToken::new(), stop: Arc::default(), thread: None, ended: true }
    }

    /// Starts reading.
    pub(crate) fn start(reading: Reading, context: &TaskContext) -> Result<Self> {
        let (sender, messages) = mpsc::channel(1);
        let (alive, thread) = oneshot::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let limits = Limits {
            rows: reading.batch_rows,
            bytes: BATCH_BYTES.min(context.memory / 16).max(LEAST_BATCH_BYTES),
            lob: reading.lob_cap,
        };
        let rows = context.metrics.counter("oracle_rows", "Rows received from Oracle, those read again included.");
        let reader = Reader { reading, limits, rows, stop: Arc::clone(&stop), sender };
        let run = move || {
            reader.run();
            drop::<oneshot::Sender<()>>(alive);
        };
        thread::Builder::new()
            .name("oracle-read".into())
            .spawn(run)
            .map_err(|e| Error::retriable("no thread to read with").caused_by(e))?;
        Ok(Self { messages, cancel: context.cancel.clone(), stop, thread: Some(thread), ended: false })
    }
}

#[async_trait]
impl SourceTask for SplitTask {
    async fn next(&mut self) -> Result<Option<ChangeBatch>> {
        if self.ended {
            return Ok(None);
        }
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(stopped()),
            message = self.messages.recv() => match message {
                Some(Ok(Message::Batch(batch))) => Ok(Some(batch)),
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
            let _ = tokio::time::timeout(PATIENCE, thread).await;
        }
        Ok(())
    }
}

impl Drop for SplitTask {
    fn drop(&mut self) {
        self.messages.close();
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn stopped() -> Error {
    Error::retriable("the task was stopped")
}

/// The thread's side.
struct Reader {
    reading: Reading,
    limits: Limits,
    rows: Counter,
    stop: Arc<AtomicBool>,
    sender: mpsc::Sender<Result<Message>>,
}

impl Reader {
    fn run(self) {
        let read = contained(|| self.read().map_err(Failure::Stopped)).map_err(|e| e.while_doing("reading rows"));
        let message = read.map(|()| Message::Complete).map_err(|e| {
            let e = if e.context("table").is_some() { e } else { e.with("table", self.reading.table.schema.table()) };
            e.with("split", &self.reading.split)
        });
        // Nobody listens any more: then nobody needs to know.
        let _ = self.sender.blocking_send(message);
    }

    fn read(&self) -> Result<()> {
        let Reading { table, snapshot, split, .. } = &self.reading;
        self.go_on().map_err(|e| e.while_doing("reading rows"))?;
        let mut session = snapshot.worker()?;
        let mut pump = Pump { reader: self, at: 0, reached: 0, large: None };
        if let Err(failure) = self.query(&mut *session, &mut pump) {
            let expired = failure.is_expired_scn();
            let lost = matches!(failure, Failure::Lost(_) | Failure::Driver(_));
            let error = match expired {
                true => snapshot.expired(split, failure, &mut *session),
                false => failure.while_doing("reading rows"),
            };
            if error.is_cut_lost() && expired {
                *self.reading.expired.lock().unwrap_or_else(PoisonError::into_inner) = Some(snapshot.scn);
            }
            session.abandon();
            if lost {
                snapshot.drop_idle();
            }
            return Err(error);
        }
        failpoint::hit("oracle.split-read")?;
        match snapshot.vouch(&mut *session, table) {
            Ok(()) => snapshot.give_back(session),
            Err(e) => {
                session.abandon();
                return Err(e);
            }
        }
        Ok(())
    }

    fn query(&self, session: &mut dyn Session, pump: &mut Pump<'_>) -> Answer<()> {
        let Reading { table, snapshot, part, batch_rows, .. } = &self.reading;
        let longest = match table.longest_lobs(part, snapshot.scn) {
            Some(ask) => longest_lob(session, &ask)?,
            None => 0,
        };
        let locators = table.makes_lobs() || longest > INLINE_LOB;
        let lobs = if locators { 0 } else { longest * CHARACTER };
        let ask = table.select(part, snapshot.scn);
        let fetch = table.fetch(session.major_version(), *batch_rows, lobs);
        let query = Query { sql: &ask.sql, binds: &ask.binds, fetch, locators };
        let mut decoder = Decoder::new(Arc::clone(&table.schema), &table.forms, self.limits, locators);
        session.query(&query, &mut |row| {
            if let Some(batch) = decoder.push(row, &mut |length| pump.admit(length))? {
                pump.deliver(batch)?;
            }
            Ok(())
        })?;
        if let Some(batch) = decoder.finish()? {
            pump.deliver(batch)?;
        }
        match pump.reached < self.reading.skip {
            true => Err(Failure::Stopped(unknown())),
            false => Ok(()),
        }
    }

    /// Waits until no other split with large LOBs is being read.
    fn turn(&self) -> Answer<OwnedSemaphorePermit> {
        loop {
            self.go_on()?;
            match Arc::clone(&self.reading.large).try_acquire_owned() {
                Ok(permit) => return Ok(permit),
                Err(_) => thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    fn go_on(&self) -> Answer<()> {
        match self.stop.load(Ordering::Relaxed) {
            true => Err(Failure::Stopped(stopped())),
            false => Ok(()),
        }
    }
}

fn unknown() -> Error {
    Error::cut_lost("what was read of a split before is not known: its table begins anew")
}

/// From batches to the channel.
struct Pump<'a> {
    reader: &'a Reader,
    /// Batches so far.
    at: usize,
    /// Rows of the split so far.
    reached: u64,
    large: Option<OwnedSemaphorePermit>,
}

impl Pump<'_> {
    /// Waits for the turn of a split with a LOB of this length.
    fn admit(&mut self, length: u64) -> Answer<()> {
        if length > LARGE_LOB && self.large.is_none() {
            self.large = Some(self.reader.turn()?);
        }
        Ok(())
    }

    fn deliver(&mut self, rows: RecordBatch) -> Answer<()> {
        let Reading { table, snapshot, split, skip, .. } = &self.reader.reading;
        self.reader.go_on()?;
        let count = rows.num_rows() as u64;
        self.reader.rows.add(count);
        let (start, end) = (self.reached, self.reached + count);
        let known = snapshot.same_as_before(split, self.at, (count, digest(&rows))).map_err(Failure::Stopped)?;
        (self.at, self.reached) = (self.at + 1, end);
        if start < *skip && !known {
            return Err(Failure::Stopped(unknown()));
        }
        // The caller has the first of them, or all.
        let first = start.max(*skip);
        if first >= end {
            return Ok(());
        }
        failpoint::hit("oracle.batch").map_err(Failure::Stopped)?;
        let rows = rows.slice((first - start) as usize, (end - first) as usize);
        let at = |n: u64| if n == 0 { Position::Start } else { Position::At(n) };
        let span = Span { split: split.clone(), after: at(first), upto: at(end) };
        let batch = ChangeBatch::new(Arc::clone(&table.schema), span, rows).map_err(Failure::Stopped)?;
        let sent = self.reader.sender.blocking_send(Ok(Message::Batch(batch)));
        sent.map_err(|_| Failure::Stopped(stopped()))
    }
}
