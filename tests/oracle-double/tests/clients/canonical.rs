//! The text that a client prints for a value, and what a client cannot hold.

use connect_oracle_double::{Json, Moment, Type, Value};

use crate::foreign::Client;

/// The text that a client should print; `None` of NULL.
pub(crate) fn text(client: Client, value: &Value) -> Option<String> {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    Some(match value {
        Value::Null => return None,
        Value::Number(n) => n.to_string(),
        Value::Float(n) => hex(&n.to_be_bytes()),
        Value::Double(n) => hex(&n.to_be_bytes()),
        Value::Text(text) => text.clone(),
        Value::Bytes(bytes) => hex(bytes),
        Value::Date(at) | Value::Timestamp(at) => moment(client, at),
        Value::Zoned(utc, offset) => match client {
            // The local time, without its offset.
            Client::Python => moment(client, &utc.plus_minutes((*offset).into())),
            Client::Java => format!("{} {offset}", moment(client, utc)),
            Client::Node | Client::Rust => moment(client, utc),
        },
        Value::Months(n) => n.to_string(),
        // Microseconds.
        Value::Nanos(n) if client == Client::Python => (n / 1000 * 1000).to_string(),
        Value::Nanos(n) => n.to_string(),
        Value::Rowid(id) => id.to_string(),
        Value::Boolean(b) => b.to_string(),
        Value::Json(json) => serde_json::to_string(&plain(json)).unwrap(),
        Value::Vector(values) => values.iter().map(|v| hex(&v.to_be_bytes())).collect::<Vec<_>>().join(" "),
    })
}

/// Milliseconds, microseconds or nanoseconds, by what the client has.
fn moment(client: Client, at: &Moment) -> String {
    let unit = match client {
        Client::Node => 1_000_000,
        Client::Python => 1000,
        Client::Java | Client::Rust => 1,
    };
    let (date, time) = (format!("{:04}-{:02}-{:02}", at.year, at.month, at.day), at.nanos / unit * unit);
    format!("{date} {:02}:{:02}:{:02}.{time:09}", at.hour, at.minute, at.second)
}

/// JSON with its numbers marked, so that none is rounded.
pub(crate) fn plain(json: &Json) -> serde_json::Value {
    match json {
        Json::Null => serde_json::Value::Null,
        Json::Boolean(b) => (*b).into(),
        Json::Number(n) => format!("n:{n}").into(),
        Json::Text(text) => text.clone().into(),
        Json::Array(items) => items.iter().map(plain).collect(),
        Json::Object(members) => members.iter().map(|(name, value)| (name.clone(), plain(value))).collect(),
    }
}

/// Whether a client has no value for one of the server's. Each is a limit of the client's own types; the others see
/// these values, so that none goes unread.
pub(crate) fn cannot(client: Client, value: &Value) -> bool {
    match (client, value) {
        // Years before 1; JavaScript's dates have them, but its driver counts the years of the common era only.
        (Client::Python | Client::Node, Value::Date(at) | Value::Timestamp(at)) => at.year < 1,
        // A timedelta ends at −999999999 days.
        (Client::Python, Value::Nanos(n)) => *n < -999_999_999 * 86_400_000_000_000,
        _ => false,
    }
}

/// Whether what a client printed is what was wanted: numbers and JSON may be written in several ways.
pub(crate) fn same(kind: &Type, printed: &Option<String>, wanted: &Option<String>) -> bool {
    match (kind, printed, wanted) {
        (Type::Number(..) | Type::Float(_), Some(printed), Some(wanted)) => {
            printed.parse::<connect_oracle_double::Number>() == wanted.parse()
        }
        (Type::Json, Some(printed), Some(wanted)) => marked(printed) == marked(wanted),
        _ => printed == wanted,
    }
}

/// JSON with its numbers as marked texts.
fn marked(text: &str) -> serde_json::Value {
    fn mark(value: serde_json::Value) -> serde_json::Value {
        match value {
            serde_json::Value::Number(n) => format!("n:{n}").into(),
            serde_json::Value::Array(items) => items.into_iter().map(mark).collect(),
            serde_json::Value::Object(members) => members.into_iter().map(|(k, v)| (k, mark(v))).collect(),
            other => other,
        }
    }
    mark(serde_json::from_str(text).unwrap_or_else(|e| panic!("{text}: {e}")))
}
