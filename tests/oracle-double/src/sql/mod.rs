//! The SQL that a client sends: tokens, a tree, a plan, rows.
//!
//! As much of the language as bulk loads and drivers use: queries with joins, groups, order and limits over tables,
//! views and the dictionary. What is not understood fails as it does on a real server.

mod eval;
mod expression;
mod functions;
mod lexer;
mod names;
mod parser;
mod plan;
mod rows;
mod scan;
mod syntax;

pub(crate) use eval::Row;
pub(crate) use functions::text as text_of;
pub(crate) use plan::{Cursor, Out, Session, binds, describe_view, prepare};
pub(crate) use scan::{Cell, TableRow};
pub(crate) use syntax::{Expr, Query, Statement};
