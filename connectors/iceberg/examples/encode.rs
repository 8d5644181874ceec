//! How much CPU the sink takes per million rows like TPC-H's lineitem, and a table with every type for
//! other readers to look at: `cargo run --release -p connector-iceberg --example encode -- <folder> <millions>`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryArray, Float32Array,
    Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, Time64MicrosecondArray, TimestampMicrosecondArray,
};
use arrow_schema::{DataType, TimeUnit};
use connector_api::{
    ChangeBatch, Column, Cut, Event, LoadEvent, Marks, Plugin, Position, Role, SinkTask, Span, SplitId, TableId,
    TableLoad, TableSchema, TaskContext, UTC, instant,
};
use connector_iceberg::Iceberg;

/// Rows of a batch.
const BATCH: u64 = 16 * 1024;
/// Distinct batches, taken in turn.
const BATCHES: u64 = 16;

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
#[expect(clippy::print_stdout, reason = "a command-line tool")]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("which folder?")?;
    let millions: u64 = arguments.next().unwrap_or("2".into()).parse()?;
    let mut raw = BTreeMap::from([
        ("iceberg.catalog.type".to_owned(), "sql".to_owned()),
        ("iceberg.catalog.uri".into(), format!("sqlite://{folder}/catalog.db")),
        ("iceberg.catalog.warehouse".into(), format!("{folder}/warehouse")),
        ("iceberg.namespace".into(), "bench".into()),
    ]);
    for setting in arguments {
        let (key, value) = setting.split_once('=').ok_or("key=value expected")?;
        raw.insert(key.into(), value.into());
    }
    let Role::Sink(sink) = (Plugin::of::<Iceberg>().build)(&raw).map_err(|p| format!("{p:?}"))? else {
        return Err("not a sink".into());
    };
    let mut task = sink.open(TaskContext::new("bench", 0, 128 << 20)).await?;

    load(task.as_mut(), &types()?, 1, &[all_types()?]).await?;
    let lineitem = lineitem_schema()?;
    let batches = (0..BATCHES).map(|n| lineitem_rows(&lineitem, n)).collect::<Result<Vec<_>, _>>()?;
    let repeated = usize::try_from(millions * 1_000_000 / BATCH)?;
    let rows: Vec<RecordBatch> = batches.iter().cycle().take(repeated).cloned().collect();
    let (wall, cpu) = (Instant::now(), cpu_seconds()?);
    load(task.as_mut(), &lineitem, 2, &rows).await?;
    let (wall, cpu) = (wall.elapsed().as_secs_f64(), cpu_seconds()? - cpu);
    task.close().await?;
    let rows = repeated as f64 * BATCH as f64 / 1e6;
    println!("{rows:.1} M rows: {:.2} CPU-s/M, {:.2} M rows/s", cpu / rows, rows / wall);
    Ok(())
}

/// User and system time of this process so far, seconds.
fn cpu_seconds() -> Result<f64, Failure> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit_once(')').ok_or("no /proc/self/stat")?.1;
    let ticks = after_name.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
    Ok(ticks.sum::<Result<f64, _>>()? / 100.0)
}

/// Loads batches as one table, over so many splits at once.
async fn load(
    task: &mut dyn SinkTask,
    schema: &Arc<TableSchema>,
    splits: usize,
    batches: &[RecordBatch],
) -> Result<(), Failure> {
    let cut = Cut { system: "bench".into(), position_type: "lsn".into(), position: "0/1".into(), visible: None };
    let (schema, source) = (Arc::clone(schema), Arc::from("bench"));
    let table = schema.table().clone();
    let (cut, marks) = (Arc::new(cut), Marks::new());
    let load = TableLoad { schema: Arc::clone(&schema), cut, source, splits, attempt: 1, replace: true, marks };
    task.write(Event::Load(LoadEvent::Begin(Arc::new(load)))).await?;
    let mut reached = vec![Position::Start; splits];
    for (n, rows) in batches.iter().enumerate() {
        let split = n % splits;
        let before = if let Position::At(n) = reached[split] { n } else { 0 };
        let upto = Position::At(before + rows.num_rows() as u64);
        let span = Span { split: SplitId::new(split.to_string()), after: reached[split], upto };
        reached[split] = upto;
        task.write(Event::Changes(ChangeBatch::new(Arc::clone(&schema), span, rows.clone())?)).await?;
    }
    for split in 0..splits {
        task.write(Event::Load(LoadEvent::SplitDone(table.clone(), SplitId::new(split.to_string())))).await?;
    }
    task.write(Event::Load(LoadEvent::Complete(table))).await?;
    match task.checkpoint().await?.failed.pop() {
        Some((_, e)) => Err(e.into()),
        None => Ok(()),
    }
}

fn lineitem_schema() -> Result<Arc<TableSchema>, Failure> {
    let money = DataType::Decimal128(15, 2);
    let columns = [
        ("l_orderkey", DataType::Int64),
        ("l_partkey", DataType::Int64),
        ("l_suppkey", DataType::Int64),
        ("l_linenumber", DataType::Int32),
        ("l_quantity", money.clone()),
        ("l_extendedprice", money.clone()),
        ("l_discount", money.clone()),
        ("l_tax", money),
        ("l_returnflag", DataType::Utf8),
        ("l_linestatus", DataType::Utf8),
        ("l_shipdate", DataType::Date32),
        ("l_commitdate", DataType::Date32),
        ("l_receiptdate", DataType::Date32),
        ("l_shipinstruct", DataType::Utf8),
        ("l_shipmode", DataType::Utf8),
        ("l_comment", DataType::Utf8),
    ];
    let columns = columns.into_iter().map(|(name, kind)| Column::new(name, kind, false, "")).collect();
    Ok(Arc::new(TableSchema::new(TableId::new("public", "lineitem"), columns, vec![0, 3])?))
}

const WORDS: [&str; 24] = [
    "furiously",
    "carefully",
    "quickly",
    "regular",
    "express",
    "ironic",
    "pending",
    "final",
    "bold",
    "even",
    "special",
    "deposits",
    "packages",
    "requests",
    "accounts",
    "instructions",
    "foxes",
    "ideas",
    "theodolites",
    "pinto",
    "beans",
    "sleep",
    "haggle",
    "among",
];

fn lineitem_rows(schema: &TableSchema, number: u64) -> Result<RecordBatch, Failure> {
    let ids = number * BATCH..(number + 1) * BATCH;
    // Random enough, and the same in every run.
    let chance = |row: u64, salt: u64| {
        let mut x = (row + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ salt.wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 30)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    };
    let long = |f: &dyn Fn(u64) -> u64| {
        Arc::new(ids.clone().map(|i| i64::try_from(f(i)).ok()).collect::<Int64Array>()) as ArrayRef
    };
    let money = |salt, below: u64, step: u64| -> Result<ArrayRef, Failure> {
        let values = ids.clone().map(|i| Some(i128::from(chance(i, salt) % below * step))).collect::<Decimal128Array>();
        Ok(Arc::new(values.with_precision_and_scale(15, 2)?))
    };
    let word = |salt, words: &[&str]| {
        let pick = |i| words[usize::try_from(chance(i, salt)).unwrap_or(0) % words.len()].to_owned();
        Arc::new(ids.clone().map(|i| Some(pick(i))).collect::<StringArray>()) as ArrayRef
    };
    let date = |salt: u64| {
        let day = |i| i32::try_from(8036 + chance(i, 9) % 2526 + chance(i, salt) % 30).ok();
        Arc::new(ids.clone().map(day).collect::<Date32Array>()) as ArrayRef
    };
    let comment = |i: u64| {
        let words = (0..3 + chance(i, 20) % 3).map(|n| WORDS[usize::try_from(chance(i, 21 + n) % 24).unwrap_or(0)]);
        Some(words.collect::<Vec<_>>().join(" "))
    };
    let columns: Vec<ArrayRef> = vec![
        long(&|i| i / 4),
        long(&|i| chance(i, 1) % 200_000),
        long(&|i| chance(i, 2) % 10_000),
        Arc::new(ids.clone().map(|i| i32::try_from(i % 4 + 1).ok()).collect::<Int32Array>()),
        money(3, 50, 100)?,
        money(4, 10_000_000, 1)?,
        money(5, 11, 1)?,
        money(6, 9, 1)?,
        word(7, &["A", "N", "R"]),
        word(8, &["O", "F"]),
        date(9),
        date(10),
        date(11),
        word(12, &["DELIVER IN PERSON", "COLLECT COD", "NONE", "TAKE BACK RETURN"]),
        word(13, &["REG AIR", "AIR", "RAIL", "SHIP", "TRUCK", "MAIL", "FOB"]),
        Arc::new(ids.clone().map(comment).collect::<StringArray>()),
    ];
    Ok(RecordBatch::try_new(Arc::clone(schema.arrow()), columns)?)
}

fn types() -> Result<Arc<TableSchema>, Failure> {
    let c = |name, kind| Column::new(name, kind, true, "");
    let columns = vec![
        Column::new("id", DataType::Int64, false, "int8"),
        c("bool", DataType::Boolean),
        c("int", DataType::Int32),
        c("float", DataType::Float32),
        c("double", DataType::Float64),
        c("dec9", DataType::Decimal128(9, 2)),
        c("dec18", DataType::Decimal128(18, 4)),
        c("dec38", DataType::Decimal128(38, 10)),
        c("text", DataType::Utf8),
        c("bytes", DataType::Binary),
        Column::uuid("uuid", true, "uuid"),
        c("date", DataType::Date32),
        c("time", DataType::Time64(TimeUnit::Microsecond)),
        c("ts", DataType::Timestamp(TimeUnit::Microsecond, None)),
        c("tstz", instant()),
    ];
    Ok(Arc::new(TableSchema::new(TableId::new("public", "all types"), columns, vec![0])?))
}

fn all_types() -> Result<RecordBatch, Failure> {
    let uuid = [Some([0x12_u8; 16]), None, Some([0xff_u8; 16])];
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![1, 2, 3])),
        Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])),
        Arc::new(Int32Array::from(vec![Some(i32::MIN), None, Some(i32::MAX)])),
        Arc::new(Float32Array::from(vec![Some(1.5), None, Some(f32::NAN)])),
        Arc::new(Float64Array::from(vec![Some(-0.1), None, Some(f64::INFINITY)])),
        Arc::new(Decimal128Array::from(vec![Some(-150), None, Some(12_345)]).with_precision_and_scale(9, 2)?),
        Arc::new(Decimal128Array::from(vec![Some(-150), None, Some(12_345)]).with_precision_and_scale(18, 4)?),
        Arc::new(
            Decimal128Array::from(vec![Some(-150), None, Some(i128::from(i64::MAX))])
                .with_precision_and_scale(38, 10)?,
        ),
        Arc::new(StringArray::from(vec![Some("é€ text"), None, Some("")])),
        Arc::new(BinaryArray::from(vec![Some(&[0_u8, 255][..]), None, Some(&[][..])])),
        Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(uuid.into_iter(), 16)?),
        Arc::new(Date32Array::from(vec![Some(-1), None, Some(20_000)])),
        Arc::new(Time64MicrosecondArray::from(vec![Some(0), None, Some(86_399_999_999)])),
        Arc::new(TimestampMicrosecondArray::from(vec![Some(-1), None, Some(1_700_000_000_000_001)])),
        Arc::new(TimestampMicrosecondArray::from(vec![Some(-1), None, Some(1_700_000_000_000_001)]).with_timezone(UTC)),
    ];
    Ok(RecordBatch::try_new(Arc::clone(types()?.arrow()), columns)?)
}
