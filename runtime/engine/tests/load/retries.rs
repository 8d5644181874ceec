//! What may pass is tried again: a split goes on where it was, a table that failed in the sink begins anew
//! under the same cut, and a lost cut is followed by another, without a table that mixes the two.

use std::sync::Mutex;

use async_trait::async_trait;
use connector_api::{Plan, Position, Progress, Result, Selection, Source, SourceTask, Split, TaskContext};

use super::*;

const RETRY: Retry = Retry { max: 3, backoff: Duration::from_secs(1) };

fn retrying(source: MemorySource, script: Script) -> Bench {
    Bench { retry: RETRY, ..Bench::new(source, script) }
}

fn retries(bench: &Bench) -> u64 {
    bench.metric("shop", "kafka_connect_task_error_total_retries")
}

/// How often each split was opened.
fn opened(bench: &Bench, split: &str) -> usize {
    bench.source.opened().iter().filter(|s| s.to_string() == split).count()
}

#[tokio::test(start_paused = true)]
async fn a_split_goes_on_where_it_was() {
    let fail = Act::Fail(RETRIABLE);
    for (call, nth) in [(Call::Open, 1), (Call::Next, 1), (Call::Next, 2), (Call::Next, 3), (Call::CloseSource, 1)] {
        let script = Script::default().on_table(&id("b"), call, nth, fail.clone());
        let bench = retrying(three_tables().at_a_time(3, 2), script);
        let report = bench.load().await;
        assert_eq!(told(&report), ["a loaded 7", "b loaded 3", "c loaded 0", "finished"], "{call:?} {nth}");
        // What was delivered is not sent again.
        let order = bench.sink.order();
        let of_b: Vec<_> = order.iter().filter(|l| l.contains("public.b")).map(String::as_str).collect();
        let whole =
            ["begin public.b", "rows public.b/0 2", "rows public.b/0 1", "split public.b/0", "complete public.b"];
        assert_eq!(of_b, whole, "{call:?} {nth}");
        assert_eq!((bench.ids("b"), retries(&bench)), (Some(vec![21, 22, 23]), 1));
        assert_eq!((opened(&bench, "public.a/0"), opened(&bench, "public.a/1")), (1, 1), "the others go on");
    }
}

/// A split that fails again and again with progress in between is not given up; one that stands still is.
#[tokio::test(start_paused = true)]
async fn only_failures_without_progress_are_counted() {
    let ids: Vec<i64> = (0..40).collect();
    let source = || MemorySource::new(vec![MemoryTable::of_ids(&id("t"), &[&ids], 2)]);
    // Every second call fails: ten times more often than may be tried in a row.
    let script = (0..19).fold(Script::default(), |s, n| s.on(Call::Next, 2 * (n + 1), Act::Fail(RETRIABLE)));
    let bench = retrying(source(), script);
    assert_eq!(told(&bench.load().await), ["t loaded 40", "finished"]);
    assert_eq!((bench.ids("t"), retries(&bench)), (Some(ids.clone()), 19));

    let script = (3..=6).fold(Script::default(), |s, nth| s.on(Call::Next, nth, Act::Fail(RETRIABLE)));
    let bench = retrying(source(), script);
    let began = tokio::time::Instant::now();
    let report = bench.load().await;
    assert_eq!(told(&report), ["t failed (scripted failure) 4", "finished"]);
    let Outcome::Failed(error) = &report.tables[0].outcome else { panic!("{report:?}") };
    assert_eq!((error.kind(), error.context("split")), (RETRIABLE, Some("public.t/0")));
    let (_, aborted) = (bench.ids("t"), bench.sink.aborted(&id("t")).unwrap());
    assert!(aborted.ends_with("(attempts: 4)"), "{aborted}");
    // One, two and four seconds, of which up to half are left to chance.
    let waited = began.elapsed().as_secs_f64();
    assert!((3.5..=7.5).contains(&waited), "{waited}");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_pass_is_not_tried_again() {
    let script = Script::default().on_table(&id("b"), Call::Next, 1, Act::Fail(ErrorKind::Data));
    let bench = retrying(three_tables(), script);
    assert_eq!(told(&bench.load().await)[1], "b failed (scripted failure) 0");
    let bench = retrying(three_tables(), Script::default().on(Call::Next, 1, Act::Fail(ErrorKind::Fatal)));
    assert_eq!(told(&bench.load().await).last().unwrap(), "ended (scripted failure)");
    assert_eq!(retries(&bench), 0);
}

#[tokio::test(start_paused = true)]
async fn a_table_that_fails_in_the_sink_begins_anew() {
    let mut bench = retrying(three_tables().at_a_time(2, 2), Script::default());
    bench.sink = bench.sink.with(&id("a"), Mishap::Passes(2));
    let report = bench.load().await;
    assert_eq!(told(&report), ["a loaded 7", "b loaded 3", "c loaded 0", "finished"]);
    let load = bench.sink.published(&id("a")).unwrap().load;
    assert_eq!((load.attempt, load.cut.position.as_str()), (3, "1"), "the third attempt, under the same cut");
    assert_eq!((bench.ids("a"), retries(&bench)), (Some((1..8).collect()), 2));
    assert_eq!(bench.sink.published(&id("b")).unwrap().load.attempt, 1);

    let mut bench = retrying(three_tables().at_a_time(2, 2), Script::default());
    bench.sink = bench.sink.with(&id("a"), Mishap::Passes(9));
    let report = bench.load().await;
    assert_eq!(told(&report), ["a failed (a passing failure) 7", "b loaded 3", "c loaded 0", "finished"]);
    assert!(bench.sink.aborted(&id("a")).unwrap().ends_with("(attempts: 4)"));
}

/// A commit that got through although its answer was lost is found before the table is loaded again.
#[tokio::test(start_paused = true)]
async fn a_commit_whose_answer_was_lost_is_found() {
    let mut bench = retrying(three_tables(), Script::default());
    bench.sink = bench.sink.with(&id("a"), Mishap::AnswerLost);
    let report = bench.load().await;
    assert_eq!(told(&report), ["a already 7", "b loaded 3", "c loaded 0", "finished"]);
    assert_eq!((bench.sink.published(&id("a")).unwrap().commits, bench.ids("a")), (1, Some((1..8).collect())));

    // A replacement, too: what it was to replace is not taken for it.
    bench.settings.resume = false;
    bench.sink = bench.sink.with(&id("a"), Mishap::AnswerLost);
    let report = bench.load().await;
    assert_eq!(told(&report), ["a already 7", "b loaded 3", "c loaded 0", "finished"]);
    assert_eq!(["a", "b"].map(|t| bench.sink.published(&id(t)).unwrap().commits), [2, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_ends_is_opened_again_under_the_same_cut() {
    for (call, nth) in [(Call::OpenSink, 1), (Call::Claim, 1), (Call::Write, 5), (Call::Commit, 1), (Call::Commit, 2)] {
        let bench = retrying(three_tables().at_a_time(2, 2), Script::default().on(call, nth, Act::Fail(RETRIABLE)));
        let report = bench.load().await;
        assert!(report.complete(), "{call:?} {nth}: {report:?}");
        for (table, ids) in [("a", (1..8).collect()), ("b", vec![21, 22, 23]), ("c", vec![])] {
            let published = bench.sink.published(&id(table)).unwrap();
            assert_eq!((bench.ids(table), published.commits), (Some(ids), 1), "{call:?} {nth}");
        }
        assert_eq!(bench.script.seen(call).min(nth), nth);
        assert_eq!((retries(&bench), bench.state("lake")), (1, State::Failed), "{call:?}: the first task failed");
    }
}

#[tokio::test(start_paused = true)]
async fn planning_is_tried_again() {
    for call in [Call::Tables, Call::Progress, Call::Plan] {
        let fail = |n: u64| (1..=n).fold(Script::default(), |s, nth| s.on(call, nth, Act::Fail(RETRIABLE)));
        let bench = retrying(three_tables(), fail(3));
        assert!(bench.load().await.complete(), "{call:?}");
        let bench = retrying(three_tables(), fail(4));
        let report = bench.load().await;
        assert_eq!(told(&report).last().unwrap(), "ended (scripted failure)", "{call:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_a_retry() {
    for call in [Call::Plan, Call::Next] {
        let script = Script::default().on(call, 1, Act::Fail(RETRIABLE));
        let retry = Retry { max: 1, backoff: Duration::from_secs(900) };
        let bench = Bench { retry, ..Bench::new(three_tables(), script) };
        let running = tokio::spawn(bench.start());
        tokio::time::sleep(Duration::from_secs(1)).await;
        let asked = tokio::time::Instant::now();
        bench.cancel.cancel();
        let report = running.await.unwrap();
        assert!(matches!(report.end, End::Cancelled), "{report:?}");
        assert!(asked.elapsed() < Duration::from_secs(1), "{call:?}");
    }
}

/// A table that fails in the sink amid its rows is not read to its end first.
#[tokio::test(start_paused = true)]
async fn a_table_that_fails_while_it_is_read_stops() {
    let ids: Vec<i64> = (0..1000).collect();
    let table = MemoryTable::of_ids(&id("big"), &[&ids[..500], &ids[500..]], 1);
    // Reading stands still for ever after some rows: only the failure can end it.
    let wait = Script::default().on(Call::Next, 100, Act::Wait(CancellationToken::new()));
    for (act, attempts) in [(ErrorKind::Data, 1), (RETRIABLE, 2)] {
        let mut bench = retrying(MemorySource::new(vec![table.clone()]), wait.clone());
        bench.sink = bench.sink.with(&id("big"), Mishap::RefusesRows(20, act));
        let report = bench.load().await;
        match act {
            ErrorKind::Data => assert_eq!(told(&report)[0].split(' ').nth(1), Some("failed"), "{report:?}"),
            _ => assert_eq!(bench.sink.published(&id("big")).map(|p| p.load.attempt), Some(attempts), "{report:?}"),
        }
        if act != ErrorKind::Data {
            assert_eq!(bench.ids("big"), Some(ids.clone()));
        } else {
            assert!(bench.sink.aborted(&id("big")).unwrap().contains("rows refused"));
        }
    }
}

/// A source whose rows are others with each plan, as under a new cut: those of plan `n` lie from `1000 n`.
struct Moving {
    plans: Mutex<Vec<MemorySource>>,
    script: Script,
    /// Whether the loss of a cut is told as what it is; else as a failure that passes, and reading goes on
    /// in whatever is there now: the bug that the check below must find.
    honest: bool,
}

const SHAPE: [(&str, &[usize]); 3] = [("a", &[6, 6]), ("b", &[3, 3, 3]), ("c", &[2])];

fn version(n: i64) -> MemorySource {
    let tables = SHAPE.iter().map(|(name, splits)| {
        let mut next = 1000 * n;
        let ids: Vec<Vec<i64>> = splits
            .iter()
            .map(|rows| {
                next += *rows as i64;
                (next - *rows as i64..next).collect()
            })
            .collect();
        MemoryTable::of_ids(&id(name), &ids.iter().map(Vec::as_slice).collect::<Vec<_>>(), 1)
    });
    MemorySource::new(tables.collect()).at_a_time(1, 2)
}

impl Moving {
    fn now(&self) -> MemorySource {
        self.plans.lock().unwrap().last().cloned().unwrap_or_else(|| version(0))
    }
}

#[async_trait]
impl Source for Moving {
    async fn tables(&self) -> Result<Selection> {
        version(0).tables().await
    }

    async fn plan(&self, done: &Progress) -> Result<Plan> {
        let next = {
            let mut plans = self.plans.lock().unwrap();
            let next = version(plans.len() as i64 + 1);
            plans.push(next.clone());
            next
        };
        next.plan(done).await
    }

    async fn open(&self, split: &Split, after: Position, context: TaskContext) -> Result<Box<dyn SourceTask>> {
        let opened = ScriptedSource::new(self.now(), &self.script).open(split, after, context).await;
        opened
            .inspect_err(|e| {
                if e.is_cut_lost() && !self.honest {
                    let moved = version(self.plans.lock().unwrap().len() as i64 + 1);
                    self.plans.lock().unwrap().push(moved);
                }
            })
            .map_err(|e| if self.honest { e } else { connector_api::Error::retriable(e.message()) })
    }
}

/// Loads a source that loses its cut at a call, and gives the plan of which each table's rows are, or how a
/// table mixes several.
async fn losing(script: Script, honest: bool, retry: Retry) -> (Vec<String>, LoadReport) {
    let bench = Bench { retry, ..Bench::new(version(0), Script::default()) };
    let source = Arc::new(Moving { plans: Mutex::default(), script, honest });
    let report = bench.start_with(Pipeline { source, ..bench.pipeline() }).await;
    let told = SHAPE.iter().map(|(name, splits)| {
        let rows: usize = splits.iter().sum();
        match bench.ids(name) {
            None => format!("{name} absent"),
            Some(ids) => {
                let n = ids[0] / 1000;
                let whole: Vec<i64> = (1000 * n..1000 * n + rows as i64).collect();
                if ids == whole { format!("{name} of plan {n}") } else { format!("{name} is mixed") }
            }
        }
    });
    (told.collect(), report)
}

/// Loses the cut at a call for a table, by when what was complete before is published.
fn losing_at(table: &str, call: Call, nth: u64) -> Script {
    let a_second = CancellationToken::new();
    let over = a_second.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        over.cancel();
    });
    let script = Script::default().on_table(&id(table), call, nth, Act::Wait(a_second));
    script.on_table(&id(table), call, nth, Act::LoseCut)
}

/// The attempts at which `a`, `b` and `c` were published when the cut is lost in the middle of `b`.
async fn losing_attempts() -> [u32; 3] {
    let bench = retrying(three_tables(), losing_at("b", Call::Next, 2));
    assert!(bench.load().await.complete());
    ["a", "b", "c"].map(|t| bench.sink.published(&id(t)).unwrap().load.attempt)
}

#[tokio::test(start_paused = true)]
async fn after_a_lost_cut_the_rest_is_of_a_new_one() {
    for (call, nth) in [(Call::Open, 1), (Call::Open, 3), (Call::Next, 1), (Call::Next, 5)] {
        let (tables, report) = losing(losing_at("b", call, nth), true, RETRY).await;
        assert_eq!(tables, ["a of plan 1", "b of plan 2", "c of plan 2"], "{call:?} {nth}");
        assert_eq!(told(&report), ["a loaded 12", "b loaded 9", "c loaded 2", "finished"]);
    }
    let sink = losing_attempts().await;
    assert_eq!(sink, [1, 2, 1], "b was begun twice, the others once");
    let again = |s: Script, n| s.on_table(&id("c"), Call::Open, n, Act::LoseCut);
    let thrice = || (2..=3).fold(losing_at("c", Call::Open, 1), again);
    let (tables, _) = losing(thrice(), true, RETRY).await;
    assert_eq!(tables, ["a of plan 1", "b of plan 1", "c of plan 4"]);
    let (tables, report) = losing(thrice(), true, Retry { max: 2, ..RETRY }).await;
    assert_eq!(tables, ["a of plan 1", "b of plan 1", "c absent"]);
    assert_eq!(told(&report).last().unwrap(), "ended (scripted loss of the cut)");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_hides_the_loss_of_its_cut_mixes_a_table() {
    let script = Script::default().on_table(&id("b"), Call::Open, 3, Act::LoseCut);
    let (tables, _) = losing(script, false, RETRY).await;
    assert_eq!(tables[1], "b is mixed");
}

#[tokio::test(start_paused = true)]
async fn two_cuts_of_a_replacement() {
    let script = Script::default().on_table(&id("b"), Call::Next, 2, Act::LoseCut);
    let mut bench = retrying(three_tables(), Script::default());
    assert!(bench.load().await.complete());
    (bench.settings.resume, bench.script) = (false, script);
    let report = bench.load().await;
    assert_eq!(told(&report), ["a loaded 7", "b loaded 3", "c loaded 0", "finished"]);
    let commits = ["a", "b", "c"].map(|t| bench.sink.published(&id(t)).unwrap().commits);
    assert_eq!(commits, [2, 2, 2], "what was replaced before the loss is not replaced again");
}
