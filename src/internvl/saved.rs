//! Activations that wait for the backward.

use half::bf16;
use rayon::prelude::*;

use crate::nn::gemm::Precision;
use crate::nn::tensor::Element;
use crate::nn::workspace::{give, take};

/// Values of a task.
const TASK: usize = 1 << 15;

/// Activations as they are, or, where products round their operands to bf16, rounded so, in half the memory.
#[derive(Debug)]
pub(super) enum Saved {
    Wide(Vec<f32>),
    Half(Vec<bf16>),
}

impl Saved {
    /// Take activations over; their buffer is given back if they are rounded.
    pub fn new(values: Vec<f32>, precision: Precision) -> Self {
        if precision != Precision::Bf16 {
            return Self::Wide(values);
        }
        let mut half = vec![bf16::ZERO; values.len()];
        let parts = values.par_chunks(TASK).zip(half.par_chunks_mut(TASK));
        parts.for_each(|(values, half)| bf16::narrow(values, half));
        give(values);
        Self::Half(half)
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        match self {
            Self::Wide(values) => values.len(),
            Self::Half(values) => values.len(),
        }
    }

    /// The values again, in a buffer that may be given back.
    pub fn wide(self) -> Vec<f32> {
        match self {
            Self::Wide(values) => values,
            Self::Half(half) => {
                let mut values = take(half.len());
                let parts = half.par_chunks(TASK).zip(values.par_chunks_mut(TASK));
                parts.for_each(|(half, values)| bf16::widen(half, values));
                values
            }
        }
    }

    /// Give the buffer back, if it is one of those.
    pub fn discard(self) {
        if let Self::Wide(values) = self {
            give(values);
        }
    }
}
