//! The dictionary: views that are computed from the model when they are read.
//!
//! Columns are a subset of those of Oracle's reference, in its order, with its types. A family has three members:
//! `ALL_` shows what the user may read, `USER_` what it owns (without the owner), `DBA_` everything to those who may.

mod columns;
mod instance;
mod keys;
mod privileges;
mod segments;
mod tables;

use std::sync::OnceLock;

use crate::model::Kind;
use crate::sql::Session;
use crate::store::{State, Stored};
use crate::types::{Length, Type, Value};

pub(crate) use instance::context;
pub(crate) use privileges::{may_connect, may_execute, may_flash_back, may_read, may_select};

type Rows = Vec<Vec<Value>>;

/// A view of the dictionary.
pub(crate) struct View {
    /// Without its owner, in upper case: the synonym's name.
    pub(crate) name: String,
    pub(crate) columns: Vec<(&'static str, Type)>,
    pub(crate) scope: Scope,
    rows: fn(&Catalog<'_>) -> Rows,
}

/// Who sees what of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Everybody, what they may read.
    All,
    /// Everybody, what is theirs.
    User,
    /// Who may read the dictionary, everything.
    Dba,
    /// `V$…`: who was granted `V_$…`, or may read the dictionary.
    Performance,
    /// Everybody, everything.
    Public,
}

/// Of whose tables, and of which, rows are asked for; a hint that saves making the others.
#[derive(Default)]
pub(crate) struct Wanted {
    pub(crate) owner: Option<String>,
    pub(crate) table: Option<String>,
}

/// What a view is made of.
struct Catalog<'a> {
    state: &'a State,
    session: &'a Session,
    wanted: &'a Wanted,
    scope: Scope,
}

impl<'a> Catalog<'a> {
    /// The tables that are shown.
    fn tables(&self) -> impl Iterator<Item = &'a Stored> {
        let (state, session, wanted, scope) = (self.state, self.session, self.wanted, self.scope);
        state.tables.iter().filter(move |t| {
            wanted.owner.as_ref().is_none_or(|o| *o == t.def.owner)
                && wanted.table.as_ref().is_none_or(|n| *n == t.def.name || clustered_in(t, n))
                && match scope {
                    Scope::All => may_select(state, &session.user, &t.def.owner, &t.def.name),
                    Scope::User => t.def.owner == session.user,
                    _ => true,
                }
        })
    }
}

fn clustered_in(table: &Stored, name: &str) -> bool {
    matches!(&table.def.kind, Kind::Clustered(cluster) if cluster == name)
}

/// A family of views: what follows `ALL_`, the columns of which the first is the owner, the rows.
struct Family {
    name: &'static str,
    columns: &'static [(&'static str, Type)],
    rows: fn(&Catalog<'_>) -> Rows,
}

/// Columns' types that come again and again.
const NAME: Type = Type::Varchar2(Length::Bytes(128));
const NUMBER: Type = Type::Number(None, None);
const FLAG: Type = Type::Varchar2(Length::Bytes(3));
const TEXT: Type = Type::Varchar2(Length::Bytes(4000));

fn yes(flag: bool) -> Value {
    Value::text(if flag { "YES" } else { "NO" })
}

fn y(flag: bool) -> Value {
    Value::text(if flag { "Y" } else { "N" })
}

fn text(text: &str) -> Value {
    Value::text(text)
}

fn optional(text: Option<&str>) -> Value {
    text.map_or(Value::Null, Value::text)
}

fn number(n: impl Into<i64>) -> Value {
    Value::int(n)
}

fn views() -> &'static [View] {
    static VIEWS: OnceLock<Vec<View>> = OnceLock::new();
    VIEWS.get_or_init(|| {
        let mut all = Vec::new();
        let families = [tables::FAMILIES, columns::FAMILIES, keys::FAMILIES, segments::FAMILIES];
        for family in families.into_iter().flatten() {
            for (prefix, scope, skip) in [("ALL", Scope::All, 0), ("USER", Scope::User, 1), ("DBA", Scope::Dba, 0)] {
                let name = format!("{prefix}_{}", family.name);
                all.push(View { name, columns: family.columns[skip..].to_vec(), scope, rows: family.rows });
            }
        }
        for single in [segments::VIEWS, instance::VIEWS, privileges::VIEWS].into_iter().flatten() {
            let (name, scope, columns, rows) = single;
            all.push(View { name: (*name).into(), columns: columns.to_vec(), scope: *scope, rows: *rows });
        }
        all
    })
}

/// A view that stands alone: name, who sees it, columns, rows.
type Single = (&'static str, Scope, &'static [(&'static str, Type)], fn(&Catalog<'_>) -> Rows);

/// A view by its name: a public synonym, or an object of SYS.
pub(crate) fn find(owner: Option<&str>, name: &str) -> Option<&'static View> {
    match owner {
        None | Some("PUBLIC") => views().iter().find(|v| v.name == name),
        // SYS has the views of `V$…` under another name.
        Some("SYS") => views().iter().find(|v| object_name(v) == name),
        Some(_) => None,
    }
}

/// The name of the object of SYS behind a synonym.
fn object_name(view: &View) -> String {
    match (view.name.strip_prefix("V$"), view.name.strip_prefix("GV$")) {
        (Some(rest), _) => format!("V_${rest}"),
        (_, Some(rest)) => format!("GV_${rest}"),
        _ => view.name.clone(),
    }
}

/// The rows of a view.
pub(crate) fn rows(state: &State, session: &Session, view: &View, wanted: &Wanted) -> Rows {
    let mut rows = (view.rows)(&Catalog { state, session, wanted, scope: view.scope });
    for row in &mut rows {
        // A member of a family that has no owner.
        if row.len() > view.columns.len() {
            row.remove(0);
        }
        debug_assert_eq!(row.len(), view.columns.len(), "{}", view.name);
    }
    rows
}
