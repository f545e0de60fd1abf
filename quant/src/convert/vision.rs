//! The tensors of `InternViT` and of the projector to the language model.

use std::path::Path;

use super::error::ConvertError;
use super::mapper::Mapper;
use super::names::Names;
use super::options::WeightType;
use super::planned::PlannedTensor;
use super::rows::RowMap;
use crate::hf::config::{VisionConfig, VisionNorm};
use crate::safetensors::Checkpoint;

/// Plans the tensors of the vision tower and projector; `language` is the width of the language
/// model.
pub(super) fn map(
    checkpoint: Option<&Checkpoint>,
    directory: &Path,
    names: Names,
    config: &VisionConfig,
    language: u64,
    weight_type: WeightType,
) -> Result<Vec<PlannedTensor>, ConvertError> {
    let mut mapper = Mapper::new(checkpoint, directory, move |name| names.vision(name), weight_type);
    embeddings(&mut mapper, config)?;
    for layer in 0..config.layers {
        block(&mut mapper, config, names.fuses_vision(), layer)?;
    }
    projector(&mut mapper, config.hidden * config.shuffle * config.shuffle, language)?;
    Ok(mapper.finish())
}

fn embeddings(mapper: &mut Mapper<'_>, config: &VisionConfig) -> Result<(), ConvertError> {
    let (hidden, patch) = (config.hidden, config.patch_size);
    let source = |name: &str| format!("vision_model.embeddings.{name}");
    mapper.take("v.class_embd", &source("class_embedding"), &[1, 1, hidden])?;
    mapper.take("v.patch_embd.weight", &source("patch_embedding.weight"), &[hidden, 3, patch, patch])?;
    mapper.take("v.patch_embd.bias", &source("patch_embedding.bias"), &[hidden])?;
    let patches = config.grid() * config.grid();
    // llama.cpp's own converter keeps the checkpoint's order, which shifts every patch to the next
    // position.
    let order = RowMap::ClassLast { patches };
    mapper.take_matrix("v.position_embd.weight", &source("position_embedding"), [patches + 1, hidden], order)
}

/// Plans a block; the names are those of `InternVL`'s own code.
fn block(mapper: &mut Mapper<'_>, config: &VisionConfig, is_fused: bool, layer: u64) -> Result<(), ConvertError> {
    let (hidden, ff) = (config.hidden, config.feed_forward);
    let source = |name: &str| format!("vision_model.encoder.layers.{layer}.{name}");
    let target = |name: &str| format!("v.blk.{layer}.{name}");
    for (name, norm) in [("ln1", "norm1"), ("ln2", "norm2")] {
        mapper.take(&target(&format!("{name}.weight")), &source(&format!("{norm}.weight")), &[hidden])?;
        if config.norm == VisionNorm::LayerNorm {
            mapper.take(&target(&format!("{name}.bias")), &source(&format!("{norm}.bias")), &[hidden])?;
        }
    }
    for (part, (name, separate)) in
        (0..).zip([("attn_q", "attn.q_proj"), ("attn_k", "attn.k_proj"), ("attn_v", "attn.v_proj")])
    {
        let (whole, first, from) =
            if is_fused { (3 * hidden, part * hidden, "attn.qkv") } else { (hidden, 0, separate) };
        let rows = RowMap::From(first);
        let (weight, bias) = (target(&format!("{name}.weight")), target(&format!("{name}.bias")));
        mapper.take_rows(&weight, &source(&format!("{from}.weight")), &[whole, hidden], rows, hidden)?;
        if config.qkv_bias {
            mapper.take_rows(&bias, &source(&format!("{from}.bias")), &[whole], rows, hidden)?;
        }
    }
    if config.qk_norm {
        mapper.take(&target("attn_q_norm.weight"), &source("attn.q_norm.weight"), &[hidden])?;
        mapper.take(&target("attn_k_norm.weight"), &source("attn.k_norm.weight"), &[hidden])?;
    }
    linear(mapper, &target("attn_out"), &source("attn.proj"), [hidden, hidden])?;
    mapper.take(&target("ls1.weight"), &source("ls1"), &[hidden])?;
    mapper.take(&target("ls2.weight"), &source("ls2"), &[hidden])?;
    linear(mapper, &target("ffn_up"), &source("mlp.fc1"), [ff, hidden])?;
    linear(mapper, &target("ffn_down"), &source("mlp.fc2"), [hidden, ff])
}

/// The projector: `LayerNorm`, linear, GELU (which has no tensors, hence no index 2), linear.
fn projector(mapper: &mut Mapper<'_>, input: u64, language: u64) -> Result<(), ConvertError> {
    mapper.take("mm.model.mlp.0.weight", "mlp1.0.weight", &[input])?;
    mapper.take("mm.model.mlp.0.bias", "mlp1.0.bias", &[input])?;
    linear(mapper, "mm.model.mlp.1", "mlp1.1", [language, input])?;
    linear(mapper, "mm.model.mlp.3", "mlp1.3", [language, language])
}

fn linear(mapper: &mut Mapper<'_>, target: &str, source: &str, shape: [u64; 2]) -> Result<(), ConvertError> {
    mapper.take(&format!("{target}.weight"), &format!("{source}.weight"), &shape)?;
    mapper.take(&format!("{target}.bias"), &format!("{source}.bias"), &shape[..1])
}
