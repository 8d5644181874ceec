//! Whole loads: as of one SCN, in parts, killed and gone on with.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use connect_oracle_double::{Effect, Fault, Personality, Scn, Value};
use connect_tests::lake::Lake;
use connect_tests::runtime::{OK, SOME_TABLES_FAILED};

use super::{assert_loaded, assert_rows, double, expected, job, large, none, scn, small};

/// Of a statement that is asked once the cut is taken, and not before.
const AFTER_THE_CUT: &str = "FROM dba_extents WHERE owner";
/// Until the test has done what it must, and takes the faults away.
const STALL: Effect = Effect::Stall(Duration::from_secs(600));

/// Both releases, in parts: every row once, and nothing is read but as of the SCN.
#[test]
fn a_load_is_of_one_scn() {
    for personality in [Personality::V19c, Personality::V23ai] {
        let double = double(personality, [large(), small(), none()]);
        let database = double.database();
        let before = database.scn();
        let job = job(&double);
        // The cut is taken, and nothing is read yet.
        double.faults().add(Fault::on(AFTER_THE_CUT, STALL));
        let mut running = job.start(&[]);
        running.until("the cut", || (double.faults().struck() == 1).then_some(()));
        let mut after = database.begin();
        after.delete("SHOP", "LARGE", |row| matches!(&row[0], Value::Number(n) if n.whole().unwrap() % 3 == 0));
        after.update("SHOP", "LARGE", |_| true, |row| row[1] = Value::text("changed"));
        after.insert("SHOP", "SMALL", vec![Value::text("late")]);
        after.insert("SHOP", "NONE", vec![Value::int(1)]);
        after.commit();
        double.faults().clear();
        running.wait().expect(OK);
        let cut = assert_loaded(&database, &job.lake());
        assert!(cut >= before && cut < database.scn(), "{before} {cut} {}", database.scn());
        for table in ["LARGE", "SMALL", "NONE"] {
            assert_eq!(scn(&job.lake(), table), cut, "{table}");
        }
        let statements = double.faults().statements();
        let reads: Vec<_> = statements.iter().filter(|sql| sql.contains("FROM \"SHOP\".")).collect();
        assert!(reads.iter().all(|sql| sql.contains("AS OF SCN :1")), "{reads:?}");
        let ranges = reads.iter().filter(|sql| sql.contains("\"LARGE\"") && sql.contains("ROWID")).count();
        assert!(ranges > 3, "the table was read in {ranges} parts");
    }
}

/// Dies as the failpoint says and is run again; what is loaded later is of the same SCN as what was loaded before.
fn killed(failpoint: &str) {
    let double = double(Personality::V19c, [large(), small(), none()]);
    let database = double.database();
    let job = job(&double);
    let died = job.run_with_failpoint(failpoint);
    assert_eq!(died.code, None, "{failpoint} did not kill: {}", died.output);
    let lake = job.lake();
    let before: Vec<(String, Scn)> =
        lake.loaded_tables().into_iter().map(|table| (table.clone(), cut(&lake, &table))).collect();
    database.insert("SHOP", "SMALL", vec![Value::text("late")]);
    database.insert("SHOP", "LARGE", vec![Value::int(1_000_000), Value::Null]);
    job.run(&[]).expect(OK);
    let cut = assert_loaded(&database, &lake);
    for (table, scn) in &before {
        assert_eq!(*scn, cut, "{failpoint}: {table} was loaded before");
    }
    // And of the same transactions that were open then, whichever run has noted them.
    let open: BTreeSet<String> =
        ["LARGE", "SMALL", "NONE"].map(|table| noted(&lake, table)["visible"].to_string()).into();
    assert!(open.len() == 1 && !open.contains("null"), "{failpoint}: {open:?}");
    assert_eq!(lake.orphans(), Vec::<PathBuf>::new(), "what the dead run left is gone");
    job.run(&[]).expect(OK).says(&["already loaded"]);
}

/// The SCN in a table's own properties.
pub(super) fn cut(lake: &Lake, table: &str) -> Scn {
    noted(lake, table)["position"].as_str().unwrap().parse().unwrap()
}

/// What a table's own properties say of its load.
fn noted(lake: &Lake, table: &str) -> serde_json::Value {
    let properties = lake.describe(table)["properties"].clone();
    serde_json::from_str(properties["connect-runtime.cut"].as_str().unwrap()).unwrap()
}

#[test]
fn killed_with_the_cut_taken() {
    killed("oracle.cut-taken=kill");
}

#[test]
fn killed_between_batches() {
    killed("oracle.batch=kill@5");
}

#[test]
fn killed_between_the_parts_of_a_table() {
    killed("oracle.split-read=kill@3");
}

#[test]
fn killed_after_the_first_commit() {
    killed("iceberg.after-commit=kill");
}

#[test]
fn killed_after_the_second_commit() {
    killed("iceberg.after-commit=kill@2");
}

/// The twin of going on at the same SCN: where undo does not reach back to it, what is left is of a new one, and that is
/// said.
#[test]
fn without_undo_the_rest_is_of_a_new_scn() {
    let double = double(Personality::V19c, [large(), small(), none()]);
    let database = double.database();
    let job = job(&double);
    // Which of the others is published first, or both, is open.
    double.faults().add(Fault::on("FROM \"SHOP\".\"LARGE\" AS OF SCN", STALL));
    assert_eq!(job.run_with_failpoint("iceberg.after-commit=kill").code, None);
    double.faults().clear();
    let lake = job.lake();
    let first = lake.loaded_tables();
    assert!(!first.is_empty(), "{first:?}");
    database.insert("SHOP", "SMALL", vec![Value::text("late")]);
    database.insert("SHOP", "NONE", vec![Value::int(1)]);
    database.insert("SHOP", "LARGE", vec![Value::int(1_000_000), Value::Null]);
    database.forget_undo_before(database.scn());
    job.run(&[]).expect(OK).says(&["the SCN of the tables that are loaded is gone"]);
    assert_loaded_at_two(&database, &lake, &first);
}

fn assert_loaded_at_two(database: &connect_oracle_double::Database, lake: &Lake, first: &[String]) {
    let old = scn(lake, &first[0]);
    for (table, columns) in [("LARGE", &["ID", "V"][..]), ("SMALL", &["V"]), ("NONE", &["ID"])] {
        let at = scn(lake, table);
        let later = if first.iter().any(|name| name == table) { Ordering::Equal } else { Ordering::Greater };
        assert_eq!(at.cmp(&old), later, "{table}: {at}, {first:?}: {old}");
        assert_rows(lake, table, &expected(database, table, columns, at));
    }
}

/// An operator may ask for the SCN.
#[test]
fn the_scn_is_the_operators() {
    let double = double(Personality::V23ai, [small()]);
    let database = double.database();
    let then = database.scn();
    database.insert("SHOP", "SMALL", vec![Value::text("late")]);
    let asked = job(&double).source("snapshot.scn", &then.to_string());
    asked.run(&[]).expect(OK);
    assert_eq!(scn(&asked.lake(), "SMALL"), then);
    assert_rows(&asked.lake(), "SMALL", &expected(&database, "SMALL", &["V"], then));
    assert_eq!(asked.lake().rows(connect_tests::lake::Engine::DuckDb, "SMALL").unwrap().rows.len(), 3);
}

/// What was truncated or moved since the SCN fails its table, and no row is passed over.
#[test]
fn what_was_truncated_since_fails_its_table() {
    let double = double(Personality::V19c, [large(), small(), none()]);
    let database = double.database();
    let job = job(&double);
    // One part of it is read, and another is not yet.
    double.faults().add(Fault::on("CHARTOROWID", STALL).after(1));
    let mut running = job.start(&[]);
    running.until("a part of the table", || (double.faults().struck() == 1).then_some(()));
    database.truncate("SHOP", "LARGE");
    double.faults().clear();
    running.wait().expect(SOME_TABLES_FAILED).says(&["SHOP.LARGE", "with snapshot.scn=current"]);
    let lake = job.lake();
    assert_eq!(lake.loaded_tables(), ["NONE", "SMALL"]);
    // Once more, at an SCN after it.
    let again = job.source("snapshot.scn", "current");
    again.run(&[]).expect(OK);
    assert_rows(&lake, "LARGE", &expected(&database, "LARGE", &["ID", "V"], database.scn()));
}
