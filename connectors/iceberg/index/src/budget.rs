//! Memory that is shared out, and comes back when it is dropped. It bounds what stays in memory even while a
//! reader still holds runs that a merge has replaced.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What is left, in bytes.
#[derive(Clone, Debug)]
pub(crate) struct Budget(Arc<AtomicUsize>);

/// A part of the budget.
#[derive(Debug)]
pub(crate) struct Lease {
    of: Budget,
    bytes: usize,
}

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(bytes)))
    }

    /// So many bytes, unless that would leave less than `reserve`.
    pub(crate) fn lease(&self, bytes: usize, reserve: usize) -> Option<Lease> {
        let needed = bytes.saturating_add(reserve);
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            if left >= needed { left.checked_sub(bytes) } else { None }
        });
        taken.is_ok().then(|| Lease { of: self.clone(), bytes })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.of.0.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_comes_back_and_no_more_is_given_than_there_is() {
        let budget = Budget::new(100);
        let first = budget.lease(60, 40).unwrap();
        assert!(budget.lease(41, 0).is_none());
        assert!(budget.lease(30, 11).is_none());
        drop(first);
        assert!(budget.lease(100, 0).is_some());
    }
}
