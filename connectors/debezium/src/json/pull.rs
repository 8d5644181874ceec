//! Reads JSON from front to back without a tree: the caller says at each place what it expects there. Pure.
//!
//! The text is checked to be UTF-8 before; strings without escapes are borrowed from it.

use crate::digits;
use crate::fault::Fault;
use crate::value::Value;

const MALFORMED: Fault = Fault::of("malformed JSON");

/// A place in a text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pull<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Pull<'a> {
    /// The beginning of a text.
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// A place within a text.
    pub(crate) fn at(text: &'a str, at: usize) -> Self {
        Self { text, at }
    }

    /// How many bytes were read.
    pub(crate) fn place(&self) -> usize {
        self.at
    }

    /// What was not read yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        &self.text.as_bytes()[self.at..]
    }

    /// Passes over so many bytes of what is left.
    pub(crate) fn pass(&mut self, bytes: usize) {
        self.at += bytes;
    }

    /// The next byte that is no white space.
    #[inline(always)]
    pub(crate) fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(byte) = bytes.get(self.at) {
            match byte {
                b' ' | b'\t' | b'\n' | b'\r' => self.at += 1,
                byte => return Some(*byte),
            }
        }
        None
    }

    /// Takes that byte, if it is the next.
    #[inline(always)]
    pub(crate) fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    #[inline(always)]
    pub(crate) fn expect(&mut self, byte: u8) -> Result<(), Fault> {
        if self.take(byte) { Ok(()) } else { Err(MALFORMED) }
    }

    /// Takes a literal.
    #[inline]
    fn word(&mut self, word: &str) -> Result<(), Fault> {
        match self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            true => {
                self.at += word.len();
                Ok(())
            }
            false => Err(MALFORMED),
        }
    }

    /// Takes `null`, if it is next.
    #[inline]
    pub(crate) fn null(&mut self) -> Result<bool, Fault> {
        match self.peek() {
            Some(b'n') => self.word("null").map(|()| true),
            _ => Ok(false),
        }
    }

    /// Nothing but white space is left.
    pub(crate) fn end(&mut self) -> Result<(), Fault> {
        if self.peek().is_none() { Ok(()) } else { Err(Fault::of("more after the end of the JSON")) }
    }

    /// The next key of an object whose `{` is taken, its `:` taken too; `None` at the `}`.
    #[inline]
    pub(crate) fn key<'s>(&mut self, first: &mut bool, scratch: &'s mut String) -> Result<Option<&'s str>, Fault>
    where
        'a: 's,
    {
        if self.member(first)? { self.name(scratch).map(Some) } else { Ok(None) }
    }

    /// Whether another member of an object follows whose `{` is taken; takes the `}` when none does.
    #[inline(always)]
    pub(crate) fn member(&mut self, first: &mut bool) -> Result<bool, Fault> {
        if self.take(b'}') {
            return Ok(false);
        }
        if !std::mem::replace(first, false) {
            self.expect(b',')?;
        }
        Ok(true)
    }

    /// Takes a key that is written exactly so, quotes and `:` included; [`quoted`] writes it.
    #[inline(always)]
    pub(crate) fn known(&mut self, quoted: &str) -> bool {
        let found = !quoted.is_empty() && begins(&self.text.as_bytes()[self.at..], quoted.as_bytes());
        self.at += if found { quoted.len() } else { 0 };
        found
    }

    /// A key after [`member`](Self::member) that is not known.
    pub(crate) fn name<'s>(&mut self, scratch: &'s mut String) -> Result<&'s str, Fault>
    where
        'a: 's,
    {
        let key = self.string(scratch)?;
        self.expect(b':')?;
        Ok(key)
    }

    /// Whether another element of an array follows whose `[` is taken; takes the `]` when none does.
    pub(crate) fn element(&mut self, first: &mut bool) -> Result<bool, Fault> {
        if self.take(b']') {
            return Ok(false);
        }
        if !std::mem::replace(first, false) {
            self.expect(b',')?;
        }
        Ok(true)
    }

    /// A string; one with escapes is put together in `scratch`.
    #[inline(always)]
    pub(crate) fn string<'s>(&mut self, scratch: &'s mut String) -> Result<&'s str, Fault>
    where
        'a: 's,
    {
        self.expect(b'"')?;
        let start = self.at;
        match self.plain() {
            Some(b'"') => {
                let found = self.text.get(start..self.at).ok_or(MALFORMED)?;
                self.at += 1;
                Ok(found)
            }
            Some(b'\\') => {
                self.at = start;
                self.escaped(scratch)?;
                Ok(scratch)
            }
            _ => Err(MALFORMED),
        }
    }

    /// Goes on to a quote, a backslash or a control character.
    #[inline(always)]
    fn plain(&mut self) -> Option<u8> {
        const ONES: u64 = u64::MAX / 255;
        const TOPS: u64 = ONES << 7;
        // Eight bytes at a time: the lowest top bit that is set marks the first byte looked for.
        let zero = |word: u64| word.wrapping_sub(ONES) & !word;
        let mut rest = &self.text.as_bytes()[self.at..];
        while let Some((eight, more)) = rest.split_first_chunk::<8>() {
            let word = u64::from_le_bytes(*eight);
            let quote = zero(word ^ (ONES * u64::from(b'"')));
            let slash = zero(word ^ (ONES * u64::from(b'\\')));
            let control = word.wrapping_sub(ONES * 0x20) & !word;
            let found = (quote | slash | control) & TOPS;
            if found != 0 {
                let place = (found.trailing_zeros() / 8) as usize;
                self.at += place;
                return Some(eight[place]);
            }
            self.at += 8;
            rest = more;
        }
        let length = rest.iter().position(|b| matches!(b, b'"' | b'\\' | 0..0x20));
        self.at += length.unwrap_or(rest.len());
        length.map(|length| rest[length])
    }

    fn escaped(&mut self, out: &mut String) -> Result<(), Fault> {
        out.clear();
        loop {
            let start = self.at;
            let stop = self.plain();
            out.push_str(self.text.get(start..self.at).ok_or(MALFORMED)?);
            self.at += 1;
            match stop {
                Some(b'"') => return Ok(()),
                Some(b'\\') => {}
                _ => return Err(MALFORMED),
            }
            let escape = self.text.as_bytes().get(self.at).copied().ok_or(MALFORMED)?;
            self.at += 1;
            out.push(match escape {
                b'"' | b'\\' | b'/' => char::from(escape),
                b'b' => '\u{8}',
                b'f' => '\u{c}',
                b'n' => '\n',
                b'r' => '\r',
                b't' => '\t',
                b'u' => self.code_point()?,
                _ => return Err(MALFORMED),
            });
        }
    }

    /// What follows `\u`: one unit, or two that are a pair.
    fn code_point(&mut self) -> Result<char, Fault> {
        let high = self.unit()?;
        if !(0xD800..0xDC00).contains(&high) {
            return char::from_u32(high).ok_or(MALFORMED);
        }
        self.word("\\u")?;
        match self.unit()? {
            low @ 0xDC00..0xE000 => char::from_u32(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00)).ok_or(MALFORMED),
            _ => Err(MALFORMED),
        }
    }

    fn unit(&mut self) -> Result<u32, Fault> {
        let digits = self.text.get(self.at..self.at + 4).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
        self.at += 4;
        digits.and_then(|d| u32::from_str_radix(d, 16).ok()).ok_or(MALFORMED)
    }

    /// A whole number of at most 18 digits that ends where a value may end; nothing is taken of any other.
    #[inline(always)]
    pub(crate) fn whole(&mut self) -> Option<i64> {
        let bytes = &self.text.as_bytes()[self.at..];
        let negative = bytes.first() == Some(&b'-');
        let bytes = &bytes[usize::from(negative)..];
        let (number, length) = digits::leading(bytes);
        if !(1..=18).contains(&length) || !matches!(bytes.get(length), Some(b',' | b'}' | b']')) {
            return None;
        }
        self.at += usize::from(negative) + length;
        let number = number.cast_signed();
        Some(if negative { -number } else { number })
    }

    /// A string without escapes; nothing is taken of any other value.
    #[inline(always)]
    pub(crate) fn unescaped(&mut self) -> Option<&'a str> {
        let mut ahead = *self;
        if !ahead.take(b'"') {
            return None;
        }
        let start = ahead.at;
        let end = ahead.plain();
        let found = self.text.get(start..ahead.at).filter(|_| end == Some(b'"'))?;
        self.at = ahead.at + 1;
        Some(found)
    }

    /// A value that is neither an object nor an array.
    #[inline(always)]
    pub(crate) fn scalar<'s>(&mut self, scratch: &'s mut String) -> Result<Value<'s>, Fault>
    where
        'a: 's,
    {
        match self.peek() {
            Some(b'"') => self.string(scratch).map(Value::Text),
            Some(b'-' | b'0'..=b'9') => self.number().map(Value::Number),
            Some(b'n') => self.word("null").map(|()| Value::Null),
            Some(b't') => self.word("true").map(|()| Value::Bool(true)),
            Some(b'f') => self.word("false").map(|()| Value::Bool(false)),
            Some(b'{' | b'[') => Err(Fault::of("an object or an array where a value was expected")),
            _ => Err(MALFORMED),
        }
    }

    #[inline(always)]
    fn number(&mut self) -> Result<&'a str, Fault> {
        let rest = &self.text.as_bytes()[self.at..];
        let length = rest.iter().position(|b| !matches!(b, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'));
        let start = self.at;
        self.at += length.unwrap_or(rest.len());
        self.text.get(start..self.at).ok_or(MALFORMED)
    }

    /// Passes over a value of any kind.
    pub(crate) fn skip(&mut self) -> Result<(), Fault> {
        let mut depth = 0usize;
        loop {
            match self.peek().ok_or(MALFORMED)? {
                b'"' => {
                    self.at += 1;
                    loop {
                        match self.plain() {
                            Some(b'"') => break,
                            Some(b'\\') => self.at += 2,
                            _ => return Err(MALFORMED),
                        }
                        // A text that ends within an escape.
                        if self.at > self.text.len() {
                            return Err(MALFORMED);
                        }
                    }
                    self.at += 1;
                }
                b'{' | b'[' => {
                    self.at += 1;
                    depth += 1;
                    continue;
                }
                b'}' | b']' if depth > 0 => {
                    self.at += 1;
                    depth -= 1;
                }
                b',' | b':' if depth > 0 => {
                    self.at += 1;
                    continue;
                }
                b'n' => self.word("null")?,
                b't' => self.word("true")?,
                b'f' => self.word("false")?,
                b'-' | b'0'..=b'9' => drop(self.number()?),
                _ => return Err(MALFORMED),
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }
}

/// Whether bytes begin with a few others: eight at a time, which for names costs less than a call.
#[inline(always)]
pub(crate) fn begins(bytes: &[u8], with: &[u8]) -> bool {
    let Some(bytes) = bytes.get(..with.len()) else { return false };
    let (eights, rest) = bytes.as_chunks::<8>();
    let (wanted, wanted_rest) = with.as_chunks::<8>();
    eights.iter().zip(wanted).all(|(a, b)| u64::from_ne_bytes(*a) == u64::from_ne_bytes(*b))
        && rest.iter().zip(wanted_rest).all(|(a, b)| a == b)
}

/// A key as Kafka Connect's converter writes it; empty where it would need escapes.
pub(crate) fn quoted(name: &str) -> String {
    match name.bytes().any(|b| matches!(b, b'"' | b'\\' | 0..0x20)) {
        true => String::new(),
        false => format!("\"{name}\":"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(json: &str) -> Result<String, String> {
        let mut scratch = String::new();
        let mut pull = Pull::new(json);
        let read = pull.string(&mut scratch).map(str::to_owned).map_err(|f| format!("{f:?}"))?;
        pull.end().map_err(|f| format!("{f:?}"))?;
        Ok(read)
    }

    #[test]
    fn strings() {
        assert_eq!(text(r#""""#), Ok(String::new()));
        assert_eq!(text(r#" "a\"b\\\/\b\f\n\r\té😀" "#), Ok("a\"b\\/\u{8}\u{c}\n\r\té😀".into()));
        for bad in [r#"""#, r#""\"#, r#""\x""#, r#""\u12""#, r#""\ud83d""#, r#""\ud83dA""#, "\"\n\"", r#""\u+123""#] {
            assert!(text(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn values_are_passed_over() {
        for whole in ["1", "-1.5e+3", "null", "[]", "{}", r#"{"a":[1,{"b":"}\""}],"c":null}"#] {
            let mut pull = Pull::new(whole);
            assert!(pull.skip().is_ok() && pull.place() == whole.len(), "{whole}");
        }
        for bad in ["", "[", "{", "nul", r#"["a\"#, "}", ",", r#"""#] {
            assert!(Pull::new(bad).skip().is_err(), "{bad}");
        }
    }

    proptest! {
        /// The short ways come to what the long ones do, or take nothing.
        #[test]
        fn short_ways_are_the_long_ones(value in r#"-?[0-9]{0,20}[.e,}\] ]?|"[a-z\\"é]{0,20}"?"#) {
            let mut scratch = String::new();
            let (mut short, mut long) = (Pull::new(&value), Pull::new(&value));
            if let Some(number) = short.whole() {
                prop_assert_eq!(Ok(number), long.number().unwrap().parse());
                prop_assert_eq!(short.at, long.at);
            } else if let Some(text) = short.unescaped() {
                prop_assert_eq!(text, long.string(&mut scratch).unwrap());
                prop_assert_eq!(short.at, long.at);
            } else {
                prop_assert_eq!(short.at, 0);
            }
            prop_assert_eq!(begins(value.as_bytes(), b"-123456789"), value.starts_with("-123456789"));
            prop_assert!(begins(value.as_bytes(), value.as_bytes()));
        }

        /// What another writer makes of a text is read as that text.
        #[test]
        fn texts_of_another_writer(value in ".*") {
            prop_assert_eq!(text(&serde_json::to_string(&value).unwrap()), Ok(value));
        }

        #[test]
        fn any_text_is_an_error_at_worst(value in r#"[\[\]{}",:\\untrfalse0-9eé .+-]{0,40}"#) {
            let mut scratch = String::new();
            let _ = (Pull::new(&value).skip(), Pull::new(&value).scalar(&mut scratch).is_ok());
            let _ = text(&value);
        }
    }
}
