//! Any bytes are an error at worst, and a bad message leaves its neighbours as they are.

use connector_debezium::{Decoder, Format, Message, Modes, Table, WriterSchema};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::render::{Registry, json as plain, lines, outcome, settings, table};
use crate::schemas::wrapped;
use crate::tables::{event, note, notes};

const KEY: &[u8] = br#"{"id":7}"#;

/// A decoder and messages that it reads.
type Case = (fn() -> Decoder, Vec<Vec<u8>>);

/// One for each format.
fn formats() -> Vec<Case> {
    let rows = |op: &str| {
        vec![
            event(op, Value::Null, note(1, "näme\n", Some("x"))).to_string().into_bytes(),
            event(op, Value::Null, note(2, "b", None)).to_string().into_bytes(),
            event("d", note(3, "c", None), Value::Null).to_string().into_bytes(),
        ]
    };
    let of = |kind: &str, optional| json!({"type": kind, "optional": optional});
    let fields = |id: i64, name: &str| {
        vec![
            ("id", of("int64", false), json!(id)),
            ("name", of("string", false), json!(name)),
            ("note", of("string", true), json!("x")),
        ]
    };
    let with = [1, 2].map(|id| wrapped("u", &fields(id, "é")).into_bytes()).to_vec();
    vec![(decoder_of_json, rows("u")), (decoder_of_json, with), (decoder_of_avro, avro())]
}

fn decoder_of_json() -> Decoder {
    let mut decoder = plain(Modes::debezium_defaults());
    decoder.set_table(Table { whole_before: true, ..table(notes()) }).unwrap();
    decoder
}

const ENVELOPE: &str = r#"{"type":"record","name":"Envelope","fields":[
    {"name":"before","type":["null",{"type":"record","name":"Value","fields":[
        {"name":"id","type":"long"},{"name":"name","type":"string"},{"name":"note","type":["null","string"]}]}]},
    {"name":"after","type":["null","Value"]},
    {"name":"source","type":{"type":"record","name":"Source","fields":[
        {"name":"connector","type":"string"},{"name":"schema","type":"string"},{"name":"table","type":"string"},
        {"name":"lsn","type":["null","long"]},{"name":"tags","type":{"type":"map","values":"long"}}]}},
    {"name":"op","type":"string"}]}"#;

fn decoder_of_avro() -> Decoder {
    let mut registry = Registry::default();
    registry.0.insert(1, WriterSchema { schema: ENVELOPE.into(), references: vec![] });
    let mut settings = settings(Format::Avro, Modes::default());
    settings.key = Format::Json;
    let mut decoder = Decoder::new(settings, Box::new(registry));
    decoder.set_table(Table { whole_before: true, ..table(notes()) }).unwrap();
    decoder
}

/// Envelopes as another library writes them.
fn avro() -> Vec<Vec<u8>> {
    use apache_avro::types::Value as Avro;
    let schema = apache_avro::Schema::parse_str(ENVELOPE).unwrap();
    let text = |text: &str| Avro::String(text.into());
    let null = || Avro::Union(0, Box::new(Avro::Null));
    let some = |value| Avro::Union(1, Box::new(value));
    let record = |fields: Vec<(&str, Avro)>| {
        Avro::Record(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    };
    let messages = [(1, "c", Some("x")), (-2, "u", None), (1 << 40, "r", Some(""))].map(|(id, op, note)| {
        let note = note.map_or_else(null, |note| some(text(note)));
        let row = record(vec![("id", Avro::Long(id)), ("name", text("näme")), ("note", note)]);
        let tags = Avro::Map([("a".to_owned(), Avro::Long(1))].into());
        let source = vec![
            ("connector", text("postgresql")),
            ("schema", text("public")),
            ("table", text("t")),
            ("lsn", some(Avro::Long(5))),
            ("tags", tags),
        ];
        let envelope =
            record(vec![("before", null()), ("after", some(row)), ("source", record(source)), ("op", text(op))]);
        let mut bytes = vec![0, 0, 0, 0, 1];
        bytes.extend(apache_avro::to_avro_datum(&schema, envelope).unwrap());
        bytes
    });
    messages.to_vec()
}

fn push(decoder: &mut Decoder, offset: i64, value: &[u8]) -> String {
    outcome(decoder, &Message { offset, key: Some(KEY), value: Some(value), header: &|_| None })
}

fn rows(decoder: &mut Decoder) -> Vec<String> {
    decoder.take().unwrap().iter().flat_map(lines).collect()
}

#[test]
fn another_librarys_avro_is_read() {
    let mut decoder = decoder_of_avro();
    for (offset, message) in avro().iter().enumerate() {
        assert_eq!(push(&mut decoder, offset as i64, message), "row of public.t");
    }
    assert_eq!(
        rows(&mut decoder),
        ["0 insert 1 | näme | x", "1 update -2 | näme | NULL", "2 read 1099511627776 | näme | "]
    );
}

/// The rows of the good messages around a bad one are what they are without it.
fn neighbours_stay(decoder: fn() -> Decoder, good: &[Vec<u8>], bad: &[u8]) -> Result<(), TestCaseError> {
    let (mut with, mut without) = (decoder(), decoder());
    let mut own = Vec::new();
    for (offset, message) in good.iter().enumerate() {
        let offset = offset as i64;
        prop_assert_eq!(push(&mut with, offset, message), "row of public.t");
        prop_assert_eq!(push(&mut without, offset, message), "row of public.t");
        if push(&mut with, 100 + offset, bad) == "row of public.t" {
            own.push(100 + offset);
        }
    }
    let seen = rows(&mut with);
    let is_own = |row: &&String| own.iter().any(|offset| row.starts_with(&format!("{offset} ")));
    prop_assert_eq!(seen.iter().filter(is_own).count(), own.len());
    let others: Vec<_> = seen.iter().filter(|row| !is_own(row)).cloned().collect();
    prop_assert_eq!(others, rows(&mut without));
    Ok(())
}

#[test]
fn a_bad_row_leaves_nothing_behind() {
    for (decoder, good) in formats() {
        // Wrong in its last column, cut off, wrong after the image, of another table's shape.
        let text = String::from_utf8_lossy(&good[0]).into_owned();
        let after = text.rfind(r#""note":"x""#).map(|at| format!("{}\"note\":5{}", &text[..at], &text[at + 10..]));
        let bad = [
            after.map(String::into_bytes),
            Some(good[0][..good[0].len() - 1].to_vec()),
            Some([&good[0], &b"x"[..]].concat()),
            Some(text.replace("\"lsn\":24023128", "\"lsn\":-1").into_bytes()),
            Some(text.replace("\"op\":\"u\"", "\"op\":\"?\"").into_bytes()),
            Some(text.replace("\"table\":\"t\"", "\"table\":\"u\"").into_bytes()),
            Some(vec![]),
        ];
        for bad in bad.into_iter().flatten().filter(|bad| *bad != good[0]) {
            neighbours_stay(decoder, &good, &bad).unwrap();
            let mut decoder = decoder();
            assert_ne!(push(&mut decoder, 0, &bad), "row of public.t", "{}", String::from_utf8_lossy(&bad));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_bytes_are_an_error_at_worst(bytes in prop::collection::vec(any::<u8>(), 0..200), framed: bool) {
        for (decoder, good) in formats() {
            let bytes = if framed { [&[0, 0, 0, 0, 1], &bytes[..]].concat() } else { bytes.clone() };
            neighbours_stay(decoder, &good, &bytes)?;
        }
    }

    #[test]
    fn a_damaged_message_hurts_no_other(
        which in any::<prop::sample::Index>(),
        hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        for (decoder, good) in formats() {
            let mut bad = which.get(&good).clone();
            for (at, byte) in &hits {
                let at = at.index(bad.len());
                bad[at] = *byte;
            }
            if let Some(cut) = cut {
                bad.truncate(cut.index(bad.len()));
            }
            neighbours_stay(decoder, &good, &bad)?;
        }
    }

    /// The same message written otherwise (spaces, order, escapes) is the same row.
    #[test]
    fn how_json_is_written_does_not_matter(id: i64, name in "[^\0]{0,20}", note in proptest::option::of(".{0,20}")) {
        let row = crate::tables::note(id, &name, note.as_deref());
        let event = event("c", Value::Null, row);
        let mut decoder = decoder_of_json();
        let pretty = serde_json::to_string_pretty(&event).unwrap();
        let escaped: String = event.to_string().chars().map(|c| {
            if c.is_ascii() { c.to_string() } else { c.encode_utf16(&mut [0; 2]).iter().map(|u| format!("\\u{u:04x}")).collect() }
        }).collect();
        let mut turned = serde_json::Map::new();
        event.as_object().unwrap().iter().rev().for_each(|(k, v)| drop(turned.insert(k.clone(), v.clone())));
        for text in [event.to_string(), pretty, escaped, Value::from(turned).to_string()] {
            prop_assert_eq!(push(&mut decoder, 0, text.as_bytes()), "row of public.t");
        }
        let seen = rows(&mut decoder);
        let expected = format!("0 insert {id} | {name} | {}", note.as_deref().unwrap_or("NULL"));
        prop_assert_eq!(seen, vec![expected; 4]);
    }
}
