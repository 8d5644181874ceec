//! Checks for logs of changes. What a log delivers is compared with what it delivers when nothing disturbs it.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use futures::future::try_join_all;

use super::{Violation, ensure, failed, within};
use crate::testing::memory::lock;
use crate::{
    ChangeLog, Deal, Error, LogEvent, LogSpan, LogTask, Marks, Op, Progress, Result as ApiResult, Sink, SinkTask,
    Standing, TableId, TableSchema, TaskContext,
};

/// What the suite needs of a log: at least two tables with several changes each, none of which fails, and nothing that
/// is appended meanwhile.
pub trait LogFixture: Send + Sync {
    /// The log; called anew for each reopening.
    fn log(&self) -> Box<dyn ChangeLog>;

    /// How many changes its log has: rows and truncations, of all tables.
    fn changes(&self) -> usize;

    /// How long nothing comes, where more should, before the log counts as read to its end.
    fn patience(&self) -> Duration {
        Duration::from_secs(20)
    }
}

/// The longest that is waited for more than there is.
const SILENCE: Duration = Duration::from_millis(500);

/// Runs every check for logs and returns what they found.
pub async fn log(fixture: &dyn LogFixture) -> Vec<Violation> {
    let found = [
        each_table_is_opened_and_its_spans_follow(fixture).await,
        what_is_not_durable_comes_again(fixture).await,
        another_task_goes_on_where_tables_stand(fixture).await,
        nothing_comes_of_a_stopped_table(fixture).await,
        waits_that_are_dropped_lose_nothing(fixture).await,
        each_table_is_one_tasks(fixture).await,
    ];
    found.into_iter().filter_map(Result::err).collect()
}

/// The first of each table is its `Open`; within a partition each span begins where the last one ended; `ends` says
/// where the spans end.
///
/// # Errors
/// The violation found.
pub async fn each_table_is_opened_and_its_spans_follow(fixture: &dyn LogFixture) -> Result<(), Violation> {
    let mut run = Run::begin("each_table_is_opened_and_its_spans_follow", fixture).await?;
    run.read(usize::MAX).await?;
    ensure(run.lanes.len() > 1, run.check, || "the fixture has less than two tables".to_owned())?;
    let tables: Vec<_> = run.lanes.keys().cloned().collect();
    let ends = fixture.log().ends(&tables).await.map_err(failed(run.check, "ends"))?;
    for (table, lane) in &run.lanes {
        let end = ends.get(table).cloned().unwrap_or_default();
        ensure(end.keys().eq(lane.reached.keys()), run.check, || {
            format!("{table} was read up to {:?}, and ends at {end:?}", lane.reached)
        })?;
    }
    run.close().await
}

/// Reopened, a table comes again from where the sink has it, and from nowhere else.
///
/// # Errors
/// The violation found.
pub async fn what_is_not_durable_comes_again(fixture: &dyn LogFixture) -> Result<(), Violation> {
    let whole = Run::whole("what_is_not_durable_comes_again", fixture, Deal::ALL).await?;
    for part in [1, 3, 6] {
        let mut run = Run::begin("what_is_not_durable_comes_again", fixture).await?;
        run.read(part).await?;
        run.make_durable(1);
        run.read(part).await?;
        for table in run.lanes.keys().cloned().collect::<Vec<_>>() {
            run.reopen(&table).await?;
        }
        run.read(usize::MAX).await?;
        run.compare(&whole)?;
        run.close().await?;
    }
    Ok(())
}

/// A task that is opened later goes on where the tables stand, whether the last one was closed or dropped.
///
/// # Errors
/// The violation found.
pub async fn another_task_goes_on_where_tables_stand(fixture: &dyn LogFixture) -> Result<(), Violation> {
    let whole = Run::whole("another_task_goes_on_where_tables_stand", fixture, Deal::ALL).await?;
    let mut run = Run::begin("another_task_goes_on_where_tables_stand", fixture).await?;
    for closes in [true, false] {
        run.read(4).await?;
        run.make_durable(0);
        run.read(2).await?;
        run = run.again(closes).await?;
    }
    run.read(usize::MAX).await?;
    run.compare(&whole)?;
    run.close().await
}

/// Of a table that was stopped nothing comes until it is reopened; the others come whole.
///
/// # Errors
/// The violation found.
pub async fn nothing_comes_of_a_stopped_table(fixture: &dyn LogFixture) -> Result<(), Violation> {
    let whole = Run::whole("nothing_comes_of_a_stopped_table", fixture, Deal::ALL).await?;
    let mut run = Run::begin("nothing_comes_of_a_stopped_table", fixture).await?;
    run.read(1).await?;
    let Some(table) = run.lanes.keys().next().cloned() else {
        return Err(Violation::new(run.check, "nothing comes"));
    };
    run.task.stop(&table).await;
    run.stopped = Some(table.clone());
    let of_it = whole.get(&table).map_or(0, |partitions| partitions.values().map(Vec::len).sum());
    run.changes = run.changes.saturating_sub(of_it);
    run.read(usize::MAX).await?;
    (run.stopped, run.changes) = (None, fixture.changes());
    run.reopen(&table).await?;
    run.read(usize::MAX).await?;
    run.compare(&whole)?;
    run.close().await
}

/// A call of `next` that is dropped amid its wait has taken nothing.
///
/// # Errors
/// The violation found.
pub async fn waits_that_are_dropped_lose_nothing(fixture: &dyn LogFixture) -> Result<(), Violation> {
    let whole = Run::whole("waits_that_are_dropped_lose_nothing", fixture, Deal::ALL).await?;
    let mut run = Run::begin("waits_that_are_dropped_lose_nothing", fixture).await?;
    run.drops = true;
    run.read(usize::MAX).await?;
    run.compare(&whole)?;
    run.close().await
}

/// Tasks that the log is dealt to come to all of it, each table by one of them.
///
/// # Errors
/// The violation found.
pub async fn each_table_is_one_tasks(fixture: &dyn LogFixture) -> Result<(), Violation> {
    let check = "each_table_is_one_tasks";
    let whole = Run::whole(check, fixture, Deal::ALL).await?;
    let mut seen = Whole::new();
    for part in try_join_all(Deal::among(3).map(|deal| Run::whole(check, fixture, deal))).await? {
        for (table, lines) in part {
            ensure(!seen.contains_key(&table), check, || format!("{table} is followed by two tasks"))?;
            seen.insert(table, lines);
        }
    }
    compare(check, &seen, &whole)
}

/// One change as a log delivers it.
#[derive(Clone, Debug, PartialEq)]
enum Line {
    Row(Op, RecordBatch),
    Truncate,
}

/// What has come of a table, and where its next spans must begin.
struct Lane {
    schema: Arc<TableSchema>,
    reached: Marks,
    /// The changes of each partition, each with the point that its batch reaches.
    lines: BTreeMap<Arc<str>, Vec<(Arc<str>, Line)>>,
}

type Whole = BTreeMap<TableId, BTreeMap<Arc<str>, Vec<Line>>>;

/// A sink that knows where tables stand, and nothing else.
#[derive(Clone, Default)]
struct Books(Arc<Mutex<BTreeMap<TableId, Standing>>>);

#[async_trait]
impl Sink for Books {
    async fn progress(&self, _: &[TableId]) -> ApiResult<Progress> {
        Ok(Progress::default())
    }

    async fn holdings(&self, _: &str) -> ApiResult<Progress> {
        Ok(Progress::default())
    }

    async fn open(&self, _: TaskContext) -> ApiResult<Box<dyn SinkTask>> {
        Err(Error::fatal("the suite's sink is not written to"))
    }

    async fn standing(&self, table: &TableId) -> ApiResult<Option<Standing>> {
        Ok(lock(&self.0).get(table).cloned())
    }
}

/// One check at work.
struct Run<'a> {
    check: &'static str,
    fixture: &'a dyn LogFixture,
    books: Books,
    task: Box<dyn LogTask>,
    lanes: BTreeMap<TableId, Lane>,
    /// Tables of which an `Open` must be the next.
    opening: Vec<TableId>,
    stopped: Option<TableId>,
    /// How many changes there are to come to, of the tables that are not stopped. One of several tasks has fewer, and ends by
    /// its patience.
    changes: usize,
    /// Whether each wait is dropped once before it is waited for.
    drops: bool,
}

impl<'a> Run<'a> {
    async fn begin(check: &'static str, fixture: &'a dyn LogFixture) -> Result<Self, Violation> {
        Self::begin_dealt(check, fixture, Deal::ALL).await
    }

    async fn begin_dealt(check: &'static str, fixture: &'a dyn LogFixture, deal: Deal) -> Result<Self, Violation> {
        let books = Books::default();
        let task = follow(check, fixture, &books, deal).await?;
        let (lanes, opening, changes) = (BTreeMap::new(), Vec::new(), fixture.changes());
        Ok(Self { check, fixture, books, task, lanes, opening, stopped: None, changes, drops: false })
    }

    /// What the log delivers when nothing disturbs it.
    async fn whole(check: &'static str, fixture: &'a dyn LogFixture, deal: Deal) -> Result<Whole, Violation> {
        let mut run = Self::begin_dealt(check, fixture, deal).await?;
        run.read(usize::MAX).await?;
        let whole = run.seen();
        run.close().await?;
        Ok(whole)
    }

    /// Another task over the same sink.
    async fn again(self, closes: bool) -> Result<Self, Violation> {
        let Self { check, fixture, books, task, lanes, changes, .. } = self;
        if closes {
            task.close().await.map_err(failed(check, "close"))?;
        } else {
            drop(task);
        }
        let task = follow(check, fixture, &books, Deal::ALL).await?;
        let opening = lanes.keys().cloned().collect();
        Ok(Self { check, fixture, books, task, lanes, opening, stopped: None, changes, drops: false })
    }

    /// Reads so many events, or until nothing comes any more.
    async fn read(&mut self, most: usize) -> Result<(), Violation> {
        for n in 0..most {
            if self.drops {
                let mut next = self.task.next();
                // Sooner or later: what it takes at its second turn it must not lose at its third.
                let turns = 1 + n % 3;
                let early = poll_fn(|context| {
                    let early = (0..turns).find_map(|_| match next.as_mut().poll(context) {
                        Poll::Ready(event) => Some(event),
                        Poll::Pending => None,
                    });
                    Poll::Ready(early)
                });
                let early = early.await;
                drop(next);
                if let Some(event) = early {
                    self.take(event.map_err(failed(self.check, "next"))?)?;
                    continue;
                }
            }
            let patience = self.fixture.patience();
            let patience = if self.has_all() { patience.min(SILENCE) } else { patience };
            match within(patience, self.task.next()).await {
                Some(event) => self.take(event.map_err(failed(self.check, "next"))?)?,
                None => return Ok(()),
            }
        }
        Ok(())
    }

    /// Whether all has come that there is.
    fn has_all(&self) -> bool {
        let open = self.lanes.iter().filter(|(table, _)| self.stopped.as_ref() != Some(table));
        let came: usize = open.flat_map(|(_, lane)| lane.lines.values()).map(Vec::len).sum();
        self.opening.is_empty() && came == self.changes
    }

    fn take(&mut self, event: LogEvent) -> Result<(), Violation> {
        let table = event.table().clone();
        ensure(self.stopped.as_ref() != Some(&table), self.check, || {
            format!("{table} is stopped, and {event:?} comes")
        })?;
        match event {
            LogEvent::Open { schema, create, .. } => {
                let standing = lock(&self.books.0).get(&table).cloned();
                ensure(create == standing.is_none(), self.check, || format!("{table}: create is {create}"))?;
                self.opening.retain(|t| *t != table);
                let reached = standing.map(|s| s.marks).unwrap_or_default();
                let lane = self.lanes.entry(table).or_insert_with(|| Lane {
                    schema: Arc::clone(&schema),
                    reached: Marks::new(),
                    lines: BTreeMap::new(),
                });
                // What is not durable is void.
                for (partition, lines) in &mut lane.lines {
                    let durable = reached.get(partition);
                    let keep = lines.iter().rposition(|(upto, _)| Some(upto) == durable).map_or(0, |last| last + 1);
                    lines.truncate(keep);
                }
                lane.reached = reached;
                Ok(())
            }
            LogEvent::Changes(batch) => {
                let rows = (0..batch.rows().num_rows()).zip(batch.ops());
                let lines = rows.map(|(row, op)| Line::Row(*op, batch.rows().slice(row, 1))).collect();
                self.advance(&table, batch.span(), lines)
            }
            LogEvent::Truncate(_, span) => self.advance(&table, &span, vec![Line::Truncate]),
            LogEvent::Failed(_, error) => Err(Violation::new(self.check, format!("{table} failed: {error:#}"))),
        }
    }

    fn advance(&mut self, table: &TableId, span: &LogSpan, lines: Vec<Line>) -> Result<(), Violation> {
        let check = self.check;
        let Some(lane) = self.lanes.get_mut(table).filter(|_| !self.opening.contains(table)) else {
            return Err(Violation::new(check, format!("changes of {table}, which is not open")));
        };
        let at = lane.reached.get(&span.partition);
        ensure(at == span.after.as_ref(), check, || format!("{table} is at {at:?}, and {span:?} comes"))?;
        lane.reached.insert(Arc::clone(&span.partition), Arc::clone(&span.upto));
        let all = lane.lines.entry(Arc::clone(&span.partition)).or_default();
        all.extend(lines.into_iter().map(|line| (Arc::clone(&span.upto), line)));
        Ok(())
    }

    /// Makes durable what has come, of all tables but the first so many.
    fn make_durable(&mut self, but: usize) {
        for (table, lane) in self.lanes.iter().skip(but) {
            let (schema, marks) = (Arc::clone(&lane.schema), lane.reached.clone());
            lock(&self.books.0).insert(table.clone(), Standing { schema, cut: None, marks });
        }
    }

    async fn reopen(&mut self, table: &TableId) -> Result<(), Violation> {
        self.task.reopen(table).await.map_err(failed(self.check, "reopen"))?;
        self.opening.push(table.clone());
        Ok(())
    }

    fn seen(&self) -> Whole {
        let lines = |lines: &Vec<(Arc<str>, Line)>| lines.iter().map(|(_, line)| line.clone()).collect();
        let lane = |lane: &Lane| lane.lines.iter().map(|(p, all)| (Arc::clone(p), lines(all))).collect();
        self.lanes.iter().map(|(table, l)| (table.clone(), lane(l))).collect()
    }

    fn compare(&self, whole: &Whole) -> Result<(), Violation> {
        compare(self.check, &self.seen(), whole)
    }

    async fn close(self) -> Result<(), Violation> {
        self.task.close().await.map_err(failed(self.check, "close"))
    }
}

fn compare(check: &'static str, seen: &Whole, whole: &Whole) -> Result<(), Violation> {
    for (table, partitions) in whole {
        let got = seen.get(table);
        ensure(got == Some(partitions), check, || {
            let count = |p: &BTreeMap<_, Vec<_>>| p.values().map(Vec::len).sum::<usize>();
            let (got, all) = (got.map_or(0, count), count(partitions));
            format!("{table}: {got} changes were delivered, not the {all} that there are, or not the same")
        })?;
    }
    Ok(())
}

async fn follow(
    check: &'static str,
    fixture: &dyn LogFixture,
    books: &Books,
    deal: Deal,
) -> Result<Box<dyn LogTask>, Violation> {
    let context = TaskContext::new("conformance", 0, 64 << 20);
    fixture.log().follow(Arc::new(books.clone()), deal, context).await.map_err(failed(check, "follow"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::memory::{Change, MemoryLog, yield_now};

    /// One way to be wrong.
    #[derive(Clone, Copy, PartialEq)]
    enum Bug {
        None,
        OpensNothing,
        SkipsChanges,
        ReopensNothing,
        BeginsAnew,
        StopsNothing,
        LosesWhenDropped,
        DoesNotKnowItsEnd,
        TakesEverything,
        LeavesSomeToNoOne,
    }

    #[derive(Clone)]
    struct Broken(MemoryLog, Bug);

    impl LogFixture for Broken {
        fn log(&self) -> Box<dyn ChangeLog> {
            Box::new(self.clone())
        }

        fn changes(&self) -> usize {
            18
        }

        fn patience(&self) -> Duration {
            Duration::from_millis(30)
        }
    }

    #[async_trait]
    impl ChangeLog for Broken {
        async fn ends(&self, tables: &[TableId]) -> ApiResult<BTreeMap<TableId, Marks>> {
            if self.1 == Bug::DoesNotKnowItsEnd { Ok(BTreeMap::new()) } else { self.0.ends(tables).await }
        }

        async fn follow(&self, sink: Arc<dyn Sink>, deal: Deal, context: TaskContext) -> ApiResult<Box<dyn LogTask>> {
            let sink = if self.1 == Bug::BeginsAnew { Arc::new(Books::default()) } else { sink };
            let deal = match self.1 {
                Bug::TakesEverything => Deal::ALL,
                // A thousandth each.
                Bug::LeavesSomeToNoOne if deal != Deal::ALL => Deal::among(1000).last().unwrap_or(deal),
                _ => deal,
            };
            Ok(Box::new(BrokenTask { inner: self.0.follow(sink, deal, context).await?, bug: self.1, events: 0 }))
        }
    }

    struct BrokenTask {
        inner: Box<dyn LogTask>,
        bug: Bug,
        events: u64,
    }

    #[async_trait]
    impl LogTask for BrokenTask {
        async fn next(&mut self) -> ApiResult<LogEvent> {
            loop {
                let event = self.inner.next().await?;
                self.events += 1;
                let skips = self.bug == Bug::SkipsChanges && self.events == 4;
                if skips || self.bug == Bug::OpensNothing && matches!(event, LogEvent::Open { .. }) {
                    continue;
                }
                if self.bug == Bug::LosesWhenDropped {
                    yield_now().await;
                }
                return Ok(event);
            }
        }

        async fn reopen(&mut self, table: &TableId) -> ApiResult<()> {
            if self.bug == Bug::ReopensNothing { Ok(()) } else { self.inner.reopen(table).await }
        }

        async fn stop(&mut self, table: &TableId) {
            if self.bug != Bug::StopsNothing {
                self.inner.stop(table).await;
            }
        }

        async fn acknowledge(&mut self, table: &TableId, marks: &Marks) {
            self.inner.acknowledge(table, marks).await;
        }

        async fn close(self: Box<Self>) -> ApiResult<()> {
            self.inner.close().await
        }
    }

    async fn check(bug: Bug) -> Vec<&'static str> {
        let [a, b] = ["a", "b"].map(|name| TableId::new("conformance", name));
        let content = MemoryLog::new(2).with_table(&a, true, 2).with_table(&b, false, 1);
        content.append(&a, 0, (0..7).map(|n| Change::Put(n, n)));
        content.append(&a, 1, (10..15).map(|n| Change::Put(n, n)));
        content.append(&b, 0, (0..3).flat_map(|n| [Change::Put(n, n), Change::Truncate]));
        log(&Broken(content, bug)).await.into_iter().map(|v| v.check).collect()
    }

    #[tokio::test]
    async fn a_correct_log_passes() {
        assert_eq!(check(Bug::None).await, Vec::<&str>::new());
    }

    #[tokio::test]
    async fn each_check_catches_its_twin() {
        for bug in [Bug::OpensNothing, Bug::SkipsChanges, Bug::DoesNotKnowItsEnd] {
            assert_eq!(check(bug).await[0], "each_table_is_opened_and_its_spans_follow");
        }
        let reopens = check(Bug::ReopensNothing).await;
        assert!(reopens.contains(&"what_is_not_durable_comes_again"), "{reopens:?}");
        assert!(check(Bug::BeginsAnew).await.contains(&"another_task_goes_on_where_tables_stand"));
        assert_eq!(check(Bug::StopsNothing).await, ["nothing_comes_of_a_stopped_table"]);
        assert_eq!(check(Bug::LosesWhenDropped).await, ["waits_that_are_dropped_lose_nothing"]);
        for bug in [Bug::TakesEverything, Bug::LeavesSomeToNoOne] {
            assert_eq!(check(bug).await, ["each_table_is_one_tasks"]);
        }
    }
}
