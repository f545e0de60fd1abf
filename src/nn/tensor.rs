//! Row-major matrix views over borrowed slices, and the number formats that they store: `f32`,
//! `f16` and `bf16`.
//!
//! A view has rows, columns and a stride, so that one head of `[tokens, heads · dim]` is a view
//! too. Buffers are plain `Vec`s. Arithmetic is `f32` everywhere: an [`Element`] only widens rows
//! to `f32` and rounds them back.
//!
//! ```
//! use mmprm::nn::tensor::{Mat, MatMut};
//! let numbers = [1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0];
//! let matrix = Mat::new(&numbers, 2, 3);
//! assert_eq!(matrix.row(1), [4.0, 5.0, 6.0]);
//! assert_eq!(matrix.sub(0..2, 1..2).row(1), [5.0]);
//!
//! let mut numbers = [0.0f32; 6];
//! let (mut left, mut right) = MatMut::new(&mut numbers, 2, 3).split_columns(1);
//! left.row_mut(0).fill(1.0);
//! right.row_mut(1).fill(2.0);
//! assert_eq!(numbers, [1.0, 0.0, 0.0, 0.0, 2.0, 2.0]);
//! ```

use std::ops::Range;

use half::{bf16, f16};

use super::simd::convert;
pub use super::simd::mat_mut::MatMut;

/// A borrowed row-major matrix `[rows, cols]` whose rows start `stride` elements apart.
#[derive(Debug, Clone, Copy)]
pub struct Mat<'a, T> {
    data: &'a [T],
    rows: usize,
    cols: usize,
    stride: usize,
}

impl<'a, T> Mat<'a, T> {
    /// Views a slice as a dense matrix `[rows, cols]`.
    ///
    /// # Panics
    /// If `data` does not hold exactly `rows · cols` elements.
    pub fn new(data: &'a [T], rows: usize, cols: usize) -> Self {
        assert_eq!(data.len(), rows * cols, "a dense {rows} × {cols} matrix over {} elements", data.len());
        Self { data, rows, cols, stride: cols }
    }

    /// Views a slice as a matrix `[rows, cols]` with rows `stride` elements apart.
    ///
    /// # Panics
    /// If rows overlap (`stride < cols`) or `data` ends before the last row does.
    pub fn with_stride(data: &'a [T], rows: usize, cols: usize, stride: usize) -> Self {
        assert!(rows <= 1 || stride >= cols, "rows of {cols} elements overlap at stride {stride}");
        let needed = if rows == 0 { 0 } else { (rows - 1) * stride + cols };
        assert!(data.len() >= needed, "{rows} × {cols} at stride {stride} over {} elements", data.len());
        Self { data, rows, cols, stride }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Elements from the start of one row to the start of the next.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Returns row `row`.
    ///
    /// # Panics
    /// If `row` is out of bounds.
    pub fn row(&self, row: usize) -> &'a [T] {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        &self.data[row * self.stride..][..self.cols]
    }

    /// Returns a view of some rows and columns.
    ///
    /// # Panics
    /// If the ranges exceed the matrix.
    #[must_use]
    pub fn sub(&self, rows: Range<usize>, cols: Range<usize>) -> Self {
        assert!(rows.end <= self.rows && cols.end <= self.cols, "{rows:?} × {cols:?} of {} × {}", self.rows, self.cols);
        let data = if rows.is_empty() { &[] } else { &self.data[rows.start * self.stride + cols.start..] };
        Self { data, rows: rows.len(), cols: cols.len(), stride: self.stride }
    }

    /// The underlying slice, from the first element of the first row.
    pub(crate) fn data(&self) -> &'a [T] {
        self.data
    }
}

/// A storage format: `f32`, `f16` or `bf16`. Sealed, because the kernels handle these three only.
///
/// ```
/// use half::bf16;
/// use mmprm::nn::tensor::Element;
/// let mut stored = [bf16::ZERO; 3];
/// bf16::narrow(&[1.0, 1.001, -2.5], &mut stored);
/// let mut wide = [0.0; 3];
/// bf16::widen(&stored, &mut wide);
/// assert_eq!(wide, [1.0, 1.0, -2.5]); // bf16 has 8 significant bits
/// ```
pub trait Element: sealed::Sealed + Copy + Default + Send + Sync + std::fmt::Debug + 'static {
    /// Converts to `f32`, exactly.
    fn to_f32(self) -> f32;

    /// Rounds to the nearest value of this format, ties to even.
    fn from_f32(value: f32) -> Self;

    /// Writes a row to `out` as `f32`, exactly.
    ///
    /// # Panics
    /// If the lengths differ.
    fn widen(row: &[Self], out: &mut [f32]);

    /// Rounds a row to this format, to nearest, ties to even.
    ///
    /// # Panics
    /// If the lengths differ.
    fn narrow(row: &[f32], out: &mut [Self]);

    /// Returns the row as `f32`: the row itself if it is `f32`, else a copy in `scratch`.
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

/// A matrix whose format is known at run time only.
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
    /// Keeps other crates from adding formats that no kernel handles.
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for half::f16 {}
    impl Sealed for half::bf16 {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_of_a_packed_sequence_is_a_view() {
        let numbers: Vec<f32> = (0..24u8).map(f32::from).collect();
        let heads = Mat::new(&numbers, 3, 8);
        let second = heads.sub(0..3, 4..8);
        assert_eq!(second.row(2), [20.0, 21.0, 22.0, 23.0]);
        assert_eq!(second.stride(), 8);
        assert_eq!(heads.sub(3..3, 0..8).rows(), 0);
    }

    #[test]
    fn disjoint_parts_can_be_written_while_both_are_borrowed() {
        let mut numbers = vec![0u32; 30];
        let (top, bottom) = MatMut::new(&mut numbers, 5, 6).split_rows(2);
        let (mut a, mut b) = top.split_columns(4);
        let mut c = bottom;
        a.row_mut(1).fill(1);
        b.row_mut(1).fill(2);
        c.row_mut(2).fill(3);
        assert_eq!(numbers[6..12], [1, 1, 1, 1, 2, 2]);
        assert_eq!(numbers[24..30], [3; 6]);
    }

    #[test]
    #[should_panic(expected = "overlap")]
    fn overlapping_rows_are_refused() {
        Mat::with_stride(&[0.0f32; 10], 2, 5, 4);
    }
}
