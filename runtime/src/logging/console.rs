//! Standard error, shared by log lines and progress bars: a line is written above the bars, never through them.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use connect_engine::{Bar, Shared, bars};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing_subscriber::fmt::MakeWriter;

/// Bars of tables that are shown at a time; the whole has one more.
const MOST: usize = 8;
/// The longest name that is shown whole, in characters.
const LONGEST: usize = 40;
/// Steps of a bar.
const STEPS: u64 = 1000;
/// How often bars are drawn at most, per second.
const PER_SECOND: u8 = 10;

/// Where lines and bars go. Clones are the same console.
#[derive(Clone)]
pub(crate) struct Console(Option<Arc<Bars>>);

struct Bars {
    all: MultiProgress,
    /// What is shown now, in order, by key.
    shown: Mutex<Vec<(String, ProgressBar)>>,
}

impl Console {
    /// A console with bars, or for lines only.
    pub(crate) fn new(has_bars: bool) -> Self {
        let bars = || {
            let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(PER_SECOND));
            // A terminal that cannot move its cursor hides bars; then lines must say it.
            (!all.is_hidden()).then(|| Arc::new(Bars { all, shown: Mutex::default() }))
        };
        Self(has_bars.then(bars).flatten())
    }

    /// Whether progress is shown as bars.
    pub(crate) fn has_bars(&self) -> bool {
        self.0.is_some()
    }

    /// Draws the loads as they are now.
    pub(crate) fn draw(&self, shared: &Shared) {
        let mut now = Vec::new();
        for (n, load) in shared.loads().iter().enumerate().filter(|(_, load)| load.is_going_on()) {
            // Two sources may have tables of one name; and a table may be called like its source.
            let bars = bars(&load.tables(), load.elapsed(), MOST);
            let last = bars.len();
            now.extend(
                bars.into_iter().enumerate().map(|(i, bar)| (format!("{n} {} {}", i + 1 == last, bar.name), bar)),
            );
        }
        self.show(now);
    }

    /// Takes the bars away, for good or until they are drawn again.
    pub(crate) fn clear(&self) {
        self.show(Vec::new());
    }

    fn show(&self, now: Vec<(String, Bar)>) {
        let Some(Bars { all, shown }) = self.0.as_deref() else { return };
        let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.retain(|(key, bar)| {
            let stays = now.iter().any(|(k, _)| k == key);
            if !stays {
                bar.finish_and_clear();
                all.remove(bar);
            }
            stays
        });
        let width = now.iter().map(|(_, bar)| bar.name.chars().count()).max().unwrap_or(0).min(LONGEST);
        for (i, (key, Bar { name, fraction, text })) in now.into_iter().enumerate() {
            if !shown.iter().any(|(k, _)| *k == key) {
                let bar = ProgressBar::hidden().with_prefix(name);
                bar.set_length(STEPS);
                let place = i.min(shown.len());
                shown.insert(place, (key.clone(), all.insert(i, bar)));
            }
            if let Some((_, bar)) = shown.iter().find(|(k, _)| *k == key) {
                bar.set_style(style(width));
                bar.set_message(text);
                bar.set_position((fraction * STEPS as f64) as u64);
            }
        }
    }
}

fn style(width: usize) -> ProgressStyle {
    let template = format!("{{prefix:{width}!}} [{{bar:24}}] {{wide_msg}}");
    // The template is constant but for a number.
    ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}

impl MakeWriter<'_> for Console {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl Write for Console {
    /// A whole line, as the formatter hands it over.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let write = || io::stderr().lock().write_all(line);
        match &self.0 {
            Some(bars) => bars.all.suspend(write)?,
            None => write()?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
