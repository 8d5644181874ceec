//! What the server's catalog says: tables, columns, types, sizes.
//!
//! The SQL lives here, and turning its answers into a table that can be read, or into the reason why not.
//! Every query names its functions plainly: `search_path` is empty on our connections.

use std::collections::HashMap;
use std::sync::Arc;

use connector_api::{Error, Result, TableId, TableSchema};
use postgres_protocol::escape::escape_identifier;

use crate::error::Answer;
use crate::filter::Filter;
use crate::plan::{Part, Size};
use crate::types::{Custom, Wire, resolve};
use crate::wire::{Connection, Row};

/// How many tables one statement asks about.
const AT_ONCE: usize = 500;

/// A table that could be read: an ordinary one, or a partitioned parent.
#[derive(Clone, Debug)]
pub(crate) struct Relation {
    pub(crate) oid: u32,
    pub(crate) id: TableId,
    partitioned: bool,
    heap: bool,
    usage: bool,
    select: bool,
    row_security: bool,
    foreign_partition: bool,
    unreadable_here: bool,
    rows: Option<u64>,
    comment: Option<String>,
}

const RELATIONS: &str = "
SELECT c.oid, n.nspname, c.relname, c.relkind = 'p', coalesce(a.amname = 'heap', false),
       has_schema_privilege(n.oid, 'USAGE'), has_table_privilege(c.oid, 'SELECT'), row_security_active(c.oid),
       CASE WHEN c.relkind = 'p' THEN EXISTS (
           SELECT FROM pg_partition_tree(c.oid) p JOIN pg_class x ON x.oid = p.relid WHERE x.relkind = 'f') END,
       c.relpersistence = 'u' AND pg_is_in_recovery(),
       c.reltuples::bigint, obj_description(c.oid, 'pg_class')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_am a ON a.oid = c.relam
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
ORDER BY n.nspname, c.relname";

/// Every table outside the system's schemas, by name; partitions are part of their parent.
pub(crate) fn relations(connection: &mut Connection) -> Answer<Vec<Relation>> {
    let relation = |row: &Row| {
        Ok(Relation {
            oid: row.parse(0)?,
            id: TableId::new(row.text(1)?, row.text(2)?),
            partitioned: row.flag(3),
            heap: row.flag(4),
            usage: row.flag(5),
            select: row.flag(6),
            row_security: row.flag(7),
            foreign_partition: row.flag(8),
            unreadable_here: row.flag(9),
            // −1 is "never analysed"; before PostgreSQL 14 that was 0.
            rows: row.parse::<i64>(10).ok().and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0),
            comment: row.get(11).map(str::to_owned),
        })
    };
    connection.query(RELATIONS)?.iter().map(relation).collect()
}

impl Relation {
    /// Why the table cannot be read, as far as that shows before its lock.
    pub(crate) fn obstacle(&self) -> Option<Error> {
        let why = if !self.usage {
            "no USAGE privilege on the table's schema"
        } else if !self.select {
            "no SELECT privilege on the table"
        } else if self.row_security {
            "row-level security would hide rows of the table from this user"
        } else if self.foreign_partition {
            "the table has a foreign table as a partition, which is outside the snapshot"
        } else if self.unreadable_here {
            "the table is unlogged and so cannot be read on a replica"
        } else {
            return None;
        };
        Some(Error::data(why).with("table", &self.id))
    }

    /// What LOCK and SELECT take: with its partitions, but without tables that inherit from it, which are
    /// read by themselves.
    pub(crate) fn target(&self) -> String {
        let only = if self.partitioned { "" } else { "ONLY " };
        format!("{only}{}.{}", escape_identifier(self.id.schema()), escape_identifier(self.id.name()))
    }

    /// Whether it can be read by ranges of pages: range scans came with PostgreSQL 14.
    pub(crate) fn divides(&self, version: u32) -> bool {
        self.heap && !self.partitioned && version >= 140_000
    }

    /// Estimated rows.
    pub(crate) fn rows(&self) -> Option<u64> {
        self.rows
    }
}

/// A column as the catalog has it.
#[derive(Clone, Debug)]
pub(crate) struct Attribute {
    name: String,
    required: bool,
    type_oid: u32,
    modifier: i32,
    type_name: String,
    comment: Option<String>,
    /// Place in the primary key, from 1.
    key: Option<u32>,
}

/// The columns of these tables, in their order. INCLUDE columns of a key's index are not the key.
pub(crate) fn attributes(connection: &mut Connection, oids: &[u32]) -> Answer<HashMap<u32, Vec<Attribute>>> {
    let mut all: HashMap<u32, Vec<Attribute>> = HashMap::new();
    for oids in oids.chunks(AT_ONCE) {
        let sql = format!(
            "SELECT a.attrelid, a.attname, a.attnotnull, a.atttypid, a.atttypmod, format_type(a.atttypid, a.atttypmod),
                    col_description(a.attrelid, a.attnum),
                    (SELECT k.place FROM pg_index i, unnest(i.indkey::int2[]) WITH ORDINALITY k(number, place)
                     WHERE i.indrelid = a.attrelid AND i.indisprimary AND k.number = a.attnum
                       AND k.place <= i.indnkeyatts)
             FROM pg_attribute a
             WHERE a.attrelid = ANY ({}) AND a.attnum > 0 AND NOT a.attisdropped
             ORDER BY a.attrelid, a.attnum",
            array(oids)
        );
        for row in connection.query(&sql)? {
            all.entry(row.parse(0)?).or_default().push(Attribute {
                name: row.text(1)?.to_owned(),
                required: row.flag(2),
                type_oid: row.parse(3)?,
                modifier: row.parse(4)?,
                type_name: row.text(5)?.to_owned(),
                comment: row.get(6).map(str::to_owned),
                key: row.parse(7).ok(),
            });
        }
    }
    Ok(all)
}

/// Every domain and enum of the database.
pub(crate) fn custom_types(connection: &mut Connection) -> Answer<HashMap<u32, Custom>> {
    let sql = "SELECT oid, typtype, typbasetype, typtypmod FROM pg_type WHERE typtype IN ('d', 'e')";
    let custom = |row: &Row| {
        let custom = match row.text(1)? {
            "e" => Custom::Enum,
            _ => Custom::Domain { base: row.parse(2)?, modifier: row.parse(3)? },
        };
        Ok((row.parse(0)?, custom))
    };
    connection.query(sql)?.iter().map(custom).collect()
}

/// The sizes of these tables, partitions included.
pub(crate) fn sizes(connection: &mut Connection, oids: &[u32], page: u64) -> Answer<HashMap<u32, Size>> {
    let mut all = HashMap::new();
    for oids in oids.chunks(AT_ONCE) {
        let sql = format!(
            "SELECT c.oid, s.heap, s.total FROM pg_class c, LATERAL (
                 SELECT coalesce(sum(pg_relation_size(p.relid)), 0)::bigint AS heap,
                        coalesce(sum(pg_table_size(p.relid)), 0)::bigint AS total
                 FROM pg_partition_tree(c.oid) p
                 WHERE c.relkind = 'p'
                 UNION ALL SELECT pg_relation_size(c.oid), pg_table_size(c.oid) WHERE c.relkind <> 'p'
                 ORDER BY 2 DESC LIMIT 1) s
             WHERE c.oid = ANY ({})",
            array(oids)
        );
        for row in connection.query(&sql)? {
            all.insert(row.parse(0)?, Size { heap: row.parse(1)?, total: row.parse(2)?, page });
        }
    }
    Ok(all)
}

/// The leaves of each partitioned table among these, as a list in text, and whether all of them are locked
/// by this connection. Attaching a partition goes together with our lock, and shows at once: whatever
/// snapshot a query has, it reads the partitions of the present.
pub(crate) fn leaves(connection: &mut Connection, oids: &[u32]) -> Answer<HashMap<u32, (String, bool)>> {
    let mut all = HashMap::new();
    for oids in oids.chunks(AT_ONCE) {
        let sql = format!(
            "SELECT c.oid, coalesce(string_agg(p.relid::oid::text, ',' ORDER BY p.relid::oid), ''),
                    coalesce(bool_and(EXISTS (
                        SELECT FROM pg_locks l
                        WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation' AND l.granted
                          AND l.relation = p.relid AND l.mode = 'AccessShareLock')) FILTER (WHERE p.relid IS NOT NULL), true)
             FROM pg_class c LEFT JOIN LATERAL pg_partition_tree(c.oid) p ON p.isleaf
             WHERE c.oid = ANY ({}) AND c.relkind = 'p' GROUP BY c.oid",
            array(oids)
        );
        for row in connection.query(&sql)? {
            all.insert(row.parse(0)?, (row.text(1)?.to_owned(), row.flag(2)));
        }
    }
    Ok(all)
}

fn array(oids: &[u32]) -> String {
    let list: Vec<_> = oids.iter().map(u32::to_string).collect();
    format!("'{{{}}}'::oid[]", list.join(","))
}

/// A table and how to read it.
#[derive(Debug)]
pub(crate) struct Readable {
    pub(crate) schema: Arc<TableSchema>,
    /// One per column.
    pub(crate) wires: Vec<Wire>,
    pub(crate) oid: u32,
    /// Of a partitioned table: its leaves as of the cut.
    pub(crate) leaves: Option<String>,
    select: String,
}

impl Readable {
    /// The statement that reads a part of it.
    pub(crate) fn copy(&self, part: &Part) -> String {
        format!("COPY ({}{}) TO STDOUT (FORMAT binary)", self.select, part.condition())
    }
}

/// Makes of the catalog's answers a table that can be read, or the reason why not.
pub(crate) fn describe(
    relation: &Relation,
    attributes: &[Attribute],
    custom: &HashMap<u32, Custom>,
    filter: &Filter,
) -> Result<Readable> {
    let refuse = |what: String, attribute: &Attribute| {
        Err(Error::data(what).with("table", &relation.id).with("column", &attribute.name))
    };
    let (mut columns, mut wires, mut names, mut key) = (vec![], vec![], vec![], vec![]);
    for attribute in attributes {
        if !filter.keeps(&relation.id, &attribute.name) {
            if attribute.key.is_some() {
                return refuse("a column of the primary key is left out by the column lists".into(), attribute);
            }
            continue;
        }
        let Some(wire) = resolve(attribute.type_oid, attribute.modifier, custom) else {
            return refuse(format!("type {} is not supported yet", attribute.type_name), attribute);
        };
        if let Some(place) = attribute.key {
            key.push((place, columns.len()));
        }
        let column = wire.column(&attribute.name, !attribute.required, &attribute.type_name);
        columns.push(column.with_doc(attribute.comment.clone()));
        wires.push(wire);
        names.push(escape_identifier(&attribute.name));
    }
    if columns.is_empty() && !attributes.is_empty() {
        return Err(Error::data("the column lists leave no column of the table").with("table", &relation.id));
    }
    key.sort_unstable();
    let key = key.into_iter().map(|(_, column)| column).collect();
    let schema = TableSchema::new(relation.id.clone(), columns, key)?.with_doc(relation.comment.clone());
    let select = format!("SELECT {} FROM {}", names.join(", "), relation.target());
    Ok(Readable { schema: Arc::new(schema), wires, oid: relation.oid, leaves: None, select })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::List;

    fn check(
        columns: &[(&str, u32, Option<u32>)],
        filter: &Filter,
    ) -> std::result::Result<(String, Vec<usize>), String> {
        let relation = Relation {
            oid: 1,
            id: TableId::new("My \"s\"", "t"),
            partitioned: false,
            heap: true,
            usage: true,
            select: true,
            row_security: false,
            foreign_partition: false,
            unreadable_here: false,
            rows: None,
            comment: None,
        };
        let attributes: Vec<_> = columns
            .iter()
            .map(|(name, type_oid, key)| Attribute {
                name: (*name).into(),
                required: key.is_some(),
                type_oid: *type_oid,
                modifier: -1,
                type_name: format!("type{type_oid}"),
                comment: None,
                key: *key,
            })
            .collect();
        let readable = describe(&relation, &attributes, &HashMap::new(), filter).map_err(|e| e.to_string())?;
        assert_eq!(readable.wires.len(), readable.schema.columns().len());
        let part = Part::Pages { from: 3, to: None };
        Ok((readable.copy(&part), readable.schema.key().to_vec()))
    }

    #[test]
    fn describes_or_refuses() {
        let all = Filter::default();
        let without_b = Filter {
            columns: List::Exclude(vec![regex::Regex::new(r#"^My "s"\.t\.b$"#).unwrap()]),
            ..Filter::default()
        };
        let statement = |columns: &str| {
            format!(
                r#"COPY (SELECT {columns} FROM ONLY "My ""s"""."t" WHERE ctid >= '(3,0)'::tid) TO STDOUT (FORMAT binary)"#
            )
        };
        let columns = [("a", 25, Some(2)), ("b", 600, None), ("C d", 23, Some(1))];
        assert_eq!(check(&columns, &without_b), Ok((statement(r#""a", "C d""#), vec![1, 0])));
        assert_eq!(check(&columns, &all), Err("type type600 is not supported yet [table=My \"s\".t, column=b]".into()));
        assert_eq!(
            check(&[("a", 25, None), ("b", 23, Some(1))], &without_b),
            Err("a column of the primary key is left out by the column lists [table=My \"s\".t, column=b]".into())
        );
        assert_eq!(
            check(&[("b", 23, None)], &without_b),
            Err("the column lists leave no column of the table [table=My \"s\".t]".into())
        );
        assert_eq!(check(&[], &all), Err("the table has no columns [table=My \"s\".t]".into()));
    }
}
