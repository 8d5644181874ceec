//! Operations, headers, positions and what else a topic holds.

use arrow_schema::DataType;
use connector_api::{Column, TableId, TableSchema};
use connector_debezium::{Binary, Decoder, Keep, Message, Modes, PLACEHOLDER, Pushed, Snapshot, SourcePosition, Table};
use serde_json::{Value, json};

use crate::render::{json, outcome_if, push, push_with, table, taken};
use crate::tables::{event, note, notes, source};

/// Pushes (key, value) pairs and gives the rows, and every outcome that was not one.
fn check(table: Table, messages: &[(Option<Value>, Option<Value>)]) -> Vec<String> {
    let mut decoder = json(Modes::default());
    decoder.set_table(table).unwrap();
    let mut seen = vec![];
    for (offset, (key, value)) in messages.iter().enumerate() {
        let [key, value] = [key, value].map(|part| part.as_ref().map(Value::to_string));
        let outcome = push(&mut decoder, offset as i64, key.as_deref(), value.as_deref());
        if outcome != "row of public.t" {
            seen.push(outcome);
        }
    }
    seen.extend(taken(&mut decoder));
    seen
}

#[test]
fn in_several_partitions_the_message_key_is_of_what_identifies_a_row() {
    let check = |whole_before: bool, key: Option<Value>| {
        let mut decoder = json(Modes::default());
        decoder.set_table(Table { whole_before, ..table(notes()) }).unwrap();
        decoder.divide();
        let (key, value) = (key.map(|key| key.to_string()), event("c", Value::Null, note(1, "a", None)).to_string());
        push(&mut decoder, 0, key.as_deref(), Some(&value))
    };
    for whole_before in [false, true] {
        assert_eq!(check(whole_before, id(1)), "row of public.t");
        let more = check(whole_before, Some(json!({ "id": 1, "title": "a" })));
        assert!(more.contains("the message key has this column, which does not identify a row"), "{more}");
    }
    let without = check(false, None);
    assert!(without.contains("the message key lacks this column"), "{without}");
    // Whole rows do without a message key in one partition, not in several.
    let scattered = check(true, None);
    assert!(scattered.contains("an event without a message key"), "{scattered}");
    assert!(scattered.contains("part=schema"), "{scattered}");
}

#[test]
fn in_several_partitions_a_table_without_a_key_is_refused() {
    let (new, gone) = (event("c", Value::Null, note(1, "a", None)), event("d", note(1, "a", None), Value::Null));
    for value in [new, gone].map(|value| value.to_string()) {
        let mut decoder = json(Modes::default());
        decoder.set_table(table(keyless())).unwrap();
        assert_eq!(push(&mut decoder, 0, None, Some(&value)), "row of public.t");
        decoder.take().unwrap();
        decoder.divide();
        let refused = push(&mut decoder, 1, None, Some(&value));
        assert!(refused.starts_with("a table without a key, and its topic has several partitions"), "{refused}");
        assert!(refused.contains("table=public.t"), "{refused}");
    }
}

/// What no event of the table would fit is none of the record's values.
#[test]
fn an_event_of_another_shape_is_told_apart_from_one_with_a_bad_value() {
    let check = |schema: TableSchema, key: Option<Value>, op: &str, before: Value, after: Value| {
        let mut decoder = json(Modes::default());
        decoder.set_table(table(schema)).unwrap();
        let (key, value) = (key.map(|key| key.to_string()), event(op, before, after).to_string());
        let seen = push(&mut decoder, 0, key.as_deref(), Some(&value));
        assert!(seen.contains("offset=0"), "{seen}");
        seen.contains("part=schema")
    };
    let none = || Value::Null;
    assert!(!check(notes(), id(1), "c", none(), json!({ "id": 1, "name": 7, "note": null })), "a number for a text");
    assert!(check(notes(), id(1), "c", none(), json!({ "id": 1, "name": "a" })), "a column less");
    let more = json!({ "id": 1, "name": "a", "note": null, "more": 1 });
    assert!(check(notes(), id(1), "c", none(), more), "one more");
    assert!(check(notes(), Some(json!({ "name": "a" })), "c", none(), note(1, "a", None)), "another key");
    assert!(check(keyless(), None, "u", none(), note(1, "a", None)), "not what the row was");
    let schema = notes();
    let columns = schema.columns().iter().cloned().map(|mut column| {
        column.source_type = "money".into();
        column
    });
    let untold = TableSchema::new(notes().table().clone(), columns.collect(), vec![0]).unwrap();
    assert!(check(untold, id(1), "c", none(), note(1, "a", None)), "by its source types");
    let number = [("id", json!({"type": "int64", "optional": false}), json!(1))];
    let mut decoder = json(Modes::default());
    decoder.set_table(table(notes())).unwrap();
    let narrower = push(&mut decoder, 0, Some(r#"{"id":1}"#), Some(&crate::schemas::wrapped("u", &number)));
    assert!(narrower.contains("part=schema"), "by its own schema: {narrower}");
}

fn id(id: i64) -> Option<Value> {
    Some(json!({ "id": id }))
}

fn keyless() -> TableSchema {
    TableSchema::new(notes().table().clone(), notes().columns().to_vec(), vec![]).unwrap()
}

#[test]
fn operations_become_rows_in_the_order_of_the_log() {
    let seen = check(
        table(notes()),
        &[
            (id(1), Some(event("r", Value::Null, note(1, "a", None)))),
            (id(2), Some(event("c", Value::Null, note(2, "b", Some("x"))))),
            (id(1), Some(event("u", Value::Null, note(1, "c", Some(PLACEHOLDER))))),
            (id(2), Some(event("d", note(2, "", None), Value::Null))),
            (id(2), None),
            (id(3), Some(event("c", Value::Null, note(3, "d", None)))),
        ],
    );
    assert_eq!(
        seen,
        [
            "Skipped(Tombstone)",
            "0 read 1 | a | NULL",
            "1 insert 2 | b | x",
            "2 update 1 | c | ~",
            "3 delete 2 | NULL | NULL",
            "5 insert 3 | d | NULL",
        ]
    );
}

#[test]
fn the_placeholder_is_one_only_where_a_value_can_be_missing() {
    // A row that holds the placeholder's own text: an insert and a snapshot carry every value.
    let seen = check(
        table(notes()),
        &[
            (id(1), Some(event("c", Value::Null, note(1, PLACEHOLDER, Some(PLACEHOLDER))))),
            (id(1), Some(event("r", Value::Null, note(1, PLACEHOLDER, None)))),
            (id(1), Some(event("u", Value::Null, note(1, "a", Some(PLACEHOLDER))))),
        ],
    );
    assert_eq!(
        seen,
        [
            format!("0 insert 1 | {PLACEHOLDER} | {PLACEHOLDER}"),
            format!("1 read 1 | {PLACEHOLDER} | NULL"),
            "2 update 1 | a | ~".into()
        ]
    );
}

/// Of a new row NULL is NULL; of one that goes on under a new key it may stand for what did not change.
#[test]
fn null_under_a_new_key_is_not_believed_where_it_may_hide_a_value() {
    let mut decoder = json(Modes { binary: Some(Binary::Base64), ..Modes::default() });
    let columns = [("id", DataType::Int64, "bigint"), ("b", DataType::Binary, "bytea")];
    let columns = columns.map(|(name, data_type, of)| Column::new(name, data_type, name != "id", of)).to_vec();
    decoder.set_table(table(TableSchema::new(notes().table().clone(), columns, vec![0]).unwrap())).unwrap();
    let old = json!({ "id": 1 }).to_string();
    let mut check = |id: i64, b: Value, headers: &[(&str, &[u8])]| {
        let value = event("c", Value::Null, json!({ "id": id, "b": b })).to_string();
        push_with(&mut decoder, id, Some(&json!({ "id": id }).to_string()), Some(&value), headers)
    };
    // The first tells how rows are read.
    assert_eq!(check(1, json!("AQ=="), &[]), "row of public.t");
    let refused = check(2, Value::Null, &[("__debezium.oldkey", old.as_bytes())]);
    assert!(refused.starts_with("NULL after an update, which Debezium also sends"), "{refused}");
    assert_eq!(check(3, Value::Null, &[]), "row of public.t");
}

#[test]
fn a_changed_key_is_a_move() {
    let mut decoder = json(Modes::default());
    decoder.set_table(table(notes())).unwrap();
    let (old, new) = (json!({"id": 1}).to_string(), json!({"id": 2}).to_string());
    let gone = event("d", note(1, "a", None), Value::Null).to_string();
    let come = event("c", Value::Null, note(2, "a", Some(PLACEHOLDER))).to_string();
    let whole = event("c", Value::Null, note(3, "a", None)).to_string();
    let headers: &[(&str, &[u8])] = &[("__debezium.newkey", new.as_bytes())];
    push_with(&mut decoder, 0, Some(&old), Some(&gone), headers);
    let headers: &[(&str, &[u8])] = &[("other", b"x"), ("__debezium.oldkey", old.as_bytes())];
    push_with(&mut decoder, 1, Some(&new), Some(&come), headers);
    // Where every value is there the old key does not matter, however it is written.
    let headers: &[(&str, &[u8])] = &[("__debezium.oldkey", b"Struct{id=1}")];
    push_with(&mut decoder, 2, Some(&new), Some(&whole), headers);
    let refused = push_with(&mut decoder, 3, Some(&new), Some(&come), headers);
    assert!(refused.contains("set header.converter") && refused.contains("offset=3"), "{refused}");
    assert_eq!(
        taken(&mut decoder),
        ["0 moved 1 | NULL | NULL", "1 insert 2 | a | ~ was(1 | NULL | NULL)", "2 insert 3 | a | NULL"]
    );
}

#[test]
fn without_a_key_the_whole_row_is_named() {
    let seen = check(
        table(keyless()),
        &[
            (None, Some(event("c", Value::Null, note(1, "a", None)))),
            (None, Some(event("u", note(1, "a", None), note(1, "b", None)))),
            (None, Some(event("d", note(1, "b", None), Value::Null))),
            (None, Some(event("u", Value::Null, note(1, "b", None)))),
            (None, Some(event("d", Value::Null, Value::Null))),
        ],
    );
    assert!(seen[0].contains("set REPLICA IDENTITY FULL") && seen[0].contains("offset=3"), "{}", seen[0]);
    assert!(seen[1].contains("set REPLICA IDENTITY FULL") && seen[1].contains("offset=4"), "{}", seen[1]);
    assert_eq!(
        seen[2..],
        ["0 insert 1 | a | NULL", "1 update 1 | b | NULL before(1 | a | NULL)", "2 delete 1 | b | NULL"]
    );
}

#[test]
fn columns_that_identify_a_row_must_be_in_the_key_or_the_row_be_logged_whole() {
    let both = || TableSchema::new(notes().table().clone(), notes().columns().to_vec(), vec![0, 1]).unwrap();
    let messages = [
        (id(1), Some(event("c", Value::Null, note(1, "a", None)))),
        (id(1), Some(event("u", note(1, "a", None), note(1, "b", None)))),
        (id(1), Some(event("d", note(1, "b", None), Value::Null))),
    ];
    let refused = check(table(both()), &messages);
    assert_eq!(refused.len(), 3);
    assert!(refused.iter().all(|r| r.contains("message.key.columns") && r.contains("column=name")), "{refused:?}");
    let whole = check(Table { whole_before: true, ..table(both()) }, &messages);
    assert_eq!(whole, ["0 insert 1 | a | NULL", "1 update 1 | b | NULL before(1 | a | NULL)", "2 delete 1 | b | NULL"]);
}

/// What is the same row whenever it is applied may be taken twice.
#[test]
fn what_builds_on_the_row_before_is_told_apart() {
    let mut decoder = json(Modes::default());
    decoder.set_table(table(notes())).unwrap();
    let (key, was) = (json!({"id": 1}).to_string(), json!({"id": 2}).to_string());
    let mut check = |op: &str, note: Value, header: Option<&str>| {
        let (before, after) = if op == "d" { (note, Value::Null) } else { (Value::Null, note) };
        let value = event(op, before, after).to_string();
        let headers = |name: &str| header.filter(|of| *of == name).map(|_| was.as_bytes());
        let message = Message { offset: 0, key: Some(key.as_bytes()), value: Some(value.as_bytes()), header: &headers };
        matches!(decoder.push(&message, &mut |_, _| Keep::IfIndependent).unwrap(), Pushed::Dependent)
    };
    for op in ["c", "r", "u", "d"] {
        assert!(!check(op, note(1, "a", None), None), "{op}");
    }
    assert!(check("u", note(1, "a", Some(PLACEHOLDER)), None));
    assert!(check("d", note(1, "a", None), Some("__debezium.newkey")));
    assert!(check("c", note(1, "a", None), Some("__debezium.oldkey")));
    assert_eq!(taken(&mut decoder).len(), 4, "nothing of those is taken");
}

#[test]
fn what_is_no_row_is_told_apart() {
    let other = |value| check(table(notes()), &[(None, Some(value))]).remove(0);
    assert_eq!(other(json!({"ts_ms": 1})), "Skipped(Heartbeat)");
    let mut message = event("m", Value::Null, Value::Null);
    message["message"] = json!({"prefix": "p", "content": "YQ=="});
    assert_eq!(other(message), "Skipped(LogicalMessage)");
    assert_eq!(
        other(json!({"status": "BEGIN", "id": "571:5319", "event_count": null, "data_collections": null, "ts_ms": 1})),
        r#"Transaction(Transaction { id: "571:5319", events: None, tables: [] })"#
    );
    let collections = json!([{"data_collection": "public.t", "event_count": 2}]);
    assert_eq!(
        other(json!({"status": "END", "id": "571:5319", "event_count": 2, "data_collections": collections})),
        r#"Transaction(Transaction { id: "571:5319", events: Some(2), tables: [("public.t", 2)] })"#
    );
    assert_eq!(other(event("t", Value::Null, Value::Null)), "Truncate(public.t)");
    // A row without its envelope.
    assert!(other(note(1, "a", None)).contains("ExtractNewRecordState"));
    assert!(other(event("x", Value::Null, note(1, "a", None))).contains("an unknown operation"));
}

#[test]
fn each_row_says_where_it_stands_in_the_log() {
    let mut decoder = json(Modes::default());
    decoder.set_table(table(notes())).unwrap();
    let mut first = event("r", Value::Null, note(1, "a", None));
    first["source"]["snapshot"] = "first".into();
    first["source"]["sequence"] = r#"[null,"24023128"]"#.into();
    let mut second = event("c", Value::Null, note(2, "a", None));
    second["transaction"] = json!({"id": "555:24023128", "total_order": 7, "data_collection_order": 1});
    let mut places = Vec::new();
    for event in [first, second] {
        let (key, value) = (r#"{"id":1}"#, event.to_string());
        let message =
            Message { offset: 0, key: Some(key.as_bytes()), value: Some(value.as_bytes()), header: &|_| None };
        decoder
            .push(&message, &mut |_, place| {
                places.push(*place);
                Keep::Yes
            })
            .unwrap();
    }
    let place = SourcePosition {
        own: Some(24023128),
        preceding: Some(24023119),
        transaction: Some(555),
        total_order: Some(7),
        table_order: Some(1),
        ts_ms: Some(1700000000123),
        ..SourcePosition::default()
    };
    let read =
        SourcePosition { preceding: None, total_order: None, table_order: None, snapshot: Snapshot::First, ..place };
    assert_eq!(places, [read, place]);
}

#[test]
fn events_of_another_connector_are_refused() {
    let mut foreign = event("c", Value::Null, note(1, "a", None));
    foreign["source"]["connector"] = "mysql".into();
    let mut nameless = event("c", Value::Null, note(1, "a", None));
    nameless.as_object_mut().unwrap().remove("source");
    let seen = check(table(notes()), &[(id(1), Some(foreign)), (id(1), Some(nameless))]);
    assert!(seen[0].contains("a connector that is not known") && seen[0].contains("connector=mysql"), "{seen:?}");
    assert!(seen[1].contains("without a source block"), "{seen:?}");
}

#[test]
fn what_is_not_kept_need_not_fit() {
    let mut decoder = json(Modes::default());
    decoder.set_table(table(notes())).unwrap();
    // From before a column was there; then a row that fits, and a truncation.
    let old = event("c", Value::Null, json!({"id": 1, "name": "a"})).to_string();
    let new = event("c", Value::Null, note(2, "b", None)).to_string();
    let gone = event("t", Value::Null, Value::Null).to_string();
    let mut outcomes = |value: &str, keep: bool| {
        let message =
            Message { offset: 0, key: Some(br#"{"id":1}"#), value: Some(value.as_bytes()), header: &|_| None };
        outcome_if(&mut decoder, &message, |table, position| {
            assert_eq!((table.to_string(), position.own), ("public.t".into(), Some(24023128)));
            keep
        })
    };
    assert_eq!(outcomes(&new, true), "row of public.t");
    for skipped in [&old, &new, &gone] {
        assert_eq!(outcomes(skipped, false), "Skipped(NotKept)");
    }
    assert!(outcomes(&old, true).contains("lacks this column"), "the twin");
    assert_eq!(outcomes(&new, true), "row of public.t");
    assert_eq!(taken(&mut decoder), ["0 insert 2 | b | NULL", "0 insert 2 | b | NULL"]);
}

/// Debezium's ByLogicalTableRouter adds the table's name.
#[test]
fn what_a_router_adds_to_a_key_is_passed_over() {
    let field = |kind: &str, name: &str| json!({ "type": kind, "optional": false, "field": name });
    let fields = [field("int64", "id"), field("string", "__dbz__physicalTableIdentifier")];
    let routed = json!({ "id": 1, "__dbz__physicalTableIdentifier": "x.public.t" });
    let told = json!({ "schema": { "type": "struct", "fields": fields }, "payload": routed });
    for key in [told, routed] {
        let messages = [(Some(key), Some(event("d", note(1, "", None), Value::Null)))];
        let seen = check(table(notes()), &messages);
        assert!(seen.len() == 1 && seen[0].starts_with("0 delete 1 |"), "{seen:?}");
    }
}

#[test]
fn a_key_that_cannot_be_read_is_told_apart() {
    let mut decoder = json(Modes::default());
    decoder.set_table(table(notes())).unwrap();
    let gone = event("d", note(1, "a", None), Value::Null).to_string();
    for key in ["{", r#"{"id":"x"}"#, r#"{"id":1} "#, "\u{0}"] {
        let seen = push(&mut decoder, 0, Some(key), Some(&gone));
        assert_eq!(seen.contains("part=key"), key != r#"{"id":1} "#, "{seen}");
    }
    let value = push(&mut decoder, 0, Some(r#"{"id":1}"#), Some("{"));
    assert!(!value.contains("part=key") && value.contains("offset=0"), "{value}");
}

#[test]
fn tables_of_one_topic_keep_their_rows_apart() {
    let mut decoder = json(Modes::default());
    decoder.set_table(table(notes())).unwrap();
    let other = TableSchema::new(connector_api::TableId::new("public", "u"), notes().columns()[..2].to_vec(), vec![0]);
    decoder.set_table(table(other.unwrap())).unwrap();
    for (offset, name) in ["t", "u", "u", "t"].into_iter().enumerate() {
        let row = if name == "t" { note(1, "a", Some("x")) } else { json!({"id": 2, "name": "b"}) };
        let mut event = event("c", Value::Null, row);
        event["source"]["table"] = name.into();
        let outcome = push(&mut decoder, offset as i64, Some(r#"{"id":1}"#), Some(&event.to_string()));
        assert_eq!(outcome, format!("row of public.{name}"));
    }
    assert_eq!(taken(&mut decoder), ["0 insert 1 | a | x", "3 insert 1 | a | x", "1 insert 2 | b", "2 insert 2 | b"]);
}

#[test]
fn a_full_decoder_takes_no_more_and_a_table_does_not_change_under_open_rows() {
    let mut decoder = json(Modes::default());
    decoder.set_table(table(notes())).unwrap();
    let big = event("c", Value::Null, note(1, "a", Some(&"x".repeat(40 << 20)))).to_string();
    assert_eq!(push(&mut decoder, 0, Some(r#"{"id":1}"#), Some(&big)), "row of public.t");
    assert_eq!(push(&mut decoder, 1, Some(r#"{"id":1}"#), Some(&big)), "Full");
    assert!(decoder.set_table(table(notes())).is_err());
    assert!(decoder.bytes() > 40 << 20);
    assert_eq!(decoder.take().unwrap().len(), 1);
    assert!(decoder.set_table(table(notes())).is_ok());
    assert_eq!(push(&mut decoder, 1, Some(r#"{"id":1}"#), Some(&big)), "row of public.t");
    let message = Message { offset: 2, key: None, value: None, header: &|_| None };
    assert!(matches!(decoder.push(&message, &mut |_, _| Keep::Yes), Ok(Pushed::Skipped(_))));
    assert_eq!(source()["connector"], "postgresql");
}

#[test]
fn a_full_decoder_takes_the_other_half_of_a_changed_key() {
    let mut decoder = json(Modes::default());
    decoder.set_table(table(notes())).unwrap();
    let big = event("c", Value::Null, note(1, "a", Some(&"x".repeat(40 << 20)))).to_string();
    let gone = event("d", note(1, "a", None), Value::Null).to_string();
    assert_eq!(push(&mut decoder, 0, Some(r#"{"id":1}"#), Some(&big)), "row of public.t");
    let half = |decoder: &mut Decoder, offset, value: &str, name: &str| {
        let header = |asked: &str| (asked == name).then_some(&b"{\"id\":9}"[..]);
        let (key, value) = (Some(&b"{\"id\":1}"[..]), Some(value.as_bytes()));
        let pushed = decoder.push(&Message { offset, key, value, header: &header }, &mut |_, _| Keep::Yes);
        format!("{:?}", pushed.unwrap())
    };
    assert_eq!(half(&mut decoder, 1, &gone, "__debezium.newkey"), "Row(Moved)");
    assert_eq!(half(&mut decoder, 2, &big, "__debezium.oldkey"), "Row(Insert)");
    assert_eq!(half(&mut decoder, 3, &big, ""), "Full");
}

/// Which table a message is of is looked for only where the source block names another than before: also where the one
/// before came to nothing, or names two.
#[test]
fn a_row_is_of_the_table_that_its_own_block_names() {
    let named =
        |name: &str| TableSchema::new(TableId::new("public", name), notes().columns().to_vec(), vec![0]).unwrap();
    let mut decoder = json(Modes::default());
    for name in ["t", "other"] {
        decoder.set_table(table(named(name))).unwrap();
    }
    let of = |name: &str, op: &str| {
        let mut event = event(op, Value::Null, note(1, "a", None));
        event["source"]["table"] = name.into();
        event.to_string()
    };
    let other = of("other", "c");
    let block = |text: &str| json!(&source()).to_string().replace(r#""table":"t""#, &format!(r#""table":"{text}""#));
    let twice = other.replacen(r#""source":"#, &format!(r#""source":{},"source":"#, block("other")), 1);
    let messages = [
        of("t", "c"),
        other.clone(),
        of("t", "c"),
        of("other", "xx"),
        other.clone(),
        of("t", "c"),
        twice,
        of("t", "c"),
    ];
    let key = id(1).map(|key| key.to_string());
    let seen = messages.iter().map(|message| push(&mut decoder, 0, key.as_deref(), Some(message)));
    let tables: Vec<String> = seen.map(|seen| seen.replace("row of public.", "")).collect();
    assert!(tables[3].contains("an unknown operation"), "{tables:?}");
    assert_eq!([&tables[..3], &tables[4..]].concat(), ["t", "other", "t", "other", "t", "other", "t"]);
}
