//! The backward: tiles are computed again from the log-sum-exp that the forward left.

use rayon::prelude::*;

use super::Attention;
use super::segments::Queries;
use super::tile::{KEYS, gather_keys, gather_queries, length};
use crate::nn::gemm::Operand;
use crate::nn::math;
use crate::nn::simd::vectorised;
use crate::nn::tensor::{Element, Mat, MatMut};
use crate::nn::workspace;

/// What the forward got and gave, and the gradient of its output.
#[derive(Debug, Clone, Copy)]
pub struct Kept<'a, T> {
    /// Queries `[tokens, query heads · dim]`.
    pub q: Mat<'a, T>,
    /// Keys `[tokens, key heads · dim]`.
    pub k: Mat<'a, T>,
    /// Values `[tokens, key heads · dim]`.
    pub v: Mat<'a, T>,
    /// Output `[tokens, query heads · dim]`.
    pub out: Mat<'a, f32>,
    /// Log-sum-exp `[tokens, query heads]`.
    pub lse: Mat<'a, f32>,
}

impl Attention<'_> {
    /// Gradients of queries, keys and values from that of the output; written, not added, in the forward's shapes.
    ///
    /// Tasks are a tree and a key head each: more would have to add to the same keys in an order that changes.
    ///
    /// # Panics
    /// If the shapes do not fit each other.
    pub fn backward<T: Element>(
        &self,
        kept: Kept<'_, T>,
        d_out: Mat<'_, f32>,
        d_q: MatMut<'_, f32>,
        d_k: MatMut<'_, f32>,
        d_v: MatMut<'_, f32>,
    ) {
        self.check(kept.q, kept.k, kept.v);
        let shape = (kept.q.rows(), kept.q.cols());
        let key_shape = (kept.k.rows(), kept.k.cols());
        assert!((kept.out.rows(), kept.out.cols()) == shape && (d_out.rows(), d_out.cols()) == shape, "out is as q");
        assert!((d_q.rows(), d_q.cols()) == shape, "gradients have the shape of their inputs");
        assert!((d_k.rows(), d_k.cols()) == key_shape && (d_v.rows(), d_v.cols()) == key_shape, "gradients' shape");
        assert!(kept.lse.rows() == shape.0 && kept.lse.cols() == self.heads.query, "a log-sum-exp for each query");
        let (group, dim) = (self.heads.group(), self.heads.dim);
        let trees = self.segments.trees(self.tile_tokens());
        let mut tasks = Vec::with_capacity(trees.len() * self.heads.key);
        let (mut d_q, mut d_k, mut d_v) = (d_q, d_k, d_v);
        for (tokens, tiles) in trees.iter().filter(|tree| !tree.0.is_empty()) {
            let rows = tokens.len();
            let ((q, q_below), (k, k_below), (v, v_below)) =
                (d_q.split_rows(rows), d_k.split_rows(rows), d_v.split_rows(rows));
            (d_q, d_k, d_v) = (q_below, k_below, v_below);
            let parts = q.tiles(rows, group * dim).into_iter().zip(k.tiles(rows, dim)).zip(v.tiles(rows, dim));
            tasks.extend(parts.enumerate().map(|(head, ((d_q, d_k), d_v))| {
                (tiles, head, Gradients { first: tokens.start, q: d_q, k: d_k, v: d_v })
            }));
        }
        tasks.into_par_iter().for_each(|(tiles, head, mut gradients)| {
            for row in 0..gradients.k.rows() {
                gradients.k.row_mut(row).fill(0.0);
                gradients.v.row_mut(row).fill(0.0);
            }
            for queries in tiles {
                self.tile_backward(&kept, d_out, queries, head, &mut gradients);
            }
        });
    }

    /// One tile of queries for the heads that share key head `head`.
    ///
    /// With P = exp(S − lse): dV = Pᵀ·dO, dP = dO·Vᵀ, dS = P ∘ (dP − Σ dO ∘ O), dQ = dS·K, dK = dSᵀ·Q.
    fn tile_backward<T: Element>(
        &self,
        kept: &Kept<'_, T>,
        d_out: Mat<'_, f32>,
        queries: &Queries,
        head: usize,
        gradients: &mut Gradients<'_>,
    ) {
        let (group, dim) = (self.heads.group(), self.heads.dim);
        let rows = queries.tokens.len() * group;
        let (columns, query_columns) = (self.key_columns(head), self.query_columns(head));
        workspace::with(rows * (3 * dim + 1) + 3 * KEYS * dim + 2 * rows * KEYS, |buffer: &mut [f32]| {
            let (query, buffer) = buffer.split_at_mut(rows * dim);
            let (d_mixed, buffer) = buffer.split_at_mut(rows * dim);
            let (d_query, buffer) = buffer.split_at_mut(rows * dim);
            let (along, buffer) = buffer.split_at_mut(rows);
            let (key, buffer) = buffer.split_at_mut(KEYS * dim);
            let (value, buffer) = buffer.split_at_mut(KEYS * dim);
            let (d_chunk, buffer) = buffer.split_at_mut(KEYS * dim);
            let (scores, d_scores) = buffer.split_at_mut(rows * KEYS);
            gather_queries(kept.out, queries, &query_columns, 1.0, query);
            gather_queries(d_out, queries, &query_columns, 1.0, d_mixed);
            for ((along, out), d_out) in along.iter_mut().zip(query.chunks(dim)).zip(d_mixed.chunks(dim)) {
                *along = math::dot(out, d_out);
            }
            gather_queries(kept.q, queries, &query_columns, self.scale, query);
            d_query.fill(0.0);
            for chunk in self.segments.keys(queries, KEYS) {
                let keys = length(&chunk);
                let (key, value) = (&mut key[..keys * dim], &mut value[..keys * dim]);
                let (scores, d_scores) = (&mut scores[..rows * keys], &mut d_scores[..rows * keys]);
                let d_chunk = &mut d_chunk[..keys * dim];
                gather_keys(kept.k, &chunk, &columns, key);
                gather_keys(kept.v, &chunk, &columns, value);
                let tile = |buffer| Operand::from(Mat::new(buffer, rows, dim));
                let keyed = |buffer| Operand::from(Mat::new(buffer, keys, dim));
                self.product(tile(query), keyed(key).t(), 0.0, MatMut::new(scores, rows, keys));
                self.product(tile(d_mixed), keyed(value).t(), 0.0, MatMut::new(d_scores, rows, keys));
                let both = scores.chunks_exact_mut(keys).zip(d_scores.chunks_exact_mut(keys));
                for (row, (scores, d_scores)) in both.enumerate() {
                    let token = queries.tokens.start + row / group;
                    let visible = self.visible(&chunk, token);
                    let lse = kept.lse.row(token)[head * group + row % group];
                    scores[visible..].fill(0.0);
                    d_scores[visible..].fill(0.0);
                    math::exp_shifted(&mut scores[..visible], lse);
                    slope(&scores[..visible], along[row], &mut d_scores[..visible]);
                }
                let scores = Operand::from(Mat::new(scores, rows, keys));
                let d_scores = Operand::from(Mat::new(d_scores, rows, keys));
                self.product(scores.t(), tile(d_mixed), 0.0, MatMut::new(d_chunk, keys, dim));
                scatter_keys(d_chunk, &chunk, gradients.first, &mut gradients.v);
                self.product(d_scores.t(), tile(query), 0.0, MatMut::new(d_chunk, keys, dim));
                scatter_keys(d_chunk, &chunk, gradients.first, &mut gradients.k);
                self.product(d_scores, keyed(key), 1.0, MatMut::new(d_query, rows, dim));
            }
            for (token, d_query) in queries.tokens.clone().zip(d_query.chunks_exact_mut(group * dim)) {
                math::scale(d_query, self.scale);
                gradients.q.row_mut(token - gradients.first).copy_from_slice(d_query);
            }
        });
    }
}

/// The gradients that a task writes: a tree's tokens, the columns of one key head.
struct Gradients<'a> {
    /// First token of the tree.
    first: usize,
    q: MatMut<'a, f32>,
    k: MatMut<'a, f32>,
    v: MatMut<'a, f32>,
}

/// Add the rows of a chunk's gradient to those of its tokens.
fn scatter_keys(d_chunk: &[f32], chunk: &[std::ops::Range<usize>], first: usize, out: &mut MatMut<'_, f32>) {
    for (token, row) in chunk.iter().cloned().flatten().zip(d_chunk.chunks_exact(out.cols())) {
        math::add(out.row_mut(token - first), row);
    }
}

vectorised! {
    /// `d = p · (d − along)`
    fn slope(p: &[f32], along: f32, d: &mut [f32]) {
        for (d, p) in d.iter_mut().zip(p) {
            *d = p * (*d - along);
        }
    }
}
