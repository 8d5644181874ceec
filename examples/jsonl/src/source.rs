//! Which tables there are, and their parts: a split is a file as it is when the load is planned.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use async_trait::async_trait;
use connector_api::{
    Cut, Error, Plan, Position, Progress, Result, Selection, Source, SourceTask, Split, SplitId, TableId, TablePlan,
    TaskContext,
};

use crate::config::Config;
use crate::task::JsonLinesTask;

pub(crate) struct JsonLinesSource {
    config: Config,
}

/// A file at one moment. It travels as the text of its split.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct File {
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    /// Nanoseconds since 1970.
    modified: u128,
}

impl File {
    /// The file as it is now.
    pub(crate) fn now(path: &Path) -> Result<Self> {
        let failed = |error| unreadable(path, error);
        let metadata = fs::metadata(path).map_err(failed)?;
        let modified = metadata.modified().map_err(failed)?.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Self { path: path.to_owned(), bytes: metadata.len(), modified: modified.as_nanos() })
    }

    /// # Errors
    /// The cut is lost when the file is not what it was: rows of two moments must never meet.
    pub(crate) fn check_unchanged(&self) -> Result<()> {
        match fs::exists(&self.path).map_err(|error| unreadable(&self.path, error))? && Self::now(&self.path)? == *self
        {
            true => Ok(()),
            false => {
                Err(Error::cut_lost("the file has changed since the load was planned")
                    .with("file", self.path.display()))
            }
        }
    }
}

/// Classifies the errors of the file system: what may pass is tried again.
pub(crate) fn unreadable(path: &Path, error: io::Error) -> Error {
    let message = "cannot read the file";
    let classified = match error.kind() {
        io::ErrorKind::Interrupted | io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Error::retriable(message),
        _ => Error::data(message),
    };
    classified.with("file", path.display()).caused_by(error)
}

impl JsonLinesSource {
    pub(crate) fn new(config: Config) -> Self {
        Self { config }
    }

    fn system(&self) -> Result<String> {
        let directory = &self.config.directory;
        let failed =
            |error| Error::fatal("cannot read the directory").with("directory", directory.display()).caused_by(error);
        Ok(fs::canonicalize(directory).map_err(failed)?.display().to_string())
    }

    fn id(&self, name: &str) -> TableId {
        TableId::new(self.config.schema_name.as_str(), name)
    }

    /// The files of every table that there is or that is declared, by table.
    fn files(&self) -> Result<BTreeMap<String, BTreeSet<File>>> {
        let mut tables: BTreeMap<_, BTreeSet<_>> =
            self.config.tables.keys().map(|name| (name.clone(), BTreeSet::new())).collect();
        for path in entries(&self.config.directory)? {
            let files = match path.is_dir() {
                true => entries(&path)?.into_iter().filter(|path| is_ours(path)).collect(),
                false if is_ours(&path) => vec![path.clone()],
                false => continue,
            };
            let name = if path.is_dir() { path.file_name() } else { path.file_stem() };
            let name = name
                .and_then(|name| name.to_str())
                .ok_or_else(|| Error::fatal("the name of a file is not UTF-8").with("file", path.display()))?;
            for file in files {
                tables.entry(name.to_owned()).or_default().insert(File::now(&file)?);
            }
        }
        Ok(tables)
    }
}

fn is_ours(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "jsonl") && path.is_file()
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let listed = fs::read_dir(directory).and_then(|list| list.map(|entry| entry.map(|e| e.path())).collect());
    listed.map_err(|error| {
        Error::fatal("cannot read the directory").with("directory", directory.display()).caused_by(error)
    })
}

#[async_trait]
impl Source for JsonLinesSource {
    async fn tables(&self) -> Result<Selection> {
        let tables = self.files()?.keys().map(|name| self.id(name)).collect();
        Ok(Selection { system: self.system()?, tables })
    }

    async fn plan(&self, done: &Progress) -> Result<Plan> {
        let files = self.files()?;
        let newest = files.values().flatten().map(|file| file.modified).max().unwrap_or(0);
        let (mut tables, mut refused) = (Vec::new(), Vec::new());
        for (name, files) in files.into_iter().filter(|(name, _)| done.loaded(&self.id(name)).is_none()) {
            let table = self.id(&name);
            let refuse = |why: &str| (table.clone(), Error::data(why).with("table", &table));
            match self.config.tables.get(&name) {
                None => refused.push(refuse(&format!("no columns are declared: set table.{name}.columns"))),
                Some(_) if files.is_empty() => refused.push(refuse("there is no file of the table")),
                Some(schema) => {
                    let schema = Arc::clone(schema);
                    let splits = files.into_iter().enumerate().map(|(n, file)| split(&table, n, &file)).collect();
                    tables.push(TablePlan { schema, splits, rows: None });
                }
            }
        }
        tables.sort_by_key(|t: &TablePlan| std::cmp::Reverse(t.splits.iter().map(|s| s.bytes).sum::<u64>()));
        let (position_type, position) = ("modified".to_owned(), newest.to_string());
        let cut = Arc::new(Cut { system: self.system()?, position_type, position, visible: None });
        Ok(Plan { cut, tables, refused, tables_at_a_time: 2, splits_at_a_time: 2 })
    }

    async fn open(&self, split: &Split, after: Position, context: TaskContext) -> Result<Box<dyn SourceTask>> {
        let schema = self.config.tables.get(split.table.name());
        let (Some(schema), Some(file)) = (schema, file_of(&split.part)) else {
            return Err(Error::fatal("no such split").with("split", &split.id));
        };
        let bytes = (context.memory / 4).clamp(1, 8 << 20);
        let limits = crate::task::Limits { rows: self.config.batch_rows, bytes, line: self.config.longest_line };
        Ok(Box::new(JsonLinesTask::open(split.id.clone(), Arc::clone(schema), file, after, limits)?))
    }
}

fn split(table: &TableId, n: usize, file: &File) -> Split {
    let id = SplitId::new(format!("{table}/{n}"));
    let part = format!("{} {} {}", file.bytes, file.modified, file.path.display());
    Split { id, table: table.clone(), part, bytes: file.bytes }
}

fn file_of(part: &str) -> Option<File> {
    let mut words = part.splitn(3, ' ');
    let (bytes, modified) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some(File { path: words.next()?.into(), bytes, modified })
}
