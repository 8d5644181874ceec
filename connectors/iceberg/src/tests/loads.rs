//! Loads as the runtime drives them.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_schema::DataType;
use connector_api::{Column, Error, ErrorKind, Event, LoadEvent, Sink, SplitId, TableId, TableSchema};
use iceberg::spec::Operation;

use super::*;
use crate::position;

#[tokio::test(flavor = "multi_thread")]
async fn a_load_is_published_whole_with_its_position() {
    let lake = Lake::new();
    let sink = lake.sink();
    let table = TableId::new("public", "orders");
    assert!(sink.progress(std::slice::from_ref(&table)).await.unwrap().loaded(&table).is_none());
    let mut task = sink.open(context()).await.unwrap();
    let load = first("orders");
    let event = |e| Event::Load(e);
    task.write(event(LoadEvent::Begin(Arc::new(load.clone())))).await.unwrap();
    task.write(batch(&load.schema, "a", 0, rows(&load.schema, 0..5000))).await.unwrap();
    task.write(batch(&load.schema, "b", 0, rows(&load.schema, 10_000..10_001))).await.unwrap();
    task.write(batch(&load.schema, "a", 5000, rows(&load.schema, 5000..10_000))).await.unwrap();
    assert!(lake.table("orders").await.is_none(), "nothing is visible before it is complete");
    assert_eq!(told(&task.checkpoint().await.unwrap()), "");
    for split in ["a", "b"] {
        task.write(event(LoadEvent::SplitDone(table.clone(), SplitId::new(split)))).await.unwrap();
    }
    task.write(event(LoadEvent::Complete(table.clone()))).await.unwrap();
    assert_eq!(told(&task.checkpoint().await.unwrap()), "public.orders@0/1 Some(10001)");
    assert_eq!(told(&task.checkpoint().await.unwrap()), "", "told once");
    task.close().await.unwrap();

    assert_eq!(lake.ids("orders").await, (0..10_001).collect::<Vec<_>>());
    let found = lake.table("orders").await.unwrap();
    let metadata = found.metadata();
    let snapshot = metadata.current_snapshot().unwrap();
    assert_eq!(metadata.snapshots().count(), 1, "one catalog operation");
    assert_eq!(snapshot.summary().operation, Operation::Append);
    let p: position::Position = serde_json::from_str(&metadata.properties()[position::POSITION]).unwrap();
    assert_eq!((p.table, p.snapshot, p.sequence, p.epoch), (metadata.uuid(), snapshot.snapshot_id(), 1, 1));
    assert_eq!(p.positions["sys1"], "0/1");
    for name in [position::POSITION, position::EPOCH, position::CUT, position::COMMIT_ID] {
        assert_eq!(snapshot.summary().additional_properties[name], metadata.properties()[name], "{name}");
    }
    assert_eq!(
        metadata.properties()[position::CUT],
        r#"{"source":"shop","system":"sys1","position_type":"lsn","position":"0/1","visible":"10:20:"}"#
    );
    assert_eq!(metadata.properties()[position::KEY], r#"["id"]"#);
    assert_eq!(metadata.properties()["comment"], "the table");
    assert_eq!(metadata.current_schema().identifier_field_ids().collect::<Vec<_>>(), [1]);
    assert!(metadata.location().ends_with("/wh/bronze/shop/orders"), "{}", metadata.location());
    assert_eq!(lake.files(".parquet").iter().filter(|f| f.contains("/orders/")).count(), 2, "one per split");
    assert_eq!(metadata.format_version(), iceberg::spec::FormatVersion::V2);

    let loaded = lake.sink().progress(std::slice::from_ref(&table)).await.unwrap();
    assert_eq!(loaded.loaded(&table).map(|l| (l.position.as_str(), l.rows)), Some(("0/1", Some(10_001))));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_table_is_a_table() {
    let lake = Lake::new();
    assert_eq!(told(&lake.load(&first("none"), 0..0).await), "public.none@0/1 Some(0)");
    assert_eq!(lake.ids("none").await, Vec::<i64>::new());
    assert!(lake.table("none").await.unwrap().metadata().current_snapshot().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replacement_is_one_commit_that_leaves_nothing_of_before() {
    let lake = Lake::new();
    lake.load(&load_of(&schema("t"), "0/9", false), 0..100).await;
    let before = lake.table("t").await.unwrap();
    // Another type for v, a new column, and a position that goes backwards.
    let columns = vec![
        Column::new("id", DataType::Int64, false, "int8"),
        Column::new("v", DataType::Int64, true, "int8"),
        Column::new("w", DataType::Utf8, true, "text"),
    ];
    let wider = Arc::new(TableSchema::new(TableId::new("public", "t"), columns, vec![0]).unwrap());
    let load = TableLoad { splits: 1, ..load_of(&wider, "0/5", true) };
    let mut task = lake.sink().open(context()).await.unwrap();
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(500..510));
    let text: ArrayRef = Arc::new(StringArray::from(vec!["x"; 10]));
    let new = RecordBatch::try_new(Arc::clone(wider.arrow()), vec![Arc::clone(&ids), ids, text]).unwrap();
    let table = wider.table().clone();
    task.write(Event::Load(LoadEvent::Begin(Arc::new(load)))).await.unwrap();
    task.write(batch(&wider, "a", 0, new)).await.unwrap();
    task.write(Event::Load(LoadEvent::SplitDone(table.clone(), SplitId::new("a")))).await.unwrap();
    assert_eq!(lake.ids("t").await.len(), 100, "the old rows stay until the new ones are whole");
    task.write(Event::Load(LoadEvent::Complete(table))).await.unwrap();
    assert_eq!(told(&task.checkpoint().await.unwrap()), "public.t@0/5 Some(10)");
    task.close().await.unwrap();

    assert_eq!(lake.ids("t").await, (500..510).collect::<Vec<_>>());
    let after = lake.table("t").await.unwrap();
    let m = after.metadata();
    assert_eq!((m.uuid(), m.snapshots().count()), (before.metadata().uuid(), 2));
    let fields: Vec<String> =
        m.current_schema().as_struct().fields().iter().map(|f| format!("{}{}", f.id, f.name)).collect();
    assert_eq!(fields, ["1id", "3v", "4w"], "an id keeps its meaning");
    let snapshot = m.current_snapshot().unwrap();
    let summary = &snapshot.summary().additional_properties;
    assert_eq!(snapshot.summary().operation, Operation::Overwrite);
    assert_eq!(snapshot.parent_snapshot_id(), before.metadata().current_snapshot_id());
    for (name, value) in [("deleted-records", "100"), ("added-records", "10"), ("total-records", "10")] {
        assert_eq!(summary[name], value, "{name}");
    }
    assert_eq!(
        (m.properties()[position::EPOCH].as_str(), m.properties()[position::SCHEMA_VERSION].as_str()),
        ("2", "2")
    );
    // The snapshot before is still whole.
    let id = before.metadata().current_snapshot_id().unwrap();
    let old = after.scan().snapshot_id(id).build().unwrap().to_arrow().await.unwrap();
    let old: Vec<RecordBatch> = old.try_collect().await.unwrap();
    assert_eq!(old.iter().map(RecordBatch::num_rows).sum::<usize>(), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_load_does_not_touch_what_is_there() {
    let lake = Lake::new();
    lake.load(&first("t"), 0..10).await;
    let check = async |load: TableLoad| told(&lake.load(&load, 0..3).await);
    let again = check(first("t")).await;
    assert!(again.contains("another instance published this table meanwhile"), "{again}");
    let mut other = first("t");
    other.cut = Arc::new(Cut { system: "sys2".into(), ..other.cut.as_ref().clone() });
    let other = check(other).await;
    assert!(other.contains("loaded from another database") && other.contains("--no-resume"), "{other}");
    let mut elsewhere = schema("t").as_ref().clone();
    elsewhere = TableSchema::new(TableId::new("sales", "t"), elsewhere.columns().to_vec(), vec![0]).unwrap();
    let foreign = check(load_of(&Arc::new(elsewhere), "0/1", false)).await;
    assert!(foreign.contains("holds public.t") && foreign.contains("iceberg.table.name.format"), "{foreign}");
    assert_eq!(lake.ids("t").await.len(), 10);
    assert_eq!(lake.files(".parquet").iter().filter(|f| f.contains("/t/")).count(), 2, "no other file");
    let table = TableId::new("sales", "t");
    assert!(lake.sink().progress(std::slice::from_ref(&table)).await.unwrap().loaded(&table).is_none(), "not its load");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_table_leaves_the_others_alone() {
    let lake = Lake::new();
    let mut task = lake.sink().open(context()).await.unwrap();
    let bad = first("bad");
    let table = bad.schema.table().clone();
    task.write(Event::Load(LoadEvent::Begin(Arc::new(bad.clone())))).await.unwrap();
    let null: Vec<ArrayRef> =
        vec![Arc::new(Int64Array::from(vec![Some(1), None])), Arc::new(StringArray::from(vec!["a", "b"]))];
    let null = RecordBatch::try_new(Arc::clone(bad.schema.arrow()), null).unwrap();
    task.write(batch(&bad.schema, "a", 0, null)).await.unwrap();
    feed(task.as_mut(), &first("good"), 0..10).await;
    // The encoder's failure shows with the next rows, or at the end.
    task.write(batch(&bad.schema, "a", 2, rows(&bad.schema, 2..4))).await.unwrap();
    for split in ["a", "b"] {
        task.write(Event::Load(LoadEvent::SplitDone(table.clone(), SplitId::new(split)))).await.unwrap();
    }
    task.write(Event::Load(LoadEvent::Complete(table.clone()))).await.unwrap();
    let told = told(&task.checkpoint().await.unwrap());
    assert_eq!(
        told,
        "public.good@0/1 Some(10); public.bad! NULL in a column that is declared NOT NULL [column=id, table=public.bad]"
    );
    let refused = Error::data("no type for it").with("column", "c");
    let refused = LoadEvent::Abort { table: TableId::new("public", "refused"), error: Arc::new(refused), attempts: 0 };
    task.write(Event::Load(refused)).await.unwrap();
    let unknown = task.write(batch(&first("never").schema, "a", 0, rows(&bad.schema, 0..1))).await;
    assert!(unknown.is_err_and(|e| e.kind() == ErrorKind::Fatal), "a bug of the runtime");
    task.close().await.unwrap();
    assert!(lake.table("bad").await.is_none());
    assert_eq!(lake.files(".parquet").iter().filter(|f| f.contains("/bad/")).count(), 0, "no file stays");
    let status = super::ledgers::status(&lake).await;
    assert_eq!(status["public.good"], "completed 10 epoch 1");
    assert!(status["public.bad"].starts_with("failed") && status["public.bad"].contains("declared NOT NULL"));
    assert!(status["public.refused"].contains("no type for it [column=c]"), "{}", status["public.refused"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_begins_again_forgets_the_one_before() {
    let lake = Lake::new();
    let mut task = lake.sink().open(context()).await.unwrap();
    let load = first("t");
    task.write(Event::Load(LoadEvent::Begin(Arc::new(load.clone())))).await.unwrap();
    task.write(batch(&load.schema, "a", 0, rows(&load.schema, 900..950))).await.unwrap();
    feed(task.as_mut(), &load, 0..10).await;
    assert_eq!(told(&task.checkpoint().await.unwrap()), "public.t@0/1 Some(10)");
    // One that is open at the end is dropped with its files.
    let open = first("open");
    task.write(Event::Load(LoadEvent::Begin(Arc::new(open.clone())))).await.unwrap();
    task.write(batch(&open.schema, "a", 0, rows(&open.schema, 0..50))).await.unwrap();
    task.close().await.unwrap();
    assert_eq!(lake.ids("t").await, (0..10).collect::<Vec<_>>());
    let status = super::ledgers::status(&lake).await;
    assert!(status["public.open"].starts_with("failed the load ended"), "{status:?}");
    assert_eq!(status["public.t"], "completed 10 epoch 1");
    let of = |part: &str| lake.files(".parquet").iter().filter(|f| f.contains(part)).count();
    assert_eq!((of("/open/"), of("/t/data/")), (0, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_is_not_published_before_its_splits_are_done() {
    let lake = Lake::new();
    let mut task = lake.sink().open(context()).await.unwrap();
    let load = first("t");
    task.write(Event::Load(LoadEvent::Begin(Arc::new(load.clone())))).await.unwrap();
    task.write(batch(&load.schema, "a", 0, rows(&load.schema, 0..5))).await.unwrap();
    let table = load.schema.table().clone();
    task.write(Event::Load(LoadEvent::SplitDone(table.clone(), SplitId::new("a")))).await.unwrap();
    task.write(Event::Load(LoadEvent::Complete(table))).await.unwrap();
    let told = told(&task.checkpoint().await.unwrap());
    assert!(told.contains("before all its splits are done"), "{told}");
    let again = task.write(batch(&load.schema, "a", 0, rows(&load.schema, 0..5))).await;
    assert!(again.is_err(), "and rows out of line are a bug");
    assert!(lake.table("t").await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn small_limits_make_many_files_and_lose_nothing() {
    let lake = Lake::with(&[
        ("write.target-file-size-bytes", "16KiB"),
        ("write.parquet.row-group-size-bytes", "4KiB"),
        ("write.parquet.compression-codec", "uncompressed"),
        ("iceberg.table.name.format", "{schema}.{table} €"),
    ]);
    let mut task = lake.sink().open(context()).await.unwrap();
    let load = TableLoad { splits: 1, ..first("t") };
    task.write(Event::Load(LoadEvent::Begin(Arc::new(load.clone())))).await.unwrap();
    for n in 0..40 {
        let rows = rows(&load.schema, n * 500..(n + 1) * 500);
        task.write(batch(&load.schema, "a", n as u64 * 500, rows)).await.unwrap();
    }
    let table = load.schema.table().clone();
    task.write(Event::Load(LoadEvent::SplitDone(table.clone(), SplitId::new("a")))).await.unwrap();
    task.write(Event::Load(LoadEvent::Complete(table))).await.unwrap();
    assert_eq!(told(&task.checkpoint().await.unwrap()), "public.t@0/1 Some(20000)");
    task.close().await.unwrap();
    let name = "public.t €";
    assert_eq!(lake.ids(name).await, (0..20_000).collect::<Vec<_>>());
    let table = lake.table(name).await.unwrap();
    assert!(table.metadata().location().ends_with(&format!("/{}", crate::names::folder(name))));
    let files =
        table.metadata().current_snapshot().unwrap().summary().additional_properties["total-data-files"].clone();
    assert!(files.parse::<u32>().unwrap() > 5, "{files}");
    // Bounds are right: a filter on each end finds its row through them.
    use iceberg::expr::Reference;
    use iceberg::spec::Datum;
    for id in [0_i64, 7_777, 19_999] {
        let filter = Reference::new("id").equal_to(Datum::long(id));
        let hits = table.scan().with_filter(filter).build().unwrap().to_arrow().await.unwrap();
        let hits: Vec<RecordBatch> = hits.try_collect().await.unwrap();
        assert_eq!(hits.iter().map(RecordBatch::num_rows).sum::<usize>(), 1, "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_catalog_is_the_one_others_know() {
    use iceberg::{Catalog, CatalogBuilder, NamespaceIdent};
    use iceberg_catalog_sql::{SqlBindStyle, SqlCatalogBuilder};
    let lake = Lake::new();
    lake.load(&first("t"), 0..3).await;
    sqlx::any::install_default_drivers();
    let catalog = SqlCatalogBuilder::default()
        .with_storage_factory(Arc::new(iceberg::io::LocalFsStorageFactory))
        .uri(format!("sqlite://{}/catalog.db", lake.dir.path().display()))
        .warehouse_location(format!("file://{}/wh", lake.dir.path().display()))
        .sql_bind_style(SqlBindStyle::QMark)
        .load("iceberg", Default::default())
        .await
        .unwrap();
    let namespace = NamespaceIdent::from_strs(["bronze", "shop"]).unwrap();
    assert!(catalog.namespace_exists(&NamespaceIdent::new("bronze".into())).await.unwrap());
    let mut names: Vec<String> =
        catalog.list_tables(&namespace).await.unwrap().iter().map(|t| t.name().into()).collect();
    names.sort();
    assert_eq!(names, ["_cdc_status", "_schema_changes", "t"]);
    // A foreign table of a taken name stops its lane, is not "loaded", and a replacement takes it over.
    let foreign = iceberg::TableCreation::builder()
        .name("foreign".into())
        .schema(crate::schema::iceberg_schema(&schema("x"), None).unwrap())
        .build();
    catalog.create_table(&namespace, foreign).await.unwrap();
    assert!(told(&lake.load(&first("foreign"), 0..3).await).contains("did not load"));
    let replaced = lake.load(&load_of(&schema("foreign"), "0/2", true), 0..3).await;
    assert_eq!(told(&replaced), "public.foreign@0/2 Some(3)");
    assert_eq!(lake.ids("foreign").await, [0, 1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_meet_are_refused() {
    let lake = Lake::new();
    let tables = [TableId::new("a", "t"), TableId::new("b", "t")];
    let e = lake.sink().progress(&tables).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Fatal);
    assert!(lake.sink().progress(&tables[..1]).await.is_ok());
    assert!(told(&lake.load(&first("_cdc_status"), 0..1).await).contains("one of our own tables"));
}
