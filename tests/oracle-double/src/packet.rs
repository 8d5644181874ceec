//! TNS packets: what a connection is cut into. Each has a header of eight bytes with its length and kind.
//!
//! Source of the formats: python-oracledb 26.1.0, `impl/thin/packet.pyx`. Knows nothing of what is inside.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rustls::{ServerConnection, StreamOwned};

/// The length of a packet's header.
const HEADER: usize = 8;
/// The longest packet that is taken from a client.
const LONGEST: usize = 64 << 20;

/// The kinds of packets.
pub(crate) mod kind {
    pub(crate) const CONNECT: u8 = 1;
    pub(crate) const ACCEPT: u8 = 2;
    pub(crate) const REFUSE: u8 = 4;
    pub(crate) const REDIRECT: u8 = 5;
    pub(crate) const DATA: u8 = 6;
    pub(crate) const MARKER: u8 = 12;
}

/// The flags of a data packet.
mod flag {
    pub(super) const END_OF_FILE: u16 = 0x0040;
    pub(super) const END_OF_RESPONSE: u16 = 0x2000;
}

/// A connection's bytes, in the clear or not.
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Stream {
    pub(crate) fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => &tls.sock,
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.read(buffer),
            Self::Tls(tls) => tls.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.write(bytes),
            Self::Tls(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(tcp) => tcp.flush(),
            Self::Tls(tls) => tls.flush(),
        }
    }
}

/// A packet without its header.
#[derive(Debug)]
pub(crate) struct Packet {
    pub(crate) kind: u8,
    pub(crate) body: Vec<u8>,
}

impl Packet {
    /// What is in a data packet, after its flags. `None` when it says that the client has gone.
    pub(crate) fn data(&self) -> Option<&[u8]> {
        let flags = u16::from_be_bytes([*self.body.first()?, *self.body.get(1)?]);
        if flags & flag::END_OF_FILE == 0 { self.body.get(2..) } else { None }
    }
}

/// A connection as packets.
pub(crate) struct Packets {
    stream: Stream,
    /// Lengths have four bytes instead of two; from the acceptance on.
    pub(crate) large: bool,
    /// The longest packet that the client takes.
    pub(crate) sdu: usize,
    /// The last packet of a response is marked (23ai).
    pub(crate) marks_the_end: bool,
}

impl Packets {
    pub(crate) fn new(stream: Stream) -> Self {
        Self { stream, large: false, sdu: 8192, marks_the_end: false }
    }

    /// Reads a packet.
    pub(crate) fn read(&mut self) -> io::Result<Packet> {
        let mut header = [0; HEADER];
        self.stream.read_exact(&mut header)?;
        let [a, b, c, d, kind, ..] = header;
        let length = match self.large {
            true => u32::from_be_bytes([a, b, c, d]) as usize,
            false => u16::from_be_bytes([a, b]).into(),
        };
        if !(HEADER..=LONGEST).contains(&length) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a packet of {length} bytes")));
        }
        let mut body = vec![0; length - HEADER];
        self.stream.read_exact(&mut body)?;
        Ok(Packet { kind, body })
    }

    /// Whether a packet comes within a time; it stays to be read.
    pub(crate) fn comes_within(&mut self, time: Duration) -> io::Result<bool> {
        if let Stream::Tls(tls) = &mut self.stream
            && tls.conn.process_new_packets().is_ok_and(|state| state.plaintext_bytes_to_read() > 0)
        {
            return Ok(true);
        }
        let tcp = self.stream.tcp();
        tcp.set_read_timeout(Some(time.max(Duration::from_millis(1))))?;
        let peeked = tcp.peek(&mut [0]);
        tcp.set_read_timeout(None)?;
        match peeked {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => Ok(true),
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Writes a packet of another kind than data.
    pub(crate) fn write(&mut self, kind: u8, body: &[u8]) -> io::Result<()> {
        let mut packet = Vec::with_capacity(HEADER + body.len());
        self.header(&mut packet, kind, body.len());
        packet.extend_from_slice(body);
        self.stream.write_all(&packet)?;
        self.stream.flush()
    }

    /// Writes a response in as many packets as it takes. With `cut`, only so many bytes of it, and then nothing more
    /// can be written.
    pub(crate) fn respond(&mut self, response: &[u8], cut: Option<usize>) -> io::Result<()> {
        let room = self.sdu - HEADER - 2;
        let packets = response.len().div_ceil(room).max(1);
        let mut all = Vec::with_capacity(response.len() + packets * (HEADER + 2));
        for n in 0..packets {
            let part = &response[n * room..response.len().min((n + 1) * room)];
            let last = n + 1 == packets;
            self.header(&mut all, kind::DATA, part.len() + 2);
            let flags = if last && self.marks_the_end { flag::END_OF_RESPONSE } else { 0 };
            all.extend_from_slice(&flags.to_be_bytes());
            all.extend_from_slice(part);
        }
        if let Some(cut) = cut {
            self.stream.write_all(&all[..cut.min(all.len())])?;
            self.stream.flush()?;
            self.stream.tcp().shutdown(std::net::Shutdown::Both)?;
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        self.stream.write_all(&all)?;
        self.stream.flush()
    }

    fn header(&self, packet: &mut Vec<u8>, kind: u8, body: usize) {
        let length = HEADER + body;
        match self.large {
            true => packet.extend_from_slice(&(length as u32).to_be_bytes()),
            false => packet.extend_from_slice(&[(length >> 8) as u8, length as u8, 0, 0]),
        }
        // A redirection brings the connect data along, behind a zero.
        let flags = if kind == self::kind::REDIRECT { 0x02 } else { 0 };
        packet.extend_from_slice(&[kind, flags, 0, 0]);
    }
}
