//! Reads one file: a batch per call, bounded in rows and bytes.
//!
//! `next` has no await in it, so a call that is dropped has taken nothing. It reads local files, a batch in
//! milliseconds; a driver that waits longer belongs on a thread of its own.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Take};
use std::sync::Arc;

use async_trait::async_trait;
use connector_api::{ChangeBatch, Error, Position, Result, SourceTask, Span, SplitId, TableSchema};

use crate::rows::Rows;
use crate::source::{File, unreadable};

/// What a batch, and a line, may hold.
pub(crate) struct Limits {
    pub(crate) rows: usize,
    pub(crate) bytes: usize,
    pub(crate) line: usize,
}

pub(crate) struct JsonLinesTask {
    split: SplitId,
    schema: Arc<TableSchema>,
    file: File,
    reader: BufReader<Take<fs::File>>,
    limits: Limits,
    at: Position,
    line: Vec<u8>,
}

impl JsonLinesTask {
    /// Opens the file `after` so many rows.
    pub(crate) fn open(
        split: SplitId,
        schema: Arc<TableSchema>,
        file: File,
        after: Position,
        limits: Limits,
    ) -> Result<Self> {
        file.check_unchanged()?;
        let opened = fs::File::open(&file.path).map_err(|error| unreadable(&file.path, error))?;
        let reader = BufReader::new(opened.take(file.bytes));
        let mut task = Self { split, schema, file, reader, limits, at: Position::Start, line: Vec::new() };
        match after {
            Position::Start => {}
            Position::At(rows) => {
                while task.row() < rows {
                    task.read_line()?;
                    task.at = Position::At(task.row() + 1);
                }
            }
            Position::End => task.at = Position::End,
        }
        Ok(task)
    }

    /// Rows before this one: a line is a row.
    fn row(&self) -> u64 {
        if let Position::At(rows) = self.at { rows } else { 0 }
    }

    fn is_at_end(&mut self) -> Result<bool> {
        let rest = self.reader.fill_buf().map_err(|error| unreadable(&self.file.path, error))?;
        Ok(rest.is_empty())
    }

    /// Reads the next line, without its end, into `line`.
    fn read_line(&mut self) -> Result<()> {
        self.line.clear();
        let most = self.limits.line as u64 + 1;
        let read = self.reader.by_ref().take(most).read_until(b'\n', &mut self.line);
        read.map_err(|error| unreadable(&self.file.path, error))?;
        if self.line.last() == Some(&b'\n') {
            self.line.pop();
        } else if self.line.len() > self.limits.line {
            return Err(Error::data("the line is longer than line.max.bytes"));
        }
        Ok(())
    }

    /// The rows of the next batch.
    fn read(&mut self, rows: &mut Rows) -> Result<()> {
        let mut bytes = 0;
        while rows.len() < self.limits.rows && bytes < self.limits.bytes && !self.is_at_end()? {
            let number = self.row() + rows.len() as u64 + 1;
            let added = self.read_line().and_then(|()| {
                let text = std::str::from_utf8(&self.line);
                rows.add(text.map_err(|error| Error::data("the line is not UTF-8").caused_by(error))?)
            });
            added.map_err(|error| error.with("file", format!("{}:{number}", self.file.path.display())))?;
            bytes += self.line.len();
        }
        Ok(())
    }
}

#[async_trait]
impl SourceTask for JsonLinesTask {
    async fn next(&mut self) -> Result<Option<ChangeBatch>> {
        if self.at == Position::End {
            return Ok(None);
        }
        let mut rows = Rows::new(&self.schema);
        if let Err(error) = self.read(&mut rows) {
            // A line that is broken because the file changes is no fault of the line.
            self.file.check_unchanged()?;
            return Err(error);
        }
        let upto = match self.is_at_end()? {
            true => Position::End,
            false => Position::At(self.row() + rows.len() as u64),
        };
        if upto == Position::End {
            // All that was read is of one moment.
            self.file.check_unchanged()?;
        }
        let span = Span { split: self.split.clone(), after: self.at, upto };
        self.at = upto;
        ChangeBatch::new(Arc::clone(&self.schema), span, rows.finish()?).map(Some)
    }

    async fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}
