//! The directory of a run: one process at a time, and nothing left of writes that were cut short.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

use super::RunError;
use crate::train::state;

/// The name of the file in a run's directory that the working process holds locked.
const LOCK_NAME: &str = "train.lock";

/// A run's directory in the hands of this process; the operating system's lock ends with the process, however it ends.
pub(super) struct Directory {
    _lock: File,
}

impl Directory {
    /// Creates the directory if need be, locks it, and removes the temporary files of a process that was killed.
    pub fn open(path: &Path) -> Result<Self, RunError> {
        let lock_path = path.join(LOCK_NAME);
        let failed = |error: io::Error| {
            RunError::Io(io::Error::new(error.kind(), format!("cannot use {}: {error}", lock_path.display())))
        };
        fs::create_dir_all(path).map_err(failed)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(RunError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        for folder in [path.to_owned(), state::path(path), path.join("last"), path.join("best")] {
            sweep(&folder);
        }
        Ok(Self { _lock: lock })
    }
}

/// Removes what [`mmprm_quant::atomic`] had not put in place. A file that stays is a waste of space and nothing worse.
fn sweep(folder: &Path) {
    let is_temporary = |path: &Path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with('.') && path.extension().is_some_and(|extension| extension == "tmp")
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    for path in entries.filter(|path| is_temporary(path)) {
        let _ = fs::remove_file(path);
    }
}
