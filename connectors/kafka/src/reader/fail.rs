//! What fails: records that cannot be read, and the tables that stop for it.
//!
//! What must hold: a record that cannot be applied stops every table that it may be of, and none passes it (P26).

use std::sync::Arc;

use connector_api::{Error, ErrorKind, LogEvent, Result, TableId};
use connector_debezium::Message;

use super::{End, Reader};
use crate::fetch::Record;
use crate::topics;

impl Reader {
    /// Sets a record aside that cannot be decoded, if that is wanted and may be; else gives what stops its table.
    pub(super) fn set_aside(
        &mut self,
        at: usize,
        message: &Record<'_>,
        record: &Message<'_>,
        error: Error,
    ) -> Result<Option<Error>, End> {
        let Some(dead) = &mut self.dead else { return Ok(Some(error)) };
        let table = match self.parts[at].may_pass_over(record, &error) {
            Ok(Some(table)) => table,
            Ok(None) => return Ok(Some(error)),
            // The registry's: it may pass.
            Err(unknown) => return Ok(Some(unknown)),
        };
        match dead.put(message, &error) {
            Ok(()) => {}
            // The queue takes others.
            Err(refused) if refused.kind() == ErrorKind::Data => return Ok(Some(refused.with("table", table))),
            Err(failed) => return Err(failed.into()),
        }
        self.parts[at].pass_over(record.offset, &table);
        self.counters.set_aside.add(1);
        Ok(None)
    }

    /// A record that cannot be applied stops its table, or every table that it may be of.
    pub(super) fn bad(&mut self, at: usize, offset: i64, error: Error) -> Result<(), End> {
        let error = if error.context("offset").is_some() { error } else { self.parts[at].placed(error, offset) };
        // What came before is good; of its transaction it is all that will come, if the record stays what it is.
        let is_final = error.kind() == ErrorKind::Data;
        let whole = is_final || self.parts[at].has_ended(&self.ends);
        self.flush_as(at, whole)?;
        let rest = self.parts[at].progress(whole, &self.ends)?;
        self.send(rest)?;
        self.parts[at].next = offset + 1;
        let named = error.context("table").map(str::to_owned);
        let part = &self.parts[at];
        let named =
            named.and_then(|name| part.lanes.keys().chain(&part.absent).find(|t| t.to_string() == name).cloned());
        let is_named = named.is_some();
        let tables = named.map_or_else(|| self.concerned(at, is_final), |table| vec![table]);
        if !is_named {
            // A table that is not known yet has to come to it, too: it may be its.
            self.parts[at].began = offset + 1;
        }
        let error = Arc::new(error);
        for table in tables {
            self.fail_shared(&table, Arc::clone(&error))?;
        }
        match is_named || is_final {
            true => Ok(()),
            // What has stopped is begun again, and reading with it.
            false => self.unassign(at),
        }
    }

    /// The tables that a record of a partition may be of which does not say whose it is. `is_final`: it stays what it is.
    fn concerned(&self, at: usize, is_final: bool) -> Vec<TableId> {
        let part = &self.parts[at];
        let known = part.lanes.iter().filter(|(_, lane)| !lane.stopped).map(|(table, _)| table);
        let known: Vec<TableId> = known.chain(&part.absent).cloned().collect();
        let is_anyones = known.is_empty() && (part.lanes.is_empty() || !is_final);
        if is_anyones { vec![self.stand_in(at)] } else { known }
    }

    /// The table that a partition is of as far as its topic's name tells.
    pub(super) fn stand_in(&self, at: usize) -> TableId {
        let name = &self.parts[at].topic.name;
        topics::table(name).unwrap_or_else(|| TableId::new(topics::source(name), Arc::clone(name)))
    }

    pub(super) fn fail(&mut self, table: &TableId, error: Error) -> Result<(), End> {
        let error = if error.context("table").is_some() { error } else { error.with("table", table) };
        self.fail_shared(table, Arc::new(error))
    }

    pub(super) fn fail_shared(&mut self, table: &TableId, error: Arc<Error>) -> Result<(), End> {
        let generation = self.generation(table);
        self.stop(table)?;
        Ok(self.inlet.send(generation, Ok(LogEvent::Failed(table.clone(), error)))?)
    }

    /// Nothing more of a table is wanted.
    pub(super) fn stop(&mut self, table: &TableId) -> Result<(), End> {
        self.stopped.insert(table.clone(), ());
        for at in 0..self.parts.len() {
            let part = &mut self.parts[at];
            if let Some(lane) = part.lanes.get_mut(table) {
                lane.stopped = true;
            } else if part.absent.remove(table) || part.topic.table().as_ref() == Some(table) {
                // An event of it would make the table known again.
                part.absent.remove(table);
            }
            let idle = part.is_idle() || part.lanes.is_empty() && part.concerns(table);
            if part.let_go(table) && !idle {
                self.assign(at)?;
            } else if idle && part.assigned {
                self.flush(at)?;
                self.unassign(at)?;
            }
        }
        Ok(())
    }
}
