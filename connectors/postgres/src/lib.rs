//! PostgreSQL as a source: the selected tables as of one consistent cut, read in parallel.
//!
//! The way the data takes: `catalog` and `filter` find the tables, `types` and `describe` say how each is
//! read, `cut` fixes the moment and keeps it, `plan` divides tables into splits, `task` reads one split over `wire`, and `decode` makes Arrow of it.
//! What must hold: every row of every split is read under the cut's snapshot, and nothing is read of a
//! table whose types are not understood. This crate knows no sink and no engine.

mod catalog;
mod config;
mod cut;
mod decode;
mod describe;
mod error;
mod filter;
mod plan;
mod preflight;
mod slot;
mod source;
mod task;
mod types;
mod wire;

use connector_api::{Connector, ConnectorKind, Plugin, Role};

pub use config::PostgresConfig;

/// The connector.
pub struct Postgres;

impl Connector for Postgres {
    const NAME: &'static str = "postgres";
    const ALIASES: &'static [&'static str] = &["io.debezium.connector.postgresql.PostgresConnector"];
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const KIND: ConnectorKind = ConnectorKind::Source;
    type Config = PostgresConfig;

    fn build(config: PostgresConfig) -> Role {
        Role::Source(Box::new(source::PostgresSource::new(config)))
    }
}

/// What the runtime registers.
pub const PLUGIN: Plugin = Plugin::of::<Postgres>();
