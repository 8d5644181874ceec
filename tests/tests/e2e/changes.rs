//! Change capture on real servers: PostgreSQL → Debezium in a Kafka Connect worker → Kafka → the program → Iceberg,
//! read back by foreign readers and compared with the source.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use connect_tests::chance::Chance;
use connect_tests::compare::{source_rows, until_rows};
use connect_tests::connect::Worker;
use connect_tests::debezium::{Debezium, Format};
use connect_tests::http;
use connect_tests::kafka::Kafka;
use connect_tests::lake::{ENGINES, Lake};
use connect_tests::postgres::{Database, Server, USER, free_port};
use connect_tests::proxy::Proxy;
use connect_tests::registry::Registry;
use connect_tests::runtime::{Job, OK, Running, SOME_TABLES_FAILED};
use connect_tests::tls::TlsFront;
use connect_tests::workload::{self, TABLES, Traffic};

/// A database that Debezium captures, and a job that loads it and follows its topics.
fn captured(format: Format) -> (Database, Debezium, Job) {
    let database = Server::shared().database();
    workload::create(&database);
    let mut debezium = Debezium::new(&database, format);
    debezium.start();
    let tasks = if format == Format::Json { "1" } else { "3" };
    let job = follower(&database, &debezium).sink("tasks.max", tasks);
    (database, debezium, job)
}

/// A job that loads a database and follows what Debezium captures of it, with a commit every 300 ms.
fn follower(database: &Database, debezium: &Debezium) -> Job {
    let mut job = Job::new(database).source("topic.prefix", &debezium.prefix);
    job = job.sink("iceberg.control.commit.interval-ms", "300");
    for (key, value) in debezium.sink_keys() {
        job = job.sink(key, &value);
    }
    job
}

/// Fifty rows `t (id, v)` of zeros that were captured in Avro, and what was done after.
fn captured_in_avro(then: &str) -> (Database, Debezium) {
    let database = Server::shared().database();
    database.sql("CREATE TABLE t (id int PRIMARY KEY, v int)");
    let mut debezium = Debezium::new(&database, Format::Avro);
    debezium.start();
    database.sql(&format!("INSERT INTO t SELECT n, 0 FROM generate_series(1, 50) n; {then}"));
    debezium.until_caught_up();
    (database, debezium)
}

/// Follows without a load, and asks for schemas at that address.
fn follower_with_registry(debezium: &Debezium, address: &str) -> Job {
    let url = format!("{address}/apis/ccompat/v7");
    debezium.sink_keys().into_iter().fold(Job::following(Kafka::shared(), ""), |job, (key, value)| {
        job.sink(key, if key.ends_with(".registry.url") { &url } else { &value })
    })
}

/// Waits until both readers see exactly what the source has.
fn until_equal(database: &Database, lake: &Lake, tables: &[&str], running: &mut Running) {
    tables.iter().for_each(|table| until_rows(&source_rows(database, table), lake, table, running));
}

/// A load under writes, with a transaction across its cut; then the log, through three kills, a truncation, and, where
/// messages tell of columns, a table and a column that come later. Dates are dates (known as databricks 326), types stay
/// what they were after a start (debezium-server-iceberg 572 and 580) and are those of the load (olake 229), and an update is
/// one row (olake 1189).
fn is_applied(format: Format, seed: u64) {
    let (database, debezium, job) = captured(format);
    let locks = "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database
                 WHERE locktype = 'advisory' AND datname = current_database()";
    // A row that the traffic leaves alone.
    database.sql("INSERT INTO pairs VALUES (-1, 'across', 0)");
    let until_locks = |n: &str| {
        while database.sql(locks) != n {
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let door = database.background("SELECT pg_advisory_lock(1); SELECT pg_sleep(600)");
    until_locks("1");
    // Open while the load reads, committed after it: the load does not see it.
    let across = database.background(
        "BEGIN; INSERT INTO orders (id, note) VALUES (1000, 'across'); DELETE FROM pairs WHERE a = -1; SELECT pg_advisory_lock(1);
         UPDATE orders SET id = 1001 WHERE id = 1000; COMMIT",
    );
    until_locks("2");
    let traffic = Traffic::start(&database, seed);
    traffic.wait_for(5);
    let lake = job.lake();
    let mut chance = Chance(seed);
    let mut running = job.start(&[]);
    running.until("the tables", || (lake.loaded_tables().len() == TABLES.len()).then_some(()));
    drop(door);
    across.finish();
    for round in 0..3 {
        traffic.wait_for(10 + chance.below(30));
        running.kill();
        if round == 1 {
            database.sql("TRUNCATE pairs");
        }
        running = job.start(&[]);
        traffic.wait_for(10);
    }
    let mut tables = TABLES.to_vec();
    if format != Format::Json {
        database.sql_as_user(
            "CREATE TABLE late (id int PRIMARY KEY, v numeric(9,2)); INSERT INTO late VALUES (1, 1.5), (2, NULL)",
        );
        database.sql_as_user("ALTER TABLE pairs ADD more timestamptz; UPDATE pairs SET more = now() WHERE a % 2 = 0");
        traffic.wait_for(10);
        tables.push("late");
    }
    traffic.finish();
    debezium.until_caught_up();
    until_equal(&database, &lake, &tables, &mut running);
    // What follows while it stands still is applied as well.
    database.sql("UPDATE orders SET note = 'last'; DELETE FROM lines");
    debezium.until_caught_up();
    until_equal(&database, &lake, &tables, &mut running);
    running.terminate();
    running.wait().expect(OK);
    if format != Format::Json {
        let ledger = lake.rows(ENGINES[0], "_schema_changes").unwrap();
        let row = |row: BTreeMap<String, String>| {
            let column = row.get("column_name").map_or("", |column| column);
            format!("{} v{} {} {column}", row["table_name"], row["version"], row["change_type"])
        };
        let told: Vec<String> = ledger.maps().map(row).filter(|row| !row.contains(" v1 baseline")).collect();
        assert_eq!(told, ["public.pairs v2 column_added more"]);
        assert_eq!(ledger.rows.len(), tables.len() + 1, "each table's first is there once");
    }
}

/// P3: another process loads a table again while this one follows it, which then goes on where the load says.
#[test]
fn a_table_that_is_loaded_again_meanwhile_is_followed_from_there() {
    let (database, debezium) = captured_in_avro(&format!("GRANT SELECT ON t TO {USER}"));
    let job = follower(&database, &debezium).sink("errors.retry.delay.max.ms", "500");
    let lake = job.lake();
    let mut running = job.start(&[]);
    until_equal(&database, &lake, &["t"], &mut running);
    for round in 1..3 {
        database.sql(&format!("UPDATE t SET v = {round} WHERE id < 30; DELETE FROM t WHERE id = {round}"));
        debezium.until_caught_up();
        until_equal(&database, &lake, &["t"], &mut running);
        let mut again = follower(&database, &debezium);
        again.sink.clone_from(&job.sink);
        again.command("load", &["--source", "shop", "--no-resume"]).expect(OK);
        database.sql(&format!("UPDATE t SET v = -{round} WHERE id > 20; INSERT INTO t VALUES ({round} + 100, 0)"));
        debezium.until_caught_up();
        until_equal(&database, &lake, &["t"], &mut running);
    }
    assert!(running.output().contains("the table was loaded again while changes were applied"));
    running.terminate();
    running.wait().expect(OK);
}

/// Known of other sinks: the registry restarts, and its client gives the task up or a queue takes the records.
#[test]
fn a_registry_that_is_away_is_waited_for_and_no_record_is_set_aside() {
    let (database, debezium) = captured_in_avro("DELETE FROM t WHERE id % 3 = 0");
    // Nothing listens there yet.
    let port = free_port();
    let dead = format!("dead-{}", debezium.prefix);
    let job = follower_with_registry(&debezium, &format!("http://127.0.0.1:{port}"));
    let job = job.sink("errors.tolerance", "all").sink("errors.deadletterqueue.topic.name", &dead);
    let job = job.sink("errors.deadletterqueue.topic.replication.factor", "1").sink("errors.retry.delay.max.ms", "500");
    let mut running = job.start(&[]);
    running.until_it_says("the schema registry does not answer");
    std::thread::sleep(Duration::from_secs(2));
    assert!(job.lake().loaded_tables().is_empty());
    let _registry = Proxy::at(port, Registry::shared().port, u64::MAX);
    until_equal(&database, &job.lake(), &["t"], &mut running);
    running.terminate();
    running.wait().expect(OK);
    assert_eq!(Kafka::shared().read(&dead), []);
}

/// A transaction whose second half has another schema, which the registry does not tell for a while: no reader sees the
/// first half alone, however long that takes (P7).
#[test]
fn a_registry_that_goes_away_within_a_transaction_does_not_divide_it() {
    let (database, debezium) = captured_in_avro("");
    let port = free_port();
    let job = follower_with_registry(&debezium, &format!("http://127.0.0.1:{port}"));
    let job = job.sink("iceberg.control.commit.interval-ms", "100").sink("errors.retry.delay.max.ms", "500");
    let proxy = Proxy::at(port, Registry::shared().port, u64::MAX);
    let mut running = job.start(&[]);
    until_equal(&database, &job.lake(), &["t"], &mut running);
    proxy.hold();
    database.sql(
        "BEGIN; UPDATE t SET v = 1 WHERE id <= 40; ALTER TABLE t ADD COLUMN more int;
         UPDATE t SET v = v + 1, more = id WHERE id > 10; COMMIT",
    );
    debezium.until_caught_up();
    running.until_it_says("the schema registry does not answer");
    // Longer than a transaction's silence is waited for.
    std::thread::sleep(Duration::from_secs(7));
    proxy.cut();
    until_equal(&database, &job.lake(), &["t"], &mut running);
    running.terminate();
    running.wait().expect(OK);
    let sums: BTreeSet<i64> = job.lake().history("t", "v").into_iter().map(|(sum, _)| sum).collect();
    assert_eq!(sums, BTreeSet::from([0, 80]));
}

/// P4: a snapshot that Debezium makes of a table that has rows is shown when all of it is there, without the rows that
/// were deleted while nobody was told of it.
#[test]
fn a_snapshot_of_debezium_takes_the_place_of_the_tables_rows() {
    let database = Server::shared().database();
    database.sql_as_user(
        "CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE one (id int PRIMARY KEY);
         INSERT INTO t SELECT n, repeat('v', 2000) || n FROM generate_series(1, 3000) n; INSERT INTO one VALUES (1)",
    );
    let mut debezium = Debezium::new(&database, Format::JsonWithSchemas);
    debezium.set("snapshot.mode", "always");
    debezium.start();
    // Of a load and of a snapshot that was sent before it or while it ran; one that is read at once does not fit into a batch.
    let job = follower(&database, &debezium).sink("commit.max.rows", "500").worker("memory.max", "64MiB");
    let lake = job.lake();
    let mut running = job.start(&[]);
    until_equal(&database, &lake, &["t", "one"], &mut running);
    running.kill();
    debezium.stop();
    // Lost to the log: a slot made anew knows nothing of it.
    database.sql("DELETE FROM t WHERE id > 1000 AND id % 2 = 0; UPDATE one SET id = 2");
    let slot = &debezium.prefix;
    database.sql(&format!("SELECT pg_replication_slot_advance('{slot}', pg_current_wal_lsn())"));
    let running = job.start_with(&[], &[("CONNECT_FAILPOINTS", "iceberg.follow.after-part=kill")]);
    debezium.start();
    let outcome = running.wait();
    assert_eq!(outcome.code, None, "{}", outcome.output);
    assert_eq!(lake.count(ENGINES[0], "t", "id"), Some(3000));
    let mut running = job.start(&[]);
    until_equal(&database, &lake, &["t"], &mut running);
    // The only row of the first table bears the mark of a beginning: that nothing follows is not told.
    assert_eq!(lake.history("one", "id"), [(1, 1)]);
    database.sql("UPDATE t SET v = 'w' WHERE id < 10; DELETE FROM t WHERE id = 2999; UPDATE one SET id = 3");
    debezium.until_caught_up();
    until_equal(&database, &lake, &["t", "one"], &mut running);
    running.terminate();
    running.wait().expect(OK);
    let counts = lake.history("t", "id").into_iter().map(|(_, rows)| rows);
    assert_eq!(counts.collect::<BTreeSet<u64>>(), BTreeSet::from([1999, 2000, 3000]));
    // The snapshot's row may be shown before the change that tells its end is: it was the table's state.
    let ids = lake.history("one", "id").into_iter().filter(|state| *state != (2, 1));
    assert_eq!(ids.collect::<BTreeSet<_>>(), BTreeSet::from([(1, 1), (3, 1)]));
}

#[test]
fn a_registry_may_have_an_authority_of_its_own() {
    let (database, debezium) = captured_in_avro("");
    let front = TlsFront::before(Registry::shared().port);
    let mut job = follower_with_registry(&debezium, &format!("https://localhost:{}", front.port));
    let mut running = job.start(&[]);
    running.until_it_says("certificate");
    running.terminate();
    running.wait().expect(SOME_TABLES_FAILED);
    assert!(job.lake().loaded_tables().is_empty());
    let authority = front.authority.display().to_string();
    for converter in ["key.converter", "value.converter"] {
        job = job.sink(&format!("{converter}.schema.registry.ssl.truststore.location"), &authority);
    }
    let mut running = job.start(&[]);
    until_equal(&database, &job.lake(), &["t"], &mut running);
    running.terminate();
    running.wait().expect(OK);
}

/// Tables without a key, by the columns that are told to identify their rows: one by whole rows that are logged, one by
/// Debezium's own key, and one that is made from the log. And what does not name rows by its primary key: one with another
/// replica identity, and one whose keys pass from row to row within a transaction.
#[test]
fn tables_without_a_key_are_followed_by_columns_that_are_told() {
    let database = Server::shared().database();
    let create = |table: &str| {
        let columns = "a int NOT NULL, b text NOT NULL, c text";
        database.sql_as_user(&format!("CREATE TABLE {table} ({columns}); ALTER TABLE {table} REPLICA IDENTITY FULL"));
        database.sql_as_user(&format!("INSERT INTO {table} SELECT n, n::text, 'x' FROM generate_series(1, 20) n"));
    };
    ["plain", "named", "indexed", "swapped"].into_iter().for_each(create);
    database.sql_as_user(
        "ALTER TABLE indexed ADD id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, ADD CONSTRAINT own UNIQUE (b, a);
         ALTER TABLE indexed REPLICA IDENTITY USING INDEX own; ALTER TABLE swapped ADD PRIMARY KEY (a) DEFERRABLE",
    );
    let mut debezium = Debezium::new(&database, Format::JsonWithSchemas);
    debezium.set("message.key.columns", "public.(named|indexed):b,a");
    debezium.start();
    let mut job = follower(&database, &debezium).sink("replica.identity.autoset.values", r"public\.(plain|late):FULL");
    for table in ["plain", "named", "late"] {
        job = job.sink(&format!("iceberg.table.public.{table}.id-columns"), "b, a");
    }
    let lake = job.lake();
    let mut running = job.start(&[]);
    running.until("the load", || (lake.loaded_tables().len() == 4).then_some(()));
    // Nothing has changed since Debezium began.
    running.until_it_says("no table that is to be loaded has a topic");
    create("late");
    database.sql("UPDATE swapped SET a = 21 - a");
    for table in ["plain", "named", "indexed", "swapped", "late"] {
        let change =
            "SET c = 'y' WHERE a % 2 = 0; UPDATE TABLE SET b = b || '!' WHERE a < 4; DELETE FROM TABLE WHERE a > 15";
        database.sql_as_user(&format!("UPDATE TABLE {change}").replace("TABLE", table));
    }
    debezium.until_caught_up();
    until_equal(&database, &lake, &["plain", "named", "indexed", "swapped", "late"], &mut running);
    running.terminate();
    running.wait().expect(OK);
    for table in ["plain", "named", "indexed", "late"] {
        let mut identifier = lake.describe(table)["identifier"].as_array().unwrap().clone();
        identifier.sort_by_key(ToString::to_string);
        assert_eq!(identifier, ["a", "b"], "{table}");
    }
    // One that was made with another key is not followed by this one.
    let job = job.sink("iceberg.table.public.plain.id-columns", "a");
    let mut running = job.start(&[]);
    running.until_it_says("another key than it is told to have");
    running.terminate();
    running.wait().expect(SOME_TABLES_FAILED);
}

/// Debezium sends again what it had not stored as sent (P24), real as it is, to tables with and without a key.
#[test]
fn a_debezium_that_is_killed_is_followed_without_a_row_twice() {
    let database = Server::shared().database();
    workload::create(&database);
    let worker = Box::leak(Box::new(Worker::start(Kafka::shared(), 6000)));
    let mut debezium = Debezium::on(worker, Kafka::shared(), &database, Format::JsonWithSchemas);
    debezium.start();
    let port = free_port();
    let job = follower(&database, &debezium).worker("rest.listeners", &format!("http://127.0.0.1:{port}"));
    let traffic = Traffic::start(&database, 7);
    let lake = job.lake();
    let mut running = job.start(&[]);
    running.until("the tables", || (lake.loaded_tables().len() == TABLES.len()).then_some(()));
    traffic.wait_for(60);
    // Events are sent that are stored as sent a whole interval later.
    let stored =
        || database.sql("SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE database = current_database()");
    let sent = || TABLES.iter().map(|table| Kafka::shared().ends(&debezium.topic(table), 0).1).sum::<i64>();
    let before = stored();
    running.until("what is stored as sent", || (stored() != before).then_some(()));
    let before = sent();
    running.until("more events", || (sent() > before).then_some(()));
    worker.kill();
    traffic.wait_for(10);
    worker.start_again();
    worker.until_it_runs(&debezium.prefix);
    traffic.finish();
    debezium.until_caught_up();
    until_equal(&database, &lake, &TABLES, &mut running);
    // Counted about every second.
    let repeated = || http::metric(port, "debezium_events_repeated_total").filter(|repeated| *repeated > 0);
    running.until("what was sent again", repeated);
    running.terminate();
    running.wait().expect(OK);
    drop(debezium);
    worker.kill();
}

#[test]
fn json_without_schemas_is_applied() {
    is_applied(Format::Json, 1);
}

#[test]
fn json_with_schemas_is_applied() {
    is_applied(Format::JsonWithSchemas, 2);
}

#[test]
fn avro_is_applied() {
    is_applied(Format::Avro, 3);
}

/// What there is in total, and of how many accounts, when no transaction is divided.
const WHOLE: (i64, u64) = (10_000, 100);

/// Transfers between a hundred accounts, a few rows to all of them in a transaction, until there are enough snapshots; what
/// each has in total, and how many accounts.
fn transfers(format: Format, partitions: &str, enough: fn(&[(i64, u64)]) -> bool) -> Vec<(i64, u64)> {
    let database = Server::shared().database();
    database.sql("CREATE TABLE accounts (id int PRIMARY KEY, v int NOT NULL)");
    let mut debezium = Debezium::new(&database, format);
    debezium.set("topic.creation.default.partitions", partitions);
    debezium.start();
    let mut job = Job::following(Kafka::shared(), "").sink("iceberg.control.commit.interval-ms", "100");
    for (key, value) in debezium.sink_keys() {
        job = job.sink(key, &value);
    }
    let mut running = job.start(&[]);
    database.sql("INSERT INTO accounts SELECT n, 100 FROM generate_series(0, 99) n");
    let lake = job.lake();
    running.until("the table", || lake.loaded_tables().contains(&"accounts".to_owned()).then_some(()));
    // However seldom a busy machine commits, there are states between the first and the last.
    running.until("a history", || {
        database.sql(
            "DO $$ BEGIN FOR n IN 1..50 LOOP
                 UPDATE accounts SET v = v + CASE WHEN id % 2 = 0 THEN n ELSE -n END WHERE id < 2 * (1 + n * 7 % 50);
                 IF n % 5 = 0 THEN PERFORM pg_sleep(0.05); END IF;
                 COMMIT;
             END LOOP; END $$",
        );
        enough(&lake.history("accounts", "v")).then_some(())
    });
    debezium.until_caught_up();
    until_equal(&database, &lake, &["accounts"], &mut running);
    running.terminate();
    running.wait().expect(OK);
    lake.history("accounts", "v")
}

/// P7: what is committed ends where transactions end, told by Debezium's transaction metadata.
#[test]
fn transactions_are_seen_whole() {
    let seen = transfers(Format::Avro, "1", |seen| seen.len() > 8);
    assert!(seen.iter().all(|total| *total == WHOLE), "{seen:?}");
}

/// The twin: the events of one transaction in several partitions are not put together.
#[test]
fn transactions_that_are_divided_are_seen_in_parts() {
    transfers(Format::JsonWithSchemas, "3", |seen| seen.iter().any(|total| *total != WHOLE));
}
