//! Attention over packed segments, forward and backward, with grouped key and value heads.
//!
//! The forward goes over tiles of queries and chunks of keys with a running softmax (arXiv 2205.14135) and leaves only the
//! log-sum-exp of each row; the backward computes the tiles again. Nothing of the size tokens × tokens exists. A tile's
//! queries meet only the keys that [`Segments`] lets them see, so that the work is that of the tree's paths, not of a mask.
//! Query head h uses key and value head h / (query heads / key heads).
//!
//! ```
//! use mmprm::nn::attention::{Attention, Heads, Mask, Segments};
//! use mmprm::nn::tensor::{Mat, MatMut};
//! // A prompt of one token and two continuations of one token each, which do not see each other.
//! let segments = Segments::new(&[(1, None), (1, Some(0)), (1, Some(0))], Mask::Causal);
//! let attention = Attention::new(Heads { query: 1, key: 1, dim: 1 }, &segments);
//! let (q, k, v) = ([0.0f32; 3], [0.0f32; 3], [1.0f32, 3.0, 5.0]);
//! let (mut out, mut lse) = ([0.0; 3], [0.0; 3]);
//! let one = |values| Mat::new(values, 3, 1);
//! attention.forward(one(&q), one(&k), one(&v), MatMut::new(&mut out, 3, 1), MatMut::new(&mut lse, 3, 1));
//! assert_eq!(out, [1.0, 2.0, 3.0]); // means over {1}, {1, 3}, {1, 5}
//! ```

mod backward;
mod forward;
mod segments;
mod tile;

pub use backward::Kept;
pub use segments::{Mask, Segments};

use super::gemm::Precision;
use super::tensor::{Element, Mat};

/// Numbers of heads and their width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// Heads of queries, a multiple of `key`.
    pub query: usize,
    /// Heads of keys and of values.
    pub key: usize,
    /// Dimensions of a head.
    pub dim: usize,
}

impl Heads {
    /// Query heads that share a key head.
    fn group(&self) -> usize {
        self.query / self.key
    }
}

/// Attention of a packed sequence with itself.
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct Attention<'a> {
    heads: Heads,
    segments: &'a Segments,
    scale: f32,
    precision: Precision,
}

impl<'a> Attention<'a> {
    /// Attention with scores scaled by 1/√dim.
    ///
    /// # Panics
    /// If a number of heads or `dim` is 0, or query heads are not a multiple of key heads.
    pub fn new(heads: Heads, segments: &'a Segments) -> Self {
        let Heads { query, key, dim } = heads;
        assert!(
            query > 0 && key > 0 && dim > 0 && query.is_multiple_of(key),
            "{query} query heads over {key} key heads"
        );
        Self { heads, segments, scale: 1.0 / (dim as f32).sqrt(), precision: Precision::Exact }
    }

    /// How exactly queries, keys, values and probabilities enter the products.
    pub fn precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }

    /// Check that all inputs are `[tokens, heads · dim]`.
    fn check<T: Element>(&self, q: Mat<'_, T>, k: Mat<'_, T>, v: Mat<'_, T>) {
        let tokens = self.segments.tokens();
        let Heads { query, key, dim } = self.heads;
        assert!(q.rows() == tokens && q.cols() == query * dim, "queries of {query} heads for {tokens} tokens");
        assert!(k.rows() == tokens && k.cols() == key * dim, "keys of {key} heads for {tokens} tokens");
        assert!(v.rows() == tokens && v.cols() == key * dim, "values of {key} heads for {tokens} tokens");
    }
}

#[cfg(test)]
mod tests;
