//! The placeholder of a value that the database's log did not carry, in each of its forms. Pure.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

use crate::how::How;
use crate::value::Value;
use crate::value::convert::Composite;

/// What stands for such a value.
#[derive(Clone, Debug)]
pub(crate) struct Placeholder {
    text: String,
    /// The text's bytes in base 64 (both alphabets) and hexadecimal, and as a pair of an `hstore`.
    coded: [String; 4],
}

impl Placeholder {
    pub(crate) fn new(text: &str) -> Self {
        let hex = text.bytes().map(|b| format!("{b:02x}")).collect();
        let quoted = serde_json::Value::from(text);
        let coded = [STANDARD.encode(text), URL_SAFE.encode(text), hex, format!("{{{quoted}:{quoted}}}")];
        Self { text: text.to_owned(), coded }
    }

    /// Whether a text that is not coded is it.
    #[inline]
    pub(crate) fn is_text(&self, text: &[u8]) -> bool {
        text == self.text.as_bytes()
    }

    /// Whether a value, or the only element of a list, is it.
    #[inline]
    pub(crate) fn is(&self, how: &How, value: Value<'_>) -> bool {
        match value {
            Value::Text(text) => {
                how.is_textual() && text == self.text
                    || matches!(how, How::Bytes | How::Coded(_) | How::BytesAsText | How::HstoreJson)
                        && self.coded.iter().any(|coded| coded == text)
            }
            Value::Bytes(bytes) => how.is_textual() && bytes == self.text.as_bytes(),
            _ => false,
        }
    }

    /// Whether a map is it.
    pub(crate) fn is_map(&self, composite: &Composite) -> bool {
        composite.pairs.len() == 1
            && composite.pairs.get(&self.text).is_some_and(|value| value.as_ref() == Some(&self.text))
    }
}
