//! From the catalog's answers to a table that can be read, or the reason why not. Pure.

use std::collections::HashMap;
use std::sync::Arc;

use connector_api::{Error, Filter, Result, TableSchema};
use postgres_protocol::escape::escape_identifier;

use crate::catalog::{Attribute, Leaf, Relation};
use crate::plan::Part;
use crate::types::{Form, Handling, Layout, Type, resolve};

/// A table and how to read it.
#[derive(Debug)]
pub(crate) struct Readable {
    pub(crate) schema: Arc<TableSchema>,
    /// One per column.
    pub(crate) forms: Vec<Form>,
    pub(crate) oid: u32,
    /// Of a partitioned table: its leaves as of the cut.
    pub(crate) leaves: Option<Vec<Leaf>>,
    /// What is asked of a row.
    columns: String,
    /// The whole of it.
    target: String,
}

impl Readable {
    /// The statement that reads a part of it; `None` when it has no such part.
    pub(crate) fn copy(&self, part: &Part) -> Option<String> {
        let leaf = |leaf: usize| self.leaves.as_ref()?.get(leaf).map(|leaf| self.select(&leaf.target));
        let rows = match part {
            Part::Whole => self.select(&self.target),
            Part::Pages(pages) => self.select(&self.target) + &pages.condition(),
            Part::LeafPages(of, pages) => leaf(*of)? + &pages.condition(),
            // Columns by name: each partition may have them in an order of its own.
            Part::Leaves { from, to } => (*from..*to).map(leaf).collect::<Option<Vec<_>>>()?.join(" UNION ALL "),
        };
        Some(format!("COPY ({rows}) TO STDOUT (FORMAT binary)"))
    }

    /// The leaves, when each can be read by itself.
    pub(crate) fn by_leaf(&self) -> Option<&[Leaf]> {
        self.leaves.as_deref().filter(|leaves| leaves.iter().all(|leaf| leaf.readable))
    }

    fn select(&self, target: &str) -> String {
        format!("SELECT {} FROM {target}", self.columns)
    }
}

/// Makes of the catalog's answers a table that can be read, or the reason why not.
pub(crate) fn describe(
    relation: &Relation,
    attributes: &[Attribute],
    types: &HashMap<u32, Type>,
    filter: &Filter,
    handling: &Handling,
) -> Result<Readable> {
    let refuse = |what: &str, attribute: &Attribute| {
        Error::data(what).with("table", &relation.id).with("column", &attribute.name)
    };
    let (mut columns, mut forms, mut asked, mut key) = (vec![], vec![], vec![], vec![]);
    for attribute in attributes {
        if !filter.keeps(&relation.id, &attribute.name) {
            if attribute.key.is_some() {
                let what = "a column of the key is left out by the column lists";
                return Err(refuse(what, attribute));
            }
            continue;
        }
        let form = resolve(attribute.declared, types, handling).map_err(|why| {
            refuse("the column cannot be loaded", attribute).with("type", &attribute.type_name).with("why", why)
        })?;
        if let Some(place) = attribute.key {
            key.push((place, columns.len()));
        }
        // Where infinities become NULL there may be NULL; a key stays a key, and an infinite one fails.
        let loosened = form.infinite_is_null && form.layout == Layout::Scalar && attribute.key.is_none();
        let nullable = !attribute.required || loosened;
        let column = form.column(&attribute.name, nullable, &attribute.type_name);
        columns.push(column.with_doc(attribute.comment.clone()));
        asked.push(form.asked.sql(&escape_identifier(&attribute.name)));
        forms.push(form);
    }
    if columns.is_empty() && !attributes.is_empty() {
        return Err(Error::data("the column lists leave no column of the table").with("table", &relation.id));
    }
    key.sort_unstable();
    let key = key.into_iter().map(|(_, column)| column).collect();
    let schema = TableSchema::new(relation.id.clone(), columns, key)?.with_doc(relation.comment.clone());
    Ok(Readable {
        schema: Arc::new(schema),
        forms,
        oid: relation.oid,
        leaves: None,
        columns: asked.join(", "),
        target: relation.target(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::RelationKind;
    use crate::plan::Pages;
    use crate::types::{Declared, Kind, Wire};
    use connector_api::{List, TableId};

    fn check(
        columns: &[(&str, u32, Option<u32>)],
        filter: &Filter,
    ) -> std::result::Result<(String, Vec<usize>), String> {
        let relation = Relation {
            oid: 1,
            id: TableId::new("My \"s\"", "t"),
            kind: RelationKind::Table,
            heap: true,
            usage: true,
            select: true,
            row_security: false,
            foreign_partition: false,
            unreadable_here: false,
            unpopulated: false,
            exchanged: false,
            rows: None,
            comment: None,
        };
        let attributes: Vec<_> = columns
            .iter()
            .map(|(name, type_oid, key)| Attribute {
                name: (*name).into(),
                required: key.is_some(),
                declared: Declared { oid: *type_oid, modifier: -1, dimensions: 0 },
                type_name: format!("type{type_oid}"),
                comment: None,
                key: *key,
            })
            .collect();
        let types = HashMap::from([(600, Type { kind: Kind::Other, output: "pg_catalog.point_out".into() })]);
        let readable =
            describe(&relation, &attributes, &types, filter, &Handling::default()).map_err(|e| e.to_string())?;
        assert_eq!(readable.forms.len(), readable.schema.columns().len());
        let part = Part::Pages(Pages { from: 3, to: None });
        assert_eq!(readable.copy(&Part::Leaves { from: 0, to: 1 }), None, "not in parts of that kind");
        Ok((readable.copy(&part).unwrap(), readable.schema.key().to_vec()))
    }

    #[test]
    fn leaves_are_read_by_themselves() {
        let leaf =
            |oid, target: &str, readable| Leaf { oid, target: target.into(), heap: true, readable, locked: true };
        let column = Form::plain(Wire::Int4).column("a", true, "integer");
        let mut readable = Readable {
            schema: Arc::new(TableSchema::new(TableId::new("s", "t"), vec![column], vec![]).unwrap()),
            forms: vec![Form::plain(Wire::Int4)],
            oid: 1,
            leaves: Some(vec![leaf(2, "ONLY s.b", true), leaf(3, "s.c", true)]),
            columns: "a".into(),
            target: "s.t".into(),
        };
        let check = |part: &str| readable.copy(&part.parse().unwrap());
        let copy = |rows: &str| Some(format!("COPY ({rows}) TO STDOUT (FORMAT binary)"));
        assert_eq!(check("whole"), copy("SELECT a FROM s.t"));
        assert_eq!(check("leaves:0-2"), copy("SELECT a FROM ONLY s.b UNION ALL SELECT a FROM s.c"));
        assert_eq!(check("leaf:1:5-"), copy("SELECT a FROM s.c WHERE ctid >= '(5,0)'::tid"));
        assert_eq!(check("leaves:0-3"), None);
        assert!(readable.by_leaf().is_some());
        readable.leaves = Some(vec![leaf(2, "s.b", true), leaf(3, "s.c", false)]);
        assert!(readable.by_leaf().is_none(), "then the parent is read");
    }

    #[test]
    fn describes_or_refuses() {
        let all = Filter::default();
        let without_b = Filter {
            columns: List::Exclude(vec![regex::Regex::new(r#"^My "s"\.t\.b$"#).unwrap()]),
            ..Filter::default()
        };
        let statement = |columns: &str| {
            format!(
                r#"COPY (SELECT {columns} FROM ONLY "My ""s"""."t" WHERE ctid >= '(3,0)'::tid) TO STDOUT (FORMAT binary)"#
            )
        };
        let columns = [("a", 25, Some(2)), ("b", 600, None), ("C d", 23, Some(1))];
        assert_eq!(check(&columns, &without_b), Ok((statement(r#""a", "C d""#), vec![1, 0])));
        let point = r#""a", pg_catalog.textin(pg_catalog.point_out("b")), "C d""#;
        assert_eq!(check(&columns, &all), Ok((statement(point), vec![2, 0])));
        assert_eq!(
            check(&[("b", 601, None)], &all),
            Err("the column cannot be loaded [table=My \"s\".t, column=b, type=type601, why=its type is not in the server's catalog]".into())
        );
        assert_eq!(
            check(&[("a", 25, None), ("b", 23, Some(1))], &without_b),
            Err("a column of the key is left out by the column lists [table=My \"s\".t, column=b]".into())
        );
        assert_eq!(
            check(&[("b", 23, None)], &without_b),
            Err("the column lists leave no column of the table [table=My \"s\".t]".into())
        );
        assert_eq!(check(&[], &all), Err("the table has no columns [table=My \"s\".t]".into()));
    }
}
