//! Why an annotation ended early.

use std::path::PathBuf;

use super::directory::LOCK_NAME;
use crate::search::ParamsError;
use crate::util::io::FileError;

/// Why a run ended early. Everything finished before is kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnnotateError {
    /// A search parameter is out of range.
    #[error(transparent)]
    Params(#[from] ParamsError),
    /// Another process works in the output directory.
    #[error("{} is in use by another annotation: expected no other process to hold {LOCK_NAME}", directory.display())]
    InUse {
        /// The output directory.
        directory: PathBuf,
    },
    /// The trees in the output directory have other settings.
    #[error("the trees in {} were made with other settings: {differences}", directory.display())]
    OtherSettings {
        /// The output directory.
        directory: PathBuf,
        /// What differs, with both values.
        differences: String,
    },
    /// The settings in the output directory have another format.
    #[error("{} was annotated by an earlier version whose settings cannot be compared", directory.display())]
    OtherFormat {
        /// The output directory.
        directory: PathBuf,
    },
    /// The settings file is damaged.
    #[error("{}: expected one JSON object a line", path.display())]
    Settings {
        /// The file.
        path: PathBuf,
    },
    /// The output directory, its lock or its log cannot be opened, read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A tree cannot be written.
    #[error(transparent)]
    Write(std::io::Error),
    /// The file in the log's place has no line of a log.
    #[error("{}: expected the log of an annotation, found another file", path.display())]
    NotALog {
        /// The file.
        path: PathBuf,
    },
}
