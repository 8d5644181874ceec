//! Messages with schemas: tables that are not there yet, columns that come or widen, and what is refused.

use std::sync::Arc;

use arrow_schema::DataType;
use connector_api::ErrorKind;
use connector_debezium::{Decoder, Format, Keep, Message, Modes, PLACEHOLDER, Pushed, Table, WriterSchema};
use serde_json::{Value, json};

use crate::render::{Registry, json, outcome, push, settings, table, taken};
use crate::tables::{column, event, note, notes, schema};

/// A field of a JSON schema, its name last as Kafka Connect writes it.
fn field(name: &str, of: &Value) -> Value {
    let mut field = of.clone();
    field["field"] = name.into();
    field
}

/// A message with its schema; the fields are (name, schema, value).
pub(crate) fn wrapped(op: &str, fields: &[(&str, Value, Value)]) -> String {
    let row: serde_json::Map<_, _> =
        fields.iter().map(|(name, _, value)| ((*name).to_owned(), value.clone())).collect();
    let members: Vec<_> = fields.iter().map(|(name, of, _)| field(name, of)).collect();
    let image = |name: &str| json!({"type": "struct", "fields": members, "optional": true, "name": "v", "field": name});
    let schema = json!({"type": "struct", "fields": [image("before"), image("after")], "name": "x.Envelope"});
    json!({ "schema": schema, "payload": event(op, Value::Null, row.into()) }).to_string()
}

fn id(value: i64) -> (&'static str, Value, Value) {
    ("id", json!({"type": "int64", "optional": false}), json!(value))
}

fn of(kind: &str) -> Value {
    json!({"type": kind, "optional": true})
}

fn named(kind: &str, name: &str) -> Value {
    json!({"type": kind, "optional": true, "name": name})
}

const KEY: Option<&str> = Some(
    r#"{"schema":{"type":"struct","fields":[{"type":"int64","optional":false,"field":"id"}]},"payload":{"id":1}}"#,
);

fn decimal(precision: u32, scale: u32) -> Value {
    let parameters = json!({"scale": scale.to_string(), "connect.decimal.precision": precision.to_string()});
    json!({"type": "bytes", "optional": true, "name": "org.apache.kafka.connect.data.Decimal", "parameters": parameters})
}

#[test]
fn a_table_is_proposed_and_then_filled() {
    let mut decoder = json(Modes::default());
    let message = wrapped(
        "c",
        &[
            id(1),
            ("n", decimal(10, 2), json!("BNI=")),
            ("at", named("int64", "io.debezium.time.MicroTimestamp"), json!(1_500_000)),
            ("u", named("string", "io.debezium.data.Uuid"), json!("123e4567-e89b-12d3-a456-426614174000")),
            ("l", json!({"type": "array", "items": of("int32"), "optional": true}), json!([1, null])),
        ],
    );
    assert_eq!(
        push(&mut decoder, 0, KEY, Some(&message)),
        "new public.t: id Int64 key = int64, n Decimal128(10, 2)? = org.apache.kafka.connect.data.Decimal(10,2), \
         at Timestamp(µs)? = io.debezium.time.MicroTimestamp, u FixedSizeBinary(16)? = io.debezium.data.Uuid, \
         l List(Int32, field: 'element')? = int32[]"
    );
    let parsed = Message { offset: 0, key: KEY.map(str::as_bytes), value: Some(message.as_bytes()), header: &|_| None };
    let Ok(Pushed::Schema { schema, new: true }) = decoder.push(&parsed, &mut |_, _| Keep::Yes) else {
        unreachable!("proposed again")
    };
    decoder.set_table(table((*schema).clone())).unwrap();
    assert_eq!(push(&mut decoder, 0, KEY, Some(&message)), "row of public.t");
    // What was made of a schema is read without one by what is stored of it.
    let row = json!({"id": 2, "n": "BNI=", "at": 0, "u": "123e4567-e89b-12d3-a456-426614174000", "l": null});
    let plain = event("c", Value::Null, row).to_string();
    assert_eq!(push(&mut decoder, 1, Some(r#"{"id":2}"#), Some(&plain)), "row of public.t");
    assert_eq!(
        taken(&mut decoder),
        [
            "0 insert 1 | 12.34 | 1970-01-01T00:00:01.500 | 123e4567e89b12d3a456426614174000 | [1, NULL]",
            "1 insert 2 | 12.34 | 1970-01-01T00:00:00 | 123e4567e89b12d3a456426614174000 | NULL"
        ]
    );
}

/// What a message makes of the table `id bigint, a <type>`, and what it is once it has what it asks for.
fn evolved(source_type: &str, data_type: DataType, fields: &[(&str, Value, Value)]) -> (String, Vec<String>) {
    let mut decoder = json(Modes::default());
    let columns = vec![column("id", false, "bigint", DataType::Int64), column("a", true, source_type, data_type)];
    decoder.set_table(table(schema(columns, &[0]))).unwrap();
    let message = wrapped("c", fields);
    let seen = push(&mut decoder, 0, KEY, Some(&message));
    if seen.starts_with("changed") {
        let parsed =
            Message { offset: 0, key: KEY.map(str::as_bytes), value: Some(message.as_bytes()), header: &|_| None };
        let Ok(Pushed::Schema { schema, new: false }) = decoder.push(&parsed, &mut |_, _| Keep::Yes) else {
            unreachable!("asked for again")
        };
        decoder.set_table(table(*schema)).unwrap();
        assert_eq!(push(&mut decoder, 0, KEY, Some(&message)), "row of public.t");
    }
    (seen, taken(&mut decoder))
}

#[test]
fn new_columns_and_wider_types_change_the_table_first() {
    let row = |rows: &str| vec![rows.to_owned()];
    assert_eq!(
        evolved("integer", DataType::Int32, &[id(1), ("a", of("int64"), json!(5_000_000_000_i64))]),
        ("changed public.t: id Int64 key = bigint, a Int64? = bigint".into(), row("0 insert 1 | 5000000000"))
    );
    assert_eq!(
        evolved("real", DataType::Float32, &[id(1), ("a", of("double"), json!(0.1))]),
        ("changed public.t: id Int64 key = bigint, a Float64? = double precision".into(), row("0 insert 1 | 0.1"))
    );
    assert_eq!(
        evolved("numeric(4,2)", DataType::Decimal128(4, 2), &[id(1), ("a", decimal(6, 2), json!("AeJA"))]),
        (
            "changed public.t: id Int64 key = bigint, a Decimal128(6, 2)? = numeric(6,2)".into(),
            row("0 insert 1 | 1234.56")
        )
    );
    assert_eq!(
        evolved("text", DataType::Utf8, &[id(1), ("a", of("string"), json!("x")), ("b", of("boolean"), json!(true))]),
        (
            "changed public.t: id Int64 key = bigint, a Utf8? = text, b Boolean? = connect.boolean".into(),
            row("0 insert 1 | x | true")
        )
    );
    // Narrower than the column: every value has its place.
    let narrow = evolved("bigint", DataType::Int64, &[id(1), ("a", of("int16"), json!(-3))]);
    assert_eq!(narrow, ("row of public.t".into(), row("0 insert 1 | -3")));
}

#[test]
fn any_other_change_is_refused_by_its_column() {
    let refused = |source_type, data_type, fields: &[(&str, Value, Value)], what: &str| {
        let (seen, rows) = evolved(source_type, data_type, fields);
        assert!(seen.contains(what) && seen.contains("table=public.t") && seen.contains("offset=0"), "{seen}");
        assert_eq!(rows, Vec::<String>::new());
    };
    refused("text", DataType::Utf8, &[id(1)], "do not have this column [column=a");
    let text = ("a", of("string"), json!("x"));
    refused(
        "integer",
        DataType::Int32,
        &[id(1), text.clone()],
        "does not fit the column [column=a, type=integer sent as string",
    );
    refused("text", DataType::Utf8, &[id(1), ("a", of("int32"), json!(1))], "does not fit the column [column=a");
    let with_default = json!({"type": "int32", "optional": true, "default": 5});
    let with_default = ("b", with_default, json!(5));
    refused("text", DataType::Utf8, &[id(1), text.clone(), with_default], "load the table again [column=b");
    let required = ("b", json!({"type": "int32", "optional": false}), json!(5));
    refused("text", DataType::Utf8, &[id(1), text, required], "is NOT NULL: rows that were there before");
    let scale = decimal(8, 3);
    refused(
        "numeric(4,2)",
        DataType::Decimal128(4, 2),
        &[id(1), ("a", scale, json!("AA=="))],
        "decimal places changed [column=a",
    );
    refused(
        "text",
        DataType::Utf8,
        &[id(1), ("a", named("int64", "io.debezium.time.MicroDuration"), json!(1))],
        "[column=a",
    );
}

#[test]
fn text_that_looks_like_an_envelope_is_text() {
    let tricky = r#"}},"payload":{"schema":"\"payload\":"#;
    let fields = |text: &str| vec![id(1), ("a", of("string"), json!(text))];
    let mut decoder = json(Modes::default());
    let columns = vec![column("id", false, "bigint", DataType::Int64), column("a", true, "text", DataType::Utf8)];
    decoder.set_table(table(schema(columns, &[0]))).unwrap();
    for (offset, text) in [tricky, "plain", tricky].into_iter().enumerate() {
        assert_eq!(push(&mut decoder, offset as i64, KEY, Some(&wrapped("c", &fields(text)))), "row of public.t");
    }
    // A schema that only begins as a known one is another one.
    let doc = wrapped("c", &fields("x")).replacen(r#""x.Envelope""#, r#""x.Envelope","doc":"payload""#, 1);
    assert_eq!(push(&mut decoder, 3, KEY, Some(&doc)), "row of public.t");
    assert_eq!(
        taken(&mut decoder),
        [
            format!("0 insert 1 | {tricky}"),
            "1 insert 1 | plain".into(),
            format!("2 insert 1 | {tricky}"),
            "3 insert 1 | x".into()
        ]
    );
}

#[test]
fn without_schemas_and_source_types_nothing_is_guessed() {
    let mut decoder = json(Modes::debezium_defaults());
    let event = event("c", Value::Null, note(1, "a", None)).to_string();
    let seen = push(&mut decoder, 5, Some(r#"{"id":1}"#), Some(&event));
    assert!(seen.contains("types are not guessed") && seen.contains("table=public.t"), "{seen}");
    // The mode that decides was not declared.
    let mut decoder = json(Modes::default());
    let columns = vec![column("id", false, "bigint", DataType::Int64), column("a", true, "date", DataType::Date32)];
    decoder.set_table(table(schema(columns, &[0]))).unwrap();
    let dated = crate::tables::event("c", Value::Null, json!({"id": 1, "a": 5})).to_string();
    let seen = push(&mut decoder, 5, Some(r#"{"id":1}"#), Some(&dated));
    assert!(seen.contains("declare Debezium's time.precision.mode") && seen.contains("column=a"), "{seen}");
}

#[test]
fn columns_that_a_load_left_out_are_passed_over() {
    let mut decoder = json(Modes::default());
    let columns = notes().columns()[..2].to_vec();
    let left_out = vec!["note".to_owned(), "other".to_owned()];
    decoder.set_table(Table { schema: Arc::new(schema(columns, &[0])), whole_before: false, left_out }).unwrap();
    let plain = event("u", Value::Null, note(1, "a", Some(PLACEHOLDER))).to_string();
    push(&mut decoder, 0, Some(r#"{"id":1}"#), Some(&plain));
    let odd = json!({"type": "map", "keys": of("int32"), "values": of("int32")});
    let fields = [id(2), ("name", of("string"), json!("b")), ("note", of("int64"), json!(5))];
    push(&mut decoder, 1, KEY, Some(&wrapped("c", &fields)));
    assert_eq!(taken(&mut decoder), ["0 update 1 | a", "1 insert 2 | b"]);
    // Twin: a column that was not left out is a new one, whatever it is.
    let seen = push(
        &mut decoder,
        2,
        KEY,
        Some(&wrapped("c", &[id(2), ("name", of("string"), json!("b")), ("x", odd, json!([]))])),
    );
    assert!(seen.contains("not from text to text") && seen.contains("column=x"), "{seen}");
}

#[test]
fn avro_schemas_may_lie_in_several_parts() {
    let value = r#"{"type":"record","name":"Value","namespace":"shop","fields":[{"name":"id","type":"long"},
        {"name":"name","type":"string"},{"name":"note","type":["null","string"],"default":null}]}"#;
    let source = r#"{"type":"record","name":"pg.Source","fields":[{"name":"connector","type":"string"},
        {"name":"schema","type":"string"},{"name":"table","type":{"type":"enum","name":"T","symbols":["s","t"]}}]}"#;
    let envelope = |after: &str| {
        format!(
            r#"{{"type":"record","name":"Envelope","namespace":"shop","fields":[{{"name":"before","type":["null","Value"]}},
            {{"name":"after","type":["null","{after}"]}},{{"name":"source","type":"pg.Source"}},
            {{"name":"op","type":"string"}}]}}"#
        )
    };
    let key = r#"{"type":"record","name":"Key","fields":[{"name":"id","type":"long"}]}"#;
    let mut registry = Registry::default();
    let references = vec![value.to_owned(), source.to_owned()];
    registry.0.insert(1, WriterSchema { schema: key.into(), references: vec![] });
    registry.0.insert(2, WriterSchema { schema: envelope("Value"), references: references.clone() });
    registry.0.insert(3, WriterSchema { schema: envelope("Envelope"), references });
    let mut decoder = Decoder::new(settings(Format::Avro, Modes::default()), Box::new(registry));
    decoder.set_table(table(notes())).unwrap();
    let text = |text: &str| [&[text.len() as u8 * 2], text.as_bytes()].concat();
    let source = [text("postgresql"), text("public"), vec![2]].concat();
    let row = [vec![2, 6], text("a"), vec![0]].concat();
    let value = [&[0, 0, 0, 0, 2, 0][..], &row, &source, &text("c")].concat();
    let gone = [&[0, 0, 0, 0, 2, 0, 0][..], &source, &text("d")].concat();
    let key: &[u8] = &[0, 0, 0, 0, 1, 6];
    let mut push = |value: &[u8]| {
        let message = Message { offset: 0, key: Some(key), value: Some(value), header: &|_| None };
        outcome(&mut decoder, &message)
    };
    assert_eq!([push(&value), push(&gone)], ["row of public.t", "row of public.t"]);
    assert!(push(&[value, vec![0]].concat()).contains("more after the end"));
    assert!(push(&[0, 0, 0, 0, 3, 0, 0]).contains("refers to itself or to nothing"));
    assert_eq!(taken(&mut decoder), ["0 insert 3 | a | NULL", "0 delete 3 | NULL | NULL"]);
}

#[test]
fn a_registry_that_fails_is_not_the_messages_fault() {
    let mut registry = Registry::default();
    let mut decoder = Decoder::new(settings(Format::Avro, Modes::default()), Box::new(registry.clone()));
    decoder.set_table(table(notes())).unwrap();
    let message = Message { offset: 1, key: None, value: Some(&[0, 0, 0, 0, 7, 0]), header: &|_| None };
    let error = decoder.push(&message, &mut |_, _| Keep::Yes).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Retriable { .. }), "{error}");
    assert_eq!(error.context("offset"), Some("1"));
    registry.0.insert(7, WriterSchema { schema: r#"{"type":"record"}"#.into(), references: vec![] });
    let mut decoder = Decoder::new(settings(Format::Avro, Modes::default()), Box::new(registry));
    assert_eq!(decoder.push(&message, &mut |_, _| Keep::Yes).unwrap_err().kind(), ErrorKind::Data);
    let unframed = Message { value: Some(b"{}"), ..message };
    assert!(outcome(&mut decoder, &unframed).contains("no zero byte and schema id"));
}
