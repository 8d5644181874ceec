//! Partitions that are added to a topic (P22).

use connect_tests::events::Events;
use connect_tests::kafka::{Kafka, Message};

use crate::read::Reading;

/// What is made of the log, and is committed nowhere yet, stays as it has come when another partition has some of it too.
#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_is_added_before_the_first_commit_costs_no_row() {
    // The name of the one tells the table, that of the other does not.
    for topic in ["young.public.t", "young"] {
        let kafka = tokio::task::block_in_place(Kafka::shared);
        kafka.create(topic, 1);
        let mut events = Events::of("t");
        kafka.write(topic, &[events.create(1, "a"), events.create(2, "b")]);
        let mut reading = Reading::of(kafka, &topic.replace('.', r"\."), &[]).await;
        reading.until("the first two", |seen| seen.changes == 2).await;
        kafka.grow(topic, 2);
        kafka.write(topic, &[Message { partition: 1, ..events.update(1, "c") }, events.create(3, "d")]);
        reading.until("the other partition's", |seen| seen.changes == 4).await;
        assert_eq!((reading.opened, reading.failed.as_slice()), (1, &[][..]));
    }
}

/// Two sources that have a table of one name: nobody knows whose rows replace whose.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_two_topics_tell_of_stops() {
    let kafka = tokio::task::block_in_place(Kafka::shared);
    for topic in ["north.public.t", "south.public.t"] {
        kafka.create(topic, 1);
        kafka.write(topic, &[Events::of("t").create(1, topic)]);
    }
    // Made of the log, and loaded.
    for marks in [|_| None, Some] {
        let mut reading = Reading::from(kafka, r"(north|south)\.public\.t", &[], marks).await;
        reading.until("the refusal", |seen| !seen.failed.is_empty()).await;
        assert!(reading.failed[0].contains("two topics tell of one table"), "{:?}", reading.failed);
    }
}

/// A table whose name is not the topic's, and that is gone from the sink, is made of all that every partition has of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_made_anew_has_what_other_partitions_passed_over() {
    let kafka = tokio::task::block_in_place(Kafka::shared);
    kafka.create("passed.public.t", 2);
    let mut events = Events::of("u");
    let second = Message { partition: 1, ..events.create(2, "b") };
    kafka.write("passed.public.t", &[events.create(1, "a"), second]);
    let mut reading = Reading::from(kafka, r"passed\.public\.t", &[], Some).await;
    reading.until("the other table opened", |seen| seen.opened == 1).await;
    kafka.write("passed.public.t", &[events.create(3, "c")]);
    reading.until("all three", |seen| seen.opened == 2 && seen.changes == 3).await;
}
