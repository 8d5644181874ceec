//! How far a partition is applied to a table, and what of the messages that follow is new. Pure.
//!
//! Offsets alone do not say that: Debezium delivers a run of events again after its crash, at new offsets (P24), and a
//! load has already what its snapshot saw (P1). So a mark also holds the place in the source's log.
//!
//! What must hold: a mark depends on nothing but the messages before it, so that a reader that begins at a mark comes
//! to the same verdicts as one that went on.

use std::fmt;

use connector_debezium::{Snapshot, SourcePosition};

use crate::cut::{Known, Seen};
use crate::last::{Last, Meeting};

/// A point in a partition of a topic, as far as a table is concerned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The next offset.
    pub(crate) next: i64,
    /// Where the last event of the table stood in the source's log.
    pub(crate) last: Option<Last>,
    /// The same in others of the source's logs. Mostly it has one, and a copy costs no memory.
    pub(crate) others: Vec<Last>,
    /// Whether the load's cut decides nothing any more.
    pub(crate) is_past_cut: bool,
    /// Whether all rows so far are of a snapshot of Debezium's that has not ended.
    pub(crate) in_snapshot: bool,
    /// Whether those take the place of rows that were there (P4): nothing of them is shown before the last one has come.
    pub(crate) replaces: bool,
    /// Whether the snapshot has rows whose end Debezium marks: it does not where the first row is the only one.
    pub(crate) has_end: bool,
    /// Where the last snapshot stood in the source's log: all of its rows stand there.
    pub(crate) read: Option<u64>,
    /// Records that were set aside in the dead-letter queue.
    pub(crate) rejected: u64,
}

/// What is to be done with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is new.
    Apply,
    /// It is new, and begins a snapshot; the rows before it, which may be of one that was given up, go first.
    ApplyAnew,
    /// It cannot be told whether it is new: several events share one place in the log.
    Tie,
    /// It was delivered before.
    Repeated,
    /// The load has it.
    Loaded,
    /// The table cannot go on.
    Stop(&'static str),
}

const NO_OVERLAP: &str = "the events went back in the source's log to before the last one, and went on after it \
                          without repeating it: the database was restored or its slot made anew, and changes may be \
                          missing: load the table again (--no-resume)";
const NO_PLACE: &str = "an event that does not say where it stands in the source's log";
pub(crate) const SNAPSHOT: &str = "Debezium sends a snapshot of a table that has rows, and it cannot take their place, for \
                                   its first row is missing, the table has no key, or the topic has several partitions: set its snapshot.mode \
                                   to no_data and load the table again (--no-resume), or drop the table for the \
                                   snapshot to fill";
const UNFINISHED: &str = "a change of a table comes before the end of the snapshot that Debezium sends of it: what the \
                          snapshot lacks is not known; have Debezium send it again, or load the table again (--no-resume)";
const INCREMENTAL: &str = "an incremental snapshot of a table without a key: its rows cannot be told from those there";

impl Mark {
    /// At an offset, with nothing known of the source.
    pub(crate) fn at(next: i64) -> Self {
        Self { next, ..Self::default() }
    }

    /// Judges an event; gives also the mark after it, but for the offset. `cut` is of the table's load.
    pub(crate) fn judge(&self, event: &SourcePosition, cut: Option<&Seen>, has_key: bool) -> (Verdict, Self) {
        match event.snapshot {
            Snapshot::No => self.judge_change(event, cut, has_key),
            Snapshot::Incremental if has_key => (Verdict::Apply, self.clone()),
            Snapshot::Incremental => (Verdict::Stop(INCREMENTAL), self.clone()),
            kind => self.judge_read(kind, event.own, cut, has_key),
        }
    }

    /// Judges a row of a snapshot. The rows of one come one after the other; the only one of a table bears the mark of the
    /// last, but in the first table, where it bears that of the first.
    fn judge_read(&self, kind: Snapshot, own: Option<u64>, cut: Option<&Seen>, has_key: bool) -> (Verdict, Self) {
        let begins = matches!(kind, Snapshot::First | Snapshot::FirstOfTable);
        let ends = matches!(kind, Snapshot::Last | Snapshot::LastOfTable);
        if own.is_some() && self.read == own && !self.in_snapshot && !self.replaces {
            // A producer that had no answer has sent it twice.
            return (Verdict::Repeated, self.clone());
        }
        // `is_past_cut` stands for "has rows of another origin" from here on.
        let took = Self {
            in_snapshot: !ends,
            is_past_cut: ends,
            replaces: self.replaces && !ends,
            has_end: !ends && (self.has_end || kind != Snapshot::First),
            read: own,
            ..self.clone()
        };
        let has_changed = self.last.is_some() || self.is_past_cut;
        if self.replaces || cut.is_none() && !has_changed {
            let given_up = begins && self.in_snapshot;
            return (if given_up { Verdict::ApplyAnew } else { Verdict::Apply }, took);
        }
        // The table has rows of before, that go with the first row of a snapshot. What the snapshot read of changes
        // that follow it is told by keys.
        let is_later = cut.zip(own).is_some_and(|(cut, own)| cut.is_before(own));
        let is_only = ends && !self.in_snapshot && (has_changed || is_later);
        if has_key && (begins || is_only) {
            return (Verdict::ApplyAnew, took);
        }
        // What began before the log is read began before the load took its cut.
        match !is_later && !begins && (self.in_snapshot || !has_changed && !ends) {
            true => (Verdict::Loaded, Self { in_snapshot: !ends, read: own, ..self.clone() }),
            false => (Verdict::Stop(SNAPSHOT), self.clone()),
        }
    }

    /// The mark once the rows before the first one of a snapshot have gone.
    pub(crate) fn anew(&self, is_loaded: bool) -> Self {
        let replaces = is_loaded || self.replaces || !self.in_snapshot;
        Self { next: self.next, rejected: self.rejected, replaces, ..Self::default() }
    }

    fn judge_change(&self, event: &SourcePosition, cut: Option<&Seen>, has_key: bool) -> (Verdict, Self) {
        let stopped = |why| (Verdict::Stop(why), self.clone());
        if self.replaces && self.has_end {
            return stopped(UNFINISHED);
        }
        // A snapshot without a mark of its end has ended, and what follows it is not in it: no load's cut decides that.
        let is_past_cut = self.is_past_cut || self.replaces;
        let mut after = Self { in_snapshot: false, replaces: false, has_end: false, is_past_cut, ..self.clone() };
        after.turn_to(Last::thread_of(event));
        let meeting = match &mut after.last {
            Some(last) => last.meet(event, has_key),
            first => {
                *first = Last::first(event);
                first.is_some().then_some(Meeting::New)
            }
        };
        let Some(meeting) = meeting else { return stopped(NO_PLACE) };
        match meeting {
            Meeting::Gap => return stopped(NO_OVERLAP),
            Meeting::Again => return (Verdict::Repeated, after),
            Meeting::New | Meeting::Tie => {}
        }
        // A snapshot of Oracle shows what had committed where it was taken.
        if event.commit.zip(self.read).is_some_and(|(commit, read)| commit <= read) {
            return (Verdict::Loaded, after);
        }
        match cut.filter(|_| !is_past_cut).map_or(Known::New, |cut| cut.knows(event)) {
            Known::Loaded => return (Verdict::Loaded, after),
            Known::Untold(why) => return stopped(why),
            Known::Past => after.is_past_cut = true,
            Known::New => {}
        }
        (if meeting == Meeting::Tie { Verdict::Tie } else { Verdict::Apply }, after)
    }

    /// `last` is of that log from now on.
    fn turn_to(&mut self, thread: u64) {
        if self.last.as_ref().is_some_and(|last| last.thread() != thread) {
            let found = self.others.iter().position(|last| last.thread() == thread);
            let next = found.map(|at| self.others.swap_remove(at));
            self.others.extend(std::mem::replace(&mut self.last, next));
        }
    }

    /// Reads a mark as [`Display`](fmt::Display) writes it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let mut mark = Self::at(words.next()?.parse().ok().filter(|next| *next >= 0)?);
        for word in words {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            let open = mark.others.last_mut().or(mark.last.as_mut());
            match (name, open) {
                ("past", _) => mark.is_past_cut = true,
                ("snapshot", _) => mark.in_snapshot = true,
                ("replaces", _) => mark.replaces = true,
                ("ends", _) => mark.has_end = true,
                ("read", _) => mark.read = Some(value.parse().ok()?),
                ("rejected", _) => mark.rejected = value.parse().ok()?,
                ("last", None) => mark.last = Some(Last::parse(value)?),
                ("last", Some(_)) => mark.others.push(Last::parse(value)?),
                (name, Some(last)) => last.set(name, value)?,
                _ => return None,
            }
        }
        let mut threads: Vec<u64> = mark.last.iter().chain(&mark.others).map(Last::thread).collect();
        let all = threads.len();
        threads.sort_unstable();
        threads.dedup();
        (threads.len() == all).then_some(mark)
    }
}

/// `1234 last=24023119,24023128 count=2 order=3 past`.
impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.next)?;
        for last in self.last.iter().chain(&self.others) {
            write!(f, " {last}")?;
        }
        let told = [
            ("past", self.is_past_cut),
            ("snapshot", self.in_snapshot),
            ("replaces", self.replaces),
            ("ends", self.has_end),
        ];
        for (name, _) in told.iter().filter(|(_, is)| *is) {
            write!(f, " {name}")?;
        }
        if let Some(read) = self.read {
            write!(f, " read={read}")?;
        }
        if self.rejected > 0 {
            write!(f, " rejected={}", self.rejected)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use connector_api::Cut;
    use proptest::prelude::*;

    use super::*;

    fn event(preceding: u64, own: u64, order: Option<u64>) -> SourcePosition {
        SourcePosition {
            own: Some(own),
            preceding: Some(preceding),
            transaction: Some(7),
            total_order: order,
            ..SourcePosition::default()
        }
    }

    /// At place 100, when 8 was running and 9 had ended.
    fn cut() -> Seen {
        let (system, position_type, position) = ("s".into(), "lsn".into(), "0/64".into());
        Seen::of(&Cut { system, position_type, position, visible: Some("8:10:8".into()) }).unwrap()
    }

    /// The verdicts on a sequence of events, and the mark at its end.
    fn check(events: &[SourcePosition], cut: Option<&Seen>) -> (Vec<Verdict>, Mark) {
        let mut mark = Mark::default();
        let judged = events.iter().map(|event| {
            let (verdict, after) = mark.judge(event, cut, true);
            assert_eq!(Mark::parse(&after.to_string()).as_ref(), Some(&after), "{after}");
            mark = after;
            verdict
        });
        (judged.collect(), mark)
    }

    use Verdict::{Apply, ApplyAnew, Loaded, Repeated, Stop, Tie};

    #[test]
    fn a_run_that_comes_again_is_skipped() {
        let e = |p, o| event(p, o, None);
        // A place alone may go back where a transaction commits later than one that began after it.
        let log = [e(0, 10), e(0, 30), e(40, 20), e(40, 25)];
        assert_eq!(check(&log, None).0, [Apply; 4]);
        for from in 0..4 {
            let again: Vec<_> = log.iter().chain(&log[from..]).chain([&e(50, 60)]).copied().collect();
            let mut wanted = vec![Apply; 4];
            // The last one alone, again, cannot be told from another event there.
            wanted.extend(vec![if from == 3 { Tie } else { Repeated }; 4 - from]);
            wanted.push(Apply);
            assert_eq!(check(&again, None).0, wanted, "from {from}");
        }
    }

    #[test]
    fn several_rows_of_one_place_are_counted() {
        let e = |p, o| event(p, o, None);
        let rows = [e(0, 10), e(0, 20), e(0, 20)];
        assert_eq!(check(&rows, None).0, [Apply, Apply, Tie]);
        // A run again, cut off before at two of three rows.
        let again: Vec<_> = rows.iter().chain(&rows).chain([&e(0, 20), &e(0, 20)]).copied().collect();
        assert_eq!(check(&again, None).0, [Apply, Apply, Tie, Repeated, Repeated, Repeated, Apply, Tie]);
    }

    #[test]
    fn with_an_order_there_is_no_tie() {
        let e = |order| event(0, 20, Some(order));
        let events = [e(1), e(2), e(1), e(2), e(3)];
        assert_eq!(check(&events, None).0, [Apply, Apply, Repeated, Repeated, Apply]);
    }

    /// Of Oracle: in that redo thread, of a transaction that committed there.
    fn oracle(thread: u64, commit: u64, transaction: u64, within: u64) -> SourcePosition {
        SourcePosition {
            own: Some(commit - 50),
            commit: Some(commit),
            transaction: Some(transaction),
            within: Some(within),
            thread: Some(thread),
            ..SourcePosition::default()
        }
    }

    fn scn(scn: u64) -> Seen {
        let (system, position_type) = ("s".into(), "scn".into());
        Seen::of(&Cut { system, position_type, position: scn.to_string(), visible: Some("1".into()) }).unwrap()
    }

    /// Oracle's redo threads are each in order, and between them nothing is.
    #[test]
    fn redo_threads_are_judged_each_by_itself() {
        let log = [
            oracle(1, 500, 1, 1),
            oracle(2, 450, 2, 1),
            oracle(2, 450, 2, 2),
            oracle(1, 510, 3, 1),
            oracle(2, 505, 4, 1),
        ];
        assert_eq!(check(&log, None).0, [Apply; 5]);
        for from in 0..5 {
            let again: Vec<_> = log.iter().chain(&log[from..]).chain([&oracle(2, 600, 5, 1)]).copied().collect();
            let (verdicts, _) = check(&again, None);
            let repeated = &verdicts[5..10 - from];
            assert!(repeated.iter().all(|v| matches!(v, Repeated | Tie)), "from {from}: {verdicts:?}");
            assert_eq!(verdicts[10 - from], Apply, "from {from}");
        }
        let restored = [log[0], log[3], oracle(1, 400, 9, 1), oracle(2, 700, 8, 1), oracle(1, 520, 7, 1)];
        assert_eq!(check(&restored, None).0, [Apply, Apply, Repeated, Apply, Stop(NO_OVERLAP)]);
    }

    /// Transactions that committed at one SCN are told apart.
    #[test]
    fn transactions_may_share_a_commit() {
        let log = [oracle(1, 500, 1, 1), oracle(1, 500, 1, 2), oracle(1, 500, 2, 1), oracle(1, 500, 3, 1)];
        assert_eq!(check(&log, None).0, [Apply; 4]);
        let again: Vec<_> = log.iter().chain(&log).chain([&oracle(1, 501, 4, 1)]).copied().collect();
        assert_eq!(check(&again, None).0[4..], [Repeated, Repeated, Repeated, Repeated, Apply]);
        // Cut off before in the middle of the second one, and from there again.
        let cut_off: Vec<_> = log[..3].iter().chain(&log[2..]).copied().collect();
        assert_eq!(check(&cut_off, None).0, [Apply, Apply, Apply, Tie, Apply], "one alone is not told from another");
        let cut_off: Vec<_> = log[..3].iter().chain(&log).copied().collect();
        assert_eq!(check(&cut_off, None).0[3..], [Repeated, Repeated, Repeated, Apply]);
    }

    /// The two events of a changed key share a place, and are told apart by Debezium's count, where it sends one.
    #[test]
    fn a_changed_key_is_two_events_of_one_place() {
        let counted = |order| SourcePosition { total_order: Some(order), ..oracle(1, 500, 1, 3) };
        let events = [counted(3), counted(4), counted(3), counted(4), oracle(1, 510, 2, 1)];
        assert_eq!(check(&events, None).0, [Apply, Apply, Repeated, Repeated, Apply]);
        let events = [oracle(1, 490, 9, 1), oracle(1, 500, 1, 3), oracle(1, 500, 1, 3), oracle(1, 490, 9, 1)];
        let again: Vec<_> = events.iter().chain(&events[1..3]).copied().collect();
        assert_eq!(check(&again, None).0, [Apply, Apply, Tie, Repeated, Repeated, Repeated]);
        // Rows without a key have none that changes.
        let (_, mark) = check(&events[..2], None);
        assert_eq!(mark.judge(&events[1], None, false).0, Repeated);
    }

    /// The commit decides what a load has of Oracle, and does so for ever: of another redo thread an earlier one may come.
    #[test]
    fn what_committed_by_the_scn_is_dropped() {
        let cut = scn(500);
        let older = SourcePosition { own: Some(100), ..oracle(1, 501, 2, 1) };
        let younger = SourcePosition { own: Some(600), ..oracle(2, 450, 4, 1) };
        let events = [oracle(1, 500, 1, 1), older, oracle(2, 430, 3, 1), younger, oracle(2, 700, 5, 1)];
        let (verdicts, mark) = check(&events, Some(&cut));
        assert_eq!(verdicts, [Loaded, Apply, Loaded, Loaded, Apply]);
        assert!(!mark.is_past_cut);
        let of_postgresql = check(&[event(1, 2, None)], Some(&cut)).0;
        assert!(matches!(of_postgresql[..], [Stop(_)]), "{of_postgresql:?}");
        let of_oracle = check(&events[..1], Some(&self::cut())).0;
        assert!(matches!(of_oracle[..], [Stop(_)]), "{of_oracle:?}");
    }

    /// A snapshot of Debezium's of Oracle takes the place of the load's rows; what had committed by then is in it.
    #[test]
    fn what_an_oracle_snapshot_shows_is_not_applied_to_it() {
        let read = |snapshot| SourcePosition { snapshot, own: Some(600), ..SourcePosition::default() };
        let (verdict, _) = Mark::at(0).judge(&read(Snapshot::First), Some(&scn(500)), true);
        assert_eq!(verdict, ApplyAnew);
        let begun = Mark::at(0).anew(true);
        let (_, first) = begun.judge(&read(Snapshot::First), Some(&scn(500)), true);
        let (verdict, whole) = first.judge(&read(Snapshot::Last), Some(&scn(500)), true);
        assert_eq!((verdict, whole.replaces), (Apply, false));
        for (commit, expected) in [(550, Loaded), (600, Loaded), (601, Apply)] {
            assert_eq!(whole.judge(&oracle(1, commit, 7, 1), Some(&scn(500)), true).0, expected, "{commit}");
        }
    }

    #[test]
    fn a_step_back_without_overlap_stops() {
        let events = [event(0, 10, None), event(20, 30, None), event(0, 5, None), event(40, 50, None)];
        assert_eq!(check(&events, None).0, [Apply, Apply, Repeated, Stop(NO_OVERLAP)]);
    }

    #[test]
    fn what_the_load_saw_is_dropped_until_a_commit_after_the_cut() {
        let cut = cut();
        let e = |preceding, own, xid| SourcePosition { transaction: Some(xid), ..event(preceding, own, None) };
        // 8 was running: its change is new though its place is before the cut. 9 was not.
        let events = [e(10, 20, 7), e(20, 25, 8), e(30, 35, 9), e(100, 90, 11), e(100, 95, 7)];
        let (verdicts, mark) = check(&events, Some(&cut));
        assert_eq!(verdicts, [Loaded, Apply, Loaded, Apply, Apply]);
        assert!(mark.is_past_cut);
        let nameless = SourcePosition { transaction: None, ..event(1, 2, None) };
        assert!(matches!(check(&[nameless], Some(&cut)).0[..], [Stop(_)]));
    }

    #[test]
    fn a_snapshot_fills_a_table_or_takes_the_place_of_its_rows() {
        let read = |snapshot| SourcePosition { snapshot, ..event(0, 10, None) };
        let change = event(0, 11, None);
        let whole = [read(Snapshot::First), read(Snapshot::Yes), read(Snapshot::Last), change];
        assert_eq!(check(&whole, None).0, [Apply; 4]);
        let given_up = [read(Snapshot::First), read(Snapshot::Yes), read(Snapshot::First), read(Snapshot::Last)];
        assert_eq!(check(&given_up, None).0, [Apply, Apply, ApplyAnew, Apply]);

        let cut = cut();
        let filled = Mark::at(0).judge(&read(Snapshot::Last), None, true).1;
        let changed = Mark::at(0).judge(&change, None, true).1;
        let later = |snapshot| SourcePosition { snapshot, ..event(0, 300, None) };
        let next = event(0, 310, None);
        for (before, cut) in [(filled, None), (changed, None), (Mark::at(0), Some(&cut))] {
            assert_eq!(before.judge(&later(Snapshot::Incremental), cut, true).0, Apply);
            let begins = later(Snapshot::First);
            assert_eq!(before.judge(&begins, cut, true).0, ApplyAnew);
            // What is between the snapshot and what Debezium goes on with cannot be told without a key.
            assert_eq!(before.judge(&begins, cut, false).0, Stop(SNAPSHOT));
            let (verdict, within) = before.anew(cut.is_some()).judge(&begins, cut, true);
            assert_eq!((verdict, within.replaces), (Apply, true));
            // The only row of the first table: the next change ends it. What the load saw is in it, or came later.
            let (verdict, after) = within.judge(&next, cut, true);
            assert_eq!((verdict, after.replaces, after.is_past_cut), (Apply, false, true));
            let (_, more) = within.judge(&later(Snapshot::Yes), cut, true);
            assert_eq!(more.judge(&next, cut, true).0, Stop(UNFINISHED));
            // Given up once more, and whole at last.
            assert_eq!(more.judge(&begins, cut, true).0, ApplyAnew);
            let (verdict, within) = more.anew(cut.is_some()).judge(&later(Snapshot::FirstOfTable), cut, true);
            assert_eq!((verdict, within.replaces, within.has_end), (Apply, true, true));
            let (verdict, after) = within.judge(&later(Snapshot::Last), cut, true);
            assert_eq!((verdict, after.replaces), (Apply, false));
            // Sent twice by a producer that had no answer.
            for again in [Snapshot::Yes, Snapshot::Last] {
                assert_eq!(after.judge(&later(again), cut, true), (Repeated, after.clone()));
            }
            let (verdict, after) = after.judge(&next, cut, true);
            assert_eq!((verdict, after.replaces, after.is_past_cut), (Apply, false, true));
        }
        assert_eq!(Mark::at(0).judge(&read(Snapshot::Incremental), None, false).0, Stop(INCREMENTAL));
    }

    #[test]
    fn marks_that_are_none_are_refused() {
        for bad in
            ["", "-1", "x", "1 last=2", "1 count=2", "1 last=1,2 last=1,2", "1 what", "1 tx=1", "1 last=1,2 tx=x"]
        {
            assert_eq!(Mark::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn of_a_snapshot_that_began_before_the_load_nothing_is_new() {
        let read = |snapshot, own| SourcePosition { snapshot, ..event(0, own, None) };
        let cut = cut();
        let change = event(200, 210, None);
        let rest = [read(Snapshot::Yes, 100), read(Snapshot::LastOfTable, 100), change];
        let (verdicts, mark) = check(&rest, Some(&cut));
        assert_eq!((verdicts.as_slice(), mark.in_snapshot), (&[Loaded, Loaded, Apply][..], false));
        // One that began later, of which the first row is missing.
        assert_eq!(check(&[read(Snapshot::Yes, 300)], Some(&cut)).0, [Stop(SNAPSHOT)]);
        let other = [read(Snapshot::Yes, 100), read(Snapshot::First, 300)];
        assert_eq!(check(&other, Some(&cut)).0, [Loaded, ApplyAnew]);
        // The last of many, or the only one: its place decides, or nothing does.
        assert_eq!(check(&[read(Snapshot::Last, 100)], Some(&cut)).0, [Stop(SNAPSHOT)]);
        assert_eq!(check(&[read(Snapshot::Last, 101)], Some(&cut)).0, [ApplyAnew]);
        assert_eq!(check(&[change, read(Snapshot::Last, 300)], Some(&cut)).0, [Apply, ApplyAnew]);
        assert_eq!(check(&[change, read(Snapshot::Yes, 300)], Some(&cut)).0, [Apply, Stop(SNAPSHOT)]);
    }

    /// Which events of a log are applied that is read so many further each time, and then again from so many before; what
    /// is repeated begins at a multiple of `whole`.
    fn applied(log: &[SourcePosition], jumps: &[(usize, usize)], whole: usize, has_key: bool) -> Vec<usize> {
        let (mut mark, mut applied, mut reached) = (Mark::default(), vec![], 0);
        for (on, back) in jumps.iter().copied().chain([(log.len(), 0)]) {
            let to = (reached + on).min(log.len());
            for (n, position) in log.iter().enumerate().take(to).skip(reached) {
                let (verdict, after) = mark.judge(position, None, has_key);
                // As a restart would read it.
                mark = Mark::parse(&after.to_string()).unwrap();
                applied.extend((verdict == Apply).then_some(n));
            }
            reached = to.saturating_sub(back) / whole * whole;
        }
        applied
    }

    proptest! {
        /// Whatever runs are delivered again, each event is applied once.
        #[test]
        fn each_event_is_applied_once(jumps in prop::collection::vec((1usize..12, 0usize..12), 0..8)) {
            // Transactions of three rows, the last two of one place.
            let log: Vec<_> = (0..12u64)
                .map(|n| event(n / 3 * 10, n / 3 * 10 + (n % 3).min(1) + 1, Some(n % 3 + 1)))
                .collect();
            prop_assert_eq!(applied(&log, &jumps, 1, true), (0..log.len()).collect::<Vec<_>>());
        }

        /// The same of Oracle: two redo threads, and transactions that share commits.
        #[test]
        fn each_event_of_each_redo_thread_is_applied_once(
            threads in prop::collection::vec(any::<bool>(), 16),
            shared in prop::collection::vec(any::<bool>(), 16),
            jumps in prop::collection::vec((1usize..9, 0usize..9), 0..8),
        ) {
            let mut commits = [100, 100];
            let log: Vec<_> = (0..16).flat_map(|n| {
                let thread = usize::from(threads[n]);
                commits[thread] += if shared[n] { 0 } else { 10 + thread as u64 };
                let at = move |within| oracle(thread as u64 + 1, commits[thread], n as u64, within);
                [at(1), at(2)]
            }).collect();
            // A connector repeats whole transactions.
            prop_assert_eq!(applied(&log, &jumps, 2, false), (0..log.len()).collect::<Vec<_>>());
        }
    }
}
