//! How far a load is: counters that the splits write, snapshots that anyone reads, and lines for people.
//! [`lines`] is pure: what it prints depends on the snapshots alone.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use connector_api::{TableId, TablePlan};
use tokio::time::Instant;

/// Where a table stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableState {
    /// Its turn has not come.
    Waiting,
    /// Its rows are being read.
    Loading,
    /// Every row is read; the sink makes them durable.
    Publishing,
    /// Its rows are durable.
    Loaded,
    /// It was loaded before this run.
    AlreadyLoaded,
    /// It was refused or has failed.
    Failed,
    /// The load ended before it did.
    Cancelled,
}

impl TableState {
    /// The state in a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Loading => "loading",
            Self::Publishing => "publishing",
            Self::Loaded => "loaded",
            Self::AlreadyLoaded => "already loaded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A table's progress at one moment.
#[derive(Clone, Debug)]
pub struct TableProgress {
    /// Name of the source connector.
    pub source: Arc<str>,
    /// The table.
    pub table: TableId,
    /// Where it stands.
    pub state: TableState,
    /// Rows that the sink's queue has taken.
    pub rows: u64,
    /// Their size in memory, bytes.
    pub bytes: u64,
    /// Rows the source expects, if it has an estimate.
    pub rows_total: Option<u64>,
    /// The source's estimate of the table's size, bytes: its weight in the whole.
    pub size: u64,
    /// Of `size`, the part in splits that are done.
    pub size_done: u64,
    /// Since its first split was opened; until its end, once it has ended.
    pub elapsed: Duration,
}

impl TableProgress {
    /// How much of the table is read, 0 to 1. An estimate: 1 only when the table has ended.
    pub fn fraction(&self) -> f64 {
        let part = |done: u64, total: u64| if total == 0 { 0.0 } else { (done as f64 / total as f64).min(0.99) };
        match self.state {
            TableState::Waiting => 0.0,
            TableState::Loading => {
                let by_rows = self.rows_total.map_or(0.0, |total| part(self.rows, total));
                by_rows.max(part(self.size_done, self.size))
            }
            TableState::Publishing => 0.99,
            _ => 1.0,
        }
    }

    /// Rows per second so far.
    pub fn rows_per_second(&self) -> f64 {
        rate(self.rows, self.elapsed)
    }

    /// Megabytes (of memory) per second so far.
    pub fn megabytes_per_second(&self) -> f64 {
        rate(self.bytes, self.elapsed) / 1e6
    }

    /// How long the rest takes at the pace so far, once there is a pace.
    pub fn eta(&self) -> Option<Duration> {
        eta(self.fraction(), self.elapsed)
    }
}

fn rate(count: u64, elapsed: Duration) -> f64 {
    if elapsed.is_zero() { 0.0 } else { count as f64 / elapsed.as_secs_f64() }
}

fn eta(fraction: f64, elapsed: Duration) -> Option<Duration> {
    let known = fraction > 0.001 && !elapsed.is_zero();
    known.then(|| Duration::from_secs_f64((elapsed.as_secs_f64() * (1.0 - fraction) / fraction).clamp(0.0, 1e9)))
}

/// One line per table that is at work, and one for the whole. Nothing when no table is known yet.
///
/// `elapsed` is the time since the load began; it gives the whole's pace.
pub fn lines(tables: &[TableProgress], elapsed: Duration) -> Vec<String> {
    let mut lines: Vec<_> =
        at_work(tables).map(|t| format!("{}: {}: {} rows, {}", t.source, t.table, count(t), pace(t))).collect();
    lines.extend(whole(tables, elapsed).map(|bar| bar.text));
    lines
}

/// How far something is, for a bar.
#[derive(Clone, Debug, PartialEq)]
pub struct Bar {
    /// What it is.
    pub name: String,
    /// 0 to 1.
    pub fraction: f64,
    /// Counts, pace and time left.
    pub text: String,
}

/// A bar for each table that is at work, the largest `most` of them, and one for the whole at the end.
/// Nothing when no table is known yet.
pub fn bars(tables: &[TableProgress], elapsed: Duration, most: usize) -> Vec<Bar> {
    let mut shown: Vec<_> = at_work(tables).collect();
    shown.sort_by_key(|t| std::cmp::Reverse(t.size));
    let mut bars: Vec<_> = shown
        .iter()
        .take(most)
        .map(|t| Bar {
            name: t.table.to_string(),
            fraction: t.fraction(),
            text: format!("{} rows, {}", count(t), pace(t)),
        })
        .collect();
    bars.extend(whole(tables, elapsed));
    bars
}

fn at_work(tables: &[TableProgress]) -> impl Iterator<Item = &TableProgress> {
    tables.iter().filter(|t| matches!(t.state, TableState::Loading | TableState::Publishing))
}

fn whole(tables: &[TableProgress], elapsed: Duration) -> Option<Bar> {
    // A table that was loaded before is no part of this run's pace.
    let ours: Vec<_> = tables.iter().filter(|t| t.state != TableState::AlreadyLoaded).collect();
    let name = ours.first()?.source.to_string();
    // An empty or unmeasured table still weighs a little, so that the sum is never 0.
    let weight = |t: &TableProgress| t.size.max(8192) as f64;
    let total: f64 = ours.iter().map(|t| weight(t)).sum();
    let fraction = ours.iter().map(|t| weight(t) * t.fraction()).sum::<f64>() / total;
    let (rows, bytes) = ours.iter().fold((0, 0), |(r, b), t| (r + t.rows, b + t.bytes));
    let count = |state| ours.iter().filter(|t| t.state == state).count();
    let mut text = format!(
        "{}/{} tables, {} rows, {:.1} MB/s, {:.0} %",
        count(TableState::Loaded),
        ours.len(),
        grouped(rows),
        rate(bytes, elapsed) / 1e6,
        100.0 * fraction,
    );
    if count(TableState::Failed) > 0 {
        text.push_str(&format!(", {} failed", count(TableState::Failed)));
    }
    if let Some(rest) = eta(fraction, elapsed).filter(|_| fraction < 1.0) {
        text.push_str(&format!(", {} left", duration(rest)));
    }
    Some(Bar { name, fraction, text })
}

fn count(table: &TableProgress) -> String {
    let of = table.rows_total.map(|total| format!(" of ~{}", grouped(total))).unwrap_or_default();
    format!("{}{of}", grouped(table.rows))
}

fn pace(table: &TableProgress) -> String {
    if table.state == TableState::Publishing {
        return "publishing".to_owned();
    }
    let rest = table.eta().map(|rest| format!(", {} left", duration(rest))).unwrap_or_default();
    let (rows, bytes) = (table.rows_per_second(), table.megabytes_per_second());
    format!("{} rows/s, {bytes:.1} MB/s{rest}", grouped(rows as u64))
}

/// `1234567` as `1,234,567`.
pub(crate) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1h02m`, `3m04s`, `5.6s`.
pub(crate) fn duration(d: Duration) -> String {
    match d.as_secs() {
        s @ 0..60 => format!("{s}.{}s", d.subsec_millis() / 100),
        s @ 60..3600 => format!("{}m{:02}s", s / 60, s % 60),
        s => format!("{}h{:02}m", s / 3600, s / 60 % 60),
    }
}

/// A load's progress, shared between the engine and whoever looks.
#[derive(Debug)]
pub struct LoadProgress {
    source: Arc<str>,
    started: Instant,
    tables: Mutex<Vec<Arc<TableMeter>>>,
}

impl LoadProgress {
    pub(crate) fn new(source: Arc<str>) -> Self {
        Self { source, started: Instant::now(), tables: Mutex::default() }
    }

    /// Name of the source connector.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Since the load began.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Every table now, in the order in which they became known.
    pub fn tables(&self) -> Vec<TableProgress> {
        lock(&self.tables).iter().map(|t| t.snapshot(&self.source)).collect()
    }

    /// Whether a table of it has no outcome yet, or none is known.
    pub fn is_going_on(&self) -> bool {
        let going_on = [TableState::Waiting, TableState::Loading, TableState::Publishing];
        let tables = self.tables();
        tables.is_empty() || tables.iter().any(|t| going_on.contains(&t.state))
    }

    /// Adds a table, or takes the place of what was counted of it before.
    pub(crate) fn put(&self, meter: TableMeter) -> Arc<TableMeter> {
        let meter = Arc::new(meter);
        let mut tables = lock(&self.tables);
        match tables.iter_mut().find(|t| t.table == meter.table) {
            Some(known) => *known = Arc::clone(&meter),
            None => tables.push(Arc::clone(&meter)),
        }
        meter
    }
}

/// The counters of one table.
#[derive(Debug)]
pub(crate) struct TableMeter {
    table: TableId,
    rows: AtomicU64,
    bytes: AtomicU64,
    size_done: AtomicU64,
    rows_total: Option<u64>,
    size: u64,
    phase: Mutex<Phase>,
}

#[derive(Debug)]
struct Phase {
    state: TableState,
    started: Option<Instant>,
    ended: Option<Instant>,
}

impl TableMeter {
    /// The meter of a table that waits for its turn.
    pub(crate) fn waiting(plan: &TablePlan) -> Self {
        let size = plan.splits.iter().map(|s| s.bytes).sum();
        Self::new(plan.schema.table().clone(), TableState::Waiting, plan.rows, size)
    }

    /// The meter of a table that is not read by this run.
    pub(crate) fn settled(table: TableId, state: TableState, rows: Option<u64>) -> Self {
        Self::new(table, state, rows, 0)
    }

    fn new(table: TableId, state: TableState, rows_total: Option<u64>, size: u64) -> Self {
        let phase = Mutex::new(Phase { state, started: None, ended: None });
        let (rows, bytes, size_done) = Default::default();
        Self { table, rows, bytes, size_done, rows_total, size, phase }
    }

    pub(crate) fn delivered(&self, rows: u64, bytes: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn split_done(&self, size: u64) {
        self.size_done.fetch_add(size, Ordering::Relaxed);
    }

    pub(crate) fn enter(&self, state: TableState) {
        let mut phase = lock(&self.phase);
        phase.state = state;
        match state {
            TableState::Waiting | TableState::Publishing => {}
            TableState::Loading => phase.started = Some(Instant::now()),
            _ => phase.ended = Some(Instant::now()),
        }
    }

    pub(crate) fn snapshot(&self, source: &Arc<str>) -> TableProgress {
        let (state, elapsed) = {
            let phase = lock(&self.phase);
            let until = |started| phase.ended.unwrap_or_else(Instant::now).duration_since(started);
            (phase.state, phase.started.map(until).unwrap_or_default())
        };
        TableProgress {
            source: Arc::clone(source),
            table: self.table.clone(),
            state,
            rows: self.rows.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            rows_total: self.rows_total,
            size: self.size,
            size_done: self.size_done.load(Ordering::Relaxed),
            elapsed,
        }
    }
}

/// How many tables are in each state.
pub(crate) fn count_by_state(tables: &[TableProgress]) -> HashMap<&'static str, u64> {
    let mut counts = HashMap::new();
    for table in tables {
        *counts.entry(table.state.as_str()).or_default() += 1;
    }
    counts
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str, state: TableState, rows: u64, total: Option<u64>, seconds: u64) -> TableProgress {
        TableProgress {
            source: "shop".into(),
            table: TableId::new("public", name),
            state,
            rows,
            bytes: rows * 100,
            rows_total: total,
            size: total.unwrap_or(0) * 50,
            size_done: 0,
            elapsed: Duration::from_secs(seconds),
        }
    }

    #[test]
    fn lines_for_people() {
        use TableState::*;
        assert_eq!(lines(&[], Duration::ZERO), Vec::<String>::new());
        assert_eq!(lines(&[table("old", AlreadyLoaded, 0, Some(5), 0)], Duration::ZERO), Vec::<String>::new());
        let tables = [
            table("orders", Loading, 1_000_000, Some(4_000_000), 10),
            table("events", Loading, 500, None, 0),
            table("items", Publishing, 1_000_000, Some(900_000), 8),
            table("odd", Failed, 0, None, 0),
            table("done", Loaded, 3_000_000, Some(3_000_000), 20),
            table("later", Waiting, 0, Some(2_000_000), 0),
        ];
        assert_eq!(
            lines(&tables, Duration::from_secs(20)),
            [
                "shop: public.orders: 1,000,000 of ~4,000,000 rows, 100,000 rows/s, 10.0 MB/s, 30.0s left",
                "shop: public.events: 500 rows, 0 rows/s, 0.0 MB/s",
                "shop: public.items: 1,000,000 of ~900,000 rows, publishing",
                "1/6 tables, 5,000,500 rows, 25.0 MB/s, 49 %, 1 failed, 20.4s left",
            ]
        );
    }

    #[test]
    fn bars_for_the_largest_and_the_whole() {
        use TableState::*;
        assert_eq!(bars(&[], Duration::ZERO, 8), []);
        let tables = [
            table("small", Loading, 50, Some(100), 1),
            table("large", Publishing, 1_000, Some(1_000), 1),
            table("middle", Loading, 0, Some(500), 0),
            table("done", Loaded, 100, Some(100), 1),
        ];
        let bars = bars(&tables, Duration::from_secs(1), 2);
        let names: Vec<_> = bars.iter().map(|b| b.name.as_str()).collect();
        assert_eq!(names, ["public.large", "public.middle", "shop"]);
        assert_eq!((bars[0].fraction, bars[0].text.as_str()), (0.99, "1,000 of ~1,000 rows, publishing"));
        assert!(bars[2].fraction > 0.5 && bars[2].text.starts_with("1/4 tables, 1,150 rows, "), "{bars:?}");
    }

    #[test]
    fn numbers_and_durations() {
        assert_eq!([0, 12, 123, 1234, 1_234_567].map(grouped), ["0", "12", "123", "1,234", "1,234,567"]);
        let texts = [0, 5_670, 60_000, 184_000, 3_720_000].map(|ms| duration(Duration::from_millis(ms)));
        assert_eq!(texts, ["0.0s", "5.6s", "1m00s", "3m04s", "1h02m"]);
    }

    #[test]
    fn a_fraction_is_whole_only_at_the_end() {
        let fraction = |state, rows| table("t", state, rows, Some(100), 1).fraction();
        assert_eq!(fraction(TableState::Waiting, 0), 0.0);
        assert_eq!(fraction(TableState::Loading, 50), 0.5);
        assert_eq!(fraction(TableState::Loading, 1000), 0.99);
        assert_eq!(fraction(TableState::Loaded, 100), 1.0);
        let unknown = TableProgress { size: 10, size_done: 5, ..table("t", TableState::Loading, 9, None, 1) };
        assert_eq!(unknown.fraction(), 0.5);
    }
}
