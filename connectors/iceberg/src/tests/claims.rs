//! Claims: one instance each, for as long as it lives, whatever becomes of the ledger meanwhile.

use std::time::Duration;

use super::ledgers::status;
use super::*;
use crate::journal::Journal;
use crate::ledger::{Ledger, Sightings, Status, StatusRow};

/// An instance that claims.
struct Instance {
    ledger: Ledger,
}

impl Instance {
    async fn new(lake: &Lake, journal: Arc<Journal>, sightings: &Arc<Sightings>) -> Self {
        let committer: Arc<dyn Committer> = Arc::new(lake.committer().await);
        committer.ensure_namespace().await.unwrap();
        Self { ledger: Ledger::start(committer, lake.place(), journal, Arc::clone(sightings), vec![]) }
    }

    async fn alone(lake: &Lake) -> Self {
        Self::new(lake, Journal::open(None, ""), &Arc::default()).await
    }

    /// Claims tables, again after what may pass as the engine does, and gives the names of those that others hold.
    async fn check(&self, tables: &[&str]) -> Vec<String> {
        let tables: Vec<_> = tables.iter().map(|name| TableId::new("public", *name)).collect();
        let begun = tokio::time::Instant::now();
        let held = loop {
            match self.ledger.claim("shop", &tables).await {
                Ok(held) => break held,
                Err(e) if matches!(e.kind(), ErrorKind::Retriable { .. }) => {
                    assert!(begun.elapsed() < Duration::from_secs(60), "for ever: {e:#}");
                }
                Err(e) => panic!("{e:#}"),
            }
        };
        held.iter().map(|table| table.name().to_owned()).collect()
    }
}

const NONE: [&str; 0] = [];

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_claimed_once() {
    let lake = Lake::new();
    let (a, b) = (Instance::alone(&lake).await, Instance::alone(&lake).await);
    assert_eq!(a.check(&["s", "t"]).await, NONE);
    assert_eq!(b.check(&["t", "u"]).await, ["t"]);
    assert_eq!((a.check(&["s", "t", "u"]).await, b.check(&["u"]).await), (vec!["u".to_owned()], vec![]));
    // Whatever the source is called: it is the table in the lake that counts.
    assert_eq!(b.ledger.claim("shop2", &[TableId::new("public", "s")]).await.unwrap().len(), 1);
    // It ends with the load, or with its instance.
    let done = |status| StatusRow { status, ..StatusRow::of_load(&first("t"), 1) };
    a.ledger.status(done(Status::Completed));
    assert!(a.ledger.close().await);
    assert_eq!(b.check(&["s", "t"]).await, NONE);
    assert!(b.ledger.close().await);
    let said = status(&lake).await;
    assert_eq!(said["public.t"], "failed the load ended before this table's turn came epoch 1");
    assert_eq!(lake.table("_cdc_status").await.unwrap().metadata().current_schema().as_struct().fields().len(), 24);
}

/// The commit decides: of those that claim the same tables at the same time each table has one.
#[tokio::test(flavor = "multi_thread")]
async fn claims_at_the_same_time_are_divided() {
    let lake = Lake::with(&[("commit.retry.num-retries", "50")]);
    let names: Vec<String> = (0..40).map(|n| format!("t{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let instances = futures::future::join_all((0..4).map(|_| Instance::alone(&lake))).await;
    let held = futures::future::join_all(instances.iter().enumerate().map(|(n, instance)| {
        // Each wants three quarters of them.
        let wanted: Vec<&str> = names.iter().enumerate().filter(|(i, _)| i % 4 != n).map(|(_, name)| *name).collect();
        async move { wanted.len() - instance.check(&wanted).await.len() }
    }))
    .await;
    assert_eq!(held.iter().sum::<usize>(), 40, "each is granted once: {held:?}");
    for instance in &instances {
        assert!(instance.ledger.close().await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_is_void_when_its_instance_has_ended() {
    let lake = Lake::new();
    let folder = tempfile::tempdir().unwrap();
    let first = Journal::open(Some(folder.path()), "a");
    let dead = Instance::new(&lake, Arc::clone(&first), &Arc::default()).await;
    assert_eq!(dead.check(&["s", "t"]).await, NONE);
    let other = Instance::alone(&lake).await;
    assert_eq!(other.check(&["t"]).await, ["t"], "elsewhere nobody knows");
    // A kill: nothing is closed, and the lock is free; once what the instance had in the background has ended, too.
    drop(dead);
    while Arc::strong_count(&first) > 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(first);
    let second = Journal::open(Some(folder.path()), "a");
    let sightings = Arc::new(Sightings::default());
    sightings.ended(second.ended());
    let again = Instance::new(&lake, Arc::clone(&second), &sightings).await;
    assert_eq!(again.check(&["t"]).await, NONE, "here it is known at once");
    // And told to everyone, also of what this one does not load.
    assert!(second.ended().is_empty());
    assert_eq!(other.check(&["s", "t"]).await, ["t"]);
    assert!(again.ledger.close().await && other.ledger.close().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_is_silent_loses_its_claims() {
    let lake = Lake::with(&[("heartbeat.interval.ms", "100"), ("session.timeout.ms", "2000")]);
    let (a, b) = (Instance::alone(&lake).await, Instance::alone(&lake).await);
    assert_eq!(a.check(&["t"]).await, NONE);
    assert_eq!(b.check(&["t"]).await, ["t"]);
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(b.check(&["t"]).await, ["t"], "it is heard of");
    drop(a);
    let silent = tokio::time::Instant::now();
    while b.check(&["t"]).await != NONE {
        assert!(silent.elapsed() < Duration::from_secs(30), "for ever");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(b.ledger.close().await);
}

/// Rewriting drops what earlier beats said, keeps the claim, and a ledger that is dropped costs claims only.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_outlasts_the_rewriting_of_the_ledger() {
    let lake = Lake::with(&[("heartbeat.interval.ms", "20"), ("commit.retry.num-retries", "50")]);
    let (a, b) = (Instance::alone(&lake).await, Instance::alone(&lake).await);
    assert_eq!(a.check(&["s", "t"]).await, NONE);
    let beats = async || {
        let rows = lake.scan("_cdc_status").await;
        let beat = |batch: &RecordBatch| batch["beat"].as_primitive::<Int64Type>().values().to_vec();
        let beats: Vec<i64> = rows.iter().flat_map(beat).collect();
        (beats.len() as i64, beats.into_iter().max().unwrap_or(0))
    };
    // A beat is a row, until rows are dropped.
    while let (rows, beat) = beats().await
        && rows + 40 > beat
    {
        assert!(beat < 150, "{rows} rows are kept of two tables");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(b.check(&["s", "t", "u"]).await, ["s", "t"]);
    a.ledger.close().await;
    assert_eq!(b.check(&["s", "t"]).await, NONE);

    let c = Instance::alone(&lake).await;
    assert_eq!(c.check(&["t"]).await, ["t"]);
    lake.forget("_cdc_status").await;
    assert_eq!(c.check(&["v"]).await, NONE, "the ledger is made anew");
    assert!(b.ledger.close().await && c.ledger.close().await);
}
