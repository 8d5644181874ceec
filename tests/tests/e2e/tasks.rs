//! Several tasks of one sink (P21).

use std::collections::BTreeMap;

use connect_tests::compare::until_rows;
use connect_tests::events::{Events, rows};
use connect_tests::http;
use connect_tests::kafka::{Kafka, Message};
use connect_tests::postgres::free_port;
use connect_tests::runtime::{Job, OK, SOME_TABLES_FAILED};
use serde_json::Value;

const TABLES: usize = 6;

/// Tables are dealt to the tasks of a sink, each to one; another number of tasks goes on where the tables stand, and a table
/// that fails is trouble of its own task's.
#[test]
fn tables_are_dealt_to_tasks() {
    let kafka = Kafka::shared();
    let topic = |table: usize| format!("dealt.public.t{table}");
    (0..TABLES).for_each(|table| kafka.create(&topic(table), 1));
    let mut events: Vec<_> = (0..TABLES).map(|table| Events::of(&format!("t{table}"))).collect();
    let port = free_port();
    let job = Job::following(kafka, r"dealt\.public\..*").sink("iceberg.control.commit.interval-ms", "100");
    let mut job = job.worker("rest.listeners", &format!("http://127.0.0.1:{port}"));
    let get = |path: &str| http::get(port, path).map(|(_, body)| body).unwrap_or_default();
    let of_tasks = |metric: &str| -> BTreeMap<String, u64> {
        let value = |line: &str| {
            let (labels, value) = line.strip_prefix(metric)?.rsplit_once(' ')?;
            let task = labels.split_once("task=\"")?.1.split_once('"')?.0;
            Some((task.to_owned(), value.parse().ok()?))
        };
        get("/metrics").lines().filter_map(value).collect()
    };
    let mut expected: Vec<(i64, String)> = Vec::new();
    for (id, tasks) in (1..).zip([3, 1, 5]) {
        job = job.sink("tasks.max", &tasks.to_string());
        for (table, events) in events.iter_mut().enumerate() {
            kafka.write(&topic(table), &[events.create(id, &tasks.to_string())]);
        }
        expected.push((id, tasks.to_string()));
        let mut running = job.start(&[]);
        for table in 0..TABLES {
            let expected = rows(expected.iter().map(|(id, v)| (*id, v.as_str())));
            until_rows(&expected, &job.lake(), &format!("t{table}"), &mut running);
        }
        // Each event went through one of them, and none of them has all.
        let sent = of_tasks("kafka_connect_sink_task_sink_record_send_total");
        assert_eq!((sent.len(), sent.values().sum::<u64>()), (tasks, TABLES as u64), "{sent:?}");
        assert!(tasks == 1 || sent.values().all(|sent| *sent < TABLES as u64), "{sent:?}");
        let status: Value = serde_json::from_str(&get("/connectors/lake/status")).unwrap();
        let states: Vec<_> = status["tasks"].as_array().unwrap().iter().map(|task| &task["state"]).collect();
        assert_eq!(states, vec!["RUNNING"; tasks]);
        if tasks == 5 {
            kafka.write(&topic(0), &[Message { value: Some(b"{".to_vec()), ..events[0].create(9, "bad") }]);
            running.until("its trouble", || get("/connectors/lake/status").contains("dealt.public.t0").then_some(()));
            let status: Value = serde_json::from_str(&get("/connectors/lake/status")).unwrap();
            let troubled = status["tasks"].as_array().unwrap().iter().filter(|task| !task["trace"].is_null()).count();
            assert_eq!(troubled, 1, "{status}");
            assert!(status["connector"]["trace"].as_str().unwrap().contains("public.t0"), "{status}");
        }
        running.terminate();
        let outcome = running.wait().expect(if tasks == 5 { SOME_TABLES_FAILED } else { OK });
        let line = if tasks == 5 {
            "lake: 5 tables followed, 1 failed, 6 changes"
        } else {
            "lake: 6 tables followed, 6 changes"
        };
        assert!(outcome.output.contains(line), "{}", outcome.output);
    }
}
