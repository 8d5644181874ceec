//! The worker's own settings: keys, defaults and the typed struct. Knows no connector.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use connector_api::config::{ConfigDef, Kind, Problem, Values};

/// The least memory a worker runs with, in bytes.
const LEAST_MEMORY: usize = 64 << 20;

/// An address that the REST interface listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Host name or address; an IPv6 address without its brackets.
    pub host: String,
    /// Port; 0 takes a free one.
    pub port: u16,
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "http://[{}]:{}", self.host, self.port),
            false => write!(f, "http://{}:{}", self.host, self.port),
        }
    }
}

/// When a log file is closed and the next one begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogRotation {
    /// At midnight, UTC.
    Daily,
    /// At every full hour.
    Hourly,
    /// One file for ever; something else may rotate it.
    Never,
}

/// What a line of the log looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgressDisplay {
    /// Bars where a person looks at a terminal, lines elsewhere.
    Auto,
    /// Bars on any terminal that can show them.
    Bars,
    /// Lines in the log.
    Lines,
}

/// Settings of the process. Debug leaves free text out: it may have come from a reference.
#[derive(Clone, PartialEq, Eq)]
pub struct Worker {
    /// `rest.listeners`: where the REST interface listens; empty for none.
    pub rest_listeners: Vec<Listener>,
    /// `bootstrap.servers`: Kafka's brokers, for connectors that do not name their own.
    pub bootstrap_servers: Option<String>,
    /// `memory.max`: what queues and buffers may hold together, in bytes.
    pub memory_max: usize,
    /// `state.dir`: working files that survive a restart; a relative path starts at the working directory.
    pub state_dir: PathBuf,
    /// `log.dir`: where log files are written; none without it.
    pub log_dir: Option<PathBuf>,
    /// `log.rotation`: when the next file is begun.
    pub log_rotation: LogRotation,
    /// `log.max.files`: how many files are kept, the newest; `None` when they are not rotated.
    pub log_max_files: Option<usize>,
    /// `log.format`: what a line looks like, on the console and in files.
    pub log_format: LogFormat,
    /// `log.level`: error, warn, info, debug or trace.
    pub log_level: String,
    /// `progress.display`: how progress is shown.
    pub progress_display: ProgressDisplay,
    /// `progress.interval.ms`: time between progress lines; none when it is 0.
    pub progress_interval: Option<Duration>,
    /// `shutdown.timeout.ms`: how long a stop may take before work in hand is dropped.
    pub shutdown_timeout: Duration,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("rest_listeners", &self.rest_listeners.len())
            .field("memory_max", &self.memory_max)
            .field("log_level", &self.log_level)
            .field("progress_interval", &self.progress_interval)
            .field("shutdown_timeout", &self.shutdown_timeout)
            .finish_non_exhaustive()
    }
}

impl Worker {
    /// Every key with type, default and documentation.
    pub fn definition() -> ConfigDef {
        ConfigDef::default()
            .optional(
                "rest.listeners",
                Kind::Text,
                "addresses of the REST interface, as http://host:port, separated by commas; without one there is no REST interface",
            )
            .optional("bootstrap.servers", Kind::Text, "Kafka brokers as host:port, separated by commas")
            .defaulted("memory.max", Kind::Bytes, "512MiB", "what queues and buffers may hold together; at least 64MiB")
            .defaulted("state.dir", Kind::Text, "./state", "directory of journals, by which a run deletes what a killed one left; may be lost, may be shared")
            .optional("log.dir", Kind::Text, "directory of the log files; without it the log goes to the console only")
            .defaulted("log.rotation", Kind::OneOf(&["daily", "hourly", "never"]), "daily", "when a log file is closed and the next one begun (UTC)")
            .defaulted("log.max.files", Kind::Int(1, 10_000), "14", "how many log files are kept; older ones are deleted; not used with log.rotation=never")
            .defaulted("log.format", Kind::OneOf(&["text", "json"]), "text", "lines for people, or one JSON object a line, on the console and in files")
            .defaulted(
                "log.level",
                Kind::OneOf(&["error", "warn", "info", "debug", "trace"]),
                "info",
                "what is logged: this level and those before it",
            )
            .defaulted("progress.display", Kind::OneOf(&["auto", "bars", "lines"]), "auto", "how progress is shown: bars on a terminal that can show them, or lines; auto takes lines where CI is set, and with log.format=json")
            .defaulted("progress.interval.ms", Kind::Millis, "5000", "time between progress lines; 0 for none")
            .defaulted(
                "shutdown.timeout.ms",
                Kind::Millis,
                "30000",
                "how long a stop may take before work in hand is dropped",
            )
    }

    /// Parses resolved settings. A setting with a problem has its default in the result.
    pub(crate) fn parse(raw: &BTreeMap<String, String>) -> (Self, Vec<Problem>) {
        let definition = Self::definition();
        let (_, mut problems) = definition.parse(raw);
        let good = raw.iter().filter(|(key, _)| problems.iter().all(|p| p.key != **key));
        let (values, _) = definition.parse(&good.map(|(k, v)| (k.clone(), v.clone())).collect());
        let worker = Self::from_values(&values, raw, &mut problems);
        (worker, problems)
    }

    fn from_values(values: &Values, raw: &BTreeMap<String, String>, problems: &mut Vec<Problem>) -> Self {
        let given = |key: &str| Some(values.text(key)).filter(|text| !text.is_empty());
        let mut rest_listeners = Vec::new();
        for text in given("rest.listeners").unwrap_or_default().split(',').map(str::trim).filter(|t| !t.is_empty()) {
            match listener(text) {
                Ok(listener) => rest_listeners.push(listener),
                Err(why) => problems.push(Problem::new("rest.listeners", why)),
            }
        }
        let mut memory_max = values.count("memory.max");
        if memory_max < LEAST_MEMORY {
            let text = raw.get("memory.max").map_or("", String::as_str);
            problems.push(Problem::new("memory.max", format!("\"{text}\" is less than {}MiB", LEAST_MEMORY >> 20)));
            memory_max = LEAST_MEMORY;
        }
        if given("state.dir").is_none() {
            problems.push(Problem::new("state.dir", "is empty"));
        }
        Self {
            rest_listeners,
            bootstrap_servers: given("bootstrap.servers").map(str::to_owned),
            memory_max,
            state_dir: values.text("state.dir").into(),
            log_dir: given("log.dir").map(PathBuf::from),
            log_rotation: match values.text("log.rotation") {
                "hourly" => LogRotation::Hourly,
                "never" => LogRotation::Never,
                _ => LogRotation::Daily,
            },
            log_max_files: (values.text("log.rotation") != "never").then(|| values.count("log.max.files")),
            log_format: if values.text("log.format") == "json" { LogFormat::Json } else { LogFormat::Text },
            log_level: values.text("log.level").to_owned(),
            progress_display: match values.text("progress.display") {
                "bars" => ProgressDisplay::Bars,
                "lines" => ProgressDisplay::Lines,
                _ => ProgressDisplay::Auto,
            },
            progress_interval: Some(values.millis("progress.interval.ms")).filter(|interval| !interval.is_zero()),
            shutdown_timeout: values.millis("shutdown.timeout.ms"),
        }
    }
}

fn listener(text: &str) -> Result<Listener, String> {
    let bad = || format!("\"{text}\" is not of the form http://host:port");
    let (scheme, rest) = text.split_once("://").ok_or_else(bad)?;
    if !scheme.eq_ignore_ascii_case("http") {
        return Err(format!("\"{text}\": only http is served; put a proxy in front for TLS"));
    }
    let (host, port) = rest.strip_suffix('/').unwrap_or(rest).rsplit_once(':').ok_or_else(bad)?;
    let bracketed = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let good = match bracketed {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')),
    };
    let port = Some(port).filter(|p| p.bytes().all(|b| b.is_ascii_digit())).and_then(|p| p.parse().ok());
    match port {
        Some(port) if good => Ok(Listener { host: bracketed.unwrap_or(host).to_owned(), port }),
        _ => Err(bad()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(raw: &[(&str, &str)]) -> (Worker, Vec<String>) {
        let raw = raw.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let (worker, problems) = Worker::parse(&raw);
        (worker, problems.into_iter().map(|p| format!("{}: {}", p.key, p.message)).collect())
    }

    fn defaults() -> Worker {
        Worker {
            rest_listeners: Vec::new(),
            bootstrap_servers: None,
            memory_max: 512 << 20,
            state_dir: "./state".into(),
            log_dir: None,
            log_rotation: LogRotation::Daily,
            log_max_files: Some(14),
            log_format: LogFormat::Text,
            progress_display: ProgressDisplay::Auto,
            log_level: "info".into(),
            progress_interval: Some(Duration::from_secs(5)),
            shutdown_timeout: Duration::from_secs(30),
        }
    }

    #[test]
    fn every_setting_is_read() {
        assert_eq!(parse(&[]), (defaults(), vec![]));
        assert_eq!(parse(&[("log.dir", ""), ("rest.listeners", " "), ("bootstrap.servers", "")]), (defaults(), vec![]));
        let (worker, problems) = parse(&[
            ("rest.listeners", "http://127.0.0.1:8083, HTTP://[::1]:0/"),
            ("bootstrap.servers", "k1:9092,k2:9092"),
            ("memory.max", "64MiB"),
            ("state.dir", "/var/lib/x"),
            ("log.dir", "./logs"),
            ("log.rotation", "never"),
            ("log.max.files", "3"),
            ("log.format", "json"),
            ("progress.display", "bars"),
            ("log.level", "DEBUG"),
            ("progress.interval.ms", "0"),
            ("shutdown.timeout.ms", "1500"),
        ]);
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(
            worker.rest_listeners.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["http://127.0.0.1:8083", "http://[::1]:0"]
        );
        assert_eq!(worker.rest_listeners[1].host, "::1");
        let expected = Worker {
            rest_listeners: worker.rest_listeners.clone(),
            bootstrap_servers: Some("k1:9092,k2:9092".into()),
            memory_max: 64 << 20,
            state_dir: "/var/lib/x".into(),
            log_dir: Some("./logs".into()),
            log_rotation: LogRotation::Never,
            log_max_files: None,
            log_format: LogFormat::Json,
            progress_display: ProgressDisplay::Bars,
            log_level: "debug".into(),
            progress_interval: None,
            shutdown_timeout: Duration::from_millis(1500),
        };
        assert_eq!(worker, expected);
        let (worker, _) = parse(&[("log.rotation", "hourly"), ("log.max.files", "3"), ("progress.display", "lines")]);
        assert_eq!((worker.log_rotation, worker.log_max_files), (LogRotation::Hourly, Some(3)));
        assert_eq!(worker.progress_display, ProgressDisplay::Lines);
    }

    #[test]
    fn every_problem_is_reported_and_defaults_stand_in() {
        let (worker, problems) = parse(&[
            ("memroy.max", "1GiB"),
            ("memory.max", "63MiB"),
            ("log.level", "loud"),
            ("shutdown.timeout.ms", "-1"),
            (
                "rest.listeners",
                "https://h:1,h:1,http://h,http://:1,http://h:65536,http://h:+1,http://[x]:1,http://a/b:1",
            ),
        ]);
        assert_eq!(worker, Worker { memory_max: 64 << 20, ..defaults() });
        assert_eq!(
            problems,
            [
                "memroy.max: unknown key; did you mean \"memory.max\"?",
                "log.level: \"loud\" is not one of: error, warn, info, debug, trace",
                "shutdown.timeout.ms: \"-1\" is not a number of milliseconds",
                "rest.listeners: \"https://h:1\": only http is served; put a proxy in front for TLS",
                "rest.listeners: \"h:1\" is not of the form http://host:port",
                "rest.listeners: \"http://h\" is not of the form http://host:port",
                "rest.listeners: \"http://:1\" is not of the form http://host:port",
                "rest.listeners: \"http://h:65536\" is not of the form http://host:port",
                "rest.listeners: \"http://h:+1\" is not of the form http://host:port",
                "rest.listeners: \"http://[x]:1\" is not of the form http://host:port",
                "rest.listeners: \"http://a/b:1\" is not of the form http://host:port",
                "memory.max: \"63MiB\" is less than 64MiB",
            ]
        );
        assert_eq!(parse(&[("state.dir", " ")]).1, ["state.dir: is empty"]);
        assert_eq!(parse(&[("memory.max", "x")]).0, defaults());
    }
}
