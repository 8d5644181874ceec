//! What is left of a load once its tables have their outcomes: the source's hand-over, and its task's end.
//!
//! What must hold: nothing is handed over before every selected table is in the sink; what comes of it changes no
//! table's outcome. Of the sink it only reads where the tables stand, since the sink may follow its log meanwhile.

use std::sync::Arc;

use connector_api::{CancellationToken, Error};
use tracing::{Instrument as _, Span, warn};

use crate::assemble::Pipeline;
use crate::contain::contain;
use crate::report::{End, LoadReport};
use crate::status::Shared;

/// A load whose tables have their outcomes.
pub(crate) struct Settled {
    /// What came of them.
    pub(crate) report: LoadReport,
    pub(crate) pipeline: Pipeline,
    /// Which database they are of, once the source has said so.
    pub(crate) system: Option<String>,
    /// The source's task number.
    pub(crate) task: u32,
    pub(crate) shared: Arc<Shared>,
    pub(crate) cancel: CancellationToken,
    pub(crate) span: Span,
}

impl Settled {
    /// Lets the source hand over, if it does, and ends its task: the whole report.
    pub(crate) async fn hand_over(mut self) -> LoadReport {
        let span = self.span.clone();
        self.report.hand_over = self.handed_over().instrument(span).await;
        self.shared.end_task(&self.report.source, self.task, self.report.trace());
        self.report
    }

    /// How the hand-over ended; `None` where there was none.
    async fn handed_over(&self) -> Option<End> {
        let Pipeline { source_name, source, sink_name, sink, .. } = &self.pipeline;
        let hand_over = source.hand_over().filter(|_| matches!(self.report.end, End::Finished))?;
        let tables: Vec<_> = self.report.tables.iter().map(|t| t.table.clone()).collect();
        let system = self.system.as_ref().filter(|_| !tables.is_empty())?;
        if !self.report.complete() {
            warn!("nothing is handed over before every selected table is loaded");
            return None;
        }
        let work = async {
            let held = contain(sink_name, "progress", sink.progress(&tables)).await?.of_system(system);
            contain(source_name, "hand_over", hand_over.hand_over(source_name, &held)).await
        };
        let failed =
            |error: Error| Error::new(error.kind(), "the tables are loaded, and not handed over").caused_by(error);
        Some(match self.cancel.run_until_cancelled(work).await {
            Some(Ok(())) => End::Finished,
            Some(Err(error)) => End::Failed(failed(error)),
            None => End::Cancelled,
        })
    }
}
