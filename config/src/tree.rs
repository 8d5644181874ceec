//! The tree between a file's syntax and its shape. A format is a module that makes this tree of a text, and
//! all that follows is the same for every format.

/// A value of a configuration file. Not `Debug`: it may hold a password.
#[derive(Clone)]
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

/// A parser's result in one line, for the formats' tests.
#[cfg(test)]
pub(crate) fn show(result: Result<Node, crate::file::Unreadable>) -> String {
    fn node(tree: &Node) -> String {
        match tree {
            Node::Scalar(text) => format!("<{text}>"),
            Node::Null => "null".into(),
            Node::List(items) => format!("[{}]", items.iter().map(node).collect::<Vec<_>>().join(" ")),
            Node::Map(pairs) => {
                format!("{{{}}}", pairs.iter().map(|(k, v)| format!("{k}:{}", node(v))).collect::<Vec<_>>().join(" "))
            }
        }
    }
    match result {
        Ok(tree) => node(&tree),
        Err(crate::file::Unreadable { at, message }) => {
            format!("{}{message}", at.map(|at| format!("{}:{} ", at.line, at.column)).unwrap_or_default())
        }
    }
}
