//! A reader that keeps reading while the program writes, and remembers whatever it should not have seen.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use crate::lake::{Engine, Lake};

/// What a poller saw of one table: `None` where it did not exist.
pub type Seen = BTreeSet<Option<u64>>;

/// Reads one table's row count over and over until stopped.
pub struct Poller {
    stop: Arc<AtomicBool>,
    reads: Arc<AtomicU64>,
    thread: Option<JoinHandle<Seen>>,
}

impl Poller {
    /// Starts reading a table by both engines in turn; returns after the first read.
    pub fn start(lake: &Lake, table: &str, column: &str) -> Self {
        let (lake, table, column) = (lake.again(), table.to_owned(), column.to_owned());
        let (stop, reads) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&reads));
        let thread = std::thread::spawn(move || {
            let mut seen = Seen::new();
            loop {
                let last = stopped.load(Ordering::Acquire);
                for engine in [Engine::DuckDb, Engine::PyIceberg] {
                    seen.insert(lake.count(engine, &table, &column));
                    counted.fetch_add(1, Ordering::Release);
                }
                if last {
                    return seen;
                }
            }
        });
        while reads.load(Ordering::Acquire) < 2 && !thread.is_finished() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        Self { stop, reads, thread: Some(thread) }
    }

    /// Reads once more, stops, and tells what was seen.
    ///
    /// # Panics
    /// When reading failed at any time: a reader must never meet a table that cannot be read.
    pub fn finish(mut self) -> Seen {
        self.stop.store(true, Ordering::Release);
        let thread = self.thread.take().unwrap();
        let seen = thread.join().unwrap_or_else(|e| std::panic::resume_unwind(e));
        assert!(self.reads.load(Ordering::Acquire) >= 4, "the poller hardly read");
        seen
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}
