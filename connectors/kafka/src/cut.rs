//! Which changes a load has already: those whose transaction its snapshot saw (P1). Pure.

use connector_api::{Cut, Error, Result};

/// What the snapshot of a load of PostgreSQL saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Every transaction below it had ended.
    xmin: u64,
    /// None from it on had.
    xmax: u64,
    /// Those between that were under way, ascending.
    running: Vec<u64>,
    /// Whatever follows a commit at or after it is new.
    lsn: u64,
}

impl Seen {
    /// Reads a load's cut.
    ///
    /// # Errors
    /// `Data` for a cut that is not PostgreSQL's.
    pub(crate) fn of(cut: &Cut) -> Result<Self> {
        Self::parse(cut).ok_or_else(|| {
            Error::data("the table's load does not say what it saw as PostgreSQL does: load it again (--no-resume)")
                .with("position", &cut.position)
                .with("visible", cut.visible.as_deref().unwrap_or_default())
        })
    }

    fn parse(cut: &Cut) -> Option<Self> {
        let (high, low) = cut.position.split_once('/').filter(|_| cut.position_type == "lsn")?;
        let lsn = u64::from_str_radix(high, 16).ok()? << 32 | u64::from_str_radix(low, 16).ok()?;
        let mut parts = cut.visible.as_deref()?.split(':');
        let (xmin, xmax) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let running = parts.next()?.split(',').filter(|xid| !xid.is_empty()).map(str::parse);
        let mut running = running.collect::<Result<Vec<u64>, _>>().ok()?;
        running.sort_unstable();
        Some(Self { xmin, xmax, running, lsn })
    }

    /// Whether the load has what a transaction did. Of its number only the low 32 bits count: that is all that
    /// the log has.
    pub(crate) fn has(&self, transaction: u64) -> bool {
        const EPOCH: u64 = 1 << 32;
        let low = transaction % EPOCH;
        // The number with these bits that is nearest to the snapshot: of two billion transactions either way.
        let mut full = self.xmax - self.xmax % EPOCH + low;
        if full > self.xmax + EPOCH / 2 {
            full = full.saturating_sub(EPOCH);
        } else if full + EPOCH / 2 < self.xmax {
            full += EPOCH;
        }
        full < self.xmin || full < self.xmax && self.running.binary_search(&full).is_err()
    }

    /// Whether what follows a commit at that place is new for certain, and so is all that comes later.
    pub(crate) fn is_past(&self, preceding: u64) -> bool {
        preceding >= self.lsn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(visible: &str) -> Option<Seen> {
        Seen::parse(&Cut {
            system: "1/shop".into(),
            position_type: "lsn".into(),
            position: "1/A0".into(),
            visible: Some(visible.into()),
        })
    }

    fn check(visible: &str, has: &[u64], lacks: &[u64]) {
        let seen = seen(visible).unwrap();
        assert!(has.iter().all(|xid| seen.has(*xid)), "{visible} has {has:?}");
        assert!(!lacks.iter().any(|xid| seen.has(*xid)), "{visible} lacks {lacks:?}");
    }

    #[test]
    fn a_transaction_is_visible_or_not() {
        check("100:100:", &[3, 99], &[100, 101]);
        check("100:105:100,103", &[99, 101, 102, 104], &[100, 103, 105, 106]);
        // Two transactions before the numbers wrap around, and two after.
        let epoch = 1 << 32;
        check(&format!("{0}:{0}:", 5 * epoch + 1), &[0, epoch - 1, 4_000_000_000], &[1, 2, 1_000_000]);
        check(&format!("{0}:{0}:", 5 * epoch - 2), &[epoch - 3, 2_500_000_000], &[epoch - 2, epoch - 1, 0, 1, 2]);
    }

    #[test]
    fn a_commit_after_the_cut_ends_the_doubt() {
        let seen = seen("1:1:").unwrap();
        assert!(!seen.is_past(0x1_0000_009F) && seen.is_past(0x1_0000_00A0));
    }

    #[test]
    fn what_is_not_postgresqls_is_refused() {
        for bad in ["", "1:2", "a:b:", "1:2:x"] {
            assert_eq!(seen(bad), None, "{bad}");
        }
    }
}
