//! Reads the head that scores positions from a checkpoint.

use std::path::Path;

use super::error::ConvertError;
use super::mapper::look_up;
use crate::blocks::{GgmlType, dequantize_row};
use crate::head::{Activation, Head, Layer};
use crate::hf::config::{ModelConfig, ScoringHead, TensorNames};
use crate::safetensors::{Checkpoint, Dtype};

/// The matrix by which a value head is recognised where the class of model does not name it.
const VALUE_HEAD: &str = "v_head.summary.weight";

/// Returns the head of a checkpoint: that of its class, or a value head beside the vocabulary's.
pub(super) fn kind(config: &ModelConfig, checkpoint: &Checkpoint) -> Option<ScoringHead> {
    let is_text = config.names == TensorNames::Text;
    let has_value = is_text && checkpoint.get(VALUE_HEAD).is_some();
    config.language.scoring_head.or(has_value.then_some(ScoringHead::Value))
}

/// A head, and the names of its tensors in the checkpoint.
pub(super) struct Read {
    pub head: Head,
    pub tensors: Vec<String>,
}

/// Reads a head for hidden states of the given width.
pub(super) fn read(
    checkpoint: &Checkpoint,
    directory: &Path,
    kind: ScoringHead,
    hidden: u64,
) -> Result<Read, ConvertError> {
    let layers = match kind {
        ScoringHead::Classes { classes, bias } => vec![("score", classes, bias)],
        ScoringHead::Mlp => vec![("score.0", hidden, true), ("score.2", 2, true)],
        ScoringHead::Value => vec![("v_head.summary", 1, true)],
    };
    let mut read = Read { head: Head { layers: Vec::new(), activation: None }, tensors: Vec::new() };
    for (name, outputs, has_bias) in layers {
        let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
        let values = floats(checkpoint, directory, &weight, &[outputs, hidden])?;
        read.tensors.push(weight);
        let bias = if has_bias {
            let values = floats(checkpoint, directory, &bias, &[outputs])?;
            read.tensors.push(bias);
            Some(values)
        } else {
            None
        };
        let (outputs, inputs) = (outputs as usize, hidden as usize);
        read.head.layers.push(Layer { outputs, inputs, weight: values, bias });
    }
    read.head.activation = (read.head.layers.len() > 1).then_some(Activation::Relu);
    Ok(read)
}

fn floats(checkpoint: &Checkpoint, directory: &Path, name: &str, shape: &[u64]) -> Result<Vec<f32>, ConvertError> {
    let tensor = look_up(checkpoint, directory, name, shape)?;
    let ggml_type = match tensor.dtype {
        Dtype::F16 => GgmlType::F16,
        Dtype::BF16 => GgmlType::BF16,
        _ => GgmlType::F32,
    };
    let mut values = vec![0.0; shape.iter().product::<u64>() as usize];
    dequantize_row(ggml_type, checkpoint.data(tensor), &mut values).expect("floats of this many bytes");
    checkpoint.release(tensor);
    Ok(values)
}
