//! A worker of Kafka Connect, by its REST interface.
//!
//! What must hold: an answer that did not come is no answer, whatever has become of what was asked; nothing that is
//! secret is in an error. A configuration comes back as it was sent, references unresolved.

use std::collections::BTreeMap;
use std::time::Duration;

use connector_api::{Error, Result};
use reqwest::header::LOCATION;
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Method, StatusCode};
use serde_json::{Value, json};

use super::config::WorkerConfig;
use super::connector::{CLASS, LATER, MODE, Wanted};
use super::steps::{Connector, Task};

/// Longest wait for an answer: a worker answers a change of its connectors when its group has agreed, for up to 90 s.
const TIMEOUT: Duration = Duration::from_secs(100);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The first release that makes connectors stopped and lets offsets be set.
const OLDEST: (u32, u32) = (3, 7);

/// A worker.
pub(crate) struct Worker {
    config: WorkerConfig,
    client: Client,
}

impl Worker {
    /// A client of it.
    ///
    /// # Errors
    /// `Fatal` for a file of authorities that cannot be read.
    pub(crate) fn new(config: &WorkerConfig) -> Result<Self> {
        let mut builder = Client::builder().timeout(TIMEOUT).connect_timeout(CONNECT_TIMEOUT);
        // A request that changes something would come as another one where it is sent on to, or with our login elsewhere.
        builder = builder.redirect(Policy::none());
        builder = builder.user_agent(concat!("connect-runtime/", env!("CARGO_PKG_VERSION")));
        if let Some(path) = &config.authorities {
            let wrong = || {
                Error::fatal("cannot read the authorities of Kafka Connect's worker, a PEM file")
                    .with("key", "handover.connect.ssl.truststore.location")
                    .with("file", path.display())
            };
            let pem = std::fs::read(path).map_err(|e| wrong().caused_by(e))?;
            for authority in Certificate::from_pem_bundle(&pem).map_err(|e| wrong().caused_by(e))? {
                builder = builder.add_root_certificate(authority);
            }
        }
        let client = builder.build().map_err(|e| Error::fatal("cannot make an HTTP client").caused_by(e))?;
        Ok(Self { config: config.clone(), client })
    }

    /// Looks whether it is one that can be handed over to.
    ///
    /// # Errors
    /// `Fatal` when it is too old, or has no such plugin.
    pub(crate) async fn fit(&self) -> Result<()> {
        let root = self.found(Method::GET, &[], None).await?.unwrap_or_default();
        let version = root["version"].as_str().unwrap_or_default();
        let mut numbers = version.split(['.', '-']).map_while(|n| n.parse::<u32>().ok());
        let (Some(major), Some(minor)) = (numbers.next(), numbers.next()) else {
            return Err(self.wrong("what answers is not Kafka Connect").with("version", version));
        };
        if (major, minor) < OLDEST {
            let error = self.wrong("Kafka Connect 3.7 or newer is needed: older ones make no stopped connectors");
            return Err(error.with("version", version));
        }
        let plugins = self.found(Method::GET, &["connector-plugins"], None).await?.unwrap_or_default();
        let has = plugins.as_array().into_iter().flatten().any(|plugin| plugin["class"] == CLASS);
        if !has {
            let remedy = "install Debezium's connector for Oracle, and Oracle's JDBC driver beside it, in the worker's \
                          plugin.path";
            return Err(self.wrong("the worker does not have Debezium's connector for Oracle").with("remedy", remedy));
        }
        Ok(())
    }

    /// A connector, if it is there.
    pub(crate) async fn look(&self, name: &str) -> Result<Option<Connector>> {
        let part = async |part: &str| self.found(Method::GET, &["connectors", name, part], None).await;
        let Some(config) = part("config").await? else { return Ok(None) };
        // What was made a moment ago has no status yet, and one that is deleted meanwhile has nothing.
        let (status, tasks) = (part("status").await?.unwrap_or_default(), part("tasks").await?.unwrap_or_default());
        let offsets = part("offsets").await?.unwrap_or_default();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let config: BTreeMap<_, _> = config
            .as_object()
            .into_iter()
            .flatten()
            .filter_map(|(key, value)| Some((key.clone(), text(value)?)))
            .collect();
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let mode = |id: &Value| {
            let tasks = tasks.as_array().into_iter().flatten();
            tasks.filter(|task| task["id"]["task"] == *id).find_map(|task| text(&task["config"][MODE]))
        };
        let task = |task: Value| Task {
            state: text(&task["state"]).unwrap_or_default(),
            trace: text(&task["trace"]),
            mode: mode(&task["id"]),
        };
        Ok(Some(Connector {
            config,
            state: text(&status["connector"]["state"]).unwrap_or_default(),
            trace: text(&status["connector"]["trace"]),
            tasks: list(&status["tasks"]).into_iter().map(task).collect(),
            offsets: list(&offsets["offsets"])
                .into_iter()
                .map(|o| (o["partition"].clone(), o["offset"].clone()))
                .collect(),
        }))
    }

    /// Makes the connector, stopped.
    pub(crate) async fn create(&self, wanted: &Wanted) -> Result<()> {
        self.accepts(wanted).await?;
        self.done(Method::POST, &["connectors"], Some(&wanted.request())).await
    }

    /// Has the plugin look at the configuration, which tries the connection to the database too. Asked by itself, since
    /// Kafka Connect 4.3 answers a request to make what it refuses by an error of its own.
    async fn accepts(&self, wanted: &Wanted) -> Result<()> {
        let mut config = wanted.config.clone();
        config.insert("name".into(), wanted.name.clone());
        let path = ["connector-plugins", CLASS, "config", "validate"];
        let judged = self.found(Method::PUT, &path, Some(&json!(config))).await?.unwrap_or_default();
        let mut errors = Vec::new();
        for value in judged["configs"].as_array().into_iter().flatten().map(|key| &key["value"]) {
            let key = value["name"].as_str().unwrap_or_default();
            errors.extend(value["errors"].as_array().into_iter().flatten().map(|e| match e.as_str() {
                Some(error) => format!("{key}: {error}"),
                None => format!("{key}: {e}"),
            }));
        }
        if errors.is_empty() {
            return Ok(());
        }
        let remedy = "handover.config.<key> sets a key of Debezium's; then run again, which goes on";
        let error = self.wrong("Debezium's connector refuses its configuration").with("connector", &wanted.name);
        Err(error.with("errors", errors.join("; ")).with("remedy", remedy))
    }

    /// Gives it the configuration of its first start.
    pub(crate) async fn configure(&self, wanted: &Wanted) -> Result<()> {
        self.accepts(wanted).await?;
        self.done(Method::PUT, &["connectors", &wanted.name, "config"], Some(&json!(wanted.config))).await
    }

    /// Lets it start as every later time: the configuration that it has, in that one key.
    pub(crate) async fn finish(&self, wanted: &Wanted, mut config: BTreeMap<String, String>) -> Result<()> {
        config.insert(MODE.into(), LATER.into());
        self.done(Method::PUT, &["connectors", &wanted.name, "config"], Some(&json!(config))).await
    }

    /// Sets its first offsets.
    pub(crate) async fn set_offsets(&self, wanted: &Wanted) -> Result<()> {
        self.done(Method::PATCH, &["connectors", &wanted.name, "offsets"], Some(&wanted.offsets())).await
    }

    /// `stop` or `resume`.
    pub(crate) async fn turn(&self, wanted: &Wanted, how: &str) -> Result<()> {
        self.done(Method::PUT, &["connectors", &wanted.name, how], None).await
    }

    /// Starts again what of it has failed.
    pub(crate) async fn restart(&self, wanted: &Wanted) -> Result<()> {
        self.done(Method::POST, &["connectors", &wanted.name, "restart"], None).await
    }

    async fn done(&self, method: Method, path: &[&str], body: Option<&Value>) -> Result<()> {
        match self.found(method, path, body).await? {
            Some(_) => Ok(()),
            None => Err(self.passing("Kafka Connect no longer has the connector")),
        }
    }

    /// The answer to a request; `None`: there is no such thing.
    async fn found(&self, method: Method, path: &[&str], body: Option<&Value>) -> Result<Option<Value>> {
        let mut url = self.config.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        if path.last() == Some(&"restart") {
            url.query_pairs_mut().append_pair("includeTasks", "true").append_pair("onlyFailed", "true");
        }
        let mut request = self.client.request(method, url);
        if let Some((user, password)) = &self.config.login {
            request = request.basic_auth(user, Some(password.expose()));
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let unheard = |e: reqwest::Error| self.passing("Kafka Connect does not answer").caused_by(e.without_url());
        let response = request.send().await.map_err(unheard)?;
        let status = response.status();
        let location = response.headers().get(LOCATION).and_then(|to| to.to_str().ok()).unwrap_or_default().to_owned();
        let text = response.text().await.map_err(unheard)?;
        let answer: Option<Value> = serde_json::from_str(&text).ok();
        if status.is_success() {
            return Ok(Some(answer.unwrap_or_default()));
        }
        let says = answer.as_ref().and_then(|answer| answer["message"].as_str()).unwrap_or_default().to_owned();
        let error = match status {
            // Kafka Connect's own says so in JSON; others do not know the path.
            StatusCode::NOT_FOUND if answer.as_ref().is_some_and(|a| a["error_code"] == 404) => return Ok(None),
            StatusCode::NOT_FOUND => self.wrong("what answers is not Kafka Connect"),
            status if status.is_redirection() => {
                let remedy = "set handover.connect.url to where Kafka Connect itself answers";
                self.wrong("what answers sends us elsewhere").with("location", location).with("remedy", remedy)
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let remedy = "set handover.connect.basic.auth.user.info to a user and password that the worker knows";
                self.wrong("Kafka Connect refuses us").with("remedy", remedy)
            }
            // A rebalance, or one who has made it first.
            StatusCode::CONFLICT | StatusCode::TOO_MANY_REQUESTS => self.passing("Kafka Connect is busy"),
            // Another instance has started it a moment ago.
            StatusCode::BAD_REQUEST if says.contains("STOPPED") => self.passing("the connector is not stopped"),
            status if status.is_server_error() => self.passing("Kafka Connect cannot answer"),
            _ => self.wrong("Kafka Connect refuses what it is asked for"),
        };
        let error = error.with("status", status.as_u16());
        Err(if says.is_empty() { error } else { error.with("says", says) })
    }

    fn passing(&self, what: &str) -> Error {
        Error::retriable(what).with("url", &self.config.url)
    }

    fn wrong(&self, what: &str) -> Error {
        Error::fatal(what).with("url", &self.config.url)
    }
}
