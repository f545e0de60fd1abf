//! Row-major matrix views: where numbers lie, not what they mean.
//!
//! A view borrows a slice and says how many rows and columns it has and how far apart rows start, so that one head of
//! `[tokens, heads · dim]` is a view too. Owning buffers are plain `Vec`s; what layers do with them is theirs.
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

pub use super::element::Element;
pub use super::simd::disjoint::MatMut;

/// A borrowed row-major matrix `[rows, cols]` whose rows start `stride` elements apart.
#[derive(Debug, Clone, Copy)]
pub struct Mat<'a, T> {
    data: &'a [T],
    rows: usize,
    cols: usize,
    stride: usize,
}

impl<'a, T> Mat<'a, T> {
    /// A dense matrix `[rows, cols]`.
    ///
    /// # Panics
    /// If `data` does not hold exactly `rows · cols` elements.
    pub fn new(data: &'a [T], rows: usize, cols: usize) -> Self {
        assert_eq!(data.len(), rows * cols, "a dense {rows} × {cols} matrix over {} elements", data.len());
        Self { data, rows, cols, stride: cols }
    }

    /// A matrix `[rows, cols]` with rows `stride` elements apart.
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

    /// Row `row`.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row(&self, row: usize) -> &'a [T] {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        &self.data[row * self.stride..][..self.cols]
    }

    /// The part with these rows and columns.
    ///
    /// # Panics
    /// If the part reaches outside of the matrix.
    #[must_use]
    pub fn sub(&self, rows: Range<usize>, cols: Range<usize>) -> Self {
        assert!(rows.end <= self.rows && cols.end <= self.cols, "{rows:?} × {cols:?} of {} × {}", self.rows, self.cols);
        let data = if rows.is_empty() { &[] } else { &self.data[rows.start * self.stride + cols.start..] };
        Self { data, rows: rows.len(), cols: cols.len(), stride: self.stride }
    }

    /// Everything from the first element of the first row on.
    pub(crate) fn data(&self) -> &'a [T] {
        self.data
    }
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
    fn disjoint_parts_can_be_written_at_once() {
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
