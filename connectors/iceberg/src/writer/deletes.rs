//! Position-delete files: which rows of which data files are gone. Blocking.
//!
//! What must hold: rows are sorted by file and position, as the table format asks of them.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{Array, ArrayRef, DictionaryArray, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema as ArrowSchema};
use bytes::Bytes;
use connector_api::{Error, Result};
use iceberg::metadata_columns::{RESERVED_FIELD_ID_DELETE_FILE_PATH, RESERVED_FIELD_ID_DELETE_FILE_POS};
use iceberg::spec::{DataContentType, DataFile, DataFileBuilder, DataFileFormat, Datum, Struct};
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::arrow::{ArrowWriter, PARQUET_FIELD_ID_META_KEY};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;
use uuid::Uuid;

use super::Target;
use crate::error;

/// Rows that are gone: their data file, and their positions there, ascending.
pub(crate) type Gone = (Arc<str>, Vec<u32>);

/// Writes the rows that are gone from data files of one partition. On an error no file stays.
///
/// # Errors
/// `Retriable` when the storage fails.
pub(crate) fn write_deletes(target: &Target, partition: &Struct, mut files: Vec<Gone>) -> Result<DataFile> {
    files.sort_unstable();
    debug_assert!(files.iter().all(|(_, rows)| rows.is_sorted()), "positions out of order");
    let (Some((first, _)), Some((last, _))) = (files.first(), files.last()) else {
        return Err(Error::fatal("a delete file without a row"));
    };
    let path = format!("{}/{}-deletes.parquet", target.folder, Uuid::now_v7());
    let bytes = encode(&files)?;
    let storage = |e| error::iceberg("cannot write a delete file", e).with("file", &path);
    target.attempt.creates(&path);
    let size = bytes.len() as u64;
    let output = target.storage.new_output(&path).map_err(storage)?;
    if let Err(e) = target.runtime.block_on(output.write(bytes)) {
        super::delete(target, std::slice::from_ref(&path));
        return Err(storage(e));
    }
    let rows = || files.iter().flat_map(|(_, rows)| rows);
    let bounds = |path: &str, position: Option<&u32>| {
        let path = (RESERVED_FIELD_ID_DELETE_FILE_PATH, Datum::string(path));
        let position = position.map(|p| (RESERVED_FIELD_ID_DELETE_FILE_POS, Datum::long(*p)));
        std::iter::once(path).chain(position).collect::<HashMap<_, _>>()
    };
    DataFileBuilder::default()
        .content(DataContentType::PositionDeletes)
        .file_path(path)
        .file_format(DataFileFormat::Parquet)
        .partition(partition.clone())
        // Not written: the manifest says which spec its files are of.
        .partition_spec_id(0)
        .record_count(rows().count() as u64)
        .file_size_in_bytes(size)
        .lower_bounds(bounds(first, rows().min()))
        .upper_bounds(bounds(last, rows().max()))
        .referenced_data_file((first == last).then(|| first.to_string()))
        .build()
        .map_err(|e| Error::fatal("an incomplete manifest entry").caused_by(e))
}

fn encode(files: &[Gone]) -> Result<Bytes> {
    let field = |name: &str, kind, id: i32| {
        let id = HashMap::from([(PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string())]);
        Field::new(name, kind, false).with_metadata(id)
    };
    // A path is some hundred bytes, and each stands there many times.
    let numbers = (0_i32..).zip(files).flat_map(|(number, (_, rows))| std::iter::repeat_n(number, rows.len()));
    let names: ArrayRef = Arc::new(StringArray::from_iter_values(files.iter().map(|(path, _)| path)));
    let paths = DictionaryArray::<Int32Type>::try_new(numbers.collect::<Int32Array>(), names)
        .map_err(|e| Error::fatal("the columns of a delete file").caused_by(e))?;
    let schema = Arc::new(ArrowSchema::new(vec![
        field("file_path", paths.data_type().clone(), RESERVED_FIELD_ID_DELETE_FILE_PATH),
        field("pos", DataType::Int64, RESERVED_FIELD_ID_DELETE_FILE_POS),
    ]));
    let positions: Vec<i64> = files.iter().flat_map(|(_, rows)| rows).map(|at| i64::from(*at)).collect();
    let positions: ArrayRef = Arc::new(Int64Array::from(positions));
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(paths), positions])
        .map_err(|e| Error::fatal("the columns of a delete file").caused_by(e))?;
    let level = ZstdLevel::try_new(3).map_err(error::parquet)?;
    // No position of a file stands there twice.
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_column_dictionary_enabled(ColumnPath::from("pos"), false)
        .set_column_encoding(ColumnPath::from("pos"), Encoding::DELTA_BINARY_PACKED)
        .build();
    let mut bytes = Vec::new();
    // Else readers would be told that the paths are a dictionary.
    let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
    let mut writer = ArrowWriter::try_new_with_options(&mut bytes, schema, options).map_err(error::parquet)?;
    writer.write(&batch).map_err(error::parquet)?;
    writer.close().map_err(error::parquet)?;
    Ok(Bytes::from(bytes))
}
