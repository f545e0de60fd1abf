//! What can go wrong in the engine.

use std::path::PathBuf;
use std::sync::Arc;

use mmprm_quant::gguf::GgufError;

/// What can go wrong in the engine.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// llama.cpp itself could not start.
    #[error("llama.cpp could not start: {0}")]
    Backend(String),
    /// A GGUF file is missing or not sound.
    #[error(transparent)]
    Gguf(Arc<GgufError>),
    /// A sound file that cannot be used.
    #[error("cannot load {}: {cause}", path.display())]
    Load {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// Text that cannot be tokenised.
    #[error("cannot tokenise: {0}")]
    Tokenize(String),
    /// A prompt that cannot be run.
    #[error("cannot run the prompt: {0}")]
    Prompt(String),
    /// A limit of the context or of llama.cpp was reached.
    #[error("{0}")]
    Limit(String),
    /// An image could not be encoded.
    #[error("{} could not encode an image: {cause}", path.display())]
    Vision {
        /// The mmproj file.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// llama.cpp failed to decode a batch.
    #[error("llama.cpp failed to decode: {0}")]
    Decode(String),
    /// The request was cancelled.
    #[error("cancelled")]
    Cancelled,
    /// The engine's thread is gone.
    #[error("the engine has stopped")]
    Stopped,
}

impl EngineError {
    #[cfg(feature = "engine")]
    pub(super) fn too_long(positions: usize, cells: usize) -> Self {
        Self::Limit(format!("the prompt takes {positions} positions but the context has {cells}; raise --context"))
    }
}

impl From<GgufError> for EngineError {
    fn from(error: GgufError) -> Self {
        Self::Gguf(Arc::new(error))
    }
}
