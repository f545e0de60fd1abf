//! The log of an annotation: the result of each problem, over all runs in a directory.

use std::collections::HashSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::AnnotateError;
use crate::util::jsonl::{self, Found, Hash, JsonLines, Scan};

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
    ///
    /// The line of a finished problem is written before its tree is moved into place. So a last line
    /// whose tree is missing (`has_tree` tells) is that of a run killed in between: it is cut off, and
    /// the problem is searched again.
    pub(super) fn open(path: &Path, has_tree: impl Fn(&str) -> bool) -> Result<(Self, History), AnnotateError> {
        let mut reader = Reader::default();
        let scan = JsonLines::scan(path, |line| reader.line(line))?;
        Reader::accept(&scan, path)?;
        let damaged = scan.damaged();
        let is_unfinished = reader.last_done.as_ref().is_some_and(|(stem, _)| !has_tree(stem));
        let scan = if is_unfinished { scan.without_last() } else { scan };
        if let Some((stem, true)) = reader.last_done.filter(|_| is_unfinished) {
            reader.failures.insert(stem);
        }
        Ok((Self(scan.open()?), History { failures: reader.failures, damaged }))
    }

    /// Checks, without changing anything, that [`open`](Self::open) would not refuse the log.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(super) fn check(path: &Path) -> Result<(), AnnotateError> {
        let mut reader = Reader::default();
        match JsonLines::scan_existing(path, |line| reader.line(line))? {
            Some(scan) => Reader::accept(&scan, path),
            None => Ok(()),
        }
    }

    /// Appends a line; it is on disk once this returns.
    pub(super) fn append(&mut self, line: &Line<'_>) -> Result<(), AnnotateError> {
        self.0.append(line)?;
        Ok(self.0.sync()?)
    }
}

/// Reads the lines of earlier runs.
#[derive(Default)]
struct Reader {
    failures: HashSet<String>,
    /// Whether a line with a hash was read: lines without one are from an earlier version, and stand
    /// before those with one.
    hashed: bool,
    /// The last line, if it is of a finished problem: the file stem, and whether the problem failed
    /// before.
    last_done: Option<(String, bool)>,
}

impl Reader {
    #[expect(clippy::unnecessary_wraps, reason = "the form that the scan takes")]
    fn line(&mut self, line: jsonl::Line<'_>) -> Result<Found, AnnotateError> {
        let hash = line.hash(&[]);
        self.hashed |= hash == Hash::Right;
        self.last_done = None;
        let past: Option<Past> = if self.hashed && hash == Hash::Missing { None } else { line.json() };
        let Some(past) = past else { return Ok(Found::Damaged) };
        match past.status {
            Status::Failed => {
                self.failures.insert(past.stem);
            }
            Status::Done => {
                let failed_before = self.failures.remove(&past.stem);
                self.last_done = Some((past.stem, failed_before));
            }
        }
        Ok(Found::Sound)
    }

    /// Refuses a file in which no line is one of a log.
    fn accept(scan: &Scan, path: &Path) -> Result<(), AnnotateError> {
        let is_torn_line = scan.torn().starts_with(BEGINNING) || BEGINNING.starts_with(scan.torn());
        if scan.sound() == 0 && (scan.damaged() > 0 || !is_torn_line) {
            return Err(AnnotateError::NotALog { path: path.to_owned() });
        }
        Ok(())
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
        let (mut log, history) = Log::open(&path, |_| true).unwrap();
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
        let (_, history) = Log::open(&path, |_| true).unwrap();
        assert_eq!(history.failures, HashSet::from(["b".to_owned(), "c".to_owned()]));
    }

    #[test]
    fn a_line_truncated_by_a_crash_is_removed_and_the_log_stays_usable() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let whole = "{\"stem\": \"a\", \"status\": \"failed\"}\n";
        std::fs::write(&path, format!("{whole}{{\"stem\": \"b\", \"sta")).unwrap();
        let (mut log, history) = Log::open(&path, |_| true).unwrap();
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
        let (mut log, _) = Log::open(&path, |_| true).unwrap();
        for stem in ["a", "b", "c"] {
            log.append(&line(stem, Status::Failed)).unwrap();
        }
        // One line stays an object; its hash, or the hash's name, no longer fits.
        let text = std::fs::read_to_string(&path).unwrap();
        for (from, to) in [("\"stem\":\"b\"", "\"stem\":\"x\""), ("\"b\",\"status\"", "\"b\",\"state\"")] {
            std::fs::write(&path, text.replace(from, to)).unwrap();
            let (_, history) = Log::open(&path, |_| true).unwrap();
            assert_eq!(history.damaged, 1);
            assert_eq!(history.failures, ["old", "a", "c"].map(str::to_owned).into());
        }
        assert_eq!(std::fs::read_to_string(directory.path().join("log.damaged")).unwrap().lines().count(), 2);
        assert_eq!(Log::open(&path, |_| true).unwrap().1.damaged, 0);
    }

    #[test]
    fn the_line_of_a_tree_that_was_not_moved_into_place_is_cut_off() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let (mut log, _) = Log::open(&path, |_| true).unwrap();
        for (stem, status) in [("a", Status::Done), ("b", Status::Failed), ("b", Status::Done)] {
            log.append(&line(stem, status)).unwrap();
        }
        let lines = || std::fs::read_to_string(&path).unwrap().lines().count();
        let (_, history) = Log::open(&path, |_| true).unwrap();
        assert_eq!((history.failures.len(), lines()), (0, 3));
        // Trees that are missing elsewhere were removed by their user.
        let (_, history) = Log::open(&path, |stem| stem == "b").unwrap();
        assert_eq!((history.failures.len(), lines()), (0, 3));
        let (_, history) = Log::open(&path, |_| false).unwrap();
        assert_eq!((history.failures, lines()), (HashSet::from(["b".to_owned()]), 2));
        let (_, history) = Log::open(&path, |_| false).unwrap();
        assert_eq!((history.failures.len(), lines()), (1, 2), "a failed problem has no tree");
    }

    #[test]
    fn another_file_is_refused_and_unchanged() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        for text in ["nonsense", "nonsense\n", "{}\n{}\n", "\0\x01\n\n", "[1,\n2]"] {
            std::fs::write(&path, text).unwrap();
            let Err(error) = Log::open(&path, |_| true) else { panic!("{text:?} was accepted") };
            assert!(error.to_string().ends_with("expected the log of an annotation, found another file"), "{error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }
}
