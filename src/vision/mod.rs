//! Vision encoders: from image tiles to the embeddings that a language model reads.
//!
//! | part | does |
//! |---|---|
//! | [`NativeEncoder`] | runs `InternViT` and its projector on this crate's kernels (`nn`, `internvl`), on the CPU |
//! | `engine::LlamaEncoder` | runs them in llama.cpp's multimodal library, also on a GPU |
//! | `open` | chooses between the two |
//! | [`DiskCache`] | keeps embeddings on disk between runs |
//! | `prompts` | joins text and image embeddings into prompts, and keeps recent embeddings in memory |
//!
//! Decoding and tiling images is left to `image`.
//!
//! ```no_run
//! use mmprm::image::{Limits, Tiling, load, tiles};
//! use mmprm::vision::{NativeEncoder, NativeOptions, VisionEncoder};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let encoder = NativeEncoder::load("mmproj.gguf".as_ref(), NativeOptions::default())?;
//! let tiling = Tiling::new(encoder.tile_size(), 1, 12, true)?;
//! let tiles = tiles(&load("figure.png".as_ref(), &Limits::default())?, &tiling);
//! let embeddings = encoder.encode(&tiles)?;
//! assert_eq!(embeddings.len(), tiles.len() * encoder.tokens_per_tile() * encoder.width());
//! # Ok(()) }
//! ```

mod cache;
mod encoder;
mod error;
#[cfg(feature = "engine")]
mod llama;
mod native;
#[cfg(feature = "engine")]
mod open;
#[cfg(feature = "engine")]
pub mod prompts;

pub use cache::DiskCache;
pub use encoder::{EncoderChoice, UnknownEncoder, VisionEncoder};
pub use error::VisionError;
pub use native::{NativeEncoder, NativeOptions};
#[cfg(feature = "engine")]
pub use open::open;
