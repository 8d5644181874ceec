//! Ways to the server: descriptors, aliases, SIDs, containers, TLS.

use std::fs;

use connect_oracle_double::{Double, Options, Personality, Tls};
use connect_tests::certificates::Authority;
use connect_tests::runtime::{FAILED, Job, OK};

use super::{double, job, model, small};

/// A job that connects by a URL.
fn by_url(url: &str) -> Job {
    let mut job = Job::of_oracle(1).source("database.url", url);
    for key in ["database.hostname", "database.port", "database.dbname"] {
        job.source.remove(key);
    }
    job
}

#[test]
fn each_way_to_name_a_database_leads_there() {
    let double = Double::start(model([small()]).service("ORCL"), Options::new(Personality::V19c)).unwrap();
    let port = double.port();
    let address = format!("(ADDRESS=(PROTOCOL=TCP)(HOST=127.0.0.1)(PORT={port}))");
    let descriptor = format!("(DESCRIPTION={address}(CONNECT_DATA=(SERVICE_NAME=orclpdb1)))");
    let mut sid = Job::of_oracle(port).source("database.sid", "ORCL");
    sid.source.remove("database.dbname");
    let alias = by_url("SHOPDB");
    fs::write(alias.folder().join("tnsnames.ora"), format!("SHOPDB = {descriptor}\n")).unwrap();
    let alias = alias.source("database.tns.admin", ".");
    let pdb = Job::of_oracle(port).source("database.pdb.name", "orclpdb1");
    let ways = [
        by_url(&format!("127.0.0.1:{port}/orclpdb1")),
        by_url(&format!("jdbc:oracle:thin:@//127.0.0.1:{port}/orclpdb1")),
        by_url(&descriptor),
        alias,
        sid,
        pdb,
    ];
    for way in ways {
        way.run(&[]).expect(OK);
        assert_eq!(way.lake().loaded_tables(), ["SMALL"]);
    }
    let unknown = by_url("NOSUCH").source("database.tns.admin", ".");
    fs::write(unknown.folder().join("tnsnames.ora"), format!("SHOPDB = {descriptor}\n")).unwrap();
    unknown.run(&["--max-retries", "0"]).expect(FAILED).says(&["ORA-12154", "tnsnames.ora"]);
}

#[test]
fn a_listener_may_send_elsewhere() {
    let server = double(Personality::V19c, [small()]);
    let listener = Options::new(Personality::V19c).redirect_to(server.port());
    let listener = Double::over(server.database(), listener).unwrap();
    let job = job(&listener);
    job.run(&[]).expect(OK);
    assert_eq!(job.lake().loaded_tables(), ["SMALL"]);
}

#[test]
fn a_server_is_who_it_says_or_is_not_spoken_to() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "authority");
    let stranger = Authority::new(folder.path(), "stranger");
    let file = |name: &str, kind: &str| folder.path().join(format!("{name}.{kind}"));
    authority.sign("server", "server", "subjectAltName = DNS:localhost");
    let tls = Tls { certificate: file("server", "pem"), key: file("server", "key"), client_authority: None };
    let double = Double::start(model([small()]), Options::new(Personality::V23ai).tls(tls)).unwrap();
    let secured = |host: &str, trusted: &Authority, name: &str| {
        let wallet = folder.path().join(name);
        fs::create_dir(&wallet).unwrap();
        fs::copy(trusted.pem(), wallet.join("ewallet.pem")).unwrap();
        let job = job(&double).source("database.protocol", "tcps").source("database.hostname", host);
        job.source("database.wallet.location", wallet.to_str().unwrap())
    };
    let known = secured("localhost", &authority, "known");
    known.run(&[]).expect(OK);
    assert_eq!(known.lake().loaded_tables(), ["SMALL"]);
    let says = ["invalid peer certificate", "database.wallet.location"];
    secured("localhost", &stranger, "wary").run(&[]).expect(FAILED).says(&says);
    secured("127.0.0.1", &authority, "elsewhere").run(&[]).expect(FAILED).says(&says);
    let without = job(&double).source("database.protocol", "tcps").source("database.hostname", "localhost");
    without.run(&[]).expect(FAILED).says(&says);
    // In the clear it does not answer.
    job(&double).source("connect.timeout.ms", "700").run(&["--max-retries", "0"]).expect(FAILED);
}
