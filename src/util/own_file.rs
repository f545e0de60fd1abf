//! Opening the files that only this program writes: journals, logs, locks and caches.
//!
//! Such a file is a regular file at its own path. A symbolic link, a pipe, a device or a directory
//! in its place is refused before it is opened: links are not followed, and opening a pipe would
//! wait. A lock on the file keeps other processes out; the operating system releases it when the
//! process ends, however it ends.

use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::Duration;

/// Opens the file at `path` as `options` say.
///
/// # Errors
/// [`ErrorKind::NotFound`], [`ErrorKind::InvalidInput`] for what is no regular file, and other
/// errors of opening it.
pub(crate) fn open(path: &Path, options: &OpenOptions) -> io::Result<File> {
    let found = fs::symlink_metadata(path)?;
    regular(&found)?;
    let file = options.open(path)?;
    // What was looked at and what was opened are the same file, unless the name was given away in
    // between.
    if is_same(&found, &file.metadata()?) { Ok(file) } else { Err(replaced()) }
}

/// Opens the file at `path` as [`open`], or creates it, with its directory.
///
/// # Errors
/// As [`open`], and errors of creating it.
pub(crate) fn open_or_create(path: &Path, options: &OpenOptions) -> io::Result<File> {
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        fs::create_dir_all(directory)?;
    }
    match open(path, options) {
        // `create_new` follows no link.
        Err(error) if error.kind() == ErrorKind::NotFound => match options.clone().create_new(true).open(path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => open(path, options),
            created => created,
        },
        opened => opened,
    }
}

/// Attempts to lock a file, and the pause between them: another process may hold the lock for a
/// moment, to look at the file.
const ATTEMPTS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(20);

/// Opens or creates the file at `path` for reading and writing, and locks it; `None` if another
/// process holds the lock.
///
/// # Errors
/// As [`open_or_create`].
pub(crate) fn lock(path: &Path) -> io::Result<Option<File>> {
    for _ in 0..ATTEMPTS {
        let file = match open_or_create(path, OpenOptions::new().read(true).write(true)) {
            Err(error) if error.kind() == ErrorKind::ResourceBusy => continue,
            opened => opened?,
        };
        match file.try_lock() {
            // The file may have been removed or replaced while it was locked.
            Ok(())
                if fs::symlink_metadata(path).is_ok_and(|now| file.metadata().is_ok_and(|own| is_same(&now, &own))) =>
            {
                return Ok(Some(file));
            }
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Ok(None)
}

/// Returns whether another process holds the lock of the file at `path`; a missing file is free.
///
/// # Errors
/// As [`open`], other than [`ErrorKind::NotFound`].
pub(crate) fn is_locked(path: &Path) -> io::Result<bool> {
    for attempt in 0..ATTEMPTS {
        let file = match open(path, OpenOptions::new().read(true)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) if error.kind() == ErrorKind::ResourceBusy => continue,
            opened => opened?,
        };
        match file.try_lock_shared() {
            Ok(()) => return Ok(false),
            Err(TryLockError::WouldBlock) if attempt + 1 < ATTEMPTS => std::thread::sleep(PAUSE),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Ok(true)
}

fn regular(metadata: &Metadata) -> io::Result<()> {
    let kind = metadata.file_type();
    if kind.is_file() {
        return Ok(());
    }
    let found = if kind.is_symlink() {
        "a symbolic link"
    } else if kind.is_dir() {
        "a directory"
    } else {
        "a pipe, socket or device"
    };
    Err(io::Error::new(ErrorKind::InvalidInput, format!("found {found}, expected a regular file")))
}

fn replaced() -> io::Error {
    io::Error::new(ErrorKind::ResourceBusy, "the file was replaced while it was opened")
}

#[cfg(unix)]
fn is_same(one: &Metadata, other: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

#[cfg(not(unix))]
fn is_same(_: &Metadata, _: &Metadata) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locked_file_is_locked_once_and_free_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/x");
        assert!(!is_locked(&path).unwrap() && !path.exists());
        let first = lock(&path).unwrap().unwrap();
        assert!(is_locked(&path).unwrap());
        assert!(lock(&path).unwrap().is_none());
        fs::remove_file(&path).unwrap();
        let second = lock(&path).unwrap().expect("a new file has its own lock");
        drop((first, second));
        assert!(lock(&path).unwrap().is_some());
    }

    #[cfg(unix)]
    #[test]
    fn links_pipes_and_devices_are_refused_without_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("target"), "mine").unwrap();
        std::os::unix::fs::symlink("target", at("link")).unwrap();
        std::os::unix::fs::symlink("nothing", at("dangling")).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
        for path in [at("link"), at("dangling"), at("pipe"), "/dev/null".into(), folder.path().to_owned()] {
            let error = lock(&path).unwrap_err();
            assert!(error.to_string().ends_with("expected a regular file"), "{}: {error}", path.display());
        }
        assert!(!at("nothing").exists());
    }
}
