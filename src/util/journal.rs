//! Finished records of a long run, stored as they come, so that a killed run resumes where it was.
//!
//! A journal is a [JSON Lines file](super::jsonl) beside the artefact that it becomes: a header
//! with the run's settings, then one line per finished record. It is locked while it is open.
//! When the run is complete, the caller writes the artefact atomically and removes the journal;
//! what the records mean is up to the caller.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use mmprm_quant::atomic::beside;
use serde_json::{Value, json};

use super::io::FileError;
use super::jsonl::{Found, Hash, JsonLines, Line, Scan, line_of};
use super::own_file;

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
/// assert_eq!(finished.pieces, [json!({"problem": 0})]);
/// journal.remove().unwrap();
/// ```
#[derive(Debug)]
pub struct Journal {
    lines: JsonLines,
    salt: Vec<u8>,
}

/// What is in a journal that was opened.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Finished {
    /// The finished pieces.
    pub pieces: Vec<Value>,
    /// Number of damaged lines, which were moved to `<journal>.damaged`.
    pub damaged: usize,
}

/// Why a journal cannot be used. The file is then unchanged.
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
    /// Another process has the journal open.
    #[error("{} is in use by another run: expected no other process to write the same output", path.display())]
    InUse {
        /// The journal.
        path: PathBuf,
    },
    /// The file in the journal's place does not begin with the header of a journal.
    #[error("{} is not a journal of this version: expected a file that begins with {HEADER:?} and an undamaged first line; move it away to start over", path.display())]
    NotAJournal {
        /// The file.
        path: PathBuf,
    },
}

/// What a journal begins with. Journals of earlier versions, which began with the settings, are
/// refused.
const HEADER: &str = "{\"mmprm_journal\":2,";

/// Maximum length of a header in bytes.
const MAX_HEADER: u64 = 256 << 20;

/// What the first line of a journal says.
enum Header {
    /// It is complete.
    Whole(Vec<u8>),
    /// The file is empty, or its only line is the beginning of a header.
    Unfinished,
}

impl Journal {
    /// Opens and locks the journal of `artefact`, or starts it with `header`; returns the finished
    /// pieces in it. A last line without its newline is dropped; damaged lines before it are moved
    /// to `<journal>.damaged`.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn open(artefact: &Path, header: &Value) -> Result<(Self, Finished), JournalError> {
        Self::start(artefact, header, false)
    }

    /// As [`open`](Self::open), and replaces the journal of a run with other settings.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn replace(artefact: &Path, header: &Value) -> Result<(Self, Finished), JournalError> {
        Self::start(artefact, header, true)
    }

    /// Checks, without changing anything, that [`open`](Self::open) would open the journal.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn check(artefact: &Path, header: &Value) -> Result<(), JournalError> {
        let path = path(artefact);
        let Some(file) = existing(&path)? else { return Ok(()) };
        if file.try_lock_shared().is_err() {
            return Err(JournalError::InUse { path });
        }
        match read_header(&file, &path)? {
            Header::Whole(line) if line != header_line(header, &path)? => Err(JournalError::OtherRun { path }),
            _ => Ok(()),
        }
    }

    /// Returns whether there is a journal with this header: a run that is not finished.
    ///
    /// # Errors
    /// [`JournalError`] if it cannot be read.
    pub fn is_begun(artefact: &Path, header: &Value) -> Result<bool, JournalError> {
        let path = path(artefact);
        let Some(file) = existing(&path)? else { return Ok(false) };
        let line = header_line(header, &path)?;
        Ok(matches!(read_header(&file, &path)?, Header::Whole(found) if found == line))
    }

    fn start(artefact: &Path, header: &Value, replace: bool) -> Result<(Self, Finished), JournalError> {
        let path = path(artefact);
        let locked = own_file::lock(&path).map_err(FileError::writing(&path))?;
        let file = locked.ok_or_else(|| JournalError::InUse { path: path.clone() })?;
        let expected = header_line(header, &path)?;
        let found = read_header(&file, &path)?;
        let starts_over = match &found {
            Header::Unfinished => true,
            Header::Whole(line) if *line == expected => false,
            Header::Whole(_) if replace => true,
            Header::Whole(_) => return Err(JournalError::OtherRun { path }),
        };
        // The hash of the header ties the lines to it.
        let salt = expected.clone().split_off(expected.len().saturating_sub(SALT));
        if starts_over {
            let lines = Scan::read(file, &path, |_| Ok::<_, FileError>(Found::Sound))?.open()?;
            let mut journal = Self { lines, salt };
            journal.lines.clear()?;
            journal.lines.append(&header_object(header))?;
            journal.lines.sync()?;
            return Ok((journal, Finished::default()));
        }
        let mut pieces = Vec::new();
        let scan = Scan::read(file, &path, |line| {
            if line.number == 1 {
                return Ok::<_, FileError>(Found::Sound);
            }
            Ok(match piece(line, &salt) {
                Some(piece) => {
                    pieces.push(piece);
                    Found::Sound
                }
                None => Found::Damaged,
            })
        })?;
        let damaged = scan.damaged();
        Ok((Self { lines: scan.open()?, salt }, Finished { pieces, damaged }))
    }

    /// Appends a finished piece and syncs it to disk.
    ///
    /// # Errors
    /// [`JournalError::File`].
    pub fn append(&mut self, piece: &Value) -> Result<(), JournalError> {
        self.lines.append_salted(&json!({"piece": piece}), &self.salt)?;
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

/// Opens a journal to read it; `None` if there is none.
fn existing(path: &Path) -> Result<Option<File>, FileError> {
    match own_file::open(path, OpenOptions::new().read(true)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some).map_err(FileError::reading(path)),
    }
}

/// Number of bytes at the end of the header's line that its lines' hashes depend on: its hash.
const SALT: usize = 20;

fn path(artefact: &Path) -> PathBuf {
    beside(artefact, ".journal")
}

fn header_object(header: &Value) -> Value {
    json!({"mmprm_journal": 2, "settings": header})
}

fn header_line(header: &Value, path: &Path) -> Result<Vec<u8>, FileError> {
    line_of(&header_object(header), &[]).map_err(FileError::writing(path))
}

fn piece(line: Line<'_>, salt: &[u8]) -> Option<Value> {
    if line.hash(salt) != Hash::Right {
        return None;
    }
    let mut object: Value = serde_json::from_slice(line.bytes).ok()?;
    object.get_mut("piece").map(Value::take)
}

/// Reads the first line of a file, no more of which is read if it is not that of a journal.
fn read_header(file: &std::fs::File, path: &Path) -> Result<Header, JournalError> {
    use std::io::Seek;
    let reading = FileError::reading(path);
    let not_ours = || JournalError::NotAJournal { path: path.to_owned() };
    let mut bytes = Vec::new();
    let mut file = file;
    file.rewind().map_err(&reading)?;
    let mut reader = BufReader::new(file).take(MAX_HEADER);
    reader.by_ref().take(HEADER.len() as u64).read_to_end(&mut bytes).map_err(&reading)?;
    if !bytes.is_empty() && bytes != HEADER.as_bytes() {
        return Err(not_ours());
    }
    reader.read_until(b'\n', &mut bytes).map_err(&reading)?;
    file.rewind().map_err(&reading)?;
    let line = Line { number: 1, bytes: &bytes };
    match line.hash(&[]) {
        Hash::Right => Ok(Header::Whole(bytes)),
        _ if line.is_whole() || bytes.len() as u64 >= MAX_HEADER => Err(not_ours()),
        _ => Ok(Header::Unfinished),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// A journal with the header 1 and these pieces; returns its path.
    fn journal(artefact: &Path, pieces: &[Value]) -> PathBuf {
        let (mut journal, _) = Journal::open(artefact, &json!(1)).unwrap();
        for piece in pieces {
            journal.append(piece).unwrap();
        }
        journal.lines.path().to_owned()
    }

    fn append(path: &Path, bytes: &[u8]) {
        std::fs::OpenOptions::new().append(true).open(path).unwrap().write_all(bytes).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn an_artefact_has_one_journal_whatever_path_leads_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir(at("real")).unwrap();
        std::os::unix::fs::symlink("real", at("folder")).unwrap();
        std::os::unix::fs::symlink("real/x.json", at("link.json")).unwrap();
        std::os::unix::fs::symlink(at("link.json"), at("second.json")).unwrap();
        let paths = ["real/x.json", "folder/x.json", "link.json", "second.json", "real/../folder/x.json"];
        for held in paths {
            let journal = Journal::open(&at(held), &json!(1)).unwrap();
            for path in paths {
                let in_use = |error| matches!(error, JournalError::InUse { .. });
                assert!(in_use(Journal::open(&at(path), &json!(1)).unwrap_err()), "{path} beside {held}");
                assert!(in_use(Journal::check(&at(path), &json!(1)).unwrap_err()), "{path} beside {held}");
            }
            drop(journal);
        }
        assert_eq!(std::fs::read_dir(at("real")).unwrap().count(), 1);
    }

    #[test]
    fn a_torn_line_is_dropped_and_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let artefact = dir.path().join("x.json");
        let path = journal(&artefact, &[json!({"a": 1})]);
        append(&path, b"{\"piece\":{\"a\": 2");
        let (mut journal, finished) = Journal::open(&artefact, &json!(1)).unwrap();
        assert_eq!(finished, Finished { pieces: vec![json!({"a": 1})], damaged: 0 });
        journal.append(&json!({"a": 3})).unwrap();
        drop(journal);
        let (_, finished) = Journal::open(&artefact, &json!(1)).unwrap();
        assert_eq!(finished.pieces, [json!({"a": 1}), json!({"a": 3})]);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_journal_of_another_run_is_refused_and_replaced_on_request() {
        let dir = tempfile::tempdir().unwrap();
        let artefact = dir.path().join("x.json");
        let path = journal(&artefact, &[json!(7)]);
        append(&path, b"torn");
        let text = std::fs::read(&path).unwrap();
        let error = Journal::open(&artefact, &json!(2)).unwrap_err();
        assert!(matches!(error, JournalError::OtherRun { .. }), "{error}");
        assert!(matches!(Journal::check(&artefact, &json!(2)), Err(JournalError::OtherRun { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), text);
        let (journal, finished) = Journal::replace(&artefact, &json!(2)).unwrap();
        assert_eq!(finished, Finished::default());
        drop(journal);
        assert!(Journal::check(&artefact, &json!(2)).is_ok());
    }

    #[test]
    fn only_one_process_opens_a_journal() {
        let dir = tempfile::tempdir().unwrap();
        let artefact = dir.path().join("x.json");
        let (first, _) = Journal::open(&artefact, &json!(1)).unwrap();
        for refused in [Journal::open(&artefact, &json!(1)).map(drop), Journal::check(&artefact, &json!(1))] {
            assert!(matches!(refused, Err(JournalError::InUse { .. })), "{refused:?}");
        }
        first.remove().unwrap();
        assert!(Journal::open(&artefact, &json!(1)).is_ok());
    }

    #[test]
    fn damaged_lines_are_set_aside_and_the_others_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let artefact = dir.path().join("x.json");
        let path = journal(&artefact, &[1, 2, 3, 4].map(|n| json!({"n": n})));
        let text = std::fs::read_to_string(&path).unwrap();
        // One line stays JSON, one does not, and one was written for another header.
        let (mut other, _) = Journal::open(&dir.path().join("y.json"), &json!(2)).unwrap();
        other.append(&json!({"n": 5})).unwrap();
        let foreign = std::fs::read_to_string(other.lines.path()).unwrap();
        other.remove().unwrap();
        let changed = text.replace("{\"n\":2}", "{\"n\":9}").replace("{\"n\":3}", "\u{1}");
        std::fs::write(&path, changed + foreign.lines().last().unwrap() + "\n{\"pie").unwrap();
        let (mut journal, finished) = Journal::open(&artefact, &json!(1)).unwrap();
        assert_eq!(finished, Finished { pieces: vec![json!({"n": 1}), json!({"n": 4})], damaged: 3 });
        assert!(matches!(Journal::check(&artefact, &json!(1)), Err(JournalError::InUse { .. })), "still locked");
        journal.append(&json!({"n": 2})).unwrap();
        drop(journal);
        let (_, finished) = Journal::open(&artefact, &json!(1)).unwrap();
        assert_eq!((finished.pieces.len(), finished.damaged), (3, 0));
        let aside = std::fs::read_to_string(dir.path().join("x.json.journal.damaged")).unwrap();
        assert_eq!(aside.lines().count(), 3);
    }

    #[test]
    fn a_journal_whose_header_was_never_finished_starts_over() {
        let dir = tempfile::tempdir().unwrap();
        let artefact = dir.path().join("x.json");
        let path = journal(&artefact, &[]);
        let header = std::fs::read(&path).unwrap();
        for length in [0, HEADER.len(), header.len() - 1] {
            std::fs::write(&path, &header[..length]).unwrap();
            assert_eq!(Journal::open(&artefact, &json!(1)).unwrap().1, Finished::default());
            assert_eq!(std::fs::read(&path).unwrap(), header);
        }
    }

    #[test]
    fn a_file_that_is_no_journal_is_refused_and_unchanged() {
        let dir = tempfile::tempdir().unwrap();
        let artefact = dir.path().join("x.json");
        let path = journal(&artefact, &[json!(1)]);
        let damaged = std::fs::read_to_string(&path).unwrap().replace("settings\":1", "settings\":2");
        let early = "{\"command\":\"score\"}\n{\"index\":0,\"failed\":false,\"record\":{}}\n";
        for text in [early, "letter", "\n", "\u{0}\u{1}\n\n", "{}\n", "{\"mmprm_journal\":1,\"x\":1}\n", &damaged] {
            std::fs::write(&path, text).unwrap();
            for refused in [
                Journal::open(&artefact, &json!(1)).map(drop),
                Journal::replace(&artefact, &json!(1)).map(drop),
                Journal::check(&artefact, &json!(1)),
            ] {
                assert!(matches!(refused, Err(JournalError::NotAJournal { .. })), "{text:?}: {refused:?}");
            }
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[cfg(unix)]
    #[test]
    fn links_and_pipes_in_its_place_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let real = journal(&dir.path().join("real.json"), &[json!(1)]);
        std::os::unix::fs::symlink(&real, dir.path().join("link.json.journal")).unwrap();
        let pipe = dir.path().join("pipe.json.journal");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for artefact in ["link.json", "pipe.json"].map(|name| dir.path().join(name)) {
            for refused in [Journal::open(&artefact, &json!(1)).map(drop), Journal::check(&artefact, &json!(1))] {
                let error = refused.unwrap_err().to_string();
                assert!(error.contains("expected a regular file"), "{error}");
            }
        }
    }
}
