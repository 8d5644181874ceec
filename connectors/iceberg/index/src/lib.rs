//! The key index of one Iceberg table: key → where its live rows are, on local disk, in bounded memory.
//!
//! Deletes are written by row position (P15), so every change has to find the rows that it replaces. The index is
//! a cache of the table (P16): it is exact or it says that it is absent or corrupt, and then it is rebuilt from the
//! table. It is a multimap (P19): duplicates and the copies of a keyless row keep all their locations. It knows
//! nothing of Iceberg, Arrow or tokio; the caller runs it on a blocking thread.
//!
//! # Use
//!
//! ```
//! # use connector_iceberg_index::*;
//! # fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let folder = folder.path();
//! let mut encoder = KeyEncoder::new(&[ColumnBytes::Fixed(8)]);
//! let definition =
//!     Definition { table: "the table's uuid".into(), key: "v1 1:long".into(), width: encoder.width() };
//! let index = match Index::open(folder, &definition, 64 << 20)? {
//!     Opened::Ready(index) => index,
//!     // Missing, of another table or key, corrupt: from the table's live rows, in any order.
//!     Opened::Absent(_) => {
//!         let mut rebuild = Rebuild::begin(folder, &definition, 64 << 20)?;
//!         let file = rebuild.file("data/1.parquet")?;
//!         rebuild.push(Key::Small(7), Location { file, row: 0 })?;
//!         rebuild.finish(Some(1))?
//!     }
//! };
//! // What a commit did before the process died: adopted iff its snapshot is in the table's history.
//! assert!(index.staged().is_empty());
//!
//! // A batch: what is there, what it becomes, the commit, and what it became.
//! encoder.value(&7u64.to_be_bytes())?;
//! let key = encoder.finish()?;
//! let rows = index.view(See::Staged).lookup(&[key])?;
//! assert_eq!(index.path_of(rows.of(0)[0].file)?.as_deref(), Some("data/1.parquet"));
//! let file = index.file("data/2.parquet")?;
//! index.stage(2, [Change::Put(key, Location { file, row: 0 })], &[])?;
//! // … the commit is sent, and is seen in the table …
//! index.adopt(2)?;
//! while index.merge_step()? {}
//! # Ok(())
//! # }
//! ```
//!
//! # How it is built, and why
//!
//! Own sorted runs rather than an embedded store: a commit's keys are written once, in sequence, and the order of
//! commits is the only transaction there is. Measured before (10 M keys): redb 108 ms per 100,000 lookups and 541
//! per upsert, fjall 337 and 270, LMDB 86 and 319.
//!
//! - **A run** (`write`, `run`) is an immutable file of 4 KiB pages, sorted by mixed key, each page under a check
//!   that no page of another file or place passes. A batch of lookups is sorted and walks the run once; adjacent
//!   pages are one read. Nothing is mapped: mapped pages count as memory, and a torn one would be a signal.
//! - **An entry** (`entry`) replaces what older runs say of its key, or adds to it. Lookups go from the newest run
//!   back and stop at the first that replaces.
//! - **A commit** (`commit`) is one run, named with its snapshot: staged before it is sent, adopted after. Both are an atomic
//!   swap of the manifest (`manifest`). Killed anywhere, the index is as before the call or as after it.
//! - **Merges** (`merge`) keep runs to about twenty and disk to about twice the live entries.
//! - **Files** (`files`) are numbered; a number never means two files. What a commit removes as a whole is given
//!   as `gone`, and its rows are gone with it, without naming their keys.
//! - **Moving rows** (compaction, P18) will be a merge whose locations pass through the map old → new: where `merge`
//!   leaves out rows of files that are gone, it will move the others.
//! - **Memory**: half of `index.memory.max` for filters (small runs first; what has no room stays on disk), fences
//!   and file numbers; three eighths for a merge, a lookup or staging, of which one is to run at a time; the rest for
//!   buffers. A rebuild has all of it.
//!
//! # Figures
//!
//! `examples/bench.rs`, ext4, two cores shared with seven busy processes; median of nine, in ms per batch of 100,000
//! random keys, on one large run and twenty of 5,000. "Before" is the mapped prototype of the measurements above, on
//! a quiet machine and without syncs. An upsert is `stage` and `adopt`, synced: most of it is the disk.
//!
//! | | existing | absent | upsert | disk | rebuild | reopen |
//! |---|---|---|---|---|---|---|
//! | 10 M small keys, before | 57 | 14 | 5 | 192 MB | | 19 ms |
//! | 10 M small keys, 256 MiB | 44 | 18 | 25 | 178 MB | 1.4 s | 10 ms |
//! | 10 M small keys, 16 MiB | 48 | 47 | 36 | 178 MB | 1.4 s | 0.2 ms |
//! | 10 M wide keys, 256 MiB | 42 | 19 | 36 | 258 MB | 2.1 s | 12 ms |
//! | 50 M small keys, before | 67 | 9 | 4 | | 6 s | 150 ms |
//! | 50 M small keys, 256 MiB | 75 | 20 | 36 | 883 MB | 6.3 s | 45 ms |
//! | 50 M small keys, 64 MiB | 81 | 66 | 8 | 883 MB | 6.7 s | 0.5 ms |
//!
//! With fifteen busy processes beside it the same took two to five times as long (50 M keys: existing 400 ms, rebuild
//! 39 s). Merging 50 M keys with a million changes into one run: 2.3 s of the background thread. Peak RSS of a
//! rebuild of 50 M keys: 37 MiB with 64 MiB allowed; resident with 256 MiB: 78 MB, nearly all of it the filter.

mod buckets;
mod budget;
mod commit;
mod encode;
mod entry;
mod error;
mod fault;
mod files;
mod filter;
mod index;
mod key;
mod manifest;
mod merge;
#[cfg(test)]
mod model;
mod page;
mod rebuild;
mod run;
mod sort;
mod verify;
mod view;
mod write;

pub use commit::Change;
pub use encode::{ColumnBytes, KeyEncoder};
pub use entry::{FILES, Location};
pub use error::{Error, Result};
pub use index::{Absence, Definition, Index, Opened, Stats};
pub use key::{Key, Width};
pub use rebuild::Rebuild;
pub use verify::Difference;
pub use view::{Locations, See, View};
