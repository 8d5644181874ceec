//! What a message's field is: Kafka Connect's type with its name and parameters. Pure.
//!
//! JSON schemas, Avro schemas and, for messages without a schema, the source's types all come down to
//! this, so that one place decides how a field becomes a column.

use std::sync::Arc;

use serde_json::Value;

use crate::fault::Fault;

/// Kafka Connect's types. The widths of integers matter only for the type of a new column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Bool,
    /// Of so many bits.
    Int(u8),
    Float32,
    Float64,
    Text,
    Bytes,
    List(Box<Shape>),
    /// From text to text.
    Map,
    Struct(Arc<[Member]>),
}

/// A member of a struct.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) shape: Shape,
}

/// A field's type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) kind: Kind,
    /// The logical type's name, such as `io.debezium.time.MicroTimestamp`; empty without one.
    pub(crate) name: String,
    pub(crate) optional: bool,
    /// The parameter `scale` of a decimal.
    pub(crate) scale: Option<i32>,
    /// The parameter `connect.decimal.precision` of a decimal.
    pub(crate) precision: Option<u32>,
    /// The parameter `length` of bits.
    pub(crate) length: Option<u32>,
    /// Whether the field has a default that is not NULL.
    pub(crate) has_default: bool,
}

/// Deepest nesting of a schema: far beyond what a connector writes, and a bound for hostile ones.
pub(crate) const DEEPEST: usize = 32;

impl Shape {
    /// A type without parameters.
    pub(crate) fn new(kind: Kind, name: &str) -> Self {
        let name = name.to_owned();
        Self { kind, name, optional: true, scale: None, precision: None, length: None, has_default: false }
    }

    /// A member of a struct.
    pub(crate) fn member(&self, name: &str) -> Option<&Shape> {
        match &self.kind {
            Kind::Struct(members) => members.iter().find(|m| m.name == name).map(|m| &m.shape),
            _ => None,
        }
    }

    /// Takes over a schema's parameters.
    pub(crate) fn set_parameters(&mut self, parameters: Option<&Value>) {
        let text = |key: &str| match parameters?.get(key)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        self.scale = text("scale").and_then(|t| t.parse().ok()).or(self.scale);
        self.precision = text("connect.decimal.precision").and_then(|t| t.parse().ok()).or(self.precision);
        self.length = text("length").and_then(|t| t.parse().ok()).or(self.length);
    }

    /// Reads the schema that Kafka Connect's JSON converter writes before the payload.
    pub(crate) fn from_json(schema: &Value, depth: usize) -> Result<Self, Fault> {
        if depth > DEEPEST {
            return Err(Fault::of("the schema is nested too deeply"));
        }
        let text = |key: &str| schema.get(key).and_then(Value::as_str);
        let kind = match text("type").ok_or_else(|| Fault::of("a schema without a type"))? {
            "boolean" => Kind::Bool,
            "int8" => Kind::Int(8),
            "int16" => Kind::Int(16),
            "int32" => Kind::Int(32),
            "int64" => Kind::Int(64),
            "float" | "float32" => Kind::Float32,
            "double" | "float64" => Kind::Float64,
            "string" => Kind::Text,
            "bytes" => Kind::Bytes,
            "array" => {
                let items = schema.get("items").ok_or_else(|| Fault::of("an array's schema without its items"))?;
                Kind::List(Box::new(Self::from_json(items, depth + 1)?))
            }
            "map" => {
                let of = |key: &str| schema.get(key).and_then(|s| s.get("type")).and_then(Value::as_str);
                if (of("keys"), of("values")) != (Some("string"), Some("string")) {
                    return Err(Fault::of("a map that is not from text to text"));
                }
                Kind::Map
            }
            "struct" => {
                let none = Vec::new();
                let fields = schema.get("fields").and_then(Value::as_array).unwrap_or(&none);
                let members = fields.iter().map(|field| {
                    let name = field.get("field").and_then(Value::as_str);
                    let name = name.ok_or_else(|| Fault::of("a struct's field without a name"))?.to_owned();
                    let shape = Self::from_json(field, depth + 1).map_err(|fault| fault.in_column(&name))?;
                    Ok(Member { name, shape })
                });
                Kind::Struct(members.collect::<Result<_, Fault>>()?)
            }
            _ => return Err(Fault::of("a schema of an unknown type")),
        };
        let mut shape = Self::new(kind, text("name").unwrap_or_default());
        shape.optional = schema.get("optional").and_then(Value::as_bool).unwrap_or(false);
        shape.has_default = schema.get("default").is_some_and(|d| !d.is_null());
        shape.set_parameters(schema.get("parameters"));
        Ok(shape)
    }
}
