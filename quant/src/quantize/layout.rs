//! The tensors of a quantised checkpoint, from its configuration alone.

use super::tensor_types::{ModelShape, TensorShape, choose};
use super::types::QuantType;
use crate::convert::{self, ConvertError, Layout, WeightType};
use crate::hf::config::ModelConfig;
use crate::hf::shapes::Shape;

/// Lists the tensors of a quantised checkpoint of this configuration. A vision tower stays at 16
/// bits in block formats.
///
/// # Errors
/// [`ConvertError::TooLarge`] for a tensor of 2^63 bytes or more.
///
/// ```
/// use mmprm_quant::hf::shapes::Shape;
/// use mmprm_quant::quantize::{QuantType, layout};
/// let layout = layout(&Shape::InternVl25B8.config(), QuantType::Q4_K_M).unwrap();
/// let bytes = |spec: &mmprm_quant::gguf::TensorSpec| spec.ggml_type.tensor_bytes(&spec.dims).unwrap();
/// let size: u64 = layout.language.iter().map(bytes).sum();
/// assert!((4.3..4.5).contains(&(size as f64 / (1_u64 << 30) as f64)));
/// ```
pub fn layout(config: &ModelConfig, quant_type: QuantType) -> Result<Layout, ConvertError> {
    let mut layout = convert::layout(config, unquantised(quant_type))?;
    let shape = ModelShape {
        layers: config.language.layers,
        kv_group: config.language.heads / config.language.kv_heads,
        is_70b: config.language.layers == 80 && config.language.arch.name() == "qwen2",
        vision: false,
        tied: layout.language.iter().all(|spec| spec.name != "output.weight"),
    };
    for spec in &mut layout.language {
        let tensor = TensorShape { name: &spec.name, dims: &spec.dims, ggml_type: spec.ggml_type };
        spec.ggml_type = choose(quant_type, &shape, &tensor).ggml_type;
    }
    Ok(layout)
}

/// Returns the type of the conversion before quantisation, which a vision tower keeps.
fn unquantised(quant_type: QuantType) -> WeightType {
    match quant_type {
        QuantType::F32 => WeightType::F32,
        QuantType::BF16 => WeightType::Bf16,
        _ => WeightType::F16,
    }
}

/// Returns the type of a vision tower whose language model has type `quant_type`.
pub(crate) fn vision_type(quant_type: QuantType) -> QuantType {
    match unquantised(quant_type) {
        WeightType::F32 => QuantType::F32,
        WeightType::Bf16 => QuantType::BF16,
        _ => QuantType::F16,
    }
}

impl QuantType {
    /// Returns the mean number of bits per weight of the language model of InternVL2.5-8B in this
    /// type.
    ///
    /// ```
    /// use mmprm_quant::quantize::QuantType;
    /// assert!((QuantType::Q4_K_M.bits_per_weight() - 4.87).abs() < 0.05);
    /// ```
    pub fn bits_per_weight(self) -> f64 {
        let layout = layout(&Shape::InternVl25B8.config(), self);
        let specs = layout.map(|layout| layout.language).unwrap_or_default();
        let bytes: u64 = specs.iter().filter_map(|spec| spec.ggml_type.tensor_bytes(&spec.dims)).sum();
        let weights: u64 = specs.iter().map(|spec| spec.dims.iter().product::<u64>()).sum();
        bytes as f64 * 8.0 / weights as f64
    }
}
