//! What to convert to.

use crate::blocks::GgmlType;
use crate::gguf::Metadata;

/// The type that matrices are converted to; finer choices are made by [`crate::quantize`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightType {
    /// 32-bit floats.
    F32,
    /// 16-bit IEEE floats.
    F16,
    /// bfloat16, the type of most checkpoints.
    Bf16,
    /// 8-bit blocks of 32 (needs the feature `ggml`).
    Q8_0,
}

impl WeightType {
    /// All types, largest first.
    pub const ALL: [Self; 4] = [Self::F32, Self::F16, Self::Bf16, Self::Q8_0];

    /// Looks up a type by name, ignoring case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|weight_type| weight_type.name().eq_ignore_ascii_case(name))
    }

    /// Returns the name in file names and on command lines.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Q8_0 => "q8_0",
        }
    }

    pub(crate) fn ggml_type(self) -> GgmlType {
        match self {
            Self::F32 => GgmlType::F32,
            Self::F16 => GgmlType::F16,
            Self::Bf16 => GgmlType::BF16,
            Self::Q8_0 => GgmlType::Q8_0,
        }
    }

    /// Returns the value of `general.file_type` (llama.cpp's `llama_ftype`).
    pub(crate) fn file_type(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q8_0 => 7,
            Self::Bf16 => 32,
        }
    }
}

/// Options of a conversion.
#[derive(Debug, Clone, PartialEq)]
pub struct ConvertOptions {
    /// Type of the language model's matrices.
    pub weight_type: WeightType,
    /// Type of the vision tower's matrices.
    pub vision_type: WeightType,
    /// Additional metadata of the language model's file (`mmprm.*`).
    pub metadata: Metadata,
}

impl ConvertOptions {
    /// Options for a type, without additional metadata. With `Q8_0` the vision tower, small and
    /// sensitive, stays `F16`.
    pub fn new(weight_type: WeightType) -> Self {
        let vision_type = if weight_type == WeightType::Q8_0 { WeightType::F16 } else { weight_type };
        Self { weight_type, vision_type, metadata: Vec::new() }
    }
}
