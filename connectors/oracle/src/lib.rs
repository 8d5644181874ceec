//! Oracle as a source: the selected tables as of one SCN, read in parallel.
//!
//! The way the data takes: `catalog` and `filter` find the tables, `types` and `describe` say how each is read, `cut`
//! fixes the SCN, `plan` divides tables into splits (by `rowid`), `task` reads one split over a `session`, and `decode`
//! makes Arrow of it. `handover` says where what follows
//! the load begins.
//! What must hold: every row of every split is read AS OF the cut's SCN, and nothing is read of a table whose types are
//! not understood. This crate knows no sink and no engine; a driver's types do not leave `session`.

mod catalog;
mod config;
mod cut;
mod decode;
mod describe;
mod error;
mod filter;
mod handover;
mod plan;
mod preflight;
mod rowid;
mod session;
mod source;
mod task;
mod types;

use connector_api::{Connector, ConnectorKind, Plugin, Role};

pub use config::OracleConfig;

/// The connector.
pub struct Oracle;

impl Connector for Oracle {
    const NAME: &'static str = "oracle";
    const ALIASES: &'static [&'static str] = &["io.debezium.connector.oracle.OracleConnector"];
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const KIND: ConnectorKind = ConnectorKind::Source;
    type Config = OracleConfig;

    fn build(config: OracleConfig) -> Role {
        Role::Source(Box::new(source::OracleSource::new(config)))
    }
}

/// What the runtime registers.
pub const PLUGIN: Plugin = Plugin::of::<Oracle>();
