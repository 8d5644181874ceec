//! What fails: a table alone, the log or the sink as a whole, for a while or for good.

use connector_api::testing::memory::Mishap;
use connector_api::testing::scripted::{Act, Call};

use super::*;

/// Every call that may fail by itself.
const CALLS: [Call; 8] = [
    Call::Follow,
    Call::OpenApply,
    Call::NextEvent,
    Call::Standing,
    Call::Apply,
    Call::CommitApplied,
    Call::CloseLog,
    Call::CloseApply,
];

#[tokio::test(start_paused = true)]
async fn what_may_pass_is_tried_again_at_every_call() {
    for call in CALLS {
        for nth in [1, 2, 5] {
            let script = Script::default().on(call, nth, Act::Fail(RETRIABLE));
            let bench = Bench::new(three_tables(), script);
            let report = bench.run().await;
            bench.expect_all(&format!("{call:?} {nth}: {report:?}"));
            let at_the_end = matches!(call, Call::CloseLog | Call::CloseApply) && nth == 1;
            assert_eq!(matches!(report.end, End::Failed(_)), at_the_end, "{call:?} {nth}: {report:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_ends_it_loses_and_doubles_nothing() {
    for call in CALLS {
        for act in [Act::Fail(ErrorKind::Fatal), Act::Fail(ErrorKind::Data), Act::Panic] {
            for nth in [1, 3] {
                let script = Script::default().on(call, nth, act.clone());
                let mut bench = Bench::new(three_tables(), script);
                let report = bench.run().await;
                let when = format!("{call:?} {act:?} {nth}");
                let of_table = call == Call::Standing && !matches!(act, Act::Panic);
                let hit = bench.script.seen(call) >= nth;
                assert_eq!(matches!(report.end, End::Failed(_)), hit && !of_table, "{when}: {report:?}");
                assert_eq!(bench.status().0 == State::Failed, hit, "{when}");
                (bench.script, bench.cancel) = (Script::default(), CancellationToken::new());
                bench.run().await;
                bench.expect_all(&when);
            }
        }
    }
}

/// A task that ends by an error takes its tables with it, and nobody else's; what is shown while the others go on is so.
#[tokio::test(start_paused = true)]
async fn a_task_that_fails_ends_no_other() {
    for act in [Act::Fail(ErrorKind::Fatal), Act::Panic] {
        let script = Script::default().on(Call::Apply, 3, act);
        let bench = Bench { tasks: 3, ..Bench::new(three_tables(), script) };
        let running = tokio::spawn(bench.start());
        tokio::time::sleep(Duration::from_secs(60)).await;
        let status = bench.shared.connector("lake").unwrap();
        let failed: Vec<_> = status.tasks.iter().filter(|task| task.state == State::Failed).collect();
        assert_eq!((status.tasks.len(), status.state, failed.len()), (3, State::Running, 1));
        assert!(failed[0].trace.is_some() && status.trace == failed[0].trace);
        let text = bench.shared.metrics_text();
        let of = |state: &str| {
            let name = format!(r#"connect_follow_tables{{connector="lake",state="{state}"}} "#);
            text.lines().find_map(|line| line.strip_prefix(&name)).map_or(0, |count| count.parse().unwrap())
        };
        let (followed, not): (u64, u64) = (of("followed"), of("failed"));
        assert!(followed > 0 && not > 0, "{text}");
        bench.cancel.cancel();
        let report = running.await.unwrap();
        assert!(matches!(report.end, End::Failed(_)), "{report:?}");
        assert_eq!(report.failed() as u64, not, "{report:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn panics_in_what_cannot_fail_are_contained() {
    for call in [Call::Acknowledge, Call::Stop] {
        let mut bench = Bench::new(three_tables(), Script::default().on(call, 1, Act::Panic));
        bench.sink = bench.sink.with(&id("b"), Mishap::Passes(1));
        let report = bench.run().await;
        assert_eq!(told(&report).pop().unwrap(), "ended (a connector panicked: this is a bug in it)", "{call:?}");
        (bench.script, bench.cancel) = (Script::default(), CancellationToken::new());
        bench.run().await;
        bench.expect_all(&format!("{call:?}"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_table_that_fails_for_a_while_is_opened_where_it_stands() {
    for mishap in [Mishap::Passes(4), Mishap::AnswerLost, Mishap::RefusesRows(3, RETRIABLE)] {
        let mut bench = Bench::new(three_tables(), Script::default());
        bench.sink = bench.sink.with(&id("b"), mishap.clone());
        let report = bench.run().await;
        assert_eq!(told(&report), ["a followed", "b followed", "c followed", "stopped"], "{mishap:?}");
        bench.expect_all(&format!("{mishap:?}"));
        assert!(bench.metric("kafka_connect_task_error_total_retries") > 0);
        let opened = |t: &str| bench.sink.order().iter().filter(|line| **line == format!("open public.{t}")).count();
        assert!(opened("b") > 1 && opened("a") == 1, "{mishap:?}: {:?}", bench.sink.order());
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_table_holds_up_no_other() {
    for (mishap, message) in [
        (Mishap::Fails("v does not fit".into()), "v does not fit"),
        (Mishap::RefusesRows(2, ErrorKind::Fatal), "rows refused"),
    ] {
        let mut bench = Bench::new(three_tables(), Script::default());
        bench.sink = bench.sink.with(&id("b"), mishap);
        let running = tokio::spawn(bench.start());
        tokio::time::sleep(Duration::from_secs(60)).await;
        bench.log.append(&id("a"), 0, [Change::Truncate]);
        bench.log.append(&id("b"), 0, [Change::Truncate]);
        tokio::time::sleep(Duration::from_secs(60)).await;
        // The task goes on, and says what is wrong.
        let (state, trace) = bench.status();
        assert!(state == State::Running && trace.contains("public.b: ") && trace.contains(message), "{trace}");
        assert_eq!(bench.sink.pairs(&id("a")), Some(vec![]));
        bench.cancel.cancel();
        let report = running.await.unwrap();
        assert_eq!(told(&report), ["a followed", &format!("b failed ({message})"), "c followed", "stopped"]);
        assert_eq!((report.failed(), bench.status().0), (1, State::Failed));
        // Nothing of it reached the sink after it had failed.
        let order = bench.sink.order();
        assert!(!order.contains(&"truncate public.b".to_owned()), "{order:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_bad_record_stops_its_table_with_what_came_before_it() {
    let bench = Bench::new(three_tables(), Script::default());
    bench.log.append(&id("b"), 0, [Change::Bad, Change::Truncate]);
    let report = bench.run().await;
    assert_eq!(told(&report), ["a followed", "b failed (a bad record)", "c followed", "stopped"]);
    bench.expect_all("beside a bad record");
}

#[tokio::test(start_paused = true)]
async fn a_failed_table_stays_so_when_all_is_opened_again() {
    let script = Script::default().on_table(&id("a"), Call::Apply, 9, Act::Fail(RETRIABLE));
    let mut bench = Bench::new(three_tables(), script);
    bench.sink = bench.sink.with(&id("b"), Mishap::Fails("no".into()));
    let running = tokio::spawn(bench.start());
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(bench.script.seen(Call::Apply) > 9 && bench.is_applied("a"));
    bench.cancel.cancel();
    assert_eq!(told(&running.await.unwrap()), ["a followed", "b failed (no)", "c followed", "stopped"]);
    assert_eq!(bench.sink.order().iter().filter(|line| *line == "open public.b").count(), 1);
}

#[tokio::test(start_paused = true)]
async fn patience_ends() {
    let mut bench = Bench::new(three_tables(), Script::default());
    bench.patience.timeout = Some(Duration::from_secs(100));
    bench.sink = bench.sink.with(&id("b"), Mishap::Passes(u32::MAX));
    let running = tokio::spawn(bench.start());
    tokio::time::sleep(Duration::from_secs(80)).await;
    assert!(bench.shared.metrics_text().contains(r#"state="resting"} 1"#));
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert!(bench.shared.metrics_text().contains(r#"state="failed"} 1"#));
    bench.cancel.cancel();
    assert_eq!(told(&running.await.unwrap()), ["a followed", "b failed (a passing failure)", "c followed", "stopped"]);
    // A log that cannot be opened.
    let failing = (1..1000).fold(Script::default(), |script, n| script.on(Call::Follow, n, Act::Fail(RETRIABLE)));
    let mut bench = Bench::new(three_tables(), failing);
    bench.patience.timeout = Some(Duration::from_secs(100));
    let report = bench.run().await;
    assert_eq!(told(&report), ["ended (scripted failure)"]);
    assert!((100..130).contains(&report.elapsed.as_secs()), "{report:?}");
}
