//! The harness of the end-to-end tests: throw-away PostgreSQL servers, the program itself as a child
//! process, and foreign readers of what it wrote.
//!
//! What must hold: everything it starts ends with the test process, however that ends; all traffic is
//! on loopback; a comparison that finds nothing has compared something. It must not know the program's
//! code, only its command line, its configuration and the tables it leaves.

pub mod certificates;
pub mod chance;
pub mod compare;
pub mod connect;
pub mod debezium;
pub mod disk;
pub mod events;
pub mod faults;
pub mod http;
pub mod kafka;
mod keeper;
pub mod lake;
pub mod poll;
pub mod postgres;
pub mod proxy;
pub mod recorded;
pub mod registry;
pub mod rest;
pub mod runtime;
pub mod spark;
pub mod store;
pub mod tls;
pub mod workload;

use std::io::Write as _;
use std::path::PathBuf;

/// The checkout whose test this is, which runs in a package of it. Not what the build noted: checkouts may share
/// their build output.
pub fn root() -> PathBuf {
    let here = std::env::current_dir().unwrap();
    let is_root = |folder: &&std::path::Path| folder.join("Cargo.lock").exists();
    here.ancestors().find(is_root).expect("a checkout around the working directory").to_owned()
}

/// Says on standard error, past what a passing test hides, that something was not run and why.
pub fn not_run(what: &str) {
    let _ = writeln!(std::io::stderr().lock(), "not run: {what}");
}
