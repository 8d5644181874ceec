//! What commits ask of the catalog and the store.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use connector_api::Result;
use futures::stream::BoxStream;
use iceberg::TableIdent;
use iceberg::io::{
    FileIO, FileIOBuilder, FileMetadata, FileRead, FileWrite, InputFile, LocalFsStorage, OutputFile, Storage,
    StorageConfig, StorageFactory,
};
use iceberg::spec::Schema;
use serde::{Deserialize, Serialize};

use super::foreign::{apply, followed, opening, rounds};
use super::*;
use crate::commit::{SendError, Site, Staged};

/// Counts what concerns the table `t`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Counted {
    files: LocalFsStorage,
    #[serde(skip)]
    requests: Arc<AtomicUsize>,
}

impl Counted {
    fn count(&self, path: &str) {
        self.requests.fetch_add(usize::from(path.contains("/t/")), Ordering::AcqRel);
    }
}

#[async_trait]
#[typetag::serde]
impl Storage for Counted {
    async fn exists(&self, path: &str) -> iceberg::Result<bool> {
        self.count(path);
        self.files.exists(path).await
    }
    async fn metadata(&self, path: &str) -> iceberg::Result<FileMetadata> {
        self.count(path);
        self.files.metadata(path).await
    }
    async fn read(&self, path: &str) -> iceberg::Result<Bytes> {
        self.count(path);
        self.files.read(path).await
    }
    async fn reader(&self, path: &str) -> iceberg::Result<Box<dyn FileRead>> {
        self.count(path);
        self.files.reader(path).await
    }
    async fn write(&self, path: &str, bytes: Bytes) -> iceberg::Result<()> {
        self.count(path);
        self.files.write(path, bytes).await
    }
    async fn writer(&self, path: &str) -> iceberg::Result<Box<dyn FileWrite>> {
        self.count(path);
        self.files.writer(path).await
    }
    async fn delete(&self, path: &str) -> iceberg::Result<()> {
        self.count(path);
        self.files.delete(path).await
    }
    async fn delete_prefix(&self, path: &str) -> iceberg::Result<()> {
        self.count(path);
        self.files.delete_prefix(path).await
    }
    async fn delete_stream(&self, paths: BoxStream<'static, String>) -> iceberg::Result<()> {
        self.files.delete_stream(paths).await
    }
    fn new_input(&self, path: &str) -> iceberg::Result<InputFile> {
        Ok(InputFile::new(Arc::new(self.clone()), path.to_owned()))
    }
    fn new_output(&self, path: &str) -> iceberg::Result<OutputFile> {
        Ok(OutputFile::new(Arc::new(self.clone()), path.to_owned()))
    }
}

#[typetag::serde]
impl StorageFactory for Counted {
    fn build(&self, _: &StorageConfig) -> iceberg::Result<Arc<dyn Storage>> {
        Ok(Arc::new(self.clone()))
    }
}

/// A catalog that counts, with tables whose store does.
struct Counting {
    inner: SqlCommitter,
    store: Counted,
}

impl Counting {
    fn storage(&self) -> FileIO {
        FileIOBuilder::new(Arc::new(self.store.clone())).build()
    }

    fn counted(&self, table: &Table) -> Table {
        let builder = Table::builder().file_io(self.storage()).metadata(table.metadata_ref());
        let builder = builder.identifier(table.identifier().clone()).runtime(iceberg::Runtime::current());
        builder.metadata_location(table.metadata_location().unwrap()).build().unwrap()
    }

    fn count(&self, table: &TableIdent) {
        self.store.requests.fetch_add(usize::from(table.name() == "t"), Ordering::AcqRel);
    }
}

#[async_trait]
impl Committer for Counting {
    async fn ensure_namespace(&self) -> Result<()> {
        self.inner.ensure_namespace().await
    }
    async fn list(&self) -> Result<Vec<TableIdent>> {
        self.inner.list().await
    }
    async fn find(&self, table: &TableIdent) -> Result<Option<Result<Table>>> {
        self.count(table);
        Ok(self.inner.find(table).await?.map(|found| found.map(|table| self.counted(&table))))
    }
    async fn site(&self, table: &TableIdent, schema: &Schema) -> Result<Site> {
        self.count(table);
        Ok(Site { storage: self.storage(), ..self.inner.site(table, schema).await? })
    }
    async fn create(&self, table: &TableIdent, staged: &Staged) -> Result<Table, SendError> {
        self.count(table);
        self.inner.create(table, staged).await.map(|table| self.counted(&table))
    }
    async fn send(&self, base: &Table, staged: &Staged) -> Result<Table, SendError> {
        self.count(base.identifier());
        self.inner.send(base, staged).await.map(|table| self.counted(&table))
    }
}

/// P8: what a commit asks for does not grow with the table's age, its files or its snapshots. The twin: what reads the
/// table does.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_of_an_old_table_asks_for_no_more_than_one_of_a_young_table() {
    let lake = Lake::new();
    let schema = super::follow::table(true);
    let log = rounds(&schema, 1, 100);
    let committer = Arc::new(Counting { inner: lake.committer().await, store: Counted::default() });
    committer.ensure_namespace().await.unwrap();
    let begin = |committer: &Arc<Counting>| followed(&lake, Arc::clone(committer) as Arc<dyn Committer>);
    let asked = || committer.store.requests.load(Ordering::Acquire);
    let (mut task, mut commits, mut openings) = (begin(&committer), Vec::new(), Vec::new());
    task.apply(opening(&schema)).await.unwrap();
    for at in 0..100 {
        if [6, 98].contains(&at) {
            // Without its index: the table's files are read.
            task.close().await.unwrap();
            std::fs::remove_dir_all(lake.dir.path().join("iceberg/index")).unwrap();
            let before = asked();
            task = begin(&committer);
            task.apply(opening(&schema)).await.unwrap();
            assert!(apply(task.as_mut(), log.events(at, at + 1)).await.failed.is_empty());
            openings.push(asked() - before);
        } else {
            let before = asked();
            assert!(apply(task.as_mut(), log.events(at, at + 1)).await.failed.is_empty());
            commits.push(asked() - before);
        }
    }
    task.close().await.unwrap();
    assert!(commits[4] > 5 && commits[4] == *commits.last().unwrap(), "{commits:?}");
    assert!(openings[0] * 5 < openings[1], "{openings:?}");
}
