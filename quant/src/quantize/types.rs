//! The kinds of quantised files.

use std::fmt;

use crate::blocks::GgmlType;

/// A kind of quantised file (llama.cpp's `llama_ftype`).
#[allow(non_camel_case_types, reason = "these are llama.cpp's names")]
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
    /// 5 bits, 6 in sensitive tensors.
    Q5_K_M,
    /// 5 bits.
    Q5_K_S,
    /// 5 bits, older format.
    Q5_0,
    /// 5 bits with a minimum per block, older format.
    Q5_1,
    /// 4 bits, 6 in sensitive tensors.
    Q4_K_M,
    /// 4 bits, 5 in sensitive tensors of the first layers.
    Q4_K_S,
    /// 4 bits, older format.
    Q4_0,
    /// 4 bits with a minimum per block, older format.
    Q4_1,
    /// 3 bits, 4 or 5 in sensitive tensors.
    Q3_K_M,
    /// 2 bits, 3 or 4 in sensitive tensors.
    Q2_K,
}

/// A row of [`TYPES`].
struct TypeRow {
    quant_type: QuantType,
    name: &'static str,
    /// The type of most matrices.
    base: GgmlType,
    /// Number in `general.file_type`.
    file_type: u32,
    description: &'static str,
}

/// Every type, in order of decreasing size.
const TYPES: &[TypeRow] = &[
    row(QuantType::F32, "f32", GgmlType::F32, 0, "32-bit floats"),
    row(QuantType::F16, "f16", GgmlType::F16, 1, "16-bit IEEE floats"),
    row(QuantType::BF16, "bf16", GgmlType::BF16, 32, "bfloat16"),
    row(QuantType::Q8_0, "q8_0", GgmlType::Q8_0, 7, "8 bits"),
    row(QuantType::Q6_K, "q6_k", GgmlType::Q6_K, 18, "6 bits"),
    row(QuantType::Q5_K_M, "q5_k_m", GgmlType::Q5_K, 17, "5 bits, 6 in sensitive tensors"),
    row(QuantType::Q5_K_S, "q5_k_s", GgmlType::Q5_K, 16, "5 bits"),
    row(QuantType::Q5_0, "q5_0", GgmlType::Q5_0, 8, "5 bits, older format"),
    row(QuantType::Q5_1, "q5_1", GgmlType::Q5_1, 9, "5 bits with a minimum per block, older format"),
    row(QuantType::Q4_K_M, "q4_k_m", GgmlType::Q4_K, 15, "4 bits, 6 in sensitive tensors"),
    row(QuantType::Q4_K_S, "q4_k_s", GgmlType::Q4_K, 14, "4 bits, 5 in sensitive tensors of the first layers"),
    row(QuantType::Q4_0, "q4_0", GgmlType::Q4_0, 2, "4 bits, older format"),
    row(QuantType::Q4_1, "q4_1", GgmlType::Q4_1, 3, "4 bits with a minimum per block, older format"),
    row(QuantType::Q3_K_M, "q3_k_m", GgmlType::Q3_K, 12, "3 bits, 4 or 5 in sensitive tensors"),
    row(QuantType::Q2_K, "q2_k", GgmlType::Q2_K, 10, "2 bits, 3 or 4 in sensitive tensors"),
];

const fn row(
    quant_type: QuantType,
    name: &'static str,
    base: GgmlType,
    file_type: u32,
    description: &'static str,
) -> TypeRow {
    TypeRow { quant_type, name, base, file_type, description }
}

impl QuantType {
    /// Returns all types in the order of the table: floats, then from 8 bits to 2.
    pub fn all() -> impl Iterator<Item = Self> {
        TYPES.iter().map(|row| row.quant_type)
    }

    /// Looks up a type by a name such as `q4_k_m`, ignoring case.
    pub fn from_name(name: &str) -> Option<Self> {
        TYPES.iter().find(|row| row.name.eq_ignore_ascii_case(name)).map(|row| row.quant_type)
    }

    /// Returns the name in file names and on command lines.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// Returns the type of most matrices.
    pub fn base_type(self) -> GgmlType {
        self.row().base
    }

    /// Returns the value of `general.file_type`.
    pub fn file_type(self) -> u32 {
        self.row().file_type
    }

    /// Returns a description in a few words, for help texts.
    pub fn description(self) -> &'static str {
        self.row().description
    }

    fn row(self) -> &'static TypeRow {
        TYPES.iter().find(|row| row.quant_type == self).expect("the table has a row for every type")
    }
}

impl fmt::Display for QuantType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}
