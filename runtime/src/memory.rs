//! `memory.max` as resident memory: what the allocator keeps for later goes back to the system once the program holds
//! more than it may.
//!
//! mimalloc returns freed memory after a second, since clearing pages anew is dear. Rows of a hundred megabytes
//! pass through several copies within that second, so that what is free would come on top of what is in use.

#![expect(unsafe_code, reason = "the allocator's call has no safe binding")]

use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

/// How often it looks once half of the memory is used: a row of a hundred megabytes takes several times as long to be
/// copied once.
const LOOK: Duration = Duration::from_millis(20);
/// How often it looks before.
const LOOK_FROM_AFAR: Duration = Duration::from_millis(100);

/// Looks after the memory until it is dropped.
pub(crate) struct Keeper {
    _alive: SyncSender<()>,
}

impl Keeper {
    /// Starts a thread that looks whether the program holds more than so many bytes.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(crate) fn start(memory_max: usize) -> std::io::Result<Self> {
        let (alive, ended) = sync_channel::<()>(0);
        thread::Builder::new().name("memory".into()).spawn(move || {
            let (memory_max, mut pause) = (memory_max as u64, LOOK);
            while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(pause) {
                let held = connect_engine::resident_bytes().unwrap_or(0);
                pause = if held > memory_max / 2 { LOOK } else { LOOK_FROM_AFAR };
                if held > memory_max {
                    // SAFETY: it may be called at any time, from any thread. Where a program has another allocator
                    // it finds nothing to give back.
                    unsafe { libmimalloc_sys::mi_collect(true) };
                }
            }
        })?;
        Ok(Self { _alive: alive })
    }
}
