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
    /// The columns of text that the table has got meanwhile, and their values.
    more: Vec<(String, String)>,
    /// The transaction that the next events are of, and how many it has had; else each is of its own, and says nothing
    /// of its place in it.
    within: Option<(u64, u64)>,
}

impl Events {
    /// The events of a table of the schema `public` with the key `id`, from the beginning of the source's log.
    pub fn of(table: &str) -> Self {
        Self { table: table.into(), has_key: true, lsn: 1000, preceding: 900, clock: 1, more: Vec::new(), within: None }
    }

    /// The same without a key.
    pub fn without_key(table: &str) -> Self {
        Self { has_key: false, ..Self::of(table) }
    }

    /// The table has one more column, which may be NULL, and every row from now on this value in it.
    pub fn grow(&mut self, name: &str, value: &str) {
        self.more.push((name.to_owned(), value.to_owned()));
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

    /// The next events are of one transaction.
    pub fn begin(&mut self) {
        self.within = Some((self.lsn, 0));
    }

    /// It has ended: what the topic of transaction metadata says of it.
    ///
    /// # Panics
    /// When none was begun.
    pub fn end(&mut self) -> Message {
        let (transaction, events) = self.within.take().expect("a transaction");
        let collections = json!([{ "data_collection": format!("public.{}", self.table), "event_count": events }]);
        let id = format!("{transaction}:1");
        let end =
            json!({ "status": "END", "id": id, "event_count": events, "data_collections": collections, "ts_ms": 1 });
        Message { partition: 0, key: None, value: Some(end.to_string().into()) }
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
            let mut fields = vec![
                json!({ "type": "int32", "optional": false, "field": "id" }),
                json!({ "type": "string", "optional": true, "field": "v" }),
            ];
            let more = self.more.iter();
            fields.extend(more.map(|(name, _)| json!({ "type": "string", "optional": true, "field": name })));
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
        let mut payload = json!({ "before": before, "after": after, "op": op, "ts_ms": self.clock, "source": {
            "connector": "postgresql", "schema": "public", "table": self.table, "txId": self.lsn, "lsn": self.lsn,
            "sequence": sequence, "ts_ms": self.clock,
        } });
        for (name, value) in self.more.iter().filter(|_| op != "d") {
            payload["after"][name] = value.as_str().into();
        }
        if let Some((transaction, events)) = &mut self.within {
            *events += 1;
            let id = format!("{transaction}:1");
            payload["source"]["txId"] = (*transaction).into();
            payload["transaction"] = json!({ "id": id, "total_order": *events, "data_collection_order": *events });
        }
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
