//! The number formats that tensors are stored in: `f32`, `f16` and `bf16`.
//!
//! Arithmetic is in `f32` everywhere; a format only says how rows are widened to it and rounded back.
//!
//! ```
//! use half::bf16;
//! use mmprm::nn::tensor::Element;
//! let mut stored = [bf16::ZERO; 3];
//! bf16::narrow(&[1.0, 1.001, -2.5], &mut stored);
//! let mut wide = [0.0; 3];
//! bf16::widen(&stored, &mut wide);
//! assert_eq!(wide, [1.0, 1.0, -2.5]); // bf16 has 8 significant bits
//! ```

use half::{bf16, f16};

use super::simd::convert;
use super::tensor::Mat;

/// A storage format. Sealed: the kernels know `f32`, `f16` and `bf16`.
pub trait Element: sealed::Sealed + Copy + Default + Send + Sync + std::fmt::Debug + 'static {
    /// The value, exactly.
    fn to_f32(self) -> f32;

    /// The nearest value of this format, ties to even.
    fn from_f32(value: f32) -> Self;

    /// Write a row's values to `out`, exactly.
    ///
    /// # Panics
    /// If the lengths differ.
    fn widen(row: &[Self], out: &mut [f32]);

    /// Round a row to this format, each value to the nearest, ties to even.
    ///
    /// # Panics
    /// If the lengths differ.
    fn narrow(row: &[f32], out: &mut [Self]);

    /// The row's values: the row itself if it is `f32`, else widened into `scratch`.
    ///
    /// # Panics
    /// If `scratch` is shorter than the row.
    fn widened<'a>(row: &'a [Self], scratch: &'a mut [f32]) -> &'a [f32] {
        let scratch = &mut scratch[..row.len()];
        Self::widen(row, scratch);
        scratch
    }

    #[doc(hidden)]
    fn stored(matrix: Mat<'_, Self>) -> Stored<'_>;
}

/// A matrix whose format is known at run time.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub enum Stored<'a> {
    F32(Mat<'a, f32>),
    F16(Mat<'a, f16>),
    Bf16(Mat<'a, bf16>),
}

impl Element for f32 {
    fn to_f32(self) -> f32 {
        self
    }

    fn from_f32(value: f32) -> Self {
        value
    }

    fn widen(row: &[Self], out: &mut [f32]) {
        out.copy_from_slice(row);
    }

    fn narrow(row: &[f32], out: &mut [Self]) {
        out.copy_from_slice(row);
    }

    fn widened<'a>(row: &'a [Self], _: &'a mut [f32]) -> &'a [f32] {
        row
    }

    fn stored(matrix: Mat<'_, Self>) -> Stored<'_> {
        Stored::F32(matrix)
    }
}

impl Element for f16 {
    fn to_f32(self) -> f32 {
        f16::to_f32(self)
    }

    fn from_f32(value: f32) -> Self {
        f16::from_f32(value)
    }

    fn widen(row: &[Self], out: &mut [f32]) {
        convert::f16_to_f32(row, out);
    }

    fn narrow(row: &[f32], out: &mut [Self]) {
        convert::f32_to_f16(row, out);
    }

    fn stored(matrix: Mat<'_, Self>) -> Stored<'_> {
        Stored::F16(matrix)
    }
}

impl Element for bf16 {
    fn to_f32(self) -> f32 {
        bf16::to_f32(self)
    }

    fn from_f32(value: f32) -> Self {
        bf16::from_f32(value)
    }

    fn widen(row: &[Self], out: &mut [f32]) {
        convert::bf16_to_f32(row, out);
    }

    fn narrow(row: &[f32], out: &mut [Self]) {
        convert::f32_to_bf16(row, out);
    }

    fn stored(matrix: Mat<'_, Self>) -> Stored<'_> {
        Stored::Bf16(matrix)
    }
}

mod sealed {
    /// Keeps other crates from adding formats that no kernel knows.
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for half::f16 {}
    impl Sealed for half::bf16 {}
}
