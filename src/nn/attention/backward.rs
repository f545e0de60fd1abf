//! Backward pass: recomputes the tiles from the saved log-sum-exp.

use rayon::prelude::*;

use super::segments::QueryTile;
use super::tile::{Attention, KEYS, gather_keys, gather_queries, length};
use crate::nn::gemm::Operand;
use crate::nn::math;
use crate::nn::simd::vectorised;
use crate::nn::tensor::{Element, Mat, MatMut};
use crate::nn::workspace;

/// Inputs and outputs of the forward, saved for the backward.
#[derive(Debug, Clone, Copy)]
pub struct SavedAttention<'a, T> {
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
    /// Computes the gradients of queries, keys and values from that of the output; overwrites them,
    /// shaped as their inputs.
    ///
    /// A task is one tree and one key head: smaller tasks would add to the same keys in an order
    /// that varies.
    ///
    /// # Panics
    /// If the shapes do not match.
    pub fn backward<T: Element>(
        &self,
        saved: SavedAttention<'_, T>,
        d_out: Mat<'_, f32>,
        d_q: MatMut<'_, f32>,
        d_k: MatMut<'_, f32>,
        d_v: MatMut<'_, f32>,
    ) {
        self.check(saved.q, saved.k, saved.v);
        let shape = (saved.q.rows(), saved.q.cols());
        let key_shape = (saved.k.rows(), saved.k.cols());
        assert!(
            (saved.out.rows(), saved.out.cols()) == shape && (d_out.rows(), d_out.cols()) == shape,
            "output and its gradient have the shape of the queries"
        );
        assert!((d_q.rows(), d_q.cols()) == shape, "gradients have the shape of their inputs");
        assert!(
            (d_k.rows(), d_k.cols()) == key_shape && (d_v.rows(), d_v.cols()) == key_shape,
            "gradients have the shape of their inputs"
        );
        assert!(saved.lse.rows() == shape.0 && saved.lse.cols() == self.heads.query, "one log-sum-exp per query");
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
                self.tile_backward(&saved, d_out, queries, head, &mut gradients);
            }
        });
    }

    /// Adds the gradients of one tile of queries, for the heads that share key head `head`.
    ///
    /// With P = exp(S − lse): dV = Pᵀ·dO, dP = dO·Vᵀ, dS = P ∘ (dP − Σ dO ∘ O), dQ = dS·K, dK =
    /// dSᵀ·Q.
    fn tile_backward<T: Element>(
        &self,
        saved: &SavedAttention<'_, T>,
        d_out: Mat<'_, f32>,
        queries: &QueryTile,
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
            let (dot, buffer) = buffer.split_at_mut(rows);
            let (key, buffer) = buffer.split_at_mut(KEYS * dim);
            let (value, buffer) = buffer.split_at_mut(KEYS * dim);
            let (d_chunk, buffer) = buffer.split_at_mut(KEYS * dim);
            let (scores, d_scores) = buffer.split_at_mut(rows * KEYS);
            gather_queries(saved.out, queries, &query_columns, 1.0, query);
            gather_queries(d_out, queries, &query_columns, 1.0, d_mixed);
            for ((dot, out), d_out) in dot.iter_mut().zip(query.chunks(dim)).zip(d_mixed.chunks(dim)) {
                *dot = math::dot(out, d_out);
            }
            gather_queries(saved.q, queries, &query_columns, self.scale, query);
            d_query.fill(0.0);
            for chunk in self.segments.keys(queries, KEYS) {
                let keys = length(&chunk);
                let (key, value) = (&mut key[..keys * dim], &mut value[..keys * dim]);
                let (scores, d_scores) = (&mut scores[..rows * keys], &mut d_scores[..rows * keys]);
                let d_chunk = &mut d_chunk[..keys * dim];
                gather_keys(saved.k, &chunk, &columns, key);
                gather_keys(saved.v, &chunk, &columns, value);
                let tile = |buffer| Operand::from(Mat::new(buffer, rows, dim));
                let keyed = |buffer| Operand::from(Mat::new(buffer, keys, dim));
                self.product(tile(query), keyed(key).t(), 0.0, MatMut::new(scores, rows, keys));
                self.product(tile(d_mixed), keyed(value).t(), 0.0, MatMut::new(d_scores, rows, keys));
                let both = scores.chunks_exact_mut(keys).zip(d_scores.chunks_exact_mut(keys));
                for (row, (scores, d_scores)) in both.enumerate() {
                    let token = queries.tokens.start + row / group;
                    let visible = self.visible(&chunk, token);
                    let lse = saved.lse.row(token)[head * group + row % group];
                    scores[visible..].fill(0.0);
                    d_scores[visible..].fill(0.0);
                    math::exp_shifted(&mut scores[..visible], lse);
                    slope(&scores[..visible], dot[row], &mut d_scores[..visible]);
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

/// Gradients of one task: the tokens of a tree, the columns of one key head.
struct Gradients<'a> {
    /// The tree's first token.
    first: usize,
    q: MatMut<'a, f32>,
    k: MatMut<'a, f32>,
    v: MatMut<'a, f32>,
}

/// Adds the gradient of a chunk to the rows of its tokens.
fn scatter_keys(d_chunk: &[f32], chunk: &[std::ops::Range<usize>], first: usize, out: &mut MatMut<'_, f32>) {
    for (token, row) in chunk.iter().cloned().flatten().zip(d_chunk.chunks_exact(out.cols())) {
        math::add(out.row_mut(token - first), row);
    }
}

vectorised! {
    /// `d = p · (d − dot)`
    fn slope(p: &[f32], dot: f32, d: &mut [f32]) {
        for (d, p) in d.iter_mut().zip(p) {
            *d = p * (*d - dot);
        }
    }
}
