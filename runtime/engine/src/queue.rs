//! The queue between a source's splits and the sink: bounded in bytes, in order, many senders, one receiver.
//!
//! What is counted is what a batch holds in memory, from the moment it is offered until the sink has
//! accepted it. A batch larger than the whole queue passes alone, and its sender waits until it has passed: so it
//! gets no other one like it ready meanwhile.

use std::sync::Arc;

use connector_api::{Event, Gauge, Metrics};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// The semaphore counts in these, so that its 32 bits reach far enough.
const UNIT: usize = 1024;

/// Events wait in a channel of this length: framing events hold no rows and so no bytes.
const EVENTS: usize = 1024;

/// An event and the room it takes.
pub(crate) struct Queued {
    /// The event.
    pub(crate) event: Event,
    /// To be dropped once the sink has accepted the event.
    pub(crate) room: Option<Room>,
}

/// Bytes of the queue; dropping it gives them back.
pub(crate) struct Room {
    permit: OwnedSemaphorePermit,
    level: Arc<Level>,
}

impl Drop for Room {
    fn drop(&mut self) {
        let units = self.permit.num_permits();
        // The permit itself goes back after this; the gauge may lag by that moment, downwards only.
        self.level
            .used
            .set(((self.level.units - self.level.free.available_permits()).saturating_sub(units) * UNIT) as u64);
    }
}

struct Level {
    free: Arc<Semaphore>,
    units: usize,
    used: Gauge,
}

/// The sending end. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Sender {
    events: mpsc::Sender<Queued>,
    level: Arc<Level>,
}

/// Nobody reads the queue any more.
#[derive(Debug)]
pub(crate) struct Gone;

/// The receiving end.
pub(crate) type Receiver = mpsc::Receiver<Queued>;

/// A queue of so many bytes, which shows its level and capacity in these metrics.
pub(crate) fn queue(capacity: usize, metrics: &Metrics) -> (Sender, Receiver) {
    let units = (capacity / UNIT).clamp(1, u32::MAX as usize);
    let used = metrics.gauge("connect_queue_bytes", "Bytes of rows between the source and the sink");
    metrics.gauge("connect_queue_capacity_bytes", "The most bytes the queue holds").set((units * UNIT) as u64);
    let (events, receiver) = mpsc::channel(EVENTS);
    let level = Arc::new(Level { free: Arc::new(Semaphore::new(units)), units, used });
    (Sender { events, level }, receiver)
}

impl Sender {
    /// Waits for room, then queues the event. Cancel-safe in that a dropped call has queued nothing, or, if it
    /// waited for a large batch to pass, that batch.
    ///
    /// # Errors
    /// [`Gone`] when nobody reads the queue any more.
    pub(crate) async fn send(&self, event: Event) -> Result<(), Gone> {
        let bytes = if let Event::Changes(batch) = &event { batch.bytes() } else { 0 };
        let room = match &event {
            Event::Changes(_) => Some(self.room(bytes).await?),
            Event::Load(_) => None,
        };
        self.events.send(Queued { event, room }).await.map_err(|_| Gone)?;
        if bytes > self.level.units * UNIT {
            // A queue that nobody reads gives the room back too: then the next call says so.
            drop(self.room(UNIT).await?);
        }
        Ok(())
    }

    async fn room(&self, bytes: usize) -> Result<Room, Gone> {
        let level = &self.level;
        let units = u32::try_from(bytes.div_ceil(UNIT).clamp(1, level.units)).unwrap_or(u32::MAX);
        let permit = Arc::clone(&level.free).acquire_many_owned(units).await.map_err(|_| Gone)?;
        level.used.set(((level.units - level.free.available_permits()) * UNIT) as u64);
        Ok(Room { permit, level: Arc::clone(level) })
    }
}

#[cfg(test)]
mod tests {
    use connector_api::testing::{id_rows, id_schema};
    use connector_api::{ChangeBatch, Position, Span, SplitId, TableId};

    use super::*;

    fn batch(rows: i64) -> Event {
        let schema = id_schema(&TableId::new("test", "t"));
        let span = Span { split: SplitId::new("t/0"), after: Position::Start, upto: Position::End };
        Event::Changes(ChangeBatch::new(Arc::clone(&schema), span, id_rows(&schema, 0..rows)).unwrap())
    }

    /// Offers batches of these sizes (in KiB) to a queue of `capacity` KiB that nobody reads; how many fit.
    async fn check(capacity: usize, sizes: &[i64]) -> (usize, u64) {
        let metrics = Metrics::default();
        let (sender, mut receiver) = queue(capacity * 1024, &metrics);
        let mut fit = 0;
        for size in sizes {
            // Some rows fewer than fill it, for the arrays have a head of their own.
            match futures::poll!(Box::pin(sender.send(batch(size * 128 - 64)))) {
                std::task::Poll::Ready(sent) => sent.unwrap(),
                std::task::Poll::Pending => break,
            }
            fit += 1;
        }
        let level = metrics.all()[0].value();
        // Everything taken leaves the queue as it was.
        while receiver.try_recv().is_ok() {}
        assert_eq!(sender.level.free.available_permits(), capacity);
        assert_eq!(metrics.all()[0].value(), 0);
        (fit, level)
    }

    #[tokio::test]
    async fn holds_no_more_bytes_than_it_may() {
        assert_eq!(check(10, &[4, 4, 4]).await, (2, 8 * 1024));
        assert_eq!(check(10, &[5, 5, 1]).await, (2, 10 * 1024));
        assert_eq!(check(10, &[100, 1]).await, (0, 10 * 1024), "a batch larger than the queue passes alone");
        assert_eq!(check(10, &[1, 100]).await, (1, 1024), "but not beside another");
        assert_eq!(check(1, &[1]).await, (1, 1024));
    }

    #[tokio::test]
    async fn the_sender_of_a_large_batch_waits_until_it_has_passed() {
        let (sender, mut receiver) = queue(10 * 1024, &Metrics::default());
        let mut large = Box::pin(sender.send(batch(100 * 128)));
        assert!(futures::poll!(&mut large).is_pending());
        let taken = receiver.recv().await.unwrap();
        assert!(futures::poll!(&mut large).is_pending(), "it is not accepted yet");
        drop(taken);
        large.await.unwrap();
        drop(receiver);
        assert!(sender.send(batch(100 * 128)).await.is_err());
    }

    #[tokio::test]
    async fn says_when_the_sink_is_gone() {
        let (sender, receiver) = queue(1 << 20, &Metrics::default());
        drop(receiver);
        assert!(matches!(sender.send(batch(1)).await, Err(Gone)));
    }
}
