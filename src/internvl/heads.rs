//! Queries, keys and values of the language model: out of its matrices, turned to their positions, and back.

use std::ops::Range;

use super::config::LanguageConfig;
use super::layout::Qkv;
use super::linear::{Pass, matrix, matrix_mut};
use super::trainable::Gradients;
use crate::nn::attention::Heads;
use crate::nn::rope::{Rope, Scaling, Table};
use crate::nn::tensor::{Mat, MatMut};

/// Rotary tables of a packed sequence.
#[derive(Debug)]
pub(super) struct Rotary(Vec<(Range<usize>, Table)>);

impl Rotary {
    /// Tables for tokens at these positions. Dynamic scaling goes by the longest path of each tree.
    pub fn new(config: &LanguageConfig, positions: &[u32]) -> Self {
        let rope = Rope { dim: config.head(), base: config.rope_base, scaling: config.rope_scaling };
        let length = |positions: &[u32]| positions.iter().max().map_or(0, |last| *last as usize + 1);
        let scales = matches!(config.rope_scaling, Scaling::Dynamic { trained, .. } if length(positions) > trained);
        // Only a tree's first token is at position 0.
        let trees = positions.chunk_by(|_, next| *next != 0 || !scales);
        let mut start = 0;
        let tables = trees.map(|positions| {
            let tokens = start..start + positions.len();
            start = tokens.end;
            (tokens, rope.table(positions, length(positions)))
        });
        Self(tables.collect())
    }

    fn turn(&self, mut x: MatMut<'_, f32>, turn: impl Fn(&Table, MatMut<'_, f32>)) {
        let cols = x.cols();
        for (tokens, table) in &self.0 {
            turn(table, x.sub_mut(tokens.start, 0, tokens.len(), cols));
        }
    }
}

/// Queries, keys and values, or their gradients: `[tokens, heads · dim]` each.
#[derive(Debug)]
pub(super) struct Parts {
    pub q: Vec<f32>,
    pub k: Vec<f32>,
    pub v: Vec<f32>,
}

impl Parts {
    pub fn zeros(heads: Heads, tokens: usize) -> Self {
        let (queries, keys) = (tokens * heads.query * heads.dim, tokens * heads.key * heads.dim);
        Self { q: vec![0.0; queries], k: vec![0.0; keys], v: vec![0.0; keys] }
    }

    pub fn views(&self, heads: Heads) -> [Mat<'_, f32>; 3] {
        let (queries, keys) = (heads.query * heads.dim, heads.key * heads.dim);
        [matrix(&self.q, queries), matrix(&self.k, keys), matrix(&self.v, keys)]
    }

    pub fn views_mut(&mut self, heads: Heads) -> [MatMut<'_, f32>; 3] {
        let (queries, keys) = (heads.query * heads.dim, heads.key * heads.dim);
        [matrix_mut(&mut self.q, queries), matrix_mut(&mut self.k, keys), matrix_mut(&mut self.v, keys)]
    }

    /// From the normed stream x.
    pub fn forward(pass: &Pass<'_>, qkv: Qkv, heads: Heads, rotary: &Rotary, x: Mat<'_, f32>) -> Self {
        let mut parts = Self::zeros(heads, x.rows());
        match qkv {
            Qkv::Fused(linear) => parts.unpack(heads, &pass.applied(linear, x)),
            Qkv::Separate(linears) => {
                for (linear, out) in linears.into_iter().zip(parts.views_mut(heads)) {
                    pass.linear(linear, x, out);
                }
            }
        }
        let [q, k, _] = parts.views_mut(heads);
        rotary.turn(q, Table::forward);
        rotary.turn(k, Table::forward);
        parts
    }

    /// From gradients of queries, keys and values that of x, written to `d_x`, and those of the matrices.
    pub fn backward(
        mut self,
        pass: &Pass<'_>,
        qkv: Qkv,
        heads: Heads,
        rotary: &Rotary,
        x: Mat<'_, f32>,
        mut d_x: MatMut<'_, f32>,
        gradients: &mut Gradients,
    ) {
        let [q, k, _] = self.views_mut(heads);
        rotary.turn(q, Table::backward);
        rotary.turn(k, Table::backward);
        match qkv {
            Qkv::Fused(linear) => {
                let fused = self.pack(heads);
                let fused = matrix(&fused, linear.outputs);
                pass.input_gradient(linear, fused, d_x, false);
                pass.weight_gradient(linear, x, fused, gradients);
            }
            Qkv::Separate(linears) => {
                for (part, (linear, d_part)) in linears.into_iter().zip(self.views(heads)).enumerate() {
                    pass.input_gradient(linear, d_part, d_x.reborrow(), part > 0);
                    pass.weight_gradient(linear, x, d_part, gradients);
                }
            }
        }
    }

    /// Columns of the fused matrix: for each key head its query heads, the key, the value.
    fn unpack(&mut self, heads: Heads, fused: &[f32]) {
        let (queries, dim) = (heads.query / heads.key * heads.dim, heads.dim);
        let rows = self.q.chunks_exact_mut(queries).zip(self.k.chunks_exact_mut(dim)).zip(self.v.chunks_exact_mut(dim));
        for (fused, ((q, k), v)) in fused.chunks_exact(queries + 2 * dim).zip(rows) {
            q.copy_from_slice(&fused[..queries]);
            k.copy_from_slice(&fused[queries..queries + dim]);
            v.copy_from_slice(&fused[queries + dim..]);
        }
    }

    fn pack(&self, heads: Heads) -> Vec<f32> {
        let (queries, dim) = (heads.query / heads.key * heads.dim, heads.dim);
        let rows = self.q.chunks_exact(queries).zip(self.k.chunks_exact(dim)).zip(self.v.chunks_exact(dim));
        let mut fused = Vec::with_capacity(self.q.len() + self.k.len() + self.v.len());
        for ((q, k), v) in rows {
            fused.extend_from_slice(q);
            fused.extend_from_slice(k);
            fused.extend_from_slice(v);
        }
        fused
    }
}
