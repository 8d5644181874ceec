//! What goes wrong at the server and on the way to it.

use std::time::Duration;

use connect_oracle_double::{Effect, Fault, Options, Personality, User, Verifier};
use connect_tests::postgres::{PASSWORD, USER};
use connect_tests::runtime::{FAILED, Job, OK, SOME_TABLES_FAILED};

use super::{assert_loaded, double, job, large, none, scn, small};

const READS_LARGE: &str = "FROM \"SHOP\".\"LARGE\" AS OF SCN";

/// Strikes while the shop is loaded; all of it is there in the end, as of one SCN.
fn survives(fault: Fault, keys: &[(&str, &str)]) -> connect_tests::runtime::Outcome {
    let double = double(Personality::V19c, [large(), small(), none()]);
    double.faults().add(fault);
    let job = keys.iter().fold(job(&double), |job, (key, value)| job.source(key, value));
    let outcome = job.run(&[]).expect(OK);
    assert!(double.faults().struck() > 0, "the fault did not strike");
    let cut = assert_loaded(&double.database(), &job.lake());
    assert_eq!(scn(&job.lake(), "SMALL"), cut);
    let asked = double.faults().statements().iter().filter(|sql| sql.contains("current_scn")).count();
    assert_eq!(asked, 2, "one cut was taken");
    outcome
}

#[test]
fn a_connection_that_is_cut_within_a_row_costs_nothing() {
    survives(Fault::on(READS_LARGE, Effect::CutAfterRows(70)), &[]);
    survives(Fault::on(READS_LARGE, Effect::CutAfterRows(30)).at_fetch().after(3), &[("batch.size", "100")]);
    survives(Fault::on(READS_LARGE, Effect::Cut(0)), &[]);
}

#[test]
fn a_server_that_says_nothing_is_not_waited_for() {
    // Longer than a run may take.
    let stall = Effect::Stall(Duration::from_secs(600));
    survives(Fault::on(READS_LARGE, stall).after(1), &[("database.call.timeout.ms", "3000")]);
}

#[test]
fn a_chunk_that_is_too_old_once_is_read_again_at_its_scn() {
    survives(Fault::on(READS_LARGE, Effect::Error(1555)).after(2), &[]);
}

#[test]
fn a_session_that_is_killed_is_replaced() {
    survives(Fault::on(READS_LARGE, Effect::Error(28)).after(1), &[]);
    survives(Fault::on(READS_LARGE, Effect::Error(3113)).at_fetch(), &[("batch.size", "100")]);
}

#[test]
fn a_table_that_is_always_too_old_fails_alone_where_that_is_wanted() {
    let double = double(Personality::V19c, [large(), small(), none()]);
    double.faults().add(Fault::on(READS_LARGE, Effect::Error(1555)).after(2).times(1000));
    let job = job(&double).source("snapshot.scn.expired", "fail");
    let says = ["SHOP.LARGE", "undo no longer reaches back", "UNDO_RETENTION", "ORA-01555", "undo_retention_seconds="];
    job.run(&[]).expect(SOME_TABLES_FAILED).says(&says);
    assert_eq!(job.lake().loaded_tables(), ["NONE", "SMALL"]);
}

/// Otherwise it begins anew, at another SCN, and is of that one alone.
#[test]
fn a_table_that_is_too_old_begins_anew_at_another_scn() {
    let double = double(Personality::V19c, [large(), small(), none()]);
    let database = double.database();
    double.faults().add(Fault::on(READS_LARGE, Effect::Error(1555)).times(3));
    let job = job(&double).source("chunk.method", "whole");
    job.run(&[]).expect(OK).says(&["undo no longer reaches back"]);
    let asked = double.faults().statements().iter().filter(|sql| sql.contains("current_scn")).count();
    assert_eq!(asked, 4, "two cuts were taken");
    assert_loaded(&database, &job.lake());
}

#[test]
fn a_table_without_a_right_fails_alone_and_is_named() {
    let double = double(Personality::V19c, [large(), small(), none()]);
    double.faults().add(Fault::on("FROM \"SHOP\".\"SMALL\" AS OF SCN", Effect::Error(942)));
    let job = job(&double);
    job.run(&[]).expect(SOME_TABLES_FAILED).says(&["SHOP.SMALL", "ORA-00942", "GRANT SELECT"]);
    assert_eq!(job.lake().loaded_tables(), ["LARGE", "NONE"]);
}

/// Each is one clear message, and the end.
#[test]
fn what_cannot_be_reached_is_said() {
    let double = double(Personality::V19c, [small()]);
    let refused = |job: Job, says: &[&str]| {
        job.run(&["--max-retries", "0"]).expect(FAILED).says(says);
    };
    let wrong = Job::of_oracle(double.port()).source("database.password", "wrong");
    refused(wrong, &["ORA-01017", "database.user and database.password"]);
    refused(Job::of_oracle(double.port()).source("database.dbname", "nosuch"), &["ORA-12514", "lsnrctl services"]);
    let mut sid = Job::of_oracle(double.port()).source("database.sid", "NOSUCH");
    sid.source.remove("database.dbname");
    refused(sid, &["ORA-12505", "database.sid"]);
    refused(Job::of_oracle(1), &["lost while connecting"]);
    double.faults().refuse_connections(12528);
    refused(Job::of_oracle(double.port()), &["ORA-12528"]);
}

#[test]
fn an_account_with_an_old_verifier_only_is_told_from_a_wrong_password() {
    let old = User::new(&USER.to_uppercase(), PASSWORD).reader().verifier(Verifier::V11g);
    let model = connect_oracle_double::Model::new().user(old).user(User::new("SHOP", "x")).table(small());
    let double = connect_oracle_double::Double::start(model, Options::new(Personality::V19c)).unwrap();
    let outcome = Job::of_oracle(double.port()).run(&["--max-retries", "0"]).expect(FAILED);
    outcome.says(&["ORA-01017", "11g verifier", "ALTER USER", "use database.driver=oci"]);
}

#[test]
fn a_listener_that_says_nothing_is_not_waited_for() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let job = Job::of_oracle(port).source("connect.timeout.ms", "700");
    job.run(&["--max-retries", "0"]).expect(FAILED).says(&["no session within connect.timeout.ms"]);
}

/// A stop does not wait for a driver that waits for its server, which cannot be interrupted: while tables are looked for, while rows
/// are read, and while nobody answers at all. What is run again then is as if nothing had been.
#[test]
fn a_stop_does_not_wait_for_a_server_that_says_nothing() {
    let stop = |mut running: connect_tests::runtime::Running, hangs: &dyn Fn() -> bool| {
        running.until("the stall", || hangs().then_some(()));
        let asked = std::time::Instant::now();
        running.terminate();
        let outcome = running.wait().expect(OK);
        assert!(asked.elapsed() < Duration::from_secs(60), "{:?} after the stop: {}", asked.elapsed(), outcome.output);
    };
    for (statement, after) in [("FROM all_tables", 0), (READS_LARGE, 0), (READS_LARGE, 3)] {
        let double = double(Personality::V19c, [large(), small(), none()]);
        double.faults().add(Fault::on(statement, Effect::Stall(Duration::from_secs(600))).after(after).times(9));
        let job = job(&double).worker("shutdown.timeout.ms", "300000");
        stop(job.start(&[]), &|| double.faults().struck() > 0);
        assert_eq!(job.lake().orphans(), Vec::<std::path::PathBuf>::new(), "{statement}");
        double.faults().clear();
        job.run(&[]).expect(OK);
        assert_loaded(&double.database(), &job.lake());
    }
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    silent.set_nonblocking(true).unwrap();
    let job = Job::of_oracle(silent.local_addr().unwrap().port()).source("connect.timeout.ms", "300000");
    let job = job.worker("shutdown.timeout.ms", "300000");
    let held = std::cell::RefCell::new(None);
    stop(job.start(&[]), &|| {
        *held.borrow_mut() = silent.accept().ok();
        held.borrow().is_some()
    });
}
