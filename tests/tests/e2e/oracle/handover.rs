//! The hand-over to Debezium's connector for Oracle, in a real worker of Kafka Connect with the real plugin. What the
//! plugin's own driver reaches is the double: the connector is made, told where to begin and started, it takes the
//! offsets, makes its schema history's topic and locks the tables; its task fails where the driver asks for their
//! structure in a way that the double does not answer. Where a test needs one that streams it sets the offsets that one would.

use std::fs;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use connect_oracle_double::{Database, Double, Model, Options, Personality, User, Value as Cell};
use connect_tests::compare::{Rows, until_rows};
use connect_tests::connect::Worker;
use connect_tests::debezium::Format;
use connect_tests::faults::{Fault, Faults};
use connect_tests::http;
use connect_tests::kafka::Kafka;
use connect_tests::postgres::{PASSWORD, USER, free_port};
use connect_tests::recorded::Recorded;
use connect_tests::runtime::{CONFIGURATION, FAILED, Job, OK, Outcome};
use connect_tests::tls::TlsFront;
use serde_json::{Value, json};

use super::{assert_loaded, job, large, none, reader, scn, small};

/// The words of the connector's failure, where its plugin meets what the double does not have.
const NO_FURTHER: &str = "Debezium's connector has failed";

/// The shop, whose redo says enough, reached by the root's service too.
fn model() -> Model {
    let model = Model::new().service("ORCL").user(reader()).user(User::new("SHOP", "another"));
    [large(), small(), none()].into_iter().fold(model, |model, table| model.table(table.supplemental_logging()))
}

/// A server for as long as this process runs: what is made at the worker is named by its port, and the worker remembers the
/// offsets of a name.
fn double(model: Model) -> &'static Double {
    Box::leak(Box::new(Double::start(model, Options::new(Personality::V19c)).unwrap()))
}

/// How long the shared worker may take, which rebalances for others: less than a run of ours may.
const PATIENCE: Duration = Duration::from_secs(150);

/// A job that hands over by files; its connector has a name of its own.
fn by_files(double: &Double) -> Job {
    let job = job(double);
    let secret = job.folder().join("secret.properties");
    fs::write(&secret, format!("password={PASSWORD}\n")).unwrap();
    let reference = format!("$${{file:{}:password}}", secret.display());
    let handed = job.folder().join("handed").display().to_string();
    job.source("topic.prefix", &prefix(double))
        .source("handover.dir", &handed)
        .source("handover.connector.name", &name(double))
        .source("handover.bootstrap.servers", "127.0.0.1:9092")
        .source("handover.config.database.password", &reference)
}

/// The same at the shared worker, or a proxy before it.
fn at(double: &Double, port: u16) -> Job {
    by_files(double)
        .source("handover.connect.url", &format!("http://127.0.0.1:{port}"))
        .source("handover.bootstrap.servers", &Kafka::shared().servers())
        .source("handover.timeout.ms", &PATIENCE.as_millis().to_string())
}

fn name(double: &Double) -> String {
    format!("debezium-{}", double.port())
}

fn prefix(double: &Double) -> String {
    format!("ora{}", double.port())
}

fn file(job: &Job, name: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(job.folder().join("handed").join(name)).unwrap()).unwrap()
}

/// What the files say.
fn handed(job: &Job) -> (Value, Value) {
    (file(job, "debezium_shop.json"), file(job, "debezium_shop_offsets.json"))
}

fn number(value: &Value) -> u64 {
    value.as_str().unwrap().parse().unwrap()
}

/// Where the log begins, and the SCN up to which nothing is sent.
fn begins(offsets: &Value) -> (u64, u64) {
    let offset = &offsets["offsets"][0]["offset"];
    let commits = offset["commit_scn"].as_str().unwrap();
    let scns: Vec<u64> = commits.split(',').map(|part| part.split(':').next().unwrap().parse().unwrap()).collect();
    assert!(scns.iter().all(|scn| *scn == scns[0]), "{commits}");
    (number(&offset["scn"]), scns[0])
}

/// Shop keepers that never close: a transaction that is open while the load takes its SCN.
fn open(database: &Database) -> (connect_oracle_double::Transaction, u64) {
    let began = database.scn();
    let mut transaction = database.begin();
    transaction.insert("SHOP", "SMALL", vec![Cell::text("open")]);
    database.tick(100);
    (transaction, began)
}

#[test]
fn files_say_what_to_make_and_where_it_begins() {
    let double = double(model().instances(2));
    let database = double.database();
    let (transaction, began) = open(&database);
    let job = by_files(double);
    job.run(&[]).expect(OK);
    transaction.commit();
    let (connector, offsets) = handed(&job);
    let cut = assert_loaded(&database, &job.lake());
    assert_eq!(begins(&offsets), (began - 1, cut));
    let commits = offsets["offsets"][0]["offset"]["commit_scn"].as_str().unwrap();
    assert_eq!(commits, format!("{cut}:1:,{cut}:2:"), "one for each redo thread");
    assert_eq!(offsets["offsets"][0]["partition"], json!({ "server": prefix(double) }));
    let config = &connector["config"];
    assert_eq!((&connector["name"], &connector["initial_state"]), (&json!(name(double)), &json!("STOPPED")));
    assert_eq!(config["table.include.list"], "SHOP\\.LARGE,SHOP\\.NONE,SHOP\\.SMALL");
    assert_eq!((&config["database.dbname"], &config["database.pdb.name"]), (&json!("ORCL"), &json!("ORCLPDB1")));
    assert!(config["database.password"].as_str().unwrap().starts_with("${file:"));
    // The same again, and nothing is left beside them.
    let before: Vec<_> = ["debezium_shop.json", "debezium_shop_offsets.json"]
        .map(|name| fs::metadata(job.folder().join("handed").join(name)).unwrap().modified().unwrap())
        .into();
    job.run(&[]).expect(OK).says(&["already loaded"]);
    let after: Vec<_> = ["debezium_shop.json", "debezium_shop_offsets.json"]
        .map(|name| fs::metadata(job.folder().join("handed").join(name)).unwrap().modified().unwrap())
        .into();
    assert_eq!(before, after);
    assert_eq!(fs::read_dir(job.folder().join("handed")).unwrap().count(), 2);
}

/// What the tables that came later saw is passed over table by table; the log begins before the oldest.
#[test]
fn tables_of_two_scns_begin_at_the_older() {
    let double = double(model());
    let database = double.database();
    let (transaction, began) = open(&database);
    let job = by_files(double);
    assert_eq!(job.run_with_failpoint("iceberg.after-commit=kill").code, None);
    transaction.commit();
    let first = job.lake().loaded_tables();
    assert!(!job.folder().join("handed").exists(), "nothing is handed over before every table is loaded");
    database.tick(50);
    database.forget_undo_before(database.scn());
    job.run(&[]).expect(OK);
    let later = ["LARGE", "SMALL", "NONE"].into_iter().find(|table| !first.iter().any(|name| name == table)).unwrap();
    let (old, new) = (scn(&job.lake(), &first[0]), scn(&job.lake(), later));
    assert!(old < new, "{old} {new}");
    assert_eq!(begins(&handed(&job).1), (began - 1, old));
}

#[test]
fn what_is_in_the_way_is_said_before_the_load() {
    let refused = |model: Model, says: &[&str]| {
        let double = double(model);
        let job = by_files(double);
        job.command("check", &[]).says(says);
        job.run(&[]).expect(FAILED).says(&["the load cannot start"]).says(says);
        assert_eq!(job.lake().loaded_tables(), [""; 0]);
    };
    let plain = Model::new().user(reader()).user(User::new("SHOP", "another")).table(small());
    let alter = "ALTER TABLE \"SHOP\".\"SMALL\" ADD SUPPLEMENTAL LOG DATA (ALL) COLUMNS";
    refused(plain.clone(), &["without all columns of SHOP.SMALL", alter]);
    refused(model().supplemental_logging(false, false), &["ALTER DATABASE ADD SUPPLEMENTAL LOG DATA"]);
    refused(model().without_archive_log(), &["ALTER DATABASE ARCHIVELOG"]);
    refused(model().standby(), &["standby", "handover.start.scn"]);
    let poor = User::new(&USER.to_uppercase(), PASSWORD).system("SELECT ANY TABLE").system("FLASHBACK ANY TABLE");
    let poor = poor.grant("SELECT", "SYS", "V_$DATABASE");
    let blind = Model::new().user(poor).user(User::new("SHOP", "x")).table(small().supplemental_logging());
    refused(
        blind,
        &["GRANT SELECT ON SYS.GV_$TRANSACTION TO \"APP\"", "GRANT SELECT ON SYS.V_$ARCHIVED_LOG TO \"APP\""],
    );
    // Whole rows of all tables are as good.
    let all = double(plain.supplemental_logging(true, true));
    by_files(all).run(&[]).expect(OK);
}

#[test]
fn from_a_standby_the_operator_says_where_the_oldest_transaction_began() {
    let double = double(model().standby());
    let began = double.database().scn() - 10;
    let job = by_files(double).source("handover.start.scn", &began.to_string());
    job.run(&[]).expect(OK);
    assert_eq!(begins(&handed(&job).1), (began - 1, scn(&job.lake(), "LARGE")));
    let later = by_files(double).source("handover.start.scn", &(double.database().scn() + 10).to_string());
    later.run(&[]).expect(FAILED).says(&["handover.start.scn is after the SCN of a load"]);
}

#[test]
fn without_the_redo_nothing_is_handed_over_and_the_tables_stay() {
    let double = double(model());
    let database = double.database();
    let job = by_files(double);
    let died = job.run_with_failpoint("handover.written=kill");
    assert_eq!(died.code, None, "{}", died.output);
    let first = handed(&job);
    database.tick(1000);
    database.forget_redo_before(database.scn());
    // A connector may have begun by them long ago.
    job.run(&[]).expect(OK).says(&["to a connector that has begun by them", "no longer there", "oldest_scn="]);
    assert_eq!(handed(&job), first);
    let offsets = job.folder().join("handed/debezium_shop_offsets.json");
    fs::remove_file(&offsets).unwrap();
    let says = ["the tables are loaded, and not handed over", "no longer there", "RMAN", "oldest_scn="];
    job.run(&[]).expect(FAILED).says(&says);
    assert_loaded(&database, &job.lake());
    assert!(!offsets.exists());
    // Nor at a worker.
    let there = There::of(double);
    let job = job.source("handover.connect.url", &format!("http://127.0.0.1:{}", there.worker.port));
    job.run(&[]).expect(FAILED).says(&says);
    assert_eq!(there.get("config"), Value::Null);
}

#[test]
fn keys_are_looked_at_before_anything_is_done() {
    let double = double(model());
    let clear = by_files(double).source("handover.config.database.password", "in the clear");
    let outcome = clear.run(&[]).expect(CONFIGURATION).says(&["handover.config.database.password", "$${file:"]);
    assert!(!outcome.output.contains("in the clear"));
    let ours = by_files(double).source("handover.config.snapshot.mode", "initial");
    ours.run(&[]).expect(CONFIGURATION).says(&["is decided by the load"]);
}

/// The worker's side of one hand-over.
struct There {
    worker: &'static Worker,
    name: String,
}

impl There {
    fn of(double: &Double) -> Self {
        Self { worker: Worker::shared(), name: name(double) }
    }

    fn get(&self, part: &str) -> Value {
        self.worker.get(&format!("/connectors/{}/{part}", self.name)).unwrap_or_default()
    }

    fn state(&self) -> String {
        self.get("status")["connector"]["state"].as_str().unwrap_or_default().to_owned()
    }

    fn until(&self, state: &str) {
        let started = Instant::now();
        while self.state() != state {
            assert!(started.elapsed() < PATIENCE, "not {state}: {}", self.get("status"));
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until its task is in a state, with the mode of every later start.
    fn until_task(&self, state: &str) {
        let started = Instant::now();
        let is = || {
            self.get("status")["tasks"][0]["state"] == state
                && self.get("tasks")[0]["config"]["snapshot.mode"] == "no_data"
        };
        while !is() {
            assert!(started.elapsed() < PATIENCE, "not {state}: {}", self.get("status"));
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Sets the offsets of one that has begun to stream, as Debezium's own would be.
    fn streams(&self, prefix: &str, scn: u64) {
        let path = |what: &str| format!("/connectors/{}/{what}", self.name);
        self.worker.done("PUT", &path("stop"), &Value::Null);
        self.until("STOPPED");
        let offset = json!({ "scn": scn.to_string(), "commit_scn": format!("{scn}:1:") });
        let offsets = json!({ "offsets": [{ "partition": { "server": prefix }, "offset": offset }] });
        self.worker.done("PATCH", &path("offsets"), &offsets);
        self.worker.done("PUT", &path("resume"), &Value::Null);
        self.until("RUNNING");
    }
}

impl Drop for There {
    fn drop(&mut self) {
        if !std::thread::panicking() && self.get("config") != Value::Null {
            self.worker.delete(&self.name);
        }
    }
}

fn killed(job: &Job, failpoint: &str) -> Outcome {
    let died = job.run_with_failpoint(&format!("{failpoint}=kill"));
    assert_eq!(died.code, None, "{failpoint} did not kill: {}", died.output);
    died
}

/// Killed after each step, on the way of one hand-over: each run goes on where the last one died, and does no step twice.
#[test]
fn killed_at_each_step_it_goes_on() {
    let double = double(model());
    let database = double.database();
    let (transaction, began) = open(&database);
    let (job, there) = (at(double, Worker::shared().port), There::of(double));
    killed(&job, "handover.written");
    transaction.commit();
    assert_eq!(there.state(), "", "nothing is made yet");
    killed(&job, "handover.created").says(&["made Debezium's connector, stopped"]);
    there.until("STOPPED");
    assert_eq!(there.get("offsets")["offsets"], json!([]));
    let died = killed(&job, "handover.offsets-set");
    assert!(!died.output.contains("made Debezium's connector"), "{}", died.output);
    assert_eq!(there.state(), "STOPPED");
    // Read back as they were set: before the oldest transaction, and nothing that is in the load.
    let (connector, offsets) = handed(&job);
    assert_eq!(there.get("offsets"), offsets);
    assert_eq!(begins(&offsets), (began - 1, scn(&job.lake(), "LARGE")));
    let mut config = connector["config"].clone();
    config["name"] = json!(there.name);
    assert_eq!(there.get("config"), config);
    killed(&job, "handover.started");
    there.until("RUNNING");
    // Its plugin has come as far as it can.
    killed(&job, "handover.restarted");
    let outcome = job.run(&[]).expect(FAILED);
    outcome.says(&[
        "the tables are loaded, and not handed over",
        NO_FURTHER,
        "trace=org.apache.kafka.connect.errors.ConnectException",
        "run again",
    ]);
    assert_loaded(&database, &job.lake());
    assert_eq!(there.get("offsets"), offsets, "what has failed has not moved");
    // What the plugin did on its way: it took the offsets for those of a snapshot, and went for the tables' structure alone.
    let asked = double.faults().statements();
    assert!(asked.iter().any(|sql| sql.contains("LOCK TABLE")), "it did not begin to recover");
    let moved = database.scn() + 1;
    there.streams(&prefix(double), moved);
    killed(&job, "handover.finished").says(&["starts without a snapshot"]);
    // Without a history of the schemas it cannot go on: who comes after the killed run says so.
    there.until_task("FAILED");
    assert_eq!(there.get("config")["snapshot.mode"], "no_data");
    job.run(&[]).expect(FAILED).says(&["the tables are loaded, and not handed over", NO_FURTHER]);
    // What its operators do with it is theirs; and the redo that it began with is needed no more.
    there.worker.done("PUT", &format!("/connectors/{}/stop", there.name), &Value::Null);
    there.until("STOPPED");
    database.tick(1000);
    database.forget_redo_before(database.scn());
    let outcome = job.run(&[]).expect(OK).says(&["handed over to Debezium's connector"]);
    assert!(!outcome.output.contains("set where"), "{}", outcome.output);
    assert_eq!(number(&there.get("offsets")["offsets"][0]["offset"]["scn"]), moved, "left as they are");
}

/// One that was started by someone before it had offsets is stopped first, and one whose configuration has changed on its
/// way is given it again.
#[test]
fn one_that_was_started_too_early_is_stopped_and_a_changed_one_told() {
    let double = double(model());
    let (job, there) = (at(double, Worker::shared().port), There::of(double));
    killed(&job, "handover.created");
    there.until("STOPPED");
    there.worker.done("PUT", &format!("/connectors/{}/resume", there.name), &Value::Null);
    there.until("RUNNING");
    killed(&job, "handover.stopped");
    there.until("STOPPED");
    let job = job.source("handover.config.heartbeat.interval.ms", "20000");
    killed(&job, "handover.configured");
    assert_eq!(there.get("config")["heartbeat.interval.ms"], "20000");
    killed(&job, "handover.offsets-set");
    assert_eq!(there.get("offsets"), handed(&job).1);
}

#[test]
fn what_others_have_made_or_moved_is_not_touched() {
    let double = double(model());
    let (job, there) = (at(double, Worker::shared().port), There::of(double));
    killed(&job, "handover.created");
    there.until("STOPPED");
    let path = |what: &str| format!("/connectors/{}/{what}", there.name);
    // Offsets of an earlier one of that name.
    let stale = json!({ "offsets": [{ "partition": { "server": prefix(double) }, "offset": { "scn": "7" } }] });
    there.worker.done("PATCH", &path("offsets"), &stale);
    let says = ["has offsets that this hand-over has not set", "\"scn\":\"7\"", "DELETE /connectors/", &there.name];
    job.run(&[]).expect(FAILED).says(&says);
    assert_eq!(there.get("offsets"), stale);
    // A connector that no hand-over has made.
    let mut config = there.get("config");
    config.as_object_mut().unwrap().remove("connect-runtime.handover");
    there.worker.done("PUT", &path("config"), &config);
    job.run(&[]).expect(FAILED).says(&["was not made by a hand-over", "handover.connector.name"]);
    assert_eq!(there.get("config"), config);
    assert_eq!(there.get("offsets"), stale);
    // And one of another database, or of other loads.
    let mark = handed(&job).0["config"]["connect-runtime.handover"].as_str().unwrap().to_owned();
    let after: u64 = mark.rsplit_once('@').unwrap().1.parse().unwrap();
    for (mark, says) in [
        (format!("oracle:1/OTHER@{after}"), "follows another database"),
        (mark.replace(&after.to_string(), "9"), "made for other loads"),
    ] {
        config["connect-runtime.handover"] = json!(mark);
        there.worker.done("PUT", &path("config"), &config);
        job.run(&[]).expect(FAILED).says(&[says]);
        assert_eq!(there.get("config"), config);
    }
}

/// Answers that are lost, a rebalance, errors that pass: it is made once, and its offsets are set once.
#[test]
fn answers_that_are_lost_cost_nothing() {
    let double = double(model());
    let there = There::of(double);
    let faults = [
        ("POST", "/connectors", Fault::Status(409)),
        ("POST", "/connectors", Fault::AnswerLost),
        ("PATCH", "/offsets", Fault::Status(500)),
        ("PATCH", "/offsets", Fault::AnswerLost),
        ("PUT", "/resume", Fault::Reset),
        ("PUT", "/resume", Fault::AnswerLost),
        ("GET", "/offsets", Fault::Truncated),
        ("GET", "/status", Fault::Status(503)),
    ];
    let (mut left, asked) = (faults.to_vec(), Arc::new(Mutex::new(Vec::new())));
    let noted = Arc::clone(&asked);
    let proxy = Faults::before(Worker::shared().port, move |request| {
        noted.lock().unwrap().push(format!("{} {}$", request.method, request.path));
        let at = left.iter().position(|(method, part, _)| request.method == *method && request.path.ends_with(part))?;
        Some(left.remove(at).2)
    });
    let job = at(double, proxy.port);
    let outcome = job.run(&[]).expect(FAILED).says(&[NO_FURTHER, "the hand-over tries again"]);
    assert_eq!(proxy.struck().len(), faults.len(), "{:?}", proxy.struck());
    assert_eq!(there.get("offsets"), handed(&job).1);
    assert_loaded(&double.database(), &job.lake());
    // The one that was refused, and the one that got through.
    for method in ["POST /connectors$", "PATCH "] {
        let times = asked.lock().unwrap().iter().filter(|request| request.starts_with(method)).count();
        assert_eq!(times, 2, "{method}: {}", outcome.output);
    }
}

#[test]
fn a_worker_that_is_away_or_refuses_us_is_said_and_the_next_start_goes_on() {
    let double = double(model());
    let there = There::of(double);
    let job = at(double, 1).source("handover.timeout.ms", "1500");
    let says = ["the tables are loaded, and not handed over", "not done in time", "Kafka Connect does not answer"];
    job.run(&[]).expect(FAILED).says(&says);
    let cut = assert_loaded(&double.database(), &job.lake());
    let refuses = |status, says: &[&str]| {
        let proxy = Faults::before(Worker::shared().port, move |_| Some(Fault::Status(status)));
        let job = at(double, proxy.port);
        job.run(&[]).expect(FAILED).says(says);
    };
    refuses(401, &["Kafka Connect refuses us", "handover.connect.basic.auth.user.info", "status=401"]);
    refuses(404, &["what answers is not Kafka Connect"]);
    refuses(302, &["what answers sends us elsewhere", "handover.connect.url"]);
    let answers = |path: &'static str, answer: &'static str, says: &str| {
        let rule = move |request: &connect_tests::faults::Request| {
            (request.path == path).then(|| Fault::Answer(answer.to_owned()))
        };
        let proxy = Faults::before(Worker::shared().port, rule);
        at(double, proxy.port).run(&[]).expect(FAILED).says(&[says]);
    };
    answers("/", r#"{"version":"3.6.2","commit":"x"}"#, "Kafka Connect 3.7 or newer is needed");
    answers("/connector-plugins", "[]", "does not have Debezium's connector for Oracle");
    assert_eq!(there.get("config"), Value::Null, "nothing was made");
    let url = format!("http://127.0.0.1:{}", Worker::shared().port);
    let job = job.source("handover.connect.url", &url).source("handover.timeout.ms", &PATIENCE.as_millis().to_string());
    let job = job.source("handover.bootstrap.servers", &Kafka::shared().servers());
    killed(&job, "handover.offsets-set").says(&["already loaded"]);
    assert_eq!(begins(&there.get("offsets")).1, cut);
}

/// What is loaded is followed meanwhile, and what the load does not have is made of its events: it owes none of it.
#[test]
fn a_worker_that_is_away_keeps_no_table_from_being_followed() {
    let double = double(model());
    let recorded = Recorded::new(Format::JsonWithSchemas, "ora-away", &["KEYED", "LOBS"]);
    let job = recorded.sink_keys().into_iter().fold(at(double, 1), |job, (key, value)| job.sink(key, &value));
    let (lake, job) = (job.lake(), job.source("handover.timeout.ms", "600000"));
    let mut running = job.start(&[]);
    recorded.send("KEYED", 0..4);
    let row = |id: &str, text: &str| vec![Some(id.to_owned()), Some(text.to_owned())];
    let keyed = Rows { columns: vec!["ID".to_owned(), "V".to_owned()], rows: vec![row("9", "a")] };
    until_rows(&keyed, &lake, "KEYED", &mut running);
    assert_loaded(&double.database(), &lake);
    running.terminate();
    // It was told to stop while it waited for the worker.
    let waited = running.wait().expect(OK);
    assert!(!waited.output.contains("not handed over"), "{}", waited.output);

    let port = free_port();
    let job = job.source("handover.timeout.ms", "1").worker("rest.listeners", &format!("http://127.0.0.1:{port}"));
    let mut running = job.start(&[]);
    recorded.send("LOBS", 5..8);
    running.until("a table that was not loaded", || lake.tables().contains(&"LOBS".to_owned()).then_some(()));
    let failed = || http::get(port, "/connectors/shop/status").filter(|(_, body)| body.contains("not handed over"));
    running.until("the failure", failed);
    running.terminate();
    running.wait().expect(FAILED).says(&["the tables are loaded, and not handed over"]);
}

/// The worker checks what it is given: a connector that cannot reach the database is not made, and that is said.
#[test]
fn what_the_plugin_refuses_is_said() {
    let double = double(model());
    let there = There::of(double);
    let job = at(double, Worker::shared().port).source("handover.config.database.user", "nobody");
    let says = ["Debezium's connector refuses its configuration", "database.hostname: Unable to connect", "run again"];
    job.run(&[]).expect(FAILED).says(&says);
    assert_eq!(there.get("config"), Value::Null);
    assert_loaded(&double.database(), &job.lake());
}

/// By TLS, with a user: whom the worker does not know, or whose authority we do not, is not spoken to.
#[test]
fn a_worker_may_want_a_login_and_have_a_certificate() {
    const LOGIN: &str = "hand:0ver-Geheim";
    let double = double(model());
    let there = There::of(double);
    let known = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(LOGIN));
    let guard = Faults::before(Worker::shared().port, move |request| {
        (request.header("authorization") != Some(known.as_str())).then_some(Fault::Status(401))
    });
    let front = TlsFront::before(guard.port);
    let authority = front.authority.to_str().unwrap();
    let job = at(double, 1).source("handover.connect.url", &format!("https://localhost:{}", front.port));
    let job = job.source("handover.timeout.ms", "1500").source("handover.connect.basic.auth.user.info", LOGIN);
    job.run(&[]).expect(FAILED).says(&["Kafka Connect does not answer", "certificate"]);
    let job = job
        .source("handover.timeout.ms", &PATIENCE.as_millis().to_string())
        .source("handover.connect.ssl.truststore.location", authority);
    let wrong = job.source("handover.connect.basic.auth.user.info", "hand:wrong");
    wrong.run(&[]).expect(FAILED).says(&["Kafka Connect refuses us", "status=401"]);
    assert_eq!(there.get("config"), Value::Null);
    let job = wrong.source("handover.connect.basic.auth.user.info", LOGIN);
    let died = killed(&job, "handover.created");
    assert!(!died.output.contains("0ver-Geheim"), "{}", died.output);
    there.until("STOPPED");
}
