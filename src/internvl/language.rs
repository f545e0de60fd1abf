//! The language model's blocks, forward and backward.

use std::borrow::Cow;

use super::heads::{Parts, Rotary, SavedParts};
use super::layout::LanguageBlock;
use super::linear::{Pass, Scales, matrix, matrix_mut};
use super::saved::Saved;
use super::stack::Block;
use super::trainable::Gradients;
use crate::nn::activation::{swiglu, swiglu_backward};
use crate::nn::attention::{Attention, Heads, Segments};
use crate::nn::tensor::Mat;
use crate::nn::workspace::{give, take};

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

/// What a block's forward leaves.
pub(super) struct Open {
    x: Vec<f32>,
    first_scales: Scales,
    parts: SavedParts,
    /// The attention's output and log-sum-exp.
    mixed: Vec<f32>,
    lse: Vec<f32>,
    /// The stream after the attention, of the wanted rows.
    middle: Vec<f32>,
    second_scales: Scales,
    gate: Vec<f32>,
    up: Vec<f32>,
}

/// What a block keeps of that for its backward.
pub(super) struct Kept {
    x: Saved,
    first_scales: Scales,
    parts: SavedParts,
    mixed: Saved,
    lse: Vec<f32>,
    feed_forward: KeptFeedForward,
}

struct KeptFeedForward {
    middle: Saved,
    scales: Scales,
    gate: Saved,
    up: Saved,
}

impl Layer<'_> {
    fn attention(&self) -> Attention<'_> {
        Attention::new(self.heads, self.segments).precision(self.pass.precision)
    }

    /// The wanted rows of what has a row for each token.
    fn picked<'b>(&self, values: &'b [f32], cols: usize) -> Cow<'b, [f32]> {
        let Some(rows) = self.rows else { return values.into() };
        rows.iter().flat_map(|row| &values[row * cols..][..cols]).copied().collect()
    }

    /// The reverse of [`Layer::picked`]: zeros for the other tokens.
    fn spread(&self, values: Vec<f32>, cols: usize) -> Vec<f32> {
        let Some(rows) = self.rows else { return values };
        let mut all = take(self.segments.tokens() * cols);
        all.fill(0.0);
        for (row, values) in rows.iter().zip(values.chunks_exact(cols)) {
            all[row * cols..][..cols].copy_from_slice(values);
        }
        all
    }

    /// The feed-forward half: adds the gradient of the stream before it to `d_stream`, which holds that after it.
    fn feed_forward_backward(&self, kept: KeptFeedForward, d_stream: &mut [f32], gradients: &mut Gradients) {
        let Self { pass, tensors, width, .. } = *self;
        let inner = tensors.gate.outputs;
        let size = kept.gate.len();
        let mut gated = take(size);
        pass.input_gradient(tensors.down, matrix(d_stream, width), matrix_mut(&mut gated, inner), false);
        let (mut d_gate, mut d_up) = (take(size), take(size));
        let gradient = (matrix_mut(&mut gated, inner), matrix_mut(&mut d_gate, inner), matrix_mut(&mut d_up, inner));
        match (&kept.gate, &kept.up) {
            (Saved::Half(gate), Saved::Half(up)) => {
                let both = (Mat::new(gate, size / inner, inner), Mat::new(up, size / inner, inner));
                swiglu_backward(both.0, both.1, gradient.0, gradient.1, gradient.2);
            }
            (Saved::Wide(gate), Saved::Wide(up)) => {
                swiglu_backward(matrix(gate, inner), matrix(up, inner), gradient.0, gradient.1, gradient.2);
            }
            _ => unreachable!("all of a block is saved in one precision"),
        }
        kept.gate.discard();
        kept.up.discard();
        pass.weight_gradient(tensors.down, matrix(&gated, inner), matrix(d_stream, width), gradients);
        give(gated);
        let middle = kept.middle.wide();
        let (normed, _) = pass.norm(tensors.norm, matrix(&middle, width));
        let mut d_normed = take(middle.len());
        for (number, (linear, d_y)) in [(tensors.gate, d_gate), (tensors.up, d_up)].into_iter().enumerate() {
            let d_y_matrix = matrix(&d_y, inner);
            pass.input_gradient(linear, d_y_matrix, matrix_mut(&mut d_normed, width), number > 0);
            pass.weight_gradient(linear, matrix(&normed, width), d_y_matrix, gradients);
            give(d_y);
        }
        let (d_y, d_stream) = (matrix(&d_normed, width), matrix_mut(d_stream, width));
        pass.norm_backward(tensors.norm, matrix(&middle, width), &kept.scales, d_y, d_stream, gradients);
        [middle, normed, d_normed].into_iter().for_each(give);
    }
}

impl Block for Layer<'_> {
    type Open = Open;
    type Kept = Kept;

    fn forward(&self, x: Vec<f32>) -> Open {
        let Self { pass, tensors, width, heads, .. } = *self;
        let queries = heads.query * heads.dim;
        let (normed, first_scales) = pass.norm(tensors.attention_norm, matrix(&x, width));
        let parts = Parts::forward(&pass, tensors.qkv, heads, self.rotary, matrix(&normed, width));
        give(normed);
        let parts = parts.saved(pass.precision);
        let tokens = self.segments.tokens();
        let (mut mixed, mut lse) = (take(tokens * queries), vec![0.0; tokens * heads.query]);
        parts.attend(&self.attention(), heads, matrix_mut(&mut mixed, queries), matrix_mut(&mut lse, heads.query));
        let middle = pass.joined(
            tensors.out,
            matrix(&self.picked(&mixed, queries), queries),
            matrix(&self.picked(&x, width), width),
        );
        let (normed, second_scales) = pass.norm(tensors.norm, matrix(&middle, width));
        let gate = pass.applied(tensors.gate, matrix(&normed, width));
        let up = pass.applied(tensors.up, matrix(&normed, width));
        give(normed);
        Open { x, first_scales, parts, mixed, lse, middle, second_scales, gate, up }
    }

    fn output(&self, open: &Open) -> Vec<f32> {
        let inner = self.tensors.gate.outputs;
        let mut gated = take(open.gate.len());
        swiglu(matrix(&open.gate, inner), matrix(&open.up, inner), matrix_mut(&mut gated, inner));
        let y = self.pass.joined(self.tensors.down, matrix(&gated, inner), matrix(&open.middle, self.width));
        give(gated);
        y
    }

    fn input(open: Open) -> Vec<f32> {
        let Open { x, parts, mixed, middle, gate, up, .. } = open;
        parts.discard();
        [mixed, middle, gate, up].into_iter().for_each(give);
        x
    }

    fn keep(&self, open: Open) -> Kept {
        let save = |values| Saved::new(values, self.pass.precision);
        let Open { x, first_scales, parts, mixed, lse, middle, second_scales, gate, up } = open;
        let (gate, up, middle) = (save(gate), save(up), save(middle));
        let feed_forward = KeptFeedForward { middle, scales: second_scales, gate, up };
        Kept { x: save(x), first_scales, parts, mixed: save(mixed), lse, feed_forward }
    }

    fn backward(&self, kept: Kept, d_y: Vec<f32>, gradients: &mut Gradients) -> Vec<f32> {
        let Self { pass, tensors, width, heads, .. } = *self;
        let Kept { x, first_scales, parts, mixed, lse, feed_forward } = kept;
        let queries = heads.query * heads.dim;
        let mut d_stream = d_y;
        self.feed_forward_backward(feed_forward, &mut d_stream, gradients);
        let mut d_mixed = take(d_stream.len() / width * queries);
        pass.input_gradient(tensors.out, matrix(&d_stream, width), matrix_mut(&mut d_mixed, queries), false);
        let mixed = mixed.wide();
        let wanted = self.picked(&mixed, queries);
        pass.weight_gradient(tensors.out, matrix(&wanted, queries), matrix(&d_stream, width), gradients);
        drop(wanted);
        let d_mixed = self.spread(d_mixed, queries);
        let mut d_stream = self.spread(d_stream, width);
        let mut d_parts = Parts::any(heads, d_mixed.len() / queries);
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
