//! What the program left, as foreign readers see it: PyIceberg and DuckDB, through `reader.py`.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;

use serde_json::{Value, json};

use crate::compare::{Rows, canonical};
use crate::spark;

/// A reader that we did not write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// PyIceberg, through the catalog.
    PyIceberg,
    /// DuckDB's `iceberg_scan` of the metadata file that the catalog names.
    DuckDb,
    /// Apache Spark, through the catalog; it takes long to start, so only `make test-full` asks it.
    Spark,
}

/// Those that every table is read by.
pub const ENGINES: [Engine; 2] = [Engine::PyIceberg, Engine::DuckDb];

/// What a filter for one value of a column brought.
#[derive(Clone, Debug)]
pub struct Pruned {
    /// The value, for people.
    pub value: String,
    /// Rows that have it.
    pub expected: u64,
    /// Rows that each engine found.
    pub found: [u64; 2],
    /// Files that PyIceberg read for it.
    pub planned: u64,
    /// Files of the table.
    pub files: u64,
}

/// A namespace of a lake.
pub struct Lake {
    folder: PathBuf,
    catalog: Properties,
    namespace: Vec<String>,
    reader: Mutex<Option<Reader>>,
}

/// A catalog and its store as PyIceberg's properties.
pub type Properties = BTreeMap<String, String>;

/// A running script that reads tables.
pub(crate) struct Reader {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Lake {
    /// The lake in a folder (a SQL catalog `catalog.db` and the warehouse), one dotted namespace of it.
    /// Nothing needs to exist yet.
    pub fn new(folder: &Path, namespace: &str) -> Self {
        let uri = format!("sqlite:///{}", folder.join("catalog.db").display());
        let pairs = [("type", "sql"), ("uri", &uri), ("warehouse", folder.to_str().unwrap())];
        Self::of(folder, pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).into(), namespace)
    }

    /// One dotted namespace of a catalog. `folder` is where local files of it would be.
    pub fn of(folder: &Path, catalog: Properties, namespace: &str) -> Self {
        let namespace = namespace.split('.').map(str::to_owned).collect();
        Self { folder: folder.to_owned(), catalog, namespace, reader: Mutex::new(None) }
    }

    /// A second reader of the same lake, with a process of its own.
    pub fn again(&self) -> Self {
        Self::of(&self.folder, self.catalog.clone(), &self.namespace.join("."))
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Every row of a table; `None` when there is no such table.
    pub fn rows(&self, engine: Engine, table: &str) -> Option<Rows> {
        let answer = self.ask("read", engine, table, json!({}));
        let text = |v: &Value| v.as_str().map(str::to_owned);
        Some(Rows {
            columns: answer.get("columns")?.as_array()?.iter().filter_map(text).collect(),
            rows: answer
                .get("rows")?
                .as_array()?
                .iter()
                .map(|r| r.as_array().unwrap().iter().map(canonical).collect())
                .collect(),
        })
    }

    /// How many rows a table has, counted by reading the given column; `None` when there is no such table.
    pub fn count(&self, engine: Engine, table: &str, column: &str) -> Option<u64> {
        self.ask("count", engine, table, json!({ "fields": [column] })).as_u64()
    }

    /// The sum of an integer column and the number of rows; `None` when there is no such table.
    pub fn total(&self, table: &str, column: &str) -> Option<(i64, u64)> {
        let answer = self.ask("total", Engine::DuckDb, table, json!({ "column": column }));
        Some((answer.get(0)?.as_i64()?, answer.get(1)?.as_u64()?))
    }

    /// The same of each snapshot of a table, as PyIceberg reads it.
    pub fn history(&self, table: &str, column: &str) -> Vec<(i64, u64)> {
        let answer = self.ask("history", Engine::PyIceberg, table, json!({ "column": column }));
        let snapshots = answer.as_array().into_iter().flatten();
        snapshots.filter_map(|total| Some((total.get(0)?.as_i64()?, total.get(1)?.as_u64()?))).collect()
    }

    /// The MD5 of each value of a binary column, sorted: for values too large to be shown.
    pub fn digests(&self, engine: Engine, table: &str, column: &str) -> Vec<String> {
        let answer = self.ask("digests", engine, table, json!({ "column": column }));
        answer.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// Schema, properties and snapshot of a table as PyIceberg reports them; `Null` when there is none.
    pub fn describe(&self, table: &str) -> Value {
        self.ask("describe", Engine::PyIceberg, table, json!({}))
    }

    /// The files of a local lake that none of the namespace's tables refers to.
    pub fn orphans(&self) -> Vec<PathBuf> {
        let mut referred = BTreeSet::new();
        for table in self.tables() {
            let answer = self.ask("references", Engine::PyIceberg, &table, json!({}));
            let plain = |path: &Value| PathBuf::from(path.as_str().unwrap().trim_start_matches("file://"));
            referred.extend(answer.as_array().unwrap().iter().map(plain));
        }
        let (mut found, mut folders) = (Vec::new(), vec![self.folder.clone()]);
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().map(Result::unwrap) {
                let path = entry.path();
                let is_ours = path.extension().is_some_and(|e| e == "parquet" || e == "avro" || e == "json");
                if path.is_dir() {
                    folders.push(path);
                } else if is_ours && !referred.contains(&path) {
                    found.push(path);
                }
            }
        }
        found
    }

    /// How both readers fare with filters on a column: one line for each value that was asked for, in which
    /// the rows found, those expected and the files planned of all files stand.
    pub fn pruning(&self, table: &str, column: &str) -> Vec<Pruned> {
        let answer = self.ask("pruning", Engine::PyIceberg, table, json!({ "column": column }));
        let number = |v: &Value, key: &str| v[key].as_u64().unwrap();
        let told = |v: &Value| Pruned {
            value: v["value"].as_str().unwrap().to_owned(),
            expected: number(v, "expected"),
            found: [number(v, "pyiceberg"), number(v, "duckdb")],
            planned: number(v, "planned"),
            files: number(v, "files"),
        };
        answer.as_array().unwrap().iter().map(told).collect()
    }

    /// What a table's metadata and the footers of its data files say of how it is stored.
    pub fn storage(&self, table: &str) -> Value {
        self.ask("storage", Engine::PyIceberg, table, json!({}))
    }

    /// Has PyIceberg itself make a table with columns `id` and `gone`, of a format version, partitioned by
    /// `gone` and sorted.
    pub fn write_foreign(&self, table: &str, format: u8) {
        self.ask("write_foreign", Engine::PyIceberg, table, json!({ "format": format }));
    }

    /// Has PyIceberg roll a table back to one of its snapshots.
    pub fn roll_back(&self, table: &str, snapshot: i64) {
        self.ask("roll_back", Engine::PyIceberg, table, json!({ "snapshot": snapshot }));
    }

    /// Has PyIceberg itself drop a table.
    pub fn drop_table(&self, table: &str) {
        self.ask("drop_table", Engine::PyIceberg, table, json!({}));
    }

    /// The names of the namespace's tables, sorted.
    pub fn tables(&self) -> Vec<String> {
        let answer = self.ask("tables", Engine::PyIceberg, "", json!({}));
        answer.as_array().unwrap().iter().map(|v| v.as_str().unwrap().to_owned()).collect()
    }

    /// The names of the namespace's tables that are not the program's own ledgers.
    pub fn loaded_tables(&self) -> Vec<String> {
        self.tables().into_iter().filter(|t| !matches!(t.as_str(), "_cdc_status" | "_schema_changes")).collect()
    }

    /// The newest `_cdc_status` row of a source table (`schema.table`), by column name; absent values are
    /// left out.
    pub fn status(&self, source_table: &str) -> Option<std::collections::BTreeMap<String, String>> {
        let all = self.rows(Engine::PyIceberg, "_cdc_status")?;
        all.maps().filter(|r| r.get("table_name").is_some_and(|t| t == source_table)).max_by_key(|r| {
            let updated = r.get("updated_at").and_then(|t| t.parse::<i64>().ok()).unwrap_or(i64::MIN);
            let epoch = r.get("epoch").and_then(|t| t.parse::<i64>().ok()).unwrap_or(i64::MIN);
            (epoch, updated, r.get("load_status").is_some_and(|s| s != "running"))
        })
    }

    /// Has PyIceberg itself write a small table: lets the harness be tested without our program.
    pub fn write_sample(&self, table: &str) {
        self.ask("write_sample", Engine::PyIceberg, table, json!({}));
    }

    fn ask(&self, op: &str, engine: Engine, table: &str, more: Value) -> Value {
        self.answer(op, engine, table, more).unwrap_or_else(|error| panic!("{error}"))
    }

    /// What an engine answers, or the error that it gives.
    pub(crate) fn answer(&self, op: &str, engine: Engine, table: &str, more: Value) -> Result<Value, String> {
        let mut request = json!({ "op": op, "namespace": self.namespace, "table": table });
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        if engine == Engine::Spark {
            request["catalog"] = json!(self.catalog);
            return spark::shared().ask(&request);
        }
        request["engine"] = json!(if engine == Engine::DuckDb { "duckdb" } else { "pyiceberg" });
        let mut guard = self.reader.lock().unwrap();
        let reader = guard.get_or_insert_with(|| {
            let mut reader = python(&cache().join("venv"), "reader.py");
            reader.arg(json!(self.catalog).to_string());
            Reader::start(reader)
        });
        reader.ask(&request)
    }
}

impl Reader {
    /// Starts a script that reads requests and answers them, a line each.
    pub(crate) fn start(mut script: Command) -> Self {
        let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a reader starts");
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, input, output }
    }

    /// The answer to a request, or the error that the script met.
    pub(crate) fn ask(&mut self, request: &Value) -> Result<Value, String> {
        writeln!(self.input, "{request}").unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        let mut answer: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{request}: {e}: {line:?}"));
        match answer.get("error").and_then(Value::as_str) {
            Some(error) => Err(error.to_owned()),
            None => Ok(answer["ok"].take()),
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The interpreter of a venv that `scripts/setup` makes, with a script of ours.
pub(crate) fn python(venv: &Path, script: &str) -> Command {
    let python = venv.join("bin/python");
    assert!(python.exists(), "{} is missing: run scripts/setup, or `scripts/setup spark`", python.display());
    let mut command = Command::new(python);
    // Unwritten bytecode: a test leaves nothing in the checkout.
    command.arg("-B").arg(crate::root().join("tests").join(script));
    command
}

/// The folder that `scripts/setup` fills.
pub(crate) fn cache() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))
        .expect("neither XDG_CACHE_HOME nor HOME is set");
    cache.join("connect-runtime")
}
