//! How far behind reading is, as operators are told.

use std::time::Duration;

use connect_tests::events::Events;
use connect_tests::kafka::Kafka;

use crate::read::Reading;

const LAG: &str = "kafka_consumer_fetch_manager_records_lag";
const LAG_MS: &str = "debezium_milliseconds_behind_source";

/// Whatever of it is durable, and also where what ends a producer's transaction lies at the end.
#[tokio::test(flavor = "multi_thread")]
async fn lag_is_what_is_not_read_and_ends_with_it() {
    let kafka = tokio::task::block_in_place(Kafka::shared);
    kafka.create("lag.public.t", 1);
    let mut events = Events::of("t");
    let large = "v".repeat(100_000);
    kafka.write("lag.public.t", &[events.create(0, "")]);
    let mut reading = Reading::of(kafka, r"lag\.public\.t", &[]).await;
    reading.until("the first", |seen| seen.changes == 1).await;
    reading.acknowledge().await;
    reading.until("the group's offset", |_| kafka.group_offset("connect-log", "lag.public.t", 0) == Some(1)).await;
    let messages: Vec<_> = (1..=200).map(|id| events.create(id, &large)).collect();
    kafka.write_in_a_transaction("lag.public.t", &messages, true);
    // Whoever takes it is slow.
    let slow = |seen: &Reading| {
        std::thread::sleep(Duration::from_millis(100));
        seen.metric(LAG) > 0
    };
    reading.until("what is not read", slow).await;
    reading.until("every event", |seen| seen.changes == 201).await;
    // Their clocks are those of 1970.
    reading.until("their age", |seen| seen.metric(LAG_MS) > 1 << 40).await;
    reading.until("nothing that is not read", |seen| seen.metric(LAG) == 0).await;
    reading.until("nothing that comes", |seen| seen.metric(LAG_MS) == 0).await;
}
