//! A source on a test's server, through the plugin as the runtime builds it.

use std::collections::BTreeMap;

use connect_tests::postgres::{PASSWORD, USER};
use connector_api::{Role, Source};

/// A source on the database of that name, with these keys more or other than usual.
pub(crate) fn source(port: u16, database: &str, keys: &[(&str, &str)]) -> Box<dyn Source> {
    let port = port.to_string();
    let usual = [
        ("database.hostname", "127.0.0.1"),
        ("database.port", port.as_str()),
        ("database.user", USER),
        ("database.password", PASSWORD),
        ("database.dbname", database),
        ("snapshot.mode", "initial_only"),
        ("parallel.chunk.size", "64KiB"),
    ];
    let raw: BTreeMap<_, _> = usual.iter().chain(keys).map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    match (connector_postgres::PLUGIN.build)(&raw) {
        Ok(Role::Source(source)) => source,
        Ok(_) => panic!("not a source"),
        Err(problems) => panic!("{problems:?}"),
    }
}
