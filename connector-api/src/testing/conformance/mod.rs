//! The conformance suite: does a connector keep the contract? Give [`source()`], [`sink()`], [`apply()`] or
//! [`log()`] a fixture and expect no violation. Each check is also a function of its own, and each has a twin in this crate's
//! tests: a connector broken in just that way, which the check catches.

mod apply;
mod log;
mod sink;
mod source;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake};
use std::time::Duration;

use futures::FutureExt as _;
use futures::channel::oneshot;
use futures::future::{Either, select};

pub use apply::{
    ApplyFixture, apply, changes_are_there_once_durable, changes_out_of_line_fail_their_table_alone,
    checkpoints_go_on_beside_changes, opening_again_voids_what_is_not_durable, what_was_not_durable_is_applied_once,
};
pub use log::{
    LogFixture, another_task_goes_on_where_tables_stand, each_table_is_one_tasks,
    each_table_is_opened_and_its_spans_follow, log, nothing_comes_of_a_stopped_table,
    waits_that_are_dropped_lose_nothing, what_is_not_durable_comes_again,
};
pub use sink::{
    SinkFixture, a_free_table_is_granted, abort_leaves_nothing, close_leaves_nothing, commits_go_on_beside_writes,
    drop_leaves_nothing, interleaved_tables_stay_apart, nothing_before_complete, replace_is_atomic, sink,
    visible_once_durable,
};
pub use source::{
    SourceFixture, a_lost_cut_is_said, cancelled_reads_lose_nothing, loaded_tables_are_not_planned, plan_covers_tables,
    reopened_splits_continue, source, spans_tile_each_split, split_ids_are_unique,
};

use super::memory::yield_now;
use crate::Error;

/// A way in which a connector breaks the contract.
#[derive(Clone, Debug)]
pub struct Violation {
    /// The check that found it.
    pub check: &'static str,
    /// What was seen, and what should have been.
    pub message: String,
}

impl Violation {
    fn new(check: &'static str, message: impl Into<String>) -> Self {
        Self { check, message: message.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.check, self.message)
    }
}

impl std::error::Error for Violation {}

/// A failing call is a violation too: the checks ask for nothing that may fail.
fn failed(check: &'static str, call: &str) -> impl Fn(Error) -> Violation {
    let call = call.to_owned();
    move |error| Violation::new(check, format!("{call} failed: {error:#}"))
}

/// `Ok` when it holds.
fn ensure(holds: bool, check: &'static str, message: impl FnOnce() -> String) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation::new(check, message())) }
}

/// How often a future that wakes itself is asked before the clock runs.
const TURNS: usize = 100;

/// The future's output, or `None` when it takes longer. The clock is a thread, so that any executor will do; it runs once the
/// future waits for somebody else, so that however slow the machine is, what needs nobody comes.
async fn within<F: Future + Unpin>(patience: Duration, mut future: F) -> Option<F::Output> {
    let woken = Arc::new(Woken::default());
    for _ in 0..TURNS {
        let waker = Arc::clone(&woken).into();
        if let Poll::Ready(output) = future.poll_unpin(&mut Context::from_waker(&waker)) {
            return Some(output);
        }
        if !woken.0.swap(false, Ordering::AcqRel) {
            break;
        }
        // Other tasks have their turns between.
        yield_now().await;
    }
    let (alarm, rang) = oneshot::channel::<()>();
    let (stop, stopped) = std::sync::mpsc::sync_channel::<()>(1);
    let clock = std::thread::spawn(move || {
        if stopped.recv_timeout(patience).is_err() {
            let _ = alarm.send(());
        }
    });
    let output = match select(future, rang).await {
        Either::Left((output, _)) => Some(output),
        Either::Right(_) => None,
    };
    let _ = stop.try_send(());
    let _ = clock.join();
    output
}

/// Whether a future has been woken.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_needs_nobody_else_comes_however_little_time_there_is() {
        let slow = Box::pin(async {
            for _ in 0..3 {
                std::thread::sleep(Duration::from_millis(20));
                yield_now().await;
            }
        });
        assert_eq!(within(Duration::ZERO, slow).await, Some(()));
        assert_eq!(within(Duration::ZERO, std::future::pending::<()>()).await, None);
    }
}
