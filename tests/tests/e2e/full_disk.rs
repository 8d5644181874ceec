//! A disk that is full: of the tables, of the state, of the log. What has no room fails by name or is done without;
//! nothing else does.

use std::fs;
use std::path::PathBuf;

use connect_tests::compare::assert_same;
use connect_tests::disk::{SmallDisk, fill};
use connect_tests::runtime::{FAILED, Job, OK, SOME_TABLES_FAILED};

use crate::crash::{all_loaded, shop};

/// The table that does not fit fails with the reason and gives its room back, the others are loaded; with room it
/// is loaded too.
#[test]
fn a_full_disk_costs_the_table_that_does_not_fit() {
    let database = shop();
    let job = Job::new(&database).source("max.retries", "1");
    let lake = job.lake();
    let tables = lake.folder().join("bronze");
    let Some(_disk) = SmallDisk::mount(&tables, 1024) else { return };
    let filler = tables.join("filler");
    fs::write(&filler, vec![0; 600 << 10]).unwrap();
    let outcome = job.run(&[]).expect(SOME_TABLES_FAILED);
    let outcome = outcome.says(&["public.large", "No space left on device", "begins anew"]);
    assert!(lake.describe("large").is_null(), "{}", outcome.output);
    for table in ["small", "none"] {
        assert_same(&database, table, &lake, table);
    }
    assert_eq!(lake.status("public.large").unwrap()["attempts"], "2");
    assert_eq!(lake.orphans(), Vec::<PathBuf>::new());

    fs::remove_file(filler).unwrap();
    job.run(&[]).expect(OK);
    all_loaded(&database, &job);
}

/// Not one file can be written: no table, not even a ledger, and an end that says why. The ledgers are tried for 15 s.
#[test]
#[ignore = "takes long: make test-full"]
fn a_disk_without_any_room_is_said() {
    let database = shop();
    let job = Job::new(&database).source("max.retries", "1").sink("commit.retry.num-retries", "1");
    let tables = job.lake().folder().join("bronze");
    let Some(_disk) = SmallDisk::mount(&tables, 64) else { return };
    let filler = fill(&tables);
    let outcome = job.run(&[]).says(&["No space left on device"]);
    assert_ne!(outcome.code, Some(OK), "{}", outcome.output);
    assert!(outcome.elapsed.as_secs() < 60, "took {:?}: {}", outcome.elapsed, outcome.output);
    assert_eq!(job.lake().loaded_tables(), Vec::<String>::new());
    fs::remove_file(filler).unwrap();
    drop(_disk);
    job.run(&[]).expect(OK);
    all_loaded(&database, &job);
}

/// The catalog itself has no room: what is committed stays readable, and the rest follows with room.
#[test]
fn a_full_disk_of_the_catalog_loses_nothing() {
    let database = shop();
    let job = Job::new(&database).source("max.retries", "1");
    let folder = job.folder().join("catalog");
    let Some(_disk) = SmallDisk::mount(&folder, 64) else { return };
    let path = folder.join("catalog.db");
    let mut job = job.sink("iceberg.catalog.uri", &format!("sqlite://{}", path.display()));
    let lake = job.folder().join("lake").display().to_string();
    let catalog = [("type", "sql".into()), ("uri", format!("sqlite:///{}", path.display())), ("warehouse", lake)];
    job.catalog = Some(catalog.map(|(k, v)| (k.to_owned(), v)).into());
    let filler = fill(&folder);
    let outcome = job.run(&[]);
    assert_ne!(outcome.code, Some(OK), "{}", outcome.output);
    let outcome = outcome.says(&["full"]);
    fs::remove_file(filler).unwrap();
    for table in job.lake().loaded_tables() {
        assert_same(&database, &table, &job.lake(), &table);
    }
    job.run(&[]).expect(OK);
    all_loaded(&database, &job);
    assert!(outcome.output.contains("catalog"), "{}", outcome.output);
}

/// Without room for the journal, what a killed run leaves would stay: that is said, and costs no data.
#[test]
fn a_full_disk_of_the_state_holds_up_nothing() {
    let database = shop();
    let job = Job::new(&database);
    let state = job.folder().join("state");
    let Some(_disk) = SmallDisk::mount(&state, 64) else { return };
    fill(&state);
    job.run(&[]).expect(OK).says(&["the journal cannot be written", "No space left on device"]);
    all_loaded(&database, &job);
}

/// A log that cannot be written is no reason to stop; the console still has it.
#[test]
fn a_full_disk_of_the_log_holds_up_nothing() {
    let database = shop();
    let job = Job::new(&database);
    let logs = job.folder().join("logs");
    let job = job.worker("log.dir", logs.to_str().unwrap());
    let Some(_disk) = SmallDisk::mount(&logs, 64) else { return };
    fill(&logs);
    job.run(&[]).expect(OK).says(&["public.large"]);
    all_loaded(&database, &job);
}

/// Standard output and error go to a full disk: the tables are loaded, and the exit code says that the summary
/// could not be.
#[test]
fn output_that_cannot_be_written_holds_up_nothing() {
    let database = shop();
    let mut job = Job::new(&database);
    job.after = Some("exec >/dev/full 2>&1");
    job.run(&[]).expect(FAILED);
    all_loaded(&database, &job);
    job.after = Some("exec 2>/dev/full");
    job.run(&["--no-resume"]).expect(OK).says(&["public.large"]);
}
