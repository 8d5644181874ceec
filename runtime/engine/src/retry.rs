//! Whether a failure is tried again, and how long to wait before. Pure: chance comes in as an argument.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

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
        let longest = LONGEST_WAIT.max(self.backoff);
        let full = self.backoff.saturating_mul(1 << failures.min(20)).min(longest);
        full.mul_f64(0.5 + 0.5 * chance.clamp(0.0, 1.0))
    }
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
