//! What an envelope says beside its images. Pure.

use crate::batch::Transaction;
use crate::fault::Fault;
use crate::value::Value;

/// A member of an envelope, or of what else may stand in a topic of Debezium's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Before,
    After,
    Source,
    Op,
    Transaction,
    /// Of transaction metadata.
    Status,
    Id,
    EventCount,
    Tables,
    /// The only member of a heartbeat.
    TsMs,
    Other,
}

impl Found {
    /// The members of a change as Debezium writes them in JSON, in their order.
    pub(crate) const USUAL: [(&str, Found); 8] = [
        ("\"before\":", Found::Before),
        ("\"after\":", Found::After),
        ("\"source\":", Found::Source),
        ("\"transaction\":", Found::Transaction),
        ("\"op\":", Found::Op),
        ("\"ts_ms\":", Found::TsMs),
        ("\"ts_us\":", Found::Other),
        ("\"ts_ns\":", Found::Other),
    ];

    pub(crate) fn of(name: &str) -> Self {
        match name {
            "before" => Self::Before,
            "after" => Self::After,
            "source" => Self::Source,
            "op" => Self::Op,
            "transaction" => Self::Transaction,
            "status" => Self::Status,
            "id" => Self::Id,
            "event_count" => Self::EventCount,
            "data_collections" => Self::Tables,
            "ts_ms" => Self::TsMs,
            _ => Self::Other,
        }
    }
}

/// An envelope.
#[derive(Debug, Default)]
pub(crate) struct Envelope {
    /// Where the image before the change begins, if there is one.
    pub(crate) before: Option<usize>,
    /// Where the image after it begins.
    pub(crate) after: Option<usize>,
    /// What reading the image after the change at once came to; `None` where it was passed over.
    pub(crate) image: Option<Result<(), Fault>>,
    /// How often the image after the change is there.
    pub(crate) images: usize,
    /// `op`, if it is a single letter.
    pub(crate) op: Option<u8>,
    pub(crate) total_order: Option<u64>,
    pub(crate) table_order: Option<u64>,
    has_op: bool,
    has_status: bool,
    /// Members other than `ts_ms`.
    others: bool,
    /// Apart, for an envelope is passed on for every row.
    metadata: Option<Box<Metadata>>,
}

/// What a record of transaction metadata says.
#[derive(Debug, Default)]
struct Metadata {
    end: Option<bool>,
    id: String,
    event_count: Option<u64>,
    tables: Vec<(String, u64)>,
}

/// What a value is.
pub(crate) enum Nature {
    Change(u8),
    Heartbeat,
    Transaction(Transaction),
}

impl Envelope {
    /// Notes that a member is there, be it null.
    pub(crate) fn see(&mut self, found: Found) {
        self.images += usize::from(found == Found::After);
        self.has_op |= found == Found::Op;
        self.has_status |= found == Found::Status;
        self.others |= found != Found::TsMs;
    }

    /// Takes in a member that is neither an image nor a struct.
    pub(crate) fn set(&mut self, found: Found, value: Value<'_>) -> Result<(), Fault> {
        match (found, value) {
            (Found::Op, Value::Text(op)) => self.op = <[u8; 1]>::try_from(op.as_bytes()).ok().map(|[op]| op),
            (Found::Status, Value::Text("BEGIN")) => self.metadata().end = Some(false),
            (Found::Status, Value::Text("END")) => self.metadata().end = Some(true),
            (Found::Id, Value::Text(id)) => id.clone_into(&mut self.metadata().id),
            (Found::EventCount, value) => self.metadata().event_count = Some(count(value)?),
            _ => {}
        }
        Ok(())
    }

    fn metadata(&mut self) -> &mut Metadata {
        self.metadata.get_or_insert_default()
    }

    /// Takes in a member of `transaction`.
    pub(crate) fn in_transaction(&mut self, name: &str, value: Value<'_>) -> Result<(), Fault> {
        match name {
            _ if value == Value::Null => {}
            "total_order" => self.total_order = Some(count(value)?),
            "data_collection_order" => self.table_order = Some(count(value)?),
            _ => {}
        }
        Ok(())
    }

    /// Begins an element of `data_collections`.
    pub(crate) fn add_table(&mut self) {
        self.metadata().tables.push((String::new(), 0));
    }

    /// Takes in a member of the element that was begun last.
    pub(crate) fn in_table(&mut self, name: &str, value: Value<'_>) -> Result<(), Fault> {
        match (self.metadata().tables.last_mut(), name, value) {
            (Some((table, _)), "data_collection", Value::Text(text)) => text.clone_into(table),
            (Some((_, events)), "event_count", value) => *events = count(value)?,
            _ => {}
        }
        Ok(())
    }

    /// What it is an envelope of.
    pub(crate) fn nature(&mut self) -> Result<Nature, Fault> {
        if self.has_op {
            return self.op.map(Nature::Change).ok_or(Fault::of("an unknown operation"));
        }
        match self.metadata.take().map(|metadata| *metadata) {
            Some(Metadata { end: Some(end), id, event_count, tables }) if self.has_status && !id.is_empty() => {
                Ok(Nature::Transaction(Transaction { id, events: event_count.filter(|_| end), tables }))
            }
            None if !self.others => Ok(Nature::Heartbeat),
            _ => Err(Fault::of(
                "not a change event of Debezium's: the full envelope with before, after, source and op is needed; \
                 take transforms such as ExtractNewRecordState out of its configuration",
            )),
        }
    }
}

fn count(value: Value<'_>) -> Result<u64, Fault> {
    let count = match value {
        Value::Int(count) => u64::try_from(count).ok(),
        Value::Number(text) => text.parse().ok(),
        _ => None,
    };
    count.ok_or(Fault::of("a count that is no whole number"))
}
