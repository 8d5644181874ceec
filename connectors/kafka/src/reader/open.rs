//! Where partitions and tables begin: at the start, when topics grow, and when a table is begun again.

use std::collections::BTreeSet;
use std::sync::Arc;

use connector_api::{Error, LogEvent, Marks, Result, Standing, TableId, TableSchema};
use connector_debezium::{Decoder, SchemaSource, Settings};
use rdkafka::consumer::Consumer as _;
use rdkafka::{Offset, TopicPartitionList};

use super::{End, Lane, Mark, Part, Reader, topics};
use crate::config::Topics;
use crate::cut::Seen;
use crate::error;
use crate::mark::SNAPSHOT;
use crate::registry::NoRegistry;
use crate::topics::Topic;

const LATE: &str = "the table is not in the lake, and its topic does not have its beginning any more: load it, or set \
                    auto.offset.reset=earliest to do without the rows of before";
const REMADE: &str = "the topic was made anew since the table was followed: what was in the old one may be missing; \
                      load the table again (--no-resume)";
const GONE: &str = "the topic is not there any more, or may not be read any more: what it had of the table may be missing; \
                    load the table again (--no-resume)";
const ELSEWHERE: &str = "the table is followed from another log: load it again (--no-resume) to follow this one";
const TWICE: &str =
    "two topics tell of one table: follow one of them, each by a sink of its own if they are of two sources";
const LOST: &str = "the topic does not have any more what comes next for the table: load it again (--no-resume)";
const BEYOND: &str = "the table is beyond the end of its topic, which has lost messages: load it again (--no-resume)";

/// So many records before its end a topic of transaction metadata is read from.
const RECENT: i64 = 1000;

impl Reader {
    /// Looks for topics and partitions that are new. They are dealt by the table that their name tells, so that two that tell
    /// of one meet, and the table is refused.
    pub(super) fn look(&mut self) -> Result<(), End> {
        let (found, listed) = topics::find(&self.consumer, &self.config.topics, &self.config.transactions)?;
        self.miss(&listed)?;
        let deal = self.deal;
        let (of_transactions, of_tables): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|topic| topic.is_of_transactions);
        let mine: Vec<_> = of_tables.into_iter().filter(|topic| topics::is_dealt(&topic.name, deal)).collect();
        // Only the ends of transactions that have events here are of interest.
        let sources: BTreeSet<String> = mine.iter().map(|topic| topic.source().to_owned()).collect();
        let told = of_transactions.into_iter().filter(|topic| sources.contains(topic.source()));
        for topic in mine.into_iter().chain(told) {
            let known = self.topics.get(&topic.name).cloned();
            match known {
                Some(known) if *known == topic => {}
                Some(known) if known.is_of_transactions != topic.is_of_transactions => {
                    let error = Error::retriable("a topic turns out to be another table's than its name said");
                    return Err(error.with("topic", &topic.name).into());
                }
                Some(known) if known.is_of_transactions => self.open_topic(topic, known.partitions)?,
                Some(known) if known.id != topic.id => self.fail_topic(&topic.name, REMADE)?,
                known => self.open_topic(topic, known.map_or(0, |known| known.partitions))?,
            }
        }
        self.listen()
    }

    /// Tells of topics that are not there: of one that is to come, that it is waited for; of one that was followed, if it is
    /// not there the next time either, that its tables cannot go on.
    fn miss(&mut self, listed: &BTreeSet<String>) -> Result<(), End> {
        let named = match &self.config.topics {
            Topics::Named(names) => names.as_slice(),
            Topics::Matching(_) => &[],
        };
        let named = named.iter().filter(|name| topics::is_dealt(name, self.deal));
        let followed = self.topics.values().filter(|topic| !topic.is_of_transactions).map(|topic| &topic.name);
        let wanted: BTreeSet<Arc<str>> = named.map(|name| name.as_str().into()).chain(followed.cloned()).collect();
        let missing = wanted.into_iter().filter(|name| !listed.contains(&**name)).collect();
        let before = std::mem::replace(&mut self.missing, missing);
        for name in self.missing.clone() {
            match (before.contains(&name), self.topics.contains_key(&name)) {
                (true, true) if self.consumer.is_gone(&name)? => self.fail_topic(&name, GONE)?,
                (false, false) => {
                    tracing::warn!(topic = %name, "a topic is not there, or may not be read: waiting for it")
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The tables of a topic cannot go on.
    fn fail_topic(&mut self, topic: &Arc<str>, why: &str) -> Result<(), End> {
        for at in self.places.get(topic).cloned().unwrap_or_default() {
            for table in self.tables_of(at) {
                if !self.stopped.contains_key(&table) {
                    self.fail(&table, Error::data(why).with("topic", topic))?;
                }
            }
        }
        Ok(())
    }

    /// Has the topics of transaction metadata sent from near their ends, where that is not so: what is of interest is
    /// whether the last transaction of each partition has ended. No table depends on it.
    fn listen(&mut self) -> Result<(), End> {
        for at in 0..self.parts.len() {
            let part = &self.parts[at];
            if !part.topic.is_of_transactions || part.assigned || self.denied {
                continue;
            }
            match self.consumer.watermarks(&part.topic.name, part.number) {
                Ok((low, high)) => {
                    self.told.insert(Arc::clone(&part.source));
                    self.parts[at].next = low.max(high - RECENT);
                    self.assign(at)?;
                }
                Err(error) => tracing::warn!(%error, "the ends of transactions are not told for now"),
            }
        }
        Ok(())
    }

    /// Does without a partition of transaction metadata until topics are looked at again.
    pub(super) fn leave_transactions(&mut self, at: usize) -> Result<(), End> {
        if self.parts[at].topic.is_of_transactions {
            self.told.remove(&self.parts[at].source);
            self.unassign(at)?;
        }
        Ok(())
    }

    /// Every table that is known in a partition, or that it is of by its name.
    fn tables_of(&self, at: usize) -> Vec<TableId> {
        let part = &self.parts[at];
        if part.lanes.is_empty() { vec![self.stand_in(at)] } else { part.lanes.keys().cloned().collect() }
    }

    /// Opens the partitions of a topic from a number on.
    fn open_topic(&mut self, topic: Topic, from: i32) -> Result<(), End> {
        let topic = Arc::new(topic);
        tracing::info!(topic = %topic.name, partitions = topic.partitions, "following a topic");
        self.topics.insert(Arc::clone(&topic.name), Arc::clone(&topic));
        let places = self.places.entry(Arc::clone(&topic.name)).or_default();
        for at in places.iter() {
            self.parts[*at].grow(Arc::clone(&topic));
        }
        for number in from..topic.partitions {
            let source: Box<dyn SchemaSource> = match &self.registry {
                Some(registry) => Box::new(registry.clone()),
                None => Box::new(NoRegistry),
            };
            let settings = Settings {
                topic: topic.name.to_string(),
                partition: number,
                key: self.config.key,
                value: self.config.value,
                modes: self.config.modes.clone(),
                max_bytes: self.batch * 2,
            };
            let decoder = Decoder::new(settings, source);
            places.push(self.parts.len());
            let mut part = Part::new(Arc::clone(&topic), number, decoder, self.config.accepts_ties);
            part.older = from;
            self.parts.push(part);
        }
        let news: Vec<usize> = places[from as usize..].to_vec();
        let lanes = places[..from as usize].iter().flat_map(|at| &self.parts[*at].lanes);
        let within = lanes.filter(|(_, lane)| lane.mark.replaces && !lane.stopped);
        for table in within.map(|(table, _)| table.clone()).collect::<Vec<_>>() {
            self.fail(&table, Error::data(SNAPSHOT).with("topic", &topic.name))?;
        }
        if topic.is_of_transactions {
            return Ok(());
        }
        match topic.table() {
            Some(table) => self.begin(&table, &news),
            None => {
                for at in news {
                    match self.rewind(at).and_then(|()| self.await_older(at, &Marks::new())) {
                        Ok(()) => self.assign(at)?,
                        Err(e) => {
                            let table = self.stand_in(at);
                            self.fail(&table, e)?;
                        }
                    }
                }
                Ok(())
            }
        }
    }

    /// A table begins again from where the sink has it.
    pub(super) fn reopen(&mut self, table: &TableId) -> Result<(), End> {
        // What nobody knew whose it was has stopped in the name of its topic.
        let stands_in =
            |at: usize| self.parts[at].lanes.values().all(|lane| lane.stopped) && self.stand_in(at) == *table;
        let places = (0..self.parts.len()).filter(|at| self.parts[*at].concerns(table) || stands_in(*at));
        let places: Vec<usize> = places.collect();
        for at in &places {
            // What is open of other tables goes on; of this one it is void.
            self.flush(*at)?;
            self.parts[*at].forget(table);
        }
        self.begin(table, &places)
    }

    /// Begins a table in partitions that have nothing open of it.
    fn begin(&mut self, table: &TableId, places: &[usize]) -> Result<(), End> {
        if self.stopped.contains_key(table) {
            return Ok(());
        }
        match self.begun(table, places) {
            Ok(Some(schema)) => self.tell_open(schema, places)?,
            Ok(None) => {}
            Err(error) => {
                self.fail(table, error)?;
                // Those that waited for the table go on with their others.
                let goes_on = |at: &usize| self.parts[*at].lanes.values().any(|lane| !lane.stopped);
                let waited: Vec<usize> =
                    places.iter().copied().filter(|at| !self.parts[*at].assigned).filter(goes_on).collect();
                return waited.into_iter().try_for_each(|at| self.assign(at));
            }
        }
        for at in places {
            self.assign(*at)?;
        }
        Ok(())
    }

    /// Has a table opened that begins in some partitions, unless others of the topic deliver it already: what the sink has
    /// gathered of those would be void.
    fn tell_open(&mut self, schema: Arc<TableSchema>, places: &[usize]) -> Result<(), End> {
        let table = schema.table().clone();
        if self.delivering(&table, places).is_none() {
            let open = LogEvent::Open { schema, source: self.source_of(places), create: false };
            self.inlet.send(self.generation(&table), Ok(open))?;
        }
        Ok(())
    }

    /// A table as another partition of the same topic delivers it.
    fn delivering(&self, table: &TableId, places: &[usize]) -> Option<&Lane> {
        let topic = &self.parts[*places.first()?].topic.name;
        let mut others = self.places.get(topic)?.iter().filter(|at| !places.contains(at));
        others.find_map(|at| self.parts[*at].lanes.get(table).filter(|lane| !lane.stopped))
    }

    fn source_of(&self, places: &[usize]) -> Arc<str> {
        places.first().map_or_else(|| Arc::from(""), |at| Arc::from(topics::source(&self.parts[*at].topic.name)))
    }

    /// Sets partitions to where the table stands; gives what it is, if the sink has it.
    fn begun(&mut self, table: &TableId, places: &[usize]) -> Result<Option<Arc<TableSchema>>> {
        let standing = self.runtime.block_on(self.sink.standing(table))?;
        let Some(standing) = standing else {
            // Made of what another partition has delivered, it is there before the sink has committed it.
            let made = self.delivering(table, places).map(|lane| Arc::clone(&lane.schema));
            for at in places {
                self.rewind(*at)?;
                self.await_older(*at, &Marks::new())?;
                match &made {
                    Some(schema) => {
                        let mark = Mark::at(self.parts[*at].next);
                        let lane = Lane::new(Arc::clone(schema), None, mark, self.generation(table));
                        let whole = self.config.logs_whole_rows(table);
                        self.parts[*at].open(lane, whole)?;
                    }
                    None => drop(self.parts[*at].absent.insert(table.clone())),
                }
            }
            return Ok(None);
        };
        for at in places {
            self.refuse_second(*at, table)?;
            self.lane(*at, &standing)?;
        }
        Ok(Some(standing.schema))
    }

    /// # Errors
    /// `Data` when the partitions of another topic deliver the table, too.
    fn refuse_second(&self, at: usize, table: &TableId) -> Result<()> {
        let topic = &self.parts[at].topic.name;
        let is_other = |part: &&Part| part.topic.name != *topic && part.lanes.contains_key(table);
        match self.parts.iter().find(is_other) {
            None => Ok(()),
            Some(other) => {
                let error = Error::data(TWICE).with("table", table).with("topic", topic);
                Err(error.with("other", &other.topic.name))
            }
        }
    }

    /// Sets a partition to its beginning, which it must have.
    fn rewind(&mut self, at: usize) -> Result<()> {
        let part = &self.parts[at];
        let (low, _) = self.consumer.watermarks(&part.topic.name, part.number)?;
        if low > 0 && !self.config.may_begin_late {
            return Err(part.placed(Error::data(LATE), low));
        }
        self.parts[at].low = low;
        self.set_back(at, low);
        Ok(())
    }

    /// Adds a table to a partition where it stands.
    fn lane(&mut self, at: usize, standing: &Standing) -> Result<()> {
        let table = standing.schema.table().clone();
        let part = &self.parts[at];
        let (low, high) = self.consumer.watermarks(&part.topic.name, part.number)?;
        let recorded = standing.marks.get(&part.name);
        let mark = match recorded {
            Some(text) => {
                let mark = Mark::parse(text).ok_or_else(|| {
                    Error::data("the point that the table records of a topic cannot be read").with("point", text)
                })?;
                let wrong = if mark.next < low { Some(LOST) } else { (mark.next > high).then_some(BEYOND) };
                if let Some(wrong) = wrong {
                    let error = part.placed(Error::data(wrong), mark.next);
                    return Err(error.with("first", low).with("end", high));
                }
                mark
            }
            None => self.unrecorded(at, standing, low)?,
        };
        let cut = standing.cut.as_ref().map(Seen::of).transpose()?.map(Arc::new);
        let next = mark.next;
        let mut lane = Lane::new(Arc::clone(&standing.schema), cut, mark, self.generation(&table));
        lane.delivered = recorded.cloned();
        let whole = self.config.logs_whole_rows(&table);
        self.parts[at].open(lane, whole)?;
        self.parts[at].low = low;
        self.set_back(at, next);
        Ok(())
    }

    /// Where a partition begins of which a table records nothing.
    fn unrecorded(&mut self, at: usize, standing: &Standing, low: i64) -> Result<Mark> {
        let part = &self.parts[at];
        let of_topic = |e: Error| part.placed(e, low);
        let ids: Vec<&str> = standing.marks.keys().filter_map(|mark| topics::id_in(mark, &part.topic.name)).collect();
        if ids.iter().any(|id| *id != &*part.topic.id) {
            return Err(of_topic(Error::data(REMADE)));
        }
        if ids.is_empty() && !standing.marks.is_empty() {
            return Err(of_topic(Error::data(ELSEWHERE)));
        }
        if low > 0 && !self.config.may_begin_late {
            return Err(of_topic(Error::data(LOST)));
        }
        self.await_older(at, &standing.marks)?;
        Ok(Mark::at(low))
    }

    /// Has a partition of which a table records nothing wait for the older ones, up to where they end now (P22): those that
    /// were there before it was found, and those that the table records.
    fn await_older(&mut self, at: usize, recorded: &Marks) -> Result<()> {
        let part = &self.parts[at];
        let mut older = Vec::new();
        for place in self.places.get(&part.topic.name).into_iter().flatten() {
            let other = &self.parts[*place];
            if other.number < part.older || other.number < part.number && recorded.contains_key(&other.name) {
                older.push((other.number, self.consumer.last(&self.config, &other.topic.name, other.number)?));
            }
        }
        self.parts[at].waits_for = older;
        Ok(())
    }

    /// The next message of a partition is to be this, or an earlier one that another table needs.
    fn set_back(&mut self, at: usize, next: i64) {
        let part = &mut self.parts[at];
        let others = part.lanes.values().filter(|lane| !lane.stopped).map(|lane| lane.mark.next);
        part.next = others.chain([next]).min().unwrap_or(next);
    }

    /// Has the brokers send a partition from where it stands.
    pub(super) fn assign(&mut self, at: usize) -> Result<(), End> {
        self.unassign(at)?;
        let part = &mut self.parts[at];
        // It comes to that message again.
        part.held = None;
        if !part.waits_for.is_empty() {
            return Ok(());
        }
        self.queue.forward(&part.topic.name, part.number)?;
        self.assigned.push(at);
        let mut list = TopicPartitionList::new();
        let offset = Offset::Offset(part.next);
        let added = list.add_partition_offset(&part.topic.name, part.number, offset);
        let done = added.and_then(|()| self.consumer.inner().incremental_assign(&list));
        done.map_err(|e| error::kafka("a partition cannot be assigned", e))?;
        (part.assigned, part.began) = (true, part.next);
        Ok(())
    }

    pub(super) fn unassign(&mut self, at: usize) -> Result<(), End> {
        let part = &mut self.parts[at];
        if part.assigned {
            let mut list = TopicPartitionList::new();
            list.add_partition(&part.topic.name, part.number);
            let done = self.consumer.inner().incremental_unassign(&list);
            done.map_err(|e| error::kafka("a partition cannot be given back", e))?;
            part.assigned = false;
        }
        Ok(())
    }

    /// A partition has lost what comes next: the tables of it are told.
    pub(super) fn recheck(&mut self) -> Result<(), End> {
        for at in 0..self.parts.len() {
            let part = &self.parts[at];
            if !part.assigned {
                continue;
            }
            if part.topic.is_of_transactions {
                self.leave_transactions(at)?;
                continue;
            }
            let (low, high) = self.consumer.watermarks(&part.topic.name, part.number)?;
            let wrong = if part.next < low { LOST } else { BEYOND };
            if (low..=high).contains(&part.next) {
                continue;
            }
            for table in self.tables_of(at) {
                let part = &self.parts[at];
                let error = part.placed(Error::data(wrong), part.next).with("first", low).with("end", high);
                self.fail(&table, error)?;
            }
        }
        Ok(())
    }

    /// An event names a table that nothing is known of: where does it stand?
    pub(super) fn discover(&mut self, at: usize, table: TableId) -> Result<(), End> {
        if self.stopped.contains_key(&table) {
            // Its events are passed over until it is reopened.
            let schema = connector_api::TableSchema::new(
                table.clone(),
                vec![connector_api::Column::new("stopped", arrow_schema::DataType::Boolean, true, "boolean")],
                Vec::new(),
            )?;
            let mut lane = Lane::new(Arc::new(schema), None, Mark::default(), self.generation(&table));
            lane.stopped = true;
            self.parts[at].lanes.insert(table, lane);
            return Ok(());
        }
        self.flush(at)?;
        let next = self.parts[at].next;
        let is_there = match self.begun(&table, &[at]) {
            Ok(Some(schema)) => self.tell_open(schema, &[at]).map(|()| true)?,
            Ok(None) => false,
            Err(error) => return self.fail(&table, error),
        };
        let part = &mut self.parts[at];
        let missed = match part.lanes.get(&table) {
            Some(lane) if is_there => lane.mark.next < next,
            // To be made of all that the topic has of it.
            _ => part.next < part.began,
        };
        match missed {
            // It lacks messages that were passed over: from there again.
            true => self.assign(at),
            false => {
                part.next = next;
                Ok(())
            }
        }
    }

    /// A table is to be this: new, or as it has become. A failure that is not of the log is the table's.
    pub(super) fn reshape(&mut self, at: usize, schema: TableSchema, new: bool) -> Result<(), End> {
        let table = schema.table().clone();
        let whole = self.config.logs_whole_rows(&table);
        if !new {
            return Ok(self.parts[at].set_table(&Arc::new(schema), whole)?);
        }
        self.refuse_second(at, &table)?;
        let schema = Arc::new(self.sink.identified(schema)?);
        let generation = self.generation(&table);
        let mut set_back = Vec::new();
        for place in self.places.get(&self.parts[at].topic.name).cloned().unwrap_or_default() {
            let part = &self.parts[place];
            if place != at && part.lanes.contains_key(&table) {
                continue;
            }
            if place != at && !part.absent.contains(&table) && !part.has_all() {
                // It may have passed over events of the table, which was not to be expected there.
                self.flush(place)?;
                self.rewind(place).map_err(|e| e.with("table", &table))?;
                set_back.push(place);
            }
            let part = &mut self.parts[place];
            part.open(Lane::new(Arc::clone(&schema), None, Mark::at(part.next), generation), whole)?;
        }
        let open = LogEvent::Open { schema, source: self.source_of(&[at]), create: true };
        self.inlet.send(generation, Ok(open))?;
        set_back.into_iter().try_for_each(|place| self.assign(place))
    }
}
