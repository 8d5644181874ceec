//! The writer on a temporary folder: types, bounds over several row groups, and what is refused.

use std::collections::HashMap;

use arrow_array::{
    BinaryArray, BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryArray, Float64Array, Int16Array,
    Int32Array, ListArray, StringArray, Time64MicrosecondArray, TimestampMicrosecondArray,
};
use arrow_schema::{Field, TimeUnit};
use connector_api::{Column, TableId, TableSchema, UTC, instant};
use iceberg::spec::Datum;

use super::bounds::BOUND_BYTES;
use iceberg::TableIdent;

use super::*;
use crate::journal::Journal;
use crate::partition::PartitionBy;
use crate::schema;
use crate::table_config::Codec;

/// Writes each column as a table of its own, in so many batches of at most `rows` rows.
async fn write(columns: Vec<(Column, ArrayRef)>, rows: usize) -> Result<Vec<DataFile>> {
    write_by(columns, rows, "").await
}

/// The same, partitioned.
async fn write_by(columns: Vec<(Column, ArrayRef)>, rows: usize, by: &str) -> Result<Vec<DataFile>> {
    let folder = tempfile::tempdir().unwrap();
    let (columns, arrays): (Vec<Column>, Vec<ArrayRef>) = columns.into_iter().unzip();
    let table = TableSchema::new(TableId::new("s", "t"), columns, vec![]).unwrap();
    let iceberg = schema::iceberg_schema(&table, None)?;
    let spec = Arc::new(PartitionBy::parse(by).unwrap().bind(&iceberg)?);
    let shape = Shape { arrow: schema::file_schema(&table, &iceberg), schema: Arc::new(iceberg), spec };
    let batch = RecordBatch::try_new(Arc::clone(table.arrow()), arrays).unwrap();
    // Each batch closes a row group.
    let files = Files { codec: Codec::Uncompressed, target: 1 << 30, row_group: 1 };
    let target = Target {
        storage: FileIO::new_with_fs(),
        runtime: Handle::current(),
        folder: folder.path().display().to_string(),
        files,
        budget: Budget::new(1 << 20),
        attempt: Journal::open(None, "").attempt(1, &TableIdent::from_strs(["n", "t"]).unwrap()),
    };
    let written = tokio::task::spawn_blocking(move || {
        let mut writer = DataWriter::new(shape, target).unwrap();
        let parts = (0..batch.num_rows()).step_by(rows).map(|n| batch.slice(n, rows.min(batch.num_rows() - n)));
        match parts.into_iter().try_for_each(|part| writer.write(&part)) {
            Ok(()) => writer.finish(),
            Err(e) => {
                writer.discard();
                Err(e)
            }
        }
    });
    let written = written.await.unwrap();
    let left = files_under(folder.path());
    assert_eq!(left, written.as_ref().map_or(0, Vec::len), "a failed writer leaves no file");
    written
}

fn files_under(folder: &std::path::Path) -> usize {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { files_under(&path) } else { 1 }).sum()
}

/// Bounds of one column, written one row per row group: `lower..upper nulls/nans`.
async fn bounds(column: Column, values: ArrayRef) -> String {
    let file = write(vec![(column, values)], 1).await.unwrap().remove(0);
    let show = |d: Option<&Datum>| d.map_or("-".to_owned(), |d| d.to_human_string());
    let count = |m: &HashMap<i32, u64>| m.get(&1).copied().unwrap_or(0);
    format!(
        "{}..{} {}/{} of {}",
        show(file.lower_bounds().get(&1)),
        show(file.upper_bounds().get(&1)),
        count(file.null_value_counts()),
        count(file.nan_value_counts()),
        count(file.value_counts()),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn bounds_hold_for_every_type_and_row_group() {
    let column = |kind: DataType| Column::new("c", kind, true, "x");
    let check = async |kind, values: ArrayRef| bounds(column(kind), values).await;
    let ints: ArrayRef = Arc::new(Int32Array::from(vec![Some(3), None, Some(-5)]));
    assert_eq!(check(DataType::Int32, ints).await, "-5..3 1/0 of 3");
    let small: ArrayRef = Arc::new(Int16Array::from(vec![Some(7), Some(-2)]));
    assert_eq!(check(DataType::Int16, small).await, "-2..7 0/0 of 2", "written as int");
    let bools: ArrayRef = Arc::new(BooleanArray::from(vec![true, false]));
    assert_eq!(check(DataType::Boolean, bools).await, "false..true 0/0 of 2");
    for precision in [9_u8, 18, 38] {
        let values = Decimal128Array::from(vec![150, -12345, 7]).with_precision_and_scale(precision, 2).unwrap();
        assert_eq!(check(DataType::Decimal128(precision, 2), Arc::new(values)).await, "-123.45..1.50 0/0 of 3");
    }
    let days: ArrayRef = Arc::new(Date32Array::from(vec![0, -1]));
    assert_eq!(check(DataType::Date32, days).await, "1969-12-31..1970-01-01 0/0 of 2");
    let times: ArrayRef = Arc::new(Time64MicrosecondArray::from(vec![1, 2]));
    assert_eq!(
        check(DataType::Time64(TimeUnit::Microsecond), times).await,
        "00:00:00.000001..00:00:00.000002 0/0 of 2"
    );
    let instants = TimestampMicrosecondArray::from(vec![1_000_000, 1]).with_timezone(UTC);
    let expected = "1970-01-01 00:00:00.000001 UTC..1970-01-01 00:00:01 UTC 0/0 of 2";
    assert_eq!(check(instant(), Arc::new(instants)).await, expected);
    let uuids = async |values: [u8; 2]| {
        let values = FixedSizeBinaryArray::try_from_iter(values.map(|v| [v; 16]).iter()).unwrap();
        bounds(Column::uuid("c", true, "uuid"), Arc::new(values)).await
    };
    let shown = uuids([0x7f, 1]).await;
    assert!(shown.starts_with("01010101-0101-0101-0101-010101010101..7f7f7f7f-"), "{shown}");
    // Either with the next row group: by Java's order the first is the larger one.
    assert_eq!(uuids([1, 0xff]).await, "-..- 0/0 of 2");
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_counted_and_have_no_bounds() {
    let lists = [Some(vec![Some(1), None, Some(3)]), None, Some(vec![])];
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>(lists);
    let field = Arc::new(Field::new("element", DataType::Int32, true));
    let list = ListArray::new(field, list.offsets().clone(), Arc::clone(list.values()), list.nulls().cloned());
    let column = Column::new("c", DataType::Int32, true, "integer[]").into_list();
    let file = write(vec![(column, Arc::new(list))], 3).await.unwrap().remove(0);
    assert_eq!(file.record_count(), 3);
    // The element is field 2; the list has no column of its own.
    assert_eq!(file.value_counts().iter().collect::<Vec<_>>(), [(&2, &5)]);
    assert!(file.lower_bounds().is_empty() && file.upper_bounds().is_empty() && file.null_value_counts().is_empty());
    assert!(file.column_sizes()[&2] > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn bounds_of_long_text_are_cut_outwards() {
    // The long values stand in row groups of their own: a bound that only counted exact statistics would
    // say "b".."c" and lose both of them.
    let (low, high) = (format!("a{}", "x".repeat(100)), format!("z{}", "y".repeat(100)));
    let text: ArrayRef = Arc::new(StringArray::from(vec!["b", &low, "c", &high]));
    let file = write(vec![(Column::new("c", DataType::Utf8, true, "text"), text)], 1).await.unwrap().remove(0);
    let bound = |m: &HashMap<i32, Datum>| String::from_utf8(m[&1].to_bytes().unwrap().into_vec()).unwrap();
    let (lower, upper) = (bound(file.lower_bounds()), bound(file.upper_bounds()));
    assert!(lower <= low && lower.starts_with("ax") && lower.len() <= BOUND_BYTES, "{lower}");
    assert!(upper >= high && upper.starts_with('z') && upper.len() <= BOUND_BYTES, "{upper}");
    let bytes: ArrayRef = Arc::new(BinaryArray::from(vec![&[0xff_u8; 100][..], b"b"]));
    let file = write(vec![(Column::new("c", DataType::Binary, true, "bytea"), bytes)], 1).await.unwrap().remove(0);
    let upper = file.upper_bounds()[&1].to_bytes().unwrap().into_vec();
    assert!(upper >= vec![0xff_u8; 100], "what cannot be rounded up is not cut");
}

#[tokio::test(flavor = "multi_thread")]
async fn floats_with_nan_have_no_bounds() {
    let check = async |values: Vec<f64>| {
        let values: ArrayRef = Arc::new(Float64Array::from(values));
        bounds(Column::new("c", DataType::Float64, true, "float8"), values).await
    };
    assert_eq!(check(vec![1.5, -2.0]).await, "-2..1.5 0/0 of 2");
    assert_eq!(check(vec![1.5, f64::NAN]).await, "-..- 0/1 of 2");
    assert_eq!(check(vec![f64::INFINITY, 0.0]).await, "-0..inf 0/0 of 2", "zero is either zero");
    let nulls: ArrayRef = Arc::new(Float64Array::from(vec![None, Some(4.0), None]));
    assert_eq!(bounds(Column::new("c", DataType::Float64, true, "float8"), nulls).await, "4..4 2/0 of 3");
}

#[tokio::test(flavor = "multi_thread")]
async fn null_in_a_required_column_is_refused_by_name() {
    let values: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None]));
    let column = |nullable| Column::new("c", DataType::Int32, nullable, "int4");
    let e = write(vec![(column(false), Arc::clone(&values))], 1).await.unwrap_err();
    assert_eq!(e.to_string(), "NULL in a column that is declared NOT NULL [column=c]");
    assert_eq!(write(vec![(column(true), values)], 2).await.unwrap()[0].record_count(), 2);
}

/// The partitions of a column's values as `folder rows`, in order.
async fn partitions(column: Column, values: ArrayRef, by: &str) -> Result<Vec<String>> {
    let files = write_by(vec![(column, values)], 3, by).await?;
    let mut told: Vec<String> = files
        .iter()
        .map(|f| {
            let folder = f.file_path().rsplit('/').nth(1).unwrap_or_default().to_owned();
            format!(
                "{folder} {} {:?}",
                f.record_count(),
                f.partition().iter().next().unwrap().map(|v| format!("{v:?}"))
            )
        })
        .map(|text| text.replace("Primitive(", "").replace(['\"', '\\', '(', ')'], ""))
        .collect();
    told.sort();
    Ok(told)
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_go_to_the_partition_of_their_value() {
    let column = |kind: DataType| Column::new("c", kind, true, "x");
    let text: ArrayRef = Arc::new(StringArray::from(vec![Some("é/%=ü"), Some(""), None, Some("é/%=ü"), Some("a")]));
    let told = partitions(column(DataType::Utf8), text, "c").await.unwrap();
    assert_eq!(told.len(), 4, "{told:?}");
    assert!(told.iter().any(|t| t.starts_with("c=null 1 None")), "{told:?}");
    assert!(told.iter().any(|t| t.ends_with(" 2 SomeStringé/%=ü")), "{told:?}");
    assert!(told.iter().all(|t| t.split(' ').next().unwrap().bytes().all(|b| b.is_ascii() && b != b'%')), "{told:?}");
    let ints: ArrayRef = Arc::new(Int32Array::from(vec![-1, 0, 9, 10, -10, -11]));
    let told = partitions(column(DataType::Int32), ints, "truncate(c, 10)").await.unwrap();
    assert_eq!(
        told,
        ["c_trunc=-10 2 SomeInt-10", "c_trunc=-20 1 SomeInt-20", "c_trunc=0 2 SomeInt0", "c_trunc=10 1 SomeInt10"]
    );
    // 34: the specification's own example of the hash, 2017239379.
    let ints: ArrayRef = Arc::new(Int32Array::from(vec![Some(34), None]));
    let told = partitions(column(DataType::Int32), ints, "bucket(c, 100)").await.unwrap();
    assert_eq!(told, ["c_bucket=79 1 SomeInt79", "c_bucket=null 1 None"]);
    let micros = TimestampMicrosecondArray::from(vec![-1, 0, 86_400_000_000 * 366]).with_timezone(UTC);
    let micros: ArrayRef = Arc::new(micros);
    for (by, expected) in [
        ("year(c)", ["SomeInt-1", "SomeInt0", "SomeInt1"]),
        ("month(c)", ["SomeInt-1", "SomeInt0", "SomeInt12"]),
        ("day(c)", ["SomeInt-1", "SomeInt0", "SomeInt366"]),
        ("hour(c)", ["SomeInt-1", "SomeInt0", "SomeInt8784"]),
    ] {
        let told = partitions(column(instant()), Arc::clone(&micros), by).await.unwrap();
        let values: std::collections::BTreeSet<_> = told.iter().filter_map(|t| t.rsplit(' ').next()).collect();
        assert_eq!(values, expected.into_iter().collect(), "{by}: {told:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_beyond_its_transform_is_refused_by_name() {
    let column = |kind: DataType| Column::new("c", kind, true, "x");
    let low: ArrayRef = Arc::new(Int32Array::from(vec![0, i32::MIN + 3]));
    let e = partitions(column(DataType::Int32), low, "truncate(c, 10)").await.unwrap_err();
    assert_eq!(
        e.to_string(),
        "a value is beyond what its partition transform takes [column=c, transform=truncate[10]]"
    );
    // The last day that PostgreSQL has is beyond the transform's calendar.
    let late: ArrayRef = Arc::new(Date32Array::from(vec![2_145_031_948]));
    let e = partitions(column(DataType::Date32), Arc::clone(&late), "year(c)").await.unwrap_err();
    assert!(e.to_string().contains("column=c"), "{e}");
    assert_eq!(partitions(column(DataType::Date32), late, "bucket(c, 4)").await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_partitions_are_written_in_bounded_memory() {
    // With the least share every batch is sorted out at once, and files beyond the most are closed.
    let rows = 20_000;
    let ids: ArrayRef = Arc::new((0..rows).map(|i| Some(i * 7919 % 200)).collect::<Int32Array>());
    let files = write_by(vec![(Column::new("c", DataType::Int32, false, "int4"), ids)], 1000, "c").await.unwrap();
    assert!(files.len() > fanout::MOST_OPEN, "{}", files.len());
    assert_eq!(files.iter().map(DataFile::record_count).sum::<u64>(), rows as u64);
    for file in &files {
        // A file holds its partition's value and no other.
        let Some(Some(iceberg::spec::Literal::Primitive(iceberg::spec::PrimitiveLiteral::Int(value)))) =
            file.partition().iter().next()
        else {
            panic!("{:?}", file.partition())
        };
        let expected = Datum::int(*value);
        assert_eq!((&file.lower_bounds()[&1], &file.upper_bounds()[&1]), (&expected, &expected));
    }
}
