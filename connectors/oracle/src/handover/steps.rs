//! What is to be done next at the worker, by what is found there. Pure: each step is decided anew from what is seen, so
//! that one whose answer was lost, or after which the program was killed, is neither repeated nor missed.
//!
//! What must hold: a connector that is not of this hand-over is not touched; offsets are set only where there are none;
//! none is set behind the back of a connector that has moved on.

use std::collections::BTreeMap;

use connector_api::config::split_list;
use connector_api::{Error, Result, TableId};
use regex::Regex;
use serde_json::Value;

use super::connector::{FIRST, MARK, MODE, TABLES, Wanted, include, marked};
use super::start::Start;

/// A connector as its worker shows it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Connector {
    pub(crate) config: BTreeMap<String, String>,
    /// Kafka Connect's word: RUNNING, STOPPED, PAUSED, FAILED, UNASSIGNED, RESTARTING; empty where none is known yet.
    pub(crate) state: String,
    /// What it failed of.
    pub(crate) trace: Option<String>,
    pub(crate) tasks: Vec<Task>,
    /// Each a partition and an offset.
    pub(crate) offsets: Vec<(Value, Value)>,
}

/// One of its tasks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Task {
    pub(crate) state: String,
    pub(crate) trace: Option<String>,
    /// The snapshot mode that it was started with.
    pub(crate) mode: Option<String>,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Make it, stopped.
    Create,
    /// Give it its configuration again.
    Configure,
    /// Stop it: it was started before it had offsets.
    Stop,
    /// Set its offsets.
    SetOffsets,
    /// Start it.
    Start,
    /// Start again what has failed.
    Restart,
    /// Let it start as every later time.
    Finish,
    /// Look again.
    Wait,
    /// Nothing is left to be done.
    Done,
}

impl Step {
    /// Whether it is of no use once the redo that the connector begins with is gone.
    pub(crate) fn needs_redo(self) -> bool {
        matches!(self, Self::Create | Self::Configure | Self::SetOffsets | Self::Start | Self::Restart)
    }
}

/// What this run has done already.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tried {
    /// It was started again after a failure.
    pub(crate) restarted: bool,
    /// It was given its configuration again: where what is read back still differs, that is not for us to end.
    pub(crate) configured: bool,
    /// Its mode was set to that of every later start, and it is to be seen running with it.
    pub(crate) finished: bool,
    /// Something was done just now, so that a failure which is still shown may be one of before.
    pub(crate) just_now: bool,
}

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Offsets {
    None,
    /// Those that it is to begin with: whoever has set them may have known other redo threads.
    First,
    /// It has begun, and is still reading the tables' structure.
    Reading,
    /// It has moved on.
    Moved,
    /// Those of something else.
    Foreign,
}

/// The next step.
///
/// # Errors
/// `Fatal` when what is there is not to be touched, or has failed for good.
pub(crate) fn next(seen: Option<&Connector>, wanted: &Wanted, tried: Tried) -> Result<Step> {
    let Some(seen) = seen else { return Ok(Step::Create) };
    let begun = seen.config.get(MARK).and_then(|mark| marked(mark));
    let Some((system, after)) = begun else {
        let what = "a connector of that name is there already, and was not made by a hand-over";
        return Err(refusal(what, wanted, "set another handover.connector.name, or delete the connector"));
    };
    if system != wanted.system {
        let what = "a connector of that name follows another database";
        return Err(refusal(what, wanted, "set another handover.connector.name").with("its_database", system));
    }
    match seen.config.get(MODE).map(String::as_str) == Some(FIRST) {
        true if after != wanted.start.after => {
            let what = "a connector of that name was made for other loads of the tables, and has not come to stream";
            Err(refusal(what, wanted, &anew(wanted)).with("its_scn", after).with("scn", wanted.start.after))
        }
        true => starting(seen, wanted, tried),
        false => later(seen, wanted, tried, after),
    }
}

/// Of one in its first start.
fn starting(seen: &Connector, wanted: &Wanted, tried: Tried) -> Result<Step> {
    let offsets = offsets(seen, wanted);
    let same = seen.config.iter().filter(|(key, _)| *key != "name").eq(wanted.config.iter());
    match (seen.state.as_str(), offsets) {
        ("" | "UNASSIGNED" | "RESTARTING", _) => Ok(Step::Wait),
        ("PAUSED", _) => {
            let remedy = format!("PUT /connectors/{}/resume, and run again", wanted.name);
            Err(refusal("someone has paused the connector", wanted, &remedy))
        }
        ("STOPPED", Offsets::None | Offsets::First) if !same && !tried.configured => Ok(Step::Configure),
        ("STOPPED", Offsets::None) => Ok(Step::SetOffsets),
        ("STOPPED", Offsets::First) if seen.offsets.iter().any(|(_, offset)| *offset != wanted.offset()) => {
            Ok(Step::SetOffsets)
        }
        ("STOPPED", Offsets::First) => Ok(Step::Start),
        (_, Offsets::Foreign) | ("STOPPED", _) => {
            let what = "the connector has offsets that this hand-over has not set";
            let remedy = format!(
                "if they are of an earlier connector of that name: DELETE /connectors/{name}/offsets while it is stopped; \
                 if someone has stopped it on its way: PUT /connectors/{name}/resume; and run again",
                name = wanted.name
            );
            let found: Vec<_> = seen.offsets.iter().map(|(_, offset)| offset.to_string()).collect();
            Err(refusal(what, wanted, &remedy).with("offsets", found.join(", ")))
        }
        (_, Offsets::None) => Ok(Step::Stop),
        _ if !same && !tried.configured => Ok(Step::Configure),
        (_, Offsets::Moved) => Ok(Step::Finish),
        (_, Offsets::First | Offsets::Reading) => match failure(seen) {
            Some(_) if tried.just_now => Ok(Step::Wait),
            Some(_) if !tried.restarted => Ok(Step::Restart),
            Some(trace) => {
                let remedy = format!(
                    "remove the cause and run again, which starts it again; GET /connectors/{}/status has the whole trace",
                    wanted.name
                );
                Err(failed(wanted, trace, &remedy))
            }
            None => Ok(Step::Wait),
        },
    }
}

/// Of one that is past its first start.
fn later(seen: &Connector, wanted: &Wanted, tried: Tried, after: u64) -> Result<Step> {
    if after > wanted.start.after {
        let what = "the connector follows the database from a later SCN than the tables were loaded at: changes between \
                    them are missing";
        return Err(refusal(what, wanted, &anew(wanted)).with("its_scn", after).with("scn", wanted.start.after));
    }
    if let Some(error) = uncaptured(seen, wanted) {
        return Err(error);
    }
    // A run that was killed just after it has set the mode leaves a task that has the old one for a moment.
    let is_first = |task: &Task| task.mode.as_deref() == Some(FIRST);
    let streams = !seen.tasks.is_empty() && seen.tasks.iter().all(|task| task.state == "RUNNING");
    match seen.state.as_str() {
        // Stopped and started it is by its operators.
        "PAUSED" | "STOPPED" => Ok(Step::Done),
        _ if seen.tasks.iter().any(is_first) => Ok(Step::Wait),
        _ => match failure(seen) {
            Some(_) if tried.just_now => Ok(Step::Wait),
            Some(trace) => {
                let remedy = format!(
                    "remove the cause, and POST /connectors/{name}/restart?includeTasks=true&onlyFailed=true; GET \
                     /connectors/{name}/status has the whole trace",
                    name = wanted.name
                );
                Err(failed(wanted, trace, &remedy))
            }
            None if streams || !tried.finished => Ok(Step::Done),
            None => Ok(Step::Wait),
        },
    }
}

/// What is to be done about tables that it does not capture, if there are any.
fn uncaptured(seen: &Connector, wanted: &Wanted) -> Option<Error> {
    let list = seen.config.get(TABLES)?;
    let missing: Vec<_> = wanted.starts.iter().filter(|(table, _)| !includes(list, table)).collect();
    let mut start = Start::earliest(missing.iter().map(|(_, start)| *start))?;
    // Where it has not come that far yet, it goes on from where it is. Of what it sends again, each table passes over
    // what it has; what is below an offset's commit_scn it would not send at all.
    for (_, offset) in &seen.offsets {
        start.after = start.after.min(scn(offset).unwrap_or(start.after));
        start.committed = start.committed.min(committed(offset).unwrap_or(start.committed));
    }
    let what = "tables were loaded that the connector does not capture";
    let tables: Vec<TableId> = missing.into_iter().map(|(table, _)| table.clone()).collect();
    let remedy = format!(
        "PUT /connectors/{name}/stop; PUT /connectors/{name}/config of its whole configuration with {} added to \
         table.include.list; PATCH /connectors/{name}/offsets of {}; PUT /connectors/{name}/resume",
        include(&tables),
        wanted.offsets_of(start),
        name = wanted.name
    );
    let tables: Vec<_> = tables.iter().map(TableId::to_string).collect();
    Some(refusal(what, wanted, &remedy).with("tables", tables.join(", ")))
}

/// The lowest SCN of an offset's `commit_scn`, which has one of each redo thread: `scn:thread:transactions,…`.
fn committed(offset: &Value) -> Option<u64> {
    let threads = offset["commit_scn"].as_str()?.split(',');
    threads.filter_map(|thread| thread.split(':').next()?.trim().parse().ok()).min()
}

/// Whether a list of regular expressions, as Debezium reads it, names a table: separated by commas that are not escaped,
/// each trimmed, anchored, and without regard to case.
fn includes(list: &str, table: &TableId) -> bool {
    let ours: Vec<String> = split_list(&include(std::slice::from_ref(table))).collect();
    let name = format!("{}.{}", table.schema(), table.name());
    // One that only Java understands captures no table for us: the error shows which it is about.
    let matches = |pattern: &str| Regex::new(&format!("(?i)^(?:{pattern})$")).is_ok_and(|regex| regex.is_match(&name));
    split_list(list).any(|pattern| ours.contains(&pattern) || matches(&pattern))
}

fn offsets(seen: &Connector, wanted: &Wanted) -> Offsets {
    let (partition, offset) = match &seen.offsets[..] {
        [] => return Offsets::None,
        [one] => one,
        _ => return Offsets::Foreign,
    };
    if *partition != wanted.partition() {
        return Offsets::Foreign;
    }
    let scn = scn(offset);
    // One that has begun has more in it: the snapshot's state, or the transaction's.
    let bare = offset.as_object().is_some_and(|all| all.keys().all(|key| matches!(key.as_str(), "scn" | "commit_scn")));
    match scn {
        Some(scn) if scn == wanted.start.after && bare => Offsets::First,
        Some(scn) if scn >= wanted.start.after => match offset["snapshot_completed"].as_bool() {
            Some(false) => Offsets::Reading,
            _ => Offsets::Moved,
        },
        _ => Offsets::Foreign,
    }
}

/// The SCN of an offset.
fn scn(offset: &Value) -> Option<u64> {
    offset["scn"].as_str().and_then(|scn| scn.parse().ok())
}

/// What it or one of its tasks has failed of.
fn failure(seen: &Connector) -> Option<&str> {
    let of_tasks = seen.tasks.iter().map(|task| (&task.state, &task.trace));
    let mut all = std::iter::once((&seen.state, &seen.trace)).chain(of_tasks);
    let (_, trace) = all.find(|(state, _)| state.as_str() == "FAILED")?;
    Some(trace.as_deref().unwrap_or_default())
}

fn failed(wanted: &Wanted, trace: &str, remedy: &str) -> Error {
    // The outermost words, and the innermost, which mostly say why.
    let first = trace.lines().next().unwrap_or_default();
    let cause = trace.lines().rfind(|line| line.starts_with("Caused by: ")).unwrap_or_default();
    let error = refusal("Debezium's connector has failed", wanted, remedy).with("trace", first);
    if cause.is_empty() { error } else { error.with("cause", cause.trim_start_matches("Caused by: ")) }
}

fn anew(wanted: &Wanted) -> String {
    format!(
        "delete the connector, its offsets (DELETE /connectors/{name}/offsets, while it is stopped) and the topic of its \
         schema history, and run again; or set another handover.connector.name and topic.prefix",
        name = wanted.name
    )
}

fn refusal(what: &str, wanted: &Wanted, remedy: &str) -> Error {
    Error::fatal(what).with("connector", &wanted.name).with("remedy", remedy)
}

#[cfg(test)]
mod tests;
