//! Several instances at once, with filters that overlap: the server shows that no table is read twice, and
//! what one leaves undone another does.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use connect_tests::compare::assert_same;
use connect_tests::lake::Engine;
use connect_tests::postgres::{Database, Server};
use connect_tests::proxy::Proxy;
use connect_tests::runtime::{Job, OK, Outcome, Running};

const ROWS: u64 = 5_000;
const TABLES: [&str; 4] = ["one", "both_1", "both_2", "two"];
const LEFT: &str = "another instance is loading tables";

fn shop() -> Database {
    let database = Server::shared().database();
    for table in TABLES {
        database.sql_as_user(&format!(
            "CREATE TABLE {table} (id int PRIMARY KEY, v text);
             INSERT INTO {table} SELECT i, md5(i::text) FROM generate_series(1, {ROWS}) i"
        ));
    }
    database
}

/// Two jobs into one lake, each with a state directory of its own.
fn pair(database: &Database) -> [Job; 2] {
    let filtered = |own: &str| {
        let job = Job::new(database).source("table.include.list", &format!(r"public\.({own}|both_.*)"));
        job.sink("heartbeat.interval.ms", "1000")
    };
    let (first, mut second) = (filtered("one"), filtered("two"));
    second.sink.clone_from(&first.sink);
    [first, second]
}

/// How many rows the server has read of each table since it was made.
fn read(database: &Database) -> Vec<u64> {
    // A backend says what it has read when it ends.
    let begun = Instant::now();
    let others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    while database.sql(others) != "0" {
        assert!(begun.elapsed() < Duration::from_secs(30), "connections stay");
        sleep(Duration::from_millis(20));
    }
    let of = |table| format!("SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = '{table}'");
    TABLES.iter().map(|table| database.sql(&of(table)).parse().unwrap()).collect()
}

/// Starts a job that is held still in the middle of its first tables, with its claims made.
fn held(database: &Database, job: &mut Job, args: &[&str], failpoints: &str) -> (Proxy, Running) {
    // A table is twice as much, and what is asked before is far less.
    let proxy = Proxy::holding_after(database.port(), 128 << 10);
    job.source.insert("database.port".into(), proxy.port.to_string());
    let mut running = job.start_with(args, &[("CONNECT_FAILPOINTS", failpoints)]);
    running.until("held", || proxy.holds().then_some(()));
    job.source.insert("database.port".into(), database.port().to_string());
    (proxy, running)
}

/// Lets both come to their ends, and gives how often each table was read by them.
fn ended(database: &Database, before: &[u64], running: [Running; 2]) -> (Vec<u64>, [Outcome; 2]) {
    let outcomes = running.map(|running| running.wait().expect(OK));
    (read(database).iter().zip(before).map(|(after, before)| (after - before) / ROWS).collect(), outcomes)
}

fn all_loaded(database: &Database, job: &Job) {
    let lake = job.lake();
    for table in TABLES {
        assert_same(database, table, &lake, table);
        assert_eq!(lake.status(&format!("public.{table}")).unwrap()["load_status"], "completed", "{table}");
    }
}

#[test]
fn instances_that_overlap_read_each_table_once() {
    let database = shop();
    let mut jobs = pair(&database);
    for (args, first) in [(&[][..], 0), (&["--no-resume"][..], 1)] {
        let before = read(&database);
        let (proxy, holder) = held(&database, &mut jobs[first], args, "");
        let mut other = jobs[1 - first].start(args);
        other.until_it_says(LEFT);
        proxy.release();
        let (times, outcomes) = ended(&database, &before, [holder, other]);
        assert_eq!(times, [1, 1, 1, 1], "{args:?}\n{}\n{}", outcomes[0].output, outcomes[1].output);
        all_loaded(&database, &jobs[0]);
    }
    assert_eq!(jobs[0].lake().describe("both_1")["snapshots"], 2, "a load and a replacement");
}

/// The twin: without claims the count shows tables that are read twice, and nothing is doubled all the same.
#[test]
fn without_claims_tables_are_read_twice_and_not_doubled() {
    let database = shop();
    let mut jobs = pair(&database);
    for args in [&[][..], &["--no-resume"][..]] {
        let before = read(&database);
        // Both are to load before either has loaded anything.
        let both = jobs.each_mut().map(|job| held(&database, job, args, "iceberg.claim=error"));
        both.iter().for_each(|(proxy, _)| proxy.release());
        let [(_one, first), (_other, second)] = both;
        let (times, outcomes) = ended(&database, &before, [first, second]);
        assert!(times[1] + times[2] > 2, "{args:?} {times:?}\n{}\n{}", outcomes[0].output, outcomes[1].output);
        assert!(outcomes.iter().all(|o| o.output.contains("cannot claim tables")));
        all_loaded(&database, &jobs[0]);
        // What was loaded is loaded once. Who begins to replace a table that the other has just replaced does it again.
        let may_be = if args.is_empty() { 1..=1 } else { 2..=3 };
        let snapshots = jobs[0].lake().describe("both_1")["snapshots"].as_u64().unwrap();
        assert!(may_be.contains(&snapshots), "{args:?} {snapshots}");
    }
}

#[test]
fn what_a_killed_instance_held_is_taken_over_once_it_is_silent() {
    let database = shop();
    let [mut first, mut second] = pair(&database);
    for job in [&mut first, &mut second] {
        job.sink.insert("heartbeat.interval.ms".into(), "500".into());
        job.sink.insert("session.timeout.ms".into(), "5000".into());
    }
    let (_proxy, running) = held(&database, &mut first, &[], "");
    let mut waiting = second.start(&[]);
    let output = second.folder().join("output");
    waiting.until("claims of another", || fs::read_to_string(&output).unwrap().contains(LEFT).then_some(()));
    // Half a second each: longer than the silence that counts.
    let lake = first.lake();
    let (early, mut beats) = waiting.until("signs of life", || {
        sleep(Duration::from_millis(200));
        let early = fs::read_to_string(&output).unwrap().contains("table=public.both_1 attempt");
        let rows = lake.rows(Engine::PyIceberg, "_cdc_status")?;
        let of_both = rows.maps().filter(|row| row["table_name"] == "public.both_1");
        let beats: Vec<i64> = of_both.map(|row| row["updated_at"].parse().unwrap()).collect();
        (early || beats.len() > 13).then_some((early, beats))
    });
    // One that a busy machine has not let say anything for about that long is taken over rightly.
    beats.push(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64);
    beats.sort_unstable();
    let longest = beats.windows(2).map(|pair| pair[1] - pair[0]).max();
    assert!(!early || longest > Some(4_000_000), "taken over from a living one: {beats:?}\n{}", waiting.output());
    running.kill();
    waiting.wait().expect(OK);
    first.run(&[]).expect(OK);
    all_loaded(&database, &first);
    assert_eq!(first.lake().describe("both_1")["snapshots"], 1);
}

#[test]
fn a_restart_with_the_same_state_does_not_wait() {
    let database = shop();
    let [mut job, _] = pair(&database);
    let (_proxy, running) = held(&database, &mut job, &[], "");
    running.kill();
    // Killed again before it could do anything about the first one's claims.
    assert_eq!(job.run_with_failpoint("postgres.locked=kill").code, None);
    assert_eq!(job.run_with_failpoint("iceberg.before-status-commit=kill").code, None);
    let outcome = job.run(&[]).expect(OK);
    assert!(!outcome.output.contains(LEFT), "{}", outcome.output);
    assert_same(&database, "both_1", &job.lake(), "both_1");

    // The twin: without its state directory nothing says that the dead one is dead, until it has been silent.
    let [mut job, _] = pair(&database);
    job.sink.insert("session.timeout.ms".into(), "2000".into());
    let (_proxy, running) = held(&database, &mut job, &[], "");
    running.kill();
    fs::remove_dir_all(job.folder().join("state")).unwrap();
    job.run(&[]).expect(OK).says(&[LEFT]);
    assert_same(&database, "both_1", &job.lake(), "both_1");
}
