//! The Iceberg sink: loads published as Iceberg tables, one commit each.
//!
//! What must hold: readers see a table's load whole or not at all; the commit that shows the rows carries
//! the position they stand for; a stale writer loses at the catalog. What it must not know: which source
//! the rows come from.

mod commit;
mod config;
mod counters;
mod error;
mod follow;
mod journal;
mod lane;
mod ledger;
mod names;
mod orphans;
mod outcomes;
mod partition;
mod position;
mod publish;
mod restore;
mod schema;
mod sink;
mod store;
mod table_config;
mod task;
#[cfg(test)]
mod tests;
mod writer;

use connector_api::{Connector, ConnectorKind, Role};

pub use config::Config;

/// The connector as the runtime registers it.
pub struct Iceberg;

impl Connector for Iceberg {
    const NAME: &'static str = "iceberg";
    const ALIASES: &'static [&'static str] =
        &["org.apache.iceberg.connect.IcebergSinkConnector", "io.tabular.iceberg.connect.IcebergSinkConnector"];
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const KIND: ConnectorKind = ConnectorKind::Sink;
    type Config = Config;

    fn build(config: Config) -> Role {
        Role::Sink(Box::new(sink::IcebergSink::new(config)))
    }
}
