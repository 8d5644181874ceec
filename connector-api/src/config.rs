//! Configuration definitions: the keys a connector takes, their types, defaults and documentation, as
//! Kafka Connect's `ConfigDef` has them. Values are flat strings; every problem is reported at once.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use regex::Regex;

/// A value that must never be printed: Debug and Display show `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The type of a key's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any text; not empty when required.
    Text,
    /// Text that is never shown.
    Password,
    /// `true` or `false`.
    Bool,
    /// A whole number within these bounds, inclusive.
    Int(i64, i64),
    /// A duration in milliseconds.
    Millis,
    /// A size in bytes, with an optional suffix: `64MiB`, `1GB`, `4096`.
    Bytes,
    /// Regular expressions separated by commas (`\,` is a comma within one), each matching a whole name
    /// without regard to case, as Debezium's include and exclude lists do.
    Regexes,
    /// One of these words.
    OneOf(&'static [&'static str]),
}

/// What may be written, for people.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text => f.write_str("text"),
            Self::Password => f.write_str("password"),
            Self::Bool => f.write_str("true or false"),
            Self::Int(i64::MIN, i64::MAX) => f.write_str("whole number"),
            Self::Int(min, i64::MAX) => write!(f, "whole number from {min}"),
            Self::Int(min, max) => write!(f, "whole number from {min} to {max}"),
            Self::Millis => f.write_str("milliseconds"),
            Self::Bytes => f.write_str("size, such as 64MiB"),
            Self::Regexes => f.write_str("regular expressions, separated by commas"),
            Self::OneOf(words) => f.write_str(&words.join(" | ")),
        }
    }
}

/// One key.
#[derive(Clone, Debug)]
pub struct Key {
    /// The key. One that holds a `*` is a family: any text may stand there, and each spelling is a key of its
    /// own (`iceberg.table.*.id-columns`).
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// The default as it would be written; `None` without one.
    pub default: Option<&'static str>,
    /// Whether it must be given.
    pub required: bool,
    /// What it does, units included.
    pub doc: &'static str,
}

impl Key {
    /// What stands for the `*` of a family in this name, if the name belongs to it.
    fn member<'a>(&self, name: &'a str) -> Option<&'a str> {
        let (head, tail) = self.name.split_once('*')?;
        name.strip_prefix(head)?.strip_suffix(tail).filter(|member| !member.is_empty())
    }

    /// Whether this is the key, or the family, of a name.
    fn is(&self, name: &str) -> bool {
        self.name == name || self.member(name).is_some()
    }
}

/// The keys of a connector.
#[derive(Clone, Debug, Default)]
pub struct ConfigDef {
    keys: Vec<Key>,
}

/// Something wrong with one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key.
    pub key: String,
    /// What is wrong and what would be right. Never holds a secret's value.
    pub message: String,
}

impl Problem {
    /// A problem with a key.
    pub fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { key: key.into(), message: message.into() }
    }
}

impl ConfigDef {
    /// Adds a key that must be given.
    #[must_use]
    pub fn required(mut self, name: &'static str, kind: Kind, doc: &'static str) -> Self {
        self.keys.push(Key { name, kind, default: None, required: true, doc });
        self
    }

    /// Adds a key with a default.
    #[must_use]
    pub fn defaulted(mut self, name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Self {
        self.keys.push(Key { name, kind, default: Some(default), required: false, doc });
        self
    }

    /// Adds a key that may be absent.
    #[must_use]
    pub fn optional(mut self, name: &'static str, kind: Kind, doc: &'static str) -> Self {
        self.keys.push(Key { name, kind, default: None, required: false, doc });
        self
    }

    /// The key, or else the narrowest family, that a name belongs to.
    pub fn key(&self, name: &str) -> Option<&Key> {
        let exact = self.keys.iter().find(|k| k.name == name);
        exact.or_else(|| self.keys.iter().filter(|k| k.is(name)).max_by_key(|k| k.name.len()))
    }

    /// The keys in order of definition.
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// Parses raw values: what could be parsed (defaults filled in), and every problem found. A value with
    /// a problem is absent from the result.
    pub fn parse(&self, raw: &BTreeMap<String, String>) -> (Values, Vec<Problem>) {
        let mut problems = Vec::new();
        let mut values = BTreeMap::new();
        let mut families: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for (name, text) in raw {
            let Some(key) = self.key(name) else {
                let hint = nearest(name, self.keys.iter().map(|k| k.name));
                problems.push(Problem::new(name, format!("unknown key{hint}")));
                continue;
            };
            let Some(member) = key.member(name) else { continue };
            match parse(key.kind, text) {
                Ok(value) => {
                    families.entry(key.name).or_default().insert(member.to_owned(), value);
                }
                Err(message) => problems.push(Problem::new(name, message)),
            }
        }
        for key in self.keys.iter().filter(|k| !k.name.contains('*')) {
            let text = match (raw.get(key.name), key.default) {
                (Some(text), _) => text.as_str(),
                (None, Some(default)) => default,
                (None, None) if key.required => {
                    problems.push(Problem::new(key.name, "missing: this key is required and has no default"));
                    continue;
                }
                (None, None) => continue,
            };
            if key.required && text.trim().is_empty() {
                problems.push(Problem::new(key.name, "is empty"));
                continue;
            }
            match parse(key.kind, text) {
                Ok(value) => {
                    values.insert(key.name, value);
                }
                Err(message) => problems.push(Problem::new(key.name, message)),
            }
        }
        (Values { keys: self.keys.clone(), values, families }, problems)
    }
}

/// `; did you mean "x"?` when one of the names is close.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    known
        .map(|k| (strsim::damerau_levenshtein(name, k), k))
        .min()
        .filter(|(distance, k)| *distance <= 1 + k.len() / 5)
        .map(|(_, k)| format!("; did you mean \"{k}\"?"))
        .unwrap_or_default()
}

#[derive(Clone, Debug)]
enum Value {
    Text(String),
    Secret(Secret),
    Bool(bool),
    Int(i64),
    Regexes(Vec<Regex>),
}

fn parse(kind: Kind, text: &str) -> Result<Value, String> {
    let trimmed = text.trim();
    match kind {
        Kind::Text => Ok(Value::Text(trimmed.into())),
        Kind::Password => Ok(Value::Secret(Secret::new(text))),
        Kind::Bool => match trimmed.to_ascii_lowercase().as_str() {
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            _ => Err(format!("\"{text}\" is not true or false")),
        },
        Kind::Int(min, max) => match trimmed.parse::<i64>() {
            Ok(n) if (min..=max).contains(&n) => Ok(Value::Int(n)),
            _ => Err(format!("\"{text}\" is not a whole number from {min} to {max}")),
        },
        Kind::Millis => match trimmed.parse::<i64>() {
            Ok(n) if n >= 0 => Ok(Value::Int(n)),
            _ => Err(format!("\"{text}\" is not a number of milliseconds")),
        },
        Kind::Bytes => {
            parse_bytes(trimmed).map(Value::Int).ok_or_else(|| format!("\"{text}\" is not a size such as 64MiB"))
        }
        Kind::Regexes => split_list(text)
            .map(|part| {
                // The unwrapped pattern first, so that `a)(b` cannot pass by the group around it.
                Regex::new(&part)
                    .and_then(|_| Regex::new(&format!("(?i)^(?:{part})$")))
                    .map_err(|e| format!("\"{part}\" is not a regular expression: {}", first_line_of(&e)))
            })
            .collect::<Result<_, _>>()
            .map(Value::Regexes),
        Kind::OneOf(words) => match words.iter().find(|w| w.eq_ignore_ascii_case(trimmed)) {
            Some(word) => Ok(Value::Text((*word).into())),
            None => Err(format!("\"{text}\" is not one of: {}", words.join(", "))),
        },
    }
}

/// The gist of a regex error, whose Display draws the pattern over several lines.
fn first_line_of(e: &regex::Error) -> String {
    let text = e.to_string();
    text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

/// Parses a size: digits and an optional unit (binary `KiB MiB GiB TiB`, decimal `kB KB MB GB TB`).
pub fn parse_bytes(text: &str) -> Option<i64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let scale: i64 = match unit.trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        _ => return None,
    };
    number.parse::<i64>().ok()?.checked_mul(scale)
}

/// Splits at commas that no backslash escapes; parts are trimmed, empty ones dropped.
pub fn split_list(text: &str) -> impl Iterator<Item = String> {
    let mut parts = vec![String::new()];
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let last = parts.len() - 1;
        match c {
            ',' => parts.push(String::new()),
            '\\' => match chars.next() {
                Some(',') => parts[last].push(','),
                Some(other) => parts[last].extend(['\\', other]),
                None => parts[last].push('\\'),
            },
            c => parts[last].push(c),
        }
    }
    parts.into_iter().map(|p| p.trim().to_owned()).filter(|p| !p.is_empty())
}

/// Parsed values. Asking for a key that the definition does not have, or as another type, panics: that is
/// a bug which a connector's first test finds. A key without a (valid) value gives the type's empty value.
#[derive(Clone, Debug)]
pub struct Values {
    keys: Vec<Key>,
    values: BTreeMap<&'static str, Value>,
    families: BTreeMap<&'static str, BTreeMap<String, Value>>,
}

impl Values {
    /// Whether the key has a value (given or by default).
    pub fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// Text or word of a list.
    pub fn text(&self, key: &str) -> &str {
        match self.get(key) {
            Some(Value::Text(text)) => text,
            None => "",
            Some(_) => self.misuse(key),
        }
    }

    /// A password.
    pub fn secret(&self, key: &str) -> Secret {
        match self.get(key) {
            Some(Value::Secret(secret)) => secret.clone(),
            None => Secret::new(""),
            Some(_) => self.misuse(key),
        }
    }

    /// `true` or `false`.
    pub fn bool(&self, key: &str) -> bool {
        match self.get(key) {
            Some(Value::Bool(b)) => *b,
            None => false,
            Some(_) => self.misuse(key),
        }
    }

    /// A whole number, or a size in bytes. Never negative unless the definition's bounds allow it.
    pub fn int(&self, key: &str) -> i64 {
        match self.get(key) {
            Some(Value::Int(n)) => *n,
            None => 0,
            Some(_) => self.misuse(key),
        }
    }

    /// [`int`](Self::int) for counts and sizes; a negative value is 0.
    pub fn count(&self, key: &str) -> usize {
        usize::try_from(self.int(key)).unwrap_or(0)
    }

    /// A duration.
    pub fn millis(&self, key: &str) -> Duration {
        Duration::from_millis(u64::try_from(self.int(key)).unwrap_or(0))
    }

    /// Regular expressions, each anchored at both ends and without regard to case.
    pub fn regexes(&self, key: &str) -> &[Regex] {
        match self.get(key) {
            Some(Value::Regexes(list)) => list,
            None => &[],
            Some(_) => self.misuse(key),
        }
    }

    /// What was given of a family of texts or passwords: what stood for the `*`, and the value.
    pub fn family(&self, key: &str) -> impl Iterator<Item = (&str, Secret)> {
        if !self.keys.iter().any(|k| k.name == key) {
            self.misuse::<()>(key);
        }
        self.families.get(key).into_iter().flatten().map(move |(member, value)| match value {
            Value::Text(text) => (member.as_str(), Secret::new(text)),
            Value::Secret(secret) => (member.as_str(), secret.clone()),
            _ => self.misuse(key),
        })
    }

    fn get(&self, key: &str) -> Option<&Value> {
        if !self.keys.iter().any(|k| k.name == key) {
            self.misuse::<()>(key);
        }
        self.values.get(key)
    }

    #[expect(clippy::panic, reason = "a bug in the connector's code, not in a configuration")]
    fn misuse<T>(&self, key: &str) -> T {
        panic!("the configuration definition has no key \"{key}\" of that type")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(raw: &[(&str, &str)]) -> Vec<String> {
        let definition = ConfigDef::default()
            .required("host", Kind::Text, "")
            .defaulted("port", Kind::Int(1, 65535), "5432", "")
            .defaulted("mode", Kind::OneOf(&["fast", "slow"]), "fast", "")
            .optional("password", Kind::Password, "")
            .optional("size", Kind::Bytes, "")
            .optional("tables", Kind::Regexes, "");
        let raw = raw.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let (values, problems) = definition.parse(&raw);
        assert!(!format!("{values:?}").contains("hunter2"));
        problems.into_iter().map(|p| format!("{}: {}", p.key, p.message)).collect()
    }

    #[test]
    fn reports_every_problem_at_once() {
        assert_eq!(check(&[("host", "h"), ("password", "hunter2")]), Vec::<String>::new());
        assert_eq!(
            check(&[("prot", "1"), ("port", "0"), ("mode", "quick"), ("size", "1 apple"), ("tables", "a(,b")]),
            [
                "prot: unknown key; did you mean \"port\"?",
                "host: missing: this key is required and has no default",
                "port: \"0\" is not a whole number from 1 to 65535",
                "mode: \"quick\" is not one of: fast, slow",
                "size: \"1 apple\" is not a size such as 64MiB",
                "tables: \"a(\" is not a regular expression: unclosed group",
            ]
        );
    }

    #[test]
    fn a_family_takes_any_member() {
        let definition = ConfigDef::default()
            .optional("s3.*", Kind::Text, "")
            .optional("s3.secret.*", Kind::Password, "")
            .optional("s3.region", Kind::Text, "")
            .optional("table.*.partition-by", Kind::Text, "");
        let raw = [("s3.region", "eu"), ("s3.endpoint", "e"), ("s3.secret.key", "k"), ("s3.", "?")];
        let raw = raw.into_iter().chain([("table.a.b.partition-by", "day(t)"), ("table..partition-by", "x")]);
        let (values, problems) = definition.parse(&raw.map(|(k, v)| (k.to_owned(), v.to_owned())).collect());
        let unknown: Vec<_> = problems.iter().map(|p| p.key.as_str()).collect();
        assert_eq!(unknown, ["s3.", "table..partition-by"]);
        let of = |family| values.family(family).map(|(m, v)| format!("{m}={}", v.expose())).collect::<Vec<_>>();
        assert_eq!(of("s3.*"), ["endpoint=e"]);
        assert_eq!(of("s3.secret.*"), ["key=k"]);
        assert_eq!(of("table.*.partition-by"), ["a.b=day(t)"]);
        assert_eq!(values.text("s3.region"), "eu");
    }

    #[test]
    fn regexes_match_whole_names_without_case() {
        let definition = ConfigDef::default().optional("tables", Kind::Regexes, "");
        let raw = BTreeMap::from([("tables".to_owned(), r"public\.a{1\,2}, Shop\.x|public\.y".to_owned())]);
        let (values, problems) = definition.parse(&raw);
        assert_eq!(problems, []);
        let hit = |name: &str| values.regexes("tables").iter().any(|r| r.is_match(name));
        assert!(hit("public.aa") && hit("shop.x") && hit("PUBLIC.Y"));
        assert!(!hit("public.aaa") && !hit("shop.xy") && !hit("my.public.y"));
    }

    #[test]
    fn sizes() {
        assert_eq!(parse_bytes("512MiB"), Some(512 << 20));
        assert_eq!(parse_bytes("1 GB"), Some(1_000_000_000));
        assert_eq!(parse_bytes("4096"), Some(4096));
        assert_eq!(parse_bytes("9999999TiB"), None);
        assert_eq!(parse_bytes("-1"), None);
    }
}
