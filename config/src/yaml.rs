//! From YAML text to the tree. Scalars keep their text as written (`1.50`, `0x10`, `yes`), whatever YAML would
//! make of them: what a key's value means is decided by the key. Duplicate keys are kept (the shape reports
//! them).
//!
//! Safe on any text: no recursion while parsing, few levels, and what anchors and aliases may add is bounded.

use std::collections::{HashMap, HashSet};

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};

use crate::file::Unreadable;
use crate::problem::At;
use crate::tree::Node;

/// The deepest nesting. The shape has five levels; what is deeper is wrong at any rate.
const LEVELS: usize = 16;
/// What anchors may hold and aliases may repeat, all together, in bytes. Shared settings are hundreds.
const SHARED: usize = 1 << 20;
/// What a node counts towards [`SHARED`] besides its text, in bytes.
const NODE: usize = 64;

/// The key whose value is a map, or a list of maps, that the map it stands in takes its further keys from.
const MERGE: &str = "<<";

/// Parses a file's text.
pub(crate) fn parse(text: &str) -> Result<Node, Unreadable> {
    let mut builder = Builder { open: Vec::new(), root: None, anchors: HashMap::new(), shared: 0 };
    let mut documents = 0;
    for event in Parser::new_from_str(text) {
        let (event, span) =
            event.map_err(|error| bad(*error.marker(), format!("is not valid YAML: {}", error.info())))?;
        let at = span.start;
        match event {
            Event::DocumentStart(_) => {
                documents += 1;
                if documents > 1 {
                    return Err(bad(at, "begins a second document: a file holds one"));
                }
            }
            Event::Alias(anchor) => builder.alias(anchor, at)?,
            Event::Scalar(text, style, anchor, tag) => {
                let node = scalar(&text, style, tag.as_deref(), at)?;
                builder.add(node, anchor, at)?;
            }
            Event::SequenceStart(anchor, tag) => builder.begin(Open::List(Vec::new()), anchor, tag.as_deref(), at)?,
            Event::MappingStart(anchor, tag) => {
                builder.begin(Open::Map(Vec::new(), None, Vec::new()), anchor, tag.as_deref(), at)?;
            }
            Event::SequenceEnd | Event::MappingEnd => builder.end(at)?,
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
    }
    builder.root.ok_or_else(|| Unreadable { at: None, message: "is empty".into() })
}

fn bad(at: Marker, message: impl Into<String>) -> Unreadable {
    Unreadable { at: Some(At { line: at.line().max(1), column: at.col() + 1 }), message: message.into() }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>, at: Marker) -> Result<Node, Unreadable> {
    let text_by_tag = match tag {
        None => false,
        Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => true,
        Some(_) => return Err(bad(at, "has a tag: only !!str is understood, and values need none")),
    };
    let is_null = style == ScalarStyle::Plain && matches!(text, "" | "~" | "null" | "Null" | "NULL");
    Ok(if is_null && !text_by_tag { Node::Null } else { Node::Scalar(text.to_owned()) })
}

/// A list or map that has begun.
enum Open {
    List(Vec<Node>),
    /// Its pairs, the key that waits for its value, and what it is to be merged with.
    Map(Vec<(String, Node)>, Option<String>, Vec<(String, Node)>),
}

struct Builder {
    open: Vec<(Open, usize)>,
    root: Option<Node>,
    anchors: HashMap<usize, Node>,
    shared: usize,
}

impl Builder {
    fn begin(&mut self, open: Open, anchor: usize, tag: Option<&Tag>, at: Marker) -> Result<(), Unreadable> {
        if tag.is_some() {
            return Err(bad(at, "has a tag: lists and maps take none"));
        }
        if self.open.len() == LEVELS {
            return Err(bad(at, format!("is nested deeper than {LEVELS} levels")));
        }
        if let Some((Open::Map(_, None, _), _)) = self.open.last() {
            return Err(bad(at, "has a key that is a list or a map: keys are texts"));
        }
        self.open.push((open, anchor));
        Ok(())
    }

    fn end(&mut self, at: Marker) -> Result<(), Unreadable> {
        let (node, anchor) = match self.open.pop() {
            Some((Open::List(items), anchor)) => (Node::List(items), anchor),
            Some((Open::Map(mut pairs, _, merged), anchor)) => {
                // The map's own keys win, then the first of those merged.
                let mut taken: HashSet<String> = match merged.is_empty() {
                    true => HashSet::new(),
                    false => pairs.iter().map(|(key, _)| key.clone()).collect(),
                };
                pairs.extend(merged.into_iter().filter(|(key, _)| taken.insert(key.clone())));
                (Node::Map(pairs), anchor)
            }
            None => return Ok(()),
        };
        self.add(node, anchor, at)
    }

    /// Puts a finished node where it belongs.
    fn add(&mut self, node: Node, anchor: usize, at: Marker) -> Result<(), Unreadable> {
        if anchor > 0 {
            self.share(&node, at)?;
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some((Open::List(items), _)) => items.push(node),
            Some((Open::Map(pairs, key, merged), _)) => match (key.take(), node) {
                (Some(name), node) if name == MERGE => match node {
                    Node::Map(more) => merged.extend(more),
                    Node::List(maps) if maps.iter().all(|map| matches!(map, Node::Map(_))) => {
                        let more =
                            maps.into_iter().filter_map(|map| if let Node::Map(m) = map { Some(m) } else { None });
                        merged.extend(more.flatten());
                    }
                    _ => return Err(bad(at, "is to be merged by \"<<\", but is neither a map nor a list of maps")),
                },
                (Some(name), node) => pairs.push((name, node)),
                (None, Node::Scalar(name)) => *key = Some(name),
                (None, Node::Null) => return Err(bad(at, "has a key that is null: keys are texts")),
                (None, _) => return Err(bad(at, "has a key that is a list or a map: keys are texts")),
            },
        }
        Ok(())
    }

    fn alias(&mut self, anchor: usize, at: Marker) -> Result<(), Unreadable> {
        let Some(node) = self.anchors.get(&anchor) else {
            return Err(bad(at, "is an alias of what it stands in"));
        };
        let node = node.clone();
        self.share(&node, at)?;
        if self.open.len() + depth(&node) > LEVELS {
            return Err(bad(at, format!("is nested deeper than {LEVELS} levels")));
        }
        self.add(node, 0, at)
    }

    fn share(&mut self, node: &Node, at: Marker) -> Result<(), Unreadable> {
        self.shared = self.shared.saturating_add(weight(node));
        if self.shared > SHARED {
            return Err(bad(at, format!("comes to more than {} MiB in anchors and aliases", SHARED >> 20)));
        }
        Ok(())
    }
}

fn weight(node: &Node) -> usize {
    NODE + match node {
        Node::Null => 0,
        Node::Scalar(text) => text.len(),
        Node::List(items) => items.iter().map(weight).sum(),
        Node::Map(pairs) => pairs.iter().map(|(key, node)| NODE + key.len() + weight(node)).sum(),
    }
}

fn depth(node: &Node) -> usize {
    match node {
        Node::Null | Node::Scalar(_) => 0,
        Node::List(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Node::Map(pairs) => 1 + pairs.iter().map(|(_, node)| depth(node)).max().unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tree::show;

    fn check(text: &str, shown: &str) {
        assert_eq!(show(parse(text)), shown, "{text}");
    }

    #[test]
    fn values_keep_their_text() {
        check(
            "a: 1.50\nb: -1e3\nc: yes\nd:\ne: 'x''y'\nf: \"t\\tü\"\n",
            "{a:<1.50> b:<-1e3> c:<yes> d:null e:<x'y> f:<t\tü>}",
        );
        check(
            "a: ~\nb: 'null'\nc: !!str null\nd: \"\"\ne: 0x1F\nf: 007",
            "{a:null b:<null> c:<null> d:<> e:<0x1F> f:<007>}",
        );
        check("- a\n- [b, {c: d}]\n", "[<a> [<b> {c:<d>}]]");
        check("a: >\n  one\n  two\nb: |-\n  one\n  two\n", "{a:<one two\n> b:<one\ntwo>}");
        check("re: public\\..*\nref: ${env:A}\nlist: 'a,b'", "{re:<public\\..*> ref:<${env:A}> list:<a,b>}");
        check("# only\n--- # one\na: 1 # not 2\n...\n", "{a:<1>}");
        check("a: 1\r\nb: 2\r\n", "{a:<1> b:<2>}");
        check("{\"a\": 1, \"b\": [true]}", "{a:<1> b:[<true>]}");
        check("a: 1\na: 2", "{a:<1> a:<2>}");
    }

    #[test]
    fn anchors_are_repeated_and_merged() {
        check("a: &x {k: 1}\nb: *x\nc: *x", "{a:{k:<1>} b:{k:<1>} c:{k:<1>}}");
        check("d: &d {k: 1, l: 2}\ne: {<<: *d, l: 3, m: 4}", "{d:{k:<1> l:<2>} e:{l:<3> m:<4> k:<1>}}");
        check("e: {l: 3, <<: [{k: 1}, {k: 2, l: 9}]}", "{e:{l:<3> k:<1>}}");
        check("e: {<<: 3}", "1:9 is to be merged by \"<<\", but is neither a map nor a list of maps");
        check("a: *x", "1:4 is not valid YAML: while parsing node, found unknown anchor");
        check("a: &x [*x]", "1:8 is an alias of what it stands in");
    }

    #[test]
    fn errors_have_a_place() {
        check("", "is empty");
        check("# nothing\n", "is empty");
        check("---\n", "null");
        check("a: 1\n---\nb: 2\n", "2:1 begins a second document: a file holds one");
        check("a: !!binary aGk=", "1:4 has a tag: only !!str is understood, and values need none");
        check("a: !x [1]", "1:4 has a tag: lists and maps take none");
        check("? [a]\n: b", "1:3 has a key that is a list or a map: keys are texts");
        check("~: b", "1:1 has a key that is null: keys are texts");
        for broken in ["a: b: c", "a:\n\t- b", "a: [1", "a: 'x", "a\nb: 1", "@a", "a: %x"] {
            let shown = show(parse(broken));
            assert!(
                shown.contains(" is not valid YAML: ") && shown.as_bytes()[0].is_ascii_digit(),
                "{broken:?}: {shown}"
            );
        }
    }

    /// Quick to refuse, whatever the size: each of these is as large as a file may be.
    #[test]
    fn hostile_texts_do_no_harm() {
        let many = 4 << 20;
        let started = std::time::Instant::now();
        for (text, end) in [
            ("[".repeat(many), "recursion limit exceeded"),
            (format!("{}{}", "[".repeat(20), "]".repeat(20)), "is nested deeper than 16 levels"),
            ("- ".repeat(many), "is nested deeper than 16 levels"),
            ("{a: ".repeat(many), "recursion limit exceeded"),
            ("? ".repeat(many), "keys are texts"),
            ((0..1 << 12).map(|n| format!("{}a:\n", " ".repeat(n))).collect(), "is nested deeper than 16 levels"),
            (
                "a0: &a0 [x, x, x, x, x, x, x, x]\n".to_owned()
                    + &(1..12)
                        .map(|n| format!("a{n}: &a{n} [{}]\n", format!("*a{}, ", n - 1).repeat(8)))
                        .collect::<String>(),
                "comes to more than 1 MiB in anchors and aliases",
            ),
            (
                "a0: &a0 x\n".to_owned() + &(1..40).map(|n| format!("a{n}: &a{n} [*a{}]\n", n - 1)).collect::<String>(),
                "is nested deeper than 16 levels",
            ),
            (format!("a: &a {}\nb: [{}]", "x".repeat(1 << 19), "*a, ".repeat(1 << 10)), "in anchors and aliases"),
        ] {
            let shown = show(parse(&text));
            assert!(shown.ends_with(end), "{:?}…: {shown}", &text[..20]);
        }
        assert!(started.elapsed() < std::time::Duration::from_secs(20), "{:?}", started.elapsed());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn never_panics(text in "([-?:,\\[\\]{}#&*!|>'\"%@`~ \t\n.]|<<|a|\\PC){0,40}") {
            let _ = parse(&text);
        }

        /// A quoted text comes back as it is.
        #[test]
        fn any_text_can_be_written(text in "\\PC{0,20}") {
            let quoted = format!("k: '{}'", text.replace('\'', "''"));
            prop_assert_eq!(show(parse(&quoted)), format!("{{k:<{text}>}}"));
        }
    }
}
