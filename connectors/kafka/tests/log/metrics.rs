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
    let (mut lag, mut age) = (0, 0);
    // Whoever takes it is slow until both are told, and holds up the reading. The events' clocks are those of 1970.
    let slow = |seen: &Reading| {
        (lag, age) = (lag.max(seen.metric(LAG)), age.max(seen.metric(LAG_MS)));
        if lag == 0 || age < 1 << 40 {
            std::thread::sleep(Duration::from_millis(100));
        }
        seen.changes == 201
    };
    reading.until("every event", slow).await;
    assert!(lag > 0 && age > 1 << 40, "{lag} messages and {age} ms behind");
    reading.until("nothing that is not read", |seen| seen.metric(LAG) == 0).await;
    reading.until("nothing that comes", |seen| seen.metric(LAG_MS) == 0).await;
}
