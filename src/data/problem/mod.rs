//! A problem, its images, its answer; problem files.
//!
//! A problem file is the MM-PRM seed JSON: an array of records, or one record a line (JSONL). [`Problems::load`] checks
//! what this project reads of a record and carries the rest along. Images are not opened here: `image::resolve` turns the
//! paths of [`Problem::images`] into files below [`Problems::root`].
//!
//! ```
//! use mmprm::data::problem::Problems;
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("problems.jsonl");
//! std::fs::write(&path, r#"{"id": 7, "question": "1 + 1?", "correct_answer": "2", "image_path": "images/7.png"}"#)?;
//! let problems = Problems::load(&path, None)?;
//! assert_eq!(problems.items[0].id, "7");
//! assert_eq!(problems.items[0].images, ["images/7.png"]);
//! assert_eq!(problems.root, folder.path());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod file;
mod record;

use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

/// One problem of a problem file, with every field of its record carried along.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// The whole record as read, key order kept; names the tree file (md5) and carries fields unknown to this project.
    pub record: Map<String, Value>,
    /// `id`, as text; the record's index in its file where it has none.
    pub id: String,
    /// `question`.
    pub question: String,
    /// `correct_answer`, or `answer` where only that is present.
    pub answer: String,
    /// `image_path` / `image_paths`, as written in the record; relative paths are below the data root. Empty for a problem
    /// of text only.
    pub images: Vec<String>,
}

/// A problem file's problems.
#[derive(Debug, Clone, PartialEq)]
pub struct Problems {
    /// The directory that image paths are confined to.
    pub root: PathBuf,
    /// The problems, in the file's order; no two share an id.
    pub items: Vec<Problem>,
}

impl Problems {
    /// Reads a problem file. Image paths are below `root`, or below the file's own directory where none is given.
    ///
    /// # Errors
    /// [`ProblemError`] names the file, the line or record, and what was expected there.
    pub fn load(path: &Path, root: Option<&Path>) -> Result<Self, ProblemError> {
        let items = file::read(path)?;
        // The parent of a bare file name is empty, and an empty path is no directory.
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Ok(Self { root: root.unwrap_or(parent).to_owned(), items })
    }
}

/// Why a problem file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProblemError {
    /// The file cannot be opened or read.
    #[error("{}: cannot read the problem file: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is larger than any problem file should be.
    #[error("{}: the problem file has more than {limit} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit: u64,
    },
    /// The file has more records than any problem file should have.
    #[error("{}: the problem file has more than {limit} records", path.display())]
    TooMany {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit: usize,
    },
    /// Not JSON.
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
    /// A record that lacks something or holds a value of another type.
    #[error("{place}: expected {expected}")]
    Record {
        /// `file:line` in JSONL, `file[index]` in an array.
        place: String,
        /// What should be there.
        expected: String,
    },
    /// Two records with one id.
    #[error("{place}: expected an id of its own, but `{id}` is also the id of {first}")]
    DuplicateId {
        /// The later record.
        place: String,
        /// The id.
        id: String,
        /// The earlier record.
        first: String,
    },
}
