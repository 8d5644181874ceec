//! One round of a load: the sink's task is opened, fed with what is planned and closed, whatever happens.
//!
//! What must hold: every task that a round starts has ended when it returns, and what the sink had complete
//! by then is decided; so a round may be followed by another, under the same cut or a new one.

use std::sync::Arc;

use connector_api::{CancellationToken, ConnectorKind, Error, ErrorKind, Metrics, Result, TaskContext};
use tokio::sync::mpsc;
use tokio::task::JoinError;
use tracing::{Instrument as _, info_span};

use crate::assemble::Pipeline;
use crate::contain::{contain, from_panic};
use crate::feed::Feed;
use crate::load::{Load, Settings};
use crate::queue::queue;
use crate::report::End;
use crate::write::{WriteCounters, Writer};

impl Load {
    /// Moves the planned tables; every task it starts has ended when it returns.
    pub(crate) async fn transfer(&mut self) -> Result<End> {
        let sink_name = Arc::clone(&self.job.pipeline.sink_name);
        let metrics = Metrics::default();
        let task = self.shared.start_task(&sink_name, ConnectorKind::Sink, &metrics);
        let ended = self.transfer_as(task, metrics).await;
        let trace = match &ended {
            Err((error, true)) => Some(format!("{error:#}")),
            _ => None,
        };
        self.shared.end_task(&sink_name, task, trace);
        ended.map_err(|(error, _)| error)
    }

    /// The error comes with whether it is the sink's.
    async fn transfer_as(&mut self, task: u32, metrics: Metrics) -> std::result::Result<End, (Error, bool)> {
        let Settings { memory, shutdown_timeout, state_dir, .. } = self.job.settings.clone();
        let (sink_name, sink) = (Arc::clone(&self.job.pipeline.sink_name), Arc::clone(&self.job.pipeline.sink));
        // Cancelled only when a stop takes too long: work under way may end by itself first.
        let hard = CancellationToken::new();
        let counters = WriteCounters::new(&metrics);
        let context = TaskContext {
            connector: Arc::clone(&sink_name),
            task,
            cancel: hard.clone(),
            memory: memory / 2,
            metrics,
            state_dir,
        };
        let open = contain(&sink_name, "open", sink.open(context));
        let Some(opened) = self.cancel.run_until_cancelled(open).await else { return Ok(End::Cancelled) };
        let mut sink_task = opened.map_err(|e| (e, true))?;
        let wanted: Vec<_> = self.unsettled().iter().map(|plan| plan.schema.table().clone()).collect();
        let source_name = Arc::clone(&self.job.pipeline.source_name);
        let claim = contain(&sink_name, "claim", sink_task.claim(&source_name, &wanted));
        let ended = match self.cancel.run_until_cancelled(claim).await {
            Some(Ok(claims)) => {
                self.others.leave(claims);
                None
            }
            Some(Err(error)) if error.context("panic").is_some() => return Err((error, true)),
            Some(Err(error)) => Some(Err((error, true))),
            None => Some(Ok(End::Cancelled)),
        };
        if let Some(ended) = ended {
            // Nothing has begun; what is claimed is given back if that is quickly done.
            let _ = tokio::time::timeout(shutdown_timeout, contain(&sink_name, "close", sink_task.close())).await;
            return ended;
        }

        let (sender, receiver) = queue(memory / 16, &self.metrics);
        let (wrote, mut reports) = mpsc::channel(64);
        let stop = CancellationToken::new();
        let span = info_span!(parent: None, "write", connector = %sink_name, task);
        let writer = Writer {
            sink: Arc::clone(&sink_name),
            task: sink_task,
            queue: receiver,
            wrote,
            stop: stop.clone(),
            counters,
            undecided: Default::default(),
            foregone: Default::default(),
            unheard: false,
        };
        let mut writer = tokio::spawn(writer.run().instrument(span));
        let _abort = AbortOnDrop(writer.abort_handle());

        let mut feed = Feed::new(self, sender);
        let cancel = feed.load.cancel.clone();
        let ended = tokio::select! {
            biased;
            () = cancel.cancelled() => Ended::Cancelled,
            fed = feed.run(&mut reports) => fed.map_or_else(Ended::Source, |()| Ended::Fed),
            written = &mut writer => Ended::Sink(flat(&sink_name, written)),
        };

        // Whichever way it ended: readers first, then the writer, then what it reported on its way.
        feed.cancel.cancel();
        let Feed { load, mut readers, queue, .. } = feed;
        drop(queue);
        if !matches!(ended, Ended::Fed) {
            stop.cancel();
        }
        let is_over = matches!(ended, Ended::Sink(_));
        let drain = async {
            while readers.join_next().await.is_some() {}
            while let Some(report) = reports.recv().await {
                load.wrote(report);
            }
            if is_over { Ok(()) } else { flat(&sink_name, (&mut writer).await) }
        };
        let late = async {
            // What ends by itself, or is about to be tried again, may take its time unless a stop is asked for.
            if ended.may_go_on() {
                cancel.cancelled().await;
            }
            tokio::time::sleep(shutdown_timeout).await;
        };
        let closed = tokio::select! {
            biased;
            closed = drain => closed,
            () = late => {
                hard.cancel();
                let seconds = shutdown_timeout.as_secs();
                Err(Error::fatal("the stop took too long: what was left was dropped").with("seconds", seconds))
            }
        };
        match (ended, closed) {
            (Ended::Source(error), _) => Err((error, false)),
            (Ended::Sink(Err(error)), _) | (Ended::Cancelled | Ended::Fed, Err(error)) => Err((error, true)),
            (Ended::Sink(Ok(())), _) => Err((Error::fatal("the sink ended before the load did"), true)),
            (Ended::Cancelled, Ok(())) => Ok(End::Cancelled),
            (Ended::Fed, Ok(())) => Ok(End::Finished),
        }
    }

    /// Opens the sink's task with nothing to write, and closes it: what a run that died right after a commit
    /// left undone in the sink's own books is made good by the next run, whether or not it has rows.
    pub(crate) async fn tend(&mut self) -> Result<End> {
        let Pipeline { sink_name, sink, .. } = self.job.pipeline.clone();
        let (metrics, memory) = (Metrics::default(), self.job.settings.memory / 2);
        let task = self.shared.start_task(&sink_name, ConnectorKind::Sink, &metrics);
        let (connector, cancel) = (Arc::clone(&sink_name), self.cancel.clone());
        let state_dir = self.job.settings.state_dir.clone();
        let context = TaskContext { connector, task, cancel: cancel.clone(), memory, metrics, state_dir };
        let tended = async {
            let opened = contain(&sink_name, "open", sink.open(context)).await?;
            contain(&sink_name, "close", opened.close()).await
        };
        let ended = cancel.run_until_cancelled(tended).await;
        let trace = ended.as_ref().and_then(|e| e.as_ref().err()).map(|error| format!("{error:#}"));
        self.shared.end_task(&sink_name, task, trace);
        ended.map_or(Ok(End::Cancelled), |result| result.map(|()| End::Finished))
    }
}

/// Why the feeding ended.
enum Ended {
    /// Every table has its outcome.
    Fed,
    Cancelled,
    /// By an error of the source, or one that ends the round.
    Source(Error),
    /// The sink's task ended first.
    Sink(Result<()>),
}

impl Ended {
    fn may_go_on(&self) -> bool {
        match self {
            Self::Fed => true,
            Self::Source(error) | Self::Sink(Err(error)) => matches!(error.kind(), ErrorKind::Retriable { .. }),
            Self::Cancelled | Self::Sink(Ok(())) => false,
        }
    }
}

/// A dropped load leaves no task behind.
struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn flat(connector: &str, joined: std::result::Result<Result<()>, JoinError>) -> Result<()> {
    match joined.map_err(JoinError::try_into_panic) {
        Ok(result) => result,
        Err(Ok(panic)) => Err(from_panic(connector, "drop", &*panic)),
        Err(Err(aborted)) => Err(Error::fatal("a task was aborted").caused_by(aborted)),
    }
}
