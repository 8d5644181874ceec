//! From a JSON message's text to cells and to what the envelope says. Pure.

use crate::body::Reading;
use crate::cells::{Cell, Cells};
use crate::dialect::Dialect;
use crate::envelope::{Envelope, Found};
use crate::fault::Fault;
use crate::how::How;
use crate::json::pull::Pull;
use crate::plan::Planned;
use crate::rows::Rows;
use crate::source::{Block, Coding, Source, SourceField, Written};
use crate::unavailable::Placeholder;
use crate::value::Value;
use crate::value::convert::{Composite, Rules};
use crate::value::decimal::from_base64;

/// Texts with escapes are put together here.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    key: String,
    value: String,
}

impl Scratch {
    /// Room for a text.
    pub(crate) fn text(&mut self) -> &mut String {
        &mut self.key
    }
}

/// Reads the envelope into one that is empty. With `after` the image after the change is read as it is passed; what that
/// came to is in [`Envelope::image`].
pub(crate) fn envelope(
    pull: &mut Pull<'_>,
    dialect: &Dialect,
    source: &mut Source,
    scratch: &mut Scratch,
    mut after: impl FnMut(&mut Pull<'_>, &mut Scratch) -> Option<Result<(), Fault>>,
) -> Result<Envelope, Fault> {
    let mut envelope = Envelope::default();
    source.clear();
    pull.expect(b'{')?;
    let (mut first, mut next) = (true, 0);
    while pull.member(&mut first)? {
        let found = match Found::USUAL.get(next) {
            Some((quoted, found)) if pull.known(quoted) => {
                next += 1;
                *found
            }
            _ => Found::of(pull.name(&mut scratch.key)?),
        };
        envelope.see(found);
        if pull.null()? {
            match found {
                Found::Before => envelope.before = None,
                Found::After => envelope.after = None,
                _ => {}
            }
            continue;
        }
        let start = pull.place();
        match found {
            Found::Before => {
                envelope.before = Some(start);
                pull.skip()?;
            }
            Found::After => {
                envelope.after = Some(start);
                let before = *pull;
                envelope.image = after(pull, scratch);
                if !matches!(envelope.image, Some(Ok(()))) {
                    *pull = before;
                    pull.skip()?;
                }
            }
            Found::Source => block(pull, dialect, source, scratch)?,
            Found::Transaction => object(pull, scratch, |name, value| envelope.in_transaction(name, value))?,
            Found::Tables if pull.peek() == Some(b'[') => tables(pull, &mut envelope, scratch)?,
            Found::Tables | Found::Other => pull.skip()?,
            found => {
                let value = pull.scalar(&mut scratch.value)?;
                envelope.set(found, value)?;
            }
        }
    }
    Ok(envelope)
}

/// Reads `data_collections`.
fn tables(pull: &mut Pull<'_>, envelope: &mut Envelope, scratch: &mut Scratch) -> Result<(), Fault> {
    pull.expect(b'[')?;
    let mut first = true;
    while pull.element(&mut first)? {
        envelope.add_table();
        object(pull, scratch, |name, value| envelope.in_table(name, value))?;
    }
    Ok(())
}

/// Reads the `source` block.
pub(crate) fn block(
    pull: &mut Pull<'_>,
    dialect: &Dialect,
    source: &mut Source,
    scratch: &mut Scratch,
) -> Result<(), Fault> {
    let bytes = pull.rest();
    if let Some(length) = source.again(None, bytes) {
        pull.pass(length);
        return Ok(());
    }
    let (start, mut block) = (pull.place(), Block::new(None));
    pull.expect(b'{')?;
    let mut first = true;
    while let Some(name) = pull.key(&mut first, &mut scratch.key)? {
        let (field, next) = (SourceField::of(dialect, name), pull.peek());
        let from = pull.place() - start;
        match next {
            Some(b'{' | b'[') => pull.skip()?,
            _ => block.set(dialect, field, pull.scalar(&mut scratch.value)?)?,
        }
        let to = pull.place() - start;
        match (field, next) {
            (SourceField::Sequence, Some(b'"')) => block.place_pair(bytes, from + 1..to - 1, Written::Escaped),
            _ => block.place(bytes, field, from..to, Coding::Digits),
        }
    }
    block.end(&bytes[..pull.place() - start]);
    source.read(block);
    Ok(())
}

/// Passes on the members of an object that are neither objects nor arrays.
fn object(
    pull: &mut Pull<'_>,
    scratch: &mut Scratch,
    mut set: impl FnMut(&str, Value<'_>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    pull.expect(b'{')?;
    let mut first = true;
    while let Some(key) = pull.key(&mut first, &mut scratch.key)? {
        match pull.peek() {
            Some(b'{' | b'[') => pull.skip()?,
            _ => set(key, pull.scalar(&mut scratch.value)?)?,
        }
    }
    Ok(())
}

/// Reads an image into the open row. Without a placeholder every value is what it is.
pub(crate) fn image(
    pull: &mut Pull<'_>,
    reading: Reading<'_>,
    rows: &mut Rows,
    scratch: &mut Scratch,
) -> Result<(), Fault> {
    let Reading { plan, placeholder, rules, whole } = reading;
    rows.begin();
    let row = rows.len();
    pull.expect(b'{')?;
    let (mut first, mut next, mut seen, mut full) = (true, 0, 0, true);
    while pull.member(&mut first)? {
        let place = match plan.fields.get(next) {
            Some(field) if pull.known(&field.quoted) => next,
            _ => {
                let key = pull.name(&mut scratch.key)?;
                let what = "a field for which the table has no column";
                match plan.find(key) {
                    Some(place) => place,
                    None if whole => return Err(Fault::of(what).in_column(key).of_shape()),
                    // To a key a router may add what is no column.
                    None => {
                        pull.skip()?;
                        continue;
                    }
                }
            }
        };
        let field = &plan.fields[place];
        next = place + 1;
        let Some(column) = field.column else {
            pull.skip()?;
            continue;
        };
        match rows.columns[column].len() == row {
            true => seen += 1,
            false => {
                rows.undo(column);
                full = false;
            }
        }
        let cells = &mut rows.columns[column];
        match cell(pull, field, cells, placeholder, rules, scratch).map_err(|fault| fault.in_column(&field.name))? {
            Cell::Value => {}
            Cell::Null => full = false,
            Cell::Unknown => {
                cells.append_null();
                rows.mark(column);
                full = false;
            }
        }
    }
    rows.set_full(full && seen == rows.columns.len());
    if whole && seen < plan.columns {
        let lost = plan.fields.iter().find(|f| f.column.is_some_and(|c| rows.columns[c].len() == row));
        let name = lost.map_or("", |f| &f.name);
        return Err(Fault::of("the event lacks this column").in_column(name).of_shape());
    }
    Ok(())
}

/// Reads a cell.
fn cell(
    pull: &mut Pull<'_>,
    field: &Planned,
    cells: &mut Cells,
    placeholder: Option<&Placeholder>,
    rules: Rules<'_>,
    scratch: &mut Scratch,
) -> Result<Cell, Fault> {
    match &field.how {
        How::List(how) => {
            if pull.null()? {
                cells.append_null();
                return Ok(Cell::Null);
            }
            pull.expect(b'[')?;
            let (mut first, mut standing) = (true, false);
            while pull.element(&mut first)? {
                let elements = cells.elements()?;
                if single(pull, how, elements, placeholder, rules, scratch)? == Cell::Unknown {
                    elements.append_null();
                    standing = true;
                }
            }
            let unavailable = field.unavailable.as_deref().filter(|_| placeholder.is_some());
            Ok(cells.close_list(standing, unavailable)?)
        }
        how => single(pull, how, cells, placeholder, rules, scratch),
    }
}

/// The same for what is no list.
#[inline]
fn single(
    pull: &mut Pull<'_>,
    how: &How,
    cells: &mut Cells,
    placeholder: Option<&Placeholder>,
    rules: Rules<'_>,
    scratch: &mut Scratch,
) -> Result<Cell, Fault> {
    // The usual kinds go from the text straight into the column; whatever is unusual takes the long way.
    let before = *pull;
    let taken = match pull.peek() {
        Some(b'-' | b'0'..=b'9') => pull.whole().is_some_and(|number| cells.whole(how, number, rules)),
        Some(b'"') => pull.unescaped().is_some_and(|text| match how {
            How::Text => !placeholder.is_some_and(|p| p.is_text(text.as_bytes())) && cells.text(text.as_bytes()),
            How::Decimal(scale) => from_base64(text).is_some_and(|number| cells.unscaled(number, *scale)),
            _ => false,
        }),
        _ => false,
    };
    if taken {
        return Ok(Cell::Value);
    }
    *pull = before;
    if how.is_composite() {
        if pull.null()? {
            cells.append_null();
            return Ok(Cell::Null);
        }
        let mut composite = Composite::default();
        object(pull, scratch, |name, value| Ok(composite.set(how, name, value)?))?;
        if placeholder.is_some_and(|p| p.is_map(&composite)) {
            return Ok(Cell::Unknown);
        }
        return Ok(cells.append_composite(how, &composite, rules)?);
    }
    let value = pull.scalar(&mut scratch.value)?;
    if placeholder.is_some_and(|p| p.is(how, value)) {
        return Ok(Cell::Unknown);
    }
    Ok(cells.append(how, value, rules)?)
}
