//! The schema registry: schemas by their id, through the API that Confluent's and its likes have.
//!
//! What must hold: an id never changes its meaning, so that each is asked for once; a registry that does not answer
//! is asked again later, and one that knows no such id is an error of the message.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use connector_api::config::Problem;
use connector_api::{Error, Result, Secret};
use connector_debezium::{Format, SchemaSource, WriterSchema};
use reqwest::{Certificate, Client, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;
use url::Url;

/// How long a request may take.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Schemas that one may refer to, directly or not: a bound for hostile ones.
const MOST_REFERENCES: usize = 256;

/// Where the registry is.
#[derive(Clone, Debug)]
pub(crate) struct RegistryConfig {
    urls: Vec<Url>,
    user_info: Option<Secret>,
    /// PEM file of authorities.
    authorities: Option<String>,
}

const URL: &str = "schema.registry.url";
const USER_INFO: &str = "basic.auth.user.info";
const OTHER_USER_INFO: &str = "schema.registry.basic.auth.user.info";
const AUTHORITIES: &str = "schema.registry.ssl.truststore.location";

impl RegistryConfig {
    /// Reads a converter's own keys. `None` where its format needs no registry, or something is wrong.
    pub(crate) fn of(
        converter: &str,
        format: Format,
        given: &BTreeMap<&str, Secret>,
        problems: &mut Vec<Problem>,
    ) -> Option<Self> {
        if format == Format::Json {
            return None;
        }
        let name = |key: &str| format!("{converter}.{key}");
        let text = |key: &str| given.get(key).map(Secret::expose).filter(|text| !text.trim().is_empty());
        let Some(list) = text(URL) else {
            let message = "missing: Avro messages name their schemas in a registry";
            problems.push(Problem::new(name(URL), message));
            return None;
        };
        let parse = |part: &str| Url::parse(&format!("{}/", part.trim().trim_end_matches('/')));
        let Ok(urls) = list.split(',').map(parse).collect::<Result<Vec<_>, _>>() else {
            problems.push(Problem::new(name(URL), "is not a list of URLs"));
            return None;
        };
        let user_info = given.get(USER_INFO).or_else(|| given.get(OTHER_USER_INFO)).cloned();
        Some(Self { urls, user_info, authorities: text(AUTHORITIES).map(str::to_owned) })
    }

    /// Which of the keys is given here and is not the other's.
    pub(crate) fn unlike(&self, other: &Self) -> Option<&'static str> {
        let info = |of: &Self| of.user_info.as_ref().map(|info| info.expose().to_owned());
        let differs = [
            (URL, self.urls != other.urls),
            (USER_INFO, self.user_info.is_some() && info(self) != info(other)),
            (AUTHORITIES, self.authorities.is_some() && self.authorities != other.authorities),
        ];
        differs.into_iter().find(|(_, differs)| *differs).map(|(key, _)| key)
    }
}

/// A registry's client.
#[derive(Clone)]
pub(crate) struct Registry {
    config: Arc<RegistryConfig>,
    client: Client,
    runtime: Handle,
}

#[derive(Deserialize)]
struct Answer {
    schema: String,
    #[serde(rename = "schemaType")]
    kind: Option<String>,
    #[serde(default)]
    references: Vec<Reference>,
}

#[derive(Deserialize)]
struct Reference {
    subject: String,
    version: i64,
}

impl Registry {
    /// A client. `runtime` drives its calls.
    ///
    /// # Errors
    /// `Fatal` for a file of authorities that cannot be read.
    pub(crate) fn new(config: &RegistryConfig, runtime: Handle) -> Result<Self> {
        let mut builder =
            Client::builder().timeout(TIMEOUT).user_agent(concat!("connect-runtime/", env!("CARGO_PKG_VERSION")));
        if let Some(path) = &config.authorities {
            let wrong = || Error::fatal("cannot read the registry's authorities, a PEM file").with("file", path);
            let pem = std::fs::read(path).map_err(|e| wrong().caused_by(e))?;
            for authority in Certificate::from_pem_bundle(&pem).map_err(|e| wrong().caused_by(e))? {
                builder = builder.add_root_certificate(authority);
            }
        }
        let client = builder.build().map_err(|e| Error::fatal("cannot make an HTTP client").caused_by(e))?;
        Ok(Self { config: Arc::new(config.clone()), client, runtime })
    }

    async fn resolve(&self, id: u32) -> Result<WriterSchema> {
        let of_id = |e: Error| e.with("schema_id", id);
        let root: Answer = self.get(&["schemas", "ids", &id.to_string()]).await.map_err(of_id)?;
        if let Some(kind) = root.kind.filter(|kind| kind != "AVRO") {
            return Err(of_id(Error::data("a message's schema is not Avro").with("type", kind)));
        }
        // Each reference before those that refer to it: depth first, without recursion.
        let (mut references, mut seen) = (Vec::new(), HashSet::new());
        let mut stack: Vec<(Option<String>, Vec<Reference>)> = vec![(None, root.references)];
        while let Some((_, rest)) = stack.last_mut() {
            match rest.pop() {
                Some(next) if !seen.insert((next.subject.clone(), next.version)) => {}
                Some(_) if seen.len() > MOST_REFERENCES => {
                    return Err(of_id(Error::data("a schema refers to too many others")));
                }
                Some(next) => {
                    let version = next.version.to_string();
                    let path = ["subjects", &next.subject, "versions", &version];
                    let found: Answer = self.get(&path).await.map_err(of_id)?;
                    stack.push((Some(found.schema), found.references));
                }
                None => references.extend(stack.pop().and_then(|(schema, _)| schema)),
            }
        }
        Ok(WriterSchema { schema: root.schema, references })
    }

    /// Asks each registry in turn until one answers.
    async fn get<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T> {
        let mut failure = Error::fatal("no schema registry is configured");
        for base in &self.config.urls {
            match self.ask(base, path).await {
                Err(e) if matches!(e.kind(), connector_api::ErrorKind::Retriable { .. }) => failure = e,
                answered => return answered,
            }
        }
        Err(failure)
    }

    async fn ask<T: DeserializeOwned>(&self, base: &Url, path: &[&str]) -> Result<T> {
        let mut url = base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let named = |e: Error| {
            let mut shown = base.clone();
            // What a URL may hold of a secret is not shown.
            let _ = (shown.set_username(""), shown.set_password(None));
            e.with("registry", shown.as_str().trim_end_matches('/'))
        };
        let mut request = self.client.get(url);
        if let Some((user, password)) = self.config.user_info.as_ref().and_then(|info| info.expose().split_once(':')) {
            request = request.basic_auth(user, Some(password));
        }
        let unheard = |e: reqwest::Error| {
            named(Error::retriable("the schema registry does not answer").caused_by(e.without_url()))
        };
        let response = request.send().await.map_err(unheard)?;
        let status = response.status();
        let error = match status {
            StatusCode::OK => return response.json().await.map_err(unheard),
            StatusCode::NOT_FOUND => Error::data("the schema registry knows no such schema"),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Error::fatal("the schema registry refuses us"),
            _ => Error::retriable("the schema registry cannot answer"),
        };
        Err(named(error.with("status", status.as_u16())))
    }
}

impl SchemaSource for Registry {
    fn schema(&mut self, id: u32) -> Result<WriterSchema> {
        self.runtime.block_on(self.resolve(id))
    }
}

/// Where no message is Avro.
pub(crate) struct NoRegistry;

impl SchemaSource for NoRegistry {
    fn schema(&mut self, _: u32) -> Result<WriterSchema> {
        Err(Error::fatal("no schema registry is configured"))
    }
}
