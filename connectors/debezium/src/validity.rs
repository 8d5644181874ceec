//! Which cells of a column are NULL. Pure.
//!
//! A cell that is not is counted first, and written as a bit once a NULL follows: most are not, most of the time.

use arrow_buffer::{NullBuffer, NullBufferBuilder};

/// The cells so far.
#[derive(Debug)]
pub(crate) struct Validity {
    bits: NullBufferBuilder,
    /// Cells behind `bits`, none of them NULL.
    filled: usize,
}

impl Validity {
    /// No cells.
    pub(crate) fn new() -> Self {
        Self { bits: NullBufferBuilder::new(1024), filled: 0 }
    }

    /// How many there are.
    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.bits.len() + self.filled
    }

    /// Whether a cell that is there is not NULL.
    pub(crate) fn is_valid(&self, cell: usize) -> bool {
        cell >= self.bits.len() || self.bits.is_valid(cell)
    }

    /// One more that is not NULL.
    #[inline(always)]
    pub(crate) fn fill(&mut self) {
        self.filled += 1;
    }

    /// One more that is NULL.
    pub(crate) fn append_null(&mut self) {
        self.bits.append_n_non_nulls(std::mem::take(&mut self.filled));
        self.bits.append_null();
    }

    /// Takes back all but the first.
    pub(crate) fn truncate(&mut self, cells: usize) {
        match cells.checked_sub(self.bits.len()) {
            Some(filled) => self.filled = self.filled.min(filled),
            None => {
                self.bits.truncate(cells);
                self.filled = 0;
            }
        }
    }

    /// All of them, if one is or was NULL; it begins anew.
    pub(crate) fn finish(&mut self) -> Option<NullBuffer> {
        self.bits.append_n_non_nulls(std::mem::take(&mut self.filled));
        self.bits.finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// `None` takes back to a length.
        #[test]
        fn it_is_what_a_list_of_truths_is(steps in prop::collection::vec((prop::option::weighted(0.9, any::<bool>()), 0_usize..9), 0..60)) {
            let (mut validity, mut list) = (Validity::new(), Vec::new());
            for (step, to) in steps {
                match step {
                    Some(true) => validity.fill(),
                    Some(false) => validity.append_null(),
                    None => {
                        validity.truncate(to);
                        list.truncate(to);
                    }
                }
                list.extend(step);
                prop_assert_eq!(validity.len(), list.len());
                prop_assert!((0..list.len()).all(|cell| validity.is_valid(cell) == list[cell]));
            }
            let nulls = validity.finish();
            prop_assert!(nulls.is_some() || !list.contains(&false));
            prop_assert!(nulls.is_none_or(|nulls| nulls.iter().eq(list)));
            prop_assert_eq!(validity.len(), 0);
        }
    }
}
