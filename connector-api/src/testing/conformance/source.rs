//! Checks for sources. Each plans anew and reads what the fixture holds.

use std::collections::HashSet;
use std::pin::Pin;
use std::task::Poll;

use arrow_array::RecordBatch;

use super::{Violation, ensure, failed};
use crate::{ErrorKind, Loaded, Plan, Position, Progress, Source, SourceTask, Split, TablePlan, TaskContext, Tracker};

/// What the suite needs of a source: at least two tables with rows, of which one has more than one batch in
/// a split. An empty table and a table of several splits are worth having too.
pub trait SourceFixture: Send + Sync {
    /// A source over the fixture's data, which does not change while the suite runs.
    fn source(&self) -> Box<dyn Source>;

    /// Makes unreadable what the cuts show that the fixture's sources have taken so far, as a broken connection
    /// or a restarted database does; the data stays. Whether it did: `false` where a cut cannot be lost.
    fn lose_cut(&self) -> bool {
        false
    }
}

impl<F: Fn() -> Box<dyn Source> + Send + Sync> SourceFixture for F {
    fn source(&self) -> Box<dyn Source> {
        self()
    }
}

/// Runs every check for sources and returns what they found.
pub async fn source(fixture: &dyn SourceFixture) -> Vec<Violation> {
    let found = [
        split_ids_are_unique(fixture).await,
        plan_covers_tables(fixture).await,
        loaded_tables_are_not_planned(fixture).await,
        spans_tile_each_split(fixture).await,
        cancelled_reads_lose_nothing(fixture).await,
        reopened_splits_continue(fixture).await,
        a_lost_cut_is_said(fixture).await,
    ];
    found.into_iter().filter_map(Result::err).collect()
}

/// No two splits of a plan share an id, and each belongs to the table that lists it.
///
/// # Errors
/// The violation found.
pub async fn split_ids_are_unique(fixture: &dyn SourceFixture) -> Result<(), Violation> {
    const CHECK: &str = "split_ids_are_unique";
    let plan = plan(CHECK, &*fixture.source(), &Progress::default()).await?;
    let mut seen = HashSet::new();
    for table in &plan.tables {
        let name = table.schema.table();
        ensure(!table.splits.is_empty(), CHECK, || format!("{name} has no split; an empty table has one"))?;
        for split in &table.splits {
            ensure(seen.insert(split.id.clone()), CHECK, || format!("two splits are called {}", split.id))?;
            ensure(split.table == *name, CHECK, || format!("{} of {name} names table {}", split.id, split.table))?;
        }
    }
    Ok(())
}

/// `tables()` names exactly the tables that a first plan loads or refuses, each once, and the database that
/// the plan's cut is of.
///
/// # Errors
/// The violation found.
pub async fn plan_covers_tables(fixture: &dyn SourceFixture) -> Result<(), Violation> {
    const CHECK: &str = "plan_covers_tables";
    let source = fixture.source();
    let selection = source.tables().await.map_err(failed(CHECK, "tables"))?;
    let mut named = selection.tables;
    let plan = plan(CHECK, &*source, &Progress::default()).await?;
    let mut planned: Vec<_> = plan.tables.iter().map(|t| t.schema.table().clone()).collect();
    planned.extend(plan.refused.iter().map(|(table, _)| table.clone()));
    named.sort();
    planned.sort();
    let system = &plan.cut.system;
    ensure(selection.system == *system, CHECK, || format!("tables() is of {}, the cut of {system}", selection.system))?;
    ensure(named == planned, CHECK, || format!("tables() gave {named:?}, the plan has {planned:?}"))
}

/// A table that the sink holds is not planned again; the others are.
///
/// # Errors
/// The violation found.
pub async fn loaded_tables_are_not_planned(fixture: &dyn SourceFixture) -> Result<(), Violation> {
    const CHECK: &str = "loaded_tables_are_not_planned";
    let source = fixture.source();
    let all = plan(CHECK, &*source, &Progress::default()).await?;
    for table in &all.tables {
        let loaded = table.schema.table();
        let mut done = Progress::default();
        let cut = &all.cut;
        let loaded_before = Loaded {
            system: cut.system.clone(),
            position: cut.position.clone(),
            visible: None,
            rows: None,
            commit: "1".into(),
        };
        done.set_loaded(loaded.clone(), loaded_before);
        let rest = plan(CHECK, &*source, &done).await?;
        let names = |plan: &Plan| plan.tables.iter().map(|t| t.schema.table().clone()).collect::<HashSet<_>>();
        let mut expected = names(&all);
        expected.remove(loaded);
        ensure(names(&rest) == expected, CHECK, || {
            format!("with {loaded} loaded the plan has {:?}, not {expected:?}", names(&rest))
        })?;
    }
    Ok(())
}

/// The spans of each split follow each other from its start to its end, with the planned schema.
///
/// # Errors
/// The violation found.
pub async fn spans_tile_each_split(fixture: &dyn SourceFixture) -> Result<(), Violation> {
    const CHECK: &str = "spans_tile_each_split";
    let source = fixture.source();
    for (table, split) in splits(&plan(CHECK, &*source, &Progress::default()).await?) {
        let mut task = open(CHECK, &*source, split, Position::Start).await?;
        read(CHECK, table, split, Position::Start, &mut task, usize::MAX).await?;
        task.close().await.map_err(failed(CHECK, "close"))?;
    }
    Ok(())
}

/// A call of `next` that is dropped while it waits takes no row with it, at whichever point it is dropped;
/// and a task can be closed before its end.
///
/// # Errors
/// The violation found.
pub async fn cancelled_reads_lose_nothing(fixture: &dyn SourceFixture) -> Result<(), Violation> {
    const CHECK: &str = "cancelled_reads_lose_nothing";
    let source = fixture.source();
    for (table, split) in splits(&plan(CHECK, &*source, &Progress::default()).await?) {
        let mut task = open(CHECK, &*source, split, Position::Start).await?;
        let whole = read(CHECK, table, split, Position::Start, &mut task, usize::MAX).await?;
        for polls in 1..=3 {
            let mut task = open(CHECK, &*source, split, Position::Start).await?;
            let mut rows = Vec::new();
            loop {
                // Dropped if it is pending then; the next call must go on as if nothing had been.
                let dropped = polled(polls, &mut task.next()).await;
                let next = match dropped {
                    Some(next) => next,
                    None => task.next().await,
                };
                match next.map_err(failed(CHECK, "next"))? {
                    Some(batch) => rows.extend(single_rows(batch.rows())),
                    None => break,
                }
            }
            ensure(rows == whole, CHECK, || {
                format!("{} gives {} of its {} rows when calls are dropped", split.id, rows.len(), whole.len())
            })?;
        }
        open(CHECK, &*source, split, Position::Start).await?.close().await.map_err(failed(CHECK, "an early close"))?;
    }
    Ok(())
}

/// A split that is opened again after some rows delivers exactly the rest, in the same order.
///
/// # Errors
/// The violation found.
pub async fn reopened_splits_continue(fixture: &dyn SourceFixture) -> Result<(), Violation> {
    const CHECK: &str = "reopened_splits_continue";
    let source = fixture.source();
    for (table, split) in splits(&plan(CHECK, &*source, &Progress::default()).await?) {
        let mut task = open(CHECK, &*source, split, Position::Start).await?;
        let whole = read(CHECK, table, split, Position::Start, &mut task, usize::MAX).await?;
        for after in [0, 1, whole.len() / 2, whole.len().saturating_sub(1), whole.len()] {
            if after > whole.len() {
                continue;
            }
            let position = if after == 0 { Position::Start } else { Position::At(after as u64) };
            let mut task = open(CHECK, &*source, split, position).await?;
            let rest = read(CHECK, table, split, position, &mut task, whole.len() - after).await?;
            ensure(rest == whole[after..], CHECK, || {
                let (got, due) = (rest.len(), whole.len() - after);
                format!("{} opened after {after} rows gives {got} rows, or others than the {due} that follow", split.id)
            })?;
        }
    }
    Ok(())
}

/// How often a split is opened again to hear that the cut is lost.
const REOPENED: usize = 20;

/// After the loss of its cut a source opens no split of it, and says that the cut is lost; one that is being read
/// ends with a retriable error unless all its rows are there; and the next plan is under a cut that can be read.
///
/// # Errors
/// The violation found.
pub async fn a_lost_cut_is_said(fixture: &dyn SourceFixture) -> Result<(), Violation> {
    const CHECK: &str = "a_lost_cut_is_said";
    let source = fixture.source();
    let before = plan(CHECK, &*source, &Progress::default()).await?;
    let mut halves = Vec::new();
    for (_, split) in splits(&before) {
        let mut task = open(CHECK, &*source, split, Position::Start).await?;
        let whole = rest(&mut task).await.map_err(failed(CHECK, "next"))?;
        let mut task = open(CHECK, &*source, split, Position::Start).await?;
        let first = task.next().await.map_err(failed(CHECK, "next"))?;
        let first = first.map_or(Vec::new(), |batch| single_rows(batch.rows()).collect());
        halves.push((split, whole, first, task));
    }
    if !fixture.lose_cut() {
        return Ok(());
    }
    for (split, whole, mut rows, mut task) in halves {
        match rest(&mut task).await {
            Ok(more) => {
                rows.extend(more);
                ensure(rows == whole, CHECK, || {
                    format!("{} ends with {} of {} rows, as if it were complete", split.id, rows.len(), whole.len())
                })?;
            }
            Err(e) => ensure(matches!(e.kind(), ErrorKind::Retriable { .. }), CHECK, || {
                format!("{} ends with an error that nothing follows: {e:#}", split.id)
            })?,
        }
        // A connection that was kept for the next split may pass on what befell itself first.
        let mut said = false;
        for _ in 0..REOPENED {
            let context = TaskContext::new("conformance", 0, 16 << 20);
            let opened = match source.open(split, Position::Start, context).await {
                Ok(mut task) => rest(&mut task).await,
                Err(e) => Err(e),
            };
            match opened {
                Ok(rows) => {
                    let message = || format!("{} is opened again and gives {} rows", split.id, rows.len());
                    ensure(false, CHECK, message)?;
                }
                Err(e) => {
                    ensure(matches!(e.kind(), ErrorKind::Retriable { .. }), CHECK, || {
                        format!("{} opened again fails with an error that nothing follows: {e:#}", split.id)
                    })?;
                    said = e.is_cut_lost();
                }
            }
            if said {
                break;
            }
        }
        ensure(said, CHECK, || format!("{} opened again never says that the cut is lost", split.id))?;
    }
    let after = plan(CHECK, &*source, &Progress::default()).await?;
    for (_, split) in splits(&after) {
        let mut task = open(CHECK, &*source, split, Position::Start).await?;
        rest(&mut task).await.map_err(failed(CHECK, "next, under the next plan"))?;
    }
    Ok(())
}

/// What a task still delivers, row by row.
async fn rest(task: &mut Box<dyn SourceTask>) -> crate::Result<Vec<RecordBatch>> {
    let mut rows = Vec::new();
    while let Some(batch) = task.next().await? {
        rows.extend(single_rows(batch.rows()));
    }
    Ok(rows)
}

async fn plan(check: &'static str, source: &dyn Source, done: &Progress) -> Result<Plan, Violation> {
    source.plan(done).await.map_err(failed(check, "plan"))
}

fn splits(plan: &Plan) -> Vec<(&TablePlan, &Split)> {
    plan.tables.iter().flat_map(|t| t.splits.iter().map(move |s| (t, s))).collect()
}

async fn open(
    check: &'static str,
    source: &dyn Source,
    split: &Split,
    after: Position,
) -> Result<Box<dyn SourceTask>, Violation> {
    let context = TaskContext::new("conformance", 0, 16 << 20);
    source.open(split, after, context).await.map_err(failed(check, "open"))
}

/// Reads a split from `after` to its end and returns its rows one by one. Stops with a violation when the
/// spans do not tile, or beyond `most` rows.
async fn read(
    check: &'static str,
    table: &TablePlan,
    split: &Split,
    after: Position,
    task: &mut Box<dyn SourceTask>,
    most: usize,
) -> Result<Vec<RecordBatch>, Violation> {
    let mut tracker = Tracker::default();
    let mut at = after;
    let mut rows = Vec::new();
    while let Some(batch) = task.next().await.map_err(failed(check, "next"))? {
        let span = batch.span();
        ensure(span.split == split.id, check, || format!("{} delivers rows of {}", split.id, span.split))?;
        ensure(batch.schema() == &table.schema, check, || format!("{} delivers another schema", split.id))?;
        ensure(span.after == at && span.upto >= at && at != Position::End, check, || {
            format!("{} stands at {at:?} and delivers ({:?}, {:?}]", split.id, span.after, span.upto)
        })?;
        if after == Position::Start {
            tracker.advance(span).map_err(failed(check, "the tracker"))?;
        }
        at = span.upto;
        rows.extend(single_rows(batch.rows()));
        ensure(rows.len() <= most, check, || format!("{} delivers more rows than it has", split.id))?;
    }
    Ok(rows)
}

/// Polls a future up to so often; `None` if it is still pending then.
async fn polled<T>(polls: usize, future: &mut (impl Future<Output = T> + Unpin)) -> Option<T> {
    let mut left = polls;
    std::future::poll_fn(|context| {
        left -= 1;
        match Pin::new(&mut *future).poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

fn single_rows(rows: &RecordBatch) -> impl Iterator<Item = RecordBatch> + '_ {
    (0..rows.num_rows()).map(|n| rows.slice(n, 1))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use async_trait::async_trait;

    use super::*;
    use crate::testing::memory::{MemorySource, MemoryTable, yield_now};
    use crate::{ChangeBatch, Error, Result, Selection, Span, SplitId, TableId};

    /// One way to be wrong.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Bug {
        SameIds,
        ForgetsATable,
        NamesAnotherDatabase,
        PlansLoaded,
        LeavesAGap,
        LosesCancelled,
        ReopensAtStart,
        ReopensOneShort,
    }

    #[derive(Clone)]
    struct Broken(MemorySource, Bug);

    #[async_trait]
    impl Source for Broken {
        async fn tables(&self) -> Result<Selection> {
            let mut selection = self.0.tables().await?;
            match self.1 {
                Bug::ForgetsATable => drop(selection.tables.pop()),
                Bug::NamesAnotherDatabase => selection.system.push('2'),
                _ => {}
            }
            Ok(selection)
        }

        async fn plan(&self, done: &Progress) -> Result<Plan> {
            let none = Progress::default();
            let mut plan = self.0.plan(if self.1 == Bug::PlansLoaded { &none } else { done }).await?;
            if self.1 == Bug::SameIds {
                for split in plan.tables.iter_mut().flat_map(|t| &mut t.splits) {
                    split.id = SplitId::new(format!("{}/0", split.table));
                }
            }
            Ok(plan)
        }

        async fn open(&self, split: &Split, after: Position, context: TaskContext) -> Result<Box<dyn SourceTask>> {
            let after = match (self.1, after) {
                (Bug::ReopensAtStart, _) => Position::Start,
                (Bug::ReopensOneShort, Position::At(n)) if n > 1 => Position::At(n - 1),
                _ => after,
            };
            let inner = self.0.open(split, after, context).await?;
            Ok(Box::new(BrokenTask { inner, split: split.id.clone(), bug: self.1, at: after, batches: 0 }))
        }
    }

    struct BrokenTask {
        inner: Box<dyn SourceTask>,
        split: SplitId,
        bug: Bug,
        at: Position,
        batches: u32,
    }

    #[async_trait]
    impl SourceTask for BrokenTask {
        async fn next(&mut self) -> Result<Option<ChangeBatch>> {
            let Some(batch) = self.inner.next().await? else { return Ok(None) };
            if self.bug == Bug::LosesCancelled {
                // The batch is taken, and only then does the call wait.
                yield_now().await;
            }
            self.batches += 1;
            let start = if let Position::At(n) = self.at { n } else { 0 };
            let mut span = batch.span().clone();
            match self.bug {
                Bug::LeavesAGap if self.batches == 2 => {
                    let end = start + batch.rows().num_rows() as u64;
                    (span.after, span.upto) = (Position::At(start + 1), Position::At(end + 1));
                }
                // A source that numbers its rows from where it was asked to begin, whatever it reads.
                Bug::ReopensOneShort => span = Span { after: span.after, ..span },
                _ => {}
            }
            self.at = span.upto;
            span.split = if self.bug == Bug::SameIds { self.split.clone() } else { span.split };
            ChangeBatch::new(Arc::clone(batch.schema()), span, batch.rows().clone()).map(Some)
        }

        async fn close(self: Box<Self>) -> Result<()> {
            self.inner.close().await
        }
    }

    /// A source whose cut is the newest plan's, until that is lost.
    #[derive(Clone)]
    struct Losing {
        inner: MemorySource,
        lost: Arc<AtomicBool>,
        how: Loss,
    }

    /// What it makes of the loss.
    #[derive(Clone, Copy, PartialEq)]
    enum Loss {
        IsSaid,
        IsHidden,
        IsAPassingError,
        IsForEver,
        EndsTheSplit,
    }

    #[async_trait]
    impl Source for Losing {
        async fn tables(&self) -> Result<Selection> {
            self.inner.tables().await
        }

        async fn plan(&self, done: &Progress) -> Result<Plan> {
            if self.how != Loss::IsForEver {
                self.lost.store(false, Ordering::SeqCst);
            }
            self.inner.plan(done).await
        }

        async fn open(&self, split: &Split, after: Position, context: TaskContext) -> Result<Box<dyn SourceTask>> {
            if self.lost.load(Ordering::SeqCst) && self.how != Loss::IsHidden {
                let passing = self.how == Loss::IsAPassingError;
                return Err(if passing { Error::retriable("later") } else { Error::cut_lost("gone") });
            }
            let task = self.inner.open(split, after, context).await?;
            Ok(Box::new(LosingTask(task, self.clone())))
        }
    }

    struct LosingTask(Box<dyn SourceTask>, Losing);

    #[async_trait]
    impl SourceTask for LosingTask {
        async fn next(&mut self) -> Result<Option<ChangeBatch>> {
            match self.1.how {
                _ if !self.1.lost.load(Ordering::SeqCst) => self.0.next().await,
                Loss::EndsTheSplit => Ok(None),
                Loss::IsHidden => self.0.next().await,
                _ => Err(Error::retriable("reset by peer")),
            }
        }

        async fn close(self: Box<Self>) -> Result<()> {
            self.0.close().await
        }
    }

    impl SourceFixture for Losing {
        fn source(&self) -> Box<dyn Source> {
            Box::new(self.clone())
        }

        fn lose_cut(&self) -> bool {
            self.lost.store(true, Ordering::SeqCst);
            true
        }
    }

    #[tokio::test]
    async fn a_lost_cut_must_be_said() {
        async fn check(how: Loss) -> Vec<String> {
            let fixture = Losing { inner: memory(), lost: Arc::default(), how };
            let found = source(&fixture).await;
            assert!(found.iter().all(|v| v.check == "a_lost_cut_is_said"), "{found:?}");
            found.into_iter().map(|v| v.message).collect()
        }
        assert_eq!(check(Loss::IsSaid).await, [""; 0]);
        assert!(check(Loss::IsHidden).await[0].contains("is opened again"));
        assert!(check(Loss::IsAPassingError).await[0].contains("never says that the cut is lost"));
        assert!(check(Loss::IsForEver).await[0].contains("open failed: gone"));
        assert!(check(Loss::EndsTheSplit).await[0].contains("ends with 2 of 7 rows"));
    }

    fn memory() -> MemorySource {
        let table = |name: &str, splits: &[&[i64]]| MemoryTable::of_ids(&TableId::new("test", name), splits, 2);
        MemorySource::new(vec![
            table("a", &[&[1, 2, 3, 4, 5, 6, 7], &[8, 9], &[]]),
            table("b", &[&[1]]),
            table("empty", &[]),
        ])
        .refusing(TableId::new("test", "odd"), "a type that nobody knows")
    }

    async fn check(bug: Bug) -> Vec<&'static str> {
        let fixture = move || Box::new(Broken(memory(), bug)) as Box<dyn Source>;
        source(&fixture).await.into_iter().map(|v| v.check).collect()
    }

    #[tokio::test]
    async fn a_correct_source_passes() {
        let violations = source(&|| Box::new(memory()) as Box<dyn Source>).await;
        assert!(violations.is_empty(), "{violations:?}");
    }

    #[tokio::test]
    async fn each_check_catches_its_twin() {
        assert_eq!(check(Bug::SameIds).await[0], "split_ids_are_unique");
        assert_eq!(check(Bug::ForgetsATable).await, ["plan_covers_tables"]);
        assert_eq!(check(Bug::NamesAnotherDatabase).await, ["plan_covers_tables"]);
        assert_eq!(check(Bug::PlansLoaded).await, ["loaded_tables_are_not_planned"]);
        assert_eq!(check(Bug::LeavesAGap).await[0], "spans_tile_each_split");
        assert_eq!(check(Bug::LosesCancelled).await, ["cancelled_reads_lose_nothing"]);
        assert_eq!(check(Bug::ReopensAtStart).await, ["reopened_splits_continue"]);
        assert_eq!(check(Bug::ReopensOneShort).await, ["reopened_splits_continue"]);
    }
}
