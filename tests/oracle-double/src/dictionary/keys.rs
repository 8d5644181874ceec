//! Constraints, indexes and what of the columns is logged.

use super::{Catalog, FLAG, Family, NAME, NUMBER, Rows, number, optional, text};
use crate::model::{Key, Kind};
use crate::store::Stored;
use crate::types::{Type, Value};

/// The name that the server gives to the constraint behind a NOT NULL.
fn not_null_name(table: &Stored, column: usize) -> String {
    format!("SYS_C{:08}", table.object as usize * 100 + column)
}

/// Columns that are NOT NULL by themselves, not by a primary key.
fn not_null(table: &Stored) -> impl Iterator<Item = (usize, &str)> {
    let in_key = |name: &str| table.def.keys.iter().any(|k| k.kind == 'P' && k.columns.iter().any(|c| c == name));
    let columns = table.def.columns.iter().enumerate();
    columns.filter(move |(_, c)| !c.nullable && !in_key(&c.name)).map(|(n, c)| (n, c.name.as_str()))
}

/// Keys that an index stands behind.
fn indexed(table: &Stored) -> impl Iterator<Item = &Key> {
    table.def.keys.iter().filter(|k| k.kind != 'R' && k.enabled)
}

pub(super) const FAMILIES: &[Family] = &[
    Family {
        name: "CONSTRAINTS",
        columns: &[
            ("OWNER", NAME),
            ("CONSTRAINT_NAME", NAME),
            ("CONSTRAINT_TYPE", FLAG),
            ("TABLE_NAME", NAME),
            ("SEARCH_CONDITION", Type::Long),
            ("R_OWNER", NAME),
            ("R_CONSTRAINT_NAME", NAME),
            ("DELETE_RULE", NAME),
            ("STATUS", NAME),
            ("DEFERRABLE", NAME),
            ("DEFERRED", NAME),
            ("VALIDATED", NAME),
            ("GENERATED", NAME),
            ("INDEX_OWNER", NAME),
            ("INDEX_NAME", NAME),
        ],
        rows: constraints,
    },
    Family {
        name: "CONS_COLUMNS",
        columns: &[
            ("OWNER", NAME),
            ("CONSTRAINT_NAME", NAME),
            ("TABLE_NAME", NAME),
            ("COLUMN_NAME", NAME),
            ("POSITION", NUMBER),
        ],
        rows: |catalog| {
            let mut rows = Vec::new();
            for table in catalog.tables() {
                let row = |name: &str, column: &str, position: Value| {
                    vec![text(&table.def.owner), text(name), text(&table.def.name), text(column), position]
                };
                for (n, column) in not_null(table) {
                    rows.push(row(&not_null_name(table, n), column, Value::Null));
                }
                for key in &table.def.keys {
                    let columns = key.columns.iter().enumerate();
                    rows.extend(columns.map(|(n, column)| row(&key.name, column, number(n as i64 + 1))));
                }
            }
            rows
        },
    },
    Family {
        name: "LOG_GROUPS",
        columns: &[
            ("OWNER", NAME),
            ("LOG_GROUP_NAME", NAME),
            ("TABLE_NAME", NAME),
            ("LOG_GROUP_TYPE", NAME),
            ("ALWAYS", NAME),
            ("GENERATED", NAME),
        ],
        rows: |catalog| {
            let logged = catalog.tables().filter(|t| t.def.logs_all);
            let row = |t: &Stored| {
                let name = format!("SYS_C{:08}", t.object as usize * 100 + 99);
                let (kind, always) = (text("ALL COLUMN LOGGING"), text("ALWAYS"));
                vec![text(&t.def.owner), text(&name), text(&t.def.name), kind, always, text("GENERATED NAME")]
            };
            logged.map(row).collect()
        },
    },
    Family {
        name: "INDEXES",
        columns: &[
            ("OWNER", NAME),
            ("INDEX_NAME", NAME),
            ("INDEX_TYPE", NAME),
            ("TABLE_OWNER", NAME),
            ("TABLE_NAME", NAME),
            ("TABLE_TYPE", NAME),
            ("UNIQUENESS", NAME),
            ("STATUS", NAME),
        ],
        rows: |catalog| {
            let keys = catalog.tables().flat_map(|t| indexed(t).map(move |k| (t, k)));
            let rows = keys.map(|(t, key)| {
                let iot = t.def.kind == Kind::IndexOrganised && key.kind == 'P';
                vec![
                    text(&t.def.owner),
                    text(&key.name),
                    text(if iot { "IOT - TOP" } else { "NORMAL" }),
                    text(&t.def.owner),
                    text(&t.def.name),
                    text("TABLE"),
                    text("UNIQUE"),
                    text("VALID"),
                ]
            });
            rows.collect()
        },
    },
    Family {
        name: "IND_COLUMNS",
        columns: &[
            ("INDEX_OWNER", NAME),
            ("INDEX_NAME", NAME),
            ("TABLE_OWNER", NAME),
            ("TABLE_NAME", NAME),
            ("COLUMN_NAME", NAME),
            ("COLUMN_POSITION", NUMBER),
            ("DESCEND", FLAG),
        ],
        rows: |catalog| {
            let mut rows = Vec::new();
            for (table, key) in catalog.tables().flat_map(|t| indexed(t).map(move |k| (t, k))) {
                for (n, column) in key.columns.iter().enumerate() {
                    let (owner, name) = (text(&table.def.owner), text(&table.def.name));
                    let position = number(n as i64 + 1);
                    rows.push(vec![owner.clone(), text(&key.name), owner, name, text(column), position, text("ASC")]);
                }
            }
            rows
        },
    },
];

fn constraints(catalog: &Catalog<'_>) -> Rows {
    let mut rows = Vec::new();
    for table in catalog.tables() {
        let owner = &table.def.owner;
        let mut row = |name: &str, kind: char, condition: Option<String>, key: Option<&Key>| {
            let refers = key.and_then(|k| k.refers.as_ref());
            let enabled = key.is_none_or(|k| k.enabled);
            let index = key.filter(|k| k.kind != 'R' && k.enabled).map(|k| k.name.as_str());
            rows.push(vec![
                text(owner),
                text(name),
                text(&kind.to_string()),
                text(&table.def.name),
                optional(condition.as_deref()),
                optional(refers.map(|(owner, _)| owner.as_str())),
                optional(refers.map(|(_, key)| key.as_str())),
                optional(refers.map(|_| "NO ACTION")),
                text(if enabled { "ENABLED" } else { "DISABLED" }),
                text("NOT DEFERRABLE"),
                text("IMMEDIATE"),
                text(if enabled { "VALIDATED" } else { "NOT VALIDATED" }),
                text(if key.is_some() { "USER NAME" } else { "GENERATED NAME" }),
                optional(index.map(|_| owner.as_str())),
                optional(index),
            ]);
        };
        for (n, column) in not_null(table) {
            row(&not_null_name(table, n), 'C', Some(format!("\"{column}\" IS NOT NULL")), None);
        }
        for key in &table.def.keys {
            row(&key.name, key.kind, None, Some(key));
        }
    }
    rows
}
