//! From a path to text: bounded, UTF-8, without a byte order mark. Says what is wrong in plain words; the
//! content never gets into a message.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use crate::problem::At;

/// The largest file that is read, in bytes. Configurations are kilobytes; a device or a data file given by
/// mistake must not fill the memory.
const LARGEST: u64 = 16 << 20;

/// Why a file is no usable text, and where.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unreadable {
    pub(crate) at: Option<At>,
    pub(crate) message: String,
}

/// Reads a text file.
pub(crate) fn read(path: &Path) -> Result<String, Unreadable> {
    let plain = |message: String| Unreadable { at: None, message };
    let mut bytes = Vec::new();
    let size = File::open(path)
        .and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes))
        .map_err(|error| plain(why(error.kind())))?;
    if size as u64 > LARGEST {
        return Err(plain(format!("is larger than {} MiB", LARGEST >> 20)));
    }
    text(bytes)
}

fn why(kind: ErrorKind) -> String {
    match kind {
        ErrorKind::NotFound => "does not exist".into(),
        ErrorKind::PermissionDenied => "cannot be read: permission denied".into(),
        ErrorKind::IsADirectory => "is a directory, not a file".into(),
        // A path with a NUL byte in it.
        ErrorKind::InvalidInput => "is not a possible path".into(),
        kind => format!("cannot be read: {kind}"),
    }
}

/// Decodes a file's bytes.
pub(crate) fn text(bytes: Vec<u8>) -> Result<String, Unreadable> {
    let text = String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let before = String::from_utf8_lossy(&error.as_bytes()[..good]);
        Unreadable { at: Some(position(&before, good)), message: "is not UTF-8 text".into() }
    })?;
    // Editors on Windows write this mark.
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// Line and column of a byte of the text; past the end it is the end.
pub(crate) fn position(text: &str, byte: usize) -> At {
    let before = &text.as_bytes()[..byte.min(text.len())];
    let line = before.iter().filter(|b| **b == b'\n').count() + 1;
    let begin = before.iter().rposition(|b| *b == b'\n').map_or(0, |newline| newline + 1);
    // Characters are counted by their first bytes.
    let column = before[begin..].iter().filter(|b| (**b & 0xc0) != 0x80).count() + 1;
    At { line, column }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_utf8_without_a_mark() {
        assert_eq!(text(b"\xef\xbb\xbf{}".to_vec()).unwrap(), "{}");
        let error = text(b"{\n \xc3\xa4\xff}".to_vec()).unwrap_err();
        assert_eq!(error, Unreadable { at: Some(At { line: 2, column: 3 }), message: "is not UTF-8 text".into() });
        assert!(text(b"\xff\xfe{\0".to_vec()).is_err());
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let message = |path: &Path| read(path).unwrap_err().message;
        assert_eq!(message(Path::new("/no/such/file")), "does not exist");
        assert_eq!(message(Path::new("/")), "is a directory, not a file");
        assert_eq!(message(Path::new("a\0b")), "is not a possible path");
        assert_eq!(message(Path::new("/dev/zero")), "is larger than 16 MiB");
    }
}
