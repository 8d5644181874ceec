//! An HTTP proxy that a test gives faults to: a refusal, a connection reset, a slow, truncated or lost
//! answer, for the requests that a rule picks.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What happens to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is not handed on; this status is the answer.
    Status(u16),
    /// It is not handed on; the answer is 503, to be asked again after so many seconds.
    Later(u32),
    /// It is not handed on; the answer is 200 with this JSON.
    Answer(String),
    /// It is handed on with another path.
    Path(String),
    /// It is not handed on; the connection breaks.
    Reset,
    /// It is handed on; the connection breaks instead of the answer.
    AnswerLost,
    /// It is handed on; of the answer half arrives.
    Truncated,
    /// It is handed on; the answer comes this much later.
    Slow(Duration),
    /// It is handed on; in the answer, which must be JSON with its length told, the first text reads as the second.
    Reading(String, String),
}

/// One request as a rule sees it.
#[derive(Debug)]
pub struct Request {
    /// `GET`, `PUT` …
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Names in lower case, values.
    pub headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// Whether it is so sent and its path holds this.
    pub fn is(&self, method: &str, part: &str) -> bool {
        self.method == method && self.path.contains(part)
    }
}

/// A listening proxy. Its threads end with the process or with their connections.
pub struct Faults {
    /// The port to connect to on 127.0.0.1.
    pub port: u16,
    struck: Arc<Mutex<Vec<String>>>,
    over: Arc<AtomicBool>,
}

impl Faults {
    /// Starts a proxy whose rule is asked about every request, in order.
    pub fn before(server_port: u16, rule: impl FnMut(&Request) -> Option<Fault> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (rule, struck) = (Arc::new(Mutex::new(rule)), Arc::new(Mutex::new(Vec::new())));
        let over = Arc::new(AtomicBool::new(false));
        let (told, ended) = (Arc::clone(&struck), Arc::clone(&over));
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (rule, told, ended) = (Arc::clone(&rule), Arc::clone(&told), Arc::clone(&ended));
                std::thread::spawn(move || {
                    let Some(request) = read(&client) else { return };
                    let fault = rule.lock().unwrap()(&request).filter(|_| !ended.load(Ordering::Acquire));
                    if let Some(fault) = &fault {
                        told.lock().unwrap().push(format!("{fault:?} {} {}", request.method, request.path));
                    }
                    serve(client, server_port, request, fault);
                });
            }
        });
        Self { port, struck, over }
    }

    /// Strikes the requests that are picked with these faults in turn, and then no more.
    pub fn in_turn(server_port: u16, faults: Vec<Fault>, picks: impl Fn(&Request) -> bool + Send + 'static) -> Self {
        let mut faults = faults.into_iter();
        Self::before(server_port, move |request| if picks(request) { faults.next() } else { None })
    }

    /// Lets everything through from now on.
    pub fn end(&self) {
        self.over.store(true, Ordering::Release);
    }

    /// What was struck, in order.
    pub fn struck(&self) -> Vec<String> {
        self.struck.lock().unwrap().clone()
    }
}

fn read(client: &TcpStream) -> Option<Request> {
    let mut input = BufReader::new(client);
    let mut line = String::new();
    input.read_line(&mut line).ok().filter(|n| *n > 0)?;
    let mut words = line.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        input.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut request = Request { method, path, headers, body: Vec::new() };
    assert!(request.header("transfer-encoding").is_none(), "chunked requests are not understood: {request:?}");
    let length = request.header("content-length").map_or(0, |n| n.parse().unwrap());
    request.body = vec![0; length];
    input.read_exact(&mut request.body).ok()?;
    Some(request)
}

/// One request per connection: every answer says that the connection closes. A client that has gone is as good
/// as one that was served.
fn serve(mut client: TcpStream, server_port: u16, mut request: Request, fault: Option<Fault>) {
    let told = |status: u16, header: &str, body: &str| {
        let length = body.len();
        format!("HTTP/1.1 {status} Injected\r\n{header}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}")
            .into_bytes()
    };
    if let Some(Fault::Path(path)) = &fault {
        request.path.clone_from(path);
    }
    let answer = match &fault {
        Some(Fault::Reset) => return,
        Some(Fault::Status(status)) => told(*status, "", ""),
        Some(Fault::Later(seconds)) => told(503, &format!("Retry-After: {seconds}\r\n"), ""),
        Some(Fault::Answer(json)) => told(200, "Content-Type: application/json\r\n", json),
        _ => forward(server_port, &request),
    };
    match fault {
        Some(Fault::AnswerLost) => {}
        Some(Fault::Truncated) => drop(client.write_all(&answer[..answer.len() / 2])),
        Some(Fault::Slow(time)) => {
            std::thread::sleep(time);
            drop(client.write_all(&answer));
        }
        Some(Fault::Reading(from, to)) => {
            let answer = String::from_utf8(answer).unwrap();
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(!head.to_ascii_lowercase().contains("transfer-encoding"), "{head}");
            let status = head.split(' ').nth(1).unwrap().parse().unwrap();
            drop(client.write_all(&told(status, "Content-Type: application/json\r\n", &body.replace(&from, &to))));
        }
        _ => drop(client.write_all(&answer)),
    }
}

fn forward(server_port: u16, request: &Request) -> Vec<u8> {
    let mut server = TcpStream::connect(("127.0.0.1", server_port)).unwrap();
    let mut head = format!("{} {} HTTP/1.1\r\n", request.method, request.path);
    for (name, value) in request.headers.iter().filter(|(name, _)| name != "connection") {
        head += &format!("{name}: {value}\r\n");
    }
    server.write_all(format!("{head}connection: close\r\n\r\n").as_bytes()).unwrap();
    server.write_all(&request.body).unwrap();
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).unwrap();
    answer
}
