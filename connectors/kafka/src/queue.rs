//! From the reader's thread to the runtime: a queue that is bounded in bytes.

use std::sync::Arc;

use connector_api::{LogEvent, Result};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The most events that wait, whatever their size.
const EVENTS: usize = 1024;

/// What the reader has to say, and how often its table had been begun anew then.
pub(crate) struct Item {
    pub(crate) generation: u64,
    pub(crate) event: Result<LogEvent>,
    /// The room that it takes.
    _room: OwnedSemaphorePermit,
}

/// The reader's end.
pub(crate) struct Inlet {
    items: Sender<Item>,
    room: Arc<Semaphore>,
    /// All of the room, KiB.
    whole: u32,
    runtime: Handle,
}

/// The other end. Dropped, it ends the reader.
pub(crate) struct Outlet {
    items: Receiver<Item>,
    room: Arc<Semaphore>,
}

/// Nobody listens any more.
#[derive(Debug)]
pub(crate) struct Closed;

/// A queue of so many bytes.
pub(crate) fn queue(bytes: usize, runtime: Handle) -> (Inlet, Outlet) {
    let whole = u32::try_from(bytes >> 10).unwrap_or(u32::MAX >> 4).clamp(1, u32::MAX >> 4);
    let (room, (sender, receiver)) = (Arc::new(Semaphore::new(whole as usize)), channel(EVENTS));
    (Inlet { items: sender, room: Arc::clone(&room), whole, runtime }, Outlet { items: receiver, room })
}

impl Inlet {
    /// Waits for room, and sends. What is larger than the whole queue waits until that is empty. Blocking.
    pub(crate) fn send(&self, generation: u64, event: Result<LogEvent>) -> Result<(), Closed> {
        let bytes = if let Ok(LogEvent::Changes(batch)) = &event { batch.bytes() } else { 0 };
        let wanted = u32::try_from(bytes.div_ceil(1 << 10)).unwrap_or(u32::MAX).min(self.whole);
        let room = self.runtime.block_on(Arc::clone(&self.room).acquire_many_owned(wanted)).map_err(|_| Closed)?;
        self.items.blocking_send(Item { generation, event, _room: room }).map_err(|_| Closed)
    }

    /// Whether somebody listens.
    pub(crate) fn is_open(&self) -> bool {
        !self.items.is_closed()
    }
}

impl Outlet {
    /// The next item; `None` when the reader has gone. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<Item> {
        self.items.recv().await
    }

    /// Lets the reader go, wherever it waits.
    pub(crate) fn close(&mut self) {
        self.room.close();
        self.items.close();
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        self.close();
    }
}
