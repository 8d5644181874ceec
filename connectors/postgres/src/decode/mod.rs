//! COPY's binary format → Arrow batches. Pure: bytes in, batches out; it knows no socket.
//!
//! Two passes: the first walks the rows and records where each field lies, the second is one loop per
//! column. Fields are not copied between the passes, so [`Decoder::settle`] must run before the buffer
//! moves. Any bytes are an error at worst; a message may split a row anywhere.

mod column;
mod list;
mod numeric;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::RecordBatch;
use connector_api::{Error, TableSchema};

use crate::types::{Form, Layout, Wire};
use column::{ColumnBuilder, Field, Wrong};
use list::ListBuilder;

const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";
/// Fields recorded before the second pass: they and the rows they lie in stay in the processor's cache.
const INDEX: usize = 16 * 1024;

/// When a batch is closed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Most rows.
    pub(crate) rows: usize,
    /// Bytes, as they came over the wire; a larger row is a batch of its own.
    pub(crate) bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Header,
    Rows,
    Ended,
}

/// Turns the payloads of one COPY into batches.
pub(crate) struct Decoder {
    schema: Arc<TableSchema>,
    columns: Vec<Growing>,
    /// Columns whose text can be far longer than their bytes on the wire, and how to tell.
    swelling: Vec<(usize, TextLength)>,
    limits: Limits,
    state: State,
    /// Rows still to pass over.
    skip: u64,
    /// Where the fields of the indexed rows lie, column by column.
    index: Vec<Field>,
    /// Rows that the index has room for, and has.
    room: usize,
    indexed: usize,
    /// The beginning of a row whose rest has not arrived.
    carry: Vec<u8>,
    /// What the open batch holds, index included.
    rows: usize,
    bytes: usize,
    ready: VecDeque<RecordBatch>,
}

/// Upper bound of the length of a value's text, from its bytes.
type TextLength = fn(&[u8]) -> usize;

/// A column of the open batch.
enum Growing {
    Values(ColumnBuilder),
    Lists(ListBuilder),
}

/// What lies at a place of the stream.
enum Walked {
    /// A row that ends there, of that weight in bytes.
    Row(usize, usize),
    Trailer(usize),
    Incomplete,
}

impl Decoder {
    /// A decoder of rows of these types (as many as the schema has columns) that passes over the first
    /// `skip` rows.
    pub(crate) fn new(schema: Arc<TableSchema>, forms: &[Form], limits: Limits, skip: u64) -> Self {
        let room = (INDEX / forms.len().max(1)).clamp(16, 2048);
        let columns = forms.iter().zip(schema.columns()).map(|(form, column)| match form.layout {
            Layout::Scalar => Growing::Values(ColumnBuilder::new(form.wire, form.infinite_is_null)),
            _ => Growing::Lists(ListBuilder::new(form, column.data_type())),
        });
        let swelling = forms.iter().enumerate().filter(|(_, f)| f.wire == Wire::NumericText);
        let swelling = swelling.map(|(i, form)| match form.layout {
            Layout::Scalar => (i, numeric::text_length as TextLength),
            _ => (i, list::numeric_text_length as TextLength),
        });
        Self {
            columns: columns.collect(),
            swelling: swelling.collect(),
            index: vec![Field::default(); room * forms.len()],
            room,
            schema,
            limits,
            state: State::Header,
            skip,
            indexed: 0,
            carry: Vec::new(),
            rows: 0,
            bytes: 0,
            ready: VecDeque::new(),
        }
    }

    /// Takes a payload at `payload` in `buffer`, which must stay as it is until [`settle`](Self::settle).
    pub(crate) fn push(&mut self, buffer: &[u8], payload: Range<usize>) -> Result<(), Error> {
        if u32::try_from(buffer.len()).is_err() || buffer.len() < payload.end {
            return Err(self.wrong("a buffer beyond 4 GiB"));
        }
        if !self.carry.is_empty() {
            return self.push_split(buffer, payload);
        }
        let end = payload.end;
        let reached = self.walk(buffer, payload)?;
        self.carry.extend_from_slice(&buffer[reached..end]);
        Ok(())
    }

    /// A row that lies in several messages: put together aside, and decoded there.
    fn push_split(&mut self, buffer: &[u8], payload: Range<usize>) -> Result<(), Error> {
        self.settle(buffer)?;
        let mut carry = std::mem::take(&mut self.carry);
        carry.extend_from_slice(&buffer[payload]);
        let reached = self.walk(&carry, 0..carry.len())?;
        self.settle(&carry)?;
        carry.drain(..reached);
        self.carry = carry;
        Ok(())
    }

    /// Decodes the rows recorded so far: after it, the buffer may move.
    pub(crate) fn settle(&mut self, buffer: &[u8]) -> Result<(), Error> {
        if self.indexed == 0 {
            return Ok(());
        }
        for (i, column) in self.columns.iter_mut().enumerate() {
            let fields = &self.index[i * self.room..][..self.indexed];
            let appended = match column {
                Growing::Values(column) => column.append(buffer, fields),
                Growing::Lists(column) => column.append(buffer, fields),
            };
            if let Err(what) = appended {
                return Err(self.wrong_in(i, what));
            }
        }
        self.indexed = 0;
        Ok(())
    }

    /// Whether [`take`](Self::take) gives one.
    pub(crate) fn has_batch(&self) -> bool {
        !self.ready.is_empty()
    }

    /// A batch that is full.
    pub(crate) fn take(&mut self) -> Option<RecordBatch> {
        self.ready.pop_front()
    }

    /// The last rows, at the end of the stream and after [`settle`](Self::settle).
    pub(crate) fn finish(&mut self) -> Result<(), Error> {
        if self.state != State::Ended || !self.carry.is_empty() || self.indexed > 0 {
            return Err(self.wrong("the rows end without their end mark"));
        }
        if self.skip > 0 {
            return Err(self.wrong("the split has fewer rows than were read of it before"));
        }
        self.close()
    }

    /// First pass; gives the place where the first incomplete row begins.
    fn walk(&mut self, buffer: &[u8], payload: Range<usize>) -> Result<usize, Error> {
        let (mut at, end) = (payload.start, payload.end);
        while at < end {
            match self.state {
                State::Ended => return Err(self.wrong("bytes after the end mark")),
                State::Header => match header(&buffer[at..end]).map_err(|e| self.wrong(e))? {
                    None => return Ok(at),
                    Some(length) => {
                        at += length;
                        self.state = State::Rows;
                    }
                },
                State::Rows => match self.row(buffer, at, end).map_err(|e| self.wrong(e))? {
                    Walked::Incomplete => return Ok(at),
                    Walked::Trailer(next) => {
                        at = next;
                        self.state = State::Ended;
                    }
                    Walked::Row(next, _) if self.skip > 0 => {
                        self.skip -= 1;
                        at = next;
                    }
                    Walked::Row(_, weight) if self.rows > 0 && self.bytes + weight > self.limits.bytes => {
                        // This row opens the next batch: it is walked again.
                        self.settle(buffer)?;
                        self.close()?;
                    }
                    Walked::Row(next, weight) => {
                        at = next;
                        self.indexed += 1;
                        self.rows += 1;
                        self.bytes += weight;
                        let full = self.rows >= self.limits.rows || self.bytes >= self.limits.bytes;
                        if full || self.indexed == self.room {
                            self.settle(buffer)?;
                        }
                        if full {
                            self.close()?;
                        }
                    }
                },
            }
        }
        Ok(at)
    }

    /// Records the fields of the row at `at` in the next free place of the index.
    #[inline]
    fn row(&mut self, buffer: &[u8], at: usize, end: usize) -> Result<Walked, Wrong> {
        let rows = &buffer[..end];
        let Some(count) = rows[at..].first_chunk::<2>() else { return Ok(Walked::Incomplete) };
        let mut next = at + 2;
        match i16::from_be_bytes(*count) {
            -1 => return Ok(Walked::Trailer(next)),
            count if usize::try_from(count) != Ok(self.columns.len()) => {
                return Err("a row does not have as many columns as the table");
            }
            _ => {}
        }
        for place in self.index.iter_mut().skip(self.indexed).step_by(self.room) {
            let Some(length) = rows[next..].first_chunk::<4>() else { return Ok(Walked::Incomplete) };
            let length = i32::from_be_bytes(*length);
            next += 4;
            *place = Field { offset: next as u32, length };
            match usize::try_from(length) {
                Ok(length) if length <= end - next => next += length,
                Ok(_) => return Ok(Walked::Incomplete),
                Err(_) if length == -1 => {}
                Err(_) => return Err("a negative length"),
            }
        }
        let mut weight = next - at;
        for (column, text_length) in &self.swelling {
            let field = self.index[column * self.room + self.indexed];
            if let Ok(Some(bytes)) = field.bytes(rows) {
                weight = weight.saturating_add(text_length(bytes));
            }
        }
        Ok(Walked::Row(next, weight))
    }

    fn close(&mut self) -> Result<(), Error> {
        if self.rows == 0 {
            return Ok(());
        }
        let mut arrays = Vec::with_capacity(self.columns.len());
        for (i, column) in self.columns.iter_mut().enumerate() {
            let finished = match column {
                Growing::Values(column) => column.finish(),
                Growing::Lists(column) => column.finish(),
            };
            match finished {
                Ok(array) => arrays.push(array),
                Err(what) => return Err(self.wrong_in(i, what)),
            }
        }
        let batch = RecordBatch::try_new(Arc::clone(self.schema.arrow()), arrays).map_err(|e| {
            Error::fatal("decoded columns do not form a batch").with("table", self.schema.table()).caused_by(e)
        })?;
        self.ready.push_back(batch);
        (self.rows, self.bytes) = (0, 0);
        Ok(())
    }

    fn wrong(&self, what: Wrong) -> Error {
        Error::data("the rows of a table cannot be decoded").with("table", self.schema.table()).with("what", what)
    }

    fn wrong_in(&self, column: usize, what: Wrong) -> Error {
        let column = self.schema.columns().get(column).map_or("?", |c| c.name());
        Error::data(what).with("table", self.schema.table()).with("column", column)
    }
}

/// The length of the file header, once all of it is there.
fn header(bytes: &[u8]) -> Result<Option<usize>, Wrong> {
    let known = bytes.len().min(SIGNATURE.len());
    if bytes[..known] != SIGNATURE[..known] {
        return Err("not COPY's binary format");
    }
    let Some((head, _)) = bytes.split_first_chunk::<19>() else { return Ok(None) };
    let [.., f0, f1, f2, f3, e0, e1, e2, e3] = *head;
    // The upper half are flags that a reader must know, and only "has OIDs" was ever defined.
    if u32::from_be_bytes([f0, f1, f2, f3]) >> 16 != 0 {
        return Err("unknown flags in COPY's header");
    }
    let extension = u32::from_be_bytes([e0, e1, e2, e3]) as usize;
    if extension > 1 << 20 {
        return Err("an oversized extension in COPY's header");
    }
    Ok((bytes.len() >= 19 + extension).then_some(19 + extension))
}

#[cfg(test)]
mod tests;
