//! Tables for tests, and envelopes around their rows.

use arrow_schema::DataType;
use connector_api::{Column, TableId, TableSchema};
use serde_json::{Value, json};

/// A column by its source type, as a load maps it.
pub(crate) fn column(name: &str, nullable: bool, source_type: &str, data_type: DataType) -> Column {
    match data_type {
        DataType::FixedSizeBinary(16) => Column::uuid(name, nullable, source_type),
        DataType::List(element) => {
            let mut list = column(name, nullable, source_type, element.data_type().clone()).into_list();
            list.nullable = nullable;
            list
        }
        data_type => Column::new(name, data_type, nullable, source_type),
    }
}

pub(crate) fn schema(columns: Vec<Column>, key: &[usize]) -> TableSchema {
    TableSchema::new(TableId::new("public", "t"), columns, key.to_vec()).unwrap()
}

/// id bigint, name text, note text: the key is id.
pub(crate) fn notes() -> TableSchema {
    let columns = vec![
        column("id", false, "bigint", DataType::Int64),
        column("name", false, "text", DataType::Utf8),
        column("note", true, "text", DataType::Utf8),
    ];
    schema(columns, &[0])
}

pub(crate) fn source() -> Value {
    json!({
        "version": "3.6.0.Final", "connector": "postgresql", "name": "shop", "ts_ms": 1700000000123_i64,
        "snapshot": "false", "db": "shop", "sequence": "[\"24023119\",\"24023128\"]", "ts_us": 1700000000123456_i64,
        "ts_ns": 1700000000123456000_i64, "schema": "public", "table": "t", "txId": 555, "lsn": 24023128,
        "xmin": null, "origin": null
    })
}

/// An envelope without a schema.
pub(crate) fn event(op: &str, before: Value, after: Value) -> Value {
    json!({
        "before": before, "after": after, "source": source(), "transaction": null, "op": op,
        "ts_ms": 1700000000200_i64, "ts_us": 1700000000200000_i64, "ts_ns": 1700000000200000000_i64
    })
}

pub(crate) fn note(id: i64, name: &str, note: Option<&str>) -> Value {
    json!({ "id": id, "name": name, "note": note })
}
