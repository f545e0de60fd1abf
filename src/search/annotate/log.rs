//! The log of an annotation: the result of each problem, over all runs in a directory.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::AnnotateError;
use crate::util::jsonl::JsonLines;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    Done,
    Failed,
}

/// A line: a problem that was finished or failed.
#[derive(Debug, Serialize)]
pub(super) struct Line<'a> {
    pub(super) id: &'a str,
    pub(super) stem: &'a str,
    pub(super) status: Status,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cause: Option<&'a str>,
    pub(super) rollouts: usize,
    /// Rollouts that could not be judged.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) unjudged: usize,
    pub(super) searches: usize,
    #[serde(rename = "guesses", skip_serializing_if = "is_zero")]
    pub(super) speculative_probes: usize,
    #[serde(rename = "guesses_dropped", skip_serializing_if = "is_zero")]
    pub(super) cancelled_probes: usize,
    pub(super) seconds: f64,
    /// Which message of the prompt held the steps before a rollout, unless it is the user's, as in
    /// MM-PRM.
    #[serde(rename = "continue", skip_serializing_if = "Option::is_none")]
    pub(super) continues: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes the field by reference")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// The fields of a line that later runs read.
#[derive(Deserialize)]
struct Past {
    stem: String,
    status: Status,
}

/// The open log.
pub(super) struct Log(JsonLines);

impl Log {
    /// Opens or creates the log; returns the file stems of problems whose last attempt failed. A last line without a newline,
    /// which a crash truncated, is removed.
    pub(super) fn open(path: &Path) -> Result<(Self, HashSet<String>), AnnotateError> {
        let mut failures = HashSet::new();
        let lines = JsonLines::open(path, |line| {
            let damaged = || AnnotateError::Log { path: path.to_owned(), line: line.number };
            let past: Past = line.json().ok_or_else(damaged)?;
            match past.status {
                Status::Failed => failures.insert(past.stem),
                Status::Done => failures.remove(&past.stem),
            };
            Ok::<_, AnnotateError>(ControlFlow::Continue(()))
        })?;
        Ok((Self(lines), failures))
    }

    /// Appends a line; it survives the process once this returns.
    pub(super) fn append(&mut self, line: &Line<'_>) -> Result<(), AnnotateError> {
        Ok(self.0.append(line)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(stem: &'static str, status: Status) -> Line<'static> {
        Line {
            id: "p",
            stem,
            status,
            cause: None,
            rollouts: 16,
            unjudged: 0,
            searches: 1,
            speculative_probes: 0,
            cancelled_probes: 0,
            seconds: 0.5,
            continues: None,
        }
    }

    #[test]
    fn the_last_attempt_at_a_problem_counts() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let (mut log, failures) = Log::open(&path).unwrap();
        assert!(failures.is_empty());
        for (stem, status) in [
            ("a", Status::Failed),
            ("b", Status::Failed),
            ("a", Status::Done),
            ("c", Status::Done),
            ("c", Status::Failed),
        ] {
            log.append(&line(stem, status)).unwrap();
        }
        let (_, failures) = Log::open(&path).unwrap();
        assert_eq!(failures, HashSet::from(["b".to_owned(), "c".to_owned()]));
    }

    #[test]
    fn a_line_truncated_by_a_crash_is_removed_and_the_log_stays_usable() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let whole = "{\"stem\": \"a\", \"status\": \"failed\"}\n";
        std::fs::write(&path, format!("{whole}{{\"stem\": \"b\", \"sta")).unwrap();
        let (mut log, failures) = Log::open(&path).unwrap();
        assert_eq!(failures, HashSet::from(["a".to_owned()]));
        log.append(&line("c", Status::Done)).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with(&format!("{whole}{{\"id\":\"p\",\"stem\":\"c\"")), "{text}");
    }

    #[test]
    fn a_damaged_line_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        std::fs::write(&path, "{\"stem\": \"a\", \"status\": \"done\"}\nnonsense\n").unwrap();
        let Err(error) = Log::open(&path) else { panic!("a damaged log was accepted") };
        assert!(error.to_string().ends_with("line 2: expected an object with stem and status (done or failed)"));
    }
}
