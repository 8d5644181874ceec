//! The files that an operator, or a pipeline of theirs, can make the connector from.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use connector_api::{Error, Result};
use serde_json::Value;

use super::connector::Wanted;

/// Writes the configuration and the offsets, each whole or not at all.
///
/// # Errors
/// `Fatal` when the folder cannot be written to.
pub(crate) fn write(dir: &Path, source: &str, wanted: &Wanted) -> Result<()> {
    // A source's name may hold anything; a file's may not.
    let safe: String = source.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect();
    let files = [
        (format!("debezium_{safe}.json"), wanted.request()),
        (format!("debezium_{safe}_offsets.json"), wanted.offsets()),
    ];
    for (name, content) in files {
        let path = dir.join(name);
        replace(dir, &path, &content).map_err(|e| {
            Error::fatal("cannot write a file of the hand-over").with("file", path.display()).caused_by(e)
        })?;
        tracing::info!(file = %path.display(), "wrote a file of the hand-over");
    }
    Ok(())
}

fn replace(dir: &Path, path: &Path, content: &Value) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let text = format!("{content:#}\n");
    // The same again leaves its time as it is.
    if fs::read(path).is_ok_and(|old| old == text.as_bytes()) {
        return Ok(());
    }
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let mut file = File::create(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(dir)?.sync_all()
}
