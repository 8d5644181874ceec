//! A listener on loopback, and a thread for each connection.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use crate::faults::Faults;
use crate::handshake::Personality;
use crate::model::Model;
use crate::packet::{Packets, Stream};
use crate::session::Session;
use crate::store::Database;
use crate::types::Type;

/// What all sessions share.
pub(crate) struct Shared {
    pub(crate) personality: Personality,
    pub(crate) database: Database,
    pub(crate) faults: Faults,
    pub(crate) redirect: Option<String>,
    tls: Option<Arc<ServerConfig>>,
    next: AtomicU32,
    ended: AtomicBool,
    /// The connections that there are, by their sessions' numbers.
    streams: Mutex<HashMap<u32, TcpStream>>,
}

/// How a server is secured.
#[derive(Clone, Debug)]
pub struct Tls {
    /// PEM: the server's certificate, and authorities between it and the root.
    pub certificate: std::path::PathBuf,
    /// PEM: its key.
    pub key: std::path::PathBuf,
    /// PEM: the authority that a client's certificate must be of; without it none is asked for.
    pub client_authority: Option<std::path::PathBuf>,
}

impl Tls {
    fn config(&self) -> Result<ServerConfig, Box<dyn std::error::Error>> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let certificates = read(&self.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&self.key)?;
        let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
        let builder = match &self.client_authority {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                for certificate in read(authority)? {
                    roots.add(certificate)?;
                }
                builder.with_client_cert_verifier(
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?,
                )
            }
        };
        Ok(builder.with_single_cert(certificates, key)?)
    }
}

fn read(file: &Path) -> Result<Vec<CertificateDer<'static>>, rustls::pki_types::pem::Error> {
    CertificateDer::pem_file_iter(file)?.collect()
}

/// What a server is started with.
#[derive(Clone)]
pub struct Options {
    personality: Personality,
    tls: Option<Tls>,
    redirect: Option<String>,
    port: u16,
}

impl Options {
    /// In the clear, on a free port.
    pub fn new(personality: Personality) -> Self {
        Self { personality, tls: None, redirect: None, port: 0 }
    }

    /// By TLS.
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Sends each client to another port of this machine, as a listener of a cluster does.
    pub fn redirect_to(mut self, port: u16) -> Self {
        self.redirect = Some(format!("(ADDRESS=(PROTOCOL=tcp)(HOST=127.0.0.1)(PORT={port}))"));
        self
    }

    /// On this port.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }
}

/// A running server. It ends when it is dropped, and its connections with it.
pub struct Double {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<std::thread::JoinHandle<()>>,
}

impl Double {
    /// Starts one on loopback.
    ///
    /// # Errors
    /// When the port is taken.
    ///
    /// # Panics
    /// When a certificate or a key cannot be read.
    pub fn start(model: Model, options: Options) -> io::Result<Self> {
        Self::over(Database::new(model), options)
    }

    /// Starts a further server over a database: another listener, another personality.
    ///
    /// # Errors
    /// When the port is taken.
    ///
    /// # Panics
    /// When a certificate or a key cannot be read.
    pub fn over(database: Database, options: Options) -> io::Result<Self> {
        let tls = options.tls.map(|tls| Arc::new(tls.config().unwrap_or_else(|e| panic!("{tls:?}: {e}"))));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            personality: options.personality,
            database,
            faults: Faults::default(),
            redirect: options.redirect,
            tls,
            next: AtomicU32::new(100),
            ended: AtomicBool::new(false),
            streams: Mutex::default(),
        });
        let accepting = shared.clone();
        let acceptor =
            std::thread::Builder::new().name("oracle-double".into()).spawn(move || accept(&listener, &accepting))?;
        Ok(Self { address, shared, acceptor: Some(acceptor) })
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Its database, to change it.
    pub fn database(&self) -> Database {
        self.shared.database.clone()
    }

    /// The names and types of a table's columns.
    ///
    /// # Panics
    /// When there is no such table.
    pub fn columns(&self, owner: &str, table: &str) -> Vec<(String, Type)> {
        let state = self.shared.database.read();
        let table = state.find(owner, table).unwrap_or_else(|| panic!("there is no table {owner}.{table}"));
        state.tables[table].def.columns.iter().map(|c| (c.name.clone(), c.kind)).collect()
    }

    /// Its faults, and what it has seen.
    pub fn faults(&self) -> Faults {
        self.shared.faults.clone()
    }

    /// Cuts all connections that there are; new ones are served.
    pub fn cut_connections(&self) {
        let mut streams = self.shared.streams.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, stream) in streams.drain() {
            // One that has ended already is cut.
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.cut_connections();
        // Wakes the acceptor, which then sees that it has ended.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.ended.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let id = shared.next.fetch_add(1, Ordering::Relaxed);
        let Ok(other) = stream.try_clone() else { continue };
        shared.streams.lock().unwrap_or_else(PoisonError::into_inner).insert(id, other);
        let shared = shared.clone();
        let session = move || {
            // One that ends with an error ends as a client's connection does: the client sees it.
            let _ = serve(stream, shared.clone(), id);
            let stream = shared.streams.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
            stream.map(|stream| stream.shutdown(std::net::Shutdown::Both))
        };
        // Without a thread to serve it, the connection is closed.
        let _ = std::thread::Builder::new().name("oracle-session".into()).spawn(session);
    }
}

fn serve(stream: TcpStream, shared: Arc<Shared>, id: u32) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (stream, protocol) = match &shared.tls {
        None => (Stream::Plain(stream), "tcp"),
        Some(config) => {
            let connection = ServerConnection::new(config.clone()).map_err(io::Error::other)?;
            (Stream::Tls(Box::new(StreamOwned::new(connection, stream))), "tcps")
        }
    };
    Session::serve(Packets::new(stream), shared, id, protocol)
}
