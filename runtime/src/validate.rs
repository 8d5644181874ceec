//! `validate`: what the lake holds of a source's tables, and what it lacks. Writes nothing.

use std::io::Write as _;

use anyhow::Result;
use connect_engine::Pipeline;
use connector_api::{Loaded, Progress, Selection, TableId};

use crate::Outcome;
use crate::cli::ValidateArgs;

/// Prints the tables of the source with their rows in the lake.
pub(crate) async fn validate(pipeline: &Pipeline, args: &ValidateArgs) -> Result<Outcome> {
    let (tables, progress) = match args.no_check_missing {
        // The sink alone knows what it holds; the source may be gone.
        true => {
            let held = pipeline.sink.holdings(&pipeline.source_name).await.map_err(report)?;
            (held.tables().map(|(table, _)| table.clone()).collect(), held)
        }
        false => {
            let Selection { system, mut tables } = pipeline.source.tables().await.map_err(report)?;
            tables.sort();
            let progress = pipeline.sink.progress(&tables).await.map_err(report)?.of_system(&system);
            (tables, progress)
        }
    };
    let (lines, missing) = render(&tables, &progress, args);
    let mut out = std::io::stdout().lock();
    for line in lines {
        writeln!(out, "{line}")?;
    }
    Ok(if missing { Outcome::Partly } else { Outcome::Done })
}

fn report(error: connector_api::Error) -> anyhow::Error {
    anyhow::anyhow!("{error:#}")
}

/// The lines to print, and whether tables are missing (and that matters).
fn render(tables: &[TableId], progress: &Progress, args: &ValidateArgs) -> (Vec<String>, bool) {
    let rows = |l: &Loaded| l.rows.map_or_else(|| "?".to_owned(), |n| n.to_string());
    let held: Vec<_> = tables.iter().filter_map(|t| Some((t.to_string(), progress.loaded(t)?))).collect();
    let shown: Vec<_> = held.iter().filter(|(_, l)| !(args.hide_empty && l.rows == Some(0))).collect();
    let width = shown.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0).max("table".len());
    let mut lines = vec![format!("{:<width$}  {:>15}  position", "table", "rows")];
    lines.extend(shown.iter().map(|(name, l)| format!("{name:<width$}  {:>15}  {}", rows(l), l.position)));
    let total: u64 = held.iter().filter_map(|(_, l)| l.rows).sum();
    lines.push(format!("{} tables, {total} rows", held.len()));
    if args.no_check_missing {
        return (lines, false);
    }
    let missing: Vec<_> = tables.iter().filter(|t| progress.loaded(t).is_none()).collect();
    lines.extend(missing.iter().map(|t| format!("missing: {t}")));
    if missing.is_empty() {
        lines.push("no table of the source is missing".to_owned());
    }
    (lines, !missing.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::ConfigArgs;

    fn check(hide_empty: bool, no_check_missing: bool) -> (String, bool) {
        let config = ConfigArgs { files: vec![] };
        let args = ValidateArgs { config, source: "shop".into(), hide_empty, no_check_missing };
        let table = |name: &str| TableId::new("public", name);
        let mut progress = Progress::default();
        let loaded =
            |rows| Loaded { system: "s".into(), position: "0/1".into(), visible: None, rows, commit: "1".into() };
        progress.set_loaded(table("a"), loaded(Some(0)));
        progress.set_loaded(table("orders"), loaded(Some(12)));
        let (lines, missing) = render(&[table("a"), table("orders"), table("new")], &progress, &args);
        (lines.join("\n"), missing)
    }

    #[test]
    fn lists_rows_and_what_is_missing() {
        let (text, missing) = check(false, false);
        assert_eq!(
            text,
            "table                     rows  position\n\
             public.a                     0  0/1\n\
             public.orders               12  0/1\n\
             2 tables, 12 rows\n\
             missing: public.new"
        );
        assert!(missing);
    }

    #[test]
    fn flags_hide_what_they_name() {
        assert!(!check(true, false).0.contains("public.a "));
        let (text, missing) = check(false, true);
        assert!(!text.contains("missing") && !missing);
    }
}
