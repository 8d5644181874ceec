//! Kinds of tables: partitions of several levels, inheritance, views and foreign tables by opt-in, and what
//! is odd about columns.

use connect_tests::compare::{assert_rows, assert_same, source_rows};
use connect_tests::lake::Engine;
use connect_tests::postgres::{PASSWORD, Server, USER};
use connect_tests::runtime::{Job, OK, SOME_TABLES_FAILED};

const ALL: &str = "TABLE, PARTITIONED TABLE, VIEW, MATERIALIZED VIEW, FOREIGN TABLE";

#[test]
fn partitions_are_read_leaf_by_leaf() {
    let database = Server::shared().database();
    // Leaves with other orders of columns, dropped columns, an order of their own; small ones and large ones.
    database.sql_as_user(
        "CREATE TABLE sales (id int, day date, region text, note text DEFAULT 'n', tags int[], PRIMARY KEY (id, day, region))
             PARTITION BY RANGE (day);
         CREATE TABLE sales_old (region text NOT NULL, gone int, day date NOT NULL, tags int[], id int NOT NULL, note text);
         ALTER TABLE sales_old DROP COLUMN gone;
         ALTER TABLE sales ATTACH PARTITION sales_old FOR VALUES FROM (MINVALUE) TO ('2024-01-01');
         CREATE TABLE sales_24 PARTITION OF sales FOR VALUES FROM ('2024-01-01') TO ('2025-01-01') PARTITION BY LIST (region);
         CREATE TABLE sales_24_eu PARTITION OF sales_24 FOR VALUES IN ('eu') PARTITION BY HASH (id);
         CREATE SCHEMA \"other \"\"schema\";
         CREATE TABLE \"other \"\"schema\".h0 PARTITION OF sales_24_eu FOR VALUES WITH (MODULUS 2, REMAINDER 0);
         CREATE TABLE \"other \"\"schema\".\"H 1\" PARTITION OF sales_24_eu FOR VALUES WITH (MODULUS 2, REMAINDER 1);
         CREATE TABLE sales_24_rest PARTITION OF sales_24 DEFAULT;
         CREATE TABLE sales_new PARTITION OF sales DEFAULT;
         INSERT INTO sales (id, day, region, tags)
             SELECT n, date '2023-06-01' + n % 900, (array['eu','us','asia'])[n % 3 + 1], array[n, NULL]
             FROM generate_series(1, 20000) n;
         UPDATE sales SET note = NULL WHERE id % 7 = 0;
         CREATE TABLE none (id int) PARTITION BY RANGE (id);
         CREATE TABLE many (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
         DO $$ BEGIN FOR n IN 0..149 LOOP
             EXECUTE format('CREATE TABLE many_%s PARTITION OF many FOR VALUES FROM (%s) TO (%s)', n, n * 10, n * 10 + 10);
         END LOOP; END $$;
         INSERT INTO many SELECT n, 'v' || n FROM generate_series(0, 1499) n",
    );
    let job = Job::new(&database).source("parallel.chunk.size", "64KiB");
    job.run(&[]).expect(OK);
    let lake = job.lake();
    assert_eq!(lake.loaded_tables(), ["many", "none", "sales"], "no leaf by itself");
    for table in ["sales", "many", "none"] {
        assert_same(&database, table, &lake, table);
    }
    let chunks = |table: &str| lake.status(&format!("public.{table}")).unwrap()["chunks_total"].parse::<u32>().unwrap();
    assert!(chunks("sales") > 5, "{}", chunks("sales"));
    assert!(chunks("many") > 1 && chunks("many") < 150, "{}", chunks("many"));
}

#[test]
fn leaves_that_may_not_be_read_are_read_through_their_parent() {
    let database = Server::shared().database();
    database.sql(&format!(
        "CREATE TABLE lent (id int, v text) PARTITION BY RANGE (id);
         CREATE TABLE lent_1 PARTITION OF lent FOR VALUES FROM (0) TO (100);
         CREATE TABLE lent_2 PARTITION OF lent FOR VALUES FROM (100) TO (200);
         INSERT INTO lent SELECT n, 'v' FROM generate_series(0, 199) n; GRANT SELECT ON lent TO {USER};
         CREATE TABLE ruled (id int, v text) PARTITION BY RANGE (id);
         CREATE TABLE ruled_1 PARTITION OF ruled FOR VALUES FROM (0) TO (100);
         INSERT INTO ruled SELECT n, 'v' FROM generate_series(0, 99) n; GRANT SELECT ON ruled, ruled_1 TO {USER};
         ALTER TABLE ruled_1 ENABLE ROW LEVEL SECURITY"
    ));
    let job = Job::new(&database).source("parallel.chunk.size", "64KiB");
    job.run(&[]).expect(OK);
    // A policy on a leaf does not concern who reads the parent.
    for table in ["lent", "ruled"] {
        assert_same(&database, table, &job.lake(), table);
    }
}

#[test]
fn views_and_foreign_tables_by_opt_in() {
    let database = Server::shared().database();
    database.sql_as_user(
        "CREATE TABLE base (id int PRIMARY KEY, v text); INSERT INTO base SELECT n, 'v' || n FROM generate_series(1, 500) n;
         CREATE VIEW seen AS SELECT id, v, id * 2.5 AS more, array[id] AS l FROM base WHERE id % 2 = 0;
         COMMENT ON VIEW seen IS 'half';
         CREATE MATERIALIZED VIEW kept AS SELECT * FROM base; CREATE MATERIALIZED VIEW unfilled AS SELECT 1 AS id WITH NO DATA;
         CREATE TABLE split (id int) PARTITION BY RANGE (id); CREATE TABLE split_1 PARTITION OF split FOR VALUES FROM (0) TO (10);
         CREATE TABLE far (id int); INSERT INTO split VALUES (1); INSERT INTO far VALUES (10), (11)",
    );
    database.sql(&format!(
        "CREATE EXTENSION postgres_fdw SCHEMA public;
         CREATE SERVER itself FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '{}', dbname '{}');
         CREATE USER MAPPING FOR PUBLIC SERVER itself OPTIONS (user '{USER}', password '{}');
         GRANT USAGE ON FOREIGN SERVER itself TO {USER}; SET ROLE {USER};
         CREATE FOREIGN TABLE abroad (id int, v text) SERVER itself OPTIONS (schema_name 'public', table_name 'base');
         CREATE FOREIGN TABLE split_2 PARTITION OF split FOR VALUES FROM (10) TO (20) SERVER itself
             OPTIONS (schema_name 'public', table_name 'far');
         RESET ROLE;
         CREATE TABLE secret (id int); CREATE VIEW broken AS SELECT id FROM secret;
         ALTER VIEW broken OWNER TO {USER}",
        database.port(),
        database.name,
        PASSWORD.replace('\'', "''"),
    ));
    database.sql("ALTER TABLE secret RENAME TO base_secret");
    let job = Job::new(&database).source("table.exclude.list", "public\\.base_secret");
    job.run(&[]).expect(SOME_TABLES_FAILED);
    assert_eq!(job.lake().loaded_tables(), ["base", "far"], "no views, no foreign tables, not even as a partition");
    assert!(job.lake().status("public.split").unwrap()["error"].contains("table.types"));

    let job = job.source("table.types", ALL);
    job.run(&[]).expect(SOME_TABLES_FAILED);
    let lake = job.lake();
    assert_eq!(lake.loaded_tables(), ["abroad", "base", "far", "kept", "seen", "split"]);
    for table in ["seen", "kept", "abroad"] {
        assert_same(&database, table, &lake, table);
    }
    assert_eq!(lake.count(Engine::DuckDb, "split", "id"), Some(3));
    assert!(lake.status("public.unfilled").unwrap()["error"].contains("REFRESH"));
    assert!(lake.status("public.broken").unwrap()["error"].contains("locking what the view reads"));
}

#[test]
fn odd_columns_and_tables() {
    let database = Server::shared().database();
    let wide: Vec<_> = (0..1600).map(|n| format!("c{n} {}", ["int", "text", "bool", "date"][n % 4])).collect();
    database.sql_as_user(&format!(
        "CREATE TABLE wide ({}); INSERT INTO wide (c0, c1, c1598, c1599) VALUES (1, 'a', true, '2024-01-01'), (2, NULL, NULL, NULL);
         INSERT INTO wide DEFAULT VALUES;
         CREATE UNLOGGED TABLE quick (id int PRIMARY KEY); INSERT INTO quick VALUES (1);
         CREATE TABLE counted (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, again bigserial, half float8 GENERATED ALWAYS AS (id / 2.0) STORED,
             label text GENERATED ALWAYS AS ('no. ' || again) STORED);
         INSERT INTO counted DEFAULT VALUES; INSERT INTO counted DEFAULT VALUES;
         CREATE TABLE parent (id int, v text); CREATE TABLE child (extra int) INHERITS (parent); CREATE TABLE grandchild () INHERITS (child);
         INSERT INTO parent VALUES (1, 'p'); INSERT INTO child VALUES (2, 'c', 20); INSERT INTO grandchild VALUES (3, 'g', 30);
         CREATE VIEW only_parent AS SELECT * FROM ONLY parent; CREATE VIEW only_child AS SELECT * FROM ONLY child;
         CREATE TABLE \"null\" (\"select\" int, \"\"\"\" text, \" \" text, \"é\" text, \"a.b\" int, \"A\" int);
         INSERT INTO \"null\" VALUES (1, '2', '3', '4', 5, 6)",
        wide.join(", ")
    ));
    let job = Job::new(&database);
    job.run(&[]).expect(OK);
    let lake = job.lake();
    for table in ["wide", "quick", "counted"] {
        assert_same(&database, table, &lake, table);
    }
    assert_same(&database, "\"null\"", &lake, "null");
    // What inherits is a table of its own: nothing is loaded twice.
    assert_rows(&source_rows(&database, "only_parent"), &lake, "parent");
    assert_rows(&source_rows(&database, "only_child"), &lake, "child");
    assert_same(&database, "grandchild", &lake, "grandchild");
}
