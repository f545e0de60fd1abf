//! What the format fixes: its constants, and the description of a tensor.

use crate::blocks::GgmlType;

/// First bytes of every GGUF file.
pub(super) const MAGIC: [u8; 4] = *b"GGUF";

/// The version that is written.
pub(super) const VERSION: u32 = 3;

/// Alignment of tensor data unless `general.alignment` says otherwise, in bytes.
pub(super) const DEFAULT_ALIGNMENT: u32 = 32;

/// The key that sets the alignment.
pub(super) const ALIGNMENT_KEY: &str = "general.alignment";

/// Maximum size of a header in bytes: bounds memory for a huge file that is all header. Real
/// headers take up to tens of megabytes, and those with a head of Qwen2.5-Math-PRM-72B 256 more.
pub(super) const MAX_HEADER: usize = 512 << 20;

/// Maximum number of dimensions of a tensor (ggml's `GGML_MAX_DIMS`).
pub(super) const MAX_DIMS: usize = 4;

/// Maximum length of a tensor name in bytes (ggml's `GGML_MAX_NAME` less its terminator).
pub(super) const MAX_TENSOR_NAME: usize = 63;

/// Maximum length of a metadata key in bytes (the format's limit).
pub(super) const MAX_KEY: usize = 65_535;

/// A tensor of an open file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Name.
    pub name: String,
    /// Dimensions, the contiguous one first (ggml's order, the reverse of `PyTorch`'s).
    pub dims: Vec<u64>,
    /// Element type.
    pub ggml_type: GgmlType,
    /// Byte offset of the data from the start of the file.
    pub offset: u64,
    /// Size of the data in bytes, without padding.
    pub size: u64,
}

impl TensorInfo {
    /// Returns the number of elements per row (the contiguous dimension).
    pub fn row_len(&self) -> u64 {
        self.dims[0]
    }

    /// Returns the number of rows: the product of all other dimensions.
    pub fn rows(&self) -> u64 {
        self.dims[1..].iter().product()
    }

    /// Returns the number of elements.
    pub fn elements(&self) -> u64 {
        self.dims.iter().product()
    }
}

/// A tensor to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// Name, at most 63 bytes.
    pub name: String,
    /// Dimensions, the contiguous one first.
    pub dims: Vec<u64>,
    /// Element type.
    pub ggml_type: GgmlType,
}
