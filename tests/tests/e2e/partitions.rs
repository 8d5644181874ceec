//! Tables whose topics have several partitions, that are added to and whose columns change meanwhile.

use connect_tests::compare::{Rows, until_rows};
use connect_tests::events::{Events, rows};
use connect_tests::kafka::{Kafka, Message};
use connect_tests::runtime::{Job, OK, SOME_TABLES_FAILED};

use crate::log_faults::{FIRST, first};

#[test]
fn partitions_that_are_added_are_read_after_the_older_ones() {
    let kafka = Kafka::shared();
    kafka.create("grown.public.t", 1);
    let mut events = Events::of("t");
    let job = Job::following(kafka, r"grown\.public\.t");
    let mut running = job.start(&[]);
    kafka.write("grown.public.t", &first(&mut events));
    until_rows(&rows(FIRST), &job.lake(), "t", &mut running);
    running.kill();
    // While nobody reads: later events of one key lie in another partition.
    kafka.write("grown.public.t", &[events.update(1, "older"), events.update(2, "older")]);
    kafka.grow("grown.public.t", 3);
    let in_partition = |partition, message| Message { partition, ..message };
    kafka.write(
        "grown.public.t",
        &[
            in_partition(1, events.update(1, "newer")),
            in_partition(2, events.delete(2)),
            in_partition(2, events.create(4, "d")),
        ],
    );
    let mut running = job.start(&[]);
    until_rows(&rows([(1, "newer"), (3, "c"), (4, "d")]), &job.lake(), "t", &mut running);
    // And while it reads.
    kafka.grow("grown.public.t", 4);
    kafka.write("grown.public.t", &[in_partition(3, events.create(5, "e"))]);
    until_rows(&rows([(1, "newer"), (3, "c"), (4, "d"), (5, "e")]), &job.lake(), "t", &mut running);
    // All partitions at once cannot be put in order.
    kafka.write("grown.public.t", &[in_partition(1, events.truncate())]);
    running.until_it_says("a truncation of a table whose topic has several partitions");
    running.terminate();
    running.wait().expect(SOME_TABLES_FAILED);
}

/// What the log asks of a broker does not wait behind a fetch of what does not come: half a minute for each partition.
#[test]
fn partitions_that_are_at_their_end_are_opened_at_once() {
    let kafka = Kafka::shared();
    kafka.create("idle.public.t", 12);
    let mut events = Events::of("t");
    kafka.write("idle.public.t", &first(&mut events));
    let job = Job::following(kafka, r"idle\.public\.t").sink("consumer.override.fetch.wait.max.ms", "30000");
    let mut running = job.start(&[]);
    until_rows(&rows(FIRST), &job.lake(), "t", &mut running);
    running.terminate();
    running.wait().expect(OK);
    let mut running = job.start(&[]);
    running.until_it_says("following a topic");
    // The last to be opened.
    kafka.write("idle.public.t", &[Message { partition: 11, ..events.create(4, "d") }]);
    until_rows(&rows([(1, "a"), (2, "b"), (3, "c"), (4, "d")]), &job.lake(), "t", &mut running);
    running.terminate();
    running.wait().expect(OK);
}

/// Each partition comes to the columns in its own time: one has much of before them still to be read, one only what comes
/// after the second, one nothing after either for a while, and one is added while another waits.
#[test]
fn columns_that_are_added_reach_each_partition_in_its_own_time() {
    let kafka = Kafka::shared();
    kafka.create("wider.public.t", 3);
    let mut events = Events::of("t");
    let mut wanted = Rows { columns: ["id", "v", "w", "x"].map(str::to_owned).to_vec(), rows: Vec::new() };
    let row = |id: i64, more: &[Option<&str>]| {
        [Some(id.to_string()), Some("v".into())].into_iter().chain(more.iter().map(|v| v.map(str::to_owned))).collect()
    };
    let create = |events: &mut Events, partition, id| Message { partition, ..events.create(id, "v") };
    // Few but in the second.
    let place = |id: i64| if id % 100 < 98 { 1 } else { (id % 2) as i32 * 2 };
    let mut messages: Vec<Message> = (0..3000).map(|id| create(&mut events, place(id), id)).collect();
    wanted.rows.extend((0..3000).map(|id| row(id, &[None, None])));
    events.grow("w", "w");
    messages.extend((3000..3010).map(|id| create(&mut events, 1, id)));
    wanted.rows.extend((3000..3010).map(|id| row(id, &[Some("w"), None])));
    events.grow("x", "x");
    messages.extend((3010..3020).map(|id| create(&mut events, (id % 2) as i32, id)));
    wanted.rows.extend((3010..3021).map(|id| row(id, &[Some("w"), Some("x")])));
    kafka.write("wider.public.t", &messages);
    let job = Job::following(kafka, r"wider\.public\.t");
    let mut running = job.start(&[]);
    kafka.write("wider.public.t", &[create(&mut events, 2, 3020)]);
    until_rows(&wanted, &job.lake(), "t", &mut running);
    running.kill();
    // What the new partition has of before the third column waits for what the first has of after it, and the other way.
    kafka.grow("wider.public.t", 4);
    let before = create(&mut events, 3, 5000);
    events.grow("y", "y");
    kafka.write("wider.public.t", &[before, create(&mut events, 0, 5001), create(&mut events, 3, 5002)]);
    wanted.columns.push("y".into());
    wanted.rows.iter_mut().for_each(|row| row.push(None));
    let y = |id, y| row(id, &[Some("w"), Some("x"), y]);
    wanted.rows.extend([y(5000, None), y(5001, Some("y")), y(5002, Some("y"))]);
    let mut running = job.start(&[]);
    until_rows(&wanted, &job.lake(), "t", &mut running);
    running.terminate();
    running.wait().expect(OK);
}

/// What ends a transaction of a producer has an offset that no reader comes to.
#[test]
fn partitions_that_are_added_do_not_wait_for_the_ends_of_transactions() {
    let kafka = Kafka::shared();
    kafka.create("marked.public.t", 1);
    let mut events = Events::of("t");
    let job = Job::following(kafka, r"marked\.public\.t");
    let mut running = job.start(&[]);
    kafka.write_in_a_transaction("marked.public.t", &first(&mut events), true);
    until_rows(&rows(FIRST), &job.lake(), "t", &mut running);
    kafka.write_in_a_transaction("marked.public.t", &[events.delete(1)], false);
    kafka.grow("marked.public.t", 2);
    kafka.write("marked.public.t", &[Message { partition: 1, ..events.update(2, "z") }]);
    until_rows(&rows([(1, "a"), (2, "z"), (3, "c")]), &job.lake(), "t", &mut running);
    running.terminate();
    running.wait().expect(OK);
}
