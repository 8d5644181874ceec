//! Where the last event of a table stood in one of its source's logs, and whether another one is new. Pure.
//!
//! Events come in the order in which their transactions committed. What orders those of PostgreSQL is the place of the
//! commit before each; of Oracle its own commit's SCN, which several may share: then they are told apart by their numbers,
//! for their order is that of the log, and the same when they come again.
//!
//! What must hold: an event that was met is known again, and none counts as met that was not.

use std::cmp::Ordering;
use std::fmt;

use connector_debezium::SourcePosition;

/// A place in a log of the source's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Last {
    /// Which log, where the source has several.
    thread: u64,
    /// What orders transactions.
    commit: u64,
    /// The transaction there that was met last, and others. Mostly there are none, and a copy costs no memory.
    met: Met,
    others: Vec<Met>,
}

/// How far a transaction was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Met {
    /// Which it is, where others may share its commit.
    transaction: Option<u64>,
    /// The place of the last event within it. A place of PostgreSQL's alone may be higher than one of a transaction that
    /// committed later.
    own: u64,
    /// Events of the table seen there.
    count: u64,
    /// The last one's number within its transaction, where Debezium tells.
    order: Option<u64>,
    /// While a run comes again: how many events were met again at this place.
    again: Option<u64>,
}

/// What an event is to those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meeting {
    /// It was not met before.
    New,
    /// That cannot be told: several events share one place.
    Tie,
    /// It was met before.
    Again,
    /// It is new, after a run that went back and did not come as far as the last one.
    Gap,
}

impl Last {
    /// Which log it stands in.
    pub(crate) fn thread(&self) -> u64 {
        self.thread
    }

    /// The log that an event stands in.
    pub(crate) fn thread_of(event: &SourcePosition) -> u64 {
        event.thread.unwrap_or(0)
    }

    /// The first event of a log, if it says where it stands.
    pub(crate) fn first(event: &SourcePosition) -> Option<Self> {
        let (commit, met) = (Self::commit_of(event), Met::first(event)?);
        Some(Self { thread: Self::thread_of(event), commit, met, others: Vec::new() })
    }

    fn commit_of(event: &SourcePosition) -> u64 {
        event.commit.or(event.preceding).unwrap_or(0)
    }

    /// Meets an event of the same log, which is the last one after that, and says what it is; `None` for one that does not
    /// say where it stands. After that and after a gap this means nothing. Without a key no two events are of one number
    /// within their transaction.
    pub(crate) fn meet(&mut self, event: &SourcePosition, has_key: bool) -> Option<Meeting> {
        let (commit, next) = (Self::commit_of(event), Met::first(event)?);
        let is_back = self.met.again == Some(0) && self.others.iter().all(|met| met.again == Some(0));
        match commit.cmp(&self.commit) {
            Ordering::Greater if is_back => return Some(Meeting::Gap),
            Ordering::Greater => {
                (self.commit, self.met) = (commit, next);
                self.others.clear();
                return Some(Meeting::New);
            }
            Ordering::Less => return Some(self.go_back()),
            Ordering::Equal => {}
        }
        if self.met.transaction != next.transaction {
            match self.others.iter_mut().find(|met| met.transaction == next.transaction) {
                Some(met) => std::mem::swap(&mut self.met, met),
                None if is_back => return Some(Meeting::Gap),
                None => {
                    self.others.push(std::mem::replace(&mut self.met, next));
                    return Some(Meeting::New);
                }
            }
        }
        Some(match next.own.cmp(&self.met.own) {
            Ordering::Greater if is_back => Meeting::Gap,
            Ordering::Greater => {
                self.met = next;
                Meeting::New
            }
            Ordering::Less => self.go_back(),
            Ordering::Equal => self.met.meet(next.order, event.within.is_some() && !has_key),
        })
    }

    /// A run comes again, from before the last event on.
    fn go_back(&mut self) -> Meeting {
        self.met.again = Some(0);
        self.others.iter_mut().for_each(|met| met.again = Some(0));
        Meeting::Again
    }

    /// Reads `{commit},{own}`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (commit, own) = text.split_once(',')?;
        let met = Met::at(None, own.parse().ok()?, None);
        Some(Self { thread: 0, commit: commit.parse().ok()?, met, others: Vec::new() })
    }

    /// Reads what else [`Display`](fmt::Display) writes.
    pub(crate) fn set(&mut self, name: &str, value: &str) -> Option<()> {
        match name {
            "thread" => self.thread = value.parse().ok()?,
            "also" => self.others.push(Met::at(None, value.parse().ok()?, None)),
            _ => {
                let met = self.others.last_mut().unwrap_or(&mut self.met);
                match name {
                    "tx" => met.transaction = Some(u64::from_str_radix(value, 16).ok()?),
                    "count" => met.count = value.parse().ok()?,
                    "order" => met.order = Some(value.parse().ok()?),
                    "again" => met.again = Some(value.parse().ok()?),
                    _ => return None,
                }
            }
        }
        Some(())
    }
}

impl Met {
    fn at(transaction: Option<u64>, own: u64, order: Option<u64>) -> Self {
        Self { transaction, own, count: 1, order, again: None }
    }

    fn first(event: &SourcePosition) -> Option<Self> {
        // Oracle's SCN may go back within a transaction where its number there does not.
        let own = event.within.or(event.own)?;
        Some(Self::at(event.transaction.filter(|_| event.commit.is_some()), own, event.total_order))
    }

    /// Meets an event at the same place. `is_same`: there is but one.
    fn meet(&mut self, order: Option<u64>, is_same: bool) -> Meeting {
        match (self.order, order, self.again) {
            (.., again) if is_same => {
                self.again = Some(again.unwrap_or(0) + 1);
                Meeting::Again
            }
            (Some(before), Some(now), _) if now > before => {
                *self = Self { count: self.count + 1, order, again: None, ..*self };
                Meeting::New
            }
            (Some(_), Some(_), again) => {
                self.again = Some(again.unwrap_or(0) + 1);
                Meeting::Again
            }
            (.., Some(again)) if again < self.count => {
                self.again = Some(again + 1);
                Meeting::Again
            }
            (.., again) => {
                (self.count, self.again) = (self.count + 1, None);
                if again.is_none() { Meeting::Tie } else { Meeting::New }
            }
        }
    }
}

/// `last=24023119,24023128 count=2 order=3`, `last=2000600,3 thread=1 tx=2000300ff000000 also=1 tx=5000100ff000000`.
impl fmt::Display for Last {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, met) in std::iter::once(&self.met).chain(&self.others).enumerate() {
            match i {
                0 => write!(f, "last={},{}", self.commit, met.own)?,
                _ => write!(f, " also={}", met.own)?,
            }
            if i == 0 && self.thread != 0 {
                write!(f, " thread={}", self.thread)?;
            }
            if let Some(transaction) = met.transaction {
                write!(f, " tx={transaction:x}")?;
            }
            if met.count != 1 {
                write!(f, " count={}", met.count)?;
            }
            for (name, value) in [("order", met.order), ("again", met.again)] {
                if let Some(value) = value {
                    write!(f, " {name}={value}")?;
                }
            }
        }
        Ok(())
    }
}
