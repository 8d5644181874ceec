//! The receive buffer: finds whole messages in place, so that rows are decoded where the kernel put them.
//!
//! Pure but for the `Read` it is handed. Foreign bytes decide the sizes, so it grows only as bytes really
//! arrive, and gives the memory back after a large message.

use std::io::{self, Read};
use std::ops::Range;

use crate::error::Failure;

/// Memory held when no message is larger, bytes.
const BASE: usize = 1 << 20;
/// With less than this free at the end, what is unread moves to the front first.
const LOW: usize = BASE / 8;

pub(super) struct Inbox {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Inbox {
    pub(super) fn new() -> Self {
        Self { buffer: Vec::new(), start: 0, end: 0 }
    }

    /// The memory in which [`message`](Self::message) ranges lie.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer
    }

    /// The next whole message, if it has arrived: its tag and where its body lies.
    pub(super) fn message(&self) -> Result<Option<(u8, Range<usize>)>, Failure> {
        let Some((tag, length)) = self.header() else { return Ok(None) };
        if length < 4 {
            return Err(Failure::Protocol("a message length below 4"));
        }
        let (body, end) = (self.start + 5, self.start + 1 + length);
        Ok((end <= self.end).then_some((tag, body..end)))
    }

    /// Takes a message out; what [`message`](Self::message) gave it stays where it is until the next fill.
    pub(super) fn consume(&mut self, body: &Range<usize>) {
        self.start = body.end;
    }

    /// Bytes of the message that has begun to arrive, its header included.
    pub(super) fn announced(&self) -> usize {
        self.header().map_or(0, |(_, length)| length + 1)
    }

    /// Whether the next fill moves or overwrites bytes already consumed.
    pub(super) fn will_move(&self) -> bool {
        self.start > 0 && self.buffer.len() - self.end < LOW
    }

    /// Reads once.
    pub(super) fn fill(&mut self, from: &mut impl Read) -> Result<(), Failure> {
        if self.will_move() {
            self.move_up();
            if self.announced() <= BASE {
                self.give_back();
            }
        }
        if self.end == self.buffer.len() {
            // A message larger than the buffer: room for all of it at once, so that growing copies nothing, but
            // only addresses until the bytes arrive: memory is used up to twice what has.
            let wanted = (self.announced() + LOW).max(BASE);
            let short = wanted.saturating_sub(self.buffer.len());
            self.buffer.try_reserve_exact(short).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
            self.buffer.resize(wanted.min((self.buffer.len() * 2).max(BASE)), 0);
        }
        loop {
            match from.read(&mut self.buffer[self.end..]) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Ok(n) => {
                    self.end += n;
                    return Ok(());
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// Moves what is unread to the front and gives back what a large message took.
    pub(super) fn make_room(&mut self) {
        self.move_up();
        self.give_back();
    }

    fn move_up(&mut self) {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
    }

    fn give_back(&mut self) {
        if self.buffer.len() > 4 * BASE && self.end <= BASE {
            self.buffer.truncate(BASE);
            self.buffer.shrink_to_fit();
        }
    }

    fn header(&self) -> Option<(u8, usize)> {
        match &self.buffer[self.start..self.end] {
            [tag, a, b, c, d, ..] => Some((*tag, u32::from_be_bytes([*a, *b, *c, *d]) as usize)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Hands out its bytes in pieces of these sizes.
    struct Pieces<'a>(&'a [u8], Box<dyn Iterator<Item = usize> + 'a>);

    impl Read for Pieces<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let n = self.1.next().unwrap_or(1).clamp(1, into.len()).min(self.0.len());
            into[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn messages_come_out_as_they_went_in(
            sizes in prop::collection::vec(prop_oneof![0usize..40, 100_000usize..900_000, Just(3_000_000)], 1..12),
            pieces in prop::collection::vec(1usize..1_000_000, 1..6),
        ) {
            let mut stream = vec![];
            for (i, size) in sizes.iter().enumerate() {
                stream.push(b'd');
                stream.extend((*size as u32 + 4).to_be_bytes());
                stream.extend(std::iter::repeat_n(i as u8, *size));
            }
            let mut source = Pieces(&stream, Box::new(pieces.iter().copied().cycle()));
            let mut inbox = Inbox::new();
            let mut seen = vec![];
            while seen.len() < sizes.len() {
                while let Some((tag, body)) = inbox.message().map_err(|_| TestCaseError::fail("message"))? {
                    prop_assert_eq!(tag, b'd');
                    prop_assert!(inbox.bytes()[body.clone()].iter().all(|b| *b as usize == seen.len()));
                    seen.push(body.len());
                    inbox.consume(&body);
                }
                if inbox.announced() > BASE {
                    inbox.make_room();
                }
                if seen.len() < sizes.len() {
                    inbox.fill(&mut source).map_err(|_| TestCaseError::fail("end"))?;
                }
            }
            prop_assert_eq!(seen, sizes);
        }

        /// An announced gigabyte costs nothing until it arrives.
        #[test]
        fn garbage_neither_panics_nor_costs_memory(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let mut inbox = Inbox::new();
            let mut source = &bytes[..];
            while inbox.fill(&mut source).is_ok() {
                while let Ok(Some((_, body))) = inbox.message() {
                    inbox.consume(&body);
                }
            }
            prop_assert!(inbox.bytes().len() <= 2 * BASE);
        }
    }
}
