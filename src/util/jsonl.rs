//! A crash-safe JSON Lines file: one JSON object a line, appended in one write each, with a hash by
//! which damage is found.
//!
//! A process that dies while appending leaves a last line without its newline. For a file with one
//! writer, [`JsonLines::scan`] reads all lines without changing anything, and [`Scan::open`] then
//! cuts such a line off and moves damaged lines before it to `<file>.damaged`;
//! [`JsonLines::open_shared`], for a file that several processes append to, starts a new line after
//! it and leaves it for readers to skip. What the lines mean is up to the caller.
//!
//! The last field of each line, `hash`, is the beginning of the SHA-256 of the object without it.
//! Lines of earlier versions have none.
//!
//! ```
//! use mmprm::util::io::FileError;
//! use mmprm::util::jsonl::{Found, JsonLines};
//! # let folder = tempfile::tempdir().unwrap();
//! let path = folder.path().join("log.jsonl");
//! std::fs::write(&path, "{\"n\":1}\nnoise\n{\"n\":2}\n{\"n\"").unwrap(); // killed while writing the last line
//! let mut found = Vec::new();
//! let scan = JsonLines::scan(&path, |line| match line.json::<serde_json::Value>() {
//!     Some(value) => {
//!         found.push(value);
//!         Ok::<_, FileError>(Found::Sound)
//!     }
//!     None => Ok(Found::Damaged),
//! })?;
//! assert_eq!((scan.sound(), scan.damaged()), (2, 1));
//! let mut file = scan.open()?;
//! file.append(&serde_json::json!({"n": 3}))?;
//! let text = std::fs::read_to_string(&path).unwrap();
//! assert!(text.starts_with("{\"n\":1}\n{\"n\":2}\n{\"n\":3,\"hash\":\""), "{text}");
//! # Ok::<(), FileError>(())
//! ```

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};

use mmprm_quant::{atomic, temporary};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::io::FileError;
use super::own_file;

/// Maximum length in bytes of a line of a file with one writer; a longer one is damaged.
const MAX_LINE: u64 = 256 << 20;

/// A line as read.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    /// Its number, from 1.
    pub number: usize,
    /// Its bytes, the newline included.
    pub bytes: &'a [u8],
}

/// What the hash of a line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    /// The line is as it was written.
    Right,
    /// It is not.
    Wrong,
    /// The line has none: it is damaged, or from an earlier version.
    Missing,
}

/// What a caller of [`JsonLines::scan`] finds in a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// A line of this file.
    Sound,
    /// Anything else, to be set aside.
    Damaged,
}

/// What stands before and behind the hash, which ends a line.
const BEFORE_HASH: &[u8] = b"\"hash\":\"";
const AFTER_HASH: &[u8] = b"\"}\n";
/// Length of the hash in hexadecimal digits.
const HASH_DIGITS: usize = 16;

impl Line<'_> {
    /// Returns whether the line has its newline, and so was written completely.
    pub fn is_whole(&self) -> bool {
        self.bytes.ends_with(b"\n")
    }

    /// Parses the line; `None` if it is not whole, not JSON, not a `T`, or its hash is wrong.
    pub fn json<T: DeserializeOwned>(&self) -> Option<T> {
        if self.is_whole() && self.hash(&[]) != Hash::Wrong { serde_json::from_slice(self.bytes).ok() } else { None }
    }

    /// Compares the line with its hash, which `salt` was part of when it was
    /// [written](JsonLines::append_salted).
    pub fn hash(&self, salt: &[u8]) -> Hash {
        let Some(rest) = self.bytes.strip_suffix(AFTER_HASH) else { return Hash::Missing };
        let Some((before, digits)) = rest.split_last_chunk::<HASH_DIGITS>() else { return Hash::Missing };
        let Some(object) = before.strip_suffix(BEFORE_HASH) else { return Hash::Missing };
        if hash(salt, object) == *digits { Hash::Right } else { Hash::Wrong }
    }
}

fn hash(salt: &[u8], object: &[u8]) -> [u8; HASH_DIGITS] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digest = Sha256::new().chain_update((salt.len() as u64).to_le_bytes()).chain_update(salt).chain_update(object);
    let digest = digest.finalize();
    std::array::from_fn(|index| DIGITS[usize::from(digest[index / 2] >> (4 * (1 - index % 2)) & 15)])
}

/// The line of an object, with its hash.
pub(super) fn line_of(value: &impl Serialize, salt: &[u8]) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value)?;
    if line.pop() != Some(b'}') {
        return Err(io::Error::new(ErrorKind::InvalidInput, "a line is a JSON object"));
    }
    if line.len() > 1 {
        line.push(b',');
    }
    let digits = hash(salt, &line);
    for part in [BEFORE_HASH, &digits, AFTER_HASH] {
        line.extend_from_slice(part);
    }
    Ok(line)
}

/// Reads the lines of the file at `path` in order, until the end or until `each` breaks; a missing
/// file has none. A line longer than `max_line_bytes` comes in pieces of that size. Returns whether
/// the last line read lacks its newline.
///
/// # Errors
/// [`FileError::Read`], also if the path is not a regular file, and any error of `each`.
pub fn read<E: From<FileError>>(
    path: &Path,
    max_line_bytes: u64,
    mut each: impl FnMut(Line<'_>) -> Result<ControlFlow<()>, E>,
) -> Result<bool, E> {
    let file = match own_file::open(path, OpenOptions::new().read(true)) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(FileError::reading(path)(error).into()),
    };
    let mut is_torn = false;
    read_lines(&file, path, max_line_bytes, |line| {
        is_torn = !line.is_whole();
        each(line)
    })?;
    Ok(is_torn)
}

fn read_lines<E: From<FileError>>(
    file: &File,
    path: &Path,
    max_line_bytes: u64,
    mut each: impl FnMut(Line<'_>) -> Result<ControlFlow<()>, E>,
) -> Result<(), E> {
    let mut reader = BufReader::new(file);
    let mut bytes = Vec::new();
    for number in 1.. {
        bytes.clear();
        let read = reader.by_ref().take(max_line_bytes).read_until(b'\n', &mut bytes);
        if read.map_err(FileError::reading(path))? == 0 || each(Line { number, bytes: &bytes })?.is_break() {
            break;
        }
    }
    Ok(())
}

/// Rewrites the file at `path` atomically without the lines that `keep` rejects; untouched if it
/// keeps all. A missing file stays missing.
///
/// # Errors
/// [`FileError`].
pub fn retain(path: &Path, mut keep: impl FnMut(Line<'_>) -> bool) -> Result<(), FileError> {
    let (mut kept, mut dropped) = (Vec::new(), false);
    read(path, MAX_LINE, |line| {
        if keep(line) {
            kept.extend_from_slice(line.bytes);
        } else {
            dropped = true;
        }
        Ok::<_, FileError>(ControlFlow::Continue(()))
    })?;
    if dropped { atomic::write(path, &kept).map_err(FileError::writing(path)) } else { Ok(()) }
}

/// A file as [`JsonLines::scan`] read it, still unchanged.
#[derive(Debug)]
pub struct Scan {
    file: File,
    path: PathBuf,
    /// Number of sound lines.
    sound: usize,
    /// Where the damaged lines are.
    damaged: Vec<Range<u64>>,
    /// Where the last line begins that lacks its newline, or the end of the file.
    end: u64,
    /// The beginning of the last line, if it lacks its newline.
    torn: Vec<u8>,
    /// Whether anything is behind `end`.
    has_rest: bool,
    /// Where the last whole line begins, if it is sound.
    last: Option<u64>,
}

/// How many bytes of a torn line a [`Scan`] shows.
const TORN_SHOWN: usize = 64;

impl Scan {
    pub(super) fn read<E: From<FileError>>(
        file: File,
        path: &Path,
        mut each: impl FnMut(Line<'_>) -> Result<Found, E>,
    ) -> Result<Self, E> {
        let (mut sound, mut damaged, mut end, mut torn, mut last) = (0, Vec::new(), 0, Vec::new(), None);
        read_lines(&file, path, MAX_LINE, |line| -> Result<_, E> {
            let start = end;
            // A line that is too long comes in pieces, which are damaged lines.
            if line.is_whole() || line.bytes.len() as u64 == MAX_LINE {
                end += line.bytes.len() as u64;
                let found = each(line)?;
                last = (found == Found::Sound).then_some(start);
                match found {
                    Found::Sound => sound += 1,
                    Found::Damaged => damaged.push(start..end),
                }
            } else {
                torn = line.bytes[..line.bytes.len().min(TORN_SHOWN)].to_vec();
            }
            Ok(ControlFlow::Continue(()))
        })?;
        let has_rest = !torn.is_empty();
        Ok(Self { file, path: path.to_owned(), sound, damaged, end, torn, has_rest, last })
    }

    /// Returns the number of sound lines.
    pub fn sound(&self) -> usize {
        self.sound
    }

    /// Returns the number of damaged lines.
    pub fn damaged(&self) -> usize {
        self.damaged.len()
    }

    /// Returns the beginning of the last line, if it lacks its newline.
    pub fn torn(&self) -> &[u8] {
        &self.torn
    }

    /// Takes the last whole line for one that was never written, if it is sound: [`Scan::open`] cuts
    /// it off.
    #[must_use]
    pub fn without_last(mut self) -> Self {
        if let Some(start) = self.last.take() {
            (self.end, self.has_rest) = (start, true);
            self.sound -= 1;
        }
        self
    }

    /// Makes the file ready for appending: a last line without its newline is cut off, and damaged
    /// lines are moved to `<file>.damaged`, which keeps them.
    ///
    /// # Errors
    /// [`FileError`]; the sound lines are then still in the file.
    pub fn open(self) -> Result<JsonLines, FileError> {
        let writing = FileError::writing(&self.path);
        let mut file = self.file;
        if self.damaged.is_empty() {
            if self.has_rest {
                file.set_len(self.end).map_err(&writing)?;
            }
        } else {
            set_aside(&mut file, &self.path, &self.damaged)?;
            file = without(&mut file, &self.path, &self.damaged, self.end).map_err(&writing)?;
        }
        file.seek(SeekFrom::End(0)).map_err(&writing)?;
        drop(writing);
        Ok(JsonLines { file, path: self.path, is_torn: false })
    }
}

/// Appends parts of a file to `<file>.damaged`.
fn set_aside(file: &mut File, path: &Path, parts: &[Range<u64>]) -> Result<(), FileError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".damaged");
    let aside = PathBuf::from(name);
    let mut write = || {
        let mut kept = own_file::open_or_create(&aside, OpenOptions::new().append(true))?;
        for part in parts {
            file.seek(SeekFrom::Start(part.start))?;
            io::copy(&mut file.take(part.end - part.start), &mut kept)?;
        }
        kept.sync_data()
    };
    write().map_err(FileError::writing(&aside))
}

/// Replaces the file at `path` by its first `end` bytes without `parts`; the new file is locked
/// before it is in place, so that no other process gets between.
fn without(file: &mut File, path: &Path, parts: &[Range<u64>], end: u64) -> io::Result<File> {
    // Its lock goes with it to its place.
    let mut new = temporary::create(path)?;
    let mut start = 0;
    for part in parts.iter().cloned().chain(std::iter::once(end..end)) {
        file.seek(SeekFrom::Start(start))?;
        io::copy(&mut file.take(part.start - start), new.as_file_mut())?;
        start = part.end;
    }
    new.as_file().set_permissions(file.metadata()?.permissions())?;
    new.as_file().sync_all()?;
    Ok(new.persist(path)?)
}

/// A JSON Lines file open for appending.
#[derive(Debug)]
pub struct JsonLines {
    file: File,
    path: PathBuf,
    /// Whether the file ends in the middle of a line that another process may have written.
    is_torn: bool,
}

impl JsonLines {
    /// Reads the file at `path`, or creates it with its directory, for one writer. `each` sees the
    /// whole lines in order. [`Scan::open`] then opens the file; until then it is unchanged.
    ///
    /// # Errors
    /// [`FileError`], also if the path is not a regular file, and any error of `each`.
    pub fn scan<E: From<FileError>>(path: &Path, each: impl FnMut(Line<'_>) -> Result<Found, E>) -> Result<Scan, E> {
        let file = own_file::open_or_create(path, OpenOptions::new().read(true).write(true));
        Scan::read(file.map_err(FileError::writing(path))?, path, each)
    }

    /// As [`JsonLines::scan`], without creating the file and its directory; `None` if it is missing.
    ///
    /// # Errors
    /// As [`JsonLines::scan`].
    pub fn scan_existing<E: From<FileError>>(
        path: &Path,
        each: impl FnMut(Line<'_>) -> Result<Found, E>,
    ) -> Result<Option<Scan>, E> {
        match own_file::open(path, OpenOptions::new().read(true)) {
            Ok(file) => Scan::read(file, path, each).map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(FileError::reading(path)(error).into()),
        }
    }

    /// Opens the file at `path`, or creates it with its directory, to append beside other
    /// processes. `is_torn` is what [`read()`] returned: the first append then starts a new line.
    ///
    /// # Errors
    /// [`FileError::Write`].
    pub fn open_shared(path: &Path, is_torn: bool) -> Result<Self, FileError> {
        let file = own_file::open_or_create(path, OpenOptions::new().append(true));
        Ok(Self { file: file.map_err(FileError::writing(path))?, path: path.to_owned(), is_torn })
    }

    /// Appends an object as one line with its hash, in one write, so that the lines of several
    /// processes do not mix.
    ///
    /// # Errors
    /// [`FileError::Write`]; also if `value` is not an object or cannot be written as JSON.
    pub fn append(&mut self, value: &impl Serialize) -> Result<(), FileError> {
        self.append_salted(value, &[])
    }

    /// As [`append`](Self::append), with a hash that `salt` is part of: a line copied from a file
    /// with another salt is found to be damaged.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn append_salted(&mut self, value: &impl Serialize, salt: &[u8]) -> Result<(), FileError> {
        let written = line_of(value, salt).and_then(|line| self.write(&line));
        written.map_err(FileError::writing(&self.path))
    }

    /// As [`append`](Self::append), without a hash, for files that other programs read.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn append_plain(&mut self, value: &impl Serialize) -> Result<(), FileError> {
        let line = serde_json::to_vec(value).map_err(io::Error::from);
        let written = line.and_then(|mut line| {
            line.push(b'\n');
            self.write(&line)
        });
        written.map_err(FileError::writing(&self.path))
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if std::mem::take(&mut self.is_torn) {
            return self.file.write_all(&[b"\n", line].concat());
        }
        self.file.write_all(line)
    }

    /// Waits until what was appended is on disk.
    ///
    /// # Errors
    /// [`FileError::Write`].
    pub fn sync(&self) -> Result<(), FileError> {
        self.file.sync_data().map_err(FileError::writing(&self.path))
    }

    /// Empties the file.
    pub(super) fn clear(&mut self) -> Result<(), FileError> {
        self.file.set_len(0).and_then(|()| self.file.rewind()).map_err(FileError::writing(&self.path))
    }

    /// Returns the file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Deletes the file.
    ///
    /// # Errors
    /// [`FileError::Write`].
    pub fn remove(self) -> Result<(), FileError> {
        std::fs::remove_file(&self.path).map_err(FileError::writing(&self.path))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[expect(clippy::unnecessary_wraps, reason = "the form that the readers take")]
    fn objects(line: Line<'_>) -> Result<Found, FileError> {
        Ok(if line.json::<Value>().is_some() { Found::Sound } else { Found::Damaged })
    }

    #[test]
    fn one_writer_cuts_a_torn_line_and_sets_damaged_ones_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/x.jsonl");
        let mut file = JsonLines::scan(&path, objects).unwrap().open().unwrap();
        for n in [1, 2, 3] {
            file.append(&json!({"n": n})).unwrap();
        }
        file.file.write_all(b"{\"n\":4").unwrap();
        drop(file);
        let text = std::fs::read_to_string(&path).unwrap();
        JsonLines::scan(&path, objects).unwrap().open().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap() + "{\"n\":4", text);
        assert!(!path.with_extension("jsonl.damaged").exists());

        // The change stays JSON.
        std::fs::write(&path, text.replace("{\"n\":2", "{\"n\":7")).unwrap();
        let scan = JsonLines::scan(&path, objects).unwrap();
        assert_eq!((scan.sound(), scan.damaged(), scan.torn()), (2, 1, &b"{\"n\":4"[..]));
        scan.open().unwrap().append(&json!({})).unwrap();
        let mut lines = Vec::new();
        JsonLines::scan(&path, |line| {
            assert_eq!(line.hash(&[]), Hash::Right);
            lines.push(line.json::<Value>().unwrap()["n"].clone());
            Ok::<_, FileError>(Found::Sound)
        })
        .unwrap();
        assert_eq!(lines, [json!(1), json!(3), Value::Null]);
        let aside = std::fs::read_to_string(path.with_extension("jsonl.damaged")).unwrap();
        assert!(aside.starts_with("{\"n\":7,\"hash\":") && aside.ends_with("\"}\n"), "{aside}");
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 2, "no other file is left");
    }

    #[test]
    fn the_last_line_can_be_cut_off_like_a_torn_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.jsonl");
        for (text, cut) in
            [("1\n2\n", "1\n"), ("1\n2\n3", "1\n"), ("1\nx\n2\n", "1\n"), ("1\nx\n", "1\n"), ("2\n", ""), ("", "")]
        {
            std::fs::write(&path, text).unwrap();
            JsonLines::scan(&path, objects).unwrap().without_last().open().unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), cut, "{text:?}");
        }
    }

    #[test]
    fn an_error_of_the_reader_leaves_the_file_unchanged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.jsonl");
        std::fs::write(&path, "1\nx\n3").unwrap();
        let refuse = |line: Line<'_>| match line.json::<Value>() {
            Some(_) => Ok(Found::Sound),
            None => Err(FileError::TooLarge { path: path.clone(), limit: line.number as u64 }),
        };
        assert!(matches!(JsonLines::scan(&path, refuse), Err(FileError::TooLarge { limit: 2, .. })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "1\nx\n3");
    }

    #[test]
    fn shared_files_keep_a_torn_line_and_go_on_behind_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.jsonl");
        let keep_all = |_: Line<'_>| Ok::<_, FileError>(ControlFlow::Continue(()));
        assert!(!read(&path, 100, keep_all).unwrap());
        std::fs::write(&path, "1\n2").unwrap();
        let is_torn = read(&path, 100, keep_all).unwrap();
        let mut file = JsonLines::open_shared(&path, is_torn).unwrap();
        file.append_plain(&json!(3)).unwrap();
        JsonLines::open_shared(&path, false).unwrap().append_plain(&json!(4)).unwrap();
        file.append_plain(&json!(5)).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "1\n2\n3\n4\n5\n");
    }

    #[test]
    fn long_lines_come_in_pieces() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.jsonl");
        std::fs::write(&path, "12345\n6\n").unwrap();
        let mut pieces = Vec::new();
        read(&path, 4, |line| {
            pieces.push((line.bytes.to_vec(), line.is_whole()));
            Ok::<_, FileError>(ControlFlow::Continue(()))
        })
        .unwrap();
        assert_eq!(pieces, [(b"1234".to_vec(), false), (b"5\n".to_vec(), true), (b"6\n".to_vec(), true)]);
    }

    #[test]
    fn retaining_drops_lines_and_writes_only_if_there_are_any_to_drop() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.jsonl");
        let small = |line: Line<'_>| line.json::<u32>().is_some_and(|number| number < 3);
        retain(&path, small).unwrap();
        assert!(!path.exists());
        std::fs::write(&path, "1\n4\n2\n1").unwrap();
        retain(&path, small).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "1\n2\n");
    }

    #[test]
    fn a_salted_line_belongs_to_its_file() {
        let bytes = line_of(&json!({"n": 1}), b"one").unwrap();
        let line = Line { number: 1, bytes: &bytes };
        assert_eq!((line.hash(b"one"), line.hash(b"other")), (Hash::Right, Hash::Wrong));
        for (number, bytes) in [&b"\n"[..], b"{}\n", b"\"}\n", b"\xff\0"].into_iter().enumerate() {
            assert_eq!(Line { number, bytes }.hash(&[]), Hash::Missing);
        }
        assert!(line_of(&json!(1), &[]).is_err());
    }
}
