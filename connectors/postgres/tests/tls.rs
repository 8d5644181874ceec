//! TLS and logins against a real server: each mode accepts and refuses what libpq would.

#![expect(clippy::unwrap_used, clippy::panic, reason = "test code: a panic is a failed assertion")]

mod source;

use std::io::{ErrorKind as IoErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use connect_tests::certificates::Authority;
use connect_tests::postgres::{PASSWORD, Server, USER};
use connector_api::{ErrorKind, Position, Progress, Source, TaskContext};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};

const HBA: &str = "
local     all all        trust
hostssl   all tls_only   127.0.0.1/32 scram-sha-256
hostnossl all plain_only 127.0.0.1/32 scram-sha-256
hostssl   all certified  127.0.0.1/32 scram-sha-256 clientcert=verify-ca
host      all md5_user   127.0.0.1/32 md5
host      all clear_user 127.0.0.1/32 password
host      all app        127.0.0.1/32 scram-sha-256
";

/// A server with TLS, whose certificate is made out to `localhost`; the authorities lie in its folder.
fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let certificates = |folder: &Path| {
            let authority = Authority::new(folder, "authority");
            authority.sign("server", "db.invalid", "subjectAltName = DNS:localhost");
            authority.sign("named", "localhost", "");
            authority.sign("client", "somebody", "");
            let other = Authority::new(folder, "other");
            other.sign("impostor", "localhost", "subjectAltName = DNS:localhost");
        };
        let settings = [
            "ssl = on",
            "ssl_cert_file = '../server.pem'",
            "ssl_key_file = '../server.key'",
            "ssl_ca_file = '../authority.pem'",
        ];
        let server = Server::start_with(certificates, &settings, Some(HBA));
        server.postgres(&format!(
            "SET password_encryption = md5; CREATE ROLE md5_user LOGIN PASSWORD '{0}'; RESET password_encryption;
             CREATE ROLE clear_user LOGIN PASSWORD '{0}'; CREATE ROLE tls_only LOGIN PASSWORD '{0}';
             CREATE ROLE plain_only LOGIN PASSWORD '{0}'; CREATE ROLE certified LOGIN PASSWORD '{0}'",
            PASSWORD.replace('\'', "''")
        ));
        server
    })
}

fn file(name: &str) -> String {
    server().folder().join(name).to_str().unwrap().to_owned()
}

fn source(keys: &[(&str, &str)]) -> Box<dyn Source> {
    source::source(server().port, "postgres", &[&[("connect.timeout.ms", "5000")], keys].concat())
}

/// Whether the connection is made with TLS (`t`), without (`f`), or why not at all.
async fn connects(keys: &[(&str, &str)]) -> Result<String, String> {
    let user = keys.iter().find(|(k, _)| *k == "database.user").map_or(USER, |(_, user)| user);
    let sessions = |what: &str| {
        server().postgres(&format!(
            "SELECT {what} FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
             WHERE application_name = 'connect-runtime' AND usename = '{user}' AND datname = 'postgres'"
        ))
    };
    // The other users connect in one way only.
    while user == USER && sessions("count(*)") != "0" {
        std::thread::sleep(Duration::from_millis(5));
    }
    let source = source(keys);
    match source.plan(&Progress::default()).await {
        Ok(_) => Ok(sessions("DISTINCT ssl")),
        Err(e) => {
            assert_eq!(e.kind(), ErrorKind::Fatal, "{e:#}");
            let shown = format!("{e:#}");
            assert!(!shown.contains(PASSWORD), "{shown}");
            Err(shown)
        }
    }
}

#[track_caller]
fn refused(result: Result<String, String>, says: &str) {
    let why = result.unwrap_err();
    assert!(why.contains(says), "{why}");
}

fn with<T>(value: &str) -> Result<String, T> {
    Ok(value.to_owned())
}

/// One test, since the sessions of a role are told apart by nothing else.
#[tokio::test]
async fn each_mode_takes_the_way_that_libpq_takes() {
    let check = async |user: &str, mode: &str| connects(&[("database.user", user), ("database.sslmode", mode)]).await;
    for (mode, tls) in [("disable", "f"), ("allow", "f"), ("prefer", "t"), ("require", "t")] {
        assert_eq!(check("app", mode).await, with(tls), "{mode}");
    }
    // By default TLS is used where it is to be had.
    assert_eq!(connects(&[]).await, with("t"));
    for (mode, tls) in [("allow", "t"), ("prefer", "t"), ("require", "t")] {
        assert_eq!(check("tls_only", mode).await, with(tls), "{mode}");
    }
    refused(check("tls_only", "disable").await, "no encryption");
    for (mode, tls) in [("disable", "f"), ("allow", "f"), ("prefer", "f")] {
        assert_eq!(check("plain_only", mode).await, with(tls), "{mode}");
    }
    refused(check("plain_only", "require").await, "SSL encryption");
    // A wrong password is wrong on any way, and is said once.
    let wrong = [("database.password", "hunter2"), ("database.sslmode", "prefer")];
    refused(connects(&wrong).await, "28P01");
}

#[tokio::test]
async fn md5_and_clear_text_log_in() {
    for user in ["md5_user", "clear_user"] {
        assert!(connects(&[("database.user", user)]).await.is_ok(), "{user}");
        refused(connects(&[("database.user", user), ("database.password", "hunter2")]).await, "28P01");
    }
}

#[tokio::test]
async fn verification_is_of_the_authority_and_of_the_name() {
    let (ours, other, leaf) = (file("authority.pem"), file("other.pem"), file("server.pem"));
    let user = ("database.user", "tls_only");
    let check = async |mode: &str, root: &str, host: &str| {
        connects(&[user, ("database.sslmode", mode), ("database.sslrootcert", root), ("database.hostname", host)]).await
    };
    assert_eq!(check("verify-full", &ours, "localhost").await, with("t"));
    assert_eq!(check("verify-ca", &ours, "127.0.0.1").await, with("t"));
    assert_eq!(check("require", &ours, "127.0.0.1").await, with("t"));
    refused(check("verify-full", &ours, "127.0.0.1").await, "not made out to database.hostname");
    for mode in ["verify-full", "verify-ca", "require"] {
        refused(check(mode, &other, "localhost").await, "is not in database.sslrootcert");
    }
    // The server's own certificate as the only one that is trusted: usual where it has signed itself.
    assert_eq!(check("verify-full", &leaf, "localhost").await, with("t"));
    // `prefer` goes on without TLS rather than not at all; this user may not.
    refused(check("prefer", &other, "localhost").await, "no encryption");
    let app = [("database.sslrootcert", other.as_str()), ("database.user", "plain_only")];
    assert_eq!(connects(&app).await, with("f"));
}

#[tokio::test]
async fn a_client_is_known_by_its_certificate() {
    let user = [("database.user", "certified"), ("database.sslmode", "require")];
    let check = async |name: &str| {
        let (certificate, key) = (file(&format!("{name}.pem")), file(&format!("{name}.key")));
        let files = [("database.sslcert", certificate.as_str()), ("database.sslkey", key.as_str())];
        connects(&[&user[..], &files].concat()).await
    };
    refused(connects(&user).await, "requires a valid client certificate");
    assert_eq!(check("client").await, with("t"));
    refused(check("impostor").await, "the server refuses");
    let (certificate, key) = (file("client.pem"), file("server.key"));
    let wrong = [("database.sslcert", certificate.as_str()), ("database.sslkey", key.as_str())];
    let wrong = std::panic::catch_unwind(|| source(&wrong));
    assert!(wrong.is_err(), "a key of another certificate is a configuration error");
}

/// A server whose certificate has no alternative names is known by its common name, as libpq does it.
#[tokio::test]
async fn a_common_name_counts_where_there_is_no_other() {
    let folder = |folder: &Path| {
        let authority = Authority::new(folder, "authority");
        authority.sign("server", "localhost", "");
    };
    let settings = ["ssl = on", "ssl_cert_file = '../server.pem'", "ssl_key_file = '../server.key'"];
    let server = Server::start_with(folder, &settings, None);
    let (port, root) = (server.port.to_string(), server.folder().join("authority.pem"));
    let check = async |host: &str| {
        let keys = [
            ("database.port", port.as_str()),
            ("database.hostname", host),
            ("database.sslmode", "verify-full"),
            ("database.sslrootcert", root.to_str().unwrap()),
        ];
        source(&keys).tables().await.map(drop).map_err(|e| format!("{e:#}"))
    };
    assert_eq!(check("localhost").await, Ok(()));
    assert!(check("127.0.0.1").await.unwrap_err().contains("not made out to"));
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_tls_is_demanded() {
    let port = Server::shared().port.to_string();
    let check = async |mode: &str| {
        let keys = [("database.port", port.as_str()), ("database.sslmode", mode)];
        source(&keys).tables().await.map(drop).map_err(|e| format!("{e:#}"))
    };
    for mode in ["disable", "allow", "prefer"] {
        assert_eq!(check(mode).await, Ok(()), "{mode}");
    }
    assert!(check("require").await.unwrap_err().contains("does not offer TLS"));
}

/// Rows that come through TLS are the same rows, read by several connections; an ended task cancels there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_come_through_tls() {
    server().postgres("CREATE DATABASE rows");
    let sql = format!(
        "CREATE TABLE wide (id int, v text); GRANT SELECT ON wide TO {USER};
         INSERT INTO wide SELECT i, repeat(md5(i::text), 30) FROM generate_series(1, 20000) i"
    );
    server().in_database("rows", &sql);
    let root = file("authority.pem");
    let source = source(&[
        ("database.dbname", "rows"),
        ("database.hostname", "localhost"),
        ("database.sslmode", "verify-full"),
        ("database.sslrootcert", &root),
        ("parallel.chunk.size", "1MiB"),
    ]);
    let plan = source.plan(&Progress::default()).await.unwrap();
    let (mut rows, mut bytes) = (0, 0);
    for split in &plan.tables[0].splits {
        let mut task = source.open(split, Position::Start, TaskContext::new("test", 0, 64 << 20)).await.unwrap();
        while let Some(batch) = task.next().await.unwrap() {
            rows += batch.rows().num_rows();
            let texts = batch.rows().column(1).as_any().downcast_ref::<arrow_array::StringArray>().unwrap();
            bytes += texts.value_data().len();
        }
        task.close().await.unwrap();
    }
    assert_eq!((rows, bytes), (20_000, 20_000 * 32 * 30));
    let copies = || {
        let sql =
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY%' AND state = 'active' AND datname = 'rows'";
        server().postgres(sql)
    };
    let mut task =
        source.open(&plan.tables[0].splits[0], Position::Start, TaskContext::new("test", 0, 1 << 20)).await.unwrap();
    assert!(task.next().await.unwrap().is_some());
    drop(task);
    for _ in 0..3000 {
        if copies() == "0" {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("the COPY goes on");
}

/// What somebody in the middle does to the server's offer of mechanisms.
#[derive(Clone, Copy)]
enum Meddling {
    /// Passes everything on.
    Nothing,
    /// Hides that a login can be bound to the channel.
    HidesBinding,
}

/// Somebody in the middle with a certificate of his own: a login that is bound to the channel does not pass.
#[tokio::test]
async fn a_login_is_bound_to_the_servers_certificate() {
    let check = async |certificate: &str, meddling: Meddling| {
        let port = in_the_middle(certificate, meddling).to_string();
        let keys = [("database.port", port.as_str()), ("database.user", "tls_only"), ("database.sslmode", "require")];
        source(&keys).tables().await.map(drop).map_err(|e| format!("{e:#}"))
    };
    // The twin: with the server's own certificate there is nothing to tell.
    assert_eq!(check("server", Meddling::Nothing).await, Ok(()));
    let why = check("impostor", Meddling::Nothing).await.unwrap_err();
    assert!(why.contains("channel binding check failed"), "{why}");
    let why = check("server", Meddling::HidesBinding).await.unwrap_err();
    assert!(why.contains("channel binding"), "{why}");
}

/// Takes one connection, with TLS on both sides.
fn in_the_middle(certificate: &str, meddling: Meddling) -> u16 {
    let path = |name: &str| PathBuf::from(file(name));
    let provider = || Arc::new(rustls::crypto::ring::default_provider());
    let chain = vec![CertificateDer::from_pem_file(path(&format!("{certificate}.pem"))).unwrap()];
    let key = PrivateKeyDer::from_pem_file(path(&format!("{certificate}.key"))).unwrap();
    let front = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let front = Arc::new(front.with_no_client_auth().with_single_cert(chain, key).unwrap());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(path("authority.pem")).unwrap()).unwrap();
    let back = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let back = Arc::new(back.with_root_certificates(roots).with_no_client_auth());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut server = TcpStream::connect(("127.0.0.1", server().port)).unwrap();
        let (mut request, mut answer) = ([0; 8], [0]);
        client.read_exact(&mut request).unwrap();
        server.write_all(&request).unwrap();
        server.read_exact(&mut answer).unwrap();
        client.write_all(&answer).unwrap();
        for socket in [&client, &server] {
            socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        }
        let mut client = StreamOwned::new(ServerConnection::new(front).unwrap(), client);
        let name = ServerName::try_from("localhost").unwrap();
        let mut server = StreamOwned::new(ClientConnection::new(back, name).unwrap(), server);
        while pass(&mut client, &mut server, Meddling::Nothing) && pass(&mut server, &mut client, meddling) {}
    });
    port
}

/// Passes on what has come; whether there may be more.
fn pass(from: &mut impl Read, to: &mut impl Write, meddling: Meddling) -> bool {
    const OFFER: &[u8] = b"R\0\0\0\x2a\0\0\0\x0aSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0";
    let mut buffer = [0; 16 << 10];
    match from.read(&mut buffer) {
        Ok(0) => false,
        Ok(n) => {
            let bytes = match meddling {
                Meddling::HidesBinding if &buffer[..n] == OFFER => &b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0"[..],
                _ => &buffer[..n],
            };
            to.write_all(bytes).and_then(|()| to.flush()).is_ok()
        }
        Err(e) => matches!(e.kind(), IoErrorKind::WouldBlock | IoErrorKind::TimedOut),
    }
}

/// What comes before the handshake is never taken for the server's word.
#[tokio::test]
async fn bytes_before_the_handshake_are_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    std::thread::spawn(move || {
        for mut socket in listener.incoming().map_while(Result::ok) {
            let mut request = [0; 8];
            let _ = socket.read_exact(&mut request);
            // "You are logged in, and I am ready": true words only from the server itself.
            let _ = socket.write_all(b"SR\0\0\0\x08\0\0\0\0Z\0\0\0\x05I");
            let _ = socket.read(&mut [0; 1024]);
        }
    });
    let source = source(&[("database.port", &port), ("database.sslmode", "require")]);
    let error = source.tables().await.unwrap_err();
    assert!(error.message().contains("while connecting"), "{error:#}");
}
