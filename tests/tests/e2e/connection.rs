//! Servers that cannot be reached, do not answer or refuse: an end, soon, with the reason.

use std::net::TcpListener;
use std::time::Duration;

use connect_tests::postgres::{Server, free_port};
use connect_tests::runtime::{FAILED, Job};

fn job() -> Job {
    Job::new(&Server::shared().database()).source("connect.timeout.ms", "1000")
}

/// Fails while running, soon, and says each of these.
fn check(job: &Job, says: &[&str]) {
    let outcome = job.run(&[]).expect(FAILED).says(says);
    assert!(outcome.elapsed < Duration::from_secs(60), "took {:?}", outcome.elapsed);
    assert_eq!(job.lake().loaded_tables(), Vec::<String>::new());
}

#[test]
fn a_wrong_password() {
    let mut job = job();
    job.env.insert("SHOP_PASSWORD".into(), "not-the-password-5317".into());
    check(&job, &["shop", "password"]);
    let outcome = job.run(&[]);
    assert!(!outcome.output.contains("not-the-password-5317"), "{}", outcome.output);
}

#[test]
fn an_unknown_database_and_an_unknown_user() {
    check(&job().source("database.dbname", "nowhere"), &["shop", "nowhere"]);
    check(&job().source("database.user", "nobody"), &["shop", "nobody"]);
}

#[test]
fn a_port_where_nothing_listens() {
    let port = free_port().to_string();
    check(&job().source("database.port", &port), &["shop", &port]);
}

#[test]
fn a_name_that_does_not_resolve() {
    check(&job().source("database.hostname", "nowhere.invalid"), &["shop", "nowhere.invalid"]);
}

#[test]
fn a_server_that_accepts_and_never_answers() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    check(&job().source("database.port", &port), &["shop", &port]);
}

#[test]
fn a_server_that_speaks_something_else() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    std::thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            let _ = std::io::Write::write_all(&mut &socket, b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        }
    });
    check(&job().source("database.port", &port), &["shop"]);
}

#[test]
fn a_lock_that_someone_holds() {
    let database = Server::shared().database();
    database.sql_as_user("CREATE TABLE held (id int PRIMARY KEY)");
    let holder = database.background("BEGIN; LOCK TABLE held IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(600)");
    while database
        .sql("SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND relation = 'held'::regclass")
        == "0"
    {
        std::thread::sleep(Duration::from_millis(20));
    }
    let job = Job::new(&database).source("lock.timeout.ms", "500");
    check(&job, &["shop", "lock", "table=public.held", "SELECT pg_terminate_backend("]);
    drop(holder);
}

#[test]
fn a_lake_that_cannot_be_written() {
    let job = job();
    std::fs::write(job.folder().join("lake"), "a file, not a folder").unwrap();
    Server::shared();
    let outcome = job.run(&[]).expect(FAILED).says(&["lake"]);
    assert!(outcome.elapsed < Duration::from_secs(60), "took {:?}", outcome.elapsed);
}
