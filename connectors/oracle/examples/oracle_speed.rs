//! Reads tables to nowhere and says how fast and at what cost of processor time: what a load can reach
//! at best. `oracle_speed KEY=VALUE…` with the connector's own keys. With `raw.sql=SELECT …` and `raw.fetch=ROWS` the driver
//! alone fetches that and looks at nothing: what is lost on the way to Arrow is the difference.

#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use connector_api::{Error, Position, Progress, Result, Role, Source, Split, TaskContext};

#[tokio::main]
async fn main() -> Result<()> {
    let mut keys: BTreeMap<String, String> = [("snapshot.mode".into(), "initial_only".into())].into();
    keys.extend(std::env::args().skip(1).filter_map(|a| a.split_once('=').map(|(k, v)| (k.into(), v.into()))));
    if let Some(sql) = keys.remove("raw.sql") {
        let fetch = keys.get("raw.fetch").and_then(|rows| rows.parse().ok()).unwrap_or(1000);
        return raw(&keys, &sql, fetch);
    }
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

/// The driver alone.
fn raw(keys: &BTreeMap<String, String>, sql: &str, fetch: u32) -> Result<()> {
    let failed = |e: oracledb::Error| Error::fatal(e.to_string());
    let key = |name: &str| keys.get(name).map_or("", String::as_str);
    let config = oracledb::Config::default()
        .set_credentials(key("database.user"), key("database.password"))
        .set_connect_string(key("database.url"))
        .map_err(failed)?;
    let connection = oracledb::connect(config).map_err(failed)?;
    let (began, cpu) = (Instant::now(), processor_seconds());
    let statement = connection.statement(sql).map_err(failed)?.fetch_array_size(fetch).prefetch_rows(fetch);
    let mut rows = 0;
    for row in statement.build().and_then(|statement| statement.query(&[])).map_err(failed)? {
        row.map_err(failed)?;
        rows += 1;
    }
    say(rows, began, cpu);
    Ok(())
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
