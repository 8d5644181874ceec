//! The warehouse's location and the properties of its store. Pure.
//!
//! What must hold: a location is one that every reader takes literally; a property that would be ignored is
//! refused.

use std::collections::BTreeMap;
use std::path::PathBuf;

use connector_api::config::{ConfigDef, Kind, Problem, Secret, Values, nearest};

use super::absolute;
use crate::store::Scheme;

/// Where tables lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Warehouse {
    /// A folder of this machine: absolute, without a scheme.
    Local(PathBuf),
    /// A location in an object store, without a slash at the end.
    Remote(String),
}

impl Warehouse {
    /// It as a location, without a slash at the end.
    pub(crate) fn location(&self) -> String {
        match self {
            Self::Local(path) => format!("file://{}", path.display()),
            Self::Remote(location) => location.clone(),
        }
    }
}

/// The families of properties that go to the store, with what is known of each.
const FAMILIES: &[(&str, &str, &[&str])] = &[
    (
        "iceberg.catalog.s3.*",
        "s3.",
        &[
            "endpoint",
            "region",
            "path-style-access",
            "access-key-id",
            "secret-access-key",
            "session-token",
            "profile-name",
            "sse.type",
            "sse.key",
            "sse.md5",
            "allow-anonymous",
            "disable-ec2-metadata",
            "disable-config-load",
        ],
    ),
    (
        "iceberg.catalog.client.*",
        "client.",
        &["region", "profile-name", "assume-role.arn", "assume-role.external-id", "assume-role.session-name"],
    ),
    (
        "iceberg.catalog.gcs.*",
        "gcs.",
        &[
            "service.path",
            "credentials-json",
            "oauth2.token",
            "no-auth",
            "allow-anonymous",
            "disable-vm-metadata",
            "disable-config-load",
        ],
    ),
    (
        "iceberg.catalog.adls.*",
        "adls.",
        &["account-name", "account-key", "sas-token", "tenant-id", "client-id", "client-secret", "authority-host"],
    ),
];

/// Adds the store's keys. Passwords all, since some are.
pub(super) fn define(definition: ConfigDef) -> ConfigDef {
    definition
        .optional(
            "iceberg.catalog.s3.*",
            Kind::Password,
            "Iceberg's properties of S3: endpoint, region, path-style-access, access-key-id, secret-access-key, \
             session-token, profile-name, sse.type, sse.key …",
        )
        .optional(
            "iceberg.catalog.client.*",
            Kind::Password,
            "Iceberg's properties of AWS clients: region, profile-name, assume-role.arn …",
        )
        .optional(
            "iceberg.catalog.gcs.*",
            Kind::Password,
            "Iceberg's properties of Google Cloud Storage: credentials-json, oauth2.token, service.path …",
        )
        .optional(
            "iceberg.catalog.adls.*",
            Kind::Password,
            "Iceberg's properties of Azure storage: account-name, account-key, sas-token, tenant-id, client-id, \
             client-secret …",
        )
}

/// The store's properties, under Iceberg's names.
pub(super) fn properties(values: &Values) -> Result<BTreeMap<String, Secret>, Vec<Problem>> {
    let mut found = BTreeMap::new();
    let mut problems = Vec::new();
    for (family, prefix, known) in FAMILIES {
        for (member, value) in values.family(family) {
            if known.contains(&member) {
                found.insert(format!("{prefix}{member}"), value);
            } else {
                let hint = nearest(member, known.iter().copied());
                problems.push(Problem::new(format!("iceberg.catalog.{prefix}{member}"), format!("unknown key{hint}")));
            }
        }
    }
    for pair in [["s3.access-key-id", "s3.secret-access-key"], ["s3.secret-access-key", "s3.access-key-id"]] {
        if found.contains_key(pair[0]) && !found.contains_key(pair[1]) {
            problems.push(Problem::new(format!("iceberg.catalog.{}", pair[1]), format!("missing beside {}", pair[0])));
        }
    }
    if problems.is_empty() { Ok(found) } else { Err(problems) }
}

/// The warehouse that a text names.
pub(super) fn warehouse(text: &str) -> Result<Warehouse, String> {
    let (scheme, rest) = Scheme::of(text)?;
    // Locations are URIs to some readers and paths to others: what they would decode is refused.
    if let Some(odd) = rest.chars().find(|c| matches!(c, '%' | '?' | '#' | '*' | '[' | ']' | '{' | '}')) {
        return Err(format!("holds '{odd}', which readers of Iceberg locations take for something else"));
    }
    if scheme == Scheme::Local {
        if text.starts_with("file://") && !rest.starts_with('/') {
            return Err("a file URI has three slashes: file:///path".into());
        }
        return absolute(rest.strip_prefix("file:").unwrap_or(rest)).map(Warehouse::Local);
    }
    if let Some(feature) = scheme.missing_feature() {
        return Err(format!("this program was built without the feature \"{feature}\", which that store needs"));
    }
    let location = text.trim_end_matches('/');
    let (bucket, path) = rest.trim_end_matches('/').split_once('/').unwrap_or((rest.trim_end_matches('/'), ""));
    if bucket.is_empty() {
        return Err("names no bucket".into());
    }
    if path.split('/').any(|level| level.trim() != level || (level.is_empty() && !path.is_empty())) {
        return Err("has a level that is empty, or with spaces at its ends".into());
    }
    if scheme == Scheme::Azure && !bucket.contains('@') {
        return Err("lacks the account: abfss://filesystem@account.dfs.core.windows.net/path".into());
    }
    Ok(Warehouse::Remote(location.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use connector_api::ConnectorConfig;

    #[test]
    #[cfg(all(feature = "s3", feature = "gcs", feature = "azure"))]
    fn locations() {
        let remote = |text: &str| Ok(Warehouse::Remote(text.to_owned()));
        assert_eq!(warehouse("s3://lake/wh/"), remote("s3://lake/wh"));
        assert_eq!(warehouse("s3a://lake"), remote("s3a://lake"));
        assert_eq!(warehouse("gs://lake/a/b"), remote("gs://lake/a/b"));
        let azure = "abfss://fs@acc.dfs.core.windows.net/wh";
        assert_eq!(warehouse(azure), remote(azure));
        assert_eq!(warehouse("file:///a/b").unwrap().location(), "file:///a/b");
        for (text, part) in [
            ("hdfs://x/y", "\"hdfs\" is not supported"),
            ("s3://", "names no bucket"),
            ("s3:///x", "names no bucket"),
            ("s3://lake/a//b", "level that is empty"),
            ("s3://lake/a /b", "spaces"),
            ("s3://lake/a%20b", "'%'"),
            ("abfss://fs/wh", "lacks the account"),
            ("file://x", "three slashes"),
        ] {
            let said = warehouse(text).unwrap_err();
            assert!(said.contains(part), "{text}: {said}");
        }
    }

    #[test]
    fn properties_are_known_and_never_shown() {
        let check = |pairs: &[(&str, &str)]| {
            let raw = pairs.iter().map(|(k, v)| (format!("iceberg.catalog.{k}"), (*v).to_owned())).collect();
            let (values, _) = crate::config::Config::definition().parse(&raw);
            match properties(&values) {
                Ok(found) => {
                    assert!(!format!("{found:?}").contains("hunter2"));
                    Ok(found.into_keys().collect::<Vec<_>>())
                }
                Err(problems) => {
                    Err(problems.into_iter().map(|p| format!("{}: {}", p.key, p.message)).collect::<Vec<_>>())
                }
            }
        };
        let pair = [("s3.access-key-id", "hunter2"), ("s3.secret-access-key", "hunter2"), ("client.region", "eu")];
        assert_eq!(check(&pair).unwrap(), ["client.region", "s3.access-key-id", "s3.secret-access-key"]);
        assert_eq!(
            check(&[("s3.endpont", "x"), ("adls.acount-name", "y"), ("s3.access-key-id", "hunter2")]).unwrap_err(),
            [
                "iceberg.catalog.s3.endpont: unknown key; did you mean \"endpoint\"?",
                "iceberg.catalog.adls.acount-name: unknown key; did you mean \"account-name\"?",
                "iceberg.catalog.s3.secret-access-key: missing beside s3.access-key-id",
            ]
        );
    }
}
