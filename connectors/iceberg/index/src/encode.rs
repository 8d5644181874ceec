//! From the normalised bytes of a row's key columns to a [`Key`].
//!
//! Equal keys must give equal bytes: the caller normalises each value as its source compares it (1.0 = 1.00,
//! `char(n)` unpadded). Different keys never give the same bytes here: each value carries a mark for NULL and
//! its length. Nothing here knows of types.

use twox_hash::XxHash3_128;

use crate::error::{Error, Result};
use crate::key::{Key, Width};

/// What is known beforehand of a key column's normalised bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnBytes {
    /// Always so many bytes, and never NULL.
    Fixed(usize),
    /// Of any length, or NULL at times.
    Any,
}

/// Builds keys, one after the other, column by column.
#[derive(Debug)]
pub struct KeyEncoder {
    columns: Vec<ColumnBytes>,
    width: Width,
    bytes: Vec<u8>,
    at: usize,
}

impl KeyEncoder {
    /// An encoder for keys of these columns, in this order. Up to eight fixed bytes make a small key.
    pub fn new(columns: &[ColumnBytes]) -> Self {
        let fixed = columns.iter().try_fold(0usize, |sum, column| match column {
            ColumnBytes::Fixed(n) => sum.checked_add(*n),
            ColumnBytes::Any => None,
        });
        let width = if !columns.is_empty() && fixed.is_some_and(|n| n <= 8) { Width::Small } else { Width::Wide };
        Self { columns: columns.to_vec(), width, bytes: Vec::new(), at: 0 }
    }

    /// The width of the keys, for the index's definition.
    pub fn width(&self) -> Width {
        self.width
    }

    /// Adds the next column's value.
    ///
    /// # Errors
    /// `Refused` when there is no such column or its bytes are not as many as declared.
    pub fn value(&mut self, bytes: &[u8]) -> Result<()> {
        match self.next()? {
            ColumnBytes::Fixed(n) if n != bytes.len() => {
                return Err(self.refused(&format!("has {} bytes instead of {n}", bytes.len())));
            }
            _ => {}
        }
        if self.width == Width::Wide {
            self.bytes.push(1);
            self.bytes.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// Adds NULL as the next column's value. NULL equals NULL, as it must where a key is the whole row.
    ///
    /// # Errors
    /// `Refused` when there is no such column or it is declared to be fixed.
    pub fn null(&mut self) -> Result<()> {
        if self.next()? != ColumnBytes::Any {
            return Err(self.refused("is NULL"));
        }
        self.bytes.push(0);
        Ok(())
    }

    /// The key of the values added, and makes ready for the next one.
    ///
    /// # Errors
    /// `Refused` when columns are missing.
    pub fn finish(&mut self) -> Result<Key> {
        let complete = self.at == self.columns.len();
        let key = match self.width {
            Width::Small => {
                let mut number = [0; 8];
                let start = 8 - self.bytes.len().min(8);
                number[start..].copy_from_slice(&self.bytes[..8 - start]);
                Key::Small(u64::from_be_bytes(number))
            }
            Width::Wide => Key::Wide(XxHash3_128::oneshot(&self.bytes)),
        };
        let error = (!complete).then(|| self.refused("is missing"));
        self.clear();
        error.map_or(Ok(key), Err)
    }

    /// Forgets the values added since the last key, after an error.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.at = 0;
    }

    fn next(&mut self) -> Result<ColumnBytes> {
        let column = self.columns.get(self.at).copied();
        self.at += 1;
        column.ok_or_else(|| self.refused("is not part of the key"))
    }

    fn refused(&self, what: &str) -> Error {
        Error::Refused(format!("key column {} of {} {what}", self.at, self.columns.len()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(columns: &[ColumnBytes], values: &[Option<&[u8]>]) -> Result<Key> {
        let mut encoder = KeyEncoder::new(columns);
        for value in values {
            match value {
                Some(bytes) => encoder.value(bytes)?,
                None => encoder.null()?,
            }
        }
        encoder.finish()
    }

    #[test]
    fn up_to_eight_fixed_bytes_are_the_key() {
        use ColumnBytes::{Any, Fixed};
        assert_eq!(key(&[Fixed(8)], &[Some(&5u64.to_be_bytes())]).unwrap(), Key::Small(5));
        assert_eq!(key(&[Fixed(2), Fixed(2)], &[Some(&[0, 1]), Some(&[0, 2])]).unwrap(), Key::Small(0x1_0002));
        for columns in [&[Any][..], &[Fixed(16)], &[Fixed(4), Fixed(8)], &[Fixed(4), Any], &[Fixed(usize::MAX); 2], &[]]
        {
            assert_eq!(KeyEncoder::new(columns).width(), Width::Wide, "{columns:?}");
        }
    }

    #[test]
    fn what_does_not_fit_the_columns_is_refused() {
        use ColumnBytes::{Any, Fixed};
        assert!(key(&[Fixed(4)], &[Some(&[1])]).is_err());
        assert!(key(&[Fixed(4)], &[None]).is_err());
        assert!(key(&[Any], &[]).is_err());
        assert!(key(&[Any], &[None, None]).is_err());
    }

    type Values = Vec<Option<Vec<u8>>>;

    fn values() -> impl Strategy<Value = Values> {
        prop::collection::vec(prop::option::of(prop::collection::vec(0u8..3, 0..3)), 3)
    }

    fn wide(values: &Values) -> Key {
        let values: Vec<_> = values.iter().map(|v| v.as_deref()).collect();
        key(&[ColumnBytes::Any; 3], &values).unwrap()
    }

    proptest! {
        // Short values of few bytes: pairs that differ only in where a value ends come up often.
        #[test]
        fn keys_are_equal_as_their_values_are(a in values(), b in values()) {
            prop_assert_eq!(wide(&a) == wide(&b), a == b);
        }
    }
}
