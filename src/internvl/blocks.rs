//! Runs a sequence of transformer blocks, and saves activations of the forward for the backward.

use half::bf16;
use rayon::prelude::*;

use super::trainable::Gradients;
use crate::nn::gemm::Precision;
use crate::nn::tensor::Element;
use crate::nn::workspace::{give, take};

/// A transformer block, ready to run.
pub(super) trait Block {
    /// All activations of the forward.
    type Activations;
    /// The activations that the backward needs.
    type Saved;

    /// Runs the block up to its last product; `x` is the residual stream before the block.
    fn forward(&self, x: Vec<f32>) -> Self::Activations;

    /// Computes the residual stream after the block.
    fn output(&self, activations: &Self::Activations) -> Vec<f32>;

    /// Returns the input of the forward.
    fn input(activations: Self::Activations) -> Vec<f32>;

    /// Keeps what the backward needs, as compactly as the precision of the pass allows.
    fn save(&self, activations: Self::Activations) -> Self::Saved;

    /// Turns the gradient of the block's output into that of its input; adds the gradients of its
    /// parameters.
    fn backward(&self, saved: Self::Saved, d_y: Vec<f32>, gradients: &mut Gradients) -> Vec<f32>;
}

/// What a forward saves for the backward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SaveMode {
    Nothing,
    /// The inputs of blocks, whose forward the backward repeats (gradient checkpointing, arXiv
    /// 1604.06174).
    Inputs,
    Everything,
}

enum SavedBlock<S> {
    Input(Vec<f32>),
    Activations(S),
}

/// What a forward has saved, one entry per block.
pub(super) struct SavedBlocks<S>(Vec<SavedBlock<S>>);

/// Returns the residual stream after all blocks, and what was saved, starting with block
/// `first_saved`.
pub(super) fn forward<B: Block>(
    blocks: &[B],
    x: Vec<f32>,
    mode: SaveMode,
    first_saved: usize,
) -> (Vec<f32>, SavedBlocks<B::Saved>) {
    let mut stream = x;
    let mut saved = Vec::new();
    for (index, block) in blocks.iter().enumerate() {
        let activations = block.forward(stream);
        stream = block.output(&activations);
        match mode {
            SaveMode::Inputs if index >= first_saved => saved.push(SavedBlock::Input(B::input(activations))),
            SaveMode::Everything if index >= first_saved => {
                saved.push(SavedBlock::Activations(block.save(activations)));
            }
            _ => give(B::input(activations)),
        }
    }
    (stream, SavedBlocks(saved))
}

/// Turns the gradient of the stream after all blocks into that of the stream before the first saved
/// block.
pub(super) fn backward<B: Block>(
    blocks: &[B],
    saved: SavedBlocks<B::Saved>,
    d_y: Vec<f32>,
    gradients: &mut Gradients,
) -> Vec<f32> {
    let mut d_stream = d_y;
    for (block, saved) in blocks.iter().rev().zip(saved.0.into_iter().rev()) {
        let saved = match saved {
            SavedBlock::Activations(saved) => saved,
            SavedBlock::Input(x) => block.save(block.forward(x)),
        };
        d_stream = block.backward(saved, d_stream, gradients);
    }
    d_stream
}

/// Values per task.
const TASK: usize = 1 << 15;

/// Saved activations: rounded to bf16, in half the memory, where products round their operands to
/// bf16 anyway.
#[derive(Debug)]
pub(super) enum SavedTensor {
    F32(Vec<f32>),
    Bf16(Vec<bf16>),
}

impl SavedTensor {
    /// Saves activations; recycles their buffer if they are rounded.
    pub fn new(values: Vec<f32>, precision: Precision) -> Self {
        if precision != Precision::Bf16 {
            return Self::F32(values);
        }
        let mut half = vec![bf16::ZERO; values.len()];
        let parts = values.par_chunks(TASK).zip(half.par_chunks_mut(TASK));
        parts.for_each(|(values, half)| bf16::narrow(values, half));
        give(values);
        Self::Bf16(half)
    }

    /// Returns the number of values.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::Bf16(values) => values.len(),
        }
    }

    /// Returns the values as `f32`, in a buffer that can be recycled.
    pub fn wide(self) -> Vec<f32> {
        match self {
            Self::F32(values) => values,
            Self::Bf16(half) => {
                let mut values = take(half.len());
                let parts = half.par_chunks(TASK).zip(values.par_chunks_mut(TASK));
                parts.for_each(|(half, values)| bf16::widen(half, values));
                values
            }
        }
    }

    /// Drops the values; recycles the buffer if it is `f32`.
    pub fn discard(self) {
        if let Self::F32(values) = self {
            give(values);
        }
    }
}
