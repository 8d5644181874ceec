//! A message's key or value in either format: where images begin is known, reading them is one call. Pure.

use std::sync::Arc;

use crate::avro;
use crate::avro::read::Cursor;
use crate::avro::schema::Writer;
use crate::fault::Fault;
use crate::json;
use crate::json::pull::Pull;
use crate::json::read::Scratch;
use crate::json::schemas::Schema;
use crate::plan::Plan;
use crate::rows::Rows;
use crate::shape::{Kind, Member, Shape};
use crate::unavailable::Placeholder;
use crate::value::convert::Rules;

/// A key or a value.
#[derive(Debug)]
pub(crate) enum Body<'a> {
    Json { text: &'a str, schema: Option<Arc<Schema>> },
    Avro { bytes: &'a [u8], writer: Arc<Writer> },
}

/// What an image is read with.
#[derive(Clone, Copy)]
pub(crate) struct Reading<'a> {
    pub(crate) plan: &'a Plan,
    /// What stands for a value that is not known; `None` where every value is what it is.
    pub(crate) placeholder: Option<&'a Placeholder>,
    pub(crate) rules: Rules<'a>,
    /// Whether a field of the plan may not be missing.
    pub(crate) whole: bool,
}

impl Body<'_> {
    /// Names the schema, if there is one.
    pub(crate) fn schema_id(&self) -> Option<u64> {
        match self {
            Self::Json { schema, .. } => schema.as_ref().map(|s| s.id),
            Self::Avro { writer, .. } => Some(writer.id),
        }
    }

    fn shape(&self) -> Option<&Shape> {
        match self {
            Self::Json { schema, .. } => schema.as_ref().map(|s| &s.shape),
            Self::Avro { writer, .. } => Some(&writer.shape),
        }
    }

    /// The fields of a key, where they are told.
    pub(crate) fn members(&self) -> Option<&[Member]> {
        match &self.shape()?.kind {
            Kind::Struct(members) => Some(members),
            _ => Some(&[]),
        }
    }

    /// The fields of a value's images, where they are told.
    pub(crate) fn image_members(&self) -> Option<&[Member]> {
        match self.shape()?.member("after").map(|after| &after.kind) {
            Some(Kind::Struct(members)) => Some(members),
            _ => Some(&[]),
        }
    }

    /// Reads the image of a value that begins there into the open row.
    pub(crate) fn image(
        &self,
        at: usize,
        reading: Reading<'_>,
        rows: &mut Rows,
        scratch: &mut Scratch,
    ) -> Result<(), Fault> {
        match self {
            Self::Json { text, .. } => json::read::image(&mut Pull::at(text, at), reading, rows, scratch),
            Self::Avro { bytes, writer } => {
                let fields = writer.image().ok_or(Fault::of("a schema without images"))?;
                avro::read::image(&mut Cursor::at(bytes, at), fields, reading, rows)
            }
        }
    }

    /// Reads a key that begins there into the open row.
    pub(crate) fn key(
        &self,
        at: usize,
        reading: Reading<'_>,
        rows: &mut Rows,
        scratch: &mut Scratch,
    ) -> Result<(), Fault> {
        match self {
            Self::Json { text, .. } => json::read::image(&mut Pull::at(text, at), reading, rows, scratch),
            Self::Avro { bytes, writer } => {
                avro::read::image(&mut Cursor::at(bytes, at), &writer.fields, reading, rows)
            }
        }
    }

    /// The names of a key's fields.
    pub(crate) fn key_names(&self, at: usize, scratch: &mut Scratch) -> Result<Vec<String>, Fault> {
        if let Some(members) = self.members() {
            return Ok(members.iter().map(|m| m.name.clone()).collect());
        }
        let Self::Json { text, .. } = self else { return Ok(vec![]) };
        let (mut pull, mut first, mut names) = (Pull::at(text, at), true, vec![]);
        pull.expect(b'{')?;
        while let Some(name) = pull.key(&mut first, scratch.text())? {
            names.push(name.to_owned());
            pull.skip()?;
        }
        Ok(names)
    }
}
