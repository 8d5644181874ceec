//! Columns that the load and Debezium's events do not have alike. Pure.
//!
//! What must hold: what the load has left out Debezium does not send, or the sink would add it; what Debezium cannot
//! send is not loaded, or it would grow old there.

use connector_api::{Filter, Finding, List, Severity, TableId};

use super::connector::literal;
use super::redo::is_logged;
use crate::catalog::{Details, Relation};
use crate::types::{Handling, Resolved, resolve};

/// Types that are loaded, and come in no event or in none of use (docs/debezium.md).
const SILENT: [&str; 4] = ["BOOLEAN", "JSON", "VECTOR", "UROWID"];

/// Regular expressions of columns that the column lists keep.
#[derive(Debug, Default)]
pub(crate) struct Columns {
    /// Those that the load has.
    pub(crate) loaded: Vec<String>,
    /// Those that it left out, whatever for.
    pub(crate) left_out: Vec<String>,
}

impl Columns {
    /// Adds a table's.
    pub(crate) fn add(&mut self, table: &TableId, details: &Details, filter: &Filter, handling: &Handling) {
        for attribute in details.attributes.iter().filter(|attribute| filter.keeps(table, &attribute.name)) {
            let is_read = matches!(resolve(table, attribute, handling), Resolved::Read(_));
            let list = if is_read { &mut self.loaded } else { &mut self.left_out };
            list.push(pattern(table, &attribute.name));
        }
    }
}

fn pattern(table: &TableId, column: &str) -> String {
    [table.schema(), table.name(), column].map(literal).join("\\.")
}

/// Columns of a table that are loaded, and that Debezium cannot send.
pub(crate) fn silent(relation: &Relation, details: &Details, filter: &Filter, handling: &Handling) -> Option<Finding> {
    let table = &relation.id;
    let is_silent = |data_type: &str| SILENT.contains(&data_type.split('(').next().unwrap_or_default());
    let columns = details.attributes.iter().filter(|attribute| {
        is_silent(&attribute.data_type)
            && filter.keeps(table, &attribute.name)
            && matches!(resolve(table, attribute, handling), Resolved::Read(_))
    });
    let columns: Vec<_> = columns.map(|attribute| (pattern(table, &attribute.name), attribute.declared())).collect();
    if columns.is_empty() || !is_logged(relation) {
        return None;
    }
    let types: Vec<_> = columns.iter().map(|(pattern, declared)| format!("{pattern} {declared}")).collect();
    let what = format!("Debezium does not send the values of columns: {}", types.join(", "));
    let list = columns.into_iter().map(|(pattern, _)| pattern).collect::<Vec<_>>().join(",");
    let remedy = match &filter.columns {
        List::Include(_) => format!("have column.include.list not match {list}"),
        List::All | List::Exclude(_) => format!("add to column.exclude.list: {list}"),
    };
    Some(Finding::new(Severity::Blocking, what, remedy).on(table))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::RelationKind;
    use crate::types::Attribute;

    fn details() -> Details {
        let attribute = |(name, data_type): (&str, &str)| Attribute {
            name: name.into(),
            data_type: data_type.into(),
            length: 30,
            ..Attribute::default()
        };
        let all = [("ID", "NUMBER"), ("PIC", "BLOB"), ("OLD", "LONG"), ("A$B", "JSON"), ("F", "BFILE")];
        Details { attributes: all.map(attribute).into(), ..Details::default() }
    }

    fn relation(kind: RelationKind) -> Relation {
        let id = TableId::new("HR", "EMP");
        Relation { id, kind, unfit: None, divides: true, rows: None, bytes: 0, row_length: None }
    }

    #[test]
    fn what_is_left_out_is_told_from_what_is_loaded() {
        let mut columns = Columns::default();
        let handling = Handling { without_lobs: true, ..Handling::default() };
        columns.add(&TableId::new("HR", "EMP"), &details(), &Filter::default(), &handling);
        assert_eq!(columns.loaded, [r"HR\.EMP\.ID"]);
        assert_eq!(columns.left_out, [r"HR\.EMP\.PIC", r"HR\.EMP\.OLD", r"HR\.EMP\.A\$B", r"HR\.EMP\.F"]);
    }

    #[test]
    fn what_does_not_come_is_found_with_a_list_to_leave_it_out() {
        let found = |kind, handling: &Handling| {
            let finding = silent(&relation(kind), &details(), &Filter::default(), handling);
            finding.map(|finding| finding.to_string()).unwrap_or_default()
        };
        let finding = found(RelationKind::Table, &Handling::default());
        assert!(finding.contains(r"add to column.exclude.list: HR\.EMP\.A\$B"), "{finding}");
        assert!(!finding.contains("PIC"), "{finding}");
        assert_eq!(found(RelationKind::View, &Handling::default()), "", "a view is not followed");
        let without = Handling { without_lobs: true, ..Handling::default() };
        assert_eq!(found(RelationKind::Table, &without), "", "it is not loaded");
    }
}
