//! Which changes a load has already: those whose transaction its snapshot saw, or that committed by its SCN (P1). Pure.

use connector_api::{Cut, Error, Result};
use connector_debezium::SourcePosition;

/// What a load saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Of PostgreSQL: what its snapshot did.
    Snapshot(Snapshot),
    /// Of Oracle: whatever had committed by this SCN, and nothing else.
    Scn(u64),
}

/// What is to be said of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// The load has it.
    Loaded,
    /// The load does not have it.
    New,
    /// Nor does it have any that comes later.
    Past,
    /// That cannot be told.
    Untold(&'static str),
}

const NO_TRANSACTION: &str = "an event without a transaction: whether the load has it cannot be told";
const ELSEWHERE: &str = "an event of another kind of database than the table was loaded from";

/// What the snapshot of a load of PostgreSQL saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
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
    /// `Data` for a cut that is neither PostgreSQL's nor Oracle's.
    pub(crate) fn of(cut: &Cut) -> Result<Self> {
        let seen = match cut.position_type.as_str() {
            "lsn" => Snapshot::parse(cut).map(Self::Snapshot),
            "scn" => cut.position.parse().ok().map(Self::Scn),
            _ => None,
        };
        seen.ok_or_else(|| {
            Error::data(
                "the table's load does not say what it saw as PostgreSQL or Oracle do: load it again (--no-resume)",
            )
            .with("type", &cut.position_type)
            .with("position", &cut.position)
            .with("visible", cut.visible.as_deref().unwrap_or_default())
        })
    }

    /// What is to be said of a change that stands there.
    pub(crate) fn knows(&self, at: &SourcePosition) -> Known {
        match self {
            Self::Scn(scn) => match at.commit {
                // Of another of the source's logs an earlier one may still come.
                Some(commit) if commit > *scn => Known::New,
                Some(_) => Known::Loaded,
                None => Known::Untold(ELSEWHERE),
            },
            Self::Snapshot(_) if at.commit.is_some() => Known::Untold(ELSEWHERE),
            Self::Snapshot(snapshot) if snapshot.is_past(at.preceding.unwrap_or(0)) => Known::Past,
            Self::Snapshot(snapshot) => match at.transaction {
                Some(transaction) if snapshot.has(transaction) => Known::Loaded,
                Some(_) => Known::New,
                None => Known::Untold(NO_TRANSACTION),
            },
        }
    }

    /// Whether a snapshot of Debezium's that was taken there shows what this load does, or more.
    pub(crate) fn is_before(&self, own: u64) -> bool {
        match self {
            Self::Scn(scn) => own > *scn,
            Self::Snapshot(snapshot) => snapshot.is_past(own.saturating_sub(1)),
        }
    }
}

impl Snapshot {
    fn parse(cut: &Cut) -> Option<Self> {
        let (high, low) = cut.position.split_once('/')?;
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
    fn has(&self, transaction: u64) -> bool {
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
    fn is_past(&self, preceding: u64) -> bool {
        preceding >= self.lsn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(visible: &str) -> Option<Snapshot> {
        Snapshot::parse(&Cut {
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
    fn what_is_not_a_cut_is_refused() {
        for bad in ["", "1:2", "a:b:", "1:2:x"] {
            assert_eq!(seen(bad), None, "{bad}");
        }
        for (position_type, position) in [("scn", "x"), ("scn", "0/1"), ("count", "1"), ("lsn", "1")] {
            let cut = Cut {
                system: "s".into(),
                position_type: position_type.into(),
                position: position.into(),
                visible: Some("1:1:".into()),
            };
            assert!(Seen::of(&cut).is_err(), "{position_type} {position}");
        }
    }

    /// A change is older than the cut, or its commit is: only that decides.
    #[test]
    fn of_oracle_the_commit_decides() {
        let cut = Cut { system: "1/ORCL".into(), position_type: "scn".into(), position: "500".into(), visible: None };
        let seen = Seen::of(&cut).unwrap();
        let knows = |own, commit| seen.knows(&SourcePosition { own: Some(own), commit, ..SourcePosition::default() });
        assert_eq!([knows(400, Some(500)), knows(400, Some(499))], [Known::Loaded; 2]);
        assert_eq!([knows(400, Some(501)), knows(501, Some(600))], [Known::New; 2], "older than the cut, or younger");
        assert_eq!(knows(600, None), Known::Untold(ELSEWHERE));
        assert_eq!((seen.is_before(500), seen.is_before(501)), (false, true));
    }
}
