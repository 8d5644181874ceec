//! The `source` block of an event. Pure.
//!
//! From one event of a table to the next nothing changes in it but some numbers, and mostly not how long they are. So it
//! is held against the blocks that were read before: where all but the numbers is the same, only they are read.
//!
//! What must hold: a block that is known again comes to exactly what reading it would come to.

use std::ops::Range;

use crate::avro::varint;
use crate::dialect::Dialect;
use crate::digits;
use crate::fault::Fault;
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
    /// Whether there was one that names its connector. Else the rest means nothing, and may be of another message.
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
        (self.known, self.is_renamed) = (false, false);
    }

    /// Takes in the block that bytes begin with, if one like it was [read](Self::read) before; says how long it is.
    /// `of` names its schema, which decides where a message does not describe itself.
    #[inline]
    pub(crate) fn again(&mut self, of: Option<u64>, bytes: &[u8]) -> Option<usize> {
        let Self { blocks, position, .. } = self;
        let (at, length) =
            blocks.iter().enumerate().find_map(|(at, block)| Some((at, block.match_start(of, bytes, position)?)))?;
        if at > 0 || !self.named {
            self.blocks[..=at].rotate_right(1);
            self.schema.clone_from(&self.blocks[0].schema);
            self.table.clone_from(&self.blocks[0].table);
            (self.named, self.is_renamed) = (true, true);
        }
        self.known = true;
        Some(length)
    }

    /// Takes in a block that was read.
    pub(crate) fn read(&mut self, block: Block) {
        self.schema.clone_from(&block.schema);
        self.table.clone_from(&block.table);
        (self.position, self.known, self.named) = (block.position, block.known, false);
        self.is_renamed = true;
        if block.known && !block.is_odd && block.bytes.len() <= LARGEST {
            self.blocks.truncate(KEPT - 1);
            self.blocks.insert(0, block);
        }
    }
}

/// How a number is written.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Coding {
    Digits,
    Varint,
}

impl Coding {
    /// The bits that each byte of a number has in common with those of any other of its length.
    fn mask(self) -> u8 {
        match self {
            Self::Digits => 0xf0,
            Self::Varint => 0x80,
        }
    }

    /// The number that bytes are; `None` for one that is negative or not written as usual.
    #[inline(always)]
    fn number(self, bytes: &[u8]) -> Option<u64> {
        let (number, length, is_usual) = match self {
            Self::Varint => {
                let (number, length) = varint::read(bytes)?;
                (u64::try_from(number).ok()?, length, true)
            }
            Self::Digits => {
                let (number, length) = digits::leading(bytes);
                // So many always fit; JSON has no leading zeros.
                (number, length, (1..=19).contains(&length) && (length == 1 || bytes.first() != Some(&b'0')))
            }
        };
        (is_usual && length == bytes.len()).then_some(number)
    }
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
    place: Range<usize>,
    /// Which field it is; of the sequence, the first.
    field: SourceField,
    coding: Coding,
}

/// A block.
#[derive(Debug, Default)]
pub(crate) struct Block {
    of: Option<u64>,
    bytes: Vec<u8>,
    /// The bits of each byte that blocks like this one have too.
    mask: Vec<u8>,
    numbers: Vec<Number>,
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
        if matches!(field, TsMs | Own | Transaction | Within | Thread | Other)
            && coding.number(&block[value.clone()]).is_some()
        {
            self.numbers.push(Number { place: value, field, coding });
        }
    }

    /// The same for the text of the sequence: a pair of numbers between quotes, or the very same text again.
    pub(crate) fn place_pair(&mut self, block: &[u8], text: Range<usize>, written: Written) {
        let quote: &[u8] = if matches!(written, Written::Escaped) { b"\\\"" } else { b"\"" };
        let number = |left: &mut &[u8]| {
            *left = left.strip_prefix(quote)?;
            let (_, length) = digits::leading(left);
            let from = text.end - left.len();
            Coding::Digits.number(&left[..length])?;
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
        let pair = pair().into_iter().flatten();
        self.numbers.extend(pair.map(|(place, field)| Number { place, field, coding: Coding::Digits }));
    }

    /// Takes in the bytes of the block, when all of its numbers have been placed.
    pub(crate) fn end(&mut self, block: &[u8]) {
        block.clone_into(&mut self.bytes);
        self.mask = vec![u8::MAX; block.len()];
        for number in &self.numbers {
            self.mask[number.place.clone()].fill(number.coding.mask());
        }
    }

    /// How long the block that bytes begin with is, if it differs from this one in numbers alone, each as long as here; what
    /// it says goes into `position`, which else means nothing.
    #[inline]
    fn match_start(&self, of: Option<u64>, bytes: &[u8], position: &mut SourcePosition) -> Option<usize> {
        let bytes = bytes.get(..self.bytes.len()).filter(|_| self.of == of)?;
        if !is_alike(bytes, &self.bytes, &self.mask) {
            return None;
        }
        *position = self.position;
        for number in &self.numbers {
            let value = number.coding.number(bytes.get(number.place.clone())?)?;
            match number.field {
                SourceField::TsMs => position.ts_ms = i64::try_from(value).ok(),
                SourceField::Own => position.own = Some(value),
                SourceField::Transaction => position.transaction = Some(value),
                SourceField::Sequence => position.preceding = Some(value),
                SourceField::Within => position.within = Some(value),
                SourceField::Thread => position.thread = Some(value),
                _ => {}
            }
        }
        Some(bytes.len())
    }
}

/// Whether bytes, as many of each, are the same in the bits of a mask. It does not stop at the first that differs, so that
/// the processor takes many at once.
#[inline(always)]
fn is_alike(bytes: &[u8], others: &[u8], mask: &[u8]) -> bool {
    let ((eights, rest), (others, others_rest)) = (bytes.as_chunks::<8>(), others.as_chunks::<8>());
    let (masks, masks_rest) = mask.as_chunks::<8>();
    let number = |bytes: &[u8; 8]| u64::from_ne_bytes(*bytes);
    let eights = eights.iter().zip(others).zip(masks);
    let rest = rest.iter().zip(others_rest).zip(masks_rest);
    eights.fold(0, |all, ((a, b), mask)| all | (number(a) ^ number(b)) & number(mask)) == 0
        && rest.fold(0, |all, ((a, b), mask)| all | (a ^ b) & mask) == 0
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
            r#"{"connector":"postgresql","version":"3.6","ts_ms":51,"sequence":"[\"1\",\"2\"]","table":"t1","lsn":2}"#;
        assert!(is_again(first, &first.replace(":51", ":67").replace(r#"[\"1"#, r#"[\"3"#).replace(":2}", ":9}")));
        for (was, is) in
            [("t1", "t2"), ("3.6", "3.7"), ("51", "-5"), ("51", "5."), ("51", "05"), ("51", "5:"), ("51", "517")]
        {
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
