//! The index's figures: `cargo run --release -p connector-iceberg-index --example bench -- 10000000 [small|wide] [MiB]`.
//!
//! Builds an index of so many keys, puts twenty commits of 5,000 on it, and times batches of 100,000.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use connector_iceberg_index::{
    Change, ColumnBytes, Definition, Index, Key, KeyEncoder, Location, Opened, Rebuild, See, Width,
};

const BATCH: u64 = 100_000;
const FILE_ROWS: u64 = 1_000_000;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

struct Keys {
    width: Width,
    encoder: KeyEncoder,
}

impl Keys {
    fn key(&mut self, n: u64) -> Outcome<Key> {
        if self.width == Width::Small {
            return Ok(Key::Small(n));
        }
        self.encoder.value(&n.to_be_bytes())?;
        Ok(self.encoder.finish()?)
    }

    fn batch(&mut self, numbers: impl Iterator<Item = u64>) -> Outcome<Vec<Key>> {
        numbers.map(|n| self.key(n)).collect()
    }
}

/// A number of `/proc/self/status`, in MiB.
fn status(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}

/// Spreads numbers over `0..below`, the same ones each time.
fn spread(n: u64, below: u64) -> u64 {
    let n = (n ^ 0x5bd1_e995).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (n ^ (n >> 31)).wrapping_mul(0x94d0_49bb_1331_11eb) % below
}

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let keys: u64 = arguments.next().map_or(Ok(10_000_000), |n| n.parse())?;
    let width = if arguments.next().as_deref() == Some("wide") { Width::Wide } else { Width::Small };
    let memory: usize = arguments.next().map_or(Ok(256), |n| n.parse())?;
    let folder = tempfile::tempdir_in(".")?;
    let result = bench(folder.path(), keys, width, memory << 20);
    folder.close()?;
    result
}

fn bench(folder: &Path, keys: u64, width: Width, memory: usize) -> Outcome<()> {
    let mut out = std::io::stdout().lock();
    let definition = Definition { table: "t".into(), key: "id".into(), width };
    let mut make = Keys { width, encoder: KeyEncoder::new(&[ColumnBytes::Any]) };
    writeln!(out, "{keys} keys, {width:?}, {} MiB", memory >> 20)?;

    let start = Instant::now();
    let mut rebuild = Rebuild::begin(folder, &definition, memory)?;
    for n in 0..keys {
        if n % FILE_ROWS == 0 {
            rebuild.file(&format!("s3://warehouse/db/table/data/{n:036}.parquet"))?;
        }
        let location = Location { file: u32::try_from(n / FILE_ROWS)?, row: u32::try_from(n % FILE_ROWS)? };
        rebuild.push(make.key(n)?, location)?;
    }
    let index = rebuild.finish(Some(0))?;
    writeln!(out, "rebuilt in {:?}, RSS {} MiB, peak {}", start.elapsed(), status("VmRSS"), status("VmHWM"))?;
    let file = index.file("s3://warehouse/db/table/data/new.parquet")?;

    let mut snapshot = 0i64;
    for _ in 0..20 {
        snapshot += 1;
        // Other keys than those that are looked up.
        let batch =
            make.batch((0..5_000).map(|n| spread(u64::MAX / 2 + n + snapshot.cast_unsigned() * 5_000, keys)))?;
        upsert(&index, snapshot, &batch, file)?;
    }
    let time = |deed: &mut dyn FnMut(u64) -> Outcome<()>| -> Outcome<(Duration, Duration)> {
        let mut times = Vec::new();
        for round in 0..9 {
            let start = Instant::now();
            deed(round)?;
            times.push(start.elapsed());
        }
        times.sort();
        Ok((times[4], times[0]))
    };
    let batches = (0..9).map(|round| make.batch((0..BATCH).map(|n| spread(n + round * BATCH, keys))));
    let batches = batches.collect::<Outcome<Vec<_>>>()?;
    let (median, least) = time(&mut |round| {
        let found = index.view(See::Adopted).lookup(&batches[usize::try_from(round)?])?;
        if found.all().len() < BATCH as usize { Err("a key is missing".into()) } else { Ok(()) }
    })?;
    writeln!(out, "lookup of 100k existing: median {median:?}, least {least:?}; {:?}", index.stats())?;
    let absent = (0..9).map(|round| make.batch((0..BATCH).map(|n| keys + n + round * BATCH)));
    let absent = absent.collect::<Outcome<Vec<_>>>()?;
    let (median, least) = time(&mut |round| {
        let found = index.view(See::Adopted).lookup(&absent[usize::try_from(round)?])?;
        if found.all().is_empty() { Ok(()) } else { Err("a key is there".into()) }
    })?;
    writeln!(out, "lookup of 100k absent: median {median:?}, least {least:?}")?;
    let (median, least) = time(&mut |round| {
        snapshot += 1;
        upsert(&index, snapshot, &batches[usize::try_from(round)?], file)
    })?;
    writeln!(out, "upsert of 100k, synced: median {median:?}, least {least:?}")?;
    let start = Instant::now();
    index.merge()?;
    writeln!(out, "due merges in {:?}, then {:?}", start.elapsed(), index.stats())?;
    let start = Instant::now();
    index.merge_all()?;
    writeln!(out, "merged into one in {:?}, RSS {} MiB", start.elapsed(), status("VmRSS"))?;
    drop(index);
    let start = Instant::now();
    let Opened::Ready(index) = Index::open(folder, &definition, memory)? else { return Err("absent".into()) };
    writeln!(out, "reopened in {:?}, peak RSS {} MiB, {:?}", start.elapsed(), status("VmHWM"), index.stats())?;
    Ok(())
}

fn upsert(index: &Index, snapshot: i64, keys: &[Key], file: u32) -> Outcome<()> {
    let changes = (0u32..).zip(keys).map(|(row, key)| Change::Put(*key, Location { file, row }));
    index.stage(snapshot, changes, &[])?;
    Ok(index.adopt(snapshot)?)
}
