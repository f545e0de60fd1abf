//! Forward pass: online softmax over chunks of keys.

use rayon::prelude::*;

use super::segments::QueryTile;
use super::tile::{Attention, KEYS, gather_keys, gather_queries, length};
use crate::nn::gemm::Operand;
use crate::nn::math;
use crate::nn::tensor::{Element, Mat, MatMut};
use crate::nn::workspace;

impl Attention<'_> {
    /// Computes `out = softmax(q · kᵀ / √dim) · v` over the tokens visible to each token.
    ///
    /// `q` and `out` are `[tokens, query heads · dim]`, `k` and `v` `[tokens, key heads · dim]`.
    /// Writes the log-sum-exp of each row, which the backward needs, to `lse`
    /// `[tokens, query heads]`.
    ///
    /// # Panics
    /// If the shapes do not match.
    pub fn forward<T: Element>(
        &self,
        q: Mat<'_, T>,
        k: Mat<'_, T>,
        v: Mat<'_, T>,
        out: MatMut<'_, f32>,
        lse: MatMut<'_, f32>,
    ) {
        self.check(q, k, v);
        assert!(out.rows() == q.rows() && out.cols() == q.cols(), "one output per query");
        assert!(lse.rows() == q.rows() && lse.cols() == self.heads.query, "one log-sum-exp per query");
        let tiles = self.segments.tiles(self.tile_tokens());
        let (group, dim) = (self.heads.group(), self.heads.dim);
        let (mut out, mut lse) = (out, lse);
        let mut tasks = Vec::with_capacity(tiles.len() * self.heads.key);
        for queries in &tiles {
            let (tile, out_below) = out.split_rows(queries.tokens.len());
            let (tile_lse, lse_below) = lse.split_rows(queries.tokens.len());
            (out, lse) = (out_below, lse_below);
            let heads = tile.tiles(queries.tokens.len(), group * dim).into_iter();
            let heads = heads.zip(tile_lse.tiles(queries.tokens.len(), group));
            tasks.extend(heads.enumerate().map(|(head, (out, lse))| (queries, head, out, lse)));
        }
        tasks.into_par_iter().for_each(|(queries, head, out, lse)| self.tile((q, k, v), queries, head, out, lse));
    }

    /// Computes one tile of queries for the heads that share key head `head`.
    fn tile<T: Element>(
        &self,
        (q, k, v): (Mat<'_, T>, Mat<'_, T>, Mat<'_, T>),
        queries: &QueryTile,
        head: usize,
        mut out: MatMut<'_, f32>,
        mut lse: MatMut<'_, f32>,
    ) {
        let (group, dim) = (self.heads.group(), self.heads.dim);
        let rows = queries.tokens.len() * group;
        let columns = self.key_columns(head);
        let mut running = vec![Running { peak: f32::NEG_INFINITY, sum: 0.0 }; rows];
        workspace::with(2 * (rows + KEYS) * dim + rows * KEYS, |buffer: &mut [f32]| {
            let (query, buffer) = buffer.split_at_mut(rows * dim);
            let (mixed, buffer) = buffer.split_at_mut(rows * dim);
            let (key, buffer) = buffer.split_at_mut(KEYS * dim);
            let (value, scores) = buffer.split_at_mut(KEYS * dim);
            gather_queries(q, queries, &self.query_columns(head), self.scale, query);
            mixed.fill(0.0);
            for chunk in self.segments.keys(queries, KEYS) {
                let keys = length(&chunk);
                let (key, value) = (&mut key[..keys * dim], &mut value[..keys * dim]);
                let scores = &mut scores[..rows * keys];
                gather_keys(k, &chunk, &columns, key);
                gather_keys(v, &chunk, &columns, value);
                let key = Operand::from(Mat::new(key, keys, dim));
                self.product(Mat::new(query, rows, dim).into(), key.t(), 0.0, MatMut::new(scores, rows, keys));
                for (row, scores) in scores.chunks_exact_mut(keys).enumerate() {
                    let count = self.visible(&chunk, queries.tokens.start + row / group);
                    let (visible, hidden) = scores.split_at_mut(count);
                    hidden.fill(0.0);
                    let factor = running[row].add(visible);
                    if factor < 1.0 {
                        math::scale(&mut mixed[row * dim..][..dim], factor);
                    }
                }
                let (scores, value) = (Mat::new(scores, rows, keys), Mat::new(value, keys, dim));
                self.product(scores.into(), value.into(), 1.0, MatMut::new(mixed, rows, dim));
            }
            for (row, (mixed, running)) in mixed.chunks_exact_mut(dim).zip(&running).enumerate() {
                let (token, head) = (row / group, row % group);
                math::scale(mixed, 1.0 / running.sum);
                out.row_mut(token)[head * dim..][..dim].copy_from_slice(mixed);
                lse.row_mut(token)[head] = running.peak + running.sum.ln();
            }
        });
    }
}

/// Running softmax of a row.
#[derive(Clone, Copy)]
struct Running {
    peak: f32,
    /// Σ exp(score − peak)
    sum: f32,
}

impl Running {
    /// Adds scores and replaces them by exp(score − peak). Returns the factor that rescales the
    /// results of earlier scores.
    fn add(&mut self, scores: &mut [f32]) -> f32 {
        let peak = self.peak.max(math::max(scores));
        if scores.is_empty() || peak == f32::NEG_INFINITY {
            return 1.0;
        }
        let factor = if self.peak < peak { (self.peak - peak).exp() } else { 1.0 };
        self.sum = self.sum * factor + math::exp_shifted(scores, peak);
        self.peak = peak;
        factor
    }
}
