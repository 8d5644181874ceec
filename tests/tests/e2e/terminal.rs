//! What a person at a terminal sees while a load runs, and what a pipe gets instead.

use connect_tests::postgres::{Database, Server};
use connect_tests::proxy::Proxy;
use connect_tests::runtime::{Job, OK, Outcome};

/// The width of the terminal that the program runs on.
const COLUMNS: usize = 120;
/// The start of an escape sequence.
const ESCAPE: char = '\u{1b}';

fn shop() -> Database {
    let database = Server::shared().database();
    database.sql_as_user(
        "CREATE TABLE wide (id bigint PRIMARY KEY, v text);
         INSERT INTO wide SELECT i, repeat(md5(i::text), 20) FROM generate_series(1, 30000) i;
         CREATE TABLE tiny (id int PRIMARY KEY); INSERT INTO tiny VALUES (1), (2);
         ANALYZE wide",
    );
    database
}

/// Loads the shop on a terminal, held in the middle until `seen` shows there.
fn load(args: &[&str], env: &[(&str, &str)], seen: &str) -> Outcome {
    let database = shop();
    let proxy = Proxy::holding_after(database.port(), 8 << 20);
    let job = Job::new(&database)
        .source("database.port", &proxy.port.to_string())
        .worker("progress.interval.ms", "50")
        .worker("log.dir", "logs");
    let mut running = job.start_on_terminal(args, env);
    let output = job.folder().join("output");
    running.until(seen, || std::fs::read_to_string(&output).is_ok_and(|text| text.contains(seen)).then_some(()));
    proxy.release();
    let outcome = running.wait().expect(OK);
    let mut logs = std::fs::read_dir(job.folder().join("logs")).unwrap();
    let log = std::fs::read_to_string(logs.next().unwrap().unwrap().path()).unwrap();
    assert!(log.contains(" MB/s") && !log.contains(ESCAPE), "the log file has progress lines, whatever shows: {log}");
    outcome
}

/// What a terminal shows after these bytes: the few sequences that matter, and no others.
fn screen(output: &str) -> Vec<String> {
    let mut lines = vec![Vec::new()];
    let (mut row, mut column) = (0usize, 0usize);
    let mut chars = output.chars();
    while let Some(c) = chars.next() {
        match c {
            '\r' => column = 0,
            '\n' => row += 1,
            ESCAPE => {
                assert_eq!(chars.next(), Some('['), "a sequence that is none");
                let mut number = String::new();
                let end = chars.by_ref().find(|c| {
                    number.push(*c);
                    c.is_ascii_alphabetic()
                });
                let count = number.trim_end_matches(char::is_alphabetic).parse().unwrap_or(1);
                match end {
                    Some('A') => row = row.saturating_sub(count),
                    Some('B') => row += count,
                    Some('K') => lines[row].clear(),
                    Some('m' | 'h' | 'l') => {}
                    other => panic!("an unknown sequence: {number:?} {other:?}"),
                }
            }
            c => {
                // A full line goes on in the next one, but only when there is more.
                if column == COLUMNS {
                    (row, column) = (row + 1, 0);
                    lines.resize(lines.len().max(row + 1), Vec::new());
                }
                let line: &mut Vec<char> = &mut lines[row];
                line.resize(line.len().max(column + 1), ' ');
                line[column] = c;
                column += 1;
            }
        }
        lines.resize(lines.len().max(row + 1), Vec::new());
    }
    lines.into_iter().map(|line| line.into_iter().collect::<String>().trim_end().to_owned()).collect()
}

#[test]
fn bars_on_a_terminal() {
    let outcome = load(&[], &[("TERM", "xterm"), ("NO_COLOR", "1")], "public.wide [=");
    let text = &outcome.output;
    assert!(text.contains("left") && text.contains("/2 tables, "), "{text}");
    assert!(!text.contains("\u{1b}[3"), "no colours: {text:?}");
    // At the end the bars are gone, and what was logged meanwhile stands there whole.
    let shown = screen(text);
    let lines: Vec<_> = shown.iter().filter(|line| !line.is_empty()).collect();
    assert!(!lines.iter().any(|line| line.contains(" [=") || line.contains("MB/s")), "{shown:#?}");
    let summary = lines.iter().position(|line| line.starts_with("table ")).unwrap_or_else(|| panic!("{shown:#?}"));
    assert!(summary > 1, "something was logged: {shown:#?}");
    let logged: String = lines[..summary].iter().map(|line| format!("{line:<COLUMNS$}")).collect();
    for text in ["INFO took the cut", "the load begins table=public.wide", "loaded table=public.wide rows=30000"] {
        assert!(logged.contains(text), "{text}: {shown:#?}");
    }
    // A line that is longer than the terminal is wide goes on in the next; a space at its end is not seen.
    let mut full = false;
    for line in &lines[..summary] {
        assert!(full || (line.starts_with("20") && line.contains("Z ")), "torn: {line:?} in {shown:#?}");
        full = line.chars().count() >= COLUMNS - 1;
    }
    assert!(lines.last().unwrap().starts_with("shop → lake: 2 loaded"), "{shown:#?}");
}

#[test]
fn lines_where_they_are_asked_for() {
    let outcome = load(&["--progress", "lines"], &[("TERM", "xterm")], "shop: public.wide: ");
    assert!(!outcome.output.contains(" ["), "{}", outcome.output);
    assert!(outcome.output.contains("\u{1b}["), "colours are for terminals");
}

#[test]
fn lines_where_bars_cannot_be() {
    let dumb = load(&[], &[("TERM", "dumb")], "shop: public.wide: ");
    assert!(!dumb.output.contains(ESCAPE), "{:?}", dumb.output);
    let ci = load(&[], &[("TERM", "xterm"), ("CI", "true"), ("NO_COLOR", "1")], "shop: public.wide: ");
    assert!(!ci.output.contains(ESCAPE), "{:?}", ci.output);
    let forced = load(&["--progress", "bars"], &[("TERM", "xterm"), ("CI", "true")], "public.wide [");
    assert!(forced.output.contains(ESCAPE));
    // Not on a terminal at all.
    let job = Job::new(&shop());
    assert!(!job.run(&["--progress", "bars"]).expect(OK).output.contains(ESCAPE));
}

/// The twin: the screen tells a torn line from a whole one, and a bar that was left behind.
#[test]
fn the_screen_shows_what_a_terminal_would() {
    let check = |output: &str, lines: &[&str]| assert_eq!(screen(output), lines);
    check("a\r\nb\r\n", &["a", "b", ""]);
    check("bar 1\r\u{1b}[2Kline\r\nbar 2\r\u{1b}[2K", &["line", ""]);
    check("one\r\ntwo\u{1b}[1A\r\u{1b}[2K\u{1b}[1B\r\u{1b}[2K\u{1b}[1Alog", &["log", ""]);
    let full = "=".repeat(COLUMNS);
    check(&format!("{full}{full}\u{1b}[1A\r\u{1b}[2Klog\r\n\u{1b}[2K"), &["log", ""]);
    check("bar 1\rlog", &["log 1"]);
    check("bar 1\r\nlog", &["bar 1", "log"]);
}
