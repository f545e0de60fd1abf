//! Errors of converting rows.

use super::types::GgmlType;

/// An error of converting rows between `f32` and an element type.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BlockError {
    /// The lengths of the two buffers do not match.
    #[error("{values} values in rows of {row_len} do not match {bytes} bytes of {ggml_type}")]
    Length {
        /// The element type.
        ggml_type: GgmlType,
        /// Number of values.
        values: usize,
        /// Values per row.
        row_len: usize,
        /// Number of bytes.
        bytes: usize,
    },
    /// ggml has no conversion for the type, or it needs an importance matrix.
    #[error("{ggml_type} cannot be converted {direction} f32")]
    Unsupported {
        /// The element type.
        ggml_type: GgmlType,
        /// `to` or `from`.
        direction: &'static str,
    },
    /// The type is a block format, and this build does not include ggml.
    #[error("{ggml_type} is a block format, which needs ggml: build mmprm-quant with the feature `ggml`")]
    NeedsGgml {
        /// The element type.
        ggml_type: GgmlType,
    },
    /// A value outside the range of the type.
    #[error("value {value} at element {element}, expected a finite number within ±{limit} for {ggml_type}")]
    Range {
        /// The element type.
        ggml_type: GgmlType,
        /// Index of the value.
        element: usize,
        /// The value.
        value: f32,
        /// Largest magnitude that the type, or the scale of its blocks, can represent.
        limit: f32,
    },
}
