//! Blocks of the language model, forward and backward.

use std::borrow::Cow;

use super::blocks::Block;
use super::blocks::SavedTensor;
use super::layout::LanguageBlock;
use super::pass::{Pass, Scales, matrix, matrix_mut};
use super::qkv::{Qkv, RotaryTables, SavedQkv};
use super::trainable::Gradients;
use crate::nn::activation::{swiglu, swiglu_backward};
use crate::nn::attention::{Attention, Heads, Segments};
use crate::nn::tensor::Mat;
use crate::nn::workspace::{give, take};

/// A block of the language model on a packed sequence.
#[derive(Clone, Copy)]
pub(super) struct LanguageLayer<'a> {
    pub pass: Pass<'a>,
    pub tensors: &'a LanguageBlock,
    pub width: usize,
    pub heads: Heads,
    pub segments: &'a Segments,
    pub rotary: &'a RotaryTables,
    /// The rows of the output that are needed, all if `None`: layers after the attention run on
    /// these rows only.
    pub rows: Option<&'a [usize]>,
}

/// Activations of the forward.
pub(super) struct Activations {
    x: Vec<f32>,
    first_scales: Scales,
    parts: SavedQkv,
    /// The attention's output and log-sum-exp.
    mixed: Vec<f32>,
    lse: Vec<f32>,
    /// The residual stream after the attention, needed rows only.
    middle: Vec<f32>,
    second_scales: Scales,
    gate: Vec<f32>,
    up: Vec<f32>,
}

/// Activations saved for the backward.
pub(super) struct SavedLayer {
    x: SavedTensor,
    first_scales: Scales,
    parts: SavedQkv,
    mixed: SavedTensor,
    lse: Vec<f32>,
    feed_forward: SavedFeedForward,
}

struct SavedFeedForward {
    middle: SavedTensor,
    scales: Scales,
    gate: SavedTensor,
    up: SavedTensor,
}

impl LanguageLayer<'_> {
    fn attention(&self) -> Attention<'_> {
        Attention::new(self.heads, self.segments).precision(self.pass.precision)
    }

    /// Selects the needed rows.
    fn select<'b>(&self, values: &'b [f32], cols: usize) -> Cow<'b, [f32]> {
        let Some(rows) = self.rows else { return values.into() };
        rows.iter().flat_map(|row| &values[row * cols..][..cols]).copied().collect()
    }

    /// Inverts [`LanguageLayer::select`], with zeros for the other rows.
    fn unselect(&self, values: Vec<f32>, cols: usize) -> Vec<f32> {
        let Some(rows) = self.rows else { return values };
        let mut all = take(self.segments.tokens() * cols);
        all.fill(0.0);
        for (row, values) in rows.iter().zip(values.chunks_exact(cols)) {
            all[row * cols..][..cols].copy_from_slice(values);
        }
        all
    }

    /// Backward of the feed-forward half: turns the gradient of the stream after it, in `d_stream`,
    /// into that before it.
    fn feed_forward_backward(&self, saved: SavedFeedForward, d_stream: &mut [f32], gradients: &mut Gradients) {
        let Self { pass, tensors, width, .. } = *self;
        let inner = tensors.gate.outputs;
        let size = saved.gate.len();
        let mut gated = take(size);
        pass.input_gradient(tensors.down, matrix(d_stream, width), matrix_mut(&mut gated, inner), false);
        let (mut d_gate, mut d_up) = (take(size), take(size));
        let gradient = (matrix_mut(&mut gated, inner), matrix_mut(&mut d_gate, inner), matrix_mut(&mut d_up, inner));
        match (&saved.gate, &saved.up) {
            (SavedTensor::Bf16(gate), SavedTensor::Bf16(up)) => {
                let both = (Mat::new(gate, size / inner, inner), Mat::new(up, size / inner, inner));
                swiglu_backward(both.0, both.1, gradient.0, gradient.1, gradient.2);
            }
            (SavedTensor::F32(gate), SavedTensor::F32(up)) => {
                swiglu_backward(matrix(gate, inner), matrix(up, inner), gradient.0, gradient.1, gradient.2);
            }
            _ => unreachable!("a block saves all activations in one format"),
        }
        saved.gate.discard();
        saved.up.discard();
        pass.weight_gradient(tensors.down, matrix(&gated, inner), matrix(d_stream, width), gradients);
        give(gated);
        let middle = saved.middle.wide();
        let (normed, _) = pass.norm(tensors.norm, matrix(&middle, width));
        let mut d_normed = take(middle.len());
        for (count, (linear, d_y)) in [(tensors.gate, d_gate), (tensors.up, d_up)].into_iter().enumerate() {
            let d_y_matrix = matrix(&d_y, inner);
            pass.input_gradient(linear, d_y_matrix, matrix_mut(&mut d_normed, width), count > 0);
            pass.weight_gradient(linear, matrix(&normed, width), d_y_matrix, gradients);
            give(d_y);
        }
        let (d_y, d_stream) = (matrix(&d_normed, width), matrix_mut(d_stream, width));
        pass.norm_backward(tensors.norm, matrix(&middle, width), &saved.scales, d_y, d_stream, gradients);
        [middle, normed, d_normed].into_iter().for_each(give);
    }
}

impl Block for LanguageLayer<'_> {
    type Activations = Activations;
    type Saved = SavedLayer;

    fn forward(&self, x: Vec<f32>) -> Activations {
        let Self { pass, tensors, width, heads, .. } = *self;
        let queries = heads.query * heads.dim;
        let (normed, first_scales) = pass.norm(tensors.attention_norm, matrix(&x, width));
        let parts = Qkv::forward(&pass, tensors.qkv, heads, self.rotary, matrix(&normed, width));
        give(normed);
        let parts = parts.saved(pass.precision);
        let tokens = self.segments.tokens();
        let (mut mixed, mut lse) = (take(tokens * queries), vec![0.0; tokens * heads.query]);
        parts.attend(&self.attention(), heads, matrix_mut(&mut mixed, queries), matrix_mut(&mut lse, heads.query));
        let middle = pass.linear_residual(
            tensors.out,
            matrix(&self.select(&mixed, queries), queries),
            matrix(&self.select(&x, width), width),
        );
        let (normed, second_scales) = pass.norm(tensors.norm, matrix(&middle, width));
        let gate = pass.linear(tensors.gate, matrix(&normed, width));
        let up = pass.linear(tensors.up, matrix(&normed, width));
        give(normed);
        Activations { x, first_scales, parts, mixed, lse, middle, second_scales, gate, up }
    }

    fn output(&self, activations: &Activations) -> Vec<f32> {
        let inner = self.tensors.gate.outputs;
        let mut gated = take(activations.gate.len());
        swiglu(matrix(&activations.gate, inner), matrix(&activations.up, inner), matrix_mut(&mut gated, inner));
        let y = self.pass.linear_residual(
            self.tensors.down,
            matrix(&gated, inner),
            matrix(&activations.middle, self.width),
        );
        give(gated);
        y
    }

    fn input(activations: Activations) -> Vec<f32> {
        let Activations { x, parts, mixed, middle, gate, up, .. } = activations;
        parts.discard();
        [mixed, middle, gate, up].into_iter().for_each(give);
        x
    }

    fn save(&self, activations: Activations) -> SavedLayer {
        let save = |values| SavedTensor::new(values, self.pass.precision);
        let Activations { x, first_scales, parts, mixed, lse, middle, second_scales, gate, up } = activations;
        let (gate, up, middle) = (save(gate), save(up), save(middle));
        let feed_forward = SavedFeedForward { middle, scales: second_scales, gate, up };
        SavedLayer { x: save(x), first_scales, parts, mixed: save(mixed), lse, feed_forward }
    }

    fn backward(&self, saved: SavedLayer, d_y: Vec<f32>, gradients: &mut Gradients) -> Vec<f32> {
        let Self { pass, tensors, width, heads, .. } = *self;
        let SavedLayer { x, first_scales, parts, mixed, lse, feed_forward } = saved;
        let queries = heads.query * heads.dim;
        let mut d_stream = d_y;
        self.feed_forward_backward(feed_forward, &mut d_stream, gradients);
        let mut d_mixed = take(d_stream.len() / width * queries);
        pass.input_gradient(tensors.out, matrix(&d_stream, width), matrix_mut(&mut d_mixed, queries), false);
        let mixed = mixed.wide();
        let wanted = self.select(&mixed, queries);
        pass.weight_gradient(tensors.out, matrix(&wanted, queries), matrix(&d_stream, width), gradients);
        drop(wanted);
        let d_mixed = self.unselect(d_mixed, queries);
        let mut d_stream = self.unselect(d_stream, width);
        let mut d_parts = Qkv::alloc(heads, d_mixed.len() / queries);
        let given = (matrix(&mixed, queries), matrix(&lse, heads.query), matrix(&d_mixed, queries));
        parts.attend_backward(&self.attention(), heads, given, d_parts.views_mut(heads));
        parts.discard();
        [mixed, d_mixed].into_iter().for_each(give);
        let x = x.wide();
        let (normed, _) = pass.norm(tensors.attention_norm, matrix(&x, width));
        let mut d_normed = take(x.len());
        let (normed_matrix, d_normed_matrix) = (matrix(&normed, width), matrix_mut(&mut d_normed, width));
        d_parts.backward(&pass, tensors.qkv, heads, self.rotary, normed_matrix, d_normed_matrix, gradients);
        let (d_y, d_x) = (matrix(&d_normed, width), matrix_mut(&mut d_stream, width));
        pass.norm_backward(tensors.attention_norm, matrix(&x, width), &first_scales, d_y, d_x, gradients);
        [x, normed, d_normed].into_iter().for_each(give);
        d_stream
    }
}
