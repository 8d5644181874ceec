//! The conformance suite for logs, on a real broker.

use connect_tests::events::Events;
use connect_tests::kafka::Kafka;
use connector_api::testing::conformance::{self, LogFixture};
use connector_api::{ChangeLog, Role};

struct Topics(&'static Kafka);

impl LogFixture for Topics {
    fn log(&self) -> Box<dyn ChangeLog> {
        let servers = self.0.servers();
        let keys = [("bootstrap.servers", servers.as_str()), ("topics.regex", r"contract\.public\..*")];
        let keys = keys.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        match (connector_kafka::PLUGIN.build)(&keys) {
            Ok(Role::Log(log)) => log,
            _ => unreachable!("the plugin is a log"),
        }
    }

    fn changes(&self) -> usize {
        // Three rounds of eight rows, and of "b" with a truncation and a deletion.
        3 * (8 + 10 + 8)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract() {
    let found = tokio::task::spawn_blocking(|| {
        let kafka = Kafka::shared();
        // One of two partitions, one with truncations, one without a key.
        for (table, has_key, partitions) in [("a", true, 2), ("b", true, 1), ("c", false, 1)] {
            let topic = format!("contract.public.{table}");
            kafka.create(&topic, partitions);
            let mut events = if has_key { Events::of(table) } else { Events::without_key(table) };
            // In several batches, since each write is fetched when it comes.
            for round in 0..3 {
                let mut messages = Vec::new();
                for id in 0..8 {
                    let message = events.create(10 * round + id, &"v".repeat(40_000));
                    let partition = (id % i64::from(partitions)) as i32;
                    messages.push(connect_tests::kafka::Message { partition, ..message });
                }
                if has_key && partitions == 1 {
                    messages.push(events.truncate());
                    messages.push(events.delete(1));
                }
                kafka.write(&topic, &messages);
            }
        }
        kafka
    });
    let violations = conformance::log(&Topics(found.await.expect("the topics are made"))).await;
    assert!(violations.is_empty(), "{violations:?}");
}
