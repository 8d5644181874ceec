//! How to reach a REST catalog. Pure.

use std::collections::BTreeMap;

use connector_api::config::{ConfigDef, Kind, Problem, Secret, Values};
use url::Url;

/// A REST catalog.
#[cfg_attr(not(feature = "rest"), expect(dead_code, reason = "its reader is not in such a build"))]
#[derive(Clone, Debug)]
pub(crate) struct Rest {
    /// Its address, without a slash at the end and without `/v1`.
    pub(crate) uri: String,
    /// The warehouse by the name, or the location, that the catalog knows.
    pub(crate) warehouse: Option<String>,
    /// Path between `/v1` and the resources, where the catalog does not tell it.
    pub(crate) prefix: Option<String>,
    /// A bearer token.
    pub(crate) token: Option<Secret>,
    /// Client id and secret, for tokens by OAuth2's client credentials.
    pub(crate) credential: Option<(String, Secret)>,
    /// Where tokens are had.
    pub(crate) token_uri: String,
    /// More parameters of a token's request: scope, audience, resource.
    pub(crate) token_parameters: BTreeMap<&'static str, String>,
    /// Headers of every request.
    pub(crate) headers: BTreeMap<String, Secret>,
}

/// Adds the catalog's keys.
pub(super) fn define(definition: ConfigDef) -> ConfigDef {
    definition
        .optional("iceberg.catalog.token", Kind::Password, "REST: bearer token")
        .optional(
            "iceberg.catalog.credential",
            Kind::Password,
            "REST: client-id:client-secret, with which tokens are asked for and renewed (OAuth2)",
        )
        .optional(
            "iceberg.catalog.oauth2-server-uri",
            Kind::Text,
            "REST: where tokens are asked for; without it the catalog's own /v1/oauth/tokens",
        )
        .defaulted("iceberg.catalog.scope", Kind::Text, "catalog", "REST: scope of the tokens")
        .optional("iceberg.catalog.audience", Kind::Text, "REST: audience of the tokens")
        .optional("iceberg.catalog.resource", Kind::Text, "REST: resource of the tokens")
        .optional("iceberg.catalog.prefix", Kind::Text, "REST: path after /v1, where the catalog does not tell it")
        .optional("iceberg.catalog.header.*", Kind::Password, "REST: a header of every request")
}

/// The catalog that the keys name.
pub(super) fn parse(values: &Values) -> Result<Rest, Problem> {
    const URI: &str = "iceberg.catalog.uri";
    if !cfg!(feature = "rest") {
        let message = "this program was built without the feature \"rest\", which that catalog needs";
        return Err(Problem::new("iceberg.catalog.type", message));
    }
    let address = |key: &str, text: &str| match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.username().is_empty() => Ok(()),
        Ok(_) => Err(Problem::new(key, "is not an http:// or https:// address without a login")),
        Err(e) => Err(Problem::new(key, format!("is not an address: {e}"))),
    };
    let secret = values.secret(URI);
    let uri = secret.expose().trim().trim_end_matches('/');
    let uri = uri.strip_suffix("/v1").unwrap_or(uri).to_owned();
    address(URI, &uri)?;
    let some = |key: &str| Some(values.text(key).to_owned()).filter(|text| !text.is_empty());
    let token_uri = match some("iceberg.catalog.oauth2-server-uri") {
        Some(given) => {
            address("iceberg.catalog.oauth2-server-uri", &given)?;
            given
        }
        None => format!("{uri}/v1/oauth/tokens"),
    };
    let token = values.has("iceberg.catalog.token").then(|| values.secret("iceberg.catalog.token"));
    let credential = values.has("iceberg.catalog.credential").then(|| {
        let text = values.secret("iceberg.catalog.credential");
        // Without an id, the whole is the secret: as Iceberg's own clients have it.
        let (id, secret) = text.expose().split_once(':').unwrap_or(("", text.expose()));
        (id.to_owned(), Secret::new(secret))
    });
    if token.is_some() && credential.is_some() {
        return Err(Problem::new("iceberg.catalog.token", "stands beside iceberg.catalog.credential: give one"));
    }
    let parameters = [("scope", "iceberg.catalog.scope"), ("audience", "iceberg.catalog.audience")];
    let parameters = parameters.into_iter().chain([("resource", "iceberg.catalog.resource")]);
    Ok(Rest {
        uri,
        warehouse: some("iceberg.catalog.warehouse"),
        prefix: some("iceberg.catalog.prefix"),
        token,
        credential,
        token_uri,
        token_parameters: parameters.filter_map(|(name, key)| Some((name, some(key)?))).collect(),
        headers: values.family("iceberg.catalog.header.*").map(|(name, value)| (name.to_owned(), value)).collect(),
    })
}

#[cfg(test)]
#[cfg(feature = "rest")]
mod tests {
    use super::*;
    use connector_api::ConnectorConfig;

    fn check(pairs: &[(&str, &str)]) -> Result<Rest, String> {
        let raw = pairs.iter().map(|(k, v)| (format!("iceberg.catalog.{k}"), (*v).to_owned())).collect();
        let (values, _) = crate::config::Config::definition().parse(&raw);
        let rest = parse(&values).map_err(|p| format!("{}: {}", p.key, p.message));
        assert!(!format!("{rest:?}").contains("hunter2"), "{rest:?}");
        rest
    }

    #[test]
    fn addresses_and_secrets() {
        let rest = check(&[("uri", "https://c/api/v1/"), ("credential", "me:hunter2:x"), ("header.X-A", "hunter2")]);
        let rest = rest.unwrap();
        assert_eq!(rest.uri, "https://c/api");
        assert_eq!(rest.token_uri, "https://c/api/v1/oauth/tokens");
        let (id, secret) = rest.credential.unwrap();
        assert_eq!((id.as_str(), secret.expose()), ("me", "hunter2:x"));
        assert_eq!(rest.token_parameters, BTreeMap::from([("scope", "catalog".to_owned())]));
        assert_eq!(rest.headers["X-A"].expose(), "hunter2");
        assert!(check(&[("uri", "ftp://c")]).unwrap_err().contains("not an http://"));
        assert!(check(&[("uri", "https://me:hunter2@c")]).unwrap_err().contains("without a login"));
        assert!(check(&[("uri", "c")]).unwrap_err().contains("not an address"));
        let both = [("uri", "http://c"), ("credential", "a:hunter2"), ("token", "hunter2")];
        assert!(check(&both).unwrap_err().contains("give one"));
    }
}
