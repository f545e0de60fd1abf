//! What can be wrong with a GGUF file.

use std::io;
use std::path::PathBuf;

/// An error of reading or writing a GGUF file; every message names the file and the place in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GgufError {
    /// The file cannot be opened, read or mapped.
    #[error("{}: cannot read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file cannot be written; the source's message names it.
    #[error("{source}")]
    Write {
        /// Why, with the path.
        source: io::Error,
    },
    /// The bytes do not follow the format.
    #[error("{}: {place} (byte {offset}): {problem}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What was being read: `header`, `key 'x'`, `tensor 'x'`.
        place: String,
        /// Byte offset from the start of the file.
        offset: u64,
        /// What is wrong and what was expected.
        problem: String,
    },
    /// A metadata key that is needed is not there.
    #[error("{}: key '{key}': missing, expected {expected}", path.display())]
    MissingKey {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// The type it should have.
        expected: &'static str,
    },
    /// A metadata value has another type than is needed.
    #[error("{}: key '{key}': is {found}, expected {expected}", path.display())]
    WrongType {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// The type it has.
        found: &'static str,
        /// The type it should have.
        expected: &'static str,
    },
    /// Metadata or tensors contradict each other in a way that llama.cpp would not survive.
    #[error("{}: {place}: {problem}", path.display())]
    Unsound {
        /// The file.
        path: PathBuf,
        /// `key 'x'` or `tensor 'x'`.
        place: String,
        /// What is wrong and what was expected.
        problem: String,
    },
    /// What is to be written is not a valid GGUF file, or the data does not fit what was announced.
    #[error("{}: {place}: {problem}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// `key 'x'` or `tensor 'x'`.
        place: String,
        /// What is wrong and what was expected.
        problem: String,
    },
}
