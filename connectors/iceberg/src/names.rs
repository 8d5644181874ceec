//! Names: from a source table to its Iceberg name and its folder. Pure.
//!
//! What must hold: the catalog name is exactly what the format says; a folder's name has only characters
//! that every reader takes literally, and two names never share one folder by encoding.

use std::collections::BTreeMap;

use connector_api::{Error, Result, TableId};

/// Name of the ledger of tables.
pub(crate) const STATUS: &str = "_cdc_status";
/// Name of the ledger of schema changes.
pub(crate) const SCHEMA_CHANGES: &str = "_schema_changes";

/// How a table's Iceberg name is made: text with the placeholders `{schema}` and `{table}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NameFormat(String);

impl NameFormat {
    /// Parses a format.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut rest = text;
        let mut has_table = false;
        while let Some(start) = rest.find(['{', '}']) {
            let after = &rest[start..];
            let known = ["{schema}", "{table}"].into_iter().find(|p| after.starts_with(p));
            let Some(known) = known else {
                return Err(format!("\"{text}\": braces hold only {{schema}} or {{table}}"));
            };
            has_table |= known == "{table}";
            rest = &after[known.len()..];
        }
        if has_table { Ok(Self(text.into())) } else { Err(format!("\"{text}\" lacks {{table}}")) }
    }

    /// The name of a source table.
    pub(crate) fn name(&self, table: &TableId) -> String {
        // Not two `replace` calls: a schema may itself be called "{table}".
        let mut name = String::new();
        let mut rest = self.0.as_str();
        while let Some(start) = rest.find('{') {
            name.push_str(&rest[..start]);
            rest = &rest[start..];
            if let Some(after) = rest.strip_prefix("{schema}") {
                name.push_str(table.schema());
                rest = after;
            } else if let Some(after) = rest.strip_prefix("{table}") {
                name.push_str(table.name());
                rest = after;
            }
        }
        name.push_str(rest);
        name
    }

    /// Checks that a table's name is free to use.
    ///
    /// # Errors
    /// `Data` when it is one of the ledgers' names.
    pub(crate) fn checked(&self, table: &TableId) -> Result<String> {
        let name = self.name(table);
        if name == STATUS || name == SCHEMA_CHANGES {
            return Err(Error::data(
                "this name belongs to one of our own tables: set iceberg.table.name.format, e.g. {schema}_{table}",
            )
            .with("table", table)
            .with("name", name));
        }
        Ok(name)
    }

    /// Checks that no two tables meet in one name.
    ///
    /// # Errors
    /// `Fatal`, naming both.
    pub(crate) fn check_distinct(&self, tables: &[TableId]) -> Result<()> {
        let mut seen: BTreeMap<String, &TableId> = BTreeMap::new();
        for table in tables {
            let name = self.name(table);
            match seen.get(&name) {
                Some(other) if *other != table => {
                    return Err(Error::fatal(
                        "two source tables meet in one Iceberg name: set iceberg.table.name.format, \
                         e.g. {schema}_{table}",
                    )
                    .with("name", name)
                    .with("table", other)
                    .with("other", table));
                }
                _ => {
                    seen.insert(name, table);
                }
            }
        }
        Ok(())
    }
}

/// A name as a folder: unchanged if it is harmless, else `_` for each odd character and a hash of the
/// whole (no percent signs: readers disagree on whether to decode them).
pub(crate) fn folder(name: &str) -> String {
    let harmless = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !name.is_empty() && name.len() <= 128 && name.chars().all(harmless) {
        return name.into();
    }
    let tame: String = name.chars().take(64).map(|c| if harmless(c) { c } else { '_' }).collect();
    format!("{tame}_{:016x}", fnv1a(name.as_bytes()))
}

/// FNV-1a: stable across versions, which the standard library's hasher is not.
pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(format: &str, schema: &str, table: &str) -> String {
        match NameFormat::parse(format) {
            Ok(f) => f.checked(&TableId::new(schema, table)).unwrap_or_else(|e| e.message().into()),
            Err(e) => e,
        }
    }

    #[test]
    fn a_format_makes_names() {
        assert_eq!(check("{table}", "public", "orders"), "orders");
        assert_eq!(check("{schema}__{table}", "s", "t"), "s__t");
        assert_eq!(check("pre_{schema}.{table}!", "{table}", "{schema}"), "pre_{table}.{schema}!");
        assert_eq!(check("{schema}", "s", "t"), "\"{schema}\" lacks {table}");
        assert_eq!(check("{tabel}", "s", "t"), "\"{tabel}\": braces hold only {schema} or {table}");
        assert_eq!(check("{table}}", "s", "t"), "\"{table}}\": braces hold only {schema} or {table}");
        assert!(check("{table}", "s", "_cdc_status").contains("one of our own"));
        assert!(check("_schema_{table}", "s", "changes").contains("one of our own"));
    }

    #[test]
    fn two_tables_in_one_name_are_refused() {
        let tables = [TableId::new("a", "t"), TableId::new("b", "t"), TableId::new("a", "t")];
        let format = |f| NameFormat::parse(f).unwrap();
        let e = format("{table}").check_distinct(&tables).unwrap_err();
        assert!(e.to_string().contains("name=t, table=a.t, other=b.t"), "{e}");
        assert!(format("{schema}.{table}").check_distinct(&tables).is_ok());
        let tricky = [TableId::new("a_b", "c"), TableId::new("a", "b_c")];
        assert!(format("{schema}_{table}").check_distinct(&tricky).is_err());
    }

    #[test]
    fn a_folder_is_harmless() {
        assert_eq!(folder("orders_2024-x"), "orders_2024-x");
        assert_eq!(folder("a b"), format!("a_b_{:016x}", fnv1a(b"a b")));
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c, "the published value: folders must not move");
        assert_ne!(folder("a b"), folder("a.b"));
        assert!(folder("").starts_with('_'));
        assert!(folder(&"é".repeat(300)).len() < 100);
    }

    proptest! {
        #[test]
        fn folders_are_told_apart(a in ".{0,12}", b in ".{0,12}") {
            prop_assert!(folder(&a).chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-'));
            prop_assert_eq!(a == b, folder(&a) == folder(&b));
        }
    }
}
