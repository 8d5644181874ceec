//! Where the redo must be read from, so that nothing is missing of what commits after the loads of the tables. Pure.
//!
//! What must hold: of each SCN that tables were loaded at, the redo is read from before the start of the oldest
//! transaction that was open then. Tables may be of several SCNs; the log begins before the oldest of all, and each
//! table passes over what its load has, by the SCN of the commit (protocol P1).

use std::collections::{BTreeMap, BTreeSet};

use connector_api::{Error, Progress, Result, TableId};

/// Where a log begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    /// The SCN after which redo is read: one before the start of the oldest transaction that matters.
    pub(crate) after: u64,
    /// The lowest SCN that a table was loaded at: no table lacks what was committed before it.
    pub(crate) committed: u64,
}

impl Start {
    /// Where the log of each followed table begins. `given` is the operator's word, where the database's is missing.
    ///
    /// # Errors
    /// `Fatal` when it is not known, or the operator's word cannot be true.
    pub(crate) fn of(
        held: &Progress,
        given: Option<u64>,
        followed: impl Fn(&TableId) -> bool,
    ) -> Result<BTreeMap<TableId, Self>> {
        // Of each SCN, where the oldest transaction began: what one table's load has noted holds for the others, a view's
        // too.
        let mut began: BTreeMap<u64, Option<u64>> = BTreeMap::new();
        let mut scns: BTreeMap<TableId, u64> = BTreeMap::new();
        for (table, loaded) in held.tables() {
            let unread = |what: &str| Error::fatal(what).with("table", table);
            let scn = loaded.position.parse().map_err(|_| unread("a table's position is no SCN"))?;
            let told = loaded.visible.as_deref().map(str::parse).transpose();
            let told = told.map_err(|_| unread("where a table's oldest transaction began is no SCN"))?;
            if followed(table) {
                scns.insert(table.clone(), scn);
            }
            let known = began.entry(scn).or_default();
            *known = match (*known, told) {
                (Some(a), Some(b)) => Some(u64::min(a, b)),
                (a, b) => a.or(b),
            };
        }
        let known = |scn: u64| began.get(&scn).copied().flatten();
        let unknown: BTreeSet<u64> = scns.values().copied().filter(|scn| known(*scn).is_none()).collect();
        if let Some(scn) = unknown.first() {
            let Some(given) = given else {
                let what = "which transactions were open at the SCN of a load is not known";
                let remedy = "set handover.start.scn to what SELECT MIN(start_scn) FROM gv$transaction said at the \
                              primary before the load (or CURRENT_SCN, where it said nothing); or load again from the \
                              primary, as a user who may read GV$TRANSACTION, without snapshot.scn=<number>";
                return Err(Error::fatal(what).with("scn", scn).with("remedy", remedy));
            };
            if given > *scn {
                let what = "handover.start.scn is after the SCN of a load: changes would be missing";
                return Err(Error::fatal(what).with("scn", scn).with("handover.start.scn", given));
            }
        }
        // No transaction that matters began after the SCN itself.
        let start =
            |scn: u64| Self { after: known(scn).or(given).unwrap_or(scn).min(scn).saturating_sub(1), committed: scn };
        Ok(scns.into_iter().map(|(table, scn)| (table, start(scn))).collect())
    }

    /// Where one log for all of these begins, if there are any.
    pub(crate) fn earliest<'a>(starts: impl IntoIterator<Item = &'a Self>) -> Option<Self> {
        let both = |a: Self, b: Self| Self { after: a.after.min(b.after), committed: a.committed.min(b.committed) };
        starts.into_iter().copied().reduce(both)
    }
}

#[cfg(test)]
mod tests {
    use connector_api::Loaded;

    use super::*;

    fn check(tables: &[(&str, Option<&str>)], given: Option<u64>) -> Result<(u64, u64), String> {
        let mut held = Progress::default();
        for (n, (position, visible)) in tables.iter().enumerate() {
            let loaded = Loaded {
                system: "s".into(),
                position: (*position).into(),
                visible: visible.map(str::to_owned),
                rows: None,
                commit: "1".into(),
            };
            let name = if n == 2 { "V".to_owned() } else { format!("T{n}") };
            held.set_loaded(TableId::new("A", name.as_str()), loaded);
        }
        // The third is a view.
        let starts = Start::of(&held, given, |table| table.name() != "V").map_err(|e| format!("{e:#}"))?;
        let start = Start::earliest(starts.values()).ok_or("none")?;
        Ok((start.after, start.committed))
    }

    #[test]
    fn it_is_before_the_oldest_transaction() {
        assert_eq!(check(&[("100", Some("90"))], None), Ok((89, 100)));
        // A later table of the same SCN knows no more, and needs no more.
        assert_eq!(check(&[("100", None), ("100", Some("90"))], None), Ok((89, 100)));
        // A view's load has noted it for the tables of its SCN, and needs nothing for itself.
        assert_eq!(check(&[("100", None), ("100", None), ("100", Some("90"))], None), Ok((89, 100)));
        assert_eq!(check(&[("100", Some("90")), ("100", None), ("50", None)], None), Ok((89, 100)));
        // Of two SCNs the older decides, or the older transaction.
        assert_eq!(check(&[("100", Some("90")), ("200", Some("150"))], None), Ok((89, 100)));
        assert_eq!(check(&[("100", Some("90")), ("200", Some("50"))], None), Ok((49, 100)));
    }

    #[test]
    fn what_is_not_known_is_asked_for() {
        assert!(check(&[("100", None)], None).unwrap_err().contains("handover.start.scn"));
        assert_eq!(check(&[("100", None)], Some(80)), Ok((79, 100)));
        assert!(check(&[("100", None)], Some(101)).unwrap_err().contains("changes would be missing"));
        assert!(check(&[("100", Some("90")), ("200", None)], None).unwrap_err().contains("scn=200"));
        // Where it is known the operator's word is not needed, and not taken.
        assert_eq!(check(&[("100", Some("90"))], Some(200)), Ok((89, 100)));
        assert_eq!(check(&[("100", Some("90")), ("200", None)], Some(150)), Ok((89, 100)));
        assert!(check(&[], None).is_err());
        assert!(check(&[("x", None)], None).unwrap_err().contains("no SCN"));
    }
}
