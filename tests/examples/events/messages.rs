//! Messages as Debezium writes them: places in the source's log, envelopes, JSON and Avro.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use connect_tests::chance::Chance;
use serde_json::Value;

use crate::schemas::{self, COLUMNS};
use crate::table::Change;

/// Where the log stands before the first event: beyond any cut.
const LSN: u64 = 1 << 50;
const TRANSACTION: u64 = 1_000_000;
/// The wall clock of the first event, milliseconds.
const BEGAN: u64 = 1_795_385_277_920;

/// Where the source's log is.
struct Place {
    transaction: u64,
    /// Events that are left in the transaction.
    left: u64,
    preceding: u64,
    lsn: u64,
    micros: u64,
}

impl Default for Place {
    fn default() -> Self {
        Self { transaction: TRANSACTION, left: 0, preceding: LSN, lsn: LSN, micros: BEGAN * 1000 }
    }
}

impl Place {
    fn advance(&mut self, chance: &mut Chance) {
        if self.left == 0 {
            self.transaction += 1;
            self.left = 1 + chance.below(20);
            // The commit's own record.
            self.lsn += 48;
            self.preceding = self.lsn;
            self.micros += 100 + chance.below(900);
        }
        self.left -= 1;
        self.lsn += 120 + 8 * chance.below(16);
    }
}

/// How messages are written.
pub(crate) enum Format {
    Json {
        prefix: String,
    },
    /// With what stands before the payload of a key and of a value.
    Schemas {
        prefix: String,
        key: String,
        value: String,
    },
    /// With the numbers of the schemas.
    Avro {
        prefix: String,
        key: u32,
        value: u32,
    },
}

impl Format {
    /// A format by its name, of a topic's messages; the numbers are of the schemas of keys and of values.
    pub(crate) fn new(name: &str, topic: &str, (key, value): (u32, u32)) -> Self {
        let prefix = topic.split('.').next().unwrap_or_default().to_owned();
        match name {
            "json" => Self::Json { prefix },
            "schemas" => {
                let before = |schema: Value| format!("{{\"schema\":{schema},\"payload\":");
                Self::Schemas { prefix, key: before(schemas::json_key(topic)), value: before(schemas::json(topic)) }
            }
            "avro" => Self::Avro { prefix, key, value },
            _ => panic!("no such format: {name}"),
        }
    }
}

/// Writes messages into buffers that stay.
pub(crate) struct Writer {
    format: Format,
    at: Place,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

impl Writer {
    pub(crate) fn new(format: Format) -> Self {
        Self { format, at: Place::default(), key: Vec::new(), value: Vec::new() }
    }

    /// Writes the next event; how far the log goes on with it is left to chance.
    pub(crate) fn write(&mut self, change: &Change, chance: &mut Chance) {
        self.at.advance(chance);
        self.key.clear();
        self.value.clear();
        match &self.format {
            Format::Json { prefix } => {
                self.key.extend_from_slice(format!("{{\"l_orderkey\":{}}}", change.key).as_bytes());
                self.value.extend_from_slice(envelope(prefix, &self.at, change).as_bytes());
            }
            Format::Schemas { prefix, key, value } => {
                let of_key = format!("{key}{{\"l_orderkey\":{}}}}}", change.key);
                self.key.extend_from_slice(of_key.as_bytes());
                for part in [value.as_str(), &envelope(prefix, &self.at, change), "}"] {
                    self.value.extend_from_slice(part.as_bytes());
                }
            }
            Format::Avro { prefix, key, value } => {
                for (buffer, id) in [(&mut self.key, key), (&mut self.value, value)] {
                    buffer.push(0);
                    buffer.extend_from_slice(&id.to_be_bytes());
                }
                long(&mut self.key, change.key);
                avro(&mut self.value, prefix, &self.at, change);
            }
        }
    }
}

fn sequence(at: &Place) -> String {
    format!("[\"{}\",\"{}\"]", at.preceding, at.lsn)
}

fn envelope(prefix: &str, at: &Place, change: &Change) -> String {
    let image = image(change);
    let (before, after) = if change.op == 'd' { (image.as_str(), "null") } else { ("null", image.as_str()) };
    let sequence = sequence(at).replace('"', "\\\"");
    let (op, us, transaction, lsn) = (change.op, at.micros, at.transaction, at.lsn);
    let (ms, sent) = (us / 1000, us + 203_854);
    let sent_ms = sent / 1000;
    format!(
        "{{\"before\":{before},\"after\":{after},\"source\":{{\"version\":\"3.6.1.Final\",\"connector\":\"postgresql\",\
         \"name\":\"{prefix}\",\"ts_ms\":{ms},\"snapshot\":\"false\",\"db\":\"shop\",\"sequence\":\"{sequence}\",\
         \"ts_us\":{us},\"ts_ns\":{us}000,\"schema\":\"public\",\"table\":\"lineitem\",\"txId\":{transaction},\
         \"lsn\":{lsn},\"xmin\":null,\"origin\":null,\"origin_lsn\":null}},\"transaction\":null,\"op\":\"{op}\",\
         \"ts_ms\":{sent_ms},\"ts_us\":{sent},\"ts_ns\":{sent}497}}"
    )
}

/// An image as JSON. What was deleted has its key, and of what may not be null the emptiest value.
fn image(change: &Change) -> String {
    let row = &change.row;
    let mut text = format!("{{\"l_orderkey\":{}", change.key);
    let named = |text: &mut String, column: usize, value: &dyn std::fmt::Display, quoted: bool| {
        let quote = if quoted { "\"" } else { "" };
        write!(text, ",\"{}\":{quote}{value}{quote}", COLUMNS[column].0).unwrap();
    };
    row.numbers.iter().enumerate().for_each(|(i, n)| named(&mut text, 1 + i, n, false));
    row.amounts.iter().enumerate().for_each(|(i, n)| named(&mut text, 4 + i, &STANDARD.encode(unscaled(*n)), true));
    row.flags.iter().enumerate().for_each(|(i, t)| named(&mut text, 8 + i, t, true));
    row.days.iter().enumerate().for_each(|(i, n)| named(&mut text, 10 + i, n, false));
    let texts = [row.instruct, row.mode, &row.comment];
    texts.iter().enumerate().for_each(|(i, t)| named(&mut text, 13 + i, t, true));
    text.push('}');
    text
}

fn avro(out: &mut Vec<u8>, prefix: &str, at: &Place, change: &Change) {
    let row = &change.row;
    // Before, or not, and after.
    out.push(if change.op == 'd' { 2 } else { 0 });
    if change.op != 'd' {
        out.push(2);
    }
    long(out, change.key);
    row.numbers.iter().for_each(|n| long(out, *n));
    row.amounts.iter().for_each(|n| blob(out, &unscaled(*n)));
    row.flags.iter().for_each(|t| blob(out, t.as_bytes()));
    row.days.iter().for_each(|n| long(out, *n));
    [row.instruct, row.mode, &row.comment].iter().for_each(|t| blob(out, t.as_bytes()));
    if change.op == 'd' {
        out.push(0);
    }
    ["3.6.1.Final", "postgresql", prefix].iter().for_each(|t| blob(out, t.as_bytes()));
    long(out, at.micros / 1000);
    // The first of its choices is the text.
    out.push(0);
    ["false", "shop"].iter().for_each(|t| blob(out, t.as_bytes()));
    out.push(2);
    blob(out, sequence(at).as_bytes());
    some(out, at.micros);
    some(out, at.micros * 1000);
    ["public", "lineitem"].iter().for_each(|t| blob(out, t.as_bytes()));
    some(out, at.transaction);
    some(out, at.lsn);
    // xmin, origin, its place, and the transaction.
    out.extend_from_slice(&[0; 4]);
    blob(out, change.op.to_string().as_bytes());
    let sent = at.micros + 203_854;
    [sent / 1000, sent, sent * 1000 + 497].iter().for_each(|n| some(out, *n));
}

fn some(out: &mut Vec<u8>, number: u64) {
    out.push(2);
    long(out, number);
}

fn blob(out: &mut Vec<u8>, bytes: &[u8]) {
    long(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn long(out: &mut Vec<u8>, number: u64) {
    let mut rest = number << 1;
    while rest > 0x7f {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// The fewest bytes of a number that is not negative, the sign's bit included.
fn unscaled(number: u64) -> Vec<u8> {
    let bytes = number.to_be_bytes();
    let from = (0..7).find(|&at| bytes[at] != 0 || bytes[at + 1] > 0x7f).unwrap_or(7);
    bytes[from..].to_vec()
}
