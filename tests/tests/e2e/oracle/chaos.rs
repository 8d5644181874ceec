//! Killed again and again, at moments and failpoints that a seed chooses, while the server has faults and the tables
//! change; run once more, every table is what it was at the load's one SCN, nothing is doubled, no reader saw a part of
//! a load, and nothing is left behind.
//!
//! A failing round prints its seed; `CONNECT_CHAOS_SEED=… CONNECT_CHAOS_ROUNDS=1` runs it again. Kills at
//! moments fall somewhat differently each time; those at failpoints do not.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use connect_oracle_double::{Database, Double, Effect, Fault, Personality, Scn, Table, Type, Value};
use connect_tests::chance::{Chance, rounds};
use connect_tests::lake::Lake;
use connect_tests::poll::Poller;
use connect_tests::runtime::{Job, OK};

use crate::chaos::{COMMON, kill};

use super::{ROWS, assert_rows, double, expected, job, large, none, scn, small};

const TABLES: [(&str, &[&str]); 4] =
    [("LARGE", &["ID", "V"]), ("NOTES", &["ID", "C"]), ("SMALL", &["V"]), ("NONE", &["ID"])];

/// Where a run may be killed in what it reads.
const POINTS: [&str; 3] = ["oracle.cut-taken", "oracle.batch", "oracle.split-read"];

/// Of the runs that stalls strike; none where all must go well.
const CALL_TIMEOUT: &str = "database.call.timeout.ms";

/// Rows with LOBs.
fn notes() -> Table {
    let table = Table::new("SHOP", "NOTES").column("ID", Type::number(9, 0)).column("C", Type::Clob).layout(2, 2);
    (0..60)
        .fold(table, |table, id| table.row(vec![Value::int(id), Value::text("n\u{f6}te ".repeat(100 * id as usize))]))
}

/// Some more changes, committed.
fn change(database: &Database, chance: &mut Chance) {
    let mut changes = database.begin();
    let n = chance.below(1_000_000);
    changes.insert("SHOP", "LARGE", vec![Value::int((ROWS + n) as i64), Value::Null]);
    changes.insert("SHOP", "SMALL", vec![Value::text(format!("{n}"))]);
    changes.insert("SHOP", "NONE", vec![Value::int(n as i64)]);
    let rest = chance.below(7) as i128;
    let hit = move |row: &[Value]| matches!(&row[0], Value::Number(n) if n.whole().is_some_and(|n| n % 7 == rest));
    changes.update("SHOP", "NOTES", hit, |row| row[1] = Value::text("changed"));
    changes.delete("SHOP", "LARGE", hit);
    changes.commit();
}

/// A fault that costs a retry and no more, once.
fn fault(chance: &mut Chance) -> Fault {
    let table = ["LARGE", "NOTES", "SMALL"][chance.below(3) as usize];
    let effect = match chance.below(5) {
        0 => Effect::Cut(chance.below(3000) as usize),
        1 => Effect::CutAfterRows(chance.below(60) as usize),
        2 => Effect::Error(1555),
        3 => Effect::Error(28),
        _ => Effect::Stall(Duration::from_secs(60)),
    };
    Fault::on(&reading(table), effect).after(chance.below(4) as usize)
}

/// What every statement that reads a table holds.
fn reading(table: &str) -> String {
    format!("FROM \"SHOP\".\"{table}\" AS OF SCN")
}

/// The SCNs that the published tables are of, by the tables themselves.
fn cuts(lake: &Lake) -> BTreeMap<String, Scn> {
    lake.loaded_tables().into_iter().map(|table| (table.clone(), super::load::cut(lake, &table))).collect()
}

/// What is wrong with the SCNs of tables, given those of before: one that changed, or more than one.
fn of_one_scn(before: &BTreeMap<String, Scn>, now: &BTreeMap<String, Scn>) -> Result<(), String> {
    for (table, scn) in before {
        if now.get(table) != Some(scn) {
            return Err(format!("{table} was of {scn} and is of {:?}", now.get(table)));
        }
    }
    match now.values().collect::<BTreeSet<_>>().len() {
        0 | 1 => Ok(()),
        _ => Err(format!("tables of several SCNs: {now:?}")),
    }
}

fn shop(chance: &mut Chance) -> (Double, Job) {
    let personality = if chance.below(2) == 0 { Personality::V19c } else { Personality::V23ai };
    let double = double(personality, [large(), notes(), small(), none()]);
    let job = job(&double).source(CALL_TIMEOUT, "3000").source("max.retries", "20");
    (double, job.source("retry.backoff.ms", "50"))
}

#[expect(clippy::print_stdout, reason = "a test that fails shows its output, and so its seed")]
fn round(seed: u64) {
    let chance = &mut Chance(seed);
    let (double, mut job) = shop(chance);
    let (database, lake) = (double.database(), job.lake());
    let poller = Poller::start(&lake, "LARGE", "ID");
    let mut told = format!("CONNECT_CHAOS_SEED={seed} CONNECT_CHAOS_ROUNDS=1: killed");
    let mut known = BTreeMap::new();
    for _ in 0..1 + chance.below(3) {
        (0..chance.below(3)).for_each(|_| double.faults().add(fault(chance)));
        told += &format!(" {};", kill(&job, &[], chance, 1500, &POINTS));
        let now = cuts(&lake);
        of_one_scn(&known, &now).unwrap_or_else(|wrong| panic!("{wrong}; {told}"));
        known = now;
        change(&database, chance);
    }
    println!("{told}");
    double.faults().clear();
    job.source.remove(CALL_TIMEOUT);
    job.run(&[]).expect(OK);
    of_one_scn(&known, &cuts(&lake)).unwrap_or_else(|wrong| panic!("{wrong}; {told}"));
    for (table, columns) in TABLES {
        assert_rows(&lake, table, &expected(&database, table, columns, scn(&lake, table)));
        assert_eq!(lake.describe(table)["snapshots"], 1, "{table} was committed once; {told}");
    }
    let rows = database.rows("SHOP", "LARGE", scn(&lake, "LARGE")).len() as u64;
    let seen = poller.finish();
    assert!(seen.iter().all(|n| [None, Some(rows)].contains(n)), "a reader saw {seen:?} of {rows} rows; {told}");
    assert_eq!(lake.orphans(), Vec::<PathBuf>::new(), "left behind; {told}");
}

#[test]
fn killed_at_any_moment() {
    rounds(2, round);
}

#[test]
#[ignore = "minutes: run by make test-full"]
fn killed_at_many_moments() {
    rounds(60, round);
}

/// At each failpoint, the first time that it is reached and a later one.
#[test]
#[ignore = "minutes: run by make test-full"]
fn killed_at_each_failpoint() {
    for (n, point) in POINTS.iter().chain(&COMMON).enumerate() {
        for time in [1, 3] {
            let (double, job) = shop(&mut Chance(n as u64));
            let (database, lake) = (double.database(), job.lake());
            let died = job.run_with_failpoint(&format!("{point}=kill@{time}"));
            assert!(time > 1 || died.code.is_none(), "{point} did not kill: {}", died.output);
            let before = cuts(&lake);
            change(&database, &mut Chance(7));
            job.run(&[]).expect(OK);
            of_one_scn(&before, &cuts(&lake)).unwrap_or_else(|wrong| panic!("{point}@{time}: {wrong}"));
            for (table, columns) in TABLES {
                assert_rows(&lake, table, &expected(&database, table, columns, scn(&lake, table)));
            }
            assert_eq!(lake.orphans(), Vec::<PathBuf>::new(), "{point}@{time}");
        }
    }
}

/// The twin: a fault as the rounds have them strikes, and costs a retry.
#[test]
fn a_fault_strikes_and_costs_a_retry() {
    for table in ["LARGE", "NOTES", "SMALL"] {
        let (double, job) = shop(&mut Chance(3));
        double.faults().add(Fault::on(&reading(table), Effect::Error(28)));
        job.run(&[]).expect(OK);
        assert_eq!(double.faults().struck(), 1, "{table}");
    }
}

/// The twin: a load of two SCNs is told from one of one, and what is compared with another SCN's rows differs.
#[test]
fn a_second_scn_is_found() {
    let tables = |scns: &[(&str, Scn)]| scns.iter().map(|(table, scn)| ((*table).to_owned(), *scn)).collect();
    let before = tables(&[("A", 7)]);
    assert_eq!(of_one_scn(&before, &tables(&[("A", 7), ("B", 7)])), Ok(()));
    assert!(of_one_scn(&before, &tables(&[("A", 7), ("B", 8)])).is_err());
    assert!(of_one_scn(&before, &tables(&[("A", 8), ("B", 8)])).is_err());
    assert!(of_one_scn(&before, &tables(&[])).is_err());
    let (double, _) = shop(&mut Chance(1));
    let (database, then) = (double.database(), double.database().scn());
    change(&database, &mut Chance(2));
    for (table, columns) in TABLES {
        let (old, new) =
            (expected(&database, table, columns, then), expected(&database, table, columns, database.scn()));
        assert!(connect_tests::compare::difference(&old, &new).is_some(), "{table} was changed");
    }
}
