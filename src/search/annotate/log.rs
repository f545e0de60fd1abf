//! The log of an annotation: the result of each problem, over all runs in a directory.

use std::collections::HashSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::AnnotateError;
use crate::util::jsonl::{Found, Hash, JsonLines};

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

/// What every line begins with.
const BEGINNING: &[u8] = b"{\"id\":";

/// The open log.
pub(super) struct Log(JsonLines);

/// What earlier runs left in the log.
#[derive(Debug, Default)]
pub(super) struct History {
    /// The file stems of problems whose last attempt failed.
    pub(super) failures: HashSet<String>,
    /// Number of damaged lines, which were moved to `<log>.damaged`.
    pub(super) damaged: usize,
}

impl Log {
    /// Opens or creates the log. A last line without its newline, which a crash truncated, is
    /// removed; other damaged lines are set aside.
    ///
    /// # Errors
    /// [`AnnotateError::NotALog`] if no line is one of a log; the file is then unchanged.
    pub(super) fn open(path: &Path) -> Result<(Self, History), AnnotateError> {
        let mut failures = HashSet::new();
        // Lines without a hash are from an earlier version, and stand before those with one.
        let mut hashed = false;
        let scan = JsonLines::scan(path, |line| {
            let hash = line.hash(&[]);
            hashed |= hash == Hash::Right;
            let past: Option<Past> = if hashed && hash == Hash::Missing { None } else { line.json() };
            let Some(past) = past else { return Ok::<_, AnnotateError>(Found::Damaged) };
            match past.status {
                Status::Failed => failures.insert(past.stem),
                Status::Done => failures.remove(&past.stem),
            };
            Ok(Found::Sound)
        })?;
        let is_torn_line = scan.torn().starts_with(BEGINNING) || BEGINNING.starts_with(scan.torn());
        if scan.sound() == 0 && (scan.damaged() > 0 || !is_torn_line) {
            return Err(AnnotateError::NotALog { path: path.to_owned() });
        }
        let damaged = scan.damaged();
        Ok((Self(scan.open()?), History { failures, damaged }))
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
        let (mut log, history) = Log::open(&path).unwrap();
        assert!(history.failures.is_empty());
        for (stem, status) in [
            ("a", Status::Failed),
            ("b", Status::Failed),
            ("a", Status::Done),
            ("c", Status::Done),
            ("c", Status::Failed),
        ] {
            log.append(&line(stem, status)).unwrap();
        }
        let (_, history) = Log::open(&path).unwrap();
        assert_eq!(history.failures, HashSet::from(["b".to_owned(), "c".to_owned()]));
    }

    #[test]
    fn a_line_truncated_by_a_crash_is_removed_and_the_log_stays_usable() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let whole = "{\"stem\": \"a\", \"status\": \"failed\"}\n";
        std::fs::write(&path, format!("{whole}{{\"stem\": \"b\", \"sta")).unwrap();
        let (mut log, history) = Log::open(&path).unwrap();
        assert_eq!((history.failures, history.damaged), (HashSet::from(["a".to_owned()]), 0));
        log.append(&line("c", Status::Done)).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with(&format!("{whole}{{\"id\":\"p\",\"stem\":\"c\"")), "{text}");
    }

    #[test]
    fn damaged_lines_are_set_aside_and_the_others_count() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        std::fs::write(&path, "{\"stem\": \"old\", \"status\": \"failed\"}\n").unwrap();
        let (mut log, _) = Log::open(&path).unwrap();
        for stem in ["a", "b", "c"] {
            log.append(&line(stem, Status::Failed)).unwrap();
        }
        // One line stays an object; its hash, or the hash's name, no longer fits.
        let text = std::fs::read_to_string(&path).unwrap();
        for (from, to) in [("\"stem\":\"b\"", "\"stem\":\"x\""), ("\"b\",\"status\"", "\"b\",\"state\"")] {
            std::fs::write(&path, text.replace(from, to)).unwrap();
            let (_, history) = Log::open(&path).unwrap();
            assert_eq!(history.damaged, 1);
            assert_eq!(history.failures, ["old", "a", "c"].map(str::to_owned).into());
        }
        assert_eq!(std::fs::read_to_string(directory.path().join("log.damaged")).unwrap().lines().count(), 2);
        assert_eq!(Log::open(&path).unwrap().1.damaged, 0);
    }

    #[test]
    fn another_file_is_refused_and_unchanged() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        for text in ["nonsense", "nonsense\n", "{}\n{}\n", "\0\x01\n\n", "[1,\n2]"] {
            std::fs::write(&path, text).unwrap();
            let Err(error) = Log::open(&path) else { panic!("{text:?} was accepted") };
            assert!(error.to_string().ends_with("expected the log of an annotation, found another file"), "{error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }
}
