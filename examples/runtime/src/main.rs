//! connect-runtime with one more connector.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut plugins = connect_runtime::PLUGINS.to_vec();
    plugins.push(connector_jsonl::PLUGIN);
    connect_runtime::run(&plugins)
}
