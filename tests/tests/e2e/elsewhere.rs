//! What went wrong in other sinks of change events, as their issue trackers tell, where no test of another name shows it;
//! each by the number of its report.

use connect_tests::compare::until_rows;
use connect_tests::events::{Events, rows};
use connect_tests::kafka::{Kafka, Message};
use connect_tests::runtime::{Job, OK};

/// Events, and the rows that there are after them.
type Stretch<'a> = (Vec<Message>, &'a [(i64, &'a str)]);

/// Applies stretches of events, each with a commit of its own, and compares after each.
fn follow(prefix: &str, sink: &[(&str, &str)], stretches: &[Stretch<'_>]) {
    let kafka = Kafka::shared();
    let topic = format!("{prefix}.public.t");
    kafka.create(&topic, 1);
    let job = sink.iter().fold(Job::following(kafka, &topic.replace('.', r"\.")), |job, (k, v)| job.sink(k, v));
    let mut running = job.start(&[]);
    for (messages, wanted) in stretches {
        kafka.write(&topic, messages);
        until_rows(&rows(wanted.iter().copied()), &job.lake(), "t", &mut running);
    }
    running.terminate();
    running.wait().expect(OK);
}

#[test]
fn apache_iceberg_13547_the_last_change_of_a_key_wins() {
    let mut events = Events::of("t");
    let stretch = vec![
        events.create(1, "a"),
        events.update(1, "b"),
        events.create(2, "a"),
        events.delete(2),
        events.create(2, "b"),
        events.update(1, "c"),
        events.create(3, "a"),
        events.delete(3),
    ];
    follow("x13547", &[], &[(stretch, &[(1, "c"), (2, "b")])]);
}

#[test]
fn debezium_server_iceberg_661_no_clock_orders_changes() {
    let mut events = Events::of("t");
    let mut stretch = Vec::new();
    for (clock, v) in [(9000, "a"), (5000, "b"), (7000, "c"), (1000, "d")] {
        events.clock = clock;
        stretch.push(events.update(1, v));
    }
    let second = vec![events.update(1, "e")];
    follow("x661", &[], &[(stretch, &[(1, "d")]), (second, &[(1, "e")])]);
}

/// With the default replica identity a delete tells the key alone.
#[test]
fn databricks_318_a_delete_without_the_partition_value_finds_its_row() {
    let mut events = Events::of("t");
    let first = vec![events.create(1, "a"), events.create(2, "a"), events.create(3, "b")];
    let second = vec![events.delete(1), events.delete(3)];
    let sink = [("iceberg.table.public.t.partition-by", "v")];
    follow("x318", &sink, &[(first, &[(1, "a"), (2, "a"), (3, "b")]), (second, &[(2, "a")])]);
}

#[test]
fn debezium_server_iceberg_630_a_row_that_changes_its_partition_is_there_once() {
    let mut events = Events::of("t");
    let first = vec![events.create(1, "a"), events.create(2, "a")];
    let second = vec![events.update(1, "b"), events.update(2, "b"), events.update(2, "c")];
    let third = vec![events.update(1, "a")];
    let sink = [("iceberg.table.public.t.partition-by", "v")];
    let stretches: [Stretch<'_>; 3] =
        [(first, &[(1, "a"), (2, "a")]), (second, &[(1, "b"), (2, "c")]), (third, &[(1, "a"), (2, "c")])];
    follow("x630", &sink, &stretches);
}

/// And 341: a writer that is kept for each partition.
#[test]
fn databricks_227_many_partitions_take_no_more_memory() {
    let kafka = Kafka::shared();
    kafka.create("x227.public.t", 1);
    let mut events = Events::of("t");
    let text = "x".repeat(200);
    let messages: Vec<Message> = (0..20_000).map(|id| events.create(id, &text)).collect();
    let wanted = rows((0..20_000).map(|id| (id, text.as_str())));
    let peak = |partitions: &str| {
        let job = Job::following(kafka, r"x227\.public\.t").worker("memory.max", "64MiB");
        let job = job.sink("iceberg.table.public.t.partition-by", partitions);
        let mut running = job.start(&[]);
        until_rows(&wanted, &job.lake(), "t", &mut running);
        running.terminate();
        running.wait().expect(OK).peak
    };
    kafka.write("x227.public.t", &messages);
    let (one, many) = (peak(""), peak("bucket(id, 400)"));
    assert!(many < one + (32 << 20), "{many} bytes with 400 partitions, {one} with one");
}

#[test]
fn apache_iceberg_17811_what_is_idle_holds_nothing_up() {
    let kafka = Kafka::shared();
    kafka.create("x17811.public.t", 3);
    kafka.create("x17811.public.idle", 1);
    kafka.create("x17811.public.quiet", 1);
    let (mut events, mut quiet) = (Events::of("t"), Events::of("quiet"));
    let job = Job::following(kafka, r"x17811\.public\..*");
    let mut running = job.start(&[]);
    kafka.write("x17811.public.quiet", &[quiet.create(1, "a")]);
    until_rows(&rows([(1, "a")]), &job.lake(), "quiet", &mut running);
    for id in 1..4 {
        kafka.write("x17811.public.t", &[events.create(id, "a")]);
        until_rows(&rows((1..=id).map(|id| (id, "a"))), &job.lake(), "t", &mut running);
    }
    running.terminate();
    running.wait().expect(OK);
}
