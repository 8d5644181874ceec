//! LOBs: locators that a session has handed out, and what clients do with them.
//!
//! Source: python-oracledb 26.1.0, `messages/lob_op.pyx`, `lob.pyx`.

use std::collections::HashMap;

use crate::encode;
use crate::error::OraError;
use crate::request::{LobCall, Oac};
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
    open: HashMap<u64, Lob>,
}

struct Lob {
    /// The cursor that it came from, which it goes with.
    cursor: u32,
    /// Bytes; of text: UTF-16.
    data: Vec<u8>,
    is_text: bool,
}

impl Lob {
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
    pub(crate) fn write(&mut self, cursor: u32, kind: &Type, value: &Value, define: Option<&Oac>, out: &mut Vec<u8>) {
        let (data, is_text) = match value {
            Value::Null => {
                out.ub(0);
                return;
            }
            Value::Bytes(bytes) => (bytes.clone(), false),
            other => (encode::utf16(&crate::sql::text_of(other)), true),
        };
        self.next += 1;
        let lob = Lob { cursor, data, is_text };
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
        self.open.insert(self.next, lob);
    }

    /// Forgets those of a cursor.
    pub(crate) fn close(&mut self, cursor: u32) {
        self.open.retain(|_, lob| lob.cursor != cursor);
    }

    /// Answers an operation.
    pub(crate) fn operate(&self, call: &LobCall, out: &mut Vec<u8>) -> Result<(), OraError> {
        /// Operations by their numbers.
        const LENGTH: u64 = 0x0001;
        const READ: u64 = 0x0002;
        const CHUNK_SIZE: u64 = 0x4000;
        const OPEN: u64 = 0x8000;
        const CLOSE: u64 = 0x1_0000;
        const IS_OPEN: u64 = 0x1_1000;
        const FREE: u64 = 0x0111;
        let number = call.locator.get(10..18).and_then(|b| b.try_into().ok()).map(u64::from_be_bytes);
        let lob = number.and_then(|n| self.open.get(&n)).ok_or_else(|| OraError::known(22922))?;
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
