//! A decoder for tests, and what it makes of messages as lines of text.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{Array, RecordBatch};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use connector_api::{Error, Result, TableId, TableSchema};
use connector_debezium::{
    Batch, Decoder, Format, Images, Keep, Message, Missing, Modes, Op, Pushed, SchemaSource, Settings, SourcePosition,
    Table, WriterSchema,
};

/// A registry that was filled before.
#[derive(Clone, Default)]
pub(crate) struct Registry(pub(crate) HashMap<u32, WriterSchema>);

impl SchemaSource for Registry {
    fn schema(&mut self, id: u32) -> Result<WriterSchema> {
        self.0.get(&id).cloned().ok_or_else(|| Error::retriable("the registry knows no such schema").with("id", id))
    }
}

pub(crate) fn settings(format: Format, modes: Modes) -> Settings {
    Settings { topic: "shop.public.t".into(), partition: 3, key: format, value: format, modes, max_bytes: 64 << 20 }
}

pub(crate) fn json(modes: Modes) -> Decoder {
    Decoder::new(settings(Format::Json, modes), Box::new(Registry::default()))
}

pub(crate) fn table(schema: TableSchema) -> Table {
    Table { schema: Arc::new(schema), whole_before: false, left_out: vec![] }
}

/// A message without headers.
pub(crate) fn push(decoder: &mut Decoder, offset: i64, key: Option<&str>, value: Option<&str>) -> String {
    push_with(decoder, offset, key, value, &[])
}

pub(crate) fn push_with(
    decoder: &mut Decoder,
    offset: i64,
    key: Option<&str>,
    value: Option<&str>,
    headers: &[(&str, &[u8])],
) -> String {
    let header = |name: &str| headers.iter().find(|(n, _)| *n == name).map(|(_, bytes)| *bytes);
    let (key, value) = (key.map(str::as_bytes), value.map(str::as_bytes));
    let message = Message { offset, key, value, header: &header };
    outcome(decoder, &message)
}

pub(crate) fn kept_if(keep: bool) -> Keep {
    if keep { Keep::Yes } else { Keep::No }
}

/// What becomes of a message.
pub(crate) fn outcome(decoder: &mut Decoder, message: &Message<'_>) -> String {
    outcome_if(decoder, message, |_, _| true)
}

/// The same where not every message is kept.
pub(crate) fn outcome_if(
    decoder: &mut Decoder,
    message: &Message<'_>,
    keep: impl Fn(&TableId, &SourcePosition) -> bool,
) -> String {
    let mut asked = None;
    let pushed = decoder.push(message, &mut |table, position| {
        assert_eq!(asked.replace(table.to_string()), None, "asked twice");
        kept_if(keep(table, position))
    });
    match pushed {
        Ok(Pushed::Row(_)) => format!("row of {}", asked.unwrap()),
        Ok(Pushed::Truncate) => format!("Truncate({})", asked.unwrap()),
        Ok(Pushed::Schema { schema, new }) => {
            let columns = schema.columns().iter().enumerate().map(|(i, c)| {
                let key = if schema.key().contains(&i) { " key" } else { "" };
                let null = if c.nullable { "?" } else { "" };
                format!("{} {}{null}{key} = {}", c.name(), c.data_type(), c.source_type)
            });
            format!(
                "{} {}: {}",
                if new { "new" } else { "changed" },
                schema.table(),
                columns.collect::<Vec<_>>().join(", ")
            )
        }
        Ok(other) => format!("{other:?}"),
        Err(error) => format!("{error:#}"),
    }
}

/// One line per row: offset, operation, values; `~` for one that is not known.
pub(crate) fn lines(batch: &Batch) -> Vec<String> {
    let mut lines = Vec::new();
    let of = |images: &Option<Images>, row: usize, name: &str| {
        let images = images.as_ref()?;
        let at = images.of.iter().position(|of| *of as usize == row)?;
        Some(format!(" {name}({})", values(&images.rows, &images.missing, at)))
    };
    for (row, op) in batch.ops.iter().enumerate() {
        let op = match op {
            Op::Insert => "insert",
            Op::Read => "read",
            Op::Update => "update",
            Op::Delete => "delete",
            Op::Moved => "moved",
        };
        let mut line = format!("{} {op} {}", batch.offsets[row], values(&batch.rows, &batch.missing, row));
        line.extend(of(&batch.before, row, "before"));
        line.extend(of(&batch.old_keys, row, "was"));
        lines.push(line);
    }
    lines
}

fn values(rows: &RecordBatch, missing: &Missing, row: usize) -> String {
    let cells = rows.columns().iter().enumerate().map(|(i, column)| {
        if missing.rows[i].contains(&(row as u32)) {
            assert!(column.is_null(row), "what is not known is NULL");
            return "~".to_owned();
        }
        cell(column.as_ref(), row)
    });
    cells.collect::<Vec<_>>().join(" | ")
}

pub(crate) fn cell(column: &dyn Array, row: usize) -> String {
    let options = FormatOptions::new().with_null("NULL");
    ArrayFormatter::try_new(column, &options).unwrap().value(row).to_string()
}

/// All rows of all open batches.
pub(crate) fn taken(decoder: &mut Decoder) -> Vec<String> {
    decoder.take().unwrap().iter().flat_map(lines).collect()
}
