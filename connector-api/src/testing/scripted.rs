//! A source, a log and a sink that wrap another and misbehave at a chosen call: the n-th call of a method fails,
//! panics or waits. A script is data; what it did can be read afterwards.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use super::memory::lock;
use crate::{
    ApplyHandle, ApplyTask, CancellationToken, ChangeBatch, ChangeLog, Claims, CommitHandle, Deal, Error, ErrorKind,
    Event, HandOver, LogEvent, LogTask, Marks, Plan, Position, Progress, Result, Selection, Sink, SinkTask, Source,
    SourceTask, Split, Standing, TableId, TaskContext,
};

/// A method of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `Source::tables`.
    Tables,
    /// `Source::plan`.
    Plan,
    /// `Source::open`.
    Open,
    /// `SourceTask::next`.
    Next,
    /// `SourceTask::close`.
    CloseSource,
    /// `HandOver::hand_over`.
    HandOver,
    /// `Sink::progress`.
    Progress,
    /// `Sink::open`.
    OpenSink,
    /// `SinkTask::claim`.
    Claim,
    /// `SinkTask::write`.
    Write,
    /// The handle that `SinkTask::checkpoint` gave, when it is awaited.
    Commit,
    /// `SinkTask::close`.
    CloseSink,
    /// `ChangeLog::ends`.
    Ends,
    /// `ChangeLog::follow`.
    Follow,
    /// `LogTask::next`.
    NextEvent,
    /// `LogTask::reopen`.
    Reopen,
    /// `LogTask::stop`; it can only panic or wait.
    Stop,
    /// `LogTask::acknowledge`; likewise.
    Acknowledge,
    /// `LogTask::close`.
    CloseLog,
    /// `Sink::standing`.
    Standing,
    /// `Sink::apply`.
    OpenApply,
    /// `ApplyTask::apply`.
    Apply,
    /// The handle that `ApplyTask::checkpoint` gave, when it is awaited.
    CommitApplied,
    /// `ApplyTask::close`.
    CloseApply,
}

/// What a call does instead of, or before, what it should.
#[derive(Clone, Debug)]
pub enum Act {
    /// It fails with an error of this kind.
    Fail(ErrorKind),
    /// It fails with the word that the cut is lost.
    LoseCut,
    /// It panics.
    Panic,
    /// It waits until the token is cancelled, then goes on. A token that nobody cancels is a hang.
    Wait(CancellationToken),
}

#[derive(Debug)]
struct Rule {
    call: Call,
    table: Option<TableId>,
    nth: u64,
    act: Act,
    seen: u64,
}

/// When to misbehave. Clones share their counts.
#[derive(Clone, Debug, Default)]
pub struct Script(Arc<Mutex<Vec<Rule>>>);

impl Script {
    /// Acts at the `nth` (from 1) such call.
    #[must_use]
    pub fn on(self, call: Call, nth: u64, act: Act) -> Self {
        self.rule(call, None, nth, act)
    }

    /// Acts at the `nth` (from 1) such call that concerns this table.
    #[must_use]
    pub fn on_table(self, table: &TableId, call: Call, nth: u64, act: Act) -> Self {
        self.rule(call, Some(table.clone()), nth, act)
    }

    /// How many calls the first rule for this method has seen.
    pub fn seen(&self, call: Call) -> u64 {
        lock(&self.0).iter().find(|r| r.call == call).map_or(0, |r| r.seen)
    }

    fn rule(self, call: Call, table: Option<TableId>, nth: u64, act: Act) -> Self {
        lock(&self.0).push(Rule { call, table, nth, act, seen: 0 });
        self
    }

    async fn step(&self, call: Call, table: Option<&TableId>) -> Result<()> {
        let mut due = Vec::new();
        for rule in lock(&self.0).iter_mut() {
            if rule.call == call && (rule.table.is_none() || rule.table.as_ref() == table) {
                rule.seen += 1;
                if rule.seen == rule.nth {
                    due.push(rule.act.clone());
                }
            }
        }
        for act in due {
            self.act(call, act).await?;
        }
        Ok(())
    }

    #[expect(clippy::panic, reason = "to panic is what the script was asked for")]
    async fn act(&self, call: Call, act: Act) -> Result<()> {
        match act {
            Act::Fail(kind) => Err(Error::new(kind, "scripted failure").with("call", format!("{call:?}"))),
            Act::LoseCut => Err(Error::cut_lost("scripted loss of the cut").with("call", format!("{call:?}"))),
            Act::Panic => panic!("scripted panic in {call:?}"),
            Act::Wait(until) => {
                until.cancelled().await;
                Ok(())
            }
        }
    }
}

/// A source that follows a script.
pub struct ScriptedSource<S> {
    inner: S,
    script: Script,
}

impl<S: Source> ScriptedSource<S> {
    /// Wraps a source.
    pub fn new(inner: S, script: &Script) -> Self {
        Self { inner, script: script.clone() }
    }
}

#[async_trait]
impl<S: Source> Source for ScriptedSource<S> {
    async fn tables(&self) -> Result<Selection> {
        self.script.step(Call::Tables, None).await?;
        self.inner.tables().await
    }

    async fn plan(&self, done: &Progress) -> Result<Plan> {
        self.script.step(Call::Plan, None).await?;
        self.inner.plan(done).await
    }

    async fn open(&self, split: &Split, after: Position, context: TaskContext) -> Result<Box<dyn SourceTask>> {
        self.script.step(Call::Open, Some(&split.table)).await?;
        let inner = self.inner.open(split, after, context).await?;
        Ok(Box::new(ScriptedSourceTask { inner, table: split.table.clone(), script: self.script.clone() }))
    }

    fn hand_over(&self) -> Option<&dyn HandOver> {
        self.inner.hand_over().map(|_| self as _)
    }
}

#[async_trait]
impl<S: Source> HandOver for ScriptedSource<S> {
    async fn hand_over(&self, source: &str, held: &Progress) -> Result<()> {
        self.script.step(Call::HandOver, None).await?;
        match self.inner.hand_over() {
            Some(inner) => inner.hand_over(source, held).await,
            None => Ok(()),
        }
    }
}

struct ScriptedSourceTask {
    inner: Box<dyn SourceTask>,
    table: TableId,
    script: Script,
}

#[async_trait]
impl SourceTask for ScriptedSourceTask {
    async fn next(&mut self) -> Result<Option<ChangeBatch>> {
        self.script.step(Call::Next, Some(&self.table)).await?;
        self.inner.next().await
    }

    async fn close(self: Box<Self>) -> Result<()> {
        self.script.step(Call::CloseSource, Some(&self.table)).await?;
        self.inner.close().await
    }
}

/// A sink that follows a script.
pub struct ScriptedSink<S> {
    inner: S,
    script: Script,
}

impl<S: Sink> ScriptedSink<S> {
    /// Wraps a sink.
    pub fn new(inner: S, script: &Script) -> Self {
        Self { inner, script: script.clone() }
    }
}

#[async_trait]
impl<S: Sink> Sink for ScriptedSink<S> {
    async fn progress(&self, tables: &[TableId]) -> Result<Progress> {
        self.script.step(Call::Progress, None).await?;
        self.inner.progress(tables).await
    }

    async fn holdings(&self, source: &str) -> Result<Progress> {
        self.inner.holdings(source).await
    }

    async fn open(&self, context: TaskContext) -> Result<Box<dyn SinkTask>> {
        self.script.step(Call::OpenSink, None).await?;
        let inner = self.inner.open(context).await?;
        Ok(Box::new(ScriptedSinkTask { inner, script: self.script.clone() }))
    }

    async fn standing(&self, table: &TableId) -> Result<Option<Standing>> {
        self.script.step(Call::Standing, Some(table)).await?;
        self.inner.standing(table).await
    }

    async fn apply(&self, context: TaskContext) -> Result<Box<dyn ApplyTask>> {
        self.script.step(Call::OpenApply, None).await?;
        let inner = self.inner.apply(context).await?;
        Ok(Box::new(ScriptedApplyTask { inner, script: self.script.clone() }))
    }
}

struct ScriptedSinkTask {
    inner: Box<dyn SinkTask>,
    script: Script,
}

#[async_trait]
impl SinkTask for ScriptedSinkTask {
    async fn claim(&mut self, source: &str, tables: &[TableId]) -> Result<Claims> {
        self.script.step(Call::Claim, None).await?;
        self.inner.claim(source, tables).await
    }

    async fn write(&mut self, event: Event) -> Result<()> {
        self.script.step(Call::Write, Some(event.table())).await?;
        self.inner.write(event).await
    }

    fn checkpoint(&mut self) -> CommitHandle {
        let (script, inner) = (self.script.clone(), self.inner.checkpoint());
        Box::pin(async move {
            script.step(Call::Commit, None).await?;
            inner.await
        })
    }

    async fn close(self: Box<Self>) -> Result<()> {
        self.script.step(Call::CloseSink, None).await?;
        self.inner.close().await
    }
}

struct ScriptedApplyTask {
    inner: Box<dyn ApplyTask>,
    script: Script,
}

#[async_trait]
impl ApplyTask for ScriptedApplyTask {
    async fn apply(&mut self, event: LogEvent) -> Result<()> {
        self.script.step(Call::Apply, Some(event.table())).await?;
        self.inner.apply(event).await
    }

    fn due(&self, since: Duration) -> bool {
        self.inner.due(since)
    }

    fn checkpoint(&mut self) -> ApplyHandle {
        let (script, inner) = (self.script.clone(), self.inner.checkpoint());
        Box::pin(async move {
            script.step(Call::CommitApplied, None).await?;
            inner.await
        })
    }

    async fn close(self: Box<Self>) -> Result<()> {
        self.script.step(Call::CloseApply, None).await?;
        self.inner.close().await
    }
}

/// A log that follows a script.
pub struct ScriptedLog<L> {
    inner: L,
    script: Script,
}

impl<L: ChangeLog> ScriptedLog<L> {
    /// Wraps a log.
    pub fn new(inner: L, script: &Script) -> Self {
        Self { inner, script: script.clone() }
    }
}

#[async_trait]
impl<L: ChangeLog> ChangeLog for ScriptedLog<L> {
    async fn ends(&self, tables: &[TableId]) -> Result<BTreeMap<TableId, Marks>> {
        self.script.step(Call::Ends, None).await?;
        self.inner.ends(tables).await
    }

    async fn follow(&self, sink: Arc<dyn Sink>, deal: Deal, context: TaskContext) -> Result<Box<dyn LogTask>> {
        self.script.step(Call::Follow, None).await?;
        let inner = self.inner.follow(sink, deal, context).await?;
        Ok(Box::new(ScriptedLogTask { inner, script: self.script.clone(), held: None }))
    }
}

struct ScriptedLogTask {
    inner: Box<dyn LogTask>,
    script: Script,
    /// What was taken from the log by a call that was dropped before it gave it away.
    held: Option<LogEvent>,
}

#[async_trait]
impl LogTask for ScriptedLogTask {
    async fn next(&mut self) -> Result<LogEvent> {
        let event = match self.held.take() {
            Some(event) => event,
            None => self.inner.next().await?,
        };
        let table = event.table().clone();
        self.held = Some(event);
        self.script.step(Call::NextEvent, Some(&table)).await?;
        self.held.take().ok_or_else(|| Error::fatal("no event"))
    }

    async fn reopen(&mut self, table: &TableId) -> Result<()> {
        self.held.take_if(|event| event.table() == table);
        self.script.step(Call::Reopen, Some(table)).await?;
        self.inner.reopen(table).await
    }

    async fn stop(&mut self, table: &TableId) {
        self.held.take_if(|event| event.table() == table);
        // It cannot fail.
        let _ = self.script.step(Call::Stop, Some(table)).await;
        self.inner.stop(table).await;
    }

    async fn acknowledge(&mut self, table: &TableId, marks: &Marks) {
        // It cannot fail.
        let _ = self.script.step(Call::Acknowledge, Some(table)).await;
        self.inner.acknowledge(table, marks).await;
    }

    async fn close(self: Box<Self>) -> Result<()> {
        self.script.step(Call::CloseLog, None).await?;
        self.inner.close().await
    }
}
