//! One table that a log is followed into: what is committed of it, and the next stretch on its way there.
//!
//! What must hold: stretches are committed one after the other, each on the table as the one before left it; after
//! a failure nothing more is committed before the lane is opened anew from what the catalog says.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use connector_api::{Error, LogBatch, LogSpan, Marks, Result, TableId, TableSchema, failpoint};
use iceberg::TableIdent;
use iceberg::spec::{FormatVersion, PartitionSpec, Schema, SchemaRef};
use iceberg::table::Table;
use tokio::runtime::Handle;

use super::advance::Advance;
use super::keyed::KeyIndex;
use super::prepare::{Prepared, Stretch};
use super::shared::Shared;
use crate::commit::{self, Site, delete_best_effort, new_snapshot_id};
use crate::journal::Attempt;
use crate::ledger::{self, Described};
use crate::position;
use crate::schema::{self, Evolution};
use crate::writer::{Shape, Target};

/// What a lane takes in.
#[derive(Debug)]
pub(super) enum Item {
    Changes(LogBatch),
    Truncate(LogSpan),
}

impl Item {
    pub(super) fn span(&self) -> &LogSpan {
        match self {
            Self::Changes(batch) => batch.span(),
            Self::Truncate(span) => span,
        }
    }
}

/// The committed side of a lane.
pub(super) struct Lane {
    shared: Arc<Shared>,
    table: TableId,
    ident: TableIdent,
    /// The table as the log knew it when the lane was opened.
    wanted: Arc<TableSchema>,
    /// The table as the last commit left it; `None` before it is made.
    base: Option<Table>,
    site: Site,
    epochs: (i64, i64),
    /// How far the log is applied, durably.
    marks: Marks,
    /// How far it is applied when changes without rows count, which wait for the next commit.
    reached: Marks,
    /// Partitions of which something has come since the lane was opened.
    heard: BTreeSet<Arc<str>>,
    committed: Instant,
    index: Option<KeyIndex>,
    begun: Option<Begun>,
}

/// A commit that is being written, in parts where a transaction is larger than a commit (P7).
struct Begun {
    snapshot_id: i64,
    attempt: Attempt,
    /// The files of all parts.
    prepared: Prepared,
    /// Whether what the table holds is gone.
    clear: bool,
    /// The table as it is to be, whether that is more than it was, and as its source describes it.
    schema: Schema,
    grown: bool,
    source: TableSchema,
}

/// What a stretch came to.
#[derive(Debug, Default)]
pub(super) struct Flushed {
    /// How far the log is applied now, durably.
    pub(super) marks: Marks,
    /// Data files and their bytes.
    pub(super) files: (usize, u64),
    /// The snapshot, if there is a new one, and the writer generation that made it.
    pub(super) snapshot: Option<(i64, i64)>,
}

impl Lane {
    /// Opens a table where it stands.
    ///
    /// # Errors
    /// `Data` when the table is not there and must not be made, or is not what its record says.
    pub(super) async fn open(shared: Arc<Shared>, wanted: Arc<TableSchema>, create: bool) -> Result<Self> {
        let table = wanted.table().clone();
        let ident = shared.place.ident(&table)?;
        let base = shared.committer.load(&ident).await?;
        let (site, epoch, marks) = match &base {
            Some(found) => {
                let metadata = found.metadata();
                position::followed(metadata, &table)?;
                if metadata.format_version() > FormatVersion::V2 {
                    return Err(Error::data(
                        "changes cannot be applied to a table of format version 3 yet: load it again with version 2",
                    )
                    .with("table", &table));
                }
                let site = Site {
                    uuid: metadata.uuid(),
                    location: metadata.location().trim_end_matches('/').to_owned(),
                    storage: found.file_io().clone(),
                    properties: HashMap::new(),
                };
                (site, position::epoch(metadata), position::marks(metadata))
            }
            None if create => {
                let schema = schema::iceberg_schema(&wanted, None)?;
                (shared.committer.site(&ident, &schema).await?, 0, Marks::new())
            }
            None => return Err(Error::data("the table is not there").with("table", &table).with("name", &ident)),
        };
        Ok(Self {
            shared,
            table,
            ident,
            wanted,
            base,
            site,
            epochs: (epoch, epoch + 1),
            reached: marks.clone(),
            marks,
            heard: BTreeSet::new(),
            committed: Instant::now(),
            index: None,
            begun: None,
        })
    }

    /// Writes a stretch of the log that ends within a transaction. It is committed with the rest.
    pub(super) async fn stage(&mut self, items: Vec<Item>) -> Result<()> {
        let (batches, clear) = self.take(items)?;
        if !batches.is_empty() || clear {
            let begun = self.write(batches, clear, false).await?;
            self.begun = Some(begun);
            failpoint::hit("iceberg.follow.after-part")?;
        }
        Ok(())
    }

    /// Commits a stretch of the log, with what was staged before it; one without rows waits for the next, for up to
    /// `position.commit.interval-ms`.
    pub(super) async fn flush(&mut self, items: Vec<Item>) -> Result<Flushed> {
        let (batches, clear) = self.take(items)?;
        let idle = batches.is_empty() && !clear && self.begun.is_none();
        let waited = self.committed.elapsed() >= self.shared.place.config.follow.position_interval;
        if idle && (self.reached == self.marks || self.base.is_none() || !waited) {
            return Ok(Flushed { marks: self.marks.clone(), ..Flushed::default() });
        }
        self.commit(batches, clear).await
    }

    /// Takes a stretch for what comes next: its rows behind the last truncation, and whether there was one.
    fn take(&mut self, items: Vec<Item>) -> Result<(Vec<LogBatch>, bool)> {
        self.reached = self.follow(&items)?;
        let cleared = items.iter().rposition(|item| matches!(item, Item::Truncate(_)));
        let rows = items.into_iter().skip(cleared.map_or(0, |at| at + 1)).filter_map(|item| match item {
            Item::Changes(batch) if batch.rows().num_rows() > 0 => Some(batch),
            Item::Changes(_) | Item::Truncate(_) => None,
        });
        Ok((rows.collect(), cleared.is_some()))
    }

    /// How far the items reach.
    ///
    /// # Errors
    /// `Retriable` when the first of a partition does not follow what is applied: another instance has moved the table
    /// since the log asked where it stands. `Fatal` when items do not follow each other: a bug in a log.
    fn follow(&mut self, items: &[Item]) -> Result<Marks> {
        let mut reached = self.reached.clone();
        for span in items.iter().map(Item::span) {
            let is_first = self.heard.insert(Arc::clone(&span.partition));
            if reached.get(&span.partition) != span.after.as_ref() {
                let error = match is_first {
                    true => Error::retriable("another instance applies changes to the table"),
                    false => Error::fatal("the log delivered changes out of line"),
                };
                return Err(error
                    .with("table", &self.table)
                    .with("partition", &span.partition)
                    .with("applied", reached.get(&span.partition).map_or("nothing", |mark| mark))
                    .with("after", span.after.as_deref().unwrap_or("nothing")));
            }
            reached.insert(Arc::clone(&span.partition), Arc::clone(&span.upto));
        }
        Ok(reached)
    }

    /// Writes a stretch and stages its index, after what is begun. The index knows the last one of a commit by its
    /// snapshot, and those before it by names of their own.
    async fn write(&mut self, batches: Vec<LogBatch>, clear: bool, is_last: bool) -> Result<Begun> {
        let (grown, schema) = self.schema(&batches)?;
        let source = self.source_schema(&batches, &schema)?;
        let mut begun = match self.begun.take() {
            Some(begun) if batches.is_empty() => begun,
            Some(begun) => Begun { schema, grown: begun.grown || grown, source, ..begun },
            None => {
                let snapshot_id = new_snapshot_id();
                let attempt = self.shared.journal.attempt(snapshot_id, &self.ident);
                Begun { snapshot_id, attempt, prepared: Prepared::default(), clear, schema, grown, source }
            }
        };
        if clear {
            let (gone, storage) = (std::mem::take(&mut begun.prepared), &self.site.storage);
            delete_best_effort(storage, gone.paths().collect::<Vec<_>>().iter().map(String::as_str)).await;
            begun.clear = true;
        }
        match self.put(&mut begun, batches, clear, is_last).await {
            Ok(()) => Ok(begun),
            Err(e) => {
                self.discard(begun).await;
                Err(e)
            }
        }
    }

    async fn put(&mut self, begun: &mut Begun, batches: Vec<LogBatch>, clear: bool, is_last: bool) -> Result<()> {
        if batches.is_empty() && !begun.clear && begun.prepared.is_empty() {
            return Ok(());
        }
        let spec = self.spec(&begun.schema)?;
        let arrow = schema::file_schema(&begun.source, &begun.schema);
        let index = self.index(begun, &spec, clear).await?;
        let stretch = Stretch {
            shape: Shape { schema: Arc::new(begun.schema.clone()), arrow, spec: Arc::new(spec) },
            target: Target {
                storage: self.site.storage.clone(),
                runtime: Handle::current(),
                folder: format!("{}/data", self.site.location),
                files: self.shared.place.config.tables.files,
                budget: self.shared.budget.clone(),
                attempt: begun.attempt.clone(),
            },
            schema: begun.source.clone(),
            batches,
            name: if is_last { begun.snapshot_id } else { new_snapshot_id() },
        };
        let (index, prepared) = on_thread(move || stretch.prepare(index)).await?;
        self.index = Some(index);
        begun.prepared.add.extend(prepared.add);
        begun.prepared.deletes.extend(prepared.deletes);
        Ok(())
    }

    /// Gives up what is begun, if anything is: it was not sent, so nothing refers to it.
    pub(super) async fn abandon(mut self) {
        if let Some(begun) = self.begun.take() {
            self.discard(begun).await;
        }
    }

    async fn discard(&self, begun: Begun) {
        let written: Vec<String> = begun.prepared.paths().collect();
        delete_best_effort(&self.site.storage, written.iter().map(String::as_str)).await;
        begun.attempt.done();
    }

    async fn commit(&mut self, batches: Vec<LogBatch>, clear: bool) -> Result<Flushed> {
        let Begun { snapshot_id, attempt, prepared, clear, schema: now, grown, source } =
            self.write(batches, clear, true).await?;
        let spec = self.spec(&now)?;
        let files = (prepared.add.len(), prepared.add.iter().map(|f| f.file_size_in_bytes()).sum());
        let written: Vec<String> = prepared.paths().collect();
        let created = self.base.is_none();
        let mut properties = Vec::new();
        if created {
            properties.extend(crate::publish::table_properties(&self.shared.place.config.tables, None));
        }
        let before = self.base.as_ref().map(|base| base.metadata().current_schema().clone());
        let recorded = self.base.as_ref().and_then(|base| position::schema_version(base.metadata()));
        let version = recorded.map_or(1, |version| version + i64::from(grown));
        let schema = (created || grown).then_some(now);
        if schema.is_some() {
            properties.extend(position::described(&source)?);
            properties.push((position::SCHEMA_VERSION.to_owned(), version.to_string()));
        }
        failpoint::hit("iceberg.follow.after-stage")?;
        let mut advance = Advance {
            table: &self.table,
            ident: &self.ident,
            base: self.base.as_ref(),
            site: &self.site,
            epochs: self.epochs,
            marks: (&self.marks, &self.reached),
            snapshot_id,
            add: prepared.add,
            deletes: prepared.deletes,
            replace: clear && !created,
            schema: schema.clone(),
            format: FormatVersion::V2,
            spec,
            properties,
            attempt: attempt.clone(),
        };
        let committer = self.shared.committer.as_ref();
        let retries = self.shared.place.config.commit_retries;
        let committed = match commit::commit(committer, &self.ident, retries, &mut advance).await {
            Ok(committed) => committed,
            Err(failure) => {
                if failure.certain {
                    delete_best_effort(&self.site.storage, written.iter().map(String::as_str)).await;
                    attempt.done();
                }
                return Err(failure.error);
            }
        };
        attempt.done();
        failpoint::hit("iceberg.follow.after-commit")?;
        if let Some(schema) = schema {
            let now = self.described(Arc::new(schema), version, snapshot_id);
            let before = before.filter(|_| recorded.is_some());
            self.shared.ledger.schema_changes(ledger::schema_change_rows(before.as_deref(), &now));
        }
        if committed.table.metadata().current_snapshot_id() != Some(snapshot_id) {
            // Its answer was lost, and another's snapshot is on top: the index knows nothing of that.
            return Err(Error::retriable("another writer has changed the table").with("table", &self.table));
        }
        if let Some(index) = self.index.take() {
            self.index = Some(on_thread(move || index.adopted(snapshot_id)).await?);
        }
        delete_best_effort(&self.site.storage, committed.expired_metadata.iter().map(String::as_str)).await;
        self.base = Some(committed.table);
        self.epochs = (self.epochs.1, self.epochs.1);
        self.marks = self.reached.clone();
        self.committed = Instant::now();
        Ok(Flushed { marks: self.marks.clone(), files, snapshot: Some((snapshot_id, self.epochs.1)) })
    }

    /// The table as `_schema_changes` is to know it, if it is there.
    pub(super) fn opened(&self) -> Option<Described> {
        let metadata = self.base.as_ref()?.metadata();
        let version = position::schema_version(metadata).unwrap_or(1);
        let snapshot_id = metadata.current_snapshot_id()?;
        let described = self.described(metadata.current_schema().clone(), version, snapshot_id);
        Some(Described { position: position::told_marks(&self.marks), epoch: self.epochs.0, ..described })
    }

    /// A schema as of a commit of ours.
    fn described(&self, schema: SchemaRef, version: i64, snapshot_id: i64) -> Described {
        let position = position::told_marks(&self.reached);
        Described { table: self.table.clone(), schema, version, position, snapshot_id, epoch: self.epochs.1 }
    }

    /// The schema that the table has after these changes, and whether it grows with them.
    fn schema(&self, batches: &[LogBatch]) -> Result<(bool, Schema)> {
        let Some(base) = &self.base else {
            // One knows all columns: a log only adds some, and widens others.
            let first = batches.first().map_or(&self.wanted, |b| b.schema());
            let mut schema = schema::iceberg_schema(first, None)?;
            for batch in batches {
                if let Evolution::Grown(_) = schema::evolve(&schema, schema.highest_field_id(), batch.schema())? {
                    schema = schema::iceberg_schema(batch.schema(), None)?;
                }
            }
            return match self.begun.as_ref().filter(|begun| !batches.is_empty() && !begun.prepared.is_empty()) {
                // The catalog numbers the columns of a new table, and files are written by those numbers.
                Some(begun) if begun.schema != schema => Err(Error::data(
                    "the table's columns changed within a snapshot or a transaction that is to make it, and is larger \
                     than a commit: raise commit.max.rows and commit.max.bytes",
                )
                .with("table", &self.table)),
                _ => Ok((false, schema)),
            };
        };
        let metadata = base.metadata();
        // What is written of a commit already has the columns that it grows by.
        let mut now =
            self.begun.as_ref().map_or_else(|| metadata.current_schema().as_ref(), |begun| &begun.schema).clone();
        let (mut last_id, mut grown) = (metadata.last_column_id().max(now.highest_field_id()), false);
        let mut seen = None;
        // Each in turn: one that lacks a column of one before is refused.
        for batch in batches {
            if seen.is_some_and(|seen| Arc::ptr_eq(seen, batch.schema())) {
                continue;
            }
            if let Evolution::Grown(schema) = schema::evolve(&now, last_id, batch.schema())? {
                (last_id, grown) = (last_id.max(schema.highest_field_id()), true);
                now = *schema;
            }
            seen = Some(batch.schema());
        }
        Ok((grown, now))
    }

    /// The table as its source describes it, with its columns in the table's order and of the table's types.
    fn source_schema(&self, batches: &[LogBatch], now: &Schema) -> Result<TableSchema> {
        let known = match &self.base {
            Some(base) => Some(position::followed(base.metadata(), &self.table)?.schema),
            None => None,
        };
        let log = batches.last().map_or(&self.wanted, |b| b.schema());
        let source_type = |column: &str| {
            let of = |schema: &Arc<TableSchema>| {
                let column = schema.columns().iter().find(|c| c.name() == column);
                column.map(|c| c.source_type.clone()).filter(|t| !t.is_empty())
            };
            of(log).or_else(|| known.as_ref().and_then(of)).unwrap_or_default()
        };
        let described = known.as_ref().unwrap_or(log);
        let key = described.key().iter().filter_map(|&k| described.columns().get(k)).map(|c| c.name().to_owned());
        schema::table_schema(&self.table, now, source_type, &key.collect::<Vec<_>>())
    }

    fn spec(&self, now: &Schema) -> Result<PartitionSpec> {
        match &self.base {
            Some(base) => Ok(base.metadata().default_partition_spec().as_ref().clone()),
            None => self.shared.place.config.tables.partition_by(&self.table, &self.ident).bind(now),
        }
    }

    /// The index of the table as it is, with the parts that are written; made anew where there is none that fits.
    async fn index(&mut self, begun: &Begun, spec: &PartitionSpec, clear: bool) -> Result<KeyIndex> {
        if let Some(index) = self.index.take().filter(|index| !clear && index.fits(&begun.source)) {
            return Ok(index);
        }
        if !begun.prepared.is_empty() {
            let what = "the table's key changed within a transaction that is larger than a commit";
            return Err(Error::data(what).with("table", &self.table));
        }
        let base = self.base.as_ref().filter(|_| !begun.clear);
        KeyIndex::open(&self.shared, &begun.source, (self.site.uuid, spec), base).await
    }
}

/// Runs what blocks on a thread that may.
pub(super) async fn on_thread<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(e) => Err(Error::fatal("a stretch of changes was not prepared to its end").caused_by(e)),
    }
}
