//! Errors of reading and writing GGUF files.

use std::io;
use std::path::PathBuf;

/// An error of reading or writing a GGUF file. Every message names the file and the key or tensor.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GgufError {
    /// The file cannot be opened, read or mapped.
    #[error("{}: cannot read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file cannot be written; the message of the cause names it.
    #[error(transparent)]
    Write {
        /// The cause.
        source: io::Error,
    },
    /// The bytes violate the format.
    #[error("{}: {place} (byte {offset}): {problem}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What was being read: `header`, `key 'x'` or `tensor 'x'`.
        place: String,
        /// Byte offset from the start of the file.
        offset: u64,
        /// What was found and what was expected.
        problem: String,
    },
    /// A required metadata key is missing.
    #[error("{}: key '{key}': missing, expected {expected}", path.display())]
    MissingKey {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// The expected type.
        expected: &'static str,
    },
    /// A metadata value has the wrong type.
    #[error("{}: key '{key}': is {found}, expected {expected}", path.display())]
    WrongType {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// The type found.
        found: &'static str,
        /// The expected type.
        expected: &'static str,
    },
    /// The value of a key is out of range or contradicts another, which would abort llama.cpp.
    #[error("{}: key '{key}': {found}, expected {expected}", path.display())]
    UnsoundKey {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What was found.
        found: String,
        /// What was expected.
        expected: String,
    },
    /// A tensor is missing or has another shape or type than the model's keys ask for.
    #[error("{}: tensor '{tensor}': {found}, expected {expected}", path.display())]
    UnsoundTensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// What was found.
        found: String,
        /// What was expected.
        expected: String,
    },
    /// The header to be written is not valid, or the data does not match it.
    #[error("{}: {place}: {problem}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// `key 'x'` or `tensor 'x'`.
        place: String,
        /// What was found and what was expected.
        problem: String,
    },
}
