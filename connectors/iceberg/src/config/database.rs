//! Where a SQL catalog's database is, from the several forms in which catalogs are told. Pure.
//!
//! What must hold: a password stays a secret, in errors too; a parameter that would be ignored is refused.

use std::path::PathBuf;

use connector_api::config::{Problem, Secret, Values};
use url::Url;

use super::absolute;

/// A SQL catalog's database.
#[derive(Clone, Debug)]
pub(crate) enum Database {
    /// A SQLite file.
    Sqlite(PathBuf),
    /// A PostgreSQL database: `postgres://…` with user and password in it.
    Postgres(Secret),
}

const URI: &str = "iceberg.catalog.uri";
const USER: &str = "iceberg.catalog.jdbc.user";
const PASSWORD: &str = "iceberg.catalog.jdbc.password";

const SHAPES: &str = "write sqlite://./relative/path.db, sqlite:///absolute/path.db or \
                      postgresql://user@host:5432/database";

/// Parameters of a connection that are understood, as libpq names them.
const PARAMETERS: &[&str] = &["sslmode", "sslrootcert", "sslcert", "sslkey", "application_name"];

impl Database {
    /// The address as errors name it: without a login.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Sqlite(path) => path.display().to_string(),
            Self::Postgres(url) => {
                let url = url.expose();
                url.rsplit_once('@').map_or(url, |(_, rest)| rest).split('?').next().unwrap_or_default().to_owned()
            }
        }
    }
}

/// The database that the keys name.
pub(super) fn parse(values: &Values) -> Result<Database, Problem> {
    let secret = values.secret(URI);
    // JDBC's form of the same address, as Iceberg's JDBC catalog and its Kafka sink take it.
    let text = secret.expose().trim();
    let text = text.strip_prefix("jdbc:").unwrap_or(text);
    if let Some(path) = text.strip_prefix("sqlite://").or_else(|| text.strip_prefix("sqlite:")) {
        return sqlite(path).map(Database::Sqlite).map_err(|m| Problem::new(URI, m));
    }
    let Some((_, rest)) = text.split_once("://").filter(|(scheme, _)| {
        // PyIceberg names the Python driver too: `postgresql+psycopg2`.
        let scheme = scheme.split_once('+').map_or(*scheme, |(scheme, _)| scheme);
        matches!(scheme, "postgresql" | "postgres")
    }) else {
        return Err(Problem::new(URI, format!("is neither a SQLite nor a PostgreSQL URI: {SHAPES}")));
    };
    let url = Url::parse(&format!("postgres://{rest}"))
        .map_err(|e| Problem::new(URI, format!("is not a URI ({e}): {SHAPES}")))?;
    postgres(url, values)
}

fn postgres(mut url: Url, values: &Values) -> Result<Database, Problem> {
    let wrong = |key: &str, message: String| Err(Problem::new(key, message));
    if url.host_str().is_none_or(str::is_empty) || url.path().trim_matches('/').is_empty() {
        return wrong(URI, "lacks the host or the database: write postgresql://user@host:5432/database".into());
    }
    let mut parameters = Vec::new();
    for (name, value) in url.query_pairs() {
        match &*name {
            "user" if url.username().is_empty() => {}
            "password" if url.password().is_none() => {}
            name if PARAMETERS.contains(&name) => parameters.push((name.to_owned(), value.into_owned())),
            name => return wrong(URI, format!("parameter \"{name}\" is not one of: {}", PARAMETERS.join(", "))),
        }
    }
    let given = |name: &str| url.query_pairs().find(|(n, _)| n == name).map(|(_, value)| value.into_owned());
    let (user, password) = (given("user"), given("password"));
    for (key, value, inline) in [
        (USER, values.text(USER).to_owned(), !url.username().is_empty() || user.is_some()),
        (PASSWORD, values.secret(PASSWORD).expose().to_owned(), url.password().is_some() || password.is_some()),
    ] {
        if inline && !value.is_empty() {
            return wrong(key, format!("stands in {URI} as well"));
        }
    }
    let user = user.unwrap_or_else(|| values.text(USER).to_owned());
    let password = password.unwrap_or_else(|| values.secret(PASSWORD).expose().to_owned());
    let set = (user.is_empty() || url.set_username(&user).is_ok())
        && (password.is_empty() || url.set_password(Some(&password)).is_ok());
    if !set {
        return wrong(URI, "cannot take a user and a password".into());
    }
    if url.username().is_empty() {
        return wrong(USER, format!("is missing, and {URI} names no user"));
    }
    url.set_query(None);
    if !parameters.is_empty() {
        url.query_pairs_mut().extend_pairs(parameters);
    }
    Ok(Database::Postgres(Secret::new(url.as_str())))
}

fn sqlite(path: &str) -> Result<PathBuf, String> {
    if path.contains('?') {
        return Err("takes no parameters for SQLite".into());
    }
    if path.is_empty() || path.ends_with('/') || path.contains(":memory:") {
        return Err(format!("names no file: {SHAPES}"));
    }
    absolute(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use connector_api::ConnectorConfig;

    /// What the keys come to, as text; a problem as `key: message`.
    fn check(uri: &str, more: &[(&str, &str)]) -> String {
        let pairs = [(URI, uri)].into_iter().chain(more.iter().copied());
        let raw = pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        let (values, _) = crate::config::Config::definition().parse(&raw);
        match parse(&values) {
            Ok(Database::Sqlite(path)) => path.display().to_string(),
            Ok(database @ Database::Postgres(_)) => {
                assert!(!format!("{database:?}").contains("secret"), "{database:?}");
                let Database::Postgres(url) = database else { unreachable!() };
                url.expose().to_owned()
            }
            Err(p) => {
                assert!(!p.message.contains("secret"), "{}", p.message);
                format!("{}: {}", p.key, p.message)
            }
        }
    }

    #[test]
    fn every_form_of_an_address() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(check("sqlite:///a/b.db", &[]), "/a/b.db");
        assert_eq!(check("jdbc:sqlite:/a/b.db", &[]), "/a/b.db");
        assert_eq!(check("sqlite://./a/../b/c.db", &[]), here.join("b/c.db").display().to_string());
        let full = "postgres://me:secret%20x@db:5433/lake";
        assert_eq!(check("postgresql://me:secret%20x@db:5433/lake", &[]), full);
        assert_eq!(check("postgresql+psycopg2://me:secret%20x@db:5433/lake", &[]), full);
        assert_eq!(check("jdbc:postgresql://db:5433/lake?user=me&password=secret+x", &[]), full);
        let keys = [(USER, "me"), (PASSWORD, "secret x")];
        assert_eq!(check("jdbc:postgresql://db:5433/lake", &keys), full);
        assert_eq!(
            check("postgres://me@db/lake?sslmode=verify-full&sslrootcert=/ca.pem", &[]),
            "postgres://me@db/lake?sslmode=verify-full&sslrootcert=%2Fca.pem"
        );
        assert_eq!(check("postgres://db/lake", &[(USER, "a@b"), (PASSWORD, "se:cret/?#%")]), {
            "postgres://a%40b:se%3Acret%2F%3F%23%@db/lake"
        });
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let has = |uri: &str, more: &[(&str, &str)], part: &str| {
            let said = check(uri, more);
            assert!(said.contains(part), "{uri}: {said}");
        };
        has("mysql://me:secret@db/lake", &[], "neither a SQLite nor a PostgreSQL URI");
        has("sqlite://", &[], "names no file");
        has("sqlite://:memory:", &[], "names no file");
        has("sqlite:///x.db?mode=ro", &[], "no parameters");
        has("postgresql://me:secret@db", &[], "lacks the host or the database");
        has("postgresql:///lake", &[], "lacks the host or the database");
        has("postgresql://me:secret@db:secret/lake", &[], "is not a URI");
        has("postgresql://db/lake", &[], "jdbc.user: is missing");
        has("postgresql://me:secret@db/lake?ssl=true", &[], "parameter \"ssl\" is not one of: sslmode");
        has("postgresql://me@db/lake", &[(USER, "you")], "jdbc.user: stands in iceberg.catalog.uri as well");
        has("postgresql://me:secret@db/lake", &[(PASSWORD, "secret")], "jdbc.password: stands in");
    }
}
