//! How to reach a table's files, as the catalog tells it with the table: its store's properties, and credentials that
//! last a while and are asked for again.
//!
//! What must hold: credentials that have an end are renewed before it, also those for a table that is not made yet.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use connector_api::config::Secret;
use connector_api::{Error, Result};
use iceberg::TableIdent;
use iceberg::io::FileIO;
use iceberg_catalog_rest::LoadTableResult;
use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::client::{self, Failure, RestClient};
use crate::store::{self, Renew, Settings};

/// The storage of a table that the catalog told of. `making` is the request that staged it, where it is not there yet.
pub(super) fn of(
    client: &Arc<RestClient>,
    store: &Settings,
    ident: &TableIdent,
    loaded: &LoadTableResult,
    making: Option<Value>,
) -> FileIO {
    let location = loaded.metadata.location().to_owned();
    let mut settings = store.clone();
    settings.properties.extend(properties(loaded, &location));
    let vending = Vending { client: Arc::clone(client), ident: ident.clone(), location, making };
    settings.renewal = Some(Arc::new(vending));
    store::file_io(&settings)
}

/// What the catalog says of the store of a location.
fn properties(loaded: &LoadTableResult, location: &str) -> BTreeMap<String, Secret> {
    // The longest prefix is the most specific.
    let vended = loaded.storage_credentials.iter().flatten().filter(|c| location.starts_with(&c.prefix));
    let vended = vended.max_by_key(|c| c.prefix.len()).map(|c| &c.config);
    let told = loaded.config.iter().chain(vended.into_iter().flatten());
    told.map(|(name, value)| (name.clone(), Secret::new(value))).collect()
}

/// Asks for a table's credentials again.
struct Vending {
    client: Arc<RestClient>,
    ident: TableIdent,
    location: String,
    making: Option<Value>,
}

impl fmt::Debug for Vending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vending").field("table", &self.ident).finish_non_exhaustive()
    }
}

#[async_trait]
impl Renew for Vending {
    async fn properties(&self) -> Result<BTreeMap<String, Secret>> {
        let answer = match (self.client.send(Method::GET, self.client.table(&self.ident), None).await, &self.making) {
            (Err(Failure::Refused(Some(StatusCode::NOT_FOUND), _)), Some(making)) => {
                self.client.send(Method::POST, self.client.tables(self.ident.namespace()), Some(making)).await
            }
            (answer, _) => answer,
        };
        let failed = |e: Error| e.with("table", &self.ident).with("location", &self.location);
        let answer = answer.map_err(|e| failed(e.into_error()))?;
        Ok(properties(&client::parse(&answer).map_err(failed)?, &self.location))
    }
}
