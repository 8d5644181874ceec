//! Which tables and columns the configuration selects. Pure.
//!
//! Debezium's include and exclude lists: regular expressions on the whole of `schema`, `schema.table` or
//! `schema.table.column`; and a SQL LIKE pattern, which narrows them further.

use std::str::Chars;

use regex::Regex;

use crate::TableId;
use crate::config::{ConfigDef, Kind, Problem, Values};

/// An include or an exclude list, or neither.
#[derive(Clone, Debug, Default)]
pub enum List {
    /// Everything passes.
    #[default]
    All,
    /// What one of these matches passes.
    Include(Vec<Regex>),
    /// What none of these matches passes.
    Exclude(Vec<Regex>),
}

impl List {
    fn passes(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Include(list) => list.iter().any(|r| r.is_match(name)),
            Self::Exclude(list) => !list.iter().any(|r| r.is_match(name)),
        }
    }
}

/// The selection.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// On `schema`.
    pub schemas: List,
    /// On `schema.table`.
    pub tables: List,
    /// On `schema.table.column`.
    pub columns: List,
    /// Of the tables that pass the lists, those whose name is like this.
    pub like: Option<Like>,
}

impl Filter {
    /// Adds the keys that [`of`](Self::of) reads to a source's.
    pub fn keys(def: ConfigDef) -> ConfigDef {
        def.optional("schema.include.list", Kind::Regexes, "Schemas to read; not together with schema.exclude.list.")
            .optional("schema.exclude.list", Kind::Regexes, "Schemas not to read.")
            .optional(
                "table.include.list",
                Kind::Regexes,
                "Tables to read, as `schema\\.table`; not together with table.exclude.list.",
            )
            .optional("table.exclude.list", Kind::Regexes, "Tables not to read.")
            .optional(
                "column.include.list",
                Kind::Regexes,
                "Columns to read, as `schema\\.table\\.column`; not together with column.exclude.list.",
            )
            .optional("column.exclude.list", Kind::Regexes, "Columns not to read.")
            .optional(
                "table.filter",
                Kind::Text,
                "SQL LIKE pattern that a table's name must match too; `schema.table` when it holds a dot.",
            )
    }

    /// The selection that these keys make: `schema`, `table` and `column`, each `.include.list` or `.exclude.list`,
    /// and `table.filter`. What is wrong with them is added to the problems.
    pub fn of(values: &Values, problems: &mut Vec<Problem>) -> Self {
        let mut list = |sort: &str, include: &'static str, exclude: &'static str| match (
            values.regexes(include),
            values.regexes(exclude),
        ) {
            ([], []) => List::All,
            (include, []) => List::Include(include.to_vec()),
            ([], exclude) => List::Exclude(exclude.to_vec()),
            _ => {
                let both = format!("{include} is set too: {sort} are either included or excluded");
                problems.push(Problem::new(exclude, both));
                List::All
            }
        };
        let schemas = list("schemas", "schema.include.list", "schema.exclude.list");
        let tables = list("tables", "table.include.list", "table.exclude.list");
        let columns = list("columns", "column.include.list", "column.exclude.list");
        let mut like = None;
        if values.has("table.filter") {
            match Like::new(values.text("table.filter")) {
                Ok(pattern) => like = Some(pattern),
                Err(what) => problems.push(Problem::new("table.filter", what)),
            }
        }
        Self { schemas, tables, columns, like }
    }

    /// Whether the table is read.
    pub fn selects(&self, table: &TableId) -> bool {
        self.schemas.passes(table.schema())
            && self.tables.passes(&table.to_string())
            && self.like.as_ref().is_none_or(|l| l.matches(table))
    }

    /// Whether that column of a selected table is read.
    pub fn keeps(&self, table: &TableId, column: &str) -> bool {
        self.columns.passes(&format!("{table}.{column}"))
    }
}

/// A SQL LIKE pattern: `%` any text, `_` one character, a backslash takes the next one as it is. Matches
/// the table's name, or `schema.table` when the pattern holds a dot. Case matters, as in SQL.
#[derive(Clone, Debug)]
pub struct Like(String);

impl Like {
    /// A pattern.
    ///
    /// # Errors
    /// What is wrong with it: it ends within an escape.
    pub fn new(pattern: &str) -> Result<Self, &'static str> {
        match pattern.chars().rev().take_while(|c| *c == '\\').count() % 2 {
            0 => Ok(Self(pattern.to_owned())),
            _ => Err("a LIKE pattern must not end with its escape character"),
        }
    }

    fn matches(&self, table: &TableId) -> bool {
        match self.0.contains('.') {
            true => like(&self.0, &table.to_string()),
            false => like(&self.0, table.name()),
        }
    }
}

/// Greedy with one point of return: after a mismatch the last `%` takes one character more.
fn like(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern.chars(), text.chars());
    let mut again: Option<(Chars<'_>, Chars<'_>)> = None;
    loop {
        let (before, mut ahead) = (text.clone(), pattern.clone());
        let matched = match ahead.next() {
            Some('%') => {
                again = Some((ahead.clone(), before));
                pattern = ahead;
                continue;
            }
            None if text.clone().next().is_none() => return true,
            None => false,
            Some('_') => text.next().is_some(),
            Some(c) => {
                let wanted = if c == '\\' { ahead.next() } else { Some(c) };
                text.next() == wanted
            }
        };
        if matched {
            pattern = ahead;
            continue;
        }
        let Some((rest, from)) = &mut again else { return false };
        if from.next().is_none() {
            return false;
        }
        (pattern, text) = (rest.clone(), from.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn list(patterns: &[&str]) -> Vec<Regex> {
        patterns.iter().map(|p| Regex::new(&format!("(?i)^(?:{p})$")).unwrap()).collect()
    }

    #[test]
    fn lists() {
        let check = |filter: &Filter, schema: &str, name: &str| filter.selects(&TableId::new(schema, name));
        let all = Filter::default();
        assert!(check(&all, "any", "thing") && all.keeps(&TableId::new("a", "b"), "c"));
        let filter = Filter {
            schemas: List::Exclude(list(&["tmp"])),
            tables: List::Include(list(&[r".*\.orders", r"public\.s_.*"])),
            columns: List::Exclude(list(&[r"public\.orders\.card"])),
            like: None,
        };
        assert!(check(&filter, "public", "ORDERS") && check(&filter, "public", "s_x"));
        assert!(!check(&filter, "tmp", "orders") && !check(&filter, "public", "orders2"));
        assert!(!filter.keeps(&TableId::new("public", "orders"), "card"));
        assert!(filter.keeps(&TableId::new("public", "orders"), "card2"));
        let filter = Filter { like: Like::new("S\\_%").ok(), ..Filter::default() };
        assert!(check(&filter, "x", "S_1") && !check(&filter, "x", "s_1") && !check(&filter, "x", "SA1"));
        let filter = Filter { like: Like::new("sh_p.%").ok(), ..Filter::default() };
        assert!(check(&filter, "shop", "a") && !check(&filter, "public", "shop.a"));
    }

    #[test]
    fn patterns() {
        let check = |pattern: &str, text: &str| like(pattern, text);
        assert!(check("", "") && !check("", "a") && check("%", "") && check("%%", "ab") && !check("_", ""));
        assert!(check("a%b%c", "a.b.b.c") && !check("a%b%c", "a.b.b") && check("%ab", "aab") && check("_é_", "aéb"));
        assert!(check(r"100\%", "100%") && !check(r"100\%", "1000") && check(r"a\\b", r"a\b"));
        assert!(Like::new(r"a\").is_err() && Like::new(r"a\\").is_ok());
    }

    proptest! {
        #[test]
        fn agrees_with_a_regex(pattern in "[ab%_]{0,8}", text in "[ab]{0,10}") {
            let regex = pattern.replace('%', ".*").replace('_', ".");
            prop_assert_eq!(like(&pattern, &text), Regex::new(&format!("^{regex}$")).unwrap().is_match(&text));
        }
    }
}
