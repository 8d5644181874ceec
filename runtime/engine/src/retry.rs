//! Whether a failure is tried again, and how long to wait before. Pure: chance comes in as an argument.

use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};

use connector_api::{Error, ErrorKind};

/// The longest wait between two attempts, unless `retry.backoff.ms` itself is longer.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// How failures that may pass are tried again: `max.retries` and `retry.backoff.ms` of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// How often in a row, without progress in between.
    pub max: u32,
    /// The wait before the first retry; it doubles with each, up to a minute.
    pub backoff: Duration,
}

/// The wait before the first attempt after a failure while a log is followed.
const FIRST_WAIT: Duration = Duration::from_millis(300);

/// How failures that may pass are tried again while a log is followed: `errors.retry.timeout` and
/// `errors.retry.delay.max.ms` of a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For how long, without progress in between; `None`: for ever.
    pub timeout: Option<Duration>,
    /// The longest wait between two attempts.
    pub longest: Duration,
}

impl Patience {
    /// The wait before the next attempt after `failures` others in a row, the first of them `failing` ago; `None`
    /// when there is to be none.
    pub(crate) fn wait(&self, error: &Error, failures: u32, failing: Duration, chance: f64) -> Option<Duration> {
        let ErrorKind::Retriable { after } = error.kind() else { return None };
        if self.timeout.is_some_and(|timeout| failing >= timeout) {
            return None;
        }
        Some(doubled(FIRST_WAIT, self.longest, failures, chance).max(after.unwrap_or_default()))
    }
}

/// Failures in a row, without anything having become durable in between.
#[derive(Debug, Default)]
pub(crate) struct Streak {
    failures: u32,
    /// When the first of them was.
    since: Option<Instant>,
}

impl Streak {
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// Counts a failure: the wait before the next attempt, if there is to be one. `afresh` says that what came before
    /// has nothing to do with it: there was nothing to be made durable, and it went well for long.
    pub(crate) fn failed(
        &mut self,
        patience: &Patience,
        error: &Error,
        now: Instant,
        afresh: bool,
        chance: f64,
    ) -> Option<Duration> {
        if afresh {
            *self = Self::default();
        }
        let since = *self.since.get_or_insert(now);
        let wait = patience.wait(error, self.failures, now.saturating_duration_since(since), chance)?;
        self.failures += 1;
        Some(wait)
    }
}

/// What a failure leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The same again after a wait.
    Again(Duration),
    /// The cut is gone: what is not read to its end is planned anew.
    PlanAgain,
    /// Whatever it concerns fails for good: a table, or the load if it was no table's.
    Fails,
    /// The load ends.
    LoadEnds,
}

impl Retry {
    /// The verdict on a failure after `failures` others in a row. `chance` is from 0 to 1: it spreads the
    /// waits of those that failed together.
    pub(crate) fn verdict(&self, error: &Error, failures: u32, chance: f64) -> Verdict {
        match error.kind() {
            ErrorKind::Data => Verdict::Fails,
            ErrorKind::Fatal => Verdict::LoadEnds,
            ErrorKind::Retriable { .. } if error.is_cut_lost() => Verdict::PlanAgain,
            ErrorKind::Retriable { .. } if failures >= self.max => Verdict::Fails,
            ErrorKind::Retriable { after } => {
                Verdict::Again(self.wait(failures, chance).max(after.unwrap_or_default()))
            }
        }
    }

    /// The wait before the next attempt after `failures` others in a row: half of it is left to chance.
    pub(crate) fn wait(&self, failures: u32, chance: f64) -> Duration {
        doubled(self.backoff, LONGEST_WAIT.max(self.backoff), failures, chance)
    }
}

fn doubled(first: Duration, longest: Duration, times: u32, chance: f64) -> Duration {
    let full = first.saturating_mul(1 << times.min(20)).min(longest);
    full.mul_f64(0.5 + 0.5 * chance.clamp(0.0, 1.0))
}

/// A number from 0 to 1, another one each time.
pub(crate) fn chance() -> f64 {
    // The standard library seeds each of these anew.
    f64::from((RandomState::new().hash_one(0) & 0xffff) as u16) / 65536.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRY: Retry = Retry { max: 3, backoff: Duration::from_secs(1) };

    #[test]
    fn waits_double_up_to_a_minute() {
        let seconds = |failures| RETRY.wait(failures, 1.0).as_secs();
        assert_eq!([0, 1, 2, 3, 5, 6, 40].map(seconds), [1, 2, 4, 8, 32, 60, 60]);
        assert_eq!(RETRY.wait(1, 0.0), Duration::from_secs(1));
        let slow = Retry { max: 1, backoff: Duration::from_secs(300) };
        assert_eq!(slow.wait(4, 1.0).as_secs(), 300);
        let chances: Vec<f64> = std::iter::repeat_with(chance).take(50).collect();
        assert!(chances.iter().all(|c| (0.0..1.0).contains(c)) && chances.iter().any(|c| *c != chances[0]));
    }

    #[test]
    fn a_log_is_followed_again_until_the_time_is_over() {
        let seconds = Duration::from_secs;
        let check = |timeout: Option<u64>, error: Error, failures, failing| {
            Patience { timeout: timeout.map(seconds), longest: seconds(10) }.wait(
                &error,
                failures,
                seconds(failing),
                1.0,
            )
        };
        let passing = || Error::retriable("x");
        let waits = [0, 1, 5, 6, 40].map(|failures| check(None, passing(), failures, 999).unwrap().as_millis());
        assert_eq!(waits, [300, 600, 9600, 10_000, 10_000]);
        assert_eq!(check(Some(0), passing(), 0, 0), None);
        assert!(check(Some(60), passing(), 3, 59).is_some() && check(Some(60), passing(), 3, 60).is_none());
        let asked = ErrorKind::Retriable { after: Some(seconds(90)) };
        assert_eq!(check(None, Error::new(asked, "x"), 0, 0), Some(seconds(90)));
        assert_eq!((check(None, Error::data("x"), 0, 0), check(None, Error::fatal("x"), 0, 0)), (None, None));
    }

    #[test]
    fn each_kind_has_its_verdict() {
        let check = |error: Error, failures| RETRY.verdict(&error, failures, 1.0);
        assert_eq!(check(Error::retriable("x"), 2), Verdict::Again(Duration::from_secs(4)));
        assert_eq!(check(Error::retriable("x"), 3), Verdict::Fails);
        let asked = ErrorKind::Retriable { after: Some(Duration::from_secs(90)) };
        assert_eq!(check(Error::new(asked, "x"), 0), Verdict::Again(Duration::from_secs(90)));
        assert_eq!(check(Error::cut_lost("x"), 9), Verdict::PlanAgain);
        assert_eq!(check(Error::data("x"), 0), Verdict::Fails);
        assert_eq!(check(Error::fatal("x"), 0), Verdict::LoadEnds);
    }
}
