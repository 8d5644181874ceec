//! The source against a real server: what only PostgreSQL itself can show.

#![expect(clippy::unwrap_used, clippy::panic, reason = "test code: a panic is a failed assertion")]

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type, Time64MicrosecondType,
    TimestampMicrosecondType,
};
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use connect_tests::postgres::{Database, PASSWORD, Server, USER, free_port};
use connector_api::testing::conformance;
use connector_api::{ErrorKind, Plan, Position, Progress, Role, Source, Split, TableId, TaskContext};

/// A source on that database, with these keys more or other than usual.
fn source(database: &Database, keys: &[(&str, &str)]) -> Box<dyn Source> {
    let port = database.port().to_string();
    let usual = [
        ("database.hostname", "127.0.0.1"),
        ("database.port", port.as_str()),
        ("database.user", USER),
        ("database.password", PASSWORD),
        ("database.dbname", database.name.as_str()),
        ("snapshot.mode", "initial_only"),
        ("parallel.chunk.size", "64KiB"),
    ];
    let raw: BTreeMap<_, _> = usual.iter().chain(keys).map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    match (connector_postgres::PLUGIN.build)(&raw) {
        Ok(Role::Source(source)) => source,
        Ok(Role::Sink(_)) => panic!("not a source"),
        Err(problems) => panic!("{problems:?}"),
    }
}

fn context() -> TaskContext {
    TaskContext::new("test", 0, 64 << 20)
}

async fn plan(source: &dyn Source) -> Plan {
    source.plan(&Progress::default()).await.unwrap()
}

async fn read(source: &dyn Source, split: &Split) -> Result<Vec<RecordBatch>, connector_api::Error> {
    let mut task = source.open(split, Position::Start, context()).await?;
    let mut batches = vec![];
    while let Some(batch) = task.next().await? {
        batches.push(batch.rows().clone());
    }
    task.close().await?;
    Ok(batches)
}

/// Every row of a table of the plan, each as its values' text.
async fn rows(source: &dyn Source, plan: &Plan, schema: &str, name: &str) -> Vec<Vec<String>> {
    let id = TableId::new(schema, name);
    let table = plan.tables.iter().find(|t| *t.schema.table() == id).unwrap_or_else(|| panic!("{id} is not planned"));
    let mut rows = vec![];
    for split in &table.splits {
        for batch in read(source, split).await.unwrap() {
            rows.extend((0..batch.num_rows()).map(|i| batch.columns().iter().map(|c| text(c, i)).collect::<Vec<_>>()));
        }
    }
    rows
}

fn text(array: &dyn Array, i: usize) -> String {
    if array.is_null(i) {
        return "NULL".into();
    }
    match array.data_type() {
        DataType::Boolean => array.as_boolean().value(i).to_string(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(i).to_string(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(i).to_string(),
        DataType::Float32 => format!("{:?}", array.as_primitive::<Float32Type>().value(i)),
        DataType::Float64 => format!("{:?}", array.as_primitive::<Float64Type>().value(i)),
        DataType::Decimal128(_, _) => array.as_primitive::<Decimal128Type>().value_as_string(i),
        DataType::Utf8 => array.as_string::<i32>().value(i).to_owned(),
        DataType::Binary => format!("{:?}", array.as_binary::<i32>().value(i)),
        DataType::FixedSizeBinary(16) => {
            array.as_fixed_size_binary().value(i).iter().map(|b| format!("{b:02x}")).collect()
        }
        DataType::Date32 => array.as_primitive::<Date32Type>().value(i).to_string(),
        DataType::Time64(_) => array.as_primitive::<Time64MicrosecondType>().value(i).to_string(),
        DataType::Timestamp(_, _) => array.as_primitive::<TimestampMicrosecondType>().value(i).to_string(),
        other => panic!("{other} is no type of ours"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_the_contract() {
    let database = Server::shared().database();
    database.sql_as_user(
        "CREATE TABLE a (id int PRIMARY KEY, v text);
         INSERT INTO a SELECT i, repeat('x', i % 50) FROM generate_series(1, 10000) i;
         CREATE TABLE b (v numeric);
         INSERT INTO b SELECT i FROM generate_series(1, 1000) i;
         CREATE TABLE empty (id int)",
    );
    let fixture = || source(&database, &[("batch.size", "100")]);
    let splits = plan(&*fixture()).await.tables[0].splits.len();
    assert!(splits > 3, "{splits} splits");
    assert_eq!(conformance::source(&fixture).await.iter().map(ToString::to_string).collect::<Vec<_>>(), [""; 0]);
}

#[tokio::test]
async fn logs_in_or_says_why_not() {
    let database = Server::shared().database();
    let port = free_port().to_string();
    let check = async |keys: &[(&str, &str)]| {
        let error = source(&database, keys).tables().await.unwrap_err();
        let shown = format!("{error:#}");
        assert!(!shown.contains(PASSWORD) && !shown.contains("hunter2"), "{shown}");
        (error.kind(), shown)
    };
    assert_eq!(source(&database, &[]).tables().await.unwrap().tables, []);

    let (kind, shown) = check(&[("database.password", "hunter2")]).await;
    assert_eq!(kind, ErrorKind::Fatal);
    assert!(shown.contains("28P01") && shown.contains("password authentication failed"), "{shown}");
    let (kind, shown) = check(&[("database.password", "")]).await;
    assert_eq!(kind, ErrorKind::Fatal);
    assert!(shown.contains("database.password is not set"), "{shown}");
    let (kind, shown) = check(&[("database.dbname", "nowhere")]).await;
    assert_eq!(kind, ErrorKind::Fatal);
    assert!(shown.contains("\"nowhere\" does not exist"), "{shown}");
    let (kind, shown) = check(&[("database.port", &port)]).await;
    assert!(matches!(kind, ErrorKind::Retriable { .. }), "{shown}");
    assert!(shown.contains(&format!("port={port}")), "{shown}");

    // Somebody who accepts and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port().to_string();
    let began = Instant::now();
    let (kind, shown) = check(&[("database.port", &port), ("connect.timeout.ms", "300")]).await;
    assert!(matches!(kind, ErrorKind::Retriable { .. }), "{shown}");
    assert!(began.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn values_arrive_as_they_are() {
    let database = Server::shared().database();
    database.sql_as_user(
        "CREATE TYPE mood AS ENUM ('sad', 'very happy');
         CREATE DOMAIN money_like AS numeric(10,2);
         CREATE DOMAIN nested AS money_like CHECK (VALUE > 0);
         CREATE TABLE t (
             a bool, b int2, c int4, d int8, e float4, f float8, g numeric(38,10), h numeric, i numeric(50,2),
             j text, k varchar(10), l char(5), m name, n bytea, o uuid, p date, q time, r timestamp, s timestamptz,
             u json, v jsonb, w mood, x nested, y oid, z numeric(3,5), a1 numeric(4,-2), a2 time(3),
             a3 int GENERATED ALWAYS AS (b + 1) STORED);
         SET timezone = 'America/New_York';
         INSERT INTO t VALUES
             (true, -32768, -2147483648, -9223372036854775808, 'NaN', '-Infinity',
              -9999999999999999999999999999.9999999999, '-0.000', -123456789012345678901234567890123456789012345678.90, '', 'grüß 🎈', 'ab', 'n', '\\x00ff',
              '00112233-4455-6677-8899-aabbccddeeff', '4713-01-01 BC', '00:00', '4713-01-01 00:00 BC',
              '1999-12-31 19:00:00', '{\"b\": 1,  \"a\":[]}', '{\"b\": 1,  \"a\":[]}', 'very happy', 12.3,
              4294967295, 0.00999, 123456, '23:59:59.999'),
             (false, 32767, 2147483647, 9223372036854775807, '-0', '4.9e-324', 0.0000000001, 1e30, 'NaN', E'a\\nb',
              'x', '', '', '', 'ffffffff-ffff-ffff-ffff-ffffffffffff', '5874897-12-31', '23:59:59.999999',
              '294247-01-10 04:00:54.775806', '2000-01-01 00:00:00.000001+00', '1', 'null', 'sad', 1, 0, -0.001, -949,
              '01:02:03.0004');
         INSERT INTO t (b, h) VALUES (1, '-Infinity');
         COMMENT ON TABLE t IS 'all of them'; COMMENT ON COLUMN t.b IS 'small'",
    );
    let source = source(&database, &[]);
    let plan = plan(&*source).await;
    let schema = &plan.tables[0].schema;
    assert_eq!((schema.doc(), schema.columns()[1].doc.as_deref()), (Some("all of them"), Some("small")));
    let types: Vec<_> = schema.columns().iter().map(|c| c.source_type.as_str()).collect();
    assert_eq!(
        types,
        [
            "boolean",
            "smallint",
            "integer",
            "bigint",
            "real",
            "double precision",
            "numeric(38,10)",
            "numeric",
            "numeric(50,2)",
            "text",
            "character varying(10)",
            "character(5)",
            "name",
            "bytea",
            "uuid",
            "date",
            "time without time zone",
            "timestamp without time zone",
            "timestamp with time zone",
            "json",
            "jsonb",
            "public.mood",
            "public.nested",
            "oid",
            "numeric(3,5)",
            "numeric(4,-2)",
            "time(3) without time zone",
            "integer"
        ]
    );
    let loaded = rows(&*source, &plan, "public", "t").await;
    let first = [
        "true",
        "-32768",
        "-2147483648",
        "-9223372036854775808",
        "NaN",
        "-inf",
        "-9999999999999999999999999999.9999999999",
        "0.000",
        "-123456789012345678901234567890123456789012345678.90",
        "",
        "grüß 🎈",
        "ab   ",
        "n",
        "[0, 255]",
        "00112233445566778899aabbccddeeff",
        "-2440550",
        "0",
        "-210863520000000000",
        "946684800000000",
        "{\"b\": 1,  \"a\":[]}",
        "{\"a\": [], \"b\": 1}",
        "very happy",
        "12.30",
        "4294967295",
        "0.00999",
        "123500",
        "86399999000",
        "-32767",
    ];
    let second = [
        "false",
        "32767",
        "2147483647",
        "9223372036854775807",
        "-0.0",
        "5e-324",
        "0.0000000001",
        "1000000000000000000000000000000",
        "NaN",
        "a\nb",
        "x",
        "     ",
        "",
        "[]",
        "ffffffffffffffffffffffffffffffff",
        "2145042905",
        "86399999999",
        "9223372036854775806",
        "946684800000001",
        "1",
        "null",
        "sad",
        "1.00",
        "0",
        "-0.00100",
        "-900",
        "3723000000",
        "32768",
    ];
    assert_eq!(loaded[0], first);
    assert_eq!(loaded[1], second);
    assert_eq!(loaded[2].iter().filter(|v| *v != "NULL").collect::<Vec<_>>(), ["1", "-Infinity", "2"]);
}

#[tokio::test]
async fn values_without_equivalent_stop_their_table_by_name() {
    let database = Server::shared().database();
    database.sql_as_user(
        "CREATE TABLE dates (d date); INSERT INTO dates VALUES ('infinity');
         CREATE TABLE numbers (n numeric(5,2)); INSERT INTO numbers VALUES (1), ('NaN');
         CREATE TABLE stamps (s timestamptz); INSERT INTO stamps VALUES ('-infinity');
         CREATE TABLE times (t time); INSERT INTO times VALUES ('24:00');
         CREATE TABLE good (t time); INSERT INTO good VALUES ('23:00')",
    );
    let source = source(&database, &[]);
    let plan = plan(&*source).await;
    let mut seen = vec![];
    for table in &plan.tables {
        seen.push(match read(&*source, &table.splits[0]).await {
            Ok(_) => format!("{} is read", table.schema.table()),
            Err(e) => format!("{:?} {} {}", e.kind(), e.context("table").unwrap(), e.context("column").unwrap()),
        });
    }
    seen.sort();
    assert_eq!(
        seen,
        [
            "Data public.dates d",
            "Data public.numbers n",
            "Data public.stamps s",
            "Data public.times t",
            "public.good is read"
        ]
    );
}

#[tokio::test]
async fn any_identifier() {
    let database = Server::shared().database();
    database.sql_as_user(
        r#"CREATE SCHEMA "My ""s.c;h"; CREATE TABLE "My ""s.c;h"."ta.b'le 🎈 %" ("SELECT" int, "a""b\c" int, "ä.ö" int);
           INSERT INTO "My ""s.c;h"."ta.b'le 🎈 %" VALUES (1, 2, 3);
           CREATE TABLE "T" (id int); INSERT INTO "T" VALUES (1);
           CREATE TABLE t (id int, gone int); ALTER TABLE t DROP COLUMN gone; INSERT INTO t VALUES (2)"#,
    );
    let source = source(&database, &[]);
    let plan = plan(&*source).await;
    let odd = (r#"My "s.c;h"#, "ta.b'le 🎈 %");
    assert_eq!(rows(&*source, &plan, odd.0, odd.1).await, [["1", "2", "3"]]);
    let table = plan.tables.iter().find(|t| t.schema.table().name() == odd.1).unwrap();
    let names: Vec<_> = table.schema.columns().iter().map(|c| c.name()).collect();
    assert_eq!(names, ["SELECT", r#"a"b\c"#, "ä.ö"]);
    assert_eq!(rows(&*source, &plan, "public", "T").await, [["1"]]);
    assert_eq!(rows(&*source, &plan, "public", "t").await, [["2"]]);
}

#[tokio::test]
async fn selects_tables_and_columns_and_finds_keys() {
    let database = Server::shared().database();
    database.sql_as_user(
        "CREATE TABLE orders (x text, b int, a int, note text, PRIMARY KEY (a, b) INCLUDE (note));
         CREATE TABLE parted (id int, v text) PARTITION BY RANGE (id);
         CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
         CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (10) TO (20);
         INSERT INTO parted VALUES (1, 'a'), (11, 'b');
         CREATE TABLE parent (id int); CREATE TABLE child () INHERITS (parent);
         INSERT INTO parent VALUES (1); INSERT INTO child VALUES (2);
         CREATE VIEW seen AS SELECT 1; CREATE SCHEMA other; CREATE TABLE other.t (id int)",
    );
    let names = async |keys: &[(&str, &str)]| -> Vec<String> {
        source(&database, keys).tables().await.unwrap().tables.iter().map(ToString::to_string).collect()
    };
    let all = ["other.t", "public.child", "public.orders", "public.parent", "public.parted"];
    assert_eq!(names(&[]).await, all);
    assert_eq!(names(&[("schema.exclude.list", "public")]).await, ["other.t"]);
    assert_eq!(names(&[("table.include.list", "public\\.par.*,other\\.t")]).await, [all[0], all[3], all[4]]);
    assert_eq!(names(&[("table.filter", "par%")]).await, [all[3], all[4]]);

    let keys = [("column.exclude.list", "public\\.orders\\.x,public\\.parted\\.v")];
    let source = source(&database, &keys);
    let plan = plan(&*source).await;
    let orders = plan.tables.iter().find(|t| t.schema.table().name() == "orders").unwrap();
    let key: Vec<_> = orders.schema.key().iter().map(|k| orders.schema.columns()[*k].name()).collect();
    assert_eq!((key, orders.schema.columns().len()), (vec!["a", "b"], 3));
    assert_eq!(rows(&*source, &plan, "public", "parted").await, [["1"], ["11"]]);
    assert_eq!(rows(&*source, &plan, "public", "parent").await, [["1"]], "without what inherits");
    assert_eq!(rows(&*source, &plan, "public", "child").await, [["2"]]);
}

#[tokio::test]
async fn refuses_by_name_and_loads_the_rest() {
    let database = Server::shared().database();
    database.sql_as_user(
        "CREATE TABLE good (id int); CREATE TABLE bare (); CREATE TABLE keyed (id int PRIMARY KEY, v int)",
    );
    // Not the program's own tables.
    database.sql(&format!(
        "CREATE TABLE public.secret (id int); CREATE SCHEMA closed; CREATE TABLE closed.t (id int);
         GRANT SELECT ON closed.t TO {USER}; CREATE TABLE policed (id int); GRANT SELECT ON policed TO {USER};
         ALTER TABLE policed ENABLE ROW LEVEL SECURITY"
    ));
    let source = source(&database, &[("column.exclude.list", "public\\.keyed\\.id")]);
    let plan = plan(&*source).await;
    assert_eq!(plan.tables.iter().map(|t| t.schema.table().to_string()).collect::<Vec<_>>(), ["public.good"]);
    assert!(plan.refused.iter().all(|(_, e)| e.kind() == ErrorKind::Data));
    let without_remedy = |e: &connector_api::Error| {
        let shown = e.to_string();
        shown.split_once(", remedy=").map_or(shown.clone(), |(before, _)| format!("{before}]"))
    };
    let refused: Vec<_> = plan.refused.iter().map(|(_, e)| without_remedy(e)).collect();
    assert_eq!(
        refused,
        [
            "no USAGE privilege on the table's schema [table=closed.t]",
            "the table has no columns [table=public.bare]",
            "a column of the primary key is left out by the column lists [table=public.keyed, column=id]",
            "row-level security would hide rows of the table from this user [table=public.policed]",
            "no SELECT privilege on the table [table=public.secret]",
        ]
    );
}

/// Who waits for the holder to let go of a table holds up the load's own readers: they say so and give up,
/// and the split can be read once he has gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_behind_an_exclusive_lock_gives_up() {
    let database = Server::shared().database();
    database.sql_as_user("CREATE TABLE t (id int); INSERT INTO t VALUES (1)");
    let source = source(&database, &[("lock.timeout.ms", "200")]);
    let plan = plan(&*source).await;
    let waiting = database.background("SET lock_timeout = '5s'; TRUNCATE t");
    while database.sql("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 't'::regclass") == "0" {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let error = read(&*source, &plan.tables[0].splits[0]).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Retriable { .. }), "{error:#}");
    assert!(error.context("sqlstate") == Some("55P03") && error.context("remedy").is_some(), "{error:#}");
    database.sql("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted AND relation = 't'::regclass");
    drop(waiting);
    assert_eq!(rows(&*source, &plan, "public", "t").await, [["1"]]);
}

/// A refresh exchanges a materialized view's rows for all snapshots at once, and LOCK takes no such view.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_materialized_view_shows_the_same_moment() {
    let database = Server::shared().database();
    database.sql_as_user(
        "CREATE TABLE counter (n int); INSERT INTO counter VALUES (0);
         CREATE MATERIALIZED VIEW shown AS SELECT n FROM counter",
    );
    // It gives up where a load holds the view: the load's readers would wait behind it.
    let refreshing = database.background(
        "DO $$ BEGIN PERFORM set_config('lock_timeout', '20ms', false);
         FOR i IN 1..100000 LOOP
             BEGIN
                 UPDATE counter SET n = i; REFRESH MATERIALIZED VIEW shown;
             EXCEPTION WHEN lock_not_available THEN NULL;
             END;
             COMMIT; EXIT WHEN clock_timestamp() > statement_timestamp() + interval '10 s';
         END LOOP; END $$",
    );
    let (mut seen, began) = (HashSet::new(), Instant::now());
    while seen.len() < 6 && began.elapsed() < Duration::from_secs(9) {
        let source = source(&database, &[("table.types", "TABLE,MATERIALIZED VIEW")]);
        let plan = match source.plan(&Progress::default()).await {
            Ok(plan) => plan,
            // Refreshed faster than a cut can be taken: never a wrong one.
            Err(e) => {
                assert!(matches!(e.kind(), ErrorKind::Retriable { .. }), "{e:#}");
                continue;
            }
        };
        let counter = rows(&*source, &plan, "public", "counter").await;
        assert_eq!(rows(&*source, &plan, "public", "shown").await, counter);
        seen.extend(counter);
    }
    refreshing.finish();
    assert!(seen.len() >= 2, "no refresh went between the cuts");
}

/// Accounts move money among themselves and between tables, and are closed and opened again: at any one
/// moment the sum and the count are the same, over all chunks of both tables.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_chunk_shows_the_same_moment() {
    let database = Server::shared().database();
    database.sql_as_user(
        "CREATE TABLE a (id int, v bigint, pad text); CREATE TABLE b (id int, v bigint, pad text);
         INSERT INTO a SELECT i, 100, repeat('x', 100) FROM generate_series(1, 5000) i;
         INSERT INTO b SELECT i, 100, repeat('x', 100) FROM generate_series(1, 5000) i;
         CREATE TABLE moves (n int)",
    );
    let writer = database.background(
        "DO $$ DECLARE k int := 0; BEGIN LOOP
             k := (k + 37) % 4980;
             UPDATE a SET v = v - 1 WHERE id > k AND id <= k + 20;
             UPDATE b SET v = v + 1 WHERE id > k AND id <= k + 20;
             WITH gone AS (DELETE FROM b WHERE id % 1000 = k % 1000 RETURNING *) INSERT INTO b SELECT * FROM gone;
             INSERT INTO moves VALUES (1);
             COMMIT;
         END LOOP; END $$",
    );
    let made = || database.sql("SELECT count(*) FROM moves").parse::<u64>().unwrap();
    let patience = Instant::now() + Duration::from_secs(10);
    while made() < 3 {
        assert!(Instant::now() < patience, "the writer does not write");
    }
    for round in 0..3 {
        let source = source(&database, &[("table.include.list", "public\\.[ab]")]);
        let plan = plan(&*source).await;
        assert!(plan.tables.iter().all(|t| t.splits.len() > 5));
        let before = made();
        let mut sums = vec![];
        for name in ["a", "b"] {
            // Rows move between chunks meanwhile.
            let rows = rows(&*source, &plan, "public", name).await;
            let ids: HashSet<_> = rows.iter().map(|r| r[0].clone()).collect();
            assert_eq!((rows.len(), ids.len()), (5000, 5000), "{name}, round {round}");
            sums.push(rows.iter().map(|r| r[1].parse::<i64>().unwrap()).sum::<i64>());
            let waited = Instant::now() + Duration::from_secs(10);
            while made() <= before {
                assert!(Instant::now() < waited, "the writer stands still");
            }
        }
        assert_eq!(sums[0] + sums[1], 2 * 100 * 5000, "round {round}: {sums:?}");
        assert_ne!(sums[0], 100 * 5000, "the writer changed something");
    }
    drop(writer);
}

/// TRUNCATE is not multi-versioned: a snapshot taken before the table's lock would see the table empty,
/// although at no moment it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_is_never_falsely_empty() {
    let database = Server::shared().database();
    database.sql_as_user("CREATE TABLE t (id int); INSERT INTO t SELECT generate_series(1, 10)");
    let other = database
        .background("BEGIN; TRUNCATE t; SELECT pg_sleep(0.7); INSERT INTO t SELECT generate_series(1, 5); COMMIT");
    while database.sql(
        "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted AND relation = 't'::regclass",
    ) != "1"
    {}
    let source = source(&database, &[]);
    let plan = plan(&*source).await;
    other.finish();
    // And while the cut is held nobody truncates.
    let truncate = "SET lock_timeout = 200; TRUNCATE t";
    assert!(std::panic::catch_unwind(|| database.sql_as_user(truncate)).is_err(), "TRUNCATE went through");
    assert_eq!(rows(&*source, &plan, "public", "t").await.len(), 5);
    drop(source);
    database.sql_as_user(truncate);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waits_for_a_lock_only_so_long() {
    let database = Server::shared().database();
    database.sql_as_user("CREATE TABLE t (id int)");
    let _other = database.background("BEGIN; LOCK TABLE t; SELECT pg_sleep(60)");
    while database.sql(
        "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted AND relation = 't'::regclass",
    ) != "1"
    {}
    let source = source(&database, &[("lock.timeout.ms", "200")]);
    let error = source.plan(&Progress::default()).await.unwrap_err();
    assert_eq!(error.context("sqlstate"), Some("55P03"), "{error:#}");
    assert!(matches!(error.kind(), ErrorKind::Retriable { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_task_ends_its_copy() {
    let database = Server::shared().database();
    database.sql_as_user(
        "CREATE TABLE big (id int, pad text); INSERT INTO big SELECT i, repeat('x', 500) FROM generate_series(1, 100000) i",
    );
    let source = source(&database, &[("parallel.chunk.size", "1GiB")]);
    let plan = plan(&*source).await;
    let split = &plan.tables[0].splits[0];
    let copies = || {
        database.sql("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'COPY%' AND state = 'active'")
    };
    let patience = Instant::now() + Duration::from_secs(5);
    let mut task = source.open(split, Position::Start, context()).await.unwrap();
    assert!(task.next().await.unwrap().is_some());
    assert_eq!(copies(), "1", "the sink holds the server back");
    drop(task);
    while copies() != "0" {
        assert!(Instant::now() < patience, "the COPY goes on");
    }

    let context = context();
    let mut task = source.open(split, Position::Start, context.clone()).await.unwrap();
    assert!(task.next().await.unwrap().is_some());
    context.cancel.cancel();
    assert!(task.next().await.is_err(), "cancellation is not the end of the data");
    let closing = Instant::now();
    task.close().await.unwrap();
    assert!(closing.elapsed() < Duration::from_secs(2));
    assert_eq!(read(&*source, split).await.unwrap().iter().map(|b| b.num_rows()).sum::<usize>(), 100_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_connection_may_be_opened_again_and_a_lost_cut_may_not() {
    let database = Server::shared().database();
    database.sql_as_user(
        "CREATE TABLE big (id int, pad text); INSERT INTO big SELECT i, repeat('x', 500) FROM generate_series(1, 50000) i",
    );
    let source = source(&database, &[("parallel.chunk.size", "1GiB")]);
    let plan = plan(&*source).await;
    let split = &plan.tables[0].splits[0];
    let kill = |which: &str| {
        database.sql(&format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND application_name = 'connect-runtime' AND {which}"
        ))
    };

    let mut task = source.open(split, Position::Start, context()).await.unwrap();
    let first = task.next().await.unwrap().unwrap();
    assert_eq!(kill("query LIKE 'COPY%'"), "t");
    let error = loop {
        match task.next().await {
            Ok(batch) => assert!(batch.is_some(), "the split must not end well"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error.kind(), ErrorKind::Retriable { .. }), "{error:#}");
    let mut task = source.open(split, first.span().upto, context()).await.unwrap();
    let mut rest = 0;
    while let Some(batch) = task.next().await.unwrap() {
        rest += batch.rows().num_rows();
    }
    assert_eq!(first.rows().num_rows() + rest, 50_000);

    // A reading connection that already has the snapshot would go on, and could see a truncated table.
    assert_eq!(kill("query NOT LIKE 'COPY%' AND backend_xmin IS NOT NULL"), "t");
    let error = read(&*source, split).await.unwrap_err();
    assert!(error.is_cut_lost(), "{error:#}");
}

/// Attaching goes together with the lock, and a query sees the partitions of the present.
#[tokio::test]
async fn a_partition_that_comes_later_is_not_taken_for_the_cut() {
    let database = Server::shared().database();
    database.sql_as_user(
        "CREATE TABLE p (id int) PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);
         INSERT INTO p VALUES (1);
         CREATE TABLE bare (id int) PARTITION BY RANGE (id)",
    );
    let source = source(&database, &[]);
    let plan = plan(&*source).await;
    let truncate = "SET lock_timeout = 200; TRUNCATE p1";
    assert!(std::panic::catch_unwind(|| database.sql_as_user(truncate)).is_err(), "TRUNCATE went through");
    assert_eq!(rows(&*source, &plan, "public", "p").await, [["1"]]);
    assert_eq!(rows(&*source, &plan, "public", "bare").await, [[""; 0]; 0]);
    database.sql_as_user("CREATE TABLE p2 (id int); INSERT INTO p2 VALUES (12)");
    database.sql_as_user("ALTER TABLE p ATTACH PARTITION p2 FOR VALUES FROM (10) TO (20)");
    let table = plan.tables.iter().find(|t| t.schema.table().name() == "p").unwrap();
    let error = read(&*source, &table.splits[0]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    assert!(error.message().starts_with("a partition was attached"), "{error:#}");
}

#[tokio::test]
async fn the_cut_says_what_it_saw() {
    let database = Server::shared().database();
    database.sql_as_user("CREATE TABLE t (id int); CREATE TABLE u (id int)");
    let source = source(&database, &[]);
    let first = plan(&*source).await;
    let system = database.sql("SELECT system_identifier FROM pg_control_system()");
    assert_eq!(first.cut.system, format!("postgresql:{system}/{}", database.name));
    assert_eq!(first.cut.position_type, "lsn");
    let visible = first.cut.visible.clone().unwrap();
    database.sql_as_user("INSERT INTO t VALUES (1)");
    let later = plan(&*source).await;
    let check = |sql: &str| database.sql(sql);
    assert_eq!(check(&format!("SELECT '{}'::pg_lsn < '{}'::pg_lsn", first.cut.position, later.cut.position)), "t");
    let inserted = check("SELECT xmin FROM t");
    assert_eq!(check(&format!("SELECT pg_visible_in_snapshot('{inserted}', '{visible}')")), "f");
    let visible = later.cut.visible.clone().unwrap();
    assert_eq!(check(&format!("SELECT pg_visible_in_snapshot('{inserted}', '{visible}')")), "t");
}

#[tokio::test]
async fn bytes_that_are_not_text_stop_their_table_by_name() {
    let mut database = Server::shared().database();
    let name = format!("{}_ascii", database.name);
    database.sql(&format!(
        "CREATE DATABASE {name} OWNER {USER} ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    ));
    database.name = name;
    database.sql(&format!("CREATE TABLE t (v text); INSERT INTO t VALUES (E'\\xe9'); GRANT SELECT ON t TO {USER}"));
    let source = source(&database, &[]);
    let plan = plan(&*source).await;
    let error = read(&*source, &plan.tables[0].splits[0]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    assert!(error.to_string().contains("table=public.t, column=v"), "{error:#}");
}
