//! Finished records of a long run, stored as they come, so that a killed run resumes where it was.
//!
//! A journal is a [JSON Lines file](super::jsonl) beside the artefact that it becomes: a header
//! that names the run's settings, then one line per finished record. When the run is complete, the
//! caller writes the artefact atomically and removes the journal; what the records mean is up to
//! the caller.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::io::FileError;
use super::jsonl::JsonLines;

/// An open journal; see the [module](self).
///
/// ```
/// use mmprm::util::journal::Journal;
/// use serde_json::json;
/// let dir = tempfile::tempdir().unwrap();
/// let artefact = dir.path().join("scored.json");
/// let (mut journal, _) = Journal::open(&artefact, &json!({"seed": 1})).unwrap();
/// journal.append(&json!({"problem": 0})).unwrap();
/// drop(journal); // the run is killed here
/// let (journal, finished) = Journal::open(&artefact, &json!({"seed": 1})).unwrap();
/// assert_eq!(finished, [json!({"problem": 0})]);
/// journal.remove().unwrap();
/// ```
#[derive(Debug)]
pub struct Journal {
    lines: JsonLines,
}

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The journal cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The journal belongs to a run with other settings.
    #[error("{} is the journal of an unfinished run with other settings; repeat that run, or delete the file to start over", path.display())]
    OtherRun {
        /// The journal.
        path: PathBuf,
    },
}

impl Journal {
    /// Opens the journal of `artefact`, or starts it with `header`; returns the finished pieces in
    /// it. The first line that is damaged and all after it are dropped.
    ///
    /// # Errors
    /// [`JournalError::OtherRun`] if it was started with another header, [`JournalError::File`]
    /// otherwise.
    pub fn open(artefact: &Path, header: &Value) -> Result<(Self, Vec<Value>), JournalError> {
        let mut name = artefact.as_os_str().to_owned();
        name.push(".journal");
        let (mut found, mut pieces) = (None, Vec::new());
        let lines = JsonLines::open(Path::new(&name), |line| -> Result<_, FileError> {
            match line.json() {
                None => return Ok(ControlFlow::Break(())),
                Some(value) if found.is_none() => found = Some(value),
                Some(value) => pieces.push(value),
            }
            Ok(ControlFlow::Continue(()))
        })?;
        let mut journal = Self { lines };
        match found {
            None => journal.append(header)?,
            Some(found) if found == *header => {}
            Some(_) => return Err(JournalError::OtherRun { path: name.into() }),
        }
        Ok((journal, pieces))
    }

    /// Appends a finished piece and syncs it to disk.
    ///
    /// # Errors
    /// [`JournalError::File`].
    pub fn append(&mut self, piece: &Value) -> Result<(), JournalError> {
        self.lines.append(piece)?;
        Ok(self.lines.sync()?)
    }

    /// Deletes the journal; call it once the artefact is in place.
    ///
    /// # Errors
    /// [`JournalError::File`].
    pub fn remove(self) -> Result<(), JournalError> {
        Ok(self.lines.remove()?)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use serde_json::json;

    #[test]
    fn a_torn_line_is_dropped_and_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let artefact = dir.path().join("x.json");
        let (mut journal, _) = Journal::open(&artefact, &json!(1)).unwrap();
        journal.append(&json!({"a": 1})).unwrap();
        let mut file = std::fs::OpenOptions::new().append(true).open(dir.path().join("x.json.journal")).unwrap();
        file.write_all(b"{\"a\": 2").unwrap();
        let (mut journal, pieces) = Journal::open(&artefact, &json!(1)).unwrap();
        assert_eq!(pieces, [json!({"a": 1})]);
        journal.append(&json!({"a": 3})).unwrap();
        let (_, pieces) = Journal::open(&artefact, &json!(1)).unwrap();
        assert_eq!(pieces, [json!({"a": 1}), json!({"a": 3})]);
    }

    #[test]
    fn the_journal_of_another_run_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let artefact = dir.path().join("x.json");
        Journal::open(&artefact, &json!({"seed": 1})).unwrap();
        let error = Journal::open(&artefact, &json!({"seed": 2})).unwrap_err();
        assert!(matches!(error, JournalError::OtherRun { .. }), "{error}");
    }
}
