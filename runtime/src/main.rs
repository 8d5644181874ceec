//! connect-runtime with the connectors that it comes with.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    connect_runtime::run(connect_runtime::PLUGINS)
}
