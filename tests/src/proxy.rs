//! A TCP proxy in front of a server that a test can hold still or cut: so "in the middle of a load" is a
//! moment that the test chooses, not one it hopes to hit.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use socket2::SockRef;

/// What a proxy's socket takes from the server beyond what it hands on, in bytes: Linux would let it grow to tens of
/// megabytes, and a server that is held still would have sent all that it has.
const RECEIVE_BUFFER: usize = 256 << 10;

/// Around a request the connection breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Before the server has it.
    Request,
    /// When the server has answered it, before its client hears of that.
    Answer,
}

/// A listening proxy. Its threads end with the process or when their connections do.
pub struct Proxy {
    /// The port to connect to on 127.0.0.1.
    pub port: u16,
    state: Arc<State>,
}

struct State {
    /// Bytes that may still flow from the server to its clients, over all connections.
    allowance: AtomicU64,
    held: AtomicBool,
    /// Whatever waits for its allowance is lost.
    broken: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
    /// What requests that hold these bytes meet, in turn.
    losses: Mutex<(&'static [u8], std::vec::IntoIter<Loss>)>,
}

impl Proxy {
    /// Starts a proxy that breaks the connection around requests that hold these bytes, which must be sent at once:
    /// of the first as the first loss says, and so on; when there are no more, all is let through.
    pub fn losing(server_port: u16, bytes: &'static [u8], losses: Vec<Loss>) -> Self {
        let proxy = Self::at(0, server_port, u64::MAX);
        *proxy.state.losses.lock().unwrap() = (bytes, losses.into_iter());
        proxy
    }

    /// How many losses are still to come.
    pub fn losses_left(&self) -> usize {
        self.state.losses.lock().unwrap().1.len()
    }

    /// Starts a proxy that lets this many bytes of answers through and then holds everything still.
    pub fn holding_after(server_port: u16, bytes: u64) -> Self {
        Self::at(0, server_port, bytes)
    }

    /// The same on a port that one chooses.
    pub fn at(port: u16, server_port: u16, bytes: u64) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State {
            allowance: AtomicU64::new(bytes),
            held: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            open: Mutex::new(Vec::new()),
            losses: Mutex::new((b"", Vec::new().into_iter())),
        });
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(("127.0.0.1", server_port)) else { continue };
                SockRef::from(&server).set_recv_buffer_size(RECEIVE_BUFFER).unwrap();
                let mut open = shared.open.lock().unwrap();
                open.extend([client.try_clone().unwrap(), server.try_clone().unwrap()]);
                let (up, down) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let lost = Arc::new(AtomicBool::new(false));
                let (state, answer) = (Arc::clone(&shared), Arc::clone(&lost));
                std::thread::spawn(move || forward(up, down, |request| state.passes(request, &answer)));
                let state = Arc::clone(&shared);
                std::thread::spawn(move || {
                    forward(server, client, |answer| {
                        state.wait_for(answer.len() as u64) && !lost.load(Ordering::Acquire)
                    });
                });
            }
        });
        Self { port, state }
    }

    /// Whether the allowance is used up.
    pub fn holds(&self) -> bool {
        self.state.held.load(Ordering::Acquire)
    }

    /// Holds everything still from now on.
    pub fn hold(&self) {
        self.state.allowance.store(0, Ordering::Release);
    }

    /// Lets everything through from now on.
    pub fn release(&self) {
        self.state.allowance.store(u64::MAX, Ordering::Release);
    }

    /// Breaks every open connection, as a network that goes away does; new ones are let through.
    pub fn cut(&self) {
        self.state.broken.store(true, Ordering::Release);
        let open: Vec<_> = self.state.open.lock().unwrap().drain(..).collect();
        for socket in &open {
            let _ = socket.shutdown(Shutdown::Both);
        }
        self.release();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
    }
}

/// Hands on what `passes` lets through; ends, and ends the connection, at what it does not.
fn forward(mut from: TcpStream, mut to: TcpStream, passes: impl Fn(&[u8]) -> bool) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if !passes(&buffer[..read]) || to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}

impl State {
    /// Waits for the allowance of so many bytes; `false` when the connections broke meanwhile.
    fn wait_for(&self, bytes: u64) -> bool {
        while !self.take(bytes) {
            if self.broken.load(Ordering::Acquire) {
                return false;
            }
            self.held.store(true, Ordering::Release);
            std::thread::sleep(Duration::from_millis(5));
        }
        true
    }

    /// Whether a request reaches the server. Notes where its answer is to be lost.
    fn passes(&self, request: &[u8], answer_lost: &AtomicBool) -> bool {
        let mut losses = self.losses.lock().unwrap();
        let (bytes, turn) = &mut *losses;
        if bytes.is_empty() || !request.windows(bytes.len()).any(|part| part == *bytes) {
            return true;
        }
        let loss = turn.next();
        answer_lost.store(loss == Some(Loss::Answer), Ordering::Release);
        loss != Some(Loss::Request)
    }

    fn take(&self, bytes: u64) -> bool {
        let take = |left: u64| if left == u64::MAX { Some(left) } else { left.checked_sub(bytes) };
        self.allowance.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).is_ok()
    }
}
