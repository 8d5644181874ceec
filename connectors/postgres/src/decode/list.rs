//! Grows one Arrow column of lists from arrays, in their binary form or as the text that `array_out`
//! prints. Pure.
//!
//! PostgreSQL fixes neither the dimensions of an array nor where its subscripts begin; a list of lists
//! does. So a value of other dimensions than its column's, or with subscripts that do not begin at 1, is
//! an error: never a list that reads differently from the array.

use std::sync::Arc;

use arrow_array::{ArrayRef, ListArray};
use arrow_buffer::{NullBufferBuilder, OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, FieldRef};

use super::column::{ColumnBuilder, Field, Wrong};
use super::numeric;
use crate::types::{Form, Layout};

const MALFORMED: Wrong = "a malformed array";
const DIMENSIONS: Wrong = "an array of other dimensions than its column declares: \
    array.handling.mode=text loads arrays of any dimensions";
const BOUNDS: Wrong = "an array whose subscripts do not begin at 1: array.handling.mode=text keeps them";
const TOO_MANY: Wrong = "a batch of one column beyond 2^31 elements";
/// PostgreSQL's MAXDIM.
const MOST_DIMENSIONS: usize = 6;

pub(super) struct ListBuilder {
    layout: Layout,
    /// From the outermost to the innermost list.
    levels: Vec<Level>,
    nulls: NullBufferBuilder,
    elements: ColumnBuilder,
}

struct Level {
    element: FieldRef,
    ends: Vec<i32>,
}

impl ListBuilder {
    /// A builder of columns of that type, which is as many lists deep as the form.
    pub(super) fn new(form: &Form, mut data_type: &DataType) -> Self {
        let mut levels = vec![];
        while let DataType::List(element) = data_type {
            levels.push(Level { element: Arc::clone(element), ends: vec![0] });
            data_type = element.data_type();
        }
        let elements = ColumnBuilder::new(form.wire, form.infinite_is_null);
        Self { layout: form.layout, levels, nulls: NullBufferBuilder::new(1024), elements }
    }

    /// Appends the values of a block of rows.
    pub(super) fn append(&mut self, buffer: &[u8], fields: &[Field]) -> Result<(), Wrong> {
        // Where the elements lie: in the buffer, or in the text that they were unquoted to.
        let (mut elements, mut unquoted) = (vec![], vec![]);
        for field in fields {
            self.nulls.append(field.length >= 0);
            match (field.bytes(buffer)?, self.layout) {
                (None, _) => close(&mut self.levels, 0, 0)?,
                (Some(bytes), Layout::Literal { delimiter, .. }) => {
                    let mut literal = Literal { rest: bytes, delimiter, unquoted: &mut unquoted };
                    literal.array(&mut self.levels, &mut elements)?;
                }
                (Some(bytes), _) => binary(bytes, field.offset as usize, &mut self.levels, &mut elements)?,
            }
        }
        let lie_in = if matches!(self.layout, Layout::Literal { .. }) { &unquoted } else { buffer };
        self.elements.append(lie_in, &elements)
    }

    /// The column so far; the builder begins anew.
    pub(super) fn finish(&mut self) -> Result<ArrayRef, Wrong> {
        let mut array = self.elements.finish()?;
        let mut nulls = self.nulls.finish();
        for (depth, level) in self.levels.iter_mut().enumerate().rev() {
            let ends = std::mem::replace(&mut level.ends, vec![0]);
            let offsets = OffsetBuffer::new(ScalarBuffer::from(ends));
            let nulls = if depth == 0 { nulls.take() } else { None };
            let list = ListArray::try_new(Arc::clone(&level.element), offsets, array, nulls);
            array = Arc::new(list.map_err(|_| MALFORMED)?);
        }
        Ok(array)
    }
}

/// Ends a list of that level, of so many members.
fn close(levels: &mut [Level], level: usize, members: usize) -> Result<(), Wrong> {
    let ends = &mut levels.get_mut(level).ok_or(DIMENSIONS)?.ends;
    let end = i32::try_from(members).ok().and_then(|n| ends.last().copied().unwrap_or(0).checked_add(n));
    ends.push(end.ok_or(TOO_MANY)?);
    Ok(())
}

/// A big-endian number off the front.
fn number(bytes: &mut &[u8]) -> Result<i32, Wrong> {
    let (number, rest) = bytes.split_first_chunk().ok_or(MALFORMED)?;
    *bytes = rest;
    Ok(i32::from_be_bytes(*number))
}

/// The dimensions of an array's head, outermost first, each with where its subscripts begin.
fn dimensions(bytes: &mut &[u8]) -> Result<Vec<(usize, i32)>, Wrong> {
    let count = usize::try_from(number(bytes)?).map_err(|_| MALFORMED)?;
    if count > MOST_DIMENSIONS {
        return Err(MALFORMED);
    }
    // Whether there are NULLs shows in the elements; their type is the catalog's.
    let (_, _) = (number(bytes)?, number(bytes)?);
    let dimension = |_| Ok((usize::try_from(number(bytes)?).map_err(|_| MALFORMED)?, number(bytes)?));
    (0..count).map(dimension).collect()
}

/// What `array_send` wrote at `offset` of the buffer.
fn binary(bytes: &[u8], offset: usize, levels: &mut [Level], elements: &mut Vec<Field>) -> Result<(), Wrong> {
    let mut rest = bytes;
    let dimensions = dimensions(&mut rest)?;
    let total = dimensions.iter().try_fold(1usize, |n, (length, _)| n.checked_mul(*length)).ok_or(MALFORMED)?;
    if dimensions.is_empty() || total == 0 {
        return if rest.is_empty() { close(levels, 0, 0) } else { Err(MALFORMED) };
    }
    // Each element is at least its length: what was announced must be there before room is made for it.
    if total > rest.len() / 4 {
        return Err(MALFORMED);
    }
    if dimensions.len() != levels.len() {
        return Err(DIMENSIONS);
    }
    if dimensions.iter().any(|(_, begin)| *begin != 1) {
        return Err(BOUNDS);
    }
    let mut lists = 1;
    for (level, (length, _)) in dimensions.iter().enumerate() {
        for _ in 0..lists {
            close(levels, level, *length)?;
        }
        lists *= length;
    }
    elements.reserve(total);
    for _ in 0..total {
        let length = number(&mut rest)?;
        let at = offset + (bytes.len() - rest.len());
        elements.push(match usize::try_from(length) {
            Ok(size) => {
                rest = rest.get(size..).ok_or(MALFORMED)?;
                Field { offset: u32::try_from(at).map_err(|_| MALFORMED)?, length }
            }
            Err(_) if length == -1 => Field::NULL,
            Err(_) => return Err(MALFORMED),
        });
    }
    if rest.is_empty() { Ok(()) } else { Err(MALFORMED) }
}

/// What `array_out` printed: braces around the members of each dimension; an element that could be taken for
/// anything else stands in quotes, with backslashes.
struct Literal<'a> {
    rest: &'a [u8],
    delimiter: u8,
    unquoted: &'a mut Vec<u8>,
}

impl Literal<'_> {
    fn array(&mut self, levels: &mut [Level], elements: &mut Vec<Field>) -> Result<(), Wrong> {
        match self.rest {
            // Subscripts that do not begin at 1 are printed: [2:3]={a,b}.
            [b'[', ..] => return Err(BOUNDS),
            b"{}" => return close(levels, 0, 0),
            _ => {}
        }
        self.list(0, levels, elements)?;
        if self.rest.is_empty() { Ok(()) } else { Err(MALFORMED) }
    }

    fn list(&mut self, level: usize, levels: &mut [Level], elements: &mut Vec<Field>) -> Result<(), Wrong> {
        self.take(b'{')?;
        let mut members = 0;
        loop {
            match (level + 1 < levels.len(), self.rest.first()) {
                (true, Some(b'{')) => self.list(level + 1, levels, elements)?,
                (true, _) | (false, Some(b'{')) => return Err(DIMENSIONS),
                (false, _) => elements.push(self.element()?),
            }
            members += 1;
            match self.rest.split_first() {
                Some((b'}', rest)) => {
                    self.rest = rest;
                    return close(levels, level, members);
                }
                _ => self.take(self.delimiter)?,
            }
        }
    }

    fn element(&mut self) -> Result<Field, Wrong> {
        let start = self.unquoted.len();
        if let [b'"', rest @ ..] = self.rest {
            self.rest = rest;
            loop {
                match self.rest {
                    [b'"', rest @ ..] => {
                        self.rest = rest;
                        break;
                    }
                    [b'\\', byte, rest @ ..] | [byte, rest @ ..] => {
                        self.unquoted.push(*byte);
                        self.rest = rest;
                    }
                    [] => return Err(MALFORMED),
                }
            }
        } else {
            let end = self.rest.iter().position(|b| *b == self.delimiter || *b == b'}').ok_or(MALFORMED)?;
            let (word, rest) = self.rest.split_at(end);
            self.rest = rest;
            if word == b"NULL" {
                return Ok(Field::NULL);
            }
            if word.is_empty() {
                return Err(MALFORMED);
            }
            self.unquoted.extend_from_slice(word);
        }
        let offset = u32::try_from(start).map_err(|_| MALFORMED)?;
        Ok(Field { offset, length: i32::try_from(self.unquoted.len() - start).map_err(|_| MALFORMED)? })
    }

    fn take(&mut self, byte: u8) -> Result<(), Wrong> {
        match self.rest.split_first() {
            Some((found, rest)) if *found == byte => {
                self.rest = rest;
                Ok(())
            }
            _ => Err(MALFORMED),
        }
    }
}

/// Upper bound of the texts' length of an array of numerics: it can be far longer than the array.
pub(super) fn numeric_text_length(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    if dimensions(&mut rest).is_err() {
        return 0;
    }
    let mut all = 0usize;
    while let Ok(length) = number(&mut rest) {
        let size = usize::try_from(length).unwrap_or(0);
        let Some((element, after)) = rest.split_at_checked(size) else { break };
        all = all.saturating_add(numeric::text_length(element));
        rest = after;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Asked, Wire};
    use arrow_array::Array;
    use arrow_array::cast::AsArray;
    use proptest::prelude::*;

    /// An array as a value tree: an element (`None` is NULL), or the members of a dimension.
    #[derive(Clone, Debug)]
    enum Tree {
        Element(Option<String>),
        Members(Vec<Tree>),
    }

    impl Tree {
        fn elements(&self) -> Vec<Option<String>> {
            match self {
                Self::Element(e) => vec![e.clone()],
                Self::Members(m) => m.iter().flat_map(Self::elements).collect(),
            }
        }

        /// As `array_out` prints it, every element in quotes: an independent printer.
        fn literal(&self) -> String {
            match self {
                Self::Element(None) => "NULL".into(),
                Self::Element(Some(e)) => format!("\"{}\"", e.replace('\\', "\\\\").replace('"', "\\\"")),
                Self::Members(m) => format!("{{{}}}", m.iter().map(Self::literal).collect::<Vec<_>>().join(",")),
            }
        }

        fn shown(&self) -> String {
            match self {
                Self::Element(e) => format!("{e:?}"),
                Self::Members(m) => format!("[{}]", m.iter().map(Self::shown).collect::<Vec<_>>().join(", ")),
            }
        }
    }

    /// As `array_send` writes it: an independent writer.
    fn sent(dimensions: &[(i32, i32)], elements: &[Option<String>]) -> Vec<u8> {
        let mut out: Vec<u8> = [dimensions.len() as i32, 1, 25].iter().flat_map(|n| n.to_be_bytes()).collect();
        out.extend(dimensions.iter().flat_map(|(length, begin)| [length.to_be_bytes(), begin.to_be_bytes()]).flatten());
        for element in elements {
            match element {
                None => out.extend((-1i32).to_be_bytes()),
                Some(text) => {
                    out.extend((text.len() as i32).to_be_bytes());
                    out.extend(text.as_bytes());
                }
            }
        }
        out
    }

    fn form(layout: Layout) -> Form {
        Form { layout, asked: Asked::Plain, ..Form::plain(Wire::Text) }
    }

    /// The values of one column of text arrays; an empty one in `values` is NULL.
    fn decode(layout: Layout, values: &[Vec<u8>]) -> Result<Vec<String>, Wrong> {
        let form = form(layout);
        let column = form.column("c", true, "text[]");
        let mut builder = ListBuilder::new(&form, column.data_type());
        let (mut buffer, mut fields) = (b"before".to_vec(), vec![]);
        for value in values {
            let length = if value.is_empty() { -1 } else { value.len() as i32 };
            fields.push(Field { offset: buffer.len() as u32, length });
            buffer.extend(value);
        }
        // In two blocks, as the rows of a batch come.
        let (first, second) = fields.split_at(fields.len() / 2);
        builder.append(&buffer, first)?;
        builder.append(&buffer, second)?;
        let array = builder.finish()?;
        assert_eq!((array.len(), array.data_type()), (values.len(), column.data_type()));
        Ok((0..array.len()).map(|i| if array.is_null(i) { "NULL".into() } else { show(&array.slice(i, 1)) }).collect())
    }

    fn show(array: &dyn Array) -> String {
        let list = array.as_list::<i32>().value(0);
        let member = |i: usize| match list.data_type() {
            DataType::List(_) => show(&list.slice(i, 1)),
            _ => format!("{:?}", list.is_valid(i).then(|| list.as_string::<i32>().value(i))),
        };
        format!("[{}]", (0..list.len()).map(member).collect::<Vec<_>>().join(", "))
    }

    #[test]
    fn binary_arrays() {
        let check = |depth, dimensions: &[(i32, i32)], elements: &[Option<&str>]| {
            let elements: Vec<_> = elements.iter().map(|e| e.map(str::to_owned)).collect();
            decode(Layout::Binary { depth }, &[sent(dimensions, &elements)]).map(|mut v| v.remove(0))
        };
        let ab = [Some("a"), None];
        assert_eq!(check(1, &[(2, 1)], &ab).as_deref(), Ok("[Some(\"a\"), None]"));
        assert_eq!(check(2, &[(2, 1), (1, 1)], &ab).as_deref(), Ok("[[Some(\"a\")], [None]]"));
        assert_eq!(check(2, &[(1, 1), (2, 1)], &ab).as_deref(), Ok("[[Some(\"a\"), None]]"));
        assert_eq!(check(3, &[], &[]).as_deref(), Ok("[]"), "empty arrays have no dimensions");
        assert_eq!(check(1, &[(1, 1), (2, 1)], &ab), Err(DIMENSIONS));
        assert_eq!(check(2, &[(2, 1)], &ab), Err(DIMENSIONS));
        assert_eq!(check(1, &[(2, 0)], &ab), Err(BOUNDS));
        assert_eq!(check(1, &[(3, 1)], &ab), Err(MALFORMED), "fewer elements than announced");
        assert_eq!(check(1, &[(1, 1)], &ab), Err(MALFORMED), "more of them");
        assert_eq!(check(1, &[(-1, 1)], &ab), Err(MALFORMED));
        assert_eq!(check(1, &[(1, 1); 7], &[Some("a")]), Err(MALFORMED));
        assert_eq!(check(2, &[(i32::MAX, 1), (i32::MAX, 1)], &ab), Err(MALFORMED), "and no memory for them");
    }

    #[test]
    fn literal_arrays() {
        let check = |depth, text: &str| {
            decode(Layout::Literal { depth, delimiter: b',' }, &[text.as_bytes().to_vec()]).map(|mut v| v.remove(0))
        };
        assert_eq!(check(1, "{}").as_deref(), Ok("[]"));
        assert_eq!(check(2, "{}").as_deref(), Ok("[]"));
        assert_eq!(check(1, "{a,NULL,\"NULL\",\"\"}").as_deref(), Ok(r#"[Some("a"), None, Some("NULL"), Some("")]"#));
        assert_eq!(check(1, r#"{"a\"b\\c","{1,2}"}"#).as_deref(), Ok(r#"[Some("a\"b\\c"), Some("{1,2}")]"#));
        assert_eq!(check(2, "{{1,2},{3,4}}").as_deref(), Ok(r#"[[Some("1"), Some("2")], [Some("3"), Some("4")]]"#));
        assert_eq!(check(1, "{{1}}"), Err(DIMENSIONS));
        assert_eq!(check(2, "{1}"), Err(DIMENSIONS));
        assert_eq!(check(1, "[0:1]={a,b}"), Err(BOUNDS));
        for bad in ["", "{", "a", "{a", "{a,", "{a,}", "{\"a", "{\"a\\", "{a}b", "{a}}", "{\"a\"b}"] {
            assert!(check(1, bad).is_err() || bad.is_empty(), "{bad}");
        }
        let boxes = b"{(1,1),(0,0);(2,2),(1,1)}".to_vec();
        assert_eq!(
            decode(Layout::Literal { depth: 1, delimiter: b';' }, &[boxes]).unwrap(),
            [r#"[Some("(1,1),(0,0)"), Some("(2,2),(1,1)")]"#]
        );
    }

    #[test]
    fn texts_of_numeric_arrays_are_weighed() {
        let number = numeric::tests::wire("1000000000000000000000000000000");
        let mut array = sent(&[(2, 1)], &[]);
        for _ in 0..2 {
            array.extend((number.len() as i32).to_be_bytes());
            array.extend(&number);
        }
        assert!((62..200).contains(&numeric_text_length(&array)), "{}", numeric_text_length(&array));
        assert_eq!(numeric_text_length(&[1, 2, 3]), 0);
    }

    fn tree() -> impl Strategy<Value = (Vec<i32>, Vec<Option<String>>)> {
        let text = prop_oneof!["[a-c\\\\\"{}, ]{0,5}", Just("NULL".to_owned()), "\\PC{0,4}"];
        prop::collection::vec(1i32..4, 1..4).prop_flat_map(move |dimensions| {
            let total = dimensions.iter().product::<i32>() as usize;
            (Just(dimensions), prop::collection::vec(prop::option::of(text.clone()), total))
        })
    }

    fn build(dimensions: &[i32], elements: &mut impl Iterator<Item = Option<String>>) -> Tree {
        match dimensions {
            [] => Tree::Element(elements.next().unwrap()),
            [n, inner @ ..] => Tree::Members((0..*n).map(|_| build(inner, elements)).collect()),
        }
    }

    proptest! {
        /// Either form of the same array gives the same list, which is the array.
        #[test]
        fn both_forms_agree_with_the_array((dimensions, elements) in tree()) {
            let tree = build(&dimensions, &mut elements.clone().into_iter());
            prop_assert_eq!(tree.elements(), elements.clone());
            let depth = dimensions.len();
            let head: Vec<_> = dimensions.iter().map(|n| (*n, 1)).collect();
            let literal = tree.literal().into_bytes();
            let expected = vec![tree.shown(), "NULL".into(), tree.shown()];
            let binary = sent(&head, &elements);
            prop_assert_eq!(decode(Layout::Binary { depth }, &[binary.clone(), vec![], binary]), Ok(expected.clone()));
            let printed = [literal.clone(), vec![], literal];
            prop_assert_eq!(decode(Layout::Literal { depth, delimiter: b',' }, &printed), Ok(expected));
        }

        #[test]
        fn damaged_arrays_are_an_error_at_worst(
            (dimensions, elements) in tree(),
            hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
            cut in any::<prop::sample::Index>(),
        ) {
            let head: Vec<_> = dimensions.iter().map(|n| (*n, 1)).collect();
            let depth = dimensions.len();
            let literal = build(&dimensions, &mut elements.clone().into_iter()).literal().into_bytes();
            for (layout, mut bytes) in [
                (Layout::Binary { depth }, sent(&head, &elements)),
                (Layout::Literal { depth, delimiter: b',' }, literal),
            ] {
                for (at, byte) in &hits {
                    let at = at.index(bytes.len());
                    bytes[at] = *byte;
                }
                let _ = decode(layout, &[bytes.clone()]);
                bytes.truncate(cut.index(bytes.len()));
                let _ = decode(layout, &[bytes.clone()]);
                let _ = numeric_text_length(&bytes);
            }
        }
    }
}
