//! Why a data set cannot be imported.

use std::path::{Path, PathBuf};

use super::row::Row;
use crate::util::io::FileError;

/// Why a data set cannot be imported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A source is not of the form that its content begins with.
    #[error("{place}: expected {expected} ({cause})")]
    Syntax {
        /// The file, with line or row where one is known.
        place: String,
        /// What should be there.
        expected: &'static str,
        /// What was found.
        cause: String,
    },
    /// No set has these columns.
    #[error("{}: its columns ({columns}) are of no known set; name the set, or map its columns", path.display())]
    UnknownSet {
        /// The file.
        path: PathBuf,
        /// The columns of its first row.
        columns: String,
    },
    /// A mapping names a column that no row has.
    #[error("{}: no row has the column `{column}`", paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", "))]
    NoColumn {
        /// The sources.
        paths: Vec<PathBuf>,
        /// The column.
        column: String,
    },
    /// No row could be used.
    #[error("none of the {rows} rows can be used: {reasons}")]
    NoRecords {
        /// Rows read.
        rows: usize,
        /// Reasons, each with its number of rows.
        reasons: String,
    },
    /// The output exists.
    #[error("{} exists{}", path.display(), if *is_source { " and is a source" } else { "" })]
    Exists {
        /// The output.
        path: PathBuf,
        /// Whether it is also read from.
        is_source: bool,
    },
    /// There are no rows.
    #[error("{}: found no rows", paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", "))]
    Empty {
        /// The sources.
        paths: Vec<PathBuf>,
    },
    /// The caller cancelled the import.
    #[error("cancelled")]
    Cancelled,
}

impl ImportError {
    /// For a first row of no known set.
    pub(super) fn unknown(path: &Path, row: &Row) -> Self {
        Self::UnknownSet { path: path.to_owned(), columns: row.columns().join(", ") }
    }
}
