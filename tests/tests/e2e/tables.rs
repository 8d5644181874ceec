//! Tables: any legal name, any key, no key, no rows, partitions; what cannot be loaded is refused by name.

use connect_tests::compare::{assert_same, source_rows};
use connect_tests::lake::Engine;
use connect_tests::postgres::{Server, quoted};
use connect_tests::runtime::{CONFIGURATION, FAILED, Job, OK, SOME_TABLES_FAILED};

#[test]
fn any_legal_identifier() {
    let database = Server::shared().database();
    let names = [
        "Upper Case",
        "quo\"te",
        "apo'strophe",
        "dot.ted",
        "per%cent",
        "naïve 😀",
        "select",
        "back\\slash",
        "a/b",
        "..",
        "-",
        "UPPER",
        "upper",
        " lead",
        "?*&#;:",
        "${HOME}",
        &"x".repeat(63),
        &"é".repeat(31),
    ];
    for name in names {
        let (table, column) = (quoted(name), quoted(&format!("c {name}").chars().take(31).collect::<String>()));
        database.sql_as_user(&format!(
            "CREATE TABLE {table} ({column} int PRIMARY KEY, \"v\"\"\" text); INSERT INTO {table} VALUES (1, 'a'), (2, NULL)"
        ));
    }
    let job = Job::new(&database);
    job.run(&[]).expect(OK);
    let lake = job.lake();
    let mut expected: Vec<_> = names.map(str::to_owned).to_vec();
    expected.sort();
    assert_eq!(lake.loaded_tables(), expected);
    for name in names {
        assert_same(&database, &quoted(name), &lake, name);
    }
}

#[test]
fn keys_comments_and_nullability() {
    let database = Server::shared().database();
    database.sql_as_user(
        "CREATE TABLE composite (a int, b text NOT NULL, c uuid, PRIMARY KEY (c, a));
         COMMENT ON TABLE composite IS 'two of three';
         COMMENT ON COLUMN composite.b IS 'it''s not the key';
         INSERT INTO composite SELECT n, n::text, gen_random_uuid() FROM generate_series(1, 1000) n;
         CREATE TABLE keyless (a int, b text); INSERT INTO keyless VALUES (1, 'x'), (1, 'x'), (NULL, NULL), (NULL, NULL);
         CREATE TABLE empty (id int PRIMARY KEY, t text);
         CREATE TABLE dropped (gone int, id int PRIMARY KEY, also int, t text);
         ALTER TABLE dropped DROP COLUMN gone, DROP COLUMN also; INSERT INTO dropped VALUES (1, 'left');
         CREATE TABLE generated (id int PRIMARY KEY, twice int GENERATED ALWAYS AS (id * 2) STORED);
         INSERT INTO generated VALUES (21)",
    );
    let job = Job::new(&database);
    job.run(&[]).expect(OK);
    let lake = job.lake();
    for table in ["composite", "keyless", "empty", "dropped", "generated"] {
        assert_same(&database, table, &lake, table);
    }
    let described = lake.describe("composite");
    let mut key: Vec<_> = described["identifier"].as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect();
    key.sort_unstable();
    assert_eq!(key, ["a", "c"]);
    assert_eq!(described["format-version"], 2);
    assert_eq!(described["fields"][1]["doc"], "it's not the key");
    let required: Vec<_> =
        described["fields"].as_array().unwrap().iter().map(|f| f["required"].as_bool().unwrap()).collect();
    assert_eq!(required, [true, true, true]);
    assert_eq!(lake.describe("keyless")["identifier"].as_array().unwrap().len(), 0);
    assert_eq!(lake.describe("keyless")["fields"][0]["required"], false);
    assert_eq!(lake.status("public.empty").unwrap()["rows"], "0");
}

#[test]
fn a_partitioned_table_is_one_table() {
    let database = Server::shared().database();
    database.sql_as_user(
        "CREATE TABLE parts (id int, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
         CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
         CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM ('2025-01-01') TO ('2026-01-01') PARTITION BY LIST (id);
         CREATE TABLE parts_2a PARTITION OF parts_2 DEFAULT;
         INSERT INTO parts SELECT n, date '2024-01-01' + n % 700 FROM generate_series(1, 5000) n;
         CREATE TABLE parent (id int); CREATE TABLE child (more text) INHERITS (parent);
         INSERT INTO parent VALUES (1); INSERT INTO child VALUES (2, 'x')",
    );
    let job = Job::new(&database);
    job.run(&[]).expect(OK);
    let lake = job.lake();
    assert_eq!(lake.loaded_tables(), ["child", "parent", "parts"]);
    assert_same(&database, "parts", &lake, "parts");
    assert_same(&database, "child", &lake, "child");
    // Inheritance is not partitioning: each table's own rows.
    assert_eq!(lake.count(Engine::PyIceberg, "parent", "id"), Some(1));
}

#[test]
fn what_cannot_be_loaded_is_refused_by_name_and_the_others_go_on() {
    let database = Server::shared().database();
    database.sql_as_user(
        "CREATE TABLE bounded (id int PRIMARY KEY, places int[]); INSERT INTO bounded VALUES (1, '[5:6]={1,2}');
         CREATE TABLE fine (id int PRIMARY KEY); INSERT INTO fine VALUES (7)",
    );
    database.sql(
        "CREATE TABLE forbidden (id int PRIMARY KEY); INSERT INTO forbidden VALUES (1);
         CREATE TABLE columnless ()",
    );
    let job = Job::new(&database);
    let outcome = job.run(&[]).expect(SOME_TABLES_FAILED);
    let lake = job.lake();
    assert_eq!(lake.loaded_tables(), ["fine"]);
    assert_same(&database, "fine", &lake, "fine");
    for (table, word) in [("bounded", "places"), ("forbidden", "SELECT"), ("columnless", "column")] {
        let name = format!("public.{table}");
        let status = lake.status(&name).unwrap_or_else(|| panic!("{name} has no status"));
        assert_eq!(status["load_status"], "failed", "{status:?}");
        assert!(status["error"].contains(word), "{status:?}");
        assert!(outcome.output.contains(&name), "{}", outcome.output);
    }
}

#[test]
fn a_selection_is_what_is_loaded() {
    let database = Server::shared().database();
    database.sql_as_user(
        "CREATE SCHEMA other;
         CREATE TABLE s_one (id int PRIMARY KEY, secret text); INSERT INTO s_one VALUES (1, 'x');
         CREATE TABLE s_two (id int PRIMARY KEY); CREATE TABLE sthree (id int PRIMARY KEY);
         CREATE TABLE other.s_one (id int PRIMARY KEY); CREATE VIEW s_view AS SELECT 1 AS id",
    );
    let job = Job::new(&database).source("column.exclude.list", r"public\.s_one\.secret");
    job.run(&["--table-filter", r"s\_%"]).expect(OK);
    let lake = job.lake();
    assert_eq!(lake.loaded_tables(), ["s_one", "s_two"]);
    assert_eq!(lake.rows(Engine::DuckDb, "s_one").unwrap().columns, ["id"]);

    let job = Job::new(&database).source("table.include.list", r"public\.S_.*").source("parallel.tables", "3");
    job.command("load", &["--source", "shop", "--parallel-workers", "4", "--parallel-tables", "4"]).expect(OK);
    assert_eq!(job.lake().loaded_tables(), ["s_one", "s_two"]);

    // Two tables that would meet in one name: refused, and nothing is written.
    let job = Job::new(&database).source("schema.include.list", "public,other");
    let outcome = job.run(&[]);
    assert!([Some(CONFIGURATION), Some(FAILED)].contains(&outcome.code), "{}", outcome.output);
    outcome.says(&["public.s_one", "other.s_one"]);
    assert_eq!(job.lake().loaded_tables(), Vec::<String>::new());
    let job = job.sink("iceberg.table.name.format", "{schema}_{table}");
    job.run(&[]).expect(OK);
    assert_eq!(job.lake().loaded_tables(), ["other_s_one", "public_s_one", "public_s_two", "public_sthree"]);
}

#[test]
fn an_empty_selection_is_said() {
    let database = Server::shared().database();
    let job = Job::new(&database);
    let outcome = job.run(&[]);
    assert!(outcome.output.to_lowercase().contains("no table"), "{:?} {}", outcome.code, outcome.output);
    assert_eq!(job.lake().loaded_tables(), Vec::<String>::new());
}

#[test]
fn many_small_tables() {
    let database = Server::shared().database();
    database.sql_as_user(
        "DO $$ BEGIN FOR n IN 1..120 LOOP
             EXECUTE format('CREATE TABLE t%s (id int PRIMARY KEY, v text)', n);
             EXECUTE format('INSERT INTO t%s SELECT i, %L || i FROM generate_series(1, %s) i', n, 'v', n);
         END LOOP; END $$",
    );
    let job = Job::new(&database).source("parallel.workers", "4");
    job.run(&[]).expect(OK);
    let lake = job.lake();
    assert_eq!(lake.loaded_tables().len(), 120);
    for n in [1, 60, 120] {
        let table = format!("t{n}");
        assert_eq!(source_rows(&database, &table).rows.len(), n);
        assert_same(&database, &table, &lake, &table);
    }
}
