//! The program as a child process: a configuration in a folder of its own, its exit code, its output.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::kafka::Kafka;
use crate::lake::{Lake, Properties};
use crate::postgres::{Database, PASSWORD, USER};
use crate::store::SECRET_KEY;

/// All tables loaded, or stopped on request.
pub const OK: i32 = 0;
/// Failed while running.
pub const FAILED: i32 = 1;
/// Refused the configuration.
pub const CONFIGURATION: i32 = 2;
/// Finished; some tables failed.
pub const SOME_TABLES_FAILED: i32 = 3;

/// The namespace of [`Job`]'s lake.
pub const NAMESPACE: &str = "bronze.shop";
/// The longest that a test waits for something of a run before that counts as hung.
const PATIENCE: Duration = Duration::from_secs(180);

/// A folder with a configuration: one PostgreSQL source `shop` into one Iceberg sink `lake`.
pub struct Job {
    folder: TempDir,
    /// The `worker` settings.
    pub worker: BTreeMap<String, String>,
    /// The source's configuration; empty where there is none.
    pub source: BTreeMap<String, String>,
    /// The sink's configuration.
    pub sink: BTreeMap<String, String>,
    /// The catalog as readers find it, where it is not the job's own.
    pub catalog: Option<Properties>,
    /// Shell commands that the program is started after, in the same process: limits, redirections.
    pub after: Option<&'static str>,
    /// Environment of the program, on top of a clean one.
    pub env: BTreeMap<String, String>,
    /// The program: `connect-runtime`, or one that is built with more connectors.
    pub program: &'static str,
}

/// A running program.
pub struct Running {
    child: Child,
    started: Instant,
    folder: PathBuf,
    peak: u64,
}

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output and standard error.
    pub output: String,
    /// How long it ran.
    pub elapsed: Duration,
    /// The most memory that it had resident, bytes, as the kernel counts it.
    pub peak: u64,
}

impl Job {
    /// A job that loads every table of a database's schema `public`.
    pub fn new(database: &Database) -> Self {
        let source = map(&[
            ("connector.class", "postgres"),
            ("database.hostname", "127.0.0.1"),
            ("database.port", &database.port().to_string()),
            ("database.user", USER),
            ("database.password", "${env:SHOP_PASSWORD}"),
            ("database.dbname", &database.name),
            ("topic.prefix", "shop"),
            ("schema.include.list", "public"),
            ("snapshot.mode", "initial_only"),
            ("retry.backoff.ms", "20"),
            ("sink", "lake"),
        ]);
        Self::in_folder(tempfile::Builder::new().prefix("connect-job-").tempdir().unwrap(), source)
    }

    /// A job that loads every table of the schema SHOP of an Oracle database on a port, as [`USER`].
    pub fn of_oracle(port: u16) -> Self {
        let source = map(&[
            ("connector.class", "oracle"),
            ("database.hostname", "127.0.0.1"),
            ("database.port", &port.to_string()),
            ("database.dbname", "orclpdb1"),
            ("database.user", USER),
            ("database.password", "${env:SHOP_PASSWORD}"),
            ("schema.include.list", "SHOP"),
            ("snapshot.mode", "initial_only"),
            ("retry.backoff.ms", "20"),
            ("sink", "lake"),
        ]);
        Self::in_folder(tempfile::Builder::new().prefix("connect-job-").tempdir().unwrap(), source)
    }

    fn in_folder(folder: TempDir, source: BTreeMap<String, String>) -> Self {
        let lake = folder.path().join("lake");
        Self {
            worker: map(&[("state.dir", folder.path().join("state").to_str().unwrap())]),
            source,
            sink: map(&[
                ("connector.class", "iceberg"),
                ("iceberg.catalog.type", "sql"),
                ("iceberg.catalog.uri", &format!("sqlite://{}", lake.join("catalog.db").display())),
                ("iceberg.catalog.warehouse", lake.to_str().unwrap()),
                ("iceberg.namespace", NAMESPACE),
            ]),
            catalog: None,
            after: None,
            env: map(&[("SHOP_PASSWORD", PASSWORD)]),
            program: "connect-runtime",
            folder,
        }
    }

    /// A job without a source, whose sink follows topics of a broker, with a commit every 200 ms.
    pub fn following(kafka: &Kafka, topics: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("connect-job-").tempdir().unwrap();
        let job = Self::in_folder(folder, BTreeMap::new()).sink("topics.regex", topics);
        let job = job.sink("bootstrap.servers", &kafka.servers()).sink("metadata.max.age.ms", "300");
        job.sink("iceberg.control.commit.interval-ms", "200")
    }

    /// The same job with one more key (or another value) in the source's configuration.
    #[must_use]
    pub fn source(mut self, key: &str, value: &str) -> Self {
        self.source.insert(key.into(), value.into());
        self
    }

    /// The same job with one more key (or another value) in the sink's configuration.
    #[must_use]
    pub fn sink(mut self, key: &str, value: &str) -> Self {
        self.sink.insert(key.into(), value.into());
        self
    }

    /// The same job with one more `worker` setting.
    #[must_use]
    pub fn worker(mut self, key: &str, value: &str) -> Self {
        self.worker.insert(key.into(), value.into());
        self
    }

    /// The job's folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Foreign readers of what the job writes.
    pub fn lake(&self) -> Lake {
        let folder = self.folder.path().join("lake");
        match &self.catalog {
            Some(catalog) => Lake::of(&folder, catalog.clone(), &self.sink["iceberg.namespace"]),
            None => Lake::new(&folder, NAMESPACE),
        }
    }

    /// The configuration as it is written to the file.
    pub fn config(&self) -> Value {
        let connectors = [("shop", &self.source), ("lake", &self.sink)];
        let given = connectors.iter().filter(|(_, config)| !config.is_empty());
        let all: Vec<_> = given.map(|(name, config)| json!({ "name": name, "config": config })).collect();
        json!({ "worker": self.worker, "connectors": all })
    }

    /// Runs the load to its end: `connect-runtime --config … args`.
    pub fn run(&self, args: &[&str]) -> Outcome {
        self.start(args).wait()
    }

    /// Runs the load with a failpoint set: `name=kill`, for example.
    pub fn run_with_failpoint(&self, failpoints: &str) -> Outcome {
        self.start_with(&[], &[("CONNECT_FAILPOINTS", failpoints)]).wait()
    }

    /// Starts the load.
    pub fn start(&self, args: &[&str]) -> Running {
        self.start_with(args, &[])
    }

    /// Starts the load with more environment variables.
    pub fn start_with(&self, args: &[&str], env: &[(&str, &str)]) -> Running {
        let path = self.write(&self.config().to_string());
        let mut all = vec!["--config", &path];
        all.extend(args);
        self.program(&all, env)
    }

    /// Runs `connect-runtime command --config … args`; the command may be of two words.
    pub fn command(&self, command: &str, args: &[&str]) -> Outcome {
        let path = self.write(&self.config().to_string());
        let mut all: Vec<&str> = command.split(' ').chain(["--config", &path]).collect();
        all.extend(args);
        self.program(&all, &[]).wait()
    }

    /// Runs the load with another text in the configuration file.
    pub fn run_text(&self, config: &str) -> Outcome {
        let path = self.write(config);
        self.program(&["--config", &path], &[]).wait()
    }

    /// Starts the program with just these arguments, in the job's folder.
    pub fn program(&self, args: &[&str], env: &[(&str, &str)]) -> Running {
        let command = match self.after {
            None => Command::new(binary(self.program)),
            Some(commands) => {
                let mut shell = Command::new("/bin/sh");
                shell.args(["-c", &format!("{commands}; exec \"$0\" \"$@\"")]).arg(binary(self.program));
                shell
            }
        };
        self.spawn(command, args, env)
    }

    /// Starts the program with just these arguments in another folder: as another machine has it.
    pub fn program_in(&self, folder: &Path, args: &[&str]) -> Running {
        self.spawn_in(folder, Command::new(binary(self.program)), args, &[])
    }

    /// Starts the load on a terminal of 120 columns, whose bytes are the output.
    pub fn start_on_terminal(&self, args: &[&str], env: &[(&str, &str)]) -> Running {
        let path = self.write(&self.config().to_string());
        let mut all = vec!["--config", &path];
        all.extend(args);
        let mut terminal = Command::new("python3");
        terminal.arg("-B").arg(crate::root().join("tests/terminal.py")).arg(binary(self.program));
        self.spawn(terminal, &all, env)
    }

    fn spawn(&self, command: Command, args: &[&str], env: &[(&str, &str)]) -> Running {
        self.spawn_in(self.folder.path(), command, args, env)
    }

    fn spawn_in(&self, folder: &Path, mut command: Command, args: &[&str], env: &[(&str, &str)]) -> Running {
        let folder = folder.to_owned();
        let log = fs::File::create(folder.join("output")).unwrap();
        command.args(args).current_dir(&folder).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.envs(&self.env).envs(env.iter().copied());
        // One file for both, so that the order in which an operator sees them is kept.
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        Running { child: command.spawn().unwrap(), started: Instant::now(), folder, peak: 0 }
    }

    fn write(&self, config: &str) -> String {
        let path = self.folder.path().join("cdc.json");
        fs::write(&path, config).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

impl Running {
    /// What it has printed so far.
    pub fn output(&self) -> String {
        fs::read_to_string(self.folder.join("output")).unwrap()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.peak = self.peak.max(peak(self.child.id()));
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for something to happen while it runs.
    ///
    /// # Panics
    /// When the program ends first.
    pub fn until<T>(&mut self, what: &str, mut happened: impl FnMut() -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            // Asked first: what happened just before the end has happened.
            let running = self.is_running();
            if let Some(result) = happened() {
                return result;
            }
            assert!(running, "ended before {what}:\n{}", self.output());
            assert!(begun.elapsed() < PATIENCE, "no {what}:\n{}", self.output());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until it has printed a text.
    ///
    /// # Panics
    /// When the program ends first.
    pub fn until_it_says(&mut self, text: &str) {
        let output = self.folder.join("output");
        self.until(text, || fs::read_to_string(&output).unwrap().contains(text).then_some(()));
    }

    /// Ends it as `kill -9` does.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop, as an operator or a service manager does.
    pub fn terminate(&self) {
        let sent = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it hangs, panicked and no failpoint said so, or printed the database password.
    pub fn wait(mut self) -> Outcome {
        let status = self.status();
        let outcome =
            Outcome { code: status.code(), output: self.output(), elapsed: self.started.elapsed(), peak: self.peak };
        let mut panics = outcome.output.split("panicked at ").skip(1);
        // Oracle's driver panics where it meets what it does not know; that is an error to the program.
        let of_driver = |panic: &str| panic.lines().next().is_some_and(|place| place.contains("/oracledb-"));
        let asked_for = |panic: &str| {
            of_driver(panic) || panic.lines().nth(1).is_some_and(|message| message.starts_with("failpoint "))
        };
        assert!(panics.all(asked_for), "{}", outcome.output);
        for secret in [PASSWORD, SECRET_KEY] {
            assert!(!outcome.output.contains(secret), "a secret is in the output:\n{}", outcome.output);
        }
        outcome
    }

    fn status(&mut self) -> ExitStatus {
        let begun = Instant::now();
        while self.is_running() {
            assert!(begun.elapsed() < PATIENCE, "hangs:\n{}", self.output());
            std::thread::sleep(Duration::from_millis(10));
        }
        self.child.wait().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Outcome {
    /// Asserts the exit code and returns the outcome.
    ///
    /// # Panics
    /// With the output when the code is another.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}", shown(&self.output));
        self
    }

    /// Asserts that the output holds each of these texts.
    ///
    /// # Panics
    /// With the output when one is missing.
    #[track_caller]
    pub fn says(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.output.contains(text), "{text:?} is not in the output:\n{}", shown(&self.output));
        }
        self
    }
}

/// The most memory that a process has had resident so far, bytes; 0 once it has ended.
fn peak(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    kib.and_then(|kib| kib.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) << 10
}

/// An output as a failed test shows it: its beginning and its end.
fn shown(output: &str) -> String {
    let lines: Vec<_> = output.lines().collect();
    match lines.len() {
        0..=60 => output.to_owned(),
        n => format!("{}\n… {} lines …\n{}", lines[..30].join("\n"), n - 60, lines[n - 30..].join("\n")),
    }
}

/// A program with failpoints: `connect-runtime` is `CONNECT_RUNTIME_BIN`, or built here once; the others lie
/// beside it.
pub fn binary(program: &str) -> PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    let built = BINARY.get_or_init(|| {
        if let Some(path) = std::env::var_os("CONNECT_RUNTIME_BIN") {
            return path.into();
        }
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--package", "connect-runtime", "--package", "example-runtime"]);
        build.args(["--features", "connect-runtime/failpoints", "--message-format=json"]);
        let built = build.current_dir(crate::root()).stderr(Stdio::inherit()).output().unwrap();
        assert!(built.status.success(), "the program does not build");
        let messages = String::from_utf8(built.stdout).unwrap();
        let mut executables = messages.lines().filter_map(|line| {
            let message: Value = serde_json::from_str(line).ok()?;
            (message["target"]["name"] == "connect-runtime")
                .then(|| message["executable"].as_str().map(PathBuf::from))?
        });
        executables.next_back().expect("cargo named no executable")
    });
    built.with_file_name(program)
}
