//! Java properties files, as Kafka's FileConfigProvider reads them: `key=value`, `key: value` or `key value`,
//! `#` and `!` comments, backslash escapes and continued lines, UTF-8. Pure; values may be secrets, so an
//! error says the line and nothing of its content.
//!
//! Files of secrets that references point into are of this form, and a connector's configuration may be, as
//! Kafka's standalone worker takes it: [`tree`].

use std::iter::Peekable;
use std::str::Chars;

use crate::file::Unreadable;
use crate::tree::Node;

/// Parses a configuration file: a connector's settings, or the worker's if it says neither a connector's name
/// nor its class.
pub(crate) fn tree(text: &str) -> Result<Node, Unreadable> {
    let pairs = parse(text).map_err(|message| Unreadable { at: None, message })?;
    if pairs.is_empty() {
        return Err(Unreadable { at: None, message: "is empty".into() });
    }
    let is_connector = pairs.iter().any(|(key, _)| matches!(key.as_str(), "name" | "connector.class"));
    let flat = Node::Map(pairs.into_iter().map(|(key, value)| (key, Node::Scalar(value))).collect());
    Ok(if is_connector { flat } else { Node::Map(vec![("worker".into(), flat)]) })
}

/// The pairs of a file in its order. Of a key given twice Java takes the last value.
pub(crate) fn parse(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut pairs = Vec::new();
    for (number, line) in logical_lines(text) {
        let broken = |()| format!("line {number} has a \\u escape that is not four hexadecimal digits of a character");
        let mut chars = line.chars().peekable();
        let key = unescape(&mut chars, |c| matches!(c, '=' | ':') || is_blank(c)).map_err(broken)?;
        skip_blanks(&mut chars);
        if chars.next_if(|c| matches!(c, '=' | ':')).is_some() {
            skip_blanks(&mut chars);
        }
        let value = unescape(&mut chars, |_| false).map_err(broken)?;
        pairs.push((key, value));
    }
    Ok(pairs)
}

/// Lines with their first number, comments and blank ones left out, continued ones joined.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let text = text.replace("\r\n", "\n");
    let mut lines: Vec<(usize, String)> = Vec::new();
    let mut continues = false;
    for (index, line) in text.split(['\n', '\r']).enumerate() {
        let line = line.trim_start_matches(is_blank);
        // A comment sign within a continued line is text.
        if !continues && (line.is_empty() || line.starts_with(['#', '!'])) {
            continue;
        }
        let backslashes = line.bytes().rev().take_while(|b| *b == b'\\').count();
        let goes_on = backslashes % 2 == 1;
        let kept = if goes_on { &line[..line.len() - 1] } else { line };
        match lines.last_mut() {
            Some((_, last)) if continues => last.push_str(kept),
            _ => lines.push((index + 1, kept.to_owned())),
        }
        continues = goes_on;
    }
    lines
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{c}')
}

fn skip_blanks(chars: &mut Peekable<Chars<'_>>) {
    while chars.next_if(|c| is_blank(*c)).is_some() {}
}

/// Reads up to an unescaped character that ends the token.
fn unescape(chars: &mut Peekable<Chars<'_>>, ends: impl Fn(char) -> bool) -> Result<String, ()> {
    let mut text = String::new();
    while let Some(c) = chars.next_if(|c| !ends(*c)) {
        if c != '\\' {
            text.push(c);
            continue;
        }
        match chars.next() {
            Some('t') => text.push('\t'),
            Some('n') => text.push('\n'),
            Some('r') => text.push('\r'),
            Some('f') => text.push('\u{c}'),
            Some('u') => text.push(utf16(chars)?),
            Some(other) => text.push(other),
            None => {}
        }
    }
    Ok(text)
}

/// The character of one `\u` escape, or of two that are a surrogate pair; the first `\u` has been read.
fn utf16(chars: &mut Peekable<Chars<'_>>) -> Result<char, ()> {
    let first = unit(chars)?;
    if !(0xd800..0xdc00).contains(&first) {
        return char::from_u32(first).ok_or(());
    }
    if chars.next() != Some('\\') || chars.next() != Some('u') {
        return Err(());
    }
    match unit(chars)? {
        second @ 0xdc00..0xe000 => char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)).ok_or(()),
        _ => Err(()),
    }
}

fn unit(chars: &mut Peekable<Chars<'_>>) -> Result<u32, ()> {
    let mut value = 0;
    for _ in 0..4 {
        value = value << 4 | chars.next().and_then(|c| c.to_digit(16)).ok_or(())?;
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tree::show;

    fn check(text: &str, pairs: &[(&str, &str)]) {
        let expected: Vec<_> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        assert_eq!(parse(text), Ok(expected));
    }

    #[test]
    fn reads_what_java_reads() {
        check("", &[]);
        check("a=1\r\nb = 2 \r c:3\n\td 4", &[("a", "1"), ("b", "2 "), ("c", "3"), ("d", "4")]);
        check("# a=1\n  ! b=2\n\n=x\nkey\nk2=", &[("", "x"), ("key", ""), ("k2", "")]);
        check("p=a=b:c d", &[("p", "a=b:c d")]);
        check(r"a\ b\=c\:d = \tx\\\q\u00e4\ud83d\ude00", &[("a b=c:d", "\tx\\qä😀")]);
        check("a=1\\\n   # 2\\\\\nb=3\\\n", &[("a", "1# 2\\"), ("b", "3")]);
        check("a=1\na=2", &[("a", "1"), ("a", "2")]);
        check("pässwörd=€", &[("pässwörd", "€")]);
    }

    #[test]
    fn an_error_names_the_line_only() {
        for bad in [r"\u12", r"\uzzzz", r"\ud800", r"\ud800x", r"\ud800\u0041", r"\udc00"] {
            let error = parse(&format!("# x\nsecret=hunter2{bad}")).unwrap_err();
            assert_eq!(error, "line 2 has a \\u escape that is not four hexadecimal digits of a character");
        }
    }

    #[test]
    fn a_configuration_is_a_connector_or_the_worker() {
        let check = |text: &str, shown: &str| assert_eq!(show(tree(text)), shown);
        check("name=shop\nconnector.class=postgres", "{name:<shop> connector.class:<postgres>}");
        check("connector.class: postgres", "{connector.class:<postgres>}");
        check("memory.max=1GiB", "{worker:{memory.max:<1GiB>}}");
        check("# nothing\n", "is empty");
    }

    proptest! {
        #[test]
        fn never_panics(text in "([=:#!\\\\\n\ru ]|\\PC){0,30}") {
            let _ = parse(&text);
        }

        #[test]
        fn an_escaped_value_comes_back(value in "\\PC{0,20}") {
            let escaped: String = value.chars().flat_map(|c| ['\\', c]).collect();
            // Escaped letters with a meaning of their own are written as they are.
            let escaped = ["t", "n", "r", "f", "u"].iter().fold(escaped, |text, c| text.replace(&format!("\\{c}"), c));
            prop_assume!(!value.contains('\\'));
            let pairs = parse(&format!("k={escaped}")).unwrap();
            prop_assert_eq!(pairs, [("k".to_owned(), value)]);
        }
    }
}
