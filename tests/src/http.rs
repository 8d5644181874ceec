//! One HTTP request over a loopback socket: enough to look at the program's REST interface and at the stores
//! of the tests, without a client library that could paper over a malformed answer.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Status and body of `GET path`; `None` when nothing listens there (yet).
///
/// # Panics
/// When what answers is not HTTP.
pub fn get(port: u16, path: &str) -> Option<(u16, String)> {
    request(port, "GET", path)
}

/// Status and body of a request without a body; `None` when nothing listens there (yet).
///
/// # Panics
/// When what answers is not HTTP.
pub fn request(port: u16, method: &str, path: &str) -> Option<(u16, String)> {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).ok()?;
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(
        socket,
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
    .ok()?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or_else(|| panic!("not HTTP: {head}"));
    Some((status, body.to_owned()))
}
