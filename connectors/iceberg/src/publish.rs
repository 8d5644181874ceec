//! One table's publication: what is seen when its load begins, and the guarded commit that ends it.
//!
//! What must hold: a first load never touches a table that exists; a replacement only the table, and the
//! writer generation, that it saw at its beginning; a commit that got through unseen is recognised.

use std::collections::HashMap;
use std::sync::Arc;

use crate::commit::{self, Change, CommitFailure, Committer, Decision, NewTable, Proposal, Site, new_snapshot_id};
use crate::journal::{Attempt, Journal};
use crate::position::{self, Standing};
use crate::schema;
use crate::table_config::Tables;
use async_trait::async_trait;
use connector_api::{Error, Result, TableLoad};
use iceberg::TableIdent;
use iceberg::io::FileIO;
use iceberg::spec::{DataFile, FormatVersion, Operation, PartitionSpec, Schema, TableMetadata};
use iceberg::table::Table;

/// A publication in the making.
#[derive(Clone, Debug)]
pub(crate) struct Publication {
    load: Arc<TableLoad>,
    ident: TableIdent,
    site: Site,
    schema: Schema,
    snapshot_id: i64,
    attempt: Attempt,
    properties: HashMap<String, String>,
    format: FormatVersion,
    spec: PartitionSpec,
    seen: Option<Seen>,
}

/// The table that is to be replaced, as it was when the load began.
#[derive(Clone, Debug)]
struct Seen {
    epoch: i64,
    schema: Schema,
    /// Version of our recording; none for a foreign table.
    version: Option<i64>,
}

/// A published load.
#[derive(Debug)]
pub(crate) struct Published {
    /// Rows published.
    pub(crate) rows: u64,
    /// Bytes of data files.
    pub(crate) bytes: u64,
    /// The snapshot, which is also the commit's id.
    pub(crate) snapshot_id: i64,
    /// Writer generation.
    pub(crate) epoch: i64,
    /// Schema version.
    pub(crate) version: i64,
    /// The schema before, where there was one of ours.
    pub(crate) before: Option<Schema>,
    /// The schema now.
    pub(crate) after: Schema,
}

impl Publication {
    /// Looks at the table as the load begins.
    ///
    /// # Errors
    /// `Data` with the remedy when a first load meets a table, or a type that Iceberg does not have.
    pub(crate) async fn begin(
        committer: &dyn Committer,
        ident: TableIdent,
        load: Arc<TableLoad>,
        tables: &Tables,
        journal: &Arc<Journal>,
    ) -> Result<Self> {
        let table = committer.load(&ident).await?;
        let metadata = table.as_ref().map(|t| t.metadata());
        let base = metadata.map(|m| (m.current_schema().as_ref(), m.last_column_id()));
        let schema = schema::iceberg_schema(&load.schema, base)?;
        if let Some(metadata) = metadata.filter(|_| !load.replace) {
            return Err(in_the_way(metadata, &load, &ident));
        }
        // A table that has a higher version keeps it.
        let format = metadata.map_or(tables.format, |m| m.format_version().max(tables.format));
        schema::fits(load.schema.table(), &schema, format)?;
        let spec = tables.partition_by(load.schema.table(), &ident).bind(&schema)?;
        let site = match &table {
            Some(table) => Site {
                uuid: table.metadata().uuid(),
                location: table.metadata().location().trim_end_matches('/').to_owned(),
                storage: table.file_io().clone(),
                properties: HashMap::new(),
            },
            None => committer.site(&ident, &schema).await?,
        };
        let snapshot_id = new_snapshot_id();
        Ok(Self {
            properties: table_properties(tables, load.schema.doc()),
            format: tables.format,
            spec,
            site,
            seen: metadata.map(|m| Seen {
                epoch: position::epoch(m),
                schema: m.current_schema().as_ref().clone(),
                version: position::schema_version(m),
            }),
            attempt: journal.attempt(snapshot_id, &ident),
            snapshot_id,
            load,
            ident,
            schema,
        })
    }

    /// The load.
    pub(crate) fn load(&self) -> &Arc<TableLoad> {
        &self.load
    }

    /// The schema of its files.
    pub(crate) fn schema(&self) -> &Schema {
        &self.schema
    }

    /// How its files are divided.
    pub(crate) fn spec(&self) -> &PartitionSpec {
        &self.spec
    }

    /// Folder of its data files.
    pub(crate) fn data_folder(&self) -> String {
        format!("{}/data", self.site.location)
    }

    /// Storage of its files.
    pub(crate) fn storage(&self) -> &FileIO {
        &self.site.storage
    }

    /// Its name in the catalog.
    pub(crate) fn ident(&self) -> &TableIdent {
        &self.ident
    }

    /// What hears of its files.
    pub(crate) fn attempt(&self) -> &Attempt {
        &self.attempt
    }

    /// The writer generation that it will have.
    pub(crate) fn epoch(&self) -> i64 {
        self.seen.as_ref().map_or(0, |s| s.epoch) + 1
    }

    /// Publishes the files in one commit.
    pub(crate) async fn publish(
        &self,
        committer: &dyn Committer,
        retries: u32,
        files: Vec<DataFile>,
    ) -> Result<Published, CommitFailure> {
        let before = self.seen.as_ref().filter(|seen| seen.version.is_some()).map(|seen| &seen.schema);
        let seen = self.seen.as_ref().and_then(|seen| seen.version);
        let changed = before.is_some_and(|before| !schema::changes(before, &self.schema).is_empty());
        let version = seen.map_or(1, |version| version + i64::from(changed));
        let (rows, bytes) = files.iter().fold((0, 0), |(r, b), f| (r + f.record_count(), b + f.file_size_in_bytes()));
        let mut proposal = Guard { publication: self, files, version };
        commit::commit(committer, &self.ident, retries, &mut proposal).await?;
        Ok(Published {
            rows,
            bytes,
            snapshot_id: self.snapshot_id,
            epoch: self.epoch(),
            version,
            before: before.cloned(),
            after: self.schema.clone(),
        })
    }
}

/// Decides on every base.
struct Guard<'a> {
    publication: &'a Publication,
    files: Vec<DataFile>,
    version: i64,
}

#[async_trait]
impl Proposal for Guard<'_> {
    async fn on(&mut self, base: Option<&Table>) -> Result<Decision> {
        let p = self.publication;
        p.attempt.on_base(base.and_then(|t| t.metadata().current_snapshot_id()));
        let refuse = |e: Error| Err(e.with("table", p.load.schema.table()).with("name", &p.ident));
        match (base.map(Table::metadata), &p.seen) {
            (Some(metadata), _) if position::has_commit(metadata, p.snapshot_id) => Ok(Decision::Done),
            (None, None) => {
                let new = NewTable { site: p.site.clone(), schema: p.schema.clone(), change: self.change(1, false)? };
                Ok(Decision::Create(Box::new(new)))
            }
            (Some(_), None) => refuse(Error::retriable("another instance published this table meanwhile")),
            (None, Some(_)) => refuse(Error::retriable("the table was dropped while its replacement was loaded")),
            (Some(metadata), Some(_)) if metadata.uuid() != p.site.uuid => {
                refuse(Error::retriable("the table was re-created while its replacement was loaded"))
            }
            (Some(metadata), Some(seen)) if position::epoch(metadata) > seen.epoch => {
                let epoch = position::epoch(metadata);
                refuse(
                    Error::retriable("another writer took the table over while its replacement was loaded")
                        .with("epoch", epoch),
                )
            }
            (Some(metadata), Some(_)) => {
                // Field ids are in the files already: they must mean the same on this base.
                let now = (metadata.current_schema().as_ref(), metadata.last_column_id());
                if !schema::same(&schema::iceberg_schema(&p.load.schema, Some(now))?, &p.schema) {
                    return refuse(Error::retriable("the table's schema was changed while its replacement was loaded"));
                }
                Ok(Decision::Commit(Box::new(self.change(metadata.next_sequence_number(), true)?)))
            }
        }
    }
}

impl Guard<'_> {
    fn change(&self, sequence: i64, replace: bool) -> Result<Change> {
        let p = self.publication;
        let stamp = position::stamp(&p.load, p.site.uuid, p.snapshot_id, sequence, p.epoch())?;
        let mut properties = p.properties.clone();
        properties.extend(stamp.properties);
        properties.insert(position::SCHEMA_VERSION.into(), self.version.to_string());
        Ok(Change {
            snapshot_id: p.snapshot_id,
            operation: if replace { Operation::Overwrite } else { Operation::Append },
            add: self.files.clone(),
            deletes: Vec::new(),
            replace,
            format: p.format,
            spec: p.spec.clone(),
            schema: replace.then(|| p.schema.clone()),
            properties,
            summary: stamp.summary,
            keep_snapshots: None,
            attempt: p.attempt.clone(),
            failpoint: "iceberg.before-commit",
        })
    }
}

/// Why a first load cannot go on, with the way out.
fn in_the_way(metadata: &TableMetadata, load: &TableLoad, ident: &TableIdent) -> Error {
    const REMEDY: &str = "replace it (--no-resume), drop it, or set another iceberg.table.name.format";
    let error = match position::standing(metadata, load.schema.table()) {
        Standing::Loaded(loaded) if loaded.system == load.cut.system => {
            Error::retriable("another instance published this table meanwhile")
        }
        Standing::Loaded(loaded) => {
            Error::data(format!("the table of this name was loaded from another database: {REMEDY}"))
                .with("recorded", loaded.system)
                .with("system", &load.cut.system)
        }
        Standing::NotOurs(why) => Error::data(format!("{why}: {REMEDY}")),
    };
    error.with("table", load.schema.table()).with("name", ident)
}

/// The properties of a table that is made or replaced.
pub(crate) fn table_properties(tables: &Tables, comment: Option<&str>) -> HashMap<String, String> {
    let files = &tables.files;
    let mut properties: HashMap<String, String> =
        tables.properties.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    properties.extend([
        ("write.format.default".to_owned(), "parquet".to_owned()),
        ("write.parquet.compression-codec".to_owned(), files.codec.name().to_owned()),
        ("write.target-file-size-bytes".to_owned(), files.target.to_string()),
        ("write.parquet.row-group-size-bytes".to_owned(), files.row_group.to_string()),
    ]);
    if let Some(level) = files.codec.level() {
        properties.insert("write.parquet.compression-level".into(), level.to_string());
    }
    if let Some(comment) = comment {
        properties.insert("comment".into(), comment.to_owned());
    }
    properties
}
