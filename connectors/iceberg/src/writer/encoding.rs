//! How each column is encoded, judged by a sample of its first rows. Pure.
//!
//! A dictionary where values repeat, unless they are numbers close to each other; else whole numbers as packed
//! differences, which are smaller than zstd makes the plain numbers and spare it the work. Every reader takes both; text
//! without a dictionary and floats stay plain, for their other encodings are not yet read everywhere.
//!
//! Numbers that are packed as tightly as they can be are not compressed: that would cost time and, for each
//! column of each open file, a compressor of two megabytes, and save nothing.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, Schema};
use connector_api::{Error, Result};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{ArrowWriterOptions, compute_leaves};
use parquet::basic::{Compression, Encoding, GzipLevel, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::bounds::{BOUND_BYTES, Bounds};
use crate::error;
use crate::table_config::{Codec, Files};

/// Rows looked at.
const SAMPLE: usize = 8192;
/// So few distinct values are cheap in any case.
const FEW: usize = 256;
/// Fewer rows say nothing.
const LEAST_ROWS: usize = 64;
/// Rows from which a trial of the compression pays.
const TRIAL_ROWS: usize = 1024;
/// Compression that saves less than one part in so many is not worth its time.
const WORTH: u64 = 16;
/// Values encoded between two looks at a page's size: few enough that wide values make no huge pages.
const NARROW_STEP: usize = 8192;
/// Bytes that a step of one column should not exceed.
const STEP_BYTES: usize = 256 << 10;
/// What a dictionary of a column of numbers takes from its beginning, bytes.
const DICTIONARY_BYTES: usize = 80 << 10;

/// The properties of a file that begins with these rows, whose writer has so much memory.
pub(super) fn properties(files: &Files, share: usize, first: &RecordBatch) -> Result<WriterProperties> {
    let compression = match files.codec {
        Codec::Zstd(level) => Compression::ZSTD(ZstdLevel::try_new(level).map_err(error::parquet)?),
        Codec::Gzip(level) => Compression::GZIP(GzipLevel::try_new(level).map_err(error::parquet)?),
        Codec::Snappy => Compression::SNAPPY,
        Codec::Lz4 => Compression::LZ4_RAW,
        Codec::Uncompressed => Compression::UNCOMPRESSED,
    };
    let widest = first.columns().iter().map(|c| c.get_buffer_memory_size()).max().unwrap_or(0);
    let widest = widest / first.num_rows().max(1);
    let mut properties = WriterProperties::builder()
        .set_created_by(concat!("connect-runtime ", env!("CARGO_PKG_VERSION")).into())
        .set_compression(compression)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_statistics_truncate_length(Some(BOUND_BYTES))
        .set_offset_index_disabled(true)
        .set_write_batch_size((STEP_BYTES / widest.max(1)).clamp(1, NARROW_STEP))
        .set_max_row_group_row_count(None);
    // Of a thousand columns the dictionaries alone would fill the memory.
    let numbers = first.columns().iter().filter(|c| is_number(c.data_type())).count();
    let crowded = numbers * DICTIONARY_BYTES > share / 4;
    let mut packed = Vec::new();
    for (i, (column, field)) in first.columns().iter().zip(first.schema_ref().fields()).enumerate() {
        let path = ColumnPath::new(vec![field.name().clone()]);
        if Bounds::of(column.data_type()).is_some() {
            properties = properties.set_column_statistics_enabled(path.clone(), EnabledStatistics::None);
        }
        let number = is_number(column.data_type());
        if number && !is_float(column.data_type()) {
            properties = properties.set_column_encoding(path.clone(), Encoding::DELTA_BINARY_PACKED);
            packed.push(i);
        }
        let has_no_use = |sample: Sample| sample.is_high_cardinality() || sample.is_dense();
        if number && crowded || Sample::of(column).is_some_and(has_no_use) {
            properties = properties.set_column_dictionary_enabled(path, false);
        }
    }
    if compression == Compression::UNCOMPRESSED || first.num_rows() < TRIAL_ROWS || packed.is_empty() {
        return Ok(properties.build());
    }
    let plain = data_bytes(first, &packed, properties.clone().set_compression(Compression::UNCOMPRESSED).build())?;
    let pressed = data_bytes(first, &packed, properties.clone().build())?;
    for (i, (plain, pressed)) in packed.into_iter().zip(plain.into_iter().zip(pressed)) {
        if pressed + plain / WORTH > plain {
            let path = ColumnPath::new(vec![first.schema_ref().field(i).name().clone()]);
            properties = properties.set_column_compression(path, Compression::UNCOMPRESSED);
        }
    }
    Ok(properties.build())
}

/// The bytes of some columns' data pages in a file with these properties: without the dictionary, which a file
/// has once however many rows it has.
fn data_bytes(rows: &RecordBatch, columns: &[usize], properties: WriterProperties) -> Result<Vec<u64>> {
    let misfit = |e| Error::fatal("a column that is not of its rows").caused_by(e);
    let rows = rows.project(columns).map_err(misfit)?;
    let schema = Arc::new(Schema::new(rows.schema_ref().fields().clone()));
    let options = ArrowWriterOptions::new().with_properties(properties);
    let writer = ArrowWriter::try_new_with_options(Vec::new(), schema, options);
    let (_, groups) = writer.and_then(ArrowWriter::into_serialized_writer).map_err(error::parquet)?;
    let writers = groups.create_column_writers(0).map_err(error::parquet)?;
    let fields = rows.schema_ref().fields().iter().zip(rows.columns());
    let sizes = fields.zip(writers).map(|((field, column), mut writer)| {
        for levels in compute_leaves(field, column)? {
            writer.write(&levels)?;
        }
        let chunk = writer.close()?;
        let chunk = &chunk.close().metadata;
        let dictionary = chunk.dictionary_page_offset().map_or(0, |at| chunk.data_page_offset() - at);
        Ok(u64::try_from(chunk.compressed_size() - dictionary).unwrap_or(0))
    });
    sizes.collect::<parquet::errors::Result<_>>().map_err(error::parquet)
}

/// Whether Parquet stores a type as a number (decimals of up to 18 digits are).
fn is_number(kind: &DataType) -> bool {
    match kind {
        DataType::Decimal128(precision, _) => *precision <= 18,
        kind => kind.is_primitive(),
    }
}

fn is_float(kind: &DataType) -> bool {
    matches!(kind, DataType::Float32 | DataType::Float64)
}

/// What the first rows of a column tell; nothing of short samples.
struct Sample {
    rows: usize,
    /// Distinct values: of the first half, and of all.
    at_half: usize,
    distinct: usize,
    /// Values that differ from the one before.
    runs: usize,
    /// How far apart whole numbers are at most.
    range: Option<i128>,
}

impl Sample {
    fn of(column: &ArrayRef) -> Option<Self> {
        let rows = column.len().min(SAMPLE);
        if rows < LEAST_ROWS {
            return None;
        }
        let whole = is_number(column.data_type()) && !is_float(column.data_type());
        let hasher = RandomState::new();
        let mut seen = HashSet::with_capacity(rows);
        let (mut at_half, mut runs, mut last, mut bounds) = (0, 0, None, None);
        let counted = each_value(column, rows, |row, value| {
            if row <= rows / 2 {
                at_half = seen.len();
            }
            let hash = hasher.hash_one(value);
            seen.insert(hash);
            runs += usize::from(last.replace(hash) != Some(hash));
            if whole {
                let sign = value.last().map_or(0, |top| -i128::from(top >> 7));
                let number = value.iter().rev().fold(sign, |number, byte| number << 8 | i128::from(*byte));
                let (low, high) = bounds.unwrap_or((number, number));
                bounds = Some((number.min(low), number.max(high)));
            }
        });
        let range = bounds.map(|(low, high)| high.saturating_sub(low));
        counted.then_some(Self { rows, at_half, distinct: seen.len(), runs, range })
    }

    /// Whether the number of distinct values still grows with the rows, so that a dictionary would be filled and dropped:
    /// hashing for nothing.
    fn is_high_cardinality(&self) -> bool {
        // Rows so wide that a batch has few of them: nearly all values differ.
        if self.rows < 4 * FEW {
            return self.distinct * 10 > self.rows * 9;
        }
        // Few values repeat for ever; many that grew by half over the second half go on growing.
        self.distinct > FEW && self.distinct * 2 > self.at_half * 3
    }

    /// Whether numbers, none of which stands for long, fill half of their range or more, as dates do: packed, a difference
    /// of two takes a bit or two more than a place in a dictionary, and no hashing.
    fn is_dense(&self) -> bool {
        self.runs * 4 > self.rows && self.range.is_some_and(|range| range < 2 * self.distinct as i128)
    }
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
    use arrow_array::{BooleanArray, Decimal128Array, Int32Array, Int64Array, StringArray};
    use std::sync::Arc;

    /// The columns of the rows that are compressed.
    fn compressed(rows: i32, codec: Codec) -> Vec<String> {
        let random = |i: i32| {
            let mixed = [13, 7, 16].iter().fold(i, |x, by| (x ^ (x >> by)).wrapping_mul(-1_640_531_527));
            mixed ^ (mixed >> 15)
        };
        let columns: [(&str, ArrayRef); 6] = [
            ("unique", Arc::new((0..rows).map(|i| Some(random(i))).collect::<Int32Array>())),
            ("few", Arc::new((0..rows).map(|i| Some(random(i) & 0x7f)).collect::<Int32Array>())),
            ("amount", Arc::new((0..rows).map(|i| Some(i128::from(random(i)))).collect::<Decimal128Array>())),
            ("serial", Arc::new((0..rows).map(Some).collect::<Int32Array>())),
            ("cycle", Arc::new((0..rows).map(|i| Some(i % 50)).collect::<Int32Array>())),
            ("text", Arc::new((0..rows).map(|i| Some(random(i).to_string())).collect::<StringArray>())),
        ];
        let mut columns = columns.to_vec();
        columns[2].1 = Arc::new(
            columns[2]
                .1
                .as_primitive::<arrow_array::types::Decimal128Type>()
                .clone()
                .with_precision_and_scale(15, 2)
                .unwrap(),
        );
        let rows = RecordBatch::try_from_iter(columns).unwrap();
        let files = Files { codec, target: 1 << 30, row_group: 1 << 30 };
        let properties = properties(&files, 1 << 30, &rows).unwrap();
        let names = rows.schema_ref().fields().iter().map(|f| f.name().clone());
        let is = |name: &String| properties.compression(&ColumnPath::from(name.as_str())) != Compression::UNCOMPRESSED;
        names.filter(is).collect()
    }

    #[test]
    fn what_is_packed_already_is_not_compressed() {
        let zstd = Codec::Zstd(3);
        assert_eq!(compressed(8_000, zstd), ["serial", "cycle", "text"]);
        let all = ["unique", "few", "amount", "serial", "cycle", "text"];
        assert_eq!(compressed(1_000, zstd), all, "too few rows for a trial");
        assert!(compressed(8_000, Codec::Uncompressed).is_empty());
    }

    #[test]
    fn only_numbers_close_to_each_other_are_dense() {
        let is_dense = |column: ArrayRef| Sample::of(&column).is_some_and(|sample| sample.is_dense());
        let check = |values: Vec<i64>| is_dense(Arc::new(Int64Array::from(values)));
        let mixed = |many: i64| (0..9_000_i64).map(move |i| i * 7919 % many);
        assert!(check(mixed(2_500).map(|day| day - 1_200).collect()), "days around 1970");
        assert!(check(mixed(7).collect()));
        assert!(!check(mixed(50).map(|i| i * 100).collect()), "of fifty, far apart");
        assert!(!check((0..9_000).map(|i| i / 1_000).collect()), "of nine, each for long");
        assert!(!check(vec![3; 9_000]));
        assert!(!check([i64::MIN, i64::MAX].repeat(5_000)));
        assert!(!check(mixed(7).take(50).collect()), "too few rows to tell");
        let decimals: Decimal128Array = mixed(11).map(|i| Some(i128::from(i) - 5)).collect();
        assert!(is_dense(Arc::new(decimals.with_precision_and_scale(15, 2).unwrap())));
    }

    #[test]
    fn only_a_growing_column_is_high_cardinality() {
        let is_high = |column: ArrayRef| Sample::of(&column).is_some_and(|sample| sample.is_high_cardinality());
        let check = |values: Vec<i32>| is_high(Arc::new(Int32Array::from(values)));
        assert!(check((0..20_000).collect()), "unique");
        assert!(check((0..20_000).map(|i| i / 4).collect()), "sorted runs, as an order key in its lines");
        assert!(!check((0..20_000).map(|i| i % 50).collect()), "50 values");
        assert!(!check((0..20_000).map(|i| i % 2_000).collect()), "2,000 values, all seen in the first half");
        assert!(check((0..500).collect()), "few rows, every value another");
        assert!(!check((0..500).map(|i| i % 400).collect()), "few rows and some repeat");
        assert!(check((0..100).collect()), "as few as wide rows come in");
        assert!(!check((0..50).collect()), "too few rows to tell");
        let text: StringArray = (0..9_000).map(|i| Some(format!("text {i}"))).collect();
        assert!(is_high(Arc::new(text.slice(500, 8_500))));
        let decimals: Decimal128Array = (0..9_000).map(|i| Some(i128::from(i % 7))).collect();
        assert!(!is_high(Arc::new(decimals)));
        let bools: BooleanArray = (0..9_000).map(|i| Some(i % 2 == 0)).collect();
        assert!(!is_high(Arc::new(bools)));
    }
}
