//! The log on a real broker, which its tests share.

#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod contract;
mod lost;
mod metrics;
mod partitions;
mod read;
mod shapes;
