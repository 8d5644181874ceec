//! Debezium's change events → Arrow rows. Pure: no Kafka, no HTTP, no runtime.
//!
//! One [`Decoder`] per topic partition. It is given messages in their order and grows a batch per table:
//!
//! ```text
//! let mut decoder = Decoder::new(settings, registry);       // topic, partition, formats, modes
//! decoder.set_table(Table { schema, whole_before });        // each table that the sink has
//! for message in messages {
//!     loop {
//!         match decoder.push(&message, &mut keep) {
//!             Ok(Pushed::Row(op)) => {}                     // in the open batch of the table that `keep` was asked of
//!             Ok(Pushed::Skipped(why)) => {}                // tombstone, heartbeat, logical message, not kept
//!             Ok(Pushed::Transaction(t)) => …               // BEGIN or END of the metadata topic
//!             Ok(Pushed::Truncate) => …                     // of that table: take(), apply, then the truncation
//!             Ok(Pushed::Schema { schema, new }) => {       // nothing was taken: take(), create or evolve
//!                 decoder.set_table(…);                     //   the table, set_table, the same message again
//!                 continue;
//!             }
//!             Ok(Pushed::Dependent) => …                    // where `keep` said IfIndependent
//!             Ok(Pushed::Full) => { decoder.take(); continue }
//!             Err(e) if e.kind() == ErrorKind::Data => …    // a bad record: it left nothing behind
//!             Err(e) => …                                   // the schema source: try the message again later
//!         }
//!         break;
//!     }
//! }
//! for batch in decoder.take()? { … }                        // rows, ops, offsets, missing, …
//! ```
//!
//! `keep` says by table and place in the log what is new: the hand-over from a load and redelivered runs are
//! dropped there, before it matters whether they fit the table.
//!
//! A [`Batch`] holds one row per event: the image after an insert or update, or the key (of a table without
//! one, the image) of what was deleted. `missing` says which cells the database's log did not carry; such a
//! cell is NULL and means nothing. `before` and `old_keys` are side tables for some of the rows.
//!
//! What must hold:
//! - **A message is applied whole or leaves nothing behind**, and never changes another's row.
//! - **Types are those of a load** (docs/types.md), value by value. Where a mode of Debezium's loses what a
//!   column holds, the column is refused by name together with the setting that keeps it; types are never
//!   guessed from values. Without a schema in the message they come from the table's source types and the
//!   declared [`Modes`].
//! - **Any bytes are an error at worst.**
//!
//! What differs between source databases is data (`Dialect`): another database is another table of types. The first
//! event says which it is.

mod avro;
mod batch;
mod body;
mod cells;
mod decoder;
mod dialect;
mod digits;
mod envelope;
mod fault;
mod how;
mod json;
mod message;
mod modes;
mod plan;
mod position;
mod rows;
mod shape;
mod source;
mod state;
mod unavailable;
mod value;

pub use batch::{Batch, Images, Op, Pushed, Skipped, Transaction};
pub use decoder::{Decoder, Settings};
pub use message::{Format, Keep, Message, SchemaSource, Table, WriterSchema};
pub use modes::{Binary, Decimals, Hstore, Intervals, Modes, PLACEHOLDER, Times};
pub use position::{Snapshot, SourcePosition};
pub use rows::Missing;
