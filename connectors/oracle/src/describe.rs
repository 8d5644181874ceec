//! From the dictionary's answers to a table that can be read, or the reason why not. Pure.

use std::sync::Arc;

use connector_api::{Error, Filter, Result, TableId, TableSchema};

use crate::catalog::{Details, Relation, Segments};
use crate::plan::Part;
use crate::session::Bind;
use crate::types::{Form, Handling, Resolved, resolve};

/// Bytes of rows that a round trip should bring.
const ROUND_TRIP: u64 = 256 << 10;
/// The same of servers before [`ENDS_ANSWERS`]: the driver reads all packets of an answer again with each that follows, so
/// that large answers cost by the square of their size. Measured (docs/benchmarks.md): a quarter of the round trip's bytes
/// takes a third of the processor time.
const SHORT_ROUND_TRIP: u64 = 64 << 10;
/// The release from which on servers tell where an answer ends.
const ENDS_ANSWERS: u32 = 23;
/// Bytes that a round trip may bring if every value is as long as it may be.
const MOST: u64 = 32 << 20;
/// Bytes assumed of a row that the dictionary does not know, for each column.
const USUAL_WIDTH: u32 = 24;

/// A table and how to read it.
#[derive(Debug)]
pub(crate) struct Readable {
    pub(crate) schema: Arc<TableSchema>,
    /// One per column.
    pub(crate) forms: Vec<Form>,
    /// Names of columns that are left out, and why.
    pub(crate) left_out: Vec<(String, &'static str)>,
    /// As planned.
    pub(crate) segments: Segments,
    /// Usual and longest length of a row without LOBs, bytes.
    row: (u32, u64),
    /// What is asked of a row.
    columns: String,
    /// The table, quoted.
    pub(crate) target: String,
    /// What shares of the table are told apart by; empty: it has none.
    hash: String,
}

/// A statement on a part of a table.
pub(crate) struct Ask<'a> {
    pub(crate) sql: String,
    pub(crate) binds: Vec<Bind<'a>>,
}

impl Readable {
    /// What reads a part of it as of an SCN.
    pub(crate) fn select<'a>(&self, part: &'a Part, scn: u64) -> Ask<'a> {
        self.ask(&self.columns, part, scn)
    }

    /// What tells the lengths of the longest LOBs there, one for each column of LOBs.
    pub(crate) fn longest_lobs<'a>(&self, part: &'a Part, scn: u64) -> Option<Ask<'a>> {
        let longest = |(form, column): (&Form, &connector_api::Column)| {
            // What is made into a LOB for us is measured as it comes.
            let plain = form.asked == crate::types::Asked::Plain;
            (form.wire.is_lob() && plain).then(|| format!("MAX(DBMS_LOB.GETLENGTH({}))", quoted(column.name())))
        };
        let asked: Vec<_> = self.forms.iter().zip(self.schema.columns()).filter_map(longest).collect();
        (!asked.is_empty()).then(|| self.ask(&asked.join(", "), part, scn))
    }

    /// Whether there are LOBs whose lengths [`longest_lobs`](Self::longest_lobs) does not tell.
    pub(crate) fn makes_lobs(&self) -> bool {
        self.forms.iter().any(|form| form.wire.is_lob() && form.asked != crate::types::Asked::Plain)
    }

    fn ask<'a>(&self, columns: &str, part: &'a Part, scn: u64) -> Ask<'a> {
        let (condition, bounds) = part.condition(&self.hash);
        let sql = format!("SELECT {columns} FROM {} AS OF SCN :1{condition}", self.target);
        Ask { sql, binds: std::iter::once(Bind::Number(scn)).chain(bounds).collect() }
    }

    /// Has it divided by a hash of these columns, which tell its rows apart.
    ///
    /// # Errors
    /// `Data`, naming table and column, when one is not read or has no hash.
    pub(crate) fn divide_by(&mut self, key: &[String]) -> Result<()> {
        let mut hashes = vec![];
        for name in key {
            let refuse = |what| Error::data(what).with("table", self.schema.table()).with("column", name);
            let at = self.schema.columns().iter().position(|c| c.name() == name);
            let known = at.and_then(|at| self.forms.get(at).zip(self.schema.columns().get(at)));
            let (form, column) =
                known.ok_or_else(|| refuse("the table is to be divided by a column that it is not loaded with"))?;
            if form.wire.is_lob() || form.wire == crate::types::Wire::Vector {
                return Err(refuse("the table is to be divided by a column whose type has no hash"));
            }
            // What has no hash would be in no share.
            let (hash, nullable) = (format!("ORA_HASH({})", quoted(name)), column.nullable);
            hashes.push(if nullable { format!("NVL({hash}, 0)") } else { hash });
        }
        self.hash = hashes.join(" + ");
        Ok(())
    }

    /// Rows to ask a server of this release for at a time, no more than `most`, when the LOBs within a row have so many
    /// bytes.
    pub(crate) fn fetch(&self, release: u32, most: usize, lobs: u64) -> u32 {
        let (usual, longest) = self.row;
        let round_trip = if release < ENDS_ANSWERS { SHORT_ROUND_TRIP } else { ROUND_TRIP };
        let rows = (round_trip / u64::from(usual.max(1))).min(MOST / (longest + lobs).max(1));
        u32::try_from(rows.clamp(1, most.max(1) as u64)).unwrap_or(1)
    }
}

/// An identifier as it is spelled.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{name}\"")
}

/// A table, quoted.
pub(crate) fn target(table: &TableId) -> String {
    format!("{}.{}", quoted(table.schema()), quoted(table.name()))
}

/// Makes of the dictionary's answers a table that can be read, or the reason why not.
pub(crate) fn describe(
    relation: &Relation,
    details: &Details,
    filter: &Filter,
    handling: &Handling,
) -> Result<Readable> {
    let table = &relation.id;
    if let Some(why) = relation.unfit {
        let remedy = "leave it out by table.exclude.list";
        return Err(Error::data(why).with("table", table).with("remedy", remedy));
    }
    let refuse = |what: &str, column: &str| Error::data(what).with("table", table).with("column", column);
    let (mut columns, mut forms, mut asked, mut left_out, mut names) = (vec![], vec![], vec![], vec![], vec![]);
    for attribute in &details.attributes {
        let name = attribute.name.as_str();
        let in_key = details.key.iter().any(|column| column == name);
        if !filter.keeps(table, name) {
            if in_key {
                return Err(refuse("a column of the primary key is left out by the column lists", name));
            }
            continue;
        }
        if name.contains(['"', '\0']) {
            return Err(refuse("the column's name cannot be quoted", name));
        }
        let form = match resolve(table, attribute, handling) {
            Resolved::Read(form) => form,
            Resolved::LeftOut(why) => {
                left_out.push((name.to_owned(), why));
                continue;
            }
            Resolved::Refused(why) => {
                let error = refuse("the column cannot be loaded", name).with("type", attribute.declared());
                let remedy = "leave the column out by column.exclude.list";
                return Err(error.with("why", why).with("remedy", remedy));
            }
        };
        let comment = details.column_comments.get(name).map(String::as_str);
        columns.push(form.column(name, attribute.nullable && !in_key, &attribute.declared(), comment));
        asked.push(form.asked.sql(&quoted(name)));
        forms.push(form);
        names.push(name);
    }
    if columns.is_empty() {
        let what = match details.attributes.is_empty() {
            true => "the dictionary shows no columns of the table",
            false => "no column of the table is left",
        };
        return Err(Error::data(what).with("table", table));
    }
    let key = details.key.iter().filter_map(|column| names.iter().position(|name| name == column)).collect();
    let schema = TableSchema::new(table.clone(), columns, key)?
        .with_doc(doc(details.comment.as_deref(), &left_out))
        .with_left_out(left_out.iter().map(|(name, _)| name.clone()).collect());
    let longest = forms.iter().map(|form| u64::from(form.width) + 8).sum();
    let assumed = forms.iter().map(|form| form.width.min(USUAL_WIDTH) + 1).sum();
    Ok(Readable {
        schema: Arc::new(schema),
        forms,
        left_out,
        segments: details.segments.clone(),
        row: (relation.row_length.unwrap_or(assumed), longest),
        columns: asked.join(", "),
        target: target(table),
        hash: String::new(),
    })
}

/// The table's comment, with what of it is not loaded.
fn doc(comment: Option<&str>, left_out: &[(String, &'static str)]) -> Option<String> {
    if left_out.is_empty() {
        return comment.map(str::to_owned);
    }
    let names: Vec<_> = left_out.iter().map(|(name, _)| name.as_str()).collect();
    let without = format!("loaded without {}", names.join(", "));
    Some(comment.map_or(without.clone(), |comment| format!("{comment} ({without})")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::RelationKind;
    use crate::types::Attribute;
    use connector_api::List;

    fn relation() -> Relation {
        Relation {
            id: TableId::new("HR", "My Emp"),
            kind: RelationKind::Table,
            unfit: None,
            divides: true,
            rows: None,
            bytes: 0,
            row_length: None,
        }
    }

    fn details(columns: &[(&str, &str)], key: &[&str]) -> Details {
        let attribute = |(name, data_type): &(&str, &str)| Attribute {
            name: (*name).into(),
            data_type: (*data_type).into(),
            nullable: true,
            length: 100,
            ..Attribute::default()
        };
        let key = key.iter().map(|name| (*name).to_owned()).collect();
        Details { attributes: columns.iter().map(attribute).collect(), key, ..Details::default() }
    }

    fn check(columns: &[(&str, &str)], key: &[&str], filter: &Filter) -> std::result::Result<Readable, String> {
        describe(&relation(), &details(columns, key), filter, &Handling::default()).map_err(|e| e.to_string())
    }

    #[test]
    fn describes_or_refuses() {
        let all = Filter::default();
        let columns = [("ID", "DATE"), ("x y", "VARCHAR2"), ("L", "LONG"), ("R", "ROWID")];
        let readable = check(&columns, &["x y", "ID"], &all).unwrap();
        assert_eq!(readable.schema.key(), [1, 0]);
        assert_eq!(readable.schema.doc(), Some("loaded without L"));
        assert_eq!(readable.schema.left_out(), ["L"]);
        assert!(!readable.schema.columns()[0].nullable && readable.schema.columns()[2].nullable);
        let part = "AAAPecAAFAAAABSAAA:".parse().unwrap();
        let ask = readable.select(&part, 7);
        let columns = r#""ID", "x y", ROWIDTOCHAR("R")"#;
        let rest = r#"FROM "HR"."My Emp" AS OF SCN :1 WHERE ROWID >= CHARTOROWID(:2)"#;
        assert_eq!(ask.sql, format!("SELECT {columns} {rest}"));
        assert_eq!(ask.binds.len(), 2);
        assert!(readable.longest_lobs(&part, 7).is_none());
        let place = "[table=HR.My Emp, column=B";
        let refused = check(&[("ID", "DATE"), ("B", "BFILE")], &[], &all).unwrap_err();
        assert!(refused.starts_with(&format!("the column cannot be loaded {place}, type=BFILE, why=")), "{refused}");
        let without = Filter {
            columns: List::Exclude(vec![regex::Regex::new(r"^HR\.My Emp\.B$").unwrap()]),
            ..Filter::default()
        };
        assert!(check(&[("ID", "DATE"), ("B", "BFILE")], &[], &without).is_ok());
        let refused = check(&[("ID", "DATE"), ("B", "DATE")], &["B"], &without).unwrap_err();
        assert_eq!(refused, format!("a column of the primary key is left out by the column lists {place}]"));
        assert_eq!(check(&[("L", "LONG")], &[], &all).unwrap_err(), "no column of the table is left [table=HR.My Emp]");
        let nothing = "the dictionary shows no columns of the table [table=HR.My Emp]";
        assert_eq!(check(&[], &[], &all).unwrap_err(), nothing);
        let temporary = Relation { unfit: Some("the table is temporary"), ..relation() };
        let refused = describe(&temporary, &details(&[("ID", "DATE")], &[]), &all, &Handling::default()).unwrap_err();
        assert!(refused.to_string().starts_with("the table is temporary [table=HR.My Emp, remedy="));
    }

    #[test]
    fn shares_are_by_the_keys_columns() {
        let columns = [("A", "DATE"), ("B", "VARCHAR2"), ("C", "CLOB"), ("N", "NUMBER")];
        let mut readable = check(&columns, &["A", "B"], &Filter::default()).unwrap();
        readable.divide_by(&["A".into(), "B".into()]).unwrap();
        let part = "hash:0/3".parse().unwrap();
        let sql = readable.select(&part, 7).sql;
        assert!(sql.ends_with(r#"AS OF SCN :1 WHERE MOD(ORA_HASH("A") + ORA_HASH("B"), :2) = :3"#), "{sql}");
        readable.divide_by(&["N".into()]).unwrap();
        assert!(readable.select(&part, 7).sql.contains(r#"MOD(NVL(ORA_HASH("N"), 0), :2)"#));
        for (column, why) in [("C", "has no hash"), ("D", "is not loaded with")] {
            let refused = readable.divide_by(&[column.into()]).unwrap_err().to_string();
            assert!(refused.contains(why) && refused.contains(&format!("column={column}")), "{refused}");
        }
    }

    #[test]
    fn lobs_are_measured_first() {
        let columns = [("C", "CLOB"), ("ID", "DATE"), ("B", "BLOB"), ("X", "XMLTYPE")];
        let readable = check(&columns, &[], &Filter::default()).unwrap();
        let part = Part::default();
        let sql = readable.longest_lobs(&part, 7).unwrap().sql;
        let both = r#"MAX(DBMS_LOB.GETLENGTH("C")), MAX(DBMS_LOB.GETLENGTH("B"))"#;
        assert_eq!(sql, format!("SELECT {both} FROM \"HR\".\"My Emp\" AS OF SCN :1"));
        assert!(readable.makes_lobs());
    }

    #[test]
    fn round_trips_are_measured_in_bytes() {
        let narrow = check(&[("ID", "DATE")], &[], &Filter::default()).unwrap();
        assert_eq!((narrow.fetch(23, 16384, 0), narrow.fetch(23, 100, 0)), (16384, 100));
        assert_eq!(narrow.fetch(19, 16384, 0), 7281);
        let columns: Vec<_> = (0..200).map(|i| (format!("C{i}"), "VARCHAR2")).collect();
        let columns: Vec<_> = columns.iter().map(|(name, of)| (name.as_str(), *of)).collect();
        let wide = check(&columns, &[], &Filter::default()).unwrap();
        assert_eq!((wide.fetch(23, 16384, 0), wide.fetch(19, 16384, 0)), (52, 13));
        assert_eq!((wide.fetch(23, 16384, 4 << 20), wide.fetch(23, 16384, 1 << 40)), (7, 1));
    }
}
