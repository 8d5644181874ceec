//! The keys that say what a table looks like when it is made or replaced: format version, partition specs
//! and properties, under the Iceberg sink's names. Touches nothing.

use std::collections::BTreeMap;

use connector_api::TableId;
use connector_api::config::{ConfigDef, Kind, Problem, Values};
use iceberg::TableIdent;
use iceberg::spec::FormatVersion;

use crate::partition::PartitionBy;

const PROPERTIES: &str = "iceberg.tables.auto-create-props.*";
const DEFAULT_PARTITION: &str = "iceberg.tables.default-partition-by";
const PARTITION: &str = "iceberg.table.*.partition-by";
pub(crate) const ID_COLUMNS: &str = "iceberg.table.*.id-columns";
const FORMAT_VERSION: &str = "format-version";

/// Compression of Parquet pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Codec {
    Zstd(i32),
    Gzip(u32),
    Snappy,
    Lz4,
    Uncompressed,
}

impl Codec {
    /// The name in `write.parquet.compression-codec`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Codec::Zstd(_) => "zstd",
            Codec::Gzip(_) => "gzip",
            Codec::Snappy => "snappy",
            Codec::Lz4 => "lz4",
            Codec::Uncompressed => "uncompressed",
        }
    }

    /// The level, where the codec has one.
    pub(crate) fn level(self) -> Option<i64> {
        match self {
            Codec::Zstd(n) => Some(n.into()),
            Codec::Gzip(n) => Some(n.into()),
            _ => None,
        }
    }
}

/// How data files are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Files {
    /// Page compression.
    pub(crate) codec: Codec,
    /// A file is closed once it holds so many bytes.
    pub(crate) target: usize,
    /// A row group is closed once it holds so many encoded bytes, or earlier when memory is short.
    pub(crate) row_group: usize,
}

/// What tables look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tables {
    /// The least format version of a table; one that has a higher one keeps it.
    pub(crate) format: FormatVersion,
    /// Properties for every table.
    pub(crate) properties: BTreeMap<String, String>,
    /// How data files are written.
    pub(crate) files: Files,
    default_partition: PartitionBy,
    partitions: BTreeMap<String, PartitionBy>,
    id_columns: BTreeMap<String, Vec<String>>,
}

impl Tables {
    /// Adds the keys.
    pub(crate) fn define(definition: ConfigDef) -> ConfigDef {
        define_files(definition)
            .optional(
                PROPERTIES,
                Kind::Text,
                "A property of every table that is made or replaced; format-version is 2 (unless given) or 3, and the \
                 write.* keys above may stand here as well",
            )
            .optional(
                DEFAULT_PARTITION,
                Kind::Text,
                "Partition spec of the tables without one of their own: columns and transforms separated by commas, \
                 e.g. day(created_at), bucket(id, 16), country",
            )
            .optional(
                PARTITION,
                Kind::Text,
                "Partition spec of one table, which is named as in the source (schema.table) or as in Iceberg; empty: \
                 none",
            )
            .optional(
                ID_COLUMNS,
                Kind::Text,
                "Columns, separated by commas, that identify a row of one table (named as above) where its key at the \
                 source does not, or it has none; they must be NOT NULL and, after each changed row, unique there (a \
                 unique index that is not deferrable). To follow the table, its events' keys must hold them \
                 (Debezium's message.key.columns) or its whole rows be logged (REPLICA IDENTITY FULL)",
            )
    }

    /// Reads the keys; what is wrong is added to the problems.
    pub(crate) fn from_values(values: &Values, problems: &mut Vec<Problem>) -> Self {
        let mut properties: BTreeMap<String, String> =
            values.family(PROPERTIES).map(|(name, value)| (name.to_owned(), value.expose().to_owned())).collect();
        let of_property = |name: &str| PROPERTIES.replace('*', name);
        let format = match properties.remove(FORMAT_VERSION).as_deref() {
            None | Some("2") => FormatVersion::V2,
            Some("3") => FormatVersion::V3,
            Some(_) => {
                problems.push(Problem::new(of_property(FORMAT_VERSION), "is neither 2 nor 3"));
                FormatVersion::V2
            }
        };
        if let Some(name) = properties.keys().find(|name| name.starts_with("connect-runtime.")) {
            problems.push(Problem::new(of_property(name), "is one of our own, which say what the table holds"));
        }
        // A property that is also a key of the connector stands for it.
        let definition = define_files(ConfigDef::default());
        let given: BTreeMap<String, String> = properties
            .iter()
            .filter(|(name, _)| definition.key(name).is_some())
            .map(|(n, v)| (n.clone(), v.clone()))
            .collect();
        let (from_properties, wrong) = definition.parse(&given);
        problems.extend(wrong.into_iter().map(|p| Problem::new(of_property(&p.key), p.message)));
        let files = files(|key| if given.contains_key(key) { &from_properties } else { values }, problems);

        let mut parse = |key: &str, text: &str| match PartitionBy::parse(text) {
            Ok(by) => by,
            Err(message) => {
                problems.push(Problem::new(key, message));
                PartitionBy::default()
            }
        };
        let default_partition = parse(DEFAULT_PARTITION, values.text(DEFAULT_PARTITION));
        let partitions = values.family(PARTITION);
        let partitions = partitions
            .map(|(table, by)| (table.to_owned(), parse(&PARTITION.replace('*', table), by.expose())))
            .collect();
        let columns = |text: &str| text.split(',').map(|name| name.trim().to_owned()).collect::<Vec<_>>();
        let id_columns: BTreeMap<_, _> =
            values.family(ID_COLUMNS).map(|(table, text)| (table.to_owned(), columns(text.expose()))).collect();
        for (table, _) in id_columns.iter().filter(|(_, columns)| columns.iter().any(String::is_empty)) {
            problems.push(Problem::new(ID_COLUMNS.replace('*', table), "is not column names separated by commas"));
        }
        Self { format, properties, files, default_partition, partitions, id_columns }
    }

    /// The columns that are to identify a table's rows, if they are told.
    pub(crate) fn id_columns(&self, table: &TableId, ident: &TableIdent) -> Option<&[String]> {
        of_table(&self.id_columns, table, ident).map(Vec::as_slice)
    }

    /// How a table is to be partitioned.
    pub(crate) fn partition_by(&self, table: &TableId, ident: &TableIdent) -> &PartitionBy {
        of_table(&self.partitions, table, ident).unwrap_or(&self.default_partition)
    }
}

/// What is told of a table by one of its names.
fn of_table<'a, T>(told: &'a BTreeMap<String, T>, table: &TableId, ident: &TableIdent) -> Option<&'a T> {
    [table.to_string(), ident.to_string(), ident.name().to_owned()].iter().find_map(|name| told.get(name))
}

/// The smallest file or row group that makes sense, bytes.
const MIN_SIZE: usize = 4096;

fn define_files(definition: ConfigDef) -> ConfigDef {
    definition
        .defaulted(
            "write.parquet.compression-codec",
            Kind::OneOf(&["zstd", "snappy", "gzip", "lz4", "uncompressed"]),
            "zstd",
            "Compression of data files",
        )
        .defaulted(
            "write.parquet.compression-level",
            Kind::Int(1, 22),
            "3",
            "Compression level of zstd (1 to 22) or gzip (1 to 9)",
        )
        .defaulted("write.target-file-size-bytes", Kind::Bytes, "512MiB", "Size at which a data file is closed")
        .defaulted(
            "write.parquet.row-group-size-bytes",
            Kind::Bytes,
            "128MiB",
            "Size at which a row group is closed; closed earlier when the worker's memory is short",
        )
}

/// How files are written, each key taken from the values that `of` gives for it.
fn files<'a>(of: impl Fn(&str) -> &'a Values, problems: &mut Vec<Problem>) -> Files {
    let mut note = |key: &str, message: String| problems.push(Problem::new(key, message));
    let count = |key: &str| of(key).count(key);
    let level = count("write.parquet.compression-level");
    let codec = match of("write.parquet.compression-codec").text("write.parquet.compression-codec") {
        "snappy" => Codec::Snappy,
        "lz4" => Codec::Lz4,
        "uncompressed" => Codec::Uncompressed,
        "gzip" if level > 9 => {
            note("write.parquet.compression-level", "gzip has levels 1 to 9".into());
            Codec::Gzip(9)
        }
        "gzip" => Codec::Gzip(u32::try_from(level).unwrap_or(9)),
        _ => Codec::Zstd(i32::try_from(level).unwrap_or(3)),
    };
    let target = count("write.target-file-size-bytes");
    let row_group = count("write.parquet.row-group-size-bytes");
    for (key, value) in [("write.target-file-size-bytes", target), ("write.parquet.row-group-size-bytes", row_group)] {
        if value < MIN_SIZE {
            note(key, format!("must be at least {MIN_SIZE} bytes"));
        }
    }
    Files { codec, target, row_group }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The settings, or every problem as `key: message`.
    fn check(given: &[(&str, &str)]) -> Result<Tables, Vec<String>> {
        let raw = given.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        let (values, mut problems) = Tables::define(ConfigDef::default()).parse(&raw);
        let tables = Tables::from_values(&values, &mut problems);
        let told: Vec<_> = problems.into_iter().map(|p| format!("{}: {}", p.key, p.message)).collect();
        if told.is_empty() { Ok(tables) } else { Err(told) }
    }

    #[test]
    fn properties_stand_for_the_keys_of_their_name() {
        let plain = check(&[]).unwrap();
        assert_eq!((plain.format, plain.properties.len()), (FormatVersion::V2, 0));
        assert_eq!(plain.files, Files { codec: Codec::Zstd(3), target: 512 << 20, row_group: 128 << 20 });
        let set = check(&[
            ("iceberg.tables.auto-create-props.format-version", "3"),
            ("iceberg.tables.auto-create-props.write.parquet.compression-codec", "gzip"),
            ("iceberg.tables.auto-create-props.write.target-file-size-bytes", "64MiB"),
            ("iceberg.tables.auto-create-props.owner", "shop"),
            ("write.parquet.compression-level", "6"),
            ("write.target-file-size-bytes", "32MiB"),
        ])
        .unwrap();
        assert_eq!(set.format, FormatVersion::V3);
        assert_eq!(set.files, Files { codec: Codec::Gzip(6), target: 64 << 20, row_group: 128 << 20 });
        assert_eq!(set.properties["owner"], "shop");
        assert!(!set.properties.contains_key("format-version"), "it is no property in the metadata");
    }

    #[test]
    fn a_table_has_its_own_spec_or_the_default_one() {
        let tables = check(&[
            ("iceberg.tables.default-partition-by", "day(at)"),
            ("iceberg.table.public.orders.partition-by", "bucket(id, 4)"),
            ("iceberg.table.lines.partition-by", ""),
        ])
        .unwrap();
        let of = |name: &str| {
            let ident = TableIdent::from_strs(["ns", name]).unwrap();
            tables.partition_by(&TableId::new("public", name), &ident).clone()
        };
        assert_eq!(of("orders"), PartitionBy::parse("bucket(id,4)").unwrap());
        assert_eq!(of("lines"), PartitionBy::default());
        assert_eq!(of("other"), PartitionBy::parse("day(at)").unwrap());
    }

    #[test]
    fn bad_values_are_named() {
        let told = check(&[
            ("iceberg.tables.auto-create-props.format-version", "1"),
            ("iceberg.tables.auto-create-props.connect-runtime.position", "{}"),
            ("iceberg.tables.auto-create-props.write.parquet.compression-codec", "brotli"),
            ("iceberg.tables.default-partition-by", "week(at)"),
            ("iceberg.table.t.partition-by", "bucket(id"),
            ("iceberg.table.t.id-columns", "a,,b"),
        ])
        .unwrap_err();
        let expected = [
            "iceberg.tables.auto-create-props.write.parquet.compression-codec: \"brotli\" is not one of",
            "iceberg.tables.auto-create-props.format-version: is neither",
            "iceberg.tables.auto-create-props.connect-runtime.position: is one of our own",
            "iceberg.tables.default-partition-by: \"week\"",
            "iceberg.table.t.partition-by: \"bucket(id\" lacks",
            "iceberg.table.t.id-columns: is not column names",
        ];
        for part in expected {
            assert!(told.iter().any(|t| t.starts_with(part)), "{part}: {told:?}");
        }
        assert_eq!(told.len(), expected.len(), "{told:?}");
    }
}
