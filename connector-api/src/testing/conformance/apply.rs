//! Checks for sinks that follow a log. Each uses a table name of its own, so that one store serves them all.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{Violation, ensure, failed, within};
use crate::testing::followed::{Change, deliver};
use crate::testing::memory::Pair;
use crate::testing::pair_schema;
use crate::{
    Applied, ApplyHandle, ApplyTask, LogEvent, Marks, Result as ApiResult, Sink, TableId, TableSchema, TaskContext,
};

/// What the suite needs of a sink: an empty store, and a reader of it that is not the sink itself.
#[async_trait]
pub trait ApplyFixture: Send + Sync {
    /// A sink over the fixture's store; called anew for each reopening.
    fn sink(&self) -> Box<dyn Sink>;

    /// What a reader sees of a table now: the values of its columns `id` and `v` in any order; `None` if there is no
    /// such table.
    async fn pairs(&self, table: &TableId) -> ApiResult<Option<Vec<Pair>>>;

    /// How long a commit may take before it counts as hung.
    fn patience(&self) -> Duration {
        Duration::from_secs(60)
    }
}

/// Runs every check for sinks that follow a log and returns what they found.
pub async fn apply(fixture: &dyn ApplyFixture) -> Vec<Violation> {
    let found = [
        changes_are_there_once_durable(fixture).await,
        what_was_not_durable_is_applied_once(fixture).await,
        opening_again_voids_what_is_not_durable(fixture).await,
        changes_out_of_line_fail_their_table_alone(fixture).await,
        checkpoints_go_on_beside_changes(fixture).await,
    ];
    found.into_iter().filter_map(Result::err).collect()
}

/// After a checkpoint a reader sees the last row of each key (of a table without one, each row as often as it was put),
/// the sink stands where the changes reach, and the checkpoint says both; a table without changes is left alone.
///
/// # Errors
/// The violation found.
pub async fn changes_are_there_once_durable(fixture: &dyn ApplyFixture) -> Result<(), Violation> {
    let run = Run::new("changes_are_there_once_durable", fixture);
    for has_key in [true, false] {
        let suffix = if has_key { "key" } else { "no_key" };
        let mut table = Table::new(&format!("applied_{suffix}"), has_key, some_changes(has_key));
        let mut task = run.open_task().await?;
        run.open(&mut task, &mut table).await?;
        run.send(&mut task, &mut table, 4).await?;
        run.commit(&mut task, &[&table]).await?;
        run.expect(&table, "after its first checkpoint").await?;
        run.send(&mut task, &mut table, 99).await?;
        run.commit(&mut task, &[&table]).await?;
        run.expect(&table, "after its second checkpoint").await?;
        let idle = run.finish(task.checkpoint()).await?;
        ensure(idle.durable.is_empty() && idle.failed.is_empty(), run.check, || {
            format!("a checkpoint with nothing to do reports {idle:?}")
        })?;
        run.close(task).await?;
        run.expect(&table, "after it was closed").await?;
    }
    Ok(())
}

/// What a task that was dropped or closed has not made durable comes again, from where the sink says that it stands:
/// every change counts once.
///
/// # Errors
/// The violation found.
pub async fn what_was_not_durable_is_applied_once(fixture: &dyn ApplyFixture) -> Result<(), Violation> {
    let run = Run::new("what_was_not_durable_is_applied_once", fixture);
    let mut table = Table::new("applied_again", false, some_rows(false));
    for closes in [false, true] {
        let mut task = run.open_task().await?;
        run.open(&mut task, &mut table).await?;
        run.send(&mut task, &mut table, 2).await?;
        run.commit(&mut task, &[&table]).await?;
        run.send(&mut task, &mut table, 2).await?;
        if closes { run.close(task).await? } else { drop(task) }
    }
    let mut task = run.open_task().await?;
    run.open(&mut task, &mut table).await?;
    run.send(&mut task, &mut table, 99).await?;
    run.commit(&mut task, &[&table]).await?;
    run.close(task).await?;
    run.expect(&table, "after tasks that did not finish").await
}

/// A table that is opened again within a task goes on where it stands; what came before and is not durable is void.
///
/// # Errors
/// The violation found.
pub async fn opening_again_voids_what_is_not_durable(fixture: &dyn ApplyFixture) -> Result<(), Violation> {
    let run = Run::new("opening_again_voids_what_is_not_durable", fixture);
    let mut table = Table::new("opened_again", false, some_rows(false));
    let mut task = run.open_task().await?;
    for part in [3, 2, 99] {
        run.open(&mut task, &mut table).await?;
        run.send(&mut task, &mut table, part).await?;
        if part > 2 {
            run.commit(&mut task, &[&table]).await?;
        }
    }
    run.close(task).await?;
    run.expect(&table, "after it was opened again").await
}

/// Changes that do not begin where the table stands fail it, and what still comes of it is dropped; another table of
/// the same checkpoint is not touched by it. Opened again, it goes on.
///
/// # Errors
/// The violation found.
pub async fn changes_out_of_line_fail_their_table_alone(fixture: &dyn ApplyFixture) -> Result<(), Violation> {
    let run = Run::new("changes_out_of_line_fail_their_table_alone", fixture);
    let mut table = Table::new("out_of_line", false, some_rows(false));
    let mut other = Table::new("in_line", false, some_rows(false));
    let mut task = run.open_task().await?;
    run.open(&mut task, &mut table).await?;
    run.open(&mut task, &mut other).await?;
    run.send(&mut task, &mut table, 2).await?;
    run.commit(&mut task, &[&table]).await?;
    table.at += 1;
    run.send(&mut task, &mut other, 99).await?;
    run.send(&mut task, &mut table, 1).await?;
    run.send(&mut task, &mut table, 1).await?;
    let Applied { durable, failed } = run.finish(task.checkpoint()).await?;
    ensure(failed.iter().any(|(t, _)| t == table.id()), run.check, || "a gap did not fail its table".to_owned())?;
    ensure(durable.iter().any(|(t, _)| t == other.id()), run.check, || "a gap held up another table".to_owned())?;
    run.expect(&other, "beside a table that failed").await?;
    run.open(&mut task, &mut table).await?;
    run.send(&mut task, &mut table, 99).await?;
    run.commit(&mut task, &[&table]).await?;
    run.close(task).await?;
    run.expect(&table, "opened again after it had failed").await
}

/// The handle of a checkpoint needs nothing of the task: changes go on before it is awaited, and are not part of it
/// unless they are reported so.
///
/// # Errors
/// The violation found.
pub async fn checkpoints_go_on_beside_changes(fixture: &dyn ApplyFixture) -> Result<(), Violation> {
    let run = Run::new("checkpoints_go_on_beside_changes", fixture);
    let mut table = Table::new("applied_beside", true, some_rows(true));
    let mut task = run.open_task().await?;
    run.open(&mut task, &mut table).await?;
    run.send(&mut task, &mut table, 3).await?;
    let first = task.checkpoint();
    run.send(&mut task, &mut table, 99).await?;
    let reported = run.finish(first).await?;
    let at = reported.durable.iter().rev().find(|(t, _)| t == table.id()).and_then(|(_, marks)| table.point(marks));
    ensure(at.is_some_and(|at| at >= 3), run.check, || format!("the first checkpoint reports {reported:?}"))?;
    run.commit(&mut task, &[&table]).await?;
    run.close(task).await?;
    run.expect(&table, "after two checkpoints").await
}

fn some_changes(has_key: bool) -> Vec<Change> {
    let gone = if has_key { Change::Delete(1, 0) } else { Change::Delete(1, 10) };
    vec![
        Change::Put(1, 10),
        Change::Put(2, 20),
        Change::Put(2, 21),
        gone,
        Change::Put(3, 30),
        Change::Put(2, 20),
        Change::Truncate,
        Change::Put(4, 40),
        Change::Put(4, 40),
        Change::Put(1, 11),
    ]
}

/// The same without the truncation, which would hide what was doubled before it.
fn some_rows(has_key: bool) -> Vec<Change> {
    some_changes(has_key).into_iter().filter(|change| *change != Change::Truncate).collect()
}

/// A table of the suite, and its log.
struct Table {
    schema: Arc<TableSchema>,
    changes: Vec<Change>,
    /// How many are delivered.
    at: usize,
}

impl Table {
    fn new(name: &str, has_key: bool, changes: Vec<Change>) -> Self {
        Self { schema: pair_schema(&TableId::new("conformance", name), has_key), changes, at: 0 }
    }

    fn id(&self) -> &TableId {
        self.schema.table()
    }

    /// The number of changes that marks speak of.
    fn point(&self, marks: &Marks) -> Option<usize> {
        marks.values().next()?.parse().ok()
    }

    /// What a reader sees after all that is delivered.
    fn rows(&self) -> Vec<Pair> {
        let has_key = !self.schema.key().is_empty();
        let mut rows: Vec<Pair> = Vec::new();
        for change in &self.changes[..self.at] {
            match change {
                Change::Put(id, v) => {
                    rows.retain(|row| !has_key || row.0 != *id);
                    rows.push((*id, Some(*v)));
                }
                Change::Delete(id, v) => {
                    let row = rows.iter().position(|row| row.0 == *id && (has_key || row.1 == Some(*v)));
                    row.map(|at| rows.remove(at));
                }
                Change::Truncate => rows.clear(),
                Change::Bad => {}
            }
        }
        rows.sort_unstable();
        rows
    }
}

/// One check at work.
struct Run<'a> {
    check: &'static str,
    fixture: &'a dyn ApplyFixture,
}

impl<'a> Run<'a> {
    fn new(check: &'static str, fixture: &'a dyn ApplyFixture) -> Self {
        Self { check, fixture }
    }

    async fn open_task(&self) -> Result<Box<dyn ApplyTask>, Violation> {
        let context = TaskContext::new("conformance", 0, 64 << 20);
        self.fixture.sink().apply(context).await.map_err(failed(self.check, "apply"))
    }

    /// Opens a table where the sink says that it stands, as a log does.
    async fn open(&self, task: &mut Box<dyn ApplyTask>, table: &mut Table) -> Result<(), Violation> {
        let standing = self.fixture.sink().standing(table.id()).await.map_err(failed(self.check, "standing"))?;
        table.at = standing.as_ref().and_then(|s| table.point(&s.marks)).unwrap_or(0);
        let (schema, source) = (Arc::clone(&table.schema), "conformance".into());
        let open = LogEvent::Open { schema, source, create: standing.is_none() };
        task.apply(open).await.map_err(failed(self.check, "opening a table"))
    }

    /// Sends the next changes, two at a time.
    async fn send(&self, task: &mut Box<dyn ApplyTask>, table: &mut Table, count: usize) -> Result<(), Violation> {
        let upto = table.changes.len().min(table.at + count);
        while table.at < upto {
            let most = (upto - table.at).min(2);
            let event = deliver(&table.schema, 0, &table.changes[table.at..], &mut table.at, most);
            let event = event.map_err(failed(self.check, "building an event"))?;
            task.apply(event).await.map_err(failed(self.check, "applying"))?;
        }
        Ok(())
    }

    async fn finish(&self, handle: ApplyHandle) -> Result<Applied, Violation> {
        match within(self.fixture.patience(), handle).await {
            Some(applied) => applied.map_err(failed(self.check, "the checkpoint")),
            None => Err(Violation::new(self.check, "the handle does not resolve while the task stands still")),
        }
    }

    /// Takes a checkpoint; the sink must then stand where these tables are, and none must have failed.
    async fn commit(&self, task: &mut Box<dyn ApplyTask>, tables: &[&Table]) -> Result<(), Violation> {
        let applied = self.finish(task.checkpoint()).await?;
        if let Some((table, error)) = applied.failed.first() {
            return Err(Violation::new(self.check, format!("{table} failed: {error:#}")));
        }
        for table in tables {
            let told = applied.durable.iter().rev().find(|(t, _)| t == table.id());
            let told = told.and_then(|(_, marks)| table.point(marks));
            let standing = self.fixture.sink().standing(table.id()).await.map_err(failed(self.check, "standing"))?;
            let stands = standing.and_then(|s| table.point(&s.marks));
            ensure(told == Some(table.at) && stands == told, self.check, || {
                format!("{} is at {}; the checkpoint says {told:?}, its standing {stands:?}", table.id(), table.at)
            })?;
        }
        Ok(())
    }

    async fn close(&self, task: Box<dyn ApplyTask>) -> Result<(), Violation> {
        task.close().await.map_err(failed(self.check, "close"))
    }

    async fn expect(&self, table: &Table, when: &str) -> Result<(), Violation> {
        let seen = self.fixture.pairs(table.id()).await.map_err(failed(self.check, "reading"))?;
        let seen = seen.map(|mut rows| {
            rows.sort_unstable();
            rows
        });
        ensure(seen.as_deref() == Some(&*table.rows()), self.check, || {
            format!("{} shows {seen:?} {when}, not {:?}", table.id(), table.rows())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::testing::memory::MemorySink;
    use crate::{Error, LogBatch, LogSpan, Progress, SinkTask, Standing};

    /// One way to be wrong.
    #[derive(Clone, Copy, PartialEq)]
    enum Bug {
        None,
        ForgetsWhereItStands,
        LosesRows,
        KeepsWhatIsVoid,
        TakesAnything,
        FailsAll,
        NeedsTheTask,
    }

    #[derive(Clone)]
    struct Broken(MemorySink, Bug);

    #[async_trait]
    impl ApplyFixture for Broken {
        fn sink(&self) -> Box<dyn Sink> {
            Box::new(self.clone())
        }

        async fn pairs(&self, table: &TableId) -> ApiResult<Option<Vec<Pair>>> {
            Ok(self.0.pairs(table))
        }

        fn patience(&self) -> Duration {
            Duration::from_millis(50)
        }
    }

    #[async_trait]
    impl Sink for Broken {
        async fn progress(&self, tables: &[TableId]) -> ApiResult<Progress> {
            self.0.progress(tables).await
        }

        async fn holdings(&self, source: &str) -> ApiResult<Progress> {
            self.0.holdings(source).await
        }

        async fn open(&self, context: TaskContext) -> ApiResult<Box<dyn SinkTask>> {
            self.0.open(context).await
        }

        async fn standing(&self, table: &TableId) -> ApiResult<Option<Standing>> {
            let standing = self.0.standing(table).await?;
            Ok(standing.filter(|_| self.1 != Bug::ForgetsWhereItStands))
        }

        async fn apply(&self, context: TaskContext) -> ApiResult<Box<dyn ApplyTask>> {
            let inner = self.0.apply(context).await?;
            Ok(Box::new(BrokenTask { inner, bug: self.1, reached: BTreeMap::new(), moved: false }))
        }
    }

    struct BrokenTask {
        inner: Box<dyn ApplyTask>,
        bug: Bug,
        reached: BTreeMap<TableId, Option<Arc<str>>>,
        moved: bool,
    }

    impl BrokenTask {
        fn following(&mut self, table: &TableId, span: &LogSpan) -> LogSpan {
            let after = self.reached.insert(table.clone(), Some(Arc::clone(&span.upto))).flatten();
            LogSpan { after: after.or(span.after.clone()), ..span.clone() }
        }
    }

    #[async_trait]
    impl ApplyTask for BrokenTask {
        async fn apply(&mut self, event: LogEvent) -> ApiResult<()> {
            self.moved = true;
            let event = match (event, self.bug) {
                (LogEvent::Open { schema, .. }, Bug::KeepsWhatIsVoid) if self.reached.contains_key(schema.table()) => {
                    return Ok(());
                }
                (event @ LogEvent::Open { .. }, _) => {
                    self.reached.insert(event.table().clone(), None);
                    event
                }
                (LogEvent::Changes(batch), Bug::LosesRows) => {
                    let (schema, none) = (Arc::clone(batch.schema()), batch.rows().slice(0, 0));
                    LogEvent::Changes(LogBatch::new(schema, batch.span().clone(), none, vec![])?)
                }
                // Whatever comes is said to follow on what there is.
                (LogEvent::Changes(batch), Bug::TakesAnything | Bug::KeepsWhatIsVoid) => {
                    let span = self.following(batch.table(), batch.span());
                    let (schema, rows, ops) = (Arc::clone(batch.schema()), batch.rows().clone(), batch.ops().to_vec());
                    LogEvent::Changes(LogBatch::new(schema, span, rows, ops)?)
                }
                (LogEvent::Truncate(table, span), Bug::TakesAnything | Bug::KeepsWhatIsVoid) => {
                    let span = self.following(&table, &span);
                    LogEvent::Truncate(table, span)
                }
                (event, _) => event,
            };
            self.inner.apply(event).await
        }

        fn due(&self, since: Duration) -> bool {
            self.inner.due(since)
        }

        fn checkpoint(&mut self) -> ApplyHandle {
            let (handle, bug) = (self.inner.checkpoint(), self.bug);
            let hangs = bug == Bug::NeedsTheTask && !std::mem::take(&mut self.moved);
            Box::pin(async move {
                if hangs {
                    std::future::pending::<()>().await;
                }
                let applied = handle.await?;
                match applied.failed.is_empty() || bug != Bug::FailsAll {
                    true => Ok(applied),
                    false => Err(Error::retriable("one table failed")),
                }
            })
        }

        async fn close(self: Box<Self>) -> ApiResult<()> {
            self.inner.close().await
        }
    }

    async fn check(bug: Bug) -> Vec<&'static str> {
        apply(&Broken(MemorySink::default(), bug)).await.into_iter().map(|v| v.check).collect()
    }

    #[tokio::test]
    async fn a_correct_sink_passes() {
        assert_eq!(check(Bug::None).await, Vec::<&str>::new());
    }

    #[tokio::test]
    async fn each_check_catches_its_twin() {
        let forgets = check(Bug::ForgetsWhereItStands).await;
        assert!(forgets.contains(&"what_was_not_durable_is_applied_once"), "{forgets:?}");
        let loses = check(Bug::LosesRows).await;
        assert!(loses.contains(&"changes_are_there_once_durable"), "{loses:?}");
        let keeps = check(Bug::KeepsWhatIsVoid).await;
        assert!(keeps.contains(&"opening_again_voids_what_is_not_durable"), "{keeps:?}");
        for bug in [Bug::TakesAnything, Bug::FailsAll] {
            assert_eq!(check(bug).await, ["changes_out_of_line_fail_their_table_alone"]);
        }
        assert!(check(Bug::NeedsTheTask).await.contains(&"changes_are_there_once_durable"));
    }
}
