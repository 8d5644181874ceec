//! Which accepted loads are settled, and who is told: each outcome goes to exactly one checkpoint. Holds
//! no table's data.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use connector_api::{Checkpoint, Error, Loaded, TableId};
use tokio::sync::Notify;

/// The outcomes of one task.
#[derive(Clone, Default)]
pub(crate) struct Outcomes(Arc<Inner>);

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    last: u64,
    open: BTreeSet<u64>,
    settled: BTreeMap<u64, (TableId, Result<Loaded, Error>)>,
}

/// A load whose outcome is awaited. Dropping it unsettled reports a failure: nothing waits for ever.
pub(crate) struct Pending {
    outcomes: Outcomes,
    table: TableId,
    number: Option<u64>,
}

impl Outcomes {
    /// Notes that a table's outcome is to come.
    pub(crate) fn expect(&self, table: TableId) -> Pending {
        let mut state = self.lock();
        state.last += 1;
        let number = state.last;
        state.open.insert(number);
        Pending { outcomes: self.clone(), table, number: Some(number) }
    }

    /// Waits for all outcomes expected before the call and takes those that nobody has taken.
    pub(crate) fn checkpoint(&self) -> impl Future<Output = Checkpoint> + Send + 'static {
        let outcomes = self.clone();
        let upto = self.lock().last;
        async move {
            loop {
                let changed = outcomes.0.changed.notified();
                tokio::pin!(changed);
                // Registered before looking, so that no change falls in between.
                changed.as_mut().enable();
                if let Some(checkpoint) = outcomes.take(upto) {
                    return checkpoint;
                }
                changed.await;
            }
        }
    }

    /// Forgets a table's outcomes that nobody has taken: another attempt begins.
    pub(crate) fn void(&self, table: &TableId) {
        self.lock().settled.retain(|_, (t, _)| t != table);
    }

    fn take(&self, upto: u64) -> Option<Checkpoint> {
        let mut state = self.lock();
        if state.open.first().is_some_and(|first| *first <= upto) {
            return None;
        }
        let later = state.settled.split_off(&(upto + 1));
        let mut checkpoint = Checkpoint::default();
        for (table, outcome) in std::mem::replace(&mut state.settled, later).into_values() {
            match outcome {
                Ok(loaded) => checkpoint.durable.set_loaded(table, loaded),
                Err(e) => checkpoint.failed.push((table, e)),
            }
        }
        Some(checkpoint)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pending {
    /// Settles it.
    pub(crate) fn settle(mut self, outcome: Result<Loaded, Error>) {
        self.set(outcome);
    }

    fn set(&mut self, outcome: Result<Loaded, Error>) {
        if let Some(number) = self.number.take() {
            let mut state = self.outcomes.lock();
            state.open.remove(&number);
            state.settled.insert(number, (self.table.clone(), outcome));
            drop(state);
            self.outcomes.0.changed.notify_waiters();
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.set(Err(Error::retriable("the publication was interrupted")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    fn table(n: u32) -> TableId {
        TableId::new("s", n.to_string())
    }

    fn loaded() -> Result<Loaded, Error> {
        Ok(Loaded { system: "s".into(), position: "0/1".into(), visible: None, rows: None, commit: "1".into() })
    }

    /// What a checkpoint gives, if it is ready: durable tables, then failed ones.
    fn ready(handle: &mut (impl Future<Output = Checkpoint> + Unpin)) -> Option<String> {
        let c = handle.now_or_never()?;
        let durable: Vec<_> = c.durable.tables().map(|(t, _)| t.name().to_owned()).collect();
        let failed: Vec<_> = c.failed.iter().map(|(t, _)| t.name().to_owned()).collect();
        Some(format!("{}|{}", durable.join(","), failed.join(",")))
    }

    #[test]
    fn a_checkpoint_waits_for_what_was_accepted_before_it_and_no_more() {
        let o = Outcomes::default();
        let (one, two) = (o.expect(table(1)), o.expect(table(2)));
        let mut first = Box::pin(o.checkpoint());
        let three = o.expect(table(3));
        assert_eq!(ready(&mut first), None);
        two.settle(Err(Error::data("no")));
        assert_eq!(ready(&mut first), None);
        one.settle(loaded());
        assert_eq!(ready(&mut first).as_deref(), Some("1|2"), "three is not part of it");
        three.settle(loaded());
        assert_eq!(ready(&mut Box::pin(o.checkpoint())).as_deref(), Some("3|"));
        assert_eq!(ready(&mut Box::pin(o.checkpoint())).as_deref(), Some("|"), "told once");
    }

    #[test]
    fn with_two_handles_each_outcome_goes_to_one() {
        let o = Outcomes::default();
        let one = o.expect(table(1));
        let mut first = Box::pin(o.checkpoint());
        let two = o.expect(table(2));
        let mut second = Box::pin(o.checkpoint());
        one.settle(loaded());
        assert_eq!(ready(&mut second), None, "two is part of it");
        assert_eq!(ready(&mut first).as_deref(), Some("1|"));
        drop(two);
        assert_eq!(ready(&mut second).as_deref(), Some("|2"), "interrupted, and not for ever");
    }

    #[tokio::test]
    async fn a_waiting_handle_is_woken() {
        let o = Outcomes::default();
        let one = o.expect(table(1));
        let waiting = tokio::spawn(o.checkpoint());
        tokio::task::yield_now().await;
        one.settle(loaded());
        assert!(waiting.await.unwrap().durable.loaded(&table(1)).is_some());
    }
}
