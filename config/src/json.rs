//! From JSON text to the tree. Keeps duplicate keys (the shape reports them) and the text of numbers as written.
//! Safe on any text: syntax is checked without recursion, and only as many levels are built as the shape has.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::file::{Unreadable, position};
use crate::tree::Node;

/// Levels that are built: file, list, entry, config, value. What lies deeper is wrong at any rate, so its
/// kind is enough.
const LEVELS: usize = 5;

/// Parses a file's text.
pub(crate) fn parse(text: &str) -> Result<Node, Unreadable> {
    if text.trim().is_empty() {
        return Err(Unreadable { at: None, message: "is empty".into() });
    }
    let whole: &RawValue = serde_json::from_str(text).map_err(|error| unreadable(text, text, &error))?;
    build(text, whole.get(), LEVELS)
}

fn build(whole: &str, part: &str, levels: usize) -> Result<Node, Unreadable> {
    let failed = |error| unreadable(whole, part, &error);
    Ok(match part.as_bytes().first() {
        Some(b'{') if levels > 1 => {
            let Pairs(pairs) = serde_json::from_str(part).map_err(failed)?;
            let build = |(key, raw): (String, &RawValue)| Ok((key, build(whole, raw.get(), levels - 1)?));
            Node::Map(pairs.into_iter().map(build).collect::<Result<_, _>>()?)
        }
        Some(b'[') if levels > 1 => {
            let items: Vec<&RawValue> = serde_json::from_str(part).map_err(failed)?;
            let build = |raw: &RawValue| build(whole, raw.get(), levels - 1);
            Node::List(items.into_iter().map(build).collect::<Result<_, _>>()?)
        }
        Some(b'{') => Node::Map(Vec::new()),
        Some(b'[') => Node::List(Vec::new()),
        Some(b'"') => Node::Scalar(serde_json::from_str(part).map_err(failed)?),
        Some(b'n') => Node::Null,
        _ => Node::Scalar(part.to_owned()),
    })
}

/// Turns the parser's error for a part of the text into a position in the whole.
fn unreadable(whole: &str, part: &str, error: &serde_json::Error) -> Unreadable {
    // Both are slices of one buffer.
    let start = (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize);
    let mut lines = part.split_inclusive('\n');
    let before: usize = lines.by_ref().take(error.line().saturating_sub(1)).map(str::len).sum();
    // The parser's column counts the bytes read of the line: the last one is the culprit. At the end of
    // the text there is none, and the end is the place.
    let byte = start + before + if error.is_eof() { error.column() } else { error.column().saturating_sub(1) };
    let text = error.to_string();
    let gist = text.rsplit_once(" at line ").map_or(text.as_str(), |(gist, _)| gist);
    let (before, after) = whole.as_bytes().split_at(byte.min(whole.len()));
    // The commonest slip, for which the parser has words that only fit one of its two cases.
    let gist = match before.trim_ascii_end().last() {
        Some(b',') if after.starts_with(b"}") || after.starts_with(b"]") => "a comma before the closing bracket",
        _ => gist,
    };
    Unreadable { at: Some(position(whole, byte)), message: format!("is not valid JSON: {gist}") }
}

/// The pairs of an object, duplicates included.
struct Pairs<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Pairs<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Pairs<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::show;

    fn check(text: &str, shown: &str) {
        assert_eq!(show(parse(text)), shown);
    }

    #[test]
    fn values_keep_their_text() {
        check(
            r#"{"a":1.50, "b" : -1e3,"c":true,"d":null,"e":"x\u00e4\n", "f":99999999999999999999}"#,
            "{a:<1.50> b:<-1e3> c:<true> d:null e:<xä\n> f:<99999999999999999999>}",
        );
        check(r#"{"a":1,"a":2}"#, "{a:<1> a:<2>}");
        check(r#"[[[[[[[1]]]], {"a":{"b":{"c":{"d":1}}}}]]]"#, "[[[[[]] {a:{}}]]]");
    }

    #[test]
    fn syntax_errors_have_a_place() {
        check(" \n", "is empty");
        check("{", "1:2 is not valid JSON: EOF while parsing an object");
        check("{\n  \"ä\": x\n}", "2:8 is not valid JSON: expected value");
        check("{\"a\": 1\n\n  \"b\": 2}", "3:3 is not valid JSON: expected `,` or `}`");
        check("{\"a\": 1,\n}", "2:1 is not valid JSON: a comma before the closing bracket");
        check("{\"a\": [1, ]}", "1:11 is not valid JSON: a comma before the closing bracket");
        check("{} {}", "1:4 is not valid JSON: trailing characters");
        check("{\"a\": 'x'}", "1:7 is not valid JSON: expected value");
        check("{\"a\": 01}", "1:8 is not valid JSON: invalid number");
        check("{\"a\":\n [ \"\\ud800\" ]}", "2:11 is not valid JSON: unexpected end of hex escape");
        check(
            "{\"a\": \"b\nc\"}",
            "1:8 is not valid JSON: control character (\\u0000-\\u001F) found while parsing a string",
        );
    }

    #[test]
    fn deep_nesting_does_no_harm() {
        let depth = 4 << 20;
        check(&"[".repeat(depth), &format!("1:{} is not valid JSON: EOF while parsing a list", depth + 1));
        check(&format!("{}{}", "[".repeat(depth), "]".repeat(depth)), "[[[[[]]]]]");
        check(&"{\"a\":".repeat(depth), &format!("1:{} is not valid JSON: EOF while parsing a value", 5 * depth + 1));
    }
}
