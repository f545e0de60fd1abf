//! Errors of reading configuration and tokenizer files.

use std::io;
use std::path::{Path, PathBuf};

/// An error of reading a checkpoint's configuration or tokenizer. Every message names the file and
/// the key or token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HfError {
    /// The file cannot be opened or read.
    #[error("{}: cannot read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file is not JSON of the expected form.
    #[error("{}: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The position and the cause.
        source: serde_json::Error,
    },
    /// The file is not UTF-8.
    #[error("{}: not UTF-8: {source}", path.display())]
    Text {
        /// The file.
        path: PathBuf,
        /// The position.
        source: std::string::FromUtf8Error,
    },
    /// The content is invalid or not supported.
    #[error("{}: {place}: {problem}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The key, token or line.
        place: String,
        /// What was found and what was expected.
        problem: String,
    },
}

impl HfError {
    pub(crate) fn invalid(path: &Path, place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Invalid { path: path.to_owned(), place: place.into(), problem: problem.into() }
    }
}
