//! Objects, and the segments and extents that they lie in.

use super::{Catalog, FLAG, Family, NAME, NUMBER, Rows, Scope, Single, number, optional, text};
use crate::model::Kind;
use crate::store::{Segment, Stored};
use crate::types::{Type, Value};

/// Bytes of a block.
const BLOCK: i64 = 8192;

pub(super) const FAMILIES: &[Family] = &[Family {
    name: "OBJECTS",
    columns: &[
        ("OWNER", NAME),
        ("OBJECT_NAME", NAME),
        ("SUBOBJECT_NAME", NAME),
        ("OBJECT_ID", NUMBER),
        ("DATA_OBJECT_ID", NUMBER),
        ("OBJECT_TYPE", NAME),
        ("CREATED", Type::Date),
        ("LAST_DDL_TIME", Type::Date),
        ("STATUS", NAME),
        ("TEMPORARY", FLAG),
        ("GENERATED", FLAG),
        ("SECONDARY", FLAG),
    ],
    rows: objects,
}];

fn objects(catalog: &Catalog<'_>) -> Rows {
    let mut rows = Vec::new();
    let date =
        |scn: u64| Value::Date(crate::types::Moment::from_epoch_seconds(1_700_000_000 + (scn % 1_000_000) as i64));
    for table in catalog.tables() {
        let temporary = table.def.kind == Kind::Temporary;
        let mut row = |part: Option<&str>, object: u32, data_object: Option<u32>, kind: &str| {
            rows.push(vec![
                text(&table.def.owner),
                text(&table.def.name),
                optional(part),
                number(object),
                data_object.map_or(Value::Null, Value::int),
                text(kind),
                date(0),
                date(table.defined),
                text("VALID"),
                text(if temporary { "Y" } else { "N" }),
                text("N"),
                text("N"),
            ]);
        };
        if matches!(table.def.kind, Kind::View(_)) {
            row(None, table.object, None, "VIEW");
            continue;
        }
        let whole = table.def.partitions.is_empty();
        let has_segment = whole && !matches!(table.def.kind, Kind::IndexOrganised | Kind::External | Kind::Temporary);
        row(None, table.object, has_segment.then(|| table.segments[0].data_object), "TABLE");
        if let Kind::MaterialisedView(_) = table.def.kind {
            row(None, table.object + 1_000_000, None, "MATERIALIZED VIEW");
        }
        for partition in table.def.partitions.iter().filter(|p| p.parent.is_none()) {
            let own = table.segments.iter().find(|s| s.partition.as_ref() == Some(&partition.name));
            // Of a composite partition only the parts have segments.
            let object = own.map_or(table.object + 2_000_000, |s| s.object);
            row(Some(&partition.name), object, own.map(|s| s.data_object), "TABLE PARTITION");
        }
        for partition in table.def.partitions.iter().filter(|p| p.parent.is_some()) {
            if let Some(own) = table.segments.iter().find(|s| s.partition.as_ref() == Some(&partition.name)) {
                row(Some(&partition.name), own.object, Some(own.data_object), "TABLE SUBPARTITION");
            }
        }
    }
    rows
}

/// Each segment with the name, the type and the partition that the dictionary shows.
fn segments<'a>(catalog: &Catalog<'a>) -> impl Iterator<Item = (&'a Stored, &'a Segment, &'a str, &'static str)> {
    let kept = catalog.tables().filter(|t| !matches!(t.def.kind, Kind::View(_) | Kind::Temporary | Kind::External));
    kept.flat_map(|table| {
        table.segments.iter().map(move |segment| {
            let is_part =
                table.def.partitions.iter().any(|p| p.parent.is_some() && Some(&p.name) == segment.partition.as_ref());
            let (name, kind) = match (&table.def.kind, &segment.partition) {
                (Kind::Clustered(cluster), _) => (cluster.as_str(), "CLUSTER"),
                // Its rows are in the index.
                (Kind::IndexOrganised, _) => {
                    let key = table.def.keys.iter().find(|k| k.kind == 'P');
                    (key.map_or(table.def.name.as_str(), |k| k.name.as_str()), "INDEX")
                }
                (Kind::Nested { .. }, _) => (table.def.name.as_str(), "NESTED TABLE"),
                (_, None) => (table.def.name.as_str(), "TABLE"),
                (_, Some(_)) if is_part => (table.def.name.as_str(), "TABLE SUBPARTITION"),
                (_, Some(_)) => (table.def.name.as_str(), "TABLE PARTITION"),
            };
            (table, segment, name, kind)
        })
    })
}

const EXTENT_COLUMNS: &[(&str, Type)] = &[
    ("OWNER", NAME),
    ("SEGMENT_NAME", NAME),
    ("PARTITION_NAME", NAME),
    ("SEGMENT_TYPE", NAME),
    ("TABLESPACE_NAME", NAME),
    ("EXTENT_ID", NUMBER),
    ("FILE_ID", NUMBER),
    ("BLOCK_ID", NUMBER),
    ("BYTES", NUMBER),
    ("BLOCKS", NUMBER),
    ("RELATIVE_FNO", NUMBER),
];

pub(super) const VIEWS: &[Single] = &[
    ("DBA_EXTENTS", Scope::Dba, EXTENT_COLUMNS, |catalog| {
        let mut rows = Vec::new();
        for (table, segment, name, kind) in segments(catalog) {
            for id in 0..segment.extents() {
                let extent = segment.extent(id);
                rows.push(vec![
                    text(&table.def.owner),
                    text(name),
                    optional(segment.partition.as_deref()),
                    text(kind),
                    text("USERS"),
                    number(id as i64),
                    number(extent.file),
                    number(extent.block),
                    number(i64::from(extent.blocks) * BLOCK),
                    number(extent.blocks),
                    number(extent.file),
                ]);
            }
        }
        rows
    }),
    (
        "DBA_SEGMENTS",
        Scope::Dba,
        &[
            ("OWNER", NAME),
            ("SEGMENT_NAME", NAME),
            ("PARTITION_NAME", NAME),
            ("SEGMENT_TYPE", NAME),
            ("TABLESPACE_NAME", NAME),
            ("HEADER_FILE", NUMBER),
            ("HEADER_BLOCK", NUMBER),
            ("BYTES", NUMBER),
            ("BLOCKS", NUMBER),
            ("EXTENTS", NUMBER),
            ("RELATIVE_FNO", NUMBER),
        ],
        |catalog| {
            let rows = segments(catalog).map(|(table, segment, name, kind)| {
                let blocks = segment.extents() as i64 * i64::from(segment.blocks_per_extent);
                let first = segment.extent(0);
                vec![
                    text(&table.def.owner),
                    text(name),
                    optional(segment.partition.as_deref()),
                    text(kind),
                    text("USERS"),
                    number(first.file),
                    number(first.block),
                    number(blocks * BLOCK),
                    number(blocks),
                    number(segment.extents() as i64),
                    number(first.file),
                ]
            });
            rows.collect()
        },
    ),
];
