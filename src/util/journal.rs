//! Finished pieces of a long run, kept as they come, so that a killed run goes on where it was.
//!
//! A journal is a JSON Lines file beside the artefact it will become: a header that names the run's settings, then one
//! line a finished piece. A line cut short by a crash is dropped. When the run is complete the artefact is written
//! atomically and the journal removed; what the pieces mean is the caller's business.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;

/// An open journal; see the module's description.
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
    file: File,
    path: PathBuf,
}

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// Reading or writing failed.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// The journal.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It belongs to a run with other settings.
    #[error("{} is the journal of an unfinished run with other settings; repeat that run, or delete the file to start over", path.display())]
    OtherRun {
        /// The journal.
        path: PathBuf,
    },
}

impl Journal {
    /// Opens the journal of `artefact`, or starts it with `header`; returns the finished pieces it holds.
    ///
    /// # Errors
    /// [`JournalError::OtherRun`] if it was started with another header, [`JournalError::Io`] otherwise.
    pub fn open(artefact: &Path, header: &Value) -> Result<(Self, Vec<Value>), JournalError> {
        let mut name = artefact.as_os_str().to_owned();
        name.push(".journal");
        let path = PathBuf::from(name);
        let attempt = || -> io::Result<(File, Option<Value>, Vec<Value>)> {
            if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
                std::fs::create_dir_all(directory)?;
            }
            let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
            let (lines, sound) = read_lines(&file)?;
            file.set_len(sound)?;
            file.seek(SeekFrom::Start(sound))?;
            let mut lines = lines.into_iter();
            Ok((file, lines.next(), lines.collect()))
        };
        let (file, found, pieces) = attempt().map_err(|source| JournalError::Io { path: path.clone(), source })?;
        let mut journal = Self { file, path };
        match found {
            None => journal.append(header)?,
            Some(found) if found == *header => {}
            Some(_) => return Err(JournalError::OtherRun { path: journal.path }),
        }
        Ok((journal, pieces))
    }

    /// Adds a finished piece and syncs it to disk.
    ///
    /// # Errors
    /// [`JournalError::Io`].
    pub fn append(&mut self, piece: &Value) -> Result<(), JournalError> {
        let mut line = piece.to_string();
        line.push('\n');
        let written = self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data());
        written.map_err(|source| JournalError::Io { path: self.path.clone(), source })
    }

    /// Removes the journal: its artefact is in place.
    ///
    /// # Errors
    /// [`JournalError::Io`].
    pub fn remove(self) -> Result<(), JournalError> {
        std::fs::remove_file(&self.path).map_err(|source| JournalError::Io { path: self.path, source })
    }
}

/// The whole lines that are JSON, up to the first that is not, and where they end.
fn read_lines(file: &File) -> io::Result<(Vec<Value>, u64)> {
    let mut reader = BufReader::new(file);
    let (mut lines, mut sound, mut line) = (Vec::new(), 0, Vec::new());
    loop {
        line.clear();
        let length = reader.read_until(b'\n', &mut line)?;
        match serde_json::from_slice(&line) {
            Ok(value) if line.ends_with(b"\n") => lines.push(value),
            _ => return Ok((lines, sound)),
        }
        sound += length as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_line_cut_short_is_dropped_and_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let artefact = dir.path().join("x.json");
        let (mut journal, _) = Journal::open(&artefact, &json!(1)).unwrap();
        journal.append(&json!({"a": 1})).unwrap();
        journal.file.write_all(b"{\"a\": 2").unwrap();
        let (mut journal, pieces) = Journal::open(&artefact, &json!(1)).unwrap();
        assert_eq!(pieces, [json!({"a": 1})]);
        journal.append(&json!({"a": 3})).unwrap();
        let (_, pieces) = Journal::open(&artefact, &json!(1)).unwrap();
        assert_eq!(pieces, [json!({"a": 1}), json!({"a": 3})]);
    }

    #[test]
    fn another_runs_journal_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let artefact = dir.path().join("x.json");
        Journal::open(&artefact, &json!({"seed": 1})).unwrap();
        let error = Journal::open(&artefact, &json!({"seed": 2})).unwrap_err();
        assert!(matches!(error, JournalError::OtherRun { .. }), "{error}");
    }
}
