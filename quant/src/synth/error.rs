//! Errors of synthetic models.

use std::path::PathBuf;

use crate::blocks::BlockError;
use crate::convert::ConvertError;
use crate::gguf::GgufError;

/// Maximum number of blocks in llama.cpp (`LLAMA_MAX_LAYERS`).
pub(super) const MAX_LAYERS: u64 = 512;

/// An error of writing a synthetic model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SynthError {
    /// A file cannot be read or written.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// The configuration has a tensor of 2^63 bytes or more.
    #[error(transparent)]
    Shape(#[from] ConvertError),
    /// The configuration has more blocks than llama.cpp supports.
    #[error("{layers} blocks, expected at most {MAX_LAYERS}")]
    Layers {
        /// The number of blocks.
        layers: u64,
    },
    /// The vocabulary has more tokens than the embedding matrix has rows.
    #[error("{}: has {tokens} tokens, but the shape has a vocabulary of {rows}", path.display())]
    Vocabulary {
        /// The file with the vocabulary.
        path: PathBuf,
        /// The number of tokens.
        tokens: usize,
        /// The number of rows.
        rows: u64,
    },
    /// A tensor cannot be quantised.
    #[error("tensor '{tensor}': {source}")]
    Tensor {
        /// The tensor.
        tensor: String,
        /// The reason.
        source: BlockError,
    },
    /// The caller cancelled.
    #[error("cancelled")]
    Cancelled,
}
