//! Official clients against the double: python-oracledb, node-oracledb, ojdbc11 and the Rust driver `oracledb` see
//! what the model holds, value by value, under both personalities.
//!
//! The first three are installed by `scripts/setup tests`.

mod canonical;
mod driver;
mod faults;
mod foreign;
mod statements;
mod tls;
mod types;

use connect_oracle_double::{Double, Model, Options, Personality, User, every_type};

const BOTH: [Personality; 2] = [Personality::V19c, Personality::V23ai];

/// The password of `APP`.
const PASSWORD: &str = "tiger \u{e9}";

/// A user and a table with a column of each type.
fn model(personality: Personality) -> Model {
    Model::new().user(User::new("APP", PASSWORD).reader()).table(every_type("APP", personality))
}

fn start(personality: Personality) -> Double {
    Double::start(model(personality), Options::new(personality)).unwrap()
}
