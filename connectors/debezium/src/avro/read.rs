//! From an Avro message's bytes to cells and to what the envelope says. Pure.
//!
//! Lengths and counts come from the message, so each is held against the bytes that are left.

use crate::avro::schema::{Field, Node, Writer};
use crate::avro::step::{Step, Usual};
use crate::avro::varint;
use crate::body::Reading;
use crate::cells::{Cell, Cells};
use crate::dialect::Dialect;
use crate::envelope::{Envelope, Found};
use crate::fault::Fault;
use crate::how::{How, Unit};
use crate::plan::Planned;
use crate::rows::Rows;
use crate::source::{Block, Coding, Source, SourceField, Written};
use crate::unavailable::Placeholder;
use crate::value::Value;
use crate::value::convert::{Composite, Rules};
use crate::value::decimal::from_bytes;

const MALFORMED: Fault = Fault::of("a malformed Avro message");
const OTHER_TYPE: Fault = Fault::of("an Avro value of another type than its schema's");

/// A place in a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// The registry's number of a message's schema, and a cursor behind it.
pub(crate) fn head(bytes: &[u8]) -> Result<(u32, Cursor<'_>), Fault> {
    match bytes.split_first_chunk::<5>() {
        Some(([0, id @ ..], _)) => Ok((u32::from_be_bytes(*id), Cursor { bytes, at: 5 })),
        _ => Err(Fault::of("not Avro as Confluent's converter frames it: no zero byte and schema id")),
    }
}

impl<'a> Cursor<'a> {
    /// A place within a message.
    pub(crate) fn at(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    /// Nothing is left.
    pub(crate) fn end(&self) -> Result<(), Fault> {
        if self.at == self.bytes.len() { Ok(()) } else { Err(Fault::of("more after the end of the Avro message")) }
    }

    #[inline]
    fn take(&mut self, length: usize) -> Result<&'a [u8], Fault> {
        let end = self.at.checked_add(length).ok_or(MALFORMED)?;
        let taken = self.bytes.get(self.at..end).ok_or(MALFORMED)?;
        self.at = end;
        Ok(taken)
    }

    #[inline]
    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        self.take(N)?.try_into().map_err(|_| MALFORMED)
    }

    #[inline(always)]
    fn long(&mut self) -> Result<i64, Fault> {
        let (number, length) = self.bytes.get(self.at..).and_then(varint::read).ok_or(MALFORMED)?;
        self.at += length;
        Ok(number)
    }

    #[inline]
    fn length(&mut self) -> Result<usize, Fault> {
        usize::try_from(self.long()?).map_err(|_| MALFORMED)
    }

    #[inline]
    fn text(&mut self) -> Result<&'a str, Fault> {
        let length = self.length()?;
        simdutf8::basic::from_utf8(self.take(length)?).map_err(|_| Fault::of("text that is not UTF-8"))
    }

    /// The branch of a union that follows.
    #[inline(always)]
    fn branch<'n>(&mut self, node: &'n Node) -> Result<&'n Node, Fault> {
        match node {
            Node::Union(nodes) => nodes.get(self.length()?).ok_or(MALFORMED),
            node => Ok(node),
        }
    }

    /// How many items the next block of an array or a map has; 0 at its end.
    fn block(&mut self) -> Result<usize, Fault> {
        let count = self.long()?;
        if count < 0 {
            self.long()?;
        }
        match usize::try_from(count.unsigned_abs()) {
            // An item takes a byte at least: hostile counts end here.
            Ok(count) if count <= self.bytes.len() - self.at => Ok(count),
            _ => Err(MALFORMED),
        }
    }

    /// A value that is neither a record, an array nor a map.
    #[inline]
    fn scalar(&mut self, node: &'a Node) -> Result<Value<'a>, Fault> {
        let node = self.branch(node)?;
        self.scalar_of(node)
    }

    /// The same of a branch.
    #[inline]
    fn scalar_of(&mut self, branch: &'a Node) -> Result<Value<'a>, Fault> {
        Ok(match branch {
            Node::Null => Value::Null,
            Node::Bool => match self.chunk()? {
                [0] => Value::Bool(false),
                [1] => Value::Bool(true),
                _ => return Err(MALFORMED),
            },
            Node::Int => Value::Int(self.long()?),
            Node::Float => Value::Float(f32::from_le_bytes(self.chunk()?)),
            Node::Double => Value::Double(f64::from_le_bytes(self.chunk()?)),
            Node::Bytes => {
                let length = self.length()?;
                Value::Bytes(self.take(length)?)
            }
            Node::Fixed(length) => Value::Bytes(self.take(*length)?),
            Node::Text => Value::Text(self.text()?),
            Node::Enum(symbols) => Value::Text(symbols.get(self.length()?).ok_or(MALFORMED)?),
            _ => return Err(OTHER_TYPE),
        })
    }

    /// Passes over a value.
    #[inline]
    fn skip(&mut self, node: &Node) -> Result<(), Fault> {
        let node = self.branch(node)?;
        self.skip_branch(node)
    }

    /// The same of a branch.
    fn skip_branch(&mut self, branch: &Node) -> Result<(), Fault> {
        match branch {
            Node::Null => {}
            Node::Bool => drop(self.take(1)?),
            Node::Int | Node::Enum(_) => drop(self.long()?),
            Node::Float => drop(self.take(4)?),
            Node::Double => drop(self.take(8)?),
            Node::Bytes | Node::Text => {
                let length = self.length()?;
                self.take(length)?;
            }
            Node::Fixed(length) => drop(self.take(*length)?),
            Node::Record(fields) => {
                for field in &**fields {
                    self.skip(&field.node)?;
                }
            }
            Node::List(item) => {
                let mut count = self.block()?;
                while count > 0 {
                    for _ in 0..count {
                        self.skip(item)?;
                    }
                    count = self.block()?;
                }
            }
            Node::Map(item) => {
                let mut count = self.block()?;
                while count > 0 {
                    for _ in 0..count {
                        let length = self.length()?;
                        self.take(length)?;
                        self.skip(item)?;
                    }
                    count = self.block()?;
                }
            }
            // A union within a union is none.
            Node::Union(_) => return Err(OTHER_TYPE),
        }
        Ok(())
    }
}

/// Reads the envelope, as [`crate::json::read::envelope`] does.
pub(crate) fn envelope<'a>(
    cursor: &mut Cursor<'a>,
    writer: &'a Writer,
    dialect: &Dialect,
    source: &mut Source,
    mut after: impl FnMut(&mut Cursor<'a>) -> Option<Result<(), Fault>>,
) -> Result<Envelope, Fault> {
    let mut envelope = Envelope::default();
    source.clear();
    for (field, found) in writer.fields.iter().zip(&writer.found) {
        envelope.see(*found);
        let node = cursor.branch(&field.node)?;
        match (found, node) {
            (_, Node::Null) => {}
            (Found::Before, Node::Record(_)) => {
                envelope.before = Some(cursor.at);
                cursor.skip_branch(node)?;
            }
            (Found::After, Node::Record(_)) => {
                envelope.after = Some(cursor.at);
                let mut ahead = *cursor;
                envelope.image = after(&mut ahead);
                match envelope.image {
                    Some(Ok(())) => *cursor = ahead,
                    _ => cursor.skip_branch(node)?,
                }
            }
            (Found::Source, Node::Record(fields)) => block(cursor, fields, writer, dialect, source)?,
            (Found::Transaction, Node::Record(fields)) => {
                record(cursor, fields, |name, value| envelope.in_transaction(name, value))?;
            }
            (Found::Tables, Node::List(item)) => tables(cursor, item, &mut envelope)?,
            (Found::Op | Found::Status | Found::Id | Found::EventCount, _) => {
                let value = cursor.scalar_of(node)?;
                envelope.set(*found, value)?;
            }
            _ => cursor.skip_branch(node)?,
        }
    }
    Ok(envelope)
}

/// Reads `data_collections`.
fn tables<'a>(cursor: &mut Cursor<'a>, item: &'a Node, envelope: &mut Envelope) -> Result<(), Fault> {
    let mut count = cursor.block()?;
    while count > 0 {
        for _ in 0..count {
            let Node::Record(fields) = cursor.branch(item)? else { return Err(OTHER_TYPE) };
            envelope.add_table();
            record(cursor, fields, |name, value| envelope.in_table(name, value))?;
        }
        count = cursor.block()?;
    }
    Ok(())
}

/// Reads the `source` block.
fn block<'a>(
    cursor: &mut Cursor<'a>,
    fields: &'a [Field],
    writer: &Writer,
    dialect: &Dialect,
    source: &mut Source,
) -> Result<(), Fault> {
    let bytes = cursor.bytes.get(cursor.at..).unwrap_or_default();
    if let Some(length) = source.again(Some(writer.id), bytes) {
        cursor.at += length;
        return Ok(());
    }
    let (start, mut block) = (cursor.at, Block::new(Some(writer.id)));
    for (field, kind) in fields.iter().zip(&writer.source) {
        let mut value = *cursor;
        let node = value.branch(&field.node)?;
        let said = match kind {
            SourceField::Other => {
                cursor.skip(&field.node)?;
                Value::Null
            }
            _ => cursor.scalar(&field.node)?,
        };
        block.set(dialect, *kind, said)?;
        match (kind, node, said) {
            (SourceField::Sequence, Node::Text, Value::Text(text)) => {
                let to = cursor.at - start;
                block.place_pair(bytes, to - text.len()..to, Written::Plain);
            }
            (_, Node::Int, _) => block.place(bytes, *kind, value.at - start..cursor.at - start, Coding::Varint),
            _ => {}
        }
    }
    block.end(&bytes[..cursor.at - start]);
    source.read(block);
    Ok(())
}

/// Passes on the members of a record that are values.
fn record<'a>(
    cursor: &mut Cursor<'a>,
    fields: &'a [Field],
    mut set: impl FnMut(&str, Value<'a>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    for field in fields {
        let mut ahead = *cursor;
        match ahead.branch(&field.node)? {
            Node::Record(_) | Node::List(_) | Node::Map(_) => cursor.skip(&field.node)?,
            _ => set(&field.name, cursor.scalar(&field.node)?)?,
        }
    }
    Ok(())
}

/// Reads an image into the open row. The plan was made of the same record.
pub(crate) fn image<'a>(
    cursor: &mut Cursor<'a>,
    record: &'a [Field],
    reading: Reading<'_>,
    rows: &mut Rows,
) -> Result<(), Fault> {
    let Reading { plan, placeholder, rules, .. } = reading;
    rows.begin();
    let mut values = 0;
    for (field, planned) in record.iter().zip(&plan.fields) {
        let Some(column) = planned.column else {
            cursor.skip(&field.node)?;
            continue;
        };
        let cells = &mut rows.columns[column];
        let read = cell(cursor, &field.node, planned, cells, placeholder, rules);
        match read.map_err(|fault| fault.in_column(&planned.name))? {
            Cell::Value => values += 1,
            Cell::Null => {}
            Cell::Unknown => {
                cells.append_null();
                rows.mark(column);
            }
        }
    }
    rows.set_full(values == rows.columns.len());
    Ok(())
}

/// Reads a field's cell.
#[inline(always)]
fn cell<'a>(
    cursor: &mut Cursor<'a>,
    node: &'a Node,
    planned: &Planned,
    cells: &mut Cells,
    placeholder: Option<&Placeholder>,
    rules: Rules<'_>,
) -> Result<Cell, Fault> {
    match planned.step.and_then(|step| usual(cursor, step, cells, placeholder, rules)) {
        Some(cell) => Ok(cell),
        None => unusual(cursor, node, planned, cells, placeholder, rules),
    }
}

/// Reads a cell of a usual kind from the bytes straight into its column; `None`, and nothing is taken, where it is not as
/// usual.
#[inline(always)]
fn usual(
    cursor: &mut Cursor<'_>,
    step: Step,
    cells: &mut Cells,
    placeholder: Option<&Placeholder>,
    rules: Rules<'_>,
) -> Option<Cell> {
    let mut left = cursor.bytes.get(cursor.at..)?;
    if let Some(union) = step.union {
        let (branch, rest) = left.split_first()?;
        left = rest;
        if *branch != union.value {
            if union.null == Some(*branch) {
                cells.append_null();
                cursor.at += 1;
                return Some(Cell::Null);
            }
            return None;
        }
    }
    let (number, length) = varint::read(left)?;
    left = &left[length..];
    // What follows the length of a text or of bytes.
    let mut run = || {
        let (run, rest) = left.split_at_checked(usize::try_from(number).ok()?)?;
        left = rest;
        Some(run)
    };
    let taken = match step.usual {
        Usual::Int => cells.whole(&How::Int, number, rules),
        Usual::Days => cells.whole(&How::Days, number, rules),
        Usual::Micros => cells.whole(&How::Timestamp(Unit::Micros), number, rules),
        Usual::Text => {
            let text = run()?;
            (text.is_ascii() || simdutf8::basic::from_utf8(text).is_ok())
                && !placeholder.is_some_and(|p| p.is_text(text))
                && cells.text(text)
        }
        Usual::Decimal(scale) => {
            let bytes = run()?;
            (1..=16).contains(&bytes.len()) && cells.unscaled(from_bytes(bytes), scale)
        }
    };
    if taken {
        cursor.at = cursor.bytes.len() - left.len();
    }
    taken.then_some(Cell::Value)
}

/// The same of any kind.
fn unusual<'a>(
    cursor: &mut Cursor<'a>,
    node: &'a Node,
    planned: &Planned,
    cells: &mut Cells,
    placeholder: Option<&Placeholder>,
    rules: Rules<'_>,
) -> Result<Cell, Fault> {
    let How::List(how) = &planned.how else {
        return single(cursor, node, &planned.how, cells, placeholder, rules);
    };
    let item = match cursor.branch(node)? {
        Node::Null => {
            cells.append_null();
            return Ok(Cell::Null);
        }
        Node::List(item) => item,
        _ => return Err(OTHER_TYPE),
    };
    let mut standing = false;
    let mut count = cursor.block()?;
    while count > 0 {
        for _ in 0..count {
            let elements = cells.elements()?;
            if single(cursor, item, how, elements, placeholder, rules)? == Cell::Unknown {
                elements.append_null();
                standing = true;
            }
        }
        count = cursor.block()?;
    }
    cells.close_list(standing, planned.unavailable.as_deref().filter(|_| placeholder.is_some())).map_err(Fault::of)
}

/// The same for what is no list.
#[inline]
fn single<'a>(
    cursor: &mut Cursor<'a>,
    node: &'a Node,
    how: &How,
    cells: &mut Cells,
    placeholder: Option<&Placeholder>,
    rules: Rules<'_>,
) -> Result<Cell, Fault> {
    if how.is_composite() {
        let mut composite = Composite::default();
        match cursor.branch(node)? {
            Node::Null => {
                cells.append_null();
                return Ok(Cell::Null);
            }
            Node::Record(fields) => record(cursor, fields, |name, value| Ok(composite.set(how, name, value)?))?,
            Node::Map(item) => {
                let mut count = cursor.block()?;
                while count > 0 {
                    for _ in 0..count {
                        let key = cursor.text()?;
                        composite.set(how, key, cursor.scalar(item)?)?;
                    }
                    count = cursor.block()?;
                }
            }
            _ => return Err(OTHER_TYPE),
        }
        if placeholder.is_some_and(|p| p.is_map(&composite)) {
            return Ok(Cell::Unknown);
        }
        return Ok(cells.append_composite(how, &composite, rules)?);
    }
    let value = cursor.scalar(node)?;
    if placeholder.is_some_and(|p| p.is(how, value)) {
        return Ok(Cell::Unknown);
    }
    Ok(cells.append(how, value, rules)?)
}

#[cfg(test)]
mod tests {
    use arrow_array::ArrayRef;
    use arrow_schema::{DataType, TimeUnit};
    use proptest::prelude::*;

    use super::*;

    const PLACEHOLDER: &str = "ab";

    type Kind = (Node, How, DataType);

    fn kinds() -> impl Strategy<Value = Kind> {
        let decimal = |digits, scale| (Node::Bytes, How::Decimal(scale), DataType::Decimal128(digits, scale as i8));
        prop::sample::select(vec![
            (Node::Int, How::Int, DataType::Int32),
            (Node::Int, How::Int, DataType::Int64),
            (Node::Int, How::Days, DataType::Date32),
            (Node::Int, How::Timestamp(Unit::Micros), DataType::Timestamp(TimeUnit::Microsecond, None)),
            (Node::Int, How::Timestamp(Unit::Millis), DataType::Timestamp(TimeUnit::Microsecond, None)),
            (Node::Text, How::Text, DataType::Utf8),
            (Node::Bytes, How::Bytes, DataType::Binary),
            decimal(4, 2),
            decimal(38, 0),
        ])
    }

    /// A field of that kind alone, or among others that it may be.
    fn among(node: &Node, union: usize) -> Node {
        let (null, node) = (|| Node::Null, || node.clone());
        match union {
            0 => node(),
            1 => Node::Union([null(), node()].into()),
            2 => Node::Union([node(), null()].into()),
            _ => Node::Union([Node::Bool, node(), null(), Node::Double].into()),
        }
    }

    /// What comes of a message's bytes, and how many of them it takes.
    fn read(
        bytes: &[u8],
        kind: &Kind,
        node: &Node,
        short: bool,
        nulls: bool,
    ) -> Result<(Cell, usize, ArrayRef), String> {
        let (_, how, data_type) = kind;
        let step = Step::of(node, how).filter(|_| short);
        let planned = Planned {
            name: "a".into(),
            quoted: String::new(),
            column: Some(0),
            how: how.clone(),
            null_hides: false,
            step,
            unavailable: None,
        };
        let (placeholder, rules) =
            (Placeholder::new(PLACEHOLDER), Rules { dialect: &Dialect::POSTGRESQL, infinite_is_null: nulls });
        let (mut cursor, mut cells) = (Cursor::at(bytes, 0), Cells::new(data_type).unwrap());
        let read = cell(&mut cursor, node, &planned, &mut cells, Some(&placeholder), rules);
        let read = read.map_err(|fault| format!("{fault:?}"))?;
        Ok((read, cursor.at, cells.finish().unwrap()))
    }

    /// What follows a branch: a number, the ends of what a column may have among them; a text, the placeholder among them;
    /// or what is neither.
    fn values() -> impl Strategy<Value = Vec<u8>> {
        let ends = [Dialect::POSTGRESQL.dates, Dialect::POSTGRESQL.timestamps]
            .into_iter()
            .flat_map(|bounds| [bounds.infinite, &[bounds.first, bounds.last]].concat())
            .flat_map(|end| [end, end.saturating_sub(1), end.saturating_add(1)]);
        let number = prop_oneof![
            prop::sample::select(ends.collect::<Vec<_>>()),
            (any::<i64>(), 0..64_u32).prop_map(|(number, shift)| number >> shift),
        ];
        let run = prop_oneof![
            Just(PLACEHOLDER.into()),
            "[ab\u{e9}]{0,3}".prop_map(String::into_bytes),
            prop::collection::vec(any::<u8>(), 0..20),
        ];
        prop_oneof![
            number.prop_map(varint::written),
            run.prop_map(|run| [varint::written(run.len() as i64), run].concat()),
            prop::collection::vec(any::<u8>(), 0..12),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8192))]

        /// What comes of a value, how much of the message it takes and what is in the column do not depend on the way.
        #[test]
        fn the_usual_way_is_the_long_one(
            kind in kinds(),
            union in 0..4_usize,
            branch in 0..5_u8,
            value in values(),
            nulls: bool,
        ) {
            let node = among(&kind.0, union);
            let branch = (union > 0).then_some(branch << 1);
            let bytes: Vec<u8> = branch.into_iter().chain(value).collect();
            prop_assert_eq!(read(&bytes, &kind, &node, true, nulls), read(&bytes, &kind, &node, false, nulls));
        }
    }
}
