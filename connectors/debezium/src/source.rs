//! The `source` block of an event. Pure.
//!
//! From one event of a table to the next nothing changes in it but some numbers. So it is held against the blocks that
//! were read before: where all but the numbers is the same, only they are read.
//!
//! What must hold: a block that is known again comes to exactly what reading it would come to.

use std::ops::Range;

use crate::avro::varint;
use crate::dialect::Dialect;
use crate::fault::Fault;
use crate::position::{Snapshot, SourcePosition};
use crate::value::Value;

/// Blocks that are known again: of so many tables that take turns in a topic.
const KEPT: usize = 8;

/// A field of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SourceField {
    Connector,
    Schema,
    Table,
    TsMs,
    Snapshot,
    Own,
    Transaction,
    Sequence,
    Other,
}

impl SourceField {
    pub(crate) fn of(dialect: &Dialect, name: &str) -> Self {
        let fields = &dialect.position;
        match name {
            "connector" => Self::Connector,
            "schema" => Self::Schema,
            "table" => Self::Table,
            "ts_ms" => Self::TsMs,
            "snapshot" => Self::Snapshot,
            name if name == fields.own => Self::Own,
            name if name == fields.transaction => Self::Transaction,
            name if Some(name) == fields.sequence => Self::Sequence,
            _ => Self::Other,
        }
    }
}

/// What an event's block says.
#[derive(Debug, Default)]
pub(crate) struct Source {
    pub(crate) position: SourcePosition,
    /// Whether there was one that names its connector.
    pub(crate) known: bool,
    /// The last used first: the event's, if there was one.
    blocks: Vec<Block>,
}

impl Source {
    /// The schema and the table of a block that is [known](Self::known).
    pub(crate) fn table(&self) -> (&str, &str) {
        self.blocks.first().map_or(("", ""), |block| (&block.schema, &block.table))
    }

    /// Nothing was said yet.
    pub(crate) fn clear(&mut self) {
        (self.position, self.known) = (SourcePosition::default(), false);
    }

    /// Takes in the block that bytes begin with, if one like it was [read](Self::read) before; says how long it is.
    /// `of` names its schema, which decides where a message does not describe itself.
    #[inline]
    pub(crate) fn again(&mut self, of: Option<u64>, bytes: &[u8]) -> Option<usize> {
        let (at, (position, length)) =
            self.blocks.iter().enumerate().find_map(|(at, block)| Some((at, block.again(of, bytes)?)))?;
        if at > 0 {
            self.blocks[..=at].rotate_right(1);
        }
        (self.position, self.known) = (position, true);
        Some(length)
    }

    /// Takes in a block that was read.
    pub(crate) fn read(&mut self, block: Block) {
        (self.position, self.known) = (block.position, block.known);
        self.blocks.truncate(KEPT - 1);
        self.blocks.insert(0, block);
    }
}

/// How a number is written.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Coding {
    Digits,
    Varint,
}

/// Which number of a block it is.
#[derive(Clone, Copy, Debug)]
enum Slot {
    TsMs,
    Own,
    Transaction,
    Preceding,
    Other,
}

/// Where a number stood.
#[derive(Debug)]
struct Number {
    /// How many bytes of [`Block::rest`] come before it.
    at: usize,
    slot: Slot,
    coding: Coding,
}

/// A block.
#[derive(Debug, Default)]
pub(crate) struct Block {
    of: Option<u64>,
    /// Its bytes without the numbers.
    rest: Vec<u8>,
    numbers: Vec<Number>,
    /// How much of it is in `rest` and `numbers`.
    done: usize,
    schema: String,
    table: String,
    position: SourcePosition,
    known: bool,
}

impl Block {
    /// A block whose message's schema is this one.
    pub(crate) fn new(of: Option<u64>) -> Self {
        Self { of, ..Self::default() }
    }

    /// Takes in a field.
    pub(crate) fn set(&mut self, dialect: &Dialect, field: SourceField, value: Value<'_>) -> Result<(), Fault> {
        const NOT: Fault = Fault::of("a field of the source block is not what it should be");
        let number = |value| match value {
            Value::Int(number) => u64::try_from(number).map(Some).map_err(|_| ()),
            Value::Number(text) | Value::Text(text) => text.parse().map(Some).map_err(|_| ()),
            Value::Null => Ok(None),
            _ => Err(()),
        };
        let wrong = |()| NOT.with("field", format!("{field:?}"));
        match (field, value) {
            (SourceField::Connector, Value::Text(connector)) => {
                if connector != dialect.connector {
                    let fault = Fault::of("the events are of another connector than the one that is configured");
                    return Err(fault.with("connector", connector));
                }
                self.known = true;
            }
            (SourceField::Schema, Value::Text(text)) => text.clone_into(&mut self.schema),
            (SourceField::Table, Value::Text(text)) => text.clone_into(&mut self.table),
            (SourceField::TsMs, value) => {
                self.position.ts_ms = number(value).map_err(wrong)?.and_then(|n| i64::try_from(n).ok());
            }
            (SourceField::Snapshot, value) => {
                self.position.snapshot = match value {
                    Value::Null | Value::Bool(false) | Value::Text("false") => Snapshot::No,
                    Value::Bool(true) | Value::Text("true") => Snapshot::Yes,
                    Value::Text("first") => Snapshot::First,
                    Value::Text("first_in_data_collection") => Snapshot::FirstOfTable,
                    Value::Text("last_in_data_collection") => Snapshot::LastOfTable,
                    Value::Text("last") => Snapshot::Last,
                    Value::Text("incremental") => Snapshot::Incremental,
                    _ => return Err(wrong(())),
                };
            }
            (SourceField::Own, value) => self.position.own = number(value).map_err(wrong)?,
            (SourceField::Transaction, value) => self.position.transaction = number(value).map_err(wrong)?,
            (SourceField::Sequence, Value::Text(text)) => {
                self.position.preceding = preceding(text).ok_or_else(|| wrong(()))?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Notes where in the block a field's value stands, in their order. Where it is not written as a number usually
    /// is, blocks like this one must have the very same value.
    pub(crate) fn place(&mut self, block: &[u8], field: SourceField, value: Range<usize>, coding: Coding) {
        let slot = match field {
            SourceField::TsMs => Slot::TsMs,
            SourceField::Own => Slot::Own,
            SourceField::Transaction => Slot::Transaction,
            SourceField::Other => Slot::Other,
            SourceField::Sequence => return self.place_sequence(block, value),
            SourceField::Connector | SourceField::Schema | SourceField::Table | SourceField::Snapshot => return,
        };
        let whole = number(coding, block.get(value.clone()).unwrap_or_default());
        if whole.is_some_and(|(_, length)| length == value.len()) {
            self.number(block, value, slot, coding);
        }
    }

    /// The two numbers of a pair.
    fn place_sequence(&mut self, block: &[u8], value: Range<usize>) {
        let (mut found, mut at) = (vec![], value.start);
        while at < value.end {
            match number(Coding::Digits, &block[at..value.end]) {
                Some((_, length)) => {
                    found.push(at..at + length);
                    at += length;
                }
                None => at += 1,
            }
        }
        if let [first, second] = &found[..] {
            self.number(block, first.clone(), Slot::Preceding, Coding::Digits);
            self.number(block, second.clone(), Slot::Other, Coding::Digits);
        }
    }

    fn number(&mut self, block: &[u8], place: Range<usize>, slot: Slot, coding: Coding) {
        self.rest.extend_from_slice(&block[self.done..place.start]);
        self.numbers.push(Number { at: self.rest.len(), slot, coding });
        self.done = place.end;
    }

    /// Notes what is left of the block behind its last number.
    pub(crate) fn end(&mut self, block: &[u8]) {
        self.rest.extend_from_slice(&block[self.done..]);
    }

    /// What the block that bytes begin with says, and how long it is, if it differs from this one in numbers alone.
    #[inline]
    fn again(&self, of: Option<u64>, bytes: &[u8]) -> Option<(SourcePosition, usize)> {
        if self.of != of || !self.known {
            return None;
        }
        let (mut left, mut position, mut from) = (bytes, self.position, 0);
        for part in &self.numbers {
            left = left.strip_prefix(self.rest.get(from..part.at)?)?;
            let (value, length) = number(part.coding, left)?;
            match part.slot {
                Slot::TsMs => position.ts_ms = i64::try_from(value).ok(),
                Slot::Own => position.own = Some(value),
                Slot::Transaction => position.transaction = Some(value),
                Slot::Preceding => position.preceding = Some(value),
                Slot::Other => {}
            }
            (left, from) = (left.get(length..)?, part.at);
        }
        left = left.strip_prefix(self.rest.get(from..)?)?;
        Some((position, bytes.len() - left.len()))
    }
}

/// The number that bytes begin with, and how long it is; `None` for one that is negative or not written as usual.
#[inline(always)]
fn number(coding: Coding, bytes: &[u8]) -> Option<(u64, usize)> {
    match coding {
        Coding::Varint => {
            let (number, length) = varint::read(bytes)?;
            Some((u64::try_from(number).ok()?, length))
        }
        Coding::Digits => {
            let (mut number, mut length) = (0_u64, 0);
            while let Some(digit) = bytes.get(length).map(|b| b.wrapping_sub(b'0')).filter(|d| *d < 10) {
                number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
                length += 1;
            }
            // So many digits always fit; JSON has no leading zeros.
            let usual = (1..=19).contains(&length) && (length == 1 || bytes.first() != Some(&b'0'));
            usual.then_some((number, length))
        }
    }
}

/// The first of `["24023119","24023128"]`; the inner `None` for a null.
fn preceding(sequence: &str) -> Option<Option<u64>> {
    let (first, _) = sequence.strip_prefix('[')?.strip_suffix(']')?.split_once(',')?;
    match first.trim() {
        "null" => Some(None),
        quoted => quoted.strip_prefix('"')?.strip_suffix('"')?.parse().ok().map(Some),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::json::pull::Pull;
    use crate::json::read::{Scratch, block};

    #[test]
    fn the_sequence_is_a_pair() {
        assert_eq!(preceding(r#"["24023119","24023128"]"#), Some(Some(24023119)));
        assert_eq!(preceding(r#"[null,"24023128"]"#), Some(None));
        for bad in ["", "[]", r#"["x","1"]"#, r#"["1"]"#, r#"["-1","1"]"#] {
            assert_eq!(preceding(bad), None, "{bad}");
        }
    }

    /// What a source that has read the first blocks makes of the last: what it says, and how much it took.
    fn read(blocks: &[&str]) -> Option<(SourcePosition, String, usize)> {
        let (mut source, mut scratch, mut last) = (Source::default(), Scratch::default(), None);
        for text in blocks {
            let mut pull = Pull::new(text);
            source.clear();
            let taken = block(&mut pull, &Dialect::POSTGRESQL, &mut source, &mut scratch);
            last = taken.is_ok().then(|| (source.position, format!("{:?}", source.table()), pull.place()));
        }
        last
    }

    #[test]
    fn only_numbers_may_differ() {
        let is_again = |first: &str, second: &str| {
            let mut source = Source::default();
            let taken = block(&mut Pull::new(first), &Dialect::POSTGRESQL, &mut source, &mut Scratch::default());
            assert!(taken.is_ok());
            source.again(None, second.as_bytes()).is_some()
        };
        let first =
            r#"{"connector":"postgresql","version":"3.6","ts_ms":5,"sequence":"[\"1\",\"2\"]","table":"t1","lsn":2}"#;
        assert!(is_again(first, &first.replace(":5", ":67").replace("1\\", "123\\").replace("lsn\":2", "lsn\":99")));
        for (was, is) in [("t1", "t2"), ("3.6", "3.7"), (":5", ":-5"), (":5", ":5.5"), (":5", ":null"), (":5", ":05")] {
            assert!(!is_again(first, &first.replace(was, is)), "{is}");
        }
    }

    /// Blocks that are alike, nearly so, or not.
    fn text() -> impl Strategy<Value = String> {
        let value = prop_oneof![
            4 => any::<u32>().prop_map(|n| n.to_string()),
            1 => any::<u64>().prop_map(|n| n.to_string()),
            2 => prop::sample::select(vec!["null", "-3", "\"7\"", "1e2", "007", "{}", "[1]", "true"]).prop_map(str::to_owned),
        ];
        let text = prop::sample::select(vec!["public", "p1", "p2", "false", "last"]);
        let sequence = prop::sample::select(vec![r#"[\"1\",\"2\"]"#, r#"[\"345\",\"67\"]"#, r#"[null,\"2\"]"#, "[]"]);
        (prop::collection::vec(value, 5), text.clone(), text, sequence, any::<bool>()).prop_map(
            |(numbers, schema, snapshot, sequence, spaced)| {
                let [ts_ms, ts_us, id, lsn, other] = &numbers[..] else { unreachable!() };
                let colon = if spaced { ": " } else { ":" };
                format!(
                    r#"{{"version":"3.1","connector":"postgresql","ts_ms"{colon}{ts_ms},"snapshot":"{snapshot}","sequence":"{sequence}","ts_us":{ts_us},"schema":"{schema}","table":"t","txId":{id},"lsn":{lsn},"xmin":{other}}}"#
                )
            },
        )
    }

    proptest! {
        /// Whatever was read before, a block comes to what it comes to on its own.
        #[test]
        fn a_block_is_read_the_same_again(blocks in prop::collection::vec(text(), 1..6), more in "[,}0-9]{0,2}") {
            let last = format!("{}{more}", blocks.last().unwrap());
            let mut all: Vec<&str> = blocks.iter().map(String::as_str).collect();
            all.push(&last);
            prop_assert_eq!(read(&all), read(&[&last]));
        }
    }
}
