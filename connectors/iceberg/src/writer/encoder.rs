//! A data writer on its own thread, behind a bounded channel. Rows of many bytes do not wait in it: whoever
//! hands them over waits until they are encoded, so that no more such rows come near meanwhile.
//!
//! What must hold: an encoder that is dropped unfinished, or whose result nobody takes, leaves no file.

use arrow_array::RecordBatch;
use connector_api::{Error, Result, failpoint};
use iceberg::spec::DataFile;
use tokio::sync::{mpsc, oneshot};

use super::{DataWriter, Shape, Target};

/// Batches that wait for the thread.
const WAITING: usize = 1;

/// Rows of so many bytes are waited for.
const LARGE: usize = 16 << 20;

enum Message {
    Rows(RecordBatch),
    /// Rows of many bytes, and who hears when they are encoded.
    Large(RecordBatch, oneshot::Sender<()>),
    Finish,
}

/// The handle to a writer's thread.
pub(crate) struct Encoder {
    messages: mpsc::Sender<Message>,
    /// None once it is taken.
    outcome: Option<oneshot::Receiver<Result<Vec<DataFile>>>>,
}

impl Encoder {
    /// Starts a thread.
    pub(crate) fn start(shape: Shape, target: Target) -> Result<Self> {
        let (messages, inbox) = mpsc::channel(WAITING);
        let (report, outcome) = oneshot::channel();
        std::thread::Builder::new()
            .name("iceberg-encode".into())
            .spawn(move || run(shape, target, inbox, report))
            .map_err(|e| Error::retriable("cannot start a thread").caused_by(e))?;
        Ok(Self { messages, outcome: Some(outcome) })
    }

    /// Hands over rows that hold so many bytes; waits while the thread is behind. An error is the thread's own.
    pub(crate) async fn write(&mut self, rows: RecordBatch, bytes: usize) -> Result<()> {
        let (message, encoded) = if bytes < LARGE {
            (Message::Rows(rows), None)
        } else {
            let (done, encoded) = oneshot::channel();
            (Message::Large(rows, done), Some(encoded))
        };
        if self.messages.send(message).await.is_err() {
            return Err(self.failure().await);
        }
        if let Some(encoded) = encoded {
            // A thread that has failed says so at the next call.
            let _ = encoded.await;
        }
        Ok(())
    }

    /// Closes the files and gives them.
    pub(crate) async fn finish(mut self) -> Result<Vec<DataFile>> {
        if self.messages.send(Message::Finish).await.is_err() {
            return Err(self.failure().await);
        }
        self.outcome().await
    }

    /// Gives up, and waits until the files are deleted.
    pub(crate) async fn discard(self) {
        let Self { messages, outcome } = self;
        drop(messages);
        if let Some(outcome) = outcome {
            // The thread reports a failure, or ends without a word: either way its files are gone.
            let _ = outcome.await;
        }
    }

    async fn failure(&mut self) -> Error {
        self.outcome().await.err().unwrap_or_else(vanished)
    }

    async fn outcome(&mut self) -> Result<Vec<DataFile>> {
        match self.outcome.take() {
            Some(outcome) => outcome.await.unwrap_or_else(|_| Err(vanished())),
            None => Err(vanished()),
        }
    }
}

fn vanished() -> Error {
    Error::fatal("the thread that writes a data file has gone")
}

fn run(
    shape: Shape,
    target: Target,
    mut inbox: mpsc::Receiver<Message>,
    report: oneshot::Sender<Result<Vec<DataFile>>>,
) {
    let mut writer = match DataWriter::new(shape, target.clone()) {
        Ok(writer) => writer,
        // Whoever would hear it may have gone.
        Err(e) => return drop(report.send(Err(e))),
    };
    let outcome = loop {
        let (rows, encoded) = match inbox.blocking_recv() {
            Some(Message::Rows(rows)) => (rows, None),
            Some(Message::Large(rows, encoded)) => (rows, Some(encoded)),
            Some(Message::Finish) => break writer.finish(),
            None => return writer.discard(),
        };
        let written = failpoint::hit("iceberg.encode").and_then(|()| writer.write(&rows));
        // The rows go before anyone learns that they are encoded.
        drop(rows);
        drop(encoded);
        if let Err(e) = written {
            writer.discard();
            break Err(e);
        }
    };
    // The batches still waiting go before anyone learns of the end.
    drop(inbox);
    if let Err(Ok(files)) = report.send(outcome) {
        super::delete(&target, &files.iter().map(|f| f.file_path().to_owned()).collect::<Vec<_>>());
    }
}
