//! The tensors of the language models: `InternLM2`, and `Qwen2`, `Qwen3`, `Llama`, `Mistral`, which have
//! the same names.

use std::path::Path;

use super::error::ConvertError;
use super::mapper::Mapper;
use super::names::Names;
use super::options::WeightType;
use super::planned::PlannedTensor;
use super::rows::{QkvPart, RowMap};
use crate::hf::config::{LanguageArch, LanguageConfig, ScoringHead};
use crate::safetensors::Checkpoint;

/// Plans the language model's tensors.
pub(super) fn map(
    checkpoint: Option<&Checkpoint>,
    directory: &Path,
    names: Names,
    config: &LanguageConfig,
    weight_type: WeightType,
) -> Result<Vec<PlannedTensor>, ConvertError> {
    let mut mapper = Mapper::new(checkpoint, directory, move |name| names.language(name), weight_type);
    match config.arch {
        LanguageArch::InternLm2 => internlm2(&mut mapper, config)?,
        LanguageArch::Qwen2
        | LanguageArch::Qwen3
        | LanguageArch::Llama
        | LanguageArch::Qwen2Vl
        | LanguageArch::Qwen3Vl => llama(&mut mapper, config)?,
    }
    Ok(mapper.finish())
}

fn internlm2(mapper: &mut Mapper<'_>, config: &LanguageConfig) -> Result<(), ConvertError> {
    let (hidden, ff) = (config.hidden, config.feed_forward);
    let (head, kv_heads) = (config.head(), config.kv_heads);
    let embedding = "model.tok_embeddings.weight";
    mapper.take("token_embd.weight", embedding, &[config.vocab, hidden])?;
    for layer in 0..config.layers {
        let source = |name: &str| format!("model.layers.{layer}.{name}.weight");
        let target = |name: &str| format!("blk.{layer}.{name}.weight");
        mapper.take(&target("attn_norm"), &source("attention_norm"), &[hidden])?;
        let group = config.heads / kv_heads;
        let fused = [(group + 2) * kv_heads * head, hidden];
        for (name, part, heads) in [
            ("attn_q", QkvPart::Query, config.heads),
            ("attn_k", QkvPart::Key, kv_heads),
            ("attn_v", QkvPart::Value, kv_heads),
        ] {
            let rows = RowMap::Wqkv { part, group, head };
            mapper.take_rows(&target(name), &source("attention.wqkv"), &fused, rows, heads * head)?;
        }
        mapper.take(&target("attn_output"), &source("attention.wo"), &[hidden, hidden])?;
        mapper.take(&target("ffn_norm"), &source("ffn_norm"), &[hidden])?;
        mapper.take(&target("ffn_gate"), &source("feed_forward.w1"), &[ff, hidden])?;
        mapper.take(&target("ffn_up"), &source("feed_forward.w3"), &[ff, hidden])?;
        mapper.take(&target("ffn_down"), &source("feed_forward.w2"), &[hidden, ff])?;
    }
    mapper.take("output_norm.weight", "model.norm.weight", &[hidden])?;
    // llama.cpp's InternLM2 does not support tied embeddings: the matrix is written twice.
    let head = if config.tied { embedding } else { "output.weight" };
    mapper.take("output.weight", head, &[config.vocab, hidden])
}

fn llama(mapper: &mut Mapper<'_>, config: &LanguageConfig) -> Result<(), ConvertError> {
    let (hidden, ff, head) = (config.hidden, config.feed_forward, config.head());
    let (queries, keys) = (config.heads * head, config.kv_heads * head);
    mapper.take("token_embd.weight", "model.embed_tokens.weight", &[config.vocab, hidden])?;
    for layer in 0..config.layers {
        let source = |name: &str| format!("model.layers.{layer}.{name}");
        let target = |name: &str| format!("blk.{layer}.{name}");
        mapper.take(&target("attn_norm.weight"), &source("input_layernorm.weight"), &[hidden])?;
        for (name, projection, width) in
            [("attn_q", "q_proj", queries), ("attn_k", "k_proj", keys), ("attn_v", "v_proj", keys)]
        {
            // llama.cpp rotates adjacent dimensions in Llama only.
            let is_rotated = config.arch == LanguageArch::Llama && name != "attn_v";
            let rows = if is_rotated { RowMap::Rotated { head } } else { RowMap::From(0) };
            let (name, projection) = (target(name), source(&format!("self_attn.{projection}")));
            let weight = format!("{projection}.weight");
            mapper.take_rows(&format!("{name}.weight"), &weight, &[width, hidden], rows, width)?;
            if config.arch.has_qkv_bias() {
                mapper.take(&format!("{name}.bias"), &format!("{projection}.bias"), &[width])?;
            }
        }
        if config.arch.has_head_norms() {
            mapper.take(&target("attn_q_norm.weight"), &source("self_attn.q_norm.weight"), &[head])?;
            mapper.take(&target("attn_k_norm.weight"), &source("self_attn.k_norm.weight"), &[head])?;
        }
        mapper.take(&target("attn_output.weight"), &source("self_attn.o_proj.weight"), &[hidden, queries])?;
        mapper.take(&target("ffn_norm.weight"), &source("post_attention_layernorm.weight"), &[hidden])?;
        mapper.take(&target("ffn_gate.weight"), &source("mlp.gate_proj.weight"), &[ff, hidden])?;
        mapper.take(&target("ffn_up.weight"), &source("mlp.up_proj.weight"), &[ff, hidden])?;
        mapper.take(&target("ffn_down.weight"), &source("mlp.down_proj.weight"), &[hidden, ff])?;
    }
    mapper.take("output_norm.weight", "model.norm.weight", &[hidden])?;
    if let Some(factors) = config.frequency_factors() {
        mapper.compute("rope_freqs.weight", factors);
    }
    // A head that scores is in the place of the vocabulary's, which some checkpoints have all the same.
    let scores_instead = matches!(config.scoring_head, Some(ScoringHead::Classes { .. } | ScoringHead::Mlp));
    if config.tied || (scores_instead && !mapper.has("lm_head.weight")) {
        // Without an output matrix llama.cpp uses the embeddings.
        return Ok(());
    }
    mapper.take("output.weight", "lm_head.weight", &[config.vocab, hidden])
}
