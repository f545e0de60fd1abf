//! `config.json`: the shapes and constants of a model.
//!
//! Accepts `internvl_chat` (a language model, a vision tower and how they join) and plain `internlm2` and `qwen2`.
//! Defaults are those of the Hugging Face configuration classes; what llama.cpp would compute differently is refused here
//! or becomes a note of the conversion plan. Tensors are left to [`crate::convert`].
//!
//! ```
//! use mmprm_quant::hf::config::{LanguageArch, ModelConfig};
//! let dir = tempfile::tempdir().unwrap();
//! let config = r#"{"model_type": "qwen2", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
//!     "num_attention_heads": 4, "vocab_size": 100, "max_position_embeddings": 512}"#;
//! std::fs::write(dir.path().join("config.json"), config).unwrap();
//! let config = ModelConfig::read(dir.path()).unwrap();
//! assert_eq!((config.language.arch, config.language.head()), (LanguageArch::Qwen2, 16));
//! ```

mod read;

use std::path::Path;

use serde::Deserialize;

use super::HfError;

/// Architecture of the language model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LanguageArch {
    /// `InternLM2`: fused `wqkv`, `SwiGLU`, `RMSNorm`.
    InternLm2,
    /// `Qwen2` and `Qwen2.5`: biases on Q, K, V.
    Qwen2,
}

impl LanguageArch {
    /// The name llama.cpp and Hugging Face both give it.
    pub fn name(self) -> &'static str {
        match self {
            Self::InternLm2 => "internlm2",
            Self::Qwen2 => "qwen2",
        }
    }
}

/// How rotary positions are stretched beyond the trained length.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum RopeScaling {
    /// Not, or `dynamic`: that changes nothing up to the trained length, and llama.cpp does not apply it beyond.
    None,
    /// Positions divided by a factor.
    Linear {
        /// The factor.
        factor: f32,
    },
    /// `YaRN` (arXiv 2309.00071).
    Yarn {
        /// The factor.
        factor: f32,
        /// Context length before the extension.
        original_context: u32,
    },
}

/// The language model's configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct LanguageConfig {
    /// Its architecture.
    pub arch: LanguageArch,
    /// Width of the residual stream.
    pub hidden: u64,
    /// Width of the feed-forward layers.
    pub feed_forward: u64,
    /// Number of blocks.
    pub layers: u64,
    /// Number of query heads.
    pub heads: u64,
    /// Number of key and value heads.
    pub kv_heads: u64,
    /// Rows of the embedding matrix.
    pub vocab: u64,
    /// Trained context length.
    pub context: u64,
    /// Added under the root of `RMSNorm`.
    pub norm_eps: f32,
    /// Base of the rotary frequencies.
    pub rope_base: f32,
    /// Rotary scaling.
    pub rope_scaling: RopeScaling,
    /// Whether the output matrix is the embedding matrix.
    pub tied: bool,
    /// Whether attention is limited to a window, which llama.cpp does not do for this architecture.
    pub sliding_window: bool,
    /// Ids of special tokens the configuration names: beginning, end, padding.
    pub token_ids: [Option<u32>; 3],
}

impl LanguageConfig {
    /// Width of one attention head.
    pub fn head(&self) -> u64 {
        self.hidden / self.heads
    }
}

/// Kind of norm in the vision tower.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum VisionNorm {
    /// `LayerNorm`, with biases (InternViT-300M).
    LayerNorm,
    /// `RMSNorm`, without biases (InternViT-6B).
    RmsNorm,
}

/// Activation of the vision tower's feed-forward layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Activation {
    /// GELU.
    Gelu,
    /// `SiLU`.
    Silu,
}

/// The vision tower's configuration and how its output becomes tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct VisionConfig {
    /// Width.
    pub hidden: u64,
    /// Width of the feed-forward layers.
    pub feed_forward: u64,
    /// Number of blocks.
    pub layers: u64,
    /// Number of heads.
    pub heads: u64,
    /// Side of a tile in pixels.
    pub image_size: u64,
    /// Side of a patch in pixels.
    pub patch_size: u64,
    /// Added under the root of the norms.
    pub norm_eps: f32,
    /// Kind of norm.
    pub norm: VisionNorm,
    /// Whether queries and keys are normalised.
    pub qk_norm: bool,
    /// Activation of the feed-forward layers.
    pub activation: Activation,
    /// Patches joined per side by the pixel shuffle (1 / `downsample_ratio`).
    pub shuffle: u64,
    /// Whether Q, K and V have biases.
    pub qkv_bias: bool,
    /// Fewest tiles per image.
    pub min_tiles: u32,
    /// Most tiles per image, not counting the thumbnail.
    pub max_tiles: u32,
    /// Whether an image of several tiles also gets a thumbnail.
    pub thumbnail: bool,
    /// Mean of the pixel values, per channel.
    pub mean: [f32; 3],
    /// Standard deviation of the pixel values, per channel.
    pub std: [f32; 3],
}

impl VisionConfig {
    /// Patches per side of a tile.
    pub fn grid(&self) -> u64 {
        self.image_size / self.patch_size
    }

    /// Tokens of the language model that a tile becomes.
    pub fn tokens_per_tile(&self) -> u64 {
        (self.grid() / self.shuffle).pow(2)
    }
}

/// A checkpoint's configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// The language model.
    pub language: LanguageConfig,
    /// The vision tower, if there is one.
    pub vision: Option<VisionConfig>,
}

impl ModelConfig {
    /// Reads `config.json`, and `preprocessor_config.json` for the pixels' mean and deviation if it is there.
    ///
    /// # Errors
    /// [`HfError`] with the file and key, for a missing file, bad JSON, an unsupported architecture or value.
    pub fn read(directory: &Path) -> Result<Self, HfError> {
        read::model(&directory.join("config.json"))
    }

    /// Reads a configuration under whatever name, and `preprocessor_config.json` in the same directory.
    ///
    /// # Errors
    /// As [`ModelConfig::read`].
    pub fn read_file(path: &Path) -> Result<Self, HfError> {
        read::model(path)
    }
}
