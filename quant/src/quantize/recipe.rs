//! Which tensor gets how many bits: llama.cpp's mixes, as a pure function.
//!
//! The rules follow `llama_tensor_get_type` (`src/llama-quant.cpp`) for dense models without an importance matrix; a test
//! compares with llama.cpp's own quantiser. In words: vectors, norms and position embeddings keep their type; the output
//! matrix gets 6 bits; in mixes, attention values and the feed-forward's last matrix get more bits in the first and last
//! eighth of the layers and every third in between, where an error costs most; rows that are not whole super-blocks of
//! 256 get the nearest format with blocks of 32.
//!
//! ```
//! use mmprm_quant::blocks::GgmlType;
//! use mmprm_quant::quantize::{QuantType, ModelShape, TensorShape, choose};
//! let shape = ModelShape { layers: 32, kv_group: 4, is_70b: false, vision: false, tied: false };
//! let tensor = TensorShape { name: "blk.0.attn_v.weight", dims: &[4096, 1024], ggml_type: GgmlType::F16 };
//! assert_eq!(choose(QuantType::Q4_K_M, &shape, &tensor).ggml_type, GgmlType::Q6_K);
//! ```

use crate::blocks::GgmlType;

/// A kind of quantised file (llama.cpp's `llama_ftype`).
#[allow(non_camel_case_types, reason = "these are the names llama.cpp and everyone who uses it knows them by")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuantType {
    /// 32-bit floats.
    F32,
    /// 16-bit IEEE floats.
    F16,
    /// bfloat16.
    BF16,
    /// 8 bits.
    Q8_0,
    /// 6 bits.
    Q6_K,
    /// 5 bits, more where it matters.
    Q5_K_M,
    /// 5 bits.
    Q5_K_S,
    /// 5 bits, older format.
    Q5_0,
    /// 5 bits with a minimum, older format.
    Q5_1,
    /// 4 bits, more where it matters.
    Q4_K_M,
    /// 4 bits, a little more in the first layers.
    Q4_K_S,
    /// 4 bits, older format.
    Q4_0,
    /// 4 bits with a minimum, older format.
    Q4_1,
    /// 3 bits, more where it matters.
    Q3_K_M,
    /// 2 bits, more where it matters.
    Q2_K,
}

/// Every mix with its name, base type and number in `general.file_type`.
const MIXES: [(QuantType, &str, GgmlType, u32); 15] = [
    (QuantType::F32, "f32", GgmlType::F32, 0),
    (QuantType::F16, "f16", GgmlType::F16, 1),
    (QuantType::BF16, "bf16", GgmlType::BF16, 32),
    (QuantType::Q8_0, "q8_0", GgmlType::Q8_0, 7),
    (QuantType::Q6_K, "q6_k", GgmlType::Q6_K, 18),
    (QuantType::Q5_K_M, "q5_k_m", GgmlType::Q5_K, 17),
    (QuantType::Q5_K_S, "q5_k_s", GgmlType::Q5_K, 16),
    (QuantType::Q5_0, "q5_0", GgmlType::Q5_0, 8),
    (QuantType::Q5_1, "q5_1", GgmlType::Q5_1, 9),
    (QuantType::Q4_K_M, "q4_k_m", GgmlType::Q4_K, 15),
    (QuantType::Q4_K_S, "q4_k_s", GgmlType::Q4_K, 14),
    (QuantType::Q4_0, "q4_0", GgmlType::Q4_0, 2),
    (QuantType::Q4_1, "q4_1", GgmlType::Q4_1, 3),
    (QuantType::Q3_K_M, "q3_k_m", GgmlType::Q3_K, 12),
    (QuantType::Q2_K, "q2_k", GgmlType::Q2_K, 10),
];

impl QuantType {
    /// All mixes, largest first.
    pub fn all() -> impl Iterator<Item = Self> {
        MIXES.iter().map(|(mix, _, _, _)| *mix)
    }

    /// The mix of a name such as `q4_k_m`, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        MIXES.iter().find(|(_, own, _, _)| own.eq_ignore_ascii_case(name)).map(|(mix, _, _, _)| *mix)
    }

    /// The name in file names and on command lines.
    pub fn name(self) -> &'static str {
        self.entry().0
    }

    /// The type most matrices get.
    pub fn base_type(self) -> GgmlType {
        self.entry().1
    }

    /// The value of `general.file_type`.
    pub fn file_type(self) -> u32 {
        self.entry().2
    }

    fn entry(self) -> (&'static str, GgmlType, u32) {
        let (_, name, base, file_type) =
            MIXES.iter().find(|(mix, _, _, _)| *mix == self).expect("the table has a row for every mix");
        (name, *base, *file_type)
    }
}

/// What the rules need to know of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelShape {
    /// Number of blocks.
    pub layers: u64,
    /// Query heads per key-value head.
    pub kv_group: u64,
    /// Whether it is of the 70B kind (80 layers), whose few key-value heads deserve more bits.
    pub is_70b: bool,
    /// Whether it is a vision tower: no mixes, every matrix gets the base type.
    pub vision: bool,
    /// Whether there is no output matrix, so that the embeddings serve as one.
    pub tied: bool,
}

/// What the rules need to know of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TensorShape<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its dimensions, the contiguous one first.
    pub dims: &'a [u64],
    /// Its present type.
    pub ggml_type: GgmlType,
}

/// The type chosen for a tensor, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// The type.
    pub ggml_type: GgmlType,
    /// The rule, in a few words.
    pub reason: &'static str,
}

/// Chooses the type of a tensor.
pub fn choose(mix: QuantType, model: &ModelShape, tensor: &TensorShape<'_>) -> Choice {
    if !may_change(tensor) {
        return Choice { ggml_type: tensor.ggml_type, reason: "kept: vector, norm or position" };
    }
    if !mix.base_type().is_quantized() {
        return Choice { ggml_type: mix.base_type(), reason: "as asked" };
    }
    let wanted = if model.vision { base(mix) } else { mixed(mix, model, tensor) };
    fitting(wanted, tensor.dims[0])
}

/// Whether a tensor is a matrix whose type may change at all.
fn may_change(tensor: &TensorShape<'_>) -> bool {
    let kept = ["_norm.weight", ".position_embd", ".patch_embd"];
    // ggml does not count trailing dimensions of 1.
    let is_matrix = tensor.dims.iter().skip(1).any(|dim| *dim > 1);
    is_matrix && tensor.name.ends_with("weight") && !kept.iter().any(|part| tensor.name.contains(part))
}

fn base(mix: QuantType) -> Choice {
    Choice { ggml_type: mix.base_type(), reason: "as asked" }
}

fn mixed(mix: QuantType, model: &ModelShape, tensor: &TensorShape<'_>) -> Choice {
    let name = tensor.name;
    if name == "output.weight" || (model.tied && name == "token_embd.weight") {
        return output(mix, tensor.dims[0]);
    }
    let layer = layer(name);
    let chosen = if name.contains("attn_v.weight") {
        Some(attention_value(mix, model, layer))
    } else if name.contains("ffn_down") {
        feed_forward_down(mix, model.layers, layer)
    } else if name.contains("attn_output.weight") {
        match mix {
            QuantType::Q2_K => Some(GgmlType::Q3_K),
            QuantType::Q3_K_M => Some(GgmlType::Q4_K),
            _ => None,
        }
    } else {
        None
    };
    match chosen.filter(|chosen| *chosen != mix.base_type()) {
        Some(ggml_type) => Choice { ggml_type, reason: "more bits: errors here cost most" },
        None => base(mix),
    }
}

fn output(mix: QuantType, row: u64) -> Choice {
    let base_type = mix.base_type();
    if !row.is_multiple_of(base_type.block_len()) {
        Choice { ggml_type: GgmlType::Q8_0, reason: "output: 8 bits, rows are not whole blocks" }
    } else if base_type == GgmlType::Q8_0 {
        base(mix)
    } else {
        Choice { ggml_type: GgmlType::Q6_K, reason: "output: 6 bits" }
    }
}

fn attention_value(mix: QuantType, model: &ModelShape, layer: u64) -> GgmlType {
    let chosen = match mix {
        QuantType::Q2_K if model.kv_group >= 4 => GgmlType::Q4_K,
        QuantType::Q2_K => GgmlType::Q3_K,
        QuantType::Q3_K_M if layer < 2 => GgmlType::Q5_K,
        QuantType::Q3_K_M => GgmlType::Q4_K,
        QuantType::Q4_K_M | QuantType::Q5_K_M if use_more_bits(layer, model.layers) => GgmlType::Q6_K,
        QuantType::Q4_K_S if layer < 4 => GgmlType::Q5_K,
        _ => mix.base_type(),
    };
    let few = model.is_70b && matches!(chosen, GgmlType::Q3_K | GgmlType::Q4_K);
    if few { GgmlType::Q5_K } else { chosen }
}

fn feed_forward_down(mix: QuantType, layers: u64, layer: u64) -> Option<GgmlType> {
    match mix {
        QuantType::Q2_K => Some(GgmlType::Q3_K),
        QuantType::Q3_K_M if layer < layers / 16 => Some(GgmlType::Q5_K),
        QuantType::Q3_K_M => Some(GgmlType::Q4_K),
        QuantType::Q4_K_M | QuantType::Q5_K_M if use_more_bits(layer, layers) => Some(GgmlType::Q6_K),
        QuantType::Q4_K_S if layer < layers / 8 => Some(GgmlType::Q5_K),
        _ => None,
    }
}

/// The first and the last eighth of the layers, and every third between.
fn use_more_bits(layer: u64, layers: u64) -> bool {
    layer < layers / 8 || layer >= 7 * layers / 8 || (layer - layers / 8) % 3 == 2
}

/// The block a tensor belongs to; tensors outside of blocks count as the first.
fn layer(name: &str) -> u64 {
    let number = name.strip_prefix("blk.").and_then(|rest| rest.split('.').next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// The choice, or the nearest format whose blocks divide a row.
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
