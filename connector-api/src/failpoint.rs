//! Named points at which a test can kill, fail or delay the process.
//!
//! Compiled to nothing without the feature `failpoints`. With it, `CONNECT_FAILPOINTS` holds
//! `name=action` pairs separated by `;`, where the action is `kill` (the process ends on the spot, as by
//! `kill -9`), `error` (a retriable error), `panic` or `delay(ms)`, and `@n` after the action means the n-th hit
//! only: `iceberg.before-commit=kill@3`.

use crate::Result;

/// Acts as `CONNECT_FAILPOINTS` says for this point.
///
/// # Errors
/// `Retriable` when the action is `error`.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn hit(_name: &'static str) -> Result<()> {
    Ok(())
}

/// Acts as `CONNECT_FAILPOINTS` says for this point.
///
/// # Errors
/// `Retriable` when the action is `error`.
#[cfg(feature = "failpoints")]
pub fn hit(name: &'static str) -> Result<()> {
    active::hit(name)
}

#[cfg(feature = "failpoints")]
mod active {
    use std::collections::HashMap;
    use std::sync::{LazyLock, Mutex, PoisonError};
    use std::time::Duration;

    use crate::{Error, Result};

    struct Point {
        action: String,
        only: Option<u64>,
        hits: u64,
    }

    static POINTS: LazyLock<Mutex<HashMap<String, Point>>> = LazyLock::new(|| {
        let spec = std::env::var("CONNECT_FAILPOINTS").unwrap_or_default();
        Mutex::new(spec.split(';').filter_map(parse).collect())
    });

    fn parse(pair: &str) -> Option<(String, Point)> {
        let (name, action) = pair.split_once('=')?;
        let (action, only) = match action.split_once('@') {
            Some((action, n)) => (action, n.parse().ok()),
            None => (action, None),
        };
        Some((name.trim().to_owned(), Point { action: action.trim().to_owned(), only, hits: 0 }))
    }

    #[expect(clippy::panic, reason = "to panic is what the test asked for")]
    pub(super) fn hit(name: &'static str) -> Result<()> {
        let action = {
            let mut points = POINTS.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(point) = points.get_mut(name) else { return Ok(()) };
            point.hits += 1;
            if point.only.is_some_and(|n| n != point.hits) {
                return Ok(());
            }
            point.action.clone()
        };
        match action.as_str() {
            "kill" => std::process::abort(),
            "panic" => panic!("failpoint {name}"),
            "error" => Err(Error::retriable("failpoint").with("name", name)),
            other => {
                let ms = other.strip_prefix("delay(").and_then(|s| s.strip_suffix(')')).and_then(|s| s.parse().ok());
                std::thread::sleep(Duration::from_millis(ms.unwrap_or(0)));
                Ok(())
            }
        }
    }
}
