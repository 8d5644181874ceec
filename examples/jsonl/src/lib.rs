//! Files of JSON lines as tables: an example of a connector that is written outside of this project, against
//! `connector-api` alone. `docs/first-connector.md` explains it.
//!
//! A table is a file `NAME.jsonl` of the directory, or a folder `NAME` of such files. Its columns are declared
//! in the configuration, never guessed from values.

mod config;
mod rows;
mod source;
mod task;

use connector_api::{Connector, ConnectorKind, Plugin, Role};

use config::Config;

struct JsonLines;

impl Connector for JsonLines {
    const NAME: &'static str = "jsonl";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const KIND: ConnectorKind = ConnectorKind::Source;
    type Config = Config;

    fn build(config: Config) -> Role {
        Role::Source(Box::new(source::JsonLinesSource::new(config)))
    }
}

/// What a runtime registers.
pub const PLUGIN: Plugin = Plugin::of::<JsonLines>();
