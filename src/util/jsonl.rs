//! A crash-safe JSON Lines file: one JSON value a line, appended in one write each.
//!
//! A process that dies while appending leaves a last line without its newline. [`JsonLines::open`],
//! for a file with one writer, cuts such a line off; [`JsonLines::open_shared`], for a file that
//! several processes append to, starts a new line after it and leaves it for readers to skip. What
//! the lines mean, and what to do about a damaged one in the middle, is up to the caller.
//!
//! ```
//! use std::ops::ControlFlow;
//! use mmprm::util::io::FileError;
//! use mmprm::util::jsonl::JsonLines;
//! # let folder = tempfile::tempdir().unwrap();
//! let path = folder.path().join("log.jsonl");
//! std::fs::write(&path, "{\"n\":1}\n{\"n\":2}\n{\"n\"").unwrap(); // killed while writing the third line
//! let mut found = Vec::new();
//! let mut file = JsonLines::open(&path, |line| {
//!     found.extend(line.json::<serde_json::Value>());
//!     Ok::<_, FileError>(ControlFlow::Continue(()))
//! })?;
//! file.append(&serde_json::json!({"n": 3}))?;
//! assert_eq!(found.len(), 2);
//! assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n");
//! # Ok::<(), FileError>(())
//! ```

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use mmprm_quant::atomic;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::io::FileError;

/// A line as read.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    /// Its number, from 1.
    pub number: usize,
    /// Its bytes, the newline included.
    pub bytes: &'a [u8],
}

impl Line<'_> {
    /// Returns whether the line has its newline, and so was written completely.
    pub fn is_whole(&self) -> bool {
        self.bytes.ends_with(b"\n")
    }

    /// Parses the line; `None` if it is not whole, not JSON, or not a `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Option<T> {
        if self.is_whole() { serde_json::from_slice(self.bytes).ok() } else { None }
    }
}

/// Reads the lines of the file at `path` in order, until the end or until `each` breaks; a missing
/// file has none. A line longer than `max_line_bytes` comes in pieces of that size. Returns whether
/// the last line read lacks its newline.
///
/// # Errors
/// [`FileError::Read`], and any error of `each`.
pub fn read<E: From<FileError>>(
    path: &Path,
    max_line_bytes: u64,
    mut each: impl FnMut(Line<'_>) -> Result<ControlFlow<()>, E>,
) -> Result<bool, E> {
    let file = match File::open(path) {
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
    read(path, u64::MAX, |line| {
        if keep(line) {
            kept.extend_from_slice(line.bytes);
        } else {
            dropped = true;
        }
        Ok::<_, FileError>(ControlFlow::Continue(()))
    })?;
    if dropped { atomic::write(path, &kept).map_err(FileError::writing(path)) } else { Ok(()) }
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
    /// Opens the file at `path`, or creates it with its directory, for one writer. `each` sees the
    /// whole lines in order; where it breaks, that line and all after it are cut off, and so is a
    /// last line without its newline.
    ///
    /// # Errors
    /// [`FileError`], and any error of `each`; the file is then unchanged.
    pub fn open<E: From<FileError>>(
        path: &Path,
        mut each: impl FnMut(Line<'_>) -> Result<ControlFlow<()>, E>,
    ) -> Result<Self, E> {
        let writing = FileError::writing(path);
        create_parent(path).map_err(&writing)?;
        let mut options = OpenOptions::new();
        let mut file = options.read(true).write(true).create(true).truncate(false).open(path).map_err(&writing)?;
        let mut sound = 0;
        read_lines(&file, path, u64::MAX, |line| -> Result<_, E> {
            if !line.is_whole() || each(line)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            sound += line.bytes.len() as u64;
            Ok(ControlFlow::Continue(()))
        })?;
        file.set_len(sound).and_then(|()| file.seek(SeekFrom::Start(sound))).map_err(&writing)?;
        Ok(Self { file, path: path.to_owned(), is_torn: false })
    }

    /// Opens the file at `path`, or creates it with its directory, to append beside other
    /// processes. `is_torn` is what [`read()`] returned: the first append then starts a new line.
    ///
    /// # Errors
    /// [`FileError::Write`].
    pub fn open_shared(path: &Path, is_torn: bool) -> Result<Self, FileError> {
        let open = || {
            create_parent(path)?;
            OpenOptions::new().append(true).create(true).open(path)
        };
        Ok(Self { file: open().map_err(FileError::writing(path))?, path: path.to_owned(), is_torn })
    }

    /// Appends `value` as one line in one write, so that the lines of several processes do not mix.
    ///
    /// # Errors
    /// [`FileError::Write`]; also if `value` cannot be written as JSON.
    pub fn append(&mut self, value: &impl Serialize) -> Result<(), FileError> {
        let mut line = if std::mem::take(&mut self.is_torn) { b"\n".to_vec() } else { Vec::new() };
        let written = serde_json::to_writer(&mut line, value).map_err(io::Error::from).and_then(|()| {
            line.push(b'\n');
            self.file.write_all(&line)
        });
        written.map_err(FileError::writing(&self.path))
    }

    /// Waits until what was appended is on disk.
    ///
    /// # Errors
    /// [`FileError::Write`].
    pub fn sync(&self) -> Result<(), FileError> {
        self.file.sync_data().map_err(FileError::writing(&self.path))
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

fn create_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => std::fs::create_dir_all(directory),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[expect(clippy::unnecessary_wraps, reason = "the form that the readers take")]
    fn keep_all(_: Line<'_>) -> Result<ControlFlow<()>, FileError> {
        Ok(ControlFlow::Continue(()))
    }

    #[test]
    fn one_writer_cuts_where_the_caller_breaks_and_at_a_torn_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/x.jsonl");
        let mut file = JsonLines::open(&path, keep_all).unwrap();
        for n in [1, 2, 3] {
            file.append(&json!(n)).unwrap();
        }
        file.file.write_all(b"4").unwrap();
        drop(file);
        let at_two = |line: Line<'_>| -> Result<_, FileError> {
            Ok(if line.number == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        };
        JsonLines::open(&path, keep_all).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "1\n2\n3\n");
        JsonLines::open(&path, at_two).unwrap().append(&json!("x")).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "1\n\"x\"\n");
    }

    #[test]
    fn an_error_of_the_reader_leaves_the_file_unchanged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.jsonl");
        std::fs::write(&path, "1\nx\n3").unwrap();
        let refuse = |line: Line<'_>| match line.json::<Value>() {
            Some(_) => Ok(ControlFlow::Continue(())),
            None => Err(FileError::TooLarge { path: path.clone(), limit: line.number as u64 }),
        };
        assert!(matches!(JsonLines::open(&path, refuse), Err(FileError::TooLarge { limit: 2, .. })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "1\nx\n3");
    }

    #[test]
    fn shared_files_keep_a_torn_line_and_go_on_behind_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.jsonl");
        assert!(!read(&path, 100, keep_all).unwrap());
        std::fs::write(&path, "1\n2").unwrap();
        let is_torn = read(&path, 100, keep_all).unwrap();
        let mut file = JsonLines::open_shared(&path, is_torn).unwrap();
        file.append(&json!(3)).unwrap();
        JsonLines::open_shared(&path, false).unwrap().append(&json!(4)).unwrap();
        file.append(&json!(5)).unwrap();
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
}
