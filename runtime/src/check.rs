//! `check`: what stands in the way of the sources, their sinks and the logs, each with what removes it. Writes no table
//! and no state; a catalog that is a file and not there yet is created by looking for it.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use connect_engine::Pipeline;
use connector_api::{Finding, Severity};

use crate::Outcome;
use crate::setup::Setup;

/// Free space in the state directory's file system below which that is a finding, bytes.
const LEAST_FREE: u64 = 64 << 20;

/// Prints every finding, and ends as the worst of them says.
pub(crate) async fn check(setup: &Setup) -> Result<Outcome> {
    let mut all = vec![("worker", state(&setup.worker.state_dir))];
    for pipeline in &setup.pipelines {
        all.extend(look(pipeline).await);
    }
    for following in setup.followings.iter().filter(|f| !setup.pipelines.iter().any(|p| p.sink_name == f.sink_name)) {
        let sink = following.sink.progress(&[]).await.map(drop);
        let log = following.log.ends(&[]).await.map(drop);
        let found = [sink, log].into_iter().filter_map(Result::err).map(|error| Finding::of_error(&error));
        all.push((&following.sink_name, found.collect()));
    }
    // A sink that several sources feed is named once for each thing that it has.
    let mut said = BTreeSet::new();
    let (mut out, mut blocked) = (std::io::stdout().lock(), false);
    for (name, findings) in all {
        for finding in &findings {
            blocked |= finding.severity == Severity::Blocking;
            let line = render(name, finding);
            if said.insert(line.clone()) {
                writeln!(out, "{line}").context("standard output")?;
            }
        }
    }
    let verdict = match (said.len(), blocked) {
        (0, _) => "nothing stands in the way",
        (_, false) => "nothing blocks",
        (_, true) => "not ready",
    };
    writeln!(out, "{verdict}").context("standard output")?;
    Ok(if blocked { Outcome::Partly } else { Outcome::Done })
}

async fn look(pipeline: &Pipeline) -> Vec<(&str, Vec<Finding>)> {
    let failed = |error| vec![Finding::of_error(&error)];
    let found = pipeline.source.check().await.unwrap_or_else(failed);
    // Without the tables' names the sink can still be asked whether it is there.
    let tables = pipeline.source.tables().await.map(|selection| selection.tables).unwrap_or_default();
    let mut sink = pipeline.sink.progress(&tables).await.map_or_else(failed, |_| vec![]);
    if let Some(log) = &pipeline.log {
        sink.extend(log.ends(&tables).await.map_or_else(failed, |_| vec![]));
    }
    vec![(&pipeline.source_name, found), (&pipeline.sink_name, sink)]
}

fn render(name: &str, finding: &Finding) -> String {
    let severity = match finding.severity {
        Severity::Blocking => "blocking",
        Severity::Warning => "warning",
    };
    let table = finding.table.as_ref().map(|table| format!("{table}: ")).unwrap_or_default();
    let remedy = if finding.remedy.is_empty() { String::new() } else { format!("\n    {}", finding.remedy) };
    format!("{severity}: {name}: {table}{}{remedy}", finding.what)
}

/// Whether there is room for state; the folder itself may be still to be made.
pub(crate) fn state(folder: &Path) -> Vec<Finding> {
    let Some(there) = folder.ancestors().find(|path| path.exists()).map(|path| match path.as_os_str().is_empty() {
        true => Path::new("."),
        false => path,
    }) else {
        return vec![];
    };
    let finding = |severity, what: String, remedy: &str| vec![Finding::new(severity, what, remedy)];
    if !there.is_dir() {
        let what = format!("state.dir: {} is not a folder", there.display());
        return finding(Severity::Blocking, what, "set state.dir to a folder");
    }
    if let Err(e) = rustix::fs::access(there, rustix::fs::Access::WRITE_OK) {
        let what = format!("state.dir: {} cannot be written: {e}", there.display());
        return finding(Severity::Blocking, what, "set state.dir to a folder of the user that runs this");
    }
    match rustix::fs::statvfs(there) {
        Ok(space) if space.f_bavail.saturating_mul(space.f_frsize) < LEAST_FREE => {
            let what = format!("state.dir: less than {} MiB are free at {}", LEAST_FREE >> 20, there.display());
            finding(Severity::Warning, what, "free some space, or set state.dir to another file system")
        }
        Ok(_) => vec![],
        Err(e) => finding(Severity::Warning, format!("state.dir: cannot tell what is free: {e}"), ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use connector_api::TableId;

    #[test]
    fn a_line_says_where_what_and_what_to_do() {
        let finding =
            Finding::new(Severity::Blocking, "no SELECT privilege", "GRANT SELECT").on(&TableId::new("s", "t"));
        assert_eq!(render("shop", &finding), "blocking: shop: s.t: no SELECT privilege\n    GRANT SELECT");
        let finding = Finding::new(Severity::Warning, "slow", "");
        assert_eq!(render("shop", &finding), "warning: shop: slow");
    }

    #[test]
    fn state_needs_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(state(&folder.path().join("not/made/yet")), []);
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(state(&file.join("state"))[0].severity, Severity::Blocking);
    }
}
