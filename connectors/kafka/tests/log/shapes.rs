//! Events of another shape than their table's.

use connect_tests::events::Events;
use connect_tests::kafka::{Kafka, Message};

use crate::read::Reading;

/// Else all that follow would be set aside one by one, and the table would differ from its source.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_another_shape_stops_its_table_whatever_is_tolerated() {
    let kafka = tokio::task::block_in_place(Kafka::shared);
    kafka.create("shape.public.t", 1);
    let mut events = Events::of("t");
    kafka.write("shape.public.t", &[events.create(1, "a")]);
    let tolerant = [
        ("errors.tolerance", "all"),
        ("errors.deadletterqueue.topic.name", "shape-dead"),
        ("errors.deadletterqueue.topic.replication.factor", "1"),
    ];
    let mut reading = Reading::of(kafka, r"shape\.public\.t", &tolerant).await;
    reading.until("the first", |seen| seen.changes == 1).await;
    let as_was = |was: &str, is: &str, message: Message| {
        let value = String::from_utf8(message.value.unwrap()).unwrap();
        assert!(value.contains(was), "{value}");
        Message { value: Some(value.replace(was, is).into()), ..message }
    };
    // A bad value is the record's own.
    kafka.write("shape.public.t", &[as_was("\"v\":\"?\"", "\"v\":{}", events.update(1, "?")), events.create(2, "b")]);
    reading.until("the second", |seen| seen.changes == 2).await;
    assert_eq!(kafka.read("shape-dead").len(), 1);
    kafka.write("shape.public.t", &[as_was("\"int32\"", "\"float\"", events.create(3, "c")), events.create(4, "d")]);
    reading.until("the table stopped", |seen| !seen.failed.is_empty()).await;
    assert!(reading.failed[0].contains("offset=3") && reading.failed[0].contains("column=id"), "{:?}", reading.failed);
    assert_eq!((kafka.read("shape-dead").len(), reading.changes), (1, 2));
}

/// A record that does not tell its table may be of one that is not known yet: that one does not pass it.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_nobody_knows_whose_is_passed_by_no_table() {
    let kafka = tokio::task::block_in_place(Kafka::shared);
    kafka.create("anyones", 1);
    let mut events = Events::of("t");
    let nobodys = Message { value: Some(b"{".to_vec()), ..events.create(1, "a") };
    kafka.write("anyones", &[nobodys, events.create(2, "b")]);
    let mut reading = Reading::of(kafka, "anyones", &[]).await;
    reading.until("both stopped", |seen| seen.failed.len() == 2).await;
    assert!(reading.failed.iter().all(|error| error.contains("offset=0")), "{:?}", reading.failed);
    assert_eq!(reading.changes, 0);
}

/// A topic that a router makes of several tables' may yet have events of one that was not heard of.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_table_of_a_topic_of_several_holds_up_none_when_it_stops() {
    let kafka = tokio::task::block_in_place(Kafka::shared);
    kafka.create("routed.public.all", 1);
    let (mut t, mut u) = (Events::of("t"), Events::of("u"));
    kafka.write("routed.public.all", &[t.create(1, "a")]);
    let mut reading = Reading::of(kafka, r"routed\.public\.all", &[]).await;
    reading.until("the first", |seen| seen.changes == 1).await;
    let bad = t.create(2, "b");
    let value = String::from_utf8(bad.value.unwrap()).unwrap().replace("\"int32\"", "\"float\"");
    kafka.write("routed.public.all", &[Message { value: Some(value.into()), ..bad }]);
    reading.until("the table stopped", |seen| !seen.failed.is_empty()).await;
    kafka.write("routed.public.all", &[t.create(3, "c"), u.create(1, "a")]);
    reading.until("the other table", |seen| (seen.opened, seen.changes) == (2, 1)).await;
    assert_eq!(reading.failed.len(), 1, "{:?}", reading.failed);
}
