//! The language model's blocks, forward and backward.

use super::heads::{Parts, Rotary};
use super::layout::LanguageBlock;
use super::linear::{Pass, Scales, matrix, matrix_mut};
use super::stack::Block;
use super::trainable::Gradients;
use crate::nn::activation::{swiglu, swiglu_backward};
use crate::nn::attention::{Attention, Heads, Kept as KeptAttention, Segments};
use crate::nn::tensor::Mat;

/// A block at work on a packed sequence.
#[derive(Clone, Copy)]
pub(super) struct Layer<'a> {
    pub pass: Pass<'a>,
    pub tensors: &'a LanguageBlock,
    pub width: usize,
    pub heads: Heads,
    pub segments: &'a Segments,
    pub rotary: &'a Rotary,
    /// The only rows of the output that are wanted (all if none): what comes after the attention is done for them alone.
    pub rows: Option<&'a [usize]>,
}

/// What a block keeps for its backward.
pub(super) struct Kept {
    x: Vec<f32>,
    first_scales: Scales,
    parts: Parts,
    /// The attention's output and log-sum-exp.
    mixed: Vec<f32>,
    lse: Vec<f32>,
    /// The stream after the attention, of the wanted rows.
    middle: Vec<f32>,
    second_scales: Scales,
    gate: Vec<f32>,
    up: Vec<f32>,
}

impl Layer<'_> {
    fn attention(&self) -> Attention<'_> {
        Attention::new(self.heads, self.segments).precision(self.pass.precision)
    }

    /// The wanted rows of what has a row for each token.
    fn picked<'b>(&self, values: &'b [f32], cols: usize) -> std::borrow::Cow<'b, [f32]> {
        let Some(rows) = self.rows else { return values.into() };
        rows.iter().flat_map(|row| &values[row * cols..][..cols]).copied().collect()
    }

    /// The reverse of [`Layer::picked`]: zeros for the other tokens.
    fn spread(&self, values: Vec<f32>, cols: usize) -> Vec<f32> {
        let Some(rows) = self.rows else { return values };
        let mut all = vec![0.0; self.segments.tokens() * cols];
        for (row, values) in rows.iter().zip(values.chunks_exact(cols)) {
            all[row * cols..][..cols].copy_from_slice(values);
        }
        all
    }

    /// `SwiGLU` of the feed-forward layer.
    fn gated(&self, gate: &[f32], up: &[f32]) -> Vec<f32> {
        let inner = self.tensors.gate.outputs;
        let mut out = vec![0.0; gate.len()];
        swiglu(matrix(gate, inner), matrix(up, inner), matrix_mut(&mut out, inner));
        out
    }

    /// The feed-forward half: adds the gradient of the stream before it to `d_stream`, which holds that after it.
    fn feed_forward_backward(&self, kept: &Kept, d_stream: &mut [f32], gradients: &mut Gradients) {
        let Self { pass, tensors, width, .. } = *self;
        let inner = tensors.gate.outputs;
        let (gate, up) = (matrix(&kept.gate, inner), matrix(&kept.up, inner));
        let mut d_gated = vec![0.0; kept.gate.len()];
        pass.input_gradient(tensors.down, matrix(d_stream, width), matrix_mut(&mut d_gated, inner), false);
        let gated = self.gated(&kept.gate, &kept.up);
        pass.weight_gradient(tensors.down, matrix(&gated, inner), matrix(d_stream, width), gradients);
        drop(gated);
        let (mut d_gate, mut d_up) = (vec![0.0; kept.gate.len()], vec![0.0; kept.up.len()]);
        let both = (matrix_mut(&mut d_gate, inner), matrix_mut(&mut d_up, inner));
        swiglu_backward(gate, up, matrix(&d_gated, inner), both.0, both.1);
        let middle = matrix(&kept.middle, width);
        let (normed, _) = pass.norm(tensors.norm, middle);
        let mut d_normed = vec![0.0; kept.middle.len()];
        for (number, (linear, d_y)) in [(tensors.gate, &d_gate), (tensors.up, &d_up)].into_iter().enumerate() {
            let d_y = matrix(d_y, inner);
            pass.input_gradient(linear, d_y, matrix_mut(&mut d_normed, width), number > 0);
            pass.weight_gradient(linear, matrix(&normed, width), d_y, gradients);
        }
        let (d_normed, d_stream) = (matrix(&d_normed, width), matrix_mut(d_stream, width));
        pass.norm_backward(tensors.norm, middle, &kept.second_scales, d_normed, d_stream, gradients);
    }
}

impl Block for Layer<'_> {
    type Kept = Kept;

    fn forward(&self, x: Vec<f32>) -> Kept {
        let Self { pass, tensors, width, heads, .. } = *self;
        let queries = heads.query * heads.dim;
        let (normed, first_scales) = pass.norm(tensors.attention_norm, matrix(&x, width));
        let parts = Parts::forward(&pass, tensors.qkv, heads, self.rotary, matrix(&normed, width));
        drop(normed);
        let [q, k, v] = parts.views(heads);
        let (mut mixed, mut lse) = (vec![0.0; parts.q.len()], vec![0.0; q.rows() * heads.query]);
        self.attention().forward(q, k, v, matrix_mut(&mut mixed, queries), matrix_mut(&mut lse, heads.query));
        let middle = pass.joined(
            tensors.out,
            matrix(&self.picked(&mixed, queries), queries),
            matrix(&self.picked(&x, width), width),
        );
        let (normed, second_scales) = pass.norm(tensors.norm, matrix(&middle, width));
        let gate = pass.applied(tensors.gate, matrix(&normed, width));
        let up = pass.applied(tensors.up, matrix(&normed, width));
        Kept { x, first_scales, parts, mixed, lse, middle, second_scales, gate, up }
    }

    fn output(&self, kept: &Kept) -> Vec<f32> {
        let gated = self.gated(&kept.gate, &kept.up);
        let gated = matrix(&gated, self.tensors.gate.outputs);
        self.pass.joined(self.tensors.down, gated, matrix(&kept.middle, self.width))
    }

    fn input(kept: Kept) -> Vec<f32> {
        kept.x
    }

    fn backward(&self, kept: Kept, d_y: Vec<f32>, gradients: &mut Gradients) -> Vec<f32> {
        let Self { pass, tensors, width, heads, .. } = *self;
        let queries = heads.query * heads.dim;
        let mut d_stream = d_y;
        self.feed_forward_backward(&kept, &mut d_stream, gradients);
        let mut d_mixed = vec![0.0; kept.middle.len() / width * queries];
        pass.input_gradient(tensors.out, matrix(&d_stream, width), matrix_mut(&mut d_mixed, queries), false);
        let mixed = self.picked(&kept.mixed, queries);
        pass.weight_gradient(tensors.out, matrix(&mixed, queries), matrix(&d_stream, width), gradients);
        drop(mixed);
        let d_mixed = self.spread(d_mixed, queries);
        let mut d_stream = self.spread(d_stream, width);
        let mut d_parts = Parts::zeros(heads, d_mixed.len() / queries);
        let [q, k, v] = kept.parts.views(heads);
        let [d_q, d_k, d_v] = d_parts.views_mut(heads);
        let out = matrix(&kept.mixed, queries);
        let lse = Mat::new(&kept.lse, q.rows(), heads.query);
        self.attention().backward(KeptAttention { q, k, v, out, lse }, matrix(&d_mixed, queries), d_q, d_k, d_v);
        let x = matrix(&kept.x, width);
        let (normed, _) = pass.norm(tensors.attention_norm, x);
        let mut d_normed = vec![0.0; kept.x.len()];
        let (normed, d_normed_matrix) = (matrix(&normed, width), matrix_mut(&mut d_normed, width));
        d_parts.backward(&pass, tensors.qkv, heads, self.rotary, normed, d_normed_matrix, gradients);
        let (d_normed, d_x) = (matrix(&d_normed, width), matrix_mut(&mut d_stream, width));
        pass.norm_backward(tensors.attention_norm, x, &kept.first_scales, d_normed, d_x, gradients);
        d_stream
    }
}
