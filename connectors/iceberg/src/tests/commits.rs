//! The commit protocol under conflict, lost answers and other writers, on a committer that misbehaves.

use std::sync::Mutex;

use async_trait::async_trait;
use connector_api::{Error, ErrorKind, Result};
use iceberg::TableIdent;
use iceberg::spec::Schema;

use super::*;
use crate::commit::{CommitFailure, SendError, Site, Staged};
use crate::journal::Journal;
use crate::publish::{Publication, Published};

/// What happens to the next sends to the table `t`, in order; then all is well.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fault {
    /// It gets through, and the answer is lost.
    AnswerLost,
    /// It does not get through, and the answer is lost.
    Lost,
    /// Another writer comes first.
    Conflict,
    /// The catalog refuses for good.
    Refused,
}

pub(super) struct Faulty {
    inner: SqlCommitter,
    pub(super) faults: Mutex<Vec<Fault>>,
    /// Another engine compacts this lake's table where an answer is lost, before anybody looks.
    pub(super) overtaken: Option<Arc<Lake>>,
    sends: Mutex<u32>,
}

impl Faulty {
    pub(super) async fn new(lake: &Lake, faults: &[Fault]) -> Self {
        let faults = Mutex::new(faults.iter().rev().copied().collect());
        Self { inner: lake.committer().await, faults, overtaken: None, sends: Mutex::new(0) }
    }

    async fn faulty(
        &self,
        table: &TableIdent,
        send: impl Future<Output = Result<Table, SendError>>,
    ) -> Result<Table, SendError> {
        if table.name() != "t" {
            return send.await;
        }
        *self.sends.lock().unwrap() += 1;
        let fault = self.faults.lock().unwrap().pop();
        let lost = || SendError::Unknown(Error::retriable("the line went dead"));
        match fault {
            None => send.await,
            Some(Fault::AnswerLost) => {
                send.await?;
                if let Some(lake) = &self.overtaken {
                    super::foreign::compact(lake).await;
                }
                Err(lost())
            }
            Some(Fault::Lost) => Err(lost()),
            Some(Fault::Conflict) => Err(SendError::Again(Error::retriable("conflict"))),
            Some(Fault::Refused) => Err(SendError::Failed(Error::fatal("read-only"))),
        }
    }
}

#[async_trait]
impl Committer for Faulty {
    async fn ensure_namespace(&self) -> Result<()> {
        self.inner.ensure_namespace().await
    }
    async fn list(&self) -> Result<Vec<TableIdent>> {
        self.inner.list().await
    }
    async fn find(&self, table: &TableIdent) -> Result<Option<Result<Table>>> {
        self.inner.find(table).await
    }
    async fn site(&self, table: &TableIdent, schema: &Schema) -> Result<Site> {
        self.inner.site(table, schema).await
    }
    async fn create(&self, table: &TableIdent, staged: &Staged) -> Result<Table, SendError> {
        self.faulty(table, self.inner.create(table, staged)).await
    }
    async fn send(&self, base: &Table, staged: &Staged) -> Result<Table, SendError> {
        self.faulty(base.identifier(), self.inner.send(base, staged)).await
    }
}

async fn begin(committer: &dyn Committer, lake: &Lake, load: TableLoad) -> Result<Publication> {
    let place = lake.place();
    let ident = place.ident(load.schema.table())?;
    Publication::begin(committer, ident, Arc::new(load), &lake.config.tables, &Journal::open(None, "")).await
}

/// Publishes rows that are staged for it.
async fn publish(
    committer: &dyn Committer,
    publication: &Publication,
    lake: &Lake,
    ids: std::ops::Range<i64>,
) -> Result<Published, CommitFailure> {
    use crate::writer::{Budget, DataWriter, Shape, Target};
    let shape = Shape {
        schema: Arc::new(publication.schema().clone()),
        arrow: crate::schema::file_schema(&publication.load().schema, publication.schema()),
        spec: Arc::new(publication.spec().clone()),
    };
    let target = Target {
        storage: publication.storage().clone(),
        runtime: tokio::runtime::Handle::current(),
        folder: publication.data_folder(),
        files: lake.config.tables.files,
        budget: Budget::new(1 << 20),
        attempt: publication.attempt().clone(),
    };
    let rows = rows(&publication.load().schema, ids);
    let files = tokio::task::spawn_blocking(move || {
        let mut writer = DataWriter::new(shape, target).unwrap();
        writer.write(&rows).unwrap();
        writer.finish().unwrap()
    });
    publication.publish(committer, 3, files.await.unwrap()).await
}

/// Runs a first load or a replacement through the faults: sends, the outcome, the ids in the table after.
async fn check(replace: bool, faults: &[Fault]) -> (u32, String, Vec<i64>) {
    let lake = Lake::new();
    if replace {
        lake.load(&first("t"), 0..5).await;
    }
    let committer = Faulty::new(&lake, faults).await;
    let publication = begin(&committer, &lake, load_of(&schema("t"), "0/2", replace)).await.unwrap();
    let outcome = match publish(&committer, &publication, &lake, 10..13).await {
        Ok(p) => format!("epoch {}", p.epoch),
        Err(f) => format!("{} certain={}", f.error.message(), f.certain),
    };
    let sends = *committer.sends.lock().unwrap();
    let ids = if lake.table("t").await.is_some() { lake.ids("t").await } else { vec![] };
    if let Some(t) = lake.table("t").await {
        let expected = if replace { 2 } else { 1 };
        assert!(t.metadata().snapshots().count() <= expected, "committed twice");
        // Every metadata file of a failed attempt is gone, except where an answer was lost.
        if !faults.iter().any(|f| matches!(f, Fault::AnswerLost | Fault::Lost)) {
            let metadata = lake.files(".metadata.json").iter().filter(|f| f.contains("/t/")).count();
            assert_eq!(metadata, t.metadata().snapshots().count());
        }
    }
    (sends, outcome, ids)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_outcome_is_resolved() {
    use Fault::*;
    let (new, old) = (vec![10, 11, 12], (0..5).collect::<Vec<i64>>());
    for replace in [false, true] {
        let (epoch, untouched) = if replace { ("epoch 2", old.clone()) } else { ("epoch 1", vec![]) };
        let ok = |sends| (sends, epoch.to_owned(), new.clone());
        assert_eq!(check(replace, &[]).await, ok(1));
        assert_eq!(check(replace, &[AnswerLost]).await, ok(1), "recognised, not sent again");
        assert_eq!(check(replace, &[Lost]).await, ok(2));
        assert_eq!(check(replace, &[Conflict, Lost, AnswerLost]).await, ok(3));
        let given_up = (4, "conflict certain=true".to_owned(), untouched.clone());
        assert_eq!(check(replace, &[Conflict; 4]).await, given_up);
        let unknown = (4, "conflict certain=false".to_owned(), untouched.clone());
        assert_eq!(check(replace, &[Lost, Conflict, Conflict, Conflict]).await, unknown, "files must stay");
        assert_eq!(check(replace, &[Refused]).await, (1, "read-only certain=true".to_owned(), untouched));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_writers_on_one_base_one_wins() {
    let lake = Lake::new();
    let committer = lake.committer().await;
    let two = async |position, replace| {
        let load = load_of(&schema("t"), position, replace);
        (begin(&committer, &lake, load.clone()).await.unwrap(), begin(&committer, &lake, load).await.unwrap())
    };
    let (a, b) = two("0/1", false).await;
    assert_eq!(publish(&committer, &a, &lake, 0..3).await.unwrap().epoch, 1);
    let lost = publish(&committer, &b, &lake, 5..9).await.unwrap_err();
    assert!(lost.certain && lost.error.message().contains("another instance published"), "{:?}", lost.error);
    assert_eq!(lake.ids("t").await, [0, 1, 2]);

    let (c, d) = two("0/2", true).await;
    assert_eq!(publish(&committer, &c, &lake, 20..22).await.unwrap().epoch, 2);
    let lost = publish(&committer, &d, &lake, 30..33).await.unwrap_err();
    assert!(matches!(lost.error.kind(), ErrorKind::Retriable { .. }), "whoever lost looks again");
    assert!(lost.certain && lost.error.message().contains("another writer took the table over"), "{:?}", lost.error);
    assert_eq!(lake.ids("t").await, [20, 21]);

    // In parallel, too: each sees either the other's table or none.
    let (e, f) = {
        let load = load_of(&schema("u"), "0/1", false);
        (begin(&committer, &lake, load.clone()).await.unwrap(), begin(&committer, &lake, load).await.unwrap())
    };
    let (one, two) = tokio::join!(publish(&committer, &e, &lake, 0..3), publish(&committer, &f, &lake, 0..3));
    assert_eq!(usize::from(one.is_ok()) + usize::from(two.is_ok()), 1);
    assert_eq!(lake.ids("u").await, [0, 1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replacement_stands_on_what_came_meanwhile_if_it_may() {
    let lake = Lake::new();
    lake.load(&first("t"), 0..5).await;
    let committer = lake.committer().await;
    let publication = begin(&committer, &lake, load_of(&schema("t"), "0/2", true)).await.unwrap();
    // A foreign append: same epoch, same schema, more rows.
    let foreign = lake.table("t").await.unwrap();
    use iceberg::CatalogBuilder;
    use iceberg::transaction::{ApplyTransactionAction, Transaction};
    use iceberg_catalog_sql::{SqlBindStyle, SqlCatalogBuilder};
    sqlx::any::install_default_drivers();
    let catalog = SqlCatalogBuilder::default()
        .with_storage_factory(Arc::new(iceberg::io::LocalFsStorageFactory))
        .uri(format!("sqlite://{}/catalog.db", lake.dir.path().display()))
        .warehouse_location(format!("file://{}/wh", lake.dir.path().display()))
        .sql_bind_style(SqlBindStyle::QMark)
        .load("iceberg", Default::default())
        .await
        .unwrap();
    let transaction = Transaction::new(&foreign);
    let action = transaction.update_table_properties().set("owner".into(), "someone".into());
    action.apply(transaction).unwrap().commit(&catalog).await.unwrap();
    assert_eq!(publish(&committer, &publication, &lake, 7..9).await.unwrap().epoch, 2);
    let now = lake.table("t").await.unwrap();
    assert_eq!(now.metadata().properties()["owner"], "someone", "what came meanwhile is not undone");
    assert_eq!(lake.ids("t").await, [7, 8]);

    // A schema that changed under it is not overwritten: field ids are in the files already.
    let publication = begin(&committer, &lake, load_of(&schema("t"), "0/3", true)).await.unwrap();
    let columns =
        vec![Column::new("id", DataType::Int64, false, "int8"), Column::new("v", DataType::Int64, true, "int8")];
    let other = Arc::new(TableSchema::new(TableId::new("public", "t"), columns, vec![0]).unwrap());
    let table = lake.table("t").await.unwrap();
    let schema = crate::schema::iceberg_schema(&other, Some((table.metadata().current_schema(), 2))).unwrap();
    let change = crate::commit::Change {
        attempt: Journal::open(None, "").attempt(5, &lake.place().of("t")),
        snapshot_id: 5,
        operation: iceberg::spec::Operation::Append,
        add: vec![],
        deletes: vec![],
        replace: false,
        schema: Some(schema),
        properties: Default::default(),
        format: iceberg::spec::FormatVersion::V2,
        spec: iceberg::spec::PartitionSpec::unpartition_spec(),
        summary: Default::default(),
        keep_snapshots: None,
        failpoint: "test",
    };
    struct Once(Option<crate::commit::Change>);
    #[async_trait]
    impl crate::commit::Proposal for Once {
        async fn on(&mut self, _: Option<&Table>) -> Result<crate::commit::Decision> {
            Ok(crate::commit::Decision::Commit(Box::new(self.0.take().unwrap())))
        }
    }
    let ident = lake.place().of("t");
    crate::commit::commit(&committer, &ident, 0, &mut Once(Some(change))).await.unwrap();
    let refused = publish(&committer, &publication, &lake, 1..2).await.unwrap_err();
    assert!(refused.certain && refused.error.message().contains("schema was changed"), "{:?}", refused.error);
}
