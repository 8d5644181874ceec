//! How much must have arrived before the kernel wakes a reader. A server sends rows in pieces of 8 KiB, and on a machine
//! whose cores are busy two switches of threads for each of them cost more than decoding it: a tenth of a load's CPU
//! was measured. The one place that sets a socket option for which no crate has a safe call.

#![expect(unsafe_code, reason = "SO_RCVLOWAT has no safe interface")]

use std::ffi::c_int;
use std::io;
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::Duration;

/// Bytes that a reader of many waits for.
const MANY: c_int = 128 << 10;
/// How long it waits for them before it takes what there is. The end of what a server sends may be less.
const PATIENCE: Duration = Duration::from_millis(2);

/// Has reads wait until much has arrived, but for 2 ms at most: after those a read that finds nothing fails with
/// `WouldBlock`, which only says that it is to be tried again.
pub(super) fn raise(socket: &TcpStream) -> io::Result<()> {
    socket.set_read_timeout(Some(PATIENCE))?;
    set(socket, MANY)
}

/// Has reads return with the first byte, however long that takes.
pub(super) fn lower(socket: &TcpStream) -> io::Result<()> {
    set(socket, 1)?;
    socket.set_read_timeout(None)
}

fn set(socket: &TcpStream, bytes: c_int) -> io::Result<()> {
    let length = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: the descriptor is the socket's, which lives; the option's value is a `c_int` that is read before the call
    // returns.
    let done = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVLOWAT, (&raw const bytes).cast(), length)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    #[test]
    fn a_raised_reader_takes_much_at_once_and_what_there_is_at_the_end() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut reader = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut writer, _) = listener.accept().unwrap();
        let mut buffer = vec![0; 1 << 20];

        raise(&reader).unwrap();
        let nothing = reader.read(&mut buffer).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);

        writer.write_all(b"the end").unwrap();
        let read = loop {
            match reader.read(&mut buffer) {
                Ok(n) => break n,
                Err(e) => assert_eq!(e.kind(), io::ErrorKind::WouldBlock),
            }
        };
        assert_eq!(&buffer[..read], b"the end");

        lower(&reader).unwrap();
        let late = std::thread::spawn(move || {
            std::thread::sleep(10 * PATIENCE);
            writer.write_all(b"more").unwrap();
        });
        assert_eq!(reader.read(&mut buffer).unwrap(), 4);
        late.join().unwrap();
    }
}
