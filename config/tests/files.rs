//! Files as operators write them, good and bad, through the public interface: what is read, and the exact
//! line for everything that is wrong.
#![expect(clippy::unwrap_used, reason = "the functions around the checks are test code too")]

use std::path::{Path, PathBuf};

use connect_config::{Config, ConfigProblem, load};
use connector_api::config::{ConfigDef, Kind, Problem};
use proptest::prelude::*;
use tempfile::TempDir;

/// Secrets that no output may hold.
const SECRETS: [&str; 6] = ["s3cret-env", "s3cret-file", "s3cret-default", "s3cret-literal", "s3cret-split", "s3c"];

fn env(name: &str) -> Option<String> {
    match name {
        "PASSWORD" => Some("s3cret-env".into()),
        "HOST" => Some("db.example".into()),
        "TRICKY" => Some("${HOST}".into()),
        "SHORT" => Some("s3c".into()),
        "LIST" => Some("s3cret-split(, public\\..*".into()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

/// Writes the files into a folder of their own, loads those whose names say that they are configurations and
/// shows each problem with that folder's path left out. What lies in a folder `secret` is none.
fn load_files(files: &[(&str, &[u8])]) -> (TempDir, Config, Vec<ConfigProblem>, String) {
    let folder = tempfile::tempdir().unwrap();
    let mut paths: Vec<PathBuf> = Vec::new();
    for (name, content) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        if !name.contains("secret") && [".json", ".yaml", ".YML", ".properties"].iter().any(|end| name.ends_with(end)) {
            paths.push(path);
        }
    }
    let (config, problems) = load(&paths, &env);
    let text: Vec<String> = problems.iter().map(|p| show(folder.path(), p)).collect();
    (folder, config, problems, text.join("\n"))
}

fn show(folder: &Path, problem: &ConfigProblem) -> String {
    problem.to_string().replace(&format!("{}/", folder.display()), "")
}

fn check(files: &[(&str, &str)], expected: &str) {
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, text)| (*name, text.as_bytes())).collect();
    let (_folder, _, _, text) = load_files(&files);
    assert_eq!(text, expected);
}

/// A file with one connector that has these settings besides its class.
fn with(settings: &str) -> String {
    format!(r#"{{"connectors": [{{"name": "shop", "config": {{"connector.class": "postgres", {settings}}}}}]}}"#)
}

fn check_setting(settings: &str, expected: &str) {
    check(&[("c.json", &with(settings))], expected);
}

#[test]
fn a_complete_file() {
    let text = r#"{
      "worker": { "memory.max": "128MiB", "progress.interval.ms": 250, "bootstrap.servers": "${KAFKA:127.0.0.1:9092}" },
      "connectors": [
        { "name": "shop", "config": { "connector.class": "postgres", "name": "shop", "database.port": 5432,
            "snapshot.fraction": 1.50, "flag": true, "database.password": "${env:PASSWORD}",
            "url": "pg://${HOST}:${PORT:5432}/$${x}", "tricky": "${TRICKY}", "empty": "${EMPTY}",
            "absolute": "", "file": "${file:secret/s.properties:shop.password}" } },
        { "config": { "connector.class": "iceberg" }, "name": "lake" } ] }"#;
    let secrets: &[u8] = b"# of the shop\nshop.password = s3cret-file\n";
    let (folder, config, _, problems) = load_files(&[("c.json", text.as_bytes()), ("secret/s.properties", secrets)]);
    assert_eq!(problems, "");
    assert_eq!(config.worker.memory_max, 128 << 20);
    assert_eq!(config.worker.bootstrap_servers.as_deref(), Some("127.0.0.1:9092"));
    assert_eq!(config.connectors.iter().map(|c| c.name()).collect::<Vec<_>>(), ["shop", "lake"]);
    let shop = config.connector("shop").unwrap();
    assert_eq!(shop.file(), folder.path().join("c.json"));
    let both = |key: &str| (shop.raw().expose()[key].as_str(), shop.resolved().expose()[key].as_str());
    assert_eq!(both("database.port"), ("5432", "5432"));
    assert_eq!(both("snapshot.fraction"), ("1.50", "1.50"));
    assert_eq!(both("flag"), ("true", "true"));
    assert_eq!(both("database.password"), ("${env:PASSWORD}", "s3cret-env"));
    assert_eq!(both("url"), ("pg://${HOST}:${PORT:5432}/$${x}", "pg://db.example:5432/${x}"));
    assert_eq!(both("tricky"), ("${TRICKY}", "${HOST}"), "what a reference stands for is not resolved again");
    assert_eq!(both("empty"), ("${EMPTY}", ""));
    assert_eq!(both("absolute"), ("", ""));
    assert_eq!(both("file").1, "s3cret-file");
    assert!(!shop.raw().expose().contains_key("name") && !shop.resolved().expose().contains_key("name"));
}

#[test]
fn several_files_make_one_configuration() {
    let (_folder, config, _, problems) = load_files(&[
        ("worker.json", br#"{"worker": {"memory.max": "100MiB", "log.level": "warn"}}"#),
        (
            "a.json",
            br#"{"worker": {"log.level": "warn"}, "connectors": [{"name": "a", "config": {"connector.class": "x"}}]}"#,
        ),
        (
            "b/b.json",
            b"\xef\xbb\xbf{\"connectors\": [{\"name\": \"b\", \"config\": {\"connector.class\": \"${file:k:c}\"}}]}",
        ),
        ("b/k", b"c=of b's folder"),
    ]);
    assert_eq!(problems, "");
    assert_eq!((config.worker.memory_max, config.worker.log_level.as_str()), (100 << 20, "warn"));
    assert_eq!(config.connectors.len(), 2);
    assert_eq!(config.connectors[1].resolved().expose()["connector.class"], "of b's folder");
}

/// One configuration in each form that it may be written in.
#[test]
fn every_form_says_the_same() {
    let own = r#"{"connectors": [{"name": "shop", "config": {"connector.class": "postgres", "port": 5432, "p": "${PASSWORD}"}},
        {"name": "lake", "config": {"connector.class": "iceberg", "on": true}}]}"#;
    let yaml = "# ours\nconnectors:\n- name: shop\n  config: &all\n    connector.class: postgres\n    port: 5432\n    p: ${PASSWORD}\n\
                - name: lake\n  config:\n    connector.class: iceberg\n    on: true\n";
    let posted = |name: &str, config: &str| {
        format!(r#"{{"name": "{name}", "initial_state": "running", "config": {{"name": "{name}", {config}}}}}"#)
    };
    let shop = posted("shop", r#""connector.class": "postgres", "port": "5432", "p": "${PASSWORD}""#);
    let lake = posted("lake", r#""connector.class": "iceberg", "on": "true""#);
    let list = format!("[{shop}, {lake}]");
    let flat = r#"{"name": "lake", "connector.class": "iceberg", "on": true}"#;
    let properties = "# ours\nname=shop\nconnector.class=postgres\nport = 5432\np=${PASSWORD}\n";
    let forms: [&[(&str, &str)]; 7] = [
        &[("c.json", own)],
        &[("c.yaml", yaml)],
        &[("c.YML", own)],
        &[("list.json", &list)],
        &[("shop.json", &shop), ("lake.json", &lake)],
        &[("shop.properties", properties), ("lake.json", flat)],
        &[("shop.properties", properties), ("lake.yaml", "name: lake\nconnector.class: iceberg\non: true\n")],
    ];
    for form in forms {
        let files: Vec<(&str, &[u8])> = form.iter().map(|(name, text)| (*name, text.as_bytes())).collect();
        let (_folder, config, _, problems) = load_files(&files);
        assert_eq!(problems, "", "{:?}", form[0].0);
        assert!(config.complete);
        let found: Vec<_> = config.connectors.iter().map(|c| (c.name(), c.resolved().expose().clone())).collect();
        let map = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        let shop = map(&[("connector.class", "postgres"), ("p", "s3cret-env"), ("port", "5432")]);
        assert_eq!(
            found,
            [("shop", shop), ("lake", map(&[("connector.class", "iceberg"), ("on", "true")]))],
            "{form:?}"
        );
    }
    let (_folder, config, _, problems) =
        load_files(&[("worker.properties", b"memory.max=1GiB"), ("c.yaml", yaml.as_bytes())]);
    assert_eq!((problems.as_str(), config.worker.memory_max), ("", 1 << 30));
}

#[test]
fn other_forms_that_are_wrong() {
    check(&[("c.yaml", "a: b: c")], "c.yaml:1:5: is not valid YAML: mapping values are not allowed in this context");
    check(
        &[("c.yaml", "connectors:\n- name: shop\n  config:\n    connector.class: x\n    p:\n    q: 1\n    q: 2\n")],
        "c.yaml: connector \"shop\": p: is null, not a text, a number or a boolean\n\
         c.yaml: connector \"shop\": q: is given more than once",
    );
    check(&[("c.yaml", "memory.max: 1GiB")], "c.yaml: memory.max: unknown key");
    check(
        &[("c.properties", "connector.class=x\nconnector.class=y\na=1")],
        "c.properties: name: missing: every connector needs a name\n\
         c.properties: connector.class: is given more than once",
    );
    check(
        &[("c.properties", "name=a\na=1")],
        "c.properties: connector \"a\": connector.class: missing: this key is required and has no default",
    );
    check(
        &[("worker.properties", "offset.storage.file.filename=/tmp/x\nmemroy.max=1GiB"), ("c.yaml", "[]")],
        "worker.properties: connectors: there is none in any of the 2 files: a configuration needs at least one\n\
         worker.properties: worker: memroy.max: unknown key; did you mean \"memory.max\"?\n\
         worker.properties: worker: offset.storage.file.filename: unknown key",
    );
    check(
        &[("c.properties", "a=\\u12")],
        "c.properties: line 1 has a \\u escape that is not four hexadecimal digits of a character",
    );
    check(
        &[("c.json", r#"{"name": "a", "confg": {}}"#)],
        "c.json: connector \"a\": confg: unknown key; did you mean \"config\"?\n\
         c.json: connector \"a\": config: missing: every connector needs its settings",
    );
    check(
        &[("c.json", r#"{"name": ["a"], "connector.class": "x", "db": {"a": 1}}"#)],
        "c.json: name: is a list, not a text\nc.json: db: is an object, not a text, a number or a boolean",
    );
    let state =
        |state: &str| format!(r#"{{"name": "a", "initial_state": {state}, "config": {{"connector.class": "x"}}}}"#);
    for (text, why) in [
        ("\"STOPPED\"", "\"STOPPED\": this version starts every connector; leave out the ones that shall not run"),
        ("\"paused\"", "\"paused\": this version starts every connector; leave out the ones that shall not run"),
        ("\"RUN\"", "\"RUN\" is not RUNNING, PAUSED or STOPPED"),
        ("null", "is null, not a text"),
    ] {
        check(&[("c.json", &state(text))], &format!("c.json: connector \"a\": initial_state: {why}"));
    }
}

#[test]
fn a_configuration_says_whether_it_is_whole() {
    let complete = |files: &[(&str, &str)]| {
        let files: Vec<(&str, &[u8])> = files.iter().map(|(name, text)| (*name, text.as_bytes())).collect();
        load_files(&files).1.complete
    };
    let one = r#"{"connectors": [{"name": "a", "config": {"connector.class": "x"}}]}"#;
    assert!(complete(&[("a.json", one)]));
    assert!(!complete(&[("a.json", one), ("b.json", "{")]), "a file that cannot be read");
    assert!(!complete(&[("a.json", one), ("b.json", r#"[{"config": {"connector.class": "x"}}]"#)]), "no name");
    assert!(!complete(&[("a.json", one), ("b.json", one)]), "a name twice");
}

#[test]
fn files_of_a_directory() {
    let files: &[(&str, &[u8])] = &[
        (
            "c.json",
            br#"{"connectors": [{"name": "shop", "config": {"connector.class": "x", "p": "${directory:secret:pw}",
            "q": "<${directory:./secret:line}>"}}]}"#,
        ),
        ("secret/pw", b"s3cret-file"),
        ("secret/line", "ä\n".as_bytes()),
    ];
    let (folder, config, _, problems) = load_files(files);
    assert_eq!(problems, "");
    let resolved = config.connectors[0].resolved().expose();
    assert_eq!((resolved["p"].as_str(), resolved["q"].as_str()), ("s3cret-file", "<ä\n>"));
    // As Kubernetes mounts secrets: each file is a link into a hidden folder.
    std::fs::create_dir(folder.path().join("secret/..data")).unwrap();
    std::fs::write(folder.path().join("secret/..data/linked"), "s3cret-file").unwrap();
    std::os::unix::fs::symlink("..data/linked", folder.path().join("secret/linked")).unwrap();
    std::fs::write(folder.path().join("secret/bytes"), b"s3cret-file\xff").unwrap();
    let text = with(
        r#""a": "${directory:secret:linked}", "b": "${directory:secret:none}", "c": "${directory:nowhere:pw}",
           "d": "${directory:secret:..data}", "e": "${directory:secret:../c.json}", "f": "${directory:secret:bytes}",
           "g": "${directory:secret/pw:pw}""#,
    );
    std::fs::write(folder.path().join("c.json"), text).unwrap();
    let (config, problems) = load(&[folder.path().join("c.json")], &env);
    assert_eq!(config.connectors[0].resolved().expose()["a"], "s3cret-file");
    let shown: Vec<_> = problems.iter().map(|p| show(folder.path(), p)).collect();
    assert_eq!(
        shown,
        [
            "b: the file \"none\" in the directory secret: does not exist",
            "c: nowhere is not a directory that can be read",
            "d: \"..data\" in the directory secret is not a regular file",
            "e: the reference at character 1 has a key that is not the plain name of a file",
            "f: the file \"bytes\" in the directory secret: is not UTF-8 text",
            "g: secret/pw is not a directory that can be read",
        ]
        .map(|line| format!("c.json: connector \"shop\": {line}"))
    );
}

#[test]
fn files_that_are_no_configuration() {
    check(&[("c.json", "")], "c.json: is empty");
    check(&[("c.json", "[]")], "c.json: connectors: there is none: a configuration needs at least one connector");
    check(&[("c.json", "7")], "c.json: is a single value, not an object with \"worker\" and \"connectors\"");
    check(&[("c.json", "{\n  \"worker\": {,}\n}")], "c.json:2:14: is not valid JSON: key must be a string");
    check(&[("c.json", "{\"worker\": {}")], "c.json:1:14: is not valid JSON: EOF while parsing an object");
    check(&[("c.json", "worker:\n  a: b\n")], "c.json:1:1: is not valid JSON: expected value");
    let (_f, _, _, text) = load_files(&[("c.json", b"{\"\xff\": 1}")]);
    assert_eq!(text, "c.json:1:3: is not UTF-8 text");
    let (_f, _, _, text) = load_files(&[("c.json", &vec![b'['; 100 << 20])]);
    assert_eq!(text, "c.json: is larger than 16 MiB");
    let folder = tempfile::tempdir().unwrap();
    let (_, problems) = load(&[folder.path().to_owned(), folder.path().join("none.json")], &env);
    assert_eq!(problems[0].to_string(), format!("{}: is a directory, not a file", folder.path().display()));
    assert_eq!(show(folder.path(), &problems[1]), "none.json: does not exist");
    assert_eq!(problems.len(), 2);
}

#[test]
fn shapes_that_are_wrong() {
    let none = "connectors: there is none: a configuration needs at least one connector";
    check(&[("c.json", "{}")], &format!("c.json: {none}"));
    check(&[("c.json", r#"{"connectors": []}"#)], &format!("c.json: {none}"));
    check(
        &[("a.json", "{}"), ("b.json", r#"{"worker": {}}"#)],
        "a.json: connectors: there is none in any of the 2 files: a configuration needs at least one",
    );
    check(&[("c.json", r#"{"connectors": {}}"#)], "c.json: connectors: is an object, not a list of connectors");
    check(&[("c.json", r#"{"conectors": []}"#)], "c.json: conectors: unknown key; did you mean \"connectors\"?");
    check(
        &[("c.json", r#"{"worker": [], "connectors": ["x", {}, {"name": null, "config": 7}]}"#)],
        "c.json: worker: is a list, not an object of settings\n\
         c.json: connectors[0]: is a single value, not an object with \"name\" and \"config\"\n\
         c.json: connectors[1]: name: missing: every connector needs a name\n\
         c.json: connectors[1]: config: missing: every connector needs its settings\n\
         c.json: connectors[2]: name: is null, not a text\n\
         c.json: connectors[2]: config: is a single value, not an object of settings",
    );
    for (name, why) in [
        ("", "is empty"),
        (" ", "is empty"),
        ("${HOST}", "holds a reference: names are taken as they are"),
        ("a ", "begins or ends with a space, or has a control character"),
        ("a\\nb", "begins or ends with a space, or has a control character"),
    ] {
        let text = format!(r#"{{"connectors": [{{"name": "{name}", "config": {{"connector.class": "x"}}}}]}}"#);
        check(&[("c.json", &text)], &format!("c.json: connectors[0]: name: {why}"));
    }
    check(
        &[("c.json", r#"{"connectors": [{"config": {"name": "b"}, "name": "a", "confg": {}, "tasks": 1}]}"#)],
        "c.json: connector \"a\": confg: unknown key; did you mean \"config\"?\n\
         c.json: connector \"a\": tasks: unknown key\n\
         c.json: connector \"a\": name: \"b\" within \"config\" differs from the connector's name\n\
         c.json: connector \"a\": connector.class: missing: this key is required and has no default",
    );
    check(
        &[("c.json", r#"{"connectors": [{"name": "a", "config": {"connector.class": "${EMPTY}"}}]}"#)],
        "c.json: connector \"a\": connector.class: is empty",
    );
    check_setting(r#""a": null"#, "c.json: connector \"shop\": a: is null, not a text, a number or a boolean");
    check_setting(r#""a": ["x"]"#, "c.json: connector \"shop\": a: is a list, not a text, a number or a boolean");
    check_setting(r#""a": {"b": 1}"#, "c.json: connector \"shop\": a: is an object, not a text, a number or a boolean");
    check_setting(
        r#""a\u001b[2J": null"#,
        "c.json: connector \"shop\": a\\u{1b}[2J: is null, not a text, a number or a boolean",
    );
}

#[test]
fn what_is_given_twice() {
    check_setting(r#""a": "1", "b": 2, "a": "1", "a": 3"#, "c.json: connector \"shop\": a: is given more than once");
    check_setting(r#""connector.class": "x""#, "c.json: connector \"shop\": connector.class: is given more than once");
    check(
        &[("c.json", r#"{"worker": {"log.level": "info", "log.level": "warn"}, "connectors": [], "connectors": []}"#)],
        "c.json: connectors: is given more than once\nc.json: worker: log.level: is given more than once",
    );
    let one = |name: &str| format!(r#"{{"name": "{name}", "config": {{"connector.class": "x"}}}}"#);
    check(
        &[("c.json", &format!(r#"{{"connectors": [{}, {}]}}"#, one("a"), one("a")))],
        "c.json: connector \"a\": name: is the name of another connector too",
    );
    check(
        &[
            ("a.json", &format!(r#"{{"worker": {{"log.level": "info"}}, "connectors": [{}]}}"#, one("a"))),
            ("b.json", &format!(r#"{{"worker": {{"log.level": "warn"}}, "connectors": [{}]}}"#, one("a"))),
        ],
        "b.json: worker: log.level: has another value in a.json\n\
         b.json: connector \"a\": name: is the name of a connector in a.json too",
    );
}

#[test]
fn a_key_with_a_problem_is_absent() {
    let text = with(r#""a": "1", "a": "1", "a": "2", "b": null, "b": 1, "c": "${NOPE}", "d": 1, "d": null, "e": 1"#);
    let (_folder, config, _, problems) = load_files(&[("c.json", text.as_bytes())]);
    assert_eq!(problems.lines().count(), 4);
    assert_eq!(config.connectors[0].resolved().expose().keys().collect::<Vec<_>>(), ["connector.class", "e"]);
}

#[test]
fn references_that_lead_nowhere() {
    check_setting(
        r#""database.password": "${NOPE}", "url": "${HOST}/${NOPE}${env:NADA}""#,
        "c.json: connector \"shop\": database.password: the environment variable NOPE is not set\n\
         c.json: connector \"shop\": url: the environment variable NOPE is not set\n\
         c.json: connector \"shop\": url: the environment variable NADA is not set",
    );
    check_setting(
        r#""p": "x${PASSWORD""#,
        "c.json: connector \"shop\": p: the \"${\" at character 2 has no \"}\"; a literal \"${\" is written \"$${\"",
    );
    check_setting(
        r#""p": "${file:none.properties:k}""#,
        "c.json: connector \"shop\": p: the file none.properties: does not exist",
    );
    check_setting(r#""p": "${file:.:k}""#, "c.json: connector \"shop\": p: the file .: is a directory, not a file");
    check(
        &[("c.json", &with(r#""p": "${file:secret/s:paswd}""#)), ("secret/s", "passwd=s3cret-file")],
        "c.json: connector \"shop\": p: the file secret/s has no key \"paswd\"",
    );
    check(
        &[("c.json", &with(r#""p": "${file:secret/s:p}""#)), ("secret/s", "p=s3cret-file\\uXY")],
        "c.json: connector \"shop\": p: the file secret/s: line 1 has a \\u escape that is not four hexadecimal digits \
         of a character",
    );
}

#[test]
fn worker_settings_that_are_wrong() {
    let text = r#"{"worker": {"memory.max": "${PASSWORD}", "memroy.max": "1GiB", "log.level": 7, "state.dir": "${NOPE}",
        "rest.listeners": "https://${HOST}:8083", "progress.interval.ms": "${BAD:s3cret-default}"},
        "connectors": [{"name": "a", "config": {"connector.class": "x"}}]}"#;
    check(
        &[("c.json", text)],
        "c.json: worker: state.dir: the environment variable NOPE is not set\n\
         c.json: worker: memroy.max: unknown key; did you mean \"memory.max\"?\n\
         c.json: worker: memory.max: \"${PASSWORD}\" is not a size such as 64MiB\n\
         c.json: worker: log.level: \"7\" is not one of: error, warn, info, debug, trace\n\
         c.json: worker: progress.interval.ms: \"${BAD:…}\" is not a number of milliseconds\n\
         c.json: worker: rest.listeners: \"https://${HOST}:8083\": only http is served; put a proxy in front for TLS",
    );
}

/// What a plugin finds joins the report: under the connector's file, without resolved values, and without a
/// word about keys that are absent only because their reference could not be resolved.
#[test]
fn problems_of_plugins_join_the_report() {
    let text = with(
        r#""host": "${NOPE}", "port": "${PASSWORD}", "mode": "${SHORT}", "tables": "${LIST}", "size": "x", "prot": "1",
           "wait": "a${PASSWORD}b""#,
    );
    let (folder, mut config, mut problems, _) = load_files(&[("c.json", text.as_bytes())]);
    let definition = ConfigDef::default()
        .required("connector.class", Kind::Text, "")
        .required("host", Kind::Text, "")
        .required("user", Kind::Text, "")
        .defaulted("port", Kind::Int(1, 65535), "5432", "")
        .optional("mode", Kind::OneOf(&["initial", "s3c-mode"]), "")
        .optional("tables", Kind::Regexes, "")
        .optional("size", Kind::Bytes, "")
        .optional("wait", Kind::Millis, "");
    let found = |config: &Config| {
        let (_, found) = definition.parse(config.connectors[0].resolved().expose());
        found.into_iter().map(|p| ("shop".to_owned(), p)).collect::<Vec<_>>()
    };
    problems.extend(config.translate(found(&config)));
    problems.extend(config.translate([("ghost".to_owned(), Problem::new("sink", "is missing"))]));
    let text: Vec<String> = problems.iter().map(|p| show(folder.path(), p)).collect();
    assert_eq!(
        text,
        [
            "c.json: connector \"shop\": host: the environment variable NOPE is not set",
            "c.json: connector \"shop\": prot: unknown key; did you mean \"port\"?",
            "c.json: connector \"shop\": user: missing: this key is required and has no default",
            "c.json: connector \"shop\": port: \"${PASSWORD}\" is not a whole number from 1 to 65535",
            "c.json: connector \"shop\": mode: \"${SHORT}\" is not one of: initial, s3c-mode",
            "c.json: connector \"shop\": tables: \"${LIST}\" is not a regular expression: unclosed group",
            "c.json: connector \"shop\": size: \"x\" is not a size such as 64MiB",
            "c.json: connector \"shop\": wait: \"a${PASSWORD}b\" is not a number of milliseconds",
            ": connector \"ghost\": sink: is missing",
        ]
    );
    assert_eq!(problems[1].connector(), Some("shop"));

    let shop = &mut config.connectors[0];
    shop.set("port", "70000");
    assert_eq!(shop.raw().expose()["port"], "${PASSWORD}");
    let port = config.translate(found(&config)).into_iter().find(|p| p.key.as_deref() == Some("port")).unwrap();
    assert_eq!(port.message, "\"70000\" is not a whole number from 1 to 65535");
}

#[test]
fn no_secret_is_printed() {
    let text = r#"{"worker": {"memory.max": "${PASSWORD}", "log.dir": "${file:s:k}", "state.dir": "${PASSWORD}",
        "bootstrap.servers": "${PASSWORD}", "rest.listeners": "http://${PASSWORD}:1"},
      "connectors": [
        {"name": "a", "config": {"connector.class": "x", "database.password": "s3cret-literal", "p": "${PASSWORD}",
           "q": "${Q:s3cret-default}", "r": "${file:s:k}", "r2": "${file:s:k2}", "s": "${LIST}",
           "t": "${PASSWORD:s3cret-default", "u": "${:s3cret-default}", "u2": "${U${V:s3cret-default}}", "v": "s3cret-literal${NOPE}",
           "w": ["s3cret-literal"], "x": {"y": "s3cret-literal"}, "z": "s3cret-literal", "z": "s3cret-literal"}},
        {"name": "a", "config": "s3cret-literal"}, "s3cret-literal", ["s3cret-literal"]]}"#;
    let (_folder, config, mut problems, _) = load_files(&[("c.json", text.as_bytes()), ("s", b"k=s3cret-file")]);
    assert_eq!(config.connectors[0].resolved().expose()["q"], "s3cret-default");
    // A plugin that quotes all it gets, and one that quotes it in its own way.
    let values = config.connectors[0].resolved().expose().iter().filter(|(_, v)| !v.contains("literal"));
    let quoting = values.flat_map(|(k, v)| {
        [format!("\"{v}\" is bad"), format!("{v:?}"), format!("bad {v}.")].map(|m| ("a".to_owned(), Problem::new(k, m)))
    });
    problems.extend(config.translate(quoting.collect::<Vec<_>>()));
    assert!(problems.len() > 15);
    let shown = format!("{config:?} {:?} {problems:?}", config.worker);
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    for secret in SECRETS {
        assert!(!shown.contains(secret), "{secret} in {shown}");
        assert!(!lines.join("\n").contains(secret), "{secret} in {lines:#?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Any bytes give problems of one line each, never a panic and never silence.
    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for name in ["c.json", "c.yaml", "c.properties"] {
            let (_folder, _, problems, _) = load_files(&[(name, &bytes)]);
            prop_assert!(!problems.is_empty());
            prop_assert!(problems.iter().all(|p| p.to_string().lines().count() == 1));
        }
    }

    /// A good file with a stretch of it replaced.
    #[test]
    fn damaged_files(at in 0usize..200, length in 0usize..40, insert in "[{}\\[\\]\",:$a\\\\0n ]{0,6}") {
        let good = with(r#""a": "${HOST}", "b": [1, {"c": null}], "d": 1.5e3"#);
        let at = at.min(good.len());
        let end = (at + length).min(good.len());
        let damaged = format!("{}{insert}{}", &good[..at], &good[end..]);
        for name in ["c.json", "c.yaml"] {
            let (_folder, config, problems, _) = load_files(&[(name, damaged.as_bytes())]);
            prop_assert!(problems.iter().all(|p| p.to_string().lines().count() == 1));
            prop_assert!(!problems.is_empty() || !config.connectors.is_empty());
        }
    }
}
