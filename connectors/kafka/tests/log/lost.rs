//! Topics that are not any more what a table was followed from (P23).

use std::sync::Arc;

use connect_tests::events::Events;
use connect_tests::kafka::Kafka;

use crate::read::Reading;

/// What a broker has lost is not taken for read.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_beyond_the_end_of_its_topic_stops() {
    let kafka = tokio::task::block_in_place(Kafka::shared);
    kafka.create("beyond.public.t", 1);
    let mut events = Events::of("t");
    kafka.write("beyond.public.t", &[events.create(1, "a"), events.create(2, "b")]);
    let at = |offset: &'static str| {
        move |ends: connector_api::Marks| {
            Some(ends.into_keys().map(|partition| (partition, Arc::from(offset))).collect())
        }
    };
    let mut reading = Reading::from(kafka, r"beyond\.public\.t", &[], at("3")).await;
    reading.until("the table stopped", |seen| !seen.failed.is_empty()).await;
    let why = &reading.failed[0];
    assert!(why.starts_with("the table is beyond the end of its topic"), "{why}");
    assert!(why.contains("offset=3") && why.contains("end=2") && why.contains("table=public.t"), "{why}");
    // At the end it waits for what comes.
    let mut reading = Reading::from(kafka, r"beyond\.public\.t", &[], at("2")).await;
    reading.until("the table opened", |seen| seen.opened == 1).await;
    kafka.write("beyond.public.t", &[events.create(3, "c")]);
    reading.until("the third", |seen| seen.changes == 1).await;
    assert_eq!(reading.failed, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_was_deleted_stops_its_tables() {
    let kafka = tokio::task::block_in_place(Kafka::shared);
    for topic in ["gone.public.t", "gone.public.u"] {
        kafka.create(topic, 1);
    }
    kafka.write("gone.public.t", &[Events::of("t").create(1, "a")]);
    let mut u = Events::of("u");
    let mut reading = Reading::of(kafka, r"gone\.public\..", &[]).await;
    reading.until("the first", |seen| seen.changes == 1).await;
    kafka.delete("gone.public.t");
    reading.until("the table stopped", |seen| !seen.failed.is_empty()).await;
    assert!(reading.failed[0].starts_with("the topic is not there any more"), "{:?}", reading.failed);
    assert!(reading.failed[0].contains("topic=gone.public.t, table=public.t"), "{:?}", reading.failed);
    kafka.write("gone.public.u", &[u.create(1, "a")]);
    reading.until("another table's", |seen| seen.opened == 2 && seen.changes == 1).await;
    assert_eq!(reading.failed.len(), 1);
}
