//! Why a problem file cannot be used.

use std::path::PathBuf;

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
    /// A record lacks a field or has a value of another type.
    #[error("{place}: expected {expected}")]
    Record {
        /// `file:line` in JSON Lines, `file[index]` in an array.
        place: String,
        /// What should be there.
        expected: String,
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
