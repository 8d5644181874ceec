//! The servers of Kafka's tests themselves: what they say they do, they do.

use connect_tests::debezium::{Debezium, Format};
use connect_tests::kafka::{Kafka, Message};
use connect_tests::postgres::Server;

#[test]
fn a_killed_broker_has_what_it_acknowledged() {
    let kafka = Kafka::start();
    kafka.create("t", 2);
    let messages: Vec<_> =
        (0..100).map(|i| Message { partition: i % 2, ..Message::new("k", &i.to_string()) }).collect();
    kafka.write("t", &messages);
    kafka.kill();
    kafka.start_again();
    let read = kafka.read("t");
    assert_eq!(read.len(), 100);
    assert!(messages.iter().all(|message| read.contains(message)));
    kafka.forget_before("t", 0, 10);
    assert_eq!((kafka.ends("t", 0), kafka.ends("t", 1)), ((10, 50), (0, 50)));
    kafka.grow("t", 3);
    kafka.delete("t");
}

#[test]
fn what_was_not_committed_is_not_read() {
    let kafka = Kafka::shared();
    kafka.create("transactions", 1);
    kafka.write_in_a_transaction("transactions", &[Message::new("a", "committed")], true);
    kafka.write_in_a_transaction("transactions", &[Message::new("a", "aborted")], false);
    assert_eq!(kafka.read("transactions"), [Message::new("a", "committed")]);
}

#[test]
fn debezium_sends_events_in_every_format() {
    for format in [Format::Json, Format::JsonWithSchemas, Format::Avro] {
        let database = Server::shared().database();
        database.sql("CREATE TABLE t (id int PRIMARY KEY, v text)");
        let mut debezium = Debezium::new(&database, format);
        debezium.start();
        database.sql("INSERT INTO t VALUES (1, 'Pflaume'); DELETE FROM t");
        debezium.until_caught_up();
        let messages = Kafka::shared().read(&debezium.topic("t"));
        let created = messages[0].value.clone().unwrap();
        // Confluent's frame: a zero, and a schema's number, which the registry counts from 1.
        let framed = created.starts_with(&[0, 0, 0, 0]) && created[4] > 0;
        assert!(created.windows(7).any(|part| part == b"Pflaume"), "{messages:?}");
        assert!(messages.last().unwrap().value.is_none(), "no tombstone: {messages:?}");
        let text = String::from_utf8_lossy(&created);
        assert_eq!(framed, format == Format::Avro, "{text}");
        assert_eq!(text.starts_with("{\"schema\":"), format == Format::JsonWithSchemas, "{text}");
    }
}
