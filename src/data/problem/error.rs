//! Why a problem file cannot be used.

use std::path::PathBuf;

use crate::data::images::ImageFieldError;
use crate::util::io::FileError;

/// Why a problem file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProblemError {
    /// The file cannot be read, or is too large.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file has too many records.
    #[error("{}: expected at most {limit} problems, found more", path.display())]
    TooMany {
        /// The file.
        path: PathBuf,
        /// The maximum number of records.
        limit: usize,
    },
    /// The file is not JSON.
    #[error("{}:{line}:{column}: expected {expected}: {reason}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What should be there.
        expected: &'static str,
        /// What the parser found.
        reason: String,
    },
    /// A record cannot be used.
    #[error("{place}: {source}")]
    Record {
        /// `file:line` in JSON Lines, `file[index]` in an array, and the record's id if it has one.
        place: String,
        /// What is wrong with it.
        source: RecordError,
    },
    /// Two records have the same id.
    #[error("{place}: expected a unique id, but `{id}` is also the id of {first}")]
    DuplicateId {
        /// The later record.
        place: String,
        /// The id.
        id: String,
        /// The earlier record.
        first: String,
    },
}

/// What is wrong with a record.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// A field is missing, or a value has another type.
    #[error("expected {0}")]
    Expected(String),
    /// Its images are not known.
    #[error(transparent)]
    Images(#[from] ImageFieldError),
}
