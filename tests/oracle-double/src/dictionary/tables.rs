//! Tables, views and what is said of them.

use super::{FLAG, Family, NAME, NUMBER, TEXT, number, optional, text, y, yes};
use crate::model::Kind;
use crate::store::Stored;
use crate::types::{Length, Type, Value};

fn is_table(table: &Stored) -> bool {
    !matches!(table.def.kind, Kind::View(_))
}

fn statistic(table: &Stored, of: fn(u64, u64, u64) -> u64) -> Value {
    let blocks: u64 = table.segments.iter().map(|s| s.extents() * u64::from(s.blocks_per_extent)).sum();
    table.def.analysed.map_or(Value::Null, |(rows, bytes)| number(of(rows, bytes, blocks) as i64))
}

pub(super) const FAMILIES: &[Family] = &[
    Family {
        name: "TABLES",
        columns: &[
            ("OWNER", NAME),
            ("TABLE_NAME", NAME),
            ("TABLESPACE_NAME", NAME),
            ("CLUSTER_NAME", NAME),
            ("IOT_NAME", NAME),
            ("STATUS", NAME),
            ("NUM_ROWS", NUMBER),
            ("BLOCKS", NUMBER),
            ("AVG_ROW_LEN", NUMBER),
            ("PARTITIONED", FLAG),
            ("IOT_TYPE", NAME),
            ("TEMPORARY", FLAG),
            ("SECONDARY", FLAG),
            ("NESTED", FLAG),
            ("DURATION", NAME),
            ("DROPPED", FLAG),
            ("READ_ONLY", FLAG),
            ("EXTERNAL", FLAG),
        ],
        rows: |catalog| {
            let tables = catalog.tables().filter(|t| is_table(t));
            let rows = tables.map(|t| {
                let def = &t.def;
                let cluster = if let Kind::Clustered(cluster) = &def.kind { Some(cluster.as_str()) } else { None };
                let iot = def.kind == Kind::IndexOrganised;
                let temporary = def.kind == Kind::Temporary;
                let whole = !iot && !temporary && def.partitions.is_empty();
                vec![
                    text(&def.owner),
                    text(&def.name),
                    optional(whole.then_some("USERS")),
                    optional(cluster),
                    Value::Null,
                    text("VALID"),
                    statistic(t, |rows, _, _| rows),
                    statistic(t, |_, _, blocks| blocks),
                    statistic(t, |_, bytes, _| bytes),
                    yes(!def.partitions.is_empty()),
                    optional(iot.then_some("IOT")),
                    y(temporary),
                    text("N"),
                    yes(matches!(def.kind, Kind::Nested { .. })),
                    optional(temporary.then_some("SYS$SESSION")),
                    text("NO"),
                    text("NO"),
                    yes(def.kind == Kind::External),
                ]
            });
            rows.collect()
        },
    },
    Family {
        name: "VIEWS",
        columns: &[
            ("OWNER", NAME),
            ("VIEW_NAME", NAME),
            ("TEXT_LENGTH", NUMBER),
            ("TEXT", Type::Long),
            ("TEXT_VC", TEXT),
            ("READ_ONLY", FLAG),
        ],
        rows: |catalog| {
            let views = catalog.tables().filter_map(|t| match &t.def.kind {
                Kind::View(sql) => Some(vec![
                    text(&t.def.owner),
                    text(&t.def.name),
                    number(sql.len() as i64),
                    text(sql),
                    text(sql),
                    text("N"),
                ]),
                _ => None,
            });
            views.collect()
        },
    },
    Family {
        name: "MVIEWS",
        columns: &[
            ("OWNER", NAME),
            ("MVIEW_NAME", NAME),
            ("CONTAINER_NAME", NAME),
            ("QUERY", Type::Long),
            ("QUERY_LEN", NUMBER),
        ],
        rows: |catalog| {
            let views = catalog.tables().filter_map(|t| match &t.def.kind {
                Kind::MaterialisedView(sql) => {
                    let (owner, name) = (text(&t.def.owner), text(&t.def.name));
                    Some(vec![owner, name.clone(), name, text(sql), number(sql.len() as i64)])
                }
                _ => None,
            });
            views.collect()
        },
    },
    Family {
        name: "EXTERNAL_TABLES",
        columns: &[
            ("OWNER", NAME),
            ("TABLE_NAME", NAME),
            ("TYPE_OWNER", NAME),
            ("TYPE_NAME", NAME),
            ("DEFAULT_DIRECTORY_OWNER", NAME),
            ("DEFAULT_DIRECTORY_NAME", NAME),
        ],
        rows: |catalog| {
            let tables = catalog.tables().filter(|t| t.def.kind == Kind::External);
            let rows = tables.map(|t| {
                let (owner, name) = (text(&t.def.owner), text(&t.def.name));
                vec![owner, name, text("SYS"), text("ORACLE_LOADER"), text("SYS"), text("DATA")]
            });
            rows.collect()
        },
    },
    Family {
        name: "NESTED_TABLES",
        columns: &[
            ("OWNER", NAME),
            ("TABLE_NAME", NAME),
            ("TABLE_TYPE_OWNER", NAME),
            ("TABLE_TYPE_NAME", NAME),
            ("PARENT_TABLE_NAME", NAME),
            ("PARENT_TABLE_COLUMN", TEXT),
        ],
        rows: |catalog| {
            let tables = catalog.tables().filter_map(|t| match &t.def.kind {
                Kind::Nested { parent, column } => {
                    let owner = text(&t.def.owner);
                    Some(vec![owner.clone(), text(&t.def.name), owner, text("LIST_T"), text(parent), text(column)])
                }
                _ => None,
            });
            tables.collect()
        },
    },
    Family {
        name: "TAB_COMMENTS",
        columns: &[("OWNER", NAME), ("TABLE_NAME", NAME), ("TABLE_TYPE", NAME), ("COMMENTS", TEXT)],
        rows: |catalog| {
            let rows = catalog.tables().map(|t| {
                let kind = if is_table(t) { "TABLE" } else { "VIEW" };
                vec![text(&t.def.owner), text(&t.def.name), text(kind), optional(t.def.comment.as_deref())]
            });
            rows.collect()
        },
    },
    Family {
        name: "COL_COMMENTS",
        columns: &[("OWNER", NAME), ("TABLE_NAME", NAME), ("COLUMN_NAME", NAME), ("COMMENTS", TEXT)],
        rows: |catalog| {
            let columns = catalog.tables().flat_map(|t| t.def.columns.iter().map(move |c| (t, c)));
            let rows = columns.map(|(t, c)| {
                vec![text(&t.def.owner), text(&t.def.name), text(&c.name), optional(c.comment.as_deref())]
            });
            rows.collect()
        },
    },
    Family {
        name: "PART_TABLES",
        columns: &[
            ("OWNER", NAME),
            ("TABLE_NAME", NAME),
            ("PARTITIONING_TYPE", NAME),
            ("SUBPARTITIONING_TYPE", NAME),
            ("PARTITION_COUNT", NUMBER),
            ("STATUS", Type::Varchar2(Length::Bytes(8))),
        ],
        rows: |catalog| {
            let tables = catalog.tables().filter(|t| !t.def.partitions.is_empty());
            let rows = tables.map(|t| {
                let parts = t.def.partitions.iter().filter(|p| p.parent.is_some()).count();
                let count = t.def.partitions.len() - parts;
                let sub = if parts > 0 { "LIST" } else { "NONE" };
                let (owner, name) = (text(&t.def.owner), text(&t.def.name));
                vec![owner, name, text("RANGE"), text(sub), number(count as i64), text("VALID")]
            });
            rows.collect()
        },
    },
    Family {
        name: "TAB_PARTITIONS",
        columns: &[
            ("TABLE_OWNER", NAME),
            ("TABLE_NAME", NAME),
            ("COMPOSITE", FLAG),
            ("PARTITION_NAME", NAME),
            ("SUBPARTITION_COUNT", NUMBER),
            ("HIGH_VALUE", Type::Long),
            ("HIGH_VALUE_LENGTH", NUMBER),
            ("PARTITION_POSITION", NUMBER),
        ],
        rows: |catalog| {
            let mut rows = Vec::new();
            for t in catalog.tables() {
                let whole = t.def.partitions.iter().filter(|p| p.parent.is_none());
                for (position, p) in whole.enumerate() {
                    let parts = t.def.partitions.iter().filter(|q| q.parent.as_ref() == Some(&p.name)).count();
                    rows.push(vec![
                        text(&t.def.owner),
                        text(&t.def.name),
                        yes(parts > 0),
                        text(&p.name),
                        number(parts as i64),
                        text(&p.high_value),
                        number(p.high_value.len() as i64),
                        number(position as i64 + 1),
                    ]);
                }
            }
            rows
        },
    },
    Family {
        name: "TAB_SUBPARTITIONS",
        columns: &[
            ("TABLE_OWNER", NAME),
            ("TABLE_NAME", NAME),
            ("PARTITION_NAME", NAME),
            ("SUBPARTITION_NAME", NAME),
            ("HIGH_VALUE", Type::Long),
            ("HIGH_VALUE_LENGTH", NUMBER),
            ("SUBPARTITION_POSITION", NUMBER),
        ],
        rows: |catalog| {
            let mut rows = Vec::new();
            for t in catalog.tables() {
                let parts = t.def.partitions.iter().filter_map(|p| Some((p.parent.as_ref()?, p)));
                for (position, (parent, p)) in parts.enumerate() {
                    rows.push(vec![
                        text(&t.def.owner),
                        text(&t.def.name),
                        text(parent),
                        text(&p.name),
                        text(&p.high_value),
                        number(p.high_value.len() as i64),
                        number(position as i64 + 1),
                    ]);
                }
            }
            rows
        },
    },
];
