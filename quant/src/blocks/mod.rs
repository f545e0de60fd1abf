//! ggml's element types: how many bytes a row of them takes, and conversion of rows from and to `f32`.
//!
//! Floats are converted here; block formats by ggml's own quantisers and dequantisers, so that files are the ones
//! llama.cpp itself would write. Which type a tensor should have is decided by [`crate::quantize`].
//!
//! ```
//! use mmprm_quant::blocks::{GgmlType, dequantize_row, quantize_rows};
//! let row: Vec<f32> = (0..64).map(|i| i as f32 / 64.0).collect();
//! let mut packed = vec![0; GgmlType::Q8_0.row_bytes(64).unwrap()];
//! quantize_rows(GgmlType::Q8_0, &row, 64, &mut packed).unwrap();
//! let mut back = vec![0.0; 64];
//! dequantize_row(GgmlType::Q8_0, &packed, &mut back).unwrap();
//! assert!(row.iter().zip(&back).all(|(a, b)| (a - b).abs() < 0.005));
//! ```

mod convert;
#[cfg(feature = "ggml")]
mod ffi;

pub use convert::{dequantize_row, quantize_rows};

use std::fmt;

/// An element type of ggml (`enum ggml_type`), with its number in files.
#[allow(non_camel_case_types, reason = "these are the names ggml and everyone who uses it knows them by")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u32)]
pub enum GgmlType {
    /// 32-bit float.
    F32 = 0,
    /// 16-bit IEEE float.
    F16 = 1,
    /// 4 bits, scale per 32.
    Q4_0 = 2,
    /// 4 bits, scale and minimum per 32.
    Q4_1 = 3,
    /// 5 bits, scale per 32.
    Q5_0 = 6,
    /// 5 bits, scale and minimum per 32.
    Q5_1 = 7,
    /// 8 bits, scale per 32.
    Q8_0 = 8,
    /// 8 bits, scale and sum per 32 (activations).
    Q8_1 = 9,
    /// 2 bits, super-blocks of 256.
    Q2_K = 10,
    /// 3 bits, super-blocks of 256.
    Q3_K = 11,
    /// 4 bits, super-blocks of 256.
    Q4_K = 12,
    /// 5 bits, super-blocks of 256.
    Q5_K = 13,
    /// 6 bits, super-blocks of 256.
    Q6_K = 14,
    /// 8 bits, super-blocks of 256 (activations).
    Q8_K = 15,
    /// 2.06 bits, codebook.
    IQ2_XXS = 16,
    /// 2.31 bits, codebook.
    IQ2_XS = 17,
    /// 3.06 bits, codebook.
    IQ3_XXS = 18,
    /// 1.56 bits, codebook.
    IQ1_S = 19,
    /// 4 bits, non-linear.
    IQ4_NL = 20,
    /// 3.44 bits, codebook.
    IQ3_S = 21,
    /// 2.5 bits, codebook.
    IQ2_S = 22,
    /// 4.25 bits, non-linear, super-blocks.
    IQ4_XS = 23,
    /// 8-bit integer.
    I8 = 24,
    /// 16-bit integer.
    I16 = 25,
    /// 32-bit integer.
    I32 = 26,
    /// 64-bit integer.
    I64 = 27,
    /// 64-bit float.
    F64 = 28,
    /// 1.75 bits, codebook.
    IQ1_M = 29,
    /// bfloat16.
    BF16 = 30,
    /// Ternary, 1.69 bits.
    TQ1_0 = 34,
    /// Ternary, 2.06 bits.
    TQ2_0 = 35,
    /// 4-bit microscaling float.
    MXFP4 = 39,
    /// NVIDIA's 4-bit float.
    NVFP4 = 40,
    /// 1 bit.
    Q1_0 = 41,
    /// 2 bits.
    Q2_0 = 42,
}

/// Every type with its number of elements and bytes per block.
const TYPES: [(GgmlType, u64, u64); 35] = {
    #[allow(clippy::enum_glob_use, reason = "the table names every variant once")]
    use GgmlType::*;
    [
        (F32, 1, 4),
        (F16, 1, 2),
        (Q4_0, 32, 18),
        (Q4_1, 32, 20),
        (Q5_0, 32, 22),
        (Q5_1, 32, 24),
        (Q8_0, 32, 34),
        (Q8_1, 32, 36),
        (Q2_K, 256, 84),
        (Q3_K, 256, 110),
        (Q4_K, 256, 144),
        (Q5_K, 256, 176),
        (Q6_K, 256, 210),
        (Q8_K, 256, 292),
        (IQ2_XXS, 256, 66),
        (IQ2_XS, 256, 74),
        (IQ3_XXS, 256, 98),
        (IQ1_S, 256, 50),
        (IQ4_NL, 32, 18),
        (IQ3_S, 256, 110),
        (IQ2_S, 256, 82),
        (IQ4_XS, 256, 136),
        (I8, 1, 1),
        (I16, 1, 2),
        (I32, 1, 4),
        (I64, 1, 8),
        (F64, 1, 8),
        (IQ1_M, 256, 56),
        (BF16, 1, 2),
        (TQ1_0, 256, 54),
        (TQ2_0, 256, 66),
        (MXFP4, 32, 17),
        (NVFP4, 64, 36),
        (Q1_0, 128, 18),
        (Q2_0, 64, 18),
    ]
};

impl GgmlType {
    /// The type of a number in a file, if ggml knows it.
    pub fn from_id(id: u32) -> Option<Self> {
        TYPES.iter().map(|(ty, _, _)| *ty).find(|ty| ty.id() == id)
    }

    /// The type's number in files.
    pub fn id(self) -> u32 {
        self as u32
    }

    /// Elements per block.
    pub fn block_len(self) -> u64 {
        self.layout().0
    }

    /// Bytes per block.
    pub fn block_bytes(self) -> u64 {
        self.layout().1
    }

    /// Whether this is a block format, not a plain number.
    pub fn is_quantized(self) -> bool {
        self.block_len() > 1
    }

    /// Bytes of a row of `len` elements; nothing if it is not whole blocks or does not fit memory.
    pub fn row_bytes(self, len: usize) -> Option<usize> {
        usize::try_from(self.tensor_bytes(&[len as u64])?).ok()
    }

    /// Bytes of a tensor of these dimensions (the contiguous one first); nothing if its rows are not whole blocks, a
    /// dimension is 0 or missing, or the elements or bytes exceed 2^63.
    pub fn tensor_bytes(self, dims: &[u64]) -> Option<u64> {
        let (block, bytes) = self.layout();
        let row = *dims.first()?;
        if row % block != 0 {
            return None;
        }
        let elements = dims.iter().try_fold(1_u64, |product, dim| product.checked_mul(*dim))?;
        let size = (elements / block).checked_mul(bytes)?;
        (elements > 0 && elements < 1 << 63 && size < 1 << 63).then_some(size)
    }

    fn layout(self) -> (u64, u64) {
        let (_, block, bytes) =
            TYPES.iter().find(|(ty, _, _)| *ty == self).expect("the table has a row for every type, as a test checks");
        (*block, *bytes)
    }
}

impl fmt::Display for GgmlType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, formatter)
    }
}

/// Why a row cannot be converted.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BlockError {
    /// The buffers do not belong together.
    #[error("{values} values in rows of {row_len} and {bytes} bytes do not fit as {ggml_type}")]
    Length {
        /// The type.
        ggml_type: GgmlType,
        /// Number of values given or wanted.
        values: usize,
        /// Values per row.
        row_len: usize,
        /// Number of bytes given or wanted.
        bytes: usize,
    },
    /// ggml has no conversion for the type, or it needs an importance matrix.
    #[error("{ggml_type} cannot be converted {direction} f32")]
    Unsupported {
        /// The type.
        ggml_type: GgmlType,
        /// `to` or `from`.
        direction: &'static str,
    },
    /// A value that the type cannot hold.
    #[error("value {value} at element {element}, expected a finite number within ±{limit} for {ggml_type}")]
    Range {
        /// The type.
        ggml_type: GgmlType,
        /// Index of the value.
        element: usize,
        /// The value.
        value: f32,
        /// Largest magnitude that the type, or the scale of its blocks, can hold.
        limit: f32,
    },
}
