//! Columns of tables and views.

use super::{Catalog, FLAG, Family, NAME, NUMBER, Rows, TEXT, number, optional, text, y, yes};
use crate::encode::Description;
use crate::model::{ColumnDef, Kind};
use crate::store::Stored;
use crate::types::{Length, Type, Value};

/// What both views have.
const COLUMNS: &[(&str, Type)] = &[
    ("OWNER", NAME),
    ("TABLE_NAME", NAME),
    ("COLUMN_NAME", NAME),
    ("DATA_TYPE", NAME),
    ("DATA_TYPE_MOD", FLAG),
    ("DATA_TYPE_OWNER", NAME),
    ("DATA_LENGTH", NUMBER),
    ("DATA_PRECISION", NUMBER),
    ("DATA_SCALE", NUMBER),
    ("NULLABLE", FLAG),
    ("COLUMN_ID", NUMBER),
    ("DEFAULT_LENGTH", NUMBER),
    ("DATA_DEFAULT", Type::Long),
    ("CHARACTER_SET_NAME", NAME),
    ("CHAR_COL_DECL_LENGTH", NUMBER),
    ("CHAR_LENGTH", NUMBER),
    ("CHAR_USED", FLAG),
    ("IDENTITY_COLUMN", FLAG),
    ("HIDDEN_COLUMN", FLAG),
    ("VIRTUAL_COLUMN", FLAG),
];

pub(super) const FAMILIES: &[Family] = &[
    // Without invisible columns and with fewer columns of its own.
    Family { name: "TAB_COLUMNS", columns: COLUMNS.split_at(18).0, rows: |catalog| rows(catalog, false) },
    Family { name: "TAB_COLS", columns: COLUMNS, rows: |catalog| rows(catalog, true) },
    Family {
        name: "TAB_IDENTITY_COLS",
        columns: &[
            ("OWNER", NAME),
            ("TABLE_NAME", NAME),
            ("COLUMN_NAME", NAME),
            ("GENERATION_TYPE", NAME),
            ("IDENTITY_OPTIONS", TEXT),
        ],
        rows: |catalog| {
            let columns = catalog.tables().flat_map(|t| t.def.columns.iter().map(move |c| (t, c)));
            let identities = columns.filter(|(_, c)| c.identity);
            let rows = identities.map(|(t, c)| {
                let (owner, name) = (text(&t.def.owner), text(&t.def.name));
                vec![owner, name, text(&c.name), text("BY DEFAULT"), text("START WITH: 1, INCREMENT BY: 1")]
            });
            rows.collect()
        },
    },
];

fn rows(catalog: &Catalog<'_>, hidden: bool) -> Rows {
    let mut rows = Vec::new();
    for table in catalog.tables() {
        let defined;
        let columns = match &table.def.kind {
            Kind::View(_) => {
                defined = view_columns(catalog, table);
                &defined
            }
            _ => &table.def.columns,
        };
        let mut id = 0;
        for column in columns.iter().filter(|c| hidden || !c.hidden) {
            id += i64::from(!column.hidden);
            let id = if column.hidden { Value::Null } else { number(id) };
            let mut row = row(table, column, id);
            row.truncate(if hidden { COLUMNS.len() } else { 18 });
            rows.push(row);
        }
    }
    rows
}

/// The columns of a view are those of its query.
fn view_columns(catalog: &Catalog<'_>, view: &Stored) -> Vec<ColumnDef> {
    let described = crate::sql::describe_view(catalog.state, catalog.session, view);
    let columns = described.into_iter().map(|c| ColumnDef {
        name: c.name,
        kind: c.kind,
        nullable: c.nullable,
        comment: None,
        hidden: false,
        generated: None,
        identity: false,
    });
    columns.collect()
}

fn row(table: &Stored, column: &ColumnDef, id: Value) -> Vec<Value> {
    let kind = &column.kind;
    let description = Description::of(kind);
    let (precision, scale) = match kind {
        Type::Number(p, s) => (p.map(i64::from), s.map(i64::from)),
        Type::Float(bits) => (Some((*bits).into()), None),
        Type::Timestamp(f) | Type::TimestampTz(f) | Type::TimestampLtz(f) => (None, Some((*f).into())),
        Type::IntervalYm(y) => (Some((*y).into()), Some(0)),
        Type::IntervalDs(d, f) => (Some((*d).into()), Some((*f).into())),
        _ => (None, None),
    };
    let optional_number = |n: Option<i64>| n.map_or(Value::Null, Value::int);
    let used = match kind {
        Type::Varchar2(Length::Bytes(_)) | Type::Char(Length::Bytes(_)) => Some("B"),
        Type::Varchar2(_) | Type::Char(_) | Type::Nvarchar2(_) | Type::Nchar(_) => Some("C"),
        _ => None,
    };
    let charset = match description.form {
        0 => None,
        1 => Some("CHAR_CS"),
        _ => Some("NCHAR_CS"),
    };
    let generated = column.generated.as_deref();
    vec![
        text(&table.def.owner),
        text(&table.def.name),
        text(&column.name),
        text(&kind.name()),
        Value::Null,
        optional((*kind == Type::Xml).then_some("SYS")),
        number(i64::from(description.size)),
        optional_number(precision),
        optional_number(scale),
        y(column.nullable),
        id,
        optional_number(generated.map(|g| g.len() as i64)),
        optional(generated),
        optional(charset),
        optional_number(used.map(|_| description.size.into())),
        number(if used.is_some() { i64::from(description.characters) } else { 0 }),
        optional(used),
        yes(column.identity),
        yes(column.hidden),
        yes(generated.is_some()),
    ]
}
