//! Reading whole files up to a maximum size, and the one error for files.
//!
//! The size is checked while reading, because a file may grow; pipes and devices are refused.
//! Atomic writes are in [`mmprm_quant::atomic`].
//!
//! ```
//! use mmprm::util::io::{FileError, read, read_to_string};
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("a.txt");
//! std::fs::write(&path, "four")?;
//! assert_eq!(read_to_string(&path, 4)?, "four");
//! assert!(matches!(read(&path, 3), Err(FileError::TooLarge { limit: 3, .. })));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use mmprm_quant::read::{open as open_regular, without_bom};

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The file cannot be opened or read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file cannot be created, written or removed.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file is larger than any file of its kind should be.
    #[error("{}: the file has more than {limit} bytes, the maximum for its kind", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The maximum size in bytes.
        limit: u64,
    },
}

impl FileError {
    /// Returns a function for `map_err` after an attempt to read `path`.
    pub fn reading(path: &Path) -> impl Fn(io::Error) -> Self + '_ {
        move |source| Self::Read { path: path.to_owned(), source }
    }

    /// Returns a function for `map_err` after an attempt to write `path`.
    pub fn writing(path: &Path) -> impl Fn(io::Error) -> Self + '_ {
        move |source| Self::Write { path: path.to_owned(), source }
    }

    /// Returns the file's path.
    pub fn path(&self) -> &Path {
        match self {
            Self::Read { path, .. } | Self::Write { path, .. } | Self::TooLarge { path, .. } => path,
        }
    }
}

impl From<FileError> for io::Error {
    /// An error of the same kind whose message names the file.
    fn from(error: FileError) -> Self {
        let kind = match &error {
            FileError::Read { source, .. } | FileError::Write { source, .. } => source.kind(),
            FileError::TooLarge { .. } => io::ErrorKind::FileTooLarge,
        };
        Self::new(kind, error)
    }
}

/// Reads the whole file at `path`, at most `max_bytes`.
///
/// Anything but a regular file is refused before it is opened, because opening a pipe waits for a
/// writer; `/dev/stdin` and `/dev/fd/N` are open already and are read.
///
/// # Errors
/// [`FileError::Read`] and [`FileError::TooLarge`].
pub fn read(path: &Path, max_bytes: u64) -> Result<Vec<u8>, FileError> {
    let failed = FileError::reading(path);
    let file = if is_descriptor(path) { File::open(path) } else { open_regular(path) }.map_err(&failed)?;
    let mut bytes = Vec::new();
    // The file may grow while it is read.
    file.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes).map_err(&failed)?;
    if bytes.len() as u64 > max_bytes {
        return Err(FileError::TooLarge { path: path.to_owned(), limit: max_bytes });
    }
    Ok(bytes)
}

/// Whether a path names a descriptor that this process has open.
fn is_descriptor(path: &Path) -> bool {
    path == Path::new("/dev/stdin") || path.starts_with("/dev/fd") || path.starts_with("/proc/self/fd")
}

/// Reads the whole text file at `path`, at most `max_bytes`, without its byte order mark; UTF-16
/// with one becomes UTF-8. Other text is returned as it is.
///
/// # Errors
/// As [`read()`]; UTF-16 that is not valid is [`FileError::Read`] with the kind `InvalidData`.
pub fn read_text(path: &Path, max_bytes: u64) -> Result<Vec<u8>, FileError> {
    let mut bytes = read(path, max_bytes)?;
    let order: fn([u8; 2]) -> u16 = match bytes[..] {
        [0xff, 0xfe, ..] => u16::from_le_bytes,
        [0xfe, 0xff, ..] => u16::from_be_bytes,
        _ => {
            let mark = bytes.len() - without_bom(&bytes).len();
            bytes.drain(..mark);
            return Ok(bytes);
        }
    };
    let invalid = |cause: String| FileError::reading(path)(io::Error::new(io::ErrorKind::InvalidData, cause));
    if !bytes.len().is_multiple_of(2) {
        return Err(invalid("UTF-16 with an odd number of bytes".into()));
    }
    let units = bytes[2..].chunks_exact(2).map(|pair| order([pair[0], pair[1]]));
    let text = char::decode_utf16(units).collect::<Result<String, _>>();
    text.map(String::into_bytes).map_err(|error| invalid(error.to_string()))
}

/// Reads the whole UTF-8 file at `path`, at most `max_bytes`, as [`read_text`].
///
/// # Errors
/// As [`read_text`]; text that is not UTF-8 is [`FileError::Read`] with the kind `InvalidData`.
pub fn read_to_string(path: &Path, max_bytes: u64) -> Result<String, FileError> {
    String::from_utf8(read_text(path, max_bytes)?)
        .map_err(|error| FileError::reading(path)(io::Error::new(io::ErrorKind::InvalidData, error.utf8_error())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_order_marks_are_no_part_of_a_text() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let utf16 = |mark: &str, order: fn(u16) -> [u8; 2]| -> Vec<u8> {
            format!("{mark}[\u{3b1}]").encode_utf16().flat_map(order).collect()
        };
        for bytes in [
            "[\u{3b1}]".as_bytes().to_vec(),
            "\u{feff}[\u{3b1}]".as_bytes().to_vec(),
            utf16("\u{feff}", u16::to_le_bytes),
            utf16("\u{feff}", u16::to_be_bytes),
        ] {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(read_to_string(&path, 100).unwrap(), "[\u{3b1}]");
        }
        std::fs::write(&path, [0xff, 0xfe, 0x00, 0xd8]).unwrap();
        assert!(read_text(&path, 100).is_err());
    }

    #[test]
    fn files_up_to_the_maximum_are_read_and_errors_name_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let error = read(&path, 10).unwrap_err();
        assert!(matches!(error, FileError::Read { .. }) && error.to_string().contains("cannot read "), "{error}");
        std::fs::write(&path, [0xc3, 0x28]).unwrap();
        assert_eq!(read(&path, 2).unwrap(), [0xc3, 0x28]);
        assert!(matches!(read(&path, 1), Err(FileError::TooLarge { .. })));
        let error = read_to_string(&path, 2).unwrap_err().to_string();
        assert!(error.contains("invalid utf-8"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn pipes_and_devices_are_refused_without_waiting_and_open_descriptors_are_read() {
        use std::os::fd::AsRawFd;
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("tree.json");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for path in [pipe.as_path(), Path::new("/dev/zero"), folder.path()] {
            let error = read(path, 1000).unwrap_err().to_string();
            assert!(error.contains("expected a regular file"), "{error}");
        }
        let (reader, mut writer) = io::pipe().unwrap();
        io::Write::write_all(&mut writer, b"{}").unwrap();
        drop(writer);
        assert_eq!(read(Path::new(&format!("/dev/fd/{}", reader.as_raw_fd())), 10).unwrap(), b"{}");
    }
}
