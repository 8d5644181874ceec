//! Anything may go wrong at any time.

use proptest::prelude::*;

use super::*;

/// The kinds of mishap that a seed may choose.
fn act(n: u8) -> Act {
    match n % 5 {
        0 => Act::Fail(RETRIABLE),
        1 => Act::Fail(ErrorKind::Data),
        2 => Act::Fail(ErrorKind::Fatal),
        3 => Act::LoseCut,
        _ => Act::Panic,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever goes wrong, whenever: a table is reported as loaded iff it is visible, then exactly once and
    /// whole; and a second, healthy run completes what is missing.
    #[test]
    fn a_table_is_whole_or_absent(
        shape in prop::collection::vec(prop::collection::vec(0i64..9, 1..4), 1..5),
        width in (1usize..4, 1usize..4),
        call in 0usize..6,
        nth in 1u64..12,
        how in 0u8..5,
        cancel_after in prop::option::of(0u32..60),
        retries in 0u32..3,
    ) {
        let calls = [Call::Open, Call::Next, Call::CloseSource, Call::Write, Call::Commit, Call::CloseSink];
        let mut next = 0;
        let mut splits = |sizes: &Vec<i64>| -> Vec<Vec<i64>> {
            sizes.iter().map(|n| { next += n; (next - n..next).collect() }).collect()
        };
        let tables: Vec<(TableId, Vec<Vec<i64>>)> =
            shape.iter().enumerate().map(|(i, sizes)| (id(&format!("t{i}")), splits(sizes))).collect();
        let memory = tables.iter().map(|(table, splits)| {
            MemoryTable::of_ids(table, &splits.iter().map(Vec::as_slice).collect::<Vec<_>>(), 2)
        });
        let source = MemorySource::new(memory.collect()).at_a_time(width.0, width.1);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let script = Script::default().on(calls[call], nth, act(how)).on(calls[call], nth + 3, act(how));
            let mut bench = Bench::new(source, script);
            bench.retry = Retry { max: retries, backoff: Duration::from_millis(10) };
            let running = tokio::spawn(bench.start());
            if let Some(turns) = cancel_after {
                for _ in 0..turns {
                    tokio::task::yield_now().await;
                }
                bench.cancel.cancel();
            }
            let report = running.await.unwrap();
            for (table, splits) in &tables {
                let outcome = report.tables.iter().find(|t| t.table == *table).map(|t| &t.outcome);
                let visible = bench.sink.ids(table);
                if visible.is_some() {
                    assert_eq!(visible.as_ref(), Some(&splits.concat()), "{report:?}");
                }
                assert_eq!(matches!(outcome, Some(Outcome::Loaded | Outcome::AlreadyLoaded)), visible.is_some(), "{table}: {report:?}");
            }
            (bench.script, bench.cancel) = (Script::default(), CancellationToken::new());
            let second = bench.load().await;
            assert!(second.complete(), "{second:?}");
            for (table, splits) in &tables {
                let published = bench.sink.published(table).unwrap();
                assert_eq!((bench.sink.ids(table), published.commits), (Some(splits.concat()), 1));
            }
        });
    }
}
