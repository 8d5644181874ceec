//! What came of a load, and the closing table that tells it to people. Pure.

use std::sync::Arc;
use std::time::Duration;

use connector_api::{Cut, Error, TableId};

use crate::progress::{duration, grouped};

/// What came of one table.
#[derive(Debug)]
pub enum Outcome {
    /// Its rows are durable.
    Loaded,
    /// It was loaded before; nothing was done.
    AlreadyLoaded,
    /// It was refused, or has failed. A `Retriable` kind says that another run may succeed.
    Failed(Arc<Error>),
    /// The load ended before this table's did; nothing of it is visible.
    Cancelled,
}

/// One table.
#[derive(Debug)]
pub struct TableReport {
    /// The table.
    pub table: TableId,
    /// What came of it.
    pub outcome: Outcome,
    /// Rows read by this run; of a table loaded before, the rows it has, 0 if the sink does not know.
    pub rows: u64,
    /// Their size in memory, bytes.
    pub bytes: u64,
    /// From its first split's opening until it was durable or failed.
    pub elapsed: Duration,
}

/// How something ended: the load of tables, their hand-over, the following of a log.
#[derive(Debug)]
pub enum End {
    /// It came to its end: every table of a load has its outcome.
    Finished,
    /// It was told to stop.
    Cancelled,
    /// It could not go on.
    Failed(Error),
}

/// What came of a load.
#[derive(Debug)]
pub struct LoadReport {
    /// Name of the source connector.
    pub source: Arc<str>,
    /// Name of the sink connector.
    pub sink: Arc<str>,
    /// The cut that was read; `None` when nothing was left to read, or the load ended before it was taken.
    pub cut: Option<Arc<Cut>>,
    /// Every table that the source selects, by name.
    pub tables: Vec<TableReport>,
    /// How the load of the tables ended.
    pub end: End,
    /// How their hand-over ended; `None` where nothing was to be handed over (yet).
    pub hand_over: Option<End>,
    /// From the start until the tables had their outcomes.
    pub elapsed: Duration,
}

impl LoadReport {
    /// How all of it ended: the last thing that it did.
    pub fn ended(&self) -> &End {
        self.hand_over.as_ref().unwrap_or(&self.end)
    }

    /// Why the source's task counts as failed, if it does.
    pub(crate) fn trace(&self) -> Option<String> {
        if let End::Failed(error) = self.ended() {
            return Some(format!("{error:#}"));
        }
        let failure = |t: &TableReport| match &t.outcome {
            Outcome::Failed(error) => Some(format!("{}: {error:#}", t.table)),
            _ => None,
        };
        let failures: Vec<_> = self.tables.iter().filter_map(failure).collect();
        (!failures.is_empty()).then(|| failures.join("\n"))
    }

    /// Whether every table is in the sink, loaded now or before; whatever came of the hand-over.
    pub fn complete(&self) -> bool {
        let there = |t: &TableReport| matches!(t.outcome, Outcome::Loaded | Outcome::AlreadyLoaded);
        matches!(self.end, End::Finished) && self.tables.iter().all(there)
    }

    /// How many tables failed or were refused.
    pub fn failed(&self) -> usize {
        self.tables.iter().filter(|t| matches!(t.outcome, Outcome::Failed(_))).count()
    }

    /// The closing table, line by line: a head, a row for each table, errors in full, and a last line that
    /// says it all.
    pub fn lines(&self) -> Vec<String> {
        let head = ["table", "outcome", "rows", "MB", "time", "rows/s"].map(str::to_owned);
        let rows: Vec<_> = std::iter::once(head).chain(self.tables.iter().map(cells)).collect();
        let width = |column: usize| rows.iter().map(|r| r[column].chars().count()).max().unwrap_or(0);
        let widths: [usize; 6] = std::array::from_fn(width);
        let mut lines: Vec<_> =
            if self.tables.is_empty() { Vec::new() } else { rows.iter().map(|r| aligned(r, &widths)).collect() };
        for table in &self.tables {
            if let Outcome::Failed(error) = &table.outcome {
                lines.push(format!("{}: {error:#}", table.table));
            }
        }
        lines.push(self.last_line());
        lines
    }

    fn last_line(&self) -> String {
        let count = |f: fn(&Outcome) -> bool| self.tables.iter().filter(|t| f(&t.outcome)).count();
        let loaded = count(|o| matches!(o, Outcome::Loaded));
        let before = count(|o| matches!(o, Outcome::AlreadyLoaded));
        let cancelled = count(|o| matches!(o, Outcome::Cancelled));
        let rows = self.tables.iter().filter(|t| matches!(t.outcome, Outcome::Loaded)).map(|t| t.rows).sum();
        let way = format!("{} → {}", self.source, self.sink);
        if matches!(self.ended(), End::Finished) && loaded == 0 && self.failed() == 0 {
            let what = if before == 0 { "no table is selected" } else { "every table is loaded already" };
            return format!("{way}: nothing to do: {what} ({before} tables)");
        }
        let mut parts = vec![format!("{loaded} loaded ({} rows)", grouped(rows))];
        for (n, what) in [(before, "already loaded"), (self.failed(), "failed"), (cancelled, "not loaded")] {
            if n > 0 {
                parts.push(format!("{n} {what}"));
            }
        }
        let end = match self.ended() {
            End::Finished => String::new(),
            End::Cancelled => "; stopped on request".to_owned(),
            End::Failed(error) => format!("; ended by an error: {error:#}"),
        };
        let cut = self.cut.as_ref().map(|c| format!(" at {} {}", c.position_type, c.position)).unwrap_or_default();
        format!("{way}: {}{cut} in {}{end}", parts.join(", "), duration(self.elapsed))
    }
}

fn cells(table: &TableReport) -> [String; 6] {
    let (outcome, counts) = match &table.outcome {
        Outcome::Loaded => ("loaded", true),
        Outcome::AlreadyLoaded => ("already loaded", false),
        Outcome::Failed(_) => ("failed", true),
        Outcome::Cancelled => ("not loaded", true),
    };
    let seconds = table.elapsed.as_secs_f64();
    let or_dash = |show: bool, text: String| if show { text } else { "-".to_owned() };
    [
        table.table.to_string(),
        outcome.to_owned(),
        or_dash(counts || table.rows > 0, grouped(table.rows)),
        or_dash(counts, format!("{:.1}", table.bytes as f64 / 1e6)),
        or_dash(counts, duration(table.elapsed)),
        or_dash(counts && seconds > 0.0, grouped((table.rows as f64 / seconds) as u64)),
    ]
}

/// Names to the left, numbers to the right.
fn aligned(cells: &[String; 6], widths: &[usize; 6]) -> String {
    let [table, outcome, rest @ ..] = cells;
    let mut line = format!("{table:<0$}  {outcome:<1$}", widths[0], widths[1]);
    for (cell, width) in rest.iter().zip(&widths[2..]) {
        line.push_str(&format!("  {cell:>width$}"));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(outcomes: Vec<(&str, Outcome, u64)>, end: End) -> String {
        check_handed_over(outcomes, end, None)
    }

    fn check_handed_over(outcomes: Vec<(&str, Outcome, u64)>, end: End, hand_over: Option<End>) -> String {
        let elapsed = Duration::from_secs(2);
        let table = |(name, outcome, rows): (&str, Outcome, u64)| TableReport {
            table: TableId::new("public", name),
            elapsed: if rows == 0 { Duration::ZERO } else { elapsed },
            outcome,
            rows,
            bytes: rows * 100,
        };
        let (system, position_type) = ("s".to_owned(), "lsn".to_owned());
        let cut = Cut { system, position_type, position: "0/16B3748".into(), visible: None };
        let report = LoadReport {
            source: "shop".into(),
            sink: "lake".into(),
            cut: Some(Arc::new(cut)),
            tables: outcomes.into_iter().map(table).collect(),
            end,
            hand_over,
            elapsed,
        };
        report.lines().join("\n")
    }

    #[test]
    fn tells_everything() {
        let error = Arc::new(Error::data("type is not supported").with("column", "geo"));
        let text = check(
            vec![
                ("orders", Outcome::Loaded, 1_234_567),
                ("i", Outcome::AlreadyLoaded, 12),
                ("odd", Outcome::Failed(error), 0),
                ("later", Outcome::Cancelled, 0),
            ],
            End::Cancelled,
        );
        let expected = "\
table          outcome              rows     MB  time   rows/s
public.orders  loaded          1,234,567  123.5  2.0s  617,283
public.i       already loaded         12      -     -        -
public.odd     failed                  0    0.0  0.0s        -
public.later   not loaded              0    0.0  0.0s        -
public.odd: type is not supported [column=geo]
shop → lake: 1 loaded (1,234,567 rows), 1 already loaded, 1 failed, 1 not loaded at lsn 0/16B3748 in 2.0s; stopped on request";
        assert_eq!(text, expected);
    }

    #[test]
    fn says_when_there_was_nothing_to_do() {
        let text = check(vec![("a", Outcome::AlreadyLoaded, 0)], End::Finished);
        assert!(text.ends_with("shop → lake: nothing to do: every table is loaded already (1 tables)"), "{text}");
        assert_eq!(check(vec![], End::Finished), "shop → lake: nothing to do: no table is selected (0 tables)");
        let failed = check(vec![], End::Failed(Error::fatal("no route")));
        assert!(
            failed.ends_with("0 loaded (0 rows) at lsn 0/16B3748 in 2.0s; ended by an error: no route"),
            "{failed}"
        );
    }

    #[test]
    fn says_what_came_of_the_hand_over() {
        let check = |hand_over| {
            let text = check_handed_over(vec![("a", Outcome::AlreadyLoaded, 7)], End::Finished, Some(hand_over));
            text.lines().last().map(str::to_owned)
        };
        let [done, stopped, failed] =
            [End::Finished, End::Cancelled, End::Failed(Error::retriable("no worker"))].map(check);
        assert_eq!(done.as_deref(), Some("shop → lake: nothing to do: every table is loaded already (1 tables)"));
        let counts = "shop → lake: 0 loaded (0 rows), 1 already loaded at lsn 0/16B3748 in 2.0s";
        assert_eq!(stopped, Some(format!("{counts}; stopped on request")));
        assert_eq!(failed, Some(format!("{counts}; ended by an error: no worker")));
    }
}
