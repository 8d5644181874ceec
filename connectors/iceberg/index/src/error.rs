//! What can go wrong with an index. Nothing here is about data: an index that is wrong is rebuilt.

use std::path::{Path, PathBuf};
use std::{fmt, io};

/// A `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the index.
#[derive(Debug)]
pub enum Error {
    /// Bytes on disk are not what was written. The index is of no use: rebuild it.
    Corrupt {
        /// The file.
        file: PathBuf,
        /// What does not hold.
        what: &'static str,
    },
    /// Another process, or another `Index` of this one, has the folder open.
    InUse {
        /// The index's folder.
        folder: PathBuf,
    },
    /// A call that does not fit the index's state or definition: a bug of the caller.
    Refused(String),
    /// An earlier write failed half-way, so what is on disk is not known: open the index again.
    Stopped,
    /// The numbers for data files are used up (2³⁰ of them, counted since the last rebuild): rebuild.
    Full,
    /// The operating system's word: disk full, no permission …
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which file.
        file: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

impl Error {
    /// Whether a rebuild is the way out.
    pub fn wants_rebuild(&self) -> bool {
        matches!(self, Self::Corrupt { .. } | Self::Full)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Corrupt { file, what } => write!(f, "the key index is corrupt: {what} [file={}]", file.display()),
            Self::InUse { folder } => write!(f, "the key index is in use [folder={}]", folder.display()),
            Self::Refused(why) => write!(f, "the key index refused a call: {why}"),
            Self::Stopped => write!(f, "the key index stopped after a failed write; open it again"),
            Self::Full => write!(f, "the key index has no more numbers for data files; rebuild it"),
            Self::Io { doing, file, source } => {
                write!(f, "the key index could not {doing} [file={}]: {source}", file.display())
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Names the file and the deed of an I/O error.
pub(crate) trait Doing<T> {
    /// Turns an I/O error into ours. An unexpected end of file is corruption.
    fn doing(self, doing: &'static str, file: &Path) -> Result<T>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, doing: &'static str, file: &Path) -> Result<T> {
        self.map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => Error::Corrupt { file: file.to_owned(), what: "the file ends too early" },
            _ => Error::Io { doing, file: file.to_owned(), source },
        })
    }
}
