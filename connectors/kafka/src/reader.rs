//! The thread that owns the consumer: polls, hands messages to their partitions, and sends on what comes of them.
//!
//! What must hold: a table that cannot go on stops alone; what a table's partitions deliver begins where the sink has
//! it; nothing blocks but the brokers, the registry, the sink's own answers and a full queue.

mod fail;
mod hold;
mod open;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use connector_api::{
    Counter, Deal, Error, ErrorKind, Gauge, LogEvent, Marks, Result, Sink, TableId, TaskContext, failpoint,
};
use connector_debezium::Message;
use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{Offset, TopicPartitionList};
use tokio::runtime::Handle;

use crate::config::KafkaConfig;
use crate::consumer::Consumer;
use crate::dead::DeadLetters;
use crate::ends::Ends;
use crate::fetch::{Queue, Record};
use crate::mark::Mark;
use crate::part::{Lane, Part, Step};
use crate::queue::{Closed, Inlet};
use crate::registry::Registry;
use crate::topics::{self, Topic};

/// How long a poll waits: commands are heard so often.
const POLL: Duration = Duration::from_millis(50);
/// Rows wait for more so long.
const LINGER: Duration = Duration::from_millis(200);
/// The end of a transaction is waited for so long after its last event.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often progress without rows is told, offsets are committed, and it is made sure that messages come.
const BEAT: Duration = Duration::from_secs(1);
/// So many messages are taken at once; the clock is looked at between.
const TAKEN: usize = 256;
/// Bytes of messages of one partition that make a batch: least and most.
const BATCH: (usize, usize) = (256 << 10, 8 << 20);

/// What the runtime's side asks.
pub(crate) enum Command {
    /// The table begins again, as this generation.
    Reopen(TableId, u64),
    /// Nothing more of the table is wanted.
    Stop(TableId),
    /// So far the table is durable.
    Durable(TableId, Marks),
}

/// The reader.
pub(crate) struct Reader {
    config: Arc<KafkaConfig>,
    /// Where the messages of the partitions come.
    queue: Queue,
    consumer: Consumer,
    dead: Option<DeadLetters>,
    registry: Option<Registry>,
    sink: Arc<dyn Sink>,
    /// Which topics are read.
    deal: Deal,
    runtime: Handle,
    inlet: Inlet,
    commands: Receiver<Command>,
    context: TaskContext,
    topics: BTreeMap<Arc<str>, Arc<Topic>>,
    /// Topics that are wanted by name, or were there, and were not when they were last looked for.
    missing: BTreeSet<Arc<str>>,
    parts: Vec<Part>,
    /// Transactions that have ended.
    ends: Ends,
    /// The sources whose transactions are told.
    told: BTreeSet<Arc<str>>,
    /// Whether no topic of transaction metadata is to be read any more.
    denied: bool,
    /// Where the parts of a topic are, by partition.
    places: HashMap<Arc<str>, Vec<usize>>,
    /// Where the last message's partition is.
    current: usize,
    /// Partitions that were assigned since messages were last taken: those that are left are not of it.
    assigned: Vec<usize>,
    /// Tables that were begun anew: how often.
    generations: HashMap<TableId, u64>,
    /// Tables that are not followed until they are reopened.
    stopped: HashMap<TableId, ()>,
    /// Bytes of messages of one partition that make a batch, and of all partitions together.
    batch: usize,
    all: usize,
    dirty: bool,
    counters: Counters,
}

struct Counters {
    repeated: Counter,
    loaded: Counter,
    set_aside: Counter,
    lag: Gauge,
    lag_ms: Gauge,
}

/// Why the reader ends.
enum End {
    /// Nobody listens.
    Closed,
    /// The log cannot go on.
    Failed(Error),
}

impl From<Closed> for End {
    fn from(_: Closed) -> Self {
        Self::Closed
    }
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Reader {
    /// A reader; it begins with [`run`](Self::run).
    ///
    /// # Errors
    /// What the registry's settings make impossible.
    pub(crate) fn new(
        config: Arc<KafkaConfig>,
        (consumer, dead): (Consumer, Option<DeadLetters>),
        sink: Arc<dyn Sink>,
        deal: Deal,
        runtime: Handle,
        (inlet, commands): (Inlet, Receiver<Command>),
        context: TaskContext,
    ) -> Result<Self> {
        let registry = config.registry.as_ref().map(|r| Registry::new(r, runtime.clone())).transpose()?;
        let m = &context.metrics;
        let counters = Counters {
            repeated: m.counter("debezium_events_repeated", "Events that Debezium delivered again, skipped"),
            loaded: m.counter("debezium_events_loaded", "Events that a load had already, skipped"),
            set_aside: m.counter(
                "kafka_connect_task_error_total_records_skipped",
                "Records that were set aside in the dead-letter queue",
            ),
            lag: m.gauge("kafka_consumer_fetch_manager_records_lag", "Messages that are not read yet"),
            lag_ms: m.gauge(
                "debezium_milliseconds_behind_source",
                "Age of the last event when it was read; 0 once all are read and none comes",
            ),
        };
        Ok(Self {
            batch: (context.memory / 8).clamp(BATCH.0, BATCH.1),
            all: (context.memory / 2).max(BATCH.0),
            config,
            queue: Queue::new(&consumer)?,
            consumer,
            dead,
            registry,
            sink,
            deal,
            runtime,
            inlet,
            commands,
            context,
            topics: BTreeMap::new(),
            missing: BTreeSet::new(),
            parts: Vec::new(),
            ends: Ends::default(),
            told: BTreeSet::new(),
            denied: false,
            places: HashMap::new(),
            current: 0,
            assigned: Vec::new(),
            generations: HashMap::new(),
            stopped: HashMap::new(),
            dirty: false,
            counters,
        })
    }

    /// Reads until nobody listens, or the log cannot go on, which is the last thing it says. Blocking.
    pub(crate) fn run(mut self) {
        if let Err(End::Failed(error)) = self.read() {
            // The other side may have gone meanwhile.
            let _ = self.inlet.send(0, Err(error));
        }
    }

    fn read(&mut self) -> Result<(), End> {
        let (mut looked, mut beaten) = (None::<Instant>, Instant::now());
        let mut quiet = true;
        loop {
            if !self.inlet.is_open() || self.context.cancel.is_cancelled() {
                return Err(End::Closed);
            }
            self.obey()?;
            let now = Instant::now();
            if looked.is_none_or(|at| now.duration_since(at) >= self.config.max_age) {
                self.look()?;
                looked = Some(Instant::now());
            }
            if now.duration_since(beaten) >= BEAT {
                self.beat(quiet)?;
                beaten = now;
            }
            // Serves what the client reports of itself.
            while let Some(event) = self.consumer.clone().inner().poll(Duration::ZERO) {
                match event {
                    // It is read again from where its table stands.
                    Ok(_) => return Err(Error::retriable("a message came past its queue").into()),
                    Err(error) => self.trouble(error)?,
                }
            }
            let mut fetched = self.queue.fetch(TAKEN, if quiet { POLL } else { Duration::ZERO });
            quiet = fetched.is_empty();
            self.assigned.clear();
            while let Some(message) = fetched.next() {
                match message {
                    Ok(message) => self.message(&message)?,
                    Err(error) => self.trouble(error)?,
                }
            }
            self.flush_due(quiet)?;
        }
    }

    /// Does what was asked.
    fn obey(&mut self) -> Result<(), End> {
        loop {
            match self.commands.try_recv() {
                Ok(Command::Reopen(table, generation)) => {
                    self.generations.insert(table.clone(), generation);
                    self.stopped.remove(&table);
                    self.reopen(&table)?;
                }
                Ok(Command::Stop(table)) => self.stop(&table)?,
                Ok(Command::Durable(table, marks)) => self.note_durable(&table, &marks),
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Disconnected) => return Err(End::Closed),
            }
        }
    }

    fn generation(&self, table: &TableId) -> u64 {
        self.generations.get(table).copied().unwrap_or(0)
    }

    /// Has the messages of every assigned partition come to our queue, those too that wait in their own: to give a
    /// partition back ends that, at a moment of the client's choosing, be the partition assigned again or not.
    fn forward(&self) -> Result<()> {
        let mut assigned = self.parts.iter().filter(|part| part.assigned);
        assigned.try_for_each(|part| self.queue.forward(&part.topic.name, part.number))
    }

    /// Where a message's partition is.
    fn place(&self, message: &Record<'_>) -> Option<usize> {
        let is = |part: &Part| part.number == message.partition() && message.is_of(&part.topic.name);
        // Mostly where the one before was.
        if self.parts.get(self.current).is_some_and(is) {
            return Some(self.current);
        }
        self.places.get(message.topic())?.get(message.partition() as usize).copied()
    }

    fn message(&mut self, message: &Record<'_>) -> Result<(), End> {
        let Some(at) = self.place(message) else { return Ok(()) };
        self.current = at;
        let part = &self.parts[at];
        if message.offset() < part.next || !part.assigned || self.assigned.contains(&at) {
            // Fetched before the partition was set to another offset.
            return Ok(());
        }
        let header = |name: &str| message.header(name);
        let record = Message { offset: message.offset(), key: message.key(), value: message.value(), header: &header };
        if self.parts[at].topic.is_of_transactions {
            return self.transaction(at, &record);
        }
        loop {
            let step = match self.parts[at].take(&record) {
                Ok(step) => step,
                Err(error) => match self.set_aside(at, message, &record, error)? {
                    None => return Ok(()),
                    Some(error) => return self.bad(at, message.offset(), error),
                },
            };
            match step {
                Step::Done | Step::Transaction(_) => return Ok(()),
                Step::Stop(error) => return self.bad(at, message.offset(), error),
                Step::Row => {
                    self.dirty = true;
                    let part = &mut self.parts[at];
                    if part.bytes >= self.batch {
                        part.due = !part.is_divided();
                        if !part.due {
                            self.flush(at)?;
                        }
                    }
                    return Ok(());
                }
                Step::Full => self.flush(at)?,
                Step::Truncate(table) if self.parts[at].topic.partitions > 1 => {
                    let error = Error::data(
                        "a truncation of a table whose topic has several partitions: which of the others' changes \
                         come before it cannot be told; load the table again (--no-resume)",
                    );
                    let error = self.parts[at].placed(error, message.offset());
                    return self.fail(&table, error);
                }
                Step::Truncate(table) => {
                    let truncated = self.parts[at].truncated(&table, &self.ends);
                    return self.send(truncated);
                }
                Step::Anew(table) => {
                    self.flush(at)?;
                    let truncated = self.parts[at].begin_snapshot_anew(&table, &self.ends);
                    self.send(truncated)?;
                }
                Step::Unknown(table) => {
                    self.discover(at, table)?;
                    if self.assigned.contains(&at) {
                        // It was set back: this one comes again after those that the table lacks.
                        return Ok(());
                    }
                }
                Step::Schema(schema, new) => {
                    self.flush(at)?;
                    if !new && self.hold(at, message.offset(), &schema)? {
                        return Ok(());
                    }
                    match self.reshape(at, *schema, new) {
                        Err(End::Failed(error)) => return self.bad(at, message.offset(), error),
                        done => done?,
                    }
                }
            }
        }
    }

    /// Takes in a record of transaction metadata. No table depends on it: what it is not is passed over.
    fn transaction(&mut self, at: usize, record: &Message<'_>) -> Result<(), End> {
        let part = &mut self.parts[at];
        match part.take(record) {
            Ok(Step::Transaction(transaction)) => self.ends.note(&part.source, transaction),
            Err(error) if error.kind() != ErrorKind::Data => {
                tracing::warn!(%error, "the ends of transactions are not told for now");
                return self.leave_transactions(at);
            }
            Err(error) => tracing::debug!(%error, "a record of transaction metadata is passed over"),
            Ok(_) => {}
        }
        self.parts[at].next = record.offset + 1;
        Ok(())
    }

    fn flush_due(&mut self, quiet: bool) -> Result<(), End> {
        if !self.dirty {
            return Ok(());
        }
        let full = self.parts.iter().map(|part| part.bytes).sum::<usize>() >= self.all;
        let now = Instant::now();
        self.dirty = false;
        for at in 0..self.parts.len() {
            let Some(opened) = self.parts[at].opened else { continue };
            let is_settled = self.is_settled(at, quiet, now);
            let part = &mut self.parts[at];
            let lingers = now.duration_since(opened) >= LINGER;
            let is_whole = is_settled || part.has_ended(&self.ends);
            if part.may_flush() && (full || (quiet || lingers) && is_whole) {
                self.flush_as(at, is_whole)?;
            } else {
                part.due |= lingers;
                self.dirty = true;
            }
        }
        Ok(())
    }

    /// Whether nothing more is to be expected of the last transaction of a partition. `quiet`: every message that is
    /// there was taken.
    fn is_settled(&mut self, at: usize, quiet: bool, now: Instant) -> bool {
        let part = &mut self.parts[at];
        let is_told = part.is_told() && self.told.contains(&part.source);
        let (long, at_most) = if is_told { (PATIENCE, PATIENCE * 4) } else { (LINGER, PATIENCE) };
        let silence = part.silence(now);
        // Of a producer's transactions the end of a partition is never come to.
        let end = || self.queue.end(&part.topic.name, part.number);
        let is_at_end = || quiet || end().is_none_or(|end| end <= part.next);
        let is_over = silence >= at_most || silence >= long && is_at_end();
        // A test that looks while a transaction is open, at whatever pace its machine has, makes this fail.
        is_over && (!is_told || failpoint::hit("kafka.give-up").is_ok())
    }

    fn flush(&mut self, at: usize) -> Result<(), End> {
        let whole = self.parts[at].has_ended(&self.ends);
        self.flush_as(at, whole)
    }

    fn flush_as(&mut self, at: usize, whole: bool) -> Result<(), End> {
        let last = self.parts[at].flush(whole, &self.ends)?;
        self.send(last)
    }

    fn send(&mut self, events: impl IntoIterator<Item = (u64, LogEvent)>) -> Result<(), End> {
        for (generation, event) in events {
            if let Some(dead) = &mut self.dead {
                dead.settle()?;
            }
            self.inlet.send(generation, Ok(event))?;
        }
        Ok(())
    }

    /// Tells progress without rows, and commits offsets for those who look at the group. `quiet`: every message that is
    /// there was taken.
    fn beat(&mut self, quiet: bool) -> Result<(), End> {
        self.measure(quiet);
        for at in 0..self.parts.len() {
            if self.parts[at].assigned {
                let is_settled = self.is_settled(at, false, Instant::now());
                let progress = self.parts[at].progress(is_settled, &self.ends)?;
                self.send(progress)?;
            }
            let skipped = std::mem::take(&mut self.parts[at].skipped);
            self.counters.repeated.add(skipped.repeated);
            self.counters.loaded.add(skipped.loaded);
        }
        self.admit(quiet)?;
        self.forward()?;
        self.commit_offsets();
        Ok(())
    }

    /// Tells how far reading is behind the brokers, and behind the source.
    fn measure(&mut self, quiet: bool) {
        let is_wanted = |part: &&Part| part.assigned || part.held.is_some() || !part.waits_for.is_empty();
        let wanted = self.parts.iter().filter(|part| !part.topic.is_of_transactions).filter(is_wanted);
        let unread = wanted.map(|p| self.consumer.unread(&p.topic.name, p.number, p.next, quiet).unwrap_or(0)).sum();
        self.counters.lag.set(unread);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
        // Of what was read since the last beat.
        let ages = self.parts.iter_mut().filter_map(|part| part.happened_ms.take()).map(|at| (now - at).max(0));
        match ages.max() {
            Some(oldest) => self.counters.lag_ms.set(oldest as u64),
            // A source without events is not behind.
            None if quiet && unread == 0 => self.counters.lag_ms.set(0),
            None => {}
        }
    }

    /// A failure that the client reports; what passes by itself is none of ours.
    fn trouble(&mut self, error: KafkaError) -> Result<(), End> {
        match error.rdkafka_error_code() {
            Some(
                Code::AllBrokersDown
                | Code::BrokerTransportFailure
                | Code::OperationTimedOut
                | Code::Resolve
                | Code::PartitionEOF
                | Code::NotLeaderForPartition
                | Code::LeaderNotAvailable
                | Code::UnknownTopicOrPartition
                | Code::UnknownTopic
                | Code::UnknownPartition,
            ) => Ok(()),
            // Whose it is the client does not say: what is not needed is done without first.
            Some(Code::TopicAuthorizationFailed) if !self.told.is_empty() => {
                tracing::warn!("a topic may not be read: the ends of transactions are not told from now on");
                self.denied = true;
                let parts: Vec<usize> = (0..self.parts.len()).collect();
                parts.into_iter().try_for_each(|at| self.leave_transactions(at))
            }
            // Which partition it is the client does not say: each is looked at.
            Some(Code::OffsetOutOfRange | Code::AutoOffsetReset | Code::NoOffset) => self.recheck(),
            _ => Err(End::Failed(self.consumer.unheard("reading from Kafka failed", error))),
        }
    }

    fn note_durable(&mut self, table: &TableId, marks: &Marks) {
        for part in &mut self.parts {
            let Some(lane) = part.lanes.get_mut(table) else { continue };
            lane.durable =
                marks.get(&part.name).and_then(|text| Mark::parse(text)).map(|mark| mark.next).or(lane.durable);
        }
    }

    /// Offsets of the group: for tools that show lag. Nothing resumes from them.
    fn commit_offsets(&mut self) {
        let mut list = TopicPartitionList::new();
        for part in &mut self.parts {
            let durable = part.lanes.values().map(|lane| lane.durable).min().flatten();
            if let Some(next) = durable {
                part.lanes.values_mut().for_each(|lane| lane.durable = None);
                // Fails only for a partition that is listed twice.
                let _ = list.add_partition_offset(&part.topic.name, part.number, Offset::Offset(next));
            }
        }
        if list.count() > 0
            && let Err(e) = self.consumer.inner().commit(&list, CommitMode::Async)
        {
            tracing::debug!(error = %e, "the group's offsets, which nothing resumes from, are not committed");
        }
    }
}
