//! The program from end to end, on real servers, judged by readers that are not ours.
//!
//! One binary, so that the tests share one PostgreSQL server; each has a database, a folder and a lake of
//! its own. What a test waits for is an event it causes or observes, never a length of time.

mod catalogs;
mod changes;
mod chaos;
mod check;
mod commits;
mod configuration;
mod connection;
mod crash;
mod cut;
mod elsewhere;
mod faults;
mod first_connector;
mod full_disk;
mod instances;
mod kafka;
mod kinds;
mod log_chaos;
mod log_faults;
mod memory;
mod operator;
mod oracle;
mod panics;
mod partitions;
mod random;
mod rest;
mod rollback;
mod shape;
mod slot;
mod spark;
mod tables;
mod tasks;
mod terminal;
mod types;
mod values;
mod versions;
