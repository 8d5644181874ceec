//! A source and a sink that wrap another and misbehave at a chosen call: the n-th call of a method fails,
//! panics or waits. A script is data; what it did can be read afterwards.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use super::memory::lock;
use crate::{
    CancellationToken, ChangeBatch, Claims, CommitHandle, Error, ErrorKind, Event, Plan, Position, Progress, Result,
    Selection, Sink, SinkTask, Source, SourceTask, Split, TableId, TaskContext,
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
