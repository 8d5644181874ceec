//! What references stand for: environment variables, keys of properties files and files of directories. The
//! only module besides the reading of the configuration itself that touches the outside; another provider is
//! another arm here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::reference::{Part, Reference, split};
use crate::{file, properties};

/// A resolved value. Not `Debug`: it may be a password.
pub(crate) struct Resolved {
    /// The value.
    pub(crate) text: String,
    /// The value with each reference in place of what it stands for; for messages.
    pub(crate) shown: String,
    /// What the references stand for, each with its form for messages.
    pub(crate) pieces: Vec<(String, String)>,
}

/// Looks references up. Each properties file is read once, so that all its keys are of one moment.
pub(crate) struct Providers<'a> {
    env: &'a dyn Fn(&str) -> Option<String>,
    files: BTreeMap<PathBuf, Result<BTreeMap<String, String>, String>>,
}

impl<'a> Providers<'a> {
    pub(crate) fn new(env: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { env, files: BTreeMap::new() }
    }

    /// Resolves the references of a value; relative paths start at `folder`.
    pub(crate) fn resolve(&mut self, folder: &Path, text: &str) -> Result<Resolved, Vec<String>> {
        let mut resolved = Resolved { text: String::new(), shown: String::new(), pieces: Vec::new() };
        let mut problems = Vec::new();
        for part in split(text)? {
            match part {
                Part::Literal(literal) => {
                    resolved.text.push_str(literal);
                    resolved.shown.push_str(literal);
                }
                Part::Reference(reference) => match self.look_up(folder, &reference) {
                    Ok((value, shown)) => {
                        resolved.text.push_str(&value);
                        resolved.shown.push_str(&shown);
                        resolved.pieces.push((value, shown));
                    }
                    Err(problem) => problems.push(problem),
                },
            }
        }
        if problems.is_empty() { Ok(resolved) } else { Err(problems) }
    }

    /// The value of a reference and how messages show it: never with its default, which may be a secret.
    fn look_up(&mut self, folder: &Path, reference: &Reference<'_>) -> Result<(String, String), String> {
        match *reference {
            Reference::Variable { name, default } => match ((self.env)(name), default) {
                (Some(value), _) => Ok((value, format!("${{{name}}}"))),
                (None, Some(default)) => Ok((default.to_owned(), format!("${{{name}:…}}"))),
                (None, None) => Err(format!("the environment variable {name} is not set")),
            },
            Reference::File { path, key } => {
                let full = folder.join(path);
                let pairs = self.files.entry(full).or_insert_with_key(|full| {
                    let text = file::read(full).map_err(|unreadable| unreadable.message)?;
                    Ok(properties::parse(&text)?.into_iter().collect())
                });
                match pairs.as_ref().map(|pairs| pairs.get(key)) {
                    Ok(Some(value)) => Ok((value.clone(), format!("${{file:{path}:{key}}}"))),
                    Ok(None) => Err(format!("the file {path} has no key \"{key}\"")),
                    Err(why) => Err(format!("the file {path}: {why}")),
                }
            }
            Reference::Directory { path, key } => {
                let directory = folder.join(path);
                let full = directory.join(key);
                if !directory.is_dir() {
                    return Err(format!("{path} is not a directory that can be read"));
                }
                if full.exists() && !full.is_file() {
                    return Err(format!("\"{key}\" in the directory {path} is not a regular file"));
                }
                match file::read(&full) {
                    // As it is, as Kafka's provider takes it: the line end of a file that has one too.
                    Ok(text) => Ok((text, format!("${{directory:{path}:{key}}}"))),
                    Err(why) => Err(format!("the file \"{key}\" in the directory {path}: {}", why.message)),
                }
            }
        }
    }
}
