//! The runtime's side of the reader's thread.

use std::collections::HashMap;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::thread::JoinHandle;

use async_trait::async_trait;
use connector_api::{Error, LogEvent, LogTask, Marks, Result, TableId};

use crate::queue::Outlet;
use crate::reader::Command;

/// The task.
pub(crate) struct KafkaTask {
    events: Outlet,
    commands: SyncSender<Command>,
    /// Commands that the reader had no room for.
    waiting: Vec<Command>,
    /// How often each table was begun anew or stopped: what is older is void.
    generations: HashMap<TableId, u64>,
    reader: Option<JoinHandle<()>>,
}

impl KafkaTask {
    pub(crate) fn new(events: Outlet, commands: SyncSender<Command>, reader: JoinHandle<()>) -> Self {
        let (waiting, generations) = (Vec::new(), HashMap::new());
        Self { events, commands, waiting, generations, reader: Some(reader) }
    }

    fn tell(&mut self, command: Command) {
        self.waiting.push(command);
        self.retry();
    }

    /// Sends what waits, in order. A reader that has gone says why with its last event.
    fn retry(&mut self) {
        let mut waiting = std::mem::take(&mut self.waiting).into_iter();
        for command in waiting.by_ref() {
            if let Err(TrySendError::Full(command)) = self.commands.try_send(command) {
                self.waiting.push(command);
                break;
            }
        }
        self.waiting.extend(waiting);
    }

    fn renew(&mut self, table: &TableId) -> u64 {
        let generation = self.generations.entry(table.clone()).or_default();
        *generation += 1;
        *generation
    }
}

#[async_trait]
impl LogTask for KafkaTask {
    async fn next(&mut self) -> Result<LogEvent> {
        loop {
            self.retry();
            let Some(item) = self.events.next().await else {
                return Err(Error::fatal("the thread that reads from Kafka has gone"));
            };
            let event = item.event?;
            if self.generations.get(event.table()).copied().unwrap_or(0) == item.generation {
                return Ok(event);
            }
        }
    }

    async fn reopen(&mut self, table: &TableId) -> Result<()> {
        let generation = self.renew(table);
        self.tell(Command::Reopen(table.clone(), generation));
        Ok(())
    }

    async fn stop(&mut self, table: &TableId) {
        self.renew(table);
        self.tell(Command::Stop(table.clone()));
    }

    async fn acknowledge(&mut self, table: &TableId, marks: &Marks) {
        self.tell(Command::Durable(table.clone(), marks.clone()));
    }

    async fn close(mut self: Box<Self>) -> Result<()> {
        self.events.close();
        let Some(reader) = self.reader.take() else { return Ok(()) };
        match tokio::task::spawn_blocking(move || reader.join()).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Error::fatal("the thread that read from Kafka did not end well")),
        }
    }
}
