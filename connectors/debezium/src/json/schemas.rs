//! The schemas that Kafka Connect's JSON converter writes before each payload, known again by their bytes.
//!
//! A message begins with the same bytes as the one before it as long as the schema is the same, so that it
//! is compared and not parsed. Nothing is searched for: text may contain anything.

use std::sync::Arc;

use crate::fault::Fault;
use crate::json::pull::Pull;
use crate::json::read::Scratch;
use crate::shape::Shape;

/// Most schemas that are kept: of a topic's table, its key, and a version on either side of a change.
const KEPT: usize = 16;

/// Schemas by the bytes before the payload.
#[derive(Debug, Default)]
pub(crate) struct Schemas {
    /// The last used first.
    known: Vec<Arc<Schema>>,
    next: u64,
}

/// A schema.
#[derive(Debug)]
pub(crate) struct Schema {
    /// All up to the payload.
    prefix: Vec<u8>,
    pub(crate) shape: Shape,
    /// Never the same for two.
    pub(crate) id: u64,
}

/// A message's payload: where it begins, and what it is; `None` without a schema.
pub(crate) struct Payload<'a> {
    pub(crate) pull: Pull<'a>,
    pub(crate) schema: Option<Arc<Schema>>,
    /// Whether a `}` follows it.
    pub(crate) wrapped: bool,
}

impl Payload<'_> {
    /// Checks that nothing but the end follows the payload.
    pub(crate) fn end(mut self) -> Result<(), Fault> {
        if self.wrapped {
            self.pull.expect(b'}')?;
        }
        self.pull.end()
    }
}

impl Schemas {
    /// Finds a message's payload.
    pub(crate) fn payload<'a>(&mut self, text: &'a str, scratch: &mut Scratch) -> Result<Payload<'a>, Fault> {
        if let Some(found) = self.known.iter().position(|s| text.as_bytes().starts_with(&s.prefix)) {
            self.known[..=found].rotate_right(1);
            let schema = Arc::clone(&self.known[0]);
            let pull = Pull::at(text, schema.prefix.len());
            return Ok(Payload { pull, schema: Some(schema), wrapped: true });
        }
        let plain = Payload { pull: Pull::new(text), schema: None, wrapped: false };
        let mut pull = Pull::new(text);
        pull.expect(b'{')?;
        let mut first = true;
        if pull.key(&mut first, scratch.text())? != Some("schema") {
            return Ok(plain);
        }
        let is_null = pull.null()?;
        let start = pull.place();
        if !is_null {
            if pull.peek() != Some(b'{') {
                return Ok(plain);
            }
            pull.skip()?;
        }
        let end = pull.place();
        if pull.key(&mut first, scratch.text())? != Some("payload") {
            return Ok(plain);
        }
        if is_null {
            return Ok(Payload { pull, schema: None, wrapped: true });
        }
        let schema = text.get(start..end).unwrap_or_default();
        let schema = serde_json::from_str(schema).map_err(|_| Fault::of("a malformed schema"))?;
        let shape = Shape::from_json(&schema, 0)?;
        let prefix = text.as_bytes().get(..pull.place()).unwrap_or_default().to_vec();
        let schema = Arc::new(Schema { prefix, shape, id: self.next });
        self.next += 1;
        self.known.insert(0, Arc::clone(&schema));
        self.known.truncate(KEPT);
        Ok(Payload { pull, schema: Some(schema), wrapped: true })
    }
}
