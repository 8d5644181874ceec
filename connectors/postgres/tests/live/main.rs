//! The source against a real server: what only PostgreSQL itself can show.

#![expect(clippy::unwrap_used, clippy::panic, reason = "test code: a panic is a failed assertion")]

mod connections;
mod moments;
#[path = "../source/mod.rs"]
mod source;
mod tables;
mod values;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type, Time64MicrosecondType,
    TimestampMicrosecondType,
};
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use connect_tests::postgres::Database;
use connector_api::{Plan, Position, Progress, Source, Split, TableId, TaskContext};

fn source(database: &Database, keys: &[(&str, &str)]) -> Box<dyn Source> {
    source::source(database.port(), &database.name, keys)
}

fn context() -> TaskContext {
    TaskContext::new("test", 0, 64 << 20)
}

async fn plan(source: &dyn Source) -> Plan {
    source.plan(&Progress::default()).await.unwrap()
}

async fn read(source: &dyn Source, split: &Split) -> Result<Vec<RecordBatch>, connector_api::Error> {
    let mut task = source.open(split, Position::Start, context()).await?;
    let mut batches = vec![];
    while let Some(batch) = task.next().await? {
        batches.push(batch.rows().clone());
    }
    task.close().await?;
    Ok(batches)
}

/// Every row of a table of the plan, each as its values' text.
async fn rows(source: &dyn Source, plan: &Plan, schema: &str, name: &str) -> Vec<Vec<String>> {
    let id = TableId::new(schema, name);
    let table = plan.tables.iter().find(|t| *t.schema.table() == id).unwrap_or_else(|| panic!("{id} is not planned"));
    let mut rows = vec![];
    for split in &table.splits {
        for batch in read(source, split).await.unwrap() {
            rows.extend((0..batch.num_rows()).map(|i| batch.columns().iter().map(|c| text(c, i)).collect::<Vec<_>>()));
        }
    }
    rows
}

fn text(array: &dyn Array, i: usize) -> String {
    if array.is_null(i) {
        return "NULL".into();
    }
    match array.data_type() {
        DataType::Boolean => array.as_boolean().value(i).to_string(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(i).to_string(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(i).to_string(),
        DataType::Float32 => format!("{:?}", array.as_primitive::<Float32Type>().value(i)),
        DataType::Float64 => format!("{:?}", array.as_primitive::<Float64Type>().value(i)),
        DataType::Decimal128(_, _) => array.as_primitive::<Decimal128Type>().value_as_string(i),
        DataType::Utf8 => array.as_string::<i32>().value(i).to_owned(),
        DataType::Binary => format!("{:?}", array.as_binary::<i32>().value(i)),
        DataType::FixedSizeBinary(16) => {
            array.as_fixed_size_binary().value(i).iter().map(|b| format!("{b:02x}")).collect()
        }
        DataType::Date32 => array.as_primitive::<Date32Type>().value(i).to_string(),
        DataType::Time64(_) => array.as_primitive::<Time64MicrosecondType>().value(i).to_string(),
        DataType::Timestamp(_, _) => array.as_primitive::<TimestampMicrosecondType>().value(i).to_string(),
        other => panic!("{other} is no type of ours"),
    }
}
