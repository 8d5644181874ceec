//! Configuration files: worker settings and a list of connectors, each a flat map of strings as Kafka
//! Connect's REST interface takes it.
//!
//! ```json
//! { "worker": { "memory.max": "512MiB" },
//!   "connectors": [ { "name": "shop", "config": { "connector.class": "postgres",
//!                     "database.password": "${file:secrets.properties:shop}" } } ] }
//! ```
//!
//! A file whose name ends in `.yaml` or `.yml` is YAML, one in `.properties` a Java properties file, any other
//! JSON. Besides the form above, each may be what Kafka Connect takes: `{name, config, initial_state}` as
//! POSTed to `/connectors`, a list of those, or one flat map of settings with `name` among them.
//!
//! [`load`] reads one or several files, resolves the references in their values and reports every problem
//! at once, each as one line with file, connector and key. What a connector's keys mean is the connector's
//! business: its own problems join the same report through [`Config::translate`].
//!
//! # References
//! | written | stands for |
//! |---|---|
//! | `${NAME}` | the environment variable; a problem when it is not set |
//! | `${NAME:default}` | the variable, or the default when it is not set; the default may be empty and may contain colons |
//! | `${env:NAME}` | the environment variable |
//! | `${file:path:key}` | a key of a Java properties file; a relative path starts at the configuration file's folder |
//! | `${directory:path:key}` | the content of the file `key` in a directory, as it is; relative as above |
//! | `$${` | a literal `${` |
//!
//! A reference may stand anywhere in a value, several times. `env:`, `file:` and `directory:` after `${`
//! name providers: `${env:X}` is never the variable `env` with the default `X`. What a reference stands for
//! is not looked at again, so references do not nest. Names of connectors take none.
//!
//! No message and no `Debug` output holds what a reference stands for: a message that quotes a value shows
//! the reference instead, without its default. What stands literally in the file may be quoted.

mod file;
mod json;
mod load;
mod problem;
mod properties;
mod provider;
mod redact;
mod reference;
mod settings;
mod shape;
mod tree;
mod worker;
mod yaml;

pub use load::{Config, Entry, load};
pub use problem::{At, ConfigProblem, Place};
pub use settings::Settings;
pub use worker::{Listener, LogFormat, LogRotation, ProgressDisplay, Worker};
