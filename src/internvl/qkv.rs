//! Queries, keys and values of the language model, forward and backward: projection and rotary
//! embedding.

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

/// Rotary tables of a packed sequence, one per range of tokens.
#[derive(Debug)]
pub(super) struct RotaryTables(Vec<(Range<usize>, RotaryTable)>);

impl RotaryTables {
    /// Computes tables for tokens at these positions. Dynamic scaling uses the longest path of each
    /// tree.
    pub fn new(config: &LanguageConfig, positions: &[u32]) -> Self {
        let rope = Rope { dim: config.head, base: config.rope_base, scaling: config.rope_scaling };
        let length = |positions: &[u32]| positions.iter().max().map_or(0, |last| *last as usize + 1);
        let is_scaled =
            matches!(config.rope_scaling, RopeScaling::Dynamic { trained, .. } if length(positions) > trained);
        // Only the first token of a tree has position 0.
        let trees = positions.chunk_by(|_, next| *next != 0 || !is_scaled);
        let mut start = 0;
        let tables = trees.map(|positions| {
            let tokens = start..start + positions.len();
            start = tokens.end;
            (tokens, rope.divided_table(positions, length(positions), &config.rope_divisors))
        });
        Self(tables.collect())
    }

    fn rotate(&self, mut x: MatMut<'_, f32>, direction: impl Fn(&RotaryTable, MatMut<'_, f32>)) {
        let cols = x.cols();
        for (tokens, table) in &self.0 {
            direction(table, x.sub_mut(tokens.start, 0, tokens.len(), cols));
        }
    }
}

/// Queries, keys and values, or their gradients, each `[tokens, heads · dim]`.
#[derive(Debug)]
pub(super) struct Qkv {
    pub q: Vec<f32>,
    pub k: Vec<f32>,
    pub v: Vec<f32>,
}

impl Qkv {
    /// Allocates with arbitrary contents.
    pub fn alloc(heads: Heads, tokens: usize) -> Self {
        let (queries, keys) = (tokens * heads.query * heads.dim, tokens * heads.key * heads.dim);
        Self { q: take(queries), k: take(keys), v: take(keys) }
    }

    /// Saves them in the form that the attention reads, forward and backward.
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

    /// Projects the normalised residual stream x.
    pub fn forward(pass: &Pass<'_>, qkv: QkvTensors, heads: Heads, rotary: &RotaryTables, x: Mat<'_, f32>) -> Self {
        let mut parts = Self::alloc(heads, x.rows());
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

    /// Turns gradients of queries, keys and values into that of x, written to `d_x`, and adds those
    /// of the matrices.
    #[expect(clippy::too_many_arguments, reason = "inputs of the forward, and destinations of gradients")]
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

    /// Splits the fused matrix, whose columns are for each key head its query heads, the key, the
    /// value.
    fn unpack(&mut self, heads: Heads, fused: &[f32]) {
        let Sizes { queries, dim, row } = Sizes::of(heads);
        let keys = self.k.par_chunks_exact_mut(dim).zip(self.v.par_chunks_exact_mut(dim));
        let parts = self.q.par_chunks_exact_mut(queries).zip(keys).with_min_len(MIN_HEADS);
        parts.zip(fused.par_chunks_exact(row)).for_each(|((q, (k, v)), fused)| {
            q.copy_from_slice(&fused[..queries]);
            k.copy_from_slice(&fused[queries..queries + dim]);
            v.copy_from_slice(&fused[queries + dim..]);
        });
    }

    /// Inverts [`Qkv::unpack`].
    fn pack(&self, heads: Heads) -> Vec<f32> {
        let Sizes { queries, dim, row } = Sizes::of(heads);
        let mut fused = take(self.q.len() + self.k.len() + self.v.len());
        let keys = self.k.par_chunks_exact(dim).zip(self.v.par_chunks_exact(dim));
        let parts = self.q.par_chunks_exact(queries).zip(keys).with_min_len(MIN_HEADS);
        parts.zip(fused.par_chunks_exact_mut(row)).for_each(|((q, (k, v)), fused)| {
            fused[..queries].copy_from_slice(q);
            fused[queries..queries + dim].copy_from_slice(k);
            fused[queries + dim..].copy_from_slice(v);
        });
        fused
    }
}

/// Saved queries, keys and values.
#[derive(Debug)]
pub(super) struct SavedQkv([SavedTensor; 3]);

impl SavedQkv {
    /// Computes the attention's output and log-sum-exp.
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
            _ => unreachable!("a block saves all activations in one format"),
        }
    }

    /// Computes the gradients of queries, keys and values from the attention's output, its
    /// log-sum-exp and `d_out`.
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
            _ => unreachable!("a block saves all activations in one format"),
        }
    }

    /// Drops the values; recycles `f32` buffers.
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

/// Minimum number of key heads, over all tokens, that a task copies.
const MIN_HEADS: usize = 128;

/// Column counts of the fused matrix per key head.
struct Sizes {
    /// Query heads.
    queries: usize,
    /// Key; value.
    dim: usize,
    /// Total.
    row: usize,
}

impl Sizes {
    fn of(heads: Heads) -> Self {
        let (queries, dim) = (heads.query / heads.key * heads.dim, heads.dim);
        Self { queries, dim, row: queries + 2 * dim }
    }
}
