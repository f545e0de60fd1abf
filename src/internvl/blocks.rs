//! Blocks one after the other, and what of their forward is saved for the backward.

use half::bf16;
use rayon::prelude::*;

use super::trainable::Gradients;
use crate::nn::gemm::Precision;
use crate::nn::tensor::Element;
use crate::nn::workspace::{give, take};

/// A block of a tower at work.
pub(super) trait Block {
    /// What its forward leaves.
    type Activations;
    /// What its backward needs of that.
    type Saved;

    /// The block's work up to its last product, from the stream before it.
    fn forward(&self, x: Vec<f32>) -> Self::Activations;

    /// The stream after the block.
    fn output(&self, activations: &Self::Activations) -> Vec<f32>;

    /// The stream that the forward got.
    fn input(activations: Self::Activations) -> Vec<f32>;

    /// What the backward needs, as small as the precision of the pass allows.
    fn save(&self, activations: Self::Activations) -> Self::Saved;

    /// From the gradient of the stream after the block that of the stream before it; adds the parameters' gradients.
    fn backward(&self, saved: Self::Saved, d_y: Vec<f32>, gradients: &mut Gradients) -> Vec<f32>;
}

/// How much of the forward is saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SaveMode {
    Nothing,
    /// Each block's input; its forward is done again in the backward (gradient checkpointing, arXiv 1604.06174).
    Inputs,
    Everything,
}

enum SavedBlock<K> {
    Input(Vec<f32>),
    Activations(K),
}

/// What was saved of each block.
pub(super) struct SavedBlocks<K>(Vec<SavedBlock<K>>);

/// The stream after all blocks, and what was saved from block `first_saved` on.
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
                saved.push(SavedBlock::Activations(block.save(activations)))
            }
            _ => give(B::input(activations)),
        }
    }
    (stream, SavedBlocks(saved))
}

/// From the gradient of the stream after all blocks that of the stream before the first one that was saved.
pub(super) fn backward<B: Block>(
    blocks: &[B],
    saved: SavedBlocks<B::Saved>,
    d_y: Vec<f32>,
    gradients: &mut Gradients,
) -> Vec<f32> {
    let mut d_stream = d_y;
    for (block, trace) in blocks.iter().rev().zip(saved.0.into_iter().rev()) {
        let saved = match trace {
            SavedBlock::Activations(saved) => saved,
            SavedBlock::Input(x) => block.save(block.forward(x)),
        };
        d_stream = block.backward(saved, d_stream, gradients);
    }
    d_stream
}

/// Values of a task.
const TASK: usize = 1 << 15;

/// Activations as they are, or, where products round their operands to bf16, rounded so, in half the memory.
#[derive(Debug)]
pub(super) enum SavedTensor {
    F32(Vec<f32>),
    Bf16(Vec<bf16>),
}

impl SavedTensor {
    /// Take activations over; their buffer is given back if they are rounded.
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

    /// Number of values.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::Bf16(values) => values.len(),
        }
    }

    /// The values again, in a buffer that may be given back.
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

    /// Give the buffer back, if it is one of those.
    pub fn discard(self) {
        if let Self::F32(values) = self {
            give(values);
        }
    }
}
