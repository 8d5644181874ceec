//! Transactions on a few tables, at random, that hold what change capture has to get right: values too long to stand
//! in every event, keys that change, rows deleted and inserted again, rows without a key, many rows of one statement.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use crate::chance::Chance;
use crate::postgres::Database;

/// The tables: one with a key and values of many types, one with a key of two columns, one without a key.
pub const TABLES: [&str; 3] = ["orders", "pairs", "lines"];

/// Keys that rows have.
const KEYS: u64 = 60;

/// Makes the tables, with rows.
pub fn create(database: &Database) {
    database.sql_as_user(
        "CREATE TABLE orders (id int PRIMARY KEY, note text, big text, n numeric(12,3), at timestamptz, wall timestamp(3),
             day date, tags text[], doc jsonb, raw bytea, real float8, flag bool, who uuid);
         ALTER TABLE orders ALTER big SET STORAGE EXTERNAL;
         CREATE TABLE pairs (a int, b text, v int, PRIMARY KEY (a, b));
         CREATE TABLE lines (nr int, line text); ALTER TABLE lines REPLICA IDENTITY FULL;
         INSERT INTO orders SELECT i, 'first', repeat(md5(i::text), 100), i / 7.0, now(), now(), now(), ARRAY['a', NULL],
             '{\"a\": 1}', '\\x00ff', i / 3.0, i % 2 = 0, gen_random_uuid() FROM generate_series(0, 40) i;
         INSERT INTO pairs SELECT i, 'b' || i, i FROM generate_series(0, 40) i;
         INSERT INTO lines SELECT i % 9, 'line ' || i % 5 FROM generate_series(1, 50) i",
    );
}

/// The statements of one transaction.
pub fn transaction(chance: &mut Chance) -> String {
    let statements: Vec<String> = (0..=chance.below(6)).map(|_| statement(chance)).collect();
    statements.join("; ")
}

fn statement(chance: &mut Chance) -> String {
    let (key, other, n) = (chance.below(KEYS), chance.below(KEYS), chance.next() % 1_000_000);
    let upsert = |key: u64| {
        format!(
            "INSERT INTO orders VALUES ({key}, 'new {n}', repeat(md5('{n}'), 90), {n} / 11.0, '2024-02-29 12:00:00.{n:06}Z',
                 '1969-12-31 23:59:59.123', date '2000-01-01' + {n} % 9999, ARRAY['t{n}', '', NULL], '[{n}, null, \"ü\"]',
                 decode(md5('{n}'), 'hex'), {n} / 13.0, {n} % 3 = 0, md5('{n}')::uuid)
             ON CONFLICT (id) DO UPDATE SET big = EXCLUDED.big, n = NULL, doc = EXCLUDED.doc"
        )
    };
    match chance.below(14) {
        0 | 1 => upsert(key),
        2 | 3 => format!("UPDATE orders SET note = 'changed {n}', real = {n} WHERE id IN ({key}, {other})"),
        4 => format!("DELETE FROM orders WHERE id = {key}"),
        // The row keeps its long value under another key, which no event holds.
        5 => format!(
            "DELETE FROM orders WHERE id = {key}; UPDATE orders SET id = {key} WHERE id = {other} AND {key} <> {other}"
        ),
        6 => format!("DELETE FROM orders WHERE id = {key}; {}", upsert(key)),
        7 => format!("UPDATE orders SET flag = NOT flag, tags = NULL WHERE id % 7 = {}", n % 7),
        8 => format!("INSERT INTO pairs VALUES ({key}, 'x{}', {n}) ON CONFLICT (a, b) DO UPDATE SET v = {n}", n % 3),
        9 => format!(
            "DELETE FROM pairs WHERE a = {key} AND b = 'x{0}'; UPDATE pairs SET b = 'x{0}' WHERE a = {key} AND b = 'b{key}'",
            n % 3
        ),
        10 => format!("DELETE FROM pairs WHERE a % 11 = {}", n % 11),
        11 => format!("INSERT INTO lines SELECT {}, 'line ' || i FROM generate_series(1, 3) i", n % 9),
        12 => {
            format!("UPDATE lines SET line = 'moved' WHERE ctid = (SELECT min(ctid) FROM lines WHERE nr = {})", n % 9)
        }
        _ => format!("DELETE FROM lines WHERE ctid = (SELECT min(ctid) FROM lines WHERE nr = {})", n % 9),
    }
}

/// Transactions that run until it is told to end.
pub struct Traffic {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Traffic {
    /// Starts them.
    pub fn start(database: &Database, seed: u64) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted, database) = (Arc::clone(&stop), Arc::clone(&done), database.clone());
        let thread = std::thread::spawn(move || {
            let mut chance = Chance(seed);
            while !stopped.load(Ordering::Acquire) {
                database.sql(&transaction(&mut chance));
                counted.fetch_add(1, Ordering::Release);
            }
        });
        Self { stop, done, thread: Some(thread) }
    }

    /// Waits until so many more were committed.
    ///
    /// # Panics
    /// When one failed.
    pub fn wait_for(&self, more: u64) {
        let upto = self.done.load(Ordering::Acquire) + more;
        while self.done.load(Ordering::Acquire) < upto {
            assert!(!self.thread.as_ref().unwrap().is_finished(), "the traffic has ended");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// Ends them.
    ///
    /// # Panics
    /// When one failed.
    pub fn finish(mut self) {
        self.stop.store(true, Ordering::Release);
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}
