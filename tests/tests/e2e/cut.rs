//! P1: every table and every part of a table shows one and the same moment of the source.

use std::time::Duration;

use connect_tests::lake::Lake;
use connect_tests::postgres::{Database, Server};
use connect_tests::runtime::{Job, OK};

/// Money moves between two tables in single transactions, and each move is written to a third: whoever
/// reads them at one moment finds the same total, and the moved amount in the vault. The large table
/// is read in many parts, several at once, and its rows move through the heap with each update.
const SCHEMA: &str = "
    CREATE TABLE accounts (id int PRIMARY KEY, balance bigint NOT NULL, pad text NOT NULL);
    CREATE TABLE vault (id int PRIMARY KEY, balance bigint NOT NULL);
    CREATE TABLE moves (id bigserial PRIMARY KEY, amount bigint NOT NULL);
    INSERT INTO vault VALUES (1, 0);
    INSERT INTO accounts SELECT n, 1000, repeat('x', 500) FROM generate_series(1, 40000) n;
    CREATE PROCEDURE churn() LANGUAGE plpgsql AS $$
    DECLARE moved bigint; payer int; BEGIN
        LOOP
            moved := 1 + floor(random() * 100);
            payer := 1 + floor(random() * 40000);
            UPDATE accounts SET balance = balance - moved WHERE id = payer;
            UPDATE vault SET balance = balance + moved;
            INSERT INTO moves (amount) VALUES (moved);
            COMMIT;
        END LOOP;
    END $$";
const TOTAL: i64 = 40_000 * 1000;

struct Books {
    accounts: i64,
    vault: i64,
    moves: i64,
}

impl Books {
    fn in_lake(lake: &Lake) -> Self {
        let (accounts, rows) = lake.total("accounts", "balance").expect("accounts");
        assert_eq!(rows, 40_000);
        let total = |table: &str, column: &str| lake.total(table, column).unwrap_or_else(|| panic!("{table}")).0;
        Self { accounts, vault: total("vault", "balance"), moves: total("moves", "amount") }
    }

    fn balance(&self) -> bool {
        self.accounts + self.vault == TOTAL && self.vault == self.moves
    }
}

fn moved(database: &Database) -> i64 {
    database.sql("SELECT balance FROM vault").parse().unwrap()
}

#[test]
fn a_load_under_concurrent_writes_shows_one_moment() {
    let database = Server::shared().database();
    database.sql_as_user(SCHEMA);
    let churn = database.background("CALL churn()");
    while moved(&database) == 0 {
        std::thread::sleep(Duration::from_millis(20));
    }
    let before = moved(&database);
    let job = Job::new(&database).source("parallel.workers", "3").source("parallel.tables", "4");
    let job = job.source("parallel.chunk.size", "1MiB");
    job.run(&[]).expect(OK);
    let after = moved(&database);
    drop(churn);

    let lake = job.lake();
    let books = Books::in_lake(&lake);
    assert!(books.balance(), "accounts {} vault {} moves {}", books.accounts, books.vault, books.moves);
    assert!(before <= books.moves && books.moves < after, "{before} <= {} < {after}: writes went on", books.moves);
    assert!(lake.status("public.accounts").unwrap()["chunks_total"].parse::<u32>().unwrap() > 10, "read in parts");

    // The cut is recorded, once for all tables, with what it saw.
    let cut =
        |table: &str| lake.describe(table)["properties"]["connect-runtime.cut"].as_str().unwrap_or_default().to_owned();
    assert_eq!(cut("accounts"), cut("vault"));
    assert_eq!(cut("accounts"), cut("moves"));
    let system = database.sql("SELECT system_identifier FROM pg_control_system()");
    assert!(cut("accounts").contains(&system), "{}", cut("accounts"));
    // The moment it names is the moment it shows: every transaction visible to the recorded snapshot, and
    // no other, is in the rows.
    let recorded: serde_json::Value = serde_json::from_str(&cut("accounts")).expect("JSON");
    let visible = recorded["visible"].as_str().expect("visible");
    let at_cut = database.sql(&format!(
        "SELECT coalesce(sum(amount), 0) FROM moves WHERE pg_visible_in_snapshot(xmin::text::xid8, '{visible}')"
    ));
    assert_eq!(books.moves.to_string(), at_cut);
}

/// The twin: the same books read at three moments do not balance, so the check above can fail.
#[test]
fn reading_at_several_moments_is_caught() {
    let database = Server::shared().database();
    database.sql_as_user(SCHEMA);
    let churn = database.background("CALL churn()");
    let sum = |sql: &str| database.sql(sql).parse().unwrap();
    let torn = (0..200).any(|_| {
        let (vault, moves) = (sum("SELECT balance FROM vault"), sum("SELECT coalesce(sum(amount), 0) FROM moves"));
        !Books { accounts: sum("SELECT sum(balance) FROM accounts"), vault, moves }.balance()
    });
    assert!(torn);
    // At one moment they do balance: it is the reading that tears them.
    let whole = database.sql(
        "SELECT (SELECT sum(balance) FROM accounts), (SELECT balance FROM vault), (SELECT sum(amount) FROM moves)",
    );
    drop(churn);
    let numbers: Vec<i64> = whole.split('|').map(|n| n.parse().unwrap()).collect();
    assert!(Books { accounts: numbers[0], vault: numbers[1], moves: numbers[2] }.balance(), "{whole}");
}
