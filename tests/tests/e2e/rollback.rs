//! Tables that somebody rolls back in the lake (P11).

use connect_tests::compare::{Rows, source_rows, until_rows};
use connect_tests::debezium::{Debezium, Format};
use connect_tests::events::{Events, rows};
use connect_tests::kafka::{Kafka, Message};
use connect_tests::postgres::Server;
use connect_tests::runtime::{FAILED, Job, OK, Outcome, Running, SOME_TABLES_FAILED};

const REFUSED: &str = "the table was rolled back or replaced";

fn current(job: &Job) -> i64 {
    job.lake().describe("t")["snapshot-id"].as_i64().unwrap()
}

fn restore(job: &Job, snapshot: i64) -> Outcome {
    let snapshot = snapshot.to_string();
    job.command("positions restore", &["--sink", "lake", "--table", "public.t", "--to-snapshot", &snapshot])
}

fn stop(running: Running) {
    running.terminate();
    running.wait().expect(OK);
}

/// The rows of such a table that has got a column `more`.
fn grown<'a>(of: impl IntoIterator<Item = (i64, &'a str, Option<&'a str>)>) -> Rows {
    let row = |(id, v, more): (i64, &str, Option<&str>)| {
        vec![Some(id.to_string()), Some(v.to_owned()), more.map(str::to_owned)]
    };
    Rows { columns: ["id", "v", "more"].map(str::to_owned).to_vec(), rows: of.into_iter().map(row).collect() }
}

fn is_refused(job: &Job) {
    let mut running = job.start(&[]);
    running.until_it_says(REFUSED);
    running.kill();
}

/// One that was rolled back is not followed: its rows are not those that its position speaks of. Once that is restored, what
/// came since is applied again, a column that the table has got meanwhile included, in each partition from where that was.
#[test]
fn a_table_that_was_rolled_back_is_followed_again_once_its_position_is_restored() {
    let kafka = Kafka::shared();
    kafka.create("back.public.t", 2);
    let mut events = Events::of("t");
    let second = |message: Message| Message { partition: 1, ..message };
    let job = Job::following(kafka, r"back\.public\.t").sink("iceberg.control.commit.interval-ms", "50");
    let lake = job.lake();
    let mut running = job.start(&[]);
    kafka.write("back.public.t", &[events.create(1, "a"), second(events.create(2, "b"))]);
    until_rows(&rows([(1, "a"), (2, "b")]), &lake, "t", &mut running);
    // Of the first partition alone: the snapshot says nothing of the other.
    kafka.write("back.public.t", &[events.update(1, "c"), events.create(3, "d")]);
    until_rows(&rows([(1, "c"), (2, "b"), (3, "d")]), &lake, "t", &mut running);
    stop(running);
    let wanted = current(&job);
    restore(&job, wanted).expect(FAILED).says(&["there is nothing to restore"]);

    let mut running = job.start(&[]);
    kafka.write("back.public.t", &[events.delete(3), second(events.update(2, "e"))]);
    until_rows(&rows([(1, "c"), (2, "e")]), &lake, "t", &mut running);
    let between = current(&job);
    events.grow("more", "m");
    kafka.write("back.public.t", &[events.create(4, "z"), second(events.create(5, "y")), second(events.delete(2))]);
    until_rows(&grown([(1, "c", None), (4, "z", Some("m")), (5, "y", Some("m"))]), &lake, "t", &mut running);

    // Under the eyes of a follower, which sees it with its next commit.
    lake.roll_back("t", wanted);
    kafka.write("back.public.t", &[events.update(1, "f")]);
    running.until_it_says(REFUSED);
    running.until_it_says(&format!("positions restore --table public.t --to-snapshot {wanted}"));
    running.terminate();
    running.wait().expect(SOME_TABLES_FAILED);
    is_refused(&job);
    restore(&job, between).expect(FAILED).says(&["roll the table back to the one that is wanted first"]);
    let restored = restore(&job, wanted).expect(OK);
    assert_eq!(
        restored.output.lines().filter(|line| line.starts_with("back.public.t-")).count(),
        2,
        "{}",
        restored.output
    );

    let mut running = job.start(&[]);
    until_rows(&grown([(1, "f", Some("m")), (4, "z", Some("m")), (5, "y", Some("m"))]), &lake, "t", &mut running);
    stop(running);
    restore(&job, wanted).expect(FAILED).says(&["there is nothing to restore"]);
}

/// The same of a table that a load began: what its cut shows is dropped again, and a column that came since is there. Not so
/// once another load has replaced the rows: the log goes on from that one.
#[test]
fn a_loaded_table_that_was_rolled_back_is_followed_again_up_to_its_last_load() {
    let database = Server::shared().database();
    database.sql_as_user("CREATE TABLE t (id int PRIMARY KEY, v int)");
    let mut debezium = Debezium::new(&database, Format::Avro);
    debezium.start();
    database.sql_as_user("INSERT INTO t SELECT n, 0 FROM generate_series(1, 50) n; UPDATE t SET v = 1 WHERE id < 20");
    debezium.until_caught_up();
    let mut job = Job::new(&database).source("topic.prefix", &debezium.prefix);
    job = job.sink("iceberg.control.commit.interval-ms", "50");
    for (key, value) in debezium.sink_keys() {
        job = job.sink(key, &value);
    }
    let lake = job.lake();
    let follow = |statement: &str| {
        let mut running = job.start(&[]);
        database.sql_as_user(statement);
        debezium.until_caught_up();
        until_rows(&source_rows(&database, "t"), &lake, "t", &mut running);
        stop(running);
        current(&job)
    };
    let before = follow("UPDATE t SET v = 2 WHERE id % 2 = 0; DELETE FROM t WHERE id = 7");
    follow("ALTER TABLE t ADD more text; UPDATE t SET more = 'x' WHERE id < 5; DELETE FROM t WHERE id > 40");
    lake.roll_back("t", before);
    is_refused(&job);
    restore(&job, before).expect(OK);
    follow("INSERT INTO t VALUES (100, 3, 'y')");

    job.command("load", &["--source", "shop", "--no-resume"]).expect(OK);
    lake.roll_back("t", before);
    restore(&job, before).expect(FAILED).says(&["of no snapshot that its position could be set back to"]);
    job.command("load", &["--source", "shop", "--no-resume"]).expect(OK);
    follow("DELETE FROM t WHERE id < 10");
}
