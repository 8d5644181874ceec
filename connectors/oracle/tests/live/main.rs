//! The source against a server: the conformance suite, and what a real one alone can show.
//!
//! Against `ORACLE_TEST_DSN` (`user/password@host:port/service`) where that is set: the user needs CREATE SESSION, CREATE
//! TABLE and space, and what docs/oracle.md grants. It makes tables named CONNECT_TEST_… and drops them. Without it the
//! double is asked, and the rest is said not to have been run.

#![expect(clippy::unwrap_used, clippy::panic, reason = "test code: a panic is a failed assertion")]

use std::collections::BTreeMap;

use connect_oracle_double::{Double, Model, Options, Personality, Table, Type, User, Value};
use connect_tests::not_run;
use connector_api::testing::conformance;
use connector_api::{Plan, Position, Progress, Role, Source, TaskContext};

fn source(keys: &[(&str, &str)]) -> Box<dyn Source> {
    let usual = [("snapshot.mode", "initial_only"), ("parallel.chunk.size", "64KiB"), ("batch.size", "100")];
    let raw: BTreeMap<_, _> = usual.iter().chain(keys).map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    match (connector_oracle::PLUGIN.build)(&raw) {
        Ok(Role::Source(source)) => source,
        Ok(_) => panic!("not a source"),
        Err(problems) => panic!("{problems:?}"),
    }
}

fn orders() -> Table {
    let table = Table::new("APP", "ORDERS").column("ID", Type::number(10, 0)).column("V", Type::text(20));
    let rows = (0..2_500).map(|id| vec![Value::int(id), Value::text(format!("order {id}"))]);
    rows.fold(table.primary_key(&["ID"]).layout(20, 8).analysed(2_500, 30), Table::row)
}

fn double(personality: Personality) -> Double {
    let other = Table::new("APP", "OTHER").column("ID", Type::number(9, 0)).row(vec![Value::int(1)]);
    let model = Model::new().user(User::new("APP", "tiger").reader()).table(orders()).table(other);
    Double::start(model, Options::new(personality)).unwrap()
}

fn of_double(double: &Double) -> Box<dyn Source> {
    let url = format!("127.0.0.1:{}/orclpdb1", double.port());
    source(&[("database.url", &url), ("database.user", "app"), ("database.password", "tiger")])
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract() {
    for personality in [Personality::V19c, Personality::V23ai] {
        let double = double(personality);
        let violations = conformance::source(&Fixture(double)).await;
        assert!(violations.is_empty(), "{violations:?}");
    }
}

struct Fixture(Double);

impl conformance::SourceFixture for Fixture {
    fn source(&self) -> Box<dyn Source> {
        of_double(&self.0)
    }

    fn lose_cut(&self) -> bool {
        let database = self.0.database();
        database.tick(1);
        database.forget_undo_before(database.scn());
        true
    }
}

/// Undo that is gone is a cut that is lost, once a split has tried.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_cut_is_said() {
    let double = double(Personality::V19c);
    let source = of_double(&double);
    let plan = source.plan(&Progress::default()).await.unwrap();
    let database = double.database();
    database.insert("APP", "OTHER", vec![Value::int(2)]);
    database.forget_undo_before(database.scn());
    let split = &plan.tables[0].splits[0];
    let mut errors = vec![];
    for _ in 0..3 {
        let error = match source.open(split, Position::Start, context()).await {
            Err(error) => error,
            Ok(mut task) => loop {
                match task.next().await {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("the split was read"),
                    Err(error) => break error,
                }
            },
        };
        errors.push(error.is_cut_lost());
    }
    assert_eq!(errors, [false, false, true], "tried again at the same SCN, then given up");
    let next = source.plan(&Progress::default()).await.unwrap();
    assert!(next.cut.position != plan.cut.position, "the next cut is another");
}

/// A split that is read again goes on only behind what is known to be the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_split_goes_on_behind_what_is_known() {
    let double = double(Personality::V19c);
    let source = of_double(&double);
    let plan = source.plan(&Progress::default()).await.unwrap();
    let split = plan.tables.iter().flat_map(|t| &t.splits).max_by_key(|s| s.bytes).unwrap();
    let mut unknown = source.open(split, Position::At(10), context()).await.unwrap();
    assert!(unknown.next().await.unwrap_err().is_cut_lost());
    let mut task = source.open(split, Position::Start, context()).await.unwrap();
    let first = task.next().await.unwrap().unwrap();
    task.close().await.unwrap();
    let mut task = source.open(split, Position::At(10), context()).await.unwrap();
    let rest = task.next().await.unwrap().unwrap();
    assert_eq!(*rest.rows(), first.rows().slice(10, first.rows().num_rows() - 10));
    task.close().await.unwrap();
}

fn context() -> TaskContext {
    TaskContext::new("test", 0, 64 << 20)
}

/// Number of rows of a table of the plan.
async fn count(source: &dyn Source, plan: &Plan, table: &str) -> usize {
    let planned = plan.tables.iter().find(|t| t.schema.table().name() == table);
    let mut rows = 0;
    for split in &planned.unwrap_or_else(|| panic!("{table} is not planned: {:?}", plan.refused)).splits {
        let mut task = source.open(split, Position::Start, context()).await.unwrap();
        while let Some(batch) = task.next().await.unwrap() {
            rows += batch.rows().num_rows();
        }
        task.close().await.unwrap();
    }
    rows
}

/// What a real server alone can show: its privileges, its AS OF SCN, its ROWIDs.
#[tokio::test(flavor = "multi_thread")]
async fn on_a_database() {
    let Ok(dsn) = std::env::var("ORACLE_TEST_DSN") else {
        return not_run("a load from a real Oracle database: ORACLE_TEST_DSN is not set");
    };
    let (user, rest) = dsn.split_once('/').expect("user/password@host:port/service");
    let (password, url) = rest.rsplit_once('@').expect("user/password@host:port/service");
    let config = oracledb::Config::default().set_credentials(user, password).set_connect_string(url).unwrap();
    let connection = oracledb::connect(config).unwrap();
    let run = |sql: &str| connection.execute(sql, &[]).map(drop);
    let _ = run("DROP TABLE connect_test_parts PURGE");
    run("CREATE TABLE connect_test_parts (id NUMBER(10) PRIMARY KEY, v VARCHAR2(200), n NUMBER, d DATE, c CLOB)
         PARTITION BY HASH (id) PARTITIONS 4")
    .unwrap();
    run("INSERT INTO connect_test_parts SELECT level, RPAD('x', 200, 'x'), level / 7, SYSDATE, 'clob' FROM dual
         CONNECT BY level <= 100000")
    .unwrap();
    connection.commit().unwrap();
    let keys = [
        ("database.url", url),
        ("database.user", user),
        ("database.password", password),
        ("table.include.list", ".*\\.connect_test_parts"),
    ];
    for finding in source(&keys).check().await.unwrap() {
        not_run(&format!("nothing, but the database says: {finding}"));
    }
    for method in ["auto", "sample", "whole"] {
        let source = source(&[&keys[..], &[("chunk.method", method)]].concat());
        let plan = source.plan(&Progress::default()).await.unwrap();
        // A change after the cut is not seen.
        run("DELETE FROM connect_test_parts WHERE id = (SELECT MIN(id) FROM connect_test_parts)").unwrap();
        connection.commit().unwrap();
        let rows = count(&*source, &plan, "CONNECT_TEST_PARTS").await;
        let deleted = ["auto", "sample", "whole"].iter().position(|m| *m == method).unwrap();
        assert_eq!(rows, 100_000 - deleted, "{method}: {} parts", plan.tables[0].splits.len());
    }
    let violations = conformance::source(&|| source(&keys)).await;
    assert!(violations.is_empty(), "{violations:?}");
    run("DROP TABLE connect_test_parts PURGE").unwrap();
}
