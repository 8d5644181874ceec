//! The messages of one topic partition, in their order, to batches per table. Pure but for the schema source.
//!
//! What must hold: a message is applied whole or leaves nothing behind; whatever its bytes are, the others'
//! rows are the same as without it.

mod change;

use std::collections::BTreeMap;
use std::sync::Arc;

use connector_api::{Error, Result, TableId};

use crate::avro::read as avro;
use crate::avro::schema::Writer;
use crate::batch::{Batch, Pushed, Skipped};
use crate::body::{Body, Reading};
use crate::dialect::Dialect;
use crate::envelope::{Envelope, Nature};
use crate::fault::{Fault, PART};
use crate::json::read::{self as json, Scratch};
use crate::json::schemas::Schemas;
use crate::message::{Format, Keep, Message, SchemaSource, Table};
use crate::modes::Modes;
use crate::position::{Snapshot, SourcePosition};
use crate::source::{self, Source};
use crate::state::State;
use crate::unavailable::Placeholder;
use crate::value::convert::Rules;

const NO_COMMIT: &str = "an event that does not say where its transaction committed (commit_scn), so that it has no place among \
                         the others: Debezium's adapters for LogMiner and XStream send that";

/// What the messages of a topic partition are.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The topic, for errors.
    pub topic: String,
    /// The partition, for errors.
    pub partition: i32,
    /// How keys are written.
    pub key: Format,
    /// How values are written.
    pub value: Format,
    /// How Debezium was configured.
    pub modes: Modes,
    /// How many bytes of messages the open batches may be made of, at most 1 GiB.
    pub max_bytes: usize,
}

/// Decodes the messages of one topic partition.
pub struct Decoder {
    settings: Settings,
    /// Which database the messages come from, as the first event says, and whether one has said so.
    dialect: &'static Dialect,
    is_told: bool,
    placeholder: Placeholder,
    registry: Box<dyn SchemaSource>,
    /// By the registry's numbers: of few, and looked up for every message.
    writers: BTreeMap<u32, Arc<Writer>>,
    values: Schemas,
    keys: Schemas,
    tables: Vec<State>,
    /// The table of the last row: the next one is probably its too.
    current: usize,
    /// The table that the last message's source block names, if that is known.
    named: Option<usize>,
    source: Source,
    scratch: Scratch,
    open_bytes: usize,
    is_divided: bool,
}

/// Why a message comes to nothing.
enum Stop {
    /// The message, by its table if that is known.
    Fault(Fault, Option<TableId>),
    /// What the schema source said.
    Source(Error),
    /// It is not the message.
    Pushed(Box<Pushed>),
}

impl Stop {
    /// Says that it is the message's key: a row whose key is not known cannot be set aside.
    fn in_key(self) -> Self {
        match self {
            Self::Fault(fault, table) => Self::Fault(fault.with(PART, "key"), table),
            other => other,
        }
    }
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault, None)
    }
}

impl Decoder {
    /// A decoder that knows no table yet. Without Avro the registry is never asked.
    pub fn new(settings: Settings, registry: Box<dyn SchemaSource>) -> Self {
        Self {
            placeholder: Placeholder::new(&settings.modes.placeholder),
            dialect: &Dialect::POSTGRESQL,
            is_told: false,
            registry,
            writers: BTreeMap::new(),
            values: Schemas::default(),
            keys: Schemas::default(),
            tables: vec![],
            current: 0,
            named: None,
            source: Source::default(),
            scratch: Scratch::default(),
            open_bytes: 0,
            is_divided: false,
            settings,
        }
    }

    /// Makes a table known, or one that is known as it is now.
    ///
    /// # Errors
    /// `Data`, naming the column, for a type that no event has. `Fatal` while it has an open batch.
    pub fn set_table(&mut self, table: Table) -> Result<()> {
        let found = self.tables.iter().position(|s| s.table.schema.table() == table.schema.table());
        if found.is_some_and(|i| self.tables[i].len() > 0) {
            return Err(Error::fatal("a table changes while rows of it are open").with("table", table.schema.table()));
        }
        let state = State::new(table)?;
        match found {
            Some(i) => self.tables[i] = state,
            None => self.tables.push(state),
        }
        Ok(())
    }

    /// Makes a table unknown again, with what is open of it: its next event tells what it is.
    pub fn forget(&mut self, table: &TableId) {
        self.tables.retain(|state| state.table.schema.table() != table);
        (self.current, self.named) = (0, None);
    }

    /// From now on the topic has other partitions, so that the message key decides where a row's events are: it must
    /// be of columns that identify the row, or those events would have no order.
    pub fn divide(&mut self) {
        self.is_divided = true;
        self.tables.iter_mut().for_each(|state| state.covered = false);
    }

    /// Memory that the open batches take, bytes, about.
    pub fn bytes(&self) -> usize {
        self.tables.iter().map(State::bytes).sum()
    }

    /// Takes the open batches, one for each table that has rows.
    ///
    /// # Errors
    /// `Fatal`: a bug here.
    pub fn take(&mut self) -> Result<Vec<Batch>> {
        self.open_bytes = 0;
        self.tables.iter_mut().filter_map(|state| state.take().transpose()).collect()
    }

    /// Decodes a message. `keep` is asked before anything of a change is taken, by its table and its place in
    /// the source's log: what a load has already, or what was delivered before, may not even fit the table.
    ///
    /// # Errors
    /// `Data` with topic, partition, offset, and as far as known table and column, for a message that cannot
    /// be applied: it left nothing behind, the next one can be pushed. `part=key` where it is the key that cannot
    /// be read, `part=schema` where no message like it fits the table, whatever its values. Any other kind is the
    /// schema source's.
    pub fn push(
        &mut self,
        message: &Message<'_>,
        keep: &mut dyn FnMut(&TableId, &SourcePosition) -> Keep,
    ) -> Result<Pushed> {
        let stopped = match self.decode(message, keep) {
            Ok(pushed @ Pushed::Row(..)) => return Ok(pushed),
            Ok(pushed) => {
                // An image may have been read before it was known that nothing comes of it.
                self.tables.get_mut(self.current).map(State::roll_back);
                return Ok(pushed);
            }
            Err(stopped) => stopped,
        };
        self.tables.iter_mut().for_each(State::roll_back);
        let error = match stopped {
            Stop::Pushed(pushed) => return Ok(*pushed),
            Stop::Source(error) => error,
            Stop::Fault(fault, None) => fault.into_error(),
            Stop::Fault(fault, Some(table)) => fault.into_error().with("table", table),
        };
        let (topic, partition) = (&self.settings.topic, self.settings.partition);
        Err(error.with("topic", topic).with("partition", partition).with("offset", message.offset))
    }

    fn decode(
        &mut self,
        message: &Message<'_>,
        keep: &mut dyn FnMut(&TableId, &SourcePosition) -> Keep,
    ) -> Result<Pushed, Stop> {
        let Some(value) = message.value else { return Ok(Pushed::Skipped(Skipped::Tombstone)) };
        let length = self.open_bytes + value.len();
        // The halves of a changed key are of one batch (P20); none may be larger than what its offsets reach.
        let awaits = || length <= 1 << 30 && self.tables.get(self.current).is_some_and(State::awaits_twin);
        if self.open_bytes > 0 && length > self.settings.max_bytes.min(1 << 30) && !awaits() {
            return Ok(Pushed::Full);
        }
        let named = self.named.take();
        let mut read = self.read(value);
        if !self.is_told
            && let Err(Stop::Fault(fault, _)) = &read
            && let Some(dialect) = source::other_dialect(fault)
        {
            self.dialect = dialect;
            // They know the fields of the one before.
            self.writers.clear();
            read = self.read(value);
        }
        let (body, mut envelope, length) = read?;
        let op = match envelope.nature()? {
            Nature::Heartbeat => return Ok(Pushed::Skipped(Skipped::Heartbeat)),
            Nature::Transaction(transaction) => return Ok(Pushed::Transaction(transaction)),
            Nature::Change(b'm') => return Ok(Pushed::Skipped(Skipped::LogicalMessage)),
            Nature::Change(op) => op,
        };
        if !self.source.known {
            return Err(Fault::of("an event without a source block").into());
        }
        self.is_told = true;
        let at = &self.source.position;
        if self.dialect.position.commit.is_some() && at.commit.is_none() && at.snapshot == Snapshot::No {
            return Err(Fault::of(NO_COMMIT).into());
        }
        self.source.position.total_order = envelope.total_order;
        self.source.position.table_order = envelope.table_order;
        let guessed = self.current;
        let found = match named.filter(|_| !self.source.is_renamed) {
            Some(named) => Some(named),
            None => self.find(guessed),
        };
        self.named = found;
        let Some(at) = found else {
            let table = TableId::new(self.source.schema.as_str(), self.source.table.as_str());
            return match keep(&table, &self.source.position) {
                Keep::No => Ok(Pushed::Skipped(Skipped::NotKept)),
                _ if op == b't' => Ok(Pushed::Truncate),
                _ => Err(self.unknown_table(message, &body, table)),
            };
        };
        let kept = keep(self.tables[at].table.schema.table(), &self.source.position);
        if kept == Keep::No {
            return Ok(Pushed::Skipped(Skipped::NotKept));
        }
        if op == b't' {
            return Ok(Pushed::Truncate);
        }
        match self.row(message, (at, kept), op, &body, envelope, at == guessed) {
            Ok(op) => {
                self.current = at;
                self.open_bytes += length;
                Ok(Pushed::Row(op))
            }
            Err(Stop::Fault(fault, None)) => {
                Err(Stop::Fault(fault, Some(self.tables[at].table.schema.table().clone())))
            }
            Err(stop) => Err(stop),
        }
    }

    /// The table that the source block names, which is the guessed one mostly.
    fn find(&self, guessed: usize) -> Option<usize> {
        let (schema, name) = (self.source.schema.as_str(), self.source.table.as_str());
        let is = |state: &State| {
            let table = state.table.schema.table();
            table.name() == name && table.schema() == schema
        };
        match self.tables.get(guessed) {
            Some(state) if is(state) => Some(guessed),
            _ => self.tables.iter().position(is),
        }
    }

    /// Reads an envelope; gives also how many bytes of the message it is.
    fn read<'a>(&mut self, value: &'a [u8]) -> Result<(Body<'a>, Envelope, usize), Stop> {
        match self.settings.value {
            Format::Json => self.json(value),
            Format::Avro => self.avro(value),
        }
    }

    /// Reads a JSON envelope, and with it the image after the change, if it is of the last row's table.
    fn json<'a>(&mut self, value: &'a [u8]) -> Result<(Body<'a>, Envelope, usize), Stop> {
        let text = simdutf8::basic::from_utf8(value).map_err(|_| Fault::of("a message that is not UTF-8"))?;
        let Self { values, tables, source, scratch, placeholder, settings, dialect, .. } = self;
        let mut payload = values.payload(text, scratch)?;
        let start = payload.pull.place();
        let schema = payload.schema.as_ref().map(|s| s.id);
        let mut guess = tables.get_mut(self.current).and_then(|state| state.reads(schema));
        let rules = rules(dialect, settings);
        let mut envelope = json::envelope(&mut payload.pull, dialect, source, scratch, |pull, scratch| {
            let (plan, rows) = guess.as_mut()?;
            let reading = Reading { plan, placeholder: Some(placeholder), rules, whole: true };
            Some(json::image(pull, reading, rows, scratch))
        })?;
        let length = payload.pull.place() - start;
        let schema = payload.schema.take();
        payload.end()?;
        // An envelope that names an image twice is none that Debezium writes: read it again.
        if envelope.images > 1 {
            envelope.image = None;
        }
        Ok((Body::Json { text, schema }, envelope, length))
    }

    /// The same for Avro.
    fn avro<'a>(&mut self, value: &'a [u8]) -> Result<(Body<'a>, Envelope, usize), Stop> {
        let (id, mut cursor) = avro::head(value)?;
        let writer = self.writer(id)?;
        let Self { tables, source, placeholder, settings, dialect, .. } = self;
        let mut guess = tables.get_mut(self.current).and_then(|state| state.reads(Some(writer.id)));
        let rules = rules(dialect, settings);
        let image = writer.image();
        let envelope = avro::envelope(&mut cursor, &writer, dialect, source, |cursor| {
            let ((plan, rows), fields) = (guess.as_mut()?, image?);
            let reading = Reading { plan, placeholder: Some(placeholder), rules, whole: true };
            Some(avro::image(cursor, fields, reading, rows))
        })?;
        cursor.end()?;
        Ok((Body::Avro { bytes: value, writer }, envelope, value.len()))
    }

    fn writer(&mut self, id: u32) -> Result<Arc<Writer>, Stop> {
        if let Some(writer) = self.writers.get(&id) {
            return Ok(Arc::clone(writer));
        }
        let schema = self.registry.schema(id).map_err(Stop::Source)?;
        let writer = Arc::new(Writer::new(id, &schema, self.dialect)?);
        self.writers.insert(id, Arc::clone(&writer));
        Ok(writer)
    }

    /// A key, and where it begins; `None` for a null one.
    fn key<'a>(&mut self, key: Option<&'a [u8]>) -> Result<Option<(Body<'a>, usize)>, Stop> {
        self.part(self.settings.key, key).map_err(Stop::in_key)
    }

    fn part<'a>(&mut self, format: Format, bytes: Option<&'a [u8]>) -> Result<Option<(Body<'a>, usize)>, Stop> {
        let Some(bytes) = bytes else { return Ok(None) };
        match format {
            Format::Avro => {
                let (id, _) = avro::head(bytes)?;
                Ok(Some((Body::Avro { bytes, writer: self.writer(id)? }, 5)))
            }
            Format::Json => {
                let text = simdutf8::basic::from_utf8(bytes).map_err(|_| Fault::of("a key that is not UTF-8"))?;
                let mut payload = self.keys.payload(text, &mut self.scratch)?;
                if payload.pull.null()? {
                    return Ok(None);
                }
                let start = payload.pull.place();
                payload.pull.skip()?;
                let schema = payload.schema.take();
                payload.end()?;
                Ok(Some((Body::Json { text, schema }, start)))
            }
        }
    }
}

fn rules(dialect: &'static Dialect, settings: &Settings) -> Rules<'static> {
    Rules { dialect, infinite_is_null: settings.modes.infinite_is_null }
}
