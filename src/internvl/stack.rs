//! Blocks one after the other, and what of their forward is kept for the backward.

use super::trainable::Gradients;
use crate::nn::workspace::give;

/// A block of a tower at work.
pub(super) trait Block {
    /// What its forward leaves.
    type Open;
    /// What its backward needs of that.
    type Kept;

    /// The block's work up to its last product, from the stream before it.
    fn forward(&self, x: Vec<f32>) -> Self::Open;

    /// The stream after the block.
    fn output(&self, open: &Self::Open) -> Vec<f32>;

    /// The stream that the forward got.
    fn input(open: Self::Open) -> Vec<f32>;

    /// What the backward needs, as small as the precision of the pass allows.
    fn keep(&self, open: Self::Open) -> Self::Kept;

    /// From the gradient of the stream after the block that of the stream before it; adds the parameters' gradients.
    fn backward(&self, kept: Self::Kept, d_y: Vec<f32>, gradients: &mut Gradients) -> Vec<f32>;
}

/// How much of the forward is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    Nothing,
    /// Each block's input; its forward is done again in the backward (gradient checkpointing, arXiv 1604.06174).
    Inputs,
    Everything,
}

enum Trace<K> {
    Input(Vec<f32>),
    Kept(K),
}

/// What was kept of each block.
pub(super) struct Traces<K>(Vec<Trace<K>>);

/// The stream after all blocks, and what was kept from block `first_kept` on.
pub(super) fn forward<B: Block>(
    blocks: &[B],
    x: Vec<f32>,
    keep: Keep,
    first_kept: usize,
) -> (Vec<f32>, Traces<B::Kept>) {
    let mut stream = x;
    let mut traces = Vec::new();
    for (number, block) in blocks.iter().enumerate() {
        let open = block.forward(stream);
        stream = block.output(&open);
        match keep {
            Keep::Inputs if number >= first_kept => traces.push(Trace::Input(B::input(open))),
            Keep::Everything if number >= first_kept => traces.push(Trace::Kept(block.keep(open))),
            _ => give(B::input(open)),
        }
    }
    (stream, Traces(traces))
}

/// From the gradient of the stream after all blocks that of the stream before the first one that was kept.
pub(super) fn backward<B: Block>(
    blocks: &[B],
    traces: Traces<B::Kept>,
    d_y: Vec<f32>,
    gradients: &mut Gradients,
) -> Vec<f32> {
    let mut d_stream = d_y;
    for (block, trace) in blocks.iter().rev().zip(traces.0.into_iter().rev()) {
        let kept = match trace {
            Trace::Kept(kept) => kept,
            Trace::Input(x) => block.keep(block.forward(x)),
        };
        d_stream = block.backward(kept, d_stream, gradients);
    }
    d_stream
}
