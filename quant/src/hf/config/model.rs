//! The types of a configuration. Reading and validation are in [`super::read`].

use serde::Deserialize;

/// The factor of dynamic NTK scaling, which llama.cpp has no key for: a model with it computes
/// something else beyond its trained context than its checkpoint's own code.
pub const DYNAMIC_ROPE: &str = "mmprm.rope.dynamic_factor";

/// The number of positions that a token attends to, where they are fewer than the trained context:
/// llama.cpp attends to all in these models.
pub const WINDOW: &str = "mmprm.attention.window";

/// Architecture of the language model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LanguageArch {
    /// `InternLM2`: fused `wqkv`, `SwiGLU`, `RMSNorm`.
    InternLm2,
    /// `Qwen2` and `Qwen2.5`: biases on Q, K, V.
    Qwen2,
    /// `Qwen3`: norms of the heads of Q and K, no biases.
    Qwen3,
    /// `Llama` and `Mistral`: no biases.
    Llama,
    /// `Qwen2-VL` and `Qwen2.5-VL`: as `Qwen2`, with positions of three sections.
    Qwen2Vl,
    /// `Qwen3-VL`: as `Qwen3`, with positions of three interleaved sections.
    Qwen3Vl,
}

impl LanguageArch {
    /// Returns the name in llama.cpp.
    pub fn name(self) -> &'static str {
        match self {
            Self::InternLm2 => "internlm2",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Llama => "llama",
            Self::Qwen2Vl => "qwen2vl",
            Self::Qwen3Vl => "qwen3vl",
        }
    }

    /// Returns whether queries, keys and values have biases.
    pub fn has_qkv_bias(self) -> bool {
        matches!(self, Self::Qwen2 | Self::Qwen2Vl)
    }

    /// Returns whether the heads of queries and keys are normalised.
    pub fn has_head_norms(self) -> bool {
        matches!(self, Self::Qwen3 | Self::Qwen3Vl)
    }

    /// Returns whether the width of a head is a setting of its own, not that of the hidden states
    /// divided by the number of heads.
    pub fn has_own_head_width(self) -> bool {
        matches!(self, Self::Qwen3 | Self::Qwen3Vl | Self::Llama)
    }
}

/// Scaling of rotary positions beyond the trained length.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum RopeScaling {
    /// None.
    None,
    /// Dynamic NTK scaling, which changes nothing up to the trained length. llama.cpp does not
    /// compute it, so that longer prompts are refused when the model runs.
    Dynamic {
        /// The factor.
        factor: f32,
    },
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
        /// Factor of queries and keys, relative to `YaRN`'s usual one (1 + 0.1 ln `factor`).
        attention: f32,
    },
    /// Llama 3's: low frequencies divided by a factor, high ones kept, those between interpolated.
    Llama3 {
        /// The factor.
        factor: f64,
        /// Wavelengths above the original context divided by this are low frequencies.
        low: f64,
        /// Wavelengths below the original context divided by this are high frequencies.
        high: f64,
        /// Context length before the extension.
        original_context: u32,
    },
}

/// A head that scores positions, in the place of the vocabulary's or beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ScoringHead {
    /// `…ForTokenClassification`: one linear layer, `score`.
    Classes {
        /// Number of classes.
        classes: u64,
        /// Whether the layer has a bias.
        bias: bool,
    },
    /// `Qwen2ForProcessRewardModel` (Qwen2.5-Math-PRM): linear layer, `ReLU`, linear layer; two
    /// classes.
    Mlp,
    /// The value head of TRL and of Skywork-o1-Open-PRM, `v_head.summary`: one number, beside the
    /// vocabulary's head.
    Value,
}

/// The language model's configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct LanguageConfig {
    /// Architecture.
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
    /// Epsilon of `RMSNorm`.
    pub norm_eps: f32,
    /// Base of the rotary frequencies (`rope_theta`).
    pub rope_base: f32,
    /// Rotary scaling.
    pub rope_scaling: RopeScaling,
    /// Width of an attention head, where it is a setting of its own.
    pub own_head_width: Option<u64>,
    /// Positions that a token attends to, itself included, where they are fewer than the context.
    pub window: Option<u64>,
    /// The head that scores positions, if there is one.
    pub scoring_head: Option<ScoringHead>,
    /// Rotated pairs of a head that time, height and width have (M-RoPE); `None` where a position is one number.
    pub position_sections: Option<[u32; 3]>,
    /// Blocks, from the first, after which features of the vision tower are added to image tokens.
    pub deepstack: u64,
    /// Whether the output matrix is the embedding matrix.
    pub tied: bool,
    /// Ids of the beginning, end and padding tokens.
    pub token_ids: [Option<u32>; 3],
}

impl LanguageConfig {
    /// Returns the width of an attention head.
    pub fn head(&self) -> u64 {
        self.own_head_width.unwrap_or(self.hidden / self.heads)
    }

    /// Returns what the rotary frequencies are divided by in models with Llama 3's scaling. Computed
    /// in 32 bits, as by transformers and by llama.cpp's converter.
    pub fn frequency_factors(&self) -> Option<Vec<f32>> {
        let RopeScaling::Llama3 { factor, low, high, original_context } = self.rope_scaling else { return None };
        let context = original_context as f32;
        let [factor, low, high] = [factor, low, high].map(|number| number as f32);
        let width = self.head();
        let factors = (0..width / 2).map(|index| {
            let frequency = 1.0 / self.rope_base.powf((2 * index) as f32 / width as f32);
            let wavelength = std::f32::consts::TAU / frequency;
            if wavelength < context / high {
                1.0
            } else if wavelength > context / low {
                factor
            } else {
                let smooth = (context / wavelength - low) / (high - low);
                1.0 / ((1.0 - smooth) / factor + smooth)
            }
        });
        Some(factors.collect())
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

/// The configuration of the vision tower and of the projection to tokens.
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
    /// Epsilon of the norms.
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
    /// Minimum tiles per image.
    pub min_tiles: u32,
    /// Maximum tiles per image, without the thumbnail.
    pub max_tiles: u32,
    /// Whether a thumbnail is added to images of several tiles.
    pub thumbnail: bool,
    /// Mean of the pixel values, per channel.
    pub mean: [f32; 3],
    /// Standard deviation of the pixel values, per channel.
    pub std: [f32; 3],
}

impl VisionConfig {
    /// Returns the number of patches per side of a tile.
    pub fn grid(&self) -> u64 {
        self.image_size / self.patch_size
    }

    /// Returns the number of language-model tokens per tile.
    pub fn tokens_per_tile(&self) -> u64 {
        (self.grid() / self.shuffle).pow(2)
    }
}

/// Generation of a vision tower of `Qwen-VL`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum QwenTower {
    /// `Qwen2-VL`: `LayerNorm`, quick GELU.
    Qwen2,
    /// `Qwen2.5-VL`: `RMSNorm`, gated `SiLU`, attention within windows in most blocks.
    Qwen25,
    /// `Qwen3-VL`: learnt positions, features for several blocks of the language model.
    Qwen3,
}

/// The configuration of a vision tower that reads images of any size (`Qwen-VL`).
#[derive(Debug, Clone, PartialEq)]
pub struct QwenVisionConfig {
    /// Generation.
    pub tower: QwenTower,
    /// Width.
    pub hidden: u64,
    /// Width of the feed-forward layers.
    pub feed_forward: u64,
    /// Number of blocks.
    pub layers: u64,
    /// Number of heads.
    pub heads: u64,
    /// Side of a patch in pixels; four patches are one token.
    pub patch_size: u64,
    /// Learnt positions per side, interpolated for an image; 0 without any.
    pub grid: u64,
    /// Every block of this number attends to all patches, the others within a window; 0 if all attend to all.
    pub full_attention_every: u64,
    /// Blocks whose output is a feature for a block of the language model, in ascending order.
    pub deepstack: Vec<u64>,
    /// Minimum pixels that an image is enlarged to.
    pub min_pixels: u32,
    /// Maximum pixels that an image is reduced to.
    pub max_pixels: u32,
    /// Mean of the pixel values, per channel.
    pub mean: [f32; 3],
    /// Standard deviation of the pixel values, per channel.
    pub std: [f32; 3],
}

/// How the tensors of a checkpoint are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TensorNames {
    /// A language model alone.
    Text,
    /// `internvl_chat`: `language_model.`, `vision_model.` with fused Q, K and V, `mlp1.`.
    Chat,
    /// transformers' own: `language_model.`, `vision_tower.`, `multi_modal_projector.`; or, as its
    /// modules are called, `model.language_model.` and so on.
    Transformers,
    /// `Qwen-VL`: `model.` and `visual.`, or `model.language_model.` and `model.visual.`.
    QwenVl,
}

/// A checkpoint's configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// The names of tensors.
    pub names: TensorNames,
    /// The language model.
    pub language: LanguageConfig,
    /// The vision tower of `InternVL`; `None` for other models.
    pub vision: Option<VisionConfig>,
    /// The vision tower of `Qwen-VL`; `None` for other models.
    pub qwen_vision: Option<QwenVisionConfig>,
}

impl ModelConfig {
    /// Returns whether there is a vision tower.
    pub fn is_multimodal(&self) -> bool {
        self.vision.is_some() || self.qwen_vision.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hf::shapes::Shape;

    #[test]
    fn frequencies_are_kept_interpolated_or_divided() {
        let mut config = Shape::InternVl25B8.config().language;
        assert_eq!(config.frequency_factors(), None);
        config.rope_base = 5e5;
        config.rope_scaling = RopeScaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original_context: 8192 };
        let factors = config.frequency_factors().unwrap();
        assert_eq!((factors.len(), factors.is_sorted()), (64, true));
        assert_eq!((&factors[..29], &factors[35..]), (&[1.0; 29][..], &[8.0; 29][..]));
        assert!(factors[29..35].iter().all(|factor| *factor > 1.0 && *factor < 8.0), "{factors:?}");
    }
}
