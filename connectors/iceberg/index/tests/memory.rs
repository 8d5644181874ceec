//! The memory of an index is bounded by what it is given, whatever it does: measured as the process's own.
//! Known of other sinks as risingwave 22589: keys in a map in memory.

#![expect(clippy::unwrap_used, clippy::panic, reason = "test code: a panic is a failed assertion")]

use std::fs;

use connector_iceberg_index::{Change, Definition, Index, Key, Location, Opened, Rebuild, See, Width};

const MIB: usize = 1 << 20;
/// Batches and their results, file names, and what the allocator keeps back.
const SLACK: usize = 4 * MIB;

/// A number of `/proc/self/status`, in bytes.
fn status(name: &str) -> usize {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    line.split_whitespace().next().unwrap().parse::<usize>().unwrap() * 1024
}

/// Builds an index of so many keys, looks up, commits, merges and opens it again. How far memory went up, in bytes.
fn peak(keys: u64, memory: usize) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let definition = Definition { table: "t".into(), key: "id".into(), width: Width::Small };
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = status("VmRSS");

    let mut rebuild = Rebuild::begin(folder.path(), &definition, memory).unwrap();
    let file = rebuild.file("data/0.parquet").unwrap();
    let at = |row: u64| Location { file, row: u32::try_from(row).unwrap() };
    rebuild.extend((0..keys).map(|n| (Key::Small(n), at(n)))).unwrap();
    let index = rebuild.finish(Some(0)).unwrap();
    let read = |index: &Index| {
        for start in (0..keys).step_by(usize::try_from(keys / 20).unwrap()) {
            let batch: Vec<Key> = (start..start + 10_000).map(Key::Small).collect();
            let found = index.view(See::Adopted).lookup(&batch).unwrap();
            let expected = batch.len().min(usize::try_from(keys - start).unwrap());
            assert_eq!(found.all().len(), expected);
            assert!(found.of(0)[0].row == u32::try_from(start).unwrap() || start < 100_000);
        }
    };
    read(&index);
    for snapshot in 1..=10u32 {
        let changes = (0..10_000).map(|n| Change::Put(Key::Small(n * 10), at(n)));
        index.stage(snapshot.into(), changes, &[]).unwrap();
        index.adopt(snapshot.into()).unwrap();
        index.merge().unwrap();
    }
    read(&index);
    index.merge_all().unwrap();
    assert!(index.stats().memory <= memory / 2, "{:?}", index.stats());
    drop(index);
    let Opened::Ready(index) = Index::open(folder.path(), &definition, memory).unwrap() else { panic!("absent") };
    read(&index);
    status("VmHWM") - before
}

#[test]
fn five_million_keys_in_sixteen_mebibytes() {
    let bound = 16 * MIB + SLACK;
    let used = peak(5_000_000, 16 * MIB);
    assert!(used <= bound, "{used} bytes");
    // The twin: an index that may take more is seen to.
    let used = peak(2_500_000, 128 * MIB);
    assert!(used > bound, "{used} bytes");
}
