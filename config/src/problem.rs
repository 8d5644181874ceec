//! What is wrong with a configuration, and where: one line each. Text that came from outside is escaped
//! and shortened here, so that no file can write on the operator's terminal.

use std::fmt;
use std::path::PathBuf;

/// The longest part of a problem that is shown, in characters.
const SHOWN: usize = 400;

/// A place in a file's text, both counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    /// The line.
    pub line: usize,
    /// The character within the line.
    pub column: usize,
}

/// The part of the configuration that a problem concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The file as a whole, or its top level.
    File,
    /// The worker settings.
    Worker,
    /// An entry of `connectors` without a usable name, counted from 0.
    Entry(usize),
    /// The connector of this name.
    Connector(String),
}

/// Something wrong with the configuration. Display gives one line, such as
/// `cdc.json: connector "shop": database.port: "x" is not a whole number from 1 to 65535`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// The file, as it was named.
    pub file: PathBuf,
    /// Where in the file, for errors of syntax.
    pub at: Option<At>,
    /// The part of the configuration.
    pub place: Place,
    /// The key, when it is about one.
    pub key: Option<String>,
    /// What is wrong and what would be right. Never holds a resolved value.
    pub message: String,
}

impl ConfigProblem {
    /// The name of the connector concerned, if there is one.
    pub fn connector(&self) -> Option<&str> {
        match &self.place {
            Place::Connector(name) => Some(name),
            Place::File | Place::Worker | Place::Entry(_) => None,
        }
    }
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", OneLine(&self.file.to_string_lossy()))?;
        if let Some(At { line, column }) = self.at {
            write!(f, ":{line}:{column}")?;
        }
        match &self.place {
            Place::File => {}
            Place::Worker => f.write_str(": worker")?,
            Place::Entry(index) => write!(f, ": connectors[{index}]")?,
            Place::Connector(name) => write!(f, ": connector \"{}\"", OneLine(name))?,
        }
        if let Some(key) = &self.key {
            write!(f, ": {}", OneLine(key))?;
        }
        write!(f, ": {}", OneLine(&self.message))
    }
}

/// Text on one line: control characters escaped, the middle of a very long text left out.
struct OneLine<'a>(&'a str);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = self.0.chars().count();
        for (i, c) in self.0.chars().enumerate() {
            if length > SHOWN && i == SHOWN / 2 {
                f.write_str(" … ")?;
            }
            if length > SHOWN && (SHOWN / 2..length - SHOWN / 2).contains(&i) {
                continue;
            }
            if c.is_control()
                || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
            {
                write!(f, "{}", c.escape_default())?;
            } else {
                write!(f, "{c}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, shown: &str) {
        assert_eq!(OneLine(text).to_string(), shown);
    }

    #[test]
    fn foreign_text_stays_on_one_short_line() {
        check("plain – ünïcode", "plain – ünïcode");
        check("a\nb\u{1b}[31m\u{202e}", "a\\nb\\u{1b}[31m\\u{202e}");
        check(&"x".repeat(SHOWN), &"x".repeat(SHOWN));
        let half = SHOWN / 2;
        check(
            &format!("{}{}", "a".repeat(half + 7), "b".repeat(half)),
            &format!("{} … {}", "a".repeat(half), "b".repeat(half)),
        );
    }
}
