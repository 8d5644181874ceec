//! What goes wrong on demand, and what was seen.
//!
//! What must hold: a fault strikes exactly where and as often as a test said, and a test can ask whether it did.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What a fault does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The call ends with this ORA- error.
    Error(u32),
    /// So many bytes of the response are sent, then the connection is closed.
    Cut(usize),
    /// So many rows of the response are sent whole and a part of the next, then the connection is closed.
    CutAfterRows(usize),
    /// Nothing is answered for so long, unless the client breaks or the faults are taken away; then the call goes on.
    Stall(Duration),
}

/// At which calls a fault may strike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    Execution,
    Fetch,
}

/// A fault: where, from which time on, how often, what.
#[derive(Clone, Debug)]
pub struct Fault {
    pattern: String,
    moment: Option<Moment>,
    skip: usize,
    times: usize,
    effect: Effect,
}

impl Fault {
    /// At any call of a statement that contains a text, case and white space aside. Once, at the first.
    pub fn on(pattern: &str, effect: Effect) -> Self {
        Self { pattern: normal(pattern), moment: None, skip: 0, times: 1, effect }
    }

    /// Only at the execution, which sends the first rows too.
    pub fn at_execution(self) -> Self {
        Self { moment: Some(Moment::Execution), ..self }
    }

    /// Only at fetches after the execution.
    pub fn at_fetch(self) -> Self {
        Self { moment: Some(Moment::Fetch), ..self }
    }

    /// Not at the first so many calls that match.
    pub fn after(self, calls: usize) -> Self {
        Self { skip: calls, ..self }
    }

    /// So many times.
    pub fn times(self, times: usize) -> Self {
        Self { times, ..self }
    }
}

fn normal(sql: &str) -> String {
    sql.split_whitespace().collect::<Vec<_>>().join(" ").to_uppercase()
}

#[derive(Default)]
struct State {
    faults: Vec<Fault>,
    latency: Duration,
    statements: Vec<String>,
    struck: usize,
    round_trips: u64,
    sessions: u64,
    breaks: u64,
    refusal: Option<u32>,
}

/// The faults of a server, and what it has seen; shared by its sessions and the test.
#[derive(Clone, Default)]
pub struct Faults {
    state: Arc<Mutex<State>>,
}

impl Faults {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a fault.
    pub fn add(&self, fault: Fault) {
        self.state().faults.push(fault);
    }

    /// Takes all faults away; calls that are stalled go on.
    pub fn clear(&self) {
        let mut state = self.state();
        state.faults.clear();
        state.refusal = None;
    }

    /// Each answer is held back for so long.
    pub fn latency(&self, latency: Duration) {
        self.state().latency = latency;
    }

    /// The listener refuses connections with this ORA- number, from now on.
    pub fn refuse_connections(&self, code: u32) {
        self.state().refusal = Some(code);
    }

    /// How many times faults have struck.
    pub fn struck(&self) -> usize {
        self.state().struck
    }

    /// The statements that were executed, in order, as they were sent.
    pub fn statements(&self) -> Vec<String> {
        self.state().statements.clone()
    }

    /// Forgets the statements seen so far.
    pub fn forget_statements(&self) {
        self.state().statements.clear();
    }

    /// Requests that were answered, by all sessions.
    pub fn round_trips(&self) -> u64 {
        self.state().round_trips
    }

    /// Sessions that have logged in.
    pub fn sessions(&self) -> u64 {
        self.state().sessions
    }

    /// Calls that a client has broken off.
    pub fn breaks(&self) -> u64 {
        self.state().breaks
    }

    pub(crate) fn are_cleared(&self) -> bool {
        self.state().faults.is_empty()
    }

    pub(crate) fn refusal(&self) -> Option<u32> {
        self.state().refusal
    }

    pub(crate) fn saw_statement(&self, sql: &str) {
        self.state().statements.push(sql.trim_end_matches('\0').to_owned());
    }

    pub(crate) fn saw_session(&self) {
        self.state().sessions += 1;
    }

    pub(crate) fn saw_break(&self) {
        self.state().breaks += 1;
    }

    /// Counts a round trip, and says how long its answer is held back.
    pub(crate) fn saw_round_trip(&self) -> Duration {
        let mut state = self.state();
        state.round_trips += 1;
        state.latency
    }

    /// The fault that strikes a call.
    pub(crate) fn strikes(&self, moment: Moment, sql: &str) -> Option<Effect> {
        let mut state = self.state();
        if state.faults.is_empty() {
            return None;
        }
        let sql = normal(sql);
        let matching = |f: &&mut Fault| f.times > 0 && f.moment.is_none_or(|m| m == moment) && sql.contains(&f.pattern);
        let mut effect = None;
        for fault in state.faults.iter_mut().filter(matching) {
            if fault.skip > 0 {
                fault.skip -= 1;
            } else if effect.is_none() {
                fault.times -= 1;
                effect = Some(fault.effect.clone());
            }
        }
        state.struck += usize::from(effect.is_some());
        effect
    }
}
