//! Killed again and again, at moments and failpoints that a seed chooses; run once more, the lake is the
//! source, nothing is doubled, no reader saw a part of a load, and nothing is left behind.
//!
//! A failing round prints its seed; `CONNECT_CHAOS_SEED=… CONNECT_CHAOS_ROUNDS=1` runs it again. Kills at
//! moments fall somewhat differently each time; those at failpoints do not.

use std::time::Duration;

use connect_tests::chance::{Chance, rounds};
use connect_tests::compare::assert_same;
use connect_tests::poll::{Poller, Seen};
use connect_tests::postgres::{Database, Server};
use connect_tests::runtime::{Job, OK};

const TABLES: [&str; 4] = ["large", "wide", "small", "none"];
const ROWS: u64 = 20_000;

/// Where a run may be killed in what it reads.
const POINTS: [&str; 4] = ["postgres.locked", "postgres.cut-taken", "postgres.batch", "postgres.split-read"];
/// The same in what loads have in common.
pub(crate) const COMMON: [&str; 9] = [
    "iceberg.file-noted",
    "iceberg.after-stage",
    "iceberg.before-commit",
    "iceberg.after-commit",
    "iceberg.before-ledger",
    "iceberg.before-changes-commit",
    "iceberg.before-status-commit",
    "engine.begin",
    "engine.complete",
];

fn shop() -> Database {
    let database = Server::shared().database();
    database.sql_as_user(&format!(
        "CREATE TABLE large (id bigint PRIMARY KEY, v text);
         INSERT INTO large SELECT i, md5(i::text) FROM generate_series(1, {ROWS}) i;
         CREATE TABLE wide (id int PRIMARY KEY, v text); INSERT INTO wide SELECT i, repeat(md5(i::text), 300) FROM generate_series(1, 200) i;
         CREATE TABLE small (v text); INSERT INTO small VALUES ('a'), ('a'), (NULL);
         CREATE TABLE none (id int PRIMARY KEY)"
    ));
    database
}

/// Whether a reader saw nothing but these.
fn saw_only(seen: &Seen, allowed: &[Option<u64>]) -> bool {
    seen.iter().all(|n| allowed.contains(n))
}

/// Runs the job and kills it as chance has it, within so many milliseconds or where it reads or loads. Tells how.
pub(crate) fn kill(job: &Job, args: &[&str], chance: &mut Chance, longest: u64, reading: &[&str]) -> String {
    if chance.below(2) == 0 {
        let after = Duration::from_millis(chance.below(longest));
        let running = job.start(args);
        std::thread::sleep(after);
        running.kill();
        return format!("after {} ms", after.as_millis());
    }
    let points = [reading, &COMMON].concat();
    let point = points[chance.below(points.len() as u64) as usize];
    let failpoint = format!("{point}=kill@{}", 1 + chance.below(6));
    // One that is never reached lets the run end by itself.
    job.start_with(args, &[("CONNECT_FAILPOINTS", &failpoint)]).wait();
    failpoint
}

#[expect(clippy::print_stdout, reason = "a test that fails shows its output, and so its seed")]
fn round(seed: u64) {
    let chance = &mut Chance(seed);
    let database = shop();
    let job = Job::new(&database).source("parallel.chunk.size", "64KiB").source("batch.size", "1000");
    let lake = job.lake();
    let replaces = chance.below(3) == 0;
    let (args, allowed): (&[&str], _) = if replaces {
        job.run(&[]).expect(OK);
        database.sql_as_user("INSERT INTO large VALUES (0, 'new')");
        (&["--no-resume"], vec![Some(ROWS), Some(ROWS + 1)])
    } else {
        (&[], vec![None, Some(ROWS)])
    };
    let poller = Poller::start(&lake, "large", "id");
    let kills: Vec<String> = (0..1 + chance.below(3)).map(|_| kill(&job, args, chance, 900, &POINTS)).collect();
    let told = format!("CONNECT_CHAOS_SEED={seed} CONNECT_CHAOS_ROUNDS=1: {args:?}, killed {kills:?}");
    println!("{told}");
    job.run(args).expect(OK);
    for table in TABLES {
        assert_same(&database, table, &lake, table);
        if !replaces {
            assert_eq!(lake.describe(table)["snapshots"], 1, "{table} was committed once; {told}");
        }
    }
    let seen = poller.finish();
    assert!(saw_only(&seen, &allowed), "a reader saw {seen:?}; {told}");
    let orphans = lake.orphans();
    assert!(orphans.is_empty(), "left behind: {orphans:?}; {told}");
}

#[test]
fn killed_at_any_moment() {
    rounds(3, round);
}

#[test]
#[ignore = "minutes: run by make test-full"]
fn killed_at_many_moments() {
    rounds(60, round);
}

/// The twin: a reader that saw a part is told from one that did not, and the same seed is the same round.
#[test]
fn a_part_that_was_seen_is_found() {
    let allowed = [None, Some(ROWS)];
    assert!(saw_only(&Seen::from([None, Some(ROWS)]), &allowed));
    assert!(!saw_only(&Seen::from([None, Some(ROWS - 1), Some(ROWS)]), &allowed));
    assert!(!saw_only(&Seen::from([Some(0)]), &allowed));
    let numbers = |seed| -> Vec<u64> {
        std::iter::repeat_with({
            let mut c = Chance(seed);
            move || c.below(100)
        })
        .take(9)
        .collect()
    };
    assert_eq!(numbers(7), numbers(7));
    assert_ne!(numbers(7), numbers(8));
}
