//! Files that appear whole or not at all.
//!
//! Every artefact of this project (trees, samples, candidates, GGUF) is written to a temporary file beside its
//! destination, synced, and renamed over it, so that a crash at any instant leaves either the old file or the new one.
//! What to write, and how to name it, is the caller's business.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// A file under construction; [`AtomicFile::commit`] puts it in place, dropping it leaves nothing behind.
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
    /// Any input/output error, with the path in its message.
    pub fn create(destination: &Path) -> io::Result<Self> {
        let directory = parent(destination);
        let open = || {
            std::fs::create_dir_all(directory)?;
            tempfile::Builder::new().prefix(".").suffix(".tmp").tempfile_in(directory)
        };
        let file = open().map_err(|error| named(&error, destination))?;
        Ok(Self { writer: BufWriter::with_capacity(1 << 20, file), destination: destination.to_owned() })
    }

    /// Flushes, syncs and renames the file into place, then syncs the directory.
    ///
    /// # Errors
    /// Any input/output error, with the path in its message; the destination is then untouched.
    pub fn commit(self) -> io::Result<()> {
        self.put_in_place(true)
    }

    /// Flushes and renames the file into place without syncing, for files that can be recomputed and are verified when
    /// they are read: after a power failure the file may be missing or damaged.
    ///
    /// # Errors
    /// Any input/output error, with the path in its message; the destination is then untouched.
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
                // Temporary files are private by default; artefacts follow the usual mode for new files.
                use std::os::unix::fs::PermissionsExt;
                file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
            }
            if sync {
                file.as_file().sync_all()?;
            }
            file.persist(&destination).map_err(|error| error.error)?;
            if sync { sync_directory(parent(&destination)) } else { Ok(()) }
        };
        finish().map_err(|error| named(&error, &destination))
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes).map_err(|error| named(&error, &self.destination))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush().map_err(|error| named(&error, &self.destination))
    }
}

impl Seek for AtomicFile {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.writer.seek(position)
    }
}

/// Writes `bytes` to `destination` atomically.
///
/// # Errors
/// Any input/output error, with the path in its message.
pub fn write(destination: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = AtomicFile::create(destination)?;
    file.write_all(bytes)?;
    file.commit()
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        _ => Path::new("."),
    }
}

fn named(error: &io::Error, path: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("cannot write {}: {error}", path.display()))
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
    fn an_existing_file_is_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        write(&path, b"a longer first version").unwrap();
        write(&path, b"second").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"second");
    }

    #[test]
    fn errors_name_the_destination() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), b"").unwrap();
        let error = write(&dir.path().join("file/inside.json"), b"x").unwrap_err();
        assert!(error.to_string().contains("inside.json"), "{error}");
    }
}
