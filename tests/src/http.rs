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

/// A number that `GET /metrics` shows, of all labels together; `None` when it is not there (yet).
pub fn metric(port: u16, name: &str) -> Option<u64> {
    let (_, metrics) = get(port, "/metrics")?;
    let of = |line: &str| {
        let (labels, value) = line.strip_prefix(name)?.rsplit_once(' ')?;
        if labels.is_empty() || labels.starts_with('{') { value.parse::<u64>().ok() } else { None }
    };
    metrics.lines().filter_map(of).reduce(|sum, value| sum + value)
}

/// Status and body of a request without a body; `None` when nothing listens there (yet).
///
/// # Panics
/// When what answers is not HTTP.
pub fn request(port: u16, method: &str, path: &str) -> Option<(u16, String)> {
    exchange(port, &format!("{method} {path} HTTP/1.1\r\nContent-Length: 0"), "")
}

/// Status and body of a request with a JSON body; `None` when nothing listens there (yet).
///
/// # Panics
/// When what answers is not HTTP.
pub fn send(port: u16, method: &str, path: &str, body: &serde_json::Value) -> Option<(u16, String)> {
    let body = body.to_string();
    let head = format!("{method} {path} HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: {}", body.len());
    exchange(port, &head, &body)
}

fn exchange(port: u16, head: &str, body: &str) -> Option<(u16, String)> {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).ok()?;
    // A Kafka Connect worker answers a change of its connectors when its group has agreed.
    socket.set_read_timeout(Some(Duration::from_secs(90))).unwrap();
    write!(socket, "{head}\r\nHost: 127.0.0.1:{port}\r\nAccept: */*\r\nConnection: close\r\n\r\n{body}").ok()?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or_else(|| panic!("not HTTP: {head}"));
    let chunked = head.lines().any(|line| line.eq_ignore_ascii_case("transfer-encoding: chunked"));
    Some((status, if chunked { joined(body) } else { body.to_owned() }))
}

/// The chunks of a body, each after its length in hexadecimal.
fn joined(mut chunks: &str) -> String {
    let mut body = String::new();
    while let Some((length, rest)) = chunks.split_once("\r\n") {
        let length = usize::from_str_radix(length.trim(), 16).unwrap_or_else(|_| panic!("not chunked: {length}"));
        body.push_str(&rest[..length]);
        chunks = rest[length..].trim_start_matches("\r\n");
    }
    body
}
