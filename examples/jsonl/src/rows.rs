//! Lines into columns. Pure: text in, Arrow out. A value has a place or the row is refused; nothing is rounded,
//! guessed or left out.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::builder::{ArrayBuilder, BooleanBuilder, Float64Builder, Int64Builder, StringBuilder};
use connector_api::{Error, Result, TableSchema};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Rows that become a batch.
pub(crate) struct Rows {
    schema: Arc<TableSchema>,
    places: HashMap<String, usize>,
    builders: Vec<Builder>,
    rows: usize,
}

enum Builder {
    Boolean(BooleanBuilder),
    Long(Int64Builder),
    Double(Float64Builder),
    String(StringBuilder),
    /// Any value, by its text in the file.
    Json(StringBuilder),
}

impl Rows {
    pub(crate) fn new(schema: &Arc<TableSchema>) -> Self {
        let builder = |source_type: &str| match source_type {
            "boolean" => Builder::Boolean(BooleanBuilder::new()),
            "long" => Builder::Long(Int64Builder::new()),
            "double" => Builder::Double(Float64Builder::new()),
            "json" => Builder::Json(StringBuilder::new()),
            _ => Builder::String(StringBuilder::new()),
        };
        let columns = schema.columns();
        Self {
            schema: Arc::clone(schema),
            places: columns.iter().enumerate().map(|(i, c)| (c.name().to_owned(), i)).collect(),
            builders: columns.iter().map(|c| builder(&c.source_type)).collect(),
            rows: 0,
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.rows
    }

    /// Adds the row of a line. After an error the rows are of no use any more.
    ///
    /// # Errors
    /// `Data`, with the column where one is to blame.
    pub(crate) fn add(&mut self, line: &str) -> Result<()> {
        let Fields(fields) = serde_json::from_str(line)
            .map_err(|error| Error::data("the line is not a JSON object").caused_by(error))?;
        let mut values: Vec<Option<&RawValue>> = vec![None; self.builders.len()];
        for (name, value) in fields {
            let Some(&place) = self.places.get(&name) else {
                return Err(Error::data("the row has a field that is not declared").with("column", name));
            };
            if values[place].replace(value).is_some() {
                return Err(Error::data("the row has a field twice").with("column", name));
            }
        }
        for ((builder, column), value) in self.builders.iter_mut().zip(self.schema.columns()).zip(values) {
            let text = value.map(RawValue::get).filter(|text| *text != "null");
            let added = match text {
                None if !column.nullable => Err("is missing or null, and the column is not null".to_owned()),
                text => builder.add(text),
            };
            added.map_err(|why| Error::data(format!("the value {why}")).with("column", column.name()))?;
        }
        self.rows += 1;
        Ok(())
    }

    /// The batch of what was added.
    pub(crate) fn finish(mut self) -> Result<RecordBatch> {
        let columns = self.builders.iter_mut().map(|builder| builder.any().finish()).collect();
        RecordBatch::try_new(Arc::clone(self.schema.arrow()), columns)
            .map_err(|error| Error::fatal("building a batch").caused_by(error))
    }
}

impl Builder {
    fn any(&mut self) -> &mut dyn ArrayBuilder {
        match self {
            Self::Boolean(builder) => builder,
            Self::Long(builder) => builder,
            Self::Double(builder) => builder,
            Self::String(builder) | Self::Json(builder) => builder,
        }
    }

    /// Adds a value by its JSON text; `None` is NULL.
    fn add(&mut self, text: Option<&str>) -> Result<(), String> {
        let not = |what: &str| format!("is not {what}");
        match self {
            Self::Boolean(builder) => match text {
                None => builder.append_null(),
                Some("true") => builder.append_value(true),
                Some("false") => builder.append_value(false),
                Some(_) => return Err(not("true or false")),
            },
            Self::Long(builder) => match text.map(str::parse) {
                None => builder.append_null(),
                Some(Ok(number)) => builder.append_value(number),
                Some(Err(_)) => return Err(not("a whole number of 64 bits")),
            },
            Self::Double(builder) => match text.map(str::parse::<f64>) {
                None => builder.append_null(),
                Some(Ok(number)) if number.is_finite() => builder.append_value(number),
                Some(_) => return Err(not("a number that a double can hold")),
            },
            Self::String(builder) => match text.map(serde_json::from_str::<String>) {
                None => builder.append_null(),
                Some(Ok(string)) => builder.append_value(string),
                Some(Err(_)) => return Err(not("a string")),
            },
            Self::Json(builder) => builder.append_option(text),
        }
        Ok(())
    }
}

/// The fields of an object in their order, duplicates included.
struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(Collect)
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::cast::AsArray;
    use arrow_array::types::Int64Type;
    use arrow_schema::DataType;
    use connector_api::{Column, TableId};
    use proptest::prelude::*;

    use super::*;

    fn schema() -> Arc<TableSchema> {
        let column = |name, data_type, source_type: &str| Column::new(name, data_type, name != "n", source_type);
        let columns = vec![
            column("n", DataType::Int64, "long"),
            column("b", DataType::Boolean, "boolean"),
            column("d", DataType::Float64, "double"),
            column("s", DataType::Utf8, "string"),
            column("j", DataType::Utf8, "json"),
        ];
        Arc::new(TableSchema::new(TableId::new("files", "t"), columns, vec![]).unwrap())
    }

    fn check(line: &str, shown: &str) {
        let mut rows = Rows::new(&schema());
        let result = match rows.add(line) {
            Err(error) => error.to_string(),
            Ok(()) => {
                let batch = rows.finish().unwrap();
                let text = |i: usize| batch.column(i).as_string::<i32>().iter().next().unwrap().map(str::to_owned);
                let (n, b) = (batch.column(0).as_primitive::<Int64Type>(), batch.column(1).as_boolean());
                format!("{:?} {:?} {:?} {:?}", n.value(0), b.iter().next().unwrap(), text(3), text(4))
            }
        };
        assert_eq!(result, shown, "{line}");
    }

    #[test]
    fn every_value_has_its_place() {
        check(
            r#"{"n":-9223372036854775808,"b":true,"s":"\u00e4\n"}"#,
            r#"-9223372036854775808 Some(true) Some("ä\n") None"#,
        );
        check(r#" {"j": {"x": [1.50, 1e400]}, "s": null, "n": 7} "#, r#"7 None None Some("{\"x\": [1.50, 1e400]}")"#);
    }

    #[test]
    fn what_has_no_place_is_refused() {
        check("", "the line is not a JSON object");
        check("[]", "the line is not a JSON object");
        check(r#"{"n":1} x"#, "the line is not a JSON object");
        check(r#"{"n":1,"N":2}"#, "the row has a field that is not declared [column=N]");
        check(r#"{"n":1,"s":"a","s":"b"}"#, "the row has a field twice [column=s]");
        check("{}", "the value is missing or null, and the column is not null [column=n]");
        check(r#"{"n":null}"#, "the value is missing or null, and the column is not null [column=n]");
        for wrong in ["9223372036854775808", "1.0", "1e3", "\"1\"", "true"] {
            check(&format!("{{\"n\":{wrong}}}"), "the value is not a whole number of 64 bits [column=n]");
        }
        check(r#"{"n":1,"b":1}"#, "the value is not true or false [column=b]");
        check(r#"{"n":1,"d":1e999}"#, "the value is not a number that a double can hold [column=d]");
        check(r#"{"n":1,"d":"NaN"}"#, "the value is not a number that a double can hold [column=d]");
        check(r#"{"n":1,"s":5}"#, "the value is not a string [column=s]");
    }

    proptest! {
        #[test]
        fn any_line(line in "([{}\\[\\]:,\"0-9eE.-]|n|null|true|\\PC){0,40}") {
            let _ = Rows::new(&schema()).add(&line);
        }

        #[test]
        fn any_string_arrives(text in "\\PC{0,20}") {
            let mut rows = Rows::new(&schema());
            rows.add(&format!("{{\"n\": 1, \"s\": {}}}", serde_json::to_string(&text).unwrap())).unwrap();
            let batch = rows.finish().unwrap();
            prop_assert_eq!(batch.column(3).as_string::<i32>().value(0), text);
        }
    }
}
