//! Errors of vision encoders.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::engine::EngineError;
use crate::internvl::MmprojError;

/// Why image tiles could not be encoded.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum VisionError {
    /// llama.cpp failed, or the projector does not fit the language model.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The projector's file is invalid, or the native encoder cannot run its tower.
    #[error(transparent)]
    Native(Arc<MmprojError>),
    /// The threads of the native encoder cannot be started.
    #[error("cannot start the threads of the vision encoder: {0}")]
    Threads(#[source] Arc<rayon::ThreadPoolBuildError>),
    /// A tile of another size than the tower's input.
    #[error("the tile has {found} pixels per side, expected {expected}")]
    Tile {
        /// Pixels per side of the tile.
        found: usize,
        /// Pixels per side of the tower's input.
        expected: usize,
    },
    /// The directory of the embedding cache cannot be used.
    #[error("cannot keep embeddings in {}: {source}", path.display())]
    Cache {
        /// The directory.
        path: PathBuf,
        /// The cause.
        source: Arc<io::Error>,
    },
}

impl From<MmprojError> for VisionError {
    fn from(error: MmprojError) -> Self {
        Self::Native(Arc::new(error))
    }
}
