//! Configurations that are wrong: each refused within seconds, with one clear message that names the
//! connector and the key, exit code 2, nothing touched, no secret shown.

use std::net::TcpListener;
use std::time::Duration;

use connect_tests::postgres::{PASSWORD, Server};
use connect_tests::runtime::{CONFIGURATION, FAILED, Job, NAMESPACE};
use serde_json::{Value, json};

/// A configuration changed in one place, and what the message must hold.
struct Bad {
    what: &'static str,
    change: fn(&mut Value),
    says: &'static [&'static str],
}

fn shop(config: &mut Value) -> &mut Value {
    &mut config["connectors"][0]["config"]
}

fn lake(config: &mut Value) -> &mut Value {
    &mut config["connectors"][1]["config"]
}

/// Adds a second copy of the source, with this name.
fn repeat(config: &mut Value, name: Option<&str>) {
    let mut copy = config["connectors"][0].clone();
    remove(&mut copy, "name");
    if let Some(name) = name {
        copy["name"] = json!(name);
    }
    config["connectors"].as_array_mut().unwrap().push(copy);
}

fn remove(config: &mut Value, key: &str) {
    assert!(config.as_object_mut().unwrap().remove(key).is_some(), "{key}");
}

const BAD: &[Bad] = &[
    Bad {
        what: "an unknown key",
        change: |c| shop(c)["database.hostnam"] = json!("x"),
        says: &["shop", "database.hostnam", "unknown", "database.hostname"],
    },
    Bad {
        what: "a missing key",
        change: |c| remove(shop(c), "database.hostname"),
        says: &["shop", "database.hostname", "missing"],
    },
    Bad {
        what: "a port that is no number",
        change: |c| shop(c)["database.port"] = json!("fivefour"),
        says: &["shop", "database.port", "fivefour"],
    },
    Bad {
        what: "a port out of range",
        change: |c| shop(c)["database.port"] = json!("70000"),
        says: &["shop", "database.port", "70000"],
    },
    Bad { what: "a null", change: |c| shop(c)["database.user"] = Value::Null, says: &["shop", "database.user"] },
    Bad {
        what: "a nested object",
        change: |c| shop(c)["database.user"] = json!({"a": 1}),
        says: &["shop", "database.user"],
    },
    Bad {
        what: "an unknown snapshot mode",
        change: |c| shop(c)["snapshot.mode"] = json!("sometimes"),
        says: &["shop", "snapshot.mode", "sometimes"],
    },
    Bad {
        what: "a mode that comes later",
        change: |c| shop(c)["snapshot.mode"] = json!("initial"),
        says: &["shop", "snapshot.mode", "initial"],
    },
    Bad {
        what: "a broken regular expression",
        change: |c| shop(c)["table.include.list"] = json!("public\\.(a"),
        says: &["shop", "table.include.list", "public\\.(a"],
    },
    Bad {
        what: "include and exclude at once",
        change: |c| {
            shop(c)["table.include.list"] = json!("a");
            shop(c)["table.exclude.list"] = json!("b");
        },
        says: &["shop", "table.include.list", "table.exclude.list"],
    },
    Bad {
        what: "too many workers",
        change: |c| shop(c)["parallel.workers"] = json!("1000000"),
        says: &["shop", "parallel.workers", "1000000"],
    },
    Bad {
        what: "a sink that does not exist",
        change: |c| shop(c)["sink"] = json!("lakes"),
        says: &["shop", "sink", "lakes"],
    },
    Bad { what: "a source as sink", change: |c| shop(c)["sink"] = json!("shop"), says: &["shop", "sink"] },
    Bad { what: "no sink", change: |c| remove(shop(c), "sink"), says: &["shop", "sink"] },
    Bad {
        what: "an unknown class",
        change: |c| shop(c)["connector.class"] = json!("postgre"),
        says: &["shop", "connector.class", "postgre"],
    },
    Bad { what: "no class", change: |c| remove(shop(c), "connector.class"), says: &["shop", "connector.class"] },
    Bad {
        what: "an unset variable",
        change: |c| shop(c)["database.password"] = json!("${NOT_SET_ANYWHERE}"),
        says: &["shop", "database.password", "NOT_SET_ANYWHERE"],
    },
    Bad {
        what: "a file that does not exist",
        change: |c| shop(c)["database.password"] = json!("${file:/nowhere/secrets:key}"),
        says: &["shop", "database.password", "/nowhere/secrets"],
    },
    Bad {
        what: "an open reference",
        change: |c| shop(c)["database.user"] = json!("${USER"),
        says: &["shop", "database.user"],
    },
    Bad {
        what: "an unknown catalog",
        change: |c| lake(c)["iceberg.catalog.type"] = json!("hive"),
        says: &["lake", "iceberg.catalog.type", "hive"],
    },
    Bad {
        what: "no namespace",
        change: |c| remove(lake(c), "iceberg.namespace"),
        says: &["lake", "iceberg.namespace"],
    },
    Bad {
        what: "an empty level of the namespace",
        change: |c| lake(c)["iceberg.namespace"] = json!("bronze..shop"),
        says: &["lake", "iceberg.namespace"],
    },
    Bad {
        what: "no warehouse",
        change: |c| remove(lake(c), "iceberg.catalog.warehouse"),
        says: &["lake", "iceberg.catalog.warehouse"],
    },
    Bad {
        what: "a database that is no SQLite",
        change: |c| lake(c)["iceberg.catalog.uri"] = json!("postgresql://localhost/x"),
        says: &["lake", "iceberg.catalog.uri"],
    },
    Bad {
        what: "a table name that cannot vary",
        change: |c| lake(c)["iceberg.table.name.format"] = json!("{tabel}"),
        says: &["lake", "iceberg.table.name.format"],
    },
    Bad {
        what: "an unknown compression",
        change: |c| lake(c)["write.parquet.compression-codec"] = json!("rar"),
        says: &["lake", "write.parquet.compression-codec", "rar"],
    },
    Bad {
        what: "an unknown worker setting",
        change: |c| c["worker"]["memory.mx"] = json!("1GiB"),
        says: &["memory.mx", "memory.max"],
    },
    Bad {
        what: "a size that is none",
        change: |c| c["worker"]["memory.max"] = json!("plenty"),
        says: &["memory.max", "plenty"],
    },
    Bad { what: "too little memory", change: |c| c["worker"]["memory.max"] = json!("1MiB"), says: &["memory.max"] },
    Bad {
        what: "an address that is none",
        change: |c| c["worker"]["rest.listeners"] = json!("here"),
        says: &["rest.listeners", "here"],
    },
    Bad { what: "a name twice", change: |c| repeat(c, Some("shop")), says: &["shop"] },
    Bad { what: "no name", change: |c| repeat(c, None), says: &["name"] },
    Bad { what: "a sink without a name", change: |c| remove(&mut c["connectors"][1], "name"), says: &["name"] },
    Bad { what: "a source without a name", change: |c| remove(&mut c["connectors"][0], "name"), says: &["name"] },
    Bad {
        what: "a state to begin in that there is not",
        change: |c| c["connectors"][0]["initial_state"] = json!("STOPPED"),
        says: &["shop", "initial_state", "STOPPED"],
    },
    Bad {
        what: "a way out of a directory",
        change: |c| shop(c)["database.password"] = json!("${directory:/run:../etc/passwd}"),
        says: &["shop", "database.password", "plain name"],
    },
    Bad { what: "no connectors", change: |c| c["connectors"] = json!([]), says: &["connectors"] },
    Bad { what: "an unknown section", change: |c| c["conectors"] = json!([]), says: &["conectors"] },
];

#[test]
fn each_is_one_clear_message() {
    // Nothing asks the source.
    let source = TcpListener::bind("127.0.0.1:0").unwrap();
    source.set_nonblocking(true).unwrap();
    let port = source.local_addr().unwrap().port().to_string();
    let job = Job::new(&Server::shared().database()).source("database.port", &port);
    let mut complaints = Vec::new();
    for bad in BAD {
        let mut config = job.config();
        // Resolved here, so that the secret is in the file and must not be repeated from it.
        shop(&mut config)["database.password"] = json!(PASSWORD);
        (bad.change)(&mut config);
        let outcome = job.run_text(&config.to_string());
        let missing: Vec<_> = bad.says.iter().filter(|text| !outcome.output.contains(**text)).collect();
        let problems = outcome.output.lines().filter(|line| line.contains("cdc.json")).count();
        if outcome.code != Some(CONFIGURATION)
            || !missing.is_empty()
            || problems != 1
            || outcome.elapsed > Duration::from_secs(60)
            || source.accept().is_ok()
        {
            complaints.push(format!(
                "{}: code {:?}, {problems} problems, does not say {missing:?}, after {:?}:\n{}",
                bad.what, outcome.code, outcome.elapsed, outcome.output
            ));
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    assert!(!job.lake().folder().exists(), "nothing was touched");
}

#[test]
fn files_that_are_no_configuration() {
    let job = Job::new(&Server::shared().database());
    for (text, says) in [
        ("", "cdc.json"),
        ("{ \"connectors\": [ { \"name\": \"shop\", } ] }", "line 1"),
        ("{\n \"worker\": {}\n \"connectors\": []\n}", "line 3"),
        ("[]", "cdc.json"),
        ("{\"connectors\": {}}", "connectors"),
        ("\u{0}\u{1}", "cdc.json"),
    ] {
        let outcome = job.run_text(text).expect(CONFIGURATION);
        assert!(
            outcome.output.contains(says) || outcome.output.contains(&says.replace("line ", "cdc.json:")),
            "{text:?}: {}",
            outcome.output
        );
    }
    let missing = job.program(&["--config", "nowhere.json"], &[]).wait().expect(CONFIGURATION);
    missing.says(&["nowhere.json"]);
    job.program(&[], &[]).wait().expect(CONFIGURATION).says(&["--config"]);
    job.program(&["--config", "cdc.json", "--wrong-flag"], &[]).wait().expect(CONFIGURATION).says(&["--wrong-flag"]);
    let unknown = job.command("load", &["--source", "shopp"]).expect(CONFIGURATION);
    unknown.says(&["shopp"]);
}

#[test]
fn all_problems_are_said_at_once() {
    let job = Job::new(&Server::shared().database());
    let mut config = job.config();
    shop(&mut config)["database.port"] = json!("x");
    shop(&mut config)["snapshot.mode"] = json!("y");
    lake(&mut config)["iceberg.catalog.type"] = json!("z");
    config["worker"]["memory.max"] = json!("w");
    let outcome = job.run_text(&config.to_string()).expect(CONFIGURATION);
    outcome.says(&["database.port", "snapshot.mode", "iceberg.catalog.type", "memory.max"]);
}

/// Several files, other spellings of one configuration, and every form of a reference.
#[test]
fn the_same_job_in_other_words() {
    let database = Server::shared().database();
    database.sql_as_user("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)");
    let mut job = Job::new(&database);
    let folder = job.folder().to_owned();
    std::fs::write(folder.join("secrets.properties"), format!("# ours\nshop.password = {PASSWORD}\n")).unwrap();
    job.env.insert("CATALOG_FOLDER".into(), "lake".into());
    job.source.insert("connector.class".into(), "io.debezium.connector.postgresql.PostgresConnector".into());
    job.source.insert("database.password".into(), "${file:secrets.properties:shop.password}".into());
    job.source.insert("database.hostname".into(), "${SHOP_HOST:127.0.0.1}".into());
    job.sink.insert("connector.class".into(), "org.apache.iceberg.connect.IcebergSinkConnector".into());
    job.sink.insert("iceberg.catalog.uri".into(), "sqlite://./${env:CATALOG_FOLDER}/catalog.db".into());
    job.sink.insert("iceberg.catalog.warehouse".into(), format!("file://{}/lake", folder.display()));
    let all = job.config();
    std::fs::write(folder.join("worker.json"), json!({ "worker": all["worker"] }).to_string()).unwrap();
    std::fs::write(folder.join("connectors.json"), json!({ "connectors": all["connectors"] }).to_string()).unwrap();
    job.program(&["--config", "worker.json", "--config", "connectors.json"], &[]).wait().expect(0);
    assert_eq!(job.lake().loaded_tables(), ["t"]);
    assert_eq!(NAMESPACE, "bronze.shop");
}

/// The same job as Kafka's users have it: properties for worker and source, the sink as it is POSTed, in YAML.
#[test]
fn the_same_job_in_kafkas_forms() {
    let database = Server::shared().database();
    database.sql_as_user("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)");
    let mut job = Job::new(&database);
    let folder = job.folder().to_owned();
    std::fs::create_dir(folder.join("secrets")).unwrap();
    std::fs::write(folder.join("secrets/shop.password"), PASSWORD).unwrap();
    job.source.insert("database.password".into(), "${directory:secrets:shop.password}".into());
    job.source.insert("name".into(), "shop".into());
    let escaped = |text: &str| text.replace('\\', "\\\\");
    let properties: String = job.source.iter().map(|(k, v)| format!("{k}={}\n", escaped(v))).collect();
    let worker: String = job.worker.iter().map(|(k, v)| format!("{k}={}\n", escaped(v))).collect();
    let sink: String = job.sink.iter().map(|(k, v)| format!("  {k}: '{}'\n", v.replace('\'', "''"))).collect();
    std::fs::write(folder.join("worker.properties"), worker).unwrap();
    std::fs::write(folder.join("shop.properties"), properties).unwrap();
    std::fs::write(folder.join("lake.yaml"), format!("name: lake\nconfig:\n{sink}")).unwrap();
    let files = ["--config", "worker.properties", "--config", "shop.properties", "--config", "lake.yaml"];
    job.program(&files, &[]).wait().expect(0);
    assert_eq!(job.lake().loaded_tables(), ["t"]);
}

/// Every sample configuration gets as far as connecting: to a port where nothing listens.
#[test]
fn every_example_is_accepted() {
    let examples = connect_tests::root().join("examples");
    let mut seen = 0;
    for entry in std::fs::read_dir(&examples).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "json" || e == "yaml") {
            let job = Job::new(&Server::shared().database());
            let mut env = vec![("SHOP_PORT", "1"), ("SHOP_HOST", "127.0.0.1"), ("SHOP_PASSWORD", "none")];
            env.extend([("REST_PORT", "0"), ("KAFKA", "127.0.0.1:1")]);
            // An unreachable database is tried again for a minute otherwise.
            let args = ["--config", path.to_str().unwrap(), "--max-retries", "0"];
            let mut running = job.program(&args, &env);
            let oracle = std::fs::read_to_string(&path).unwrap().contains("\"oracle\"");
            running.until_it_says(if oracle { "lost while connecting" } else { "cannot connect to PostgreSQL" });
            // What follows a log goes on without the source.
            if running.is_running() {
                running.terminate();
            }
            let outcome = running.wait();
            assert_eq!(outcome.code, Some(FAILED), "{}: {}", path.display(), outcome.output);
            seen += 1;
        }
    }
    assert!(seen >= 3, "found the examples");
}
