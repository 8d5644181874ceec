//! A writer's schema made ready for reading: what lies behind what, and what each field is. Pure.
//!
//! Kafka Connect's types stand in properties of Avro's (`connect.name` …) that Avro libraries drop where
//! they stand beside a primitive type, so the schema is read here.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use crate::dialect::Dialect;
use crate::envelope::Found;
use crate::fault::Fault;
use crate::how::DECIMAL;
use crate::message::WriterSchema;
use crate::shape::{DEEPEST, Kind, Member, Shape};
use crate::source::SourceField;

/// How a value lies in a message.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    Null,
    Bool,
    /// `int` and `long`.
    Int,
    Float,
    Double,
    Bytes,
    Text,
    Fixed(usize),
    Enum(Arc<[String]>),
    List(Arc<Node>),
    Map(Arc<Node>),
    Record(Arc<[Field]>),
    Union(Arc<[Node]>),
}

/// A field of a record.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) node: Node,
}

/// A writer's schema.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) fields: Arc<[Field]>,
    /// What each field is to an envelope.
    pub(crate) found: Vec<Found>,
    /// What each field of the source block is.
    pub(crate) source: Vec<SourceField>,
    pub(crate) shape: Shape,
    /// The registry's number of it.
    pub(crate) id: u64,
}

impl Writer {
    /// Makes a schema ready.
    pub(crate) fn new(id: u32, schema: &WriterSchema, dialect: &Dialect) -> Result<Self, Fault> {
        const MALFORMED: Fault = Fault::of("a malformed Avro schema");
        let mut names = HashMap::new();
        let parse = |json: &str| serde_json::from_str::<Value>(json).map_err(|_| MALFORMED.with("schema", id));
        for reference in &schema.references {
            compile(&parse(reference)?, "", &mut names, 0)?;
        }
        let (node, shape) = compile(&parse(&schema.schema)?, "", &mut names, 0)?;
        let Node::Record(fields) = node else {
            return Err(Fault::of("an Avro schema that is no record").with("schema", id));
        };
        let image = |name: &str| fields.iter().find(|f| f.name == name).and_then(|f| f.node.record());
        if image("before") != image("after") && image("before").is_some() {
            return Err(Fault::of("images before and after a change of different schemas").with("schema", id));
        }
        let found = fields.iter().map(|f| Found::of(&f.name)).collect();
        let source = image("source").unwrap_or_default();
        let source = source.iter().map(|f| SourceField::of(dialect, &f.name)).collect();
        Ok(Self { fields, found, source, shape, id: id.into() })
    }

    /// The fields of images.
    pub(crate) fn image(&self) -> Option<&[Field]> {
        self.fields.iter().find(|f| f.name == "after").and_then(|f| f.node.record())
    }
}

impl Node {
    /// The record that it is, or that it is if it is not null.
    pub(crate) fn record(&self) -> Option<&[Field]> {
        match self {
            Self::Record(fields) => Some(fields),
            Self::Union(nodes) => nodes.iter().find_map(Self::record),
            _ => None,
        }
    }
}

type Names = HashMap<String, (Node, Shape)>;

fn compile(schema: &Value, namespace: &str, names: &mut Names, depth: usize) -> Result<(Node, Shape), Fault> {
    if depth > DEEPEST {
        return Err(Fault::of("the schema is nested too deeply"));
    }
    match schema {
        Value::String(name) => primitive(name, namespace, names),
        Value::Array(branches) => {
            let all = branches.iter().map(|branch| compile(branch, namespace, names, depth + 1));
            let all = all.collect::<Result<Vec<_>, _>>()?;
            let optional = all.iter().any(|(node, _)| *node == Node::Null);
            let mut kinds = all.iter().filter(|(node, _)| *node != Node::Null).map(|(_, shape)| shape);
            let mut shape = match (kinds.next(), kinds.next()) {
                (Some(only), None) => only.clone(),
                _ => Shape::new(Kind::Struct([].into()), "union"),
            };
            shape.optional = optional;
            Ok((Node::Union(all.into_iter().map(|(node, _)| node).collect()), shape))
        }
        Value::Object(object) => {
            let of = object.get("type").ok_or(Fault::of("an Avro schema without a type"))?;
            let (node, mut shape) = match of.as_str() {
                Some("record" | "enum" | "fixed") => return declared(schema, namespace, names, depth),
                Some("array") => {
                    let items = object.get("items").ok_or(Fault::of("an array's schema without its items"))?;
                    let (node, shape) = compile(items, namespace, names, depth + 1)?;
                    (Node::List(Arc::new(node)), Shape::new(Kind::List(Box::new(shape)), ""))
                }
                Some("map") => {
                    let values = object.get("values").ok_or(Fault::of("a map's schema without its values"))?;
                    let (node, shape) = compile(values, namespace, names, depth + 1)?;
                    let kind = if shape.kind == Kind::Text { Kind::Map } else { Kind::Struct([].into()) };
                    (Node::Map(Arc::new(node)), Shape::new(kind, ""))
                }
                // A type within a type: its own properties, then these.
                _ => compile(of, namespace, names, depth + 1)?,
            };
            annotate(&mut shape, schema);
            Ok((node, shape))
        }
        _ => Err(Fault::of("a malformed Avro schema")),
    }
}

fn primitive(name: &str, namespace: &str, names: &Names) -> Result<(Node, Shape), Fault> {
    let (node, kind) = match name {
        "null" => (Node::Null, Kind::Text),
        "boolean" => (Node::Bool, Kind::Bool),
        "int" => (Node::Int, Kind::Int(32)),
        "long" => (Node::Int, Kind::Int(64)),
        "float" => (Node::Float, Kind::Float32),
        "double" => (Node::Double, Kind::Float64),
        "bytes" => (Node::Bytes, Kind::Bytes),
        "string" => (Node::Text, Kind::Text),
        name => {
            let known = names.get(&full(name, namespace)).or_else(|| names.get(name));
            return known.cloned().ok_or(Fault::of("an Avro schema that refers to itself or to nothing"));
        }
    };
    let mut shape = Shape::new(kind, "");
    shape.optional = name == "null";
    Ok((node, shape))
}

/// A type with a name, by which it may be used again.
fn declared(schema: &Value, namespace: &str, names: &mut Names, depth: usize) -> Result<(Node, Shape), Fault> {
    let text = |key: &str| schema.get(key).and_then(Value::as_str);
    let namespace = text("namespace").unwrap_or(namespace);
    let name = full(text("name").ok_or(Fault::of("a named Avro type without a name"))?, namespace);
    let namespace = name.rsplit_once('.').map_or("", |(namespace, _)| namespace);
    let none = Vec::new();
    let array = |key: &str| schema.get(key).and_then(Value::as_array).unwrap_or(&none);
    let (node, mut shape) = match text("type") {
        Some("enum") => {
            let symbols = array("symbols").iter().filter_map(Value::as_str).map(str::to_owned).collect();
            (Node::Enum(symbols), Shape::new(Kind::Text, ""))
        }
        Some("fixed") => {
            let size = schema.get("size").and_then(Value::as_u64).and_then(|size| usize::try_from(size).ok());
            (Node::Fixed(size.ok_or(Fault::of("a fixed Avro type without a size"))?), Shape::new(Kind::Bytes, ""))
        }
        _ => {
            let (mut fields, mut members) = (vec![], vec![]);
            for field in array("fields") {
                let name = field.get("name").and_then(Value::as_str).ok_or(Fault::of("a field without a name"))?;
                let of = field.get("type").ok_or(Fault::of("a field without a type"))?;
                let (node, mut shape) =
                    compile(of, namespace, names, depth + 1).map_err(|fault| fault.in_column(name))?;
                shape.has_default |= field.get("default").is_some_and(|d| !d.is_null());
                fields.push(Field { name: name.to_owned(), node });
                members.push(Member { name: name.to_owned(), shape });
            }
            (Node::Record(fields.into()), Shape::new(Kind::Struct(members.into()), &name))
        }
    };
    shape.optional = false;
    annotate(&mut shape, schema);
    names.insert(name, (node.clone(), shape.clone()));
    Ok((node, shape))
}

fn full(name: &str, namespace: &str) -> String {
    match name.contains('.') || namespace.is_empty() {
        true => name.to_owned(),
        false => format!("{namespace}.{name}"),
    }
}

/// Takes over Kafka Connect's properties; without them Avro's own logical types.
fn annotate(shape: &mut Shape, schema: &Value) {
    let text = |key: &str| schema.get(key).and_then(Value::as_str);
    let logical = || match text("logicalType")? {
        "decimal" => Some(DECIMAL),
        "date" => Some("org.apache.kafka.connect.data.Date"),
        "time-millis" => Some("org.apache.kafka.connect.data.Time"),
        "time-micros" => Some("io.debezium.time.MicroTime"),
        "local-timestamp-millis" | "timestamp-millis" => Some("io.debezium.time.Timestamp"),
        "local-timestamp-micros" | "timestamp-micros" => Some("io.debezium.time.MicroTimestamp"),
        "uuid" => Some("io.debezium.data.Uuid"),
        _ => None,
    };
    if let Some(name) = text("connect.name").or_else(logical) {
        name.clone_into(&mut shape.name);
    }
    match text("connect.type") {
        Some("int8") => shape.kind = Kind::Int(8),
        Some("int16") => shape.kind = Kind::Int(16),
        _ => {}
    }
    let number = |key: &str| schema.get(key).and_then(Value::as_i64);
    shape.scale = number("scale").and_then(|n| i32::try_from(n).ok()).or(shape.scale);
    shape.precision = number("precision").and_then(|n| u32::try_from(n).ok()).or(shape.precision);
    shape.has_default |= schema.get("connect.default").is_some_and(|d| !d.is_null());
    shape.set_parameters(schema.get("connect.parameters"));
    // Confluent writes 64 where Kafka Connect told no precision.
    if shape.name == DECIMAL {
        let told = schema.get("connect.parameters").and_then(|p| p.get("connect.decimal.precision")).is_some();
        if !told && text("connect.name").is_some() {
            shape.precision = None;
        }
        shape.scale = shape.scale.or(Some(0));
    }
}
