//! An Oracle server as its clients see it on the wire, over a small versioned store. For tests.
//!
//! Bytes take this way: [`server`] accepts a connection, [`packet`] cuts it into packets, [`handshake`] and [`auth`]
//! let a client in, [`request`] reads what it asks for, [`session`] and [`call`] answer: [`sql`] plans a statement
//! over the [`dictionary`] and the [`store`], and [`row`], [`encode`] and [`lob`] write values into the response.
//! [`faults`] strike on the way.
//!
//! What it proves is the wire and a client's logic: official clients of four kinds accept it (`tests/clients.rs`).
//! What it does not prove is what only a real server knows: its optimizer, its undo, its every privilege.

mod auth;
mod call;
mod dictionary;
mod encode;
mod error;
mod faults;
mod handshake;
mod json;
mod lob;
mod model;
mod number;
mod packet;
mod request;
mod response;
mod row;
mod samples;
mod server;
mod session;
mod sql;
mod store;
mod types;
mod wire;

pub use auth::Verifier;
pub use error::OraError;
pub use faults::{Effect, Fault, Faults};
pub use handshake::Personality;
pub use json::Json;
pub use model::{Cell, Generator, Kind, Model, Scn, Table, User};
pub use number::{NotANumber, Number};
pub use samples::every_type;
pub use server::{Double, Options, Tls};
pub use store::{Database, Transaction};
pub use types::{Length, Moment, Rowid, Type, Value};
