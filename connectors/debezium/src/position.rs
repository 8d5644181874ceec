//! Where an event stands in the source's log, read from its `source` block. Pure.

use crate::dialect::Dialect;
use crate::fault::Fault;
use crate::json::pull::quoted;
use crate::value::Value;

/// Where a row's change stands in the source's log. Of what the source does not say there is nothing here;
/// a wall clock orders nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourcePosition {
    /// The change's own place: `lsn`. Several rows may share one.
    pub own: Option<u64>,
    /// The place of the commit *before* its transaction: the first of `sequence`.
    pub preceding: Option<u64>,
    /// The transaction: `txId`.
    pub transaction: Option<u64>,
    /// The change's number within its transaction: `transaction.total_order`.
    pub total_order: Option<u64>,
    /// Whether it was read by a snapshot of Debezium's.
    pub snapshot: Snapshot,
    /// When it happened, milliseconds since 1970-01-01 UTC: for lag only.
    pub ts_ms: Option<i64>,
}

/// `source.snapshot`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Snapshot {
    /// From the log.
    #[default]
    No,
    /// Of a snapshot.
    Yes,
    /// The first row of a snapshot.
    First,
    /// The first row of its table.
    FirstOfTable,
    /// The last row of its table.
    LastOfTable,
    /// The last row of a snapshot.
    Last,
    /// Of an incremental snapshot.
    Incremental,
}

/// What of a `source` block counts. Kept from event to event, so that its texts are not allocated anew.
#[derive(Debug, Default)]
pub(crate) struct Source {
    pub(crate) schema: String,
    pub(crate) table: String,
    pub(crate) position: SourcePosition,
    /// Whether a connector was named.
    pub(crate) known: bool,
    /// The fields of the last event's block in their order, as JSON has their names.
    order: Vec<(String, SourceField)>,
}

/// A field of a `source` block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SourceField {
    Connector,
    Schema,
    Table,
    TsMs,
    Snapshot,
    Own,
    Transaction,
    Sequence,
    Other,
}

impl SourceField {
    pub(crate) fn of(dialect: &Dialect, name: &str) -> Self {
        let fields = &dialect.position;
        match name {
            "connector" => Self::Connector,
            "schema" => Self::Schema,
            "table" => Self::Table,
            "ts_ms" => Self::TsMs,
            "snapshot" => Self::Snapshot,
            name if name == fields.own => Self::Own,
            name if name == fields.transaction => Self::Transaction,
            name if Some(name) == fields.sequence => Self::Sequence,
            _ => Self::Other,
        }
    }
}

impl Source {
    pub(crate) fn clear(&mut self) {
        self.schema.clear();
        self.table.clear();
        self.position = SourcePosition::default();
        self.known = false;
    }

    /// What stood at that place of the last event's block.
    pub(crate) fn expected(&self, place: usize) -> Option<(&str, SourceField)> {
        self.order.get(place).map(|(quoted, field)| (quoted.as_str(), *field))
    }

    /// Notes what stands there now.
    pub(crate) fn expect(&mut self, place: usize, dialect: &Dialect, name: &str) -> SourceField {
        /// More fields than a block has: a hostile one is not remembered.
        const MOST: usize = 64;
        let field = SourceField::of(dialect, name);
        self.order.truncate(place);
        if place < MOST && place == self.order.len() {
            self.order.push((quoted(name), field));
        }
        field
    }

    /// Takes in a field.
    pub(crate) fn set(&mut self, dialect: &Dialect, field: SourceField, value: Value<'_>) -> Result<(), Fault> {
        const NOT: Fault = Fault::of("a field of the source block is not what it should be");
        let number = |value| match value {
            Value::Int(number) => u64::try_from(number).map(Some).map_err(|_| ()),
            Value::Number(text) | Value::Text(text) => text.parse().map(Some).map_err(|_| ()),
            Value::Null => Ok(None),
            _ => Err(()),
        };
        let wrong = |()| NOT.with("field", format!("{field:?}"));
        match (field, value) {
            (SourceField::Connector, Value::Text(connector)) => {
                if connector != dialect.connector {
                    let fault = Fault::of("the events are of another connector than the one that is configured");
                    return Err(fault.with("connector", connector));
                }
                self.known = true;
            }
            (SourceField::Schema, Value::Text(text)) => self.schema.push_str(text),
            (SourceField::Table, Value::Text(text)) => self.table.push_str(text),
            (SourceField::TsMs, value) => {
                self.position.ts_ms = number(value).map_err(wrong)?.and_then(|n| i64::try_from(n).ok());
            }
            (SourceField::Snapshot, value) => {
                self.position.snapshot = match value {
                    Value::Null | Value::Bool(false) | Value::Text("false") => Snapshot::No,
                    Value::Bool(true) | Value::Text("true") => Snapshot::Yes,
                    Value::Text("first") => Snapshot::First,
                    Value::Text("first_in_data_collection") => Snapshot::FirstOfTable,
                    Value::Text("last_in_data_collection") => Snapshot::LastOfTable,
                    Value::Text("last") => Snapshot::Last,
                    Value::Text("incremental") => Snapshot::Incremental,
                    _ => return Err(wrong(())),
                };
            }
            (SourceField::Own, value) => self.position.own = number(value).map_err(wrong)?,
            (SourceField::Transaction, value) => self.position.transaction = number(value).map_err(wrong)?,
            (SourceField::Sequence, Value::Text(text)) => {
                self.position.preceding = preceding(text).ok_or_else(|| wrong(()))?;
            }
            _ => {}
        }
        Ok(())
    }
}

/// The first of `["24023119","24023128"]`; the inner `None` for a null.
fn preceding(sequence: &str) -> Option<Option<u64>> {
    let (first, _) = sequence.strip_prefix('[')?.strip_suffix(']')?.split_once(',')?;
    match first.trim() {
        "null" => Some(None),
        quoted => quoted.strip_prefix('"')?.strip_suffix('"')?.parse().ok().map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_a_pair() {
        assert_eq!(preceding(r#"["24023119","24023128"]"#), Some(Some(24023119)));
        assert_eq!(preceding(r#"[null,"24023128"]"#), Some(None));
        for bad in ["", "[]", r#"["x","1"]"#, r#"["1"]"#, r#"["-1","1"]"#] {
            assert_eq!(preceding(bad), None, "{bad}");
        }
    }
}
