//! What a change event does to its table's open batch.

use std::sync::Arc;

use connector_api::{Error, Result, TableId};

use super::{Decoder, Stop, rules};
use crate::avro::step;
use crate::batch::{Op, Pushed};
use crate::body::{Body, Reading};
use crate::envelope::Envelope;
use crate::fault::{Fault, PART};
use crate::message::{Format, Keep, Message};
use crate::plan::{self, Bound, Plan};
use crate::state::State;

const OLD_KEY: &str = "__debezium.oldkey";
const NEW_KEY: &str = "__debezium.newkey";

const NOT_COVERED: &str = "the message key lacks this column, which identifies a row: add it to Debezium's \
                           message.key.columns, or set REPLICA IDENTITY FULL on the table";

const DIVIDED: &str = "the message key has this column, which does not identify a row, and the topic has several \
                       partitions: events of one row may lie in any of them; take it out of Debezium's \
                       message.key.columns, or give the topic one partition";

const SCATTERED: &str = "an event without a message key, and the topic has several partitions: events of one row may lie \
                         in any of them; set Debezium's message.key.columns, or give the topic one partition";

const KEYLESS: &str = "a table without a key, and its topic has several partitions: events of one row may lie in any of them; \
                       give the topic one partition";

const NOT_SENT: &str = "a new row without the column's value: let Debezium send it (lob.enabled=true), or leave the column \
                        out";

/// Where an image is read to.
#[derive(Clone, Copy)]
enum Target {
    After,
    Before,
}

impl Decoder {
    pub(super) fn unknown_table(&mut self, message: &Message<'_>, body: &Body<'_>, table: TableId) -> Stop {
        let Some(members) = body.image_members() else {
            let what = "a message without a schema, of a table whose source types are not known: types are not \
                        guessed; load the table, or send schemas";
            return Stop::Fault(Fault::of(what), Some(table));
        };
        let key = match self.key(message.key) {
            Ok(None) => Ok(vec![]),
            Ok(Some((key, at))) => key.key_names(at, &mut self.scratch).map_err(Stop::from),
            Err(stop) => Err(stop),
        };
        match key.map(|key| plan::new_table(table, members, &key)) {
            Ok(Ok(schema)) => Stop::Pushed(Box::new(Pushed::Schema { schema: Box::new(schema), new: true })),
            Ok(Err(error)) => Stop::Source(error),
            Err(stop) => stop,
        }
    }

    /// The plan for a value's images.
    fn plan(&mut self, at: usize, body: &Body<'_>) -> Result<Arc<Plan>, Stop> {
        let (modes, dialect) = (&self.settings.modes, self.dialect);
        let state = &mut self.tables[at];
        match &state.plan {
            Some((of, plan)) if *of == body.schema_id() => return Ok(Arc::clone(plan)),
            _ => {}
        }
        let mut plan = match body.image_members() {
            None => plan::by_source_types(&state.table, modes, dialect).map_err(Fault::of_shape)?,
            Some(members) => match plan::bind(&state.table, members, modes, dialect).map_err(Fault::of_shape)? {
                Bound::Fits(plan) => plan,
                Bound::Changed(schema) => {
                    return Err(Stop::Pushed(Box::new(Pushed::Schema { schema: Box::new(schema), new: false })));
                }
            },
        };
        if let Body::Avro { writer, .. } = body {
            step::tell(&mut plan, writer.image().unwrap_or_default());
        }
        let plan = Arc::new(plan);
        state.plan = Some((body.schema_id(), Arc::clone(&plan)));
        Ok(plan)
    }

    /// The plan for a key.
    fn key_plan(&mut self, at: usize, key: &Body<'_>) -> Result<Arc<Plan>, Fault> {
        let (modes, dialect) = (&self.settings.modes, self.dialect);
        let state = &mut self.tables[at];
        match &state.key_plan {
            Some((of, plan)) if *of == key.schema_id() => return Ok(Arc::clone(plan)),
            _ => {}
        }
        let mut plan = match key.members() {
            None => plan::by_source_types(&state.table, modes, dialect)?,
            Some(members) => plan::fields(&state.table, members, modes, dialect)?,
        };
        if let Body::Avro { writer, .. } = key {
            step::tell(&mut plan, &writer.fields);
        }
        let plan = Arc::new(plan);
        state.key_plan = Some((key.schema_id(), Arc::clone(&plan)));
        Ok(plan)
    }

    /// Adds the row of a change, and says what happened to it. `read`: the image may have been read already, into this
    /// table's open row.
    pub(super) fn row(
        &mut self,
        message: &Message<'_>,
        (at, kept): (usize, Keep),
        op: u8,
        body: &Body<'_>,
        envelope: Envelope,
        read: bool,
    ) -> Result<Op, Stop> {
        if !read {
            self.tables.iter_mut().for_each(State::roll_back);
        }
        if self.is_divided && self.tables[at].table.schema.key().is_empty() {
            return Err(Fault::of(KEYLESS).of_shape().into());
        }
        let op = match op {
            b'c' | b'r' | b'u' => {
                let from = envelope.after.ok_or(Fault::of("an event without the image after the change"))?;
                let image = envelope.image.filter(|_| read);
                let state = &self.tables[at];
                let has_all =
                    || matches!(image, Some(Ok(()))) && !state.rows.open_has_missing() && state.check_nulls().is_ok();
                let old_key = if op == b'c' && !has_all() { (message.header)(OLD_KEY) } else { None };
                // Values are missing where they did not change: a placeholder anywhere else is a value.
                let lacks = op == b'u' || old_key.is_some();
                let knows_placeholder = lacks || self.dialect.placeholder_is_no_value;
                match image {
                    Some(read) if knows_placeholder => read?,
                    Some(Ok(())) if !self.tables[at].rows.open_has_missing() => {}
                    _ => self.image(at, body, from, Target::After, knows_placeholder)?,
                }
                let state = &self.tables[at];
                if !lacks && let Some(column) = state.rows.first_missing() {
                    return Err(Fault::of(NOT_SENT).in_column(state.table.schema.columns()[column].name()).into());
                }
                if lacks {
                    state.check_nulls()?;
                }
                self.check_key(at, message)?;
                self.complete(at, body, op, envelope.before, old_key, message.key)?;
                match op {
                    b'c' => Op::Insert,
                    b'u' => Op::Update,
                    _ => Op::Read,
                }
            }
            b'd' => {
                self.tables[at].roll_back();
                self.deleted(message, at, body, envelope.before)?;
                if (message.header)(NEW_KEY).is_some() { Op::Moved } else { Op::Delete }
            }
            _ => return Err(Fault::of("an unknown operation").with("op", char::from(op)).into()),
        };
        let state = &mut self.tables[at];
        if kept == Keep::IfIndependent {
            let is_half = op == Op::Moved || op == Op::Insert && (message.header)(OLD_KEY).is_some();
            if is_half || op != Op::Delete && state.rows.open_has_missing() {
                return Err(Stop::Pushed(Box::new(Pushed::Dependent)));
            }
        }
        state.close(op, message.offset);
        Ok(op)
    }

    fn image(&mut self, at: usize, body: &Body<'_>, from: usize, into: Target, lacks: bool) -> Result<(), Stop> {
        let plan = self.plan(at, body)?;
        let Self { tables, scratch, placeholder, settings, dialect, .. } = self;
        let state = &mut tables[at];
        let rows = match into {
            Target::After => &mut state.rows,
            Target::Before => &mut state.before,
        };
        rows.roll_back();
        let placeholder = lacks.then_some(&*placeholder);
        let reading = Reading { plan: &plan, placeholder, rules: rules(dialect, settings), whole: true };
        Ok(body.image(from, reading, rows, scratch)?)
    }

    /// What a row after a change needs beside its image.
    fn complete(
        &mut self,
        at: usize,
        body: &Body<'_>,
        op: u8,
        before: Option<usize>,
        old_key: Option<&[u8]>,
        message_key: Option<&[u8]>,
    ) -> Result<(), Stop> {
        let state = &self.tables[at];
        let schema = &state.table.schema;
        state.require(schema.columns().iter().enumerate().filter(|(_, c)| !c.nullable).map(|(i, _)| i))?;
        let keyless = schema.key().is_empty();
        if op == b'u' && (keyless || state.table.whole_before) {
            match before {
                Some(from) => {
                    self.image(at, body, from, Target::Before, true)?;
                    self.tables[at].has_before = true;
                }
                None if keyless => {
                    return Err(Fault::of(
                        "an update of a table without a key that does not say what the row was: set REPLICA IDENTITY \
                         FULL on it",
                    )
                    .of_shape()
                    .into());
                }
                None => {}
            }
        }
        let Some(header) = old_key.filter(|_| self.tables[at].rows.open_has_missing()) else { return Ok(()) };
        const UNREAD: Fault = Fault::of(
            "the header __debezium.oldkey does not tell the key: set header.converter to the converter of the keys",
        );
        // Kafka Connect's own header converter writes JSON without a schema, whatever the key's writes.
        let format = if header.first() == Some(&0) { Format::Avro } else { Format::Json };
        let (key, from) = match self.part(format, Some(header)) {
            Ok(Some(key)) => key,
            Err(Stop::Source(error)) => return Err(Stop::Source(error)),
            _ => return Err(UNREAD.into()),
        };
        let plan = match (key.members(), self.key(message_key)?) {
            (None, Some((of, _))) => self.key_plan(at, &of),
            _ => self.key_plan(at, &key),
        };
        let plan = plan.map_err(|_| UNREAD)?;
        let Self { tables, scratch, settings, dialect, .. } = self;
        let reading = Reading { plan: &plan, placeholder: None, rules: rules(dialect, settings), whole: false };
        let state = &mut tables[at];
        let old_keys = &mut state.old_keys;
        key.key(from, reading, old_keys, scratch).map_err(|_| UNREAD)?;
        let row = old_keys.len();
        if !state.table.schema.key().iter().all(|&c| old_keys.columns[c].is_filled(row)) {
            return Err(UNREAD.into());
        }
        state.has_old_key = true;
        Ok(())
    }

    /// The row that a delete names: its key, or all that it was.
    fn deleted(
        &mut self,
        message: &Message<'_>,
        at: usize,
        body: &Body<'_>,
        before: Option<usize>,
    ) -> Result<(), Stop> {
        if !self.tables[at].table.schema.key().is_empty() {
            match self.key_row(message, at)? {
                None => return Ok(()),
                Some(column) if !self.tables[at].table.whole_before => {
                    let name = self.tables[at].table.schema.columns()[column].name();
                    return Err(Fault::of(NOT_COVERED).in_column(name).of_shape().into());
                }
                Some(_) => self.tables[at].roll_back(),
            }
        }
        let Some(from) = before else {
            let fault = Fault::of("a delete that does not say which row: set REPLICA IDENTITY FULL on the table");
            return Err(fault.of_shape().into());
        };
        self.image(at, body, from, Target::After, true)?;
        let state = &self.tables[at];
        Ok(state.require(state.table.schema.key().iter().copied())?)
    }

    /// Reads a message's key as that table's, and keeps nothing of it: whether the row that a message is of is known,
    /// whatever else of it cannot be read. A table without a key has none to read.
    ///
    /// # Errors
    /// `Data` where the key cannot be read or does not tell the row; any other kind is the schema source's.
    pub fn read_key(&mut self, message: &Message<'_>, table: &TableId) -> Result<()> {
        let Some(at) = self.tables.iter().position(|state| state.table.schema.table() == table) else {
            return Err(Error::data("a key of a table that is not known").with("table", table));
        };
        if self.tables[at].table.schema.key().is_empty() {
            return Ok(());
        }
        self.tables[at].roll_back();
        let read = self.key_row(message, at);
        self.tables[at].roll_back();
        match read {
            Ok(None) => Ok(()),
            Ok(Some(_)) => Err(Error::data("a key that does not tell the row").with("table", table)),
            Err(Stop::Source(error)) => Err(error),
            Err(Stop::Fault(fault, _)) => Err(fault.into_error().with("table", table)),
            Err(Stop::Pushed(_)) => Err(Error::data("a key that changes the table").with("table", table)),
        }
    }

    /// Reads a message's key into the open row of a table; gives the first column of the table's key that it lacks.
    fn key_row(&mut self, message: &Message<'_>, at: usize) -> Result<Option<usize>, Stop> {
        let Some((key, from)) = self.key(message.key)? else {
            return Ok(self.tables[at].table.schema.key().first().copied());
        };
        let plan = self.key_plan(at, &key)?;
        let Self { tables, scratch, settings, dialect, .. } = self;
        let reading = Reading { plan: &plan, placeholder: None, rules: rules(dialect, settings), whole: false };
        let State { rows, table, .. } = &mut tables[at];
        key.key(from, reading, rows, scratch).map_err(|fault| fault.with(PART, "key"))?;
        let row = rows.len();
        Ok(table.schema.key().iter().find(|&&c| !rows.columns[c].is_filled(row)).copied())
    }

    /// Once per table: the message key has the columns that identify a row, or whole rows are logged. Else a
    /// change of another of them, or a delete, could not be told.
    fn check_key(&mut self, at: usize, message: &Message<'_>) -> Result<(), Stop> {
        let state = &self.tables[at];
        let is_whole = state.table.whole_before;
        if state.covered || is_whole && !self.is_divided || state.table.schema.key().is_empty() {
            return Ok(());
        }
        let names = match self.key(message.key)? {
            Some((key, from)) => key.key_names(from, &mut self.scratch)?,
            None => vec![],
        };
        let schema = &self.tables[at].table.schema;
        let key: Vec<&str> = schema.key().iter().map(|&c| schema.columns()[c].name()).collect();
        let lacking = key.iter().find(|name| !names.iter().any(|n| n == *name));
        if let Some(lacking) = lacking.filter(|_| !is_whole) {
            return Err(Fault::of(NOT_COVERED).in_column(lacking).of_shape().into());
        }
        if self.is_divided {
            if names.is_empty() {
                return Err(Fault::of(SCATTERED).of_shape().into());
            }
            if let Some(more) = names.iter().find(|name| !key.contains(&name.as_str())) {
                return Err(Fault::of(DIVIDED).in_column(more).of_shape().into());
            }
        }
        self.tables[at].covered = true;
        Ok(())
    }
}
