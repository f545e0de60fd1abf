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

/// Reads the whole UTF-8 file at `path`, at most `max_bytes`, without the byte order mark that it
/// may begin with.
///
/// # Errors
/// As [`read()`]; text that is not UTF-8 is [`FileError::Read`] with the kind `InvalidData`.
pub fn read_to_string(path: &Path, max_bytes: u64) -> Result<String, FileError> {
    String::from_utf8(without_bom(&read(path, max_bytes)?).to_vec())
        .map_err(|error| FileError::reading(path)(io::Error::new(io::ErrorKind::InvalidData, error.utf8_error())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_up_to_the_maximum_are_read_and_errors_name_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let error = read(&path, 10).unwrap_err();
        assert!(matches!(error, FileError::Read { .. }) && error.to_string().contains("cannot read "), "{error}");
        std::fs::write(&path, [0xff, 0xfe]).unwrap();
        assert_eq!(read(&path, 2).unwrap(), [0xff, 0xfe]);
        assert!(matches!(read(&path, 1), Err(FileError::TooLarge { .. })));
        let error = read_to_string(&path, 2).unwrap_err().to_string();
        assert!(error.contains("invalid utf-8"), "{error}");
    }

    #[test]
    fn a_byte_order_mark_is_not_text() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("recipe.toml");
        std::fs::write(&path, "\u{feff}a = 1").unwrap();
        assert_eq!(read_to_string(&path, 100).unwrap(), "a = 1");
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
