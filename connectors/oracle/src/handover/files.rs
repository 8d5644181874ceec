//! The files that an operator, or a pipeline of theirs, can make the connector from.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use connector_api::{Error, Result};
use serde_json::Value;

use super::connector::Wanted;

/// Writes the configuration and the offsets, each whole or not at all.
///
/// # Errors
/// `Fatal` when the folder cannot be written to.
pub(crate) fn write(dir: &Path, source: &str, wanted: &Wanted) -> Result<()> {
    for (path, content) in contents(dir, source, wanted) {
        // The same again leaves its time as it is.
        if is(&path, &content) {
            continue;
        }
        replace(dir, &path, &content).map_err(|e| {
            Error::fatal("cannot write a file of the hand-over").with("file", path.display()).caused_by(e)
        })?;
        tracing::info!(file = %path.display(), "wrote a file of the hand-over");
    }
    Ok(())
}

/// Whether the files are there, and say the same.
pub(crate) fn are(dir: &Path, source: &str, wanted: &Wanted) -> bool {
    contents(dir, source, wanted).iter().all(|(path, content)| is(path, content))
}

fn is(path: &Path, content: &str) -> bool {
    fs::read(path).is_ok_and(|there| there == content.as_bytes())
}

/// The files, and what is to be in them.
fn contents(dir: &Path, source: &str, wanted: &Wanted) -> [(PathBuf, String); 2] {
    // A source's name may hold anything; a file's may not.
    let safe: String = source.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect();
    let text = |content: Value| format!("{content:#}\n");
    [
        (dir.join(format!("debezium_{safe}.json")), text(wanted.request())),
        (dir.join(format!("debezium_{safe}_offsets.json")), text(wanted.offsets())),
    ]
}

/// Only its owner reads it, and no two that write at once are in each other's way.
fn replace(dir: &Path, path: &Path, content: &str) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let mut new = tempfile::NamedTempFile::new_in(dir)?;
    new.write_all(content.as_bytes())?;
    new.as_file().sync_all()?;
    new.persist(path)?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_is_its_owners_and_nothing_is_left_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.json");
        for content in ["one", "two"] {
            assert!(!is(&path, content));
            replace(dir.path(), &path, content).unwrap();
            assert!(is(&path, content));
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
