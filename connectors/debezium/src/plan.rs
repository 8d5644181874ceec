//! How the fields of an image become a table's columns, or what of the table has to change first. Pure.

use arrow_schema::DataType;
use connector_api::{Column, TableSchema};
use md5::{Digest, Md5};

use crate::avro::step::Step;
use crate::cells::Cells;
use crate::dialect::Dialect;
use crate::fault::Fault;
use crate::how::{self, How};
use crate::json::pull::quoted;
use crate::message::Table;
use crate::modes::Modes;
use crate::shape::{Kind, Member, Shape};
use crate::value::Value;
use crate::value::convert::Rules;

/// One field of an image.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) name: String,
    /// The name as a JSON message has it.
    pub(crate) quoted: String,
    /// Which column it becomes; `None` where it was left out.
    pub(crate) column: Option<usize>,
    pub(crate) how: How,
    /// Whether NULL may stand for a value that the log did not carry.
    pub(crate) null_hides: bool,
    /// How it is read from Avro, where that is usual.
    pub(crate) step: Option<Step>,
    /// Of a list: the elements that stand for a list which the log did not carry.
    pub(crate) unavailable: Option<Box<Cells>>,
}

/// The fields of an image, in the order in which they are written.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) fields: Vec<Planned>,
    /// How many columns they become.
    pub(crate) columns: usize,
}

/// What the fields of an image say of a table.
#[derive(Debug)]
pub(crate) enum Bound {
    /// They become its columns.
    Fits(Plan),
    /// They do once it has this schema.
    Changed(TableSchema),
}

impl Planned {
    /// A field that is passed over.
    fn left_out(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            quoted: quoted(name),
            column: None,
            how: How::Text,
            null_hides: false,
            step: None,
            unavailable: None,
        }
    }
}

impl Plan {
    fn new(fields: Vec<Planned>) -> Self {
        Self { columns: fields.iter().filter(|f| f.column.is_some()).count(), fields }
    }

    /// The field of that name.
    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|f| f.name == name)
    }
}

/// The plan for images whose fields are told.
///
/// # Errors
/// A change that is neither a new column nor a wider type, by its column.
pub(crate) fn bind(table: &Table, members: &[Member], modes: &Modes, dialect: &Dialect) -> Result<Bound, Fault> {
    let schema = &*table.schema;
    if let Some(lost) = schema.columns().iter().find(|c| !members.iter().any(|m| m.name == c.name())) {
        return Err(Fault::of("the events do not have this column").in_column(lost.name()));
    }
    let mut columns = schema.columns().to_vec();
    let mut changed = false;
    for member in members.iter().filter(|m| !table.left_out.contains(&m.name)) {
        match columns.iter_mut().find(|c| c.name() == member.name) {
            Some(column) => {
                if let Some(wider) = wider(column, &member.shape, dialect)? {
                    (*column, changed) = (wider, true);
                }
            }
            None if member.shape.has_default => {
                let what = "a new column with a default: rows that were there before have it at the source without \
                            an event that says so; load the table again";
                return Err(Fault::of(what).in_column(&member.name));
            }
            // Of an identity column no default is told.
            None if !member.shape.optional => {
                let what = "a new column that is NOT NULL: rows that were there before have values in it at the source, \
                            which no event may have told; load the table again";
                return Err(Fault::of(what).in_column(&member.name));
            }
            None => {
                let mut column = how::column(&member.name, &member.shape)?;
                column.nullable = true;
                columns.push(column);
                changed = true;
            }
        }
    }
    if changed {
        let next = TableSchema::new(schema.table().clone(), columns, schema.key().to_vec());
        let next = next.map_err(|_| Fault::of("the new columns make no schema"))?;
        let next = next.with_doc(schema.doc().map(str::to_owned)).with_left_out(schema.left_out().to_vec());
        return Ok(Bound::Changed(next));
    }
    fields(table, members, modes, dialect).map(Bound::Fits)
}

/// The plan for a part of a table's columns: of its key, to which a router may have added what is no column.
pub(crate) fn fields(table: &Table, members: &[Member], modes: &Modes, dialect: &Dialect) -> Result<Plan, Fault> {
    let schema = &table.schema;
    let column = |name: &str| schema.columns().iter().position(|c| c.name() == name);
    let fields = members.iter().map(|member| match column(&member.name) {
        Some(column) => planned(schema, column, &member.shape, modes, dialect),
        None => Ok(Planned::left_out(&member.name)),
    });
    Ok(Plan::new(fields.collect::<Result<_, _>>()?))
}

/// The plan for images that do not tell their fields: by the table's source types and the declared modes.
pub(crate) fn by_source_types(table: &Table, modes: &Modes, dialect: &Dialect) -> Result<Plan, Fault> {
    let schema = &table.schema;
    let fields = schema.columns().iter().enumerate().map(|(i, column)| {
        let shape = match how::carried(&column.source_type) {
            Some(shape) => shape,
            None => (dialect.shape)(&column.source_type, column.data_type(), modes)
                .map_err(|what| Fault::of(what).in_column(column.name()).with("type", &column.source_type))?,
        };
        planned(schema, i, &shape, modes, dialect)
    });
    let left_out = table.left_out.iter().map(|name| Ok(Planned::left_out(name)));
    Ok(Plan::new(fields.chain(left_out).collect::<Result<_, _>>()?))
}

/// The schema of a table that is not there yet.
pub(crate) fn new_table(
    table: connector_api::TableId,
    members: &[Member],
    key: &[String],
) -> Result<TableSchema, connector_api::Error> {
    let columns = members.iter().map(|m| {
        let mut column = how::column(&m.name, &m.shape)?;
        column.nullable &= !key.contains(&m.name);
        Ok(column)
    });
    let columns: Vec<Column> =
        columns.collect::<Result<_, Fault>>().map_err(|f| f.into_error().with("table", &table))?;
    // A key column that does not exist is the schema's to refuse.
    let place = |name: &String| columns.iter().position(|c| c.name() == name).unwrap_or(columns.len());
    let key = key.iter().map(place).collect();
    TableSchema::new(table, columns, key)
}

fn planned(
    schema: &TableSchema,
    column: usize,
    shape: &Shape,
    modes: &Modes,
    dialect: &Dialect,
) -> Result<Planned, Fault> {
    let of = &schema.columns()[column];
    let how = how::choose(of, shape, modes, dialect)?;
    let unavailable = match (&how, of.data_type()) {
        (How::List(element), DataType::List(field)) => {
            unavailable_list(element, field.data_type(), modes, dialect).map(Box::new)
        }
        _ => None,
    };
    let null_hides = (dialect.null_hides)(&of.source_type, of.data_type(), &how);
    Ok(Planned {
        name: of.name().to_owned(),
        quoted: quoted(of.name()),
        column: Some(column),
        how,
        null_hides,
        step: None,
        unavailable,
    })
}

/// What Debezium sends for a list that the log did not carry, where it is not one text: a number for each
/// byte of the placeholder, or the uuid that is named by it.
fn unavailable_list(how: &How, element: &DataType, modes: &Modes, dialect: &Dialect) -> Option<Cells> {
    let rules = Rules { dialect, infinite_is_null: false };
    let mut cells = Cells::new(element).ok()?;
    if *how == How::Uuid {
        let mut hash: [u8; 16] = Md5::digest(modes.placeholder.as_bytes()).into();
        (hash[6], hash[8]) = (hash[6] & 0x0f | 0x30, hash[8] & 0x3f | 0x80);
        let hex: String = hash.iter().map(|b| format!("{b:02x}")).collect();
        let text = format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
        return cells.append(how, Value::Text(&text), rules).ok().map(|_| cells);
    }
    for byte in modes.placeholder.bytes() {
        let value = match how {
            How::Int | How::Days | How::Time(_) | How::Timestamp(_) => Value::Int(byte.cast_signed().into()),
            How::Float if *element == DataType::Float32 => Value::Float(f32::from(byte.cast_signed())),
            How::Float => Value::Double(f64::from(byte.cast_signed())),
            How::Bool => Value::Bool(byte != 0),
            How::Decimal(_) => Value::Bytes(std::slice::from_ref(&byte)),
            _ => return None,
        };
        cells.append(how, value, rules).ok()?;
    }
    Some(cells)
}

/// The column with a wider type, where the field's needs one; Iceberg's own promotions and no others.
fn wider(column: &Column, shape: &Shape, dialect: &Dialect) -> Result<Option<Column>, Fault> {
    let unnamed = shape.name.is_empty();
    let data_type = match (column.data_type(), &shape.kind) {
        (DataType::Int32, Kind::Int(64)) if unnamed => DataType::Int64,
        (DataType::Float32, Kind::Float64) if unnamed => DataType::Float64,
        (DataType::Decimal128(digits, scale), Kind::Bytes) if shape.name == how::DECIMAL => {
            if shape.precision.is_none() {
                return Ok(None);
            }
            match how::column(column.name(), shape)?.data_type() {
                // Zeros may be appended to a smaller scale within the digits there are.
                DataType::Decimal128(more, same) if same == scale && more > digits => {
                    DataType::Decimal128(*more, *scale)
                }
                DataType::Decimal128(_, same) if same == scale => return Ok(None),
                _ => return Err(Fault::of("the number of decimal places changed").in_column(column.name())),
            }
        }
        _ => return Ok(None),
    };
    let source_type = match how::carried(&column.source_type) {
        Some(_) => how::written(shape),
        None => (dialect.widened)(&data_type),
    };
    let wider = Column::new(column.name(), data_type, column.nullable, source_type);
    Ok(Some(wider.with_doc(column.doc.clone())))
}
