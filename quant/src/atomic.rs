//! Files that appear complete or not at all.
//!
//! Every file this project produces is written to a temporary file in the directory of its
//! destination and renamed over it, so that a crash at any instant leaves either the old file or
//! the new one. [`AtomicFile::commit`] also syncs: after it returns, the file survives a power
//! failure. [`AtomicFile::commit_unsynced`] leaves that out, for files that can be recomputed
//! (caches): after a power failure such a file may be missing, old or damaged, so its reader must
//! validate it. Dropping an [`AtomicFile`] without a commit removes the temporary file.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// A file being written; [`AtomicFile::commit`] moves it to its destination, dropping it leaves
/// nothing behind.
///
/// ```
/// use std::io::Write;
/// use mmprm_quant::atomic::AtomicFile;
/// let dir = tempfile::tempdir().unwrap();
/// let path = dir.path().join("tree.json");
/// let mut file = AtomicFile::create(&path).unwrap();
/// file.write_all(b"{}").unwrap();
/// assert!(!path.exists());
/// file.commit().unwrap();
/// assert_eq!(std::fs::read(&path).unwrap(), b"{}");
/// ```
#[derive(Debug)]
pub struct AtomicFile {
    writer: BufWriter<NamedTempFile>,
    destination: PathBuf,
}

impl AtomicFile {
    /// Opens a temporary file in the destination's directory, which is created if missing.
    ///
    /// # Errors
    /// Any input/output error; its message names the destination.
    pub fn create(destination: &Path) -> io::Result<Self> {
        let directory = parent(destination);
        let open = || {
            std::fs::create_dir_all(directory)?;
            tempfile::Builder::new().prefix(".").suffix(".tmp").tempfile_in(directory)
        };
        let file = open().map_err(|source| named(source, destination))?;
        Ok(Self { writer: BufWriter::with_capacity(1 << 20, file), destination: destination.to_owned() })
    }

    /// Flushes and syncs the file, renames it to its destination and syncs the directory.
    ///
    /// # Errors
    /// Any input/output error; its message names the destination, which keeps its old content if an
    /// error comes before the rename.
    pub fn commit(self) -> io::Result<()> {
        self.put_in_place(true)
    }

    /// As [`AtomicFile::commit`], without syncing file or directory: for files that can be
    /// recomputed and that are validated on reading.
    ///
    /// # Errors
    /// As [`AtomicFile::commit`].
    pub fn commit_unsynced(self) -> io::Result<()> {
        self.put_in_place(false)
    }

    fn put_in_place(mut self, sync: bool) -> io::Result<()> {
        let destination = self.destination;
        let finish = || {
            self.writer.flush()?;
            let file = self.writer.into_inner().map_err(io::IntoInnerError::into_error)?;
            #[cfg(unix)]
            {
                // Temporary files are private by default; the file gets the usual mode of new
                // files.
                use std::os::unix::fs::PermissionsExt;
                file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
            }
            if sync {
                file.as_file().sync_all()?;
            }
            file.persist(&destination).map_err(|error| error.error)?;
            if sync { sync_directory(parent(&destination)) } else { Ok(()) }
        };
        finish().map_err(|source| named(source, &destination))
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes).map_err(|source| named(source, &self.destination))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush().map_err(|source| named(source, &self.destination))
    }
}

impl Seek for AtomicFile {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.writer.seek(position)
    }
}

/// Writes `bytes` to `destination` and syncs them.
///
/// # Errors
/// Any input/output error; its message names the destination.
pub fn write(destination: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = AtomicFile::create(destination)?;
    file.write_all(bytes)?;
    file.commit()
}

/// Writes `bytes` to `destination` without syncing: see [`AtomicFile::commit_unsynced`].
///
/// # Errors
/// Any input/output error; its message names the destination.
///
/// ```
/// let dir = tempfile::tempdir().unwrap();
/// let path = dir.path().join("features.bin");
/// mmprm_quant::atomic::write_unsynced(&path, &[1, 2, 3]).unwrap();
/// assert_eq!(std::fs::read(&path).unwrap(), [1, 2, 3]);
/// ```
pub fn write_unsynced(destination: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = AtomicFile::create(destination)?;
    file.write_all(bytes)?;
    file.commit_unsynced()
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        _ => Path::new("."),
    }
}

/// What an [`io::Error`] of this module carries: the destination besides the cause.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {source}", path.display())]
struct WriteError {
    path: PathBuf,
    source: io::Error,
}

fn named(source: io::Error, path: &Path) -> io::Error {
    io::Error::new(source.kind(), WriteError { path: path.to_owned(), source })
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(directory)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_uncommitted_file_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = AtomicFile::create(&dir.path().join("a/b.json")).unwrap();
        file.write_all(b"half").unwrap();
        drop(file);
        assert_eq!(std::fs::read_dir(dir.path().join("a")).unwrap().count(), 0);
    }

    #[test]
    fn an_existing_file_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        write(&path, b"a longer first version").unwrap();
        write(&path, b"second").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"second");
        write_unsynced(&path, b"3").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"3");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn errors_name_the_destination() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), b"").unwrap();
        let error = write(&dir.path().join("file/inside.json"), b"x").unwrap_err();
        assert!(error.to_string().contains("inside.json"), "{error}");
        assert!(std::error::Error::source(&error).is_some(), "the cause is kept");
    }
}
