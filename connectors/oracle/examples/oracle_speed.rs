//! Reads tables to nowhere and says how fast and at what cost of processor time: what a load can reach
//! at best. `oracle_speed KEY=VALUE…` with the connector's own keys. With `driver.fetch=ROWS` the driver alone fetches the
//! same parts of the tables over as many connections, so many rows at a time, and looks at nothing: what is lost on the
//! way to Arrow is the difference.

#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use connector_api::{Error, Position, Progress, Result, Role, Source, Split, TaskContext};

#[tokio::main]
async fn main() -> Result<()> {
    let mut keys: BTreeMap<String, String> = [("snapshot.mode".into(), "initial_only".into())].into();
    keys.extend(std::env::args().skip(1).filter_map(|a| a.split_once('=').map(|(k, v)| (k.into(), v.into()))));
    let fetch = keys.remove("driver.fetch").and_then(|rows| rows.parse::<u32>().ok());
    let source: Arc<dyn Source> = match (connector_oracle::PLUGIN.build)(&keys) {
        Ok(Role::Source(source)) => source.into(),
        Ok(_) => return Err(Error::fatal("not a source")),
        Err(problems) => return Err(Error::fatal(format!("{problems:?}"))),
    };
    let plan = source.plan(&Progress::default()).await?;
    for (table, why) in &plan.refused {
        println!("refused: {table}: {why}");
    }
    let splits: VecDeque<Split> = plan.tables.iter().flat_map(|t| t.splits.iter().cloned()).collect();
    println!("{} tables, {} splits", plan.tables.len(), splits.len());
    let queue = Arc::new(Mutex::new(splits));
    let (began, cpu) = (Instant::now(), processor_seconds());
    if let Some(fetch) = fetch {
        let scn: u64 = plan.cut.position.parse().map_err(|_| Error::fatal("a cut that is no SCN"))?;
        say(discard(&keys, &queue, plan.splits_at_a_time, scn, fetch)?, began, cpu);
        return Ok(());
    }
    let readers: Vec<_> =
        (0..plan.splits_at_a_time).map(|_| tokio::spawn(drain(Arc::clone(&source), Arc::clone(&queue)))).collect();
    let (mut rows, mut bytes) = (0, 0);
    for reader in readers {
        let (r, b) = reader.await.map_err(|e| Error::fatal("a reader ended without a result").caused_by(e))??;
        (rows, bytes) = (rows + r, bytes + b);
    }
    println!("{:.0} MB of Arrow", bytes as f64 / 1e6);
    say(rows, began, cpu);
    Ok(())
}

fn say(rows: usize, began: Instant, cpu: f64) {
    let (seconds, cpu) = (began.elapsed().as_secs_f64(), processor_seconds() - cpu);
    let millions = rows as f64 / 1e6;
    println!(
        "{rows} rows in {seconds:.2} s: {:.0} krows/s, {:.3} CPU-s per M rows",
        millions * 1e3 / seconds,
        cpu / millions
    );
}

/// The driver alone, over so many connections; how many rows there were.
fn discard(
    keys: &BTreeMap<String, String>,
    queue: &Mutex<VecDeque<Split>>,
    connections: usize,
    scn: u64,
    fetch: u32,
) -> Result<usize> {
    let key = |name: &str| keys.get(name).map_or("", String::as_str);
    let config = || {
        oracledb::Config::default()
            .set_credentials(key("database.user"), key("database.password"))
            .set_connect_string(key("database.url"))
    };
    let reader = || -> Result<usize> {
        let connection = config().and_then(oracledb::connect).map_err(failed)?;
        let mut rows = 0;
        loop {
            let Some(split) = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front() else {
                return Ok(rows);
            };
            let (from, to) = split.part.split_once(':').unwrap_or_default();
            let bounds = [(from, ">="), (to, "<")].into_iter().filter(|(rowid, _)| !rowid.is_empty());
            let bounds: Vec<_> = bounds.map(|(rowid, sign)| format!("ROWID {sign} CHARTOROWID('{rowid}')")).collect();
            let condition = if bounds.is_empty() { "" } else { " WHERE " };
            let sql = format!("SELECT * FROM {} AS OF SCN {scn}{condition}{}", split.table, bounds.join(" AND "));
            let statement = connection.statement(&sql).map_err(failed)?.fetch_array_size(fetch).prefetch_rows(fetch);
            for row in statement.build().and_then(|statement| statement.query(&[])).map_err(failed)? {
                row.map_err(failed)?;
                rows += 1;
            }
        }
    };
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..connections).map(|_| scope.spawn(reader)).collect();
        readers.into_iter().try_fold(0, |rows, reader| {
            let read = reader.join().map_err(|_| Error::fatal("the driver panicked"))?;
            Ok(rows + read?)
        })
    })
}

fn failed(e: oracledb::Error) -> Error {
    Error::fatal(e.to_string())
}

async fn drain(source: Arc<dyn Source>, queue: Arc<Mutex<VecDeque<Split>>>) -> Result<(usize, usize)> {
    let (mut rows, mut bytes) = (0, 0);
    loop {
        let Some(split) = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front() else {
            return Ok((rows, bytes));
        };
        let mut task = source.open(&split, Position::Start, TaskContext::new("bench", 0, 64 << 20)).await?;
        while let Some(batch) = task.next().await? {
            rows += batch.rows().num_rows();
            bytes += batch.bytes();
        }
        task.close().await?;
    }
}

/// User and system time of this process so far; 0 where there is no /proc.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: f64 = after_name.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<f64>().ok()).sum();
    // The kernel counts in hundredths of a second for every user program.
    ticks / 100.0
}
