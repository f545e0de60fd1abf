//! Configurations of the published InternVL2.5 models, for planning and benchmarks without a
//! checkpoint.
//!
//! ```
//! use mmprm_quant::hf::shapes::Shape;
//! let shape = Shape::from_name("internvl2_5-8b").unwrap();
//! assert_eq!(shape.config().language.layers, 32);
//! assert_eq!(shape.config().vision.unwrap().tokens_per_tile(), 256);
//! ```

use super::config::{
    Activation, LanguageArch, LanguageConfig, ModelConfig, RopeScaling, TensorNames, VisionConfig, VisionNorm,
};

/// A published model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// InternVL2.5-1B: InternViT-300M and Qwen2.5-0.5B.
    InternVl25B1,
    /// InternVL2.5-2B: InternViT-300M and InternLM2.5-1.8B.
    InternVl25B2,
    /// InternVL2.5-8B, the base of MM-Policy and MM-PRM: InternViT-300M and InternLM2.5-7B.
    InternVl25B8,
}

impl Shape {
    /// All models, smallest first.
    pub const ALL: [Self; 3] = [Self::InternVl25B1, Self::InternVl25B2, Self::InternVl25B8];

    /// Looks up a model by name, ignoring case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|shape| shape.name().eq_ignore_ascii_case(name))
    }

    /// Returns the name on command lines.
    pub fn name(self) -> &'static str {
        match self {
            Self::InternVl25B1 => "internvl2_5-1b",
            Self::InternVl25B2 => "internvl2_5-2b",
            Self::InternVl25B8 => "internvl2_5-8b",
        }
    }

    /// Returns the configuration in the model's `config.json`.
    pub fn config(self) -> ModelConfig {
        let internlm2 = |hidden, layers, heads, feed_forward| LanguageConfig {
            arch: LanguageArch::InternLm2,
            hidden,
            feed_forward,
            layers,
            heads,
            kv_heads: 8,
            vocab: 92_553,
            context: 32_768,
            norm_eps: 1e-5,
            rope_base: 1e6,
            rope_scaling: RopeScaling::None,
            own_head_width: None,
            window: None,
            scoring_head: None,
            position_sections: None,
            deepstack: 0,
            tied: false,
            token_ids: [Some(1), Some(2), Some(2)],
        };
        let language = match self {
            Self::InternVl25B1 => LanguageConfig {
                arch: LanguageArch::Qwen2,
                hidden: 896,
                feed_forward: 4864,
                layers: 24,
                heads: 14,
                kv_heads: 2,
                vocab: 151_674,
                norm_eps: 1e-6,
                token_ids: [Some(151_643), Some(151_645), None],
                ..internlm2(0, 0, 0, 0)
            },
            Self::InternVl25B2 => internlm2(2048, 24, 16, 8192),
            Self::InternVl25B8 => internlm2(4096, 32, 32, 14_336),
        };
        ModelConfig { names: TensorNames::Chat, language, vision: Some(internvit_300m()), qwen_vision: None }
    }
}

fn internvit_300m() -> VisionConfig {
    VisionConfig {
        hidden: 1024,
        feed_forward: 4096,
        layers: 24,
        heads: 16,
        image_size: 448,
        patch_size: 14,
        norm_eps: 1e-6,
        norm: VisionNorm::LayerNorm,
        qk_norm: false,
        activation: Activation::Gelu,
        shuffle: 2,
        qkv_bias: true,
        min_tiles: 1,
        max_tiles: 12,
        thumbnail: true,
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
    }
}
