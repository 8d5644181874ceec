//! TLS as libpq's `sslmode` has it: which ways of connecting are tried, whom we believe, who we are.
//!
//! What must hold: nothing that came before the handshake is taken for the server's word, beyond the one
//! byte that answers the request for TLS; a mode that verifies never goes on without having verified.
//! Only `prefer` and `allow` ever go on without TLS. The provider is named, never the process's default:
//! other crates bring another one.

use std::fmt;
use std::io::{self, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use bytes::BytesMut;
use connector_api::Error;
use connector_api::config::Problem;
use postgres_protocol::message::frontend;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
    StreamOwned,
};

use super::certificate;
use crate::error::Failure;

/// Encrypted bytes that are asked of the socket at a time: rustls itself asks for one page.
const CIPHERTEXT: usize = 256 << 10;

/// How far a connection is to be trusted, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SslMode {
    Disable,
    Allow,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

/// The words of `database.sslmode`.
pub(crate) const SSL_MODES: &[&str] = &["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];

impl SslMode {
    /// The mode of a word; an unknown one is the strictest.
    pub(crate) fn of(word: &str) -> Self {
        match word {
            "disable" => Self::Disable,
            "allow" => Self::Allow,
            "prefer" => Self::Prefer,
            "require" => Self::Require,
            "verify-ca" => Self::VerifyCa,
            _ => Self::VerifyFull,
        }
    }
}

/// The files that TLS is configured by; empty is none.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Files<'a> {
    pub(crate) root: &'a str,
    pub(crate) certificate: &'a str,
    pub(crate) key: &'a str,
}

/// A way to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Without TLS.
    Plain,
    /// With TLS; without it only if the server has none and that will do.
    Tls { or_plain: bool },
}

/// What is needed to secure connections.
#[derive(Clone)]
pub(crate) struct Tls {
    mode: SslMode,
    client: Option<Arc<ClientConfig>>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.mode)
    }
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// A problem for each key whose file is missing, unreadable or not what it should be.
    pub(crate) fn new(mode: SslMode, files: Files<'_>) -> Result<Self, Vec<Problem>> {
        if mode == SslMode::Disable {
            return Ok(Self { mode, client: None });
        }
        let (trusted, identity) = (trusted(mode, files.root), identity(files.certificate, files.key));
        let (trusted, identity) = match (trusted, identity) {
            (Ok(trusted), Ok(identity)) => (trusted, identity),
            (a, b) => return Err(a.err().into_iter().chain(b.err()).collect()),
        };
        let provider = Arc::new(ring::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let verifier = Verifier { trusted, full: mode == SslMode::VerifyFull, algorithms };
        client(provider, verifier, identity)
            .map(|client| Self { mode, client: Some(Arc::new(client)) })
            .map_err(|e| vec![Problem::new("database.sslkey", format!("does not go with database.sslcert: {e}"))])
    }

    /// The ways to try, the preferred one first.
    pub(super) fn ways(&self) -> &'static [Way] {
        match self.mode {
            SslMode::Disable => &[Way::Plain],
            SslMode::Allow => &[Way::Plain, Way::Tls { or_plain: false }],
            SslMode::Prefer => &[Way::Tls { or_plain: true }, Way::Plain],
            _ => &[Way::Tls { or_plain: false }],
        }
    }

    /// Secures a fresh connection.
    pub(super) fn secure(&self, mut tcp: TcpStream, host: &str, or_plain: bool) -> Result<Stream, Failure> {
        let client = self.client.clone().ok_or(Failure::Protocol("TLS without a configuration"))?;
        let mut request = BytesMut::new();
        frontend::ssl_request(&mut request);
        tcp.write_all(&request)?;
        let mut answer = [0];
        // This byte and no more: what follows is the handshake's, whoever sent it.
        tcp.read_exact(&mut answer)?;
        match answer {
            [b'S'] => {}
            [b'N'] if or_plain => return Ok(Stream::Tcp(tcp)),
            [b'N'] => {
                let what = "the server does not offer TLS: set ssl = on there, or another database.sslmode";
                return Err(Failure::Stopped(Error::fatal(what)));
            }
            [b'E'] => {
                return Err(Failure::Stopped(Error::retriable("the server had an error when it was asked for TLS")));
            }
            _ => return Err(Failure::Protocol("the answer to the request for TLS is not PostgreSQL's")),
        }
        let name = match ServerName::try_from(host.to_owned()) {
            Ok(name) => name,
            // No certificate is made out to such a name, and it cannot be sent along.
            Err(_) => ServerName::from(tcp.peer_addr()?.ip()),
        };
        let mut connection = ClientConnection::new(client, name).map_err(io::Error::other)?;
        let mut socket = Socket(BufReader::with_capacity(CIPHERTEXT, tcp));
        while connection.is_handshaking() {
            connection.complete_io(&mut socket)?;
        }
        Ok(Stream::Tls(Box::new(StreamOwned::new(connection, socket))))
    }
}

fn client(
    provider: Arc<CryptoProvider>,
    verifier: Verifier,
    identity: Option<Identity>,
) -> Result<ClientConfig, rustls::Error> {
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    match identity {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key),
        None => Ok(builder.with_no_client_auth()),
    }
}

/// The authorities of this file, if one is named.
fn trusted(mode: SslMode, root: &str) -> Result<Option<Trusted>, Problem> {
    let problem = |what: String| Problem::new("database.sslrootcert", what);
    let certificates = match root {
        "" if mode >= SslMode::VerifyCa => {
            return Err(problem(
                "missing: a PEM file with the authority of the server's certificate, or \"system\"".into(),
            ));
        }
        "" => return Ok(None),
        // Anyone can have a certificate of a public authority: only the name tells who it is.
        "system" if mode != SslMode::VerifyFull => {
            return Err(problem("\"system\" is of use only with database.sslmode=verify-full".into()));
        }
        "system" => rustls_native_certs::load_native_certs().certs,
        file => certificates(file).map_err(problem)?,
    };
    let mut store = RootCertStore::empty();
    for certificate in &certificates {
        // A system's store may hold certificates that rustls does not take; a file that is named must be right.
        if let (Err(e), false) = (store.add(certificate.clone()), root == "system") {
            return Err(problem(format!("{root} holds a certificate that cannot be used: {e}")));
        }
    }
    if store.is_empty() {
        return Err(problem("this machine has no store of certificates".into()));
    }
    Ok(Some(Trusted { store, certificates }))
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn identity(certificate: &str, key: &str) -> Result<Option<Identity>, Problem> {
    match (certificate, key) {
        ("", "") => Ok(None),
        (_, "") => Err(Problem::new("database.sslkey", "missing: database.sslcert is set, and needs its private key")),
        ("", _) => Err(Problem::new("database.sslcert", "missing: database.sslkey is set, and needs its certificate")),
        _ => {
            let chain = certificates(certificate).map_err(|what| Problem::new("database.sslcert", what))?;
            let bad = |e| Problem::new("database.sslkey", unreadable(key, e, "unencrypted private key"));
            Ok(Some((chain, PrivateKeyDer::from_pem_file(key).map_err(bad)?)))
        }
    }
}

fn certificates(file: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let bad = |e| unreadable(file, e, "certificate");
    let found: Vec<_> = CertificateDer::pem_file_iter(file).map_err(bad)?.collect::<Result<_, _>>().map_err(bad)?;
    if found.is_empty() { Err(format!("{file} holds no certificate in PEM form")) } else { Ok(found) }
}

fn unreadable(file: &str, e: rustls::pki_types::pem::Error, wanted: &str) -> String {
    use rustls::pki_types::pem::Error;
    match e {
        Error::Io(e) => format!("cannot read {file}: {e}"),
        Error::NoItemsFound => format!("{file} holds no {wanted} in PEM form"),
        e => format!("{file} is not a PEM file: {e}"),
    }
}

#[derive(Debug)]
struct Trusted {
    store: RootCertStore,
    certificates: Vec<CertificateDer<'static>>,
}

/// Believes what libpq believes.
#[derive(Debug)]
struct Verifier {
    /// `None`: whoever answers.
    trusted: Option<Trusted>,
    /// Whether the certificate must be made out to the host.
    full: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(trusted) = &self.trusted else { return Ok(ServerCertVerified::assertion()) };
        let parsed = ParsedCertificate::try_from(end_entity)?;
        // A certificate that signed itself is its own authority, whatever uses it names.
        if trusted.certificates.iter().any(|known| known == end_entity) {
            let now = std::time::Duration::from_secs(now.as_secs());
            match certificate::in_force(end_entity, now) {
                Some(true) => {}
                Some(false) => return Err(CertificateError::Expired.into()),
                None => return Err(CertificateError::BadEncoding.into()),
            }
        } else {
            let all = self.algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&parsed, &trusted.store, intermediates, now, all)?;
        }
        if self.full {
            made_out_to(&parsed, end_entity, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Its alternative names decide; without any, its common name does.
fn made_out_to(
    parsed: &ParsedCertificate<'_>,
    der: &CertificateDer<'_>,
    name: &ServerName<'_>,
) -> Result<(), rustls::Error> {
    let wrong = match rustls::client::verify_server_name(parsed, name) {
        Ok(()) => return Ok(()),
        Err(wrong) => wrong,
    };
    match &wrong {
        rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext { presented, .. })
            if presented.is_empty() && certificate::is_called(der, &name.to_str()) == Some(true) =>
        {
            Ok(())
        }
        _ => Err(wrong),
    }
}

/// The transport.
pub(super) enum Stream {
    Tcp(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, Socket>>),
}

impl Stream {
    /// The socket below.
    pub(super) fn tcp(&self) -> &TcpStream {
        match self {
            Self::Tcp(tcp) => tcp,
            Self::Tls(tls) => tls.sock.0.get_ref(),
        }
    }

    /// What a login can be bound to.
    pub(super) fn channel(&self) -> Channel {
        match self {
            Self::Tcp(_) => Channel::Plain,
            Self::Tls(tls) => {
                let certificate = tls.conn.peer_certificates().and_then(<[_]>::first);
                Channel::Tls { end_point: certificate.and_then(|c| certificate::end_point(c)) }
            }
        }
    }
}

/// What a login can be bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Channel {
    Plain,
    /// With the `tls-server-end-point` of the server's certificate, if it has one.
    Tls {
        end_point: Option<Vec<u8>>,
    },
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(tcp) => tcp.read(buffer),
            Self::Tls(tls) => tls.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(tcp) => tcp.write(buffer),
            Self::Tls(tls) => tls.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(tcp) => tcp.flush(),
            Self::Tls(tls) => tls.flush(),
        }
    }
}

/// A socket that is read in large pieces.
pub(super) struct Socket(BufReader<TcpStream>);

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Socket {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0.get_mut().write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.get_mut().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(mode: SslMode, files: Files<'_>) -> Vec<String> {
        let problems = Tls::new(mode, files).err().unwrap_or_default();
        problems.iter().map(|p| format!("{}: {}", p.key, p.message)).collect()
    }

    #[test]
    fn files_are_as_they_should_be() {
        let none = Files::default();
        for mode in [SslMode::Disable, SslMode::Allow, SslMode::Prefer, SslMode::Require] {
            assert_eq!(check(mode, none), [""; 0]);
        }
        let missing =
            "database.sslrootcert: missing: a PEM file with the authority of the server's certificate, or \"system\"";
        assert_eq!(check(SslMode::VerifyCa, none), [missing]);
        let system = Files { root: "system", ..none };
        assert_eq!(
            check(SslMode::VerifyCa, system),
            ["database.sslrootcert: \"system\" is of use only with database.sslmode=verify-full"]
        );
        let here = "Cargo.toml";
        let files = Files { root: "/nowhere/root.pem", certificate: here, key: "" };
        assert_eq!(
            check(SslMode::Prefer, files),
            [
                "database.sslrootcert: cannot read /nowhere/root.pem: No such file or directory (os error 2)",
                "database.sslkey: missing: database.sslcert is set, and needs its private key",
            ]
        );
        let files = Files { root: here, certificate: here, key: here };
        assert_eq!(
            check(SslMode::VerifyFull, files),
            [
                format!("database.sslrootcert: {here} holds no certificate in PEM form"),
                format!("database.sslcert: {here} holds no certificate in PEM form"),
            ]
        );
        assert_eq!(check(SslMode::Disable, files), [""; 0], "nothing is read that is not used");
    }

    #[test]
    fn only_prefer_and_allow_go_without() {
        for (mode, plain) in [
            (SslMode::Disable, true),
            (SslMode::Allow, true),
            (SslMode::Prefer, true),
            (SslMode::Require, false),
            (SslMode::VerifyCa, false),
            (SslMode::VerifyFull, false),
        ] {
            let ways = Tls { mode, client: None }.ways();
            assert_eq!(ways.iter().any(|w| matches!(w, Way::Plain | Way::Tls { or_plain: true })), plain, "{mode:?}");
        }
    }
}
