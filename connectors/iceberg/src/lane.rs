//! One table's load on its way into data files: an encoder per split being read, none of it visible.
//!
//! What must hold: every row of every split exactly once; a lane that is dropped leaves no files. Must
//! not know other tables.

use std::collections::HashMap;
use std::sync::Arc;

use connector_api::{ChangeBatch, Error, Result, SplitId, Tracker};
use iceberg::spec::DataFile;

use crate::publish::Publication;
use crate::schema;
use crate::writer::{Encoder, Shape, Target};

/// A table being loaded.
pub(crate) struct Lane {
    publication: Publication,
    shape: Shape,
    target: Target,
    tracker: Tracker,
    ended: usize,
    busy: HashMap<SplitId, Encoder>,
    /// Encoders of ended splits: the next split goes on in their files, so that many small splits do not
    /// make many small files.
    idle: Vec<Encoder>,
    /// When the load began, milliseconds since 1970.
    pub(crate) started_ms: i64,
    /// Rows accepted.
    pub(crate) rows: u64,
}

impl Lane {
    /// A lane for a publication. `target` is where its files go.
    pub(crate) fn new(publication: Publication, target: Target, started_ms: i64) -> Self {
        let arrow = schema::file_schema(&publication.load().schema, publication.schema());
        let schema = Arc::new(publication.schema().clone());
        let shape = Shape { schema, arrow, spec: Arc::new(publication.spec().clone()) };
        Self {
            publication,
            shape,
            target,
            tracker: Tracker::default(),
            ended: 0,
            busy: HashMap::new(),
            idle: Vec::new(),
            started_ms,
            rows: 0,
        }
    }

    /// What will be published.
    pub(crate) fn publication(&self) -> &Publication {
        &self.publication
    }

    /// Splits whose rows are all here.
    pub(crate) fn splits_done(&self) -> usize {
        self.ended
    }

    /// Accepts rows.
    ///
    /// # Errors
    /// `Fatal` when they are out of line (a bug in the source); else what stopped the encoder.
    pub(crate) async fn write(&mut self, batch: &ChangeBatch) -> Result<()> {
        self.tracker.advance(batch.span())?;
        let rows = batch.rows();
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let split = &batch.span().split;
        let encoder = match self.busy.remove(split).or_else(|| self.idle.pop()) {
            Some(encoder) => encoder,
            None => Encoder::start(self.shape.clone(), self.target.clone())?,
        };
        self.rows += rows.num_rows() as u64;
        self.busy.entry(split.clone()).or_insert(encoder).write(rows.clone(), batch.bytes()).await
    }

    /// Notes the end of a split.
    pub(crate) fn split_done(&mut self, split: &SplitId) {
        self.ended += 1;
        self.idle.extend(self.busy.remove(split));
    }

    /// Gives the load up, and waits until its files are deleted.
    pub(crate) async fn discard(self) {
        let encoders = self.busy.into_values().chain(self.idle);
        futures::future::join_all(encoders.map(Encoder::discard)).await;
    }

    /// Closes the files.
    ///
    /// # Errors
    /// `Fatal` when splits are missing; else what stopped an encoder. No file stays then.
    pub(crate) async fn finish(self) -> Result<(Publication, Vec<DataFile>)> {
        let splits = self.publication.load().splits;
        if self.ended != splits {
            return Err(Error::fatal("a load is to be published before all its splits are done")
                .with("splits", splits)
                .with("done", self.ended));
        }
        let encoders: Vec<Encoder> = self.busy.into_values().chain(self.idle).collect();
        let mut files = Vec::new();
        let mut failure = None;
        for outcome in futures::future::join_all(encoders.into_iter().map(Encoder::finish)).await {
            match outcome {
                Ok(more) => files.extend(more),
                Err(e) => failure = failure.or(Some(e)),
            }
        }
        match failure {
            None => Ok((self.publication, files)),
            Some(e) => {
                let paths = files.iter().map(|f| f.file_path());
                crate::commit::delete_best_effort(&self.target.storage, paths).await;
                Err(e)
            }
        }
    }
}
