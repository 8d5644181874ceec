//! A load that leaves a replication slot behind, killed around its making.

use connect_tests::compare::assert_same;
use connect_tests::postgres::{Server, USER};
use connect_tests::runtime::{CONFIGURATION, FAILED, Job, OK};

#[test]
fn killed_around_the_slot_it_goes_on_with_it() {
    // Of its own: making a slot waits for every writing transaction of the server, other tests' too.
    around_the_slot(Box::leak(Box::new(Server::start())));
}

pub(crate) fn around_the_slot(server: &'static Server) {
    let database = server.database();
    database.sql(&format!("ALTER ROLE {USER} REPLICATION; GRANT CREATE ON DATABASE {} TO {USER}", database.name));
    database.sql_as_user(
        "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT i, 'x' FROM generate_series(1, 1000) i",
    );
    let slot = format!("slot_{}", database.name);
    let job = Job::new(&database).source("slot.name", &slot).source("publication.autocreate.mode", "filtered");
    job.command("check", &[]).expect(OK);
    let of_the_slot =
        |what: &str| database.sql(&format!("SELECT {what} FROM pg_replication_slots WHERE slot_name = '{slot}'"));
    let killed = job.run_with_failpoint("postgres.published=kill");
    assert_eq!((killed.code, of_the_slot("1").as_str()), (None, ""), "{}", killed.output);
    let killed = job.run_with_failpoint("postgres.slot-made=kill");
    assert_eq!((killed.code, of_the_slot("1").as_str()), (None, "1"), "{}", killed.output);
    let at = of_the_slot("confirmed_flush_lsn");
    database.sql_as_user("INSERT INTO t VALUES (1001, 'since')");
    job.run(&[]).expect(OK);
    assert_same(&database, "t", &job.lake(), "t");
    // The slot has not moved, and the load is not before it.
    assert_eq!(of_the_slot("confirmed_flush_lsn"), at);
    let loaded = job.lake().status("public.t").unwrap()["load_position"].clone();
    assert_eq!(database.sql(&format!("SELECT '{at}'::pg_lsn <= '{loaded}'::pg_lsn")), "t");
    // A load without an older slot is read at exactly the slot's position.
    database.sql(&format!("SELECT pg_drop_replication_slot('{slot}')"));
    job.run(&["--no-resume"]).expect(OK);
    assert_eq!(job.lake().status("public.t").unwrap()["load_position"], of_the_slot("confirmed_flush_lsn"));
    database.sql(&format!("SELECT pg_drop_replication_slot('{slot}')"));
    job.source("slot.drop.on.stop", "true").run(&[]).expect(CONFIGURATION).says(&["slot.drop.on.stop"]);
}

/// A server that keeps only so much for slots drops what an abandoned one needs: no load goes on with that one.
#[test]
fn a_slot_that_has_lost_its_log_is_not_gone_on_with() {
    let server = Box::leak(Box::new(Server::start_with(|_| {}, &["max_slot_wal_keep_size = '1MB'"], None)));
    let database = server.database();
    database.sql(&format!("ALTER ROLE {USER} REPLICATION; GRANT CREATE ON DATABASE {} TO {USER}", database.name));
    database.sql_as_user("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'x')");
    let job = Job::new(&database).source("slot.name", "left").source("publication.autocreate.mode", "filtered");
    job.run(&[]).expect(OK);
    database.sql("SELECT pg_logical_emit_message(false, '', repeat('x', 1 << 20)) FROM generate_series(1, 40)");
    database.sql("SELECT pg_switch_wal()");
    database.sql("CHECKPOINT");
    assert_eq!(database.sql("SELECT wal_status FROM pg_replication_slots"), "lost");
    let says = ["the slot left has lost WAL", "pg_drop_replication_slot", "--no-resume"];
    job.run(&["--no-resume"]).expect(FAILED).says(&says);
    assert_same(&database, "t", &job.lake(), "t");
    database.sql("SELECT pg_drop_replication_slot('left')");
    job.run(&["--no-resume"]).expect(OK);
    assert_same(&database, "t", &job.lake(), "t");
}
