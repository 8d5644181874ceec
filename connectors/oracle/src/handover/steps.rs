//! What is to be done next at the worker, by what is found there. Pure: each step is decided anew from what is seen, so
//! that one whose answer was lost, or after which the program was killed, is neither repeated nor missed.
//!
//! What must hold: a connector that is not of this hand-over is not touched; offsets are set only where there are none;
//! none is set behind the back of a connector that has moved on.

use std::collections::BTreeMap;

use connector_api::{Error, Result};
use serde_json::Value;

use super::connector::{FIRST, LATER, MARK, MODE, TABLES, Wanted, marked};

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

/// What this run has done already.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tried {
    /// It was started again after a failure.
    pub(crate) restarted: bool,
    /// Its mode was set to that of every later start.
    pub(crate) finished: bool,
    /// Something was done just now, so that a failure which is still shown may be one of before.
    pub(crate) just_now: bool,
}

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Offsets {
    None,
    /// Those that it is to begin with.
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
        ("STOPPED", Offsets::None | Offsets::First) if !same => Ok(Step::Configure),
        ("STOPPED", Offsets::None) => Ok(Step::SetOffsets),
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
        _ if !same && !tried.restarted => Ok(Step::Configure),
        (_, Offsets::Moved) => Ok(Step::Finish),
        (_, Offsets::First | Offsets::Reading) => match failure(seen) {
            Some(_) if tried.just_now => Ok(Step::Wait),
            Some(_) if !tried.restarted => Ok(Step::Restart),
            Some(trace) => Err(failed(wanted, trace)),
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
    let captured: Vec<_> = seen.config.get(TABLES).map(|list| list.split(',').collect()).unwrap_or_default();
    let tables = wanted.config.get(TABLES).map(String::as_str).unwrap_or_default();
    let missing: Vec<_> = tables.split(',').filter(|table| !captured.contains(table)).collect();
    if !missing.is_empty() {
        let what = "tables were loaded that the connector does not capture";
        let remedy = format!(
            "stop it, add them to its table.include.list, set its offsets back to scn {} (PATCH \
             /connectors/{}/offsets), and resume it",
            wanted.start.after, wanted.name
        );
        return Err(refusal(what, wanted, &remedy).with("tables", missing.join(",")));
    }
    let now = |task: &Task| task.mode.as_deref() == Some(LATER);
    match seen.state.as_str() {
        // What becomes of it later is its operators' business.
        _ if !tried.finished => Ok(Step::Done),
        "PAUSED" | "STOPPED" => Ok(Step::Done),
        _ if !seen.tasks.iter().all(now) => Ok(Step::Wait),
        _ => match failure(seen) {
            Some(_) if tried.just_now => Ok(Step::Wait),
            Some(trace) => Err(failed(wanted, trace)),
            None if !seen.tasks.is_empty() && seen.tasks.iter().all(|task| task.state == "RUNNING") => Ok(Step::Done),
            None => Ok(Step::Wait),
        },
    }
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
    if *offset == wanted.offset() {
        return Offsets::First;
    }
    let scn: Option<u64> = offset["scn"].as_str().and_then(|scn| scn.parse().ok());
    match scn {
        Some(scn) if scn >= wanted.start.after => match offset["snapshot_completed"].as_bool() {
            Some(false) => Offsets::Reading,
            _ => Offsets::Moved,
        },
        _ => Offsets::Foreign,
    }
}

/// What it or one of its tasks has failed of.
fn failure(seen: &Connector) -> Option<&str> {
    let of_tasks = seen.tasks.iter().map(|task| (&task.state, &task.trace));
    let mut all = std::iter::once((&seen.state, &seen.trace)).chain(of_tasks);
    let (_, trace) = all.find(|(state, _)| state.as_str() == "FAILED")?;
    Some(trace.as_deref().unwrap_or_default())
}

fn failed(wanted: &Wanted, trace: &str) -> Error {
    // The outermost words, and the innermost, which mostly say why.
    let first = trace.lines().next().unwrap_or_default();
    let cause = trace.lines().rfind(|line| line.starts_with("Caused by: ")).unwrap_or_default();
    let remedy = format!(
        "remove the cause and run again, which starts it again; GET /connectors/{}/status has the whole trace",
        wanted.name
    );
    let error = refusal("Debezium's connector has failed", wanted, &remedy).with("trace", first);
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
