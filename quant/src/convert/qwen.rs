//! The tensors of the vision towers of `Qwen-VL` and of their projectors to the language model.

use std::path::Path;

use super::error::ConvertError;
use super::mapper::Mapper;
use super::names::Names;
use super::options::WeightType;
use super::planned::PlannedTensor;
use super::rows::RowMap;
use crate::hf::config::{QwenTower, QwenVisionConfig};
use crate::safetensors::Checkpoint;

/// Plans the tensors of the vision tower and projector; `language` is the width of the language model.
pub(super) fn map(
    checkpoint: Option<&Checkpoint>,
    directory: &Path,
    names: Names,
    config: &QwenVisionConfig,
    language: u64,
    weight_type: WeightType,
) -> Result<Vec<PlannedTensor>, ConvertError> {
    let mut mapper = Mapper::new(checkpoint, directory, move |name| names.vision(name), weight_type);
    embeddings(&mut mapper, config)?;
    for layer in 0..config.layers {
        block(&mut mapper, config, layer)?;
    }
    projector(&mut mapper, config, language)?;
    Ok(mapper.finish())
}

/// A convolution over two frames is the sum of one over each: llama.cpp has two kernels.
fn embeddings(mapper: &mut Mapper<'_>, config: &QwenVisionConfig) -> Result<(), ConvertError> {
    let (source, shape) = ("visual.patch_embed.proj.weight", [config.hidden, 3, config.patch_size]);
    mapper.take_frame("v.patch_embd.weight", source, shape, 0)?;
    mapper.take_frame("v.patch_embd.weight.1", source, shape, 1)?;
    if config.tower == QwenTower::Qwen3 {
        mapper.take("v.patch_embd.bias", "visual.patch_embed.proj.bias", &[config.hidden])?;
        let shape = [config.grid * config.grid, config.hidden];
        mapper.take("v.position_embd.weight", "visual.pos_embed.weight", &shape)?;
    }
    Ok(())
}

fn block(mapper: &mut Mapper<'_>, config: &QwenVisionConfig, layer: u64) -> Result<(), ConvertError> {
    let (hidden, ff) = (config.hidden, config.feed_forward);
    let source = |name: &str| format!("visual.blocks.{layer}.{name}");
    let target = |name: &str| format!("v.blk.{layer}.{name}");
    norm(mapper, config, &target("ln1"), &source("norm1"), hidden)?;
    norm(mapper, config, &target("ln2"), &source("norm2"), hidden)?;
    if config.tower == QwenTower::Qwen3 {
        linear(mapper, &target("attn_qkv"), &source("attn.qkv"), [3 * hidden, hidden])?;
    } else {
        for (part, name) in (0..).zip(["attn_q", "attn_k", "attn_v"]) {
            let rows = RowMap::From(part * hidden);
            let [weight, bias] = ["weight", "bias"].map(|kind| target(&format!("{name}.{kind}")));
            mapper.take_rows(&weight, &source("attn.qkv.weight"), &[3 * hidden, hidden], rows, hidden)?;
            mapper.take_rows(&bias, &source("attn.qkv.bias"), &[3 * hidden], rows, hidden)?;
        }
    }
    linear(mapper, &target("attn_out"), &source("attn.proj"), [hidden, hidden])?;
    let (gate, up, down) = match config.tower {
        QwenTower::Qwen2 => (None, "mlp.fc1", "mlp.fc2"),
        QwenTower::Qwen25 => (Some("mlp.gate_proj"), "mlp.up_proj", "mlp.down_proj"),
        QwenTower::Qwen3 => (None, "mlp.linear_fc1", "mlp.linear_fc2"),
    };
    if let Some(gate) = gate {
        linear(mapper, &target("ffn_gate"), &source(gate), [ff, hidden])?;
    }
    linear(mapper, &target("ffn_up"), &source(up), [ff, hidden])?;
    linear(mapper, &target("ffn_down"), &source(down), [hidden, ff])
}

/// The projector joins four patches; a feature for the language model has a projector of its own, which normalises them joined.
fn projector(mapper: &mut Mapper<'_>, config: &QwenVisionConfig, language: u64) -> Result<(), ConvertError> {
    let joined = 4 * config.hidden;
    let (first, second, before) = match config.tower {
        QwenTower::Qwen2 | QwenTower::Qwen25 => ("mlp.0", "mlp.2", "ln_q"),
        QwenTower::Qwen3 => ("linear_fc1", "linear_fc2", "norm"),
    };
    norm(mapper, config, "v.post_ln", &format!("visual.merger.{before}"), config.hidden)?;
    linear(mapper, "mm.0", &format!("visual.merger.{first}"), [joined, joined])?;
    linear(mapper, "mm.2", &format!("visual.merger.{second}"), [language, joined])?;
    for (index, block) in config.deepstack.iter().enumerate() {
        let source = |name: &str| format!("visual.deepstack_merger_list.{index}.{name}");
        let target = |name: &str| format!("v.deepstack.{block}.{name}");
        norm(mapper, config, &target("norm"), &source("norm"), joined)?;
        linear(mapper, &target("fc1"), &source("linear_fc1"), [joined, joined])?;
        linear(mapper, &target("fc2"), &source("linear_fc2"), [language, joined])?;
    }
    Ok(())
}

fn norm(
    mapper: &mut Mapper<'_>,
    config: &QwenVisionConfig,
    target: &str,
    source: &str,
    width: u64,
) -> Result<(), ConvertError> {
    mapper.take(&format!("{target}.weight"), &format!("{source}.weight"), &[width])?;
    if config.tower == QwenTower::Qwen25 {
        // RMSNorm.
        return Ok(());
    }
    mapper.take(&format!("{target}.bias"), &format!("{source}.bias"), &[width])
}

fn linear(mapper: &mut Mapper<'_>, target: &str, source: &str, shape: [u64; 2]) -> Result<(), ConvertError> {
    mapper.take(&format!("{target}.weight"), &format!("{source}.weight"), &shape)?;
    mapper.take(&format!("{target}.bias"), &format!("{source}.bias"), &shape[..1])
}
