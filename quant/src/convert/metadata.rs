//! The metadata that llama.cpp needs, and `mmprm.*` for what it has no keys for.

use crate::gguf::{GgufValue, Metadata};
use crate::hf::config::{
    Activation, DYNAMIC_ROPE, LanguageArch, LanguageConfig, ModelConfig, QwenTower, QwenVisionConfig, RopeScaling,
    VisionConfig, VisionNorm, WINDOW,
};
use crate::hf::vocabulary::{Tokenizer, Vocabulary};

/// Version of the block formats (`GGML_QNT_VERSION`).
pub(crate) const QUANTIZATION_VERSION: u32 = 2;

/// Patches per side that are one token in `Qwen-VL`.
const TOKEN_PATCHES: u64 = 2;

/// Epsilon of the norms in vision towers of `Qwen-VL`, a constant of their code.
const QWEN_EPSILON: f32 = 1e-6;

/// Values of the `general.*` keys.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GeneralInfo<'a> {
    /// `general.name`.
    pub name: &'a str,
    /// `general.file_type`.
    pub file_type: u32,
    /// Number of elements of all tensors.
    pub parameters: u64,
}

/// Returns the language model's metadata; `tokenizer` is the part that describes the vocabulary.
pub(crate) fn language(info: GeneralInfo<'_>, config: &ModelConfig, tokenizer: Metadata) -> Metadata {
    let mut metadata = general(config.language.arch.name(), "model", info);
    metadata.extend(model(&config.language));
    metadata.extend(tokenizer);
    if let Some(vision) = &config.vision {
        metadata.extend([
            entry("mmprm.image.size", vision.image_size as u32),
            entry("mmprm.image.tokens_per_tile", vision.tokens_per_tile() as u32),
            entry("mmprm.image.use_thumbnail", vision.thumbnail),
            entry("mmprm.image.min_tiles", vision.min_tiles),
            entry("mmprm.image.max_tiles", vision.max_tiles),
        ]);
    }
    if let Some(vision) = &config.qwen_vision {
        metadata.extend([
            entry("mmprm.image.token_size", (TOKEN_PATCHES * vision.patch_size) as u32),
            entry("mmprm.image.min_pixels", vision.min_pixels),
            entry("mmprm.image.max_pixels", vision.max_pixels),
        ]);
    }
    metadata
}

fn general(arch: &str, kind: &str, info: GeneralInfo<'_>) -> Metadata {
    vec![
        entry("general.architecture", arch),
        entry("general.type", kind),
        entry("general.name", info.name),
        entry("general.size_label", size_label(info.parameters)),
        entry("general.file_type", info.file_type),
        entry("general.quantization_version", QUANTIZATION_VERSION),
    ]
}

/// Formats a number of parameters as in model names: at least two digits and a unit.
fn size_label(parameters: u64) -> String {
    let (scale, unit) = match parameters {
        0..=1_000_000 => (1e3, "K"),
        1_000_001..=1_000_000_000 => (1e6, "M"),
        1_000_000_001..=1_000_000_000_000 => (1e9, "B"),
        _ => (1e12, "T"),
    };
    let scaled = parameters as f64 / scale;
    let decimals = match scaled.round_ties_even() as u64 {
        0 => 2,
        1..=9 => 1,
        _ => 0,
    };
    format!("{scaled:.decimals$}{unit}")
}

fn model(config: &LanguageConfig) -> Metadata {
    let key = |name: &str| format!("{}.{name}", config.arch.name());
    let mut metadata = vec![
        entry(key("block_count"), config.layers as u32),
        entry(key("context_length"), config.context as u32),
        entry(key("embedding_length"), config.hidden as u32),
        entry(key("feed_forward_length"), config.feed_forward as u32),
        entry(key("attention.head_count"), config.heads as u32),
        entry(key("attention.head_count_kv"), config.kv_heads as u32),
        entry(key("attention.layer_norm_rms_epsilon"), config.norm_eps),
        entry(key("rope.freq_base"), config.rope_base),
    ];
    if config.arch.has_own_head_width() {
        metadata.push(entry(key("attention.key_length"), config.head() as u32));
        metadata.push(entry(key("attention.value_length"), config.head() as u32));
    }
    if config.arch == LanguageArch::Llama {
        metadata.push(entry(key("vocab_size"), config.vocab as u32));
        metadata.push(entry(key("rope.dimension_count"), config.head() as u32));
    }
    if let Some([time, height, width]) = config.position_sections {
        let sections = [time, height, width, 0].map(|section| section as i32);
        metadata.push(entry(key("rope.dimension_sections"), sections.to_vec()));
    }
    if config.deepstack > 0 {
        metadata.push(entry(key("n_deepstack_layers"), config.deepstack as u32));
    }
    metadata.extend(config.window.map(|window| entry(WINDOW, window as u32)));
    match config.rope_scaling {
        // Llama 3's is a tensor.
        RopeScaling::None | RopeScaling::Llama3 { .. } => {}
        RopeScaling::Dynamic { factor } => metadata.push(entry(DYNAMIC_ROPE, factor)),
        RopeScaling::Linear { factor } => {
            metadata.push(entry(key("rope.scaling.type"), "linear"));
            metadata.push(entry(key("rope.scaling.factor"), factor));
        }
        RopeScaling::Yarn { factor, original_context, attention } => {
            metadata.push(entry(key("rope.scaling.type"), "yarn"));
            metadata.push(entry(key("rope.scaling.factor"), factor));
            metadata.push(entry(key("rope.scaling.original_context_length"), original_context));
            if (attention - 1.0).abs() > 1e-6 {
                metadata.push(entry(key("rope.scaling.attn_factor"), attention));
            }
        }
    }
    metadata
}

pub(super) fn tokenizer(vocabulary: &Vocabulary) -> Metadata {
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    let tokens = &vocabulary.tokens;
    let mut metadata = Vec::new();
    match &vocabulary.tokenizer {
        Tokenizer::SentencePiece { add_space_prefix, .. } => metadata.extend([
            entry(key("model"), "llama"),
            entry(key("pre"), "default"),
            entry(key("add_space_prefix"), *add_space_prefix),
            entry(key("scores"), tokens.iter().map(|token| token.score).collect::<Vec<_>>()),
        ]),
        Tokenizer::Bpe { splitter, merges } => metadata.extend([
            entry(key("model"), "gpt2"),
            entry(key("pre"), splitter.name()),
            entry(key("merges"), merges.clone()),
        ]),
    }
    metadata.push(entry(key("tokens"), tokens.iter().map(|token| token.text.clone()).collect::<Vec<_>>()));
    metadata.push(entry(key("token_type"), tokens.iter().map(|token| token.token_type.id()).collect::<Vec<_>>()));
    let special = &vocabulary.special;
    for (name, id) in [
        ("bos_token_id", special.bos),
        ("eos_token_id", special.eos),
        ("eot_token_id", special.eot),
        ("unknown_token_id", special.unk),
        ("seperator_token_id", special.sep), // llama.cpp's spelling
        ("padding_token_id", special.pad),
        ("mask_token_id", special.mask),
    ] {
        metadata.extend(id.map(|id| entry(key(name), id)));
    }
    metadata.push(entry(key("add_bos_token"), vocabulary.add_bos));
    metadata.push(entry(key("add_eos_token"), vocabulary.add_eos));
    metadata.extend(vocabulary.chat_template.iter().map(|text| entry("tokenizer.chat_template", text.as_str())));
    metadata
}

/// Returns the vision tower's metadata; `language` is the width of the language model.
pub(crate) fn vision(info: GeneralInfo<'_>, config: &VisionConfig, language: u64) -> Metadata {
    let key = |name: &str| format!("clip.vision.{name}");
    let activation = match config.activation {
        Activation::Gelu => "clip.use_gelu",
        Activation::Silu => "clip.use_silu",
    };
    let mut metadata = general("clip", "mmproj", info);
    metadata.extend([
        entry("clip.has_vision_encoder", true),
        entry("clip.projector_type", "internvl"),
        entry(activation, true),
        entry(key("projection_dim"), language as u32),
        entry(key("image_size"), config.image_size as u32),
        entry(key("patch_size"), config.patch_size as u32),
        entry(key("embedding_length"), config.hidden as u32),
        entry(key("feed_forward_length"), config.feed_forward as u32),
        entry(key("block_count"), config.layers as u32),
        entry(key("attention.head_count"), config.heads as u32),
        entry(key("attention.layer_norm_epsilon"), config.norm_eps),
        entry(key("image_mean"), config.mean.to_vec()),
        entry(key("image_std"), config.std.to_vec()),
        entry(key("projector.scale_factor"), config.shuffle as u32),
        entry(key("preproc_min_tiles"), config.min_tiles),
        entry(key("preproc_max_tiles"), config.max_tiles),
        entry("mmprm.vision.class_position", "last"),
        entry("mmprm.vision.norm", if config.norm == VisionNorm::RmsNorm { "rms_norm" } else { "layer_norm" }),
    ]);
    metadata
}

/// Returns the metadata of a vision tower of `Qwen-VL`; `language` is the width of the language model.
pub(super) fn qwen_vision(info: GeneralInfo<'_>, config: &QwenVisionConfig, language: u64) -> Metadata {
    let key = |name: &str| format!("clip.vision.{name}");
    let (projector, activation) = match config.tower {
        QwenTower::Qwen2 => ("qwen2vl_merger", None),
        QwenTower::Qwen25 => ("qwen2.5vl_merger", Some("clip.use_silu")),
        QwenTower::Qwen3 => ("qwen3vl_merger", Some("clip.use_gelu")),
    };
    // clip wants the side of an image; that of the learnt positions is read from their tensor.
    let image = match config.grid {
        0 => 40 * config.patch_size,
        grid => grid * config.patch_size,
    };
    let mut metadata = general("clip", "mmproj", info);
    metadata.extend([
        entry("clip.has_vision_encoder", true),
        entry("clip.projector_type", projector),
        entry(key("projection_dim"), language as u32),
        entry(key("image_size"), image as u32),
        entry(key("patch_size"), config.patch_size as u32),
        entry(key("embedding_length"), config.hidden as u32),
        entry(key("feed_forward_length"), config.feed_forward as u32),
        entry(key("block_count"), config.layers as u32),
        entry(key("attention.head_count"), config.heads as u32),
        entry(key("attention.layer_norm_epsilon"), QWEN_EPSILON),
        entry(key("image_mean"), config.mean.to_vec()),
        entry(key("image_std"), config.std.to_vec()),
    ]);
    metadata.extend(activation.map(|activation| entry(activation, true)));
    if config.full_attention_every > 0 {
        metadata.push(entry(key("n_wa_pattern"), config.full_attention_every as u32));
    }
    if config.tower == QwenTower::Qwen3 {
        metadata.push(entry(key("spatial_merge_size"), TOKEN_PATCHES as u32));
        let is_feature = (0..config.layers).map(|block| config.deepstack.contains(&block));
        metadata.push(entry(key("is_deepstack_layers"), is_feature.collect::<Vec<bool>>()));
    }
    metadata
}

/// Returns a metadata entry.
pub(super) fn entry(key: impl Into<String>, value: impl Into<GgufValue>) -> (String, GgufValue) {
    (key.into(), value.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_labels_have_two_digits() {
        let labels = [999, 1_000_000, 1_500_000, 7_738_000_000, 12_600_000_000, 99_600].map(size_label);
        assert_eq!(labels, ["1.0K", "1000K", "1.5M", "7.7B", "13B", "100K"]);
    }
}
