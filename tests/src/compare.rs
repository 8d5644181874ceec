//! Compares a table of the source with what a foreign reader sees: value by value, as a multiset of rows.
//!
//! Values travel as exact texts of one canonical form per type: [`canonical_sql`] has PostgreSQL produce
//! it, `canonical` in `reader.py` makes it from Arrow. No float is printed, no decimal rounded, no date
//! squeezed through a calendar that ends at year 9999.

use std::collections::{BTreeMap, HashMap};

use crate::lake::{ENGINES, Lake};
use crate::postgres::{Database, quoted};

/// A table's rows as canonical texts; `None` is NULL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows {
    /// Column names in order.
    pub columns: Vec<String>,
    /// The rows, in no particular order.
    pub rows: Vec<Vec<Option<String>>>,
}

impl Rows {
    /// Each row by column name, without its NULLs.
    pub fn maps(&self) -> impl Iterator<Item = BTreeMap<String, String>> {
        self.rows.iter().map(|row| {
            let named = self.columns.iter().zip(row);
            named.filter_map(|(name, value)| Some((name.clone(), value.clone()?))).collect()
        })
    }
}

/// The SQL expression for a column's canonical text.
///
/// Booleans `true`/`false`; numbers as PostgreSQL prints them; floats as the hexadecimal of their IEEE
/// bits (so that -0 and NaN count); dates as days and times and timestamps as microseconds since
/// 1970-01-01 (UTC); bytes in hexadecimal; `char(n)` with its padding; everything else its text.
///
/// # Panics
/// On a type without a canonical form: comparing it by chance would prove nothing.
pub fn canonical_sql(base_type: &str, is_enum: bool, column: &str) -> String {
    match base_type {
        _ if is_enum => format!("{column}::text"),
        "boolean" | "smallint" | "integer" | "bigint" | "oid" | "numeric" | "text" | "character varying" | "name"
        | "uuid" | "json" | "jsonb" => format!("{column}::text"),
        "real" => format!("encode(float4send({column}), 'hex')"),
        "double precision" => format!("encode(float8send({column}), 'hex')"),
        // The cast to text would strip the padding.
        "character" => format!("convert_from(bpcharsend({column}), 'UTF8')"),
        "bytea" => format!("encode({column}, 'hex')"),
        "date" => format!("({column} - date '1970-01-01')::text"),
        "time without time zone" | "timestamp without time zone" | "timestamp with time zone" => {
            format!("(extract(epoch from {column}) * 1000000)::bigint::text")
        }
        other => panic!("no canonical form for type {other}"),
    }
}

/// A source table's rows. `from` is the quoted, qualified table.
pub fn source_rows(database: &Database, from: &str) -> Rows {
    let columns = database.sql(&format!(
        "WITH RECURSIVE base(attnum, attname, oid) AS (
             SELECT attnum, attname, atttypid FROM pg_attribute
             WHERE attrelid = {}::regclass AND attnum > 0 AND NOT attisdropped
             UNION ALL SELECT b.attnum, b.attname, t.typbasetype FROM base b JOIN pg_type t USING (oid)
             WHERE t.typtype = 'd')
         SELECT json_build_array(b.attname, format_type(oid, NULL), t.typtype = 'e')
         FROM base b JOIN pg_type t USING (oid) WHERE t.typtype <> 'd' ORDER BY attnum",
        literal(from)
    ));
    let (mut names, mut expressions) = (vec![], vec![]);
    for line in columns.lines() {
        let (name, base, is_enum): (String, String, bool) = triple(line);
        expressions.push(canonical_sql(&base, is_enum, &quoted(&name)));
        names.push(name);
    }
    // jsonb_build_array takes at most 100 arguments; none of our tables comes near.
    let lines = database.sql(&format!("SELECT json_build_array({}) FROM {from}", expressions.join(", ")));
    let rows = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    Rows { columns: names, rows }
}

/// What differs between two tables, described by at most a few rows; `None` when they are equal.
pub fn difference(expected: &Rows, got: &Rows) -> Option<String> {
    if expected.columns != got.columns {
        return Some(format!("columns {:?} instead of {:?}", got.columns, expected.columns));
    }
    let mut balance: HashMap<&[Option<String>], i64> = HashMap::new();
    for row in &expected.rows {
        *balance.entry(row).or_default() += 1;
    }
    for row in &got.rows {
        *balance.entry(row).or_default() -= 1;
    }
    let mut wrong: Vec<_> = balance.into_iter().filter(|(_, n)| *n != 0).collect();
    if wrong.is_empty() {
        return None;
    }
    wrong.sort();
    let missing: i64 = wrong.iter().map(|(_, n)| *n.max(&0)).sum();
    let extra: i64 = wrong.iter().map(|(_, n)| (-n).max(0)).sum();
    let sample: Vec<String> = wrong.iter().take(6).map(|(row, n)| format!("  {n:+} {}", shown(row))).collect();
    Some(format!("{missing} rows missing (+), {extra} too many (-), for example\n{}", sample.join("\n")))
}

/// Asserts that both foreign readers see exactly the source table's rows.
///
/// # Panics
/// When the table is absent or differs, naming the reader and the rows.
pub fn assert_same(database: &Database, from: &str, lake: &Lake, table: &str) {
    assert_rows(&source_rows(database, from), lake, table);
}

/// Asserts that both foreign readers see exactly these rows.
///
/// # Panics
/// When the table is absent or differs, naming the reader and the rows.
pub fn assert_rows(expected: &Rows, lake: &Lake, table: &str) {
    for engine in ENGINES {
        let got = lake.rows(engine, table).unwrap_or_else(|| panic!("{engine:?}: there is no table {table}"));
        if let Some(what) = difference(expected, &got) {
            panic!("{table} as {engine:?} reads it: {what}");
        }
    }
}

fn shown(row: &[Option<String>]) -> String {
    let short = |v: &Option<String>| match v {
        None => "NULL".to_owned(),
        Some(text) if text.chars().count() > 80 => {
            format!("{:?}… ({} bytes)", text.chars().take(60).collect::<String>(), text.len())
        }
        Some(text) => format!("{text:?}"),
    };
    row.iter().map(short).collect::<Vec<_>>().join(", ")
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn triple(line: &str) -> (String, String, bool) {
    let parts: serde_json::Value = serde_json::from_str(line).unwrap();
    let text = |i: usize| parts[i].as_str().unwrap().to_owned();
    (text(0), text(1), parts[2].as_bool().unwrap())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &[&[Option<&str>]]) -> Rows {
        let rows = rows.iter().map(|r| r.iter().map(|v| v.map(str::to_owned)).collect()).collect();
        Rows { columns: vec!["id".into(), "v".into()], rows }
    }

    fn check(got: &[&[Option<&str>]]) -> Option<String> {
        let expected =
            rows(&[&[Some("1"), Some("a")], &[Some("2"), None], &[Some("3"), Some("c")], &[Some("3"), Some("c")]]);
        difference(&expected, &rows(got))
    }

    #[test]
    fn equality_is_of_multisets() {
        let c: &[Option<&str>] = &[Some("3"), Some("c")];
        assert_eq!(check(&[c, &[Some("2"), None], &[Some("1"), Some("a")], c]), None);
    }

    #[test]
    fn every_kind_of_difference_is_caught() {
        let (a, b): (&[_], &[_]) = (&[Some("1"), Some("a")], &[Some("2"), None]);
        let c: &[_] = &[Some("3"), Some("c")];
        let caught = |got: &[&[Option<&str>]]| check(got).expect("not caught");
        assert!(caught(&[a, b, c]).starts_with("1 rows missing (+), 0 too many"), "a duplicate lost");
        assert!(caught(&[a, b, c, c, c]).starts_with("0 rows missing (+), 1 too many"), "a row doubled");
        assert!(caught(&[a, c, c]).starts_with("1 rows missing"), "a row lost");
        assert!(caught(&[&[Some("1"), Some("A")], b, c, c]).starts_with("1 rows missing (+), 1 too many"), "a value");
        assert!(caught(&[a, &[Some("2"), Some("")], c, c]).contains("NULL"), "NULL became empty");
        assert!(caught(&[a, b, &[Some("3"), Some("c ")], c]).starts_with("1 rows"), "padding added");
        let mut renamed = rows(&[a, b, c, c]);
        renamed.columns[1] = "w".into();
        assert!(difference(&rows(&[a, b, c, c]), &renamed).unwrap().starts_with("columns"));
    }
}
