//! Single values where the recordings have none: placeholders by type, and values that do not fit.

use std::sync::Arc;

use arrow_schema::{DataType, Field, TimeUnit};
use connector_debezium::{Binary, Hstore, Modes, PLACEHOLDER, Times};
use serde_json::{Value, json};

use crate::render::{json as decoder_of, push, table, taken};
use crate::tables::{column, event, schema};

fn modes() -> Modes {
    Modes::debezium_defaults()
}

/// What the cell of a column comes to after an update, without a schema.
fn check(source_type: &str, data_type: DataType, modes: &Modes, value: Value) -> String {
    let mut decoder = decoder_of(modes.clone());
    let columns = vec![column("id", false, "bigint", DataType::Int64), column("a", true, source_type, data_type)];
    decoder.set_table(table(schema(columns, &[0]))).unwrap();
    let message = event("u", Value::Null, json!({"id": 1, "a": value})).to_string();
    let seen = push(&mut decoder, 0, Some(r#"{"id":1}"#), Some(&message));
    match taken(&mut decoder).first() {
        Some(row) => row.strip_prefix("0 update 1 | ").unwrap().to_owned(),
        None => seen.split(" [").next().unwrap().to_owned(),
    }
}

fn list(element: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("element", element, true)))
}

#[test]
fn every_form_of_the_placeholder_is_known() {
    let numbers: Vec<i64> = PLACEHOLDER.bytes().map(i64::from).collect();
    let check = |source_type, data_type, value| check(source_type, data_type, &modes(), value);
    assert_eq!(check("text", DataType::Utf8, json!(PLACEHOLDER)), "~");
    assert_eq!(check("bytea", DataType::Binary, json!("X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==")), "~");
    assert_eq!(check("text[]", list(DataType::Utf8), json!([PLACEHOLDER])), "~");
    assert_eq!(check("integer[]", list(DataType::Int32), json!(numbers)), "~");
    assert_eq!(check("bigint[]", list(DataType::Int64), json!(numbers)), "~");
    assert_eq!(check("date[]", list(DataType::Date32), json!(numbers)), "~");
    assert_eq!(check("double precision[]", list(DataType::Float64), json!(numbers)), "~");
    assert_eq!(check("boolean[]", list(DataType::Boolean), json!(vec![true; PLACEHOLDER.len()])), "~");
    let uuids = list(DataType::FixedSizeBinary(16));
    // Java's UUID.nameUUIDFromBytes of the placeholder; and another one.
    assert_eq!(check("uuid[]", uuids.clone(), json!(["b68a35a7-17ad-35b3-af2a-ae46edb4545a"])), "~");
    assert_ne!(check("uuid[]", uuids, json!(["b68a35a7-17ad-35b3-af2a-ae46edb45450"])), "~");
    let pair = json!({PLACEHOLDER: PLACEHOLDER});
    assert_eq!(check("public.hstore", DataType::Utf8, json!(pair.to_string())), "~");
    let maps = Modes { hstore: Some(Hstore::Map), ..modes() };
    assert_eq!(self::check("hstore", DataType::Utf8, &maps, pair), "~");
    for binary in [Binary::Hex, Binary::Base64, Binary::Base64UrlSafe] {
        let coded = Modes { binary: Some(binary), ..modes() };
        assert_eq!(self::check("bytea", DataType::Binary, &coded, json!(PLACEHOLDER)), "~");
    }
    // Twins: almost it.
    assert_eq!(check("text", DataType::Utf8, json!("__debezium_unavailable_valu")), "__debezium_unavailable_valu");
    assert_eq!(check("integer[]", list(DataType::Int32), json!(numbers[1..])).split(", ").count(), 27);
    assert_eq!(
        check("text[]", list(DataType::Utf8), json!([PLACEHOLDER, "x"])),
        "the placeholder of an unavailable value within an array"
    );
    let custom = Modes { placeholder: "§".into(), ..modes() };
    assert_eq!(self::check("text", DataType::Utf8, &custom, json!("§")), "~");
    assert_eq!(self::check("text", DataType::Utf8, &custom, json!(PLACEHOLDER)), PLACEHOLDER);
}

#[test]
fn values_that_do_not_fit_are_errors() {
    let check = |source_type, data_type, value| check(source_type, data_type, &modes(), value);
    const NOT: &str = "a value that is not of the column's type";
    assert_eq!(check("smallint", DataType::Int32, json!(2_147_483_648_i64)), "a number out of the column's range");
    assert_eq!(check("integer", DataType::Int32, json!(1.5)), "not a whole number, or one out of range");
    assert_eq!(check("bigint", DataType::Int64, json!("5")), NOT);
    assert_eq!(check("text", DataType::Utf8, json!(5)), NOT);
    assert_eq!(check("text", DataType::Utf8, json!({})), "an object or an array where a value was expected");
    assert_eq!(check("boolean", DataType::Boolean, json!(1)), NOT);
    assert_eq!(check("real", DataType::Float32, json!(1e39)), "a number out of the column's range");
    assert_eq!(check("bytea", DataType::Binary, json!("%")), "malformed base 64");
    assert_eq!(check("uuid", DataType::FixedSizeBinary(16), json!("x")), "a malformed uuid");
    let decimal = DataType::Decimal128(4, 2);
    assert_eq!(
        check("numeric(4,2)", decimal.clone(), json!("AeJA")),
        "the value has more digits than the column's type"
    );
    assert_eq!(check("numeric(4,2)", decimal, json!(12.34)), "12.34", "decimal.format=NUMERIC");
    let range = check("tstzrange", DataType::Utf8, json!("[\"2026-01-01 00:00:00+02\",)"));
    assert!(range.starts_with("a tstzrange in another time zone than UTC"), "{range}");
    assert_eq!(
        check("integer[]", list(DataType::Int32), json!([[1]])),
        "an object or an array where a value was expected"
    );
    let timestamp = DataType::Timestamp(TimeUnit::Microsecond, None);
    let nanos = Modes { times: Some(Times::Nanoseconds), ..modes() };
    let fine = self::check("timestamp without time zone", timestamp.clone(), &nanos, json!(1_001));
    assert_eq!(fine, "the value is finer than microseconds");
    // A domain says nothing of the unit.
    let domain = check("public.moment", timestamp, json!(5));
    assert!(domain.starts_with("whether a domain's values are milliseconds"), "{domain}");
}

/// By its defaults Debezium sends NULL or an empty text for each.
#[test]
fn names_are_believed_only_where_they_are_read() {
    let seen = |unknown_types| {
        let modes = Modes { unknown_types, ..modes() };
        check("name", DataType::Utf8, &modes, json!("x"))
    };
    assert_eq!(seen(Some(true)), "x");
    assert!(seen(Some(false)).contains("Debezium sends nothing in place of a name"), "{}", seen(Some(false)));
    assert!(seen(None).contains("include.unknown.datatypes=true"), "{}", seen(None));
}

#[test]
fn null_after_an_update_is_not_believed_where_it_may_hide_a_value() {
    let hidden = "NULL after an update, which Debezium also sends";
    let coded = Modes { binary: Some(Binary::Base64), ..modes() };
    for (source_type, data_type, modes) in [
        ("bytea", DataType::Binary, &coded),
        ("public.geometry(Point,4326)", DataType::Binary, &modes()),
        ("numeric(10,2)[]", list(DataType::Decimal128(10, 2)), &modes()),
        ("boolean[]", list(DataType::Boolean), &modes()),
    ] {
        let seen = check(source_type, data_type, modes, Value::Null);
        assert!(seen.starts_with(hidden), "{source_type}: {seen}");
    }
    for (source_type, data_type) in
        [("bytea", DataType::Binary), ("text[]", list(DataType::Utf8)), ("integer[]", list(DataType::Int32))]
    {
        assert_eq!(check(source_type, data_type, &modes(), Value::Null), "NULL", "{source_type}");
    }
}
