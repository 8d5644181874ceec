//! How a table is partitioned: the Iceberg sink's notation, and what it comes to on a table's columns. Pure.
//!
//! What must hold: a column that the table does not have, or a transform that its type does not take, is
//! refused by name; nothing is left out.

use connector_api::{Error, Result};
use iceberg::spec::{PartitionSpec, PrimitiveType, Schema, Transform, Type, UnboundPartitionField};

/// A partition spec as it is configured: `day(at), bucket(id, 16), country`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PartitionBy(Vec<(String, Transform)>);

impl PartitionBy {
    /// Parses the notation. An empty text partitions by nothing.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut fields = Vec::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            // A comma within parentheses belongs to a transform's arguments.
            let open = rest.find('(').unwrap_or(rest.len());
            let end = match rest.find(',') {
                Some(comma) if comma > open => rest
                    .find(')')
                    .map_or(rest.len(), |close| rest[close..].find(',').map_or(rest.len(), |comma| close + comma)),
                Some(comma) => comma,
                None => rest.len(),
            };
            fields.push(field(rest[..end].trim())?);
            let more = rest[end..].strip_prefix(',');
            rest = more.unwrap_or_default().trim();
            if more.is_some() && rest.is_empty() {
                return Err("ends with a comma".into());
            }
        }
        Ok(Self(fields))
    }

    /// The spec on a table's columns; its fields are named as Iceberg names them.
    ///
    /// # Errors
    /// `Data`, naming the column.
    pub(crate) fn bind(&self, schema: &Schema) -> Result<PartitionSpec> {
        let mut builder = PartitionSpec::builder(schema.clone());
        for (column, transform) in &self.0 {
            let refuse = |message: &str| {
                Err(Error::data(message.to_owned()).with("column", column).with("transform", transform))
            };
            let Some(source) = schema.as_struct().field_by_name(column) else {
                return refuse("the table is to be partitioned by a column that it does not have");
            };
            match (transform, source.field_type.as_ref()) {
                // Readers may put the partition's value in the place of the column's, and -0 is not 0.
                (Transform::Identity, Type::Primitive(PrimitiveType::Float | PrimitiveType::Double)) => {
                    return refuse("a table cannot be partitioned by a floating-point column");
                }
                // `iceberg` 0.10 cannot write such a value into a manifest.
                (Transform::Identity, Type::Primitive(PrimitiveType::Uuid)) => {
                    return refuse("a table cannot be partitioned by a uuid as it is: use bucket");
                }
                (_, Type::Primitive(PrimitiveType::TimestampNs | PrimitiveType::TimestamptzNs)) => {
                    return refuse("a table cannot be partitioned by a column of nanoseconds");
                }
                (transform, kind) if transform.result_type(kind).is_err() => {
                    return refuse("the column's type does not have this partition transform")
                        .map_err(|e: Error| e.with("type", kind));
                }
                _ => {}
            }
            let field = UnboundPartitionField {
                source_id: source.id,
                field_id: None,
                name: format!("{column}{}", suffix(*transform)),
                transform: *transform,
            };
            builder = builder.add_unbound_field(field).map_err(|e| {
                Error::data("the table cannot be partitioned so")
                    .with("column", column)
                    .with("transform", transform)
                    .caused_by(e)
            })?;
        }
        builder.build().map_err(|e| Error::data("the table cannot be partitioned so").caused_by(e))
    }
}

fn field(text: &str) -> Result<(String, Transform), String> {
    let Some((name, arguments)) = text.split_once('(') else {
        if text.is_empty() || text.contains(')') {
            return Err(format!("\"{text}\" is neither a column nor a transform of one"));
        }
        return Ok((text.to_owned(), Transform::Identity));
    };
    let Some(arguments) = arguments.strip_suffix(')') else {
        return Err(format!("\"{text}\" lacks its closing parenthesis"));
    };
    let (column, width) = match arguments.rsplit_once(',') {
        Some((column, width)) => (column.trim(), Some(width.trim())),
        None => (arguments.trim(), None),
    };
    if column.is_empty() {
        return Err(format!("\"{text}\" names no column"));
    }
    let number = || {
        let number = width.and_then(|w| w.parse::<u32>().ok()).filter(|n| (1..=i32::MAX as u32).contains(n));
        number.ok_or_else(|| format!("\"{text}\" needs a column and a number from 1"))
    };
    let transform = match name.trim().to_ascii_lowercase().as_str() {
        "bucket" => Transform::Bucket(number()?),
        "truncate" => Transform::Truncate(number()?),
        _ if width.is_some() => return Err(format!("\"{text}\" takes a column alone")),
        "year" | "years" => Transform::Year,
        "month" | "months" => Transform::Month,
        "day" | "days" => Transform::Day,
        "hour" | "hours" => Transform::Hour,
        "identity" => Transform::Identity,
        other => {
            return Err(format!("\"{other}\" is not one of identity, bucket, truncate, year, month, day, hour"));
        }
    };
    Ok((column.to_owned(), transform))
}

/// What Iceberg appends to a column's name.
fn suffix(transform: Transform) -> &'static str {
    match transform {
        Transform::Bucket(_) => "_bucket",
        Transform::Truncate(_) => "_trunc",
        Transform::Year => "_year",
        Transform::Month => "_month",
        Transform::Day => "_day",
        Transform::Hour => "_hour",
        Transform::Identity | Transform::Void | Transform::Unknown => "",
    }
}

#[cfg(test)]
mod tests {
    use iceberg::spec::NestedField;

    use super::*;

    /// The spec as `source:name:transform …`, or what is wrong.
    fn check(text: &str) -> String {
        let columns = [
            ("id", PrimitiveType::Long),
            ("at", PrimitiveType::Timestamptz),
            ("day", PrimitiveType::Date),
            ("name", PrimitiveType::String),
            ("half", PrimitiveType::Double),
            ("uuid", PrimitiveType::Uuid),
            ("a b", PrimitiveType::Int),
            ("id_bucket", PrimitiveType::Int),
            ("fine", PrimitiveType::TimestamptzNs),
        ];
        let fields = columns
            .into_iter()
            .zip(1..)
            .map(|((name, kind), id)| NestedField::optional(id, name, Type::Primitive(kind)).into());
        let schema = Schema::builder().with_fields(fields).build().unwrap();
        let by = match PartitionBy::parse(text) {
            Ok(by) => by,
            Err(message) => return message,
        };
        match by.bind(&schema) {
            Ok(spec) => {
                let fields = spec.fields().iter();
                fields.map(|f| format!("{}:{}:{}", f.source_id, f.name, f.transform)).collect::<Vec<_>>().join(" ")
            }
            Err(e) => e.to_string(),
        }
    }

    #[test]
    fn the_iceberg_sinks_notation_is_taken() {
        assert_eq!(check(""), "");
        assert_eq!(check("name"), "4:name:identity");
        assert_eq!(
            check(" day(at) ,bucket(name, 16),truncate( id ,10), a b"),
            "2:at_day:day 4:name_bucket:bucket[16] 1:id_trunc:truncate[10] 7:a b:identity"
        );
        assert_eq!(check("HOURS(at)"), "2:at_hour:hour");
        assert_eq!(check("years(day), identity(id)"), "3:day_year:year 1:id:identity");
    }

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
        let has = |text: &str, part: &str| assert!(check(text).contains(part), "{text}: {}", check(text));
        has("nope", "does not have [column=nope, transform=identity]");
        has("hour(day)", "does not have this partition transform [column=day, transform=hour, type=date]");
        has("bucket(half, 4)", "[column=half, transform=bucket[4], type=double]");
        has("uuid", "use bucket [column=uuid");
        has("half", "floating-point column [column=half");
        has("day(fine)", "by a column of nanoseconds [column=fine, transform=day]");
        has("bucket(id, 4)", "cannot be partitioned so [column=id");
        has("day(at), hour(at)", "cannot be partitioned so [column=at");
        has("id,", "ends with a comma");
        has(",id", "neither a column nor");
        has("bucket(id)", "a number from 1");
        has("bucket(id, 0)", "a number from 1");
        has("day(at, 3)", "takes a column alone");
        has("day()", "names no column");
        has("day(at", "closing parenthesis");
        has("week(at)", "\"week\" is not one of");
    }
}
