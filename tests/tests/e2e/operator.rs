//! What an operator sees and does: stop, status, metrics, ledgers, logs, validate.

use std::time::{Duration, Instant};

use connect_tests::compare::assert_same;
use connect_tests::http;
use connect_tests::lake::Engine;
use connect_tests::postgres::{Database, PASSWORD, Server, free_port};
use connect_tests::proxy::Proxy;
use connect_tests::runtime::{CONFIGURATION, FAILED, Job, OK, Running, SOME_TABLES_FAILED};
use serde_json::Value;

fn shop() -> Database {
    let database = Server::shared().database();
    database.sql_as_user(
        "CREATE TABLE wide (id bigint PRIMARY KEY, v text);
         INSERT INTO wide SELECT i, repeat(md5(i::text), 20) FROM generate_series(1, 30000) i;
         CREATE TABLE tiny (id int PRIMARY KEY); INSERT INTO tiny VALUES (1), (2);
         CREATE TABLE empty (id int PRIMARY KEY)",
    );
    database
}

/// Stops it, which is done long before the time that it is allowed is over.
fn stop(running: Running) {
    let asked = Instant::now();
    running.terminate();
    running.wait().expect(OK);
    assert!(asked.elapsed() < Duration::from_secs(60), "{:?}", asked.elapsed());
}

/// A job whose load stands still in the middle of `wide`, and the proxy that holds it.
fn held(database: &Database) -> (Proxy, Job) {
    let proxy = Proxy::holding_after(database.port(), 8 << 20);
    let job = Job::new(database).source("database.port", &proxy.port.to_string());
    (proxy, job)
}

#[test]
fn a_stop_in_the_middle_of_a_load_is_clean() {
    let database = shop();
    let (proxy, job) = held(&database);
    let job = job.worker("shutdown.timeout.ms", "300000");
    let mut running = job.start(&[]);
    running.until("held", || proxy.holds().then_some(()));
    stop(running);
    let lake = job.lake();
    assert!(lake.describe("wide").is_null(), "nothing of an unfinished table is visible");
    // The database is left alone too.
    let busy = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND usename = 'app'", database.name);
    drop(proxy);
    let gone = (0..200).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        database.sql(&busy) == "0"
    });
    assert!(gone, "connections are left behind");
}

#[test]
fn a_stop_before_the_cut_is_prompt() {
    let database = shop();
    let holder = database.background("BEGIN; LOCK TABLE tiny IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(600)");
    let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'tiny'::regclass";
    let job = Job::new(&database).source("lock.timeout.ms", "600000").worker("shutdown.timeout.ms", "300000");
    let mut running = job.start(&[]);
    running.until("a wait for the lock", || (database.sql(waiting) != "0").then_some(()));
    stop(running);
    drop(holder);
}

#[test]
fn status_and_metrics_of_a_load_that_runs() {
    let database = shop();
    let (proxy, job) = held(&database);
    let port = free_port();
    let job = job.worker("rest.listeners", &format!("http://127.0.0.1:{port}"));
    let mut running = job.start(&[]);
    running.until("held", || proxy.holds().then_some(()));
    let mut bodies = String::new();
    let mut get = |path: &str| {
        let (status, body) = http::get(port, path).unwrap_or_else(|| panic!("no answer to {path}"));
        bodies.push_str(&body);
        (status, body)
    };
    let json = |body: &str| serde_json::from_str::<Value>(body).unwrap_or_else(|e| panic!("{e}: {body}"));

    let (code, root) = get("/");
    assert_eq!(code, 200);
    let version = json(&root)["version"].as_str().unwrap().to_owned();
    let numbers: Vec<_> = version.split('.').take(2).map(str::parse::<u32>).collect();
    assert!(numbers.len() == 2 && numbers.iter().all(Result::is_ok), "clients parse the version: {version}");
    let (code, health) = get("/health");
    assert_eq!((code, json(&health)["status"].as_str()), (200, Some("healthy")));
    let mut names: Vec<String> = serde_json::from_str(&get("/connectors").1).unwrap();
    names.sort();
    assert_eq!(names, ["lake", "shop"]);
    for (name, kind) in [("shop", "source"), ("lake", "sink")] {
        let (code, body) = get(&format!("/connectors/{name}/status"));
        let status = json(&body);
        assert_eq!((code, status["name"].as_str(), status["type"].as_str()), (200, Some(name), Some(kind)));
        assert_eq!(status["connector"]["state"], "RUNNING", "{body}");
        assert_eq!(status["tasks"][0]["id"], 0, "{body}");
        assert_eq!(status["tasks"][0]["state"], "RUNNING", "{body}");
        assert!(status["connector"]["worker_id"].is_string(), "{body}");
    }
    let (code, body) = get("/connectors/nope/status");
    assert_eq!((code, json(&body)["error_code"].as_i64()), (404, Some(404)));
    let (code, metrics) = get("/metrics");
    assert_eq!(code, 200);
    for name in [
        "kafka_connect_source_task_source_record_poll_total{",
        "kafka_connect_sink_task_sink_record_read_total{",
        "kafka_connect_worker_connector_count 2",
        "connector=\"shop\"",
        "connector=\"lake\"",
    ] {
        assert!(metrics.contains(name), "{name} is not in\n{metrics}");
    }
    assert_eq!(get("/nowhere").0, 404);
    assert!(!bodies.contains(PASSWORD) && !bodies.contains("Zwiebel"), "{bodies}");

    proxy.release();
    running.wait().expect(OK);
    assert_same(&database, "wide", &job.lake(), "wide");
}

#[test]
fn the_ledgers_tell_what_happened() {
    let database = shop();
    let job = Job::new(&database);
    job.run(&[]).expect(OK);
    let lake = job.lake();
    let snapshot = lake.describe("wide")["snapshot-id"].to_string();
    let status = lake.status("public.wide").unwrap();
    let is = |key: &str, value: &str| assert_eq!(status.get(key).map(String::as_str), Some(value), "{key}: {status:?}");
    is("source", "shop");
    is("phase", "load");
    is("load_status", "completed");
    is("rows", "30000");
    is("position_type", "lsn");
    is("snapshot_id", &snapshot);
    assert_eq!(status["chunks_done"], status["chunks_total"]);
    assert!(status["started_at"].parse::<i64>().unwrap() <= status["updated_at"].parse::<i64>().unwrap());
    assert!(!status.contains_key("error"), "{status:?}");
    let ahead = format!("SELECT '{}'::pg_lsn <= pg_current_wal_insert_lsn()", status["load_position"]);
    assert_eq!(database.sql(&ahead), "t");

    for engine in [Engine::PyIceberg, Engine::DuckDb] {
        let changes: Vec<_> = lake.rows(engine, "_schema_changes").unwrap().maps().collect();
        let mut baselines: Vec<_> = changes
            .iter()
            .filter(|c| c["change_type"] == "baseline" && c["decision"] == "applied")
            .map(|c| c["table_name"].clone())
            .collect();
        baselines.sort();
        assert_eq!(baselines, ["public.empty", "public.tiny", "public.wide"], "{engine:?}");
        for change in changes {
            let schema: Value = serde_json::from_str(&change["schema_after"]).unwrap();
            assert_eq!(schema["fields"][0]["name"], "id");
        }
    }
    // Ledgers are tables like any other: what DuckDB reads is what PyIceberg reads.
    let by_duckdb = lake.rows(Engine::DuckDb, "_cdc_status").unwrap();
    assert_eq!(by_duckdb.rows.len(), lake.rows(Engine::PyIceberg, "_cdc_status").unwrap().rows.len());
}

#[test]
fn the_summary_and_the_log_name_every_table() {
    let database = shop();
    let job = Job::new(&database).worker("log.dir", "logs");
    let outcome = job.run(&[]).expect(OK).says(&["public.wide", "public.tiny", "public.empty", "30,000"]);
    assert!(!outcome.output.contains("ERROR"), "{}", outcome.output);
    let logs: String = std::fs::read_dir(job.folder().join("logs"))
        .unwrap()
        .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    assert!(logs.lines().any(|line| line.contains("shop") && line.contains("public.wide")), "{logs}");
    assert!(!logs.contains(PASSWORD), "{logs}");
}

#[test]
fn a_log_in_json_has_one_object_a_line() {
    let database = shop();
    let job = Job::new(&database).worker("log.dir", "logs").worker("log.format", "json");
    let job = job.worker("log.rotation", "never").worker("progress.interval.ms", "20");
    let (proxy, job) = (Proxy::holding_after(database.port(), 8 << 20), job);
    let job = job.source("database.port", &proxy.port.to_string());
    let mut running = job.start(&[]);
    running.until("a progress line of a load at work", || {
        running_output(&job).lines().any(|line| line.contains("public.wide") && line.contains("MB/s")).then_some(())
    });
    proxy.release();
    let outcome = running.wait().expect(OK);
    let file = std::fs::read_to_string(job.folder().join("logs/connect-runtime.log")).unwrap();
    for log in [file.as_str(), outcome.output.split("table ").next().unwrap()] {
        let objects: Vec<Value> =
            log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect();
        assert!(objects.len() > 3, "{log}");
        for object in &objects {
            assert!(["timestamp", "level", "target", "message"].iter().all(|key| object[*key].is_string()), "{object}");
        }
        assert!(objects.iter().any(|o| o["connector"] == "shop" && o["task"] == 0), "{log}");
        assert!(objects.iter().any(|o| o["table"] == "public.wide"), "{log}");
    }
    assert!(!file.contains(PASSWORD));
}

fn running_output(job: &Job) -> String {
    std::fs::read_to_string(job.folder().join("output")).unwrap()
}

#[test]
fn validate_lists_and_finds_what_is_missing() {
    let database = shop();
    let job = Job::new(&database);
    job.run(&[]).expect(OK);
    let validate = |args: &[&str]| {
        let mut all = vec!["--source", "shop"];
        all.extend(args);
        job.command("validate", &all)
    };
    let outcome = validate(&[]).expect(OK).says(&["wide", "30000", "tiny", "empty"]);
    let line = |table: &str| outcome.output.lines().find(|l| l.contains(table)).unwrap().to_owned();
    assert!(line("tiny").contains('2') && line("empty").contains('0'), "{}", outcome.output);
    let hidden = validate(&["--hide-empty"]).expect(OK);
    assert!(!hidden.output.contains("empty"), "{}", hidden.output);

    database.sql_as_user("CREATE TABLE latecomer (id int PRIMARY KEY)");
    validate(&[]).expect(SOME_TABLES_FAILED).says(&["latecomer"]);
    let unchecked = validate(&["--no-check-missing"]).expect(OK);
    assert!(!unchecked.output.contains("latecomer"), "{}", unchecked.output);
    // The source is not asked: it may be gone, and what it has dropped meanwhile is still listed.
    database.sql_as_user("DROP TABLE tiny");
    let gone = job.source("database.port", &free_port().to_string());
    let unasked = gone.command("validate", &["--source", "shop", "--no-check-missing"]).expect(OK);
    unasked.says(&["public.wide", "30000", "public.tiny", "public.empty", "3 tables, 30002 rows"]);
    gone.command("validate", &["--source", "shop"]).expect(FAILED);
    let job = gone;
    assert_eq!(job.lake().loaded_tables(), ["empty", "tiny", "wide"], "validate writes nothing");
}

/// The README's configuration and commands, as they stand there.
#[test]
fn the_readme_is_true() {
    let readme = include_str!("../../../README.md");
    let block = |after: &str, language: &str| {
        let rest = &readme[readme.find(after).unwrap()..];
        let fence = format!("```{language}\n");
        rest[rest.find(&fence).unwrap() + fence.len()..].split("```").next().unwrap().to_owned()
    };
    let database = Server::shared().database();
    database.sql_as_user("CREATE TABLE \"S_1\" (id int PRIMARY KEY); INSERT INTO \"S_1\" VALUES (1)");
    let job = Job::new(&database);
    let mut config = block("## Use it", "json");
    for (theirs, ours) in [
        ("\"5432\"".to_owned(), format!("\"{}\"", database.port())),
        ("\"database.dbname\": \"shop\"".to_owned(), format!("\"database.dbname\": \"{}\"", database.name)),
        (":8083".to_owned(), ":0".to_owned()),
    ] {
        assert!(config.contains(&theirs), "{theirs}");
        config = config.replace(&theirs, &ours);
    }
    std::fs::write(job.folder().join("cdc.json"), config).unwrap();
    let script = block("Save that as", "sh");
    assert!(script.lines().count() >= 6);
    for command in script.lines().filter(|line| !line.starts_with("export ")) {
        let words: Vec<_> = command.split_whitespace().map(|word| word.trim_matches('\'')).collect();
        assert_eq!(words[0], "connect-runtime", "{command}");
        job.program(&words[1..], &[]).wait().expect(OK);
    }
    assert_eq!(job.lake().loaded_tables(), ["S_1"]);
    // Each subcommand stands in its table.
    let help = job.program(&["--help"], &[]).wait().expect(OK).output;
    let commands = help.split("Commands:").nth(1).unwrap().split("\n\n").next().unwrap();
    let names: Vec<_> = commands.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.len() >= 5, "{help}");
    for name in names.into_iter().filter(|name| *name != "help") {
        assert!(readme.contains(&format!("\n| `{name}")), "{name} is not in the README");
    }
}

#[test]
fn help_and_version() {
    let job = Job::new(&Server::shared().database());
    job.program(&["--help"], &[]).wait().expect(OK).says(&["--config", "Examples", "load", "validate", "Exit codes"]);
    let plugins = job.program(&["plugins"], &[]).wait().expect(OK);
    plugins.says(&["postgres", "iceberg", "source", "sink", "io.debezium.connector.postgresql.PostgresConnector"]);
    job.program(&["plugins", "iceberg"], &[]).wait().expect(OK).says(&["iceberg.namespace", "required", "default"]);
    job.program(&["plugins", "icebrg"], &[]).wait().expect(CONFIGURATION).says(&["did you mean \"iceberg\""]);
    job.program(&["--version"], &[]).wait().expect(OK).says(&["connect-runtime 0."]);
}
