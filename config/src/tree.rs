//! The tree between a file's syntax and its shape. A format is a module that makes this tree of a text, and
//! all that follows is the same for every format.

/// A value of a configuration file. Not `Debug`: it may hold a password.
pub(crate) enum Node {
    /// A string, a number or a boolean, as its text.
    Scalar(String),
    /// No value.
    Null,
    /// A list.
    List(Vec<Node>),
    /// Keys and values in the file's order, duplicates included.
    Map(Vec<(String, Node)>),
}
