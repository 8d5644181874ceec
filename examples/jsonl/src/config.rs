//! The connector's keys. Pure: checked without looking at the directory.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_schema::DataType;
use connector_api::config::{ConfigDef, Kind, Problem, Values};
use connector_api::{Column, ConnectorConfig, TableId, TableSchema};

pub(crate) struct Config {
    /// Where the files are.
    pub(crate) directory: PathBuf,
    /// The tables' columns, by name of the table.
    pub(crate) tables: BTreeMap<String, Arc<TableSchema>>,
    /// Most rows of a batch.
    pub(crate) batch_rows: usize,
    /// The longest line that is taken, bytes.
    pub(crate) longest_line: usize,
    /// The schema part of the tables' names.
    pub(crate) schema_name: String,
}

impl ConnectorConfig for Config {
    fn definition() -> ConfigDef {
        ConfigDef::default()
            .required("directory", Kind::Text, "Folder of the files: NAME.jsonl, or folders NAME with such files")
            .optional("table.*.columns", Kind::Text, "Columns of a table: name, type and perhaps \"not null\", separated by commas; types are boolean, long, double, string and json")
            .defaulted("schema.name", Kind::Text, "files", "The schema that the tables are in, for their names")
            .defaulted("batch.size", Kind::Int(1, 1 << 20), "8192", "Most rows of a batch")
            .defaulted("line.max.bytes", Kind::Bytes, "16MiB", "The longest line that is taken")
    }

    fn from_values(values: &Values) -> Result<Self, Vec<Problem>> {
        let schema_name = values.text("schema.name").to_owned();
        let (mut tables, mut problems) = (BTreeMap::new(), Vec::new());
        for (table, columns) in values.family("table.*.columns") {
            match declared(TableId::new(schema_name.as_str(), table), columns.expose()) {
                Ok(schema) => drop(tables.insert(table.to_owned(), Arc::new(schema))),
                Err(why) => problems.push(Problem::new(format!("table.{table}.columns"), why)),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let (batch_rows, longest_line) = (values.count("batch.size"), values.count("line.max.bytes"));
        Ok(Self { directory: values.text("directory").into(), tables, batch_rows, longest_line, schema_name })
    }
}

/// A table's schema from its declaration: `id long not null, name string`.
fn declared(table: TableId, text: &str) -> Result<TableSchema, String> {
    let column = |part: &str| {
        let words: Vec<_> = part.split_whitespace().collect();
        let (name, kind, nullable) = match words[..] {
            [name, kind] => (name, kind, true),
            [name, kind, "not", "null"] => (name, kind, false),
            _ => return Err(format!("\"{}\" is not of the form: name type [not null]", part.trim())),
        };
        let data_type = match kind {
            "boolean" => DataType::Boolean,
            "long" => DataType::Int64,
            "double" => DataType::Float64,
            "string" | "json" => DataType::Utf8,
            _ => return Err(format!("\"{kind}\" is not a type: boolean, long, double, string or json")),
        };
        Ok(Column::new(name, data_type, nullable, kind))
    };
    let columns = text.split(',').map(column).collect::<Result<Vec<_>, _>>()?;
    TableSchema::new(table, columns, Vec::new()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    fn check(columns: &str) -> String {
        let keys = [("directory", "x"), ("table.t.columns", columns)];
        match (crate::PLUGIN.build)(&keys.map(|(k, v)| (k.to_owned(), v.to_owned())).into()) {
            Ok(_) => "ok".to_owned(),
            Err(problems) => problems.iter().map(|p| format!("{}: {}", p.key, p.message)).collect(),
        }
    }

    #[test]
    fn columns_are_declared() {
        assert_eq!(check("id long not null, name string,data  json , b boolean, d double"), "ok");
        assert_eq!(check("id"), "table.t.columns: \"id\" is not of the form: name type [not null]");
        assert_eq!(check("id long,"), "table.t.columns: \"\" is not of the form: name type [not null]");
        assert_eq!(check("id int"), "table.t.columns: \"int\" is not a type: boolean, long, double, string or json");
        assert_eq!(check("a long, a long"), "table.t.columns: two columns share a name [table=files.t, column=a]");
    }
}
