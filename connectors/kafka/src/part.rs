//! One partition of a topic: its messages in their order, decoded, judged and gathered per table.
//!
//! What must hold: what a batch of a table covers begins where its last one ended; a message counts for a table once
//! its row is in an open batch, or when it is known to come to nothing for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use connector_api::{Error, ErrorKind, LogEvent, LogSpan, Result, TableId, TableSchema, Told};
use connector_debezium::{Decoder, Keep, Message, Op, Pushed, Snapshot, SourcePosition, Table, Transaction};

use crate::convert;
use crate::cut::Seen;
use crate::ends::Ends;
use crate::held::{Held, has_columns_of};
use crate::mark::{Mark, SNAPSHOT, Verdict};
use crate::topics::{self, Topic};

const TIE: &str = "an event of a table without a key that cannot be told from one delivered twice, since several rows \
                   share its place in the source's log: set Debezium's provide.transaction.metadata to true, or \
                   keyless.redelivery=accept to take it";
const TIE_OF_KEYED: &str = "an event that cannot be told from one delivered twice, since several rows share its place in the \
                            source's log, and that changes a key or lacks values which did not change: applied twice \
                            it may damage another row; set Debezium's provide.transaction.metadata to true, and load \
                            the table again (--no-resume)";

/// A table as far as one partition is concerned.
pub(crate) struct Lane {
    pub(crate) schema: Arc<TableSchema>,
    pub(crate) cut: Option<Arc<Seen>>,
    /// After the last message that counted.
    pub(crate) mark: Mark,
    /// Up to where batches were delivered, as the sink has it.
    pub(crate) delivered: Option<Arc<str>>,
    /// Which beginning of the table this is.
    pub(crate) generation: u64,
    /// Whether nothing more of it is wanted.
    pub(crate) stopped: bool,
    /// Whether the last row is half of a change of a key: its twin must be in the same batch.
    awaits_twin: bool,
    /// Whether the last row was such a half, wherever it is now: what follows at its place is its twin.
    moved: bool,
    /// The transaction of the last event, unless another has begun since, and the event's number among those of the table
    /// in it.
    tail: Option<(u64, Option<u64>)>,
    /// Whether what was delivered ends within a transaction, as far as is known.
    torn: bool,
    /// Up to where the sink has it, as far as is known: for the offsets of the group.
    pub(crate) durable: Option<i64>,
}

impl Lane {
    pub(crate) fn new(schema: Arc<TableSchema>, cut: Option<Arc<Seen>>, mark: Mark, generation: u64) -> Self {
        Self {
            schema,
            cut,
            mark,
            delivered: None,
            generation,
            stopped: false,
            awaits_twin: false,
            moved: false,
            tail: None,
            torn: false,
            durable: None,
        }
    }
}

/// What a message came to.
pub(crate) enum Step {
    /// It is done with.
    Done,
    /// A row was added to an open batch.
    Row,
    /// Every row of the table is gone. It is done with.
    Truncate(TableId),
    /// Every row of the table, of a snapshot that was given up, is to go; what is open first. The message is to be
    /// taken again.
    Anew(TableId),
    /// An event of a table that nothing is known of. The message is to be taken again.
    Unknown(TableId),
    /// The table is to be this. The message is to be taken again.
    Schema(Box<TableSchema>, bool),
    /// It is not to be applied, nor anything after it, whatever it holds.
    Stop(Error),
    /// What is open must be taken first. The message is to be taken again.
    Full,
    /// A topic of transaction metadata tells of one.
    Transaction(Transaction),
}

/// What was skipped, for the counters.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Skipped {
    pub(crate) repeated: u64,
    pub(crate) loaded: u64,
}

/// A partition.
pub(crate) struct Part {
    pub(crate) topic: Arc<Topic>,
    pub(crate) number: i32,
    /// What it is called in marks.
    pub(crate) name: Arc<str>,
    /// The source that it is of.
    pub(crate) source: Arc<str>,
    decoder: Decoder,
    pub(crate) lanes: BTreeMap<TableId, Lane>,
    /// Tables that the sink is known not to have.
    pub(crate) absent: BTreeSet<TableId>,
    /// The next offset that is read.
    pub(crate) next: i64,
    /// From where on every message has been read since the partition was last assigned.
    pub(crate) began: i64,
    /// The first offset that there was when it last began.
    pub(crate) low: i64,
    /// Whether messages of it are wanted from the broker.
    pub(crate) assigned: bool,
    /// How many partitions the topic had when this one was found: those before it are older.
    pub(crate) older: i32,
    /// Until what is applied of older partitions this one waits (P22): their numbers, and offsets.
    pub(crate) waits_for: Vec<(i32, i64)>,
    /// What older partitions have to come to before this one goes on with more columns.
    pub(crate) after: Vec<(i32, i64)>,
    /// What it waits before, if it does: then nothing is wanted from the broker.
    pub(crate) held: Option<Held>,
    /// The message that it waited before and may take now.
    pub(crate) passes: Option<i64>,
    /// When the first of the open rows came.
    pub(crate) opened: Option<Instant>,
    /// Bytes of messages that the open rows came in.
    pub(crate) bytes: usize,
    accepts_ties: bool,
    /// The transaction of the last event that was applied.
    tail: Option<u64>,
    /// Whether the open rows are to be taken where the next transaction begins.
    pub(crate) due: bool,
    /// Whether the next message is of another transaction than what is open.
    at_border: bool,
    /// Whether an event was applied since silence was last asked for, and when that was found.
    stirred: bool,
    heard: Option<Instant>,
    pub(crate) skipped: Skipped,
    /// When the last event happened at the source, milliseconds since 1970.
    pub(crate) happened_ms: Option<i64>,
}

impl Part {
    pub(crate) fn new(topic: Arc<Topic>, number: i32, mut decoder: Decoder, accepts_ties: bool) -> Self {
        let name = topic.partition_name(number);
        if topic.partitions > 1 {
            decoder.divide();
        }
        let source = Arc::from(topic.source());
        Self {
            topic,
            number,
            name,
            source,
            decoder,
            lanes: BTreeMap::new(),
            absent: BTreeSet::new(),
            next: 0,
            began: 0,
            low: 0,
            assigned: false,
            older: 0,
            waits_for: Vec::new(),
            after: Vec::new(),
            held: None,
            passes: None,
            opened: None,
            bytes: 0,
            accepts_ties,
            tail: None,
            due: false,
            at_border: false,
            stirred: false,
            heard: None,
            skipped: Skipped::default(),
            happened_ms: None,
        }
    }

    /// The topic has become this one: of the same id, with more partitions.
    pub(crate) fn grow(&mut self, topic: Arc<Topic>) {
        self.topic = topic;
        self.decoder.divide();
    }

    /// Whether it may have changes of a table.
    pub(crate) fn concerns(&self, table: &TableId) -> bool {
        self.lanes.contains_key(table) || self.absent.contains(table) || self.topic.table().as_ref() == Some(table)
    }

    /// Adds a table that the sink has, or is about to have. What was open of it must have been taken.
    ///
    /// # Errors
    /// `Data` for a column of a type that no event has.
    pub(crate) fn open(&mut self, lane: Lane, whole_before: bool) -> Result<()> {
        self.set_table(&lane.schema, whole_before)?;
        let table = lane.schema.table().clone();
        self.absent.remove(&table);
        self.lanes.insert(table, lane);
        Ok(())
    }

    /// Nothing is known of a table any more. What was open of other tables must have been taken.
    pub(crate) fn forget(&mut self, table: &TableId) {
        self.lanes.remove(table);
        self.absent.remove(table);
        self.decoder.forget(table);
        self.let_go(table);
    }

    /// The table is this from now on.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(crate) fn set_table(&mut self, schema: &Arc<TableSchema>, whole_before: bool) -> Result<()> {
        if let Some(lane) = self.lanes.get_mut(schema.table()) {
            lane.schema = Arc::clone(schema);
        }
        let whole_before = whole_before || schema.key().is_empty();
        let left_out = schema.left_out().to_vec();
        self.decoder.set_table(Table { schema: Arc::clone(schema), whole_before, left_out })
    }

    /// Whether every table that is known here was stopped, and none is to be heard of: a topic that has no table's name may
    /// have events of another yet.
    pub(crate) fn is_idle(&self) -> bool {
        self.lanes.values().all(|lane| lane.stopped)
            && self.lanes.keys().any(|table| topics::is_of(&self.topic.name, table))
    }

    /// No longer waits before a message of that table; gives whether it did.
    pub(crate) fn let_go(&mut self, table: &TableId) -> bool {
        self.passes = None;
        self.held.take_if(|held| held.table() == table).is_some()
    }

    /// Whether no change of a table comes here that lacks one of these columns.
    pub(crate) fn is_beyond(&self, schema: &TableSchema) -> bool {
        let lane = self.lanes.get(schema.table());
        self.is_idle() || lane.is_some_and(|lane| lane.stopped || has_columns_of(&lane.schema, schema))
    }

    /// Whether no message was passed over that there was.
    pub(crate) fn has_all(&self) -> bool {
        let from = if self.assigned { self.began } else { self.next };
        from <= self.low
    }

    /// Takes a message.
    ///
    /// # Errors
    /// `Data` for one that cannot be applied, by topic, partition and offset, and by its table if that is known; any
    /// other kind is the registry's. Nothing of the message was taken.
    pub(crate) fn take(&mut self, message: &Message<'_>) -> Result<Step> {
        let is_divided = self.is_divided();
        let Self { decoder, lanes, absent, accepts_ties, .. } = self;
        let (due, tail) = (self.due && self.opened.is_some(), self.tail);
        let mut at_border = false;
        let mut of = None;
        let offset = message.offset;
        let (mut judged, mut unknown) = (None, None);
        let happened = &mut self.happened_ms;
        // For the only time that it is asked.
        let mut lanes = Some(lanes);
        let mut keep = |table: &TableId, position: &SourcePosition| {
            *happened = position.ts_ms.or(*happened);
            let Some(lane) = lanes.take().and_then(|lanes| lanes.get_mut(table)) else {
                let is_absent = absent.contains(table);
                if is_absent {
                    return Keep::Yes;
                }
                unknown = Some(table.clone());
                return Keep::No;
            };
            if lane.stopped || offset < lane.mark.next {
                return Keep::No;
            }
            let has_key = !lane.schema.key().is_empty();
            let (mut verdict, after) = lane.mark.judge(position, lane.cut.as_deref(), has_key);
            if verdict == Verdict::ApplyAnew && is_divided {
                // What other partitions have of the rows that go cannot be told from what they have of those that come.
                verdict = Verdict::Stop(SNAPSHOT);
            }
            let mut kept = Keep::Yes;
            if verdict == Verdict::Tie {
                // A repeated row is the same row, but where it builds on one before it: that may be another's by now.
                kept = if has_key && !lane.moved { Keep::IfIndependent } else { Keep::Yes };
                verdict = if has_key || *accepts_ties { Verdict::Apply } else { Verdict::Stop(TIE) };
            }
            if verdict == Verdict::Apply {
                // A snapshot's rows are of none.
                let transaction = position.transaction.filter(|_| position.snapshot == Snapshot::No);
                if due && tail != transaction {
                    at_border = true;
                    return Keep::No;
                }
                of = transaction.map(|transaction| (transaction, position.table_order));
            }
            judged = Some((lane, verdict, after));
            if verdict == Verdict::Apply { kept } else { Keep::No }
        };
        let pushed = decoder.push(message, &mut keep)?;
        if at_border {
            self.at_border = true;
            return Ok(Step::Full);
        }
        if let Some(table) = unknown {
            return Ok(Step::Unknown(table));
        }
        match &judged {
            Some((lane, Verdict::Stop(why), _)) => {
                let error = Error::data(*why).with("table", lane.schema.table());
                return Ok(Step::Stop(self.placed(error, offset)));
            }
            Some((lane, Verdict::ApplyAnew, _)) => return Ok(Step::Anew(lane.schema.table().clone())),
            _ => {}
        }
        let mut awaits_twin = false;
        let step = match pushed {
            Pushed::Schema { schema, new } => return Ok(Step::Schema(schema, new)),
            Pushed::Full => return Ok(Step::Full),
            Pushed::Dependent => {
                let table = judged.as_ref().map_or_else(String::new, |(lane, ..)| lane.schema.table().to_string());
                return Ok(Step::Stop(self.placed(Error::data(TIE_OF_KEYED).with("table", table), offset)));
            }
            // What is open must not be said to cover it.
            Pushed::Truncate if self.opened.is_some() => return Ok(Step::Full),
            Pushed::Row(op) => {
                awaits_twin = op == Op::Moved;
                self.opened.get_or_insert_with(Instant::now);
                self.bytes += message.value.map_or(0, <[u8]>::len);
                Step::Row
            }
            Pushed::Truncate => {
                judged.as_ref().map_or(Step::Done, |(lane, ..)| Step::Truncate(lane.schema.table().clone()))
            }
            Pushed::Transaction(transaction) => Step::Transaction(transaction),
            Pushed::Skipped(_) => Step::Done,
        };
        if let Some((lane, verdict, after)) = judged {
            match verdict {
                Verdict::Repeated => self.skipped.repeated += 1,
                Verdict::Loaded => self.skipped.loaded += 1,
                _ => {}
            }
            lane.mark = Mark { next: offset + 1, ..after };
            if matches!(step, Step::Row) {
                (lane.awaits_twin, lane.moved) = (awaits_twin, awaits_twin);
            }
            if verdict == Verdict::Apply {
                lane.tail = of;
                self.stirred = true;
                let transaction = of.map(|(transaction, _)| transaction);
                if std::mem::replace(&mut self.tail, transaction) != transaction {
                    // What other tables had of the one before has come. This one is ahead of the message.
                    let others = self.lanes.values_mut().filter(|lane| lane.mark.next <= offset);
                    others.for_each(|lane| lane.tail = None);
                }
            }
        }
        self.next = offset + 1;
        Ok(step)
    }

    /// The table that a record which could not be decoded is of, if it may be passed over: it is known which table that is
    /// and, where rows have keys, which row. One that is of another shape than the table may not: so would be all that
    /// follow it. Nothing of it was taken.
    ///
    /// # Errors
    /// What the registry says of a key's schema: the record is to be taken again.
    pub(crate) fn may_pass_over(&mut self, message: &Message<'_>, error: &Error) -> Result<Option<TableId>> {
        let table = match error.context("table") {
            Some(name) => self.lanes.keys().find(|t| t.to_string() == name),
            None => self.lanes.keys().next().filter(|_| self.lanes.len() == 1),
        };
        let is_of_record = error.kind() == ErrorKind::Data && error.context("part") != Some("schema");
        let Some(table) = table.cloned().filter(|_| is_of_record) else { return Ok(None) };
        match self.decoder.read_key(message, &table) {
            Ok(()) => Ok(Some(table)),
            Err(unread) if unread.kind() == ErrorKind::Data => Ok(None),
            // Whether it can be read is not known.
            Err(unknown) => Err(unknown),
        }
    }

    /// Passes over such a record.
    pub(crate) fn pass_over(&mut self, offset: i64, table: &TableId) {
        if let Some(lane) = self.lanes.get_mut(table) {
            // Of a half that was taken it may have been the other.
            (lane.awaits_twin, lane.moved) = (false, false);
            if offset >= lane.mark.next {
                lane.mark = Mark { next: offset + 1, rejected: lane.mark.rejected + 1, ..lane.mark.clone() };
            }
        }
        self.next = offset + 1;
    }

    /// Whether the open rows can be taken without dividing a change of a key. In one partition only are its halves
    /// neighbours.
    pub(crate) fn may_flush(&self) -> bool {
        self.topic.partitions > 1 || !self.lanes.values().any(|lane| lane.awaits_twin && !lane.stopped)
    }

    /// Whether its transactions cannot be told apart, for the events of each are in several partitions.
    pub(crate) fn is_divided(&self) -> bool {
        self.topic.partitions > 1
    }

    /// Whether the last transaction of every table is known to have ended.
    pub(crate) fn has_ended(&self, ends: &Ends) -> bool {
        let mut lanes = self.lanes.iter().filter(|(_, lane)| !lane.stopped);
        self.is_divided() || lanes.all(|(table, lane)| has_ended(&self.source, table, lane, ends))
    }

    /// Whether the last event says which one it is in its transaction, so that the end of that is told.
    pub(crate) fn is_told(&self) -> bool {
        self.lanes.values().any(|lane| matches!(lane.tail, Some((_, Some(_)))))
    }

    /// For how long no event has been applied.
    pub(crate) fn silence(&mut self, now: Instant) -> Duration {
        if std::mem::take(&mut self.stirred) {
            self.heard = Some(now);
        }
        self.heard.map_or(Duration::MAX, |heard| now.duration_since(heard))
    }

    /// Takes the open rows, a batch for each table that has some, and tells of the others that have become whole.
    /// `whole`: every transaction so far has ended.
    ///
    /// # Errors
    /// `Fatal`: a bug.
    pub(crate) fn flush(&mut self, whole: bool, ends: &Ends) -> Result<Vec<(u64, LogEvent)>> {
        let whole = std::mem::take(&mut self.at_border) || whole;
        (self.opened, self.bytes, self.due) = (None, 0, false);
        let mut events = Vec::new();
        for batch in self.decoder.take()? {
            let Some(lane) = self.lanes.get_mut(batch.schema.table()) else {
                return Err(Error::fatal("rows of a table that is not followed").with("table", batch.schema.table()));
            };
            if lane.stopped {
                continue;
            }
            lane.awaits_twin = false;
            let span = span(&self.name, lane, self.next, whole);
            events.push((lane.generation, LogEvent::Changes(convert::batch(batch, span)?)));
        }
        if whole && self.lanes.values().any(|lane| lane.torn) {
            events.extend(self.progress(whole, ends)?);
        }
        Ok(events)
    }

    /// What moves tables forward of which there were no rows, and tells which transactions have become whole;
    /// `whole`: all have.
    ///
    /// # Errors
    /// `Fatal`: a bug.
    pub(crate) fn progress(&mut self, whole: bool, ends: &Ends) -> Result<Vec<(u64, LogEvent)>> {
        let mut events = Vec::new();
        if self.opened.is_some() {
            return Ok(events);
        }
        for (table, lane) in self.lanes.iter_mut().filter(|(_, lane)| !lane.stopped) {
            let reached = Mark { next: self.next.max(lane.mark.next), ..lane.mark.clone() };
            // One that is ahead of the partition, which was set back for another, has not ended with it.
            let whole = !lane.mark.replaces
                && (!lane.torn || whole && lane.mark.next <= self.next || has_ended(&self.source, table, lane, ends));
            let is_new = lane.delivered.as_deref() != Some(reached.to_string().as_str()) && reached.next > 0;
            if is_new || lane.torn && whole {
                let span = span(&self.name, lane, self.next, whole);
                events.push((lane.generation, LogEvent::Changes(convert::nothing(&lane.schema, span)?)));
            }
        }
        Ok(events)
    }

    /// Every row of a table is gone. What was open must have been taken.
    pub(crate) fn truncated(&mut self, table: &TableId, ends: &Ends) -> Option<(u64, LogEvent)> {
        let lane = self.lanes.get_mut(table)?;
        let whole = has_ended(&self.source, table, lane, ends);
        let span = span(&self.name, lane, self.next, whole);
        Some((lane.generation, LogEvent::Truncate(table.clone(), span)))
    }

    /// The rows of a table go, for a snapshot begins: those of one that was given up, or others, which it replaces. What was
    /// open must have been taken.
    pub(crate) fn begin_snapshot_anew(&mut self, table: &TableId, ends: &Ends) -> Option<(u64, LogEvent)> {
        let lane = self.lanes.get_mut(table)?;
        lane.mark = lane.mark.anew(lane.cut.is_some());
        if lane.mark.replaces {
            tracing::info!(%table, "Debezium sends a snapshot: it takes the place of the table's rows once all of it is there");
        }
        self.truncated(table, ends)
    }

    /// Says where an error lies.
    pub(crate) fn placed(&self, error: Error, offset: i64) -> Error {
        error.with("topic", &self.topic.name).with("partition", self.number).with("offset", offset)
    }
}

/// A partition's name without its topic's id.
fn label(partition: &Arc<str>) -> Arc<str> {
    partition.split_once('@').map_or_else(|| Arc::clone(partition), |(label, _)| label.into())
}

/// Whether the last transaction of a table is known to have ended.
fn has_ended(source: &Arc<str>, table: &TableId, lane: &Lane, ends: &Ends) -> bool {
    let Some((transaction, order)) = lane.tail else { return true };
    order.is_some_and(|order| ends.events(source, transaction, table).is_some_and(|events| events <= order))
}

/// What a lane's next event covers.
fn span(partition: &Arc<str>, lane: &mut Lane, next: i64, whole: bool) -> LogSpan {
    let whole = whole && !lane.mark.replaces;
    lane.torn = !whole;
    // A lane may be ahead of the partition, which was set back for another.
    lane.mark.next = lane.mark.next.max(next);
    let upto: Arc<str> = Arc::from(lane.mark.to_string());
    let after = lane.delivered.replace(Arc::clone(&upto));
    let told = Told { partition: label(partition), next: lane.mark.next, rejected: lane.mark.rejected };
    LogSpan { partition: Arc::clone(partition), after, upto, whole, told: Some(Box::new(told)) }
}

#[cfg(test)]
mod tests {
    use arrow_schema::DataType;
    use connect_tests::events::Events;
    use connect_tests::kafka;
    use connector_api::Column;
    use connector_debezium::{Format, Modes, PLACEHOLDER, Settings};

    use super::*;
    use crate::registry::NoRegistry;

    /// A partition that has nothing of `public.t`.
    fn part(has_key: bool, accepts_ties: bool) -> Part {
        let settings = Settings {
            topic: "s.public.t".into(),
            partition: 0,
            key: Format::Json,
            value: Format::Json,
            modes: Modes { placeholder: PLACEHOLDER.into(), ..Modes::default() },
            max_bytes: 1 << 20,
        };
        let topic = Topic { name: "s.public.t".into(), id: "i".into(), partitions: 1, is_of_transactions: false };
        let decoder = Decoder::new(settings, Box::new(NoRegistry));
        let mut part = Part::new(Arc::new(topic), 0, decoder, accepts_ties);
        let columns = [("id", DataType::Int32, "integer"), ("v", DataType::Utf8, "text")];
        let columns = columns.map(|(name, data_type, of)| Column::new(name, data_type, name == "v", of)).to_vec();
        let schema = TableSchema::new(TableId::new("public", "t"), columns, if has_key { vec![0] } else { vec![] });
        part.open(Lane::new(Arc::new(schema.unwrap()), None, Mark::at(0), 0), false).unwrap();
        part
    }

    /// What becomes of messages, each with a header of that name: taken, or why not.
    fn check(mut part: Part, messages: &[(&kafka::Message, &str)]) -> Vec<String> {
        let taken = messages.iter().enumerate().map(|(offset, (message, header))| {
            let header = |name: &str| (name == *header).then_some(&b"{\"id\":9}"[..]);
            let (key, value) = (message.key.as_deref(), message.value.as_deref());
            match part.take(&Message { offset: offset as i64, key, value, header: &header }).unwrap() {
                Step::Row => "taken".to_owned(),
                Step::Done => "passed over".to_owned(),
                Step::Stop(error) => error.to_string(),
                _ => "something else".to_owned(),
            }
        });
        taken.collect()
    }

    #[test]
    fn a_tie_that_cannot_be_decided_stops_its_table_where_it_may_do_harm() {
        let mut events = Events::of("t");
        let first = events.create(1, "a");
        // All of one place in the source's log.
        let mut same = |event: fn(&mut Events) -> kafka::Message| {
            events.step_back(1);
            event(&mut events)
        };
        let (more, gone) = (same(|e| e.create(2, "b")), same(|e| e.delete(2)));
        let lacking = same(|e| e.update(1, PLACEHOLDER));
        let keyed = |last, header| check(part(true, false), &[(&first, ""), (&more, ""), (last, header)]);
        for plain in [&more, &gone] {
            assert_eq!(keyed(plain, ""), ["taken"; 3]);
        }
        for (harmful, header) in [(&lacking, ""), (&gone, "__debezium.newkey"), (&more, "__debezium.oldkey")] {
            let seen = keyed(harmful, header);
            assert_eq!(seen[..2], ["taken"; 2]);
            assert!(seen[2].starts_with(TIE_OF_KEYED) && seen[2].contains("table=public.t"), "{seen:?}");
        }
        // The halves of a changed key are of one place: what follows the one is the other.
        let halves = [(&gone, "__debezium.newkey"), (&more, "__debezium.oldkey")];
        assert_eq!(check(part(true, false), &halves), ["taken"; 2]);
        let again = [halves[0], halves[1], halves[1]];
        assert!(check(part(true, false), &again)[2].starts_with(TIE_OF_KEYED));

        let keyless = |accepts| check(part(false, accepts), &[(&first, ""), (&more, "")]);
        assert_eq!(keyless(true), ["taken"; 2]);
        assert!(keyless(false)[1].starts_with(TIE), "{:?}", keyless(false));
    }
}
