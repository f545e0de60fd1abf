//! Parameters of an attention, and how forward and backward split its work into tiles of queries
//! and chunks of keys.

use std::ops::Range;

use super::segments::{QueryTile, Segments};
use crate::nn::gemm::{Gemm, Operand, Precision};
use crate::nn::math;
use crate::nn::tensor::{Element, Mat, MatMut};

/// Rows of a tile: query tokens times the query heads of one key head.
const ROWS: usize = 128;
/// Keys of a chunk.
pub(super) const KEYS: usize = 256;

/// Head counts and head dimension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// Query heads, a multiple of `key`.
    pub query: usize,
    /// Key and value heads.
    pub key: usize,
    /// Head dimension.
    pub dim: usize,
}

impl Heads {
    /// Returns the query heads per key head.
    pub(super) fn group(&self) -> usize {
        self.query / self.key
    }
}

/// Self-attention over a packed sequence.
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct Attention<'a> {
    pub(super) heads: Heads,
    pub(super) segments: &'a Segments,
    /// 1/√dim
    pub(super) scale: f32,
    precision: Precision,
}

impl<'a> Attention<'a> {
    /// Creates an attention with scores scaled by 1/√dim.
    ///
    /// # Panics
    /// If a head count or `dim` is 0, or query heads are not a multiple of key heads.
    pub fn new(heads: Heads, segments: &'a Segments) -> Self {
        let Heads { query, key, dim } = heads;
        assert!(
            query > 0 && key > 0 && dim > 0 && query.is_multiple_of(key),
            "{query} query heads over {key} key heads"
        );
        Self { heads, segments, scale: 1.0 / (dim as f32).sqrt(), precision: Precision::Exact }
    }

    /// Sets the precision of all products.
    pub fn precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }

    /// Checks that all inputs are `[tokens, heads · dim]`.
    pub(super) fn check<T: Element>(&self, q: Mat<'_, T>, k: Mat<'_, T>, v: Mat<'_, T>) {
        let tokens = self.segments.tokens();
        let Heads { query, key, dim } = self.heads;
        assert!(q.rows() == tokens && q.cols() == query * dim, "queries of {query} heads for {tokens} tokens");
        assert!(k.rows() == tokens && k.cols() == key * dim, "keys of {key} heads for {tokens} tokens");
        assert!(v.rows() == tokens && v.cols() == key * dim, "values of {key} heads for {tokens} tokens");
    }

    /// Returns the query tokens per tile, for about [`ROWS`] rows.
    pub(super) fn tile_tokens(&self) -> usize {
        (ROWS / self.heads.group()).max(8)
    }

    /// Returns the columns of the query heads that share key head `head`.
    pub(super) fn query_columns(&self, head: usize) -> Range<usize> {
        let width = self.heads.group() * self.heads.dim;
        head * width..(head + 1) * width
    }

    /// Returns the columns of key head `head` in keys and values.
    pub(super) fn key_columns(&self, head: usize) -> Range<usize> {
        head * self.heads.dim..(head + 1) * self.heads.dim
    }

    /// Computes `C = op(A) · op(B) + beta · C` on this thread.
    pub(super) fn product<'b>(&self, a: Operand<'b>, b: Operand<'b>, beta: f32, c: MatMut<'_, f32>) {
        Gemm::new().precision(self.precision).beta(beta).single_threaded().run(a, b, c);
    }

    /// Returns how many keys of a chunk are visible to the query token; they come first in the
    /// chunk.
    pub(super) fn visible(&self, chunk: &[Range<usize>], token: usize) -> usize {
        if self.segments.is_causal() {
            chunk.iter().map(|range| range.end.min(token + 1).saturating_sub(range.start)).sum()
        } else {
            length(chunk)
        }
    }
}

/// Returns the number of keys in a chunk.
pub(super) fn length(chunk: &[Range<usize>]) -> usize {
    chunk.iter().map(ExactSizeIterator::len).sum()
}

/// Copies a tile's rows and the columns of one group from `source` `[tokens, …]` to `out`
/// `[tokens · group, dim]`, times `factor`.
pub(super) fn gather_queries<T: Element>(
    source: Mat<'_, T>,
    queries: &QueryTile,
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

/// Copies a chunk's rows and the columns of one head from `source` to `out` `[keys, dim]`.
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
