//! Partitions that wait for their topic's others (P22): added ones for those before them, and each before its table gets
//! columns that changes in others do not have yet.
//!
//! What must hold: a table does not grow and then have changes of what it was; none waits for one that waits for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use connector_api::TableSchema;

use super::{End, Part, Reader};
use crate::held::{Held, has_columns_of};

/// How long what a producer sent to several partitions may take to be in all of them, and the client to report where they
/// end.
const ARRIVED: Duration = Duration::from_secs(10);

impl Reader {
    /// Has a partition wait before a message whose table has these columns, if changes in the topic's others may not have
    /// them yet. Gives whether it waits.
    pub(super) fn hold(&mut self, at: usize, offset: i64, schema: &TableSchema) -> Result<bool, End> {
        let part = &self.parts[at];
        let is_free = part.after.is_empty() && self.others(at).all(|other| other.is_beyond(schema));
        if is_free || part.passes == Some(offset) {
            self.parts[at].passes = None;
            return Ok(false);
        }
        self.unassign(at)?;
        let part = &mut self.parts[at];
        part.held = Some(Held { offset, schema: Arc::new(schema.clone()), since: Instant::now() });
        part.next = offset;
        Ok(true)
    }

    /// The other partitions of a partition's topic.
    fn others(&self, at: usize) -> impl Iterator<Item = &Part> {
        let places = self.places.get(&self.parts[at].topic.name).into_iter().flatten();
        places.filter(move |place| **place != at).map(|place| &self.parts[*place])
    }

    /// Whether an older partition is read up to where it ended when this one was found.
    fn has_come(&self, at: usize, (number, end): (i32, i64)) -> bool {
        self.others(at).any(|other| other.number == number && other.next >= end)
    }

    /// Whether an older partition waits in its turn.
    fn waits(&self, at: usize, number: i32) -> bool {
        self.others(at).any(|other| other.number == number && other.held.is_some())
    }

    /// Whether nothing more comes in the others that lacks the columns which a partition waits for.
    fn may_grow(&self, at: usize, held: &Held, quiet: bool) -> bool {
        let has_arrived = held.since.elapsed() >= ARRIVED;
        self.parts[at].after.iter().all(|older| self.has_come(at, *older))
            && self.others(at).all(|other| {
                let unread = || self.consumer.unread(&other.topic.name, other.number, other.next, quiet);
                let ends = || has_arrived && other.assigned && unread() == Some(0);
                let waits = |with: &Held| with.table() == held.table() && has_columns_of(&with.schema, &held.schema);
                other.is_beyond(&held.schema) || other.held.as_ref().is_some_and(waits) || ends()
            })
    }

    /// Lets partitions go on whose others have come far enough. `quiet`: every message that is there was taken.
    pub(super) fn admit(&mut self, quiet: bool) -> Result<(), End> {
        for at in 0..self.parts.len() {
            let part = &self.parts[at];
            // What precedes a change of columns here precedes what an older one that waits there has still to read.
            let may_begin = |older: &(i32, i64)| self.has_come(at, *older) || self.waits(at, older.0);
            if !part.waits_for.is_empty() && part.waits_for.iter().all(may_begin) {
                let mut after = std::mem::take(&mut self.parts[at].waits_for);
                after.retain(|older| !self.has_come(at, *older));
                self.parts[at].after = after;
            } else if let Some(held) = part.held.as_ref().filter(|held| self.may_grow(at, held, quiet)) {
                let offset = held.offset;
                let part = &mut self.parts[at];
                (part.passes, part.after) = (Some(offset), Vec::new());
            } else {
                continue;
            }
            // What is read of the others must not come after what follows it.
            for place in self.places.get(&self.parts[at].topic.name).cloned().unwrap_or_default() {
                self.flush(place)?;
            }
            self.assign(at)?;
        }
        Ok(())
    }
}
