//! ggml's element types: sizes of rows, and conversion of rows from and to `f32`.
//!
//! Floats are converted here; block formats by ggml's own quantisers and dequantisers (feature
//! `ggml`), so that files equal those that llama.cpp writes. Without the feature, block formats
//! return [`BlockError::NeedsGgml`]. The type of each tensor is chosen by [`crate::quantize`].
//!
//! ```
//! use mmprm_quant::blocks::{GgmlType, dequantize_row, quantize_rows};
//! let row: Vec<f32> = (0..64).map(|i| i as f32 / 64.0).collect();
//! let mut packed = vec![0; GgmlType::F16.row_bytes(64).unwrap()];
//! quantize_rows(GgmlType::F16, &row, 64, &mut packed).unwrap();
//! let mut back = vec![0.0; 64];
//! dequantize_row(GgmlType::F16, &packed, &mut back).unwrap();
//! assert_eq!(row, back); // multiples of 1/64 below 1 are exact in f16
//! ```

mod convert;
mod error;
#[cfg(feature = "ggml")]
mod ffi;
mod types;

pub use convert::{dequantize_row, quantize_rows};
pub use error::BlockError;
pub use types::GgmlType;
