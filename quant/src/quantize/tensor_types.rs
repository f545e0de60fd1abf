//! Chooses the type of each tensor by llama.cpp's rules, as a pure function.
//!
//! The rules follow `llama_tensor_get_type` (`src/llama-quant.cpp`) for dense models without an
//! importance matrix; a test compares with llama.cpp's own quantiser. In words: vectors, norms and
//! position embeddings keep their type; the output matrix gets 6 bits; in the `_M` types, attention
//! values and the feed-forward's last matrix get more bits in the first and last eighth of the
//! layers and every third in between, where quantisation errors matter most; rows that are not
//! whole super-blocks of 256 get the nearest format with blocks of 32.

use super::types::QuantType;
use crate::blocks::GgmlType;

/// The properties of a model that the rules depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ModelShape {
    /// Number of blocks.
    pub layers: u64,
    /// Query heads per key-value head.
    pub kv_group: u64,
    /// Whether it is a 70B model (80 layers), whose few key-value heads get more bits.
    pub is_70b: bool,
    /// Whether it is a vision tower, of which every matrix gets the base type.
    pub vision: bool,
    /// Whether the embeddings are also the output matrix.
    pub tied: bool,
}

/// The properties of a tensor that the rules depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TensorShape<'a> {
    /// Name.
    pub name: &'a str,
    /// Dimensions, the contiguous one first.
    pub dims: &'a [u64],
    /// Current type.
    pub ggml_type: GgmlType,
}

/// The type chosen for a tensor, and the rule that chose it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Choice {
    /// The type.
    pub ggml_type: GgmlType,
    /// The rule in a few words.
    pub reason: &'static str,
}

/// Chooses the type of a tensor.
pub(crate) fn choose(quant_type: QuantType, model: &ModelShape, tensor: &TensorShape<'_>) -> Choice {
    if !may_change(tensor) {
        return Choice { ggml_type: tensor.ggml_type, reason: "kept: vector, norm or position" };
    }
    if !quant_type.base_type().is_quantized() {
        return Choice { ggml_type: quant_type.base_type(), reason: "as asked" };
    }
    let wanted = if model.vision { base(quant_type) } else { by_name(quant_type, model, tensor) };
    fitting(wanted, tensor.dims[0])
}

/// Returns whether a tensor is a matrix whose type may change.
fn may_change(tensor: &TensorShape<'_>) -> bool {
    let kept = ["_norm.weight", ".position_embd", ".patch_embd"];
    // ggml ignores trailing dimensions of 1.
    let is_matrix = tensor.dims.iter().skip(1).any(|dim| *dim > 1);
    is_matrix && tensor.name.ends_with("weight") && !kept.iter().any(|part| tensor.name.contains(part))
}

fn base(quant_type: QuantType) -> Choice {
    Choice { ggml_type: quant_type.base_type(), reason: "as asked" }
}

fn by_name(quant_type: QuantType, model: &ModelShape, tensor: &TensorShape<'_>) -> Choice {
    let name = tensor.name;
    if name == "output.weight" || (model.tied && name == "token_embd.weight") {
        return output(quant_type, tensor.dims[0]);
    }
    let layer = layer(name);
    let chosen = if name.contains("attn_v.weight") {
        Some(attention_value(quant_type, model, layer))
    } else if name.contains("ffn_down") {
        feed_forward_down(quant_type, model.layers, layer)
    } else if name.contains("attn_output.weight") {
        match quant_type {
            QuantType::Q2_K => Some(GgmlType::Q3_K),
            QuantType::Q3_K_M => Some(GgmlType::Q4_K),
            _ => None,
        }
    } else {
        None
    };
    match chosen.filter(|chosen| *chosen != quant_type.base_type()) {
        Some(ggml_type) => Choice { ggml_type, reason: "more bits: errors here cost most" },
        None => base(quant_type),
    }
}

fn output(quant_type: QuantType, row: u64) -> Choice {
    let base_type = quant_type.base_type();
    if !row.is_multiple_of(base_type.block_len()) {
        Choice { ggml_type: GgmlType::Q8_0, reason: "output: 8 bits, rows are not whole blocks" }
    } else if base_type == GgmlType::Q8_0 {
        base(quant_type)
    } else {
        Choice { ggml_type: GgmlType::Q6_K, reason: "output: 6 bits" }
    }
}

fn attention_value(quant_type: QuantType, model: &ModelShape, layer: u64) -> GgmlType {
    let chosen = match quant_type {
        QuantType::Q2_K if model.kv_group >= 4 => GgmlType::Q4_K,
        QuantType::Q2_K => GgmlType::Q3_K,
        QuantType::Q3_K_M if layer < 2 => GgmlType::Q5_K,
        QuantType::Q3_K_M => GgmlType::Q4_K,
        QuantType::Q4_K_M | QuantType::Q5_K_M if use_more_bits(layer, model.layers) => GgmlType::Q6_K,
        QuantType::Q4_K_S if layer < 4 => GgmlType::Q5_K,
        _ => quant_type.base_type(),
    };
    let raise = model.is_70b && matches!(chosen, GgmlType::Q3_K | GgmlType::Q4_K);
    if raise { GgmlType::Q5_K } else { chosen }
}

fn feed_forward_down(quant_type: QuantType, layers: u64, layer: u64) -> Option<GgmlType> {
    match quant_type {
        QuantType::Q2_K => Some(GgmlType::Q3_K),
        QuantType::Q3_K_M if layer < layers / 16 => Some(GgmlType::Q5_K),
        QuantType::Q3_K_M => Some(GgmlType::Q4_K),
        QuantType::Q4_K_M | QuantType::Q5_K_M if use_more_bits(layer, layers) => Some(GgmlType::Q6_K),
        QuantType::Q4_K_S if layer < layers / 8 => Some(GgmlType::Q5_K),
        _ => None,
    }
}

/// Returns whether a layer is in the first or last eighth, or every third between.
fn use_more_bits(layer: u64, layers: u64) -> bool {
    layer < layers / 8 || layer >= 7 * layers / 8 || (layer - layers / 8) % 3 == 2
}

/// Returns the block of a tensor; tensors outside of blocks count as block 0.
fn layer(name: &str) -> u64 {
    let number = name.strip_prefix("blk.").and_then(|rest| rest.split('.').next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Returns the choice, or the nearest format whose blocks divide a row.
fn fitting(choice: Choice, row: u64) -> Choice {
    if row.is_multiple_of(choice.ggml_type.block_len()) {
        return choice;
    }
    let fallback = match choice.ggml_type {
        GgmlType::Q2_K | GgmlType::Q3_K => GgmlType::Q4_0,
        GgmlType::Q4_K => GgmlType::Q5_0,
        GgmlType::Q5_K => GgmlType::Q5_1,
        GgmlType::Q6_K => GgmlType::Q8_0,
        other => other,
    };
    let fits = row.is_multiple_of(fallback.block_len());
    Choice { ggml_type: if fits { fallback } else { GgmlType::F16 }, reason: "fallback: rows are not whole blocks" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sensitive_tensors_get_more_bits() {
        let model = ModelShape { layers: 32, kv_group: 4, is_70b: false, vision: false, tied: false };
        let types = |quant_type: QuantType, model: &ModelShape, name: &str| {
            let types: Vec<GgmlType> = (0..model.layers)
                .map(|layer| {
                    let name = format!("blk.{layer}.{name}.weight");
                    let tensor = TensorShape { name: &name, dims: &[4096, 4096], ggml_type: GgmlType::F16 };
                    choose(quant_type, model, &tensor).ggml_type
                })
                .collect();
            types
        };
        let down = types(QuantType::Q4_K_M, &model, "ffn_down");
        let more: Vec<usize> = (0..32).filter(|layer| down[*layer] == GgmlType::Q6_K).collect();
        assert_eq!(more, [0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31]);
        assert!(types(QuantType::Q4_K_M, &model, "ffn_up").iter().all(|ty| *ty == GgmlType::Q4_K));
        assert_eq!(types(QuantType::Q3_K_M, &model, "attn_v")[..3], [GgmlType::Q5_K, GgmlType::Q5_K, GgmlType::Q4_K]);
        assert_eq!(types(QuantType::Q2_K, &model, "attn_v")[0], GgmlType::Q4_K);
        assert_eq!(types(QuantType::Q2_K, &ModelShape { kv_group: 1, ..model }, "attn_v")[0], GgmlType::Q3_K);
        let large = ModelShape { layers: 80, is_70b: true, ..model };
        assert_eq!(types(QuantType::Q4_K_M, &large, "attn_v")[10], GgmlType::Q5_K);
    }

    #[test]
    fn rows_that_are_not_whole_blocks_fall_back() {
        let model = ModelShape { layers: 4, kv_group: 2, is_70b: false, vision: false, tied: false };
        let chosen = |quant_type: QuantType, name: &str, dims: &[u64]| {
            choose(quant_type, &model, &TensorShape { name, dims, ggml_type: GgmlType::F32 }).ggml_type
        };
        for (quant_type, expected) in [
            (QuantType::Q6_K, GgmlType::Q8_0),
            (QuantType::Q5_K_S, GgmlType::Q5_1),
            (QuantType::Q4_K_M, GgmlType::Q5_0),
            (QuantType::Q2_K, GgmlType::Q4_0),
            (QuantType::Q4_1, GgmlType::Q4_1),
        ] {
            assert_eq!(chosen(quant_type, "blk.0.ffn_up.weight", &[128, 8]), expected, "{quant_type}");
            assert_eq!(chosen(quant_type, "blk.0.ffn_up.weight", &[100, 8]), GgmlType::F16, "{quant_type}");
            assert_eq!(chosen(quant_type, "blk.0.ffn_norm.weight", &[128]), GgmlType::F32);
        }
        assert_eq!(chosen(QuantType::Q4_K_M, "output.weight", &[128, 8]), GgmlType::Q8_0);
        assert_eq!(chosen(QuantType::Q4_0, "output.weight", &[256, 8]), GgmlType::Q6_K);
    }
}
