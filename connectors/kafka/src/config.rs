//! The keys of a sink that follows topics: Kafka Connect's names, and Debezium's where it is Debezium's choice.

use std::collections::BTreeMap;
use std::time::Duration;

use connector_api::config::{ConfigDef, Kind, Problem, Values};
use connector_api::{ConnectorConfig, Secret, TableId};
use connector_debezium::{Binary, Decimals, Format, Hstore, Intervals, Modes, PLACEHOLDER, Times};
use regex::Regex;

use crate::dead::DeadConfig;
use crate::registry::RegistryConfig;

const TOPICS: &str = "topics";
const TOPICS_REGEX: &str = "topics.regex";
const SERVERS: &str = "bootstrap.servers";
const OVERRIDES: &str = "consumer.override.*";
const RESET: &str = "auto.offset.reset";
const MAX_AGE: &str = "metadata.max.age.ms";
const TOLERANCE: &str = "errors.tolerance";
const DEAD: &str = "errors.deadletterqueue.topic.name";
const COPIES: &str = "errors.deadletterqueue.topic.replication.factor";
const HEADERS: &str = "errors.deadletterqueue.context.headers.enable";
const LOGGED: &str = "errors.log.enable";
const PRODUCER: &str = "producer.override.*";
const TRANSACTIONS: &str = "topic.transaction";
const KEYLESS: &str = "keyless.redelivery";
const IDENTITY: &str = "replica.identity.autoset.values";
const NOT_GIVEN: &str = "not given";

/// What consumers may not be told: it would change which messages are read, or who keeps the offsets.
const OURS: [&str; 7] = [
    "auto.offset.reset",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.partition.eof",
    "group.instance.id",
    "isolation.level",
    "bootstrap.servers",
];

/// Everything that the log needs.
#[derive(Clone, Debug)]
pub struct KafkaConfig {
    pub(crate) topics: Topics,
    /// What the names of topics of transaction metadata end with; empty: they are not read.
    pub(crate) transactions: String,
    pub(crate) servers: String,
    /// What goes to the client as it is.
    pub(crate) overrides: BTreeMap<String, Secret>,
    pub(crate) key: Format,
    pub(crate) value: Format,
    pub(crate) registry: Option<RegistryConfig>,
    pub(crate) modes: Modes,
    /// Whether a table that is not in the sink may begin after the first offset of its topic.
    pub(crate) may_begin_late: bool,
    /// How often new topics and partitions are looked for.
    pub(crate) max_age: Duration,
    /// Whether an event of a table without a key is applied where it cannot be told from a repeated one.
    pub(crate) accepts_ties: bool,
    /// Where records go that cannot be decoded; else they stop their table.
    pub(crate) dead: Option<DeadConfig>,
    /// What goes to the dead-letter queue's producer as it is.
    pub(crate) producer: BTreeMap<String, Secret>,
    /// Tables of which the source logs whole rows.
    whole_rows: Vec<Regex>,
}

/// Which topics are read.
#[derive(Clone, Debug)]
pub(crate) enum Topics {
    /// These.
    Named(Vec<String>),
    /// Those whose whole name matches.
    Matching(Regex),
}

impl Topics {
    /// Whether a topic is read.
    pub(crate) fn has(&self, topic: &str) -> bool {
        match self {
            Self::Named(names) => names.iter().any(|name| name == topic),
            Self::Matching(regex) => regex.is_match(topic),
        }
    }
}

impl KafkaConfig {
    /// Whether the source logs whole rows of that table.
    pub(crate) fn logs_whole_rows(&self, table: &TableId) -> bool {
        let name = table.to_string();
        self.whole_rows.iter().any(|regex| regex.is_match(&name))
    }
}

impl ConnectorConfig for KafkaConfig {
    fn definition() -> ConfigDef {
        let text = |definition: ConfigDef, key, doc| definition.optional(key, Kind::Text, doc);
        let definition = ConfigDef::default()
            .optional(TOPICS, Kind::Text, "Topics of Debezium's events to follow, separated by commas.")
            .optional(
                TOPICS_REGEX,
                Kind::Text,
                "Regular expression that the whole name of a topic must match to be followed; not together with topics. \
                 Topics made later are found while running.",
            )
            .required(SERVERS, Kind::Text, "Kafka's brokers, `host:port` separated by commas; the worker's unless given.")
            .optional(
                OVERRIDES,
                Kind::Password,
                "Goes to the consumer as it is, as librdkafka names it: `consumer.override.security.protocol`, \
                 `consumer.override.sasl.mechanism`, `consumer.override.ssl.ca.location`, `consumer.override.group.id` …",
            )
            .defaulted(
                "key.converter",
                Kind::Text,
                JSON,
                "How keys are written: Kafka Connect's JsonConverter, or an AvroConverter (any with Confluent's wire \
                 format).",
            )
            .optional(
                "key.converter.*",
                Kind::Password,
                "The key converter's own keys, as for value.converter.*, and the same where both are Avro.",
            )
            .defaulted("value.converter", Kind::Text, JSON, "How values are written; likewise.")
            .optional(
                "value.converter.*",
                Kind::Password,
                "The value converter's own keys: schema.registry.url (several separated by commas), \
                 basic.auth.user.info (`user:password`), schema.registry.ssl.truststore.location (PEM). \
                 schemas.enable is not needed: each message tells.",
            )
            .defaulted(
                RESET,
                Kind::OneOf(&["none", "earliest"]),
                "none",
                "Where a table begins that is not in the lake while its topic has lost its beginning: none stops it, \
                 earliest takes what there is, without the rows of before.",
            )
            .defaulted(MAX_AGE, Kind::Millis, "30000", "How often new topics and partitions are looked for.")
            .defaulted(
                TRANSACTIONS,
                Kind::Text,
                "transaction",
                "Debezium's topic.transaction: where there is a topic `{prefix}.{topic.transaction}` beside those that \
                 are followed (provide.transaction.metadata=true), it tells when transactions are whole. Empty: it is \
                 not read.",
            )
            .defaulted(
                KEYLESS,
                Kind::OneOf(&["stop", "accept"]),
                "stop",
                "What becomes of a table without a key when an event cannot be told from one delivered twice (several \
                 rows share one place in the log, and Debezium sends no transaction metadata): stop it, or accept a \
                 row twice.",
            )
            .defaulted(
                TOLERANCE,
                Kind::OneOf(&["none", "all"]),
                "none",
                "What becomes of a record that cannot be decoded: none stops its table, all sets it aside in the \
                 dead-letter queue, which must be named then. One whose key cannot be read, or that is of another \
                 shape than the table, stops its table always.",
            )
            .optional(DEAD, Kind::Text, "Topic of the dead-letter queue; made if there is none.")
            .defaulted(COPIES, Kind::Int(-1, 32767), "3", "Copies of that topic if it is made; -1: as the brokers have it.")
            .defaulted(
                HEADERS,
                Kind::Bool,
                "true",
                "Whether headers `__connect.errors.*` of such records say where they come from and why they are there.",
            )
            .defaulted(LOGGED, Kind::Bool, "false", "Whether each record that is set aside is logged too.")
            .optional(
                PRODUCER,
                Kind::Password,
                "Goes to the dead-letter queue's producer as it is, as consumer.override.* to the consumer.",
            )
            .optional(
                IDENTITY,
                Kind::Text,
                "Tables with REPLICA IDENTITY FULL, as Debezium takes it: `public\\.orders:FULL`, separated by commas.",
            );
        let definition =
            text(definition, "time.precision.mode", "Debezium's time.precision.mode, where messages carry no schema.");
        let definition = text(definition, "decimal.handling.mode", "Debezium's decimal.handling.mode, likewise.");
        let definition =
            text(definition, "binary.handling.mode", "Debezium's binary.handling.mode: how text stands for bytes.");
        let definition = text(definition, "hstore.handling.mode", "Debezium's hstore.handling.mode.");
        let definition = text(definition, "interval.handling.mode", "Debezium's interval.handling.mode.");
        definition
            .optional("include.unknown.datatypes", Kind::Bool, "Debezium's include.unknown.datatypes.")
            .defaulted(
                "unavailable.value.placeholder",
                Kind::Text,
                PLACEHOLDER,
                "Debezium's unavailable.value.placeholder: what stands for a value that did not change and was not logged.",
            )
            .defaulted(
                "infinity.handling.mode",
                Kind::OneOf(&["fail", "null"]),
                "fail",
                "Infinite dates and timestamps, which Iceberg does not have: fail the table, or NULL; as the load does.",
            )
    }

    fn from_values(values: &Values) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let topics = topics(values, &mut problems);
        let (key, value) = (format(values, "key.converter"), format(values, "value.converter"));
        let mut of_converter = |which: &str, format: &Result<Format, Problem>, family: &str| {
            let given: BTreeMap<&str, Secret> = values.family(family).collect();
            match format {
                Ok(format) => RegistryConfig::of(which, *format, &given, &mut problems),
                Err(problem) => {
                    problems.push(problem.clone());
                    None
                }
            }
        };
        let for_keys = of_converter("key.converter", &key, "key.converter.*");
        let for_values = of_converter("value.converter", &value, "value.converter.*");
        if let Some(key) = for_keys.iter().zip(&for_values).find_map(|(keys, values)| keys.unlike(values)) {
            let message = format!("is not value.converter.{key}: one registry is asked, for keys and values");
            problems.push(Problem::new(format!("key.converter.{key}"), message));
        }
        let modes = modes(values, &mut problems);
        let whole_rows = whole_rows(values, &mut problems);
        let overrides: BTreeMap<_, _> = values.family(OVERRIDES).map(|(k, v)| (k.to_owned(), v)).collect();
        for key in OURS.iter().filter(|key| overrides.contains_key(**key)) {
            let message = "decides which messages are read: it cannot be overridden";
            problems.push(Problem::new(format!("consumer.override.{key}"), message));
        }
        let dead = dead(values, topics.as_ref(), &mut problems);
        match (topics, key, value) {
            (Some(topics), Ok(key), Ok(value)) if problems.is_empty() => Ok(Self {
                topics,
                transactions: values.text(TRANSACTIONS).to_owned(),
                servers: values.text(SERVERS).to_owned(),
                overrides,
                key,
                value,
                registry: for_values.or(for_keys),
                modes,
                may_begin_late: values.text(RESET) == "earliest",
                max_age: values.millis(MAX_AGE).max(Duration::from_millis(100)),
                accepts_ties: values.text(KEYLESS) == "accept",
                dead,
                producer: values.family(PRODUCER).map(|(k, v)| (k.to_owned(), v)).collect(),
                whole_rows,
            }),
            _ => Err(problems),
        }
    }
}

const JSON: &str = "org.apache.kafka.connect.json.JsonConverter";

fn topics(values: &Values, problems: &mut Vec<Problem>) -> Option<Topics> {
    let named: Vec<String> =
        values.text(TOPICS).split(',').map(str::trim).filter(|t| !t.is_empty()).map(str::to_owned).collect();
    let pattern = values.text(TOPICS_REGEX);
    match (named.is_empty(), pattern.is_empty()) {
        (false, true) => Some(Topics::Named(named)),
        (true, false) => match Regex::new(pattern).and_then(|_| Regex::new(&format!("^(?:{pattern})$"))) {
            Ok(regex) => Some(Topics::Matching(regex)),
            Err(e) => {
                let why = e.to_string();
                let why = why.lines().last().unwrap_or(NOT_GIVEN).trim_start_matches("error: ").to_owned();
                problems.push(Problem::new(TOPICS_REGEX, format!("\"{pattern}\" is not a regular expression: {why}")));
                None
            }
        },
        (true, true) => {
            problems.push(Problem::new(TOPICS, "missing: name the topics to follow, or set topics.regex"));
            None
        }
        (false, false) => {
            problems.push(Problem::new(TOPICS_REGEX, "not together with topics"));
            None
        }
    }
}

fn dead(values: &Values, topics: Option<&Topics>, problems: &mut Vec<Problem>) -> Option<DeadConfig> {
    let (tolerant, topic) = (values.text(TOLERANCE) == "all", values.text(DEAD).to_owned());
    if tolerant && topic.is_empty() {
        let message = format!("all needs {DEAD}: nothing is passed over without a trace");
        problems.push(Problem::new(TOLERANCE, message));
    }
    if !topic.is_empty() && topics.is_some_and(|topics| topics.has(&topic)) {
        problems.push(Problem::new(DEAD, format!("\"{topic}\" is one of the topics that are followed")));
    }
    tolerant.then(|| DeadConfig {
        topic,
        replication: i32::try_from(values.int(COPIES)).unwrap_or(-1),
        headers: values.bool(HEADERS),
        logs: values.bool(LOGGED),
    })
}

fn format(values: &Values, key: &str) -> Result<Format, Problem> {
    let class = values.text(key);
    match class.rsplit('.').next() {
        Some("JsonConverter" | "json") => Ok(Format::Json),
        Some("AvroConverter" | "avro") => Ok(Format::Avro),
        _ => Err(Problem::new(key, format!("\"{class}\" is neither a JsonConverter nor an AvroConverter"))),
    }
}

fn modes(values: &Values, problems: &mut Vec<Problem>) -> Modes {
    fn mode<T>(values: &Values, problems: &mut Vec<Problem>, key: &str, parse: fn(&str) -> Option<T>) -> Option<T> {
        let text = values.text(key);
        let mode = parse(text);
        if mode.is_none() && !text.is_empty() {
            problems.push(Problem::new(key, format!("\"{text}\" is none of Debezium's modes")));
        }
        mode
    }
    Modes {
        times: mode(values, problems, "time.precision.mode", Times::parse),
        decimals: mode(values, problems, "decimal.handling.mode", Decimals::parse),
        binary: mode(values, problems, "binary.handling.mode", Binary::parse),
        hstore: mode(values, problems, "hstore.handling.mode", Hstore::parse),
        intervals: mode(values, problems, "interval.handling.mode", Intervals::parse),
        unknown_types: values.has("include.unknown.datatypes").then(|| values.bool("include.unknown.datatypes")),
        placeholder: values.text("unavailable.value.placeholder").to_owned(),
        infinite_is_null: values.text("infinity.handling.mode") == "null",
    }
}

fn whole_rows(values: &Values, problems: &mut Vec<Problem>) -> Vec<Regex> {
    let mut regexes = Vec::new();
    for part in values.text(IDENTITY).split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let Some((table, identity)) = part.rsplit_once(':') else {
            problems.push(Problem::new(IDENTITY, format!("\"{part}\" is not `schema\\.table:FULL`")));
            continue;
        };
        match Regex::new(table).and_then(|_| Regex::new(&format!("(?i)^(?:{table})$"))) {
            Ok(regex) if identity.eq_ignore_ascii_case("full") => regexes.push(regex),
            Ok(_) => {}
            Err(_) => problems.push(Problem::new(IDENTITY, format!("\"{table}\" is not a regular expression"))),
        }
    }
    regexes
}

#[cfg(test)]
mod tests {
    use super::*;
    use connector_api::Connector;

    fn check(pairs: &[(&str, &str)]) -> Result<KafkaConfig, Vec<String>> {
        let raw = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let (values, wrong) = <crate::Kafka as Connector>::Config::definition().parse(&raw);
        let parsed = KafkaConfig::from_values(&values);
        let mut problems = wrong;
        match parsed {
            Ok(config) if problems.is_empty() => return Ok(config),
            Ok(_) => {}
            Err(more) => problems.extend(more),
        }
        Err(problems.into_iter().map(|p| format!("{}: {}", p.key, p.message)).collect())
    }

    const SERVER: (&str, &str) = ("bootstrap.servers", "127.0.0.1:1");

    #[test]
    fn topics_are_named_or_match() {
        let named = check(&[SERVER, ("topics", "a, b.c")]).unwrap();
        assert!(named.topics.has("b.c") && !named.topics.has("a, b.c"));
        let matching = check(&[SERVER, ("topics.regex", r"shop\.public\..*|x")]).unwrap();
        assert!(matching.topics.has("shop.public.t") && matching.topics.has("x") && !matching.topics.has("xy"));
        assert_eq!(check(&[SERVER]).unwrap_err(), ["topics: missing: name the topics to follow, or set topics.regex"]);
        assert_eq!(
            check(&[SERVER, ("topics.regex", "(")]).unwrap_err(),
            ["topics.regex: \"(\" is not a regular expression: unclosed group"]
        );
    }

    #[test]
    fn converters_go_by_their_class() {
        let avro = [
            SERVER,
            ("topics", "t"),
            ("value.converter", "io.confluent.connect.avro.AvroConverter"),
            ("value.converter.schema.registry.url", "http://127.0.0.1:1"),
            ("value.converter.basic.auth.user.info", "u:hunter2"),
        ];
        let config = check(&avro).unwrap();
        assert_eq!((config.key, config.value), (Format::Json, Format::Avro));
        assert!(config.registry.is_some() && !format!("{config:?}").contains("hunter2"));
        assert_eq!(
            check(&avro[..3]).unwrap_err(),
            ["value.converter.schema.registry.url: missing: Avro messages name their schemas in a registry"]
        );
        assert_eq!(
            check(&[SERVER, ("topics", "t"), ("key.converter", "org.x.StringConverter")]).unwrap_err(),
            ["key.converter: \"org.x.StringConverter\" is neither a JsonConverter nor an AvroConverter"]
        );
    }

    #[test]
    fn keys_and_values_have_one_registry() {
        const AVRO: &str = "io.confluent.connect.avro.AvroConverter";
        const URL: (&str, &str) = ("value.converter.schema.registry.url", "http://127.0.0.1:1");
        let check = |keys: &[(&str, &str)]| {
            let both = [SERVER, ("topics", "t"), ("key.converter", AVRO), ("value.converter", AVRO), URL];
            check(&[&both, keys].concat()).map(|_| ())
        };
        let same = ("key.converter.schema.registry.url", "http://127.0.0.1:1/");
        assert_eq!(check(&[same, ("value.converter.basic.auth.user.info", "u:hunter2")]), Ok(()));
        for other in [
            ("key.converter.schema.registry.url", "http://127.0.0.1:2"),
            ("key.converter.basic.auth.user.info", "u:hunter2"),
            ("key.converter.schema.registry.ssl.truststore.location", "/x.pem"),
        ] {
            let problems = check(&[same, other]).unwrap_err();
            let message =
                format!("{}: is not value{}: one registry is asked, for keys and values", other.0, &other.0[3..]);
            assert_eq!(problems, [message]);
        }
    }

    #[test]
    fn what_decides_about_messages_is_not_overridden() {
        // What a producer took back must never be applied.
        for (key, value) in [("enable.auto.commit", "true"), ("isolation.level", "read_uncommitted")] {
            let key = format!("consumer.override.{key}");
            let problems = check(&[SERVER, ("topics", "t"), (&key, value)]).unwrap_err();
            assert!(problems[0].starts_with(&format!("{key}: ")), "{problems:?}");
        }
        assert!(check(&[SERVER, ("topics", "t"), ("time.precision.mode", "exact")]).is_err());
    }

    #[test]
    fn nothing_is_passed_over_without_a_queue() {
        let tolerant = [SERVER, ("topics.regex", "t.*"), (TOLERANCE, "all")];
        let without = check(&tolerant).unwrap_err();
        assert!(without[0].starts_with("errors.tolerance: all needs errors.deadletterqueue"), "{without:?}");
        let into_itself = check(&[tolerant[0], tolerant[1], tolerant[2], (DEAD, "t.dead")]).unwrap_err();
        assert_eq!(into_itself, [format!("{DEAD}: \"t.dead\" is one of the topics that are followed")]);
        let config = check(&[tolerant[0], tolerant[1], tolerant[2], (DEAD, "dead"), (COPIES, "1")]).unwrap();
        assert_eq!(config.dead.map(|d| (d.topic, d.replication, d.headers)), Some(("dead".to_owned(), 1, true)));
        assert!(check(&[SERVER, ("topics", "t"), (DEAD, "dead")]).unwrap().dead.is_none());
    }

    #[test]
    fn replica_identities_as_debezium_takes_them() {
        let config = check(&[SERVER, ("topics", "t"), (IDENTITY, r"public\.a.*:FULL, public\.b:DEFAULT")]).unwrap();
        let whole = |name: &str| config.logs_whole_rows(&TableId::new("public", name));
        assert!(whole("a1") && !whole("b"));
    }
}
