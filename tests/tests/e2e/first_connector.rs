//! `docs/first-connector.md`, followed: its commands are run, its code is the example's, its rows arrive.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use connect_tests::compare::{Rows, assert_rows};
use connect_tests::lake::Lake;
use connect_tests::postgres::Server;
use connect_tests::root;
use connect_tests::runtime::{Job, OK, SOME_TABLES_FAILED, binary};

const DOC: &str = include_str!("../../../docs/first-connector.md");

/// The document's blocks of a language, each with the text before it.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<(&'a str, &'a str)> {
    let fence = format!("```{language}\n");
    let starts = text.match_indices(&fence).map(|(at, _)| at);
    starts.map(|at| (&text[..at], text[at + fence.len()..].split("```").next().unwrap())).collect()
}

/// Blocks of code that are not in the file of `examples/` that was named last before them.
fn strangers(text: &str) -> Vec<String> {
    let of = |language| blocks(text, language).into_iter();
    let missing = of("rust").chain(of("json")).filter(|(before, code)| {
        let named = before.rfind("examples/").map(|at| &before[at..]);
        let named = named.and_then(|rest| rest.split(['`', ')', '\n']).next()).unwrap_or_default();
        let known = fs::read_to_string(root().join(named)).unwrap_or_default();
        // The configuration stands deeper in its file.
        let flat = |text: &str| text.lines().map(|line| line.trim().to_owned() + "\n").collect::<String>();
        !(known.contains(code) || (named.ends_with(".json") && flat(&known).contains(&flat(code))))
    });
    missing.map(|(_, code)| code.to_owned()).collect()
}

#[test]
fn the_code_of_the_document_is_the_examples() {
    assert!(blocks(DOC, "rust").len() >= 6);
    assert_eq!(strangers(DOC), Vec::<String>::new());
    // The twin: a line that the code does not have, and a file that there is not.
    assert_eq!(strangers(&DOC.replace("\"Most rows of a batch\"", "\"Rows of a batch\"")).len(), 1);
    assert_eq!(strangers("`examples/nowhere.rs`\n```rust\nfn main() {}\n```\n").len(), 1);
}

/// A folder that looks like the checkout to the document's commands. `cargo run` runs what is built already;
/// the tests of a copy are those of the workspace, and run with it.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("bin")).unwrap();
    let cargo = format!(
        "#!/bin/sh\nset -e\n[ \"$1\" = test ] && exit 0\n[ \"$1 $2 $3 $4\" = 'run --package example-runtime --' ]\nshift 4\nexec '{}' \"$@\"\n",
        binary("example-runtime").display()
    );
    fs::write(at("bin/cargo"), cargo).unwrap();
    fs::set_permissions(at("bin/cargo"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink(root().join("scripts"), at("scripts")).unwrap();
    fs::copy(root().join("Cargo.toml"), at("Cargo.toml")).unwrap();
    let copied = Command::new("cp").arg("-r").arg(root().join("examples")).arg(at("examples")).status().unwrap();
    assert!(copied.success());
    folder
}

#[test]
fn the_commands_of_the_document_work() {
    let folder = folder();
    let script: String = blocks(DOC, "sh").iter().map(|(_, commands)| *commands).collect();
    let path = format!("{}/bin:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let mut bash = Command::new("bash");
    bash.args(["-euo", "pipefail", "-c", &script]).current_dir(folder.path()).env("PATH", path).env_remove("CI");
    let ran = bash.output().unwrap();
    let output = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{output}");
    for text in ["files.orders  loaded", "table.*.columns", "no table of the source is missing", "blue"] {
        assert!(output.contains(text), "{text}: {output}");
    }
    let copy = fs::read_to_string(folder.path().join("examples/mine/Cargo.toml")).unwrap();
    assert!(copy.contains("name = \"connector-mine\""), "{copy}");
    assert!(fs::read_to_string(folder.path().join("Cargo.toml")).unwrap().contains("    \"examples/mine\",\n"));
    let lake = Lake::new(&folder.path().join("lake"), "bronze.files");
    assert_rows(
        &orders(&[
            ("1", Some("4004000000000000"), None),
            ("2", None, Some("{\"colour\": \"blue\"}")),
            ("3", Some("4006000000000000"), None),
        ]),
        &lake,
        "orders",
    );
}

/// Rows of the document's table: id, price as the bits of the double, more.
fn orders(rows: &[(&str, Option<&str>, Option<&str>)]) -> Rows {
    let text = |v: &str| Some(v.to_owned());
    let item = |id: &str| text(if id == "2" { "cup" } else { "tea" });
    let row = |(id, price, more): &(&str, Option<&str>, Option<&str>)| {
        vec![text(id), item(id), price.map(str::to_owned), more.map(str::to_owned)]
    };
    Rows { columns: ["id", "item", "price", "more"].map(str::to_owned).into(), rows: rows.iter().map(row).collect() }
}

/// Many rows in several files, one bad file beside them, and a run after it is mended.
#[test]
fn files_become_tables() {
    let mut job = Job::new(&Server::shared().database());
    job.program = "example-runtime";
    let data = job.folder().join("data");
    fs::create_dir_all(data.join("many")).unwrap();
    let mut expected = Vec::new();
    for file in 0..4 {
        let ids = file * 5_000..(file + 1) * 5_000;
        let line = |id: i32| format!("{{\"v\": \"ä{id}\\n\", \"id\": {id}}}\n");
        fs::write(data.join(format!("many/{file}.jsonl")), ids.clone().map(line).collect::<String>()).unwrap();
        expected.extend(ids.map(|id| vec![Some(id.to_string()), Some(format!("ä{id}\n"))]));
    }
    fs::write(data.join("bad.jsonl"), "{\"id\": 1}\n{\"id\": \"x\"}\n").unwrap();
    job.source = [
        ("connector.class", "jsonl"),
        ("directory", data.to_str().unwrap()),
        ("table.many.columns", "id long not null, v string"),
        ("table.bad.columns", "id long"),
        ("batch.size", "999"),
        ("sink", "lake"),
    ]
    .map(|(k, v)| (k.to_owned(), v.to_owned()))
    .into();
    let lake = job.lake();
    let outcome = job.run(&[]).expect(SOME_TABLES_FAILED);
    outcome.says(&["bad.jsonl:2", "column=id", "not a whole number of 64 bits"]);
    assert_rows(&Rows { columns: vec!["id".into(), "v".into()], rows: expected }, &lake, "many");
    assert_eq!(lake.loaded_tables(), ["many"]);
    fs::write(data.join("bad.jsonl"), "{\"id\": 1}\n{\"id\": 2}\n").unwrap();
    job.run(&[]).expect(OK).says(&["already loaded"]);
    assert_eq!(lake.total("bad", "id"), Some((3, 2)));
}
