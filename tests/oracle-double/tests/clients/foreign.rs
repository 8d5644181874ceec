//! Clients in languages of their own: a program of a page for each executes statements and prints what it got.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::{Value as Json, json};

/// A client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    Python,
    Node,
    Java,
    /// In this process.
    Rust,
}

/// Those that are programs.
pub(crate) const FOREIGN: [Client; 3] = [Client::Python, Client::Node, Client::Java];

/// What a client is asked to do.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) port: u16,
    pub(crate) user: String,
    pub(crate) password: String,
    pub(crate) service: String,
    /// LOBs through their locators instead of inline.
    pub(crate) lobs: bool,
    pub(crate) rows: u32,
    /// Milliseconds a call may take; 0: any time.
    pub(crate) timeout: u32,
    /// A folder with `ewallet.pem`, and `trust.p12` and `client.p12` for Java.
    pub(crate) wallet: Option<PathBuf>,
    pub(crate) statements: Vec<(String, Vec<Json>)>,
}

impl Request {
    pub(crate) fn new(port: u16) -> Self {
        Self {
            port,
            user: "app".into(),
            password: crate::PASSWORD.into(),
            service: "orclpdb1".into(),
            lobs: false,
            rows: 100,
            timeout: 0,
            wallet: None,
            statements: Vec::new(),
        }
    }

    pub(crate) fn statement(mut self, sql: impl Into<String>) -> Self {
        self.statements.push((sql.into(), Vec::new()));
        self
    }

    pub(crate) fn bound(mut self, sql: &str, binds: Vec<Json>) -> Self {
        self.statements.push((sql.into(), binds));
        self
    }
}

/// What came of a statement, or of the connection.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    Rows {
        columns: Vec<String>,
        rows: Vec<Vec<Option<String>>>,
    },
    /// Its code, and the message.
    Error(String, String),
}

impl Outcome {
    #[track_caller]
    pub(crate) fn rows(&self) -> &[Vec<Option<String>>] {
        match self {
            Self::Rows { rows, .. } => rows,
            Self::Error(code, message) => panic!("{code}: {message}"),
        }
    }

    #[track_caller]
    pub(crate) fn error(&self) -> &str {
        match self {
            Self::Rows { rows, .. } => panic!("no error, but {} rows", rows.len()),
            Self::Error(code, _) => code,
        }
    }
}

/// Runs a client. A connection that failed is one outcome.
pub(crate) fn run(client: Client, request: &Request) -> Vec<Outcome> {
    let Request { port, service, .. } = request;
    let host = if request.wallet.is_some() { format!("tcps://localhost:{port}") } else { format!("127.0.0.1:{port}") };
    let dsn = format!("{host}/{service}");
    let input = match client {
        Client::Java => lines(request),
        _ => json!({
            "dsn": dsn, "user": request.user, "password": request.password, "lobs": request.lobs,
            "arraysize": request.rows, "timeout": request.timeout, "tls": tls(client, request),
            "statements": request.statements.iter().map(|(sql, binds)| json!({"sql": sql, "binds": binds})).collect::<Vec<_>>(),
        })
        .to_string(),
    };
    let cache = cache().join("oracle");
    let here = connect_tests::root().join("tests/oracle-double/tests/clients");
    let mut command = match client {
        Client::Python => {
            let mut command = within_a_minute(cache.join("venv/bin/python"));
            command.arg(here.join("client.py"));
            command
        }
        Client::Node => {
            let mut command = within_a_minute("node");
            command.arg(here.join("client.cjs")).arg(cache.join("node"));
            command
        }
        Client::Java => {
            let mut command = within_a_minute("java");
            // Quick to start; what it says of the time zone is its own.
            command.args(["-Xmx256m", "-XX:TieredStopAtLevel=1", "-Duser.timezone=UTC", "-cp"]);
            command.arg(format!("{}:{}/jdbc/lib/*", java_classes().display(), cache.display())).arg("Client");
            command
        }
        Client::Rust => return crate::driver::run(request),
    };
    let mut child = command
        .env("TZ", "UTC")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{client:?}: {e}; `scripts/setup tests` installs it"));
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let printed: Json = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{client:?}: {e}\n{}", String::from_utf8_lossy(&output.stderr)));
    match printed {
        Json::Array(all) => all.iter().map(outcome).collect(),
        one => vec![outcome(&one)],
    }
}

/// A program that is ended when it hangs.
fn within_a_minute(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("timeout");
    command.arg("60").arg(program);
    command
}

fn outcome(printed: &Json) -> Outcome {
    if let Some(code) = printed["error"].as_str() {
        return Outcome::Error(code.to_owned(), printed["message"].as_str().unwrap_or_default().to_owned());
    }
    let text = |v: &Json| v.as_str().map(str::to_owned);
    let columns = printed["columns"].as_array().unwrap().iter().filter_map(text).collect();
    let rows = printed["rows"].as_array().unwrap().iter();
    Outcome::Rows { columns, rows: rows.map(|row| row.as_array().unwrap().iter().map(text).collect()).collect() }
}

fn tls(client: Client, request: &Request) -> Json {
    match (&request.wallet, client) {
        (None, _) => json!({}),
        (Some(wallet), Client::Python) => json!({"wallet_location": wallet, "ssl_server_dn_match": true}),
        (Some(wallet), _) => json!({"walletLocation": wallet, "sslServerDNMatch": true}),
    }
}

/// As Java's client reads it.
fn lines(request: &Request) -> String {
    let Request { port, service, user, password, rows, timeout, .. } = request;
    let (protocol, host) = if request.wallet.is_some() { ("tcps", "localhost") } else { ("tcp", "127.0.0.1") };
    let mut all = format!("url=jdbc:oracle:thin:@{protocol}://{host}:{port}/{service}\n");
    all += &format!("user={user}\npassword={password}\narraysize={rows}\ntimeout={timeout}\n");
    if let Some(wallet) = &request.wallet {
        for (kind, file) in [("trustStore", "trust.p12"), ("keyStore", "client.p12")] {
            all += &format!("javax.net.ssl.{kind}={}/{file}\n", wallet.display());
            all += &format!("javax.net.ssl.{kind}Type=PKCS12\njavax.net.ssl.{kind}Password=changeit\n");
        }
        all += "oracle.net.ssl_server_dn_match=true\n";
    }
    for (sql, binds) in &request.statements {
        all += &format!("sql={}\n", question_marks(sql));
        for bind in binds {
            all += &format!("bind={}\n", bind.as_str().map_or_else(|| bind.to_string(), str::to_owned));
        }
    }
    all
}

/// JDBC's binds have no names.
fn question_marks(sql: &str) -> String {
    let parts: Vec<&str> = sql.split(':').collect();
    let rest = parts[1..].iter().map(|p| p.trim_start_matches(|c: char| c.is_ascii_alphanumeric()));
    std::iter::once(parts[0]).chain(rest).collect::<Vec<_>>().join("?")
}

/// Where `scripts/setup` installs.
fn cache() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    cache.unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache")).join("connect-runtime")
}

/// Java's client, compiled once for all tests of this process.
fn java_classes() -> &'static PathBuf {
    static CLASSES: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, folder) = CLASSES.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let source = connect_tests::root().join("tests/oracle-double/tests/clients/Client.java");
        let mut javac = Command::new("javac");
        javac.arg("-cp").arg(cache().join("oracle/jdbc/lib/*")).arg("-d").arg(folder.path()).arg(source);
        let out = javac.output().unwrap_or_else(|e| panic!("javac: {e}; `scripts/setup tests` installs it"));
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let path = folder.path().to_owned();
        (folder, path)
    });
    folder
}
