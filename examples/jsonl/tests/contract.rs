//! The conformance suite, on files; and what files may be that the suite does not look at.
#![expect(clippy::unwrap_used, clippy::panic, reason = "the functions around the tests are test code too")]

use std::fs;
use std::path::Path;

use connector_api::testing::conformance;
use connector_api::{ErrorKind, Position, Progress, Role, Source, TaskContext};

const COLUMNS: &str = "id long not null, name string";

fn source(directory: &Path, more: &[(&str, &str)]) -> Box<dyn Source> {
    let directory = directory.to_str().unwrap();
    let keys = [("directory", directory), ("table.orders.columns", COLUMNS), ("table.empty.columns", COLUMNS)];
    let keys = keys.iter().chain(more).map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    match (connector_jsonl::PLUGIN.build)(&keys) {
        Ok(Role::Source(source)) => source,
        Ok(_) => panic!("not a source"),
        Err(problems) => panic!("{problems:?}"),
    }
}

/// `orders` of two files, `events` of one, an empty table, and a file that nobody has declared.
fn files() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let rows =
        |from: u32, to: u32| (from..to).map(|n| format!("{{\"id\": {n}, \"name\": \"n{n}\"}}\n")).collect::<String>();
    fs::create_dir(folder.path().join("orders")).unwrap();
    fs::write(folder.path().join("orders/1.jsonl"), rows(0, 250)).unwrap();
    fs::write(folder.path().join("orders/2.jsonl"), rows(250, 257).trim_end()).unwrap();
    fs::write(folder.path().join("events.jsonl"), rows(0, 10)).unwrap();
    fs::write(folder.path().join("empty.jsonl"), "").unwrap();
    fs::write(folder.path().join("unknown.jsonl"), "{}").unwrap();
    fs::write(folder.path().join("README"), "not a table").unwrap();
    folder
}

#[tokio::test]
async fn keeps_the_contract() {
    let folder = files();
    let fixture = || {
        source(
            folder.path(),
            &[("batch.size", "100"), ("table.events.columns", COLUMNS), ("table.gone.columns", COLUMNS)],
        )
    };
    let violations = conformance::source(&fixture).await;
    assert!(violations.is_empty(), "{violations:#?}");
    let plan = fixture().plan(&Progress::default()).await.unwrap();
    let mut refused: Vec<_> = plan.refused.iter().map(|(_, error)| error.to_string()).collect();
    refused.sort();
    assert_eq!(
        refused,
        [
            "no columns are declared: set table.unknown.columns [table=files.unknown]",
            "there is no file of the table [table=files.gone]",
        ]
    );
}

/// Reads a table to its end: how many rows, or the error.
async fn read(source: &dyn Source, meanwhile: impl FnOnce()) -> Result<usize, connector_api::Error> {
    let plan = source.plan(&Progress::default()).await?;
    let split = &plan.tables[0].splits[0];
    let mut task = source.open(split, Position::Start, TaskContext::new("test", 0, 1 << 20)).await?;
    let mut rows = task.next().await?.map_or(0, |batch| batch.rows().num_rows());
    meanwhile();
    while let Some(batch) = task.next().await? {
        rows += batch.rows().num_rows();
    }
    Ok(rows)
}

#[tokio::test]
async fn a_bad_line_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("orders.jsonl");
    let good = "{\"id\": 1}\n".repeat(120);
    for (bad, says) in [
        (&b"{\"id\": 1.5}\n"[..], "the value is not a whole number of 64 bits [column=id, file="),
        (b"\n", "the line is not a JSON object [file="),
        (b"{\"id\": \xff}\n", "the line is not UTF-8 [file="),
        (&[b'x'; 2000], "the line is longer than line.max.bytes [file="),
    ] {
        fs::write(&file, [good.as_bytes(), bad].concat()).unwrap();
        let source = source(folder.path(), &[("batch.size", "50"), ("line.max.bytes", "1000")]);
        let error = read(&*source, || ()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Data);
        assert!(error.to_string().starts_with(says), "{error}");
        assert!(error.to_string().ends_with("orders.jsonl:121]"), "{error}");
    }
}

/// A file that changes amid the load must not give rows of two moments; one that does not is read whole.
#[tokio::test]
async fn a_file_that_changes_is_noticed() {
    let folder = files();
    let path = folder.path().join("orders/1.jsonl");
    let source = source(folder.path(), &[("batch.size", "100")]);
    assert_eq!(read(&*source, || ()).await.unwrap(), 250);
    let appended = || fs::write(&path, fs::read_to_string(&path).unwrap() + "{\"id\": 999}\n").unwrap();
    let error = read(&*source, appended).await.unwrap_err();
    assert!(error.to_string().starts_with("the file has changed since the load was planned [file="), "{error}");
    assert!(error.is_cut_lost());
    assert_eq!(read(&*source, || ()).await.unwrap(), 251, "planned again");
    let error = read(&*source, || fs::remove_file(&path).unwrap()).await.unwrap_err();
    assert!(error.is_cut_lost(), "{error}");
}
