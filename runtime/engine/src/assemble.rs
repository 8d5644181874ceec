//! From configurations to pipelines: finds each connector's plugin, takes the runtime's own keys out, lets
//! the plugin build, and ties sources to the sinks they name. Reports every problem at once; connects to
//! nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use connector_api::config::{ConfigDef, Kind, Problem, Values, nearest};
use connector_api::{Plugin, Role, Sink, Source};

use crate::retry::Retry;

/// A configured connector: its name and its resolved flat configuration.
///
/// It may hold secrets, so it has no `Debug`.
#[derive(Clone)]
pub struct Entry {
    /// The connector's name.
    pub name: String,
    /// Its keys, the runtime's included.
    pub config: BTreeMap<String, String>,
}

/// A source and the sink it feeds.
#[derive(Clone)]
pub struct Pipeline {
    /// Name of the source connector.
    pub source_name: Arc<str>,
    /// The source.
    pub source: Arc<dyn Source>,
    /// Name of the sink connector.
    pub sink_name: Arc<str>,
    /// The sink; several pipelines may share it.
    pub sink: Arc<dyn Sink>,
    /// How failures are tried again.
    pub retry: Retry,
}

/// What [`assemble`] makes of a configuration.
#[derive(Default)]
pub struct Assembly {
    /// One pipeline for each source that has no problem, in order of configuration.
    pub pipelines: Vec<Pipeline>,
    /// Every problem, with the connector's name, in order of configuration.
    pub problems: Vec<(String, Problem)>,
}

/// The keys of every connector that belong to the runtime and that no plugin sees.
pub fn runtime_keys() -> ConfigDef {
    ConfigDef::default()
        .required("connector.class", Kind::Text, "Which connector this is: its short name or its Java class")
        .optional("name", Kind::Text, "The connector's name; the same as the entry's, if given")
        .defaulted("tasks.max", Kind::Int(1, 1), "1", "How many tasks it may have; this version runs one")
        .optional("sink", Kind::Text, "On a source: the name of the sink connector that it feeds directly")
        .optional(
            MAX_RETRIES,
            Kind::Int(0, 1_000_000),
            "On a source: how often in a row a failure that may pass is tried again, of a split, a table or the \
             whole load; 0 for never. 5 if absent",
        )
        .optional(
            RETRY_BACKOFF,
            Kind::Millis,
            "On a source: the wait before the first retry; it doubles with each, up to a minute. 1000 if absent",
        )
}

const MAX_RETRIES: &str = "max.retries";
const RETRY_BACKOFF: &str = "retry.backoff.ms";
/// How failures are tried again unless configured.
const RETRY: Retry = Retry { max: 5, backoff: Duration::from_secs(1) };

/// Keys of Kafka Connect sinks that speak of topics.
const TOPIC_KEYS: [&str; 2] = ["topics", "topics.regex"];

/// A connector as far as it could be built.
struct Built<'a> {
    name: &'a str,
    own: Values,
    /// `None` when the plugin has found problems, or there is no plugin.
    role: Option<Role>,
}

/// Builds every connector and ties the pipelines. `complete` says whether the entries are all there are: if
/// some could not be read, that they are missing here is no problem of its own.
pub fn assemble(plugins: &[Plugin], entries: &[Entry], complete: bool) -> Assembly {
    let mut assembly = Assembly::default();
    let built: Vec<_> = entries.iter().map(|e| build(plugins, e, &mut assembly.problems)).collect();
    tie(built, complete, &mut assembly);
    // In the order of the file, whatever the order of the checks.
    let place = |name: &str| entries.iter().position(|e| e.name == name);
    assembly.problems.sort_by_key(|(name, _)| place(name));
    assembly
}

fn build<'a>(plugins: &[Plugin], entry: &'a Entry, problems: &mut Vec<(String, Problem)>) -> Built<'a> {
    let mut report = |problem: Problem| problems.push((entry.name.clone(), problem));
    let definition = runtime_keys();
    let is_own = |key: &str| definition.key(key).is_some();
    let (own, mut rest): (BTreeMap<_, _>, BTreeMap<_, _>) =
        entry.config.clone().into_iter().partition(|(key, _)| is_own(key));
    let (own, wrong) = definition.parse(&own);
    wrong.into_iter().for_each(&mut report);
    if own.has("name") && own.text("name") != entry.name {
        report(Problem::new("name", format!("\"{}\" is not the connector's name", own.text("name"))));
    }
    let class = own.text("connector.class");
    let mut role = None;
    if let Some(plugin) = plugins.iter().find(|p| p.answers_to(class)) {
        let theirs = (plugin.definition)();
        let is_theirs = |key: &str| theirs.key(key).is_some();
        for key in TOPIC_KEYS {
            if !is_theirs(key) && rest.remove(key).is_some() {
                let message = "this version does not read Kafka topics: remove the key, and let a source feed \
                               the sink by its key \"sink\"";
                report(Problem::new(key, message));
            }
        }
        for key in rest.keys().filter(|k| !is_theirs(k)).cloned().collect::<Vec<_>>() {
            let known = || definition.keys().iter().map(|k| k.name);
            let (ours, nearer) = (nearest(&key, known()), nearest(&key, theirs.keys().iter().map(|k| k.name)));
            // The plugin would call it unknown without knowing the runtime's keys.
            if !ours.is_empty() && nearer.is_empty() {
                rest.remove(&key);
                report(Problem::new(key, format!("unknown key{ours}")));
            }
        }
        match (plugin.build)(&rest) {
            Ok(built) => role = Some(built),
            Err(wrong) => wrong.into_iter().for_each(report),
        }
    } else if own.has("connector.class") {
        let names = || plugins.iter().map(|p| p.name);
        let hint =
            nearest(class, plugins.iter().flat_map(|p| std::iter::once(p.name).chain(p.aliases.iter().copied())));
        let known = names().collect::<Vec<_>>().join(", ");
        report(Problem::new("connector.class", format!("no connector is called \"{class}\"{hint} (known: {known})")));
    }
    Built { name: &entry.name, own, role }
}

fn retry(own: &Values) -> Retry {
    Retry {
        max: if own.has(MAX_RETRIES) { u32::try_from(own.int(MAX_RETRIES)).unwrap_or(u32::MAX) } else { RETRY.max },
        backoff: if own.has(RETRY_BACKOFF) { own.millis(RETRY_BACKOFF) } else { RETRY.backoff },
    }
}

fn tie(built: Vec<Built<'_>>, complete: bool, assembly: &mut Assembly) {
    let mut report = |name: &str, key: &str, message: String| {
        assembly.problems.push((name.to_owned(), Problem::new(key, message)));
    };
    let named: Vec<_> = built.iter().map(|b| b.own.text("sink").to_owned()).collect();
    let (mut sources, mut unfed) = (Vec::new(), Vec::new());
    let mut sinks: BTreeMap<&str, Option<Arc<dyn Sink>>> = BTreeMap::new();
    for Built { name, own, role } in built {
        match role {
            Some(Role::Source(source)) => sources.push((name, own, Arc::<dyn Source>::from(source))),
            Some(Role::Sink(sink)) => {
                if own.has("sink") {
                    report(name, "sink", "only a source names a sink; this is one".into());
                }
                for key in [MAX_RETRIES, RETRY_BACKOFF].into_iter().filter(|key| own.has(key)) {
                    report(name, key, "is a key of the source that feeds this sink: set it there".into());
                }
                if !named.iter().any(|n| n == name) {
                    unfed.push(name);
                }
                sinks.insert(name, Some(Arc::from(sink)));
            }
            // It has problems enough; whether it is a sink is not known.
            None => {
                sinks.insert(name, None);
            }
        }
    }
    // A source that names its sink wrongly is the problem; that the sink goes unfed only follows from it.
    if complete && sources.iter().all(|(_, own, _)| sinks.contains_key(own.text("sink"))) {
        for name in unfed {
            report(name, "name", "no source feeds this sink: name it in a source's key \"sink\"".into());
        }
    }
    for (name, own, source) in &sources {
        let wanted = own.text("sink");
        match sinks.get(wanted) {
            Some(Some(sink)) => assembly.pipelines.push(Pipeline {
                source_name: (*name).into(),
                source: Arc::clone(source),
                sink_name: wanted.into(),
                sink: Arc::clone(sink),
                retry: retry(own),
            }),
            Some(None) => {}
            None if wanted.is_empty() => report(
                name,
                "sink",
                "missing: name the sink connector to feed; without one a source would write to Kafka topics, which \
                 this version does not do"
                    .into(),
            ),
            None if sources.iter().any(|(other, ..)| *other == wanted) => {
                report(name, "sink", format!("\"{wanted}\" is a source"));
            }
            // It may be one of those that are missing.
            None if !complete => {}
            None => {
                let hint = nearest(wanted, sinks.keys().copied());
                report(name, "sink", format!("no connector is called \"{wanted}\"{hint}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use connector_api::testing::memory::{MemorySink, MemorySource};
    use connector_api::{Connector, ConnectorConfig, ConnectorKind};

    use super::*;

    struct Reader;
    struct Writer;
    struct Config;

    impl ConnectorConfig for Config {
        fn definition() -> ConfigDef {
            ConfigDef::default().defaulted("size", Kind::Int(1, 9), "1", "").optional("side", Kind::Password, "")
        }

        fn from_values(_: &Values) -> Result<Self, Vec<Problem>> {
            Ok(Self)
        }
    }

    impl Connector for Reader {
        const NAME: &'static str = "reader";
        const VERSION: &'static str = "1";
        const KIND: ConnectorKind = ConnectorKind::Source;
        const ALIASES: &'static [&'static str] = &["org.example.Reader"];
        type Config = Config;

        fn build(_: Config) -> Role {
            Role::Source(Box::new(MemorySource::new(Vec::new())))
        }
    }

    impl Connector for Writer {
        const NAME: &'static str = "writer";
        const VERSION: &'static str = "1";
        const KIND: ConnectorKind = ConnectorKind::Sink;
        type Config = Config;

        fn build(_: Config) -> Role {
            Role::Sink(Box::new(MemorySink::default()))
        }
    }

    /// Says that it is a sink, and is a source.
    struct Liar;

    impl Connector for Liar {
        const NAME: &'static str = "liar";
        const VERSION: &'static str = "1";
        const KIND: ConnectorKind = ConnectorKind::Sink;
        type Config = Config;

        fn build(config: Config) -> Role {
            Reader::build(config)
        }
    }

    /// Each entry is `name: key=value key=value`; the pipelines as `source>sink`, then the problems.
    fn check(entries: &[&str]) -> Vec<String> {
        check_of(entries, true)
    }

    fn check_of(entries: &[&str], complete: bool) -> Vec<String> {
        let entry = |text: &&str| {
            let (name, config) = text.split_once(": ").unwrap();
            let pairs = config.split(' ').map(|pair| pair.split_once('=').unwrap());
            Entry { name: name.into(), config: pairs.map(|(k, v)| (k.into(), v.into())).collect() }
        };
        let entries: Vec<_> = entries.iter().map(entry).collect();
        let assembly =
            assemble(&[Plugin::of::<Reader>(), Plugin::of::<Writer>(), Plugin::of::<Liar>()], &entries, complete);
        let pipelines = assembly.pipelines.iter().map(|p| format!("{}>{}", p.source_name, p.sink_name));
        let problems = assembly.problems.iter().map(|(name, p)| format!("{name}: {}: {}", p.key, p.message));
        pipelines.chain(problems).collect()
    }

    #[test]
    fn ties_sources_to_sinks() {
        let lake = "lake: connector.class=writer tasks.max=1 name=lake";
        assert_eq!(check(&["shop: connector.class=reader sink=lake", lake]), ["shop>lake"]);
        let two = ["lake: connector.class=writer", "a: connector.class=org.example.Reader sink=lake size=3"];
        assert_eq!(check(&[two[0], two[1], "b: connector.class=reader sink=lake"]), ["a>lake", "b>lake"]);
    }

    #[test]
    fn reports_every_problem_in_order() {
        assert_eq!(
            check(&[
                "a: connector.class=raeder sink=lake",
                "b: sink=lake",
                "c: connector.class=reader sink=lak size=10 sinc=x zzzzzz=1 side=hunter2",
                "d: connector.class=reader name=dd tasks.max=4",
                "e: connector.class=reader sink=d",
                "lake: connector.class=writer topics.regex=.* sink=lake",
                "f: connector.class=reader sink=lak",
            ]),
            [
                "a: connector.class: no connector is called \"raeder\"; did you mean \"reader\"? (known: reader, writer, liar)",
                "b: connector.class: missing: this key is required and has no default",
                "c: sinc: unknown key; did you mean \"sink\"?",
                "c: zzzzzz: unknown key",
                "c: size: \"10\" is not a whole number from 1 to 9",
                "d: tasks.max: \"4\" is not a whole number from 1 to 1",
                "d: name: \"dd\" is not the connector's name",
                "d: sink: missing: name the sink connector to feed; without one a source would write to Kafka topics, \
                 which this version does not do",
                "e: sink: \"d\" is a source",
                "lake: topics.regex: this version does not read Kafka topics: remove the key, and let a source feed \
                 the sink by its key \"sink\"",
                "lake: sink: only a source names a sink; this is one",
                "f: sink: no connector is called \"lak\"; did you mean \"lake\"?",
            ]
        );
        // One mistake, one problem.
        assert_eq!(
            check(&["shop: connector.class=reader sink=lakes", "lake: connector.class=writer"]),
            ["shop: sink: no connector is called \"lakes\"; did you mean \"lake\"?"]
        );
        assert_eq!(
            check(&["lake: connector.class=writer"]),
            ["lake: name: no source feeds this sink: name it in a source's key \"sink\""]
        );
        assert_eq!(
            check(&["shop: connector.class=liar sink=lake", "lake: connector.class=writer"])[0],
            "shop: connector.class: a bug in the connector \"liar\": it calls itself a sink and is a source"
        );
        // What follows from a connector that could not be read is not said again.
        assert_eq!(check_of(&["shop: connector.class=reader sink=lake"], false), Vec::<String>::new());
        assert_eq!(check_of(&["lake: connector.class=writer"], false), Vec::<String>::new());
    }
}
