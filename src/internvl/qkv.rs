//! Queries, keys and values of the language model: out of its matrices, turned to their positions, and back.

use std::ops::Range;

use rayon::prelude::*;

use super::blocks::SavedTensor;
use super::config::LanguageConfig;
use super::layout::QkvTensors;
use super::pass::{Pass, matrix, matrix_mut};
use super::trainable::Gradients;
use crate::nn::attention::{Attention, Heads, SavedAttention};
use crate::nn::gemm::Precision;
use crate::nn::rope::{Rope, RopeScaling, RotaryTable};
use crate::nn::tensor::{Element, Mat, MatMut};
use crate::nn::workspace::{give, take};

/// RotaryTables tables of a packed sequence.
#[derive(Debug)]
pub(super) struct RotaryTables(Vec<(Range<usize>, RotaryTable)>);

impl RotaryTables {
    /// Tables for tokens at these positions. Dynamic scaling goes by the longest path of each tree.
    pub fn new(config: &LanguageConfig, positions: &[u32]) -> Self {
        let rope = Rope { dim: config.head(), base: config.rope_base, scaling: config.rope_scaling };
        let length = |positions: &[u32]| positions.iter().max().map_or(0, |last| *last as usize + 1);
        let scales = matches!(config.rope_scaling, RopeScaling::Dynamic { trained, .. } if length(positions) > trained);
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

    fn rotate(&self, mut x: MatMut<'_, f32>, rotate: impl Fn(&RotaryTable, MatMut<'_, f32>)) {
        let cols = x.cols();
        for (tokens, table) in &self.0 {
            rotate(table, x.sub_mut(tokens.start, 0, tokens.len(), cols));
        }
    }
}

/// Queries, keys and values, or their gradients: `[tokens, heads · dim]` each.
#[derive(Debug)]
pub(super) struct Qkv {
    pub q: Vec<f32>,
    pub k: Vec<f32>,
    pub v: Vec<f32>,
}

impl Qkv {
    /// Places with anything in them.
    pub fn any(heads: Heads, tokens: usize) -> Self {
        let (queries, keys) = (tokens * heads.query * heads.dim, tokens * heads.key * heads.dim);
        Self { q: take(queries), k: take(keys), v: take(keys) }
    }

    /// As they wait for the backward, and as the attention reads them.
    pub fn saved(self, precision: Precision) -> SavedQkv {
        SavedQkv([self.q, self.k, self.v].map(|part| SavedTensor::new(part, precision)))
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
    pub fn forward(pass: &Pass<'_>, qkv: QkvTensors, heads: Heads, rotary: &RotaryTables, x: Mat<'_, f32>) -> Self {
        let mut parts = Self::any(heads, x.rows());
        match qkv {
            QkvTensors::Fused(linear) => {
                let fused = pass.linear(linear, x);
                parts.unpack(heads, &fused);
                give(fused);
            }
            QkvTensors::Separate(linears) => {
                for (linear, out) in linears.into_iter().zip(parts.views_mut(heads)) {
                    pass.linear_into(linear, x, out);
                }
            }
        }
        let [q, k, _] = parts.views_mut(heads);
        rotary.rotate(q, RotaryTable::forward);
        rotary.rotate(k, RotaryTable::forward);
        parts
    }

    /// From gradients of queries, keys and values that of x, written to `d_x`, and those of the matrices.
    #[expect(clippy::too_many_arguments, reason = "what a backward needs of its forward, and where its gradients go")]
    pub fn backward(
        mut self,
        pass: &Pass<'_>,
        qkv: QkvTensors,
        heads: Heads,
        rotary: &RotaryTables,
        x: Mat<'_, f32>,
        mut d_x: MatMut<'_, f32>,
        gradients: &mut Gradients,
    ) {
        let [q, k, _] = self.views_mut(heads);
        rotary.rotate(q, RotaryTable::backward);
        rotary.rotate(k, RotaryTable::backward);
        match qkv {
            QkvTensors::Fused(linear) => {
                let fused = self.pack(heads);
                let fused_matrix = matrix(&fused, linear.outputs);
                pass.input_gradient(linear, fused_matrix, d_x, false);
                pass.weight_gradient(linear, x, fused_matrix, gradients);
                give(fused);
            }
            QkvTensors::Separate(linears) => {
                for (part, (linear, d_part)) in linears.into_iter().zip(self.views(heads)).enumerate() {
                    pass.input_gradient(linear, d_part, d_x.reborrow(), part > 0);
                    pass.weight_gradient(linear, x, d_part, gradients);
                }
            }
        }
        [self.q, self.k, self.v].into_iter().for_each(give);
    }

    /// Columns of the fused matrix: for each key head its query heads, the key, the value.
    fn unpack(&mut self, heads: Heads, fused: &[f32]) {
        let Sizes { queries, dim, row } = Sizes::of(heads);
        let keys = self.k.par_chunks_exact_mut(dim).zip(self.v.par_chunks_exact_mut(dim));
        let parts = self.q.par_chunks_exact_mut(queries).zip(keys).with_min_len(HEADS);
        parts.zip(fused.par_chunks_exact(row)).for_each(|((q, (k, v)), fused)| {
            q.copy_from_slice(&fused[..queries]);
            k.copy_from_slice(&fused[queries..queries + dim]);
            v.copy_from_slice(&fused[queries + dim..]);
        });
    }

    /// The reverse of [`Qkv::unpack`].
    fn pack(&self, heads: Heads) -> Vec<f32> {
        let Sizes { queries, dim, row } = Sizes::of(heads);
        let mut fused = take(self.q.len() + self.k.len() + self.v.len());
        let keys = self.k.par_chunks_exact(dim).zip(self.v.par_chunks_exact(dim));
        let parts = self.q.par_chunks_exact(queries).zip(keys).with_min_len(HEADS);
        parts.zip(fused.par_chunks_exact_mut(row)).for_each(|((q, (k, v)), fused)| {
            fused[..queries].copy_from_slice(q);
            fused[queries..queries + dim].copy_from_slice(k);
            fused[queries + dim..].copy_from_slice(v);
        });
        fused
    }
}

/// Queries, keys and values as they wait for the backward.
#[derive(Debug)]
pub(super) struct SavedQkv([SavedTensor; 3]);

impl SavedQkv {
    /// The attention's output and log-sum-exp.
    pub fn attend(&self, attention: &Attention<'_>, heads: Heads, out: MatMut<'_, f32>, lse: MatMut<'_, f32>) {
        match &self.0 {
            [SavedTensor::Bf16(q), SavedTensor::Bf16(k), SavedTensor::Bf16(v)] => {
                let [q, k, v] = views(heads, [q, k, v]);
                attention.forward(q, k, v, out, lse);
            }
            [SavedTensor::F32(q), SavedTensor::F32(k), SavedTensor::F32(v)] => {
                let [q, k, v] = views(heads, [q, k, v]);
                attention.forward(q, k, v, out, lse);
            }
            _ => unreachable!("all of a block is saved in one precision"),
        }
    }

    /// Gradients of queries, keys and values, from the attention's output and log-sum-exp, and the gradient of the former.
    pub fn attend_backward(
        &self,
        attention: &Attention<'_>,
        heads: Heads,
        (out, lse, d_out): (Mat<'_, f32>, Mat<'_, f32>, Mat<'_, f32>),
        [d_q, d_k, d_v]: [MatMut<'_, f32>; 3],
    ) {
        match &self.0 {
            [SavedTensor::Bf16(q), SavedTensor::Bf16(k), SavedTensor::Bf16(v)] => {
                let [q, k, v] = views(heads, [q, k, v]);
                attention.backward(SavedAttention { q, k, v, out, lse }, d_out, d_q, d_k, d_v);
            }
            [SavedTensor::F32(q), SavedTensor::F32(k), SavedTensor::F32(v)] => {
                let [q, k, v] = views(heads, [q, k, v]);
                attention.backward(SavedAttention { q, k, v, out, lse }, d_out, d_q, d_k, d_v);
            }
            _ => unreachable!("all of a block is saved in one precision"),
        }
    }

    /// Give the buffers back, if they are of those.
    pub fn discard(self) {
        self.0.into_iter().for_each(SavedTensor::discard);
    }
}

fn views<T: Element>(heads: Heads, parts: [&Vec<T>; 3]) -> [Mat<'_, T>; 3] {
    let [q, k, v] = parts;
    let (queries, keys) = (heads.query * heads.dim, heads.key * heads.dim);
    let tokens = q.len() / queries;
    [Mat::new(q, tokens, queries), Mat::new(k, tokens, keys), Mat::new(v, tokens, keys)]
}

/// Key heads of tokens that a task copies at least.
const HEADS: usize = 128;

/// Columns of the fused matrix for one key head.
struct Sizes {
    /// Its query heads.
    queries: usize,
    /// The key, and the value.
    dim: usize,
    /// All.
    row: usize,
}

impl Sizes {
    fn of(heads: Heads) -> Self {
        let (queries, dim) = (heads.query / heads.key * heads.dim, heads.dim);
        Self { queries, dim, row: queries + 2 * dim }
    }
}
