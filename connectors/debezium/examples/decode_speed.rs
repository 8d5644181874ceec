//! Decodes events of a 16-column table to nowhere and says what a million costs in processor time: JSON
//! without schemas, with them, and Avro. `decode_speed [EVENTS]`, in a release build.

#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use std::sync::Arc;

use arrow_schema::DataType;
use connector_api::{Column, Error, Result, TableId, TableSchema};
use connector_debezium::{Decoder, Format, Keep, Message, Modes, SchemaSource, Settings, Table, WriterSchema};
use serde_json::{Value, json};

/// The columns of TPC-H's `lineitem`: name, type at the source, type in a message.
const COLUMNS: &[(&str, &str, &str)] = &[
    ("l_orderkey", "bigint", "int64"),
    ("l_linenumber", "integer", "int32"),
    ("l_partkey", "bigint", "int64"),
    ("l_suppkey", "bigint", "int64"),
    ("l_quantity", "numeric(15,2)", "decimal"),
    ("l_extendedprice", "numeric(15,2)", "decimal"),
    ("l_discount", "numeric(15,2)", "decimal"),
    ("l_tax", "numeric(15,2)", "decimal"),
    ("l_returnflag", "character(1)", "string"),
    ("l_linestatus", "character(1)", "string"),
    ("l_shipdate", "date", "date"),
    ("l_commitdate", "date", "date"),
    ("l_receiptdate", "date", "date"),
    ("l_shipinstruct", "character(25)", "string"),
    ("l_shipmode", "character(10)", "string"),
    ("l_comment", "character varying(44)", "string"),
];

const SOURCE: &[(&str, &str)] = &[
    ("version", "string"),
    ("connector", "string"),
    ("name", "string"),
    ("ts_ms", "int64"),
    ("snapshot", "string"),
    ("db", "string"),
    ("sequence", "string"),
    ("ts_us", "int64"),
    ("ts_ns", "int64"),
    ("schema", "string"),
    ("table", "string"),
    ("txId", "int64"),
    ("lsn", "int64"),
];

const DECIMAL: &str = "org.apache.kafka.connect.data.Decimal";

fn main() -> Result<()> {
    let events = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    let row = row();
    let (plain, key) = (envelope(&row), json!({"l_orderkey": 1_234_567, "l_linenumber": 3}));
    measure("JSON without schemas", Format::Json, events, key.to_string().as_bytes(), plain.to_string().as_bytes())?;
    let fields: Vec<_> = COLUMNS.iter().map(json_field).collect();
    let value = format!("{{\"schema\":{},\"payload\":{plain}}}", json_schema(&fields));
    let key_schema = json!({"type": "struct", "fields": fields[..2], "optional": false, "name": "Key"});
    let key = format!("{{\"schema\":{key_schema},\"payload\":{key}}}");
    measure("JSON with schemas", Format::Json, events, key.as_bytes(), value.as_bytes())?;
    let mut key = vec![0, 0, 0, 0, 1];
    long(&mut key, 1_234_567);
    long(&mut key, 3);
    measure("Avro", Format::Avro, events, &key, &avro(&row))
}

fn measure(what: &str, format: Format, events: u64, key: &[u8], value: &[u8]) -> Result<()> {
    let settings = Settings {
        topic: "shop.public.lineitem".into(),
        partition: 0,
        key: format,
        value: format,
        modes: Modes::debezium_defaults(),
        max_bytes: 1 << 30,
    };
    let mut decoder = Decoder::new(settings, Box::new(Registry));
    let columns = COLUMNS.iter().map(|(name, source_type, _)| {
        let data_type = match *source_type {
            "bigint" => DataType::Int64,
            "integer" => DataType::Int32,
            "numeric(15,2)" => DataType::Decimal128(15, 2),
            "date" => DataType::Date32,
            _ => DataType::Utf8,
        };
        Column::new(name, data_type, false, *source_type)
    });
    let schema = TableSchema::new(TableId::new("public", "lineitem"), columns.collect(), vec![0, 1])?;
    decoder.set_table(Table { schema: Arc::new(schema), whole_before: false, left_out: vec![] })?;
    let (began, mut rows) = (processor_seconds(), 0);
    for offset in 0..events {
        decoder.push(
            &Message { offset: offset.cast_signed(), key: Some(key), value: Some(value), header: &|_| None },
            &mut |_, _| Keep::Yes,
        )?;
        if offset % 10_000 == 9_999 || offset + 1 == events {
            rows += decoder.take()?.iter().map(|batch| batch.rows.num_rows() as u64).sum::<u64>();
        }
    }
    if rows != events {
        return Err(Error::fatal("not every event became a row").with("rows", rows));
    }
    let seconds = (processor_seconds() - began) / (events as f64 / 1e6);
    println!("{what}: {} bytes, {seconds:.2} CPU-s per M events", value.len());
    Ok(())
}

fn row() -> Value {
    json!({
        "l_orderkey": 1_234_567, "l_linenumber": 3, "l_partkey": 155_190, "l_suppkey": 7706,
        "l_quantity": "BqQ=", "l_extendedprice": "IEhO", "l_discount": "BA==", "l_tax": "Ag==",
        "l_returnflag": "N", "l_linestatus": "O", "l_shipdate": 9568, "l_commitdate": 9538, "l_receiptdate": 9577,
        "l_shipinstruct": "DELIVER IN PERSON        ", "l_shipmode": "TRUCK     ",
        "l_comment": "egular courts above the carefully final dep"
    })
}

fn envelope(row: &Value) -> Value {
    json!({
        "before": null, "after": row,
        "source": {
            "version": "3.6.1.Final", "connector": "postgresql", "name": "shop", "ts_ms": 1_795_385_277_920_u64,
            "snapshot": "false", "db": "shop", "sequence": "[\"37829800\",\"37829896\"]",
            "ts_us": 1_795_385_277_920_203_u64, "ts_ns": 1_795_385_277_920_203_000_u64, "schema": "public",
            "table": "lineitem", "txId": 765, "lsn": 37_829_896
        },
        "transaction": null, "op": "c", "ts_ms": 1_795_385_278_124_u64
    })
}

fn json_field((name, _, kind): &(&str, &str, &str)) -> Value {
    match *kind {
        "decimal" => json!({"type": "bytes", "optional": false, "name": DECIMAL, "version": 1,
            "parameters": {"scale": "2", "connect.decimal.precision": "15"}, "field": name}),
        "date" => {
            json!({"type": "int32", "optional": false, "name": "io.debezium.time.Date", "version": 1, "field": name})
        }
        kind => json!({"type": kind, "optional": false, "field": name}),
    }
}

fn json_schema(fields: &[Value]) -> Value {
    let image = |name| json!({"type": "struct", "fields": fields, "optional": true, "name": "Value", "field": name});
    let source = SOURCE.iter().map(|(name, kind)| json!({"type": kind, "optional": true, "field": name}));
    let source: Vec<_> = source.collect();
    json!({"type": "struct", "optional": false, "name": "shop.public.lineitem.Envelope", "version": 2, "fields": [
        image("before"), image("after"),
        {"type": "struct", "fields": source, "optional": false, "name": "Source", "field": "source"},
        {"type": "string", "optional": true, "field": "transaction"},
        {"type": "string", "optional": false, "field": "op"},
        {"type": "int64", "optional": true, "field": "ts_ms"}
    ]})
}

/// Two schemas: 1 the key's, 2 the value's.
struct Registry;

impl SchemaSource for Registry {
    fn schema(&mut self, id: u32) -> Result<WriterSchema> {
        let kind = |kind: &str| match kind {
            "int64" => json!("long"),
            "int32" => json!("int"),
            "decimal" => json!({"type": "bytes", "connect.name": DECIMAL,
                "connect.parameters": {"scale": "2", "connect.decimal.precision": "15"}}),
            "date" => json!({"type": "int", "connect.name": "io.debezium.time.Date"}),
            other => json!(other),
        };
        let fields: Vec<_> = COLUMNS.iter().map(|c| json!({"name": c.0, "type": kind(c.2)})).collect();
        let source: Vec<_> = SOURCE.iter().map(|c| json!({"name": c.0, "type": kind(c.1)})).collect();
        let schema = match id {
            1 => json!({"type": "record", "name": "Key", "fields": fields[..2]}),
            _ => json!({"type": "record", "name": "Envelope", "fields": [
                {"name": "before", "type": ["null", {"type": "record", "name": "Value", "fields": fields}]},
                {"name": "after", "type": ["null", "Value"]},
                {"name": "source", "type": {"type": "record", "name": "Source", "fields": source}},
                {"name": "op", "type": "string"},
                {"name": "ts_ms", "type": ["null", "long"]}
            ]}),
        };
        Ok(WriterSchema { schema: schema.to_string(), references: vec![] })
    }
}

fn avro(row: &Value) -> Vec<u8> {
    let mut out = vec![0, 0, 0, 0, 2, 0, 2];
    let mut write = |value: &Value, decimal: bool| match value {
        Value::String(_) if decimal => blob(&mut out, &[0x20, 0x48, 0x4e]),
        Value::String(value) => blob(&mut out, value.as_bytes()),
        value => long(&mut out, value.as_i64().unwrap_or_default()),
    };
    COLUMNS.iter().for_each(|(name, _, kind)| write(&row[name], *kind == "decimal"));
    let source = &envelope(row)["source"];
    SOURCE.iter().for_each(|(name, _)| write(&source[name], false));
    blob(&mut out, b"c");
    out.push(2);
    long(&mut out, 1_795_385_278_124);
    out
}

fn blob(out: &mut Vec<u8>, bytes: &[u8]) {
    long(out, bytes.len() as i64);
    out.extend_from_slice(bytes);
}

fn long(out: &mut Vec<u8>, value: i64) {
    let mut rest = (value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned();
    while rest > 0x7f {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: f64 = after_name.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<f64>().ok()).sum();
    // The kernel counts in hundredths of a second for every user program.
    ticks / 100.0
}
