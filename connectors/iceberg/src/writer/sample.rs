//! Whether a dictionary pays for a column, judged by a sample of its first rows. Pure.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;

/// Rows looked at.
const SAMPLE: usize = 8192;
/// So few distinct values are cheap in any case.
const FEW: usize = 256;

/// Whether the number of distinct values still grows with the rows, so that a dictionary would be filled
/// and dropped: hashing for nothing. False for short samples.
pub(crate) fn is_high_cardinality(column: &ArrayRef) -> bool {
    let rows = column.len().min(SAMPLE);
    if rows < 4 * FEW {
        return false;
    }
    let hasher = RandomState::new();
    let mut seen = HashSet::with_capacity(rows);
    let mut at_half = 0;
    let counted = each_value(column, rows, |row, value| {
        if row <= rows / 2 {
            at_half = seen.len();
        }
        seen.insert(hasher.hash_one(value));
    });
    // Few values repeat for ever; many that grew by half over the second half go on growing.
    counted && seen.len() > FEW && seen.len() * 2 > at_half * 3
}

/// Calls with each of the first rows' bytes; false for a type without a cheap view of them.
fn each_value(column: &ArrayRef, rows: usize, mut f: impl FnMut(usize, &[u8])) -> bool {
    match column.data_type() {
        DataType::Utf8 => {
            let values = column.as_string::<i32>();
            (0..rows).for_each(|i| f(i, values.value(i).as_bytes()));
        }
        DataType::Binary => {
            let values = column.as_binary::<i32>();
            (0..rows).for_each(|i| f(i, values.value(i)));
        }
        DataType::FixedSizeBinary(_) => {
            let values = column.as_fixed_size_binary();
            (0..rows).for_each(|i| f(i, values.value(i)));
        }
        kind => {
            let Some(width) = kind.primitive_width() else { return false };
            let data = column.to_data();
            let Some(buffer) = data.buffers().first() else { return false };
            let bytes = &buffer.as_slice()[data.offset() * width..];
            bytes.chunks_exact(width).take(rows).enumerate().for_each(|(i, value)| f(i, value));
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{BooleanArray, Decimal128Array, Int32Array, StringArray};
    use std::sync::Arc;

    #[test]
    fn only_a_growing_column_is_high_cardinality() {
        let check = |values: Vec<i32>| is_high_cardinality(&(Arc::new(Int32Array::from(values)) as ArrayRef));
        assert!(check((0..20_000).collect()), "unique");
        assert!(check((0..20_000).map(|i| i / 4).collect()), "sorted runs, as an order key in its lines");
        assert!(!check((0..20_000).map(|i| i % 50).collect()), "50 values");
        assert!(!check((0..20_000).map(|i| i % 2_000).collect()), "2,000 values, all seen in the first half");
        assert!(!check((0..500).collect()), "too few rows to tell");
        let text: StringArray = (0..9_000).map(|i| Some(format!("text {i}"))).collect();
        assert!(is_high_cardinality(&(Arc::new(text.slice(500, 8_500)) as ArrayRef)));
        let decimals: Decimal128Array = (0..9_000).map(|i| Some(i128::from(i % 7))).collect();
        assert!(!is_high_cardinality(&(Arc::new(decimals) as ArrayRef)));
        let bools: BooleanArray = (0..9_000).map(|i| Some(i % 2 == 0)).collect();
        assert!(!is_high_cardinality(&(Arc::new(bools) as ArrayRef)));
    }
}
