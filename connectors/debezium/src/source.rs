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
use crate::json::pull::begins;
use crate::position::{Snapshot, SourcePosition};
use crate::value::Value;

/// Which connector it is that a block is wrong for.
const CONNECTOR: &str = "connector";
const OTHER_CONNECTOR: Fault = Fault::of("the events are of another connector than those before");
const UNKNOWN_CONNECTOR: Fault = Fault::of("events of a connector that is not known: PostgreSQL's and Oracle's are");

/// The dialect of events that are wrong only because they are of another connector.
pub(crate) fn other_dialect(fault: &Fault) -> Option<&'static Dialect> {
    fault.detail(CONNECTOR).and_then(Dialect::of)
}

/// Blocks that are known again: of so many tables that take turns in a topic.
const KEPT: usize = 8;
/// Bytes of the largest that is.
const LARGEST: usize = 4096;

/// A field of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SourceField {
    Connector,
    Version,
    Schema,
    Table,
    TsMs,
    Snapshot,
    Own,
    Transaction,
    Sequence,
    Commit,
    Within,
    Thread,
    Other,
}

impl SourceField {
    pub(crate) fn of(dialect: &Dialect, name: &str) -> Self {
        let fields = &dialect.position;
        match name {
            "connector" => Self::Connector,
            "version" => Self::Version,
            "schema" => Self::Schema,
            "table" => Self::Table,
            "ts_ms" => Self::TsMs,
            "snapshot" => Self::Snapshot,
            name if name == fields.own => Self::Own,
            name if name == fields.transaction => Self::Transaction,
            name if Some(name) == fields.sequence => Self::Sequence,
            name if Some(name) == fields.commit => Self::Commit,
            name if Some(name) == fields.within => Self::Within,
            name if Some(name) == fields.thread => Self::Thread,
            _ => Self::Other,
        }
    }
}

/// What an event's block says. Kept from event to event, so that its texts are not allocated anew.
#[derive(Debug, Default)]
pub(crate) struct Source {
    pub(crate) schema: String,
    pub(crate) table: String,
    pub(crate) position: SourcePosition,
    /// Whether there was one that names its connector. Else the rest means nothing.
    pub(crate) known: bool,
    /// The last used first.
    blocks: Vec<Block>,
    /// Whether schema and table are those of the first block.
    named: bool,
    /// Whether schema and table may be others than in the message before.
    pub(crate) is_renamed: bool,
}

impl Source {
    /// Nothing was said yet.
    pub(crate) fn clear(&mut self) {
        (self.position, self.known, self.is_renamed) = (SourcePosition::default(), false, false);
    }

    /// Takes in the block that bytes begin with, if one like it was [read](Self::read) before; says how long it is.
    /// `of` names its schema, which decides where a message does not describe itself.
    #[inline]
    pub(crate) fn again(&mut self, of: Option<u64>, bytes: &[u8]) -> Option<usize> {
        let (at, (position, length)) =
            self.blocks.iter().enumerate().find_map(|(at, block)| Some((at, block.match_start(of, bytes)?)))?;
        if at > 0 || !self.named {
            self.blocks[..=at].rotate_right(1);
            self.schema.clone_from(&self.blocks[0].schema);
            self.table.clone_from(&self.blocks[0].table);
            (self.named, self.is_renamed) = (true, true);
        }
        (self.position, self.known) = (position, true);
        Some(length)
    }

    /// Takes in a block that was read.
    pub(crate) fn read(&mut self, block: Block) {
        self.schema.clone_from(&block.schema);
        self.table.clone_from(&block.table);
        (self.position, self.known, self.named) = (block.position, block.known, false);
        self.is_renamed = true;
        if block.known && !block.is_odd && block.done <= LARGEST {
            self.blocks.truncate(KEPT - 1);
            self.blocks.insert(0, block);
        }
    }
}

/// How a number is written.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Coding {
    Digits,
    /// So many digits: how long the text is stands before it.
    Exactly(usize),
    Varint,
}

/// How a text is written.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Written {
    /// As in JSON, without the quotes around it.
    Escaped,
    /// As it is, and its length before it.
    Plain,
}

/// A number of a block.
#[derive(Debug)]
struct Number {
    /// How many bytes of [`Block::rest`] come before it.
    at: usize,
    /// Which field it is; of the sequence, the first.
    field: SourceField,
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
    /// The fields that were set, a bit each; and whether one was set twice, so that it is not plain which counts.
    seen: u16,
    is_odd: bool,
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
        let bit = if field == SourceField::Other { 0 } else { 1 << field as u16 };
        self.is_odd |= self.seen & bit != 0;
        self.seen |= bit;
        match (field, value) {
            (SourceField::Connector, Value::Text(connector)) => {
                if connector != dialect.connector {
                    let is_known = Dialect::of(connector).is_some();
                    return Err(if is_known { OTHER_CONNECTOR } else { UNKNOWN_CONNECTOR }.with(CONNECTOR, connector));
                }
                self.known = true;
            }
            (SourceField::Version, Value::Text(version)) => {
                if let Some((since, why)) = dialect.since
                    && release(version).is_some_and(|release| release < since)
                {
                    return Err(Fault::of(why).with("version", version));
                }
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
            (SourceField::Transaction, Value::Text(text)) => {
                let known = (dialect.transaction)(text).or_else(|| text.parse().ok());
                self.position.transaction = Some(known.ok_or_else(|| wrong(()))?);
            }
            (SourceField::Transaction, value) => self.position.transaction = number(value).map_err(wrong)?,
            (SourceField::Commit, value) => self.position.commit = number(value).map_err(wrong)?,
            (SourceField::Within, value) => self.position.within = number(value).map_err(wrong)?,
            (SourceField::Thread, value) => self.position.thread = number(value).map_err(wrong)?,
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
        use SourceField::{Other, Own, Thread, Transaction, TsMs, Within};
        let number = starting_number(coding, &block[value.clone()]);
        if matches!(field, TsMs | Own | Transaction | Within | Thread | Other)
            && number.is_some_and(|(_, length)| length == value.len())
        {
            self.leave_out(block, field, value, coding);
        }
    }

    /// The same for the text of the sequence: a pair of numbers between quotes, or the very same text again.
    pub(crate) fn place_pair(&mut self, block: &[u8], text: Range<usize>, written: Written) {
        let quote: &[u8] = if matches!(written, Written::Escaped) { b"\\\"" } else { b"\"" };
        let number = |left: &mut &[u8]| {
            *left = left.strip_prefix(quote)?;
            let (_, length) = starting_number(Coding::Digits, left)?;
            let from = text.end - left.len();
            *left = left[length..].strip_prefix(quote)?;
            Some(from..from + length)
        };
        let pair = || {
            let mut left = block[text.clone()].strip_prefix(b"[")?;
            let first = number(&mut left)?;
            left = left.strip_prefix(b",")?;
            let second = number(&mut left)?;
            (left == b"]").then_some([(first, SourceField::Sequence), (second, SourceField::Other)])
        };
        for (place, field) in pair().into_iter().flatten() {
            let coding = match written {
                Written::Escaped => Coding::Digits,
                Written::Plain => Coding::Exactly(place.len()),
            };
            self.leave_out(block, field, place, coding);
        }
    }

    fn leave_out(&mut self, block: &[u8], field: SourceField, number: Range<usize>, coding: Coding) {
        self.rest.extend_from_slice(&block[self.done..number.start]);
        self.numbers.push(Number { at: self.rest.len(), field, coding });
        self.done = number.end;
    }

    /// Notes what is left of the block behind its last number.
    pub(crate) fn end(&mut self, block: &[u8]) {
        self.rest.extend_from_slice(&block[self.done..]);
        self.done = block.len();
    }

    /// What the block that bytes begin with says, and how long it is, if it differs from this one in numbers alone.
    #[inline]
    fn match_start(&self, of: Option<u64>, bytes: &[u8]) -> Option<(SourcePosition, usize)> {
        if self.of != of {
            return None;
        }
        let (mut left, mut position, mut from) = (bytes, self.position, 0);
        for number in &self.numbers {
            left = without(left, self.rest.get(from..number.at)?)?;
            let (value, length) = starting_number(number.coding, left)?;
            match number.field {
                SourceField::TsMs => position.ts_ms = i64::try_from(value).ok(),
                SourceField::Own => position.own = Some(value),
                SourceField::Transaction => position.transaction = Some(value),
                SourceField::Sequence => position.preceding = Some(value),
                SourceField::Within => position.within = Some(value),
                SourceField::Thread => position.thread = Some(value),
                _ => {}
            }
            (left, from) = (left.get(length..)?, number.at);
        }
        left = without(left, self.rest.get(from..)?)?;
        Some((position, bytes.len() - left.len()))
    }
}

/// What follows what bytes must begin with, which is short mostly.
#[inline(always)]
fn without<'a>(bytes: &'a [u8], start: &[u8]) -> Option<&'a [u8]> {
    begins(bytes, start).then(|| &bytes[start.len()..])
}

/// The number that bytes begin with, and how long it is; `None` for one that is negative or not written as usual.
#[inline(always)]
fn starting_number(coding: Coding, bytes: &[u8]) -> Option<(u64, usize)> {
    if let Coding::Varint = coding {
        let (number, length) = varint::read(bytes)?;
        return Some((u64::try_from(number).ok()?, length));
    }
    let (mut number, mut length) = (0_u64, 0);
    while let Some(digit) = bytes.get(length).map(|b| b.wrapping_sub(b'0')).filter(|d| *d < 10) {
        number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
        length += 1;
    }
    // So many digits always fit; JSON has no leading zeros.
    let is_usual = (1..=19).contains(&length) && (length == 1 || bytes.first() != Some(&b'0'));
    let is_as_long = !matches!(coding, Coding::Exactly(wanted) if wanted != length);
    (is_usual && is_as_long).then_some((number, length))
}

/// The first two numbers of `3.6.1.Final`.
fn release(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
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
            let names = format!("{}.{}", source.schema, source.table);
            last = taken.is_ok().then(|| (source.position, names, pull.place()));
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
        assert!(is_again(first, &first.replace(":5", ":67").replace(r#"[\"1"#, r#"[\"123"#).replace(":2}", ":99}")));
        for (was, is) in [("t1", "t2"), ("3.6", "3.7"), (":5", ":-5"), (":5", ":5.5"), (":5", ":null"), (":5", ":05")] {
            assert!(!is_again(first, &first.replace(was, is)), "{is}");
        }
        let doubled = first.replace(":2}", ":2,\"lsn\":null}");
        assert!(!is_again(&doubled, &doubled), "which of them counts");
        let large = first.replace("3.6", &"3".repeat(LARGEST));
        assert!(!is_again(&large, &large));
    }

    /// Where a text's length stands before it, other digits must be as many.
    #[test]
    fn a_pair_is_as_long_as_its_length_says() {
        let text = |pair: &str| [&[2 * pair.len() as u8], pair.as_bytes(), b"end"].concat();
        let first = text(r#"["12","3"]"#);
        let mut learnt = Block::new(Some(7));
        learnt.set(&Dialect::POSTGRESQL, SourceField::Connector, Value::Text("postgresql")).unwrap();
        learnt.place_pair(&first, 1..first.len() - 3, Written::Plain);
        learnt.end(&first);
        let mut source = Source::default();
        source.read(learnt);
        assert_eq!(source.again(Some(7), &text(r#"["45","6"]"#)), Some(first.len()));
        assert_eq!(source.position.preceding, Some(45));
        assert_eq!(source.again(Some(8), &first), None);
        for other in [text(r#"["1","23"]"#), text(r#"["45","67"]"#), [&first[..1], br#"["12","345"]end"#].concat()] {
            assert_eq!(source.again(Some(7), &other), None);
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
        let pair = (0..4_u64, 0..4_u64).prop_map(|(a, b)| {
            let long = |n: u64| [1_u64, 234, 12_345_678_901_234_567_890, 0][n as usize];
            format!(r#""[\"{}\",\"{}\"]""#, long(a), long(b))
        });
        let odd = [
            r#""[null,\"2\"]""#,
            r#""[null,\"1\",\"2\"]""#,
            r#""[\"01\",\"2\"]""#,
            r#""[\u00225\",\"6\"]""#,
            r#""[ \"1\",\"2\"]""#,
            r#"["1","2"]"#,
            "1.5",
            "\"[]\"",
        ];
        let sequence = prop_oneof![3 => pair, 2 => prop::sample::select(odd.to_vec()).prop_map(str::to_owned)];
        let names = prop::sample::select(vec!["xmin", "xmin", "xmin", "lsn", "ts_ms", "sequence"]);
        (prop::collection::vec(value, 5), text.clone(), text, sequence, any::<bool>(), names).prop_map(
            |(numbers, schema, snapshot, sequence, spaced, last)| {
                let [ts_ms, ts_us, id, lsn, other] = &numbers[..] else { unreachable!() };
                let colon = if spaced { ": " } else { ":" };
                format!(
                    r#"{{"version":"3.1","connector":"postgresql","ts_ms"{colon}{ts_ms},"snapshot":"{snapshot}","sequence":{sequence},"ts_us":{ts_us},"schema":"{schema}","table":"t","txId":{id},"lsn":{lsn},"{last}":{other}}}"#
                )
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1024))]

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
