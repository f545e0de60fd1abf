//! What a product multiplies: stored matrices, or rows that somebody makes when asked.

use std::ops::Range;

use half::{bf16, f16};

use crate::nn::element::Stored;
use crate::nn::simd::convert;
use crate::nn::tensor::{Element, Mat};

/// Column ranges that [`RowSource::write_row`] is asked for begin at a multiple of this, and end at one or at the row's end.
pub const COLUMN_ALIGNMENT: usize = 256;

/// A matrix whose rows are made on demand, such as quantised weights that are dequantised panel by panel.
///
/// Each part of the matrix is asked for once for each pass of a product over it, from several threads at once.
pub trait RowSource: Sync {
    /// Number of rows.
    fn rows(&self) -> usize;

    /// Number of columns.
    fn cols(&self) -> usize;

    /// Write the values of `columns` of row `row` to `out`, which has as many places. `columns` begins at a multiple of
    /// [`COLUMN_ALIGNMENT`], and ends at one or at the end of the row.
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
    /// A matrix whose rows are made on demand.
    pub fn from_rows(source: &'a dyn RowSource) -> Self {
        Self { source: Source::Rows(source), transposed: false }
    }

    /// The transpose. Nothing is moved: packing reads the matrix the other way.
    #[must_use]
    pub fn t(self) -> Self {
        Self { transposed: !self.transposed, ..self }
    }

    /// Rows of the operand (of the transpose, if it is one).
    pub fn rows(&self) -> usize {
        if self.transposed { self.source.cols() } else { self.source.rows() }
    }

    /// Columns of the operand (of the transpose, if it is one).
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
            Source::Rows(_) => "made on demand",
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

    /// Whether parts may be asked for only at multiples of [`COLUMN_ALIGNMENT`].
    pub(super) fn is_aligned(&self) -> bool {
        matches!(self, Self::Rows(_))
    }

    /// Write the values of `columns` of row `row` to `out`.
    pub(super) fn copy_row(&self, row: usize, columns: Range<usize>, out: &mut [f32]) {
        match self {
            Self::F32(matrix) => out.copy_from_slice(&matrix.row(row)[columns]),
            Self::F16(matrix) => convert::f16_to_f32(&matrix.row(row)[columns], out),
            Self::Bf16(matrix) => convert::bf16_to_f32(&matrix.row(row)[columns], out),
            Self::Rows(source) => source.write_row(row, columns, out),
        }
    }

    /// The values of `columns` of row `row`: in place for `f32`, else in `scratch`, which has as many places.
    pub(super) fn row<'a>(&'a self, row: usize, columns: Range<usize>, scratch: &'a mut [f32]) -> &'a [f32] {
        if let Self::F32(matrix) = self {
            return &matrix.row(row)[columns];
        }
        self.copy_row(row, columns, scratch);
        scratch
    }
}
