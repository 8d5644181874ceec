//! `check`: what is missing, each with the statement that grants it.

use connect_oracle_double::{Double, Model, Options, Personality, User};
use connect_tests::postgres::{PASSWORD, USER};
use connect_tests::runtime::{FAILED, Job, OK, SOME_TABLES_FAILED};

use super::{job, large, none, small};

fn of(user: User) -> Double {
    let model = Model::new().user(user).user(User::new("SHOP", "another"));
    let model = [large(), small(), none()].into_iter().fold(model, Model::table);
    Double::start(model, Options::new(Personality::V19c)).unwrap()
}

fn poor() -> User {
    User::new(&USER.to_uppercase(), PASSWORD)
}

#[test]
fn with_every_right_nothing_stands_in_the_way() {
    let double = of(super::reader());
    job(&double).command("check", &[]).expect(OK).says(&["nothing stands in the way"]);
}

#[test]
fn each_missing_right_is_named_with_its_grant() {
    let tables = ["LARGE", "SMALL", "NONE"];
    let user = tables.iter().fold(poor(), |user, table| user.grant("SELECT", "SHOP", table));
    let user = user.grant("FLASHBACK", "SHOP", "LARGE").grant("FLASHBACK", "SHOP", "NONE");
    let double = of(user.grant("EXECUTE", "SYS", "DBMS_FLASHBACK"));
    let outcome = job(&double).command("check", &[]).expect(SOME_TABLES_FAILED).says(&[
        "GRANT FLASHBACK ON \"SHOP\".\"SMALL\" TO \"APP\"",
        "GRANT SELECT ON SYS.V_$DATABASE TO \"APP\"",
        "GRANT SELECT ON SYS.GV_$TRANSACTION TO \"APP\"",
        "GRANT SELECT ON SYS.DBA_EXTENTS TO \"APP\"",
        "GRANT SELECT ON SYS.V_$UNDOSTAT TO \"APP\"",
    ]);
    assert!(!outcome.output.contains("ON \"SHOP\".\"LARGE\""), "{}", outcome.output);
    // And the load fails that table alone, with what it can do of the rest.
    let load = Job::of_oracle(double.port()).run(&[]).expect(SOME_TABLES_FAILED);
    load.says(&["SHOP.SMALL", "ORA-01031", "FLASHBACK"]);
}

#[test]
fn a_table_that_may_not_be_seen_is_not_selected() {
    let user = poor().grant("SELECT", "SHOP", "SMALL").grant("FLASHBACK", "SHOP", "SMALL");
    let double = of(user.clone());
    let job = job(&double);
    // There is no SCN without one of the two.
    job.run(&[]).expect(FAILED).says(&["the load cannot start", "V_$DATABASE"]);
    let user = user.grant("SELECT", "SYS", "V_$DATABASE");
    double.database().alter_user(&USER.to_uppercase(), |_| user);
    job.run(&[]).expect(OK);
    assert_eq!(job.lake().loaded_tables(), ["SMALL"]);
}

#[test]
fn a_standby_shows_no_transactions_and_is_loaded() {
    let model = super::model([small()]).standby();
    let double = Double::start(model, Options::new(Personality::V19c)).unwrap();
    let job = job(&double);
    job.command("check", &[]).expect(OK).says(&["a standby"]);
    job.run(&[]).expect(OK);
    assert_eq!(job.lake().loaded_tables(), ["SMALL"]);
    let asked = double.faults().statements();
    assert!(!asked.iter().any(|sql| sql.contains("start_scn")), "its view of transactions says nothing");
}
