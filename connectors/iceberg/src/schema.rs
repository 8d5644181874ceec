//! From a source table's schema to an Iceberg schema, and what changed between two. Pure.
//!
//! What must hold: types are mapped without loss or the table is refused with the column named; a field
//! id never changes its meaning (name and type) within a table.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::extension::Uuid as UuidExtension;
use arrow_schema::{DataType, Field, Schema as ArrowSchema, SchemaRef as ArrowSchemaRef, TimeUnit};
use connector_api::{Column, Error, Result, TableId, TableSchema, UTC, is_uuid};
use iceberg::spec::{FormatVersion, ListType, NestedField, PrimitiveType, Schema, Type};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;

/// The Iceberg schema of a table. `base` is the schema that the table has now and the highest field id it
/// ever used: a column keeps its id while its type stays, and ids are never used again.
///
/// # Errors
/// `Data`, naming the column, for a type that Iceberg does not have.
pub(crate) fn iceberg_schema(table: &TableSchema, base: Option<(&Schema, i32)>) -> Result<Schema> {
    let mut last_id = base.map_or(0, |(_, last)| last);
    let mut next_id = || {
        last_id += 1;
        last_id
    };
    // All columns first, then what lies within them: the order in which a catalog numbers a new table.
    let mut columns = Vec::with_capacity(table.columns().len());
    for column in table.columns() {
        let of_column = |e: Error| e.with("table", table.table()).with("column", column.name());
        let kind = iceberg_type(column.field(), &mut || 0).map_err(of_column)?;
        let known = base.and_then(|(schema, _)| schema.as_struct().field_by_name(column.name()));
        columns.push(match known {
            Some(field) if unnumbered(&field.field_type) == kind => (field.id, Some((*field.field_type).clone())),
            _ => (next_id(), None),
        });
    }
    let mut fields = Vec::with_capacity(columns.len());
    let mut ids = Vec::with_capacity(columns.len());
    for (column, (id, kind)) in table.columns().iter().zip(columns) {
        let kind = match kind {
            Some(kind) => kind,
            None => iceberg_type(column.field(), &mut next_id)?,
        };
        ids.push((id, matches!(column.data_type(), DataType::Float32 | DataType::Float64)));
        let mut field = NestedField::new(id, column.name(), kind, !column.nullable);
        field.doc = column.doc.clone();
        fields.push(Arc::new(field));
    }
    // Iceberg has no floating-point identifier fields; the key then stands in a property only.
    let key: Vec<(i32, bool)> = table.key().iter().filter_map(|&k| ids.get(k).copied()).collect();
    let identifier: Vec<i32> =
        if key.iter().any(|(_, float)| *float) { vec![] } else { key.iter().map(|(id, _)| *id).collect() };
    Schema::builder()
        .with_fields(fields)
        .with_identifier_field_ids(identifier)
        .build()
        .map_err(|e| Error::data("the columns make no Iceberg schema").with("table", table.table()).caused_by(e))
}

/// The type of a field; `next_id` numbers what lies within it.
fn iceberg_type(field: &Field, next_id: &mut impl FnMut() -> i32) -> Result<Type> {
    Ok(Type::Primitive(match field.data_type() {
        DataType::List(element) => {
            let id = next_id();
            let kind = iceberg_type(element, next_id)?;
            let element = NestedField::list_element(id, kind, !element.is_nullable());
            return Ok(Type::List(ListType::new(Arc::new(element))));
        }
        DataType::Boolean => PrimitiveType::Boolean,
        DataType::Int16 | DataType::Int32 => PrimitiveType::Int,
        DataType::Int64 => PrimitiveType::Long,
        DataType::Float32 => PrimitiveType::Float,
        DataType::Float64 => PrimitiveType::Double,
        DataType::Utf8 => PrimitiveType::String,
        DataType::Binary => PrimitiveType::Binary,
        DataType::Date32 => PrimitiveType::Date,
        DataType::Time64(TimeUnit::Microsecond) => PrimitiveType::Time,
        DataType::Timestamp(TimeUnit::Microsecond, None) => PrimitiveType::Timestamp,
        DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) if zone.as_ref() == UTC => PrimitiveType::Timestamptz,
        DataType::Timestamp(TimeUnit::Nanosecond, None) => PrimitiveType::TimestampNs,
        DataType::Timestamp(TimeUnit::Nanosecond, Some(zone)) if zone.as_ref() == UTC => PrimitiveType::TimestamptzNs,
        DataType::FixedSizeBinary(16) if is_uuid(field) => PrimitiveType::Uuid,
        DataType::FixedSizeBinary(n) => match u64::try_from(*n) {
            Ok(n) => PrimitiveType::Fixed(n),
            Err(_) => return Err(Error::data("a fixed size is negative")),
        },
        DataType::Decimal128(precision, scale) => match u32::try_from(*scale) {
            Ok(scale) if *precision <= 38 && scale <= u32::from(*precision) => {
                PrimitiveType::Decimal { precision: u32::from(*precision), scale }
            }
            _ => {
                return Err(Error::data("Iceberg has no decimal of this precision and scale")
                    .with("precision", precision)
                    .with("scale", scale));
            }
        },
        other => return Err(Error::data("Iceberg has no type for this column").with("type", other)),
    }))
}

/// Whether a table of this format version may have these columns.
///
/// # Errors
/// `Data`, naming table and column, when a column's type is of a later version.
pub(crate) fn fits(table: &TableId, schema: &Schema, format: FormatVersion) -> Result<()> {
    let is_nanos =
        |kind: &Type| matches!(kind, Type::Primitive(PrimitiveType::TimestampNs | PrimitiveType::TimestamptzNs));
    match schema.as_struct().fields().iter().find(|field| is_nanos(&field.field_type)) {
        Some(field) if format < FormatVersion::V3 => {
            let remedy = "set iceberg.tables.auto-create-props.format-version=3 in the sink";
            let error = Error::data("a column of nanoseconds needs a table of format version 3").with("table", table);
            Err(error.with("column", &field.name).with("remedy", remedy))
        }
        _ => Ok(()),
    }
}

/// The Arrow type that values of a type have in memory: the opposite of what a source's type becomes, but that
/// small integers are wider by then.
///
/// # Errors
/// `Data` for a type that no source of ours makes.
pub(crate) fn arrow_type(kind: &Type) -> Result<DataType> {
    let none = || Err(Error::data("a column of a type that is never written here").with("type", kind));
    Ok(match kind {
        Type::List(list) => {
            let element = arrow_type(&list.element_field.field_type)?;
            let uuid = matches!(list.element_field.field_type.as_ref(), Type::Primitive(PrimitiveType::Uuid));
            let element = Field::new("element", element, true);
            DataType::List(Arc::new(if uuid { element.with_extension_type(UuidExtension) } else { element }))
        }
        Type::Primitive(primitive) => match primitive {
            PrimitiveType::Boolean => DataType::Boolean,
            PrimitiveType::Int => DataType::Int32,
            PrimitiveType::Long => DataType::Int64,
            PrimitiveType::Float => DataType::Float32,
            PrimitiveType::Double => DataType::Float64,
            PrimitiveType::String => DataType::Utf8,
            PrimitiveType::Binary => DataType::Binary,
            PrimitiveType::Date => DataType::Date32,
            PrimitiveType::Time => DataType::Time64(TimeUnit::Microsecond),
            PrimitiveType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            PrimitiveType::Timestamptz => DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into())),
            PrimitiveType::Uuid => DataType::FixedSizeBinary(16),
            PrimitiveType::Fixed(n) => match i32::try_from(*n) {
                Ok(n) => DataType::FixedSizeBinary(n),
                Err(_) => return none(),
            },
            PrimitiveType::Decimal { precision, scale } => match (u8::try_from(*precision), i8::try_from(*scale)) {
                (Ok(precision), Ok(scale)) => DataType::Decimal128(precision, scale),
                _ => return none(),
            },
            PrimitiveType::TimestampNs | PrimitiveType::TimestamptzNs => {
                return Err(Error::data("no log can be followed into a column of nanoseconds").with("type", kind));
            }
        },
        _ => return none(),
    })
}

/// A table as a source would describe it: the columns of an Iceberg schema with the types that they had at the
/// source, and its key.
///
/// # Errors
/// `Data`, naming the column, for a type that no source of ours makes or a key column that is not there.
pub(crate) fn table_schema(
    table: &TableId,
    schema: &Schema,
    source_type: impl Fn(&str) -> String,
    key: &[String],
) -> Result<TableSchema> {
    let columns = schema.as_struct().fields().iter().map(|field| {
        let of_column = |e: Error| e.with("table", table).with("column", &field.name);
        let (kind, nullable) = (arrow_type(&field.field_type).map_err(of_column)?, !field.required);
        let source = source_type(&field.name);
        let column = match field.field_type.as_ref() {
            Type::Primitive(PrimitiveType::Uuid) => Column::uuid(&field.name, nullable, source),
            _ => Column::new(&field.name, kind, nullable, source),
        };
        Ok(column.with_doc(field.doc.clone()))
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let key = key.iter().map(|name| {
        let missing = || Error::data("the table lacks a column of its key").with("table", table).with("column", name);
        columns.iter().position(|c| c.name() == name).ok_or_else(missing)
    });
    let key = key.collect::<Result<Vec<_>>>()?;
    TableSchema::new(table.clone(), columns, key)
}

/// What a table's schema becomes when changes come with these columns.
#[derive(Debug)]
pub(crate) enum Evolution {
    /// It stays.
    Same,
    /// It grows: columns are added, types widened. Old rows keep their meaning.
    Grown(Box<Schema>),
}

/// What a table's schema `now`, whose highest field id ever was `last_id`, becomes for changes of `wanted`. Columns
/// keep their places; new ones come last, and may be NULL.
///
/// # Errors
/// `Data`, naming the column, for a change that old rows do not survive.
pub(crate) fn evolve(now: &Schema, last_id: i32, wanted: &TableSchema) -> Result<Evolution> {
    let refuse = |column: &str, why: &str| {
        Error::data(format!("a change of the table that cannot be followed: {why}; load the table again (--no-resume)"))
            .with("table", wanted.table())
            .with("column", column)
    };
    let mut next = last_id;
    let mut next_id = || {
        next += 1;
        next
    };
    let mut grown = false;
    let mut fields = Vec::new();
    for field in now.as_struct().fields() {
        let Some(column) = wanted.columns().iter().find(|c| c.name() == field.name) else {
            return Err(refuse(&field.name, "the column was dropped or renamed"));
        };
        let kind = iceberg_type(column.field(), &mut || 0).map_err(|e| e.with("column", column.name()))?;
        let mut field = field.as_ref().clone();
        if unnumbered(&field.field_type) != kind {
            if !widens(&field.field_type, &kind) && !widens(&kind, &field.field_type) {
                let why = format!("its type became {kind}, which {} does not widen to", field.field_type);
                return Err(refuse(&field.name, &why));
            }
            if widens(&field.field_type, &kind) {
                *field.field_type = kind;
                grown = true;
            }
        }
        fields.push(Arc::new(field));
    }
    for column in wanted.columns().iter().filter(|c| now.as_struct().field_by_name(c.name()).is_none()) {
        if !column.nullable {
            return Err(refuse(column.name(), "the column was added as NOT NULL, so old rows have a value in it"));
        }
        let id = next_id();
        let kind = iceberg_type(column.field(), &mut next_id).map_err(|e| e.with("column", column.name()))?;
        let mut field = NestedField::optional(id, column.name(), kind);
        field.doc = column.doc.clone();
        fields.push(Arc::new(field));
        grown = true;
    }
    if !grown {
        return Ok(Evolution::Same);
    }
    let schema = Schema::builder().with_fields(fields).with_identifier_field_ids(now.identifier_field_ids()).build();
    let wrong = |e| Error::data("the columns make no Iceberg schema").with("table", wanted.table()).caused_by(e);
    schema.map(|grown| Evolution::Grown(Box::new(grown))).map_err(wrong)
}

/// Whether Iceberg lets a type become another without touching what is written.
fn widens(from: &Type, to: &Type) -> bool {
    let (Type::Primitive(from), Type::Primitive(to)) = (from, to) else { return false };
    match (from, to) {
        (PrimitiveType::Int, PrimitiveType::Long) | (PrimitiveType::Float, PrimitiveType::Double) => true,
        (PrimitiveType::Decimal { precision: a, scale: x }, PrimitiveType::Decimal { precision: b, scale: y }) => {
            x == y && a < b
        }
        _ => false,
    }
}

/// A type without the ids of what lies within it, for comparing.
fn unnumbered(kind: &Type) -> Type {
    match kind {
        Type::List(list) => {
            let element = &list.element_field;
            let element = NestedField::list_element(0, unnumbered(&element.field_type), element.required);
            Type::List(ListType::new(Arc::new(element)))
        }
        kind => kind.clone(),
    }
}

/// The Arrow schema of data files: the columns as they are encoded, with their field ids and NOT NULL.
pub(crate) fn file_schema(table: &TableSchema, schema: &Schema) -> ArrowSchemaRef {
    let fields = table
        .columns()
        .iter()
        .zip(schema.as_struct().fields())
        .map(|(column, field)| file_field(column.field(), field).with_nullable(column.nullable));
    Arc::new(ArrowSchema::new(fields.collect::<Vec<_>>()))
}

fn file_field(arrow: &Field, field: &NestedField) -> Field {
    let id = HashMap::from([(PARQUET_FIELD_ID_META_KEY.to_owned(), field.id.to_string())]);
    let kind = match (arrow.data_type(), field.field_type.as_ref()) {
        (DataType::Int16, _) => DataType::Int32,
        (DataType::List(element), Type::List(list)) => {
            DataType::List(Arc::new(file_field(element, &list.element_field)))
        }
        (kind, _) => kind.clone(),
    };
    let file = Field::new(arrow.name(), kind, arrow.is_nullable()).with_metadata(id);
    if is_uuid(arrow) { file.with_extension_type(UuidExtension) } else { file }
}

/// Whether two schemas have the same fields, ids and identifier fields; their own ids do not count.
pub(crate) fn same(a: &Schema, b: &Schema) -> bool {
    let ids = |s: &Schema| s.identifier_field_ids().collect::<std::collections::BTreeSet<_>>();
    a.as_struct() == b.as_struct() && ids(a) == ids(b)
}

/// One difference between two schemas, as `_schema_changes` records it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SchemaChange {
    /// `column_added`, `column_dropped`, `type_changed`, `nullability_changed` or `key_changed`.
    pub(crate) kind: &'static str,
    /// The column; none for `key_changed`.
    pub(crate) column: Option<String>,
}

/// What changed from one schema to the next: columns in the new order, then the dropped ones, then the key.
pub(crate) fn changes(before: &Schema, after: &Schema) -> Vec<SchemaChange> {
    let change = |kind, column: &str| SchemaChange { kind, column: Some(column.to_owned()) };
    let mut found = Vec::new();
    for new in after.as_struct().fields() {
        match before.as_struct().field_by_name(&new.name) {
            None => found.push(change("column_added", &new.name)),
            Some(old) if unnumbered(&old.field_type) != unnumbered(&new.field_type) => {
                found.push(change("type_changed", &new.name))
            }
            Some(old) if old.required != new.required => found.push(change("nullability_changed", &new.name)),
            Some(_) => {}
        }
    }
    for old in before.as_struct().fields() {
        if after.as_struct().field_by_name(&old.name).is_none() {
            found.push(change("column_dropped", &old.name));
        }
    }
    let key = |s: &Schema| {
        let mut names: Vec<String> =
            s.identifier_field_ids().filter_map(|id| s.name_by_field_id(id)).map(str::to_owned).collect();
        names.sort();
        names
    };
    if key(before) != key(after) {
        found.push(SchemaChange { kind: "key_changed", column: None });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use connector_api::instant;
    use iceberg::spec::{FormatVersion, PartitionSpec, SortOrder, TableMetadataBuilder};

    fn table(columns: Vec<Column>, key: &[usize]) -> TableSchema {
        TableSchema::new(TableId::new("public", "t"), columns, key.to_vec()).unwrap()
    }

    fn show(s: &Schema) -> String {
        let key: Vec<String> = s.identifier_field_ids().map(|id| id.to_string()).collect();
        let fields = s.as_struct().fields().iter();
        let fields: Vec<String> = fields
            .map(|f| format!("{}:{}{}:{}", f.id, f.name, if f.required { "!" } else { "" }, f.field_type))
            .collect();
        format!("{} key({})", fields.join(" "), key.join(","))
    }

    fn check(kind: DataType) -> String {
        match iceberg_schema(&table(vec![Column::new("c", kind, true, "x")], &[]), None) {
            Ok(s) => s.as_struct().fields()[0].field_type.to_string(),
            Err(e) => e.to_string(),
        }
    }

    #[test]
    fn types_are_mapped_or_refused_by_name() {
        assert_eq!(check(DataType::Boolean), "boolean");
        assert_eq!(check(DataType::Int16), "int");
        assert_eq!(check(DataType::Int32), "int");
        assert_eq!(check(DataType::Int64), "long");
        assert_eq!(check(DataType::Float32), "float");
        assert_eq!(check(DataType::Float64), "double");
        assert_eq!(check(DataType::Utf8), "string");
        assert_eq!(check(DataType::Binary), "binary");
        assert_eq!(check(DataType::Date32), "date");
        assert_eq!(check(DataType::Time64(TimeUnit::Microsecond)), "time");
        assert_eq!(check(DataType::Timestamp(TimeUnit::Microsecond, None)), "timestamp");
        assert_eq!(check(instant()), "timestamptz");
        assert_eq!(check(DataType::Timestamp(TimeUnit::Nanosecond, None)), "timestamp_ns");
        assert_eq!(check(DataType::Timestamp(TimeUnit::Nanosecond, Some(UTC.into()))), "timestamptz_ns");
        assert_eq!(check(DataType::FixedSizeBinary(16)), "fixed(16)");
        assert_eq!(check(DataType::Decimal128(12, 2)), "decimal(12, 2)");
        assert_eq!(
            check(DataType::Decimal128(10, -2)),
            "Iceberg has no decimal of this precision and scale [precision=10, scale=-2, table=public.t, column=c]"
        );
        assert_eq!(
            check(DataType::UInt64),
            "Iceberg has no type for this column [type=UInt64, table=public.t, column=c]"
        );
        let uuid = iceberg_schema(&table(vec![Column::uuid("u", false, "uuid")], &[0]), None).unwrap();
        assert_eq!(show(&uuid), "1:u!:uuid key(1)");
    }

    #[test]
    fn a_column_keeps_its_id_while_its_type_stays() {
        let int = |n, nullable| Column::new(n, DataType::Int32, nullable, "int4");
        let text = |n| Column::new(n, DataType::Utf8, true, "text");
        let first = iceberg_schema(&table(vec![int("id", false), int("a", true), text("b")], &[0]), None).unwrap();
        assert_eq!(show(&first), "1:id!:int 2:a:int 3:b:string key(1)");
        // "b" was once 3, dropped, and 4 used since: ids go on from 4.
        let second = table(vec![text("a"), int("id", true), text("b"), int("n", false)], &[3]);
        let second = iceberg_schema(&second, Some((&first, 4))).unwrap();
        assert_eq!(show(&second), "5:a:string 1:id:int 3:b:string 6:n!:int key(6)");
        let found: Vec<String> = changes(&first, &second)
            .into_iter()
            .map(|c| format!("{} {}", c.kind, c.column.unwrap_or_default()))
            .collect();
        assert_eq!(found, ["type_changed a", "nullability_changed id", "column_added n", "key_changed "]);
        let third = iceberg_schema(&table(vec![int("id", false)], &[]), Some((&first, 3))).unwrap();
        assert_eq!(changes(&first, &third).iter().filter(|c| c.kind == "column_dropped").count(), 2);
        assert!(changes(&first, &first).is_empty());
        assert!(same(&first, &first) && !same(&first, &third));
    }

    #[test]
    fn no_log_is_followed_into_nanoseconds() {
        let fine = |zone: Option<&str>| DataType::Timestamp(TimeUnit::Nanosecond, zone.map(Into::into));
        for zone in [None, Some(UTC)] {
            let columns =
                vec![Column::new("id", DataType::Int32, false, "int4"), Column::new("at", fine(zone), true, "t")];
            let schema = iceberg_schema(&table(columns, &[0]), None).unwrap();
            let refused = table_schema(&TableId::new("public", "t"), &schema, |_| String::new(), &["id".to_owned()]);
            let refused = refused.unwrap_err().to_string();
            assert!(refused.starts_with("no log can be followed into a column of nanoseconds"), "{refused}");
            assert!(refused.contains("table=public.t, column=at"), "{refused}");
        }
    }

    #[test]
    fn what_lies_within_lists_has_ids_of_its_own() {
        let list =
            |name, kind, depth| (0..depth).fold(Column::new(name, kind, true, "x[]"), |column, _| column.into_list());
        let int = Column::new("n", DataType::Int64, false, "int8");
        let columns = |kind| vec![list("a", kind, 2), int.clone(), Column::uuid("u", true, "uuid[]").into_list()];
        let source = table(columns(DataType::Int32), &[1]);
        let first = iceberg_schema(&source, None).unwrap();
        assert_eq!(show(&first), "1:a:list 2:n!:long 3:u:list key(2)");
        let ids = |s: &Schema| {
            ["a", "a.element", "a.element.element", "n", "u", "u.element"].map(|n| s.field_id_by_name(n).unwrap())
        };
        assert_eq!(ids(&first), [1, 4, 5, 2, 3, 6]);
        // A catalog that numbers a new table by itself comes to the same ids: those in the files.
        let created = TableMetadataBuilder::new(
            first.clone(),
            PartitionSpec::unpartition_spec(),
            SortOrder::unsorted_order(),
            "memory://t".into(),
            FormatVersion::V2,
            HashMap::new(),
        );
        let created = created.unwrap().build().unwrap().metadata;
        assert_eq!(created.current_schema().as_struct(), first.as_struct());

        let arrow = file_schema(&source, &first);
        let DataType::List(element) = arrow.field(2).data_type() else { panic!("{arrow}") };
        assert!(is_uuid(element) && element.is_nullable());
        assert_eq!(element.metadata()[PARQUET_FIELD_ID_META_KEY], "6");

        // The same list keeps all of its ids; another one has none of them.
        let again = iceberg_schema(&source, Some((&first, 6))).unwrap();
        assert!(same(&first, &again) && changes(&first, &again).is_empty());
        let other = iceberg_schema(&table(columns(DataType::Utf8), &[1]), Some((&first, 6))).unwrap();
        assert_eq!(ids(&other), [7, 8, 9, 2, 3, 6]);
        assert_eq!(changes(&first, &other).len(), 1);
    }

    #[test]
    fn a_floating_point_key_makes_no_identifier() {
        let columns = vec![Column::new("f", DataType::Float64, false, "float8"), Column::uuid("u", false, "uuid")];
        let s = table(columns, &[0, 1]);
        let schema = iceberg_schema(&s, None).unwrap();
        assert_eq!(schema.identifier_field_ids().count(), 0);
        let arrow = file_schema(&s, &schema);
        assert_eq!(arrow.field(1).extension_type_name(), Some("arrow.uuid"));
        assert_eq!(arrow.field(1).metadata()[PARQUET_FIELD_ID_META_KEY], "2");
        assert!(!arrow.field(0).is_nullable());
    }
}
