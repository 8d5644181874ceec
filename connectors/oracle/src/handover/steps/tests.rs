//! Each step of the hand-over, by what is seen; what others have made or moved is not touched.

use serde_json::json;

use super::*;
use crate::handover::connector::LATER;

const START: Start = Start { after: 89, committed: 100 };

fn wanted() -> Wanted {
    let config =
        [("topic.prefix", "shop"), (MODE, FIRST), (TABLES, "A\\.B,A\\.C"), (MARK, "oracle:1/P@89"), ("x", "y")];
    Wanted {
        name: "dbz".into(),
        config: config.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        system: "oracle:1/P".into(),
        start: START,
        starts: [("B", START), ("C", Start { after: 189, committed: 200 })]
            .map(|(name, start)| (TableId::new("A", name), start))
            .into(),
        threads: vec![1],
    }
}

/// The connector that was made, in that state.
fn made(state: &str) -> Connector {
    let mut config = wanted().config;
    config.insert("name".into(), "dbz".into());
    Connector { config, state: state.into(), ..Connector::default() }
}

fn with(state: &str, offset: Value) -> Connector {
    Connector { offsets: vec![(json!({ "server": "shop" }), offset)], ..made(state) }
}

fn first() -> Value {
    wanted().offset()
}

fn task(state: &str, mode: &str) -> Task {
    Task {
        state: state.into(),
        trace: Some("top: what\n\tat x\nCaused by: why\n\tat y".into()),
        mode: Some(mode.into()),
    }
}

fn step(seen: &Connector, tried: Tried) -> Result<Step, String> {
    next(Some(seen), &wanted(), tried).map_err(|e| format!("{e:#}"))
}

#[track_caller]
fn check(seen: &Connector, expected: Step) {
    assert_eq!(step(seen, Tried::default()), Ok(expected));
}

#[track_caller]
fn refused(seen: &Connector, says: &[&str]) {
    let error = step(seen, Tried::default()).unwrap_err();
    assert!(error.contains("connector=dbz") && says.iter().all(|part| error.contains(part)), "{error}");
}

#[test]
fn one_after_the_other() {
    assert_eq!(next(None, &wanted(), Tried::default()).unwrap(), Step::Create);
    check(&made(""), Step::Wait);
    check(&made("STOPPED"), Step::SetOffsets);
    check(&with("STOPPED", first()), Step::Start);
    let mut running = with("RUNNING", first());
    check(&running, Step::Wait);
    running.tasks = vec![task("RUNNING", FIRST)];
    check(&running, Step::Wait);
    let reading = json!({ "scn": "89", "snapshot": "INITIAL", "snapshot_completed": false });
    check(&with("RUNNING", reading), Step::Wait);
    for moved in [json!({ "scn": "89", "snapshot": "INITIAL", "snapshot_completed": true }), json!({ "scn": "95" })] {
        check(&with("RUNNING", moved), Step::Finish);
    }
    let mut later = with("RUNNING", json!({ "scn": "95" }));
    later.config.insert(MODE.into(), LATER.into());
    check(&later, Step::Done);
    // Whoever has set it waits until it has come to the task.
    let finished = Tried { finished: true, ..Tried::default() };
    later.tasks = vec![task("RUNNING", FIRST)];
    assert_eq!(step(&later, finished), Ok(Step::Wait));
    later.tasks = vec![task("RUNNING", LATER)];
    assert_eq!(step(&later, finished), Ok(Step::Done));
    later.tasks = vec![task("FAILED", LATER)];
    assert!(step(&later, finished).unwrap_err().contains("trace=top: what, cause=why"));
    assert_eq!(step(&later, Tried { just_now: true, ..finished }), Ok(Step::Wait));
    // Also for who comes after one that was killed: a success would hide it.
    assert!(step(&later, Tried::default()).unwrap_err().contains("trace=top: what, cause=why"));
    later.tasks = vec![task("RUNNING", FIRST)];
    check(&later, Step::Wait);
    later.state = "STOPPED".into();
    check(&later, Step::Done);
}

#[test]
fn first_offsets_of_other_redo_threads_are_set_again() {
    let older = json!({ "scn": "89", "commit_scn": "100:1:,100:2:" });
    check(&with("STOPPED", older.clone()), Step::SetOffsets);
    // It has not begun, whatever threads they name: its failure is told, and it is not finished.
    check(&with("RUNNING", older.clone()), Step::Wait);
    let failing = Connector { tasks: vec![task("FAILED", FIRST)], ..with("RUNNING", older) };
    check(&failing, Step::Restart);
    // One whose oldest transaction is still open has moved, at the same SCN.
    check(&with("RUNNING", json!({ "scn": "89", "commit_scn": "120:1:", "transaction_id": null })), Step::Finish);
}

#[test]
fn what_has_failed_is_started_again_once() {
    let failing = Connector { tasks: vec![task("FAILED", FIRST)], ..with("RUNNING", first()) };
    check(&failing, Step::Restart);
    let restarted = Tried { restarted: true, ..Tried::default() };
    assert_eq!(step(&failing, Tried { just_now: true, ..restarted }), Ok(Step::Wait));
    let error = step(&failing, restarted).unwrap_err();
    assert!(error.contains("trace=top: what, cause=why") && error.contains("run again"), "{error}");
    let failed = Connector { trace: Some("gone".into()), ..with("FAILED", first()) };
    check(&failed, Step::Restart);
    assert!(step(&failed, restarted).unwrap_err().contains("trace=gone"));
    // As it was made; then with what the configuration says by now.
    let mut changed = failing;
    changed.config.insert("x".into(), "z".into());
    check(&changed, Step::Configure);
    changed.state = "STOPPED".into();
    check(&changed, Step::Configure);
    // Once: what is never read back as it was sent does not keep it from beginning.
    let configured = Tried { configured: true, ..Tried::default() };
    assert_eq!(step(&changed, configured), Ok(Step::Start));
    changed.state = "RUNNING".into();
    assert_eq!(step(&changed, configured), Ok(Step::Restart));
}

#[test]
fn one_that_was_started_without_offsets_is_stopped() {
    check(&made("RUNNING"), Step::Stop);
    check(&made("FAILED"), Step::Stop);
}

#[test]
fn what_is_not_ours_is_not_touched() {
    let foreign = Connector { config: [("connector.class".into(), "x".into())].into(), ..made("STOPPED") };
    refused(&foreign, &["was not made by a hand-over", "handover.connector.name"]);
    let mut other = made("STOPPED");
    other.config.insert(MARK.into(), "oracle:2/P@89".into());
    refused(&other, &["follows another database", "its_database=oracle:2/P"]);
    let mut older = made("STOPPED");
    older.config.insert(MARK.into(), "oracle:1/P@50".into());
    refused(&older, &["made for other loads", "DELETE /connectors/dbz/offsets"]);
    refused(&made("PAUSED"), &["paused", "PUT /connectors/dbz/resume"]);
}

#[test]
fn offsets_of_others_are_not_replaced() {
    for offset in [json!({ "scn": "88" }), json!({ "scn": "95" }), json!({ "lsn": 1 })] {
        let found = offset.to_string();
        refused(&with("STOPPED", offset), &["has offsets that this hand-over has not set", &found]);
    }
    refused(&with("RUNNING", json!({ "scn": "88" })), &["has not set"]);
    let partition = Connector { offsets: vec![(json!({ "server": "other" }), first())], ..made("STOPPED") };
    refused(&partition, &["has not set"]);
    let two = (json!({ "server": "shop" }), first());
    refused(&Connector { offsets: vec![two.clone(), two], ..made("STOPPED") }, &["has not set"]);
}

#[test]
fn one_that_streams_must_cover_the_tables() {
    let later = |mark: &str, tables: &str| {
        let mut seen = with("RUNNING", json!({ "scn": "500" }));
        for (key, value) in [(MODE, LATER), (MARK, mark), (TABLES, tables)] {
            seen.config.insert(key.into(), value.into());
        }
        seen
    };
    // A table that was loaded again later is passed over up to its own SCN.
    check(&later("oracle:1/P@50", "A\\.C,A\\.B,A\\.D"), Step::Done);
    refused(&later("oracle:1/P@90", "A\\.B,A\\.C"), &["from a later SCN", "its_scn=90"]);
    // As Debezium reads its list.
    for list in ["A\\.B, A\\.C ", "a\\..*", "X,A\\.[BC]", "A.B,A.C"] {
        check(&later("oracle:1/P@89", list), Step::Done);
    }
    refused(&later("oracle:1/P@89", "A\\.B,A\\.CC"), &["does not capture", "tables=A.C"]);
}

/// Whoever kept today's `commit_scn` would lose what was committed between the load and now.
#[test]
fn a_table_that_came_later_is_added_with_the_offset_that_it_needs() {
    let seen = |offset: Value| {
        let mut seen = with("RUNNING", offset);
        seen.config.insert(MODE.into(), LATER.into());
        seen.config.insert(TABLES.into(), "A\\.B".into());
        seen
    };
    let ahead = seen(json!({ "scn": "500", "commit_scn": "510:1:0a.1-0b.2" }));
    let offsets = wanted().offsets_of(Start { after: 189, committed: 200 }).to_string();
    assert!(offsets.contains("\"189\"") && offsets.contains("\"200:1:\""), "{offsets}");
    refused(&ahead, &["tables=A.C", "PUT /connectors/dbz/stop", r"A\.C added to table.include.list", &offsets]);
    // One that is behind goes on from where it is.
    let behind = seen(json!({ "scn": "150", "commit_scn": "170:2:,160:1:" }));
    refused(&behind, &[&wanted().offsets_of(Start { after: 150, committed: 160 }).to_string()]);
}
