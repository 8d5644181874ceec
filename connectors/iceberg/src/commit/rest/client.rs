//! Requests to a REST catalog: addresses, tokens, time limits, and what an answer means.
//!
//! What must hold: a request that may have been carried out is told from one that was not; no secret is in an
//! error. Must not know what is committed.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use connector_api::{Error, Result};
use iceberg::TableIdent;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Method, StatusCode, Url};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;

use crate::config::Rest;

/// How often a request that was not carried out, for a passing reason, is repeated.
const RETRIES: u32 = 4;
/// The first wait between two attempts; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// The longest wait, whatever the server asks for.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// A token is renewed so long before it expires.
const EARLY: Duration = Duration::from_secs(30);
/// Of a server's message so many characters are shown.
const SHOWN: usize = 500;

/// What was not a success.
#[derive(Debug)]
pub(super) enum Failure {
    /// It was not carried out: the server said so, or was never reached.
    Refused(Option<StatusCode>, Error),
    /// It may have been carried out.
    Unknown(Error),
}

impl Failure {
    /// The error, where it does not matter whether it was carried out.
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::Refused(_, e) | Self::Unknown(e) => e,
        }
    }
}

/// A catalog's address with everything that every request carries.
pub(super) struct RestClient {
    http: Client,
    rest: Rest,
    headers: HeaderMap,
    base: Url,
    separator: String,
    token: Mutex<Option<Token>>,
    /// Properties for the stores, from the catalog: defaults, and what overrides ours.
    pub(super) defaults: BTreeMap<String, String>,
    pub(super) overrides: BTreeMap<String, String>,
}

struct Token {
    value: String,
    expires: Option<Instant>,
}

#[derive(Deserialize)]
struct CatalogConfig {
    #[serde(default)]
    defaults: BTreeMap<String, Option<String>>,
    #[serde(default)]
    overrides: BTreeMap<String, Option<String>>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    expires_in: Option<u64>,
}

impl RestClient {
    /// Asks the catalog for its configuration.
    pub(super) async fn connect(rest: &Rest, timeout: Duration) -> Result<Self> {
        let http = Client::builder().timeout(timeout).connect_timeout(timeout.min(Duration::from_secs(10)));
        let http = http.user_agent(concat!("connect-runtime/", env!("CARGO_PKG_VERSION"))).build();
        let http = http.map_err(|e| Error::fatal("cannot make an HTTP client").caused_by(e))?;
        let mut headers = HeaderMap::new();
        headers.insert("x-iceberg-access-delegation", HeaderValue::from_static("vended-credentials"));
        for (name, value) in &rest.headers {
            let bad = || Error::fatal("not a header").with("key", format!("iceberg.catalog.header.{name}"));
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
            let mut value = HeaderValue::from_str(value.expose()).map_err(|_| bad())?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let address = |text: &str| Url::parse(text).map_err(|e| Error::fatal("not an address").caused_by(e));
        let mut client = Self {
            http,
            headers,
            base: address(&rest.uri)?,
            separator: "\u{1f}".into(),
            token: Mutex::new(rest.token.as_ref().map(|t| Token { value: t.expose().into(), expires: None })),
            defaults: BTreeMap::new(),
            overrides: BTreeMap::new(),
            rest: rest.clone(),
        };
        let mut url = client.url(&["config"]);
        if let Some(warehouse) = &rest.warehouse {
            url.query_pairs_mut().append_pair("warehouse", warehouse);
        }
        let answer = client.send(Method::GET, url, None).await.map_err(Failure::into_error)?;
        let config: CatalogConfig = parse(&answer)?;
        let given =
            |map: BTreeMap<String, Option<String>>| map.into_iter().filter_map(|(k, v)| Some((k, v?))).collect();
        (client.defaults, client.overrides) = (given(config.defaults), given(config.overrides));
        let told = |key: &str| client.overrides.get(key).or_else(|| client.defaults.get(key)).cloned();
        if let Some(separator) = told("namespace-separator") {
            // It is told as it stands in an address.
            let decoded = url::form_urlencoded::parse(format!("s={}", separator.replace('+', "%2B")).as_bytes())
                .next()
                .map(|(_, value)| value.into_owned());
            client.separator = decoded.unwrap_or(separator);
        }
        let prefix = client.overrides.get("prefix").or(rest.prefix.as_ref()).or(client.defaults.get("prefix")).cloned();
        if let Some(uri) = client.overrides.get("uri") {
            client.base = address(uri.trim_end_matches('/'))?;
        }
        client.rest.prefix = prefix;
        Ok(client)
    }

    /// The address of a resource below `/v1/{prefix}`; segments are encoded here.
    pub(super) fn resource(&self, segments: &[&str]) -> Url {
        let prefix = self.rest.prefix.as_deref().unwrap_or_default();
        let all: Vec<&str> = prefix.split('/').filter(|s| !s.is_empty()).chain(segments.iter().copied()).collect();
        self.url(&all)
    }

    /// The address of a namespace's tables.
    pub(super) fn tables(&self, namespace: &[String]) -> Url {
        self.resource(&["namespaces", &self.namespace(namespace), "tables"])
    }

    /// A table's address.
    pub(super) fn table(&self, table: &TableIdent) -> Url {
        self.resource(&["namespaces", &self.namespace(table.namespace()), "tables", table.name()])
    }

    /// A namespace as one segment.
    pub(super) fn namespace(&self, levels: &[String]) -> String {
        levels.join(&self.separator)
    }

    fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().push("v1").extend(segments);
        }
        url
    }

    /// Sends a request, again while it certainly was not carried out and may be the next time. The body of a
    /// success.
    pub(super) async fn send(&self, method: Method, url: Url, body: Option<&Value>) -> Result<Vec<u8>, Failure> {
        let mut renewed = false;
        let mut attempt = 0;
        loop {
            let token = self.token().await.map_err(|e| Failure::Refused(None, e))?;
            let mut request = self.http.request(method.clone(), url.clone()).headers(self.headers.clone());
            if let Some(token) = &token {
                request = request.bearer_auth(token);
            }
            if let Some(body) = body {
                request = request.json(body);
            }
            // Asking to read again does no harm, whatever became of the question.
            let harmless = matches!(method, Method::GET | Method::HEAD);
            let (failure, after) = match exchange(request).await {
                Ok((status, _, body)) if status.is_success() => return Ok(body),
                Ok((StatusCode::UNAUTHORIZED, ..)) if self.rest.credential.is_some() && !renewed => {
                    // Revoked, or a server that reckons otherwise.
                    renewed = true;
                    *self.token.lock().await = None;
                    continue;
                }
                Ok((status, after, body)) => (told(status, &body, &url), after),
                Err(e) => (unanswered(e, &url), None),
            };
            let again = match &failure {
                Failure::Refused(status, _) => {
                    matches!(status, None | Some(StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS))
                }
                Failure::Unknown(_) => harmless,
            };
            if !again || attempt >= RETRIES {
                return Err(failure);
            }
            let wait = after.unwrap_or(FIRST_WAIT * (1 << attempt)).min(LONGEST_WAIT);
            let chance = f64::from(uuid::Uuid::new_v4().as_u128() as u16) / 65536.0;
            tokio::time::sleep(wait + FIRST_WAIT.mul_f64(chance)).await;
            attempt += 1;
        }
    }

    /// The token to show, asked for where there is none or an old one.
    async fn token(&self) -> Result<Option<String>> {
        let mut held = self.token.lock().await;
        if let Some(token) = held.as_ref().filter(|t| t.expires.is_none_or(|at| Instant::now() < at)) {
            return Ok(Some(token.value.clone()));
        }
        let Some((id, secret)) = &self.rest.credential else { return Ok(None) };
        let mut form = HashMap::from([("grant_type", "client_credentials"), ("client_secret", secret.expose())]);
        form.extend(self.rest.token_parameters.iter().map(|(name, value)| (*name, value.as_str())));
        if !id.is_empty() {
            form.insert("client_id", id);
        }
        let failed = |e: Error| e.with("token", &self.rest.token_uri);
        let url = Url::parse(&self.rest.token_uri).map_err(|e| failed(Error::fatal("not an address").caused_by(e)))?;
        let request = self.http.post(url.clone()).form(&form);
        let answer = match exchange(request).await {
            Ok((status, _, body)) if status.is_success() => body,
            // Its body may repeat what was sent.
            Ok((status, ..)) if status.is_client_error() => {
                return Err(failed(Error::fatal("the catalog's token was refused").with("status", status)));
            }
            Ok((status, ..)) => {
                return Err(failed(Error::retriable("cannot get the catalog's token").with("status", status)));
            }
            Err(e) => return Err(failed(unanswered(e, &url).into_error())),
        };
        let answer: TokenAnswer = parse(&answer).map_err(failed)?;
        let lasts = |seconds| Instant::now() + Duration::from_secs(seconds).saturating_sub(EARLY);
        let token = Token { value: answer.access_token.clone(), expires: answer.expires_in.map(lasts) };
        *held = Some(token);
        Ok(Some(answer.access_token))
    }
}

type Exchange = (StatusCode, Option<Duration>, Vec<u8>);

/// Sends and takes the whole answer: one that breaks off is none.
async fn exchange(request: reqwest::RequestBuilder) -> reqwest::Result<Exchange> {
    let answer = request.send().await?;
    let after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let status = answer.status();
    Ok((status, after.map(Duration::from_secs), answer.bytes().await?.to_vec()))
}

/// What a status other than success means.
fn told(status: StatusCode, body: &[u8], url: &Url) -> Failure {
    #[derive(Deserialize)]
    struct Answer {
        error: Message,
    }
    #[derive(Deserialize)]
    struct Message {
        #[serde(default)]
        message: String,
    }
    let message = match serde_json::from_slice::<Answer>(body) {
        Ok(answer) => answer.error.message,
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    };
    let message: String = message.lines().next().unwrap_or_default().chars().take(SHOWN).collect();
    let error = match status.as_u16() {
        401 => Error::fatal("the catalog does not accept the login"),
        403 => Error::data("the catalog does not permit it"),
        400..=499 if !matches!(status.as_u16(), 408 | 409 | 419 | 429) => {
            Error::data("the catalog refuses the request")
        }
        _ => Error::retriable("the catalog failed"),
    };
    let error = error.with("status", status.as_u16()).with("catalog", place(url)).caused_by(message);
    match status.as_u16() {
        // It may have been carried out before the failure.
        408 | 500 | 502 | 504 | 505..=599 => Failure::Unknown(error),
        _ => Failure::Refused(Some(status), error),
    }
}

fn unanswered(e: reqwest::Error, url: &Url) -> Failure {
    let connect = e.is_connect();
    let message = if connect { "cannot reach the catalog" } else { "the catalog's answer is lost" };
    let error = Error::retriable(message).with("catalog", place(url)).caused_by(e.without_url());
    if connect { Failure::Refused(None, error) } else { Failure::Unknown(error) }
}

/// Reads an answer.
pub(super) fn parse<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|e| Error::retriable("the catalog's answer is not understood").caused_by(e))
}

/// An address as errors show it: without what a query may hold.
fn place(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use connector_api::ErrorKind;

    #[test]
    fn a_status_says_whether_it_may_have_happened() {
        let url = Url::parse("http://c/v1/x?secret=1").unwrap();
        let check = |status: u16| match told(StatusCode::from_u16(status).unwrap(), b"{}", &url) {
            Failure::Unknown(e) => ("unknown", e.kind()),
            Failure::Refused(_, e) => {
                assert!(!format!("{e:#}").contains("secret"), "{e:#}");
                ("refused", e.kind())
            }
        };
        let retriable = ErrorKind::Retriable { after: None };
        for status in [500, 502, 504, 408] {
            assert_eq!(check(status), ("unknown", retriable), "{status}");
        }
        for status in [409, 429, 503] {
            assert_eq!(check(status), ("refused", retriable), "{status}");
        }
        assert_eq!(check(401), ("refused", ErrorKind::Fatal));
        assert_eq!(check(403), ("refused", ErrorKind::Data));
        assert_eq!(check(400), ("refused", ErrorKind::Data));
    }
}
