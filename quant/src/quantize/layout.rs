//! What a checkpoint would be after conversion and quantisation, from its configuration alone.

use super::{ModelShape, QuantType, TensorShape, choose};
use crate::convert::{self, ConvertError, Layout, WeightType};
use crate::hf::config::ModelConfig;

/// The tensors of a checkpoint of this configuration in a mix. A vision tower stays at 16 bits in quantised mixes.
///
/// # Errors
/// [`ConvertError::TooLarge`] for a tensor that no file could hold.
///
/// ```
/// use mmprm_quant::hf::shapes::Shape;
/// use mmprm_quant::quantize::{QuantType, layout};
/// let layout = layout(&Shape::InternVl25B8.config(), QuantType::Q4_K_M).unwrap();
/// let bytes = |spec: &mmprm_quant::gguf::TensorSpec| spec.ggml_type.tensor_bytes(&spec.dims).unwrap();
/// let size: u64 = layout.language.iter().map(bytes).sum();
/// assert!((4.3..4.5).contains(&(size as f64 / (1_u64 << 30) as f64)));
/// ```
pub fn layout(config: &ModelConfig, mix: QuantType) -> Result<Layout, ConvertError> {
    let mut layout = convert::layout(config, before(mix))?;
    let shape = ModelShape {
        layers: config.language.layers,
        kv_group: config.language.heads / config.language.kv_heads,
        is_70b: config.language.layers == 80 && config.language.arch.name() == "qwen2",
        vision: false,
        tied: layout.language.iter().all(|spec| spec.name != "output.weight"),
    };
    for spec in &mut layout.language {
        let tensor = TensorShape { name: &spec.name, dims: &spec.dims, ggml_type: spec.ggml_type };
        spec.ggml_type = choose(mix, &shape, &tensor).ggml_type;
    }
    Ok(layout)
}

/// The type a checkpoint is converted to first, which a vision tower keeps.
fn before(mix: QuantType) -> WeightType {
    match mix {
        QuantType::F32 => WeightType::F32,
        QuantType::BF16 => WeightType::Bf16,
        _ => WeightType::F16,
    }
}

/// The mix of a vision tower whose language model has this one.
pub(crate) fn vision_mix(mix: QuantType) -> QuantType {
    match before(mix) {
        WeightType::F32 => QuantType::F32,
        WeightType::Bf16 => QuantType::BF16,
        _ => QuantType::F16,
    }
}
