//! Throw-away PostgreSQL servers and SQL through `psql`.
//!
//! A server lives in a folder of its own, listens on a free loopback port with SCRAM, and is stopped and
//! removed by a small shell that waits for our end of a pipe to close: so it ends with the test process
//! even when that is killed, and no test needs to clean up.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

/// Password of [`USER`]. No output of the program may ever hold it.
pub const PASSWORD: &str = "pa55-Zwiebelkuchen;'%";
/// The role the program connects as: owns the test databases, is no superuser.
pub const USER: &str = "app";

/// A running server.
pub struct Server {
    bin: PathBuf,
    folder: PathBuf,
    /// Its TCP port on 127.0.0.1.
    pub port: u16,
    keeper: Child,
}

/// One database of a server, for one test.
#[derive(Clone)]
pub struct Database {
    server: &'static Server,
    /// Its name.
    pub name: String,
}

/// A running `psql`; killed when dropped, which ends its backend too.
pub struct Background(Child);

impl Server {
    /// Starts a server of its own.
    ///
    /// # Panics
    /// When there is no PostgreSQL on the machine (`scripts/setup` installs it) or it does not start.
    pub fn start() -> Self {
        Self::start_with(|_| {}, &[], None)
    }

    /// Starts a server of its own with files that `files` puts into its folder, these lines more in
    /// `postgresql.conf`, and another `pg_hba.conf` if one is given.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub fn start_with(files: impl FnOnce(&Path), settings: &[&str], hba: Option<&str>) -> Self {
        Self::start_from(programs(), files, settings, hba)
    }

    /// Starts a server of its own of a major version; `None` where that is not installed.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub fn of_version(major: u32) -> Option<Self> {
        let bin = installed().into_iter().find(|(version, _)| *version == major)?.1;
        Some(Self::start_from(bin, |_| {}, &[], None))
    }

    fn start_from(bin: PathBuf, files: impl FnOnce(&Path), settings: &[&str], hba: Option<&str>) -> Self {
        let folder = tempfile::Builder::new().prefix("connect-pg-").tempdir().unwrap().keep();
        let user = unprivileged();
        if let Some((uid, gid)) = user {
            chown(&folder, Some(uid), Some(gid)).unwrap();
        }
        fs::write(folder.join("password"), PASSWORD).unwrap();
        fs::set_permissions(folder.join("password"), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        let mut initdb = as_user(user, &bin.join("initdb"), &folder);
        initdb.args(["-D", "data", "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]);
        initdb.args(["--auth-local=trust", "--auth-host=scram-sha-256", "--pwfile=password"]);
        let made = initdb.output().unwrap();
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));

        let known: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files(&folder);
        if let Some((uid, gid)) = user {
            let all = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
            all.filter(|path| !known.contains(path)).for_each(|path| chown(path, Some(uid), Some(gid)).unwrap());
        }
        if let Some(hba) = hba {
            fs::write(folder.join("data/pg_hba.conf"), hba).unwrap();
        }
        for setting in [
            "listen_addresses = '127.0.0.1'",
            "wal_level = logical",
            "fsync = off",
            "synchronous_commit = off",
            "full_page_writes = off",
            "max_connections = 200",
            "max_replication_slots = 50",
            "max_wal_senders = 50",
            "max_wal_size = 4GB",
            "log_connections = off",
        ]
        .iter()
        .chain(settings)
        {
            let mut file = fs::OpenOptions::new().append(true).open(folder.join("data/postgresql.conf")).unwrap();
            writeln!(file, "{setting}").unwrap();
        }
        let server = Self::launch(bin, folder);
        let quoted = PASSWORD.replace('\'', "''");
        server.sql("postgres", &format!("CREATE ROLE {USER} LOGIN PASSWORD '{quoted}'"));
        server
    }

    /// Starts what lies in a folder.
    fn launch(bin: PathBuf, folder: PathBuf) -> Self {
        let user = unprivileged();
        let port = free_port();
        // `read` returns when the test process closes the pipe or dies; SIGINT is a fast shutdown. A restart
        // has made another process of the server.
        let script = format!(
            "'{}' -D data -p {port} -k \"$PWD\" >log 2>&1 & server=$!; read -r _; \
             now=$(head -n 1 data/postmaster.pid); kill -INT $now; wait $server; \
             while kill -0 $now 2>/dev/null; do sleep 0.1; done; cd /; rm -rf \"$OLDPWD\"",
            bin.join("postgres").display()
        );
        let mut keeper = as_user(user, Path::new("/bin/sh"), &folder);
        // A process group of its own: ^C at the terminal reaches the server through the pipe only.
        keeper.args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let server = Self { bin, folder, port, keeper: keeper.spawn().unwrap() };
        let deadline = Instant::now() + Duration::from_secs(180);
        while !server.psql("postgres", "SELECT 1").output().unwrap().status.success() {
            let log = fs::read_to_string(server.folder.join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "PostgreSQL does not start: {log}");
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }

    /// Starts a replica of it, with these lines more in `postgresql.conf`; it follows for as long as it runs.
    ///
    /// # Panics
    /// When it cannot be copied or does not start.
    pub fn replica(&self, settings: &[&str]) -> Self {
        let (user, folder) = (unprivileged(), tempfile::Builder::new().prefix("connect-pg-").tempdir().unwrap().keep());
        if let Some((uid, gid)) = user {
            chown(&folder, Some(uid), Some(gid)).unwrap();
        }
        let mut copy = as_user(user, &self.bin.join("pg_basebackup"), &folder);
        copy.args(["-D", "data", "-R", "-c", "fast", "--no-sync", "-U", "postgres", "-p", &self.port.to_string()]);
        let copied = copy.arg("-h").arg(&self.folder).output().unwrap();
        assert!(copied.status.success(), "pg_basebackup: {}", String::from_utf8_lossy(&copied.stderr));
        let mut file = fs::OpenOptions::new().append(true).open(folder.join("data/postgresql.conf")).unwrap();
        settings.iter().for_each(|setting| writeln!(file, "{setting}").unwrap());
        Self::launch(self.bin.clone(), folder)
    }

    /// The server that the tests of this process share; it ends with the process.
    pub fn shared() -> &'static Self {
        static SERVER: OnceLock<Server> = OnceLock::new();
        SERVER.get_or_init(Self::start)
    }

    /// The process id of its postmaster.
    ///
    /// # Panics
    /// When it does not run.
    pub fn pid(&self) -> u32 {
        let file = fs::read_to_string(self.folder.join("data/postmaster.pid")).unwrap();
        file.lines().next().and_then(|line| line.parse().ok()).unwrap()
    }

    /// Restarts it: every connection breaks.
    ///
    /// # Panics
    /// When it does not come back.
    pub fn restart(&self) {
        let mut control = as_user(unprivileged(), &self.bin.join("pg_ctl"), &self.folder);
        control.args(["-D", "data", "-m", "fast", "-w", "-s", "-l", "log", "restart"]);
        assert!(control.stdin(Stdio::null()).stdout(Stdio::null()).status().unwrap().success(), "no restart");
    }

    /// The folder with its files; its sockets are there too.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A new, empty database on it.
    pub fn database(&'static self) -> Database {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("db{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name} OWNER {USER}"));
        self.sql(&name, &format!("ALTER SCHEMA public OWNER TO {USER}"));
        Database { server: self, name }
    }

    /// Runs statements in the database `postgres` as [`Database::sql`] does.
    ///
    /// # Panics
    /// When a statement fails.
    pub fn postgres(&self, sql: &str) -> String {
        self.in_database("postgres", sql)
    }

    /// Runs statements in a database of that name as [`Database::sql`] does.
    ///
    /// # Panics
    /// When a statement fails.
    pub fn in_database(&self, name: &str, sql: &str) -> String {
        self.sql(name, sql).trim_end_matches('\n').to_owned()
    }

    fn psql(&self, database: &str, sql: &str) -> Command {
        let mut command = Command::new(self.bin.join("psql"));
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", database, "-c", sql]);
        command.args(["-h", self.folder.to_str().unwrap(), "-p", &self.port.to_string()]);
        command.env("PGCLIENTENCODING", "UTF8").stdin(Stdio::null());
        command
    }

    fn sql(&self, database: &str, sql: &str) -> String {
        let out = self.psql(database, sql).output().unwrap();
        assert!(out.status.success(), "{sql}\n{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

impl Database {
    /// The server's TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.server.port
    }

    /// Runs statements and returns what they print: rows as lines, columns separated by `|`.
    ///
    /// # Panics
    /// When a statement fails.
    pub fn sql(&self, sql: &str) -> String {
        self.server.in_database(&self.name, sql)
    }

    /// Runs statements as [`USER`].
    ///
    /// # Panics
    /// When a statement fails.
    pub fn sql_as_user(&self, sql: &str) -> String {
        self.sql(&format!("SET ROLE {USER}; {sql}"))
    }

    /// Starts statements and does not wait for them.
    pub fn background(&self, sql: &str) -> Background {
        Background(self.server.psql(&self.name, sql).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap())
    }
}

impl Background {
    /// Waits for the end of the statements.
    ///
    /// # Panics
    /// When they fail.
    pub fn finish(mut self) {
        let mut errors = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        assert!(self.0.wait().unwrap().success(), "{errors}");
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // A server that works on a statement does not notice that its client has gone, and goes on for ever, and what is
        // locked stays locked: psql cancels it when it is interrupted.
        while let Ok(None) = self.0.try_wait() {
            let _ = Command::new("kill").args(["-INT", &self.0.id().to_string()]).status();
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Quotes an SQL identifier.
pub fn quoted(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

/// A loopback port that nothing listens on, for as long as this process runs: it stays bound, so that the system gives it
/// to nobody who asks for any port. Servers may listen on it, since they all take addresses that may be bound again.
pub fn free_port() -> u16 {
    static TAKEN: Mutex<Vec<Socket>> = Mutex::new(Vec::new());
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    let port = socket.local_addr().unwrap().as_socket().unwrap().port();
    TAKEN.lock().unwrap().push(socket);
    port
}

/// The folder with the programs of the server that the tests run on: the newest, or the major version that
/// `CONNECT_TESTS_POSTGRES` names.
fn programs() -> PathBuf {
    let mut found = installed();
    if let Ok(wanted) = std::env::var("CONNECT_TESTS_POSTGRES") {
        found.retain(|(version, _)| version.to_string() == wanted);
        return found.pop().unwrap_or_else(|| panic!("PostgreSQL {wanted} is not installed")).1;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = || std::env::split_paths(&path).find(|p| p.join("initdb").exists());
    found.pop().map(|(_, bin)| bin).or_else(on_path).expect("no PostgreSQL on this machine: run scripts/setup")
}

/// The major versions that Debian's packages installed, oldest first, with the folders of their programs.
fn installed() -> Vec<(u32, PathBuf)> {
    let entries = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().map(|entry| entry.unwrap().path());
    let version = |path: &Path| path.file_name()?.to_str()?.parse().ok();
    let found = entries.filter_map(|path| Some((version(&path)?, path.join("bin"))));
    let mut found: Vec<(u32, PathBuf)> = found.filter(|(_, bin)| bin.join("initdb").exists()).collect();
    found.sort();
    found
}

/// Whom the server runs as when we are root, which PostgreSQL refuses: uid and gid.
fn unprivileged() -> Option<(u32, u32)> {
    let id = |args: &[&str]| -> Option<u32> {
        let out = Command::new("id").args(args).stderr(Stdio::null()).output().ok()?;
        String::from_utf8(out.stdout).ok()?.trim().parse().ok()
    };
    if id(&["-u"]) != Some(0) {
        return None;
    }
    let user = if id(&["-u", "postgres"]).is_some() { "postgres" } else { "nobody" };
    Some((id(&["-u", user])?, id(&["-g", user])?))
}

fn as_user(user: Option<(u32, u32)>, program: &Path, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder).env("PWD", folder).env("LC_ALL", "C.UTF-8");
    if let Some((uid, gid)) = user {
        command.uid(uid).gid(gid);
    }
    command
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_free_port_is_nobody_elses_and_a_server_may_listen_there() {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let other = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        assert!(other.bind(&address.into()).is_err());
        for _ in 0..2 {
            assert!(TcpStream::connect(address).is_err());
            let server = TcpListener::bind(address).unwrap();
            assert!(TcpStream::connect(address).is_ok());
            drop(server);
        }
    }
}
