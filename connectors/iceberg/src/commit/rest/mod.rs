//! The REST catalog: it makes the metadata itself, from our changes under our requirements.
//!
//! What must hold: a commit asserts the table and the snapshot that the guard saw, and a table is created with
//! its first snapshot; after a server's failure or a lost answer it may have happened. Tables lie where the
//! catalog says and are reached with the credentials it hands out.

mod client;
mod storage;

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use connector_api::config::Secret;
use connector_api::{Error, Result, failpoint};
use iceberg::io::FileIO;
use iceberg::spec::{MAIN_BRANCH, Schema, TableMetadata};
use iceberg::table::Table;
use iceberg::{Runtime, TableIdent, TableRequirement, TableUpdate};
use iceberg_catalog_rest::{CommitTableRequest, CommitTableResponse, ListTablesResponse, LoadTableResult};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::committer::{Committer, SendError, Site};
use super::stage::Staged;
use crate::config::{Config, Rest};
use crate::error;
use crate::store::Settings;
use client::{Failure, RestClient};

/// A REST catalog.
pub(crate) struct RestCommitter {
    client: Arc<RestClient>,
    namespace: Vec<String>,
    /// Of the stores, as far as it does not depend on the table.
    store: Settings,
}

impl RestCommitter {
    /// Asks the catalog for its configuration.
    pub(crate) async fn connect(config: &Config, rest: &Rest) -> Result<Self> {
        let client = RestClient::connect(rest, config.request_timeout).await?;
        let mut store = config.store.clone();
        for (name, value) in &client.defaults {
            store.properties.entry(name.clone()).or_insert_with(|| Secret::new(value));
        }
        store.properties.extend(client.overrides.iter().map(|(name, value)| (name.clone(), Secret::new(value))));
        Ok(Self { client: Arc::new(client), namespace: config.namespace.to_vec(), store })
    }

    fn storage(&self, table: &TableIdent, loaded: &LoadTableResult, making: Option<Value>) -> FileIO {
        storage::of(&self.client, &self.store, table, loaded, making)
    }

    fn table(
        &self,
        ident: &TableIdent,
        location: Option<String>,
        metadata: TableMetadata,
        storage: FileIO,
    ) -> Result<Table> {
        let runtime = Runtime::try_current().map_err(|e| error::iceberg("no runtime", e))?;
        let table = Table::builder().file_io(storage).metadata(metadata).identifier(ident.clone()).runtime(runtime);
        let table = match location {
            Some(location) => table.metadata_location(location).build(),
            None => table.build(),
        };
        table.map_err(|e| error::iceberg("cannot use the table's metadata", e).with("table", ident))
    }

    async fn commit(
        &self,
        ident: &TableIdent,
        requirements: Vec<TableRequirement>,
        updates: Vec<TableUpdate>,
        staged: &Staged,
    ) -> Result<Table, SendError> {
        failpoint::hit(staged.failpoint).map_err(SendError::Failed)?;
        let request = CommitTableRequest { identifier: Some(ident.clone()), requirements, updates };
        let request = serde_json::to_value(&request)
            .map_err(|e| SendError::Failed(Error::fatal("a commit cannot be written as JSON").caused_by(e)))?;
        let answer = match self.client.send(Method::POST, self.client.table(ident), Some(&request)).await {
            Ok(answer) => answer,
            Err(Failure::Unknown(e)) => return Err(SendError::Unknown(e.with("table", ident))),
            Err(Failure::Refused(Some(StatusCode::CONFLICT), e)) => {
                return Err(SendError::Again(e.with("table", ident)));
            }
            Err(Failure::Refused(_, e)) => return Err(SendError::Failed(e.with("table", ident))),
        };
        // It is in the table, whatever is wrong with the answer.
        let answer: CommitTableResponse = client::parse(&answer).map_err(SendError::Unknown)?;
        let location = Some(answer.metadata_location);
        self.table(ident, location, answer.metadata, staged.storage.clone()).map_err(SendError::Unknown)
    }
}

#[async_trait]
impl Committer for RestCommitter {
    async fn ensure_namespace(&self) -> Result<()> {
        for levels in 1..=self.namespace.len() {
            let levels = &self.namespace[..levels];
            let name = self.client.namespace(levels);
            let failed = |e: Failure| e.into_error().with("namespace", levels.join("."));
            match self.client.send(Method::GET, self.client.resource(&["namespaces", &name]), None).await {
                Ok(_) => continue,
                Err(Failure::Refused(Some(StatusCode::NOT_FOUND), _)) => {}
                Err(e) => return Err(failed(e)),
            }
            let body = json!({ "namespace": levels, "properties": {} });
            match self.client.send(Method::POST, self.client.resource(&["namespaces"]), Some(&body)).await {
                Ok(_) | Err(Failure::Refused(Some(StatusCode::CONFLICT), _)) => {}
                Err(e) => return Err(failed(e)),
            }
        }
        Ok(())
    }

    async fn list(&self) -> Result<Vec<TableIdent>> {
        let mut tables = Vec::new();
        let mut page: Option<String> = None;
        loop {
            let mut url = self.client.tables(&self.namespace);
            if let Some(page) = &page {
                url.query_pairs_mut().append_pair("pageToken", page);
            }
            let answer = match self.client.send(Method::GET, url, None).await {
                Ok(answer) => answer,
                Err(Failure::Refused(Some(StatusCode::NOT_FOUND), _)) => return Ok(tables),
                Err(e) => return Err(e.into_error().with("namespace", self.namespace.join("."))),
            };
            let answer: ListTablesResponse = client::parse(&answer)?;
            tables.extend(answer.identifiers);
            page = answer.next_page_token.filter(|page| !page.is_empty());
            if page.is_none() {
                return Ok(tables);
            }
        }
    }

    async fn find(&self, table: &TableIdent) -> Result<Option<Result<Table>>> {
        let answer = match self.client.send(Method::GET, self.client.table(table), None).await {
            Ok(answer) => answer,
            Err(Failure::Refused(Some(StatusCode::NOT_FOUND), _)) => return Ok(None),
            // One that we may not see says nothing of the others.
            Err(Failure::Refused(Some(StatusCode::FORBIDDEN), e)) => return Ok(Some(Err(e.with("table", table)))),
            Err(e) => return Err(e.into_error().with("table", table)),
        };
        let loaded: LoadTableResult = match client::parse(&answer) {
            Ok(loaded) => loaded,
            Err(e) => return Ok(Some(Err(e.with("table", table)))),
        };
        let storage = self.storage(table, &loaded, None);
        Ok(Some(self.table(table, loaded.metadata_location, loaded.metadata, storage)))
    }

    async fn site(&self, table: &TableIdent, schema: &Schema) -> Result<Site> {
        let body = json!({ "name": table.name(), "schema": schema, "stage-create": true, "properties": {} });
        let answer = self.client.send(Method::POST, self.client.tables(table.namespace()), Some(&body)).await;
        let answer = answer.map_err(|e| e.into_error().with("table", table))?;
        let staged: LoadTableResult = client::parse(&answer).map_err(|e| e.with("table", table))?;
        let metadata = &staged.metadata;
        Ok(Site {
            uuid: metadata.uuid(),
            location: metadata.location().trim_end_matches('/').to_owned(),
            properties: HashMap::clone(metadata.properties()),
            storage: self.storage(table, &staged, Some(body)),
        })
    }

    async fn create(&self, table: &TableIdent, staged: &Staged) -> Result<Table, SendError> {
        let mut updates = staged.updates.clone();
        if !updates.iter().any(|update| matches!(update, TableUpdate::UpgradeFormatVersion { .. })) {
            let format_version = staged.metadata.format_version();
            updates.insert(0, TableUpdate::UpgradeFormatVersion { format_version });
        }
        self.commit(table, vec![TableRequirement::NotExist], updates, staged).await
    }

    async fn send(&self, base: &Table, staged: &Staged) -> Result<Table, SendError> {
        let metadata = base.metadata();
        let requirements = vec![
            TableRequirement::UuidMatch { uuid: metadata.uuid() },
            TableRequirement::RefSnapshotIdMatch {
                r#ref: MAIN_BRANCH.to_owned(),
                snapshot_id: metadata.current_snapshot_id(),
            },
            // The files were written for these.
            TableRequirement::CurrentSchemaIdMatch { current_schema_id: metadata.current_schema_id() },
            TableRequirement::LastAssignedFieldIdMatch { last_assigned_field_id: metadata.last_column_id() },
            TableRequirement::DefaultSpecIdMatch { default_spec_id: metadata.default_partition_spec_id() },
        ];
        self.commit(base.identifier(), requirements, staged.updates.clone(), staged).await
    }
}
