//! The engine: moves tables from sources to sinks, and shows what it does.
//!
//! [`assemble`] turns configurations into [`Pipeline`]s and [`Following`]s, [`run()`] loads the pipelines' tables,
//! [`follow()`] has a sink follow its log, [`Shared`] is what anyone may look at meanwhile (status, progress,
//! metrics), [`LoadReport`] and [`FollowReport`] are what came of it. The
//! engine owns every loop, queue and stop. It knows connectors only by their contract, never by name.

mod assemble;
mod contain;
mod feed;
mod follow;
mod handover;
mod inspect;
mod load;
mod metrics;
mod others;
mod progress;
mod queue;
mod read;
mod report;
mod retry;
mod round;
mod run;
mod status;
mod write;

pub use assemble::{Assembly, Entry, Following, Pipeline, assemble, runtime_keys};
pub use follow::{FollowJob, FollowProgress, FollowReport, FollowState, FollowedTable, Owed, follow};
pub use load::{Job, Settings};
pub use metrics::resident_bytes;
pub use progress::{Bar, LoadProgress, TableProgress, TableState, bars, lines};
pub use report::{End, LoadReport, Outcome, TableReport};
pub use retry::{Patience, Retry};
pub use run::run;
pub use status::{ConnectorStatus, Shared, State, TaskStatus};
