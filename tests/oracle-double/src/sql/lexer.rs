//! A statement as tokens.

use crate::error::OraError;

/// A token and where it begins, in bytes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Token {
    pub(crate) kind: TokenKind,
    pub(crate) at: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TokenKind {
    /// An identifier or keyword, in upper case.
    Word(String),
    /// A quoted identifier, as it is.
    Quoted(String),
    /// A string.
    Text(String),
    /// Digits of a number.
    Number(String),
    /// A bind's name or number.
    Bind(String),
    /// Anything else: one or two characters.
    Symbol(&'static str),
    /// The end.
    End,
}

const SYMBOLS: &[&str] =
    &["<=", ">=", "<>", "!=", "^=", "||", "=>", ":=", "(", ")", ",", ".", "=", "<", ">", "+", "-", "*", "/", ";", "@"];

/// Cuts a statement into tokens.
pub(crate) fn tokens(sql: &str) -> Result<Vec<Token>, OraError> {
    let mut all = Vec::new();
    let mut rest = sql;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '\0');
        let at = sql.len() - rest.len();
        if let Some(comment) = rest.strip_prefix("--") {
            rest = comment.split_once('\n').map_or("", |(_, after)| after);
            continue;
        }
        if let Some(comment) = rest.strip_prefix("/*") {
            rest = comment.split_once("*/").map_or("", |(_, after)| after);
            continue;
        }
        let Some(first) = rest.chars().next() else {
            all.push(Token { kind: TokenKind::End, at });
            return Ok(all);
        };
        let second = rest[first.len_utf8()..].chars().next().unwrap_or(' ');
        let (kind, length) = match first {
            '\'' => text(rest, 0).ok_or_else(|| OraError::new(1756, "quoted string not properly terminated").at(at))?,
            'n' | 'N' if second == '\'' => {
                text(rest, 1).ok_or_else(|| OraError::new(1756, "quoted string not properly terminated").at(at))?
            }
            '"' => {
                let end =
                    rest[1..].find('"').ok_or_else(|| OraError::new(1740, "missing double quote in identifier"))?;
                (TokenKind::Quoted(rest[1..=end].to_owned()), end + 2)
            }
            c if c.is_alphabetic() => {
                let word = name(rest);
                (TokenKind::Word(word.to_uppercase()), word.len())
            }
            c if c.is_ascii_digit() || (c == '.' && second.is_ascii_digit()) => {
                let length = number(rest);
                (TokenKind::Number(rest[..length].to_owned()), length)
            }
            ':' if second.is_alphanumeric() => {
                let word = name(&rest[1..]);
                (TokenKind::Bind(word.to_uppercase()), word.len() + 1)
            }
            _ => {
                let symbol = SYMBOLS.iter().find(|s| rest.starts_with(**s));
                let symbol = symbol.ok_or_else(|| OraError::known(911).at(at))?;
                (TokenKind::Symbol(symbol), symbol.len())
            }
        };
        all.push(Token { kind, at });
        rest = &rest[length..];
    }
}

/// A string with doubled quotes inside, after a prefix of so many bytes.
fn text(rest: &str, prefix: usize) -> Option<(TokenKind, usize)> {
    let mut all = String::new();
    let mut at = prefix + 1;
    loop {
        let end = at + rest.get(at..)?.find('\'')?;
        all.push_str(&rest[at..end]);
        if !rest[end + 1..].starts_with('\'') {
            return Some((TokenKind::Text(all), end + 1));
        }
        all.push('\'');
        at = end + 2;
    }
}

fn name(rest: &str) -> &str {
    let end = rest.find(|c: char| !c.is_alphanumeric() && !"_$#".contains(c));
    &rest[..end.unwrap_or(rest.len())]
}

fn number(rest: &str) -> usize {
    let digits = |from: usize| rest[from..].bytes().take_while(u8::is_ascii_digit).count();
    let mut length = digits(0);
    if rest[length..].starts_with('.') {
        length += 1 + digits(length + 1);
    }
    if rest[length..].starts_with(['e', 'E']) {
        let sign = usize::from(rest[length + 1..].starts_with(['+', '-']));
        let exponent = digits(length + 1 + sign);
        if exponent > 0 {
            length += 1 + sign + exponent;
        }
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_cut() {
        let kinds = |sql| tokens(sql).unwrap().into_iter().map(|t| t.kind).collect::<Vec<_>>();
        let word = |w: &str| TokenKind::Word(w.into());
        assert_eq!(
            kinds("select \"a b\",'it''s' /* x */ from v$database where n>=:1 -- y\nand m = 1.5e3"),
            [
                word("SELECT"),
                TokenKind::Quoted("a b".into()),
                TokenKind::Symbol(","),
                TokenKind::Text("it's".into()),
                word("FROM"),
                word("V$DATABASE"),
                word("WHERE"),
                word("N"),
                TokenKind::Symbol(">="),
                TokenKind::Bind("1".into()),
                word("AND"),
                word("M"),
                TokenKind::Symbol("="),
                TokenKind::Number("1.5e3".into()),
                TokenKind::End,
            ]
        );
        assert_eq!(tokens("select 'x").unwrap_err().code, 1756);
        assert_eq!(tokens("select ?").unwrap_err().code, 911);
    }
}
