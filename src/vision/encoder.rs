//! The trait of vision encoders, and the choice between them.

use std::fmt::{self, Debug, Display, Formatter};
use std::str::FromStr;

use mmprm_quant::gguf::GgufFile;
use mmprm_quant::inspect;
use mmprm_quant::progress::no_progress;
use sha2::{Digest, Sha256};

use super::VisionError;
use crate::image::Tile;

/// A vision tower with its projector.
pub trait VisionEncoder: Debug + Send + Sync {
    /// Returns the side of a tile in pixels.
    fn tile_size(&self) -> usize;

    /// Returns the number of embeddings per tile.
    fn tokens_per_tile(&self) -> usize;

    /// Returns the width of an embedding, that of the language model.
    fn width(&self) -> usize;

    /// Returns the embeddings `[tiles · tokens_per_tile, width]` of `tiles`. Those of a tile do not
    /// depend on the other tiles or the number of threads.
    ///
    /// # Errors
    /// [`VisionError`] for tiles of another size, or if the encoder fails.
    fn encode(&self, tiles: &[Tile]) -> Result<Vec<f32>, VisionError>;

    /// Returns a hash of everything that the embeddings of a tile depend on: weights, options,
    /// arithmetic.
    fn fingerprint(&self) -> [u8; 32];
}

/// Which vision encoder to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EncoderChoice {
    /// llama.cpp's on a GPU, else the native one.
    #[default]
    Auto,
    /// The native encoder, on the CPU.
    Native,
    /// llama.cpp's encoder.
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

/// A name that is not an [`EncoderChoice`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}', expected auto, native or llama.cpp")]
pub struct UnknownEncoder(String);

impl FromStr for EncoderChoice {
    type Err = UnknownEncoder;

    fn from_str(name: &str) -> Result<Self, UnknownEncoder> {
        match name {
            "auto" => Ok(Self::Auto),
            "native" => Ok(Self::Native),
            "llama.cpp" => Ok(Self::LlamaCpp),
            other => Err(UnknownEncoder(other.to_owned())),
        }
    }
}

/// Returns a hash of a projector's tensors, of the metadata that its output depends on, and of the
/// encoder `variant` that runs it.
pub(super) fn fingerprint(file: &GgufFile, variant: &str) -> [u8; 32] {
    let tensors = inspect::content_hash(file, &mut no_progress).expect("the progress callback never cancels");
    let mut hasher = Sha256::new().chain_update(variant).chain_update(tensors);
    for (key, value) in file.metadata() {
        if key.starts_with("clip.") || key.starts_with("mmprm.vision.") {
            let mut bytes = format!("\n{key} = ").into_bytes();
            value.encode(&mut bytes);
            hasher.update(bytes);
        }
    }
    hasher.finalize().into()
}
