//! A statement as a tree.

use crate::types::Value;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Statement {
    Query(Box<Query>),
    /// Accepted; of these only the time zone, the schema and the container have a consequence.
    AlterSession(Vec<(String, String)>),
    /// An anonymous block: the procedure that it calls and its arguments; of no procedure when it is empty.
    Block(Option<(String, Vec<Expr>)>),
    /// Accepted and without consequence: `SET TRANSACTION`, `COMMIT`, `ROLLBACK`.
    Nothing,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Query {
    pub(crate) distinct: bool,
    pub(crate) items: Vec<Item>,
    pub(crate) from: Vec<From>,
    pub(crate) filter: Option<Expr>,
    pub(crate) group: Vec<Expr>,
    pub(crate) having: Option<Expr>,
    pub(crate) order: Vec<Order>,
    pub(crate) offset: Option<Expr>,
    pub(crate) limit: Option<Expr>,
    /// A further query whose rows follow.
    pub(crate) union: Option<Box<Query>>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Item {
    /// `*`, or all of one table.
    All(Option<String>),
    One {
        expr: Expr,
        alias: Option<String>,
        /// The text of the expression, which is its name otherwise.
        text: String,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Order {
    pub(crate) expr: Expr,
    pub(crate) descending: bool,
    pub(crate) nulls_first: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct From {
    pub(crate) source: Source,
    pub(crate) alias: Option<String>,
    pub(crate) join: Join,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Join {
    /// The first one, or one behind a comma.
    Cross,
    Inner(Expr),
    Left(Expr),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Source {
    Table {
        owner: Option<String>,
        name: String,
        /// A partition or a part of one.
        partition: Option<String>,
        /// Per cent, of blocks.
        sample: Option<f64>,
        scn: Option<Expr>,
        at: usize,
    },
    Query(Box<Query>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Add,
    Subtract,
    Multiply,
    Divide,
    Concatenate,
    And,
    Or,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Expr {
    Literal(Value),
    /// By its place among the statement's binds.
    Bind(usize),
    /// Qualifiers, the name, and where it is.
    Column(Vec<String>, String, usize),
    /// A function or an aggregate: name, arguments, whether `DISTINCT` was said.
    Call(String, Vec<Expr>, bool, usize),
    /// `COUNT(*)`
    CountAll,
    Binary(Operator, Box<Expr>, Box<Expr>),
    Not(Box<Expr>),
    Negative(Box<Expr>),
    IsNull(Box<Expr>),
    In(Box<Expr>, Vec<Expr>),
    InQuery(Vec<Expr>, Box<Query>),
    Exists(Box<Query>),
    Scalar(Box<Query>),
    Like(Box<Expr>, Box<Expr>, Option<Box<Expr>>),
    Case(Vec<(Expr, Expr)>, Option<Box<Expr>>),
}
