//! The schemas of the messages, as Kafka Connect's converters write and register them.

use serde_json::Value;

const DECIMAL: &str = "org.apache.kafka.connect.data.Decimal";
const DATE: &str = "io.debezium.time.Date";

/// The columns: name, and Kafka Connect's type.
pub(crate) const COLUMNS: [(&str, &str); 16] = [
    ("l_orderkey", "int64"),
    ("l_partkey", "int32"),
    ("l_suppkey", "int32"),
    ("l_linenumber", "int32"),
    ("l_quantity", DECIMAL),
    ("l_extendedprice", DECIMAL),
    ("l_discount", DECIMAL),
    ("l_tax", DECIMAL),
    ("l_returnflag", "string"),
    ("l_linestatus", "string"),
    ("l_shipdate", DATE),
    ("l_commitdate", DATE),
    ("l_receiptdate", DATE),
    ("l_shipinstruct", "string"),
    ("l_shipmode", "string"),
    ("l_comment", "string"),
];

/// The fields of a `source` block: name, type, whether it may be null.
const SOURCE: [(&str, &str, bool); 16] = [
    ("version", "string", false),
    ("connector", "string", false),
    ("name", "string", false),
    ("ts_ms", "int64", false),
    ("snapshot", "string", true),
    ("db", "string", false),
    ("sequence", "string", true),
    ("ts_us", "int64", true),
    ("ts_ns", "int64", true),
    ("schema", "string", false),
    ("table", "string", false),
    ("txId", "int64", true),
    ("lsn", "int64", true),
    ("xmin", "int64", true),
    ("origin", "string", true),
    ("origin_lsn", "int64", true),
];

fn json_field((name, kind): &(&str, &str)) -> Value {
    match *kind {
        DECIMAL => serde_json::json!({"type": "bytes", "optional": false, "name": DECIMAL, "version": 1,
            "parameters": {"scale": "2", "connect.decimal.precision": "15"}, "field": name}),
        DATE => serde_json::json!({"type": "int32", "optional": false, "name": DATE, "version": 1, "field": name}),
        kind => serde_json::json!({"type": kind, "optional": false, "field": name}),
    }
}

const SNAPSHOTS: &str = "true,first,first_in_data_collection,last_in_data_collection,last,false,incremental";

pub(crate) fn json(topic: &str) -> Value {
    let fields: Vec<_> = COLUMNS.iter().map(json_field).collect();
    let image = |field: &str| serde_json::json!({"type": "struct", "fields": fields, "optional": true, "name": format!("{topic}.Value"), "field": field});
    let source = SOURCE.iter().map(|(name, kind, optional)| match *name {
        "snapshot" => serde_json::json!({"type": kind, "optional": true, "name": "io.debezium.data.Enum", "version": 1,
            "parameters": {"allowed": SNAPSHOTS}, "default": "false", "field": name}),
        _ => serde_json::json!({"type": kind, "optional": optional, "field": name}),
    });
    let source: Vec<_> = source.collect();
    let optional = |field: &str| serde_json::json!({"type": "int64", "optional": true, "field": field});
    serde_json::json!({"type": "struct", "fields": [
        image("before"), image("after"),
        {"type": "struct", "fields": source, "optional": false, "name": "io.debezium.connector.postgresql.Source",
         "version": 1, "field": "source"},
        {"type": "struct", "fields": [
            {"type": "string", "optional": false, "field": "id"},
            {"type": "int64", "optional": false, "field": "total_order"},
            {"type": "int64", "optional": false, "field": "data_collection_order"}
        ], "optional": true, "name": "event.block", "version": 1, "field": "transaction"},
        {"type": "string", "optional": false, "field": "op"}, optional("ts_ms"), optional("ts_us"), optional("ts_ns")
    ], "optional": false, "name": format!("{topic}.Envelope"), "version": 2})
}

pub(crate) fn json_key(topic: &str) -> Value {
    serde_json::json!({"type": "struct", "fields": [json_field(&COLUMNS[0])], "optional": false, "name": format!("{topic}.Key")})
}

fn avro_type(kind: &str) -> Value {
    match kind {
        DECIMAL => {
            serde_json::json!({"type": "bytes", "scale": 2, "precision": 15, "connect.version": 1, "connect.parameters":
            {"scale": "2", "connect.decimal.precision": "15"}, "connect.name": DECIMAL, "logicalType": "decimal"})
        }
        DATE => serde_json::json!({"type": "int", "connect.version": 1, "connect.name": DATE}),
        "int64" => serde_json::json!("long"),
        "int32" => serde_json::json!("int"),
        other => serde_json::json!(other),
    }
}

pub(crate) fn avro_key(topic: &str) -> Value {
    serde_json::json!({"type": "record", "name": "Key", "namespace": topic,
        "fields": [{"name": COLUMNS[0].0, "type": "long"}], "connect.name": format!("{topic}.Key")})
}

pub(crate) fn avro(topic: &str) -> Value {
    let fields = COLUMNS.iter().map(|(name, kind)| serde_json::json!({"name": name, "type": avro_type(kind)}));
    let fields: Vec<_> = fields.collect();
    let nullable = |name: &str, kind: Value| serde_json::json!({"name": name, "type": ["null", kind], "default": null});
    let source = SOURCE.iter().map(|(name, kind, optional)| match *name {
        "snapshot" => {
            serde_json::json!({"name": name, "default": "false", "type": [{"type": "string", "connect.version": 1,
            "connect.parameters": {"allowed": SNAPSHOTS}, "connect.default": "false",
            "connect.name": "io.debezium.data.Enum"}, "null"]})
        }
        _ if *optional => nullable(name, avro_type(kind)),
        _ => serde_json::json!({"name": name, "type": avro_type(kind)}),
    });
    let source: Vec<_> = source.collect();
    let block = serde_json::json!({"type": "record", "name": "block", "namespace": "event", "fields": [
        {"name": "id", "type": "string"}, {"name": "total_order", "type": "long"},
        {"name": "data_collection_order", "type": "long"}], "connect.version": 1, "connect.name": "event.block"});
    let value = serde_json::json!({"type": "record", "name": "Value", "fields": fields, "connect.name": format!("{topic}.Value")});
    let connector = "io.debezium.connector.postgresql";
    let source = serde_json::json!({"type": "record", "name": "Source", "namespace": connector, "fields": source,
        "connect.version": 1, "connect.name": format!("{connector}.Source")});
    serde_json::json!({"type": "record", "name": "Envelope", "namespace": topic, "fields": [
        nullable("before", value), nullable("after", serde_json::json!("Value")), {"name": "source", "type": source},
        nullable("transaction", block), {"name": "op", "type": "string"},
        nullable("ts_ms", serde_json::json!("long")), nullable("ts_us", serde_json::json!("long")), nullable("ts_ns", serde_json::json!("long"))
    ], "connect.version": 2, "connect.name": format!("{topic}.Envelope")})
}
