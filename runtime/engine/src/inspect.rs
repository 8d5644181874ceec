//! What a source finds of its surroundings, at every start: what blocks it ends the load before it begins,
//! the rest is said once. What blocks one table only stands in the plan as a refusal.

use std::sync::Arc;

use connector_api::{Error, Finding, Result, Severity, Source};
use tracing::warn;

use crate::contain::contain;

/// Asks the source, and says what it found.
///
/// # Errors
/// `Fatal` with everything that blocks the source as a whole, or what the check itself failed with.
pub(crate) async fn inspect(name: &str, source: &Arc<dyn Source>) -> Result<()> {
    let findings = contain(name, "check", source.check()).await?;
    for finding in findings.iter().filter(|f| f.severity == Severity::Warning) {
        warn!(connector = name, "{finding}");
    }
    blocked(&findings)
}

fn blocked(findings: &[Finding]) -> Result<()> {
    let blocking = |f: &&Finding| f.severity == Severity::Blocking && f.table.is_none();
    let all: Vec<_> = findings.iter().filter(blocking).map(ToString::to_string).collect();
    if all.is_empty() { Ok(()) } else { Err(Error::fatal(format!("the load cannot start: {}", all.join(". ")))) }
}

#[cfg(test)]
mod tests {
    use connector_api::TableId;

    use super::*;

    #[test]
    fn only_what_blocks_all_ends_the_load() {
        let warning = Finding::new(Severity::Warning, "slow", "");
        let table = Finding::new(Severity::Blocking, "no SELECT", "GRANT").on(&TableId::new("s", "t"));
        assert!(blocked(&[warning.clone(), table.clone()]).is_ok());
        let all = Finding::new(Severity::Blocking, "wal_level is replica", "ALTER SYSTEM");
        let error = blocked(&[warning, table, all.clone(), all]).unwrap_err();
        assert_eq!(
            error.message(),
            "the load cannot start: wal_level is replica; remedy: ALTER SYSTEM. wal_level is replica; remedy: ALTER SYSTEM"
        );
    }
}
