//! The table of keys: type, range and reader of every key that C++ reads of a file that is let in.
//!
//! The headings name the readers, functions of llama.cpp as of llama-cpp-sys-2 0.1.161. A key that
//! no function reads is not in the table and may have any value, with one exception: a `clip.` key
//! that is not in the table is refused, because `clip` reads many, and aborts on wrong types.
//! Rules between keys are in [`super::language`], [`super::vocabulary`] and [`super::vision`].

use super::rules::{
    Kind::{
        self, Absent, Always, Count, Finite, Flag, Flags, Float, Floats, Ints, OneOf, Positives, Short, Strings, Text,
        TokenId,
    },
    Need::{Optional, Required},
    Of::{self, Adapter, Any, InternVision, Language, QwenLanguage, QwenVision, Vision, Vocabulary},
    Rule,
};

/// Architectures of language models that are let in: those that `convert` writes.
pub(super) const ARCHITECTURES: &[&str] = &["internlm2", "llama", "qwen2", "qwen3", "qwen2vl", "qwen3vl"];

/// Projectors of `Qwen-VL`.
pub(super) const QWEN_PROJECTORS: &[&str] = &["qwen2vl_merger", "qwen2.5vl_merger", "qwen3vl_merger"];

/// All projectors that are let in.
const PROJECTORS: &[&str] = &["internvl", "qwen2vl_merger", "qwen2.5vl_merger", "qwen3vl_merger"];

/// Maximum number of blocks in llama.cpp (`LLAMA_MAX_LAYERS`).
const MAX_LAYERS: u32 = 512;
/// Maximum number of blocks of a vision tower: `clip`'s graphs have 8192 nodes, some 30 per block.
const MAX_VISION_LAYERS: u32 = 128;
/// Maximum width of hidden states.
const MAX_WIDTH: u32 = 1 << 16;
/// Maximum number of heads.
const MAX_HEADS: u32 = 512;
/// Maximum number of heads of a vision tower, each of which takes memory for all pairs of patches.
const MAX_VISION_HEADS: u32 = 64;
/// Maximum of the trained context in tokens; llama.cpp computes with signed 32-bit integers.
const MAX_CONTEXT: u32 = 1 << 24;
/// Maximum side of a tile in pixels, of which an image has up to 64. `InternVL` has 448.
const MAX_IMAGE: u32 = 1024;
/// Maximum number of tiles: `clip` lists every grid of up to this many.
const MAX_TILES: u32 = 1024;

const fn must(key: &'static str, of: Of, kind: Kind) -> Rule {
    Rule { key, of, need: Required, kind }
}

const fn may(key: &'static str, of: Of, kind: Kind) -> Rule {
    Rule { key, of, need: Optional, kind }
}

/// A norm's epsilon. ggml asserts that it is not negative; 0 gives NaN.
const EPSILON: Kind = Float(0.0, 1.0);

/// A factor of rotary embeddings, also its inverse: outside of this range angles are not finite.
const FACTOR: Kind = Float(1e-6, 1e6);

/// All rules.
pub(super) const TABLE: &[Rule] = &[
    // gguf_init_from_file, llama_model_loader, clip_model_loader, llama_adapter_lora_init.
    must("general.architecture", Any, Text),
    may("general.type", Any, Text),
    may("general.name", Any, Text),
    may("general.description", Any, Text),
    may("general.file_type", Any, Count(0, u16::MAX as u32)),
    may("general.quantization_version", Any, Count(0, u16::MAX as u32)),
    may("general.tensor_extra.name", Any, Absent),
    may("general.tensor_extra.prec_a4", Any, Absent),
    // llama_model_loader: it would open the other files of a split model, which are not checked.
    may("split.count", Any, Short(0, 1)),
    may("split.no", Any, Short(0, 0)),
    // llama_vocab::load.
    must("tokenizer.ggml.model", Vocabulary, OneOf(&["llama", "gpt2"])),
    may("tokenizer.ggml.pre", Vocabulary, Text),
    must("tokenizer.ggml.tokens", Vocabulary, Strings(1)),
    may("tokenizer.ggml.scores", Vocabulary, Floats(0)),
    may("tokenizer.ggml.token_type", Vocabulary, Ints(0, 6)),
    may("tokenizer.ggml.merges", Vocabulary, Strings(0)),
    may("tokenizer.ggml.token_type_count", Vocabulary, Count(0, u16::MAX as u32)),
    may("tokenizer.ggml.bos_token_id", Vocabulary, TokenId),
    may("tokenizer.ggml.eos_token_id", Vocabulary, TokenId),
    may("tokenizer.ggml.eot_token_id", Vocabulary, TokenId),
    may("tokenizer.ggml.eom_token_id", Vocabulary, TokenId),
    may("tokenizer.ggml.unknown_token_id", Vocabulary, TokenId),
    may("tokenizer.ggml.seperator_token_id", Vocabulary, TokenId),
    may("tokenizer.ggml.padding_token_id", Vocabulary, TokenId),
    may("tokenizer.ggml.cls_token_id", Vocabulary, TokenId),
    may("tokenizer.ggml.mask_token_id", Vocabulary, TokenId),
    may("tokenizer.ggml.fim_pre_token_id", Vocabulary, TokenId),
    may("tokenizer.ggml.fim_suf_token_id", Vocabulary, TokenId),
    may("tokenizer.ggml.fim_mid_token_id", Vocabulary, TokenId),
    may("tokenizer.ggml.fim_pad_token_id", Vocabulary, TokenId),
    may("tokenizer.ggml.fim_rep_token_id", Vocabulary, TokenId),
    may("tokenizer.ggml.fim_sep_token_id", Vocabulary, TokenId),
    may("tokenizer.ggml.prefix_token_id", Vocabulary, TokenId),
    may("tokenizer.ggml.suffix_token_id", Vocabulary, TokenId),
    may("tokenizer.ggml.middle_token_id", Vocabulary, TokenId),
    may("tokenizer.ggml.add_bos_token", Vocabulary, Flag),
    may("tokenizer.ggml.add_eos_token", Vocabulary, Flag),
    may("tokenizer.ggml.add_sep_token", Vocabulary, Flag),
    may("tokenizer.ggml.add_space_prefix", Vocabulary, Flag),
    may("tokenizer.ggml.remove_extra_whitespaces", Vocabulary, Flag),
    may("tokenizer.ggml.normalizer.lowercase", Vocabulary, Flag),
    may("tokenizer.ggml.normalizer.strip_accents", Vocabulary, Flag),
    may("tokenizer.ggml.suppress_tokens", Vocabulary, Ints(0, i32::MAX)),
    may("tokenizer.chat_template", Vocabulary, Text),
    // llama_model_base::load_hparams, load_arch_hparams of each architecture.
    must("ARCH.block_count", Language, Count(1, MAX_LAYERS)),
    must("ARCH.context_length", Language, Count(1, MAX_CONTEXT)),
    must("ARCH.embedding_length", Language, Count(1, MAX_WIDTH)),
    must("ARCH.feed_forward_length", Language, Count(1, 4 * MAX_WIDTH)),
    must("ARCH.attention.head_count", Language, Count(1, MAX_HEADS)),
    may("ARCH.attention.head_count_kv", Language, Count(1, MAX_HEADS)),
    must("ARCH.attention.layer_norm_rms_epsilon", Language, EPSILON),
    may("ARCH.attention.key_length", Language, Count(1, MAX_WIDTH)),
    may("ARCH.attention.value_length", Language, Count(1, MAX_WIDTH)),
    may("ARCH.attention.causal", Language, Always(true)),
    may("ARCH.rope.dimension_count", Language, Count(1, MAX_WIDTH)),
    may("ARCH.rope.freq_base", Language, Float(1.0, 1e15)),
    may("ARCH.rope.scaling.type", Language, OneOf(&["none", "linear", "yarn", "longrope"])),
    may("ARCH.rope.scaling.factor", Language, FACTOR),
    may("ARCH.rope.scale_linear", Language, FACTOR),
    may("ARCH.rope.scaling.attn_factor", Language, FACTOR),
    may("ARCH.rope.scaling.alpha", Language, FACTOR),
    may("ARCH.rope.scaling.original_context_length", Language, Count(1, MAX_CONTEXT)),
    may("ARCH.rope.scaling.finetuned", Language, Flag),
    must("ARCH.rope.dimension_sections", QwenLanguage, Ints(0, MAX_WIDTH as i32)),
    may("ARCH.n_deepstack_layers", QwenLanguage, Count(0, MAX_LAYERS)),
    may("ARCH.vocab_size", Language, Count(1, i32::MAX as u32)),
    may("ARCH.expert_count", Language, Count(0, 0)),
    may("ARCH.expert_used_count", Language, Count(0, 0)),
    may("ARCH.expert_group_count", Language, Count(0, 0)),
    may("ARCH.expert_group_used_count", Language, Count(0, 0)),
    may("ARCH.nextn_predict_layers", Language, Count(0, 0)),
    may("ARCH.pooling_type", Language, Count(0, 0)),
    may("ARCH.classifier.pooling_type", Language, Absent),
    may("ARCH.classifier.output_labels", Language, Absent),
    may("ARCH.embedding_length_out", Language, Absent),
    may("ARCH.attention.key_length_swa", Language, Absent),
    may("ARCH.attention.value_length_swa", Language, Absent),
    may("ARCH.rope.dimension_count_swa", Language, Absent),
    // clip_model_loader and its load_hparams, for the projectors that are let in.
    must("clip.has_vision_encoder", Vision, Always(true)),
    may("clip.has_audio_encoder", Vision, Always(false)),
    may("clip.has_gen_audio_encoder", Vision, Always(false)),
    must("clip.projector_type", Vision, OneOf(PROJECTORS)),
    may("clip.vision.projector_type", Vision, OneOf(PROJECTORS)),
    may("clip.use_gelu", Vision, Flag),
    may("clip.use_silu", Vision, Flag),
    must("clip.vision.image_size", Vision, Count(1, MAX_IMAGE)),
    must("clip.vision.patch_size", Vision, Count(1, MAX_IMAGE)),
    must("clip.vision.embedding_length", Vision, Count(1, MAX_WIDTH)),
    must("clip.vision.feed_forward_length", Vision, Count(1, 4 * MAX_WIDTH)),
    must("clip.vision.block_count", Vision, Count(1, MAX_VISION_LAYERS)),
    must("clip.vision.projection_dim", Vision, Count(1, MAX_WIDTH)),
    must("clip.vision.attention.head_count", Vision, Count(1, MAX_VISION_HEADS)),
    may("clip.vision.attention.head_count_kv", Vision, Count(1, MAX_VISION_HEADS)),
    may("clip.vision.attention.head_dim", Vision, Count(1, MAX_WIDTH)),
    must("clip.vision.attention.layer_norm_epsilon", Vision, EPSILON),
    must("clip.vision.image_mean", Vision, Floats(3)),
    must("clip.vision.image_std", Vision, Positives(3)),
    must("clip.vision.projector.scale_factor", InternVision, Count(1, MAX_IMAGE)),
    may("clip.vision.preproc_min_tiles", InternVision, Count(1, MAX_TILES)),
    may("clip.vision.preproc_max_tiles", InternVision, Count(1, MAX_TILES)),
    // Its graphs assert that four patches are a token.
    may("clip.vision.spatial_merge_size", QwenVision, Count(2, 2)),
    may("clip.vision.n_wa_pattern", QwenVision, Count(0, MAX_VISION_LAYERS + 1)),
    may("clip.vision.is_deepstack_layers", QwenVision, Flags),
    // llama_adapter_lora_init_impl.
    must("adapter.type", Adapter, OneOf(&["lora"])),
    must("adapter.lora.alpha", Adapter, Finite),
    may("adapter.lora.task_name", Adapter, Text),
    may("adapter.alora.invocation_tokens", Adapter, Absent),
];
