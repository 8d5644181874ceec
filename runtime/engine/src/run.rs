//! Loads side by side, each to the end of its hand-over.
//!
//! What must hold: a sink is told of once, and not before all of its loads have ended; no load and no sink waits for
//! another source's hand-over, nor a sink for its own sources'.

use std::collections::BTreeMap;
use std::sync::Arc;

use connector_api::{CancellationToken, Error, Result};
use tokio::task::{JoinError, JoinSet};

use crate::follow::Owed;
use crate::load::{Job, load};
use crate::report::LoadReport;
use crate::status::Shared;

/// Runs loads to their ends and tells what came of each. Once the tables of a sink's last load have their outcomes,
/// `loaded` is told the sink and what its loads have left undone: it may follow its log from then on, while sources
/// hand over. Cancelling the token stops all cleanly.
///
/// # Errors
/// `Fatal` when a load panicked outside its connectors' calls.
pub async fn run(
    jobs: Vec<Job>,
    shared: &Arc<Shared>,
    cancel: &CancellationToken,
    mut loaded: impl FnMut(&str, Owed),
) -> Result<Vec<LoadReport>> {
    let (mut loads, mut hand_overs, mut reports) = (JoinSet::new(), JoinSet::new(), Vec::new());
    let mut sinks: BTreeMap<Arc<str>, (usize, Owed)> = BTreeMap::new();
    for job in jobs {
        sinks.entry(Arc::clone(&job.pipeline.sink_name)).or_default().0 += 1;
        loads.spawn(load(job, Arc::clone(shared), cancel.clone()));
    }
    while let Some(settled) = loads.join_next().await {
        let settled = settled.map_err(died)?;
        if let Some((left, owed)) = sinks.get_mut(&settled.report.sink) {
            owed.add(&settled.report);
            *left -= 1;
            if *left == 0 {
                loaded(&settled.report.sink, std::mem::take(owed));
            }
        }
        hand_overs.spawn(settled.hand_over());
    }
    while let Some(report) = hand_overs.join_next().await {
        reports.push(report.map_err(died)?);
    }
    Ok(reports)
}

fn died(error: JoinError) -> Error {
    Error::fatal("a load ended abnormally").caused_by(error)
}
