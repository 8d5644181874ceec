//! The versions of PostgreSQL: each that is installed loads every type and leaves a slot; what is not installed is said.
//! The whole suite runs on another than the newest with `CONNECT_TESTS_POSTGRES=14`.

use connect_tests::compare::assert_same;
use connect_tests::not_run;
use connect_tests::postgres::{Database, Server};
use connect_tests::runtime::{Job, OK};

use crate::slot::around_the_slot;
use crate::types::{with_arrays, with_texts};
use crate::values::with_kinds;

/// From the oldest that the program takes to the newest that there is.
const MAJORS: std::ops::RangeInclusive<u32> = 13..=18;

/// What tests make, with the tables that are then there. `texts` have types that came with version 14.
type Made = (fn(&Database), &'static [&'static str]);
const MADE: [Made; 3] =
    [(with_kinds, &["kinds", "domains"]), (with_arrays, &["arrays"]), (with_texts, &["texts", "lists"])];

#[test]
fn every_installed_version_is_loaded() {
    let mut run = 0;
    for major in MAJORS {
        let Some(server) = Server::of_version(major) else {
            not_run(&format!("PostgreSQL {major} is not installed"));
            continue;
        };
        let server: &'static Server = Box::leak(Box::new(server));
        for (make, tables) in MADE.iter().filter(|(_, tables)| major >= 14 || !tables.contains(&"texts")) {
            let database = server.database();
            let shown = database.sql("SHOW server_version");
            assert!(shown.starts_with(&major.to_string()), "{shown} is not {major}");
            make(&database);
            let include = format!("public\\.({})", tables.join("|"));
            let job = Job::new(&database).source("table.include.list", &include);
            job.run(&[]).expect(OK);
            tables.iter().for_each(|table| assert_same(&database, table, &job.lake(), table));
        }
        around_the_slot(server);
        run += 1;
    }
    assert!(run > 0, "no version of PostgreSQL is installed");
}
