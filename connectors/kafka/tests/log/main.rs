//! The log on a real broker, which its tests share.

mod contract;
mod lost;
mod metrics;
mod partitions;
mod read;
mod shapes;
