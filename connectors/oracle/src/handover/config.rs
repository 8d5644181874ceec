//! The keys of a hand-over to Debezium's connector. It is asked for by one of `handover.dir` and
//! `handover.connect.url`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use connector_api::Secret;
use connector_api::config::{ConfigDef, Kind, Problem, Values};
use url::Url;

const DIR: &str = "handover.dir";
const WORKER: &str = "handover.connect.url";
const USER_INFO: &str = "handover.connect.basic.auth.user.info";
const AUTHORITIES: &str = "handover.connect.ssl.truststore.location";
const NAME: &str = "handover.connector.name";
const SERVERS: &str = "handover.bootstrap.servers";
const START: &str = "handover.start.scn";
const TIMEOUT: &str = "handover.timeout.ms";
const MORE: &str = "handover.config.*";
const PREFIX: &str = "topic.prefix";
const PASSWORD: &str = "database.password";

/// Debezium's keys that the load decides: other values would lose changes, or bring others than the tables hold.
const OURS: [&str; 20] = [
    "name",
    "connector.class",
    "tasks.max",
    "topic.prefix",
    "snapshot.mode",
    "schema.include.list",
    "schema.exclude.list",
    "table.include.list",
    "table.exclude.list",
    "column.include.list",
    "column.exclude.list",
    "decimal.handling.mode",
    "interval.handling.mode",
    "time.precision.mode",
    "event.converting.failure.handling.mode",
    "binary.handling.mode",
    "lob.enabled",
    "skipped.operations",
    "provide.transaction.metadata",
    super::connector::MARK,
];

/// What the configuration says of the hand-over.
#[derive(Clone, Debug)]
pub(crate) struct HandoverConfig {
    /// Where the files go.
    pub(crate) dir: Option<PathBuf>,
    /// The worker that the connector is made in.
    pub(crate) worker: Option<WorkerConfig>,
    /// The connector's name, if it is not made of the source's.
    pub(crate) name: Option<String>,
    pub(crate) prefix: String,
    /// Brokers of the schema history.
    pub(crate) servers: String,
    /// Where the redo is to be read from, where the database does not tell.
    pub(crate) start: Option<u64>,
    /// How long the connector may take until it streams.
    pub(crate) timeout: Duration,
    /// Debezium's own keys, as they are given.
    pub(crate) more: BTreeMap<String, Secret>,
}

/// A worker of Kafka Connect.
#[derive(Clone, Debug)]
pub(crate) struct WorkerConfig {
    pub(crate) url: Url,
    /// User and password.
    pub(crate) login: Option<(String, Secret)>,
    /// PEM file of authorities.
    pub(crate) authorities: Option<PathBuf>,
}

impl HandoverConfig {
    /// Adds the keys that [`of`](Self::of) reads.
    pub(crate) fn keys(def: ConfigDef) -> ConfigDef {
        def.optional(
            DIR,
            Kind::Text,
            "Directory for debezium_<source>.json, the configuration of Debezium's connector that goes on after the \
             load, and debezium_<source>_offsets.json, where it begins.",
        )
        .optional(
            WORKER,
            Kind::Text,
            "URL of a Kafka Connect worker's REST interface: the connector is made there, its offsets are set, and it \
             is started, once every selected table is loaded.",
        )
        .optional(USER_INFO, Kind::Password, "`user:password` for that worker.")
        .optional(AUTHORITIES, Kind::Text, "PEM file of authorities to trust for that worker besides the system's.")
        .optional(NAME, Kind::Text, "Name of Debezium's connector; debezium_<source> unless given.")
        .optional(
            SERVERS,
            Kind::Text,
            "Kafka's brokers for Debezium's schema history, `host:port` separated by commas.",
        )
        .optional(
            START,
            Kind::Int(1, i64::MAX),
            "SCN from which the redo is read where the load could not learn it: MIN(start_scn) of GV$TRANSACTION at \
             the primary before the load from a standby, or before an SCN given by snapshot.scn.",
        )
        .defaulted(
            TIMEOUT,
            Kind::Millis,
            "600000",
            "Longest time for the worker to answer and for the connector to stream, ms; the next start goes on.",
        )
        .optional(
            MORE,
            Kind::Password,
            "Goes to Debezium's connector as it is: handover.config.database.user, handover.config.log.mining.strategy \
             … Passwords are references for Kafka Connect to resolve, with two dollar signs: \
             `$${file:/path:key}`.",
        )
    }

    /// The hand-over, if one is asked for. What is wrong with its keys is added to the problems.
    pub(crate) fn of(values: &Values, problems: &mut Vec<Problem>) -> Option<Self> {
        let given = |key: &str| values.has(key).then(|| values.text(key).to_owned()).filter(|text| !text.is_empty());
        let more: BTreeMap<_, _> = values.family(MORE).map(|(key, value)| (key.to_owned(), value)).collect();
        let (dir, url) = (given(DIR), given(WORKER));
        let mut problem = |key: &str, message: &str| problems.push(Problem::new(key, message));
        if dir.is_none() && url.is_none() {
            let told = [USER_INFO, AUTHORITIES, NAME, SERVERS, START].into_iter().find(|key| values.has(key));
            let told = told.map(str::to_owned).or_else(|| more.keys().next().map(|key| member(key)));
            if let Some(key) = told {
                problem(&key, "nothing is handed over without handover.dir or handover.connect.url");
            }
            return None;
        }
        let worker = url.and_then(|url| worker(&url, values, &mut problem));
        for (key, what) in [
            (PREFIX, "missing: the hand-over needs the prefix of Debezium's topics"),
            (SERVERS, "missing: Debezium keeps the tables' schemas in a topic of these brokers"),
        ] {
            if given(key).is_none() {
                problem(key, what);
            }
        }
        if !more.contains_key(PASSWORD) {
            let what = "missing: a reference that Kafka Connect resolves, such as $${file:/path:key}";
            problem(&member(PASSWORD), what);
        }
        for (key, value) in &more {
            if OURS.contains(&key.as_str()) {
                problem(&member(key), "is decided by the load");
            } else if !is_kept(key, value.expose()) {
                let what = "would be readable in the file and through the worker: give a reference that Kafka Connect \
                            resolves, with two dollar signs here: $${file:/path:key}";
                problem(&member(key), what);
            }
        }
        // Whatever the load connects to, Debezium must come to the root: of a string we know no part.
        let target = ["database.url", "database.hostname"].iter().any(|key| more.contains_key(*key));
        if given("database.url").is_some() && !target {
            let what = "missing, since database.url is set: how Debezium reaches the database";
            problem(&member("database.url"), what);
        }
        Some(Self {
            dir: dir.map(Into::into),
            worker,
            name: given(NAME),
            prefix: given(PREFIX).unwrap_or_default(),
            servers: given(SERVERS).unwrap_or_default(),
            start: values.has(START).then(|| u64::try_from(values.int(START)).unwrap_or(0)),
            timeout: values.millis(TIMEOUT),
            more,
        })
    }
}

/// The whole name of one of Debezium's keys.
fn member(key: &str) -> String {
    MORE.replace('*', key)
}

/// Words in the keys of what must not be read by everybody.
const SECRET: [&str; 7] = ["password", "passphrase", "secret", "credential", "user.info", "token", "keystore.key"];

/// Whether a value gives no secret away: those of secrets are references, wholly, as are the parts of the others that are
/// secrets.
fn is_kept(key: &str, value: &str) -> bool {
    let key = key.to_ascii_lowercase();
    if SECRET.iter().any(|word| key.contains(word)) {
        return is_reference(value);
    }
    if !key.contains("jaas") && key != "database.url" {
        return true;
    }
    // `password="…"` of a login module, or of a URL's properties.
    let folded = value.to_ascii_lowercase();
    let named = folded.match_indices('=').all(|(at, _)| {
        let name =
            folded[..at].trim_end().rsplit([' ', '\t', '\n', ';', '?', '&', '(', ',']).next().unwrap_or_default();
        !SECRET[..4].iter().any(|word| name.contains(word)) || is_reference(option(&value[at + 1..]))
    });
    // `jdbc:oracle:thin:user/password@…`.
    let login = value.split_once('@').and_then(|(login, _)| login.splitn(4, ':').nth(3)).unwrap_or_default();
    let login = if key == "database.url" { unreferenced(login) } else { String::new() };
    named && login.split_once('/').is_none_or(|(_, password)| password.is_empty())
}

/// The value of an option that begins there: in quotes, or to the next separator.
fn option(rest: &str) -> &str {
    let rest = rest.trim_start();
    match rest.chars().next() {
        Some(quote @ ('"' | '\'')) => rest[1..].split(quote).next().unwrap_or_default(),
        _ => rest.split([' ', '\t', '\n', ';', '&', ')', ',']).next().unwrap_or_default(),
    }
}

/// Whether a value is made of references alone, which Kafka Connect resolves.
fn is_reference(value: &str) -> bool {
    !value.trim().is_empty() && unreferenced(value).trim().is_empty()
}

/// A value without its references.
fn unreferenced(value: &str) -> String {
    let mut parts = value.split("${");
    let mut bare = parts.next().unwrap_or_default().to_owned();
    bare.extend(parts.map(|part| part.split_once('}').map_or(part, |(_, after)| after)));
    bare
}

fn worker(url: &str, values: &Values, problem: &mut impl FnMut(&str, &str)) -> Option<WorkerConfig> {
    let parsed = Url::parse(&format!("{}/", url.trim_end_matches('/')));
    let Ok(url) = parsed.map_err(|_| ()).and_then(|url| if url.has_host() { Ok(url) } else { Err(()) }) else {
        problem(WORKER, "is not a URL");
        return None;
    };
    if !matches!(url.scheme(), "http" | "https") {
        problem(WORKER, "must begin with http:// or https://");
    }
    if !url.username().is_empty() || url.password().is_some() {
        problem(WORKER, "must not hold a user or password: they are handover.connect.basic.auth.user.info");
    }
    let login = values.secret(USER_INFO);
    let login = match login.expose().split_once(':') {
        Some((user, password)) => Some((user.to_owned(), Secret::new(password))),
        None => {
            if values.has(USER_INFO) {
                problem(USER_INFO, "must be user:password");
            }
            None
        }
    };
    let authorities = values.has(AUTHORITIES).then(|| values.text(AUTHORITIES).into());
    Some(WorkerConfig { url, login, authorities })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(more: &[(&str, &str)]) -> (Option<HandoverConfig>, Vec<String>) {
        let definition = HandoverConfig::keys(ConfigDef::default()).optional(PREFIX, Kind::Text, "").optional(
            "database.url",
            Kind::Text,
            "",
        );
        let raw = more.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let (values, mut problems) = definition.parse(&raw);
        let config = HandoverConfig::of(&values, &mut problems);
        (config, problems.into_iter().map(|p| format!("{}: {}", p.key, p.message)).collect())
    }

    const NEEDED: [(&str, &str); 4] = [
        ("handover.dir", "/tmp/x"),
        ("topic.prefix", "shop"),
        ("handover.bootstrap.servers", "k:9092"),
        ("handover.config.database.password", "${file:/x:y}"),
    ];

    #[test]
    fn it_is_asked_for_by_one_of_two_keys() {
        assert!(matches!(check(&[]), (None, problems) if problems.is_empty()));
        let (config, problems) = check(&NEEDED);
        assert_eq!(problems, [""; 0]);
        let config = config.unwrap();
        assert_eq!((config.prefix.as_str(), config.timeout), ("shop", Duration::from_secs(600)));
        for (key, value) in [("handover.start.scn", "1"), ("handover.config.x", "y")] {
            let says = format!("{key}: nothing is handed over without handover.dir or handover.connect.url");
            assert_eq!(check(&[(key, value)]).1, [says]);
        }
    }

    #[test]
    fn what_is_missing_is_said() {
        let (_, problems) = check(&[("handover.connect.url", "http://c:8083"), ("database.url", "ALIAS")]);
        let keys: Vec<_> = problems.iter().filter_map(|p| p.split(':').next()).collect();
        let missing = [
            "topic.prefix",
            "handover.bootstrap.servers",
            "handover.config.database.password",
            "handover.config.database.url",
        ];
        assert_eq!(keys, missing);
    }

    #[test]
    fn secrets_and_what_the_load_decides_are_refused() {
        let with = |key: &str, value: &str| {
            let mut keys = NEEDED.to_vec();
            keys.retain(|(k, _)| *k != key);
            keys.push((key, value));
            check(&keys).1.join("\n")
        };
        assert!(with("handover.config.database.password", "hunter2").contains("$${file:"));
        let jaas = "handover.config.schema.history.internal.consumer.sasl.jaas.config";
        assert!(with(jaas, "x password=\"y\";").contains("readable"));
        assert_eq!(with(jaas, "x password=\"${env:Y}\";"), "");
        for clear in ["x username=\"${env:U}\" password = \"y\";", "x clientSecret='a${env:U}';", "x password=y;"] {
            assert!(with(jaas, clear).contains("readable"), "{clear}");
        }
        assert_eq!(with(jaas, "x useKeyTab=true principal=\"a@B\";"), "");
        assert!(with("handover.config.database.password", "${file:/x:y}hunter2").contains("readable"));
        for key in ["driver.ssl.keystore.key", "x.passphrase", "x.credentials"] {
            let key = format!("handover.config.{key}");
            assert!(with(&key, "hunter2").contains("readable"), "{key}");
            assert_eq!(with(&key, "${file:/x:y}"), "");
        }
        let url = "handover.config.database.url";
        for clear in ["jdbc:oracle:thin:me/hunter2@db", "jdbc:oracle:thin:@db?a=b&x.wallet_password=c"] {
            assert!(with(url, clear).contains("readable"), "{clear}");
        }
        for kept in ["jdbc:oracle:thin:@//h:1/s", "jdbc:oracle:thin:me/${file:/x:y}@//h:1/s", "jdbc:oracle:oci:@ALIAS"]
        {
            assert_eq!(with(url, kept), "", "{kept}");
        }
        assert!(with("handover.config.table.include.list", "A").ends_with("is decided by the load"));
        assert_eq!(with("handover.config.log.mining.strategy", "hybrid"), "");
        for (url, says) in [("ftp://x", "must begin"), ("x", "is not a URL"), ("http://u:p@h", "must not hold a user")]
        {
            let problem = with("handover.connect.url", url);
            assert!(problem.contains(says) && !problem.contains("u:p"), "{problem}");
        }
        let mut keys = NEEDED.to_vec();
        keys.extend([("handover.connect.url", "https://h"), ("handover.connect.basic.auth.user.info", "me:hunter2")]);
        let (config, problems) = check(&keys);
        assert_eq!(problems, [""; 0]);
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
