//! What forward and backward do with a tile of queries and a chunk of keys.

use std::ops::Range;

use super::Attention;
use super::segments::Queries;
use crate::nn::gemm::{Gemm, Operand};
use crate::nn::math;
use crate::nn::tensor::{Element, Mat, MatMut};

/// Rows of a tile of queries (tokens times heads that share a key head).
pub(super) const ROWS: usize = 128;
/// Keys of a chunk.
pub(super) const KEYS: usize = 256;

impl Attention<'_> {
    /// Query tokens of a tile, so that with the heads of a group there are about [`ROWS`] rows.
    pub(super) fn tile_tokens(&self) -> usize {
        (ROWS / self.heads.group()).max(8)
    }

    /// Columns of key head `head` in a matrix of queries.
    pub(super) fn query_columns(&self, head: usize) -> Range<usize> {
        let width = self.heads.group() * self.heads.dim;
        head * width..(head + 1) * width
    }

    /// Columns of key head `head` in a matrix of keys or values.
    pub(super) fn key_columns(&self, head: usize) -> Range<usize> {
        head * self.heads.dim..(head + 1) * self.heads.dim
    }

    /// `C = alpha · op(A) · op(B) + beta · C`, here and now.
    pub(super) fn product<'b>(&self, a: Operand<'b>, b: Operand<'b>, beta: f32, c: MatMut<'_, f32>) {
        Gemm::new().precision(self.precision).beta(beta).on_this_thread().run(a, b, c);
    }

    /// How many of a chunk's keys the query token sees; they come first.
    pub(super) fn visible(&self, chunk: &[Range<usize>], token: usize) -> usize {
        if self.segments.is_causal() {
            chunk.iter().map(|range| range.end.min(token + 1).saturating_sub(range.start)).sum()
        } else {
            length(chunk)
        }
    }
}

/// Keys in a chunk.
pub(super) fn length(chunk: &[Range<usize>]) -> usize {
    chunk.iter().map(ExactSizeIterator::len).sum()
}

/// Copy a tile's rows of `source` `[tokens, …]`, columns of one group, to `out` `[tokens · group, dim]`.
pub(super) fn gather_queries<T: Element>(
    source: Mat<'_, T>,
    queries: &Queries,
    columns: &Range<usize>,
    factor: f32,
    out: &mut [f32],
) {
    for (token, out) in queries.tokens.clone().zip(out.chunks_exact_mut(columns.len())) {
        T::widen(&source.row(token)[columns.clone()], out);
        if factor.to_bits() != 1f32.to_bits() {
            math::scale(out, factor);
        }
    }
}

/// Copy a chunk's rows of `source`, columns of one head, to `out` `[keys, dim]`.
pub(super) fn gather_keys<T: Element>(
    source: Mat<'_, T>,
    chunk: &[Range<usize>],
    columns: &Range<usize>,
    out: &mut [f32],
) {
    for (token, out) in chunk.iter().cloned().flatten().zip(out.chunks_exact_mut(columns.len())) {
        T::widen(&source.row(token)[columns.clone()], out);
    }
}
