//! LOBs: locators that a session has handed out, and what clients do with them.
//!
//! Source: python-oracledb 26.1.0, `messages/lob_op.pyx`, `lob.pyx`.

use std::collections::HashMap;

use crate::encode;
use crate::error::OraError;
use crate::request::{LobCall, Oac};
use crate::sql::Cell;
use crate::store::State;
use crate::types::{Type, Value};
use crate::wire::Write;

/// The length of a locator.
const LOCATOR: usize = 40;
/// What a read should be a multiple of.
const CHUNK: u64 = 8132;
/// Of a column's metadata: data comes with the locator.
const PREFETCH: u64 = 0x0200_0000;

/// The LOBs of a session, by the number in their locator.
#[derive(Default)]
pub(crate) struct Lobs {
    next: u64,
    open: HashMap<u64, Origin>,
    /// The one that was read last.
    last: Option<(u64, Lob)>,
}

/// Where a LOB's value is. Locators live as long as the session, so that data is not kept for them.
enum Origin {
    /// In a row of a table.
    Cell(Cell),
    /// An expression's.
    Value(Value),
}

struct Lob {
    /// Bytes; of text: UTF-16.
    data: Vec<u8>,
    is_text: bool,
}

impl Lob {
    /// `None` of NULL.
    fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Null => None,
            Value::Bytes(bytes) => Some(Self { data: bytes.clone(), is_text: false }),
            Value::Json(json) => Some(Self { data: json.encode(), is_text: false }),
            Value::Vector(values) => Some(Self { data: encode::vector(values), is_text: false }),
            other => Some(Self { data: encode::utf16(&crate::sql::text_of(other)), is_text: true }),
        }
    }

    /// Bytes, or UTF-16 units.
    fn len(&self) -> u64 {
        self.data.len() as u64 / if self.is_text { 2 } else { 1 }
    }

    fn part(&self, offset: u64, amount: u64) -> &[u8] {
        let size = if self.is_text { 2 } else { 1 };
        let from = (offset.saturating_sub(1) * size).min(self.data.len() as u64);
        let to = from.saturating_add(amount.saturating_mul(size)).min(self.data.len() as u64);
        &self.data[from as usize..to as usize]
    }
}

impl Lobs {
    /// Writes a value of a row as a locator, with as much of its data as the client asked for.
    pub(crate) fn write(
        &mut self,
        kind: &Type,
        value: &Value,
        cell: Option<Cell>,
        define: Option<&Oac>,
        out: &mut Vec<u8>,
    ) {
        let Some(lob) = Lob::of(value) else {
            out.ub(0);
            return;
        };
        let is_text = lob.is_text;
        self.next += 1;
        let mut locator = [0_u8; LOCATOR];
        locator[..2].copy_from_slice(&(LOCATOR as u16 - 2).to_be_bytes());
        // Version; kind; initialised; text of a character set of variable length, which travels as UTF-16.
        locator[3] = 4;
        (locator[4], locator[5], locator[6]) = if is_text { (2, 8, 0x80) } else { (1, 8, 0) };
        locator[10..18].copy_from_slice(&self.next.to_be_bytes());
        out.ub(LOCATOR as u64);
        if let Some(define) = define
            && define.flags & PREFETCH != 0
        {
            out.ub(lob.len()).ub(CHUNK);
            if define.prefetch > 0 {
                if is_text {
                    // Of variable length: the character set follows; then its form.
                    out.u8(1).ub(encode::UTF16).u8(if kind.is_national() { 2 } else { 1 });
                }
                out.bytes(lob.part(1, define.prefetch));
            }
        }
        out.bytes(&locator);
        self.open.insert(self.next, cell.map_or_else(|| Origin::Value(value.clone()), Origin::Cell));
    }

    /// The LOB of a locator.
    fn find(&mut self, state: &State, locator: &[u8]) -> Option<&Lob> {
        let number = u64::from_be_bytes(locator.get(10..18)?.try_into().ok()?);
        if self.last.as_ref().is_none_or(|(last, _)| *last != number) {
            let lob = match self.open.get(&number)? {
                Origin::Cell(cell) => Lob::of(cell.value(state)?)?,
                Origin::Value(value) => Lob::of(value)?,
            };
            self.last = Some((number, lob));
        }
        self.last.as_ref().map(|(_, lob)| lob)
    }

    /// Answers an operation.
    pub(crate) fn operate(&mut self, state: &State, call: &LobCall, out: &mut Vec<u8>) -> Result<(), OraError> {
        /// Operations by their numbers.
        const LENGTH: u64 = 0x0001;
        const READ: u64 = 0x0002;
        const CHUNK_SIZE: u64 = 0x4000;
        const OPEN: u64 = 0x8000;
        const CLOSE: u64 = 0x1_0000;
        const IS_OPEN: u64 = 0x1_1000;
        const FREE: u64 = 0x0111;
        let lob = self.find(state, &call.locator).ok_or_else(|| OraError::known(22922))?;
        let amount = match call.operation {
            LENGTH => lob.len(),
            READ => {
                let part = lob.part(call.offset, call.amount.unwrap_or(u64::MAX));
                if !part.is_empty() {
                    out.u8(14).bytes(part);
                }
                part.len() as u64 / if lob.is_text { 2 } else { 1 }
            }
            CHUNK_SIZE => CHUNK,
            OPEN | CLOSE | IS_OPEN | FREE => call.amount.unwrap_or(0),
            _ => return Err(OraError::new(3001, "unimplemented feature")),
        };
        out.u8(8).put(&call.locator);
        if call.amount.is_some() {
            out.ub(amount);
        }
        if call.wants_flag {
            out.u8(0);
        }
        Ok(())
    }
}
