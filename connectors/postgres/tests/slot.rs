//! The slot that a load leaves: what it shows, and what the slot delivers after it, make the table as it is.

#![expect(clippy::unwrap_used, clippy::panic, reason = "test code: a panic is a failed assertion")]

mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use connect_tests::postgres::{Background, Database, Server, USER};
use connector_api::{Cut, Error, Loaded, Plan, Position, Progress, Source, TableId, TaskContext};

/// Rows by key.
type Rows = BTreeMap<i32, i64>;
/// Rows of both tables, by name.
type Tables = BTreeMap<String, Rows>;

const PUBLICATION: &str = "pub";

/// A source with a publication of its tables.
fn source(database: &Database, keys: &[(&str, &str)]) -> Box<dyn Source> {
    let usual = [
        ("schema.include.list", "public"),
        ("table.exclude.list", ".*\\.moves"),
        ("publication.name", PUBLICATION),
        ("publication.autocreate.mode", "filtered"),
    ];
    source::source(database.port(), &database.name, &[&usual, keys].concat())
}

/// One at a time: the server refuses to change a role that is being changed.
fn may_replicate(database: &Database) {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    database.sql(&format!("ALTER ROLE {USER} REPLICATION"));
}

/// Two tables, and somebody who changes them in every way, both in each transaction.
fn busy() -> (Database, Background) {
    let database = Server::shared().database();
    may_replicate(&database);
    database.sql(&format!("GRANT CREATE ON DATABASE {} TO {USER}", database.name));
    database.sql_as_user(
        "CREATE TABLE a (id int PRIMARY KEY, v bigint, pad text); CREATE TABLE b (id int PRIMARY KEY, v bigint, pad text);
         INSERT INTO a SELECT i, 100, repeat('x', 100) FROM generate_series(1, 3000) i;
         INSERT INTO b SELECT i, 100, repeat('x', 100) FROM generate_series(1, 3000) i;
         CREATE TABLE moves (n int)",
    );
    let writer = database.background(
        "DO $$ DECLARE k int := 0; BEGIN LOOP
             k := k + 1;
             UPDATE a SET v = v - 1 WHERE id % 500 = k % 500;
             UPDATE b SET v = v + 1 WHERE id % 500 = k % 500;
             DELETE FROM a WHERE id = k; DELETE FROM b WHERE id = k;
             INSERT INTO a VALUES (100000 + k, k, 'new'); INSERT INTO b VALUES (100000 + k, -k, 'new');
             INSERT INTO moves VALUES (k);
             COMMIT;
         END LOOP; END $$",
    );
    moves(&database, 5);
    (database, writer)
}

/// Waits until the writer has gone on.
fn moves(database: &Database, more: u64) {
    let made = || database.sql("SELECT count(*) FROM moves").parse::<u64>().unwrap();
    let (wanted, patience) = (made() + more, Instant::now() + Duration::from_secs(60));
    while made() < wanted {
        assert!(Instant::now() < patience, "the writer does not write");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Ends the writer, and waits until its last transaction has.
fn stop(database: &Database, writer: Background) {
    drop(writer);
    let wait = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'DO %'";
    database.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'DO %' AND datname = current_database()");
    while database.sql(wait) != "0" {
        std::thread::sleep(Duration::from_millis(5));
    }
    // The test's server commits without waiting for its log, and a slot delivers what is in the log.
    database.sql("SET synchronous_commit = on; INSERT INTO moves VALUES (-1)");
}

async fn load(source: &dyn Source, plan: &Plan) -> Tables {
    let mut tables = Tables::new();
    for table in &plan.tables {
        let rows = tables.entry(table.schema.table().name().to_owned()).or_default();
        for split in &table.splits {
            let mut task = source.open(split, Position::Start, TaskContext::new("test", 0, 64 << 20)).await.unwrap();
            while let Some(batch) = task.next().await.unwrap() {
                let (ids, values) = (batch.rows().column(0), batch.rows().column(1));
                let (ids, values) = (ids.as_primitive::<Int32Type>(), values.as_primitive::<Int64Type>());
                for i in 0..batch.rows().num_rows() {
                    assert!(rows.insert(ids.value(i), values.value(i)).is_none(), "a row twice");
                }
            }
        }
    }
    tables
}

/// The tables as they are.
fn now(database: &Database) -> Tables {
    let rows = |table: &str| {
        let text = database.sql(&format!("SELECT id, v FROM {table}"));
        let row = |line: &str| line.split_once('|').map(|(id, v)| (id.parse().unwrap(), v.parse().unwrap())).unwrap();
        (table.to_owned(), text.lines().map(row).collect())
    };
    ["a", "b"].map(rows).into()
}

/// Applies what the slot delivers to the tables that are there, as strictly as can be: a row that comes and is
/// there, or goes and is not, is an error. With a cut, transactions that it shows are passed over (P1).
fn follow(database: &Database, slot: &str, tables: &mut Tables, cut: Option<&Cut>) -> Result<u64, String> {
    // No wrap-around in a test's server: a transaction's number is that of epoch 0.
    let visible = cut
        .and_then(|cut| cut.visible.as_ref())
        .map_or("false".to_owned(), |visible| format!("pg_visible_in_snapshot(xid::text::xid8, '{visible}')"));
    let changes = database.sql(&format!(
        "SELECT {visible}, encode(data, 'hex')
         FROM pg_logical_slot_get_binary_changes('{slot}', NULL, NULL, 'proto_version', '1', 'publication_names', '{PUBLICATION}')"
    ));
    let (mut names, mut skip, mut applied) = (BTreeMap::new(), false, 0);
    for line in changes.lines() {
        let (seen, data) = line.split_once('|').unwrap();
        let bytes: Vec<u8> =
            (0..data.len()).step_by(2).map(|i| u8::from_str_radix(&data[i..i + 2], 16).unwrap()).collect();
        let mut message = Message(&bytes[1..]);
        match bytes[0] {
            b'B' => {
                skip = seen == "t";
            }
            b'R' => {
                let (oid, _schema, name) = (message.number(4), message.text(), message.text());
                names.insert(oid, name);
            }
            kind @ (b'I' | b'U' | b'D') if !skip => {
                let Some(rows) = tables.get_mut(&names[&message.number(4)]) else { continue };
                applied += 1;
                let mut tuple = message.number(1) as u8;
                let before = (tuple == b'O' || tuple == b'K').then(|| message.tuple());
                if before.is_some() && kind == b'U' {
                    tuple = message.number(1) as u8;
                }
                assert!(kind == b'D' || tuple == b'N');
                let (id, value) = if kind == b'D' { before.unwrap() } else { message.tuple() };
                let had = match kind {
                    b'D' => rows.remove(&id),
                    _ => rows.insert(id, value.unwrap()),
                };
                if had.is_some() == (kind == b'I') {
                    return Err(format!("{} of {id}, which was {had:?}", kind as char));
                }
            }
            _ => {}
        }
    }
    Ok(applied)
}

/// A message of pgoutput, version 1.
struct Message<'a>(&'a [u8]);

impl Message<'_> {
    fn number(&mut self, bytes: usize) -> u32 {
        let (number, rest) = self.0.split_at(bytes);
        self.0 = rest;
        number.iter().fold(0, |n, b| n << 8 | u32::from(*b))
    }

    fn text(&mut self) -> String {
        let end = self.0.iter().position(|b| *b == 0).unwrap();
        let text = String::from_utf8(self.0[..end].to_vec()).unwrap();
        self.0 = &self.0[end + 1..];
        text
    }

    /// The first two columns.
    fn tuple(&mut self) -> (i32, Option<i64>) {
        let columns: Vec<Option<String>> = (0..self.number(2))
            .map(|_| {
                (self.number(1) as u8 == b't').then(|| {
                    let length = self.number(4) as usize;
                    let (text, rest) = self.0.split_at(length);
                    self.0 = rest;
                    String::from_utf8(text.to_vec()).unwrap()
                })
            })
            .collect();
        (columns[0].as_ref().unwrap().parse().unwrap(), columns[1].as_ref().map(|v| v.parse().unwrap()))
    }
}

/// Panics with what differs, and only that.
#[track_caller]
fn same(are: &Rows, should: &Rows) {
    let ids = are.keys().chain(should.keys()).collect::<BTreeSet<_>>().into_iter();
    let differ: Vec<_> = ids.filter(|id| are.get(id) != should.get(id)).take(10).collect();
    let shown: Vec<_> = differ.iter().map(|id| (id, are.get(id), should.get(id))).collect();
    assert!(shown.is_empty(), "(id, is, should be): {shown:?}");
}

fn refusal(result: Result<Plan, Error>) -> String {
    format!("{:#}", result.unwrap_err())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_and_its_slot_meet_without_gap_or_overlap() {
    let (database, writer) = busy();
    let source = source(&database, &[("slot.name", "meets")]);
    let plan = source.plan(&Progress::default()).await.unwrap();
    assert!(plan.tables.iter().all(|t| t.splits.len() > 3));
    // The slot stands at exactly the cut.
    let at = database.sql("SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = 'meets'");
    assert_eq!(plan.cut.position, at);
    moves(&database, 20);
    let mut tables = load(&*source, &plan).await;
    moves(&database, 20);
    // The twin: a slot that is made after the cut has missed something.
    database.sql("SELECT pg_create_logical_replication_slot('late', 'pgoutput')");
    moves(&database, 20);
    stop(&database, writer);
    let mut late = tables.clone();
    let missed = follow(&database, "late", &mut late, None);
    assert!(missed.is_err() || late != now(&database), "a slot made later has missed nothing");
    // And what the load has is not delivered again: it needs no filter, and bears one.
    let applied = follow(&database, "meets", &mut tables, Some(&plan.cut)).unwrap();
    assert!(applied > 200, "{applied}");
    let now = now(&database);
    ["a", "b"].into_iter().for_each(|table| same(&tables[table], &now[table]));
    database.sql(
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name IN ('meets', 'late')",
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_is_loaded_later_meets_the_slot_that_is_there() {
    let (database, writer) = busy();
    let first =
        source(&database, &[("slot.name", "again"), ("table.include.list", "public\\.a"), ("table.exclude.list", "")]);
    let plan = first.plan(&Progress::default()).await.unwrap();
    let mut tables = load(&*first, &plan).await;
    drop(first);
    moves(&database, 20);
    // The second run: `b` comes into the publication, and is read at a cut of its own.
    let mut done = Progress::default();
    let loaded = Loaded {
        system: plan.cut.system.clone(),
        position: plan.cut.position.clone(),
        visible: None,
        rows: None,
        commit: "1".into(),
    };
    done.set_loaded(TableId::new("public", "a"), loaded);
    let second = source(&database, &[("slot.name", "again")]);
    let later = second.plan(&done).await.unwrap();
    assert_eq!(later.tables.len(), 1);
    moves(&database, 20);
    let mut of_b = load(&*second, &later).await;
    moves(&database, 20);
    stop(&database, writer);
    // Each table by its own cut; a copy of the slot serves the second reading.
    database.sql("SELECT pg_copy_logical_replication_slot('again', 'again_b')");
    database.sql("SELECT pg_copy_logical_replication_slot('again', 'again_c')");
    follow(&database, "again", &mut tables, None).unwrap();
    same(&tables["a"], &now(&database)["a"]);
    let mut unfiltered = of_b.clone();
    follow(&database, "again_b", &mut of_b, Some(&later.cut)).unwrap();
    same(&of_b["b"], &now(&database)["b"]);
    // The twin: without the cut's filter the slot's older changes are applied twice.
    let twice = follow(&database, "again_c", &mut unfiltered, None);
    assert!(twice.is_err() || unfiltered["b"] != now(&database)["b"]);
    database.sql("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name LIKE 'again%'");
}

/// While the slot waits for older transactions, nobody can empty a table behind its snapshot's back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn locks_come_before_the_slots_snapshot() {
    let (database, writer) = busy();
    stop(&database, writer);
    let older = database.background("BEGIN; INSERT INTO moves VALUES (0); SELECT pg_sleep(600)");
    while database
        .sql("SELECT count(*) FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND query LIKE 'BEGIN; INS%'")
        == "0"
    {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let source: std::sync::Arc<dyn Source> = source(&database, &[("slot.name", "waits")]).into();
    let planning = tokio::spawn({
        let source = std::sync::Arc::clone(&source);
        async move { source.plan(&Progress::default()).await }
    });
    let waiting = "SELECT count(*) FROM pg_stat_activity
         WHERE backend_type = 'walsender' AND wait_event = 'transactionid' AND datname = current_database()";
    let patience = Instant::now() + Duration::from_secs(60);
    while database.sql(waiting) == "0" {
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!planning.is_finished() && Instant::now() < patience, "the slot does not wait");
    }
    let truncate = "SET lock_timeout = 200; TRUNCATE a";
    assert!(std::panic::catch_unwind(|| database.sql_as_user(truncate)).is_err(), "TRUNCATE went through");
    drop(older);
    database.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'BEGIN; INS%'");
    let plan = planning.await.unwrap().unwrap();
    assert_eq!(load(&*source, &plan).await, now(&database));
    database.sql("SELECT pg_drop_replication_slot('waits')");
}

#[tokio::test]
async fn what_the_slot_cannot_deliver_stops_the_load() {
    let database = Server::shared().database();
    may_replicate(&database);
    database.sql_as_user("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY)");
    let plan = async |keys: &[(&str, &str)]| {
        let keys = [&[("slot.name", "refused")][..], keys].concat();
        source(&database, &keys).plan(&Progress::default()).await
    };
    let disabled = [("publication.autocreate.mode", "disabled")];
    let why = refusal(plan(&disabled).await);
    assert!(why.contains("CREATE PUBLICATION \"pub\" FOR TABLE public.a, public.b"), "{why}");
    let why = refusal(plan(&[("publication.autocreate.mode", "all_tables")]).await);
    assert!(why.contains("only a superuser"), "{why}");
    database.sql("CREATE PUBLICATION pub FOR TABLE public.a");
    let why = refusal(plan(&disabled).await);
    assert!(why.contains("does not hold public.b; remedy: ALTER PUBLICATION \"pub\" ADD TABLE public.b"), "{why}");
    database.sql("ALTER PUBLICATION \"pub\" ADD TABLE public.b");
    assert!(database.sql("SELECT slot_name FROM pg_replication_slots WHERE slot_name = 'refused'").is_empty());
    assert_eq!(plan(&disabled).await.unwrap().tables.len(), 2);
    // There it stays, for a second run; but not with tables that were loaded before it.
    assert_eq!(plan(&disabled).await.unwrap().tables.len(), 2);
    database.sql("DROP PUBLICATION pub");
    let why = refusal(plan(&[]).await);
    assert!(
        why.contains("is older than its publication") && why.contains("pg_drop_replication_slot('refused')"),
        "{why}"
    );
    database.sql("SELECT pg_drop_replication_slot('refused')");
    database.sql("CREATE PUBLICATION pub FOR TABLE public.a, public.b");
    let mut done = Progress::default();
    let loaded =
        Loaded { system: String::new(), position: "0/0".into(), visible: None, rows: None, commit: "1".into() };
    done.set_loaded(TableId::new("public", "a"), loaded);
    let late = source(&database, &[("slot.name", "refused")]);
    let why = refusal(late.plan(&done).await);
    assert!(why.contains("tables=public.a") && why.contains("--no-resume"), "{why}");
    assert!(database.sql("SELECT slot_name FROM pg_replication_slots WHERE slot_name = 'refused'").is_empty());
}
