//! A small blocking PostgreSQL client: connect, log in, simple queries, `COPY … TO STDOUT`.
//!
//! Our own instead of a driver, because the rows of a COPY are decoded in place in the receive buffer, one
//! thread per connection, at the speed of the wire; and because replication mode will run over the same
//! client, which the drivers do not offer. Message writing and SCRAM come from `postgres-protocol`.
//! Whatever the server sends is an error at worst, never a panic.

mod auth;
mod certificate;
mod inbox;
mod low_water;
mod tls;

use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::ops::Range;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use connector_api::{Error, Secret};
use postgres_protocol::message::frontend;
use socket2::{SockRef, TcpKeepalive};

use crate::error::{Failure, ServerError};
use auth::Login;
use inbox::Inbox;
use tls::{Stream, Way};

pub(crate) use tls::{Files, SSL_MODES, SslMode, Tls};

/// What the server shows of us in `pg_stat_activity`.
const APPLICATION: &str = "connect-runtime";
/// A message of so many bytes is announced to whoever takes it, before it is received.
const LARGE: usize = 16 << 20;
/// Longest message taken before the login is done: whatever answers more is not PostgreSQL.
const LONGEST_GREETING: usize = 64 * 1024;

/// How long a peer may leave what we send unacknowledged.
const DEAD_AFTER: Duration = Duration::from_secs(120);

/// Where and as whom to connect.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) user: String,
    pub(crate) password: Secret,
    pub(crate) dbname: String,
    pub(crate) tls: Tls,
    /// For the whole way to a usable connection.
    pub(crate) connect_timeout: Duration,
}

/// A row of a simple query: text or NULL per column.
#[derive(Debug)]
pub(crate) struct Row(Vec<Option<String>>);

impl Row {
    /// A column that may be NULL.
    pub(crate) fn get(&self, column: usize) -> Option<&str> {
        self.0.get(column).and_then(|c| c.as_deref())
    }

    /// A column that is never NULL.
    pub(crate) fn text(&self, column: usize) -> Result<&str, Failure> {
        self.get(column).ok_or(Failure::Protocol("a catalog column is missing or NULL"))
    }

    /// A number or other value that is never NULL.
    pub(crate) fn parse<T: std::str::FromStr>(&self, column: usize) -> Result<T, Failure> {
        self.text(column)?.parse().map_err(|_| Failure::Protocol("a catalog value does not parse"))
    }

    /// A truth value; NULL counts as false.
    pub(crate) fn flag(&self, column: usize) -> bool {
        self.get(column) == Some("t")
    }
}

/// Takes the payloads of a COPY where they lie.
pub(crate) trait CopySink {
    /// A `CopyData` payload at `payload` in `buffer`. Both stay in place until [`moving`](Self::moving).
    fn data(&mut self, buffer: &[u8], payload: Range<usize>) -> Result<(), Error>;

    /// The bytes seen so far are about to move: the last chance to read them.
    fn moving(&mut self, buffer: &[u8]) -> Result<(), Error>;

    /// A message that needs much memory is about to be received; waits until it may be. Nothing else of the
    /// connection is held meanwhile.
    fn large(&mut self) -> Result<(), Error>;
}

/// A connection, logged in.
pub(crate) struct Connection {
    stream: Stream,
    inbox: Inbox,
    out: BytesMut,
    peer: SocketAddr,
    backend: (i32, i32),
    /// How to secure one more connection to the same host; `None` when this one is not.
    secured: Option<(Tls, String)>,
}

impl Connection {
    /// Connects to the first address that answers, and logs in. An error says which server it is about.
    pub(crate) fn open(to: &Endpoint) -> Result<Self, Failure> {
        Self::open_as(to, false)
    }

    /// The same for replication commands too.
    pub(crate) fn open_for_replication(to: &Endpoint) -> Result<Self, Failure> {
        Self::open_as(to, true)
    }

    fn open_as(to: &Endpoint, replication: bool) -> Result<Self, Failure> {
        let named = |e: Failure| e.while_doing("connecting").with("host", &to.host).with("port", to.port);
        let deadline = Instant::now() + to.connect_timeout;
        let mut ways = to.tls.ways().iter();
        let mut why = None;
        for way in &mut ways {
            match Self::reach(to, *way, deadline, replication) {
                Ok(connection) => return Ok(connection),
                Err(e) if e.is_of_the_way() => {
                    // What the last way has met says more than what the first has, if it has met a server.
                    tracing::debug!(host = to.host, way = ?way, "not connected this way");
                    why = Some(e);
                }
                Err(e) if matches!(e, Failure::Server(_)) || why.is_none() => return Err(Failure::Stopped(named(e))),
                Err(_) => break,
            }
        }
        Err(Failure::Stopped(named(why.unwrap_or(Failure::Protocol("no way to connect")))))
    }

    fn reach(to: &Endpoint, way: Way, deadline: Instant, replication: bool) -> Result<Self, Failure> {
        let tcp = dial(to, deadline)?;
        let patience = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        tcp.set_read_timeout(Some(patience))?;
        tcp.set_write_timeout(Some(patience))?;
        let peer = tcp.peer_addr()?;
        let stream = match way {
            Way::Plain => Stream::Tcp(tcp),
            Way::Tls { or_plain } => to.tls.secure(tcp, &to.host, or_plain)?,
        };
        let (inbox, out) = (Inbox::new(), BytesMut::new());
        let secured = matches!(stream, Stream::Tls(_)).then(|| (to.tls.clone(), to.host.clone()));
        let mut connection = Self { stream, inbox, out, peer, backend: (0, 0), secured };
        connection.log_in(to, replication)?;
        connection.stream.tcp().set_read_timeout(None)?;
        connection.stream.tcp().set_write_timeout(None)?;
        Ok(connection)
    }

    fn log_in(&mut self, to: &Endpoint, replication: bool) -> Result<(), Failure> {
        let parameters = [
            ("user", to.user.as_str()),
            ("database", to.dbname.as_str()),
            ("application_name", APPLICATION),
            ("client_encoding", "UTF8"),
        ];
        let more = replication.then_some(("replication", "database"));
        frontend::startup_message(parameters.into_iter().chain(more), &mut self.out)
            .map_err(|_| Failure::Protocol("a zero byte in the user or database name"))?;
        self.send()?;
        let mut login = Login::new(&to.user, &to.password, self.stream.channel());
        loop {
            if self.inbox.announced() > LONGEST_GREETING {
                return Err(Failure::Protocol("the greeting is not PostgreSQL's"));
            }
            let Some((tag, body)) = self.inbox.message()? else {
                self.inbox.fill(&mut self.stream)?;
                continue;
            };
            let bytes = &self.inbox.bytes()[body.clone()];
            let mut ready = false;
            match tag {
                b'R' => {
                    login.answer(bytes, &mut self.out)?;
                }
                b'K' => {
                    if let [a, b, c, d, e, f, g, h] = *bytes {
                        self.backend = (i32::from_be_bytes([a, b, c, d]), i32::from_be_bytes([e, f, g, h]));
                    }
                }
                b'S' | b'N' => {}
                b'E' => return Err(Failure::Server(ServerError::parse(bytes))),
                b'Z' => ready = true,
                _ => return Err(Failure::Protocol("an unexpected message during login")),
            }
            self.inbox.consume(&body);
            if ready {
                return Ok(());
            }
            if !self.out.is_empty() {
                self.send()?;
            }
        }
    }

    /// Runs SQL that the server answers with rows of text; several statements' rows follow each other.
    pub(crate) fn query(&mut self, sql: &str) -> Result<Vec<Row>, Failure> {
        self.ask(sql)?;
        let (mut rows, mut failed) = (Vec::new(), None);
        loop {
            let (tag, body) = match self.receive() {
                Ok(message) => message,
                // After a fatal error the server hangs up: the error is the news.
                Err(lost) => return Err(failed.map_or(lost, Failure::Server)),
            };
            let bytes = &self.inbox.bytes()[body.clone()];
            match tag {
                b'D' => rows.push(parse_row(bytes).ok_or(Failure::Protocol("a malformed row"))?),
                b'E' => failed = failed.or(Some(ServerError::parse(bytes))),
                b'Z' => {
                    self.inbox.consume(&body);
                    return failed.map_or(Ok(rows), |e| Err(Failure::Server(e)));
                }
                b'T' | b'C' | b'I' | b'N' | b'S' | b'A' => {}
                _ => return Err(Failure::Protocol("an unexpected message in the answer to a query")),
            }
            self.inbox.consume(&body);
        }
    }

    /// Runs `COPY … TO STDOUT` to its end. After an error the connection must be dropped.
    pub(crate) fn copy_out(&mut self, sql: &str, sink: &mut impl CopySink) -> Result<(), Failure> {
        self.ask(sql)?;
        // What fits into the buffer is over before waiting for much would save anything.
        let (mut copying, mut admitted, mut raised) = (false, false, false);
        loop {
            let Some((tag, body)) = self.inbox.message()? else {
                let large = self.inbox.announced() >= LARGE && !admitted;
                if self.inbox.will_move() && !raised {
                    low_water::raise(self.stream.tcp())?;
                    raised = true;
                }
                if large || self.inbox.will_move() {
                    sink.moving(self.inbox.bytes()).map_err(Failure::Stopped)?;
                }
                if large {
                    self.inbox.make_room();
                    sink.large().map_err(Failure::Stopped)?;
                    admitted = true;
                }
                match self.inbox.fill(&mut self.stream) {
                    Err(Failure::Io(e)) if raised && e.kind() == io::ErrorKind::WouldBlock => {}
                    filled => filled?,
                }
                continue;
            };
            let large = std::mem::take(&mut admitted);
            match tag {
                b'd' if copying => sink.data(self.inbox.bytes(), body.clone()).map_err(Failure::Stopped)?,
                b'H' => copying = true,
                b'c' if copying => {
                    copying = false;
                    sink.moving(self.inbox.bytes()).map_err(Failure::Stopped)?;
                }
                b'E' => return Err(Failure::Server(ServerError::parse(&self.inbox.bytes()[body]))),
                b'Z' => {
                    self.inbox.consume(&body);
                    if raised {
                        low_water::lower(self.stream.tcp())?;
                    }
                    return Ok(());
                }
                b'C' | b'N' | b'S' | b'A' => {}
                _ => return Err(Failure::Protocol("an unexpected message in a COPY")),
            }
            self.inbox.consume(&body);
            if large {
                sink.moving(self.inbox.bytes()).map_err(Failure::Stopped)?;
                self.inbox.make_room();
            }
        }
    }

    /// What ends this connection from another thread.
    pub(crate) fn lifeline(&self) -> Result<Lifeline, Failure> {
        let (socket, secured) = (self.stream.tcp().try_clone()?, self.secured.clone());
        Ok(Lifeline { socket, peer: self.peer, backend: self.backend, secured })
    }

    fn ask(&mut self, sql: &str) -> Result<(), Failure> {
        frontend::query(sql, &mut self.out).map_err(|_| Failure::Protocol("a zero byte in a statement"))?;
        self.send()
    }

    fn send(&mut self) -> Result<(), Failure> {
        self.stream.write_all(&self.out)?;
        self.stream.flush()?;
        self.out.clear();
        Ok(())
    }

    fn receive(&mut self) -> Result<(u8, Range<usize>), Failure> {
        loop {
            if let Some(message) = self.inbox.message()? {
                return Ok(message);
            }
            self.inbox.fill(&mut self.stream)?;
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The polite goodbye; the server copes without it.
        self.out.clear();
        frontend::terminate(&mut self.out);
        let _ = self.stream.write(&self.out);
        let _ = self.stream.flush();
    }
}

/// Ends a connection that another thread is blocked on.
pub(crate) struct Lifeline {
    socket: TcpStream,
    peer: SocketAddr,
    backend: (i32, i32),
    secured: Option<(Tls, String)>,
}

impl Lifeline {
    /// Breaks the connection: its reader returns at once.
    pub(crate) fn cut(&self) {
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    /// Asks the server to cancel what the connection runs. Best effort: it would notice the broken
    /// connection at its next send anyway.
    pub(crate) fn cancel_statement(&self, patience: Duration) {
        let mut message = BytesMut::new();
        frontend::cancel_request(self.backend.0, self.backend.1, &mut message);
        let Ok(socket) = TcpStream::connect_timeout(&self.peer, patience) else { return };
        let _ = socket.set_write_timeout(Some(patience));
        let _ = socket.set_read_timeout(Some(patience));
        // The key in it is a secret of the connection: it travels as the connection does.
        let stream = match &self.secured {
            None => Ok(Stream::Tcp(socket)),
            Some((tls, host)) => tls.secure(socket, host, false),
        };
        if let Ok(mut stream) = stream {
            let _ = stream.write_all(&message);
            let _ = stream.flush();
        }
    }
}

fn dial(to: &Endpoint, deadline: Instant) -> Result<TcpStream, Failure> {
    let unreachable =
        |why: io::Error| Failure::Stopped(Error::retriable("cannot connect to PostgreSQL").caused_by(why));
    let addresses: Vec<_> = (to.host.as_str(), to.port).to_socket_addrs().map_err(unreachable)?.collect();
    let mut why = io::Error::new(io::ErrorKind::NotFound, "the host name has no address");
    for (i, address) in addresses.iter().enumerate() {
        // An address that swallows packets must leave time for the others.
        let share = deadline.saturating_duration_since(Instant::now()) / (addresses.len() - i) as u32;
        match TcpStream::connect_timeout(address, share.max(Duration::from_millis(1))) {
            Ok(tcp) => {
                tcp.set_nodelay(true)?;
                // A holder is silent for as long as the load takes: middleboxes and dead peers show by this.
                let alive = TcpKeepalive::new().with_time(Duration::from_secs(30));
                SockRef::from(&tcp).set_tcp_keepalive(&alive.with_interval(Duration::from_secs(10)))?;
                SockRef::from(&tcp).set_tcp_user_timeout(Some(DEAD_AFTER))?;
                return Ok(tcp);
            }
            Err(e) => why = e,
        }
    }
    Err(unreachable(why))
}

/// Reads a `DataRow`; `None` if it is malformed or not UTF-8.
fn parse_row(body: &[u8]) -> Option<Row> {
    let (count, mut rest) = body.split_first_chunk::<2>()?;
    let mut columns = Vec::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let (length, tail) = rest.split_first_chunk::<4>()?;
        rest = tail;
        columns.push(match usize::try_from(i32::from_be_bytes(*length)) {
            Err(_) => None,
            Ok(length) => {
                let (value, tail) = rest.split_at_checked(length)?;
                rest = tail;
                Some(std::str::from_utf8(value).ok()?.to_owned())
            }
        });
    }
    Some(Row(columns))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rows() {
        let row = parse_row(b"\0\x03\0\0\0\x01t\xff\xff\xff\xff\0\0\0\x0242").unwrap();
        assert!(row.flag(0) && !row.flag(1) && !row.flag(9));
        assert_eq!((row.get(1), row.parse::<u32>(2).ok()), (None, Some(42)));
        assert!(row.text(1).is_err() && row.parse::<u32>(0).is_err());
        assert!(parse_row(b"\0\x01\0\0\0\x05abc").is_none());
        assert!(parse_row(b"\0\x01\0\0\0\x01\xff").is_none());
    }

    proptest! {
        #[test]
        fn garbage_is_no_row(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_row(&bytes);
            let _ = ServerError::parse(&bytes);
        }
    }
}
