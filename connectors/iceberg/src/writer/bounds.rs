//! The smallest and the largest value of a column over a row group, as Parquet's statistics. Pure.
//!
//! What must hold: every value lies within the bounds; a bound that is cut short is cut outwards. Parquet's
//! own writer does the same one comparison at a time, which took a quarter of the encoding.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Int32Type, Int64Type, Time64MicrosecondType,
    TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef, GenericByteArray};
use arrow_schema::{DataType, TimeUnit};
use parquet::basic::Type as Physical;
use parquet::data_type::{ByteArray, FixedLenByteArray};
use parquet::file::statistics::{Statistics, ValueStatistics};
use parquet::schema::types::ColumnDescriptor;

/// Bounds of text and binary columns are cut to so many bytes.
pub(super) const BOUND_BYTES: usize = 32;
/// So much is kept of a value that may become a bound: a value may have a gigabyte.
const KEPT_BYTES: usize = 1024;

/// The bounds of one column so far.
pub(super) struct Bounds {
    nulls: u64,
    range: Range,
}

enum Range {
    I32(Option<(i32, i32)>),
    I64(Option<(i64, i64)>),
    I128(Option<(i128, i128)>),
    /// By the order of the bytes, and by Java's.
    Uuid(Option<(u128, u128)>, Option<(u128, u128)>),
    Bytes {
        ends: Option<(Extreme, Extreme)>,
        kind: Bytes,
    },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Bytes {
    Text,
    Binary,
}

/// A value with its first bytes as a number: most values are told apart by that alone.
struct Extreme {
    prefix: u64,
    value: Vec<u8>,
    /// Whether it goes on.
    cut: bool,
}

impl Bounds {
    /// For a column of this type in the files; none where Parquet's writer keeps them (floats have rules of
    /// their own about NaN and zero).
    pub(super) fn of(kind: &DataType) -> Option<Self> {
        let range = match kind {
            DataType::Int32 | DataType::Date32 => Range::I32(None),
            DataType::Int64 | DataType::Time64(TimeUnit::Microsecond) => Range::I64(None),
            DataType::Timestamp(TimeUnit::Microsecond, _) => Range::I64(None),
            // As many digits as 64 bits hold.
            DataType::Decimal128(..=18, _) => Range::I64(None),
            DataType::Decimal128(..) => Range::I128(None),
            DataType::Utf8 => Range::Bytes { ends: None, kind: Bytes::Text },
            DataType::Binary => Range::Bytes { ends: None, kind: Bytes::Binary },
            DataType::FixedSizeBinary(16) => Range::Uuid(None, None),
            _ => return None,
        };
        Some(Self { nulls: 0, range })
    }

    /// Widens them by a column's values.
    pub(super) fn add(&mut self, column: &ArrayRef) {
        self.nulls += column.null_count() as u64;
        match (&mut self.range, column.data_type()) {
            (Range::I32(range), DataType::Date32) => widen(range, values::<Date32Type>(column)),
            (Range::I32(range), _) => widen(range, values::<Int32Type>(column)),
            (Range::I64(range), DataType::Time64(_)) => widen(range, values::<Time64MicrosecondType>(column)),
            (Range::I64(range), DataType::Timestamp(..)) => widen(range, values::<TimestampMicrosecondType>(column)),
            (Range::I64(range), DataType::Decimal128(..)) => {
                widen_by(range, values::<Decimal128Type>(column), |v| v as i64);
            }
            (Range::I64(range), _) => widen(range, values::<Int64Type>(column)),
            (Range::I128(range), _) => widen(range, values::<Decimal128Type>(column)),
            (Range::Bytes { ends, .. }, DataType::Utf8) => widen_bytes(ends, byte_values(column.as_string::<i32>())),
            (Range::Bytes { ends, .. }, DataType::Binary) => widen_bytes(ends, byte_values(column.as_binary::<i32>())),
            (Range::Uuid(plain, java), _) => {
                let array = column.as_fixed_size_binary();
                for i in (0..array.len()).filter(|i| array.is_valid(*i)) {
                    let value = uuid(array.value(i));
                    widen(plain, std::iter::once(&[value][..]));
                    widen(java, std::iter::once(&[as_java_orders(value)][..]));
                }
            }
            (Range::Bytes { .. }, _) => {}
        }
    }

    /// As Parquet writes them for a column of this description.
    pub(super) fn statistics(&self, column: &ColumnDescriptor) -> Statistics {
        let nulls = Some(self.nulls);
        match &self.range {
            Range::I32(range) => Statistics::int32(range.map(|r| r.0), range.map(|r| r.1), None, nulls, false),
            Range::I64(range) => match column.physical_type() {
                // A decimal of few digits: the precision says that they fit.
                Physical::INT32 => {
                    Statistics::int32(range.map(|r| r.0 as i32), range.map(|r| r.1 as i32), None, nulls, false)
                }
                _ => Statistics::int64(range.map(|r| r.0), range.map(|r| r.1), None, nulls, false),
            },
            Range::I128(range) => {
                let length = usize::try_from(column.type_length()).unwrap_or(16).min(16);
                let fixed = |v: i128| FixedLenByteArray::from(v.to_be_bytes()[16 - length..].to_vec());
                let (low, high) = (range.map(|r| fixed(r.0)), range.map(|r| fixed(r.1)));
                Statistics::fixed_len_byte_array(low, high, None, nulls, false)
            }
            Range::Uuid(plain, java) => {
                let same = plain.map(|r| (as_java_orders(r.0), as_java_orders(r.1))) == *java;
                let fixed = |v: u128| FixedLenByteArray::from(v.to_be_bytes().to_vec());
                let ends = plain.filter(|_| same).map(|r| (fixed(r.0), fixed(r.1))).unzip();
                Statistics::fixed_len_byte_array(ends.0, ends.1, None, nulls, false)
            }
            Range::Bytes { ends, kind } => {
                let Some((low, high)) = ends else { return Statistics::byte_array(None, None, None, nulls, false) };
                let endless = high.cut;
                let (low, high) = (low.value.as_slice(), high.value.as_slice());
                let text = *kind == Bytes::Text;
                let (cut_low, cut_high) = (cut_down(low, text), cut_up(high, text));
                // What is kept of a longer value is below it.
                let cut_high = cut_high.or_else(|| (!endless).then(|| high.to_vec()));
                let exact = (cut_low.len() == low.len(), cut_high.as_deref() == Some(high));
                let ends = (Some(ByteArray::from(cut_low)), cut_high.map(ByteArray::from));
                let cut = ValueStatistics::new(ends.0, ends.1, None, nulls, false);
                Statistics::ByteArray(cut.with_min_is_exact(exact.0).with_max_is_exact(exact.1))
            }
        }
    }
}

/// A uuid's bytes as a number, in the order of the bytes.
pub(super) fn uuid(bytes: &[u8]) -> u128 {
    bytes.first_chunk().map_or(0, |bytes| u128::from_be_bytes(*bytes))
}

/// A uuid as a number in Java's order, that of two signed halves. Iceberg's Java library compares bounds so
/// (apache/iceberg#14216), against the specification, and leaves out files that have what is looked for: bounds are
/// given only where both orders find the same ones.
pub(super) fn as_java_orders(uuid: u128) -> u128 {
    uuid ^ (1 << 127 | 1 << 63)
}

/// The runs of values that are not NULL.
fn values<T: ArrowPrimitiveType>(column: &ArrayRef) -> impl Iterator<Item = &[T::Native]> {
    let array = column.as_primitive::<T>();
    let runs: Box<dyn Iterator<Item = (usize, usize)>> = match array.nulls() {
        Some(nulls) => Box::new(nulls.valid_slices()),
        None => Box::new(std::iter::once((0, array.len()))),
    };
    runs.map(|(from, to)| &array.values()[from..to])
}

fn widen<'a, T: Copy + Ord + 'a>(range: &mut Option<(T, T)>, runs: impl Iterator<Item = &'a [T]>) {
    widen_by(range, runs, |value| value);
}

/// Widens a range by other numbers of the same order.
#[inline(always)]
fn widen_by<'a, T: Copy + 'a, U: Copy + Ord>(
    range: &mut Option<(U, U)>,
    runs: impl Iterator<Item = &'a [T]>,
    number: impl Fn(T) -> U,
) {
    for run in runs {
        let Some(first) = run.first() else { continue };
        let (mut low, mut high) = range.unwrap_or((number(*first), number(*first)));
        for value in run {
            low = low.min(number(*value));
            high = high.max(number(*value));
        }
        *range = Some((low, high));
    }
}

fn byte_values<T: arrow_array::types::ByteArrayType<Offset = i32>>(
    array: &GenericByteArray<T>,
) -> impl Iterator<Item = (u64, &[u8])> {
    let (data, offsets) = (array.values().as_slice(), array.offsets());
    let valid = (0..array.len()).filter(|i| array.is_valid(*i));
    valid.map(move |i| {
        let (from, to) = (offsets[i] as usize, offsets[i + 1] as usize);
        // What follows the value in the buffer is masked out: quicker than a copy of the right length.
        let prefix = match data.get(from..from + 8) {
            Some(bytes) => {
                let all = bytes.first_chunk().map_or(0, |b| u64::from_be_bytes(*b));
                if to - from >= 8 { all } else { all & !(u64::MAX >> (8 * (to - from))) }
            }
            None => prefix(&data[from..to]),
        };
        (prefix, &data[from..to])
    })
}

/// The first eight bytes, zeros where there are fewer: never out of order with the values.
fn prefix(value: &[u8]) -> u64 {
    let mut first = [0; 8];
    let n = value.len().min(8);
    first[..n].copy_from_slice(&value[..n]);
    u64::from_be_bytes(first)
}

fn widen_bytes<'a>(ends: &mut Option<(Extreme, Extreme)>, values: impl Iterator<Item = (u64, &'a [u8])>) {
    let kept = |prefix, value: &[u8]| {
        let cut = value.len() > KEPT_BYTES;
        Extreme { prefix, value: value[..value.len().min(KEPT_BYTES)].to_vec(), cut }
    };
    for (prefix, value) in values {
        let (low, high) = ends.get_or_insert_with(|| (kept(prefix, value), kept(prefix, value)));
        if prefix < low.prefix || (prefix == low.prefix && value < low.value.as_slice()) {
            *low = kept(prefix, value);
        }
        if prefix > high.prefix || (prefix == high.prefix && value > high.value.as_slice()) {
            *high = kept(prefix, value);
        }
    }
}

/// At most the limit's bytes, not above the value; text at the end of a character.
fn cut_down(value: &[u8], text: bool) -> Vec<u8> {
    value[..cut(value, text)].to_vec()
}

/// At most the limit's bytes and not below the value; none if nothing that short is.
fn cut_up(value: &[u8], text: bool) -> Option<Vec<u8>> {
    let end = cut(value, text);
    if end == value.len() {
        return Some(value.to_vec());
    }
    let head = &value[..end];
    match std::str::from_utf8(head) {
        Ok(head) if text => raise_text(head),
        _ => raise_bytes(head),
    }
}

fn cut(value: &[u8], text: bool) -> usize {
    let mut end = value.len().min(BOUND_BYTES);
    // A byte 0b10…… goes on with the character before it.
    while text && end > 0 && value.get(end).is_some_and(|b| b & 0xc0 == 0x80) {
        end -= 1;
    }
    end
}

/// The last character that has a next one of no more bytes, raised; what follows it dropped.
fn raise_text(head: &str) -> Option<Vec<u8>> {
    let raised = head.char_indices().rev().find_map(|(at, c)| {
        let next = ((c as u32 + 1)..=0x10_ffff).find_map(char::from_u32)?;
        (next.len_utf8() == c.len_utf8()).then_some((at, next))
    });
    raised.map(|(at, next)| format!("{}{next}", &head[..at]).into_bytes())
}

/// The last byte below 0xff, raised; what follows it dropped.
fn raise_bytes(head: &[u8]) -> Option<Vec<u8>> {
    let at = head.iter().rposition(|b| *b < 0xff)?;
    let mut raised = head[..=at].to_vec();
    raised[at] += 1;
    Some(raised)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{BinaryArray, FixedSizeBinaryArray, Int64Array, StringArray};
    use proptest::prelude::*;

    use super::*;

    fn ends(bounds: &Bounds) -> (Vec<u8>, Vec<u8>) {
        let Range::Bytes { ends: Some((low, high)), .. } = &bounds.range else { panic!("no bytes") };
        (low.value.clone(), high.value.clone())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn bytes_are_found_as_a_sort_finds_them(
            values in prop::collection::vec(prop::option::of(prop::collection::vec(0u8..3, 0..11)), 1..40),
            from in 0usize..3,
        ) {
            let from = from.min(values.len() - 1);
            let array: ArrayRef = Arc::new(BinaryArray::from_iter(values.iter()));
            let mut bounds = Bounds::of(&DataType::Binary).unwrap();
            bounds.add(&array.slice(from, values.len() - from));
            let mut sorted: Vec<_> = values[from..].iter().flatten().cloned().collect();
            sorted.sort();
            prop_assert_eq!(bounds.nulls as usize, values.len() - from - sorted.len());
            if let (Some(low), Some(high)) = (sorted.first(), sorted.last()) {
                prop_assert_eq!(ends(&bounds), (low.clone(), high.clone()));
            }
        }

        #[test]
        fn numbers_are_found(values in prop::collection::vec(prop::option::of(any::<i64>()), 0..40)) {
            let mut bounds = Bounds::of(&DataType::Int64).unwrap();
            bounds.add(&(Arc::new(Int64Array::from(values.clone())) as ArrayRef));
            let valid = || values.iter().flatten().copied();
            let Range::I64(range) = bounds.range else { panic!("no numbers") };
            prop_assert_eq!(range, valid().min().zip(valid().max()));
        }

        #[test]
        fn text_is_cut_outwards(value in "[a-z\u{7f}\u{7ff}\u{d7ff}\u{ffff}\u{10ffff}é€]{0,60}") {
            let bytes = value.as_bytes();
            let (low, high) = (cut_down(bytes, true), cut_up(bytes, true).unwrap_or_else(|| bytes.to_vec()));
            prop_assert!(low.as_slice() <= bytes && high.as_slice() >= bytes);
            prop_assert!(low.len() <= BOUND_BYTES);
            prop_assert!(std::str::from_utf8(&low).is_ok() && std::str::from_utf8(&high).is_ok());
            prop_assert!(high.len() <= BOUND_BYTES || high == bytes);
        }

        #[test]
        fn bytes_are_cut_outwards(value in prop::collection::vec(prop_oneof![any::<u8>(), Just(0xff)], 0..60)) {
            let (low, high) = (cut_down(&value, false), cut_up(&value, false).unwrap_or_else(|| value.clone()));
            prop_assert!(low <= value && high >= value && low.len() <= BOUND_BYTES);
        }
    }

    /// Both orders by another way than ours: a bound that is given holds in either, and is given if one can be.
    #[test]
    fn bounds_of_uuids_hold_in_both_orders() {
        fn check(values: &[(u64, u64)]) -> Option<(u128, u128)> {
            let bytes = values.iter().map(|v| Some([v.0.to_be_bytes(), v.1.to_be_bytes()].concat()));
            let column = FixedSizeBinaryArray::try_from_sparse_iter_with_size(bytes.chain([None]), 16).unwrap();
            let mut bounds = Bounds::of(column.data_type()).unwrap();
            bounds.add(&(Arc::new(column) as ArrayRef));
            let kind = parquet::schema::types::Type::primitive_type_builder("u", Physical::FIXED_LEN_BYTE_ARRAY);
            let kind = Arc::new(kind.with_length(16).build().unwrap());
            let path = parquet::schema::types::ColumnPath::from("u");
            let statistics = bounds.statistics(&ColumnDescriptor::new(kind, 0, 0, path));
            assert_eq!(statistics.null_count_opt(), Some(1));
            let ends = statistics.min_bytes_opt().zip(statistics.max_bytes_opt()).map(|(l, h)| (uuid(l), uuid(h)));
            let signed = |v: &(u64, u64)| (v.0 as i64, v.1 as i64);
            let (low, high) = (values.iter().min().unwrap(), values.iter().max().unwrap());
            let agree = signed(low) == values.iter().map(signed).min().unwrap()
                && signed(high) == values.iter().map(signed).max().unwrap();
            let number = |v: &(u64, u64)| u128::from(v.0) << 64 | u128::from(v.1);
            assert_eq!(ends, agree.then(|| (number(low), number(high))), "{values:x?}");
            ends
        }
        const TOP: u64 = 1 << 63;
        assert!(check(&[(1, 5), (7, 6)]).is_some());
        assert!(check(&[(TOP, TOP), (u64::MAX, 0)]).is_some());
        assert!(check(&[(1, 5), (TOP, 5)]).is_none(), "the first bit differs");
        assert!(check(&[(1, 5), (1, TOP), (3, 0)]).is_none(), "of the second half, beside the smallest");
        assert!(check(&[(1, TOP), (3, 0), (3, TOP)]).is_none(), "beside the largest");
        assert!(check(&[(1, TOP), (2, 0), (3, 1)]).is_some(), "in between it does not matter");
    }

    /// The lower and the upper bound of a column of these values.
    fn written(values: &[&[u8]]) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
        let mut bounds = Bounds::of(&DataType::Binary).unwrap();
        values.iter().for_each(|v| bounds.add(&(Arc::new(BinaryArray::from(vec![*v])) as ArrayRef)));
        let kind = parquet::schema::types::Type::primitive_type_builder("c", Physical::BYTE_ARRAY).build().unwrap();
        let column = ColumnDescriptor::new(Arc::new(kind), 0, 0, vec!["c".to_owned()].into());
        let statistics = bounds.statistics(&column);
        (statistics.min_bytes_opt().map(<[u8]>::to_vec), statistics.max_bytes_opt().map(<[u8]>::to_vec))
    }

    #[test]
    fn long_values_are_not_kept_and_their_bounds_hold() {
        let (huge, highest, high) = (vec![b'x'; 1 << 20], vec![0xff; 1 << 20], vec![0xff; KEPT_BYTES]);
        let mut bounds = Bounds::of(&DataType::Binary).unwrap();
        bounds.add(&(Arc::new(BinaryArray::from(vec![huge.as_slice()])) as ArrayRef));
        let (low, up) = ends(&bounds);
        assert_eq!((low.len(), up.len()), (KEPT_BYTES, KEPT_BYTES));
        let (low, up) = written(&[&huge, b"y"]);
        assert_eq!((low.unwrap(), up.unwrap()), (vec![b'x'; BOUND_BYTES], b"y".to_vec()));
        assert!(written(&[&huge]).1.unwrap() > huge);
        assert_eq!(written(&[&high]).1, Some(high.clone()), "nothing short is above it");
        assert_eq!(written(&[b"a", &highest]), (Some(b"a".to_vec()), None), "nothing that is kept is above it");
        for order in [[&high, &highest], [&highest, &high]] {
            assert_eq!(written(&[order[0], order[1]]).1, None, "the longer one is the higher one");
        }
    }

    #[test]
    fn the_empty_text_is_a_value_and_null_is_none() {
        let mut bounds = Bounds::of(&DataType::Utf8).unwrap();
        bounds.add(&(Arc::new(StringArray::from(vec![Some("b"), None])) as ArrayRef));
        assert_eq!(ends(&bounds), (b"b".to_vec(), b"b".to_vec()));
        bounds.add(&(Arc::new(StringArray::from(vec![Some(""), Some("b\0")])) as ArrayRef));
        assert_eq!(ends(&bounds), (vec![], b"b\0".to_vec()));
    }
}
