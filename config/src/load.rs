//! Files into one configuration: merges what they hold, resolves references and collects every problem.
//! The order of the report is that of the files, then worker settings, then connectors.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use connector_api::config::Problem;

use crate::problem::{ConfigProblem, Place};
use crate::provider::Providers;
use crate::redact::Redactor;
use crate::shape::{self, Flat, RawEntry};
use crate::tree::Node;
use crate::{Settings, Worker, file, json, properties, yaml};

/// The key that says which plugin a connector is.
const CLASS: &str = "connector.class";

/// Everything the files say.
#[derive(Clone, Debug)]
pub struct Config {
    /// The worker's settings.
    pub worker: Worker,
    /// The connectors in the files' order; names are unique.
    pub connectors: Vec<Entry>,
    /// Whether these are all that the files hold. If not, the problems say which are missing and why, and
    /// what only follows from their absence needs no word.
    pub complete: bool,
}

impl Config {
    /// The connector of a name.
    pub fn connector(&self, name: &str) -> Option<&Entry> {
        self.connectors.iter().find(|entry| entry.name == name)
    }

    /// Turns problems that plugins found with a connector's keys into lines of the same report: with the
    /// connector's file, and without resolved values. Problems with a key that [`load`] has already
    /// complained about are dropped: the key is absent for that reason only.
    pub fn translate(&self, problems: impl IntoIterator<Item = (String, Problem)>) -> Vec<ConfigProblem> {
        let translate = |(name, problem): (String, Problem)| match self.connector(&name) {
            Some(entry) => entry.translate(&problem),
            None => Some(ConfigProblem {
                file: PathBuf::new(),
                at: None,
                place: Place::Connector(name),
                key: Some(problem.key),
                message: problem.message,
            }),
        };
        problems.into_iter().filter_map(translate).collect()
    }
}

/// A connector as configured.
#[derive(Clone, Debug)]
pub struct Entry {
    name: String,
    file: PathBuf,
    raw: Settings,
    resolved: Settings,
    reported: BTreeSet<String>,
    redactor: Redactor,
}

impl Entry {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file it stands in, as it was named.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The settings as written, references unresolved, without `name`: what may be shown to who may see
    /// the file.
    pub fn raw(&self) -> &Settings {
        &self.raw
    }

    /// The settings with references resolved, without `name`; keys with a problem are absent.
    pub fn resolved(&self) -> &Settings {
        &self.resolved
    }

    /// Overrides a resolved setting, taken literally (the command line's say); the raw ones stay.
    pub fn set(&mut self, key: &str, value: impl Into<String>) {
        self.resolved.0.insert(key.to_owned(), value.into());
    }

    fn translate(&self, problem: &Problem) -> Option<ConfigProblem> {
        if self.reported.contains(&problem.key) {
            return None;
        }
        Some(ConfigProblem {
            file: self.file.clone(),
            at: None,
            place: Place::Connector(self.name.clone()),
            key: Some(problem.key.clone()),
            message: self.redactor.message(&problem.key, &problem.message),
        })
    }
}

/// Reads configuration files. `env` looks environment variables up. Returns what could be understood, and
/// every problem: with a problem the configuration serves to find further ones, not to run.
///
/// ```
/// let (config, problems) = connect_config::load(&["cdc.json".into()], &|name| std::env::var(name).ok());
/// assert_eq!(problems[0].to_string(), "cdc.json: does not exist");
/// assert_eq!(config.worker.memory_max, 512 << 20);
/// ```
pub fn load(paths: &[PathBuf], env: &dyn Fn(&str) -> Option<String>) -> (Config, Vec<ConfigProblem>) {
    let mut problems = Vec::new();
    let mut worker: Vec<(&Path, Flat)> = Vec::new();
    let mut entries: Vec<(&Path, RawEntry)> = Vec::new();
    let mut complete = true;
    for path in paths {
        match file::read(path).and_then(|text| parse(path, &text)) {
            Ok(tree) => {
                let found = problems.len();
                let shape = shape::read(path, tree, &mut problems);
                complete &= !shape.connectors_unusable && (problems.len() == found || !shape.entries.is_empty());
                worker.push((path, shape.worker));
                entries.extend(shape.entries.into_iter().map(|entry| (path.as_path(), entry)));
            }
            Err(unreadable) => {
                complete = false;
                problems.push(ConfigProblem {
                    file: path.clone(),
                    at: unreadable.at,
                    place: Place::File,
                    key: None,
                    message: unreadable.message,
                });
            }
        }
    }
    if complete && entries.is_empty() {
        problems.push(ConfigProblem {
            file: paths.first().cloned().unwrap_or_default(),
            at: None,
            place: Place::File,
            key: Some("connectors".into()),
            message: match paths.len() {
                0 | 1 => "there is none: a configuration needs at least one connector".into(),
                files => format!("there is none in any of the {files} files: a configuration needs at least one"),
            },
        });
    }
    let mut loader = Loader { providers: Providers::new(env), problems };
    let worker = loader.worker(worker);
    let held = entries.len();
    let connectors = loader.connectors(entries);
    complete &= connectors.len() == held;
    (Config { worker, connectors, complete }, loader.problems)
}

/// Parses a file in the syntax that its name says.
fn parse(path: &Path, text: &str) -> Result<Node, file::Unreadable> {
    let extension = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
    match extension.as_deref() {
        Some("yaml" | "yml") => yaml::parse(text),
        Some("properties") => properties::tree(text),
        _ => json::parse(text),
    }
}

struct Loader<'a> {
    providers: Providers<'a>,
    problems: Vec<ConfigProblem>,
}

impl Loader<'_> {
    fn report(&mut self, file: &Path, place: &Place, key: &str, message: impl Into<String>) {
        self.problems.push(ConfigProblem {
            file: file.to_owned(),
            at: None,
            place: place.clone(),
            key: Some(key.to_owned()),
            message: message.into(),
        });
    }

    fn worker(&mut self, files: Vec<(&Path, Flat)>) -> Worker {
        let mut raw: BTreeMap<String, (&Path, String)> = BTreeMap::new();
        for (path, flat) in files {
            for (key, text) in flat.values {
                match raw.get(&key) {
                    Some((first, other)) if *other != text => {
                        let message = format!("has another value in {}", first.display());
                        self.report(path, &Place::Worker, &key, message);
                    }
                    Some(_) => {}
                    None => {
                        raw.insert(key, (path, text));
                    }
                }
            }
        }
        let (mut resolved, mut redactor) = (BTreeMap::new(), Redactor::default());
        for (key, (path, text)) in &raw {
            if let Some(value) = self.resolve(path, &Place::Worker, key, text, &mut redactor) {
                resolved.insert(key.clone(), value);
            }
        }
        let (worker, problems) = Worker::parse(&resolved);
        for problem in problems {
            // None of the keys is required, so a problem is about one that some file gives.
            let path = raw.get(&problem.key).map_or(Path::new(""), |(path, _)| path);
            self.report(path, &Place::Worker, &problem.key, redactor.message(&problem.key, &problem.message));
        }
        worker
    }

    fn connectors(&mut self, entries: Vec<(&Path, RawEntry)>) -> Vec<Entry> {
        let mut connectors: Vec<Entry> = Vec::new();
        let mut names: BTreeMap<String, &Path> = BTreeMap::new();
        for (path, entry) in entries {
            let RawEntry { name, place, config: Flat { values: raw, mut reported }, config_unusable } = entry;
            let (mut resolved, mut redactor) = (BTreeMap::new(), Redactor::default());
            for (key, text) in &raw {
                match self.resolve(path, &place, key, text, &mut redactor) {
                    Some(value) => {
                        resolved.insert(key.clone(), value);
                    }
                    None => {
                        reported.insert(key.clone());
                    }
                }
            }
            if config_unusable {
                reported.insert(CLASS.into());
            } else if !reported.contains(CLASS) {
                let wrong = match resolved.get(CLASS) {
                    None => Some("missing: this key is required and has no default"),
                    Some(class) if class.trim().is_empty() => Some("is empty"),
                    Some(_) => None,
                };
                if let Some(message) = wrong {
                    self.report(path, &place, CLASS, message);
                    reported.insert(CLASS.into());
                }
            }
            let Some(name) = name else { continue };
            if let Some(first) = names.get(&name) {
                let message = match *first == path {
                    true => "is the name of another connector too".to_owned(),
                    false => format!("is the name of a connector in {} too", first.display()),
                };
                self.report(path, &place, "name", message);
                continue;
            }
            names.insert(name.clone(), path);
            connectors.push(Entry {
                name,
                file: path.to_owned(),
                raw: Settings(raw),
                resolved: Settings(resolved),
                reported,
                redactor,
            });
        }
        connectors
    }

    /// Resolves a value; `None` when a problem has been reported.
    fn resolve(
        &mut self,
        path: &Path,
        place: &Place,
        key: &str,
        text: &str,
        redactor: &mut Redactor,
    ) -> Option<String> {
        let folder = path.parent().unwrap_or(Path::new(""));
        match self.providers.resolve(folder, text) {
            Ok(resolved) => {
                let text = resolved.text.clone();
                redactor.add(key, resolved);
                Some(text)
            }
            Err(messages) => {
                for message in messages {
                    self.report(path, place, key, message);
                }
                None
            }
        }
    }
}
