//! The output directory: its lock and its trees.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use mmprm_quant::atomic::{self, CompleteFile};

use super::AnnotateError;
use crate::data::tree::{Tree, json};
use crate::util::io::FileError;
use crate::util::own_file;

/// File name of the log in the output directory: one JSON object per line for every problem
/// finished or failed.
pub const LOG_NAME: &str = "annotate.log.jsonl";

/// File name of the lock in the output directory.
pub(super) const LOCK_NAME: &str = "annotate.lock";

/// An output directory locked by this process.
pub(super) struct Directory {
    path: PathBuf,
    /// The operating system releases the lock when the process ends, however it ends; the file
    /// stays.
    _lock: File,
}

impl Directory {
    /// Creates the directory if it is missing and locks it.
    pub(super) fn open(path: &Path) -> Result<Self, AnnotateError> {
        fs::create_dir_all(path).map_err(FileError::writing(path))?;
        let lock_path = path.join(LOCK_NAME);
        match own_file::lock(&lock_path).map_err(FileError::writing(&lock_path))? {
            Some(lock) => Ok(Self { path: path.to_owned(), _lock: lock }),
            None => Err(AnnotateError::InUse { directory: path.to_owned() }),
        }
    }

    /// Checks, without changing anything, that no other process has the directory locked.
    pub(super) fn check(path: &Path) -> Result<(), AnnotateError> {
        let lock_path = path.join(LOCK_NAME);
        let is_locked = own_file::is_locked(&lock_path).map_err(FileError::writing(&lock_path))?;
        if is_locked { Err(AnnotateError::InUse { directory: path.to_owned() }) } else { Ok(()) }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the tree with this file stem exists. Trees are written atomically.
    pub(super) fn has_tree(&self, stem: &str) -> bool {
        self.tree_path(stem).is_file()
    }

    /// Writes a tree, which is then still to be moved into place.
    pub(super) fn write_tree(&self, stem: &str, tree: &Tree) -> Result<CompleteFile, AnnotateError> {
        atomic::complete(&self.tree_path(stem), json::to_string(tree).as_bytes()).map_err(AnnotateError::Write)
    }

    fn tree_path(&self, stem: &str) -> PathBuf {
        self.path.join(format!("{stem}.json"))
    }
}
