//! `check` and the same look at every start: what stands in the way is said with what removes it.

use connect_tests::compare::assert_same;
use connect_tests::lake::Engine;
use connect_tests::postgres::{Database, Server, USER, free_port};
use connect_tests::proxy::Proxy;
use connect_tests::runtime::{FAILED, Job, OK, Outcome, SOME_TABLES_FAILED};

/// A database with one table that can be read, and some that cannot.
fn obstructed() -> Database {
    let database = Server::shared().database();
    database.sql_as_user("CREATE TABLE good (id int PRIMARY KEY); INSERT INTO good VALUES (1), (2)");
    database.sql(&format!(
        "CREATE TABLE public.\"Se cret\" (id int); CREATE SCHEMA closed; CREATE TABLE closed.t (id int);
         GRANT SELECT ON closed.t TO {USER};
         CREATE TABLE policed (id int, mine boolean); INSERT INTO policed VALUES (1, true), (2, false);
         GRANT SELECT ON policed TO {USER}; ALTER TABLE policed ENABLE ROW LEVEL SECURITY;
         CREATE POLICY own ON policed USING (mine)"
    ));
    database
}

fn job(database: &Database) -> Job {
    Job::new(database).source("schema.include.list", "public,closed")
}

/// The statements that the output offers.
fn remedies(outcome: &Outcome) -> Vec<String> {
    let offered = outcome.output.lines().filter_map(|line| line.strip_prefix("    "));
    offered.map(|line| line.split("; or ").next().unwrap().to_owned()).collect()
}

#[test]
fn each_remedy_removes_its_finding() {
    let database = obstructed();
    let job = job(&database).source("table.exclude.list", ".*policed");
    let outcome = job.command("check", &["--source", "shop"]).expect(SOME_TABLES_FAILED).says(&[
        "blocking: shop: public.Se cret: no SELECT privilege",
        "blocking: shop: closed.t: no USAGE privilege",
        "not ready",
    ]);
    assert_eq!(job.lake().tables(), [""; 0], "no table, no ledger");
    assert!(!job.folder().join("state").exists(), "check writes nothing");
    let remedies = remedies(&outcome);
    assert_eq!(remedies.len(), 2, "{}", outcome.output);
    remedies.iter().for_each(|sql| drop(database.sql(sql)));
    job.command("check", &[]).expect(OK).says(&["nothing stands in the way"]);
}

#[test]
fn rows_behind_policies_are_loaded_only_when_asked_for() {
    let database = obstructed();
    let job = job(&database).source("table.include.list", "public\\.policed");
    job.command("check", &[]).expect(SOME_TABLES_FAILED).says(&["public.policed: row-level security", "BYPASSRLS"]);
    job.run(&[]).expect(SOME_TABLES_FAILED).says(&["row-level security", "set row.security"]);
    assert_eq!(job.lake().loaded_tables(), [""; 0]);
    let job = job.source("row.security", "on");
    job.command("check", &[]).expect(OK);
    job.run(&[]).expect(OK);
    assert_eq!(job.lake().count(Engine::DuckDb, "policed", "id"), Some(1));
}

#[test]
fn every_start_looks_too() {
    let database = obstructed();
    // What blocks a table fails that table, with its remedy.
    let job = job(&database);
    let refused = job.run(&[]).expect(SOME_TABLES_FAILED);
    let refused =
        refused.says(&["GRANT SELECT ON TABLE \"public\".\"Se cret\" TO \"app\"", "GRANT USAGE ON SCHEMA \"closed\""]);
    assert!(!refused.output.contains("the load cannot start"), "{}", refused.output);
    assert_same(&database, "good", &job.lake(), "good");
    // What blocks all of them ends the run before anything is locked or written.
    database.sql(&format!("ALTER DATABASE {} CONNECTION LIMIT 4", database.name));
    let says = ["5 connections are needed", "CONNECTION LIMIT allows 4", "parallel.workers"];
    job.run(&["--no-resume"]).expect(FAILED).says(&says);
    job.command("check", &[]).expect(SOME_TABLES_FAILED).says(&says);
    job.source("parallel.tables", "1").run(&["--no-resume"]).expect(SOME_TABLES_FAILED);
}

/// Time-outs that a role or a database sets for everyone are not for our sessions.
#[test]
fn time_outs_of_others_are_not_ours() {
    let database = Server::shared().database();
    database.sql_as_user(
        "CREATE TABLE wide (id int PRIMARY KEY, v text);
         INSERT INTO wide SELECT i, repeat('x', 1000) FROM generate_series(1, 50000) i",
    );
    for setting in ["statement_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout", "lock_timeout"]
    {
        database.sql(&format!("ALTER ROLE {USER} IN DATABASE {} SET {setting} = 2000", database.name));
    }
    let proxy = Proxy::holding_after(database.port(), 8 << 20);
    Job::new(&database).command("check", &[]).expect(OK).says(&["nothing stands in the way"]);
    let job = Job::new(&database).source("database.port", &proxy.port.to_string());
    let mut running = job.start(&[]);
    // Longer than any of them.
    let reading = "SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND query LIKE 'COPY%' AND now() - query_start > '2500 ms'";
    running.until("a long COPY", || (proxy.holds() && database.sql(reading) != "0").then_some(()));
    proxy.release();
    running.wait().expect(OK);
    assert_same(&database, "wide", &job.lake(), "wide");
}

#[test]
fn a_server_that_is_not_there_is_a_finding() {
    let database = Server::shared().database();
    let job = Job::new(&database).source("database.port", &free_port().to_string());
    job.command("check", &[]).expect(SOME_TABLES_FAILED).says(&["blocking: shop:", "cannot connect", "not ready"]);
}
