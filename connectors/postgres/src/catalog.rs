//! What the server's catalog says: tables, columns, types, sizes.
//!
//! The SQL lives here. Every query names its functions plainly: `search_path` is empty on our connections.

use std::collections::{HashMap, HashSet};

use connector_api::{Error, TableId};
use postgres_protocol::escape::escape_identifier;

use crate::config::PostgresConfig;
use crate::error::{Answer, Failure};
use crate::filter::RelationKind;
use crate::plan::Size;
use crate::types::{Declared, Handling, Kind, Type, scalar};
use crate::wire::{Connection, Row};

/// How many tables one statement asks about.
pub(crate) const AT_ONCE: usize = 500;

/// A table, or what can be read like one.
#[derive(Clone, Debug)]
pub(crate) struct Relation {
    pub(crate) oid: u32,
    pub(crate) id: TableId,
    pub(crate) kind: RelationKind,
    pub(crate) heap: bool,
    pub(crate) usage: bool,
    pub(crate) select: bool,
    pub(crate) row_security: bool,
    pub(crate) foreign_partition: bool,
    pub(crate) unreadable_here: bool,
    pub(crate) unpopulated: bool,
    /// Its rows were exchanged since the snapshot that asks: a materialized view, refreshed.
    pub(crate) exchanged: bool,
    /// Estimated rows.
    pub(crate) rows: Option<u64>,
    pub(crate) comment: Option<String>,
}

const RELATIONS: &str = "
SELECT c.oid, n.nspname, c.relname, c.relkind, coalesce(a.amname = 'heap', false),
       has_schema_privilege(n.oid, 'USAGE'), has_table_privilege(c.oid, 'SELECT'), row_security_active(c.oid),
       CASE WHEN c.relkind = 'p' THEN EXISTS (
           SELECT FROM pg_partition_tree(c.oid) p JOIN pg_class x ON x.oid = p.relid WHERE x.relkind = 'f') END,
       c.relpersistence = 'u' AND pg_is_in_recovery(), NOT c.relispopulated,
       c.relkind = 'm' AND c.relfilenode IS DISTINCT FROM pg_relation_filenode(c.oid),
       c.reltuples::bigint, obj_description(c.oid, 'pg_class')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_am a ON a.oid = c.relam
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition AND c.relpersistence <> 't'
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
ORDER BY n.nspname, c.relname";

/// Every table outside the system's schemas, by name; partitions are part of their parent.
pub(crate) fn relations(connection: &mut Connection) -> Answer<Vec<Relation>> {
    let relation = |row: &Row| {
        Ok(Relation {
            oid: row.parse(0)?,
            id: TableId::new(row.text(1)?, row.text(2)?),
            kind: RelationKind::of_catalog(row.text(3)?).ok_or(Failure::Protocol("an unknown kind of table"))?,
            heap: row.flag(4),
            usage: row.flag(5),
            select: row.flag(6),
            row_security: row.flag(7),
            foreign_partition: row.flag(8),
            unreadable_here: row.flag(9),
            unpopulated: row.flag(10),
            exchanged: row.flag(11),
            // −1 is "never analysed"; before PostgreSQL 14 that was 0.
            rows: row.parse::<i64>(12).ok().and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0),
            comment: row.get(13).map(str::to_owned),
        })
    };
    connection.query(RELATIONS)?.iter().map(relation).collect()
}

impl Relation {
    /// Why this user cannot read the table, as far as that shows before its lock; the context `remedy` is
    /// what removes it.
    pub(crate) fn obstacle(&self, config: &PostgresConfig) -> Option<Error> {
        let (schema, user) = (escape_identifier(self.id.schema()), escape_identifier(&config.endpoint.user));
        let table = format!("{schema}.{}", escape_identifier(self.id.name()));
        let (why, remedy) = if !self.usage {
            ("no USAGE privilege on the table's schema", format!("GRANT USAGE ON SCHEMA {schema} TO {user}"))
        } else if !self.select {
            ("no SELECT privilege on the table", format!("GRANT SELECT ON TABLE {table} TO {user}"))
        } else if self.row_security && !config.row_security {
            let remedy = format!("ALTER ROLE {user} BYPASSRLS; or set row.security=on to load what the policies show");
            ("row-level security would hide rows of the table from this user", remedy)
        } else if self.foreign_partition && !config.kinds.contains(&RelationKind::Foreign) {
            let what = "the table has a foreign table as a partition, which is outside the snapshot";
            (what, "allow it with FOREIGN TABLE in table.types, or leave it out by table.exclude.list".into())
        } else if self.unreadable_here {
            let what = "the table is unlogged and so cannot be read on a replica";
            (what, "read it from the primary, or leave it out by table.exclude.list".into())
        } else if self.unpopulated {
            ("the materialized view has not been populated", format!("REFRESH MATERIALIZED VIEW {table}"))
        } else {
            return None;
        };
        Some(Error::data(why).with("table", &self.id).with("remedy", remedy))
    }

    /// What LOCK and SELECT take: with its partitions, but without tables that inherit from it, which are
    /// read by themselves.
    pub(crate) fn target(&self) -> String {
        let only = if self.kind == RelationKind::Table { "ONLY " } else { "" };
        format!("{only}{}.{}", escape_identifier(self.id.schema()), escape_identifier(self.id.name()))
    }

    /// Whether it can be read by ranges of pages: range scans came with PostgreSQL 14.
    pub(crate) fn divides(&self, version: u32) -> bool {
        self.heap && version >= RANGE_SCANS && matches!(self.kind, RelationKind::Table | RelationKind::Materialized)
    }
}

/// First version that scans a table by ranges of pages.
const RANGE_SCANS: u32 = 140_000;

/// A partition that holds rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leaf {
    pub(crate) oid: u32,
    /// What SELECT takes.
    pub(crate) target: String,
    pub(crate) heap: bool,
    /// Whether its rows show in full when it is read by itself.
    pub(crate) readable: bool,
    pub(crate) locked: bool,
}

impl Leaf {
    /// Whether it can be read by ranges of pages.
    pub(crate) fn divides(&self, version: u32) -> bool {
        self.heap && version >= RANGE_SCANS
    }
}

/// The leaves of these partitioned tables. Attaching a partition goes together with our lock, and shows at
/// once: whatever snapshot a query has, it reads the partitions of the present. One that the catalog's
/// snapshot does not know counts as not locked.
pub(crate) fn leaves(connection: &mut Connection, oids: &[u32]) -> Answer<HashMap<u32, Vec<Leaf>>> {
    let mut all: HashMap<u32, Vec<Leaf>> = oids.iter().map(|oid| (*oid, vec![])).collect();
    for oids in oids.chunks(AT_ONCE) {
        let sql = format!(
            "SELECT c.oid, p.relid::oid, n.nspname, x.relname, coalesce(a.amname = 'heap', false), x.relkind = 'r',
                    has_table_privilege(x.oid, 'SELECT') AND has_schema_privilege(n.oid, 'USAGE')
                    AND NOT row_security_active(x.oid),
                    x.oid IS NOT NULL AND EXISTS (
                        SELECT FROM pg_locks l
                        WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation' AND l.granted
                          AND l.relation = p.relid AND l.mode = 'AccessShareLock')
             FROM pg_class c CROSS JOIN LATERAL pg_partition_tree(c.oid) p LEFT JOIN pg_class x ON x.oid = p.relid
                  LEFT JOIN pg_namespace n ON n.oid = x.relnamespace LEFT JOIN pg_am a ON a.oid = x.relam
             WHERE c.oid = ANY ({}) AND c.relkind = 'p' AND p.isleaf ORDER BY c.oid, p.relid::oid",
            array(oids)
        );
        for row in connection.query(&sql)? {
            let only = if row.flag(5) { "ONLY " } else { "" };
            let (schema, name) = (row.get(2).unwrap_or_default(), row.get(3).unwrap_or_default());
            all.entry(row.parse(0)?).or_default().push(Leaf {
                oid: row.parse(1)?,
                target: format!("{only}{}.{}", escape_identifier(schema), escape_identifier(name)),
                heap: row.flag(4),
                readable: row.flag(6),
                locked: row.flag(7),
            });
        }
    }
    Ok(all)
}

/// A column as the catalog has it.
#[derive(Clone, Debug)]
pub(crate) struct Attribute {
    pub(crate) name: String,
    pub(crate) required: bool,
    pub(crate) declared: Declared,
    /// As `format_type` prints it; of a domain, what it is over: events carry that, and do not name the domain.
    pub(crate) type_name: String,
    pub(crate) comment: Option<String>,
    /// Place in the key, from 1.
    pub(crate) key: Option<u32>,
}

/// The columns of these tables, in their order. One that is NOT NULL without having been validated may have NULLs. A table's key is what the database's log tells its rows by: the index that
/// is its replica identity (and that of its partitions), or else the primary key, unless that is deferrable and so may be of several rows in between.
/// INCLUDE columns of an index are not the key.
pub(crate) fn attributes(connection: &mut Connection, oids: &[u32]) -> Answer<HashMap<u32, Vec<Attribute>>> {
    let mut all: HashMap<u32, Vec<Attribute>> = HashMap::new();
    for oids in oids.chunks(AT_ONCE) {
        let sql = format!(
            "SELECT a.attrelid, a.attname, a.attnotnull AND NOT EXISTS (
                        SELECT FROM pg_constraint n WHERE n.conrelid = a.attrelid AND n.contype = 'n'
                        AND NOT n.convalidated AND a.attnum = ANY (n.conkey)), a.atttypid, a.atttypmod, a.attndims,
                    CASE WHEN t.typtype <> 'd' THEN format_type(a.atttypid, a.atttypmod) ELSE (
                        WITH RECURSIVE base(oid, modifier) AS (
                            SELECT t.typbasetype, t.typtypmod UNION
                            SELECT d.typbasetype, d.typtypmod FROM base JOIN pg_type d USING (oid) WHERE d.typtype = 'd')
                        SELECT format_type(oid, modifier) FROM base JOIN pg_type b USING (oid) WHERE b.typtype <> 'd'
                    ) END, col_description(a.attrelid, a.attnum),
                    (SELECT k.place FROM pg_index i, unnest(i.indkey::int2[]) WITH ORDINALITY k(number, place)
                     WHERE i.indrelid = a.attrelid AND k.number = a.attnum AND k.place <= i.indnkeyatts
                       AND CASE WHEN c.relreplident = 'i' AND NOT EXISTS (
                                    SELECT FROM pg_partition_tree(c.oid) p JOIN pg_class leaf ON leaf.oid = p.relid
                                    WHERE p.isleaf AND leaf.relreplident <> 'i')
                                THEN i.indisreplident ELSE i.indisprimary AND i.indimmediate END)
             FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_type t ON t.oid = a.atttypid
             WHERE a.attrelid = ANY ({}) AND a.attnum > 0 AND NOT a.attisdropped
             ORDER BY a.attrelid, a.attnum",
            array(oids)
        );
        for row in connection.query(&sql)? {
            all.entry(row.parse(0)?).or_default().push(Attribute {
                name: row.text(1)?.to_owned(),
                required: row.flag(2),
                declared: Declared { oid: row.parse(3)?, modifier: row.parse(4)?, dimensions: row.parse(5)? },
                type_name: row.text(6)?.to_owned(),
                comment: row.get(7).map(str::to_owned),
                key: row.parse(8).ok(),
            });
        }
    }
    Ok(all)
}

/// The types of these columns that are not read as they are, and the types that those are made of.
pub(crate) fn types<'a>(
    connection: &mut Connection,
    attributes: impl Iterator<Item = &'a Attribute>,
) -> Answer<HashMap<u32, Type>> {
    let mut known = HashMap::new();
    let mut wanted: HashSet<u32> = attributes.map(|a| a.declared.oid).collect();
    loop {
        let unknown = |oid: &u32| !known.contains_key(oid) && scalar(*oid, -1, &Handling::default()).is_none();
        let oids: Vec<u32> = wanted.drain().filter(unknown).collect();
        if oids.is_empty() {
            return Ok(known);
        }
        for oids in oids.chunks(AT_ONCE) {
            for row in connection.query(&format!("{TYPES} WHERE t.oid = ANY ({})", array(oids)))? {
                let described = described(&row)?;
                wanted.extend(described.kind.needs());
                known.insert(row.parse(0)?, described);
            }
        }
    }
}

const TYPES: &str = "
SELECT t.oid, t.typtype, format('%s.%I', o.pronamespace::regnamespace, o.proname),
       t.typbasetype, t.typtypmod, t.typndims, CASE WHEN e.typarray = t.oid THEN e.oid END, e.typdelim,
       (SELECT format('%s.%I', f.pronamespace::regnamespace, f.proname) FROM pg_proc f
        WHERE t.typname IN ('geometry', 'geography') AND f.proname IN ('st_asewkb', 'bytea')
          AND f.pronamespace = t.typnamespace AND f.pronargs = 1 AND f.proargtypes[0] = t.oid
          AND f.prorettype = 'bytea'::regtype
        ORDER BY f.proname DESC LIMIT 1)
FROM pg_type t JOIN pg_proc o ON o.oid = t.typoutput LEFT JOIN pg_type e ON e.oid = t.typelem";

fn described(row: &Row) -> Answer<Type> {
    let kind = match row.text(1)? {
        "d" => Kind::Domain { base: row.parse(3)?, modifier: row.parse(4)?, dimensions: row.parse(5)? },
        "e" => Kind::Enum,
        "p" => Kind::Pseudo,
        _ => match (row.get(6), row.get(8)) {
            (Some(_), _) => {
                let delimiter = row.text(7)?.bytes().next().ok_or(Failure::Protocol("no array delimiter"))?;
                Kind::Array { element: row.parse(6)?, delimiter }
            }
            (None, Some(ewkb)) => Kind::Geo { ewkb: ewkb.to_owned() },
            (None, None) => Kind::Other,
        },
    };
    Ok(Type { kind, output: row.text(2)?.to_owned() })
}

/// The sizes of these tables and partitions; a partitioned table has none of its own.
pub(crate) fn sizes(connection: &mut Connection, oids: &[u32], page: u64) -> Answer<HashMap<u32, Size>> {
    let mut all = HashMap::new();
    for oids in oids.chunks(AT_ONCE) {
        let sql = format!(
            "SELECT oid, coalesce(pg_relation_size(oid), 0), coalesce(pg_table_size(oid), 0)
             FROM unnest({}) oid",
            array(oids)
        );
        for row in connection.query(&sql)? {
            all.insert(row.parse(0)?, Size { heap: row.parse(1)?, total: row.parse(2)?, page });
        }
    }
    Ok(all)
}

/// Who holds, or waits for, what keeps us from locking one of these tables: its name and the session's pid.
pub(crate) fn locker(connection: &mut Connection, oids: &[u32]) -> Answer<Option<(String, u32)>> {
    let sql = format!(
        "SELECT o::regclass, l.pid FROM unnest({}) o
         JOIN pg_locks l ON l.relation = o OR l.relation IN (SELECT relid FROM pg_partition_tree(o))
         WHERE l.mode = 'AccessExclusiveLock' AND l.pid <> pg_backend_pid()
           AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
         ORDER BY l.granted DESC LIMIT 1",
        array(oids)
    );
    connection.query(&sql)?.first().map(|row| Ok((row.text(0)?.to_owned(), row.parse(1)?))).transpose()
}

pub(crate) fn array(oids: &[u32]) -> String {
    let list: Vec<_> = oids.iter().map(u32::to_string).collect();
    format!("'{{{}}}'::oid[]", list.join(","))
}
