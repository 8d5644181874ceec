//! Compares a table of the source with what a foreign reader sees: value by value, as a multiset of rows.
//!
//! Values travel as exact texts of one canonical form per type: [`canonical_sql`] has PostgreSQL produce
//! it, `canonical` in `reader.py` makes it from Arrow. No float is printed, no decimal rounded, no date
//! squeezed through a calendar that ends at year 9999.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use crate::lake::{ENGINES, Engine, Lake};
use crate::postgres::{Database, quoted};
use crate::runtime::Running;

/// How long readers may see something else.
const PATIENCE: Duration = Duration::from_secs(90);

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

/// The SQL expression for a value's canonical text, by its type.
///
/// Booleans `true`/`false`; numbers as PostgreSQL prints them; floats as the hexadecimal of their IEEE
/// bits (so that -0 and NaN count); dates as days and times and timestamps as microseconds since
/// 1970-01-01 (UTC); bytes in hexadecimal; `char(n)` with its padding; everything else as the server
/// prints it.
pub fn canonical_sql(base_type: &str, value: &str) -> String {
    match base_type {
        "boolean" => format!("{value}::text"),
        "real" => format!("encode(float4send({value}), 'hex')"),
        "double precision" => format!("encode(float8send({value}), 'hex')"),
        // The cast to text would strip the padding.
        "character" => format!("convert_from(bpcharsend({value}), 'UTF8')"),
        "bytea" => format!("encode({value}, 'hex')"),
        "date" => format!("({value} - date '1970-01-01')::text"),
        "time without time zone" | "timestamp without time zone" | "timestamp with time zone" => {
            format!("(extract(epoch from {value}) * 1000000)::bigint::text")
        }
        // A composite of NULLs is not NULL, but IS NULL: format() knows no NULL, so it is told apart here.
        _ => format!("CASE WHEN {value} IS DISTINCT FROM NULL THEN format('%s', {value}) END"),
    }
}

/// The SQL expression for the canonical form of an array as lists of lists.
fn list_sql(element: &str, dimensions: usize, array: &str) -> String {
    let place = |n: usize| (1..=n).map(|i| format!("[i{i}]")).collect::<String>();
    let mut inner = canonical_sql(element, &format!("({array}){}", place(dimensions)));
    for n in (1..=dimensions).rev() {
        inner = format!(
            "(SELECT coalesce(json_agg({inner} ORDER BY i{n}), '[]') FROM generate_subscripts({array}, {n}) i{n})"
        );
    }
    format!("CASE WHEN {array} IS NOT NULL THEN {inner} END")
}

/// How the server prints types: as the program asks it to, whatever the harness's own defaults are.
const PRINTING: &str = "SET datestyle = 'ISO, YMD'; SET intervalstyle = postgres; SET timezone = 'UTC'; \
    SET extra_float_digits = 1; SET bytea_output = hex; SET search_path = ''";

/// The rows of a source table of the schema `public`. `from` is its quoted name.
pub fn source_rows(database: &Database, from: &str) -> Rows {
    let from = if from.starts_with("public.") { from.to_owned() } else { format!("public.{from}") };
    let columns = database.sql(&format!(
        "WITH RECURSIVE base(attnum, attname, oid, dimensions) AS (
             SELECT attnum, attname, atttypid, attndims::int FROM pg_attribute
             WHERE attrelid = {}::regclass AND attnum > 0 AND NOT attisdropped
             UNION ALL SELECT b.attnum, b.attname, t.typbasetype, t.typndims FROM base b JOIN pg_type t USING (oid)
             WHERE t.typtype = 'd'),
         element(oid, root) AS (
             SELECT t.typelem, t.oid FROM pg_type t JOIN pg_type e ON e.oid = t.typelem AND e.typarray = t.oid
             UNION ALL SELECT t.typbasetype, e.root FROM element e JOIN pg_type t USING (oid) WHERE t.typtype = 'd')
         SELECT json_build_array(b.attname, format_type(coalesce(e.oid, b.oid), NULL),
                    CASE WHEN e.oid IS NOT NULL THEN greatest(b.dimensions, 1) ELSE 0 END)
         FROM base b JOIN pg_type t USING (oid)
              LEFT JOIN (element e JOIN pg_type u ON u.oid = e.oid AND u.typtype <> 'd') ON e.root = b.oid
         WHERE t.typtype <> 'd' ORDER BY attnum",
        literal(&from)
    ));
    let (mut names, mut expressions) = (vec![], vec![]);
    for line in columns.lines() {
        let (name, base, dimensions): (String, String, usize) = serde_json::from_str(line).unwrap();
        let column = quoted(&name);
        expressions.push(match dimensions {
            0 => canonical_sql(&base, &column),
            n => list_sql(&base, n, &column),
        });
        names.push(name);
    }
    // jsonb_build_array takes at most 100 arguments.
    let arrays: Vec<_> = expressions.chunks(100).map(|e| format!("jsonb_build_array({})", e.join(", "))).collect();
    let lines = database.sql(&format!("{PRINTING}; SELECT {} FROM {from}", arrays.join(" || ")));
    let rows = lines.lines().map(|line| {
        let row: Vec<serde_json::Value> = serde_json::from_str(line).unwrap();
        row.iter().map(canonical).collect()
    });
    Rows { columns: names, rows: rows.collect() }
}

/// A canonical value: a text, or the JSON of a list.
pub fn canonical(value: &serde_json::Value) -> Option<String> {
    match value {
        serde_json::Value::Null => None,
        serde_json::Value::String(text) => Some(text.clone()),
        list => Some(list.to_string()),
    }
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
    ENGINES.iter().for_each(|engine| assert_rows_by(*engine, expected, lake, table));
}

/// Asserts that one reader sees exactly these rows.
///
/// # Panics
/// As [`assert_rows`].
pub fn assert_rows_by(engine: Engine, expected: &Rows, lake: &Lake, table: &str) {
    let got = lake.rows(engine, table).unwrap_or_else(|| panic!("{engine:?}: there is no table {table}"));
    if let Some(what) = difference(expected, &got) {
        panic!("{table} as {engine:?} reads it: {what}");
    }
}

/// Waits until both foreign readers see exactly these rows, while the program runs.
///
/// # Panics
/// When they do not within a minute and a half, or the program ends first: as [`assert_rows`], and with its output.
pub fn until_rows(expected: &Rows, lake: &Lake, table: &str, running: &mut Running) {
    let started = Instant::now();
    for engine in ENGINES {
        loop {
            let got = lake.rows(engine, table);
            let wrong = got.map_or(Some("there is none".into()), |got| difference(expected, &got));
            let Some(wrong) = wrong else { break };
            let told = || format!("{table} as {engine:?} reads it: {wrong}\n{}", running.output());
            assert!(started.elapsed() < PATIENCE, "{}", told());
            assert!(running.is_running(), "ended; {table} as {engine:?} reads it: {wrong}\n{}", running.output());
            std::thread::sleep(Duration::from_millis(50));
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
