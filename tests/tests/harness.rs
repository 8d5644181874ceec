//! The harness on its own, without the program: servers start and end, readers read.

use std::path::Path;

use connect_tests::compare::{Rows, assert_rows, difference, source_rows};
use connect_tests::lake::{ENGINES, Engine, Lake};
use connect_tests::poll::Poller;
use connect_tests::postgres::{PASSWORD, Server, USER};

#[test]
fn a_server_takes_passwords_only_and_ends_without_a_trace() {
    let server: &'static Server = Server::shared();
    let database = server.database();
    assert_eq!(database.sql("SHOW wal_level"), "logical");
    assert_eq!(database.sql_as_user("SELECT current_user"), USER);
    let login = |password: &str| {
        let url = format!("host=127.0.0.1 port={} user={USER} dbname={}", server.port, database.name);
        let mut psql = std::process::Command::new("psql");
        psql.env("PGPASSWORD", password).args(["-X", "-w", "-c", "SELECT 1", &url]).output().unwrap().status.success()
    };
    assert!(login(PASSWORD));
    assert!(!login("wrong"));

    let own = Server::start();
    let pid = own.pid();
    assert!(Path::new(&format!("/proc/{pid}")).exists());
    drop(own);
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn canonical_texts_of_the_source() {
    let database = Server::shared().database();
    database.sql(
        r"CREATE DOMAIN d AS numeric(6,2); CREATE DOMAIN dd AS d;
          CREATE TABLE t (b bool, f4 real, f8 float8, c char(4), n numeric(8,3), dom dd, day date, at timestamptz,
                          wall timestamp, tod time, raw bytea, txt text);
          INSERT INTO t VALUES (true, '-0', 'NaN', 'ab', 1.5, 2.25, '0001-01-01 BC', '1969-12-31 23:59:59.999999Z',
                                '294000-01-01 00:00:00.000001', '23:59:59.999999', '\x00ff', E'a\nb|\\x');",
    );
    let expected = [
        "true",
        "80000000",
        "7ff8000000000000",
        "ab  ",
        "1.500",
        "2.25",
        "-719528",
        "-1",
        "9215576668800000001",
        "86399999999",
        "00ff",
        "a\nb|\\x",
    ];
    let got = source_rows(&database, "public.t");
    assert_eq!(got.rows, [expected.map(|t| Some(t.to_owned()))]);
}

#[test]
fn both_readers_read_what_pyiceberg_wrote() {
    let folder = tempfile::tempdir().unwrap();
    let lake = Lake::new(folder.path(), "bronze.shop");
    assert_eq!(lake.tables(), Vec::<String>::new());
    assert!(lake.describe("sample").is_null());
    for engine in ENGINES {
        assert_eq!(lake.count(engine, "sample", "id"), None);
    }
    let poller = Poller::start(&lake, "sample", "id");
    lake.write_sample("sample");
    let text = |v: &str| Some(v.to_owned());
    let expected = Rows {
        columns: ["id", "price", "at", "day", "half", "raw"].map(str::to_owned).to_vec(),
        rows: vec![
            vec![text("1"), text("12.50"), text("0"), text("-719162"), text("3f000000"), text("00ff")],
            vec![text("2"), text("-0.01"), text("-1"), text("2932896"), text("7fc00000"), text("")],
            vec![text("3"), None, None, None, text("80000000"), None],
        ],
    };
    assert_rows(&expected, &lake, "sample");
    let mut other = expected.clone();
    other.rows[1][1] = text("-0.010");
    assert!(difference(&other, &lake.rows(Engine::DuckDb, "sample").unwrap()).is_some());
    // This writer creates the table first and fills it later: the poller must be able to see such things.
    let seen = poller.finish();
    assert!(seen.contains(&None) && seen.contains(&Some(3)), "{seen:?}");
    assert_eq!(lake.tables(), ["sample"]);
    assert_eq!(lake.total("sample", "id"), Some((6, 3)));
    assert_eq!(lake.describe("sample")["fields"][1]["type"], "decimal(38, 2)");
}
