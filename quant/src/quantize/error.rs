//! Errors of quantisation.

use std::path::PathBuf;

use crate::blocks::{BlockError, GgmlType};
use crate::gguf::GgufError;

/// An error of quantising a file. Every message names the file and the key or tensor.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QuantizeError {
    /// A file cannot be read or written.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// The input is quantised already, and [`QuantizeOptions::requantize`](super::QuantizeOptions)
    /// is off.
    #[error(
        "{}: tensor '{tensor}': is {found}, expected F32, F16 or BF16: requantising loses precision twice and must be \
         allowed explicitly",
        path.display()
    )]
    Requantize {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The type found.
        found: GgmlType,
    },
    /// A tensor cannot be converted.
    #[error("{}: tensor '{tensor}': {source}", path.display())]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The value or type, and the reason.
        source: BlockError,
    },
    /// The tensor would reach 2^63 bytes.
    #[error("{}: tensor '{tensor}': its new data would exceed 2^63 bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
    },
    /// The file is one of several shards, which must be joined first.
    #[error("{}: key 'split.count': {count} shards, expected a single file", path.display())]
    Split {
        /// The file.
        path: PathBuf,
        /// The number of shards.
        count: u32,
    },
    /// The caller cancelled.
    #[error("cancelled")]
    Cancelled,
}
