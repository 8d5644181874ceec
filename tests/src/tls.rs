//! TLS before a server that speaks none, under an authority of its own.

use std::net::TcpStream;
use std::path::PathBuf;

use crate::certificates::Authority;
use crate::keeper::{self, Keeper};
use crate::lake::cache;
use crate::postgres::free_port;

/// A front that is listening; it ends when it is dropped.
pub struct TlsFront {
    /// The port to connect to on 127.0.0.1.
    pub port: u16,
    /// The authority's certificate, PEM.
    pub authority: PathBuf,
    _keeper: Keeper,
}

impl TlsFront {
    /// Starts one before a port, with a certificate for `localhost`.
    ///
    /// # Panics
    /// When it does not start.
    pub fn before(server_port: u16) -> Self {
        let folder: PathBuf = tempfile::Builder::new().prefix("connect-tls-").tempdir().unwrap().keep();
        let authority = Authority::new(&folder, "authority");
        authority.sign("front", "localhost", "subjectAltName = DNS:localhost");
        let port = free_port();
        let script = crate::root().join("tests/tls.py");
        let (listens, serves) = (port.to_string(), server_port.to_string());
        let args = ["-B", script.to_str().unwrap(), "front.pem", "front.key", &listens, &serves];
        let keeper = Keeper::start(&folder, &cache().join("venv/bin/python"), &args, &[]);
        keeper::until_ready(&folder, || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { port, authority: authority.pem(), _keeper: keeper }
    }
}
