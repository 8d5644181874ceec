//! Checks for sinks. Each uses a table name of its own, so that one store serves them all.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use super::{Violation, ensure, failed, within};
use crate::testing::memory::lock;
use crate::testing::{id_rows, id_schema};
use crate::{
    ChangeBatch, Cut, Error, Event, LoadEvent, Marks, Position, Result as ApiResult, Sink, SinkTask, Span, SplitId,
    TableId, TableLoad, TableSchema, TaskContext,
};

/// The source connector that the loads are said to come through.
const SOURCE: &str = "conformance";

/// What the suite needs of a sink: an empty store, and a reader of it that is not the sink itself.
#[async_trait]
pub trait SinkFixture: Send + Sync {
    /// A sink over the fixture's store; called anew for each reopening.
    fn sink(&self) -> Box<dyn Sink>;

    /// What a reader sees of a table now: the values of its column `id` in any order; `None` if there is no
    /// such table.
    async fn visible(&self, table: &TableId) -> ApiResult<Option<Vec<i64>>>;

    /// How long a commit may take before it counts as hung.
    fn patience(&self) -> Duration {
        Duration::from_secs(60)
    }
}

/// Runs every check for sinks and returns what they found.
pub async fn sink(fixture: &dyn SinkFixture) -> Vec<Violation> {
    let found = [
        visible_once_durable(fixture).await,
        nothing_before_complete(fixture).await,
        abort_leaves_nothing(fixture).await,
        close_leaves_nothing(fixture).await,
        drop_leaves_nothing(fixture).await,
        interleaved_tables_stay_apart(fixture).await,
        replace_is_atomic(fixture).await,
        commits_go_on_beside_writes(fixture).await,
        a_free_table_is_granted(fixture).await,
    ];
    found.into_iter().filter_map(Result::err).collect()
}

/// After the checkpoint that follows `Complete` a reader sees every row once (of two splits, one of them
/// empty, and of a table without rows), and a sink opened anew knows the table as loaded.
///
/// # Errors
/// The violation found.
pub async fn visible_once_durable(fixture: &dyn SinkFixture) -> Result<(), Violation> {
    let run = Run::new("visible_once_durable", fixture);
    let (table, empty) = (Table::new("visible", 3), Table::new("visible_empty", 1));
    let mut task = run.open().await?;
    run.write(&mut task, [table.begin(false), table.rows(0, &[1, 2], false), table.rows(1, &[3], true)]).await?;
    run.write(&mut task, [table.done(1), table.rows(0, &[4], true), table.done(0), table.done(2)]).await?;
    run.write(&mut task, [table.complete(), empty.begin(false), empty.done(0), empty.complete()]).await?;
    run.commit(&mut task, &[&table, &empty]).await?;
    run.close(task).await?;
    run.expect(&table, Some(&[1, 2, 3, 4]), "after its checkpoint").await?;
    run.expect(&empty, Some(&[]), "after its checkpoint").await?;
    run.expect_progress(&table, true, "after its checkpoint").await?;
    run.expect_progress(&empty, true, "after its checkpoint").await
}

/// Before `Complete` a reader sees nothing of a load, and no progress speaks of it, even if another table's
/// checkpoint passes meanwhile. (From `Complete` on the sink may publish whenever it likes.)
///
/// # Errors
/// The violation found.
pub async fn nothing_before_complete(fixture: &dyn SinkFixture) -> Result<(), Violation> {
    let run = Run::new("nothing_before_complete", fixture);
    let (table, other) = (Table::new("incomplete", 2), Table::new("incomplete_other", 1));
    let mut task = run.open().await?;
    run.write(&mut task, [table.begin(false), table.rows(0, &[1, 2], true), table.done(0)]).await?;
    run.write(&mut task, [other.begin(false), other.rows(0, &[7], true), other.done(0), other.complete()]).await?;
    run.commit(&mut task, &[&other]).await?;
    run.expect(&table, None, "before its load is complete").await?;
    run.expect_progress(&table, false, "before its load is complete").await?;
    run.write(&mut task, [table.rows(1, &[3], true), table.done(1), table.complete()]).await?;
    run.commit(&mut task, &[&table]).await?;
    run.expect(&table, Some(&[1, 2, 3]), "after the checkpoint").await?;
    run.close(task).await
}

/// `Abort` drops what is staged; another load of that table may follow in the same task.
///
/// # Errors
/// The violation found.
pub async fn abort_leaves_nothing(fixture: &dyn SinkFixture) -> Result<(), Violation> {
    let run = Run::new("abort_leaves_nothing", fixture);
    let (table, refused) = (Table::new("aborted", 1), Table::new("refused", 1));
    let mut task = run.open().await?;
    run.write(&mut task, [table.begin(false), table.rows(0, &[1, 2], false), table.abort(), refused.abort()]).await?;
    run.commit(&mut task, &[]).await?;
    run.expect(&table, None, "after an abort").await?;
    run.expect(&refused, None, "after a refusal").await?;
    run.expect_progress(&table, false, "after an abort").await?;
    run.write(&mut task, [table.begin(false), table.rows(0, &[3], true), table.done(0), table.complete()]).await?;
    run.commit(&mut task, &[&table]).await?;
    run.expect(&table, Some(&[3]), "after an abort and a new load").await?;
    run.close(task).await
}

/// A task that is closed amid a load leaves nothing of it.
///
/// # Errors
/// The violation found.
pub async fn close_leaves_nothing(fixture: &dyn SinkFixture) -> Result<(), Violation> {
    let run = Run::new("close_leaves_nothing", fixture);
    let table = Table::new("closed", 2);
    let mut task = run.open().await?;
    run.write(&mut task, [table.begin(false), table.rows(0, &[1, 2], true), table.done(0)]).await?;
    run.close(task).await?;
    run.expect(&table, None, "after an early close").await?;
    run.expect_progress(&table, false, "after an early close").await
}

/// A task that is dropped amid a load leaves nothing of it, and a task opened later loads the table whole.
///
/// # Errors
/// The violation found.
pub async fn drop_leaves_nothing(fixture: &dyn SinkFixture) -> Result<(), Violation> {
    let run = Run::new("drop_leaves_nothing", fixture);
    let table = Table::new("dropped", 1);
    let mut task = run.open().await?;
    run.write(&mut task, [table.begin(false), table.rows(0, &[1, 2], true), table.done(0)]).await?;
    drop(task);
    run.expect(&table, None, "after a drop").await?;
    run.expect_progress(&table, false, "after a drop").await?;
    let mut task = run.open().await?;
    run.write(&mut task, [table.begin(false), table.rows(0, &[5], true), table.done(0), table.complete()]).await?;
    run.commit(&mut task, &[&table]).await?;
    run.expect(&table, Some(&[5]), "after a drop and a new load").await?;
    run.close(task).await
}

/// The events of two tables may come in any interleaving.
///
/// # Errors
/// The violation found.
pub async fn interleaved_tables_stay_apart(fixture: &dyn SinkFixture) -> Result<(), Violation> {
    let run = Run::new("interleaved_tables_stay_apart", fixture);
    let (a, b) = (Table::new("mixed_a", 2), Table::new("mixed_b", 1));
    let mut task = run.open().await?;
    run.write(&mut task, [a.begin(false), a.rows(1, &[1], false), b.begin(false), a.rows(0, &[2], true)]).await?;
    run.write(&mut task, [b.rows(0, &[11], false), a.done(0), a.rows(1, &[3], true), a.done(1)]).await?;
    run.write(&mut task, [b.rows(0, &[12], true), a.complete()]).await?;
    run.commit(&mut task, &[&a]).await?;
    run.write(&mut task, [b.done(0), b.complete()]).await?;
    run.commit(&mut task, &[&b]).await?;
    run.close(task).await?;
    run.expect(&a, Some(&[1, 2, 3]), "beside another table").await?;
    run.expect(&b, Some(&[11, 12]), "beside another table").await
}

/// A load that replaces shows the old rows until it is durable, then exactly the new ones; one that is
/// given up leaves the old ones.
///
/// # Errors
/// The violation found.
pub async fn replace_is_atomic(fixture: &dyn SinkFixture) -> Result<(), Violation> {
    let run = Run::new("replace_is_atomic", fixture);
    let table = Table::new("replaced", 1);
    let mut task = run.open().await?;
    run.write(&mut task, [table.begin(false), table.rows(0, &[1, 2], true), table.done(0), table.complete()]).await?;
    run.commit(&mut task, &[&table]).await?;
    run.write(&mut task, [table.begin(true), table.rows(0, &[8], false)]).await?;
    run.expect(&table, Some(&[1, 2]), "while it is replaced").await?;
    run.write(&mut task, [table.abort()]).await?;
    run.expect(&table, Some(&[1, 2]), "after a replacement was given up").await?;
    run.write(&mut task, [table.begin(true), table.rows(0, &[2, 3, 4], true), table.done(0)]).await?;
    run.expect(&table, Some(&[1, 2]), "before the replacement is complete").await?;
    run.write(&mut task, [table.complete()]).await?;
    run.commit(&mut task, &[&table]).await?;
    run.close(task).await?;
    run.expect(&table, Some(&[2, 3, 4]), "after its replacement").await?;
    run.expect_progress(&table, true, "after its replacement").await
}

/// A commit handle needs nothing of the task: writes go on before it is awaited, and it resolves while the
/// task stands still.
///
/// # Errors
/// The violation found.
pub async fn commits_go_on_beside_writes(fixture: &dyn SinkFixture) -> Result<(), Violation> {
    let run = Run::new("commits_go_on_beside_writes", fixture);
    let (first, second) = (Table::new("beside_first", 1), Table::new("beside_second", 1));
    let mut task = run.open().await?;
    run.write(&mut task, [first.begin(false), first.rows(0, &[1], true), first.done(0), first.complete()]).await?;
    let handle = task.checkpoint();
    run.write(&mut task, [second.begin(false), second.rows(0, &[2], true)]).await?;
    run.durable(handle, &[&first]).await?;
    run.expect(&first, Some(&[1]), "while another table is written").await?;
    run.expect(&second, None, "before its load is complete").await?;
    run.write(&mut task, [second.done(0), second.complete()]).await?;
    run.commit(&mut task, &[&second]).await?;
    run.expect(&second, Some(&[2]), "after its checkpoint").await?;
    run.close(task).await
}

/// A claim is granted where no other task holds one: to the same task again, and to another once the first
/// has published the table, has given it up, or was closed.
///
/// # Errors
/// The violation found.
pub async fn a_free_table_is_granted(fixture: &dyn SinkFixture) -> Result<(), Violation> {
    let run = Run::new("a_free_table_is_granted", fixture);
    let tables = ["claimed", "claimed_aborted", "claimed_closed", "claimed_not_begun"].map(|name| Table::new(name, 1));
    let [published, aborted, closed, _] = &tables;
    let mut task = run.open().await?;
    run.granted(&mut task, &tables, "at first").await?;
    run.granted(&mut task, &tables, "to the task that has it").await?;
    run.write(&mut task, [published.begin(false), published.done(0), published.complete()]).await?;
    run.commit(&mut task, &[published]).await?;
    run.write(&mut task, [aborted.begin(false), aborted.rows(0, &[1], false), aborted.abort()]).await?;
    run.write(&mut task, [closed.begin(false), closed.rows(0, &[1], false)]).await?;
    run.close(task).await?;
    let mut task = run.open().await?;
    run.granted(&mut task, &tables, "after the task that had it").await?;
    run.close(task).await
}

/// A table of the suite and the events of its load.
struct Table {
    schema: Arc<TableSchema>,
    splits: usize,
    /// How many rows each split has sent since the last `begin`.
    sent: Mutex<Vec<u64>>,
}

impl Table {
    fn new(name: &str, splits: usize) -> Self {
        let schema = id_schema(&TableId::new("conformance", name));
        Self { schema, splits, sent: vec![0; splits].into() }
    }

    fn id(&self) -> &TableId {
        self.schema.table()
    }

    fn split(&self, n: usize) -> SplitId {
        SplitId::new(format!("{}/{n}", self.id()))
    }

    fn begin(&self, replace: bool) -> ApiResult<Event> {
        lock(&self.sent).fill(0);
        let (system, position_type, position) = ("conformance".into(), "count".into(), "1".into());
        let cut = Arc::new(Cut { system, position_type, position, visible: None });
        let (schema, source) = (Arc::clone(&self.schema), SOURCE.into());
        let (splits, marks) = (self.splits, Marks::new());
        let load = TableLoad { schema, cut, source, splits, attempt: 1, replace, marks };
        Ok(Event::Load(LoadEvent::Begin(Arc::new(load))))
    }

    fn rows(&self, split: usize, ids: &[i64], last: bool) -> ApiResult<Event> {
        let sent = &mut lock(&self.sent)[split];
        let after = if *sent == 0 { Position::Start } else { Position::At(*sent) };
        *sent += ids.len() as u64;
        let upto = if last { Position::End } else { Position::At(*sent) };
        let span = Span { split: self.split(split), after, upto };
        let rows = id_rows(&self.schema, ids.iter().copied());
        ChangeBatch::new(Arc::clone(&self.schema), span, rows).map(Event::Changes)
    }

    fn done(&self, split: usize) -> ApiResult<Event> {
        Ok(Event::Load(LoadEvent::SplitDone(self.id().clone(), self.split(split))))
    }

    fn complete(&self) -> ApiResult<Event> {
        Ok(Event::Load(LoadEvent::Complete(self.id().clone())))
    }

    fn abort(&self) -> ApiResult<Event> {
        let why = Error::data("given up by the conformance suite").with("table", self.id());
        Ok(Event::Load(LoadEvent::Abort { table: self.id().clone(), error: Arc::new(why), attempts: 1 }))
    }
}

/// One check at work.
struct Run<'a> {
    check: &'static str,
    fixture: &'a dyn SinkFixture,
}

impl<'a> Run<'a> {
    fn new(check: &'static str, fixture: &'a dyn SinkFixture) -> Self {
        Self { check, fixture }
    }

    async fn open(&self) -> Result<Box<dyn SinkTask>, Violation> {
        let context = TaskContext::new("conformance", 0, 64 << 20);
        self.fixture.sink().open(context).await.map_err(failed(self.check, "open"))
    }

    async fn write<const N: usize>(
        &self,
        task: &mut Box<dyn SinkTask>,
        events: [ApiResult<Event>; N],
    ) -> Result<(), Violation> {
        for event in events {
            let event = event.map_err(failed(self.check, "building an event"))?;
            task.write(event).await.map_err(failed(self.check, "write"))?;
        }
        Ok(())
    }

    async fn commit(&self, task: &mut Box<dyn SinkTask>, tables: &[&Table]) -> Result<(), Violation> {
        let handle = task.checkpoint();
        self.durable(handle, tables).await
    }

    /// Awaits a commit; these tables must be durable by it, and none failed.
    async fn durable(&self, handle: crate::CommitHandle, tables: &[&Table]) -> Result<(), Violation> {
        let Some(checkpoint) = within(self.fixture.patience(), handle).await else {
            return Err(Violation::new(self.check, "the commit handle does not resolve while the task stands still"));
        };
        let checkpoint = checkpoint.map_err(failed(self.check, "the commit"))?;
        if let Some((table, error)) = checkpoint.failed.first() {
            return Err(Violation::new(self.check, format!("the commit of {table} failed: {error:#}")));
        }
        match tables.iter().find(|t| checkpoint.durable.loaded(t.id()).is_none()) {
            Some(table) => Err(Violation::new(self.check, format!("the checkpoint leaves out {}", table.id()))),
            None => Ok(()),
        }
    }

    /// Claims tables that are free.
    async fn granted(&self, task: &mut Box<dyn SinkTask>, tables: &[Table], when: &str) -> Result<(), Violation> {
        let ids: Vec<_> = tables.iter().map(|t| t.id().clone()).collect();
        let claims = task.claim(SOURCE, &ids).await.map_err(failed(self.check, "claim"))?;
        ensure(claims.held.is_empty(), self.check, || format!("{:?} is not granted {when}", claims.held))
    }

    async fn close(&self, task: Box<dyn SinkTask>) -> Result<(), Violation> {
        task.close().await.map_err(failed(self.check, "close"))
    }

    async fn expect(&self, table: &Table, ids: Option<&[i64]>, when: &str) -> Result<(), Violation> {
        let mut seen = self.fixture.visible(table.id()).await.map_err(failed(self.check, "reading"))?;
        if let Some(seen) = &mut seen {
            seen.sort_unstable();
        }
        let show = |ids: Option<&[i64]>| ids.map_or("no table".to_owned(), |ids| format!("{ids:?}"));
        ensure(seen.as_deref() == ids, self.check, || {
            format!("{} shows {} {when}, not {}", table.id(), show(seen.as_deref()), show(ids))
        })
    }

    async fn expect_progress(&self, table: &Table, loaded: bool, when: &str) -> Result<(), Violation> {
        let tables = [table.id().clone()];
        let progress = self.fixture.sink().progress(&tables).await.map_err(failed(self.check, "progress"))?;
        ensure(progress.loaded(table.id()).is_some() == loaded, self.check, || {
            format!("progress says that {} is {}loaded {when}", table.id(), if loaded { "not " } else { "" })
        })?;
        let holdings = |source: &'static str| async move {
            self.fixture.sink().holdings(source).await.map_err(failed(self.check, "holdings"))
        };
        let (ours, others) = (holdings(SOURCE).await?, holdings("another source").await?);
        ensure(ours.loaded(table.id()) == progress.loaded(table.id()), self.check, || {
            format!("holdings and progress say different things of {} {when}", table.id())
        })?;
        ensure(others.tables().next().is_none(), self.check, || "holdings of a source that loaded nothing".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::testing::memory::{MemorySink, Published};
    use crate::{Claims, CommitHandle, Progress};

    /// One way to be wrong.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Bug {
        None,
        ForgetsProgress,
        ForgetsHoldings,
        MixesSources,
        ShowsIncomplete,
        KeepsAborted,
        PublishesAtClose,
        PublishesAtDrop,
        MixesTables,
        ReplaceAppends,
        ReplaceHidesOld,
        CommitNeedsTheTask,
        ForgetsWhoClaimed,
        KeepsClaims,
    }

    #[derive(Clone)]
    struct Broken(MemorySink, Bug);

    #[async_trait]
    impl SinkFixture for Broken {
        fn sink(&self) -> Box<dyn Sink> {
            Box::new(self.clone())
        }

        async fn visible(&self, table: &TableId) -> ApiResult<Option<Vec<i64>>> {
            Ok(self.0.ids(table))
        }

        fn patience(&self) -> Duration {
            Duration::from_millis(50)
        }
    }

    #[async_trait]
    impl Sink for Broken {
        async fn progress(&self, tables: &[TableId]) -> ApiResult<Progress> {
            if self.1 == Bug::ForgetsProgress { Ok(Progress::default()) } else { self.0.progress(tables).await }
        }

        async fn holdings(&self, source: &str) -> ApiResult<Progress> {
            match self.1 {
                Bug::ForgetsHoldings | Bug::ForgetsProgress => Ok(Progress::default()),
                Bug::MixesSources => self.0.holdings(SOURCE).await,
                _ => self.0.holdings(source).await,
            }
        }

        async fn open(&self, context: TaskContext) -> ApiResult<Box<dyn SinkTask>> {
            let inner = Some(self.0.open(context).await?);
            Ok(Box::new(BrokenTask { inner, sink: self.clone(), staged: BTreeMap::new(), last: None, old: None }))
        }
    }

    struct BrokenTask {
        inner: Option<Box<dyn SinkTask>>,
        sink: Broken,
        /// A second staging area, for what should not be published.
        staged: BTreeMap<TableId, Published>,
        last: Option<TableId>,
        old: Option<Published>,
    }

    impl BrokenTask {
        fn publish(&self) {
            lock(&self.sink.0.store).published.extend(self.staged.clone());
        }

        fn hear(&mut self, event: &Event) {
            let table = event.table().clone();
            match event {
                Event::Load(LoadEvent::Begin(load)) => {
                    let published = Published { load: Arc::clone(load), rows: Vec::new(), commits: 1 };
                    self.staged.insert(table.clone(), published);
                    let store = &mut lock(&self.sink.0.store).published;
                    self.old = store.get(&table).cloned();
                    if self.sink.1 == Bug::ReplaceHidesOld {
                        store.remove(&table);
                    }
                    self.last = Some(table);
                }
                Event::Changes(batch) => {
                    if let Some(staged) = self.staged.get_mut(&table) {
                        staged.rows.push(batch.rows().clone());
                    }
                    if self.sink.1 == Bug::ShowsIncomplete {
                        self.publish();
                    }
                }
                Event::Load(LoadEvent::Abort { .. }) => {
                    if self.sink.1 == Bug::KeepsAborted {
                        self.publish();
                    }
                    self.staged.remove(&table);
                }
                Event::Load(LoadEvent::Complete(_)) => {
                    self.staged.remove(&table);
                }
                Event::Load(LoadEvent::SplitDone(..)) => {}
            }
        }
    }

    #[async_trait]
    impl SinkTask for BrokenTask {
        async fn claim(&mut self, source: &str, tables: &[TableId]) -> ApiResult<Claims> {
            let claims = self.inner.as_mut().unwrap().claim(source, tables).await;
            match self.sink.1 {
                // All its claims are some other task's.
                Bug::ForgetsWhoClaimed => {
                    lock(&self.sink.0.store).claims.values_mut().for_each(|task| *task = 0);
                    claims
                }
                _ => claims,
            }
        }

        async fn write(&mut self, event: Event) -> ApiResult<()> {
            self.hear(&event);
            let event = match event {
                // The rows go to whichever table began last: here, lost to the one they belong to.
                Event::Changes(b) if self.sink.1 == Bug::MixesTables && self.last.as_ref() != Some(b.table()) => {
                    let none = b.rows().slice(0, 0);
                    let span = Span { upto: b.span().after, ..b.span().clone() };
                    let span = if span.after == Position::Start { Span { upto: Position::End, ..span } } else { span };
                    Event::Changes(ChangeBatch::new(Arc::clone(b.schema()), span, none)?)
                }
                other => other,
            };
            self.inner.as_mut().unwrap().write(event).await
        }

        fn checkpoint(&mut self) -> CommitHandle {
            let handle = self.inner.as_mut().unwrap().checkpoint();
            let (bug, sink, old) = (self.sink.1, self.sink.0.clone(), self.old.take());
            let idle = self.staged.is_empty();
            Box::pin(async move {
                if bug == Bug::CommitNeedsTheTask && idle && sink.order().last().unwrap().starts_with("rows") {
                    std::future::pending::<()>().await;
                }
                let checkpoint = handle.await?;
                if let (Bug::ReplaceAppends, Some(old)) = (bug, old)
                    && let Some(now) = lock(&sink.store).published.get_mut(old.load.schema.table())
                    && now.commits > old.commits
                {
                    now.rows.extend(old.rows);
                }
                Ok(checkpoint)
            })
        }

        async fn close(mut self: Box<Self>) -> ApiResult<()> {
            if self.sink.1 == Bug::PublishesAtClose {
                self.publish();
            }
            self.inner.take().unwrap().close().await?;
            if self.sink.1 == Bug::KeepsClaims {
                lock(&self.sink.0.store).claims.insert(TableId::new("conformance", "claimed_not_begun"), 0);
            }
            Ok(())
        }
    }

    impl Drop for BrokenTask {
        fn drop(&mut self) {
            if self.sink.1 == Bug::PublishesAtDrop && self.inner.is_some() {
                self.publish();
            }
        }
    }

    async fn check(bug: Bug) -> Vec<&'static str> {
        sink(&Broken(MemorySink::default(), bug)).await.into_iter().map(|v| v.check).collect()
    }

    #[tokio::test]
    async fn a_correct_sink_passes() {
        assert_eq!(check(Bug::None).await, Vec::<&str>::new());
    }

    #[tokio::test]
    async fn each_check_catches_its_twin() {
        for bug in [Bug::ForgetsHoldings, Bug::MixesSources] {
            assert_eq!(check(bug).await[0], "visible_once_durable");
        }
        assert_eq!(check(Bug::ForgetsProgress).await, ["visible_once_durable", "replace_is_atomic"]);
        assert!(check(Bug::ShowsIncomplete).await.contains(&"nothing_before_complete"));
        assert_eq!(check(Bug::KeepsAborted).await, ["abort_leaves_nothing", "replace_is_atomic"]);
        assert_eq!(check(Bug::PublishesAtClose).await, ["close_leaves_nothing"]);
        assert_eq!(check(Bug::PublishesAtDrop).await, ["drop_leaves_nothing"]);
        assert!(check(Bug::MixesTables).await.contains(&"interleaved_tables_stay_apart"));
        assert_eq!(check(Bug::ReplaceAppends).await, ["replace_is_atomic"]);
        assert_eq!(check(Bug::ReplaceHidesOld).await, ["replace_is_atomic"]);
        assert_eq!(check(Bug::CommitNeedsTheTask).await, ["commits_go_on_beside_writes"]);
        for bug in [Bug::ForgetsWhoClaimed, Bug::KeepsClaims] {
            assert_eq!(check(bug).await, ["a_free_table_is_granted"]);
        }
    }
}
