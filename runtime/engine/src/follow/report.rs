//! What came of following a log, for people. Pure.

use std::sync::Arc;
use std::time::Duration;

use super::progress::{FollowState, FollowedTable};
use crate::progress::{duration, grouped};
use crate::report::End;

/// What came of following a log.
#[derive(Debug)]
pub struct FollowReport {
    /// Name of the sink connector.
    pub sink: Arc<str>,
    /// Every table that the log has spoken of, by name.
    pub tables: Vec<FollowedTable>,
    /// How it ended; never [`End::Finished`].
    pub end: End,
    /// From start to end.
    pub elapsed: Duration,
}

impl FollowReport {
    /// How many tables were not followed at the end: they had failed, for good or until another attempt.
    pub fn failed(&self) -> usize {
        self.tables.iter().filter(|t| t.state != FollowState::Followed).count()
    }

    /// Each failure in full, and a last line that says it all.
    pub fn lines(&self) -> Vec<String> {
        let failure = |t: &FollowedTable| {
            let error = t.error.as_ref().filter(|_| t.state != FollowState::Followed)?;
            Some(format!("{}: {error:#}", t.table))
        };
        let mut lines: Vec<_> = self.tables.iter().filter_map(failure).collect();
        let changes = self.tables.iter().map(|t| t.changes).sum();
        let failed = if self.failed() == 0 { String::new() } else { format!(", {} failed", self.failed()) };
        let end = match &self.end {
            End::Failed(error) => format!("ended by an error: {error:#}"),
            End::Cancelled | End::Finished => "stopped on request".to_owned(),
        };
        let tables = self.tables.len() - self.failed();
        let (changes, elapsed) = (grouped(changes), duration(self.elapsed));
        lines.push(format!("{}: {tables} tables followed{failed}, {changes} changes in {elapsed}; {end}", self.sink));
        lines
    }
}

#[cfg(test)]
mod tests {
    use connector_api::{Error, TableId};

    use super::*;

    fn check(tables: &[(&str, FollowState, u64)], end: End) -> String {
        let table = |(name, state, changes): &(&str, FollowState, u64)| FollowedTable {
            table: TableId::new("public", *name),
            state: *state,
            changes: *changes,
            error: Some(Arc::new(Error::data("no column").with("column", "v"))),
        };
        let tables = tables.iter().map(table).collect();
        FollowReport { sink: "lake".into(), tables, end, elapsed: Duration::from_secs(90) }.lines().join("\n")
    }

    #[test]
    fn tells_everything() {
        let tables = [("a", FollowState::Followed, 1200), ("b", FollowState::Failed, 3)];
        assert_eq!(
            check(&tables, End::Cancelled),
            "public.b: no column [column=v]\n\
             lake: 1 tables followed, 1 failed, 1,203 changes in 1m30s; stopped on request"
        );
        assert_eq!(
            check(&[], End::Failed(Error::fatal("no broker"))),
            "lake: 0 tables followed, 0 changes in 1m30s; ended by an error: no broker"
        );
    }
}
