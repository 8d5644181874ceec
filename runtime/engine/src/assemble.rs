//! From configurations to pipelines: finds each connector's plugin, takes the runtime's own keys out, lets
//! the plugin build, ties sources to the sinks they name and gives a sink that has topics the log to follow.
//! Reports every problem at once; connects to nothing.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use connector_api::config::{ConfigDef, Kind, Problem, Values, nearest};
use connector_api::{ChangeLog, ConnectorKind, Plugin, Role, Sink, Source};

use crate::retry::{Patience, Retry};

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
    /// The log that the sink follows once it is loaded, if it does.
    pub log: Option<Arc<dyn ChangeLog>>,
    /// How failures are tried again.
    pub retry: Retry,
}

/// A sink and the log that it follows.
#[derive(Clone)]
pub struct Following {
    /// Name of the sink connector.
    pub sink_name: Arc<str>,
    /// The sink.
    pub sink: Arc<dyn Sink>,
    /// The log.
    pub log: Arc<dyn ChangeLog>,
    /// How failures are tried again.
    pub patience: Patience,
    /// How many tasks the log is dealt to.
    pub tasks: u32,
}

/// What [`assemble`] makes of a configuration.
#[derive(Default)]
pub struct Assembly {
    /// One pipeline for each source that has no problem, in order of configuration.
    pub pipelines: Vec<Pipeline>,
    /// One for each sink that has topics, likewise.
    pub followings: Vec<Following>,
    /// Every problem, with the connector's name, in order of configuration.
    pub problems: Vec<(String, Problem)>,
}

/// The keys of every connector that belong to the runtime and that no plugin sees.
pub fn runtime_keys() -> ConfigDef {
    ConfigDef::default()
        .required("connector.class", Kind::Text, "Which connector this is: its short name or its Java class")
        .optional("name", Kind::Text, "The connector's name; the same as the entry's, if given")
        .defaulted(
            TASKS_MAX,
            Kind::Int(1, MOST_TASKS),
            "1",
            "How many tasks it may have: of a sink with topics so many follow its tables, dealt among them; everything else \
             has one",
        )
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
        .optional(
            RETRY_TIMEOUT,
            Kind::Int(-1, 1 << 40),
            "On a sink with topics: how long, in milliseconds, a failure that may pass is tried again, of a table or \
             of the whole; -1 for ever. -1 if absent",
        )
        .optional(
            RETRY_DELAY,
            Kind::Millis,
            "On a sink with topics: the longest wait between two attempts; the first is 300 ms, and each doubles. \
             60000 if absent",
        )
}

const TASKS_MAX: &str = "tasks.max";
/// Each has threads, connections and a share of the memory.
const MOST_TASKS: i64 = 64;
const MAX_RETRIES: &str = "max.retries";
const RETRY_BACKOFF: &str = "retry.backoff.ms";
const RETRY_TIMEOUT: &str = "errors.retry.timeout";
const RETRY_DELAY: &str = "errors.retry.delay.max.ms";
/// How failures of a load are tried again unless configured.
const RETRY: Retry = Retry { max: 5, backoff: Duration::from_secs(1) };
/// How failures are tried again while a log is followed, unless configured.
const PATIENCE: Patience = Patience { timeout: None, longest: Duration::from_secs(60) };

/// Keys of a sink, as in Kafka Connect, that give it a log to follow.
const TOPIC_KEYS: [&str; 2] = ["topics", "topics.regex"];

/// A connector as far as it could be built.
struct Built<'a> {
    name: &'a str,
    own: Values,
    /// `None` when a plugin has found problems, or there is no plugin.
    role: Option<Role>,
    /// Whether it is a sink that is to follow a log.
    has_topics: bool,
    /// The log, if it could be built.
    log: Option<Arc<dyn ChangeLog>>,
}

/// Builds every connector and ties the pipelines. `complete` says whether the entries are all there are: if
/// some could not be read, that they are missing here is no problem of its own. `lent` are keys of the worker that
/// a log takes where the sink that follows it has none of its own.
pub fn assemble(plugins: &[Plugin], entries: &[Entry], complete: bool, lent: &BTreeMap<String, String>) -> Assembly {
    let mut assembly = Assembly::default();
    let built: Vec<_> = entries.iter().map(|e| build(plugins, e, lent, &mut assembly.problems)).collect();
    tie(built, complete, &mut assembly);
    // What a sink and its log have both found is said once.
    let mut said = HashSet::new();
    assembly.problems.retain(|(name, p)| said.insert((name.clone(), p.key.clone(), p.message.clone())));
    // In the order of the file, whatever the order of the checks.
    let place = |name: &str| entries.iter().position(|e| e.name == name);
    assembly.problems.sort_by_key(|(name, _)| place(name));
    assembly
}

fn build<'a>(
    plugins: &[Plugin],
    entry: &'a Entry,
    lent: &BTreeMap<String, String>,
    problems: &mut Vec<(String, Problem)>,
) -> Built<'a> {
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
    let (mut role, mut has_topics, mut log) = (None, false, None);
    match plugins.iter().find(|p| p.answers_to(class)) {
        Some(plugin) if plugin.kind == ConnectorKind::Log => {
            let message = format!("\"{class}\" is a log: a sink with the key \"topics\" follows it");
            report(Problem::new("connector.class", message));
        }
        Some(plugin) => {
            let theirs = (plugin.definition)();
            let topics = TOPIC_KEYS.into_iter().find(|key| theirs.key(key).is_none() && rest.contains_key(*key));
            let followed = topics.filter(|_| plugin.kind == ConnectorKind::Sink).map(|key| {
                let log = plugins.iter().find(|p| p.kind == ConnectorKind::Log);
                log.ok_or_else(|| Problem::new(key, "this program has no connector that reads topics"))
            });
            let logs = match &followed {
                Some(Ok(plugin)) => (plugin.definition)(),
                _ => ConfigDef::default(),
            };
            for key in rest.keys().filter(|k| theirs.key(k).is_none()).cloned().collect::<Vec<_>>() {
                if logs.key(&key).is_some() {
                    continue;
                }
                let known = || definition.keys().iter().chain(logs.keys()).map(|k| k.name);
                let (ours, nearer) = (nearest(&key, known()), nearest(&key, theirs.keys().iter().map(|k| k.name)));
                // The plugin would call it unknown without knowing the other keys.
                if !ours.is_empty() && nearer.is_empty() {
                    rest.remove(&key);
                    report(Problem::new(key, format!("unknown key{ours}")));
                }
            }
            has_topics = followed.is_some();
            match followed {
                Some(Ok(plugin)) => {
                    let (given, left) = divided(rest, &logs, &theirs, lent);
                    rest = left;
                    match (plugin.build)(&given) {
                        Ok(Role::Log(built)) => log = Some(Arc::from(built)),
                        Ok(_) => {}
                        Err(wrong) => wrong.into_iter().for_each(&mut report),
                    }
                }
                Some(Err(none)) => {
                    rest.retain(|key, _| !TOPIC_KEYS.contains(&key.as_str()));
                    report(none);
                }
                None => {}
            }
            match (plugin.build)(&rest) {
                Ok(built) => role = Some(built),
                Err(wrong) => wrong.into_iter().for_each(report),
            }
        }
        None if own.has("connector.class") => {
            let all = || plugins.iter().filter(|p| p.kind != ConnectorKind::Log);
            let hint = nearest(class, all().flat_map(|p| std::iter::once(p.name).chain(p.aliases.iter().copied())));
            let known = all().map(|p| p.name).collect::<Vec<_>>().join(", ");
            let message = format!("no connector is called \"{class}\"{hint} (known: {known})");
            report(Problem::new("connector.class", message));
        }
        None => {}
    }
    Built { name: &entry.name, own, role, has_topics, log }
}

/// The keys of the log, with those that are lent, and the keys of the sink that follows it; one that both have goes to
/// both.
fn divided(
    given: BTreeMap<String, String>,
    logs: &ConfigDef,
    sinks: &ConfigDef,
    lent: &BTreeMap<String, String>,
) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
    let (mut of_log, mut of_sink) = (lent.clone(), BTreeMap::new());
    of_log.retain(|key, _| logs.key(key).is_some());
    for (key, value) in given {
        let is_logs = logs.key(&key).is_some();
        if is_logs && sinks.key(&key).is_some() {
            of_sink.insert(key.clone(), value.clone());
        }
        if is_logs {
            of_log.insert(key, value)
        } else {
            of_sink.insert(key, value)
        };
    }
    (of_log, of_sink)
}

fn retry(own: &Values) -> Retry {
    Retry {
        max: if own.has(MAX_RETRIES) { u32::try_from(own.int(MAX_RETRIES)).unwrap_or(u32::MAX) } else { RETRY.max },
        backoff: if own.has(RETRY_BACKOFF) { own.millis(RETRY_BACKOFF) } else { RETRY.backoff },
    }
}

fn patience(own: &Values) -> Patience {
    let timeout = if own.has(RETRY_TIMEOUT) {
        u64::try_from(own.int(RETRY_TIMEOUT)).ok().map(Duration::from_millis)
    } else {
        PATIENCE.timeout
    };
    let longest = if own.has(RETRY_DELAY) { own.millis(RETRY_DELAY) } else { PATIENCE.longest };
    Patience { timeout, longest }
}

/// A sink that has no problem, and the log that it follows.
#[derive(Clone)]
struct Fed {
    sink: Arc<dyn Sink>,
    log: Option<Arc<dyn ChangeLog>>,
}

fn tie(built: Vec<Built<'_>>, complete: bool, assembly: &mut Assembly) {
    let mut report = |name: &str, key: &str, message: String| {
        assembly.problems.push((name.to_owned(), Problem::new(key, message)));
    };
    let named: Vec<_> = built.iter().map(|b| b.own.text("sink").to_owned()).collect();
    let (mut sources, mut unfed) = (Vec::new(), Vec::new());
    let mut sinks: BTreeMap<&str, Option<Fed>> = BTreeMap::new();
    for Built { name, own, role, has_topics, log } in built {
        let (loads, follows) = (&[MAX_RETRIES, RETRY_BACKOFF], &[RETRY_TIMEOUT, RETRY_DELAY]);
        let mut misplaced = |keys: &[&str], message: &str| {
            keys.iter().filter(|key| own.has(key)).for_each(|key| report(name, key, message.to_owned()));
        };
        match role {
            Some(Role::Source(source)) => {
                misplaced(follows, "is a key of a sink with topics; a source has max.retries");
                sources.push((name, own, Arc::<dyn Source>::from(source)));
            }
            Some(Role::Sink(sink)) => {
                let sink = Arc::from(sink);
                misplaced(&["sink"], "only a source names a sink; this is one");
                misplaced(loads, "is a key of the source that feeds this sink: set it there");
                match &log {
                    Some(log) => assembly.followings.push(Following {
                        sink_name: name.into(),
                        sink: Arc::clone(&sink),
                        log: Arc::clone(log),
                        patience: patience(&own),
                        tasks: u32::try_from(own.int(TASKS_MAX)).unwrap_or(1),
                    }),
                    None if has_topics => {}
                    None => misplaced(follows, "is a key of a sink with topics; this one has none"),
                }
                if !has_topics && !named.iter().any(|n| n == name) {
                    unfed.push(name);
                }
                sinks.insert(name, Some(Fed { sink, log }));
            }
            // It has problems enough; whether it is a sink is not known.
            Some(Role::Log(_)) | None => {
                sinks.insert(name, None);
            }
        }
    }
    // A source that names its sink wrongly is the problem; that the sink goes unfed only follows from it.
    if complete && sources.iter().all(|(_, own, _)| sinks.contains_key(own.text("sink"))) {
        for name in unfed {
            let message = "nothing feeds this sink: name it in a source's key \"sink\", or give it \"topics\"";
            report(name, "name", message.into());
        }
    }
    for (name, own, source) in &sources {
        let wanted = own.text("sink");
        match sinks.get(wanted) {
            Some(Some(fed)) => assembly.pipelines.push(Pipeline {
                source_name: (*name).into(),
                source: Arc::clone(source),
                sink_name: wanted.into(),
                sink: Arc::clone(&fed.sink),
                log: fed.log.clone(),
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
    use connector_api::testing::memory::{MemoryLog, MemorySink, MemorySource};
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

    struct Topics;
    struct TopicsConfig;

    impl ConnectorConfig for TopicsConfig {
        fn definition() -> ConfigDef {
            ConfigDef::default()
                .required("topics", Kind::Text, "")
                .required("bootstrap.servers", Kind::Text, "")
                .optional("size", Kind::Int(1, 9), "")
                .optional("group", Kind::Text, "")
        }

        fn from_values(values: &Values) -> Result<Self, Vec<Problem>> {
            match values.text("bootstrap.servers") {
                "" | "lent" | "own" => Ok(Self),
                _ => Err(vec![Problem::new("bootstrap.servers", "not a broker")]),
            }
        }
    }

    impl Connector for Topics {
        const NAME: &'static str = "topics";
        const VERSION: &'static str = "1";
        const KIND: ConnectorKind = ConnectorKind::Log;
        type Config = TopicsConfig;

        fn build(_: TopicsConfig) -> Role {
            Role::Log(Box::new(MemoryLog::new(1)))
        }
    }

    /// The plugins of a program that has no log.
    const PLUGINS: &[Plugin] = &[Plugin::of::<Reader>(), Plugin::of::<Writer>(), Plugin::of::<Liar>()];

    /// Each entry is `name: key=value key=value`; the pipelines as `source>sink`, then the problems.
    fn check(entries: &[&str]) -> Vec<String> {
        check_of(entries, true)
    }

    fn check_of(entries: &[&str], complete: bool) -> Vec<String> {
        check_with(PLUGINS, &[], entries, complete)
    }

    /// The same in a program that has a log, and a worker that lends a key.
    fn check_log(lent: &[(&str, &str)], entries: &[&str]) -> Vec<String> {
        check_with(&[PLUGINS, &[Plugin::of::<Topics>()]].concat(), lent, entries, true)
    }

    fn check_with(plugins: &[Plugin], lent: &[(&str, &str)], entries: &[&str], complete: bool) -> Vec<String> {
        let entry = |text: &&str| {
            let (name, config) = text.split_once(": ").unwrap();
            let pairs = config.split(' ').map(|pair| pair.split_once('=').unwrap());
            Entry { name: name.into(), config: pairs.map(|(k, v)| (k.into(), v.into())).collect() }
        };
        let entries: Vec<_> = entries.iter().map(entry).collect();
        let lent = lent.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let assembly = assemble(plugins, &entries, complete, &lent);
        let way = |p: &Pipeline| {
            let log = if p.log.is_some() { "+log" } else { "" };
            format!("{}>{}{log}", p.source_name, p.sink_name)
        };
        let pipelines = assembly.pipelines.iter().map(way);
        let follows = |f: &Following| {
            let Patience { timeout, longest } = f.patience;
            let (timeout, longest) = (timeout.map(|t| t.as_millis()), longest.as_millis());
            format!("{} follows with {} tasks, {timeout:?}, {longest}", f.sink_name, f.tasks)
        };
        let followings = assembly.followings.iter().map(follows);
        let problems = assembly.problems.iter().map(|(name, p)| format!("{name}: {}: {}", p.key, p.message));
        pipelines.chain(followings).chain(problems).collect()
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
                "d: connector.class=reader name=dd tasks.max=65",
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
                "d: tasks.max: \"65\" is not a whole number from 1 to 64",
                "d: name: \"dd\" is not the connector's name",
                "d: sink: missing: name the sink connector to feed; without one a source would write to Kafka topics, \
                 which this version does not do",
                "e: sink: \"d\" is a source",
                "lake: topics.regex: this program has no connector that reads topics",
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
            ["lake: name: nothing feeds this sink: name it in a source's key \"sink\", or give it \"topics\""]
        );
        assert_eq!(
            check(&["shop: connector.class=liar sink=lake", "lake: connector.class=writer"])[0],
            "shop: connector.class: a bug in the connector \"liar\": it calls itself a sink and is a source"
        );
        // What follows from a connector that could not be read is not said again.
        assert_eq!(check_of(&["shop: connector.class=reader sink=lake"], false), Vec::<String>::new());
        assert_eq!(check_of(&["lake: connector.class=writer"], false), Vec::<String>::new());
    }

    #[test]
    fn a_sink_with_topics_follows_the_log() {
        let lent = &[("bootstrap.servers", "lent"), ("other", "x")];
        let sink = "lake: connector.class=writer topics=a,b group=g size=3 side=s";
        assert_eq!(check_log(lent, &[sink]), ["lake follows with 1 tasks, None, 60000"]);
        let timed = format!("{sink} tasks.max=3 errors.retry.timeout=5000 errors.retry.delay.max.ms=100");
        assert_eq!(check_log(lent, &[&timed]), ["lake follows with 3 tasks, Some(5000), 100"]);
        let for_ever = format!("{sink} errors.retry.timeout=-1");
        assert_eq!(check_log(lent, &[&for_ever]), ["lake follows with 1 tasks, None, 60000"]);
        let source = "shop: connector.class=reader sink=lake";
        assert_eq!(check_log(lent, &[source, sink]), ["shop>lake+log", "lake follows with 1 tasks, None, 60000"]);
        // Its own brokers come before those of the worker; without any that is its problem.
        let check = |lent: &[(&str, &str)], more: &str| {
            check_log(lent, &[&format!("lake: connector.class=writer topics=a{more}")]).pop().unwrap()
        };
        assert_eq!(
            check(&[("bootstrap.servers", "bad")], " bootstrap.servers=own"),
            "lake follows with 1 tasks, None, 60000"
        );
        assert_eq!(check(&[("bootstrap.servers", "bad")], ""), "lake: bootstrap.servers: not a broker");
        let missing = "lake: bootstrap.servers: missing: this key is required and has no default";
        assert_eq!(check(&[], ""), missing);
    }

    #[test]
    fn what_is_wrong_with_a_log_is_said_once_and_where() {
        let lent = &[("bootstrap.servers", "lent")];
        assert_eq!(
            check_log(
                lent,
                &[
                    "a: connector.class=writer topics=t size=10 gruop=g zzzzzz=1",
                    "b: connector.class=topics topics=t",
                    "c: connector.class=writer group=g errors.retry.timeout=1",
                    "d: connector.class=writer topics=t max.retries=3 errors.retry.timeout=-2",
                    "e: connector.class=reader sink=a topics=t errors.retry.delay.max.ms=5",
                    "f: connector.class=topic",
                ]
            )
            .into_iter()
            .filter(|line| !line.contains(" follows with "))
            .collect::<Vec<_>>(),
            [
                "a: gruop: unknown key; did you mean \"group\"?",
                "a: size: \"10\" is not a whole number from 1 to 9",
                "a: zzzzzz: unknown key",
                "b: connector.class: \"topics\" is a log: a sink with the key \"topics\" follows it",
                "c: group: unknown key",
                "d: errors.retry.timeout: \"-2\" is not a whole number from -1 to 1099511627776",
                "d: max.retries: is a key of the source that feeds this sink: set it there",
                "e: topics: unknown key",
                "f: connector.class: no connector is called \"topic\" (known: reader, writer, liar)",
            ]
        );
        let misplaced =
            ["lake: connector.class=writer errors.retry.timeout=1", "shop: connector.class=reader sink=lake"];
        assert_eq!(
            check_log(lent, &misplaced)[1],
            "lake: errors.retry.timeout: is a key of a sink with topics; this one has none"
        );
    }
}
