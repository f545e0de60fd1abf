//! Images' tiles to what a language model reads of them: one trait, two encoders, and a store of results on disk.
//!
//! [`NativeEncoder`] runs the tower on this project's own kernels (`nn`, `internvl`), llama.cpp's multimodal library
//! ([`engine::Vision`]) on a GPU; [`open`] chooses. Decoding and tiling of images are
//! left to `image`, what is kept in memory and where embeddings go in a prompt to `multimodal`.
//!
//! ```
//! use mmprm::vision::DiskCache;
//! let folder = tempfile::tempdir().unwrap();
//! let cache = DiskCache::new(folder.path().to_owned(), [1; 32]);
//! assert_eq!(cache.get(&[2; 32], 2), None);
//! cache.put(&[2; 32], &[0.5, 1.5]).unwrap();
//! assert_eq!(cache.get(&[2; 32], 2), Some(vec![0.5, 1.5]));
//! ```

mod cache;
#[cfg(feature = "engine")]
mod llama;
mod native;
#[cfg(feature = "engine")]
mod open;
#[cfg(feature = "engine")]
pub mod prompts;

pub use cache::DiskCache;
pub use native::{NativeEncoder, NativeOptions};
#[cfg(feature = "engine")]
pub use open::open;

use std::fmt::{self, Debug, Display, Formatter};
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use mmprm_quant::gguf::GgufFile;
use mmprm_quant::inspect;
use mmprm_quant::progress::no_progress;
use sha2::{Digest, Sha256};

use crate::engine::EngineError;
use crate::image::Tile;
use crate::internvl::MmprojError;

/// Why tiles could not be encoded.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum VisionError {
    /// llama.cpp refused, or the file does not fit the language model.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The file is not sound, or its tower none that the native encoder can run.
    #[error(transparent)]
    Native(Arc<MmprojError>),
    /// A tile of another size than the tower takes.
    #[error("a tile of {found} pixels a side, {expected} are expected")]
    Tile {
        /// Its side.
        found: usize,
        /// The side that the tower takes.
        expected: usize,
    },
    /// The cache's folder cannot be used.
    #[error("cannot keep embeddings in {}: {source}", path.display())]
    Cache {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: Arc<io::Error>,
    },
}

impl From<MmprojError> for VisionError {
    fn from(error: MmprojError) -> Self {
        Self::Native(Arc::new(error))
    }
}

/// A vision tower and projector.
pub trait VisionEncoder: Debug + Send + Sync {
    /// Side of a tile in pixels.
    fn tile_size(&self) -> usize;

    /// Embeddings a tile gives.
    fn tokens_per_tile(&self) -> usize;

    /// Values of an embedding: the width of the language model.
    fn width(&self) -> usize;

    /// Embeddings `[tiles · tokens_per_tile, width]`. Those of a tile depend neither on the other tiles nor on the number
    /// of threads.
    ///
    /// # Errors
    /// [`VisionError`] for tiles of another size, or if the encoder fails.
    fn encode(&self, tiles: &[Tile]) -> Result<Vec<f32>, VisionError>;

    /// Hash of all that the embeddings of given tiles depend on: weights, settings, arithmetic.
    fn fingerprint(&self) -> [u8; 32];
}

/// Which encoder is to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EncoderChoice {
    /// llama.cpp's where a GPU is used, else the native one.
    #[default]
    Auto,
    /// This project's own, on the CPU.
    Native,
    /// llama.cpp's.
    LlamaCpp,
}

impl Display for EncoderChoice {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Native => "native",
            Self::LlamaCpp => "llama.cpp",
        })
    }
}

impl FromStr for EncoderChoice {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "auto" => Ok(Self::Auto),
            "native" => Ok(Self::Native),
            "llama.cpp" => Ok(Self::LlamaCpp),
            other => Err(format!("'{other}', expected auto, native or llama.cpp")),
        }
    }
}

/// Hash of a projector's tensors, of the metadata that its output depends on, and of `how` it is run.
fn fingerprint(file: &GgufFile, how: &str) -> [u8; 32] {
    let tensors = inspect::content_hash(file, &mut no_progress).expect("nothing stops it");
    let mut hasher = Sha256::new().chain_update(how).chain_update(tensors);
    for (key, value) in file.metadata() {
        if key.starts_with("clip.") || key.starts_with("mmprm.vision.") {
            let mut bytes = format!("\n{key} = ").into_bytes();
            value.encode(&mut bytes);
            hasher.update(bytes);
        }
    }
    hasher.finalize().into()
}
