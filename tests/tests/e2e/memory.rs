//! How much memory a load takes: rows of a hundred megabytes, thousands of tables.

use connect_tests::lake::Engine;
use connect_tests::postgres::Server;
use connect_tests::runtime::{Job, OK, Outcome};

const MIB: u64 = 1 << 20;
/// What the program takes before it has rows: code, threads, connections, the catalog.
const PROGRAM: u64 = 64 * MIB;

/// Whether a load stayed within `memory.max` and a quarter, besides the program itself.
fn is_within(outcome: &Outcome, memory_max: u64) -> bool {
    outcome.peak > 0 && outcome.peak <= memory_max + memory_max / 4 + PROGRAM
}

/// Loads tables of so many rows each, of so many megabytes that hardly compress, in so much memory.
fn huge_rows(rows: &[u32], megabytes: u32, memory_max: u64) -> Outcome {
    let database = Server::shared().database();
    let tables: Vec<String> = (0..rows.len()).map(|n| format!("huge_{n}")).collect();
    for (table, rows) in tables.iter().zip(rows) {
        // Pieces that no compressor's window spans.
        database.sql_as_user(&format!(
            "CREATE TABLE {table} (id int, v bytea);
             ALTER TABLE {table} ALTER v SET STORAGE EXTERNAL;
             WITH piece AS MATERIALIZED (SELECT string_agg(sha256(i::text::bytea), '') AS v FROM generate_series(1, 312500) i),
                  value AS MATERIALIZED (SELECT string_agg(v, '') AS v FROM piece, generate_series(1, {megabytes} / 10))
             INSERT INTO {table} SELECT n, v || n::text::bytea FROM value, generate_series(1, {rows}) n"
        ));
    }
    let job = Job::new(&database).worker("memory.max", &format!("{}MiB", memory_max / MIB));
    let outcome = job.run(&[]).expect(OK);
    let lake = job.lake();
    for table in &tables {
        let expected = database.sql(&format!("SELECT md5(v) FROM {table} ORDER BY 1"));
        for engine in [Engine::DuckDb, Engine::PyIceberg] {
            assert_eq!(lake.digests(engine, table, "v"), expected.lines().collect::<Vec<_>>(), "{table} by {engine:?}");
        }
    }
    outcome
}

#[test]
fn huge_rows_come_one_at_a_time() {
    let outcome = huge_rows(&[2, 2], 100, 512 * MIB);
    assert!(is_within(&outcome, 512 * MIB), "{} MiB", outcome.peak / MIB);
}

/// The twin: what no memory is left for shows. A row must fit, whatever `memory.max` says.
#[test]
fn a_row_larger_than_the_memory_is_seen() {
    let outcome = huge_rows(&[1], 60, 64 * MIB);
    assert!(!is_within(&outcome, 64 * MIB), "{} MiB", outcome.peak / MIB);
}

#[test]
#[ignore = "minutes: thousands of tables"]
fn thousands_of_tables_take_no_more_memory_than_a_few() {
    let database = Server::shared().database();
    // The server has room for the locks of some hundreds in a transaction.
    for first in (1..=2000).step_by(500) {
        database.sql_as_user(&format!(
            "DO $$ BEGIN FOR n IN {first}..{first} + 499 LOOP
                 EXECUTE format('CREATE TABLE t%s (id bigint PRIMARY KEY, name text, at timestamptz)', n);
                 EXECUTE format('INSERT INTO t%s SELECT i, ''name '' || i, now() FROM generate_series(1, %s) i', n, n % 50);
             END LOOP; END $$"
        ));
    }
    let job = Job::new(&database).worker("memory.max", "64MiB").source("parallel.tables", "8");
    let outcome = job.run(&[]).expect(OK);
    assert!(is_within(&outcome, 64 * MIB), "{} MiB", outcome.peak / MIB);
    let lake = job.lake();
    assert_eq!(lake.loaded_tables().len(), 2000);
    for n in [1, 49, 50, 1999, 2000] {
        let rows = lake.count(Engine::PyIceberg, &format!("t{n}"), "id");
        assert_eq!(rows, Some(n % 50), "t{n}");
    }
}
