//! Operands of a product: stored matrices, or rows generated on demand.

use std::ops::Range;

use half::{bf16, f16};

use crate::nn::simd::convert;
use crate::nn::tensor::{Element, Mat, Stored};

/// Column ranges passed to [`RowSource::write_row`] begin at a multiple of this and end at a
/// multiple or at the row's end.
pub const COLUMN_ALIGNMENT: usize = 256;

/// A matrix whose rows are generated on demand, such as quantised weights that are dequantised
/// panel by panel.
///
/// A product requests each part once per pass over the matrix, from several threads at once.
pub trait RowSource: Sync {
    /// Returns the number of rows.
    fn rows(&self) -> usize;

    /// Returns the number of columns.
    fn cols(&self) -> usize;

    /// Writes `columns` of row `row` to `out`, which has the same length. `columns` begins at a
    /// multiple of [`COLUMN_ALIGNMENT`] and ends at a multiple or at the end of the row.
    fn write_row(&self, row: usize, columns: Range<usize>, out: &mut [f32]);
}

/// An operand of a product: a matrix or its transpose.
#[derive(Clone, Copy)]
pub struct Operand<'a> {
    pub(super) source: Source<'a>,
    pub(super) transposed: bool,
}

#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    F32(Mat<'a, f32>),
    F16(Mat<'a, f16>),
    Bf16(Mat<'a, bf16>),
    Rows(&'a dyn RowSource),
}

impl<'a> Operand<'a> {
    /// Creates an operand whose rows are generated on demand.
    pub fn from_rows(source: &'a dyn RowSource) -> Self {
        Self { source: Source::Rows(source), transposed: false }
    }

    /// Transposes the operand without moving data: packing reads it the other way.
    #[must_use]
    pub fn t(self) -> Self {
        Self { transposed: !self.transposed, ..self }
    }

    /// Returns the number of rows, after transposition.
    pub fn rows(&self) -> usize {
        if self.transposed { self.source.cols() } else { self.source.rows() }
    }

    /// Returns the number of columns, after transposition.
    pub fn cols(&self) -> usize {
        if self.transposed { self.source.rows() } else { self.source.cols() }
    }

    pub(super) fn is_bf16(&self) -> bool {
        matches!(self.source, Source::Bf16(_))
    }
}

impl<'a, T: Element> From<Mat<'a, T>> for Operand<'a> {
    fn from(matrix: Mat<'a, T>) -> Self {
        let source = match T::stored(matrix) {
            Stored::F32(matrix) => Source::F32(matrix),
            Stored::F16(matrix) => Source::F16(matrix),
            Stored::Bf16(matrix) => Source::Bf16(matrix),
        };
        Self { source, transposed: false }
    }
}

impl std::fmt::Debug for Operand<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let format = match self.source {
            Source::F32(_) => "f32",
            Source::F16(_) => "f16",
            Source::Bf16(_) => "bf16",
            Source::Rows(_) => "generated on demand",
        };
        write!(f, "Operand({} × {}, {format})", self.rows(), self.cols())
    }
}

impl Source<'_> {
    fn rows(&self) -> usize {
        match self {
            Self::F32(matrix) => matrix.rows(),
            Self::F16(matrix) => matrix.rows(),
            Self::Bf16(matrix) => matrix.rows(),
            Self::Rows(source) => source.rows(),
        }
    }

    fn cols(&self) -> usize {
        match self {
            Self::F32(matrix) => matrix.cols(),
            Self::F16(matrix) => matrix.cols(),
            Self::Bf16(matrix) => matrix.cols(),
            Self::Rows(source) => source.cols(),
        }
    }

    /// Whether column ranges have to be aligned to [`COLUMN_ALIGNMENT`].
    pub(super) fn is_aligned(&self) -> bool {
        matches!(self, Self::Rows(_))
    }

    /// Writes `columns` of row `row` to `out`.
    pub(super) fn copy_row(&self, row: usize, columns: Range<usize>, out: &mut [f32]) {
        match self {
            Self::F32(matrix) => out.copy_from_slice(&matrix.row(row)[columns]),
            Self::F16(matrix) => convert::f16_to_f32(&matrix.row(row)[columns], out),
            Self::Bf16(matrix) => convert::bf16_to_f32(&matrix.row(row)[columns], out),
            Self::Rows(source) => source.write_row(row, columns, out),
        }
    }

    /// Returns `columns` of row `row`: borrowed for `f32`, else copied to `scratch`, which has the
    /// same length.
    pub(super) fn row<'a>(&'a self, row: usize, columns: Range<usize>, scratch: &'a mut [f32]) -> &'a [f32] {
        if let Self::F32(matrix) = self {
            return &matrix.row(row)[columns];
        }
        self.copy_row(row, columns, scratch);
        scratch
    }
}
