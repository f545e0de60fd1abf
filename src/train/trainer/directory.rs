//! The directory of a run: locked by one process, without temporary files of killed ones.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::event::RunError;
use crate::train::state;
use crate::util::own_file;

/// The lock file in a run's directory.
const LOCK_NAME: &str = "train.lock";

/// A run's directory, locked for this process; the system releases the lock when the process ends, however it ends.
pub(super) struct Directory {
    _lock: File,
}

impl Directory {
    /// Creates the directory if missing, locks it, and removes temporary files of killed processes.
    pub fn open(path: &Path) -> Result<Self, RunError> {
        let lock_path = path.join(LOCK_NAME);
        let failed = |error: io::Error| {
            RunError::Io(io::Error::new(error.kind(), format!("cannot use {}: {error}", lock_path.display())))
        };
        fs::create_dir_all(path).map_err(failed)?;
        let lock = own_file::lock(&lock_path).map_err(failed)?;
        let lock = lock.ok_or_else(|| RunError::InUse { path: path.to_owned() })?;
        for folder in [path.to_owned(), state::path(path), path.join("last"), path.join("best")] {
            remove_temporary(&folder);
        }
        Ok(Self { _lock: lock })
    }
}

/// Removes temporary files of [`mmprm_quant::atomic`]; failures are ignored, since leftovers only take space.
fn remove_temporary(folder: &Path) {
    let is_temporary = |path: &Path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with('.') && path.extension().is_some_and(|extension| extension == "tmp")
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    for path in entries.filter(|path| is_temporary(path)) {
        let _ = fs::remove_file(path);
    }
}
