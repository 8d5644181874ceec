//! A data file's entry in a manifest: counts, sizes and bounds per column, from Parquet's own statistics.
//! Pure.
//!
//! What must hold: every value of a column lies within its bounds; where that is not known (a row group
//! without statistics, NaN among floats) the column has no bounds.

use std::collections::HashMap;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type};
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use connector_api::{Error, Result};
use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, Datum, PrimitiveType, Schema, Struct, Type,
};
use parquet::basic::Type as Physical;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::statistics::Statistics;

use super::bounds;
use crate::error;

/// Counts the NaNs of the top-level floating-point columns by field id.
pub(crate) fn count_nans(schema: &Schema, rows: &RecordBatch, nans: &mut HashMap<i32, u64>) {
    for (column, field) in rows.columns().iter().zip(schema.as_struct().fields()) {
        let count = match column.data_type() {
            DataType::Float32 => column.as_primitive::<Float32Type>().iter().flatten().filter(|v| v.is_nan()).count(),
            DataType::Float64 => column.as_primitive::<Float64Type>().iter().flatten().filter(|v| v.is_nan()).count(),
            _ => continue,
        };
        *nans.entry(field.id).or_default() += count as u64;
    }
}

#[derive(Default)]
struct ColumnMetrics {
    bytes: u64,
    values: u64,
    nulls: u64,
    lower: Option<Datum>,
    upper: Option<Datum>,
    unbounded: bool,
    nested: bool,
}

/// The manifest entry of a written file.
pub(crate) fn data_file(
    schema: &Schema,
    parquet: &ParquetMetaData,
    path: &str,
    size: u64,
    nans: HashMap<i32, u64>,
    partition: &Struct,
) -> Result<DataFile> {
    let mut columns: HashMap<i32, ColumnMetrics> = HashMap::new();
    for group in parquet.row_groups() {
        for chunk in group.columns() {
            let info = chunk.column_descr().self_type().get_basic_info();
            if !info.has_id() {
                continue;
            }
            let metrics = columns.entry(info.id()).or_default();
            metrics.bytes += u64::try_from(chunk.compressed_size()).unwrap_or(0);
            metrics.values += u64::try_from(chunk.num_values()).unwrap_or(0);
            // What lies in lists is counted only: Parquet's NULLs are then also empty lists.
            if chunk.column_descr().max_rep_level() > 0 {
                metrics.nested = true;
                continue;
            }
            let field = schema.as_struct().field_by_id(info.id());
            let kind = field.and_then(|f| match f.field_type.as_ref() {
                Type::Primitive(kind) => Some(kind),
                _ => None,
            });
            match (chunk.statistics(), kind) {
                (Some(statistics), kind) => {
                    metrics.nulls += statistics.null_count_opt().unwrap_or(0);
                    let has_nan = nans.get(&info.id()).is_some_and(|n| *n > 0);
                    match kind {
                        Some(kind) if !has_nan => widen(metrics, kind, chunk, statistics)?,
                        _ => metrics.unbounded = true,
                    }
                }
                (None, _) => metrics.unbounded = true,
            }
        }
    }
    let each = |f: fn(&ColumnMetrics) -> u64| columns.iter().map(|(id, m)| (*id, f(m))).collect::<HashMap<_, _>>();
    let bounds = |f: fn(&ColumnMetrics) -> &Option<Datum>| {
        let bounded = columns.iter().filter(|(_, m)| !m.unbounded);
        bounded.filter_map(|(id, m)| f(m).clone().map(|d| (*id, d))).collect::<HashMap<_, _>>()
    };
    DataFileBuilder::default()
        .content(DataContentType::Data)
        .file_path(path.to_owned())
        .file_format(DataFileFormat::Parquet)
        .partition(partition.clone())
        // Not written: the manifest says which spec its files are of.
        .partition_spec_id(0)
        .record_count(u64::try_from(parquet.file_metadata().num_rows()).unwrap_or(0))
        .file_size_in_bytes(size)
        .column_sizes(each(|m| m.bytes))
        .value_counts(each(|m| m.values))
        .null_value_counts(columns.iter().filter(|(_, m)| !m.nested).map(|(id, m)| (*id, m.nulls)).collect())
        .nan_value_counts(nans)
        .lower_bounds(bounds(|m| &m.lower))
        .upper_bounds(bounds(|m| &m.upper))
        .split_offsets(Some(parquet.row_groups().iter().filter_map(|g| g.file_offset()).collect()))
        .build()
        .map_err(|e| Error::fatal("an incomplete manifest entry").caused_by(e))
}

/// Widens a column's bounds by one row group's. Parquet's bounds may be cut short, but always outwards.
fn widen(
    metrics: &mut ColumnMetrics,
    kind: &PrimitiveType,
    chunk: &ColumnChunkMetaData,
    statistics: &Statistics,
) -> Result<()> {
    let values = u64::try_from(chunk.num_values()).unwrap_or(0);
    if statistics.null_count_opt() == Some(values) {
        return Ok(());
    }
    let (Some(min), Some(max)) = (statistics.min_bytes_opt(), statistics.max_bytes_opt()) else {
        metrics.unbounded = true;
        return Ok(());
    };
    let physical = chunk.column_type();
    let (min, max) = (datum(kind, physical, min)?, datum(kind, physical, max)?);
    if *kind == PrimitiveType::Uuid && !(agree(metrics.lower.as_ref(), &min)? && agree(metrics.upper.as_ref(), &max)?) {
        metrics.unbounded = true;
    }
    if metrics.lower.as_ref().is_none_or(|lower| min < *lower) {
        metrics.lower = Some(min);
    }
    if metrics.upper.as_ref().is_none_or(|upper| max > *upper) {
        metrics.upper = Some(max);
    }
    Ok(())
}

/// Whether the orders in which uuids are compared agree about two of them.
fn agree(known: Option<&Datum>, other: &Datum) -> Result<bool> {
    let number = |datum: &Datum| {
        let bytes = datum.to_bytes().map_err(|e| error::iceberg("a bound that is not of its type", e))?;
        Ok::<_, Error>(bounds::uuid(&bytes))
    };
    let Some(known) = known else { return Ok(true) };
    let (a, b) = (number(known)?, number(other)?);
    Ok(a.cmp(&b) == bounds::as_java_orders(a).cmp(&bounds::as_java_orders(b)))
}

/// A statistic's bytes as an Iceberg value. Both are little-endian plain values, but decimals: Iceberg
/// has them big-endian, Parquet only in byte arrays.
fn datum(kind: &PrimitiveType, physical: Physical, bytes: &[u8]) -> Result<Datum> {
    let reversed: Vec<u8>;
    let bytes = match (kind, physical) {
        (PrimitiveType::Decimal { .. }, Physical::INT32 | Physical::INT64) => {
            reversed = bytes.iter().rev().copied().collect();
            &reversed
        }
        _ => bytes,
    };
    Datum::try_from_bytes(bytes, kind.clone()).map_err(|e| error::iceberg("a bound that is not of its type", e))
}
