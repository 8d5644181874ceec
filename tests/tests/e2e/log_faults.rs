//! A log in bad hours: brokers, topics, records, workers, files and ledgers that go, and what the tables hold then.

use std::time::Duration;

use connect_tests::compare::{assert_rows, until_rows};
use connect_tests::events::{Events, rows};
use connect_tests::http;
use connect_tests::kafka::{Kafka, Message};
use connect_tests::lake::Engine;
use connect_tests::postgres::free_port;
use connect_tests::runtime::{FAILED, Job, OK, Running, SOME_TABLES_FAILED};

/// Tells how far a process has read, where a test repeats the last event: counted about every second.
const REPEATED: &str = "debezium_events_repeated_total";
/// An end of a transaction that is not told is waited for without a limit, however slow the machine.
const PATIENT: (&str, &str) = ("CONNECT_FAILPOINTS", "kafka.give-up=error");

/// The rows that tests write first.
pub(crate) const FIRST: [(i64, &str); 3] = [(1, "a"), (2, "b"), (3, "c")];

pub(crate) fn first(events: &mut Events) -> Vec<Message> {
    FIRST.iter().map(|(id, v)| events.create(*id, v)).collect()
}

#[test]
fn a_broker_that_is_killed_and_comes_back_costs_nothing() {
    let kafka = Kafka::start();
    kafka.create("s.public.t", 1);
    kafka.create("s.public.n", 1);
    let (mut t, mut n) = (Events::of("t"), Events::without_key("n"));
    let job = Job::following(&kafka, r"s\.public\..");
    let mut running = job.start(&[]);
    kafka.write("s.public.t", &first(&mut t));
    kafka.write("s.public.n", &first(&mut n));
    until_rows(&rows(FIRST), &job.lake(), "t", &mut running);
    kafka.kill();
    std::thread::sleep(Duration::from_secs(1));
    kafka.start_again();
    kafka.write("s.public.t", &[t.update(1, "z"), t.delete(2)]);
    kafka.write("s.public.n", &[n.create(1, "a")]);
    until_rows(&rows([(1, "z"), (3, "c")]), &job.lake(), "t", &mut running);
    until_rows(&rows([(1, "a"), (1, "a"), (2, "b"), (3, "c")]), &job.lake(), "n", &mut running);
    // For those who watch lag.
    running
        .until("the group's offset", || (kafka.group_offset("connect-lake", "s.public.n", 0) == Some(4)).then_some(()));
    running.terminate();
    running.wait().expect(OK);
}

#[test]
fn without_a_broker_it_waits_for_one() {
    let kafka = Kafka::start();
    kafka.create("s.public.t", 1);
    kafka.write("s.public.t", &first(&mut Events::of("t")));
    kafka.kill();
    let job = Job::following(&kafka, r"s\.public\.t").sink("errors.retry.delay.max.ms", "500");
    let mut running = job.start(&[]);
    running.until_it_says("Kafka cannot be reached");
    kafka.start_again();
    until_rows(&rows(FIRST), &job.lake(), "t", &mut running);
    running.terminate();
    running.wait().expect(OK);
}

#[test]
fn a_broker_that_wants_a_password_through_tls_is_followed_with_it() {
    let (kafka, port, authority) = Kafka::secured();
    kafka.create("s.public.t", 1);
    kafka.write("s.public.t", &first(&mut Events::of("t")));
    let job = Job::following(&kafka, r"s\.public\.t").sink("bootstrap.servers", &format!("localhost:{port}"));
    let set = |job: Job, key: &str, value: &str| job.sink(&format!("consumer.override.{key}"), value);
    let job = set(job, "security.protocol", "SASL_SSL");
    let job = set(job, "ssl.ca.location", authority.to_str().unwrap());
    let job = set(set(job, "sasl.mechanism", "PLAIN"), "sasl.username", "reader");
    let job = set(job, "sasl.password", "wrong-one").sink("errors.retry.timeout", "0");
    let mut running = job.start(&[]);
    running.until_it_says("Authentication failed");
    assert!(!running.wait().expect(FAILED).output.contains("wrong-one"));
    let job = set(job, "sasl.password", "secret");
    let mut running = job.start(&[]);
    until_rows(&rows(FIRST), &job.lake(), "t", &mut running);
    running.terminate();
    running.wait().expect(OK);
}

/// Of topics that are named one may not be there yet, or not be for us: that is said, and the others are followed.
#[test]
fn a_topic_that_is_named_and_not_there_is_said_and_waited_for() {
    let kafka = Kafka::shared();
    kafka.create("named.public.t", 1);
    kafka.write("named.public.t", &first(&mut Events::of("t")));
    let mut job = Job::following(kafka, "").sink("topics", "named.public.t,named.public.u");
    job.sink.remove("topics.regex");
    let mut running = job.start(&[]);
    running.until_it_says("a topic is not there, or may not be read: waiting for it topic=named.public.u");
    until_rows(&rows(FIRST), &job.lake(), "t", &mut running);
    kafka.create("named.public.u", 1);
    kafka.write("named.public.u", &first(&mut Events::of("u")));
    until_rows(&rows(FIRST), &job.lake(), "u", &mut running);
    running.terminate();
    let output = running.wait().expect(OK).output;
    // And again by one that takes another's place, as where a broker is too slow.
    let begun = 1 + output.matches("following the log was interrupted").count();
    assert!(output.matches("waiting for it").count() <= begun, "{output}");
}

/// Both directions: the leader dies, and leads again when it is back.
#[test]
fn a_partition_whose_leader_changes_costs_nothing() {
    let first_broker = Kafka::start();
    let second_broker = first_broker.another();
    let topic = "s.public.t";
    first_broker.create_on(topic, &[2, 1]);
    let mut events = Events::of("t");
    let servers = format!("{},{}", first_broker.servers(), second_broker.servers());
    let job = Job::following(&first_broker, r"s\.public\.t").sink("bootstrap.servers", &servers);
    let mut running = job.start(&[]);
    first_broker.write(topic, &first(&mut events));
    until_rows(&rows(FIRST), &job.lake(), "t", &mut running);
    running.until("two replicas", || (first_broker.leader(topic) == Some((2, 2))).then_some(()));
    second_broker.kill();
    running.until("another leader", || (first_broker.leader(topic) == Some((1, 1))).then_some(()));
    first_broker.write(topic, &[events.update(1, "y"), events.delete(2)]);
    until_rows(&rows([(1, "y"), (3, "c")]), &job.lake(), "t", &mut running);
    second_broker.start_again();
    // The controller sees to it that the preferred one leads again.
    running.until("the first leader", || (first_broker.leader(topic) == Some((2, 2))).then_some(()));
    first_broker.write(topic, &[events.update(1, "z"), events.create(4, "d")]);
    until_rows(&rows([(1, "z"), (3, "c"), (4, "d")]), &job.lake(), "t", &mut running);
    running.terminate();
    running.wait().expect(OK);
}

#[test]
fn a_topic_that_was_made_anew_stops_its_table() {
    let kafka = Kafka::shared();
    for topic in ["anew.public.t", "anew.public.u"] {
        kafka.create(topic, 1);
    }
    let (mut t, mut u) = (Events::of("t"), Events::of("u"));
    kafka.write("anew.public.t", &first(&mut t));
    kafka.write("anew.public.u", &first(&mut u));
    let job = Job::following(kafka, r"anew\.public\..");
    let mut running = job.start(&[]);
    until_rows(&rows(FIRST), &job.lake(), "t", &mut running);
    until_rows(&rows(FIRST), &job.lake(), "u", &mut running);
    kafka.delete("anew.public.t");
    kafka.create("anew.public.t", 1);
    kafka.write("anew.public.t", &[Events::of("t").delete(1), t.delete(2)]);
    // It may have looked while there was none.
    let reasons = ["the topic was made anew since the table was followed", "the topic is not there any more"];
    let output = job.folder().join("output");
    let says = || Some(std::fs::read_to_string(&output).unwrap()).filter(|out| reasons.iter().any(|r| out.contains(r)));
    running.until("what became of the topic", says);
    kafka.write("anew.public.u", &[u.delete(1)]);
    until_rows(&rows([(2, "b"), (3, "c")]), &job.lake(), "u", &mut running);
    running.kill();
    // A new process finds the same, by what the table records.
    let mut running = job.start(&[]);
    running.until_it_says("the topic was made anew since the table was followed");
    kafka.write("anew.public.u", &[u.delete(2)]);
    until_rows(&rows([(3, "c")]), &job.lake(), "u", &mut running);
    until_rows(&rows(FIRST), &job.lake(), "t", &mut running);
    running.terminate();
    running.wait().expect(SOME_TABLES_FAILED).says(&["public.t", "anew.public.t"]);
}

#[test]
fn messages_that_were_lost_before_they_were_read_stop_their_table() {
    let kafka = Kafka::shared();
    kafka.create("lost.public.t", 1);
    let mut events = Events::of("t");
    kafka.write("lost.public.t", &first(&mut events));
    let job = Job::following(kafka, r"lost\.public\.t");
    let mut running = job.start(&[]);
    until_rows(&rows(FIRST), &job.lake(), "t", &mut running);
    running.kill();
    kafka.write("lost.public.t", &[events.delete(1), events.delete(2), events.delete(3)]);
    kafka.forget_before("lost.public.t", 0, 5);
    let mut running = job.start(&[]);
    running.until_it_says("the topic does not have any more what comes next for the table");
    until_rows(&rows(FIRST), &job.lake(), "t", &mut running);
    running.terminate();
    running.wait().expect(SOME_TABLES_FAILED).says(&["offset=3", "first=5"]);
    // A table that is not in the lake does not begin in the middle unless it is told to.
    let other = Job::following(kafka, r"lost\.public\.t");
    let mut running = other.start(&[]);
    running.until_it_says("its topic does not have its beginning any more");
    running.terminate();
    running.wait().expect(SOME_TABLES_FAILED);
    kafka.write("lost.public.t", &[events.create(9, "late")]);
    let other = other.sink("auto.offset.reset", "earliest");
    let mut running = other.start(&[]);
    until_rows(&rows([(9, "late")]), &other.lake(), "t", &mut running);
    running.terminate();
    running.wait().expect(OK);
}

/// Known as apache/iceberg 15032: one bad record holds everything up.
#[test]
fn a_record_that_cannot_be_read_stops_its_table_alone_and_is_named() {
    let kafka = Kafka::shared();
    for topic in ["bad.public.t", "bad.public.u"] {
        kafka.create(topic, 1);
    }
    let (mut t, mut u) = (Events::of("t"), Events::of("u"));
    kafka.write("bad.public.t", &first(&mut t));
    kafka.write("bad.public.t", &[Message::new("\u{0}\u{1}", "{not JSON"), t.delete(1)]);
    let job = Job::following(kafka, r"bad\.public\..");
    let mut running = job.start(&[]);
    running.until_it_says("topic=bad.public.t, partition=0, offset=3");
    kafka.write("bad.public.u", &first(&mut u));
    until_rows(&rows(FIRST), &job.lake(), "u", &mut running);
    // What came before it is there, and nothing after it.
    until_rows(&rows(FIRST), &job.lake(), "t", &mut running);
    running.kill();
    let mut running = job.start(&[]);
    running.until_it_says("topic=bad.public.t, partition=0, offset=3");
    running.terminate();
    running.wait().expect(SOME_TABLES_FAILED);
    assert_rows(&rows(FIRST), &job.lake(), "t");
}

#[test]
fn a_record_that_cannot_be_read_is_set_aside_where_that_is_wanted() {
    let kafka = Kafka::shared();
    kafka.create("aside.public.t", 1);
    let mut t = Events::of("t");
    kafka.write("aside.public.t", &first(&mut t));
    let job = Job::following(kafka, r"aside\.public\..").sink("errors.tolerance", "all");
    let job = job.sink("errors.deadletterqueue.topic.name", "aside-dead");
    let job = job.sink("errors.deadletterqueue.topic.replication.factor", "1");
    let mut running = job.start(&[]);
    until_rows(&rows(FIRST), &job.lake(), "t", &mut running);
    let damaged = |message: Message| {
        let value = String::from_utf8(message.value.unwrap()).unwrap().replace("\"v\":\"?\"", "\"v\":{}");
        Message { value: Some(value.into()), ..message }
    };
    let bad = [damaged(t.update(2, "?")), Message { value: Some("{not JSON".into()), ..t.update(3, "") }];
    kafka.write("aside.public.t", &bad);
    kafka.write("aside.public.t", &[t.delete(1)]);
    until_rows(&rows([(2, "b"), (3, "c")]), &job.lake(), "t", &mut running);
    assert_eq!(kafka.read("aside-dead"), bad);
    let headers = kafka.headers("aside-dead");
    assert_eq!(headers[0]["__connect.errors.topic"], "aside.public.t");
    let offsets: Vec<_> = headers.iter().map(|of| of["__connect.errors.offset"].as_str()).collect();
    assert_eq!(offsets, ["3", "4"]);
    assert!(headers[0]["__connect.errors.exception.message"].contains("column=v"), "{headers:?}");
    // The ledger follows.
    let lake = job.lake();
    let counted = || lake.status("public.t").filter(|row| row.get("rejected").is_some_and(|rejected| rejected == "2"));
    let status = running.until("the ledger's row", counted);
    running.kill();
    assert!(
        status["kafka_offsets"].contains("aside.public.t-0") && status["kafka_offsets"].contains('6'),
        "{status:?}"
    );
    // A row that cannot be told, of a table whose rows have keys, stops it still.
    kafka.write("aside.public.t", &[Message::new("{", "{not JSON"), t.delete(2)]);
    let mut running = job.start(&[]);
    running.until_it_says("topic=aside.public.t, partition=0, offset=6");
    running.terminate();
    running.wait().expect(SOME_TABLES_FAILED);
    assert_rows(&rows([(2, "b"), (3, "c")]), &job.lake(), "t");
    assert_eq!(kafka.read("aside-dead").len(), 2);
}

/// A bad record that the dead-letter queue is too small for stops its table, and no other; it is not passed over. Those that
/// it has room for one by one are set aside, however many there are.
#[test]
fn a_record_that_is_too_large_for_the_dead_letter_queue_stops_its_table_alone() {
    let kafka = Kafka::shared();
    for topic in ["oversize.public.t", "oversize.public.u"] {
        kafka.create(topic, 1);
    }
    let (mut t, mut u) = (Events::of("t"), Events::of("u"));
    kafka.write("oversize.public.t", &first(&mut t));
    kafka.create_small("oversize-dead", 200_000);
    let mut bad = |bytes| Message { value: Some(vec![b'{'; bytes]), ..t.update(2, "") };
    let mut messages: Vec<_> = (0..10).map(|_| bad(30_000)).collect();
    messages.push(bad(300_000));
    messages.push(t.delete(1));
    kafka.write("oversize.public.t", &messages);
    let job = Job::following(kafka, r"oversize\.public\..").sink("errors.tolerance", "all");
    let job = job.sink("errors.deadletterqueue.topic.name", "oversize-dead");
    let job = job.sink("errors.deadletterqueue.topic.replication.factor", "1");
    let mut running = job.start(&[]);
    running.until_it_says("too large for the dead-letter queue");
    kafka.write("oversize.public.u", &first(&mut u));
    until_rows(&rows(FIRST), &job.lake(), "u", &mut running);
    until_rows(&rows(FIRST), &job.lake(), "t", &mut running);
    running.terminate();
    running.wait().expect(SOME_TABLES_FAILED).says(&["topic=oversize.public.t, partition=0, offset=13"]);
    assert_eq!(kafka.read("oversize-dead").len(), 10);
}

/// apache/iceberg 13547 is the first record of a key that wins; here the last does, and one that Debezium sends again is
/// not applied again, in tables with and without a key.
#[test]
fn a_run_of_events_that_is_delivered_again_is_applied_once() {
    let kafka = Kafka::shared();
    for topic in ["again.public.t", "again.public.n"] {
        kafka.create(topic, 1);
    }
    let (mut t, mut n) = (Events::of("t"), Events::without_key("n"));
    kafka.write("again.public.t", &[t.create(1, "old"), t.delete(1), t.create(1, "new"), t.create(2, "x")]);
    kafka.write("again.public.n", &first(&mut n));
    let port = free_port();
    let job = Job::following(kafka, r"again\.public\..");
    let job = job.worker("rest.listeners", &format!("http://127.0.0.1:{port}"));
    let mut running = job.start(&[]);
    until_rows(&rows([(1, "new"), (2, "x")]), &job.lake(), "t", &mut running);
    until_rows(&rows(FIRST), &job.lake(), "n", &mut running);
    // All four of the one, the last two of the other, and what follows; in between the program is killed.
    t.step_back(4);
    kafka.write("again.public.t", &[t.create(1, "old"), t.delete(1)]);
    n.step_back(2);
    kafka.write("again.public.n", &[n.create(2, "b")]);
    running.until("what is repeated", || (http::metric(port, REPEATED) == Some(3)).then_some(()));
    running.kill();
    kafka.write("again.public.t", &[t.create(1, "new"), t.create(2, "x"), t.update(2, "y")]);
    kafka.write("again.public.n", &[n.create(3, "c"), n.create(4, "d")]);
    let mut running = job.start(&[]);
    until_rows(&rows([(1, "new"), (2, "y")]), &job.lake(), "t", &mut running);
    until_rows(&rows([(1, "a"), (2, "b"), (3, "c"), (4, "d")]), &job.lake(), "n", &mut running);
    // A step back that does not meet what was applied: another history.
    t.step_back(20);
    kafka.write("again.public.t", &[t.create(7, "?")]);
    for _ in 0..30 {
        let _ = t.update(1, "");
    }
    kafka.write("again.public.t", &[t.update(1, "of another history")]);
    running.until_it_says("the events went back in the source's log");
    running.terminate();
    running.wait().expect(SOME_TABLES_FAILED).says(&["topic=again.public.t"]);
    assert_rows(&rows([(1, "new"), (2, "y")]), &job.lake(), "t");
}

/// apache/iceberg 17340, 13763 and 16282 are the same files committed twice, 17551 and 16016 a coordinator of the past
/// that commits its offsets.
/// Known as apache/iceberg 17551, 16016 and 17637: what a process of before commits late sets the others back.
#[test]
fn two_workers_at_once_double_and_lose_nothing() {
    let kafka = Kafka::shared();
    for topic in ["two.public.t", "two.public.n"] {
        kafka.create(topic, 1);
    }
    let (mut t, mut n) = (Events::of("t"), Events::without_key("n"));
    kafka.write("two.public.t", &first(&mut t));
    kafka.write("two.public.n", &first(&mut n));
    let job = Job::following(kafka, r"two\.public\..").sink("iceberg.control.commit.interval-ms", "100");
    let job = job.sink("errors.retry.delay.max.ms", "500");
    let elsewhere = tempfile::tempdir().unwrap();
    let mut one = job.start(&[]);
    let mut other = {
        // The same sink; the state is each machine's own.
        let mut config = job.config();
        config["worker"]["state.dir"] = elsewhere.path().to_str().unwrap().into();
        let path = elsewhere.path().join("other.json");
        std::fs::write(&path, config.to_string()).unwrap();
        job.program_in(elsewhere.path(), &["--config", path.to_str().unwrap()])
    };
    let mut expected: Vec<(i64, String)> = FIRST.iter().map(|(id, v)| (*id, (*v).to_owned())).collect();
    for id in 10..35 {
        kafka.write("two.public.t", &[t.create(id, "v"), t.update(1, &id.to_string())]);
        kafka.write("two.public.n", &[n.create(id, "v"), n.create(id, "v")]);
        expected.push((id, "v".into()));
        std::thread::sleep(Duration::from_millis(20));
    }
    let twice = expected.iter().skip(3).chain(&expected);
    let lines = rows(twice.map(|(id, v)| (*id, v.as_str())));
    let keyed: Vec<_> = expected.iter().map(|(id, v)| (*id, if *id == 1 { "34" } else { v.as_str() })).collect();
    until_rows(&rows(keyed.iter().copied()), &job.lake(), "t", &mut one);
    until_rows(&lines, &job.lake(), "n", &mut one);
    // Both took part.
    other.until_it_says("following a topic");
    one.terminate();
    one.wait();
    other.terminate();
    other.wait();
    assert_rows(&rows(keyed), &job.lake(), "t");
    assert_rows(&lines, &job.lake(), "n");
}

#[test]
fn without_its_state_and_its_ledgers_it_goes_on() {
    let kafka = Kafka::shared();
    kafka.create("bare.public.t", 1);
    let mut events = Events::of("t");
    let job = Job::following(kafka, r"bare\.public\.t");
    let mut running = job.start(&[]);
    kafka.write("bare.public.t", &first(&mut events));
    until_rows(&rows(FIRST), &job.lake(), "t", &mut running);
    running.until("the ledger", || job.lake().status("public.t"));
    running.kill();
    std::fs::remove_dir_all(job.folder().join("state")).unwrap();
    job.lake().drop_table("_cdc_status");
    kafka.write("bare.public.t", &[events.update(1, "z"), events.delete(2), events.create(4, "d")]);
    let mut running = job.start(&[]);
    until_rows(&rows([(1, "z"), (3, "c"), (4, "d")]), &job.lake(), "t", &mut running);
    running.kill();
    // Damaged rather than gone.
    damage(&job.folder().join("state"));
    kafka.write("bare.public.t", &[events.delete(1), events.update(3, "y")]);
    let mut running = job.start(&[]);
    until_rows(&rows([(3, "y"), (4, "d")]), &job.lake(), "t", &mut running);
    running.terminate();
    running.wait().expect(OK);
    assert!(job.lake().status("public.t").is_some(), "the ledger is written again");
}

/// Turns a bit of every file.
fn damage(folder: &std::path::Path) {
    let mut damaged = 0;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else if let Ok(mut bytes) = std::fs::read(entry.path())
                && !bytes.is_empty()
            {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 0x10;
                std::fs::write(entry.path(), bytes).unwrap();
                damaged += 1;
            }
        }
    }
    assert!(damaged > 0, "there is no state");
}

/// P7: what came of a transaction waits for the rest of it, in whatever order its end is told, and not for ever.
#[test]
fn a_transaction_waits_for_its_end() {
    let kafka = Kafka::shared();
    let (topic, transactions) = ("whole.public.t", "whole.transaction");
    kafka.create(topic, 1);
    kafka.create(transactions, 1);
    let mut events = Events::of("t");
    let port = free_port();
    let job = Job::following(kafka, r"whole\.public\.t").sink("iceberg.control.commit.interval-ms", "100");
    let job = job.worker("rest.listeners", &format!("http://127.0.0.1:{port}"));
    // Each last event is written twice. What is read could be seen some commits later.
    let until_read = |running: &mut Running, repeated: u64| {
        running.until("the last event", || (http::metric(port, REPEATED) == Some(repeated)).then_some(()));
        std::thread::sleep(Duration::from_millis(500));
    };
    let lake = job.lake();
    let mut running = job.start_with(&[], &[PATIENT]);
    kafka.write(topic, &first(&mut events));
    until_rows(&rows(FIRST), &lake, "t", &mut running);
    // The first two of three events, the end before the last one.
    events.begin();
    let (update, delete) = (events.update(1, "x"), events.delete(2));
    kafka.write(topic, &[update, delete.clone(), delete]);
    until_read(&mut running, 1);
    assert_rows(&rows(FIRST), &lake, "t");
    let last = events.update(3, "x");
    // No table depends on what else is there.
    kafka.write(transactions, &[Message::new("", "{not JSON"), Message::new("k", "{\"a\":1}"), events.end()]);
    std::thread::sleep(Duration::from_millis(1500));
    assert_rows(&rows(FIRST), &lake, "t");
    kafka.write(topic, &[last]);
    until_rows(&rows([(1, "x"), (3, "x")]), &lake, "t", &mut running);
    // What was read of a transaction when the program was killed comes again, and its end may lie before its last event.
    events.begin();
    let create = events.create(4, "y");
    kafka.write(topic, &[create.clone(), create]);
    until_read(&mut running, 2);
    running.kill();
    let last = events.create(5, "y");
    kafka.write(transactions, &[events.end()]);
    let mut running = job.start_with(&[], &[PATIENT]);
    until_read(&mut running, 1);
    assert_rows(&rows([(1, "x"), (3, "x")]), &lake, "t");
    kafka.write(topic, &[last]);
    until_rows(&rows([(1, "x"), (3, "x"), (4, "y"), (5, "y")]), &lake, "t", &mut running);
    running.kill();
    // The next transaction ends the one before it; an end that is never told is given up.
    let mut running = job.start(&[]);
    events.begin();
    let delete = events.delete(4);
    kafka.write(topic, &[delete.clone(), delete]);
    until_read(&mut running, 1);
    events.begin();
    kafka.write(topic, &[events.delete(5)]);
    until_rows(&rows([(1, "x"), (3, "x")]), &lake, "t", &mut running);
    assert!(lake.history("t", "id").contains(&(9, 3)), "{:?}", lake.history("t", "id"));
    running.terminate();
    running.wait().expect(OK);
}

/// P7: parts of it are written ahead, also by a program that is killed between them, and no reader sees one.
#[test]
fn a_transaction_larger_than_commits_is_seen_whole() {
    // Messages of 100 kB: what the reader delivers at once is 8 MiB.
    const ROWS: i64 = 200;
    let (x, y) = ("x".repeat(100_000), "y".repeat(100_000));
    let kafka = Kafka::shared();
    let (topic, transactions) = ("large.public.t", "large.transaction");
    kafka.create(topic, 1);
    kafka.create(transactions, 1);
    let mut events = Events::of("t");
    let job = Job::following(kafka, r"large\.public\.t")
        .sink("iceberg.control.commit.interval-ms", "100")
        .sink("commit.max.rows", "20");
    let lake = job.lake();
    let mut running = job.start(&[]);
    kafka.write(topic, &first(&mut events));
    until_rows(&rows(FIRST), &lake, "t", &mut running);
    running.kill();
    // Rows of the transaction that it changes again, and takes back, over many parts; with rows of before.
    events.begin();
    let mut messages: Vec<_> = (10..10 + ROWS).map(|id| events.create(id, &x)).collect();
    messages.extend((10..10 + ROWS).map(|id| events.update(id, &y)));
    messages.push(events.delete(2));
    messages.extend((10..10 + ROWS).filter(|id| id % 10 > 0).map(|id| events.delete(id)));
    let last = messages.split_off(messages.len() - 100);
    kafka.write(topic, &messages);
    for kill in ["iceberg.follow.after-part=kill@1", "iceberg.follow.after-part=kill@4"] {
        let failpoints = format!("{kill};{}", PATIENT.1);
        let outcome = job.start_with(&[], &[(PATIENT.0, &failpoints)]).wait();
        assert_eq!(outcome.code, None, "{}", outcome.output);
        assert_rows(&rows(FIRST), &lake, "t");
    }
    let mut running = job.start_with(&[], &[PATIENT]);
    std::thread::sleep(Duration::from_secs(2));
    assert_rows(&rows(FIRST), &lake, "t");
    kafka.write(topic, &last);
    kafka.write(transactions, &[events.end()]);
    let left = (10..10 + ROWS).step_by(10).map(|id| (id, y.as_str()));
    until_rows(&rows([(1, "a"), (3, "c")].into_iter().chain(left)), &lake, "t", &mut running);
    // Through the index as it is now.
    kafka.write(topic, &[events.update(10, "z")]);
    let left = (20..10 + ROWS).step_by(10).map(|id| (id, y.as_str()));
    until_rows(&rows([(1, "a"), (3, "c"), (10, "z")].into_iter().chain(left)), &lake, "t", &mut running);
    running.terminate();
    running.wait().expect(OK);
    let mut counts: Vec<u64> = lake.history("t", "id").into_iter().map(|(_, rows)| rows).collect();
    counts.sort_unstable();
    counts.dedup();
    assert_eq!(counts, [3, 22]);
    assert_eq!(lake.orphans(), [""; 0].map(std::path::PathBuf::from));
}

/// A table of a topic that another one's name stands for: it is read from where it stands itself, and one that is gone
/// from its beginning.
#[test]
fn a_topic_of_several_tables_is_read_from_where_each_stands() {
    let kafka = Kafka::shared();
    let topic = "many.public.t";
    kafka.create(topic, 1);
    let (mut t, mut u) = (Events::of("t"), Events::of("u"));
    kafka.write(topic, &first(&mut t));
    kafka.write(topic, &first(&mut u));
    let job = Job::following(kafka, r"many\.public\.t");
    let lake = job.lake();
    let mut running = job.start(&[]);
    until_rows(&rows(FIRST), &lake, "t", &mut running);
    until_rows(&rows(FIRST), &lake, "u", &mut running);
    running.kill();
    // Of the one what came last is not applied, of the other it is.
    kafka.write(topic, &[u.update(1, "x"), t.update(1, "x")]);
    let mut running = job.start_with(&[], &[("CONNECT_FAILPOINTS", "iceberg.follow.before-commit=delay(100000)@1")]);
    running.until("one of them", || {
        let has_x =
            |table| lake.rows(Engine::DuckDb, table)?.rows.iter().find(|row| row[1].as_deref() == Some("x")).cloned();
        (has_x("t") != has_x("u")).then_some(())
    });
    running.kill();
    kafka.write(topic, &[u.create(4, "y"), t.create(4, "y")]);
    let mut running = job.start(&[]);
    let wanted = [(1, "x"), (2, "b"), (3, "c"), (4, "y")];
    until_rows(&rows(wanted), &lake, "t", &mut running);
    until_rows(&rows(wanted), &lake, "u", &mut running);
    running.terminate();
    running.wait().expect(OK);
    lake.drop_table("u");
    kafka.write(topic, &[u.delete(4), t.delete(4)]);
    let mut running = job.start(&[]);
    until_rows(&rows(wanted[..3].iter().copied()), &lake, "t", &mut running);
    until_rows(&rows(wanted[..3].iter().copied()), &lake, "u", &mut running);
    running.terminate();
    running.wait().expect(OK);
}
