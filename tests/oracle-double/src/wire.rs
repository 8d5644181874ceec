//! The primitives of TTC, the language inside of data packets: integers of variable length and byte strings.
//!
//! Source of the formats: python-oracledb 26.1.0, `impl/base/buffer.pyx`. Knows nothing of messages.

/// The longest byte string that has its length in one byte.
const SHORT: usize = 252;
/// What stands for a length when chunks follow.
const LONG: u8 = 0xFE;
/// The size of those chunks.
const CHUNK: usize = 32_767;

/// Bytes ran out: the request goes on in a further packet, or is damaged.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Short;

/// Reads a request.
#[derive(Clone)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], Short> {
        let end = self.at.checked_add(length).ok_or(Short)?;
        let taken = self.bytes.get(self.at..end).ok_or(Short)?;
        self.at = end;
        Ok(taken)
    }

    /// The next byte, without taking it.
    pub(crate) fn peek(&self) -> Result<u8, Short> {
        self.bytes.get(self.at).copied().ok_or(Short)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Short> {
        Ok(self.take(1)?[0])
    }

    /// Skips so many bytes.
    pub(crate) fn skip(&mut self, length: usize) -> Result<(), Short> {
        self.take(length).map(drop)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Short> {
        self.take(2).map(|b| u16::from_be_bytes([b[0], b[1]]))
    }

    /// An unsigned integer: a length, then so many bytes, the highest first.
    pub(crate) fn ub(&mut self) -> Result<u64, Short> {
        let length = usize::from(self.u8()? & 0x7f).min(8);
        Ok(self.take(length)?.iter().fold(0, |n, b| n << 8 | u64::from(*b)))
    }

    /// An unsigned integer that counts what is in memory.
    pub(crate) fn count(&mut self) -> Result<usize, Short> {
        self.ub().map(|n| usize::try_from(n).unwrap_or(usize::MAX))
    }

    /// A byte string with its length before it, in chunks when it is long. Of no length: NULL.
    pub(crate) fn bytes(&mut self) -> Result<Vec<u8>, Short> {
        match self.u8()? {
            0 | 0xFF => Ok(Vec::new()),
            LONG => {
                let mut all = Vec::new();
                loop {
                    match self.count()? {
                        0 => return Ok(all),
                        n => all.extend_from_slice(self.take(n)?),
                    }
                }
            }
            n => Ok(self.take(usize::from(n))?.to_vec()),
        }
    }

    /// A byte string with two lengths before it, of which the first says whether there is one.
    pub(crate) fn counted_bytes(&mut self) -> Result<Vec<u8>, Short> {
        if self.ub()? == 0 { Ok(Vec::new()) } else { self.bytes() }
    }

    /// A byte string of a known length. Some clients leave its own length out.
    pub(crate) fn bytes_of(&mut self, length: usize) -> Result<Vec<u8>, Short> {
        let first = self.peek()?;
        if usize::from(first) == length || first == LONG { self.bytes() } else { self.take(length).map(<[u8]>::to_vec) }
    }
}

/// Writes integers and byte strings at the end of a response.
pub(crate) trait Write {
    fn put(&mut self, bytes: &[u8]) -> &mut Self;

    fn u8(&mut self, value: u8) -> &mut Self {
        self.put(&[value])
    }

    fn u16(&mut self, value: u16) -> &mut Self {
        self.put(&value.to_be_bytes())
    }

    fn u32(&mut self, value: u32) -> &mut Self {
        self.put(&value.to_be_bytes())
    }

    /// As [`Reader::ub`] reads.
    fn ub(&mut self, value: u64) -> &mut Self {
        let bytes = value.to_be_bytes();
        let zeros = bytes.iter().take_while(|b| **b == 0).count();
        self.u8((8 - zeros) as u8).put(&bytes[zeros..])
    }

    /// A length in memory.
    fn count(&mut self, value: usize) -> &mut Self {
        self.ub(value as u64)
    }

    /// A signed integer: its sign is in the length's highest bit.
    fn sb(&mut self, value: i64) -> &mut Self {
        let bytes = value.unsigned_abs().to_be_bytes();
        let zeros = bytes.iter().take_while(|b| **b == 0).count();
        self.u8((8 - zeros) as u8 | if value < 0 { 0x80 } else { 0 }).put(&bytes[zeros..])
    }

    /// As [`Reader::bytes`] reads.
    fn bytes(&mut self, value: &[u8]) -> &mut Self {
        if value.len() <= SHORT {
            return self.u8(value.len() as u8).put(value);
        }
        self.chunks(value)
    }

    /// A byte string in chunks however short it is.
    fn chunks(&mut self, value: &[u8]) -> &mut Self {
        self.u8(LONG);
        for chunk in value.chunks(CHUNK) {
            self.count(chunk.len()).put(chunk);
        }
        self.u8(0)
    }

    /// As [`Reader::counted_bytes`] reads.
    fn counted_bytes(&mut self, value: &[u8]) -> &mut Self {
        self.count(value.len());
        if value.is_empty() { self } else { self.bytes(value) }
    }
}

impl Write for Vec<u8> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) -> &mut Self {
        self.extend_from_slice(bytes);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_and_strings_are_read_as_they_were_written() {
        for n in [0, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff_ffff, u64::MAX] {
            let mut bytes = Vec::new();
            bytes.ub(n);
            assert_eq!(Reader::new(&bytes).ub(), Ok(n));
        }
        for length in [0, 1, SHORT, SHORT + 1, CHUNK, CHUNK + 1, 3 * CHUNK] {
            let text = vec![b'x'; length];
            let mut bytes = Vec::new();
            bytes.bytes(&text).counted_bytes(&text);
            let mut reader = Reader::new(&bytes);
            assert_eq!(reader.bytes(), Ok(text.clone()));
            assert_eq!(reader.counted_bytes(), Ok(text));
            assert!(reader.is_empty());
        }
    }

    #[test]
    fn what_is_cut_is_short() {
        let mut bytes = Vec::new();
        bytes.bytes(&[7; 1000]);
        for cut in 0..bytes.len() {
            assert_eq!(Reader::new(&bytes[..cut]).bytes(), Err(Short), "{cut}");
        }
    }
}
