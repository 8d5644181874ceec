//! The structure of the code base, as a test: what must not depend on what, what must not be absent.
//!
//! Each rule is a function from files to complaints, and has a twin below that breaks it.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use connect_tests::root;
use regex::Regex;

/// The longest a file may be, lines of code without its tests.
const LONGEST: usize = 600;
/// Members, and the members each may depend on. What is not listed fails: decide where it belongs.
const MAY_DEPEND: &[(&str, &[&str])] = &[
    ("connector-api", &[]),
    ("connect-config", &["connector-api"]),
    ("connector-iceberg", &["connector-api", "connector-iceberg-index"]),
    ("connector-iceberg-index", &[]),
    ("connector-debezium", &["connector-api"]),
    ("connector-kafka", &["connector-api", "connector-debezium"]),
    ("connector-oracle", &["connector-api"]),
    ("connector-postgres", &["connector-api"]),
    ("connect-engine", &["connector-api"]),
    (
        "connect-runtime",
        &[
            "connect-config",
            "connect-engine",
            "connector-api",
            "connector-iceberg",
            "connector-kafka",
            "connector-oracle",
            "connector-postgres",
        ],
    ),
    ("connect-tests", &[]),
    ("connect-oracle-double", &[]),
    // Written as by a third party: the contract, and for the program its library.
    ("connector-jsonl", &["connector-api"]),
    ("example-runtime", &["connect-runtime", "connector-jsonl"]),
];
/// Crates that talk to a system: the contract and the engine must do without.
const DRIVERS: &[&str] = &[
    "iceberg",
    "iceberg-catalog-sql",
    "oracle",
    "oracledb",
    "parquet",
    "postgres-protocol",
    "rdkafka",
    "sqlx",
    "axum",
];
/// Connectors and what they connect to: names that the contract and the engine must not know.
const CONNECTOR_NAMES: &str = r"(?i)\b(postgres\w*|iceberg|oracle|debezium|parquet)\b";

/// A file's path within the checkout, and its text.
type Files = BTreeMap<String, String>;

#[test]
fn the_checkout_is_tidy() {
    let files = checkout();
    assert!(files.len() > 30, "found the checkout");
    let mut complaints = Vec::new();
    complaints.extend(manifest(&dependencies()));
    complaints.extend(modules(&files));
    complaints.extend(waivers(&files));
    complaints.extend(unfinished(&files));
    complaints.extend(names(&files));
    complaints.extend(failpoints(&files));
    complaints.extend(
        ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", ".ci/run"]
            .iter()
            .filter(|f| !files.contains_key(**f))
            .map(|f| format!("{f} is missing")),
    );
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// Members' dependencies: direction, and drivers where none may be.
fn manifest(members: &BTreeMap<String, Vec<(String, bool)>>) -> Vec<String> {
    let mut complaints = Vec::new();
    for (member, dependencies) in members {
        let Some((_, may)) = MAY_DEPEND.iter().find(|(m, _)| m == member) else {
            complaints.push(format!("{member}: not listed in MAY_DEPEND"));
            continue;
        };
        for (name, dev) in dependencies {
            // A member's tests may use the harness, and doubles: the contract's, and that of a database.
            let test_only =
                *dev && ["connect-tests", "connect-oracle-double", "connector-api"].contains(&name.as_str());
            if members.contains_key(name) && !may.contains(&name.as_str()) && !test_only {
                complaints.push(format!("{member} must not depend on {name}"));
            }
            if ["connector-api", "connect-engine"].contains(&member.as_str()) && DRIVERS.contains(&name.as_str()) {
                complaints.push(format!("{member} must do without the driver {name}"));
            }
            if name == "anyhow" && member != "connect-runtime" {
                complaints.push(format!("{member}: anyhow is for the program only; use connector_api::Error"));
            }
        }
    }
    complaints
}

/// Every module says what it is for, and is not too long.
fn modules(files: &Files) -> Vec<String> {
    let mut complaints = Vec::new();
    for (path, text) in rust(files) {
        if !text.starts_with("//!") {
            complaints.push(format!("{path}: does not begin with //!"));
        }
        let code = code_of(text).lines().filter(|l| !l.trim().is_empty()).count();
        if code > LONGEST {
            complaints.push(format!("{path}: {code} lines of code, more than {LONGEST}"));
        }
    }
    complaints
}

/// Exceptions from lints carry a reason, and are `expect`, which complains when no longer needed.
fn waivers(files: &Files) -> Vec<String> {
    let waiver = Regex::new(r"(?s)#!?\[(allow|expect)\((.*?)\)\]").unwrap();
    let mut complaints = Vec::new();
    for (path, text) in rust(files).filter(|(path, _)| !path.ends_with("tidy.rs")) {
        for found in waiver.captures_iter(text) {
            if &found[1] == "allow" || !found[2].contains("reason = \"") {
                complaints.push(format!("{path}: {} (want #[expect(…, reason = \"…\")])", &found[0]));
            }
        }
    }
    complaints
}

/// Nothing unfinished is committed.
fn unfinished(files: &Files) -> Vec<String> {
    let marks = Regex::new(r"\b(TODO|FIXME|XXX|HACK)\b|\b(todo|unimplemented)!").unwrap();
    let ours =
        |path: &str| !path.ends_with("tidy.rs") && !path.ends_with("Cargo.lock") && !path.ends_with("clippy.toml");
    let texts = files.iter().filter(|(path, _)| ours(path));
    texts
        .flat_map(|(path, text)| {
            let found = text.lines().enumerate().filter(|(_, line)| marks.is_match(line));
            found.map(move |(n, line)| format!("{path}:{}: unfinished: {}", n + 1, line.trim()))
        })
        .collect()
}

/// The contract and the engine know no connector by name, tests included. Prose may compare with one.
fn names(files: &Files) -> Vec<String> {
    let name = Regex::new(CONNECTOR_NAMES).unwrap();
    let general = |path: &str| path.starts_with("connector-api/src/") || path.starts_with("runtime/engine/src/");
    rust(files)
        .filter(|(path, _)| general(path))
        .flat_map(|(path, text)| {
            let found =
                text.lines().enumerate().filter(|(_, line)| name.is_match(line.split("//").next().unwrap_or_default()));
            found.map(move |(n, line)| format!("{path}:{}: names a connector: {}", n + 1, line.trim()))
        })
        .collect()
}

/// Every failpoint in the code is used by a test, and every one a test uses exists.
fn failpoints(files: &Files) -> Vec<String> {
    let hit = Regex::new(r#"failpoint(?:::hit\(|: )\s*"([a-z]+\.[a-z-]+)""#).unwrap();
    let used = Regex::new(r#""([a-z]+\.[a-z-]+)="#).unwrap();
    let mut complaints = Vec::new();
    let tests: String =
        rust(files).filter(|(p, _)| p.starts_with("tests/tests/e2e/")).map(|(_, t)| t.as_str()).collect();
    let mut known = Vec::new();
    for (path, text) in rust(files).filter(|(p, _)| !p.starts_with("tests/")) {
        for found in hit.captures_iter(text) {
            known.push(found[1].to_owned());
            if !tests.contains(&format!("\"{}", &found[1])) {
                complaints.push(format!("{path}: no test uses the failpoint {}", &found[1]));
            }
        }
    }
    for found in used.captures_iter(&tests) {
        if !known.contains(&found[1].to_owned()) {
            complaints.push(format!("tests/tests/e2e: there is no failpoint {}", &found[1]));
        }
    }
    complaints
}

/// A file's code without the unit tests at its end.
fn code_of(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod ").next().unwrap_or_default()
}

fn rust(files: &Files) -> impl Iterator<Item = (&String, &String)> {
    files.iter().filter(|(path, _)| path.ends_with(".rs"))
}

/// The text files that git knows or would know.
fn checkout() -> Files {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git");
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let paths = String::from_utf8(listed.stdout).unwrap();
    let texts = paths.lines().filter_map(|p| Some((p.to_owned(), fs::read_to_string(root().join(p)).ok()?)));
    texts.collect()
}

/// Each member's direct dependencies and whether they are for tests only.
fn dependencies() -> BTreeMap<String, Vec<(String, bool)>> {
    let cargo = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version=1", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&cargo.stdout).expect("cargo metadata");
    let text = |v: &serde_json::Value| v.as_str().unwrap_or_default().to_owned();
    let packages = metadata["packages"].as_array().unwrap();
    packages
        .iter()
        .map(|p| {
            let list = p["dependencies"].as_array().unwrap();
            (text(&p["name"]), list.iter().map(|d| (text(&d["name"]), d["kind"] == "dev")).collect())
        })
        .collect()
}

// The twins: each rule broken, and caught.

fn one(path: &str, text: &str) -> Files {
    Files::from([(path.to_owned(), text.to_owned())])
}

#[test]
fn a_wrong_dependency_is_caught() {
    let members = |of: &str, on: &str, dev: bool| {
        let mut all: BTreeMap<_, _> = MAY_DEPEND.iter().map(|(m, _)| ((*m).to_owned(), vec![])).collect();
        all.insert(of.to_owned(), vec![(on.to_owned(), dev)]);
        manifest(&all)
    };
    assert_eq!(members("connector-iceberg", "connector-api", false), Vec::<String>::new());
    assert_eq!(members("connector-iceberg", "connect-tests", true), Vec::<String>::new());
    assert_eq!(members("connect-engine", "connector-iceberg", true).len(), 1);
    assert_eq!(members("connector-postgres", "connector-iceberg", false).len(), 1);
    assert_eq!(members("connector-postgres", "connect-tests", false).len(), 1);
    assert_eq!(members("connector-api", "sqlx", false).len(), 1);
    assert_eq!(members("connect-engine", "anyhow", false).len(), 1);
    assert_eq!(members("connector-new", "connector-api", false).len(), 1);
}

#[test]
fn a_wrong_module_is_caught() {
    assert_eq!(modules(&one("a.rs", "//! What for.\nfn a() {}\n")), Vec::<String>::new());
    assert_eq!(modules(&one("a.rs", "fn a() {}\n")).len(), 1);
    let long = format!("//! x\n{}", "fn a() {}\n".repeat(LONGEST));
    assert_eq!(modules(&one("a.rs", &long)).len(), 1);
    let tested = format!("//! x\n#[cfg(test)]\nmod tests {{\n{}}}", "fn a() {}\n".repeat(LONGEST));
    assert_eq!(modules(&one("a.rs", &tested)), Vec::<String>::new());
}

#[test]
fn a_wrong_waiver_is_caught() {
    assert_eq!(waivers(&one("a.rs", "#[expect(clippy::x, reason = \"because\")]")), Vec::<String>::new());
    assert_eq!(waivers(&one("a.rs", "#[expect(clippy::x)]")).len(), 1);
    assert_eq!(waivers(&one("a.rs", "#![allow(\n  clippy::x, reason = \"because\"\n)]")).len(), 1);
}

#[test]
fn what_is_unfinished_is_caught() {
    for text in ["// TODO later", "todo!()", "unimplemented!(\"x\")", "# FIXME"] {
        assert_eq!(unfinished(&one("a.py", text)).len(), 1, "{text}");
    }
    assert_eq!(unfinished(&one("a.rs", "let todos = 1;")), Vec::<String>::new());
}

#[test]
fn a_connectors_name_is_caught() {
    assert_eq!(names(&one("runtime/engine/src/a.rs", "if name == \"postgres\" {")).len(), 1);
    assert_eq!(names(&one("connector-api/src/a.rs", "Iceberg(u8), // a sink")).len(), 1);
    assert_eq!(names(&one("connector-api/src/a.rs", "/// As Iceberg does.")), Vec::<String>::new());
    assert_eq!(names(&one("runtime/src/a.rs", "iceberg")), Vec::<String>::new());
}

#[test]
fn an_unused_or_unknown_failpoint_is_caught() {
    let check = |code: &str, test: &str| {
        let mut files = one("connectors/x/src/a.rs", code);
        files.extend(one("tests/tests/e2e/a.rs", test));
        failpoints(&files).len()
    };
    assert_eq!(check("failpoint::hit(\"x.a\")?;", "run(\"x.a=kill\")"), 0);
    assert_eq!(check("failpoint::hit(\"x.a\")?;", "run()"), 1);
    assert_eq!(check("Change { failpoint: \"x.a\" }", "run()"), 1);
    assert_eq!(check("", "run(\"x.b=kill\")"), 1);
}
