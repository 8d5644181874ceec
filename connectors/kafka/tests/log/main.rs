//! The log on a real broker, which its tests share.

mod contract;
mod metrics;
mod partitions;
mod read;
mod shapes;
