//! What a file must look like: `worker` and `connectors`, or one of Kafka Connect's own forms (an entry, a
//! list of entries, one flat map). Pure: a tree in, raw settings and problems out. Resolves nothing and knows
//! the meaning of no key but `name`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use connector_api::config::nearest;

use crate::problem::{ConfigProblem, Place};
use crate::reference::has_reference;
use crate::tree::Node;

/// A file's content as written.
#[derive(Default)]
pub(crate) struct Shape {
    /// The worker settings.
    pub(crate) worker: Flat,
    /// The entries in order.
    pub(crate) entries: Vec<RawEntry>,
    /// Whether `connectors` was something else than a list: then its absence has been reported.
    pub(crate) connectors_unusable: bool,
}

/// One entry of `connectors`.
pub(crate) struct RawEntry {
    /// The name, when it is usable.
    pub(crate) name: Option<String>,
    /// How problems speak of the entry.
    pub(crate) place: Place,
    /// Its settings.
    pub(crate) config: Flat,
    /// Whether `config` was missing or no object: then the keys it lacks need no word.
    pub(crate) config_unusable: bool,
}

/// A flat map of settings.
#[derive(Default)]
pub(crate) struct Flat {
    /// Keys and the text of their values.
    pub(crate) values: BTreeMap<String, String>,
    /// Keys about which a problem has been reported.
    pub(crate) reported: BTreeSet<String>,
}

/// Reads a file's tree; adds to the problems.
pub(crate) fn read(file: &Path, tree: Node, problems: &mut Vec<ConfigProblem>) -> Shape {
    let mut reader = Reader { file, problems };
    let mut shape = Shape::default();
    let pairs = match tree {
        Node::Map(pairs) => pairs,
        Node::List(items) => {
            shape.entries = reader.entries(items);
            return shape;
        }
        other => {
            let expected = format!("is {}, not an object with \"worker\" and \"connectors\"", kind(&other));
            reader.report(&Place::File, None, expected);
            return shape;
        }
    };
    let has = |key: &str| pairs.iter().any(|(k, _)| k == key);
    if !has("worker") && !has("connectors") {
        // Kafka Connect's own forms: what is POSTed to /connectors, and a standalone worker's file.
        let nested = pairs.iter().any(|(_, node)| matches!(node, Node::Map(_)));
        if has("config") || (has("name") && nested && !has("connector.class")) {
            shape.entries = vec![reader.entry(Place::File, Node::Map(pairs))];
            return shape;
        }
        if has("name") || has("connector.class") {
            shape.entries = vec![reader.flat_entry(pairs)];
            return shape;
        }
    }
    for (key, node) in reader.unique(&Place::File, &["worker", "connectors"], pairs) {
        match (key.as_str(), node) {
            ("worker", Node::Map(pairs)) => shape.worker = reader.flat(&Place::Worker, pairs),
            ("worker", other) => {
                reader.report(&Place::Worker, None, format!("is {}, not an object of settings", kind(&other)));
            }
            (_, Node::List(items)) => {
                shape.entries = reader.entries(items);
            }
            (_, other) => {
                shape.connectors_unusable = true;
                let message = format!("is {}, not a list of connectors", kind(&other));
                reader.report(&Place::File, Some("connectors"), message);
            }
        }
    }
    shape
}

struct Reader<'a> {
    file: &'a Path,
    problems: &'a mut Vec<ConfigProblem>,
}

impl Reader<'_> {
    fn report(&mut self, place: &Place, key: Option<&str>, message: impl Into<String>) {
        self.problems.push(ConfigProblem {
            file: self.file.to_owned(),
            at: None,
            place: place.clone(),
            key: key.map(str::to_owned),
            message: message.into(),
        });
    }

    /// The pairs with known keys, each once; reports the others.
    fn unique(&mut self, place: &Place, known: &[&str], pairs: Vec<(String, Node)>) -> Vec<(String, Node)> {
        let mut seen = BTreeSet::new();
        let mut kept = Vec::new();
        for (key, node) in pairs {
            if !seen.insert(key.clone()) {
                self.report(place, Some(&key), "is given more than once");
            } else if known.contains(&key.as_str()) {
                kept.push((key, node));
            } else {
                let hint = nearest(&key, known.iter().copied());
                self.report(place, Some(&key), format!("unknown key{hint}"));
            }
        }
        kept
    }

    fn entries(&mut self, items: Vec<Node>) -> Vec<RawEntry> {
        items.into_iter().enumerate().map(|(index, item)| self.entry(Place::Entry(index), item)).collect()
    }

    /// A connector with its settings in `config`. `place` is how it is spoken of as long as it has no name.
    fn entry(&mut self, place: Place, node: Node) -> RawEntry {
        let mut entry = RawEntry { name: None, place, config: Flat::default(), config_unusable: true };
        let Node::Map(pairs) = node else {
            self.report(&entry.place, None, format!("is {}, not an object with \"name\" and \"config\"", kind(&node)));
            return entry;
        };
        self.name(&mut entry, &pairs);
        let place = entry.place.clone();
        let mut config = None;
        for (key, node) in self.unique(&place, &["name", "config", INITIAL_STATE], pairs) {
            match key.as_str() {
                "config" => config = Some(node),
                INITIAL_STATE => {
                    if let Err(why) = check_initial_state(&node) {
                        self.report(&place, Some(INITIAL_STATE), why);
                    }
                }
                _ => {}
            }
        }
        match config {
            Some(Node::Map(pairs)) => {
                entry.config = self.flat(&place, pairs);
                entry.config_unusable = false;
            }
            Some(other) => {
                self.report(&place, Some("config"), format!("is {}, not an object of settings", kind(&other)));
            }
            None => self.report(&place, Some("config"), "missing: every connector needs its settings"),
        }
        // Kafka Connect's own files repeat the name among the settings.
        if let Some(inner) = entry.config.values.remove("name")
            && entry.name.as_ref().is_some_and(|name| *name != inner)
        {
            entry.config.reported.insert("name".into());
            self.report(
                &place,
                Some("name"),
                format!("\"{inner}\" within \"config\" differs from the connector's name"),
            );
        }
        entry
    }

    /// A connector whose name stands among its settings.
    fn flat_entry(&mut self, pairs: Vec<(String, Node)>) -> RawEntry {
        let mut entry = RawEntry { name: None, place: Place::File, config: Flat::default(), config_unusable: false };
        self.name(&mut entry, &pairs);
        // A name that is no name has been reported.
        let pairs = pairs.into_iter().filter(|(key, node)| key != "name" || matches!(node, Node::Scalar(_))).collect();
        entry.config = self.flat(&entry.place.clone(), pairs);
        entry.config.values.remove("name");
        entry
    }

    /// The name first, wherever it stands: all else is reported under it.
    fn name(&mut self, entry: &mut RawEntry, pairs: &[(String, Node)]) {
        match pairs.iter().find(|(key, _)| key == "name").map(|(_, node)| check_name(node)) {
            Some(Ok(name)) => {
                entry.place = Place::Connector(name.clone());
                entry.name = Some(name);
            }
            Some(Err(why)) => self.report(&entry.place, Some("name"), why),
            None => self.report(&entry.place, Some("name"), "missing: every connector needs a name"),
        }
    }

    fn flat(&mut self, place: &Place, pairs: Vec<(String, Node)>) -> Flat {
        let mut flat = Flat::default();
        for (key, node) in pairs {
            if flat.reported.contains(&key) {
                continue;
            }
            let message = match node {
                Node::Scalar(text) => match flat.values.contains_key(&key) {
                    false => {
                        flat.values.insert(key, text);
                        continue;
                    }
                    true => "is given more than once".to_owned(),
                },
                other => format!("is {}, not a text, a number or a boolean", kind(&other)),
            };
            self.report(place, Some(&key), message);
            flat.values.remove(&key);
            flat.reported.insert(key);
        }
        flat
    }
}

/// Kafka's key for the state that a connector is created in.
const INITIAL_STATE: &str = "initial_state";

fn check_initial_state(node: &Node) -> Result<(), String> {
    match node {
        Node::Scalar(state) if state.eq_ignore_ascii_case("RUNNING") => Ok(()),
        Node::Scalar(state) if ["PAUSED", "STOPPED"].iter().any(|s| state.eq_ignore_ascii_case(s)) => {
            Err(format!("\"{state}\": this version starts every connector; leave out the ones that shall not run"))
        }
        Node::Scalar(state) => Err(format!("\"{state}\" is not RUNNING, PAUSED or STOPPED")),
        other => Err(format!("is {}, not a text", kind(other))),
    }
}

fn check_name(node: &Node) -> Result<String, String> {
    let Node::Scalar(name) = node else {
        return Err(format!("is {}, not a text", kind(node)));
    };
    if name.trim().is_empty() {
        Err("is empty".into())
    } else if has_reference(name) {
        Err("holds a reference: names are taken as they are".into())
    } else if name.trim() != name || name.chars().any(char::is_control) {
        Err("begins or ends with a space, or has a control character".into())
    } else {
        Ok(name.clone())
    }
}

fn kind(node: &Node) -> &'static str {
    match node {
        Node::Scalar(_) => "a single value",
        Node::Null => "null",
        Node::List(_) => "a list",
        Node::Map(_) => "an object",
    }
}
