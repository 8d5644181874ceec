//! From a source table's schema to an Iceberg schema, and what changed between two. Pure.
//!
//! What must hold: types are mapped without loss or the table is refused with the column named; a field
//! id never changes its meaning (name and type) within a table.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::extension::Uuid as UuidExtension;
use arrow_schema::{DataType, Field, Schema as ArrowSchema, SchemaRef as ArrowSchemaRef, TimeUnit};
use connector_api::{Column, Error, Result, TableSchema, UTC};
use iceberg::spec::{NestedField, PrimitiveType, Schema, Type};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;

/// The Iceberg schema of a table. `base` is the schema that the table has now and the highest field id it
/// ever used: a column keeps its id while its type stays, and ids are never used again.
///
/// # Errors
/// `Data`, naming the column, for a type that Iceberg does not have.
pub(crate) fn iceberg_schema(table: &TableSchema, base: Option<(&Schema, i32)>) -> Result<Schema> {
    let mut last_id = base.map_or(0, |(_, last)| last);
    let mut fields = Vec::with_capacity(table.columns().len());
    let mut ids = Vec::with_capacity(table.columns().len());
    for column in table.columns() {
        let of_column = |e: Error| e.with("table", table.table()).with("column", column.name());
        let kind = Type::Primitive(iceberg_type(column).map_err(of_column)?);
        let known = base.and_then(|(schema, _)| schema.as_struct().field_by_name(column.name()));
        let id = match known {
            Some(field) if *field.field_type == kind => field.id,
            _ => {
                last_id += 1;
                last_id
            }
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

fn iceberg_type(column: &Column) -> Result<PrimitiveType> {
    Ok(match column.data_type() {
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
        DataType::FixedSizeBinary(16) if column.is_uuid() => PrimitiveType::Uuid,
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
    })
}

/// The Arrow schema of data files: the columns as they are encoded, with their field ids and NOT NULL.
pub(crate) fn file_schema(table: &TableSchema, schema: &Schema) -> ArrowSchemaRef {
    let fields = table.columns().iter().zip(schema.as_struct().fields()).map(|(column, field)| {
        let id = HashMap::from([(PARQUET_FIELD_ID_META_KEY.to_owned(), field.id.to_string())]);
        let kind = match column.data_type() {
            DataType::Int16 => DataType::Int32,
            kind => kind.clone(),
        };
        let file = Field::new(column.name(), kind, column.nullable).with_metadata(id);
        if column.is_uuid() { file.with_extension_type(UuidExtension) } else { file }
    });
    Arc::new(ArrowSchema::new(fields.collect::<Vec<_>>()))
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
            Some(old) if old.field_type != new.field_type => found.push(change("type_changed", &new.name)),
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
    use connector_api::{TableId, instant};

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
