//! What dead attempts leave: deleted once it is certain that nobody will ever refer to it, and not before.

use connector_api::Sink;

use super::*;
use crate::commit::{Committer, SqlCommitter};
use crate::journal::Journal;
use crate::orphans;

struct Scene {
    lake: Lake,
    committer: SqlCommitter,
    journal: Arc<Journal>,
    stray: String,
}

impl Scene {
    /// A lake with a loaded table `t`, if asked for, and a stray file of it.
    async fn new(loaded: bool) -> Self {
        let lake = Lake::new();
        if loaded {
            lake.load(&first("t"), 0..10).await;
        }
        let folder = lake.dir.path().join("wh/bronze/shop/t/data");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("stray.parquet"), "x").unwrap();
        let stray = format!("file://{}", folder.join("stray.parquet").display());
        let committer = lake.committer().await;
        committer.ensure_namespace().await.unwrap();
        Self { lake, committer, journal: Journal::open(None, ""), stray }
    }

    /// An attempt that was sent on these bases and died with these files; which of them are there after a
    /// clean-up.
    async fn check(&self, id: i64, bases: &[Option<i64>], files: &[&str]) -> Vec<bool> {
        let ident = self.lake.place().of("t");
        let attempt = self.journal.attempt(id, &ident);
        bases.iter().for_each(|base| attempt.on_base(*base));
        files.iter().for_each(|file| attempt.creates(file));
        drop(attempt);
        orphans::bury_all(&self.committer, &self.journal).await;
        let exists = |file: &&str| std::fs::exists(file.trim_start_matches("file://")).unwrap();
        files.iter().map(exists).collect()
    }

    async fn current(&self) -> Option<i64> {
        self.lake.table("t").await.unwrap().metadata().current_snapshot_id()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orphan_goes_when_its_commit_can_no_longer_land() {
    // It was to create the table, which exists by now.
    let scene = Scene::new(true).await;
    assert_eq!(scene.check(1, &[None], &[&scene.stray]).await, [false]);
    assert!(scene.journal.tables().is_empty());
    assert_eq!(scene.lake.ids("t").await, (0..10).collect::<Vec<_>>());
    // It was never sent.
    let scene = Scene::new(true).await;
    assert_eq!(scene.check(1, &[], &[&scene.stray]).await, [false]);
    // It was sent on a snapshot that is not the current one any more.
    let scene = Scene::new(true).await;
    let base = scene.current().await;
    scene.lake.load(&load_of(&schema("t"), "0/2", true), 0..4).await;
    assert_eq!(scene.check(1, &[base], &[&scene.stray]).await, [false]);
    assert_eq!(scene.lake.ids("t").await, (0..4).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_still_become_visible_stays() {
    // It may still create the table.
    let scene = Scene::new(false).await;
    assert_eq!(scene.check(1, &[None], &[&scene.stray]).await, [true]);
    assert_eq!(scene.journal.tables().len(), 1, "and is looked at again");
    // It may still replace the table, whatever it was sent on before.
    let scene = Scene::new(true).await;
    let base = scene.current().await;
    assert_eq!(scene.check(1, &[None, base], &[&scene.stray]).await, [true]);
    // The table moves on, and it goes.
    scene.lake.load(&load_of(&schema("t"), "0/2", true), 0..4).await;
    orphans::bury_all(&scene.committer, &scene.journal).await;
    assert!(scene.journal.tables().is_empty() && scene.lake.files("stray.parquet").is_empty());
}

/// An attempt that got through although nobody heard of it: nothing of it may go, also when its snapshot is
/// gone from the history.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_referred_to_stays() {
    let scene = Scene::new(true).await;
    let id = scene.current().await.unwrap();
    let table = scene.lake.table("t").await.unwrap();
    let live = orphans::references(&table).await.unwrap();
    assert!(live.iter().any(|f| f.ends_with(".parquet")) && live.iter().any(|f| f.ends_with(".json")), "{live:?}");
    let mut files: Vec<&str> = live.iter().map(String::as_str).collect();
    files.push(&scene.stray);
    for id in [id, id ^ 1] {
        let left = scene.check(id, &[None], &files).await;
        assert!(left[..left.len() - 1].iter().all(|there| *there) && !left[left.len() - 1], "{left:?}");
    }
    assert_eq!(scene.lake.ids("t").await, (0..10).collect::<Vec<_>>());
}

/// The task's own way: what one left is gone with the next one's publication.
#[tokio::test(flavor = "multi_thread")]
async fn the_next_publication_cleans_up() {
    let lake = Lake::new();
    let state: Arc<std::path::Path> = lake.dir.path().join("state").into();
    let context = || TaskContext { state_dir: Some(Arc::clone(&state)), ..context() };
    // Begun and dropped as by a kill: its journal is found unlocked.
    let journal = Journal::open(Some(&state.join("iceberg")), &lake.config.identity());
    let folder = lake.dir.path().join("wh/bronze/shop/t/data");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("stray.parquet"), "x").unwrap();
    let attempt = journal.attempt(77, &lake.place().of("t"));
    attempt.creates(&format!("file://{}/stray.parquet", folder.display()));
    drop(attempt);
    drop(journal);
    let mut task = lake.sink().open(context()).await.unwrap();
    assert_eq!(lake.files("stray.parquet").len(), 1, "there is no table yet");
    feed(task.as_mut(), &first("t"), 0..10).await;
    assert_eq!(told(&task.checkpoint().await.unwrap()), "public.t@0/1 Some(10)");
    assert_eq!(lake.files("stray.parquet").len(), 0);
    task.close().await.unwrap();
    assert_eq!(std::fs::read_dir(state.join("iceberg")).unwrap().count(), 0, "nothing is left to say");
}
