//! Single values on their way from a message to a column.

pub(crate) mod convert;
pub(crate) mod decimal;
pub(crate) mod text;
pub(crate) mod time;

/// A value as a message has it: JSON leaves numbers as their text, Avro knows its types.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Null,
    Bool(bool),
    /// A number in JSON, still to be read: what it means depends on the column.
    Number(&'a str),
    Int(i64),
    Float(f32),
    Double(f64),
    Text(&'a str),
    Bytes(&'a [u8]),
}
