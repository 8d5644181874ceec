//! Debezium's events of a table `t (id int, v text)` as a test makes them up: for what a real Debezium does only in bad
//! hours. JSON, each message with its schema.

use serde_json::{Value, json};

use crate::compare::Rows;
use crate::kafka::Message;

/// The events of one table, each of a transaction of its own that follows the last.
pub struct Events {
    table: String,
    has_key: bool,
    lsn: u64,
    preceding: u64,
    /// What the clocks of the next events show, milliseconds since 1970.
    pub clock: i64,
}

impl Events {
    /// The events of a table of the schema `public` with the key `id`, from the beginning of the source's log.
    pub fn of(table: &str) -> Self {
        Self { table: table.into(), has_key: true, lsn: 1000, preceding: 900, clock: 1 }
    }

    /// The same without a key.
    pub fn without_key(table: &str) -> Self {
        Self { has_key: false, ..Self::of(table) }
    }

    /// A row is there.
    pub fn create(&mut self, id: i64, v: &str) -> Message {
        self.event(id, "c", Value::Null, json!({ "id": id, "v": v }))
    }

    /// A row is another.
    pub fn update(&mut self, id: i64, v: &str) -> Message {
        self.event(id, "u", Value::Null, json!({ "id": id, "v": v }))
    }

    /// A row is gone.
    pub fn delete(&mut self, id: i64) -> Message {
        self.event(id, "d", json!({ "id": id, "v": null }), Value::Null)
    }

    /// Every row is gone.
    pub fn truncate(&mut self) -> Message {
        Message { key: None, ..self.event(0, "t", Value::Null, Value::Null) }
    }

    /// The next event stands at that place of the source's log again: Debezium has gone back.
    pub fn step_back(&mut self, events: u64) {
        self.lsn -= 10 * events;
        self.preceding -= 10 * events;
    }

    fn event(&mut self, id: i64, op: &str, before: Value, after: Value) -> Message {
        self.preceding += 10;
        self.lsn += 10;
        let row = |field: &str| {
            let fields = [
                json!({ "type": "int32", "optional": false, "field": "id" }),
                json!({ "type": "string", "optional": true, "field": "v" }),
            ];
            json!({ "type": "struct", "optional": true, "field": field, "name": "made.Value", "fields": fields })
        };
        let text = |field: &str| json!({ "type": "string", "optional": true, "field": field });
        let number = |field: &str| json!({ "type": "int64", "optional": true, "field": field });
        let source = [
            text("connector"),
            text("schema"),
            text("table"),
            number("txId"),
            number("lsn"),
            text("sequence"),
            number("ts_ms"),
        ];
        let schema = json!({ "type": "struct", "optional": false, "name": "made.Envelope", "fields": [
            row("before"), row("after"),
            { "type": "struct", "optional": false, "field": "source", "name": "io.debezium.connector.postgresql.Source",
              "fields": source },
            text("op"), number("ts_ms"),
        ] });
        let sequence = format!("[\"{}\",\"{}\"]", self.preceding, self.lsn);
        let payload = json!({ "before": before, "after": after, "op": op, "ts_ms": self.clock, "source": {
            "connector": "postgresql", "schema": "public", "table": self.table, "txId": self.lsn, "lsn": self.lsn,
            "sequence": sequence, "ts_ms": self.clock,
        } });
        let key_schema = json!({ "type": "struct", "optional": false, "name": "made.Key",
            "fields": [{ "type": "int32", "optional": false, "field": "id" }] });
        let key = json!({ "schema": key_schema, "payload": { "id": id } });
        let value = json!({ "schema": schema, "payload": payload });
        Message {
            partition: 0,
            key: self.has_key.then(|| key.to_string().into()),
            value: Some(value.to_string().into()),
        }
    }
}

/// The rows of such a table.
pub fn rows<'a>(rows: impl IntoIterator<Item = (i64, &'a str)>) -> Rows {
    let row = |(id, v): (i64, &str)| vec![Some(id.to_string()), Some(v.to_owned())];
    Rows { columns: vec!["id".into(), "v".into()], rows: rows.into_iter().map(row).collect() }
}
